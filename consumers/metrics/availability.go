package metrics

import (
	"time"

	"ibconn/events"
)

// shareOf names what a share of the time is of.
func shareOf(l events.Availability) string {
	switch l {
	case events.Present:
		return "ready"
	case events.Unimpaired:
		return "healthy"
	case events.NotWanted, events.Absent:
	}
	return ""
}

// availability is how well a connection was in the longest window.
type availability struct{ changes []change }

// change is from when on it was so.
type change struct {
	at time.Time
	to events.Availability
}

// before takes what r says of the time before it: a process that died said no more
// from its last event on.
func (a *availability) before(r events.Recorded, s events.State, lastAt time.Time) {
	e, began := r.Event.(*events.EpochBegan)
	if !began || s.Availability() == events.NotWanted {
		return
	}
	if e.LastEventAt.After(lastAt) {
		lastAt = e.LastEventAt
	}
	if !lastAt.IsZero() {
		a.set(lastAt, events.Absent)
	}
}

// note takes how the connection is from a time on.
func (a *availability) note(r events.Recorded, s events.State) {
	if _, began := r.Event.(*events.EpochBegan); !began { // which says nothing of it
		a.set(r.Time, s.Availability())
	}
}

func (a *availability) set(at time.Time, to events.Availability) {
	if n := len(a.changes); n > 0 {
		last := a.changes[n-1]
		if last.to == to {
			return
		}
		if at.Before(last.at) { // by a clock that was set back
			at = last.at
		}
	} else if to == events.NotWanted {
		return
	}
	a.changes = append(a.changes, change{at, to})
	oldest := at.Add(-windows[len(windows)-1].span)
	gone := 0
	for gone+1 < len(a.changes) && !a.changes[gone+1].at.After(oldest) {
		gone++
	}
	// Seldom, so that each change is moved once on average.
	if gone > len(a.changes)/2 {
		a.changes = append([]change(nil), a.changes[gone:]...)
	}
}

// share is the part of a time in which the connection was at least so well, of
// that in which it was wanted; known is false where it never was. From overdue
// on, where that is not zero, nobody keeps it.
func (a *availability) share(of events.Availability, from, to, overdue time.Time) (share float64, known bool) {
	var was, wanted time.Duration
	for i, c := range a.changes {
		end := to
		if i+1 < len(a.changes) {
			end = a.changes[i+1].at
		}
		begin := c.at
		if begin.Before(from) {
			begin = from
		}
		if end.After(to) {
			end = to
		}
		if c.to == events.NotWanted || !begin.Before(end) {
			continue
		}
		wanted += end.Sub(begin)
		if i == len(a.changes)-1 && !overdue.IsZero() && end.After(overdue) {
			end = overdue
		}
		if c.to >= of && begin.Before(end) {
			was += end.Sub(begin)
		}
	}
	if wanted == 0 {
		return 0, false
	}
	return float64(was) / float64(wanted), true
}
