package events

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

var nine = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

// One event of every type, and one for each way in which a type is said.
var spoken = []Event{
	&EpochBegan{Instance: "desk-41", PID: 41, Version: "0.9.1"},
	&EpochBegan{Instance: "desk-42", PID: 42, Version: "0.9.1", PreviousEpoch: 3, Away: 12_000},
	&ConnectRequested{By: AskerStart},
	&ConnectRequested{By: AskerCommand, Reason: "back from maintenance."},
	&ConnectRequested{By: "scheduler"},
	&DialStarted{Attempt: 3, Endpoint: "127.0.0.1:4002", ClientID: 17},
	&DialStarted{Attempt: 12, Endpoint: "127.0.0.1:4002", ClientID: 17, Probe: true},
	&GatewayReached{Attempt: 3, Remote: "127.0.0.1:4002", Took: 0.4},
	&GatewayGreeted{Attempt: 3, ServerVersion: 225, Took: 12},
	&DialFailed{Attempt: 3, Cause: CauseRefused, Detail: "dial tcp 127.0.0.1:4002: connect: connection refused", RetryIn: 1200},
	&DialFailed{Attempt: 4, Cause: CauseClientIDInUse, Code: 326, RetryIn: 5000},
	&DialFailed{Attempt: 5, Cause: CauseOther, Detail: "the moon is in the way.", RetryIn: 60_000},
	&DialFailed{Attempt: 6, Cause: CauseOther},
	&DialFailed{Attempt: 7, Cause: "solar_flare", RetryIn: 1000},
	&DialFailed{Attempt: 8, Cause: CauseAskedFor},
	&SessionOpened{ServerVersion: 225, Accounts: []string{"DU***67", "DU***68"}, Took: 34, Outage: 4100},
	&SessionOpened{ServerVersion: 225, Accounts: []string{"DU***67"}, Took: 34},
	&SessionStale{Misses: 1, Silent: 30_000},
	&SessionFresh{Stale: 12_000},
	&SessionLost{Cause: CauseHeartbeatLost, Uptime: 7_380_000},
	&SessionLost{Cause: CauseReset, Uptime: 90_000_000, RetryIn: 800},
	&SessionLost{Cause: CauseProcessRestarted, Away: 12_000},
	&SessionLost{Cause: CauseAskedFor, Uptime: 350},
	&BreakerOpened{Failures: 8, ProbeAt: nine.Add(time.Minute)},
	&BreakerOpened{Failures: 8, ProbeAt: nine.Add(-time.Minute)},
	&BreakerClosed{Attempt: 12, Open: 200_000},
	&Stopped{Cause: CauseAskedFor, Uptime: 7_380_000, Reason: "weekend"},
	&Stopped{Cause: CauseShutdown},
	&DialFailed{Attempt: 9, Cause: CauseRefused, RetryIn: 8000, Window: "restart daily 23:45-23:50 Europe/Zurich"},
	&SessionLost{Cause: CauseClosedByGateway, Uptime: 90_000, Window: "restart daily 23:45-23:50 Europe/Zurich"},
	&LinkWentDown{Code: 1100, Window: "reset Sun-Fri 00:15-01:45 America/New_York"},
	&BreakerOpened{Failures: 8, ProbeAt: nine.Add(15 * time.Second), Window: "restart daily 23:45-23:50 Europe/Zurich"},
	&ClockJumped{By: 3_600_000},
	&ClockJumped{By: -1500},
	&LoginNeeded{Level: LevelSession, Since: nine.Add(-4 * time.Minute), Action: "log in at the gateway's window"},
	&PortChanged{Attempt: 2, Endpoint: "127.0.0.1:4003", Allowed: true},
	&PortChanged{Attempt: 2, Endpoint: "127.0.0.1:4003"},
	&GatewayRepeated{Attempt: 2, RequestID: -1, Code: 1100, Class: ClassLinkLost, Message: "lost.", Count: 14, FirstAt: nine, LastAt: nine.Add(time.Minute)},
	&LinkWentDown{Code: 1100},
	&LinkCameBack{Code: 1101, DataLost: true, Down: 420_000},
	&LinkCameBack{Code: 1102},
	&LinkProven{From: LinkUnknown, RTT: 84},
	&LinkProven{From: LinkUp, RTT: 84},
	&LinkProven{From: LinkDown, DataLost: true, Down: 190_000, RTT: 84},
	&LinkFellSilent{From: LinkUp, Misses: 3},
	&LinkFellSilent{From: LinkUnknown, Misses: 3, Code: 322, Window: "reset Sun-Fri 00:15-01:45 America/New_York"},
	&CompetingBegan{RequestID: 9, Code: 10197, Message: "No market data during competing live session", Action: "end the other session"},
	&CompetingEnded{Lasted: 640_000},
	&PacingReduced{PerSecond: 20, Before: 40, Until: nine.Add(time.Minute), Code: 100},
	&PacingRestored{Reduced: 60_000},
	&LinkAnswered{Number: 3, RTT: 84},
	&LinkMissed{Number: 3, Misses: 2, Code: 322, Message: "Error processing request."},
	&FarmChanged{Farm: Farm{FarmMarketData, "usfarm"}, From: FarmUp, To: FarmDown, Code: 2103},
	&FarmChanged{Farm: Farm{FarmHistorical, "ushmds"}, From: FarmUp, To: FarmIdle, Code: 2107},
	&FarmChanged{Farm: Farm{FarmSecDef, ""}, From: FarmUnknown, To: FarmUp, Code: 2158},
	&HeartbeatAnswered{Number: 12, RTT: 0.4},
	&HeartbeatAnswered{Number: 13, RTT: 12_000, Late: true},
	&HeartbeatMissed{Number: 14, Misses: 2, Silent: 40_000},
	&HeartbeatMissed{Number: 15, Silent: 300},
	&GatewayReported{RequestID: -1, Code: 2100, Class: ClassInfo, Message: "API client has been unsubscribed from account data.", Meaning: "another client's account subscription replaced this one"},
	&GatewayReported{RequestID: 7, Code: 162, Class: ClassPacing, Message: "Mensaje de error:\r\n desconocido.", Meaning: "the historical data service refused the query", UnmatchedText: true},
	&GatewayReported{RequestID: -1, Code: 9999, Class: ClassUnknown, Message: "Something about DU1234567."},
	&GatewayReported{RequestID: -1, Code: 504, Class: ClassSocketDown, Message: "Not connected", Meaning: "there is no connection to the gateway"},
	&FrameRefused{MessageID: 3, Name: "PLACE_ORDER", Size: 120},
	&FrameRefused{MessageID: 999, Size: 1},
	&SessionAbandoned{Attempt: 5, Waited: 5000, Total: 2},
	&LogDamaged{Finding: FindingMissing, Detail: "the log ends at 41, and 57 was written"},
	&CommandAccepted{CommandID: "x1", Verb: VerbReconnect, Reason: "test"},
	&CommandAccepted{CommandID: "x2", Verb: VerbConnect, UnderWay: true},
	&CommandRejected{CommandID: "x3", Verb: VerbReconnect, Code: ErrorStopped, Message: "the connection is stopped; connect it first"},
	&CommandCompleted{CommandID: "x1", Verb: VerbReconnect, Took: 34},
	&CommandBegun{CommandID: "x5", Verb: VerbRestartGateway},
	&CommandCompleted{CommandID: "x5", Verb: VerbRestartGateway, Took: 34, Said: "RESTART at 03:14 AM"},
	&CommandFailed{CommandID: "x6", Verb: VerbReconnectData, Code: ErrorGatewayRefused, Message: "IBC refused RECONNECTDATA: not now, DU1234567", Took: 34},
	&CommandFailed{CommandID: "x4", Verb: VerbConnect, Code: ErrorTripped, Message: "the circuit breaker opened", Took: 200_000},
	barsOf("aapl-bars", "AAPL", "book"),
	&SubscriptionAdded{
		CommandID: "x7", Reason: "the book of DU1234567 needs it", Subscription: "es-quotes", Caller: "book",
		Feed: Feed{Kind: SubscribeQuotes}, Asked: Contract{Symbol: "ES", SecType: "FUT", Exchange: "CME", LastTradeDateOrContractMonth: "202612"},
	},
	&SubscriptionJoined{CommandID: "x8", Subscription: "aapl-bars", Caller: "risk", Reason: "a second look"},
	&SubscriptionLeft{CommandID: "x9", Subscription: "aapl-bars", Caller: "risk"},
	&SubscriptionCancelled{CommandID: "y1", Subscription: "aapl-bars", Caller: "book", Reason: "closed"},
	&SubscriptionCancelled{CommandID: "y2", Subscription: "aapl-bars"},
	&SubscriptionPlacement{Subscription: "aapl-bars", RequestID: 134217731, Because: BecauseNew, Try: 1},
	&SubscriptionPlacement{Subscription: "aapl-bars", RequestID: 134217732, Because: BecauseDataLost, Try: 2},
	&SubscriptionDelivered{Subscription: "aapl-bars", Took: 5012},
	&SubscriptionDelivered{Subscription: "aapl-bars", Took: 45_012, Dark: 40_000},
	&SubscriptionFellSilent{Subscription: "aapl-bars", Silent: 20_000},
	&SubscriptionFellSilent{Subscription: "aapl-bars", Silent: 20_000, Because: "farm market_data/usfarm is down", RetryAt: nine.Add(time.Minute)},
	&SubscriptionRefused{Subscription: "aapl-bars", Code: 420, Class: ClassPacing, Message: "Invalid Real-time Query.", RetryAt: nine.Add(time.Minute), Tries: 1},
	&SubscriptionRefused{Subscription: "aapl-bars", Code: 354, Class: ClassEntitlement, Message: "Requested market data is not subscribed."},
	&SubscriptionRefused{Subscription: "aapl-bars", Message: "too many messages wait", RetryAt: nine},
	&SubscriptionHours{Subscription: "aapl-bars", Hours: TradingTimes{AsOf: nine}},
	&GapDetected{Subscription: "aapl-bars", From: nine.Add(-time.Minute), To: nine, Bars: 12},
	&GapFilled{Subscription: "aapl-bars", From: nine.Add(-5 * time.Second), To: nine, Bars: 1},
	&GapFilled{Subscription: "aapl-bars", From: nine.Add(-time.Minute), To: nine, Bars: 11, Missing: 1},
	&GapUnfillable{Subscription: "aapl-bars", From: nine.Add(-time.Minute), To: nine, Code: ErrorNotPermitted, Message: "the account has no permission for this data"},
	&GapUnfillable{Subscription: "aapl-bars", From: nine.Add(-time.Minute), To: nine, Code: ErrorNoData, Message: "IB has no bars for it"},
	&Unknown{Name: "ib.conn.state.something_new"},
}

func TestEveryTypeOfEventIsSaid(t *testing.T) {
	var b bytes.Buffer
	said := map[Type]bool{}
	for _, e := range spoken {
		r := Recorded{Time: nine, Epoch: 4, Event: e}
		if began, ok := e.(*EpochBegan); ok {
			r.Epoch = began.PreviousEpoch + 1
		}
		sentence := Sentence(r)
		checkSentence(t, e, sentence)
		said[e.Type()] = true
		fmt.Fprintf(&b, "%-8s %-18s %s\n", SeverityOf(r), e.Type().What(), sentence)
	}
	for _, typ := range Types() {
		if !said[typ] {
			t.Errorf("no event of type %s is said here", typ)
		}
	}
	golden(t, "sentences.txt", b.Bytes())
}

func TestAnEmptyEventOfEveryTypeCanBeSaid(t *testing.T) {
	for _, typ := range Types() {
		e := New(typ)
		sentence := Sentence(Recorded{Event: e})
		checkSentence(t, e, sentence)
		if sentence == string(typ) || sentence == "no event" {
			t.Errorf("Sentence of %s = %q, want words for this type", typ, sentence)
		}
	}
	if got, want := Sentence(Recorded{}), "no event"; got != want {
		t.Errorf("Sentence of no event = %q, want %q", got, want)
	}
}

func TestAnotherPersonsWordsAreClippedMaskedAndKeptOnOneLine(t *testing.T) {
	tests := []struct {
		event Event
		want  string
	}{
		{
			&CommandAccepted{CommandID: "x1", Verb: VerbReconnect, Reason: "for\n\tU1234567 \x1b[31mred\u202e... "},
			"command reconnect x1 accepted: for U***67 [31mred",
		},
		{
			// The id lies across the cut, and must not show what is left of it.
			&CommandAccepted{CommandID: "x1", Verb: VerbReconnect, Reason: strings.Repeat("a", 113) + " DU1234567"},
			"command reconnect x1 accepted: " + strings.Repeat("a", 113) + " DU***…",
		},
		{
			&DialFailed{Attempt: 3, Cause: CauseOther, Detail: strings.Repeat("ж", 500), RetryIn: 1000},
			"attempt 3 failed: " + strings.Repeat("ж", 119) + "…; next try in 1 s",
		},
	}
	for _, tt := range tests {
		if got := Sentence(Recorded{Event: tt.event}); got != tt.want {
			t.Errorf("Sentence = %q,\nwant %q", got, tt.want)
		}
	}
}

func FuzzSentence(f *testing.F) {
	f.Add("", "")
	f.Add("x1", "U1234567.\r\n.")
	f.Add(strings.Repeat("x", 300), "\xff\x1b[2J\u202e")
	f.Fuzz(func(t *testing.T, id, words string) {
		for _, e := range []Event{
			&EpochBegan{Instance: id, Version: words},
			&DialFailed{Cause: CauseOther, Detail: words},
			&GatewayReported{Code: 1, Class: ClassUnknown, Message: words},
			&CommandAccepted{CommandID: id, Verb: VerbReconnect, Reason: words},
			&FarmChanged{Farm: Farm{FarmMarketData, words}, To: FarmStatus(id)},
			&FrameRefused{Name: words},
			&SubscriptionAdded{Subscription: id, Caller: words, Reason: words, Asked: Contract{Symbol: words}},
			&SubscriptionCancelled{Subscription: words, Caller: id},
			&SubscriptionFellSilent{Subscription: id, Because: words},
			&SubscriptionRefused{Subscription: id, Message: words, RetryAt: nine},
			&GapUnfillable{Subscription: words, Message: words},
		} {
			checkSentence(t, e, Sentence(Recorded{Event: e}))
		}
	})
}

func checkSentence(t *testing.T, e Event, s string) {
	t.Helper()
	switch {
	case s == "", strings.HasSuffix(s, "."), s != strings.TrimSpace(s):
		t.Errorf("Sentence of %s = %q, want words and no period at the end", e.Type(), s)
	case utf8.RuneCountInString(s) > 200:
		t.Errorf("Sentence of %s has %d characters, want at most 200: %q", e.Type(), utf8.RuneCountInString(s), s)
	case !utf8.ValidString(s), strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		t.Errorf("Sentence of %s = %q, want one line that prints", e.Type(), s)
	case accountID.MatchString(s):
		t.Errorf("Sentence of %s = %q, want no account id", e.Type(), s)
	}
}

func TestMillisAreWordedInAtMostTwoUnits(t *testing.T) {
	const s, m, h, d = 1000, 60_000, 3_600_000, 86_400_000
	tests := []struct {
		m    Millis
		want string
	}{
		{0, "0 ms"},
		{0.4, "0.4 ms"},
		{0.412, "0.4 ms"},
		{1, "1 ms"},
		{9.94, "9.9 ms"},
		{9.96, "10 ms"},
		{34.4, "34 ms"},
		{350, "350 ms"},
		{999.4, "999 ms"},
		{999.6, "1 s"},
		{1.2 * s, "1.2 s"},
		{4.1 * s, "4.1 s"},
		{9.94 * s, "9.9 s"},
		{9.96 * s, "10 s"},
		{12 * s, "12 s"},
		{59.4 * s, "59 s"},
		{59.6 * s, "1 min"},
		{60 * s, "1 min"},
		{200 * s, "3 min 20 s"},
		{h - s, "59 min 59 s"},
		{h - 0.4*s, "1 h"},
		{h, "1 h"},
		{2*h + 3*m, "2 h 3 min"},
		{d - m, "23 h 59 min"},
		{d - 20*s, "1 d"},
		{d, "1 d"},
		{3*d + 4*h, "3 d 4 h"},
		{400 * d, "400 d"},
		{-1.2 * s, "-1.2 s"},
	}
	for _, tt := range tests {
		if got := tt.m.String(); got != tt.want {
			t.Errorf("Millis(%v).String() = %q, want %q", float64(tt.m), got, tt.want)
		}
	}
}

func TestSeverityOfAReportGoesByItsClass(t *testing.T) {
	tests := []struct {
		want    Severity
		classes []Class
	}{
		{SeverityError, []Class{ClassSocketDown, ClassFatalConfig, ClassFatalProtocol}},
		{SeverityWarning, []Class{
			ClassLinkLost, ClassLinkRestoredLost, ClassRejectedRetry, ClassFarmDown, ClassPacing, ClassCapacity, ClassSubDeadRetry, ClassSubDeadPerm,
			ClassEntitlement, ClassCompeting, ClassRequestInvalid, ClassAdvisory, ClassUnknown, "a class of a newer version",
		}},
		{SeverityInfo, []Class{ClassLinkRestoredKept, ClassFarmUp, ClassFarmIdle, ClassFarmConnecting, ClassNoData, ClassInfo, ClassBenign}},
	}
	tested := map[Class]bool{}
	for _, tt := range tests {
		for _, class := range tt.classes {
			tested[class] = true
			if got := SeverityOf(Recorded{Event: &GatewayReported{Class: class}}); got != tt.want {
				t.Errorf("SeverityOf(report of class %s) = %s, want %s", class, got, tt.want)
			}
		}
	}
	for c := range Codes() {
		if !tested[c.Class] {
			t.Errorf("class %s of code %d has no severity here", c.Class, c.Number)
		}
	}
}
