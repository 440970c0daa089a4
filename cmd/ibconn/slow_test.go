package main

import (
	"testing"
	"time"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/testenv/gateway"
)

// TestASlowGatewayKeepsItsSession has answers come late, or in as many pieces
// as they have bytes, from the handshake on. Neither is silence.
func TestASlowGatewayKeepsItsSession(t *testing.T) {
	for _, slow := range []struct {
		name  string
		begin func(*gateway.Gateway)
		rtt   events.Millis // at least, or the fault was none
	}{
		{"300 ms late", func(g *gateway.Gateway) { g.Lag(300 * time.Millisecond) }, 300},
		{"one byte at a time", func(g *gateway.Gateway) { g.Drip(1, time.Millisecond) }, 10},
	} {
		t.Run(slow.name, func(t *testing.T) {
			noLeaks(t)
			gw := gateway.Start(t, simulated)
			slow.begin(gw)
			p := startRun(t, runArgs(t.TempDir(), gw.Addr()))
			p.ready()
			_, last := wait(p, 0, func(e *events.HeartbeatAnswered) bool { return e.Number == 4 })
			answered := 0
			for e, err := range p.log.Read(t.Context(), bus.Query{}) {
				if err != nil {
					t.Fatal(err)
				}
				if e.StreamSeq > last.StreamSeq {
					break
				}
				switch e := e.Event.(type) {
				case *events.HeartbeatAnswered:
					answered++
					if e.RTT < slow.rtt || e.Late {
						t.Errorf("heartbeat %d was answered after %v, late: %v, want %v at least and not late", e.Number, e.RTT, e.Late, slow.rtt)
					}
				case *events.HeartbeatMissed, *events.SessionStale, *events.SessionLost, *events.DialFailed:
					t.Errorf("a slow gateway led to %s: %+v", e.Type(), e)
				}
			}
			if answered != 4 {
				t.Errorf("%d heartbeats were answered, want 4", answered)
			}
			if s := p.status().State; s.Condition != events.ConditionHealthy || s.Counts.Attempts != 1 {
				t.Errorf("the connection is %s, %+v after %d attempts, want healthy after 1", s.Condition, s.Reasons, s.Counts.Attempts)
			}
		})
	}
}

// TestALostLinkIsNotALostSession has the gateway lose IB's servers: heartbeats
// go on, and a session that begins meanwhile is told at once.
func TestALostLinkIsNotALostSession(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr(), "--stable-after", "0s"))
	at := p.ready()
	gw.LoseLink(true)
	down, e := wait(p, at, func(*events.LinkWentDown) bool { return true })
	if down.Condition != events.ConditionDegraded {
		t.Errorf("without a link the connection is %s, want degraded", down.Condition)
	}
	_, e = wait(p, e.StreamSeq, func(*events.HeartbeatAnswered) bool { return true })
	gw.Reset()
	_, e = wait(p, e.StreamSeq, func(*events.SessionOpened) bool { return true })
	within(t, "a session that knows of no link", func() bool {
		s := p.status().State
		return s.Phase == events.PhaseReady && s.Condition == events.ConditionDegraded
	})
	gw.RestoreLink(true, true)
	back, e := wait(p, e.StreamSeq, func(*events.LinkCameBack) bool { return true })
	if !back.DataLost || back.Condition != events.ConditionDegraded {
		t.Errorf("the link came back with data lost %v, %s, %+v, want lost, and degraded until it is proven", back.DataLost, back.Condition, back.Reasons)
	}
	proven, _ := wait(p, e.StreamSeq, func(*events.LinkProven) bool { return true })
	if proven.Condition != events.ConditionHealthy {
		t.Errorf("with its link proven the connection is %s, %+v, want healthy", proven.Condition, proven.Reasons)
	}
}

// TestALinkThatDiesAndComesBackWithoutAWordIsFound has the gateway say nothing
// either way, and answer what it should not know.
func TestALinkThatDiesAndComesBackWithoutAWordIsFound(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr(), "--link-probe-every", "1s", "--link-probe-timeout", "1s"))
	at := p.ready()
	gw.LoseLink(false)
	silent, e := wait(p, at, func(*events.LinkFellSilent) bool { return true })
	if silent.From != events.LinkUp || silent.Condition != events.ConditionDegraded || silent.Reasons[0].Attribution != events.AttributionLink {
		t.Errorf("%+v, want a link that was up, degraded by the link's fault", silent)
	}
	gw.RestoreLink(true, false)
	proven, _ := wait(p, e.StreamSeq, func(*events.LinkProven) bool { return true })
	if proven.From != events.LinkDown || !proven.DataLost || proven.Condition != events.ConditionHealthy {
		t.Errorf("%+v, want a link that was down, its data lost, and all well", proven)
	}
	if lost := p.status().State.Counts.Losses; lost != 0 {
		t.Errorf("%d sessions were lost, want none", lost)
	}
}

// TestABudgetThatIsTooLargeIsCut sends more than the gateway takes, and learns.
func TestABudgetThatIsTooLargeIsCut(t *testing.T) {
	noLeaks(t)
	config := simulated
	config.MaxRate = 2 // startApi and the first heartbeat
	gw := gateway.Start(t, config)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr(), "--message-rate", "50", "--pace-recovery", "2s"))
	cut, e := wait(p, 0, func(*events.PacingReduced) bool { return true })
	if cut.Before != 50 || cut.PerSecond != 25 {
		t.Errorf("the budget was cut from %d to %d, want from 50 to 25", cut.Before, cut.PerSecond)
	}
	wait(p, e.StreamSeq, func(*events.PacingRestored) bool { return true })
}
