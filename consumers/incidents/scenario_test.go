package incidents_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"ibconn/consumers/incidents"
	"ibconn/events"
	"ibconn/testenv/scenario"
	"ibconn/testenv/scenario/endtoend"
)

var update = flag.Bool("update", false, "write the golden list of incidents anew")

const golden = "testdata/incidents.golden"

// TestTheIncidentsOfEveryScenario plays the nights that other people had and
// holds the list of their incidents against the golden one.
func TestTheIncidentsOfEveryScenario(t *testing.T) {
	var got strings.Builder
	scenario.Each(t, "../../connector/testdata/scenarios/*.txt", func(t *testing.T, file string) {
		began, recorded := play(t, file)
		name := t.Name()[strings.LastIndexByte(t.Name(), '/')+1:]
		fmt.Fprintf(&got, "%s\n%s\n", name, list(began, recorded))
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
		t.Errorf("the incidents are\n%s\nwant\n%s(run go test ./consumers/incidents with -update and review the difference)", got.String(), want)
	}
}

// played notes what was recorded before the world ends its process.
type played struct {
	scenario.World
	wires *[][]byte
}

func (p played) End() {
	*p.wires = p.Wires()
	p.World.End()
}

// play returns when a scenario began, and its events.
func play(t *testing.T, file string) (time.Time, []events.Recorded) {
	t.Helper()
	var began time.Time
	var wires [][]byte
	stage := endtoend.Stage(176, endtoend.InMemory())
	open := stage.Open
	stage.Open = func(tb testing.TB, s scenario.Setup) scenario.World {
		began = s.Began
		return played{open(tb, s), &wires}
	}
	stage.Play(t, file)
	var all []events.Recorded
	for _, w := range wires {
		r, err := events.Decode(w)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return began, all
}

// list words the incidents of events, and how often each was told of.
func list(began time.Time, all []events.Recorded) string {
	var fold incidents.Fold
	told := make(map[string][]string)
	for _, r := range all {
		for _, c := range fold.Add(r) {
			told[c.Incident.ID] = append(told[c.Incident.ID], string(c.Kind))
		}
	}
	found := fold.Incidents()
	if len(found) == 0 {
		return "  none\n"
	}
	var b strings.Builder
	for _, i := range found {
		tell(&b, began, i, told[i.ID])
	}
	return b.String()
}

func tell(b *strings.Builder, began time.Time, i incidents.Incident, told []string) {
	ended := "open"
	if !i.Open() {
		ended = "to " + offset(began, i.ClosedAt)
	}
	fmt.Fprintf(b, "  %d %s: %s %s, %s, fault %s\n", i.Number, i.ID, offset(began, i.OpenedAt), ended, i.Worst, i.Attribution)
	fmt.Fprintf(b, "    root %s\n", step(began, i.Root))
	for _, s := range i.Chain {
		fmt.Fprintf(b, "    then %s\n", step(began, s))
	}
	var more []string
	add := func(when bool, format string, args ...any) {
		if when {
			more = append(more, fmt.Sprintf(format, args...))
		}
	}
	add(i.Window != "", "window %s", i.Window)
	add(i.Attempts > 0, "%d attempts", i.Attempts)
	add(i.Returns > 0, "came back %d times", i.Returns)
	add(i.DetectedAfter > 0, "detected after %v", i.DetectedAfter)
	add(!i.ReadyAt.IsZero(), "ready after %v", i.ReadyAfter)
	add(!i.DataAt.IsZero(), "data after %v", i.DataAfter)
	add(i.Subscriptions.Count > 0, "subscriptions %v", i.Subscriptions)
	add(i.Stopped, "stopped")
	add(true, "told %s", strings.Join(told, " "))
	fmt.Fprintf(b, "    %s\n", strings.Join(more, "; "))
}

func step(began time.Time, s incidents.Step) string {
	when := offset(began, s.FirstAt)
	if s.Count > 1 {
		when += fmt.Sprintf(" to %s, %d times", offset(began, s.LastAt), s.Count)
	}
	return fmt.Sprintf("%s %s %q %v", when, s.What, s.Words, s.Names)
}

func offset(began, at time.Time) string { return at.Sub(began).String() }

// TestAFloodIsOneIncidentAndAQuietDayIsNone is what a person on call goes by.
func TestAFloodIsOneIncidentAndAQuietDayIsNone(t *testing.T) {
	for name, want := range map[string]int{"link_flood": 1, "link_back_without_a_word": 1, "data_without_answers": 0, "start": 0} {
		_, all := play(t, "../../connector/testdata/scenarios/"+name+".txt")
		var fold incidents.Fold
		opened := 0
		for _, r := range all {
			for _, c := range fold.Add(r) {
				if c.Kind == incidents.Opened {
					opened++
				}
			}
		}
		if got := len(fold.Incidents()); got != want || opened != want {
			t.Errorf("%s: %d incidents, %d told, want %d", name, got, opened, want)
		}
	}
}
