package gateway

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/scmhub/ibapi/protobuf"
	"google.golang.org/protobuf/proto"
)

// simulation is what a gateway knows of one client. Only the goroutine in simulate touches it.
type simulation struct {
	streams         map[int32]*stream
	later           []delayed
	held            []request // until they are released
	dataType        int32     // what the client asked for with reqMarketDataType
	askedTime       map[Request]time.Time
	forgets         int
	contests        int
	closeAfterStart bool
	received        int // requests before startApi was accepted, itself included
	breaches        int // of Config.MaxRate
}

// stream is a subscription that delivers by the clock. The time between is real time, not the gateway's Now.
type stream struct {
	opened Request // what may cancel it follows from what opened it
	holds  capacity
	every  time.Duration
	next   time.Time
	emit   func(periods int) []proto.Message
}

// delayed is a request held back by a Delay rule.
type delayed struct {
	at  time.Time
	req request
}

// simulate answers the requests of one client until its session ends.
func (s *session) simulate(ctx context.Context) {
	s.streams, s.askedTime, s.dataType = make(map[int32]*stream), make(map[Request]time.Time), liveData
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	defer s.g.giveBackAll(s)
	for s.flowing(ctx) { // a frozen gateway does nothing at all
		timer.Reset(s.untilNext())
		select {
		case <-ctx.Done():
			return
		case frame := <-s.frames:
			s.contend(ctx, s.heed())
			s.receive(ctx, frame)
		case <-timer.C:
		case <-s.release:
			s.answerReleased(ctx)
		}
		s.deliver(ctx, time.Now())
	}
}

// heed drops the subscriptions if that was asked for since it was last looked at, and returns the flow that holds now.
func (s *session) heed() flow {
	f := s.current()
	if f.forgets != s.forgets {
		s.forgets = f.forgets
		for id := range s.streams {
			s.drop(id)
		}
	}
	return f
}

// drop ends a subscription without a word.
func (s *session) drop(id int32) {
	s.g.giveBack(s, s.streams[id].holds)
	delete(s.streams, id)
}

// answerReleased answers the requests that were held and are not to be any longer.
func (s *session) answerReleased(ctx context.Context) {
	s.mu.Lock()
	released := s.released
	s.released = nil
	s.mu.Unlock()
	for _, id := range released {
		i := slices.IndexFunc(s.held, func(r request) bool { return r.id == id })
		if i < 0 {
			continue
		}
		req := s.held[i]
		s.held = slices.Delete(s.held, i, i+1)
		s.answer(ctx, req)
	}
}

func (s *session) untilNext() time.Duration {
	next := time.Now().Add(time.Hour)
	for _, st := range s.streams {
		next = earlier(next, st.next)
	}
	for _, d := range s.later {
		next = earlier(next, d.at)
	}
	return time.Until(next)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// deliver sends what is due: answers held back, and whatever the subscriptions have to say.
func (s *session) deliver(ctx context.Context, now time.Time) {
	var due []request
	s.later = slices.DeleteFunc(s.later, func(d delayed) bool {
		if d.at.After(now) {
			return false
		}
		due = append(due, d.req)
		return true
	})
	for _, req := range due {
		s.answer(ctx, req)
	}
	f := s.heed() // with the data of a link that is back nothing is sent for a subscription lost with it
	s.contend(ctx, f)
	for _, st := range s.streams {
		if st.next.After(now) {
			continue
		}
		periods := 1 + int(now.Sub(st.next)/st.every)
		st.next = st.next.Add(time.Duration(periods) * st.every)
		if messages := st.emit(periods); !f.silent && !f.lost && !(f.competes && st.contested()) {
			s.send(ctx, messages...)
		}
	}
}

// send queues messages, waiting if the client does not keep up.
func (s *session) send(ctx context.Context, messages ...proto.Message) {
	if len(messages) == 0 { // as of a market that is closed
		return
	}
	var frames []byte
	for _, m := range messages {
		frames = s.codec.append(frames, m)
	}
	s.out.put(ctx, frames)
}

// fail answers a request with an error.
func (s *session) fail(ctx context.Context, reqID, code int32, text string) {
	s.send(ctx, s.g.problem(reqID, code, text))
}

// receive decodes one frame, counts it, and answers it unless a rule says otherwise.
func (s *session) receive(ctx context.Context, frame []byte) {
	req, err := s.codec.decode(frame)
	tooMany, action, ruled := s.g.note(s, req)
	s.log.Debug().Stringer("request", req.id).Int32("id", req.reqID).Msg("request")
	switch {
	case tooMany > 0:
		s.breach(ctx, tooMany)
	case err != nil:
		s.fail(ctx, req.reqID, 320, "Error reading request. "+err.Error())
	case ruled:
		s.obey(ctx, action, req)
	default:
		s.answer(ctx, req)
	}
}

// breachesAllowed is how many breaches of the rate end a session, the last of them included.
const breachesAllowed = 3

// breach answers a message that is one too many, and has no other effect but that the last one ends the session.
func (s *session) breach(ctx context.Context, rate int) {
	s.breaches++
	s.log.Warn().Int("rate", rate).Int("breach", s.breaches).Msg("too many messages per second")
	s.fail(ctx, -1, 100, fmt.Sprintf("Max rate of messages per second has been exceeded:max=%d rec=%d (%d)", s.g.cfg.MaxRate, rate, s.breaches))
	if s.breaches >= breachesAllowed {
		s.end(&ending{MaxRateBreached, flushed})
	}
}

func (s *session) obey(ctx context.Context, a Action, req request) {
	s.log.Info().Stringer("request", req.id).Str("rule", a.String()).Msg("fault")
	switch a.kind {
	case drop:
	case delay:
		if s.current().lost || s.begin(ctx, &req) {
			s.later = append(s.later, delayed{time.Now().Add(a.after), req})
		}
	case keep:
		if s.current().lost || s.begin(ctx, &req) {
			s.held = append(s.held, req)
		}
	case replyError:
		s.fail(ctx, req.reqID, int32(a.code), a.text)
	case hang:
		s.divert(func(f *flow) { f.stalled = true })
	}
}

// answer does what a gateway does on one request.
func (s *session) answer(ctx context.Context, req request) {
	if m, ok := req.body.(*protobuf.StartApiRequest); ok {
		s.start(ctx, m.GetClientId())
		return
	}
	if !s.started { // IB: what is sent before the API has started may be dropped
		s.log.Warn().Stringer("request", req.id).Msg("request before startApi is ignored")
		return
	}
	if s.unanswerable(ctx, req) {
		if req.query != nil { // it was held since before the link was lost
			s.g.giveBack(s, openQuery)
		}
		return
	}
	if !s.begin(ctx, &req) {
		return
	}
	switch m := req.body.(type) {
	case *protobuf.CurrentTimeRequest:
		if s.mayAskTime(req.id) {
			s.send(ctx, &protobuf.CurrentTime{CurrentTime: new(s.g.now().Unix())})
		}
	case *protobuf.CurrentTimeInMillisRequest:
		if s.mayAskTime(req.id) {
			s.send(ctx, &protobuf.CurrentTimeInMillis{CurrentTimeInMillis: new(s.g.now().UnixMilli())})
		}
	case *protobuf.IdsRequest:
		s.send(ctx, s.g.nextID())
	case *protobuf.ManagedAccountsRequest:
		s.send(ctx, s.g.accounts())
	case *protobuf.MarketDataTypeRequest:
		s.setDataType(ctx, m.GetMarketDataType())
	case *protobuf.MarketDataRequest:
		s.marketData(ctx, m)
	case *protobuf.TickByTickRequest:
		s.tickByTick(ctx, m)
	case *protobuf.RealTimeBarsRequest:
		s.realTimeBars(ctx, m)
	case *protobuf.HistoricalDataRequest:
		s.historicalData(ctx, req)
	case *protobuf.HeadTimestampRequest:
		s.headTimestamp(ctx, req)
	case *protobuf.ContractDataRequest:
		s.contractDetails(ctx, m)
	case *protobuf.MatchingSymbolsRequest:
		s.send(ctx, &protobuf.SymbolSamples{ReqId: m.ReqId, ContractDescriptions: s.g.symbols.search(m.GetPattern())})
	case *protobuf.CancelMarketData, *protobuf.CancelTickByTick, *protobuf.CancelRealTimeBars, *protobuf.CancelHistoricalData,
		*protobuf.CancelHeadTimestamp:
		s.cancel(ctx, req)
	case *protobuf.PositionsRequest:
		s.send(ctx, &protobuf.PositionEnd{})
	case *protobuf.OpenOrdersRequest, *protobuf.AllOpenOrdersRequest:
		s.send(ctx, &protobuf.OpenOrdersEnd{})
	case *protobuf.CompletedOrdersRequest:
		s.send(ctx, &protobuf.CompletedOrdersEnd{})
	case *protobuf.AccountDataRequest:
		if m.GetSubscribe() {
			account := m.GetAcctCode()
			if account == "" {
				account = s.g.cfg.Accounts[0]
			}
			s.send(ctx, &protobuf.AccountDataEnd{AccountName: &account})
		}
	case *protobuf.AccountUpdatesMultiRequest:
		s.send(ctx, &protobuf.AccountUpdateMultiEnd{ReqId: m.ReqId})
	case *protobuf.ExecutionRequest:
		s.send(ctx, &protobuf.ExecutionDetailsEnd{ReqId: m.ReqId})
	case *protobuf.SetServerLogLevelRequest, *protobuf.AutoOpenOrdersRequest, *protobuf.CancelPositions,
		*protobuf.CancelAccountUpdatesMulti, *protobuf.CancelContractData:
		// IB answers none of these.
	default:
		s.refuse(ctx, req)
	}
}

// refuse answers what the gateway does not do. IB's texts name the class of its own that objected, such as 'bS'; the names
// change from version to version, so nothing should depend on them.
func (s *session) refuse(ctx context.Context, req request) {
	_, known := layouts[req.id]
	switch {
	case req.actsOnOrders():
		s.fail(ctx, req.reqID, 321, "Error validating request.-'bS' : cause - The API interface is currently in Read-Only mode.")
	case known:
		s.fail(ctx, req.reqID, 321, fmt.Sprintf("Error validating request.-'bX' : cause - The simulated gateway does not answer %s.", req.id))
	default:
		s.fail(ctx, req.reqID, 320, fmt.Sprintf("Error reading request. Unknown message id %d.", int(req.id)))
	}
}

type notice struct {
	code int32
	text string
}

// farms are the notices that a gateway greets with.
var farms = []notice{
	{2104, "Market data farm connection is OK:usfarm"},
	{2106, "HMDS data farm connection is OK:ushmds"},
	{2158, "Sec-def data farm connection is OK:secdefil"},
}

func (c Config) introduces() []notice {
	if c.NoFarms {
		return nil
	}
	return farms
}

// start claims the client id and says what a gateway says first.
func (s *session) start(ctx context.Context, client int32) {
	if s.started {
		s.fail(ctx, -1, 321, "Error validating request.-'bX' : cause - The API has already been started on this connection.")
		return
	}
	switch s.g.claim(s, client) {
	case idInUse:
		s.fail(ctx, -1, 326, "Unable to connect as the client id is already in use. Retry with a unique client id.")
		s.end(&ending{ClientIDInUse, flushed})
		return
	case noRoom:
		s.end(&ending{TooManyClients, flushed})
		return
	}
	s.log.Info().Int32("client_id", client).Msg("started")
	if s.closeAfterStart {
		s.end(&ending{ClosedAfterStart, flushed})
		return
	}
	s.g.greet(s)
}

// mayAskTime is false for a question asked again too soon, which IB leaves without an answer.
func (s *session) mayAskTime(id Request) bool {
	now := time.Now()
	last, asked := s.askedTime[id]
	if asked && now.Sub(last) < s.g.cfg.TimeSpacing {
		return false
	}
	s.askedTime[id] = now
	return true
}

// resolve finds the one instrument that is meant; if there is not exactly one it answers with the error.
func (s *session) resolve(ctx context.Context, reqID int32, c *protobuf.Contract) (*instrument, bool) {
	switch found := s.g.symbols.find(c); len(found) {
	case 0:
		s.fail(ctx, reqID, 200, noDefinition)
	case 1:
		return found[0], true
	default:
		s.fail(ctx, reqID, 200, fmt.Sprintf("The contract description specified for %s is ambiguous.", c.GetSymbol()))
	}
	return nil, false
}

const noDefinition = "No security definition has been found for the request"

// free tells whether a ticker id may be used; if not it answers with the error.
func (s *session) free(ctx context.Context, reqID int32) bool {
	if _, taken := s.streams[reqID]; !taken && !s.running(reqID) {
		return true
	}
	s.fail(ctx, reqID, 322, "Error processing request.-'bI' : cause - Duplicate ticker id")
	return false
}

// subscribe opens a subscription, for which a unit of a capacity has been taken.
func (s *session) subscribe(reqID int32, opened Request, holds capacity, every, first time.Duration, emit func(periods int) []proto.Message) {
	s.streams[reqID] = &stream{opened: opened, holds: holds, every: every, next: time.Now().Add(first), emit: emit}
}

var openedBy = map[Request]Request{
	CancelMktData:        ReqMktData,
	CancelTickByTickData: ReqTickByTickData,
	CancelRealTimeBars:   ReqRealTimeBars,
	CancelHistoricalData: ReqHistoricalData,
	CancelHeadTimestamp:  ReqHeadTimestamp,
}

func (s *session) cancel(ctx context.Context, req request) {
	st, ok := s.streams[req.reqID]
	ours := ok && st.opened == openedBy[req.id]
	switch {
	case s.stop(openedBy[req.id], req.reqID):
		s.tellCancelled(ctx, req)
	case !ours && req.id == CancelHistoricalData:
		s.fail(ctx, req.reqID, 366, fmt.Sprintf("No historical data query found for ticker id:%d", req.reqID))
	case !ours:
		s.fail(ctx, req.reqID, 300, fmt.Sprintf("Can't find EId with tickerId:%d", req.reqID))
	default:
		s.drop(req.reqID)
		s.tellCancelled(ctx, req)
	}
}

// tellCancelled answers the cancel of a query. The cancel of anything else gets no answer.
func (s *session) tellCancelled(ctx context.Context, req request) {
	if req.id == CancelHistoricalData {
		s.fail(ctx, req.reqID, 162, fmt.Sprintf("Historical Market Data Service error message:API historical data query cancelled: %d", req.reqID))
	}
}

func (s *session) contractDetails(ctx context.Context, m *protobuf.ContractDataRequest) {
	found := s.g.symbols.find(m.GetContract())
	if len(found) == 0 {
		s.fail(ctx, m.GetReqId(), 200, noDefinition)
		return
	}
	for _, in := range found {
		s.send(ctx, in.data(m.GetReqId(), s.g.now(), s.g.cfg.Hours))
	}
	s.send(ctx, &protobuf.ContractDataEnd{ReqId: m.ReqId})
}
