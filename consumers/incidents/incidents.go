// Package incidents groups the events of connections into incidents: the
// stretches in which one was not healthy, each with its root cause and what
// came of it.
//
// The one idea: an incident is a fold. It opens with the event that takes the
// condition from healthy to something else, and closes with the one that takes
// it back, or stops the connection; what goes wrong in between is a consequence
// and nested in it, and never an incident of its own.
//
//	var fold incidents.Fold
//	for each event of a connection, oldest first {
//		for _, c := range fold.Add(r) { fmt.Println(c.Kind, c.Incident.Root.Words) }
//	}
//
// A [Keeper] runs a fold for each connection of the log and publishes what
// changes on ib.incident.<connection>.opened, updated and closed, each change
// once, whoever else does and however often it is killed.
//
//	k := &incidents.Keeper{Log: log, Store: store}
//	go k.Run(ctx)
//
// Guarantees:
//   - What a Fold returns follows from the events alone: no clock, no dice. And
//     it follows from those that are never dropped: heartbeats only bring the news
//     sooner that an incident is over.
//   - Trouble that comes back within the settle time is the same incident: a
//     link that flaps, or that is said to be lost once in twenty seconds, is one.
//     But what was our own doing, a process that was killed, is over when it is.
//   - What is kept of a connection is bounded, however long its log is.
//
// # Non-obvious
//
//   - The first attempts of a connection are its start, and no outage. A start that
//     comes to nothing is one: once the breaker opens, a person has to look, or its
//     attempts fail for five minutes. Nor is there an incident for a stop or a
//     reconnect that was asked for; when the reconnect fails there is.
//   - That an incident is closed is said when the settle time is over, with the
//     time at which it ended.
//   - What is found first may be a symptom. Silence takes its cause from what it
//     turns out to be. A farm or a subscription that fails shortly before the link
//     or the session does is taken for a consequence of that.
//   - A trouble that is wider than the root cause, and comes too late to be what
//     was behind it, is no consequence: a subscription that is refused all day
//     must not hide that the link is lost at noon. So there may be two at once,
//     three at most; the widest that is open takes what else goes wrong.
//   - Data comes back, and gaps are filled, after the end: then there is an
//     "updated" after "closed".
package incidents

import (
	"time"

	"ibconn/events"
)

// DefaultSettle is for how long a connection must be healthy for an incident to
// be over.
const DefaultSettle = 30 * time.Second

const (
	// silenceHides is for how long a link or a gateway that fell silent may have
	// been gone before that was found.
	silenceHides = 10 * time.Minute
	// maxPast is how many incidents a Fold remembers.
	maxPast = 1000
	// maxSteps, maxStepNames and maxNames bound an incident's size.
	maxSteps     = 64
	maxStepNames = 10
	maxNames     = 50
	// firstAttempts is how many attempts are worth an update; then it is twice as
	// many each time.
	firstAttempts = 5
)

// Kind says what happened to an incident. It is the last token of the subject.
type Kind string

// The kinds of changes.
const (
	Opened  Kind = "opened"
	Updated Kind = "updated"
	Closed  Kind = "closed"
)

// State says whether an incident goes on.
type State string

// The states.
const (
	StateOpen   State = "open"
	StateClosed State = "closed"
)

// Incident is one stretch in which a connection was not healthy.
type Incident struct {
	ID         string              `json:"id"`     // the connection, and the sequence of the event that opened it: "main-41"
	Number     int                 `json:"number"` // from 1, in the order of beginning, per connection
	Connection events.ConnectionID `json:"connection"`
	State      State               `json:"state"`
	OpenedAt   time.Time           `json:"opened_at"`          // when it was noticed
	ClosedAt   time.Time           `json:"closed_at,omitzero"` // when the connection was healthy again, or stopped; absent while it is open
	AsOf       time.Time           `json:"as_of"`              // when the last event of it happened
	Worst      events.Condition    `json:"worst"`              // the worst condition in it: degraded or down
	Stopped    bool                `json:"stopped,omitempty"`  // it ended because the connection was stopped

	Root Step `json:"root"` // what all of it comes from, as far as that is known
	// Attribution is whose fault it is, so whom to call; login once the gateway
	// waits for a person; absent when not known.
	Attribution events.Attribution `json:"attribution,omitempty"`
	Window      string             `json:"window,omitempty"` // the maintenance window that the root cause fell into, as it is configured
	Chain       []Step             `json:"chain"`            // what came of it, in order, each once; 64 at most
	Attempts    int                `json:"attempts"`         // attempts to open a session made in it
	Returns     int                `json:"returns,omitempty"`

	// DetectedAfter is how long the trouble had been there at opened_at: how long
	// the gateway, or a subscription's data, had been silent, or no process there
	// to notice. 0 where it was noticed at once, or nobody can tell.
	DetectedAfter events.Millis `json:"detected_after_ms,omitempty"`
	// ReadyAt is when the session that was lost had been replaced, and ReadyAfter
	// how long that is after opened_at. Absent where none was lost, and until then.
	ReadyAt    time.Time     `json:"ready_at,omitzero"`
	ReadyAfter events.Millis `json:"ready_after_ms,omitempty"`
	// DataAt is when every subscription that delivered before, and stopped in it,
	// delivered again, but for those that were cancelled; DataAfter is how long
	// that is after opened_at, hours in which its market was closed included.
	// Absent where none stopped, and until then.
	DataAt    time.Time     `json:"data_at,omitzero"`
	DataAfter events.Millis `json:"data_after_ms,omitempty"`

	Subscriptions Affected `json:"subscriptions"`
	Gaps          Gaps     `json:"gaps"`
}

// Step is one thing that went wrong, however often it did.
type Step struct {
	Level   events.Level `json:"level"`
	What    What         `json:"what"`
	Cause   events.Cause `json:"cause,omitempty"` // of a lost session or a failed attempt
	Code    int          `json:"code,omitempty"`  // IB's code, where one said so
	Words   string       `json:"words"`           // the first of them, for a person
	Names   []string     `json:"names,omitempty"` // the farms or subscriptions, the first 10
	Count   int          `json:"count"`           // how often
	FirstAt time.Time    `json:"first_at"`
	LastAt  time.Time    `json:"last_at"`
}

// What names a kind of trouble.
type What string

// The kinds of trouble.
const (
	SessionStale       What = "session_stale"
	SessionLost        What = "session_lost"
	AttemptFailed      What = "attempt_failed"
	BreakerOpen        What = "breaker_open"
	PortMoved          What = "port_changed" // the gateway drops everybody for another port
	LoginNeeded        What = "login_needed"
	LinkDown           What = "link_down"
	LinkSilent         What = "link_silent"
	DataLost           What = "data_lost" // the link came back without the subscriptions
	FarmDown           What = "farm_down"
	CompetingSession   What = "competing_session"
	SubscriptionDark   What = "subscription_dark"
	SubscriptionFailed What = "subscription_failed"
)

// Affected says which subscriptions stopped to deliver, went dark or failed.
type Affected struct {
	Count int      `json:"count"`
	Names []string `json:"names,omitempty"` // in order, 50 at most
}

// Gaps counts stretches of missing bars that the incident's time lies in.
type Gaps struct {
	Detected   int `json:"detected"`
	Filled     int `json:"filled"`     // with what IB has of them
	Unfillable int `json:"unfillable"` // in part at least
}

// Open says whether i goes on as far as the events tell.
func (i Incident) Open() bool { return i.ClosedAt.IsZero() }

// Duration is how long i lasted, or has lasted as of its last event.
func (i Incident) Duration() time.Duration {
	if i.Open() {
		return i.AsOf.Sub(i.OpenedAt)
	}
	return i.ClosedAt.Sub(i.OpenedAt)
}

// Change is something that happened to an incident and is worth telling.
type Change struct {
	Kind     Kind
	Incident Incident // as it is then
	// Sequence is that of the event which led to it, or, of an incident that was
	// over for long enough, of the last event before that. Part tells changes of
	// the same sequence apart, from 1. Together they grow from change to change.
	Sequence uint64
	Part     int
}
