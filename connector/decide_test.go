package connector_test

import (
	"strings"
	"testing"
	"time"

	"ibconn/connector"
	"ibconn/events"
)

func TestTheFirstRetryComesAtOnce(t *testing.T) {
	s := newStory(t).dial()
	recorded := s.give(s.ended(events.CauseRefused))
	wantEvents(t, "the first failure", recorded, "dial_failed dial_started")
	failed := find[*events.DialFailed](t, recorded)
	if failed.Failures != 1 || failed.RetryIn != 0 || !failed.RetryAt.Equal(s.now) {
		t.Errorf("dial_failed has failures %d, retry in %v, want 1 and at once", failed.Failures, failed.RetryIn)
	}
}

// delays collects the delay after that many failures over many attempts' dice.
func delays(t *testing.T, failures, samples int, change func(*connector.Policy)) []time.Duration {
	t.Helper()
	s := newStory(t).dial()
	change(&s.policy)
	s.state.Failures = failures - 1
	var all []time.Duration
	for i := range samples {
		s.state.Attempt.Number = uint64(i + 1)
		draft, _ := s.decide(s.ended(events.CauseRefused))
		failed := find[*events.DialFailed](t, []events.Event{draft.Event})
		if got := s.now.Add(failed.RetryIn.Duration()); got.Sub(failed.RetryAt).Abs() > time.Microsecond {
			t.Fatalf("retry in %v and at %v, which differ", failed.RetryIn, failed.RetryAt)
		}
		all = append(all, failed.RetryAt.Sub(s.now))
	}
	return all
}

func TestRetriesAreSpreadOverASpanThatDoublesUpToTheCap(t *testing.T) {
	for _, c := range []struct {
		failures int
		span     time.Duration
	}{
		{2, time.Second},
		{3, 2 * time.Second},
		{4, 4 * time.Second},
		{7, 32 * time.Second},
		{8, time.Minute},
		{9, time.Minute},
		{40, time.Minute},
		{90, time.Minute},
	} {
		const samples = 300
		var sum, least, most time.Duration
		least = c.span
		for _, d := range delays(t, c.failures, samples, func(p *connector.Policy) { p.BreakerAfter = 100 }) {
			if d < 0 || d >= c.span {
				t.Fatalf("after %d failures the retry waits %v, want less than %v", c.failures, d, c.span)
			}
			sum, least, most = sum+d, min(least, d), max(most, d)
		}
		// Full jitter reaches from nothing to the whole span.
		if mean := sum / samples; least > c.span/10 || most < c.span*9/10 || mean < c.span*4/10 || mean > c.span*6/10 {
			t.Errorf("after %d failures retries wait %v to %v, %v on average, want them spread over %v", c.failures, least, most, mean, c.span)
		}
	}
}

func TestRetriesStayAtTheCapHoweverLargeTheBase(t *testing.T) {
	for failures := 30; failures < 130; failures += 3 {
		var most time.Duration
		for _, d := range delays(t, failures, 40, func(p *connector.Policy) {
			p.BreakerAfter, p.BackoffBase, p.BackoffCap = 1000, time.Hour, 100*time.Hour
		}) {
			most = max(most, d)
		}
		if most < 50*time.Hour || most >= 100*time.Hour {
			t.Errorf("after %d failures the longest of 40 retries is %v, want it near 100h", failures, most)
		}
	}
}

func TestConnectionsDoNotReturnInStep(t *testing.T) {
	seen := map[time.Time]string{}
	for _, instance := range []string{"host-1", "host-2", "host-3"} {
		for _, epoch := range []uint64{1, 2} {
			s := newStory(t)
			s.state.Instance, s.state.Epoch, s.head.Epoch = instance, epoch, epoch
			s.dial().give(s.ended(events.CauseRefused))
			failed := find[*events.DialFailed](t, s.give(s.ended(events.CauseRefused)))
			if other := seen[failed.RetryAt]; other != "" {
				t.Errorf("%s in epoch %d retries at the same instant as %s", instance, epoch, other)
			}
			seen[failed.RetryAt] = instance
		}
	}
}

func TestFailuresAreForgottenOnlyByASessionReadyFor60Seconds(t *testing.T) {
	for _, c := range []struct {
		ready    time.Duration
		failures int
	}{
		{0, 4}, {time.Minute - 1, 4}, {time.Minute, 1}, {time.Hour, 1},
	} {
		s := newStory(t).open()
		s.state.Failures = 3
		s.now = s.now.Add(c.ready)
		lost := find[*events.SessionLost](t, s.give(s.ended(events.CauseReset)))
		if lost.Failures != c.failures {
			t.Errorf("lost after %v ready: failures %d, want %d", c.ready, lost.Failures, c.failures)
		}
		if atOnce := lost.RetryIn == 0; atOnce != (c.failures == 1) {
			t.Errorf("lost after %v ready: retry in %v, want at once: %t", c.ready, lost.RetryIn, c.failures == 1)
		}
		if lost.Uptime.Duration() != c.ready.Round(time.Microsecond) {
			t.Errorf("lost after %v ready: uptime %v", c.ready, lost.Uptime)
		}
	}
}

func TestARestartForgetsFailuresAsALossDoes(t *testing.T) {
	for _, c := range []struct {
		ready    time.Duration
		failures int
	}{{time.Minute - 1, 3}, {time.Minute, 0}} {
		s := newStory(t).open()
		s.state.Failures = 3
		opened := s.now
		s.now = s.now.Add(time.Hour)
		lost := find[*events.SessionLost](t, s.give(connector.Started{LastEventAt: opened.Add(c.ready)}))
		if lost.Failures != c.failures {
			t.Errorf("process gone after %v ready: failures %d, want %d", c.ready, lost.Failures, c.failures)
		}
	}
}

func TestTheBreakerOpensAfterNFailuresInARowAndSaysWhenItProbes(t *testing.T) {
	s := newStory(t).dial()
	for n := 1; n < s.policy.BreakerAfter; n++ {
		recorded := s.give(s.ended(events.CauseRefused))
		if strings.Contains(names(recorded), "breaker_opened") {
			t.Fatalf("the breaker opens after %d failures, want %d", n, s.policy.BreakerAfter)
		}
		s.passTo(later(s.state.RetryAt, s.now))
	}
	recorded := s.give(s.ended(events.CauseRefused))
	wantEvents(t, "the last failure allowed", recorded, "dial_failed breaker_opened")
	opened := find[*events.BreakerOpened](t, recorded)
	probeAt := s.now.Add(s.policy.BreakerProbe)
	if opened.Failures != s.policy.BreakerAfter || !opened.ProbeAt.Equal(probeAt) || !s.state.Breaker.ProbeAt.Equal(probeAt) {
		t.Errorf("breaker_opened has failures %d, probe at %v, want %d and %v", opened.Failures, opened.ProbeAt, s.policy.BreakerAfter, probeAt)
	}

	wantEvents(t, "before the probe is due", s.passTo(probeAt.Add(-1)), "")
	recorded = s.passTo(probeAt)
	wantEvents(t, "when the probe is due", recorded, "dial_started")
	if started := find[*events.DialStarted](t, recorded); !started.Probe {
		t.Error("the attempt of an open breaker is not called a probe")
	}
	wantEvents(t, "a probe that fails", s.give(s.ended(events.CauseRefused)), "dial_failed")
	if s.in(events.PhaseTripped); !s.state.Breaker.ProbeAt.Equal(s.now.Add(s.policy.BreakerProbe)) {
		t.Errorf("the next probe is at %v, want %v from now", s.state.Breaker.ProbeAt, s.policy.BreakerProbe)
	}
	s.check()
}

func TestAProbeThatSucceedsClosesTheBreaker(t *testing.T) {
	s := newStory(t).trip()
	opened := s.state.Breaker.Since
	s.passTo(s.state.RetryAt)
	s.give(s.reached())
	s.give(s.greeted())
	recorded := s.give(s.opened())
	wantEvents(t, "the probe's success", recorded, "session_opened breaker_closed")
	if closed := find[*events.BreakerClosed](t, recorded); closed.Open != events.Between(opened, s.now) {
		t.Errorf("breaker_closed says it was open for %v, want %v", closed.Open, events.Between(opened, s.now))
	}
	if s.state.Breaker != (events.Breaker{}) {
		t.Errorf("the breaker is %+v, want it closed", s.state.Breaker)
	}
	s.check()
}

func TestABreakerThatClosedOpensAgainWhenTheSessionDoesNotLast(t *testing.T) {
	s := newStory(t).trip()
	s.passTo(s.state.RetryAt)
	s.reopen()
	s.pass(s.policy.StableAfter - 1)
	wantEvents(t, "the loss of a session that did not last", s.give(s.ended(events.CauseReset)), "session_lost breaker_opened")
}

func TestACommandForcesAProbeOfAnOpenBreaker(t *testing.T) {
	for _, verb := range []events.Verb{events.VerbConnect, events.VerbReconnect} {
		s := newStory(t).trip()
		recorded := s.command("c1", verb)
		wantEvents(t, string(verb), recorded, "accepted connect_requested dial_started")
		if !find[*events.DialStarted](t, recorded).Probe {
			t.Errorf("%s: the attempt is not called a probe", verb)
		}
		s.give(s.ended(events.CauseRefused))
		s.in(events.PhaseTripped).check()
	}
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func TestAnAttemptWalksThroughItsStepsEachUnderADeadline(t *testing.T) {
	s := newStory(t)
	wantEvents(t, "the start", s.give(connector.Started{}), "connect_requested dial_started")
	began := s.now
	wantDeadline := func(step string, want time.Time) {
		t.Helper()
		if got := connector.PlanFor(s.state).WakeAt; !got.Equal(want) {
			t.Errorf("%s: the deadline is %v after the attempt began, want %v", step, got.Sub(began), want.Sub(began))
		}
	}
	wantDeadline("dialing", began.Add(s.policy.DialTimeout))

	s.now = s.now.Add(time.Second)
	reached := s.now
	wantEvents(t, "TCP is open", s.give(s.reached()), "gateway_reached")
	wantDeadline("greeting", reached.Add(s.policy.GreetingTimeout))

	s.now = s.now.Add(time.Second)
	wantEvents(t, "the version came", s.give(s.greeted()), "gateway_greeted")
	wantDeadline("greeting, version known", reached.Add(s.policy.ReadyTimeout))

	s.now = s.now.Add(time.Second)
	recorded := s.give(s.opened())
	wantEvents(t, "all of it came", recorded, "session_opened")
	opened := find[*events.SessionOpened](t, recorded)
	if opened.Took != 3000 || opened.RTT != 20 || opened.NextValidID != 12 || opened.ServerVersion != 203 || opened.ClientID != 7 {
		t.Errorf("session_opened is %+v", opened)
	}
	if len(opened.Accounts) != 1 || opened.Accounts[0] != "DU***67" {
		t.Errorf("session_opened has accounts %q, want them masked", opened.Accounts)
	}
	s.check()
}

func TestEachDeadlineOfAnAttemptEndsItAtItsInstant(t *testing.T) {
	for _, c := range []struct {
		step   string
		at     func(*story)
		cause  events.Cause
		stage  events.Phase
		detail string
	}{
		{"dialing", func(s *story) { s.dial() }, events.CauseDialTimeout, events.PhaseDialing, "within 5s"},
		{"reached", func(s *story) { s.greet() }, events.CauseMuteInGreeting, events.PhaseGreeting, "no version within 10s"},
		{"greeted", func(s *story) { s.greet().give(s.greeted()) }, events.CauseMuteInGreeting, events.PhaseGreeting, "version 203 answered"},
	} {
		s := newStory(t)
		c.at(s)
		deadline := s.state.Attempt.DeadlineAt
		wantEvents(t, c.step+", just before the deadline", s.passTo(deadline.Add(-1)), "")
		recorded := s.passTo(deadline)
		wantEvents(t, c.step+", at the deadline", recorded, "dial_failed dial_started")
		failed := find[*events.DialFailed](t, recorded)
		if failed.Cause != c.cause || failed.Stage != c.stage || !strings.Contains(failed.Detail, c.detail) {
			t.Errorf("%s: failed in %s by %s (%s), want in %s by %s (%s)", c.step, failed.Stage, failed.Cause, failed.Detail, c.stage, c.cause, c.detail)
		}
	}
}

func TestEveryCauseOfAnEndIsKeptAsItIs(t *testing.T) {
	for _, cause := range events.Causes {
		for _, phase := range []events.Phase{events.PhaseDialing, events.PhaseGreeting, events.PhaseReady} {
			s := newStory(t)
			switch phase {
			case events.PhaseDialing:
				s.dial()
			case events.PhaseGreeting:
				s.greet()
			default:
				s.open()
			}
			want := cause
			if phase == events.PhaseGreeting && cause == events.CauseClosedByGateway {
				want = events.CauseClosedInGreeting // an end of stream there says more: the gateway took TCP and nothing else
			}
			s.give(s.ended(cause))
			if got := s.state.LastEnding; got.Cause != want || got.Detail != "as the system words it" {
				t.Errorf("%s in %s ended by %s (%s), want %s", cause, phase, got.Cause, got.Detail, want)
			}
		}
	}
}

func TestALostSessionKeepsItsFlightRecord(t *testing.T) {
	record := connector.FlightRecord{
		Traffic: events.Traffic{BytesIn: 100, FramesIn: 4, HeardAt: dawn},
		Frames:  []events.FlightFrame{{At: dawn, Dir: "in", ID: 49, Size: 12}},
	}
	s := newStory(t).open()
	s.now = s.now.Add(time.Minute)
	in := connector.Ended{Attempt: 1, Cause: events.CauseReset, Detail: "account DU1234567 was reset", Record: record}
	lost := find[*events.SessionLost](t, s.give(in))
	if lost.Traffic.BytesIn != 100 || len(lost.Flight) != 1 || lost.Flight[0].ID != 49 || lost.Silent != 60_000 {
		t.Errorf("session_lost is %+v, want it with its flight record", lost)
	}
	if lost.Detail != "account DU***67 was reset" {
		t.Errorf("session_lost has detail %q, want the account masked", lost.Detail)
	}

	s.give(s.reached())
	in.Attempt = 2
	if failed := find[*events.DialFailed](t, s.give(in)); failed.Traffic.BytesIn != 100 || len(failed.Flight) != 1 {
		t.Errorf("dial_failed is %+v, want it with its flight record", failed)
	}
}

func TestWhatTheGatewaySaysIsCutToSize(t *testing.T) {
	endless := strings.Repeat("ä", events.MaxSize)
	s := newStory(t).greet()
	accounts := make([]string, 100_000)
	for i := range accounts {
		accounts[i] = "DU1234567"
	}
	s.give(connector.Greeted{Attempt: 1, ServerVersion: 203, GatewayTime: endless})
	s.give(connector.Opened{Attempt: 1, Accounts: accounts})
	s.give(s.noticed(162, endless))
	s.give(s.noticed(1100, endless))
	s.give(connector.Ended{Attempt: 1, Cause: events.CauseOther, Detail: endless})
	s.command("c1", events.VerbConnect)
	s.check() // reading back refuses what is larger than an event may be
	if got := len(s.state.LastEnding.Detail); got > 2000 {
		t.Errorf("the detail has %d bytes, want at most 2000", got)
	}
}

func TestAHeartbeatIsDueEveryInterval(t *testing.T) {
	s := newStory(t).open()
	for n := uint64(1); n <= 3; n++ {
		plan := connector.PlanFor(s.state)
		if want := s.now.Add(s.policy.HeartbeatEvery); plan.Probe != n || n == 1 && !plan.ProbeAt.Equal(want) {
			t.Fatalf("PlanFor() sends probe %d at %v, want %d at %v", plan.Probe, plan.ProbeAt, n, want)
		}
		wantEvents(t, "the probe is sent", s.passTo(plan.ProbeAt), "")
		sent := s.now
		s.now = s.now.Add(30 * time.Millisecond)
		recorded := s.give(s.answered(n))
		wantEvents(t, "the answer", recorded, "answered")
		e := find[*events.HeartbeatAnswered](t, recorded)
		if e.Number != n || e.RTT != 30 || e.Late || !e.NextProbeAt.Equal(sent.Add(s.policy.HeartbeatEvery)) {
			t.Errorf("answered is %+v, want number %d after 30 ms, the next %v after the last was sent", e, n, s.policy.HeartbeatEvery)
		}
	}
	s.check()
}

func TestProbesAreAtLeastASecondApartHoweverSlowTheAnswer(t *testing.T) {
	s := newStory(t).open()
	s.policy.HeartbeatEvery, s.policy.HeartbeatTimeout = time.Second, time.Second
	var sent time.Time
	for n := uint64(1); n <= 50; n++ {
		at := connector.PlanFor(s.state).ProbeAt
		if gap := at.Sub(sent); gap < connector.ProbeSpacing {
			t.Fatalf("probe %d goes out %v after the one before, want at least %v", n, gap, connector.ProbeSpacing)
		}
		s.passTo(at)
		sent = s.now
		switch rtt := time.Duration(n%3) * 600 * time.Millisecond; {
		case rtt < time.Second:
			s.now = s.now.Add(rtt)
			s.give(s.answered(n))
		default:
			s.pass(time.Second) // missed
			s.now = s.now.Add(rtt - time.Second)
			s.give(s.answered(n))
		}
		s.in(events.PhaseReady)
	}
}

func TestAnAnswerSlowerThanTheIntervalLetsTheNextProbeGoAtOnce(t *testing.T) {
	s := newStory(t).open()
	s.policy.HeartbeatEvery = time.Second
	s.passTo(connector.PlanFor(s.state).ProbeAt)
	s.now = s.now.Add(3 * time.Second)
	e := find[*events.HeartbeatAnswered](t, s.give(s.answered(1)))
	if !e.NextProbeAt.Equal(s.now) || !e.AnswerBy.Equal(s.now.Add(s.policy.HeartbeatTimeout)) {
		t.Errorf("the next probe goes %v after the answer, to be answered within %v, want at once, within %v",
			e.NextProbeAt.Sub(s.now), e.AnswerBy.Sub(e.NextProbeAt), s.policy.HeartbeatTimeout)
	}
}

func TestAProbeIsNotMissedBeforeItWasOutForItsTime(t *testing.T) {
	s := newStory(t).open()
	// The process was held up: the probe goes out when its answer was due.
	wantEvents(t, "the late probe is sent", s.pass(time.Hour), "")
	wantEvents(t, "it has its time", s.pass(s.policy.HeartbeatTimeout-1), "")
	wantEvents(t, "then it is missed", s.pass(1), "missed session_stale")
}

func TestAProbeThatWasNeverSentIsNotMissed(t *testing.T) {
	s := newStory(t).open()
	s.now = s.now.Add(time.Hour)
	wantEvents(t, "woken before the probe could be sent", s.give(connector.Woke{}), "")
}

func TestASilentSessionIsStaleAfterOneMissAndLostAfterTwo(t *testing.T) {
	s := newStory(t).open()
	opened := s.now
	s.passTo(connector.PlanFor(s.state).ProbeAt)
	recorded := s.pass(s.policy.HeartbeatTimeout)
	wantEvents(t, "the first miss", recorded, "missed session_stale")
	if missed := find[*events.HeartbeatMissed](t, recorded); missed.Misses != 1 || missed.Silent != 20_000 {
		t.Errorf("missed is %+v, want 1 miss after 20 s of silence", missed)
	}
	if s.state.Condition != events.ConditionDegraded {
		t.Errorf("a stale session is %s, want degraded", s.state.Condition)
	}
	wantEvents(t, "the second probe goes out at once", s.pass(0), "")
	if s.probed != 2 {
		t.Errorf("probe %d was sent last, want 2", s.probed)
	}
	recorded = s.pass(s.policy.HeartbeatTimeout)
	wantEvents(t, "the second miss", recorded, "missed session_lost dial_started")
	lost := find[*events.SessionLost](t, recorded)
	if lost.Cause != events.CauseHeartbeatLost || lost.Silent != 25_000 {
		t.Errorf("lost by %s after %v of silence, want heartbeat_lost after 25 s", lost.Cause, lost.Silent)
	}
	if took := s.now.Sub(opened); took != s.policy.HeartbeatEvery+2*s.policy.HeartbeatTimeout {
		t.Errorf("it took %v, want an interval and two timeouts", took)
	}
	s.check()
}

func TestWithOneMissAllowedASilentSessionIsLostAtTheFirst(t *testing.T) {
	s := newStory(t).open()
	s.policy.HeartbeatMisses = 1
	s.passTo(connector.PlanFor(s.state).ProbeAt)
	wantEvents(t, "the miss", s.pass(s.policy.HeartbeatTimeout), "missed session_lost dial_started")
}

func TestAnyByteCountsAsLifeButProbingGoesOn(t *testing.T) {
	s := newStory(t).open()
	for n := uint64(1); n <= 10; n++ {
		s.passTo(connector.PlanFor(s.state).ProbeAt)
		sent := s.now
		s.heard = s.now.Add(time.Millisecond)
		recorded := s.pass(s.policy.HeartbeatTimeout)
		wantEvents(t, "missed, but other bytes came", recorded, "missed")
		missed := find[*events.HeartbeatMissed](t, recorded)
		if missed.Misses != 0 || missed.Number != n || !missed.NextProbeAt.Equal(sent.Add(s.policy.HeartbeatEvery)) {
			t.Fatalf("missed is %+v, want number %d, no miss counted, and the next an interval after it", missed, n)
		}
	}
	// A byte that came before the probe proves nothing.
	s.passTo(connector.PlanFor(s.state).ProbeAt)
	s.heard = s.now
	wantEvents(t, "only older bytes", s.pass(s.policy.HeartbeatTimeout), "missed session_stale")
}

func TestAStaleSessionIsFreshOnceItAnswersOrIsHeard(t *testing.T) {
	stale := func() *story {
		s := newStory(t).open()
		s.passTo(connector.PlanFor(s.state).ProbeAt)
		s.pass(s.policy.HeartbeatTimeout)
		s.pass(0) // probe 2
		return s
	}

	s := stale()
	s.now = s.now.Add(time.Second)
	recorded := s.give(s.answered(2))
	wantEvents(t, "the second probe is answered", recorded, "answered session_fresh")
	if fresh := find[*events.SessionFresh](t, recorded); fresh.Stale != 1000 {
		t.Errorf("stale for %v, want 1 s", fresh.Stale)
	}
	s.check()

	s = stale()
	schedule := s.state.Heartbeat
	s.now = s.now.Add(time.Second)
	recorded = s.give(s.answered(1))
	wantEvents(t, "the first probe is answered after all", recorded, "answered session_fresh")
	if e := find[*events.HeartbeatAnswered](t, recorded); !e.Late || !e.NextProbeAt.Equal(schedule.NextProbeAt) || !e.AnswerBy.Equal(schedule.AnswerBy) {
		t.Errorf("answered is %+v, want it late and the schedule as it stood, %+v", e, schedule)
	}
	if s.state.Condition != events.ConditionHealthy {
		t.Errorf("a fresh session is %s, want healthy", s.state.Condition)
	}
	s.check()

	s = stale()
	s.heard = s.now.Add(time.Millisecond)
	wantEvents(t, "other bytes come", s.pass(s.policy.HeartbeatTimeout), "missed session_fresh")
	s.check()
}

func TestAnswersToNoProbeThatIsOwedChangeNothing(t *testing.T) {
	s := newStory(t).open()
	wantEvents(t, "probe 0 was never sent", s.give(s.answered(0)), "")
	for n := uint64(1); n <= 3; n++ {
		s.passTo(connector.PlanFor(s.state).ProbeAt)
		s.give(s.answered(n))
	}
	for _, n := range []uint64{0, 1, 2, 5, 1 << 63} {
		wantEvents(t, "an answer out of turn", s.give(s.answered(n)), "")
	}
}

func TestTheGatewaysClockIsComparedWithTheMiddleOfTheRoundTrip(t *testing.T) {
	s := newStory(t).open()
	sent := dawn.Add(time.Hour).In(time.FixedZone("elsewhere", 3600))
	recorded := s.give(connector.Answered{Attempt: 1, Number: 1, Answer: connector.Answer{
		SentAt: sent, ReceivedAt: sent.Add(200 * time.Millisecond), Gateway: sent.Add(2 * time.Second).Truncate(time.Second),
	}})
	e := find[*events.HeartbeatAnswered](t, recorded)
	// Gateway second 2 stands for 2.5 s, the middle of the trip is 0.1 s.
	if e.Skew != 2400 || e.RTT != 200 || e.SentAt.Location() != time.UTC {
		t.Errorf("answered has skew %v and rtt %v at %v, want 2.4 s, 200 ms and UTC", e.Skew, e.RTT, e.SentAt)
	}
}

func TestNewsOfAnAttemptGivenUpIsIgnored(t *testing.T) {
	for _, at := range []func(*story) *story{(*story).dial, (*story).greet, (*story).open} {
		for _, off := range []uint64{^uint64(0), 1} {
			s := at(newStory(t))
			now := s.state
			s.state.Attempt.Number += off // what the inputs below are about
			inputs := []connector.Input{
				s.reached(), s.greeted(), s.opened(), s.answered(1), s.ended(events.CauseReset), s.noticed(1100, "lost"), s.noticed(326, "in use"),
			}
			s.state = now
			for _, in := range inputs {
				if d, ok := s.decide(in); ok {
					t.Errorf("%T of another attempt leads to %s in %s", in, d.Event.Type(), s.state.Phase)
				}
			}
		}
	}
}

func TestNewsOutOfTurnIsIgnored(t *testing.T) {
	for _, c := range []struct {
		at   func(*story) *story
		news []func(*story) connector.Input
	}{
		{(*story).dial, []func(*story) connector.Input{(*story).greeted, (*story).opened}},
		{(*story).greet, []func(*story) connector.Input{(*story).reached, (*story).opened}},
		{(*story).open, []func(*story) connector.Input{(*story).reached, (*story).greeted, (*story).opened}},
	} {
		for _, news := range c.news {
			s := c.at(newStory(t))
			in := news(s)
			if d, ok := s.decide(in); ok {
				t.Errorf("%T leads to %s in %s", in, d.Event.Type(), s.state.Phase)
			}
		}
	}
}

func TestTheSafetyCatchAndAbandonedSessionsAreRecordedWhateverTheAttempt(t *testing.T) {
	s := newStory(t).open()
	recorded := s.give(connector.Refused{Attempt: 99, MessageID: 3, Name: "placeOrder", Size: 120})
	wantEvents(t, "a refused frame", recorded, "frame_refused")
	if e := find[*events.FrameRefused](t, recorded); e.Attempt != 99 || e.MessageID != 3 || e.Size != 120 {
		t.Errorf("frame_refused is %+v", e)
	}
	recorded = s.give(connector.Abandoned{Attempt: 98, Waited: 2 * time.Second, Total: 3})
	wantEvents(t, "an abandoned session", recorded, "session_abandoned")
	if e := find[*events.SessionAbandoned](t, recorded); e.Attempt != 98 || e.Waited != 2000 || e.Total != 3 {
		t.Errorf("session_abandoned is %+v", e)
	}
	if s.in(events.PhaseReady); s.state.Counts.Errors != 2 {
		t.Errorf("errors counted = %d, want 2", s.state.Counts.Errors)
	}
}

func TestARestartIsRecordedInEachPhase(t *testing.T) {
	for _, c := range []struct {
		phase string
		at    func(*story)
		want  string
	}{
		{"idle", func(s *story) {}, "connect_requested dial_started"},
		{"dialing", func(s *story) { s.dial() }, "dial_failed dial_started"},
		{"greeting", func(s *story) { s.greet() }, "dial_failed dial_started"},
		{"ready", func(s *story) { s.open() }, "session_lost dial_started"},
		{"waiting", func(s *story) { s.dial(); s.give(s.ended(events.CauseRefused)); s.give(s.ended(events.CauseRefused)) }, "connect_requested dial_started"},
		{"tripped", func(s *story) { s.trip() }, "connect_requested dial_started"},
		{"stopped by the process", func(s *story) { s.open().give(connector.ShutDown{Reason: "terminated"}) }, "connect_requested dial_started"},
		{"stopped by command", func(s *story) { s.open().command("c1", events.VerbDisconnect) }, ""},
	} {
		s := newStory(t)
		c.at(s)
		failures, breaker, lastAt := s.state.Failures, s.state.Breaker.Open, s.state.AsOf
		s.now = s.now.Add(time.Hour)
		recorded := s.restart()
		wantEvents(t, "restart when "+c.phase, recorded, c.want)
		if s.state.Failures != failures {
			t.Errorf("restart when %s: failures %d, want %d: our own end is not the gateway's failure", c.phase, s.state.Failures, failures)
		}
		if s.state.Breaker.Open != breaker || s.state.Phase == events.PhaseDialing && s.state.Attempt.Probe != breaker {
			t.Errorf("restart when %s: the breaker is open: %t, want %t, and the attempt a probe if it is", c.phase, s.state.Breaker.Open, breaker)
		}
		for _, e := range recorded {
			switch e := e.(type) {
			case *events.SessionLost:
				if e.Cause != events.CauseProcessRestarted || e.Away != events.Between(lastAt, s.now) || e.Uptime != 0 {
					t.Errorf("restart when %s: %+v, want process_restarted, away for an hour", c.phase, e)
				}
			case *events.DialFailed:
				if e.Cause != events.CauseProcessRestarted || !e.RetryAt.Equal(s.now) {
					t.Errorf("restart when %s: %+v, want process_restarted and a retry at once", c.phase, e)
				}
			case *events.ConnectRequested:
				if e.By != events.AskerStart {
					t.Errorf("restart when %s: wanted by %s, want %s", c.phase, e.By, events.AskerStart)
				}
			}
		}
		s.check()
	}
}

func TestAnOutageLastsFromTheLossToTheNextSession(t *testing.T) {
	s := newStory(t).open()
	if opened := s.state.OutageSince; !opened.IsZero() {
		t.Errorf("an outage began at %v before any session was lost", opened)
	}
	s.pass(10 * time.Second)
	s.give(s.ended(events.CauseReset))
	s.now = s.now.Add(time.Second)
	s.give(s.ended(events.CauseRefused))
	s.passTo(s.state.RetryAt)
	s.now = dawn.Add(time.Hour)
	s.give(s.reached())
	s.give(s.greeted())
	opened := find[*events.SessionOpened](t, s.give(s.opened()))
	if want := events.MillisOf(time.Hour - 10*time.Second); opened.Outage != want {
		t.Errorf("session_opened says the outage lasted %v, want %v", opened.Outage, want)
	}
}

func TestShutdownIsRecordedOnceAndKeepsTheConnectionWanted(t *testing.T) {
	for _, at := range []func(*story) *story{
		func(s *story) *story { return s }, (*story).dial, (*story).greet, (*story).open, (*story).trip,
	} {
		s := at(newStory(t))
		attempt := connector.PlanFor(s.state).Attempt.Attempt
		recorded := s.give(connector.ShutDown{Reason: "signal: terminated, for DU1234567"})
		wantEvents(t, "shutdown", recorded, "stopped")
		e := find[*events.Stopped](t, recorded)
		if e.Cause != events.CauseShutdown || e.Attempt != attempt || e.Reason != "signal: terminated, for DU***67" {
			t.Errorf("stopped is %+v, want by shutdown, of attempt %d, with the reason masked", e, attempt)
		}
		if !s.state.Wanted || s.state.Condition != events.ConditionStopped {
			t.Errorf("after shutdown: wanted %t and %s, want it wanted and stopped", s.state.Wanted, s.state.Condition)
		}
		wantEvents(t, "a second shutdown", s.give(connector.ShutDown{}), "")
		s.check()
	}
}
