package whatif

import (
	"errors"
	"fmt"
	"iter"
	"time"

	"ibconn/connector"
	"ibconn/events"
)

// Learn reads the world from the events of one connection, oldest first. It keeps
// nothing of heartbeats that were answered in time, and so what is not one of them.
// An error of past ends it; so does an event of another connection. Outcomes are of the
// time between from and to; where one is zero, of all that there is on that side. What
// was before is needed to know how things stood, and what came after to know how the
// gateway would have met an attempt.
func Learn(past iter.Seq2[events.Recorded, error], from, to time.Time) (*World, error) {
	l := learner{to: to, recorded: tally{from: from}}
	l.world.from, l.world.linkTook = from, usual
	for r, err := range past {
		if err != nil {
			return nil, fmt.Errorf("what if: %w", err)
		}
		if l.world.connection != "" && r.Connection != l.world.connection {
			return nil, fmt.Errorf("what if: event %d is of connection %s, and those before of %s", r.Sequence, r.Connection, l.world.connection)
		}
		l.add(r)
	}
	switch {
	case l.world.connection == "":
		return nil, errors.New("what if: there are no events")
	case !to.IsZero() && !l.began:
		return nil, fmt.Errorf("what if: there are no events until %s", to.Format(time.RFC3339))
	}
	l.endStall(l.last, false)
	l.world.order()
	if !l.over {
		l.ends(l.last, l.offset)
	}
	return &l.world, nil
}

// learner makes a World of events.
type learner struct {
	world  World
	state  events.State
	last   moment
	offset time.Duration // what the clock was set by

	attempt  door  // the one that is under way
	session  int   // where in doors is what the present session came through; -1 for none
	silent   stall // that goes on
	stalling bool

	to       time.Time // the end of what counts
	over     bool      // it was come to
	began    bool      // something was before it
	recorded tally     // what came of it under the policy that was
	cut      bool      // nothing is known yet of how things stood when the log began
}

// ends has the world end at a moment, by a clock that was set by an offset, unless it
// turns out to go on.
func (l *learner) ends(at moment, offset time.Duration) {
	l.world.end, l.world.until = at, l.world.wall(at, offset)
	counted := l.recorded
	counted.to(l.state, l.world.until)
	l.world.recorded = counted.outcome()
}

func (l *learner) add(r events.Recorded) {
	if l.world.connection == "" {
		l.world.connection, l.world.began, l.session = r.Connection, r.Time, -1
		l.state = events.NewState(r.Connection)
		if !r.Claim() { // the log was cut: somebody was there
			l.happens(happening{start: &start{epoch: r.Epoch, instance: "before"}})
			l.cut = true
		}
	}
	if l.cut {
		l.assume(r)
	}
	before := l.offset
	if e, ok := r.Event.(*events.ClockJumped); ok {
		l.offset += e.By.Duration()
	}
	if passed := r.Time.Sub(l.world.began) - l.offset; r.Claim() && passed < l.last {
		l.offset += passed - l.last // it was set back while nobody was there to see
	}
	// Small corrections of the clock are not on record.
	at := max(r.Time.Sub(l.world.began)-l.offset, l.last)
	if beyond := !l.to.IsZero() && r.Time.After(l.to); beyond && !l.over {
		l.ends(min(max(l.to.Sub(l.world.began)-before, l.last), at), before)
		l.over = true
	} else if !beyond {
		l.began, l.over = true, false // also if it was come to before the clock was set back
	}
	l.last = at
	l.process(at, before, r)
	l.met(at, r)
	l.answers(at, r)
	l.reached(at, r)
	l.says(at, r)
	after := l.state.Apply(r)
	l.recorded.add(r, l.state, after)
	l.state = after
}

// assume takes the first word of how things stood when a log begins in the middle: of a
// session, it was there from the beginning.
func (l *learner) assume(r events.Recorded) {
	switch r.Event.(type) {
	case *events.HeartbeatAnswered, *events.HeartbeatMissed, *events.LinkAnswered, *events.LinkMissed,
		*events.SessionStale, *events.SessionFresh, *events.SessionLost, *events.LinkWentDown, *events.LinkCameBack,
		*events.LinkProven, *events.LinkFellSilent, *events.FarmChanged, *events.CompetingBegan, *events.CompetingEnded:
		began := events.Recorded{Connection: r.Connection, Epoch: r.Epoch, Sequence: r.Sequence, Time: l.world.began, Event: &events.SessionOpened{NextProbeAt: r.Time, AnswerBy: r.Time}}
		l.state = l.state.Apply(began)
		l.door(door{reach: opened, dialed: true, version: 1})
		l.cut = false
	case events.StateEvent:
		l.cut = false
	default:
	}
}

func (l *learner) happens(h happening) {
	h.at = l.last
	l.world.happenings = append(l.world.happenings, h)
}

// process takes what came to the process. Before is what the clock was set by before.
func (l *learner) process(at moment, before time.Duration, r events.Recorded) {
	switch e := r.Event.(type) {
	case *events.EpochBegan:
		s := &start{epoch: r.Epoch, instance: e.Instance, lastAt: at, away: e.PreviousEpoch > 0}
		if s.away {
			s.lastAt = min(at, max(e.LastEventAt.Sub(l.world.began)-before, 0))
			l.world.happenings = append(l.world.happenings, happening{at: s.lastAt, kill: true})
			l.endStall(s.lastAt, false)
			l.door(door{from: s.lastAt, until: at, reach: unknown})
			l.session = -1
		}
		s.offset = l.offset
		l.happens(happening{start: s})
	case *events.Stopped:
		if e.Cause == events.CauseShutdown {
			l.happens(happening{shut: e})
		}
	case *events.CommandAccepted:
		switch e.Verb {
		case events.VerbReconnect, events.VerbConnect, events.VerbDisconnect:
			l.happens(happening{command: e})
		default: // the gateway does what was asked for, or nothing of it concerns the session
		}
	case *events.ClockJumped:
		l.happens(happening{jump: e.By.Duration()})
	default:
	}
}

// met takes how attempts went.
func (l *learner) met(at moment, r events.Recorded) {
	switch e := r.Event.(type) {
	case *events.DialStarted:
		l.attempt = door{from: at, endpoint: e.Endpoint, clientID: e.ClientID, reach: lost}
	case *events.GatewayReached:
		l.attempt.dialed, l.attempt.reachIn, l.attempt.reach = true, at-l.attempt.from, accepted
	case *events.GatewayGreeted:
		l.attempt.greetIn, l.attempt.version, l.attempt.reach = at-l.attempt.from, e.ServerVersion, greeted
	case *events.SessionOpened:
		l.attempt.reach, l.attempt.endIn, l.attempt.opened = opened, at-l.attempt.from, *e
		l.attempt.until = at
		l.door(l.attempt)
		l.session = len(l.world.doors) - 1
	case *events.DialFailed:
		l.failed(at, e)
	case *events.SessionLost:
		l.session = -1
		switch e.Cause {
		case events.CauseAskedFor, events.CauseProcessRestarted: // the gateway was not asked
		default:
			l.door(door{from: at, until: at, reach: unknown})
		}
	case *events.Stopped:
		l.session = -1
	default:
	}
}

func (l *learner) failed(at moment, e *events.DialFailed) {
	d := l.attempt
	d.until, d.endIn, d.cause, d.code, d.words = at, at-d.from, e.Cause, e.Code, e.Detail
	switch {
	case e.Cause == events.CauseAskedFor, e.Cause == events.CauseShutdown, e.Cause == events.CauseProcessRestarted:
		// How it would have gone on nobody knows.
	case e.Cause == events.CauseDialTimeout, e.Cause == events.CauseMuteInGreeting: // as far as it came
	case e.Code != 0:
		d.reach = refused
	default:
		d.reach = hungUp
	}
	l.door(d)
}

func (l *learner) door(d door) { l.world.doors = append(l.world.doors, d) }

// answers takes when the gateway answered, and when it did not.
func (l *learner) answers(at moment, r events.Recorded) {
	switch e := r.Event.(type) {
	case *events.HeartbeatAnswered:
		if l.stalling {
			l.endStall(at, true)
		} else if took := e.RTT.Duration(); took >= slow {
			l.world.stalls = append(l.world.stalls, stall{from: at - took, asked: at - took, to: at, answered: true})
		}
	case *events.HeartbeatMissed:
		// A probe is sent when it is due, or a moment later.
		asked := min(at, max(l.state.Heartbeat.NextProbeAt.Sub(l.world.began)-l.offset, 0))
		if e.Misses > 0 {
			l.fellSilent(at-e.Silent.Duration(), asked)
		} else if !l.stalling {
			l.fellSilent(asked, asked)
			l.silent.bytes = true
		}
	case *events.SessionStale:
		l.fellSilent(at-e.Silent.Duration(), at-e.Silent.Duration()) // unless it is known already
	case *events.SessionFresh:
		l.endStall(at, true)
	case *events.SessionLost:
		l.sessionLost(at, e)
	case *events.Stopped:
		l.endStall(at, false)
	default:
	}
}

func (l *learner) fellSilent(from, asked moment) {
	if l.stalling && !l.silent.bytes {
		return
	}
	from = max(from, 0)
	l.stalling, l.silent = true, stall{from: from, asked: max(asked, from)}
}

func (l *learner) endStall(at moment, answered bool) {
	if l.stalling {
		l.silent.to, l.silent.answered = at, answered
		l.world.stalls = append(l.world.stalls, l.silent)
	}
	l.stalling = false
}

func (l *learner) sessionLost(at moment, e *events.SessionLost) {
	ours := connector.GaveUp(e)
	if ours && !l.stalling { // the heartbeats have expired
		l.fellSilent(at-e.Silent.Duration(), at-e.Silent.Duration())
	}
	from := never
	if l.stalling {
		from, l.silent.unacked = l.silent.from, e.Cause == events.CauseNetworkTimeout
	}
	l.endStall(at, false)
	switch e.Cause {
	case events.CauseAskedFor, events.CauseShutdown, events.CauseProcessRestarted:
		return
	}
	if !ours {
		l.happens(happening{cut: &cut{cause: e.Cause, detail: e.Detail, silentFrom: from}})
	}
}

// reached takes whether IB's servers could be reached.
func (l *learner) reached(at moment, r events.Recorded) {
	up := func(is bool, from moment) {
		if n := len(l.world.links); n == 0 || l.world.links[n-1].up != is {
			if n > 0 {
				from = max(from, l.world.links[n-1].from)
			}
			l.world.links = append(l.world.links, linked{from, is})
		}
	}
	switch e := r.Event.(type) {
	case *events.LinkProven:
		if e.RTT.Duration() < slow {
			l.world.linkTook = e.RTT.Duration()
		}
		up(true, at)
	case *events.SessionOpened, *events.LinkCameBack, *events.LinkAnswered:
		up(true, at)
	case *events.LinkWentDown:
		up(false, at)
	case *events.LinkMissed:
		if !e.Expected {
			up(false, at-linkTimeout)
		}
	case *events.LinkFellSilent:
		up(false, at)
	default:
	}
}

// says takes what the gateway said in a session.
func (l *learner) says(at moment, r events.Recorded) {
	n := notice{requestID: -1}
	switch e := r.Event.(type) {
	case *events.LinkWentDown:
		n.code, n.message = e.Code, e.Message
	case *events.LinkCameBack:
		n.code, n.message = e.Code, e.Message
	case *events.FarmChanged:
		n.code, n.message = e.Code, e.Message
	case *events.CompetingBegan:
		n.code, n.message = e.Code, e.Message
	case *events.PacingReduced:
		n.code, n.message = e.Code, e.Message
	case *events.PortChanged:
		n.code, n.message = 1300, e.Message
	case *events.GatewayReported:
		n.code, n.message = e.Code, e.Message
	case *events.GatewayRepeated:
		n.code, n.message = e.Code, e.Message
	default:
		return
	}
	if n.code == 0 {
		return
	}
	if l.session >= 0 {
		through := &l.world.doors[l.session]
		if n.after = at - through.until; n.after < greetingNews {
			through.news = append(through.news, n)
			return
		}
	}
	l.happens(happening{notice: &n})
}
