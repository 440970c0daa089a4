package events

import (
	"cmp"
	"time"
)

// GatewayReported is an error or notice of the gateway that changed none of
// the levels.
type GatewayReported struct {
	Attempt       uint64    `json:"attempt"`
	RequestID     int64     `json:"request_id"`               // the request it answers; -1 when it answers none
	Code          int       `json:"code"`                     // IB's code
	Class         Class     `json:"class"`                    // what kind of news it is, by IB's code table
	Message       string    `json:"message"`                  // the gateway's words, account ids masked
	Meaning       string    `json:"meaning,omitempty"`        // the code table's words
	UnmatchedText bool      `json:"unmatched_text,omitempty"` // the code's class goes by its text, and this text matched none of the rules
	ReportedAt    time.Time `json:"reported_at,omitzero"`     // the gateway's own time of it, where it sends one
}

// Fault says whether news of class c is an error worth counting and showing as
// the last one: not a notice, not the echo of what we did, not an empty answer,
// and not one of the link's and farms' reports, which have states of their own.
func (c Class) Fault() bool {
	switch c {
	case ClassInfo, ClassBenign, ClassAdvisory, ClassNoData,
		ClassLinkLost, ClassLinkRestoredLost, ClassLinkRestoredKept,
		ClassFarmDown, ClassFarmUp, ClassFarmIdle, ClassFarmConnecting:
		return false
	default:
		return true
	}
}

// GatewayRepeated says that the gateway went on sending what the last
// [GatewayReported] with this request, code and message said. Together they
// count every occurrence.
type GatewayRepeated struct {
	Attempt   uint64    `json:"attempt"`
	RequestID int64     `json:"request_id"`
	Code      int       `json:"code"`
	Class     Class     `json:"class"`
	Message   string    `json:"message"`
	Count     int       `json:"count"`    // occurrences since it was last recorded
	FirstAt   time.Time `json:"first_at"` // of these
	LastAt    time.Time `json:"last_at"`
}

// FrameRefused says that the safety catch kept a message from the gateway,
// because its id is not on the list of what ibconn may send.
type FrameRefused struct {
	Attempt   uint64 `json:"attempt"`
	MessageID int    `json:"message_id"`     // IB's message id
	Name      string `json:"name,omitempty"` // IB's name of it
	Size      int    `json:"size"`           // bytes of payload
}

// SessionAbandoned says that the API library did not let go of an ended
// session in time, so that its goroutines were left behind.
type SessionAbandoned struct {
	Attempt uint64 `json:"attempt"`
	Waited  Millis `json:"waited_ms"`
	Total   uint64 `json:"total"` // abandoned sessions of this process so far
}

// Finding names a kind of damage to the log.
type Finding string

// The findings.
const (
	FindingMissing Finding = "events_missing" // the log ends before the high-water mark
	FindingChanged Finding = "event_changed"  // the event at the high-water mark is not the one that was written
	FindingGap     Finding = "sequence_gap"   // an event is missing, or stands twice, inside the log
	FindingHash    Finding = "hash_mismatch"  // an event is not the one that was there when the next was written
	FindingEpoch   Finding = "wrong_epoch"    // an event was written under a claim that was not the last
	FindingStore   Finding = "store_damaged"  // JetStream itself says that messages are lost, or an event cannot be decoded
)

// LogDamaged says that the log does not hold what it must hold.
type LogDamaged struct {
	Finding  Finding `json:"finding"`
	Detail   string  `json:"detail"`                      // what was expected and what was found, in words
	Expected uint64  `json:"expected_sequence,omitempty"` // the sequence the log must reach, or go on with
	Found    uint64  `json:"found_sequence,omitempty"`    // the sequence it has
}

// Type returns the event's type.
func (*GatewayReported) Type() Type  { return "ib.conn.error.gateway_reported" }
func (*GatewayRepeated) Type() Type  { return "ib.conn.error.gateway_repeated" }
func (*FrameRefused) Type() Type     { return "ib.conn.error.frame_refused" }
func (*SessionAbandoned) Type() Type { return "ib.conn.error.session_abandoned" }
func (*LogDamaged) Type() Type       { return "ib.conn.error.log_damaged" }

func (e *GatewayReported) check() error {
	return cmp.Or(given(e.Attempt > 0, "attempt"), given(e.Class != "", "class"))
}

func (e *GatewayRepeated) check() error {
	return cmp.Or(given(e.Attempt > 0, "attempt"), given(e.Count > 0, "count"))
}

func (e *FrameRefused) check() error { return given(e.Attempt > 0, "attempt") }

func (e *SessionAbandoned) check() error { return given(e.Attempt > 0, "attempt") }

func (e *LogDamaged) check() error { return given(e.Finding != "", "finding") }
