package events

import (
	"cmp"
	"time"
)

// HeartbeatAnswered says that the gateway answered a probe. It proves the
// session only.
type HeartbeatAnswered struct {
	Attempt     uint64    `json:"attempt"`
	Number      uint64    `json:"number"` // the heartbeat's own number, from 1 in each session
	SentAt      time.Time `json:"sent_at"`
	RTT         Millis    `json:"rtt_ms"`
	Skew        Millis    `json:"skew_ms"`        // gateway's clock minus ours; within half a second
	Late        bool      `json:"late,omitempty"` // the answer came after it had been called missed
	NextProbeAt time.Time `json:"next_probe_at"`
	AnswerBy    time.Time `json:"answer_by"`     // when the next probe must be answered
	Load        Load      `json:"load,omitzero"` // of the session, as it was recorded; absent where none was kept
}

// HeartbeatMissed says that a probe was not answered in time.
type HeartbeatMissed struct {
	Attempt     uint64    `json:"attempt"`
	Number      uint64    `json:"number"`
	Misses      int       `json:"misses"`    // in a row; 0 when other bytes came meanwhile, which is life enough
	Silent      Millis    `json:"silent_ms"` // since the last byte from the gateway
	NextProbeAt time.Time `json:"next_probe_at"`
	AnswerBy    time.Time `json:"answer_by"`
	Load        Load      `json:"load,omitzero"` // of the session, as it was recorded; absent where none was kept
}

// Load is how much a session asked of its gateway, and how the message budget
// kept up with that: totals of the session so far. They begin anew with each
// attempt.
type Load struct {
	Sent   map[MessageKind]uint64 `json:"sent,omitempty"`      // messages that left for the gateway, by what they ask
	Waits  uint64                 `json:"waits,omitempty"`     // of these, how many the message budget made wait for their turn
	Waited Millis                 `json:"waited_ms,omitempty"` // how long these waited, all together
	Queued uint64                 `json:"queued,omitempty"`    // messages that wait for their turn now, heartbeats aside
}

// MessageKind is what a message to a gateway asks.
type MessageKind string

// The kinds of messages.
const (
	MessageCancel    MessageKind = "cancel"     // for the end of a subscription, or of a query for bars
	MessageContract  MessageKind = "contract"   // what a contract is
	MessageDataType  MessageKind = "data_type"  // for market data of another type from now on
	MessageHeartbeat MessageKind = "heartbeat"  // the time, which the gateway answers itself
	MessageHistory   MessageKind = "history"    // for bars of the past
	MessageLinkProbe MessageKind = "link_probe" // for symbols, which only IB's servers answer
	MessageStart     MessageKind = "start"      // for the session (startApi)
	MessageSubscribe MessageKind = "subscribe"  // for a subscription's data
)

// MessageKinds lists every kind of message.
var MessageKinds = []MessageKind{
	MessageCancel, MessageContract, MessageDataType, MessageHeartbeat, MessageHistory, MessageLinkProbe, MessageStart, MessageSubscribe,
}

// LinkAnswered says that IB's servers answered a probe through the gateway. It
// proves the link, which a heartbeat does not.
type LinkAnswered struct {
	Attempt     uint64    `json:"attempt"`
	Number      uint64    `json:"number"` // the probe's own number, from 1 in each session
	SentAt      time.Time `json:"sent_at"`
	RTT         Millis    `json:"rtt_ms"`
	NextProbeAt time.Time `json:"next_probe_at"` // when the next probe of the link is due
}

// LinkMissed says that IB's servers did not answer a probe in time, or that the
// gateway answered it with an error.
type LinkMissed struct {
	Attempt     uint64    `json:"attempt"`
	Number      uint64    `json:"number"`
	Misses      int       `json:"misses"`             // in a row that count
	Code        int       `json:"code,omitempty"`     // of the error that answered it, where one did
	Message     string    `json:"message,omitempty"`  // and its words
	Expected    bool      `json:"expected,omitempty"` // it says nothing new: the link was known to be down, or the gateway did not answer for itself either
	NextProbeAt time.Time `json:"next_probe_at"`
}

// Type returns the event's type.
func (*HeartbeatAnswered) Type() Type { return "ib.conn.heartbeat.answered" }
func (*HeartbeatMissed) Type() Type   { return "ib.conn.heartbeat.missed" }
func (*LinkAnswered) Type() Type      { return "ib.conn.heartbeat.link_answered" }
func (*LinkMissed) Type() Type        { return "ib.conn.heartbeat.link_missed" }

func (e *HeartbeatAnswered) check() error {
	return cmp.Or(given(e.Attempt > 0, "attempt"), given(!e.NextProbeAt.IsZero(), "next_probe_at"), given(!e.AnswerBy.IsZero(), "answer_by"))
}

func (e *HeartbeatMissed) check() error {
	return cmp.Or(given(e.Attempt > 0, "attempt"), given(!e.NextProbeAt.IsZero(), "next_probe_at"), given(!e.AnswerBy.IsZero(), "answer_by"),
		counted(e.Misses, "misses"))
}

func (e *LinkAnswered) check() error {
	return cmp.Or(given(e.Attempt > 0, "attempt"), given(!e.SentAt.IsZero(), "sent_at"), given(!e.NextProbeAt.IsZero(), "next_probe_at"))
}

func (e *LinkMissed) check() error {
	return cmp.Or(given(e.Attempt > 0, "attempt"), given(!e.NextProbeAt.IsZero(), "next_probe_at"), counted(e.Misses, "misses"))
}
