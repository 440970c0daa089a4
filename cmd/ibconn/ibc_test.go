package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/testenv/gateway"
)

// fakeIBC is IBC's command server as far as a client sees it.
type fakeIBC struct {
	addr    string
	answers map[string]string // by command

	mu   sync.Mutex
	came []string
}

// startIBC starts an IBC that greets with INFO and a prompt. It ends with the
// test.
func startIBC(t testing.TB, answers map[string]string) *fakeIBC {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeIBC{addr: l.Addr().String(), answers: answers}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { f.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return f
}

func (f *fakeIBC) serve(c net.Conn) {
	defer c.Close()
	const prompt = "IBC> "
	io.WriteString(c, "INFO IBC Command Server\r\n"+prompt)
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return
	}
	command := strings.TrimRight(line, "\r\n")
	f.mu.Lock()
	f.came = append(f.came, command)
	f.mu.Unlock()
	io.WriteString(c, f.answers[command]+"\r\n"+prompt)
}

// asked returns the commands that came.
func (f *fakeIBC) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.came)
}

func goodIBC(t testing.TB) *fakeIBC {
	return startIBC(t, map[string]string{
		"RECONNECTDATA":    "OK ",
		"RECONNECTACCOUNT": "ERROR not now, " + account,
		"RESTART":          "INFO Restarting\r\nOK RESTART at 03:14 AM",
	})
}

func answerOf(t testing.TB, m *nats.Msg) (a events.Answer) {
	t.Helper()
	validate(t, events.SchemaAnswer, m.Data)
	if err := json.Unmarshal(m.Data, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestControlCommandsGoFromTheBusToIBC(t *testing.T) {
	noLeaks(t)
	ibc, gw := goodIBC(t), gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr(), "--ibc", ibc.addr))
	at := p.ready()

	// As nats req sends it, twice.
	const subject, payload = "ib.cmd.main.restart-gateway", `{"id":"x1","reason":"feed is dead","wait":"20s"}`
	for range 2 {
		a := answerOf(t, raw(t, p.nc, subject, payload))
		if !a.OK || a.Status != events.StatusCompleted || a.CommandID != "x1" || a.Said != "RESTART at 03:14 AM" {
			t.Errorf("restart-gateway answers %+v, want completed with IBC's words", a)
		}
	}
	begun, begunAt := wait(p, at, func(*events.CommandBegun) bool { return true })
	done, doneAt := wait(p, at, func(*events.CommandCompleted) bool { return true })
	if begun.CommandID != "x1" || done.Said != "RESTART at 03:14 AM" || begunAt.Sequence >= doneAt.Sequence || doneAt.Causation != "x1" {
		t.Errorf("on record are %+v as %d and %+v as %d by %q, want x1 begun, then completed", begun, begunAt.Sequence, done, doneAt.Sequence, doneAt.Causation)
	}
	if got := ibc.asked(); !slices.Equal(got, []string{"RESTART"}) {
		t.Errorf("IBC was asked for %q, want a restart, once", got)
	}

	// As programs send it.
	a, err := bus.Ask(t.Context(), p.nc, "main", events.VerbReconnectAccount, events.Request{Wait: events.Wait(liveness)})
	if err != nil || a.OK || a.Error.Code != events.ErrorGatewayRefused || !strings.Contains(a.Error.Message, "not now, DU***67") {
		t.Errorf("reconnect-account = %+v with %v, %v, want IBC's refusal, masked", a, a.Error, err)
	}

	// As people do.
	if out := cliOK(t, "restart-gateway", "--nats", p.url, "--id", "x1", "--wait", "20s"); !containsAll(out, "restart-gateway main: completed (command x1)", "IBC says: RESTART at 03:14 AM") {
		t.Errorf("restart-gateway prints %q", out)
	}
	if out := cliOK(t, "reconnect-data", "--nats", p.url, "--wait", "20s"); !strings.Contains(out, "reconnect-data main: completed") {
		t.Errorf("reconnect-data prints %q", out)
	}
	exit, _, text := cli(t, "reconnect-account", "--nats", p.url, "--wait", "20s")
	if exit != exitFailed || !containsAll(text, "refused RECONNECTACCOUNT: not now") {
		t.Errorf("reconnect-account = exit code %d, %q, want 1 and IBC's refusal", exit, text)
	}
	if got := ibc.asked(); !slices.Equal(got, []string{"RESTART", "RECONNECTACCOUNT", "RECONNECTDATA", "RECONNECTACCOUNT"}) {
		t.Errorf("IBC was asked for %q, want each command once", got)
	}
	p.out.find(t, `(restart-gateway x1 completed in [^"]*; IBC says: RESTART at 03:14 AM)`)
	if strings.Contains(p.out.String(), account) {
		t.Error("the account id is in the log lines")
	}
	if s := p.status().State; s.Condition != events.ConditionHealthy || s.Attempt.Number != 1 || len(s.Pending) != 0 {
		t.Errorf("the connection is %s in attempt %d with %+v pending, want it untouched", s.Condition, s.Attempt.Number, s.Pending)
	}
	p.stop()
}

// The gateway may be in trouble, and the connection stopped: that is when a
// restart is wanted.
func TestControlCommandsAreTakenWithoutAGatewayAndWhileStopped(t *testing.T) {
	noLeaks(t)
	ibc := goodIBC(t)
	p := startRun(t, runArgs(t.TempDir(), "127.0.0.1:1", "--ibc", ibc.addr))
	for _, id := range []string{"while-down", "while-stopped"} {
		a := answerOf(t, raw(t, p.nc, "ib.cmd.main.reconnect-data", `{"id":"`+id+`","wait":"20s"}`))
		if !a.OK || a.Status != events.StatusCompleted {
			t.Errorf("reconnect-data %s answers %+v, want completed", id, a)
		}
		cliOK(t, "disconnect", "--nats", p.url, "--wait", "20s")
	}
	if got := ibc.asked(); len(got) != 2 {
		t.Errorf("IBC was asked for %q, want 2 commands", got)
	}
	p.stop()
}

func TestAnIBCThatIsNotThereIsSaidSo(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr(), "--ibc", "127.0.0.1:1"))
	p.ready()
	a := answerOf(t, raw(t, p.nc, "ib.cmd.main.restart-gateway", `{"wait":"20s"}`))
	if a.OK || a.Status != events.StatusFailed || a.Error.Code != events.ErrorIBCUnreachable || !containsAll(a.Error.Message, "127.0.0.1:1", "CommandServerPort") {
		t.Errorf("restart-gateway answers %+v with %+v, want ibc_unreachable, and what to look at", a, a.Error)
	}
	exit, _, text := cli(t, "restart-gateway", "--nats", p.url, "--wait", "20s")
	if exit != exitFailed || !containsAll(text, "IBC cannot be asked", "CommandServerPort") {
		t.Errorf("restart-gateway = exit code %d, %q, want 1 and what to look at", exit, text)
	}
	p.stop()
}

func TestWithoutIBCNobodyTakesControlCommands(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr()))
	p.ready()
	for _, verb := range events.Verbs {
		if !verb.Control() {
			continue
		}
		if m, err := p.nc.Request(events.CommandSubject("main", verb), nil, liveness); !errors.Is(err, nats.ErrNoResponders) {
			t.Errorf("request of %s = %v, %v, want %v", verb, m, err, nats.ErrNoResponders)
		}
		exit, _, text := cli(t, string(verb), "--nats", p.url)
		want := `connection "main" takes no command "` + string(verb) + `"; it takes: cancel, connect, contract, disconnect, history, reconnect, status, subscribe, subscriptions`
		if exit != exitFailed || !strings.Contains(text, want) {
			t.Errorf("%s = exit code %d, %q, want 1 and %q", verb, exit, text, want)
		}
	}
	p.stop()
}
