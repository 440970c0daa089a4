package connector

import (
	"context"
	"errors"
	"time"

	"ibconn/events"
)

const (
	// answeredWithin is how long the gateway may take to answer one of several
	// requests. IB slows those for large bars down, by how much it does not say.
	answeredWithin = 2 * time.Minute
	// tellEvery is how often who waits for bars is told how far they are, at least.
	tellEvery = 9 * time.Second
)

// errCancelled is why a query ends that a command cancel ended.
var errCancelled = errors.New("a command cancel ended it")

// recall is the work of getting bars of the past, by as many requests as it
// takes, the oldest first.
type recall struct {
	contract events.Contract // qualified
	bars     events.BarQuery
	priority Priority
	wait     time.Duration
	// part takes the bars as they come, the oldest first, and how many requests
	// were answered by then; its error ends the work. It may block, which holds up
	// nobody else.
	part func(bars []events.Bar, done int) error
	// tell is told how far the work is, at least every tellEvery; nil when nobody
	// wants to know.
	tell func(howFar)
	told time.Duration // when that, or a part, was last
}

// howFar says how far the work of a recall is.
type howFar struct {
	done, chunks int
	expectation
}

// recall gets bars of the past of a qualified contract, at a priority, within
// wait. Part takes them as they come; an error of it ends the work. The answer
// that it ends with has no bars: ok, with NoData where there are none, or the
// error that came after the bars before it; [events.ErrorPacing] at once, where
// IB's rules leave no time for all of it. It may be called from any goroutine
// while Run runs, but not from the loop, which it waits for.
func (r *Runner) recall(ctx context.Context, c events.Contract, q events.BarQuery, p Priority, wait time.Duration, part func([]events.Bar) error) events.Answer {
	return r.recalling(ctx, recall{contract: c, bars: q, priority: p, wait: wait, part: func(bars []events.Bar, _ int) error { return part(bars) }})
}

func (r *Runner) recalling(ctx context.Context, w recall) events.Answer {
	now := r.wallNow()
	w.bars = w.bars.WithDefaults()
	s := splitOf(w.bars, now)
	if code, why := s.check(now); code != "" {
		return events.Refuse(r.Connection, code, why)
	}
	j, none := joint{split: s}, true
	until := now.Add(w.wait)
	began := r.passedNow()
	w.told = began
	for i := 0; i < s.chunks; i++ {
		a := r.chunk(ctx, &w, s, i, w.wait-(r.passedNow()-began))
		if s.chunks > 1 && a.Error != nil && a.Error.Code == events.ErrorPacing && r.wallNow().Before(a.RetryAt) && a.RetryAt.Before(until) {
			i-- // others asked the gateway too, and the ledger knows it by now
			continue
		}
		bars, err := j.take(i, a.Bars)
		if a.OK && err != nil {
			a = events.Refuse(r.Connection, events.ErrorGatewayError, err.Error())
		}
		if a.OK && len(bars) > 0 {
			none, w.told = false, r.passedNow()
			if err := w.part(bars, i+1); err != nil {
				a = events.Refuse(r.Connection, events.ErrorCancelled, "the bars were not taken: "+err.Error())
			}
		}
		if !a.OK {
			return j.endedBy(a, i)
		}
	}
	return events.Answer{
		OK: true, Connection: r.Connection, What: w.bars.What, BarSize: w.bars.BarSize, NoData: none, AsOf: r.wallNow(),
		Done: s.chunks, Chunks: s.chunks,
	}
}

// endedBy is the answer that ends a recall early: the error of a chunk, and how
// far the work came before it.
func (j *joint) endedBy(a events.Answer, done int) events.Answer {
	if j.chunks == 1 || a.Error == nil {
		return a
	}
	a.Done, a.Chunks = done, j.chunks
	if done > 0 {
		how := *a.Error
		how.Message += "; before that " + j.soFar(done)
		a.Error = &how
	}
	return a
}

// chunk gets the bars of one request.
func (r *Runner) chunk(ctx context.Context, w *recall, s split, i int, wait time.Duration) events.Answer {
	c := &caller{
		until: r.wallNow().Add(wait), priority: w.priority,
		ahead: s.chunks - 1 - i, whole: i == 0 && s.chunks > 1,
		answer: make(chan events.Answer, 1),
	}
	if s.chunks > 1 || w.priority == PriorityBackfill { // which holds up others
		c.patience = answeredWithin
	}
	tell := func() time.Duration {
		if wait := w.told + tellEvery - r.passedNow(); wait > 0 {
			return wait
		}
		w.told = r.passedNow()
		how := howFar{done: i, chunks: s.chunks}
		if e := c.expects.Load(); e != nil {
			how.expectation = *e
		}
		if w.tell != nil {
			w.tell(how)
		}
		return tellEvery
	}
	return r.answered(ctx, c, &query{contract: w.contract, bars: s.chunk(i), callers: []*caller{c}}, wait, tell)
}

func (r *Runner) passedNow() time.Duration {
	_, passed := r.clock().Now()
	return passed
}

// answered has the loop take q, whose caller c is, and returns the answer. When
// ctx ends before that, c is taken away from q again. Tell is called as often as
// it says.
func (r *Runner) answered(ctx context.Context, c *caller, q *query, wait time.Duration, tell func() time.Duration) events.Answer {
	over, stop := r.clock().Timer(wait + answerWithin)
	defer stop()
	select {
	case r.inquiries <- q:
	case <-over:
		return r.unheard()
	case <-r.ended:
		return r.notAsked()
	case <-ctx.Done():
		return r.gaveUp(ctx)
	}
	for {
		next, stop := r.clock().Timer(tell())
		select {
		case a := <-c.answer:
			stop()
			return a
		case <-next:
			continue
		case <-over:
			stop()
			return r.unheard()
		case <-r.ended:
		case <-ctx.Done():
			r.leave(c)
		}
		stop()
		select {
		case a := <-c.answer: // the last thing that was done
			return a
		default:
			return r.gaveUp(ctx)
		}
	}
}

// leave takes c away from the query it waits for.
func (r *Runner) leave(c *caller) {
	select {
	case r.inquiries <- leaving{c}:
	case <-r.ended:
	}
}

// gaveUp is the answer to who does not wait any more, or whom nobody can answer.
func (r *Runner) gaveUp(ctx context.Context) events.Answer {
	if errors.Is(context.Cause(ctx), errCancelled) {
		return events.Refuse(r.Connection, events.ErrorCancelled, "a command cancel ended it")
	}
	return r.notAsked()
}
