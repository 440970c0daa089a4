package events

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// fold applies a log of events to a new state.
func fold(t testing.TB, all ...Event) State {
	t.Helper()
	s := NewState("main")
	for _, r := range newWriter(t).log(all...) {
		s = s.Apply(r)
	}
	return s
}

// flat returns what a state says as "path: value", times as seconds since
// wireTime.
func flat(t testing.TB, s State) map[string]string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	flatten(out, "", object(t, b))
	for i, c := range s.Recent {
		if c.Said != "" {
			out[fmt.Sprintf("recent.%d.said", i)] = c.Said
		}
		out[fmt.Sprintf("recent.%d", i)] = fmt.Sprint(c.CommandID, " ", c.Verb, " ", c.Sequence, " ", c.Status, " ", c.Rejected, " ", c.Error)
		if c.Subscription != "" {
			out[fmt.Sprintf("recent.%d.subscription", i)] = c.Subscription
		}
	}
	for _, sub := range s.Subscriptions {
		if b, err = json.Marshal(sub); err != nil {
			t.Fatal(err)
		}
		flatten(out, "subscriptions."+sub.Name, object(t, b))
	}
	return out
}

func flatten(out map[string]string, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, field := range v {
			flatten(out, strings.TrimPrefix(path+"."+name, "."), field)
		}
	case []any:
		for i, field := range v {
			flatten(out, fmt.Sprintf("%s.%d", path, i), field)
		}
	case string:
		if at, err := time.Parse(time.RFC3339Nano, v); err == nil {
			v = at.Sub(wireTime).String()
		}
		out[path] = v
	default:
		out[path] = fmt.Sprint(v)
	}
}

// changes lists what differs between two states: "path: before -> after", with
// "-" for what is not there.
func changes(t testing.TB, before, after State) []string {
	t.Helper()
	b, a := flat(t, before), flat(t, after)
	paths := maps.Clone(b)
	maps.Copy(paths, a)
	var all []string
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		was, is := b[path], a[path]
		if was == is {
			continue
		}
		if was == "" {
			was = "-"
		}
		if is == "" {
			is = "-"
		}
		all = append(all, path+": "+was+" -> "+is)
	}
	return all
}

// The ways to the phases, each on top of the one before.
var (
	wanted  = []Event{claimEvent(), &ConnectRequested{By: AskerStart, RetryAt: wireTime}}
	dialing = append(wanted[:2:2], &DialStarted{Attempt: 1, Endpoint: "127.0.0.1:4002", ClientID: 17, DeadlineAt: after(8 * time.Second)})
	greeted = append(dialing[:3:3],
		&GatewayReached{Attempt: 1, DeadlineAt: after(14 * time.Second)},
		&GatewayGreeted{Attempt: 1, ServerVersion: 203, DeadlineAt: after(20 * time.Second)})
	opened  = append(greeted[:5:5], &SessionOpened{Attempt: 1, ServerVersion: 203, Accounts: []string{"DU***67"}, NextValidID: 1, RTT: 2, NextProbeAt: after(21 * time.Second), AnswerBy: after(26 * time.Second)})
	linked  = append(greeted[:5:5], &SessionOpened{Attempt: 1, ServerVersion: 203, NextValidID: 1, NextProbeAt: after(21 * time.Second), AnswerBy: after(26 * time.Second), ProbeLinkAt: after(6 * time.Second)})
	tripped = append(dialing[:3:3],
		&DialFailed{Attempt: 1, Cause: CauseRefused, Failures: 8, RetryAt: after(time.Minute)},
		&BreakerOpened{Failures: 8, ProbeAt: after(time.Minute)})
	probing = append(tripped[:5:5], &DialStarted{Attempt: 2, Endpoint: "127.0.0.1:4002", ClientID: 17, Probe: true, Failures: 8, DeadlineAt: after(8 * time.Second)})
	mute    = append(greeted[:5:5], &DialFailed{Attempt: 1, Stage: PhaseGreeting, Cause: CauseMuteInGreeting, Failures: 1, RetryAt: after(9 * time.Second)})
	asked   = append(opened[:6:6], &CommandAccepted{CommandID: "restart-7", Verb: VerbReconnect, Reason: "weekly restart"})
)

// controlled is a session while IBC is asked for a control command.
var controlled = append(opened[:6:6],
	&CommandAccepted{CommandID: "restart-8", Verb: VerbRestartGateway},
	&CommandBegun{CommandID: "restart-8", Verb: VerbRestartGateway})

// barsOf wants bars of a stock from now on, under a name, for a caller.
func barsOf(name, symbol, caller string) *SubscriptionAdded {
	return &SubscriptionAdded{
		CommandID: "add-" + name, Subscription: name, Caller: caller, Asked: Contract{Symbol: symbol},
		Feed: Feed{Kind: SubscribeBars, What: "TRADES", Contract: Contract{ConID: 265598, Symbol: symbol}},
	}
}

// subscribed is a session while bars are wanted, placed and come, and lively is
// the same in a gap.
var (
	subscribed = append(opened[:6:6], barsOf("aapl-bars", "AAPL", "book"))
	placed     = append(subscribed[:7:7], &SubscriptionPlacement{Subscription: "aapl-bars", Attempt: 1, RequestID: 1001, Because: BecauseNew, Try: 1})
	live       = append(placed[:8:8], &SubscriptionDelivered{Subscription: "aapl-bars", Attempt: 1, RequestID: 1001, Took: 5000})
	gapped     = append(live[:9:9], &GapDetected{Subscription: "aapl-bars", From: after(time.Minute), To: after(2 * time.Minute), Bars: 12})
	refused    = append(placed[:8:8], &SubscriptionRefused{
		Subscription: "aapl-bars", Attempt: 1, RequestID: 1001, Code: 420, Class: ClassPacing, Message: "pacing violation", RetryAt: after(time.Minute), Tries: 1,
	})
)

func TestWhatEachEventChanges(t *testing.T) {
	usfarm := Farm{Kind: FarmMarketData, Name: "usfarm"}
	tests := []struct {
		name  string
		given []Event
		draft Draft
	}{
		{"a claim", nil, Draft{Event: claimEvent()}},
		{"a connection wanted", wanted[:1], Draft{Event: wanted[1]}},
		{"a connection wanted by command", append(tripped[:5:5], &CommandAccepted{CommandID: "restart-7", Verb: VerbConnect}), Draft{Causation: "restart-7", Event: wanted[1]}},
		{"a dial", wanted, Draft{Event: dialing[2]}},
		{"a probe", tripped, Draft{Event: probing[5]}},
		{"a port open", dialing, Draft{Event: greeted[3]}},
		{"a greeting", greeted[:4], Draft{Event: greeted[4]}},
		{"a failure", greeted, Draft{Event: &DialFailed{Attempt: 1, Cause: CauseClientIDInUse, Code: 326, Detail: "in use", Failures: 2, RetryAt: after(9 * time.Second)}}},
		{"a failed probe", probing, Draft{Event: &DialFailed{Attempt: 2, Cause: CauseRefused, Failures: 9, RetryAt: after(2 * time.Minute)}}},
		{"a session", greeted, Draft{Event: opened[5]}},
		{"silence", opened, Draft{Event: &SessionStale{Attempt: 1, Misses: 1}}},
		{"silence broken", append(opened[:6:6], &SessionStale{Attempt: 1, Misses: 1}), Draft{Event: &SessionFresh{Attempt: 1}}},
		{
			"a session lost", append(opened[:6:6], &LinkWentDown{Attempt: 1, Code: 1100}, &FarmChanged{Attempt: 1, Farm: usfarm, To: FarmDown, Code: 2103}, &HeartbeatMissed{Attempt: 1, Number: 1, Misses: 2, NextProbeAt: wireTime, AnswerBy: wireTime}),
			Draft{Event: &SessionLost{Attempt: 1, Cause: CauseReset, Detail: "reset by peer", Failures: 1, RetryAt: after(10 * time.Second)}},
		},
		{"a session ended by command", asked, Draft{Causation: "restart-7", Event: &SessionLost{Attempt: 1, Cause: CauseAskedFor, RetryAt: after(8 * time.Second)}}},
		{"a breaker opened", tripped[:4], Draft{Event: tripped[4]}},
		{"a breaker closed", append(probing[:6:6], greeted[3], greeted[4], opened[5]), Draft{Event: &BreakerClosed{Attempt: 2}}},
		{"a stop by command", append(opened[:6:6], &CommandAccepted{CommandID: "night", Verb: VerbDisconnect}), Draft{Causation: "night", Event: &Stopped{Cause: CauseAskedFor, Attempt: 1}}},
		{"a shutdown while tripped", tripped, Draft{Event: &Stopped{Cause: CauseShutdown}}},
		{"a clock jump while dialing", dialing, Draft{Event: &ClockJumped{By: 3_600_000, DeadlineAt: after(time.Hour)}}},
		{"a clock jump in a session", opened, Draft{Event: &ClockJumped{By: -1500, NextProbeAt: after(time.Second), AnswerBy: after(6 * time.Second)}}},
		{
			"a clock set back while bars come and others are refused",
			append(live[:9:9], barsOf("b", "B", "x"), &GapDetected{Subscription: "b", From: wireTime, To: after(time.Minute), Bars: 12}, &SubscriptionRefused{Subscription: "b", Attempt: 1, Code: 420, Class: ClassPacing, RetryAt: after(time.Minute), Tries: 1}),
			Draft{Event: &ClockJumped{By: -1500, NextProbeAt: after(time.Second), AnswerBy: after(6 * time.Second)}},
		},
		{"a clock jump while tripped", tripped, Draft{Event: &ClockJumped{By: 3_600_000, RetryAt: after(time.Hour)}}},
		{"a mute gateway", greeted, Draft{Event: &DialFailed{Attempt: 1, Stage: PhaseGreeting, Cause: CauseMuteInGreeting, Failures: 1, RetryAt: after(9 * time.Second)}}},
		{"a login needed", mute, Draft{Event: &LoginNeeded{Level: LevelSession, Since: after(7 * time.Second), Action: "log in"}}},
		{"a login done", append(mute[:6:6], &LoginNeeded{Level: LevelSession, Since: after(7 * time.Second), Action: "log in"}, dialing[2], greeted[3], greeted[4]), Draft{Event: opened[5]}},
		{"a port changed", opened, Draft{Event: &PortChanged{Attempt: 1, Endpoint: "127.0.0.1:4003", Allowed: true}}},
		{"a port changed to one not allowed", opened, Draft{Event: &PortChanged{Attempt: 1, Endpoint: "127.0.0.1:4003"}}},
		{
			"a dial to another gateway as another client", append(dialing[:3:3], &DialFailed{Attempt: 1, Cause: CauseClientIDInUse, Failures: 1, RetryAt: wireTime}, &DialFailed{Attempt: 1, Cause: CauseRefused, Failures: 2, RetryAt: wireTime}),
			Draft{Event: &DialStarted{Attempt: 2, Endpoint: "127.0.0.1:4001", ClientID: 18, Because: "the other is down", DeadlineAt: after(15 * time.Second)}},
		},
		{"a link down", opened, Draft{Event: &LinkWentDown{Attempt: 1, Code: 1100, Farms: []FarmNews{{usfarm, FarmDown}}}}},
		{"a link back", append(opened[:6:6], &LinkWentDown{Attempt: 1, Code: 1100, Farms: []FarmNews{{usfarm, FarmDown}}}), Draft{Event: &LinkCameBack{Attempt: 1, Code: 1101, DataLost: true, Farms: []FarmNews{{usfarm, FarmUp}}}}},
		{"a session whose link is probed", greeted, Draft{Event: linked[5]}},
		{"a link probe answered", linked, Draft{Event: &LinkAnswered{Attempt: 1, Number: 1, SentAt: after(7 * time.Second), RTT: 80, NextProbeAt: after(5 * time.Minute)}}},
		{"a link probe missed", linked, Draft{Event: &LinkMissed{Attempt: 1, Number: 1, Misses: 1, Code: 322, Message: "error", NextProbeAt: after(20 * time.Second)}}},
		{"a link proven", linked, Draft{Event: &LinkProven{Attempt: 1, From: LinkUnknown, RTT: 80}}},
		{"a link proven that was said to be down", append(linked[:6:6], &LinkWentDown{Attempt: 1, Code: 2110, ProbeLinkAt: after(time.Minute)}), Draft{Event: &LinkProven{Attempt: 1, From: LinkDown, DataLost: true, RTT: 80}}},
		{"a link back, to be verified", append(linked[:6:6], &LinkWentDown{Attempt: 1, Code: 1100}), Draft{Event: &LinkCameBack{Attempt: 1, Code: 1102, ProbeLinkAt: after(8 * time.Second)}}},
		{"a link that fell silent", append(linked[:6:6], &LinkProven{Attempt: 1, From: LinkUnknown, RTT: 80}), Draft{Event: &LinkFellSilent{Attempt: 1, From: LinkUp, Misses: 3}}},
		{"a link down said again", append(linked[:6:6], &LinkWentDown{Attempt: 1, Code: 1100}), Draft{Event: &GatewayRepeated{Attempt: 1, Code: 1100, Class: ClassLinkLost, Message: "lost", Count: 3, FirstAt: after(time.Minute), LastAt: after(2 * time.Minute)}}},
		{"a competing session", opened, Draft{Event: &CompetingBegan{Attempt: 1, RequestID: 9, Code: 10197, Message: "competing"}}},
		{"a competing session, again", append(opened[:6:6], &CompetingBegan{Attempt: 1, RequestID: 9, Code: 10197}), Draft{Event: &GatewayReported{Attempt: 1, RequestID: 10, Code: 10197, Class: ClassCompeting, Message: "competing"}}},
		{"a competing session gone", append(opened[:6:6], &CompetingBegan{Attempt: 1, RequestID: 9, Code: 10197}), Draft{Event: &CompetingEnded{Since: wireTime, Lasted: 60_000}}},
		{"a budget cut", opened, Draft{Event: &PacingReduced{Attempt: 1, PerSecond: 20, Before: 40, Until: after(time.Minute), Code: 100}}},
		{"a budget cut twice", append(opened[:6:6], &PacingReduced{Attempt: 1, PerSecond: 20, Before: 40, Until: after(time.Minute), Code: 100}), Draft{Event: &PacingReduced{Attempt: 1, PerSecond: 10, Before: 20, Until: after(2 * time.Minute), Code: 100}}},
		{"a budget restored", append(opened[:6:6], &PacingReduced{Attempt: 1, PerSecond: 20, Before: 40, Until: after(time.Minute), Code: 100}), Draft{Event: &PacingRestored{Since: wireTime, Reduced: 60_000}}},
		{"a farm idle", opened, Draft{Event: &FarmChanged{Attempt: 1, Farm: usfarm, To: FarmIdle, Code: 2108}}},
		{"a farm down", append(opened[:6:6], &FarmChanged{Attempt: 1, Farm: usfarm, To: FarmIdle, Code: 2108}), Draft{Event: &FarmChanged{Attempt: 1, Farm: usfarm, From: FarmIdle, To: FarmDown, Code: 2103}}},
		{"a heartbeat missed", opened, Draft{Event: &HeartbeatMissed{Attempt: 1, Number: 1, Misses: 1, NextProbeAt: after(27 * time.Second), AnswerBy: after(32 * time.Second)}}},
		{
			"a heartbeat answered", append(opened[:6:6], &HeartbeatMissed{Attempt: 1, Number: 1, Misses: 1, NextProbeAt: wireTime, AnswerBy: wireTime}),
			Draft{Event: &HeartbeatAnswered{Attempt: 1, Number: 2, RTT: 3, Skew: -4, NextProbeAt: after(27 * time.Second), AnswerBy: after(32 * time.Second)}},
		},
		{"an error reported", opened, Draft{Event: &GatewayReported{Attempt: 1, Code: 162, Class: ClassPacing, Message: "too fast"}}},
		{"an error repeated", opened, Draft{Event: &GatewayRepeated{Attempt: 1, Code: 162, Class: ClassPacing, Message: "too fast", Count: 9, FirstAt: after(time.Second), LastAt: after(2 * time.Second)}}},
		{"a notice reported", opened, Draft{Event: &GatewayReported{Attempt: 1, Code: 2109, Class: ClassInfo, Message: "ignored"}}},
		{"a frame refused", opened, Draft{Event: &FrameRefused{Attempt: 1, MessageID: 3}}},
		{"a session abandoned", opened, Draft{Event: &SessionAbandoned{Attempt: 1, Total: 1}}},
		{"a damaged log", opened, Draft{Event: &LogDamaged{Finding: FindingGap, Detail: "a gap"}}},
		{"a command accepted", opened, Draft{Event: asked[6]}},
		{"a command under way", dialing, Draft{Event: &CommandAccepted{CommandID: "restart-7", Verb: VerbConnect, UnderWay: true}}},
		{"a command rejected", opened, Draft{Event: &CommandRejected{CommandID: "restart-7", Verb: VerbReconnect, Code: ErrorStopped, Message: "stopped"}}},
		{"a command completed", asked, Draft{Event: &CommandCompleted{CommandID: "restart-7", Verb: VerbReconnect}}},
		{"a command failed", asked, Draft{Event: &CommandFailed{CommandID: "restart-7", Verb: VerbReconnect, Code: ErrorTripped, Message: "tripped"}}},
		{"a control command begun", controlled[:7], Draft{Event: controlled[7]}},
		{"a claim while a control command is under way", controlled, Draft{Event: claimEvent()}},
		{"a control command completed", controlled, Draft{Event: &CommandCompleted{CommandID: "restart-8", Verb: VerbRestartGateway, Said: "RESTART at 03:14 AM"}}},
		{"bars wanted", opened, Draft{Event: &SubscriptionAdded{
			CommandID: "sub-1", Subscription: "aapl-bars", Caller: "book", Priority: PriorityHigh, DarkAfter: 30_000,
			Feed:  Feed{Kind: SubscribeHistoryBars, What: "TRADES", RTH: true, BarSize: "1 min", Duration: "1 D", Contract: Contract{ConID: 265598, Symbol: "AAPL"}},
			Asked: Contract{Symbol: "AAPL"}, Hours: TradingTimes{Zone: "US/Eastern", Trading: "20261123:0400-20261123:2000", AsOf: wireTime},
		}}},
		{"other bars under a name that is taken", live, Draft{Event: barsOf("aapl-bars", "MSFT", "risk")}},
		{"bars wanted by another", live, Draft{Event: &SubscriptionJoined{CommandID: "sub-2", Subscription: "aapl-bars", Caller: "analysis"}}},
		{"bars wanted by the same", live, Draft{Event: &SubscriptionJoined{CommandID: "sub-2", Subscription: "aapl-bars", Caller: "book"}}},
		{
			"bars wanted by one fewer", append(live[:9:9], &SubscriptionJoined{CommandID: "sub-2", Subscription: "aapl-bars", Caller: "risk"}),
			Draft{Event: &SubscriptionLeft{CommandID: "sub-3", Subscription: "aapl-bars", Caller: "book"}},
		},
		{"bars wanted by nobody", live, Draft{Event: &SubscriptionCancelled{CommandID: "sub-4", Subscription: "aapl-bars", Caller: "book"}}},
		{"bars placed", subscribed, Draft{Event: placed[7]}},
		{"bars placed again after a refusal", refused, Draft{Event: &SubscriptionPlacement{Subscription: "aapl-bars", Attempt: 1, RequestID: 1002, Because: BecauseRetry, Try: 2}}},
		{"bars that come", placed, Draft{Event: live[8]}},
		{"bars that stay away", live, Draft{Event: &SubscriptionFellSilent{Subscription: "aapl-bars", Attempt: 1, RequestID: 1001, Silent: 20_000, RetryAt: after(time.Minute), Tries: 1}}},
		{
			"bars that come again", append(live[:9:9], &SubscriptionFellSilent{Subscription: "aapl-bars", Attempt: 1, RequestID: 1001, Silent: 20_000, RetryAt: after(time.Minute), Tries: 1}),
			Draft{Event: &SubscriptionDelivered{Subscription: "aapl-bars", Attempt: 1, RequestID: 1001, Took: 30_000, Dark: 5000}},
		},
		{"bars refused", placed, Draft{Event: refused[8]}},
		{"bars that come after a refusal", refused, Draft{Event: live[8]}},
		{"trading hours", live, Draft{Event: &SubscriptionHours{Subscription: "aapl-bars", Hours: TradingTimes{Zone: "US/Eastern", Liquid: "20261123:CLOSED", AsOf: wireTime}}}},
		{"bars missing", live, Draft{Event: gapped[9]}},
		{"bars missing beside others", gapped, Draft{Event: &GapDetected{Subscription: "aapl-bars", From: after(2 * time.Minute), To: after(3 * time.Minute), Bars: 12}}},
		{"missing bars filled in", gapped, Draft{Event: &GapFilled{Subscription: "aapl-bars", From: after(time.Minute), To: after(2 * time.Minute), Bars: 12}}},
		{"missing bars given up in part", gapped, Draft{Event: &GapUnfillable{Subscription: "aapl-bars", From: after(time.Minute), To: after(90 * time.Second), Code: ErrorTooOld, Message: "too old"}}},
		{"a session lost that has bars", gapped, Draft{Event: &SessionLost{Attempt: 1, Cause: CauseReset, Failures: 1, RetryAt: after(10 * time.Second)}}},
		{"an unknown event", opened, Draft{Event: &Unknown{Name: "ib.conn.state.moon_rose"}}},
	}
	var story strings.Builder
	said := map[Type]bool{}
	for _, tt := range tests {
		w := newWriter(t)
		before := NewState("main")
		for _, r := range w.log(tt.given...) {
			before = before.Apply(r)
		}
		r := w.write(tt.draft)
		said[r.Event.Type()] = true
		after := before.Apply(r)
		if !r.Heartbeat() {
			if after.Sequence != r.Sequence || !after.AsOf.Equal(r.Time) {
				t.Errorf("%s: sequence %d as of %v, want the event's", tt.name, after.Sequence, after.AsOf)
			}
			before.Sequence, before.AsOf = after.Sequence, after.AsOf
		}
		fmt.Fprintf(&story, "%s (%s)\n", tt.name, r.Event.Type())
		for _, line := range changes(t, before, after) {
			fmt.Fprintf(&story, "    %s\n", line)
		}
	}
	for _, typ := range Types() {
		if !said[typ] {
			t.Errorf("nothing is said of %s", typ)
		}
	}
	golden(t, "apply.txt", []byte(story.String()))
}

// everything is a log that has every type of event, twice, with some of a kind
// after one another.
func everything(t testing.TB) []Recorded {
	all := slices.Concat(samples(), samples(), []Event{
		&CommandAccepted{CommandID: "a", Verb: VerbConnect}, &CommandAccepted{CommandID: "b", Verb: VerbConnect},
		&CommandCompleted{CommandID: "a", Verb: VerbConnect}, heartbeat(7), heartbeat(8), claimEvent(),
		&FarmChanged{Attempt: 12, Farm: Farm{FarmHistorical, "ushmds"}, To: FarmUp}, &FarmChanged{Attempt: 12, Farm: Farm{FarmHistorical, "euhmds"}, To: FarmDown},
		&Unknown{Name: "ib.conn.state.moon_rose"}, &Unknown{Name: "ib.conn.heartbeat.skipped"},
	}, gapped[6:], []Event{
		barsOf("a", "A", "x"), barsOf("b", "B", "x"), &SubscriptionJoined{CommandID: "j", Subscription: "aapl-bars", Caller: "w"},
		&GapDetected{Subscription: "aapl-bars", From: after(time.Hour), To: after(2 * time.Hour)}, refused[8],
	})
	w := newWriter(t)
	var log []Recorded
	for _, e := range all {
		log = append(log, w.write(Draft{Event: e, Causation: "restart-7"}))
	}
	return log
}

func TestApplyLeavesTheOldStateAlone(t *testing.T) {
	log := everything(t)
	s := NewState("main")
	for _, r := range log {
		s = s.Apply(r)
		// The futures of one state must not see one another either.
		was := flat(t, s)
		var futures []State
		var were []map[string]string
		for _, next := range log {
			future := s.Apply(next)
			futures, were = append(futures, future), append(were, flat(t, future))
		}
		if got := flat(t, s); !maps.Equal(got, was) {
			t.Fatalf("the state after %s was changed by what came next", r.Event.Type())
		}
		for i, future := range futures {
			if got := flat(t, future); !maps.Equal(got, were[i]) {
				t.Fatalf("after %s, what %s led to was changed by another future", r.Event.Type(), log[i].Event.Type())
			}
		}
	}
}

func TestHeartbeatsChangeNothingButTheHeartbeat(t *testing.T) {
	with, without := NewState("main"), NewState("main")
	for _, r := range everything(t) {
		with = with.Apply(r)
		if !r.Heartbeat() {
			without = without.Apply(r)
		}
		got := with
		got.Heartbeat = without.Heartbeat
		if !reflect.DeepEqual(got, without) {
			t.Fatalf("after %s the state with heartbeats differs by %v", r.Event.Type(), changes(t, without, got))
		}
	}
	if reflect.DeepEqual(with.Heartbeat, without.Heartbeat) {
		t.Error("heartbeats did not even change the heartbeat")
	}
}

func TestAnUnknownEventMovesTheSequenceOnly(t *testing.T) {
	s := NewState("main")
	for _, r := range everything(t) {
		s = s.Apply(r)
		unknown := Recorded{Sequence: 1000, Epoch: 1001, Time: after(time.Hour), Event: &Unknown{Name: "ib.conn.state.moon_rose"}}
		want := s
		want.Sequence, want.Epoch, want.AsOf = unknown.Sequence, unknown.Epoch, unknown.Time
		if got := s.Apply(unknown); !reflect.DeepEqual(got, want) {
			t.Fatalf("after %s an unknown event changed %v", r.Event.Type(), changes(t, want, got))
		}
	}
}

func TestAStateSurvivesJSON(t *testing.T) {
	s := NewState("main")
	for _, r := range everything(t) {
		s = s.Apply(r)
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var got State
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		got.Recent, got.Subscriptions = s.Recent, s.Subscriptions // kept out of JSON on purpose
		if !reflect.DeepEqual(got, s) {
			t.Fatalf("after %s the state as JSON and back differs by %v", r.Event.Type(), changes(t, s, got))
		}
	}
}

func TestAStateRemembersALimitedNumberOfCommands(t *testing.T) {
	w := newWriter(t)
	s := NewState("main")
	for i := range RecentCommands + 5 {
		id := fmt.Sprint("c", i)
		for _, r := range w.log(claimEvent(), &CommandAccepted{CommandID: id, Verb: VerbConnect}, &CommandCompleted{CommandID: id, Verb: VerbConnect}) {
			s = s.Apply(r)
		}
	}
	if len(s.Recent) != RecentCommands || len(s.Pending) != 0 {
		t.Errorf("%d commands remembered and %d pending, want %d and 0", len(s.Recent), len(s.Pending), RecentCommands)
	}
	for id, want := range map[string]bool{"c4": false, "c5": true, fmt.Sprint("c", RecentCommands+4): true, "": false} {
		c, got := s.Recall(id)
		if got != want || got && (c.Status != StatusCompleted || c.Verb != VerbConnect) {
			t.Errorf("Recall(%q) = %+v, %v, want %v", id, c, got, want)
		}
	}
}

func TestRecallReturnsTheNewestOfAnID(t *testing.T) {
	s := fold(t, claimEvent(),
		&CommandRejected{CommandID: "x", Verb: VerbReconnect, Code: ErrorStopped, Message: "stopped"},
		&CommandAccepted{CommandID: "x", Verb: VerbConnect})
	if got, _ := s.Recall("x"); got.Verb != VerbConnect || got.Sequence != 3 {
		t.Errorf("Recall(x) = %+v, want the second", got)
	}
}

func TestFarmsAreKeptInOrderAndUnknownUntilHeardOf(t *testing.T) {
	var farms []Event
	for _, name := range []string{"usfarm", "cafarm", "eufarm", "cafarm"} {
		farms = append(farms,
			&FarmChanged{Attempt: 1, Farm: Farm{FarmSecDef, name}, To: FarmUp}, &FarmChanged{Attempt: 1, Farm: Farm{FarmHistorical, name}, To: FarmIdle})
	}
	s := fold(t, slices.Concat(opened, farms)...)
	var got []string
	for _, f := range s.Farms {
		got = append(got, fmt.Sprint(f.Farm, " ", f.Status))
	}
	want := []string{
		"historical/cafarm idle", "historical/eufarm idle", "historical/usfarm idle",
		"sec_def/cafarm up", "sec_def/eufarm up", "sec_def/usfarm up",
	}
	if !slices.Equal(got, want) {
		t.Errorf("farms = %v, want %v", got, want)
	}
	if got := s.Farm(Farm{FarmSecDef, "eufarm"}); got != FarmUp {
		t.Errorf("Farm(sec_def/eufarm) = %s, want up", got)
	}
	if got := s.Farm(Farm{FarmMarketData, "eufarm"}); got != FarmUnknown {
		t.Errorf("Farm(market_data/eufarm) = %s, want unknown", got)
	}
}

func TestConditionFollowsFromTheLevels(t *testing.T) {
	stale := &SessionStale{Attempt: 1}
	linkDown := &LinkWentDown{Attempt: 1, Code: 1100}
	farm := func(name string, s FarmStatus) Event {
		return &FarmChanged{Attempt: 1, Farm: Farm{FarmMarketData, name}, To: s}
	}
	tests := []struct {
		name  string
		given []Event
		want  string
	}{
		{"nothing yet", nil, "stopped: session idle"},
		{"wanted", wanted, "down: session waiting"},
		{"dialing", dialing, "down: session dialing"},
		{"greeting", greeted, "down: session greeting"},
		{"ready", opened, "healthy"},
		{"failed", append(dialing[:3:3], &DialFailed{Attempt: 1, Cause: CauseRefused, RetryAt: wireTime}), "down: session waiting refused"},
		{"tripped", tripped, "down: session tripped refused"},
		{"stale", append(opened[:6:6], stale), "degraded: session stale"},
		{"link down", append(opened[:6:6], linkDown), "degraded: link down"},
		{"link back", append(opened[:6:6], linkDown, &LinkCameBack{Attempt: 1, Code: 1102}), "healthy"},
		{"farm down", append(opened[:6:6], farm("usfarm", FarmDown)), "degraded: farm down market_data/usfarm"},
		{"farms that are no fault", append(opened[:6:6], farm("a", FarmIdle), farm("b", FarmConnecting), farm("c", FarmUp), farm("d", FarmUnknown)), "healthy"},
		{
			"everything at once", append(opened[:6:6], farm("b", FarmDown), farm("a", FarmDown), linkDown, stale),
			"degraded: session stale, link down, farm down market_data/a, farm down market_data/b",
		},
		{"a new attempt forgets the levels", append(opened[:6:6], linkDown, farm("a", FarmDown), &SessionLost{Attempt: 1, Cause: CauseReset, RetryAt: wireTime}), "down: session waiting reset"},
		{"stopped", append(opened[:6:6], linkDown, &Stopped{Cause: CauseAskedFor}), "stopped: session stopped"},
	}
	for _, tt := range tests {
		s := fold(t, tt.given...)
		var reasons []string
		for _, r := range s.Reasons {
			if r.Since.IsZero() && s.Phase != PhaseIdle {
				t.Errorf("%s: reason %+v does not say since when", tt.name, r)
			}
			reasons = append(reasons, strings.Join(strings.Fields(fmt.Sprint(r.Level, " ", r.What, " ", r.Name, " ", r.Cause)), " "))
		}
		got := string(s.Condition)
		if len(reasons) > 0 {
			got += ": " + strings.Join(reasons, ", ")
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestConnectUndoesAStopAndAShutdownIsNone(t *testing.T) {
	tests := []struct {
		cause Cause
		want  bool
	}{{CauseAskedFor, false}, {CauseShutdown, true}}
	for _, tt := range tests {
		stopped := append(opened[:6:6], &Stopped{Cause: tt.cause})
		if got := fold(t, stopped...).Wanted; got != tt.want {
			t.Errorf("wanted after a stop that was %s = %v, want %v", tt.cause, got, tt.want)
		}
		if s := fold(t, append(stopped, &ConnectRequested{By: AskerCommand, RetryAt: wireTime})...); !s.Wanted || s.Phase != PhaseWaiting {
			t.Errorf("wanted after a connect = %v in %s, want true in waiting", s.Wanted, s.Phase)
		}
	}
}

func TestOnlyNewsThatMattersIsAFault(t *testing.T) {
	classes := readSource(t).values["Class"]
	if len(classes) == 0 {
		t.Fatal("no classes found")
	}
	for _, c := range classes {
		if c := Class(c.(string)); c.Fault() && c.severity() == SeverityInfo {
			t.Errorf("%s is a fault and yet of severity info", c)
		}
	}
	for class, want := range map[Class]bool{ClassPacing: true, ClassUnknown: true, "newer": true, ClassNoData: false, ClassFarmDown: false, ClassAdvisory: false} {
		if got := class.Fault(); got != want {
			t.Errorf("%s.Fault() = %v, want %v", class, got, want)
		}
	}
}
