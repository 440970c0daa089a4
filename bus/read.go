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

// Query selects events of the log. The zero Query selects all there are.
type Query struct {
	Connection events.ConnectionID // "" selects every connection
	Kinds      []events.Kind       // nil selects every kind
	After      uint64              // only events above this stream sequence
	Since      time.Time           // only events stored at or after this time
	Follow     bool                // go on with new events as they are stored

	headersOnly bool // the payloads are left out
}

// Entry is an event with its place in the stream, from which a reader can go
// on later ([Query].After).
type Entry struct {
	events.Recorded
	StreamSeq uint64
}

// UndecodableError says that a stored message is not an event of its subject.
type UndecodableError struct {
	StreamSeq uint64
	Subject   string
	Err       error
}

// Error says which message it is and what is wrong with it.
func (e *UndecodableError) Error() string {
	return fmt.Sprintf("bus: message %d of the log (%s) is not readable: %v", e.StreamSeq, e.Subject, e.Err)
}

// Is says that the error is [events.ErrMalformed].
func (e *UndecodableError) Is(target error) bool { return target == events.ErrMalformed }

// Unwrap returns what is wrong with the message.
func (e *UndecodableError) Unwrap() error { return e.Err }

// Stored is a message of the log as it lies there, whatever it says.
type Stored struct {
	Subject   string
	StreamSeq uint64
	StoredAt  time.Time // by the clock of the server that stored it
	Payload   []byte
}

// Entry returns the event that it is, or an *[UndecodableError].
func (s Stored) Entry() (Entry, error) { return decode(s.Subject, s.StreamSeq, s.Payload) }

// Stored yields what q selects as it lies in the log; otherwise it is as
// [Log.Read].
func (l *Log) Stored(ctx context.Context, q Query) iter.Seq2[Stored, error] {
	return func(yield func(Stored, error) bool) {
		for m, err := range l.messages(ctx, q, q.subjects()) {
			if err != nil {
				yield(Stored{}, fmt.Errorf("bus: read: %w", err))
				return
			}
			if !yield(Stored{Subject: m.subject, StreamSeq: m.seq, StoredAt: m.at.UTC(), Payload: m.Data()}, nil) {
				return
			}
		}
	}
}

// Read yields the events that q selects, in the order they were stored. Without
// Follow it ends with the last event that was stored when Read began; with
// Follow it ends with ctx, or when the connection to the server is closed for
// good, which is an error.
//
// A message that is not an event is yielded as an *[UndecodableError], after
// which reading goes on. After any other error it ends, except that with Follow
// an interrupted connection is waited for.
func (l *Log) Read(ctx context.Context, q Query) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for s, err := range l.Stored(ctx, q) {
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if !yield(s.Entry()) {
				return
			}
		}
	}
}

func (q Query) subjects() []string {
	c := q.Connection
	if c == "" {
		c = "*"
	}
	if q.Kinds == nil {
		return []string{events.LogSubject(c, "*")}
	}
	subjects := make([]string, 0, len(q.Kinds))
	for _, k := range q.Kinds {
		subjects = append(subjects, events.LogSubject(c, k))
	}
	return subjects
}

// decode reads an event and holds it against the subject it was found under.
func decode(subject string, seq uint64, payload []byte) (Entry, error) {
	r, err := events.Decode(payload)
	if err == nil {
		if want := events.LogSubject(r.Connection, r.Event.Type().Kind()); want != subject {
			err = fmt.Errorf("it belongs under %s", want)
		}
	}
	if err != nil {
		return Entry{StreamSeq: seq}, &UndecodableError{StreamSeq: seq, Subject: subject, Err: err}
	}
	return Entry{Recorded: r, StreamSeq: seq}, nil
}

const (
	// idleWait is how long a reader that does not follow waits for a message
	// before it asks whether there will be one.
	idleWait = 250 * time.Millisecond
	// prefetch is how many messages are asked for ahead: enough to hide the
	// round trip.
	prefetch = 2048
	// resets is how often the client library may try to replace a lost consumer
	// before the read fails, with waits of a second and more in between.
	resets = 3
	// forgetAfter is how long the server keeps the consumer of a reader that is
	// gone.
	forgetAfter = 30 * time.Second
	// forgetWithin is how long the server may take to drop one that is done.
	forgetWithin = 250 * time.Millisecond
	followRetry  = time.Second
)

// message is a stored message and where it stands.
type message struct {
	jetstream.Msg
	subject string
	seq     uint64
	at      time.Time // when it was stored
}

// messages yields the messages on the given subjects that q selects. With
// Follow, it survives the loss of its consumer.
func (s *source) messages(ctx context.Context, q Query, subjects []string) iter.Seq2[message, error] {
	return func(yield func(message, error) bool) {
		if len(subjects) == 0 {
			return
		}
		q := q // each iteration begins anew
		for {
			err := s.consume(ctx, &q, subjects, yield)
			if err == nil || q.Follow && ctx.Err() != nil {
				return
			}
			if s.nc.IsClosed() {
				yield(message{}, nats.ErrConnectionClosed)
				return
			}
			if !q.Follow || !passing(err) {
				yield(message{}, err)
				return
			}
			if sleep(ctx, followRetry) != nil {
				return
			}
		}
	}
}

// forget has the server drop the consumer of a reader that is done: it keeps only
// so many, and each for a while.
func (s *source) forget(ctx context.Context, consumer jetstream.Consumer) {
	if !s.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), forgetWithin)
	defer cancel()
	_ = s.stream.DeleteConsumer(ctx, consumer.CachedInfo().Name) // it goes by itself, if later
}

// consume yields what one ordered consumer delivers, and keeps q.After at the
// last message yielded. It returns nil at the end of what was selected, and
// when the caller has had enough.
func (s *source) consume(ctx context.Context, q *Query, subjects []string, yield func(message, error) bool) error {
	var end uint64
	if !q.Follow {
		info, err := s.stream.Info(ctx)
		if err != nil {
			return err
		}
		end = info.State.LastSeq
	}
	consumer, err := s.stream.OrderedConsumer(ctx, consumerConfig(q, subjects))
	if err != nil {
		return err
	}
	defer s.forget(ctx, consumer)
	if !q.Follow && consumer.CachedInfo().NumPending == 0 {
		return nil
	}
	msgs, err := consumer.Messages(jetstream.PullMaxMessages(prefetch))
	if err != nil {
		return err
	}
	defer msgs.Stop()
	// Next looks at its context only while it waits for a message, not while it
	// replaces a lost consumer.
	defer context.AfterFunc(ctx, msgs.Stop)()

	var received uint64
	for {
		m, err := next(ctx, q, msgs)
		if errors.Is(err, nats.ErrTimeout) {
			// The messages before the end may have expired since: then there is
			// nothing to wait for.
			if info, err := consumer.Info(ctx); err == nil && info.NumPending == 0 && info.Delivered.Consumer <= received {
				return nil
			}
			continue
		}
		if err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		seq := meta.Sequence.Stream
		if !q.Follow && seq > end {
			return nil
		}
		q.After, received = seq, meta.Sequence.Consumer
		if !meta.Timestamp.Before(q.Since) && !yield(message{m, m.Subject(), seq, meta.Timestamp}, nil) {
			return nil
		}
		if !q.Follow && (seq == end || meta.NumPending == 0) {
			return nil
		}
	}
}

func consumerConfig(q *Query, subjects []string) jetstream.OrderedConsumerConfig {
	c := jetstream.OrderedConsumerConfig{
		FilterSubjects:    subjects,
		InactiveThreshold: forgetAfter,
		MaxResetAttempts:  resets,
		HeadersOnly:       q.headersOnly,
	}
	switch {
	case q.After > 0:
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, q.After+1
	case !q.Since.IsZero():
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &q.Since
	default:
		c.DeliverPolicy = jetstream.DeliverAllPolicy
	}
	return c
}

func next(ctx context.Context, q *Query, msgs jetstream.MessagesContext) (jetstream.Msg, error) {
	var m jetstream.Msg
	var err error
	if q.Follow {
		m, err = msgs.Next(jetstream.NextContext(ctx))
	} else {
		m, err = msgs.Next(jetstream.NextMaxWait(idleWait))
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return m, err
}

// passing says whether err may be gone after a while: a lost connection, a
// server that restarts. What the server refuses as wrong stays wrong.
func passing(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return !ok || api.Code >= 500
}

// sleep waits for d or the end of ctx, and returns the cause of the latter.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
