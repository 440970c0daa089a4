package connector

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"ibconn/events"
)

// subscriptionIDs is where the request ids of subscriptions begin; they end
// where those of callers' requests do. The last one is on record, so that none
// is used twice in the life of a log.
const subscriptionIDs = 1 << 27

// Subscribing is what a subscribe command wants: its contract is qualified.
type Subscribing struct {
	Name      string // empty for one that is made from the contract
	Caller    string
	Feed      events.Feed
	Asked     events.Contract // as the command described it
	Priority  events.SubscriptionPriority
	DarkAfter time.Duration // 0 for what its kind has
	Hours     events.TradingTimes
}

// Cancelling is what a cancel command wants.
type Cancelling struct {
	Subscription string
	Caller       string
	All          bool // for whoever wants it
}

// Quiet is what the runner says of a subscription of which nothing was heard for
// so long that something is to be done.
type Quiet struct {
	Name string
	// LastAt is when data last came since it was placed; zero when none did.
	LastAt time.Time
	// Since is from when on there was nothing though its market was open.
	Since time.Time
	// Restored names what came back since it was placed, with no data behind it:
	// the reason to place it again. Empty where it is only silent.
	Restored events.PlacedBecause
}

// Missing says that bars of a subscription are missing, as a later one came.
type Missing struct {
	Name     string
	From, To time.Time
	Bars     int // at most
}

// Backfilled says what became of the bars that were fetched for a gap.
type Backfilled struct {
	Name     string
	From, To time.Time
	Bars     int // new ones, that are stored
	Lacking  int // that IB does not have, as far as hours are known
	FoundAt  time.Time
	Failure  *events.AnswerError // why it is given up; nil when it is filled
}

// Learned says what IB says of a subscription's trading hours now.
type Learned struct {
	Name  string
	Hours events.TradingTimes
}

func (Missing) isInput()    {}
func (Backfilled) isInput() {}
func (Learned) isInput()    {}

// subscribing takes a subscribe command: the event that it leads to, or nothing
// where it asks for what is wanted already.
func (p Policy) subscribing(s events.State, in Commanded) (events.Draft, bool) {
	w, d := *in.Subscribe, events.Draft{Correlation: in.ID, Causation: in.ID}
	reason := quote(in.Reason)
	if sub, ok := same(s, w.Feed); ok {
		switch {
		case slices.Contains(sub.Callers, w.Caller):
			return d, false
		case len(sub.Callers) >= events.MaxCallers:
			d.Event = rejected(in, events.ErrorTooMany, "subscription %s has %d callers, which is as many as are counted", sub.Name, len(sub.Callers))
			return d, true
		}
		d.Event = &events.SubscriptionJoined{CommandID: in.ID, Reason: reason, Subscription: sub.Name, Caller: w.Caller}
		return d, true
	}
	name := cmp.Or(w.Name, nameFor(s, w.Feed))
	_, taken := s.Subscribed(name)
	switch {
	case taken:
		d.Event = rejected(in, events.ErrorNameTaken, "subscription %s is of something else: cancel it, or choose another name", name)
	case len(s.Subscriptions) >= events.MaxSubscriptions:
		d.Event = rejected(in, events.ErrorTooMany, "there are %d subscriptions, which is as many as a connection keeps: cancel some", len(s.Subscriptions))
	default:
		d.Event = &events.SubscriptionAdded{
			CommandID: in.ID, Reason: reason, Subscription: name, Caller: w.Caller, Feed: w.Feed, Asked: w.Asked,
			Priority: w.Priority, DarkAfter: events.MillisOf(w.DarkAfter), Hours: w.Hours,
		}
	}
	return d, true
}

func rejected(in Commanded, code events.ErrorCode, format string, args ...any) events.Event {
	return &events.CommandRejected{CommandID: in.ID, Verb: in.Verb, Code: code, Message: fmt.Sprintf(format, args...)}
}

// same returns the subscription that is of f already.
func same(s events.State, f events.Feed) (*events.Subscription, bool) {
	i := slices.IndexFunc(s.Subscriptions, func(sub *events.Subscription) bool { return sub.Feed == f })
	if i < 0 {
		return nil, false
	}
	return s.Subscriptions[i], true
}

// nameFor makes a name that is not taken: aapl-bars, eur-usd-quotes,
// esz6-history-bars-1-min.
func nameFor(s events.State, f events.Feed) string {
	c := f.Contract
	symbol := cmp.Or(c.LocalSymbol, c.Symbol)
	parts := []string{cmp.Or(token(symbol), fmt.Sprint(c.ConID)), string(f.Kind)}
	if f.Kind == events.SubscribeHistoryBars {
		parts = append(parts, token(f.BarSize))
	}
	if usual := (events.Feed{Kind: f.Kind}).WithDefaults(); f.What != usual.What {
		parts = append(parts, token(f.What))
	}
	if f.RTH {
		parts = append(parts, "rth")
	}
	name := strings.Join(parts, "-")
	for _, more := range []string{"", fmt.Sprintf("-%d", c.ConID)} {
		if _, taken := s.Subscribed(name + more); !taken {
			return name + more
		}
	}
	for n := 2; ; n++ {
		numbered := fmt.Sprintf("%s-%d-%d", name, c.ConID, n)
		if _, taken := s.Subscribed(numbered); !taken {
			return numbered
		}
	}
}

// maxSymbol is how much of a symbol stands in a name.
const maxSymbol = 24

// token makes a part of a name of a text.
func token(text string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		} else if b.Len() > 0 && !strings.HasSuffix(b.String(), "-") {
			b.WriteByte('-')
		}
	}
	name := b.String()
	return strings.TrimRight(name[:min(len(name), maxSymbol)], "-")
}

// cancelling takes a cancel command.
func (p Policy) cancelling(s events.State, in Commanded) (events.Draft, bool) {
	c, d := *in.Cancel, events.Draft{Correlation: in.ID, Causation: in.ID}
	sub, ok := s.Subscribed(c.Subscription)
	reason := quote(in.Reason)
	switch {
	case !ok:
		d.Event = rejected(in, events.ErrorNotFound, "there is no subscription %s: the command subscriptions lists them", c.Subscription)
	case c.All:
		d.Event = &events.SubscriptionCancelled{CommandID: in.ID, Reason: reason, Subscription: sub.Name}
	case !slices.Contains(sub.Callers, c.Caller):
		d.Event = rejected(in, events.ErrorNotFound, "%s does not want subscription %s: those who do are %s", c.Caller, sub.Name, strings.Join(sub.Callers, ", "))
	case len(sub.Callers) > 1:
		d.Event = &events.SubscriptionLeft{CommandID: in.ID, Reason: reason, Subscription: sub.Name, Caller: c.Caller}
	default:
		d.Event = &events.SubscriptionCancelled{CommandID: in.ID, Reason: reason, Subscription: sub.Name, Caller: c.Caller}
	}
	return d, true
}

// dueSubscriptions finds what is to be done for the subscriptions of a session
// that is ready: which fell silent, and which is to be placed next.
func (p Policy) dueSubscriptions(s events.State, in Woke, now time.Time) (events.Draft, bool) {
	for _, q := range in.Quiet {
		sub, ok := s.Subscribed(q.Name)
		if ok && q.Restored == "" && sub.Attempt == s.Attempt.Number && awaited(sub.Status) {
			return p.fellSilent(s, sub, q, now), true
		}
	}
	if !placeable(s) {
		return events.Draft{}, false
	}
	var next *events.Subscription
	var why events.PlacedBecause
	for _, sub := range s.Subscriptions {
		if now.Before(in.Held[sub.Name]) {
			continue
		}
		because := p.toPlace(s, sub, in, now)
		if because != "" && (why == "" || sub.Priority.Rank() < next.Priority.Rank()) {
			next, why = sub, because
		}
	}
	if why == "" {
		return events.Draft{}, false
	}
	return about(s.Attempt.Number, &events.SubscriptionPlacement{
		Subscription: next.Name, Attempt: s.Attempt.Number, RequestID: max(s.LastRequestID+1, subscriptionIDs),
		Because: why, Try: triesOf(next, now) + 1,
	}), true
}

// awaited says whether data is due of a subscription: it was placed, and nobody
// said that it will not come.
func awaited(s events.SubscriptionStatus) bool {
	return s == events.SubscriptionPlaced || s == events.SubscriptionLive
}

// placeable says whether something may be placed now: what is asked for while
// the link is down is refused, or never made.
func placeable(s events.State) bool {
	return s.Phase == events.PhaseReady && s.Link.Status != events.LinkDown && !s.Link.Unproven && s.Session.StaleSince.IsZero()
}

// toPlace returns why a subscription is to be placed now; empty when it is not.
func (p Policy) toPlace(s events.State, sub *events.Subscription, in Woke, now time.Time) events.PlacedBecause {
	if sub.Attempt != s.Attempt.Number {
		if sub.RequestID == 0 {
			return events.BecauseNew
		}
		return events.BecauseSession
	}
	due := !sub.RetryAt.IsZero() && !now.Before(sub.RetryAt)
	switch {
	case s.Link.DataLost && sub.PlacedAt.Before(s.Link.Since):
		return events.BecauseDataLost
	case sub.Status == events.SubscriptionFailed && (due || sub.Class == events.ClassCapacity && sub.Since.Before(in.Freed)):
		return events.BecauseRetry
	case sub.Status == events.SubscriptionFailed && sub.RetryAt.IsZero() && sub.Class == events.ClassRequestInvalid && believedAgain(s, sub):
		return events.BecauseRetry
	case sub.Status == events.SubscriptionDark && due && !now.Before(elsewhere(s)):
		return events.BecauseDark
	}
	for _, q := range in.Quiet {
		if q.Name == sub.Name && q.Restored != "" && sub.Status != events.SubscriptionFailed {
			return q.Restored
		}
	}
	return ""
}

// believedAgain says whether what the gateway found wrong with a subscription's
// request may have been wrong itself: it finds contracts that do not exist when it
// is about to lose IB, and says that it lost it afterwards.
func believedAgain(s events.State, sub *events.Subscription) bool {
	at, _ := restored(s, sub)
	return sub.Since.Before(at)
}

// elsewhere is until when another session is taken to have the market data: it is
// heard of each time that something is placed in vain.
func elsewhere(s events.State) time.Time {
	if s.Competing.Since.IsZero() {
		return time.Time{}
	}
	return s.Competing.LastAt.Add(capacityAgain)
}

// competingCode is IB's code for another session that has the market data of all;
// other codes with such words are about one request, and end it.
const competingCode = 10197

const (
	// capacityAgain is how soon something for which there was no room is asked for
	// again: another client may have given a line back.
	capacityAgain = time.Minute
	// tryAgainMost is how long the next try waits at most.
	tryAgainMost = 10 * time.Minute
	// bustAgain is how soon a subscription that died is placed again at first.
	bustAgain = time.Second
)

// again is when the next try is due after so many that came to nothing.
func again(now time.Time, first time.Duration, tries int) time.Time {
	wait := tryAgainMost
	if doublings := max(tries-1, 0); doublings < 20 && first <= tryAgainMost>>doublings {
		wait = first << doublings
	}
	return now.Add(wait)
}

// lasts is how long data must have come before what was tried in vain is forgotten.
const lasts = time.Minute

// triesOf is how often in a row a subscription came to nothing before now. One whose
// data lasted begins anew.
func triesOf(sub *events.Subscription, now time.Time) int {
	if !sub.LiveAt.IsZero() && now.Sub(sub.LiveAt) >= lasts {
		return 0
	}
	return sub.Tries
}

func (p Policy) fellSilent(s events.State, sub *events.Subscription, q Quiet, now time.Time) events.Draft {
	tries := triesOf(sub, now) + 1
	return about(s.Attempt.Number, &events.SubscriptionFellSilent{
		Subscription: sub.Name, Attempt: sub.Attempt, RequestID: sub.RequestID, LastAt: q.LastAt,
		Silent: events.Between(q.Since, now), Because: amiss(s, sub.Feed.Kind), RetryAt: again(now, p.darkAfter(sub), tries), Tries: tries,
	})
}

// amiss says what else is known to be wrong that explains why no data comes.
func amiss(s events.State, kind events.SubscriptionKind) string {
	if !s.Competing.Since.IsZero() {
		return "another session of the user takes the market data"
	}
	return doubtOf(s, farmOf(kind))
}

// farmOf returns the kind of farm that a subscription hangs on.
func farmOf(kind events.SubscriptionKind) events.FarmKind {
	if kind == events.SubscribeHistoryBars {
		return events.FarmHistorical
	}
	return events.FarmMarketData
}

// hangsOn says whether data of a kind of subscription may come by way of a kind of
// farm: the live part of bars that are kept up to date comes from market data.
func hangsOn(kind events.SubscriptionKind, farm events.FarmKind) bool {
	return farm == events.FarmMarketData || farm == events.FarmHistorical && kind == events.SubscribeHistoryBars
}

// darkAfter is how long the data of a subscription may stay away.
func (p Policy) darkAfter(sub *events.Subscription) time.Duration {
	if sub.DarkAfter > 0 {
		return sub.DarkAfter.Duration()
	}
	switch sub.Feed.Kind {
	case events.SubscribeQuotes:
		return p.QuotesDarkAfter
	case events.SubscribeTrades:
		return p.TradesDarkAfter
	case events.SubscribeBars:
		return p.BarsDarkAfter
	case events.SubscribeHistoryBars:
	}
	return p.HistoryBarsDarkAfter
}

// quiet judges a subscription of which something was last heard at a time (zero:
// nothing since it was placed), and says when it is to be judged next; zero for
// not by time alone. open is from when on its market has been open, zero for
// closed: what is not known counts as open. It is pure.
func (p Policy) quiet(s events.State, sub *events.Subscription, heard time.Time, open func(at time.Time) (since, next time.Time), now time.Time) (q Quiet, is bool, look time.Time) {
	if sub.Attempt != s.Attempt.Number || sub.Status == events.SubscriptionFailed {
		return q, false, time.Time{}
	}
	opened, next := open(now)
	if opened.IsZero() {
		return q, false, next
	}
	q = Quiet{Name: sub.Name, LastAt: heard, Since: latest(latest(heard, sub.PlacedAt), opened)}
	dark := awaited(sub.Status) && !now.Before(q.Since.Add(p.darkAfter(sub)))
	if at, because := restored(s, sub); because != "" && heard.Before(at) && !dark {
		due := latest(at, opened).Add(p.RestoredAfter)
		if !now.Before(due) {
			q.Restored = because
			return q, true, time.Time{}
		}
		look = due
	}
	if !awaited(sub.Status) {
		return q, false, look
	}
	due := q.Since.Add(p.darkAfter(sub))
	if !now.Before(due) {
		return q, true, time.Time{}
	}
	return q, false, earliest(look, due)
}

// restored returns what came back since a subscription was placed, and when: its
// data is to come again within moments of that.
func restored(s events.State, sub *events.Subscription) (at time.Time, because events.PlacedBecause) {
	if s.Link.Status == events.LinkUp && sub.PlacedAt.Before(s.Link.Since) {
		at, because = s.Link.Since, events.BecauseLink
	}
	for _, f := range s.Farms {
		// One that is down, too, says nothing of those that are back: which of them
		// a subscription hangs on is not known.
		if hangsOn(sub.Feed.Kind, f.Kind) && f.Status == events.FarmUp && sub.PlacedAt.Before(f.Since) && at.Before(f.Since) {
			at, because = f.Since, events.BecauseFarm
		}
	}
	return at, because
}

// arrived records that data of a subscription comes.
func (p Policy) arrived(s events.State, in Arrived, now time.Time) (events.Draft, bool) {
	sub, ok := s.Placed(in.ID)
	// What comes behind a refusal was on its way: the request is cancelled.
	if !ok || sub.Status == events.SubscriptionLive || sub.Status == events.SubscriptionFailed {
		return events.Draft{}, false
	}
	e := &events.SubscriptionDelivered{
		Subscription: sub.Name, Attempt: in.Attempt, RequestID: in.ID, Took: events.Between(sub.PlacedAt, now),
	}
	if sub.Status == events.SubscriptionDark {
		e.Dark = events.Between(sub.Since, now)
	}
	return about(in.Attempt, e), true
}

// ofSubscription says whether a request id is a subscription's.
func ofSubscription(id int64) bool { return id >= subscriptionIDs && id < requestIDs }

// subscriptionNotice reads an error of the gateway that came for a subscription.
// done says that there is no more to it than d, or than nothing.
func (p Policy) subscriptionNotice(s events.State, in Noticed, reading events.Reading, now time.Time) (d events.Draft, recorded, done bool) {
	if !ofSubscription(in.RequestID) || s.Phase != events.PhaseReady || reading.GoesOn() {
		return d, false, false
	}
	sub, ok := s.Placed(in.RequestID)
	if !ok || sub.Status == events.SubscriptionFailed { // one that is cancelled: mostly the echo of that
		return d, false, reading.Class == events.ClassBenign || reading.Class == events.ClassSubDeadRetry
	}
	class, tries := reading.Class, triesOf(sub, now)+1
	var retryAt time.Time
	switch {
	case reading.UnmatchedText && class == events.ClassCompeting: // nothing says that it is that
		class, retryAt = events.ClassUnknown, again(now, capacityAgain, tries)
	case class == events.ClassCompeting && in.Code != competingCode && !s.Competing.Since.IsZero():
		retryAt = now.Add(capacityAgain) // the request is over, the session's subscriptions are not
	}
	if !retryAt.IsZero() {
		return p.refused(sub, in, reading, class, retryAt, tries), true, true
	}
	switch class {
	case events.ClassSubDeadRetry, events.ClassBenign:
		retryAt = again(now, bustAgain, tries)
	case events.ClassCapacity, events.ClassPacing, events.ClassNoData:
		retryAt = again(now, capacityAgain, tries)
	case events.ClassRequestInvalid: // a gateway that is cut off from IB finds much of this kind
		if doubtOf(s, farmOf(sub.Feed.Kind)) != "" || doubt(s) != "" {
			retryAt = again(now, p.darkAfter(sub), tries)
		}
	case events.ClassEntitlement, events.ClassSubDeadPerm:
	default:
		return d, false, false // it may go on: whether data comes tells
	}
	return p.refused(sub, in, reading, class, retryAt, tries), true, true
}

func (p Policy) refused(sub *events.Subscription, in Noticed, reading events.Reading, class events.Class, retryAt time.Time, tries int) events.Draft {
	return about(in.Attempt, &events.SubscriptionRefused{
		Subscription: sub.Name, Attempt: in.Attempt, RequestID: in.RequestID, Code: in.Code, Class: class,
		Message: quote(in.Message), Action: reading.Advice, RetryAt: retryAt, Tries: tries,
	})
}

// unsent records that a subscription's request did not leave.
func (p Policy) unsent(s events.State, in Passed, now time.Time) (events.Draft, bool) {
	sub, ok := s.Placed(in.ID)
	if !ok || in.Outcome == OutcomeSent || in.Outcome == OutcomeLost {
		return events.Draft{}, false
	}
	e := &events.SubscriptionRefused{
		Subscription: sub.Name, Attempt: in.Attempt, RequestID: in.ID, Tries: triesOf(sub, now) + 1,
		Message: "too many messages to the gateway wait for their turn",
	}
	e.RetryAt = again(now, bustAgain, e.Tries)
	if in.Outcome == OutcomeNoRoom {
		e.Class, e.RetryAt = events.ClassCapacity, again(now, capacityAgain, e.Tries)
		e.Message = fmt.Sprintf("%d queries for bars are kept up to date already, and no more are: IB has 50 of all open at once", keptMost)
		e.Action = "cancel a subscription to history-bars, or take bars of five seconds"
	}
	return about(in.Attempt, e), true
}

// maxGaps is how many gaps of one subscription are told apart: what is fetched
// besides is there already, and not stored again.
const maxGaps = 50

// missing records a gap.
func (p Policy) missing(s events.State, in Missing) (events.Draft, bool) {
	sub, ok := s.Subscribed(in.Name)
	if !ok || !in.From.Before(in.To) {
		return events.Draft{}, false
	}
	if n := len(sub.Gaps); n >= maxGaps && sub.Gaps[n-1].To.Before(in.From) {
		in.From = sub.Gaps[n-1].To // one with the last of them
	}
	return events.Draft{Event: &events.GapDetected{Subscription: in.Name, From: in.From, To: in.To, Bars: in.Bars}}, true
}

// backfilled records what became of a gap.
func (p Policy) backfilled(s events.State, in Backfilled, now time.Time) (events.Draft, bool) {
	if _, ok := s.Subscribed(in.Name); !ok || !in.From.Before(in.To) {
		return events.Draft{}, false
	}
	if f := in.Failure; f != nil {
		return events.Draft{Event: &events.GapUnfillable{Subscription: in.Name, From: in.From, To: in.To, Code: f.Code, Message: quote(f.Message)}}, true
	}
	return events.Draft{Event: &events.GapFilled{
		Subscription: in.Name, From: in.From, To: in.To, Bars: in.Bars, Missing: in.Lacking, Took: events.Between(in.FoundAt, now),
	}}, true
}

// learned records trading hours that are news.
func (p Policy) learned(s events.State, in Learned) (events.Draft, bool) {
	sub, ok := s.Subscribed(in.Name)
	if !ok || sub.Hours == in.Hours {
		return events.Draft{}, false
	}
	return events.Draft{Event: &events.SubscriptionHours{Subscription: in.Name, Hours: in.Hours}}, true
}
