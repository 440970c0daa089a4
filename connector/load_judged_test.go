package connector_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ibconn/connector"
	"ibconn/connector/tws"
	"ibconn/events"
	simulated "ibconn/testenv/gateway"
	"ibconn/testenv/memlog"
)

// quiet is time that passes only while nothing is under way at a gateway: then it
// goes on to the next alarm.
type quiet struct {
	mu     sync.Mutex
	wall   time.Time
	passed time.Duration
	alarms map[*bell]bool
	under  int    // what is under way
	stirs  uint64 // how often somebody set an alarm, or something was under way no more
}

type bell struct {
	at   time.Duration
	rang chan time.Time
}

func (q *quiet) Now() (time.Time, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.wall, q.passed
}

func (q *quiet) Timer(d time.Duration) (<-chan time.Time, func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stirs++
	b := &bell{q.passed + d, make(chan time.Time, 1)}
	if d <= 0 {
		b.rang <- q.wall
		return b.rang, func() {}
	}
	q.alarms[b] = true
	return b.rang, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.alarms, b)
	}
}

// begin and end say that something is under way, and is no more.
func (q *quiet) begin(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.under += n
	q.stirs++
}

// calm says whether nothing is under way, and how much has stirred so far.
func (q *quiet) calm() (uint64, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.stirs, q.under == 0
}

// step moves to the next alarm, if nothing has stirred since.
func (q *quiet) step(stirs uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var first *bell
	for b := range q.alarms {
		if first == nil || b.at < first.at {
			first = b
		}
	}
	// A runner that runs looks at its clock every ten seconds.
	if first == nil || first.at > q.passed+10*time.Second || q.under > 0 || q.stirs != stirs {
		return
	}
	q.wall, q.passed = q.wall.Add(first.at-q.passed), first.at
	delete(q.alarms, first)
	first.rang <- q.wall
}

// run lets time pass until ctx ends. How long it looks whether something stirs
// decides only how quickly time passes: what is under way at a gateway is known.
func (q *quiet) run(ctx context.Context) {
	for ctx.Err() == nil {
		stirs, calm := q.calm()
		for range 100 {
			runtime.Gosched()
		}
		if calm {
			q.step(stirs)
		}
	}
}

// process is the clock of one process, whose passed time has an origin of its own.
type process struct {
	*quiet
	origin time.Duration
}

func (p process) Now() (time.Time, time.Duration) {
	wall, passed := p.quiet.Now()
	return wall, passed - p.origin
}

// counting is a dialer that counts what is under way in its sessions.
type counting struct {
	tws.Dialer
	quiet *quiet
}

type countedSession struct {
	connector.Session
	quiet *quiet

	mu    sync.Mutex
	under map[any]bool // messages by their id, and what else is under way by a name
	over  bool
}

func (c *counting) Attempt(o connector.Order) connector.Session {
	return &countedSession{Session: c.Dialer.Attempt(o), quiet: c.quiet, under: make(map[any]bool)}
}

func (s *countedSession) begun(what any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over && !s.under[what] {
		s.under[what] = true
		s.quiet.begin(1)
	}
}

func (s *countedSession) ended(what any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.under[what] {
		delete(s.under, what)
		s.quiet.begin(-1)
	}
}

func (s *countedSession) Send(m connector.Message) {
	if c, ok := m.Request.(connector.CancelBars); ok {
		defer s.ended(c.Of) // it may have no answer
	} else {
		s.begun(m.ID)
	}
	s.Session.Send(m)
}

func (s *countedSession) Probe(number uint64) {
	s.begun("probe")
	s.Session.Probe(number)
}

func (s *countedSession) Run(ctx context.Context, report func(connector.Input)) {
	s.begun("attempt")
	s.Session.Run(ctx, func(in connector.Input) {
		report(in)
		switch in := in.(type) {
		case connector.Opened:
			s.ended("attempt")
		case connector.Answered:
			s.ended("probe")
		case connector.Passed:
			if in.Outcome != connector.OutcomeSent {
				s.ended(in.ID)
			}
		case connector.Brought:
			s.ended(in.ID)
		case connector.Described:
			s.ended(in.ID)
		case connector.Found:
			s.ended(in.ID)
		case connector.Noticed:
			s.ended(in.RequestID)
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.quiet.begin(-len(s.under))
}

// ledgers is a store that a test holds.
type ledgers struct {
	mu  sync.Mutex
	all map[string][]byte
}

func (l *ledgers) LoadLedger(_ context.Context, gateway string) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all[gateway], nil
}

func (l *ledgers) SaveLedger(_ context.Context, gateway string, kept []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all[gateway] = kept
	return nil
}

// TestManyConnectionsKeepIBsRulesThroughARestart has three connections to a
// gateway that enforces IB's rules on history ask for a random load, as fast as
// their ledger lets them, and the process that keeps them start anew now and
// then.
func TestManyConnectionsKeepIBsRulesThroughARestart(t *testing.T) {
	const load, starts, connections, callers = 2000, 4, 3, 5
	q := &quiet{wall: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC), alarms: make(map[*bell]bool)}
	g := simulated.Start(t, simulated.Config{
		HistoryPacing: true, TimeSpacing: -1, MaxClients: 32,
		Now: func() time.Time { wall, _ := q.Now(); return wall },
	})
	asked := func() int { return g.Stats().Requests[simulated.ReqHistoricalData] }
	var passing sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer passing.Wait()
	defer cancel()
	passing.Go(func() { q.run(ctx) })

	store := &ledgers{all: make(map[string][]byte)}
	var logs [connections]*memlog.Store
	for i := range logs {
		logs[i] = memlog.New()
	}
	var answered atomic.Int64
	for start := range starts {
		_, passed := q.Now()
		clock := process{q, passed + time.Duration(start)*time.Hour}
		dialer := &counting{Dialer: tws.Dialer{Clock: clock}, quiet: q}
		history := &connector.Ledgers{Store: store}
		running, stop := context.WithCancelCause(ctx)
		var all sync.WaitGroup
		enough := load * (start + 1) / starts
		for i := range connections {
			r := newRunner(logs[i].Writer(), nil)
			r.Dialer, r.History, r.Clock, r.NewID = dialer, history, clock, func() string { return fmt.Sprint("event-", i, "-", ids.Add(1)) }
			r.Policy.Endpoint, r.Policy.ClientID, r.Policy.Pace = g.Addr(), int64(start*connections+i+1), connector.Pace{PerSecond: 1000}
			all.Go(func() {
				if err := r.Run(running); !errors.Is(err, errTerminated) {
					t.Errorf("Run() = %v", err)
				}
			})
			for j := range callers {
				all.Go(func() {
					rnd := rand.New(rand.NewPCG(uint64(start), uint64(i*callers+j)))
					for running.Err() == nil {
						a := askAtRandom(running, t, r, clock, rnd)
						if a.OK {
							answered.Add(1)
						}
					}
				})
			}
		}
		for asked() < enough && ctx.Err() == nil {
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
			}
		}
		stop(errTerminated)
		all.Wait()
	}
	if ctx.Err() != nil {
		t.Fatalf("%d queries were sent in time, want %d", asked(), load)
	}
	_, passed := q.Now()
	t.Logf("%d queries, %d answers, %d starts, %v", asked(), answered.Load(), starts, passed)
	if passed < time.Hour {
		t.Errorf("it took %v, want a load that needs a ledger", passed)
	}
	if broken := g.Stats().Pacing; len(broken) != 0 {
		t.Errorf("IB's rules were broken: %v", broken)
	}
}

// askAtRandom asks for bars: for few series, so that rules matter, mostly of small
// bars, sometimes for several requests' worth, and sometimes without waiting.
func askAtRandom(ctx context.Context, t *testing.T, r *connector.Runner, clock connector.Clock, rnd *rand.Rand) events.Answer {
	pick := func(of ...string) string { return of[rnd.IntN(len(of))] }
	req := events.Request{Wait: events.Wait(time.Hour), BarQuery: events.BarQuery{
		Duration: pick("60 S", "120 S"), BarSize: pick("5 secs", "30 secs", "1 min", "5 mins", "1 min", "5 mins"), What: pick("TRADES", "MIDPOINT", "BID_ASK"), RTH: rnd.IntN(4) == 0,
	}}
	req.Contract = contract(t, pick("AAPL", "MSFT"))
	switch rnd.IntN(20) {
	case 0:
		req.Duration, req.BarSize, req.Stream = "7200 S", "5 secs", true
	case 1:
		impatient, cancel := context.WithCancel(ctx)
		gone, stop := clock.Timer(time.Duration(rnd.IntN(20)) * time.Second)
		var leaving sync.WaitGroup
		leaving.Go(func() {
			select {
			case <-gone:
				cancel()
			case <-impatient.Done():
			}
		})
		defer leaving.Wait()
		defer cancel()
		defer stop()
		ctx = impatient
	case 2:
		req.Wait = events.Wait(rnd.IntN(30)) * events.Wait(time.Second)
	}
	a := r.Handle(ctx, events.VerbHistory, req, nil)
	if !a.OK && a.Error.Code == events.ErrorNotReady || rnd.IntN(3) == 0 {
		pause, stop := clock.Timer(time.Duration(1+rnd.IntN(20)) * time.Second)
		defer stop()
		select {
		case <-pause:
		case <-ctx.Done():
		}
	}
	return a
}
