package status_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"ibconn/bus"
	"ibconn/events"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// history is a log that a test writes, for several connections. Its clock is a
// second later with each event, and may be set.
type history struct {
	t       testing.TB
	clock   time.Time
	entries int // with an author's own ids

	mu    sync.Mutex
	all   []bus.Entry // one without an event is a message that is none
	heads map[events.ConnectionID]events.Head
	news  chan struct{} // closed and replaced when the log grows
	fail  error         // what reading says from now on
	reads int           // events and messages that were yielded
}

func newHistory(t testing.TB) *history {
	return &history{t: t, clock: began, heads: make(map[events.ConnectionID]events.Head), news: make(chan struct{})}
}

// add appends an event of c.
func (h *history) add(c events.ConnectionID, e events.Event) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.entries++
	h.clock = h.clock.Add(time.Second)
	author := events.Author{Connection: c, Source: "/ibconn/test", NewID: func() string { return fmt.Sprint("e", h.entries) }}
	r, err := h.heads[c].Next(author, events.Draft{Event: e}, h.clock)
	if err != nil {
		h.t.Fatal(err)
	}
	h.heads[c] = h.heads[c].Then(r)
	h.put(bus.Entry{Recorded: r})
}

// spoil appends a message that is no event.
func (h *history) spoil() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.put(bus.Entry{})
}

// breakOff has reading fail from now on.
func (h *history) breakOff(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fail = err
	h.grew()
}

// put leaves a place between any two entries, as expired heartbeats do.
func (h *history) put(e bus.Entry) {
	e.StreamSeq = uint64(2*len(h.all) + 2)
	h.all = append(h.all, e)
	h.grew()
}

func (h *history) grew() {
	close(h.news)
	h.news = make(chan struct{})
}

// Last returns where the log ends.
func (h *history) Last(context.Context) (uint64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return uint64(2*len(h.all) + 1), h.fail
}

// Read yields what q selects, as the log of package bus does.
func (h *history) Read(ctx context.Context, q bus.Query) iter.Seq2[bus.Entry, error] {
	return func(yield func(bus.Entry, error) bool) {
		if q.Kinds != nil || q.Connection != "" {
			h.t.Errorf("the log is read with %+v, want all of it", q)
		}
		for next := 0; ; {
			h.mu.Lock()
			all, news, fail := h.all, h.news, h.fail
			h.mu.Unlock()
			for ; next < len(all); next++ {
				e := all[next]
				var err error
				switch {
				case e.StreamSeq <= q.After:
					continue
				case e.Event == nil:
					err = &bus.UndecodableError{StreamSeq: e.StreamSeq, Subject: "ib.log.main.state", Err: errors.New("nonsense")}
				}
				h.mu.Lock()
				h.reads++
				h.mu.Unlock()
				if ctx.Err() != nil || !yield(e, err) {
					return
				}
			}
			if fail != nil {
				yield(bus.Entry{}, fail)
				return
			}
			if !q.Follow {
				return
			}
			select {
			case <-news:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (h *history) read() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.reads
}

// ready has what makes a connection ready, for the attempt of a number.
func (h *history) ready(c events.ConnectionID, attempt uint64) {
	h.t.Helper()
	if attempt == 1 {
		h.add(c, &events.EpochBegan{Instance: "test", PID: 1, Version: "1.0.0"})
		h.add(c, &events.ConnectRequested{By: events.AskerStart, RetryAt: h.clock})
	}
	h.add(c, &events.DialStarted{Attempt: attempt, Endpoint: "127.0.0.1:4002", ClientID: 17, DeadlineAt: h.clock.Add(5 * time.Second)})
	h.add(c, &events.GatewayReached{Attempt: attempt, Remote: "127.0.0.1:4002", Took: 0.5, DeadlineAt: h.clock.Add(10 * time.Second)})
	h.add(c, &events.GatewayGreeted{Attempt: attempt, ServerVersion: 203, Took: 3, DeadlineAt: h.clock.Add(15 * time.Second)})
	h.add(c, &events.SessionOpened{
		Attempt: attempt, ServerVersion: 203, ClientID: 17, Endpoint: "127.0.0.1:4002", Accounts: []string{events.MaskAccounts("DU1234567")},
		NextValidID: 1, Took: 200, RTT: 2, Skew: -300, NextProbeAt: h.clock.Add(15 * time.Second), AnswerBy: h.clock.Add(20 * time.Second), ProbeLinkAt: h.clock,
	})
	h.add(c, &events.LinkProven{Attempt: attempt, From: events.LinkUnknown, RTT: 40})
}

// beat appends an answered heartbeat.
func (h *history) beat(c events.ConnectionID, n uint64) {
	h.t.Helper()
	h.add(c, &events.HeartbeatAnswered{Attempt: 1, Number: n, SentAt: h.clock, RTT: 1.5, Skew: 2, NextProbeAt: h.clock.Add(15 * time.Second), AnswerBy: h.clock.Add(20 * time.Second)})
}

// subscribe has a connection want bars under a name.
func (h *history) subscribe(c events.ConnectionID, name string) {
	h.t.Helper()
	contract := events.Contract{ConID: 265598, Symbol: "AAPL", SecType: "STK", Exchange: "SMART", Currency: "USD"}
	h.add(c, &events.SubscriptionAdded{
		CommandID: "sub-" + name, Subscription: name, Caller: "default", Asked: contract,
		Feed: events.Feed{Kind: events.SubscribeBars, Contract: contract, What: "TRADES"},
	})
}

// fold returns the state of c after what entries has of it, made with no code of
// ours but Apply; and the last of these entries.
func fold(entries []bus.Entry, c events.ConnectionID) (events.State, bus.Entry) {
	s, last := events.NewState(c), bus.Entry{}
	for _, e := range entries {
		if e.Event != nil && e.Connection == c {
			s, last = s.Apply(e.Recorded), e
		}
	}
	return s, last
}

// everyEvent has an event of each stored form.
func everyEvent(t testing.TB) []events.Event {
	t.Helper()
	files, err := filepath.Glob("../../events/testdata/wire/*.json")
	if err != nil || len(files) < len(events.Types()) {
		t.Fatalf("found %d stored forms, %v", len(files), err)
	}
	var all []events.Event
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r, err := events.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r.Event)
	}
	return all
}

// random makes a history of n events of every kind in no sensible order, of
// several connections, with messages that are none, and a clock that is set now
// and then.
func random(t testing.TB, seed uint64, n int) *history {
	t.Helper()
	dice := rand.New(rand.NewPCG(seed, 7))
	h, every := newHistory(t), everyEvent(t)
	names := []events.ConnectionID{"main", "paper", "feed-20"}
	for _, c := range names {
		h.add(c, &events.EpochBegan{Instance: "test", PID: 1, Version: "1.0.0"})
	}
	for range n {
		switch c := names[dice.IntN(len(names))]; dice.IntN(20) {
		case 0:
			h.spoil()
		case 1:
			h.clock = h.clock.Add(time.Duration(dice.IntN(600)-300) * time.Second)
		case 2:
			h.clock = h.clock.Add(-time.Second) // the next has the same time
		case 3, 4:
			h.subscribe(c, fmt.Sprint("s", dice.IntN(10)))
		default:
			h.add(c, every[dice.IntN(len(every))])
		}
	}
	return h
}

func names(h *history) []events.ConnectionID {
	var all []events.ConnectionID
	for _, e := range h.all {
		if e.Event != nil && !slices.Contains(all, e.Connection) {
			all = append(all, e.Connection)
		}
	}
	slices.Sort(all)
	return all
}
