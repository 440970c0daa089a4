package connector

import (
	"context"
	"fmt"
	"time"

	"ibconn/events"
)

// maxPending is how many commands may be without an outcome at once.
const maxPending = 100

// order is a command on its way into the loop.
type order struct {
	command Commanded
	answer  chan events.Answer
}

// Handle takes a command and returns its answer: for status, subscriptions and
// the cancel of a history at once, for contract and history once IB's answer came
// or its wait is over, for every other verb after the command was recorded. A
// request that waits is answered with the outcome, or with "accepted" once its
// wait is over; one to subscribe, once data comes. Replies of a history that is
// streamed go to more before that; nil takes none. It may be called from any
// goroutine while Run runs.
func (r *Runner) Handle(ctx context.Context, verb events.Verb, req events.Request, more func(events.Answer)) events.Answer {
	r.init()
	switch {
	case verb == events.VerbStatus:
		return r.status()
	case verb == events.VerbContract:
		return r.qualify(ctx, req)
	case verb == events.VerbHistory:
		return r.history(ctx, req, more)
	case verb == events.VerbSubscribe:
		return r.subscribe(ctx, req)
	case verb == events.VerbCancel && req.Query != "":
		return r.cancel(req)
	case verb == events.VerbCancel:
		return r.unsubscribe(ctx, req)
	case verb == events.VerbSubscriptions:
		return r.subscriptions()
	case !changes(verb):
		return events.Refuse(r.Connection, events.ErrorBadRequest, fmt.Sprintf("there is no command %q", verb))
	case verb.Control() && r.Control == nil:
		why := notConfigured(verb)
		return events.Refuse(r.Connection, why.Code, why.Message)
	}
	answer := r.order(ctx, Commanded{ID: req.ID, Verb: verb, Reason: req.Reason})
	if !answer.OK || req.Wait == 0 {
		return answer
	}
	return r.await(ctx, answer, time.Duration(req.Wait))
}

// changes says whether verb is a command that is recorded.
func changes(verb events.Verb) bool {
	switch verb {
	case events.VerbConnect, events.VerbDisconnect, events.VerbReconnect,
		events.VerbReconnectData, events.VerbReconnectAccount, events.VerbRestartGateway:
		return true
	case events.VerbStatus, events.VerbContract, events.VerbHistory,
		events.VerbSubscribe, events.VerbCancel, events.VerbSubscriptions:
	}
	return false
}

func (r *Runner) ending() events.Answer {
	return events.Refuse(r.Connection, events.ErrorShutdown, "the connector is ending: whether the command was recorded is in the log")
}

func (r *Runner) status() events.Answer {
	v := r.view.Load()
	now := r.wallNow()
	a := events.Answer{
		OK: true, Connection: r.Connection, AsOf: now, Version: r.Version,
		State:  &v.state,
		Uptime: events.Between(v.state.Session.OpenedAt, now),
	}
	if v.session != nil {
		traffic := v.session.Traffic()
		a.Traffic = &traffic
	}
	return a
}

// await answers with a command's outcome, or with accepted when it does not
// come in time.
func (r *Runner) await(ctx context.Context, accepted events.Answer, wait time.Duration) events.Answer {
	over, stop := r.clock().Timer(wait)
	defer stop()
	for {
		v := r.view.Load()
		if c, ok := v.state.Recall(accepted.CommandID); ok && c.Status != events.StatusAccepted {
			accepted.Status = c.Status
			accepted.Error = c.Error
			accepted.Said = c.Said
			accepted.OK = c.Status == events.StatusCompleted
			return accepted
		}
		select {
		case <-v.next:
		case <-over:
			return accepted
		case <-r.ended:
			return accepted
		case <-ctx.Done():
			return accepted
		}
	}
}

// obey takes a command inside the loop, and answers it once it is recorded.
func (l *loop) obey(o order) error {
	known, repeated := l.state.Recall(o.command.ID)
	switch {
	case repeated && known.Verb != o.command.Verb:
		o.answer <- events.Refuse(l.Connection, events.ErrorIDReused,
			fmt.Sprintf("id %q was used for %s before: choose another", o.command.ID, known.Verb))
		return nil
	case !repeated && len(l.state.Pending) >= maxPending:
		o.answer <- events.Refuse(l.Connection, events.ErrorBusy,
			fmt.Sprintf("%d commands are waiting for their outcome: try again later", maxPending))
		return nil
	}
	// The answer goes out as soon as the command is recorded, before what it
	// asks for is begun.
	now := l.wallNow()
	if draft, ok := l.Policy.Decide(l.state, o.command, now); ok {
		if _, err := l.recordDraft(draft, now); err != nil {
			o.answer <- events.Refuse(l.Connection, events.ErrorInternal, "the command was not recorded: "+err.Error())
			return err
		}
	}
	if o.command.Subscribe != nil || o.command.Cancel != nil {
		o.answer <- l.subscriptionAnswer(o.command)
		l.carryOut()
	} else {
		o.answer <- l.answer(o.command.ID)
	}
	return l.take(l.woke())
}

// answer is what a command is answered, each time it is sent.
func (l *loop) answer(id string) events.Answer {
	c, _ := l.state.Recall(id)
	a := events.Answer{
		OK: !c.Rejected, Connection: l.Connection, CommandID: c.CommandID, AfterSeq: c.Sequence,
		Status: events.StatusAccepted,
	}
	if c.Rejected {
		a.Status, a.Error = "", c.Error
	}
	return a
}
