package tws

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ibconn/connector"
	"ibconn/events"
	"ibconn/testenv/gateway"

	"github.com/scmhub/ibapi"
	"github.com/scmhub/ibapi/protobuf"
	"google.golang.org/protobuf/proto"
)

// taker takes what subscriptions bring.
type taker struct {
	mu  sync.Mutex
	all map[string][]events.Datum
}

func (k *taker) deliver(subscription string, d events.Datum) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.all == nil {
		k.all = make(map[string][]events.Datum)
	}
	k.all[subscription] = append(k.all[subscription], d)
}

func (k *taker) of(subscription string) []events.Datum {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.all[subscription])
}

// wait waits for n of what a subscription brings.
func (k *taker) wait(tb testing.TB, subscription string, n int) []events.Datum {
	tb.Helper()
	eventually(tb, fmt.Sprintf("%s brings %d", subscription, n), func() bool { return len(k.of(subscription)) >= n })
	return k.of(subscription)[:n]
}

// beginTaking runs an attempt that delivers to a taker.
func beginTaking(tb testing.TB, addr string, deliver func(string, events.Datum)) *attempt {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	a := &attempt{tb: tb, cancel: cancel, done: make(chan struct{}), more: make(chan struct{})}
	o := order(addr, 1)
	o.Pace, o.Deliver = connector.Pace{PerSecond: 1000}, deliver
	a.session = new(Dialer).Attempt(o).(*session)
	go func() {
		defer close(a.done)
		a.session.Run(ctx, a.report)
	}()
	tb.Cleanup(a.end)
	return a
}

var (
	apple   = events.Contract{ConID: 265598, Symbol: "AAPL", SecType: "STK", Exchange: "SMART", Currency: "USD"}
	dollars = events.Contract{ConID: 12087792, Symbol: "EUR", SecType: "CASH", Exchange: "IDEALPRO", Currency: "USD"}
)

func subscription(id int64, name string, f events.Feed) connector.Message {
	return connector.Message{ID: id, Priority: connector.PriorityRestore, Request: connector.Subscribe{Name: name, Feed: f, Quiet: time.Minute}}
}

// feeds are subscriptions of every kind.
var feeds = map[string]events.Feed{
	"quotes":      {Kind: events.SubscribeQuotes, Contract: apple, GenericTicks: "233"},
	"fx":          {Kind: events.SubscribeQuotes, Contract: dollars, MarketDataType: "delayed"},
	"trades":      {Kind: events.SubscribeTrades, Contract: apple},
	"all-trades":  {Kind: events.SubscribeTrades, Contract: apple, What: "AllLast"},
	"bid-ask":     {Kind: events.SubscribeTrades, Contract: dollars, What: "BidAsk"},
	"midpoint":    {Kind: events.SubscribeTrades, Contract: dollars, What: "MidPoint"},
	"bars":        {Kind: events.SubscribeBars, Contract: apple},
	"fx-bars":     {Kind: events.SubscribeBars, Contract: dollars, What: "MIDPOINT", RTH: true},
	"minute-bars": {Kind: events.SubscribeHistoryBars, Contract: apple, BarSize: "1 min", Duration: "600 S"},
	"bid-bars":    {Kind: events.SubscribeHistoryBars, Contract: dollars, What: "BID"},
}

// TestSubscriptionsBringTheSameInBothEncodings holds the bytes that go to the bus
// in text against those in protobuf, of every kind of subscription.
func TestSubscriptionsBringTheSameInBothEncodings(t *testing.T) {
	const each = 60
	now := time.Date(2026, 11, 25, 18, 0, 0, 0, time.UTC)
	names := slices.Sorted(maps.Keys(feeds))
	got := make(map[int]map[string][]string)
	for _, version := range []int{176, 213, 225} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			leakFree(t)
			gw := gateway.Start(t, gateway.Config{
				ServerVersion: version, Seed: 7, Now: func() time.Time { return now }, TicksPerSecond: 500, BarEvery: 10 * time.Millisecond,
			})
			var taken taker
			a := beginTaking(t, gw.Addr(), taken.deliver)
			a.opened()
			brought := make(map[string][]string)
			for i, name := range names {
				a.session.Send(subscription(firstID+int64(i), name, feeds[name]))
			}
			for i, name := range names {
				if k := feeds[name].Kind; k == events.SubscribeBars || k == events.SubscribeHistoryBars {
					brought[name] = a.bars(t, firstID+int64(i), each)
					continue
				}
				for n, d := range taken.wait(t, name, each) {
					brought[name] = append(brought[name], wordsOf(t, d, uint64(n+1)))
				}
			}
			got[version] = brought
		})
	}
	if t.Failed() {
		return
	}
	for _, name := range names {
		for _, version := range []int{213, 225} {
			if !slices.Equal(got[version][name], got[176][name]) {
				t.Errorf("%s brings in version %d\n%s\nand in 176\n%s", name, version, strings.Join(got[version][name], "\n"), strings.Join(got[176][name], "\n"))
			}
		}
	}
	for name, wants := range map[string][]string{
		"quotes":   {`{"at":"","n":1,"field":"market_data_type","type":-1,"value":"live"}`, `"field":"bid","type":1,"price":"`, `"field":"rt_volume","type":48,"value":"`},
		"fx":       {`"value":"delayed"}`, `"field":"delayed_bid","type":66,"price":"`},
		"trades":   {`"time":"2026-11-25T18:00:00Z","price":"`, `"exchange":"NASDAQ"`},
		"bid-ask":  {`"bid_size":"`, `"ask":"`},
		"midpoint": {`"time":"2026-11-25T18:00:00Z","price":"1.`},
		"bars":     {`{"time":"2026-11-25T18:00:00Z","open":"`, `"volume":"`},
	} {
		all := strings.Join(got[176][name], "\n")
		for _, want := range wants {
			if !strings.Contains(all, want) {
				t.Errorf("%s brings\n%s\nwant %s in it", name, all, want)
			}
		}
	}
}

// wordsOf returns d as it goes to the bus, but for our time. It must be the n-th.
func wordsOf(t *testing.T, d events.Datum, n uint64) string {
	t.Helper()
	arrival := reflect.ValueOf(d).Elem().FieldByName("Arrival").Interface().(events.Arrival)
	if arrival.N != n || arrival.At.IsZero() || arrival.At.Location() != time.UTC {
		t.Errorf("message %d is %+v, want it dated in UTC and numbered", n, d)
	}
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	at, err := json.Marshal(arrival.At)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(string(b), string(at), `""`, 1)
}

// bars waits for n pieces of news about a subscription's bars, and returns the
// bars a line each, the past ones marked.
func (a *attempt) bars(t *testing.T, id int64, n int) (lines []string) {
	t.Helper()
	pieces := func() (all []connector.BarsCame) {
		for _, in := range a.all() {
			if b, ok := in.(connector.BarsCame); ok && b.ID == id {
				all = append(all, b)
			}
		}
		return all
	}
	eventually(t, "the bars come", func() bool { return len(pieces()) >= n })
	for _, p := range pieces()[:n] {
		for _, bar := range p.Bars {
			b, err := json.Marshal(bar)
			if err != nil {
				t.Fatal(err)
			}
			if p.Past {
				b = append([]byte("past "), b...)
			}
			lines = append(lines, string(b))
		}
	}
	return lines
}

// said is one message of a gateway's, in both encodings; nil in the one in which
// it is not sent.
type said struct {
	text  []byte
	id    uint32 // of the protobuf
	proto proto.Message
}

func (m said) frame(t *testing.T, version int) []byte {
	t.Helper()
	if version < rawIDs {
		return m.text
	}
	if m.proto == nil {
		return nil
	}
	body, err := proto.Marshal(m.proto)
	if err != nil {
		t.Fatal(err)
	}
	return frame(append(binary.BigEndian.AppendUint32(nil, m.id), body...))
}

// TestWhatAGatewayLeavesOutIsLeftOut has the messages that the simulated gateway
// does not send.
func TestWhatAGatewayLeavesOutIsLeftOut(t *testing.T) {
	const id = 7
	req, at := new(int32(id)), int64(1795629600)
	all := []said{
		{text(1, 6, id, 1, -1, 0, 0), 201, &protobuf.TickPrice{ReqId: req, TickType: new(int32(1)), Price: new(-1.0), Size: new("0"), AttrMask: new(int32(0))}},
		{text(1, 6, id, 2, -1, 3, 7), 201, &protobuf.TickPrice{ReqId: req, TickType: new(int32(2)), Price: new(-1.0), Size: new("3"), AttrMask: new(int32(7))}},
		{text(1, 6, id, 4, 0.1, "", 2), 201, &protobuf.TickPrice{ReqId: req, TickType: new(int32(4)), Price: new(0.1), AttrMask: new(int32(2))}},
		{text(1, 6, id, 9, -1, "", 0), 201, &protobuf.TickPrice{ReqId: req, TickType: new(int32(9)), Price: new(-1.0)}},
		{text(2, 6, id, 0, ""), 202, &protobuf.TickSize{ReqId: req, TickType: new(int32(0))}},
		{text(2, 6, id, 8, "0.0000001"), 202, &protobuf.TickSize{ReqId: req, TickType: new(int32(8)), Size: new("0.0000001")}},
		{text(45, 6, id, 49, 0), 245, &protobuf.TickGeneric{ReqId: req, TickType: new(int32(49)), Value: new(0.0)}},
		{text(46, 6, id, 999, "<new & strange>"), 246, &protobuf.TickString{ReqId: req, TickType: new(int32(999)), Value: new("<new & strange>")}},
		{text(21, id, 13, 1, -2, -2, -1, 0, 0.5, -2, -0.25, 100), 221, &protobuf.TickOptionComputation{
			ReqId: req, TickType: new(int32(13)), TickAttrib: new(int32(1)), ImpliedVol: new(-2.0), Delta: new(-2.0), OptPrice: new(-1.0), PvDividend: new(0.0), Gamma: new(0.5), Vega: new(-2.0), Theta: new(-0.25), UndPrice: new(100.0),
		}},
		{text(58, 1, id, 5), 258, &protobuf.MarketDataType{ReqId: req, MarketDataType: new(int32(5))}},
		{text(81, id, 0.01, "9c0001", 3), 0, nil},
		{text(99, id, 1, at, 12.5, "", 3, "", "T"), 299, &protobuf.TickByTickData{ReqId: req, TickType: new(int32(1)), Tick: &protobuf.TickByTickData_HistoricalTickLast{
			HistoricalTickLast: &protobuf.HistoricalTickLast{Time: &at, Price: new(12.5), SpecialConditions: new("T"), TickAttribLast: &protobuf.TickAttribLast{PastLimit: new(true), Unreported: new(true)}},
		}}},
		{text(99, id, 3, at, -1, 2, 0, "", 1), 299, &protobuf.TickByTickData{ReqId: req, TickType: new(int32(3)), Tick: &protobuf.TickByTickData_HistoricalTickBidAsk{
			HistoricalTickBidAsk: &protobuf.HistoricalTickBidAsk{Time: &at, PriceBid: new(-1.0), PriceAsk: new(2.0), SizeBid: new("0"), TickAttribBidAsk: &protobuf.TickAttribBidAsk{BidPastLow: new(true)}},
		}}},
	}
	want := []string{
		`{"at":"","n":1,"field":"bid","type":1,"size":"0"}`,
		`{"at":"","n":2,"field":"ask","type":2,"price":"-1","size":"3","flags":["can_auto_execute","past_limit","pre_open"]}`,
		`{"at":"","n":3,"field":"last","type":4,"price":"0.1","flags":["past_limit"]}`,
		`{"at":"","n":4,"field":"close","type":9,"price":"-1"}`,
		`{"at":"","n":5,"field":"bid_size","type":0}`,
		`{"at":"","n":6,"field":"volume","type":8,"size":"0.0000001"}`,
		`{"at":"","n":7,"field":"halted","type":49,"value":"0"}`,
		`{"at":"","n":8,"field":"tick_999","type":999,"value":"\u003cnew \u0026 strange\u003e"}`,
		`{"at":"","n":9,"field":"model_option","type":13,"flags":["price_based"],"model":{"pv_dividend":"0","gamma":"0.5","theta":"-0.25","underlying_price":"100"}}`,
		`{"at":"","n":10,"field":"market_data_type","type":-1,"value":"5"}`,
		`{"at":"","n":11,"time":"2026-11-25T18:00:00Z","price":"12.5","conditions":"T","flags":["past_limit","unreported"]}`,
		`{"at":"","n":12,"time":"2026-11-25T18:00:00Z","ask":"2","bid_size":"0","flags":["bid_past_low"]}`,
	}
	for _, version := range []int{176, 225} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			leakFree(t)
			p := newPeer(t)
			var taken taker
			a := beginTaking(t, p.addr(), taken.deliver)
			p.accept()
			p.write(text(version, "time"))
			await(a, anyOf[connector.Greeted])
			eventually(t, "the session has streams", func() bool { return a.session.streams.Load() != nil })
			a.session.streams.Load().add(id, connector.Subscribe{Name: "x"})
			var stream []byte
			for _, m := range all {
				stream = append(stream, m.frame(t, version)...)
			}
			p.write(stream)
			for i, d := range taken.wait(t, "x", len(want)) {
				if got := wordsOf(t, d, uint64(i+1)); got != want[i] {
					t.Errorf("message %d is\n%s\nwant\n%s", i+1, got, want[i])
				}
			}
		})
	}
}

// TestATypeOfMarketDataTakesATurn has reqMarketDataType sent once for each
// change, and never two messages for one turn of the budget.
func TestATypeOfMarketDataTakesATurn(t *testing.T) {
	eachVersion(t, gateway.Config{}, func(t *testing.T, gw *gateway.Gateway) {
		var taken taker
		a := beginTaking(t, gw.Addr(), taken.deliver)
		a.opened()
		// Held back until all of them wait.
		a.session.Slow(1, time.Hour)
		types := []string{"", "live", "delayed", "delayed", "frozen", ""}
		for i, kind := range types {
			a.session.Send(subscription(firstID+int64(i), fmt.Sprint(i), events.Feed{Kind: events.SubscribeQuotes, Contract: apple, MarketDataType: kind}))
		}
		a.session.Slow(0, 0)
		for i, kind := range types {
			if got := a.outcome(firstID + int64(i)); got != connector.OutcomeSent {
				t.Errorf("subscription %d was %s, want sent", i, got)
			}
			first := taken.wait(t, fmt.Sprint(i), 1)[0].(*events.Tick)
			if want := (events.Feed{Kind: events.SubscribeQuotes, MarketDataType: kind}).WithDefaults().MarketDataType; first.Value != want {
				t.Errorf("subscription %d for %q is told %q, want %q", i, kind, first.Value, want)
			}
		}
		if got := gw.Stats().Requests[gateway.ReqMarketDataType]; got != 3 {
			t.Errorf("the type of market data was asked for %d times, want 3", got)
		}
	})
}

func TestNothingIsDeliveredBehindACancel(t *testing.T) {
	eachVersion(t, gateway.Config{TicksPerSecond: 2000}, func(t *testing.T, gw *gateway.Gateway) {
		var taken taker
		a := beginTaking(t, gw.Addr(), taken.deliver)
		a.opened()
		names := []string{"quotes", "trades", "bars", "minute-bars"}
		for i, name := range names {
			a.session.Send(subscription(firstID+int64(i), name, feeds[name]))
		}
		taken.wait(t, "quotes", 100)
		taken.wait(t, "trades", 100)
		await(a, func(b connector.BarsCame) bool { return b.ID == firstID+3 && b.Past })
		for i, name := range names {
			a.session.Send(connector.Message{ID: firstID + 100 + int64(i), Priority: connector.PriorityCancel, Request: connector.Unsubscribe{Of: firstID + int64(i), Feed: feeds[name]}})
			if got := a.outcome(firstID + 100 + int64(i)); got != connector.OutcomeSent {
				t.Errorf("the cancel of %s was %s, want sent", name, got)
			}
			if at := a.session.HeardOf(firstID + int64(i)); !at.IsZero() {
				t.Errorf("%s was heard of at %v after its cancel, want forgotten", name, at)
			}
		}
		quotes, trades := len(taken.of("quotes")), len(taken.of("trades"))
		eventually(t, "the gateway has cancelled all", func() bool {
			s := gw.Stats()
			return s.Lines == 0 && s.TickByTick == 0 && s.OpenHistory == 0
		})
		gw.Error(-1, 1000, "behind all ticks")
		await(a, func(n connector.Noticed) bool { return n.Code == 1000 })
		if q, tr := len(taken.of("quotes")), len(taken.of("trades")); q != quotes || tr != trades {
			t.Errorf("%d quotes and %d trades were delivered behind their cancels, want none", q-quotes, tr-trades)
		}
	})
}

// TestACancelDoesNotOvertakeWhatItCancels has a subscription cancelled that
// waits for its turn.
func TestACancelDoesNotOvertakeWhatItCancels(t *testing.T) {
	leakFree(t)
	gw := gateway.Start(t, gateway.Config{})
	a := beginTaking(t, gw.Addr(), nil)
	a.opened()
	a.session.Slow(1, time.Hour)
	a.session.Send(subscription(1, "quotes", feeds["quotes"]))
	a.session.Send(connector.Message{ID: 2, Priority: connector.PriorityCancel, Request: connector.Unsubscribe{Of: 1, Feed: feeds["quotes"]}})
	if got := a.outcome(2); got != connector.OutcomeExpired {
		t.Errorf("the cancel was %s, want expired", got)
	}
	a.session.Slow(0, 0)
	if got := a.outcome(1); got != connector.OutcomeExpired {
		t.Errorf("the subscription was %s, want expired", got)
	}
	if s := gw.Stats(); s.Requests[gateway.ReqMktData] != 0 || s.Requests[gateway.CancelMktData] != 0 {
		t.Errorf("the gateway was asked for %v, want neither", s.Requests)
	}
}

// TestAnArrivalIsReportedAtFirstAndAfterASilence drives the callbacks by a clock
// of the test's.
func TestAnArrivalIsReportedAtFirstAndAfterASilence(t *testing.T) {
	c := newCallbacks(3, newQueue(100), new(probes))
	now := time.Date(2026, 11, 25, 18, 0, 0, 0, time.UTC)
	c.now = func() time.Time { return now }
	arrivals := func() (n int) {
		for _, in := range c.news.news {
			if a, ok := in.(connector.Arrived); ok {
				n++
				if a.Attempt != 3 || a.ID != 5 {
					t.Errorf("arrived %+v, want id 5 of attempt 3", a)
				}
			}
		}
		return n
	}
	c.streams.add(5, connector.Subscribe{Name: "x", Quiet: time.Minute})
	c.MarketDataType(5, 1)
	c.TickReqParams(5, 0.01, "", 0)
	c.TickSize(6, ibapi.VOLUME, ibapi.ONE) // nobody's
	if !c.streams.heardOf(5).IsZero() || arrivals() != 0 {
		t.Fatalf("heard at %v and %d arrivals, want none: nothing of it is data", c.streams.heardOf(5), arrivals())
	}
	for _, step := range []struct {
		after time.Duration
		data  func()
		want  int
	}{
		{0, func() { c.TickPrice(5, ibapi.HIGH, 1, ibapi.TickAttrib{}) }, 1},
		{59 * time.Second, func() { c.TickString(5, ibapi.LAST_TIMESTAMP, "1") }, 1},
		{time.Minute, func() { c.RealtimeBar(5, 1, 1, 1, 1, 1, ibapi.ONE, ibapi.ONE, 1) }, 2},
		{time.Minute, func() { c.HistoricalDataUpdate(5, &ibapi.Bar{Date: "1"}) }, 3},
		{time.Minute, func() { c.Error(5, 0, 2137, "a warning", ""); c.TickByTickMidPoint(5, 1, 1) }, 4},
		{time.Minute, func() { c.Error(5, 0, 354, "refused", ""); c.TickByTickMidPoint(5, 1, 1) }, 5},
	} {
		now = now.Add(step.after)
		step.data()
		if got := arrivals(); got != step.want || !c.streams.heardOf(5).Equal(now) {
			t.Errorf("%d arrivals and heard at %v, want %d and %v", got, c.streams.heardOf(5), step.want, now)
		}
	}
}

// TestPastBarsSurviveAWarningAndStayBounded has the last of too many bars kept.
func TestPastBarsSurviveAWarningAndStayBounded(t *testing.T) {
	c := newCallbacks(1, newQueue(100), new(probes))
	c.streams.add(5, connector.Subscribe{Name: "x"})
	const came = 5*connector.MaxBrought + 3
	for i := range came {
		c.HistoricalData(5, &ibapi.Bar{Date: fmt.Sprint(1795629600 + 5*i)})
		if i == came-2 {
			c.Error(5, 0, 2137, "a warning", "")
		}
	}
	if got := cap(c.streams.find(5).past); got > 4*connector.MaxBrought {
		t.Errorf("room for %d bars, want it bounded", got)
	}
	c.HistoricalDataEnd(5, "", "")
	var bars []events.Bar
	for _, in := range c.news.news {
		if b, ok := in.(connector.BarsCame); ok && b.Past {
			bars = b.Bars
		}
	}
	want := time.Unix(1795629600+5*(came-1), 0).UTC().Format(time.RFC3339)
	if len(bars) != connector.MaxBrought || bars[len(bars)-1].Time != want {
		t.Fatalf("%d bars, want %d and the last at %s", len(bars), connector.MaxBrought, want)
	}
	c.HistoricalDataEnd(5, "", "")
	c.HistoricalDataEnd(6, "", "")
	if b, ok := c.news.news[len(c.news.news)-1].(connector.Brought); !ok || b.ID != 6 || len(c.news.news) != 4 {
		t.Errorf("the last news is %+v of %d, want the answer of a query that is no subscription", c.news.news[len(c.news.news)-1], len(c.news.news))
	}
}

func TestStreamsAreBounded(t *testing.T) {
	var s streams
	for id := range int64(maxStreams) {
		s.add(id, connector.Subscribe{Name: fmt.Sprint(id)})
	}
	s.failed(7)
	s.add(9000, connector.Subscribe{Name: "new"})
	s.add(9001, connector.Subscribe{Name: "newer"})
	if s.find(7) != nil || s.find(0) != nil || s.find(1) == nil || len(s.all) != maxStreams {
		t.Errorf("%d streams, want %d: the refused one gave way, then the oldest", len(s.all), maxStreams)
	}
	s.add(9002, connector.Subscribe{Name: "new"})
	if s.find(9000) != nil || s.find(1) == nil || len(s.all) != maxStreams {
		t.Errorf("%d streams, want %d: one of the same name gives way", len(s.all), maxStreams)
	}
}

func TestTicksAreNamedAsIBNamesThem(t *testing.T) {
	for field := ibapi.BID_SIZE; field < ibapi.NOT_SET; field++ {
		if want := strings.ToLower(ibapi.TickName(field)); want != "" && tickName(field) != want {
			t.Errorf("tick %d is called %s, want %s", field, tickName(field), want)
		}
	}
	if len(tickNames) != int(ibapi.NOT_SET) {
		t.Errorf("%d ticks have names, want %d", len(tickNames), ibapi.NOT_SET)
	}
	for field, want := range map[ibapi.TickType]string{47: "fundamental_ratios", 105: "odd_lot_bid", -1: "tick_-1", 111: "tick_111"} {
		if got := tickName(field); got != want {
			t.Errorf("tickName(%d) = %s, want %s", field, got, want)
		}
	}
}

// TestATickCostsLittle counts allocations, which is what the decoder pays in the
// end: the tick, its texts, and nothing for who asked for none.
func TestATickCostsLittle(t *testing.T) {
	c := newCallbacks(1, newQueue(100), new(probes))
	c.streams.add(5, connector.Subscribe{Name: "x"})
	size := ibapi.StringToDecimal("300")
	for name, tt := range map[string]struct {
		tick func()
		most float64
	}{
		"a price and its size": {func() {
			c.TickPrice(5, ibapi.BID, 100.25, ibapi.TickAttrib{PastLimit: true})
			c.TickSize(5, ibapi.BID_SIZE, size)
		}, 4},
		"a size":  {func() { c.TickSize(5, ibapi.VOLUME, size) }, 3},
		"a text":  {func() { c.TickString(5, ibapi.LAST_TIMESTAMP, "1795629600") }, 1},
		"a trade": {func() { c.TickByTickAllLast(5, 1, 1795629600, 100.25, size, ibapi.TickAttribLast{}, "NASDAQ", "") }, 4},
		"nobody's": {func() {
			c.TickPrice(6, ibapi.BID, 100.25, ibapi.TickAttrib{})
			c.TickSize(6, ibapi.BID_SIZE, size)
			c.TickByTickAllLast(6, 1, 1795629600, 100.25, size, ibapi.TickAttribLast{}, "NASDAQ", "")
		}, 0},
	} {
		got := testing.AllocsPerRun(100, tt.tick)
		t.Logf("%s: %v allocations", name, got)
		if got > tt.most {
			t.Errorf("%s costs %v allocations, want at most %v", name, got, tt.most)
		}
	}
}

// FuzzWhatIsDeliveredIsJSON has whatever a gateway may send in a tick make a
// message that is valid, of bounded size, and read back as it was.
func FuzzWhatIsDeliveredIsJSON(f *testing.F) {
	f.Add(int64(1), 100.25, "300", "1795629600", int64(0))
	f.Add(int64(-5), math.Inf(-1), "99999999999999", "\xff\x00<", int64(-1))
	f.Add(int64(999), -1.0, "", strings.Repeat("é", 3000), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, field int64, v float64, size, value string, at int64) {
		c := newCallbacks(1, newQueue(100), new(probes))
		var all []events.Datum
		c.deliver = func(_ string, d events.Datum) { all = append(all, d) }
		c.streams.add(5, connector.Subscribe{Name: "x"})
		amount := ibapi.StringToDecimal(size)
		at %= 1 << 37 // some 4000 years
		c.TickPrice(5, field, v, ibapi.TickAttrib{PastLimit: true})
		c.TickSize(5, field, amount)
		c.TickString(5, field, value)
		c.TickGeneric(5, field, v)
		c.TickOptionComputation(5, field, at, v, v, v, v, v, v, v, v)
		c.MarketDataType(5, field)
		c.TickByTickAllLast(5, field, at, v, amount, ibapi.TickAttribLast{}, value, value)
		c.TickByTickBidAsk(5, at, v, v, amount, amount, ibapi.TickAttribBidAsk{BidPastLow: true})
		c.TickByTickMidPoint(5, at, v)
		if len(all) < 8 {
			t.Fatalf("%d messages were delivered, want one for each but a price that waits for its size", len(all))
		}
		for i, d := range all {
			b, err := json.Marshal(d)
			if err != nil || len(b) > 16<<10 {
				t.Fatalf("%+v is %d bytes of JSON, %v", d, len(b), err)
			}
			back := reflect.New(reflect.TypeOf(d).Elem()).Interface()
			if err := json.Unmarshal(b, back); err != nil {
				t.Fatalf("%s is not read back: %v", b, err)
			}
			if again, err := json.Marshal(back); err != nil || string(again) != string(b) {
				t.Errorf("message %d, %s, is read back as %s, %v", i, b, again, err)
			}
		}
	})
}
