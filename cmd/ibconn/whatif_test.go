package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ibconn/events"
	"ibconn/testenv/gateway"
)

// What a run left behind is played again under a file's policy, from its bus and, once
// it has ended, from its directory.
func TestWhatWouldHaveComeOfAnotherPolicy(t *testing.T) {
	dir := t.TempDir()
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(dir, gw.Addr()))
	at := p.ready()
	gw.Reset()
	p.healthy(at)
	policy := filepath.Join(t.TempDir(), "other.yaml")
	if err := os.WriteFile(policy, []byte("heartbeat: 3s\nbackoff-cap: 5s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(t.TempDir(), "wrong.yaml")
	if err := os.WriteFile(wrong, []byte("heartbeat: never\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func(args ...string) comparison {
		t.Helper()
		var c comparison
		out := cliOK(t, append([]string{"replay", "what-if", "--policy", policy, "--json"}, args...)...)
		if err := json.Unmarshal([]byte(out), &c); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		return c
	}
	judge := func(where string, c comparison) {
		t.Helper()
		if c.Connection != "main" || len(c.Policies) != 1 || c.Recorded.Lost[events.CauseReset] != 1 || c.Policies[0].Late.Lost[events.CauseReset] != 1 || c.Policies[0].Early.Sessions != 2 {
			t.Errorf("%s: %+v, want the reset in each", where, c)
		}
	}
	judge("the bus", ask("--nats", p.url))
	if exit, _, errs := cli(t, "replay", "what-if", "--data", dir, "--policy", policy); exit != exitFailed || !strings.Contains(errs, "in use by process") {
		t.Errorf("of a directory in use: exit %d, %s", exit, errs)
	}
	p.stop()
	judge("the directory", ask("--data", dir))
	if out := cliOK(t, "replay", "what-if", "--data", dir, "--policy", policy, "--zone", "UTC"); !containsAll(out, "recorded", "1 (reset 1)", "false alarms", "not known", "Subscriptions are not played") {
		t.Errorf("printed\n%s", out)
	}
	for _, tt := range []struct {
		args []string
		exit int
		want string
	}{
		{nil, exitUsage, "--policy: want at least one file"},
		{[]string{"--policy", wrong}, exitUsage, "line 1"},
		{[]string{"--policy", "nowhere.yaml"}, exitUsage, "no such file"},
		{[]string{"--policy", policy, "--connection", "Other"}, exitUsage, "Other"},
		{[]string{"--policy", policy, "--connection", "other"}, exitFailed, "no events"},
		{[]string{"--policy", policy, "--from", "tomorrow"}, exitUsage, "--from"},
		{[]string{"--policy", policy, "--to", "2001-01-01T00:00Z"}, exitFailed, "no events"},
		{[]string{"--policy", policy, "--zone", "Mars"}, exitUsage, "zone"},
	} {
		if exit, _, errs := cli(t, append([]string{"replay", "what-if", "--data", dir}, tt.args...)...); exit != tt.exit || !strings.Contains(errs, tt.want) {
			t.Errorf("%v: exit %d, %s, want %d with %q", tt.args, exit, errs, tt.exit, tt.want)
		}
	}
	empty := t.TempDir()
	if exit, _, errs := cli(t, "replay", "what-if", "--data", empty, "--policy", policy); exit != exitFailed || !strings.Contains(errs, "no log in it") {
		t.Errorf("of a directory without a log: exit %d, %s", exit, errs)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs output
	if exit := execute(ctx, []string{"replay", "what-if", "--data", dir, "--policy", policy}, console{Out: &out, Err: &errs}); exit != exitDone || out.String() != "" {
		t.Errorf("cut off: exit %d, %s", exit, out.String())
	}
}
