package connector

import (
	"slices"
	"time"

	"ibconn/events"
)

// feeds is what the loop knows of subscriptions and is not on record: what the
// session that runs has of them, and where their bars stand.
type feeds struct {
	placed   map[int64]events.Feed // in the hands of the session that runs, by request id
	openings openings
	bars     map[string]*series
	filling  filling
	learning learning
	jumped   time.Time // when the clock last jumped: nothing counts as silent before that
}

// place makes the session have what the state says that is placed: what it has
// besides is cancelled first.
func (l *loop) place(now time.Time) {
	if l.session == nil || len(l.state.Subscriptions) == 0 && len(l.feeds.placed) == 0 {
		return
	}
	var fresh []events.Subscription
	wanted := make(map[int64]bool, len(l.state.Subscriptions))
	for _, sub := range l.state.Subscriptions {
		if sub.Attempt != l.running || sub.Status == events.SubscriptionFailed {
			continue
		}
		wanted[sub.RequestID] = true
		if _, there := l.feeds.placed[sub.RequestID]; !there {
			fresh = append(fresh, sub)
		}
	}
	for _, id := range unwanted(l.feeds.placed, wanted) {
		l.session.Send(Message{ID: l.requests.nextID(), Priority: PriorityCancel, Request: Unsubscribe{Of: id, Feed: l.feeds.placed[id]}})
		delete(l.feeds.placed, id)
	}
	slices.SortFunc(fresh, func(a, b events.Subscription) int { return int(a.RequestID - b.RequestID) })
	for _, sub := range fresh {
		if sub.Feed.Kind == events.SubscribeBars && l.requests.queries.ledger != nil {
			l.requests.queries.ledger.tookBars(l.requests.passedTime)
		}
		if l.feeds.placed == nil {
			l.feeds.placed = make(map[int64]events.Feed)
		}
		l.feeds.placed[sub.RequestID] = sub.Feed
		l.session.Send(Message{
			ID: sub.RequestID, Priority: PriorityRestore,
			Request: Subscribe{Name: sub.Name, Feed: sub.Feed, Quiet: l.Policy.darkAfter(sub)},
		})
	}
}

// unwanted returns the ids of what is placed and not wanted, in order.
func unwanted(placed map[int64]events.Feed, wanted map[int64]bool) []int64 {
	var ids []int64
	for id := range placed {
		if !wanted[id] {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// heardOf is when data last came for a subscription since it was placed.
func (l *loop) heardOf(sub events.Subscription) time.Time {
	if l.session == nil || sub.Attempt != l.running {
		return time.Time{}
	}
	return l.session.HeardOf(sub.RequestID).UTC().Round(0)
}

// quiet returns the subscriptions of which too little was heard, and when to
// look again.
func (l *loop) quiet(now time.Time) (all []Quiet, look time.Time) {
	if l.session == nil || l.state.Phase != events.PhaseReady {
		return nil, look
	}
	for _, sub := range l.state.Subscriptions {
		open := func(at time.Time) (since, next time.Time) {
			since, next = l.feeds.openings.at(sub, at)
			if !since.IsZero() {
				since = latest(since, l.feeds.jumped)
			}
			return since, next
		}
		q, is, next := l.Policy.quiet(l.state, sub, l.heardOf(sub), open, now)
		if is {
			all = append(all, q)
		}
		look = earliest(look, next)
	}
	return all, look
}

// held returns until when IB's rules on real-time bars and on history keep
// subscriptions from being placed.
func (l *loop) held(now time.Time) map[string]time.Time {
	ledger := l.requests.queries.ledger
	if ledger == nil || len(l.state.Subscriptions) == 0 {
		return nil
	}
	bars := now.Add(ledger.barsAt(l.requests.passedTime) - l.requests.passedTime)
	if !bars.After(now) {
		return nil
	}
	held := make(map[string]time.Time)
	for _, sub := range l.state.Subscriptions {
		if sub.Feed.Kind == events.SubscribeBars {
			held[sub.Name] = bars
		}
	}
	return held
}

// wakeFeeds returns when something is due for subscriptions.
func (l *loop) wakeFeeds(now time.Time) time.Time {
	if len(l.state.Subscriptions) == 0 {
		return time.Time{}
	}
	_, at := l.quiet(now)
	if placeable(l.state) {
		held := l.held(now)
		for _, sub := range l.state.Subscriptions {
			switch {
			case sub.Attempt != l.state.Attempt.Number:
				at = earliest(at, latest(now, held[sub.Name]))
			case sub.Status == events.SubscriptionFailed, sub.Status == events.SubscriptionDark && l.state.Competing.Since.IsZero():
				if !sub.RetryAt.IsZero() {
					at = earliest(at, latest(sub.RetryAt, held[sub.Name]))
				}
			}
		}
	}
	return earliest(at, l.wakeGaps(now))
}

// endFeeds forgets what a session had.
func (l *loop) endFeeds() {
	l.feeds.placed = nil
	for _, b := range l.feeds.bars {
		b.open = nil
	}
}

// openings remembers when contracts' markets are open: reading IB's text takes
// longer than asking.
type openings struct {
	read map[opening]events.Hours
}

type opening struct {
	times events.TradingTimes
	rth   bool
}

// maxOpenings is how many texts are remembered.
const maxOpenings = 4 * events.MaxSubscriptions

func (o *openings) hours(sub events.Subscription) events.Hours {
	key := opening{sub.Hours, sub.Feed.RTH}
	if h, ok := o.read[key]; ok {
		return h
	}
	text := sub.Hours.Trading
	if sub.Feed.RTH {
		text = sub.Hours.Liquid
	}
	h, _ := events.ParseHours(text, sub.Hours.Zone) // what cannot be read is not known
	if o.read == nil || len(o.read) >= maxOpenings {
		o.read = make(map[opening]events.Hours)
	}
	o.read[key] = h
	return h
}

// lookAgain is how soon a market that is closed is looked at again: its hours may
// be news by then.
const lookAgain = 10 * time.Minute

// unknownFor is how long before a moment a market counts as open of which nothing
// is known.
const unknownFor = 24 * time.Hour

// at returns from when on a subscription's market has been open, and zero where it
// is closed, and then when it is to be looked at again. One of which nothing is
// known counts as open: better a false alarm than none.
func (o *openings) at(sub events.Subscription, now time.Time) (since, next time.Time) {
	h := o.hours(sub)
	open, known := h.Open(now)
	if !open && !known {
		return now.Add(-unknownFor), next
	}
	next = now.Add(lookAgain)
	for _, s := range slices.Backward(h.Sessions()) { // those that touch are one
		switch {
		case s.From.After(now):
			next = earliest(next, s.From)
		case open && now.Before(s.To), open && s.To.Equal(since):
			since = earliest(since, s.From)
		}
	}
	if open {
		return since, time.Time{}
	}
	return time.Time{}, next
}

// closed says whether nothing of a stretch of time is known to be open.
func (o *openings) closed(sub events.Subscription, from, to time.Time) bool {
	open, known := o.hours(sub).OpenWithin(from, to)
	return known && !open
}

// barsWithin returns how many bars of a stretch of time fall into known hours.
func (o *openings) barsWithin(sub events.Subscription, from, to time.Time) int {
	span, n := sub.Feed.BarSpan(), 0
	for _, s := range o.hours(sub).Sessions() {
		if within := earliest(s.To, to).Sub(latest(s.From, from)); within > 0 {
			n += int(within / span)
		}
	}
	return n
}
