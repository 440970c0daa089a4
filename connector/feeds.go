package connector

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"ibconn/events"
)

// feeds is what the loop knows of subscriptions and is not on record: what the
// session that runs has of them, and where their bars stand.
type feeds struct {
	placed   map[int64]placement // in the hands of the session that runs, by request id
	freed    time.Time           // see [Woke.Freed]
	behind   []Input             // what is to be decided on behind the input that led to it
	openings openings
	bars     map[string]*series
	filling  filling
	learning learning
	jumped   time.Time // when the clock last jumped: nothing counts as silent before that
	restated map[int64]restated
	bus      busRest
}

// busRest is until when the bus, which did not say what it has of bars, is not asked
// again.
type busRest struct {
	rests bool
	until time.Duration // of the time that passed
}

// restated is when a subscription was heard of last before the clock was set back.
type restated struct {
	said time.Time // as the session says
	is   time.Time // by the clock as it is
}

// placement is a subscription in the hands of a session.
type placement struct {
	feed   events.Feed
	ledger *Ledger // of the gateway
	slot   *slot   // its place there, of bars that are kept up to date; else nil
}

// slotOf is where bars that are kept up to date count in the ledger.
func slotOf(f events.Feed) *slot {
	q := query{contract: f.Contract, bars: events.BarQuery{Duration: f.Duration, BarSize: f.BarSize, What: f.What, RTH: f.RTH}}
	return q.place()
}

// instrumentOf is what IB's rule on tick-by-tick data tells apart.
func instrumentOf(f events.Feed) string { return strconv.FormatInt(f.Contract.ConID, 10) }

// take counts p where IB's rules do.
func (p *placement) take(now time.Duration) {
	switch {
	case p.ledger == nil:
	case p.feed.Kind == events.SubscribeBars:
		p.ledger.tookBars(now)
	case p.feed.Kind == events.SubscribeTrades:
		p.ledger.tookTicks(instrumentOf(p.feed), now)
	case p.feed.Kind == events.SubscribeHistoryBars:
		p.slot = slotOf(p.feed)
		p.ledger.tookKept(p.slot, now)
	}
}

// leave says that the gateway has it no more.
func (p placement) leave(now time.Duration) {
	if p.slot != nil {
		p.ledger.answered(p.slot, now)
	}
}

// place makes the session have what the state says that is placed: what it has
// besides is cancelled first.
func (l *loop) place(now time.Time) {
	if l.session == nil || len(l.state.Subscriptions) == 0 && len(l.feeds.placed) == 0 {
		return
	}
	var fresh []*events.Subscription
	wanted, failed := make(map[int64]bool, len(l.state.Subscriptions)), make(map[int64]bool)
	for _, sub := range l.state.Subscriptions {
		if sub.Attempt != l.running {
			continue
		}
		if sub.Status == events.SubscriptionFailed {
			failed[sub.RequestID] = true
			continue
		}
		wanted[sub.RequestID] = true
		if _, there := l.feeds.placed[sub.RequestID]; !there {
			fresh = append(fresh, sub)
		}
	}
	for _, id := range unwanted(l.feeds.placed, wanted) {
		p := l.feeds.placed[id]
		l.session.Send(Message{ID: l.requests.nextID(), Priority: PriorityCancel, Request: Unsubscribe{Of: id, Feed: p.feed}})
		p.leave(l.requests.passedTime)
		delete(l.feeds.placed, id)
		if !failed[id] { // which had nothing to give back
			l.feeds.freed = now
		}
	}
	l.feeds.prune(l.state)
	slices.SortFunc(fresh, func(a, b *events.Subscription) int { return int(a.RequestID - b.RequestID) })
	for _, sub := range fresh {
		p := placement{feed: sub.Feed, ledger: l.requests.queries.ledger}
		if p.feed.Kind == events.SubscribeHistoryBars && p.ledger != nil && p.ledger.full() {
			l.feeds.behind = append(l.feeds.behind, Passed{Attempt: l.running, ID: sub.RequestID, Outcome: OutcomeNoRoom, At: now})
			continue
		}
		p.take(l.requests.passedTime)
		l.feeds.freed = time.Time{}
		if l.feeds.placed == nil {
			l.feeds.placed = make(map[int64]placement)
		}
		l.feeds.placed[sub.RequestID] = p
		l.session.Send(Message{
			ID: sub.RequestID, Priority: PriorityRestore,
			Request: Subscribe{Name: sub.Name, Feed: sub.Feed, Quiet: l.Policy.darkAfter(sub)},
		})
	}
}

// unwanted returns the ids of what is placed and not wanted, in order.
func unwanted(placed map[int64]placement, wanted map[int64]bool) []int64 {
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
func (l *loop) heardOf(sub *events.Subscription) time.Time {
	if l.session == nil || sub.Attempt != l.running {
		return time.Time{}
	}
	at := l.session.HeardOf(sub.RequestID).UTC().Round(0)
	if r, ok := l.feeds.restated[sub.RequestID]; ok && r.said.Equal(at) {
		return r.is
	}
	return at
}

// shiftFeeds states by a clock that moved what is to come, and by one that was set
// back what was.
func (l *loop) shiftFeeds(by time.Duration) {
	fs := &l.feeds
	for name, r := range fs.filling.rests {
		r.until = r.until.Add(by)
		fs.filling.rests[name] = r
	}
	for name, at := range fs.learning.after {
		fs.learning.after[name] = at.Add(by)
	}
	fs.learning.next = fs.learning.next.Add(by)
	if by >= 0 {
		return
	}
	was := make(map[int64]restated)
	for _, sub := range l.state.Subscriptions {
		if at := l.heardOf(sub); !at.IsZero() {
			was[sub.RequestID] = restated{said: l.session.HeardOf(sub.RequestID).UTC().Round(0), is: at.Add(by)}
		}
	}
	fs.restated = was
	for _, b := range fs.bars {
		b.heard = b.heard.Add(by)
	}
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

// held returns until when IB's rules on real-time bars, tick-by-tick data and
// history keep subscriptions from being placed that were to be placed now.
func (l *loop) held(quiet []Quiet, now time.Time) (held map[string]time.Time) {
	ledger, passed := l.requests.queries.ledger, l.requests.passedTime
	if ledger == nil || !placeable(l.state) {
		return nil
	}
	for _, sub := range l.state.Subscriptions {
		if sub.Feed.Kind == events.SubscribeQuotes || l.Policy.toPlace(l.state, sub, Woke{Quiet: quiet, Freed: l.feeds.freed}, now) == "" {
			continue
		}
		at := passed
		switch sub.Feed.Kind {
		case events.SubscribeBars:
			at = ledger.barsAt(passed)
		case events.SubscribeHistoryBars:
			at = ledger.keptAt(slotOf(sub.Feed), passed)
		case events.SubscribeTrades:
			at = ledger.ticksAt(instrumentOf(sub.Feed), passed)
		case events.SubscribeQuotes:
		}
		if at > passed {
			if held == nil {
				held = make(map[string]time.Time)
			}
			held[sub.Name] = now.Add(at - passed)
		}
	}
	return held
}

// hearOfFeeds takes what concerns IB's rules of the news of subscriptions.
func (l *loop) hearOfFeeds(in Input) {
	switch in := in.(type) {
	case Passed:
		p, ok := l.feeds.placed[in.ID]
		if !ok || p.slot == nil {
			return
		}
		if in.Outcome == OutcomeSent {
			p.ledger.sent(p.slot, l.requests.passedTime)
		} else {
			p.ledger.unsent(p.slot)
		}
	case Noticed:
		p, ok := l.feeds.placed[in.RequestID]
		reading := events.ReadNotice(in.Code, in.Message)
		// Words that nobody knows hold nobody else up, and IB counts no bars that are
		// not small.
		if ok && p.ledger != nil && reading.Class == events.ClassPacing && !reading.UnmatchedText && (p.slot == nil || p.slot.small) {
			p.ledger.violated(l.requests.passedTime)
		}
	default:
	}
}

// wakeFeeds returns when something is due for subscriptions.
func (l *loop) wakeFeeds(now time.Time) time.Time {
	if len(l.state.Subscriptions) == 0 {
		return time.Time{}
	}
	quiet, at := l.quiet(now)
	if placeable(l.state) {
		held := l.held(quiet, now)
		for _, sub := range l.state.Subscriptions {
			switch {
			case sub.Attempt != l.state.Attempt.Number:
				at = earliest(at, latest(now, held[sub.Name]))
			case sub.RetryAt.IsZero():
			case sub.Status == events.SubscriptionFailed:
				at = earliest(at, latest(sub.RetryAt, held[sub.Name]))
			case sub.Status == events.SubscriptionDark:
				at = earliest(at, latest(latest(sub.RetryAt, elsewhere(l.state)), held[sub.Name]))
			}
		}
	}
	return earliest(at, l.wakeGaps(now))
}

// prune forgets what is known of subscriptions that are none any more.
func (f *feeds) prune(s events.State) {
	gone := func(name string) bool { _, ok := s.Subscribed(name); return !ok }
	if len(f.bars) > len(s.Subscriptions) {
		maps.DeleteFunc(f.bars, func(name string, _ *series) bool { return gone(name) })
	}
	if len(f.learning.after) > len(s.Subscriptions) {
		maps.DeleteFunc(f.learning.after, func(name string, _ time.Time) bool { return gone(name) })
	}
	if len(f.filling.rests) > len(s.Subscriptions) {
		maps.DeleteFunc(f.filling.rests, func(name string, _ rest) bool { return gone(name) })
	}
}

// endFeeds forgets what a session had.
func (l *loop) endFeeds() {
	for _, p := range l.feeds.placed {
		p.leave(l.requests.passedTime)
	}
	l.feeds.placed, l.feeds.restated, l.feeds.freed = nil, nil, time.Time{}
	for _, b := range l.feeds.bars {
		b.open, b.cut = nil, false
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

func (o *openings) hours(sub *events.Subscription) events.Hours {
	key := opening{sub.Hours, sub.Feed.RTH}
	if h, ok := o.read[key]; ok {
		return h
	}
	h := readHours(sub.Hours, sub.Feed.RTH)
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
func (o *openings) at(sub *events.Subscription, now time.Time) (since, next time.Time) {
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
func (o *openings) closed(sub *events.Subscription, from, to time.Time) bool {
	open, known := o.hours(sub).OpenWithin(from, to)
	return known && !open
}

// barsWithin returns how many bars of a stretch of time fall into known hours.
func (o *openings) barsWithin(sub *events.Subscription, from, to time.Time) int {
	span, n := sub.Feed.BarSpan(), 0
	for _, s := range o.hours(sub).Sessions() {
		if within := earliest(s.To, to).Sub(latest(s.From, from)); within > 0 {
			n += int(within / span)
		}
	}
	return n
}
