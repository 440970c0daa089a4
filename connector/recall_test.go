package connector_test

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ibconn/connector"
	"ibconn/events"
	"ibconn/testenv/memlog"
)

// slowly answers a query for bars after a while.
func slowly(d time.Duration) func(*session, connector.Message) []connector.Input {
	return func(s *session, m connector.Message) []connector.Input {
		go func() {
			time.Sleep(d)
			s.report(s.brought(m, oneBar, 1))
		}()
		return []connector.Input{s.passed(m)}
	}
}

// unanswered takes a query and says nothing more.
func unanswered(s *session, m connector.Message) []connector.Input {
	return []connector.Input{s.passed(m)}
}

func TestCallersOfTheSameQueryShareARequest(t *testing.T) {
	asking(t, recalling(slowly(5*time.Second)), func(l *life, g *gateway, _ *memlog.Store) {
		l.qualify("AAPL", 0)
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				if a := l.history("60 S", "5 secs", 10*time.Second); !a.OK || !reflect.DeepEqual(a.Bars, oneBar) {
					t.Errorf("who waits is answered %+v, want the bars", a.Error)
				}
			})
		}
		all.Go(func() {
			wantError(t, l.history("60 S", "5 secs", 2*time.Second), events.ErrorTimeout, "did not answer in time")
		})
		all.Go(func() {
			ctx, cancel := context.WithTimeout(l.Context(), time.Second)
			defer cancel()
			l.Handle(ctx, events.VerbHistory, query(t, "AAPL", "60 S", "5 secs", 10*time.Second), nil)
		})
		pass(time.Second)
		all.Go(func() { // another one
			if a := l.history("120 S", "5 secs", 10*time.Second); !a.OK {
				t.Errorf("another query is answered %+v", a.Error)
			}
		})
		all.Wait()
		s := g.sessions()[0]
		if n, c := len(queried[connector.HistoricalBars](s)), len(queried[connector.CancelBars](s)); n != 2 || c != 0 {
			t.Errorf("%d queries and %d cancels were sent, want 2 and none", n, c)
		}
	})
}

func TestAQueryThatAllHaveLeftIsCancelled(t *testing.T) {
	asking(t, recalling(unanswered), func(l *life, g *gateway, _ *memlog.Store) {
		l.qualify("AAPL", 0)
		var all sync.WaitGroup
		for i := range 3 {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(l.Context(), time.Duration(i+1)*time.Second)
				defer cancel()
				wantError(t, l.Handle(ctx, events.VerbHistory, query(t, "AAPL", "60 S", "5 secs", time.Minute), nil), events.ErrorShutdown, "ending")
			})
		}
		pass(2500 * time.Millisecond)
		s := g.sessions()[0]
		if n := len(queried[connector.CancelBars](s)); n != 0 {
			t.Errorf("%d cancels were sent while somebody waits, want none", n)
		}
		all.Wait()
		pass(time.Second)
		if n, c := len(queried[connector.HistoricalBars](s)), len(queried[connector.CancelBars](s)); n != 1 || c != 1 {
			t.Errorf("%d queries and %d cancels were sent, want one of each", n, c)
		}
	})
}

// archive answers queries for bars of a minute or more as a market does that is
// open around the clock on all days but those closed.
func archive(closed ...string) func(*session, connector.Message) []connector.Input {
	return func(s *session, m connector.Message) []connector.Input {
		q := m.Request.(connector.HistoricalBars).Query
		var bars []events.Bar
		for at := q.Start(q.End).Truncate(q.BarSpan()); at.Before(q.End); at = at.Add(q.BarSpan()) {
			if !slices.Contains(closed, at.Format(time.DateOnly)) {
				bars = append(bars, events.Bar{Time: at.Format(time.RFC3339), Close: "1"})
			}
		}
		if len(bars) == 0 {
			return []connector.Input{s.passed(m), s.refused(m, 162, noHistory)}
		}
		return []connector.Input{s.passed(m), s.brought(m, bars, len(bars))}
	}
}

// days is a request for bars of a minute that end at noon.
func days(t testing.TB, n int) events.Request {
	req := query(t, "AAPL", fmt.Sprint(n, " D"), "1 min", 0)
	req.End, req.Stream, req.ID = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC), true, "days"
	return req
}

// streamed returns all replies of a history.
func (l *life) streamed(req events.Request) (replies []events.Answer) {
	l.Helper()
	a := l.Handle(l.Context(), events.VerbHistory, req, func(a events.Answer) { replies = append(replies, a) })
	return append(replies, a)
}

func barsOf(replies []events.Answer) (bars []events.Bar) {
	for _, a := range replies {
		bars = append(bars, a.Bars...)
	}
	return bars
}

func TestALongQueryIsStreamedInParts(t *testing.T) {
	asking(t, recalling(archive("2026-11-16", "2026-11-17")), func(l *life, g *gateway, _ *memlog.Store) {
		replies := l.streamed(days(t, 6))
		last := replies[len(replies)-1]
		if !last.OK || last.Status != events.StatusCompleted || last.Interim() || last.Query != "days" || last.Done != 6 || last.Chunks != 6 || last.BarCount != 4*1440 || last.NoData || last.Bars != nil {
			t.Errorf("it ends with %+v, %+v", last, last.Error)
		}
		parts := slices.DeleteFunc(slices.Clone(replies), func(a events.Answer) bool { return a.Status != events.StatusPartial })
		if len(parts) != last.Parts || last.Parts != 5 {
			t.Errorf("there are %d parts, and it says %d, want 5", len(parts), last.Parts)
		}
		for i, a := range parts {
			if !a.OK || !a.Interim() || a.Part != i+1 || len(a.Bars) == 0 || len(a.Bars) > events.MaxBars || a.What != "TRADES" || a.BarSize != "1 min" || a.Query != "days" {
				t.Errorf("part %d is %+v", i+1, a)
			}
		}
		bars := barsOf(replies)
		if len(bars) != last.BarCount || bars[0].Time != "2026-11-14T12:00:00Z" || bars[len(bars)-1].Time != "2026-11-20T11:59:00Z" ||
			!slices.IsSortedFunc(bars, func(a, b events.Bar) int { return strings.Compare(a.Time, b.Time) }) {
			t.Errorf("%d bars came from %s to %s", len(bars), bars[0].Time, bars[len(bars)-1].Time)
		}
		if first := replies[0]; !first.Interim() || first.Status != events.StatusWorking || first.Chunks != 6 || first.Query != "days" {
			t.Errorf("it begins with %+v", first)
		}
		if n := len(queried[connector.HistoricalBars](g.sessions()[0])); n != 6 {
			t.Errorf("%d requests were sent, want 6", n)
		}
	})
}

func TestASmallQueryIsStreamedToo(t *testing.T) {
	asking(t, recalling(bring), func(l *life, _ *gateway, _ *memlog.Store) {
		req := query(t, "AAPL", "1 D", "5 mins", 0)
		req.Stream = true
		replies := l.streamed(req)
		if last := replies[len(replies)-1]; len(replies) != 3 || replies[1].Part != 1 || !reflect.DeepEqual(replies[1].Bars, oneBar) ||
			last.Status != events.StatusCompleted || last.Parts != 1 || last.BarCount != 1 || last.Query == "" {
			t.Errorf("the replies are %+v, want a part and an end", replies)
		}
	})
}

// TestALongQueryMayFitOneReply has bars whose size takes several requests, and
// which are few enough.
func TestALongQueryMayFitOneReply(t *testing.T) {
	asking(t, recalling(archive()), func(l *life, g *gateway, _ *memlog.Store) {
		req := query(t, "AAPL", "86400 S", "30 secs", 0)
		req.End = time.Now().Truncate(time.Hour)
		a := l.Handle(l.Context(), events.VerbHistory, req, func(a events.Answer) { t.Errorf("a reply more: %+v", a) })
		if !a.OK || len(a.Bars) != 2880 || a.Status != "" || a.Query != "" || a.Done != 0 {
			t.Errorf("the answer has %d bars, %+v, %+v, want them in one reply", len(a.Bars), a.Status, a.Error)
		}
		if n := len(queried[connector.HistoricalBars](g.sessions()[0])); n != 3 {
			t.Errorf("%d requests were sent, want 3", n)
		}
	})
}

func TestThereIsNoDataWhenNoChunkHasAny(t *testing.T) {
	asking(t, recalling(archive("2026-11-16", "2026-11-17", "2026-11-18", "2026-11-19", "2026-11-20")), func(l *life, _ *gateway, _ *memlog.Store) {
		replies := l.streamed(days(t, 4))
		if last := replies[len(replies)-1]; !last.OK || !last.NoData || last.Parts != 0 || last.Status != events.StatusCompleted {
			t.Errorf("it ends with %+v, %+v, want no data", last, last.Error)
		}
	})
}

func TestAChunkThatFailsEndsAQueryAfterTheBarsBeforeIt(t *testing.T) {
	asking(t, recalling(func(s *session, m connector.Message) []connector.Input {
		if m.Request.(connector.HistoricalBars).Query.End.Day() == 18 {
			return []connector.Input{s.passed(m), s.refused(m, 162, "Historical Market Data Service error message:No market data permissions for NASDAQ STK")}
		}
		return archive()(s, m)
	}), func(l *life, _ *gateway, _ *memlog.Store) {
		replies := l.streamed(days(t, 5))
		last := replies[len(replies)-1]
		wantError(t, last, events.ErrorNotPermitted, "before that 2 of 5 requests were answered, the newest bar is of 2026-11-17T11:59:00Z")
		if n := len(barsOf(replies)); n != 2*1440 || last.Done != 2 || last.Chunks != 5 || last.Parts != 2 || last.BarCount != n {
			t.Errorf("%d bars came, and it ends with %+v", n, last)
		}
	})
}

func TestWhoWaitsForIBsRulesIsToldHowLong(t *testing.T) {
	asking(t, recalling(archive()), func(l *life, g *gateway, _ *memlog.Store) {
		began := time.Now()
		req := query(t, "AAPL", "2 D", "5 secs", 0) // 48 requests, of which a new process lets 29 go at once
		req.End, req.Stream = time.Now().Truncate(time.Hour), true
		at := began
		replies := []events.Answer{}
		a := l.Handle(l.Context(), events.VerbHistory, req, func(a events.Answer) {
			if now := time.Now(); now.Sub(at) > 10*time.Second {
				t.Errorf("nothing was said for %v", now.Sub(at))
			}
			at = time.Now()
			replies = append(replies, a)
		})
		ended := time.Now()
		if !a.OK || a.Chunks != 48 || a.BarCount != 2*17280 {
			t.Errorf("it ends with %+v, %+v", a, a.Error)
		}
		waiting := slices.DeleteFunc(slices.Clone(replies), func(a events.Answer) bool { return a.Status != events.StatusWaiting })
		if len(waiting) < 30 {
			t.Fatalf("it was said %d times that it waits, want it more often", len(waiting))
		}
		for _, w := range waiting {
			if w.NextAt.IsZero() || w.ExpectedAt.Before(w.NextAt) || w.ExpectedAt.Sub(ended).Abs() > 2*time.Second {
				t.Errorf("at %v it was to go on at %v and to end at %v, which was at %v", w.AsOf, w.NextAt, w.ExpectedAt, ended)
				break
			}
		}
		req.Duration, req.Wait = "3 D", events.Wait(10*time.Minute)
		short := l.Handle(l.Context(), events.VerbHistory, req, nil)
		wantError(t, short, events.ErrorPacing, "it takes 72 requests")
		if short.ExpectedAt.Before(time.Now().Add(10 * time.Minute)) {
			t.Errorf("it is to end at %v, want a time after its wait", short.ExpectedAt)
		}
		if n := len(queried[connector.HistoricalBars](g.sessions()[0])); n != 48 {
			t.Errorf("%d requests were sent, want 48: none for what cannot be done in time", n)
		}
	})
}

func TestAHistoryIsCancelledByItsID(t *testing.T) {
	for name, tt := range map[string]struct {
		stream bool
		size   string
		answer func(*session, connector.Message) []connector.Input
		sent   int // requests, each of which is cancelled
	}{
		"asked":       {true, "1 min", unanswered, 1},
		"one reply":   {false, "1 day", unanswered, 1},
		"has no turn": {true, "1 min", func(*session, connector.Message) []connector.Input { return nil }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			asking(t, recalling(tt.answer), func(l *life, g *gateway, _ *memlog.Store) {
				req := days(t, 5)
				req.Stream, req.BarSize = tt.stream, tt.size
				var all sync.WaitGroup
				all.Go(func() {
					wantError(t, l.Handle(l.Context(), events.VerbHistory, req, nil), events.ErrorCancelled, "cancel")
				})
				pass(time.Second)
				wantError(t, l.Handle(l.Context(), events.VerbHistory, req, nil), events.ErrorIDReused, "choose another")
				began := time.Now()
				if a := l.Handle(l.Context(), events.VerbCancel, events.Request{Query: "days"}, nil); !a.OK || a.Query != "days" {
					t.Errorf("cancel is answered %+v, %+v", a, a.Error)
				}
				all.Wait()
				if took := time.Since(began); took != 0 {
					t.Errorf("it ended %v later, want at once", took)
				}
				pass(time.Second)
				wantError(t, l.Handle(l.Context(), events.VerbCancel, events.Request{Query: "days"}, nil), events.ErrorNotFound, "days")
				s := g.sessions()[0]
				if c := len(queried[connector.CancelBars](s)); c != tt.sent {
					t.Errorf("%d cancels were sent, want %d", c, tt.sent)
				}
			})
		})
	}
}

func TestTheEndOfTheRunEndsAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{scripts: [][]step{then(recalling(unanswered))}}
		l := run(t, newRunner(memlog.New().Writer(), g))
		pass(time.Second)
		answers := make(chan events.Answer)
		go func() { answers <- l.Handle(l.Context(), events.VerbHistory, days(t, 5), nil) }()
		pass(time.Second)
		l.stop()
		wantError(t, <-answers, events.ErrorShutdown, "is ending")
		checkClosed(t, g)
	})
}

func TestOneOfSeveralRequestsIsGivenUpAfterTwoMinutes(t *testing.T) {
	asking(t, recalling(unanswered), func(l *life, g *gateway, _ *memlog.Store) {
		began := time.Now()
		wantError(t, l.Handle(l.Context(), events.VerbHistory, days(t, 5), nil), events.ErrorTimeout, "is cancelled")
		if took := time.Since(began); took != 2*time.Minute {
			t.Errorf("it was given up after %v, want 2 minutes", took)
		}
		pass(time.Second)
		if n := len(queried[connector.CancelBars](g.sessions()[0])); n != 1 {
			t.Errorf("%d cancels were sent, want one", n)
		}
	})
}
