package tws

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"ibconn/connector"
	"ibconn/events"

	"github.com/scmhub/ibapi"
	"github.com/scmhub/ibapi/protobuf"
)

// subscribe asks for what f says under an id.
func subscribe(client *ibapi.EClient, id int64, f events.Feed) {
	contract := contractOf(f.Contract)
	switch f.Kind {
	case events.SubscribeQuotes:
		client.ReqMktData(id, contract, f.GenericTicks, false, false, nil)
	case events.SubscribeTrades:
		client.ReqTickByTickData(id, contract, f.What, 0, false)
	case events.SubscribeBars:
		client.ReqRealTimeBars(id, contract, int(events.RealTimeBar/time.Second), f.What, f.RTH, nil)
	case events.SubscribeHistoryBars:
		client.ReqHistoricalData(id, contract, "", f.Duration, f.BarSize, f.What, f.RTH, formatSeconds, true, nil)
	}
}

// unsubscribe ends what was asked for under an id.
func unsubscribe(client *ibapi.EClient, id int64, kind events.SubscriptionKind) {
	switch kind {
	case events.SubscribeQuotes:
		client.CancelMktData(id)
	case events.SubscribeTrades:
		client.CancelTickByTickData(id)
	case events.SubscribeBars:
		client.CancelRealTimeBars(id)
	case events.SubscribeHistoryBars:
		client.CancelHistoricalData(id)
	}
}

// dataTypeNumber returns IB's number of a type of market data.
func dataTypeNumber(name string) int64 {
	return int64(slices.Index(events.MarketDataTypes, name)) + 1
}

func dataTypeName(number int64) string {
	if number >= 1 && number <= int64(len(events.MarketDataTypes)) {
		return events.MarketDataTypes[number-1]
	}
	return strconv.FormatInt(number, 10)
}

const (
	// maxValue is how many bytes the text of a tick may have. IB's are a hundred.
	maxValue = 1024
	// noTick is the number of what is told like a tick and has none of IB's.
	noTick = -1
	// noPrice is what IB sends as the price of a quote that is not there, with
	// a size of 0 (https://interactivebrokers.github.io/tws-api/tick_types.html).
	// With another size it is a price, such as a spread has.
	noPrice = -1
)

// priced is a price that comes with a size: the library parts them, and brings
// the size next.
type priced struct {
	id    int64
	field ibapi.TickType // of the price
	size  ibapi.TickType // of the size
	price float64
	flags []string
}

// sizeOf returns the type of the size that the library brings behind a price.
func sizeOf(price ibapi.TickType) (size ibapi.TickType, ok bool) {
	switch price {
	case ibapi.BID:
		return ibapi.BID_SIZE, true
	case ibapi.ASK:
		return ibapi.ASK_SIZE, true
	case ibapi.LAST:
		return ibapi.LAST_SIZE, true
	case ibapi.DELAYED_BID:
		return ibapi.DELAYED_BID_SIZE, true
	case ibapi.DELAYED_ASK:
		return ibapi.DELAYED_ASK_SIZE, true
	case ibapi.DELAYED_LAST:
		return ibapi.DELAYED_LAST_SIZE, true
	}
	return 0, false
}

// heard dates what is delivered to st next, and counts it as data.
func (c *callbacks) heard(st *stream) events.Arrival {
	a := c.told(st)
	c.arrived(st, a.At)
	return a
}

// told dates what is delivered to st next and is no data by itself.
func (c *callbacks) told(st *stream) events.Arrival {
	st.n++
	return events.Arrival{At: c.now().UTC(), N: st.n}
}

func (c *callbacks) arrived(st *stream, at time.Time) {
	if st.hear(at) {
		c.news.put(connector.Arrived{Attempt: c.attempt, ID: st.id, At: at})
	}
}

// tick delivers one value of a quote.
func (c *callbacks) tick(st *stream, field ibapi.TickType, t *events.Tick) {
	t.Arrival, t.Field, t.Type = c.heard(st), tickName(field), field
	c.deliver(st.name, t)
}

// TickPrice brings a price. One that has a size waits for it.
func (c *callbacks) TickPrice(id int64, field ibapi.TickType, v float64, attrib ibapi.TickAttrib) {
	flags := tickFlags[index(attrib.CanAutoExecute, attrib.PastLimit, attrib.PreOpen)]
	if size, ok := sizeOf(field); ok {
		c.price = priced{id, field, size, v, flags}
		return
	}
	st := c.streams.enter(id)
	if st == nil {
		return
	}
	defer st.leave()
	c.tick(st, field, &events.Tick{Price: price(v), Flags: flags})
}

// TickSize brings a size, by itself or behind its price.
func (c *callbacks) TickSize(id int64, field ibapi.TickType, v ibapi.Decimal) {
	p := c.price
	c.price = priced{}
	st := c.streams.enter(id)
	if st == nil {
		return
	}
	defer st.leave()
	t := &events.Tick{Size: amount(v)}
	if p.field != 0 && p.id == id && p.size == field {
		field, t.Flags = p.field, p.flags
		if !absent(p.price, v) {
			t.Price = price(p.price)
		}
	}
	c.tick(st, field, t)
}

// words cuts a text, and makes it one that JSON can hold.
func words(s string, most int) string { return cut(strings.ToValidUTF8(s, "\ufffd"), most) }

// absent says whether a quote of that price and size is one that is not there.
func absent(price float64, size ibapi.Decimal) bool {
	return price == noPrice && (size == ibapi.ZERO || size == ibapi.UNSET_DECIMAL)
}

// TickString brings a text.
func (c *callbacks) TickString(id int64, field ibapi.TickType, value string) {
	st := c.streams.enter(id)
	if st == nil {
		return
	}
	defer st.leave()
	c.tick(st, field, &events.Tick{Value: words(value, maxValue)})
}

// TickGeneric brings a number that is neither a price nor a size.
func (c *callbacks) TickGeneric(id int64, field ibapi.TickType, v float64) {
	st := c.streams.enter(id)
	if st == nil {
		return
	}
	defer st.leave()
	c.tick(st, field, &events.Tick{Value: price(v)})
}

// TickOptionComputation brings what IB computes for an option.
func (c *callbacks) TickOptionComputation(id int64, field ibapi.TickType, attrib int64, volatility, delta, option, dividend, gamma, vega, theta, underlying float64) {
	st := c.streams.enter(id)
	if st == nil {
		return
	}
	defer st.leave()
	if volatility < 0 { // not computed; the library says so of all of them in one encoding only
		volatility = ibapi.UNSET_FLOAT
	}
	t := &events.Tick{Model: &events.Greeks{
		ImpliedVolatility: price(volatility), Delta: price(delta), OptionPrice: price(option), PVDividend: price(dividend),
		Gamma: price(gamma), Vega: price(vega), Theta: price(theta), UnderlyingPrice: price(underlying),
	}}
	if attrib == 1 {
		t.Flags = priceBased
	}
	c.tick(st, field, t)
}

// MarketDataType says of what type the ticks of a quote are.
func (c *callbacks) MarketDataType(id, number int64) {
	st := c.streams.enter(id)
	if st == nil {
		return
	}
	defer st.leave()
	c.deliver(st.name, &events.Tick{Arrival: c.told(st), Field: "market_data_type", Type: noTick, Value: dataTypeName(number)})
}

// TickByTickAllLast brings a trade.
func (c *callbacks) TickByTickAllLast(id, _, at int64, v float64, size ibapi.Decimal, attrib ibapi.TickAttribLast, exchange, conditions string) {
	st := c.streams.enter(id)
	if st == nil {
		return
	}
	defer st.leave()
	c.deliver(st.name, &events.Trade{
		Arrival: c.heard(st), Time: time.Unix(at, 0).UTC(), Price: price(v), Size: amount(size), Exchange: words(exchange, maxName), Conditions: words(conditions, maxName),
		Flags: tradeFlags[index(attrib.PastLimit, attrib.Unreported)],
	})
}

// TickByTickBidAsk brings the best bid and ask.
func (c *callbacks) TickByTickBidAsk(id, at int64, bid, ask float64, bidSize, askSize ibapi.Decimal, attrib ibapi.TickAttribBidAsk) {
	st := c.streams.enter(id)
	if st == nil {
		return
	}
	defer st.leave()
	b := &events.BidAsk{
		Arrival: c.heard(st), Time: time.Unix(at, 0).UTC(), BidSize: amount(bidSize), AskSize: amount(askSize),
		Flags: quoteFlags[index(attrib.BidPastLow, attrib.AskPastHigh)],
	}
	if !absent(bid, bidSize) {
		b.Bid = price(bid)
	}
	if !absent(ask, askSize) {
		b.Ask = price(ask)
	}
	c.deliver(st.name, b)
}

// TickByTickMidPoint brings a midpoint.
func (c *callbacks) TickByTickMidPoint(id, at int64, v float64) {
	st := c.streams.enter(id)
	if st == nil {
		return
	}
	defer st.leave()
	c.deliver(st.name, &events.Midpoint{Arrival: c.heard(st), Time: time.Unix(at, 0).UTC(), Price: price(v)})
}

// RealtimeBar brings a bar of five seconds.
func (c *callbacks) RealtimeBar(id, at int64, open, high, low, close float64, volume, wap ibapi.Decimal, count int64) {
	st := c.streams.enter(id)
	if st == nil {
		return
	}
	defer st.leave()
	c.bring(st, false, barOf(&ibapi.Bar{
		Date: strconv.FormatInt(at, 10), Open: open, High: high, Low: low, Close: close, Volume: volume, Wap: wap, BarCount: count,
	}))
}

// HistoricalData brings one bar of the past: of a query, or of a subscription
// that begins.
func (c *callbacks) HistoricalData(id int64, b *ibapi.Bar) {
	st := c.streams.enter(id)
	if st == nil {
		c.bars.add(id, func() events.Bar { return barOf(b) })
		return
	}
	defer st.leave()
	st.keep(barOf(b))
}

// HistoricalDataEnd says that all of them came.
func (c *callbacks) HistoricalDataEnd(id int64, _, _ string) {
	st := c.streams.enter(id)
	if st == nil {
		brought, total := c.bars.take(id)
		c.news.put(connector.Brought{Attempt: c.attempt, ID: id, Bars: brought, Total: total})
		return
	}
	defer st.leave()
	if bars := st.takePast(); len(bars) > 0 {
		c.bring(st, true, bars...)
	}
}

// HistoricalDataUpdate brings the bar that is being made.
func (c *callbacks) HistoricalDataUpdate(id int64, b *ibapi.Bar) {
	st := c.streams.enter(id)
	if st == nil {
		return
	}
	defer st.leave()
	c.bring(st, false, barOf(b))
}

func (c *callbacks) bring(st *stream, past bool, bars ...events.Bar) {
	at := c.now().UTC()
	c.arrived(st, at)
	c.news.put(connector.BarsCame{Attempt: c.attempt, ID: st.id, At: at, Bars: bars, Past: past})
}

// Flags as they are delivered, for every combination, the first the lowest bit.
// They are shared, and nobody may change them.
var (
	tickFlags  = combinations("can_auto_execute", "past_limit", "pre_open")
	tradeFlags = combinations("past_limit", "unreported")
	quoteFlags = combinations("bid_past_low", "ask_past_high")
	priceBased = []string{"price_based"}
)

func combinations(flags ...string) [][]string {
	all := make([][]string, 1<<len(flags))
	for i := range all {
		for bit, flag := range flags {
			if i&(1<<bit) != 0 {
				all[i] = append(all[i], flag)
			}
		}
	}
	return all
}

func index(bits ...bool) int {
	i := 0
	for bit, set := range bits {
		if set {
			i |= 1 << bit
		}
	}
	return i
}

// What follows is called before the library decodes a message of protobuf. It
// takes a size that is not there for 0, and as text for none; here it is none
// in both.

var noSize = new("")

// TickPriceProtoBuf makes a size that is not there none.
func (c *callbacks) TickPriceProtoBuf(m *protobuf.TickPrice) { m.Size = given(m.Size) }

// TickSizeProtoBuf does the same.
func (c *callbacks) TickSizeProtoBuf(m *protobuf.TickSize) { m.Size = given(m.Size) }

// TickByTickDataProtoBuf does the same.
func (c *callbacks) TickByTickDataProtoBuf(m *protobuf.TickByTickData) {
	if last := m.GetHistoricalTickLast(); last != nil {
		last.Size = given(last.Size)
	}
	if quote := m.GetHistoricalTickBidAsk(); quote != nil {
		quote.SizeBid, quote.SizeAsk = given(quote.SizeBid), given(quote.SizeAsk)
	}
}

// RealTimeBarTickProtoBuf does the same.
func (c *callbacks) RealTimeBarTickProtoBuf(m *protobuf.RealTimeBarTick) {
	m.Volume, m.WAP = given(m.Volume), given(m.WAP)
}

// HistoricalDataProtoBuf does the same.
func (c *callbacks) HistoricalDataProtoBuf(m *protobuf.HistoricalData) {
	for _, b := range m.GetHistoricalDataBars() {
		b.Volume, b.WAP = given(b.Volume), given(b.WAP)
	}
}

// HistoricalDataUpdateProtoBuf does the same.
func (c *callbacks) HistoricalDataUpdateProtoBuf(m *protobuf.HistoricalDataUpdate) {
	if b := m.GetHistoricalDataBar(); b != nil {
		b.Volume, b.WAP = given(b.Volume), given(b.WAP)
	}
}

func given(size *string) *string {
	if size == nil {
		return noSize
	}
	return size
}
