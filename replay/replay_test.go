package replay_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/replay"
)

// log is a source of messages, which an error ends where there is one.
type log struct {
	all    []bus.Stored
	err    error
	forget func() // is called when reading ends
}

func (l log) Stored(ctx context.Context, q bus.Query) iter.Seq2[bus.Stored, error] {
	return func(yield func(bus.Stored, error) bool) {
		if l.forget != nil {
			defer l.forget()
		}
		for _, s := range l.all {
			if s.StreamSeq > q.After && !yield(s, nil) {
				return
			}
		}
		if q.Follow {
			<-ctx.Done()
			return
		}
		if l.err != nil {
			yield(bus.Stored{}, l.err)
		}
	}
}

// long returns n messages of two connections; each seventh is no event.
func long(t testing.TB, n int) (all []bus.Stored) {
	t.Helper()
	heads := make(map[events.ConnectionID]events.Head)
	at := time.Date(2026, 11, 23, 9, 15, 0, 0, time.UTC)
	for i := range n {
		at = at.Add(time.Second)
		s := bus.Stored{Subject: "ib.log.main.state", StreamSeq: uint64(i + 1), StoredAt: at, Payload: []byte("none")}
		if i%7 != 6 {
			name := []events.ConnectionID{"main", "other"}[i%2]
			author := events.Author{Connection: name, Source: "/ibconn/test", NewID: func() string { return fmt.Sprint("e", i) }}
			r, err := heads[name].Next(author, events.Draft{Event: &events.EpochBegan{Instance: fmt.Sprint("i", i)}}, at)
			if err != nil {
				t.Fatal(err)
			}
			heads[name] = heads[name].Then(r)
			s.Subject, s.Payload = events.LogSubject(name, events.KindClaimed), r.Wire
		}
		all = append(all, s)
	}
	return all
}

func TestStepsAreTheFoldOfEachConnection(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 129, 5000} {
		all := long(t, n)
		states := map[events.ConnectionID]events.State{}
		i := 0
		for step, err := range replay.Steps(t.Context(), log{all: all}, bus.Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			s := all[i]
			i++
			if step.StreamSeq != s.StreamSeq || string(step.Payload) != string(s.Payload) {
				t.Fatalf("step %d is message %d", i, step.StreamSeq)
			}
			e, err := s.Entry()
			if (err != nil) != (step.Err != nil) {
				t.Fatalf("step %d: %v, want %v", i, step.Err, err)
			}
			if err != nil {
				if step.State.Connection != "" || step.Before.Connection != "" || step.Recorded.Event != nil {
					t.Errorf("step %d is no event, and has a state", i)
				}
				continue
			}
			before, known := states[e.Connection]
			if !known {
				before = events.NewState(e.Connection)
			}
			after := before.Apply(e.Recorded)
			states[e.Connection] = after
			if !reflect.DeepEqual(*step.Before, before) || !reflect.DeepEqual(*step.State, after) {
				t.Fatalf("step %d leads from %+v to %+v", i, *step.Before, *step.State)
			}
		}
		if i != n {
			t.Errorf("%d steps, want %d", i, n)
		}
	}
}

func TestEventsAreThoseOfTheSteps(t *testing.T) {
	count := 0
	for r, err := range replay.Events(t.Context(), log{all: long(t, 700)}, bus.Query{After: 70}) {
		if err != nil || r.Event == nil {
			t.Fatal(err)
		}
		count++
	}
	if count != 540 {
		t.Errorf("%d events, want 540", count)
	}
}

func TestAnErrorComesBehindWhatWasRead(t *testing.T) {
	lost := errors.New("no bus")
	steps := 0
	for step, err := range replay.Steps(t.Context(), log{all: long(t, 300), err: lost}, bus.Query{}) {
		if err != nil {
			if !errors.Is(err, lost) || steps != 300 || step.State != nil {
				t.Errorf("%v after %d steps, want the error after 300", err, steps)
			}
			steps = -1
			continue
		}
		steps++
	}
	if steps != -1 {
		t.Error("there was no error")
	}
}

// Who has enough, or is interrupted, leaves nothing behind: a bubble does not end while
// a goroutine of it goes on.
func TestReadingEndsWithWhoReads(t *testing.T) {
	all := long(t, 20_000)
	for name, end := range map[string]func(cancel context.CancelFunc) bool{
		"enough":      func(context.CancelFunc) bool { return false },
		"interrupted": func(cancel context.CancelFunc) bool { cancel(); return true },
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			forgotten := false
			steps := 0
			var last error
			for _, err := range replay.Steps(ctx, log{all: all, forget: func() { forgotten = true }}, bus.Query{}) {
				last = err
				if steps++; steps >= 200 && err == nil && !end(cancel) {
					break
				}
			}
			if !forgotten || steps > 10_000 || (name == "interrupted") != errors.Is(last, context.Canceled) {
				t.Errorf("%s: %d steps, then %v, and the source is done: %v", name, steps, last, forgotten)
			}
		})
	}
}

// What is followed is there as it comes, and not when there is enough of it.
func TestWhatIsFollowedDoesNotWait(t *testing.T) {
	all := long(t, 3)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		began, steps := time.Now(), 0
		var last error
		for _, err := range replay.Steps(ctx, log{all: all}, bus.Query{Follow: true}) {
			if last = err; err == nil {
				steps++
				if time.Since(began) != 0 {
					t.Errorf("step %d came after %v", steps, time.Since(began))
				}
			}
		}
		if steps != 3 || !errors.Is(last, context.Canceled) {
			t.Errorf("%d steps, then %v, want 3 and the end of the context", steps, last)
		}
	})
}

func TestConnectionsAreThoseThatWereClaimed(t *testing.T) {
	names, err := replay.Connections(t.Context(), log{all: long(t, 20)})
	if err != nil || fmt.Sprint(names) != "[main other]" {
		t.Errorf("Connections() = %v, %v", names, err)
	}
}
