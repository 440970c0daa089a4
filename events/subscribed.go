package events

import (
	"slices"
	"strings"
	"time"
)

// Subscribed returns the subscription of that name, which is not to be changed.
func (s State) Subscribed(name string) (*Subscription, bool) {
	i, found := slices.BinarySearchFunc(s.Subscriptions, name, compareName)
	if !found {
		return nil, false
	}
	return s.Subscriptions[i], true
}

// Placed returns the subscription that was placed under a request id in the
// present session.
func (s State) Placed(id int64) (*Subscription, bool) {
	for _, sub := range s.Subscriptions {
		if sub.RequestID == id && sub.Attempt == s.Attempt.Number && !sub.PlacedAt.IsZero() {
			return sub, true
		}
	}
	return nil, false
}

func compareName(s *Subscription, name string) int { return strings.Compare(s.Name, name) }

// Subjects returns where sub delivers its data.
func (sub Subscription) Subjects(c ConnectionID) []string {
	switch sub.Feed.Kind {
	case SubscribeQuotes:
		return []string{DataSubject(c, DataTick, sub.Name)}
	case SubscribeTrades:
		switch sub.Feed.What {
		case "BidAsk":
			return []string{DataSubject(c, DataBidAsk, sub.Name)}
		case "MidPoint":
			return []string{DataSubject(c, DataMidpoint, sub.Name)}
		}
		return []string{DataSubject(c, DataTrade, sub.Name)}
	case SubscribeHistoryBars:
		return []string{DataSubject(c, DataBar, sub.Name), DataSubject(c, DataPartial, sub.Name)}
	case SubscribeBars:
	}
	return []string{DataSubject(c, DataBar, sub.Name)}
}

// subscribed applies an event of [KindSubscription].
func (s State) subscribed(r Recorded) State {
	switch e := r.Event.(type) {
	case *SubscriptionAdded:
		return s.added(r, e)
	case *SubscriptionJoined:
		s.Recent = remember(s.Recent, ofSubscription(r, e.CommandID, VerbSubscribe, e.Subscription))
		return s.with(e.Subscription, func(sub *Subscription) {
			if i, found := slices.BinarySearch(sub.Callers, e.Caller); !found {
				sub.Callers = slices.Insert(slices.Clone(sub.Callers), i, e.Caller)
			}
		})
	case *SubscriptionLeft:
		s.Recent = remember(s.Recent, ofSubscription(r, e.CommandID, VerbCancel, e.Subscription))
		return s.with(e.Subscription, func(sub *Subscription) {
			sub.Callers = slices.DeleteFunc(slices.Clone(sub.Callers), func(c string) bool { return c == e.Caller })
		})
	case *SubscriptionCancelled:
		s.Recent = remember(s.Recent, ofSubscription(r, e.CommandID, VerbCancel, e.Subscription))
		s.Subscriptions = slices.DeleteFunc(slices.Clone(s.Subscriptions), func(sub *Subscription) bool { return sub.Name == e.Subscription })
		if len(s.Subscriptions) == 0 {
			s.Subscriptions = nil
		}
		return s
	case *SubscriptionPlacement:
		s.LastRequestID = max(s.LastRequestID, e.RequestID)
		return s.with(e.Subscription, func(sub *Subscription) {
			sub.stand(SubscriptionPlaced, r.Time)
			sub.RequestID, sub.Attempt, sub.PlacedAt, sub.LiveAt = e.RequestID, e.Attempt, r.Time, zeroTime
			sub.RetryAt = zeroTime
		})
	case *SubscriptionDelivered:
		return s.with(e.Subscription, func(sub *Subscription) {
			sub.stand(SubscriptionLive, r.Time)
			if sub.LiveAt.IsZero() {
				sub.LiveAt = r.Time
			}
			sub.RetryAt = zeroTime
		})
	case *SubscriptionFellSilent:
		return s.with(e.Subscription, func(sub *Subscription) {
			sub.stand(SubscriptionDark, r.Time)
			sub.Tries, sub.RetryAt = e.Tries, e.RetryAt
		})
	case *SubscriptionRefused:
		return s.with(e.Subscription, func(sub *Subscription) {
			sub.stand(SubscriptionFailed, r.Time)
			sub.Code, sub.Class, sub.Message = e.Code, e.Class, e.Message
			sub.Tries, sub.RetryAt = e.Tries, e.RetryAt
		})
	case *SubscriptionHours:
		return s.with(e.Subscription, func(sub *Subscription) { sub.Hours = e.Hours })
	case *GapDetected:
		return s.with(e.Subscription, func(sub *Subscription) { sub.Gaps = withGap(sub.Gaps, Gap{From: e.From, To: e.To, At: r.Time}) })
	case *GapFilled:
		return s.with(e.Subscription, func(sub *Subscription) { sub.Gaps = withoutGap(sub.Gaps, e.From, e.To) })
	case *GapUnfillable:
		return s.with(e.Subscription, func(sub *Subscription) { sub.Gaps = withoutGap(sub.Gaps, e.From, e.To) })
	default:
		return s
	}
}

func (s State) added(r Recorded, e *SubscriptionAdded) State {
	s.Recent = remember(s.Recent, ofSubscription(r, e.CommandID, VerbSubscribe, e.Subscription))
	i, found := slices.BinarySearchFunc(s.Subscriptions, e.Subscription, compareName)
	if found {
		return s
	}
	s.Subscriptions = slices.Insert(slices.Clone(s.Subscriptions), i, &Subscription{
		Name: e.Subscription, Feed: e.Feed, Asked: e.Asked, Callers: []string{e.Caller},
		Priority: e.Priority, DarkAfter: e.DarkAfter, WantedAt: r.Time, AddedSeq: r.Sequence,
		Status: SubscriptionWanted, Since: r.Time, Hours: e.Hours,
	})
	return s
}

func ofSubscription(r Recorded, commandID string, v Verb, name string) RecentCommand {
	return RecentCommand{CommandID: commandID, Verb: v, Sequence: r.Sequence, Status: StatusCompleted, Subscription: name}
}

// with returns s with one subscription changed; what is not there is not
// changed.
func (s State) with(name string, change func(*Subscription)) State {
	i, found := slices.BinarySearchFunc(s.Subscriptions, name, compareName)
	if !found {
		return s
	}
	s.Subscriptions = slices.Clone(s.Subscriptions)
	sub := *s.Subscriptions[i]
	change(&sub)
	s.Subscriptions[i] = &sub
	return s
}

// stand leaves what was said of another status behind.
func (sub *Subscription) stand(status SubscriptionStatus, at time.Time) {
	if sub.Status != status {
		sub.Status, sub.Since = status, at
	}
	sub.Code, sub.Class, sub.Message = 0, "", ""
}

// unplaced is for when no session has any of them.
func unplaced(subs []*Subscription, at time.Time) []*Subscription {
	if !slices.ContainsFunc(subs, func(sub *Subscription) bool { return sub.Status != SubscriptionWanted }) {
		return subs
	}
	subs = slices.Clone(subs)
	for i := range subs {
		sub := *subs[i]
		sub.stand(SubscriptionWanted, at)
		sub.Attempt, sub.PlacedAt, sub.LiveAt = 0, zeroTime, zeroTime
		sub.Tries, sub.RetryAt = 0, zeroTime
		subs[i] = &sub
	}
	return subs
}

// withGap adds g; what it touches becomes one with it, found when g was.
func withGap(gaps []Gap, g Gap) []Gap {
	var all []Gap
	for _, old := range gaps {
		if old.To.Before(g.From) || g.To.Before(old.From) {
			all = append(all, old)
			continue
		}
		g.From, g.To = earlier(g.From, old.From), later(g.To, old.To)
	}
	all = append(all, g)
	slices.SortFunc(all, func(a, b Gap) int { return a.From.Compare(b.From) })
	return all
}

// withoutGap takes a stretch out.
func withoutGap(gaps []Gap, from, to time.Time) []Gap {
	var all []Gap
	for _, g := range gaps {
		if before := (Gap{From: g.From, To: earlier(g.To, from), At: g.At}); before.From.Before(before.To) {
			all = append(all, before)
		}
		if after := (Gap{From: later(g.From, to), To: g.To, At: g.At}); after.From.Before(after.To) {
			all = append(all, after)
		}
	}
	return all
}

// maxNamed is how many subscriptions that are not well have a reason each; more
// share one.
const maxNamed = 5

// subscriptionReasons says which subscriptions are not well: first those that
// failed.
func (s State) subscriptionReasons() []Reason {
	var all []Reason
	for _, status := range []SubscriptionStatus{SubscriptionFailed, SubscriptionDark} {
		var some []Reason
		for _, sub := range s.Subscriptions {
			if sub.Status == status {
				some = append(some, Reason{
					Level: LevelSubscription, What: string(status), Name: sub.Name, Since: sub.Since, Attribution: s.attribute(sub),
				})
			}
		}
		if len(some) > maxNamed {
			some = []Reason{together(some)}
		}
		all = append(all, some...)
	}
	return all
}

// together makes one of several reasons, which say the same of different
// subscriptions: as old as the oldest, and somebody's fault where all are.
func together(some []Reason) Reason {
	one := slices.MinFunc(some, func(a, b Reason) int { return a.Since.Compare(b.Since) })
	one.Name = count(len(some), "subscription")
	if slices.ContainsFunc(some, func(r Reason) bool { return r.Attribution != one.Attribution }) {
		one.Attribution = ""
	}
	return one
}

// attribute says whose fault it is that sub is not well, as far as that is known.
func (s State) attribute(sub *Subscription) Attribution {
	if sub.Status == SubscriptionFailed {
		return sub.refusedBy()
	}
	switch {
	case !s.Session.StaleSince.IsZero():
		return AttributionGateway
	case s.Link.Status == LinkDown || s.Link.Unproven:
		return AttributionLink
	case !s.Competing.Since.IsZero():
		return AttributionCompeting
	case slices.ContainsFunc(s.Farms, sub.Feed.starvedBy):
		return AttributionFarm
	}
	return ""
}

// refusedBy says whose fault a refusal is.
func (sub Subscription) refusedBy() Attribution {
	switch sub.Class {
	case ClassLinkLost:
		return AttributionLink
	case ClassFarmDown:
		return AttributionFarm
	case ClassCompeting:
		return AttributionCompeting
	case ClassPacing, ClassCapacity, ClassRequestInvalid, ClassEntitlement, ClassSubDeadPerm:
		return AttributionOurs
	case "": // it could not even be sent
		return AttributionOurs
	default:
		return ""
	}
}

// starvedBy says whether a farm that is down may be why no data of f comes. IB
// does not say which of its farms a contract's data comes from.
func (f Feed) starvedBy(farm FarmState) bool {
	if farm.Status != FarmDown {
		return false
	}
	return farm.Kind == FarmMarketData || farm.Kind == FarmHistorical && f.Kind == SubscribeHistoryBars
}
