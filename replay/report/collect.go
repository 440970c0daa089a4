package report

import (
	"cmp"
	"slices"
	"time"

	"ibconn/connector"
	"ibconn/consumers/incidents"
	"ibconn/events"
	"ibconn/replay/story"
)

// maxEvents is how many lines of events a report lists.
const maxEvents = 400

// Collector makes a report of the events of one connection. Fill in the fields, and
// give it all events from the first on, so that it knows how things stood at the
// beginning of the span.
type Collector struct {
	From, To time.Time         // the span; it begins with the first event at the earliest, and a zero To is the last
	Zone     *time.Location    // nil is this machine's
	Stories  int               // so many of the newest incidents of the span are told
	Only     string            // the id of the only incident that is told; empty for those of the span
	Windows  []string          // configured windows that are known from elsewhere than the log
	Policy   *connector.Policy // see [story.Teller]

	begun      bool
	counting   bool // the span has begun: a clock that is set back does not undo that
	connection events.ConnectionID
	first      time.Time // of what counts
	since      time.Time // up to when time is counted
	state      events.State
	teller     story.Teller
	levels     [len(levels)]availability
	lanes      *bins[wells]
	pulse      *bins[Pulse]
	heard      Pulse
	listing    *story.Listing
	windows    map[string]int
}

func (c *Collector) begin(r events.Recorded) {
	c.begun, c.connection, c.state = true, r.Connection, events.NewState(r.Connection)
	c.first = c.From
	if c.first.Before(r.Time) {
		c.first = r.Time
	}
	c.since = c.first
	c.lanes = newBins(c.first, worst)
	c.pulse = newBins(c.first, joined)
	if c.Zone == nil {
		c.Zone = time.Local
	}
	c.listing = story.NewListing(maxEvents, c.Zone)
	c.teller = story.Teller{Zone: c.Zone, Most: c.Stories, Policy: c.Policy, Want: func(i incidents.Incident) bool {
		if c.Only != "" {
			return i.ID == c.Only
		}
		return c.To.IsZero() || !i.OpenedAt.After(c.To)
	}}
	for n, l := range levels {
		c.levels[n].Level.Level = l
	}
	c.windows = make(map[string]int)
	for _, w := range c.Windows {
		c.windows[w] = 0
	}
}

// Add takes the next event.
func (c *Collector) Add(r events.Recorded) {
	if !c.begun {
		c.begin(r)
	}
	c.counting = c.counting || !r.Time.Before(c.first)
	c.teller.Add(r)
	was := wellOf(c.state)
	switch e := r.Event.(type) {
	case *events.EpochBegan:
		// What the process before had is gone since it fell silent; the next event says so.
		dead := !e.LastEventAt.IsZero() && c.state.Condition != events.ConditionStopped
		if dead {
			c.pass(was, e.LastEventAt)
			was = wells{gone}
			c.turn(was, e.LastEventAt)
		}
		c.pass(was, r.Time)
		if c.state = c.state.Apply(r); dead {
			return
		}
	case *events.ClockJumped:
		c.since = r.Time // how things were before is not known well enough
	default:
		c.pass(was, r.Time)
	}
	c.state = c.state.Apply(r)
	c.turn(wellOf(c.state), r.Time)
	if c.within(r.Time) {
		c.note(r)
		c.listing.Add(r, c.state.Condition)
	}
}

func (c *Collector) within(at time.Time) bool {
	return c.counting && (c.To.IsZero() || !at.After(c.To))
}

// pass counts the time until at, in which the levels were as they were.
func (c *Collector) pass(was wells, at time.Time) {
	if !c.To.IsZero() && at.After(c.To) {
		at = c.To
	}
	d := at.Sub(c.since)
	if d <= 0 {
		return
	}
	c.lanes.fill(c.since, at, was)
	for n := range c.levels {
		c.levels[n].pass(events.MillisOf(d))
	}
	c.since = at
}

// turn says how the levels are from at on.
func (c *Collector) turn(now wells, at time.Time) {
	counts := c.within(at)
	for n := range c.levels {
		a := &c.levels[n]
		switch {
		case counts:
			a.turn(now[n])
		case !c.counting: // nothing is a failure of the span yet
			a.was, a.starting = now[n], false
		}
	}
	if counts {
		c.lanes.put(at, now)
	}
}

func joined(a, b Pulse) Pulse {
	switch {
	case a.Answered == 0:
		a.Min = b.Min
	case b.Answered > 0:
		a.Min = min(a.Min, b.Min)
	}
	a.Answered, a.Missed = a.Answered+b.Answered, a.Missed+b.Missed
	a.Max, a.sum = max(a.Max, b.Max), a.sum+b.sum
	return a
}

// note counts what r says.
func (c *Collector) note(r events.Recorded) {
	window := ""
	var beat Pulse
	switch e := r.Event.(type) {
	case *events.HeartbeatAnswered:
		beat = Pulse{Answered: 1, Min: e.RTT, Max: e.RTT, sum: e.RTT}
	case *events.HeartbeatMissed:
		beat = Pulse{Missed: 1}
	case *events.SessionLost:
		window = e.Window
	case *events.DialFailed:
		window = e.Window
	case *events.BreakerOpened:
		window = e.Window
	case *events.LinkWentDown:
		window = e.Window
	case *events.LinkFellSilent:
		window = e.Window
	default:
	}
	if beat.Answered+beat.Missed > 0 {
		c.heard = joined(c.heard, beat)
		c.pulse.put(r.Time, beat)
	}
	window = story.Plain(window)
	if _, known := c.windows[window]; window != "" && (known || len(c.windows) < maxClusters*10) {
		c.windows[window] += 0
	}
}

// Report returns what the events so far come to, and false when there were none.
func (c *Collector) Report() (Report, bool) {
	if !c.begun {
		return Report{}, false
	}
	r := Report{
		Connection: c.connection, From: c.first, To: c.since, Zone: story.ZoneName(c.Zone, c.since), Only: c.Only, zone: c.Zone,
		Incidents: []incidents.Incident{}, Stories: []story.Story{},
		Lanes: Lanes{From: c.lanes.from, Width: events.MillisOf(c.lanes.width)},
	}
	for _, i := range c.teller.Incidents() {
		if story.Within(i, c.From, c.To) {
			r.Incidents = append(r.Incidents, i)
		}
	}
	for n := range c.levels {
		r.Levels = append(r.Levels, c.levels[n].level())
	}
	for n, lane := range []*string{&r.Lanes.Session, &r.Lanes.Link, &r.Lanes.Farm, &r.Lanes.Subscription} {
		text := make([]byte, len(c.lanes.all))
		for k, w := range c.lanes.all {
			text[k] = '0' + byte(w[n])
		}
		*lane = string(text)
	}
	r.Heartbeats = c.heartbeats()
	r.count()
	r.Windows = c.against(r)
	for _, s := range c.teller.Stories() {
		if c.Only != "" || story.Within(s.Incident, c.From, c.To) {
			r.Stories = append(r.Stories, s)
		}
	}
	r.Events, r.Omitted = c.listing.Lines(c.first)
	return r, true
}

func (c *Collector) heartbeats() Heartbeat {
	h := Heartbeat{
		Answered: c.heard.Answered, Missed: c.heard.Missed, Max: c.heard.Max,
		From: c.pulse.from, Width: events.MillisOf(c.pulse.width), Bins: []Pulse{},
	}
	if h.Answered > 0 {
		h.Mean = c.heard.sum / events.Millis(h.Answered)
	}
	for _, b := range c.pulse.all {
		if b.Answered > 0 {
			b.Mean = b.sum / events.Millis(b.Answered)
		}
		h.Bins = append(h.Bins, b)
	}
	return h
}

// against holds when incidents came against the windows that there are.
func (c *Collector) against(r Report) Windows {
	zones := []*time.Location{c.Zone}
	w := Windows{Learned: []Cluster{}, Configured: []Window{}}
	for name := range c.windows {
		n := 0
		for _, i := range r.Incidents {
			if story.Plain(i.Window) == name {
				n++
			}
		}
		w.Configured = append(w.Configured, Window{Window: name, Incidents: n})
		if parsed, err := connector.ParseWindow(name); err == nil {
			zones = append(zones, parsed.Zone)
		}
	}
	slices.SortFunc(w.Configured, func(a, b Window) int { return cmp.Or(b.Incidents-a.Incidents, cmp.Compare(a.Window, b.Window)) })
	slices.SortFunc(zones[1:], func(a, b *time.Location) int { return cmp.Compare(a.String(), b.String()) })
	if c.Zone == time.Local { // its name says nothing to anybody else
		zones = append(zones[1:], zones[0])
	}
	outages := outagesOf(r.Incidents)
	for n := range outages { // a window may be newer than the outage
		if window, open := c.known().At(outages[n].At); open && outages[n].Window == "" {
			outages[n].Window = window.String()
		}
	}
	w.Learned = append(w.Learned, Learn(outages, r.From, r.To, zones...)...)
	return w
}

// known are the configured windows that were given.
func (c *Collector) known() connector.Windows {
	var all connector.Windows
	for _, name := range c.Windows {
		if w, err := connector.ParseWindow(name); err == nil {
			all = append(all, w)
		}
	}
	return all
}

// count counts the incidents by what they have in common.
func (r *Report) count() {
	causes, faults := make(map[string]Count), make(map[string]Count)
	add := func(to map[string]Count, name string, i incidents.Incident) {
		n := to[name]
		to[name] = Count{name, n.Count + 1, n.Lasted + events.MillisOf(i.Duration())}
	}
	found := []Count{{Name: "at once"}, {Name: "within 10 s"}, {Name: "within 1 min"}, {Name: "within 10 min"}, {Name: "later"}}
	limits := []time.Duration{0, 10 * time.Second, time.Minute, 10 * time.Minute}
	for _, i := range r.Incidents {
		add(causes, story.Cause(i), i)
		add(faults, story.FaultName(i), i)
		n, _ := slices.BinarySearch(limits, i.DetectedAfter.Duration())
		found[n].Count++
		found[n].Lasted += i.DetectedAfter
		at := i.OpenedAt.In(r.zone)
		if !i.OpenedAt.Before(r.From) {
			r.Heat.Counts[at.Weekday()][at.Hour()]++
		}
	}
	r.Causes, r.Attributions, r.Detection = ordered(causes), ordered(faults), found
}

func ordered(counts map[string]Count) []Count {
	all := make([]Count, 0, len(counts))
	for _, c := range counts {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Count) int { return cmp.Or(b.Count-a.Count, cmp.Compare(a.Name, b.Name)) })
	return all
}
