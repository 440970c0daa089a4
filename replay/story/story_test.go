package story_test

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"ibconn/consumers/incidents"
	"ibconn/events"
	"ibconn/replay/story"
	"ibconn/testenv/nights"
)

var update = flag.Bool("update", false, "write the golden files anew")

const scenarios = "../../connector/testdata/scenarios/"

// held holds text against a golden file.
func held(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s is now\n%s\nwant\n%s(run go test ./replay/story with -update and read the difference)", path, got, want)
	}
}

// TestTheStoryOfEachNight holds what a person reads of the nights that other people had.
func TestTheStoryOfEachNight(t *testing.T) {
	for _, name := range []string{
		"daily_restart", "half_dead_gateway", "link_flood", "link_dies_without_a_word", "silence", "process_killed", "competing_session",
		"farm_stays_down", "client_id_held_for_a_while", "two_reconnects", "weekend", "short_sessions", "too_fast",
	} {
		t.Run(name, func(t *testing.T) {
			all := nights.Play(t, scenarios+name+".txt")
			teller := story.Teller{Zone: time.UTC, Most: 3}
			for _, r := range all {
				teller.Add(r)
			}
			var b strings.Builder
			p := story.Printer{Out: &b, Zone: time.UTC}
			if err := p.Incidents(teller.Incidents()); err != nil {
				t.Fatal(err)
			}
			for _, s := range teller.Stories() {
				b.WriteString("\n")
				if err := p.Story(s); err != nil {
					t.Fatal(err)
				}
			}
			for line := range strings.SplitSeq(b.String(), "\n") {
				if n := len([]rune(line)); n > 100 {
					t.Errorf("%d columns, want at most 100: %s", n, line)
				}
			}
			held(t, name+".golden", b.String())
		})
	}
}

// TestRandomNightsAreToldAsTheConsumerHasThem lets dice make up nights.
func TestRandomNightsAreToldAsTheConsumerHasThem(t *testing.T) {
	stories := 0
	for seed := uint64(1); seed <= 40; seed++ {
		all := nights.Random(t, seed)
		var fold incidents.Fold
		teller := story.Teller{Zone: time.UTC, Most: 5}
		for _, r := range all {
			fold.Add(r)
			teller.Add(r)
		}
		want := fold.Incidents()
		if got := teller.Incidents(); len(got)+len(want) > 0 && !sameSet(got, want) {
			t.Errorf("seed %d: the incidents are\n%v\nwant\n%v", seed, got, want)
		}
		for _, s := range teller.Stories() {
			stories++
			check(t, seed, s, all)
		}
	}
	if stories == 0 {
		t.Fatal("no night had an incident")
	}
	t.Logf("%d stories", stories)
}

func sameSet(a, b []incidents.Incident) bool {
	if len(a) != len(b) {
		return false
	}
	byID := make(map[string]incidents.Incident)
	for _, i := range a {
		byID[i.ID] = i
	}
	for _, i := range b {
		if !reflect.DeepEqual(byID[i.ID], i) {
			return false
		}
	}
	return true
}

// check holds a story against the events that it is of.
func check(t *testing.T, seed uint64, s story.Story, all []events.Recorded) {
	t.Helper()
	told := 0
	for _, l := range append(append([]story.Line{}, s.During...), s.After...) {
		told += l.Count
	}
	had, from := 0, false
	for _, r := range all {
		from = from || s.Incident.ID == string(r.Connection)+"-"+itoa(r.Sequence)
		if from {
			had++
			if e, ok := r.Event.(*events.GatewayRepeated); ok {
				had += e.Count - 1
			}
		}
	}
	if told == 0 || told > had {
		t.Errorf("seed %d, %s: %d events are told of %d that there were", seed, s.Incident.ID, told, had)
	}
	if len(s.Summary) < 2 || len(s.Before)+len(s.During)+len(s.After) > 250 {
		t.Errorf("seed %d, %s: %d sentences and %d lines", seed, s.Incident.ID, len(s.Summary), len(s.During))
	}
}

func itoa(n uint64) string {
	var b []byte
	for ; n > 0; n /= 10 {
		b = append([]byte{byte('0' + n%10)}, b...)
	}
	return string(b)
}
