package gateway

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"
)

// TestTheLedgerAgreesWithTheRulesAsTheyAreWorded counts from scratch for each request what the ledger remembers.
func TestTheLedgerAgreesWithTheRulesAsTheyAreWorded(t *testing.T) {
	seen, requests := make(map[PacingRule]int), 0
	for seed := range uint64(20) {
		dice := rand.New(rand.NewPCG(seed, 1))
		var l ledger
		var all []paced
		for at := noon; len(all) < 400; {
			p := paced{at: at, series: strconv.Itoa(dice.IntN(3)), requests: 1 + dice.IntN(2)}
			p.same = p.series + strconv.Itoa(dice.IntN(12))
			all = append(all, p)
			requests++
			within := func(d time.Duration) (weight, series, same int) {
				for _, q := range all {
					if q.at.After(at.Add(-d)) {
						weight += q.requests
						if q.series == p.series {
							series++
						}
						if q.same == p.same {
							same++
						}
					}
				}
				return weight, series, same
			}
			var want []PacingRule
			if _, _, same := within(15 * time.Second); same > 1 {
				want = append(want, IdenticalWithin15s)
			}
			if _, series, _ := within(2 * time.Second); series >= 6 {
				want = append(want, SixWithin2s)
			}
			if weight, _, _ := within(10 * time.Minute); weight > 60 {
				want = append(want, SixtyWithin10min)
			}
			if got := l.noteSmall(p); !slices.Equal(got, want) {
				t.Fatalf("seed %d: request %d at %v breaks %v, want %v", seed, len(all), at.Sub(noon), got, want)
			}
			for _, rule := range want {
				seen[rule]++
			}
			switch dice.IntN(3) { // bursts, and rests in which everything is forgotten
			case 0:
				at = at.Add(time.Duration(dice.IntN(100)) * 500 * time.Millisecond)
			case 1:
				if dice.IntN(20) == 0 {
					at = at.Add(10 * time.Minute)
				}
			}
		}
	}
	for _, rule := range []PacingRule{IdenticalWithin15s, SixWithin2s, SixtyWithin10min} {
		if seen[rule] == 0 || seen[rule] == requests {
			t.Errorf("%q was broken by %d of %d requests, want some", rule, seen[rule], requests)
		}
	}
}

func TestTheLedgerIsBounded(t *testing.T) {
	l := ledger{small: slices.Repeat([]paced{{at: noon}}, pacedKept), barRequests: slices.Repeat([]time.Time{noon}, pacedKept)}
	l.noteSmall(paced{at: noon})
	l.noteBars(noon)
	if len(l.small) > pacedKept || len(l.barRequests) > pacedKept {
		t.Errorf("%d and %d requests are remembered, want at most %d", len(l.small), len(l.barRequests), pacedKept)
	}
}
