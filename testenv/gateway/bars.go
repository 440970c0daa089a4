package gateway

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/scmhub/ibapi/protobuf"
	"google.golang.org/protobuf/proto"
)

// barClock counts the five second bars of one subscription. It follows the gateway's clock if bars come every five
// seconds; if they are configured to come faster, every one still stands for five seconds.
type barClock struct{ at time.Time }

const maxBarsMissed = 1000 // bars made up for after a hold-up; those before are lost

// advance returns the ends of the bars that some periods have completed.
func (c *barClock) advance(periods int) []time.Time {
	var ends []time.Time
	for left := periods; left > 0; left-- {
		c.at = c.at.Add(barSeconds * time.Second)
		if left <= maxBarsMissed {
			ends = append(ends, c.at)
		}
	}
	return ends
}

// startBars returns a clock at the last whole five seconds, and how long the first bar takes to be complete.
func (s *session) startBars() (*barClock, time.Duration) {
	now, every := s.g.now(), s.g.cfg.BarEvery
	at := time.Unix(floorTo(now.Unix(), barSeconds), 0).In(now.Location())
	return &barClock{at}, every - now.Sub(at)%every
}

func (s *session) realTimeBars(ctx context.Context, m *protobuf.RealTimeBarsRequest) {
	id, what := m.GetReqId(), strings.ToUpper(m.GetWhatToShow())
	if err := checkShow(what, true); err != nil {
		s.fail(ctx, id, 321, invalid(err).text)
		return
	}
	if !s.free(ctx, id) {
		return
	}
	in, ok := s.resolve(ctx, id, m.GetContract())
	if !ok {
		return
	}
	if !in.traded && what == "TRADES" {
		s.fail(ctx, id, 420, fmt.Sprintf("Invalid Real-time Query:No historical market data for %s Last 5 secs", in))
		return
	}
	clock, first := s.startBars()
	s.subscribe(id, ReqRealTimeBars, s.g.cfg.BarEvery, first, func(periods int) []proto.Message {
		var messages []proto.Message
		for _, end := range clock.advance(periods) {
			b := s.g.market.trades(in, end.Add(-barSeconds*time.Second), end).shown(in, what)
			messages = append(messages, &protobuf.RealTimeBarTick{
				ReqId: &id, Time: new(b.start.Unix()), Open: &b.open, High: &b.high, Low: &b.low, Close: &b.close,
				Volume: decimal(b.volume), WAP: money(b.wap), Count: new(int32(b.count)),
			})
		}
		return messages
	})
}

func (s *session) historicalData(ctx context.Context, m *protobuf.HistoricalDataRequest) {
	id := m.GetReqId()
	if !s.free(ctx, id) {
		return
	}
	in, ok := s.resolve(ctx, id, m.GetContract())
	if !ok {
		return
	}
	q, err := readQuery(m, in, s.g.now())
	if err != nil {
		s.fail(ctx, id, err.code, err.text)
		return
	}
	h := &history{
		HistoricalData: &protobuf.HistoricalData{ReqId: &id},
		end:            &protobuf.HistoricalDataEnd{ReqId: &id, StartDateStr: new(stamp(q.start)), EndDateStr: new(stamp(q.end))},
	}
	s.g.market.bars(q, func(b bar) bool {
		h.HistoricalDataBars = append(h.HistoricalDataBars, q.encode(b))
		return ctx.Err() == nil
	})
	s.send(ctx, h)
	if q.follow {
		s.follow(id, q)
	}
}

// follow keeps a query up to date: the bar that is being made is sent again and again, under the time at which it began.
func (s *session) follow(id int32, q query) {
	clock, first := s.startBars()
	s.subscribe(id, ReqHistoricalData, s.g.cfg.BarEvery, first, func(periods int) []proto.Message {
		var messages []proto.Message
		for _, now := range clock.advance(periods) {
			b := s.g.market.barAt(q, q.size.first(now.Add(-time.Second)), now)
			if b.count > 0 {
				messages = append(messages, &protobuf.HistoricalDataUpdate{ReqId: &id, HistoricalDataBar: q.encode(b.shown(q.in, q.what))})
			}
		}
		return messages
	})
}
