package bus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ibconn/events"
)

// StatusBucket is the KV bucket in which the newest status document of each
// connection is kept, under the connection's name.
const StatusBucket = "ib_status"

// MaxStatus is how many bytes a status document may have: ten times what one
// with all that it may list has.
const MaxStatus = 512 << 10

// maxStatusHeader is for the header of the message that a document is in, which
// the server counts too.
const maxStatusHeader = 1 << 10

// ErrStatusTooLarge says that a status document has more than [MaxStatus] bytes.
// It was not kept.
var ErrStatusTooLarge = errors.New("the document is too large")

// Statuses keeps the newest status document of each connection in a KV bucket. A
// document is a JSON object that says in stream_seq which position of the log it
// stands for. It may be used by many goroutines, and by many processes at once.
type Statuses struct {
	js jetstream.JetStream
	kv jetstream.KeyValue
}

// OpenStatuses opens the bucket that nc leads to, and creates it when there is
// none.
func OpenStatuses(ctx context.Context, nc *nats.Conn) (*Statuses, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("bus: open statuses: %w", err)
	}
	kv, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket:       StatusBucket,
		Description:  "where each connection of ibconn stands, as of the position of the log in its stream_seq",
		MaxValueSize: MaxStatus + maxStatusHeader,
		History:      1,
		Storage:      jetstream.FileStorage,
	})
	if err != nil {
		return nil, fmt.Errorf("bus: open statuses: %w", err)
	}
	return &Statuses{js, kv}, nil
}

// FindStatuses opens the bucket that nc leads to for reading, and does not create
// it.
func FindStatuses(ctx context.Context, nc *nats.Conn) (*Statuses, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("bus: find statuses: %w", err)
	}
	kv, err := js.KeyValue(ctx, StatusBucket)
	if err != nil {
		return nil, fmt.Errorf("bus: find statuses: %w", err)
	}
	return &Statuses{js, kv}, nil
}

// Get returns the document of a connection; nil when there is none.
func (s *Statuses) Get(ctx context.Context, c events.ConnectionID) ([]byte, error) {
	e, err := s.kv.Get(ctx, string(c))
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("bus: status of %s: %w", c, err)
	}
	return e.Value(), nil
}

// Put keeps a document that stands for a position of the log, unless one of a
// later position is there: then it is left, which is no error. One that cannot be
// read is replaced, and so is one of a position that the log has not come to,
// since it stands for a log whose end was lost. When Put returns nil, what is
// kept is on the disk.
//
// A document of more than [MaxStatus] bytes is [ErrStatusTooLarge].
func (s *Statuses) Put(ctx context.Context, c events.ConnectionID, position uint64, document []byte) error {
	if err := s.put(ctx, c, position, document); err != nil {
		return fmt.Errorf("bus: status of %s: %w", c, err)
	}
	return nil
}

func (s *Statuses) put(ctx context.Context, c events.ConnectionID, position uint64, document []byte) error {
	if _, err := events.ParseConnectionID(string(c)); err != nil {
		return err
	}
	if len(document) > MaxStatus {
		return fmt.Errorf("%w: %d bytes, want at most %d", ErrStatusTooLarge, len(document), MaxStatus)
	}
	if says := positionOf(document); says != position || position == 0 {
		return fmt.Errorf("stream_seq of the document is %d: want its position in the log, %d, above 0", says, position)
	}
	for {
		err := s.replace(ctx, c, position, document)
		if !errors.Is(err, jetstream.ErrKeyExists) && !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			return err
		}
		// Somebody else was quicker, so the next look finds another document.
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// replace puts a document in place of the one that it finds, if that may be.
func (s *Statuses) replace(ctx context.Context, c events.ConnectionID, position uint64, document []byte) error {
	e, err := s.kv.Get(ctx, string(c))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		_, err = s.kv.Create(ctx, string(c), document)
		return err
	}
	if err != nil {
		return err
	}
	switch there := positionOf(e.Value()); {
	case there == position && bytes.Equal(e.Value(), document):
		return nil
	case there > position:
		if beyond, err := s.beyondLog(ctx, there); !beyond || err != nil {
			return err
		}
	}
	_, err = s.kv.Update(ctx, string(c), document, e.Revision())
	return err
}

// beyondLog says whether there is a log, and it has not come to a position.
func (s *Statuses) beyondLog(ctx context.Context, position uint64) (bool, error) {
	stream, err := s.js.Stream(ctx, events.Stream) // asks for the end, too
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return false, nil
	case err != nil:
		return false, err
	}
	return position > stream.CachedInfo().State.LastSeq, nil
}

// positionOf reads the position that a document stands for; 0 when that cannot
// be read, which is no position.
func positionOf(document []byte) uint64 {
	var d struct {
		StreamSeq uint64 `json:"stream_seq"`
	}
	if json.Unmarshal(document, &d) != nil {
		return 0
	}
	return d.StreamSeq
}
