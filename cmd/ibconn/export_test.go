package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ibconn/events"
	"ibconn/replay/export"
	"ibconn/testenv/gateway"
)

// A night is exported from a bus and from what the run left behind, read as a file,
// imported and played.
func TestANightIsExportedImportedAndPlayed(t *testing.T) {
	noLeaks(t)
	dir, out := t.TempDir(), t.TempDir()
	path := func(name string) string { return filepath.Join(out, name) }
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(dir, gw.Addr()))
	at := p.ready()
	gw.Reset()
	p.healthy(at)
	cliOK(t, "reconnect", "--nats", p.url, "--reason", "my secret", "--wait", "10s")

	export := func(name string, args ...string) string {
		t.Helper()
		exit, _, errs := cli(t, append([]string{"replay", "export", "--out", path(name)}, args...)...)
		if exit != exitDone || !strings.Contains(errs, "messages") {
			t.Fatalf("%v: exit %d, %s", args, exit, errs)
		}
		b, err := os.ReadFile(path(name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	bus := "--nats=" + p.url
	export("night.jsonl.zst", bus)
	if plain := export("night.jsonl", bus); !containsAll(plain, "my secret", `"connections":["main"]`, `"source":"a bus, nats://`, `{"end":true,`) {
		t.Errorf("exported\n%s", plain)
	}
	if hidden := export("hidden.jsonl", bus, "--redact"); strings.Contains(hidden, "my secret") || !containsAll(hidden, `"redacted":true`, `"source":"a bus"`) {
		t.Errorf("redacted\n%s", hidden)
	}
	if again := export("again.jsonl", "--file", path("hidden.jsonl")); !strings.Contains(again, `"redacted":true`) {
		t.Error("an export of what is redacted does not say that it is")
	}

	// The import is beside the log, under another name.
	said := cliOK(t, "replay", "import", "--file", path("night.jsonl.zst"), "--as", "night", bus)
	if !containsAll(said, "of main are imported as night", "--imported night") {
		t.Errorf("import says %s", said)
	}
	for _, name := range []string{"night", "main"} {
		if exit, _, errs := cli(t, "replay", "import", "--file", path("night.jsonl"), "--as", name, bus); exit != exitFailed || !strings.Contains(errs, "taken") {
			t.Errorf("imported as %s: exit %d, %s", name, exit, errs)
		}
	}
	if imported := export("imported.jsonl", bus, "--imported", "night"); !containsAll(imported, `"source":"/ibconn/import/night/`, `"subject":"night"`) || strings.Contains(imported, `"subject":"main"`) {
		t.Errorf("imported\n%s", imported)
	}
	cliOK(t, "replay", "import", "--file", path("hidden.jsonl"), "--as", "hidden", bus)
	if imported := export("imported-hidden.jsonl", bus, "--imported", "hidden"); !strings.Contains(imported, `"redacted":true`) {
		t.Error("an import of what is redacted does not say that it is")
	}
	if exit, _, errs := cli(t, "replay", "export", bus, "--imported", "other", "--out", "-"); exit != exitFailed || !strings.Contains(errs, "no import of that name") {
		t.Errorf("an import that is not there: exit %d, %s", exit, errs)
	}

	// It is played as the feed had it, and nobody takes it for the feed.
	nc := dial(t, p.url)
	played, err := nc.SubscribeSync("ib.replay.*")
	if err != nil {
		t.Fatal(err)
	}
	feed, err := nc.SubscribeSync(events.FeedSubjects)
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if said := cliOK(t, "replay", "play", "--file", path("night.jsonl"), "--speed", "max", bus); !strings.Contains(said, "were played on ib.replay.*") {
		t.Errorf("play says %s", said)
	}
	count := 0
	for _, s := range messagesOf(t, path("night.jsonl")) {
		m, err := played.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatalf("message %d: %v", count, err)
		}
		count++
		_, kind, err := events.ParseLogSubject(s.subject)
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject != "ib.replay."+string(kind) || string(m.Data) != s.payload || m.Header.Get("Ib-Replay") != "max" ||
			m.Header.Get("Ib-Replay-Sequence") == "" || m.Header.Get("Ib-Replay-Subject") != s.subject || m.Header.Get("Ib-Replay-Time") == "" {
			t.Errorf("message %d on %s has %v", count, m.Subject, m.Header)
		}
	}
	for {
		m, err := feed.NextMsg(10 * time.Millisecond)
		if err != nil {
			break
		}
		if m.Header.Get("Ib-Replay") != "" {
			t.Errorf("what was played is on %s", m.Subject)
		}
	}

	// Every command of replay reads a file, standard input and an import like the bus.
	policy := filepath.Join(t.TempDir(), "other.yaml")
	if err := os.WriteFile(policy, []byte("heartbeat: 3s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var first comparison
	for i, args := range [][]string{{"--file", path("night.jsonl")}, {"--file", path("night.jsonl.zst")}, {"--file", path("hidden.jsonl")}, {bus, "--imported", "night"}} {
		var c comparison
		said := cliOK(t, append([]string{"replay", "what-if", "--policy", policy, "--json"}, args...)...)
		if err := json.Unmarshal([]byte(said), &c); err != nil {
			t.Fatalf("%s: %v", said, err)
		}
		if i == 0 {
			first = c
		}
		if c.Recorded.Lost[events.CauseReset] != 1 || !c.From.Equal(first.From) || !c.To.Equal(first.To) || c.Recorded.Down != first.Recorded.Down {
			t.Errorf("%v: %+v, want as of the first, %+v", args, c.Recorded, first.Recorded)
		}
	}
	p.stop()

	// What a run left behind is the same log, and more.
	left, before := export("left.jsonl", "--data", dir), messagesOf(t, path("night.jsonl"))
	if !strings.Contains(left, `"source":"a data directory, `) {
		t.Errorf("of a directory\n%s", left)
	}
	for i, s := range messagesOf(t, path("left.jsonl"))[:len(before)] {
		if s != before[i] {
			t.Errorf("message %d is %v, and was %v", i, s, before[i])
		}
	}
}

type message struct{ subject, payload string }

func messagesOf(t *testing.T, path string) (all []message) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	for _, line := range lines[1 : len(lines)-1] {
		i := strings.LastIndex(line, `,"logsubject":"`)
		var place struct{ LogSubject string }
		if err := json.Unmarshal([]byte(line), &place); err != nil || i < 0 {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, message{place.LogSubject, line[:i] + "}"})
	}
	return all
}

// The exports that are read for ever, on the command line.
var golden = filepath.Join("..", "..", "replay", "export", "testdata", "v1-night.jsonl")

func TestASpanIsExported(t *testing.T) {
	out := filepath.Join(t.TempDir(), "span.jsonl")
	exit, _, errs := cli(t, "replay", "export", "--file", golden, "--out", out, "--from", "2026-11-23T09:16:00Z", "--to", "2026-11-23T09:16:10Z", "--connection", "main")
	if exit != exitDone || !strings.Contains(errs, "What was before is not in it") {
		t.Errorf("exit %d, %s", exit, errs)
	}
	x, err := export.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	again := filepath.Join(t.TempDir(), "again.jsonl")
	if _, _, errs := cli(t, "replay", "export", "--file", out, "--out", again); !strings.Contains(errs, "What was before is not in it") {
		t.Errorf("of a span of a span: %s", errs)
	}
	if b, err := os.ReadFile(again); err != nil || !strings.Contains(string(b), `"from":"2026-11-23T09:16:00Z","to":"2026-11-23T09:16:10Z"`) {
		t.Errorf("a span of a span does not say that it is one, %v", err)
	}
	if h := x.Header(); !h.Partial() || len(h.Connections) != 1 || h.From.IsZero() || h.To.IsZero() {
		t.Errorf("the header is %+v", h)
	}
	all := messagesOf(t, out)
	if len(all) == 0 || len(all) > 10 {
		t.Errorf("%d messages, want those of ten seconds", len(all))
	}
	for _, m := range all {
		if r, err := events.Decode([]byte(m.payload)); err != nil || r.Connection != "main" || r.Time.Minute() != 16 || r.Time.Second() > 10 {
			t.Errorf("%v of %s at %v is in it", err, r.Connection, r.Time)
		}
	}
}

func TestWhatIsWrongWithAnExportIsSaid(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	b, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	whole := string(b)
	cut := file("cut.jsonl", whole[:len(whole)-200])
	changed := file("changed.jsonl", strings.Replace(whole, "weekly restart", "weekly_restart", 1))
	there := file("there.jsonl", "mine")
	for _, tt := range []struct {
		args []string
		exit int
		want string
	}{
		{[]string{"export", "--file", cut, "--out", filepath.Join(dir, "new.jsonl")}, exitFailed, "cut.jsonl, line 64: the export ends here"},
		{[]string{"export", "--file", changed, "--out", filepath.Join(dir, "new.jsonl")}, exitFailed, "the export was changed"},
		{[]string{"export", "--file", there, "--out", "-"}, exitFailed, "there.jsonl, line 1: it is no export"},
		{[]string{"export", "--file", filepath.Join(dir, "none"), "--out", "-"}, exitFailed, "no such file"},
		{[]string{"export", "--file", golden, "--out", there}, exitUsage, "--force"},
		{[]string{"export", "--file", golden, "--out", filepath.Join(dir, "no", "where")}, exitFailed, "no such file"},
		{[]string{"export", "--file", golden, "--data", dir, "--out", "-"}, exitUsage, "--data"},
		{[]string{"export", "--file", golden}, exitUsage, "--out"},
		{[]string{"export", "--file", golden, "--connection", "A B", "--out", "-"}, exitUsage, "connection name"},
		{[]string{"import", "--file", golden, "--as", "A"}, exitUsage, "--as"},
		{[]string{"import", "--file", golden, "--as", "night"}, exitUsage, "the connections main, other"},
		{[]string{"import", "--file", there, "--as", "night"}, exitFailed, "it is no export"},
		{[]string{"play", "--file", golden, "--speed", "fast"}, exitUsage, "--speed"},
		{[]string{"play", "--file", golden, "--to", "ib.conn"}, exitUsage, "all but ib.replay is ibconn's own"},
		{[]string{"play", "--file", golden, "--to", "ib.>"}, exitUsage, "--to"},
		{[]string{"play", "--file", golden, "--skip-idle=-1s"}, exitUsage, "--skip-idle"},
		{[]string{"play", "--file", golden, "--connection", "*"}, exitUsage, "connection name"},
	} {
		exit, _, errs := cli(t, append([]string{"replay"}, tt.args...)...)
		if exit != tt.exit || !strings.Contains(errs, tt.want) {
			t.Errorf("%v: exit %d, %s, want %d with %q", tt.args, exit, errs, tt.exit, tt.want)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*new*")); len(left) != 0 || err != nil {
		t.Errorf("%v is left of exports that failed, %v", left, err)
	}
	if b, err := os.ReadFile(there); string(b) != "mine" || err != nil {
		t.Errorf("the file that was there is %q, %v", b, err)
	}
}

func TestAnExportThatIsInterruptedLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs output
	exit := execute(ctx, []string{"replay", "export", "--file", golden, "--out", filepath.Join(dir, "night.jsonl")}, console{Out: &out, Err: &errs})
	if exit != exitFailed || !strings.Contains(errs.String(), "interrupted: nothing was written") {
		t.Errorf("exit %d, %s", exit, errs.String())
	}
	if left, err := os.ReadDir(dir); len(left) != 0 || err != nil {
		t.Errorf("%v is left, %v", left, err)
	}
}
