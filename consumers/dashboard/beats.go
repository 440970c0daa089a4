package dashboard

import (
	"math"
	"slices"
	"time"
)

// beat is one heartbeat: its round trip in milliseconds, or that it was missed.
type beat struct {
	at     int64 // in milliseconds of Unix
	trip   float32
	missed bool
}

// minute sums the heartbeats of a minute up.
type minute struct {
	at               int64 // its beginning, in milliseconds of Unix
	least, most, sum float32
	answered, missed uint16
}

const (
	// maxBeats is how many heartbeats are kept as they were: an hour of one a second.
	maxBeats   = 3600
	maxMinutes = int(week / time.Minute)
	aMinute    = int64(time.Minute / time.Millisecond)
)

// beats are the heartbeats of a connection: those of the last hour, and of the last
// week by minutes.
type beats struct {
	fresh   []beat
	minutes []minute
}

func (b *beats) add(at time.Time, trip float32, missed bool) {
	one := beat{at: at.UnixMilli(), trip: trip, missed: missed}
	if n := len(b.fresh); n > 0 {
		one.at = max(one.at, b.fresh[n-1].at) // by a clock that was set back
	}
	if len(b.fresh) == 2*maxBeats {
		b.fresh = append(b.fresh[:0], b.fresh[maxBeats:]...)
	}
	b.fresh = append(b.fresh, one)
	begin := one.at - one.at%aMinute
	n := len(b.minutes)
	if n == 0 || b.minutes[n-1].at != begin {
		if n == 2*maxMinutes {
			b.minutes = append(b.minutes[:0], b.minutes[maxMinutes:]...)
		}
		b.minutes = append(b.minutes, minute{at: begin})
	}
	last := &b.minutes[len(b.minutes)-1]
	*last = last.with(minute{at: begin, least: trip, most: trip, sum: trip, answered: 1}.orMissed(missed))
}

func (m minute) orMissed(missed bool) minute {
	if missed {
		return minute{at: m.at, missed: 1}
	}
	return m
}

func (m minute) with(next minute) minute {
	switch {
	case next.answered == 0:
	case m.answered == 0:
		m.least, m.most, m.sum = next.least, next.most, next.sum
	default:
		m.least, m.most, m.sum = min(m.least, next.least), max(m.most, next.most), m.sum+next.sum
	}
	m.answered = uint16(min(int(m.answered)+int(next.answered), math.MaxUint16))
	m.missed = uint16(min(int(m.missed)+int(next.missed), math.MaxUint16))
	return m
}

// between returns the heartbeats between two times by stretches of the same length:
// so many at most, and none of a time without heartbeats. Each is at its beginning.
// A stretch is a minute at least where it is not all of the last hour.
func (b *beats) between(from, to int64, pieces int) []minute {
	width := max((to-from)/int64(max(pieces, 1)), 1)
	fine := to-from <= time.Hour.Milliseconds() && len(b.fresh) > 0 &&
		(b.fresh[0].at <= from || b.minutes[0].at > b.fresh[0].at-aMinute)
	if !fine {
		width = max(width, aMinute)
	}
	var all []minute
	put := func(m minute) {
		if m.at < from || m.at >= to {
			return
		}
		m.at = from + (m.at-from)/width*width
		if n := len(all); n > 0 && all[n-1].at == m.at {
			all[n-1] = all[n-1].with(m)
			return
		}
		all = append(all, m)
	}
	if !fine {
		for _, m := range b.minutes {
			put(m)
		}
		return all
	}
	first, _ := slices.BinarySearchFunc(b.fresh, from, func(one beat, at int64) int { return int(min(max(one.at-at, -1), 1)) })
	for _, one := range b.fresh[first:] {
		put(minute{at: one.at, least: one.trip, most: one.trip, sum: one.trip, answered: 1}.orMissed(one.missed))
	}
	return all
}
