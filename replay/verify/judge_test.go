package verify_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/replay/verify"
)

// TestWhatNoWriterWouldWriteIsSaid has whole chains of events that say what cannot be.
func TestWhatNoWriterWouldWriteIsSaid(t *testing.T) {
	feed := events.Feed{Kind: events.SubscribeQuotes, Contract: events.Contract{ConID: 1, Symbol: "A"}}.WithDefaults()
	added := func(name string) events.Event {
		return &events.SubscriptionAdded{CommandID: "s-" + name, Subscription: name, Caller: "me", Feed: feed, Asked: feed.Contract}
	}
	for name, c := range map[string]struct {
		write func(w *writer)
		want  []verify.Kind
		words string
	}{
		"a session without a greeting": {
			func(w *writer) {
				w.open()
				w.write(&events.SessionOpened{Attempt: 1, Endpoint: "gateway.example:4002", NextProbeAt: w.now, AnswerBy: w.now})
			},
			[]verify.Kind{verify.Illegal},
			"should not stand there: session_opened happens while the connection is ready: want it greeting",
		},
		"an attempt used twice": {
			func(w *writer) {
				w.open()
				w.write(&events.SessionLost{Attempt: 1, Cause: events.CauseReset, RetryAt: w.now})
				w.write(&events.DialStarted{Attempt: 1, Endpoint: "gateway.example:4002", DeadlineAt: w.now})
			},
			[]verify.Kind{verify.Attempt},
			"attempt 1 begins: want 2",
		},
		"a heartbeat of another attempt": {
			func(w *writer) {
				w.open()
				w.write(&events.HeartbeatAnswered{Attempt: 9, Number: 1, SentAt: w.now, NextProbeAt: w.now, AnswerBy: w.now})
			},
			[]verify.Kind{verify.Attempt},
			"answered is of attempt 9: want 1",
		},
		"a claim that saw another log": {
			func(w *writer) { w.write(&events.EpochBegan{Instance: "b", PreviousEpoch: 7}) },
			[]verify.Kind{verify.Illegal},
			"epoch 7 was before it",
		},
		"an outcome of no command": {
			func(w *writer) { w.write(&events.CommandCompleted{CommandID: "x1", Verb: events.VerbConnect}) },
			[]verify.Kind{verify.Illegal},
			"command x1 is completed: none of that id waits for it",
		},
		"a command without an outcome": {
			func(w *writer) {
				w.open()
				w.write(&events.CommandAccepted{CommandID: "x1", Verb: events.VerbReconnect})
				w.now = w.now.Add(time.Hour)
				w.write(w.notice(), w.notice())
			},
			[]verify.Kind{verify.NoOutcome},
			"command x1 (reconnect, accepted at 2026-03-02T07:00:07.000Z, not begun) has no outcome by event 8, 1h0m1s after the connection was ready",
		},
		"a command that still waits": {
			func(w *writer) {
				w.open()
				w.write(&events.CommandAccepted{CommandID: "x1", Verb: events.VerbReconnect})
				w.now = w.now.Add(3 * time.Second)
				w.write(w.notice())
			},
			[]verify.Kind{verify.Pending},
			"command x1 (reconnect, not begun) has had no outcome yet, 4s after it was accepted",
		},
		"a control command that was begun, and nothing came of it": {
			func(w *writer) {
				w.open()
				w.write(&events.CommandAccepted{CommandID: "x1", Verb: events.VerbRestartGateway})
				w.write(&events.CommandBegun{CommandID: "x1", Verb: events.VerbRestartGateway})
				w.now = w.now.Add(3 * time.Hour)
				w.write(w.notice())
			},
			[]verify.Kind{verify.NoOutcome},
			"command x1 (restart-gateway, accepted at 2026-03-02T07:00:07.000Z, begun) has no outcome",
		},
		"a process that died with a command": {
			func(w *writer) {
				w.open()
				w.write(&events.CommandAccepted{CommandID: "x1", Verb: events.VerbReconnect})
				w.now = w.now.Add(time.Hour)
				w.write(w.claim())
				w.write(&events.SessionLost{Attempt: 1, Cause: events.CauseProcessRestarted, RetryAt: w.now})
				w.write(&events.CommandFailed{CommandID: "x1", Verb: events.VerbReconnect, Code: events.ErrorOutcomeUnknown})
			},
			nil, "",
		},
		"a subscription that was never live": {
			func(w *writer) {
				w.open()
				w.write(added("quotes"))
				w.write(&events.SubscriptionPlacement{Subscription: "quotes", Attempt: 1, RequestID: 1, Because: events.BecauseNew, Try: 1})
				w.write(&events.SubscriptionRefused{Subscription: "quotes", Attempt: 1, RequestID: 1, Code: 354, Class: events.ClassEntitlement, Message: "not subscribed"})
			},
			[]verify.Kind{verify.NeverLive},
			"subscription quotes is wanted since 2026-03-02T07:00:07.000Z, was placed once, and never had data; the gateway said 354: not subscribed",
		},
		"a subscription that was cancelled before it was live": {
			func(w *writer) {
				w.write(added("quotes"))
				w.write(&events.SubscriptionCancelled{CommandID: "c", Subscription: "quotes", Caller: "me"})
			},
			[]verify.Kind{verify.NeverLive},
			"was wanted from 2026-03-02T07:00:02.000Z to 2026-03-02T07:00:03.000Z, was never placed, and never had data",
		},
		"a subscription that is placed and not wanted": {
			func(w *writer) {
				w.open()
				w.write(&events.SubscriptionPlacement{Subscription: "quotes", Attempt: 1, RequestID: 1, Because: events.BecauseNew, Try: 1})
			},
			[]verify.Kind{verify.Illegal},
			"subscription quotes is placed: nobody wants it",
		},
		"types of later": {
			func(w *writer) {
				for range 2 {
					w.write(&events.Unknown{Name: "ib.conn.state.shines", Data: []byte("{}")})
				}
			},
			[]verify.Kind{verify.UnknownType},
			"events of type ib.conn.state.shines are not known to this program",
		},
		"a clock that went back without a word": {
			func(w *writer) {
				w.now = w.now.Add(-time.Hour)
				for range 6 {
					w.write(w.notice())
				}
			},
			[]verify.Kind{verify.ClockBack},
			"event 2 (a-2) is of 2026-03-02T06:00:02.000Z, and the one before it of 2026-03-02T07:00:01.000Z",
		},
		"a clock that went back, and that is said": {
			func(w *writer) {
				w.now = w.now.Add(-time.Hour)
				w.write(w.notice(), &events.ClockJumped{By: events.MillisOf(-time.Hour)})
				for range 6 {
					w.write(w.notice())
				}
			},
			nil, "",
		},
		"damage on record, which is not there": {
			func(w *writer) {
				w.write(&events.LogDamaged{Finding: events.FindingGap, Detail: "sequence 9 follows where 8 should", Expected: 8, Found: 9})
			},
			[]verify.Kind{verify.OnRecord},
			"event 2 puts damage on record that its writer found (sequence_gap): sequence 9 follows where 8 should; nothing of that kind is found here",
		},
		"a claim that begins the same epoch": {
			func(w *writer) {
				w.head.Epoch--
				w.write(&events.EpochBegan{Instance: "b", PreviousEpoch: 1})
				for range 3 {
					w.write(w.notice())
				}
			},
			[]verify.Kind{verify.WrongClaim},
			"begins epoch 1: want 2",
		},
		"an epoch that nobody claimed": {
			func(w *writer) {
				w.head.Epoch = 4
				for range 3 {
					w.write(w.notice())
				}
			},
			[]verify.Kind{verify.WrongEpoch},
			"event 2 (a-2) is of /ibconn/a under epoch 4, and the last claim is 1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var p past
			w := newWriter(t, &p)
			w.write(w.claim())
			c.write(w)
			all := verified(t, p, verify.Options{Marks: p.mark()})
			var kinds []verify.Kind
			for _, f := range all {
				kinds = append(kinds, f.Kind)
			}
			if !slices.Equal(kinds, c.want) || len(all) > 0 && !strings.Contains(all[0].Words, c.words) {
				t.Errorf("found%s\nwant %s: %s", words(all), c.want, c.words)
			}
		})
	}
}

// TestDamageOnRecordIsToldWithWhatItIsAbout has a log that lost its end, and whose next
// writer went on behind the mark, as ibconn's do.
func TestDamageOnRecordIsToldWithWhatItIsAbout(t *testing.T) {
	p, w := life(t)
	p = p[:p.at(t, 24)]
	w.past = &p
	w.write(w.claim(), &events.LogDamaged{Finding: events.FindingMissing, Detail: "3 events are gone", Expected: 26, Found: 23})
	all := verified(t, p, verify.Options{Marks: p.mark()})
	if len(all) != 2 || all[0].Kind != verify.Missing || all[0].Sequence != 24 || all[0].ToSequence != 26 || all[1].Kind != verify.OnRecord ||
		!strings.Contains(all[1].Words, "it is found here too: 3 events, 24 to 26, are missing") {
		t.Errorf("found%s", words(all))
	}
}

func TestConnectionsAreJudgedApart(t *testing.T) {
	main, _ := life(t)
	var other past
	w := newWriter(t, &other)
	w.name, w.state = "other", events.NewState("other")
	w.write(w.claim())
	w.open()
	var p past
	for i := range max(len(main), len(other)) {
		if i < len(main) && i != 8 {
			p = append(p, main[i])
		}
		if i < len(other) {
			p = append(p, other[i])
		}
	}
	v := verify.New(verify.Options{})
	var all []verify.Finding
	for _, s := range p.renumbered() {
		all = append(all, v.Add(s)...)
	}
	all = append(all, v.End()...)
	if len(all) != 1 || all[0].Connection != "main" || all[0].Kind != verify.Missing {
		t.Errorf("found%s", words(all))
	}
	if s := v.Summary(); s.Connections != 2 || s.Epochs != 3 || s.Messages != uint64(len(p)) || s.Heartbeats != 10 {
		t.Errorf("it looked at %+v", s)
	}
}

func TestALogThatBeginsInTheMiddleIsTakenAsItIs(t *testing.T) {
	p, _ := life(t)
	for i := range p {
		all := verified(t, p[i:], verify.Options{Partial: true, Marks: p.mark()})
		want := 1
		if i == 0 {
			want = 0
		}
		if len(all) != want || want == 1 && (all[0].Kind != verify.Middle || !strings.HasPrefix(all[0].Words, "main begins in the middle, at sequence ")) {
			t.Errorf("from message %d on: found%s", i+1, words(all))
		}
		if i > 0 && i < len(p)-1 {
			all := wrong(verified(t, p[i:], verify.Options{}))
			if len(all) != 1 || all[0].Kind != verify.Missing || all[0].Sequence != 1 {
				t.Errorf("as a whole log, from message %d on: found%s", i+1, words(all))
			}
		}
	}
}

// TestWhatIsHeldBackIsBounded has a log in which everything is wrong.
func TestWhatIsHeldBackIsBounded(t *testing.T) {
	good, _ := life(t)
	v := verify.New(verify.Options{})
	found := 0
	for i := range 20_000 {
		s := good[i*7%len(good)]
		s.StreamSeq = uint64(i + 1)
		if i%3 == 0 {
			s = bus.Stored{Subject: "ib.log.main.error", StreamSeq: uint64(i + 1), Payload: fmt.Append(nil, "no event ", i)}
		}
		if n := len(v.Add(s)); n > 300 {
			t.Fatalf("message %d: %d findings at once", i, n)
		} else {
			found += n
		}
	}
	if v.End(); found < 10_000 {
		t.Errorf("%d findings, want nearly all of 20000", found)
	}
}
