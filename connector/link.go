package connector

import (
	"time"

	"ibconn/events"
)

const (
	// linkProbeIDs is where the request ids of probes of the link begin: beyond
	// those of anything else.
	linkProbeIDs = 1 << 30
	// downProbeEvery is how often a link that is down is probed, at least.
	downProbeEvery = time.Minute
	// quiet is how long a gateway that said that the link is down must have said
	// nothing more of it for an answer to be believed instead: it goes on saying
	// so every few seconds while it is down, and what is recorded of that is up
	// to a minute old.
	quiet = 2 * time.Minute
)

// probePattern is what a probe of the link searches for. What is found does
// not matter, only that something is.
const probePattern = "AAPL"

// linkProbeID is the request id of the numberth probe of the link in a session.
func linkProbeID(number uint64) int64 { return linkProbeIDs + int64(number) }

// LinkProbe is the message that probes the link for the numberth time in a
// session.
func (p Policy) LinkProbe(number uint64, now time.Time) Message {
	return Message{
		ID: linkProbeID(number), Priority: PrioritySession, Expires: now.Add(p.LinkProbeTimeout),
		Request: SearchSymbols{Pattern: probePattern},
	}
}

// searchSpacing is the least time between two searches for symbols of a client:
// IB asks for it where it documents reqMatchingSymbols, and does not say what
// becomes of one that comes sooner.
const searchSpacing = time.Second

// probeLinkAt is when a link that has to be proven is probed: as soon as the
// spacing allows, if links are probed.
func (p Policy) probeLinkAt(s events.State, now time.Time) time.Time {
	if p.LinkProbeEvery == 0 {
		return time.Time{}
	}
	if spaced := s.Heartbeat.Link.SentAt.Add(searchSpacing); s.Phase == events.PhaseReady && spaced.Sub(now) <= searchSpacing {
		return latest(now, spaced)
	}
	return now
}

// reprobeLinkAt is when a link that has gone down is probed.
func (p Policy) reprobeLinkAt(now time.Time) time.Time {
	if p.LinkProbeEvery == 0 {
		return time.Time{}
	}
	return now.Add(min(p.LinkProbeEvery, downProbeEvery))
}

// nextLinkProbe is when the link is probed after a probe that was answered.
func (p Policy) nextLinkProbe(s events.State, now time.Time) time.Time {
	if s.Link.Status == events.LinkDown {
		return p.reprobeLinkAt(now)
	}
	return now.Add(p.LinkProbeEvery)
}

// found records the answer to the newest probe of the link, in time or late.
func (p Policy) found(s events.State, in Found, now time.Time) (events.Draft, bool) {
	h := s.Heartbeat.Link
	number := h.Number + 1
	late := in.ID == linkProbeID(h.Number) && h.Misses > 0
	if late {
		number = h.Number
	}
	switch {
	case h.NextProbeAt.IsZero(), in.ID != linkProbeID(number):
		return events.Draft{}, false
	case in.Count == 0 && late:
		return events.Draft{}, false
	case in.Count == 0: // a gateway that is cut off may answer for itself
		return p.linkMissed(s, 0, "the answer was empty", now), true
	}
	e := &events.LinkAnswered{
		Attempt: in.Attempt, Number: number, SentAt: in.SentAt.UTC(), RTT: events.Between(in.SentAt, in.At),
		NextProbeAt: p.nextLinkProbe(s, now),
	}
	if late { // the next one may be under way
		e.NextProbeAt = h.NextProbeAt
	}
	return about(in.Attempt, e), true
}

// passed notes a probe of the link that was not sent: it is tried again, and
// nothing is concluded from it.
func (p Policy) passed(s events.State, in Passed, now time.Time) (events.Draft, bool) {
	if ofSubscription(in.ID) {
		return p.unsent(s, in, now)
	}
	h := s.Heartbeat.Link
	if in.Outcome == OutcomeSent || h.NextProbeAt.IsZero() || in.ID != linkProbeID(h.Number+1) {
		return events.Draft{}, false
	}
	return about(in.Attempt, &events.LinkMissed{
		Attempt: in.Attempt, Number: h.Number + 1, Misses: h.Misses, NextProbeAt: now.Add(p.LinkProbeTimeout),
		Expected: true, Message: "it was not sent: " + string(in.Outcome),
	}), true
}

// refusedProbe reads an error that answers a probe of the link.
func (p Policy) refusedProbe(s events.State, in Noticed, message string, now time.Time) (events.Draft, bool) {
	h := s.Heartbeat.Link
	if s.Phase != events.PhaseReady || h.NextProbeAt.IsZero() || in.RequestID != linkProbeID(h.Number+1) {
		return events.Draft{}, false
	}
	return p.linkMissed(s, in.Code, message, now), true
}

// linkMissed records that IB's servers did not answer a probe. While the
// gateway does not answer for itself either that says nothing of the link, and
// does not count.
func (p Policy) linkMissed(s events.State, code int, message string, now time.Time) events.Draft {
	h := s.Heartbeat.Link
	e := &events.LinkMissed{
		Attempt: s.Attempt.Number, Number: h.Number + 1, Misses: h.Misses, Code: code, Message: message,
		Expected:    s.Link.Status == events.LinkDown,
		NextProbeAt: now.Add(time.Second), // soon: the link is in doubt
	}
	answers := now.Sub(s.Heartbeat.AnsweredAt) <= p.HeartbeatEvery+p.HeartbeatTimeout
	if answers && s.Session.StaleSince.IsZero() && s.Heartbeat.Misses == 0 {
		e.Misses++
	} else {
		e.Expected = true
	}
	if e.Expected || e.Misses >= p.LinkProbeMisses {
		e.NextProbeAt = p.reprobeLinkAt(now)
	}
	return about(s.Attempt.Number, e)
}

// dueLink finds what the probes of the link have shown.
func (p Policy) dueLink(s events.State, probed, now time.Time) (events.Draft, bool) {
	h := s.Heartbeat.Link
	down := s.Link.Status == events.LinkDown
	switch {
	case h.NextProbeAt.IsZero():
	case p.proven(s):
		e := &events.LinkProven{Attempt: s.Attempt.Number, From: s.Link.Status, RTT: h.RTT}
		if down {
			e.DataLost, e.Down = true, events.Between(s.Link.Since, now)
		}
		return about(s.Attempt.Number, e), true
	case h.Misses >= p.LinkProbeMisses && !down:
		return about(s.Attempt.Number, &events.LinkFellSilent{
			Attempt: s.Attempt.Number, From: s.Link.Status, Misses: h.Misses, Code: h.Code, Message: h.Message, Window: p.window(now),
		}), true
	case !probed.IsZero() && !now.Before(probed.Add(p.LinkProbeTimeout)):
		return p.linkMissed(s, 0, "", now), true
	}
	return events.Draft{}, false
}

// proven says whether the last answer shows that the link is up while it is
// not known to be. An answer to what was asked before the link came into doubt
// shows nothing.
func (p Policy) proven(s events.State) bool {
	h := s.Heartbeat.Link
	switch {
	case h.AnsweredAt.IsZero() || h.Misses > 0 || h.SentAt.Before(s.Link.Since):
		return false
	case s.Link.Status == events.LinkDown:
		return s.Link.LostAt.IsZero() || h.SentAt.Sub(s.Link.LostAt) >= quiet
	}
	return s.Link.Unproven || s.Link.Status == events.LinkUnknown
}
