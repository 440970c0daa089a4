package events

import (
	"errors"
	"fmt"
	"time"
)

// ErrSuperseded says that another writer claimed the connection: the one that
// gets it must stop acting, and nothing it tried was stored.
var ErrSuperseded = errors.New("another writer took the connection")

// Draft is an event about to be recorded.
type Draft struct {
	Event       Event
	Correlation string
	Causation   string
	Traceparent string
}

// Head is where a connection's log ends: what the next event must follow on.
// The zero Head is an empty log's.
type Head struct {
	Epoch    uint64 `json:"epoch"`
	Sequence uint64 `json:"sequence"`
	Hash     string `json:"hash,omitempty"` // of the event with that sequence
}

// Author is who writes events.
type Author struct {
	Connection ConnectionID
	Source     string        // "/ibconn/<instance>"
	NewID      func() string // returns a new unique id; called once an event
}

// Next makes the event that follows h, encoded and ready to be stored. A claim
// begins the next epoch. What Next returns is what a reader of the log will
// decode; what no reader could decode is an error, so that it is never stored.
func (h Head) Next(a Author, d Draft, at time.Time) (Recorded, error) {
	r := Recorded{
		ID:          a.NewID(),
		Source:      a.Source,
		Connection:  a.Connection,
		Time:        at.UTC(),
		Sequence:    h.Sequence + 1,
		Epoch:       h.Epoch,
		PrevHash:    h.Hash,
		Correlation: d.Correlation,
		Causation:   d.Causation,
		Traceparent: d.Traceparent,
		Event:       d.Event,
	}
	if r.Heartbeat() {
		r.Sequence = h.Sequence
	}
	if r.Claim() {
		r.Epoch++
	}
	b, err := Encode(r)
	if err != nil {
		return Recorded{}, err
	}
	r, err = decode(b)
	if err != nil {
		return Recorded{}, fmt.Errorf("events: %s is not fit to be recorded: %w", d.Event.Type(), err)
	}
	return r, nil
}

// Then returns the head after r.
func (h Head) Then(r Recorded) Head {
	if r.Heartbeat() {
		return h
	}
	return Head{Epoch: r.Epoch, Sequence: r.Sequence, Hash: r.Hash()}
}

// Reaches says whether a log that ends at h has all that was stored when it ended at
// mark, as far as its end tells.
func (h Head) Reaches(mark Head) bool {
	return h.Sequence > mark.Sequence || h.Sequence == mark.Sequence && h.Hash == mark.Hash
}

// ChainError says how an event does not follow the one before it.
type ChainError struct {
	Finding  Finding
	Expected uint64 // the sequence or epoch that should have come
	Found    uint64 // the one that came
}

// Error says what was expected and what was found.
func (e *ChainError) Error() string {
	switch e.Finding {
	case FindingGap:
		return fmt.Sprintf("sequence %d follows where %d should", e.Found, e.Expected)
	case FindingEpoch:
		return fmt.Sprintf("epoch %d follows where %d should", e.Found, e.Expected)
	default:
		return fmt.Sprintf("the event before sequence %d is not the one that was there when it was written", e.Found)
	}
}

// Follows checks that r may follow h: the sequence gapless, the hash the one
// of the event before, the epoch the writer's. It returns nil or a
// *[ChainError].
func (h Head) Follows(r Recorded) error {
	want := h.Sequence + 1
	if r.Heartbeat() {
		want = h.Sequence
	}
	epoch := h.Epoch
	if r.Claim() {
		epoch++
	}
	switch {
	case r.Sequence != want:
		return &ChainError{Finding: FindingGap, Expected: want, Found: r.Sequence}
	case r.PrevHash != h.Hash:
		return &ChainError{Finding: FindingHash, Expected: want, Found: r.Sequence}
	case r.Epoch != epoch:
		return &ChainError{Finding: FindingEpoch, Expected: epoch, Found: r.Epoch}
	}
	return nil
}
