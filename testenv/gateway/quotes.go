package gateway

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/scmhub/ibapi/protobuf"
	"google.golang.org/protobuf/proto"
)

// IB's kinds of market data, and its tick types. Delayed data has types of its own.
const (
	liveData    = 1
	delayedData = 3
)

const (
	tickBidSize = 0
	tickBid     = 1
	tickAsk     = 2
	tickAskSize = 3
	tickLast    = 4
	tickLstSize = 5
	tickHigh    = 6
	tickLow     = 7
	tickVolume  = 8
	tickClose   = 9
	tickOpen    = 14
	tickLstTime = 45
	tickRTVol   = 48
	tickHalted  = 49
)

var delayedTypes = map[int32]int32{
	tickBid: 66, tickAsk: 67, tickLast: 68, tickBidSize: 69, tickAskSize: 70, tickLstSize: 71,
	tickHigh: 72, tickLow: 73, tickVolume: 74, tickClose: 75, tickOpen: 76, tickLstTime: 88,
}

func (s *session) setDataType(ctx context.Context, kind int32) {
	if kind < liveData || kind > 4 {
		s.fail(ctx, -1, 321, fmt.Sprintf("Error validating request.-'bX' : cause - Invalid market data type %d.", kind))
		return
	}
	s.dataType = kind
}

// quotes writes the ticks of one market data subscription.
type quotes struct {
	g        *Gateway
	id       int32
	in       *instrument
	open     *schedule
	delayed  bool
	rtVolume bool // generic tick 233 was asked for
	sent     int64
	owed     float64 // ticks due but not yet whole
}

func (q *quotes) kind(t int32) *int32 {
	if d, ok := delayedTypes[t]; ok && q.delayed {
		t = d
	}
	return &t
}

func (q *quotes) price(t int32, price float64, size int64) proto.Message {
	return &protobuf.TickPrice{ReqId: &q.id, TickType: q.kind(t), Price: &price, Size: decimal(size), AttrMask: new(int32(0))}
}

func (q *quotes) size(t int32, size int64) proto.Message {
	return &protobuf.TickSize{ReqId: &q.id, TickType: q.kind(t), Size: decimal(size)}
}

func (q *quotes) text(t int32, value string) proto.Message {
	return &protobuf.TickString{ReqId: &q.id, TickType: q.kind(t), Value: &value}
}

// opening is what a subscription begins with: parameters, then one tick of every kind, unless the market is closed.
func (q *quotes) opening(dataType int32) []proto.Message {
	now := q.g.now()
	parameters := []proto.Message{
		&protobuf.TickReqParams{ReqId: &q.id, MinTick: q.in.details.MinTick, BboExchange: new("9c0001"), SnapshotPermissions: new(int32(3))},
		&protobuf.MarketDataType{ReqId: &q.id, MarketDataType: &dataType},
	}
	if !q.open.open(now) {
		return parameters
	}
	day := q.g.market.over(q.in, q.open.between(midnight(now), now.Add(barSeconds*time.Second)))
	last, size := q.g.market.last(q.in, now), q.g.market.size(q.in, 0)
	messages := append(parameters,
		q.price(tickBid, q.in.round(last-q.in.halfSpread), size), q.price(tickAsk, q.in.round(last+q.in.halfSpread), size),
		q.size(tickBidSize, size), q.size(tickAskSize, size),
		q.price(tickHigh, day.high, 0), q.price(tickLow, day.low, 0), q.price(tickClose, day.open, 0))
	if q.in.traded {
		messages = append(messages, q.price(tickLast, last, size), q.size(tickLstSize, size), q.size(tickVolume, day.volume),
			q.price(tickOpen, day.open, 0), q.text(tickLstTime, strconv.FormatInt(now.Unix(), 10)),
			&protobuf.TickGeneric{ReqId: &q.id, TickType: new(int32(tickHalted)), Value: new(0.0)})
	}
	return messages
}

// next returns n ticks: bid, ask and, if the instrument is traded, last in turn.
func (q *quotes) next(n int) []proto.Message {
	now := q.g.now()
	if !q.open.open(now) {
		return nil
	}
	messages := make([]proto.Message, 0, n)
	for range n {
		last, size := q.g.market.last(q.in, now), q.g.market.size(q.in, q.sent)
		turns := int64(2)
		if q.in.traded {
			turns = 3
		}
		switch q.sent % turns {
		case 0:
			messages = append(messages, q.price(tickBid, q.in.round(last-q.in.halfSpread), size))
		case 1:
			messages = append(messages, q.price(tickAsk, q.in.round(last+q.in.halfSpread), size))
		default:
			messages = append(messages, q.price(tickLast, last, size))
			if q.rtVolume {
				messages = append(messages, q.text(tickRTVol, fmt.Sprintf("%v;%d;%d;%d;%v;true", last, size, now.UnixMilli(), q.sent*size, last)))
			}
		}
		q.sent++
	}
	return messages
}

// due returns how many ticks belong to some periods: never more than a tenth of a second's worth, so that a session that
// was held up does not drown in what it missed.
func (q *quotes) due(periods int, every time.Duration, perSecond float64) int {
	q.owed = min(q.owed+float64(periods)*every.Seconds()*perSecond, max(1, perSecond/10))
	whole := math.Floor(q.owed)
	q.owed -= whole
	return int(whole)
}

const minTickPeriod = 10 * time.Millisecond // ticks that come faster are sent several at a time

func tickPeriod(perSecond float64) time.Duration {
	return max(minTickPeriod, time.Duration(float64(time.Second)/perSecond))
}

func (s *session) marketData(ctx context.Context, m *protobuf.MarketDataRequest) {
	id := m.GetReqId()
	if !s.free(ctx, id) {
		return
	}
	in, ok := s.resolve(ctx, id, m.GetContract())
	if !ok {
		return
	}
	if !s.line(ctx, id) {
		return
	}
	contested := s.tellContested(ctx, id)
	q := &quotes{
		g: s.g, id: id, in: in, open: s.g.schedule(in, false), delayed: s.dataType >= delayedData,
		rtVolume: in.traded && slices.Contains(strings.Split(m.GetGenericTickList(), ","), "233"),
	}
	if m.GetSnapshot() || m.GetRegulatorySnapshot() {
		s.g.giveBack(s, marketLine)
		if !contested {
			s.send(ctx, append(q.opening(s.dataType), &protobuf.TickSnapshotEnd{ReqId: &id})...)
		}
		return
	}
	s.ticker.Store(id) // first: who has seen the opening may call for a burst
	if !contested {
		s.send(ctx, q.opening(s.dataType)...)
	}
	perSecond := s.g.cfg.TicksPerSecond
	every := tickPeriod(perSecond)
	s.subscribe(id, ReqMktData, marketLine, every, every, func(periods int) []proto.Message {
		return q.next(q.due(periods, every, perSecond))
	})
}

func (s *session) tickByTick(ctx context.Context, m *protobuf.TickByTickRequest) {
	id := m.GetReqId()
	kind := int32(1 + slices.Index([]string{"LAST", "ALLLAST", "BIDASK", "MIDPOINT"}, strings.ToUpper(m.GetTickType())))
	if kind == 0 {
		s.fail(ctx, id, 321, fmt.Sprintf("Error validating request.-'bX' : cause - Invalid tick-by-tick type %.40q.", m.GetTickType()))
		return
	}
	if !s.free(ctx, id) {
		return
	}
	in, ok := s.resolve(ctx, id, m.GetContract())
	if !ok {
		return
	}
	if !in.traded && kind <= 2 {
		s.fail(ctx, id, 10189, fmt.Sprintf("Failed to request tick-by-tick data:No trades for %s", in))
		return
	}
	if !s.g.take(s, tickLine) {
		s.fail(ctx, id, 10190, maxTickByTick)
		return
	}
	if s.g.judgeTicks(in) {
		s.g.giveBack(s, tickLine)
		s.fail(ctx, id, 10190, maxTickByTick)
		return
	}
	s.tellContested(ctx, id)
	q := &quotes{g: s.g, id: id, in: in, open: s.g.schedule(in, false)}
	perSecond := s.g.cfg.TicksPerSecond
	every := tickPeriod(perSecond)
	s.subscribe(id, ReqTickByTickData, tickLine, every, every, func(periods int) []proto.Message {
		messages := make([]proto.Message, q.due(periods, every, perSecond))
		if !q.open.open(s.g.now()) {
			return nil
		}
		for i := range messages {
			messages[i] = q.tickByTick(kind)
		}
		return messages
	})
}

// tickByTick returns the next tick of a kind: 1 Last, 2 AllLast, 3 BidAsk, 4 MidPoint.
func (q *quotes) tickByTick(kind int32) proto.Message {
	now := q.g.now()
	last, size := q.g.market.last(q.in, now), q.g.market.size(q.in, q.sent)
	q.sent++
	m := &protobuf.TickByTickData{ReqId: &q.id, TickType: &kind}
	switch kind {
	case 3:
		m.Tick = &protobuf.TickByTickData_HistoricalTickBidAsk{HistoricalTickBidAsk: &protobuf.HistoricalTickBidAsk{
			Time: new(now.Unix()), TickAttribBidAsk: &protobuf.TickAttribBidAsk{},
			PriceBid: new(q.in.round(last - q.in.halfSpread)), PriceAsk: new(q.in.round(last + q.in.halfSpread)),
			SizeBid: decimal(size), SizeAsk: decimal(size),
		}}
	case 4:
		m.Tick = &protobuf.TickByTickData_HistoricalTickMidPoint{HistoricalTickMidPoint: &protobuf.HistoricalTick{
			Time: new(now.Unix()), Price: &last, Size: decimal(0),
		}}
	default:
		m.Tick = &protobuf.TickByTickData_HistoricalTickLast{HistoricalTickLast: &protobuf.HistoricalTickLast{
			Time: new(now.Unix()), TickAttribLast: &protobuf.TickAttribLast{}, Price: &last, Size: decimal(size), Exchange: new("NASDAQ"),
		}}
	}
	return m
}
