package connector

import (
	"context"
	"slices"
	"strconv"
	"time"

	"ibconn/events"
)

const (
	// settles is how long after a gap was found its bars are asked for: IB's
	// history lags behind its real-time bars by some seconds.
	settles = 10 * time.Second
	// fillAgain is how soon a gap that could not be filled for now is tried again.
	fillAgain = 10 * time.Second
	// fillTries is how often a refusal of the gateway is taken for a passing one.
	fillTries = 3
	// fillWait is how long one try may take, its turns by IB's rules included.
	fillWait = time.Hour
	// newestWithin is how long the bus may take to say what it has of a series.
	tradingDay   = 24 * time.Hour
	newestWithin = 2 * time.Second
	// hoursFor is for how long IB's word of a contract's hours is taken.
	hoursFor = knownFor + time.Minute
	// learnEvery is the least time between two requests for hours.
	learnEvery = 2 * time.Second
	// learnAgain is how soon the hours of one contract are asked for again, at least.
	learnAgain = time.Hour
	// learnWait is how long one may take.
	learnWait = 30 * time.Second
)

// series is where the bars of one subscription stand.
type series struct {
	name   string // of the series; see [Data.Keep]
	newest time.Time
	check  *events.BarCheck
	open   *events.Bar // the unfinished one, of bars that are kept up to date
}

// seriesOf names the series of a subscription: one that is added anew under the
// same name begins another.
func seriesOf(sub *events.Subscription) string { return strconv.FormatUint(sub.AddedSeq, 10) }

// barsCame takes bars of a subscription: it hands them on, and finds what is
// missing between them.
func (l *loop) barsCame(in BarsCame) error {
	sub, ok := l.state.Placed(in.ID)
	if !ok || l.Data == nil {
		return nil
	}
	s, ok := l.seriesOf(sub)
	if !ok {
		return nil
	}
	for i := range in.Bars {
		b := in.Bars[i]
		var err error
		switch {
		case sub.Feed.Kind == events.SubscribeBars:
			err = l.finished(sub, s, b, in.At, false)
		case in.Past && i < len(in.Bars)-1:
			err = l.finished(sub, s, b, in.At, true)
		default:
			err = l.unfinished(sub, s, b, in.At)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// seriesOf returns where the bars of sub stand. What was delivered before this
// process is what the bus has of it; while it does not say, bars are left to be
// found missing later.
func (l *loop) seriesOf(sub *events.Subscription) (*series, bool) {
	name := seriesOf(sub)
	if s := l.feeds.bars[sub.Name]; s != nil && s.name == name {
		return s, true
	}
	s := &series{name: name, check: l.checkOf(sub)}
	ctx, cancel := context.WithTimeout(l.appending, newestWithin)
	defer cancel()
	newest, err := l.Data.Newest(ctx, l.Connection, sub.Name, name)
	if err != nil {
		return nil, false
	}
	s.newest = newest
	if span := sub.Feed.BarSpan(); s.newest.IsZero() && sub.Feed.Kind == events.SubscribeBars {
		// The first bar that is wanted is the first that begins after that.
		s.newest = sub.WantedAt.Add(span - 1).Truncate(span).Add(-span)
	}
	if l.feeds.bars == nil {
		l.feeds.bars = make(map[string]*series)
	}
	l.feeds.bars[sub.Name] = s
	return s, true
}

func (l *loop) checkOf(sub *events.Subscription) *events.BarCheck {
	return checkOf(sub.Feed.Contract, l.feeds.openings.hours(sub), sub.Feed.BarSpan(), sub.Feed.What)
}

// finished hands a bar on that will not change, unless it was handed on before.
// One that a new placement brings along is not new to IB.
func (l *loop) finished(sub *events.Subscription, s *series, b events.Bar, at time.Time, past bool) error {
	begins, ok := b.Begins()
	if ok && !begins.After(s.newest) {
		return nil
	}
	if span := sub.Feed.BarSpan(); ok && span < tradingDay {
		if from := s.newest.Add(span); !s.newest.IsZero() && from.Before(begins) && !l.feeds.openings.closed(sub, from, begins) {
			if err := l.take(Missing{Name: sub.Name, From: from, To: begins, Bars: int(begins.Sub(from) / span)}); err != nil {
				return err
			}
		}
	}
	if ok {
		s.newest = begins
	}
	b = s.check.Check(b, at)
	b.Provisional = false // by our clock it may seem so
	l.Data.Keep(l.Connection, sub.Name, s.name, barData(sub, b, at, past))
	return nil
}

// unfinished hands on what is known of a bar so far. When another one begins, it
// is finished.
func (l *loop) unfinished(sub *events.Subscription, s *series, b events.Bar, at time.Time) error {
	if s.open != nil && s.open.Time != b.Time {
		before, knownBefore := s.open.Begins()
		now, known := b.Begins()
		if knownBefore && known && now.Before(before) {
			return nil // an old one, sent again
		}
		if err := l.finished(sub, s, *s.open, at, false); err != nil {
			return err
		}
	}
	s.open = &b
	partial := s.check.Check(b, at)
	partial.Provisional = true
	l.Data.Publish(l.Connection, sub.Name, barData(sub, partial, at, false))
	return nil
}

func barData(sub *events.Subscription, b events.Bar, at time.Time, backfill bool) *events.BarData {
	size := sub.Feed.BarSize
	if sub.Feed.Kind == events.SubscribeBars {
		size = "5 secs"
	}
	return &events.BarData{At: at.UTC().Round(0), BarSize: size, What: sub.Feed.What, Backfill: backfill, Bar: b}
}

// filling is the gap that is being filled; one at a time, since IB's rules let
// few such requests go.
type filling struct {
	busy  bool
	after map[string]time.Time // when a subscription's gaps are tried next
	tries map[string]int       // refusals in a row
}

// fillable returns the gap to fill next, and when; ok is false when there is none.
func (l *loop) fillable() (sub *events.Subscription, g events.Gap, at time.Time, ok bool) {
	for _, o := range l.state.Subscriptions {
		for _, gap := range o.Gaps {
			due := latest(gap.At.Add(settles), l.feeds.filling.after[o.Name])
			if !ok || due.Before(at) {
				sub, g, at, ok = o, gap, due, true
			}
		}
	}
	return sub, g, at, ok
}

// wakeGaps returns when a gap is to be filled, or hours are to be learned.
func (l *loop) wakeGaps(now time.Time) time.Time {
	if !l.recallable() {
		return time.Time{}
	}
	var at time.Time
	if !l.feeds.filling.busy {
		if _, _, due, ok := l.fillable(); ok {
			at = latest(due, now)
		}
	}
	if _, due, ok := l.toLearn(); ok && !l.feeds.learning.busy {
		at = earliest(at, latest(due, now))
	}
	return at
}

// recallable says whether IB can be asked for the past now.
func (l *loop) recallable() bool {
	return l.session != nil && l.Data != nil && placeable(l.state) && doubtOf(l.state, events.FarmHistorical) == "" && l.requests.queries.ledger != nil
}

// fillGaps begins to fill the gap that is due, if none is being filled.
func (l *loop) fillGaps(now time.Time) error {
	if l.feeds.filling.busy || !l.recallable() {
		return nil
	}
	sub, g, at, ok := l.fillable()
	if !ok || now.Before(at) {
		return nil
	}
	if oldest := now.Add(-l.Policy.BackfillMost); g.From.Before(oldest) {
		to := earliest(g.To, oldest.Truncate(sub.Feed.BarSpan()))
		return l.take(Backfilled{Name: sub.Name, From: g.From, To: to, Failure: &events.AnswerError{
			Code: events.ErrorTooOld, Message: "it lies further back than the " + l.Policy.BackfillMost.String() + " that are filled",
		}})
	}
	l.feeds.filling.busy = true
	check := l.checkOf(sub)
	l.sessions.Go(func() {
		f := l.fill(sub, g, check)
		l.handOver(func() error { return l.filled(f) })
	})
	return nil
}

// filled is what became of one try to fill a gap.
type filled struct {
	sub    *events.Subscription
	gap    events.Gap
	bars   int // that IB has
	answer events.Answer
	err    error // why they are not stored
}

// handOver has the loop do something, from another goroutine.
func (l *loop) handOver(do func() error) {
	select {
	case l.results <- do:
	case <-l.quit:
	}
}

// fill fetches the bars of a gap and stores them.
func (l *loop) fill(sub *events.Subscription, g events.Gap, check *events.BarCheck) filled {
	f := filled{sub: sub, gap: g}
	q := events.BarQuery{End: g.To, Duration: durationFor(g.To.Sub(g.From)), BarSize: "5 secs", What: sub.Feed.What, RTH: sub.Feed.RTH}
	if sub.Feed.Kind == events.SubscribeHistoryBars {
		q.BarSize = sub.Feed.BarSize
	}
	f.answer = l.recall(l.alive, sub.Feed.Contract, q, PriorityBackfill, fillWait, func(bars []events.Bar) error {
		var part []*events.BarData
		now := l.wallNow()
		for _, b := range bars {
			begins, ok := b.Begins()
			if !ok || begins.Before(g.From) || !begins.Before(g.To) {
				continue
			}
			part = append(part, barData(sub, check.Check(b, now), now, true))
		}
		f.bars += len(part)
		if len(part) == 0 {
			return nil
		}
		_, f.err = l.Data.Store(l.alive, l.Connection, sub.Name, seriesOf(sub), part)
		return f.err
	})
	return f
}

// durationFor words a span for IB: no shorter than the shortest one that it
// takes for every size of bar, and in days from a day on.
func durationFor(span time.Duration) string {
	const least = time.Minute
	if span <= tradingDay {
		return strconv.FormatInt(int64((max(span, least)+time.Second-1)/time.Second), 10) + " S"
	}
	return strconv.FormatInt(int64((span+tradingDay-1)/tradingDay), 10) + " D"
}

// filled takes what became of a gap.
func (l *loop) filled(f filled) error {
	fs := &l.feeds.filling
	fs.busy = false
	if sub, ok := l.state.Subscribed(f.sub.Name); !ok || sub.AddedSeq != f.sub.AddedSeq {
		return nil // it was cancelled meanwhile
	}
	in := Backfilled{Name: f.sub.Name, From: f.gap.From, To: f.gap.To, Bars: f.bars, FoundAt: f.gap.At}
	now := l.wallNow()
	refused := f.answer.Error
	switch {
	case f.err != nil:
		l.fillLater(f.sub.Name, now)
		return nil
	case refused == nil:
		in.Lacking = max(0, l.feeds.openings.barsWithin(f.sub, f.gap.From, f.gap.To)-f.bars)
		if f.bars == 0 && !l.feeds.openings.closed(f.sub, f.gap.From, f.gap.To) {
			in.Failure = &events.AnswerError{Code: events.ErrorNoData, Message: "IB has no bars for it"}
		}
	case passing(refused.Code):
		l.fillLater(f.sub.Name, now)
		return nil
	case refused.Code == events.ErrorGatewayError && fs.tries[f.sub.Name] < fillTries:
		l.fillLater(f.sub.Name, now)
		fs.tries[f.sub.Name]++
		return nil
	default:
		in.Failure = refused
	}
	delete(fs.after, f.sub.Name)
	delete(fs.tries, f.sub.Name)
	return l.take(in)
}

func (l *loop) fillLater(name string, now time.Time) {
	fs := &l.feeds.filling
	if fs.after == nil {
		fs.after, fs.tries = make(map[string]time.Time), make(map[string]int)
	}
	fs.after[name] = now.Add(fillAgain)
}

// passing says whether a request that was answered so may be answered otherwise
// later.
func passing(code events.ErrorCode) bool {
	return slices.Contains([]events.ErrorCode{
		events.ErrorNotReady, events.ErrorSessionLost, events.ErrorTimeout, events.ErrorExpired, events.ErrorUnavailable, events.ErrorPacing,
		events.ErrorQueueFull, events.ErrorBusy, events.ErrorShutdown,
	}, code)
}

// learning asks IB anew for contracts' trading hours, one by one.
type learning struct {
	busy  bool
	next  time.Time
	after map[string]time.Time // when a subscription's are asked for again that IB did not tell
}

// toLearn returns the subscription whose hours are the oldest, and when they are
// to be asked for anew.
func (l *loop) toLearn() (sub *events.Subscription, at time.Time, ok bool) {
	for _, o := range l.state.Subscriptions {
		due := latest(o.Hours.AsOf.Add(hoursFor), l.feeds.learning.after[o.Name])
		if !ok || due.Before(at) {
			sub, at, ok = o, due, true
		}
	}
	return sub, latest(at, l.feeds.learning.next), ok
}

// learn asks for the hours that are due.
func (l *loop) learn(now time.Time) {
	sub, at, ok := l.toLearn()
	if !ok || l.feeds.learning.busy || now.Before(at) || !l.recallable() {
		return
	}
	l.feeds.learning.busy, l.feeds.learning.next = true, now.Add(learnEvery)
	l.sessions.Go(func() {
		in := learned{name: sub.Name}
		a := l.qualify(l.alive, events.Request{Contract: sub.Feed.Contract, Wait: events.Wait(learnWait)})
		if a.OK && len(a.Contracts) == 1 {
			in.hours, in.ok = hoursOf(a.Contracts[0], a.AsOf), true
		}
		l.handOver(func() error { return l.learned(in) })
	})
}

// learned is IB's answer to that.
type learned struct {
	name  string
	hours events.TradingTimes
	ok    bool
}

func (l *loop) learned(in learned) error {
	ln := &l.feeds.learning
	ln.busy = false
	if ln.after == nil {
		ln.after = make(map[string]time.Time)
	}
	// Whether it is news or not, or was not told: not at once again.
	ln.after[in.name] = l.wallNow().Add(learnAgain)
	if !in.ok {
		return nil
	}
	return l.take(Learned{Name: in.name, Hours: in.hours})
}
