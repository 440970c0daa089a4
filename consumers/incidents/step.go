package incidents

import (
	"slices"

	"ibconn/events"
)

// trouble is what an event says went wrong.
type trouble struct {
	Step
	attribution events.Attribution
	window      string
	detected    events.Millis // for how long it had been so
	asked       bool          // somebody wanted it
	announces   bool          // nothing is wrong yet, but the session is about to end
}

// troubles returns what r says went wrong: mostly nothing.
func troubles(r events.Recorded) []trouble {
	if t, ok := sessionTrouble(r); ok {
		return []trouble{t}
	}
	switch e := r.Event.(type) {
	case *events.LinkWentDown:
		t := found(r, events.LevelLink, LinkDown, events.AttributionLink)
		t.Code, t.window = e.Code, e.Window
		return append([]trouble{t}, farmsDown(r, e.Code, e.Farms)...)
	case *events.LinkFellSilent:
		t := found(r, events.LevelLink, LinkSilent, events.AttributionLink)
		t.Code, t.window = e.Code, e.Window
		return []trouble{t}
	case *events.LinkCameBack:
		if !e.DataLost {
			return farmsDown(r, e.Code, e.Farms)
		}
		t := found(r, events.LevelLink, DataLost, events.AttributionLink)
		t.Code = e.Code
		return append([]trouble{t}, farmsDown(r, e.Code, e.Farms)...)
	case *events.LinkProven:
		if e.DataLost {
			return []trouble{found(r, events.LevelLink, DataLost, events.AttributionLink)}
		}
	case *events.FarmChanged:
		return farmsDown(r, e.Code, []events.FarmNews{{Farm: e.Farm, Status: e.To}})
	case *events.CompetingBegan:
		t := found(r, events.LevelSubscription, CompetingSession, events.AttributionCompeting)
		t.Code = e.Code
		return []trouble{t}
	case *events.SubscriptionFellSilent:
		t := found(r, events.LevelSubscription, SubscriptionDark, attributionOf(e.Standing, events.SubscriptionDark, e.Subscription))
		t.Names, t.detected = []string{e.Subscription}, e.Silent
		return []trouble{t}
	case *events.SubscriptionRefused:
		t := found(r, events.LevelSubscription, SubscriptionFailed, attributionOf(e.Standing, events.SubscriptionFailed, e.Subscription))
		t.Names, t.Code = []string{e.Subscription}, e.Code
		return []trouble{t}
	default:
	}
	return nil
}

func sessionTrouble(r events.Recorded) (trouble, bool) {
	var t trouble
	switch e := r.Event.(type) {
	case *events.SessionStale:
		t = found(r, events.LevelSession, SessionStale, events.AttributionGateway)
		t.detected = e.Silent
	case *events.SessionLost:
		t = found(r, events.LevelSession, SessionLost, e.Cause.Attribution())
		t.Cause, t.Code, t.window = e.Cause, e.Code, e.Window
		t.Words = e.Cause.Sentence()
		t.detected = noticedAfter(e)
		t.asked = e.Cause == events.CauseAskedFor || e.Cause == events.CauseShutdown
	case *events.DialFailed:
		t = found(r, events.LevelSession, AttemptFailed, e.Cause.Attribution())
		t.Cause, t.Code, t.window = e.Cause, e.Code, e.Window
		t.Words = e.Cause.Sentence()
	case *events.BreakerOpened:
		t = found(r, events.LevelSession, BreakerOpen, "")
		t.window = e.Window
	case *events.PortChanged:
		t = found(r, events.LevelSession, PortMoved, events.AttributionGateway)
		t.announces = true
	case *events.LoginNeeded:
		t = found(r, e.Level, LoginNeeded, events.AttributionLogin)
	default:
		return trouble{}, false
	}
	return t, true
}

func found(r events.Recorded, level events.Level, what What, a events.Attribution) trouble {
	return trouble{
		Step:        Step{Level: level, What: what, Words: events.Sentence(r), Count: 1, FirstAt: r.Time, LastAt: r.Time},
		attribution: a,
	}
}

// noticedAfter is how long a session that was lost had been gone. A socket that
// is closed tells at once, however long ago its last byte came.
func noticedAfter(e *events.SessionLost) events.Millis {
	switch e.Cause {
	case events.CauseProcessRestarted:
		return e.Away
	case events.CauseHeartbeatLost, events.CauseNetworkTimeout:
		return e.Silent
	default:
		return 0
	}
}

func farmsDown(r events.Recorded, code int, news []events.FarmNews) []trouble {
	var names []string
	for _, n := range news {
		if n.Status == events.FarmDown {
			names = append(names, n.String())
		}
	}
	if len(names) == 0 {
		return nil
	}
	t := found(r, events.LevelFarm, FarmDown, events.AttributionFarm)
	t.Code, t.Names, t.Count = code, names[:min(len(names), maxStepNames)], len(names)
	return []trouble{t}
}

// attributionOf returns whose fault it is that a subscription is not well, where
// the standing says so of it, or of all such together.
func attributionOf(s events.Standing, status events.SubscriptionStatus, name string) events.Attribution {
	var of events.Attribution
	for _, reason := range s.Reasons {
		if reason.Level != events.LevelSubscription || reason.What != string(status) {
			continue
		}
		if reason.Name == name {
			return reason.Attribution
		}
		of = reason.Attribution
	}
	return of
}

// breadth orders troubles: a wider one can be the cause of a narrower one.
type breadth int

const (
	ofSubscription breadth = iota
	ofFarm                 // a farm, or the user's other session: some data stays away
	ofLink
	ofSession
)

func (s Step) breadth() breadth {
	if s.What == CompetingSession {
		return ofFarm
	}
	return breadthOf(s.Level)
}

func breadthOf(l events.Level) breadth {
	switch l {
	case events.LevelSubscription:
		return ofSubscription
	case events.LevelFarm:
		return ofFarm
	case events.LevelLink:
		return ofLink
	case events.LevelSession:
		return ofSession
	default:
		return ofSession
	}
}

// widest returns the breadth of the widest reason in s.
func widest(s *events.Standing) breadth {
	most := ofSubscription
	for _, r := range s.Reasons {
		b := breadthOf(r.Level)
		if r.What == events.ReasonCompeting {
			b = ofFarm
		}
		most = max(most, b)
	}
	return most
}

// silent says whether t was found by silence, so that it may have been there
// for long.
func (t trouble) silent() bool {
	return t.What == LinkSilent || t.Cause == events.CauseHeartbeatLost || t.Cause == events.CauseNetworkTimeout
}

func (s Step) same(t Step) bool {
	return s.Level == t.Level && s.What == t.What && s.Cause == t.Cause
}

// again counts t to s.
func (s *Step) again(t Step) {
	s.Count += t.Count
	s.LastAt = t.LastAt
	for _, name := range t.Names {
		if len(s.Names) < maxStepNames && !slices.Contains(s.Names, name) {
			s.Names = append(s.Names, name)
		}
	}
}
