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
	AnswerBy    time.Time `json:"answer_by"` // when the next probe must be answered
}

// HeartbeatMissed says that a probe was not answered in time.
type HeartbeatMissed struct {
	Attempt     uint64    `json:"attempt"`
	Number      uint64    `json:"number"`
	Misses      int       `json:"misses"`    // in a row; 0 when other bytes came meanwhile, which is life enough
	Silent      Millis    `json:"silent_ms"` // since the last byte from the gateway
	NextProbeAt time.Time `json:"next_probe_at"`
	AnswerBy    time.Time `json:"answer_by"`
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
