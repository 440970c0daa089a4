package connector_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ibconn/connector"
	"ibconn/events"
	"ibconn/testenv/memlog"
)

func TestAClockJumpGivesWhatIsWaitedForNewTimes(t *testing.T) {
	s := newStory(t).open()
	s.now = s.now.Add(time.Hour)
	recorded := s.give(connector.Jumped{By: time.Hour})
	wantEvents(t, "an hour asleep in a session", recorded, "clock_jumped")
	if plan := connector.PlanFor(s.state); !plan.ProbeAt.Equal(s.now) || plan.WakeAt.Sub(s.now) != s.policy.HeartbeatTimeout {
		t.Errorf("the plan is %+v, want a probe at once with its full time", plan)
	}

	s = newStory(t).greet()
	deadline := s.state.Attempt.DeadlineAt
	s.now = s.now.Add(time.Hour)
	wantEvents(t, "an hour asleep in an attempt", s.give(connector.Jumped{By: time.Hour}), "clock_jumped")
	if got := s.state.Attempt.DeadlineAt; !got.Equal(deadline.Add(time.Hour)) {
		t.Errorf("the deadline is %v, want as far away as before", got.Sub(s.now))
	}

	s = newStory(t).trip()
	s.now = s.now.Add(30 * time.Second)
	recorded = s.give(connector.Jumped{By: 30 * time.Second})
	wantEvents(t, "half a minute asleep with the breaker open", recorded, "clock_jumped dial_started")

	s = newStory(t).trip()
	left := s.state.RetryAt.Sub(s.now)
	s.now = s.now.Add(-time.Hour)
	wantEvents(t, "an hour back with the breaker open", s.give(connector.Jumped{By: -time.Hour}), "clock_jumped")
	if got := s.state.RetryAt.Sub(s.now); got != left || !s.state.Breaker.ProbeAt.Equal(s.state.RetryAt) {
		t.Errorf("the probe is %v away and published for %v, want %v as before", got, s.state.Breaker.ProbeAt.Sub(s.now), left)
	}
}

// setClock is a clock whose wall was set, or whose host slept.
type setClock struct {
	connector.SystemClock
	ahead *atomic.Int64
}

func (c setClock) Now() (wall time.Time, passed time.Duration) {
	wall, passed = c.SystemClock.Now()
	return wall.Round(0).Add(time.Duration(c.ahead.Load())), passed
}

func TestAHostThatSleptDoesNotLoseItsSession(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			store, g := memlog.New(), &gateway{scripts: [][]step{well}}
			var offset atomic.Int64
			r := newRunner(store.Writer(), g)
			r.Clock = setClock{ahead: &offset}
			g.wall = func() time.Time { wall, _ := r.Clock.Now(); return wall }
			l := run(t, r)
			l.untilPhase(events.PhaseReady)
			pass(20 * time.Second)
			offset.Store(int64(by))
			pass(5 * time.Minute)
			jumps := all[*events.ClockJumped](store)
			if len(jumps) != 1 || (jumps[0].By.Duration()-by).Abs() > 10*time.Millisecond {
				t.Fatalf("jumps %+v, want one by %v", jumps, by)
			}
			if missed, lost := all[*events.HeartbeatMissed](store), all[*events.SessionLost](store); len(missed) != 0 || len(lost) != 0 {
				t.Errorf("a clock that moved by %v cost %d answers and %d sessions, want none", by, len(missed), len(lost))
			}
			if n := len(all[*events.HeartbeatAnswered](store)); n < 19 {
				t.Errorf("%d heartbeats answered in five minutes, want one every 15 s", n)
			}
			l.stop()
		})
	}
}
