package connector_test

import (
	"testing"
	"time"

	"ibconn/connector"
	"ibconn/events"
	"ibconn/testenv/scenario"
)

// TestScenarios plays the files in testdata/scenarios against the pure core.
// Package scenario says how they are to be read; package endtoend plays them
// against the runner, the dialer and a simulated gateway.
func TestScenarios(t *testing.T) {
	stage := pureStage()
	stage.Update = *update
	scenario.Each(t, "testdata/scenarios/*.txt", func(t *testing.T, file string) { stage.Play(t, file) })
}

func pureStage() scenario.Stage {
	return scenario.Stage{Open: func(tb testing.TB, s scenario.Setup) scenario.World {
		return &pureWorld{
			delay: 20 * time.Millisecond, linked: true, gone: true,
			story: &story{
				TB: tb, policy: s.Policy, now: s.Began, state: events.NewState("main"),
				repeats: connector.NewRepeats(s.Policy.RepeatEvery),
			},
		}
	}}
}

// pureWorld is a story with a gateway of a few lines.
type pureWorld struct {
	*story
	manners scenario.Manners
	delay   time.Duration // from a probe to its answer; negative for never
	streams bool          // other bytes come all the time
	linked  bool          // the gateway reaches IB
	gone    bool          // no process runs
	turned  time.Time     // when it last had something to do

	leaves  time.Time // when the probe that was sent may leave; zero when it has
	spaced  time.Time // when the next one may
	left    uint64    // the newest that left
	leftAt  time.Time // when
	waiting bool      // it is not answered
	owed    []owed    // the answers under way
}

// owed is an answer under way. It does not say to which probe it is one.
type owed struct {
	attempt uint64
	at      time.Time // when it is received
}

// Start begins a process on the log, be it the first or one after a crash.
func (w *pureWorld) Start() {
	w.Helper()
	var last time.Time
	if n := len(w.wires); n > 0 {
		rec, err := events.Decode(w.wires[n-1])
		if err != nil {
			w.Fatal(err)
		}
		last = rec.Time
	}
	w.gone, w.heard, w.probed, w.probedAt, w.leaves = false, time.Time{}, 0, time.Time{}, time.Time{}
	w.asked, w.askedAt = 0, time.Time{}
	w.record(events.Draft{Event: &events.EpochBegan{
		Instance: "host-1", PID: 1, Version: "test", PreviousEpoch: w.head.Epoch, Away: events.Between(last, w.now),
	}})
	w.take(connector.Started{LastEventAt: last})
	w.settle()
}

func (w *pureWorld) Kill() {
	w.gone, w.owed, w.repeats = true, nil, connector.NewRepeats(w.policy.RepeatEvery)
}

func (w *pureWorld) Command(id string, verb events.Verb, reason string) {
	w.Helper()
	if w.gone {
		w.Fatalf("no process runs")
	}
	w.take(connector.Commanded{ID: id, Verb: verb, Reason: reason})
	w.settle()
}

func (w *pureWorld) Jump(by time.Duration) {
	w.Helper()
	w.now, w.probedAt, w.askedAt = w.now.Add(by), w.probedAt.Add(by), w.askedAt.Add(by)
	if !w.leaves.IsZero() {
		w.leaves = w.leaves.Add(by)
	}
	for i := range w.owed {
		w.owed[i].at = w.owed[i].at.Add(by)
	}
	if w.gone {
		return
	}
	w.take(connector.Jumped{By: by})
	w.settle()
}

func (w *pureWorld) Meet(m scenario.Manners) {
	w.Helper()
	w.manners = m
	w.settle()
}

func (w *pureWorld) Answer(after time.Duration, streams bool) { w.delay, w.streams = after, streams }

func (w *pureWorld) Link(up bool) { w.linked = up }

func (w *pureWorld) Say(code int, text string) {
	w.Helper()
	if w.gone || w.state.Phase != events.PhaseReady {
		return // nobody hears it
	}
	w.heard = w.now
	w.take(w.noticed(code, text))
	w.settle()
}

func (w *pureWorld) Close() { w.Helper(); w.cut(events.CauseClosedByGateway) }
func (w *pureWorld) Reset() { w.Helper(); w.cut(events.CauseReset) }

func (w *pureWorld) cut(cause events.Cause) {
	w.Helper()
	if w.gone || w.state.Phase != events.PhaseGreeting && w.state.Phase != events.PhaseReady {
		return // there is no connection
	}
	w.take(w.ended(cause))
	w.settle()
}

func (w *pureWorld) CloseAgain(attempt uint64) {
	w.Helper()
	w.take(connector.Ended{Attempt: attempt, Cause: events.CauseClosedByGateway})
	w.settle()
}

func (w *pureWorld) Now() time.Time { return w.now }

func (w *pureWorld) Wires() [][]byte { return w.wires }

func (w *pureWorld) State() events.State { return w.state }

func (w *pureWorld) End() { w.check() }

// PassTo lets the time pass until at, and takes what is due on the way.
func (w *pureWorld) PassTo(at time.Time) {
	w.Helper()
	for !w.gone && w.now.Before(at) {
		if w.now = earliest(at, w.due()); w.streams {
			w.heard = w.now
		}
		if w.now.Equal(at) {
			w.wake() // as it is at each line of the file, whatever is due
		}
		w.settle()
	}
	w.now = at
}

// settle takes all that happens without time passing: news of the gateway
// finds the process waiting.
func (w *pureWorld) settle() {
	w.Helper()
	for range 100 {
		w.meet()
		switch {
		case w.gone:
			return
		case !w.processDue().After(w.now):
			w.wake()
		case !w.leaves.IsZero() && !w.leaves.After(w.now):
			w.leave()
		case len(w.owed) > 0 && !w.owed[0].at.After(w.now):
			w.answerNewest()
		default:
			return
		}
	}
	w.Fatalf("there is always something due")
}

// look is how often the runner looks whether something is due, whatever is planned.
const look = 10 * time.Second

// due returns when something happens next by itself.
func (w *pureWorld) due() time.Time {
	due := w.processDue()
	if !w.leaves.IsZero() {
		due = earliest(due, w.leaves)
	}
	if len(w.owed) > 0 {
		due = earliest(due, w.owed[0].at)
	}
	return due
}

func (w *pureWorld) processDue() time.Time {
	plan, due := connector.PlanFor(w.state), w.turned.Add(look)
	switch {
	case plan.Probe > w.probed:
		due = earliest(due, plan.ProbeAt)
	case plan.Probe != 0:
		due = earliest(due, w.probedAt.Add(w.policy.HeartbeatTimeout))
	case !plan.WakeAt.IsZero():
		due = earliest(due, plan.WakeAt)
	}
	switch {
	case plan.LinkProbe > w.asked:
		due = earliest(due, plan.LinkProbeAt)
	case plan.LinkProbe != 0:
		due = earliest(due, w.askedAt.Add(w.policy.LinkProbeTimeout))
	}
	if at := w.repeats.WakeAt(); !at.IsZero() {
		due = earliest(due, at)
	}
	return due
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// wake lets the process do what is due.
func (w *pureWorld) wake() {
	w.Helper()
	w.turned = w.now
	attempt, probed, asked := w.state.Attempt.Number, w.probed, w.asked
	w.recordRepeats(false)
	w.passTo(w.now)
	if w.asked > asked && w.state.Phase == events.PhaseReady {
		w.search(attempt)
	}
	switch {
	case w.state.Attempt.Number != attempt || w.state.Phase != events.PhaseReady:
		w.leaves = time.Time{}
	case w.probed > probed:
		w.leaves = later(w.now, earliest(w.spaced, w.now.Add(connector.ProbeSpacing)))
		w.probedAt = w.now.Add(w.policy.HeartbeatTimeout) // should it never leave
	}
}

// search is what becomes of a probe of the link.
func (w *pureWorld) search(attempt uint64) {
	w.Helper()
	id := linkProbeID(w.asked)
	w.take(connector.Passed{Attempt: attempt, ID: id, Outcome: connector.OutcomeSent, At: w.now})
	if w.linked && w.delay >= 0 {
		w.heard = w.now
		w.take(connector.Found{Attempt: attempt, ID: id, SentAt: w.askedAt, At: w.now, Count: 1})
	}
}

// leave is what becomes of a probe when the dialer's spacing lets it go.
func (w *pureWorld) leave() {
	w.leaves, w.spaced = time.Time{}, w.now.Add(connector.ProbeSpacing)
	w.left, w.leftAt, w.waiting, w.probedAt = w.probed, w.now, true, w.now
	w.take(connector.Probed{Attempt: w.state.Attempt.Number, Number: w.probed, At: w.now})
	if w.delay >= 0 {
		w.owed = append(w.owed, owed{w.state.Attempt.Number, w.now.Add(w.delay)})
	}
}

// answerNewest takes the next answer as the dialer does: as one to the newest
// probe that left, because it names none, and as a sign of life when that one
// is answered.
func (w *pureWorld) answerNewest() {
	w.Helper()
	attempt := w.owed[0].attempt
	if w.owed = w.owed[1:]; attempt != w.state.Attempt.Number || w.state.Phase != events.PhaseReady {
		return // the gateway forgot it with the session
	}
	w.heard, w.spaced = w.now, w.now.Add(connector.ProbeSpacing)
	if w.waiting {
		w.waiting = false
		w.take(connector.Answered{Attempt: attempt, Number: w.left, Answer: w.answer(w.leftAt, w.now.Sub(w.leftAt))})
	}
}

// take gives the process something, which wakes it.
func (w *pureWorld) take(in connector.Input) {
	w.Helper()
	w.turned = w.now
	w.give(in)
}

// meet takes the present attempt as far as the gateway lets it come, and the
// next one if that comes at once.
func (w *pureWorld) meet() {
	w.Helper()
	for range 100 {
		dialing, greeting := w.state.Phase == events.PhaseDialing, w.state.Phase == events.PhaseGreeting
		if w.gone || !dialing && !greeting {
			return
		}
		reach := w.manners.For(connector.PlanFor(w.state).Attempt)
		switch {
		case reach == scenario.Lost:
			return
		case dialing && reach == scenario.Refused:
			w.take(w.ended(events.CauseRefused))
		case dialing:
			w.take(connector.Reached{Attempt: w.state.Attempt.Number, Remote: w.state.Attempt.Endpoint})
		case reach == scenario.Accepted:
			return
		case reach == scenario.Refused || reach == scenario.HungUp:
			w.take(w.ended(events.CauseClosedByGateway))
		case w.state.Attempt.GreetedAt.IsZero():
			w.take(w.greeted())
		case reach == scenario.Greeted:
			return
		case reach == scenario.Denied:
			w.take(w.noticed(326, "Unable to connect as the client id is already in use."))
		default:
			w.take(w.opened())
			w.spaced, w.waiting, w.leaves = w.now.Add(connector.ProbeSpacing), false, time.Time{}
		}
	}
	w.Fatalf("attempts follow each other without an end")
}
