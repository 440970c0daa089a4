package tws

import (
	"cmp"
	"context"
	"fmt"
	"sync"
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
	calls  chan func(*ibapi.EClient) // other requests to make
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
	}
}

// Probe implements [connector.Session].
func (s *session) Probe(number uint64) {
	select {
	case s.asks <- number:
	default:
	}
}

// Record implements [connector.Session].
func (s *session) Record() connector.FlightRecord { return s.record.record() }

// Traffic implements [connector.Session].
func (s *session) Traffic() events.Traffic { return s.record.counts() }

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

	t := newTap(gateway, s.record, s.probes, s.refused)
	t.now = s.dialer.now
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
	s.hold(ctx, t, r)
}

// hold keeps a greeted session until it ends, and then sees the library off.
// The ending is reported as soon as the library has decoded all that came
// before it; the connector need not wait for the rest.
func (s *session) hold(ctx context.Context, t *tap, r reply) {
	c := newCallbacks(s.order.Attempt, s.news, s.probes)
	c.now = s.dialer.now
	l := newLibrary(c, t.raw, s.dialer.teardown())
	err := l.raise(t, r, s.order.ClientID, func() { s.send(l) })
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
func (s *session) send(l *library) {
	markOutward(l.client)
	s.serve(l)
	select {
	case <-l.done: // it would only complain that it is not connected
	default:
		markOutward(l.client)
	}
}

// serve opens the session once the gateway has introduced itself, and then
// makes the requests that it is asked for.
func (s *session) serve(l *library) {
	select {
	case <-l.callbacks.introduced:
	case <-l.done:
		return
	case <-l.stop:
		return
	}
	ask := func(number uint64) {
		s.probes.call(number)
		l.client.ReqCurrentTime()
	}
	ask(opening)

	asks, number, due, stop := s.asks, uint64(0), (<-chan time.Time)(nil), func() {}
	defer func() { stop() }()
	for {
		select {
		case <-l.stop:
			return
		case <-l.done:
			return
		case number = <-asks:
			asks = nil
			// Times without a monotonic reading may have been set back.
			due, stop = s.dialer.clock().Timer(min(s.probes.due().Sub(s.dialer.now()), probeSpacing))
		case <-due:
			ask(number)
			asks, due = s.asks, nil
		case call := <-s.calls:
			call(l.client)
		}
	}
}
