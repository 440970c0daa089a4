package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"ibconn/testenv/gateway"
)

func wantRefused(t *testing.T, g *gateway.Gateway) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", g.Addr(), patience)
	if err == nil {
		_ = conn.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial = %v, want connection refused", err)
	}
}

func TestRefuseClosesThePortAndOpensItAgain(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	addr := g.Addr()
	p := started(t, g, 1)
	for range 20 {
		if err := g.Refuse(true); err != nil {
			t.Fatal(err)
		}
		wantRefused(t, g)
		p.alive() // a session that is open stays open
		if err := g.Refuse(false); err != nil {
			t.Fatal(err)
		}
		started(t, g, 2).conn.Close()
		eventually(t, g, "end of the session", func(s gateway.Stats) bool { return s.Open == 1 })
	}
	if g.Addr() != addr {
		t.Errorf("Addr() = %s, want %s as before", g.Addr(), addr)
	}
}

func TestRefusedPortIsGivenToNobodyElse(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	if err := g.Refuse(true); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(g.Addr())
	for range 2000 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, given, _ := net.SplitHostPort(l.Addr().String())
		_ = l.Close()
		if given == port {
			t.Fatalf("port %s was given to another listener while it was refusing", port)
		}
	}
	if err := g.Refuse(false); err != nil {
		t.Fatal(err)
	}
	started(t, g, 1).alive()
}

func TestAcceptModes(t *testing.T) {
	hello := append([]byte("API\x00"), framed("v100..176")...)
	t.Run("close at once", func(t *testing.T) {
		g := gateway.Start(t, gateway.Config{})
		g.OnAccept(gateway.CloseAtOnce)
		p := dial(t, g)
		p.write(hello)
		p.wantEOF()
		if s := g.Stats(); s.Greetings != 0 {
			t.Errorf("Greetings = %d, want 0", s.Greetings)
		}
	})
	t.Run("stay mute", func(t *testing.T) {
		g := gateway.Start(t, gateway.Config{})
		g.OnAccept(gateway.StayMute)
		p := dial(t, g)
		p.write(hello)
		p.silent()
	})
	t.Run("mute after greeting", func(t *testing.T) {
		g := gateway.Start(t, gateway.Config{})
		g.OnAccept(gateway.MuteAfterGreeting)
		p := greeted(t, g, "v100..176")
		p.say("71", "2", "1", "")
		p.silent()
		if s := g.Stats(); s.Greetings != 1 || s.Started != 0 {
			t.Errorf("Greetings = %d, Started = %d, want 1, 0", s.Greetings, s.Started)
		}
	})
	t.Run("close after startApi", func(t *testing.T) {
		g := gateway.Start(t, gateway.Config{})
		g.OnAccept(gateway.CloseAfterStartAPI)
		p := greeted(t, g, "v100..176")
		p.silent()
		p.say("71", "2", "1", "")
		p.wantEOF()
		eventually(t, g, "close", func(s gateway.Stats) bool { return s.Ended[gateway.ClosedAfterStart] == 1 })
	})
	t.Run("normal again", func(t *testing.T) {
		g := gateway.Start(t, gateway.Config{})
		g.OnAccept(gateway.StayMute)
		g.OnAccept(gateway.Normal)
		started(t, g, 1).alive()
	})
}

func TestFINEndsTheSessionsOfTheGivenClientsInGoodOrder(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	one, two := started(t, g, 1), started(t, g, 2)
	if got := g.FIN(2, 99); got != 1 {
		t.Errorf("FIN(2, 99) = %d, want 1", got)
	}
	two.wantEOF()
	one.alive()
	g.FIN()
	one.wantEOF()
}

func TestFINIsCleanEvenIfTheClientKeepsSending(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	p := started(t, g, 1)
	for range 2000 {
		p.say("8", "1", "1")
	}
	g.FIN()
	for range 100 {
		p.say("8", "1", "1")
	}
	p.wantEOF()
}

func TestResetEndsSessionsWithRST(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	p := started(t, g, 1)
	if got := g.Reset(1); got != 1 {
		t.Errorf("Reset(1) = %d, want 1", got)
	}
	p.wantReset()
	eventually(t, g, "end of the session", func(s gateway.Stats) bool { return s.Ended[gateway.FaultReset] == 1 })
}

func TestBurstArrivesWholeBeforeTheFIN(t *testing.T) {
	for _, hello := range []string{"v100..176", "v100..225"} {
		g := gateway.Start(t, gateway.Config{})
		p := greeted(t, g, hello)
		const n = 100_000
		if got := g.BurstThenFIN(n); got != 1 {
			t.Fatalf("BurstThenFIN = %d sessions, want 1", got)
		}
		ticks, last := 0, ""
		for {
			payload, err := p.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("after %d ticks: %v", ticks, err)
			}
			ticks, last = ticks+1, payload
		}
		if ticks != n || !strings.Contains(last, "100000") {
			t.Errorf("%s: %d ticks, the last is %q, want %d", hello, ticks, last, n)
		}
	}
}

func TestBurstIsForTheSubscriptionOpenedLast(t *testing.T) {
	g := gateway.Start(t, gateway.Config{TicksPerSecond: 0.001})
	p := started(t, g, 1)
	p.say("1", "11", "77", "265598")
	p.expect("45", "6", "77")
	g.BurstThenFIN(1)
	p.expect("1", "6", "77", "1", "100", "1")
	p.wantEOF()
}

func TestStallStopsReadingAndWritingUntilItEnds(t *testing.T) {
	g := gateway.Start(t, gateway.Config{TicksPerSecond: 1000})
	p := started(t, g, 1)
	p.say("1", "11", "5", "265598")
	p.expect("1", "6", "5")
	g.Stall(true)
	p.drain()
	before := g.Stats().Requests[gateway.ReqIds]
	p.say("8", "1", "1")
	p.silent()
	late := dial(t, g) // the system accepts it, nothing answers
	late.write(append([]byte("API\x00"), framed("v100..176")...))
	late.silent()
	if after := g.Stats().Requests[gateway.ReqIds]; after != before {
		t.Errorf("a stalled gateway read %d requests", after-before)
	}
	g.Stall(false)
	p.expect("9")
	late.frame()
}

// drain reads until nothing comes for a moment.
func (p *peer) drain() {
	p.t.Helper()
	buf := make([]byte, 1<<16)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		_ = p.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := p.r.Read(buf); err != nil {
			break
		}
	}
	_ = p.conn.SetDeadline(time.Now().Add(patience))
}

func TestStalledSessionCanBeEnded(t *testing.T) {
	for name, end := range map[string]func(*gateway.Gateway, *peer){
		"fin":   func(g *gateway.Gateway, p *peer) { g.FIN(1); p.wantEOF() },
		"reset": func(g *gateway.Gateway, p *peer) { g.Reset(1); p.wantReset() },
	} {
		t.Run(name, func(t *testing.T) {
			g := gateway.Start(t, gateway.Config{})
			p := started(t, g, 1)
			g.Stall(true, 1)
			end(g, p)
			started(t, g, 2).alive() // only client 1 was stalled
		})
	}
}

func TestDripSendsAFewBytesAtATime(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	p := started(t, g, 1)
	g.Drip(3, time.Millisecond)
	p.say("8", "1", "1")
	buf := make([]byte, 64)
	read := 0
	for read < 10 { // a nextValidId has 10 bytes
		n, err := p.conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if n%3 != 0 && read+n != 10 {
			t.Errorf("read %d bytes at once, want multiples of 3", n)
		}
		read += n
	}
	g.Drip(3, time.Hour)
	p.say("8", "1", "1")
	p.silent()
	g.Drip(0, 0) // ends it at once, whatever it was waiting for
	p.expect("9")
}

func TestCutEndsInTheMiddleOfAFrame(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	p := started(t, g, 1)
	g.CutMidFrame()
	if got, err := p.next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read %q, %v, want an unexpected end", got, err)
	}
}

func TestOverlongFrameIsAnnouncedAndNeverComes(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	p := started(t, g, 1)
	g.OverlongFrame(1)
	header := make([]byte, 4)
	if _, err := io.ReadFull(p.r, header); err != nil || !bytes.Equal(header, []byte{0x7f, 0xff, 0xff, 0xff}) {
		t.Errorf("read %x, %v, want 7fffffff", header, err)
	}
	p.silent()
}

func TestGarbageIsTheSameForTheSameSeed(t *testing.T) {
	var got [2][]byte
	for i := range got {
		g := gateway.Start(t, gateway.Config{Seed: 3})
		p := started(t, g, 1)
		g.Garbage(64)
		got[i] = make([]byte, 64)
		if _, err := io.ReadFull(p.r, got[i]); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got[0], got[1]) || bytes.Equal(got[0], make([]byte, 64)) {
		t.Errorf("garbage = %x and %x, want the same random bytes", got[0], got[1])
	}
}

func TestErrorOfAnyCodeReachesStartedClients(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	one, two := started(t, g, 1), started(t, g, 2)
	greeted(t, g, "v100..176") // has not started, and gets none
	if got := g.Error(-1, 1100, "Connectivity\x00 lost\xff"); got != 2 {
		t.Errorf("Error = %d sessions, want 2", got)
	}
	if got := one.expect("4"); got[2] != "-1" || got[3] != "1100" || got[4] != "Connectivity lost?" {
		t.Errorf("error = %q, want -1 1100 and a clean text", got)
	}
	two.expect("4", "2", "-1", "1100")
	g.Error(5, 354, "not subscribed", 2)
	two.expect("4", "2", "5", "354", "not subscribed")
	one.silent()
}

func TestSilenceStopsDataAndNothingElse(t *testing.T) {
	g := gateway.Start(t, gateway.Config{TicksPerSecond: 1000})
	p := started(t, g, 1)
	p.say("1", "11", "5", "265598")
	p.expect("1", "6", "5")
	g.Silence(true)
	p.drain()
	p.alive()
	p.silent()
	g.Silence(false)
	p.expect("1", "6", "5")
}

func TestForgetDropsSubscriptionsWithoutAWord(t *testing.T) {
	g := gateway.Start(t, gateway.Config{TicksPerSecond: 1000})
	p := started(t, g, 1)
	p.say("1", "11", "5", "265598")
	p.expect("1", "6", "5")
	g.Forget()
	p.drain()
	p.say("2", "2", "5")
	p.expect("4", "2", "5", "300")
	g.Forget()
	p.say("1", "11", "5", "265598") // the id is free again, and what is asked for now is not forgotten
	p.expect("1", "6", "5")
}

func TestRestartClosesEverythingForAWhile(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	p := started(t, g, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Restart(ctx, time.Hour) }()
	p.wantEOF()
	_ = p.conn.Close()
	wantRefused(t, g)
	cancel() // rather than wait for an hour: the gateway comes back
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	started(t, g, 2).alive()
	eventually(t, g, "end of the session", func(s gateway.Stats) bool { return s.Ended[gateway.FaultRestart] == 1 })
}

func TestRulesMeetRequestsInOrder(t *testing.T) {
	g := gateway.Start(t, gateway.Config{TimeSpacing: -1})
	p := started(t, g, 1)
	g.On(gateway.ReqCurrentTime, 1, gateway.Drop())
	g.On(gateway.ReqCurrentTime, 2, gateway.ReplyError(100, "Max rate of messages per second has been exceeded"))
	p.say("49", "1")
	for range 2 {
		p.say("49", "1")
		if got := p.expect(); got[0] != "4" || got[3] != "100" {
			t.Errorf("answer = %q, want error 100", got)
		}
	}
	p.say("49", "1")
	if got := p.expect(); got[0] != "49" {
		t.Errorf("answer = %q, want the time", got)
	}
}

func TestRuleForAllRequestsStays(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	p := started(t, g, 1)
	g.On(gateway.ReqContractDetails, 0, gateway.ReplyError(200, "none"))
	for range 5 {
		p.say("9", "8", "3", "265598")
		p.expect("4", "2", "3", "200", "none")
	}
}

func TestDelayHoldsBackOneAnswerOnly(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	p := started(t, g, 1)
	g.On(gateway.ReqCurrentTime, 1, gateway.Delay(50*time.Millisecond))
	p.say("49", "1")
	p.say("8", "1", "1")
	if got := p.expect(); got[0] != "9" {
		t.Errorf("first answer = %q, want the id, asked for second", got)
	}
	p.expect("49", "1")
}

func TestHangFreezesTheSessionOnARequest(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	p, other := started(t, g, 1), started(t, g, 2)
	g.On(gateway.ReqCurrentTime, 1, gateway.Hang())
	p.say("49", "1")
	eventually(t, g, "request", func(s gateway.Stats) bool { return s.Requests[gateway.ReqCurrentTime] == 1 })
	p.say("8", "1", "1")
	p.silent()
	other.alive()
	g.Stall(false)
	p.expect("9")
}

func TestHeldRequestsAreAnsweredInTurnWhenReleased(t *testing.T) {
	g := gateway.Start(t, gateway.Config{NoFarms: true})
	g.On(gateway.StartAPI, 0, gateway.Hold())
	p := greeted(t, g, "v100..176")
	p.say("71", "2", "1", "")
	eventually(t, g, "startApi", func(s gateway.Stats) bool { return s.Requests[gateway.StartAPI] == 1 })
	p.silent()
	g.Off(gateway.StartAPI)
	g.Release(gateway.StartAPI)
	for _, id := range []string{"15", "9"} { // managedAccounts and nextValidId, with no farm between
		if got := strings.Split(p.frame(), "\x00"); got[0] != id {
			t.Errorf("received %q, want a message %s", got, id)
		}
	}

	g.On(gateway.ReqContractDetails, 2, gateway.Hold())
	ask := func(id string) {
		p.say("9", "8", id, "0", "NONE", "STK", "", "0", "", "", "", "", "", "", "", "0", "", "", "")
	}
	ask("1")
	ask("2")
	ask("3")
	p.expect("4", "2", "3", "200") // the third is not held
	if got := g.Release(gateway.ReqContractDetails, 1); got != 1 {
		t.Errorf("Release = %d sessions, want 1", got)
	}
	if got := p.expect("4"); got[2] != "1" {
		t.Errorf("released was request %s, want 1", got[2])
	}
	g.Release(gateway.ReqContractDetails)
	if got := p.expect("4"); got[2] != "2" {
		t.Errorf("released was request %s, want 2", got[2])
	}
	g.Release(gateway.ReqContractDetails) // holds none
	p.alive()
}
