package connector

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"ibconn/events"
)

// Runner keeps one connection: it owns its state, takes its inputs one by one,
// records what they mean, and makes reality match the plan. Fill in the fields
// and call Run once.
type Runner struct {
	Connection events.ConnectionID
	Policy     Policy
	Log        Log
	Dialer     Dialer
	// Control carries out the control commands; nil when there are none.
	Control Controller

	Instance string        // who we are, as events name it: host name and more
	Version  string        // the program's version
	PID      int           // our process id
	NewID    func() string // a new unique id at each call, from any goroutine

	// History has the ledgers of the gateways. Runners whose connections reach
	// the same gateway share it; nil is one of the Runner's own.
	History *Ledgers

	// Contracts keeps what descriptions of contracts meant, for the next process
	// and for other connections; nil keeps nothing.
	Contracts ContractStore

	// Data takes what subscriptions bring; nil leaves it.
	Data Data

	// Clock is what events are dated and deadlines kept by; nil is the
	// system's. A Dialer should go by the same one.
	Clock Clock

	// Grace is how long the last events may take once Run was told to end, by
	// the system's clock.
	Grace time.Duration

	view      atomic.Pointer[view]
	orders    chan order
	inquiries chan asked
	ledgers   Ledgers
	recalls   recalls
	ended     chan struct{} // closed when nobody is answered any more
	once      sync.Once
	over      sync.Once // closes ended
}

// DefaultGrace is the grace of a Runner that names none.
const DefaultGrace = 1500 * time.Millisecond

// view is what others may see of the connection: replaced whole, never changed.
type view struct {
	state   events.State
	session Session       // the one that runs; nil when none does
	next    chan struct{} // closed when this view is replaced
}

func (r *Runner) init() {
	r.once.Do(func() {
		r.orders = make(chan order)
		r.inquiries = make(chan asked)
		r.ended = make(chan struct{})
		r.view.Store(&view{state: events.NewState(r.Connection), next: make(chan struct{})})
	})
}

// finish says that nobody is answered any more who was not.
func (r *Runner) finish() { r.over.Do(func() { close(r.ended) }) }

// State returns the state as of the last event recorded.
func (r *Runner) State() events.State {
	r.init()
	return r.view.Load().state
}

// Run claims the connection and keeps it until ctx ends, which it records as
// stopped before it returns context.Cause(ctx). It returns
// events.ErrSuperseded when another writer took the connection, and another
// error when the log cannot be read or written; in each case the session is
// closed and every goroutine of Run has ended.
func (r *Runner) Run(ctx context.Context) error {
	r.init()
	defer r.finish()
	if err := r.Policy.Validate(); err != nil {
		return fmt.Errorf("connector: policy of %s: %w", r.Connection, err)
	}
	// An append must not be cut off halfway: whether it was stored would not
	// be known, and the next event would take its sequence a second time.
	appending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	grace := r.Grace
	if grace == 0 {
		grace = DefaultGrace
	}
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(grace, cancel)
		context.AfterFunc(appending, func() { timer.Stop() })
	})
	defer stop()

	alive, die := context.WithCancel(appending)
	defer die()
	l := &loop{
		Runner:    r,
		appending: appending,
		alive:     alive,
		die:       die,
		inputs:    make(chan Input),
		results:   make(chan func() error),
		quit:      make(chan struct{}),
		repeats:   repeats{every: r.Policy.RepeatEvery},
		requests:  requests{connection: r.Connection},
	}
	if err := l.run(ctx); err != nil {
		return fmt.Errorf("connector %s: %w", r.Connection, err)
	}
	return context.Cause(ctx)
}

// loop is one Run: the goroutine that owns the state.
type loop struct {
	*Runner
	appending context.Context

	state  events.State
	head   events.Head
	author events.Author

	inputs   chan Input
	results  chan func() error // what goroutines of the loop's own leave it to do
	quit     chan struct{}     // closed when nobody reads inputs any more
	alive    context.Context   // ends then
	die      context.CancelFunc
	sessions sync.WaitGroup
	running  uint64             // the attempt that runs; 0 when none does
	session  Session            // it
	end      context.CancelFunc // ends it
	probed   uint64             // the last probe put in its hands
	askedAt  time.Time          // when
	probedAt time.Time          // when it left; zero while it waits for its turn

	linkProbed   uint64    // the last probe of the link put in its queue
	linkProbedAt time.Time // when that left; zero while it waits for its turn
	slowed       Plan      // what the session was last told of its pace

	controlling string             // the control command that is asked for; empty when none is
	endControl  context.CancelFunc // ends the asking

	requests requests // what callers asked for
	feeds    feeds    // what subscriptions bring

	repeats repeats
	wall    time.Time     // when the clock was last looked at,
	passed  time.Duration // and how much time had passed then
}

func (l *loop) run(ctx context.Context) error {
	defer func() {
		close(l.quit)
		l.requests.end(l.notAsked())
		l.endSession()
		if l.controlling != "" {
			l.endControl()
		}
		l.publish()
		l.finish() // before it waits for those who ask it
		l.die()
		l.sessions.Wait()
	}()
	saved := l.remember()
	defer saved()
	started, damage, err := l.begin(ctx)
	if ctx.Err() != nil {
		return nil // before anything was begun: nothing to end, or to record
	}
	if err != nil {
		return err
	}
	if err := l.take(started); err != nil {
		return err
	}
	for _, d := range damage {
		if err := l.take(Damaged{Damage: d}); err != nil {
			return err
		}
	}
	return l.loop(ctx)
}

func (l *loop) loop(ctx context.Context) error {
	l.lookAtClock()
	for {
		rang, stop := l.clock().Timer(l.sleep(l.wallNow()))
		var next func() error
		select {
		case <-ctx.Done():
			stop()
			return l.shutDown(ctx)
		case in := <-l.inputs:
			next = func() error { return l.receive(in) }
		case next = <-l.results:
		case o := <-l.orders:
			next = func() error { return l.obey(o) }
		case q := <-l.inquiries:
			next = func() error { l.inquire(q); return nil }
		case <-rang:
			next = l.wake
		}
		stop()
		if by := l.lookAtClock(); by.Abs() > jumpLimit {
			if err := l.jump(by); err != nil {
				return err
			}
		}
		if err := next(); err != nil {
			return err
		}
		l.pursue(l.wallNow())
		if err := l.lookForLost(); err != nil {
			return err
		}
		if err := l.fillGaps(l.wallNow()); err != nil {
			return err
		}
		l.learn(l.wallNow())
	}
}

// receive takes in as what it is: for the log, or for subscriptions alone.
func (l *loop) receive(in Input) error {
	bars, ok := in.(BarsCame)
	switch {
	case !ok:
		return l.take(in)
	case bars.Attempt == l.running:
		return l.barsCame(bars)
	}
	return nil
}

// wake does what is due by the time alone.
func (l *loop) wake() error {
	now := l.wallNow()
	if err := l.recordRepeats(now, false); err != nil {
		return err
	}
	l.probe(now)
	l.probeLink(now)
	return l.take(l.woke())
}

const (
	// jumpLimit is how far the wall clock may run from the time that passed
	// before it is a jump. Clocks that are disciplined are slewed by less.
	jumpLimit = 2 * time.Second
	// look is how often the clock is looked at, at least: timers stand still
	// while the host sleeps.
	look = 10 * time.Second
)

// lookAtClock returns how far the wall clock has moved otherwise than time
// passed since it was last looked at.
func (l *loop) lookAtClock() time.Duration {
	wall, passed := l.clock().Now()
	wall = wall.Round(0)
	var by time.Duration
	if !l.wall.IsZero() {
		by = wall.Sub(l.wall) - (passed - l.passed)
	}
	l.wall, l.passed = wall, passed
	return by
}

func (l *loop) jump(by time.Duration) error {
	for _, at := range []*time.Time{&l.askedAt, &l.probedAt, &l.linkProbedAt} {
		if !at.IsZero() {
			*at = at.Add(by)
		}
	}
	l.requests.shift(by)
	l.shiftFeeds(by)
	l.feeds.jumped = l.wallNow()
	return l.take(Jumped{By: by})
}

// recordRepeats records the counts that are due, or all there are.
func (l *loop) recordRepeats(now time.Time, all bool) error {
	for _, e := range l.repeats.due(now, all) {
		if _, err := l.recordDraft(about(e.Attempt, e), now); err != nil {
			return err
		}
	}
	return nil
}

func (l *loop) sleep(now time.Time) time.Duration {
	plan := PlanFor(l.state)
	at := plan.WakeAt
	switch {
	case plan.Probe > l.probed:
		at = plan.ProbeAt
	case plan.Probe != 0: // it has its time from when it really left
		at = l.left().Add(l.Policy.HeartbeatTimeout)
	}
	switch {
	case plan.LinkProbe > l.linkProbed:
		at = earliest(at, latest(plan.LinkProbeAt, l.requests.proof.next))
	case plan.LinkProbe != 0 && !l.linkProbedAt.IsZero():
		at = earliest(at, l.linkProbedAt.Add(l.Policy.LinkProbeTimeout))
	}
	at = earliest(earliest(at, l.requests.wakeAt()), l.repeats.wakeAt())
	at = earliest(at, l.wakeFeeds(now))
	if at.IsZero() {
		return look
	}
	return min(at.Sub(now), look)
}

// earliest returns the earlier of two times, of which zero is never.
func earliest(a, b time.Time) time.Time {
	if b.IsZero() || !a.IsZero() && a.Before(b) {
		return a
	}
	return b
}

// begin reads what the log says, claims the connection, and returns the first
// input and what is wrong with the log.
func (l *loop) begin(ctx context.Context) (Started, []events.LogDamaged, error) {
	var started Started
	fold, err := load(ctx, l.Connection, l.Log)
	if err != nil {
		return started, nil, err
	}
	last, err := l.Log.LastAt(ctx)
	if err != nil {
		return started, nil, fmt.Errorf("newest event: %w", err)
	}
	l.state, l.head = fold.state, fold.head
	l.author = events.Author{Connection: l.Connection, Source: "/ibconn/" + l.Instance, NewID: l.NewID}
	now := l.wallNow()
	claim := &events.EpochBegan{
		Instance:      l.Instance,
		PID:           l.PID,
		Version:       l.Version,
		PreviousEpoch: l.head.Epoch,
		LastEventAt:   last,
		Away:          events.Between(last, now),
	}
	if l.head.Epoch > 0 {
		claim.PreviousPhase = l.state.Phase
	}
	rec, err := l.head.Next(l.author, events.Draft{Event: claim}, now)
	if err != nil {
		return started, nil, err
	}
	if err := l.Log.Claim(ctx, rec); err != nil {
		return started, nil, fmt.Errorf("claim: %w", err)
	}
	l.apply(rec)
	if fold.idle != nil {
		// That process did no more than claim: nobody held the connection since
		// the one before it.
		last = fold.idle.LastEventAt
	}
	return Started{LastEventAt: last}, fold.damage, nil
}

// take decides on in and then on whatever the state calls for, recording each
// event before acting on it.
func (l *loop) take(in Input) error {
	if p, ok := in.(Probed); ok && p.Attempt == l.running && p.Number == l.probed {
		l.probedAt = p.At.UTC().Round(0)
	}
	if p, ok := in.(Passed); ok && p.Attempt == l.running && p.Outcome == OutcomeSent && p.ID == linkProbeID(l.linkProbed) {
		l.linkProbedAt = p.At.UTC().Round(0)
	}
	if a, ok := in.(Answered); ok && l.session != nil && a.Attempt == l.running {
		a.Load = l.session.Load()
		in = a
	}
	if l.hear(in) {
		in = l.woke()
	}
	var cause string
	for {
		now := l.wallNow()
		draft, ok := l.Policy.Decide(l.state, in, now)
		_, woke := in.(Woke)
		if !ok && woke {
			return nil
		}
		if e, is := draft.Event.(*events.GatewayReported); is && l.repeats.absorb(e, now) {
			return nil
		}
		if ok {
			draft.Causation = cmp.Or(draft.Causation, cause)
			rec, err := l.recordDraft(draft, now)
			if err != nil {
				return err
			}
			cause = rec.ID
			if e, is := draft.Event.(*events.CompetingBegan); is && ofSubscription(e.RequestID) {
				l.feeds.behind = append(l.feeds.behind, in) // it ended the request, too
			}
			l.carryOut()
			if l.running == 0 {
				if err := l.recordRepeats(now, true); err != nil {
					return err
				}
			}
		}
		in = l.next()
	}
}

// next is what is to be decided on behind an input: what else it says, or could not
// be carried out of what followed from it, and then what is due.
func (l *loop) next() Input {
	if all := l.feeds.behind; len(all) > 0 {
		l.feeds.behind = all[1:]
		return all[0]
	}
	return l.woke()
}

func (l *loop) recordDraft(draft events.Draft, now time.Time) (events.Recorded, error) {
	if e, ok := draft.Event.(events.StateEvent); ok {
		after := l.state.Apply(events.Recorded{
			Sequence: l.head.Sequence + 1, Epoch: l.head.Epoch, Time: now, Causation: draft.Causation, Event: draft.Event,
		})
		*e.After() = after.Standing
	}
	rec, err := l.head.Next(l.author, draft, now)
	if err != nil {
		return rec, err
	}
	if err := l.Log.Append(l.appending, rec); err != nil {
		return rec, fmt.Errorf("append %s: %w", draft.Event.Type(), err)
	}
	l.apply(rec)
	return rec, nil
}

func (l *loop) apply(rec events.Recorded) {
	l.state = l.state.Apply(rec)
	l.head = l.head.Then(rec)
	l.publish()
}

func (l *loop) publish() {
	old := l.view.Swap(&view{state: l.state, session: l.session, next: make(chan struct{})})
	close(old.next)
}

// carryOut makes reality match the plan.
func (l *loop) carryOut() {
	plan := PlanFor(l.state)
	if plan.Attempt.Attempt != l.running {
		l.endSession()
		if plan.Attempt.Attempt != 0 {
			l.startSession(plan.Attempt)
		}
		l.publish()
	}
	if l.session != nil && (plan.SlowTo != l.slowed.SlowTo || !plan.SlowUntil.Equal(l.slowed.SlowUntil)) {
		l.slowed = plan
		l.session.Slow(plan.SlowTo, plan.SlowUntil.Sub(l.wallNow()))
	}
	l.keepFilling()
	l.place(l.wallNow())
	if plan.Control.CommandID != l.controlling {
		l.controlling = ""
		if plan.Control.CommandID != "" {
			l.control(plan.Control)
		}
	}
}

func (l *loop) startSession(o Order) {
	o.Pace, o.QueueLimit = l.Policy.Pace, l.Policy.QueueLimit
	if l.Data != nil {
		o.Deliver = func(subscription string, d events.Datum) { l.Data.Publish(l.Connection, subscription, d) }
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(l.appending))
	session := l.Dialer.Attempt(o)
	l.running, l.session, l.end = o.Attempt, session, cancel
	l.probed, l.askedAt, l.probedAt = 0, time.Time{}, time.Time{}
	l.linkProbed, l.linkProbedAt, l.slowed = 0, time.Time{}, Plan{}
	l.requests.proof.next, l.requests.proof.probed = time.Time{}, time.Time{}
	l.sessions.Go(func() {
		defer cancel()
		session.Run(ctx, func(in Input) {
			select {
			case l.inputs <- in:
			case <-l.quit:
			}
		})
	})
}

// endSession closes the session that runs. It does not wait for its teardown:
// the next attempt shares nothing with it.
func (l *loop) endSession() {
	if l.session != nil {
		l.end()
	}
	_, l.requests.passedTime = l.clock().Now()
	l.requests.end(l.requests.sessionLost())
	l.endFeeds()
	l.running, l.session, l.end = 0, nil, nil
}

func (l *loop) probe(now time.Time) {
	plan := PlanFor(l.state)
	if l.session != nil && plan.Probe > l.probed && !now.Before(plan.ProbeAt) {
		l.probed, l.askedAt, l.probedAt = plan.Probe, now, time.Time{}
		l.session.Probe(plan.Probe)
	}
}

// left is when the last probe left, or will be taken to have: a turn comes
// within the time of an answer, or the session is stuck.
func (l *loop) left() time.Time {
	if l.probedAt.IsZero() {
		return l.askedAt.Add(l.Policy.HeartbeatTimeout)
	}
	return l.probedAt
}

func (l *loop) probeLink(now time.Time) {
	plan := PlanFor(l.state)
	if l.session != nil && plan.LinkProbe > l.linkProbed && !now.Before(latest(plan.LinkProbeAt, l.requests.proof.next)) {
		l.linkProbed, l.linkProbedAt = plan.LinkProbe, time.Time{}
		l.requests.proof.probed = now.Add(searchSpacing)
		l.session.Send(l.Policy.LinkProbe(plan.LinkProbe, now))
	}
}

func (l *loop) woke() Woke {
	if l.session == nil {
		return Woke{}
	}
	w := Woke{Record: FlightRecord{Traffic: l.session.Traffic()}}
	if l.overdue() {
		w.Record = l.session.Record()
	}
	plan := PlanFor(l.state)
	if plan.Probe != 0 && l.probed == plan.Probe {
		w.ProbedAt = l.left()
	}
	if l.linkProbed == plan.LinkProbe {
		w.LinkProbedAt = l.linkProbedAt
	}
	now := l.wallNow()
	if !w.ProbedAt.IsZero() && !now.Before(w.ProbedAt.Add(l.Policy.HeartbeatTimeout)) {
		w.Load = l.session.Load()
	}
	w.Quiet, _ = l.quiet(now)
	w.Freed = l.feeds.freed
	w.Held = l.held(w.Quiet, now)
	return w
}

// overdue says whether something is, so that a decision may end the session and
// will want its last frames. Decoding those at every input would be most of
// what an input costs.
func (l *loop) overdue() bool {
	deadline := l.state.Attempt.DeadlineAt
	return l.state.Heartbeat.Misses > 0 || !deadline.IsZero() && !l.wallNow().Before(deadline)
}

// shutDown records that the process ends. No Woke follows: at the next start
// the state will call for whatever it calls for now.
func (l *loop) shutDown(ctx context.Context) error {
	now := l.wallNow()
	if err := l.recordRepeats(now, true); err != nil {
		return err
	}
	draft, ok := l.Policy.Decide(l.state, ShutDown{Reason: context.Cause(ctx).Error()}, now)
	if !ok {
		return nil
	}
	_, err := l.recordDraft(draft, now)
	return err
}

// wallNow is the time as events carry it: UTC, and without the monotonic
// reading, which would not survive being stored.
func (r *Runner) wallNow() time.Time {
	now, _ := r.clock().Now()
	return now.UTC().Round(0)
}

func (r *Runner) clock() Clock {
	if r.Clock == nil {
		return SystemClock{}
	}
	return r.Clock
}
