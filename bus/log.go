package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ibconn/events"
)

// LogOptions says how the log is kept.
type LogOptions struct {
	// HeartbeatTTL is how long a heartbeat is kept, in whole seconds, at least
	// one; 0 means 7 days.
	HeartbeatTTL time.Duration
	// MaxBytes is how large the log may become before it refuses events
	// ([ErrFull]). 0 means 2 GiB for a new log, or all the server has when that
	// is less, and leaves the limit of an existing one as it is. A limit can be
	// raised, never lowered.
	MaxBytes int64
}

const (
	defaultHeartbeatTTL = 7 * 24 * time.Hour
	defaultMaxBytes     = 2 << 30
	// dedupWindow is how long JetStream remembers message ids. It costs memory,
	// and a writer does not rely on it for longer than a request is under way.
	dedupWindow = 2 * time.Minute
	schemaKey   = "ibconn.schema"
	schema      = "1"
)

// Log is the log of events: the stream IB_LOG. It may be used by many
// goroutines.
type Log struct {
	source
	heartbeatTTL time.Duration
}

// source is a stream and the way to it.
type source struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
}

// OpenLog opens the log that nc leads to, and creates it when there is none.
// A log that exists with other settings than a log must have is refused with
// an error that names them.
func OpenLog(ctx context.Context, nc *nats.Conn, o LogOptions) (*Log, error) {
	l, err := openLog(ctx, nc, o)
	if err != nil {
		return nil, fmt.Errorf("bus: open log: %w", err)
	}
	return l, nil
}

func openLog(ctx context.Context, nc *nats.Conn, o LogOptions) (*Log, error) {
	if o.HeartbeatTTL == 0 {
		o.HeartbeatTTL = defaultHeartbeatTTL
	}
	if o.HeartbeatTTL < time.Second || o.HeartbeatTTL%time.Second != 0 {
		return nil, fmt.Errorf("heartbeat TTL %v: want whole seconds, at least one", o.HeartbeatTTL)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	l := &Log{source{nc: nc, js: js}, o.HeartbeatTTL}
	l.stream, err = js.Stream(ctx, events.Stream)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		err = l.create(ctx, o.MaxBytes)
	case err == nil:
		err = l.adopt(ctx, o.MaxBytes)
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// FindLog opens the log that nc leads to for reading, and does not create it.
func FindLog(ctx context.Context, nc *nats.Conn) (*Log, error) {
	s, err := findSource(ctx, nc, events.Stream, "log")
	if err != nil {
		return nil, err
	}
	return &Log{s, defaultHeartbeatTTL}, nil
}

// findSource returns a stream that exists; what is what it holds.
func findSource(ctx context.Context, nc *nats.Conn, name, what string) (source, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return source{}, fmt.Errorf("bus: find %s: %w", what, err)
	}
	stream, err := js.Stream(ctx, name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrJetStreamNotEnabled):
		return source{}, fmt.Errorf("bus: there is no %s at %s: is it ibconn's bus? (%w)", what, nc.ConnectedUrlRedacted(), err)
	case err != nil:
		return source{}, fmt.Errorf("bus: find %s: %w", what, err)
	}
	return source{nc, js, stream}, nil
}

func (l *Log) create(ctx context.Context, maxBytes int64) error {
	config := streamConfig(cmp.Or(maxBytes, defaultMaxBytes))
	stream, err := l.js.CreateStream(ctx, config)
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == codeStorageExceeded && maxBytes == 0 {
		// The server has less than the default to set aside. Without a limit of
		// its own the stream is refused events at the server's, which serves as
		// well.
		config.MaxBytes = -1
		stream, err = l.js.CreateStream(ctx, config)
	}
	l.stream = stream
	return err
}

// streamConfig returns the settings of a new log. DiscardNew, because a log
// that is full must say so: DiscardOld would drop the oldest events, which no
// one could tell from damage. No atomic batches, delete markers or schedules:
// they are not used, and the latter two switch DenyPurge off.
func streamConfig(maxBytes int64) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        events.Stream,
		Description: "the log of ibconn: everything that happened to the connections",
		Subjects:    []string{events.LogSubjects},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardNew,
		Storage:     jetstream.FileStorage,
		Replicas:    1,
		MaxBytes:    maxBytes,
		MaxMsgSize:  events.MaxSize,
		Duplicates:  dedupWindow,
		AllowDirect: true,
		AllowMsgTTL: true,
		DenyDelete:  true,
		DenyPurge:   true,
		RePublish:   &jetstream.RePublish{Source: events.LogSubjects, Destination: "ib.conn.{{wildcard(2)}}"},
		Metadata:    map[string]string{schemaKey: schema},
	}
}

// adopt checks an existing log's settings, and raises its limit where a higher
// one is asked for.
func (l *Log) adopt(ctx context.Context, maxBytes int64) error {
	have := l.stream.CachedInfo().Config
	if diff := differences(have, streamConfig(maxBytes)); len(diff) > 0 {
		return fmt.Errorf("stream %s exists with other settings: %s; give ibconn a log of its own, or correct the stream", events.Stream, strings.Join(diff, ", "))
	}
	return l.raise(ctx, maxBytes)
}

// raise makes the stream's limit maxBytes, if it is lower.
func (s *source) raise(ctx context.Context, maxBytes int64) error {
	config := s.stream.CachedInfo().Config
	if maxBytes <= config.MaxBytes || config.MaxBytes <= 0 {
		return nil
	}
	config.MaxBytes = maxBytes
	raised, err := s.js.UpdateStream(ctx, config)
	if err != nil {
		return fmt.Errorf("raise the size limit to %d bytes: %w", maxBytes, err)
	}
	s.stream = raised
	return nil
}

// differences names the settings of have that a log cannot live with. How many
// replicas there are, and how large the log may be, is the operator's business.
func differences(have, want jetstream.StreamConfig) []string {
	var diff []string
	check := func(name string, have, want any) {
		if have != want {
			diff = append(diff, fmt.Sprintf("%s is %v, want %v", name, have, want))
		}
	}
	check("subjects", strings.Join(have.Subjects, " "), strings.Join(want.Subjects, " "))
	check("retention", have.Retention, want.Retention)
	check("discard", have.Discard, want.Discard)
	check("storage", have.Storage, want.Storage)
	check("persist_mode", have.PersistMode, want.PersistMode)
	check("no_ack", have.NoAck, want.NoAck)
	check("sealed", have.Sealed, want.Sealed)
	check("max_age", max(have.MaxAge, 0), want.MaxAge)
	check("max_msgs", max(have.MaxMsgs, 0), int64(0))
	check("max_msgs_per_subject", max(have.MaxMsgsPerSubject, 0), int64(0))
	check("max_msg_size", have.MaxMsgSize, want.MaxMsgSize)
	check("duplicate_window", have.Duplicates, want.Duplicates)
	check("allow_direct", have.AllowDirect, want.AllowDirect)
	check("allow_msg_ttl", have.AllowMsgTTL, want.AllowMsgTTL)
	check("deny_delete", have.DenyDelete, want.DenyDelete)
	check("deny_purge", have.DenyPurge, want.DenyPurge)
	check("republish", republished(have.RePublish), republished(want.RePublish))
	check(schemaKey, have.Metadata[schemaKey], want.Metadata[schemaKey])
	return diff
}

func republished(r *jetstream.RePublish) string {
	if r == nil {
		return "nothing"
	}
	if r.HeadersOnly {
		return r.Source + " to " + r.Destination + ", headers only"
	}
	return r.Source + " to " + r.Destination
}

// Damage returns in words what JetStream itself says it has lost of the log
// since the server started, or nothing. It finds lost messages in the middle of
// the log; a lost end is found by comparing [Writer.Mark] with the log's head.
func (l *Log) Damage(ctx context.Context) ([]string, error) {
	info, err := l.stream.Info(ctx, jetstream.WithDeletedDetails(true))
	if err != nil {
		return nil, fmt.Errorf("bus: damage: %w", err)
	}
	lost := info.State.Lost
	if lost == nil {
		return nil, nil
	}
	if len(lost.Msgs) == 0 {
		return []string{fmt.Sprintf("JetStream lost %d bytes of stream %s", lost.Bytes, events.Stream)}, nil
	}
	return []string{fmt.Sprintf("JetStream lost %d messages (%d bytes) of stream %s, at sequences from %d to %d",
		len(lost.Msgs), lost.Bytes, events.Stream, slices.Min(lost.Msgs), slices.Max(lost.Msgs))}, nil
}

// Last returns the stream sequence of the newest event, and 0 for an empty log.
func (l *Log) Last(ctx context.Context) (uint64, error) {
	info, err := l.stream.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("bus: end of the log: %w", err)
	}
	return info.State.LastSeq, nil
}

// newest returns the newest message on subject, which may contain wildcards, or
// nil when there is none.
func (s *source) newest(ctx context.Context, subject string) (*jetstream.RawStreamMsg, error) {
	m, err := s.stream.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	return m, err
}

// lasting returns the subjects on which c has events other than heartbeats,
// those of kinds this version does not know included.
func (l *Log) lasting(ctx context.Context, c events.ConnectionID) ([]string, error) {
	info, err := l.stream.Info(ctx, jetstream.WithSubjectFilter(events.LogSubject(c, "*")))
	if err != nil {
		return nil, err
	}
	var subjects []string
	for s := range info.State.Subjects {
		if s != events.LogSubject(c, events.KindHeartbeat) {
			subjects = append(subjects, s)
		}
	}
	slices.Sort(subjects)
	return subjects, nil
}
