package connector_test

import (
	"testing"
	"time"

	"ibconn/connector"
	"ibconn/events"
)

func TestACommandIsAcceptedBegunAndCompleted(t *testing.T) {
	for _, c := range []struct {
		what   string
		at     func(*story)
		verb   events.Verb
		want   string // recorded at once
		finish string // recorded when the attempt it leads to succeeds
	}{
		{"connect when stopped", stopped, events.VerbConnect, "accepted connect_requested dial_started", "session_opened completed"},
		{"connect when ready", ready, events.VerbConnect, "accepted completed", ""},
		{"connect when waiting", waiting, events.VerbConnect, "accepted connect_requested dial_started", "session_opened completed"},
		{"connect when dialing", dialing, events.VerbConnect, "accepted", "session_opened completed"},
		{"connect when greeting", greeting, events.VerbConnect, "accepted", "session_opened completed"},
		{"connect when tripped", tripped, events.VerbConnect, "accepted connect_requested dial_started", "session_opened completed breaker_closed"},

		{"reconnect when ready", ready, events.VerbReconnect, "accepted session_lost dial_started", "session_opened completed"},
		{"reconnect when waiting", waiting, events.VerbReconnect, "accepted connect_requested dial_started", "session_opened completed"},
		{"reconnect when dialing", dialing, events.VerbReconnect, "accepted", "session_opened completed"},
		{"reconnect when tripped", tripped, events.VerbReconnect, "accepted connect_requested dial_started", "session_opened completed breaker_closed"},
		{"reconnect when stopped", stopped, events.VerbReconnect, "rejected", ""},

		{"disconnect when ready", ready, events.VerbDisconnect, "accepted stopped completed", ""},
		{"disconnect when dialing", dialing, events.VerbDisconnect, "accepted stopped completed", ""},
		{"disconnect when greeting", greeting, events.VerbDisconnect, "accepted stopped completed", ""},
		{"disconnect when waiting", waiting, events.VerbDisconnect, "accepted stopped completed", ""},
		{"disconnect when tripped", tripped, events.VerbDisconnect, "accepted stopped completed", ""},
		{"disconnect when stopped", stopped, events.VerbDisconnect, "accepted completed", ""},
	} {
		s := newStory(t)
		c.at(s)
		wantEvents(t, c.what, s.command("c1", c.verb), c.want)
		if c.finish != "" {
			if s.state.Phase == events.PhaseDialing {
				s.give(s.reached())
			}
			s.give(s.greeted())
			s.now = s.now.Add(time.Second)
			wantEvents(t, c.what+", then ready", s.give(s.opened()), c.finish)
		}
		s.check()
	}
}

func dialing(s *story)  { s.dial() }
func greeting(s *story) { s.greet() }
func ready(s *story)    { s.open() }
func tripped(s *story)  { s.trip() }
func waiting(s *story) {
	s.dial().give(s.ended(events.CauseRefused))
	s.give(s.ended(events.CauseRefused))
	s.in(events.PhaseWaiting)
}

func stopped(s *story) {
	s.open().command("stop", events.VerbDisconnect)
	s.in(events.PhaseStopped)
}

func TestTheEventsOfACommandNameIt(t *testing.T) {
	s := newStory(t).open()
	from := len(s.wires)
	s.command("c1", events.VerbReconnect)
	s.give(s.reached())
	s.give(s.greeted())
	s.give(s.opened())
	for _, w := range s.wires[from:] {
		rec, err := events.Decode(w)
		if err != nil {
			t.Fatal(err)
		}
		switch rec.Event.(type) {
		case *events.CommandAccepted, *events.SessionLost, *events.CommandCompleted:
			if rec.Causation != "c1" || rec.Correlation != "c1" {
				t.Errorf("%s has causation %q and correlation %q, want the command's id", rec.Event.Type(), rec.Causation, rec.Correlation)
			}
		case *events.DialStarted, *events.SessionOpened:
			if rec.Correlation != "attempt-2" {
				t.Errorf("%s has correlation %q, want attempt-2", rec.Event.Type(), rec.Correlation)
			}
		}
	}
}

func TestAReconnectIsNoFailureOfTheGateway(t *testing.T) {
	s := newStory(t).open()
	s.state.Failures = 5
	lost := find[*events.SessionLost](t, s.command("c1", events.VerbReconnect))
	if lost.Cause != events.CauseAskedFor || lost.Failures != 0 || lost.Detail != "because" || !lost.RetryAt.Equal(s.now) {
		t.Errorf("session_lost is %+v, want asked_for, no failure, at once", lost)
	}
}

func TestADisconnectForgetsTheBreaker(t *testing.T) {
	s := newStory(t).trip()
	s.command("c1", events.VerbDisconnect)
	if s.in(events.PhaseStopped); s.state.Breaker.Open || s.state.Failures != 0 || s.state.Wanted {
		t.Errorf("stopped with breaker %+v, failures %d, wanted %t, want none of it", s.state.Breaker, s.state.Failures, s.state.Wanted)
	}
	s.command("c2", events.VerbConnect)
	if s.in(events.PhaseDialing); s.state.Attempt.Probe {
		t.Error("the attempt after a disconnect is a probe")
	}
}

func TestAReconnectOfAStoppedConnectionIsRejectedWithWhatToDo(t *testing.T) {
	s := newStory(t)
	stopped(s)
	e := find[*events.CommandRejected](t, s.command("c1", events.VerbReconnect))
	if e.Code != events.ErrorStopped || e.Message != "the connection was stopped by a disconnect command: send connect instead" {
		t.Errorf("rejected with %s %q", e.Code, e.Message)
	}
	c, ok := s.state.Recall("c1")
	if !ok || !c.Rejected || c.Error.Code != events.ErrorStopped {
		t.Errorf("Recall(c1) = %+v, %t, want the rejection", c, ok)
	}
	wantEvents(t, "the same again", s.command("c1", events.VerbReconnect), "")
}

func TestTheSameCommandAgainHasNoSecondEffect(t *testing.T) {
	for _, verb := range []events.Verb{events.VerbConnect, events.VerbReconnect, events.VerbDisconnect} {
		s := newStory(t).open()
		s.command("c1", verb)
		wantEvents(t, "the same "+string(verb)+" again", s.command("c1", verb), "")
		if s.state.Phase == events.PhaseDialing {
			s.reopen()
		}
		wantEvents(t, "the same "+string(verb)+" after its outcome", s.command("c1", verb), "")
		s.restart()
		wantEvents(t, "the same "+string(verb)+" after a restart", s.command("c1", verb), "")
	}
}

func TestACommandFailsWhenTheBreakerOpensFirst(t *testing.T) {
	s := newStory(t)
	waiting(s)
	s.command("c1", events.VerbConnect)
	var recorded []events.Event
	for range s.policy.BreakerAfter {
		if recorded = s.give(s.ended(events.CauseRefused)); s.state.Phase == events.PhaseTripped {
			break
		}
		s.passTo(later(s.state.RetryAt, s.now))
	}
	wantEvents(t, "the failure that trips", recorded, "dial_failed breaker_opened failed")
	e := find[*events.CommandFailed](t, recorded)
	if e.Code != events.ErrorTripped || e.CommandID != "c1" || e.Message != "the gateway did not let us in: nothing listens on the gateway's port" {
		t.Errorf("failed is %+v, want tripped and why", e)
	}
	s.check()
}

func TestACommandFailsWhenItsProbeFails(t *testing.T) {
	s := newStory(t).trip()
	s.command("c1", events.VerbReconnect)
	wantEvents(t, "the probe fails", s.give(s.ended(events.CauseRefused)), "dial_failed failed")
}

func TestALaterDisconnectSupersedesWhatWasUnderWay(t *testing.T) {
	s := newStory(t).open()
	s.command("c1", events.VerbReconnect)
	s.command("c2", events.VerbConnect)
	recorded := s.command("c3", events.VerbDisconnect)
	wantEvents(t, "the disconnect", recorded, "accepted stopped failed failed completed")
	if e := find[*events.CommandFailed](t, recorded); e.Code != events.ErrorSuperseded || e.CommandID != "c2" {
		t.Errorf("failed is %+v, want c2 superseded", e)
	}
	s.check()
}

func TestCommandsThatWaitTogetherAreCompletedTogether(t *testing.T) {
	s := newStory(t).greet()
	s.command("c1", events.VerbConnect)
	s.command("c2", events.VerbReconnect)
	s.give(s.greeted())
	wantEvents(t, "ready", s.give(s.opened()), "session_opened completed completed")
}

func TestACommandAcceptedBeforeACrashIsCarriedOutAfterIt(t *testing.T) {
	for _, c := range []struct {
		verb events.Verb
		at   func(*story)
		want string
	}{
		{events.VerbDisconnect, ready, "session_lost stopped completed"},
		{events.VerbReconnect, ready, "session_lost connect_requested dial_started"},
		{events.VerbConnect, stopped, "connect_requested dial_started"},
		{events.VerbConnect, waiting, "connect_requested connect_requested dial_started"},
		{events.VerbConnect, dialing, "dial_failed dial_started"},
		{events.VerbDisconnect, stopped, "completed"},
	} {
		s := newStory(t)
		c.at(s)
		draft, ok := s.decide(connector.Commanded{ID: "c1", Verb: c.verb})
		if !ok {
			t.Fatalf("%s in %s is not taken", c.verb, s.state.Phase)
		}
		s.record(draft)
		phase := s.state.Phase
		wantEvents(t, string(c.verb)+" accepted in "+string(phase)+", then a crash", s.restart(), c.want)
		if s.state.Phase == events.PhaseDialing {
			s.reopen()
		}
		if c, _ := s.state.Recall("c1"); c.Status != events.StatusCompleted {
			t.Errorf("%s accepted in %s: status %s, want completed", c.Verb, phase, c.Status)
		}
		s.check()
	}
}

func TestACommandUnderWayAtShutdownIsCompletedAfterTheNextStart(t *testing.T) {
	s := newStory(t)
	waiting(s)
	s.command("c1", events.VerbConnect)
	wantEvents(t, "shutdown", s.give(connector.ShutDown{Reason: "terminated"}), "stopped")
	s.restart()
	s.give(s.reached())
	s.give(s.greeted())
	wantEvents(t, "ready at last", s.give(s.opened()), "session_opened completed")
}

func TestACommandOfAnotherVersionFailsAndMovesNothing(t *testing.T) {
	s := newStory(t).open()
	s.record(events.Draft{Event: &events.CommandAccepted{CommandID: "c1", Verb: "subscribe"}})
	recorded := s.pass(0)
	wantEvents(t, "a verb this version does not know", recorded, "failed")
	if e := find[*events.CommandFailed](t, recorded); e.Code != events.ErrorInternal {
		t.Errorf("failed with %s, want %s", e.Code, events.ErrorInternal)
	}
}

func TestTheReasonOfACommandIsMasked(t *testing.T) {
	s := newStory(t).open()
	recorded := s.give(connector.Commanded{ID: "c1", Verb: events.VerbDisconnect, Reason: "moving DU1234567"})
	for _, got := range []string{find[*events.CommandAccepted](t, recorded).Reason, find[*events.Stopped](t, recorded).Reason} {
		if got != "moving DU***67" {
			t.Errorf("the reason is %q, want the account masked", got)
		}
	}
}
