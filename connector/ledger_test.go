package connector

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// sentQuery is a query as the gateway sees it.
type sentQuery struct {
	at   time.Duration
	slot *slot
}

// broken says which of IB's rules, without margins, the last of all breaks.
func broken(all []sentQuery) string {
	last := all[len(all)-1]
	burst, quota := 0, 0
	for _, q := range all {
		since := last.at - q.at
		if q.slot != last.slot && since < 15*time.Second && q.slot.same == last.slot.same {
			return "identical within 15 s"
		}
		if since < 2*time.Second && q.slot.series == last.slot.series {
			burst++
		}
		if since < 10*time.Minute {
			quota += q.slot.weight
		}
	}
	switch {
	case burst >= 6:
		return "six within 2 s"
	case quota > 60:
		return "more than 60 within 10 minutes"
	}
	return ""
}

// TestALedgerKeepsIBsRules has random queries leave some time after they were
// let go, or never, and holds each against IB's own rules.
func TestALedgerKeepsIBsRules(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			var l Ledger
			var now time.Duration
			var pending, open []*slot
			var sent []sentQuery
			let, refused := 0, 0
			for range 2000 {
				now += time.Duration(rnd.Int64N(int64(4 * time.Second)))
				if rnd.IntN(3) == 0 {
					now += time.Duration(rnd.Int64N(int64(20 * time.Second)))
				}
				series := fmt.Sprintf("series %d", rnd.IntN(3))
				s := &slot{series: series, same: fmt.Sprintf("%s %d", series, rnd.IntN(20)), weight: 1 + rnd.IntN(2), small: true}
				wait, ok := l.take(s, now)
				switch {
				case ok != (wait == 0):
					t.Fatalf("take says %v, %v", wait, ok)
				case ok:
					let++
					pending = append(pending, s)
				default:
					refused++
				}
				for range rnd.IntN(3) {
					if len(pending) == 0 {
						break
					}
					i := rnd.IntN(len(pending))
					s := pending[i]
					pending = append(pending[:i], pending[i+1:]...)
					if rnd.IntN(10) == 0 {
						l.unsent(s)
						continue
					}
					l.sent(s, now)
					sent = append(sent, sentQuery{now, s})
					if rule := broken(sent); rule != "" {
						t.Fatalf("at %v a query broke the rule: %s", now, rule)
					}
					open = append(open, s)
				}
				for len(open) > 0 && rnd.IntN(2) == 0 {
					l.answered(open[0], now)
					open = open[1:]
				}
				if n := len(pending) + len(open); n > openMost || n != l.open {
					t.Fatalf("%d queries are open, and by the ledger %d, want the same, and at most %d", n, l.open, openMost)
				}
			}
			// The rules leave room for 58 in 601 s; without a tenth of that used
			// the test would hold nothing.
			if most := int(now/quotaWithin) * quotaMost; refused == 0 || len(sent) < most/10 {
				t.Errorf("in %v %d queries were let go, %d left and %d had to wait, want more", now, let, len(sent), refused)
			}
		})
	}
}

// TestALedgerSaysHowLongToWait asks again when it said, and not a moment later.
func TestALedgerSaysHowLongToWait(t *testing.T) {
	fill := func(n int, change func(i int, s *slot)) *Ledger {
		l := new(Ledger)
		l.take(&slot{}, 0)
		for i := range n {
			s := &slot{same: fmt.Sprint(i), series: fmt.Sprint(i), weight: 1, small: true}
			change(i, s)
			at := quotaWithin + time.Duration(i)*time.Millisecond // what it began with is over
			if _, ok := l.take(s, at); !ok {
				t.Fatalf("query %d has to wait", i)
			}
			l.sent(s, at)
			l.answered(s, at)
		}
		return l
	}
	begun := quotaWithin
	for _, tt := range []struct {
		name string
		l    *Ledger
		s    slot
		want time.Duration
	}{
		{"identical", fill(1, func(_ int, s *slot) { s.same = "x" }), slot{same: "x", series: "y", weight: 1, small: true}, begun + identicalWithin},
		{"burst", fill(5, func(_ int, s *slot) { s.series = "x" }), slot{same: "y", series: "x", weight: 1, small: true}, begun + burstWithin},
		{"quota", fill(58, func(int, *slot) {}), slot{same: "y", series: "y", weight: 1, small: true}, begun + quotaWithin},
		{"quota for two", fill(57, func(int, *slot) {}), slot{same: "y", series: "y", weight: 2, small: true}, begun + quotaWithin},
		{"quota of two each", fill(29, func(_ int, s *slot) { s.weight = 2 }), slot{same: "y", series: "y", weight: 2, small: true}, begun + quotaWithin},
		{"large bars", fill(58, func(int, *slot) {}), slot{same: "0", series: "0", weight: 1}, 0},
	} {
		now := begun + 100*time.Millisecond
		wait, ok := tt.l.take(&tt.s, now)
		if tt.want == 0 {
			if !ok {
				t.Errorf("%s: has to wait %v, want it to go", tt.name, wait)
			}
			continue
		}
		if ok || now+wait != tt.want {
			t.Errorf("%s: may go at %v, want %v", tt.name, now+wait, tt.want)
		}
		if wait, ok := tt.l.take(&tt.s, tt.want-1); ok || wait != 1 {
			t.Errorf("%s: a moment before it has to wait %v, want that moment", tt.name, wait)
		}
		if _, ok := tt.l.take(&tt.s, tt.want); !ok {
			t.Errorf("%s: it may not go when it was said to", tt.name)
		}
	}
}

func TestALedgerBeginsHalfUsed(t *testing.T) {
	var l Ledger
	n := 0
	for ; n < 100; n++ {
		s := &slot{same: fmt.Sprint(n), series: fmt.Sprint(n), weight: 1, small: true}
		if _, ok := l.take(s, 0); !ok {
			break
		}
		l.answered(s, 0)
	}
	if n != quotaMost-quotaBegun {
		t.Errorf("a new process lets %d queries go at once, want %d", n, quotaMost-quotaBegun)
	}
}

func TestALedgerBoundsWhatIsOpen(t *testing.T) {
	var l Ledger
	var all []*slot
	for range openMost {
		s := &slot{}
		if _, ok := l.take(s, 0); !ok {
			t.Fatalf("query %d has to wait", len(all))
		}
		all = append(all, s)
	}
	if _, ok := l.take(&slot{}, 0); ok {
		t.Errorf("query %d may go, want it to wait", openMost+1)
	}
	l.answered(all[0], 0)
	l.answered(all[0], 0) // which counts once
	if _, ok := l.take(&slot{}, 0); !ok {
		t.Error("with one answered the next may not go")
	}
	if _, ok := l.take(&slot{}, 0); ok {
		t.Error("with one answered two may go")
	}
}

func TestGatewaysHaveLedgersOfTheirOwn(t *testing.T) {
	var all Ledgers
	if a := all.For("a:1"); a != all.For("a:1") || a == all.For("b:1") {
		t.Error("want one ledger for each gateway")
	}
}
