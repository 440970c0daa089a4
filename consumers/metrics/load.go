package metrics

import (
	"slices"

	"ibconn/events"
)

// load is how much of what a session sent is counted.
type load struct {
	attempt uint64 // the session's; 0 before it told
	sent    map[string]uint64
	waits   uint64
	waited  events.Millis
	queued  uint64 // when it told last
}

// asked counts what is new in what a session tells. Totals that are smaller than
// before are old news.
func (m *Metrics) asked(c *connection, name string, attempt uint64, told events.Load) {
	if len(told.Sent) == 0 {
		return // by a program that did not count yet
	}
	if c.load.attempt != attempt {
		c.load = load{attempt: attempt, sent: make(map[string]uint64)}
	}
	l := &c.load
	for kind, sent := range byKind(told.Sent) {
		if before := l.sent[kind]; sent > before {
			m.requests.WithLabelValues(name, kind).Add(float64(sent - before))
			l.sent[kind] = sent
		}
	}
	if told.Waits > l.waits {
		m.waits.WithLabelValues(name).Add(float64(told.Waits - l.waits))
		l.waits = told.Waits
	}
	if told.Waited > l.waited {
		m.waited.WithLabelValues(name).Add(float64(told.Waited-l.waited) / 1000)
		l.waited = told.Waited
	}
	l.queued = told.Queued
}

// byKind names what was sent. Kinds that this program does not know are one, so
// that no log makes series without bound.
func byKind(sent map[events.MessageKind]uint64) map[string]uint64 {
	all := make(map[string]uint64, len(sent))
	for kind, n := range sent {
		name := "other"
		if slices.Contains(events.MessageKinds, kind) {
			name = string(kind)
		}
		all[name] += n
	}
	return all
}
