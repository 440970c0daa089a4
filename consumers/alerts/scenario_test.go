package alerts

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"ibconn/bus"
	"ibconn/consumers/incidents"
	"ibconn/consumers/status"
	"ibconn/events"
	"ibconn/testenv/scenario"
	"ibconn/testenv/scenario/endtoend"
)

var update = flag.Bool("update", false, "write the golden files anew")

// played notes what was recorded before the world ends its process.
type played struct {
	scenario.World
	wires *[][]byte
	ended *time.Time
}

func (p played) End() {
	*p.wires, *p.ended = p.Wires(), p.Now()
	p.World.End()
}

// TestTheAlertsOfEveryScenario tells of the nights that other people had, by the
// rules that there are without any, and holds what is told against a golden list.
func TestTheAlertsOfEveryScenario(t *testing.T) {
	const golden = "testdata/alerts.golden"
	c := config(t, ops)
	var got strings.Builder
	scenario.Each(t, "../../connector/testdata/scenarios/*.txt", func(t *testing.T, file string) {
		var began, ended time.Time
		var wires [][]byte
		stage := endtoend.Stage(176, endtoend.InMemory())
		open := stage.Open
		stage.Open = func(tb testing.TB, s scenario.Setup) scenario.World {
			began = s.Began
			return played{open(tb, s), &wires, &ended}
		}
		stage.Play(t, file)
		all := knownOf(t, wires)
		n := newSim(t, c, 2, all)
		n.now = began
		n.run(ended)
		fmt.Fprintf(&got, "%s\n", t.Name()[strings.LastIndexByte(t.Name(), '/')+1:])
		for i, a := range n.posts {
			fmt.Fprintf(&got, "  %v %s %s by %s: %s\n", n.when[i].Sub(began).Round(time.Millisecond), a.Severity, a.State, a.Rule, a.Title)
		}
	})
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got.String() {
		t.Errorf("the alerts are\n%s\nwant\n%s(run go test ./consumers/alerts with -update and review the difference)", got.String(), want)
	}
}

// knownOf returns what the other consumers make of a log, when they do.
func knownOf(t *testing.T, wires [][]byte) (all []happened) {
	var fold incidents.Fold
	var statuses status.Fold
	for n, w := range wires {
		r, err := events.Decode(w)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range fold.Add(r) {
			all = append(all, happened{at: r.Time, change: &c})
		}
		statuses.Add(bus.Entry{Recorded: r, StreamSeq: uint64(n + 1)})
		if d, ok := statuses.Document(r.Connection); ok {
			all = append(all, happened{at: r.Time, status: &d})
		}
	}
	return all
}
