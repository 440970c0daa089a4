package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ibconn/testenv/gateway"
)

func TestTimeAskedForTwiceWithinASecondIsAnsweredOnce(t *testing.T) {
	g := gateway.Start(t, gateway.Config{TimeSpacing: time.Hour})
	p := started(t, g, 1)
	p.say("49", "1")
	p.expect("49", "1")
	p.say("49", "1")
	p.say("8", "1", "1")
	if got := p.expect(); got[0] != "9" {
		t.Errorf("second reqCurrentTime was answered with %q, want silence", got)
	}
}

func TestTimeMayBeAskedForAtAnyRateIfSoConfigured(t *testing.T) {
	g := gateway.Start(t, gateway.Config{TimeSpacing: -1})
	p := started(t, g, 1)
	for range 3 {
		p.say("49", "1")
		p.expect("49", "1")
	}
}

func TestClientIDInUseIsRefusedWith326AndClosed(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	first := started(t, g, 7)
	second := greeted(t, g, "v100..176")
	second.say("71", "2", "7", "")
	got := second.expect("4")
	if want := "4 2 -1 326 Unable to connect as the client id is already in use. Retry with a unique client id. "; strings.Join(got, " ") != want {
		t.Errorf("error = %q, want %q", strings.Join(got, " "), want)
	}
	second.wantEOF()
	first.alive()
}

func TestClientIDIsFreeAtOnceAfterTheClientsOwnFIN(t *testing.T) {
	g := gateway.Start(t, gateway.Config{IDLinger: time.Hour})
	p := started(t, g, 7)
	_ = p.conn.Close()
	eventually(t, g, "end of the session", func(s gateway.Stats) bool { return s.Ended[gateway.ClientClosed] == 1 })
	started(t, g, 7).alive()
}

func TestClientIDLingersAfterACut(t *testing.T) {
	for name, cut := range map[string]func(*gateway.Gateway, *peer){
		"reset by the client":  func(_ *gateway.Gateway, p *peer) { _ = p.conn.SetLinger(0); _ = p.conn.Close() },
		"reset by the gateway": func(g *gateway.Gateway, _ *peer) { g.Reset() },
		"fin of the gateway":   func(g *gateway.Gateway, p *peer) { g.FIN(); p.wantEOF(); _ = p.conn.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			g := gateway.Start(t, gateway.Config{IDLinger: 300 * time.Millisecond})
			cut(g, started(t, g, 7))
			eventually(t, g, "end of the session", func(s gateway.Stats) bool { return s.Open == 0 })
			refused := 0
			for deadline := time.Now().Add(patience); time.Now().Before(deadline); refused++ {
				p := greeted(t, g, "v100..176")
				p.say("71", "2", "7", "")
				if got := p.expect(); got[0] == "15" {
					break
				} else if got[3] != "326" {
					t.Fatalf("answer to startApi = %q, want accounts or 326", got)
				}
				p.wantEOF()
				_ = p.conn.Close()
			}
			if refused == 0 {
				t.Error("the id was free at once, want it to linger")
			}
			if s := g.Stats(); !slices.Equal(s.Clients, []int{7}) {
				t.Errorf("Clients = %v, want [7]", s.Clients)
			}
		})
	}
}

func TestThirtyThirdClientIsClosed(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	for id := range 32 {
		started(t, g, id)
	}
	p := greeted(t, g, "v100..176")
	p.say("71", "2", "99", "")
	p.wantEOF()
	if s := g.Stats(); s.Started != 32 || s.Open > 33 || len(s.Clients) != 32 {
		t.Errorf("started %d, open %d, clients %d, want 32 started, all open", s.Started, s.Open, len(s.Clients))
	}
	eventually(t, g, "refusal", func(s gateway.Stats) bool { return s.Ended[gateway.TooManyClients] == 1 })
}

func TestForeignFirstBytesAreFlaggedAndClosed(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	p := dial(t, g)
	p.write(framed("49\x001\x00")) // what a library sends that dials again without a handshake
	p.wantEOF()
	s := g.Stats()
	if s.Accepted != 1 || s.Foreign != 1 || s.Greetings != 0 || string(s.ForeignBytes[0]) != "\x00\x00\x00\x0549\x001\x00" {
		t.Errorf("Stats() = %+v, want one foreign connection with its bytes", s)
	}
}

func TestAConnectionThatSaysNothingIsNotForeign(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	_ = dial(t, g).conn.Close()
	eventually(t, g, "end of the connection", func(s gateway.Stats) bool { return s.Ended[gateway.ClientClosed] == 1 })
	if s := g.Stats(); s.Foreign != 0 {
		t.Errorf("Foreign = %d, want 0", s.Foreign)
	}
}

func TestClientWithoutACommonVersionIsClosed(t *testing.T) {
	g := gateway.Start(t, gateway.Config{ServerVersion: 176})
	p := dial(t, g)
	p.write(append([]byte("API\x00"), framed("v213..225")...))
	p.wantEOF()
	eventually(t, g, "refusal", func(s gateway.Stats) bool { return s.Ended[gateway.NoCommonVersion] == 1 })
}

func TestOverlongRequestEndsTheSession(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	p := started(t, g, 1)
	p.write([]byte{0x7f, 0xff, 0xff, 0xff})
	p.wantEOF()
	eventually(t, g, "end of the session", func(s gateway.Stats) bool { return s.Ended[gateway.BadFrame] == 1 })
}

func TestWhatTheGatewayDoesNotKnowIsAnErrorAndNotAnEnd(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	p := started(t, g, 1)
	for _, c := range []struct{ request, answer string }{
		{"999", "4 2 -1 320 Error reading request. Unknown message id 999. "},
		{"nonsense", "4 2 -1 320 Error reading request. field 1 is \"nonsense\", not a number "},
		{"1 11 x", "4 2 -1 320 Error reading request. field 3 is \"x\", not a number "},
		{"1 11 5 1.5", "4 2 5 320 Error reading request. field 4 is 1.5, not a 32 bit integer "},
		{"62 1 17 All NetLiquidation", "4 2 17 321 Error validating request.-'bX' : cause - The simulated gateway does not answer reqAccountSummary. "},
		{"71 2 5", "4 2 -1 321 Error validating request.-'bX' : cause - The API has already been started on this connection. "},
		{"59 1 9", "4 2 -1 321 Error validating request.-'bX' : cause - Invalid market data type 9. "},
		{"50 3 8 265598", "4 2 8 321 Error validating request.-'bR' : cause - What to show field is missing or incorrect: \"\" "},
		{"97 9 265598", "4 2 9 321 Error validating request.-'bX' : cause - Invalid tick-by-tick type \"\". "},
	} {
		p.say(strings.Fields(c.request)...)
		if got := strings.Join(p.expect(), " "); got != c.answer {
			t.Errorf("answer to %q = %q, want %q", c.request, got, c.answer)
		}
	}
}

func TestRequestBeforeStartAPIIsIgnored(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	p := greeted(t, g, "v100..176")
	p.say("49", "1")
	p.say("71", "2", "1", "")
	if got := p.expect(); got[0] != "15" {
		t.Errorf("first message = %q, want the accounts", got)
	}
}

func TestOrderRequestsAreCountedAndRefused(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	p := started(t, g, 1)
	p.say("3", "17", "265598")
	p.expect("4", "2", "17", "321")
	p.say("4", "1", "17")
	p.expect("4", "2", "17", "321")
	p.say("58", "1")
	p.expect("4", "2", "-1", "321")
	if got := g.Orders(); got != 3 {
		t.Errorf("Orders() = %d, want 3", got)
	}
	if got := g.Stats().Requests[gateway.PlaceOrder]; got != 1 {
		t.Errorf("Requests[placeOrder] = %d, want 1", got)
	}
}

func TestRequestsOfASecondAreCounted(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	p := started(t, g, 1)
	for range 30 {
		p.alive()
	}
	if s := g.Stats(); s.BusiestSecond < 2 || s.BusiestSecond > 31 || s.Requests[gateway.ReqIds] != 30 {
		t.Errorf("busiest second %d, reqIds %d, want 2 to 31, and 30", s.BusiestSecond, s.Requests[gateway.ReqIds])
	}
}

func TestConfigurationOutOfRangeIsRefused(t *testing.T) {
	for _, cfg := range []gateway.Config{
		{ServerVersion: 175},
		{ServerVersion: 226},
		{FirstOrderID: -1},
		{MaxClients: -1},
		{IDLinger: -1},
		{MaxRate: -1},
		{Lines: -1},
		{TicksPerSecond: -1},
		{TicksPerSecond: 1e9},
		{BarEvery: 1},
		{Accounts: []string{"A,B"}},
		{Accounts: []string{""}},
		{Accounts: []string{"A\x00"}},
	} {
		if _, err := gateway.New(cfg); err == nil {
			t.Errorf("New(%+v) succeeded, want an error", cfg)
		}
	}
}

func TestRunReturnsTheCauseAndRunsOnlyOnce(t *testing.T) {
	g, err := gateway.New(gateway.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	if err := g.Run(ctx); !errors.Is(err, why) {
		t.Errorf("Run() = %v, want %v", err, why)
	}
	if err := g.Run(t.Context()); err == nil {
		t.Error("second Run() = nil, want an error")
	}
}

func TestListenTellsWhenThePortIsTaken(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	second, err := gateway.New(gateway.Config{Addr: g.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Listen(); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("Listen() = %v, want address already in use", err)
	}
}

func TestAThousandQuickConnectionsLeaveNothingBehind(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	before := openFiles(t)
	var work sync.WaitGroup
	for worker := range 4 {
		work.Go(func() {
			for i := range 250 {
				conn, err := net.DialTimeout("tcp", g.Addr(), patience)
				if err != nil {
					t.Error(err)
					return
				}
				if i%2 == 0 {
					_, _ = conn.Write(append([]byte("API\x00"), framed("v100..225")...))
				}
				if i%3 == worker%3 {
					_ = conn.(*net.TCPConn).SetLinger(0)
				}
				_ = conn.Close()
			}
		})
	}
	work.Wait()
	eventually(t, g, "end of all connections", func(s gateway.Stats) bool { return s.Open == 0 && s.Accepted == 1000 })
	if after := openFiles(t); after > before+3 {
		t.Errorf("%d files open after, %d before", after, before)
	}
	started(t, g, 1).alive()
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("open files cannot be counted on this system")
	}
	return len(files)
}

// TestTicksFloodWithoutLoss asserts that a flood comes through whole, not how fast.
func TestTicksFloodWithoutLoss(t *testing.T) {
	g := gateway.Start(t, gateway.Config{TicksPerSecond: 200_000})
	p := started(t, g, 1)
	p.say("1", "11", "5", "265598")
	for ticks := range 200_000 {
		if got := p.frame(); !strings.Contains(got, "\x005\x00") {
			t.Fatalf("tick %d = %q, want one for id 5", ticks, got)
		}
	}
	p.say("2", "2", "5")
	p.alive()
}

func TestSlowReaderHoldsUpItsOwnSessionOnly(t *testing.T) {
	g := gateway.Start(t, gateway.Config{TicksPerSecond: 1_000_000})
	slow, other := started(t, g, 1), started(t, g, 2)
	slow.say("1", "11", "5", "265598") // and never reads
	eventually(t, g, "subscription", func(s gateway.Stats) bool { return s.Requests[gateway.ReqMktData] == 1 })
	for range 100 {
		other.alive()
	}
}

func TestEveryClientSeesTheSameMarket(t *testing.T) {
	at := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	cfg := gateway.Config{BarEvery: time.Millisecond, Now: func() time.Time { return at }}
	var bars []string
	for i := range 2 {
		g := gateway.Start(t, cfg)
		p := started(t, g, i)
		p.say("50", "3", "9", "265598", "", "", "", "", "", "", "", "", "", "", "", "5", "TRADES", "1", "")
		bars = append(bars, fmt.Sprint(p.expect("50", "3", "9", "1772625600")))
	}
	if bars[0] != bars[1] {
		t.Errorf("two gateways show %s and %s, want the same bar", bars[0], bars[1])
	}
}
