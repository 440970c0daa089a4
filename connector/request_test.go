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
	r.ask(ready(), q, noon)
	sent := r.due(ready(), noon)
	if len(sent) != 1 || sent[0].ID != lastRequestID {
		t.Fatalf("the last request is %+v, want it sent", sent)
	}
	m := sent[0]
	// It may still need a search a second.
	for at := noon; at.Before(q.until); at = at.Add(proofWithin) {
		r.hear(ready(), Noticed{RequestID: m.ID, Code: noContract, Message: "none"}, at)
		if search := r.due(ready(), at); len(search) != 1 || search[0].ID >= linkProbeIDs {
			t.Fatalf("after %v the search is %+v, want one below the probes' ids", at.Sub(noon), search)
		}
	}
	late, refused := newInquiry(noon.Add(time.Minute))
	r.ask(ready(), late, noon)
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
	r.due(ready(), noon)
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
	r.ask(ready(), q, noon)
	m := r.due(ready(), noon)[0]
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

func TestCallersOfOneContractShareARequest(t *testing.T) {
	r := requests{connection: "main"}
	brief, briefly := newInquiry(noon.Add(2 * time.Second))
	r.ask(ready(), brief, noon)
	first := r.due(ready(), noon)
	if len(first) != 1 || !first[0].Expires.Equal(brief.until) {
		t.Fatalf("the request is %+v, want one that expires with its caller's time", first)
	}
	patient, patiently := newInquiry(noon.Add(time.Minute))
	r.ask(ready(), patient, noon.Add(time.Second))
	if sent := r.due(ready(), noon.Add(time.Second)); len(sent) != 0 {
		t.Errorf("a second caller has %+v sent, want it to wait for the first one's", sent)
	}
	// It got no turn: the one goes, and for the other it is given out again.
	at := noon.Add(2 * time.Second)
	r.hear(ready(), Passed{ID: first[0].ID, Outcome: OutcomeExpired}, at)
	second := r.due(ready(), at)
	if len(second) != 1 || second[0].ID <= first[0].ID || !second[0].Expires.Equal(patient.until) {
		t.Fatalf("after the first expired there is sent %+v, want it again with the other's time", second)
	}
	if a := <-briefly; a.Error.Code != events.ErrorExpired {
		t.Errorf("the first caller is answered %+v, want expired", a)
	}
	r.hear(ready(), Passed{ID: second[0].ID, Outcome: OutcomeSent}, at)
	// Who comes soon after it left waits for it, who comes later does not.
	soon, soonAnswer := newInquiry(noon.Add(time.Minute))
	r.ask(ready(), soon, at.Add(sharedFor-time.Millisecond))
	late, lateAnswer := newInquiry(noon.Add(time.Minute))
	r.ask(ready(), late, at.Add(sharedFor))
	third := r.due(ready(), at.Add(sharedFor))
	if len(third) != 1 {
		t.Fatalf("for who comes late there is sent %+v, want a request of its own", third)
	}
	r.hear(ready(), Described{ID: second[0].ID, Contracts: []events.ContractDetails{details(7, "")}, Total: 1}, at.Add(2*sharedFor))
	for _, answer := range []chan events.Answer{patiently, soonAnswer} {
		if a := <-answer; !a.OK || a.Contracts[0].ConID != 7 {
			t.Errorf("who shares the request is answered %+v, want what was found", a)
		}
	}
	if len(lateAnswer) != 0 || len(r.open) != 1 {
		t.Errorf("%d requests are left, want that of who came late", len(r.open))
	}
}
