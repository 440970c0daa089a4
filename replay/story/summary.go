package story

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"ibconn/consumers/incidents"
	"ibconn/events"
)

// unprintable is for parting words: it says whether a character is a space or none that
// a person sees.
func unprintable(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }

// Root says in a few words what an incident comes from: "the gateway closed the
// connection".
func Root(i incidents.Incident) string { return stepWords(i.Root) }

func stepWords(s incidents.Step) string {
	switch s.What {
	case incidents.SessionLost, incidents.AttemptFailed:
		return s.Words + code(s.Code)
	case incidents.SessionStale:
		return "the gateway fell silent"
	case incidents.BreakerOpen:
		return "the breaker opened: only slow probes went on"
	case incidents.PortMoved:
		return "the gateway moved to another port"
	case incidents.LoginNeeded:
		return "the gateway waited for a person"
	case incidents.LinkDown:
		return "the gateway lost its link to IB" + code(s.Code)
	case incidents.LinkSilent:
		return "IB's servers stopped answering through the gateway, which said nothing of it"
	case incidents.DataLost:
		return "the link to IB came back without the subscriptions" + code(s.Code)
	case incidents.FarmDown:
		return "IB's data farm " + names(s) + " went down" + code(s.Code)
	case incidents.CompetingSession:
		return "another session of the same user took the market data" + code(s.Code)
	case incidents.SubscriptionDark:
		return "the data of " + names(s) + " stayed away"
	case incidents.SubscriptionFailed:
		return "the gateway refused " + names(s) + code(s.Code)
	}
	return s.Words
}

func code(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d)", n)
}

func names(s incidents.Step) string {
	const shown = 3
	if len(s.Names) == 0 {
		return "one"
	}
	text := strings.Join(s.Names[:min(len(s.Names), shown)], ", ")
	if len(s.Names) > shown {
		text += fmt.Sprintf(" and %d more", len(s.Names)-shown)
	}
	return Plain(text)
}

// Fault says whose fault something is, for a person.
func Fault(a events.Attribution) string {
	switch a {
	case events.AttributionOurs:
		return "ibconn, its host, its configuration, or the account's permissions"
	case events.AttributionNetwork:
		return "the network between this host and the gateway's"
	case events.AttributionGateway:
		return "the gateway's process"
	case events.AttributionLogin:
		return "the gateway, which waits for a person to log in"
	case events.AttributionLink:
		return "the link between the gateway and IB's servers, or those"
	case events.AttributionFarm:
		return "one of IB's data services"
	case events.AttributionCompeting:
		return "another session of the same user"
	}
	return "not known"
}

// Found says in a word or two by what an incident was found: "heartbeats", "IB's notice".
func Found(i incidents.Incident) string {
	switch i.Root.What {
	case incidents.SessionStale, incidents.LoginNeeded:
		return "heartbeats"
	case incidents.LinkSilent:
		return "link probes"
	case incidents.LinkDown, incidents.DataLost, incidents.FarmDown, incidents.CompetingSession, incidents.PortMoved:
		if i.Root.Code == 0 {
			return "link probes"
		}
		return "IB's notice"
	case incidents.SubscriptionDark:
		return "missing data"
	case incidents.SubscriptionFailed:
		return "IB's error"
	case incidents.AttemptFailed, incidents.BreakerOpen:
		return "attempts"
	case incidents.SessionLost:
	}
	switch i.Root.Cause {
	case events.CauseHeartbeatLost:
		return "heartbeats"
	case events.CauseNetworkTimeout:
		return "TCP"
	case events.CauseProcessRestarted:
		return "new process"
	case events.CauseReset, events.CauseClosedByGateway:
		return "socket"
	}
	if i.Root.Code != 0 {
		return "IB's error"
	}
	return "socket"
}

// Hit says which level an incident hit, and how many subscriptions: "session, 12 subs".
func Hit(i incidents.Incident) string {
	s := string(i.Root.Level)
	for _, step := range i.Chain {
		if wider(step.Level, i.Root.Level) {
			s = string(step.Level)
		}
	}
	if s == string(events.LevelSubscription) {
		s = "data"
	}
	switch n := i.Subscriptions.Count; n {
	case 0:
		return s
	case 1:
		return s + ", 1 sub"
	default:
		return fmt.Sprintf("%s, %d subs", s, n)
	}
}

func wider(a, b events.Level) bool {
	order := map[events.Level]int{events.LevelSession: 3, events.LevelLink: 2, events.LevelFarm: 1}
	return order[a] > order[b]
}

// Summary tells an incident in a few sentences to somebody who reads nothing else: the
// root cause, what came of it, and how it ended.
func Summary(i incidents.Incident, zone *time.Location) []string {
	opened := i.OpenedAt.In(zoneOr(zone))
	cause := fmt.Sprintf("On %s at %s, %s %s: %s.", opened.Format("Monday 2 January 2006"), opened.Format("15:04:05"), i.Connection, became(i), Root(i))
	if i.Attribution != "" {
		cause += " The fault lies with " + Fault(i.Attribution) + "."
	}
	if i.Window != "" {
		cause += fmt.Sprintf(" It fell into the window '%s', in which an interruption is expected.", Plain(i.Window))
	}
	if i.DetectedAfter > 0 {
		cause += fmt.Sprintf(" It had been so for %v when it was found, by %s.", i.DetectedAfter, strings.Replace(Found(i), "new", "a new", 1))
	}
	sentences := []string{cause}
	if s := consequences(i); s != "" {
		sentences = append(sentences, s)
	}
	return append(sentences, outcome(i))
}

func became(i incidents.Incident) string {
	if i.Worst == events.ConditionDown {
		return "went down"
	}
	return "was impaired"
}

func consequences(i incidents.Incident) string {
	var parts []string
	for n, s := range i.Chain {
		if n == 5 {
			parts = append(parts, fmt.Sprintf("%d more things went wrong", len(i.Chain)-n))
			break
		}
		part := stepWords(s)
		switch {
		case s.What == incidents.AttemptFailed && s.Count > 1:
			part = fmt.Sprintf("%d attempts failed, since %s", s.Count, part)
		case s.What == incidents.AttemptFailed:
			part = "an attempt failed, since " + part
		case s.Count > 1 && len(s.Names) <= 1:
			part += fmt.Sprintf(", %d times", s.Count)
		}
		parts = append(parts, part)
	}
	text := ""
	if len(parts) > 0 {
		text = "As a consequence " + strings.Join(parts, "; ") + "."
	}
	if i.Root.Count > 1 && len(i.Root.Names) <= 1 {
		text = strings.TrimSpace(fmt.Sprintf("It happened %d times in a row. ", i.Root.Count) + text)
	}
	if n := i.Subscriptions.Count; n > 0 {
		text = strings.TrimSpace(text + fmt.Sprintf(" %s stopped.", count(n, "subscription")))
	}
	return text
}

func outcome(i incidents.Incident) string {
	var parts []string
	if !i.ReadyAt.IsZero() {
		parts = append(parts, fmt.Sprintf("a session was ready again after %v, with the %s attempt", i.ReadyAfter, nth(i.Attempts)))
	}
	switch {
	case i.Open():
		parts = append(parts, fmt.Sprintf("it had lasted %v at the last event of the log, and goes on", millis(i)))
	case i.Stopped:
		parts = append(parts, fmt.Sprintf("it ended after %v, as the connection was stopped", millis(i)))
	default:
		parts = append(parts, fmt.Sprintf("all was well after %v", millis(i)))
	}
	if !i.DataAt.IsZero() {
		parts = append(parts, fmt.Sprintf("all data was back after %v", i.DataAfter))
	} else if i.Subscriptions.Count > 0 && !i.Open() {
		parts = append(parts, "not all data was seen to come back")
	}
	if g := i.Gaps; g.Detected > 0 {
		s := fmt.Sprintf("of %s in the bars %d %s filled", count(g.Detected, "gap"), g.Filled, was(g.Filled))
		if g.Unfillable > 0 {
			s += fmt.Sprintf(" and %d could not be", g.Unfillable)
		}
		parts = append(parts, s)
	}
	if i.Returns > 0 {
		parts = append(parts, fmt.Sprintf("the trouble came back %s before that", times(i.Returns)))
	}
	text := strings.Join(parts, "; ") + "."
	return strings.ToUpper(text[:1]) + text[1:]
}

func was(n int) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func nth(n int) string {
	suffix := "th"
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return fmt.Sprint(n, suffix)
}

func millis(i incidents.Incident) events.Millis { return events.MillisOf(i.Duration()) }

// Cause names what an incident comes from without names of farms and subscriptions, so
// that it is the same for all that come from the same: "session lost: the gateway closed
// the connection".
func Cause(i incidents.Incident) string {
	what := strings.ReplaceAll(string(i.Root.What), "_", " ")
	if i.Root.Cause != "" {
		return what + ": " + i.Root.Cause.Sentence()
	}
	return what
}
