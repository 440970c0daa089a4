package connector_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ibconn/connector"
	"ibconn/events"
	"ibconn/testenv/memlog"
)

// minutely asks for bars of a minute.
func minutely(r *events.Request) { r.BarSize, r.Duration = "1 min", "600 S" }

// A refused request is cancelled, and the gateway says that it knows none of that
// id. That is no news of the subscription.
func TestTheEchoOfACancelChangesNothingOfARefusal(t *testing.T) {
	for _, code := range []int{354, 10168} {
		f := feed{placing: func(s *session, m connector.Message) []connector.Input {
			return []connector.Input{s.passed(m), s.refused(m, code, "Requested market data is not subscribed.")}
		}}
		feeding(t, [][]step{then(f.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
			l.subscribe("AAPL", events.SubscribeQuotes)
			pass(24 * time.Hour)
			sub := l.wantStatus("aapl-quotes", events.SubscriptionFailed)
			if sub.Code != code || sub.Class != events.ClassEntitlement || !sub.RetryAt.IsZero() {
				t.Errorf("it failed with %d, %s, tried again at %v, want %d for good", sub.Code, sub.Class, sub.RetryAt, code)
			}
			if refused, cancels := all[*events.SubscriptionRefused](store), queried[connector.Unsubscribe](g.sessions()[0]); len(refused) != 1 || len(cancels) != 1 {
				t.Errorf("refused %+v with %d cancels, want each once", refused, len(cancels))
			}
		})
	}
}

// Bars that were on their way behind a refusal make nothing of a dead request.
func TestDataBehindARefusalRevivesNothing(t *testing.T) {
	f := feed{}
	f.placing = func(s *session, m connector.Message) []connector.Input {
		if n := len(queried[connector.Subscribe](s)); n > 1 {
			return nil
		}
		return []connector.Input{
			s.passed(m), s.refused(m, 10182, "Failed to request live updates (disconnected)."),
			connector.Arrived{Attempt: s.number(), ID: m.ID, At: s.wall()},
			connector.BarsCame{Attempt: s.number(), ID: m.ID, At: s.wall(), Bars: minutes(time.Now().Add(-10*time.Minute), time.Now()), Past: true},
		}
	}
	feeding(t, [][]step{then(f.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		l.subscribe("AAPL", events.SubscribeHistoryBars, minutely)
		pass(5 * time.Minute)
		l.wantStatus("aapl-history-bars-1-min", events.SubscriptionLive)
		sent := make(map[int64]int)
		for _, m := range requested(g.sessions()[0]) {
			if _, is := m.Request.(connector.Subscribe); is {
				sent[m.ID]++
			}
		}
		for id, times := range sent {
			if times != 1 {
				t.Errorf("request %d was sent %d times, want once", id, times)
			}
		}
		if len(sent) != 2 {
			t.Errorf("it was placed %d times, want twice", len(sent))
		}
	})
}

// What dies again at once each time is tried later and later, though its past comes
// each time.
func TestWhatDiesBehindItsPastIsTriedLaterEachTime(t *testing.T) {
	f := feed{placing: func(s *session, m connector.Message) []connector.Input {
		return []connector.Input{
			s.passed(m),
			connector.Arrived{Attempt: s.number(), ID: m.ID, At: s.wall()},
			connector.BarsCame{Attempt: s.number(), ID: m.ID, At: s.wall(), Bars: minutes(time.Now().Add(-10*time.Minute), time.Now()), Past: true},
			s.refused(m, 10182, "Failed to request live updates (disconnected)."),
		}
	}}
	feeding(t, [][]step{then(f.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		l.subscribe("AAPL", events.SubscribeHistoryBars, minutely)
		pass(time.Hour)
		if n := len(all[*events.SubscriptionPlacement](store)); n < 10 || n > 20 {
			t.Errorf("it was placed %d times in an hour, want it later each time", n)
		}
	})
}

// Words that nobody knows are about one subscription, and hold no other up.
func TestARefusalInUnknownWordsHoldsNobodyElseUp(t *testing.T) {
	for _, words := range []string{
		"Historical Market Data Service error message:No historical market data for EUR/CASH@IDEALPRO Last 60",
		"Historical Market Data Service error message:Something new",
	} {
		f := feed{placing: func(s *session, m connector.Message) []connector.Input {
			if m.Request.(connector.Subscribe).Name == "wrong" {
				return []connector.Input{s.passed(m), s.refused(m, 162, words)}
			}
			return nil
		}}
		feeding(t, [][]step{then(f.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
			l.subscribe("1000", events.SubscribeHistoryBars, minutely, func(r *events.Request) { r.Name = "wrong" })
			pass(10 * time.Second)
			for i := range 5 {
				if a := l.subscribe(fmt.Sprint(1001+i), events.SubscribeBars); !a.OK {
					t.Fatalf("subscribe = %+v", a)
				}
				pass(10 * time.Second)
				l.wantStatus(fmt.Sprintf("%d-bars", 1001+i), events.SubscriptionLive)
			}
			l.wantStatus("wrong", events.SubscriptionFailed)
		})
	}
}

// A gateway that is about to lose IB finds no contracts, and says a moment later
// that it lost it.
func TestAContractThatIsNotFoundBeforeAnOutageIsAskedForAgain(t *testing.T) {
	f := feed{placing: func(s *session, m connector.Message) []connector.Input {
		if n := len(queried[connector.Subscribe](s)); n > 1 {
			return nil
		}
		return []connector.Input{s.passed(m), s.refused(m, 200, "No security definition has been found for the request")}
	}}
	lost := []step{
		after(20 * time.Second), say(1100, "Connectivity between IBKR and Trader Workstation has been lost."),
		after(20 * time.Second), say(1102, "Connectivity between IBKR and Trader Workstation has been restored - data maintained."),
	}
	feeding(t, [][]step{then(beside(f.step, lost...))}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		pass(15 * time.Second)
		l.subscribe("AAPL", events.SubscribeQuotes)
		pass(10 * time.Second)
		l.wantStatus("aapl-quotes", events.SubscriptionFailed)
		pass(time.Minute)
		l.wantStatus("aapl-quotes", events.SubscriptionLive)
		if n := len(all[*events.SubscriptionPlacement](store)); n != 2 {
			t.Errorf("it was placed %d times, want once more", n)
		}
	})
}

// Another session that takes the data of one kind of request ends the request: it
// is asked for again each minute, and comes back when the other is gone.
func TestARequestThatAnotherSessionEndedIsMadeAgainEachMinute(t *testing.T) {
	began := time.Time{}
	f := feed{placing: func(s *session, m connector.Message) []connector.Input {
		if time.Since(began) > 90*time.Second {
			return nil
		}
		return []connector.Input{s.passed(m), s.refused(m, 10189, "Failed to request tick-by-tick data:Trading TWS session is connected from a different IP address")}
	}}
	feeding(t, [][]step{then(f.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		began = time.Now()
		l.subscribe("AAPL", events.SubscribeTrades)
		pass(10 * time.Second)
		sub := l.wantStatus("aapl-trades", events.SubscriptionFailed)
		if s := l.State(); sub.Class != events.ClassCompeting || s.Competing.Since.IsZero() {
			t.Errorf("it failed by %s, competing since %v, want another session known", sub.Class, s.Competing.Since)
		}
		pass(2*time.Minute + 10*time.Second)
		l.wantStatus("aapl-trades", events.SubscriptionLive)
		if n := len(all[*events.SubscriptionPlacement](store)); n != 3 {
			t.Errorf("it was placed %d times in two minutes, want once a minute", n)
		}
	})
}

// What a contract does not have is nothing of another session.
func TestTickByTickThatThereIsNotIsNoOtherSession(t *testing.T) {
	f := feed{placing: func(s *session, m connector.Message) []connector.Input {
		return []connector.Input{s.passed(m), s.refused(m, 10189, "Failed to request tick-by-tick data:No trades for EUR.USD")}
	}}
	feeding(t, [][]step{then(f.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		l.subscribe("AAPL", events.SubscribeTrades)
		pass(10 * time.Second)
		if sub := l.wantStatus("aapl-trades", events.SubscriptionFailed); sub.RetryAt.IsZero() || len(all[*events.CompetingBegan](store)) != 0 {
			t.Errorf("it is tried again at %v, competing %+v", sub.RetryAt, all[*events.CompetingBegan](store))
		}
	})
}

// With as many queries kept up to date as may be, each can still take its own place
// again.
func TestAFullHouseOfQueriesIsPlacedAgainAfterAnOutage(t *testing.T) {
	for code, words := range map[int]string{1101: "data lost", 1102: "data maintained"} {
		from := time.Time{}
		f := feed{silent: func(now time.Time, name string, nth int) bool { return nth == 1 && now.Sub(from) > 30*time.Second }}
		lost := []step{after(30 * time.Second), say(1100, "lost"), after(20 * time.Second), say(code, words)}
		script := then(func(ctx context.Context, s *session) { from = time.Now(); beside(f.step, lost...)(ctx, s) })
		feeding(t, [][]step{script}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
			for i := range 28 {
				l.subscribe(fmt.Sprint(1000+i), events.SubscribeHistoryBars, minutely)
			}
			pass(3 * time.Minute)
			placed := make(map[string]int)
			for _, p := range all[*events.SubscriptionPlacement](store) {
				placed[p.Subscription]++
			}
			for name, n := range placed {
				if n != 2 {
					t.Errorf("%d: %s was placed %d times, want once more behind the outage", code, name, n)
				}
				l.wantStatus(name, events.SubscriptionLive)
			}
			if len(placed) != 28 {
				t.Errorf("%d were placed", len(placed))
			}
		})
	}
}

// What IB's rules keep from being placed again is dark meanwhile.
func TestWhatWaitsForItsTurnIsDarkMeanwhile(t *testing.T) {
	from := time.Time{}
	f := feed{silent: func(now time.Time, name string, nth int) bool { return nth == 1 && now.Sub(from) > 30*time.Second }}
	lost := []step{after(30 * time.Second), say(1100, "lost"), after(time.Second), say(1102, "data maintained")}
	script := then(func(ctx context.Context, s *session) { from = time.Now(); beside(f.step, lost...)(ctx, s) })
	feeding(t, [][]step{script}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		for i := range 29 { // with half of IB's quota used at the start
			l.subscribe(fmt.Sprint(1000+i), events.SubscribeBars)
		}
		pass(90 * time.Second)
		dark := slices.DeleteFunc(slices.Clone(l.State().Subscriptions), func(sub *events.Subscription) bool { return sub.Status != events.SubscriptionDark })
		if len(dark) != 29 || l.State().Condition != events.ConditionDegraded {
			t.Errorf("%d are dark, and the connection is %s, want all, and it degraded", len(dark), l.State().Condition)
		}
		pass(20 * time.Minute)
		for _, sub := range l.State().Subscriptions {
			l.wantStatus(sub.Name, events.SubscriptionLive)
		}
	})
}

// A farm that stays down says nothing of one that is back.
func TestAFarmThatIsDownDelaysNothingOfOneThatIsBack(t *testing.T) {
	for _, kind := range []events.SubscriptionKind{events.SubscribeTrades, events.SubscribeHistoryBars} {
		from := time.Time{}
		f := feed{silent: func(now time.Time, name string, nth int) bool { return nth == 1 && now.Sub(from) > 30*time.Second }}
		flap := []step{
			after(10 * time.Second), say(2103, "Market data farm connection is broken:cashfarm"),
			after(20 * time.Second), say(2103, farmBroken), after(3 * time.Second), say(2104, farmOK),
		}
		script := then(func(ctx context.Context, s *session) { from = time.Now(); beside(f.step, flap...)(ctx, s) })
		feeding(t, [][]step{script}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
			if a := l.subscribe("AAPL", kind, func(r *events.Request) {
				if kind == events.SubscribeHistoryBars {
					minutely(r)
				}
			}); !a.OK {
				t.Fatalf("subscribe = %+v", a)
			}
			pass(60 * time.Second)
			placed := all[*events.SubscriptionPlacement](store)
			if len(placed) != 2 || placed[1].Because != events.BecauseFarm {
				t.Errorf("%s was placed %+v, want again as its farm came back", kind, placed)
			}
		})
	}
}

// IB takes one request for tick-by-tick data of an instrument in fifteen seconds.
func TestTickByTickOfOneInstrumentKeepsToIBsRule(t *testing.T) {
	feeding(t, [][]step{then(feed{}.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		for _, what := range []string{"Last", "BidAsk", "MidPoint"} {
			if a := l.subscribe("AAPL", events.SubscribeTrades, func(r *events.Request) { r.What = what }); !a.OK {
				t.Fatalf("subscribe = %+v", a)
			}
		}
		if a := l.subscribe("1001", events.SubscribeTrades); !a.OK {
			t.Fatalf("subscribe = %+v", a)
		}
		pass(time.Minute)
		var of []time.Time
		placed := all[*events.SubscriptionPlacement](store)
		for i, at := range times[*events.SubscriptionPlacement](store) {
			if placed[i].Subscription != "1001-trades" {
				of = append(of, at)
			} else if at.Sub(of[0]) > time.Second {
				t.Errorf("another instrument waited %v", at.Sub(of[0]))
			}
		}
		if len(of) != 3 || of[1].Sub(of[0]) < 15*time.Second || of[2].Sub(of[1]) < 15*time.Second || of[2].Sub(of[0]) > 40*time.Second {
			t.Errorf("they were placed at %v, want 15 seconds apart and soon", of)
		}
		for _, sub := range l.State().Subscriptions {
			l.wantStatus(sub.Name, events.SubscriptionLive)
		}
	})
}

// tickingClock is one that goes on between any two looks at it, as all do.
type tickingClock struct {
	connector.SystemClock
	looks *atomic.Int64
}

func (c tickingClock) Now() (wall time.Time, passed time.Duration) {
	wall, passed = c.SystemClock.Now()
	late := time.Duration(c.looks.Add(1)) * time.Nanosecond
	return wall.Add(late), passed + late
}

// What waits for a line gets the first that is given back.
func TestALineThatIsGivenBackIsTakenAtOnce(t *testing.T) {
	f := feed{placing: func(s *session, m connector.Message) []connector.Input {
		open := 0
		for _, r := range requested(s) {
			switch r.Request.(type) {
			case connector.Subscribe:
				open++
			case connector.Unsubscribe:
				open--
			default:
			}
		}
		if open > 2 {
			return []connector.Input{s.passed(m), s.refused(m, 101, "Max number of tickers has been reached")}
		}
		return nil
	}}
	synctest.Test(t, func(t *testing.T) {
		store, g := memlog.New(), &gateway{scripts: [][]step{then(f.step)}}
		r := newFeedingRunner(store, g, newShelf())
		r.Clock = tickingClock{looks: new(atomic.Int64)}
		l := run(t, r)
		pass(2 * time.Second)
		for i := range 4 {
			l.subscribe(fmt.Sprint(1000+i), events.SubscribeQuotes, func(r *events.Request) { r.Wait = events.Wait(time.Second) })
		}
		pass(10 * time.Minute)
		if n := len(all[*events.SubscriptionPlacement](store)); n > 12 {
			t.Errorf("they were placed %d times while there was no line, want later each time", n)
		}
		if a := l.cancel(events.Request{Subscription: "1000-quotes"}); !a.OK {
			t.Fatalf("cancel = %+v", a)
		}
		pass(10 * time.Second)
		live := 0
		for _, sub := range l.State().Subscriptions {
			if sub.Status == events.SubscriptionLive {
				live++
			}
		}
		if live != 2 {
			t.Errorf("%d are live ten seconds after a line was given back, want two", live)
		}
		l.stop()
	})
}
