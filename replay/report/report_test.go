package report_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"ibconn/consumers/incidents"
	"ibconn/events"
	"ibconn/replay/report"
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
		t.Errorf("%s is now\n%s\nwant\n%s(run go test ./replay/report with -update and read the difference)", path, got, want)
	}
}

func collect(t *testing.T, all []events.Recorded, c report.Collector) report.Report {
	t.Helper()
	if c.Zone == nil {
		c.Zone = time.UTC
	}
	for _, r := range all {
		c.Add(r)
	}
	r, ok := c.Report()
	if !ok {
		t.Fatal("there is nothing to report")
	}
	return r
}

const nightly = "restart daily 23:45-23:50 Europe/Zurich"

// month is a month in which the gateway restarts each night, mostly in its window, the
// link goes each Saturday, and on one night everything goes wrong.
func month(t *testing.T) *nights.Written {
	zone, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		t.Fatal(err)
	}
	w := nights.Write(t, "main", time.Date(2026, 10, 12, 8, 0, 0, 0, zone).UTC()).Open(time.Second)
	w.Add(0, &events.FarmChanged{Attempt: 1, Farm: events.Farm{Kind: events.FarmMarketData, Name: "usfarm"}, From: events.FarmUnknown, To: events.FarmUp, Code: 2104})
	for d := range 28 {
		day := time.Date(2026, 10, 12+d, 0, 0, 0, 0, zone)
		for h := 9; h < 22; h++ {
			w.At(day.Add(time.Duration(h)*time.Hour)).Beat(0, events.Millis(3+(d*h)%11))
		}
		if day.Weekday() == time.Saturday {
			w.At(day.Add(22*time.Hour)).Add(time.Duration(d)*time.Minute, &events.LinkWentDown{Attempt: w.State.Attempt.Number, Code: 1100})
			w.Add(9*time.Minute, &events.LinkCameBack{Attempt: w.State.Attempt.Number, Code: 1102})
		}
		if d == 9 {
			w.Add(time.Minute, &events.HeartbeatMissed{Attempt: w.State.Attempt.Number, Misses: 1, Silent: 20_000, NextProbeAt: w.Now, AnswerBy: w.Now})
			w.Lose(5*time.Second, events.CauseHeartbeatLost, "")
			for range 12 {
				w.Fail(time.Minute, events.CauseRefused)
			}
			w.Open(time.Minute)
		}
		w.At(time.Date(2026, 10, 12+d, 23, 46, d%3*20, 0, zone)).Lose(0, events.CauseClosedByGateway, nightly)
		w.Fail(time.Second, events.CauseRefused).Open(30 * time.Second)
	}
	w.Beat(time.Hour, 4)
	return w
}

// TestAMonth holds what a month comes to.
func TestAMonth(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		t.Fatal(err)
	}
	r := collect(t, month(t).All, report.Collector{Zone: zone})
	var b strings.Builder
	if err := r.Text(&b, 100); err != nil {
		t.Fatal(err)
	}
	held(t, "month.txt", b.String())
	session := r.Levels[0]
	if session.Failures != 29 || session.Longest != 13*60_000+32 {
		t.Errorf("the session failed %d times, at most for %v", session.Failures, session.Longest)
	}
	if got := r.Heat.Counts[time.Monday][23]; got != 4 {
		t.Errorf("%d incidents on Mondays at 23, want 4", got)
	}
}

// TestAGivenWindowCoversWhatCameBefore holds that no window is suggested that is there.
func TestAGivenWindowCoversWhatCameBefore(t *testing.T) {
	given := "weekend Sat 22:00-22:45 Europe/Zurich"
	r := collect(t, month(t).All, report.Collector{Windows: []string{given}})
	found := false
	for _, c := range r.Windows.Learned {
		found = found || c.Weekly && c.Window == given
		if c.Suggest != "" {
			t.Errorf("a window is suggested: %s", c.Words)
		}
	}
	if !found {
		t.Errorf("%+v, want a cluster that the given window covers", r.Windows.Learned)
	}
}

// TestTheReportOfEachNight holds what is pasted into a ticket.
func TestTheReportOfEachNight(t *testing.T) {
	for _, name := range []string{"daily_restart", "link_flood", "client_id_held_for_good"} {
		t.Run(name, func(t *testing.T) {
			r := collect(t, nights.Play(t, scenarios+name+".txt"), report.Collector{Stories: 3})
			var b strings.Builder
			if err := r.Markdown(&b); err != nil {
				t.Fatal(err)
			}
			held(t, name+".md", b.String())
		})
	}
}

// TestTheSpanIsWhatCounts takes a day out of the month.
func TestTheSpanIsWhatCounts(t *testing.T) {
	all := month(t).All
	from := time.Date(2026, 10, 21, 12, 0, 0, 0, time.UTC)
	r := collect(t, all, report.Collector{From: from, To: from.Add(24 * time.Hour), Stories: 5})
	if len(r.Incidents) != 2 || len(r.Stories) != 2 || r.Levels[0].Failures != 2 {
		t.Errorf("%d incidents, %d stories and %d failures, want 2 of each", len(r.Incidents), len(r.Stories), r.Levels[0].Failures)
	}
	if !r.From.Equal(from) || !r.To.Equal(from.Add(24*time.Hour)) {
		t.Errorf("it is from %v to %v", r.From, r.To)
	}
	if known := r.Levels[0].Known; known != 24*3600*1000 {
		t.Errorf("%v are known of the session", known)
	}
	one := collect(t, all, report.Collector{From: from, To: from.Add(24 * time.Hour), Stories: 1, Only: r.Incidents[0].ID})
	if one.Title() != "Incident "+r.Incidents[0].ID || len(one.Stories) != 1 {
		t.Errorf("%s with %d stories", one.Title(), len(one.Stories))
	}
}

// TestADeadProcessIsAnOutage holds that the time without a process counts as down.
func TestADeadProcessIsAnOutage(t *testing.T) {
	r := collect(t, nights.Play(t, scenarios+"process_killed.txt"), report.Collector{})
	if l := r.Levels[0]; l.Failures != 1 || l.Down.String() != "3 min" || l.Down != l.Longest {
		t.Errorf("%d failures, down for %v: want one of 3 min", l.Failures, l.Down)
	}
}

// TestRandomNightsAreReported holds the incidents against the consumer's, and shares and
// sizes against their bounds.
func TestRandomNightsAreReported(t *testing.T) {
	for seed := uint64(100); seed < 125; seed++ {
		all := nights.Random(t, seed)
		if len(all) == 0 {
			continue
		}
		var fold incidents.Fold
		for _, r := range all {
			fold.Add(r)
		}
		r := collect(t, all, report.Collector{Stories: 3})
		if want := fold.Incidents(); len(want)+len(r.Incidents) > 0 && !reflect.DeepEqual(want, r.Incidents) {
			t.Errorf("seed %d: %d incidents, want %d, or they differ", seed, len(r.Incidents), len(want))
		}
		for _, l := range r.Levels {
			if l.Availability < 0 || l.Availability > 1 || l.Down > l.Known || l.Longest > l.Down+1 || l.Failures > 0 && l.Known == 0 && l.Down > 0 {
				t.Errorf("seed %d: %+v", seed, l)
			}
		}
		if n := len(r.Lanes.Session); n > 600 {
			t.Errorf("seed %d: %d bins", seed, n)
		}
		for form, write := range map[string]func(w *bytes.Buffer) error{
			"HTML": func(w *bytes.Buffer) error { return r.HTML(w) }, "Markdown": func(w *bytes.Buffer) error { return r.Markdown(w) },
			"JSON": func(w *bytes.Buffer) error { return r.JSON(w) }, "text": func(w *bytes.Buffer) error { return r.Text(w, 80) },
		} {
			var b bytes.Buffer
			if err := write(&b); err != nil || b.Len() == 0 || b.Len() > 2<<20 {
				t.Errorf("seed %d: %s: %v, %d bytes", seed, form, err, b.Len())
			}
		}
	}
}

// TestALongLogMakesNoLargeReport reports a flood.
func TestALongLogMakesNoLargeReport(t *testing.T) {
	w := nights.Write(t, "main", time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)).Open(time.Second)
	c := report.Collector{Zone: time.UTC, Stories: 10}
	for n := range 4000 {
		w.Lose(time.Hour, events.CauseReset, "").Fail(time.Second, events.CauseRefused).Open(time.Second)
		w.Add(0, &events.GatewayReported{Attempt: 1, RequestID: -1, Code: n, Class: events.ClassUnknown, Message: strings.Repeat("long ", 40)})
		for _, r := range w.All {
			c.Add(r)
		}
		w.All = w.All[:0]
	}
	r, _ := c.Report()
	var b bytes.Buffer
	if err := r.HTML(&b); err != nil {
		t.Fatal(err)
	}
	if len(r.Incidents) > 1000 || len(r.Events) > 400 || r.Omitted == 0 || len(r.Lanes.Session) > 600 || b.Len() > 2<<20 {
		t.Errorf("%d incidents, %d events, %d bins, %d bytes", len(r.Incidents), len(r.Events), len(r.Lanes.Session), b.Len())
	}
	if !strings.Contains(b.String(), "older events are left out") {
		t.Error("it does not say that events are left out")
	}
}

// nasty is what a gateway might say to whoever reads a report.
const nasty = `</td><script>alert(1)</script><img src=x onerror="alert(2)">'"&{{.}} <!-- ]]> U1234567 ` + "\x1b[31m" + "`|* [a](javascript:alert(3))"

func hostile(t *testing.T) *nights.Written {
	w := nights.Write(t, "main", time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)).Open(time.Second)
	for range 30 {
		w.Beat(15*time.Second, 4)
	}
	w.Add(time.Minute, &events.LinkWentDown{Attempt: 1, Code: 1100, Message: nasty, Window: nasty, Farms: []events.FarmNews{{Farm: events.Farm{Kind: events.FarmMarketData, Name: nasty}, Status: events.FarmDown}}})
	w.Add(time.Second, &events.GatewayReported{Attempt: 1, RequestID: -1, Code: 99999, Class: events.ClassUnknown, Message: nasty})
	w.Add(time.Second, &events.CommandAccepted{CommandID: nasty, Verb: events.VerbReconnect, Reason: nasty})
	w.Add(time.Second, &events.SessionLost{
		Attempt: 1, Cause: events.CauseOther, Detail: nasty, Failures: 1, RetryAt: w.Now,
		Flight: []events.FlightFrame{{At: w.Now, Dir: nasty, ID: 1, Name: nasty, Size: 9, Head: nasty}},
	})
	w.Open(time.Second)
	w.Add(time.Second, &events.CommandFailed{CommandID: nasty, Verb: events.VerbReconnect, Code: "x", Message: nasty})
	return w.Add(time.Minute, &events.LinkWentDown{Attempt: 2, Code: 1100, Message: nasty})
}

var outside = regexp.MustCompile(`(?i)<(script|iframe|object|embed|link rel="stylesheet"|img|base|form)|\son[a-z]+=|(src|href|action)="(https?:)?//|url\(['"]?(https?:|//)|@import|javascript:`)

// TestWhatAGatewaySaysIsText has a gateway say what a browser would run.
func TestWhatAGatewaySaysIsText(t *testing.T) {
	r := collect(t, hostile(t).All, report.Collector{Stories: 3})
	var page, text bytes.Buffer
	if err := r.HTML(&page); err != nil {
		t.Fatal(err)
	}
	plain := strings.ReplaceAll(strings.ReplaceAll(page.String(), "onerror=&#34;", ""), "(javascript:", "")
	if found := outside.FindString(plain); found != "" {
		t.Errorf("the page has %q", found)
	}
	if err := r.Markdown(&text); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"<script", "<img", "\x1b", "[a]("} {
		if strings.Contains(text.String(), bad) {
			t.Errorf("the Markdown has %q", bad)
		}
	}
	for _, made := range []string{page.String(), text.String()} {
		if strings.Contains(made, "U1234567") {
			t.Error("an account id is in it")
		}
		if !strings.Contains(made, "99999") {
			t.Error("what the gateway reported is not in it")
		}
	}
}

// TestTheJSONIsWhatIsDocumented reads the JSON again, and holds its keys against the
// document.
func TestTheJSONIsWhatIsDocumented(t *testing.T) {
	r := collect(t, hostile(t).All, report.Collector{Stories: 3})
	var b bytes.Buffer
	if err := r.JSON(&b); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/replay.md")
	if err != nil {
		t.Fatal(err)
	}
	for key := range got {
		if !strings.Contains(string(doc), "`"+key+"`") {
			t.Errorf("docs/replay.md does not tell of %s", key)
		}
	}
}

// history is outages at a time of some days of a span.
func history(zone *time.Location, days int, on func(day int) bool, hour, minute int) []report.Outage {
	var all []report.Outage
	for d := range days {
		if on(d) {
			all = append(all, report.Outage{At: time.Date(2026, 10, 5+d, hour, minute+d%5, 0, 0, zone), Level: events.LevelLink})
		}
	}
	return all
}

func TestClustersAreFound(t *testing.T) {
	newYork, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	every := func(int) bool { return true }
	within := func(outages []report.Outage, window string) []report.Outage {
		for n := range outages {
			outages[n].Window = window
		}
		return outages
	}
	noise := func(n int, days int) []report.Outage {
		dice := rand.New(rand.NewPCG(7, 7))
		var all []report.Outage
		for range n {
			at := time.Date(2026, 10, 5, 0, 0, 0, 0, time.UTC).Add(time.Duration(dice.Int64N(int64(days) * int64(24*time.Hour))))
			all = append(all, report.Outage{At: at, Level: events.LevelSession})
		}
		return all
	}
	for _, test := range []struct {
		name    string
		outages []report.Outage
		days    int
		want    []string
	}{
		{"nothing", nil, 7, nil},
		{"five of seven nights", history(newYork, 7, func(d int) bool { return d != 2 && d != 5 }, 23, 50), 7, []string{
			"outages cluster at 23:50-23:54 America/New_York on 5 of 7 nights; no configured window covers it; --windows 'reset daily 23:45-00:00 America/New_York' would",
		}},
		{"covered", within(history(time.UTC, 10, every, 12, 0), "reset daily 12:00-12:30 UTC"), 10, []string{
			"outages cluster at 12:00-12:04 UTC on 10 of 10 days; the window 'reset daily 12:00-12:30 UTC' covers it",
		}},
		{"around midnight", history(time.UTC, 6, every, 23, 58), 6, []string{
			"outages cluster at 23:58-00:02 UTC on 6 of 6 nights; no configured window covers it; --windows 'reset daily 23:55-00:10 UTC' would",
		}},
		{"two nights are no habit", history(time.UTC, 2, every, 3, 0), 2, nil},
		{"a third of the nights is none", history(time.UTC, 30, func(d int) bool { return d%3 == 0 }, 3, 0), 30, nil},
		{"Saturdays", history(time.UTC, 35, func(d int) bool { return d%7 == 5 }, 4, 0), 35, []string{
			"outages cluster at Saturdays 04:00-04:04 UTC on 5 of 5 weeks; no configured window covers it; --windows 'reset Sat 03:55-04:10 UTC' would",
		}},
		{"noise", noise(60, 30), 30, nil},
		{"a flood", noise(3000, 7), 7, nil},
		{"a habit among noise", append(noise(30, 30), history(time.UTC, 30, every, 5, 0)...), 30, []string{"outages cluster at 04:"}},
		// Clocks change on 1 November: by New York's it is one habit, by UTC two.
		{"over a change of clocks", history(newYork, 50, every, 23, 45), 50, []string{"outages cluster at 23:45-23:49 America/New_York on 50 of 50 nights"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			from := time.Date(2026, 10, 5, 5, 0, 0, 0, time.UTC)
			if test.name != "five of seven nights" && test.name != "over a change of clocks" {
				from = time.Date(2026, 10, 5, 0, 0, 0, 0, time.UTC)
			}
			zone := time.UTC
			if test.name == "five of seven nights" {
				zone = newYork
			}
			found := report.Learn(test.outages, from, from.AddDate(0, 0, test.days).Add(-time.Minute), zone)
			var got []string
			for _, c := range found {
				got = append(got, c.Words)
			}
			if len(got) != len(test.want) {
				t.Fatalf("%d clusters, want %d: %q", len(got), len(test.want), got)
			}
			for n := range got {
				if !strings.HasPrefix(got[n], test.want[n]) {
					t.Errorf("%q, want %q", got[n], test.want[n])
				}
			}
		})
	}
}

// TestNoHistoryBreaksTheLearner gives it histories by dice.
func TestNoHistoryBreaksTheLearner(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(dice.Int64N(int64(365 * 24 * time.Hour))))
		span := time.Duration(1 + dice.Int64N(int64(60*24*time.Hour)))
		outages := make([]report.Outage, dice.IntN(80))
		for n := range outages {
			outages[n] = report.Outage{At: from.Add(time.Duration(dice.Int64N(int64(span)))), Level: events.LevelLink, Window: []string{"", "x"}[dice.IntN(2)]}
		}
		sum := 0
		for _, c := range report.Learn(outages, from, from.Add(span)) {
			sum += c.Outages
			if c.Days < 3 || c.Days > c.Of || c.Covered > c.Outages || c.Words == "" {
				t.Fatalf("a cluster of %+v", c)
			}
		}
		if sum > len(outages) {
			t.Fatalf("%d outages are in clusters, of %d", sum, len(outages))
		}
	}
}

func Example() {
	collector := report.Collector{Zone: time.UTC}
	_, some := collector.Report()
	fmt.Println(some)
	// Output: false
}
