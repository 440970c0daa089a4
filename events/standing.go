package events

import "time"

// Phase is where a connection stands on its way to a session, and back.
type Phase string

// The phases. Their values are written into events and never change.
const (
	// PhaseIdle: nothing has been asked for yet. Left by connect_requested.
	PhaseIdle Phase = "idle"
	// PhaseDialing: a TCP connection to the gateway is being opened. Left when
	// it is (greeting), fails (waiting, tripped) or is called off (stopped).
	PhaseDialing Phase = "dialing"
	// PhaseGreeting: TCP is open; the API handshake, nextValidId,
	// managedAccounts and one answered reqCurrentTime are still owed.
	PhaseGreeting Phase = "greeting"
	// PhaseReady: an API session is up and has answered. It says nothing of
	// the link, the farms or the data.
	PhaseReady Phase = "ready"
	// PhaseWaiting: the next attempt has a time. Left when that time comes.
	PhaseWaiting Phase = "waiting"
	// PhaseTripped: the circuit breaker is open; only a probe at its published
	// time, or a connect or reconnect command, leads out.
	PhaseTripped Phase = "tripped"
	// PhaseStopped: a disconnect command or the end of the process ended it.
	PhaseStopped Phase = "stopped"
)

// Phases lists every phase in the order of a connection's life.
var Phases = []Phase{PhaseIdle, PhaseDialing, PhaseGreeting, PhaseReady, PhaseWaiting, PhaseTripped, PhaseStopped}

// Condition is the opinion worked out from all four levels.
type Condition string

// The conditions.
const (
	ConditionHealthy  Condition = "healthy"  // ready, and nothing is known to be wrong
	ConditionDegraded Condition = "degraded" // ready, but a level below the session is not well, or heartbeats are missed
	ConditionDown     Condition = "down"     // wanted, and not ready
	ConditionStopped  Condition = "stopped"  // not wanted, or its process ended in order
)

// Availability is how far a connection is there for whoever needs it, in order.
type Availability int

// The availabilities.
const (
	NotWanted  Availability = iota // it is not to be there, which counts for nothing
	Absent                         // there is no session that answers
	Present                        // there is, and something is wrong
	Unimpaired                     // nothing is
)

// Availability returns how far the connection is there. A session that does not answer
// is not, although it is not given up yet.
func (s State) Availability() Availability {
	switch s.Condition {
	case ConditionHealthy:
		return Unimpaired
	case ConditionDegraded:
		if s.Session.StaleSince.IsZero() {
			return Present
		}
		return Absent
	case ConditionDown:
		return Absent
	case ConditionStopped:
	}
	return NotWanted
}

// Level names one of the four levels of a connection.
type Level string

// The levels, outermost first.
const (
	LevelSession      Level = "session"
	LevelLink         Level = "link"
	LevelFarm         Level = "farm"
	LevelSubscription Level = "subscription"
)

// Reason is one fact that keeps a connection from being healthy.
type Reason struct {
	Level Level     `json:"level"`           // the level at fault
	What  string    `json:"what"`            // the state that level is in, such as "down" or "stale"
	Name  string    `json:"name,omitempty"`  // which one, where the level has several: "market_data/usfarm"
	Since time.Time `json:"since,omitzero"`  // since when
	Cause Cause     `json:"cause,omitempty"` // why the last attempt or session ended, where one did
	// Attribution is whose fault it is; "" when that is not known.
	Attribution Attribution `json:"attribution,omitempty"`
}

// Standing is where a connection stands after an event: its phase, its
// condition, and every reason the condition is not healthy.
type Standing struct {
	Phase     Phase     `json:"phase"`
	Condition Condition `json:"condition"`
	Reasons   []Reason  `json:"reasons"`
}

// After returns s itself; embedding a Standing makes an event a [StateEvent].
func (s *Standing) After() *Standing { return s }
