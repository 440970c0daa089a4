package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/testenv/gateway"
)

func TestHelpNamesEveryVerb(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {}} {
		out := cliOK(t, args...)
		for _, verb := range []string{"demo", "run", "watch", "status", "reconnect", "connect", "disconnect", "contract", "history", "subscribe", "cancel", "subscriptions", "reconnect-data", "reconnect-account", "restart-gateway", "doctor", "gateway", "schema", "version"} {
			if !strings.Contains(out, "\n  "+verb+" ") {
				t.Errorf("ibconn %q does not name %s:\n%s", args, verb, out)
			}
		}
	}
	if out := cliOK(t, "run", "--help"); !containsAll(out, "--client-id", "$IBCONN_CLIENT_ID", "127.0.0.1:4002") {
		t.Errorf("run --help does not tell flag, environment and default:\n%s", out)
	}
	if out := cliOK(t, "gateway", "--help"); !containsAll(out, "--max-rate=50", "$IBCONN_MAX_RATE", "error 100", "0 for no limit",
		"--[no-]history-pacing", "--lines=100", "error 101", "--hours") {
		t.Errorf("gateway --help does not tell of the rate:\n%s", out)
	}
}

func TestWrongWordsAreAUsageError(t *testing.T) {
	scenario := filepath.Join(t.TempDir(), "night.scenario")
	if err := os.WriteFile(scenario, []byte("at 1s reset\nat 2s explode\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"explode"}, "unexpected argument explode"},
		{[]string{"run", "--explode"}, "unknown flag --explode"},
		{[]string{"run", "--client-id", "many"}, `--client-id: expected a valid 64 bit int but got "many"`},
		{[]string{"run", "--heartbeat", "5"}, "--heartbeat: expected duration"},
		{[]string{"run", "--connection", "A B"}, `connection name "A B": want 1 to 32 of a-z, 0-9 and '-'`},
		{[]string{"run", "--config", "/no/such/file"}, "/no/such/file: no such file"},
		{runArgs(dir, "nowhere"), `gateway "nowhere": want HOST:PORT, such as 127.0.0.1:4002`},
		{runArgs(dir, "h:1", "--heartbeat", "100ms"), "heartbeat 100ms: want at least 1s"},
		{runArgs(dir, "h:1", "--fallbacks", "g:2,nowhere"), `gateway "nowhere": want HOST:PORT`},
		{runArgs(dir, "h:1", "--spare-client-ids", "18,17"), "client id 17: stands there twice"},
		{runArgs(dir, "h:1", "--windows", "atlantis"), "atlantis"},
		{runArgs(dir, "h:1", "--windows", "europe; reset daily 25:00-26:00 UTC"), "25:00"},
		{runArgs(dir, "h:1", "--ibc", "7462"), `IBC's command server "7462": want HOST:PORT, such as 127.0.0.1:7462`},
		{[]string{"status", "--connection", "A"}, `connection name "A"`},
		{[]string{"watch", "--connection", "A"}, `connection name "A"`},
		{[]string{"watch", "--since=-1h"}, "--since -1h0m0s: want how long ago"},
		{[]string{"reconnect", "--wait", "2h"}, "--wait 2h0m0s: want 0 to 1m0s"},
		{[]string{"contract"}, "<contract>"},
		{[]string{"contract", "ES", "202612"}, `contract "ES 202612": want a conId (265598), AAPL`},
		{[]string{"contract", `{"symbol":"ES","secType":"FUT"}`}, `contract: unknown field "secType": want con_id`},
		{[]string{"contract", "AAPL", "--wait", "2m"}, "--wait 2m0s: want more than 0 and at most 1m0s"},
		{[]string{"contract", "AAPL", "--wait", "0s"}, "--wait 0s: want more than 0"},
		{[]string{"history"}, "<contract>"},
		{[]string{"history", "AAPL", "--bar-size", "7 mins"}, `bar_size "7 mins": want one of 1 secs, 5 secs`},
		{[]string{"history", "AAPL", "--duration", "1D"}, `duration "1D": want a number and a unit`},
		{[]string{"history", "AAPL", "--what", "LAST"}, `what "LAST": want one of TRADES`},
		{[]string{"history", "AAPL", "--end", "now"}, `--end "now": want a time such as`},
		{[]string{"history", "AAPL", "--wait=-1s"}, "--wait -1s: want more than 0"},
		{[]string{"subscribe", "--kind", "bars"}, "<contract>"},
		{[]string{"subscribe", "AAPL"}, "missing flags: --kind=KIND"},
		{[]string{"subscribe", "AAPL", "--kind", "candles"}, `--kind must be one of "quotes","trades","bars","history-bars" but got "candles"`},
		{[]string{"subscribe", "ES@", "--kind", "bars"}, `contract "ES@": want a conId (265598), AAPL`},
		{[]string{"subscribe", "AAPL", "--kind", "bars", "--what", "LAST"}, `what "LAST": want one of TRADES, MIDPOINT, BID, ASK`},
		{[]string{"subscribe", "AAPL", "--kind", "bars", "--bar-size", "1 min"}, "bar_size and duration are for history-bars, not for bars"},
		{[]string{"subscribe", "AAPL", "--kind", "quotes", "--rth"}, "rth is for bars, not for quotes"},
		{[]string{"subscribe", "AAPL", "--kind", "quotes", "--market-data-type", "new"}, `market_data_type "new": want one of live, frozen`},
		{[]string{"subscribe", "AAPL", "--kind", "bars", "--name", "AAPL"}, `--name "AAPL": want 1 to 64 of a-z, 0-9 and '-'`},
		{[]string{"subscribe", "AAPL", "--kind", "bars", "--caller", "the.book"}, `--caller "the.book": want 1 to 64 of`},
		{[]string{"subscribe", "AAPL", "--kind", "bars", "--priority", "urgent"}, `--priority must be one of "high","normal","low"`},
		{[]string{"subscribe", "AAPL", "--kind", "bars", "--dark-after", "1s"}, `dark_after "1s": want a duration such as "30s", 5s to 24h`},
		{[]string{"subscribe", "AAPL", "--kind", "bars", "--wait", "2m"}, "--wait 2m0s: want 0 to 1m0s"},
		{[]string{"cancel"}, "want one of the name of a subscription, which ibconn subscriptions lists, and --query ID"},
		{[]string{"cancel", "aapl-bars", "--query", "x"}, "want one of the name of a subscription"},
		{[]string{"cancel", "--query", "x", "--all"}, "--all is for a subscription, not for a query"},
		{[]string{"cancel", "AAPL"}, `subscription "AAPL": want 1 to 64 of a-z, 0-9 and '-'`},
		{[]string{"cancel", "aapl-bars", "--caller", "A"}, `--caller "A": want 1 to 64 of`},
		{[]string{"subscriptions", "--connection", "A"}, `connection name "A"`},
		{[]string{"demo", "--seconds", "9"}, "--seconds 9: want 10 to 3600"},
		{[]string{"schema", "show", "ib.conn.state.exploded"}, `there is no schema "ib.conn.state.exploded": there are ib.conn.claimed.epoch_began`},
		{[]string{"gateway", "--scenario", scenario}, scenario + `: scenario: line 2: "explode" is not a fault; allowed are `},
		{[]string{"gateway", "--scenario", "/no/such/file"}, "/no/such/file: no such file"},
		{[]string{"gateway", "--max-rate=-1"}, "most messages per second are -1, must be 0 for no limit"},
		{[]string{"gateway", "--lines=-1"}, "market data lines are -1, must be 0 for no limit"},
		{[]string{"gateway", "--server-version", "200000"}, "server version is 200000, must be 176 to 225"},
		{runArgs(t.TempDir(), "127.0.0.1:1", "--listen", "0.0.0.0:4222"), "not a loopback address"},
	} {
		exit, out, text := cli(t, test.args...)
		if exit != exitUsage || out != "" || !strings.HasPrefix(text, "ibconn: ") || !strings.Contains(text, test.want) {
			t.Errorf("ibconn %q = exit code %d, %q, %q, want 2 and %q", test.args, exit, out, text, test.want)
		}
	}
}

func TestWhatCannotBeDoneSaysWhy(t *testing.T) {
	noLeaks(t)
	file := filepath.Join(t.TempDir(), "a-file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const nobody = "nats://127.0.0.1:1"
	for _, test := range []struct {
		args []string
		want string
	}{
		{runArgs(file, "127.0.0.1:1"), file},
		{[]string{"status", "--nats", nobody}, "nothing answers at " + nobody + ": is `ibconn run` up?"},
		{[]string{"watch", "--nats", nobody}, "nothing answers at " + nobody},
		{[]string{"reconnect", "--nats", nobody}, "nothing answers at " + nobody},
	} {
		exit, _, text := cli(t, test.args...)
		if exit != exitFailed || !containsAll(text, "ibconn: ", test.want) {
			t.Errorf("ibconn %q = exit code %d, %q, want 1 and %q", test.args, exit, text, test.want)
		}
	}
}

func TestAGatewayThatIsNotThereIsKeptTrying(t *testing.T) {
	noLeaks(t)
	for _, test := range []struct{ gateway, cause, words string }{
		{"no..such.host:4002", "name_not_found", "the gateway's host name is not known"},
		{"127.0.0.1:1", "refused", "nothing listens on the gateway's port"},
	} {
		p := startRun(t, runArgs(t.TempDir(), test.gateway))
		failed, at := wait(p, 0, func(e *events.DialFailed) bool { return e.Attempt == 2 })
		if string(failed.Cause) != test.cause {
			t.Errorf("dialling %s failed by %s, want %s", test.gateway, failed.Cause, test.cause)
		}
		if line := p.out.find(t, `(\{[^\n]*attempt 2 failed[^\n]*\})`); !containsAll(line, `"level":"warn"`, test.words, `"correlationid":"attempt-2"`) {
			t.Errorf("the log line of %s is %s, want a warning that says %s", at.Event.Type(), line, test.words)
		}
		p.stop()
	}
}

func TestSchemasAreListedAndShown(t *testing.T) {
	names := strings.Fields(cliOK(t, "schema", "ls"))
	if len(names) != len(events.SchemaNames()) {
		t.Errorf("schema ls lists %d schemas, want %d", len(names), len(events.SchemaNames()))
	}
	for _, name := range names {
		if text := cliOK(t, "schema", "show", name); !json.Valid([]byte(text)) {
			t.Errorf("schema show %s is no JSON: %s", name, text)
		}
	}
}

func TestVersionIsTold(t *testing.T) {
	if got := cliOK(t, "version"); got != "ibconn "+version+"\n" {
		t.Errorf("version says %q, want ibconn %s", got, version)
	}
}

func TestStatusIsForPeopleAndForPrograms(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr()))
	at := p.ready()
	gw.Error(-1, 1100, "Connectivity between IBKR and Trader Workstation has been lost.")
	wait(p, at, func(*events.LinkWentDown) bool { return true })
	within(t, "degraded status", func() bool { return p.status().State.Condition == events.ConditionDegraded })

	exit, out, text := cli(t, "status", "--nats", p.url, "--check")
	if exit != exitUnhealthy || text != "" {
		t.Errorf("status --check of a degraded connection = exit code %d, %q, want 4 and no error", exit, text)
	}
	if !containsAll(out, "main: degraded (ready for ", "because    link down for ", gw.Addr()+" as client 17, attempt 1", "accounts DU***67", "farm       market_data/usfarm up") {
		t.Errorf("status says:\n%s", out)
	}
	out = cliOK(t, "status", "--nats", p.url, "--json")
	validate(t, events.SchemaAnswer, []byte(out))
	exit, out, _ = cli(t, "status", "--nats", p.url, "--json", "--check")
	if exit != exitUnhealthy || !json.Valid([]byte(out)) {
		t.Errorf("status --json --check = exit code %d, %s, want 4 and JSON", exit, out)
	}
}

func TestWatchPrintsStoredBytes(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr()))
	p.ready()
	var want []string
	for e, err := range p.log.Read(t.Context(), bus.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, string(e.Wire))
	}
	last := want[len(want)-1]

	var out, text output
	ctx, cancel := context.WithTimeout(t.Context(), liveness)
	ended := make(chan int, 1)
	go func() {
		ended <- execute(ctx, []string{"watch", "--nats", p.url, "--since", "1h", "--json"}, console{Out: &out, Err: &text})
	}()
	within(t, "the last event", func() bool { return strings.Contains(out.String(), last+"\n") })
	cancel()
	if exit := <-ended; exit != exitDone {
		t.Errorf("exit code of watch = %d, %q, want 0", exit, text.String())
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	for i, line := range lines[:min(len(lines), len(want))] {
		if line != want[i] {
			t.Errorf("watch prints %s as line %d, want %s", line, i+1, want[i])
		}
	}
}

func TestWatchBeginsWithWhatHappensNow(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr()))
	p.ready()
	var out, text output
	ctx, cancel := context.WithTimeout(t.Context(), liveness)
	ended := make(chan int, 1)
	go func() {
		ended <- execute(ctx, []string{"watch", "--nats", p.url, "--utc", "--connection", "main"}, console{Out: &out, Err: &text})
	}()
	// Until watch is there, nobody sees it.
	news := 0
	within(t, "an event shown", func() bool {
		news++
		gw.Error(-1, 399, fmt.Sprintf("news %d", news))
		return strings.Contains(out.String(), "gateway reported 399")
	})
	cancel()
	if exit := <-ended; exit != exitDone {
		t.Errorf("exit code of watch = %d, %q, want 0", exit, text.String())
	}
	if strings.Contains(out.String(), "session open") {
		t.Errorf("watch prints what happened before it:\n%s", out.String())
	}
	line, _, _ := strings.Cut(out.String(), "\n")
	stamp, _, _ := strings.Cut(line, " ")
	if _, err := time.Parse("15:04:05.000", stamp); err != nil || !strings.Contains(line, "   gateway reported 399: ") {
		t.Errorf("watch prints %q, want a time, a mark and a sentence", line)
	}
}

func TestTheGatewayVerbServesARunAndPlaysItsScenario(t *testing.T) {
	noLeaks(t)
	scenario := filepath.Join(t.TempDir(), "night.scenario")
	if err := os.WriteFile(scenario, []byte("at 0s fin\nrepeat every 200ms\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, text output
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		ended <- execute(ctx, []string{"gateway", "--listen", "127.0.0.1:0", "--scenario", scenario}, console{Out: &out, Err: &text})
	}()
	p := startRun(t, runArgs(t.TempDir(), out.find(t, `address=(\S+)`)))
	lost, _ := wait(p, 0, func(*events.SessionLost) bool { return true })
	if lost.Cause != events.CauseClosedByGateway {
		t.Errorf("the session was lost by %s, want closed_by_gateway", lost.Cause)
	}
	p.stop()
	cancel()
	if exit := <-ended; exit != exitDone {
		t.Errorf("exit code of gateway = %d, %q, want 0", exit, text.String())
	}
}

func TestOnATerminalRunIsForPeople(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	var out, text output
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	args := runArgs(t.TempDir(), gw.Addr(), "--log-format", "auto")
	go func() {
		ended <- execute(ctx, args, console{Out: &out, Err: &text, Terminal: true, Colour: true})
	}()
	out.find(t, "(\x1b\\[32m●\x1b\\[0m link to IB proven up )")
	cancel()
	if exit := <-ended; exit != exitDone {
		t.Errorf("exit code of run = %d, %q, want 0", exit, text.String())
	}
	if strings.Contains(out.String(), "{") {
		t.Errorf("on a terminal run prints JSON:\n%s", out.String())
	}
}
