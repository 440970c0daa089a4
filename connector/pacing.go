package connector

import (
	"time"

	"ibconn/events"
)

// Pace is how fast messages may go to one gateway, all connections to it
// together. IB allows half as many messages a second as the account has market
// data lines, 50 by default, and does not say what a burst may be; gateways
// were seen to hang on bursts below that (stoqey #68, LEAN.IB #50). So the
// messages are spread evenly over the second.
type Pace struct {
	PerSecond int           // messages in any second, at most; 1 to 1000
	MinGap    time.Duration // between any two messages, at least; 0 for no more than PerSecond asks for
}

// reserve is how many of a second's messages are kept for what must not wait:
// heartbeats and cancels may run that far ahead of the even spread.
func (p Pace) reserve() int {
	if p.MinGap > 0 || p.PerSecond < 2 {
		return 0
	}
	return max(1, p.PerSecond/10)
}

// gap is the time between two messages that can wait.
func (p Pace) gap() time.Duration {
	spread := time.Duration(p.PerSecond - p.reserve())
	return max(p.MinGap, (time.Second+spread-1)/spread) // up: a nanosecond short is one message more
}

// strictest returns the pace that keeps within both.
func (p Pace) strictest(q Pace) Pace {
	if p.PerSecond == 0 {
		return q
	}
	return Pace{PerSecond: min(p.PerSecond, q.PerSecond), MinGap: max(p.MinGap, q.MinGap)}
}

// Priority says which message goes first.
type Priority int

// The priorities, the first first. Zero is none of them.
const (
	PrioritySession  Priority = iota + 1 // what opens and keeps a session: startApi, heartbeats, probes of the link
	PriorityCancel                       // what gives something back
	PriorityRestore                      // what a lost session had, placed again
	PriorityRequest                      // what somebody waits for
	PriorityBackfill                     // what nobody waits for
)

// urgent says whether p may use the reserve.
func (p Priority) urgent() bool { return p == PrioritySession || p == PriorityCancel }

// schedule is when the next message may go: the arithmetic of a [Pacer], pure.
// Its one number is the time at which the messages so far would have ended had
// they been spread evenly. At no pace does any second see more than PerSecond.
type schedule struct{ even time.Time }

// begin returns the schedule of a process that starts now. It does not know
// what the one before it sent last, and so takes the reserve for used up: that
// is how the budget survives a restart.
func (p Pace) begin(now time.Time) schedule {
	return schedule{now.Add(time.Duration(p.reserve()) * p.gap())}
}

// due returns when a message of priority pr may go.
func (s schedule) due(p Pace, pr Priority) time.Time {
	if pr.urgent() {
		return s.even.Add(-time.Duration(p.reserve()) * p.gap())
	}
	return s.even
}

// sent returns the schedule after a message that went now.
func (s schedule) sent(p Pace, now time.Time) schedule {
	return schedule{latest(s.even, now).Add(p.gap())}
}

// repeatedBreach is how soon after a budget was cut another error 100 speaks
// of what was sent before the cut.
const repeatedBreach = 5 * time.Second

// breached cuts the message budget by half when the gateway says that messages
// came too fast (error 100), and by half again when it goes on saying so.
func (p Policy) breached(s events.State, in Noticed, message string, now time.Time) (events.Draft, bool) {
	if !s.Pacing.CutAt.IsZero() && now.Sub(s.Pacing.CutAt) < repeatedBreach {
		return events.Draft{}, false
	}
	before := p.Pace.PerSecond
	if s.Pacing.PerSecond > 0 {
		before = s.Pacing.PerSecond
	}
	return about(in.Attempt, &events.PacingReduced{
		Attempt: in.Attempt, PerSecond: max(1, before/2), Before: before, Until: now.Add(p.PaceRecovery),
		Code: in.Code, Message: message,
	}), true
}
