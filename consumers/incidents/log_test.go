package incidents

import (
	"fmt"
	"testing"
	"time"

	"ibconn/events"
)

// written is a log of one connection, with the standings that a connector would
// write.
type written struct {
	testing.TB
	state events.State
	head  events.Head
	now   time.Time
	all   []events.Recorded
}

func newWritten(tb testing.TB, c events.ConnectionID) *written {
	w := &written{TB: tb, state: events.NewState(c), now: midnight}
	w.add(0, &events.EpochBegan{Instance: "test"})
	w.add(0, &events.ConnectRequested{By: events.AskerStart, RetryAt: midnight})
	return w
}

// add records e a time after the event before it.
func (w *written) add(after time.Duration, e events.Event) *written {
	w.Helper()
	w.now = w.now.Add(after)
	if stand, ok := e.(events.StateEvent); ok {
		*stand.After() = w.state.Apply(events.Recorded{Connection: w.state.Connection, Time: w.now, Event: e}).Standing
	}
	n := len(w.all)
	author := events.Author{Connection: w.state.Connection, Source: "/ibconn/test", NewID: func() string { return fmt.Sprint(w.state.Connection, "-e", n) }}
	r, err := w.head.Next(author, events.Draft{Event: e}, w.now)
	if err != nil {
		w.Fatal(err)
	}
	w.state, w.head, w.all = w.state.Apply(r), w.head.Then(r), append(w.all, r)
	return w
}

func (w *written) dial(after time.Duration) *written {
	w.Helper()
	return w.add(after, &events.DialStarted{Attempt: w.state.Attempt.Number + 1, Endpoint: "h:1", DeadlineAt: w.now.Add(time.Hour)})
}

func (w *written) fail(after time.Duration, c events.Cause) *written {
	w.Helper()
	return w.dial(after).add(0, &events.DialFailed{Attempt: w.state.Attempt.Number, Cause: c, RetryAt: w.now, Failures: 1})
}

// open dials and opens a session.
func (w *written) open(after time.Duration) *written {
	w.Helper()
	return w.dial(after).add(0, &events.SessionOpened{Attempt: w.state.Attempt.Number, NextProbeAt: w.now, AnswerBy: w.now})
}

func (w *written) lose(after time.Duration, c events.Cause) *written {
	w.Helper()
	return w.add(after, &events.SessionLost{Attempt: w.state.Attempt.Number, Cause: c, RetryAt: w.now, Failures: 1})
}

func (w *written) link(after time.Duration, up bool) *written {
	w.Helper()
	if up {
		return w.add(after, &events.LinkCameBack{Attempt: 1, Code: 1102})
	}
	return w.add(after, &events.LinkWentDown{Attempt: 1, Code: 1100})
}

func (w *written) farm(after time.Duration, to events.FarmStatus) *written {
	w.Helper()
	return w.add(after, farm(to, events.Standing{}))
}

func (w *written) beat(after time.Duration) *written {
	w.Helper()
	return w.add(after, &events.HeartbeatAnswered{Attempt: 1, Number: 1, NextProbeAt: w.now, AnswerBy: w.now})
}

func (w *written) want(names ...string) *written {
	w.Helper()
	for _, name := range names {
		feed := events.Feed{Kind: events.SubscribeBars}
		w.add(0, &events.SubscriptionAdded{CommandID: "c", Subscription: name, Caller: "test", Feed: feed})
		w.deliver(0, name)
	}
	return w
}

// deliver places subscriptions and has them deliver.
func (w *written) deliver(after time.Duration, names ...string) *written {
	w.Helper()
	for _, name := range names {
		w.add(after, &events.SubscriptionPlacement{Subscription: name, Attempt: 1, RequestID: 1, Because: events.BecauseNew, Try: 1})
		w.add(0, &events.SubscriptionDelivered{Subscription: name, Attempt: 1, RequestID: 1})
	}
	return w
}

func (w *written) dark(after time.Duration, name string) *written {
	w.Helper()
	return w.add(after, &events.SubscriptionFellSilent{Subscription: name, Attempt: 1, Silent: 20_000})
}

func (w *written) refused(after time.Duration, name string) *written {
	w.Helper()
	return w.add(after, &events.SubscriptionRefused{Subscription: name, Attempt: 1, Code: 354, Class: events.ClassEntitlement, Message: "no"})
}

// gap has bars missing between two times after midnight.
func (w *written) gap(after time.Duration, name string, from, to time.Duration) *written {
	w.Helper()
	return w.add(after, &events.GapDetected{Subscription: name, From: midnight.Add(from), To: midnight.Add(to), Bars: 1})
}

func (w *written) filled(after time.Duration, name string, from, to time.Duration) *written {
	w.Helper()
	return w.add(after, &events.GapFilled{Subscription: name, From: midnight.Add(from), To: midnight.Add(to)})
}
