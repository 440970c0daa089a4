package events

import (
	"cmp"
	"time"
)

// DialStarted says that an attempt began.
type DialStarted struct {
	Attempt    uint64    `json:"attempt"`            // its number, never reused
	Endpoint   string    `json:"endpoint"`           // the gateway's host:port
	ClientID   int64     `json:"client_id"`          // the API client id it will ask for
	Probe      bool      `json:"probe,omitempty"`    // the breaker is open and this attempt tests the gateway
	Failures   int       `json:"failures,omitempty"` // failures in a row before it
	Because    string    `json:"because,omitempty"`  // why it goes to another gateway, or asks for another client id, than the one before
	DeadlineAt time.Time `json:"deadline_at"`        // when TCP must be open
	Standing
}

// GatewayReached says that the gateway's TCP port accepted the attempt. It
// proves no more than that: a port forwarder accepts for a dead gateway.
type GatewayReached struct {
	Attempt    uint64    `json:"attempt"`
	Remote     string    `json:"remote"`      // the address that accepted
	Took       Millis    `json:"took_ms"`     // since the attempt began
	DeadlineAt time.Time `json:"deadline_at"` // when the version must have been answered
	Standing
}

// GatewayGreeted says that the gateway answered the API handshake with its
// version.
type GatewayGreeted struct {
	Attempt       uint64    `json:"attempt"`
	ServerVersion int       `json:"server_version"`         // the negotiated version
	GatewayTime   string    `json:"gateway_time,omitempty"` // the connection time as the gateway words it
	Took          Millis    `json:"took_ms"`                // since the attempt began
	DeadlineAt    time.Time `json:"deadline_at"`            // when the session must be ready
	Standing
}

// DialFailed says that an attempt ended before its session was ready.
type DialFailed struct {
	Attempt  uint64        `json:"attempt"`
	Stage    Phase         `json:"stage"`            // dialing or greeting: how far it had come
	Cause    Cause         `json:"cause"`            // why
	Detail   string        `json:"detail,omitempty"` // the same in the words of the system or the gateway
	Code     int           `json:"code,omitempty"`   // IB's code, where one decided it
	Took     Millis        `json:"took_ms"`          // since the attempt began
	Failures int           `json:"failures"`         // failures in a row, this one counted
	RetryAt  time.Time     `json:"retry_at"`         // when the next attempt is due, jitter included
	RetryIn  Millis        `json:"retry_in_ms"`      // the same from now
	Window   string        `json:"window,omitempty"` // the maintenance window it fell into, as it is configured
	Traffic  Traffic       `json:"traffic,omitzero"` // what went over its socket
	Flight   []FlightFrame `json:"flight,omitempty"` // its last frames, oldest first
	Standing
}

// SessionOpened says that the session is ready: the API handshake is done,
// nextValidId and managedAccounts came, and reqCurrentTime was answered.
type SessionOpened struct {
	Attempt       uint64    `json:"attempt"`
	ServerVersion int       `json:"server_version"`
	ClientID      int64     `json:"client_id"`
	Endpoint      string    `json:"endpoint"`
	Accounts      []string  `json:"accounts,omitempty"`  // masked, as [MaskAccounts] does
	NextValidID   int64     `json:"next_valid_id"`       // the gateway's next order id
	Took          Millis    `json:"took_ms"`             // since the attempt began
	RTT           Millis    `json:"rtt_ms"`              // of the first reqCurrentTime
	Skew          Millis    `json:"skew_ms"`             // gateway's clock minus ours; within half a second, as reqCurrentTime answers in seconds
	Outage        Millis    `json:"outage_ms,omitempty"` // since the previous session was lost, where there was one
	NextProbeAt   time.Time `json:"next_probe_at"`       // when the next heartbeat probe is due
	AnswerBy      time.Time `json:"answer_by"`           // when that probe must be answered
	// ProbeLinkAt is when the link to IB is to be probed first; absent where it is
	// not. Until then the link is unproven.
	ProbeLinkAt time.Time `json:"probe_link_at,omitzero"`
	Standing
}

// SessionStale says that a heartbeat answer is overdue and nothing else was
// heard either. The session is not given up yet.
type SessionStale struct {
	Attempt uint64 `json:"attempt"`
	Misses  int    `json:"misses"`    // answers missed in a row
	Silent  Millis `json:"silent_ms"` // since the last byte from the gateway
	Standing
}

// SessionFresh says that a stale session answered again.
type SessionFresh struct {
	Attempt uint64 `json:"attempt"`
	Stale   Millis `json:"stale_ms"` // how long it was stale
	Standing
}

// SessionLost says that a session that had been ready ended, why, and what
// comes next.
type SessionLost struct {
	Attempt  uint64        `json:"attempt"`
	Cause    Cause         `json:"cause"`
	Detail   string        `json:"detail,omitempty"`    // the same in the words of the system or the gateway
	Code     int           `json:"code,omitempty"`      // IB's code, where one decided it
	Uptime   Millis        `json:"uptime_ms"`           // how long it had been ready
	Silent   Millis        `json:"silent_ms,omitempty"` // since the last byte from the gateway, where it is known
	Away     Millis        `json:"away_ms,omitempty"`   // process_restarted: how long no process held the connection
	Failures int           `json:"failures"`            // failures in a row, this one counted; a session that was ready long enough starts the count anew
	RetryAt  time.Time     `json:"retry_at"`
	RetryIn  Millis        `json:"retry_in_ms"`
	Window   string        `json:"window,omitempty"` // the maintenance window it fell into, as it is configured
	Traffic  Traffic       `json:"traffic,omitzero"`
	Flight   []FlightFrame `json:"flight,omitempty"` // the last frames each way, oldest first
	Standing
}

// Traffic counts what went over a session's socket to the gateway.
type Traffic struct {
	BytesIn   uint64    `json:"bytes_in"`
	BytesOut  uint64    `json:"bytes_out"`
	FramesIn  uint64    `json:"frames_in"`         // messages from the gateway
	FramesOut uint64    `json:"frames_out"`        // messages to the gateway: requests
	HeardAt   time.Time `json:"heard_at,omitzero"` // when the last byte came
}

// FlightFrame is one frame of the flight recorder.
type FlightFrame struct {
	At   time.Time `json:"at"`
	Dir  string    `json:"dir"`            // "in" from the gateway, "out" to it
	ID   int       `json:"id"`             // IB's message id
	Name string    `json:"name,omitempty"` // IB's name of the message
	Size int       `json:"size"`           // bytes of payload
	Head string    `json:"head,omitempty"` // how the payload begins, account ids masked: fields parted by | for text, hexadecimal for protobuf
}

// Type returns the event's type.
func (*DialStarted) Type() Type    { return "ib.conn.state.dial_started" }
func (*GatewayReached) Type() Type { return "ib.conn.state.gateway_reached" }
func (*GatewayGreeted) Type() Type { return "ib.conn.state.gateway_greeted" }
func (*DialFailed) Type() Type     { return "ib.conn.state.dial_failed" }
func (*SessionOpened) Type() Type  { return "ib.conn.state.session_opened" }
func (*SessionStale) Type() Type   { return "ib.conn.state.session_stale" }
func (*SessionFresh) Type() Type   { return "ib.conn.state.session_fresh" }
func (*SessionLost) Type() Type    { return "ib.conn.state.session_lost" }

func (e *DialStarted) check() error {
	return cmp.Or(given(e.Attempt > 0, "attempt"), given(e.Endpoint != "", "endpoint"), given(!e.DeadlineAt.IsZero(), "deadline_at"))
}

func (e *GatewayReached) check() error {
	return cmp.Or(given(e.Attempt > 0, "attempt"), given(!e.DeadlineAt.IsZero(), "deadline_at"))
}

func (e *GatewayGreeted) check() error {
	return cmp.Or(given(e.Attempt > 0, "attempt"), given(!e.DeadlineAt.IsZero(), "deadline_at"))
}

func (e *DialFailed) check() error {
	return cmp.Or(given(e.Attempt > 0, "attempt"), given(e.Cause != "", "cause"), given(!e.RetryAt.IsZero(), "retry_at"),
		counted(e.Failures, "failures"))
}

func (e *SessionOpened) check() error {
	return cmp.Or(given(e.Attempt > 0, "attempt"), given(!e.NextProbeAt.IsZero(), "next_probe_at"), given(!e.AnswerBy.IsZero(), "answer_by"))
}

func (e *SessionStale) check() error { return given(e.Attempt > 0, "attempt") }

func (e *SessionFresh) check() error { return given(e.Attempt > 0, "attempt") }

func (e *SessionLost) check() error {
	return cmp.Or(given(e.Attempt > 0, "attempt"), given(e.Cause != "", "cause"), given(!e.RetryAt.IsZero(), "retry_at"),
		counted(e.Failures, "failures"))
}
