package story_test

import (
	"cmp"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
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
				for _, f := range s.Flights { // what passes both ways at an instant is recorded in any order
					slices.SortStableFunc(f.Frames, func(a, b story.Frame) int {
						return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Dir, b.Dir), cmp.Compare(a.Name, b.Name))
					})
				}
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
	for seed := uint64(1); seed <= 25; seed++ {
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

// served is a night with two subscriptions, a command, and a gap in the bars.
func served(t *testing.T) *nights.Written {
	w := nights.Write(t, "main", time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)).Open(time.Second)
	names := []string{"aapl-bars", "msft-quotes"}
	for n, name := range names {
		w.Add(time.Second, &events.SubscriptionAdded{CommandID: "c" + name, Subscription: name, Caller: "desk", Feed: events.Feed{Kind: events.SubscribeBars}})
		w.Add(0, &events.SubscriptionPlacement{Subscription: name, Attempt: 1, RequestID: int64(1000 + n), Because: events.BecauseNew, Try: 1})
		w.Add(time.Second, &events.SubscriptionDelivered{Subscription: name, Attempt: 1, RequestID: int64(1000 + n), Took: 1000})
	}
	for range 20 {
		w.Beat(15*time.Second, 4)
	}
	w.Lose(7*time.Second, events.CauseClosedByGateway, "")
	w.Fail(0, events.CauseRefused).Fail(400*time.Millisecond, events.CauseRefused)
	w.Add(2*time.Second, &events.CommandAccepted{CommandID: "x1", Verb: events.VerbReconnect, Reason: "the \x1b[31mdesk\r\nof U1234567 is blind"})
	w.Open(time.Second)
	w.Add(0, &events.CommandCompleted{CommandID: "x1", Verb: events.VerbReconnect, Took: 1030})
	for n, name := range names {
		w.Add(0, &events.SubscriptionPlacement{Subscription: name, Attempt: w.State.Attempt.Number, RequestID: int64(1010 + n), Because: events.BecauseSession, Try: 1})
	}
	w.Add(time.Second, &events.SubscriptionDelivered{Subscription: names[0], Attempt: w.State.Attempt.Number, RequestID: 1010, Took: 1000})
	w.Add(0, &events.GapDetected{Subscription: names[0], From: w.Now.Add(-20 * time.Second), To: w.Now, Bars: 4})
	w.Add(50*time.Second, &events.SubscriptionDelivered{Subscription: names[1], Attempt: w.State.Attempt.Number, RequestID: 1011, Took: 51000})
	w.Add(9*time.Second, &events.GapFilled{Subscription: names[0], From: w.All[len(w.All)-2].Event.(*events.GapDetected).From, To: w.All[len(w.All)-2].Event.(*events.GapDetected).To, Bars: 4, Took: 59000})
	for range 10 {
		w.Beat(15*time.Second, 4)
	}
	return w
}

func tell(all []events.Recorded, most int) (*story.Teller, []story.Story) {
	teller := &story.Teller{Zone: time.UTC, Most: most}
	for _, r := range all {
		teller.Add(r)
	}
	return teller, teller.Stories()
}

// TestAStoryEndsWhenItsDataIsBack holds that what was subscribed to, who asked for it,
// and the gaps are in it.
func TestAStoryEndsWhenItsDataIsBack(t *testing.T) {
	teller, stories := tell(served(t).All, 1)
	var b strings.Builder
	p := story.Printer{Out: &b, Zone: time.UTC}
	if err := p.Incidents(teller.Incidents()); err != nil {
		t.Fatal(err)
	}
	b.WriteString("\n")
	if err := p.Story(stories[0]); err != nil {
		t.Fatal(err)
	}
	held(t, "subscriptions.golden", b.String())
	s := stories[0]
	if last := s.After[len(s.After)-1]; last.Type != (&events.GapFilled{}).Type() {
		t.Errorf("the story ends with %s, want the gap that is filled", last.Words)
	}
	for _, bad := range []string{"\x1b", "U1234567", "\r"} {
		if strings.Contains(b.String(), bad) {
			t.Errorf("%q is in the story", bad)
		}
	}
}

// TestALongStoryIsBounded lives through a hundred thousand events of one incident.
func TestALongStoryIsBounded(t *testing.T) {
	w := nights.Write(t, "main", time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)).Open(time.Second)
	w.Lose(time.Minute, events.CauseReset, "")
	causes := []events.Cause{events.CauseRefused, events.CauseDialTimeout, events.CauseMuteInGreeting, events.CauseReset}
	teller := &story.Teller{Zone: time.UTC, Most: 1}
	flush := func() {
		for _, r := range w.All {
			teller.Add(r)
		}
		w.All = w.All[:0]
	}
	for n := range 25_000 {
		w.Fail(time.Minute, causes[n/7%len(causes)])
		if n%20 == 0 {
			w.Add(0, &events.GatewayReported{Attempt: 1, RequestID: -1, Code: 2100 + n%37, Class: events.ClassUnknown, Message: strings.Repeat("x", n%50)})
		}
		flush()
	}
	w.Open(time.Second).Beat(time.Minute, 3)
	flush()
	s := teller.Stories()[0]
	if n := len(s.Before) + len(s.During) + len(s.After); n > 250 {
		t.Errorf("%d lines are kept", n)
	}
	told := 0
	for _, l := range s.During {
		told += l.Count
	}
	if told < 50_000 || !strings.Contains(s.During[120].Words, "more events") {
		t.Errorf("the lines stand for %d events, and the 121st is %q", told, s.During[120].Words)
	}
	if n := len(s.Codes); n > 30 {
		t.Errorf("%d codes are kept", n)
	}
}

// TestATableFitsItsTerminal narrows the terminal.
func TestATableFitsItsTerminal(t *testing.T) {
	teller, stories := tell(served(t).All, 1)
	for _, width := range []int{40, 60, 80, 100, 140} {
		var b strings.Builder
		p := story.Printer{Out: &b, Zone: time.UTC, Width: width}
		if err := p.Incidents(teller.Incidents()); err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(b.String(), "\n") {
			if n := len([]rune(line)); n > width {
				t.Errorf("of %d columns %d are used: %s", width, n, line)
			}
		}
		if err := p.Story(stories[0]); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), "lasted") || strings.Contains(b.String(), "\x1b") {
			t.Errorf("%d columns: %s", width, b.String())
		}
	}
	var b strings.Builder
	if err := (story.Printer{Out: &b, Colour: true}).Incidents(teller.Incidents()); err != nil || !strings.Contains(b.String(), "\x1b[31m") {
		t.Errorf("%v, and no colour: %s", err, b.String())
	}
}

// TestWhatIsTheSameIsNoDifference holds facts against each other.
func TestWhatIsTheSameIsNoDifference(t *testing.T) {
	w := served(t)
	f := story.Facts(w.State, time.UTC)
	if d := story.Diff(f, f); len(d) != 0 {
		t.Errorf("a state differs from itself: %v", d)
	}
	none := story.Facts(events.NewState("main"), time.UTC)
	got := make(map[string]string)
	for _, d := range story.Diff(none, f) {
		got[d.Group+"/"+d.Name] = d.Words(time.UTC)
	}
	for name, want := range map[string]string{
		"connection/condition": "stopped → healthy", "totals/sessions opened": "0 → 2 (+2)",
		"subscription/aapl-bars": "new: live, since 2026-11-22 03:05:16",
		"link/link to IB":        "unknown → up, since 2026-11-22 03:05:15",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
}

func TestDistancesAreShort(t *testing.T) {
	for _, test := range []struct {
		m    events.Millis
		want string
	}{
		{0, "+0s"},
		{-12_000, "-12s"},
		{184_000, "+3m04s"},
		{350, "+350ms"},
		{0.2, "+1ms"},
		{4100, "+4.1s"},
		{59_700, "+1m00s"},
		{3_599_900, "+1h00m"},
		{7_380_000, "+2h03m"},
		{86_399_000, "+1d00h"},
		{-273_600_000, "-3d04h"},
	} {
		if got := story.Offset(test.m); got != test.want {
			t.Errorf("%v ms: %q, want %q", float64(test.m), got, test.want)
		}
	}
}
