package connector_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ibconn/connector"
	"ibconn/events"
	"ibconn/testenv/memlog"
)

// ibc is IBC as the connector sees it.
type ibc struct {
	answer func(ctx context.Context, v events.Verb) (string, error)

	mu      sync.Mutex
	asked   []events.Verb
	running int // questions that are open
	most    int // at once
}

func (i *ibc) Control(ctx context.Context, v events.Verb) (string, error) {
	i.count(func() { i.asked = append(i.asked, v); i.running++; i.most = max(i.most, i.running) })
	defer i.count(func() { i.running-- })
	return i.answer(ctx, v)
}

func (i *ibc) count(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f()
}

func (i *ibc) askedFor() []events.Verb {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.asked)
}

func (i *ibc) times(v events.Verb) (n int) {
	for _, a := range i.askedFor() {
		if a == v {
			n++
		}
	}
	return n
}

// willing is an IBC that does everything within 100 ms.
func willing() *ibc { return answering(100*time.Millisecond, "RESTART at 03:14 AM", nil) }

func answering(after time.Duration, said string, err error) *ibc {
	return &ibc{answer: func(ctx context.Context, _ events.Verb) (string, error) {
		select {
		case <-time.After(after):
			return said, err
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}}
}

var everyPhase = []struct {
	name string
	at   func(*story)
}{
	{"idle", func(*story) {}},
	{"dialing", dialing},
	{"greeting", greeting},
	{"ready", ready},
	{"waiting", waiting},
	{"tripped", tripped},
	{"stopped", stopped},
}

func TestAControlCommandIsBegunAndConcludedInEveryPhase(t *testing.T) {
	for _, phase := range everyPhase {
		for _, verb := range controls {
			s := newStory(t)
			phase.at(s)
			before := s.state.Phase
			recorded := s.command("c1", verb)
			wantEvents(t, string(verb)+" when "+phase.name, recorded, "accepted begun")
			if e := find[*events.CommandAccepted](t, recorded); e.UnderWay {
				t.Errorf("%s when %s is called already under way", verb, phase.name)
			}
			plan := connector.PlanFor(s.state)
			if plan.Control.CommandID != "c1" || plan.Control.Verb != verb {
				t.Errorf("%s when %s: the plan is to ask for %+v", verb, phase.name, plan.Control)
			}
			s.now = s.now.Add(time.Millisecond) // before anything else is due
			recorded = s.give(s.controlled("RESTART in progress for DU1234567"))
			wantEvents(t, "IBC's answer when "+phase.name, recorded, "completed")
			if e := find[*events.CommandCompleted](t, recorded); e.Verb != verb || e.Took != 1 || e.Said != "RESTART in progress for DU***67" {
				t.Errorf("completed is %+v, want IBC's words, masked, after 1 ms", e)
			}
			if plan := connector.PlanFor(s.state); plan.Control.CommandID != "" {
				t.Errorf("after the outcome the plan is still to ask for %+v", plan.Control)
			}
			wantEvents(t, "the same again", s.command("c1", verb), "")
			wantEvents(t, "a second answer", s.give(connector.Controlled{CommandID: "c1", Said: "again"}), "")
			if s.state.Phase != before {
				t.Errorf("%s moved %s to %s", verb, before, s.state.Phase)
			}
			s.check()
		}
	}
}

func TestARefusalOfIBCIsTheOutcome(t *testing.T) {
	for _, c := range []struct{ code, want events.ErrorCode }{
		{events.ErrorGatewayRefused, events.ErrorGatewayRefused},
		{events.ErrorIBCUnreachable, events.ErrorIBCUnreachable},
		{events.ErrorOutcomeUnknown, events.ErrorOutcomeUnknown},
		{"", events.ErrorOutcomeUnknown},
	} {
		s := newStory(t).open()
		s.command("c1", events.VerbRestartGateway)
		e := find[*events.CommandFailed](t, s.give(s.refused(c.code, "not for DU1234567")))
		if e.Code != c.want || e.Message != "not for DU***67" || e.CommandID != "c1" || e.Verb != events.VerbRestartGateway {
			t.Errorf("failed is %+v, want %s with IBC's words, masked", e, c.want)
		}
		s.check()
	}
}

func TestOneControlCommandAtATimeAndNoOtherWaits(t *testing.T) {
	s := newStory(t).open()
	wantEvents(t, "the first", s.command("c1", events.VerbReconnectData), "accepted begun")
	wantEvents(t, "the second", s.command("c2", events.VerbRestartGateway), "accepted")
	wantEvents(t, "a command of the session", s.command("c3", events.VerbReconnect), "accepted session_lost dial_started")
	s.give(s.reached())
	s.give(s.greeted())
	wantEvents(t, "the session", s.give(s.opened()), "session_opened completed")
	wantEvents(t, "an answer to the second, which was not asked", s.give(connector.Controlled{CommandID: "c2"}), "")
	wantEvents(t, "the first answer", s.give(s.controlled("")), "completed begun")
	wantEvents(t, "the second answer", s.give(s.controlled("")), "completed")
	s.check()
}

func TestNeitherTheBreakerNorADisconnectEndsAControlCommand(t *testing.T) {
	s := newStory(t).dial()
	s.command("c1", events.VerbRestartGateway)
	s.command("c2", events.VerbReconnectAccount)
	for s.state.Phase != events.PhaseTripped {
		s.give(s.ended(events.CauseRefused))
		if s.state.Phase == events.PhaseWaiting {
			s.passTo(s.state.RetryAt)
		}
	}
	wantEvents(t, "a disconnect", s.command("c3", events.VerbDisconnect), "accepted stopped completed")
	wantEvents(t, "the first answer", s.give(s.controlled("")), "completed begun")
	wantEvents(t, "the second answer", s.give(s.controlled("")), "completed")
	s.check()
}

func TestAControlCommandThatWasBegunIsNotBegunAgainAfterARestart(t *testing.T) {
	for _, phase := range everyPhase {
		s := newStory(t)
		phase.at(s)
		s.command("c1", events.VerbRestartGateway)
		s.command("c2", events.VerbReconnectData)
		recorded := s.restart()
		e := find[*events.CommandFailed](t, recorded)
		if e.CommandID != "c1" || e.Code != events.ErrorOutcomeUnknown || !strings.Contains(e.Message, "look at the gateway") {
			t.Errorf("when %s, after a restart: failed is %+v, want c1 and outcome_unknown", phase.name, e)
		}
		// The one that waited was never asked for.
		if b := find[*events.CommandBegun](t, recorded); b.CommandID != "c2" {
			t.Errorf("when %s, after a restart: begun is %+v, want c2", phase.name, b)
		}
		wantEvents(t, "the answer to the one before", s.give(connector.Controlled{CommandID: "c1"}), "")
		wantEvents(t, "the answer", s.give(s.controlled("")), "completed")
		wantEvents(t, "the same id again", s.command("c1", events.VerbRestartGateway), "")
		s.check()
	}
}

func TestAControlCommandThatWasOnlyAcceptedIsBegunAfterARestart(t *testing.T) {
	s := newStory(t).open()
	accept(s, events.VerbRestartGateway)
	wantEvents(t, "after a restart", s.restart(), "session_lost begun dial_started")
	s.check()
}

// withIBC runs f beside a runner on that gateway whose windows that IBC works.
func withIBC(t *testing.T, g *gateway, i *ibc, f func(*life, *memlog.Store)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store := memlog.New()
		r := newRunner(store.Writer(), g)
		r.Control = i
		l := run(t, r)
		synctest.Wait()
		f(l, store)
		l.stop()
		checkLog(t, store, l.State())
		checkClosed(t, g)
		if i.running != 0 {
			t.Errorf("%d questions to IBC are open, want none", i.running)
		}
	})
}

func TestIBCIsAskedOnceItIsOnRecord(t *testing.T) {
	i := willing()
	var store *memlog.Store
	begun := 0
	answer := i.answer
	i.answer = func(ctx context.Context, v events.Verb) (string, error) {
		begun = len(all[*events.CommandBegun](store))
		return answer(ctx, v)
	}
	withIBC(t, &gateway{scripts: [][]step{well}}, i, func(l *life, s *memlog.Store) {
		store = s
		began := time.Now()
		a := l.send(events.VerbRestartGateway, events.Request{ID: "c1", Wait: events.Wait(time.Minute)})
		if !a.OK || a.Status != events.StatusCompleted || a.Said != "RESTART at 03:14 AM" || time.Since(began) != 100*time.Millisecond {
			t.Errorf("answer %+v after %v, want it completed with IBC's words", a, time.Since(began))
		}
		if begun != 1 {
			t.Errorf("when IBC was asked, %d events said so, want 1", begun)
		}
		again := l.send(events.VerbRestartGateway, events.Request{ID: "c1", Wait: events.Wait(time.Minute)})
		if !reflect.DeepEqual(again, a) {
			t.Errorf("the same id is answered %+v, want %+v", again, a)
		}
		if n := i.times(events.VerbRestartGateway); n != 1 {
			t.Errorf("IBC was asked %d times, want once", n)
		}
	})
}

func TestWhatIBCSaysIsTheAnswer(t *testing.T) {
	for _, c := range []struct {
		err  error
		code events.ErrorCode
	}{
		{&events.AnswerError{Code: events.ErrorGatewayRefused, Message: "already in progress"}, events.ErrorGatewayRefused},
		{errors.Join(errors.New("ibc"), &events.AnswerError{Code: events.ErrorIBCUnreachable, Message: "already in progress"}), events.ErrorIBCUnreachable},
		{errors.New("already in progress"), events.ErrorOutcomeUnknown},
	} {
		withIBC(t, &gateway{scripts: [][]step{refuse}}, answering(time.Second, "", c.err), func(l *life, _ *memlog.Store) {
			a := l.send(events.VerbReconnectData, events.Request{Wait: events.Wait(time.Minute)})
			wantError(t, a, c.code, "already in progress")
			if a.Status != events.StatusFailed {
				t.Errorf("status %s, want failed", a.Status)
			}
		})
	}
}

func TestTheLoopGoesOnWhileIBCIsAsked(t *testing.T) {
	i := answering(10*time.Minute, "at last", nil)
	withIBC(t, &gateway{scripts: [][]step{well}}, i, func(l *life, store *memlog.Store) {
		pass(time.Second)
		first := l.send(events.VerbReconnectAccount, events.Request{ID: "c1"})
		l.send(events.VerbReconnectAccount, events.Request{ID: "c2"})
		if a := l.send(events.VerbReconnect, events.Request{Wait: events.Wait(time.Minute)}); a.Status != events.StatusCompleted {
			t.Errorf("a reconnect meanwhile is answered %+v, want it completed", a)
		}
		pass(5 * time.Minute)
		if s := l.State(); s.Phase != events.PhaseReady || len(s.Pending) != 2 || !first.OK {
			t.Errorf("meanwhile the connection is %s with %+v pending, want both commands", s.Phase, s.Pending)
		}
		pass(15 * time.Minute)
		if n := len(all[*events.CommandCompleted](store)); n != 3 {
			t.Errorf("%d commands were completed, want 3", n)
		}
		if i.most != 1 || i.times(events.VerbReconnectAccount) != 2 {
			t.Errorf("IBC was asked %d times, %d at once, want 2, one by one", i.times(events.VerbReconnectAccount), i.most)
		}
	})
}

func TestTheEndOfTheRunEndsTheAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g, i := memlog.New(), &gateway{scripts: [][]step{well}}, answering(time.Hour, "too late", nil)
		r := newRunner(store.Writer(), g)
		r.Control = i
		l := run(t, r)
		pass(time.Second)
		l.send(events.VerbRestartGateway, events.Request{ID: "c1"})
		pass(time.Second)
		began := time.Now()
		l.stop()
		if d := time.Since(began); d != 0 || i.running != 0 {
			t.Errorf("the run ended after %v with %d questions open, want at once and none", d, i.running)
		}

		next := newRunner(store.Writer(), g)
		next.Control = i
		l = run(t, next)
		pass(time.Minute)
		c, _ := l.State().Recall("c1")
		if c.Status != events.StatusFailed || c.Error.Code != events.ErrorOutcomeUnknown || i.times(events.VerbRestartGateway) != 1 {
			t.Errorf("after a restart c1 is %+v with %+v, and IBC was asked %d times, want outcome_unknown and once", c, c.Error, i.times(events.VerbRestartGateway))
		}
		l.stop()
		checkLog(t, store, l.State())
	})
}

func TestWithoutIBCAControlCommandIsRefusedUnrecorded(t *testing.T) {
	handled(t, &gateway{scripts: [][]step{well}}, func(l *life, store *memlog.Store) {
		for _, verb := range controls {
			wantError(t, l.send(verb, events.Request{}), events.ErrorNotConfigured, "no address of IBC's command server is configured")
		}
		if n := len(all[*events.CommandAccepted](store)) + len(all[*events.CommandRejected](store)); n != 0 {
			t.Errorf("%d commands were recorded, want none", n)
		}
	})
}

func TestACommandTakenWhenThereWasIBCFailsWhenThereIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := memlog.New(), &gateway{scripts: [][]step{well}}
		w := store.Writer()
		w.Before = func(rec events.Recorded) error {
			if _, ok := rec.Event.(*events.CommandBegun); ok {
				return errCut
			}
			return nil
		}
		r := newRunner(w, g)
		r.Control = willing()
		l := run(t, r)
		pass(time.Second)
		l.send(events.VerbRestartGateway, events.Request{ID: "c1"})
		<-l.over

		l = run(t, newRunner(store.Writer(), g))
		pass(time.Second)
		if c, _ := l.State().Recall("c1"); c.Status != events.StatusFailed || c.Error.Code != events.ErrorNotConfigured {
			t.Errorf("c1 is %+v with %+v, want it failed with not_configured", c, c.Error)
		}
		l.stop()
		checkLog(t, store, l.State())
	})
}
