// Package logtest is the contract of a connection's log, as tests that every
// implementation must pass.
//
//	func TestLogKeepsTheContract(t *testing.T) {
//		logtest.Run(t, func(t *testing.T) logtest.Store {
//			store := memlog.New()
//			return func() logtest.Writer { return store.Writer() }
//		})
//	}
package logtest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"ibconn/events"
)

// Writer is what the connector writes to; connector.Log says what the methods
// do.
type Writer interface {
	Load(ctx context.Context) iter.Seq2[events.Recorded, error]
	LastAt(ctx context.Context) (time.Time, error)
	Mark() (events.Head, error)
	Claim(ctx context.Context, claim events.Recorded) error
	Append(ctx context.Context, r events.Recorded) error
}

// Store opens a writer on a log, of the connection [Connection], each time it
// is called.
type Store func() Writer

// Connection is the connection whose log is written.
const Connection events.ConnectionID = "main"

// Run tests the logs that open makes, each of which must be empty.
func Run(t *testing.T, open func(t *testing.T) Store) {
	for _, c := range contract {
		t.Run(c.sentence, func(t *testing.T) { c.test(t, open(t)) })
	}
}

var contract = []struct {
	sentence string
	test     func(t *testing.T, s Store)
}{
	{"AnEmptyLogHasNothing", testEmpty},
	{"EventsAreLoadedAsTheyWereWritten", testLoad},
	{"TheNewestEventMayBeAHeartbeat", testLastAt},
	{"TheMarkFollowsTheEventsThatLast", testMark},
	{"ASupersededWriterIsRefused", testSuperseded},
	{"OfTwoClaimsOneIsRefused", testTwoClaims},
	{"AClaimIsRefusedWhenAnEventCameSinceLoad", testStaleClaim},
	{"AClaimIsNotDisturbedByHeartbeats", testClaimAmongHeartbeats},
	{"ASupersededWriterMayClaimAgain", testClaimAgain},
	{"WritersFollowOneAnotherInOneChain", testSuccession},
}

// start is when the first event happens; each later one a second later.
var start = time.Date(2026, 3, 29, 0, 59, 58, 123456789, time.UTC)

// pen writes events to a log, each on the head of the one before.
type pen struct {
	t      *testing.T
	writer Writer
	author events.Author
	head   events.Head
	last   events.Recorded
}

// clock is shared by the pens of one test, so that no two events have the same
// id or time.
type clock struct{ ticks int }

func (c *clock) pen(t *testing.T, s Store, name string) *pen {
	p := &pen{t: t, writer: s()}
	p.author = events.Author{Connection: Connection, Source: "/ibconn/" + name, NewID: func() string {
		c.ticks++
		return fmt.Sprintf("%s-%d", name, c.ticks)
	}}
	return p
}

func (p *pen) next(e events.Event) events.Recorded {
	p.t.Helper()
	r, err := p.head.Next(p.author, events.Draft{Event: e}, start.Add(time.Duration(p.head.Sequence)*time.Second))
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// load reads the log, and checks that it is one chain.
func (p *pen) load() []events.Recorded {
	p.t.Helper()
	var all []events.Recorded
	p.head = events.Head{}
	for r, err := range p.writer.Load(p.t.Context()) {
		if err == nil {
			err = p.head.Follows(r)
		}
		if err != nil {
			p.t.Fatalf("Load yields %s: %v", r.ID, err)
		}
		p.head = p.head.Then(r)
		all = append(all, r)
	}
	return all
}

func (p *pen) claim() error {
	p.t.Helper()
	r := p.next(&events.EpochBegan{Instance: p.author.Source, PID: 1, Version: "1.0.0", PreviousEpoch: p.head.Epoch})
	return p.keep(r, p.writer.Claim(p.t.Context(), r))
}

func (p *pen) append(e events.Event) error {
	p.t.Helper()
	r := p.next(e)
	return p.keep(r, p.writer.Append(p.t.Context(), r))
}

func (p *pen) keep(r events.Recorded, err error) error {
	if err == nil {
		p.head, p.last = p.head.Then(r), r
	}
	return err
}

// begin loads and claims, which must succeed.
func (p *pen) begin() {
	p.t.Helper()
	p.load()
	p.must(p.claim())
}

func (p *pen) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *pen) refused(what string, err error) {
	p.t.Helper()
	if !errors.Is(err, events.ErrSuperseded) {
		p.t.Errorf("%s = %v, want %v", what, err, events.ErrSuperseded)
	}
}

// holds checks what the log yields to a writer that was just opened.
func holds(t *testing.T, s Store, want ...string) {
	t.Helper()
	reader := (&clock{}).pen(t, s, "reader")
	var got []string
	for _, r := range reader.load() {
		got = append(got, r.ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("Load yields %q, want %q", got, want)
	}
}

func notice(n int) events.Event {
	return &events.GatewayReported{Attempt: 1, RequestID: -1, Code: n, Class: events.ClassInfo, Message: "a notice"}
}

func heartbeat(n uint64) events.Event {
	return &events.HeartbeatAnswered{Attempt: 1, Number: n, SentAt: start, NextProbeAt: start, AnswerBy: start}
}

func testEmpty(t *testing.T, s Store) {
	holds(t, s)
	w := s()
	if at, err := w.LastAt(t.Context()); !at.IsZero() || err != nil {
		t.Errorf("LastAt() = %v, %v, want the zero time", at, err)
	}
	if mark, err := w.Mark(); mark != (events.Head{}) || err != nil {
		t.Errorf("Mark() = %v, %v, want the zero head", mark, err)
	}
}

func testLoad(t *testing.T, s Store) {
	a := new(clock).pen(t, s, "a")
	a.begin()
	want := []events.Recorded{a.last}
	for n := range 20 {
		a.must(a.append(notice(n)))
		want = append(want, a.last)
		a.must(a.append(heartbeat(uint64(n))))
	}
	got := new(clock).pen(t, s, "reader").load()
	if len(got) != len(want) {
		t.Fatalf("Load yields %d events, want %d", len(got), len(want))
	}
	for i := range want {
		if string(got[i].Wire) != string(want[i].Wire) {
			t.Errorf("Load yields %s, want %s", got[i].Wire, want[i].Wire)
		}
	}
}

func testLastAt(t *testing.T, s Store) {
	a := new(clock).pen(t, s, "a")
	a.begin()
	a.must(a.append(notice(1)))
	for _, e := range []events.Event{heartbeat(1), notice(2)} {
		a.must(a.append(e))
		if at, err := s().LastAt(t.Context()); !at.Equal(a.last.Time) || err != nil {
			t.Errorf("LastAt() after %s = %v, %v, want %v", e.Type(), at, err, a.last.Time)
		}
	}
}

func testMark(t *testing.T, s Store) {
	a := new(clock).pen(t, s, "a")
	a.begin()
	for _, e := range []events.Event{notice(1), heartbeat(1), notice(2), heartbeat(2)} {
		a.must(a.append(e))
		for name, w := range map[string]Writer{"its writer": a.writer, "another": s()} {
			if mark, err := w.Mark(); mark != a.head || err != nil {
				t.Errorf("Mark() of %s after %s = %v, %v, want %v", name, e.Type(), mark, err, a.head)
			}
		}
	}
}

func testSuperseded(t *testing.T, s Store) {
	var c clock
	a, b := c.pen(t, s, "a"), c.pen(t, s, "b")
	a.begin()
	b.begin()
	a.refused("Append of the older writer", a.append(notice(1)))
	a.refused("Append of its heartbeat", a.append(heartbeat(1)))
	b.must(b.append(notice(2)))
	a.refused("Append of the older writer, later", a.append(notice(3)))
	holds(t, s, "a-1", "b-2", "b-5")
	if mark, err := b.writer.Mark(); mark != b.head || err != nil {
		t.Errorf("Mark() = %v, %v, want %v", mark, err, b.head)
	}
}

func testTwoClaims(t *testing.T, s Store) {
	var c clock
	a, b := c.pen(t, s, "a"), c.pen(t, s, "b")
	a.load()
	b.load()
	a.must(a.claim())
	b.refused("the second Claim", b.claim())
	a.must(a.append(notice(1)))
	holds(t, s, "a-1", "a-3")
}

// A claim that overlooked an event would give its sequence away a second time.
func testStaleClaim(t *testing.T, s Store) {
	var c clock
	a, b := c.pen(t, s, "a"), c.pen(t, s, "b")
	a.begin()
	b.load()
	a.must(a.append(notice(1)))
	b.refused("Claim", b.claim())
	a.must(a.append(notice(2)))
	holds(t, s, "a-1", "a-2", "a-4")
	b.begin()
	a.refused("Append after the claim", a.append(notice(3)))
}

func testClaimAmongHeartbeats(t *testing.T, s Store) {
	var c clock
	a, b := c.pen(t, s, "a"), c.pen(t, s, "b")
	a.begin()
	a.must(a.append(heartbeat(1)))
	b.load()
	a.must(a.append(heartbeat(2)))
	b.must(b.claim())
	holds(t, s, "a-1", "b-4")
}

func testClaimAgain(t *testing.T, s Store) {
	var c clock
	a, b := c.pen(t, s, "a"), c.pen(t, s, "b")
	a.begin()
	b.begin()
	a.begin()
	a.must(a.append(notice(1)))
	b.refused("Append of the writer superseded in turn", b.append(notice(2)))
	holds(t, s, "a-1", "b-2", "a-3", "a-4")
}

func testSuccession(t *testing.T, s Store) {
	var c clock
	var want []string
	for generation := range 5 {
		w := c.pen(t, s, fmt.Sprintf("w%d", generation))
		w.begin()
		want = append(want, w.last.ID)
		for n := range 3 {
			w.must(w.append(notice(n)))
			want = append(want, w.last.ID)
		}
		if epoch := uint64(generation + 1); w.head.Epoch != epoch {
			t.Errorf("epoch = %d, want %d", w.head.Epoch, epoch)
		}
	}
	holds(t, s, want...)
}
