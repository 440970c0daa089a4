package events

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
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

	// What the command contract is answered with.

	ErrorAmbiguous    ErrorCode = "ambiguous"     // several contracts fit the description
	ErrorNotFound     ErrorCode = "not_found"     // no contract fits the description, and IB's servers were reached
	ErrorUnavailable  ErrorCode = "unavailable"   // whether there is one cannot be known now: ask again later
	ErrorNotReady     ErrorCode = "not_ready"     // there is no session: ask again once there is
	ErrorTimeout      ErrorCode = "timeout"       // it was asked for, and no answer came in time
	ErrorExpired      ErrorCode = "expired"       // its time was over before the message budget let it leave
	ErrorQueueFull    ErrorCode = "queue_full"    // too many messages wait for the message budget
	ErrorSessionLost  ErrorCode = "session_lost"  // the session ended before the answer came
	ErrorGatewayError ErrorCode = "gateway_error" // the gateway answered with another error

	// What the command history is answered with, besides those.

	ErrorTooLarge     ErrorCode = "too_large"     // it is for more bars than fit one answer, or than can be asked for at all
	ErrorTooOld       ErrorCode = "too_old"       // IB keeps bars so small for a shorter time, or a gap lies further back than is filled
	ErrorCancelled    ErrorCode = "cancelled"     // a command cancel ended it
	ErrorPacing       ErrorCode = "pacing"        // IB's rules on history do not let it go in time
	ErrorNotPermitted ErrorCode = "not_permitted" // the account has no permission for the data

	// What the command subscribe is answered with, besides those, and why a gap
	// is not filled.

	ErrorNameTaken ErrorCode = "name_taken" // another subscription has the name
	ErrorTooMany   ErrorCode = "too_many"   // there are as many as can be kept
	ErrorNoData    ErrorCode = "no_data"    // IB has nothing for it
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
	// duration ("5s"), at most a minute, and six hours for history. Without it
	// the answer comes at once; to contract, within [ContractWait], and to
	// history, within [HistoryWait], or six hours where it is streamed.
	Wait Wait `json:"wait,omitzero"`
	// Contract is what the commands contract, history and subscribe are about, and
	// no other command takes:
	// a short form as a string ("AAPL", "ES@CME 202612"), or an object.
	Contract Contract `json:"contract,omitzero"`
	// Query is the id of the history that the command cancel ends.
	Query string `json:"query,omitempty"`
	// Stream has history answer with several replies: the bars as they come, in
	// parts, word of how far it is every 10 seconds at least, and an answer that
	// ends it. Who asks for more than [MaxBars] bars needs it.
	Stream bool `json:"stream,omitempty"`
	// The next are for the commands history, which needs duration and bar_size,
	// and, but for the end, subscribe. The id of a history names it, for cancel,
	// while it is under way.
	BarQuery
	// Kind is what subscribe is to deliver, and the next are its options: see
	// [Feed].
	Kind           SubscriptionKind `json:"kind,omitempty"`
	GenericTicks   string           `json:"generic_ticks,omitempty"`
	MarketDataType string           `json:"market_data_type,omitempty"`
	// Name is what the subscription is to be called, where it does not exist; one
	// is made from its contract otherwise. A token of a-z, 0-9 and '-', at most 64
	// characters.
	Name string `json:"name,omitempty"`
	// Priority is when subscribe is placed in a new session: high before normal
	// before low.
	Priority SubscriptionPriority `json:"priority,omitempty"`
	// DarkAfter is how long its data may stay away while its market is open,
	// before that is told, and it is placed again: a Go duration, 5s to 24h.
	// Without it that is as long as its kind has.
	DarkAfter DarkAfter `json:"dark_after,omitzero"`
	// Caller is who subscribes or cancels: a token as the name; without it
	// "default". Each counts once, and a subscription has at most 100.
	Caller string `json:"caller,omitempty"`
	// Subscription is the name of the one to cancel, and All says that it is, for
	// whoever wants it.
	Subscription string `json:"subscription,omitempty"`
	All          bool   `json:"all,omitempty"`
}

// DefaultCaller is the caller of a request that names none.
const DefaultCaller = "default"

// Feed returns what a subscribe request asks for, its contract as it was asked
// for.
func (r Request) Feed() Feed {
	return Feed{
		Kind: r.Kind, Contract: r.Contract, What: r.What, RTH: r.RTH, BarSize: r.BarSize, Duration: r.Duration,
		GenericTicks: r.GenericTicks, MarketDataType: r.MarketDataType,
	}.WithDefaults()
}

// DarkAfter is how long data may stay away, as a request words it.
type DarkAfter time.Duration

// What a [DarkAfter] may be.
const (
	MinDarkAfter = DarkAfter(5 * time.Second)
	MaxDarkAfter = DarkAfter(24 * time.Hour)
)

// MarshalText words d as Go does.
func (d DarkAfter) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads a Go duration from [MinDarkAfter] to [MaxDarkAfter].
func (d *DarkAfter) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || DarkAfter(v) < MinDarkAfter || DarkAfter(v) > MaxDarkAfter {
		return fmt.Errorf("dark_after %.40q: want a duration such as \"30s\", 5s to 24h", text)
	}
	*d = DarkAfter(v)
	return nil
}

// Wait is a duration as a request words it.
type Wait time.Duration

// MaxWait is the longest a command may wait for its outcome, and
// MaxHistoryWait the longest that history may.
const (
	MaxWait        = Wait(time.Minute)
	MaxHistoryWait = Wait(6 * time.Hour)
)

// MaxWait is the longest that v may wait for its outcome.
func (v Verb) MaxWait() Wait {
	if v == VerbHistory {
		return MaxHistoryWait
	}
	return MaxWait
}

// ContractWait is how long the command contract waits for IB's answer, where
// its request does not say.
const ContractWait = Wait(10 * time.Second)

// MaxCandidates is how many candidates an answer lists at most.
const MaxCandidates = 50

// MarshalText words w as Go does.
func (w Wait) MarshalText() ([]byte, error) { return []byte(time.Duration(w).String()), nil }

// UnmarshalText reads a Go duration from 0 to [MaxHistoryWait].
func (w *Wait) UnmarshalText(text []byte) error {
	return (&boundedWait{w, MaxHistoryWait}).UnmarshalText(text)
}

// boundedWait is a Wait that may be so long at most.
type boundedWait struct {
	*Wait
	most Wait
}

// UnmarshalText reads a Go duration from 0 to the most.
func (w *boundedWait) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("wait %.40q: want a duration such as \"5s\"", text)
	}
	if d < 0 || Wait(d) > w.most {
		return fmt.Errorf("wait %.40q: want 0s to %v", text, time.Duration(w.most))
	}
	*w.Wait = Wait(d)
	return nil
}

// ParseRequest reads the payload of a command that takes no fields of its own,
// strictly: a field that is unknown, stands twice or is no string, anything
// after the object, and a value out of range are errors that name what was
// found. Account ids in the reason are masked.
func ParseRequest(payload []byte) (Request, error) { return Verb("").ParseRequest(payload) }

// ParseRequest reads the payload of the command v, as [ParseRequest] does, and
// with it the fields that v alone takes and needs.
func (v Verb) ParseRequest(payload []byte) (Request, error) {
	if len(payload) > MaxRequestSize {
		return Request{}, fmt.Errorf("payload of %d bytes: want at most %d", len(payload), MaxRequestSize)
	}
	var r Request
	if len(bytes.TrimSpace(payload)) > 0 {
		var err error
		if r, err = parseRequest(v, payload); err != nil {
			return Request{}, fmt.Errorf("payload is not a request: %w", err)
		}
	}
	if err := r.check(v); err != nil {
		return Request{}, fmt.Errorf("payload is not a request: %w", err)
	}
	r.Reason = MaskAccounts(r.Reason)
	return r, nil
}

// check says what v cannot do with r.
func (r Request) check(v Verb) error {
	if v.ofContract() && r.Contract == (Contract{}) {
		return errors.New("contract is missing: " + shortForms)
	}
	switch {
	case v == VerbHistory:
		return r.CheckBars()
	case v == VerbSubscribe:
		return cmp.Or(r.Feed().Check(), tokenIn("name", r.Name), tokenIn("caller", r.Caller), r.checkPriority())
	case v == VerbCancel && (r.Subscription == "") == (r.Query == ""):
		return errors.New("want one of subscription, the name of one that the command subscriptions lists, and query, the id of a history that is under way")
	case v == VerbCancel && r.Query != "" && (r.Caller != "" || r.All):
		return errors.New("caller and all are for a subscription, not for a query")
	case v == VerbCancel:
		return cmp.Or(tokenIn("subscription", r.Subscription), tokenIn("caller", r.Caller))
	}
	return nil
}

func (r Request) checkPriority() error {
	if r.Priority == "" {
		return nil
	}
	return oneOf("priority", string(r.Priority), strings.Split(wordsOf(SubscriptionPriorities), ", "))
}

func tokenIn(field, value string) error {
	if value == "" {
		return nil
	}
	if err := CheckSubscriptionName(value); err != nil {
		return fmt.Errorf("%s %w", field, err)
	}
	return nil
}

// ofContract says whether v is about a contract.
func (v Verb) ofContract() bool {
	return v == VerbContract || v == VerbHistory || v == VerbSubscribe
}

func parseRequest(v Verb, payload []byte) (r Request, err error) {
	if !utf8.Valid(payload) {
		return r, errors.New("not UTF-8")
	}
	fields := []field{{"id", &r.ID}, {"reason", &r.Reason}, {"wait", &boundedWait{&r.Wait, v.MaxWait()}}}
	if v.ofContract() {
		fields = append(fields, field{"contract", &r.Contract})
	}
	if v == VerbHistory || v == VerbSubscribe {
		fields = append(fields, field{"duration", &r.Duration}, field{"bar_size", &r.BarSize}, field{"what", &r.What}, field{"rth", &r.RTH})
	}
	switch v {
	case VerbHistory:
		fields = append(fields, field{"end", &r.End}, field{"stream", &r.Stream})
	case VerbSubscribe:
		fields = append(fields, field{"kind", &r.Kind}, field{"generic_ticks", &r.GenericTicks}, field{"market_data_type", &r.MarketDataType},
			field{"name", &r.Name}, field{"priority", &r.Priority}, field{"dark_after", &r.DarkAfter}, field{"caller", &r.Caller})
	case VerbCancel:
		fields = append(fields, field{"query", &r.Query}, field{"subscription", &r.Subscription}, field{"caller", &r.Caller}, field{"all", &r.All})
	default:
	}
	if err := parseObject(payload, fields); err != nil {
		return r, err
	}
	if n := utf8.RuneCountInString(r.ID); n > MaxIDLength {
		return r, fmt.Errorf("id of %d characters: want at most %d", n, MaxIDLength)
	}
	if n := utf8.RuneCountInString(r.Query); n > MaxIDLength {
		return r, fmt.Errorf("query of %d characters: want at most %d", n, MaxIDLength)
	}
	if n := utf8.RuneCountInString(r.Reason); n > MaxReasonLength {
		return r, fmt.Errorf("reason of %d characters: want at most %d", n, MaxReasonLength)
	}
	return r, nil
}

// field is one that an object may have: its name, and where its value goes.
type field struct {
	name string
	into any
}

// parseObject reads a JSON object that has nothing but these fields, each once
// at most.
func parseObject(object []byte, fields []field) error {
	// The whole syntax first: the errors of the tokens below say less.
	var whole json.RawMessage
	if err := json.Unmarshal(object, &whole); err != nil {
		return err
	}
	// Token by token, because a struct would take "ID" for "id" and the last of
	// two fields for the only one.
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errors.New("want a JSON object")
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		if err := parseField(d, fields, fmt.Sprint(name)); err != nil {
			return err
		}
	}
	return nil
}

// parseField reads the value of one field into where fields says, and crosses
// it off.
func parseField(d *json.Decoder, fields []field, name string) error {
	i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
	switch {
	case i < 0:
		return fmt.Errorf("unknown field %.40q: want %s", name, namesOf(fields))
	case fields[i].into == nil:
		return fmt.Errorf("%s stands twice", name)
	}
	into := fields[i].into
	fields[i].into = nil
	var value json.RawMessage
	if err := d.Decode(&value); err != nil {
		return err
	}
	kind := value[0]
	switch into := into.(type) {
	case *Contract:
		return parseContractValue(value, into)
	case *int64:
		if err := json.Unmarshal(value, into); err != nil || kind == 'n' {
			return fmt.Errorf("%s %.40s: want a whole number", name, value)
		}
		return nil
	case *bool:
		if kind != 't' && kind != 'f' {
			return fmt.Errorf("%s: want true or false", name)
		}
	default:
		if kind != '"' {
			return fmt.Errorf("%s: want a JSON string", name)
		}
	}
	if at, ok := into.(*time.Time); ok {
		var text string
		err := json.Unmarshal(value, &text)
		if err == nil {
			*at, err = parseEnd(text)
		}
		return err
	}
	return json.Unmarshal(value, into)
}

func parseContractValue(value json.RawMessage, into *Contract) (err error) {
	text := string(value)
	switch value[0] {
	case '{':
	case '"':
		if err := json.Unmarshal(value, &text); err != nil {
			return err
		}
	default:
		return errors.New("contract: want a JSON string or object")
	}
	*into, err = ParseContract(text)
	return err
}

// namesOf lists fields as a sentence does.
func namesOf(fields []field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
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

	// The next are in the answer to contract only.

	Contracts  []ContractDetails `json:"contracts,omitempty"`  // the contract that was asked for, qualified: one
	Candidates []Contract        `json:"candidates,omitempty"` // those that an ambiguous description fits, at most 50
	More       int               `json:"more,omitempty"`       // how many more candidates there are
	Cached     bool              `json:"cached,omitempty"`     // it was remembered from an earlier answer, and IB not asked again

	// The next are in the answer to history only.

	What    string    `json:"what,omitempty"`     // what the bars are of
	BarSize string    `json:"bar_size,omitempty"` // how long they are
	Bars    []Bar     `json:"bars,omitempty"`     // the oldest first
	NoData  bool      `json:"no_data,omitempty"`  // IB has no bars for the query
	RetryAt time.Time `json:"retry_at,omitzero"`  // when IB's rules let such a query go, where they do not let this one

	// And the next in the replies of a history that is streamed; done and chunks
	// also in the error that ends a long one.

	Query      string    `json:"query,omitempty"`      // its id, for cancel
	Part       int       `json:"part,omitempty"`       // which part of the bars this is, from 1
	Parts      int       `json:"parts,omitempty"`      // how many parts came, in the answer that ends it
	BarCount   int       `json:"bar_count,omitempty"`  // how many bars came so far
	Done       int       `json:"done,omitempty"`       // how many of the requests that it takes IB has answered,
	Chunks     int       `json:"chunks,omitempty"`     // and how many it takes
	NextAt     time.Time `json:"next_at,omitzero"`     // when IB's rules let the next of them go, as far as can be known, where it waits for that
	ExpectedAt time.Time `json:"expected_at,omitzero"` // when they let the last one go, as far as can be known

	// The next are in the answers to subscribe, cancel and subscriptions. Hours
	// are left out of them.

	Subscription  *Subscription  `json:"subscription,omitempty"` // the one that the command was about, as it stands
	Subjects      []string       `json:"subjects,omitempty"`     // where its data comes
	Subscriptions []Subscription `json:"subscriptions,omitzero"` // all, in the order of their names

	// The rest is in the answer to status only, but for the time.

	AsOf    time.Time `json:"as_of,omitzero"`      // the time of answering; in the answers to contract and history, of IB's answer
	Uptime  Millis    `json:"uptime_ms,omitempty"` // how long the session has been ready
	Traffic *Traffic  `json:"traffic,omitempty"`   // of the session that is up
	State   *State    `json:"state,omitempty"`     // what the log says, folded
	Pool    *Pool     `json:"pool,omitempty"`      // instead of the state, when connection is the name of a pool
	Relay   *Relay    `json:"relay,omitempty"`     // how far its log has come to the hub, where there is one
	Version string    `json:"version,omitempty"`   // the program's version
}

// AnswerStatus says how far a command is.
type AnswerStatus string

// The statuses of answers.
const (
	StatusAccepted  AnswerStatus = "accepted"  // recorded; the outcome will be an event
	StatusCompleted AnswerStatus = "completed" // done
	StatusFailed    AnswerStatus = "failed"    // will not be done

	// What follows is not the last reply of a command.

	StatusPartial AnswerStatus = "partial" // a part of what was asked for
	StatusWaiting AnswerStatus = "waiting" // IB's rules do not let it go yet
	StatusWorking AnswerStatus = "working" // the gateway was asked
)

// Interim says whether other replies to the same command follow a.
func (a Answer) Interim() bool {
	return a.OK && (a.Status == StatusPartial || a.Status == StatusWaiting || a.Status == StatusWorking)
}

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
