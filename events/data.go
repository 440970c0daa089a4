package events

import "time"

// DataType is what a message on ib.data is: the third token of its subject,
// ib.data.<connection>.<type>.<subscription>.
type DataType string

// The types. [Schema] has one for each, under "ib.data.<type>"; a partial bar has
// that of a bar.
const (
	DataTick     DataType = "tick"     // one value of a quote changed: [Tick]
	DataTrade    DataType = "trade"    // one trade: [Trade]
	DataBidAsk   DataType = "bidask"   // one best bid and ask: [BidAsk]
	DataMidpoint DataType = "midpoint" // one midpoint: [Midpoint]
	DataBar      DataType = "bar"      // one bar that is finished: [BarData]; also kept in the stream IB_DATA
	DataPartial  DataType = "partial"  // the same of a bar that is not: marked provisional, and sent again and again
)

// DataTypes lists every type.
var DataTypes = []DataType{DataTick, DataTrade, DataBidAsk, DataMidpoint, DataBar, DataPartial}

const (
	// DataStream is the JetStream stream that holds bars.
	DataStream = "IB_DATA"
	// DataSubjects is all that subscriptions bring.
	DataSubjects = "ib.data.>"
	// HeaderSeries holds which series a stored bar is of: it tells subscriptions
	// apart that have the same name one after the other.
	HeaderSeries = "Ib-Series"
	// HeaderNewest holds when the newest bar begins that was stored of the series
	// so far, this one included.
	HeaderNewest = "Ib-Newest"
)

// DataSubject is the subject of a subscription's data of a type. Each may be
// "*".
func DataSubject(c ConnectionID, t DataType, subscription string) string {
	return "ib.data." + string(c) + "." + string(t) + "." + subscription
}

// Datum is one message on ib.data. Prices and sizes in it are decimal numbers as
// text, with the digits that the gateway sent, and absent where it sent none.
//
//sumtype:decl
type Datum interface {
	// DataType returns the message's type.
	DataType() DataType
	isDatum()
}

func (*Tick) isDatum()     {}
func (*Trade) isDatum()    {}
func (*BidAsk) isDatum()   {}
func (*Midpoint) isDatum() {}
func (*BarData) isDatum()  {}

// Arrival is what every datum has.
type Arrival struct {
	At time.Time `json:"at"` // when it came from the gateway, by our clock
	// N counts what the subscription delivered since it was placed, from 1: a
	// subscriber that misses one has missed a message.
	N uint64 `json:"n"`
}

// Tick is one value of a quote, as reqMktData delivers it. IB sends no time with
// it. A bid, ask or last without a price, with a size of 0 or none, says that
// there is none now; IB sends that as a price of -1.
type Tick struct {
	Arrival
	Field string   `json:"field"`           // IB's name of it in lower case: bid, ask_size, last_timestamp, ...; or market_data_type
	Type  int64    `json:"type"`            // IB's number of it; -1 of market_data_type
	Price string   `json:"price,omitempty"` // of a price
	Size  string   `json:"size,omitempty"`  // of a size, or with a price
	Value string   `json:"value,omitempty"` // of anything else, as IB words it
	Flags []string `json:"flags,omitempty"` // can_auto_execute, past_limit, pre_open; price_based of a model
	Model *Greeks  `json:"model,omitempty"` // of an option's computation
}

// Greeks is what IB computes for an option.
type Greeks struct {
	ImpliedVolatility string `json:"implied_volatility,omitempty"`
	Delta             string `json:"delta,omitempty"`
	OptionPrice       string `json:"option_price,omitempty"`
	PVDividend        string `json:"pv_dividend,omitempty"`
	Gamma             string `json:"gamma,omitempty"`
	Vega              string `json:"vega,omitempty"`
	Theta             string `json:"theta,omitempty"`
	UnderlyingPrice   string `json:"underlying_price,omitempty"`
}

// Trade is one trade, as reqTickByTickData delivers it for Last and AllLast.
type Trade struct {
	Arrival
	Time       time.Time `json:"time"` // IB's, in whole seconds
	Price      string    `json:"price,omitempty"`
	Size       string    `json:"size,omitempty"`
	Exchange   string    `json:"exchange,omitempty"`
	Conditions string    `json:"conditions,omitempty"` // as IB words them
	Flags      []string  `json:"flags,omitempty"`      // past_limit, unreported
}

// BidAsk is one best bid and ask, as reqTickByTickData delivers it. One that is
// not there has no price, as with a [Tick].
type BidAsk struct {
	Arrival
	Time    time.Time `json:"time"` // IB's, in whole seconds
	Bid     string    `json:"bid,omitempty"`
	Ask     string    `json:"ask,omitempty"`
	BidSize string    `json:"bid_size,omitempty"`
	AskSize string    `json:"ask_size,omitempty"`
	Flags   []string  `json:"flags,omitempty"` // bid_past_low, ask_past_high
}

// Midpoint is one midpoint, as reqTickByTickData delivers it.
type Midpoint struct {
	Arrival
	Time  time.Time `json:"time"` // IB's, in whole seconds
	Price string    `json:"price,omitempty"`
}

// BarData is one bar of a subscription.
type BarData struct {
	At       time.Time `json:"at"` // when it came from the gateway, by our clock
	BarSize  string    `json:"bar_size"`
	What     string    `json:"what"`
	Backfill bool      `json:"backfill,omitempty"` // it was fetched later, since it was missed
	Bar
}

// Begins returns when b begins; of a bar of a day or more, midnight UTC of its
// date. ok is false where its time is neither.
func (b Bar) Begins() (at time.Time, ok bool) {
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(form, b.Time); err == nil {
			return at.UTC(), true
		}
	}
	return at, false
}

// DataType returns [DataTick].
func (*Tick) DataType() DataType { return DataTick }

// DataType returns [DataTrade].
func (*Trade) DataType() DataType { return DataTrade }

// DataType returns [DataBidAsk].
func (*BidAsk) DataType() DataType { return DataBidAsk }

// DataType returns [DataMidpoint].
func (*Midpoint) DataType() DataType { return DataMidpoint }

// DataType returns [DataBar], or [DataPartial] where the bar is provisional.
func (b *BarData) DataType() DataType {
	if b.Provisional {
		return DataPartial
	}
	return DataBar
}

// LostBars are bars that were to be stored and were dropped: some, or all, of
// those of a stretch of time.
type LostBars struct {
	Subscription string
	Series       string    // tells subscriptions apart that had the name one after the other
	From, To     time.Time // when the first and the last of them begin
}
