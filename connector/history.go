package connector

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"ibconn/events"
)

// maxStreams is how many histories of a connection may be streamed at once: each
// may take hours.
const maxStreams = 32

// history answers with bars of the past. The contract is qualified first.
func (r *Runner) history(ctx context.Context, req events.Request, more func(events.Answer)) events.Answer {
	if err := req.CheckBars(); err != nil {
		return events.Refuse(r.Connection, events.ErrorBadRequest, err.Error())
	}
	if n := req.EstimateBars(); n > events.MaxBars && !req.Stream {
		return events.Refuse(r.Connection, events.ErrorTooLarge, fmt.Sprintf(
			`%s of %s are up to %d bars, and one reply takes %d: say "stream":true and take several replies (nats req --replies 0 --reply-timeout 15s), or ask for shorter spans, one after the other`,
			req.Duration, req.BarSize, n, events.MaxBars))
	}
	if req.ID == "" {
		req.ID = r.NewID()
	}
	ctx, leave, why := r.recalls.enter(ctx, req)
	if why != nil {
		return events.Refuse(r.Connection, why.Code, why.Message)
	}
	defer leave()
	if req.Stream {
		return r.stream(ctx, req, more)
	}
	req.Wait = cmp.Or(req.Wait, events.HistoryWait)
	c, check, wait, a := r.recallable(ctx, req)
	if !a.OK {
		return a
	}
	var all []events.Bar
	a = r.recall(ctx, c, req.BarQuery, PriorityRequest, wait, func(bars []events.Bar) error {
		all = append(all, checked(check, bars, r.wallNow())...)
		return nil
	})
	if a.OK {
		a.Bars, a.Done, a.Chunks = all, 0, 0
	}
	return a
}

// checked marks what is wrong with bars, and the one that is not finished.
func checked(check *events.BarCheck, bars []events.Bar, now time.Time) []events.Bar {
	marked := make([]events.Bar, len(bars))
	for i, b := range bars {
		marked[i] = check.Check(b, now)
	}
	return marked
}

// checkOf returns what looks at the bars of a contract: how long one is, what they
// are of, and whether they are of regular trading hours only.
func checkOf(c events.Contract, hours events.Hours, span time.Duration, what string) *events.BarCheck {
	check := events.NewBarCheck(span, what, hours)
	check.NoVolume = c.SecType == "IND"
	return check
}

// readHours reads a contract's hours: those of regular trading, or all. What
// cannot be read is not known.
func readHours(t events.TradingTimes, rth bool) events.Hours {
	text := t.Trading
	if rth {
		text = t.Liquid
	}
	h, _ := events.ParseHours(text, t.Zone)
	return h
}

// recallable qualifies the contract of a history, and returns it, what looks at its
// bars, how much of the wait is left, and the answer where there is none.
func (r *Runner) recallable(ctx context.Context, req events.Request) (events.Contract, *events.BarCheck, time.Duration, events.Answer) {
	_, began := r.clock().Now()
	wait := time.Duration(req.Wait)
	if req.Stream { // nobody is told anything meanwhile
		req.Wait = min(req.Wait, events.ContractWait)
	}
	a := r.qualify(ctx, req)
	switch {
	case !a.OK && ctx.Err() != nil:
		return events.Contract{}, nil, 0, r.gaveUp(ctx)
	case !a.OK:
		return events.Contract{}, nil, 0, a
	}
	c := a.Contracts[0].Contract
	c.SecIDType, c.SecID, c.IncludeExpired = "", "", req.Contract.IncludeExpired
	_, now := r.clock().Now()
	hours := readHours(hoursOf(a.Contracts[0], a.AsOf), req.RTH)
	return c, checkOf(c, hours, req.BarSpan(), req.WithDefaults().What), wait - (now - began), a
}

// stream does the work, and passes on its parts as they come and how far it is.
func (r *Runner) stream(ctx context.Context, req events.Request, more func(events.Answer)) events.Answer {
	if more == nil {
		more = func(events.Answer) {}
	}
	req.Wait = cmp.Or(req.Wait, events.MaxHistoryWait)
	split := splitOf(req.BarQuery, r.wallNow())
	parts, bars, done := 0, 0, 0
	reply := func(status events.AnswerStatus) events.Answer {
		return events.Answer{
			OK: true, Status: status, Connection: r.Connection, Query: req.ID, BarCount: bars, Done: done, Chunks: split.chunks, AsOf: r.wallNow(),
		}
	}
	more(reply(events.StatusWorking))
	c, check, wait, a := r.recallable(ctx, req)
	if !a.OK {
		a.Query = req.ID
		return a
	}
	a = r.recalling(ctx, recall{
		contract: c, bars: req.BarQuery, priority: PriorityRequest, wait: wait,
		part: func(part []events.Bar, answered int) error {
			done = answered
			part = checked(check, part, r.wallNow())
			for len(part) > 0 { // IB may bring more of them than a reply takes
				n := min(len(part), events.MaxBars)
				parts, bars = parts+1, bars+n
				a := reply(events.StatusPartial)
				a.What, a.BarSize, a.Part, a.Bars = req.WithDefaults().What, req.BarSize, parts, part[:n]
				more(a)
				part = part[n:]
			}
			return nil
		},
		tell: func(how howFar) {
			done = how.done
			a := reply(events.StatusWorking)
			if a.ExpectedAt = how.last; !how.next.IsZero() {
				a.Status, a.NextAt = events.StatusWaiting, how.next
			}
			more(a)
		},
	})
	a.Query, a.Parts, a.BarCount = req.ID, parts, bars
	if a.OK {
		a.Status = events.StatusCompleted
	}
	return a
}

// cancel ends a history that is under way. Its caller gets an answer that says so.
func (r *Runner) cancel(req events.Request) events.Answer {
	if !r.recalls.cancel(req.Query) {
		return events.Refuse(r.Connection, events.ErrorNotFound, fmt.Sprintf("no history with the id %q is under way", req.Query))
	}
	return events.Answer{OK: true, Status: events.StatusCompleted, Connection: r.Connection, Query: req.Query}
}

// recalls are the histories under way, by their ids. Its zero value is ready to
// use, from any goroutine.
type recalls struct {
	mu      sync.Mutex
	all     map[string]context.CancelCauseFunc
	streams int
}

// enter gives the history that req asks for its id, under which it can be
// cancelled until leave is called.
func (r *recalls) enter(ctx context.Context, req events.Request) (_ context.Context, leave func(), why *events.AnswerError) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := req.ID
	switch {
	case r.all[id] != nil:
		return ctx, nil, &events.AnswerError{Code: events.ErrorIDReused, Message: fmt.Sprintf("a history with the id %q is under way: choose another", id)}
	case req.Stream && r.streams >= maxStreams:
		return ctx, nil, &events.AnswerError{Code: events.ErrorBusy, Message: fmt.Sprintf("%d histories are being streamed: try again later", maxStreams)}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	if r.all == nil {
		r.all = make(map[string]context.CancelCauseFunc)
	}
	r.all[id] = cancel
	if req.Stream {
		r.streams++
	}
	return ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		cancel(nil)
		delete(r.all, id)
		if req.Stream {
			r.streams--
		}
	}, nil
}

func (r *recalls) cancel(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	cancel := r.all[id]
	if cancel != nil {
		cancel(errCancelled)
	}
	return cancel != nil
}
