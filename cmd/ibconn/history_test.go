package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"ibconn/events"
	"ibconn/testenv/gateway"
)

func TestBarsOfThePastComeThroughTheGateway(t *testing.T) {
	for _, version := range []int{176, 225} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			noLeaks(t)
			gw := gateway.Start(t, gateway.Config{Accounts: []string{account}, ServerVersion: version, HistoryPacing: true})
			p := startRun(t, runArgs(t.TempDir(), gw.Addr()))
			p.ready()
			before := p.status().State.Sequence

			a := p.asks(events.VerbHistory, `{"contract":"AAPL","duration":"3600 S","bar_size":"5 mins","end":"2026-03-04T16:00:00Z"}`)
			if !a.OK || len(a.Bars) != 12 || a.Bars[0].Time != "2026-03-04T15:00:00Z" || a.Bars[11].Time != "2026-03-04T15:55:00Z" || a.Bars[0].Volume == "" || a.What != "TRADES" || a.BarSize != "5 mins" {
				t.Errorf("an hour of AAPL is answered %+v, %+v", a, a.Error)
			}
			if a := p.asks(events.VerbHistory, `{"contract":"EUR.USD","duration":"1 W","bar_size":"1 day","what":"MIDPOINT","rth":true,"wait":"5s"}`); !a.OK || len(a.Bars) < 5 || a.Bars[0].Volume != "" || len(a.Bars[0].Time) != len("2026-03-04") {
				t.Errorf("a week of EUR.USD is answered %+v, %+v", a, a.Error)
			}
			if a := p.asks(events.VerbHistory, `{"contract":"AAPL","duration":"3600 S","bar_size":"5 mins","end":"1950-03-04T16:00:00Z"}`); !a.OK || !a.NoData || a.Bars != nil {
				t.Errorf("an hour before there was data is answered %+v, %+v, want none", a, a.Error)
			}
			if a := p.wantRefusal(events.VerbHistory, `{"contract":{"symbol":"ES","sec_type":"FUT"},"duration":"1 D","bar_size":"1 hour"}`, events.ErrorAmbiguous, "2 contracts fit"); len(a.Candidates) != 2 {
				t.Errorf("ES without a month lists %+v", a.Candidates)
			}
			p.wantRefusal(events.VerbHistory, `{"contract":"NOPE","duration":"1 D","bar_size":"1 hour"}`, events.ErrorNotFound, "(200)")
			p.wantRefusal(events.VerbHistory, `{"contract":"EUR.USD","duration":"1 D","bar_size":"1 hour"}`, events.ErrorGatewayError, "(162)") // trades of what is not traded
			p.wantRefusal(events.VerbHistory, `{"contract":"AAPL","duration":"1 Y","bar_size":"1 min"}`, events.ErrorTooLarge, "ask for shorter spans")
			for payload, words := range map[string]string{
				``: "contract is missing",
				`{"contract":"AAPL","bar_size":"1 hour"}`:                                    "duration is missing",
				`{"contract":"AAPL","duration":"1 D","bar_size":"7 mins"}`:                   "want one of 1 secs, 5 secs",
				`{"contract":"AAPL","duration":"1 D","bar_size":"1 hour","rth":"yes"}`:       "rth: want true or false",
				`{"contract":"AAPL","duration":"1 D","bar_size":"1 hour","end":"yesterday"}`: "want a time such as",
				`{"contract":"AAPL","duration":"1 D","bar_size":"1 hour","what":"LAST"}`:     "want one of TRADES, MIDPOINT",
			} {
				p.wantRefusal(events.VerbHistory, payload, events.ErrorBadRequest, words)
			}

			// The same again is refused with words, or waits.
			small := `{"contract":"AAPL","duration":"60 S","bar_size":"5 secs","what":"MIDPOINT","wait":"2s"}`
			if a := p.asks(events.VerbHistory, small); !a.OK || len(a.Bars) < 11 {
				t.Errorf("a minute of AAPL is answered %+v, %+v", a, a.Error)
			}
			if a := p.wantRefusal(events.VerbHistory, small, events.ErrorPacing, "IB's rules on history"); a.RetryAt.Before(time.Now()) {
				t.Errorf("it may come again at %v, want a time to come", a.RetryAt)
			}

			out := cliOK(t, "history", "AAPL", "--duration", "1800 S", "--bar-size", "5 mins", "--end", "2026-03-04T16:00:00Z", "--nats", p.url)
			if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 7 || !containsAll(lines[0], "time", "open", "wap") || !strings.Contains(lines[1], "2026-03-04T15:30:00Z") {
				t.Errorf("history says:\n%s", out)
			}
			if out := cliOK(t, "history", "AAPL", "--json", "--bar-size", "1 hour", "--nats", p.url); !json.Valid([]byte(out)) || !strings.Contains(out, `"bar_size": "1 hour"`) {
				t.Errorf("history --json says:\n%s", out)
			}
			exit, out, text := cli(t, "history", "AAPL", "--duration", "1 Y", "--bar-size", "1 min", "--nats", p.url)
			if exit != exitFailed || out != "" || !strings.Contains(text, "shorter spans") {
				t.Errorf("history of too much = exit code %d, %q, %q, want 1 and why", exit, out, text)
			}
			if after := p.status().State.Sequence; after != before {
				t.Errorf("%d events were recorded meanwhile, want none", after-before)
			}
			if broken := gw.Stats().Pacing; len(broken) != 0 {
				t.Errorf("IB's rules were broken: %v", broken)
			}
			p.stop()
		})
	}
}

func TestHistoryDuringAnOutageIsNotSaidToBeEmpty(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr()))
	at := p.ready()
	const hour = `{"contract":"AAPL","duration":"3600 S","bar_size":"5 mins","wait":"2s"}`
	if a := p.asks(events.VerbHistory, hour); !a.OK {
		t.Fatalf("before the outage the answer is %+v", a.Error)
	}
	gw.LoseLink(false)
	p.wantRefusal(events.VerbHistory, hour, events.ErrorTimeout, "is cancelled")
	within(t, "the query is cancelled", func() bool { return gw.Stats().Requests[gateway.CancelHistoricalData] == 1 })
	gw.Mislead(true)
	p.wantRefusal(events.VerbHistory, hour, events.ErrorUnavailable, "not to be trusted now")
	gw.Error(-1, 1100, "Connectivity between IBKR and Trader Workstation has been lost.")
	wait(p, at, func(*events.LinkWentDown) bool { return true })
	within(t, "the link is down", func() bool { return p.status().State.Link.Status == events.LinkDown })
	p.wantRefusal(events.VerbHistory, hour, events.ErrorUnavailable, "the link to IB is down")
	gw.RestoreLink(false, true)
	within(t, "history is there again", func() bool { a := p.asks(events.VerbHistory, hour); return a.OK && len(a.Bars) > 0 })
	p.stop()
}
