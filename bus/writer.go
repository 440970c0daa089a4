package bus

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ibconn/events"
)

var (
	// ErrFull says that the log has reached its size limit or the disk's share
	// of the store. It refuses events rather than drop old ones; raise
	// LogOptions.MaxBytes, or wait for heartbeats to expire.
	ErrFull = errors.New("the log is full")
	// ErrTooLarge says that an event, with its headers, is larger than
	// [events.MaxSize].
	ErrTooLarge = errors.New("the event is too large")
	// ErrRolledBack says that the log ends before what this writer had stored:
	// the store was damaged or replaced under it.
	ErrRolledBack = errors.New("the log has lost events that were stored")
	// ErrUnclaimed says that Append was called before Claim.
	ErrUnclaimed = errors.New("the connection is not claimed")

	// errContested says that the server refused a write because another was
	// under way, and that the reason is gone by now.
	errContested = errors.New("the write was contested")
)

const (
	// ackTimeout is how long one try waits for the server's word. A disk may
	// take longer to sync; then the next try finds the event, or is a duplicate.
	ackTimeout   = 2 * time.Second
	minRetryWait = 20 * time.Millisecond
	maxRetryWait = 2 * time.Second
)

// Writer writes the events of one connection. Its methods must not be called
// at the same time; of several writers for one connection, in this process or
// elsewhere, the one that claimed last is the only one that can append.
type Writer struct {
	log        *Log
	connection events.ConnectionID
	mark       highWater
	claim      uint64 // stream sequence of our claim; 0 before
	last       uint64 // stream sequence of the newest message of the connection that we loaded or stored
	doubt      bool   // the last store failed, and may have stored its event nevertheless
}

// Writer returns a writer for c that keeps its high-water mark in dir.
func (l *Log) Writer(c events.ConnectionID, dir string) (*Writer, error) {
	if _, err := events.ParseConnectionID(string(c)); err != nil {
		return nil, fmt.Errorf("bus: writer: %w", err)
	}
	return &Writer{log: l, connection: c, mark: highWaterOf(c, dir)}, nil
}

// Load yields every event of the connection that is not a heartbeat, oldest
// first, up to the last one that was stored when it began. A message that is
// not an event is yielded as an *[UndecodableError], after which loading goes
// on; any other error ends it.
func (w *Writer) Load(ctx context.Context) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		w.last = 0
		for m, err := range w.newer(ctx) {
			if err != nil {
				yield(events.Recorded{}, fmt.Errorf("bus: load %s: %w", w.connection, err))
				return
			}
			w.last = m.seq
			e, err := decode(m.subject, m.seq, m.Data())
			if !yield(e.Recorded, err) {
				return
			}
		}
	}
}

// newer yields the messages above w.last that are not heartbeats.
func (w *Writer) newer(ctx context.Context) iter.Seq2[message, error] {
	return func(yield func(message, error) bool) {
		subjects, err := w.log.lasting(ctx, w.connection)
		if err != nil {
			yield(message{}, err)
			return
		}
		w.log.messages(ctx, Query{After: w.last}, subjects)(yield)
	}
}

// LastAt returns when the connection's newest event, heartbeats included, was
// written; zero for an empty log. Of a message that is not an event it is the
// time it was stored.
func (w *Writer) LastAt(ctx context.Context) (time.Time, error) {
	m, err := w.log.newest(ctx, events.LogSubject(w.connection, "*"))
	if err != nil {
		return time.Time{}, fmt.Errorf("bus: last event of %s: %w", w.connection, err)
	}
	if m == nil {
		return time.Time{}, nil
	}
	r, err := events.Decode(m.Data)
	if err != nil {
		return m.Time.UTC(), nil
	}
	return r.Time, nil
}

// Mark returns the high-water mark: the head this machine knows to have been
// stored. Zero when there is none.
func (w *Writer) Mark() (events.Head, error) {
	s, err := w.mark.read()
	if err != nil {
		return events.Head{}, fmt.Errorf("bus: high-water mark of %s: %w", w.connection, err)
	}
	return s.head, nil
}

// Claim stores claim, an event of [events.KindClaimed], on condition that
// nothing but heartbeats came since the last Load; otherwise it returns
// [events.ErrSuperseded], and the caller must Load again before it may try
// again. The other errors are Append's.
func (w *Writer) Claim(ctx context.Context, claim events.Recorded) error {
	if claim.Event.Type().Kind() != events.KindClaimed {
		return fmt.Errorf("bus: claim %s: %s is not a claim", w.connection, claim.Event.Type())
	}
	return w.store(ctx, claim, func(m *nats.Msg, _ bool) (uint64, error) {
		seq, err := w.tryClaim(ctx, m)
		if err == nil {
			w.claim = seq
		}
		return seq, err
	})
}

// tryClaim looks at where the connection's log ends, makes sure that nobody
// else wrote there since Load, and publishes on condition that it still ends
// there. The condition covers heartbeats, so that it must be worked out anew
// each time: they come from the writer that is about to be superseded, and they
// expire.
func (w *Writer) tryClaim(ctx context.Context, m *nats.Msg) (uint64, error) {
	all := events.LogSubject(w.connection, "*")
	end, err := w.log.newest(ctx, all)
	if err != nil {
		return 0, err
	}
	if end == nil {
		return w.publish(ctx, m, jetstream.WithExpectLastSequenceForSubject(0, all))
	}
	if end.Sequence > w.last {
		for other, err := range w.newer(ctx) {
			switch {
			case err != nil:
				return 0, err
			case other.Headers().Get(events.HeaderMsgID) == m.Header.Get(events.HeaderMsgID):
				return other.seq, nil
			default:
				return 0, events.ErrSuperseded
			}
		}
	}
	return w.publish(ctx, m, jetstream.WithExpectLastSequenceForSubject(end.Sequence, all))
}

// Append stores r on condition that the claim still stands, and returns nil
// once r is on the disk, in the log and once. It tries again, for as long as
// it takes, after whatever may pass; when ctx ends first, r may have been
// stored or not, and appending the same r again is safe.
//
// The error wraps [events.ErrSuperseded] when another writer claimed,
// [ErrUnclaimed], [ErrFull] or [ErrTooLarge], and then r was not stored. It may
// have been when the error is the cause of ctx's end, [ErrRolledBack], or that
// the high-water mark could not be written.
func (w *Writer) Append(ctx context.Context, r events.Recorded) error {
	if w.claim == 0 {
		return fmt.Errorf("bus: append to %s: %w", w.connection, ErrUnclaimed)
	}
	if r.Event.Type().Kind() == events.KindClaimed {
		return fmt.Errorf("bus: append to %s: %s is a claim", w.connection, r.Event.Type())
	}
	return w.store(ctx, r, func(m *nats.Msg, again bool) (uint64, error) {
		return w.tryAppend(ctx, m, again)
	})
}

func (w *Writer) tryAppend(ctx context.Context, m *nats.Msg, again bool) (uint64, error) {
	if again {
		// The deduplication window may be over by now.
		if seq, err := w.find(ctx, m); seq != 0 || err != nil {
			return seq, err
		}
	}
	claimed := events.LogSubject(w.connection, events.KindClaimed)
	seq, err := w.publish(ctx, m, jetstream.WithExpectLastSequenceForSubject(w.claim, claimed))
	if !errors.Is(err, errContested) {
		return seq, err
	}
	last, err := w.log.newest(ctx, claimed)
	switch {
	case err != nil:
		return 0, err
	case last == nil || last.Sequence < w.claim:
		return 0, ErrRolledBack
	case last.Sequence == w.claim:
		return 0, errContested
	}
	// An earlier try may have been stored before the other claim came.
	if seq, err := w.find(ctx, m); seq != 0 || err != nil {
		return seq, err
	}
	return 0, events.ErrSuperseded
}

// find returns the stream sequence of the message with m's id above w.last, or
// 0 when it was not stored.
func (w *Writer) find(ctx context.Context, m *nats.Msg) (uint64, error) {
	for other, err := range w.log.messages(ctx, Query{After: w.last}, []string{m.Subject}) {
		if err != nil {
			return 0, err
		}
		if other.Headers().Get(events.HeaderMsgID) == m.Header.Get(events.HeaderMsgID) {
			return other.seq, nil
		}
	}
	return 0, nil
}

// store repeats try until r is stored or cannot be, and moves the high-water
// mark.
func (w *Writer) store(ctx context.Context, r events.Recorded, try func(m *nats.Msg, again bool) (uint64, error)) error {
	m, err := w.message(&r)
	if err != nil {
		return fmt.Errorf("bus: store %s: %w", r.Event.Type(), err)
	}
	seq, err := try(m, w.doubt)
	w.doubt = true
	for wait := minRetryWait; err != nil; wait = min(2*wait, maxRetryWait) {
		if !w.retryable(err) {
			return fmt.Errorf("bus: store %s: %w", r.Event.Type(), err)
		}
		if end := sleep(ctx, wait); end != nil {
			return fmt.Errorf("bus: store %s: %w (last try: %w)", r.Event.Type(), end, err)
		}
		seq, err = try(m, true)
	}
	if !r.Heartbeat() {
		if err := w.mark.write(events.Head{}.Then(r)); err != nil {
			return fmt.Errorf("bus: %s is stored, but its high-water mark is not: %w", r.Event.Type(), err)
		}
	}
	w.last, w.doubt = seq, false
	return nil
}

// message makes the message that stores r, and fills in r's wire form.
func (w *Writer) message(r *events.Recorded) (*nats.Msg, error) {
	if r.Connection != w.connection {
		return nil, fmt.Errorf("it is about connection %q, and the writer is for %q", r.Connection, w.connection)
	}
	b, err := events.Encode(*r)
	if err != nil {
		return nil, err
	}
	r.Wire = b
	m := nats.NewMsg(events.LogSubject(r.Connection, r.Event.Type().Kind()))
	m.Data = b
	m.Header.Set(events.HeaderMsgID, r.ID)
	m.Header.Set(events.HeaderContentType, events.ContentType)
	if r.Traceparent != "" {
		m.Header.Set("traceparent", r.Traceparent)
	}
	if r.Heartbeat() {
		m.Header.Set(jetstream.MsgTTLHeader, w.log.heartbeatTTL.String())
	}
	return m, nil
}

// publish tries once and returns the message's place in the stream. A
// duplicate's is that of the first.
func (w *Writer) publish(ctx context.Context, m *nats.Msg, condition jetstream.PublishOpt) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	ack, err := w.log.js.PublishMsg(ctx, m, condition)
	if err != nil {
		return 0, refusal(err)
	}
	if ack.Sequence <= w.last && !ack.Duplicate {
		return 0, fmt.Errorf("%w: message %d came after %d", ErrRolledBack, ack.Sequence, w.last)
	}
	return ack.Sequence, nil
}

// Codes of JetStream that the client library has no name for.
const (
	codeInsufficientResources jetstream.ErrorCode = 10023
	codeStorageExceeded       jetstream.ErrorCode = 10047
	codeStoreFailed           jetstream.ErrorCode = 10077
	codeHeaderTooLarge        jetstream.ErrorCode = 10097
)

// refusal says what a server's error means to a writer.
func refusal(err error) error {
	if errors.Is(err, nats.ErrMaxPayload) {
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	if !ok {
		return err
	}
	switch api.ErrorCode {
	case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
		return errContested
	case jetstream.JSErrCodeStreamMessageExceedsMaximum, codeHeaderTooLarge:
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case codeInsufficientResources, codeStorageExceeded:
		return fmt.Errorf("%w: %w", ErrFull, err)
	case codeStoreFailed:
		// The code covers every reason; only the text tells a limit, which is
		// there to stay, from a store that is just being closed for a restart.
		if api.Description == "maximum bytes exceeded" {
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
	}
	return err
}

func (w *Writer) retryable(err error) bool {
	switch {
	case errors.Is(err, events.ErrSuperseded),
		errors.Is(err, ErrFull),
		errors.Is(err, ErrTooLarge),
		errors.Is(err, ErrRolledBack),
		w.log.nc.IsClosed():
		return false
	}
	return passing(err)
}
