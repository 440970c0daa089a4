package dashboard

import (
	"cmp"
	"slices"
	"strings"

	"ibconn/consumers/incidents"
	"ibconn/events"
)

// drawing is what a lane says: its segments, each as the time it begins, as an offset
// in milliseconds, the number of its word, how many stretches it stands for, and of
// how many things it tells.
type drawing struct {
	Connection events.ConnectionID `json:"connection"`
	Lane       string              `json:"lane"`
	Name       string              `json:"name"`
	Words      []word              `json:"words"`
	Segments   [][4]int64          `json:"segments"`
}

// timeline is how connections were between two times.
type timeline struct {
	From      millis    `json:"from"`
	To        millis    `json:"to"`
	Position  uint64    `json:"position"`
	Lanes     []drawing `json:"lanes"`
	Incidents []brief   `json:"incidents"`
	More      int       `json:"more"` // incidents that are not in it
}

// timeline draws all lanes of a connection, or how each of all connections was.
func (m *Model) timeline(q query, now int64) timeline {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := timeline{From: millis(q.from), To: millis(q.to), Position: m.position, Lanes: []drawing{}}
	all := m.sorted(q.connection)
	lanes := len(all)
	if q.connection != "" {
		lanes *= 5 + maxFarms
	}
	pen := pen{query: q, now: now, pieces: min(q.pieces, max(maxDrawn/max(lanes, 1), 10))}
	var of []brief
	for _, c := range all {
		t.Lanes = append(t.Lanes, pen.draw(c, "condition", string(c.name), conditionWords, &c.condition))
		if q.connection != "" {
			t.Lanes[0].Name = "condition"
			t.Lanes = append(t.Lanes, pen.drawAll(c)...)
		}
		for _, i := range c.incidents() {
			if b := briefOf(i); int64(b.OpenedAt) < q.to && (b.Open || int64(b.ClosedAt) > q.from) {
				of = append(of, b)
			}
		}
	}
	t.Incidents, t.More = newestOf(of, q.limit)
	return t
}

// pen draws what a query asks for.
type pen struct {
	query
	now    int64
	pieces int
}

func (p pen) drawAll(c *connection) []drawing {
	all := []drawing{
		p.draw(c, "session", "session", sessionWords, &c.session),
		p.draw(c, "link", "link", linkWords, &c.link),
		p.draw(c, "farms", "farms", farmWords, &c.farms),
		p.draw(c, "data", "subscriptions", dataWords, &c.data),
	}
	first := len(all)
	for f, l := range c.farm {
		if d := p.draw(c, "farm", farmName(f), farmWords, l); slices.ContainsFunc(d.Segments, func(s [4]int64) bool { return s[1] != 0 }) {
			all = append(all, d)
		}
	}
	slices.SortFunc(all[first:], func(a, b drawing) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// draw draws a lane up to now. Where nobody tells any more, it ends with the last word
// of whoever did.
func (p pen) draw(c *connection, kind, name string, words []word, l *lane) drawing {
	d := drawing{Connection: c.name, Lane: kind, Name: name, Words: words, Segments: [][4]int64{}}
	to, silent := min(p.to, p.now), int64(0)
	if stale := c.state.StaleAfter(c.lastAt); !c.unheard && !stale.IsZero() && stale.UnixMilli() < p.now {
		silent = c.lastAt.UnixMilli()
	}
	end := to
	if silent != 0 {
		end = min(end, silent)
	}
	for _, s := range l.between(p.from, end, p.pieces) {
		d.Segments = append(d.Segments, [4]int64{s.at - p.from, int64(s.mark), int64(s.times), int64(s.count)})
	}
	if silent != 0 && silent < to {
		m := mark(0)
		if last := len(words) - 1; words[last].Tone == toneGone {
			m = mark(last)
		}
		d.Segments = append(d.Segments, [4]int64{max(silent-p.from, 0), int64(m), 1, 0})
	}
	return d
}

// newestOf returns the newest of some incidents, the newest first, and how many more
// there are.
func newestOf(all []brief, most int) ([]brief, int) {
	slices.SortStableFunc(all, func(a, b brief) int { return cmp.Compare(b.OpenedAt, a.OpenedAt) })
	if len(all) > most {
		return all[:most], len(all) - most
	}
	if all == nil {
		all = []brief{}
	}
	return all, 0
}

// pulse is the heartbeats of a connection in columns, as they are drawn: when in
// seconds of Unix, round trips in milliseconds, null where none was answered.
type pulse struct {
	From   millis     `json:"from"`
	To     millis     `json:"to"`
	At     []float64  `json:"at"`
	Least  []*float32 `json:"least"`
	Mean   []*float32 `json:"mean"`
	Most   []*float32 `json:"most"`
	Missed []uint16   `json:"missed"`
}

func (m *Model) pulse(q query) pulse {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := pulse{From: millis(q.from), To: millis(q.to), At: []float64{}, Least: []*float32{}, Mean: []*float32{}, Most: []*float32{}, Missed: []uint16{}}
	c := m.connections[q.connection]
	if c == nil {
		return p
	}
	all := c.beats.between(q.from, q.to, q.pieces)
	// Without a heartbeat for much longer than between the others there is none to
	// draw a line to.
	apart := apartMost(all, (q.to-q.from)/int64(q.pieces))
	for n, one := range all {
		if n > 0 && one.at-all[n-1].at > apart {
			p.put(minute{at: all[n-1].at + apart/2})
		}
		p.put(one)
	}
	return p
}

// apartMost is how far apart two heartbeats may be of which the second follows the
// first.
func apartMost(all []minute, width int64) int64 {
	if len(all) < 2 {
		return width
	}
	steps := make([]int64, 0, len(all)-1)
	for n := 1; n < len(all); n++ {
		steps = append(steps, all[n].at-all[n-1].at)
	}
	slices.Sort(steps)
	return max(4*steps[len(steps)/2], 3*width, 3000)
}

func (p *pulse) put(m minute) {
	p.At = append(p.At, float64(m.at)/1000)
	p.Missed = append(p.Missed, m.missed)
	if m.answered == 0 {
		p.Least, p.Mean, p.Most = append(p.Least, nil), append(p.Mean, nil), append(p.Most, nil)
		return
	}
	mean := m.sum / float32(m.answered)
	p.Least, p.Mean, p.Most = append(p.Least, &m.least), append(p.Mean, &mean), append(p.Most, &m.most)
}

// listing is some incidents, the newest first.
type listing struct {
	Incidents []brief `json:"incidents"`
	More      int     `json:"more"`
}

func (m *Model) incidents(q query) listing {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []brief
	for _, c := range m.sorted(q.connection) {
		for _, i := range c.incidents() {
			all = append(all, briefOf(i))
		}
	}
	var l listing
	l.Incidents, l.More = newestOf(all, q.limit)
	return l
}

// incident returns an incident by its id, and where in the log it happened.
func (m *Model) incident(id string) (incidents.Incident, span, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	end := strings.LastIndexByte(id, '-')
	if end < 0 {
		return incidents.Incident{}, span{}, false
	}
	c := m.connections[events.ConnectionID(id[:end])]
	if c == nil {
		return incidents.Incident{}, span{}, false
	}
	for _, i := range slices.Backward(c.incidents()) {
		if i.ID == id {
			return i, c.spans[id], true
		}
	}
	return incidents.Incident{}, span{}, false
}

// tail is some events in words, the newest first.
type tail struct {
	Position uint64  `json:"position"`
	Lines    []*line `json:"lines"`
	More     bool    `json:"more"` // there are older ones here
	// Cut says that what is older than the last line is not kept here, and is in the
	// log.
	Cut bool `json:"cut"`
}

func (m *Model) tail(q query) tail {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := tail{Position: m.position, Lines: []*line{}}
	for _, c := range m.sorted(q.connection) {
		for _, l := range c.lines.newest(maxLines) {
			if q.selects(l) {
				t.Lines = append(t.Lines, l)
			}
		}
		t.Cut = t.Cut || len(c.lines.all) >= maxLines
	}
	slices.SortFunc(t.Lines, func(a, b *line) int { return cmp.Compare(b.Position, a.Position) })
	if len(t.Lines) > q.limit {
		t.Lines, t.More = t.Lines[:q.limit], true
	}
	return t
}

// news is what has changed since a position of the log.
type news struct {
	Now         millis                `json:"now"`
	Position    uint64                `json:"position"`
	Reading     bool                  `json:"reading,omitempty"`
	Reset       bool                  `json:"reset,omitempty"` // some is not kept any more: begin anew
	Lines       []*line               `json:"lines,omitempty"` // the oldest first
	More        int                   `json:"more,omitempty"`  // older lines that are not in it
	Connections []summary             `json:"connections,omitempty"`
	Incidents   []events.ConnectionID `json:"incidents,omitempty"` // whose incidents changed
}

// maxNews is how many lines are told at once.
const maxNews = 100

func (m *Model) news(after uint64) news {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := news{Position: m.position}
	var whole bool
	n.Lines, n.More, whole = m.since(after, maxNews)
	// A position that the log has not come to is of another log.
	if n.Reset = !whole || after > m.position; n.Reset {
		n.Lines, n.More = nil, 0
		return n
	}
	for _, c := range m.sorted("") {
		if c.position <= after {
			continue
		}
		n.Connections = append(n.Connections, c.summary())
		if c.incidentsAt > after {
			n.Incidents = append(n.Incidents, c.name)
		}
	}
	return n
}
