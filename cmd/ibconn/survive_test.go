package main

import (
	"strings"
	"testing"
	"time"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/testenv/gateway"
)

func TestARunGoesOnToItsFallback(t *testing.T) {
	noLeaks(t)
	first, second := gateway.Start(t, simulated), gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), first.Addr(), "--fallbacks", second.Addr(), "--fallback-after", "200ms", "--backoff-cap", "1s"))
	at := p.ready()
	if err := first.Refuse(true); err != nil {
		t.Fatal(err)
	}
	first.Reset()
	moved, _ := wait(p, at, func(e *events.DialStarted) bool { return e.Endpoint == second.Addr() })
	if !strings.Contains(moved.Because, first.Addr()+" has failed for ") {
		t.Errorf("the attempt goes to the second gateway because %q, want because the first has failed", moved.Because)
	}
	if opened, _ := p.healthy(at); opened.Endpoint != second.Addr() {
		t.Errorf("a session with %s, want one with %s", opened.Endpoint, second.Addr())
	}
}

func TestARunWhoseClientIDIsTakenTakesTheNextOfItsBand(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	holder := startRun(t, runArgs(t.TempDir(), gw.Addr(), "--client-id", "31"))
	holder.ready()
	p := startRun(t, runArgs(t.TempDir(), gw.Addr(), "--client-id", "31", "--spare-client-ids", "32,33", "--client-id-tries", "2", "--client-id-wait", "50ms", "--backoff-cap", "1s"))
	opened, at := wait(p, 0, func(*events.SessionOpened) bool { return true })
	if opened.ClientID != 32 {
		t.Errorf("a session as client %d, want 32", opened.ClientID)
	}
	refused := 0
	for e, err := range p.log.Read(t.Context(), bus.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if failed, ok := e.Event.(*events.DialFailed); ok && e.StreamSeq < at.StreamSeq && failed.Cause == events.CauseClientIDInUse {
			refused++
		}
	}
	if refused != 2 {
		t.Errorf("client id 31 was tried %d times, want twice", refused)
	}
}

func TestAGatewayThatMovesIsFollowedToAConfiguredPort(t *testing.T) {
	noLeaks(t)
	first, second := gateway.Start(t, simulated), gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), first.Addr(), "--fallbacks", second.Addr()))
	at := p.ready()
	port := second.Addr()[strings.LastIndexByte(second.Addr(), ':')+1:]
	first.Error(-1, 1300, "Socket port has been reset and this connection is being dropped. Please reconnect on the new port - "+port)
	first.FIN()
	moved, _ := wait(p, at, func(*events.DialStarted) bool { return true })
	if moved.Endpoint != second.Addr() || moved.Because == "" {
		t.Errorf("the next attempt goes to %s because %q, want %s", moved.Endpoint, moved.Because, second.Addr())
	}
}

func TestRepeatedNoticesAreCounted(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr(), "--repeat-every", "200ms"))
	at := p.ready()
	const n = 500
	for range n {
		gw.Error(-1, 1100, "Connectivity between IBKR and Trader Workstation has been lost.")
	}
	gw.Error(-1, 1102, "Connectivity between IBKR and Trader Workstation has been restored - data maintained.")
	wait(p, at, func(*events.LinkCameBack) bool { return true })
	gw.FIN()
	wait(p, at, func(*events.SessionLost) bool { return true })
	counted := 0
	within(t, "count of every notice", func() bool {
		counted = 0
		for e, err := range p.log.Read(t.Context(), bus.Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			counted += said(e.Event, 1100)
		}
		return counted >= n
	})
	if counted != n {
		t.Errorf("%d notices are counted, want %d", counted, n)
	}
	if stored := p.position() - at; stored > 100 {
		t.Errorf("%d events are stored of %d notices, want a few", stored, n)
	}
}

func TestAGatewayThatOnlyAcceptsNeedsAPerson(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	gw.OnAccept(gateway.CloseAtOnce)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr(), "--login-after", "300ms", "--backoff-cap", "1s"))
	needed, at := wait(p, 0, func(*events.LoginNeeded) bool { return true })
	if needed.Action == "" || needed.Level != events.LevelSession || at.Time.Sub(needed.Since) < 300*time.Millisecond {
		t.Errorf("%+v after %v, want what to do, after 300 ms", needed, at.Time.Sub(needed.Since))
	}
	within(t, "a status that tells what to do", func() bool {
		return strings.Contains(cliOK(t, "status", "--nats", p.url), "log in at its window")
	})
	gw.OnAccept(gateway.Normal)
	p.healthy(at.StreamSeq)
}
