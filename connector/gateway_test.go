package connector_test

import (
	"context"
	"slices"
	"sync"
	"time"

	"ibconn/connector"
	"ibconn/events"
)

// gateway is a gateway as the connector sees it, at the height of
// connector.Session. Each attempt plays the next script; the last script is
// played again for ever.
type gateway struct {
	scripts [][]step
	linger  time.Duration    // how long a session takes to be torn down
	waits   bool             // probes wait for a turn that a step gives them
	wall    func() time.Time // what sessions date by; nil is time.Now

	mu       sync.Mutex
	attempts []*session
}

// step is one thing that a session does. What it waits for ends with ctx.
type step func(ctx context.Context, s *session)

// session is one attempt at the gateway.
type session struct {
	order  connector.Order
	script []step
	linger time.Duration
	waits  bool
	wall   func() time.Time
	report func(connector.Input)

	mu      sync.Mutex
	heardAt time.Time
	probes  []time.Time // when each was sent
	begunAt time.Time
	endedAt time.Time // when its socket was closed
	gone    bool      // nothing of it is left

	sent     chan probe
	asked    chan connector.Message
	messages []connector.Message // all that were to be sent
	slow     []int               // what Slow was told
	heardOf  map[int64]time.Time // when data of a subscription last came
}

type probe struct {
	number uint64
	at     time.Time
}

func (g *gateway) Attempt(o connector.Order) connector.Session {
	g.mu.Lock()
	defer g.mu.Unlock()
	script := g.scripts[min(len(g.attempts), len(g.scripts)-1)]
	s := &session{order: o, script: script, linger: g.linger, waits: g.waits, wall: g.wall, sent: make(chan probe, 64), asked: make(chan connector.Message, 256)}
	if s.wall == nil {
		s.wall = time.Now
	}
	g.attempts = append(g.attempts, s)
	return s
}

// sessions returns the attempts made so far.
func (g *gateway) sessions() []*session {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.attempts)
}

// open returns how many sockets are open.
func (g *gateway) open() int {
	n := 0
	for _, s := range g.sessions() {
		s.mu.Lock()
		if !s.begunAt.IsZero() && s.endedAt.IsZero() {
			n++
		}
		s.mu.Unlock()
	}
	return n
}

// left returns how many sessions are not torn down.
func (g *gateway) left() int {
	n := 0
	for _, s := range g.sessions() {
		s.mu.Lock()
		if !s.begunAt.IsZero() && !s.gone {
			n++
		}
		s.mu.Unlock()
	}
	return n
}

func (s *session) Run(ctx context.Context, report func(connector.Input)) {
	s.report = report
	s.at(func() { s.begunAt = time.Now() })
	for _, step := range s.script {
		if ctx.Err() == nil {
			step(ctx, s)
		}
	}
	s.at(func() { s.endedAt = time.Now() })
	if s.linger > 0 {
		<-time.After(s.linger)
	}
	s.at(func() { s.gone = true })
}

func (s *session) at(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *session) Probe(number uint64) {
	now := s.wall()
	s.at(func() { s.probes = append(s.probes, now) })
	if !s.waits {
		go s.report(connector.Probed{Attempt: s.number(), Number: number, At: now})
	}
	select {
	case s.sent <- probe{number, now}:
	default:
	}
}

func (s *session) Send(m connector.Message) {
	s.at(func() { s.messages = append(s.messages, m) })
	select {
	case s.asked <- m:
	default:
	}
}

func (s *session) Slow(perSecond int, _ time.Duration) {
	s.at(func() { s.slow = append(s.slow, perSecond) })
}

func (s *session) HeardOf(id int64) (at time.Time) {
	s.at(func() { at = s.heardOf[id] })
	return at
}

func (s *session) Record() connector.FlightRecord {
	return connector.FlightRecord{Traffic: s.Traffic(), Frames: []events.FlightFrame{{At: dawn, Dir: "out", ID: 49}}}
}

func (s *session) Traffic() events.Traffic {
	s.mu.Lock()
	defer s.mu.Unlock()
	return events.Traffic{BytesIn: 1, HeardAt: s.heardAt}
}

// Load counts the messages that were to be sent.
func (s *session) Load() events.Load {
	s.mu.Lock()
	defer s.mu.Unlock()
	return events.Load{Sent: map[events.MessageKind]uint64{
		events.MessageStart: 1, events.MessageHeartbeat: 1 + uint64(len(s.probes)), events.MessageLinkProbe: uint64(len(s.messages)),
	}}
}

func (s *session) hear() { s.at(func() { s.heardAt = s.wall().UTC() }) }

func (s *session) number() uint64 { return s.order.Attempt }

// after lets d pass, or less if the session ends before.
func after(d time.Duration) step {
	return func(ctx context.Context, _ *session) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
}

// mute says nothing until the session is closed.
func mute(ctx context.Context, _ *session) { <-ctx.Done() }

func end(cause events.Cause) step {
	return func(_ context.Context, s *session) {
		s.report(connector.Ended{Attempt: s.number(), Cause: cause, Record: s.Record()})
	}
}

func reach(_ context.Context, s *session) {
	s.report(connector.Reached{Attempt: s.number(), Remote: s.order.Endpoint})
}

// open greets and gets ready.
func open(_ context.Context, s *session) {
	s.hear()
	now := s.wall()
	s.report(connector.Greeted{Attempt: s.number(), ServerVersion: 203})
	s.report(connector.Opened{
		Attempt: s.number(), Accounts: []string{"DU1234567"}, NextValidID: 1,
		Answer: connector.Answer{SentAt: now, ReceivedAt: now, Gateway: now.Truncate(time.Second)},
	})
}

// say sends a notice.
func say(code int, message string) step {
	return func(_ context.Context, s *session) {
		s.hear()
		s.report(connector.Noticed{Attempt: s.number(), RequestID: -1, Code: code, Message: message})
	}
}

// serve answers probes and searches for d; without d, until the session is
// closed.
func serve(d time.Duration) step { return replying(d, 1) }

// cutOff answers probes for d and searches not at all, as a gateway does whose
// link to IB is gone.
func cutOff(d time.Duration) step { return replying(d, -1) }

// replying answers probes for d, and searches with so many contracts; with
// less than none, not at all.
func replying(d time.Duration, contracts int) step {
	return func(ctx context.Context, s *session) {
		var over <-chan time.Time
		if d > 0 {
			over = time.After(d)
		}
		for {
			select {
			case p := <-s.sent:
				s.hear()
				s.report(connector.Answered{Attempt: s.number(), Number: p.number, Answer: connector.Answer{
					SentAt: p.at, ReceivedAt: s.wall(), Gateway: p.at.Truncate(time.Second),
				}})
			case m := <-s.asked:
				now := s.wall()
				s.report(connector.Passed{Attempt: s.number(), ID: m.ID, Outcome: connector.OutcomeSent, At: now})
				if contracts >= 0 {
					s.hear()
					s.report(connector.Found{Attempt: s.number(), ID: m.ID, SentAt: now, At: s.wall(), Count: contracts})
				}
			case <-over:
				return
			case <-ctx.Done():
				return
			}
		}
	}
}

// chatter hears bytes every second and answers nothing.
func chatter(ctx context.Context, s *session) {
	for ctx.Err() == nil {
		s.hear()
		after(time.Second)(ctx, s)
	}
}

var (
	refuse = []step{after(time.Millisecond), end(events.CauseRefused)}
	well   = []step{after(time.Millisecond), reach, after(10 * time.Millisecond), open, serve(0)}
)

// then begins as a session that gets ready and goes on with steps.
func then(steps ...step) []step { return append(slices.Clone(well[:4]), steps...) }
