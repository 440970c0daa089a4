package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"ibconn/bus"
	"ibconn/consumers/dashboard"
	"ibconn/consumers/follow"
	"ibconn/consumers/incidents"
	"ibconn/consumers/metrics"
	"ibconn/consumers/status"
	"ibconn/consumers/web"
	"ibconn/events"
)

var catchUpEvents = flag.Int("catchup.events", 1_000_000, "how many events the log of BenchmarkCatchUp has")

// BenchmarkCatchUp shows how quickly the consumers of a run are current again when
// the log has a million events, beside an ordered consumer that only takes the
// messages: "x-raw" is how many times longer that takes. What serves HTTP and what
// keeps the statuses need every event, incidents need no heartbeats of the past.
func BenchmarkCatchUp(b *testing.B) {
	n := *catchUpEvents
	log := longLog(b, n)
	js, err := jetstream.New(log.nc)
	if err != nil {
		b.Fatal(err)
	}
	var raw time.Duration
	took := func(name string, f func(b *testing.B)) {
		b.Run(name, func(b *testing.B) {
			var sum time.Duration
			for b.Loop() {
				began := time.Now()
				f(b)
				sum += time.Since(began)
			}
			if name == "raw" {
				raw = sum / time.Duration(b.N)
			}
			b.ReportMetric(float64(n*b.N)/sum.Seconds(), "events/s")
			b.ReportMetric((sum / time.Duration(b.N)).Seconds(), "s")
			b.ReportMetric(sum.Seconds()/float64(b.N)/raw.Seconds(), "x-raw")
		})
	}
	took("raw", func(b *testing.B) {
		c, err := js.OrderedConsumer(b.Context(), events.Stream, jetstream.OrderedConsumerConfig{})
		if err != nil {
			b.Fatal(err)
		}
		messages, err := c.Messages(jetstream.PullMaxMessages(2048))
		if err != nil {
			b.Fatal(err)
		}
		defer messages.Stop()
		for range n {
			if _, err := messages.Next(); err != nil {
				b.Fatal(err)
			}
		}
	})
	took("http", func(b *testing.B) {
		m := metrics.New(time.Now)
		site := &web.Site{Log: log, Metrics: prometheus.NewRegistry()}
		reader := &follow.Reader{Log: log, Folds: []follow.Fold{m, site, new(dashboard.Model)}}
		site.Caught = reader.Caught()
		until(b, reader.Run, reader.Caught())
	})
	took("status", func(b *testing.B) {
		kept := make(statuses, 1)
		until(b, (&status.Keeper{Log: log, Store: kept}).Run, kept)
	})
	took("incidents", func(b *testing.B) {
		k := &incidents.Keeper{Log: ending{log.Log}, Store: told{}}
		if err := k.Run(b.Context()); !errors.Is(err, errCurrent) {
			b.Fatal(err)
		}
	})
}

// until runs something until it is current.
func until(b *testing.B, run func(context.Context) error, current <-chan struct{}) {
	b.Helper()
	ctx, end := context.WithCancel(b.Context())
	over := make(chan error, 1)
	go func() { over <- run(ctx) }()
	select {
	case <-current:
	case err := <-over:
		b.Fatal(err)
	}
	end()
	<-over
}

// statuses takes documents, and says that there was one.
type statuses chan struct{}

func (s statuses) Put(context.Context, events.ConnectionID, uint64, []byte) error {
	select {
	case s <- struct{}{}:
	default:
	}
	return nil
}

type told struct{}

func (told) Publish(context.Context, bus.IncidentChange) (bool, error) { return true, nil }

var errCurrent = errors.New("what there was is read")

// ending is a log that ends when what there was is read.
type ending struct{ *bus.Log }

func (l ending) Read(ctx context.Context, q bus.Query) iter.Seq2[bus.Entry, error] {
	if q.Follow {
		return func(yield func(bus.Entry, error) bool) { yield(bus.Entry{}, errCurrent) }
	}
	return l.Log.Read(ctx, q)
}

// filled is a log with events in it.
type filled struct {
	*bus.Log
	nc *nats.Conn
}

// longLog returns a log of n events of four connections, nearly all of them
// heartbeats, with a session lost now and then. Its server does not wait for the
// disk, which is of no account to who reads.
func longLog(b *testing.B, n int) filled {
	b.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: b.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		b.Fatal(err)
	}
	s.Start()
	b.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	nc, err := bus.Dial(s.ClientURL())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(nc.Close)
	log, err := bus.OpenLog(b.Context(), nc, bus.LogOptions{MaxBytes: 4 << 30})
	if err != nil {
		b.Fatal(err)
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(4096))
	if err != nil {
		b.Fatal(err)
	}
	names := []events.ConnectionID{"main", "second", "third", "fourth"}
	heads := make(map[events.ConnectionID]events.Head)
	at := time.Now().Add(-time.Duration(n) * 4 * time.Second).UTC()
	for i := range n {
		name := names[i%len(names)]
		at = at.Add(4 * time.Second)
		author := events.Author{Connection: name, Source: "/ibconn/bench", NewID: func() string { return fmt.Sprint("e", i) }}
		r, err := heads[name].Next(author, events.Draft{Event: moment(i/len(names), at)}, at)
		if err != nil {
			b.Fatal(err)
		}
		heads[name] = heads[name].Then(r)
		if _, err := js.PublishAsync(events.LogSubject(name, r.Event.Type().Kind()), r.Wire, jetstream.WithStallWait(time.Minute)); err != nil {
			b.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(5 * time.Minute):
		b.Fatal("the log was not filled in five minutes")
	}
	if end, err := log.Last(b.Context()); err != nil || end != uint64(n) {
		b.Fatalf("the log has %d events, %v, want %d", end, err, n)
	}
	return filled{log, nc}
}

// moment returns the event of a connection of a number.
func moment(i int, at time.Time) events.Event {
	const round = 500
	attempt, next, by := uint64(1+i/round), at.Add(15*time.Second), at.Add(20*time.Second)
	switch i % round {
	case 0:
		if i == 0 {
			return &events.EpochBegan{Instance: "host-1", PID: 1}
		}
		return &events.SessionLost{Attempt: attempt - 1, Cause: events.CauseReset, Uptime: 60_000, Failures: 1, RetryAt: next}
	case 1:
		return &events.DialStarted{Attempt: attempt, Endpoint: "127.0.0.1:4002", DeadlineAt: by}
	case 2:
		return &events.SessionOpened{Attempt: attempt, Took: 100, NextProbeAt: next, AnswerBy: by}
	case 3:
		return &events.GatewayReported{Attempt: attempt, RequestID: -1, Code: 354, Class: events.ClassEntitlement, Message: "not subscribed"}
	}
	return &events.HeartbeatAnswered{Attempt: attempt, Number: uint64(i % round), SentAt: at, RTT: 1.5, NextProbeAt: next, AnswerBy: by}
}
