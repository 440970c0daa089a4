package story

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"ibconn/connector"
	"ibconn/consumers/incidents"
	"ibconn/events"
)

const (
	// lead is how long before an incident was noticed its story begins at most, unless
	// nothing but routine happened in it.
	lead = 10 * time.Minute
	// aftermath is for how long after an incident ended its story goes on.
	aftermath = 15 * time.Minute

	maxFlights  = 3
	maxCodes    = 30
	maxCommands = 50
)

// Teller collects the stories of incidents. Fill in the fields, give it the events of
// any number of connections, each's oldest first, and take the stories.
type Teller struct {
	Zone *time.Location // in which times are worded; nil is this machine's
	// Want says of an incident that was noticed just now whether it is to be told; nil
	// wants all.
	Want func(incidents.Incident) bool
	Most int // so many of the newest are kept; 0 keeps none, and there are the incidents only
	// Policy is what the connection is taken to have gone by, where a line says why it
	// waited; nil is the default.
	Policy *connector.Policy

	connections map[events.ConnectionID]*connection
	told        []*told // oldest first
}

// connection is what is remembered of one.
type connection struct {
	fold   incidents.Fold
	state  events.State
	before page
}

// told is a story that is being collected.
type told struct {
	id     string
	of     *connection
	opened time.Time

	before, lines page
	first, last   events.State
	done          bool // nothing more belongs to it

	codes    []Code
	commands []Command
	flights  []Flight
	landings []string // why those that flights are of ended
}

// Add takes the next event.
func (t *Teller) Add(r events.Recorded) {
	c := t.connections[r.Connection]
	if c == nil {
		c = &connection{state: events.NewState(r.Connection), before: newPage(0, maxBefore)}
		if t.connections == nil {
			t.connections = make(map[events.ConnectionID]*connection)
		}
		t.connections[r.Connection] = c
	}
	before := c.state
	changes := c.fold.Add(r)
	if t.Most <= 0 {
		return
	}
	c.state = c.state.Apply(r)
	for _, change := range changes {
		t.begin(c, change, before)
		// That it was over for long enough is said by an event that is no part of it.
		if change.Kind == incidents.Closed && !change.Incident.Stopped {
			t.end(change)
		}
	}
	line := t.line(r, c.state.Condition)
	turned := (before.Condition == events.ConditionHealthy) != (c.state.Condition == events.ConditionHealthy)
	for _, s := range t.told {
		if s.of == c && !s.done {
			s.take(r, line, turned)
			s.last = c.state
		}
	}
	for _, change := range changes {
		t.end(change)
	}
	c.before.add(line)
}

// begin begins a story where an incident opened that is to be told.
func (t *Teller) begin(c *connection, change incidents.Change, before events.State) {
	i := change.Incident
	if change.Kind != incidents.Opened || t.Want != nil && !t.Want(i) {
		return
	}
	s := &told{id: i.ID, of: c, opened: i.OpenedAt, before: c.before, lines: newPage(maxHead, maxTail), first: before, last: before}
	s.before.tail = slices.Clone(c.before.tail)
	t.told = append(t.told, s)
	if len(t.told) > t.Most {
		t.told = slices.Delete(t.told, 0, 1)
	}
}

// end ends the story of an incident of which nothing more is awaited.
func (t *Teller) end(change incidents.Change) {
	i := change.Incident
	n := slices.IndexFunc(t.told, func(s *told) bool { return s.id == i.ID })
	if n >= 0 && change.Kind != incidents.Opened && !i.Open() && settled(i) {
		t.told[n].done = true
	}
}

// settled says whether nothing is awaited of an incident that is over.
func settled(i incidents.Incident) bool {
	return (i.Subscriptions.Count == 0 || !i.DataAt.IsZero()) && i.Gaps.Detected <= i.Gaps.Filled+i.Gaps.Unfillable
}

// take takes an event into the story.
func (s *told) take(r events.Recorded, l Line, turned bool) {
	if turned && l.After != events.ConditionHealthy {
		s.lines.seal()
	}
	s.lines.add(l)
	if turned && l.After == events.ConditionHealthy {
		s.lines.seal()
	}
	s.note(r)
	s.commanded(r)
	s.landed(r, l.Words)
	// How long it is over is only known to the Fold, so this is asked when it may be.
	if l.After == events.ConditionHealthy && r.Time.Sub(s.opened) > aftermath {
		for _, i := range s.of.fold.Incidents() {
			if i.ID == s.id {
				s.done = !i.Open() && r.Time.Sub(i.ClosedAt) > aftermath
			}
		}
	}
}

// note notes IB's code in r, where it has one.
func (s *told) note(r events.Recorded) {
	code, message, times := codeOf(r)
	if code == 0 {
		return
	}
	n := slices.IndexFunc(s.codes, func(c Code) bool { return c.Code == code })
	if n >= 0 {
		s.codes[n].Count += times
		return
	}
	if len(s.codes) < maxCodes {
		reading := events.ReadNotice(code, message)
		s.codes = append(s.codes, Code{Code: code, Class: reading.Class, Meaning: reading.Meaning, Advice: reading.Advice, Said: Plain(message), Count: times})
	}
}

// codeOf returns IB's code in r with the gateway's words, and 0 where there is none.
func codeOf(r events.Recorded) (code int, message string, times int) {
	switch e := r.Event.(type) {
	case *events.DialFailed:
		return e.Code, e.Detail, 1
	case *events.SessionLost:
		return e.Code, e.Detail, 1
	case *events.LinkWentDown:
		return e.Code, e.Message, 1
	case *events.LinkCameBack:
		return e.Code, e.Message, 1
	case *events.LinkFellSilent:
		return e.Code, e.Message, 1
	case *events.LinkMissed:
		return e.Code, e.Message, 1
	case *events.FarmChanged:
		return e.Code, e.Message, 1
	case *events.CompetingBegan:
		return e.Code, "", 1
	case *events.PacingReduced:
		return e.Code, "", 1
	case *events.GatewayReported:
		return e.Code, e.Message, 1
	case *events.GatewayRepeated:
		return e.Code, e.Message, e.Count
	case *events.SubscriptionRefused:
		return e.Code, e.Message, 1
	default:
		return 0, "", 0
	}
}

// commanded follows commands.
func (s *told) commanded(r events.Recorded) {
	add := func(id string, verb events.Verb, from, reason, outcome string) {
		if len(s.commands) < maxCommands {
			s.commands = append(s.commands, Command{
				At: r.Time, Offset: events.MillisOf(r.Time.Sub(s.opened)),
				ID: Plain(id), Verb: verb, From: Plain(from), Reason: Plain(reason), Outcome: outcome,
			})
		}
	}
	became := func(id, outcome string) bool {
		n := slices.IndexFunc(s.commands, func(c Command) bool { return c.ID == Plain(id) })
		if n >= 0 {
			s.commands[n].Outcome = outcome
		}
		return n >= 0
	}
	switch e := r.Event.(type) {
	case *events.CommandAccepted:
		add(e.CommandID, e.Verb, "", e.Reason, "none yet")
	case *events.CommandRejected:
		add(e.CommandID, e.Verb, "", "", "rejected: "+Plain(e.Message))
	case *events.CommandCompleted:
		if outcome := "completed in " + e.Took.String(); !became(e.CommandID, outcome) {
			add(e.CommandID, e.Verb, "", "", outcome)
		}
	case *events.CommandFailed:
		if outcome := "failed after " + e.Took.String() + ": " + Plain(e.Message); !became(e.CommandID, outcome) {
			add(e.CommandID, e.Verb, "", "", outcome)
		}
	case *events.SubscriptionAdded:
		add(e.CommandID, events.VerbSubscribe, e.Caller, e.Reason, "subscription "+e.Subscription+" added")
	case *events.SubscriptionJoined:
		add(e.CommandID, events.VerbSubscribe, e.Caller, e.Reason, "joined subscription "+e.Subscription)
	case *events.SubscriptionLeft:
		add(e.CommandID, events.VerbCancel, e.Caller, e.Reason, "left subscription "+e.Subscription)
	case *events.SubscriptionCancelled:
		add(e.CommandID, events.VerbCancel, e.Caller, e.Reason, "subscription "+e.Subscription+" cancelled")
	default:
	}
}

// landed keeps what the flight recorder had.
func (s *told) landed(r events.Recorded, what string) {
	var frames []events.FlightFrame
	why, _ := alike(r)
	f := Flight{EndedAt: r.Time, Offset: events.MillisOf(r.Time.Sub(s.opened)), What: what}
	switch e := r.Event.(type) {
	case *events.SessionLost:
		frames, f.Traffic = e.Flight, e.Traffic
	case *events.DialFailed:
		frames, f.Traffic = e.Flight, e.Traffic
	default:
	}
	if len(frames) == 0 || len(s.flights) == maxFlights || slices.Contains(s.landings, why) {
		return
	}
	for _, frame := range frames {
		name := Plain(frame.Name)
		if name == "" {
			name = fmt.Sprint("message ", frame.ID)
		}
		f.Frames = append(f.Frames, Frame{
			Offset: events.MillisOf(frame.At.Sub(r.Time)), Dir: Plain(frame.Dir), ID: frame.ID, Name: name, Size: frame.Size, Head: Plain(frame.Head),
		})
	}
	s.flights, s.landings = append(s.flights, f), append(s.landings, why)
}

// Incidents returns the last 1000 incidents of each connection so far, in the order in
// which they were noticed.
func (t *Teller) Incidents() []incidents.Incident {
	var all []incidents.Incident
	for _, c := range t.connections {
		all = append(all, c.fold.Incidents()...)
	}
	slices.SortFunc(all, func(a, b incidents.Incident) int {
		if n := a.OpenedAt.Compare(b.OpenedAt); n != 0 {
			return n
		}
		if n := strings.Compare(string(a.Connection), string(b.Connection)); n != 0 {
			return n
		}
		return a.Number - b.Number
	})
	return all
}

// Within says whether an incident lies in a span at least in part. A zero time is no
// bound.
func Within(i incidents.Incident, from, to time.Time) bool {
	return (to.IsZero() || !i.OpenedAt.After(to)) && (from.IsZero() || i.Open() || !i.ClosedAt.Before(from))
}

// Stories returns the stories so far, those that were noticed first before the others.
func (t *Teller) Stories() []Story {
	stories := make([]Story, 0, len(t.told))
	for _, s := range t.told {
		found := s.of.fold.Incidents()
		n := slices.IndexFunc(found, func(i incidents.Incident) bool { return i.ID == s.id })
		if n < 0 {
			continue // the Fold remembers it no longer
		}
		stories = append(stories, s.story(found[n], t.Zone))
	}
	return stories
}

func (s *told) story(i incidents.Incident, zone *time.Location) Story {
	story := Story{
		Incident: i, Summary: Summary(i, zone),
		Before: s.leading(i), During: []Line{}, After: []Line{},
		Codes: slices.Clone(s.codes), Commands: slices.Clone(s.commands), Flights: slices.Clone(s.flights),
		StateBefore: s.first, StateAfter: s.last,
		Changed: Diff(Facts(s.first, zone), Facts(s.last, zone)),
	}
	for _, l := range s.lines.lines(i.OpenedAt) {
		if !i.Open() && l.At.After(i.ClosedAt) {
			story.After = append(story.After, l)
		} else {
			story.During = append(story.During, l)
		}
	}
	return story
}

// leading returns the lines before the incident: the last minutes, or at least from the
// last event on that was not routine.
func (s *told) leading(i incidents.Incident) []Line {
	all := s.before.lines(i.OpenedAt)
	first := len(all)
	for n, l := range slices.Backward(all) {
		end := l.At
		if !l.Until.IsZero() {
			end = l.Until
		}
		recent := i.OpenedAt.Sub(end) <= lead
		if l.Omitted > 0 || !recent && slices.ContainsFunc(all[first:], func(l Line) bool { return !l.routine }) {
			break
		}
		first = n
	}
	return slices.Clone(all[first:])
}

// Plain makes somebody else's words fit to be shown: one line without control
// characters and account ids, of at most 200 characters.
func Plain(s string) string {
	const most = 200
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, " "), unprintable), " ")
	s = events.MaskAccounts(s)
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return s
}
