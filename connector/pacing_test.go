package connector_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ibconn/connector"
	"ibconn/events"
	"ibconn/testenv/memlog"
)

// sent is when turns came, for a whole pacer.
type sent struct {
	mu    sync.Mutex
	times []time.Time
}

func (s *sent) add() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times = append(s.times, time.Now())
}

// busiest returns the most turns within any span of a length.
func (s *sent) busiest(span time.Duration) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := 0
	for i, from := range s.times {
		n, _ := slices.BinarySearchFunc(s.times[i:], from.Add(span), time.Time.Compare)
		most = max(most, n)
	}
	return most
}

// crowd takes turns of a priority for as long as it lasts, with pauses drawn by
// dice, and returns the longest that it waited for one.
func crowd(p *connector.Pacer, pace connector.Pace, pr func() connector.Priority, pause func() time.Duration, during time.Duration, s *sent) (longest time.Duration) {
	turn := p.Join(pace)
	defer turn.Leave()
	for end := time.Now().Add(during); time.Now().Before(end); {
		asked := time.Now()
		turn.Want(pr())
		<-turn.Ready()
		s.add()
		longest = max(longest, time.Since(asked))
		time.Sleep(pause())
	}
	return longest
}

func always(pr connector.Priority) func() connector.Priority {
	return func() connector.Priority { return pr }
}

func TestNoSecondSeesMoreThanTheBudget(t *testing.T) {
	for _, pace := range []connector.Pace{{PerSecond: 40}, {PerSecond: 1}, {PerSecond: 7}, {PerSecond: 1000}, {PerSecond: 40, MinGap: 500 * time.Millisecond}} {
		t.Run(fmt.Sprintf("%+v", pace), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, s := new(connector.Pacer), new(sent)
				var all sync.WaitGroup
				for n := range 32 {
					dice := rand.New(rand.NewPCG(uint64(n), 1))
					all.Go(func() {
						crowd(p, pace, func() connector.Priority { return connector.Priority(1 + dice.IntN(5)) },
							func() time.Duration { return time.Duration(dice.IntN(200)) * time.Millisecond }, 20*time.Second, s)
					})
				}
				all.Wait()
				most := pace.PerSecond
				if pace.MinGap > 0 {
					most = int(time.Second / pace.MinGap)
				}
				if got := s.busiest(time.Second); got > most {
					t.Errorf("one second saw %d messages, want at most %d", got, most)
				}
				// 32 that pause for 100 ms want about 320 a second.
				if took, want := len(s.times), 18*(min(most, 300)-max(1, min(most, 300)/10)); took < want {
					t.Errorf("only %d messages in 20 s, want the budget used, so at least %d", took, want)
				}
			})
		})
	}
}

// A new process does not know what the old one sent last.
func TestTheBudgetHoldsAcrossARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pace, s := connector.Pace{PerSecond: 40}, new(sent)
		const away = 30 * time.Millisecond // less than a process takes to start
		for range 20 {
			var all sync.WaitGroup
			p := new(connector.Pacer)
			for range 4 {
				all.Go(func() {
					crowd(p, pace, always(connector.PrioritySession), func() time.Duration { return 0 }, 300*time.Millisecond, s)
				})
			}
			all.Wait()
			time.Sleep(away)
		}
		if got := s.busiest(time.Second); got > pace.PerSecond {
			t.Errorf("one second saw %d messages, want at most %d", got, pace.PerSecond)
		}
	})
}

func TestWhatKeepsASessionDoesNotWaitForTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, pace, s := new(connector.Pacer), connector.Pace{PerSecond: 40}, new(sent)
		none := func() time.Duration { return 0 }
		var all sync.WaitGroup
		for range 31 {
			all.Go(func() { crowd(p, pace, always(connector.PriorityBackfill), none, 30*time.Second, s) })
		}
		longest := crowd(p, pace, always(connector.PrioritySession), func() time.Duration { return time.Second }, 30*time.Second, s)
		all.Wait()
		if gap := time.Second / 36; longest > gap {
			t.Errorf("a heartbeat waited for %v, want at most %v", longest, gap)
		}
	})
}

func TestEqualsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, pace := new(connector.Pacer), connector.Pace{PerSecond: 40}
		counts := make([]sent, 5)
		var all sync.WaitGroup
		for n := range counts {
			all.Go(func() {
				crowd(p, pace, always(connector.PriorityRequest), func() time.Duration { return 0 }, 10*time.Second, &counts[n])
			})
		}
		all.Wait()
		for n := range counts {
			if got := len(counts[n].times); got < 70 || got > 76 {
				t.Errorf("connection %d had %d turns of about 360, want a fifth", n, got)
			}
		}
	})
}

func TestASlowedGatewayGetsLessFromEveryone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, pace := new(connector.Pacer), connector.Pace{PerSecond: 40}
		none := func() time.Duration { return 0 }
		p.Slow(1, 10, 5*time.Second)
		p.Slow(2, 20, 5*time.Second)
		p.Slow(2, 0, 0) // which is over, for that client
		slow := new(sent)
		crowd(p, pace, always(connector.PriorityRequest), none, 4900*time.Millisecond, slow)
		if got := slow.busiest(time.Second); got > 10 || len(slow.times) < 40 {
			t.Errorf("slowed, one second saw %d messages and all of them %d, want at most 10 and about 45", got, len(slow.times))
		}
		time.Sleep(time.Second)
		again := new(sent)
		crowd(p, pace, always(connector.PriorityRequest), none, 5*time.Second, again)
		if got := again.busiest(time.Second); got < 35 {
			t.Errorf("afterwards one second saw %d messages, want about 36", got)
		}
	})
}

func TestTheStrictestPaceHoldsForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(connector.Pacer)
		strict := p.Join(connector.Pace{PerSecond: 5})
		got := new(sent)
		crowd(p, connector.Pace{PerSecond: 40}, always(connector.PriorityRequest), func() time.Duration { return 0 }, 5*time.Second, got)
		if n := got.busiest(time.Second); n > 5 {
			t.Errorf("one second saw %d messages beside a connection that allows 5", n)
		}
		strict.Leave()
	})
}

func TestATurnGivenUpGoesToTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, pace := new(connector.Pacer), connector.Pace{PerSecond: 2}
		first, second := p.Join(pace), p.Join(pace)
		first.Want(connector.PrioritySession)
		second.Want(connector.PriorityRequest)
		<-first.Ready()
		first.Want(connector.PrioritySession)
		first.Leave()
		begun := time.Now()
		<-second.Ready()
		if waited := time.Since(begun); waited != 2*time.Second {
			t.Errorf("the second waited for %v behind one that left, want 2s", waited)
		}
		second.Leave()
	})
}

func TestAQueueGivesTheMostUrgentFirst(t *testing.T) {
	q := connector.NewQueue(4)
	put := func(id int64, pr connector.Priority, expires time.Time) bool {
		return q.Put(connector.Message{ID: id, Priority: pr, Expires: expires})
	}
	for id, pr := range []connector.Priority{connector.PriorityBackfill, connector.PriorityRequest, connector.PriorityRestore, connector.PriorityRequest} {
		if !put(int64(id), pr, time.Time{}) {
			t.Fatalf("message %d found no room", id)
		}
	}
	if put(4, connector.PriorityRequest, time.Time{}) {
		t.Error("a fifth message found room in a queue for four")
	}
	if !put(5, connector.PriorityCancel, time.Time{}) || !put(6, connector.PrioritySession, dawn) {
		t.Error("a full queue has no room for what must not wait")
	}
	if over := q.Expire(dawn); len(over) != 1 || over[0].ID != 6 {
		t.Errorf("Expire = %+v, want message 6", over)
	}
	if !put(6, connector.PrioritySession, dawn.Add(time.Second)) || !q.NextExpiry().Equal(dawn.Add(time.Second)) {
		t.Errorf("the first expiry is %v, want a second after dawn", q.NextExpiry())
	}
	if q.Len() != 6 {
		t.Errorf("%d messages wait, want 6", q.Len())
	}
	var order []int64
	for {
		m, ok := q.Take()
		if !ok {
			break
		}
		order = append(order, m.ID)
	}
	if want := []int64{6, 5, 2, 1, 3, 0}; !slices.Equal(order, want) {
		t.Errorf("they come as %v, want %v", order, want)
	}
	put(7, connector.PriorityRequest, time.Time{})
	put(8, connector.PriorityCancel, time.Time{})
	if all := q.Drain(); len(all) != 2 || all[0].ID != 8 || q.Best() != 0 || q.Len() != 0 {
		t.Errorf("Drain = %+v and leaves priority %v, want both and none", all, q.Best())
	}
	// A cancel that found no room would leave a line taken.
	for id := range int64(20) {
		if !put(id, connector.PriorityCancel, time.Time{}) {
			t.Fatalf("cancel %d found no room", id)
		}
	}
}

func TestAnError100HalvesTheBudgetForAWhile(t *testing.T) {
	s := newStory(t).open()
	recorded := s.give(s.noticed(100, "Max rate of messages per second has been exceeded"))
	wantEvents(t, "an error 100", recorded, "pacing_reduced")
	if e := find[*events.PacingReduced](t, recorded); e.Before != 40 || e.PerSecond != 20 || !e.Until.Equal(s.now.Add(s.policy.PaceRecovery)) {
		t.Errorf("%+v, want half of 40 for a minute", e)
	}
	if plan := connector.PlanFor(s.state); plan.SlowTo != 20 {
		t.Errorf("the plan is %d messages a second, want 20", plan.SlowTo)
	}
	wantEvents(t, "another in the same breath", s.give(s.noticed(100, "Max rate")), "gateway_reported")
	s.passQuietly(s.now.Add(10 * time.Second))
	recorded = s.give(s.noticed(100, "Max rate"))
	if e := find[*events.PacingReduced](t, recorded); e.PerSecond != 10 {
		t.Errorf("%+v, want half again", e)
	}
	s.restart()
	s.reopen()
	if plan := connector.PlanFor(s.state); plan.SlowTo != 10 {
		t.Errorf("after a restart the plan is %d messages a second, want 10 still", plan.SlowTo)
	}
	s.passQuietly(s.now.Add(time.Minute))
	if s.state.Pacing.PerSecond != 0 || s.state.Phase != events.PhaseReady {
		t.Errorf("a minute later: %+v, %s, want the budget back", s.state.Pacing, s.state.Phase)
	}
}

// 503 in ib-connectivity.md: three breaches end the session.
func TestASessionThatEndsRightAfterAnError100WasEndedForIt(t *testing.T) {
	s := newStory(t).open()
	s.give(s.noticed(100, "Max rate"))
	recorded := s.give(s.ended(events.CauseReset))
	if e := find[*events.SessionLost](t, recorded); e.Cause != events.CausePacing || e.Reasons[0].Attribution != events.AttributionOurs {
		t.Errorf("lost by %s, %+v, want pacing, and that it is our fault", e.Cause, e.Reasons)
	}
}

func TestARunSlowsItsSessionsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := memlog.New(), &gateway{scripts: [][]step{then(serve(20*time.Second), say(100, "Max rate"), serve(5*time.Second), end(events.CauseReset)), well}}
		l := run(t, newRunner(store.Writer(), g))
		l.until(func(s events.State) bool { return s.Counts.Sessions == 2 })
		pass(10 * time.Minute)
		l.stop()
		var told [][]int
		for _, s := range g.sessions() {
			told = append(told, s.slow)
		}
		if got := fmt.Sprint(told); got != "[[20] [20 0]]" {
			t.Errorf("the sessions were slowed to %s a second, want [[20] [20 0]]: the next one too, until it is over", got)
		}
	})
}

func TestACompetingSessionIsAConditionOfItsOwn(t *testing.T) {
	s := newStory(t).open()
	in := s.noticed(10197, "No market data during competing live session").(connector.Noticed)
	in.RequestID = 9
	wantEvents(t, "10197", s.give(in), "competing_began")
	if s.state.Condition != events.ConditionDegraded || s.state.Reasons[0].Attribution != events.AttributionCompeting {
		t.Errorf("the connection is %s, %+v, want degraded by a competing session", s.state.Condition, s.state.Reasons)
	}
	s.passQuietly(s.now.Add(4 * time.Minute))
	wantEvents(t, "10197 again", s.give(in), "gateway_reported")
	s.passQuietly(s.now.Add(4 * time.Minute))
	if s.state.Condition != events.ConditionDegraded {
		t.Errorf("four minutes later the connection is %s, want degraded still", s.state.Condition)
	}
	s.passQuietly(s.now.Add(time.Minute))
	s.give(s.woke())
	if s.state.Condition != events.ConditionHealthy {
		t.Errorf("after five minutes without a word of it the connection is %s, %+v, want healthy", s.state.Condition, s.state.Reasons)
	}
}

func TestANetworkThatAcknowledgesNothingIsNotTheGatewaysFault(t *testing.T) {
	for unacked, want := range map[int]events.Cause{0: events.CauseHeartbeatLost, 2: events.CauseNetworkTimeout} {
		s := newStory(t).open()
		miss(s, s.policy.HeartbeatMisses)
		in := s.woke()
		in.Record.Unacked = unacked
		recorded := s.give(in)
		if e := find[*events.SessionLost](t, recorded); e.Cause != want {
			t.Errorf("with %d segments unacknowledged lost by %s, want %s", unacked, e.Cause, want)
		}
	}
}

func TestAProbeThatWaitsForItsTurnHasItsFullTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := func(ctx context.Context, s *session) {
			for {
				select {
				case p := <-s.sent:
					after(3*time.Second)(ctx, s)
					left := s.wall()
					s.report(connector.Probed{Attempt: s.number(), Number: p.number, At: left})
					after(4*time.Second)(ctx, s)
					s.report(connector.Answered{Attempt: s.number(), Number: p.number, Answer: connector.Answer{
						SentAt: left, ReceivedAt: s.wall(), Gateway: left.Truncate(time.Second),
					}})
				case <-ctx.Done():
					return
				}
			}
		}
		store, g := memlog.New(), &gateway{scripts: [][]step{then(late)}, waits: true}
		l := run(t, newRunner(store.Writer(), g))
		pass(time.Hour)
		if missed := all[*events.HeartbeatMissed](store); len(missed) != 0 {
			t.Errorf("%d heartbeats were missed that were answered 4 s after they left, want none", len(missed))
		}
		l.stop()
	})
}

// A probe that never leaves is a session that is stuck.
func TestAProbeThatNeverLeavesIsMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := memlog.New(), &gateway{scripts: [][]step{then(mute), well}, waits: true}
		l := run(t, newRunner(store.Writer(), g))
		pass(time.Second)
		p := l.Policy
		begun := time.Now()
		l.until(func(s events.State) bool { return s.Counts.Losses == 1 })
		if took, bound := time.Since(begun), p.HeartbeatEvery+4*p.HeartbeatTimeout; took > bound {
			t.Errorf("it took %v to be found, want at most %v", took, bound)
		}
		l.kill(errTerminated)
		<-l.over
	})
}
