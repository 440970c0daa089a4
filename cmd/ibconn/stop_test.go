package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"syscall"
	"testing"

	"ibconn/events"
	"ibconn/testenv/gateway"
)

func TestATermSignalEndsInOrder(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			noLeaks(t)
			gw := gateway.Start(t, simulated)
			dir := t.TempDir()
			p := startProcess(t, runArgs(dir, gw.Addr()))
			p.ready()
			if err := p.cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			// After endWithin it would have been exitFailed.
			if exit := p.exit(); exit != exitDone {
				t.Errorf("exit code = %d, %q, want 0", exit, p.err.String())
			}
			left(t, gw)
			if ended := gw.Stats().Ended; ended[gateway.ClientClosed] != 1 || len(ended) != 1 {
				t.Errorf("the gateway saw the sessions end by %v, want one FIN", ended)
			}
			all := stored(t, dir)
			state := fold(t, all)
			stopped, ok := all[len(all)-1].Event.(*events.Stopped)
			if !ok || stopped.Cause != events.CauseShutdown || stopped.Uptime <= 0 {
				t.Errorf("the log ends with %s, want stopped by shutdown, with how long the session was up", all[len(all)-1].Wire)
			}
			if !state.Wanted {
				t.Error("after a signal the connection is not wanted any more, want it to come back at the next start")
			}
		})
	}
}

// A program whose output nobody reads cannot end in order.
func TestAProgramThatCannotEndIsEnded(t *testing.T) {
	for _, test := range []struct {
		name    string
		signals int
		signal  syscall.Signal // that ended it; 0 when it ended by itself
		exit    int
	}{
		{"by itself in the end", 1, 0, exitFailed},
		{"at once by a second signal", 2, syscall.SIGTERM, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			noLeaks(t)
			gw := gateway.Start(t, simulated)
			read, write, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer read.Close()
			p := &program{t: t}
			p.cmd = asProgram("ibconn", runArgs(t.TempDir(), gw.Addr())...)
			p.cmd.Stdout, p.cmd.Stderr = write, &p.err
			p.start()
			_ = write.Close()
			// Until it is up its output is read, and then no more.
			for up := regexp.MustCompile(urlLine); !up.MatchString(p.out.String()); {
				some := make([]byte, 64)
				if _, err := io.ReadFull(read, some); err != nil {
					t.Fatal(err)
				}
				_, _ = p.out.Write(some)
			}
			p.connect(p.out.find(t, urlLine))
			at := p.ready()
			const fill = 1000 // lines, of more than 64 bytes each: what a pipe holds
			for n := range fill {
				gw.Error(-1, 399, fmt.Sprintf("line %d of output that nobody reads", n))
			}
			n := 0
			wait(p, at, func(*events.GatewayReported) bool { n++; return n == fill })

			p.end()
			wait(p, at, func(*events.Stopped) bool { return true })
			if test.signals == 2 {
				p.end()
			}
			exit := p.exit()
			status := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
			if exit != test.exit || (test.signal != 0 && status.Signal() != test.signal) {
				t.Errorf("it ended with exit code %d, %v, want %d by signal %v", exit, status, test.exit, test.signal)
			}
			if said := containsAll(p.err.String(), "did not end within 2s"); said != (test.signal == 0) {
				t.Errorf("it said %q", p.err.String())
			}
		})
	}
}

func TestADisconnectLastsOverARestartUntilConnect(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	dir := t.TempDir()
	p := startRun(t, runArgs(dir, gw.Addr()))
	p.ready()
	if out := cliOK(t, "disconnect", "--nats", p.url, "--id", "d1", "--wait", "20s"); out != "disconnect main: completed (command d1)\n" {
		t.Errorf("disconnect says %q", out)
	}
	p.stop()

	p = startRun(t, runArgs(dir, gw.Addr()))
	wait(p, 0, func(e *events.EpochBegan) bool { return e.PreviousEpoch == 1 })
	within(t, "the second epoch", func() bool { return p.status().State.Epoch == 2 })
	exit, out, _ := cli(t, "status", "--nats", p.url, "--check")
	if exit != exitUnhealthy || !containsAll(out, "main: stopped") {
		t.Errorf("status --check after the restart = exit code %d, %q, want 4, stopped", exit, out)
	}
	exit, _, text := cli(t, "reconnect", "--nats", p.url)
	if exit != exitFailed || !containsAll(text, "send connect instead") {
		t.Errorf("reconnect while stopped = exit code %d, %q, want 1 and what to do instead", exit, text)
	}
	if n := gw.Stats().Accepted; n != 1 {
		t.Errorf("the gateway was dialled %d times, want once", n)
	}
	cliOK(t, "connect", "--nats", p.url, "--wait", "20s")
	if out := cliOK(t, "status", "--nats", p.url, "--check"); !containsAll(out, "main: healthy") {
		t.Errorf("status --check after connect says %q, want healthy", out)
	}
}

func TestAStartUnderAnOldFailureDialsAtOnce(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	if err := gw.Refuse(true); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := startRun(t, runArgs(dir, gw.Addr(), "--breaker-after", "2", "--breaker-probe", "1h"))
	wait(p, 0, func(*events.BreakerOpened) bool { return true })
	within(t, "status of an open breaker", func() bool { return p.status().State.Breaker.Open })
	out := cliOK(t, "status", "--nats", p.url)
	if !containsAll(out, "main: down (tripped for", "nothing listens on the gateway's port", "next try   in ", "after 2 failures in a row") {
		t.Errorf("status of an open breaker says %q", out)
	}
	p.stop()
	if err := gw.Refuse(false); err != nil {
		t.Fatal(err)
	}
	p = startRun(t, runArgs(dir, gw.Addr(), "--breaker-after", "2", "--breaker-probe", "1h"))
	p.ready()
}
