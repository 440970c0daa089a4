package gateway

import (
	"context"
	"fmt"
	"slices"
	"strconv"
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
	if !s.line(ctx, id) {
		return
	}
	refused := ""
	switch {
	case s.g.judgeBars():
		refused = pacingViolation
	case !in.traded && what == "TRADES":
		refused = fmt.Sprintf("No historical market data for %s Last 5 secs", in)
	}
	if refused != "" {
		s.g.giveBack(s, marketLine)
		s.fail(ctx, id, 420, "Invalid Real-time Query:"+refused)
		return
	}
	s.tellContested(ctx, id)
	open := s.g.schedule(in, m.GetUseRTH())
	clock, first := s.startBars()
	s.subscribe(id, ReqRealTimeBars, marketLine, s.g.cfg.BarEvery, first, func(periods int) []proto.Message {
		var messages []proto.Message
		for _, end := range clock.advance(periods) {
			if !open.open(end.Add(-barSeconds * time.Second)) {
				continue
			}
			b := s.g.market.trades(in, end.Add(-barSeconds*time.Second), end).shown(in, what)
			messages = append(messages, &protobuf.RealTimeBarTick{
				ReqId: &id, Time: new(b.start.Unix()), Open: &b.open, High: &b.high, Low: &b.low, Close: &b.close,
				Volume: decimal(b.volume), WAP: money(b.wap), Count: new(int32(b.count)),
			})
		}
		return messages
	})
}

// begin lets a request through, a historical one only if it can be understood, is within IB's limits, and can have data; it
// then has its query, and holds an openQuery. Else it is answered with an error. It does nothing a second time.
func (s *session) begin(ctx context.Context, req *request) bool {
	var contract *protobuf.Contract
	var read func(*instrument) (query, *refusal)
	var written string // all but the contract
	switch m := req.body.(type) {
	case *protobuf.HistoricalDataRequest:
		contract = m.GetContract()
		read = func(in *instrument) (query, *refusal) {
			q, refused := readQuery(m, in, s.g.now())
			q.open = s.g.schedule(in, m.GetUseRTH())
			return q, refused
		}
		written = fmt.Sprintf("%q %q %q %t %d %t", m.GetEndDateTime(), m.GetDuration(), m.GetBarSizeSetting(), m.GetUseRTH(), m.GetFormatDate(), m.GetKeepUpToDate())
	case *protobuf.HeadTimestampRequest:
		contract = m.GetContract()
		read = func(in *instrument) (query, *refusal) { return readHead(m, in) }
		written = fmt.Sprintf("head %t %d", m.GetUseRTH(), m.GetFormatDate())
	}
	if read == nil || req.query != nil || !s.started {
		return true
	}
	if !s.free(ctx, req.reqID) {
		return false
	}
	in, ok := s.resolve(ctx, req.reqID, contract)
	if !ok {
		return false
	}
	q, refused := read(in)
	if refused != nil && refused.code != 162 { // which the gateway sees by itself
		s.fail(ctx, req.reqID, refused.code, refused.text)
		return false
	}
	if !s.g.take(s, openQuery) {
		s.fail(ctx, req.reqID, 322, fiftyAllowed)
		return false
	}
	switch {
	case s.g.judge(q, contract, written):
		refused = &refusal{162, pacingViolation}
	case refused == nil && s.g.tooOld(q):
		refused = noData(q)
	}
	if refused != nil {
		s.g.giveBack(s, openQuery)
		s.fail(ctx, req.reqID, refused.code, refused.text)
		return false
	}
	req.query = &q
	return true
}

func noData(q query) *refusal {
	return &refusal{162, "Historical Market Data Service error message:HMDS query returned no data: " + q.String()}
}

// running tells whether a historical request has not been answered yet, because a rule of On holds it up.
func (s *session) running(reqID int32) bool {
	open := func(r request) bool { return r.query != nil && r.reqID == reqID }
	return slices.ContainsFunc(s.held, open) || slices.ContainsFunc(s.later, func(d delayed) bool { return open(d.req) })
}

// stop ends such a request, and tells whether there was one.
func (s *session) stop(id Request, reqID int32) bool {
	if !s.running(reqID) {
		return false
	}
	n := len(s.held) + len(s.later)
	ended := func(r request) bool { return r.query != nil && r.id == id && r.reqID == reqID }
	s.held = slices.DeleteFunc(s.held, ended)
	s.later = slices.DeleteFunc(s.later, func(d delayed) bool { return ended(d.req) })
	if len(s.held)+len(s.later) == n {
		return false // a cancel of another kind
	}
	s.g.giveBack(s, openQuery)
	return true
}

// headTimestamp answers when the data of an instrument begins. The request stays open until it is cancelled, as IB's does.
func (s *session) headTimestamp(ctx context.Context, req request) {
	head := req.query.in.head.UTC()
	at := head.Format("20060102-15:04:05")
	if req.query.format == 2 {
		at = strconv.FormatInt(head.Unix(), 10)
	}
	s.send(ctx, &protobuf.HeadTimestamp{ReqId: &req.reqID, HeadTimestamp: &at})
	s.subscribe(req.reqID, ReqHeadTimestamp, openQuery, time.Hour, time.Hour, func(int) []proto.Message { return nil })
}

func (s *session) historicalData(ctx context.Context, req request) {
	id, q := req.reqID, *req.query
	h := &history{
		HistoricalData: &protobuf.HistoricalData{ReqId: &id},
		end:            &protobuf.HistoricalDataEnd{ReqId: &id, StartDateStr: new(stamp(q.start)), EndDateStr: new(stamp(q.end))},
	}
	s.g.market.bars(q, func(b bar) bool {
		h.HistoricalDataBars = append(h.HistoricalDataBars, q.encode(b))
		return ctx.Err() == nil
	})
	if len(h.HistoricalDataBars) == 0 {
		s.g.giveBack(s, openQuery)
		refused := noData(q)
		s.fail(ctx, id, refused.code, refused.text)
		return
	}
	if q.follow {
		s.send(ctx, h)
		s.follow(id, q)
		return
	}
	s.g.giveBack(s, openQuery) // before the answer, so that who has it may ask again
	s.send(ctx, h)
}

// follow keeps a query up to date: the bar that is being made is sent again and again, under the time at which it began.
func (s *session) follow(id int32, q query) {
	clock, first := s.startBars()
	s.subscribe(id, ReqHistoricalData, openQuery, s.g.cfg.BarEvery, first, func(periods int) []proto.Message {
		var messages []proto.Message
		for _, now := range clock.advance(periods) {
			b := s.g.market.barAt(q, q.beginning(now.Add(-time.Second)), now)
			if b.count > 0 {
				messages = append(messages, &protobuf.HistoricalDataUpdate{ReqId: &id, HistoricalDataBar: q.encode(b.shown(q.in, q.what))})
			}
		}
		return messages
	})
}
