package endtoend

import (
	"slices"
	"sync"
	"time"

	"ibconn/connector"
)

// clock stands still until it is moved.
type clock struct {
	mu     sync.Mutex
	wall   time.Time     // what the wall clock says
	passed time.Duration // how much time has passed
	alarms []*alarm      // those that are set
}

// alarm is a timer of a clock.
type alarm struct {
	at   time.Duration
	wait time.Duration // from when it was set
	rang chan time.Time
}

var _ connector.Clock = (*clock)(nil)

// Now implements [connector.Clock].
func (c *clock) Now() (wall time.Time, passed time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall, c.passed
}

// Timer implements [connector.Clock].
func (c *clock) Timer(d time.Duration) (rang <-chan time.Time, stop func()) {
	a, _ := c.set(d)
	return a.rang, func() { c.unset(a) }
}

// set returns an alarm, which rings at once if there is no time until then.
func (c *clock) set(d time.Duration) (a *alarm, rings bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a = &alarm{at: c.passed + d, wait: d, rang: make(chan time.Time, 1)}
	if d <= 0 {
		a.rang <- c.wall
		return a, true
	}
	c.alarms = append(c.alarms, a)
	return a, false
}

func (c *clock) unset(a *alarm) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, b := range c.alarms {
		if a == b {
			c.alarms = append(c.alarms[:i:i], c.alarms[i+1:]...)
			return
		}
	}
}

// next returns the first alarm that is set, or nil.
func (c *clock) next() *alarm {
	c.mu.Lock()
	defer c.mu.Unlock()
	var first *alarm
	for _, a := range c.alarms {
		if first == nil || a.at < first.at {
			first = a
		}
	}
	return first
}

// setFor says whether an alarm is set that was to ring after so long at most.
func (c *clock) setFor(most time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.alarms, func(a *alarm) bool { return a.wait <= most })
}

// ring rings an alarm, due or not.
func (c *clock) ring(a *alarm) {
	c.unset(a)
	wall, _ := c.Now()
	a.rang <- wall
}

// pass lets d pass.
func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.passed = c.wall.Add(d), c.passed+d
}

// jump moves the wall clock, as when a host slept or its clock was set.
func (c *clock) jump(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(by)
}
