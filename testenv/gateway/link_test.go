package gateway_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ibconn/testenv/gateway"
)

const (
	lostText = "Connectivity between IBKR and Trader Workstation has been lost."
	goneText = "Connectivity between IBKR and Trader Workstation has been restored - data lost."
	keptText = "Connectivity between IBKR and Trader Workstation has been restored - data maintained. All data farms are connected: usfarm; ushmds; secdefil."
)

// needsTheLink asks for everything that only IB's servers can answer, under ids from 50 on.
func (p *peer) needsTheLink() {
	p.t.Helper()
	p.say("9", "8", "50", "265598")
	p.say("81", "51", "AAPL")
	p.say("20", "52", "265598", "AAPL", "STK", "", "0", "", "", "SMART", "", "USD", "", "", "0", "", "1 min", "60 S", "1", "TRADES", "1", "0", "")
	p.say("1", "11", "53", "265598")
	p.say("97", "54", "265598", "", "", "", "", "", "", "", "", "", "", "", "Last", "0", "0")
	p.say("50", "3", "55", "265598", "", "", "", "", "", "", "", "", "", "", "", "5", "TRADES", "1", "")
}

func TestLostLinkLeavesWhatNeedsItWithoutAnAnswer(t *testing.T) {
	g := gateway.Start(t, gateway.Config{TicksPerSecond: 1000, TimeSpacing: -1})
	p := started(t, g, 1)
	p.say("1", "11", "5", "265598")
	p.expect("1", "6", "5")
	g.LoseLink(true)
	p.expect("4", "2", "-1", "1100", lostText)
	p.drain()
	p.needsTheLink()
	for _, c := range []struct{ request, answer string }{ // answers come in the order of the requests
		{"49 1", "49 1"},
		{"8 1 1", "9 1"},
		{"17 1", "15 1"},
		{"61 1", "62 1"},
		{"2 2 53", "4 2 53 300"}, // nothing was subscribed
		{"98 54", "4 2 54 300"},
		{"51 1 55", "4 2 55 300"},
	} {
		p.say(strings.Fields(c.request)...)
		if got := strings.Join(p.expect(), " "); !strings.HasPrefix(got, c.answer) {
			t.Errorf("%q without a link is answered with %q, want %s", c.request, got, c.answer)
		}
	}
	p.silent()
	g.RestoreLink(false, true)
	p.expect("4", "2", "-1", "1102", keptText)
	p.expect("1", "6", "5") // the subscription of before goes on by itself
	p.say("2", "2", "5")
	p.drain()
	p.needsTheLink()
	for _, answer := range []string{"10", "52", "79", "17", "81", "99"} {
		p.expect(answer)
	}
	s := g.Stats()
	if got := s.Requests[gateway.ReqContractDetails] + s.Requests[gateway.ReqMatchingSymbols] + s.Requests[gateway.ReqHistoricalData]; got != 2*3 {
		t.Errorf("%d requests for contracts, symbols and history were counted, want each of two times", got)
	}
}

func TestALinkThatComesBackWithoutItsDataDropsSubscriptions(t *testing.T) {
	for _, notice := range []bool{true, false} {
		t.Run(fmt.Sprintf("notice %v", notice), func(t *testing.T) {
			g := gateway.Start(t, gateway.Config{TicksPerSecond: 1000})
			p := started(t, g, 1)
			p.say("1", "11", "5", "265598")
			p.expect("1", "6", "5")
			g.LoseLink(notice)
			p.drain()
			g.RestoreLink(true, notice)
			if notice {
				if got := strings.Join(p.expect(), " "); got != "4 2 -1 1101 "+goneText+" " {
					t.Errorf("after the restoration %q came, want 1101", got)
				}
			}
			p.silent()
			p.say("2", "2", "5")
			p.expect("4", "2", "5", "300")
			p.say("1", "11", "5", "265598")
			p.expect("1", "6", "5")
		})
	}
}

func TestALinkLostAndFoundWithoutNoticeSaysNothing(t *testing.T) {
	g := gateway.Start(t, gateway.Config{TicksPerSecond: 1000})
	p, idle := started(t, g, 1), started(t, g, 2)
	p.say("1", "11", "5", "265598")
	p.expect("1", "6", "5")
	g.LoseLink(false)
	p.drain()
	p.silent()
	g.RestoreLink(false, false)
	if got := p.expect(); got[0] != "1" {
		t.Errorf("after the restoration %q came, want a tick", got)
	}
	idle.silent()
}

func TestRestoringALinkThatIsNotLostDoesNothing(t *testing.T) {
	g := gateway.Start(t, gateway.Config{TicksPerSecond: 1000})
	p, idle := started(t, g, 1), started(t, g, 2)
	p.say("1", "11", "5", "265598")
	p.expect("1", "6", "5")
	g.RestoreLink(true, true)
	idle.silent()
	p.alive()
	p.expect("1", "6", "5")
}

// codes reads up to the nextValidId that ends a greeting and returns the codes of the notices in it.
func (p *peer) codes() []string {
	p.t.Helper()
	var codes []string
	for {
		switch got := p.expect(); got[0] {
		case "4":
			codes = append(codes, got[3])
		case "9":
			return codes
		}
	}
}

func TestSessionsThatStartWithoutALinkAreToldSoOnlyWithNotice(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	start := func(client string) []string {
		p := greeted(t, g, "v100..176")
		p.say("71", "2", client, "")
		codes := p.codes()
		p.alive()
		return codes
	}
	g.LoseLink(true)
	if got := start("1"); !slices.Equal(got, []string{"2110"}) {
		t.Errorf("the greeting has notices %q, want 2110", got)
	}
	g.LoseLink(false)
	if got := start("2"); len(got) != 0 {
		t.Errorf("the greeting of a link lost silently has notices %q, want none", got)
	}
	g.RestoreLink(false, false)
	if got := start("3"); !slices.Equal(got, []string{"2104", "2106", "2158"}) {
		t.Errorf("the greeting has notices %q, want those of the farms", got)
	}
}

func TestSessionsThatHaveNotStartedHearNothingOfTheLink(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	p := greeted(t, g, "v100..176")
	g.LoseLink(true)
	g.RestoreLink(false, true)
	p.silent()
}

func TestMisledClientsAreAnsweredWhatTheGatewayCannotKnow(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	p := started(t, g, 1)
	g.Mislead(true) // means nothing with a link
	p.say("9", "8", "50", "265598")
	p.expect("10", "50")
	g.LoseLink(false)
	p.drain()
	p.needsTheLink()
	p.expect("4", "2", "50", "200", "No security definition has been found for the request")
	p.expect("4", "2", "52", "162", "Historical Market Data Service error message:HMDS query returned no data: AAPL@SMART TRADES")
	p.silent()
	g.Mislead(false)
	p.needsTheLink()
	p.silent()
}

// TestWhatASessionHearsOfTheLinkFitsTogether starts sessions while the link flaps: if a greeting could tell of another
// link than the notices behind it begin with, a client would take a lost link for a good one.
func TestWhatASessionHearsOfTheLinkFitsTogether(t *testing.T) {
	g := gateway.Start(t, gateway.Config{MaxClients: 1000})
	stop, stopped := make(chan struct{}), make(chan struct{})
	defer func() { <-stopped }()
	defer close(stop)
	go func() {
		defer close(stopped)
		lost := false
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Microsecond): // so that the sessions get their turn
				for range 21 { // and find the link lost as often as not
					if lost = !lost; lost {
						g.LoseLink(true)
					} else {
						g.RestoreLink(false, true)
					}
				}
			}
		}
	}()
	told := make(map[bool]int)
	for client := range 500 {
		p := greeted(t, g, "v100..176")
		p.say("71", "2", fmt.Sprint(client), "")
		p.expect("15")
		codes := p.codes()
		lost := slices.Contains(codes, "2110")
		told[lost]++
		want := "1100"
		if lost {
			want = "1102"
		}
		if got := p.expect("4"); got[3] != want {
			t.Fatalf("client %d: after a greeting with %q came %q, want %s", client, codes, got, want)
		}
		_ = p.conn.Close()
	}
	if told[true] == 0 || told[false] == 0 {
		t.Errorf("%d greetings without a link and %d with one, want some of both", told[true], told[false])
	}
}

func TestALinkMayBeLostInTheMiddleOfAQuery(t *testing.T) {
	g := gateway.Start(t, gateway.Config{TimeSpacing: -1})
	p := started(t, g, 1)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				g.LoseLink(false)
				g.RestoreLink(true, false)
			}
		}
	}()
	for id := range 20000 { // the moment is short
		if id%1000 == 0 {
			p.drain()
		}
		p.say("20", fmt.Sprint(id), "265598", "AAPL", "STK", "", "0", "", "", "SMART", "", "USD", "", "", "0", "", "1 min", "60 S", "1", "TRADES", "1", "0", "")
	}
	close(stop)
	<-stopped
	g.RestoreLink(true, false)
	p.drain()
	p.say("49", "1")
	p.expect("49", "1")
}

func TestTheGoLibraryHearsOfTheLinkInBothEncodings(t *testing.T) {
	for _, version := range []int{176, 225} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			g := gateway.Start(t, gateway.Config{ServerVersion: version, TimeSpacing: -1, TicksPerSecond: 500})
			c, l := connect(t, g, 7)
			c.ReqMktData(1, stock("AAPL"), "", false, false, nil)
			l.wait(t, 0, "tick 1 price 4 ")
			g.LoseLink(true)
			l.wait(t, 0, "error -1 1100 "+lostText)
			c.ReqContractDetails(2, stock("AAPL"))
			c.ReqMatchingSymbols(3, "AAPL")
			c.ReqHistoricalData(4, stock("AAPL"), "", "60 S", "1 min", "TRADES", true, 2, false, nil)
			c.ReqCurrentTime()
			l.wait(t, 0, "time ") // behind the others, and so would their answers be
			for _, answer := range []string{"contract", "symbol", "history", "error 2", "error 3", "error 4"} {
				if n := l.count(answer); n != 0 {
					t.Errorf("without a link there are %d lines of %s, want none", n, answer)
				}
			}
			g.Mislead(true)
			c.ReqContractDetails(5, stock("AAPL"))
			l.wait(t, 0, "error 5 200 No security definition has been found for the request")
			c.ReqHistoricalData(6, stock("AAPL"), "", "60 S", "1 min", "TRADES", true, 2, false, nil)
			l.wait(t, 0, "error 6 162 Historical Market Data Service error message:HMDS query returned no data: AAPL@SMART TRADES")
			g.RestoreLink(false, true)
			_, at := l.wait(t, 0, "error -1 1102 "+keptText)
			l.wait(t, at, "tick 1 price 4 ")
			c.ReqContractDetails(7, stock("AAPL"))
			l.wait(t, 0, "contract 7 265598")

			g.LoseLink(true)
			c2, second := connect(t, g, 8)
			second.wait(t, 0, "error -1 2110 Connectivity between Trader Workstation and server is broken. It will be restored automatically.")
			g.RestoreLink(true, true)
			second.wait(t, 0, "error -1 1101 "+goneText)
			_, at = l.wait(t, 0, "error -1 1101 "+goneText)
			c.ReqIDs(1)
			l.wait(t, at, "next id")
			for n, deadline := l.count("tick 1 "), time.Now().Add(100*time.Millisecond); time.Now().Before(deadline); {
				<-time.After(10 * time.Millisecond)
				if more := l.count("tick 1 ") - n; more > 0 {
					t.Fatalf("%d ticks came after 1101 for a subscription that is gone", more)
				}
			}
			// The library's end is ordered behind its beginning only if it has sent something; else it races with itself.
			_, at = second.wait(t, 0, "next id")
			c2.ReqIDs(1)
			second.wait(t, at, "next id")
			g.FIN()
			l.wait(t, 0, "closed")
			second.wait(t, 0, "closed")
		})
	}
}
