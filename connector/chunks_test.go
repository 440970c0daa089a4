package connector

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"ibconn/events"
)

// traded says whether there is trading at t: on weekdays, around the clock but
// for two hours.
func traded(t time.Time) bool {
	return t.Weekday() != time.Saturday && t.Weekday() != time.Sunday && t.Hour() >= 2
}

// answerAsIB answers a query as IB does: it counts seconds in which there is
// trading, and cuts bars where the query begins and ends. The close of a bar is
// how much of it there is.
func answerAsIB(q events.BarQuery) (bars []events.Bar) {
	span := q.BarSpan()
	start := q.Start(q.End)
	if strings.HasSuffix(q.Duration, " S") {
		start = q.End
		for left := q.End.Sub(q.Start(q.End)); left > 0; {
			if start = start.Add(-time.Second); traded(start) {
				left -= time.Second
			}
		}
	}
	if span >= day {
		for d := start.Truncate(day); d.Before(q.End); d = d.Add(day) {
			if traded(d.Add(12 * time.Hour)) {
				bars = append(bars, events.Bar{Time: d.Format(time.DateOnly), Close: "whole"})
			}
		}
		return bars
	}
	for at := start.Truncate(span); at.Before(q.End); at = at.Add(span) {
		from, to := latest(at, start), earliest(at.Add(span), q.End)
		if traded(at) {
			bars = append(bars, events.Bar{Time: at.Format(time.RFC3339), Close: fmt.Sprint(to.Sub(from))})
		}
	}
	return bars
}

func TestTheChunksOfALongQueryJoin(t *testing.T) {
	friday := time.Date(2026, 11, 20, 12, 34, 56, 0, time.UTC)
	for _, tt := range []struct {
		duration, size string
		end            time.Time
		chunks         int
	}{
		{"7200 S", "1 secs", friday, 4},
		{"86400 S", "5 secs", friday.Add(3 * day), 25}, // over a weekend
		{"3 D", "15 secs", friday.Add(4 * day), 19},
		{"1 W", "30 secs", friday, 22},
		{"3 D", "1 min", friday.Add(3 * day), 4},
		{"2 W", "3 mins", friday, 15},
		{"3 W", "5 mins", friday, 5},
		{"2 M", "15 mins", friday, 13},
		{"3 M", "20 mins", friday, 19},
		{"1 Y", "1 hour", friday, 14},
		{"2 Y", "4 hours", friday, 28},
		{"20 Y", "1 day", friday, 28},
	} {
		q := events.BarQuery{Duration: tt.duration, BarSize: tt.size, End: tt.end}
		s := splitOf(q, friday)
		j := joint{split: s}
		if s.chunks != tt.chunks || s.until(s.chunks-1) != tt.end {
			t.Errorf("%s of %s are %d chunks to %v, want %d to the end", tt.duration, tt.size, s.chunks, s.until(s.chunks-1), tt.chunks)
		}
		var got []events.Bar
		for i := range s.chunks {
			c := s.chunk(i)
			if err := c.CheckBars(); err != nil || c.BarSize != tt.size {
				t.Fatalf("chunk %d is %+v: %v", i, c, err)
			}
			bars, err := j.take(i, answerAsIB(c))
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, bars...)
		}
		checkJoined(t, q, got)
	}
}

// checkJoined holds that bars are those of q: each once, in order, and whole but
// for the last.
func checkJoined(t *testing.T, q events.BarQuery, got []events.Bar) {
	t.Helper()
	span, start := q.BarSpan(), q.Start(q.End)
	form, at := time.RFC3339, start.Truncate(span)
	if span >= day {
		form = time.DateOnly
	} else if at.Before(start) {
		at = at.Add(span)
	}
	name := q.Duration + " of " + q.BarSize
	for ; at.Before(q.End); at = at.Add(span) {
		if noon := at.Add(12 * time.Hour); span < day && !traded(at) || span >= day && !traded(noon) {
			continue
		}
		whole := fmt.Sprint(earliest(at.Add(span), q.End).Sub(at))
		if span >= day {
			whole = "whole"
		}
		switch {
		case len(got) == 0:
			t.Errorf("%s: the bar of %s is missing", name, at.Format(form))
			return
		case got[0].Time != at.Format(form):
			t.Errorf("%s: a bar is of %s, want %s", name, got[0].Time, at.Format(form))
			return
		case got[0].Close != whole:
			t.Errorf("%s: of the bar of %s there is %s, want %s", name, got[0].Time, got[0].Close, whole)
		}
		got = got[1:]
	}
	if len(got) > 0 {
		t.Errorf("%s: %d bars are too many, the first of %s", name, len(got), got[0].Time)
	}
}

func TestAQueryWithinOneRequestKeepsItsWords(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 34, 56, 0, time.UTC)
	for _, q := range []events.BarQuery{
		{Duration: "1800 S", BarSize: "1 secs"},
		{Duration: "28800 S", BarSize: "30 secs"},
		{Duration: "2 D", BarSize: "1 min"},
		{Duration: "1 D", BarSize: "5 mins"},
		{Duration: "99 D", BarSize: "1 hour"},
		{Duration: "5 Y", BarSize: "1 day"},
		{Duration: "100 Y", BarSize: "1 month"},
		{Duration: "1 S", BarSize: "1 month"},
		{Duration: "60 S", BarSize: "5 secs", End: now},
	} {
		s := splitOf(q, now)
		j := joint{split: s}
		bars := []events.Bar{{Time: "later"}, {Time: "earlier"}}
		if got, err := j.take(0, bars); s.chunks != 1 || s.chunk(0) != q || err != nil || len(got) != 2 {
			t.Errorf("%+v is asked as %d times %+v, with %d of 2 bars passed on, %v; want it as it is", q, s.chunks, s.chunk(0), len(got), err)
		}
	}
}

func TestWhatIsNotAskedForAtAll(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 34, 56, 0, time.UTC)
	for _, tt := range []struct {
		q    events.BarQuery
		code events.ErrorCode
	}{
		{events.BarQuery{Duration: "60 S", BarSize: "30 secs", End: now.AddDate(0, -6, 2)}, ""},
		{events.BarQuery{Duration: "60 S", BarSize: "30 secs", End: now.AddDate(0, -6, 1)}, events.ErrorTooOld},
		{events.BarQuery{Duration: "1 Y", BarSize: "5 secs"}, events.ErrorTooOld},
		{events.BarQuery{Duration: "60 S", BarSize: "1 min", End: now.AddDate(-50, 0, 0)}, ""},
		{events.BarQuery{Duration: "20 Y", BarSize: "1 min"}, ""},
		{events.BarQuery{Duration: "50 Y", BarSize: "1 min"}, events.ErrorTooLarge},
	} {
		if code, why := splitOf(tt.q, now).check(now); code != tt.code || (code == "") != (why == "") {
			t.Errorf("%+v: %q, %q, want %q", tt.q, code, why, tt.code)
		}
	}
	j := joint{split: splitOf(events.BarQuery{Duration: "1 Y", BarSize: "1 hour"}, now)}
	if _, err := j.take(0, []events.Bar{{Time: "yesterday"}}); err == nil || !strings.Contains(err.Error(), "yesterday") {
		t.Errorf("a bar without a time: %v, want an error that quotes it", err)
	}
}
