package scenario

import (
	"time"

	"ibconn/connector"
	"ibconn/events"
)

// World is where a scenario is played: what its phrases do, and what came of
// them. Each method returns when all is done that it leads to at that time.
type World interface {
	// Start starts a process, which goes by the log, whatever that holds.
	Start()
	// Kill ends the process that runs, without a last word.
	Kill()
	// Command is what an operator asks of the process that runs.
	Command(id string, verb events.Verb, reason string)
	// PassTo lets the time pass until at, and what is due on the way happen.
	PassTo(at time.Time)
	// Jump moves the wall clock, and nothing else.
	Jump(by time.Duration)

	// Meet changes how the gateways meet the present attempt and later ones.
	Meet(m Manners)
	// Answer is how long the gateway takes from now on to answer a heartbeat
	// probe; below 0 it answers nothing at all. With streams set, other data
	// comes all the time. A probe of the link it answers at once.
	Answer(after time.Duration, streams bool)
	// Link takes the gateway's link to IB away, or gives it back, without a word
	// of the gateway's.
	Link(up bool)
	// Say makes the gateway say something in the present session.
	Say(code int, text string)
	// Close and Reset end the present session, or attempt, from the gateway's
	// side.
	Close()
	Reset()
	// CloseAgain brings the news that the gateway closed an attempt which is
	// over.
	CloseAgain(attempt uint64)

	// Now returns what the wall clock says.
	Now() time.Time
	// Wires returns all that was recorded, oldest first.
	Wires() [][]byte
	// State returns where the connection stands, or stood when its process
	// was killed.
	State() events.State
	// End ends the world, and fails the test if what was recorded or what is
	// left is not as it must be.
	End()
}

// Reach is how far a gateway lets attempts come.
type Reach int

// The reaches.
const (
	Lost     Reach = iota // what is sent to it is lost on the way
	Refused               // nothing listens
	Accepted              // it accepts, and says nothing
	HungUp                // it accepts, and closes
	Greeted               // it answers with its version, and says nothing more
	Denied                // it greets, and the client id is taken
	Opened                // a session opens
)

// Manner is how a gateway meets attempts.
type Manner struct {
	Reach Reach
	Taken int64 // with Denied the client id that is taken; others open
}

// Manners says for endpoints, and with "" for any other, how the gateway there
// meets attempts.
type Manners map[string]Manner

// At returns how the gateway at an endpoint meets attempts.
func (m Manners) At(endpoint string) Manner {
	if manner, ok := m[endpoint]; ok {
		return manner
	}
	return m[""]
}

// For returns how far an attempt comes.
func (m Manners) For(o connector.Order) Reach {
	manner := m.At(o.Endpoint)
	if manner.Reach == Denied && manner.Taken != o.ClientID {
		return Opened
	}
	return manner.Reach
}
