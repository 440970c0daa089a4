package events

import "time"

// Relay says how far the log of a connection has come to the hub.
type Relay struct {
	Hub     string      `json:"hub"` // its URL, without a password
	Status  RelayStatus `json:"status"`
	Since   time.Time   `json:"since,omitzero"`    // when the status is
	Problem string      `json:"problem,omitempty"` // what keeps events from the hub, in words, and what to do about it

	Sequence   uint64 `json:"sequence"`             // of the newest event that the hub is known to have
	Lag        uint64 `json:"lag_events"`           // how many events of the log, heartbeats aside, it is not known to have
	LagFor     Millis `json:"lag_ms"`               // how old the oldest of these is
	Relayed    uint64 `json:"relayed"`              // events that this process brought to the hub, heartbeats included
	Refused    uint64 `json:"refused,omitempty"`    // events that the hub does not take; they are kept, and not in the feed
	Refusals   uint64 `json:"refusals,omitempty"`   // how often the hub did not take what was next, for whatever reason
	Reverted   uint64 `json:"reverted,omitempty"`   // how often the hub had lost events that it had, and got them again
	Reconnects uint64 `json:"reconnects,omitempty"` // of the process to the hub
}

// RelayStatus says in a word how the relay of a connection stands.
type RelayStatus string

// The statuses of relays. The last three are there to stay until somebody does
// something about them.
const (
	RelayCurrent    RelayStatus = "current"    // the hub has every event
	RelayBehind     RelayStatus = "behind"     // events are on their way
	RelayAway       RelayStatus = "away"       // the hub cannot be reached
	RelayRefused    RelayStatus = "refused"    // the hub does not take what is next
	RelaySuperseded RelayStatus = "superseded" // the hub has a later claim than that of the events here
	RelayDiffers    RelayStatus = "differs"    // the hub has another history under the connection's name
)

// RelayStatuses are all statuses of relays.
var RelayStatuses = []RelayStatus{RelayCurrent, RelayBehind, RelayAway, RelayRefused, RelaySuperseded, RelayDiffers}
