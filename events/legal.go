package events

import (
	"fmt"
	"slices"
	"strings"
)

// Rule names what an event may not do.
type Rule string

// The rules that [Legal] holds events to.
const (
	RulePhase        Rule = "phase"        // what may happen in a phase, and where it leads
	RuleStanding     Rule = "standing"     // the phase that an event says of itself is the one after it
	RuleAttempt      Rule = "attempt"      // attempts are numbered in order, and no number is used twice
	RuleClaim        Rule = "claim"        // a claim knows the epoch and the phase before it
	RuleCommand      Rule = "command"      // a command is accepted once, and has one outcome after that
	RuleSubscription Rule = "subscription" // only what is wanted is placed, and only in a session
)

// IllegalError says that no writer would have written an event where it stands.
type IllegalError struct {
	Rule   Rule
	Detail string // what the event says, and what it should
}

// Error says what the event says, and what it should.
func (e *IllegalError) Error() string { return e.Detail }

func illegal(r Rule, format string, args ...any) error {
	return &IllegalError{r, fmt.Sprintf(format, args...)}
}

// phases are the phases before an event, and those that it may lead to; none where it
// leaves the phase as it is.
type phases struct{ from, to []Phase }

var (
	resting   = []Phase{PhaseIdle, PhaseStopped}
	between   = []Phase{PhaseWaiting, PhaseTripped}
	trying    = []Phase{PhaseDialing, PhaseGreeting}
	served    = append(slices.Clone(trying), PhaseReady)
	inSession = []Phase{PhaseReady}
)

// allowed says where each event may stand whose phase matters. Package connector's
// table of transitions, which is played from what a policy decides, has the same.
var allowed = map[Type]phases{
	(*ConnectRequested)(nil).Type(): {append(slices.Clone(between), resting...), []Phase{PhaseWaiting}},
	(*DialStarted)(nil).Type():      {between, []Phase{PhaseDialing}},
	(*GatewayReached)(nil).Type():   {[]Phase{PhaseDialing}, []Phase{PhaseGreeting}},
	(*GatewayGreeted)(nil).Type():   {from: []Phase{PhaseGreeting}},
	(*DialFailed)(nil).Type():       {trying, between},
	(*SessionOpened)(nil).Type():    {[]Phase{PhaseGreeting}, inSession},
	(*SessionStale)(nil).Type():     {from: inSession},
	(*SessionFresh)(nil).Type():     {from: inSession},
	(*SessionLost)(nil).Type():      {inSession, []Phase{PhaseWaiting}},
	(*BreakerOpened)(nil).Type():    {[]Phase{PhaseWaiting}, []Phase{PhaseTripped}},
	(*BreakerClosed)(nil).Type():    {from: inSession},
	(*Stopped)(nil).Type():          {slices.Concat([]Phase{PhaseIdle}, served, between), []Phase{PhaseStopped}},
	(*LoginNeeded)(nil).Type():      {from: append(slices.Clone(between), PhaseReady)},
	(*PortChanged)(nil).Type():      {from: served},
	(*LinkWentDown)(nil).Type():     {from: served},
	(*LinkCameBack)(nil).Type():     {from: served},
	(*LinkProven)(nil).Type():       {from: inSession},
	(*LinkFellSilent)(nil).Type():   {from: inSession},
	(*FarmChanged)(nil).Type():      {from: served},
	(*CompetingBegan)(nil).Type():   {from: inSession},
	(*CompetingEnded)(nil).Type():   {from: inSession},
	(*PacingReduced)(nil).Type():    {from: served},

	(*HeartbeatAnswered)(nil).Type(): {from: inSession},
	(*HeartbeatMissed)(nil).Type():   {from: inSession},
	(*LinkAnswered)(nil).Type():      {from: inSession},
	(*LinkMissed)(nil).Type():        {from: inSession},

	(*SubscriptionPlacement)(nil).Type():  {from: inSession},
	(*SubscriptionDelivered)(nil).Type():  {from: inSession},
	(*SubscriptionFellSilent)(nil).Type(): {from: inSession},
}

// Moves returns the phases that an event of type t may lead to from a phase: that phase
// itself where it may happen there and leaves it, and none where it may not happen.
func Moves(from Phase, t Type) []Phase {
	p, limited := allowed[t]
	switch {
	case limited && !slices.Contains(p.from, from):
		return nil
	case len(p.to) > 0:
		return slices.Clone(p.to)
	default:
		return []Phase{from}
	}
}

// Legal says whether r may stand where it does: between the state before it and the one
// after, which is before.Apply(r). It returns nil or an *[IllegalError]. Whether r
// follows on the event before it is for [Head.Follows] to say. An event of a type that
// this program does not know may stand anywhere.
func Legal(before, after State, r Recorded) error {
	if _, unknown := r.Event.(*Unknown); unknown {
		return nil
	}
	t := r.Event.Type()
	moves := Moves(before.Phase, t)
	switch {
	case moves == nil:
		return illegal(RulePhase, "%s happens while the connection is %s: want it %s", t.What(), before.Phase, either(allowed[t].from))
	case !slices.Contains(moves, after.Phase):
		return illegal(RulePhase, "%s leads from %s to %s: want %s", t.What(), before.Phase, after.Phase, either(moves))
	}
	if e, ok := r.Event.(StateEvent); ok && e.After().Phase != after.Phase {
		return illegal(RuleStanding, "%s says that the connection is %s after it: it is %s", t.What(), e.After().Phase, after.Phase)
	}
	if err := legalAttempt(before, r.Event); err != nil {
		return err
	}
	if err := legalCommand(before, r.Event); err != nil {
		return err
	}
	return legalClaim(before, r.Event)
}

func either(phases []Phase) string {
	var words []string
	for _, p := range phases {
		words = append(words, string(p))
	}
	return strings.Join(words, " or ")
}

// legalAttempt holds an event against the number of the present attempt.
func legalAttempt(before State, event Event) error {
	var number uint64
	switch e := event.(type) {
	case *DialStarted:
		if want := before.Attempt.Number + 1; e.Attempt != want {
			return illegal(RuleAttempt, "attempt %d begins: want %d, since no number is used twice", e.Attempt, want)
		}
		return nil
	case *GatewayReached:
		number = e.Attempt
	case *GatewayGreeted:
		number = e.Attempt
	case *DialFailed:
		number = e.Attempt
	case *SessionOpened:
		number = e.Attempt
	case *SessionLost:
		number = e.Attempt
	case *HeartbeatAnswered:
		number = e.Attempt
	case *HeartbeatMissed:
		number = e.Attempt
	case *SubscriptionPlacement:
		if _, wanted := before.Subscribed(e.Subscription); !wanted {
			return illegal(RuleSubscription, "subscription %s is placed: nobody wants it", e.Subscription)
		}
		number = e.Attempt
	default:
		return nil
	}
	if number != before.Attempt.Number {
		return illegal(RuleAttempt, "%s is of attempt %d: want %d, the present one", event.Type().What(), number, before.Attempt.Number)
	}
	return nil
}

// legalCommand holds an event against the commands that have no outcome.
func legalCommand(before State, event Event) error {
	id, began := "", false
	switch e := event.(type) {
	case *CommandAccepted:
		if _, known := before.Recall(e.CommandID); known {
			return illegal(RuleCommand, "command %s is accepted a second time", e.CommandID)
		}
		return nil
	case *CommandBegun:
		id, began = e.CommandID, true
	case *CommandCompleted:
		id = e.CommandID
	case *CommandFailed:
		id = e.CommandID
	default:
		return nil
	}
	i := slices.IndexFunc(before.Pending, func(c PendingCommand) bool { return c.CommandID == id })
	switch {
	case i < 0:
		return illegal(RuleCommand, "command %s is %s: none of that id waits for it", id, event.Type().What())
	case began && before.Pending[i].BegunEpoch != 0:
		return illegal(RuleCommand, "command %s is begun a second time", id)
	}
	return nil
}

// legalClaim holds a claim against what was before it.
func legalClaim(before State, event Event) error {
	e, ok := event.(*EpochBegan)
	switch {
	case !ok:
		return nil
	case e.PreviousEpoch != before.Epoch:
		return illegal(RuleClaim, "the claim says that epoch %d was before it: want %d", e.PreviousEpoch, before.Epoch)
	case e.PreviousPhase != "" && e.PreviousPhase != before.Phase:
		return illegal(RuleClaim, "the claim says that the connection was %s before it: it was %s", e.PreviousPhase, before.Phase)
	}
	return nil
}
