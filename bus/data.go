package bus

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"ibconn/events"
)

// DataOptions says how data is kept and how much of it may wait.
type DataOptions struct {
	// MaxBytes is how large the stream of bars may become; then the oldest go.
	// 0 means 1 GiB for a new stream, or less when the server has less to set
	// aside, and leaves the limit of an existing one as it is. A limit can be
	// raised, never lowered.
	MaxBytes int64
	// MaxAge is for how long a new stream keeps a bar; 0 means 30 days.
	MaxAge time.Duration
	// Messages and Bytes are how much may wait to be published, and Bars how
	// many bars to be stored. 0 means 65536, 32 MiB and 65536.
	Messages, Bytes, Bars int
	// Also, when set, is another server on which everything is published for whoever
	// listens there now: ticks there first of all, which count as dropped when it does
	// not take them.
	Also *nats.Conn
	// Log is told of bars that had to be dropped. Its zero value is silent.
	Log zerolog.Logger
}

const (
	defaultDataBytes    = 1 << 30
	leastDataBytes      = 1 << 20
	defaultDataAge      = 30 * 24 * time.Hour
	defaultDataMessages = 1 << 16
	defaultDataWaiting  = 32 << 20
	defaultDataBars     = 1 << 16
	// dataDedup is how long JetStream remembers the ids of bars: longer than one
	// that is stored again may be under way.
	dataDedup = 10 * time.Minute
	// maxDatum is how many bytes a message of data may have. The largest of them,
	// a tick of a long text, has some 2 KiB.
	maxDatum = 16 << 10
)

// Data is where subscriptions' data goes: to whoever listens on ib.data, and
// bars also to the stream IB_DATA. It may be used by many goroutines. Nothing
// leaves, but for [Data.Store], until Run runs.
type Data struct {
	source
	log   zerolog.Logger
	also  *nats.Conn
	plain plainQueue
	kept  barQueue

	storing chan struct{}           // holds a token while nobody stores
	newest  map[barSeries]time.Time // the newest bar that is stored of each; whoever has the token owns it
}

// OpenData opens the stream of bars that nc leads to, and creates it when there
// is none. One that exists with other settings than it must have is refused with
// an error that names them.
func OpenData(ctx context.Context, nc *nats.Conn, o DataOptions) (*Data, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("bus: open data: %w", err)
	}
	d := newData(source{nc: nc, js: js}, o)
	d.stream, err = js.Stream(ctx, events.DataStream)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		err = d.createWithin(ctx, dataConfig(o.MaxBytes, cmp.Or(o.MaxAge, defaultDataAge)), defaultDataBytes)
	case err == nil:
		err = d.adopt(ctx, o)
	}
	if err != nil {
		return nil, fmt.Errorf("bus: open data: %w", err)
	}
	return d, nil
}

// FindData opens the stream of bars that nc leads to for reading, and does not
// create it.
func FindData(ctx context.Context, nc *nats.Conn) (*Data, error) {
	s, err := findSource(ctx, nc, events.DataStream, "stream of bars")
	if err != nil {
		return nil, err
	}
	return newData(s, DataOptions{}), nil
}

func newData(s source, o DataOptions) *Data {
	d := &Data{
		source: s, log: o.Log, also: o.Also,
		plain:   plainQueue{messages: cmp.Or(o.Messages, defaultDataMessages), bytes: cmp.Or(o.Bytes, defaultDataWaiting), wake: make(chan struct{}, 1)},
		kept:    barQueue{limit: cmp.Or(o.Bars, defaultDataBars), wake: make(chan struct{}, 1)},
		storing: make(chan struct{}, 1),
		newest:  make(map[barSeries]time.Time),
	}
	d.storing <- struct{}{}
	return d
}

// dataConfig returns the settings of a new stream of bars. What is full drops
// the oldest: bars can be had again from IB, and the newest are wanted most.
func dataConfig(maxBytes int64, maxAge time.Duration) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        events.DataStream,
		Description: "the bars of ibconn's subscriptions",
		Subjects:    []string{events.DataSubject("*", events.DataBar, "*")},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardOld,
		Storage:     jetstream.FileStorage,
		Replicas:    1,
		MaxBytes:    maxBytes,
		MaxAge:      maxAge,
		MaxMsgSize:  maxDatum,
		Duplicates:  dataDedup,
		AllowDirect: true,
		Metadata:    map[string]string{schemaKey: schema},
	}
}

// adopt checks an existing stream's settings, and raises its limit where a
// higher one is asked for. For how long it keeps bars is the operator's business.
func (d *Data) adopt(ctx context.Context, o DataOptions) error {
	have := d.stream.CachedInfo().Config
	if diff := differences(have, dataConfig(have.MaxBytes, max(have.MaxAge, 0))); len(diff) > 0 {
		return fmt.Errorf("stream %s exists with other settings: %s; give ibconn one of its own, or correct the stream", events.DataStream, strings.Join(diff, ", "))
	}
	return d.raise(ctx, o.MaxBytes)
}

// Run publishes and stores what it is given, until ctx ends, and returns the
// cause of that. What waits then is still sent, each bar with one try. It may
// run once at a time.
func (d *Data) Run(ctx context.Context) error {
	var work sync.WaitGroup
	work.Go(func() { d.publishAll(ctx) })
	work.Go(func() { d.keepAll(ctx) })
	work.Wait()
	return context.Cause(ctx)
}

// Publish sends datum to whoever listens now, and forgets it. It never blocks;
// what there is no room for, or no server, is counted and dropped.
func (d *Data) Publish(c events.ConnectionID, subscription string, datum events.Datum) {
	d.plain.put(plain{c, subscription, datum})
}

// Dropped returns how many messages were published and dropped.
func (d *Data) Dropped() uint64 {
	d.plain.mu.Lock()
	defer d.plain.mu.Unlock()
	return d.plain.dropped
}

// publishAll publishes what waits. The client library writes what it is given
// as soon as it can, so that a message that comes alone does not wait for others.
func (d *Data) publishAll(ctx context.Context) {
	var batch []plain
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	for over := false; ; {
		batch = d.plain.take(batch)
		for _, p := range batch {
			buf.Reset()
			err := encoder.Encode(p.datum)
			payload := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
			if err != nil || len(payload) > maxDatum || d.publish(events.DataSubject(p.connection, p.datum.DataType(), p.subscription), payload) != nil {
				d.plain.drop()
			}
		}
		switch {
		case len(batch) > 0:
			continue
		case over:
			return
		}
		select {
		case <-d.plain.wake:
		case <-ctx.Done():
			over = true
		}
	}
}

// publish publishes a message on each server.
func (d *Data) publish(subject string, payload []byte) error {
	err := d.nc.Publish(subject, payload)
	if d.also != nil {
		return d.also.Publish(subject, payload)
	}
	return err
}

// plain is a message that waits to be published.
type plain struct {
	connection   events.ConnectionID
	subscription string
	datum        events.Datum
}

// plainQueue takes messages without ever blocking.
type plainQueue struct {
	messages, bytes int // how many and how much may wait
	wake            chan struct{}

	mu      sync.Mutex
	waiting []plain
	size    int
	dropped uint64
}

func (q *plainQueue) put(p plain) {
	size := weightOf(p.datum)
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) >= q.messages || q.size+size > q.bytes {
		q.dropped++
		return
	}
	q.waiting, q.size = append(q.waiting, p), q.size+size
	if len(q.waiting) == 1 {
		wake(q.wake)
	}
}

// take returns what waits; in spent it finds room for more.
func (q *plainQueue) take(spent []plain) []plain {
	clear(spent)
	q.mu.Lock()
	defer q.mu.Unlock()
	batch := q.waiting
	q.waiting, q.size = spent[:0], 0
	return batch
}

func (q *plainQueue) drop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dropped++
}

// weightOf returns about how much memory d takes.
func weightOf(d events.Datum) int {
	const fixed = 256
	switch d := d.(type) {
	case *events.Tick:
		return fixed + len(d.Value)
	case *events.Trade:
		return fixed + len(d.Exchange) + len(d.Conditions)
	default:
		return fixed
	}
}

// wake puts a token into c, if there is room.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
