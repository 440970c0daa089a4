package gateway

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/scmhub/ibapi/protobuf"
	"google.golang.org/protobuf/proto"
)

// textCodec is the encoding of server version 176: fields as decimal text, each ended by a NUL.
type textCodec struct{}

func (textCodec) decode(payload []byte) (request, error) {
	f := &fields{values: strings.Split(strings.TrimSuffix(string(payload), "\x00"), "\x00")}
	req := request{id: Request(f.integer()), reqID: -1}
	if f.err != nil {
		return req, f.err
	}
	if at := layouts[req.id].id; at > 0 {
		id := &fields{values: f.values, at: at}
		if req.reqID = id.integer(); id.err != nil {
			req.reqID = -1
			return req, id.err
		}
	}
	if read := textRequests[req.id]; read != nil {
		req.body = read(f, req.reqID)
	}
	return req, f.err
}

// textRequests reads what follows the message id. Only requests the gateway answers have a reader.
var textRequests = map[Request]func(f *fields, id int32) proto.Message{
	StartAPI: func(f *fields, _ int32) proto.Message {
		f.skip(1)
		return &protobuf.StartApiRequest{ClientId: new(f.integer()), OptionalCapabilities: new(f.text())}
	},
	ReqMktData: func(f *fields, id int32) proto.Message {
		f.skip(2)
		m := &protobuf.MarketDataRequest{ReqId: &id, Contract: f.contract()}
		f.legs(m.Contract)
		if f.boolean() { // a delta neutral contract: conId, delta, price
			f.skip(3)
		}
		m.GenericTickList, m.Snapshot, m.RegulatorySnapshot = new(f.text()), new(f.boolean()), new(f.boolean())
		return m
	},
	CancelMktData: func(_ *fields, id int32) proto.Message { return &protobuf.CancelMarketData{ReqId: &id} },
	ReqMarketDataType: func(f *fields, _ int32) proto.Message {
		f.skip(1)
		return &protobuf.MarketDataTypeRequest{MarketDataType: new(f.integer())}
	},
	ReqTickByTickData: func(f *fields, id int32) proto.Message {
		f.skip(1)
		return &protobuf.TickByTickRequest{
			ReqId: &id, Contract: f.contract(),
			TickType: new(f.text()), NumberOfTicks: new(f.integer()), IgnoreSize: new(f.boolean()),
		}
	},
	CancelTickByTickData: func(_ *fields, id int32) proto.Message { return &protobuf.CancelTickByTick{ReqId: &id} },
	ReqRealTimeBars: func(f *fields, id int32) proto.Message {
		f.skip(2)
		return &protobuf.RealTimeBarsRequest{
			ReqId: &id, Contract: f.contract(),
			BarSize: new(f.integer()), WhatToShow: new(f.text()), UseRTH: new(f.boolean()),
		}
	},
	CancelRealTimeBars: func(_ *fields, id int32) proto.Message { return &protobuf.CancelRealTimeBars{ReqId: &id} },
	ReqHistoricalData: func(f *fields, id int32) proto.Message {
		f.skip(1)
		m := &protobuf.HistoricalDataRequest{ReqId: &id, Contract: f.contract()}
		m.Contract.IncludeExpired = new(f.boolean())
		m.EndDateTime, m.BarSizeSetting, m.Duration = new(f.text()), new(f.text()), new(f.text())
		m.UseRTH, m.WhatToShow, m.FormatDate = new(f.boolean()), new(f.text()), new(f.integer())
		f.legs(m.Contract)
		m.KeepUpToDate = new(f.boolean())
		return m
	},
	CancelHistoricalData: func(_ *fields, id int32) proto.Message { return &protobuf.CancelHistoricalData{ReqId: &id} },
	ReqHeadTimestamp: func(f *fields, id int32) proto.Message {
		f.skip(1)
		m := &protobuf.HeadTimestampRequest{ReqId: &id, Contract: f.contract()}
		m.Contract.IncludeExpired = new(f.boolean())
		m.UseRTH, m.WhatToShow, m.FormatDate = new(f.boolean()), new(f.text()), new(f.integer())
		return m
	},
	CancelHeadTimestamp: func(_ *fields, id int32) proto.Message { return &protobuf.CancelHeadTimestamp{ReqId: &id} },
	ReqContractDetails: func(f *fields, id int32) proto.Message {
		f.skip(2)
		m := &protobuf.ContractDataRequest{ReqId: &id, Contract: f.contract()}
		m.Contract.IncludeExpired = new(f.boolean())
		return m
	},
	ReqMatchingSymbols: func(f *fields, id int32) proto.Message {
		f.skip(1)
		return &protobuf.MatchingSymbolsRequest{ReqId: &id, Pattern: new(f.text())}
	},
	ReqAccountUpdates: func(f *fields, _ int32) proto.Message {
		f.skip(1)
		return &protobuf.AccountDataRequest{Subscribe: new(f.boolean()), AcctCode: new(f.text())}
	},
	ReqExecutions: func(_ *fields, id int32) proto.Message { return &protobuf.ExecutionRequest{ReqId: &id} },
	ReqAccountUpdatesMulti: func(_ *fields, id int32) proto.Message {
		return &protobuf.AccountUpdatesMultiRequest{ReqId: &id}
	},
	CancelAccountUpdatesMulti: func(_ *fields, id int32) proto.Message {
		return &protobuf.CancelAccountUpdatesMulti{ReqId: &id}
	},
	ReqCurrentTime:     func(*fields, int32) proto.Message { return &protobuf.CurrentTimeRequest{} },
	ReqIds:             func(*fields, int32) proto.Message { return &protobuf.IdsRequest{} },
	ReqManagedAccts:    func(*fields, int32) proto.Message { return &protobuf.ManagedAccountsRequest{} },
	SetServerLogLevel:  func(*fields, int32) proto.Message { return &protobuf.SetServerLogLevelRequest{} },
	ReqOpenOrders:      func(*fields, int32) proto.Message { return &protobuf.OpenOrdersRequest{} },
	ReqAllOpenOrders:   func(*fields, int32) proto.Message { return &protobuf.AllOpenOrdersRequest{} },
	ReqAutoOpenOrders:  func(*fields, int32) proto.Message { return &protobuf.AutoOpenOrdersRequest{} },
	ReqCompletedOrders: func(*fields, int32) proto.Message { return &protobuf.CompletedOrdersRequest{} },
	ReqPositions:       func(*fields, int32) proto.Message { return &protobuf.PositionsRequest{} },
	CancelPositions:    func(*fields, int32) proto.Message { return &protobuf.CancelPositions{} },
}

// fields reads the fields of a message in order. Clients differ in how they write nothing: "", "0" and "0.0" are all
// zero, and a field beyond the end is empty. What is not a number where one must be is kept in err.
type fields struct {
	values []string
	at     int
	err    error
}

func (f *fields) text() string {
	if f.at >= len(f.values) {
		return ""
	}
	f.at++
	return f.values[f.at-1]
}

func (f *fields) skip(n int) { f.at += n }

func (f *fields) number() float64 {
	s := f.text()
	if s == "" {
		return 0
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil && f.err == nil {
		f.err = fmt.Errorf("field %d is %.40q, not a number", f.at, s)
	}
	return v
}

func (f *fields) integer() int32 {
	v := f.number()
	if math.Abs(v) > math.MaxInt32 || v != math.Trunc(v) {
		if f.err == nil {
			f.err = fmt.Errorf("field %d is %v, not a 32 bit integer", f.at, v)
		}
		return 0
	}
	return int32(v)
}

func (f *fields) boolean() bool {
	switch f.text() {
	case "", "0", "0.0", "false":
		return false
	}
	return true
}

// contract reads the twelve fields with which every request names a contract.
func (f *fields) contract() *protobuf.Contract {
	return &protobuf.Contract{
		ConId: new(f.integer()), Symbol: new(f.text()), SecType: new(f.text()),
		LastTradeDateOrContractMonth: new(f.text()), Strike: new(f.number()), Right: new(f.text()),
		Multiplier: new(f.number()), Exchange: new(f.text()), PrimaryExch: new(f.text()), Currency: new(f.text()),
		LocalSymbol: new(f.text()), TradingClass: new(f.text()),
	}
}

// legs passes over the legs of a combination: count, then conId, ratio, action and exchange of each.
func (f *fields) legs(c *protobuf.Contract) {
	if c.GetSecType() == "BAG" {
		f.skip(4 * min(int(max(f.integer(), 0)), len(f.values)))
	}
}

func (textCodec) append(dst []byte, m proto.Message) []byte {
	return appendFrame(dst, func(b []byte) []byte { return appendText(b, m) })
}

func appendText(b []byte, m proto.Message) []byte {
	t := line(b)
	switch m := m.(type) {
	case *protobuf.ManagedAccounts:
		t.add("15", "1", m.GetAccountsList())
	case *protobuf.NextValidId:
		t.add("9", "1").ints(m.GetOrderId())
	case *protobuf.ErrorMessage:
		t.add("4", "2").ints(m.GetId(), m.GetErrorCode()).add(m.GetErrorMsg(), m.GetAdvancedOrderRejectJson())
	case *protobuf.CurrentTime:
		t.add("49", "1").long(m.GetCurrentTime())
	case *protobuf.TickPrice:
		t.add("1", "6").ints(m.GetReqId(), m.GetTickType()).prices(m.GetPrice()).add(m.GetSize()).ints(m.GetAttrMask())
	case *protobuf.TickSize:
		t.add("2", "6").ints(m.GetReqId(), m.GetTickType()).add(m.GetSize())
	case *protobuf.TickString:
		t.add("46", "6").ints(m.GetReqId(), m.GetTickType()).add(m.GetValue())
	case *protobuf.TickGeneric:
		t.add("45", "6").ints(m.GetReqId(), m.GetTickType()).prices(m.GetValue())
	case *protobuf.MarketDataType:
		t.add("58", "1").ints(m.GetReqId(), m.GetMarketDataType())
	case *protobuf.TickReqParams:
		t.add("81").ints(m.GetReqId()).add(m.GetMinTick(), m.GetBboExchange()).ints(m.GetSnapshotPermissions())
	case *protobuf.TickSnapshotEnd:
		t.add("57", "1").ints(m.GetReqId())
	case *protobuf.TickByTickData:
		t.tickByTick(m)
	case *protobuf.RealTimeBarTick:
		t.add("50", "3").ints(m.GetReqId()).long(m.GetTime()).prices(m.GetOpen(), m.GetHigh(), m.GetLow(), m.GetClose())
		t.add(m.GetVolume(), m.GetWAP()).ints(m.GetCount())
	case *history:
		t.history(m)
	case *protobuf.HistoricalDataUpdate:
		// The order of an update is IB's own: close stands before high and low.
		bar := m.GetHistoricalDataBar()
		t.add("90").ints(m.GetReqId(), bar.GetBarCount()).add(bar.GetDate())
		t.prices(bar.GetOpen(), bar.GetClose(), bar.GetHigh(), bar.GetLow()).add(bar.GetWAP(), bar.GetVolume())
	case *protobuf.HeadTimestamp:
		t.add("88").ints(m.GetReqId()).add(m.GetHeadTimestamp())
	case *protobuf.ContractData:
		t.contractData(m)
	case *protobuf.ContractDataEnd:
		t.add("52", "1").ints(m.GetReqId())
	case *protobuf.SymbolSamples:
		t.symbolSamples(m)
	case *protobuf.PositionEnd:
		t.add("62", "1")
	case *protobuf.OpenOrdersEnd:
		t.add("53", "1")
	case *protobuf.CompletedOrdersEnd:
		t.add("102")
	case *protobuf.AccountDataEnd:
		t.add("54", "1", m.GetAccountName())
	case *protobuf.AccountUpdateMultiEnd:
		t.add("74", "1").ints(m.GetReqId())
	case *protobuf.ExecutionDetailsEnd:
		t.add("55", "1").ints(m.GetReqId())
	default:
		panic(fmt.Sprintf("invariant: the simulation sent a %T, which has no text form", m))
	}
	return t
}

// line is a text message being written.
type line []byte

func (l *line) add(values ...string) *line {
	for _, v := range values {
		*l = append(append(*l, v...), 0)
	}
	return l
}

func (l *line) long(v int64) *line {
	*l = append(strconv.AppendInt(*l, v, 10), 0)
	return l
}

func (l *line) ints(values ...int32) *line {
	for _, v := range values {
		l.long(int64(v))
	}
	return l
}

func (l *line) prices(values ...float64) *line {
	for _, v := range values {
		*l = append(strconv.AppendFloat(*l, v, 'f', -1, 64), 0)
	}
	return l
}

func (l *line) tickByTick(m *protobuf.TickByTickData) {
	l.add("99").ints(m.GetReqId(), m.GetTickType())
	switch {
	case m.GetHistoricalTickLast() != nil:
		last := m.GetHistoricalTickLast()
		l.long(last.GetTime()).prices(last.GetPrice()).add(last.GetSize(), "0", last.GetExchange(), last.GetSpecialConditions())
	case m.GetHistoricalTickBidAsk() != nil:
		quote := m.GetHistoricalTickBidAsk()
		l.long(quote.GetTime()).prices(quote.GetPriceBid(), quote.GetPriceAsk()).add(quote.GetSizeBid(), quote.GetSizeAsk(), "0")
	default:
		mid := m.GetHistoricalTickMidPoint()
		l.long(mid.GetTime()).prices(mid.GetPrice())
	}
}

func (l *line) history(h *history) {
	l.add("17").ints(h.GetReqId()).add(h.end.GetStartDateStr(), h.end.GetEndDateStr()).ints(int32(len(h.GetHistoricalDataBars())))
	for _, bar := range h.GetHistoricalDataBars() {
		l.add(bar.GetDate()).prices(bar.GetOpen(), bar.GetHigh(), bar.GetLow(), bar.GetClose())
		l.add(bar.GetVolume(), bar.GetWAP()).ints(bar.GetBarCount())
	}
}

func (l *line) contractData(m *protobuf.ContractData) {
	c, d := m.GetContract(), m.GetContractDetails()
	multiplier := ""
	if c.Multiplier != nil {
		multiplier = strconv.FormatFloat(c.GetMultiplier(), 'f', -1, 64)
	}
	l.add("10").ints(m.GetReqId()).add(c.GetSymbol(), c.GetSecType(), c.GetLastTradeDateOrContractMonth())
	l.prices(c.GetStrike()).add(c.GetRight(), c.GetExchange(), c.GetCurrency(), c.GetLocalSymbol())
	l.add(d.GetMarketName(), c.GetTradingClass()).ints(c.GetConId()).add(d.GetMinTick(), multiplier)
	l.add(d.GetOrderTypes(), d.GetValidExchanges()).ints(d.GetPriceMagnifier(), d.GetUnderConId())
	l.add(d.GetLongName(), c.GetPrimaryExch(), d.GetContractMonth(), d.GetIndustry(), d.GetCategory(), d.GetSubcategory())
	l.add(d.GetTimeZoneId(), d.GetTradingHours(), d.GetLiquidHours(), d.GetEvRule()).prices(d.GetEvMultiplier())
	l.add("0").ints(d.GetAggGroup()).add(d.GetUnderSymbol(), d.GetUnderSecType(), d.GetMarketRuleIds())
	l.add(d.GetRealExpirationDate(), d.GetStockType(), d.GetMinSize(), d.GetSizeIncrement(), d.GetSuggestedSizeIncrement())
}

func (l *line) symbolSamples(m *protobuf.SymbolSamples) {
	l.add("79").ints(m.GetReqId(), int32(len(m.GetContractDescriptions())))
	for _, sample := range m.GetContractDescriptions() {
		c := sample.GetContract()
		l.ints(c.GetConId()).add(c.GetSymbol(), c.GetSecType(), c.GetPrimaryExch(), c.GetCurrency())
		l.ints(int32(len(sample.GetDerivativeSecTypes()))).add(sample.GetDerivativeSecTypes()...)
		l.add(c.GetDescription(), c.GetIssuerId())
	}
}
