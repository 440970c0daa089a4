package alerts

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"ibconn/consumers/incidents"
	"ibconn/consumers/status"
	"ibconn/events"
)

var midnight = time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)

// config reads rules for the receiver ops, and for second where they name it.
func config(t testing.TB, text string) *Config {
	t.Helper()
	c, err := Parse("alerts.yml", []byte(text), Surroundings{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const ops = "receivers: [{name: ops, url: 'http://127.0.0.1/x'}]\n"

// input is what becomes known at a time.
type happened struct {
	at     time.Time
	change *incidents.Change
	status *status.Document
}

// cell is a record of the pretended bus.
type cell struct {
	revision uint64
	payload  []byte
}

// death is what kills a copy, and where.
type death int

const (
	lives death = iota
	beforeClaim
	beforePost
	beforeMark
	afterMark
)

// sim plays a night to copies that share a bus and receivers, by a clock of its
// own.
type sim struct {
	testing.TB
	config *Config
	now    time.Time
	all    []happened
	known  int // how many of all
	bus    map[string]cell
	stored uint64 // the newest revision
	copies []*Book
	wakes  []time.Time
	made   int
	posts  []Alert
	when   []time.Time
	// away says whether a receiver answers, and dies what happens to a copy.
	away func(receiver string, now time.Time) bool
	dies func() death
}

func newSim(tb testing.TB, c *Config, copies int, all []happened) *sim {
	s := &sim{TB: tb, config: c, now: midnight, all: all, bus: make(map[string]cell)}
	slices.SortStableFunc(s.all, func(a, b happened) int { return a.at.Compare(b.at) })
	for range copies {
		s.copies = append(s.copies, nil)
		s.wakes = append(s.wakes, time.Time{})
	}
	return s
}

// start begins a copy anew, with what is known.
func (s *sim) start(n int) {
	s.made++
	b := NewBook(s.config, fmt.Sprint("copy", s.made))
	for key, c := range s.bus {
		b.AddRecord(key, c.revision, c.payload, s.now)
	}
	for i, h := range s.all[:s.known] {
		give(b, h, i)
	}
	b.Begin(s.now)
	s.copies[n] = b
	s.look(n)
}

func give(b *Book, h happened, n int) {
	if h.change != nil {
		b.AddIncident(h.change.Incident, h.change.Sequence, h.change.Part)
	}
	if h.status != nil {
		b.AddStatus(*h.status, uint64(n+1))
	}
}

// run plays until a time.
func (s *sim) run(until time.Time) *sim {
	for n := range s.copies {
		if s.copies[n] == nil {
			s.start(n)
		}
	}
	for {
		next := until
		if s.known < len(s.all) && s.all[s.known].at.Before(next) {
			next = s.all[s.known].at
		}
		for _, w := range s.wakes {
			if !w.IsZero() && w.Before(next) {
				next = w
			}
		}
		if !next.Before(until) {
			s.now = until
			return s
		}
		if next.After(s.now) {
			s.now = next
		}
		for s.known < len(s.all) && !s.all[s.known].at.After(s.now) {
			for _, b := range s.copies {
				give(b, s.all[s.known], s.known)
			}
			s.known++
		}
		for n := range s.copies {
			s.look(n)
		}
	}
}

// look has a copy do what it is to do now.
func (s *sim) look(n int) {
	for range 1000 {
		b := s.copies[n]
		do, wake := b.Next(s.now)
		if s.wakes[n] = wake; !wake.IsZero() && !wake.After(s.now) {
			s.Fatalf("%v: a copy wants to look again at %v", s.now, wake)
		}
		if len(do) == 0 {
			return
		}
		for _, d := range do {
			if !s.deliver(b, d) {
				s.start(n) // it is killed, with what else it was about to do
				return
			}
		}
	}
	s.Fatal("a copy has something to do forever")
}

func (s *sim) put(key string, revision uint64, r Record) uint64 {
	if s.bus[key].revision != revision {
		return 0
	}
	payload, err := json.Marshal(r)
	if err != nil {
		s.Fatal(err)
	}
	if len(payload) > 1000 {
		s.Fatalf("a record has %d bytes", len(payload))
	}
	s.stored++
	s.bus[key] = cell{s.stored, payload}
	for _, b := range s.copies {
		if b != nil {
			b.AddRecord(key, s.stored, payload, s.now)
		}
	}
	return s.stored
}

// deliver does what a Teller does. It says whether the copy lives.
func (s *sim) deliver(b *Book, d Delivery) bool {
	dies := lives
	if s.dies != nil {
		dies = s.dies()
	}
	if dies == beforeClaim {
		return false
	}
	if d.Alert == nil {
		r := d.Marked(false, s.now)
		b.Done(d, r, s.put(d.Key, d.Revision, r), s.now)
		return dies == lives
	}
	var claimed uint64
	if !d.Local {
		if claimed = s.put(d.Key, d.Revision, d.Claim(b.me)); claimed == 0 {
			b.Done(d, Record{}, 0, s.now)
			return true
		}
	}
	if dies == beforePost {
		return false
	}
	r := d.Failed(0)
	if s.away == nil || !s.away(d.Receiver.Name, s.now) {
		s.posts, s.when = append(s.posts, *d.Alert), append(s.when, s.now)
		r = d.Marked(false, s.now)
	}
	if dies == beforeMark {
		return false
	}
	if d.Local {
		b.Done(d, r, 0, s.now)
	} else {
		b.Done(d, r, s.put(d.Key, claimed, r), s.now)
	}
	return dies != afterMark
}

// told words what was posted.
func (s *sim) told() []string {
	var all []string
	for i, a := range s.posts {
		text := fmt.Sprintf("%v %s %s %s", s.when[i].Sub(midnight).Round(time.Second), a.Severity, a.State, a.About)
		if a.First {
			text += " first"
		}
		if a.Reminder > 0 {
			text += fmt.Sprint(" ", a.Reminder)
		}
		all = append(all, text)
	}
	return all
}

// outage is an incident of main, some time after midnight.
func outage(from time.Duration, change func(*incidents.Incident)) incidents.Incident {
	i := incidents.Incident{
		ID: fmt.Sprintf("main-%d", from/time.Second), Number: 1, Connection: "main", State: incidents.StateOpen,
		OpenedAt: midnight.Add(from), AsOf: midnight.Add(from), Worst: events.ConditionDown,
		Root:        incidents.Step{Level: events.LevelSession, What: incidents.SessionLost, Words: "the gateway closed the connection"},
		Attribution: events.AttributionGateway,
	}
	if change != nil {
		change(&i)
	}
	return i
}

// at is a change of an incident.
func at(when time.Duration, kind incidents.Kind, i incidents.Incident) happened {
	i.AsOf = midnight.Add(when)
	if kind == incidents.Closed {
		i.State = incidents.StateClosed
		if i.ClosedAt.IsZero() {
			i.ClosedAt = i.AsOf
		}
	}
	return happened{at: midnight.Add(when), change: &incidents.Change{Kind: kind, Incident: i, Sequence: uint64(when/time.Second) + 1, Part: 1}}
}

// stands is what the status says from a time on, until it would be stale.
func stands(when time.Duration, c events.Condition, since, stale time.Duration) happened {
	d := &status.Document{Connection: "main", StreamSeq: 1, AsOf: midnight.Add(when), Since: midnight.Add(since)}
	d.Phase, d.Condition = events.PhaseReady, c
	if stale != 0 {
		d.StaleAfter = midnight.Add(stale)
	}
	return happened{at: midnight.Add(when), status: d}
}
