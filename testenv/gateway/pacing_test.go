package gateway_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ibconn/testenv/gateway"
)

// clock is a gateway's clock that stands until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

// aMonday is one at 12:00 in New York.
func aMonday() *clock { return &clock{at: time.Date(2026, 11, 23, 17, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// historyQuery is what a test varies of a reqHistoricalData; the rest is one minute of AAPL.
type historyQuery struct {
	conID, exchange, end, size, duration, what string
	rth, follow                                bool
}

func (q historyQuery) fields(id int) []string {
	or := func(s, otherwise string) string {
		if s == "" {
			return otherwise
		}
		return s
	}
	bit := func(b bool) string { return strconv.Itoa(map[bool]int{true: 1}[b]) }
	return []string{
		"20", strconv.Itoa(id), or(q.conID, "265598"), "", "", "", "0", "", "", or(q.exchange, "SMART"), "", "", "", "", "0",
		q.end, or(q.size, "5 secs"), or(q.duration, "60 S"), bit(q.rth), or(q.what, "TRADES"), "2", bit(q.follow), "",
	}
}

const (
	euro   = "12087792"
	broken = "Historical Market Data Service error message:Historical data request pacing violation"
)

// answer returns the next message about a request that is no tick and no update: "bars" of history, "head", or an error.
func (p *peer) answer(id int) string {
	p.t.Helper()
	for {
		got := p.expect()
		switch {
		case got[0] == "17" && got[1] == strconv.Itoa(id):
			return "bars"
		case got[0] == "88" && got[1] == strconv.Itoa(id):
			return "head"
		case got[0] == "4" && got[2] == strconv.Itoa(id):
			return got[3] + " " + got[4]
		}
	}
}

func (p *peer) asks(id int, q historyQuery) string {
	p.t.Helper()
	p.say(q.fields(id)...)
	return p.answer(id)
}

func (p *peer) asksHead(id int, conID, what string) string {
	p.t.Helper()
	p.say("87", strconv.Itoa(id), conID, "", "", "", "0", "", "", "SMART", "", "", "", "", "0", "1", what, "1")
	return p.answer(id)
}

func wantAnswer(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s is answered with %q, want %q", what, got, want)
	}
}

func wantBroken(t *testing.T, g *gateway.Gateway, want map[gateway.PacingRule]int) {
	t.Helper()
	if got := g.Stats().Pacing; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("Pacing = %v, want %v", got, want)
	}
}

func TestIdenticalRequestWithin15sIsAViolationWhoeverAsks(t *testing.T) {
	c := aMonday()
	g := gateway.Start(t, gateway.Config{HistoryPacing: true, Now: c.now})
	one, two := started(t, g, 1), started(t, g, 2)
	wantAnswer(t, "the first", one.asks(1, historyQuery{}), "bars")
	wantAnswer(t, "the same at once", one.asks(2, historyQuery{}), "162 "+broken)
	c.move(14999 * time.Millisecond)
	wantAnswer(t, "the same of another client", two.asks(3, historyQuery{}), "162 "+broken)
	wantAnswer(t, "one of another span", two.asks(4, historyQuery{duration: "65 S"}), "bars")
	c.move(2 * time.Second)
	wantAnswer(t, "the same 2 s after a violation", one.asks(5, historyQuery{}), "162 "+broken)
	c.move(15 * time.Second)
	wantAnswer(t, "the same 15 s later", one.asks(6, historyQuery{}), "bars")
	wantBroken(t, g, map[gateway.PacingRule]int{gateway.IdenticalWithin15s: 3})
}

func TestSixthRequestForOneSeriesWithin2sIsAViolation(t *testing.T) {
	c := aMonday()
	g := gateway.Start(t, gateway.Config{HistoryPacing: true, Now: c.now})
	p := started(t, g, 1)
	ask := func(id int, q historyQuery) string {
		q.duration = fmt.Sprintf("%d S", 60+5*id) // no two are identical
		return p.asks(id, q)
	}
	for id := 1; id <= 5; id++ {
		wantAnswer(t, fmt.Sprintf("request %d", id), ask(id, historyQuery{}), "bars")
	}
	wantAnswer(t, "another kind of data", ask(6, historyQuery{what: "BID"}), "bars")
	wantAnswer(t, "another exchange", ask(7, historyQuery{exchange: "NASDAQ"}), "bars")
	wantAnswer(t, "another contract", ask(8, historyQuery{conID: "272093"}), "bars")
	c.move(1999 * time.Millisecond)
	wantAnswer(t, "the sixth", ask(9, historyQuery{}), "162 "+broken)
	c.move(time.Millisecond)
	wantAnswer(t, "the next 2 s after the first five", ask(10, historyQuery{}), "bars")
	wantBroken(t, g, map[gateway.PacingRule]int{gateway.SixWithin2s: 1})
}

func TestSixtyFirstRequestWithin10minIsAViolation(t *testing.T) {
	for _, of := range []struct {
		what    string
		allowed int
	}{{"TRADES", 60}, {"BID_ASK", 30}} {
		t.Run(of.what, func(t *testing.T) {
			c := aMonday()
			g := gateway.Start(t, gateway.Config{HistoryPacing: true, Now: c.now})
			p := started(t, g, 1)
			ask := func(id int) string {
				return p.asks(id, historyQuery{what: of.what, duration: fmt.Sprintf("%d S", 60+5*id), size: "30 secs"})
			}
			for id := 1; id <= of.allowed; id++ {
				wantAnswer(t, fmt.Sprintf("request %d", id), ask(id), "bars")
				c.move(time.Second)
			}
			wantAnswer(t, "one more", ask(61), "162 "+broken)
			wantAnswer(t, "one of a minute", p.asks(62, historyQuery{size: "1 min"}), "bars")
			wantBroken(t, g, map[gateway.PacingRule]int{gateway.SixtyWithin10min: 1})
			c.move(10*time.Minute - time.Duration(of.allowed)*time.Second) // the first does not count any more, the violation does
			wantAnswer(t, "one in the place of the violation", ask(63), "162 "+broken)
			c.move(2 * time.Second)
			wantAnswer(t, "one when two more do not count", ask(64), "bars")
		})
	}
}

func TestHeadTimestampsCountAsSmallBarsDo(t *testing.T) {
	c := aMonday()
	g := gateway.Start(t, gateway.Config{HistoryPacing: true, Now: c.now})
	p := started(t, g, 1)
	wantAnswer(t, "a head timestamp", p.asksHead(1, "265598", "TRADES"), "head")
	wantAnswer(t, "the same one", p.asksHead(2, "265598", "TRADES"), "162 "+broken)
	for id := 3; id <= 5; id++ {
		wantAnswer(t, "bars", p.asks(id, historyQuery{duration: fmt.Sprintf("%d S", 60*id)}), "bars")
	}
	wantAnswer(t, "the sixth request for trades of AAPL", p.asks(6, historyQuery{}), "162 "+broken)
	wantAnswer(t, "one that cannot be had", p.asksHead(7, euro, "TRADES"), "162 Historical Market Data Service error message:No historical market data for EUR/CASH@IDEALPRO Last 1 day")
	wantAnswer(t, "one that can", p.asksHead(8, euro, "MIDPOINT"), "head")
	wantBroken(t, g, map[gateway.PacingRule]int{gateway.IdenticalWithin15s: 1, gateway.SixWithin2s: 1})
}

func TestLongerBarsMayBeAskedForAtAnyRate(t *testing.T) {
	c := aMonday()
	g := gateway.Start(t, gateway.Config{HistoryPacing: true, Now: c.now})
	p := started(t, g, 1)
	for id := range 70 {
		wantAnswer(t, "one minute bars", p.asks(id, historyQuery{size: "1 min"}), "bars")
	}
	wantBroken(t, g, map[gateway.PacingRule]int{})
}

func TestNoRuleOnHistoryIsEnforcedUnlessConfigured(t *testing.T) {
	c := aMonday()
	g := gateway.Start(t, gateway.Config{Now: c.now})
	p := started(t, g, 1)
	for id := range 70 {
		wantAnswer(t, "five second bars", p.asks(id, historyQuery{}), "bars")
	}
	wantAnswer(t, "old bars", p.asks(70, historyQuery{end: "20240104-17:00:00"}), "bars")
	for id := 100; id < 160; id++ {
		wantAnswer(t, "bars kept up to date", p.asks(id, historyQuery{follow: true}), "bars")
	}
	for id := range 110 {
		p.say("50", "3", strconv.Itoa(200+id), "265598", "", "", "", "", "", "", "", "", "", "", "", "5", "TRADES", "0", "")
	}
	p.alive()
	if s := g.Stats(); len(s.Pacing) != 0 || s.OpenHistory != 60 || s.Lines != 110 {
		t.Errorf("Pacing = %v, OpenHistory = %d, Lines = %d, want none, 60, 110", s.Pacing, s.OpenHistory, s.Lines)
	}
}

func TestFiftyFirstOpenRequestIsRefused(t *testing.T) {
	const tooMany = "322 Error processing request.-'bI' : cause - Only 50 simultaneous API historical data requests allowed."
	c := aMonday()
	g := gateway.Start(t, gateway.Config{HistoryPacing: true, Now: c.now})
	p, other := started(t, g, 1), started(t, g, 2)
	for id := 1; id <= 48; id++ {
		wantAnswer(t, fmt.Sprintf("request %d", id), p.asks(id, historyQuery{size: "1 min", follow: true}), "bars")
	}
	wantAnswer(t, "a head timestamp", other.asksHead(1, "265598", "TRADES"), "head")
	g.On(gateway.ReqHistoricalData, 1, gateway.Hold())
	other.say(historyQuery{size: "1 min"}.fields(2)...)
	eventually(t, g, "the fiftieth", func(s gateway.Stats) bool { return s.OpenHistory == 50 })
	wantAnswer(t, "the fifty-first", p.asks(51, historyQuery{}), tooMany)
	wantAnswer(t, "an id in use", other.asks(2, historyQuery{}), "322 Error processing request.-'bI' : cause - Duplicate ticker id")

	p.say("25", "1", "48")
	wantAnswer(t, "a cancel", p.answer(48), "162 Historical Market Data Service error message:API historical data query cancelled: 48")
	wantAnswer(t, "one instead of it", p.asks(51, historyQuery{}), "bars") // which was not counted when it was refused
	wantAnswer(t, "another, as that one is answered", p.asks(52, historyQuery{size: "1 min", follow: true}), "bars")
	other.say("90", "1")
	g.Release(gateway.ReqHistoricalData, 2)
	wantAnswer(t, "what was held", other.answer(2), "bars")
	eventually(t, g, "two fewer", func(s gateway.Stats) bool { return s.OpenHistory == 48 })
	g.Forget(1)
	p.alive()
	eventually(t, g, "none after all are forgotten", func(s gateway.Stats) bool { return s.OpenHistory == 0 })
	wantAnswer(t, "one to be lost with its session", p.asks(53, historyQuery{size: "1 min", follow: true}), "bars")
	_ = p.conn.Close()
	eventually(t, g, "none after its end", func(s gateway.Stats) bool { return s.OpenHistory == 0 })
	wantBroken(t, g, map[gateway.PacingRule]int{gateway.FiftyOpen: 1})
}

func TestARunningQueryCanBeCancelled(t *testing.T) {
	g := gateway.Start(t, gateway.Config{HistoryPacing: true})
	p := started(t, g, 1)
	for _, rule := range []gateway.Action{gateway.Hold(), gateway.Delay(time.Hour)} {
		g.On(gateway.ReqHistoricalData, 1, rule)
		p.say(historyQuery{size: "1 min"}.fields(7)...)
		eventually(t, g, "the query", func(s gateway.Stats) bool { return s.OpenHistory == 1 })
		p.say("90", "7") // of another kind
		wantAnswer(t, "a cancel of another kind", p.answer(7), "300 Can't find EId with tickerId:7")
		p.say("25", "1", "7")
		wantAnswer(t, "the cancel", p.answer(7), "162 Historical Market Data Service error message:API historical data query cancelled: 7")
		g.Release(gateway.ReqHistoricalData)
		p.say("25", "1", "7")
		wantAnswer(t, "a second cancel", p.answer(7), "366 No historical data query found for ticker id:7")
	}
	if n := g.Stats().OpenHistory; n != 0 {
		t.Errorf("OpenHistory = %d, want 0", n)
	}
}

func TestAQueryHeldWhenTheLinkIsLostIsOpenNoMore(t *testing.T) {
	g := gateway.Start(t, gateway.Config{HistoryPacing: true})
	p := started(t, g, 1)
	g.On(gateway.ReqHistoricalData, 1, gateway.Hold())
	p.say(historyQuery{}.fields(7)...)
	eventually(t, g, "the query", func(s gateway.Stats) bool { return s.OpenHistory == 1 })
	g.LoseLink(false)
	g.Release(gateway.ReqHistoricalData)
	eventually(t, g, "its end", func(s gateway.Stats) bool { return s.OpenHistory == 0 })
}

func TestSixtyFirstRequestForRealTimeBarsIsRefused(t *testing.T) {
	c := aMonday()
	g := gateway.Start(t, gateway.Config{HistoryPacing: true, Now: c.now, BarEvery: time.Hour})
	p := started(t, g, 1)
	ask := func(id int) {
		p.say("50", "3", strconv.Itoa(id), "265598", "", "", "", "", "", "", "", "", "", "", "", "5", "TRADES", "0", "")
	}
	for id := 1; id <= 60; id++ {
		ask(id)
		p.say("51", "1", strconv.Itoa(id)) // cancelled or not, they count
	}
	p.alive()
	ask(61)
	wantAnswer(t, "the sixty-first", p.answer(61), "420 Invalid Real-time Query:"+broken)
	if n := g.Stats().Lines; n != 0 {
		t.Errorf("Lines = %d, want 0", n)
	}
	c.move(10 * time.Minute)
	ask(62)
	p.alive()
	if s := g.Stats(); s.Lines != 1 {
		t.Errorf("Lines = %d, want 1 ten minutes later", s.Lines)
	}
	wantBroken(t, g, map[gateway.PacingRule]int{gateway.SixtyRealTimeBars: 1})
}

func TestSmallBarsOlderThanSixMonthsCannotBeHad(t *testing.T) {
	c := aMonday()
	g := gateway.Start(t, gateway.Config{HistoryPacing: true, Now: c.now})
	p := started(t, g, 1)
	none := "162 Historical Market Data Service error message:HMDS query returned no data: AAPL@SMART Trades"
	wantAnswer(t, "five second bars of seven months ago", p.asks(1, historyQuery{end: "20260423-17:00:00"}), none)
	wantAnswer(t, "those that begin before, if only just", p.asks(2, historyQuery{end: "20260523-17:00:59"}), none)
	wantAnswer(t, "those of not quite six months ago", p.asks(3, historyQuery{end: "20260523-17:01:00"}), "bars")
	wantAnswer(t, "minutes of seven months ago", p.asks(4, historyQuery{end: "20260423-17:00:00", size: "1 min"}), "bars")
	wantBroken(t, g, map[gateway.PacingRule]int{gateway.SixMonthsOld: 2})
}

func TestASpanWithoutDataIsAnErrorOfIts(t *testing.T) {
	c := aMonday()
	g := gateway.Start(t, gateway.Config{Now: c.now})
	p := started(t, g, 1)
	none := "162 Historical Market Data Service error message:HMDS query returned no data: "
	wantAnswer(t, "AAPL before it was listed", p.asks(1, historyQuery{end: "19801212-14:30:00", duration: "2 D", size: "1 hour"}), none+"AAPL@SMART Trades")
	wantAnswer(t, "EUR.USD before there were data", p.asks(2, historyQuery{conID: euro, end: "20040102-14:30:00", duration: "1 Y", size: "1 day", what: "MIDPOINT"}), none+"EUR.USD@IDEALPRO Midpoint")
	p.say(historyQuery{end: "19801212-14:31:00", duration: "1 D", size: "1 min"}.fields(3)...)
	if got := p.expect("17", "3"); got[4] != "1" || got[5] != "345479400" {
		t.Errorf("the first day of AAPL = %q, want one bar, of 14:30", got)
	}
	if n := g.Stats().OpenHistory; n != 0 {
		t.Errorf("OpenHistory = %d, want 0", n)
	}
}

func TestTheGoLibraryIsToldOfEveryLimitInBothEncodings(t *testing.T) {
	for _, version := range []int{176, 225} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			clock := aMonday()
			g := gateway.Start(t, gateway.Config{ServerVersion: version, HistoryPacing: true, Lines: 2, Now: clock.now, TicksPerSecond: 100, BarEvery: time.Hour})
			c, l := connect(t, g, 7)
			for id := range int64(2) {
				c.ReqHistoricalData(1+id, stock("AAPL"), "", "60 S", "5 secs", "TRADES", true, 2, false, nil)
			}
			l.wait(t, 0, "error 2 162 "+broken)
			l.wait(t, 0, "history end 1 ")
			c.ReqHeadTimeStamp(3, stock("MSFT"), "MIDPOINT", true, 1)
			l.wait(t, 0, "head 3 19860313-14:30:00")
			c.ReqHeadTimeStamp(4, stock("MSFT"), "MIDPOINT", true, 1)
			l.wait(t, 0, "error 4 162 "+broken)
			c.CancelHeadTimeStamp(3)

			c.ReqMktData(10, stock("AAPL"), "", false, false, nil)
			c.ReqRealTimeBars(11, stock("AAPL"), 5, "TRADES", false, nil)
			c.ReqMktData(12, stock("MSFT"), "", false, false, nil)
			l.wait(t, 0, "error 12 101 Max number of tickers has been reached")
			for i, symbol := range []string{"AAPL", "MSFT", "SPY"} {
				c.ReqTickByTickData(int64(20+i), stock(symbol), "Last", 0, false)
				l.wait(t, 0, fmt.Sprintf("by tick %d ", 20+i))
			}
			es := stock("")
			es.ConID, es.Symbol, es.SecType, es.Exchange = 900202612, "ES", "FUT", "CME"
			c.ReqTickByTickData(23, es, "Last", 0, false)
			l.wait(t, 0, "error 23 10190 Max number of tick-by-tick requests has been reached.")
			g.Compete(true)
			for _, id := range []int{10, 11, 20, 21, 22} {
				l.wait(t, 0, fmt.Sprintf("error %d 10197 No market data during competing live session", id))
			}
			wantBroken(t, g, map[gateway.PacingRule]int{gateway.IdenticalWithin15s: 2})
		})
	}
}

func TestContractsHaveTheirHoursInBothEncodings(t *testing.T) {
	for _, version := range []int{176, 225} {
		for _, closes := range []bool{false, true} {
			t.Run(fmt.Sprint(version, closes), func(t *testing.T) {
				clock := aMonday()
				clock.move(9 * time.Hour) // 02:00 UTC on Tuesday, still Monday in New York
				g := gateway.Start(t, gateway.Config{ServerVersion: version, Hours: closes, Now: clock.now})
				c, l := connect(t, g, 7)
				c.ReqContractDetails(1, stock("AAPL"))
				line, _ := l.wait(t, 0, "hours 1 ")
				want := "hours 1 US/Eastern 20261123:0000-20261124:0000;20261124:0000-20261125:0000 20261123:0000-20261124:0000;20261124:0000-20261125:0000"
				if closes {
					days := func(from, to string) string {
						var all []string
						for _, day := range []string{"23", "24", "25", "26", "27"} {
							all = append(all, "202611"+day+":"+from+"-202611"+day+":"+to)
						}
						return strings.Join(append(all, "20261128:CLOSED"), ";")
					}
					want = "hours 1 US/Eastern " + days("0400", "2000") + " " + days("0930", "1600")
				}
				wantAnswer(t, "a request for the hours", line, want)
			})
		}
	}
}
