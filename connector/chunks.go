package connector

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"ibconn/events"
)

// step is how a long query for bars of a size is asked for, piece by piece.
type step struct {
	upTo     time.Duration // of bars that span so much at most
	duration string        // what each piece asks for, in IB's words,
	walk     time.Duration // and how much later than the one before it ends
}

// steps are within what
// https://interactivebrokers.github.io/tws-api/historical_limitations.html calls
// step sizes. Pieces in seconds join seamlessly: IB counts those in which there
// is trading, so that one reaches back over its own stretch at least. What IB
// counts in weeks and more begins with a session and cuts bars where it begins, so
// that those pieces overlap, by more than a bar.
var steps = []step{
	{time.Second, "1800 S", 1800 * time.Second},
	{5 * time.Second, "3600 S", 3600 * time.Second},
	{15 * time.Second, "14400 S", 14400 * time.Second},
	{30 * time.Second, "28800 S", 28800 * time.Second},
	{3 * time.Minute, "86400 S", day},
	{20 * time.Minute, "1 W", 5 * day},
	{8 * time.Hour, "1 M", 27 * day},
	{31 * day, "1 Y", 270 * day},
}

const (
	// alignedUpTo is how long bars are at most that begin at whole multiples of
	// their length in every time zone that exchanges have.
	alignedUpTo = 15 * time.Minute
	// maxChunks bounds what one query may take of requests.
	maxChunks = 10000
	// smallMonths is how long IB keeps bars of 30 s and less.
	smallMonths = 6
)

// split is a query for bars as it is asked for: as it stands where one request
// is enough, and else in chunks, the oldest first.
type split struct {
	query      events.BarQuery
	chunks     int
	step       step
	start, end time.Time // the whole stretch, by the calendar
	first      time.Time // where the first chunk begins
}

// splitOf says how q is asked for at now. Bars of a minute and more are asked for
// at once as long as an answer holds them, since for those IB's steps are advice.
func splitOf(q events.BarQuery, now time.Time) split {
	end := q.End
	if end.IsZero() {
		end = now.Truncate(time.Second)
	}
	s := split{query: q, chunks: 1, start: q.Start(end), end: end}
	span, bars := q.BarSpan(), q.EstimateBars()
	i := slices.IndexFunc(steps, func(st step) bool { return span <= st.upTo })
	s.step = steps[i]
	if small := span < time.Minute; bars <= 1 || small && time.Duration(bars)*span <= s.step.walk || !small && bars <= events.MaxBars {
		return s
	}
	s.first = s.start
	if span <= alignedUpTo {
		s.first = s.start.Truncate(span)
	}
	s.chunks = max(int((s.end.Sub(s.first)+s.step.walk-1)/s.step.walk), 1)
	return s
}

// chunk returns the request for the chunk of that number, from 0.
func (s split) chunk(i int) events.BarQuery {
	q := s.query
	if s.chunks > 1 {
		q.Duration, q.End = s.step.duration, s.until(i)
	}
	return q
}

// until is where the chunk of that number ends.
func (s split) until(i int) time.Time {
	if i == s.chunks-1 {
		return s.end
	}
	return s.first.Add(time.Duration(i+1) * s.step.walk)
}

// check says why s is not asked for.
func (s split) check(now time.Time) (events.ErrorCode, string) {
	oldest := now.AddDate(0, -smallMonths, 1) // a day later, since it may wait
	switch {
	case s.query.BarSpan() <= smallBar && s.start.Before(oldest):
		return events.ErrorTooOld, fmt.Sprintf("IB has no bars of 30 s or less from before the last six months, and this asks for some of %s: have it begin after %s, or ask for larger bars",
			s.start.Format(time.DateOnly), oldest.Format(time.DateOnly))
	case s.chunks > maxChunks:
		return events.ErrorTooLarge, fmt.Sprintf("it takes %d requests, and may take %d: ask for shorter spans, one after the other", s.chunks, maxChunks)
	}
	return "", ""
}

// joint joins the bars of chunks: each bar once, in order, and whole.
type joint struct {
	split
	last time.Time // of the newest bar so far; zero when there is none
}

// timed is a bar, and when it begins.
type timed struct {
	events.Bar
	at     time.Time
	of     time.Duration // how long it is at most, with what its date leaves open
	placed int           // among those that came
}

// take returns which of the bars of a chunk are to be passed on. What reaches
// beyond the chunk is left to the next one, which has all of it.
func (j *joint) take(i int, bars []events.Bar) ([]events.Bar, error) {
	if j.chunks == 1 {
		return bars, nil
	}
	all := make([]timed, 0, len(bars))
	for n, b := range bars {
		t := timed{Bar: b, of: j.query.BarSpan(), placed: n}
		var err error
		if t.at, err = time.Parse(time.RFC3339, b.Time); err != nil {
			t.at, err = time.Parse(time.DateOnly, b.Time)
			t.of = 2*t.of + day // a month has more days than a month's least, and a session may go on into the next day
		}
		if err != nil {
			return nil, fmt.Errorf("a bar came with the time %.40q, which is none", b.Time)
		}
		all = append(all, t)
	}
	slices.SortStableFunc(all, func(a, b timed) int { return cmp.Or(a.at.Compare(b.at), a.placed-b.placed) })
	until, final := j.until(i), i == j.chunks-1
	start := j.start
	if j.query.BarSpan() >= day {
		start = start.Truncate(day)
	}
	var kept []events.Bar
	for _, t := range all {
		switch {
		case t.at.Before(start), !t.at.After(j.last), !t.at.Before(j.end):
		case !final && t.at.Add(t.of).After(until):
		default:
			j.last = t.at
			kept = append(kept, t.Bar)
		}
	}
	return kept, nil
}

// soFar says in words what came of so many chunks.
func (j *joint) soFar(done int) string {
	if j.last.IsZero() {
		return fmt.Sprintf("%d of %d requests were answered, and none had bars", done, j.chunks)
	}
	return fmt.Sprintf("%d of %d requests were answered, the newest bar is of %s", done, j.chunks, j.last.Format(time.RFC3339))
}
