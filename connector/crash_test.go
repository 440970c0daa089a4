package connector_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ibconn/events"
	"ibconn/testenv/memlog"
)

var errCut = errors.New("the process is gone")

// cut is a log whose process ends at its n-th append, claims included: before
// the event is stored, or after it was and nobody heard of it.
type cut struct {
	*memlog.Writer
	n      int
	stored bool
	count  int
}

func (c *cut) put(ctx context.Context, rec events.Recorded, store func(context.Context, events.Recorded) error) error {
	c.count++
	if c.count != c.n {
		return store(ctx, rec)
	}
	if c.stored {
		if err := store(ctx, rec); err != nil {
			return err
		}
	}
	return errCut
}

func (c *cut) Claim(ctx context.Context, rec events.Recorded) error {
	return c.put(ctx, rec, c.Writer.Claim)
}

func (c *cut) Append(ctx context.Context, rec events.Recorded) error {
	return c.put(ctx, rec, c.Writer.Append)
}

// eventful is a gateway in whose life everything happens.
func eventful() *gateway {
	return &gateway{scripts: [][]step{
		refuse,
		refuse,
		{reach, say(326, "client id in use"), mute},
		then(
			say(2104, "Market data farm connection is OK:usfarm"),
			serve(20*time.Second), cutOff(12*time.Second), serve(time.Minute+10*time.Second), // the link falls silent, and is proven again
			say(10197, "competing"), say(100, "too fast"), serve(20*time.Second), // both pass
			say(1100, "lost"), say(1100, "lost"), say(1100, "lost"), say(1101, "back"), say(162, "pacing violation"),
			say(1300, "Please reconnect on the new port - 4003"),
			after(20*time.Second), // long enough to be stale
			serve(20*time.Second), end(events.CauseReset),
		),
		well, // until the reconnect command
		well, // until the disconnect command
		then(serve(20*time.Second), mute),
		refuse, refuse, refuse, // the breaker opens
		refuse, // a probe asked for by command
		well,
	}}
}

// live plays the operator's part in that life, until it is over.
func (l *life) live() {
	command := func(id string, verb events.Verb) {
		l.Handle(l.Context(), verb, events.Request{ID: id, Reason: "the operator's"}, nil)
	}
	ready := func(session uint64) bool {
		return l.until(func(s events.State) bool { return s.Phase == events.PhaseReady && s.Counts.Sessions == session })
	}
	if !ready(2) {
		return
	}
	command("reconnect-1", events.VerbReconnect)
	if !ready(3) {
		return
	}
	command("disconnect-1", events.VerbDisconnect)
	command("reconnect-2", events.VerbReconnect)
	pass(time.Minute)
	command("restart-gateway-1", events.VerbRestartGateway)
	command("reconnect-data-1", events.VerbReconnectData)
	pass(time.Second) // IBC answers the first at once, the second soon
	command("connect-1", events.VerbConnect)
	if !l.untilPhase(events.PhaseTripped) {
		return
	}
	command("connect-2", events.VerbConnect)
	pass(time.Second)
	if !ready(5) {
		return
	}
	pass(20 * time.Second)
	l.kill(errTerminated)
	<-l.over
}

func TestTheEventfulLifeIsEventful(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := memlog.New(), eventful()
		ibc := willing()
		l := runControlled(t, &cut{Writer: store.Writer()}, g, ibc)
		l.live()
		if got := ibc.askedFor(); !slices.Equal(got, controlsOfLife) {
			t.Errorf("IBC was asked for %v, want each command once", got)
		}
		if !errors.Is(l.err, errTerminated) {
			t.Fatalf("Run() = %v", l.err)
		}
		seen := map[events.Type]bool{}
		for _, rec := range store.Events() {
			seen[rec.Event.Type()] = true
		}
		for _, typ := range events.Types() {
			switch typ.What() {
			case "frame_refused", "session_abandoned", "log_damaged": // come at any time and lead to nothing
			case "clock_jumped", "login_needed": // have lives of their own
			default:
				if !seen[typ] && typ.Kind() != events.KindSubscription {
					t.Errorf("no %s happens in it", typ)
				}
			}
		}
		if s := l.State(); len(s.Pending) != 0 {
			t.Errorf("at its end %+v is pending", s.Pending)
		}
		checkLog(t, store, l.State())
		checkClosed(t, g)
	})
}

func runCut(t testing.TB, log *cut, g *gateway) *life { return runControlled(t, log, g, willing()) }

func runControlled(t testing.TB, log *cut, g *gateway, ibc *ibc) *life {
	r := newRunner(log, g)
	r.Control = ibc
	r.Policy.BreakerAfter = 3
	r.Policy.LinkProbeEvery, r.Policy.LinkProbeTimeout, r.Policy.LinkProbeMisses = 5*time.Second, time.Second, 2
	r.Policy.CompetingFor, r.Policy.PaceRecovery = 5*time.Second, 3*time.Second
	return run(t, r)
}

func TestACrashAtAnyAppendLeadsBackToReady(t *testing.T) {
	crashed := true
	n := 0
	for crashed {
		n++
		for _, stored := range []bool{false, true} {
			t.Run(fmt.Sprintf("append %d stored %t", n, stored), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { crashed = crashAt(t, n, stored) })
			})
		}
	}
	if n < 60 {
		t.Errorf("the sweep ended at append %d, want a whole life of them", n)
	}
}

// crashAt cuts a life at its n-th append, starts a new process on what is
// left, and says whether the life was that long.
func crashAt(t *testing.T, n int, stored bool) bool {
	store, before, ibc := memlog.New(), eventful(), willing()
	first := runControlled(t, &cut{Writer: store.Writer(), n: n, stored: stored}, before, ibc)
	first.live()
	<-first.over
	if errors.Is(first.err, errTerminated) {
		return false
	}
	if !errors.Is(first.err, errCut) {
		t.Fatalf("Run() = %v, want it cut", first.err)
	}
	checkClosed(t, before)
	pass(time.Minute) // nobody is there

	after := &gateway{scripts: [][]step{well}}
	second := runControlled(t, &cut{Writer: store.Writer()}, after, ibc)
	synctest.Wait()
	// Who heard nothing sends the same again.
	for _, verb := range controlsOfLife {
		second.Handle(t.Context(), verb, events.Request{ID: string(verb) + "-1", Wait: events.Wait(time.Minute)}, nil)
	}
	if !second.State().Wanted {
		second.Handle(t.Context(), events.VerbConnect, events.Request{ID: "connect-after-crash"}, nil)
	}
	if !second.untilPhase(events.PhaseReady) {
		t.Fatalf("Run() after the crash = %v", second.err)
	}
	synctest.Wait()
	s := second.State()
	if len(s.Pending) != 0 || s.Breaker.Open {
		t.Errorf("ready again, with breaker %+v and pending %+v, want neither", s.Breaker, s.Pending)
	}
	for _, c := range s.Recent {
		if c.Status == events.StatusAccepted {
			t.Errorf("%s was accepted before the crash and has no outcome", c.CommandID)
		}
	}
	if after.open() != 1 {
		t.Errorf("%d sockets are open, want 1", after.open())
	}
	second.stop()
	checkLog(t, store, second.State())
	checkClosed(t, after)
	checkAsked(t, ibc, s)
	if s.Attempt.Number != s.Counts.Attempts {
		t.Errorf("%d attempts were made and the last is number %d, want no number used twice", s.Counts.Attempts, s.Attempt.Number)
	}
	if n := len(all[*events.LogDamaged](store)); n != 0 {
		t.Errorf("the log was called damaged %d times", n)
	}
	return true
}

// controlsOfLife are the control commands of an eventful life.
var controlsOfLife = []events.Verb{events.VerbRestartGateway, events.VerbReconnectData}

// checkAsked holds what is true of IBC after a crash, wherever it came.
func checkAsked(t *testing.T, ibc *ibc, s events.State) {
	t.Helper()
	for _, verb := range controlsOfLife {
		c, known := s.Recall(string(verb) + "-1")
		asked := ibc.times(verb)
		switch {
		case !known:
			t.Errorf("%s was sent again, and is not known", verb)
		case asked > 1:
			t.Errorf("IBC was asked %d times for %s, want never twice", asked, verb)
		case c.Status == events.StatusCompleted && asked != 1:
			t.Errorf("%s is called completed, and IBC was asked %d times", verb, asked)
		case c.Status == events.StatusFailed && c.Error.Code != events.ErrorOutcomeUnknown:
			t.Errorf("%s failed by %s, want outcome_unknown", verb, c.Error.Code)
		}
	}
}
