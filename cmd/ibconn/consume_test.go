package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ibconn/bus"
	"ibconn/consumers/status"
	"ibconn/consumers/web"
	"ibconn/events"
	"ibconn/testenv/gateway"
)

// httpLine is where "ibconn run" says where it serves HTTP.
const httpLine = `"metrics":"(http://[^"]+)/metrics"`

// fetch gets a page.
func fetch(t testing.TB, url string) (code int, body string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: liveness}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// counters are the series of a scrape that only events move: no gauge of the time.
func counters(scrape string) []string {
	var all []string
	for line := range strings.Lines(scrape) {
		name, _, _ := strings.Cut(line, "{")
		counted := strings.HasSuffix(name, "_total") || strings.HasSuffix(name, "_sum") || strings.HasSuffix(name, "_count") || strings.HasSuffix(name, "_bucket")
		if counted && !strings.HasPrefix(line, "#") && strings.Contains(line, `connection="main"`) {
			all = append(all, strings.TrimSpace(line))
		}
	}
	return all
}

func TestARunHostsItsConsumersAndACopyElsewhereSaysTheSame(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr()))
	base := p.out.find(t, httpLine)
	at := p.ready()
	gw.FIN()
	p.healthy(at)
	within(t, "the connection ready by /readyz", func() bool { code, _ := fetch(t, base+"/readyz?connection=main"); return code == http.StatusOK })

	var now web.Statuses
	_, body := fetch(t, base+"/status?connection=main")
	if err := json.Unmarshal([]byte(body), &now); err != nil || now.Connections[0].Phase != events.PhaseReady || now.Connections[0].State.Counts.Sessions != 2 {
		t.Errorf("/status is %s, %v, want the second session", body, err)
	}
	statuses, err := bus.FindStatuses(t.Context(), p.nc)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "the same in the bucket", func() bool {
		b, err := statuses.Get(t.Context(), "main")
		if err != nil || b == nil {
			return false
		}
		d, err := status.Decode(b)
		return err == nil && d.Phase == events.PhaseReady && d.State.Counts.Sessions == 2 && !d.Stale(time.Now())
	})

	// What it was as it was lost, from the log alone.
	var lost bus.Entry
	for e, err := range p.log.Read(t.Context(), bus.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := e.Event.(*events.SessionLost); ok {
			lost = e
		}
	}
	_, body = fetch(t, base+"/status?at="+lost.Time.Format(time.RFC3339Nano))
	if err := json.Unmarshal([]byte(body), &now); err != nil || now.Connections[0].Sequence != lost.Sequence || now.Connections[0].Phase != events.PhaseWaiting {
		t.Errorf("/status as of the loss is %s, %v, want sequence %d, waiting", body, err, lost.Sequence)
	}

	ctx, stop := context.WithCancel(t.Context())
	var out, errors output
	ended := make(chan int, 1)
	go func() {
		ended <- execute(ctx, []string{"consume", "--nats", p.url, "--http", "127.0.0.1:0"}, console{Out: &out, Err: &errors})
	}()
	copied := out.find(t, `serving (http://[^/]+)/metrics`)
	within(t, "the copy ready", func() bool { code, _ := fetch(t, copied+"/readyz"); return code == http.StatusOK })
	within(t, "the same counts in both", func() bool {
		_, here := fetch(t, base+"/metrics")
		_, there := fetch(t, copied+"/metrics")
		return len(counters(here)) > 50 && slices.Equal(counters(here), counters(there))
	})
	if _, scrape := fetch(t, copied+"/metrics"); !strings.Contains(scrape, `ibconn_sessions_total{connection="main"} 2`) || strings.Contains(scrape, account) {
		t.Errorf("the copy's scrape lacks the two sessions, or has the account: %s", scrape)
	}
	if exit, _, text := cli(t, "consume", "status", "--nats", p.url); exit != exitFailed || !strings.Contains(text, "lets only the run itself keep this") {
		t.Errorf("consume status beside a run = exit code %d, %q, want 1 and why", exit, text)
	}
	stop()
	if exit := <-ended; exit != exitDone || errors.String() != "" {
		t.Errorf("consume ends with %d, %q", exit, errors.String())
	}
	p.stop()
	if conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://")); err == nil {
		conn.Close()
		t.Error("the run has ended and serves HTTP still")
	}
}

// A consumer that cannot go on is no reason to lose a connection.
func TestAnAddressThatIsTakenCostsNoConnection(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := startRun(t, runArgs(t.TempDir(), gw.Addr(), "--http", l.Addr().String()))
	p.ready()
	p.out.find(t, `(address already in use)`)
	l.Close()
	base := p.out.find(t, httpLine) // once it can
	within(t, "the metrics", func() bool { code, _ := fetch(t, base+"/readyz"); return code == http.StatusOK })
	p.stop()
}

func TestHTTPIsForThisMachineOnly(t *testing.T) {
	for _, args := range [][]string{
		{"run", "--http", "0.0.0.0:8481", "--data", t.TempDir()},
		{"consume", "--http", "0.0.0.0:8481"},
		{"consume", "--http", "8481"},
		{"consume", "dashboards"},
	} {
		if exit, _, text := cli(t, args...); exit != exitUsage {
			t.Errorf("%q = exit code %d, %q, want 2", args, exit, text)
		}
	}
}

// A consumer that stalls stalls nobody: what happens is recorded as before.
func TestAConsumerThatStallsSlowsNoConnection(t *testing.T) {
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr(), "--http", "off", "--repeat-every", "1s"))
	p.ready()
	stalled := &program{t: t, cmd: asProgram("ibconn", "consume", "--nats", p.url, "--http", "127.0.0.1:0")}
	stalled.cmd.Stdout, stalled.cmd.Stderr = &stalled.out, &stalled.err
	stalled.start()
	base := stalled.out.find(t, `serving (http://[^/]+)/metrics`)
	within(t, "the consumer caught up", func() bool { code, _ := fetch(t, base+"/readyz"); return code == http.StatusOK })
	if err := stalled.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	at := p.position()
	const n = 2000
	for i := range n {
		gw.Error(-1, 354, "Requested market data is not subscribed.")
		if i%100 == 99 {
			time.Sleep(time.Millisecond) // the gateway's outbox is bounded
		}
	}
	within(t, "each error on record", func() bool {
		seen := 0
		for e, err := range p.log.Read(t.Context(), bus.Query{After: at, Kinds: []events.Kind{events.KindError}}) {
			if err != nil {
				t.Fatal(err)
			}
			seen += said(e.Event, 354)
		}
		return seen >= n
	})
	if s := p.status().State; s.Phase != events.PhaseReady || s.Counts.Losses != 0 {
		t.Errorf("the connection is %s after %d losses, want it ready as before", s.Phase, s.Counts.Losses)
	}
	if err := stalled.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	within(t, "the consumer with each of them, once", func() bool {
		_, scrape := fetch(t, base+"/metrics")
		return strings.Contains(scrape, `ibconn_gateway_reports_total{class="entitlement",code="354",connection="main"} 2000`)
	})
	stalled.stop()
	p.stop()
}
