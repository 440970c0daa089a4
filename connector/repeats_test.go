package connector_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"ibconn/events"
	"ibconn/testenv/memlog"
)

// flood says the same n times, every so often, while it answers probes.
func flood(n int, every time.Duration, code int, message string) step {
	return func(ctx context.Context, s *session) {
		for range n {
			say(code, message)(ctx, s)
			serve(every)(ctx, s)
		}
	}
}

func TestTenThousandRepeatedNoticesAreOneTransitionAndCountedExactly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lost, n = "Connectivity between IBKR and Trader Workstation has been lost.", 10_000
		store, g := memlog.New(), &gateway{scripts: [][]step{then(flood(n, 360*time.Millisecond, 1100, lost), say(1102, "restored"), serve(0))}}
		l := run(t, newRunner(store.Writer(), g))
		pass(time.Hour + time.Minute)
		l.stop()
		if down := all[*events.LinkWentDown](store); len(down) != 1 {
			t.Errorf("the link went down %d times, want once", len(down))
		}
		counted := 1 + len(all[*events.GatewayReported](store))
		repeats := all[*events.GatewayRepeated](store)
		for _, e := range repeats {
			counted += e.Count
			if e.Code != 1100 || e.Message != lost || e.LastAt.Before(e.FirstAt) {
				t.Fatalf("repeated: %+v", e)
			}
		}
		if counted != n {
			t.Errorf("%d notices are counted, want %d", counted, n)
		}
		if stored := len(repeats); stored < 50 || stored > 65 {
			t.Errorf("%d counts are stored in an hour, want one a minute", stored)
		}
		checkLog(t, store, l.State())
	})
}

func TestTheCountIsRecordedWhenTheSessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := memlog.New(), &gateway{scripts: [][]step{then(flood(7, time.Second, 162, "pacing violation"), end(events.CauseReset)), well}}
		l := run(t, newRunner(store.Writer(), g))
		pass(30 * time.Second)
		if repeats := all[*events.GatewayRepeated](store); len(repeats) != 1 || repeats[0].Count != 6 {
			t.Errorf("repeats %+v, want the other six with the session's end", repeats)
		}
		if s := l.State(); s.Counts.Errors != 7 || s.LastError.Code != 162 {
			t.Errorf("%d errors counted, the last %+v, want all seven", s.Counts.Errors, s.LastError)
		}
		l.stop()
	})
}

func TestWhatComesAgainAfterAWhileIsNewsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := memlog.New(), &gateway{scripts: [][]step{then(flood(3, 2*time.Minute, 162, "pacing violation"), serve(0))}}
		l := run(t, newRunner(store.Writer(), g))
		pass(10 * time.Minute)
		l.stop()
		if reported, repeats := all[*events.GatewayReported](store), all[*events.GatewayRepeated](store); len(reported) != 3 || len(repeats) != 0 {
			t.Errorf("%d reported and %d counted, want each of the three recorded in full", len(reported), len(repeats))
		}
	})
}

func TestAGatewayThatNeverSaysTheSameTwiceIsRecordedAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 500
		babble := func(ctx context.Context, s *session) {
			for i := range n {
				say(162, fmt.Sprintf("request %d", i))(ctx, s)
			}
		}
		store, g := memlog.New(), &gateway{scripts: [][]step{then(babble, serve(0))}}
		l := run(t, newRunner(store.Writer(), g))
		pass(10 * time.Minute)
		l.stop()
		if got := len(all[*events.GatewayReported](store)); got != n {
			t.Errorf("%d reported, want all %d", got, n)
		}
	})
}

func TestTheCountIsRecordedWhenTheProcessIsToldToEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, g := memlog.New(), &gateway{scripts: [][]step{then(flood(7, time.Second, 162, "pacing violation"), serve(0))}}
		l := run(t, newRunner(store.Writer(), g))
		pass(20 * time.Second)
		l.stop()
		if repeats := all[*events.GatewayRepeated](store); len(repeats) != 1 || repeats[0].Count != 6 {
			t.Errorf("repeats %+v, want the other six before the end", repeats)
		}
		if last := store.Events()[len(store.Events())-1]; last.Event.Type() != (*events.Stopped)(nil).Type() {
			t.Errorf("the log ends with %s, want stopped", last.Event.Type())
		}
	})
}

func TestAFloodBehindManyOtherReportsIsCountedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const others, n = 500, 100
		babble := func(ctx context.Context, s *session) {
			for i := range others {
				say(162, fmt.Sprintf("request %d", i))(ctx, s)
			}
		}
		store, g := memlog.New(), &gateway{scripts: [][]step{then(babble, flood(n, 10*time.Millisecond, 1100, "lost"), end(events.CauseReset)), well}}
		l := run(t, newRunner(store.Writer(), g))
		pass(30 * time.Second)
		l.stop()
		counted := len(all[*events.LinkWentDown](store)) + len(all[*events.GatewayReported](store)) - others
		for _, e := range all[*events.GatewayRepeated](store) {
			counted += e.Count
		}
		if counted != n {
			t.Errorf("%d notices are counted, want %d", counted, n)
		}
		if reported := len(all[*events.GatewayReported](store)); reported > others+1 {
			t.Errorf("%d of the flood are recorded in full, want one", reported-others)
		}
	})
}
