package main

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"ibconn/events"
	"ibconn/testenv/gateway"
)

// storm makes the gateway report one error after the other until the test ends.
func storm(t *testing.T, gw *gateway.Gateway) {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-tick.C:
				gw.Error(-1, 399, fmt.Sprintf("message %d of a storm", n))
			case <-t.Context().Done():
				return
			}
		}
	}()
	t.Cleanup(func() { <-ended })
}

// eavesdrop collects what the feed of p shows, to its end.
func eavesdrop(t *testing.T, p *program) (feed chan *nats.Msg, closed chan struct{}) {
	t.Helper()
	feed, closed = make(chan *nats.Msg, 1<<16), make(chan struct{})
	nc, err := nats.Connect(p.url, nats.NoReconnect(), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if _, err := nc.ChanSubscribe(events.FeedSubjects, feed); err != nil {
		t.Fatal(err)
	}
	return feed, closed
}

func TestFiftyKillsLoseNoEvent(t *testing.T) {
	noLeaks(t)
	kills := 50
	if testing.Short() || raceEnabled {
		kills = 10
	}
	gw := gateway.Start(t, simulated)
	storm(t, gw)
	dir := t.TempDir()
	dice := rand.New(rand.NewPCG(5, 50))
	seen := make(map[string]*nats.Msg)
	for range kills {
		p := startProcess(t, runArgs(dir, gw.Addr()))
		feed, closed := eavesdrop(t, p)
		// Some die while they still dial, most in the middle of the storm.
		for range 1 + dice.IntN(100) {
			select {
			case m := <-feed:
				seen[m.Header.Get(events.HeaderMsgID)] = m
			case <-time.After(liveness):
				t.Fatalf("nothing on the feed for %v; the program said %s", liveness, p.out.String())
			}
		}
		p.kill()
		<-closed
		for len(feed) > 0 {
			m := <-feed
			seen[m.Header.Get(events.HeaderMsgID)] = m
		}
	}

	last := startRun(t, runArgs(dir, gw.Addr()))
	last.ready()
	last.stop()

	all := stored(t, dir)
	state := fold(t, all)
	for _, e := range all {
		if m := seen[e.ID]; m != nil && string(m.Data) != string(e.Wire) {
			t.Errorf("the feed showed %s, and the log has %s", m.Data, e.Wire)
		}
		delete(seen, e.ID)
	}
	for id, m := range seen {
		t.Errorf("event %s was on the feed and is not in the log: %s", id, m.Data)
	}
	if state.Epoch != uint64(kills)+1 || state.Phase != events.PhaseStopped {
		t.Errorf("the log leads to epoch %d, %s, want epoch %d, stopped", state.Epoch, state.Phase, kills+1)
	}
	var claims, restarts int
	for i, e := range all {
		claim, ok := e.Event.(*events.EpochBegan)
		if !ok || claim.PreviousEpoch == 0 {
			continue
		}
		claims++
		if claim.Away <= 0 || claim.LastEventAt.IsZero() {
			t.Errorf("epoch %d began %v after its predecessor's last event at %v, want both known", e.Epoch, claim.Away, claim.LastEventAt)
		}
		next := all[i+1]
		if next.Claim() {
			continue // killed right after its claim; the one after it finds the same phase
		}
		lost, ok := next.Event.(*events.SessionLost)
		if ok != (claim.PreviousPhase == events.PhaseReady) {
			t.Errorf("epoch %d found the phase %s and begins with %s", e.Epoch, claim.PreviousPhase, next.Event.Type())
		}
		if !ok {
			continue
		}
		restarts++
		if lost.Cause != events.CauseProcessRestarted || lost.Away < claim.Away || lost.RetryIn != 0 {
			t.Errorf("epoch %d begins with a session lost by %s, away for %v, retry in %v, want process_restarted, %v or more, at once",
				e.Epoch, lost.Cause, lost.Away, lost.RetryIn, claim.Away)
		}
	}
	if claims != kills || restarts == 0 {
		t.Errorf("%d restarts are recorded, %d of them of a ready session, want %d and some", claims, restarts, kills)
	}
}
