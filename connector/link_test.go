package connector_test

import (
	"testing"
	"testing/synctest"
	"time"

	"ibconn/connector"
	"ibconn/events"
	"ibconn/testenv/memlog"
)

// linked brings a story to a session whose link is proven.
func linked(t *testing.T) *story {
	s := probed(newStory(t))
	wantEvents(t, "an answer to the probe of a new session", s.ask(), "link_answered link_proven")
	if s.state.Link.Status != events.LinkUp || s.state.Condition != events.ConditionHealthy {
		t.Fatalf("the link is %s and the connection %s, want up and healthy", s.state.Link.Status, s.state.Condition)
	}
	return s
}

// ask lets the time pass until the next probe of the link, and has it
// answered.
func (s *story) ask() []events.Event {
	s.Helper()
	s.passQuietly(connector.PlanFor(s.state).LinkProbeAt)
	return s.give(s.found(s.state.Heartbeat.Link.Number + 1))
}

// passQuietly lets the time pass until at while heartbeats are answered.
func (s *story) passQuietly(at time.Time) {
	s.Helper()
	for {
		plan := connector.PlanFor(s.state)
		if !plan.ProbeAt.Before(at) {
			s.passTo(later(at, s.now))
			return
		}
		s.passTo(later(plan.ProbeAt, s.now))
		s.give(s.answered(plan.Probe))
	}
}

func TestANewSessionIsHealthyOnceItsLinkIsProven(t *testing.T) {
	s := probed(newStory(t))
	if s.state.Condition != events.ConditionDegraded || s.state.Reasons[0].What != events.ReasonUnproven {
		t.Errorf("a new session is %s, %+v, want degraded as its link is unproven", s.state.Condition, s.state.Reasons)
	}
	wantEvents(t, "an answer", s.ask(), "link_answered link_proven")
	wantEvents(t, "an answer five minutes later", s.ask(), "link_answered")
}

func TestALinkThatIsSaidToBeBackIsVerified(t *testing.T) {
	s := linked(t)
	s.passQuietly(s.now.Add(time.Minute))
	s.give(s.noticed(1100, "lost"))
	s.passQuietly(s.now.Add(time.Minute))
	wantEvents(t, "1102", s.give(s.noticed(1102, "restored")), "link_up")
	if s.state.Condition != events.ConditionDegraded {
		t.Errorf("the gateway's word alone makes the connection %s, want it degraded", s.state.Condition)
	}
	recorded := s.ask()
	wantEvents(t, "an answer", recorded, "link_answered link_proven")
	if e := find[*events.LinkProven](t, recorded); e.DataLost || e.From != events.LinkUp || e.Condition != events.ConditionHealthy {
		t.Errorf("%+v, want a link verified whose data was kept", e)
	}
}

// Nobody owes us a 1102 (rust-ibapi #812).
func TestALinkWhoseReturnNobodyAnnouncesIsFound(t *testing.T) {
	s := linked(t)
	s.give(s.noticed(1100, "lost"))
	lost := s.now
	wantEvents(t, "an answer within two minutes of the last 1100", s.ask(), "link_answered")
	wantEvents(t, "the next", s.ask(), "link_answered link_proven")
	if s.now.Sub(lost) < 2*time.Minute || s.now.Sub(lost) > 4*time.Minute {
		t.Errorf("the link is back after %v, want within a few minutes", s.now.Sub(lost))
	}
	if !s.state.Link.DataLost {
		t.Error("its data is taken for kept, and nobody said so")
	}
}

// A gateway without a link answers from what it has and goes on saying 1100.
func TestAGatewayThatGoesOnSayingThatItsLinkIsDownIsBelieved(t *testing.T) {
	s := linked(t)
	s.give(s.noticed(1100, "lost"))
	for range 30 {
		s.record(events.Draft{Event: &events.GatewayRepeated{
			Attempt: s.state.Attempt.Number, RequestID: -1, Code: 1100, Class: events.ClassLinkLost, Count: 3, FirstAt: s.now, LastAt: s.now,
		}})
		wantEvents(t, "an answer while 1100 goes on", s.ask(), "link_answered")
	}
	if s.state.Link.Status != events.LinkDown {
		t.Errorf("the link is %s, want down", s.state.Link.Status)
	}
}

func TestALinkThatFallsSilentIsFound(t *testing.T) {
	s := linked(t)
	began := s.now
	var recorded []events.Event
	for range s.policy.LinkProbeMisses {
		s.passQuietly(connector.PlanFor(s.state).LinkProbeAt)
		s.passQuietly(s.now.Add(s.policy.LinkProbeTimeout))
		recorded = append(recorded, s.give(s.woke())...)
	}
	if s.state.Link.Status != events.LinkDown || s.state.Condition != events.ConditionDegraded || s.state.Phase != events.PhaseReady {
		t.Fatalf("after %v, %s: the link is %s, want down, and the session kept", s.now.Sub(began), names(recorded), s.state.Link.Status)
	}
	if got := s.state.Reasons[0].Attribution; got != events.AttributionLink {
		t.Errorf("it is called %q's fault, want the link's", got)
	}
	bound := s.policy.LinkProbeEvery + time.Duration(s.policy.LinkProbeMisses)*(s.policy.LinkProbeTimeout+time.Second)
	if took := s.now.Sub(began); took > bound {
		t.Errorf("it took %v, want at most %v", took, bound)
	}
	wantEvents(t, "an answer at last", s.ask(), "link_answered link_proven")
}

// A gateway that is frozen answers nothing at all.
func TestASilentSessionSaysNothingOfItsLink(t *testing.T) {
	s := linked(t)
	s.policy.HeartbeatMisses = 100
	for range 40 {
		s.pass(5 * time.Second)
	}
	if s.state.Session.StaleSince.IsZero() || s.state.Link.Status != events.LinkUp {
		t.Errorf("stale since %v, link %s, want a stale session and nothing said of its link", s.state.Session.StaleSince, s.state.Link.Status)
	}
}

func TestAnErrorAnswersAProbeOfTheLink(t *testing.T) {
	s := probed(newStory(t))
	s.pass(0)
	in := s.noticed(322, "Error processing request").(connector.Noticed)
	in.RequestID = linkProbeID(1)
	recorded := s.give(in)
	wantEvents(t, "an error", recorded, "link_missed")
	if e := find[*events.LinkMissed](t, recorded); e.Code != 322 || e.Misses != 1 {
		t.Errorf("%+v, want the error", e)
	}
}

func TestAnEmptyAnswerProvesNothing(t *testing.T) {
	s := probed(newStory(t))
	s.pass(0)
	in := s.found(1).(connector.Found)
	in.Count = 0
	wantEvents(t, "nothing found", s.give(in), "link_missed")
}

func TestAProbeThatWasNotSentIsNotHeldAgainstTheLink(t *testing.T) {
	s := probed(newStory(t))
	for n := range uint64(10) {
		s.give(connector.Passed{Attempt: s.state.Attempt.Number, ID: linkProbeID(n + 1), Outcome: connector.OutcomeExpired})
	}
	if got := s.state.Heartbeat.Link; got.Number != 10 || got.Misses != 0 {
		t.Errorf("after ten that were not sent: %+v, want no miss", got)
	}
}

func TestARunProvesTheLinkOfEachSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := memlog.New(), &gateway{scripts: [][]step{then(serve(time.Minute), cutOff(10*time.Minute), end(events.CauseReset)), well}}
		r := newRunner(store.Writer(), g)
		r.Policy.LinkProbeEvery = time.Minute
		l := run(t, r)
		pass(time.Second)
		if s := l.State(); s.Condition != events.ConditionHealthy || s.Link.Status != events.LinkUp {
			t.Errorf("the connection is %s, its link %s, want healthy and up", s.Condition, s.Link.Status)
		}
		pass(5 * time.Minute)
		if s := l.State(); s.Condition != events.ConditionDegraded || s.Link.Status != events.LinkDown || s.Phase != events.PhaseReady {
			t.Errorf("cut off, the connection is %s, its link %s, want degraded and down", s.Condition, s.Link.Status)
		}
		l.until(func(s events.State) bool { return s.Counts.Sessions == 2 })
		pass(time.Second)
		if s := l.State(); s.Condition != events.ConditionHealthy {
			t.Errorf("in a new session the connection is %s, %+v, want healthy", s.Condition, s.Reasons)
		}
		l.stop()
		checkLog(t, store, l.State())
	})
}

func TestALinkThatComesBackDoesNotWaitForAProbeThatIsUnderWay(t *testing.T) {
	s := linked(t)
	s.give(s.noticed(1100, "lost"))
	s.passQuietly(connector.PlanFor(s.state).LinkProbeAt) // goes out, and gets no answer
	before := connector.PlanFor(s.state).LinkProbe
	s.give(s.noticed(1101, "restored"))
	plan := connector.PlanFor(s.state)
	if plan.LinkProbe <= before || plan.LinkProbeAt.After(s.now) {
		t.Errorf("the plan is probe %d at %v, want a new one at once", plan.LinkProbe, plan.LinkProbeAt.Sub(s.now))
	}
	wantEvents(t, "an answer to the old one", s.give(s.found(before)), "")
	wantEvents(t, "an answer to the new one", s.ask(), "link_answered link_proven")
}

// A gateway that is not logged in gives sessions, and may say nothing more.
func TestAGatewayThatNeverReachesIBNeedsAPerson(t *testing.T) {
	s := probed(newStory(t))
	began := s.now
	for s.state.Gateway.Login.Level == "" && s.now.Sub(began) < time.Hour {
		s.passQuietly(s.now.Add(time.Second))
		s.give(s.woke())
	}
	if got := s.state.Gateway.Login; got.Level != events.LevelLink {
		t.Fatalf("after %v: login %+v, link %s, want a person called for the link", s.now.Sub(began), got, s.state.Link.Status)
	}
	if took := s.now.Sub(began); took > s.policy.LoginAfter+time.Minute {
		t.Errorf("it took %v, want little more than %v", took, s.policy.LoginAfter)
	}
}

func TestTwoProbesOfTheLinkAreASecondApart(t *testing.T) {
	s := linked(t)
	sent := s.askedAt
	s.passQuietly(s.now.Add(100 * time.Millisecond))
	s.give(s.noticed(1101, "restored"))
	if at := connector.PlanFor(s.state).LinkProbeAt; at.Sub(sent) < time.Second || at.Sub(sent) > 1100*time.Millisecond {
		t.Errorf("a link that is back 100 ms after a probe is probed %v after it, want a second", at.Sub(sent))
	}
	wantEvents(t, "the answer", s.ask(), "link_answered link_proven")
}
