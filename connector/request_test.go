package connector

import (
	"strconv"
	"testing"
	"time"

	"ibconn/events"
)

var noon = time.Date(2026, 12, 14, 12, 0, 0, 0, time.UTC)

func details(id int64, lastDay string) events.ContractDetails {
	return events.ContractDetails{Contract: events.Contract{ConID: id, LastTradeDateOrContractMonth: lastDay}}
}

func TestWhatIsRememberedOfContractsIsBounded(t *testing.T) {
	var k contracts
	for i := range int64(2 * maxKnown) {
		k.add(events.Contract{Symbol: "S" + strconv.FormatInt(i, 10)}, details(i+1, ""), noon)
		if i%3 == 0 { // again, which takes no further room
			k.add(events.Contract{ConID: i + 1}, details(i+1, ""), noon)
		}
	}
	if len(k.all) != maxKnown || len(k.order) != maxKnown {
		t.Errorf("%d descriptions are remembered, in an order of %d, want %d", len(k.all), len(k.order), maxKnown)
	}
	if _, _, ok := k.find(events.Contract{ConID: 1}, noon); ok {
		t.Error("the oldest contract is remembered, want it to have given way")
	}
	if c, _, ok := k.find(events.Contract{ConID: 2 * maxKnown}, noon); !ok || c.ConID != 2*maxKnown {
		t.Errorf("the newest contract is %+v, %v", c, ok)
	}
}

func TestWhatMayBeStaleIsNotRemembered(t *testing.T) {
	for _, tt := range []struct {
		name, lastDay string
		after         time.Duration
		want          bool
	}{
		{"at once", "", 0, true},
		{"a day less a second later", "", knownFor - time.Second, true},
		{"a day later", "", knownFor, false},
		{"by a clock that was set back", "", -time.Second, false},
		{"before its last day", "20261215", 11 * time.Hour, true},
		{"on its last day", "20261215", 12 * time.Hour, false},
		{"when it was asked for on its last day", "20261214", time.Hour, true},
		{"with a month alone", "202612", time.Hour, true},
	} {
		var k contracts
		k.add(events.Contract{Symbol: "ES"}, details(7, tt.lastDay), noon)
		for range 2 {
			if _, at, ok := k.find(events.Contract{Symbol: "ES"}, noon.Add(tt.after)); ok != tt.want || ok && !at.Equal(noon) {
				t.Errorf("%s it is remembered: %v, want %v", tt.name, ok, tt.want)
			}
		}
	}
}

// ready is the state of a connection that may be asked something.
func ready() events.State {
	s := events.NewState("main")
	s.Phase, s.Link.Status = events.PhaseReady, events.LinkUp
	return s
}

func newInquiry(until time.Time) (*inquiry, chan events.Answer) {
	answer := make(chan events.Answer, 1)
	return &inquiry{contract: events.Contract{Symbol: "NOPE"}, until: until, answer: answer}, answer
}

func TestIDsEndBeforeThoseOfProbes(t *testing.T) {
	r := requests{connection: "main", last: lastRequestID - 1}
	q, answer := newInquiry(noon.Add(time.Minute))
	m, ok := r.ask(ready(), q, noon)
	if !ok || m.ID != lastRequestID {
		t.Fatalf("the last request is %+v, %v, want it sent", m, ok)
	}
	// It may still need a search a second.
	for at := noon; at.Before(q.until); at = at.Add(proofWithin) {
		r.hear(ready(), Noticed{RequestID: m.ID, Code: noContract, Message: "none"}, at)
		if search, ok := r.due(ready(), at); !ok || search.ID >= linkProbeIDs {
			t.Fatalf("after %v the search is %+v, %v, want one below the probes' ids", at.Sub(noon), search, ok)
		}
	}
	late, refused := newInquiry(noon.Add(time.Minute))
	if m, ok := r.ask(ready(), late, noon); ok {
		t.Fatalf("one request too many was sent as %+v", m)
	}
	if a := <-refused; a.OK || a.Error.Code != events.ErrorInternal {
		t.Errorf("one request too many is answered %+v, want internal", a)
	}
	r.due(ready(), q.until)
	if a := <-answer; a.OK || a.Error.Code != events.ErrorUnavailable {
		t.Errorf("the last request is answered %+v, want unavailable", a)
	}
	if len(r.open) != 0 || !r.wakeAt().IsZero() {
		t.Errorf("%d requests are under way, and due at %v, want none", len(r.open), r.wakeAt())
	}
}

func TestAClockThatJumpsLeavesRequestsTheirTime(t *testing.T) {
	r := requests{connection: "main"}
	q, answer := newInquiry(noon.Add(10 * time.Second))
	r.ask(ready(), q, noon)
	r.shift(time.Hour)
	r.due(ready(), noon.Add(time.Hour+9*time.Second))
	if len(answer) != 0 {
		t.Fatalf("nine of its ten seconds after the clock jumped the request is answered %+v", <-answer)
	}
	r.due(ready(), noon.Add(time.Hour+10*time.Second))
	if a := <-answer; a.Error.Code != events.ErrorExpired {
		t.Errorf("the request is answered %+v, want expired", a)
	}
}

func TestNewsOfNoRequestIsNotTaken(t *testing.T) {
	r := requests{connection: "main"}
	q, answer := newInquiry(noon.Add(10 * time.Second))
	m, _ := r.ask(ready(), q, noon)
	for _, in := range []Input{
		Noticed{RequestID: -1, Code: 1100},
		Noticed{RequestID: m.ID, Code: 1100},
		Noticed{RequestID: m.ID + 1, Code: noContract},
		Noticed{RequestID: 0, Code: 200},
		Noticed{RequestID: linkProbeIDs + 1, Code: 504},
		Noticed{RequestID: m.ID, Code: 2104, Message: "Market data farm connection is OK:usfarm"},
		Found{ID: 0, Count: 1},
		Found{ID: linkProbeIDs + 1, Count: 1},
		Passed{ID: linkProbeIDs + 1, Outcome: OutcomeLost},
		Woke{},
		Ended{},
	} {
		if r.hear(ready(), in, noon) {
			t.Errorf("%T %+v is taken for a request's", in, in)
		}
	}
	if len(answer) != 0 || len(r.open) != 1 {
		t.Errorf("the request is answered %+v, want it to wait", <-answer)
	}
}
