package connector_test

import (
	"context"
	"fmt"
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

const noSuchContract = "No security definition has been found for the request"

// replier is a session that answers probes, and whatever else is asked by
// what answer says; nothing where it says nil.
func replier(answer func(s *session, m connector.Message) []connector.Input) step {
	return func(ctx context.Context, s *session) {
		for {
			select {
			case p := <-s.sent:
				s.hear()
				s.report(connector.Answered{Attempt: s.number(), Number: p.number, Answer: connector.Answer{
					SentAt: p.at, ReceivedAt: s.wall(), Gateway: p.at.Truncate(time.Second),
				}})
			case m := <-s.asked:
				for _, in := range answer(s, m) {
					s.hear()
					s.report(in)
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

func (s *session) passed(m connector.Message) connector.Input {
	return connector.Passed{Attempt: s.number(), ID: m.ID, Outcome: connector.OutcomeSent, At: s.wall()}
}

func (s *session) foundFor(m connector.Message, n int) connector.Input {
	return connector.Found{Attempt: s.number(), ID: m.ID, SentAt: s.wall(), At: s.wall(), Count: n}
}

func (s *session) described(m connector.Message, found ...events.ContractDetails) connector.Input {
	return connector.Described{Attempt: s.number(), ID: m.ID, Contracts: found, Total: len(found)}
}

func (s *session) refused(m connector.Message, code int, words string) connector.Input {
	return connector.Noticed{Attempt: s.number(), RequestID: m.ID, Code: code, Message: words}
}

func contract(t testing.TB, text string) events.Contract {
	t.Helper()
	c, err := events.ParseContract(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var apple = events.ContractDetails{Contract: events.Contract{ConID: 265598, Symbol: "AAPL", SecType: "STK", Exchange: "SMART", Currency: "USD"}, MinTick: "0.01"}

func futures(n int) (all []events.ContractDetails) {
	for i := range n {
		all = append(all, events.ContractDetails{Contract: events.Contract{ConID: int64(i + 1), Symbol: "ES", SecType: "FUT"}})
	}
	return all
}

// honest is a gateway that knows AAPL, many futures and one contract of each
// other number, and whose link is well.
func honest(s *session, m connector.Message) []connector.Input {
	switch r := m.Request.(type) {
	case connector.SearchSymbols:
		return []connector.Input{s.passed(m), s.foundFor(m, 3)}
	case connector.ContractDetails:
		c := r.Contract
		switch {
		case c.Symbol == "AAPL" || c.ConID == apple.ConID:
			return []connector.Input{s.passed(m), s.described(m, apple)}
		case c.Symbol == "ES":
			return []connector.Input{s.passed(m), connector.Described{Attempt: s.number(), ID: m.ID, Contracts: futures(50), Total: 57}}
		case c.ConID != 0:
			return []connector.Input{s.passed(m), s.described(m, events.ContractDetails{Contract: c})}
		}
		return []connector.Input{s.passed(m), s.refused(m, 200, noSuchContract)}
	}
	return nil
}

// butFor is honest but for requests for contracts.
func butFor(contracts func(s *session, m connector.Message) []connector.Input) step {
	return replier(func(s *session, m connector.Message) []connector.Input {
		if _, ok := m.Request.(connector.ContractDetails); ok {
			return contracts(s, m)
		}
		return honest(s, m)
	})
}

// asking runs f beside a runner whose sessions do last once they are ready, and
// holds that nothing of what f does is on record.
func asking(t *testing.T, last step, f func(l *life, g *gateway, store *memlog.Store)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store, g := memlog.New(), &gateway{scripts: [][]step{then(last)}}
		r := newRunner(store.Writer(), g)
		r.Policy.LinkProbeEvery = 5 * time.Minute
		l := run(t, r)
		pass(2 * time.Second) // IB's spacing of searches, after the link's probe
		f(l, g, store)
		l.stop()
		checkLog(t, store, l.State())
		checkClosed(t, g)
		for _, rec := range store.Events() {
			switch rec.Event.(type) {
			case *events.CommandAccepted, *events.CommandRejected, *events.GatewayReported:
				t.Errorf("%s is on record, want nothing of a request for a contract", rec.Event.Type())
			}
		}
	})
}

func (l *life) qualify(text string, wait time.Duration) events.Answer {
	l.Helper()
	return l.Handle(l.Context(), events.VerbContract, events.Request{Contract: contract(l.TB, text), Wait: events.Wait(wait)}, nil)
}

// requested returns the requests of a session that are no probe of its link.
func requested(s *session) []connector.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.messages), func(m connector.Message) bool { return m.ID >= 1<<30 })
}

func TestAContractIsQualified(t *testing.T) {
	asking(t, replier(honest), func(l *life, g *gateway, _ *memlog.Store) {
		a := l.qualify("AAPL", 0)
		if !a.OK || a.Connection != "main" || len(a.Contracts) != 1 || a.Contracts[0] != apple || a.Cached || !a.AsOf.Equal(time.Now()) || a.Error != nil || a.CommandID != "" {
			t.Errorf("AAPL is answered %+v", a)
		}
		// The same again, by description and by conId, costs nothing.
		pass(time.Hour)
		for _, text := range []string{"AAPL", "265598"} {
			if b := l.qualify(text, 0); !b.OK || !b.Cached || b.Contracts[0] != apple || !b.AsOf.Equal(a.AsOf) {
				t.Errorf("%s an hour later is answered %+v, want the same, remembered", text, b)
			}
		}
		if n := len(requested(g.sessions()[0])); n != 1 {
			t.Errorf("%d requests were sent, want 1", n)
		}
		pass(23 * time.Hour)
		if b := l.qualify("AAPL", 0); !b.OK || b.Cached || !b.AsOf.Equal(time.Now()) {
			t.Errorf("AAPL a day later is answered %+v, want it asked for anew", b)
		}
	})
}

func TestAnAmbiguousContractListsItsCandidates(t *testing.T) {
	asking(t, replier(honest), func(l *life, _ *gateway, _ *memlog.Store) {
		for range 2 { // which is not remembered
			a := l.qualify(`{"symbol":"ES","sec_type":"FUT"}`, 0)
			wantError(t, a, events.ErrorAmbiguous, `57 contracts fit {"symbol":"ES","sec_type":"FUT"}`)
			if len(a.Candidates) != 50 || a.More != 7 || a.Candidates[1].ConID != 2 || a.Contracts != nil || a.Cached {
				t.Errorf("%d candidates and %d more, %+v, want 50 and 7", len(a.Candidates), a.More, a.Candidates)
			}
		}
	})
}

func TestTheSameContractOnSeveralExchangesIsOne(t *testing.T) {
	other := apple
	other.Exchange = "NASDAQ"
	asking(t, butFor(func(s *session, m connector.Message) []connector.Input {
		return []connector.Input{s.passed(m), s.described(m, apple, other)}
	}), func(l *life, _ *gateway, _ *memlog.Store) {
		if a := l.qualify("AAPL", 0); !a.OK || len(a.Contracts) != 1 || a.Contracts[0] != apple {
			t.Errorf("answer %+v, want the first", a)
		}
	})
}

func TestThatThereIsNoContractIsBelievedOnceIBWasSeen(t *testing.T) {
	t.Run("seen", func(t *testing.T) {
		asking(t, replier(honest), func(l *life, g *gateway, _ *memlog.Store) {
			wantError(t, l.qualify("NOPE", 0), events.ErrorNotFound, noSuchContract)
			asked := requested(g.sessions()[0])
			if len(asked) != 2 {
				t.Fatalf("%d requests were sent, want the contract's, and a search: %+v", len(asked), asked)
			}
			if _, ok := asked[1].Request.(connector.SearchSymbols); !ok || asked[1].ID <= asked[0].ID {
				t.Errorf("behind the request for the contract there went %+v, want a search with a later id", asked[1])
			}
			// One search a second serves all that wait for it.
			began, answers := time.Now(), l.qualifyAll(20, func(i int) string { return fmt.Sprintf("NOPE%d", i) }, 0)
			for _, a := range answers {
				wantError(t, a, events.ErrorNotFound, noSuchContract)
			}
			if n := len(requested(g.sessions()[0])); n > 2+20+2 || time.Since(began) > 2*time.Second {
				t.Errorf("20 more took %d requests and %v, want 20 and two searches within two seconds", n-2, time.Since(began))
			}
		})
	})
	mute := func(s *session, m connector.Message) []connector.Input {
		if _, ok := m.Request.(connector.ContractDetails); ok {
			return []connector.Input{s.passed(m), s.refused(m, 200, noSuchContract)}
		}
		return []connector.Input{s.passed(m)} // the link is gone, without a word
	}
	first := func(also func(*session, connector.Message) []connector.Input) step {
		return replier(func(s *session, m connector.Message) []connector.Input {
			if m.ID == 1<<30+1 {
				return honest(s, m) // the session's own probe
			}
			return also(s, m)
		})
	}
	t.Run("silent", func(t *testing.T) {
		asking(t, first(mute), func(l *life, _ *gateway, _ *memlog.Store) {
			began := time.Now()
			wantError(t, l.qualify("NOPE", 7*time.Second), events.ErrorUnavailable, "ib_insync #330")
			if took := time.Since(began); took != 7*time.Second {
				t.Errorf("that took %v, want the time it had", took)
			}
		})
	})
	for what, answer := range map[string]func(s *session, m connector.Message) connector.Input{
		"empty":   func(s *session, m connector.Message) connector.Input { return s.foundFor(m, 0) },
		"refused": func(s *session, m connector.Message) connector.Input { return s.refused(m, 504, "Not connected") },
	} {
		t.Run(what, func(t *testing.T) {
			asking(t, first(func(s *session, m connector.Message) []connector.Input {
				if _, ok := m.Request.(connector.SearchSymbols); ok {
					return []connector.Input{s.passed(m), answer(s, m)}
				}
				return mute(s, m)
			}), func(l *life, _ *gateway, _ *memlog.Store) {
				began := time.Now()
				wantError(t, l.qualify("NOPE", 0), events.ErrorUnavailable, "not to be trusted now")
				if took := time.Since(began); took != 0 {
					t.Errorf("that took %v, want it told at once", took)
				}
			})
		})
	}
	t.Run("unproven", func(t *testing.T) {
		asking(t, replier(mute), func(l *life, _ *gateway, _ *memlog.Store) {
			wantError(t, l.qualify("NOPE", 0), events.ErrorUnavailable, "not proven yet")
		})
	})
	for notice, why := range map[int]string{1100: "the link to IB is down", 2157: "the farm sec_def/secdefil is down"} {
		t.Run(why, func(t *testing.T) {
			asking(t, replier(func(s *session, m connector.Message) []connector.Input {
				if _, ok := m.Request.(connector.ContractDetails); ok {
					return []connector.Input{
						s.passed(m),
						connector.Noticed{Attempt: s.number(), RequestID: -1, Code: notice, Message: "Sec-def data farm connection is broken:secdefil"},
						s.refused(m, 200, noSuchContract),
					}
				}
				return honest(s, m)
			}), func(l *life, g *gateway, _ *memlog.Store) {
				wantError(t, l.qualify("NOPE", 0), events.ErrorUnavailable, why)
				if n := len(requested(g.sessions()[0])); n != 1 {
					t.Errorf("%d requests were sent, want 1: there is nothing to prove", n)
				}
			})
		})
	}
}

// Two searches of a client are a second apart, whatever they are for.
func TestASearchForAProofKeepsItsDistanceFromTheProbeOfTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var searched []time.Time
		g := &gateway{scripts: [][]step{then(replier(func(s *session, m connector.Message) []connector.Input {
			if _, ok := m.Request.(connector.SearchSymbols); ok {
				searched = append(searched, time.Now())
			}
			return honest(s, m)
		}))}}
		r := newRunner(memlog.New().Writer(), g)
		r.Policy.LinkProbeEvery = 3 * time.Second
		l := run(t, r)
		for range 10 {
			pass(200 * time.Millisecond)
			wantError(t, l.qualify("NOPE", 0), events.ErrorNotFound, noSuchContract)
		}
		if len(searched) < 11 {
			t.Errorf("%d searches, want one for each of ten proofs and the probes of the link", len(searched))
		}
		for i := 1; i < len(searched); i++ {
			if apart := searched[i].Sub(searched[i-1]); apart < time.Second {
				t.Errorf("search %d came %v after the one before it, want a second", i, apart)
			}
		}
		l.stop()
		checkClosed(t, g)
	})
}

// qualifyAll asks for so many contracts at once.
func (l *life) qualifyAll(n int, text func(i int) string, wait time.Duration) []events.Answer {
	l.Helper()
	answers := make([]events.Answer, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { answers[i] = l.qualify(text(i), wait) })
	}
	all.Wait()
	return answers
}

func TestEachWayToNoAnswerHasACodeOfItsOwn(t *testing.T) {
	outcome := func(o connector.Outcome) func(*session, connector.Message) []connector.Input {
		return func(s *session, m connector.Message) []connector.Input {
			return []connector.Input{connector.Passed{Attempt: s.number(), ID: m.ID, Outcome: o, At: s.wall()}}
		}
	}
	for _, tt := range []struct {
		name   string
		answer func(*session, connector.Message) []connector.Input
		code   events.ErrorCode
		words  string
		took   time.Duration
	}{
		{"no answer", outcome(connector.OutcomeSent), events.ErrorTimeout, "did not answer in time", 3 * time.Second},
		{"no turn", func(*session, connector.Message) []connector.Input { return nil }, events.ErrorExpired, "nothing was asked", 3 * time.Second},
		{"expired", outcome(connector.OutcomeExpired), events.ErrorExpired, "nothing was asked", 0},
		{"full", outcome(connector.OutcomeFull), events.ErrorQueueFull, "try again later", 0},
		{"lost", outcome(connector.OutcomeLost), events.ErrorSessionLost, "ended before the answer came", 0},
		{"refused", func(s *session, m connector.Message) []connector.Input {
			return []connector.Input{s.passed(m), s.refused(m, 321, "Error validating request: DU1234567")}
		}, events.ErrorGatewayError, "Error validating request: DU***67 (321)", 0},
		{"ambiguous in words", func(s *session, m connector.Message) []connector.Input {
			return []connector.Input{s.passed(m), s.refused(m, 200, "The contract description specified for ES is ambiguous")}
		}, events.ErrorAmbiguous, "does not say which", 0},
		{"empty", func(s *session, m connector.Message) []connector.Input {
			return []connector.Input{s.passed(m), s.described(m)}
		}, events.ErrorNotFound, "the answer was empty", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asking(t, butFor(tt.answer), func(l *life, _ *gateway, _ *memlog.Store) {
				began := time.Now()
				wantError(t, l.qualify("AAPL", 3*time.Second), tt.code, tt.words)
				if took := time.Since(began); took != tt.took {
					t.Errorf("that took %v, want %v", took, tt.took)
				}
			})
		})
	}
	t.Run("malformed", func(t *testing.T) {
		asking(t, replier(honest), func(l *life, g *gateway, _ *memlog.Store) {
			wantError(t, l.Handle(l.Context(), events.VerbContract, events.Request{}, nil), events.ErrorBadRequest, "contract: want con_id")
			wantError(t, l.Handle(l.Context(), events.VerbContract, events.Request{Contract: events.Contract{Symbol: "A\x00B"}}, nil), events.ErrorBadRequest, "symbol")
			if n := len(requested(g.sessions()[0])); n != 0 {
				t.Errorf("%d requests were sent, want none", n)
			}
		})
	})
	t.Run("not ready", func(t *testing.T) {
		handled(t, &gateway{scripts: [][]step{refuse}}, func(l *life, _ *memlog.Store) {
			pass(time.Minute)
			wantError(t, l.qualify("AAPL", 0), events.ErrorNotReady, "no session")
		})
	})
	t.Run("ten seconds", func(t *testing.T) {
		asking(t, butFor(outcome(connector.OutcomeSent)), func(l *life, _ *gateway, _ *memlog.Store) {
			began := time.Now()
			wantError(t, l.qualify("AAPL", 0), events.ErrorTimeout, "in time")
			if took := time.Since(began); took != 10*time.Second {
				t.Errorf("without a wait that took %v, want 10s", took)
			}
		})
	})
}

func TestABreachOfTheMessageBudgetIsAnsweredAndOnRecord(t *testing.T) {
	handled(t, &gateway{scripts: [][]step{then(butFor(func(s *session, m connector.Message) []connector.Input {
		return []connector.Input{s.passed(m), s.refused(m, 100, "Max rate of messages per second has been exceeded")}
	}))}}, func(l *life, store *memlog.Store) {
		pass(time.Second)
		wantError(t, l.qualify("AAPL", 0), events.ErrorGatewayError, "(100)")
		synctest.Wait()
		if n := len(all[*events.PacingReduced](store)); n != 1 {
			t.Errorf("%d times the pace was reduced, want once", n)
		}
	})
}

func TestASessionThatEndsAnswersWhoWaits(t *testing.T) {
	silent := replier(func(s *session, m connector.Message) []connector.Input {
		if _, ok := m.Request.(connector.ContractDetails); ok {
			return []connector.Input{s.passed(m)}
		}
		return honest(s, m)
	})
	dies := func(ctx context.Context, s *session) {
		dying, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		silent(dying, s)
		end(events.CauseReset)(ctx, s)
	}
	late := func(ctx context.Context, s *session) { // answers what the session before it was asked
		s.report(connector.Described{Attempt: s.number(), ID: 1 << 28, Contracts: []events.ContractDetails{apple}, Total: 1})
		replier(honest)(ctx, s)
	}
	g := &gateway{scripts: [][]step{then(dies), then(late)}}
	handled(t, g, func(l *life, _ *memlog.Store) {
		pass(time.Second)
		began := time.Now()
		for _, a := range l.qualifyAll(5, func(i int) string { return fmt.Sprint(i + 1) }, 30*time.Second) {
			wantError(t, a, events.ErrorSessionLost, "ended before the answer came")
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the answers came after %v, want them when the session ended", took)
		}
		pass(10 * time.Second)
		if a := l.qualify("7", 0); !a.OK || a.Contracts[0].ConID != 7 {
			t.Errorf("in the next session 7 is answered %+v", a)
		}
		var last int64
		for _, s := range g.sessions() {
			for _, m := range requested(s) {
				if m.ID <= last || m.ID < 1<<28 || m.ID >= 1<<30 {
					t.Errorf("a request has the id %d after %d, want ids that rise within their range", m.ID, last)
				}
				last = m.ID
			}
		}
		if last != 1<<28+5 {
			t.Errorf("the last id is %d, want that of the sixth request", last)
		}
	})
}

func TestTheEndOfTheRunAnswersWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{scripts: [][]step{then(butFor(func(s *session, m connector.Message) []connector.Input { return []connector.Input{s.passed(m)} }))}}
		l := run(t, newRunner(memlog.New().Writer(), g))
		pass(time.Second)
		answers := make(chan []events.Answer)
		go func() { answers <- l.qualifyAll(5, func(i int) string { return fmt.Sprint(i + 1) }, time.Minute) }()
		pass(time.Second)
		l.stop()
		for _, a := range <-answers {
			wantError(t, a, events.ErrorShutdown, "is ending")
		}
		wantError(t, l.qualify("AAPL", 0), events.ErrorShutdown, "is ending")
		checkClosed(t, g)
	})
}

func TestWhoComesBeforeTheRunIsToldInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRunner(memlog.New().Writer(), &gateway{scripts: [][]step{well}})
		began := time.Now()
		a := r.Handle(t.Context(), events.VerbContract, events.Request{Contract: contract(t, "AAPL"), Wait: events.Wait(2 * time.Second)}, nil)
		wantError(t, a, events.ErrorTimeout, "does not run yet")
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("that took %v, want little more than its wait", took)
		}
	})
}

func TestManyAskAtOnce(t *testing.T) {
	asking(t, replier(honest), func(l *life, g *gateway, _ *memlog.Store) {
		for i, a := range l.qualifyAll(100, func(i int) string { return fmt.Sprint(i + 1) }, time.Minute) {
			if !a.OK || len(a.Contracts) != 1 || a.Contracts[0].ConID != int64(i+1) {
				t.Errorf("contract %d is answered %+v, want itself", i+1, a)
			}
		}
		if n := len(requested(g.sessions()[0])); n != 100 {
			t.Errorf("%d requests were sent, want 100", n)
		}
	})
}

func TestTooManyAreTurnedAway(t *testing.T) {
	asking(t, butFor(func(*session, connector.Message) []connector.Input { return nil }), func(l *life, _ *gateway, _ *memlog.Store) {
		count := make(map[events.ErrorCode]int)
		for _, a := range l.qualifyAll(140, func(i int) string { return fmt.Sprint(i + 1) }, 5*time.Second) {
			count[a.Error.Code]++
		}
		if count[events.ErrorBusy] != 12 || count[events.ErrorExpired] != 128 {
			t.Errorf("answers %v, want 12 busy and 128 expired", count)
		}
	})
}

func TestErrorsThatNobodyWaitsForAreOnRecord(t *testing.T) {
	handled(t, &gateway{scripts: [][]step{then(func(ctx context.Context, s *session) {
		s.report(connector.Noticed{Attempt: s.number(), RequestID: 1<<28 + 7, Code: 200, Message: noSuchContract})
		replier(honest)(ctx, s)
	})}}, func(l *life, store *memlog.Store) {
		pass(time.Second)
		reported := all[*events.GatewayReported](store)
		if len(reported) != 1 || reported[0].RequestID != 1<<28+7 || !strings.Contains(reported[0].Message, noSuchContract) {
			t.Errorf("on record is %+v, want the error that came for nobody", reported)
		}
	})
}

func TestAContractThatIsRememberedIsThereWithoutASession(t *testing.T) {
	g := &gateway{scripts: [][]step{then(replier(honest)), refuse}}
	handled(t, g, func(l *life, _ *memlog.Store) {
		pass(time.Second)
		if a := l.qualify("AAPL", 0); !a.OK || a.Cached {
			t.Errorf("AAPL is answered %+v, %+v, want it from the gateway", a, a.Error)
		}
		l.send(events.VerbDisconnect, events.Request{})
		pass(time.Second)
		if a := l.qualify("AAPL", 0); !a.OK || !a.Cached {
			t.Errorf("while stopped AAPL is answered %+v, want it remembered", a)
		}
		wantError(t, l.qualify("MSFT", 0), events.ErrorNotReady, "stopped")
	})
}

// shelved keeps contracts in memory; it outlives runners.
type shelved struct {
	mu    sync.Mutex
	all   []events.KnownContract
	fails error
	stuck bool // until its context ends
}

func (s *shelved) LoadContracts(ctx context.Context) ([]events.KnownContract, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stuck {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return slices.Clone(s.all), s.fails
}

func (s *shelved) SaveContract(ctx context.Context, k events.KnownContract) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stuck {
		<-ctx.Done()
		return ctx.Err()
	}
	s.all = append(s.all, k)
	return s.fails
}

func TestWhatIsKnownOfContractsOutlivesTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept, g := new(shelved), &gateway{scripts: [][]step{then(replier(honest)), {mute}}}
		store := memlog.New()
		begin := func() *connector.Runner {
			r := newRunner(store.Writer(), g)
			r.Contracts = kept
			return r
		}
		l := run(t, begin())
		pass(2 * time.Second)
		first := l.qualify("AAPL", 0)
		if !first.OK || first.Cached {
			t.Fatalf("the answer is %+v", first)
		}
		pass(time.Hour)
		l.stop()
		l.begin(begin()) // and the gateway is mute
		pass(time.Second)
		if a := l.qualify("AAPL", 0); !a.OK || !a.Cached || !a.AsOf.Equal(first.AsOf) {
			t.Errorf("the next process answers %+v, want what was remembered at %v", a, first.AsOf)
		}
		pass(24 * time.Hour)
		wantError(t, l.qualify("AAPL", 0), events.ErrorNotReady, "")
		l.stop()
	})
}

func TestAStoreOfContractsThatDoesNotAnswerHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRunner(memlog.New().Writer(), &gateway{scripts: [][]step{then(replier(honest))}})
		r.Contracts = &shelved{stuck: true}
		l := run(t, r)
		pass(5 * time.Second)
		for i := range 400 {
			if a := l.qualify(fmt.Sprint(1+i), time.Second); !a.OK {
				t.Fatalf("contract %d is answered %+v", i, a.Error)
			}
		}
		began := time.Now()
		l.stop()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the run took %v to end", took)
		}
	})
}
