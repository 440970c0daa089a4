package story

import (
	"fmt"
	"math"
	"time"

	"ibconn/events"
)

// Offset words a distance in time in few characters: "-12s", "+3m04s", "+350ms".
func Offset(m events.Millis) string {
	if m < 0 {
		return "-" + Short(-m)
	}
	return "+" + Short(m)
}

// Short words a length of time in at most seven characters: "350ms", "4.1s", "28m30s",
// "2h03m", "3d04h".
func Short(m events.Millis) string {
	s := float64(m) / 1000
	switch {
	case m <= 0:
		return "0s"
	case s < 0.9995:
		return fmt.Sprintf("%.0fms", math.Max(1, float64(m)))
	case s < 9.95 && math.Abs(s-math.Round(s)) >= 0.05:
		return fmt.Sprintf("%.1fs", s)
	case s < 59.5:
		return fmt.Sprintf("%.0fs", s)
	case s < 3599.5:
		return two(s, 60, "m", "s")
	case s < 86400-30:
		return two(s/60, 60, "h", "m")
	}
	return two(s/3600, 24, "d", "h")
}

func two(small, per float64, large, unit string) string {
	n := int64(math.Round(small))
	return fmt.Sprintf("%d%s%02d%s", n/int64(per), large, n%int64(per), unit)
}

// zoneOr returns zone, or this machine's.
func zoneOr(zone *time.Location) *time.Location {
	if zone == nil {
		return time.Local
	}
	return zone
}

// ZoneName names a zone with its offset at a time: "Europe/Zurich (+01:00)".
func ZoneName(zone *time.Location, at time.Time) string {
	at = at.In(zoneOr(zone))
	name := at.Location().String()
	if name == "Local" {
		name = "local time"
	}
	if name == "UTC" {
		return name
	}
	return name + " (" + at.Format("-07:00") + ")"
}

// clock words a time of a day.
func clock(at time.Time, zone *time.Location) string { return at.In(zoneOr(zone)).Format("15:04:05") }

// day words a time with its date.
func day(at time.Time, zone *time.Location) string {
	return at.In(zoneOr(zone)).Format("2006-01-02 15:04:05")
}
