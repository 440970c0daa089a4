package main

import (
	"slices"
	"testing"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/testenv/gateway"
)

func TestAStallIsFoundAndRecoveredFrom(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr(), "--greeting-timeout", "1s", "--backoff-cap", "1s"))
	at := p.ready()
	gw.Stall(true)
	stale, _ := wait(p, at, func(*events.SessionStale) bool { return true })
	if stale.Condition != events.ConditionDegraded || stale.Misses != 1 {
		t.Errorf("the silence makes the connection %s after %d misses, want degraded after 1", stale.Condition, stale.Misses)
	}
	lost, _ := wait(p, at, func(*events.SessionLost) bool { return true })
	if lost.Cause != events.CauseHeartbeatLost || lost.Condition != events.ConditionDown || lost.RetryIn != 0 {
		t.Errorf("the session was lost by %s, %s, retry in %v, want heartbeat_lost, down, at once", lost.Cause, lost.Condition, lost.RetryIn)
	}
	gw.Stall(false)
	if opened, _ := p.healthy(at); opened.Outage <= 0 {
		t.Errorf("the next session follows an outage of %v, want some", opened.Outage)
	}
	if n := gw.Stats().Foreign; n != 0 {
		t.Errorf("the gateway saw %d connections without a handshake, want none", n)
	}
}

func TestAfterAResetTheNextAttemptIsMadeAtOnceAndSucceeds(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr()))
	at := p.ready()
	gw.Reset()
	lost, _ := wait(p, at, func(*events.SessionLost) bool { return true })
	if lost.Cause != events.CauseReset || lost.RetryIn != 0 || lost.Failures != 1 {
		t.Errorf("the session was lost by %s, retry in %v after %d failures, want reset, at once after 1", lost.Cause, lost.RetryIn, lost.Failures)
	}
	_, end := wait(p, at, func(*events.SessionOpened) bool { return true })
	var what []string
	for e, err := range p.log.Read(t.Context(), bus.Query{Kinds: []events.Kind{events.KindState}, After: at}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.StreamSeq <= end.StreamSeq && e.Event.Type() != "ib.conn.state.farm_changed" {
			what = append(what, e.Event.Type().What())
		}
	}
	want := []string{"session_lost", "dial_started", "gateway_reached", "gateway_greeted", "session_opened"}
	if !slices.Equal(what, want) {
		t.Errorf("the reset led to %q, want %q", what, want)
	}
}

// BenchmarkReadyAgainAfterReset measures from the gateway's reset until
// session_opened is on the feed: that is, recorded.
