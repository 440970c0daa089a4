package bus

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ibconn/events"
)

// AlertBucket is the KV bucket in which it is kept what people were told of, under
// a key for each receiver and each thing that it is told of.
const AlertBucket = "ib_alerts"

// MaxAlertRecord is how many bytes a record of [AlertBucket] may have.
const MaxAlertRecord = 4 << 10

// headerKVOperation says that a message of a KV bucket is no value but the end of one.
const headerKVOperation = "KV-Operation"

// maxAlertHeader is for the header of the message that a record is in, which the
// server counts too.
const maxAlertHeader = 1 << 10

// defaultAlertsKept is for how long a record is kept after it was last written.
const defaultAlertsKept = 30 * 24 * time.Hour

// ErrAlertTaken says that somebody else wrote a record meanwhile.
var ErrAlertTaken = errors.New("somebody else wrote the record")

// AlertOptions says how it is kept what people were told of.
type AlertOptions struct {
	// Keep is how long a record is kept after it was last written: 0 means 30
	// days for a new bucket, and less than that means for ever. A bucket that
	// exists stays as it is.
	Keep time.Duration
}

// Alerts is what those who tell people need of the bus: they read incidents and
// statuses, and keep in a KV bucket what was told. It may be used by many
// goroutines, and by many processes at once.
type Alerts struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	options AlertOptions
}

// NewAlerts returns what nc leads to, which need not be connected.
func NewAlerts(nc *nats.Conn, o AlertOptions) (*Alerts, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("bus: alerts: %w", err)
	}
	return &Alerts{nc, js, o}, nil
}

// Open finds the bucket, and creates it when there is none.
func (a *Alerts) Open(ctx context.Context) error {
	// Who runs elsewhere may write to the bucket, and not create or change it.
	_, err := a.js.KeyValue(ctx, AlertBucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		keep := a.options.Keep
		if keep == 0 {
			keep = defaultAlertsKept
		}
		_, err = a.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket:       AlertBucket,
			Description:  "what ibconn's alerts told whom of",
			MaxValueSize: MaxAlertRecord + maxAlertHeader,
			History:      1,
			TTL:          max(keep, 0),
			Storage:      jetstream.FileStorage,
		})
	}
	if errors.Is(err, jetstream.ErrBucketExists) {
		err = nil // another copy was quicker
	}
	if err != nil {
		return fmt.Errorf("bus: open alerts: %w", err)
	}
	return nil
}

// AlertSource is something that alerts follow from.
type AlertSource int

// What there is to read.
const (
	AlertRecords   AlertSource = iota // what was told, by its key
	AlertStatuses                     // status documents, by their connection
	AlertIncidents                    // changes of incidents, by what happened to one: opened, updated, closed
)

// AlertInput is one message of a source.
type AlertInput struct {
	Place   uint64 // in its stream; of a record, its revision
	Key     string
	Payload []byte // nil when what was under the key was deleted
	// Of a change of an incident, as in [IncidentChange].
	Sequence uint64
	Part     int
}

// Connected says whether the bus can be reached, as far as is known.
func (a *Alerts) Connected() bool { return a.nc.IsConnected() }

// Read yields what a source has after a place, in order. With follow it goes on
// with what comes until ctx ends, and waits where the bus is away; without it ends
// with what was there when Read began.
func (a *Alerts) Read(ctx context.Context, from AlertSource, after uint64, follow bool) iter.Seq2[AlertInput, error] {
	return func(yield func(AlertInput, error) bool) {
		stream, prefix, subjects := from.place()
		s := source{nc: a.nc, js: a.js}
		var err error
		if s.stream, err = a.js.Stream(ctx, stream); err != nil {
			yield(AlertInput{}, fmt.Errorf("bus: read %s: %w", stream, err))
			return
		}
		for m, err := range s.messages(ctx, Query{After: after, Follow: follow}, []string{subjects}) {
			if err != nil {
				yield(AlertInput{}, fmt.Errorf("bus: read %s: %w", stream, err))
				return
			}
			if !yield(alertInput(m, prefix), nil) {
				return
			}
		}
	}
}

func (f AlertSource) place() (stream, prefix, subjects string) {
	switch f {
	case AlertIncidents:
		return events.IncidentStream, "", events.IncidentSubjects
	case AlertStatuses:
		return "KV_" + StatusBucket, kvSubject(StatusBucket, ""), kvSubject(StatusBucket, ">")
	case AlertRecords:
	}
	return "KV_" + AlertBucket, kvSubject(AlertBucket, ""), kvSubject(AlertBucket, ">")
}

func kvSubject(bucket, key string) string { return "$KV." + bucket + "." + key }

func alertInput(m message, prefix string) AlertInput {
	in := AlertInput{Place: m.seq, Payload: m.Data()}
	if prefix == "" {
		in.Key = m.subject[strings.LastIndexByte(m.subject, '.')+1:]
		// What is without them was written by hand.
		in.Sequence, _ = strconv.ParseUint(m.Headers().Get(headerLogSequence), 10, 64)
		in.Part, _ = strconv.Atoi(m.Headers().Get(headerLogPart))
		return in
	}
	in.Key = strings.TrimPrefix(m.subject, prefix)
	if m.Headers().Get(headerKVOperation) != "" || m.Headers().Get(jetstream.MarkerReasonHeader) != "" {
		in.Payload = nil
	}
	return in
}

// Put writes a record in place of the one of a revision, 0 for none, and returns
// its own revision. [ErrAlertTaken] says that another is there. After any other
// error it may have been written or not.
func (a *Alerts) Put(ctx context.Context, key string, revision uint64, record []byte) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	ack, err := a.js.Publish(ctx, kvSubject(AlertBucket, key), record, jetstream.WithExpectLastSequencePerSubject(revision))
	if err == nil {
		return ack.Sequence, nil
	}
	if err = refusal(err); errors.Is(err, errContested) {
		err = ErrAlertTaken
	}
	return 0, fmt.Errorf("bus: put %s: %w", key, err)
}
