package connector

import (
	"slices"
	"time"

	"ibconn/events"
)

// repeats keeps a gateway that says the same again and again, as it does every
// few seconds while its link is down, from filling the log: the first is
// recorded, those that follow are counted, and the count is recorded now and
// then. What was counted and not yet recorded is lost with the process.
type repeats struct {
	every time.Duration
	seen  []*repeated // in the order in which they first came
}

// maxRepeats bounds how many different reports are remembered. Beyond it the
// oldest that did not come again is forgotten, and recorded in full should it
// do so. None with a count is: it would be lost.
const maxRepeats = 128

type repeated struct {
	report     events.GatewayReported // as it was recorded
	recordedAt time.Time
	count      int // since then
	first      time.Time
	last       time.Time
}

func (r *repeated) is(e *events.GatewayReported) bool {
	return r.report.Attempt == e.Attempt && r.report.RequestID == e.RequestID && r.report.Code == e.Code && r.report.Message == e.Message
}

// absorb takes a report that is about to be recorded, and says whether to count
// it instead.
func (r *repeats) absorb(e *events.GatewayReported, now time.Time) bool {
	i := slices.IndexFunc(r.seen, func(s *repeated) bool { return s.is(e) })
	if i >= 0 && r.seen[i].count == 0 && !now.Before(r.seen[i].recordedAt.Add(r.every)) {
		r.seen = slices.Delete(r.seen, i, i+1) // it had stopped
		i = -1
	}
	if i < 0 {
		r.remember(&repeated{report: *e, recordedAt: now})
		return false
	}
	s := r.seen[i]
	if s.count == 0 {
		s.first = now
	}
	s.count++
	s.last = now
	return true
}

func (r *repeats) remember(s *repeated) {
	if len(r.seen) >= maxRepeats {
		i := slices.IndexFunc(r.seen, func(s *repeated) bool { return s.count == 0 })
		if i < 0 {
			return
		}
		r.seen = slices.Delete(r.seen, i, i+1)
	}
	r.seen = append(r.seen, s)
}

// due returns the counts that are to be recorded at now, all of them when all
// is set. What has stopped is forgotten.
func (r *repeats) due(now time.Time, all bool) []*events.GatewayRepeated {
	var counts []*events.GatewayRepeated
	kept := r.seen[:0]
	for _, s := range r.seen {
		ripe := all || !now.Before(s.recordedAt.Add(r.every))
		if ripe && s.count > 0 {
			counts = append(counts, &events.GatewayRepeated{
				Attempt: s.report.Attempt, RequestID: s.report.RequestID, Code: s.report.Code, Class: s.report.Class,
				Message: s.report.Message, Count: s.count, FirstAt: s.first, LastAt: s.last,
			})
			s.recordedAt, s.count = now, 0
			ripe = all
		}
		if !ripe {
			kept = append(kept, s)
		}
	}
	clear(r.seen[len(kept):])
	r.seen = kept
	return counts
}

// wakeAt returns when due has something next; zero when nothing is counted.
func (r *repeats) wakeAt() time.Time {
	var at time.Time
	for _, s := range r.seen {
		if due := s.recordedAt.Add(r.every); s.count > 0 && (at.IsZero() || due.Before(at)) {
			at = due
		}
	}
	return at
}
