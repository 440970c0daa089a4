package dashboard_test

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"sync"
	"time"

	"ibconn/bus"
	"ibconn/consumers/dashboard"
	"ibconn/events"
)

// tale makes up a log as a test wants it, and gives each event to a model. What it
// remembers of it can be read as a log.
type tale struct {
	mu    sync.Mutex
	model *dashboard.Model
	heads map[events.ConnectionID]*events.State
	seqs  map[events.ConnectionID]uint64
	last  uint64
	keep  bool
	all   []bus.Entry
}

func newTale(keep bool) *tale {
	return &tale{model: new(dashboard.Model), heads: make(map[events.ConnectionID]*events.State), seqs: make(map[events.ConnectionID]uint64), keep: keep}
}

// tell makes an event happen. Where it says where the connection stands, that follows.
func (w *tale) tell(c events.ConnectionID, at time.Time, e events.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.heads[c]
	if s == nil {
		fresh := events.NewState(c)
		s = &fresh
		w.heads[c] = s
	}
	w.last++
	if e.Type().Kind() != events.KindHeartbeat {
		w.seqs[c]++
	}
	r := events.Recorded{ID: fmt.Sprint("e", w.last), Source: "/ibconn/test", Connection: c, Time: at, Sequence: max(w.seqs[c], 1), Epoch: 1, Event: e}
	*s = s.Apply(r)
	if stands, ok := e.(events.StateEvent); ok {
		*stands.After() = s.Standing
	}
	entry := bus.Entry{Recorded: r, StreamSeq: w.last}
	if w.keep {
		w.all = append(w.all, entry)
	}
	w.model.Add(entry)
}

func (w *tale) state(c events.ConnectionID) events.State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return *w.heads[c]
}

// Last and Read make it a follow.Log.
func (w *tale) Last(context.Context) (uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last, nil
}

func (w *tale) Read(_ context.Context, q bus.Query) iter.Seq2[bus.Entry, error] {
	return func(yield func(bus.Entry, error) bool) {
		w.mu.Lock()
		all := w.all
		w.mu.Unlock()
		for _, e := range all {
			if e.StreamSeq <= q.After || q.Connection != "" && e.Connection != q.Connection {
				continue
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// life is a connection while a tale is told.
type life struct {
	*tale
	name    events.ConnectionID
	attempt uint64
	beat    uint64
	dice    *rand.Rand
}

func (w *tale) life(name events.ConnectionID, seed uint64) *life {
	return &life{tale: w, name: name, dice: rand.New(rand.NewPCG(seed, 1))}
}

func (l *life) begin(at time.Time) {
	l.tell(l.name, at, &events.EpochBegan{Instance: "host-1", PID: 1, Version: "0.1.0"})
	l.tell(l.name, at, &events.ConnectRequested{By: events.AskerStart, RetryAt: at})
}

// open opens a session, its link proven and its farms up.
func (l *life) open(at time.Time, farms ...string) time.Time {
	l.attempt++
	l.beat = 0
	l.tell(l.name, at, &events.DialStarted{Attempt: l.attempt, Endpoint: "127.0.0.1:4002", ClientID: 17, DeadlineAt: at.Add(5 * time.Second)})
	at = at.Add(3 * time.Millisecond)
	l.tell(l.name, at, &events.GatewayReached{Attempt: l.attempt, Remote: "127.0.0.1:4002", Took: 3, DeadlineAt: at.Add(5 * time.Second)})
	at = at.Add(600 * time.Millisecond)
	l.tell(l.name, at, &events.SessionOpened{
		Attempt: l.attempt, ServerVersion: 213, ClientID: 17, Endpoint: "127.0.0.1:4002", Accounts: []string{"DU***67"}, Took: 603, RTT: 9,
		NextProbeAt: at.Add(15 * time.Second), AnswerBy: at.Add(20 * time.Second), ProbeLinkAt: at,
	})
	at = at.Add(40 * time.Millisecond)
	l.tell(l.name, at, &events.LinkProven{Attempt: l.attempt, From: events.LinkUnknown, RTT: 40})
	for _, f := range farms {
		l.farm(at, f, events.FarmUp)
	}
	return at
}

func (l *life) farm(at time.Time, name string, to events.FarmStatus) {
	f := events.Farm{Kind: events.FarmMarketData, Name: name}
	l.tell(l.name, at, &events.FarmChanged{Attempt: l.attempt, Farm: f, From: l.fromFarm(f), To: to, Code: 2104, Message: "Market data farm connection is OK:" + name})
}

func (l *life) fromFarm(f events.Farm) events.FarmStatus { return l.state(l.name).Farm(f) }

// beats lets a session's heartbeats be answered between two times.
func (l *life) beats(from, to time.Time, every time.Duration) {
	for at := from.Add(every); at.Before(to); at = at.Add(every) {
		l.beat++
		next := at.Add(every)
		if l.dice.IntN(400) == 0 {
			l.tell(l.name, at, &events.HeartbeatMissed{Attempt: l.attempt, Number: l.beat, Misses: 1, Silent: 5000, NextProbeAt: next, AnswerBy: next.Add(5 * time.Second)})
			continue
		}
		trip := 4 + 6*l.dice.ExpFloat64()
		if l.dice.IntN(150) == 0 {
			trip *= 8
		}
		l.tell(l.name, at, &events.HeartbeatAnswered{Attempt: l.attempt, Number: l.beat, SentAt: at, RTT: events.Millis(trip), NextProbeAt: next, AnswerBy: next.Add(5 * time.Second)})
	}
}

// lose ends a session and has so many attempts fail, half a minute apart.
func (l *life) lose(at time.Time, cause events.Cause, failures int) time.Time {
	l.tell(l.name, at, &events.SessionLost{Attempt: l.attempt, Cause: cause, Uptime: 3_600_000, Failures: 1, RetryAt: at, RetryIn: 0})
	for n := range failures {
		l.attempt++
		at = at.Add(time.Second)
		l.tell(l.name, at, &events.DialStarted{Attempt: l.attempt, Endpoint: "127.0.0.1:4002", ClientID: 17, DeadlineAt: at.Add(5 * time.Second)})
		at = at.Add(20 * time.Millisecond)
		next := at.Add(30 * time.Second)
		l.tell(l.name, at, &events.DialFailed{Attempt: l.attempt, Stage: events.PhaseDialing, Cause: events.CauseRefused, Took: 20, Failures: n + 2, RetryAt: next, RetryIn: 30_000})
		at = next
	}
	return at
}

func (l *life) subscribe(at time.Time, name string) {
	l.tell(l.name, at, &events.SubscriptionAdded{
		CommandID: "c-" + name, Subscription: name, Caller: "desk", Feed: events.Feed{Kind: events.SubscribeBars, Contract: events.Contract{Symbol: "AAPL", SecType: "STK"}},
	})
	l.place(at, name)
}

func (l *life) place(at time.Time, name string) {
	l.tell(l.name, at, &events.SubscriptionPlacement{Subscription: name, Attempt: l.attempt, RequestID: int64(l.last) + 1_000_000, Because: events.BecauseNew, Try: 1})
	l.tell(l.name, at.Add(300*time.Millisecond), &events.SubscriptionDelivered{Subscription: name, Attempt: l.attempt, RequestID: 1, Took: 300})
}

var farmNames = []string{"usfarm", "eufarm", "cashfarm"}

// aWeek tells a week of a connection: restarts each night, and what dice make of it.
func (l *life) aWeek(now time.Time) {
	at := now.Add(-7 * 24 * time.Hour)
	l.begin(at)
	at = l.open(at, farmNames...)
	subscriptions := []string{"aapl-bars", "eur-usd-quotes"}
	for _, s := range subscriptions {
		l.subscribe(at, s)
	}
	for at.Before(now) {
		until := at.Add(time.Duration(2+l.dice.IntN(16)) * time.Hour)
		if until.After(now) {
			l.beats(at, now, 15*time.Second)
			return
		}
		l.beats(at, until, 15*time.Second)
		at = until
		switch l.dice.IntN(5) {
		case 0:
			l.tell(l.name, at, &events.LinkWentDown{Attempt: l.attempt, Code: 1100, Message: "Connectivity between IB and Trader Workstation has been lost."})
			back := at.Add(time.Duration(1+l.dice.IntN(20)) * time.Minute)
			l.beats(at, back, 15*time.Second)
			l.tell(l.name, back, &events.LinkCameBack{Attempt: l.attempt, Code: 1102, Message: "restored - data maintained", Down: events.Between(at, back)})
			at = back
		case 1:
			for range 1 + l.dice.IntN(30) {
				l.farm(at, "usfarm", events.FarmDown)
				at = at.Add(time.Duration(1+l.dice.IntN(40)) * time.Second)
				l.farm(at, "usfarm", events.FarmUp)
				l.beats(at, at.Add(3*time.Second), 2*time.Second)
				at = at.Add(2 * time.Second)
			}
		default:
			at = l.lose(at, []events.Cause{events.CauseReset, events.CauseClosedByGateway, events.CauseHeartbeatLost}[l.dice.IntN(3)], l.dice.IntN(12))
			at = l.open(at, farmNames...)
			for _, s := range subscriptions {
				l.place(at, s)
			}
		}
	}
}
