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
		r := newRunner(store.Writer(), g)
		r.Policy.LinkProbeEvery = 5 * time.Minute
		r.Data = shelf
		l := run(t, r)
		pass(2 * time.Second)
		f(l, g, store, shelf)
		l.stop()
		checkLog(t, store, l.State())
		checkClosed(t, g)
	})
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

func TestBarsHaveNoHoleAfterAnOutage(t *testing.T) {
	served := then(feed{}.step)
	short := then(func(ctx context.Context, s *session) {
		ctx, cancel := context.WithTimeout(ctx, 33*time.Second)
		defer cancel()
		feed{}.step(ctx, s)
	}, end(events.CauseReset))
	feeding(t, [][]step{short, refuse, refuse, served}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		if a := l.subscribe("AAPL", events.SubscribeBars); !a.OK {
			t.Fatalf("subscribe = %+v", a)
		}
		pass(3 * time.Minute)
		l.wantStatus("aapl-bars", events.SubscriptionLive)
		found, filled := all[*events.GapDetected](store), all[*events.GapFilled](store)
		if len(g.sessions()) < 4 || len(found) != 0 && len(filled) != len(found) {
			t.Errorf("%d sessions, %d gaps found and %d filled", len(g.sessions()), len(found), len(filled))
		}
		n, _ := shelf.whole(t, "aapl-bars", events.RealTimeBar)
		if n < 34 {
			t.Errorf("%d bars in three minutes, want 34 or more", n)
		}
		placed := all[*events.SubscriptionPlacement](store)
		if len(placed) != 2 || placed[0].Because != events.BecauseNew || placed[1].Because != events.BecauseSession || placed[1].RequestID <= placed[0].RequestID {
			t.Errorf("it was placed %+v, want as new, and for the new session under a later id", placed)
		}
	})
}
