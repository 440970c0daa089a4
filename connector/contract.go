package connector

import (
	"cmp"
	"context"
	"time"

	"ibconn/events"
)

// answerWithin is how much longer than it wants to wait a caller does at most,
// so that it hears why there is no answer from who knows.
const answerWithin = time.Second

// qualify answers which contract is meant.
func (r *Runner) qualify(ctx context.Context, req events.Request) events.Answer {
	if err := req.Contract.Check(); err != nil {
		return events.Refuse(r.Connection, events.ErrorBadRequest, "contract: "+err.Error())
	}
	wait := time.Duration(cmp.Or(req.Wait, events.ContractWait))
	answer := make(chan events.Answer, 1)
	return r.inquiry(ctx, &inquiry{contract: req.Contract, until: r.wallNow().Add(wait), answer: answer}, answer, wait)
}

// asked is what a caller wants to know of the loop.
type asked interface {
	// put takes it among the requests, where it gets its answer.
	put(r *requests, s events.State, now time.Time)
}

// inquiry has the loop take q, and returns its answer.
func (r *Runner) inquiry(ctx context.Context, q asked, answer <-chan events.Answer, wait time.Duration) events.Answer {
	over, stop := r.clock().Timer(wait + answerWithin)
	defer stop()
	select {
	case r.inquiries <- q:
	case <-over:
		return r.unheard()
	case <-r.ended:
		return r.notAsked()
	case <-ctx.Done():
		return r.notAsked()
	}
	select {
	case a := <-answer:
		return a
	case <-over:
		return r.unheard()
	case <-r.ended:
	case <-ctx.Done():
		return r.notAsked()
	}
	select {
	case a := <-answer: // the last thing Run did
		return a
	default:
		return r.notAsked()
	}
}

func (r *Runner) unheard() events.Answer {
	return events.Refuse(r.Connection, events.ErrorTimeout, "the connector did not come to it in time: it is held up, or does not run yet")
}

func (r *Runner) notAsked() events.Answer {
	return events.Refuse(r.Connection, events.ErrorShutdown, "the connector is ending")
}

// inquire takes a caller's question inside the loop.
func (l *loop) inquire(q asked) {
	q.put(&l.requests, l.state, l.wallNow())
}

// hear takes news of what callers asked for, and says whether that is all that
// there is to it. Of a session that does not run there is nothing to hear:
// what was under way in it has its answer.
func (l *loop) hear(in Input) bool {
	var attempt uint64
	switch in := in.(type) {
	case Passed:
		attempt = in.Attempt
	case Described:
		attempt = in.Attempt
	case Found:
		attempt = in.Attempt
	case Brought:
		attempt = in.Attempt
	case Noticed:
		attempt = in.Attempt
	case Reached:
		if in.Attempt == l.running {
			l.requests.queries.ledger = cmp.Or(l.History, &l.ledgers).For(in.Remote)
			l.requests.queries.ledger.reached(l.clock())
		}
		return false
	default:
		return false
	}
	_, l.requests.passedTime = l.clock().Now()
	return attempt == l.running && l.requests.hear(l.state, in, l.wallNow())
}

// pursue does what is due for callers.
func (l *loop) pursue(now time.Time) {
	_, l.requests.passedTime = l.clock().Now()
	for _, m := range l.requests.due(l.state, now) {
		l.session.Send(m)
	}
}
