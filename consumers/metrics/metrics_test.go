package metrics_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"

	"ibconn/bus"
	"ibconn/consumers/follow"
	"ibconn/consumers/metrics"
	"ibconn/events"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// history makes events of connections, as their writers would.
type history struct {
	tb    testing.TB
	at    time.Time
	all   []bus.Entry
	heads map[events.ConnectionID]events.Head
}

func newHistory(tb testing.TB) *history {
	return &history{tb: tb, at: began, heads: make(map[events.ConnectionID]events.Head)}
}

// add appends an event of c, so long after the one before.
func (h *history) add(c events.ConnectionID, after time.Duration, e events.Event) {
	h.tb.Helper()
	h.at = h.at.Add(after)
	n := len(h.all) + 1
	author := events.Author{Connection: c, Source: "/ibconn/test", NewID: func() string { return fmt.Sprint("e", n) }}
	r, err := h.heads[c].Next(author, events.Draft{Event: e}, h.at)
	if err != nil {
		h.tb.Fatal(err)
	}
	h.heads[c] = h.heads[c].Then(r)
	h.all = append(h.all, bus.Entry{Recorded: r, StreamSeq: uint64(n)})
}

func (h *history) metrics() *metrics.Metrics {
	m := metrics.New(func() time.Time { return h.at })
	for _, e := range h.all {
		m.Add(e)
	}
	return m
}

// text is a scrape.
func text(tb testing.TB, m *metrics.Metrics) string {
	tb.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(m)
	families, err := r.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	var b bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			tb.Fatal(err)
		}
	}
	return b.String()
}

// value is what a scrape says of one series, "" where it has none.
func value(scrape, series string) string {
	for line := range strings.Lines(scrape) {
		if of, found := strings.CutPrefix(line, series+" "); found {
			return strings.TrimSpace(of)
		}
	}
	return ""
}

// sent is a load of so many heartbeats and contracts, all of which waited but for
// the first, and of which one waits still.
func sent(heartbeats, contracts uint64, waited events.Millis) events.Load {
	return events.Load{
		Sent:  map[events.MessageKind]uint64{events.MessageStart: 1, events.MessageHeartbeat: heartbeats, events.MessageContract: contracts},
		Waits: heartbeats + contracts - 1, Waited: waited, Queued: 1,
	}
}

// night is a session that beats, loses its link, is lost, and comes back, with what
// people and services ask of it.
func night(h *history) {
	const c = "main"
	add := func(after time.Duration, e events.Event) { h.add(c, after, e) }
	session := func(attempt uint64, outage time.Duration) {
		add(time.Second, &events.DialStarted{Attempt: attempt, Endpoint: "h:1", DeadlineAt: h.at.Add(5 * time.Second)})
		add(100*time.Millisecond, &events.GatewayReached{Attempt: attempt, Remote: "h:1", DeadlineAt: h.at.Add(5 * time.Second)})
		add(100*time.Millisecond, &events.GatewayGreeted{Attempt: attempt, ServerVersion: 187, DeadlineAt: h.at.Add(5 * time.Second)})
		add(100*time.Millisecond, &events.SessionOpened{
			Attempt: attempt, Took: 300, Outage: events.MillisOf(outage), RTT: 2, NextProbeAt: h.at.Add(15 * time.Second), AnswerBy: h.at.Add(20 * time.Second),
		})
	}
	add(0, &events.EpochBegan{Instance: "host-1", PID: 1})
	add(0, &events.ConnectRequested{By: events.AskerStart, RetryAt: h.at.Add(time.Second)})
	add(time.Second, &events.DialStarted{Attempt: 1, Endpoint: "h:1", DeadlineAt: h.at.Add(5 * time.Second)})
	add(time.Second, &events.DialFailed{Attempt: 1, Stage: events.PhaseDialing, Cause: events.CauseRefused, Failures: 1, RetryAt: h.at.Add(2 * time.Second), Traffic: events.Traffic{BytesOut: 9, FramesOut: 1}})
	session(2, 0)
	add(0, &events.SubscriptionAdded{CommandID: "s1", Subscription: "aapl-bars", Caller: "book", Feed: events.Feed{Kind: events.SubscribeBars}})
	add(0, &events.SubscriptionPlacement{Subscription: "aapl-bars", Attempt: 2, RequestID: 1 << 27, Because: events.BecauseNew, Try: 1})
	add(4*time.Second, &events.SubscriptionDelivered{Subscription: "aapl-bars", Attempt: 2, RequestID: 1 << 27, Took: 4000})
	for i := range 20 {
		add(15*time.Second, &events.HeartbeatAnswered{
			Attempt: 2, Number: uint64(i + 1), SentAt: h.at, RTT: events.Millis(i), Skew: -250, NextProbeAt: h.at.Add(15 * time.Second), AnswerBy: h.at.Add(20 * time.Second),
			Load: sent(uint64(i+2), 10, events.Millis(250*i)),
		})
	}
	add(time.Second, &events.FarmChanged{Attempt: 2, Farm: events.Farm{Kind: events.FarmMarketData, Name: "usfarm"}, From: events.FarmUnknown, To: events.FarmDown, Code: 2103})
	add(time.Second, &events.LinkWentDown{Attempt: 2, Code: 1100})
	add(time.Minute, &events.LinkCameBack{Attempt: 2, Code: 1102})
	add(time.Second, &events.GatewayReported{Attempt: 2, RequestID: -1, Code: 2150, Class: events.ClassInfo, Message: "x"})
	add(time.Second, &events.GatewayRepeated{Attempt: 2, RequestID: -1, Code: 2150, Class: events.ClassInfo, Message: "x", Count: 7})
	add(time.Second, &events.CommandAccepted{CommandID: "c1", Verb: events.VerbReconnect})
	add(time.Second, &events.SessionLost{
		Attempt: 2, Cause: events.CauseHeartbeatLost, Uptime: 380_000, Failures: 1, RetryAt: h.at.Add(time.Second),
		Traffic: events.Traffic{BytesIn: 4000, BytesOut: 900, FramesIn: 70, FramesOut: 40},
	})
	session(3, 2*time.Second)
	add(time.Second, &events.CommandCompleted{CommandID: "c1", Verb: events.VerbReconnect, Took: 3300})
	add(0, &events.SubscriptionPlacement{Subscription: "aapl-bars", Attempt: 3, RequestID: 1<<27 + 1, Because: events.BecauseSession, Try: 1})
	add(5*time.Second, &events.SubscriptionDelivered{Subscription: "aapl-bars", Attempt: 3, RequestID: 1<<27 + 1, Took: 5000})
	add(0, &events.GapDetected{Subscription: "aapl-bars", From: h.at.Add(-time.Minute), To: h.at.Add(-30 * time.Second), Bars: 6})
	add(12*time.Second, &events.GapFilled{Subscription: "aapl-bars", From: h.at.Add(-time.Minute), To: h.at.Add(-30 * time.Second), Bars: 5, Missing: 1, Took: 12_000})
	add(time.Second, &events.HeartbeatMissed{
		Attempt: 3, Number: 1, Silent: 500, NextProbeAt: h.at.Add(15 * time.Second), AnswerBy: h.at.Add(20 * time.Second), Load: sent(2, 3, 1500),
	})
	add(time.Second, &events.CommandRejected{CommandID: "c2", Verb: events.VerbConnect, Code: events.ErrorBusy, Message: "no"})
}

func TestAScrapeOfANight(t *testing.T) {
	h := newHistory(t)
	night(h)
	got := text(t, h.metrics())
	const file = "testdata/night.txt"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the scrape differs from %s: if it is right, go test ./consumers/metrics -update, and read the diff\n%s", file, got)
	}
	for series, want := range map[string]string{
		`ibconn_connection_phase{connection="main",phase="ready"}`:                                    "1",
		`ibconn_attempts_total{connection="main"}`:                                                    "3",
		`ibconn_sessions_total{connection="main"}`:                                                    "2",
		`ibconn_session_losses_total{attribution="gateway",cause="heartbeat_lost",connection="main"}`: "1",
		`ibconn_gateway_reports_total{class="info",code="2150",connection="main"}`:                    "8",
		`ibconn_heartbeats_total{connection="main",outcome="answered",probe="session"}`:               "20",
		`ibconn_heartbeat_round_trip_seconds_sum{connection="main"}`:                                  "0.19",
		`ibconn_outage_duration_seconds_sum{connection="main"}`:                                       "2",
		`ibconn_restored_duration_seconds_sum{connection="main"}`:                                     "10",
		`ibconn_commands_total{connection="main",outcome="completed",verb="reconnect"}`:               "1",
		`ibconn_commands_total{connection="main",outcome="rejected",verb="connect"}`:                  "1",
		`ibconn_gap_bars_total{connection="main",outcome="missing"}`:                                  "1",
		`ibconn_subscriptions{connection="main",status="live"}`:                                       "1",
		`ibconn_gateway_messages_total{connection="main",direction="out"}`:                            "41",
		`ibconn_connection_overdue{connection="main"}`:                                                "0",
		`ibconn_requests_total{connection="main",kind="start"}`:                                       "2",
		`ibconn_requests_total{connection="main",kind="heartbeat"}`:                                   "23",
		`ibconn_requests_total{connection="main",kind="contract"}`:                                    "13",
		`ibconn_pacing_waits_total{connection="main"}`:                                                "34",
		`ibconn_pacing_wait_seconds_total{connection="main"}`:                                         "6.25",
		`ibconn_queue_depth{connection="main"}`:                                                       "1",
		`ibconn_consumer_position`:                                                                    fmt.Sprint(len(h.all)),
		`ibconn_events_total{connection="main",kind="state",type="session_opened"}`:                   "2",
	} {
		if got := value(got, series); got != want {
			t.Errorf("%s is %q, want %q", series, got, want)
		}
	}
}

func TestTheNamesAreAsPrometheusWantsThem(t *testing.T) {
	h := newHistory(t)
	night(h)
	r := prometheus.NewRegistry()
	r.MustRegister(h.metrics())
	problems, err := testutil.GatherAndLint(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// randomly appends so many events of several connections, legal or not: a fold
// takes any.
func randomly(h *history, dice *rand.Rand, n int) {
	causes := []events.Cause{events.CauseRefused, events.CauseReset, events.CauseHeartbeatLost}
	for _, c := range []events.ConnectionID{"main", "second", "third"} {
		h.add(c, 0, &events.EpochBegan{Instance: "host-1", PID: 1})
	}
	for range n {
		c := []events.ConnectionID{"main", "second", "third"}[dice.IntN(3)]
		in := func(most time.Duration) time.Duration { return time.Duration(dice.Int64N(int64(most))) }
		attempt := uint64(1 + dice.IntN(5))
		var e events.Event
		switch dice.IntN(12) {
		case 0:
			e = &events.EpochBegan{Instance: "host-2", PID: 2, LastEventAt: h.at.Add(-in(time.Minute))}
		case 1:
			e = &events.DialStarted{Attempt: attempt, Endpoint: "h:1", DeadlineAt: h.at.Add(in(time.Minute))}
		case 2:
			e = &events.DialFailed{Attempt: attempt, Stage: events.PhaseDialing, Cause: causes[dice.IntN(len(causes))], Failures: 1, RetryAt: h.at.Add(in(time.Hour))}
		case 3, 4:
			e = &events.SessionOpened{Attempt: attempt, Took: events.MillisOf(in(time.Minute)), Outage: events.MillisOf(in(time.Hour)), NextProbeAt: h.at, AnswerBy: h.at.Add(time.Minute)}
		case 5:
			e = &events.SessionLost{Attempt: attempt, Cause: causes[dice.IntN(len(causes))], Uptime: events.MillisOf(in(time.Hour)), Failures: 1, RetryAt: h.at.Add(in(time.Hour))}
		case 6:
			e = &events.GatewayReported{Attempt: attempt, RequestID: -1, Code: dice.IntN(300), Class: events.ClassUnknown, Message: "x"}
		case 7:
			e = &events.HeartbeatAnswered{
				Attempt: attempt, Number: 1, SentAt: h.at, RTT: events.MillisOf(in(time.Second)), NextProbeAt: h.at, AnswerBy: h.at.Add(time.Minute),
				Load: sent(1+dice.Uint64N(100), dice.Uint64N(100), events.MillisOf(in(time.Minute))),
			}
		case 8:
			e = &events.Stopped{Cause: events.CauseAskedFor, Attempt: attempt}
		case 9:
			e = &events.LinkWentDown{Attempt: attempt, Code: 1100}
		case 10:
			e = &events.LinkCameBack{Attempt: attempt, Code: 1101, DataLost: true}
		case 11:
			e = &events.SubscriptionAdded{CommandID: fmt.Sprint("s", dice.IntN(9)), Subscription: fmt.Sprint("b", dice.IntN(9)), Caller: "x", Feed: events.Feed{Kind: events.SubscribeBars}}
		}
		h.add(c, in(10*time.Minute), e)
	}
}

// store puts a history on a bus.
func store(t *testing.T, h *history) *bus.Log {
	t.Helper()
	dir := t.TempDir()
	server, err := bus.Open(bus.ServerOptions{StoreDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	nc, err := server.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	log, err := bus.OpenLog(t.Context(), nc, bus.LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	writers := make(map[events.ConnectionID]*bus.Writer)
	for _, e := range h.all {
		w := writers[e.Connection]
		if w == nil {
			if w, err = log.Writer(e.Connection, dir); err != nil {
				t.Fatal(err)
			}
			for _, err := range w.Load(t.Context()) {
				t.Fatal("a new log has an event", err)
			}
			writers[e.Connection] = w
		}
		if _, claim := e.Event.(*events.EpochBegan); claim {
			err = w.Claim(t.Context(), e.Recorded)
		} else {
			err = w.Append(t.Context(), e.Recorded)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return log
}

// What a consumer counts is in the log, so that one that dies amid it and its
// successor count as one that never did.
func TestACopyThatIsKilledAmidTheLogCountsEachEventOnce(t *testing.T) {
	h := newHistory(t)
	randomly(h, rand.New(rand.NewPCG(1, 2)), 600)
	want := text(t, h.metrics())
	log := store(t, h)
	for killed := range 5 {
		m := metrics.New(func() time.Time { return h.at })
		ctx, kill := context.WithCancelCause(t.Context())
		reader := &follow.Reader{Log: cut{log, (killed + 1) * 100, kill}, Folds: []follow.Fold{m}}
		if err := reader.Run(ctx); !errors.Is(err, errKilled) {
			t.Fatalf("Run = %v, want that it was killed", err)
		}
		if text(t, m) == want {
			t.Fatal("it was not killed amid the log")
		}
	}
	m := metrics.New(func() time.Time { return h.at })
	ctx, stop := context.WithCancel(t.Context())
	reader := &follow.Reader{Log: log, Folds: []follow.Fold{m}}
	over := make(chan error)
	go func() { over <- reader.Run(ctx) }()
	<-reader.Caught()
	if got := text(t, m); got != want {
		t.Errorf("after restarts:\n%s\nwant\n%s", got, want)
	}
	stop()
	if err := <-over; !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v", err)
	}
}

var errKilled = errors.New("killed")

// cut is a log whose reader is killed after so many events.
type cut struct {
	*bus.Log
	after int
	kill  context.CancelCauseFunc
}

func (c cut) Read(ctx context.Context, q bus.Query) iter.Seq2[bus.Entry, error] {
	return func(yield func(bus.Entry, error) bool) {
		n := 0
		for e, err := range c.Log.Read(ctx, q) {
			if n++; n > c.after {
				c.kill(errKilled)
				yield(bus.Entry{}, context.Cause(ctx))
				return
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

func TestALoadCountsWhatIsNewInIt(t *testing.T) {
	beat := func(attempt uint64, l events.Load) events.Event {
		return &events.HeartbeatAnswered{Attempt: attempt, Number: 1, SentAt: began, NextProbeAt: began, AnswerBy: began, Load: l}
	}
	opened := func(attempt uint64) events.Event {
		return &events.SessionOpened{Attempt: attempt, NextProbeAt: began, AnswerBy: began}
	}
	lost := func(attempt uint64) events.Event {
		return &events.SessionLost{Attempt: attempt, Cause: events.CauseReset, Failures: 1, RetryAt: began}
	}
	for _, tt := range []struct {
		name                                      string
		happens                                   []events.Event
		heartbeats, contracts, waits, waited, now string
	}{
		{"none", []events.Event{opened(1), beat(1, events.Load{})}, "", "", "", "", ""},
		{"the first", []events.Event{opened(1), beat(1, sent(2, 3, 500))}, "2", "3", "4", "0.5", "1"},
		{"the same again", []events.Event{opened(1), beat(1, sent(2, 3, 500)), beat(1, sent(2, 3, 500))}, "2", "3", "4", "0.5", "1"},
		{"more", []events.Event{opened(1), beat(1, sent(2, 3, 500)), beat(1, sent(3, 3, 750))}, "3", "3", "5", "0.75", "1"},
		{"less", []events.Event{opened(1), beat(1, sent(5, 5, 500)), beat(1, sent(2, 3, 250)), beat(1, sent(6, 5, 500))}, "6", "5", "10", "0.5", "1"},
		{"by an older program", []events.Event{opened(1), beat(1, sent(2, 3, 500)), beat(1, events.Load{}), beat(1, sent(3, 3, 500))}, "3", "3", "5", "0.5", "1"},
		{"a session that is over", []events.Event{opened(1), beat(1, sent(2, 3, 500)), lost(1)}, "2", "3", "4", "0.5", ""},
		{"stopped", []events.Event{opened(1), beat(1, sent(2, 3, 500)), &events.Stopped{Cause: events.CauseAskedFor, Attempt: 1}}, "2", "3", "4", "0.5", ""},
		{"the next session", []events.Event{opened(1), beat(1, sent(2, 3, 500)), lost(1), opened(2), beat(2, sent(2, 0, 250))}, "4", "3", "5", "0.75", "1"},
		{"an attempt of which nothing else is known", []events.Event{beat(1, sent(2, 3, 500)), beat(2, sent(2, 3, 500))}, "4", "6", "8", "1", "1"},
	} {
		h := newHistory(t)
		h.add("main", 0, &events.EpochBegan{Instance: "host-1", PID: 1})
		for _, e := range tt.happens {
			h.add("main", time.Second, e)
		}
		scrape := text(t, h.metrics())
		for series, want := range map[string]string{
			`ibconn_requests_total{connection="main",kind="heartbeat"}`: tt.heartbeats,
			`ibconn_requests_total{connection="main",kind="contract"}`:  tt.contracts,
			`ibconn_pacing_waits_total{connection="main"}`:              tt.waits,
			`ibconn_pacing_wait_seconds_total{connection="main"}`:       tt.waited,
			`ibconn_queue_depth{connection="main"}`:                     tt.now,
		} {
			if got := value(scrape, series); got != want {
				t.Errorf("%s: %s is %q, want %q", tt.name, series, got, want)
			}
		}
	}
}

func TestKindsThatNobodyKnowsShareASeries(t *testing.T) {
	h := newHistory(t)
	h.add("main", 0, &events.EpochBegan{Instance: "host-1", PID: 1})
	load := sent(2, 3, 0)
	for n := range 1000 {
		load.Sent[events.MessageKind(fmt.Sprint("new-", n))] = 1
	}
	h.add("main", time.Second, &events.HeartbeatAnswered{Attempt: 1, Number: 1, NextProbeAt: began, AnswerBy: began, Load: load})
	got := text(t, h.metrics())
	if n := strings.Count(got, "ibconn_requests_total{"); n != 4 {
		t.Errorf("there are %d series, want one for each kind that is known and one of others", n)
	}
	if got := value(got, `ibconn_requests_total{connection="main",kind="other"}`); got != "1000" {
		t.Errorf("others are %s, want 1000", got)
	}
}

func TestTheGatewayCannotMakeSeriesWithoutBound(t *testing.T) {
	h := newHistory(t)
	h.add("main", 0, &events.EpochBegan{Instance: "host-1", PID: 1})
	for code := range 3 * metrics.MaxCodes {
		h.add("main", time.Second, &events.GatewayReported{Attempt: 1, RequestID: -1, Code: code + 20000, Class: events.ClassUnknown, Message: "x"})
	}
	got := text(t, h.metrics())
	if n := strings.Count(got, "ibconn_gateway_reports_total{"); n != metrics.MaxCodes+1 {
		t.Errorf("there are %d series, want one for each of %d codes and one of others", n, metrics.MaxCodes)
	}
	if got := value(got, `ibconn_gateway_reports_total{class="unknown",code="other",connection="main"}`); got != fmt.Sprint(2*metrics.MaxCodes) {
		t.Errorf("others are %s, want %d", got, 2*metrics.MaxCodes)
	}
}

// ratio is what a scrape says of the last hour.
func ratio(scrape, window, of string) string {
	return value(scrape, fmt.Sprintf(`ibconn_availability_ratio{connection="main",of=%q,window=%q}`, of, window))
}

func TestAvailabilityIsTheShareOfTheTimeInWhichItWasWanted(t *testing.T) {
	open := func(h *history, after time.Duration) {
		h.add("main", after, &events.SessionOpened{Attempt: 1, NextProbeAt: h.at.Add(after), AnswerBy: h.at.Add(after + 100*time.Hour)})
	}
	lose := func(h *history, after time.Duration) {
		h.add("main", after, &events.SessionLost{Attempt: 1, Cause: events.CauseReset, Failures: 1, RetryAt: h.at.Add(after + 100*time.Hour)})
	}
	stop := func(h *history, after time.Duration) {
		h.add("main", after, &events.Stopped{Cause: events.CauseAskedFor, Attempt: 1})
	}
	for _, tt := range []struct {
		name           string
		happens        func(h *history)
		ready, healthy string // of the last hour
	}{
		{"nothing yet", func(h *history) {}, "", ""},
		{"always", func(h *history) { open(h, 0); h.at = h.at.Add(2 * time.Hour) }, "1", "1"},
		{"half of the hour", func(h *history) { open(h, 0); lose(h, 3*time.Hour); h.at = h.at.Add(30 * time.Minute) }, "0.5", "0.5"},
		{"half of the time there is", func(h *history) { open(h, 0); lose(h, time.Minute); h.at = h.at.Add(time.Minute) }, "0.5", "0.5"},
		{"degraded for a quarter", func(h *history) {
			open(h, 0)
			h.add("main", 45*time.Minute, &events.LinkWentDown{Attempt: 1, Code: 1100})
			h.at = h.at.Add(15 * time.Minute)
		}, "1", "0.75"},
		{"stopped for a while", func(h *history) {
			open(h, 0)
			stop(h, 20*time.Minute)
			open(h, 20*time.Minute)
			h.at = h.at.Add(20 * time.Minute)
		}, "1", "1"},
		{"killed", func(h *history) {
			open(h, 0)
			h.at = h.at.Add(45 * time.Minute)
			h.add("main", 0, &events.EpochBegan{Instance: "host-1", PID: 2, LastEventAt: h.at.Add(-15 * time.Minute)})
			lose(h, 0)
			open(h, 0)
			h.at = h.at.Add(15 * time.Minute)
		}, "0.75", "0.75"},
		{"not heard of any more", func(h *history) {
			h.add("main", 0, &events.SessionOpened{Attempt: 1, NextProbeAt: h.at.Add(30*time.Minute - events.Slack), AnswerBy: h.at.Add(30*time.Minute - events.Slack)})
			h.at = h.at.Add(time.Hour)
		}, "0.5", "0.5"},
		{"a clock set back", func(h *history) { open(h, 0); lose(h, time.Hour); open(h, -30*time.Minute); h.at = h.at.Add(time.Hour) }, "1", "1"},
	} {
		h := newHistory(t)
		h.add("main", 0, &events.EpochBegan{Instance: "host-1", PID: 1})
		tt.happens(h)
		got := text(t, h.metrics())
		if ready, healthy := ratio(got, "1h", "ready"), ratio(got, "1h", "healthy"); ready != tt.ready || healthy != tt.healthy {
			t.Errorf("%s: ready %q, healthy %q, want %q and %q", tt.name, ready, healthy, tt.ready, tt.healthy)
		}
	}
}

func TestAConnectionThatIsOverdueSaysSo(t *testing.T) {
	h := newHistory(t)
	night(h)
	for _, tt := range []struct {
		after time.Duration
		want  string
	}{{0, "0"}, {time.Hour, "1"}} {
		h.at = h.at.Add(tt.after)
		if got := value(text(t, h.metrics()), `ibconn_connection_overdue{connection="main"}`); got != tt.want {
			t.Errorf("%v later it is %s, want %s", tt.after, got, tt.want)
		}
	}
	h.add("main", 0, &events.Stopped{Cause: events.CauseAskedFor, Attempt: 3})
	h.at = h.at.Add(time.Hour)
	if got := value(text(t, h.metrics()), `ibconn_connection_overdue{connection="main"}`); got != "0" {
		t.Errorf("stopped it is %s, want 0: nothing is due", got)
	}
}

// What is stored and is no event is skipped, and said.
func TestWhatIsNoEventIsSkipped(t *testing.T) {
	h := newHistory(t)
	night(h)
	m := metrics.New(func() time.Time { return h.at })
	ctx, stop := context.WithCancel(t.Context())
	reader := &follow.Reader{Log: scripted{h.all, 7}, Folds: []follow.Fold{m}}
	over := make(chan error)
	go func() { over <- reader.Run(ctx) }()
	<-reader.Caught()
	got := text(t, m)
	if value(got, "ibconn_consumer_undecodable_messages_total") != "1" || value(got, "ibconn_consumer_position") != fmt.Sprint(len(h.all)) {
		t.Errorf("skipped is %s, the position %s", value(got, "ibconn_consumer_undecodable_messages_total"), value(got, "ibconn_consumer_position"))
	}
	stop()
	<-over
}

// scripted is a log of which one message is no event.
type scripted struct {
	all []bus.Entry
	bad int
}

func (s scripted) Last(context.Context) (uint64, error) { return uint64(len(s.all)), nil }

func (s scripted) Read(ctx context.Context, q bus.Query) iter.Seq2[bus.Entry, error] {
	return func(yield func(bus.Entry, error) bool) {
		for i, e := range s.all {
			if e.StreamSeq <= q.After {
				continue
			}
			if i == s.bad {
				if !yield(bus.Entry{}, &bus.UndecodableError{StreamSeq: e.StreamSeq, Err: errors.New(nuid.Next())}) {
					return
				}
			} else if !yield(e, nil) {
				return
			}
		}
		if q.Follow {
			<-ctx.Done()
			yield(bus.Entry{}, context.Cause(ctx))
		}
	}
}
