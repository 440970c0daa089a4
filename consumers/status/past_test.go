package status_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"testing"
	"time"

	"ibconn/bus"
	"ibconn/consumers/status"
	"ibconn/events"
	"ibconn/testenv/scenario"
	"ibconn/testenv/scenario/endtoend"
)

// sample is what a connector that lived took for its state at a time.
type sample struct {
	at    time.Time
	state events.State
	// early is whether its process had no session yet. Then the log knows more: a
	// process that starts does not read the heartbeats of those before it.
	early bool
}

// watched is a world of a night whose connector is asked for its state at random
// times on the way.
type watched struct {
	scenario.World
	tb      testing.TB
	dice    *rand.Rand
	lives   bool
	before  uint64 // the sessions that there were when the process began
	samples []sample
	past    []bus.Entry // the night, once it has ended
}

func (w *watched) Start() {
	w.lives, w.before = true, w.State().Counts.Sessions
	w.World.Start()
}

func (w *watched) Kill() { w.lives = false; w.World.Kill() }

func (w *watched) PassTo(at time.Time) {
	for range 3 {
		if left := at.Sub(w.Now()); left > 0 {
			w.World.PassTo(w.Now().Add(time.Duration(w.dice.Int64N(int64(left)))))
			w.sample()
		}
	}
	w.World.PassTo(at)
}

func (w *watched) sample() {
	if w.lives {
		s := w.State()
		w.samples = append(w.samples, sample{w.Now(), s, s.Counts.Sessions == w.before})
	}
}

// Jump may show times again that were. Of these the later ones are meant.
func (w *watched) Jump(by time.Duration) {
	w.World.Jump(by)
	for n := len(w.samples); n > 0 && !w.samples[n-1].at.Before(w.Now()); n-- {
		w.samples = w.samples[:n-1]
	}
}

func (w *watched) End() {
	for i, wire := range w.Wires() {
		r, err := events.Decode(wire)
		if err != nil {
			w.tb.Fatal(err)
		}
		w.past = append(w.past, bus.Entry{Recorded: r, StreamSeq: uint64(i + 1)})
	}
	w.World.End()
}

// over is a log that is written.
type over []bus.Entry

func (o over) Last(context.Context) (uint64, error) { return uint64(len(o)), nil }

func (o over) Read(context.Context, bus.Query) iter.Seq2[bus.Entry, error] {
	return func(yield func(bus.Entry, error) bool) {
		for _, e := range o {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// TestThePastIsWhatTheConnectorTookForItsState lets dice make up nights, asks the
// program's own connector for its state at 1,000 random times on the way, and
// holds what the log says of these times against that.
func TestThePastIsWhatTheConnectorTookForItsState(t *testing.T) {
	const want = 1000
	asked, phases := 0, make(map[events.Phase]int)
	for seed := uint64(1); asked < want; seed++ {
		if seed > 100 {
			t.Fatalf("a hundred nights have %d times to ask for, want %d", asked, want)
		}
		var w *watched
		stage := endtoend.Stage(225, endtoend.InMemory())
		open := stage.Open
		stage.Open = func(tb testing.TB, s scenario.Setup) scenario.World {
			w = &watched{World: open(tb, s), tb: tb, dice: rand.New(rand.NewPCG(seed, 1))}
			return w
		}
		stage.Tell(t, fmt.Sprint("seed ", seed), scenario.Night(seed))
		for _, s := range w.samples {
			all, err := status.At(t.Context(), over(w.past), s.at)
			if err != nil {
				t.Fatal(err)
			}
			then := all["main"].State
			if s.early {
				then.Heartbeat, s.state.Heartbeat = events.Heartbeat{}, events.Heartbeat{}
			}
			got, err := json.Marshal(then)
			if err != nil {
				t.Fatal(err)
			}
			had, err := json.Marshal(s.state)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(had) {
				t.Fatalf("seed %d, at %v: the log says\n%s\nand the connector had\n%s", seed, s.at, got, had)
			}
			asked++
			phases[s.state.Phase]++
		}
	}
	for _, p := range []events.Phase{events.PhaseReady, events.PhaseWaiting, events.PhaseDialing, events.PhaseGreeting, events.PhaseStopped} {
		if phases[p] == 0 {
			t.Errorf("it was never asked of a time in phase %s: %v", p, phases)
		}
	}
	t.Logf("%d times: %v", asked, phases)
}
