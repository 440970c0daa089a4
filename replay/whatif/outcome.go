package whatif

import (
	"maps"
	"time"

	"ibconn/connector"
	"ibconn/consumers/incidents"
	"ibconn/events"
)

// Outcome is what became of a connection over a span of time. Durations are in
// milliseconds in JSON.
type Outcome struct {
	Wanted   events.Millis `json:"wanted_ms"`   // the time in which it was to be there
	Healthy  events.Millis `json:"healthy_ms"`  // of it, with nothing wrong
	Degraded events.Millis `json:"degraded_ms"` // with a session, and something wrong
	Down     events.Millis `json:"down_ms"`     // without a session that answers, or without a process

	Outages     int           `json:"outages"`         // stretches of Down
	LongestDown events.Millis `json:"longest_down_ms"` // of them

	Sessions int                  `json:"sessions"` // opened
	Lost     map[events.Cause]int `json:"lost"`     // by cause; what was asked for is not in it
	Attempts int                  `json:"attempts"` // begun
	Failures int                  `json:"failures"` // of them, those that opened no session
	Breaker  int                  `json:"breaker_opened"`
	Probes   int                  `json:"probes"` // heartbeat probes whose outcome is known

	// Stale is how often a session was said to be stale, of which Recovered answered
	// again. SaidAfter is how long the gateway had been silent when that was said, and
	// LostAfter when a silent session was given up; 0 where there was none.
	Stale     int    `json:"stale"`
	Recovered int    `json:"recovered"`
	SaidAfter Spread `json:"said_after"`
	LostAfter Spread `json:"lost_after"`
	// FalseAlarms are sessions that were given up and whose gateway answered again
	// later. What was recorded has none: nobody knows what a session would have done
	// that was given up.
	FalseAlarms int `json:"false_alarms"`

	Incidents int `json:"incidents"` // as package incidents counts them
}

// Spread is of how long something took.
type Spread struct {
	Count int           `json:"count"`
	Mean  events.Millis `json:"mean_ms"`
	Max   events.Millis `json:"max_ms"`
}

func (s *Spread) add(d events.Millis) {
	s.Mean = (s.Mean*events.Millis(s.Count) + d) / events.Millis(s.Count+1)
	s.Count++
	s.Max = max(s.Max, d)
}

// tally is an Outcome that grows with events.
type tally struct {
	Outcome
	from  time.Time // what happened before does not count
	fold  incidents.Fold
	since time.Time // up to when time is counted; zero before anything was
	down  events.Millis
	// counts is set once from was come to: a clock that is set back after that changes
	// nothing of it.
	counts bool
}

// add takes an event, with the states before and after it.
func (t *tally) add(r events.Recorded, before, after events.State) {
	if t.since.IsZero() {
		t.since, t.Lost = r.Time, make(map[events.Cause]int)
	}
	was := before.Availability()
	switch e := r.Event.(type) {
	case *events.EpochBegan:
		if !e.LastEventAt.IsZero() && was != events.NotWanted {
			t.time(was, e.LastEventAt)
			t.time(events.Absent, r.Time)
		}
		t.since = r.Time
	case *events.ClockJumped:
		t.since = r.Time // the time before it is not known well enough
	default:
		t.time(was, r.Time)
	}
	changes := t.fold.Add(r)
	t.counts = t.counts || !r.Time.Before(t.from)
	if !t.counts {
		return
	}
	for _, c := range changes {
		if c.Kind == incidents.Opened {
			t.Incidents++
		}
	}
	t.count(r)
}

// time counts the time until at.
func (t *tally) time(was events.Availability, at time.Time) {
	if t.since.Before(t.from) && !t.counts {
		t.since = t.from
	}
	d := events.Between(t.since, at)
	if d > 0 {
		t.since = at
	}
	d = max(d, 0)
	if was != events.Absent {
		t.down = 0
	}
	switch was {
	case events.NotWanted:
		return
	case events.Unimpaired:
		t.Healthy += d
	case events.Present:
		t.Degraded += d
	case events.Absent:
		if t.down == 0 && d > 0 {
			t.Outages++
		}
		t.down += d
		t.Down += d
		t.LongestDown = max(t.LongestDown, t.down)
	}
	t.Wanted += d
}

// to counts the time until the end, at which the state is the last one.
func (t *tally) to(last events.State, end time.Time) { t.time(last.Availability(), end) }

func (t *tally) count(r events.Recorded) {
	switch e := r.Event.(type) {
	case *events.DialStarted:
		t.Attempts++
	case *events.DialFailed:
		t.Failures++
	case *events.SessionOpened:
		t.Sessions++
	case *events.BreakerOpened:
		t.Breaker++
	case *events.HeartbeatAnswered:
		if !e.Late { // it was counted when it was missed
			t.Probes++
		}
	case *events.HeartbeatMissed:
		t.Probes++
	case *events.SessionStale:
		t.Stale++
		t.SaidAfter.add(e.Silent)
	case *events.SessionFresh:
		t.Recovered++
	case *events.SessionLost:
		if e.Cause != events.CauseAskedFor {
			t.Lost[e.Cause]++
		}
		if connector.GaveUp(e) {
			t.LostAfter.add(e.Silent)
		}
	default:
	}
}

func (t *tally) outcome() Outcome {
	o := t.Outcome
	o.Lost = maps.Clone(o.Lost)
	return o
}
