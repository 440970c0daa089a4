// Package dashboard shows the connections of a log on a page: how each is at its four
// levels, how it was in the last week, its heartbeats, its incidents with their
// story, and its events as they come.
//
// The one idea: a [Model] is a fold of the log, as everything here is, that keeps the
// past in the form in which it is drawn; a [Page] answers from it, and holds nothing
// that the log does not say. So it may run in the process that keeps the
// connections, or in any other, in as many copies as are wanted.
//
//	model := new(dashboard.Model)
//	reader.Folds = append(reader.Folds, model) // a *follow.Reader
//	page := &dashboard.Page{Model: model, Log: log, Caught: reader.Caught()}
//	site.More = page.Handler()                 // a *web.Site
//
// Guarantees:
//   - What is kept of a connection is bounded, however much happens to it, and so is
//     every answer.
//   - Nothing is lost where things are put together to stay within that: the worst of
//     them is shown.
//   - Who reads slowly, or not at all, holds nobody up: nothing is queued for anybody.
//     A stream goes on from a position of the log, with what there is of it then.
//   - Times are those of the events; what is now is an argument.
//   - Commands are taken only where [Page.Command] is set, and from the page itself:
//     no page of another site can give one.
//
// # Non-obvious
//
//   - What the gateway says is somebody else's words. They leave here as JSON and enter
//     the page as text, never as HTML; the policy of package web would not run
//     them anyway.
//   - A process that died says nothing. Its connection is shown as not heard of from
//     its last word on, once that has been too long ago ([events.State.StaleAfter]).
//   - Answered heartbeats are drawn and not listed: they would be all there is.
//   - The answers under /api are for the page of the same program, and change with it.
//     What others can rely on is /status, and the bus.
package dashboard

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"ibconn/bus"
	"ibconn/consumers/incidents"
	"ibconn/events"
)

const (
	// maxConnections is of how many connections anything is kept: a bus may be written
	// to by others.
	maxConnections = 512
	// maxFarms is of how many farms a connection has a lane each: IB has some dozens,
	// and the names are the gateway's words.
	maxFarms = 32
	// maxLines is how many events of a connection are kept in words.
	maxLines = 500
	// maxRecent is the same of all connections together, for streams that go on.
	maxRecent = 4096
)

// line is an event in words.
type line struct {
	Position   uint64              `json:"position"`
	Connection events.ConnectionID `json:"connection"`
	At         millis              `json:"at"`
	Kind       events.Kind         `json:"kind"`
	What       string              `json:"what"`
	Severity   events.Severity     `json:"severity"`
	Condition  events.Condition    `json:"condition"` // after it
	Sequence   uint64              `json:"sequence"`
	Text       string              `json:"text"`
}

// millis is a time in milliseconds of Unix; 0 is none.
type millis int64

func millisOf(t time.Time) millis {
	if t.IsZero() {
		return 0
	}
	return millis(t.UnixMilli())
}

// ring is the newest lines of some, the oldest first.
type ring struct{ all []*line }

func (r *ring) add(l *line, most int) {
	if len(r.all) >= 2*most {
		r.all = append(make([]*line, 0, 2*most), r.all[len(r.all)-most:]...)
	}
	r.all = append(r.all, l)
}

// newest are so many lines at most.
func (r *ring) newest(most int) []*line { return r.all[max(len(r.all)-most, 0):] }

// Model is what the page shows. The zero Model has seen no event. Add and Skip are
// called by one goroutine, everything else may be by any.
type Model struct {
	// Settle is what [incidents.Fold] has it for.
	Settle time.Duration

	mu          sync.Mutex
	connections map[events.ConnectionID]*connection
	more        map[events.ConnectionID]struct{} // of which nothing is kept
	recent      ring
	position    uint64
	moved       chan struct{} // closed when there is something new; nil while nobody waits
}

// connection is what is kept of one connection.
type connection struct {
	name     events.ConnectionID
	state    events.State
	position uint64
	lastAt   time.Time // when its newest event happened, heartbeats included
	since    time.Time // of the condition
	unheard  bool      // its lanes say that nobody tells

	condition, session, link, farms, data lane
	farm                                  map[events.Farm]*lane
	beats                                 beats
	lines                                 ring

	fold        incidents.Fold
	spans       map[string]span // by incident
	incidentsAt uint64          // the position at which one last changed
	known       []incidents.Incident
	fresh       bool // known is what fold says
}

// span is where in the log an incident happened.
type span struct{ from, to uint64 }

// Add takes the next event.
func (m *Model) Add(e bus.Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.position = e.StreamSeq
	defer m.wake()
	c := m.connections[e.Connection]
	if c == nil {
		if c = m.begin(e.Connection); c == nil {
			return
		}
	}
	if l := c.add(e); l != nil {
		c.lines.add(l, maxLines)
		m.recent.add(l, maxRecent)
	}
}

// Skip takes a position of the log at which there is no event.
func (m *Model) Skip(position uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.position = position
	m.wake()
}

func (m *Model) begin(name events.ConnectionID) *connection {
	if m.connections == nil {
		m.connections, m.more = make(map[events.ConnectionID]*connection), make(map[events.ConnectionID]struct{})
	}
	if len(m.connections) >= maxConnections {
		if len(m.more) < maxConnections { // beyond that they are just many
			m.more[name] = struct{}{}
		}
		return nil
	}
	c := &connection{name: name, state: events.NewState(name), farm: make(map[events.Farm]*lane), spans: make(map[string]span), fold: incidents.Fold{Settle: m.Settle}}
	m.connections[name] = c
	return c
}

func (m *Model) wake() {
	if m.moved != nil {
		close(m.moved)
		m.moved = nil
	}
}

// wait returns what is closed when there is something behind a position.
func (m *Model) wait(position uint64) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.position > position {
		done := make(chan struct{})
		close(done)
		return done
	}
	if m.moved == nil {
		m.moved = make(chan struct{})
	}
	return m.moved
}

// sorted are the connections in the order of their names: one of a name, or all
// without one.
func (m *Model) sorted(name events.ConnectionID) []*connection {
	if name != "" {
		if c := m.connections[name]; c != nil {
			return []*connection{c}
		}
		return nil
	}
	return slices.SortedFunc(maps.Values(m.connections), func(a, b *connection) int { return strings.Compare(string(a.name), string(b.name)) })
}

// add takes an event, and returns it in words where it is to be listed.
func (c *connection) add(e bus.Entry) *line {
	before := c.state.Condition
	c.notice(e.Recorded)
	first := c.lastAt.IsZero()
	c.state = c.state.Apply(e.Recorded)
	c.position, c.lastAt = e.StreamSeq, e.Time
	if first || c.state.Condition != before {
		c.since = e.Time
	}
	_, began := e.Event.(*events.EpochBegan) // which says nothing of how it is
	if !began && (c.unheard || !e.Heartbeat()) {
		c.draw(e.Time)
	}
	c.pulse(e.Recorded)
	var l *line
	if !events.Routine(e.Recorded) {
		l = lineOf(e, c.state.Condition)
	}
	c.follow(e)
	return l
}

func lineOf(e bus.Entry, after events.Condition) *line {
	t := e.Event.Type()
	return &line{
		Position: e.StreamSeq, Connection: e.Connection, At: millisOf(e.Time), Kind: t.Kind(), What: t.What(),
		Severity: events.SeverityOf(e.Recorded), Condition: after, Sequence: e.Sequence, Text: events.Sentence(e.Recorded),
	}
}

// notice sees that before r nobody told how the connection was.
func (c *connection) notice(r events.Recorded) {
	at := c.lastAt
	e, began := r.Event.(*events.EpochBegan)
	switch {
	case began && c.state.Condition == events.ConditionStopped, at.IsZero():
		return
	case began && e.LastEventAt.After(at):
		at = e.LastEventAt
	case began:
	case c.unheard || !c.silentBy(r.Time):
		return
	}
	c.condition.set(at, conditionUnheard, 0)
	c.session.set(at, sessionUnheard, 0)
	c.link.set(at, 0, 0)
	c.farms.set(at, 0, 0)
	c.data.set(at, 0, 0)
	for _, l := range c.farm {
		l.set(at, 0, 0)
	}
	c.unheard = true
}

// silentBy says whether the connection should have been heard of by a time, since its
// last word.
func (c *connection) silentBy(at time.Time) bool {
	stale := c.state.StaleAfter(c.lastAt)
	return !stale.IsZero() && at.After(stale)
}

// draw takes how the connection is into its lanes.
func (c *connection) draw(at time.Time) {
	c.unheard = false
	c.condition.set(at, conditionOf(c.state), 0)
	c.session.set(at, sessionOf(c.state), 0)
	c.link.set(at, linkOf(c.state), 0)
	worst, count := farmsOf(c.state)
	c.farms.set(at, worst, count)
	worst, count = subscriptionsOf(c.state)
	c.data.set(at, worst, count)
	for _, f := range c.state.Farms {
		if l := c.laneOf(f.Farm, at); l != nil {
			l.set(at, farmOf(f.Status), 0)
		}
	}
	for f, l := range c.farm {
		if c.state.Farm(f) == events.FarmUnknown {
			l.set(at, 0, 0)
		}
	}
}

// laneOf returns the lane of a farm, or nil where there are too many.
func (c *connection) laneOf(f events.Farm, at time.Time) *lane {
	if l := c.farm[f]; l != nil {
		return l
	}
	if len(c.farm) >= maxFarms {
		oldest := at.Add(-week).UnixMilli()
		maps.DeleteFunc(c.farm, func(_ events.Farm, l *lane) bool {
			return l.now() == 0 && (len(l.all) == 0 || l.all[len(l.all)-1].at < oldest)
		})
	}
	if len(c.farm) >= maxFarms {
		return nil
	}
	l := new(lane)
	c.farm[f] = l
	return l
}

// pulse takes the heartbeats.
func (c *connection) pulse(r events.Recorded) {
	switch e := r.Event.(type) {
	case *events.HeartbeatAnswered:
		c.beats.add(r.Time, float32(e.RTT), false)
	case *events.HeartbeatMissed:
		c.beats.add(r.Time, 0, true)
	case *events.SessionOpened:
		if e.RTT > 0 {
			c.beats.add(r.Time, float32(e.RTT), false)
		}
	default:
	}
}

// leadIn is how long before an incident was noticed its story begins.
const leadIn = 30 * time.Second

// follow takes what becomes of incidents.
func (c *connection) follow(e bus.Entry) {
	changes := c.fold.Add(e.Recorded)
	c.fresh = c.fresh && e.Heartbeat() && len(changes) == 0
	for _, change := range changes {
		c.incidentsAt = e.StreamSeq
		s, known := c.spans[change.Incident.ID]
		if !known {
			s.from = c.from(change.Incident, e.StreamSeq)
		}
		s.to = e.StreamSeq
		c.spans[change.Incident.ID] = s
	}
	if len(c.spans) > 2*maxIncidents {
		kept := make(map[string]span)
		for _, i := range c.incidents() {
			kept[i.ID] = c.spans[i.ID]
		}
		c.spans = kept
	}
}

// maxIncidents is how many incidents an [incidents.Fold] remembers.
const maxIncidents = 1000

// from is where in the log the story of an incident begins that is found at a position.
func (c *connection) from(i incidents.Incident, position uint64) uint64 {
	began := millisOf(i.OpenedAt.Add(-i.DetectedAfter.Duration() - leadIn))
	if at := millisOf(i.Root.FirstAt.Add(-leadIn)); at != 0 {
		began = min(began, at)
	}
	for _, l := range slices.Backward(c.lines.newest(maxLines)) {
		if l.At < began {
			break
		}
		position = min(position, l.Position)
	}
	return position
}

// incidents are those that are remembered, oldest first.
func (c *connection) incidents() []incidents.Incident {
	if !c.fresh {
		c.known, c.fresh = c.fold.Incidents(), true
	}
	return c.known
}

// open are the incidents that go on, oldest first.
func (c *connection) open() []incidents.Incident {
	var all []incidents.Incident
	for _, i := range c.incidents() {
		if i.Open() {
			all = append(all, i)
		}
	}
	return all
}

// since returns the newest lines behind a position, so many at most, and how many more
// there are at least; whole is false where some are not kept any more.
func (m *Model) since(position uint64, most int) (lines []*line, more int, whole bool) {
	all := m.recent.newest(maxRecent)
	first, _ := slices.BinarySearchFunc(all, position+1, func(l *line, at uint64) int { return cmp.Compare(l.Position, at) })
	whole = first > 0 || len(m.recent.all) < maxRecent
	more = max(len(all)-first-most, 0)
	return all[first+more:], more, whole
}
