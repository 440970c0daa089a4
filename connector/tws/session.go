package tws

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ibconn/connector"
	"ibconn/events"

	"github.com/scmhub/ibapi"
)

// session is one attempt, and the session it opens.
type session struct {
	dialer *Dialer
	order  connector.Order
	record *recorder
	news   *queue
	probes *probes
	asks   chan uint64               // numbers of the probes to send
	calls  chan func(*ibapi.EClient) // requests to make at once, unpaced: for tests
	tap    atomic.Pointer[tap]       // nil until the gateway was reached

	streams atomic.Pointer[streams] // nil until the gateway was greeted

	mu       sync.Mutex
	waiting  *connector.Queue    // messages that wait for their turn
	held     []connector.Message // go before their equals in waiting, the last one first
	unsent   map[int64]bool      // the ids of subscriptions that wait; true for one that was cancelled meanwhile
	dataType string              // of market data, as the gateway was asked for it last
	over     bool                // none are taken any more
	changed  chan struct{}       // holds a token while messages came
	load     load                // what was sent
	pacer    *connector.Pacer    // of the gateway; nil until it was reached
	slow     slowness            // asked for before that

	blocked time.Time // when a turn was wanted last that did not come at once; of the goroutine that sends
}

// slowness is what Slow was asked for.
type slowness struct {
	perSecond int
	until     time.Time
}

// waitingProbes is how many probes may wait to be sent. The connector has one
// under way at a time.
const waitingProbes = 8

func newSession(d *Dialer, o connector.Order) *session {
	return &session{
		dialer: d, order: o,
		record: newRecorder(cmp.Or(d.Frames, defaultFrames)),
		news:   newQueue(queueLimit),
		probes: new(probes),
		asks:   make(chan uint64, waitingProbes),
		calls:  make(chan func(*ibapi.EClient)),

		waiting:  connector.NewQueue(cmp.Or(o.QueueLimit, defaultQueueLimit)),
		unsent:   make(map[int64]bool),
		dataType: events.MarketDataTypes[0],
		changed:  make(chan struct{}, 1),
	}
}

// defaultQueueLimit is how many messages may wait where the order does not say.
const defaultQueueLimit = 1000

// Probe implements [connector.Session].
func (s *session) Probe(number uint64) {
	select {
	case s.asks <- number:
	default:
	}
}

// Send implements [connector.Session].
func (s *session) Send(m connector.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	if r, is := m.Request.(connector.Unsubscribe); is {
		if _, waits := s.unsent[r.Of]; waits {
			// Being more urgent it would overtake what it cancels.
			s.unsent[r.Of] = true
			s.passed(m, connector.OutcomeExpired, s.dialer.now())
			return
		}
	}
	m.Since = time.Now()
	if !s.waiting.Put(m) {
		s.passed(m, connector.OutcomeFull, s.dialer.now())
		return
	}
	if _, is := m.Request.(connector.Subscribe); is {
		s.unsent[m.ID] = false
	}
	token(s.changed)
}

// HeardOf implements [connector.Session].
func (s *session) HeardOf(id int64) time.Time {
	if of := s.streams.Load(); of != nil {
		return of.heardOf(id)
	}
	return time.Time{}
}

// passed reports what became of a message.
func (s *session) passed(m connector.Message, o connector.Outcome, at time.Time) {
	s.news.put(connector.Passed{Attempt: s.order.Attempt, ID: m.ID, Outcome: o, At: at})
}

// Slow implements [connector.Session].
func (s *session) Slow(perSecond int, during time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pacer == nil {
		s.slow = slowness{perSecond, time.Now().Add(during)}
		return
	}
	s.pacer.Slow(s.order.ClientID, perSecond, during)
}

// join takes a place among the connections to the gateway.
func (s *session) join(gateway string) *connector.Turn {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pacer = s.dialer.pacers().For(gateway)
	if s.slow.perSecond > 0 {
		s.pacer.Slow(s.order.ClientID, s.slow.perSecond, time.Until(s.slow.until))
	}
	pace := s.order.Pace
	if pace.PerSecond == 0 {
		pace.PerSecond = connector.DefaultPerSecond
	}
	return s.pacer.Join(pace)
}

// Record implements [connector.Session].
func (s *session) Record() connector.FlightRecord {
	r := s.record.record()
	if t := s.tap.Load(); t != nil {
		r.Unacked = unacked(t.gateway)
	}
	return r
}

// Traffic implements [connector.Session].
func (s *session) Traffic() events.Traffic { return s.record.counts() }

// Load implements [connector.Session].
func (s *session) Load() events.Load {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.load.total(s.waiting.Len() + len(s.held))
}

// Run implements [connector.Session].
func (s *session) Run(ctx context.Context, report func(connector.Input)) {
	var reporting sync.WaitGroup
	reporting.Go(func() { s.news.deliver(report) })
	defer reporting.Wait()
	defer s.news.close()

	gateway, err := s.dialer.dial(ctx, s.order.Endpoint)
	if err != nil {
		s.end(ctx, err)
		return
	}
	s.news.put(connector.Reached{Attempt: s.order.Attempt, Remote: gateway.RemoteAddr().String()})

	turn := s.join(gateway.RemoteAddr().String())
	defer turn.Leave()
	t := newTap(gateway, s.record, s.probes, s.refused)
	t.now = s.dialer.now
	s.tap.Store(t)
	t.patience = cmp.Or(s.dialer.FrameTimeout, defaultFrameTimeout)
	var hangingUp sync.WaitGroup
	over := make(chan struct{})
	hangingUp.Go(func() {
		select {
		case <-ctx.Done():
		case <-over:
		}
		t.hangUp()
	})
	defer hangingUp.Wait()
	defer close(over)

	r, err := t.greet(s.dialer.ConnectOptions)
	if err != nil {
		s.end(ctx, err)
		return
	}
	s.news.put(connector.Greeted{Attempt: s.order.Attempt, ServerVersion: r.version, GatewayTime: r.time})
	s.hold(ctx, t, r, turn)
}

// hold keeps a greeted session until it ends, and then sees the library off.
// The ending is reported as soon as the library has decoded all that came
// before it; the connector need not wait for the rest.
func (s *session) hold(ctx context.Context, t *tap, r reply, turn *connector.Turn) {
	c := newCallbacks(s.order.Attempt, s.news, s.probes)
	c.now = s.dialer.now
	if s.order.Deliver != nil {
		c.deliver = s.order.Deliver
	}
	s.streams.Store(&c.streams)
	c.garbled = r.version < ibapi.MIN_SERVER_VER_PROTOBUF_CONTRACT_DATA
	l := newLibrary(c, t.raw, s.dialer.teardown())
	err := s.firstTurn(ctx, turn)
	if err == nil {
		err = l.raise(t, r, s.order.ClientID, func() { s.send(l, turn) })
	}
	if err == nil {
		err = s.watch(ctx, l, l.feed(t))
	}
	since := time.Now()
	t.hangUp()
	if undecodable := l.drain(); undecodable != nil {
		err = undecodable
	}
	s.end(ctx, err)
	if !l.release() {
		s.news.seal(connector.Abandoned{Attempt: s.order.Attempt, Waited: time.Since(since), Total: s.dialer.abandoned.Add(1)})
	}
}

// firstTurn waits for the turn of the startApi that the library sends as soon
// as it is up.
func (s *session) firstTurn(ctx context.Context, turn *connector.Turn) error {
	since := time.Now()
	s.want(turn, connector.PrioritySession, since)
	select {
	case <-turn.Ready():
		s.count(events.MessageStart, since)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// watch waits for the first thing that ends the session, and returns it.
func (s *session) watch(ctx context.Context, l *library, ended <-chan error) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-ended:
		return err
	case <-l.done:
		return errUndecodable
	case <-s.news.overrun:
		return ending{events.CauseOverrun, fmt.Sprintf("%d messages wait to be recorded", queueLimit)}
	}
}

// end lets no news follow, and reports the end unless it was the connector's
// wish.
func (s *session) end(ctx context.Context, err error) {
	s.mu.Lock()
	lost := append(s.waiting.Drain(), s.held...)
	s.held, s.over = nil, true
	clear(s.unsent)
	s.mu.Unlock()
	for _, m := range lost {
		s.passed(m, connector.OutcomeLost, s.dialer.now())
	}
	if ctx.Err() != nil {
		s.news.seal()
		return
	}
	e := endingOf(err)
	s.news.seal(connector.Ended{Attempt: s.order.Attempt, Cause: e.cause, Detail: e.detail, Record: s.record.record()})
}

// refused reports a frame that the safety catch held back.
func (s *session) refused(id, size int) {
	s.news.put(connector.Refused{Attempt: s.order.Attempt, MessageID: id, Name: requestNames[id], Size: size})
}

// send makes all the session's requests: one goroutine, because a request that
// the library has no room for blocks, and because the library must be let go
// of with no request under way. So its first and its last are marks.
func (s *session) send(l *library, turn *connector.Turn) {
	markOutward(l.client)
	s.serve(l, turn)
	select {
	case <-l.done: // it would only complain that it is not connected
	default:
		markOutward(l.client)
	}
}

// serve opens the session once the gateway has introduced itself, and then
// makes the requests that it is asked for, each in its turn.
func (s *session) serve(l *library, turn *connector.Turn) {
	select {
	case <-l.callbacks.introduced:
	case <-l.done:
		return
	case <-l.stop:
		return
	}
	// The heartbeat at hand: it comes from asks, waits until it is due, and then,
	// ready, for its turn.
	number, ready, since := uint64(opening), true, time.Now()
	var asks <-chan uint64
	var due, expires <-chan time.Time
	stopDue, stopExpires := func() {}, func() {}
	defer func() { stopDue(); stopExpires() }()
	for {
		asked := time.Now()
		best, expiry := s.next(ready)
		s.want(turn, best, asked)
		stopExpires()
		expires, stopExpires = nil, func() {}
		if !expiry.IsZero() {
			expires, stopExpires = s.dialer.clock().Timer(expiry.Sub(s.dialer.now()))
		}
		select {
		case <-l.stop:
			return
		case <-l.done:
			return
		case number = <-asks:
			asks = nil
			// Times without a monotonic reading may have been set back.
			due, stopDue = s.dialer.clock().Timer(min(s.probes.due().Sub(s.dialer.now()), probeSpacing))
		case <-due:
			due, ready, since = nil, true, time.Now()
		case <-s.changed:
		case <-expires:
		case <-turn.Ready():
			if ready {
				s.count(events.MessageHeartbeat, since)
				s.probes.call(number)
				l.client.ReqCurrentTime()
				if number != opening {
					s.news.put(connector.Probed{Attempt: s.order.Attempt, Number: number, At: s.dialer.now()})
				}
				asks, ready = s.asks, false
			} else {
				s.sendNext(l)
			}
		case call := <-s.calls:
			call(l.client)
		}
	}
}

// next reports the messages that expired, and returns the priority of what is to
// be sent next, and when the next message expires; zero when none does.
func (s *session) next(heartbeat bool) (connector.Priority, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.dialer.now()
	expired := s.waiting.Expire(now)
	s.held = slices.DeleteFunc(s.held, func(m connector.Message) bool {
		late := !m.Expires.IsZero() && !now.Before(m.Expires)
		if late {
			expired = append(expired, m)
		}
		return late
	})
	for _, m := range expired {
		delete(s.unsent, m.ID)
		s.passed(m, connector.OutcomeExpired, now)
	}
	best, expiry := s.waiting.Best(), s.waiting.NextExpiry()
	if h, first := s.heldFirst(); first {
		best = h.Priority
	}
	for _, h := range s.held {
		if expiry.IsZero() || !h.Expires.IsZero() && h.Expires.Before(expiry) {
			expiry = h.Expires
		}
	}
	if heartbeat {
		best = connector.PrioritySession
	}
	return best, expiry
}

// heldFirst returns the message that is held and goes next, if it goes before
// those that wait.
func (s *session) heldFirst() (m connector.Message, ok bool) {
	if len(s.held) == 0 {
		return m, false
	}
	m = s.held[len(s.held)-1]
	best := s.waiting.Best()
	return m, best == 0 || m.Priority <= best
}

// take returns the message whose turn it is. When it is a subscription for
// market data of another type than was asked for last, the turn is that type's:
// it is returned instead, and the message is held for a turn of its own.
func (s *session) take() (m connector.Message, dataType string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if m, ok = s.heldFirst(); ok {
			s.held = s.held[:len(s.held)-1]
		} else if m, ok = s.waiting.Take(); !ok {
			return m, "", false
		}
		sub, is := m.Request.(connector.Subscribe)
		switch {
		case !is:
			return m, "", true
		case s.unsent[m.ID]:
			delete(s.unsent, m.ID)
			s.passed(m, connector.OutcomeExpired, s.dialer.now())
			continue
		}
		if f := sub.Feed.WithDefaults(); f.Kind == events.SubscribeQuotes && f.MarketDataType != s.dataType {
			s.dataType, s.held = f.MarketDataType, append(s.held, m)
			return m, s.dataType, true
		}
		delete(s.unsent, m.ID)
		return m, "", true
	}
}

// sendNext sends the message whose turn it is, if it did not expire meanwhile.
func (s *session) sendNext(l *library) {
	m, dataType, ok := s.take()
	if !ok {
		return
	}
	if dataType != "" {
		s.count(events.MessageDataType, time.Time{})
		l.client.ReqMarketDataType(dataTypeNumber(dataType))
		return
	}
	s.count(kindOf(m.Request), m.Since)
	now := s.dialer.now()
	switch r := m.Request.(type) {
	case connector.SearchSymbols:
		l.callbacks.searches.sent(m.ID, now)
		l.client.ReqMatchingSymbols(m.ID, r.Pattern)
	case connector.ContractDetails:
		l.client.ReqContractDetails(m.ID, contractOf(r.Contract))
	case connector.HistoricalBars:
		q := r.Query
		l.client.ReqHistoricalData(m.ID, contractOf(r.Contract), endOf(q), q.Duration, q.BarSize, q.What, q.RTH, formatSeconds, false, nil)
	case connector.CancelBars:
		l.client.CancelHistoricalData(r.Of)
		l.callbacks.bars.take(r.Of)
	case connector.Subscribe:
		l.callbacks.streams.add(m.ID, r)
		subscribe(l.client, m.ID, r.Feed.WithDefaults())
	case connector.Unsubscribe:
		l.callbacks.streams.drop(r.Of)
		unsubscribe(l.client, r.Of, r.Feed.Kind)
	}
	s.passed(m, connector.OutcomeSent, now)
}
