package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"ibconn/bus"
	"ibconn/connector"
	"ibconn/events"
	"ibconn/testenv/gateway"
)

// asks asks a verb of main as nats req does.
func (p *program) asks(verb events.Verb, payload string) events.Answer {
	p.t.Helper()
	m := raw(p.t, p.nc, events.CommandSubject("main", verb), payload)
	validate(p.t, events.SchemaAnswer, m.Data)
	var a events.Answer
	if err := json.Unmarshal(m.Data, &a); err != nil {
		p.t.Fatal(err)
	}
	return a
}

func (p *program) wantRefusal(verb events.Verb, payload string, code events.ErrorCode, words string) events.Answer {
	p.t.Helper()
	a := p.asks(verb, payload)
	if a.OK || a.Error == nil || a.Error.Code != code || !strings.Contains(a.Error.Message, words) {
		p.t.Errorf("%s %s is answered %+v, %+v, want %s with %q", verb, payload, a, a.Error, code, words)
	}
	return a
}

func TestAContractIsQualifiedThroughTheGateway(t *testing.T) {
	for _, version := range []int{176, 225} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			noLeaks(t)
			gw := gateway.Start(t, gateway.Config{Accounts: []string{account}, ServerVersion: version})
			p := startRun(t, runArgs(t.TempDir(), gw.Addr()))
			p.ready()
			before := p.status().State.Sequence

			a := p.asks(events.VerbContract, `{"contract":"AAPL"}`)
			if !a.OK || a.Cached || len(a.Contracts) != 1 || a.Contracts[0].ConID != 265598 || a.Contracts[0].LongName != "APPLE INC" || a.Contracts[0].MinTick != "0.01" {
				t.Errorf("AAPL is answered %+v, %+v", a, a.Error)
			}
			if b := p.asks(events.VerbContract, `{"contract":{"con_id":265598}}`); !b.OK || !b.Cached || b.Contracts[0] != a.Contracts[0] || !b.AsOf.Equal(a.AsOf) {
				t.Errorf("its conId is answered %+v, want the same, remembered", b)
			}
			if a := p.asks(events.VerbContract, `{"contract":"EUR.USD","wait":"5s"}`); !a.OK || a.Contracts[0].SecType != "CASH" || a.Contracts[0].MinTick != "0.00005" {
				t.Errorf("EUR.USD is answered %+v, %+v", a, a.Error)
			}
			es := p.wantRefusal(events.VerbContract, `{"contract":{"symbol":"ES","sec_type":"FUT","exchange":"CME"}}`, events.ErrorAmbiguous, "2 contracts fit")
			if len(es.Candidates) != 2 || es.More != 0 || es.Candidates[0].Symbol != "ES" {
				t.Fatalf("ES without a month lists %+v", es.Candidates)
			}
			month := es.Candidates[0].LastTradeDateOrContractMonth
			if a := p.asks(events.VerbContract, fmt.Sprintf(`{"contract":"ES@CME %s"}`, month[:6])); !a.OK || a.Contracts[0].Contract != es.Candidates[0] {
				t.Errorf("ES of %s is answered %+v, want %+v", month[:6], a, es.Candidates[0])
			}
			p.wantRefusal(events.VerbContract, `{"contract":"NOPE"}`, events.ErrorNotFound, "(200)")
			for payload, field := range map[string]string{
				``: "contract is missing", `{"contract":7}`: "contract: want a JSON string or object", `{"contract":{"symbol":7}}`: "contract: symbol: want",
				`{"contract":{"symbol":"ES","expiry":"202612"}}`: `contract: unknown field "expiry"`, `{"contract":"ES@"}`: `contract "ES@"`,
				`{"contract":"AAPL","wait":"2h"}`: "wait", `{"symbol":"AAPL"}`: `unknown field "symbol"`,
			} {
				p.wantRefusal(events.VerbContract, payload, events.ErrorBadRequest, field)
			}
			m := raw(t, p.nc, events.CommandSubject("main", events.VerbReconnect), `{"contract":"AAPL"}`)
			if !strings.Contains(string(m.Data), `unknown field \"contract\": want id, reason or wait`) {
				t.Errorf("reconnect with a contract is answered %s", m.Data)
			}

			out := cliOK(t, "contract", "AAPL", "--nats", p.url)
			if !containsAll(out, "AAPL  APPLE INC\n", "con id     265598", "exchange   SMART, primary NASDAQ, USD", "tick       0.01", "in US/Eastern", "remembered as IB said at ") {
				t.Errorf("contract says:\n%s", out)
			}
			if out := cliOK(t, "contract", "ES@CME", month, "--nats", p.url, "--json"); !json.Valid([]byte(out)) || !strings.Contains(out, `"multiplier": "50"`) {
				t.Errorf("contract --json says:\n%s", out)
			}
			exit, out, text := cli(t, "contract", `{"symbol":"ES","sec_type":"FUT"}`, "--nats", p.url)
			if exit != exitFailed || strings.Count(out, "FUT "+month[:4]) < 1 || strings.Count(out, "\n") != 2 || !strings.Contains(text, "2 contracts fit") {
				t.Errorf("contract of ES = exit code %d, %q, %q, want 1, two candidates and why", exit, out, text)
			}
			exit, out, text = cli(t, "contract", "NOPE", "--nats", p.url)
			if exit != exitFailed || out != "" || !strings.Contains(text, "IB knows no contract that fits NOPE") {
				t.Errorf("contract of NOPE = exit code %d, %q, %q, want 1 and why", exit, out, text)
			}
			if after := p.status().State.Sequence; after != before {
				t.Errorf("%d events were recorded meanwhile, want none", after-before)
			}
			p.stop()
		})
	}
}

func TestAContractDuringAnOutageIsNotSaidNotToExist(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr()))
	at := p.ready()
	p.asks(events.VerbContract, `{"contract":"AAPL"}`)

	// The link dies without a word: nothing answers, and then what misleads.
	gw.LoseLink(false)
	p.wantRefusal(events.VerbContract, `{"contract":"MSFT","wait":"1s"}`, events.ErrorTimeout, "did not answer in time")
	gw.Mislead(true)
	p.wantRefusal(events.VerbContract, `{"contract":"MSFT","wait":"2s"}`, events.ErrorUnavailable, "not to be trusted now")
	if a := p.asks(events.VerbContract, `{"contract":"AAPL"}`); !a.OK || !a.Cached {
		t.Errorf("what is remembered is answered %+v, want it as ever", a)
	}
	// Once it is known to be down the answer comes at once.
	gw.Error(-1, 1100, "Connectivity between IBKR and Trader Workstation has been lost.")
	wait(p, at, func(*events.LinkWentDown) bool { return true })
	within(t, "the link is down", func() bool { return p.status().State.Link.Status == events.LinkDown })
	p.wantRefusal(events.VerbContract, `{"contract":"MSFT","wait":"1m"}`, events.ErrorUnavailable, "the link to IB is down")

	gw.RestoreLink(false, true)
	within(t, "the link is proven", func() bool {
		link := p.status().State.Link
		return link.Status == events.LinkUp && !link.Unproven
	})
	if a := p.asks(events.VerbContract, `{"contract":"MSFT"}`); !a.OK || a.Contracts[0].ConID != 272093 {
		t.Errorf("after the outage MSFT is answered %+v, %+v", a, a.Error)
	}
	p.stop()
}

func TestARequestEndsWithItsSession(t *testing.T) {
	history := events.Request{Contract: events.Contract{ConID: 265598}, Wait: events.MaxWait}
	history.Duration, history.BarSize = "1 D", "1 hour"
	for _, test := range []struct {
		verb    events.Verb
		req     events.Request
		message gateway.Request
	}{
		{events.VerbContract, events.Request{Contract: events.Contract{ConID: 265598}, Wait: events.MaxWait}, gateway.ReqContractDetails},
		{events.VerbHistory, history, gateway.ReqHistoricalData},
	} {
		t.Run(string(test.verb), func(t *testing.T) {
			noLeaks(t)
			gw := gateway.Start(t, simulated)
			p := startRun(t, runArgs(t.TempDir(), gw.Addr()))
			at := p.ready()
			gw.On(test.message, 0, gateway.Hold())
			answers := make(chan events.Answer, 1)
			go func() {
				a, err := bus.Ask(t.Context(), p.nc, "main", test.verb, test.req)
				if err != nil {
					t.Error(err)
				}
				answers <- a
			}()
			within(t, "the request has come", func() bool { return gw.Stats().Requests[test.message] == 1 })
			gw.Reset()
			select {
			case a := <-answers:
				if a.OK || a.Error == nil || a.Error.Code != events.ErrorSessionLost {
					t.Errorf("the answer is %+v, %+v, want session_lost", a, a.Error)
				}
			case <-time.After(liveness):
				t.Fatalf("no answer came within %v of the session's end, of a minute that it may take", liveness)
			}
			wait(p, at, func(*events.SessionLost) bool { return true })
			p.stop()
		})
	}
}

func TestAHundredContractsAreAskedForAtOnce(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, gateway.Config{Accounts: []string{account}, MaxRate: 50})
	p := startRun(t, runArgs(t.TempDir(), gw.Addr()))
	p.ready()
	payloads := []string{`"AAPL"`, `"MSFT"`, `"SPY"`, `"EUR.USD"`, `{"symbol":"ES"}`}
	want := []int64{265598, 272093, 756733, 12087792, 0}
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			a := p.asks(events.VerbContract, `{"wait":"1m","contract":`+payloads[i%5]+`}`)
			switch {
			case want[i%5] == 0:
				if a.Error == nil || a.Error.Code != events.ErrorAmbiguous || len(a.Candidates) != 2 {
					t.Errorf("request %d is answered %+v, %+v, want two candidates", i, a, a.Error)
				}
			case !a.OK || len(a.Contracts) != 1 || a.Contracts[0].ConID != want[i%5]:
				t.Errorf("request %d is answered %+v, %+v, want %d", i, a, a.Error, want[i%5])
			}
		})
	}
	all.Wait()
	s := gw.Stats()
	t.Logf("%d requests left for 100 that were made; busiest second: %d messages of %d", s.Requests[gateway.ReqContractDetails], s.BusiestSecond, connector.DefaultPerSecond)
	if n := s.Requests[gateway.ReqContractDetails]; n < 5 || n > 50 {
		t.Errorf("%d requests left for 100 that asked for five contracts at once, want callers to share them", n)
	}
	if s.Breaches != 0 {
		t.Errorf("%d messages were too many for the gateway, want none", s.Breaches)
	}
	p.stop()
}
