package main

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// timesOfDay and dates are how a time may be written without its zone.
var (
	timesOfDay = []string{"15:04", "15:04:05"}
	dates      = []string{"2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02T15:04:05"}
	withZone   = []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00"}
)

const timeForms = `want one such as 03:12, "yesterday 03:12", "2026-11-22 03:12", 2026-11-22T03:12Z, or "2h ago"`

// parsePast reads a time in the past as a person writes it: by a clock in a zone, which
// is the last time that it showed that; as an instant; or as how long ago.
func parsePast(text string, now time.Time, zone *time.Location) (time.Time, error) {
	at, err := parseTime(strings.TrimSpace(text), now, zone)
	switch {
	case err != nil:
		return time.Time{}, fmt.Errorf("time %.40q: %w", text, err)
	case at.After(now):
		return time.Time{}, fmt.Errorf("time %.40q lies in the future: it is %s", text, now.In(zone).Format("2006-01-02 15:04:05 MST"))
	}
	return at, nil
}

func parseTime(text string, now time.Time, zone *time.Location) (time.Time, error) {
	ago, past := strings.CutPrefix(text, "-")
	if !past {
		ago, past = strings.CutSuffix(text, " ago")
	}
	if past {
		d, err := time.ParseDuration(ago)
		if err != nil || d < 0 {
			return time.Time{}, errors.New(timeForms)
		}
		return now.Add(-d), nil
	}
	for _, layout := range withZone {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	for _, layout := range dates {
		if at, err := time.ParseInLocation(layout, text, zone); err == nil {
			return shownOnce(at, layout, text)
		}
	}
	day, clock := now.In(zone), text
	before, yesterday := strings.CutPrefix(text, "yesterday ")
	if yesterday {
		day, clock = day.AddDate(0, 0, -1), strings.TrimSpace(before)
	}
	for i, layout := range timesOfDay {
		if _, err := time.Parse(layout, clock); err != nil {
			continue
		}
		for range 2 {
			whole := day.Format(time.DateOnly) + " " + clock
			at, err := time.ParseInLocation(dates[i], whole, zone)
			if err != nil || !at.After(now) || yesterday {
				return shownOnce(at, dates[i], whole)
			}
			day = day.AddDate(0, 0, -1)
		}
	}
	return time.Time{}, errors.New(timeForms)
}

// shownOnce refuses a time that the clocks of its zone showed twice or never, since they
// were changed.
func shownOnce(at time.Time, layout, text string) (time.Time, error) {
	again := func(t time.Time) bool { return t.Format(layout) == text }
	switch {
	case !again(at):
		return time.Time{}, fmt.Errorf("the clocks of %s never showed that: they were set ahead; give it with an offset, as in 2026-11-22T03:12+01:00", at.Location())
	case again(at.Add(time.Hour)), again(at.Add(-time.Hour)):
		return time.Time{}, fmt.Errorf("the clocks of %s showed that twice: they were set back; give it with an offset, as in 2026-11-22T03:12+01:00", at.Location())
	}
	return at, nil
}

// parseZone reads the name of a time zone; none is this machine's.
func parseZone(name string) (*time.Location, error) {
	switch strings.ToLower(name) {
	case "", "local":
		return time.Local, nil
	case "utc":
		return time.UTC, nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("zone %.40q: want local, UTC, or a name such as Europe/Zurich", name)
	}
	return zone, nil
}
