package incidents

import (
	"fmt"
	"time"

	"ibconn/events"
)

func idOf(r events.Recorded) string { return fmt.Sprintf("%s-%d", r.Connection, r.Sequence) }

// deliver follows which subscriptions deliver.
func (f *Fold) deliver(r events.Recorded) {
	switch e := r.Event.(type) {
	case *events.SubscriptionDelivered:
		if f.live == nil {
			f.live, f.awaiting, f.stopped = make(map[string]struct{}), make(map[string]*incident), make(map[string]*incident)
		}
		f.live[e.Subscription] = struct{}{}
		f.back(e.Subscription, r.Time)
	case *events.SubscriptionPlacement:
		f.silence(e.Subscription)
	case *events.SubscriptionFellSilent:
		f.silence(e.Subscription)
	case *events.SubscriptionRefused:
		f.silence(e.Subscription)
	case *events.SubscriptionCancelled:
		delete(f.live, e.Subscription)
		delete(f.stopped, e.Subscription)
		f.back(e.Subscription, time.Time{})
		f.forget(e.Subscription)
	case *events.DialStarted, *events.DialFailed, *events.SessionLost, *events.Stopped:
		if top := f.top(); top == nil || top.reach() < ofSession {
			clear(f.live) // it was asked for
		}
		for name := range f.live {
			f.silence(name)
		}
	default:
	}
}

// silence notes that a subscription that delivered does not any more.
func (f *Fold) silence(name string) {
	if _, ok := f.live[name]; !ok {
		return
	}
	delete(f.live, name)
	i := f.top()
	if n := len(f.active); i == nil && n > 0 {
		i = f.active[n-1] // it is placed again, now that the link or the farm is back
	}
	if i == nil {
		return
	}
	i.affected[name] = struct{}{}
	i.awaited++
	i.DataAt, i.DataAfter = time.Time{}, 0
	f.awaiting[name], f.stopped[name] = i, i
}

// back notes that a subscription delivers again, or without a time that it is
// cancelled.
func (f *Fold) back(name string, at time.Time) {
	i := f.awaiting[name]
	if i == nil {
		return
	}
	delete(f.awaiting, name)
	i.awaited--
	if !at.IsZero() {
		i.lastBack = at
	}
	if i.awaited > 0 || i.lastBack.IsZero() {
		return
	}
	i.DataAt, i.DataAfter = i.lastBack, events.Between(i.OpenedAt, i.lastBack)
	f.touch(i)
	i.worth = i.worth || i.over
}

// gap is a stretch of missing bars, and piece what is left of one.
type gap struct {
	of         *incident
	pieces     int
	unfillable bool
}

type piece struct {
	from, to time.Time
	*gap
}

// miss follows which bars are missing.
func (f *Fold) miss(r events.Recorded) {
	switch e := r.Event.(type) {
	case *events.GapDetected:
		i := f.costOf(e.Subscription, e.From, e.To)
		if i == nil {
			return
		}
		if f.gaps == nil {
			f.gaps = make(map[string][]piece)
		}
		f.gaps[e.Subscription] = append(f.gaps[e.Subscription], piece{e.From, e.To, &gap{of: i, pieces: 1}})
		i.Gaps.Detected++
		i.missing++
	case *events.GapFilled:
		f.resolve(e.Subscription, e.From, e.To, false)
	case *events.GapUnfillable:
		f.resolve(e.Subscription, e.From, e.To, true)
	default:
	}
}

// costOf returns the incident that a subscription's bars between two times are
// missing for: the one in which it stopped, or else the widest of that time, and
// of those the first.
func (f *Fold) costOf(name string, from, to time.Time) *incident {
	if i := f.stopped[name]; i != nil && i.overlaps(from, to) {
		return i
	}
	var cost *incident
	for _, i := range f.past {
		if i.overlaps(from, to) && (cost == nil || i.breadth > cost.breadth) {
			cost = i
		}
	}
	return cost
}

func (i *incident) overlaps(from, to time.Time) bool {
	began := i.OpenedAt.Add(-i.DetectedAfter.Duration())
	return began.Before(to) && (i.Open() || !i.ClosedAt.Before(from))
}

// resolve takes a stretch out of what is missing of a subscription.
func (f *Fold) resolve(name string, from, to time.Time, unfillable bool) {
	var left []piece
	for _, p := range f.gaps[name] {
		if !p.from.Before(to) || !from.Before(p.to) {
			left = append(left, p)
			continue
		}
		p.pieces--
		p.unfillable = p.unfillable || unfillable
		if p.from.Before(from) {
			p.pieces++
			left = append(left, piece{p.from, from, p.gap})
		}
		if to.Before(p.to) {
			p.pieces++
			left = append(left, piece{to, p.to, p.gap})
		}
		if p.pieces == 0 {
			f.resolved(p.gap)
		}
	}
	f.keepGaps(name, left)
}

func (f *Fold) resolved(g *gap) {
	i := g.of
	if g.unfillable {
		i.Gaps.Unfillable++
	} else {
		i.Gaps.Filled++
	}
	if i.missing--; i.missing == 0 {
		f.touch(i)
		i.worth = i.worth || i.over
	}
}

// forget gives up what is missing of a subscription that is cancelled.
func (f *Fold) forget(name string) {
	counted := make(map[*gap]bool)
	for _, p := range f.gaps[name] {
		if !counted[p.gap] {
			counted[p.gap] = true
			p.of.missing--
		}
	}
	delete(f.gaps, name)
}

func (f *Fold) keepGaps(name string, left []piece) {
	if len(left) == 0 {
		delete(f.gaps, name)
		return
	}
	f.gaps[name] = left
}
