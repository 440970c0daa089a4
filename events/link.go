package events

import (
	"cmp"
	"time"
)

// LinkStatus says whether the gateway reaches IB's servers.
type LinkStatus string

// The link's states. Without a session, and until the gateway says a word
// about it, the link is unknown.
const (
	LinkUnknown LinkStatus = "unknown"
	LinkUp      LinkStatus = "up"
	LinkDown    LinkStatus = "down"
)

// FarmKind is the kind of data a farm serves.
type FarmKind string

// The kinds of farms IB's notices tell apart.
const (
	FarmMarketData FarmKind = "market_data" // 2103, 2104, 2108, 2119
	FarmHistorical FarmKind = "historical"  // 2105, 2106, 2107
	FarmSecDef     FarmKind = "sec_def"     // 2157, 2158
)

// FarmStatus is the state of one farm.
type FarmStatus string

// The farms' states. Idle is no fault: IB starts the farm when it is needed.
const (
	FarmUnknown    FarmStatus = "unknown"
	FarmUp         FarmStatus = "up"
	FarmIdle       FarmStatus = "idle"
	FarmConnecting FarmStatus = "connecting"
	FarmDown       FarmStatus = "down"
)

// Farm names one farm.
type Farm struct {
	Kind FarmKind `json:"kind"`
	Name string   `json:"name"` // as IB names it, such as "usfarm"; empty when the notice named none
}

// String returns "kind/name".
func (f Farm) String() string { return string(f.Kind) + "/" + f.Name }

// FarmNews is one farm's state as a notice tells it.
type FarmNews struct {
	Farm
	Status FarmStatus `json:"status"`
}

// LinkWentDown says that the gateway lost IB's servers. The session stays.
type LinkWentDown struct {
	Attempt uint64 `json:"attempt"`
	Code    int    `json:"code"`             // 1100 or 2110
	Message string `json:"message"`          // the gateway's words
	Window  string `json:"window,omitempty"` // the maintenance window it fell into, as it is configured
	// ProbeLinkAt is when the link is to be probed next; absent where it is not.
	ProbeLinkAt time.Time `json:"probe_link_at,omitzero"`
	// Farms are the farms the message names, with their states.
	Farms []FarmNews `json:"farms,omitempty"`
	Standing
}

// LinkCameBack says that the gateway reaches IB's servers again.
type LinkCameBack struct {
	Attempt  uint64 `json:"attempt"`
	Code     int    `json:"code"`              // 1101 or 1102
	Message  string `json:"message"`           // the gateway's words
	DataLost bool   `json:"data_lost"`         // 1101: every subscription must be placed again
	Down     Millis `json:"down_ms,omitempty"` // how long the link was down, where that is known
	// ProbeLinkAt is when the link is to be probed, and until when it is
	// unproven; absent where it is not probed.
	ProbeLinkAt time.Time `json:"probe_link_at,omitzero"`
	// Farms are the farms the message names, with their states.
	Farms []FarmNews `json:"farms,omitempty"`
	Standing
}

// LinkProven says that something only IB's servers can answer was answered: the
// link is up, whatever was said of it. A gateway does not owe anybody the
// notice that it is.
type LinkProven struct {
	Attempt uint64     `json:"attempt"`
	From    LinkStatus `json:"from"` // what was known of the link before
	// DataLost is set when the link was down before and nobody said that the
	// subscriptions survived: they must be placed again.
	DataLost bool   `json:"data_lost,omitempty"`
	Down     Millis `json:"down_ms,omitempty"` // how long the link was down, where that is known
	RTT      Millis `json:"rtt_ms"`            // of the probe
	Standing
}

// LinkFellSilent says that several probes in a row were not answered by IB's
// servers, while the session itself was well. No notice said so.
type LinkFellSilent struct {
	Attempt uint64     `json:"attempt"`
	From    LinkStatus `json:"from"`              // what was known of the link before
	Misses  int        `json:"misses"`            // probes missed in a row
	Code    int        `json:"code,omitempty"`    // the error that answered the last of them, where one did
	Message string     `json:"message,omitempty"` // and its words
	Window  string     `json:"window,omitempty"`  // the maintenance window it fell into, as it is configured
	Standing
}

// FarmChanged says that a farm's state changed.
type FarmChanged struct {
	Attempt uint64     `json:"attempt"`
	Farm    Farm       `json:"farm"`
	From    FarmStatus `json:"from"`
	To      FarmStatus `json:"to"`
	Code    int        `json:"code"`    // the notice that said so
	Message string     `json:"message"` // the gateway's words
	Standing
}

// Type returns the event's type.
func (*LinkWentDown) Type() Type   { return "ib.conn.state.link_down" }
func (*LinkCameBack) Type() Type   { return "ib.conn.state.link_up" }
func (*LinkProven) Type() Type     { return "ib.conn.state.link_proven" }
func (*LinkFellSilent) Type() Type { return "ib.conn.state.link_silent" }
func (*FarmChanged) Type() Type    { return "ib.conn.state.farm_changed" }

func (e *LinkWentDown) check() error { return given(e.Attempt > 0, "attempt") }

func (e *LinkCameBack) check() error { return given(e.Attempt > 0, "attempt") }

func (e *LinkProven) check() error {
	return cmp.Or(given(e.Attempt > 0, "attempt"), given(e.From != "", "from"))
}

func (e *LinkFellSilent) check() error {
	return cmp.Or(given(e.Attempt > 0, "attempt"), given(e.From != "", "from"), counted(e.Misses, "misses"))
}

func (e *FarmChanged) check() error {
	return cmp.Or(given(e.Attempt > 0, "attempt"), given(e.Farm.Kind != "", "farm.kind"), given(e.To != "", "to"))
}
