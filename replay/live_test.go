package replay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/replay"
	"ibconn/testenv/scenario"
	"ibconn/testenv/scenario/endtoend"
)

// lived is a state that a connector had, after so many messages of its log.
type lived struct {
	after int
	state events.State
	// early is whether its process had no session yet. Then the log knows more: a
	// process that starts does not read the heartbeats of those before it.
	early bool
}

// watched is a world whose connector is asked for its state all the time.
type watched struct {
	scenario.World
	tb     testing.TB
	dice   *rand.Rand
	lives  bool
	before uint64 // the sessions that there were when the process began
	states []lived
	past   past
}

func (w *watched) sample() {
	if w.lives {
		s := w.State()
		w.states = append(w.states, lived{len(w.Wires()), s, s.Counts.Sessions == w.before})
	}
}

func (w *watched) Start() {
	w.lives, w.before = true, w.State().Counts.Sessions
	w.World.Start()
	w.sample()
}

func (w *watched) Kill() { w.sample(); w.lives = false; w.World.Kill() }

func (w *watched) Command(id string, verb events.Verb, reason string) {
	w.World.Command(id, verb, reason)
	w.sample()
}

func (w *watched) Say(code int, text string) { w.World.Say(code, text); w.sample() }
func (w *watched) Close()                    { w.World.Close(); w.sample() }
func (w *watched) Reset()                    { w.World.Reset(); w.sample() }
func (w *watched) Jump(by time.Duration)     { w.World.Jump(by); w.sample() }

func (w *watched) PassTo(at time.Time) {
	for range 5 {
		// Not at a round time: what is due then would happen before what comes then.
		if left := at.Sub(w.Now()); left > 0 {
			w.World.PassTo(w.Now().Add(time.Duration(w.dice.Int64N(int64(left)))))
			w.sample()
		}
	}
	w.World.PassTo(at)
	w.sample()
}

func (w *watched) End() {
	for i, wire := range w.Wires() {
		r, err := events.Decode(wire)
		if err != nil {
			w.tb.Fatal(err)
		}
		w.past = append(w.past, bus.Stored{
			Subject: events.LogSubject(r.Connection, r.Event.Type().Kind()), StreamSeq: uint64(i + 1), StoredAt: r.Time, Payload: wire,
		})
	}
	w.World.End()
}

type past []bus.Stored

// Stored implements replay.Source.
func (p past) Stored(context.Context, bus.Query) iter.Seq2[bus.Stored, error] {
	return func(yield func(bus.Stored, error) bool) {
		for _, s := range p {
			if !yield(s, nil) {
				return
			}
		}
	}
}

// watch returns a stage on which what is played is watched.
func watch(w **watched) scenario.Stage {
	stage := endtoend.Stage(225, endtoend.InMemory())
	open := stage.Open
	stage.Open = func(tb testing.TB, s scenario.Setup) scenario.World {
		*w = &watched{World: open(tb, s), tb: tb, dice: rand.New(rand.NewPCG(1, 1))}
		return *w
	}
	return stage
}

// check holds the steps against what the connector had, and what each event says of
// itself against the step of it.
func (w *watched) check(t *testing.T) (compared int) {
	t.Helper()
	n, states := 0, w.states
	for step, err := range replay.Steps(t.Context(), w.past, bus.Query{}) {
		if err != nil || step.Err != nil {
			t.Fatal(err, step.Err)
		}
		n++
		if said, ok := step.Recorded.Event.(events.StateEvent); ok && !reflect.DeepEqual(*said.After(), step.State.Standing) {
			t.Fatalf("message %d, %s, says\n%+v\nand the step has\n%+v", n, step.Recorded.Event.Type(), *said.After(), step.State.Standing)
		}
		for ; len(states) > 0 && states[0].after == n; states = states[1:] {
			is, was := *step.State, states[0].state
			if states[0].early {
				is.Heartbeat, was.Heartbeat = events.Heartbeat{}, events.Heartbeat{}
			}
			if !reflect.DeepEqual(is, was) {
				t.Fatalf("after message %d, %s, the step has\n%s\nand the connector had\n%s", n, step.Recorded.Event.Type(), asJSON(t, is), asJSON(t, was))
			}
			compared++
		}
	}
	if n != len(w.past) || len(states) != 0 {
		t.Fatalf("%d steps of %d messages, and %d states were not met", n, len(w.past), len(states))
	}
	return compared
}

func asJSON(t *testing.T, s events.State) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestEachStepOfEveryScenarioIsWhatTheConnectorHad(t *testing.T) {
	scenario.Each(t, "../connector/testdata/scenarios/*.txt", func(t *testing.T, file string) {
		var w *watched
		watch(&w).Play(t, file)
		if n := w.check(t); n < 3 {
			t.Errorf("the connector was asked %d times, want more", n)
		}
	})
}

func TestEachStepOfRandomNightsIsWhatTheConnectorHad(t *testing.T) {
	compared := 0
	for seed := range uint64(60) {
		var w *watched
		watch(&w).Tell(t, fmt.Sprint("seed ", seed), scenario.Night(seed))
		compared += w.check(t)
	}
	if compared < 1000 {
		t.Errorf("the connector was asked %d times, want 1000", compared)
	}
	t.Logf("%d states were compared", compared)
}
