package connector_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ibconn/events"
	"ibconn/testenv/memlog"
)

// handled runs f beside a runner on that gateway, and ends it.
func handled(t *testing.T, g *gateway, f func(*life, *memlog.Store)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store := memlog.New()
		l := run(t, newRunner(store.Writer(), g))
		synctest.Wait()
		f(l, store)
		l.stop()
		checkLog(t, store, l.State())
		checkClosed(t, g)
	})
}

func (l *life) send(verb events.Verb, req events.Request) events.Answer {
	return l.Handle(l.Context(), verb, req, nil)
}

func wantError(t testing.TB, a events.Answer, code events.ErrorCode, words string) {
	t.Helper()
	if a.OK || a.Error == nil || a.Error.Code != code || !strings.Contains(a.Error.Message, words) || a.Connection != "main" {
		t.Errorf("answer %+v with error %+v, want %s with %q", a, a.Error, code, words)
	}
}

func TestStatusSaysWhatIsTrueNow(t *testing.T) {
	handled(t, &gateway{scripts: [][]step{well}}, func(l *life, _ *memlog.Store) {
		pass(time.Minute)
		a := l.send(events.VerbStatus, events.Request{})
		if !a.OK || a.State == nil || a.State.Phase != events.PhaseReady || a.Version != "test" || !a.AsOf.Equal(time.Now()) {
			t.Errorf("status is %+v", a)
		}
		if a.Traffic == nil || a.Traffic.BytesIn != 1 || a.Uptime != 60_000-11 {
			t.Errorf("status has traffic %+v and uptime %v, want the session's", a.Traffic, a.Uptime)
		}
		l.send(events.VerbDisconnect, events.Request{})
		synctest.Wait()
		if a := l.send(events.VerbStatus, events.Request{}); a.Traffic != nil || a.Uptime != 0 || a.State.Phase != events.PhaseStopped {
			t.Errorf("status when stopped has traffic %+v, uptime %v, %s", a.Traffic, a.Uptime, a.State.Phase)
		}
	})
}

func TestACommandIsRecordedBeforeItIsAnswered(t *testing.T) {
	handled(t, &gateway{scripts: [][]step{well}}, func(l *life, store *memlog.Store) {
		pass(time.Minute)
		a := l.send(events.VerbReconnect, events.Request{ID: "c1", Reason: "because"})
		if !a.OK || a.Status != events.StatusAccepted || a.CommandID != "c1" {
			t.Fatalf("answer %+v, want it accepted", a)
		}
		for _, rec := range store.Events() {
			if e, ok := rec.Event.(*events.CommandAccepted); ok && (e.CommandID != "c1" || rec.Sequence != a.AfterSeq || e.Reason != "because") {
				t.Errorf("accepted %+v as %d, want c1 as %d", e, rec.Sequence, a.AfterSeq)
			}
		}
		l.until(func(s events.State) bool { return len(s.Pending) == 0 })
		done := all[*events.CommandCompleted](store)
		if len(done) != 1 || done[0].CommandID != "c1" {
			t.Errorf("completed %+v, want c1", done)
		}
	})
}

func TestARequestWithoutAnIDGetsOne(t *testing.T) {
	handled(t, &gateway{scripts: [][]step{well}}, func(l *life, _ *memlog.Store) {
		a, b := l.send(events.VerbConnect, events.Request{}), l.send(events.VerbConnect, events.Request{})
		if a.CommandID == "" || a.CommandID == b.CommandID {
			t.Errorf("two requests got the ids %q and %q, want two", a.CommandID, b.CommandID)
		}
	})
}

func TestTheSameIDGetsTheSameAnswer(t *testing.T) {
	handled(t, &gateway{scripts: [][]step{well}}, func(l *life, store *memlog.Store) {
		pass(time.Minute)
		a := l.send(events.VerbReconnect, events.Request{ID: "c1"})
		b := l.send(events.VerbReconnect, events.Request{ID: "c1"})
		pass(time.Minute)
		c := l.send(events.VerbReconnect, events.Request{ID: "c1"})
		if !reflect.DeepEqual(a, b) || !reflect.DeepEqual(a, c) {
			t.Errorf("answers %+v, %+v and %+v, want the same", a, b, c)
		}
		if n := len(all[*events.SessionLost](store)); n != 1 {
			t.Errorf("%d sessions were ended, want 1", n)
		}
		wantError(t, l.send(events.VerbConnect, events.Request{ID: "c1"}), events.ErrorIDReused, "was used for reconnect before")
		if w := l.send(events.VerbReconnect, events.Request{ID: "c1", Wait: events.Wait(time.Second)}); w.Status != events.StatusCompleted {
			t.Errorf("the same id, with a wait, gets %+v, want the outcome", w)
		}
	})
}

func TestARejectedCommandIsAnsweredSoEachTime(t *testing.T) {
	handled(t, &gateway{scripts: [][]step{well}}, func(l *life, store *memlog.Store) {
		l.send(events.VerbDisconnect, events.Request{})
		for range 2 {
			a := l.send(events.VerbReconnect, events.Request{ID: "c1", Wait: events.Wait(time.Minute)})
			wantError(t, a, events.ErrorStopped, "send connect instead")
			if a.AfterSeq == 0 || a.CommandID != "c1" {
				t.Errorf("answer %+v, want it to name the command and the event", a)
			}
		}
		if n := len(all[*events.CommandRejected](store)); n != 1 {
			t.Errorf("%d rejections were recorded, want 1", n)
		}
	})
}

func TestAWaitEndsWithTheOutcome(t *testing.T) {
	handled(t, &gateway{scripts: [][]step{well}}, func(l *life, _ *memlog.Store) {
		pass(time.Minute)
		began := time.Now()
		a := l.send(events.VerbReconnect, events.Request{Wait: events.Wait(time.Minute)})
		if !a.OK || a.Status != events.StatusCompleted || time.Since(began) != 11*time.Millisecond {
			t.Errorf("answer %+v after %v, want completed as soon as it is", a, time.Since(began))
		}
	})
}

func TestAWaitEndsWithTheFailure(t *testing.T) {
	handled(t, &gateway{scripts: [][]step{refuse}}, func(l *life, _ *memlog.Store) {
		l.untilPhase(events.PhaseTripped)
		a := l.send(events.VerbConnect, events.Request{Wait: events.Wait(time.Minute)})
		wantError(t, a, events.ErrorTripped, "nothing listens on the gateway's port")
		if a.Status != events.StatusFailed {
			t.Errorf("status %s, want failed", a.Status)
		}
	})
}

func TestAWaitThatIsTooShortEndsAccepted(t *testing.T) {
	handled(t, &gateway{scripts: [][]step{{mute}}}, func(l *life, _ *memlog.Store) {
		began := time.Now()
		a := l.send(events.VerbConnect, events.Request{Wait: events.Wait(2 * time.Second)})
		if !a.OK || a.Status != events.StatusAccepted || time.Since(began) != 2*time.Second {
			t.Errorf("answer %+v after %v, want accepted after 2 s", a, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(l.Context(), time.Second)
		defer cancel()
		began = time.Now()
		a = l.Handle(ctx, events.VerbConnect, events.Request{Wait: events.Wait(time.Minute)}, nil)
		if !a.OK || a.Status != events.StatusAccepted || time.Since(began) != time.Second {
			t.Errorf("answer %+v after %v, want accepted when the context ends", a, time.Since(began))
		}
	})
}

func TestUnknownVerbsAreRefusedUnrecorded(t *testing.T) {
	handled(t, &gateway{scripts: [][]step{well}}, func(l *life, store *memlog.Store) {
		wantError(t, l.send("explode", events.Request{}), events.ErrorBadRequest, `there is no command "explode"`)
		if n := len(all[*events.CommandAccepted](store)) + len(all[*events.CommandRejected](store)); n != 0 {
			t.Errorf("%d commands were recorded, want none", n)
		}
	})
}

func TestTooManyCommandsAreTurnedAway(t *testing.T) {
	handled(t, &gateway{scripts: [][]step{then(serve(time.Second), end(events.CauseReset)), {reach, mute}}}, func(l *life, _ *memlog.Store) {
		l.until(func(s events.State) bool { return s.Phase == events.PhaseGreeting && s.Counts.Losses == 1 })
		var a events.Answer
		for i := range 100 {
			if a = l.send(events.VerbConnect, events.Request{ID: fmt.Sprint("c", i)}); !a.OK {
				t.Fatalf("command %d: %+v", i, a.Error)
			}
		}
		wantError(t, l.send(events.VerbConnect, events.Request{ID: "one-more"}), events.ErrorBusy, "100 commands")
		if again := l.send(events.VerbConnect, events.Request{ID: "c99"}); !reflect.DeepEqual(again, a) {
			t.Errorf("a known id is answered %+v when busy, want %+v", again, a)
		}
		if s := l.send(events.VerbStatus, events.Request{}); !s.OK || len(s.State.Pending) != 100 {
			t.Errorf("status when busy: %+v", s)
		}
	})
}

func TestACommandThatComesWhenNobodyRunsIsToldSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := memlog.New(), &gateway{scripts: [][]step{{mute}}}
		l := run(t, newRunner(store.Writer(), g))
		synctest.Wait()
		waiting := make(chan events.Answer)
		go func() { waiting <- l.send(events.VerbConnect, events.Request{Wait: events.Wait(time.Minute)}) }()
		synctest.Wait()
		l.stop()
		if a := <-waiting; !a.OK || a.Status != events.StatusAccepted {
			t.Errorf("a wait that the end of the run cuts short is answered %+v, want accepted", a)
		}
		wantError(t, l.send(events.VerbConnect, events.Request{}), events.ErrorShutdown, "is ending")

		idle := newRunner(store.Writer(), g)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantError(t, idle.Handle(ctx, events.VerbConnect, events.Request{}, nil), events.ErrorShutdown, "is ending")
		if a := idle.Handle(ctx, events.VerbStatus, events.Request{}, nil); !a.OK || a.State.Phase != events.PhaseIdle {
			t.Errorf("status before the run: %+v", a)
		}
	})
}

func TestACommandThatCannotBeRecordedIsAnsweredSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := memlog.New(), &gateway{scripts: [][]step{well}}
		w := store.Writer()
		w.Before = func(rec events.Recorded) error {
			if _, ok := rec.Event.(*events.CommandAccepted); ok {
				return errCut
			}
			return nil
		}
		l := run(t, newRunner(w, g))
		pass(time.Second)
		wantError(t, l.send(events.VerbReconnect, events.Request{}), events.ErrorInternal, "was not recorded")
		<-l.over
		checkClosed(t, g)
	})
}

func TestCommandsComeFromAnyGoroutine(t *testing.T) {
	handled(t, &gateway{scripts: [][]step{well}}, func(l *life, _ *memlog.Store) {
		const senders = 20
		answers := make(chan events.Answer, senders)
		for i := range senders {
			go func() {
				verb := []events.Verb{events.VerbConnect, events.VerbReconnect, events.VerbDisconnect}[i%3]
				answers <- l.send(verb, events.Request{Wait: events.Wait(10 * time.Second)})
				l.send(events.VerbStatus, events.Request{})
			}()
		}
		for range senders {
			if a := <-answers; a.OK && a.Status != events.StatusCompleted {
				t.Errorf("answer %+v, want an outcome", a)
			}
		}
		if n := len(l.State().Pending); n != 0 {
			t.Errorf("%d commands are pending, want none", n)
		}
	})
}
