package connector_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ibconn/connector"
	"ibconn/events"
	"ibconn/testenv/memlog"
)

// life is one Run of a runner, inside a synctest bubble.
type life struct {
	testing.TB
	*connector.Runner
	kill context.CancelCauseFunc
	over chan struct{}
	err  error // of Run, once over
}

var errTerminated = errors.New("signal: terminated")

var ids atomic.Uint64

// newRunner makes a runner that numbers its events, each runner on from the
// last, so that ids stay unique in a store.
func newRunner(log connector.Log, g *gateway) *connector.Runner {
	return &connector.Runner{
		Connection: "main",
		Policy:     testPolicy(),
		Log:        log,
		Dialer:     g,
		Instance:   "host-1",
		Version:    "test",
		PID:        1,
		NewID:      func() string { return "event-" + strconv.FormatUint(ids.Add(1), 10) },
	}
}

func run(t testing.TB, r *connector.Runner) *life {
	l := &life{TB: t}
	l.begin(r)
	return l
}

// begin runs r, as the next process does.
func (l *life) begin(r *connector.Runner) {
	ctx, kill := context.WithCancelCause(l.Context())
	l.Runner, l.kill, l.over = r, kill, make(chan struct{})
	go func() {
		defer close(l.over)
		l.err = r.Run(ctx)
	}()
}

// die ends the run without a word in the log, as a process that is killed.
func (l *life) die() {
	l.Helper()
	l.Runner.Log.(*memlog.Writer).Die()
	l.kill(errTerminated)
	<-l.over
	if !errors.Is(l.err, memlog.ErrDead) {
		l.Errorf("Run() = %v, want that its log is gone", l.err)
	}
}

// pass lets d pass on the bubble's clock.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// stop ends the run in order.
func (l *life) stop() {
	l.Helper()
	l.kill(errTerminated)
	<-l.over
	if !errors.Is(l.err, errTerminated) {
		l.Errorf("Run() = %v, want the cause of its end", l.err)
	}
}

// until waits for the state to be as wanted, for an hour at most, and says
// whether it came to that before the run was over.
func (l *life) until(want func(events.State) bool) bool {
	l.Helper()
	for range 36_000 {
		if want(l.State()) {
			return true
		}
		select {
		case <-l.over:
			return false
		case <-time.After(100 * time.Millisecond):
		}
	}
	l.Fatalf("an hour passed and the connection is %s", l.State().Phase)
	return false
}

func (l *life) untilPhase(p events.Phase) bool {
	l.Helper()
	return l.until(func(s events.State) bool { return s.Phase == p })
}

// checkLog reads the store as a whole: the chain must be whole and legal, and fold to
// the state that the runner showed last.
func checkLog(t testing.TB, store *memlog.Store, live events.State) {
	t.Helper()
	var head events.Head
	fold, claimed := events.NewState("main"), false
	for _, rec := range store.Events() {
		if err := head.Follows(rec); err != nil {
			t.Fatalf("%s does not follow: %v", rec.Event.Type(), err)
		}
		// Who reads the log takes a process that says nothing for dead.
		_, claim := rec.Event.(*events.EpochBegan)
		if due := fold.DueBy(); !claim && !claimed && !due.IsZero() && rec.Time.After(due.Add(time.Second)) {
			t.Errorf("%s came %v after something was due", rec.Event.Type(), rec.Time.Sub(due))
		}
		claimed = claim
		before := fold
		head, fold = head.Then(rec), fold.Apply(rec)
		if err := events.Legal(before, fold, rec); err != nil {
			t.Errorf("%s stands where it may not: %v", rec.Event.Type(), err)
		}
	}
	sameState(t, fold, live)
}

// checkClosed holds what is true of a gateway once nobody runs any more.
func checkClosed(t testing.TB, g *gateway) {
	t.Helper()
	if g.open() != 0 || g.left() != 0 {
		t.Errorf("%d sockets are open and %d sessions left behind, want none", g.open(), g.left())
	}
}

func all[E events.Event](store *memlog.Store) []E {
	var found []E
	for _, rec := range store.Events() {
		if e, ok := rec.Event.(E); ok {
			found = append(found, e)
		}
	}
	return found
}

func TestRunConnectsKeepsAndStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := memlog.New(), &gateway{scripts: [][]step{well}}
		l := run(t, newRunner(store.Writer(), g))
		pass(time.Hour)
		if s := l.State(); s.Phase != events.PhaseReady || s.Condition != events.ConditionHealthy || s.Heartbeat.Number < 239 {
			t.Errorf("after an hour the connection is %s and %s after %d heartbeats", s.Phase, s.Condition, s.Heartbeat.Number)
		}
		if n := g.open(); n != 1 {
			t.Errorf("%d sockets are open, want 1", n)
		}
		l.stop()
		stopped := all[*events.Stopped](store)
		if len(stopped) != 1 || stopped[0].Cause != events.CauseShutdown || stopped[0].Reason != errTerminated.Error() || stopped[0].Uptime < 3_599_000 {
			t.Errorf("stopped is %+v, want one shutdown after an hour", stopped)
		}
		checkLog(t, store, l.State())
		checkClosed(t, g)
	})
}

func TestEachEventNamesItsCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := memlog.New(), &gateway{scripts: [][]step{then(after(time.Minute), end(events.CauseReset)), well}}
		l := run(t, newRunner(store.Writer(), g))
		pass(2 * time.Minute)
		l.stop()
		recorded := store.Events()
		i := slices.IndexFunc(recorded, func(r events.Recorded) bool { _, ok := r.Event.(*events.SessionLost); return ok })
		if i < 0 || recorded[i+1].Event.Type().What() != "dial_started" || recorded[i+1].Causation != recorded[i].ID {
			t.Errorf("the attempt after a loss has causation %q, want the loss", recorded[i+1].Causation)
		}
	})
}

func TestADayOfRefusalsFollowsThePolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := memlog.New(), &gateway{scripts: [][]step{refuse}}
		l := run(t, newRunner(store.Writer(), g))
		pass(24 * time.Hour)
		l.stop()
		p := testPolicy()
		var retryAt time.Time
		var failures int
		probing := false
		for _, rec := range store.Events() {
			switch e := rec.Event.(type) {
			case *events.DialFailed:
				failures++
				wait := e.RetryAt.Sub(rec.Time)
				span := p.BackoffBase << max(failures-2, 0)
				switch {
				case e.Failures != failures:
					t.Fatalf("failure %d calls itself %d", failures, e.Failures)
				case failures == 1 && wait != 0, failures < p.BreakerAfter && wait >= span, failures >= p.BreakerAfter && wait != p.BreakerProbe:
					t.Fatalf("failure %d waits %v", failures, wait)
				}
				retryAt = e.RetryAt
			case *events.BreakerOpened:
				if probing || failures != p.BreakerAfter {
					t.Fatalf("the breaker opens after %d failures, and was open: %t", failures, probing)
				}
				probing = true
			case *events.DialStarted:
				if failures > 0 && !rec.Time.Equal(retryAt) {
					t.Fatalf("attempt %d begins at %v, want %v as recorded", e.Attempt, rec.Time, retryAt)
				}
				if e.Probe != probing {
					t.Fatalf("attempt %d is a probe: %t, want %t", e.Attempt, e.Probe, probing)
				}
			}
		}
		// A probe a minute, each of which takes a millisecond.
		if n := len(g.sessions()); n < 1400 || n > 1450 {
			t.Errorf("%d attempts in a day, want one a minute", n)
		}
		checkLog(t, store, l.State())
		checkClosed(t, g)
	})
}

// The frames are what a post-mortem begins with, so whatever ends a session or
// an attempt that the time has run out for has them.
func TestWhatASessionSawLastIsOnRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := memlog.New(), &gateway{scripts: [][]step{then(serve(time.Minute), mute), {reach, mute}, well}}
		l := run(t, newRunner(store.Writer(), g))
		l.until(func(s events.State) bool { return s.Counts.Sessions == 2 })
		l.stop()
		if lost := all[*events.SessionLost](store); len(lost) != 1 || lost[0].Cause != events.CauseHeartbeatLost || len(lost[0].Flight) == 0 {
			t.Errorf("lost is %+v, want one for want of heartbeats, with its last frames", lost)
		}
		if failed := all[*events.DialFailed](store); len(failed) != 1 || failed[0].Cause != events.CauseMuteInGreeting || len(failed[0].Flight) == 0 {
			t.Errorf("failed is %+v, want one that was mute, with its last frames", failed)
		}
	})
}

func TestASilentGatewayIsFoundInTime(t *testing.T) {
	// Whenever between two probes it falls silent.
	for offset := range 16 {
		synctest.Test(t, func(t *testing.T) {
			answers := time.Minute + time.Duration(offset)*time.Second
			store, g := memlog.New(), &gateway{scripts: [][]step{then(serve(answers), mute), well}}
			l := run(t, newRunner(store.Writer(), g))
			l.until(func(s events.State) bool { return s.Counts.Losses == 1 })
			l.untilPhase(events.PhaseReady)
			l.stop()
			lost := all[*events.SessionLost](store)[0]
			p := testPolicy()
			if most := events.MillisOf(p.HeartbeatEvery + 2*p.HeartbeatTimeout); lost.Cause != events.CauseHeartbeatLost || lost.Silent > most {
				t.Errorf("lost by %s after %v of silence, want heartbeat_lost within %v", lost.Cause, lost.Silent, most)
			}
			if lost.RetryIn != 0 {
				t.Errorf("a session that lasted a minute is retried in %v, want at once", lost.RetryIn)
			}
			checkLog(t, store, l.State())
			checkClosed(t, g)
		})
	}
}

func TestASessionThatIsHeardAndDoesNotAnswerIsKeptAndProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := memlog.New(), &gateway{scripts: [][]step{then(chatter)}}
		l := run(t, newRunner(store.Writer(), g))
		pass(10 * time.Minute)
		l.stop()
		s := g.sessions()[0]
		if len(g.sessions()) != 1 || len(s.probes) < 39 {
			t.Errorf("%d sessions and %d probes, want one session, probed every 15 s", len(g.sessions()), len(s.probes))
		}
		if n := len(all[*events.SessionStale](store)); n != 0 {
			t.Errorf("the session was called stale %d times", n)
		}
	})
}

func TestProbesGoOutOneAtATimeAndASecondApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Every answer comes after it was called missed, and before the session is lost.
		slow := func(ctx context.Context, s *session) {
			for ctx.Err() == nil {
				select {
				case p := <-s.sent:
					after(1200*time.Millisecond)(ctx, s)
					s.hear()
					s.report(connector.Answered{Attempt: s.number(), Number: p.number, Answer: connector.Answer{SentAt: p.at, ReceivedAt: time.Now(), Gateway: p.at}})
				case <-ctx.Done():
				}
			}
		}
		store, g := memlog.New(), &gateway{scripts: [][]step{then(slow)}}
		r := newRunner(store.Writer(), g)
		r.Policy.HeartbeatEvery, r.Policy.HeartbeatTimeout = time.Second, time.Second
		l := run(t, r)
		pass(10 * time.Minute)
		l.stop()
		late := 0
		for _, e := range all[*events.HeartbeatAnswered](store) {
			if e.Late {
				late++
			}
		}
		if late < 10 {
			t.Errorf("%d answers came late, want this to be about late answers", late)
		}
		for _, s := range g.sessions() {
			for i := 1; i < len(s.probes); i++ {
				if gap := s.probes[i].Sub(s.probes[i-1]); gap < connector.ProbeSpacing {
					t.Fatalf("probes %d and %d are %v apart, want at least %v", i, i+1, gap, connector.ProbeSpacing)
				}
			}
		}
		checkLog(t, store, l.State())
	})
}

func TestAHeartbeatSaysWhatTheSessionSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := memlog.New(), &gateway{scripts: [][]step{then(serve(time.Minute), mute), well}}
		l := run(t, newRunner(store.Writer(), g))
		l.until(func(s events.State) bool { return s.Counts.Losses == 1 })
		l.stop()
		// The probe that is answered or missed has left, and the session's own
		// before it.
		check := func(e events.Event, number uint64, load events.Load) {
			if load.Sent[events.MessageStart] != 1 || load.Sent[events.MessageHeartbeat] != number+1 {
				t.Errorf("%s %d says the load %+v, want one start and %d heartbeats", e.Type(), number, load, number+1)
			}
		}
		answered, missed := all[*events.HeartbeatAnswered](store), all[*events.HeartbeatMissed](store)
		for _, e := range answered {
			check(e, e.Number, e.Load)
		}
		for _, e := range missed {
			check(e, e.Number, e.Load)
		}
		if len(answered) < 3 || len(missed) != l.Policy.HeartbeatMisses {
			t.Errorf("%d heartbeats were answered and %d missed, want this to be about both", len(answered), len(missed))
		}
	})
}

func TestEachStalledStepOfTheGatewayIsGivenUpAndTriedAnew(t *testing.T) {
	for what, script := range map[string][]step{
		"TCP":       {mute},
		"greeting":  {reach, mute},
		"readiness": {reach, func(_ context.Context, s *session) { s.report(connector.Greeted{Attempt: s.number()}) }, mute},
	} {
		synctest.Test(t, func(t *testing.T) {
			store, g := memlog.New(), &gateway{scripts: [][]step{script, well}}
			l := run(t, newRunner(store.Writer(), g))
			l.untilPhase(events.PhaseReady)
			if n := g.open(); n != 1 {
				t.Errorf("%s stalled: %d sockets are open, want the new one only", what, n)
			}
			l.stop()
			if s := l.State(); s.Counts.Failures != 1 || s.Counts.Attempts != 2 {
				t.Errorf("%s stalled: %d of %d attempts failed, want 1 of 2", what, s.Counts.Failures, s.Counts.Attempts)
			}
			checkLog(t, store, l.State())
			checkClosed(t, g)
		})
	}
}

func TestASlowTeardownDoesNotDelayTheNextAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := memlog.New(), &gateway{linger: time.Hour, scripts: [][]step{then(serve(2*time.Minute), end(events.CauseReset)), well}}
		l := run(t, newRunner(store.Writer(), g))
		pass(2*time.Minute + time.Second)
		if s := l.State(); s.Phase != events.PhaseReady || s.Attempt.Number != 2 {
			t.Errorf("a second after the loss the connection is %s in attempt %d, want ready in 2", s.Phase, s.Attempt.Number)
		}
		if g.open() != 1 || g.left() != 2 {
			t.Errorf("%d sockets are open and %d sessions left, want the old one closed and still being torn down", g.open(), g.left())
		}
		l.stop()
		checkClosed(t, g)
	})
}

func TestLateNewsOfAnOldSessionDoesNotTouchTheNewOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The first attempt wakes up long after it was given up.
		late := func(ctx context.Context, s *session) {
			<-ctx.Done()
			<-time.After(time.Minute)
			reach(ctx, s)
			open(ctx, s)
			say(1100, "lost")(ctx, s)
			end(events.CauseReset)(ctx, s)
		}
		store, g := memlog.New(), &gateway{scripts: [][]step{{late}, well}}
		l := run(t, newRunner(store.Writer(), g))
		pass(5 * time.Minute)
		if s := l.State(); s.Phase != events.PhaseReady || s.Attempt.Number != 2 || s.Counts.Losses != 0 || s.Link.Status != events.LinkUnknown {
			t.Errorf("the connection is %s in attempt %d, with %d losses, link %s, want it untouched", s.Phase, s.Attempt.Number, s.Counts.Losses, s.Link.Status)
		}
		l.stop()
		checkClosed(t, g)
	})
}

func TestASupersededWriterStopsActing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, old, young := memlog.New(), &gateway{scripts: [][]step{well}}, &gateway{scripts: [][]step{well}}
		first := run(t, newRunner(store.Writer(), old))
		first.untilPhase(events.PhaseReady)
		second := run(t, newRunner(store.Writer(), young))
		second.untilPhase(events.PhaseReady)
		<-first.over // its next heartbeat is refused
		if !errors.Is(first.err, events.ErrSuperseded) {
			t.Errorf("Run() of the first = %v, want %v", first.err, events.ErrSuperseded)
		}
		checkClosed(t, old)
		last := store.Events()
		second.stop()
		for _, rec := range last[len(last)-3:] {
			if rec.Epoch != 2 {
				t.Errorf("%s was stored in epoch %d, want none of the first writer's after the claim", rec.Event.Type(), rec.Epoch)
			}
		}
		lost := all[*events.SessionLost](store)
		if len(lost) != 1 || lost[0].Cause != events.CauseProcessRestarted {
			t.Errorf("lost sessions %+v, want one, by the takeover", lost)
		}
		checkLog(t, store, second.State())
		checkClosed(t, young)
	})
}

func TestOfTwoWritersThatStartTogetherOneClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memlog.New()
		a, b := &gateway{scripts: [][]step{well}}, &gateway{scripts: [][]step{well}}
		late := store.Writer()
		var first *life
		late.Before = func(rec events.Recorded) error {
			if rec.Sequence == 1 { // its claim: another one comes first
				first = run(t, newRunner(store.Writer(), a))
				first.untilPhase(events.PhaseReady)
			}
			return nil
		}
		second := run(t, newRunner(late, b))
		<-second.over
		if !errors.Is(second.err, events.ErrSuperseded) || len(b.sessions()) != 0 {
			t.Errorf("Run() of the second = %v after %d attempts, want %v and none", second.err, len(b.sessions()), events.ErrSuperseded)
		}
		first.stop()
		checkLog(t, store, first.State())
	})
}

// hanging is a log that stops answering.
type hanging struct {
	*memlog.Writer
	hangs atomic.Bool
}

func (h *hanging) Append(ctx context.Context, rec events.Recorded) error {
	if h.hangs.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	return h.Writer.Append(ctx, rec)
}

func TestShutdownIsRecordedThoughTheContextHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := memlog.New(), &gateway{scripts: [][]step{well}}
		w := store.Writer()
		slow := false
		w.Before = func(events.Recorded) error {
			if slow {
				<-time.After(time.Second) // within the grace
			}
			return nil
		}
		l := run(t, newRunner(w, g))
		l.untilPhase(events.PhaseReady)
		synctest.Wait()
		slow = true
		l.stop()
		if s := l.State(); s.Phase != events.PhaseStopped || len(all[*events.Stopped](store)) != 1 {
			t.Errorf("the connection is %s, want stopped on record", s.Phase)
		}
	})
}

func TestRunReturnsAfterItsGraceWhenTheLogHangs(t *testing.T) {
	for what, grace := range map[string]time.Duration{"named": 3 * time.Second, "default": 0} {
		synctest.Test(t, func(t *testing.T) {
			store, g := memlog.New(), &gateway{scripts: [][]step{well}}
			log := &hanging{Writer: store.Writer()}
			r := newRunner(log, g)
			r.Grace = grace
			l := run(t, r)
			l.untilPhase(events.PhaseReady)
			log.hangs.Store(true)
			began := time.Now()
			l.kill(errTerminated)
			<-l.over
			want := max(grace, connector.DefaultGrace)
			if took := time.Since(began); took != want || l.err == nil {
				t.Errorf("%s grace: Run() = %v after %v, want an error after %v", what, l.err, took, want)
			}
			checkClosed(t, g)
		})
	}
}

func TestRunEndsWhenTheLogCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := errors.New("disk full")
		store, g := memlog.New(), &gateway{scripts: [][]step{well}}
		w := store.Writer()
		w.Before = func(rec events.Recorded) error {
			if rec.Heartbeat() {
				return full
			}
			return nil
		}
		l := run(t, newRunner(w, g))
		<-l.over
		if !errors.Is(l.err, full) {
			t.Errorf("Run() = %v, want %v", l.err, full)
		}
		checkClosed(t, g)
	})
}

func TestRunRefusesAPolicyThatIsNotValid(t *testing.T) {
	g := &gateway{scripts: [][]step{well}}
	store := memlog.New()
	r := newRunner(store.Writer(), g)
	r.Policy.HeartbeatEvery = 0
	if err := r.Run(t.Context()); err == nil || len(store.Wires()) != 0 || len(g.sessions()) != 0 {
		t.Errorf("Run() = %v after %d events and %d attempts, want an error before anything", err, len(store.Wires()), len(g.sessions()))
	}
}

func TestAStalledLogDoesNotBlameTheGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := memlog.New(), &gateway{scripts: [][]step{well}}
		w := store.Writer()
		w.Before = func(rec events.Recorded) error {
			if rec.Heartbeat() {
				<-time.After(25 * time.Second) // longer than the interval and the timeout
			}
			return nil
		}
		l := run(t, newRunner(w, g))
		pass(time.Hour)
		l.stop()
		if s := l.State(); s.Counts.Losses != 0 || s.Counts.Sessions != 1 {
			t.Errorf("%d losses of %d sessions, want one session kept", s.Counts.Losses, s.Counts.Sessions)
		}
		if n := len(all[*events.SessionStale](store)); n != 0 {
			t.Errorf("the session was called stale %d times", n)
		}
		checkLog(t, store, l.State())
	})
}

func TestAStateIsThereBeforeTheRun(t *testing.T) {
	r := newRunner(memlog.New().Writer(), &gateway{})
	if s := r.State(); s.Phase != events.PhaseIdle || s.Connection != "main" {
		t.Errorf("State() = %s of %s, want idle of main", s.Phase, s.Connection)
	}
}
