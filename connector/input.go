package connector

import (
	"time"

	"ibconn/events"
)

// Input is something that may move a connection: a fact observed, a command,
// or the passing of time. Facts about an attempt carry its number, and a fact
// about any attempt but the present one is ignored: it is late news.
//
//sumtype:decl
type Input interface{ isInput() }

// Started is the first input of every run. What the log says was going on is
// over, since the process that did it is gone; Started makes the log say so.
type Started struct {
	// LastEventAt is when the process before this one wrote its last event,
	// heartbeats included; zero when there was none.
	LastEventAt time.Time
}

// Reached says that TCP to the gateway is open.
type Reached struct {
	Attempt uint64
	Remote  string // the address that accepted
}

// Greeted says that the gateway answered the API handshake.
type Greeted struct {
	Attempt       uint64
	ServerVersion int
	GatewayTime   string
}

// Opened says that everything a ready session takes has come: the handshake,
// nextValidId, managedAccounts and one answer to reqCurrentTime.
type Opened struct {
	Attempt     uint64
	Accounts    []string // as the gateway sent them
	NextValidID int64
	Answer      Answer // to that reqCurrentTime
}

// Answer is the gateway's reply to one reqCurrentTime.
type Answer struct {
	SentAt     time.Time // when the request left
	ReceivedAt time.Time // when the reply came
	Gateway    time.Time // what it said, in whole seconds
}

// Ended says that an attempt's socket or session is over.
type Ended struct {
	Attempt uint64
	Cause   events.Cause
	Detail  string // the system's words
	Record  FlightRecord
}

// FlightRecord is what a session's tap saw: counts, and the last frames.
type FlightRecord struct {
	Traffic events.Traffic
	Frames  []events.FlightFrame
	// Unacked is how many segments of ours the gateway's host has not
	// acknowledged though they were sent again, where the system tells: it is what tells a network that is
	// gone from a gateway that is frozen.
	Unacked int
}

// Answered says that a heartbeat probe was answered.
type Answered struct {
	Attempt uint64
	Number  uint64 // the probe's
	Answer  Answer
	Load    events.Load // of the session; the runner fills it in
}

// Probed says that a heartbeat probe left for the gateway. It may have waited for
// its turn.
type Probed struct {
	Attempt uint64
	Number  uint64
	At      time.Time
}

// Noticed says that the gateway sent an error or a notice.
type Noticed struct {
	Attempt    uint64
	RequestID  int64
	Code       int
	Message    string
	ReportedAt time.Time // the gateway's own time of it; zero when it sent none
}

// Passed says what became of a message that was to be sent.
type Passed struct {
	Attempt uint64
	ID      int64 // the message's
	Outcome Outcome
	At      time.Time
}

// Found says that IB's servers answered a search for symbols.
type Found struct {
	Attempt uint64
	ID      int64     // the message's that asked
	SentAt  time.Time // when that left
	At      time.Time // when the answer came
	Count   int       // of the contracts in it
}

// Described says which contracts fit a description that was asked for: all of
// them came.
type Described struct {
	Attempt   uint64
	ID        int64                    // the message's that asked
	Contracts []events.ContractDetails // the first of them, [MaxDescribed] at most
	Total     int                      // how many came
}

// MaxDescribed is how many of the contracts that fit one description are kept.
// IB lists a whole chain of options where it is asked to.
const MaxDescribed = events.MaxCandidates

// Brought says which bars a query for the past is answered with: all of them
// came.
type Brought struct {
	Attempt uint64
	ID      int64        // the message's that asked
	Bars    []events.Bar // the first of them, [MaxBrought] at most
	Total   int          // how many came
}

// MaxBrought is how many bars of one answer are kept: what a query may be for,
// and what a session more than a day long may add.
const MaxBrought = events.MaxBars + 100

// Arrived says that data of a subscription came: the first since it was placed,
// or the first after a silence.
type Arrived struct {
	Attempt uint64
	ID      int64 // it was placed under
	At      time.Time
}

// BarsCame says that bars of a subscription came: one that is finished, of
// real-time bars; of bars that are kept up to date the past ones all at once, the
// last of them unfinished, and then that one again and again, until another
// begins.
type BarsCame struct {
	Attempt uint64
	ID      int64 // it was placed under
	At      time.Time
	Bars    []events.Bar
	Past    bool // these are the past ones
}

// Refused says that the safety catch kept a message from the gateway. It is
// taken whatever the attempt: what somebody tried to send must not go unseen.
type Refused struct {
	Attempt   uint64
	MessageID int
	Name      string
	Size      int
}

// Abandoned says that the API library did not let go of a session in time. It
// comes, and is taken, when its attempt is long over.
type Abandoned struct {
	Attempt uint64
	Waited  time.Duration
	Total   uint64 // of this process so far
}

// Commanded says that a command came. Its ID is never empty, and its verb is
// one that changes something.
type Commanded struct {
	ID     string
	Verb   events.Verb
	Reason string

	Subscribe *Subscribing // of the verb subscribe
	Cancel    *Cancelling  // of the verb cancel
}

// Controlled says what became of the control command that was under way: what
// IBC said to it, or why it failed.
type Controlled struct {
	CommandID string
	Said      string
	Failure   *events.AnswerError // nil when it was done
}

// Jumped says that the wall clock moved otherwise than time passed.
type Jumped struct{ By time.Duration }

// Damaged says that the log does not hold what it must hold.
type Damaged struct{ Damage events.LogDamaged }

// ShutDown says that the process is to end.
type ShutDown struct{ Reason string }

// Woke says that time has passed. It also carries what the present attempt's
// tap has seen, for a decision that hangs on silence and for the record of a
// session that the decision ends.
type Woke struct {
	Record FlightRecord
	// ProbedAt is when the probe that is owed an answer was sent; zero while
	// it was not. A probe that goes out late, because we were held up, has as
	// long as any other to be answered.
	ProbedAt time.Time
	// Load is the session's, once that probe is due to have been answered.
	Load events.Load
	// LinkProbedAt is when the probe of the link that is owed an answer was
	// sent; zero while it was not.
	LinkProbedAt time.Time
	// Quiet are the subscriptions of which too little was heard.
	Quiet []Quiet
	// Held says until when IB's pacing rules keep a subscription from being
	// placed.
	Held map[string]time.Time
	// Freed is when a subscription gave something back that the gateway has few of,
	// and nobody took it since; zero when none did.
	Freed time.Time
}

func (Started) isInput()   {}
func (Reached) isInput()   {}
func (Greeted) isInput()   {}
func (Opened) isInput()    {}
func (Ended) isInput()     {}
func (Answered) isInput()  {}
func (Noticed) isInput()   {}
func (Probed) isInput()    {}
func (Passed) isInput()    {}
func (Found) isInput()     {}
func (Described) isInput() {}
func (Brought) isInput()   {}
func (Arrived) isInput()   {}
func (BarsCame) isInput()  {}
func (Refused) isInput()   {}
func (Abandoned) isInput() {}
func (Commanded) isInput() {}
func (Jumped) isInput()    {}
func (Damaged) isInput()   {}
func (ShutDown) isInput()  {}
func (Woke) isInput()      {}

func (Controlled) isInput() {}
