package events

import (
	"math"
	"time"
)

// Millis is a length of time as events carry it: milliseconds, with
// microseconds as decimals. Fields of this type end in "_ms" on the wire.
type Millis float64

// MillisOf returns d in milliseconds, rounded to the microsecond.
func MillisOf(d time.Duration) Millis {
	return Millis(math.Round(float64(d)/float64(time.Microsecond)) / 1000)
}

// Between returns the time from one instant to a later one, or 0 when either
// is unknown (zero).
func Between(from, to time.Time) Millis {
	if from.IsZero() || to.IsZero() {
		return 0
	}
	return MillisOf(to.Sub(from))
}

// Duration returns m as a time.Duration.
func (m Millis) Duration() time.Duration {
	return time.Duration(math.Round(float64(m) * float64(time.Millisecond)))
}
