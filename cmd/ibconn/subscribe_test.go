package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"ibconn/bus"
	"ibconn/events"
)

// answerer takes the commands of main about subscriptions on a bus of its own,
// and answers as it is told.
type answerer struct {
	url string // of the bus

	mu     sync.Mutex
	answer events.Answer
	asked  events.Request
}

func startAnswerer(t *testing.T) *answerer {
	t.Helper()
	noLeaks(t)
	server, err := bus.Open(bus.ServerOptions{StoreDir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := server.Connect("answers")
	if err != nil {
		t.Fatal(err)
	}
	a := &answerer{url: server.URL()}
	ctx, stop := context.WithCancel(context.Background())
	started, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		_ = bus.ServeCommands(ctx, nc, bus.CommandService{ // its error is the end of ctx
			Connection: "main", Version: version, Handle: a.handle, Started: func() { close(started) },
			Verbs: commandSpecs(events.VerbSubscribe, events.VerbCancel, events.VerbSubscriptions),
		})
	}()
	t.Cleanup(func() {
		stop()
		<-ended
		nc.Close()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	<-started
	return a
}

func (a *answerer) handle(_ context.Context, _ events.Verb, req events.Request, _ func(events.Answer)) events.Answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = req
	return a.answer
}

// says sets what is answered from now on.
func (a *answerer) says(answer events.Answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = answer
}

// wasAsked returns the last request.
func (a *answerer) wasAsked() events.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

var ten = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

// appleBars is a subscription as the connector answers it.
func appleBars() events.Subscription {
	return events.Subscription{
		Name: "aapl-bars", Callers: []string{"default"}, Status: events.SubscriptionLive, Since: ten.Add(-time.Minute),
		Feed: events.Feed{Kind: events.SubscribeBars, What: "TRADES", Contract: events.Contract{
			ConID: 265598, Symbol: "AAPL", SecType: "STK", Exchange: "SMART", Currency: "USD", LocalSymbol: "AAPL",
		}},
	}
}

func subscribed(sub events.Subscription) events.Answer {
	return events.Answer{OK: true, Status: events.StatusCompleted, Connection: "main", CommandID: "x1", Subscription: &sub, Subjects: sub.Subjects("main"), AsOf: ten}
}

func TestSubscribeSaysWhereTheDataComes(t *testing.T) {
	main := startAnswerer(t)
	url := main.url
	main.says(subscribed(appleBars()))
	out := cliOK(t, "subscribe", "AAPL", "--kind", "bars", "--nats", url)
	want := `aapl-bars: live
  contract   AAPL STK, on SMART, in USD
  kind       bars of 5 secs, TRADES
  callers    default
  listen     nats --server ` + url + ` sub 'ib.data.main.bar.aapl-bars'
`
	if out != want {
		t.Errorf("subscribe says:\n%s\nwant\n%s", out, want)
	}
	apple := events.Contract{Symbol: "AAPL", SecType: "STK", Exchange: "SMART", Currency: "USD"}
	if got := main.wasAsked(); got != (events.Request{Contract: apple, Kind: events.SubscribeBars, Caller: "default", Priority: events.PriorityNormal, Wait: events.Wait(10 * time.Second), ID: got.ID}) {
		t.Errorf("subscribe asked for %+v", got)
	}

	out = cliOK(t, "subscribe", "EUR.USD", "--kind", "history-bars", "--what", "MIDPOINT", "--rth", "--bar-size", "1 min", "--duration", "1 D", "--name", "eur",
		"--caller", "book", "--priority", "high", "--dark-after", "30s", "--id", "s1", "--reason", "test", "--wait", "0s", "--json", "--nats", url)
	var printed events.Answer
	if err := json.Unmarshal([]byte(out), &printed); err != nil || printed.Subscription == nil || printed.Subscription.Name != "aapl-bars" {
		t.Errorf("subscribe --json says:\n%s", out)
	}
	if got := main.wasAsked(); got != (events.Request{
		ID: "s1", Reason: "test", Contract: events.Contract{Symbol: "EUR", SecType: "CASH", Exchange: "IDEALPRO", Currency: "USD"}, Kind: events.SubscribeHistoryBars,
		BarQuery: events.BarQuery{What: "MIDPOINT", RTH: true, BarSize: "1 min", Duration: "1 D"}, Name: "eur", Caller: "book", Priority: events.PriorityHigh,
		DarkAfter: events.DarkAfter(30 * time.Second),
	}) {
		t.Errorf("subscribe asked for %+v", got)
	}
	cliOK(t, "subscribe", "AAPL", "--kind", "quotes", "--generic-ticks", "236,233", "--market-data-type", "delayed", "--nats", url)
	if got := main.wasAsked(); got.GenericTicks != "236,233" || got.MarketDataType != "delayed" {
		t.Errorf("subscribe asked for %+v", got)
	}

	main.says(events.Answer{Connection: "main", Candidates: []events.Contract{{ConID: 7, LocalSymbol: "ESZ6", SecType: "FUT"}}, Error: &events.AnswerError{Code: events.ErrorAmbiguous, Message: "1 contract fits"}})
	if exit, out, text := cli(t, "subscribe", "ES", "--kind", "bars", "--nats", url); exit != exitFailed || !strings.HasPrefix(out, "7 ") || !strings.Contains(text, "1 contract fits") {
		t.Errorf("subscribe to what is ambiguous = exit code %d, %q, %q, want 1, the candidate and why", exit, out, text)
	}
	main.says(events.Refuse("main", events.ErrorNameTaken, "subscription eur is of something else"))
	if exit, out, text := cli(t, "subscribe", "AAPL", "--kind", "bars", "--nats", url); exit != exitFailed || out != "" || !strings.Contains(text, "subscription eur is of something else") {
		t.Errorf("subscribe under a taken name = exit code %d, %q, %q, want 1 and why", exit, out, text)
	}
	main.says(events.Answer{OK: true, Connection: "main"})
	if exit, _, text := cli(t, "subscribe", "AAPL", "--kind", "bars", "--nats", url); exit != exitFailed || !strings.Contains(text, "main answers without a subscription") {
		t.Errorf("subscribe without a subscription in the answer = exit code %d, %q", exit, text)
	}
}

func TestHowASubscriptionIsPrinted(t *testing.T) {
	sub := func(change func(*events.Subscription)) events.Subscription {
		s := appleBars()
		change(&s)
		return s
	}
	for _, tt := range []struct {
		sub  events.Subscription
		want []string
	}{
		{sub(func(s *events.Subscription) { s.Status = events.SubscriptionWanted }), []string{"aapl-bars: wanted, to be placed as soon as there is a session\n"}},
		{sub(func(s *events.Subscription) { s.Status = events.SubscriptionPlaced }), []string{"aapl-bars: placed, no data yet\n"}},
		{
			sub(func(s *events.Subscription) { s.Status, s.RetryAt = events.SubscriptionDark, ten.Add(20*time.Second) }),
			[]string{"aapl-bars: dark\n", "  because    its data stays away; placed again in 20 s\n"},
		},
		{
			sub(func(s *events.Subscription) {
				s.Status, s.Code, s.Message = events.SubscriptionFailed, 354, "Requested market data is not subscribed."
			}),
			[]string{"aapl-bars: failed\n", "  because    (354) Requested market data is not subscribed.; not placed again in this session\n"},
		},
		{
			sub(func(s *events.Subscription) { s.Status, s.RetryAt = events.SubscriptionFailed, ten }),
			[]string{"  because    refused; placed again now\n"},
		},
		{
			sub(func(s *events.Subscription) {
				s.Feed.Kind, s.Feed.BarSize, s.Feed.Duration, s.Feed.RTH = events.SubscribeHistoryBars, "1 min", "1 D", true
			}),
			[]string{
				"  kind       history-bars of 1 min, TRADES, regular trading hours, from 1 D ago on\n",
				"  listen     nats sub 'ib.data.main.bar.aapl-bars'\n  listen     nats sub 'ib.data.main.partial.aapl-bars'\n",
			},
		},
		{
			sub(func(s *events.Subscription) {
				s.Feed = events.Feed{Kind: events.SubscribeQuotes, MarketDataType: "delayed", GenericTicks: "233", Contract: events.Contract{ConID: 7}}
			}),
			[]string{"  contract   7\n", "  kind       quotes, delayed, ticks 233\n", "  listen     nats sub 'ib.data.main.tick.aapl-bars'\n"},
		},
		{sub(func(s *events.Subscription) { s.Callers = strings.Fields("a b c d e f") }), []string{"  callers    a b c d and 2 more\n"}},
	} {
		var b strings.Builder
		if err := printSubscribed(&b, subscribed(tt.sub), clientFlags{natsFlags: natsFlags{NATS: "nats://127.0.0.1:4222"}}); err != nil {
			t.Error(err)
		}
		if !containsAll(b.String(), tt.want...) {
			t.Errorf("%+v is printed as\n%s\nwant %q", tt.sub, b.String(), tt.want)
		}
	}
	for url, want := range map[string]string{"nats://127.0.0.1:4222": "", "nats://10.0.0.1:4222": "nats://10.0.0.1:4222", "nats://user:secret@10.0.0.1": ""} {
		if got := otherServer(url); got != want {
			t.Errorf("for %s nats is told of the server %q, want %q", url, got, want)
		}
	}
}

func TestCancelSaysWhatIsLeft(t *testing.T) {
	main := startAnswerer(t)
	url := main.url
	main.says(events.Answer{OK: true, Status: events.StatusCompleted, Connection: "main", CommandID: "x2"})
	if out := cliOK(t, "cancel", "aapl-bars", "--id", "c1", "--reason", "closed", "--nats", url); out != "aapl-bars: cancelled\n" {
		t.Errorf("cancel says %q", out)
	}
	if got := main.wasAsked(); got != (events.Request{ID: "c1", Reason: "closed", Subscription: "aapl-bars", Caller: "default"}) {
		t.Errorf("cancel asked for %+v", got)
	}
	if out := cliOK(t, "cancel", "aapl-bars", "--all", "--json", "--nats", url); !json.Valid([]byte(out)) || !strings.Contains(out, `"status": "completed"`) {
		t.Errorf("cancel --json says:\n%s", out)
	}
	if got := main.wasAsked(); !got.All || got.Caller != "" {
		t.Errorf("cancel --all asked for %+v", got)
	}
	if out := cliOK(t, "cancel", "--query", "year-1", "--nats", url); out != "year-1: cancelled\n" {
		t.Errorf("cancel of a history says %q", out)
	}
	if got := main.wasAsked(); got != (events.Request{ID: got.ID, Query: "year-1"}) {
		t.Errorf("cancel of a history asked for %+v", got)
	}
	left := appleBars()
	left.Callers = []string{"book", "risk"}
	main.says(events.Answer{OK: true, Status: events.StatusCompleted, Connection: "main", CommandID: "x2", Subscription: &left})
	if out := cliOK(t, "cancel", "aapl-bars", "--caller", "analysis", "--nats", url); out != "aapl-bars: goes on for book risk\n" || main.wasAsked().Caller != "analysis" {
		t.Errorf("cancel for one of several says %q, and asked for %+v", out, main.wasAsked())
	}
	main.says(events.Refuse("main", events.ErrorNotFound, "there is no subscription x"))
	if exit, out, text := cli(t, "cancel", "x", "--nats", url); exit != exitFailed || out != "" || !strings.Contains(text, "there is no subscription x") {
		t.Errorf("cancel of nothing = exit code %d, %q, %q, want 1 and why", exit, out, text)
	}
	if exit, out, _ := cli(t, "cancel", "x", "--json", "--nats", url); exit != exitFailed || !strings.Contains(out, `"code": "not_found"`) {
		t.Errorf("cancel --json of nothing = exit code %d, %q, want 1 and the answer", exit, out)
	}
}

func TestSubscriptionsAreATable(t *testing.T) {
	main := startAnswerer(t)
	url := main.url
	main.says(events.Answer{OK: true, Connection: "main", AsOf: ten, Subscriptions: []events.Subscription{}})
	if out := cliOK(t, "subscriptions", "--nats", url); out != "nothing is subscribed to; begin with: ibconn subscribe AAPL --kind bars\n" {
		t.Errorf("without any subscriptions says %q", out)
	}
	failed, quotes := appleBars(), appleBars()
	failed.Name, failed.Status, failed.Code, failed.Message, failed.RetryAt = "b", events.SubscriptionFailed, 420, "pacing violation", ten.Add(time.Minute)
	failed.Gaps = []events.Gap{{From: ten.Add(-time.Hour), To: ten}, {From: ten, To: ten.Add(time.Minute)}}
	failed.Callers = []string{"book", "risk"}
	quotes.Name, quotes.Feed = "eur-usd-quotes", events.Feed{Kind: events.SubscribeQuotes, Contract: events.Contract{Symbol: "EUR", LocalSymbol: "EUR.USD", SecType: "CASH"}}
	main.says(events.Answer{OK: true, Connection: "main", AsOf: ten, Subscriptions: []events.Subscription{appleBars(), failed, quotes}})
	out := cliOK(t, "subscriptions", "--nats", url)
	want := []string{
		"name            kind    contract      status  for    callers    gaps  what is wrong",
		"aapl-bars       bars    AAPL STK      live    1 min  default    -     -",
		"b               bars    AAPL STK      failed  1 min  book risk  2     (420) pacing violation; placed again in 1 min",
		"eur-usd-quotes  quotes  EUR.USD CASH  live    1 min  default    -     -",
	}
	if got := strings.Split(strings.TrimSuffix(out, "\n"), "\n"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("subscriptions says:\n%s\nwant\n%s", out, strings.Join(want, "\n"))
	}
	if out := cliOK(t, "subscriptions", "--json", "--nats", url); !json.Valid([]byte(out)) || !strings.Contains(out, `"name": "eur-usd-quotes"`) {
		t.Errorf("subscriptions --json says:\n%s", out)
	}
	main.says(events.Refuse("main", events.ErrorShutdown, "the process is ending"))
	if exit, out, text := cli(t, "subscriptions", "--nats", url); exit != exitFailed || out != "" || !strings.Contains(text, "the process is ending") {
		t.Errorf("subscriptions refused = exit code %d, %q, %q, want 1 and why", exit, out, text)
	}
}
