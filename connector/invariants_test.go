package connector_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ibconn/connector"
	"ibconn/events"
)

// FuzzDecide plays any sequence of inputs, crashes and passing time. What must
// hold is checked by the story at each event and at rest, and of the whole log
// at the end.
func FuzzDecide(f *testing.F) {
	for _, seed := range []string{
		"S",                              // a start
		"SrgoTtTaTaE",                    // a session with heartbeats, and its end
		"SrgotTtTtTtT",                   // a session that falls silent
		"SEEETETETETETETETETETETEt",      // the breaker
		"SrgonA1nB2nC3nD4E",              // notices
		"SrgoR1srgoD2C3srgC4R4C4xrgoD5x", // commands, and crashes among them
		"SrgoDyxCyxRyxrgo",               // crashes between a command and its effect
		"SrnE1rgnE2oQ",                   // refusals, and a shutdown
		"SoragOEQxhhhxzzz",               // news out of turn
		"l1Srgotp1tp1tqptqtqtn6tp1uptp1", // a link that is probed
		"SrgoK1K2k1D3k1K4xC5K6QrgoK7i1",  // control commands, in every phase, and crashes among them
		"SEEEK1Et1K2tk1tK3yak1y5k1y4k1",  // and while the gateway is in trouble
		"Srgos1s2v1v2s3tEtrgoc1s1v1",     // subscriptions, a lost session, and crashes among them
		"Srgos1v1w1tn1w5e1tte2txs2c2w9",  // silence, refusals
		"Srgos1v1G1F1G1F5G2xF2n2n3s1n3",  // gaps, and a link that lost the data
		strings.Repeat("SrgotTaE", 20),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		s := newStory(t)
		for i := range min(len(script), 300) {
			arg := byte(0)
			if i+1 < len(script) {
				arg = script[i+1]
			}
			s.step(script[i], arg)
			s.checkSubscriptions()
		}
		s.check()
		s.finish()
	})
}

// step reads one byte of a script; arg, the byte after it, is a step of its
// own too.
func (s *story) step(op, arg byte) {
	s.Helper()
	attempt := s.state.Attempt.Number
	if arg&0x80 != 0 {
		attempt += uint64(arg) - 0x90 // mostly another attempt
	}
	switch op {
	case 'S', 'x':
		s.restart()
	case 'y': // the log ends after the command, before its effect
		if draft, ok := s.decide(connector.Commanded{ID: commandID(arg), Verb: verbs[int(arg)%len(verbs)]}); ok {
			s.record(draft)
		}
		s.restart()
	case 'Q':
		s.give(connector.ShutDown{Reason: "terminated"})
		s.restart()
	case 'r':
		s.give(connector.Reached{Attempt: attempt})
	case 'g':
		s.give(connector.Greeted{Attempt: attempt, ServerVersion: int(arg), GatewayTime: string(rune(arg))})
	case 'o':
		s.probed, s.probedAt = 0, time.Time{}
		s.give(connector.Opened{Attempt: attempt, Accounts: []string{strings.Repeat("U", int(arg)) + "1234567"}})
	case 'a':
		s.give(connector.Answered{Attempt: attempt, Number: s.state.Heartbeat.Number + 2 - uint64(arg%4), Answer: s.answer(s.probedAt, time.Duration(arg)*time.Millisecond)})
	case 'E', 'O':
		s.give(connector.Ended{Attempt: attempt, Cause: slices.Concat(events.Causes, []events.Cause{""})[int(arg)%(len(events.Causes)+1)]})
	case 'm':
		s.give(connector.Noticed{Attempt: attempt, Code: 1300, Message: "reconnect on the new port - " + strconv.Itoa(4000+int(arg%4))})
	case 'n':
		code := notices[int(arg)%len(notices)]
		s.give(connector.Noticed{Attempt: attempt, Code: code, Message: string([]byte{arg, op}) + " connection is OK:usfarm"})
	case 'l': // the link is probed from the next session on, or no more
		s.policy.LinkProbeEvery = time.Duration(arg%3) * time.Minute
	case 'p':
		in := s.found(s.state.Heartbeat.Link.Number + 2 - uint64(arg%4)).(connector.Found)
		in.Attempt, in.Count = attempt, int(arg%5)
		s.give(in)
	case 'q':
		in := s.noticed(notices[int(arg)%len(notices)], "about the probe").(connector.Noticed)
		in.RequestID = linkProbeID(s.state.Heartbeat.Link.Number + uint64(arg%3))
		s.give(in)
	case 'u':
		s.give(connector.Passed{Attempt: attempt, ID: linkProbeID(s.state.Heartbeat.Link.Number + uint64(arg%3)), Outcome: connector.OutcomeExpired})
	case 's', 'c', 'v', 'w', 'e', 'X', 'G', 'F':
		s.stepSubscription(op, arg, attempt)
	case 'f':
		s.give(connector.Refused{Attempt: max(attempt, 1), MessageID: int(arg)})
	case 'b':
		s.give(connector.Abandoned{Attempt: max(attempt, 1), Waited: time.Duration(arg) * time.Second})
	case 'j': // the host's clock moves by hours, either way
		by := (time.Duration(arg) - 128) * time.Hour / 8
		s.now = s.now.Add(by)
		s.heard, s.probedAt = s.heard.Add(by), s.probedAt.Add(by)
		if by != 0 {
			s.give(connector.Jumped{By: by})
		}
	case 'd':
		s.give(connector.Damaged{Damage: events.LogDamaged{Finding: events.FindingHash, Found: uint64(arg)}})
	case 'C':
		s.command(commandID(arg), events.VerbConnect)
	case 'R':
		s.command(commandID(arg), events.VerbReconnect)
	case 'D':
		s.command(commandID(arg), events.VerbDisconnect)
	case 'K':
		s.command(commandID(arg), controls[int(arg)%len(controls)])
	case 'k': // IBC answers, or somebody answers for another command
		if arg&0x80 != 0 {
			s.give(connector.Controlled{CommandID: commandID(arg), Said: string(rune(arg))})
			return
		}
		s.give(s.controlled(string(rune(arg))))
	case 'i':
		s.give(s.refused(events.ErrorGatewayRefused, string(rune(arg))))
	case 'U':
		s.command(commandID(arg), events.Verb(rune(arg)))
	case 'h':
		s.heard = s.now.Add(time.Duration(arg) * time.Millisecond)
	case 't': // to the next thing that is due
		plan := connector.PlanFor(s.state)
		at := plan.WakeAt
		if plan.Probe > s.probed {
			at = plan.ProbeAt
		}
		if plan.LinkProbe > s.asked && plan.LinkProbeAt.Before(at) {
			at = plan.LinkProbeAt
		}
		if at.Before(s.now) {
			at = s.now
		}
		s.passTo(at)
	default:
		s.pass(time.Duration(op) * time.Duration(arg) * time.Millisecond)
	}
}

var (
	verbs = []events.Verb{
		events.VerbConnect, events.VerbReconnect, events.VerbDisconnect, "subscribe",
		events.VerbReconnectData, events.VerbRestartGateway,
	}
	controls = []events.Verb{events.VerbReconnectData, events.VerbReconnectAccount, events.VerbRestartGateway}
	notices  = []int{326, 327, 503, 504, 506, 507, 1100, 1101, 1102, 1300, 2103, 2104, 2105, 2108, 2110, 2119, 2157, 162, 100, 10197, 0, -1, 77777}
)

// commandID makes ids that come again now and then.
func commandID(arg byte) string { return "command-" + string('a'+rune(arg%16)) }

// finish lets the gateway be well from now on: whatever came before, the
// connection must get ready, unless it was told to stay away, and every
// command have its outcome.
func (s *story) finish() {
	s.Helper()
	for range 20 {
		switch s.state.Phase {
		case events.PhaseIdle:
			s.give(connector.Started{})
		case events.PhaseWaiting, events.PhaseTripped:
			s.passTo(later(s.state.RetryAt, s.now))
		case events.PhaseDialing:
			s.give(s.reached())
		case events.PhaseGreeting:
			if s.state.Attempt.GreetedAt.IsZero() {
				s.give(s.greeted())
			}
			s.give(s.opened())
		case events.PhaseStopped:
			if s.state.Wanted {
				s.restart()
				continue
			}
			s.settled()
			return
		case events.PhaseReady:
			if s.state.Link.Unproven {
				s.now = later(connector.PlanFor(s.state).LinkProbeAt, s.now)
				s.give(s.found(s.state.Heartbeat.Link.Number + 1))
				continue
			}
			s.settled()
			return
		}
	}
	s.Fatalf("the connection stays %s though the gateway is well", s.state.Phase)
}

func (s *story) settled() {
	s.Helper()
	s.give(s.woke())
	for range len(s.state.Pending) {
		if s.controlling != "" {
			s.give(s.controlled("yes"))
		}
	}
	if len(s.state.Pending) > 0 {
		s.Errorf("%s, and %+v is without an outcome", s.state.Phase, s.state.Pending)
	}
	for _, c := range s.state.Recent {
		if c.Status == events.StatusAccepted {
			s.Errorf("%s, and command %s is still called accepted", s.state.Phase, c.CommandID)
		}
	}
}

// stepSubscription is a step about a subscription.
func (s *story) stepSubscription(op, arg byte, attempt uint64) {
	s.Helper()
	kind := events.SubscriptionKinds[int(arg)%len(events.SubscriptionKinds)]
	feed := events.Feed{Kind: kind, Contract: events.Contract{ConID: int64(1 + arg>>3%4), Symbol: string(rune('A' + arg%2))}}.WithDefaults()
	var sub events.Subscription
	if n := len(s.state.Subscriptions); n > 0 {
		sub = *s.state.Subscriptions[int(arg)%n]
	}
	from := dawn.Add(time.Duration(arg) * time.Minute)
	caller := "caller-" + string(rune('a'+arg%3))
	switch op {
	case 's':
		name := ""
		if arg%5 == 0 {
			name = "named"
		}
		s.give(connector.Commanded{ID: commandID(arg), Verb: events.VerbSubscribe, Subscribe: &connector.Subscribing{Name: name, Caller: caller, Feed: feed}})
	case 'c':
		s.give(connector.Commanded{ID: commandID(arg), Verb: events.VerbCancel, Cancel: &connector.Cancelling{Subscription: sub.Name, Caller: caller, All: arg%2 == 0}})
	case 'v':
		s.give(connector.Arrived{Attempt: attempt, ID: sub.RequestID, At: s.now})
	case 'w':
		w := s.woke()
		w.Quiet = []connector.Quiet{{Name: sub.Name, Since: s.now.Add(-time.Minute), Restored: []events.PlacedBecause{"", events.BecauseFarm}[arg>>6%2]}}
		w.Held = map[string]time.Time{sub.Name: s.now.Add(time.Duration(arg%3) * time.Minute)}
		if draft, ok := s.decide(w); ok {
			s.record(draft)
		}
	case 'e':
		code := []int{354, 101, 420, 162, 200, 322, 300, 10225, 10197, 100, 77777}[int(arg)%11]
		s.give(connector.Noticed{Attempt: attempt, RequestID: sub.RequestID, Code: code, Message: "pacing violation"})
	case 'X':
		s.give(connector.Passed{Attempt: attempt, ID: sub.RequestID, Outcome: []connector.Outcome{connector.OutcomeFull, connector.OutcomeSent, connector.OutcomeLost}[arg%3]})
	case 'G':
		s.give(connector.Missing{Name: sub.Name, From: from, To: from.Add(time.Duration(arg%7) * time.Minute), Bars: 12})
	case 'F':
		in := connector.Backfilled{Name: sub.Name, From: from, To: from.Add(time.Duration(arg%5) * time.Minute), Bars: int(arg)}
		if arg%2 == 0 {
			in.Failure = &events.AnswerError{Code: events.ErrorNoData, Message: "none"}
		}
		s.give(in)
	}
}

// checkSubscriptions holds what must be true of subscriptions at any time.
func (s *story) checkSubscriptions() {
	s.Helper()
	names, feeds, requests := map[string]bool{}, map[events.Feed]bool{}, map[int64]bool{}
	for i, sub := range s.state.Subscriptions {
		switch {
		case names[sub.Name] || feeds[sub.Feed] || sub.RequestID != 0 && requests[sub.RequestID]:
			s.Errorf("%s stands there twice, or shares its feed or request id: %+v", sub.Name, s.state.Subscriptions)
		case i > 0 && s.state.Subscriptions[i-1].Name > sub.Name:
			s.Errorf("subscriptions are out of order: %s behind %s", sub.Name, s.state.Subscriptions[i-1].Name)
		case len(sub.Callers) == 0:
			s.Errorf("nobody wants %s", sub.Name)
		case sub.RequestID > s.state.LastRequestID:
			s.Errorf("%s has request id %d, and the last is %d", sub.Name, sub.RequestID, s.state.LastRequestID)
		case (sub.Status == events.SubscriptionWanted) != (sub.Attempt == 0):
			s.Errorf("%s is %s in attempt %d", sub.Name, sub.Status, sub.Attempt)
		case sub.Attempt != 0 && (sub.Attempt != s.state.Attempt.Number || s.state.Phase != events.PhaseReady):
			s.Errorf("%s stands in attempt %d, and the connection is %s in attempt %d", sub.Name, sub.Attempt, s.state.Phase, s.state.Attempt.Number)
		}
		names[sub.Name], feeds[sub.Feed] = true, true
		requests[sub.RequestID] = true
		for j, g := range sub.Gaps {
			if !g.From.Before(g.To) || j > 0 && !sub.Gaps[j-1].To.Before(g.From) {
				s.Errorf("%s has gaps %+v, want them apart and in order", sub.Name, sub.Gaps)
			}
		}
	}
}
