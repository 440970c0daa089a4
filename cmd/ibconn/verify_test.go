package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/replay/verify"
	"ibconn/testenv/gateway"
)

// verifyJSON verifies, and wants that exit code and JSON that agrees with it.
func verifyJSON(t *testing.T, want int, args ...string) verified {
	t.Helper()
	exit, out, errs := cli(t, append([]string{"replay", "verify", "--json"}, args...)...)
	var v verified
	if err := json.Unmarshal([]byte(out), &v); err != nil || exit != want || errs != "" || v.Sound != (want == exitDone) {
		t.Fatalf("%v: exit %d, %v, %s\n%s", args, exit, err, errs, out)
	}
	return v
}

// TestALogIsVerifiedWhereverItLies verifies what a run recorded: on its bus, in an
// export, and in its data directory; then what was done to each.
func TestALogIsVerifiedWhereverItLies(t *testing.T) {
	noLeaks(t)
	dir, out := t.TempDir(), t.TempDir()
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(dir, gw.Addr()))
	at := p.ready()
	gw.Reset()
	p.healthy(at)
	cliOK(t, "reconnect", "--nats", p.url, "--wait", "10s")
	full, part, hidden := filepath.Join(out, "full.jsonl"), filepath.Join(out, "part.jsonl"), filepath.Join(out, "hidden.jsonl")
	cli(t, "replay", "export", "--nats", p.url, "--out", full)
	cli(t, "replay", "export", "--nats", p.url, "--out", hidden, "--redact")

	if said := cliOK(t, "replay", "verify", "--nats", p.url); !containsAll(said, " events of 1 connection, 1 epoch: sound") {
		t.Errorf("verify says %s", said)
	}
	if said := cliOK(t, "replay", "verify", "--nats", p.url, "--quiet"); said != "" {
		t.Errorf("--quiet says %q", said)
	}
	cliOK(t, "replay", "verify", "--file", full)
	cliOK(t, "replay", "verify", "--file", hidden)
	v := verifyJSON(t, exitDone, "--nats", p.url, "--since", "2s")
	if len(v.Findings) > 0 && v.Findings[0].Kind != verify.Middle {
		t.Errorf("of the last seconds it finds %+v", v.Findings)
	}
	if exit, _, errs := cli(t, "replay", "verify", "--nats", p.url, "--connection", "other"); exit != exitFailed || !strings.Contains(errs, "no event to look at") {
		t.Errorf("another connection: exit %d, %s", exit, errs)
	}
	if exit, _, _ := cli(t, "replay", "verify", "--nats", p.url, "--connection", "not a name"); exit != exitUsage {
		t.Errorf("a name that is none: exit %d", exit)
	}

	// An export that was cut off, and one that was changed.
	b, err := os.ReadFile(full)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(part, b[:len(b)*2/3], 0o600); err != nil {
		t.Fatal(err)
	}
	if v := verifyJSON(t, exitFindings, "--file", part); v.Wrong != 1 || v.Findings[0].Kind != verify.NotReadable || !strings.Contains(v.Findings[0].Words, "cut off") {
		t.Errorf("of a cut export it finds %+v", v.Findings)
	}
	if err := os.WriteFile(part, bytes.Replace(b, []byte("session_opened"), []byte("session_openid"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if v := verifyJSON(t, exitFindings, "--file", part); v.Wrong < 2 || v.Findings[len(v.Findings)-1].Kind == "" {
		t.Errorf("of a changed export it finds %+v", v.Findings)
	}

	// What the run leaves.
	p.stop()
	if said := cliOK(t, "replay", "verify", "--data", dir); !strings.Contains(said, ": sound") {
		t.Errorf("of the data directory verify says %s", said)
	}
	mark := filepath.Join(dir, "highwater-main")
	was, err := os.ReadFile(mark)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(mark, []byte("gone"), 0o600); err != nil {
		t.Fatal(err)
	}
	if v := verifyJSON(t, exitFindings, "--data", dir); v.Wrong != 1 || v.Findings[0].Kind != verify.NotReadable {
		t.Errorf("without its high-water mark it finds %+v", v.Findings)
	}
	if err := os.WriteFile(mark, was, 0o600); err != nil {
		t.Fatal(err)
	}

	// Somebody else writes to it.
	server, err := bus.Open(bus.ServerOptions{StoreDir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	nc := dial(t, server.URL())
	log, err := bus.FindLog(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	var opened bus.Entry
	for e, err := range log.Read(t.Context(), bus.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if _, is := e.Event.(*events.SessionOpened); is {
			opened = e
		}
	}
	foreign, err := events.Head{}.Then(opened.Recorded).Next(events.Author{Connection: "main", Source: "/ibconn/another", NewID: func() string { return "foreign" }},
		events.Draft{Event: &events.FrameRefused{Attempt: 1, MessageID: 3}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Request("ib.log.main.error", foreign.Wire, liveness); err != nil {
		t.Fatal(err)
	}
	v = verifyJSON(t, exitFindings, "--nats", server.URL())
	if v.Wrong != 1 || v.Findings[0].Kind != verify.SecondWriter || v.Findings[0].EventID != "foreign" || !strings.Contains(v.Findings[0].Words, "/ibconn/another") {
		t.Errorf("it finds %+v, want the second writer", v.Findings)
	}
	exit, said, _ := cli(t, "replay", "verify", "--nats", server.URL())
	if exit != exitFindings || !containsAll(said, "damage      main      message ", "-> find out what writes to ib.log", ": 1 finding\n") {
		t.Errorf("exit %d\n%s", exit, said)
	}
	nc.Close()
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestNumbersAreGrouped(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 12345: "12,345", 1234567: "1,234,567"} {
		if got := grouped(n); got != want {
			t.Errorf("grouped(%d) = %s, want %s", n, got, want)
		}
	}
}
