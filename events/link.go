package events

import "cmp"

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
	// Farms are the farms the message names, with their states.
	Farms []FarmNews `json:"farms,omitempty"`
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
func (*LinkWentDown) Type() Type { return "ib.conn.state.link_down" }
func (*LinkCameBack) Type() Type { return "ib.conn.state.link_up" }
func (*FarmChanged) Type() Type  { return "ib.conn.state.farm_changed" }

func (e *LinkWentDown) check() error { return given(e.Attempt > 0, "attempt") }

func (e *LinkCameBack) check() error { return given(e.Attempt > 0, "attempt") }

func (e *FarmChanged) check() error {
	return cmp.Or(given(e.Attempt > 0, "attempt"), given(e.Farm.Kind != "", "farm.kind"), given(e.To != "", "to"))
}
