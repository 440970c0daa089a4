package connector_test

import (
	"testing"
	"time"

	"ibconn/connector"
	"ibconn/events"
)

// muteFor lets attempts be accepted and meet silence for d.
func muteFor(s *story, d time.Duration) []events.Event {
	s.Helper()
	var recorded []events.Event
	for until := s.now.Add(d); s.now.Before(until); {
		switch s.state.Phase {
		case events.PhaseDialing:
			recorded = append(recorded, s.give(s.reached())...)
		case events.PhaseGreeting:
			recorded = append(recorded, s.passTo(s.state.Attempt.DeadlineAt)...)
		default:
			recorded = append(recorded, s.passTo(s.state.RetryAt)...)
		}
	}
	return recorded
}

func logins(recorded []events.Event) (all []*events.LoginNeeded) {
	for _, e := range recorded {
		if l, ok := e.(*events.LoginNeeded); ok {
			all = append(all, l)
		}
	}
	return all
}

func reasonSays(s *story, level events.Level) bool {
	for _, r := range s.state.Reasons {
		if r.Level == level && r.What == "login_needed" {
			return true
		}
	}
	return false
}

func TestAGatewayThatAcceptsAndGivesNoSessionNeedsAPersonOnce(t *testing.T) {
	s := newStory(t).dial()
	if early := logins(muteFor(s, 2*time.Minute)); len(early) != 0 {
		t.Fatalf("after two minutes: %+v, want nothing yet", early)
	}
	late := logins(muteFor(s, 10*time.Minute))
	if len(late) != 1 || late[0].Level != events.LevelSession || late[0].Action == "" || s.now.Sub(late[0].Since) < 10*time.Minute {
		t.Fatalf("after twelve minutes: %+v, want it said once", late)
	}
	if !reasonSays(s, events.LevelSession) || s.state.Condition != events.ConditionDown {
		t.Errorf("the condition is %s, %+v, want down with login_needed among the reasons", s.state.Condition, s.state.Reasons)
	}
	if s.state.Phase != events.PhaseDialing {
		s.passTo(s.state.RetryAt)
	}
	s.reopen()
	if s.in(events.PhaseReady); s.state.Condition != events.ConditionHealthy {
		t.Errorf("with a session the condition is %s, %+v, want healthy", s.state.Condition, s.state.Reasons)
	}
}

func TestAGatewayThatIsRestartingIsNotTakenForOneThatWaitsForALogin(t *testing.T) {
	s := newStory(t).dial()
	muteFor(s, 150*time.Second)
	if s.state.Phase != events.PhaseDialing {
		s.passTo(s.state.RetryAt)
	}
	s.give(s.ended(events.CauseRefused))
	if s.state.Phase != events.PhaseDialing {
		s.passTo(s.state.RetryAt)
	}
	if said := logins(muteFor(s, 100*time.Second)); len(said) != 0 {
		t.Errorf("%+v, want the silence counted anew after the port was closed", said)
	}
}

func TestALinkThatWasDownFromTheStartNeedsAPerson(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		needs bool
	}{{time.Second, true}, {time.Hour, false}} {
		s := newStory(t).open()
		alive(s, c.after)
		s.give(s.noticed(2110, "Connectivity between TWS and server is broken. It will be restored automatically."))
		said := logins(alive(s, 5*time.Minute))
		if (len(said) == 1) != c.needs || reasonSays(s, events.LevelLink) != c.needs {
			t.Errorf("a link that went down %v after the session opened: %+v, want a person needed: %t", c.after, said, c.needs)
		}
		s.give(s.noticed(1102, "restored"))
		if s.state.Condition != events.ConditionHealthy {
			t.Errorf("the link is back, and the condition %s, %+v", s.state.Condition, s.state.Reasons)
		}
	}
}

// alive lets d pass in a session that answers its probes.
func alive(s *story, d time.Duration) []events.Event {
	s.Helper()
	var recorded []events.Event
	for until := s.now.Add(d); s.now.Before(until); {
		at := connector.PlanFor(s.state).ProbeAt
		if at.After(until) {
			return append(recorded, s.passTo(until)...)
		}
		recorded = append(recorded, s.passTo(at)...)
		recorded = append(recorded, s.give(s.answered(s.probed))...)
	}
	return recorded
}
