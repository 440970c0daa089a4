package nights

import (
	"fmt"
	"testing"
	"time"

	"ibconn/events"
)

// Written is a log of one connection that a test makes up, with the standings that a
// connector would write.
type Written struct {
	All   []events.Recorded
	Now   time.Time
	State events.State

	tb   testing.TB
	head events.Head
}

// Write begins a log: a process started at a time, and the connection is wanted.
func Write(tb testing.TB, c events.ConnectionID, began time.Time) *Written {
	w := &Written{tb: tb, State: events.NewState(c), Now: began}
	w.Add(0, &events.EpochBegan{Instance: "host-1", PID: 1, Version: "test"})
	return w.Add(0, &events.ConnectRequested{By: events.AskerStart, RetryAt: began})
}

// Add records e so long after the event before it.
func (w *Written) Add(after time.Duration, e events.Event) *Written {
	w.tb.Helper()
	w.Now = w.Now.Add(after)
	c := w.State.Connection
	if stand, ok := e.(events.StateEvent); ok {
		*stand.After() = w.State.Apply(events.Recorded{Connection: c, Time: w.Now, Event: e}).Standing
	}
	n := len(w.All)
	author := events.Author{Connection: c, Source: "/ibconn/test", NewID: func() string { return fmt.Sprint(c, "-e", n) }}
	r, err := w.head.Next(author, events.Draft{Event: e}, w.Now)
	if err != nil {
		w.tb.Fatal(err)
	}
	w.State, w.head, w.All = w.State.Apply(r), w.head.Then(r), append(w.All, r)
	return w
}

// At lets the time pass until then.
func (w *Written) At(t time.Time) *Written {
	w.tb.Helper()
	if t.Before(w.Now) {
		w.tb.Fatalf("%v is before %v", t, w.Now)
	}
	w.Now = t
	return w
}

// Open dials and opens a session, and proves its link.
func (w *Written) Open(after time.Duration) *Written {
	w.tb.Helper()
	w.Dial(after)
	a := w.State.Attempt.Number
	w.Add(20*time.Millisecond, &events.SessionOpened{
		Attempt: a, ServerVersion: 225, ClientID: 7, Endpoint: "gateway.example:4002", Accounts: []string{"DU***67"},
		Took: 20, RTT: 4, NextProbeAt: w.Now.Add(15 * time.Second), AnswerBy: w.Now.Add(20 * time.Second), ProbeLinkAt: w.Now,
	})
	return w.Add(10*time.Millisecond, &events.LinkProven{Attempt: a, From: events.LinkUnknown, RTT: 9})
}

// Dial begins an attempt.
func (w *Written) Dial(after time.Duration) *Written {
	w.tb.Helper()
	return w.Add(after, &events.DialStarted{
		Attempt: w.State.Attempt.Number + 1, Endpoint: "gateway.example:4002", ClientID: 7, Failures: w.State.Failures, DeadlineAt: w.Now.Add(5 * time.Second),
	})
}

// Fail is an attempt that comes to nothing.
func (w *Written) Fail(after time.Duration, c events.Cause) *Written {
	w.tb.Helper()
	w.Dial(after)
	return w.Add(time.Millisecond, &events.DialFailed{
		Attempt: w.State.Attempt.Number, Stage: events.PhaseDialing, Cause: c, Took: 1, Failures: w.State.Failures + 1,
		RetryAt: w.Now.Add(time.Second), RetryIn: 1000,
	})
}

// Lose ends the session, inside a window where one is named.
func (w *Written) Lose(after time.Duration, c events.Cause, window string) *Written {
	w.tb.Helper()
	return w.Add(after, &events.SessionLost{Attempt: w.State.Attempt.Number, Cause: c, Failures: 1, RetryAt: w.Now.Add(after), Window: window})
}

// Beat is a heartbeat that is answered within so many milliseconds.
func (w *Written) Beat(after time.Duration, rtt events.Millis) *Written {
	w.tb.Helper()
	return w.Add(after, &events.HeartbeatAnswered{
		Attempt: w.State.Attempt.Number, Number: w.State.Heartbeat.Number + 1, SentAt: w.Now, RTT: rtt,
		NextProbeAt: w.Now.Add(15 * time.Second), AnswerBy: w.Now.Add(20 * time.Second),
	})
}
