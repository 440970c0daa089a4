package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Kind is the family an event belongs to. It is the last token of the subject
// an event is stored under, so a subscriber can choose by it.
type Kind string

// The kinds. Only [KindHeartbeat] expires; everything else is kept for ever.
const (
	KindClaimed      Kind = "claimed"      // a writer took the connection: a new epoch
	KindState        Kind = "state"        // one of the four levels, or what is wanted, changed
	KindHeartbeat    Kind = "heartbeat"    // a probe was answered or missed
	KindError        Kind = "error"        // something was reported or went wrong and changed no level
	KindSubscription Kind = "subscription" // a subscription moved
	KindCommand      Kind = "command"      // a command was taken, refused or done
)

// Kinds lists every kind in the order of the design.
var Kinds = []Kind{KindClaimed, KindState, KindHeartbeat, KindError, KindSubscription, KindCommand}

// Type names what happened, in CloudEvents' sense: "ib.conn.<kind>.<what>".
// A type's meaning and wire form never change; a changed meaning is a new type.
type Type string

const typePrefix = "ib.conn."

// Kind returns the kind inside the type's name, or "" when t has not the form
// "ib.conn.<kind>.<what>" with a kind of lower-case letters and '_': it becomes
// a token of a subject.
func (t Type) Kind() Kind {
	rest, ok := strings.CutPrefix(string(t), typePrefix)
	if !ok {
		return ""
	}
	kind, what, ok := strings.Cut(rest, ".")
	if !ok || !isKind(kind) || what == "" {
		return ""
	}
	return Kind(kind)
}

func isKind(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") == ""
}

// What returns the last part of the type's name: "session_lost" of
// "ib.conn.state.session_lost".
func (t Type) What() string {
	return string(t[strings.LastIndexByte(string(t), '.')+1:])
}

// Event is one thing that happened to a connection. The set is closed: every
// implementation stands in this package, as a pointer to a struct whose JSON
// form is the event's data.
//
//sumtype:decl
type Event interface {
	// Type returns the event's type.
	Type() Type
	// check returns an error that names a field without which Apply would put
	// nonsense into the state, or nil.
	check() error
}

// StateEvent is an event of [KindState], or one of [KindSubscription] that may
// move the condition. It carries where the connection stands once the event has
// been applied, so that a subscriber who sees only this one message knows the
// outcome without folding anything.
type StateEvent interface {
	Event
	// After returns the standing inside the event, for the writer to fill in
	// before the event is stored.
	After() *Standing
}

// Unknown is an event of a type this program does not know, kept raw: written
// by a newer version, or by somebody else. Applying it changes nothing.
type Unknown struct {
	Name Type            // its type, as found
	Data json.RawMessage // its data, as found
}

// Type returns the type as found.
func (e *Unknown) Type() Type { return e.Name }
func (*Unknown) check() error { return nil }

// MarshalJSON returns the data as it was found.
func (e *Unknown) MarshalJSON() ([]byte, error) {
	if len(e.Data) == 0 {
		return []byte("{}"), nil
	}
	return e.Data, nil
}

// given is for checks: nil, or that a field is missing.
func given(ok bool, field string) error {
	if ok {
		return nil
	}
	return errors.New(field + " is missing")
}

// counted is for checks: nil, or that a count is below 0.
func counted(n int, field string) error {
	if n >= 0 {
		return nil
	}
	return fmt.Errorf("%s %d: want 0 or more", field, n)
}

// Types lists every type this version can write, in the order of its story:
// claim, connect, attempt, session, levels, heartbeat, errors, commands,
// subscriptions.
func Types() []Type {
	types := make([]Type, 0, len(prototypes))
	for _, p := range prototypes {
		types = append(types, p().Type())
	}
	return types
}

// New returns an empty event of type t, or nil when t is unknown.
func New(t Type) Event {
	if p := byType[t]; p != nil {
		return p()
	}
	return nil
}

// The registry is a list of constructors rather than a map literal so that its
// order is the order in which Types, schemas and golden files are listed.
var prototypes = []func() Event{
	func() Event { return new(EpochBegan) },
	func() Event { return new(ConnectRequested) },
	func() Event { return new(DialStarted) },
	func() Event { return new(GatewayReached) },
	func() Event { return new(GatewayGreeted) },
	func() Event { return new(DialFailed) },
	func() Event { return new(SessionOpened) },
	func() Event { return new(SessionStale) },
	func() Event { return new(SessionFresh) },
	func() Event { return new(SessionLost) },
	func() Event { return new(BreakerOpened) },
	func() Event { return new(BreakerClosed) },
	func() Event { return new(Stopped) },
	func() Event { return new(ClockJumped) },
	func() Event { return new(LoginNeeded) },
	func() Event { return new(PortChanged) },
	func() Event { return new(LinkWentDown) },
	func() Event { return new(LinkCameBack) },
	func() Event { return new(LinkProven) },
	func() Event { return new(LinkFellSilent) },
	func() Event { return new(FarmChanged) },
	func() Event { return new(CompetingBegan) },
	func() Event { return new(CompetingEnded) },
	func() Event { return new(PacingReduced) },
	func() Event { return new(PacingRestored) },
	func() Event { return new(HeartbeatAnswered) },
	func() Event { return new(HeartbeatMissed) },
	func() Event { return new(LinkAnswered) },
	func() Event { return new(LinkMissed) },
	func() Event { return new(GatewayReported) },
	func() Event { return new(GatewayRepeated) },
	func() Event { return new(FrameRefused) },
	func() Event { return new(SessionAbandoned) },
	func() Event { return new(LogDamaged) },
	func() Event { return new(CommandAccepted) },
	func() Event { return new(CommandRejected) },
	func() Event { return new(CommandBegun) },
	func() Event { return new(CommandCompleted) },
	func() Event { return new(CommandFailed) },
	func() Event { return new(SubscriptionAdded) },
	func() Event { return new(SubscriptionJoined) },
	func() Event { return new(SubscriptionLeft) },
	func() Event { return new(SubscriptionCancelled) },
	func() Event { return new(SubscriptionPlacement) },
	func() Event { return new(SubscriptionDelivered) },
	func() Event { return new(SubscriptionFellSilent) },
	func() Event { return new(SubscriptionRefused) },
	func() Event { return new(SubscriptionHours) },
	func() Event { return new(GapDetected) },
	func() Event { return new(GapFilled) },
	func() Event { return new(GapUnfillable) },
}

var byType = func() map[Type]func() Event {
	m := make(map[Type]func() Event, len(prototypes))
	for _, p := range prototypes {
		m[p().Type()] = p
	}
	return m
}()
