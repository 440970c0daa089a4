package story

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"ibconn/events"
)

// The groups that facts are listed by: the levels, and what belongs to none of them.
const (
	GroupConnection = "connection"
	GroupCommands   = "commands"
	GroupTotals     = "totals"
)

// Groups are all groups, in the order in which they are listed.
var Groups = []string{
	GroupConnection, string(events.LevelSession), string(events.LevelLink), string(events.LevelFarm), string(events.LevelSubscription),
	GroupCommands, GroupTotals,
}

// Fact is one thing that is so in a state, in words.
type Fact struct {
	Group string    `json:"group"` // a level, or [GroupConnection], [GroupCommands], [GroupTotals]
	Name  string    `json:"name"`  // of what: "phase", "farm market_data/usfarm"
	Value string    `json:"value"`
	Since time.Time `json:"since,omitzero"` // where it is known since when

	number uint64 // the value, of a total
}

// Difference is a fact that is another in another state.
type Difference struct {
	Group string    `json:"group"`
	Name  string    `json:"name"`
	From  string    `json:"from,omitempty"` // empty where there was none
	To    string    `json:"to,omitempty"`   // empty where there is none any more
	Since time.Time `json:"since,omitzero"` // of what it is now
	// Lasted is how long it had been what it was, where that is known.
	Lasted events.Millis `json:"lasted_ms,omitempty"`
	By     int64         `json:"by,omitempty"` // how much more there is, of a total
}

// facts collects facts.
type facts struct {
	all  []Fact
	zone *time.Location
}

func (f *facts) add(group, name string, since time.Time, format string, args ...any) {
	f.all = append(f.all, Fact{Group: group, Name: name, Value: Plain(fmt.Sprintf(format, args...)), Since: since})
}

func (f *facts) due(group, name string, at time.Time) {
	if !at.IsZero() {
		f.add(group, name, time.Time{}, "%s", day(at, f.zone))
	}
}

func (f *facts) total(name string, n uint64) {
	f.all = append(f.all, Fact{Group: GroupTotals, Name: name, Value: fmt.Sprint(n), number: n})
}

// Facts lists what is so in a state, in the order of [Groups]; times of day are those of
// a zone, nil for this machine's.
func Facts(s events.State, zone *time.Location) []Fact {
	f := &facts{zone: zone}
	f.connection(s)
	f.session(s)
	f.link(s)
	for _, farm := range s.Farms {
		f.add(string(events.LevelFarm), strings.TrimSuffix(farm.Farm.String(), "/"), farm.Since, "%s", farm.Status)
	}
	f.data(s)
	for _, p := range s.Pending {
		f.add(GroupCommands, p.CommandID, p.AcceptedAt, "%s has no outcome yet", p.Verb)
	}
	for _, n := range []struct {
		name  string
		value uint64
	}{
		{"attempts", s.Counts.Attempts},
		{"attempts that failed", s.Counts.Failures},
		{"sessions opened", s.Counts.Sessions},
		{"sessions lost", s.Counts.Losses},
		{"errors", s.Counts.Errors},
		{"events", s.Sequence},
	} {
		f.total(n.name, n.value)
	}
	return f.all
}

func (f *facts) connection(s events.State) {
	f.add(GroupConnection, "condition", time.Time{}, "%s", s.Condition)
	f.add(GroupConnection, "phase", s.PhaseSince, "%s", s.Phase)
	wanted := "yes"
	if !s.Wanted {
		wanted = "no: it was disconnected by command"
	}
	f.add(GroupConnection, "wanted", time.Time{}, "%s", wanted)
	if s.Epoch > 0 {
		f.add(GroupConnection, "held by", time.Time{}, "%s, epoch %d", s.Instance, s.Epoch)
	}
}

func (f *facts) session(s events.State) {
	const group = string(events.LevelSession)
	switch {
	case s.Session.OpenedAt.IsZero() && !s.OutageSince.IsZero():
		f.add(group, "session", s.OutageSince, "none: it was lost")
	case s.Session.OpenedAt.IsZero():
		f.add(group, "session", time.Time{}, "none")
	default:
		f.add(group, "session", s.Session.OpenedAt, "ready, server version %d, %s", s.Session.ServerVersion, count(len(s.Session.Accounts), "account"))
	}
	if !s.Session.StaleSince.IsZero() {
		f.add(group, "answers", s.Session.StaleSince, "none: it is stale")
	}
	if s.Attempt.Number > 0 {
		f.add(group, "gateway", time.Time{}, "%s as client %d", s.Attempt.Endpoint, s.Attempt.ClientID)
	}
	if !s.Attempt.DeadlineAt.IsZero() && s.Phase != events.PhaseReady {
		f.due(group, "this step until", s.Attempt.DeadlineAt)
	}
	if s.Failures > 0 {
		f.add(group, "failures in a row", time.Time{}, "%d", s.Failures)
	}
	f.due(group, "next try", s.RetryAt)
	if s.Breaker.Open {
		f.add(group, "breaker", s.Breaker.Since, "open")
	}
	if s.Gateway.Login.Level != "" {
		f.add(group, "login", s.Gateway.Login.Since, "a person has to look at the gateway: it gives no %s", s.Gateway.Login.Level)
	}
	if !s.LastEnding.At.IsZero() {
		f.add(group, "last end", s.LastEnding.At, "%s%s", s.LastEnding.Cause.Sentence(), code(s.LastEnding.Code))
	}
	if h := s.Heartbeat; s.Phase == events.PhaseReady {
		if h.Misses > 0 {
			f.add(group, "heartbeats missed", h.AnsweredAt, "%d in a row", h.Misses)
		} else if !h.AnsweredAt.IsZero() {
			f.add(group, "heartbeat", time.Time{}, "answered in %v", h.RTT)
		}
		f.due(group, "next heartbeat", h.NextProbeAt)
	}
	if p := s.Pacing; p.PerSecond > 0 {
		f.add(group, "message rate", p.Since, "cut to %d a second until %s", p.PerSecond, clock(p.Until, f.zone))
	}
	if e := s.LastError; !e.At.IsZero() {
		f.add(group, "last error", e.At, "%s", strings.TrimSpace(fmt.Sprintf("%s %s", strings.Trim(code(e.Code), " "), e.Message)))
	}
}

func (f *facts) link(s events.State) {
	const group = string(events.LevelLink)
	unproven := ""
	if s.Link.Unproven {
		unproven = ", to be proven by an answer of IB's servers"
	}
	f.add(group, "link to IB", s.Link.Since, "%s%s%s", s.Link.Status, code(s.Link.Code), unproven)
	if p := s.Heartbeat.Link; s.Phase == events.PhaseReady {
		if p.Misses > 0 {
			f.add(group, "probes missed", p.AnsweredAt, "%d in a row", p.Misses)
		}
		f.due(group, "next probe", p.NextProbeAt)
	}
}

func (f *facts) data(s events.State) {
	const group = string(events.LevelSubscription)
	if !s.Competing.Since.IsZero() {
		f.add(group, "another session", s.Competing.Since, "takes the market data (%d)", s.Competing.Code)
	}
	for _, sub := range s.Subscriptions {
		value := string(sub.Status)
		if sub.Status == events.SubscriptionFailed {
			value += code(sub.Code)
			if !sub.RetryAt.IsZero() {
				value += ", placed again at " + clock(sub.RetryAt, f.zone)
			}
		}
		if n := len(sub.Gaps); n > 0 {
			value += ", " + count(n, "gap") + " to be filled"
		}
		f.add(group, sub.Name, sub.Since, "%s", value)
	}
}

// passing are facts that are never the same for long, so that their change says nothing.
var passing = []string{"heartbeat", "next heartbeat", "next probe", "this step until"}

// Diff returns what is other in now than before, in the order of [Groups].
func Diff(before, now []Fact) []Difference {
	type key struct{ group, name string }
	was, is := make(map[key]Fact, len(before)), make(map[key]Fact, len(now))
	for _, f := range before {
		was[key{f.Group, f.Name}] = f
	}
	for _, f := range now {
		is[key{f.Group, f.Name}] = f
	}
	changed := []Difference{}
	add := func(w, i Fact) {
		d := Difference{Group: i.Group, Name: i.Name, From: w.Value, To: i.Value, Since: i.Since}
		if i.Group == "" {
			d.Group, d.Name = w.Group, w.Name
		}
		if !w.Since.IsZero() && w.Since.Before(i.Since) {
			d.Lasted = events.Between(w.Since, i.Since)
		}
		if d.Group == GroupTotals {
			d.By = int64(i.number) - int64(w.number)
		}
		changed = append(changed, d)
	}
	for _, f := range before {
		if _, still := is[key{f.Group, f.Name}]; !still && !slices.Contains(passing, f.Name) {
			add(f, Fact{})
		}
	}
	for _, f := range now {
		w := was[key{f.Group, f.Name}]
		if slices.Contains(passing, f.Name) || w.Value == f.Value && w.Since.Equal(f.Since) {
			continue
		}
		add(w, f)
	}
	slices.SortStableFunc(changed, func(a, b Difference) int { return slices.Index(Groups, a.Group) - slices.Index(Groups, b.Group) })
	return changed
}
