package main

import (
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"ibconn/events"
	"ibconn/testenv/gateway"
)

// subscribe returns the live feed of p's state events.
func subscribe(b *testing.B, p *program) <-chan *nats.Msg {
	b.Helper()
	feed := make(chan *nats.Msg, 1000)
	if _, err := p.nc.ChanSubscribe(events.FeedSubject(events.KindState), feed); err != nil {
		b.Fatal(err)
	}
	if err := p.nc.Flush(); err != nil {
		b.Fatal(err)
	}
	return feed
}

// next takes events off the feed up to the first of type E.
func next[E events.Event](b *testing.B, feed <-chan *nats.Msg) {
	b.Helper()
	for m := range feed {
		r, err := events.Decode(m.Data)
		if err != nil {
			b.Fatal(err)
		}
		if _, ok := r.Event.(E); ok {
			return
		}
	}
}

// reportTook reports how the times taken are distributed.
func reportTook(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	at := func(share float64) float64 { return took[int(share*float64(len(took)-1))].Seconds() * 1000 }
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
	b.ReportMetric(at(1), "max-ms")
}

// BenchmarkReadyAgainAfterReset resets sessions one after the other, which the
// message budget would turn into a measure of itself.
func BenchmarkReadyAgainAfterReset(b *testing.B) {
	gw := gateway.Start(b, simulated)
	p := startRun(b, runArgs(b.TempDir(), gw.Addr(), "--stable-after", "0s", "--message-rate", "1000"))
	p.ready()
	feed := subscribe(b, p)
	var took []time.Duration
	for b.Loop() {
		begun := time.Now()
		gw.Reset()
		next[*events.SessionOpened](b, feed)
		took = append(took, time.Since(begun))
	}
	reportTook(b, took)
}

// silenceBound is how long a silence takes to be found, with runArgs' heartbeats
// every second and a second for each answer.
const silenceBound = time.Second + 2*time.Second

// BenchmarkDetection measures how long a fault takes to be an event on the
// feed. bound-ms is what the policy promises: nothing to wait for where the
// gateway or its socket says so, and the heartbeat's interval and two answers'
// time where it falls silent.
func BenchmarkDetection(b *testing.B) {
	for _, fault := range []struct {
		name       string
		bound      time.Duration
		begin, end func(*gateway.Gateway)
		seen, over func(*testing.B, <-chan *nats.Msg)
	}{
		{"fin", 0, func(g *gateway.Gateway) { g.FIN() }, nil, next[*events.SessionLost], next[*events.SessionOpened]},
		{"reset", 0, func(g *gateway.Gateway) { g.Reset() }, nil, next[*events.SessionLost], next[*events.SessionOpened]},
		{
			"link", 0, func(g *gateway.Gateway) { g.Error(-1, 1100, "lost") }, func(g *gateway.Gateway) { g.Error(-1, 1102, "restored") },
			next[*events.LinkWentDown], next[*events.LinkCameBack],
		},
		{
			"silence", silenceBound, func(g *gateway.Gateway) { g.Stall(true) }, func(g *gateway.Gateway) { g.Stall(false) },
			next[*events.SessionLost], next[*events.SessionOpened],
		},
	} {
		b.Run(fault.name, func(b *testing.B) {
			gw := gateway.Start(b, simulated)
			p := startRun(b, runArgs(b.TempDir(), gw.Addr(), "--stable-after", "0s"))
			p.ready()
			feed := subscribe(b, p)
			var took []time.Duration
			for b.Loop() {
				begun := time.Now()
				fault.begin(gw)
				fault.seen(b, feed)
				took = append(took, time.Since(begun))
				if fault.end != nil {
					fault.end(gw)
				}
				fault.over(b, feed)
			}
			reportTook(b, took)
			b.ReportMetric(fault.bound.Seconds()*1000, "bound-ms")
		})
	}
}
