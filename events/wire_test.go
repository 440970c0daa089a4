package events

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// wireTime is when the sample events happened.
var wireTime = time.Date(2026, 11, 23, 9, 15, 0, 123456789, time.UTC)

func after(d time.Duration) time.Time { return wireTime.Add(d) }

var (
	ready   = Standing{Phase: PhaseReady, Condition: ConditionHealthy, Reasons: []Reason{}}
	waiting = standingFor(PhaseWaiting)
)

func standingFor(p Phase) Standing {
	return Standing{Phase: p, Condition: ConditionDown, Reasons: []Reason{
		{Level: LevelSession, What: string(p), Since: wireTime, Cause: CauseReset},
	}}
}

func degraded(r Reason) Standing {
	r.Since = wireTime
	return Standing{Phase: PhaseReady, Condition: ConditionDegraded, Reasons: []Reason{r}}
}

// samples holds one event of each type, in the order of Types, with every
// field set: the events whose wire form is kept in testdata/wire.
func samples() []Event {
	traffic := Traffic{BytesIn: 48_211, BytesOut: 1_733, FramesIn: 612, FramesOut: 41, HeardAt: after(-12 * time.Second)}
	flight := []FlightFrame{
		{At: after(-14 * time.Second), Dir: "out", ID: 49, Name: "reqCurrentTime", Size: 8, Head: "49|1"},
		{At: after(-12 * time.Second), Dir: "in", ID: 49, Name: "currentTime", Size: 17, Head: "49|1|1795425288"},
	}
	usfarm := Farm{Kind: FarmMarketData, Name: "usfarm"}
	farms := []FarmNews{{Farm: usfarm, Status: FarmUp}, {Farm: Farm{Kind: FarmHistorical, Name: "ushmds"}, Status: FarmIdle}}
	feed := Feed{
		Kind: SubscribeHistoryBars, What: "TRADES", RTH: true, BarSize: "1 min", Duration: "1 D", GenericTicks: "233", MarketDataType: "live",
		Contract: Contract{
			ConID: 265598, Symbol: "AAPL", SecType: "STK", LastTradeDateOrContractMonth: "20261218", Strike: "150", Right: "C", Multiplier: "100", Exchange: "SMART",
			PrimaryExch: "NASDAQ", Currency: "USD", LocalSymbol: "AAPL", TradingClass: "NMS", SecIDType: "ISIN", SecID: "US0378331005", IncludeExpired: true,
		},
	}
	hours := TradingTimes{Zone: "US/Eastern", Trading: "20261123:0400-20261123:2000", Liquid: "20261123:0930-20261123:1600", AsOf: wireTime}
	load := Load{
		Sent: map[MessageKind]uint64{
			MessageStart: 1, MessageHeartbeat: 241, MessageLinkProbe: 4, MessageContract: 12, MessageHistory: 7, MessageSubscribe: 30, MessageDataType: 2, MessageCancel: 9,
		},
		Waits: 25, Waited: 1_312.5, Queued: 3,
	}
	return []Event{
		&EpochBegan{
			Instance: "desk-4711", PID: 4711, Version: "1.2.3", PreviousEpoch: 7, PreviousPhase: PhaseReady,
			LastEventAt: after(-90 * time.Second), Away: 90_000,
		},
		&ConnectRequested{By: AskerCommand, Reason: "maintenance is over", RetryAt: wireTime, Standing: waiting},
		&DialStarted{
			Attempt: 12, Endpoint: "127.0.0.1:4002", ClientID: 17, Probe: true, Failures: 8, Because: "127.0.0.1:4001 failed 3 times in a row",
			DeadlineAt: after(5 * time.Second), Standing: standingFor(PhaseDialing),
		},
		&GatewayReached{Attempt: 12, Remote: "127.0.0.1:4002", Took: 0.412, DeadlineAt: after(10 * time.Second), Standing: standingFor(PhaseGreeting)},
		&GatewayGreeted{
			Attempt: 12, ServerVersion: 203, GatewayTime: "20261123 09:15:00 EST", Took: 3.25,
			DeadlineAt: after(15 * time.Second), Standing: standingFor(PhaseGreeting),
		},
		&DialFailed{
			Attempt: 12, Stage: PhaseGreeting, Cause: CauseClientIDInUse, Detail: "Unable to connect as the client id is already in use.",
			Code: 326, Took: 41.7, Failures: 3, RetryAt: after(1250 * time.Millisecond), RetryIn: 1250,
			Window:  "restart daily 23:45-23:50 Europe/Zurich",
			Traffic: traffic, Flight: flight, Standing: waiting,
		},
		&SessionOpened{
			Attempt: 12, ServerVersion: 203, ClientID: 17, Endpoint: "127.0.0.1:4002", Accounts: []string{"DU***67", "DU***68"},
			NextValidID: 1, Took: 212.5, RTT: 1.875, Skew: -312.5, Outage: 4_100,
			NextProbeAt: after(15 * time.Second), AnswerBy: after(20 * time.Second), ProbeLinkAt: wireTime, Standing: ready,
		},
		&SessionStale{Attempt: 12, Misses: 1, Silent: 20_000, Standing: degraded(Reason{Level: LevelSession, What: "stale"})},
		&SessionFresh{Attempt: 12, Stale: 1_500, Standing: ready},
		&SessionLost{
			Attempt: 12, Cause: CauseReset, Detail: "read: connection reset by peer", Code: 1300, Uptime: 3_600_000, Silent: 12_000, Away: 90_000,
			Failures: 1, RetryAt: after(800 * time.Millisecond), RetryIn: 800,
			Window: "restart daily 23:45-23:50 Europe/Zurich", Traffic: traffic, Flight: flight, Standing: waiting,
		},
		&BreakerOpened{Failures: 8, ProbeAt: after(time.Minute), Window: "restart daily 23:45-23:50 Europe/Zurich", Standing: standingFor(PhaseTripped)},
		&BreakerClosed{Attempt: 12, Open: 180_000, Standing: ready},
		&Stopped{Cause: CauseAskedFor, Reason: "weekly restart", Attempt: 12, Uptime: 3_600_000, Standing: Standing{
			Phase: PhaseStopped, Condition: ConditionStopped, Reasons: []Reason{{Level: LevelSession, What: "stopped", Since: wireTime}},
		}},
		&ClockJumped{
			By: 3_600_000, RetryAt: wireTime, DeadlineAt: after(4 * time.Second), NextProbeAt: wireTime, AnswerBy: after(5 * time.Second), ProbeLinkAt: wireTime,
			Standing: waiting,
		},
		&LoginNeeded{
			Level: LevelSession, Since: after(-4 * time.Minute), Action: "log the gateway in",
			Standing: degraded(Reason{Level: LevelSession, What: "login_needed"}),
		},
		&PortChanged{
			Attempt: 12, Endpoint: "127.0.0.1:4003", Allowed: true, Message: "Socket port has been reset and this connection is being dropped",
			Standing: ready,
		},
		&LinkWentDown{
			Attempt: 12, Code: 1100, Window: "reset Sun-Fri 00:15-01:45 America/New_York", Message: "Connectivity between IBKR and Trader Workstation has been lost.",
			ProbeLinkAt: after(time.Minute), Farms: []FarmNews{{Farm: usfarm, Status: FarmDown}}, Standing: degraded(Reason{Level: LevelLink, What: "down"}),
		},
		&LinkCameBack{
			Attempt: 12, Code: 1101, Message: "Connectivity between IBKR and Trader Workstation has been restored - data lost. The following farms are connected: usfarm. The following farms are inactive: ushmds.",
			DataLost: true, Down: 7_250.5, ProbeLinkAt: wireTime, Farms: farms, Standing: ready,
		},
		&LinkProven{Attempt: 12, From: LinkDown, DataLost: true, Down: 190_500, RTT: 84.25, Standing: ready},
		&LinkFellSilent{
			Attempt: 12, From: LinkUp, Misses: 3, Code: 322, Message: "Error processing request", Window: "reset Sun-Fri 00:15-01:45 America/New_York",
			Standing: degraded(Reason{Level: LevelLink, What: "down", Attribution: AttributionLink}),
		},
		&FarmChanged{
			Attempt: 12, Farm: usfarm, From: FarmUp, To: FarmDown, Code: 2103, Message: "Market data farm connection is broken:usfarm",
			Standing: degraded(Reason{Level: LevelFarm, What: "down", Name: "market_data/usfarm"}),
		},
		&CompetingBegan{
			Attempt: 12, RequestID: 9, Code: 10197, Message: "No market data during competing live session", Action: "end the other session",
			Standing: degraded(Reason{Level: LevelSubscription, What: "competing_session", Attribution: AttributionCompeting}),
		},
		&CompetingEnded{Since: wireTime, Lasted: 640_000, Standing: ready},
		&PacingReduced{
			Attempt: 12, PerSecond: 20, Before: 40, Until: after(time.Minute), Code: 100, Message: "Max rate of messages per second has been exceeded",
			Standing: ready,
		},
		&PacingRestored{Since: wireTime, Reduced: 60_000, Standing: ready},
		&HeartbeatAnswered{
			Attempt: 12, Number: 240, SentAt: after(-2 * time.Second), RTT: 1.625, Skew: 87.5, Late: true,
			NextProbeAt: after(13 * time.Second), AnswerBy: after(18 * time.Second), Load: load,
		},
		&HeartbeatMissed{Attempt: 12, Number: 241, Misses: 1, Silent: 20_000, NextProbeAt: after(time.Second), AnswerBy: after(6 * time.Second), Load: load},
		&LinkAnswered{Attempt: 12, Number: 4, SentAt: after(-time.Second), RTT: 84.25, NextProbeAt: after(5 * time.Minute)},
		&LinkMissed{Attempt: 12, Number: 5, Misses: 2, Code: 322, Message: "Error processing request", Expected: true, NextProbeAt: after(10 * time.Second)},
		&GatewayReported{
			Attempt: 12, RequestID: 9, Code: 162, Class: ClassPacing, Message: "Historical Market Data Service error message: <translated> & unread",
			Meaning: "the historical data service refused the query", UnmatchedText: true, ReportedAt: after(-time.Millisecond),
		},
		&GatewayRepeated{
			Attempt: 12, RequestID: -1, Code: 1100, Class: ClassLinkLost, Message: "Connectivity between IBKR and Trader Workstation has been lost.",
			Count: 14, FirstAt: after(-time.Minute), LastAt: wireTime,
		},
		&FrameRefused{Attempt: 12, MessageID: 3, Name: "placeOrder", Size: 214},
		&SessionAbandoned{Attempt: 12, Waited: 5_000, Total: 1},
		&LogDamaged{Finding: FindingMissing, Detail: "the log ends at sequence 38, but 41 had been stored: 3 events are gone", Expected: 41, Found: 38},
		&CommandAccepted{CommandID: "restart-7", Verb: VerbReconnect, Reason: "weekly restart", UnderWay: true},
		&CommandRejected{CommandID: "restart-7", Verb: VerbReconnect, Code: ErrorStopped, Message: "the connection was stopped by a disconnect command: send connect instead"},
		&CommandBegun{CommandID: "restart-7", Verb: VerbRestartGateway},
		&CommandCompleted{CommandID: "restart-7", Verb: VerbRestartGateway, Took: 250.75, Said: "RESTART at 03:14 AM"},
		&CommandFailed{CommandID: "restart-7", Verb: VerbReconnect, Code: ErrorTripped, Message: "the gateway did not let us in: nothing listens on the gateway's port", Took: 30_250},
		&SubscriptionAdded{
			CommandID: "sub-1", Reason: "the book needs it", Subscription: "aapl-bars", Caller: "book", Feed: feed, Asked: feed.Contract, Priority: PriorityHigh,
			DarkAfter: 30_000, Hours: hours, Standing: ready,
		},
		&SubscriptionJoined{CommandID: "sub-2", Reason: "a second look", Subscription: "aapl-bars", Caller: "risk", Standing: ready},
		&SubscriptionLeft{CommandID: "sub-3", Reason: "no more looks", Subscription: "aapl-bars", Caller: "risk", Standing: ready},
		&SubscriptionCancelled{CommandID: "sub-4", Reason: "closed", Subscription: "aapl-bars", Caller: "book", Standing: ready},
		&SubscriptionPlacement{Subscription: "aapl-bars", Attempt: 12, RequestID: 1<<27 + 3, Because: BecauseDataLost, Try: 2, Standing: ready},
		&SubscriptionDelivered{Subscription: "aapl-bars", Attempt: 12, RequestID: 1<<27 + 3, Took: 5_012.5, Dark: 40_000, Standing: ready},
		&SubscriptionFellSilent{
			Subscription: "aapl-bars", Attempt: 12, RequestID: 1<<27 + 3, LastAt: after(-20 * time.Second), Silent: 20_000,
			Because: "farm market_data/usfarm is down", RetryAt: after(20 * time.Second), Tries: 1,
			Standing: degraded(Reason{Level: LevelSubscription, What: "dark", Name: "aapl-bars"}),
		},
		&SubscriptionRefused{
			Subscription: "aapl-bars", Attempt: 12, RequestID: 1<<27 + 3, Code: 420, Class: ClassPacing, Message: "Invalid Real-time Query:pacing violation",
			Action: "wait", RetryAt: after(time.Minute), Tries: 1, Standing: degraded(Reason{Level: LevelSubscription, What: "failed", Name: "aapl-bars"}),
		},
		&SubscriptionHours{Subscription: "aapl-bars", Hours: hours},
		&GapDetected{Subscription: "aapl-bars", From: after(-time.Minute), To: wireTime, Bars: 12},
		&GapFilled{Subscription: "aapl-bars", From: after(-time.Minute), To: wireTime, Bars: 11, Missing: 1, Took: 11_250},
		&GapUnfillable{Subscription: "aapl-bars", From: after(-time.Minute), To: wireTime, Code: ErrorNotPermitted, Message: "the account has no permission for this data"},
	}
}

// record makes e the event after a fixed head, with every attribute set.
func record(t testing.TB, e Event) Recorded {
	t.Helper()
	h := Head{Epoch: 7, Sequence: 41, Hash: strings.Repeat("0123456789abcdef", 4)}
	author := Author{Connection: "main", Source: "/ibconn/desk-4711", NewID: func() string { return "6QyTkS2KZp1mWv0sYcX9aB" }}
	r, err := h.Next(author, Draft{
		Event: e, Correlation: "attempt-12", Causation: "restart-7", Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	}, wireTime)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// keptForms returns the kept wire forms of one type: <type>.json, and
// <type>.2.json and so on, each with fields that were added after the one
// before.
func keptForms(t *testing.T, typ Type) (forms [][]byte, next string) {
	t.Helper()
	for n := 1; ; n++ {
		next = filepath.Join("testdata", "wire", string(typ)+".json")
		if n > 1 {
			next = filepath.Join("testdata", "wire", fmt.Sprintf("%s.%d.json", typ, n))
		}
		b, err := os.ReadFile(next)
		if errors.Is(err, fs.ErrNotExist) {
			return forms, next
		}
		if err != nil {
			t.Fatal(err)
		}
		forms = append(forms, b)
	}
}

func TestWireFormOfEveryType(t *testing.T) {
	var have []Type
	for _, e := range samples() {
		have = append(have, e.Type())
		got := record(t, e).Wire
		forms, next := keptForms(t, e.Type())
		switch {
		case slices.ContainsFunc(forms, func(kept []byte) bool { return bytes.Equal(kept, got) }):
		case *update:
			if err := os.WriteFile(next, got, 0o644); err != nil {
				t.Fatal(err)
			}
		default:
			t.Errorf("%s is written as\n%s\nwhich is in none of its %d kept files: testdata/wire/README.md says what to do", e.Type(), got, len(forms))
		}
	}
	if want := Types(); !slices.Equal(have, want) {
		t.Errorf("samples() has types %v, want one of each type in order: %v", have, want)
	}
}

func TestEveryKeptWireFormIsReadAndWrittenTheSame(t *testing.T) {
	paths, err := filepath.Glob("testdata/wire/*.json")
	if err != nil || len(paths) < len(Types()) {
		t.Fatalf("found %d kept wire forms (%v), want at least %d", len(paths), err, len(Types()))
	}
	for _, path := range paths {
		kept, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Decode(kept)
		if err != nil {
			t.Errorf("Decode(%s): %v", path, err)
			continue
		}
		if _, unknown := r.Event.(*Unknown); unknown {
			t.Errorf("Decode(%s) = a type no longer known, %s", path, r.Event.Type())
		}
		r.Wire = nil
		again, err := Encode(r)
		if err != nil || !bytes.Equal(again, kept) {
			t.Errorf("Encode(Decode(%s)) = %s, %v, want %s", path, again, err, kept)
		}
	}
}

func TestDecodeReturnsTheEventThatWasEncoded(t *testing.T) {
	for _, e := range samples() {
		want := record(t, e)
		got, err := Decode(want.Wire)
		if err != nil {
			t.Errorf("Decode(%s): %v", e.Type(), err)
			continue
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("Decode(%s) = %+v, want %+v", e.Type(), got, want)
		}
		if !reflect.DeepEqual(got.Event, e) {
			t.Errorf("Decode(%s).Event = %+v, want %+v", e.Type(), got.Event, e)
		}
	}
}

// The kept wire forms show every field only if every field is set.
func TestSamplesSetEveryField(t *testing.T) {
	for _, e := range samples() {
		checkSet(t, string(e.Type()), reflect.ValueOf(e).Elem())
	}
}

func checkSet(t *testing.T, name string, v reflect.Value) {
	t.Helper()
	if v.IsZero() {
		t.Errorf("%s is not set", name)
	}
	switch v.Kind() {
	case reflect.Slice:
		for i := range v.Len() {
			checkSet(t, name, v.Index(i))
		}
	case reflect.Struct:
		// The reasons of a standing follow from its condition.
		if v.Type() == reflect.TypeFor[time.Time]() || v.Type() == reflect.TypeFor[Standing]() {
			return
		}
		for i := range v.NumField() {
			checkSet(t, name+"."+v.Type().Field(i).Name, v.Field(i))
		}
	}
}
