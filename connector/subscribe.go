package connector

import (
	"cmp"
	"context"
	"time"

	"ibconn/events"
)

// subscribe has something delivered from now on. Its contract is qualified
// first, but for one that was asked for in the same words before.
func (r *Runner) subscribe(ctx context.Context, req events.Request) events.Answer {
	feed := req.Feed()
	if err := cmp.Or(feed.Check(), req.Contract.Check()); err != nil {
		return events.Refuse(r.Connection, events.ErrorBadRequest, err.Error())
	}
	w := &Subscribing{
		Name: req.Name, Caller: cmp.Or(req.Caller, events.DefaultCaller), Feed: feed, Asked: req.Contract,
		Priority: req.Priority, DarkAfter: time.Duration(req.DarkAfter),
	}
	wait := time.Duration(req.Wait)
	if known, ok := askedBefore(r.State(), feed, req.Contract); ok {
		w.Feed = known.Feed
	} else {
		_, began := r.clock().Now()
		qualified := r.qualify(ctx, req)
		if !qualified.OK || len(qualified.Contracts) == 0 {
			return qualified
		}
		details := qualified.Contracts[0]
		w.Feed.Contract = plain(details.Contract)
		w.Hours = hoursOf(details, qualified.AsOf)
		_, now := r.clock().Now()
		wait = max(0, wait-(now-began))
	}
	a := r.order(ctx, Commanded{ID: req.ID, Verb: events.VerbSubscribe, Reason: req.Reason, Subscribe: w})
	if !a.OK || a.Subscription == nil || wait == 0 {
		return a
	}
	return r.awaitData(ctx, a, wait)
}

// askedBefore returns the subscription that the same words asked for.
func askedBefore(s events.State, f events.Feed, asked events.Contract) (events.Subscription, bool) {
	for _, sub := range s.Subscriptions {
		f.Contract = sub.Feed.Contract
		if sub.Asked == asked && sub.Feed == f {
			return sub, true
		}
	}
	return events.Subscription{}, false
}

// plain is a qualified contract as a request for its data names it.
func plain(c events.Contract) events.Contract {
	c.SecIDType, c.SecID, c.IncludeExpired = "", "", false
	return c
}

func hoursOf(d events.ContractDetails, at time.Time) events.TradingTimes {
	return events.TradingTimes{Zone: d.TimeZoneID, Trading: d.TradingHours, Liquid: d.LiquidHours, AsOf: at}
}

// unsubscribe has something delivered no longer.
func (r *Runner) unsubscribe(ctx context.Context, req events.Request) events.Answer {
	return r.order(ctx, Commanded{ID: req.ID, Verb: events.VerbCancel, Reason: req.Reason, Cancel: &Cancelling{
		Subscription: req.Subscription, Caller: cmp.Or(req.Caller, events.DefaultCaller), All: req.All,
	}})
}

// subscriptions answers with all that is wanted.
func (r *Runner) subscriptions() events.Answer {
	s := r.view.Load().state
	all := make([]events.Subscription, 0, len(s.Subscriptions))
	for _, sub := range s.Subscriptions {
		all = append(all, shown(sub))
	}
	return events.Answer{OK: true, Connection: r.Connection, AsOf: r.wallNow(), Subscriptions: all}
}

// shown is a subscription as an answer has it.
func shown(sub events.Subscription) events.Subscription {
	sub.Hours = events.TradingTimes{}
	return sub
}

// subscriptionAnswer is what a command about a subscription is answered, each
// time it is sent.
func (l *loop) subscriptionAnswer(in Commanded) events.Answer {
	a := l.answer(in.ID)
	known, recorded := l.state.Recall(in.ID)
	if !recorded { // it was wanted already
		a.OK, a.CommandID, a.AfterSeq = true, in.ID, l.state.Sequence
	}
	if !a.OK {
		return a
	}
	a.Status = events.StatusCompleted
	sub, ok := l.state.Subscribed(known.Subscription)
	if !recorded && in.Subscribe != nil {
		sub, ok = same(l.state, in.Subscribe.Feed)
	}
	if ok {
		sub = shown(sub)
		a.Subscription, a.Subjects = &sub, sub.Subjects(l.Connection)
	}
	return a
}

// awaitData answers once data of a subscription comes, or it is refused, or wait
// is over.
func (r *Runner) awaitData(ctx context.Context, a events.Answer, wait time.Duration) events.Answer {
	over, stop := r.clock().Timer(wait)
	defer stop()
	for {
		v := r.view.Load()
		sub, ok := v.state.Subscribed(a.Subscription.Name)
		if !ok {
			return a // cancelled meanwhile
		}
		sub = shown(sub)
		a.Subscription = &sub
		switch sub.Status {
		case events.SubscriptionLive, events.SubscriptionFailed:
			return a
		case events.SubscriptionWanted, events.SubscriptionPlaced, events.SubscriptionDark:
		}
		select {
		case <-v.next:
		case <-over:
			return a
		case <-r.ended:
			return a
		case <-ctx.Done():
			return a
		}
	}
}

// order has the loop record a command, and returns its answer.
func (r *Runner) order(ctx context.Context, c Commanded) events.Answer {
	o := order{command: c, answer: make(chan events.Answer, 1)}
	if o.command.ID == "" {
		o.command.ID = r.NewID()
	}
	select {
	case r.orders <- o:
	case <-r.ended:
		return r.ending()
	case <-ctx.Done():
		return r.ending()
	}
	select {
	case a := <-o.answer:
		return a
	case <-ctx.Done():
		return r.ending()
	}
}
