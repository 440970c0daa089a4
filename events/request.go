package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// MaxRequestSize is how many bytes a command's payload may have.
const MaxRequestSize = 64 << 10

// What a request's fields may hold, in characters.
const (
	MaxIDLength     = 64
	MaxReasonLength = 500
)

// ErrorCode names what was wrong with a command, for programs.
type ErrorCode string

// The error codes of answers.
const (
	ErrorBadRequest ErrorCode = "bad_request" // the payload is not what the command takes
	ErrorIDReused   ErrorCode = "id_reused"   // the id was used for another command before
	ErrorStopped    ErrorCode = "stopped"     // the connection is stopped; connect it first
	ErrorSuperseded ErrorCode = "superseded"  // a later command, or another writer, overtook it
	ErrorTripped    ErrorCode = "tripped"     // the circuit breaker opened before it was done
	ErrorShutdown   ErrorCode = "shutdown"    // the process is ending
	ErrorBusy       ErrorCode = "busy"        // too many commands are waiting
	ErrorInternal   ErrorCode = "internal"    // our fault

	ErrorNotConfigured  ErrorCode = "not_configured"  // it takes IBC, which is not configured for the connection
	ErrorGatewayRefused ErrorCode = "gateway_refused" // IBC was asked, and refused
	ErrorIBCUnreachable ErrorCode = "ibc_unreachable" // IBC could not be asked: nothing was done
	ErrorOutcomeUnknown ErrorCode = "outcome_unknown" // IBC was asked and did not answer: it may have been done
)

// Request is what a command takes, as JSON. An empty payload is an empty
// Request.
type Request struct {
	// ID makes the command idempotent: the same id again gets the same answer
	// and no second effect. At most 64 characters; one is made up when it is
	// empty. The header Nats-Msg-Id does the same.
	ID string `json:"id,omitempty"`
	// Reason is kept with the command's events. At most 500 characters.
	Reason string `json:"reason,omitempty"`
	// Wait is how long to wait for the outcome before answering, as a Go
	// duration ("5s"), at most a minute. Without it the answer comes at once.
	Wait Wait `json:"wait,omitzero"`
}

// Wait is a duration as a request words it.
type Wait time.Duration

// MaxWait is the longest a command may wait for its outcome.
const MaxWait = Wait(time.Minute)

// MarshalText words w as Go does.
func (w Wait) MarshalText() ([]byte, error) { return []byte(time.Duration(w).String()), nil }

// UnmarshalText reads a Go duration from 0 to [MaxWait].
func (w *Wait) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("wait %.40q: want a duration such as \"5s\"", text)
	}
	if d < 0 || Wait(d) > MaxWait {
		return fmt.Errorf("wait %.40q: want 0s to %v", text, time.Duration(MaxWait))
	}
	*w = Wait(d)
	return nil
}

// ParseRequest reads a command's payload strictly: a field that is unknown,
// stands twice or is no string, anything after the object, and a value out of
// range are errors that name what was found. Account ids in the reason are
// masked.
func ParseRequest(payload []byte) (Request, error) {
	if len(payload) > MaxRequestSize {
		return Request{}, fmt.Errorf("payload of %d bytes: want at most %d", len(payload), MaxRequestSize)
	}
	if len(bytes.TrimSpace(payload)) == 0 {
		return Request{}, nil
	}
	r, err := parseRequest(payload)
	if err != nil {
		return Request{}, fmt.Errorf("payload is not a request: %w", err)
	}
	r.Reason = MaskAccounts(r.Reason)
	return r, nil
}

func parseRequest(payload []byte) (r Request, err error) {
	if !utf8.Valid(payload) {
		return r, errors.New("not UTF-8")
	}
	// The whole syntax first: the errors of the tokens below say less.
	var whole json.RawMessage
	if err := json.Unmarshal(payload, &whole); err != nil {
		return r, err
	}
	// Token by token, because a struct would take "ID" for "id" and the last of
	// two fields for the only one.
	d := json.NewDecoder(bytes.NewReader(payload))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return r, errors.New("want a JSON object")
	}
	fields := map[string]any{"id": &r.ID, "reason": &r.Reason, "wait": &r.Wait}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return r, err
		}
		if err := parseField(d, fields, fmt.Sprint(name)); err != nil {
			return r, err
		}
	}
	if n := utf8.RuneCountInString(r.ID); n > MaxIDLength {
		return r, fmt.Errorf("id of %d characters: want at most %d", n, MaxIDLength)
	}
	if n := utf8.RuneCountInString(r.Reason); n > MaxReasonLength {
		return r, fmt.Errorf("reason of %d characters: want at most %d", n, MaxReasonLength)
	}
	return r, nil
}

// parseField reads the value of one field into where fields says, and crosses
// it off.
func parseField(d *json.Decoder, fields map[string]any, name string) error {
	into, known := fields[name]
	switch {
	case !known:
		return fmt.Errorf("unknown field %.40q: want id, reason or wait", name)
	case into == nil:
		return fmt.Errorf("%s stands twice", name)
	}
	fields[name] = nil
	var value json.RawMessage
	if err := d.Decode(&value); err != nil {
		return err
	}
	if value[0] != '"' {
		return fmt.Errorf("%s: want a JSON string", name)
	}
	return json.Unmarshal(value, into)
}

// Answer is what every command answers, as JSON.
type Answer struct {
	OK         bool         `json:"ok"`
	Status     AnswerStatus `json:"status,omitempty"`
	Connection ConnectionID `json:"connection,omitempty"`
	CommandID  string       `json:"command_id,omitempty"` // the causationid of the events it leads to
	AfterSeq   uint64       `json:"after_seq,omitempty"`  // the outcome is an event with a sequence above this one
	Error      *AnswerError `json:"error,omitempty"`      // present when OK is false
	Said       string       `json:"said,omitempty"`       // what IBC said to a control command, once that is known

	// The rest is in the answer to status only.

	AsOf    time.Time `json:"as_of,omitzero"`      // the time of answering
	Uptime  Millis    `json:"uptime_ms,omitempty"` // how long the session has been ready
	Traffic *Traffic  `json:"traffic,omitempty"`   // of the session that is up
	State   *State    `json:"state,omitempty"`     // what the log says, folded
	Pool    *Pool     `json:"pool,omitempty"`      // instead of the state, when connection is the name of a pool
	Version string    `json:"version,omitempty"`   // the program's version
}

// AnswerStatus says how far a command is.
type AnswerStatus string

// The statuses of answers.
const (
	StatusAccepted  AnswerStatus = "accepted"  // recorded; the outcome will be an event
	StatusCompleted AnswerStatus = "completed" // done
	StatusFailed    AnswerStatus = "failed"    // will not be done
)

// AnswerError says what was wrong with a command.
type AnswerError struct {
	Code    ErrorCode `json:"code"`
	Message string    `json:"message"`
}

// Error returns the message.
func (e *AnswerError) Error() string { return e.Message }

// Refuse returns the answer to a command that was not taken.
func Refuse(c ConnectionID, code ErrorCode, message string) Answer {
	return Answer{Connection: c, Error: &AnswerError{Code: code, Message: message}}
}
