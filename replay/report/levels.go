package report

import (
	"time"

	"ibconn/events"
)

// well is how one level is.
type well byte

const (
	unknown  well = iota // or not wanted
	fine                 // nothing is wrong
	impaired             // something is
	gone                 // there is none
)

// levels are those there are, the widest first, as they index what is kept of them.
var levels = [...]events.Level{events.LevelSession, events.LevelLink, events.LevelFarm, events.LevelSubscription}

type wells [len(levels)]well

func worst(a, b wells) wells {
	for n := range a {
		a[n] = max(a[n], b[n])
	}
	return a
}

// wellOf returns how the levels of a connection are.
func wellOf(s events.State) wells {
	var w wells
	switch s.Phase {
	case events.PhaseIdle, events.PhaseStopped:
		return w
	case events.PhaseDialing, events.PhaseGreeting, events.PhaseWaiting, events.PhaseTripped:
		w[0] = gone
		return w
	case events.PhaseReady:
	}
	w[0] = fine
	if !s.Session.StaleSince.IsZero() {
		w[0] = gone
	}
	switch s.Link.Status {
	case events.LinkUp:
		w[1] = fine
	case events.LinkDown:
		w[1] = gone
	case events.LinkUnknown:
	}
	if len(s.Farms) > 0 {
		w[2] = fine
	}
	if len(s.Subscriptions) > 0 {
		w[3] = fine
	}
	for _, r := range s.Reasons {
		switch r.Level {
		case events.LevelFarm:
			w[2] = impaired
		case events.LevelSubscription:
			w[3] = impaired
		case events.LevelSession, events.LevelLink:
		}
	}
	return w
}

// startFor is how long a start may take and be none of a connection's outages.
const startFor = 5 * time.Minute

// availability is how available one level was so far.
type availability struct {
	Level
	was      well
	starting bool // it was not well since it was wanted, so that its time may not count
	down     events.Millis
}

// pass counts a stretch of time in which the level was as it is.
func (a *availability) pass(d events.Millis) {
	switch a.was {
	case fine:
		a.Known += d
	case impaired, gone:
		a.down += d
		a.Longest = max(a.Longest, a.settled())
	case unknown:
	}
}

// settled is how long the present trouble has been one that counts.
func (a *availability) settled() events.Millis {
	if a.starting && a.down <= events.MillisOf(startFor) {
		return 0
	}
	return a.down
}

// turn says how the level is from now on.
func (a *availability) turn(to well) {
	bad, willBe := a.was >= impaired, to >= impaired
	if bad && !willBe {
		a.end()
	}
	if !bad && willBe {
		a.starting = a.was == unknown && a.Level.Level == events.LevelSession
		a.down = 0
	}
	a.was = to
}

// end counts the trouble that was.
func (a *availability) end() {
	if d := a.settled(); d > 0 || !a.starting {
		a.Failures++
		a.Down += d
		a.Known += d
	}
	a.down = 0
}

// level returns what it comes to.
func (a *availability) level() Level {
	b := *a
	if b.was >= impaired {
		b.end()
	}
	l := b.Level
	l.Availability = 1
	if l.Known > 0 {
		l.Availability = 1 - float64(l.Down)/float64(l.Known)
	}
	if l.Failures > 0 {
		l.Between = (l.Known - l.Down) / events.Millis(l.Failures)
		l.Repair = l.Down / events.Millis(l.Failures)
	}
	return l
}
