package status_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ibconn/bus"
	"ibconn/consumers/follow"
	"ibconn/consumers/status"
	"ibconn/events"
)

// written is a document that was put into a store.
type written struct {
	at         time.Time
	connection events.ConnectionID
	position   uint64
	document   []byte
}

// store is a Store that a test looks into. It keeps documents as the bucket does.
type store struct {
	mu   sync.Mutex
	puts []written
	kept map[events.ConnectionID]written
	hook func(ctx context.Context, c events.ConnectionID) error // before each put; nil for none
}

func (s *store) Put(ctx context.Context, c events.ConnectionID, position uint64, document []byte) error {
	s.mu.Lock()
	hook := s.hook
	s.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, c); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w := written{time.Now(), c, position, document}
	s.puts = append(s.puts, w)
	if s.kept == nil {
		s.kept = make(map[events.ConnectionID]written)
	}
	if s.kept[c].position <= position {
		s.kept[c] = w
	}
	return nil
}

// setHook has hook called from now on, and waits for no put that goes on.
func (s *store) setHook(hook func(context.Context, events.ConnectionID) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = hook
}

func (s *store) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.puts)
}

// holds checks that the store has the document that h amounts to.
func (s *store) holds(t *testing.T, h *history, c events.ConnectionID) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if want := documentOf(t, h, c); !bytes.Equal(s.kept[c].document, marshal(t, want)) || s.kept[c].position != want.StreamSeq {
		t.Errorf("the store has of %s, at %d:\n%s\nwant, at %d:\n%s", c, s.kept[c].position, s.kept[c].document, want.StreamSeq, marshal(t, want))
	}
}

// keeping is a Keeper at work.
type keeping struct {
	*status.Keeper
	failed []string
	cancel context.CancelCauseFunc
	ended  chan error
}

func keep(t *testing.T, log follow.Log, s status.Store) *keeping {
	ctx, cancel := context.WithCancelCause(t.Context())
	k := &keeping{cancel: cancel, ended: make(chan error, 1)}
	k.Keeper = &status.Keeper{Log: log, Store: s, Failed: func(c events.ConnectionID, err error) {
		k.failed = append(k.failed, fmt.Sprint(c, ": ", err))
	}}
	go func() { k.ended <- k.Run(ctx) }()
	return k
}

var errEnd = errors.New("the end")

// end ends the keeper, and returns how long that took.
func (k *keeping) end(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	k.cancel(errEnd)
	if err := <-k.ended; !errors.Is(err, errEnd) {
		t.Errorf("Run() = %v, want the cause of its end", err)
	}
	return time.Since(began)
}

func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestTheKeeperWritesWhatThereIsAndThenEachChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s := newHistory(t), &store{}
		h.ready("main", 1)
		h.spoil()
		h.ready("paper", 1)
		k := keep(t, h, s)
		settle(time.Second)
		s.holds(t, h, "main")
		s.holds(t, h, "paper")
		if s.count() != 2 {
			t.Errorf("%d documents were written, want one of each connection", s.count())
		}

		h.beat("main", 1)
		settle(time.Second)
		s.holds(t, h, "main")
		h.add("new", &events.EpochBegan{Instance: "test"})
		h.spoil()
		settle(time.Second)
		s.holds(t, h, "new")
		settle(time.Hour)
		if s.count() != 4 {
			t.Errorf("%d documents were written, want one more for each change", s.count())
		}
		if k.Skipped() != 2 {
			t.Errorf("Skipped() = %d, want 2", k.Skipped())
		}
		if took := k.end(t); took != 0 {
			t.Errorf("the end took %v with nothing left to write", took)
		}
		if len(k.failed) != 0 {
			t.Errorf("what failed is %q, want nothing", k.failed)
		}
	})
}

// slowly is a history that shows its first entries one a second.
type slowly struct{ *history }

func (s slowly) Read(ctx context.Context, q bus.Query) iter.Seq2[bus.Entry, error] {
	return func(yield func(bus.Entry, error) bool) {
		for e, err := range s.history.Read(ctx, q) {
			if !q.Follow {
				time.Sleep(time.Second)
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

func TestNothingIsWrittenBeforeTheHistoryWasReadToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s := newHistory(t), &store{}
		h.ready("main", 1)
		h.ready("paper", 1)
		k := keep(t, slowly{h}, s)
		settle(time.Duration(len(h.all))*time.Second - time.Millisecond)
		if s.count() != 0 {
			t.Errorf("%d documents were written before the end was read", s.count())
		}
		settle(time.Second)
		s.holds(t, h, "main")
		s.holds(t, h, "paper")
		k.end(t)
	})
}

// growing is a history that grows by a message that is no event, and an event,
// between the two looks at its end.
type growing struct{ *history }

func (g growing) Last(ctx context.Context) (uint64, error) {
	last, err := g.history.Last(ctx)
	g.spoil()
	g.beat("main", 1)
	return last, err
}

func TestWhatComesWhileTheHistoryIsReadCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s := newHistory(t), &store{}
		h.ready("main", 1)
		k := keep(t, growing{h}, s)
		settle(time.Second)
		s.holds(t, h, "main")
		if k.Skipped() != 1 || h.read() != len(h.all) {
			t.Errorf("%d messages were left out and %d entries read, want 1 and %d", k.Skipped(), h.read(), len(h.all))
		}
		k.end(t)
	})
}

func TestChangesAreWrittenTenTimesASecondAtMostTheNewestLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s := newHistory(t), &store{}
		h.ready("main", 1)
		h.ready("paper", 1)
		k := keep(t, h, s)
		for n := range uint64(3000) {
			h.beat("main", n+1)
			if n%1000 == 0 {
				h.beat("paper", n+1)
			}
			settle(time.Millisecond)
		}
		settle(time.Second)
		s.holds(t, h, "main")
		s.holds(t, h, "paper")
		last := make(map[events.ConnectionID]written)
		counts := make(map[events.ConnectionID]int)
		for _, w := range s.puts {
			if before, again := last[w.connection]; again && (w.at.Sub(before.at) < 100*time.Millisecond || w.position <= before.position) {
				t.Errorf("%s was written at position %d, %v after position %d", w.connection, w.position, w.at.Sub(before.at), before.position)
			}
			last[w.connection] = w
			counts[w.connection]++
		}
		if n := counts["main"]; n < 30 || n > 32 {
			t.Errorf("main was written %d times in 3 s, want ten a second", n)
		}
		if n := counts["paper"]; n < 3 || n > 4 {
			t.Errorf("paper was written %d times, want about once for each of its changes", n)
		}
		k.end(t)
	})
}

func TestAStoreThatBlocksDoesNotStopTheReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s := newHistory(t), &store{}
		h.ready("main", 1)
		h.ready("paper", 1)
		k := keep(t, h, s)
		settle(time.Second)
		s.setHook(func(ctx context.Context, c events.ConnectionID) error {
			if c == "main" {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		for n := range uint64(500) {
			h.beat("main", n+1)
			settle(time.Millisecond)
		}
		h.beat("paper", 1)
		settle(0)
		if got := h.read(); got != len(h.all) {
			t.Errorf("%d of %d events were read while the store blocked", got, len(h.all))
		}
		settle(6 * time.Second) // a put has 5 s
		s.holds(t, h, "paper")
		settle(time.Minute)
		if len(k.failed) != 1 || !strings.HasPrefix(k.failed[0], "main: context deadline exceeded") {
			t.Errorf("what failed is %q, want it once, of main", k.failed)
		}
		before := s.count()
		s.setHook(nil)
		settle(7 * time.Second)
		s.holds(t, h, "main")
		if n := s.count() - before; n != 1 {
			t.Errorf("%d documents were written then, want the newest alone", n)
		}
		k.end(t)
	})
}

func TestAnEndDoesNotWaitForAStoreThatBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s := newHistory(t), &store{}
		h.ready("main", 1)
		h.ready("paper", 1)
		s.setHook(func(ctx context.Context, _ events.ConnectionID) error {
			<-ctx.Done()
			return ctx.Err()
		})
		k := keep(t, h, s)
		settle(time.Millisecond)
		if took := k.end(t); took != time.Second {
			t.Errorf("the end took %v, want a second for the store", took)
		}
		if len(k.failed) != 0 {
			t.Errorf("what failed is %q, want nothing said of what was broken off", k.failed)
		}
	})
}

func TestWhatIsLeftAtTheEndIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s := newHistory(t), &store{}
		h.ready("main", 1)
		k := keep(t, h, s)
		settle(time.Millisecond)
		h.beat("main", 1)
		h.add("main", &events.Stopped{Cause: events.CauseShutdown})
		settle(time.Millisecond) // sooner than it may be written again
		k.end(t)
		s.holds(t, h, "main")
		if d := documentOf(t, h, "main"); d.Phase != events.PhaseStopped {
			t.Errorf("it is %s, want stopped", d.Phase)
		}
	})
}

func TestAStoreThatFailsIsTriedAgainAndTheNewestCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s := newHistory(t), &store{}
		h.ready("main", 1)
		away := errors.New("the bus is away")
		s.setHook(func(context.Context, events.ConnectionID) error { return away })
		k := keep(t, h, s)
		settle(10 * time.Second)
		h.beat("main", 1)
		settle(10 * time.Second)
		if want := []string{"main: the bus is away"}; fmt.Sprint(k.failed) != fmt.Sprint(want) || s.count() != 0 {
			t.Errorf("what failed is %q with %d documents written, want %q once", k.failed, s.count(), want)
		}
		s.setHook(nil)
		settle(time.Second)
		s.holds(t, h, "main")
		if s.count() != 1 {
			t.Errorf("%d documents were written, want the newest alone", s.count())
		}
		s.setHook(func(context.Context, events.ConnectionID) error { return away })
		h.beat("main", 2)
		settle(10 * time.Second)
		if len(k.failed) != 2 {
			t.Errorf("what failed is %q, want it to be said again after one was written", k.failed)
		}
		k.end(t)
	})
}

func TestAKeeperThatStartsAnewWritesTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, first, second := random(t, 5, 600), &store{}, &store{}
		k := keep(t, h, first)
		settle(time.Second)
		for n := range uint64(50) { // the second reads as history what the first followed
			h.beat("main", n+1)
			settle(30 * time.Millisecond)
		}
		settle(time.Second)
		k.end(t)
		k = keep(t, h, second)
		settle(time.Second)
		k.end(t)
		for _, c := range names(h) {
			first.holds(t, h, c)
			second.holds(t, h, c)
		}
	})
}

func TestALogThatCannotBeReadEndsTheKeeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s := newHistory(t), &store{}
		h.ready("main", 1)
		k := keep(t, h, s)
		settle(time.Second)
		h.beat("main", 1)
		broken := errors.New("broken")
		h.breakOff(broken)
		if err := <-k.ended; !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "status: ") {
			t.Errorf("Run() = %v, want what is broken", err)
		}
		s.holds(t, h, "main")
		k = keep(t, h, s)
		if err := <-k.ended; !errors.Is(err, broken) {
			t.Errorf("Run() of a broken log = %v, want what is broken", err)
		}
	})
}
