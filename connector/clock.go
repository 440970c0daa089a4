package connector

import "time"

// Clock is the time that a connection lives by. [SystemClock] is the one for
// programs; another one lets a test move time as it likes.
type Clock interface {
	// Now returns the wall clock's time, and how much time has passed since
	// some moment before. What passed never goes back, and is not moved when
	// the wall clock is set; on a host that sleeps the one goes on and the
	// other stands still. Both are of one reading: a process that is stopped
	// between two would take that for a jump of the wall clock.
	Now() (wall time.Time, passed time.Duration)
	// Timer returns a channel that gets one value once d has passed, at once
	// if d is not above 0, and what must be called when nobody waits for it
	// any more.
	Timer(d time.Duration) (rang <-chan time.Time, stop func())
}

// SystemClock is the clock of the machine. Its wall times carry a monotonic
// reading, as [time.Now]'s do.
type SystemClock struct{}

var _ Clock = SystemClock{}

var systemEpoch = time.Now()

// Now implements [Clock].
func (SystemClock) Now() (wall time.Time, passed time.Duration) {
	now := time.Now()
	return now, now.Sub(systemEpoch)
}

// Timer implements [Clock].
func (SystemClock) Timer(d time.Duration) (rang <-chan time.Time, stop func()) {
	t := time.NewTimer(d)
	return t.C, func() { t.Stop() }
}
