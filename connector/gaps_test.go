package connector_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ibconn/connector"
	"ibconn/events"
	"ibconn/testenv/memlog"
)

// recalled is how often a run asked for bars of the past, in all its sessions.
func recalled(g *gateway) (n int) {
	for _, s := range g.sessions() {
		n += len(queried[connector.HistoricalBars](s))
	}
	return n
}

// outage is an outage of somewhat more than twelve seconds, behind 33 seconds of f.
func outage(f feed) [][]step {
	short := then(during(33*time.Second, f.step), end(events.CauseReset))
	return [][]step{short, away(4 * time.Second), away(4 * time.Second), away(4 * time.Second), then(f.step)}
}

// Where the limit of what is filled falls into a bar, that bar is given up too.
func TestAGapAtTheLimitOfWhatIsFilledIsCutBehindABar(t *testing.T) {
	for limit := 70 * time.Second; limit < 90*time.Second; limit += time.Second {
		feeding(t, [][]step{then(feed{}.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
			if a := l.subscribe("AAPL", events.SubscribeBars); !a.OK {
				t.Fatalf("subscribe = %+v", a)
			}
			pass(30 * time.Second)
			l.die()
			pass(time.Minute)
			r := newFeedingRunner(store, g, shelf)
			r.Policy.BackfillMost = limit
			l.begin(r)
			pass(2 * time.Minute)
			if sub := l.wantStatus("aapl-bars", events.SubscriptionLive); len(sub.Gaps) != 0 {
				t.Errorf("limit %v: its gaps are %+v, want none", limit, sub.Gaps)
			}
			found, gave, filled := all[*events.GapDetected](store), all[*events.GapUnfillable](store), all[*events.GapFilled](store)
			if len(found) != 1 || len(filled) != 1 || len(gave) > 1 {
				t.Fatalf("limit %v: found %+v, given up %+v, filled %+v", limit, found, gave, filled)
			}
			from := found[0].From
			for _, u := range gave {
				if !u.From.Equal(from) || u.To.Sub(from) != u.To.Sub(from).Truncate(events.RealTimeBar) {
					t.Errorf("limit %v: given up %+v of %+v, want whole bars at its beginning", limit, u, found[0])
				}
				from = u.To
			}
			if !filled[0].From.Equal(from) || !filled[0].To.Equal(found[0].To) {
				t.Errorf("limit %v: filled %+v behind %v, want the rest of %+v", limit, filled[0], from, found[0])
			}
		})
	}
}

// What IB makes of a bar while its data does not reach it is not the whole bar.
func TestABarThatWasCutOffIsFetchedWhole(t *testing.T) {
	for _, tt := range []struct {
		name       string
		down, up   step
		cut, again time.Duration // of the time since midnight
	}{
		{"the link", say(1100, "Connectivity between IBKR and Trader Workstation has been lost."), say(1102, "Connectivity restored - data maintained."), 200 * time.Second, 260 * time.Second},
		{"the link, within a bar", say(1100, "Connectivity between IBKR and Trader Workstation has been lost."), say(1102, "Connectivity restored - data maintained."), 190 * time.Second, 215 * time.Second},
		{"the farm", say(2105, "HMDS data farm connection is broken:ushmds"), say(2106, "HMDS data farm connection is OK:ushmds"), 200 * time.Second, 260 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var midnight time.Time
			f := feed{silent: func(now time.Time, _ string, _ int) bool {
				return now.Sub(midnight) > tt.cut && now.Sub(midnight) < tt.again
			}}
			// What was not seen is not in it: the volume of the bar that was cut off
			// lacks that.
			f.lacking = func(now time.Time) bool { return f.silent(now, "", 0) }
			script := then(func(ctx context.Context, s *session) {
				midnight = time.Now().Truncate(24 * time.Hour)
				to := func(d time.Duration) step {
					return func(ctx context.Context, s *session) { after(time.Until(midnight.Add(d)))(ctx, s) }
				}
				beside(f.step, to(tt.cut), tt.down, to(tt.again), tt.up)(ctx, s)
			})
			feeding(t, [][]step{script}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
				a := l.subscribe("AAPL", events.SubscribeHistoryBars, func(r *events.Request) { r.BarSize, r.Duration = "1 min", "600 S" })
				if !a.OK {
					t.Fatalf("subscribe = %+v", a)
				}
				pass(10 * time.Minute)
				shelf.whole(t, a.Subscription.Name, time.Minute)
				for _, b := range shelf.bars(t, a.Subscription.Name) {
					if b.Volume != "60" {
						t.Errorf("the bar of %s has a volume of %s, want it whole", b.Time, b.Volume)
					}
				}
				if n := len(all[*events.SubscriptionPlacement](store)); n != 1 {
					t.Errorf("it was placed %d times, want once: its data was maintained", n)
				}
				if filled := all[*events.GapFilled](store); len(filled) == 0 || len(filled) > 2 {
					t.Errorf("gaps filled %+v, want the one or two bars that were cut off", filled)
				}
			})
		})
	}
}

func TestHistoryThatLagsIsAskedAgain(t *testing.T) {
	f := feed{recalling: func(s *session, m connector.Message) connector.Input {
		q := m.Request.(connector.HistoricalBars).Query
		const behind = 45 * time.Second
		if late := time.Until(q.End.Add(behind)); late > 0 {
			q.End = q.End.Add(-late) // its duration has more than the gap
		}
		return past(s, m, q)
	}}
	feeding(t, outage(f), func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		if a := l.subscribe("AAPL", events.SubscribeBars); !a.OK {
			t.Fatalf("subscribe = %+v", a)
		}
		pass(5 * time.Minute)
		if sub := l.wantStatus("aapl-bars", events.SubscriptionLive); len(sub.Gaps) != 0 {
			t.Errorf("its gaps are %+v, want none", sub.Gaps)
		}
		shelf.whole(t, "aapl-bars", events.RealTimeBar)
		filled := all[*events.GapFilled](store)
		if len(filled) != 1 || filled[0].Missing != 0 || recalled(g) < 2 || recalled(g) > 5 {
			t.Errorf("filled %+v after %d requests, want it whole after some", filled, recalled(g))
		}
	})
}

// What never was is not asked for again and again.
func TestHistoryThatStaysShortIsTakenAsItIs(t *testing.T) {
	f := feed{recalling: func(s *session, m connector.Message) connector.Input { return s.refused(m, 162, noHistory) }}
	feeding(t, outage(f), func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		if a := l.subscribe("AAPL", events.SubscribeBars); !a.OK {
			t.Fatalf("subscribe = %+v", a)
		}
		pass(30 * time.Minute)
		gave := all[*events.GapUnfillable](store)
		if len(gave) != 1 || gave[0].Code != events.ErrorNoData || recalled(g) > 7 {
			t.Errorf("given up %+v after %d requests, want it given up after few", gave, recalled(g))
		}
	})
}

func TestWhatTradesSeldomIsNotAskedForAllTheTime(t *testing.T) {
	f := feed{
		silent:    func(now time.Time, _ string, _ int) bool { return (now.Unix()-1)/60%2 == 0 },
		recalling: func(s *session, m connector.Message) connector.Input { return s.refused(m, 162, noHistory) },
	}
	feeding(t, [][]step{then(f.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		a := l.subscribe("AAPL", events.SubscribeHistoryBars, func(r *events.Request) { r.BarSize, r.Duration = "1 min", "600 S" })
		if !a.OK {
			t.Fatalf("subscribe = %+v", a)
		}
		pass(2 * time.Hour)
		if n := recalled(g); n == 0 || n > 2*6+6 {
			t.Errorf("it was asked %d times for bars that do not exist, want six times an hour once that is known", n)
		}
		if sub := l.wantStatus(a.Subscription.Name, events.SubscriptionLive); len(sub.Gaps) > 10 {
			t.Errorf("%d gaps wait, want no more than came in ten minutes", len(sub.Gaps))
		}
	})
}

func TestBarsThatCannotBeStoredAreNotFetchedAllTheTime(t *testing.T) {
	feeding(t, outage(feed{}), func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		shelf.fail = errShelf
		if a := l.subscribe("AAPL", events.SubscribeBars); !a.OK {
			t.Fatalf("subscribe = %+v", a)
		}
		pass(2 * time.Hour)
		if n := recalled(g); n < 10 || n > 2*6+8 {
			t.Errorf("they were fetched %d times in two hours, want six times an hour in the end", n)
		}
		shelf.mu.Lock()
		shelf.fail = nil
		shelf.mu.Unlock()
		pass(11 * time.Minute)
		if sub := l.wantStatus("aapl-bars", events.SubscriptionLive); len(sub.Gaps) != 0 {
			t.Errorf("its gaps are %+v, want none", sub.Gaps)
		}
		shelf.whole(t, "aapl-bars", events.RealTimeBar)
	})
}

// IB lists no days that are past. Over a weekend they are known all the same.
func TestHoursThatAreLearnedAnewKeepThePast(t *testing.T) {
	f := feed{
		silent: func(now time.Time, _ string, _ int) bool {
			now = now.Add(-time.Second)
			return now.Day() == 1 && now.Hour() >= 12 || now.Day() == 2 || now.Day() == 3 && now.Hour() < 6
		},
		describing: func() events.ContractDetails {
			d := apple
			d.TimeZoneID = "UTC"
			days := []string{"20000101:0000-20000101:1200", "20000102:CLOSED", "20000103:0600-20000103:2300", "20000104:0600-20000104:2300"}
			d.TradingHours = strings.Join(days[time.Now().Day()-1:], ";")
			return d
		},
	}
	feeding(t, [][]step{then(f.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		if a := l.subscribe("AAPL", events.SubscribeBars); !a.OK {
			t.Fatalf("subscribe = %+v", a)
		}
		pass(3*24*time.Hour - time.Hour)
		l.wantStatus("aapl-bars", events.SubscriptionLive)
		if n := len(all[*events.SubscriptionHours](store)); n < 2 {
			t.Errorf("hours were learned %d times, want each day", n)
		}
		if gaps, dark := all[*events.GapDetected](store), all[*events.SubscriptionFellSilent](store); len(gaps) != 0 || len(dark) != 0 {
			t.Errorf("gaps %+v, dark %+v, want none over a weekend", gaps, dark)
		}
		for _, b := range shelf.bars(t, "aapl-bars") {
			if len(b.Issues) != 0 {
				t.Errorf("the bar of %s has the issues %v", b.Time, b.Issues)
			}
		}
	})
}

func TestABarOfTheFutureIsNotTakenForTheNewest(t *testing.T) {
	const first = 1 << 27
	for _, kind := range []events.SubscriptionKind{events.SubscribeBars, events.SubscribeHistoryBars} {
		t.Run(string(kind), func(t *testing.T) {
			wrong := func(_ context.Context, s *session) {
				b := bar5(time.Now().Add(70 * 365 * 24 * time.Hour).Truncate(time.Minute))
				s.report(connector.BarsCame{Attempt: s.number(), ID: first, At: s.wall(), Bars: []events.Bar{b}})
			}
			feeding(t, [][]step{then(beside(feed{}.step, after(3*time.Minute), wrong))}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
				a := l.subscribe("AAPL", kind, func(r *events.Request) {
					if kind == events.SubscribeHistoryBars {
						r.BarSize, r.Duration = "1 min", "600 S"
					}
				})
				if !a.OK {
					t.Fatalf("subscribe = %+v", a)
				}
				pass(10 * time.Minute)
				span := a.Subscription.Feed.BarSpan()
				n, _ := shelf.whole(t, a.Subscription.Name, span)
				if n < int(9*time.Minute/span) {
					t.Errorf("%d bars were kept in ten minutes", n)
				}
				if gaps := all[*events.GapDetected](store); len(gaps) != 0 {
					t.Errorf("gaps %+v, want none", gaps)
				}
			})
		})
	}
}

// setBackFeeding is as feeding, with a clock that can be set.
func setBackFeeding(t *testing.T, scripts [][]step, f func(l *life, offset *atomic.Int64, g *gateway, store *memlog.Store, shelf *shelf)) {
	synctest.Test(t, func(t *testing.T) {
		store, shelf, g := memlog.New(), newShelf(), &gateway{scripts: scripts}
		var offset atomic.Int64
		r := newFeedingRunner(store, g, shelf)
		r.Clock = setClock{ahead: &offset}
		g.wall = func() time.Time { wall, _ := r.Clock.Now(); return wall }
		l := run(t, r)
		pass(2 * time.Second)
		f(l, &offset, g, store, shelf)
		l.stop()
		checkClosed(t, g)
	})
}

func TestAClockThatIsSetBackHidesNoSilence(t *testing.T) {
	var silent atomic.Bool
	f := feed{silent: func(time.Time, string, int) bool { return silent.Load() }}
	setBackFeeding(t, [][]step{then(f.step)}, func(l *life, offset *atomic.Int64, g *gateway, store *memlog.Store, shelf *shelf) {
		if a := l.subscribe("AAPL", events.SubscribeBars); !a.OK {
			t.Fatalf("subscribe = %+v", a)
		}
		pass(time.Minute)
		silent.Store(true)
		offset.Store(int64(-time.Hour))
		pass(l.Policy.BarsDarkAfter + 15*time.Second)
		l.wantStatus("aapl-bars", events.SubscriptionDark)
		if dark := all[*events.SubscriptionFellSilent](store); len(dark) != 1 || (dark[0].Silent.Duration()-l.Policy.BarsDarkAfter).Abs() > time.Second {
			t.Errorf("it fell silent %+v, want that once, after %v", dark, l.Policy.BarsDarkAfter)
		}
	})
}

func TestAClockThatIsSetBackDelaysNoGap(t *testing.T) {
	setBackFeeding(t, outage(feed{}), func(l *life, offset *atomic.Int64, g *gateway, store *memlog.Store, shelf *shelf) {
		shelf.fail = errShelf
		if a := l.subscribe("AAPL", events.SubscribeBars); !a.OK {
			t.Fatalf("subscribe = %+v", a)
		}
		for len(all[*events.GapDetected](store)) == 0 {
			pass(time.Second)
		}
		pass(15 * time.Second) // one try failed
		if n := recalled(g); n != 1 {
			t.Fatalf("%d tries, want one", n)
		}
		shelf.mu.Lock()
		shelf.fail = nil
		shelf.mu.Unlock()
		offset.Store(int64(-time.Hour))
		pass(time.Minute)
		if sub, _ := l.State().Subscribed("aapl-bars"); len(sub.Gaps) != 0 {
			t.Errorf("its gaps are %+v, want none", sub.Gaps)
		}
	})
}

// halfAnswered has two subscriptions that lack bars, for the first of which the
// gateway does not answer.
func halfAnswered(t *testing.T, f func(l *life, shelf *shelf, gaps func(name string) int)) {
	t.Helper()
	mute := feed{recalling: func(s *session, m connector.Message) connector.Input {
		if m.Request.(connector.HistoricalBars).Contract.ConID == 1001 {
			return connector.Probed{Attempt: s.number(), Number: 1 << 40} // no answer
		}
		return past(s, m, m.Request.(connector.HistoricalBars).Query)
	}}
	feeding(t, outage(mute), func(l *life, _ *gateway, _ *memlog.Store, shelf *shelf) {
		for i := range 2 {
			a := l.subscribe(fmt.Sprint(1001+i), events.SubscribeBars, func(r *events.Request) { r.Name = fmt.Sprint("bars-", i+1) })
			if !a.OK {
				t.Fatalf("subscribe = %+v", a)
			}
		}
		f(l, shelf, func(name string) int {
			sub, ok := l.State().Subscribed(name)
			if !ok {
				t.Fatalf("there is no %s", name)
			}
			return len(sub.Gaps)
		})
	})
}

func TestASubscriptionThatIsCancelledGivesItsPlaceInTheFillingUp(t *testing.T) {
	halfAnswered(t, func(l *life, shelf *shelf, gaps func(name string) int) {
		pass(90 * time.Second)
		if gaps("bars-2") != 1 {
			t.Fatal("no gap waits behind the first")
		}
		if a := l.cancel(events.Request{Subscription: "bars-1"}); !a.OK {
			t.Fatalf("cancel = %+v", a)
		}
		pass(15 * time.Second)
		if n := gaps("bars-2"); n != 0 {
			t.Errorf("it has %d gaps, want none: the other subscription is cancelled", n)
		}
		shelf.whole(t, "bars-2", events.RealTimeBar)
	})
}

// A gap that the gateway does not answer for holds up those of others for minutes,
// and not for as long as it may take.
func TestAGapThatIsNotAnsweredGivesItsPlaceUp(t *testing.T) {
	halfAnswered(t, func(_ *life, _ *shelf, gaps func(name string) int) {
		pass(5 * time.Minute)
		if first, second := gaps("bars-1"), gaps("bars-2"); first != 1 || second != 0 {
			t.Errorf("they have %d and %d gaps, want only the one that nobody answers for", first, second)
		}
	})
}

// Bars for which there was no room on their way to the bus are missing like
// others.
func TestBarsThatWereDroppedAreFetched(t *testing.T) {
	feeding(t, [][]step{then(feed{}.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		if a := l.subscribe("AAPL", events.SubscribeBars); !a.OK {
			t.Fatalf("subscribe = %+v", a)
		}
		pass(30 * time.Second)
		shelf.full(true)
		pass(20 * time.Second)
		shelf.full(false)
		pass(time.Minute)
		if n, backfilled := shelf.whole(t, "aapl-bars", events.RealTimeBar); n < 20 || backfilled != 4 {
			t.Errorf("%d bars, %d of them backfilled, want the four that were dropped", n, backfilled)
		}
		found, filled := all[*events.GapDetected](store), all[*events.GapFilled](store)
		if len(found) == 0 || len(filled) == 0 {
			t.Errorf("gaps %+v, filled %+v, want what was dropped on record", found, filled)
		}
	})
}

// IB keeps few queries for bars open. What is one too many says so, and does not
// keep anything busy.
func TestOneQueryTooManyThatIsKeptUpToDateSaysSo(t *testing.T) {
	feeding(t, [][]step{then(feed{}.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		const n = 30
		for i := range n {
			a := l.subscribe(fmt.Sprint(1000+i), events.SubscribeHistoryBars, func(r *events.Request) {
				r.Name, r.BarSize, r.Duration = fmt.Sprintf("bars-%02d", i), "1 min", "600 S"
			})
			if !a.OK {
				t.Fatalf("subscribe = %+v", a)
			}
		}
		pass(10 * time.Second)
		of := func(status events.SubscriptionStatus) (some []*events.Subscription) {
			for _, sub := range l.State().Subscriptions {
				if sub.Status == status {
					some = append(some, sub)
				}
			}
			return some
		}
		if live, failed := of(events.SubscriptionLive), of(events.SubscriptionFailed); len(live) != 28 || len(failed) != 2 || !strings.Contains(failed[0].Message, "28 queries for bars") || failed[0].RetryAt.IsZero() {
			b, _ := json.Marshal(failed)
			t.Fatalf("%d are live and failed are %s, want 28, and two that say why and when again", len(live), b)
		}
		if n := len(queried[connector.Subscribe](g.sessions()[0])); n != 28 {
			t.Errorf("%d were sent, want none for which there is no room", n)
		}
		recorded := l.State().Sequence
		pass(30 * time.Minute)
		if n := l.State().Sequence - recorded; n > 300 {
			t.Errorf("%d events in half an hour, heartbeats included", n)
		}
		if a := l.cancel(events.Request{Subscription: "bars-00"}); !a.OK {
			t.Fatalf("cancel = %+v", a)
		}
		pass(11 * time.Minute)
		if live, failed := of(events.SubscriptionLive), of(events.SubscriptionFailed); len(live) != 28 || len(failed) != 1 {
			t.Errorf("%d are live and %d failed, want one more in the place of the one that was cancelled", len(live), len(failed))
		}
	})
}

// A bus that does not say what it has of bars holds up nothing else.
func TestBarsWhoseStreamDoesNotAnswerHoldNobodyUp(t *testing.T) {
	feeding(t, [][]step{then(feed{}.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		shelf.mu.Lock()
		shelf.mute = true
		shelf.mu.Unlock()
		for i := range 20 {
			if a := l.subscribe(fmt.Sprint(1000+i), events.SubscribeBars); !a.OK {
				t.Fatalf("subscribe = %+v", a)
			}
		}
		began, asked := time.Now(), shelf.asked.Load()
		pass(2 * time.Minute)
		if n := shelf.asked.Load() - asked; n > int32(time.Since(began)/(10*time.Second))+1 {
			t.Errorf("the bus was asked %d times in %v, want once in ten seconds", n, time.Since(began))
		}
		if missed := all[*events.HeartbeatMissed](store); len(missed) != 0 {
			t.Errorf("heartbeats were missed: %+v", missed)
		}
		shelf.mu.Lock()
		shelf.mute = false
		shelf.mu.Unlock()
		pass(10 * time.Minute)
		for _, sub := range l.State().Subscriptions {
			if n, _ := shelf.whole(t, sub.Name, events.RealTimeBar); n < 100 {
				t.Errorf("%d bars of %s, want those too that came while the bus did not answer", n, sub.Name)
			}
		}
	})
}

// That sessions end while a gap is filled says nothing of its bars: it is not put
// off for long.
func TestAGapThatLosesItsSessionsIsTriedSoonInTheNext(t *testing.T) {
	mute := feed{recalling: func(s *session, m connector.Message) connector.Input {
		return connector.Probed{Attempt: s.number(), Number: 1 << 40} // no answer
	}}
	scripts := outage(mute)[:4]
	for range 6 {
		scripts = append(scripts, then(during(100*time.Second, mute.step), end(events.CauseReset)))
	}
	feeding(t, append(scripts, then(feed{}.step)), func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		if a := l.subscribe("AAPL", events.SubscribeBars); !a.OK {
			t.Fatalf("subscribe = %+v", a)
		}
		l.until(func(s events.State) bool { return s.Counts.Sessions == 8 })
		pass(30 * time.Second)
		if sub := l.wantStatus("aapl-bars", events.SubscriptionLive); len(sub.Gaps) != 0 {
			t.Errorf("its gaps are %+v half a minute after it could be asked, want none", sub.Gaps)
		}
		shelf.whole(t, "aapl-bars", events.RealTimeBar)
	})
}
