package main

import (
	"context"
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
			p.wantRefusal(events.VerbHistory, `{"contract":"AAPL","duration":"1 Y","bar_size":"1 min"}`, events.ErrorTooLarge, `say "stream":true`)
			p.wantRefusal(events.VerbCancel, `{"query":"none"}`, events.ErrorNotFound, "none")
			p.wantRefusal(events.VerbCancel, ``, events.ErrorBadRequest, "want one of subscription")
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
			exit, out, text := cli(t, "history", "AAPL", "--duration", "1 Y", "--bar-size", "5 secs", "--nats", p.url)
			if exit != exitFailed || out != "" || !strings.Contains(text, "IB has no bars of 30 s or less from before") {
				t.Errorf("history of what is too old = exit code %d, %q, %q, want 1 and why", exit, out, text)
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

// TestALongHistoryComesInParts has five days of minutes, in five requests.
func TestALongHistoryComesInParts(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, gateway.Config{Accounts: []string{account}, HistoryPacing: true})
	p := startRun(t, runArgs(t.TempDir(), gw.Addr()))
	p.ready()
	before := p.status().State.Sequence
	long := []string{"history", "AAPL", "--duration", "5 D", "--bar-size", "1 min", "--end", "2026-03-04T16:00:00Z", "--nats", p.url}

	lines := strings.Split(strings.TrimSpace(cliOK(t, long...)), "\n")
	if len(lines) != 1+7200 || !containsAll(lines[0], "time", "wap") || !strings.Contains(lines[1], "2026-02-27T16:00:00Z") || !strings.Contains(lines[7200], "2026-03-04T15:59:00Z") {
		t.Errorf("history prints %d lines, from %s to %s", len(lines), lines[1], lines[len(lines)-1])
	}
	var last events.Answer
	var bars []events.Bar
	for line := range strings.Lines(cliOK(t, append(long, "--json")...)) {
		validate(t, events.SchemaAnswer, []byte(line))
		last = events.Answer{}
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Fatalf("%.100s: %v", line, err)
		}
		bars = append(bars, last.Bars...)
	}
	if last.Status != events.StatusCompleted || last.Parts != 5 || last.BarCount != 7200 || len(bars) != 7200 || last.Done != 5 || last.Chunks != 5 {
		t.Errorf("--json has %d bars, and ends with %+v", len(bars), last)
	}
	if n := gw.Stats().Requests[gateway.ReqHistoricalData]; n != 10 {
		t.Errorf("the gateway was asked %d times, want 5 times for each", n)
	}
	if after := p.status().State.Sequence; after != before {
		t.Errorf("%d events were recorded meanwhile, want none", after-before)
	}
	p.stop()
}

func TestAHistoryThatIsInterruptedIsCancelled(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr()))
	p.ready()
	if a := p.asks(events.VerbContract, `{"contract":"AAPL"}`); !a.OK {
		t.Fatal(a.Error)
	}
	gw.LoseLink(false) // so that nothing is answered
	asked := func() int { return gw.Stats().Requests[gateway.ReqHistoricalData] }
	cancelled := func() int { return gw.Stats().Requests[gateway.CancelHistoricalData] }
	for i, args := range [][]string{{"--duration", "5 D", "--bar-size", "1 min"}, {"--duration", "1 D", "--bar-size", "1 hour", "--wait", "50s"}} {
		ctx, interrupt := context.WithCancel(t.Context())
		done := make(chan int)
		go func() {
			var out, err output
			done <- execute(ctx, append([]string{"history", "AAPL", "--nats", p.url}, args...), console{Out: &out, Err: &err})
		}()
		within(t, "the query is sent", func() bool { return asked() == i+1 })
		interrupt()
		if exit := <-done; exit != exitFailed {
			t.Errorf("%v, interrupted, ends with exit code %d, want 1", args, exit)
		}
		within(t, "the query is cancelled", func() bool { return cancelled() == i+1 })
	}
	p.stop()
}

// TestTheNextProcessKeepsToWhatTheLastOneAsked starts anew on the same log.
func TestTheNextProcessKeepsToWhatTheLastOneAsked(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, gateway.Config{Accounts: []string{account}, HistoryPacing: true})
	dir := t.TempDir()
	const small = `{"contract":"AAPL","duration":"60 S","bar_size":"5 secs","wait":"2s"}`
	p := startRun(t, runArgs(dir, gw.Addr()))
	p.ready()
	if a := p.asks(events.VerbHistory, small); !a.OK {
		t.Errorf("the first is answered %+v", a.Error)
	}
	p.stop()
	p = startRun(t, runArgs(dir, gw.Addr()))
	within(t, "the connection is ready", func() bool { return p.status().State.Condition == events.ConditionHealthy })
	if a := p.wantRefusal(events.VerbHistory, small, events.ErrorPacing, "IB's rules on history"); time.Until(a.RetryAt) > 16*time.Second {
		t.Errorf("it may come again at %v, want 16 s after the first", a.RetryAt)
	}
	p.stop()
}

func TestWhoIsAtATerminalSeesHowFarItIs(t *testing.T) {
	var out, err output
	line := progressLine{console{Out: &out, Err: &err, ErrTerminal: true}}
	line.show(events.Answer{Done: 3, Chunks: 48, BarCount: 5400, NextAt: time.Now(), ExpectedAt: time.Now().Add(time.Hour)})
	line.clear()
	if text := err.String(); !containsAll(text, "3 of 48 requests answered, 5400 bars", "let the next go at", "the last at") || !strings.HasSuffix(text, "\r\x1b[K") || out.String() != "" {
		t.Errorf("it says %q", text)
	}
	line.ErrTerminal, line.Err = false, &out
	line.show(events.Answer{Done: 3, Chunks: 48})
	line.clear()
	if out.String() != "" {
		t.Errorf("without a terminal it says %q, want nothing", out.String())
	}
}
