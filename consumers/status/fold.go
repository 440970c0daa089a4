package status

import (
	"maps"
	"slices"
	"time"

	"ibconn/bus"
	"ibconn/events"
)

// Fold folds the events of many connections. The zero Fold has seen none. It is
// not safe for concurrent use.
type Fold struct {
	all map[events.ConnectionID]standing
}

// standing is where one connection stands. It is a value: what it points to is
// never changed, so it can be handed to another goroutine.
type standing struct {
	state    events.State
	position uint64
	asOf     time.Time // heartbeats included
	since    time.Time // of the condition
}

// Add applies an event. The events of a connection must come in the order of the
// log; one that came before is left out.
func (f *Fold) Add(e bus.Entry) {
	s, known := f.all[e.Connection]
	if !known {
		s.state = events.NewState(e.Connection)
	}
	if e.StreamSeq <= s.position {
		return
	}
	before := s.state.Condition
	s.state = s.state.Apply(e.Recorded)
	s.position, s.asOf = e.StreamSeq, e.Time
	if !known || s.state.Condition != before {
		s.since = e.Time
	}
	if f.all == nil {
		f.all = make(map[events.ConnectionID]standing)
	}
	f.all[e.Connection] = s
}

// Document returns where a connection stands, and false when nothing is known of
// it.
func (f *Fold) Document(c events.ConnectionID) (Document, bool) {
	s, known := f.all[c]
	if !known {
		return Document{}, false
	}
	return s.document(), true
}

// Connections returns the connections that there were events of, in the order of
// their names.
func (f *Fold) Connections() []events.ConnectionID {
	return slices.Sorted(maps.Keys(f.all))
}

func (s standing) document() Document {
	return Document{
		Connection:    s.state.Connection,
		StreamSeq:     s.position,
		Sequence:      s.state.Sequence,
		Epoch:         s.state.Epoch,
		AsOf:          s.asOf,
		Standing:      s.state.Standing,
		Since:         s.since,
		State:         s.state,
		Subscriptions: inShort(s.state.Subscriptions),
		StaleAfter:    s.state.StaleAfter(s.asOf),
	}
}
