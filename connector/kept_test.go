package connector

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

// memoryStore keeps ledgers in memory.
type memoryStore struct {
	mu     sync.Mutex
	kept   map[string][]byte
	broken bool
}

var errBroken = errors.New("the store is broken")

func (m *memoryStore) LoadLedger(_ context.Context, gateway string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken {
		return nil, errBroken
	}
	return m.kept[gateway], nil
}

func (m *memoryStore) SaveLedger(_ context.Context, gateway string, kept []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken {
		return errBroken
	}
	if m.kept == nil {
		m.kept = make(map[string][]byte)
	}
	m.kept[gateway] = kept
	return nil
}

func (m *memoryStore) breaks(broken bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = broken
}

// handClock is a clock of which only what matters is set.
type handClock struct {
	wall   time.Time
	passed time.Duration
}

func (c *handClock) Now() (time.Time, time.Duration) { return c.wall, c.passed }

func (c *handClock) Timer(time.Duration) (<-chan time.Time, func()) { return nil, func() {} }

func (c *handClock) pass(d time.Duration) { c.wall, c.passed = c.wall.Add(d), c.passed+d }

// open is the ledger of a new process.
func (m *memoryStore) open(c Clock) *Ledger {
	l := (&Ledgers{Store: m}).For("127.0.0.1:4002")
	l.reached(c)
	return l
}

func small(i int) *slot {
	return &slot{same: fmt.Sprint(i), series: fmt.Sprint(i), weight: 1, small: true}
}

// goes lets as many go as may.
func goes(t *testing.T, l *Ledger, now time.Duration, first int) (n int) {
	t.Helper()
	for ; n < 100; n++ {
		s := small(first + n)
		if _, ok := l.take(s, now); !ok {
			return n
		}
		l.sent(s, now)
		l.answered(s, now)
	}
	t.Fatal("there is no limit")
	return n
}

func TestTheNextProcessKnowsWhatLeft(t *testing.T) {
	store := new(memoryStore)
	c := &handClock{noon, time.Hour}
	l := store.open(c)
	if n := goes(t, l, c.passed, 0); n != quotaMost-quotaBegun {
		t.Fatalf("where nothing was stored, %d go at once, want half", n)
	}
	c.pass(quotaWithin)
	if n := goes(t, l, c.passed, 100); n != quotaMost {
		t.Fatalf("later %d go, want %d", n, quotaMost)
	}
	c.pass(5 * time.Minute)
	next := &handClock{c.wall.Add(time.Minute), -7 * time.Second} // another process' clock
	l = store.open(next)
	if n := goes(t, l, next.passed, 200); n != 0 {
		t.Errorf("the next process lets %d go at once, want none", n)
	}
	wait, _ := l.take(small(0), next.passed)
	if want := quotaWithin - 6*time.Minute; wait != want {
		t.Errorf("it has to wait %v, want %v", wait, want)
	}
	next.pass(wait)
	if n := goes(t, l, next.passed, 300); n != quotaMost {
		t.Errorf("after that %d go, want %d", n, quotaMost)
	}
	if other := (&Ledgers{Store: store}).For("10.0.0.1:4002"); goes(t, reachedBy(other, next), next.passed, 0) != quotaMost-quotaBegun {
		t.Error("another gateway's ledger is not its own")
	}
}

func reachedBy(l *Ledger, c Clock) *Ledger {
	l.reached(c)
	return l
}

func TestARequestOfWhichNothingIsKnownLeftAtTheLastMoment(t *testing.T) {
	store := new(memoryStore)
	c := &handClock{noon, 0}
	if _, ok := store.open(c).take(small(1), c.passed); !ok {
		t.Fatal("the first may not go")
	}
	next := &handClock{noon.Add(time.Hour), 0}
	l := store.open(next)
	if wait, ok := l.take(small(1), next.passed); ok || wait != identicalWithin {
		t.Errorf("the same in the next process waits %v, want %v: the process before may have sent it until it ended", wait, identicalWithin)
	}
}

func TestAClockThatWasSetBackMakesNothingYoungerThanNow(t *testing.T) {
	store := new(memoryStore)
	c := &handClock{noon, 0}
	l := store.open(c)
	s := small(1)
	l.take(s, 0)
	l.sent(s, 0)
	next := &handClock{noon.Add(-24 * time.Hour), 0}
	l = store.open(next)
	if wait, ok := l.take(small(1), next.passed); ok || wait != identicalWithin {
		t.Errorf("the same waits %v, want %v", wait, identicalWithin)
	}
	// A clock that is set while the process runs: what is stored then has the new
	// times.
	next.wall = noon.Add(time.Hour)
	next.passed = 10 * time.Second
	s = small(2)
	l.take(s, next.passed)
	l.sent(s, next.passed)
	last := &handClock{noon.Add(time.Hour + time.Second), 0}
	if wait, _ := store.open(last).take(small(1), 0); wait != identicalWithin-11*time.Second {
		t.Errorf("the first again waits %v, want %v", wait, identicalWithin-11*time.Second)
	}
}

func TestNothingGoesThatTheStoreDoesNotTake(t *testing.T) {
	store := new(memoryStore)
	c := &handClock{noon, 0}
	l := store.open(c)
	store.breaks(true)
	if wait, ok := l.take(small(1), 0); ok || wait != askAgain || l.open != 0 {
		t.Errorf("with a broken store it waits %v (%v), and %d are open, want it to ask again", wait, ok, l.open)
	}
	if _, ok := l.take(&slot{}, 0); !ok {
		t.Error("large bars, which no rule counts, do not go")
	}
	store.breaks(false)
	if _, ok := l.take(small(1), 0); !ok {
		t.Error("when the store is whole again it does not go")
	}

	store.breaks(true)
	l = store.open(c)
	if _, ok := l.take(small(2), c.passed); ok || l.barsAt(c.passed) <= c.passed {
		t.Error("something goes before the store was read")
	}
	l.tookBars(c.passed)
	store.breaks(false)
	c.pass(readAgain)
	if wait, ok := l.take(small(1), c.passed); ok || wait <= 0 {
		t.Error("the same goes though the store says that it went")
	}
	if _, ok := l.take(small(2), c.passed); !ok {
		t.Error("another does not go once the store was read")
	}
}

func TestRealTimeBarsAreCounted(t *testing.T) {
	store := new(memoryStore)
	c := &handClock{noon, 0}
	l := store.open(c)
	n := 0
	for ; l.barsAt(c.passed) == c.passed && n < 100; n++ {
		l.tookBars(c.passed)
		c.pass(time.Second)
	}
	if n != barsMost-barsBegun {
		t.Errorf("%d go at first, want %d", n, barsMost-barsBegun)
	}
	if at := l.barsAt(c.passed); at != barsWithin {
		t.Errorf("the next goes at %v, want %v", at, barsWithin)
	}
	next := &handClock{c.wall, time.Hour}
	if at := store.open(next).barsAt(next.passed); at != time.Hour+barsWithin-time.Duration(n)*time.Second {
		t.Errorf("in the next process it goes at %v", at)
	}
	c.pass(2 * barsWithin)
	var sent []time.Duration
	for range 500 {
		c.passed = l.barsAt(c.passed)
		l.tookBars(c.passed)
		sent = append(sent, c.passed)
		if n := len(sent); n > 60 && sent[n-1]-sent[n-61] < 10*time.Minute {
			t.Fatal("61 went within 10 minutes")
		}
	}
}

func TestAGatewayThatComplainsIsLeftAlone(t *testing.T) {
	store := new(memoryStore)
	c := &handClock{noon, time.Hour}
	l := store.open(c)
	for i, want := range []time.Duration{time.Minute, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, holdMost, holdMost, time.Minute} {
		switch i {
		case 1: // of one that was under way
		case 7:
			c.pass(2 * holdMost)
		default:
			c.passed = l.held(c.passed)
		}
		if got := l.violated(c.passed) - c.passed; got != want {
			t.Errorf("complaint %d holds it for %v, want %v", i, got, want)
		}
		if wait, ok := l.take(small(i), c.passed); ok || wait < want {
			t.Errorf("after complaint %d a query waits %v, want %v", i, wait, want)
		}
	}
	if _, ok := l.take(&slot{}, c.passed); !ok {
		t.Error("large bars are held too")
	}
	next := &handClock{noon.Add(c.passed - time.Hour).Add(20 * time.Second), 0}
	c.wall = next.wall.Add(-20 * time.Second)
	l.save()
	if at := store.open(next).barsAt(0); at != 40*time.Second {
		t.Errorf("in the next process something goes at %v, want 40s", at)
	}
}

func FuzzStoredLedger(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `null`, `{"requests":[{"same":"a","series":"b","weight":2,"at":"2026-11-20T11:59:50Z","left":true}],"bars":["2026-11-20T11:00:00Z"],"held_until":"2027-01-01T00:00:00Z"}`,
		`{"requests":[{"weight":-9}],"bars":[null]}`, `{"bars":["9999-01-01T00:00:00Z"]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, stored []byte) {
		store := &memoryStore{kept: map[string][]byte{"127.0.0.1:4002": stored}}
		c := &handClock{noon, time.Hour}
		l := store.open(c)
		if len(l.slots) > maxKept || len(l.bars) > maxKept {
			t.Errorf("%d and %d requests are taken from it", len(l.slots), len(l.bars))
		}
		for _, s := range l.slots {
			if s.at > c.passed {
				t.Errorf("a request is of %v, which is to come", s.at-c.passed)
			}
		}
		if at := l.barsAt(c.passed); at < c.passed || at > c.passed+barsWithin {
			t.Errorf("bars go in %v, want %v at most", at-c.passed, barsWithin)
		}
		c.pass(barsWithin)
		if n := goes(t, l, c.passed, 0); n != quotaMost {
			t.Errorf("later %d go, want %d", n, quotaMost)
		}
	})
}
