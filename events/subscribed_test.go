package events

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// names are those of the subscriptions of a state, in their order.
func names(s State) []string {
	var all []string
	for _, sub := range s.Subscriptions {
		all = append(all, sub.Name)
	}
	return all
}

// one is the subscription aapl-bars after a log.
func one(t *testing.T, log ...Event) Subscription {
	t.Helper()
	sub, ok := fold(t, log...).Subscribed("aapl-bars")
	if !ok {
		t.Fatal("there is no subscription aapl-bars")
	}
	return sub
}

func TestSubscriptionsAreKeptInTheOrderOfTheirNames(t *testing.T) {
	s := fold(t, claimEvent(), barsOf("m", "M", "x"), barsOf("z", "Z", "x"), barsOf("a", "A", "x"), barsOf("m", "OTHER", "y"))
	if got := names(s); !slices.Equal(got, []string{"a", "m", "z"}) {
		t.Errorf("subscriptions are %v, want a, m and z", got)
	}
	m, ok := s.Subscribed("m")
	if !ok || m.Feed.Contract.Symbol != "M" || !slices.Equal(m.Callers, []string{"x"}) || m.AddedSeq != 2 {
		t.Errorf("m is %+v, want what it was first added for", m)
	}
	if got, ok := s.Subscribed("q"); ok || !reflect.DeepEqual(got, Subscription{}) {
		t.Errorf("q is %+v, want nothing", got)
	}
	if s := fold(t, claimEvent(), barsOf("m", "M", "x"), &SubscriptionCancelled{CommandID: "c", Subscription: "m"}); s.Subscriptions != nil {
		t.Errorf("after the last was cancelled there is %v", names(s))
	}
}

func TestCallersAreCountedByName(t *testing.T) {
	join := func(caller string) Event {
		return &SubscriptionJoined{CommandID: "j-" + caller, Subscription: "aapl-bars", Caller: caller}
	}
	leave := func(caller string) Event {
		return &SubscriptionLeft{CommandID: "l-" + caller, Subscription: "aapl-bars", Caller: caller}
	}
	for _, tt := range []struct {
		log  []Event
		want string
	}{
		{nil, "book"},
		{[]Event{join("risk"), join("analysis"), join("risk")}, "analysis book risk"},
		{[]Event{join("risk"), leave("book")}, "risk"},
		{[]Event{leave("nobody")}, "book"},
	} {
		if got := strings.Join(one(t, append(subscribed[:7:7], tt.log...)...).Callers, " "); got != tt.want {
			t.Errorf("after %v the callers are %s, want %s", tt.log, got, tt.want)
		}
	}
}

func TestAnEventOfASubscriptionThatIsNotThereChangesNone(t *testing.T) {
	before := fold(t, live...)
	for _, e := range []Event{
		&SubscriptionJoined{CommandID: "x", Subscription: "other", Caller: "risk"},
		&SubscriptionLeft{CommandID: "x", Subscription: "other", Caller: "book"},
		&SubscriptionCancelled{CommandID: "x", Subscription: "other"},
		&SubscriptionDelivered{Subscription: "other", Attempt: 1},
		&SubscriptionFellSilent{Subscription: "other", Attempt: 1},
		&SubscriptionRefused{Subscription: "other", Attempt: 1},
		&SubscriptionHours{Subscription: "other"},
		&GapDetected{Subscription: "other", From: wireTime, To: after(time.Second)},
		&GapFilled{Subscription: "other", From: wireTime, To: after(time.Second)},
		&GapUnfillable{Subscription: "other", From: wireTime, To: after(time.Second), Code: ErrorTooOld},
	} {
		if got := fold(t, append(live[:9:9], e)...); !reflect.DeepEqual(got.Subscriptions, before.Subscriptions) {
			t.Errorf("%s changed %v", e.Type(), got.Subscriptions)
		}
	}
}

func TestACommandAboutASubscriptionIsRemembered(t *testing.T) {
	s := fold(t, append(subscribed[:7:7],
		&SubscriptionJoined{CommandID: "join", Subscription: "aapl-bars", Caller: "risk"},
		&SubscriptionLeft{CommandID: "leave", Subscription: "aapl-bars", Caller: "risk"},
		&SubscriptionCancelled{CommandID: "end", Subscription: "aapl-bars"})...)
	for id, want := range map[string]RecentCommand{
		"add-aapl-bars": {Verb: VerbSubscribe, Sequence: 7},
		"join":          {Verb: VerbSubscribe, Sequence: 8},
		"leave":         {Verb: VerbCancel, Sequence: 9},
		"end":           {Verb: VerbCancel, Sequence: 10},
	} {
		want.CommandID, want.Status, want.Subscription = id, StatusCompleted, "aapl-bars"
		if got, ok := s.Recall(id); !ok || got != want {
			t.Errorf("Recall(%s) = %+v, want %+v", id, got, want)
		}
	}
	if len(s.Pending) != 0 {
		t.Errorf("pending are %v, want none: such a command is done once it is recorded", s.Pending)
	}
}

func TestARequestIDBelongsToItsSession(t *testing.T) {
	again := append(live[:9:9],
		&SessionLost{Attempt: 1, Cause: CauseReset, Failures: 1, RetryAt: wireTime},
		&DialStarted{Attempt: 2, Endpoint: "127.0.0.1:4002", ClientID: 17, DeadlineAt: wireTime})
	for _, tt := range []struct {
		name string
		log  []Event
		id   int64
		want bool
	}{
		{"nothing placed, before there was an attempt", []Event{claimEvent(), barsOf("aapl-bars", "AAPL", "book")}, 0, false},
		{"nothing placed", subscribed, 0, false},
		{"placed", placed, 1001, true},
		{"another id", placed, 1002, false},
		{"an older id", append(placed[:8:8], &SubscriptionPlacement{Subscription: "aapl-bars", Attempt: 1, RequestID: 1002}), 1001, false},
		{"placed in the session before", again, 1001, false},
		{"placed again", append(again[:11:11], &SubscriptionPlacement{Subscription: "aapl-bars", Attempt: 2, RequestID: 1002}), 1002, true},
	} {
		s := fold(t, tt.log...)
		if sub, got := s.Placed(tt.id); got != tt.want || got && sub.Name != "aapl-bars" {
			t.Errorf("%s: Placed(%d) = %v, %v, want %v", tt.name, tt.id, sub.Name, got, tt.want)
		}
	}
	s := fold(t, append(again[:11:11],
		&SubscriptionPlacement{Subscription: "aapl-bars", Attempt: 2, RequestID: 1007},
		&SubscriptionPlacement{Subscription: "cancelled-meanwhile", Attempt: 2, RequestID: 1009},
		&SubscriptionPlacement{Subscription: "aapl-bars", Attempt: 2, RequestID: 1008})...)
	if s.LastRequestID != 1009 {
		t.Errorf("the last request id is %d, want the highest one ever, 1009", s.LastRequestID)
	}
}

func TestASessionsEndLeavesWhatIsWanted(t *testing.T) {
	others := append(gapped[:10:10], barsOf("b", "B", "x"), barsOf("c", "C", "x"),
		&SubscriptionPlacement{Subscription: "b", Attempt: 1, RequestID: 1002, Try: 1},
		&SubscriptionRefused{Subscription: "b", Attempt: 1, RequestID: 1002, Code: 354, Class: ClassEntitlement, Message: "not subscribed", Tries: 3})
	before := fold(t, others...)
	for _, end := range []Event{
		&SessionLost{Attempt: 1, Cause: CauseReset, Failures: 1, RetryAt: wireTime},
		&Stopped{Cause: CauseAskedFor, Attempt: 1},
	} {
		s := fold(t, append(others[:14:14], end)...)
		for i, sub := range s.Subscriptions {
			was := before.Subscriptions[i]
			want := Subscription{
				Name: was.Name, Feed: was.Feed, Asked: was.Asked, Callers: was.Callers, WantedAt: was.WantedAt, AddedSeq: was.AddedSeq, Hours: was.Hours, Gaps: was.Gaps,
				Status: SubscriptionWanted, Since: s.AsOf, RequestID: was.RequestID,
			}
			if sub.Name == "c" { // was never placed
				want.Since = was.Since
			}
			if !reflect.DeepEqual(sub, want) {
				t.Errorf("after %s %s is\n%+v, want\n%+v", end.Type(), sub.Name, sub, want)
			}
		}
		if s.LastRequestID != 1002 {
			t.Errorf("after %s the last request id is %d, want 1002", end.Type(), s.LastRequestID)
		}
	}
	if before.Subscriptions[0].Status != SubscriptionLive || before.Subscriptions[1].Status != SubscriptionFailed {
		t.Errorf("the end changed the state before it: %+v", before.Subscriptions)
	}
}

func TestWhatWasSaidOfARefusalGoesWithIt(t *testing.T) {
	if sub := one(t, refused...); sub.Code != 420 || sub.Class != ClassPacing || sub.Message == "" || sub.Tries != 1 || sub.RetryAt.IsZero() {
		t.Errorf("a refused one is %+v", sub)
	}
	for _, e := range []Event{
		live[8],
		&SubscriptionPlacement{Subscription: "aapl-bars", Attempt: 1, RequestID: 1002, Because: BecauseRetry, Try: 2},
		&SubscriptionFellSilent{Subscription: "aapl-bars", Attempt: 1, RequestID: 1001, Tries: 1},
		&SessionLost{Attempt: 1, Cause: CauseReset, RetryAt: wireTime},
	} {
		if sub := one(t, append(refused[:9:9], e)...); sub.Code != 0 || sub.Class != "" || sub.Message != "" || !sub.RetryAt.IsZero() {
			t.Errorf("after %s it is %+v, want nothing of the refusal", e.Type(), sub)
		}
	}
}

func TestGapsMergeAndAreCut(t *testing.T) {
	at := func(minute int) time.Time { return after(time.Duration(minute) * time.Minute) }
	gap := func(from, to int) Event { return &GapDetected{Subscription: "aapl-bars", From: at(from), To: at(to)} }
	filled := func(from, to int) Event { return &GapFilled{Subscription: "aapl-bars", From: at(from), To: at(to)} }
	lost := func(from, to int) Event {
		return &GapUnfillable{Subscription: "aapl-bars", From: at(from), To: at(to), Code: ErrorTooOld}
	}
	for _, tt := range []struct {
		log  []Event
		want string
	}{
		{[]Event{gap(10, 20)}, "10-20"},
		{[]Event{gap(30, 40), gap(10, 20)}, "10-20 30-40"},
		{[]Event{gap(10, 20), gap(20, 30)}, "10-30"},
		{[]Event{gap(20, 30), gap(10, 20)}, "10-30"},
		{[]Event{gap(10, 20), gap(15, 30)}, "10-30"},
		{[]Event{gap(10, 40), gap(15, 30)}, "10-40"},
		{[]Event{gap(10, 20), gap(30, 40), gap(50, 60), gap(15, 35)}, "10-40 50-60"},
		{[]Event{gap(10, 20), gap(10, 20)}, "10-20"},
		{[]Event{gap(10, 20), filled(10, 20)}, ""},
		{[]Event{gap(10, 20), filled(0, 60)}, ""},
		{[]Event{gap(10, 20), filled(10, 15)}, "15-20"},
		{[]Event{gap(10, 20), filled(15, 20)}, "10-15"},
		{[]Event{gap(10, 20), filled(12, 15)}, "10-12 15-20"},
		{[]Event{gap(10, 20), filled(20, 30)}, "10-20"},
		{[]Event{gap(10, 20), filled(0, 10)}, "10-20"},
		{[]Event{gap(10, 20), gap(30, 40), lost(15, 35)}, "10-15 35-40"},
		{[]Event{filled(10, 20)}, ""},
		{[]Event{lost(10, 20), gap(10, 20)}, "10-20"},
	} {
		sub := one(t, append(live[:9:9], tt.log...)...)
		var got []string
		for _, g := range sub.Gaps {
			got = append(got, fmt.Sprintf("%v-%v", g.From.Sub(wireTime).Minutes(), g.To.Sub(wireTime).Minutes()))
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("after %d events the gaps are %v, want %s", len(tt.log), got, tt.want)
		}
		if tt.want == "" && sub.Gaps != nil {
			t.Errorf("no gaps are %#v, want nil", sub.Gaps)
		}
	}
	w := newWriter(t)
	s := NewState("main")
	var last Recorded
	for _, r := range w.log(append(live[:9:9], gap(10, 20), gap(20, 30))...) {
		s, last = s.Apply(r), r
	}
	if g := s.Subscriptions[0].Gaps[0]; !g.At.Equal(last.Time) {
		t.Errorf("a gap that grew was found at %v, want when it last did, %v", g.At, last.Time)
	}
}

func TestSubscriptionsThatAreNotWellAreReasons(t *testing.T) {
	silent := func(name string) Event { return &SubscriptionFellSilent{Subscription: name, Attempt: 1} }
	refuse := func(name string, c Class) Event {
		return &SubscriptionRefused{Subscription: name, Attempt: 1, Code: 1, Class: c}
	}
	farmDown := func(k FarmKind) Event {
		return &FarmChanged{Attempt: 1, Farm: Farm{k, "usfarm"}, To: FarmDown}
	}
	kept := barsOf("kept", "K", "x")
	kept.Feed.Kind = SubscribeHistoryBars
	six := func(e func(string) Event) []Event {
		var all []Event
		for _, name := range []string{"f", "e", "d", "c", "b", "a"} {
			all = append(all, barsOf(name, name, "x"))
		}
		for _, name := range []string{"c", "d", "e", "f", "a", "b"} {
			all = append(all, e(name))
		}
		return all
	}
	for _, tt := range []struct {
		name string
		log  []Event
		want string
	}{
		{"none", nil, ""},
		{"wanted", []Event{barsOf("a", "A", "x")}, ""},
		{"dark", []Event{barsOf("a", "A", "x"), silent("a")}, "dark a ()"},
		{"dark as the gateway is", []Event{barsOf("a", "A", "x"), silent("a"), &SessionStale{Attempt: 1}}, "dark a (gateway)"},
		{"dark as the link is down", []Event{barsOf("a", "A", "x"), &LinkWentDown{Attempt: 1, Code: 1100}, silent("a")}, "dark a (link)"},
		{"dark as another session has the data", []Event{barsOf("a", "A", "x"), silent("a"), &CompetingBegan{Attempt: 1, Code: 10197}}, "competing_session  (competing_session), dark a (competing_session)"},
		{"dark as its farm is down", []Event{barsOf("a", "A", "x"), kept, silent("a"), silent("kept"), farmDown(FarmMarketData)}, "dark a (farm), dark kept (farm)"},
		{"dark while another farm is down", []Event{barsOf("a", "A", "x"), kept, silent("a"), silent("kept"), farmDown(FarmHistorical)}, "dark a (), dark kept (farm)"},
		{"dark while no farm is down that matters", []Event{barsOf("a", "A", "x"), silent("a"), farmDown(FarmSecDef)}, "dark a ()"},
		{
			"failed before dark, each by name",
			[]Event{barsOf("d", "D", "x"), barsOf("c", "C", "x"), barsOf("b", "B", "x"), barsOf("a", "A", "x"), silent("b"), silent("a"), refuse("d", ClassPacing), refuse("c", ClassNoData)},
			"failed c (), failed d (ours), dark a (), dark b ()",
		},
		{"five", six(silent)[:11], "dark a (), dark c (), dark d (), dark e (), dark f ()"},
		{"six", six(silent), "dark 6 subscriptions ()"},
		{"six of one cause", six(func(name string) Event { return refuse(name, ClassCapacity) }), "failed 6 subscriptions (ours)"},
		{"six of several causes", append(six(func(name string) Event { return refuse(name, ClassCapacity) }), refuse("e", ClassFarmDown)), "failed 6 subscriptions ()"},
		{"six, and then five", append(six(silent), &SubscriptionDelivered{Subscription: "c", Attempt: 1}), "dark a (), dark b (), dark d (), dark e (), dark f ()"},
		{"cancelled", []Event{barsOf("a", "A", "x"), silent("a"), &SubscriptionCancelled{CommandID: "c", Subscription: "a"}}, ""},
	} {
		s := fold(t, append(opened[:6:6], tt.log...)...)
		var got []string
		for _, r := range s.Reasons {
			if r.Level != LevelSubscription {
				continue
			}
			if r.Since.IsZero() {
				t.Errorf("%s: reason %+v does not say since when", tt.name, r)
			}
			got = append(got, fmt.Sprintf("%s %s (%s)", r.What, r.Name, r.Attribution))
		}
		if text := strings.Join(got, ", "); text != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, text, tt.want)
		}
		if degraded := s.Condition == ConditionDegraded; degraded != (len(s.Reasons) > 0) {
			t.Errorf("%s: the condition is %s for %v", tt.name, s.Condition, s.Reasons)
		}
	}
	s := fold(t, append(opened[:6:6], six(silent)...)...)
	if first, _ := s.Subscribed("c"); !s.Reasons[0].Since.Equal(first.Since) {
		t.Errorf("one reason for six is since %v, want since the first fell silent, %v", s.Reasons[0].Since, first.Since)
	}
	if s := fold(t, append(opened[:6:6], barsOf("a", "A", "x"), silent("a"), &SessionLost{Attempt: 1, Cause: CauseReset, RetryAt: wireTime})...); len(s.Reasons) != 1 {
		t.Errorf("without a session the reasons are %v, want that alone", s.Reasons)
	}
}

func TestARefusalIsSomebodysFaultByItsClass(t *testing.T) {
	want := map[Class]Attribution{
		"": AttributionOurs, ClassPacing: AttributionOurs, ClassCapacity: AttributionOurs, ClassRequestInvalid: AttributionOurs,
		ClassEntitlement: AttributionOurs, ClassSubDeadPerm: AttributionOurs,
		ClassLinkLost: AttributionLink, ClassFarmDown: AttributionFarm, ClassCompeting: AttributionCompeting,
	}
	classes := append(readSource(t).values["Class"], "", "a class of a newer version")
	for _, c := range classes {
		class := Class(c.(string))
		s := fold(t, append(placed[:8:8], &SubscriptionRefused{Subscription: "aapl-bars", Attempt: 1, RequestID: 1001, Class: class})...)
		if got := s.Reasons[0].Attribution; got != want[class] {
			t.Errorf("a refusal of class %q is the fault of %q, want %q", class, got, want[class])
		}
	}
}
