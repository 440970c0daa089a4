package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ibconn/consumers/alerts"
	"ibconn/consumers/incidents"
	"ibconn/events"
	"ibconn/testenv/gateway"
)

// webhook is a receiver of alerts.
type webhook struct {
	*httptest.Server
	mu   sync.Mutex
	got  []alerts.Alert
	text strings.Builder
}

func newWebhook(t testing.TB) *webhook {
	w := &webhook{}
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		var a alerts.Alert
		if err == nil {
			err = json.Unmarshal(body, &a)
		}
		if err != nil || q.Header.Get(alerts.HeaderIdempotencyKey) != a.ID || !strings.HasSuffix(q.URL.Path, "/T0SECRET") {
			t.Errorf("%s %v %s, %v", q.URL, q.Header, body, err)
			rw.WriteHeader(http.StatusBadRequest)
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.got = append(w.got, a)
		w.text.Write(body)
		fmt.Fprint(rw, "ok")
	}))
	t.Cleanup(w.Close)
	return w
}

// states returns what was told by a rule, oldest first.
func (w *webhook) states(rule string) (all []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.got {
		if a.Rule == rule {
			all = append(all, string(a.State))
		}
	}
	return all
}

// file writes a file of rules with the webhook in it.
func (w *webhook) file(t testing.TB, rules string) string {
	t.Helper()
	dir := t.TempDir()
	url, file := filepath.Join(dir, "url"), filepath.Join(dir, "alerts.yml")
	for name, text := range map[string]string{url: w.URL + "/T0SECRET\n", file: "receivers: [{name: ops, url_file: " + url + "}]\n" + rules} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

func refuse(t testing.TB, gw *gateway.Gateway, on bool) {
	t.Helper()
	if err := gw.Refuse(on); err != nil {
		t.Fatal(err)
	}
}

// TestARunPagesOnceOverItsOwnDeath has a gateway that dies, a run that is killed
// while it is dead, and a gateway that is back.
func TestARunPagesOnceOverItsOwnDeath(t *testing.T) {
	if raceEnabled {
		t.Skip("it waits for a minute, and package alerts has the same in a bubble")
	}
	hook := newWebhook(t)
	file := hook.file(t, "rules: [{name: outage, on: incident, worst: down, severity: page, after: 3s}]\n")
	gw := gateway.Start(t, simulated)
	args := runArgs(t.TempDir(), gw.Addr(), "--alerts", file)
	p := startProcess(t, args)
	at := p.ready()

	// A blip pages nobody.
	gw.Reset()
	p.healthy(at)

	refuse(t, gw, true)
	gw.Reset()
	within(t, "the page", func() bool { return len(hook.states("outage")) == 1 })
	a := hook.got[0]
	if a.State != alerts.Opened || a.Severity != alerts.Page || a.Connection != "main" || time.Since(a.BeganAt) < 3*time.Second {
		t.Errorf("the page is %+v, %v after it began", a, time.Since(a.BeganAt))
	}
	p.out.find(t, `("an alert was told")`)
	p.kill()
	again := startProcess(t, args)
	time.Sleep(alerts.Grace + 2*time.Second) // by then it would have paged
	if got := hook.states("outage"); len(got) != 1 {
		t.Errorf("the next process told %q, want nothing again", got)
	}
	settling := time.Now()
	refuse(t, gw, false)
	within(t, "a session", func() bool { return again.status().State.Phase == events.PhaseReady })
	within(t, "most of the time until it counts as over", func() bool { return time.Since(settling) > incidents.DefaultSettle-5*time.Second })
	within(t, "the end", func() bool { return len(hook.states("outage")) == 2 })
	again.stop()
	last := startProcess(t, args)
	last.ready()
	time.Sleep(alerts.Grace + 2*time.Second)
	last.stop()
	if got := hook.states("outage"); !slices.Equal(got, []string{"opened", "resolved"}) || hook.got[0].About != hook.got[1].About {
		t.Errorf("told %q, want one opened and resolved", got)
	}
	if strings.Contains(hook.text.String(), account) {
		t.Error("the account was told")
	}
	for _, q := range []*program{p, again, last} {
		if text := q.out.String() + q.err.String(); strings.Contains(text, "T0SECRET") {
			t.Errorf("the secret stands in %s", text)
		}
	}
}

// TestAlertsElsewhereTellThatARunDied has the alerts in a process of their own,
// which is an outsider to the bus.
func TestAlertsElsewhereTellThatARunDied(t *testing.T) {
	hook := newWebhook(t)
	file := hook.file(t, "rules: [{name: bus, on: bus, severity: page, after: 2s}, {name: outage, on: incident, severity: page, after: 1s}]\n")
	gw := gateway.Start(t, simulated)
	dir := t.TempDir()
	p := startProcess(t, runArgs(dir, gw.Addr()))
	p.ready()
	ctx, stop := context.WithCancel(t.Context())
	var out, errs output
	ended := make(chan int, 1)
	go func() {
		ended <- execute(ctx, []string{"consume", "alerts", "--alerts", file, "--nats", p.url}, console{Out: &out, Err: &errs})
	}()
	out.find(t, `(alerts go to ops at 127.0.0.1)`)
	refuse(t, gw, true)
	gw.Reset()
	within(t, "the outage", func() bool { return slices.Equal(hook.states("outage"), []string{"opened"}) })
	p.kill()
	errs.find(t, `(the bus cannot be reached)`)
	within(t, "that the bus is away", func() bool { return slices.Equal(hook.states("bus"), []string{"opened"}) })
	refuse(t, gw, false)
	again := startProcess(t, runArgs(dir, gw.Addr(), "--listen", strings.TrimPrefix(p.url, "nats://")))
	within(t, "that it is back", func() bool { return slices.Equal(hook.states("bus"), []string{"opened", "resolved"}) })
	if got := hook.states("outage"); len(got) != 1 {
		t.Errorf("of the outage it told %q, want nothing again", got)
	}
	stop()
	if exit := <-ended; exit != exitDone || strings.Contains(errs.String()+out.String(), "T0SECRET") {
		t.Errorf("consume alerts ends with %d and says %q", exit, errs.String())
	}
	again.stop()
}

func TestReceiversAreTried(t *testing.T) {
	hook := newWebhook(t)
	file := hook.file(t, "")
	if text := cliOK(t, "consume", "alerts", "--alerts", file, "--test"); !containsAll(text, "ops at 127.0.0.1", "200 OK ok") || strings.Contains(text, "T0SECRET") {
		t.Errorf("--test says %q", text)
	}
	if len(hook.got) != 1 || hook.got[0].State != alerts.Test {
		t.Errorf("it sent %+v, want one test", hook.got)
	}
	hook.Close()
	exit, text, problem := cli(t, "consume", "alerts", "--alerts", file, "--test")
	if exit != exitFailed || !containsAll(text, "ops at 127.0.0.1", "FAILED") || !strings.Contains(problem, "not told: ops") || strings.Contains(text+problem, "T0SECRET") {
		t.Errorf("--test of one that is away = exit code %d, %q, %q", exit, text, problem)
	}
	wrong := hook.file(t, "rules: [{name: a, on: moon, severity: page}]\n")
	for _, args := range [][]string{
		{"consume", "alerts"},
		{"consume", "--test"},
		{"consume", "alerts", "--alerts", wrong},
		{"run", "--alerts", wrong, "--data", t.TempDir()},
		{"run", "--alerts", wrong + ".none", "--data", t.TempDir()},
	} {
		if exit, _, text := cli(t, args...); exit != exitUsage {
			t.Errorf("%q = exit code %d, %q, want 2", args, exit, text)
		}
	}
	if _, _, text := cli(t, "run", "--alerts", wrong, "--data", t.TempDir()); !strings.Contains(text, "alerts.yml:2: on: ") {
		t.Errorf("run says %q, want the place in the file", text)
	}
}
