package incidents

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ibconn/events"
)

const minute = time.Minute

// TestWhatIsToldOfANight says of each story which changes are told, and how the
// incident is then.
func TestWhatIsToldOfANight(t *testing.T) {
	for _, test := range []struct {
		name  string
		night func(w *written)
		want  []string
	}{
		{
			name: "what comes back within the settle time was never over",
			night: func(w *written) {
				w.open(0).link(minute, false).link(5*time.Second, true).link(29*time.Second, false).link(time.Second, true).beat(minute)
			},
			want: []string{
				"opened 1 1m0s link_down x1 link",
				"closed 1 1m0s-1m35s link_down x2 link returns 1",
			},
		},
		{
			name: "a start that fails for five minutes has come to nothing",
			night: func(w *written) {
				for range 7 {
					w.fail(minute, events.CauseRefused)
				}
				w.open(minute).beat(minute)
			},
			want: []string{
				"opened 1 6m0s attempt_failed x6 gateway detected 5 min",
				"closed 1 6m0s-8m0s attempt_failed x7 gateway attempts 2 detected 5 min ready 2 min",
			},
		},
		{
			name: "a start that fails for four is one that took long",
			night: func(w *written) {
				for range 4 {
					w.fail(minute, events.CauseRefused)
				}
				w.open(minute).lose(minute, events.CauseReset).open(0).beat(minute)
			},
			want: []string{
				"opened 1 6m0s session_lost x1 gateway", "closed 1 6m0s-6m0s session_lost x1 gateway attempts 1 ready 0 ms",
			},
		},
		{
			name: "a breaker that opens ends a start, also one amid an outage",
			night: func(w *written) {
				w.open(0).lose(minute, events.CauseReset).add(0, &events.Stopped{Cause: events.CauseShutdown, Attempt: 1})
				w.add(0, &events.EpochBegan{Instance: "test"}).add(0, &events.ConnectRequested{By: events.AskerStart, RetryAt: w.now})
				w.fail(0, events.CauseRefused).fail(time.Second, events.CauseRefused).add(0, &events.BreakerOpened{Failures: 2, ProbeAt: w.now})
				w.open(minute).beat(minute)
			},
			want: []string{
				"opened 1 1m0s session_lost x1 gateway", "closed 1 1m0s-1m0s session_lost x1 gateway stopped",
				"opened 2 1m1s attempt_failed x2 gateway <breaker_open x1> detected 1 s", "closed 2 1m1s-2m1s attempt_failed x2 gateway <breaker_open x1> attempts 1 detected 1 s ready 1 min",
			},
		},
		{
			name: "what comes later is another",
			night: func(w *written) {
				w.open(0).link(minute, false).link(0, true).link(30*time.Second, false).link(0, true).beat(minute)
			},
			want: []string{
				"opened 1 1m0s link_down x1 link", "closed 1 1m0s-1m0s link_down x1 link",
				"opened 2 1m30s link_down x1 link", "closed 2 1m30s-1m30s link_down x1 link",
			},
		},
		{
			name: "a farm that fails just before the link does is a symptom of it",
			night: func(w *written) {
				w.open(0).farm(minute, events.FarmDown).link(2*time.Second, false).link(minute, true).farm(0, events.FarmUp).beat(minute)
			},
			want: []string{
				"opened 1 1m0s farm_down x1 farm",
				"updated 1 1m0s link_down x1 link <farm_down x1>",
				"closed 1 1m0s-2m2s link_down x1 link <farm_down x1>",
			},
		},
		{
			name: "a subscription that is refused all day does not hide that the link is lost at noon",
			night: func(w *written) {
				w.open(0).want("a", "b").refused(minute, "b")
				w.link(time.Hour, false).dark(minute, "a").link(minute, true).deliver(minute, "a").beat(minute)
			},
			want: []string{
				"opened 1 1m0s subscription_failed x1 ours b",
				"opened 2 1h1m0s link_down x1 link",
				"updated 2 1h1m0s link_down x1 link <subscription_dark x1> a",
				"closed 2 1h1m0s-1h3m0s link_down x1 link <subscription_dark x1> a",
				"updated 2 1h1m0s-1h3m0s link_down x1 link <subscription_dark x1> data 3 min a",
			},
		},
		{
			name: "a subscription that goes dark takes its cause from the link that turns out to be silent",
			night: func(w *written) {
				w.open(0).want("a").dark(minute, "a").add(5*minute, &events.LinkFellSilent{Attempt: 1, From: events.LinkUp, Misses: 3})
			},
			want: []string{
				"opened 1 1m0s subscription_dark x1  detected 20 s a",
				"updated 1 1m0s link_silent x1 link <subscription_dark x1> detected 20 s a",
			},
		},
		{
			name: "data that comes back, and gaps that are filled, after the end belong to it",
			night: func(w *written) {
				w.open(0).want("a", "b").lose(minute, events.CauseReset).open(5 * time.Second)
				w.beat(minute).deliver(minute, "a").gap(0, "a", 55*time.Second, 3*minute).deliver(minute, "b")
				w.filled(0, "a", 55*time.Second, 2*minute).filled(minute, "a", 2*minute, 3*minute)
				w.gap(minute, "b", 10*minute, 11*minute)
			},
			want: []string{
				"opened 1 1m0s session_lost x1 gateway a b",
				"closed 1 1m0s-1m5s session_lost x1 gateway attempts 1 ready 5 s a b",
				"updated 1 1m0s-1m5s session_lost x1 gateway attempts 1 ready 5 s data 3 min 5 s a b gaps 1/0/0",
				"updated 1 1m0s-1m5s session_lost x1 gateway attempts 1 ready 5 s data 3 min 5 s a b gaps 1/1/0",
			},
		},
		{
			name: "who is cancelled is waited for no longer",
			night: func(w *written) {
				w.open(0).want("a", "b").lose(minute, events.CauseReset).open(0).deliver(minute, "a")
				w.add(minute, &events.SubscriptionCancelled{CommandID: "c", Subscription: "b"})
			},
			want: []string{
				"opened 1 1m0s session_lost x1 gateway a b",
				"closed 1 1m0s-1m0s session_lost x1 gateway attempts 1 ready 0 ms a b",
				"updated 1 1m0s-1m0s session_lost x1 gateway attempts 1 ready 0 ms data 1 min a b",
			},
		},
		{
			name: "a reconnect that was asked for is none until it fails",
			night: func(w *written) {
				w.open(0).lose(minute, events.CauseAskedFor).open(0)
				w.lose(minute, events.CauseAskedFor).fail(time.Second, events.CauseRefused).open(time.Second).beat(minute)
			},
			want: []string{
				"opened 1 2m1s attempt_failed x1 gateway",
				"closed 1 2m1s-2m2s attempt_failed x1 gateway attempts 1",
			},
		},
		{
			name: "a long night is told of at the 5th, 10th and 20th attempt",
			night: func(w *written) {
				w.open(0).lose(minute, events.CauseReset)
				for range 25 {
					w.fail(minute, events.CauseRefused)
				}
			},
			want: []string{
				"opened 1 1m0s session_lost x1 gateway",
				"updated 1 1m0s session_lost x1 gateway <attempt_failed x1> attempts 1",
				"updated 1 1m0s session_lost x1 gateway <attempt_failed x4> attempts 5",
				"updated 1 1m0s session_lost x1 gateway <attempt_failed x9> attempts 10",
				"updated 1 1m0s session_lost x1 gateway <attempt_failed x19> attempts 20",
			},
		},
		{
			name: "what is asked for while a subscription is refused is no part of that",
			night: func(w *written) {
				w.open(0).want("a", "b", "c").refused(minute, "b").lose(minute, events.CauseAskedFor).open(minute).deliver(0, "a").refused(0, "b")
				w.link(minute, false).gap(minute, "a", 4*minute, 5*minute).link(0, true).gap(0, "c", minute, 2*minute).beat(minute)
			},
			want: []string{
				"opened 1 1m0s subscription_failed x1 ours b",
				"opened 2 4m0s link_down x1 link",
				"closed 2 4m0s-5m0s link_down x1 link gaps 1/0/0",
			},
		},
		{
			name: "a process that was killed is not why the gateway closes the next session",
			night: func(w *written) {
				w.open(0).lose(minute, events.CauseProcessRestarted).open(0)
				w.lose(5*time.Second, events.CauseProcessRestarted).open(0).lose(5*time.Second, events.CauseReset).open(0).beat(minute)
			},
			want: []string{
				"opened 1 1m0s session_lost x1 ours",
				"opened 2 1m10s session_lost x1 gateway",
				"closed 1 1m0s-1m5s session_lost x2 ours returns 1 attempts 2 ready 5 s",
				"closed 2 1m10s-1m10s session_lost x1 gateway attempts 1 ready 0 ms",
			},
		},
		{
			name: "what is placed again once the link is back is waited for",
			night: func(w *written) {
				w.open(0).want("a").link(minute, false).add(minute, &events.LinkCameBack{Attempt: 1, Code: 1101, DataLost: true})
				w.deliver(0, "a").beat(minute)
			},
			want: []string{
				"opened 1 1m0s link_down x1 link",
				"closed 1 1m0s-2m0s link_down x1 link <data_lost x1> data 1 min a",
			},
		},
		{
			name: "silence that comes again is what a loss turns out to be",
			night: func(w *written) {
				stale := func() events.Event { return &events.SessionStale{Attempt: 1, Misses: 1, Silent: 20_000} }
				w.open(0).add(minute, stale()).add(time.Second, &events.SessionFresh{Attempt: 1}).add(time.Second, stale())
				w.lose(time.Second, events.CauseHeartbeatLost)
			},
			want: []string{
				"opened 1 1m0s session_stale x1 gateway detected 20 s",
				"updated 1 1m0s session_lost x1 gateway <session_stale x2> returns 1 detected 20 s",
			},
		},
		{
			name: "a stop ends it at once",
			night: func(w *written) {
				w.open(0).lose(minute, events.CauseReset).add(minute, &events.Stopped{Cause: events.CauseAskedFor})
			},
			want: []string{
				"opened 1 1m0s session_lost x1 gateway",
				"closed 1 1m0s-2m0s session_lost x1 gateway stopped",
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWritten(t, "main")
			test.night(w)
			var fold Fold
			var got []string
			for _, r := range w.all {
				for _, c := range fold.Add(r) {
					got = append(got, tellChange(c))
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("told is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

func tellChange(c Change) string {
	i := c.Incident
	var b strings.Builder
	say := func(when bool, format string, args ...any) {
		if when {
			fmt.Fprintf(&b, format, args...)
		}
	}
	say(true, "%s %d %v", c.Kind, i.Number, i.OpenedAt.Sub(midnight))
	say(!i.Open(), "-%v", i.ClosedAt.Sub(midnight))
	say(true, " %s x%d %s", i.Root.What, i.Root.Count, i.Attribution)
	for _, s := range i.Chain {
		say(true, " <%s x%d>", s.What, s.Count)
	}
	say(i.Returns > 0, " returns %d", i.Returns)
	say(i.Attempts > 0, " attempts %d", i.Attempts)
	say(i.DetectedAfter > 0, " detected %v", i.DetectedAfter)
	say(!i.ReadyAt.IsZero(), " ready %v", i.ReadyAfter)
	say(!i.DataAt.IsZero(), " data %v", i.DataAfter)
	say(i.Subscriptions.Count > 0, " %s", strings.Join(i.Subscriptions.Names, " "))
	say(i.Gaps != Gaps{}, " gaps %d/%d/%d", i.Gaps.Detected, i.Gaps.Filled, i.Gaps.Unfillable)
	say(i.Stopped, " stopped")
	return b.String()
}

// nightOf is what dice make of a night.
func nightOf(w *written, roll func(n int) int, length int) {
	w.open(0).want("a", "b", "c")
	for range length {
		pause := time.Duration(roll(40)) * time.Second
		ready := w.state.Phase == events.PhaseReady
		switch name := string(rune('a' + roll(3))); roll(8) {
		case 0:
			w.beat(pause)
		case 1:
			w.link(pause, w.state.Link.Status == events.LinkDown)
		case 2:
			w.farm(pause, []events.FarmStatus{events.FarmUp, events.FarmDown}[roll(2)])
		case 3:
			if ready {
				w.lose(pause, []events.Cause{events.CauseReset, events.CauseHeartbeatLost, events.CauseProcessRestarted}[roll(3)])
			}
		case 4:
			if !ready {
				w.fail(pause, events.CauseRefused)
			}
		case 5:
			if !ready {
				w.open(pause)
			}
		case 6:
			w.dark(pause, name)
		default:
			w.deliver(pause, name)
			at := w.now.Sub(midnight)
			w.gap(0, name, at-time.Minute, at).filled(0, name, at-time.Minute, at)
		}
	}
}

// TestHeartbeatsOnlyTellSooner is why a log whose heartbeats have expired has
// the same incidents, and a restart goes on where it was.
func TestHeartbeatsOnlyTellSooner(t *testing.T) {
	for seed := range 60 {
		w := newWritten(t, "main")
		nightOf(w, dice(seed), 100)
		w.farm(time.Hour, events.FarmUp)
		var with, without Fold
		var all, lasting []Change
		for _, r := range w.all {
			all = append(all, with.Add(r)...)
			if !r.Heartbeat() {
				lasting = append(lasting, without.Add(r)...)
			}
		}
		if !reflect.DeepEqual(all, lasting) {
			t.Fatalf("seed %d: with heartbeats %d changes, without %d, want the same", seed, len(all), len(lasting))
		}
	}
}

// TestSomethingIsOpenExactlyWhileItIsNotWell holds over nights that nobody had.
func TestSomethingIsOpenExactlyWhileItIsNotWell(t *testing.T) {
	for seed := range 60 {
		w := newWritten(t, "main")
		nightOf(w, dice(seed), 100)
		var fold Fold
		watched := false
		for n, r := range w.all {
			fold.Add(r)
			e, ok := r.Event.(events.StateEvent)
			if !ok {
				continue
			}
			healthy := e.After().Condition == events.ConditionHealthy
			watched = watched || healthy
			open := slices.ContainsFunc(fold.Incidents(), Incident.Open)
			if !slices.IsSortedFunc(fold.active, func(a, b *incident) int { return int(a.breadth - b.breadth) }) {
				t.Fatalf("seed %d: after event %d (%s) the widest is not the last", seed, n, events.Sentence(r))
			}
			if watched && open == healthy {
				t.Fatalf("seed %d: after event %d (%s) it is %s, and an incident is open: %v", seed, n, events.Sentence(r), e.After().Condition, open)
			}
		}
	}
}

// TestTheChangesOfAnIncidentAreInOrder holds what whoever listens relies on.
func TestTheChangesOfAnIncidentAreInOrder(t *testing.T) {
	for seed := range 60 {
		w := newWritten(t, "main")
		nightOf(w, dice(seed), 100)
		var fold Fold
		var last Change
		stood := make(map[string]Kind)
		for _, r := range w.all {
			for _, c := range fold.Add(r) {
				if c.Sequence < last.Sequence || c.Sequence == last.Sequence && c.Part <= last.Part {
					t.Fatalf("seed %d: change %d.%d comes after %d.%d", seed, c.Sequence, c.Part, last.Sequence, last.Part)
				}
				was := stood[c.Incident.ID]
				if (was == "") != (c.Kind == Opened) || was == Closed && c.Kind == Closed {
					t.Fatalf("seed %d: %s of %s comes after %q", seed, c.Kind, c.Incident.ID, was)
				}
				if closed := c.Kind == Closed || was == Closed; closed == c.Incident.Open() {
					t.Fatalf("seed %d: %s after %q of an incident that is %s", seed, c.Kind, was, c.Incident.State)
				}
				if was != Closed {
					stood[c.Incident.ID] = c.Kind
				}
				last = c
			}
		}
		if n := len(fold.Incidents()); n != len(stood) {
			t.Fatalf("seed %d: %d incidents, and %d were told of", seed, n, len(stood))
		}
	}
}

// TestALinkThatFlapsAllNightIsOneIncident is a gateway that says 1100 and 1102 by
// turns, every twenty seconds for an hour.
func TestALinkThatFlapsAllNightIsOneIncident(t *testing.T) {
	w := newWritten(t, "main")
	w.open(0)
	for range 90 {
		w.link(20*time.Second, false).link(20*time.Second, true)
	}
	w.beat(minute)
	var fold Fold
	var told []Kind
	for _, r := range w.all {
		for _, c := range fold.Add(r) {
			told = append(told, c.Kind)
		}
	}
	all := fold.Incidents()
	if len(all) != 1 || all[0].Root.Count != 90 || all[0].Returns != 89 || !slices.Equal(told, []Kind{Opened, Closed}) {
		t.Errorf("told is %v of %+v, want one that came back 89 times, opened and closed", told, all)
	}
}

// TestAQuietDayCostsNothing is a healthy session with a heartbeat every fifteen
// seconds.
func TestAQuietDayCostsNothing(t *testing.T) {
	w := newWritten(t, "main")
	w.open(0).want("a").link(minute, true).farm(minute, events.FarmUp)
	for range 24 * 60 * 4 {
		w.beat(15 * time.Second)
	}
	var fold Fold
	for _, r := range w.all {
		if c := fold.Add(r); c != nil {
			t.Fatalf("%s leads to %+v", r.Event.Type(), c)
		}
	}
	last := w.all[len(w.all)-1]
	if n := testing.AllocsPerRun(100, func() { fold.Add(last) }); n != 0 || len(fold.Incidents()) != 0 {
		t.Errorf("%d incidents, and %v allocations for a heartbeat, want none", len(fold.Incidents()), n)
	}
}

// TestWhatIsPublishedOfAnIncident shows the message as others read it, which
// only gets more fields.
func TestWhatIsPublishedOfAnIncident(t *testing.T) {
	w := newWritten(t, "main")
	w.open(0).want("aapl-bars", "eurusd-quotes")
	w.add(minute, &events.SessionStale{Attempt: 1, Misses: 1, Silent: 20_000})
	w.add(5*time.Second, &events.SessionLost{
		Attempt: 1, Cause: events.CauseHeartbeatLost, RetryAt: w.now, Failures: 1, Silent: 25_000, Window: "restart daily 00:00-00:05 UTC",
	})
	w.fail(0, events.CauseRefused).fail(0, events.CauseClientIDInUse).open(30*time.Second).farm(0, events.FarmDown)
	w.deliver(time.Second, "aapl-bars").gap(time.Second, "aapl-bars", 50*time.Second, 100*time.Second)
	w.refused(0, "eurusd-quotes").deliver(time.Second, "eurusd-quotes").farm(0, events.FarmUp)
	w.add(minute, &events.GapUnfillable{Subscription: "aapl-bars", From: midnight.Add(50 * time.Second), To: midnight.Add(60 * time.Second), Code: events.ErrorNoData, Message: "no"})
	w.filled(0, "aapl-bars", time.Minute, 100*time.Second)
	var fold Fold
	var got []byte
	for _, r := range w.all {
		for _, c := range fold.Add(r) {
			b, err := json.MarshalIndent(c.Incident, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(b, '\n')
		}
	}
	const file = "testdata/incident.json"
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the last word on it is\n%s\n%v, want\n%s", got, err, want)
	}
}

// TestAFoldStaysBounded is why a Keeper may run for years.
func TestAFoldStaysBounded(t *testing.T) {
	w := newWritten(t, "main")
	w.open(0).want("a")
	for range maxPast + 10 {
		w.link(minute, false).link(0, true)
	}
	for n := range 60 {
		w.farm(minute, events.FarmDown).add(0, &events.FarmChanged{
			Attempt: 1, Farm: events.Farm{Kind: events.FarmMarketData, Name: fmt.Sprint("f", n)}, To: events.FarmDown, Code: 2103,
		})
	}
	var fold Fold
	for _, r := range w.all {
		fold.Add(r)
	}
	all := fold.Incidents()
	last := all[len(all)-1]
	if len(all) != maxPast || last.Number != maxPast+11 || len(last.Chain) > 1 || len(last.Root.Names) > maxStepNames {
		t.Errorf("%d incidents, the last is %+v, want %d of %d, with %d names at most", len(all), last, maxPast, maxPast+11, maxStepNames)
	}
}
