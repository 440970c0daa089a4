// Package incidents finds, in the events of a connection, the stretches in
// which it was not healthy.
//
// The one idea: an incident is a fold. It opens with the event that takes the
// condition from healthy to something else, and closes with the one that takes
// it back, or stops the connection; what lies between are its consequences.
//
//	var fold incidents.Fold
//	for each event, oldest first { fold.Add(r) }
//	for _, i := range fold.Incidents() { fmt.Println(i.From, i.Cause) }
//
// Non-obvious: a connection that was never healthy has no incident yet; its
// first attempts are its start, not an outage. Nor is a stop that was asked
// for. An incident that begins with silence takes its cause from what the
// silence turns out to be.
package incidents

import (
	"slices"
	"time"

	"ibconn/events"
)

// Incident is one stretch in which a connection was not healthy.
type Incident struct {
	Number     int                 // from 1, in the order of beginning, per connection
	Connection events.ConnectionID // whose
	From       time.Time           // when it opened
	To         time.Time           // when it closed; zero while it is open
	Worst      events.Condition    // the worst condition in it: degraded or down
	Cause      string              // what began it, in words
	Causes     []events.Cause      // why attempts failed and sessions were lost in it, each once, in order
	Attempts   int                 // attempts made in it
	Last       events.Recorded     // the event that closed it, or its last so far
}

// Open says whether i goes on as far as the events tell.
func (i Incident) Open() bool { return i.To.IsZero() }

// Duration is how long i lasted, or has lasted as of its last event.
func (i Incident) Duration() time.Duration {
	if i.Open() {
		return i.Last.Time.Sub(i.From)
	}
	return i.To.Sub(i.From)
}

// Fold collects the incidents of one connection. The zero Fold is ready to use.
type Fold struct {
	incidents []Incident
	healthy   bool // as of the last state event
	silent    bool // the open incident began with silence whose reason is not known yet
}

// Incidents returns the incidents so far, oldest first.
func (f *Fold) Incidents() []Incident { return slices.Clone(f.incidents) }

// Add takes the next event.
func (f *Fold) Add(r events.Recorded) {
	e, ok := r.Event.(events.StateEvent)
	if !ok {
		return
	}
	condition := e.After().Condition
	healthy := condition == events.ConditionHealthy
	stopped := condition == events.ConditionStopped
	if f.healthy && !healthy && !stopped {
		_, f.silent = e.(*events.SessionStale)
		f.incidents = append(f.incidents, Incident{
			Number: len(f.incidents) + 1, Connection: r.Connection, From: r.Time, Worst: condition, Cause: rootCause(r),
		})
	}
	if i := f.open(); i != nil {
		f.follow(i, r, condition)
		if healthy || stopped {
			i.To = r.Time
		}
	}
	f.healthy = healthy
}

func (f *Fold) open() *Incident {
	if n := len(f.incidents); n > 0 && f.incidents[n-1].Open() {
		return &f.incidents[n-1]
	}
	return nil
}

func (f *Fold) follow(i *Incident, r events.Recorded, condition events.Condition) {
	i.Last = r
	if condition == events.ConditionDown {
		i.Worst = condition
	}
	switch e := r.Event.(type) {
	case *events.DialStarted:
		i.Attempts++
	case *events.DialFailed:
		i.addCause(e.Cause)
	case *events.SessionFresh:
		f.silent = false
	case *events.SessionLost:
		if f.silent {
			i.Cause, f.silent = rootCause(r), false
		}
		i.addCause(e.Cause)
	default:
	}
}

// rootCause says what began an incident: of a lost session why, of anything
// else what.
func rootCause(r events.Recorded) string {
	if lost, ok := r.Event.(*events.SessionLost); ok {
		return lost.Cause.Sentence()
	}
	return events.Sentence(r)
}

func (i *Incident) addCause(c events.Cause) {
	if !slices.Contains(i.Causes, c) {
		i.Causes = append(i.Causes, c)
	}
}
