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
	// fillAgain is how soon a gap that could not be filled for now is tried again,
	// at first.
	fillAgain = 10 * time.Second
	// fillTries is how often a refusal of the gateway is taken for a passing one.
	fillTries = 3
	// lags is how far history may lie behind: what it lacks that is younger may
	// yet come.
	lags = 5 * time.Minute
	// fillWait is how long one try may take, its turns by IB's rules included.
	fillWait   = time.Hour
	tradingDay = 24 * time.Hour
	// ahead is how far a bar may begin after it came, and daysAhead one that has a
	// date: of a month's the last day may be given.
	ahead     = 2 * time.Minute
	daysAhead = 31 * tradingDay
	// newestWithin is how long the bus may take to say what it has of a series,
	// which holds the loop up; newestAgain is how soon it is asked again if it did
	// not.
	newestWithin = time.Second
	newestAgain  = 10 * time.Second
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
	heard  time.Time   // when it last came
	cut    bool        // the gateway was cut off from its data since it began
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
			err = l.unfinished(sub, s, b, in.At, in.Past)
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
	if l.feeds.bus.rests && l.passedNow() < l.feeds.bus.until {
		return nil, false
	}
	s := &series{name: name, check: l.checkOf(sub)}
	ctx, cancel := context.WithTimeout(l.appending, newestWithin)
	defer cancel()
	newest, err := l.Data.Newest(ctx, l.Connection, sub.Name, name)
	if err != nil {
		l.feeds.bus.rests, l.feeds.bus.until = true, l.passedNow()+newestAgain
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
	if ok && l.future(sub, begins, at) {
		l.publishUnfinished(sub, s, b, at)
		return nil
	}
	if ok && !s.newest.IsZero() {
		if err := l.missing(sub, s.newest.Add(sub.Feed.BarSpan()), begins); err != nil {
			return err
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

// missing records that the bars of a stretch of time are missing, where there are
// to be some.
func (l *loop) missing(sub *events.Subscription, from, to time.Time) error {
	span := sub.Feed.BarSpan()
	if span >= tradingDay || !from.Before(to) || l.feeds.openings.closed(sub, from, to) {
		return nil
	}
	return l.take(Missing{Name: sub.Name, From: from, To: to, Bars: int(to.Sub(from) / span)})
}

// future says whether a bar begins long after it came, by the gateway's clock. It
// must not be taken for the newest: all that are true would come after it.
func (l *loop) future(sub *events.Subscription, begins, at time.Time) bool {
	most := ahead
	if sub.Feed.BarSpan() >= tradingDay {
		most = daysAhead
	}
	return begins.After(at.Add(l.state.Heartbeat.Skew.Duration() + most))
}

// unfinished hands on what is known of a bar so far. When another one begins, it
// is finished. One that a new placement brings along is whole so far.
func (l *loop) unfinished(sub *events.Subscription, s *series, b events.Bar, at time.Time, past bool) error {
	begins, known := b.Begins()
	if known && l.future(sub, begins, at) {
		l.publishUnfinished(sub, s, b, at)
		return nil
	}
	if s.open != nil && s.open.Time != b.Time {
		if before, ok := s.open.Begins(); ok && known && begins.Before(before) {
			return nil // an old one, sent again
		}
		if err := l.closeBar(sub, s, begins, at); err != nil {
			return err
		}
	}
	switch {
	case past:
		s.cut = false
	case s.open != nil:
		s.cut = s.cut || l.cutSince(s.heard)
	default:
		s.cut = known && l.cutSince(begins)
	}
	s.open, s.heard = &b, at
	l.publishUnfinished(sub, s, b, at)
	return nil
}

// closeBar finishes the open bar, as another one begins. If the gateway was cut off
// from its data since it began, it does not know all of it: then it is missing.
func (l *loop) closeBar(sub *events.Subscription, s *series, next, at time.Time) error {
	open, cut, span := *s.open, s.cut || l.cutSince(s.heard), sub.Feed.BarSpan()
	s.open, s.cut = nil, false
	begins, ok := open.Begins()
	if !cut || !ok || next.IsZero() || span >= tradingDay {
		return l.finished(sub, s, open, at, false)
	}
	if !begins.After(s.newest) {
		return nil
	}
	from := begins
	if !s.newest.IsZero() {
		from = earliest(begins, s.newest.Add(span))
	}
	s.newest = latest(s.newest, next.Add(-span))
	return l.missing(sub, from, next)
}

func (l *loop) publishUnfinished(sub *events.Subscription, s *series, b events.Bar, at time.Time) {
	b = s.check.Check(b, at)
	b.Provisional = true
	l.Data.Publish(l.Connection, sub.Name, barData(sub, b, at, false))
}

// cutSince says whether the gateway has been cut off from IB, or from a farm, since
// a time.
func (l *loop) cutSince(at time.Time) bool {
	link := l.state.Link
	if link.Status == events.LinkDown || link.Status == events.LinkUp && link.Since.After(at) {
		return true
	}
	return slices.ContainsFunc(l.state.Farms, func(f events.FarmState) bool {
		return f.Status == events.FarmDown || f.Status == events.FarmUp && f.Since.After(at)
	})
}

func barData(sub *events.Subscription, b events.Bar, at time.Time, backfill bool) *events.BarData {
	size := sub.Feed.BarSize
	if sub.Feed.Kind == events.SubscribeBars {
		size = "5 secs"
	}
	return &events.BarData{At: at.UTC().Round(0), BarSize: size, What: sub.Feed.What, Backfill: backfill, Bar: b}
}

// filling is whose gaps are being filled; one subscription's at a time, since IB's
// rules let few such requests go.
type filling struct {
	of     *events.Subscription // nil when none are
	cancel context.CancelFunc   // ends it
	rests  map[string]rest      // by subscription
}

// rest is until when a subscription's gaps are left alone, after so many tries in a
// row that brought nothing.
type rest struct {
	until time.Time
	tries int
}

// fillable returns whose gaps to fill next, and when; ok is false when there are
// none.
func (l *loop) fillable() (sub *events.Subscription, at time.Time, ok bool) {
	for _, o := range l.state.Subscriptions {
		for _, gap := range o.Gaps {
			due := latest(gap.At.Add(settles), l.feeds.filling.rests[o.Name].until)
			if !ok || due.Before(at) {
				sub, at, ok = o, due, true
			}
		}
	}
	return sub, at, ok
}

// together returns the gaps of a subscription that one request is for: the oldest
// that is due, and those behind it that the same request reaches.
func together(sub *events.Subscription, now time.Time) (gaps []events.Gap) {
	for _, g := range sub.Gaps {
		due := !now.Before(g.At.Add(settles))
		switch {
		case len(gaps) == 0 && due:
			gaps = append(gaps, g)
		case len(gaps) == 0:
		case !due, splitOf(queryFor(sub, gaps[0].From, g.To), now).chunks > 1:
			return gaps
		default:
			gaps = append(gaps, g)
		}
	}
	return gaps
}

// queryFor asks for the bars of a subscription from one time to another.
func queryFor(sub *events.Subscription, from, to time.Time) events.BarQuery {
	q := events.BarQuery{End: to, Duration: durationFor(to.Sub(from)), BarSize: "5 secs", What: sub.Feed.What, RTH: sub.Feed.RTH}
	if sub.Feed.Kind == events.SubscribeHistoryBars {
		q.BarSize = sub.Feed.BarSize
	}
	return q.WithDefaults()
}

// wakeGaps returns when a gap is to be filled, or hours are to be learned.
func (l *loop) wakeGaps(now time.Time) time.Time {
	if !l.recallable() {
		return time.Time{}
	}
	var at time.Time
	if l.feeds.filling.of == nil {
		if _, due, ok := l.fillable(); ok {
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

// fillGaps begins to fill the gaps that are due, if none are being filled.
func (l *loop) fillGaps(now time.Time) error {
	if l.feeds.filling.of != nil || !l.recallable() {
		return nil
	}
	sub, at, ok := l.fillable()
	if !ok || now.Before(at) {
		return nil
	}
	gaps := together(sub, now)
	if g, oldest := gaps[0], now.Add(-l.Policy.BackfillMost); g.From.Before(oldest) {
		// Up to a whole bar, and never to where it begins.
		to := oldest.Add(sub.Feed.BarSpan() - 1).Truncate(sub.Feed.BarSpan())
		return l.take(Backfilled{Name: sub.Name, From: g.From, To: earliest(g.To, to), Failure: &events.AnswerError{
			Code: events.ErrorTooOld, Message: "it lies further back than the " + l.Policy.BackfillMost.String() + " that are filled",
		}})
	}
	ctx, cancel := context.WithCancel(l.alive)
	l.feeds.filling.of, l.feeds.filling.cancel = sub, cancel
	check := l.checkOf(sub)
	l.sessions.Go(func() {
		defer cancel()
		f := l.fill(ctx, sub, gaps, check)
		l.handOver(func() error { return l.filled(f) })
	})
	return nil
}

// keepFilling ends the filling of gaps of a subscription that is none any more.
func (l *loop) keepFilling() {
	f := &l.feeds.filling
	if f.of == nil {
		return
	}
	if sub, ok := l.state.Subscribed(f.of.Name); !ok || sub.AddedSeq != f.of.AddedSeq {
		f.cancel()
	}
}

// filled is what became of one try to fill gaps.
type filled struct {
	sub    *events.Subscription
	gaps   []fetched
	answer events.Answer
	err    error // why what IB has is not stored
}

// fetched is what IB has of a gap.
type fetched struct {
	events.Gap
	bars int
	last time.Time // when the last of them begins
}

// handOver has the loop do something, from another goroutine.
func (l *loop) handOver(do func() error) {
	select {
	case l.results <- do:
	case <-l.quit:
	}
}

// fill fetches the bars of gaps and stores them.
func (l *loop) fill(ctx context.Context, sub *events.Subscription, gaps []events.Gap, check *events.BarCheck) filled {
	f := filled{sub: sub}
	for _, g := range gaps {
		f.gaps = append(f.gaps, fetched{Gap: g})
	}
	q := queryFor(sub, gaps[0].From, gaps[len(gaps)-1].To)
	f.answer = l.recall(ctx, sub.Feed.Contract, q, PriorityBackfill, fillWait, func(bars []events.Bar) error {
		var part []*events.BarData
		now := l.wallNow()
		for _, b := range bars {
			if f.takes(b) {
				part = append(part, barData(sub, check.Check(b, now), now, true))
			}
		}
		if len(part) == 0 {
			return nil
		}
		_, f.err = l.Data.Store(ctx, l.Connection, sub.Name, seriesOf(sub), part)
		return f.err
	})
	return f
}

// takes says whether a bar is of one of the gaps, where it is counted.
func (f *filled) takes(b events.Bar) bool {
	begins, ok := b.Begins()
	if !ok {
		return false
	}
	for i := range f.gaps {
		if g := &f.gaps[i]; !begins.Before(g.From) && begins.Before(g.To) {
			g.bars++
			g.last = latest(g.last, begins)
			return true
		}
	}
	return false
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

// filled takes what became of gaps.
func (l *loop) filled(f filled) error {
	fs := &l.feeds.filling
	fs.of, fs.cancel = nil, nil
	if sub, ok := l.state.Subscribed(f.sub.Name); !ok || sub.AddedSeq != f.sub.AddedSeq {
		return nil // it was cancelled meanwhile
	}
	now, tries := l.wallNow(), fs.rests[f.sub.Name].tries
	if e := f.answer.Error; e != nil && f.err == nil && ofSession(e.Code) {
		l.restFilling(f.sub.Name, now, tries)
		return nil
	} else if f.err != nil || e != nil && (passing(e.Code) || e.Code == events.ErrorGatewayError && tries < fillTries) {
		l.restFilling(f.sub.Name, now, tries+1)
		return nil
	}
	brought, left := false, false
	for _, g := range f.gaps {
		in := Backfilled{Name: f.sub.Name, From: g.From, To: g.To, Bars: g.bars, FoundAt: g.At, Failure: f.answer.Error}
		if in.Failure == nil {
			brought = brought || g.bars > 0
			if now.Sub(g.To) < lags && l.short(f.sub, g) {
				left = true
				continue
			}
			in.Lacking = max(0, l.feeds.openings.barsWithin(f.sub, g.From, g.To)-g.bars)
			if g.bars == 0 && !l.feeds.openings.closed(f.sub, g.From, g.To) {
				in.Failure = &events.AnswerError{Code: events.ErrorNoData, Message: "IB has no bars for it"}
			}
		}
		if err := l.take(in); err != nil {
			return err
		}
	}
	if brought && !left {
		delete(fs.rests, f.sub.Name)
	} else {
		l.restFilling(f.sub.Name, now, tries+1)
	}
	return nil
}

// short says whether bars at the end of a gap are not there that there may be:
// those that history may not have yet.
func (l *loop) short(sub *events.Subscription, g fetched) bool {
	from := g.From
	if g.bars > 0 {
		from = g.last.Add(sub.Feed.BarSpan())
	}
	return from.Before(g.To) && !l.feeds.openings.closed(sub, from, g.To)
}

// restFilling leaves the gaps of a subscription alone for a while: for longer, the
// more often that was so. Of an instrument that trades seldom most bars that
// seem to be missing never were.
func (l *loop) restFilling(name string, now time.Time, tries int) {
	fs := &l.feeds.filling
	if fs.rests == nil {
		fs.rests = make(map[string]rest)
	}
	fs.rests[name] = rest{again(now, fillAgain, max(tries, 1)), tries}
}

// passing says whether a request that was answered so may be answered otherwise
// later.
func passing(code events.ErrorCode) bool {
	return slices.Contains([]events.ErrorCode{
		events.ErrorTimeout, events.ErrorExpired, events.ErrorUnavailable, events.ErrorPacing, events.ErrorQueueFull, events.ErrorBusy,
	}, code)
}

// ofSession says whether a request was answered so for want of a session, which says
// nothing of what it asked for.
func ofSession(code events.ErrorCode) bool {
	return slices.Contains([]events.ErrorCode{events.ErrorNotReady, events.ErrorSessionLost, events.ErrorShutdown}, code)
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
		in := learned{sub: sub}
		a := l.qualify(l.alive, events.Request{Contract: sub.Feed.Contract, Wait: events.Wait(learnWait)})
		if a.OK && len(a.Contracts) == 1 {
			in.hours, in.ok = hoursOf(a.Contracts[0], a.AsOf), true
		}
		l.handOver(func() error { return l.learned(in) })
	})
}

// learned is IB's answer to that.
type learned struct {
	sub   *events.Subscription // as it was when IB was asked
	hours events.TradingTimes
	ok    bool
}

func (l *loop) learned(in learned) error {
	ln := &l.feeds.learning
	ln.busy = false
	sub, ok := l.state.Subscribed(in.sub.Name)
	if !ok || sub.AddedSeq != in.sub.AddedSeq {
		return nil // it was cancelled meanwhile
	}
	if ln.after == nil {
		ln.after = make(map[string]time.Time)
	}
	// Whether it is news or not, or was not told: not at once again.
	ln.after[sub.Name] = l.wallNow().Add(learnAgain)
	if !in.ok {
		return nil
	}
	return l.take(Learned{Name: sub.Name, Hours: in.hours.Following(sub.Hours)})
}

// lookForLost records as missing what was dropped on its way to the bus.
func (l *loop) lookForLost() error {
	if l.Data == nil {
		return nil
	}
	for _, d := range l.Data.LostBars(l.Connection) {
		sub, ok := l.state.Subscribed(d.Subscription)
		if !ok || seriesOf(sub) != d.Series {
			continue
		}
		if err := l.missing(sub, d.From, d.To.Add(sub.Feed.BarSpan())); err != nil {
			return err
		}
	}
	return nil
}
