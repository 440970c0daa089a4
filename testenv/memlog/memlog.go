// Package memlog is a log in memory, for tests of what is written to a log: it
// fences writers as the one on JetStream does, outlives them, and can be told
// to fail.
//
//	store := memlog.New()
//	runner := &connector.Runner{Log: store.Writer(), ...}
//
// It keeps the wire forms and decodes them anew for each reader, so that a
// reader sees exactly what a reader of the real log would.
package memlog

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"

	"ibconn/events"
)

// Store is one connection's log.
type Store struct {
	mu     sync.Mutex
	wires  [][]byte
	mark   events.Head
	claims int
	kept   int // events that are not heartbeats
}

// New returns an empty store.
func New() *Store { return &Store{} }

// Wires returns the stored events, oldest first.
func (s *Store) Wires() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.wires)
}

// Events returns the stored events, decoded, oldest first.
func (s *Store) Events() []events.Recorded {
	var all []events.Recorded
	for _, w := range s.Wires() {
		r, err := events.Decode(w)
		if err != nil {
			panic("memlog: holds what cannot be decoded: " + err.Error())
		}
		all = append(all, r)
	}
	return all
}

// Truncate drops all but the first n events, as damage would: the high-water
// mark stays.
func (s *Store) Truncate(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wires = s.wires[:n]
}

// Writer returns a writer on the store. It must Load before it may Claim, and
// Claim before it may Append.
func (s *Store) Writer() *Writer { return &Writer{store: s} }

// Writer implements connector.Log.
type Writer struct {
	store  *Store
	claims int // how many claims there were when it last looked
	kept   int // how many events that are not heartbeats there were at Load

	// Before, when set, is called before each event is stored, claims
	// included; an error is returned instead of storing it.
	Before func(events.Recorded) error

	dead bool // with the store's lock
}

// ErrDead is what a writer that died returns.
var ErrDead = errors.New("memlog: the writer is dead")

// Die lets w store nothing any more: what its process would still have said, if
// it had not been killed.
func (w *Writer) Die() {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.dead = true
}

// Load yields every event that is not a heartbeat, oldest first.
func (w *Writer) Load(ctx context.Context) iter.Seq2[events.Recorded, error] {
	w.store.mu.Lock()
	w.claims, w.kept = w.store.claims, w.store.kept
	wires := slices.Clone(w.store.wires)
	w.store.mu.Unlock()
	return func(yield func(events.Recorded, error) bool) {
		for _, b := range wires {
			r, err := events.Decode(b)
			if err == nil && r.Heartbeat() {
				continue
			}
			if ctx.Err() != nil || !yield(r, err) {
				return
			}
		}
	}
}

// LastAt returns the time of the newest event.
func (w *Writer) LastAt(context.Context) (time.Time, error) {
	all := w.store.Events()
	if len(all) == 0 {
		return time.Time{}, nil
	}
	return all[len(all)-1].Time, nil
}

// Mark returns the head after the newest event that is not a heartbeat.
func (w *Writer) Mark() (events.Head, error) {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	return w.store.mark, nil
}

// Claim stores claim unless anything but heartbeats came since Load.
func (w *Writer) Claim(_ context.Context, claim events.Recorded) error {
	err := w.put(claim, func() bool { return w.kept == w.store.kept })
	if err == nil {
		w.claims++
	}
	return err
}

// Append stores r unless another claim came since ours.
func (w *Writer) Append(_ context.Context, r events.Recorded) error {
	return w.put(r, func() bool { return w.claims == w.store.claims })
}

func (w *Writer) put(r events.Recorded, stands func() bool) error {
	if w.Before != nil {
		if err := w.Before(r); err != nil {
			return err
		}
	}
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	switch {
	case w.dead:
		return ErrDead
	case !stands():
		return events.ErrSuperseded
	}
	if r.Claim() {
		w.store.claims++
	}
	if !r.Heartbeat() {
		w.store.kept++
	}
	w.store.wires = append(w.store.wires, r.Wire)
	w.store.mark = w.store.mark.Then(r)
	return nil
}
