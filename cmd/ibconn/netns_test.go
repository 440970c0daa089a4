//go:build linux

package main

import (
	"crypto/rand"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"ibconn/bus"
	"ibconn/events"
)

// quickArgs are what lets these tests take seconds.
var quickArgs = []string{"--dial-timeout", "1s", "--greeting-timeout", "1s", "--ready-timeout", "2s", "--backoff-cap", "1s", "--breaker-probe", "1s"}

// foundWithin is when a silence is found at the latest with runArgs' interval
// and timeout and two misses, three times over: other programs run here too.
const foundWithin = 3 * 3 * time.Second

func TestAStoppedGatewayProcessIsFound(t *testing.T) {
	noLeaks(t)
	gw := &program{t: t, cmd: asProgram("ibconn", "gateway", "--listen", "127.0.0.1:0")}
	gw.cmd.Stdout, gw.cmd.Stderr = &gw.out, &gw.err
	gw.start()
	p := startRun(t, runArgs(t.TempDir(), gw.out.find(t, `address=(\S+)`), quickArgs...))
	at := p.ready()
	stopped := time.Now()
	gw.signal(syscall.SIGSTOP)
	lost, when := wait(p, at, func(*events.SessionLost) bool { return true })
	if took := when.Time.Sub(stopped); lost.Cause != events.CauseHeartbeatLost || lost.Reasons[0].Attribution != events.AttributionGateway || took > foundWithin {
		t.Errorf("the session was lost by %s, %v after the process stopped, want heartbeat_lost within %v", lost.Cause, took, foundWithin)
	}
	// The system still accepts for a process that is stopped.
	failed, when := wait(p, when.StreamSeq, func(*events.DialFailed) bool { return true })
	if failed.Stage != events.PhaseGreeting || failed.Cause != events.CauseMuteInGreeting {
		t.Errorf("the next attempt failed in %s by %s, want greeting, mute_in_greeting", failed.Stage, failed.Cause)
	}
	gw.signal(syscall.SIGCONT)
	p.healthy(when.StreamSeq)
}

func (p *program) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// TestABlackHoledNetworkIsFound has every packet between the two vanish, which
// no socket is told of: TCP would wait for a quarter of an hour.
func TestABlackHoledNetworkIsFound(t *testing.T) {
	noLeaks(t)
	w := newWire(t)
	gw := w.start(w.far, "gateway", "--listen", farIP+":4002")
	gw.out.find(t, `address=(\S+)`)
	dir := t.TempDir()
	p := w.start(w.near, runArgs(dir, farIP+":4002", quickArgs...)...)
	p.out.find(t, `("event":"state.session_opened")`)

	cut := time.Now()
	w.cut()
	p.out.find(t, `("event":"state.dial_failed")`)
	w.mend()
	p.out.find(t, `(?s)(dial_failed".*"event":"state.link_proven")`)
	p.stop()

	all := stored(t, dir)
	fold(t, all)
	lost, when, rest := firstOf[*events.SessionLost](t, all)
	failed, _, rest := firstOf[*events.DialFailed](t, rest)
	opened, _, rest := firstOf[*events.SessionOpened](t, rest)
	proven, _, _ := firstOf[*events.LinkProven](t, rest)
	if took := when.Sub(cut); took > foundWithin {
		t.Errorf("the session was lost %v after the cut, want within %v", took, foundWithin)
	}
	if lost.Cause != events.CauseNetworkTimeout || lost.Reasons[0].Attribution != events.AttributionNetwork {
		t.Errorf("the session was lost by %s, %+v, want network_timeout, and that it is the network's fault", lost.Cause, lost.Reasons)
	}
	if failed.Stage != events.PhaseDialing || failed.Cause != events.CauseDialTimeout {
		t.Errorf("the next attempt failed in %s by %s, want dialing, dial_timeout", failed.Stage, failed.Cause)
	}
	if proven.Condition != events.ConditionHealthy || opened.Outage <= 0 {
		t.Errorf("with the network back the connection is %s after an outage of %v, want healthy after some", proven.Condition, opened.Outage)
	}
}

// BenchmarkDetectionOfABlackHole is the case of BenchmarkDetection in which every
// packet vanishes. The program is in a network of its own, so what is measured
// is the time until it prints the event, which is after the event was stored.
// Each round takes about 7 seconds, whatever -benchtime says.
func BenchmarkDetectionOfABlackHole(b *testing.B) {
	const rounds = 5
	w := newWire(b)
	w.start(w.far, "gateway", "--listen", farIP+":4002").out.find(b, `address=(\S+)`)
	p := w.start(w.near, runArgs(b.TempDir(), farIP+":4002", append(quickArgs, "--stable-after", "0s")...)...)
	printed := func(event string, n int) {
		b.Helper()
		within(b, event, func() bool { return strings.Count(p.out.String(), `"event":"state.`+event+`"`) >= n })
	}
	printed("session_opened", 1)
	var took []time.Duration
	for b.Loop() {
		for range rounds {
			cut := time.Now()
			w.cut()
			printed("session_lost", len(took)+1)
			took = append(took, time.Since(cut))
			w.mend()
			printed("session_opened", len(took)+1)
		}
	}
	reportTook(b, took)
	b.ReportMetric(silenceBound.Seconds()*1000, "bound-ms")
}

// firstOf returns the first event of type E, when it happened, and what follows it.
func firstOf[E events.Event](t *testing.T, all []bus.Entry) (E, time.Time, []bus.Entry) {
	t.Helper()
	for i, r := range all {
		if e, ok := r.Event.(E); ok {
			return e, r.Time, all[i+1:]
		}
	}
	var none E
	t.Fatalf("there is no %s", none.Type())
	return none, time.Time{}, nil
}

// wire is two network namespaces with a link between them, and nothing else:
// the machine's own network neither sees nor is seen by them.
type wire struct {
	t         testing.TB
	near, far string // the names of the namespaces
}

// The addresses exist inside the namespaces only, so that any will do.
const nearIP, farIP = "10.77.0.1", "10.77.0.2"

// newWire makes a wire that lasts as long as the test. Where that cannot be
// done, the test is skipped; in CI only for want of root or of the ip command.
func newWire(t testing.TB) *wire {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil || os.Getuid() != 0 {
		t.Skip("needs root, and ip of iproute2, to make network namespaces")
	}
	name := "ibconn-" + strings.ToLower(rand.Text()[:10])
	w := &wire{t: t, near: name + "-near", far: name + "-far"}
	for _, namespace := range []string{w.near, w.far} {
		if out, err := exec.Command("ip", "netns", "add", namespace).CombinedOutput(); err != nil {
			if os.Getenv("CI") != "true" {
				t.Skipf("network namespaces cannot be made here: %s", out)
			}
			t.Fatalf("ip netns add %s: %v, %s", namespace, err, out)
		}
		t.Cleanup(func() { w.ip("netns", "del", namespace) }) // and its end of the link, and so the link
		w.ip("-n", namespace, "link", "set", "lo", "up")
	}
	w.ip("-n", w.near, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", w.far)
	for namespace, address := range map[string]string{w.near: nearIP, w.far: farIP} {
		w.ip("-n", namespace, "address", "add", address+"/30", "dev", "wire")
		w.ip("-n", namespace, "link", "set", "wire", "up")
	}
	return w
}

func (w *wire) ip(args ...string) {
	w.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		w.t.Errorf("ip %q: %v, %s", args, err, out)
	}
}

// cut sends every packet to a station that is not there. Unlike a link that is
// down, this is an error nowhere.
func (w *wire) cut() {
	w.t.Helper()
	w.ip("-n", w.near, "neighbour", "replace", farIP, "lladdr", "02:00:00:00:00:00", "dev", "wire", "nud", "permanent")
	w.ip("-n", w.far, "neighbour", "replace", nearIP, "lladdr", "02:00:00:00:00:00", "dev", "wire", "nud", "permanent")
}

func (w *wire) mend() {
	w.t.Helper()
	w.ip("-n", w.near, "neighbour", "delete", farIP, "dev", "wire")
	w.ip("-n", w.far, "neighbour", "delete", nearIP, "dev", "wire")
}

// start runs this program in a namespace.
func (w *wire) start(namespace string, args ...string) *program {
	w.t.Helper()
	return w.run(namespace, asProgram("ibconn", args...))
}
