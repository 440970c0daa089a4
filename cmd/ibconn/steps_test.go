package main

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/replay"
)

// BenchmarkSteps shows how quickly the log on a bus is folded, beside an ordered consumer
// that only takes the messages: "x-raw" is how many times longer that takes. The log is
// that of BenchmarkCatchUp.
func BenchmarkSteps(b *testing.B) {
	n := *catchUpEvents
	log := longLog(b, n)
	js, err := jetstream.New(log.nc)
	if err != nil {
		b.Fatal(err)
	}
	var raw time.Duration
	took := func(name string, read func(b *testing.B)) {
		b.Run(name, func(b *testing.B) {
			began := time.Now()
			for b.Loop() {
				read(b)
			}
			each := time.Since(began) / time.Duration(b.N)
			if name == "raw" {
				raw = each
			}
			b.ReportMetric(float64(n)/each.Seconds(), "events/s")
			b.ReportMetric(each.Seconds()/raw.Seconds(), "x-raw")
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
	took("stored", func(b *testing.B) {
		count := 0
		for _, err := range log.Stored(b.Context(), bus.Query{}) {
			if err != nil {
				b.Fatal(err)
			}
			count++
		}
		if count != n {
			b.Fatalf("%d messages, want %d", count, n)
		}
	})
	took("steps", func(b *testing.B) {
		count := 0
		for step, err := range replay.Steps(b.Context(), log, bus.Query{}) {
			if err != nil || step.Err != nil {
				b.Fatal(err, step.Err)
			}
			count++
		}
		if count != n {
			b.Fatalf("%d steps, want %d", count, n)
		}
	})
}
