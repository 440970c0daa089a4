package connector

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"ibconn/events"
)

// Decide says what in means to a connection in state s at time now: the event
// to record, or nothing. It is pure. One input leads to at most one event;
// what follows from the state after it is found by deciding on [Woke] again,
// until there is nothing more.
func (p Policy) Decide(s events.State, in Input, now time.Time) (events.Draft, bool) {
	switch in := in.(type) {
	case Started:
		return p.started(s, in, now)
	case Commanded:
		return p.commanded(s, in)
	case Controlled:
		return p.controlled(s, in, now)
	case ShutDown:
		if s.Phase != events.PhaseStopped {
			return stop(s, events.CauseShutdown, in.Reason, now), true
		}
	case Woke:
		return p.due(s, in, now)
	case Jumped:
		return p.jumped(s, in, now)
	case Damaged:
		return events.Draft{Event: &in.Damage}, true
	case Abandoned:
		return about(in.Attempt, &events.SessionAbandoned{Attempt: in.Attempt, Waited: events.MillisOf(in.Waited), Total: in.Total}), true
	case Refused:
		return about(in.Attempt, &events.FrameRefused{Attempt: in.Attempt, MessageID: in.MessageID, Name: in.Name, Size: in.Size}), true
	case Reached:
		if s.Phase == events.PhaseDialing && in.Attempt == s.Attempt.Number {
			return p.reached(s, in, now), true
		}
	case Greeted:
		if s.Phase == events.PhaseGreeting && in.Attempt == s.Attempt.Number && s.Attempt.GreetedAt.IsZero() {
			return p.greeted(s, in, now), true
		}
	case Opened:
		if s.Phase == events.PhaseGreeting && in.Attempt == s.Attempt.Number && !s.Attempt.GreetedAt.IsZero() {
			return p.opened(s, in, now), true
		}
	case Probed: // Woke carries what the runner makes of it
	case Answered:
		if s.Phase == events.PhaseReady && in.Attempt == s.Attempt.Number {
			return p.answered(s, in, now)
		}
	case Found:
		if s.Phase == events.PhaseReady && in.Attempt == s.Attempt.Number {
			return p.found(s, in, now)
		}
	case Described, Brought, BarsCame: // the runner gives them to whom they are for; nothing is recorded
	case Arrived:
		if s.Phase == events.PhaseReady && in.Attempt == s.Attempt.Number {
			return p.arrived(s, in, now)
		}
	case Missing:
		return p.missing(s, in)
	case Backfilled:
		return p.backfilled(s, in, now)
	case Learned:
		return p.learned(s, in)
	case Passed:
		if s.Phase == events.PhaseReady && in.Attempt == s.Attempt.Number {
			return p.passed(s, in, now)
		}
	case Noticed:
		if attempting(s) && in.Attempt == s.Attempt.Number {
			return p.noticed(s, in, now)
		}
	case Ended:
		if attempting(s) && in.Attempt == s.Attempt.Number {
			return p.ended(s, in, now), true
		}
	}
	return events.Draft{}, false
}

// attempting says whether an attempt or a session is going on.
func attempting(s events.State) bool {
	switch s.Phase {
	case events.PhaseDialing, events.PhaseGreeting, events.PhaseReady:
		return true
	case events.PhaseIdle, events.PhaseWaiting, events.PhaseTripped, events.PhaseStopped:
	}
	return false
}

// about makes an event belong to an attempt.
func about(attempt uint64, e events.Event) events.Draft {
	return events.Draft{Event: e, Correlation: "attempt-" + strconv.FormatUint(attempt, 10)}
}

// started makes the log say that whatever was going on is over, or that the
// connection is wanted. A failure that was only our own process's end does not
// count against the gateway.
func (p Policy) started(s events.State, in Started, now time.Time) (events.Draft, bool) {
	switch s.Phase {
	case events.PhaseReady:
		return about(s.Attempt.Number, &events.SessionLost{
			Attempt:  s.Attempt.Number,
			Cause:    events.CauseProcessRestarted,
			Uptime:   events.Between(s.Session.OpenedAt, in.LastEventAt),
			Away:     events.Between(in.LastEventAt, now),
			Failures: p.failuresBefore(s, in.LastEventAt),
			RetryAt:  now,
			Window:   p.window(now),
		}), true
	case events.PhaseDialing, events.PhaseGreeting:
		return p.failed(s, events.CauseProcessRestarted, "", 0, FlightRecord{}, now), true
	case events.PhaseStopped:
		if !s.Wanted {
			return events.Draft{}, false
		}
	case events.PhaseIdle, events.PhaseWaiting, events.PhaseTripped:
	}
	return events.Draft{Event: &events.ConnectRequested{By: events.AskerStart, RetryAt: now}}, true
}

func (p Policy) reached(s events.State, in Reached, now time.Time) events.Draft {
	return about(in.Attempt, &events.GatewayReached{
		Attempt:    in.Attempt,
		Remote:     in.Remote,
		Took:       events.Between(s.Attempt.StartedAt, now),
		DeadlineAt: now.Add(p.GreetingTimeout),
	})
}

func (p Policy) greeted(s events.State, in Greeted, now time.Time) events.Draft {
	return about(in.Attempt, &events.GatewayGreeted{
		Attempt:       in.Attempt,
		ServerVersion: in.ServerVersion,
		GatewayTime:   quote(in.GatewayTime),
		Took:          events.Between(s.Attempt.StartedAt, now),
		DeadlineAt:    s.Attempt.ReachedAt.Add(p.ReadyTimeout),
	})
}

func (p Policy) opened(s events.State, in Opened, now time.Time) events.Draft {
	accounts := make([]string, 0, min(len(in.Accounts), maxAccounts))
	for _, a := range in.Accounts[:cap(accounts)] {
		accounts = append(accounts, maskAccount(a))
	}
	next := now.Add(p.HeartbeatEvery)
	return about(in.Attempt, &events.SessionOpened{
		Attempt:       in.Attempt,
		ServerVersion: s.Attempt.ServerVersion,
		ClientID:      s.Attempt.ClientID,
		Endpoint:      s.Attempt.Endpoint,
		Accounts:      accounts,
		NextValidID:   in.NextValidID,
		Took:          events.Between(s.Attempt.StartedAt, now),
		RTT:           events.Between(in.Answer.SentAt, in.Answer.ReceivedAt),
		Skew:          in.Answer.skew(),
		Outage:        events.Between(s.OutageSince, now),
		NextProbeAt:   next,
		AnswerBy:      next.Add(p.HeartbeatTimeout),
		ProbeLinkAt:   p.probeLinkAt(s, now),
	})
}

// skew returns the gateway's clock minus ours. The gateway answers in whole
// seconds, so its time is taken as the middle of that second, and compared
// with the middle of the round trip.
func (a Answer) skew() events.Millis {
	middle := a.SentAt.Add(a.ReceivedAt.Sub(a.SentAt) / 2)
	return events.MillisOf(a.Gateway.Add(time.Second / 2).Sub(middle))
}

// ended turns the end of a socket into a failed attempt or a lost session,
// whichever it was.
func (p Policy) ended(s events.State, in Ended, now time.Time) events.Draft {
	cause := cmp.Or(in.Cause, events.CauseOther)
	if hungUp := cause == events.CauseClosedByGateway || cause == events.CauseReset; hungUp && now.Sub(s.Pacing.CutAt) < punishment {
		cause = events.CausePacing
	}
	if s.Phase == events.PhaseReady {
		return p.lost(s, cause, in.Detail, in.Record, now)
	}
	if s.Phase == events.PhaseGreeting && cause == events.CauseClosedByGateway {
		cause = events.CauseClosedInGreeting
	}
	return p.failed(s, cause, in.Detail, 0, in.Record, now)
}

// punishment is how soon after an error 100 the end of a session is taken for
// its consequence: three breaches end one if the gateway is set to reject.
const punishment = 10 * time.Second

// failed ends the present attempt. That our own process ended is no failure of
// the gateway.
func (p Policy) failed(s events.State, cause events.Cause, detail string, code int, rec FlightRecord, now time.Time) events.Draft {
	failures := s.Failures
	var delay time.Duration
	if cause != events.CauseProcessRestarted {
		failures++
		delay = p.retryDelay(failures, roll(s), now)
	}
	if cause == events.CauseClientIDInUse {
		delay = max(delay, p.idDelay(s.Gateway.IDRefusals))
	}
	return about(s.Attempt.Number, &events.DialFailed{
		Attempt:  s.Attempt.Number,
		Stage:    s.Phase,
		Cause:    cause,
		Detail:   quote(detail),
		Code:     code,
		Took:     events.Between(s.Attempt.StartedAt, now),
		Failures: failures,
		RetryAt:  now.Add(delay),
		RetryIn:  events.MillisOf(delay),
		Window:   p.window(now),
		Traffic:  rec.Traffic,
		Flight:   rec.Frames,
	})
}

// lost ends the present session.
func (p Policy) lost(s events.State, cause events.Cause, detail string, rec FlightRecord, now time.Time) events.Draft {
	failures := p.failuresBefore(s, now) + 1
	delay := p.retryDelay(failures, roll(s), now)
	return about(s.Attempt.Number, &events.SessionLost{
		Attempt:  s.Attempt.Number,
		Cause:    cause,
		Detail:   quote(detail),
		Uptime:   events.Between(s.Session.OpenedAt, now),
		Silent:   events.Between(rec.Traffic.HeardAt, now),
		Failures: failures,
		RetryAt:  now.Add(delay),
		RetryIn:  events.MillisOf(delay),
		Window:   p.window(now),
		Traffic:  rec.Traffic,
		Flight:   rec.Frames,
	})
}

// window names the maintenance window that now lies in, if any.
func (p Policy) window(now time.Time) string {
	if w, ok := p.Windows.At(now); ok {
		return w.String()
	}
	return ""
}

// failuresBefore returns the failures in a row before the present session
// ended at a time. A session that was ready for long enough forgets them, so
// that its first retry comes at once.
func (p Policy) failuresBefore(s events.State, end time.Time) int {
	if end.Sub(s.Session.OpenedAt) >= p.StableAfter {
		return 0
	}
	return s.Failures
}

func stop(s events.State, cause events.Cause, reason string, now time.Time) events.Draft {
	e := &events.Stopped{Cause: cause, Reason: quote(reason)}
	if attempting(s) {
		e.Attempt = s.Attempt.Number
		e.Uptime = events.Between(s.Session.OpenedAt, now)
	}
	return events.Draft{Event: e}
}

// due finds what the state and the time alone call for.
func (p Policy) due(s events.State, in Woke, now time.Time) (events.Draft, bool) {
	if d, ok := p.outcome(s, now); ok {
		return d, true
	}
	if d, ok := p.carryOut(s, in.Record, now); ok {
		return d, true
	}
	if d, ok := p.login(s, now); ok {
		return d, true
	}
	if s.Pacing.PerSecond > 0 && !now.Before(s.Pacing.Until) {
		return events.Draft{Event: &events.PacingRestored{Since: s.Pacing.Since, Reduced: events.Between(s.Pacing.Since, now)}}, true
	}
	switch s.Phase {
	case events.PhaseWaiting, events.PhaseTripped:
		return p.dueWaiting(s, now)
	case events.PhaseDialing, events.PhaseGreeting:
		return p.dueAttempting(s, in.Record, now)
	case events.PhaseReady:
		return p.dueReady(s, in, now)
	case events.PhaseIdle, events.PhaseStopped:
	}
	return events.Draft{}, false
}

func (p Policy) dueWaiting(s events.State, now time.Time) (events.Draft, bool) {
	if s.Failures >= p.BreakerAfter && !s.Breaker.Open {
		return events.Draft{Event: &events.BreakerOpened{Failures: s.Failures, ProbeAt: s.RetryAt, Window: p.window(now)}}, true
	}
	if now.Before(s.RetryAt) {
		return events.Draft{}, false
	}
	attempt := s.Attempt.Number + 1
	endpoint, clientID, because := p.target(s, now)
	return about(attempt, &events.DialStarted{
		Attempt:    attempt,
		Endpoint:   endpoint,
		ClientID:   clientID,
		Because:    because,
		Probe:      s.Breaker.Open,
		Failures:   s.Failures,
		DeadlineAt: now.Add(p.DialTimeout),
	}), true
}

func (p Policy) dueAttempting(s events.State, rec FlightRecord, now time.Time) (events.Draft, bool) {
	if now.Before(s.Attempt.DeadlineAt) {
		return events.Draft{}, false
	}
	cause, detail := events.CauseDialTimeout, "no answer within "+p.DialTimeout.String()
	if s.Phase == events.PhaseGreeting {
		cause, detail = events.CauseMuteInGreeting, "no version within "+p.GreetingTimeout.String()
		if !s.Attempt.GreetedAt.IsZero() {
			detail = "version " + strconv.Itoa(s.Attempt.ServerVersion) + " answered, but no nextValidId, managedAccounts and currentTime within " + p.ReadyTimeout.String()
		}
	}
	return p.failed(s, cause, detail, 0, rec, now), true
}

func (p Policy) dueReady(s events.State, in Woke, now time.Time) (events.Draft, bool) {
	heard := in.Record.Traffic.HeardAt
	switch h := s.Heartbeat; {
	case s.Breaker.Open:
		return about(s.Attempt.Number, &events.BreakerClosed{Attempt: s.Attempt.Number, Open: events.Between(s.Breaker.Since, now)}), true
	case h.Misses >= p.HeartbeatMisses:
		return p.silent(s, in.Record, now), true
	case h.Misses > 0 && s.Session.StaleSince.IsZero():
		return about(s.Attempt.Number, &events.SessionStale{Attempt: s.Attempt.Number, Misses: h.Misses, Silent: events.Between(heard, now)}), true
	case h.Misses == 0 && !s.Session.StaleSince.IsZero():
		return about(s.Attempt.Number, &events.SessionFresh{Attempt: s.Attempt.Number, Stale: events.Between(s.Session.StaleSince, now)}), true
	case !in.ProbedAt.IsZero() && !now.Before(in.ProbedAt.Add(p.HeartbeatTimeout)):
		return p.missed(s, in, now), true
	}
	if d, ok := p.dueLink(s, in.LinkProbedAt, now); ok {
		return d, true
	}
	if c := s.Competing; !c.Since.IsZero() && now.Sub(c.LastAt) >= p.CompetingFor {
		return about(s.Attempt.Number, &events.CompetingEnded{Since: c.Since, Lasted: events.Between(c.Since, c.LastAt)}), true
	}
	return p.dueSubscriptions(s, in, now)
}

// missedInARow is how the detail of a session that was given up says why.
const missedInARow = " answers missed in a row"

// GaveUp says whether e is the end of a session that we gave up for its silence; any
// other end came from the gateway, the network, or whoever asked for it.
func GaveUp(e *events.SessionLost) bool {
	return e.Cause == events.CauseHeartbeatLost || e.Cause == events.CauseNetworkTimeout && strings.Contains(e.Detail, missedInARow)
}

// silent ends a session that does not answer. Whether the gateway's host still
// acknowledges what it is sent tells whose silence it is.
func (p Policy) silent(s events.State, rec FlightRecord, now time.Time) events.Draft {
	detail := strconv.Itoa(s.Heartbeat.Misses) + missedInARow
	if rec.Unacked > 0 {
		return p.lost(s, events.CauseNetworkTimeout, detail+", and the gateway's host acknowledges nothing", rec, now)
	}
	return p.lost(s, events.CauseHeartbeatLost, detail, rec, now)
}

// answered records an answer to the newest probe, in time or late. Any other
// answer is only bytes, which the tap has counted.
func (p Policy) answered(s events.State, in Answered, now time.Time) (events.Draft, bool) {
	if in.Number == 0 {
		return events.Draft{}, false
	}
	sent := in.Answer.SentAt.UTC()
	e := &events.HeartbeatAnswered{
		Attempt: in.Attempt,
		Number:  in.Number,
		SentAt:  sent,
		RTT:     events.Between(sent, in.Answer.ReceivedAt),
		Skew:    in.Answer.skew(),
		Load:    in.Load,
	}
	switch in.Number {
	case s.Heartbeat.Number + 1:
		e.NextProbeAt = latest(now, sent.Add(p.HeartbeatEvery))
		e.AnswerBy = e.NextProbeAt.Add(p.HeartbeatTimeout)
	case s.Heartbeat.Number:
		// Called missed already, and the next probe may have been sent: its
		// schedule stands.
		e.Late = true
		e.NextProbeAt, e.AnswerBy = s.Heartbeat.NextProbeAt, s.Heartbeat.AnswerBy
	default:
		return events.Draft{}, false
	}
	return about(in.Attempt, e), true
}

// missed records that the newest probe was not answered in time. Other bytes
// since it was sent are life enough for the session, so then the miss does not
// count. Otherwise the next probe goes out at once, which IB's spacing allows
// because the timeout is no shorter than it.
func (p Policy) missed(s events.State, in Woke, now time.Time) events.Draft {
	probed, heard := in.ProbedAt, in.Record.Traffic.HeardAt
	misses, next := s.Heartbeat.Misses+1, now
	if heard.After(probed) {
		misses, next = 0, latest(now, probed.Add(p.HeartbeatEvery))
	}
	return about(s.Attempt.Number, &events.HeartbeatMissed{
		Attempt:     s.Attempt.Number,
		Number:      s.Heartbeat.Number + 1,
		Misses:      misses,
		Silent:      events.Between(heard, now),
		NextProbeAt: next,
		AnswerBy:    next.Add(p.HeartbeatTimeout),
		Load:        in.Load,
	})
}

// freshLink is how soon after its session a link must be known to be down to
// have been down from the start: the gateway is not logged in, or not connected.
// One that says nothing of it is found out by the probes that it misses.
func (p Policy) freshLink(s events.State) time.Duration {
	const said = 30 * time.Second
	if s.Link.LostAt.IsZero() {
		return said + time.Duration(p.LinkProbeMisses)*(p.LinkProbeTimeout+time.Second)
	}
	return said
}

// login finds that a person has to look at the gateway.
func (p Policy) login(s events.State, now time.Time) (events.Draft, bool) {
	if s.Gateway.Login.Level != "" {
		return events.Draft{}, false
	}
	e := &events.LoginNeeded{}
	switch {
	case !s.Gateway.MuteSince.IsZero() && now.Sub(s.Gateway.MuteSince) >= p.LoginAfter && !attempting(s):
		e.Level, e.Since = events.LevelSession, s.Gateway.MuteSince
		e.Action = "log in at its window; if it is logged in, look at its trusted addresses"
	case s.Phase == events.PhaseReady && s.Link.Status == events.LinkDown && s.Link.Since.Sub(s.Session.OpenedAt) <= p.freshLink(s) && now.Sub(s.Link.Since) >= p.LoginAfter:
		e.Level, e.Since = events.LevelLink, s.Link.Since
		e.Action = "log in at its window, or restart it"
	default:
		return events.Draft{}, false
	}
	return events.Draft{Event: e}, true
}

// jumped gives what is waited for new times. After a jump ahead nothing that
// was overdue in between is held against the gateway, and a retry comes at
// once, as a host that slept has a network again; after a step back what was
// waited for stays as far away as it was.
func (p Policy) jumped(s events.State, in Jumped, now time.Time) (events.Draft, bool) {
	e := &events.ClockJumped{By: events.MillisOf(in.By)}
	switch s.Phase {
	case events.PhaseWaiting, events.PhaseTripped:
		e.RetryAt = now
		if in.By < 0 {
			e.RetryAt = s.RetryAt.Add(in.By)
		}
	case events.PhaseDialing, events.PhaseGreeting:
		e.DeadlineAt = s.Attempt.DeadlineAt.Add(in.By)
	case events.PhaseReady:
		e.NextProbeAt = latest(now, s.Heartbeat.NextProbeAt.Add(min(in.By, 0)))
		e.AnswerBy = e.NextProbeAt.Add(p.HeartbeatTimeout)
		e.ProbeLinkAt = p.probeLinkAt(s, now)
	case events.PhaseIdle, events.PhaseStopped:
	}
	return events.Draft{Event: e}, true
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
