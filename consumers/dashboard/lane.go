package dashboard

import (
	"math"
	"slices"
	"time"
)

// mark is how a lane was from some time on. Which words it stands for is the lane's
// (see words); a greater one is worse.
type mark uint8

// segment is a stretch of a lane, up to the next one.
type segment struct {
	at    int64 // in milliseconds of Unix
	mark  mark
	times uint16 // how many stretches it stands for, from 1
	count uint16 // of how many things it tells, at most; 0 where it tells of one
}

// week is how far back anything is kept.
const week = 7 * 24 * time.Hour

// maxSegments is of how many segments a lane consists at most. When there are more,
// those of its older half are put together.
const maxSegments = 2048

// lane is how something was in the last week, the oldest first.
type lane struct{ all []segment }

// set takes how it is from a time on. A time before the last one, by a clock that was
// set back, counts as that.
func (l *lane) set(at time.Time, m mark, count int) {
	one := segment{at: at.UnixMilli(), mark: m, times: 1, count: uint16(min(count, math.MaxUint16))}
	n := len(l.all)
	if n == 0 {
		if m != 0 {
			l.all = append(l.all, one)
		}
		return
	}
	last := &l.all[n-1]
	one.at = max(one.at, last.at)
	if last.mark == m {
		last.count = max(last.count, one.count)
		return
	}
	l.all = append(l.all, one)
	l.forget(one.at - week.Milliseconds())
	if len(l.all) > maxSegments {
		l.shorten()
	}
}

// now is the newest mark.
func (l *lane) now() mark {
	if len(l.all) == 0 {
		return 0
	}
	return l.all[len(l.all)-1].mark
}

// forget drops what ended before a time: seldom, so that each segment is moved once
// on average.
func (l *lane) forget(oldest int64) {
	gone := 0
	for gone+1 < len(l.all) && l.all[gone+1].at <= oldest {
		gone++
	}
	if gone > len(l.all)/2 {
		l.all = append([]segment(nil), l.all[gone:]...)
	}
}

// shorten puts the short segments of the older half together, and coarser ones than
// these only if there are too many still.
func (l *lane) shorten() {
	half := len(l.all) / 2
	end := l.all[half].at
	older := l.all[:half]
	for grain := int64(1000); len(older) > half/2; grain *= 2 {
		older = thin(l.all[:half], end, grain)
	}
	l.all = append(older, l.all[half:]...)
}

// thin puts short segments together until each is as long as a grain, or stands
// beside one that is: the worst of them counts, so that nothing bad is lost. End is
// where the last one ends. There are two for each grain of the whole at most.
func thin(all []segment, end, grain int64) []segment {
	ends := func(n int) int64 {
		if n+1 < len(all) {
			return all[n+1].at
		}
		return end
	}
	var out []segment
	for n := 0; n < len(all); {
		one := all[n]
		for n++; n < len(all) && ends(n)-one.at <= grain; n++ {
			one = one.with(all[n])
		}
		if last := len(out) - 1; last >= 0 && out[last].mark == one.mark {
			out[last] = out[last].with(one)
			continue
		}
		out = append(out, one)
	}
	return out
}

// with is s and the one after it as one.
func (s segment) with(next segment) segment {
	switch {
	case next.mark > s.mark:
		s.mark, s.count = next.mark, next.count
	case next.mark == s.mark:
		s.count = max(s.count, next.count)
	}
	s.times = uint16(min(int(s.times)+int(next.times), math.MaxUint16))
	return s
}

// between returns what there is of a lane between two times, in so many pieces at
// most that each of some has its two.
func (l *lane) between(from, to int64, pieces int) []segment {
	first, found := slices.BinarySearchFunc(l.all, from, func(s segment, at int64) int {
		return int(min(max(s.at-at, -1), 1))
	})
	if !found && first > 0 {
		first--
	}
	var all []segment
	for _, s := range l.all[first:] {
		if s.at >= to {
			break
		}
		s.at = max(s.at, from)
		all = append(all, s)
	}
	return thin(all, to, max((to-from)/int64(max(pieces, 1)), 1))
}
