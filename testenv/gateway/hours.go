package gateway

import (
	"strings"
	"time"
	_ "time/tzdata" // contracts name zones, and not every machine has them
)

// calendar says when an instrument is traded: from Monday to Friday at the same hours each week, without holidays.
type calendar struct {
	zone            *time.Location
	trading, liquid hours
}

// hours are when the session of a day begins and ends, in minutes of the clock from the midnight with which the day begins.
// It may begin the day before.
type hours struct{ from, to int }

const hour = 60 // minutes

// span is the time from one moment to another, which is not part of it.
type span struct{ from, to time.Time }

// The instruments' hours. ES and EUR.USD begin the day before: on Sundays for Mondays.
func stockHours() *calendar {
	return &calendar{zone: zone("US/Eastern"), trading: hours{4 * hour, 20 * hour}, liquid: hours{9*hour + 30, 16 * hour}}
}

func futureHours() *calendar {
	return &calendar{zone: zone("US/Central"), trading: hours{-7 * hour, 16 * hour}, liquid: hours{8*hour + 30, 15 * hour}}
}

func currencyHours() *calendar {
	all := hours{-7*hour + 15, 17 * hour}
	return &calendar{zone: zone("US/Eastern"), trading: all, liquid: all}
}

func zone(name string) *time.Location {
	loc, err := time.LoadLocation(name)
	if err != nil {
		panic("invariant: the zone " + name + " is built in: " + err.Error())
	}
	return loc
}

func midnight(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, t.Location())
}

// on returns the session of the day with which a midnight in the calendar's zone begins.
func (h hours) on(day time.Time) (span, bool) {
	if d := day.Weekday(); d == time.Saturday || d == time.Sunday {
		return span{}, false
	}
	at := func(minutes int) time.Time {
		return time.Date(day.Year(), day.Month(), day.Day(), 0, minutes, 0, 0, day.Location())
	}
	return span{at(h.from), at(h.to)}, true
}

// written is what a contract says of its hours for some days, in IB's form.
func (c *calendar) written(h hours, now time.Time, days int) string {
	const form = "20060102:1504"
	var b strings.Builder
	for i, day := 0, midnight(now.In(c.zone)); i < days; i, day = i+1, day.AddDate(0, 0, 1) {
		if i > 0 {
			b.WriteByte(';')
		}
		if s, open := h.on(day); open {
			b.WriteString(s.from.Format(form) + "-" + s.to.Format(form))
		} else {
			b.WriteString(day.Format("20060102") + ":CLOSED")
		}
	}
	return b.String()
}

// schedule is when an instrument has data, as one subscription or query is to see it. A nil one is always open.
type schedule struct {
	*calendar
	hours
}

// schedule returns the hours that hold for an instrument: none if markets never close, the liquid ones alone with useRTH.
func (g *Gateway) schedule(in *instrument, useRTH bool) *schedule {
	switch {
	case !g.cfg.Hours:
		return nil
	case useRTH:
		return &schedule{in.calendar, in.calendar.liquid}
	}
	return &schedule{in.calendar, in.calendar.trading}
}

// open tells whether there is data at t.
func (s *schedule) open(t time.Time) bool {
	return s == nil || len(s.between(t, t.Add(1))) > 0
}

// between returns the times within [from, to) at which there is data, in order.
func (s *schedule) between(from, to time.Time) []span {
	if s == nil {
		return []span{{from, to}}
	}
	first := midnight(from.In(s.zone))
	var spans []span
	for day := first; day.Before(to.AddDate(0, 0, 1)); day = day.AddDate(0, 0, 1) {
		session, open := s.on(day)
		if session = session.within(from, to); open && session.from.Before(session.to) {
			spans = append(spans, session)
		}
	}
	return spans
}

func (s span) within(from, to time.Time) span {
	if s.from.Before(from) {
		s.from = from
	}
	if s.to.After(to) {
		s.to = to
	}
	return s
}

// ofDays returns the sessions of the days in [from, to), which are midnights in the calendar's zone.
func (s *schedule) ofDays(from, to time.Time) []span {
	var spans []span
	for day := from; day.Before(to); day = day.AddDate(0, 0, 1) {
		if session, open := s.on(day); open {
			spans = append(spans, session)
		}
	}
	return spans
}

// day returns the midnight of the day to whose session t belongs, or of t's own day if it belongs to none.
func (s *schedule) day(t time.Time) time.Time {
	own := midnight(t.In(s.zone))
	if next, open := s.on(own.AddDate(0, 0, 1)); open && !t.Before(next.from) {
		return own.AddDate(0, 0, 1)
	}
	return own
}
