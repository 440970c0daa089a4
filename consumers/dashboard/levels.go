package dashboard

import (
	"ibconn/events"
)

// tone is what a mark amounts to for who only glances at it. The page has a colour, a
// pattern and a sign for each.
type tone string

const (
	toneNone tone = ""     // nothing is known
	toneGood tone = "good" // as it should be
	toneOff  tone = "off"  // not wanted
	toneBusy tone = "busy" // on the way to good
	toneWarn tone = "warn" // not well
	toneBad  tone = "bad"  // not there
	toneGone tone = "gone" // nobody tells any more
)

// word is what a mark of a lane says.
type word struct {
	Word string `json:"word"`
	Tone tone   `json:"tone"`
}

// The marks of the lanes, the worst last.
const (
	conditionHealthy mark = iota + 1
	conditionStopped
	conditionDegraded
	conditionDown
	conditionUnheard
)

const (
	sessionReady mark = iota + 1
	sessionStopped
	sessionDialing
	sessionGreeting
	sessionStale
	sessionWaiting
	sessionTripped
	sessionUnheard
)

const (
	linkUp mark = iota + 1
	linkUnproven
	linkDown
)

const (
	farmUp mark = iota + 1
	farmIdle
	farmConnecting
	farmDown
)

const (
	dataLive mark = iota + 1
	dataPending
	dataDark
	dataFailed
)

// What the marks of each lane mean; the first is what nothing is known of.
var (
	conditionWords = []word{
		{"nothing known", toneNone}, {"healthy", toneGood}, {"stopped", toneOff}, {"degraded", toneWarn}, {"down", toneBad}, {"not heard of", toneGone},
	}
	sessionWords = []word{
		{"nothing known", toneNone},
		{"ready", toneGood},
		{"stopped", toneOff},
		{"dialing", toneBusy},
		{"greeting", toneBusy},
		{"stale", toneWarn},
		{"waiting", toneBad},
		{"breaker open", toneBad},
		{"not heard of", toneGone},
	}
	linkWords = []word{{"unknown", toneNone}, {"up", toneGood}, {"unproven", toneBusy}, {"down", toneBad}}
	farmWords = []word{{"unknown", toneNone}, {"up", toneGood}, {"idle", toneGood}, {"connecting", toneBusy}, {"down", toneBad}}
	dataWords = []word{{"none", toneNone}, {"live", toneGood}, {"not live yet", toneBusy}, {"dark", toneWarn}, {"failed", toneBad}}
)

func conditionOf(s events.State) mark {
	switch s.Condition {
	case events.ConditionHealthy:
		return conditionHealthy
	case events.ConditionStopped:
		return conditionStopped
	case events.ConditionDegraded:
		return conditionDegraded
	case events.ConditionDown:
		return conditionDown
	}
	return 0
}

func sessionOf(s events.State) mark {
	switch s.Phase {
	case events.PhaseReady:
		if !s.Session.StaleSince.IsZero() {
			return sessionStale
		}
		return sessionReady
	case events.PhaseDialing:
		return sessionDialing
	case events.PhaseGreeting:
		return sessionGreeting
	case events.PhaseWaiting:
		return sessionWaiting
	case events.PhaseTripped:
		return sessionTripped
	case events.PhaseStopped, events.PhaseIdle:
		return sessionStopped
	}
	return 0
}

func linkOf(s events.State) mark {
	switch {
	case s.Link.Status == events.LinkDown:
		return linkDown
	case s.Link.Unproven:
		return linkUnproven
	case s.Link.Status == events.LinkUp:
		return linkUp
	}
	return 0
}

func farmOf(s events.FarmStatus) mark {
	switch s {
	case events.FarmUp:
		return farmUp
	case events.FarmIdle:
		return farmIdle
	case events.FarmConnecting:
		return farmConnecting
	case events.FarmDown:
		return farmDown
	case events.FarmUnknown:
	}
	return 0
}

// farmsOf is the worst of a connection's farms, and how many are so.
func farmsOf(s events.State) (worst mark, count int) {
	for _, f := range s.Farms {
		switch m := farmOf(f.Status); {
		case m > worst:
			worst, count = m, 1
		case m == worst:
			count++
		}
	}
	return worst, count
}

func dataOf(s events.SubscriptionStatus) mark {
	switch s {
	case events.SubscriptionLive:
		return dataLive
	case events.SubscriptionWanted, events.SubscriptionPlaced:
		return dataPending
	case events.SubscriptionDark:
		return dataDark
	case events.SubscriptionFailed:
		return dataFailed
	}
	return 0
}

// subscriptionsOf is the worst of a connection's subscriptions, and how many are so.
func subscriptionsOf(s events.State) (worst mark, count int) {
	for _, sub := range s.Subscriptions {
		switch m := dataOf(sub.Status); {
		case m > worst:
			worst, count = m, 1
		case m == worst:
			count++
		}
	}
	return worst, count
}
