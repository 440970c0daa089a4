package connector_test

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ibconn/connector"
	"ibconn/events"
	"ibconn/testenv/memlog"
)

const noHistory = "Historical Market Data Service error message:HMDS query returned no data: AAPL@SMART Trades"

var oneBar = []events.Bar{{Time: "1999-12-31T12:00:00Z", Open: "1", High: "3", Low: "0.5", Close: "2", Volume: "7", WAP: "1.5", Count: 3}}

func (s *session) brought(m connector.Message, bars []events.Bar, total int) connector.Input {
	return connector.Brought{Attempt: s.number(), ID: m.ID, Bars: bars, Total: total}
}

// recalling is a gateway that is honest but for queries for bars.
func recalling(bars func(s *session, m connector.Message) []connector.Input) step {
	return replier(func(s *session, m connector.Message) []connector.Input {
		switch m.Request.(type) {
		case connector.HistoricalBars:
			return bars(s, m)
		case connector.CancelBars:
			return []connector.Input{s.passed(m), s.refused(connector.Message{ID: m.Request.(connector.CancelBars).Of}, 162, "API historical data query cancelled: 1")}
		}
		return honest(s, m)
	})
}

func bring(s *session, m connector.Message) []connector.Input {
	return []connector.Input{s.passed(m), s.brought(m, oneBar, 1)}
}

func query(t testing.TB, text, duration, size string, wait time.Duration) events.Request {
	return events.Request{Contract: contract(t, text), Wait: events.Wait(wait), BarQuery: events.BarQuery{Duration: duration, BarSize: size}}
}

func (l *life) history(duration, size string, wait time.Duration) events.Answer {
	l.Helper()
	return l.Handle(l.Context(), events.VerbHistory, query(l.TB, "AAPL", duration, size, wait), nil)
}

// queried returns what of a session's requests is of a type.
func queried[R connector.Request](s *session) (all []R) {
	for _, m := range requested(s) {
		if r, ok := m.Request.(R); ok {
			all = append(all, r)
		}
	}
	return all
}

func TestBarsOfThePastAreBrought(t *testing.T) {
	asking(t, recalling(bring), func(l *life, g *gateway, _ *memlog.Store) {
		a := l.history("1 D", "5 mins", 0)
		if !a.OK || !reflect.DeepEqual(a.Bars, oneBar) || a.What != "TRADES" || a.BarSize != "5 mins" || a.NoData || !a.AsOf.Equal(time.Now()) || a.Contracts != nil || a.Error != nil {
			t.Errorf("the answer is %+v, %+v, want the bars", a, a.Error)
		}
		l.history("2 D", "1 day", 0) // of a contract that is remembered
		s := g.sessions()[0]
		if n := len(queried[connector.ContractDetails](s)); n != 1 {
			t.Errorf("the contract was asked for %d times, want once", n)
		}
		want := connector.HistoricalBars{Contract: apple.Contract, Query: events.BarQuery{Duration: "1 D", BarSize: "5 mins", What: "TRADES"}}
		if got := queried[connector.HistoricalBars](s); len(got) != 2 || got[0] != want {
			t.Errorf("queries %+v, want two, the first %+v", got, want)
		}
		if got := queried[connector.CancelBars](s); len(got) != 0 {
			t.Errorf("queries that were answered are cancelled: %+v", got)
		}
	})
}

func TestWhatIsWrongWithAQueryIsSaidBeforeItIsAsked(t *testing.T) {
	asking(t, recalling(bring), func(l *life, g *gateway, _ *memlog.Store) {
		wantError(t, l.history("1 Y", "1 min", 0), events.ErrorTooLarge, "ask for shorter spans")
		wantError(t, l.history("1 fortnight", "1 min", 0), events.ErrorBadRequest, "duration")
		wantError(t, l.Handle(l.Context(), events.VerbHistory, query(t, `{"symbol":"ES"}`, "1 D", "1 min", 0), nil), events.ErrorAmbiguous, "57 contracts")
		wantError(t, l.Handle(l.Context(), events.VerbHistory, query(t, "NOPE", "1 D", "1 min", 0), nil), events.ErrorNotFound, "NOPE")
		if n := len(queried[connector.HistoricalBars](g.sessions()[0])); n != 0 {
			t.Errorf("%d queries were sent, want none", n)
		}
	})
}

func TestEachWayToNoBarsHasACodeOfItsOwn(t *testing.T) {
	outcome := func(o connector.Outcome) func(*session, connector.Message) []connector.Input {
		return func(s *session, m connector.Message) []connector.Input {
			return []connector.Input{connector.Passed{Attempt: s.number(), ID: m.ID, Outcome: o, At: s.wall()}}
		}
	}
	says := func(code int, words string) func(*session, connector.Message) []connector.Input {
		return func(s *session, m connector.Message) []connector.Input {
			return []connector.Input{s.passed(m), s.refused(m, code, words)}
		}
	}
	const lead = "Historical Market Data Service error message:"
	for _, tt := range []struct {
		name    string
		answer  func(*session, connector.Message) []connector.Input
		code    events.ErrorCode
		words   string
		took    time.Duration
		cancels int
	}{
		{"no answer", outcome(connector.OutcomeSent), events.ErrorTimeout, "did not answer in time", 3 * time.Second, 1},
		{"no turn", func(*session, connector.Message) []connector.Input { return nil }, events.ErrorExpired, "nothing was asked", 3 * time.Second, 0},
		{"expired", outcome(connector.OutcomeExpired), events.ErrorExpired, "nothing was asked", 0, 0},
		{"full", outcome(connector.OutcomeFull), events.ErrorQueueFull, "try again later", 0, 0},
		{"lost", outcome(connector.OutcomeLost), events.ErrorSessionLost, "ended before", 0, 0},
		{"pacing", says(162, lead+"Historical data request pacing violation"), events.ErrorPacing, "too fast", 0, 0},
		{"open", says(322, "Error processing request.-'bI' : cause - Only 50 simultaneous API historical data requests allowed."), events.ErrorPacing, "(322)", 0, 0},
		{"permission", says(162, lead+"No market data permissions for NASDAQ STK"), events.ErrorNotPermitted, "NASDAQ STK (162)", 0, 0},
		{"cancelled by another", says(162, "API historical data query cancelled: 7"), events.ErrorGatewayError, "cancelled", 0, 0},
		{"something else", says(162, lead+"No historical market data for EUR/CASH@IDEALPRO Last 1 hour"), events.ErrorGatewayError, "Last 1 hour (162)", 0, 0},
		{"invalid", says(321, "Error validating request.-'bR' : cause - wrong"), events.ErrorGatewayError, "wrong (321)", 0, 0},
		{"too many", func(s *session, m connector.Message) []connector.Input {
			return []connector.Input{s.passed(m), s.brought(m, oneBar, 2)}
		}, events.ErrorTooLarge, "2 bars came", 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asking(t, recalling(tt.answer), func(l *life, g *gateway, _ *memlog.Store) {
				l.qualify("AAPL", 0)
				began := time.Now()
				wantError(t, l.history("1 D", "5 mins", 3*time.Second), tt.code, tt.words)
				if took := time.Since(began); took != tt.took {
					t.Errorf("that took %v, want %v", took, tt.took)
				}
				pass(time.Second)
				if n := len(queried[connector.CancelBars](g.sessions()[0])); n != tt.cancels {
					t.Errorf("%d cancels were sent, want %d", n, tt.cancels)
				}
			})
		})
	}
	t.Run("warned", func(t *testing.T) {
		handled(t, &gateway{scripts: [][]step{then(recalling(func(s *session, m connector.Message) []connector.Input {
			return []connector.Input{s.passed(m), s.refused(m, 2176, "Warning: fractional shares"), s.brought(m, oneBar, 1)}
		}))}}, func(l *life, _ *memlog.Store) {
			pass(time.Second)
			if a := l.history("1 D", "5 mins", 0); !a.OK || len(a.Bars) != 1 {
				t.Errorf("behind a warning the answer is %+v, %+v, want the bars", a, a.Error)
			}
		})
	})
	t.Run("not ready", func(t *testing.T) {
		handled(t, &gateway{scripts: [][]step{refuse}}, func(l *life, _ *memlog.Store) {
			pass(time.Minute)
			wantError(t, l.history("1 D", "5 mins", 0), events.ErrorNotReady, "no session")
		})
	})
}

func TestThatThereIsNoDataIsBelievedOnceIBWasSeen(t *testing.T) {
	for _, none := range []func(*session, connector.Message) []connector.Input{
		func(s *session, m connector.Message) []connector.Input {
			return []connector.Input{s.passed(m), s.refused(m, 162, noHistory)}
		},
		func(s *session, m connector.Message) []connector.Input {
			return []connector.Input{s.passed(m), s.brought(m, nil, 0)}
		},
	} {
		asking(t, recalling(none), func(l *life, _ *gateway, _ *memlog.Store) {
			if a := l.history("1 D", "5 mins", 0); !a.OK || !a.NoData || a.Bars != nil || a.What != "TRADES" {
				t.Errorf("the answer is %+v, %+v, want that there is no data", a, a.Error)
			}
		})
	}
	t.Run("silent", func(t *testing.T) {
		asking(t, replier(func(s *session, m connector.Message) []connector.Input {
			switch m.Request.(type) {
			case connector.HistoricalBars:
				return []connector.Input{s.passed(m), s.refused(m, 162, noHistory)}
			case connector.SearchSymbols:
				if m.ID < 1<<30 {
					return []connector.Input{s.passed(m)}
				}
			}
			return honest(s, m)
		}), func(l *life, _ *gateway, _ *memlog.Store) {
			wantError(t, l.history("1 D", "5 mins", 7*time.Second), events.ErrorUnavailable, "did not answer a search")
		})
	})
	for notice, why := range map[int]string{1100: "the link to IB is down", 2105: "the farm historical/ushmds is down"} {
		t.Run(why, func(t *testing.T) {
			asking(t, recalling(func(s *session, m connector.Message) []connector.Input {
				return []connector.Input{
					s.passed(m),
					connector.Noticed{Attempt: s.number(), RequestID: -1, Code: notice, Message: "HMDS data farm connection is broken:ushmds"},
					s.refused(m, 162, noHistory),
				}
			}), func(l *life, _ *gateway, _ *memlog.Store) {
				wantError(t, l.history("1 D", "5 mins", 0), events.ErrorUnavailable, why)
			})
		})
	}
}

func TestAQueryThatWouldBreakARuleWaitsOrIsRefused(t *testing.T) {
	asking(t, recalling(bring), func(l *life, g *gateway, _ *memlog.Store) {
		if a := l.history("60 S", "5 secs", 0); !a.OK {
			t.Fatalf("the first is answered %+v", a.Error)
		}
		began := time.Now()
		a := l.history("60 S", "5 secs", 10*time.Second)
		wantError(t, a, events.ErrorPacing, "do not let it go before")
		if !a.RetryAt.Equal(began.Add(16*time.Second)) || time.Since(began) != 0 {
			t.Errorf("after %v it is told to come again in %v, want 16s at once", time.Since(began), a.RetryAt.Sub(began))
		}
		if a := l.history("60 S", "5 secs", 20*time.Second); !a.OK || time.Since(began) < 16*time.Second || time.Since(began) > 17*time.Second {
			t.Errorf("with a longer wait it is answered %+v after %v, want bars after 16s", a.Error, time.Since(began))
		}
		if n := len(queried[connector.HistoricalBars](g.sessions()[0])); n != 2 {
			t.Errorf("%d queries were sent, want 2", n)
		}
	})
}

func TestAQueryEndsWithItsSession(t *testing.T) {
	silent := recalling(func(s *session, m connector.Message) []connector.Input { return []connector.Input{s.passed(m)} })
	dies := func(ctx context.Context, s *session) {
		dying, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		silent(dying, s)
		end(events.CauseReset)(ctx, s)
	}
	g := &gateway{scripts: [][]step{then(dies), then(recalling(bring))}}
	handled(t, g, func(l *life, _ *memlog.Store) {
		pass(time.Second)
		var all sync.WaitGroup
		for i := range 30 { // more than may be open
			all.Go(func() {
				wantError(t, l.history(fmt.Sprintf("%d D", i+1), "1 hour", 30*time.Second), events.ErrorSessionLost, "ended before the answer came")
			})
		}
		all.Wait()
		if n := len(queried[connector.HistoricalBars](g.sessions()[0])); n != 20 {
			t.Errorf("%d queries were open, want 20", n)
		}
		pass(10 * time.Second)
		for i := range 21 { // those of the session that ended are open no more
			if a := l.history(fmt.Sprintf("%d D", i+1), "1 hour", 0); !a.OK {
				t.Errorf("in the next session query %d is answered %+v", i, a.Error)
			}
		}
	})
}

// TestAQueryOfWhichNothingIsKnownCountsFromItsSessionsEnd has a session end
// before it tells whether the query left: it may have, at the last moment.
func TestAQueryOfWhichNothingIsKnownCountsFromItsSessionsEnd(t *testing.T) {
	var ended time.Time
	dies := func(ctx context.Context, s *session) {
		dying, cancel := context.WithTimeout(ctx, 8*time.Second)
		defer cancel()
		recalling(func(*session, connector.Message) []connector.Input { return nil })(dying, s)
		ended = time.Now()
		end(events.CauseReset)(ctx, s)
	}
	g := &gateway{scripts: [][]step{then(dies), then(recalling(bring))}}
	handled(t, g, func(l *life, _ *memlog.Store) {
		pass(time.Second)
		wantError(t, l.history("60 S", "5 secs", 30*time.Second), events.ErrorSessionLost, "ended before the answer came")
		pass(2 * time.Second)
		if a := l.history("60 S", "5 secs", 30*time.Second); !a.OK || time.Since(ended) < 16*time.Second {
			t.Errorf("the same query again is answered %+v, %v after the session's end, want bars 16s after it", a.Error, time.Since(ended))
		}
	})
}

func TestTheEndOfTheRunAnswersQueries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{scripts: [][]step{then(recalling(func(s *session, m connector.Message) []connector.Input { return []connector.Input{s.passed(m)} }))}}
		l := run(t, newRunner(memlog.New().Writer(), g))
		pass(time.Second)
		answers := make(chan events.Answer)
		go func() { answers <- l.history("1 D", "1 hour", time.Minute) }()
		pass(time.Second)
		l.stop()
		wantError(t, <-answers, events.ErrorShutdown, "is ending")
		checkClosed(t, g)
	})
}

// TestTheTwentyFirstOpenQueryWaits has one of those before it be cancelled,
// whose place it then takes.
func TestTheTwentyFirstOpenQueryWaits(t *testing.T) {
	asking(t, recalling(func(s *session, m connector.Message) []connector.Input {
		if m.Request.(connector.HistoricalBars).Query.Duration == "99 D" {
			return bring(s, m)
		}
		return []connector.Input{s.passed(m)}
	}), func(l *life, g *gateway, _ *memlog.Store) {
		l.qualify("AAPL", 0)
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				wantError(t, l.history(fmt.Sprintf("%d D", i+1), "1 hour", 10*time.Second+time.Duration(i)*time.Second), events.ErrorTimeout, "is cancelled")
			})
		}
		pass(time.Second)
		wantError(t, l.history("99 D", "1 hour", 5*time.Second), events.ErrorPacing, "did not let it go in time")
		began := time.Now()
		if a := l.history("99 D", "1 hour", 20*time.Second); !a.OK || time.Since(began) > 6*time.Second {
			t.Errorf("when a place came free it is answered %+v after %v, want bars", a.Error, time.Since(began))
		}
		all.Wait()
		pass(time.Second)
		s := g.sessions()[0]
		if n, c := len(queried[connector.HistoricalBars](s)), len(queried[connector.CancelBars](s)); n != 21 || c != 20 {
			t.Errorf("%d queries and %d cancels were sent, want 21 and 20", n, c)
		}
		for _, m := range requested(s) {
			if _, ok := m.Request.(connector.CancelBars); ok && (m.Priority != connector.PriorityCancel || !m.Expires.IsZero()) {
				t.Errorf("a cancel is sent as %+v, want it urgent, and not to expire", m)
			}
		}
	})
}

func TestConnectionsToOneGatewayShareALedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := new(connector.Ledgers)
		var lives []*life
		for range 2 {
			r := newRunner(memlog.New().Writer(), &gateway{scripts: [][]step{then(recalling(bring))}})
			r.History = shared
			lives = append(lives, run(t, r))
		}
		pass(time.Second)
		if a := lives[0].history("60 S", "5 secs", 0); !a.OK {
			t.Errorf("the first is answered %+v", a.Error)
		}
		wantError(t, lives[1].history("60 S", "5 secs", 5*time.Second), events.ErrorPacing, "do not let it go before")
		for _, l := range lives {
			l.stop()
		}
	})
}

func TestBarsOfThePastAreMarked(t *testing.T) {
	// The bubble's clock begins with the year 2000, and a little has passed.
	bars := []events.Bar{
		{Time: "1999-12-31T23:50:00Z", Open: "1", High: "3", Low: "0.5", Close: "2", Volume: "7", Count: 3},
		{Time: "1999-12-31T23:55:00Z", Open: "1", High: "2", Low: "1.5", Close: "2", Volume: "7", Count: 3},
		{Time: "2000-01-01T00:00:00Z", Open: "1", High: "3", Low: "0.5", Close: "2", Volume: "7", Count: 3},
	}
	asking(t, recalling(func(s *session, m connector.Message) []connector.Input {
		return []connector.Input{s.passed(m), s.brought(m, bars, len(bars))}
	}), func(l *life, _ *gateway, _ *memlog.Store) {
		a := l.history("900 S", "5 mins", 0)
		if !a.OK || len(a.Bars) != 3 {
			t.Fatalf("the answer is %+v", a)
		}
		if b := a.Bars[0]; b.Provisional || b.Severity != "" || b.Issues != nil {
			t.Errorf("a good bar is %+v, want no mark", b)
		}
		if b := a.Bars[1]; b.Severity != events.SeverityError || fmt.Sprint(b.Issues) != "[ohlc_order]" {
			t.Errorf("a bar whose low is no low is %+v, want it marked", b)
		}
		if b := a.Bars[2]; !b.Provisional || b.Severity != "" {
			t.Errorf("the bar of now is %+v, want it provisional", b)
		}
	})
}
