package endtoend

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"ibconn/connector"
	"ibconn/testenv/gateway"
	"ibconn/testenv/scenario"
)

// session is one attempt of the dialer's, on its way between the runner and
// the gateway: it is held up while what is sent is lost, finds the gateway
// under the name that the scenario gives it, and knows how far it has come.
type session struct {
	connector.Session
	process *process
	order   connector.Order
	gateway *gateway.Gateway

	// With world.mu held:
	ctx     context.Context // of Run; nil before it
	report  func(connector.Input)
	come    scenario.Reach // Lost, Accepted, Greeted or Opened
	ending  bool           // it must end by itself
	over    bool           // Run has returned
	starts  int            // startApi that the gateway received before its own
	noticed int            // notices reported
	probes  int            // requests for the time that the gateway received, as far as the world knows
	// What a session that is open has under way: the requests that the gateway
	// must have received, with all before, by their kind; and how much it sends
	// for certain that has not come yet.
	asked   map[gateway.Request]int
	coming  int
	leaving int // probes whose leaving is to be reported
}

// Run implements [connector.Session].
func (s *session) Run(ctx context.Context, report func(connector.Input)) {
	w := s.process.world
	w.do(func() { s.ctx, s.report = ctx, report })
	if w.letThrough(s) {
		s.Session.Run(ctx, s.tell)
	}
	w.do(func() { s.over = true })
}

// letThrough waits until the attempt may begin, and says whether it came to
// that.
func (w *world) letThrough(s *session) bool {
	for {
		var reach scenario.Reach
		var changed chan struct{}
		w.do(func() { reach, changed = w.manners.For(s.order), w.changed })
		if reach != scenario.Lost {
			break
		}
		select {
		case <-changed:
		case <-s.ctx.Done():
			return false
		}
	}
	// A session before this one is over for us, and the gateway is about to
	// see that. A next attempt comes seconds later, or milliseconds: which of
	// the two must not decide whether it is refused.
	for w.ours(s.gateway) {
		if !pause(s.ctx) {
			return false
		}
	}
	if m := w.mannerOf(s.order.Endpoint); m.Reach == scenario.Denied {
		if err := w.hold(s.ctx, s.gateway, int(m.Taken)); err != nil {
			w.Errorf("take client id %d at the gateway: %v", m.Taken, err)
			return false
		}
	}
	before := s.gateway.Stats().Requests[gateway.StartAPI]
	w.do(func() { s.starts = before })
	s.gateway.Off(gateway.ReqCurrentTime) // the one that opens a session is answered at once
	return true
}

// ours says whether a gateway still has a session of ours.
func (w *world) ours(g *gateway.Gateway) bool {
	h, held := w.holderAt(g)
	return slices.ContainsFunc(g.Stats().Clients, func(id int) bool { return !held || id != h.id })
}

// fence is what a notice begins with that is the world's own: what the gateway
// sent before it has been reported when it comes. Nobody else sees it.
const (
	fence     = "fence"
	fenceCode = 9000
)

// tell takes news of the attempt, and passes them on to the runner.
func (s *session) tell(in connector.Input) {
	s.process.give(func() bool {
		in, ok := s.note(in)
		if ok {
			s.report(in)
		}
		return ok
	})
}

// note notes what news say of the attempt, and returns what the runner is to
// hear of them, if anything.
func (s *session) note(in connector.Input) (connector.Input, bool) {
	w := s.process.world
	switch e := in.(type) {
	case connector.Reached:
		e.Remote = s.order.Endpoint
		in = e
		w.do(func() { s.come = scenario.Accepted; w.dialled[s.gateway]++ })
	case connector.Greeted:
		w.do(func() { s.come = scenario.Greeted })
	case connector.Opened:
		received := s.gateway.Stats().Requests
		w.do(func() {
			s.come, s.asked, s.probes = scenario.Opened, received, received[gateway.ReqCurrentTime]
			s.gateway.On(gateway.ReqCurrentTime, 0, w.probesMeet())
		})
	case connector.Noticed:
		if e.Code == fenceCode && strings.HasPrefix(e.Message, fence) {
			w.do(func() { s.coming-- })
			return nil, false
		}
		w.do(func() { s.noticed++ })
	case connector.Probed:
		w.do(func() { s.leaving-- })
	case connector.Passed, connector.Found:
		w.do(func() { s.coming-- })
	case connector.Ended:
		w.do(func() { s.ending = true })
	default:
	}
	return in, true
}

// Probe implements [connector.Session].
func (s *session) Probe(number uint64) {
	w := s.process.world
	w.do(func() {
		s.asked[gateway.ReqCurrentTime]++
		s.leaving++
	})
	s.Session.Probe(number)
}

// Send implements [connector.Session]. What is sent is a probe of the link.
func (s *session) Send(m connector.Message) {
	w := s.process.world
	w.do(func() {
		s.asked[gateway.ReqMatchingSymbols]++
		s.coming++ // that it was sent
		if w.linked && w.delay >= 0 {
			s.coming++ // its answer
		}
	})
	s.Session.Send(m)
}

// Slow implements [connector.Session] and does nothing: the pace of messages
// goes by the system's clock, and would only make the test slow.
func (s *session) Slow(int, time.Duration) {}

// busy says what is still to happen to the attempt, or nothing when it has
// come as far as it can.
func (s *session) busy() string {
	if s.over {
		return ""
	}
	w, name := s.process.world, fmt.Sprintf("attempt %d", s.order.Attempt)
	stats, reach := s.gateway.Stats(), w.manners.For(s.order)
	switch {
	case s.ctx == nil:
		return name + " is about to begin"
	case s.ctx.Err() != nil || s.ending:
		return name + " is being torn down"
	case s.come == scenario.Opened:
		if s.coming != 0 {
			return fmt.Sprintf("the gateway has sent %d things that did not reach %s", s.coming, name)
		}
		// Held by its spacing, that is: what else a dialer waits for takes longer.
		held := stats.Requests[gateway.ReqCurrentTime] < s.asked[gateway.ReqCurrentTime] && w.dialerClock.setFor(connector.ProbeSpacing)
		if held {
			stats.Requests[gateway.ReqCurrentTime] = s.asked[gateway.ReqCurrentTime]
		}
		if !maps.Equal(stats.Requests, s.asked) {
			return fmt.Sprintf("%s has sent the requests %v, and the gateway received %v", name, s.asked, stats.Requests)
		}
		if s.leaving != 0 && !held {
			return fmt.Sprintf("%s is about to say that %d probes have left", name, s.leaving)
		}
		return ""
	case reach == scenario.Lost:
		return ""
	case reach == scenario.Refused, reach == scenario.HungUp, reach == scenario.Denied:
		return name + " is to come to nothing"
	case s.come < reach:
		return name + " is on its way"
	case s.come == scenario.Greeted && stats.Requests[gateway.StartAPI] == s.starts:
		return "the gateway has yet to receive the startApi of " + name
	case stats.Accepted != w.dialled[s.gateway]:
		return "the gateway has yet to accept " + name
	}
	return ""
}
