package verify_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/replay/verify"
	"ibconn/testenv/scenario"
)

// withoutSomeBeats is p after some heartbeats have expired.
func (p past) withoutSomeBeats(dice *rand.Rand) past {
	return slices.DeleteFunc(slices.Clone(p), func(s bus.Stored) bool {
		return strings.HasSuffix(s.Subject, ".heartbeat") && dice.IntN(2) == 0
	})
}

func sound(t *testing.T, what string, p past, o verify.Options) {
	t.Helper()
	if all := wrong(verified(t, p, o)); len(all) != 0 {
		t.Errorf("%s is called wrong:%s", what, words(all))
	}
}

func TestEveryScenarioIsSound(t *testing.T) {
	scenario.Each(t, "../../connector/testdata/scenarios/*.txt", func(t *testing.T, file string) {
		var p past
		stage(&p).Play(t, file)
		sound(t, file, p, verify.Options{Marks: p.mark()})
		sound(t, file+" without some heartbeats", p.withoutSomeBeats(rand.New(rand.NewPCG(1, 1))), verify.Options{Marks: p.mark()})
	})
}

func TestRandomNightsAreSound(t *testing.T) {
	for seed := range uint64(40) {
		p := night(t, seed)
		sound(t, fmt.Sprint("night ", seed), p, verify.Options{Marks: p.mark()})
		dice := rand.New(rand.NewPCG(seed, 3))
		p = p.withoutSomeBeats(dice)
		sound(t, fmt.Sprint("night ", seed, " without some heartbeats"), p, verify.Options{Marks: p.mark()})
		sound(t, fmt.Sprint("the end of night ", seed), p[dice.IntN(len(p)):], verify.Options{Partial: true})
	}
}

// TestEachDamageIsSaid changes a log in one way, and wants that said and nothing else.
func TestEachDamageIsSaid(t *testing.T) {
	replace := func(from, to string) func(b []byte) []byte {
		return func(b []byte) []byte { return bytes.Replace(slices.Clone(b), []byte(from), []byte(to), 1) }
	}
	change := func(seq uint64, how func([]byte) []byte) func(*testing.T, past) past {
		return func(t *testing.T, p past) past {
			i := p.at(t, seq)
			was := p[i].Payload
			if p[i].Payload = how(was); bytes.Equal(was, p[i].Payload) {
				t.Fatal("nothing was changed")
			}
			return p
		}
	}
	remove := func(from, to uint64) func(*testing.T, past) past {
		return func(t *testing.T, p past) past {
			return slices.DeleteFunc(p, func(s bus.Stored) bool {
				r, err := events.Decode(s.Payload)
				return err == nil && !r.Heartbeat() && from <= r.Sequence && r.Sequence <= to
			})
		}
	}
	swap := func(a, b uint64) func(*testing.T, past) past {
		return func(t *testing.T, p past) past {
			i, j := p.at(t, a), p.at(t, b)
			p[i], p[j] = p[j], p[i]
			return p.renumbered()
		}
	}
	again := func(seq, behind uint64) func(*testing.T, past) past {
		return func(t *testing.T, p past) past {
			return slices.Insert(p, p.at(t, behind)+1, p[p.at(t, seq)]).renumbered()
		}
	}
	for name, c := range map[string]struct {
		damage func(*testing.T, past) past
		kind   verify.Kind
		from   uint64 // the event that it is about
		words  string
	}{
		"an event is gone":            {remove(9, 9), verify.Missing, 9, "event 9 is missing, between event 8 (a-"},
		"a claim is gone":             {remove(17, 17), verify.Missing, 17, "event 17 is missing"},
		"several are gone":            {remove(8, 12), verify.Missing, 8, "5 events, 8 to 12, are missing, between event 7 (a-"},
		"the beginning is gone":       {remove(1, 4), verify.Missing, 1, "4 events, 1 to 4, are missing: the log of main begins behind them"},
		"the end is gone":             {remove(24, 26), verify.EndsEarly, 24, "3 events, 24 to 26, are missing at the end: the log of main ends at sequence 23, and event 26 was stored"},
		"all is gone":                 {func(*testing.T, past) past { return nil }, verify.EndsEarly, 1, "26 events, 1 to 26, are missing at the end"},
		"a word was changed":          {change(9, replace("a notice", "no notice")), verify.Changed, 9, "event 9 (a-"},
		"a word of the last":          {change(26, replace("a notice", "no notice")), verify.Changed, 26, "is not the one that was stored, by the high-water mark"},
		"a word of the one before it": {change(25, replace("a notice", "no notice")), verify.Changed, 25, "is not the one that was there when the next was written"},
		"a sequence was changed":      {change(20, replace(`"sequence":"000000000020"`, `"sequence":"000000000920"`)), verify.Changed, 20, "event 20 (b-"},
		"a sequence was made lower":   {change(20, replace(`"sequence":"000000000020"`, `"sequence":"000000000010"`)), verify.Changed, 20, "says that its sequence is 10"},
		"a link was changed":          {change(20, replace(`"prevhash":"`, `"prevhash":"0000`)), verify.Undecodable, 20, "it was event 20, and was changed after it was written"},
		"an epoch was changed":        {change(20, replace(`"epoch":2`, `"epoch":7`)), verify.Changed, 20, "says epoch 7, and the last claim is 2"},
		"a claim's epoch was changed": {change(17, replace(`"epoch":2`, `"epoch":1`)), verify.Changed, 17, "says epoch 1"},
		"an event is no event":        {change(9, replace("{", "[")), verify.Undecodable, 9, "is no event: events: decode: not an event: invalid character"},
		"an event of somebody else":   {change(9, replace(`"subject":"main"`, `"subject":"mein"`)), verify.WrongSubject, 9, "it says that it is one of mein; it was event 9, and was changed"},
		"two were swapped":            {swap(9, 10), verify.Swapped, 10, "event 10 (a-"},
		"two far apart were swapped":  {swap(18, 24), verify.Swapped, 24, "stands before event 18 (b-"},
		"an event stands twice":       {again(9, 9), verify.Duplicated, 9, "stands twice: as message "},
		"and much later":              {again(9, 23), verify.Duplicated, 9, "stands twice: as message "},
		"and at the end":              {again(9, 26), verify.Duplicated, 9, "stands twice: as message "},
		"another subject": {func(t *testing.T, p past) past {
			p[p.at(t, 9)].Subject = "ib.log.main.state"
			return p
		}, verify.WrongSubject, 9, "event 9 (ib.conn.error.gateway_reported) lies under a subject of kind state"},
		"a subject that is none": {func(t *testing.T, p past) past {
			return append(p, bus.Stored{Subject: "ib.log.x", StreamSeq: 99, Payload: []byte("{}")})
		}, verify.WrongSubject, 0, "message 99 is in the log, and subject"},
		"something that is no event among them": {func(t *testing.T, p past) past {
			return slices.Insert(p, 12, bus.Stored{Subject: "ib.log.main.state", Payload: []byte("hello")}).renumbered()
		}, verify.Undecodable, 0, "no event is missing there"},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := life(t)
			mark := p.mark()
			all := wrong(verified(t, c.damage(t, p), verify.Options{Marks: mark}))
			if len(all) != 1 || all[0].Kind != c.kind || all[0].Sequence != c.from || !strings.Contains(all[0].Words, c.words) {
				t.Errorf("found%s\nwant one finding, %s of event %d: %s", words(all), c.kind, c.from, c.words)
			}
		})
	}
}

func TestAHeartbeatOutOfPlaceIsSaid(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(t *testing.T, p past, i int) past // i is the index of the heartbeat behind event 9
		kind   verify.Kind
	}{
		"twice":           {func(_ *testing.T, p past, i int) past { return slices.Insert(p, i, p[i]) }, verify.Duplicated},
		"twice, later":    {func(_ *testing.T, p past, i int) past { return slices.Insert(p, i+2, p[i]) }, verify.Duplicated},
		"before its own":  {func(_ *testing.T, p past, i int) past { p[i-1], p[i] = p[i], p[i-1]; return p }, verify.Swapped},
		"behind the next": {func(_ *testing.T, p past, i int) past { p[i+1], p[i] = p[i], p[i+1]; return p }, verify.Swapped},
		"under another claim": {func(_ *testing.T, p past, i int) past {
			p[i].Payload = bytes.Replace(p[i].Payload, []byte(`"epoch":1`), []byte(`"epoch":3`), 1)
			return p
		}, verify.WrongEpoch},
		"of another log": {func(_ *testing.T, p past, i int) past {
			p[i].Payload = bytes.Replace(p[i].Payload, []byte(`"prevhash":"`+string(p[i].Payload[bytes.Index(p[i].Payload, []byte(`"prevhash":"`))+12])), []byte(`"prevhash":"x`), 1)
			p[i].Payload = bytes.Replace(p[i].Payload, []byte(`"prevhash":"x`), []byte(`"prevhash":"`+flip(p[i].Payload)), 1)
			return p
		}, verify.Changed},
	} {
		p, _ := life(t)
		mark := p.mark()
		p = c.damage(t, p, p.at(t, 9)+1).renumbered()
		all := wrong(verified(t, p, verify.Options{Marks: mark}))
		if len(all) != 1 || all[0].Kind != c.kind {
			t.Errorf("%s: found%s\nwant one finding, %s", name, words(all), c.kind)
		}
	}
}

// flip returns another digit than the first of the link.
func flip(payload []byte) string {
	if bytes.Contains(payload, []byte(`"prevhash":"xa`)) {
		return "b"
	}
	return "a"
}
