package bus

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ibconn/events"
)

// ImportOptions says how imports are kept.
type ImportOptions struct {
	// MaxBytes is how large the stream of imports may become; then it refuses more. 0
	// means 512 MiB for a new stream, or less when the server has less to set aside,
	// and leaves that of an existing one as it is.
	MaxBytes int64
}

const (
	defaultImportBytes = 512 << 20
	// importAhead is how many messages of an import may be unacknowledged.
	importAhead = 512
	// importWithin is how long an acknowledgement may take: a disk may sync each
	// message.
	importWithin = 10 * time.Second
)

// The headers of an imported message.
const (
	headerStoredAt    = "Ib-Stored-At"    // when it was stored in the log that it is from
	headerLogPosition = "Ib-Log-Position" // its stream sequence there
)

// ErrNameTaken says that there are events under the name that something was to be
// imported under.
var ErrNameTaken = errors.New("the name is taken: there are events under it; import under another one")

// Imports is what was imported from other logs: the stream IB_IMPORT. It may be used by
// many goroutines.
type Imports struct{ source }

// OpenImports opens the stream of imports that nc leads to, and creates it when there is
// none.
func OpenImports(ctx context.Context, nc *nats.Conn, o ImportOptions) (*Imports, error) {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(importAhead), jetstream.WithPublishAsyncTimeout(importWithin))
	if err != nil {
		return nil, fmt.Errorf("bus: open imports: %w", err)
	}
	i := &Imports{source{nc: nc, js: js}}
	i.stream, err = js.Stream(ctx, events.ImportStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = i.createWithin(ctx, importConfig(o.MaxBytes), defaultImportBytes)
	}
	if err == nil {
		have := i.stream.CachedInfo().Config
		if diff := differences(have, importConfig(have.MaxBytes)); len(diff) > 0 {
			err = fmt.Errorf("stream %s exists with other settings: %s; delete it, or correct it", events.ImportStream, strings.Join(diff, ", "))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("bus: open imports: %w", err)
	}
	return i, nil
}

// FindImports opens the imports that nc leads to for reading.
func FindImports(ctx context.Context, nc *nats.Conn) (*Imports, error) {
	s, err := findSource(ctx, nc, events.ImportStream, "import")
	if err != nil {
		return nil, err
	}
	return &Imports{s}, nil
}

// importConfig returns the settings of a new stream of imports. It is not repeated on
// the feed. What is full refuses more, as half an import is none; what is not wanted any
// more can be purged.
func importConfig(maxBytes int64) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        events.ImportStream,
		Description: "what was imported from other logs of ibconn: no log, and nothing that is true now",
		Subjects:    []string{events.ImportedSubject("*"), events.ImportSubject("*", "*")},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardNew,
		Storage:     jetstream.FileStorage,
		Replicas:    1,
		// It can be imported again, and a sync of each message would take hours.
		PersistMode: jetstream.AsyncPersistMode,
		MaxBytes:    maxBytes,
		MaxMsgSize:  events.MaxSize,
		Duplicates:  dedupWindow,
		AllowDirect: true,
		Metadata:    map[string]string{schemaKey: schema},
	}
}

// Import is what is being imported under a name. It is for one goroutine.
type Import struct {
	imports *Imports
	name    events.ConnectionID
	acks    []jetstream.PubAckFuture
	began   bool
}

// Begin begins an import under a name. The error is [ErrNameTaken] when the log or
// another import has events under it.
func (i *Imports) Begin(ctx context.Context, name events.ConnectionID) (*Import, error) {
	if _, err := events.ParseConnectionID(string(name)); err != nil {
		return nil, fmt.Errorf("bus: import: %w", err)
	}
	log, err := i.js.Stream(ctx, events.Stream)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound): // a bus for nothing else
	case err != nil:
		return nil, fmt.Errorf("bus: import %s: %w", name, err)
	default:
		live := source{i.nc, i.js, log}
		if m, err := live.newest(ctx, events.LogSubject(name, "*")); err != nil || m != nil {
			return nil, fmt.Errorf("bus: import %s: %w", name, errors.Join(err, taken(m)))
		}
	}
	for _, subject := range []string{events.ImportedSubject(name), events.ImportSubject(name, "*")} {
		if m, err := i.newest(ctx, subject); err != nil || m != nil {
			return nil, fmt.Errorf("bus: import %s: %w", name, errors.Join(err, taken(m)))
		}
	}
	return &Import{imports: i, name: name}, nil
}

func taken(m *jetstream.RawStreamMsg) error {
	if m == nil {
		return nil
	}
	return ErrNameTaken
}

// Add stores a message; its subject is that of the log, under the import's name. It may
// be stored only once Finish has returned.
func (m *Import) Add(ctx context.Context, s Stored) error {
	if err := m.add(ctx, s); err != nil {
		return fmt.Errorf("bus: import message %d as %s: %w", s.StreamSeq, m.name, err)
	}
	return nil
}

func (m *Import) add(ctx context.Context, s Stored) error {
	name, kind, err := events.ParseLogSubject(s.Subject)
	if err != nil {
		return err
	}
	if name != m.name {
		return fmt.Errorf("it is about connection %s", name)
	}
	msg := nats.NewMsg(events.ImportSubject(m.name, kind))
	msg.Data = s.Payload
	msg.Header.Set(events.HeaderContentType, events.ContentType)
	msg.Header.Set(headerStoredAt, s.StoredAt.UTC().Format(time.RFC3339Nano))
	msg.Header.Set(headerLogPosition, strconv.FormatUint(s.StreamSeq, 10))
	if !m.began {
		// Of two that begin at once, one is refused here.
		_, err := m.imports.js.PublishMsg(ctx, msg, jetstream.WithExpectLastSequenceForSubject(0, events.ImportSubject(m.name, "*")))
		if err != nil {
			err = refusal(err)
		}
		if errors.Is(err, errContested) {
			return ErrNameTaken
		}
		m.began = true // it may have been stored, whatever the error
		return err
	}
	if len(m.acks) == importAhead {
		if err := m.settle(ctx); err != nil {
			return err
		}
	}
	ack, err := m.imports.js.PublishMsgAsync(msg)
	if err != nil {
		return refusal(err)
	}
	m.acks = append(m.acks, ack)
	return nil
}

// settle waits until what was sent is stored.
func (m *Import) settle(ctx context.Context) error {
	for _, ack := range m.acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			return refusal(err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	m.acks = m.acks[:0]
	return nil
}

// Finish waits until all is stored, and stores the word that it is: about says where it
// is from, for whoever reads it.
func (m *Import) Finish(ctx context.Context, about []byte) error {
	err := m.settle(ctx)
	if err == nil {
		_, err = m.imports.js.Publish(ctx, events.ImportedSubject(m.name), about)
	}
	if err != nil {
		return fmt.Errorf("bus: import %s: %w", m.name, refusal(err))
	}
	return nil
}

// Discard removes what was stored of an import that is not to be finished, even when ctx
// has ended.
func (m *Import) Discard(ctx context.Context) error {
	if !m.began {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackTimeout)
	defer cancel()
	select { // what is on its way would come after the purge
	case <-m.imports.js.PublishAsyncComplete():
	case <-ctx.Done():
	}
	if err := m.imports.stream.Purge(ctx, jetstream.WithPurgeSubject(events.ImportSubject(m.name, "*"))); err != nil {
		return fmt.Errorf("bus: half of an import is left under %s: %w; remove it with: nats stream purge %s --subject '%s'",
			m.name, err, events.ImportStream, events.ImportSubject(m.name, "*"))
	}
	return nil
}

// Connections returns the names of the imports that are complete, in their order.
func (i *Imports) Connections(ctx context.Context) ([]events.ConnectionID, error) {
	info, err := i.stream.Info(ctx, jetstream.WithSubjectFilter(events.ImportedSubject("*")))
	if err != nil {
		return nil, fmt.Errorf("bus: imports: %w", err)
	}
	var names []events.ConnectionID
	for subject := range info.State.Subjects {
		names = append(names, events.ConnectionID(strings.TrimPrefix(subject, events.ImportedSubject(""))))
	}
	slices.Sort(names)
	return names, nil
}

// About returns what [Import.Finish] was given.
func (i *Imports) About(ctx context.Context, name events.ConnectionID) ([]byte, error) {
	m, err := i.newest(ctx, events.ImportedSubject(name))
	if err == nil && m == nil {
		err = ErrNoImport
	}
	if err != nil {
		return nil, fmt.Errorf("bus: import %s: %w", name, err)
	}
	return m.Data, nil
}

// ErrNoImport says that nothing was imported under a name, or not all of it.
var ErrNoImport = errors.New("there is no import of that name, or it was cut off")

// Stored yields what q selects of complete imports, as the log that it is from had it:
// under its subjects, with the time at which it was stored there; only its stream
// sequence is that of the imports. Otherwise it is as [Log.Stored].
func (i *Imports) Stored(ctx context.Context, q Query) iter.Seq2[Stored, error] {
	return func(yield func(Stored, error) bool) {
		names, err := i.Connections(ctx)
		if err == nil && q.Connection != "" && !slices.Contains(names, q.Connection) {
			err = fmt.Errorf("bus: import %s: %w", q.Connection, ErrNoImport)
		}
		if err != nil {
			yield(Stored{}, err)
			return
		}
		since := q.Since
		q.Since = time.Time{} // which is of another time
		for m, err := range i.messages(ctx, q, q.imported()) {
			if err != nil {
				yield(Stored{}, fmt.Errorf("bus: read imports: %w", err))
				return
			}
			s := restored(m)
			name, _, err := events.ParseLogSubject(s.Subject)
			if err != nil || !slices.Contains(names, name) || s.StoredAt.Before(since) {
				continue
			}
			if !yield(s, nil) {
				return
			}
		}
	}
}

// restored is a message of an import as it was in its log.
func restored(m message) Stored {
	s := Stored{
		Subject:   strings.Replace(m.subject, events.ImportedSubject(""), "ib.log.", 1),
		StreamSeq: m.seq, StoredAt: m.at.UTC(), Payload: m.Data(),
	}
	if at, err := time.Parse(time.RFC3339Nano, m.Headers().Get(headerStoredAt)); err == nil {
		s.StoredAt = at.UTC()
	}
	return s
}

func (q Query) imported() []string {
	c := q.Connection
	if c == "" {
		c = "*"
	}
	if q.Kinds == nil {
		return []string{events.ImportSubject(c, "*")}
	}
	var subjects []string
	for _, k := range q.Kinds {
		subjects = append(subjects, events.ImportSubject(c, k))
	}
	return subjects
}
