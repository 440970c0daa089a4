package events

import (
	"cmp"
	"time"
)

// EpochBegan says that a writer took the connection: a process started, or a
// standby took over. It is the claim itself; every later event of its writer
// is accepted only while this is the connection's last claim.
type EpochBegan struct {
	Instance      string    `json:"instance"`                 // who: host name and process, as in the events' source
	PID           int       `json:"pid"`                      // the process id on that host
	Version       string    `json:"version"`                  // the program's version
	PreviousEpoch uint64    `json:"previous_epoch"`           // the epoch this one follows; 0 when it is the first
	PreviousPhase Phase     `json:"previous_phase,omitempty"` // where the connection stood when the previous writer fell silent
	LastEventAt   time.Time `json:"last_event_at,omitzero"`   // when the previous writer last wrote, heartbeats included
	Away          Millis    `json:"away_ms,omitempty"`        // from then until now
}

// ConnectRequested says that the connection is wanted, or wanted at once.
type ConnectRequested struct {
	By      Asker     `json:"by"`
	Reason  string    `json:"reason,omitempty"` // the asker's own words
	RetryAt time.Time `json:"retry_at"`         // when the next attempt is due: the time of asking
	Standing
}

// Asker says who wanted something.
type Asker string

// The askers.
const (
	AskerStart   Asker = "start"   // the program started with this connection configured
	AskerCommand Asker = "command" // a command came over the bus
)

// BreakerOpened says that attempts have failed so often in a row that only
// slow probes go on.
type BreakerOpened struct {
	Failures int       `json:"failures"`         // failures in a row
	ProbeAt  time.Time `json:"probe_at"`         // when the next attempt is due
	Window   string    `json:"window,omitempty"` // the maintenance window it fell into, as it is configured
	Standing
}

// BreakerClosed says that a probe led to a session, and the ordinary backoff
// applies again.
type BreakerClosed struct {
	Attempt uint64 `json:"attempt"` // the attempt that succeeded
	Open    Millis `json:"open_ms"` // how long the breaker was open
	Standing
}

// Stopped says that the connection was ended in order: by a disconnect command
// (it stays stopped, over restarts too, until a connect command) or because
// the process was told to end (it connects again at the next start).
type Stopped struct {
	Cause   Cause  `json:"cause"`               // asked_for or shutdown
	Reason  string `json:"reason,omitempty"`    // the asker's own words
	Attempt uint64 `json:"attempt,omitempty"`   // the attempt or session that was ended by it
	Uptime  Millis `json:"uptime_ms,omitempty"` // how long its session had been ready
	Standing
}

// ClockJumped says that the wall clock moved otherwise than time passed: the
// host slept, or its clock was set. What the connection was waiting for has
// new times, so that the jump is not taken for a fault of the gateway.
type ClockJumped struct {
	By          Millis    `json:"by_ms"`                  // how far; negative when the clock went back
	RetryAt     time.Time `json:"retry_at,omitzero"`      // while waiting or tripped: when the next attempt is due now
	DeadlineAt  time.Time `json:"deadline_at,omitzero"`   // in an attempt: the deadline of its step now
	NextProbeAt time.Time `json:"next_probe_at,omitzero"` // in a session: when the next probe is due now
	AnswerBy    time.Time `json:"answer_by,omitzero"`     // and when it must be answered
	ProbeLinkAt time.Time `json:"probe_link_at,omitzero"` // and when the link is probed; absent where it is not
	Standing
}

// LoginNeeded says that a person has to look at the gateway: it accepts
// connections but gives no session, or has had no link to IB since it gave one.
type LoginNeeded struct {
	Level  Level     `json:"level"`  // session or link: what has been missing
	Since  time.Time `json:"since"`  // since when
	Action string    `json:"action"` // what to do
	Standing
}

// PortChanged says that the gateway announced another API port (1300).
type PortChanged struct {
	Attempt  uint64 `json:"attempt"`
	Endpoint string `json:"endpoint"` // the gateway's host with that port
	Allowed  bool   `json:"allowed"`  // it is among the configured gateways, and the next attempt goes there
	Message  string `json:"message"`  // the gateway's words
	Standing
}

// Type returns the event's type.
func (*EpochBegan) Type() Type       { return "ib.conn.claimed.epoch_began" }
func (*ConnectRequested) Type() Type { return "ib.conn.state.connect_requested" }
func (*BreakerOpened) Type() Type    { return "ib.conn.state.breaker_opened" }
func (*BreakerClosed) Type() Type    { return "ib.conn.state.breaker_closed" }
func (*Stopped) Type() Type          { return "ib.conn.state.stopped" }
func (*ClockJumped) Type() Type      { return "ib.conn.state.clock_jumped" }
func (*LoginNeeded) Type() Type      { return "ib.conn.state.login_needed" }
func (*PortChanged) Type() Type      { return "ib.conn.state.port_changed" }

func (e *EpochBegan) check() error { return given(e.Instance != "", "instance") }

func (e *ConnectRequested) check() error { return given(!e.RetryAt.IsZero(), "retry_at") }

func (e *BreakerOpened) check() error {
	return cmp.Or(given(!e.ProbeAt.IsZero(), "probe_at"), counted(e.Failures, "failures"))
}

func (e *BreakerClosed) check() error { return given(e.Attempt > 0, "attempt") }

func (e *Stopped) check() error { return given(e.Cause != "", "cause") }

func (e *ClockJumped) check() error { return given(e.By != 0, "by_ms") }

func (e *LoginNeeded) check() error { return given(e.Level != "", "level") }

func (e *PortChanged) check() error {
	return cmp.Or(given(e.Attempt > 0, "attempt"), given(e.Endpoint != "", "endpoint"))
}
