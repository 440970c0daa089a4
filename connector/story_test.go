package connector_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ibconn/connector"
	"ibconn/events"
)

// dawn is when every story begins.
var dawn = time.Date(2026, 3, 2, 7, 0, 0, 0, time.UTC)

// story plays inputs to a policy as the runner does, but by hand and with a
// clock of its own: it decides, records, applies and follows up, and checks at
// every event what must always hold.
type story struct {
	testing.TB
	policy connector.Policy
	now    time.Time
	state  events.State
	head   events.Head
	wires  [][]byte

	heard    time.Time // when the tap last heard a byte
	probed   uint64    // the last probe sent
	probedAt time.Time
	asked    uint64 // the last probe of the link sent
	askedAt  time.Time
	ids      int
	repeats  *connector.Repeats // counts what is said again; nil records each

	controlling string          // the control command that IBC is asked for
	askedIBC    map[string]bool // those that it was asked for, ever
}

// testPolicy does not probe the link: most stories are about something else.
func testPolicy() connector.Policy {
	p := connector.DefaultPolicy("gateway.example:4002", 7)
	p.LinkProbeEvery = 0
	return p
}

func newStory(t testing.TB) *story {
	s := &story{TB: t, policy: testPolicy(), now: dawn, state: events.NewState("main"), askedIBC: map[string]bool{}}
	s.claim()
	return s
}

// fork returns the story so far, to go on with apart.
func (s *story) fork() *story {
	f := *s
	f.wires = slices.Clip(f.wires)
	f.askedIBC = maps.Clone(f.askedIBC)
	return &f
}

func (s *story) author() events.Author {
	return events.Author{Connection: "main", Source: "/ibconn/host-1", NewID: func() string {
		s.ids++
		return fmt.Sprintf("event-%d", s.ids)
	}}
}

func (s *story) claim() {
	s.Helper()
	s.record(events.Draft{Event: &events.EpochBegan{Instance: "host-1", PID: 1, Version: "test", PreviousEpoch: s.head.Epoch}})
}

// restart is a crash and a new process on the same log.
func (s *story) restart() []events.Event {
	s.Helper()
	last := s.state.AsOf
	s.heard, s.probed, s.probedAt = time.Time{}, 0, time.Time{}
	s.asked, s.askedAt = 0, time.Time{}
	s.controlling = ""
	s.claim()
	return s.give(connector.Started{LastEventAt: last})
}

// give decides on in and on all that follows, and returns what was recorded.
func (s *story) give(in connector.Input) []events.Event {
	s.Helper()
	var recorded []events.Event
	var cause string
	for follow := 0; ; follow++ {
		if follow == 20+2*len(s.state.Subscriptions) { // each may be placed, and refused
			s.Fatalf("%T in %s leads to %s and on, want an end", in, s.state.Phase, names(recorded))
		}
		draft, ok := s.decide(in)
		if _, woke := in.(connector.Woke); !ok && woke {
			s.quiet()
			return recorded
		}
		if e, is := draft.Event.(*events.GatewayReported); is && s.repeats != nil && s.repeats.Absorb(e, s.now) {
			return recorded
		}
		if ok {
			if draft.Causation == "" {
				draft.Causation = cause
			}
			rec := s.record(draft)
			cause = rec.ID
			recorded = append(recorded, rec.Event)
			if connector.PlanFor(s.state).Attempt.Attempt == 0 {
				s.recordRepeats(true)
			}
		}
		in = s.woke()
	}
}

// recordRepeats records the counts that are due, or all there are.
func (s *story) recordRepeats(all bool) {
	s.Helper()
	if s.repeats == nil {
		return
	}
	for _, e := range s.repeats.Due(s.now, all) {
		s.record(events.Draft{Event: e, Correlation: fmt.Sprint("attempt-", e.Attempt)})
	}
}

// decide asks twice, since a pure function does not mind.
func (s *story) decide(in connector.Input) (events.Draft, bool) {
	s.Helper()
	draft, ok := s.policy.Decide(s.state, in, s.now)
	again, okAgain := s.policy.Decide(s.state, in, s.now)
	if ok != okAgain || !reflect.DeepEqual(draft, again) {
		s.Fatalf("Decide(%s, %#v) = %#v the first time and %#v the second", s.state.Phase, in, draft, again)
	}
	return draft, ok
}

func (s *story) record(draft events.Draft) events.Recorded {
	s.Helper()
	before := s.state
	moved, isState := draft.Event.(events.StateEvent)
	if isState {
		after := before.Apply(events.Recorded{
			Sequence: s.head.Sequence + 1, Epoch: s.head.Epoch, Time: s.now, Causation: draft.Causation, Event: draft.Event,
		})
		*moved.After() = after.Standing
	}
	rec, err := s.head.Next(s.author(), draft, s.now)
	if err != nil {
		s.Fatal(err)
	}
	if err := s.head.Follows(rec); err != nil {
		s.Fatalf("%s does not follow: %v", rec.Event.Type(), err)
	}
	s.state, s.head, s.wires = before.Apply(rec), s.head.Then(rec), append(s.wires, rec.Wire)
	s.checkEvent(before, rec)
	return rec
}

// checkEvent holds what is true after each event, whatever came before.
func (s *story) checkEvent(before events.State, rec events.Recorded) {
	s.Helper()
	e, isState := rec.Event.(events.StateEvent)
	if isState {
		if !reflect.DeepEqual(*e.After(), s.state.Standing) {
			s.Fatalf("%s says %+v of itself, want %+v", rec.Event.Type(), *e.After(), s.state.Standing)
		}
	} else if before.Phase != s.state.Phase {
		s.Fatalf("%s is no state event and moved %s to %s", rec.Event.Type(), before.Phase, s.state.Phase)
	}
	if err := events.Legal(before, s.state, rec); err != nil {
		s.Fatalf("%s stands where it may not: %v", rec.Event.Type(), err)
	}
	plan := connector.PlanFor(s.state)
	running := slices.Contains([]events.Phase{events.PhaseDialing, events.PhaseGreeting, events.PhaseReady}, s.state.Phase)
	if (plan.Attempt.Attempt != 0) != running {
		s.Fatalf("PlanFor(%s) runs attempt %d", s.state.Phase, plan.Attempt.Attempt)
	}
	resting := s.state.Phase == events.PhaseIdle || s.state.Phase == events.PhaseStopped
	if plan.WakeAt.IsZero() != resting {
		s.Fatalf("PlanFor(%s) wakes at %v", s.state.Phase, plan.WakeAt)
	}
	if (plan.Probe != 0) != (s.state.Phase == events.PhaseReady) {
		s.Fatalf("PlanFor(%s) sends probe %d", s.state.Phase, plan.Probe)
	}
	if id := plan.Control.CommandID; id != s.controlling {
		if s.askedIBC[id] {
			s.Fatalf("%s has IBC asked for %s a second time", rec.Event.Type(), id)
		}
		if id != "" && s.controlling != "" {
			s.Fatalf("%s has IBC asked for %s while it is asked for %s", rec.Event.Type(), id, s.controlling)
		}
		s.controlling, s.askedIBC[id] = id, id != ""
	}
}

// quiet holds what is true once nothing more follows from an input.
func (s *story) quiet() {
	s.Helper()
	settled := s.state.Phase == events.PhaseReady && !s.state.Link.Unproven || s.state.Phase == events.PhaseTripped ||
		s.state.Phase == events.PhaseStopped && !s.state.Wanted
	for _, c := range s.state.Pending {
		switch {
		case c.Verb.Control() && s.controlling != "": // it is under way, or waits for the one that is
		case settled:
			s.Fatalf("%s, and %+v is without an outcome", s.state.Phase, c)
		case !c.Acted && s.state.Phase != events.PhaseStopped:
			s.Fatalf("%s, and %+v is not begun", s.state.Phase, c)
		}
	}
}

// controlled is IBC's answer to the control command that is under way.
func (s *story) controlled(said string) connector.Input {
	return connector.Controlled{CommandID: s.controlling, Said: said}
}

// refused is IBC's refusal of it.
func (s *story) refused(code events.ErrorCode, why string) connector.Input {
	return connector.Controlled{CommandID: s.controlling, Failure: &events.AnswerError{Code: code, Message: why}}
}

func (s *story) woke() connector.Woke {
	w := connector.Woke{Record: connector.FlightRecord{Traffic: events.Traffic{HeardAt: s.heard}}}
	if s.probed != 0 && s.probed == connector.PlanFor(s.state).Probe {
		w.ProbedAt = s.probedAt
	}
	if s.asked != 0 && s.asked == connector.PlanFor(s.state).LinkProbe {
		w.LinkProbedAt = s.askedAt
	}
	return w
}

// pass lets d pass, then sends the probe that is due and wakes the connection.
func (s *story) pass(d time.Duration) []events.Event {
	s.Helper()
	s.now = s.now.Add(d)
	if plan := connector.PlanFor(s.state); plan.Probe > s.probed && !s.now.Before(plan.ProbeAt) {
		s.probed, s.probedAt = plan.Probe, s.now
	}
	if plan := connector.PlanFor(s.state); plan.LinkProbe > s.asked && !s.now.Before(plan.LinkProbeAt) {
		s.asked, s.askedAt = plan.LinkProbe, s.now
	}
	return s.give(s.woke())
}

// passTo lets the time pass until at.
func (s *story) passTo(at time.Time) []events.Event {
	s.Helper()
	return s.pass(at.Sub(s.now))
}

func (s *story) reached() connector.Input {
	return connector.Reached{Attempt: s.state.Attempt.Number, Remote: "192.0.2.7:4002"}
}

func (s *story) greeted() connector.Input {
	return connector.Greeted{Attempt: s.state.Attempt.Number, ServerVersion: 203, GatewayTime: "20260302 07:00:00 UTC"}
}

func (s *story) opened() connector.Input {
	s.heard, s.probed, s.probedAt = s.now, 0, time.Time{}
	s.asked, s.askedAt = 0, time.Time{}
	return connector.Opened{
		Attempt: s.state.Attempt.Number, Accounts: []string{"DU1234567"}, NextValidID: 12,
		Answer: s.answer(s.now, 20*time.Millisecond),
	}
}

func (s *story) answer(sent time.Time, rtt time.Duration) connector.Answer {
	return connector.Answer{SentAt: sent, ReceivedAt: sent.Add(rtt), Gateway: sent.Truncate(time.Second)}
}

// answered answers the probe of that number, which was sent as the last one.
func (s *story) answered(number uint64) connector.Input {
	s.heard = s.now
	return connector.Answered{Attempt: s.state.Attempt.Number, Number: number, Answer: s.answer(s.probedAt, s.now.Sub(s.probedAt))}
}

// found answers the probe of the link of that number, which was sent as the
// last one.
func (s *story) found(number uint64) connector.Input {
	s.heard = s.now
	sent := s.askedAt
	if sent.IsZero() {
		sent = s.now
	}
	return connector.Found{Attempt: s.state.Attempt.Number, ID: linkProbeID(number), SentAt: sent, At: s.now, Count: 3}
}

// linkProbeID is the request id of the numberth probe of the link.
func linkProbeID(number uint64) int64 { return 1<<30 + int64(number) }

func (s *story) ended(cause events.Cause) connector.Input {
	return connector.Ended{Attempt: s.state.Attempt.Number, Cause: cause, Detail: "as the system words it"}
}

func (s *story) noticed(code int, message string) connector.Input {
	return connector.Noticed{Attempt: s.state.Attempt.Number, RequestID: -1, Code: code, Message: message}
}

func (s *story) command(id string, verb events.Verb) []events.Event {
	s.Helper()
	return s.give(connector.Commanded{ID: id, Verb: verb, Reason: "because"})
}

// dial, greet and open bring the story to that phase by the shortest way.
func (s *story) dial() *story {
	s.Helper()
	s.give(connector.Started{})
	return s.in(events.PhaseDialing)
}

func (s *story) greet() *story {
	s.Helper()
	s.dial().give(s.reached())
	return s.in(events.PhaseGreeting)
}

func (s *story) open() *story {
	s.Helper()
	s.greet().reopen()
	return s
}

// reopen makes the attempt that was started succeed.
func (s *story) reopen() {
	s.Helper()
	s.give(s.reached())
	s.give(s.greeted())
	s.give(s.opened())
	s.in(events.PhaseReady)
}

// trip fails attempts until the breaker opens.
func (s *story) trip() *story {
	s.Helper()
	s.dial()
	for range s.policy.BreakerAfter {
		s.in(events.PhaseDialing).give(s.ended(events.CauseRefused))
		if s.state.Phase == events.PhaseWaiting {
			s.passTo(s.state.RetryAt)
		}
	}
	return s.in(events.PhaseTripped)
}

func (s *story) in(want events.Phase) *story {
	s.Helper()
	if s.state.Phase != want {
		s.Fatalf("the connection is %s, want it %s", s.state.Phase, want)
	}
	return s
}

// check holds what is true of a whole story.
func (s *story) check() {
	s.Helper()
	fold := events.NewState("main")
	for _, w := range s.wires {
		rec, err := events.Decode(w)
		if err != nil {
			s.Fatal(err)
		}
		fold = fold.Apply(rec)
	}
	sameState(s, fold, s.state)
}

// sameState compares states, and takes one through JSON on the way.
func sameState(t testing.TB, folded, live events.State) {
	t.Helper()
	if !reflect.DeepEqual(folded, live) {
		t.Fatalf("the log folds to\n%+v\nwant the live state\n%+v", folded, live)
	}
	b, err := json.Marshal(live)
	if err != nil {
		t.Fatal(err)
	}
	var read events.State
	if err := json.Unmarshal(b, &read); err != nil {
		t.Fatal(err)
	}
	read.Recent, read.Subscriptions = live.Recent, live.Subscriptions // not part of the JSON form
	if !reflect.DeepEqual(read, live) {
		t.Fatalf("the state comes back from JSON as\n%+v\nwant\n%+v", read, live)
	}
}

func names(recorded []events.Event) string {
	var list []string
	for _, e := range recorded {
		list = append(list, e.Type().What())
	}
	return strings.Join(list, " ")
}

// wantEvents compares what was recorded with the events' short names.
func wantEvents(t testing.TB, why string, got []events.Event, want string) {
	t.Helper()
	if g := names(got); g != want {
		t.Fatalf("%s: recorded %q, want %q", why, g, want)
	}
}

// find returns the last event of its type among those recorded.
func find[E events.Event](t testing.TB, recorded []events.Event) E {
	t.Helper()
	for _, e := range slices.Backward(recorded) {
		if e, ok := e.(E); ok {
			return e
		}
	}
	var none E
	t.Fatalf("recorded %q, want a %T among it", names(recorded), none)
	return none
}
