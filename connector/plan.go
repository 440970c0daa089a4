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
	p := planFor(s)
	p.Control, _ = underControl(s)
	return p
}

func planFor(s events.State) Plan {
	attempt := Order{Attempt: s.Attempt.Number, Endpoint: s.Attempt.Endpoint, ClientID: s.Attempt.ClientID}
	switch s.Phase {
	case events.PhaseDialing, events.PhaseGreeting:
		return Plan{Attempt: attempt, WakeAt: s.Attempt.DeadlineAt}
	case events.PhaseReady:
		return Plan{
			Attempt: attempt,
			Probe:   s.Heartbeat.Number + 1,
			ProbeAt: s.Heartbeat.NextProbeAt,
			WakeAt:  s.Heartbeat.AnswerBy,
		}
	case events.PhaseWaiting, events.PhaseTripped:
		return Plan{WakeAt: s.RetryAt}
	case events.PhaseIdle, events.PhaseStopped:
	}
	return Plan{}
}
