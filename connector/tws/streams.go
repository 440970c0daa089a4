package tws

import (
	"cmp"
	"sync"
	"sync/atomic"
	"time"

	"ibconn/connector"
	"ibconn/events"
)

// maxStreams is how many subscriptions a session keeps: those that a connection
// wants, and as many that the gateway refused and nobody cancelled.
const maxStreams = 2 * events.MaxSubscriptions

// streams are the subscriptions of a session, by the ids they were placed
// under. The decoder finds what it delivers to here, and the sender adds and
// drops.
type streams struct {
	mu  sync.Mutex
	all map[int64]*stream
}

// stream is one subscription as it was placed.
type stream struct {
	id    int64
	name  string
	quiet time.Duration
	heard atomic.Int64 // when data last came, in nanoseconds of the Unix epoch; 0 before
	over  atomic.Bool  // the gateway refused or ended it

	mu   sync.Mutex   // held while something of it is delivered
	gone bool         // nothing of it is delivered any more
	n    uint64       // of what was delivered last
	past []events.Bar // bars of the past, until all came
}

// add registers a subscription. One of the same name that was placed before
// gives way: two would be told apart by nobody.
func (s *streams) add(id int64, sub connector.Subscribe) {
	s.mu.Lock()
	var before []*stream
	for _, st := range s.all {
		if st.name == sub.Name {
			before = append(before, st)
		}
	}
	if len(s.all)-len(before) >= maxStreams {
		before = append(before, s.oldestLocked())
	}
	for _, st := range before {
		delete(s.all, st.id)
	}
	if s.all == nil {
		s.all = make(map[int64]*stream)
	}
	s.all[id] = &stream{id: id, name: sub.Name, quiet: sub.Quiet}
	s.mu.Unlock()
	for _, st := range before {
		st.end()
	}
}

// oldestLocked returns the stream that was placed first, one that is over before
// all others.
func (s *streams) oldestLocked() *stream {
	var oldest *stream
	for _, st := range s.all {
		if oldest == nil || st.before(oldest) {
			oldest = st
		}
	}
	return oldest
}

func (st *stream) before(other *stream) bool {
	if over := st.over.Load(); over != other.over.Load() {
		return over
	}
	return cmp.Less(st.id, other.id)
}

// drop forgets a subscription. When it returns, nothing of it is being delivered
// and nothing will be.
func (s *streams) drop(id int64) {
	s.mu.Lock()
	st := s.all[id]
	delete(s.all, id)
	s.mu.Unlock()
	if st != nil {
		st.end()
	}
}

func (st *stream) end() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.gone, st.past = true, nil
}

// find returns the stream of an id; nil when there is none.
func (s *streams) find(id int64) *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[id]
}

// enter returns the stream of an id for something to be delivered to, until
// leave; nil when there is none.
func (s *streams) enter(id int64) *stream {
	st := s.find(id)
	if st == nil {
		return nil
	}
	st.mu.Lock()
	if st.gone {
		st.mu.Unlock()
		return nil
	}
	return st
}

func (st *stream) leave() { st.mu.Unlock() }

// failed notes that the gateway refused or ended a subscription. It is kept
// until it is cancelled: some errors pass, and then the data goes on.
func (s *streams) failed(id int64) {
	st := s.enter(id)
	if st == nil {
		return
	}
	defer st.leave()
	st.over.Store(true)
	st.past = nil
}

// heardOf returns when data last came for an id.
func (s *streams) heardOf(id int64) time.Time {
	st := s.find(id)
	if st == nil {
		return time.Time{}
	}
	if at := st.heard.Load(); at != 0 {
		return time.Unix(0, at).UTC()
	}
	return time.Time{}
}

// hear notes that data came, and says whether it is the first, or the first
// after a silence.
func (st *stream) hear(at time.Time) bool {
	st.over.Store(false)
	last := st.heard.Swap(at.UnixNano())
	return last == 0 || st.quiet > 0 && at.Sub(time.Unix(0, last)) >= st.quiet
}

// keep takes a bar of the past. Of more than fit the newest stay.
func (st *stream) keep(b events.Bar) {
	if len(st.past) >= 2*connector.MaxBrought {
		st.past = append(st.past[:0], newest(st.past)...)
	}
	st.past = append(st.past, b)
}

// takePast returns the bars of the past that came, and forgets them.
func (st *stream) takePast() []events.Bar {
	bars := newest(st.past)
	st.past = nil
	return bars
}

func newest(bars []events.Bar) []events.Bar {
	return bars[max(0, len(bars)-connector.MaxBrought):]
}
