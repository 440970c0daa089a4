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
)

// Verbs lists every command.
var Verbs = []Verb{VerbStatus, VerbReconnect, VerbConnect, VerbDisconnect}

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

// CommandCompleted says that a command reached what it was for.
type CommandCompleted struct {
	CommandID string `json:"command_id"`
	Verb      Verb   `json:"verb"`
	Took      Millis `json:"took_ms"` // since it was accepted
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
func (*CommandCompleted) Type() Type { return "ib.conn.command.completed" }
func (*CommandFailed) Type() Type    { return "ib.conn.command.failed" }

func (e *CommandAccepted) check() error {
	return cmp.Or(given(e.CommandID != "", "command_id"), given(e.Verb != "", "verb"))
}

func (e *CommandRejected) check() error {
	return cmp.Or(given(e.CommandID != "", "command_id"), given(e.Verb != "", "verb"), given(e.Code != "", "code"))
}

func (e *CommandCompleted) check() error { return given(e.CommandID != "", "command_id") }

func (e *CommandFailed) check() error {
	return cmp.Or(given(e.CommandID != "", "command_id"), given(e.Code != "", "code"))
}
