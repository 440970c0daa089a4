package pool_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ibconn/bus"
	"ibconn/consumers/pool"
	"ibconn/events"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// history is a log that a test writes, for several connections.
type history struct {
	t     testing.TB
	mu    sync.Mutex
	all   []bus.Entry
	heads map[events.ConnectionID]events.Head
	news  chan struct{} // closed and replaced when the log grows
	fail  error         // what reading says from now on
}

func newHistory(t testing.TB) *history {
	return &history{t: t, heads: make(map[events.ConnectionID]events.Head), news: make(chan struct{})}
}

// add appends an event of c, a second after the one before.
func (h *history) add(c events.ConnectionID, e events.Event) events.Recorded {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.all) + 1
	author := events.Author{Connection: c, Source: "/ibconn/test", NewID: func() string { return fmt.Sprint("e", n) }}
	r, err := h.heads[c].Next(author, events.Draft{Event: e}, began.Add(time.Duration(n)*time.Second))
	if err != nil {
		h.t.Fatal(err)
	}
	h.heads[c] = h.heads[c].Then(r)
	h.all = append(h.all, bus.Entry{Recorded: r, StreamSeq: uint64(n)})
	h.grew()
	return r
}

func (h *history) grew() {
	close(h.news)
	h.news = make(chan struct{})
}

// say appends the events that a word stands for.
func (h *history) say(c events.ConnectionID, word string) {
	h.t.Helper()
	at := began.Add(time.Hour)
	switch word {
	case "claim":
		h.add(c, &events.EpochBegan{Instance: "test"})
	case "want":
		h.add(c, &events.ConnectRequested{By: events.AskerStart, RetryAt: at})
	case "dial":
		h.add(c, &events.DialStarted{Attempt: 1, Endpoint: "h:1", DeadlineAt: at})
	case "fail":
		h.add(c, &events.DialFailed{Attempt: 1, Stage: events.PhaseDialing, Cause: events.CauseRefused, Failures: 1, RetryAt: at})
	case "open":
		h.add(c, &events.SessionOpened{Attempt: 1, NextProbeAt: at, AnswerBy: at})
	case "lose":
		h.add(c, &events.SessionLost{Attempt: 1, Cause: events.CauseReset, Failures: 1, RetryAt: at})
	case "stale":
		h.add(c, &events.SessionStale{Attempt: 1, Misses: 1})
	case "unlink":
		h.add(c, &events.LinkWentDown{Attempt: 1, Code: 1100})
	case "beat":
		h.add(c, &events.HeartbeatAnswered{Attempt: 1, Number: 1, NextProbeAt: at, AnswerBy: at})
	case "disconnect":
		h.add(c, &events.Stopped{Cause: events.CauseAskedFor})
	case "end":
		h.add(c, &events.Stopped{Cause: events.CauseShutdown})
	default:
		h.t.Fatalf("no event is called %q", word)
	}
}

// Last returns where the log ends.
func (h *history) Last(context.Context) (uint64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return uint64(len(h.all)), h.fail
}

// Read yields what q selects, as the log of package bus does.
func (h *history) Read(ctx context.Context, q bus.Query) iter.Seq2[bus.Entry, error] {
	return func(yield func(bus.Entry, error) bool) {
		for next := q.After; ; {
			h.mu.Lock()
			all, news, fail := h.all, h.news, h.fail
			h.mu.Unlock()
			for ; next < uint64(len(all)); next++ {
				e := all[next]
				kind := e.Event.Type().Kind()
				wanted := false
				for _, k := range q.Kinds {
					wanted = wanted || k == kind
				}
				if wanted && !yield(e, nil) {
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

// states folds what there is of connections.
func (h *history) states(names ...events.ConnectionID) []events.State {
	var all []events.State
	for _, c := range names {
		s := events.NewState(c)
		for _, e := range h.all {
			if e.Connection == c {
				s = s.Apply(e.Recorded)
			}
		}
		all = append(all, s)
	}
	return all
}

func TestAPoolIsWhatItsMembersAre(t *testing.T) {
	const ready = "claim want dial open"
	for _, test := range []struct {
		name    string
		members []string // what happened to each
		want    string   // condition, ready and healthy of wanted of all
		reasons string
	}{
		{"nothing happened yet", []string{"", ""}, "stopped 0 0 of 2 of 2", "m1 session idle, m2 session idle"},
		{"all healthy", []string{ready, ready, ready}, "healthy 3 3 of 3 of 3", ""},
		{"one of one", []string{ready}, "healthy 1 1 of 1 of 1", ""},
		{"one is dialing", []string{ready, "claim want dial"}, "degraded 1 1 of 2 of 2", "m2 session dialing"},
		{"one is not begun", []string{ready, ""}, "degraded 1 1 of 2 of 2", "m2 session idle"},
		{"one was lost", []string{ready + " lose", ready}, "degraded 1 1 of 2 of 2", "m1 session waiting"},
		{"one is degraded", []string{ready, ready + " unlink"}, "degraded 2 1 of 2 of 2", "m2 link down"},
		{"all are degraded", []string{ready + " unlink", ready + " stale"}, "degraded 2 0 of 2 of 2", "m1 link down, m2 session stale"},
		{"one for two reasons", []string{ready, ready + " stale unlink"}, "degraded 2 1 of 2 of 2", "m2 session stale, m2 link down"},
		{"all down", []string{ready + " lose", "claim want dial fail"}, "down 0 0 of 2 of 2", "m1 session waiting, m2 session waiting"},
		{"one down, one not begun", []string{"claim want dial", ""}, "down 0 0 of 2 of 2", "m1 session dialing, m2 session idle"},
		{"one down, one disconnected", []string{ready + " lose", ready + " disconnect"}, "down 0 0 of 1 of 2", "m1 session waiting"},
		{"one disconnected, the others healthy", []string{ready, ready + " disconnect", ready}, "healthy 2 2 of 2 of 3", ""},
		{"one disconnected, one degraded", []string{ready + " unlink", ready + " disconnect"}, "degraded 1 0 of 1 of 2", "m1 link down"},
		{"one whose process ended", []string{ready, ready + " end"}, "degraded 1 1 of 2 of 2", "m2 session stopped"},
		{"all disconnected", []string{ready + " disconnect", ready + " disconnect"}, "stopped 0 0 of 0 of 2", "m1 session stopped, m2 session stopped"},
		{"all ended", []string{ready + " end", ready + " end"}, "stopped 0 0 of 2 of 2", "m1 session stopped, m2 session stopped"},
		{"disconnected and ended", []string{ready + " end", ready + " disconnect"}, "stopped 0 0 of 1 of 2", "m1 session stopped, m2 session stopped"},
		{"wanted again", []string{ready + " disconnect want dial"}, "down 0 0 of 1 of 1", "m1 session dialing"},
		{"nobody", nil, "stopped 0 0 of 0 of 0", ""},
	} {
		h := newHistory(t)
		var names []events.ConnectionID
		for i, words := range test.members {
			names = append(names, events.ConnectionID(fmt.Sprintf("m%d", i+1)))
			for word := range strings.FieldsSeq(words) {
				h.say(names[i], word)
			}
		}
		p := pool.Stand("main", h.states(names...))
		var reasons []string
		for _, r := range p.Reasons {
			reasons = append(reasons, fmt.Sprint(r.Connection, " ", r.Level, " ", r.What))
		}
		if got := fmt.Sprintf("%s %d %d of %d of %d", p.Condition, p.Ready, p.Healthy, p.Wanted, p.Of); got != test.want || strings.Join(reasons, ", ") != test.reasons {
			t.Errorf("%s: Stand() = %s because of %q, want %s because of %q", test.name, got, reasons, test.want, test.reasons)
		}
		if p.Name != "main" || len(p.Members) != len(names) || p.Reasons == nil {
			t.Errorf("%s: Stand() = %+v, want its name, every member, and a list of reasons", test.name, p)
		}
		if n := len(h.all); n > 0 && !p.AsOf.Equal(h.all[n-1].Time) {
			t.Errorf("%s: Stand() is as of %v, want the newest event's %v", test.name, p.AsOf, h.all[n-1].Time)
		}
	}
}

// watching is a Watcher at work.
type watching struct {
	*pool.Watcher
	published []string
	refuse    error // what publishing says
	ended     chan error
}

func watch(ctx context.Context, h *history) *watching {
	w := &watching{ended: make(chan error, 1)}
	w.Watcher = &pool.Watcher{
		Name: "main", Members: []events.ConnectionID{"m1", "m2"}, Log: h, Version: "1.2.3",
		Publish: func(subject string, data []byte) error {
			var p events.Pool
			if err := json.Unmarshal(data, &p); err != nil {
				return err
			}
			if w.refuse != nil {
				return w.refuse
			}
			w.published = append(w.published, fmt.Sprintf("%s %s %d/%d", subject, p.Condition, p.Healthy, p.Of))
			return nil
		},
	}
	go func() { w.ended <- w.Run(ctx) }()
	return w
}

func (w *watching) said(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := strings.Join(w.published, ", "); got != strings.Join(want, ", ") {
		t.Errorf("published were %q, want %q", w.published, want)
	}
	w.published = nil
}

func (w *watching) status(t *testing.T) events.Answer {
	t.Helper()
	a := w.Handle(t.Context(), events.VerbStatus, events.Request{}, nil)
	if !a.OK || a.Pool == nil || a.State != nil || a.Connection != "main" || a.Version != "1.2.3" || a.AsOf.IsZero() {
		t.Fatalf("status answers %+v, want the pool main", a)
	}
	return a
}

func TestWhatHappenedBeforeIsFoldedAndEachChangeAfterItPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory(t)
		for word := range strings.FieldsSeq("claim want dial open lose dial open") {
			h.say("m1", word)
		}
		h.say("other", "claim")
		ctx, cancel := context.WithCancelCause(t.Context())
		w := watch(ctx, h)
		w.said(t, "ib.pool.main degraded 1/2")
		if p := w.status(t).Pool; p.Condition != events.ConditionDegraded || p.Ready != 1 {
			t.Errorf("status answers %+v, want it degraded with one ready", p)
		}

		h.say("m2", "claim") // changes nothing of the standing
		h.say("other", "want")
		h.say("m1", "beat")
		w.said(t)
		for _, word := range []string{"want", "dial"} {
			h.say("m2", word)
		}
		w.said(t, "ib.pool.main degraded 1/2", "ib.pool.main degraded 1/2") // another reason each
		h.say("m2", "open")
		w.said(t, "ib.pool.main healthy 2/2")
		h.say("m1", "disconnect")
		w.said(t, "ib.pool.main healthy 1/2")
		h.say("m2", "lose")
		w.said(t, "ib.pool.main down 0/2")
		if p := w.status(t).Pool; p.Condition != events.ConditionDown || p.Wanted != 1 || len(p.Reasons) != 1 || p.Reasons[0].Connection != "m2" {
			t.Errorf("status answers %+v, want it down because of m2", p)
		}

		ending := errors.New("the end")
		cancel(ending)
		if err := <-w.ended; !errors.Is(err, ending) {
			t.Errorf("Run() = %v, want the cause of its end", err)
		}
		if a := w.Handle(t.Context(), events.VerbStatus, events.Request{}, nil); !a.OK {
			t.Errorf("after the end status answers %+v, want the last standing", a)
		}
	})
}

func TestAChangeThatCouldNotBePublishedGoesOutWithTheNextEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory(t)
		ctx, cancel := context.WithCancel(t.Context())
		w := watch(ctx, h)
		w.said(t, "ib.pool.main stopped 0/2")
		w.refuse = errors.New("the bus is away")
		h.say("m1", "claim")
		h.say("m1", "want")
		w.said(t)
		w.refuse = nil
		h.say("m1", "claim") // changes nothing by itself
		w.said(t, "ib.pool.main down 0/2")
		cancel()
		<-w.ended
	})
}

func TestOnlyStatusIsTakenForAPoolAndOnlyOnceItIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &pool.Watcher{Name: "main", Members: []events.ConnectionID{"m1"}, Log: newHistory(t), Publish: func(string, []byte) error { return nil }}
		for _, v := range events.Verbs {
			if v == events.VerbStatus {
				continue
			}
			if a := w.Handle(t.Context(), v, events.Request{}, nil); a.OK || a.Error.Code != events.ErrorBadRequest || !strings.Contains(a.Error.Message, "give it to its connections") {
				t.Errorf("%s of a pool answers %+v, want bad_request", v, a)
			}
		}
		short, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if a := w.Handle(short, events.VerbStatus, events.Request{}, nil); a.OK {
			t.Errorf("status before Run answers %+v, want no standing made up", a)
		}
	})
}

func TestALogThatCannotBeReadEndsTheWatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory(t)
		w := watch(t.Context(), h)
		w.said(t, "ib.pool.main stopped 0/2")
		broken := errors.New("broken")
		h.mu.Lock()
		h.fail = broken
		h.grew()
		h.mu.Unlock()
		if err := <-w.ended; !errors.Is(err, broken) || !strings.Contains(err.Error(), "pool main") {
			t.Errorf("Run() = %v, want what is broken, and of which pool", err)
		}
		w = watch(t.Context(), h)
		if err := <-w.ended; !errors.Is(err, broken) {
			t.Errorf("Run() of a broken log = %v, want what is broken", err)
		}
		if a := w.Handle(t.Context(), events.VerbStatus, events.Request{}, nil); a.OK || a.Error.Code != events.ErrorShutdown {
			t.Errorf("status after that answers %+v, want that the process is ending", a)
		}
	})
}

func TestAMessageThatIsNoEventIsLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory(t)
		for word := range strings.FieldsSeq("claim want dial open") {
			h.say("m1", word)
			h.say("m2", word)
		}
		ctx, cancel := context.WithCancel(t.Context())
		w := &watching{ended: make(chan error, 1)}
		spoilt := &spoilt{history: h}
		w.Watcher = &pool.Watcher{Name: "main", Members: []events.ConnectionID{"m1", "m2"}, Log: spoilt, Version: "1.2.3", Publish: func(string, []byte) error { return nil }}
		go func() { w.ended <- w.Run(ctx) }()
		synctest.Wait()
		if p := w.status(t).Pool; p.Condition != events.ConditionHealthy {
			t.Errorf("status answers %+v, want it healthy", p)
		}
		h.say("m1", "lose")
		synctest.Wait()
		if p := w.status(t).Pool; p.Condition != events.ConditionDegraded {
			t.Errorf("status answers %+v, want it degraded", p)
		}
		if spoilt.n < 2 {
			t.Errorf("%d messages were spoilt, want one in each reading", spoilt.n)
		}
		cancel()
		<-w.ended
	})
}

// spoilt is a history that begins each reading with a message that is no event.
type spoilt struct {
	*history
	n int
}

func (s *spoilt) Read(ctx context.Context, q bus.Query) iter.Seq2[bus.Entry, error] {
	return func(yield func(bus.Entry, error) bool) {
		s.n++
		if yield(bus.Entry{}, &bus.UndecodableError{Subject: "ib.log.m1.state", Err: errors.New("nonsense")}) {
			s.history.Read(ctx, q)(yield)
		}
	}
}
