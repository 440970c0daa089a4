package bus

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"ibconn/events"
)

// BenchmarkAppend compares Append with a bare JetStream publish of the same
// bytes on the same server, in turn: "x-raw" is how many times longer the
// median append takes. An event that is not a heartbeat pays for two syncs, its
// own and the high-water mark's.
func BenchmarkAppend(b *testing.B) {
	for name, event := range map[string]events.Event{"event": reported(1), "heartbeat": heartbeat(1)} {
		b.Run(name, func(b *testing.B) { benchmarkAppend(b, event) })
	}
}

func benchmarkAppend(b *testing.B, event events.Event) {
	w := newWorld(b, ServerOptions{})
	a := newAuthor(b, w.log, w.dir, "a")
	a.claim()
	_, err := w.log.js.CreateStream(b.Context(), jetstream.StreamConfig{Name: "RAW", Subjects: []string{"raw"}})
	if err != nil {
		b.Fatal(err)
	}
	var raw, ours []time.Duration
	for b.Loop() {
		r := a.next(event)
		start := time.Now()
		if _, err := w.log.js.Publish(b.Context(), "raw", r.Wire); err != nil {
			b.Fatal(err)
		}
		between := time.Now()
		if err := a.w.Append(b.Context(), r); err != nil {
			b.Fatal(err)
		}
		raw, ours = append(raw, between.Sub(start)), append(ours, time.Since(between))
		a.head = a.head.Then(r)
	}
	b.ReportMetric(float64(median(raw)), "raw-p50-ns")
	b.ReportMetric(float64(median(ours)), "append-p50-ns")
	b.ReportMetric(float64(median(ours))/float64(median(raw)), "x-raw")
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// BenchmarkRead compares Read, and the same messages undecoded, with a bare
// ordered consumer: "x-raw" is how many times longer reading the log takes.
func BenchmarkRead(b *testing.B) {
	const n = 10_000
	w := newWorld(b, ServerOptions{})
	fill(b, w.log, n)
	var raw, bare, ours time.Duration
	for b.Loop() {
		start := time.Now()
		readRaw(b, w.log, n)
		raw += time.Since(start)

		start = time.Now()
		for _, err := range w.log.messages(b.Context(), Query{}, Query{}.subjects()) {
			if err != nil {
				b.Fatal(err)
			}
		}
		bare += time.Since(start)

		start = time.Now()
		if got := len(readAll(b, w.log, Query{})); got != n {
			b.Fatalf("read %d events, want %d", got, n)
		}
		ours += time.Since(start)
	}
	read := float64(n * b.N)
	b.ReportMetric(read/raw.Seconds(), "raw/s")
	b.ReportMetric(read/bare.Seconds(), "messages/s")
	b.ReportMetric(read/ours.Seconds(), "events/s")
	b.ReportMetric(ours.Seconds()/raw.Seconds(), "x-raw")
	b.ReportMetric(bare.Seconds()/raw.Seconds(), "messages-x-raw")
}

func fill(b testing.TB, l *Log, n int) {
	b.Helper()
	author := events.Author{Connection: "main", Source: "/ibconn/bench", NewID: func() string { n--; return fmt.Sprint(n) }}
	head := events.Head{Epoch: 1}
	for n > 0 {
		r, err := head.Next(author, events.Draft{Event: reported(n)}, time.Now())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := l.js.PublishAsync("ib.log.main.error", r.Wire, jetstream.WithStallWait(time.Minute)); err != nil {
			b.Fatal(err)
		}
		head = head.Then(r)
	}
	<-l.js.PublishAsyncComplete()
}

func readRaw(b *testing.B, l *Log, n int) {
	b.Helper()
	c, err := l.js.OrderedConsumer(b.Context(), events.Stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		b.Fatal(err)
	}
	msgs, err := c.Messages()
	if err != nil {
		b.Fatal(err)
	}
	defer msgs.Stop()
	for range n {
		if _, err := msgs.Next(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStore compares bars that are stored with a bare JetStream publish of
// the same bytes on the same server, and shows how many a second that is.
func BenchmarkStore(b *testing.B) {
	const n = 500
	s := openServer(b, ServerOptions{StoreDir: b.TempDir()})
	d := openTestData(b, connect(b, s), DataOptions{})
	if _, err := d.js.CreateStream(b.Context(), jetstream.StreamConfig{Name: "RAW", Subjects: []string{"raw"}}); err != nil {
		b.Fatal(err)
	}
	payload, err := newStorable(barSeries{}, bar(0))
	if err != nil {
		b.Fatal(err)
	}
	var raw, ours time.Duration
	for round := 0; b.Loop(); round++ {
		start := time.Now()
		for range n {
			if _, err := d.js.Publish(b.Context(), "raw", payload.payload); err != nil {
				b.Fatal(err)
			}
		}
		raw += time.Since(start)
		start = time.Now()
		if stored, err := d.Store(b.Context(), "main", "x", "1", bars(round*n, round*n+n)); err != nil || stored != n {
			b.Fatalf("Store = %d, %v, want all %d", stored, err, n)
		}
		ours += time.Since(start)
	}
	b.ReportMetric(float64(b.N*n)/ours.Seconds(), "bars/s")
	b.ReportMetric(ours.Seconds()/raw.Seconds(), "x-raw")
}

// BenchmarkRelay compares a relay that catches up with a hub with a bare asynchronous
// publish of the same bytes to the same hub: "x-raw" is how many times longer the
// relay takes, the reading of the log here included.
func BenchmarkRelay(b *testing.B) {
	const n = 10_000
	w := newWorld(b, ServerOptions{})
	fill(b, w.log, n)
	h := startHub(b)
	nc, err := Dial(h.URL())
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	all := readAll(b, w.log, Query{})
	var raw, ours time.Duration
	for b.Loop() {
		config := hubConfig(1)
		config.Name, config.Subjects, config.RePublish = "RAW", []string{"raw"}, nil
		if _, err := js.CreateStream(b.Context(), config); err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		for _, e := range all {
			if _, err := js.PublishAsync("raw", e.Wire, jetstream.WithMsgID(e.ID), jetstream.WithStallWait(time.Minute)); err != nil {
				b.Fatal(err)
			}
		}
		<-js.PublishAsyncComplete()
		raw += time.Since(start)

		start = time.Now()
		r := startRelay(b, w.log, h.URL())
		r.is(events.RelayCurrent)
		ours += time.Since(start)
		r.end()
		for _, name := range []string{"RAW", events.Stream} {
			if err := js.DeleteStream(b.Context(), name); err != nil {
				b.Fatal(err)
			}
		}
	}
	relayed := float64(n * b.N)
	b.ReportMetric(relayed/raw.Seconds(), "raw/s")
	b.ReportMetric(relayed/ours.Seconds(), "events/s")
	b.ReportMetric(ours.Seconds()/raw.Seconds(), "x-raw")
}
