package connector_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ibconn/connector"
	"ibconn/events"
	"ibconn/testenv/memlog"
)

// shelf is a bus as the connector sees it, in memory: it outlives runners.
type shelf struct {
	mu     sync.Mutex
	series map[string][]*events.BarData // in the order in which they were stored
	sent   map[string]int               // data that is not stored, by subscription
	fail   error                        // of Store
}

func newShelf() *shelf {
	return &shelf{series: make(map[string][]*events.BarData), sent: make(map[string]int)}
}

func (s *shelf) Publish(_ events.ConnectionID, subscription string, d events.Datum) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent[subscription]++
}

func (s *shelf) Keep(_ events.ConnectionID, subscription, series string, b *events.BarData) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(subscription+"/"+series, b)
}

func (s *shelf) put(key string, b *events.BarData) bool {
	if slices.ContainsFunc(s.series[key], func(o *events.BarData) bool { return o.Time == b.Time }) {
		return false
	}
	s.series[key] = append(s.series[key], b)
	return true
}

func (s *shelf) Store(ctx context.Context, _ events.ConnectionID, subscription, series string, bars []*events.BarData) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return 0, s.fail
	}
	for _, b := range bars {
		if s.put(subscription+"/"+series, b) {
			n++
		}
	}
	return n, ctx.Err()
}

func (s *shelf) Newest(_ context.Context, _ events.ConnectionID, subscription, series string) (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var newest time.Time
	for _, b := range s.series[subscription+"/"+series] {
		if begins, ok := b.Begins(); ok && begins.After(newest) {
			newest = begins
		}
	}
	return newest, nil
}

// bars returns the bars of a subscription's only series, in the order of time.
func (s *shelf) bars(t testing.TB, subscription string) []*events.BarData {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*events.BarData
	for key, all := range s.series {
		if len(key) > len(subscription) && key[:len(subscription)+1] == subscription+"/" {
			if found != nil {
				t.Fatalf("there are several series of %s: %v", subscription, slices.Collect(maps.Keys(s.series)))
			}
			found = slices.Clone(all)
		}
	}
	slices.SortFunc(found, func(a, b *events.BarData) int {
		x, _ := a.Begins()
		y, _ := b.Begins()
		return x.Compare(y)
	})
	return found
}

// whole holds that the bars of a subscription have no hole and none twice, and
// returns how many there are, and how many of them were backfilled.
func (s *shelf) whole(t testing.TB, subscription string, span time.Duration) (n, backfilled int) {
	t.Helper()
	all := s.bars(t, subscription)
	for i, b := range all {
		if b.Backfill {
			backfilled++
		}
		if i == 0 {
			continue
		}
		before, _ := all[i-1].Begins()
		begins, _ := b.Begins()
		if begins.Sub(before) != span {
			t.Errorf("%s: behind the bar of %s comes that of %s, want each once and none missing", subscription, all[i-1].Time, b.Time)
		}
	}
	return len(all), backfilled
}

// bar5 is what the made-up market has for the five seconds that begin at a time.
func bar5(at time.Time) events.Bar {
	return events.Bar{
		Time: at.UTC().Format(time.RFC3339), Open: "10", High: "12", Low: "9", Close: fmt.Sprintf("1%d", at.Unix()/5%2), Volume: "5", WAP: "10.5", Count: 2,
	}
}

// feed is a gateway that answers as an honest one, delivers what is subscribed
// to, and has the past of it.
type feed struct {
	mute    map[string]bool                                         // subscriptions of which nothing comes
	placing func(s *session, m connector.Message) []connector.Input // instead of what is said of a Subscribe; nil for nothing else
	lag     time.Duration                                           // how far history lags behind
}

func (f feed) step(ctx context.Context, s *session) {
	placed := make(map[int64]connector.Subscribe)
	arrived := make(map[int64]time.Time)
	next := time.NewTimer(time.Until(time.Now().Truncate(events.RealTimeBar).Add(events.RealTimeBar)))
	defer next.Stop()
	say := func(all ...connector.Input) {
		for _, in := range all {
			s.hear()
			s.report(in)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-s.sent:
			say(connector.Answered{Attempt: s.number(), Number: p.number, Answer: connector.Answer{SentAt: p.at, ReceivedAt: s.wall(), Gateway: p.at.Truncate(time.Second)}})
		case m := <-s.asked:
			switch r := m.Request.(type) {
			case connector.Subscribe:
				if f.placing != nil {
					if answer := f.placing(s, m); answer != nil {
						say(answer...)
						continue
					}
				}
				placed[m.ID] = r
				say(s.passed(m))
			case connector.Unsubscribe:
				delete(placed, r.Of)
				say(s.passed(m))
			case connector.HistoricalBars:
				say(s.passed(m), f.past(s, m, r.Query))
			default:
				say(honest(s, m)...)
			}
		case <-next.C:
			now := time.Now()
			next.Reset(events.RealTimeBar)
			for _, id := range slices.Sorted(maps.Keys(placed)) {
				r := placed[id]
				if f.mute[r.Name] {
					continue
				}
				if now.Sub(arrived[id]) >= r.Quiet {
					say(connector.Arrived{Attempt: s.number(), ID: id, At: s.wall()})
				}
				arrived[id] = now
				s.at(func() {
					if s.heardOf == nil {
						s.heardOf = make(map[int64]time.Time)
					}
					s.heardOf[id] = s.wall()
				})
				switch r.Feed.Kind {
				case events.SubscribeBars:
					say(connector.BarsCame{Attempt: s.number(), ID: id, At: s.wall(), Bars: []events.Bar{bar5(now.Add(-events.RealTimeBar))}})
				default:
					s.order.Deliver(r.Name, &events.Tick{Field: "last"})
				}
			}
		}
	}
}

// past answers a query for bars of five seconds.
func (f feed) past(s *session, m connector.Message, q events.BarQuery) connector.Input {
	end := q.End
	if end.IsZero() {
		end = time.Now()
	}
	var seconds int
	fmt.Sscanf(q.Duration, "%d S", &seconds)
	var bars []events.Bar
	for at := end.Add(-time.Duration(seconds) * time.Second).Truncate(events.RealTimeBar); at.Before(end) && at.Before(time.Now().Add(-f.lag)); at = at.Add(events.RealTimeBar) {
		bars = append(bars, bar5(at))
	}
	if len(bars) == 0 {
		return s.refused(m, 162, noHistory)
	}
	return s.brought(m, bars, len(bars))
}

// feeding runs f beside a runner with a shelf, whose sessions play the scripts.
func feeding(t *testing.T, scripts [][]step, f func(l *life, g *gateway, store *memlog.Store, shelf *shelf)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store, shelf, g := memlog.New(), newShelf(), &gateway{scripts: scripts}
		l := run(t, newFeedingRunner(store, g, shelf))
		pass(2 * time.Second)
		f(l, g, store, shelf)
		l.stop()
		checkLog(t, store, l.State())
		checkClosed(t, g)
	})
}

func newFeedingRunner(store *memlog.Store, g *gateway, shelf *shelf) *connector.Runner {
	r := newRunner(store.Writer(), g)
	r.Policy.LinkProbeEvery = 5 * time.Minute
	r.Data = shelf
	return r
}

func (l *life) subscribe(text string, kind events.SubscriptionKind, more ...func(*events.Request)) events.Answer {
	l.Helper()
	req := events.Request{Contract: contract(l.TB, text), Kind: kind}
	for _, m := range more {
		m(&req)
	}
	return l.Handle(l.Context(), events.VerbSubscribe, req)
}

func (l *life) cancel(req events.Request) events.Answer {
	l.Helper()
	return l.Handle(l.Context(), events.VerbCancel, req)
}

func (l *life) wantStatus(name string, status events.SubscriptionStatus) events.Subscription {
	l.Helper()
	sub, ok := l.State().Subscribed(name)
	if !ok || sub.Status != status {
		b, _ := json.Marshal(sub)
		l.Errorf("subscription %s is %s, want %s", name, b, status)
	}
	return sub
}

var errShelf = errors.New("no room on the shelf")

func TestASubscriptionDeliversAndIsOneForAll(t *testing.T) {
	feeding(t, [][]step{then(feed{}.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		a := l.subscribe("AAPL", events.SubscribeBars, func(r *events.Request) { r.ID, r.Wait = "s1", events.Wait(10*time.Second) })
		if !a.OK || a.Status != events.StatusCompleted || a.Subscription == nil || a.Subscription.Name != "aapl-bars" || a.Subscription.Status != events.SubscriptionLive {
			t.Fatalf("subscribe = %+v, want aapl-bars, live", a)
		}
		if fmt.Sprint(a.Subjects) != "[ib.data.main.bar.aapl-bars]" {
			t.Errorf("its data comes on %v", a.Subjects)
		}
		again := l.subscribe("AAPL", events.SubscribeBars, func(r *events.Request) { r.ID = "s1" })
		if again.AfterSeq != a.AfterSeq || again.Subscription.Name != a.Subscription.Name {
			t.Errorf("the same id is answered %+v, want as before: %+v", again, a)
		}
		for _, caller := range []string{"risk", "book", "risk"} {
			if a := l.subscribe("AAPL", events.SubscribeBars, func(r *events.Request) { r.Caller = caller }); !a.OK || a.Subscription.Name != "aapl-bars" {
				t.Errorf("subscribe for %s = %+v, want the same subscription", caller, a)
			}
		}
		if sub := l.wantStatus("aapl-bars", events.SubscriptionLive); fmt.Sprint(sub.Callers) != "[book default risk]" {
			t.Errorf("its callers are %v, want each once", sub.Callers)
		}
		if n := len(queried[connector.Subscribe](g.sessions()[0])); n != 1 {
			t.Errorf("the gateway was asked %d times, want once", n)
		}
		pass(30 * time.Second)
		if n, backfilled := shelf.whole(t, "aapl-bars", events.RealTimeBar); n < 6 || backfilled != 0 {
			t.Errorf("%d bars came, %d of them backfilled, want one every five seconds", n, backfilled)
		}
		for _, caller := range []string{"risk", "book"} {
			if a := l.cancel(events.Request{Subscription: "aapl-bars", Caller: caller}); !a.OK {
				t.Errorf("cancel for %s = %+v", caller, a)
			}
		}
		wantError(t, l.cancel(events.Request{Subscription: "aapl-bars", Caller: "risk"}), events.ErrorNotFound, "those who do are default")
		if a := l.cancel(events.Request{Subscription: "aapl-bars"}); !a.OK || a.Subscription != nil {
			t.Errorf("the last cancel = %+v", a)
		}
		wantError(t, l.cancel(events.Request{Subscription: "aapl-bars"}), events.ErrorNotFound, "there is no subscription aapl-bars")
		pass(time.Second)
		n, _ := shelf.whole(t, "aapl-bars", events.RealTimeBar)
		pass(time.Minute)
		if after, _ := shelf.whole(t, "aapl-bars", events.RealTimeBar); after != n || len(queried[connector.Unsubscribe](g.sessions()[0])) != 1 {
			t.Errorf("%d bars came after it was cancelled, with %d cancels", after-n, len(queried[connector.Unsubscribe](g.sessions()[0])))
		}
	})
}

// for a while, a session does what a step does.
func during(d time.Duration, do step) step {
	return func(ctx context.Context, s *session) {
		ctx, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		do(ctx, s)
	}
}

// away is a gateway that takes no connection for so long.
func away(d time.Duration) []step { return []step{after(d), end(events.CauseDialTimeout)} }

func TestBarsHaveNoHoleAfterAnOutage(t *testing.T) {
	short := then(during(33*time.Second, feed{}.step), end(events.CauseReset))
	feeding(t, [][]step{short, away(4 * time.Second), away(4 * time.Second), away(4 * time.Second), then(feed{}.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		if a := l.subscribe("AAPL", events.SubscribeBars); !a.OK {
			t.Fatalf("subscribe = %+v", a)
		}
		pass(3 * time.Minute)
		l.wantStatus("aapl-bars", events.SubscriptionLive)
		found, filled := all[*events.GapDetected](store), all[*events.GapFilled](store)
		if len(found) != 1 || len(filled) != 1 || found[0].Bars != filled[0].Bars || !found[0].From.Equal(filled[0].From) || !found[0].To.Equal(filled[0].To) {
			t.Errorf("gaps were found %+v and filled %+v, want one, filled with as many bars as it lacked", found, filled)
		}
		n, backfilled := shelf.whole(t, "aapl-bars", events.RealTimeBar)
		if n < 34 || len(filled) == 1 && backfilled != filled[0].Bars {
			t.Errorf("%d bars in three minutes, %d of them backfilled, want 34 or more and %+v", n, backfilled, filled)
		}
		placed := all[*events.SubscriptionPlacement](store)
		if len(placed) != 2 || placed[0].Because != events.BecauseNew || placed[1].Because != events.BecauseSession || placed[1].RequestID <= placed[0].RequestID {
			t.Errorf("it was placed %+v, want as new, and for the new session under a later id", placed)
		}
	})
}

func TestBarsHaveNoHoleOverARestart(t *testing.T) {
	for _, how := range []string{"in order", "killed"} {
		t.Run(how, func(t *testing.T) {
			feeding(t, [][]step{then(feed{}.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
				if a := l.subscribe("AAPL", events.SubscribeBars); !a.OK {
					t.Fatalf("subscribe = %+v", a)
				}
				pass(31 * time.Second)
				if how == "killed" {
					l.die()
				} else {
					l.stop()
				}
				pass(time.Minute)
				l.begin(newFeedingRunner(store, g, shelf))
				pass(2 * time.Minute)
				l.wantStatus("aapl-bars", events.SubscriptionLive)
				if n, backfilled := shelf.whole(t, "aapl-bars", events.RealTimeBar); n < 40 || backfilled < 11 {
					t.Errorf("%d bars, %d of them backfilled, want those of the minute too", n, backfilled)
				}
				if g, sub := all[*events.GapFilled](store), l.wantStatus("aapl-bars", events.SubscriptionLive); len(g) != 1 || len(sub.Gaps) != 0 {
					t.Errorf("gaps filled: %+v, open: %+v", g, sub.Gaps)
				}
			})
		})
	}
}

// saying does what a step does, and says something after a while.
func saying(d time.Duration, code int, words string, do step) step {
	return func(ctx context.Context, s *session) {
		during(d, do)(ctx, s)
		if ctx.Err() == nil {
			say(code, words)(ctx, s)
		}
	}
}

func TestALinkThatLostTheDataHasItPlacedAgain(t *testing.T) {
	f := feed{}
	feeding(t, [][]step{then(func(ctx context.Context, s *session) {
		lost := make(chan struct{})
		go func() {
			defer close(lost)
			after(20*time.Second)(ctx, s)
			say(1100, "Connectivity between IBKR and Trader Workstation has been lost.")(ctx, s)
			after(20*time.Second)(ctx, s)
			say(1101, "Connectivity between IBKR and Trader Workstation has been restored - data lost.")(ctx, s)
		}()
		f.step(ctx, s)
		<-lost
	})}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		for _, kind := range []events.SubscriptionKind{events.SubscribeQuotes, events.SubscribeBars} {
			if a := l.subscribe("AAPL", kind); !a.OK {
				t.Fatalf("subscribe = %+v", a)
			}
		}
		pass(2 * time.Minute)
		s := g.sessions()[0]
		var order []string
		for _, m := range requested(s) {
			switch r := m.Request.(type) {
			case connector.Subscribe:
				order = append(order, r.Name)
			case connector.Unsubscribe:
				order = append(order, fmt.Sprintf("cancel %s", r.Feed.Kind))
			default:
			}
		}
		want := "[aapl-quotes aapl-bars cancel quotes aapl-bars cancel bars aapl-quotes]"
		alternative := "[aapl-quotes aapl-bars cancel bars aapl-bars cancel quotes aapl-quotes]"
		if got := fmt.Sprint(order); got != want && got != alternative {
			t.Errorf("the gateway was sent %s, want each cancelled before it is placed again", got)
		}
		for _, p := range all[*events.SubscriptionPlacement](store)[2:] {
			if p.Because != events.BecauseDataLost {
				t.Errorf("%s was placed again because of %s", p.Subscription, p.Because)
			}
		}
		l.wantStatus("aapl-bars", events.SubscriptionLive)
		l.wantStatus("aapl-quotes", events.SubscriptionLive)
	})
}
