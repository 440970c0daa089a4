package gateway_test

import (
	"fmt"
	"testing"
	"time"

	"ibconn/testenv/gateway"
)

func TestLagDelaysTheHandshakeAndEachAnswer(t *testing.T) {
	const lag = 100 * time.Millisecond
	g := gateway.Start(t, gateway.Config{})
	g.Lag(lag)
	for _, step := range []struct {
		name string
		do   func(*peer)
	}{
		{"hello", func(p *peer) { p.write(append([]byte("API\x00"), framed("v100..176")...)); p.frame() }},
		{"startApi", func(p *peer) { p.say("71", "2", "1", ""); p.expect("9") }},
		{"reqIds", func(p *peer) { p.alive() }},
	} {
		t.Run(step.name, func(t *testing.T) {
			p := dial(t, g)
			if step.name != "hello" {
				p.write(append([]byte("API\x00"), framed("v100..176")...))
				p.frame()
			}
			if step.name == "reqIds" {
				p.say("71", "2", "2", "")
				p.expect("9")
			}
			begun := time.Now()
			step.do(p)
			if took := time.Since(begun); took < lag {
				t.Errorf("the answer came after %v, want %v at least", took, lag)
			}
		})
	}
}

func TestLagKeepsTheOrderAndCostsNoThroughput(t *testing.T) {
	const n = 5000 // one after the other they would take n times the lag
	g := gateway.Start(t, gateway.Config{})
	p := started(t, g, 1)
	g.Lag(50 * time.Millisecond)
	var requests []byte
	for id := range n {
		requests = append(requests, framed(fmt.Sprintf("2\x002\x00%d\x00", id))...)
	}
	p.write(requests)
	for id := range n {
		if got := p.expect(); got[2] != fmt.Sprint(id) || got[3] != "300" {
			t.Fatalf("answer %d = %q, want 300 for this id", id, got)
		}
	}
}

func TestLagOfSomeClientsIsOnlyTheirsAndCanEndAtOnce(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	one, two := started(t, g, 1), started(t, g, 2)
	if got := g.Lag(time.Hour, 1); got != 1 {
		t.Errorf("Lag of client 1 = %d sessions, want 1", got)
	}
	one.say("8", "1", "1")
	one.say("2", "2", "99")
	two.alive()
	started(t, g, 3).alive()
	one.silent()
	g.Lag(0, 1)
	one.expect("9")
	one.expect("4", "2", "99")
	one.alive()
}

func TestLagHoldsBackTheFINToo(t *testing.T) {
	const lag = 1200 * time.Millisecond // more than a session has to say its last words when there is none
	g := gateway.Start(t, gateway.Config{})
	spoken, idle := started(t, g, 1), started(t, g, 2)
	g.Lag(lag)
	begun := time.Now()
	g.Error(-1, 2100, "last words", 1)
	g.FIN()
	ends := make(chan time.Duration)
	go func() {
		idle.wantEOF()
		ends <- time.Since(begun)
	}()
	spoken.expect("4", "2", "-1", "2100", "last words")
	spoken.wantEOF()
	for name, took := range map[string]time.Duration{"behind words": time.Since(begun), "alone": <-ends} {
		if took < lag {
			t.Errorf("the end came %s after %v, want %v at least", name, took, lag)
		}
	}
}

func TestAFINUnderWayArrivesWhenTheLagEnds(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	p := started(t, g, 1)
	g.Lag(time.Hour)
	g.Error(-1, 2100, "last words")
	g.FIN()
	p.silent()
	g.Lag(0)
	p.expect("4", "2", "-1", "2100", "last words")
	p.wantEOF()
}

func TestLagDoesNotHoldUpAResetOrTheGatewaysEnd(t *testing.T) {
	g := gateway.Start(t, gateway.Config{}) // which fails the test if it does not end
	one, two := started(t, g, 1), started(t, g, 2)
	started(t, g, 3)
	g.Lag(time.Hour)
	two.say("8", "1", "1")
	g.Reset(1)
	one.wantReset()
	g.FIN(2)
	two.silent()
}

func TestTheGoLibraryGetsEverythingLaggedInBothEncodings(t *testing.T) {
	for _, version := range []int{176, 225} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			at := time.Date(2026, 3, 4, 15, 30, 0, 0, time.UTC)
			g := gateway.Start(t, gateway.Config{
				ServerVersion: version, Accounts: []string{"DU1", "DU2"}, FirstOrderID: 42,
				TicksPerSecond: 500, BarEvery: 5 * time.Millisecond, Now: func() time.Time { return at },
			})
			g.Lag(20 * time.Millisecond)
			c, l := connect(t, g, 7)
			askEverything(t, c, l, version)
			g.FIN(7)
			l.wait(t, 0, "closed")
		})
	}
}
