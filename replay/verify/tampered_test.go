package verify_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/replay/verify"
)

// tampering does one thing to a log, by dice, and says what, and which events that is
// about. The last of them says nothing where it did nothing.
type tampering func(p past, dice *rand.Rand) (past, string, []uint64)

// links are the indices of the events that are not heartbeats.
func (p past) links() []int {
	var all []int
	for i, s := range p {
		if !strings.HasSuffix(s.Subject, ".heartbeat") {
			all = append(all, i)
		}
	}
	return all
}

func (p past) sequence(i int) uint64 {
	r, _ := events.Decode(p[i].Payload)
	return r.Sequence
}

var tamperings = map[string]tampering{
	"flip": func(p past, dice *rand.Rand) (past, string, []uint64) {
		of := p.links()
		i := of[dice.IntN(len(of))]
		seq, at := p.sequence(i), dice.IntN(len(p[i].Payload))
		p[i].Payload = slices.Clone(p[i].Payload)
		p[i].Payload[at] ^= 1 << dice.IntN(8)
		return p, fmt.Sprintf("byte %d of event %d", at, seq), []uint64{seq, seq + 1}
	},
	"remove": func(p past, dice *rand.Rand) (past, string, []uint64) {
		of := p.links()
		i := of[dice.IntN(len(of))]
		seq := p.sequence(i)
		return slices.Delete(p, i, i+1), fmt.Sprint("event ", seq), []uint64{seq}
	},
	"swap": func(p past, dice *rand.Rand) (past, string, []uint64) {
		of := p.links()
		a, b := dice.IntN(len(of)), dice.IntN(len(of))
		if a == b {
			return p, "", nil
		}
		i, j := of[a], of[b]
		seqs := []uint64{p.sequence(i), p.sequence(j)}
		p[i], p[j] = p[j], p[i]
		return p.renumbered(), fmt.Sprint("events ", seqs), seqs
	},
	"swap with a heartbeat": func(p past, dice *rand.Rand) (past, string, []uint64) {
		of := p.links()
		i, j := of[dice.IntN(len(of))], dice.IntN(len(p))
		if !strings.HasSuffix(p[j].Subject, ".heartbeat") {
			return p, "", nil
		}
		seqs := []uint64{p.sequence(i), p.sequence(j)}
		p[i], p[j] = p[j], p[i]
		return p.renumbered(), fmt.Sprint("events ", seqs, " the second a heartbeat"), seqs
	},
	"duplicate": func(p past, dice *rand.Rand) (past, string, []uint64) {
		i, j := dice.IntN(len(p)), dice.IntN(len(p)+1)
		seq := p.sequence(i)
		return slices.Insert(p, j, p[i]).renumbered(), fmt.Sprintf("message %d (event %d) at %d", i+1, seq, j+1), []uint64{seq}
	},
	"second writer": func(p past, dice *rand.Rand) (past, string, []uint64) {
		of := p.links()
		at := dice.IntN(len(of))
		i := of[at]
		r, _ := events.Decode(p[i].Payload)
		head := events.Head{}.Then(r)
		if dice.IntN(2) == 0 && head.Epoch > 1 {
			head.Epoch--
		}
		foreign, err := head.Next(events.Author{Connection: "main", Source: "/ibconn/another", NewID: func() string { return "foreign" }},
			events.Draft{Event: &events.GatewayReported{Attempt: 1, RequestID: -1, Code: 2100, Class: events.ClassInfo, Message: "foreign"}}, r.Time)
		if err != nil {
			panic(err)
		}
		behind := min(i+1+dice.IntN(4), len(p))
		if last := at == len(of)-1; last { // then it is an event like any other, for whoever has no mark
			return p, "", nil
		}
		return slices.Insert(p, behind, stored(foreign, 0)).renumbered(), fmt.Sprintf("behind message %d, on event %d, epoch %d", behind, r.Sequence, head.Epoch), []uint64{r.Sequence + 1}
	},
}

// TestWhateverIsTamperedWithIsFound changes random nights at random, one thing at a
// time: it is found, it is said of which event, and the rest is not called wrong.
func TestWhateverIsTamperedWithIsFound(t *testing.T) {
	kinds := map[string]map[verify.Kind]int{}
	for what, tamper := range tamperings {
		kinds[what] = map[verify.Kind]int{}
		for seed := range uint64(20) {
			was := night(t, seed)
			for round := range uint64(10) {
				dice := rand.New(rand.NewPCG(seed, round))
				p, how, about := tamper(slices.Clone(was), dice)
				if how == "" || slices.EqualFunc(p, was, same) {
					continue
				}
				all := wrong(verified(t, p, verify.Options{Marks: was.mark()}))
				damage := slices.DeleteFunc(slices.Clone(all), func(f verify.Finding) bool { return f.Severity != verify.Damage })
				names := slices.ContainsFunc(damage, func(f verify.Finding) bool {
					return slices.ContainsFunc(about, func(seq uint64) bool { return f.Sequence <= seq && seq <= max(f.Sequence, f.ToSequence) })
				})
				if len(damage) == 0 || len(damage) > 4 || len(all) > 6 || !names {
					t.Fatalf("night %d round %d, %s: %s: found%s\nwant the events %d named, and nothing else", seed, round, what, how, words(all), about)
				}
				for _, f := range damage {
					kinds[what][f.Kind]++
				}
			}
		}
		t.Log(what, kinds[what])
	}
}

func same(a, b bus.Stored) bool { return string(a.Payload) == string(b.Payload) }

// TestTheEndIsWhatItWasOrIsSaid cuts nights short.
func TestTheEndIsWhatItWasOrIsSaid(t *testing.T) {
	for seed := range uint64(10) {
		was := night(t, seed)
		for _, i := range was.links()[1:] {
			all := wrong(verified(t, was[:i], verify.Options{Marks: was.mark()}))
			if len(all) != 1 || all[0].Kind != verify.EndsEarly || all[0].Sequence != was.sequence(i) {
				t.Fatalf("night %d, cut before event %d: found%s", seed, was.sequence(i), words(all))
			}
		}
	}
}

// FuzzAdd lets any bytes come, under any subjects, between good events.
func FuzzAdd(f *testing.F) {
	good, _ := life(f)
	for _, s := range good[:20] {
		f.Add(s.Payload, s.Subject, uint(3), uint(5))
	}
	f.Add([]byte("{}"), "ib.log.main.state", uint(0), uint(0))
	f.Fuzz(func(t *testing.T, payload []byte, subject string, at, again uint) {
		p := slices.Clone(good)
		for range 1 + again%5 {
			p = slices.Insert(p, int(at%uint(len(p))), bus.Stored{Subject: subject, Payload: slices.Clone(payload)})
			at = at*7 + 1
		}
		// A heartbeat that another resembles in all but what it says can stand beside it.
		r, err := events.Decode(payload)
		beat := err == nil && r.Heartbeat()
		marks := good.mark()
		for _, partial := range []bool{false, true} {
			if len(verified(t, p.renumbered(), verify.Options{Marks: marks, Partial: partial})) == 0 && !beat {
				t.Error("something was put into the log, and nothing is said")
			}
		}
	})
}
