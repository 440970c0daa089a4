package gateway_test

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/scmhub/ibapi"

	"ibconn/testenv/gateway"
)

// listener is a client of the real library that notes what it is told, one line each.
type listener struct {
	ibapi.Wrapper
	mu    sync.Mutex
	lines []string
	more  chan struct{}
}

func (l *listener) note(format string, args ...any) {
	l.mu.Lock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
	l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// wait returns the first line after from that begins with prefix, and where to go on from.
func (l *listener) wait(t *testing.T, from int, prefix string) (line string, next int) {
	t.Helper()
	deadline := time.After(patience)
	for {
		l.mu.Lock()
		for i := from; i < len(l.lines); i++ {
			if strings.HasPrefix(l.lines[i], prefix) {
				defer l.mu.Unlock()
				return l.lines[i], i + 1
			}
		}
		l.mu.Unlock()
		select {
		case <-l.more:
		case <-deadline:
			l.mu.Lock()
			defer l.mu.Unlock()
			t.Fatalf("no %q among %d lines, the last of which are:\n%s", prefix, len(l.lines), strings.Join(l.lines[max(0, len(l.lines)-40):], "\n"))
		}
	}
}

func (l *listener) count(prefix string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, line := range l.lines {
		if strings.HasPrefix(line, prefix) {
			n++
		}
	}
	return n
}

func (l *listener) ConnectionClosed()    { l.note("closed") }
func (l *listener) ConnectAck()          {}
func (l *listener) NextValidID(id int64) { l.note("next id %d", id) }
func (l *listener) ManagedAccounts(accounts []string) {
	l.note("accounts %s", strings.Join(accounts, " "))
}
func (l *listener) CurrentTime(t int64)         { l.note("time %d", t) }
func (l *listener) CurrentTimeInMillis(t int64) { l.note("millis %d", t) }
func (l *listener) Error(id, _, code int64, text, _ string) {
	l.note("error %d %d %s", id, code, text)
}

func (l *listener) TickPrice(id int64, kind ibapi.TickType, price float64, _ ibapi.TickAttrib) {
	l.note("tick %d price %d %v", id, kind, price)
}

func (l *listener) TickSize(id int64, kind ibapi.TickType, size ibapi.Decimal) {
	l.note("tick %d size %d %s", id, kind, size.String())
}

func (l *listener) TickString(id int64, kind ibapi.TickType, value string) {
	l.note("tick %d string %d %s", id, kind, value)
}

func (l *listener) TickGeneric(id int64, kind ibapi.TickType, value float64) {
	l.note("tick %d generic %d %v", id, kind, value)
}
func (l *listener) MarketDataType(id, kind int64) { l.note("data type %d %d", id, kind) }
func (l *listener) TickReqParams(id int64, minTick float64, _ string, _ int64) {
	l.note("params %d %v", id, minTick)
}
func (l *listener) TickSnapshotEnd(id int64) { l.note("snapshot end %d", id) }
func (l *listener) TickByTickAllLast(id, kind, _ int64, price float64, _ ibapi.Decimal, _ ibapi.TickAttribLast, exchange, _ string) {
	l.note("by tick %d last %d %v %s", id, kind, price, exchange)
}

func (l *listener) TickByTickBidAsk(id, _ int64, bid, ask float64, _, _ ibapi.Decimal, _ ibapi.TickAttribBidAsk) {
	l.note("by tick %d quote %v", id, bid < ask)
}

func (l *listener) TickByTickMidPoint(id, _ int64, mid float64) { l.note("by tick %d mid %v", id, mid) }

func (l *listener) RealtimeBar(id, at int64, open, high, low, close float64, volume, wap ibapi.Decimal, count int64) {
	l.note("bar %d %d %v %v %v %v %s %s %d", id, at, open, high, low, close, volume.String(), wap.String(), count)
}

func (l *listener) bar(kind string, id int64, b *ibapi.Bar) {
	l.note("%s %d %s %v %v %v %v %s %s %d", kind, id, b.Date, b.Open, b.High, b.Low, b.Close, b.Volume.String(), b.Wap.String(), b.BarCount)
}
func (l *listener) HistoricalData(id int64, b *ibapi.Bar)       { l.bar("history", id, b) }
func (l *listener) HistoricalDataUpdate(id int64, b *ibapi.Bar) { l.bar("update", id, b) }
func (l *listener) HistoricalDataEnd(id int64, start, end string) {
	l.note("history end %d %s - %s", id, start, end)
}

func (l *listener) HeadTimestamp(id int64, at string) { l.note("head %d %s", id, at) }

func (l *listener) ContractDetails(id int64, d *ibapi.ContractDetails) {
	l.note("hours %d %s %s %s", id, d.TimeZoneID, d.TradingHours, d.LiquidHours)
	l.note("contract %d %d %s %s %s %v", id, d.Contract.ConID, d.Contract.LocalSymbol, d.Contract.SecType, d.ValidExchanges, d.MinTick)
}
func (l *listener) ContractDetailsEnd(id int64) { l.note("contract end %d", id) }
func (l *listener) SymbolSamples(id int64, found []ibapi.ContractDescription) {
	for _, d := range found {
		l.note("symbol %d %s %s %v", id, d.Contract.Symbol, d.Contract.SecType, d.DerivativeSecTypes)
	}
}
func (l *listener) PositionEnd()                   { l.note("position end") }
func (l *listener) OpenOrderEnd()                  { l.note("open order end") }
func (l *listener) CompletedOrdersEnd()            { l.note("completed orders end") }
func (l *listener) AccountDownloadEnd(a string)    { l.note("account end %s", a) }
func (l *listener) AccountUpdateMultiEnd(id int64) { l.note("account multi end %d", id) }
func (l *listener) ExecDetailsEnd(id int64)        { l.note("execution end %d", id) }

// connect opens a session with the real library. It is never told to disconnect, which can crash the process:
// sessions end with a FIN of the gateway.
func connect(t *testing.T, g *gateway.Gateway, client int64) (*ibapi.EClient, *listener) {
	t.Helper()
	l := &listener{more: make(chan struct{}, 1)}
	c := ibapi.NewEClient(l)
	host, port, err := net.SplitHostPort(g.Addr())
	if err != nil {
		t.Fatal(err)
	}
	n, _ := strconv.Atoi(port)
	if err := c.Connect(host, n, client); err != nil {
		t.Fatalf("Connect: %v", err)
	}
	_, at := l.wait(t, 0, "accounts")
	l.wait(t, at, "next id")
	return c, l
}

func init() { ibapi.SetLogger(zerolog.Nop()) }

func stock(symbol string) *ibapi.Contract {
	c := ibapi.NewContract()
	c.Symbol, c.SecType, c.Exchange, c.Currency = symbol, "STK", "SMART", "USD"
	return c
}

func TestTheGoLibraryGetsAnswersInBothEncodings(t *testing.T) {
	for _, version := range []int{176, 213, 225} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			at := time.Date(2026, 3, 4, 15, 30, 0, 0, time.UTC)
			g := gateway.Start(t, gateway.Config{
				ServerVersion: version, Accounts: []string{"DU1", "DU2"}, FirstOrderID: 42,
				TicksPerSecond: 500, BarEvery: 5 * time.Millisecond, Now: func() time.Time { return at },
			})
			c, l := connect(t, g, 7)
			if got := c.ServerVersion(); got != version {
				t.Errorf("ServerVersion() = %d, want %d", got, version)
			}
			askEverything(t, c, l, version)
			if got := g.FIN(7); got != 1 {
				t.Errorf("FIN(7) = %d, want 1", got)
			}
			l.wait(t, 0, "closed")
			if got := g.Orders(); got != 1 {
				t.Errorf("Orders() = %d, want 1", got)
			}
		})
	}
}

func askEverything(t *testing.T, c *ibapi.EClient, l *listener, version int) {
	t.Helper()
	want := func(line string) {
		t.Helper()
		l.wait(t, 0, line)
	}
	want("accounts DU1 DU2")
	want("next id 42")
	want("error -1 2104 Market data farm connection is OK:usfarm")
	want("error -1 2106 HMDS data farm connection is OK:ushmds")
	want("error -1 2158 Sec-def data farm connection is OK:secdefil")

	c.ReqCurrentTime()
	want("time 1772638200")
	if version >= 213 {
		c.ReqCurrentTimeInMillis()
		want("millis 1772638200000")
	}
	c.ReqIDs(1)
	l.wait(t, 6, "next id 42")
	c.ReqManagedAccts()
	l.wait(t, 6, "accounts DU1 DU2")

	c.ReqMktData(1, stock("AAPL"), "233", false, false, nil)
	want("params 1 0.01")
	want("data type 1 1")
	for _, tick := range []string{"price 1 ", "price 2 ", "price 4 ", "size 0 ", "size 3 ", "size 5 ", "size 8 ", "string 45 1772638200", "generic 49 0", "string 48 "} {
		want("tick 1 " + tick)
	}
	c.ReqMktData(1, stock("MSFT"), "", false, false, nil)
	want("error 1 322 Error processing request.-'bI' : cause - Duplicate ticker id")
	c.CancelMktData(1)
	c.CancelMktData(99)
	want("error 99 300 Can't find EId with tickerId:99")
	c.ReqMarketDataType(3)
	c.ReqMktData(2, stock("MSFT"), "", true, false, nil)
	want("data type 2 3")
	want("tick 2 price 66 ")
	want("snapshot end 2")

	for i, kind := range []string{"Last", "AllLast", "BidAsk", "MidPoint"} {
		c.ReqTickByTickData(int64(20+i), stock("SPY"), kind, 0, false)
	}
	for _, tick := range []string{"20 last 1 ", "21 last 2 ", "22 quote true", "23 mid "} {
		want("by tick " + tick)
	}
	c.CancelTickByTickData(20)

	// A realtime bar equals the bar of history at the same time.
	c.ReqRealTimeBars(3, stock("AAPL"), 5, "TRADES", true, nil)
	live, _ := l.wait(t, 0, "bar 3 1772638215 ")
	c.CancelRealTimeBars(3)
	c.ReqHistoricalData(4, stock("AAPL"), "20260304-15:31:00", "60 S", "5 secs", "TRADES", true, 2, false, nil)
	past, _ := l.wait(t, 0, "history 4 1772638215 ")
	if got, want := strings.TrimPrefix(past, "history 4"), strings.TrimPrefix(live, "bar 3"); got != want {
		t.Errorf("bar of history =%s, want the realtime bar%s", got, want)
	}
	want("history end 4 20260304 15:30:00 UTC - 20260304 15:31:00 UTC")
	if got := l.count("history 4 "); got != 12 {
		t.Errorf("60 S of 5 secs gave %d bars, want 12", got)
	}
	c.ReqHistoricalData(5, stock("AAPL"), "", "1 D", "1 day", "MIDPOINT", true, 1, false, nil)
	want("history 5 20260304 ")
	c.ReqHistoricalData(6, stock("AAPL"), "", "120 S", "1 min", "TRADES", true, 1, true, nil)
	want("history 6 20260304 15:29:00 UTC ")
	want("update 6 20260304 15:30:00 UTC ")
	c.CancelHistoricalData(6)
	want("error 6 162 Historical Market Data Service error message:API historical data query cancelled: 6")
	c.CancelHistoricalData(6)
	want("error 6 366 No historical data query found for ticker id:6")

	c.ReqContractDetails(7, stock("AAPL"))
	want("contract 7 265598 AAPL STK SMART,")
	want("contract end 7")
	es := ibapi.NewContract()
	es.Symbol, es.SecType, es.Exchange = "ES", "FUT", "CME"
	c.ReqContractDetails(8, es)
	want("contract 8 900202603 ESH6 FUT CME,QBALGO 0.25")
	want("contract 8 900202606 ESM6 FUT CME,QBALGO 0.25")
	c.ReqMktData(9, es, "", false, false, nil)
	want("error 9 200 The contract description specified for ES is ambiguous.")
	c.ReqContractDetails(10, stock("NOPE"))
	want("error 10 200 No security definition has been found for the request")
	c.ReqMatchingSymbols(11, "microsoft")
	want("symbol 11 MSFT STK [CFD OPT WAR]")

	c.ReqPositions()
	want("position end")
	c.ReqOpenOrders()
	want("open order end")
	c.ReqCompletedOrders(true)
	want("completed orders end")
	c.ReqAccountUpdates(true, "")
	want("account end DU1")
	c.ReqAccountUpdatesMulti(12, "DU1", "", true)
	want("account multi end 12")
	c.ReqExecutions(13, ibapi.NewExecutionFilter())
	want("execution end 13")

	c.ReqHeadTimeStamp(14, stock("AAPL"), "TRADES", true, 1)
	want("head 14 19801212-14:30:00")
	c.ReqHeadTimeStamp(14, stock("MSFT"), "TRADES", true, 1)
	want("error 14 322 Error processing request.-'bI' : cause - Duplicate ticker id")
	c.CancelHeadTimeStamp(14)
	c.ReqHeadTimeStamp(14, stock("SPY"), "BID", true, 2)
	want("head 14 728317800")
	c.CancelHeadTimeStamp(14)
	c.CancelHeadTimeStamp(14)
	want("error 14 300 Can't find EId with tickerId:14")
	c.ReqPnL(15, "DU1", "")
	want("error 15 321 Error validating request.-'bX' : cause - The simulated gateway does not answer reqPnL.")
	order := ibapi.LimitOrder("BUY", ibapi.StringToDecimal("1"), 1)
	c.PlaceOrder(42, stock("AAPL"), order)
	want("error 42 321 Error validating request.-'bS' : cause - The API interface is currently in Read-Only mode.")
}
