package events_test

import (
	"errors"
	"testing"
	"time"

	"ibconn/events"
)

// lived returns a state that some events led to, as its writer would have written them.
func lived(happened ...events.Event) (events.State, events.Recorded) {
	s := events.NewState("main")
	var last events.Recorded
	for _, e := range happened {
		last = events.Recorded{Sequence: s.Sequence + 1, Epoch: s.Epoch, Time: time.Unix(int64(s.Sequence)+1, 0), Event: e}
		if last.Claim() {
			last.Epoch++
		}
		after := s.Apply(last)
		if said, ok := e.(events.StateEvent); ok && said.After().Phase == "" {
			*said.After() = after.Standing
		}
		s = after
	}
	return s, last
}

func TestLegalSaysWhatNoWriterWouldWrite(t *testing.T) {
	claim := func() events.Event { return &events.EpochBegan{Instance: "host-1"} }
	wanted := func() events.Event { return &events.ConnectRequested{RetryAt: time.Unix(9, 0)} }
	dial := func(attempt uint64) events.Event { return &events.DialStarted{Attempt: attempt} }
	accepted := func(id string) events.Event {
		return &events.CommandAccepted{CommandID: id, Verb: events.VerbReconnectData}
	}
	completed := func(id string) events.Event { return &events.CommandCompleted{CommandID: id} }
	for name, c := range map[string]struct {
		before []events.Event
		event  events.Event
		rule   events.Rule
		words  string
	}{
		"a session out of nothing": {
			[]events.Event{claim(), wanted()},
			&events.SessionOpened{Attempt: 1}, events.RulePhase,
			"session_opened happens while the connection is waiting: want it greeting",
		},
		"a step left out": {
			[]events.Event{claim(), wanted(), dial(1)},
			&events.SessionOpened{Attempt: 1}, events.RulePhase,
			"session_opened happens while the connection is dialing: want it greeting",
		},
		"a standing that is not so": {
			[]events.Event{claim()},
			&events.ConnectRequested{RetryAt: time.Unix(9, 0), Standing: events.Standing{Phase: events.PhaseReady}}, events.RuleStanding,
			"connect_requested says that the connection is ready after it: it is waiting",
		},
		"an attempt used twice": {
			[]events.Event{claim(), wanted(), dial(1), &events.DialFailed{Attempt: 1, RetryAt: time.Unix(9, 0)}},
			dial(1), events.RuleAttempt,
			"attempt 1 begins: want 2, since no number is used twice",
		},
		"news of another attempt": {
			[]events.Event{claim(), wanted(), dial(1)},
			&events.GatewayReached{Attempt: 2}, events.RuleAttempt,
			"gateway_reached is of attempt 2: want 1, the present one",
		},
		"a heartbeat without a session": {
			[]events.Event{claim()},
			&events.HeartbeatMissed{Attempt: 1}, events.RulePhase,
			"missed happens while the connection is idle: want it ready",
		},
		"an outcome of no command": {
			[]events.Event{claim()}, completed("x1"), events.RuleCommand, "command x1 is completed: none of that id waits for it",
		},
		"a second outcome": {
			[]events.Event{claim(), accepted("x1"), completed("x1")},
			completed("x1"), events.RuleCommand,
			"command x1 is completed: none of that id waits for it",
		},
		"a command accepted twice": {
			[]events.Event{claim(), accepted("x1"), completed("x1")},
			accepted("x1"), events.RuleCommand,
			"command x1 is accepted a second time",
		},
		"a command begun twice": {
			[]events.Event{claim(), accepted("x1"), &events.CommandBegun{CommandID: "x1"}},
			&events.CommandBegun{CommandID: "x1"}, events.RuleCommand,
			"command x1 is begun a second time",
		},
		"a claim that saw another log": {
			[]events.Event{claim()},
			&events.EpochBegan{PreviousEpoch: 4}, events.RuleClaim,
			"the claim says that epoch 4 was before it: want 1",
		},
		"a claim that saw another phase": {
			[]events.Event{claim()},
			&events.EpochBegan{PreviousEpoch: 1, PreviousPhase: events.PhaseReady}, events.RuleClaim,
			"the claim says that the connection was ready before it: it was idle",
		},
		"a type of later":   {[]events.Event{claim()}, &events.Unknown{Name: "ib.conn.state.shines"}, "", ""},
		"a command's life":  {[]events.Event{claim(), accepted("x1"), &events.CommandBegun{CommandID: "x1"}}, completed("x1"), "", ""},
		"a second attempt":  {[]events.Event{claim(), wanted(), dial(1), &events.DialFailed{Attempt: 1, RetryAt: time.Unix(9, 0)}}, dial(2), "", ""},
		"a claim of a next": {[]events.Event{claim(), wanted()}, &events.EpochBegan{PreviousEpoch: 1, PreviousPhase: events.PhaseWaiting}, "", ""},
	} {
		before, _ := lived(c.before...)
		after, r := lived(append(c.before, c.event)...)
		err := events.Legal(before, after, r)
		if c.rule == "" {
			if err != nil {
				t.Errorf("%s: %v, want it legal", name, err)
			}
			continue
		}
		wrong, ok := errors.AsType[*events.IllegalError](err)
		if !ok || wrong.Rule != c.rule || wrong.Error() != c.words {
			t.Errorf("%s: %v, want rule %s: %s", name, err, c.rule, c.words)
		}
	}
}
