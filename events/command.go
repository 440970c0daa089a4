package events

import "cmp"

// Verb names a command.
type Verb string

// The commands; [Verb.Purpose] says what each is for.
const (
	VerbStatus     Verb = "status"
	VerbReconnect  Verb = "reconnect"
	VerbConnect    Verb = "connect"
	VerbDisconnect Verb = "disconnect"
	VerbContract   Verb = "contract"
	VerbHistory    Verb = "history"

	VerbSubscribe     Verb = "subscribe"
	VerbCancel        Verb = "cancel"
	VerbSubscriptions Verb = "subscriptions"

	// The control commands; see [Verb.Control].
	VerbReconnectData    Verb = "reconnect-data"
	VerbReconnectAccount Verb = "reconnect-account"
	VerbRestartGateway   Verb = "restart-gateway"
)

// Verbs lists every command.
var Verbs = []Verb{
	VerbStatus, VerbReconnect, VerbConnect, VerbDisconnect, VerbContract, VerbHistory,
	VerbSubscribe, VerbCancel, VerbSubscriptions,
	VerbReconnectData, VerbReconnectAccount, VerbRestartGateway,
}

// Control says whether v is a control command: one that IBC, the program that
// works the gateway's windows, carries out, and not the session. Such a command
// can be asked for in every phase, and there is none where IBC is not
// configured.
func (v Verb) Control() bool {
	switch v {
	case VerbReconnectData, VerbReconnectAccount, VerbRestartGateway:
		return true
	case VerbStatus, VerbReconnect, VerbConnect, VerbDisconnect, VerbContract, VerbHistory,
		VerbSubscribe, VerbCancel, VerbSubscriptions:
	}
	return false
}

// Purpose says in words what v is for.
func (v Verb) Purpose() string {
	switch v {
	case VerbStatus:
		return "what is true now; changes nothing"
	case VerbReconnect:
		return "end the session, if any, and open a new one at once"
	case VerbConnect:
		return "be connected: undo disconnect, or force a probe of an open breaker"
	case VerbDisconnect:
		return "end the session and stay away until connect"
	case VerbContract:
		return "which contract a description means, and all that IB knows of it; changes nothing"
	case VerbHistory:
		return "bars of the past of a contract, in several replies where \"stream\" is set; changes nothing"
	case VerbSubscribe:
		return "have data of a contract delivered until it is cancelled, over restarts and sessions; the same again is one"
	case VerbCancel:
		return "want a subscription no longer, which ends when its last caller did; or end a history that is under way, by its id"
	case VerbSubscriptions:
		return "what is subscribed to, and how that stands; changes nothing"
	case VerbReconnectData:
		return "have IBC reconnect the gateway to the data farms (its Ctrl-Alt-F)"
	case VerbReconnectAccount:
		return "have IBC reconnect the gateway to its account (its Ctrl-Alt-R)"
	case VerbRestartGateway:
		return "have IBC restart the gateway; mostly by its stored auto-restart time, which stays at that minute for every day to come"
	}
	return ""
}

// CommandAccepted says that a command was taken and will have an outcome. It
// is stored before the command is acknowledged.
type CommandAccepted struct {
	CommandID string `json:"command_id"`
	Verb      Verb   `json:"verb"`
	Reason    string `json:"reason,omitempty"` // the sender's own words
	// UnderWay is set when what the command asks for was already being done:
	// an attempt was running.
	UnderWay bool `json:"under_way,omitempty"`
}

// CommandRejected says that a well-formed command cannot be done as things
// stand.
type CommandRejected struct {
	CommandID string    `json:"command_id"`
	Verb      Verb      `json:"verb"`
	Code      ErrorCode `json:"code"`
	Message   string    `json:"message"`
}

// CommandBegun says that IBC is about to be asked for a control command. It is
// stored before the first byte is sent, so that no command is asked for twice:
// one that was begun by a process that ended is not begun again.
type CommandBegun struct {
	CommandID string `json:"command_id"`
	Verb      Verb   `json:"verb"`
}

// CommandCompleted says that a command reached what it was for; a control
// command, that IBC took it, which is all that IBC tells.
type CommandCompleted struct {
	CommandID string `json:"command_id"`
	Verb      Verb   `json:"verb"`
	Took      Millis `json:"took_ms"`        // since it was accepted
	Said      string `json:"said,omitempty"` // IBC's own words, when it had any
}

// CommandFailed says that a command will not reach what it was for.
type CommandFailed struct {
	CommandID string    `json:"command_id"`
	Verb      Verb      `json:"verb"`
	Code      ErrorCode `json:"code"`
	Message   string    `json:"message"`
	Took      Millis    `json:"took_ms"`
}

// Type returns the event's type.
func (*CommandAccepted) Type() Type  { return "ib.conn.command.accepted" }
func (*CommandRejected) Type() Type  { return "ib.conn.command.rejected" }
func (*CommandBegun) Type() Type     { return "ib.conn.command.begun" }
func (*CommandCompleted) Type() Type { return "ib.conn.command.completed" }
func (*CommandFailed) Type() Type    { return "ib.conn.command.failed" }

func (e *CommandAccepted) check() error {
	return cmp.Or(given(e.CommandID != "", "command_id"), given(e.Verb != "", "verb"))
}

func (e *CommandRejected) check() error {
	return cmp.Or(given(e.CommandID != "", "command_id"), given(e.Verb != "", "verb"), given(e.Code != "", "code"))
}

func (e *CommandBegun) check() error {
	return cmp.Or(given(e.CommandID != "", "command_id"), given(e.Verb != "", "verb"))
}

func (e *CommandCompleted) check() error { return given(e.CommandID != "", "command_id") }

func (e *CommandFailed) check() error {
	return cmp.Or(given(e.CommandID != "", "command_id"), given(e.Code != "", "code"))
}
