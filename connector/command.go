package connector

import (
	"cmp"
	"time"

	"ibconn/events"
)

// commanded takes a command. Nothing is done yet: what a command wants is done
// because the state, once it holds the command, calls for it.
func (p Policy) commanded(s events.State, in Commanded) (events.Draft, bool) {
	if _, known := s.Recall(in.ID); known {
		return events.Draft{}, false
	}
	switch {
	case in.Subscribe != nil:
		return p.subscribing(s, in)
	case in.Cancel != nil:
		return p.cancelling(s, in)
	}
	d := events.Draft{Correlation: in.ID, Causation: in.ID}
	if in.Verb == events.VerbReconnect && !s.Wanted {
		d.Event = &events.CommandRejected{
			CommandID: in.ID, Verb: in.Verb, Code: events.ErrorStopped,
			Message: "the connection was stopped by a disconnect command: send connect instead",
		}
		return d, true
	}
	attempt := s.Phase == events.PhaseDialing || s.Phase == events.PhaseGreeting
	dials := in.Verb == events.VerbConnect || in.Verb == events.VerbReconnect
	d.Event = &events.CommandAccepted{
		CommandID: in.ID, Verb: in.Verb, Reason: quote(in.Reason),
		UnderWay: attempt && dials,
	}
	return d, true
}

// carryOut begins the oldest command that has not been begun. A control command
// waits until the one before it has its outcome, and holds up no other.
func (p Policy) carryOut(s events.State, rec FlightRecord, now time.Time) (events.Draft, bool) {
	_, controlling := underControl(s)
	for _, c := range s.Pending {
		if c.Acted || c.Verb.Control() && controlling {
			continue
		}
		d, ok := p.act(s, c, rec, now)
		d.Correlation, d.Causation = c.CommandID, c.CommandID
		return d, ok
	}
	return events.Draft{}, false
}

func (p Policy) act(s events.State, c events.PendingCommand, rec FlightRecord, now time.Time) (events.Draft, bool) {
	if c.Verb.Control() {
		return events.Draft{Event: &events.CommandBegun{CommandID: c.CommandID, Verb: c.Verb}}, true
	}
	if c.Verb == events.VerbDisconnect {
		return stop(s, events.CauseAskedFor, c.Reason, now), true
	}
	if s.Phase == events.PhaseReady {
		return events.Draft{Event: &events.SessionLost{
			Attempt: s.Attempt.Number,
			Cause:   events.CauseAskedFor,
			Detail:  c.Reason,
			Uptime:  events.Between(s.Session.OpenedAt, now),
			RetryAt: now,
			Traffic: rec.Traffic,
		}}, true
	}
	return events.Draft{Event: &events.ConnectRequested{By: events.AskerCommand, Reason: c.Reason, RetryAt: now}}, true
}

// outcome concludes the oldest command that has come to its end.
func (p Policy) outcome(s events.State, now time.Time) (events.Draft, bool) {
	for _, c := range s.Pending {
		d := events.Draft{Correlation: c.CommandID, Causation: c.CommandID}
		took := events.Between(c.AcceptedAt, now)
		if done(s, c) {
			d.Event = &events.CommandCompleted{CommandID: c.CommandID, Verb: c.Verb, Took: took}
			return d, true
		}
		if code, why := hopeless(s, c); code != "" {
			d.Event = &events.CommandFailed{CommandID: c.CommandID, Verb: c.Verb, Code: code, Message: why, Took: took}
			return d, true
		}
	}
	return events.Draft{}, false
}

// done says whether the state is what the command was for. A session whose link
// is yet to be proven is not: whoever waits for the outcome means to use it.
// What a control command was for is not in the state: see controlled.
func done(s events.State, c events.PendingCommand) bool {
	ready := s.Phase == events.PhaseReady && !s.Link.Unproven
	switch c.Verb {
	case events.VerbDisconnect:
		return s.Phase == events.PhaseStopped && !s.Wanted
	case events.VerbConnect:
		return ready
	case events.VerbReconnect:
		return ready && c.Acted
	case events.VerbStatus, events.VerbContract, events.VerbHistory, events.VerbSubscribe, events.VerbCancel, events.VerbSubscriptions,
		events.VerbReconnectData, events.VerbReconnectAccount, events.VerbRestartGateway:
	}
	return false
}

// hopeless says why a command that was begun will not be done.
func hopeless(s events.State, c events.PendingCommand) (events.ErrorCode, string) {
	switch {
	case !changes(c.Verb):
		return events.ErrorInternal, "this version does not know the command: another one accepted it"
	case c.Verb.Control():
		return orphaned(s, c)
	case !c.Acted:
	case c.Verb == events.VerbDisconnect:
		return events.ErrorSuperseded, "a later connect command undid it"
	case s.Phase == events.PhaseStopped && !s.Wanted:
		return events.ErrorSuperseded, "a later disconnect command stopped the connection"
	case s.Phase == events.PhaseTripped:
		return events.ErrorTripped, "the gateway did not let us in: " + s.LastEnding.Cause.Sentence()
	}
	return "", ""
}

// underControl returns the control command that is under way: begun by the
// present writer, and without an outcome. There is at most one.
func underControl(s events.State) (events.PendingCommand, bool) {
	for _, c := range s.Pending {
		if c.Verb.Control() && c.Acted && c.BegunEpoch == s.Epoch {
			return c, true
		}
	}
	return events.PendingCommand{}, false
}

// controlled concludes the control command that is under way.
func (p Policy) controlled(s events.State, in Controlled, now time.Time) (events.Draft, bool) {
	c, ok := underControl(s)
	if !ok || c.CommandID != in.CommandID {
		return events.Draft{}, false
	}
	d := events.Draft{Correlation: c.CommandID, Causation: c.CommandID}
	took := events.Between(c.AcceptedAt, now)
	if in.Failure == nil {
		d.Event = &events.CommandCompleted{CommandID: c.CommandID, Verb: c.Verb, Took: took, Said: quote(in.Said)}
		return d, true
	}
	d.Event = &events.CommandFailed{
		CommandID: c.CommandID, Verb: c.Verb, Took: took,
		Code: cmp.Or(in.Failure.Code, events.ErrorOutcomeUnknown), Message: quote(in.Failure.Message),
	}
	return d, true
}

// orphaned says why a control command has no outcome that could be known: it
// was begun under a claim that no longer stands. It may have been done, so it
// is not begun again.
func orphaned(s events.State, c events.PendingCommand) (events.ErrorCode, string) {
	if !c.Acted || c.BegunEpoch == s.Epoch {
		return "", ""
	}
	return events.ErrorOutcomeUnknown, "the process ended while IBC was being asked: look at the gateway whether it was done before sending it again"
}
