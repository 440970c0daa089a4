package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"ibconn/bus"
	"ibconn/consumers/incidents"
	"ibconn/consumers/status"
	"ibconn/events"
	"ibconn/replay/report"
	"ibconn/replay/story"
	"ibconn/testenv/gateway"
)

// TestWhatHappenedIsTold has a run lose its session, and reads that from its bus and,
// once it has ended, from its directory, in every form there is.
func TestWhatHappenedIsTold(t *testing.T) {
	dir := t.TempDir()
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(dir, gw.Addr()))
	at := p.ready()
	quiet := time.Now()
	gw.Reset()
	p.healthy(at)

	decode := func(into any, args ...string) {
		t.Helper()
		out := cliOK(t, append([]string{"replay"}, args...)...)
		if err := json.Unmarshal([]byte(out), into); err != nil {
			t.Fatalf("replay %q: %v\n%s", args, err, out)
		}
	}
	var listed []incidents.Incident
	decode(&listed, "--nats", p.url, "--json")
	var fold incidents.Fold
	log, err := bus.FindLog(t.Context(), p.nc)
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range log.Read(t.Context(), bus.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		fold.Add(e.Recorded)
	}
	if len(listed) != 1 || listed[0].ID != fold.Incidents()[0].ID || listed[0].Root.Cause != events.CauseReset {
		t.Fatalf("the incidents are %+v, want %+v", listed, fold.Incidents())
	}
	id := listed[0].ID

	then := quiet.UTC().Format(time.RFC3339Nano)
	var document status.Document
	decode(&document, "at", then, "--nats", p.url, "--json")
	want, err := status.At(t.Context(), log, quiet)
	if err != nil {
		t.Fatal(err)
	}
	wanted, same := want["main"], status.Document{}
	b, err := json.Marshal(wanted)
	if err == nil {
		err = json.Unmarshal(b, &same)
	}
	if err != nil || !reflect.DeepEqual(document, same) {
		t.Errorf("at says\n%+v\nand /status\n%+v, %v", document, same, err)
	}
	if out := cliOK(t, "replay", "at", then, "--nats", p.url, "--zone", "UTC"); !containsAll(out, "main was healthy at ", "Session\n", "Link\n", "held by") {
		t.Errorf("at prints\n%s", out)
	}
	if exit, _, errs := cli(t, "replay", "--data", dir); exit != exitFailed || !strings.Contains(errs, "in use by process") {
		t.Errorf("of a directory in use: exit %d, %s", exit, errs)
	}
	p.stop()

	if out := cliOK(t, "replay", "--data", dir, "--zone", "Europe/Zurich"); !containsAll(out, "1 incident since", "times in Europe/Zurich", "the gateway reset the connection", "ibconn replay incident "+id) || strings.Contains(out, "\x1b") {
		t.Errorf("the table is\n%s", out)
	}
	for _, name := range []string{"1", id, "last"} {
		if out := cliOK(t, "replay", "incident", name, "--data", dir); !containsAll(out, "Incident 1 of main", "Before\n", "During\n", "session lost after", "The last frames", "State after") {
			t.Errorf("the story of %s is\n%s", name, out)
		}
	}
	var told story.Story
	decode(&told, "incident", id, "--data", dir, "--json")
	if told.Incident.ID != id || len(told.Flights) != 1 || len(told.During) == 0 || told.StateBefore.Phase != events.PhaseReady {
		t.Errorf("the story is %+v", told)
	}
	if out := cliOK(t, "replay", "diff", then, "0s ago", "--data", dir); !containsAll(out, "main from ", "sessions lost", "(+1)", "healthy → stopped") {
		t.Errorf("the differences are\n%s", out)
	}
	if out := cliOK(t, "replay", "stats", "--data", dir); !containsAll(out, "By level", "Session with the gateway", "session lost: the gateway reset the connection") {
		t.Errorf("the statistics are\n%s", out)
	}
	var sums report.Report
	decode(&sums, "report", "--json", "--data", dir)
	if len(sums.Incidents) != 1 || len(sums.Stories) != 1 || sums.Levels[0].Failures != 1 {
		t.Errorf("the report is %+v", sums)
	}
	page := filepath.Join(t.TempDir(), "incident.html")
	if exit, out, errs := cli(t, "replay", "report", id, "--data", dir, "--out", page); exit != exitDone || out != "" || !strings.Contains(errs, "wrote "+page) {
		t.Errorf("exit %d, %s, %s", exit, out, errs)
	}
	if b, err := os.ReadFile(page); err != nil || !containsAll(string(b), "<!DOCTYPE html>", "Incident "+id, "</html>") {
		t.Errorf("%v: %.200s", err, b)
	}
	if out := cliOK(t, "replay", "report", "--md", "--data", dir); !containsAll(out, "# What happened to main", "## Incidents", "| \\# | when |") {
		t.Errorf("the Markdown is\n%s", out)
	}

	for _, tt := range []struct {
		args []string
		exit int
		want string
	}{
		{[]string{"incident", "7"}, exitFailed, "there is no incident 7: main has 1, from 1 (" + id + ")"},
		{[]string{"incident", "main"}, exitUsage, "want a number such as 3, an id such as main-41, or last"},
		{[]string{"incident", "other-3"}, exitFailed, "no events of other"},
		{[]string{"at", "tomorrow"}, exitUsage, "want one such as"},
		{[]string{"at", "2999-01-01T00:00Z"}, exitUsage, "lies in the future"},
		{[]string{"at", "2001-01-01T00:00Z"}, exitFailed, "no event until"},
		{[]string{"at", "1h ago", "--zone", "Mars"}, exitUsage, "zone"},
		{[]string{"diff", "1s ago", "1h ago"}, exitUsage, "the earlier time first"},
		{[]string{"report", "--stories", "1000"}, exitUsage, "want 0 to 100"},
		{[]string{"report", "--md", "--json"}, exitUsage, "can't be used together"},
		{[]string{"report", "--out", filepath.Join(dir, "no", "such", "dir.html")}, exitFailed, "no such file"},
		{[]string{"stats", "--to", "2001-01-01T00:00Z"}, exitFailed, "no event until"},
		{[]string{"--since", "-1h"}, exitUsage, "--since"},
	} {
		if exit, _, errs := cli(t, append(append([]string{"replay"}, tt.args...), "--data", dir)...); exit != tt.exit || !strings.Contains(errs, tt.want) {
			t.Errorf("%v: exit %d, %s, want %d with %q", tt.args, exit, errs, tt.exit, tt.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	half := filepath.Join(t.TempDir(), "half.html")
	for _, args := range [][]string{{"replay"}, {"replay", "incident", "1"}, {"replay", "at", "1h ago"}, {"replay", "report", "--out", half}} {
		var out, errs output
		if exit := execute(ctx, append(args, "--data", dir), console{Out: &out, Err: &errs}); exit != exitDone || out.String() != "" {
			t.Errorf("%v, cut off: exit %d, %s", args, exit, out.String())
		}
	}
	if left, err := os.ReadDir(filepath.Dir(half)); err != nil || len(left) != 0 {
		t.Errorf("what was cut off left %v, %v", left, err)
	}
}

func TestAnIncidentIsCalledByNumberIDOrLast(t *testing.T) {
	for text, want := range map[string]which{
		"3": {number: 3}, "last": {last: true}, "main-41": {connection: "main", id: "main-41"}, "feed-20-7": {connection: "feed-20", id: "feed-20-7"},
	} {
		if got, err := parseWhich(text); err != nil || got != want {
			t.Errorf("parseWhich(%q) = %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "-1", "x", "main-", "main-0", "main-041", "Main-4", "-", "99999999999999999999", "main-99999999999999999999999"} {
		if got, err := parseWhich(text); err == nil || len(err.Error()) > 300 {
			t.Errorf("parseWhich(%q) = %+v, %v, want an error", text, got, err)
		}
	}
}

func FuzzParseWhich(f *testing.F) {
	for _, text := range []string{"3", "last", "main-41", "feed-20-7", "main-", "-1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		w, err := parseWhich(text)
		if err == nil && !w.last && w.number < 1 && (w.id != text || w.connection == "") {
			t.Errorf("parseWhich(%q) = %+v, which is no incident", text, w)
		}
	})
}
