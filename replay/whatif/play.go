package whatif

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"ibconn/connector"
	"ibconn/events"
)

// player plays a world to a policy: it decides, applies and plans as the runner
// does, with a clock of its own, and a gateway that does what the log says.
type player struct {
	world  *World
	policy connector.Policy
	bound  Bound
	each   func(events.Recorded)

	now    moment
	offset time.Duration // what the clock was set by
	runs   bool
	state  events.State
	epoch  uint64
	events uint64
	tally  tally

	attempt uint64 // that steps were made for
	opened  moment // of its session
	heard   moment
	steps   []step // in their order

	probed, answered, asked uint64
	probedAt, askedAt       moment
}

// step is something that comes to an attempt later.
type step struct {
	at      moment
	attempt uint64
	do      func() error
}

const (
	// look is how often the runner looks whether something is due.
	look = 10 * time.Second
	// mostTurns is how often something may be due without time passing.
	mostTurns = 10_000
	// usual is how long an answer takes of which nothing is known.
	usual = 20 * time.Millisecond
)

func (p *player) play() error {
	p.state = events.NewState(p.world.connection)
	for _, h := range p.world.happenings {
		if h.at > p.world.end {
			break
		}
		// What comes to a process is in front of what is due just then, but for its end.
		until := h.at
		if !h.kill && h.shut == nil {
			until--
		}
		if err := p.passTo(until); err != nil {
			return err
		}
		p.now = h.at
		if err := p.happen(h); err != nil {
			return err
		}
		if err := p.settle(); err != nil {
			return err
		}
	}
	return p.passTo(p.world.end)
}

func (p *player) wall() time.Time { return p.world.wall(p.now, p.offset) }

func (p *player) happen(h happening) error {
	switch {
	case h.start != nil:
		return p.start(h.start)
	case !p.runs:
		return nil
	case h.kill:
		p.runs, p.steps = false, nil
	case h.shut != nil:
		err := p.give(connector.ShutDown{Reason: h.shut.Reason})
		p.runs, p.steps = false, nil
		return err
	case h.command != nil:
		return p.give(connector.Commanded{ID: h.command.CommandID, Verb: h.command.Verb, Reason: h.command.Reason})
	case h.jump != 0:
		p.offset += h.jump
		return p.give(connector.Jumped{By: h.jump})
	case h.notice != nil:
		return p.hear(*h.notice)
	case h.cut != nil:
		return p.cut(h.cut)
	}
	return nil
}

func (p *player) start(s *start) error {
	p.runs, p.steps, p.attempt = true, nil, 0
	p.probed, p.answered, p.asked = 0, 0, 0
	p.epoch, p.offset = s.epoch, s.offset
	began := connector.Started{}
	e := &events.EpochBegan{Instance: s.instance, PID: 1, PreviousEpoch: p.epoch - 1}
	if s.away {
		began.LastEventAt = p.world.wall(s.lastAt, p.offset)
		e.LastEventAt, e.Away = began.LastEventAt, events.Between(began.LastEventAt, p.wall())
	}
	p.record(events.Draft{Event: e})
	return p.give(began)
}

func (p *player) hear(n notice) error {
	if p.state.Phase != events.PhaseReady {
		return nil
	}
	if s, stalled := p.stall(); stalled && !s.bytes {
		return nil
	}
	p.heard = p.now
	return p.give(connector.Noticed{Attempt: p.state.Attempt.Number, RequestID: n.requestID, Code: n.code, Message: n.message})
}

func (p *player) cut(c *cut) error {
	attempting := p.state.Phase == events.PhaseReady || p.state.Phase == events.PhaseGreeting
	if !attempting || p.state.Phase == events.PhaseReady && c.silentFrom < p.opened {
		return nil
	}
	return p.give(connector.Ended{Attempt: p.state.Attempt.Number, Cause: c.cause, Detail: c.detail, Record: p.seen()})
}

// passTo lets time pass until a moment, and what is due on the way happen.
func (p *player) passTo(at moment) error {
	for turns := 0; p.runs; turns++ {
		due := p.due()
		if due > at {
			break
		}
		if due > p.now {
			p.now, turns = due, 0
		}
		if turns > mostTurns {
			return fmt.Errorf("what if: at %s there is always something due under this policy", p.wall().Format(time.RFC3339))
		}
		if err := p.turn(); err != nil {
			return err
		}
	}
	p.now = max(p.now, at)
	return nil
}

func (p *player) due() moment {
	due := p.now + look
	if len(p.steps) > 0 {
		due = min(due, p.steps[0].at)
	}
	plan := connector.PlanFor(p.state)
	at := func(t time.Time) moment { return t.Sub(p.world.began) - p.offset }
	switch {
	case plan.Probe > p.probed:
		due = min(due, at(plan.ProbeAt))
	case plan.Probe != 0:
		due = min(due, p.later(p.probedAt+p.policy.HeartbeatTimeout))
	case !plan.WakeAt.IsZero():
		due = min(due, p.later(at(plan.WakeAt)))
	}
	switch {
	case plan.LinkProbe > p.asked:
		due = min(due, at(plan.LinkProbeAt))
	case plan.LinkProbe != 0:
		due = min(due, p.later(p.askedAt+p.policy.LinkProbeTimeout))
	}
	return max(due, p.now)
}

// later is a moment at which the process is woken, if that is not now: it was woken
// now.
func (p *player) later(at moment) moment {
	if at <= p.now {
		return p.now + look
	}
	return at
}

// settle takes what comes to the attempt without time passing.
func (p *player) settle() error {
	for len(p.steps) > 0 && p.steps[0].at <= p.now {
		s := p.steps[0]
		p.steps = p.steps[1:]
		if s.attempt == p.state.Attempt.Number {
			if err := s.do(); err != nil {
				return err
			}
		}
	}
	return nil
}

// turn lets happen what is due.
func (p *player) turn() error {
	if err := p.settle(); err != nil {
		return err
	}
	plan := connector.PlanFor(p.state)
	if plan.Probe > p.probed && !p.wall().Before(plan.ProbeAt) {
		p.probe(plan.Probe)
	}
	if plan.LinkProbe > p.asked && !p.wall().Before(plan.LinkProbeAt) {
		p.probeLink(plan.LinkProbe)
	}
	return p.give(p.woke())
}

func (p *player) stall() (stall, bool) {
	return p.world.stallAt(p.now, p.opened, p.bound == Early)
}

// after has something done later, if the attempt goes on.
func (p *player) after(wait moment, do func() error) {
	s := step{p.now + wait, p.state.Attempt.Number, do}
	i := slices.IndexFunc(p.steps, func(other step) bool { return other.at > s.at })
	if i < 0 {
		i = len(p.steps)
	}
	p.steps = slices.Insert(p.steps, i, s)
}

// meet lets the gateway meet an attempt that begins.
func (p *player) meet() {
	attempt := p.state.Attempt
	p.attempt, p.steps = attempt.Number, nil
	p.probed, p.answered, p.asked = 0, 0, 0
	d := p.world.doorFor(p.now, attempt.Endpoint, p.bound == Early)
	if d.reach == refused && d.cause == events.CauseClientIDInUse && d.clientID != attempt.ClientID {
		d = p.world.opening() // only the one id is known to be taken
	}
	if d.reach == opened && d.clientID != attempt.ClientID && p.bound == Late && p.world.taken(p.now, attempt.Endpoint, attempt.ClientID) != nil {
		d = *p.world.taken(p.now, attempt.Endpoint, attempt.ClientID)
	}
	give := func(at moment, in connector.Input) { p.after(at, func() error { return p.give(in) }) }
	ended := connector.Ended{Attempt: attempt.Number, Cause: d.cause, Detail: d.words}
	switch {
	case d.reach == lost:
		return
	case !d.dialed && d.reach == hungUp:
		give(d.endIn, ended)
		return
	}
	give(d.reachIn, connector.Reached{Attempt: attempt.Number, Remote: attempt.Endpoint})
	if d.version > 0 {
		give(d.greetIn, connector.Greeted{Attempt: attempt.Number, ServerVersion: d.version})
	}
	switch d.reach {
	case hungUp:
		give(d.endIn, ended)
	case refused:
		give(d.endIn, connector.Noticed{Attempt: attempt.Number, RequestID: -1, Code: d.code, Message: d.words})
	case opened:
		p.after(d.endIn, func() error { return p.open(d) })
	case unknown, lost, accepted, greeted:
	}
}

func (p *player) open(d door) error {
	o := d.opened
	sent := p.wall().Add(-o.RTT.Duration())
	p.opened, p.heard = p.now, p.now
	for _, n := range d.news { // behind what the opening itself leads to
		p.after(n.after+1, func() error { return p.hear(n) })
	}
	return p.give(connector.Opened{
		Attempt: p.state.Attempt.Number, Accounts: o.Accounts, NextValidID: o.NextValidID,
		Answer: connector.Answer{SentAt: sent, ReceivedAt: p.wall(), Gateway: sent.Add(o.Skew.Duration())},
	})
}

// probe sends a heartbeat probe.
func (p *player) probe(number uint64) {
	p.probed, p.probedAt = number, p.now
	p.answer(usual, func() error {
		if p.answered >= p.probed {
			return nil // an answer names no probe; it is a sign of life
		}
		p.answered = p.probed
		sent := p.world.wall(p.probedAt, p.offset)
		return p.give(connector.Answered{
			Attempt: p.state.Attempt.Number, Number: p.probed,
			Answer: connector.Answer{SentAt: sent, ReceivedAt: p.wall(), Gateway: sent},
		})
	})
}

// probeLink sends a probe of the link.
func (p *player) probeLink(number uint64) {
	p.asked, p.askedAt = number, p.now
	if !p.world.linkUp(p.now) {
		return
	}
	sent, id := p.wall(), p.policy.LinkProbe(number, p.wall()).ID
	p.answer(p.world.linkTook, func() error {
		return p.give(connector.Found{Attempt: p.state.Attempt.Number, ID: id, SentAt: sent, At: p.wall(), Count: 1})
	})
}

// answer has the gateway answer something that is sent now, later if it is silent.
func (p *player) answer(wait moment, do func() error) {
	if s, stalled := p.stall(); stalled {
		if s.to == never {
			return
		}
		wait = s.to - p.now
	}
	p.after(wait, func() error {
		p.heard = p.now
		return do()
	})
}

// seen is what the session's tap saw.
func (p *player) seen() connector.FlightRecord {
	heard := p.heard
	rec := connector.FlightRecord{}
	if s, stalled := p.stall(); stalled {
		heard = max(heard, s.from)
		if s.bytes {
			heard = p.now
		}
		if s.unacked {
			rec.Unacked = 1
		}
	}
	rec.Traffic.HeardAt = p.world.wall(heard, p.offset)
	return rec
}

func (p *player) woke() connector.Woke {
	var w connector.Woke
	plan := connector.PlanFor(p.state)
	if p.state.Phase == events.PhaseReady {
		w.Record = p.seen()
	}
	if p.probed != 0 && p.probed == plan.Probe {
		w.ProbedAt = p.world.wall(p.probedAt, p.offset)
	}
	if p.asked != 0 && p.asked == plan.LinkProbe {
		w.LinkProbedAt = p.world.wall(p.askedAt, p.offset)
	}
	return w
}

// give decides on in, and on all that follows.
func (p *player) give(in connector.Input) error {
	cause := ""
	for range mostTurns {
		draft, ok := p.policy.Decide(p.state, in, p.wall())
		if _, woke := in.(connector.Woke); !ok && woke {
			return nil
		}
		if ok {
			if draft.Causation == "" {
				draft.Causation = cause
			}
			cause = p.record(draft)
			if dials := p.state.Phase == events.PhaseDialing; dials && p.state.Attempt.Number != p.attempt {
				p.meet()
			}
		}
		in = p.woke()
	}
	return fmt.Errorf("what if: at %s one thing leads to another without an end under this policy", p.wall().Format(time.RFC3339))
}

func (p *player) record(draft events.Draft) (id string) {
	r := events.Recorded{
		Connection: p.state.Connection, Sequence: p.state.Sequence, Epoch: p.epoch, Time: p.wall(),
		Correlation: draft.Correlation, Causation: draft.Causation, Event: draft.Event,
	}
	if !r.Heartbeat() {
		r.Sequence++
	}
	p.events++
	r.ID = strconv.FormatUint(p.events, 10)
	if e, ok := draft.Event.(events.StateEvent); ok {
		*e.After() = p.state.Apply(r).Standing
	}
	before := p.state
	p.state = p.state.Apply(r)
	p.tally.add(r, before, p.state)
	if e, ok := r.Event.(*events.SessionLost); ok && e.Cause == events.CauseHeartbeatLost {
		// The session is over in the state, but the gateway's silence goes on.
		if s, stalled := p.stall(); stalled && s.answered {
			p.tally.FalseAlarms++
		}
	}
	if p.each != nil {
		p.each(r)
	}
	return r.ID
}
