package events

import (
	"testing"
	"time"
)

func TestMillisAreExactToTheMicrosecond(t *testing.T) {
	tests := []struct {
		d    time.Duration
		want Millis
	}{
		{0, 0},
		{time.Microsecond, 0.001},
		{1499 * time.Nanosecond, 0.001},
		{1500 * time.Nanosecond, 0.002},
		{-1500 * time.Nanosecond, -0.002},
		{412 * time.Microsecond, 0.412},
		{time.Second, 1000},
		{-250 * time.Millisecond, -250},
		{1<<63 - 1, 9223372036854.775},
	}
	for _, tt := range tests {
		if got := MillisOf(tt.d); got != tt.want {
			t.Errorf("MillisOf(%v) = %v, want %v", tt.d, float64(got), float64(tt.want))
		}
	}
	for _, d := range []time.Duration{0, time.Microsecond, 90 * time.Second, -3 * time.Millisecond, 400 * 24 * time.Hour} {
		if got := MillisOf(d).Duration(); got != d {
			t.Errorf("MillisOf(%v).Duration() = %v, want it back", d, got)
		}
	}
}

func TestBetweenIsZeroWhenAnInstantIsUnknown(t *testing.T) {
	later := wireTime.Add(1500 * time.Millisecond)
	tests := []struct {
		from, to time.Time
		want     Millis
	}{
		{wireTime, later, 1500},
		{later, wireTime, -1500},
		{wireTime, wireTime.In(time.FixedZone("somewhere", 3600)), 0},
		{time.Time{}, later, 0},
		{wireTime, time.Time{}, 0},
	}
	for _, tt := range tests {
		if got := Between(tt.from, tt.to); got != tt.want {
			t.Errorf("Between(%v, %v) = %v, want %v", tt.from, tt.to, float64(got), float64(tt.want))
		}
	}
}
