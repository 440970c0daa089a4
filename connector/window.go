package connector

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Window is a stretch of every week in which an interruption is expected. What
// fails inside it is less severe and retried at another pace, and is found out
// all the same: a window never stops detection.
//
// Its hours are those of a clock on the wall. Where clocks change, it opens at
// the first moment its clock reads From or later, and closes at the last moment
// until which its clock reads earlier than the end. So an edge in a skipped hour
// lies at the change, an hour that comes twice never closes and opens a window
// again, and a window all inside a skipped hour does not open that day.
//
// Make one with [ParseWindow], [Presets] or [AutoRestart].
type Window struct {
	Kind   WindowKind
	Days   Weekdays       // the days on which it opens
	From   time.Duration  // when it opens: whole minutes after midnight, 0 to 23h59m
	Length time.Duration  // whole minutes on the clock, at least 1: below a day, or below a week if Days is a single day
	Zone   *time.Location // where the clock hangs; a zone with a name, not time.Local
}

// WindowKind says what is expected inside a window.
type WindowKind string

// The kinds.
const (
	WindowReset   WindowKind = "reset"   // IB's daily server reset: accounts away for seconds to minutes; the session stays, the link goes
	WindowWeekend WindowKind = "weekend" // IB's weekly maintenance: every service in every region may be away throughout
	WindowRestart WindowKind = "restart" // the gateway's own daily restart: the session ends and is back within about a minute
)

// Weekdays is a set of days: bit n stands for time.Weekday(n).
type Weekdays uint8

const (
	everyDay Weekdays = 1<<7 - 1
	day               = 24 * time.Hour
)

// Has says whether d is in the set.
func (s Weekdays) Has(d time.Weekday) bool { return s&(1<<d) != 0 }

// String lists the days as [ParseWindow] takes them: "daily", "Sun-Fri",
// "Mon,Wed".
func (s Weekdays) String() string {
	if s == everyDay {
		return "daily"
	}
	var runs []string
	for first := time.Sunday; first <= time.Saturday; first++ {
		if !s.Has(first) || s.Has((first+6)%7) {
			continue // not where a run begins
		}
		last := first
		for s.Has((last + 1) % 7) {
			last = (last + 1) % 7
		}
		run := dayName(first)
		if last != first {
			run += "-" + dayName(last)
		}
		runs = append(runs, run)
	}
	return strings.Join(runs, ",")
}

// String writes the window as [ParseWindow] reads it.
func (w Window) String() string {
	end := w.From + w.Length
	for d := time.Sunday; d <= time.Saturday && end >= day; d++ {
		if w.Days == 1<<d {
			last := (d + time.Weekday(end/day)) % 7
			return fmt.Sprintf("%s %s %s - %s %s %s", w.Kind, dayName(d), clockText(w.From), dayName(last), clockText(end), w.Zone)
		}
	}
	return fmt.Sprintf("%s %s %s-%s %s", w.Kind, w.Days, clockText(w.From), clockText(end), w.Zone)
}

// check says why the window can never open, or is none: what [ParseWindow]
// returns always passes.
func (w Window) check() error {
	several := w.Days&(w.Days-1) != 0
	switch {
	case w.Zone == nil || w.Zone == time.Local:
		return errors.New("want a zone with a name")
	case w.Days&everyDay == 0:
		return errors.New("it never opens: want a day at least")
	case w.From < 0 || w.From >= day || w.From%time.Minute != 0:
		return fmt.Errorf("it opens %v after midnight: want whole minutes from 0 to 23h59m", w.From)
	case w.Length < time.Minute || w.Length%time.Minute != 0:
		return fmt.Errorf("length %v: it never opens; want whole minutes, at least 1", w.Length)
	case several && w.Length >= day || w.Length >= 7*day:
		return fmt.Errorf("length %v: it never closes; want less than a day, or less than a week if it opens on one day", w.Length)
	}
	return nil
}

// Same says whether w and v are the same stretch of the week, of the same kind.
func (w Window) Same(v Window) bool {
	return w.Kind == v.Kind && w.Days == v.Days && w.From == v.From && w.Length == v.Length && w.Zone.String() == v.Zone.String()
}

// Contains says whether the window is open at t.
func (w Window) Contains(t time.Time) bool {
	opens, closes := w.upcoming(t)
	return !t.Before(opens) && t.Before(closes)
}

// Next returns, in UTC, when the window closes if it is open at t, and otherwise
// when it next opens, or the zero time for a window without days.
func (w Window) Next(t time.Time) time.Time {
	opens, closes := w.upcoming(t)
	if t.Before(opens) {
		return opens
	}
	return closes
}

// upcoming returns when the window, the first time that it closes after t,
// opens and closes, or two zero times if it never does.
func (w Window) upcoming(t time.Time) (opens, closes time.Time) {
	year, month, today := t.In(w.Zone).Date()
	// It may have opened up to six days ago; and next week's may fall into a
	// skipped hour, which leaves the week after that.
	for d := today - 6; d <= today+14; d++ {
		wall := time.Date(year, month, d, 0, 0, 0, 0, time.UTC).Add(w.From)
		if !w.Days.Has(wall.Weekday()) {
			continue
		}
		first, _ := moments(wall, w.Zone)
		_, last := moments(wall.Add(w.Length), w.Zone)
		switch {
		case !first.Before(last) || !t.Before(last):
		case closes.IsZero():
			opens, closes = first, last
		case first.After(closes):
			return opens, closes
		default: // a skipped or repeated hour leaves no gap to the day before
			closes = last
		}
	}
	return opens, closes
}

// moments returns the first moment at which zone's clock reads wall or later,
// and the last one until which it reads earlier. They differ only for a reading
// that comes twice. wall is written as if it were UTC, and clocks are taken to
// change at most once within a day on either side of it.
func moments(wall time.Time, zone *time.Location) (first, last time.Time) {
	before, after := wall.Add(-day).In(zone), wall.Add(day).In(zone)
	byOld, byNew := wall.Add(-offset(before)), wall.Add(-offset(after))
	_, change := before.ZoneBounds()
	if change.IsZero() {
		return byOld, byOld
	}
	change = change.UTC()
	first, last = byOld, byNew
	if !byOld.Before(change) {
		first = latest(byNew, change)
	}
	if !byNew.After(change) { // then no clock reads earlier than wall after the change
		last = first
	}
	return first, last
}

func offset(t time.Time) time.Duration {
	_, seconds := t.Zone()
	return time.Duration(seconds) * time.Second
}

// Windows are windows in order of precedence.
type Windows []Window

// At returns the first of the windows that is open at t, if there is one.
func (ws Windows) At(t time.Time) (Window, bool) {
	for _, w := range ws {
		if w.Contains(t) {
			return w, true
		}
	}
	return Window{}, false
}

// AutoRestartAt is when a gateway restarts itself unless its settings say
// otherwise: 11:45 PM by the clock of its host (LEAN #242).
const AutoRestartAt = 23*time.Hour + 45*time.Minute

// AutoRestart returns the window of a gateway that restarts itself every day at
// a time after midnight, such as [AutoRestartAt], in its host's zone. It is open
// for 5 minutes, where a restart takes about 35 s (LEAN #246) and the client id
// may be held for a while after it; set Length for more.
func AutoRestart(at time.Duration, zone *time.Location) Window {
	return Window{Kind: WindowRestart, Days: everyDay, From: at, Length: 5 * time.Minute, Zone: zone}
}

// weekend is the same for every region on both pages below. It comes first in a
// preset, because a reset is a matter of seconds and this an outage throughout.
const weekend = "weekend Fri 23:00 - Sat 03:00 America/New_York"

// presets are IB's published tables. Its "CET" is taken to keep summer time, as
// Zurich's clocks do.
var presets = map[string][]string{
	// interactivebrokers.co.uk/pt/software/systemStatus.php, undated, with six
	// data centres and so newer than the page below. The drop of 2026-04-23 at
	// 04:15:03 UTC, 00:15 in New York, agrees with it (LEAN #227).
	"north-america": {weekend, "reset Sun-Fri 00:15-01:45 America/New_York"},
	"europe":        {weekend, "reset Sun-Fri 06:25-07:45 Europe/Zurich"},
	"asia":          {weekend, "reset Sun-Fri 04:45-06:05 Asia/Hong_Kong", "reset Sun-Fri 20:15-21:15 Asia/Hong_Kong"},

	// interactivebrokers.com/ko/software/systemStatus.php, as of 2024-12-15,
	// with four data centres. Asia's first reset is in New York's time there.
	"north-america-2024": {weekend, "reset Sat-Thu 23:45-00:45 America/New_York"},
	"europe-2024":        {weekend, "reset Sat-Thu 05:45-06:45 Europe/Zurich"},
	"asia-2024":          {weekend, "reset Sat-Thu 16:45-17:45 America/New_York", "reset Sat-Thu 20:15-21:00 Asia/Hong_Kong"},
}

// Presets returns the windows that IB publishes for the servers of a region:
// north-america, europe or asia, or with -2024 behind it as they were published
// at the end of 2024. The error names the regions there are.
func Presets(region string) (Windows, error) {
	lines, ok := presets[region]
	if !ok {
		return nil, fmt.Errorf("region %q: want one of %s", region, strings.Join(slices.Sorted(maps.Keys(presets)), ", "))
	}
	var ws Windows
	for _, line := range lines {
		w, err := ParseWindow(line)
		if err != nil {
			return nil, fmt.Errorf("region %q: %w", region, err)
		}
		ws = append(ws, w)
	}
	return ws, nil
}

// ParseWindow reads a window as it is written in a configuration, one of
//
//	reset Sun-Fri 00:15-01:45 America/New_York
//	weekend Fri 23:00 - Sat 03:00 America/New_York
//	restart daily 23:45-23:50 Europe/Zurich
//
// The first word is its kind. In the short form the days are those on which it
// opens, "daily" or days and ranges such as "Mon,Wed-Fri", and an end earlier
// than the beginning is on the day after. The error names the word at fault and
// says what is allowed.
func ParseWindow(text string) (Window, error) {
	w, err := parseWindow(strings.Fields(text))
	if err != nil {
		return Window{}, fmt.Errorf("window %q: %w", text, err)
	}
	return w, nil
}

func parseWindow(words []string) (w Window, err error) {
	if len(words) != 4 && (len(words) != 7 || words[3] != "-") {
		return w, fmt.Errorf("want KIND DAYS HH:MM-HH:MM ZONE or KIND DAY HH:MM - DAY HH:MM ZONE, such as %q", weekend)
	}
	switch w.Kind = WindowKind(words[0]); w.Kind {
	case WindowReset, WindowWeekend, WindowRestart:
	default:
		return w, fmt.Errorf("kind %q: want %s, %s or %s", words[0], WindowReset, WindowWeekend, WindowRestart)
	}
	if len(words) == 4 {
		w.Days, w.From, w.Length, err = parseDaily(words[1], words[2])
	} else {
		w.Days, w.From, w.Length, err = parseSpan(words[1], words[2], words[4], words[5])
	}
	if err != nil {
		return w, err
	}
	// A window must mean the same on every machine, so the local zone is not one.
	zone := words[len(words)-1]
	if w.Zone, err = time.LoadLocation(zone); err != nil || w.Zone == time.Local {
		return w, fmt.Errorf("zone %q: want a name from the time zone database, such as Europe/Zurich, or UTC", zone)
	}
	return w, nil
}

func parseDaily(daysText, hours string) (days Weekdays, from, length time.Duration, err error) {
	begin, end, isRange := strings.Cut(hours, "-")
	days, errDays := parseDays(daysText)
	from, errFrom := parseClock(begin)
	to, errTo := parseClock(end)
	switch err := cmp.Or(errDays, errFrom, errTo); {
	case !isRange:
		return 0, 0, 0, fmt.Errorf("hours %q: want HH:MM-HH:MM", hours)
	case err != nil:
		return 0, 0, 0, err
	case to == from:
		return 0, 0, 0, fmt.Errorf("hours %q: want an end other than the beginning", hours)
	case to < from:
		to += day
	}
	return days, from, to - from, nil
}

func parseSpan(firstDay, begin, lastDay, end string) (days Weekdays, from, length time.Duration, err error) {
	first, errFirst := parseDay(firstDay)
	from, errFrom := parseClock(begin)
	last, errLast := parseDay(lastDay)
	to, errTo := parseClock(end)
	if err := cmp.Or(errFirst, errFrom, errLast, errTo); err != nil {
		return 0, 0, 0, err
	}
	length = time.Duration((last-first+7)%7)*day + to - from
	if length <= 0 {
		return 0, 0, 0, fmt.Errorf("end %q: want a time after the beginning, %q", lastDay+" "+end, firstDay+" "+begin)
	}
	return 1 << first, from, length, nil
}

func parseDays(text string) (Weekdays, error) {
	if strings.EqualFold(text, "daily") {
		return everyDay, nil
	}
	var days Weekdays
	for run := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(run, "-")
		if !isRange {
			last = first
		}
		d, err := parseDay(first)
		end, errEnd := parseDay(last)
		if err := cmp.Or(err, errEnd); err != nil {
			return 0, fmt.Errorf("%w, or daily for all of them", err)
		}
		for days |= 1 << end; d != end; d = (d + 1) % 7 {
			days |= 1 << d
		}
	}
	return days, nil
}

func parseDay(text string) (time.Weekday, error) {
	for d := time.Sunday; d <= time.Saturday; d++ {
		if strings.EqualFold(text, dayName(d)) {
			return d, nil
		}
	}
	return 0, fmt.Errorf("day %q: want Sun, Mon, Tue, Wed, Thu, Fri or Sat", text)
}

func parseClock(text string) (time.Duration, error) {
	t, err := time.Parse("15:04", text)
	if err != nil {
		return 0, fmt.Errorf("time %q: want 00:00 to 23:59", text)
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, nil
}

func dayName(d time.Weekday) string { return d.String()[:3] }

// clockText writes a time after midnight, of that day or a later one.
func clockText(d time.Duration) string { return time.Time{}.Add(d).Format("15:04") }
