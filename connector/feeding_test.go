package connector_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
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
	mute   bool                         // Newest does not answer
	asked  atomic.Int32                 // how often it was asked

	noRoom bool // of Keep
	lost   []events.LostBars
}

// full says whether there is no room for bars from now on.
func (s *shelf) full(full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noRoom = full
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
	if s.noRoom {
		begins, _ := b.Begins()
		s.lost = append(s.lost, events.LostBars{Subscription: subscription, Series: series, From: begins, To: begins})
		return
	}
	s.put(subscription+"/"+series, b)
}

func (s *shelf) LostBars(events.ConnectionID) []events.LostBars {
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := s.lost
	s.lost = nil
	return lost
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

func (s *shelf) Newest(ctx context.Context, _ events.ConnectionID, subscription, series string) (time.Time, error) {
	s.asked.Add(1)
	s.mu.Lock()
	mute := s.mute
	s.mu.Unlock()
	if mute {
		<-ctx.Done()
		return time.Time{}, ctx.Err()
	}
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

// minutes is what that market has for the minutes from one time to another, the
// last of them as far as it has gone.
func minutes(from, to time.Time) (all []events.Bar) {
	for at := from.Truncate(time.Minute); at.Before(to); at = at.Add(time.Minute) {
		b := bar5(at)
		b.Volume = fmt.Sprint(5 * int(min(to.Sub(at), time.Minute)/events.RealTimeBar))
		all = append(all, b)
	}
	return all
}

// feed is a gateway that answers as an honest one, delivers what is subscribed
// to, and has the past of it.
type feed struct {
	silent    func(now time.Time, name string, nth int) bool          // whether nothing comes of the nth placement of a subscription
	placing   func(s *session, m connector.Message) []connector.Input // instead of what is said of a Subscribe; nil for nothing else
	recalling func(s *session, m connector.Message) connector.Input   // instead of past
	describe  *events.ContractDetails                                 // of every contract
	// describing is what every contract's details are at the time; instead of describe.
	describing func() events.ContractDetails
	// lacking says of which times unfinished bars have nothing; nil for none.
	lacking func(at time.Time) bool
}

func (f feed) step(ctx context.Context, s *session) {
	placed, times := make(map[int64]connector.Subscribe), make(map[string]int)
	nth := make(map[int64]int)
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
				times[r.Name]++
				nth[m.ID] = times[r.Name]
				say(s.passed(m))
				if r.Feed.Kind == events.SubscribeHistoryBars {
					bars := minutes(time.Now().Add(-10*time.Minute), time.Now())
					say(connector.Arrived{Attempt: s.number(), ID: m.ID, At: s.wall()},
						connector.BarsCame{Attempt: s.number(), ID: m.ID, At: s.wall(), Bars: bars, Past: true})
					arrived[m.ID] = time.Now()
				}
			case connector.Unsubscribe:
				_, there := placed[r.Of]
				delete(placed, r.Of)
				say(s.passed(m))
				if !there { // the gateway knows none of that id
					of := connector.Message{ID: r.Of}
					if r.Feed.Kind == events.SubscribeHistoryBars {
						say(s.refused(of, 366, "No historical data query found for ticker id:1"))
					} else {
						say(s.refused(of, 300, "Can't find EId with tickerId:1"))
					}
				}
			case connector.HistoricalBars:
				say(s.passed(m))
				if f.recalling != nil {
					say(f.recalling(s, m))
				} else {
					say(past(s, m, r.Query))
				}
			case connector.ContractDetails:
				if f.describing != nil {
					d := f.describing()
					f.describe = &d
				}
				if f.describe != nil {
					say(s.passed(m), s.described(m, *f.describe))
				} else {
					say(honest(s, m)...)
				}
			default:
				say(honest(s, m)...)
			}
		case <-next.C:
			now := time.Now()
			next.Reset(events.RealTimeBar)
			for _, id := range slices.Sorted(maps.Keys(placed)) {
				r := placed[id]
				if f.silent != nil && f.silent(now, r.Name, nth[id]) {
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
				case events.SubscribeHistoryBars:
					bars := minutes(now.Add(-time.Second), now)
					if last := &bars[len(bars)-1]; f.lacking != nil {
						n := 0
						begins, _ := last.Begins()
						for at := begins.Add(events.RealTimeBar); !at.After(now); at = at.Add(events.RealTimeBar) {
							if !f.lacking(at) {
								n++
							}
						}
						last.Volume = fmt.Sprint(5 * n)
					}
					say(connector.BarsCame{Attempt: s.number(), ID: id, At: s.wall(), Bars: bars[len(bars)-1:]})
				default:
					s.order.Deliver(r.Name, &events.Tick{Field: "last"})
				}
			}
		}
	}
}

// past answers a query for bars of five seconds.
func past(s *session, m connector.Message, q events.BarQuery) connector.Input {
	end := q.End
	if end.IsZero() {
		end = time.Now()
	}
	var seconds int
	fmt.Sscanf(q.Duration, "%d S", &seconds)
	if q.BarSize == "1 min" {
		bars := minutes(end.Add(-time.Duration(seconds)*time.Second), end)
		return s.brought(m, bars, len(bars))
	}
	var bars []events.Bar
	for at := end.Add(-time.Duration(seconds) * time.Second).Truncate(events.RealTimeBar); at.Before(end) && at.Before(time.Now()); at = at.Add(events.RealTimeBar) {
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
	return l.Handle(l.Context(), events.VerbSubscribe, req, nil)
}

func (l *life) cancel(req events.Request) events.Answer {
	l.Helper()
	return l.Handle(l.Context(), events.VerbCancel, req, nil)
}

func (l *life) wantStatus(name string, status events.SubscriptionStatus) *events.Subscription {
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

// beside runs a step, and beside it things that the gateway says.
func beside(do step, says ...step) step {
	return func(ctx context.Context, s *session) {
		said := make(chan struct{})
		go func() {
			defer close(said)
			for _, say := range says {
				if ctx.Err() == nil {
					say(ctx, s)
				}
			}
		}()
		do(ctx, s)
		<-said
	}
}

const (
	farmBroken = "Market data farm connection is broken:usfarm"
	farmOK     = "Market data farm connection is OK:usfarm"
)

func TestWhatStaysSilentAfterItsFarmIsBackIsPlacedAgain(t *testing.T) {
	flaps := []step{after(20 * time.Second), say(2103, farmBroken), after(3 * time.Second), say(2104, farmOK), after(4 * time.Second), say(2103, farmBroken), after(2 * time.Second), say(2104, farmOK)}
	for _, silent := range []bool{true, false} {
		t.Run(fmt.Sprint("silent ", silent), func(t *testing.T) {
			from := time.Time{}
			f := feed{silent: func(now time.Time, name string, nth int) bool {
				return silent && nth == 1 && now.After(from.Add(22*time.Second))
			}}
			feeding(t, [][]step{then(func(ctx context.Context, s *session) { from = time.Now(); beside(f.step, flaps...)(ctx, s) })}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
				if a := l.subscribe("AAPL", events.SubscribeQuotes); !a.OK {
					t.Fatalf("subscribe = %+v", a)
				}
				pass(time.Minute)
				placed := all[*events.SubscriptionPlacement](store)
				if !silent {
					if len(placed) != 1 {
						t.Errorf("it was placed %+v, want once: its data came again by itself", placed)
					}
					return
				}
				if len(placed) != 2 || placed[1].Because != events.BecauseFarm {
					t.Fatalf("it was placed %+v, want once more, as its farm came back", placed)
				}
				again := times[*events.SubscriptionPlacement](store)[1]
				if back := times[*events.FarmChanged](store)[3]; again.Sub(back) != l.Policy.RestoredAfter {
					t.Errorf("it was placed again %v after its farm was back for good, want %v", again.Sub(back), l.Policy.RestoredAfter)
				}
				l.wantStatus("aapl-quotes", events.SubscriptionLive)
			})
		})
	}
}

// times are when events of a type happened.
func times[E events.Event](store *memlog.Store) (all []time.Time) {
	for _, rec := range store.Events() {
		if _, ok := rec.Event.(E); ok {
			all = append(all, rec.Time)
		}
	}
	return all
}

func TestDataThatStaysAwayIsToldAndPlacedAgain(t *testing.T) {
	f := feed{silent: func(_ time.Time, name string, nth int) bool { return nth <= 2 }}
	feeding(t, [][]step{then(f.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		a := l.subscribe("AAPL", events.SubscribeTrades, func(r *events.Request) { r.DarkAfter = events.DarkAfter(30 * time.Second) })
		if !a.OK {
			t.Fatalf("subscribe = %+v", a)
		}
		pass(31 * time.Second)
		l.wantStatus("aapl-trades", events.SubscriptionDark)
		if s := l.State(); s.Condition != events.ConditionDegraded || s.Reasons[0].Level != events.LevelSubscription || s.Reasons[0].Name != "aapl-trades" {
			t.Errorf("the condition is %s because of %+v, want degraded for the subscription", s.Condition, s.Reasons)
		}
		pass(3 * time.Minute)
		l.wantStatus("aapl-trades", events.SubscriptionLive)
		if s := l.State(); s.Condition != events.ConditionHealthy {
			t.Errorf("the condition is %s because of %+v, want healthy again", s.Condition, s.Reasons)
		}
		placed, dark := all[*events.SubscriptionPlacement](store), all[*events.SubscriptionFellSilent](store)
		if len(placed) != 3 || placed[1].Because != events.BecauseDark || placed[2].Try != 3 || len(dark) != 2 || dark[0].Silent != 30_000 {
			t.Errorf("it was placed %+v and dark %+v, want three times, dark twice", placed, dark)
		}
	})
}

func TestAClosedMarketIsNoAlarm(t *testing.T) {
	details := apple
	details.TimeZoneID = "UTC"
	details.TradingHours = "20000101:0000-20000101:0001;20000101:0100-20000101:2300;20000102:CLOSED;20000103:0000-20000103:2300"
	f := feed{
		silent: func(now time.Time, _ string, _ int) bool {
			return now.Hour() == 0 && now.Sub(now.Truncate(time.Hour)) > time.Minute
		},
		describe: &details,
	}
	feeding(t, [][]step{then(f.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		if a := l.subscribe("AAPL", events.SubscribeBars); !a.OK {
			t.Fatalf("subscribe = %+v", a)
		}
		pass(50 * time.Minute)
		l.wantStatus("aapl-bars", events.SubscriptionLive)
		pass(time.Hour)
		l.wantStatus("aapl-bars", events.SubscriptionLive)
		if dark, gaps := all[*events.SubscriptionFellSilent](store), all[*events.GapDetected](store); len(dark) != 0 || len(gaps) != 0 {
			t.Errorf("dark %+v, gaps %+v, want none while the market is closed", dark, gaps)
		}
	})
	silent := feed{silent: func(time.Time, string, int) bool { return true }, describe: &details}
	feeding(t, [][]step{then(silent.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		if a := l.subscribe("AAPL", events.SubscribeBars); !a.OK {
			t.Fatalf("subscribe = %+v", a)
		}
		pass(70 * time.Minute)
		dark := times[*events.SubscriptionFellSilent](store)
		opens := time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC)
		i := slices.IndexFunc(dark, func(at time.Time) bool { return !at.Before(opens) })
		if i < 0 || !dark[i].Equal(opens.Add(l.Policy.BarsDarkAfter)) {
			t.Errorf("it was called dark at %v, want %v after the market opened at %v", dark, l.Policy.BarsDarkAfter, opens)
		}
	})
}

func TestRefusalsGoByTheirClass(t *testing.T) {
	for _, tt := range []struct {
		code  int
		words string
		again time.Duration // after which it is placed again; 0 for not in this session
		fails bool
	}{
		{354, "Requested market data is not subscribed.", 0, true},
		{101, "Max number of tickers has been reached", time.Minute, true},
		{10190, "Max number of tick-by-tick requests has been reached.", time.Minute, true},
		{10182, "Failed to request live updates (disconnected).", time.Second, true},
		{10225, "Bust event occurred, current subscription is deactivated. Please resubscribe real-time bars immediately.", time.Second, true},
		{420, "Invalid Real-time Query:Historical data request pacing violation", time.Minute, true},
		{420, "Invalid Real-time Query:No market data permissions for NASDAQ STK", 0, true},
		{200, "No security definition has been found for the request", 0, true},
		{322, "Error processing request.-'bS' : cause - Duplicate ticker id", time.Second, true},
		{10167, "Requested market data is not subscribed. Displaying delayed market data.", 0, false},
		{99999, "Something new", 0, false},
	} {
		t.Run(fmt.Sprint(tt.code, " ", tt.words), func(t *testing.T) {
			refusals := 0
			f := feed{placing: func(s *session, m connector.Message) []connector.Input {
				if refusals++; refusals > 1 {
					return nil
				}
				if !tt.fails {
					s.report(s.refused(m, tt.code, tt.words))
					return nil
				}
				return []connector.Input{s.passed(m), s.refused(m, tt.code, tt.words)}
			}}
			feeding(t, [][]step{then(f.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
				a := l.subscribe("AAPL", events.SubscribeBars, func(r *events.Request) { r.Wait = events.Wait(500 * time.Millisecond) })
				if tt.fails {
					if sub := l.wantStatus("aapl-bars", events.SubscriptionFailed); sub.Code != tt.code || a.Subscription.Status != events.SubscriptionFailed {
						t.Errorf("it failed with %+v, and was answered %+v", sub, a)
					}
				}
				pass(15 * time.Minute)
				placed := times[*events.SubscriptionPlacement](store)
				switch {
				case tt.again == 0 && len(placed) != 1:
					t.Errorf("it was placed %d times, want once", len(placed))
				case tt.again != 0 && (len(placed) != 2 || placed[1].Sub(placed[0]).Round(10*time.Millisecond) != tt.again):
					t.Errorf("it was placed at %v, want again after %v", placed, tt.again)
				}
				want := events.SubscriptionLive
				if tt.fails && tt.again == 0 {
					want = events.SubscriptionFailed
				}
				l.wantStatus("aapl-bars", want)
			})
		})
	}
}

func TestOneRefusalDoesNotStopTheRest(t *testing.T) {
	f := feed{placing: func(s *session, m connector.Message) []connector.Input {
		if m.Request.(connector.Subscribe).Name == "c10-bars" {
			return []connector.Input{s.passed(m), s.refused(m, 354, "not subscribed")}
		}
		return nil
	}}
	feeding(t, [][]step{then(f.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		for i := range 20 {
			if a := l.subscribe(fmt.Sprint(1000+i), events.SubscribeBars, func(r *events.Request) { r.Name = fmt.Sprintf("c%d-bars", i) }); !a.OK {
				t.Fatalf("subscribe = %+v", a)
			}
		}
		pass(20 * time.Second)
		for _, sub := range l.State().Subscriptions {
			want := events.SubscriptionLive
			if sub.Name == "c10-bars" {
				want = events.SubscriptionFailed
			}
			l.wantStatus(sub.Name, want)
		}
	})
}

func TestAGapThatCannotBeStoredIsTriedAgain(t *testing.T) {
	short := then(during(33*time.Second, feed{}.step), end(events.CauseReset))
	feeding(t, [][]step{short, away(4 * time.Second), away(4 * time.Second), away(4 * time.Second), then(feed{}.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		shelf.fail = errShelf
		if a := l.subscribe("AAPL", events.SubscribeBars); !a.OK {
			t.Fatalf("subscribe = %+v", a)
		}
		pass(2 * time.Minute)
		if sub := l.wantStatus("aapl-bars", events.SubscriptionLive); len(sub.Gaps) != 1 {
			t.Errorf("its gaps are %+v, want the one that could not be stored", sub.Gaps)
		}
		shelf.mu.Lock()
		shelf.fail = nil
		shelf.mu.Unlock()
		pass(time.Minute)
		if sub := l.wantStatus("aapl-bars", events.SubscriptionLive); len(sub.Gaps) != 0 {
			t.Errorf("its gaps are %+v, want none", sub.Gaps)
		}
		shelf.whole(t, "aapl-bars", events.RealTimeBar)
	})
}

func TestAGapIBRefusesStaysAndSaysWhy(t *testing.T) {
	f := feed{recalling: func(s *session, m connector.Message) connector.Input {
		return s.refused(m, 162, "Historical Market Data Service error message:No market data permissions for NASDAQ STK")
	}}
	short := then(during(33*time.Second, f.step), end(events.CauseReset))
	feeding(t, [][]step{short, away(4 * time.Second), away(4 * time.Second), away(4 * time.Second), then(f.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		if a := l.subscribe("AAPL", events.SubscribeBars); !a.OK {
			t.Fatalf("subscribe = %+v", a)
		}
		pass(3 * time.Minute)
		gave := all[*events.GapUnfillable](store)
		if sub := l.wantStatus("aapl-bars", events.SubscriptionLive); len(sub.Gaps) != 0 || len(gave) != 1 || gave[0].Code != events.ErrorNotPermitted {
			t.Errorf("gaps %+v, given up %+v, want one given up for want of a permission", sub.Gaps, gave)
		}
	})
}

func TestAGapThatLiesTooFarBackIsFilledInPart(t *testing.T) {
	feeding(t, [][]step{then(feed{}.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		if a := l.subscribe("AAPL", events.SubscribeBars); !a.OK {
			t.Fatalf("subscribe = %+v", a)
		}
		pass(30 * time.Second)
		l.die()
		pass(time.Hour)
		r := newFeedingRunner(store, g, shelf)
		r.Policy.BackfillMost = 10 * time.Minute
		l.begin(r)
		pass(2 * time.Minute)
		gave, filled := all[*events.GapUnfillable](store), all[*events.GapFilled](store)
		if len(gave) != 1 || gave[0].Code != events.ErrorTooOld || len(filled) != 1 || !filled[0].From.Equal(gave[0].To) || filled[0].To.Sub(filled[0].From) < 9*time.Minute {
			t.Errorf("given up %+v, filled %+v, want what lies ten minutes back filled, and the rest given up", gave, filled)
		}
	})
}

func TestBarsThatAreKeptUpToDateAreFinishedOnce(t *testing.T) {
	short := then(during(3*time.Minute+7*time.Second, feed{}.step), end(events.CauseReset))
	scripts := [][]step{short}
	for range 25 { // attempts, of which most are a minute apart
		scripts = append(scripts, refuse)
	}
	feeding(t, append(scripts, then(feed{}.step)), func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		a := l.subscribe("AAPL", events.SubscribeHistoryBars, func(r *events.Request) { r.BarSize, r.Duration = "1 min", "600 S" })
		if !a.OK || a.Subscription.Name != "aapl-history-bars-1-min" || len(a.Subjects) != 2 {
			t.Fatalf("subscribe = %+v", a)
		}
		pass(40 * time.Minute)
		l.wantStatus("aapl-history-bars-1-min", events.SubscriptionLive)
		n, backfilled := shelf.whole(t, "aapl-history-bars-1-min", time.Minute)
		if n < 10+38 || backfilled < 15 {
			t.Errorf("%d bars in 40 minutes, and the ten before, %d of them backfilled", n, backfilled)
		}
		for _, b := range shelf.bars(t, "aapl-history-bars-1-min") {
			if b.Volume != "60" || b.Provisional {
				t.Errorf("the bar of %s has a volume of %s, provisional %v, want it whole", b.Time, b.Volume, b.Provisional)
			}
		}
		if found, filled := all[*events.GapDetected](store), all[*events.GapFilled](store); len(found) != 1 || len(filled) != 1 {
			t.Errorf("gaps found %+v, filled %+v, want one: the new placement brought the last ten minutes along", found, filled)
		}
		if shelf.sent["aapl-history-bars-1-min"] < 200 {
			t.Errorf("%d words of unfinished bars, want one every five seconds", shelf.sent["aapl-history-bars-1-min"])
		}
	})
}

// A hundred subscriptions over two hundred restarts, of the gateway or of our own
// process, in order or killed: none is ever lost, or there twice.
func TestNoSubscriptionIsLostOverManyRestarts(t *testing.T) {
	restarts := 200
	if testing.Short() || raceEnabled {
		restarts = 20
	}
	var scripts [][]step
	for i := range 2 * restarts {
		scripts = append(scripts, then(during(time.Duration(20+i%50)*time.Second, feed{}.step), end(events.CauseReset)))
	}
	feeding(t, append(scripts, then(feed{}.step)), func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		const n = 100
		for i := range n {
			kind := events.SubscriptionKinds[i%3] // history-bars keep a query open each, of which there are few
			if i%20 != 0 && kind == events.SubscribeBars {
				kind = events.SubscribeQuotes // of real-time bars few are placed in ten minutes
			}
			if a := l.subscribe(fmt.Sprint(1000+i), kind); !a.OK {
				t.Fatalf("subscribe = %+v", a)
			}
		}
		if got := len(l.State().Subscriptions); got != n {
			t.Fatalf("%d subscriptions, want %d", got, n)
		}
		for i := range restarts {
			switch i % 16 {
			default: // the gateway ends the session by itself
				losses := l.State().Counts.Losses
				l.until(func(s events.State) bool { return s.Counts.Losses > losses })
			case 1:
				l.stop()
				pass(time.Duration(i) * time.Second)
				l.begin(newFeedingRunner(store, g, shelf))
			case 2:
				l.die()
				l.begin(newFeedingRunner(store, g, shelf))
			case 3:
				pass(time.Duration(i%7) * time.Second)
				l.die()
				pass(time.Duration(i%5) * time.Minute)
				l.begin(newFeedingRunner(store, g, shelf))
			}
			live := func(s events.State) bool {
				return len(s.Subscriptions) == n && !slices.ContainsFunc(s.Subscriptions, func(sub *events.Subscription) bool { return sub.Status != events.SubscriptionLive })
			}
			if !l.until(live) {
				t.Fatalf("restart %d: the run ended with %v", i, l.err)
			}
		}
		pass(5 * time.Minute) // the last gaps are filled
		seen := make(map[int64]bool)
		for _, p := range all[*events.SubscriptionPlacement](store) {
			if seen[p.RequestID] {
				t.Fatalf("request id %d was used twice", p.RequestID)
			}
			seen[p.RequestID] = true
		}
		for _, s := range g.sessions() {
			placed := make(map[string]int)
			for _, m := range queried[connector.Subscribe](s) {
				placed[m.Name]++
			}
			for name, times := range placed {
				if times > 1 {
					t.Errorf("%s was placed %d times in one session", name, times)
				}
			}
		}
		for _, sub := range l.State().Subscriptions {
			if sub.Feed.Kind == events.SubscribeBars {
				shelf.whole(t, sub.Name, events.RealTimeBar)
			}
		}
	})
}

// A run that ends while a gap is being filled, or hours are asked for, ends.
func TestTheRunEndsWhileAGapIsFilled(t *testing.T) {
	for range 30 { // what is chosen among channels differs
		mute := feed{recalling: func(s *session, m connector.Message) connector.Input {
			return connector.Probed{Attempt: s.number(), Number: 1 << 40} // which says nothing
		}}
		short := then(during(33*time.Second, mute.step), end(events.CauseReset))
		feeding(t, [][]step{short, away(4 * time.Second), away(4 * time.Second), away(4 * time.Second), then(mute.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
			if a := l.subscribe("AAPL", events.SubscribeBars); !a.OK {
				t.Fatalf("subscribe = %+v", a)
			}
			pass(80 * time.Second)
			sessions := g.sessions()
			if n := len(queried[connector.HistoricalBars](sessions[len(sessions)-1])); n == 0 {
				t.Fatal("no gap is being filled")
			}
		})
	}
}

func TestASubscriptionCancelledWhileItsGapIsFilledLeavesNoTrace(t *testing.T) {
	var asked atomic.Int32
	f := feed{recalling: func(s *session, m connector.Message) connector.Input {
		asked.Add(1)
		time.Sleep(time.Second)
		return past(s, m, m.Request.(connector.HistoricalBars).Query)
	}}
	short := then(during(33*time.Second, f.step), end(events.CauseReset))
	feeding(t, [][]step{short, away(4 * time.Second), away(4 * time.Second), away(4 * time.Second), then(f.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		if a := l.subscribe("AAPL", events.SubscribeBars); !a.OK {
			t.Fatalf("subscribe = %+v", a)
		}
		for asked.Load() == 0 {
			pass(100 * time.Millisecond)
		}
		if a := l.cancel(events.Request{Subscription: "aapl-bars"}); !a.OK {
			t.Fatalf("cancel = %+v", a)
		}
		if a := l.subscribe("AAPL", events.SubscribeBars); !a.OK {
			t.Fatalf("subscribe = %+v", a)
		}
		pass(2 * time.Minute)
		if filled := all[*events.GapFilled](store); len(filled) != 0 {
			t.Errorf("gaps were filled: %+v, want none of the subscription that was cancelled", filled)
		}
		l.wantStatus("aapl-bars", events.SubscriptionLive)
	})
}

// IB lets 60 new requests for real-time bars go in ten minutes. What is restored
// after a restart of the gateway keeps to that too, and comes all the same.
func TestRealTimeBarsKeepToIBsRule(t *testing.T) {
	short := then(during(3*time.Minute, feed{}.step), end(events.CauseReset))
	feeding(t, [][]step{short, then(feed{}.step)}, func(l *life, g *gateway, store *memlog.Store, shelf *shelf) {
		const n = 70
		for i := range n {
			if a := l.subscribe(fmt.Sprint(1000+i), events.SubscribeBars, func(r *events.Request) {
				if i == n-1 {
					r.Priority = events.PriorityHigh
				}
			}); !a.OK {
				t.Fatalf("subscribe = %+v", a)
			}
		}
		pass(40 * time.Minute)
		placed := times[*events.SubscriptionPlacement](store)
		for i := 60; i < len(placed); i++ {
			if within := placed[i].Sub(placed[i-60]); within < 10*time.Minute {
				t.Errorf("request %d for real-time bars went %v after the 60th before it, want ten minutes", i, within)
			}
		}
		for _, sub := range l.State().Subscriptions {
			l.wantStatus(sub.Name, events.SubscriptionLive)
			shelf.whole(t, sub.Name, events.RealTimeBar)
		}
		second := all[*events.SubscriptionPlacement](store)
		i := slices.IndexFunc(second, func(p *events.SubscriptionPlacement) bool { return p.Attempt == 2 })
		if i < 0 || second[i].Subscription != fmt.Sprintf("%d-bars", 1000+n-1) {
			t.Errorf("the first that came back with the new session was %+v, want the one of high priority", second[max(i, 0)])
		}
	})
}
