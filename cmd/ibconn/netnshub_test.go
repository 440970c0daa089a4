//go:build linux

package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"ibconn/bus"
	"ibconn/testenv/hub"
)

// hubSoakLength and hubSoakSeed are how long the hub is broken, and the seed of it.
var hubSoakLength, hubSoakSeed = os.Getenv("IBCONN_HUB_SOAK"), os.Getenv("IBCONN_HUB_SOAK_SEED")

// TestAHubInAnotherNetworkHasEveryEventOnce kills a hub, and has every packet between
// it and us vanish, at random, while events flow.
func TestAHubInAnotherNetworkHasEveryEventOnce(t *testing.T) {
	if raceEnabled {
		t.Skip("it takes its time, and package bus has the same on loopback")
	}
	length, seed := 15*time.Second, rand.Uint64()
	var err error
	if hubSoakLength != "" {
		if length, err = time.ParseDuration(hubSoakLength); err != nil {
			t.Fatalf("IBCONN_HUB_SOAK: %v; want such as 10m", err)
		}
	}
	if hubSoakSeed != "" {
		if seed, err = strconv.ParseUint(hubSoakSeed, 10, 64); err != nil {
			t.Fatalf("IBCONN_HUB_SOAK_SEED: %v; want a number", err)
		}
	}
	t.Logf("run it again: IBCONN_HUB_SOAK=%v IBCONN_HUB_SOAK_SEED=%d go test ./cmd/ibconn -run '^%s$' -count=1 -timeout=0", length, seed, t.Name())
	noLeaks(t)
	w := newWire(t)
	if _, err := exec.LookPath("tc"); err != nil {
		t.Skip("needs tc of iproute2, to slow a network")
	}
	dice := rand.New(rand.NewPCG(seed, 0))
	there, here := t.TempDir(), t.TempDir()
	startHub := func() *program {
		h := w.run(w.far, asProgram("hub", there, farIP+":4222"))
		h.out.find(t, `(?m)^hub (\S+)$`)
		return h
	}
	h := startHub()
	flow := w.run(w.near, asProgram("flow", here, "nats://"+farIP+":4222"))
	flow.out.find(t, `(flowing)`)
	pass := func(d time.Duration) { time.Sleep(time.Duration(dice.Int64N(int64(d)))) }
	struck := 0
	for end := time.Now().Add(length); time.Now().Before(end); struck++ {
		pass(time.Second)
		switch dice.IntN(5) {
		case 0: // the process
			h.kill()
			pass(time.Second)
			h = startHub()
		case 1: // the network, for a moment
			w.cut()
			pass(time.Second)
			w.mend()
		case 2: // the network, for longer than TCP is patient for
			w.cut()
			pass(12 * time.Second)
			w.mend()
		case 3: // a network that is slow
			shape := func(words ...string) {
				if out, err := exec.Command("tc", append([]string{"-n", w.near, "qdisc"}, words...)...).CombinedOutput(); err != nil {
					t.Fatalf("tc qdisc %q: %v, %s", words, err, out)
				}
			}
			shape("add", "dev", "wire", "root", "tbf", "rate", "2mbit", "burst", "16kb", "latency", "400ms")
			pass(4 * time.Second)
			shape("delete", "dev", "wire", "root")
		case 4: // both the process and the network
			w.cut()
			h.kill()
			h = startHub()
			pass(time.Second)
			w.mend()
		}
	}
	flow.stop()
	h.stop()
	t.Logf("broken %d times; %s", struck, flow.out.find(t, `current (.*)`))

	local := stored(t, here)
	fold(t, local)
	s := &hub.Server{Dir: there}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	log, err := bus.FindLog(t.Context(), dial(t, s.URL()))
	if err != nil {
		t.Fatal(err)
	}
	got := readFrom(t, log)
	for i := range min(len(got), len(local)) {
		if !bytes.Equal(got[i].Wire, local[i].Wire) {
			t.Fatalf("event %d on the hub is %s, want %s", i, got[i].Wire, local[i].Wire)
		}
	}
	if len(got) != len(local) {
		t.Fatalf("the hub has %d events, want %d", len(got), len(local))
	}
	t.Logf("%d events, the same on the hub", len(got))
}

// run runs a program in a namespace.
func (w *wire) run(namespace string, cmd *exec.Cmd) *program {
	w.t.Helper()
	inside := exec.Command("ip", append([]string{"netns", "exec", namespace}, cmd.Args...)...)
	inside.Env = cmd.Env
	p := &program{t: w.t, cmd: inside}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	p.start()
	return p
}
