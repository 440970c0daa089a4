package status_test

import (
	"testing"

	"ibconn/bus"
	"ibconn/consumers/status"
	"ibconn/events"
	"ibconn/testenv/scenario"
	"ibconn/testenv/scenario/endtoend"
)

// lived is a world of a scenario that looks at its documents when it ends.
type lived struct {
	scenario.World
	t      testing.TB
	killed bool
}

func (l *lived) Start() { l.killed = false; l.World.Start() }
func (l *lived) Kill()  { l.killed = true; l.World.Kill() }

func (l *lived) End() {
	var f status.Fold
	var d status.Document
	for i, wire := range l.Wires() {
		r, err := events.Decode(wire)
		if err != nil {
			l.t.Fatal(err)
		}
		_, jumped := r.Event.(*events.ClockJumped)
		// Before a claim nobody may have lived, and before a jump time did not pass.
		if d.Stale(r.Time) && !r.Claim() && !jumped {
			l.t.Errorf("the document of event %d, in phase %s, is stale after %v, and the next event, %s, of %v", d.Sequence, d.Phase, d.StaleAfter, r.Event.Type(), r.Time)
		}
		f.Add(bus.Entry{Recorded: r, StreamSeq: uint64(i + 1)})
		d, _ = f.Document(r.Connection)
	}
	if now := l.Now(); d.Stale(now) && !l.killed {
		l.t.Errorf("the last document, of event %d in phase %s, is stale after %v, and it is %v with a process that lives", d.Sequence, d.Phase, d.StaleAfter, now)
	}
	l.World.End()
}

// TestADocumentIsNotStaleWhileItsConnectorLives plays the scenarios with the
// program's own parts.
func TestADocumentIsNotStaleWhileItsConnectorLives(t *testing.T) {
	scenario.Each(t, "../../connector/testdata/scenarios/*.txt", func(t *testing.T, file string) {
		t.Parallel()
		stage := endtoend.Stage(176, endtoend.InMemory())
		open := stage.Open
		stage.Open = func(tb testing.TB, s scenario.Setup) scenario.World {
			return &lived{World: open(tb, s), t: tb}
		}
		stage.Play(t, file)
	})
}
