package events

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Hours are when a contract is traded, as far as IB said: it lists some days,
// mostly today and the next five, and of all other times nothing is known. The
// zero value knows nothing at all.
type Hours struct {
	zone     *time.Location
	sessions []TradingSession
	open     []stretch // the sessions, those joined that touch
	known    []stretch // when it is known whether there is a session
}

// TradingSession is a stretch of time in which a contract is traded.
type TradingSession struct {
	// Day is the date that it counts for, such as 2026-11-25: the market's own at
	// its end. A session that begins on Sunday evening is Monday's.
	Day string
	// From and To are in UTC. To is not part of it.
	From, To time.Time
}

// stretch is the time from one moment to another, which is not part of it.
type stretch struct{ from, to time.Time }

const (
	// maxHoursText is how many bytes hours may have. IB's have some hundred.
	maxHoursText = 16 << 10
	// maxListed is how many sessions and closed days they may have together.
	maxListed = 512
	// longestSession is how long a session may be: a week and an hour of a clock
	// that is set back.
	longestSession = 7*tradingDay + time.Hour
)

const hoursWords = "want sessions and closed days such as 20261127:0930-20261127:1300;20261128:CLOSED"

// ibZones are IB's names of time zones that not every machine knows, or knows as
// something else: those of
// https://interactivebrokers.github.io/tws-api/contract_details.html and, from
// before 2020, Java's. IB's EST is the time of New York, in summer too.
var ibZones = map[string]string{
	"US/Eastern": "America/New_York", "EST5EDT": "America/New_York", "EST": "America/New_York", "EDT": "America/New_York",
	"US/Central": "America/Chicago", "CST6CDT": "America/Chicago", "CST": "America/Chicago", "CDT": "America/Chicago",
	"US/Pacific": "America/Los_Angeles", "PST8PDT": "America/Los_Angeles", "PST": "America/Los_Angeles", "PDT": "America/Los_Angeles",
	"GB-Eire": "Europe/London", "GB": "Europe/London", "BST": "Europe/London",
	"MET": "Europe/Berlin", "MEST": "Europe/Berlin", "CET": "Europe/Berlin", "CEST": "Europe/Berlin",
	"JST": "Asia/Tokyo", "Japan": "Asia/Tokyo",
	"Hongkong": "Asia/Hong_Kong", "HKT": "Asia/Hong_Kong", "CTT": "Asia/Shanghai",
	"Singapore": "Asia/Singapore", "SGT": "Asia/Singapore",
	"Asia/Calcutta": "Asia/Kolkata", "Israel": "Asia/Jerusalem",
	"Australia/NSW": "Australia/Sydney", "AET": "Australia/Sydney", "AEST": "Australia/Sydney", "AEDT": "Australia/Sydney",
}

var zoneForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_+/-]{0,63}$`)

// loadZone finds the time zone that IB names. Its older names have a second one
// behind them: "EST (Eastern Standard Time)".
func loadZone(name string) (*time.Location, error) {
	short, _, _ := strings.Cut(name, " (")
	short = strings.TrimSpace(short)
	if zoneForm.MatchString(short) && short != "Local" {
		if zone, err := time.LoadLocation(cmp.Or(ibZones[short], short)); err == nil {
			return zone, nil
		}
	}
	return nil, fmt.Errorf("time zone %.40q of the hours: want one such as US/Eastern or Europe/Berlin", name)
}

// ParseHours reads the hours of a contract ([ContractDetails.TradingHours] or
// LiquidHours) in their time zone (TimeZoneID), in any form that IB wrote them:
//
//	20261127:0930-20261127:1300;20261128:CLOSED
//	20261127:0930-20261127:1200,20261127:1300-20261127:1600
//	20090507:0700-1830,1830-2330;20090508:CLOSED
//	20130114:1700-1515,1530-1615
//
// In the last, which IB wrote until 2018, the first session began the evening
// before. Text without anything in it says nothing, and is no error. Errors are
// a zone that this machine does not know, what is not in these forms, sessions
// longer than a week, and more than 16 KiB or 512 sessions and closed days.
func ParseHours(text, zone string) (Hours, error) {
	var h Hours
	if len(text) > maxHoursText {
		return h, fmt.Errorf("hours of %d bytes: want at most %d", len(text), maxHoursText)
	}
	if strings.TrimSpace(text) == "" && strings.TrimSpace(zone) == "" {
		return h, nil
	}
	loc, err := loadZone(zone)
	if err != nil {
		return h, err
	}
	r := hoursReader{zone: loc}
	for entry := range strings.SplitSeq(text, ";") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		if err := r.read(entry); err != nil {
			return h, fmt.Errorf("hours %.60q: %w", entry, err)
		}
	}
	return r.hours(), nil
}

// hoursReader collects what hours say.
type hoursReader struct {
	zone     *time.Location
	sessions []TradingSession
	closed   []time.Time // days, as midnights of UTC
}

var errHours = errors.New(hoursWords)

// read reads what is said of a day.
func (r *hoursReader) read(entry string) error {
	date, rest, _ := strings.Cut(entry, ":")
	day, err := parseDay(date)
	if err != nil {
		return err
	}
	if rest == "CLOSED" {
		r.closed = append(r.closed, day)
		return r.full()
	}
	for part := range strings.SplitSeq(entry, ",") {
		if err := r.session(part, day); err != nil {
			return err
		}
	}
	return nil
}

func (r *hoursReader) full() error {
	if len(r.sessions)+len(r.closed) > maxListed {
		return fmt.Errorf("more than %d sessions and closed days", maxListed)
	}
	return nil
}

// session reads one session, of the day given where it does not say its own.
func (r *hoursReader) session(text string, day time.Time) error {
	begin, end, _ := strings.Cut(strings.TrimSpace(text), "-")
	fromDay, from, err := parseClock(begin, day)
	if err != nil {
		return err
	}
	toDay, to, err := parseClock(end, fromDay)
	if err != nil {
		return err
	}
	if !strings.Contains(end, ":") && from > to {
		fromDay = fromDay.AddDate(0, 0, -1)
	}
	s := TradingSession{From: r.at(fromDay, from), To: r.at(toDay, to)}
	if !s.From.Before(s.To) || s.To.Sub(s.From) > longestSession {
		return errors.New("a session must end after it begins, within a week")
	}
	s.Day = s.To.Add(-1).In(r.zone).Format(time.DateOnly)
	r.sessions = append(r.sessions, s)
	return r.full()
}

// at is some minutes of the clock after a day begins.
func (r *hoursReader) at(day time.Time, minutes int) time.Time {
	return time.Date(day.Year(), day.Month(), day.Day(), 0, minutes, 0, 0, r.zone).UTC()
}

func parseDay(text string) (time.Time, error) {
	day, err := time.Parse("20060102", text)
	if len(text) != len("20060102") || err != nil || day.Year() < 1900 {
		return day, errHours
	}
	return day, nil
}

var clockForm = regexp.MustCompile(`^([01][0-9]|2[0-3])[0-5][0-9]$|^2400$`)

// parseClock reads a time of the day given, or of one that it names itself, in
// minutes.
func parseClock(text string, day time.Time) (time.Time, int, error) {
	if date, clock, ok := strings.Cut(text, ":"); ok {
		var err error
		if day, err = parseDay(date); err != nil {
			return day, 0, err
		}
		text = clock
	}
	if !clockForm.MatchString(text) {
		return day, 0, errHours
	}
	n, err := strconv.Atoi(text)
	return day, n/100*60 + n%100, err
}

// listed is a day that hours say something of: from when to when it has
// sessions, if it has any.
type listed struct {
	day      time.Time // as a midnight of UTC
	from, to time.Time
}

func (l listed) closed() bool { return l.from.IsZero() }

// hours works out what was read.
func (r *hoursReader) hours() Hours {
	slices.SortFunc(r.sessions, func(a, b TradingSession) int { return cmp.Or(a.From.Compare(b.From), a.To.Compare(b.To)) })
	r.sessions = slices.Compact(r.sessions)
	h := Hours{zone: r.zone, sessions: r.sessions}
	for _, s := range h.sessions {
		h.open = append(h.open, stretch{s.From, s.To})
	}
	h.open = joined(h.open)
	h.known = joined(r.known(r.days()))
	return h
}

// days returns the days that are said something of, in order.
func (r *hoursReader) days() []listed {
	var all []listed
	for _, day := range r.closed {
		all = append(all, listed{day: day})
	}
	for _, s := range r.sessions {
		day, _ := time.Parse(time.DateOnly, s.Day) // which was written in this form
		all = append(all, listed{day, s.From, s.To})
	}
	slices.SortStableFunc(all, func(a, b listed) int { return a.day.Compare(b.day) })
	var days []listed
	for _, l := range all {
		last := len(days) - 1
		switch {
		case last < 0 || !days[last].day.Equal(l.day):
			days = append(days, l)
		case days[last].closed():
			days[last] = l // sessions of a day that is said to be closed, too
		case l.to.After(days[last].to):
			days[last].to = l.to
		}
	}
	return days
}

// known returns when it is known whether there is a session. Between days that
// are listed without one left out there is none: after Saturday's CLOSED comes
// what begins on Sunday evening, though it is Monday's. The first of such days
// begins and the last one ends at midnight, but where sessions go on over
// midnight: then one that is not listed may have begun on the evening before
// the first, or begin on that of the last.
func (r *hoursReader) known(days []listed) []stretch {
	n := r.nights()
	var known []stretch
	for i, l := range days {
		s := stretch{r.at(l.day, 0), r.at(l.day.AddDate(0, 0, 1), 0)}
		begins, ends := i == 0 || r.leftOut(days[i-1], l), i+1 == len(days) || r.leftOut(l, days[i+1])
		switch {
		case !begins || !n.any:
		case l.closed():
			s.from = r.at(l.day, n.dawn)
		default:
			s.from = l.from
		}
		switch {
		case !ends:
			s.to = later(s.to, days[i+1].from)
		case !n.any:
		case l.closed():
			s.to = r.at(l.day, n.evening)
		default:
			s.to = l.to
		}
		if !l.closed() {
			s.from, s.to = earlier(s.from, l.from), later(s.to, l.to)
		}
		known = append(known, s)
	}
	return known
}

// nights are what the sessions that go on over midnight have in common.
type nights struct {
	any     bool
	evening int // when the earliest begins, in minutes of the clock
	dawn    int // when the last ends of those that end before noon
}

func (r *hoursReader) nights() nights {
	n := nights{evening: 24 * 60}
	for _, s := range r.sessions {
		from, to := s.From.In(r.zone), s.To.Add(-1).In(r.zone)
		if from.Format(time.DateOnly) == s.Day {
			continue
		}
		n.any, n.evening = true, min(n.evening, from.Hour()*60+from.Minute())
		if to.Hour() < 12 {
			n.dawn = max(n.dawn, to.Hour()*60+to.Minute()+1)
		}
	}
	return n
}

// leftOut tells whether dates between one day's sessions and the next one's are
// not listed.
func (r *hoursReader) leftOut(l, next listed) bool {
	return r.first(next).After(l.day.AddDate(0, 0, 1))
}

// first is the date on which the sessions of a day begin, as a midnight of UTC.
func (r *hoursReader) first(l listed) time.Time {
	if l.closed() {
		return l.day
	}
	from := l.from.In(r.zone)
	return time.Date(from.Year(), from.Month(), from.Day(), 0, 0, 0, 0, time.UTC)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// joined sorts stretches, leaves out empty ones, and makes one of those that
// touch.
func joined(all []stretch) []stretch {
	slices.SortFunc(all, func(a, b stretch) int { return a.from.Compare(b.from) })
	var out []stretch
	for _, s := range all {
		last := len(out) - 1
		switch {
		case !s.from.Before(s.to):
		case last >= 0 && !s.from.After(out[last].to):
			out[last].to = later(out[last].to, s.to)
		default:
			out = append(out, s)
		}
	}
	return out
}

// next returns the first of some joined stretches that ends after t; its zero
// value where none does.
func next(all []stretch, t time.Time) stretch {
	i, _ := slices.BinarySearchFunc(all, t, func(s stretch, t time.Time) int {
		if s.to.After(t) {
			return 1
		}
		return -1
	})
	if i == len(all) {
		return stretch{}
	}
	return all[i]
}

// Open tells whether there is a session at a moment. Where known is false IB
// said nothing of that time, and open is false too.
func (h Hours) Open(at time.Time) (open, known bool) {
	return h.OpenWithin(at, at.Add(1))
}

// OpenWithin tells whether there is a session at any moment from one on and
// before another. Known is true if IB said something of all of that time: then
// a false open means closed. A true open holds even if known is false.
func (h Hours) OpenWithin(from, to time.Time) (open, known bool) {
	if !from.Before(to) {
		return false, false
	}
	o, k := next(h.open, from), next(h.known, from)
	open = !o.to.IsZero() && o.from.Before(to)
	known = !k.to.IsZero() && !k.from.After(from) && !k.to.Before(to)
	return open, known
}

// Sessions returns the sessions that are listed, the first to begin first. They
// may touch or, if IB says so, overlap.
func (h Hours) Sessions() []TradingSession { return slices.Clone(h.sessions) }

// Zone is the market's time zone; nil where IB named none.
func (h Hours) Zone() *time.Location { return h.zone }

// keptDays is for how many days past those that IB lists hours are kept.
const keptDays = 10

// Following returns t with what older said of the ten days before those that t
// lists: IB lists none that are past, and what is missing is judged later. Where
// either cannot be read, or they are of two zones, that is t.
func (t TradingTimes) Following(older TradingTimes) TradingTimes {
	if t.Zone != older.Zone {
		return t
	}
	t.Trading = following(t.Trading, older.Trading, t.Zone)
	t.Liquid = following(t.Liquid, older.Liquid, t.Zone)
	return t
}

func following(text, older, zone string) string {
	first, ok := firstListed(text)
	if _, err := ParseHours(older, zone); !ok || err != nil {
		return text
	}
	var days []string
	for entry := range strings.SplitSeq(older, ";") {
		entry = strings.TrimSpace(entry)
		date, _, _ := strings.Cut(entry, ":")
		if day, err := parseDay(date); err == nil && day.Before(first) && !day.Before(first.AddDate(0, 0, -keptDays)) {
			days = append(days, entry)
		}
	}
	joined := strings.Join(append(days, text), ";")
	if _, err := ParseHours(joined, zone); err != nil {
		return text
	}
	return joined
}

// firstListed is the first day that hours list.
func firstListed(text string) (first time.Time, ok bool) {
	for entry := range strings.SplitSeq(text, ";") {
		date, _, _ := strings.Cut(strings.TrimSpace(entry), ":")
		if day, err := parseDay(date); err == nil && (!ok || day.Before(first)) {
			first, ok = day, true
		}
	}
	return first, ok
}

// opens tells whether a session begins at a moment.
func (h Hours) opens(at time.Time) bool {
	return slices.ContainsFunc(h.sessions, func(s TradingSession) bool { return s.From.Equal(at) })
}

// traded tells whether a day after one and before another is known to have a
// session. All are dates, as [TradingSession] has them.
func (h Hours) traded(after, before string) bool {
	return slices.ContainsFunc(h.sessions, func(s TradingSession) bool { return after < s.Day && s.Day < before })
}

// dayEnds is when the last session of a day ends, which is a midnight of UTC;
// where none is listed, when the day ends in the market's zone, and where that is
// not known, anywhere.
func (h Hours) dayEnds(day time.Time) time.Time {
	var end time.Time
	for date, i := day.Format(time.DateOnly), 0; i < len(h.sessions); i++ {
		if h.sessions[i].Day == date {
			end = later(end, h.sessions[i].To)
		}
	}
	if !end.IsZero() {
		return end
	}
	return h.midnightAfter(day)
}

// midnightAfter is when a day ends by the clock; 12 hours after it does in UTC
// where the market's zone is not known, since no zone is further behind.
func (h Hours) midnightAfter(day time.Time) time.Time {
	day = day.AddDate(0, 0, 1)
	if h.zone == nil {
		return day.Add(12 * time.Hour)
	}
	return time.Date(day.Year(), day.Month(), day.Day(), 0, 0, 0, 0, h.zone).UTC()
}
