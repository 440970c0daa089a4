package connector

import (
	"time"

	"ibconn/events"
)

// Plan is what should be going on, given the state. The runner makes reality
// match it. It follows from the state and from nothing else, so a restart and
// a transition take the same road.
type Plan struct {
	Attempt Order     // the attempt that should be running; its number is 0 when none should
	Probe   uint64    // the heartbeat probe to send; 0 when none is
	ProbeAt time.Time // when to send it
	// LinkProbe is the probe of the link to send; 0 when none is.
	LinkProbe   uint64
	LinkProbeAt time.Time // when to send it
	// SlowTo is how many messages a second the gateway is to get at most, until
	// SlowUntil; 0 when its budget is the configured one.
	SlowTo    int
	SlowUntil time.Time
	// WakeAt is when Decide wants to be woken; zero when only news can change
	// anything. In ready it is the time the probe's answer is due, and comes as
	// much later as the probe goes out late.
	WakeAt time.Time
	// Control is the control command that IBC should be being asked for; zero
	// when there is none. It was begun, so it is asked for once and not again.
	Control events.PendingCommand
}

// PlanFor returns the plan for s.
func PlanFor(s events.State) Plan {
	plan := Plan{SlowTo: s.Pacing.PerSecond, SlowUntil: s.Pacing.Until}
	plan.Control, _ = underControl(s)
	switch s.Phase {
	case events.PhaseDialing, events.PhaseGreeting:
		plan.Attempt, plan.WakeAt = orderOf(s), s.Attempt.DeadlineAt
	case events.PhaseReady:
		plan.Attempt = orderOf(s)
		plan.Probe, plan.ProbeAt, plan.WakeAt = s.Heartbeat.Number+1, s.Heartbeat.NextProbeAt, s.Heartbeat.AnswerBy
		if h := s.Heartbeat.Link; !h.NextProbeAt.IsZero() {
			plan.LinkProbe, plan.LinkProbeAt = h.Number+1, h.NextProbeAt
		}
	case events.PhaseWaiting, events.PhaseTripped:
		plan.WakeAt = s.RetryAt
	case events.PhaseIdle, events.PhaseStopped:
	}
	return plan
}

func orderOf(s events.State) Order {
	return Order{Attempt: s.Attempt.Number, Endpoint: s.Attempt.Endpoint, ClientID: s.Attempt.ClientID}
}
