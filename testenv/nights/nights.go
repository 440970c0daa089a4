// Package nights plays scenarios for tests of what comes after: it returns the events
// that a night left in the log.
package nights

import (
	"fmt"
	"testing"

	"ibconn/events"
	"ibconn/testenv/scenario"
	"ibconn/testenv/scenario/endtoend"
)

// serverVersion is that of the gateways.
const serverVersion = 225

// noting is a world that keeps what was recorded.
type noting struct {
	scenario.World
	tb  testing.TB
	all *[]events.Recorded
}

func (n noting) End() {
	for _, wire := range n.Wires() {
		r, err := events.Decode(wire)
		if err != nil {
			n.tb.Fatal(err)
		}
		*n.all = append(*n.all, r)
	}
	n.World.End()
}

func stage(all *[]events.Recorded) scenario.Stage {
	stage := endtoend.Stage(serverVersion, endtoend.InMemory())
	open := stage.Open
	stage.Open = func(tb testing.TB, s scenario.Setup) scenario.World { return noting{open(tb, s), tb, all} }
	return stage
}

// Play plays the scenario of a file, end to end, and returns its events.
func Play(t *testing.T, file string) []events.Recorded {
	t.Helper()
	var all []events.Recorded
	stage(&all).Play(t, file)
	return all
}

// Random plays the night that a seed makes up, and returns its events.
func Random(t *testing.T, seed uint64) []events.Recorded {
	t.Helper()
	var all []events.Recorded
	stage(&all).Tell(t, fmt.Sprint("seed ", seed), scenario.Night(seed))
	return all
}
