package follow_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ibconn/bus"
	"ibconn/consumers/follow"
	"ibconn/events"
)

var _ follow.Log = (*bus.Log)(nil)

var (
	errEnd    = errors.New("the end")
	errBroken = errors.New("broken")
)

// script is a log of positions, of which every seventh is no event and every third a
// heartbeat.
type script struct {
	mu     sync.Mutex
	end    uint64
	more   chan struct{} // closed and replaced when it grew
	broken error         // of what is read next
	lost   error         // of Last
	grows  int           // by so many it grows with each that is read of the past
}

func newScript(end uint64) *script { return &script{end: end, more: make(chan struct{})} }

func (s *script) grow(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end += n
	close(s.more)
	s.more = make(chan struct{})
}

func (s *script) now() (end uint64, more chan struct{}, broken error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end, s.more, s.broken
}

func (s *script) Last(context.Context) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end, s.lost
}

func kindAt(position uint64) events.Kind {
	if position%3 == 0 {
		return events.KindHeartbeat
	}
	return events.KindState
}

func noEvent(position uint64) bool { return position%7 == 0 }

func (s *script) Read(ctx context.Context, q bus.Query) iter.Seq2[bus.Entry, error] {
	return func(yield func(bus.Entry, error) bool) {
		last, _, _ := s.now()
		for position := q.After + 1; ; position++ {
			end, more, broken := s.now()
			switch {
			case broken != nil:
				yield(bus.Entry{}, broken)
				return
			case !q.Follow && position > last:
				return
			case position > end:
				select {
				case <-ctx.Done():
					return
				case <-more:
				}
			}
			if q.Kinds != nil && !slices.Contains(q.Kinds, kindAt(position)) {
				continue
			}
			e, err := bus.Entry{StreamSeq: position}, error(nil)
			if noEvent(position) {
				e, err = bus.Entry{}, &bus.UndecodableError{StreamSeq: position, Err: events.ErrMalformed}
			}
			if !yield(e, err) {
				return
			}
			if !q.Follow && s.grows > 0 {
				s.grows--
				s.grow(1)
			}
		}
	}
}

// notes is a Fold that notes what it is given.
type notes struct {
	mu    sync.Mutex
	lines []string
}

func (n *notes) note(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, fmt.Sprintf(format, args...))
}

func (n *notes) Add(e bus.Entry)      { n.note("%d", e.StreamSeq) }
func (n *notes) Skip(position uint64) { n.note("(%d)", position) }

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.lines, " ")
}

func TestEachEventComesOnceAndTheEndOfThePastIsSaid(t *testing.T) {
	for _, tt := range []struct {
		name        string
		past, kinds []events.Kind
		want        string
	}{
		{"all", nil, nil, "1 2 3 4 5 6 (7) 8 caught 9 10 11 12 13 (14) 15"},
		{"no heartbeats of the past", []events.Kind{events.KindState}, nil, "1 2 4 5 (7) 8 caught 9 10 11 12 13 (14) 15"},
		{"no heartbeats", []events.Kind{events.KindState}, []events.Kind{events.KindState}, "1 2 4 5 (7) 8 caught 10 11 13 (14)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, n := newScript(8), &notes{}
				log.grows = 4 // while the past is read
				ctx, cancel := context.WithCancelCause(t.Context())
				over := make(chan error, 1)
				go func() {
					over <- follow.Run(ctx, follow.Reading{
						Log: log, Past: tt.past, Kinds: tt.kinds, Skip: n.Skip,
						Add:    func(e bus.Entry) error { n.Add(e); return nil },
						Caught: func() error { n.note("caught"); return nil },
					})
				}()
				synctest.Wait()
				log.grow(3)
				synctest.Wait()
				if got := n.String(); got != tt.want {
					t.Errorf("came %s\nwant %s", got, tt.want)
				}
				cancel(errEnd)
				if err := <-over; !errors.Is(err, errEnd) {
					t.Errorf("Run() = %v, want the cause of its end", err)
				}
			})
		})
	}
}

func TestWhatEndsAReading(t *testing.T) {
	take := func(bus.Entry) error { return nil }
	for _, tt := range []struct {
		name string
		r    follow.Reading
	}{
		{"a log that cannot be read", follow.Reading{Log: &script{end: 3, broken: errBroken}, Add: take}},
		{"a log that does not say where it ends", follow.Reading{Log: &script{lost: errBroken}, Add: take}},
		{"an event that cannot be taken", follow.Reading{Log: newScript(3), Add: func(bus.Entry) error { return errBroken }}},
		{"a consumer that cannot begin", follow.Reading{Log: newScript(3), Add: take, Caught: func() error { return errBroken }}},
	} {
		if err := follow.Run(t.Context(), tt.r); !errors.Is(err, errBroken) {
			t.Errorf("%s: Run() = %v", tt.name, err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		log := newScript(3)
		over := make(chan error, 1)
		go func() { over <- follow.Run(t.Context(), follow.Reading{Log: log, Add: take}) }()
		synctest.Wait()
		log.mu.Lock()
		log.broken = errBroken
		log.mu.Unlock()
		log.grow(2)
		<-time.After(time.Second)
		if err := <-over; !errors.Is(err, errBroken) {
			t.Errorf("Run() = %v of a log that broke later", err)
		}
	})
	over, cancel := context.WithCancelCause(t.Context())
	cancel(errEnd)
	if err := follow.Run(over, follow.Reading{Log: newScript(3), Add: take, Caught: func() error {
		t.Error("the past is said to be read when it was not")
		return nil
	}}); !errors.Is(err, errEnd) {
		t.Errorf("Run() = %v after the end, want its cause", err)
	}
	if err := follow.Run(t.Context(), follow.Reading{Log: ended{newScript(3)}, Add: take}); fmt.Sprint(err) != "the log ended" {
		t.Errorf("Run() = %v of a log that ended", err)
	}
}

// ended is a log that does not go on.
type ended struct{ *script }

func (l ended) Read(ctx context.Context, q bus.Query) iter.Seq2[bus.Entry, error] {
	q.Follow = false
	return l.script.Read(ctx, q)
}

func TestOneReadingServesSeveralFolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, a, b, ends := newScript(8), &notes{}, &notes{}, &notes{}
		r := &follow.Reader{Log: log, Folds: []follow.Fold{a, b}, Ends: func(end uint64) { ends.note("%d", end) }}
		ctx, cancel := context.WithCancelCause(t.Context())
		over := make(chan error, 1)
		select {
		case <-r.Caught():
			t.Error("it has caught up before it began")
		default:
		}
		go func() { over <- r.Run(ctx) }()
		<-r.Caught()
		synctest.Wait()
		log.grow(2)
		time.Sleep(6 * time.Second)
		log.mu.Lock()
		log.lost = errBroken
		log.mu.Unlock()
		time.Sleep(5 * time.Second)
		if want := "1 2 3 4 5 6 (7) 8 9 10"; a.String() != want || b.String() != want {
			t.Errorf("came %s and %s, want %s", a, b, want)
		}
		if got := ends.String(); got != "8 10" {
			t.Errorf("the log is said to end at %s, want 8 10, and nothing while that cannot be known", got)
		}
		cancel(errEnd)
		if err := <-over; !errors.Is(err, errEnd) {
			t.Errorf("Run() = %v, want the cause of its end", err)
		}
	})
	r := &follow.Reader{Log: &script{broken: errBroken}}
	if err := r.Run(t.Context()); !errors.Is(err, errBroken) || !strings.HasPrefix(err.Error(), "follow: ") {
		t.Errorf("Run() = %v", err)
	}
}
