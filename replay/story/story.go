// Package story tells a person what happened: the incidents of a span as a table, one
// incident from before it began until after it ended, where a connection stood at a
// time, and what changed between two.
//
// The one idea: a story is collected in one pass over the events, oldest first, by who
// only has to remember the last few lines before whatever comes next.
//
//	teller := story.Teller{Zone: zone, Most: 1, Want: func(i incidents.Incident) bool { return i.Number == 3 }}
//	for r, err := range past {
//		if err != nil { return err }
//		teller.Add(r)
//	}
//	err := story.Printer{Out: os.Stdout, Zone: zone, Width: 100}.Story(teller.Stories()[0])
//
// Guarantees:
//   - The incidents are those of package incidents, and no others: its Fold finds them.
//   - What is kept does not grow with the log: of a story 40 lines before it and 200
//     of it, of the incidents those that a Fold remembers.
//   - No account id, and nothing that a terminal would take for a command, is in a line.
//
// # Non-obvious
//
//   - Offsets are from when the incident was noticed. Its trouble may be older.
//   - A line may stand for several events that say the same. Of a long story the
//     middle is left out, and how much that is stands there.
//   - The policy is not in the log. What a line says of the limits of a wait is what the
//     policy that a [Teller] has would have done, and is left out where that cannot be.
package story

import (
	"time"

	"ibconn/consumers/incidents"
	"ibconn/events"
)

// Story is all there is to tell of one incident.
type Story struct {
	Incident incidents.Incident `json:"incident"`
	Summary  []string           `json:"summary"` // for somebody who reads nothing else, the root cause first

	Before []Line `json:"before"` // the last minutes before it was noticed
	During []Line `json:"during"`
	After  []Line `json:"after"` // until its data was back and its gaps were closed; 15 minutes at most

	Codes    []Code    `json:"codes"`    // IB's codes in it, in the order in which they came
	Commands []Command `json:"commands"` // those of the time that is told
	Flights  []Flight  `json:"flights"`  // the last frames of sessions and attempts that ended in it; three at most, each with another cause

	// StateBefore is the connection's state before the event by which the incident was
	// noticed, StateAfter the one after the last event that is told, and Changed the
	// difference in words.
	StateBefore events.State `json:"state_before"`
	StateAfter  events.State `json:"state_after"`
	Changed     []Difference `json:"changed"`
}

// Line is one event of a story, or several that say the same.
type Line struct {
	At       time.Time        `json:"at"`
	Until    time.Time        `json:"until,omitzero"` // of the last, where there are several
	Offset   events.Millis    `json:"offset_ms"`      // of At, from when the incident was noticed
	Last     events.Millis    `json:"last_offset_ms,omitempty"`
	Count    int              `json:"count"` // how many events it stands for
	Severity events.Severity  `json:"severity"`
	After    events.Condition `json:"condition,omitempty"` // the condition after the last of them
	Type     events.Type      `json:"type"`
	Sequence uint64           `json:"sequence"` // of the first; a heartbeat has that of the event before it
	Words    string           `json:"words"`    // of the first
	// Waits says what the connection waited for after the last of them, and why.
	Waits string `json:"waits,omitempty"`
	// Omitted is set on a line that stands for so many events in the middle of a long
	// story, which are not told.
	Omitted int `json:"omitted,omitempty"`

	routine bool
	major   bool
	alike   string // lines that have this in common say the same
	rtt     spread
}

// Code is one of IB's codes, explained.
type Code struct {
	Code    int          `json:"code"`
	Class   events.Class `json:"class"`
	Meaning string       `json:"meaning,omitempty"`
	Advice  string       `json:"advice"`
	Said    string       `json:"said,omitempty"` // the gateway's own words, the first time
	Count   int          `json:"count"`
}

// Command is a command, and what became of it.
type Command struct {
	At      time.Time     `json:"at"`
	Offset  events.Millis `json:"offset_ms"`
	ID      string        `json:"command_id"`
	Verb    events.Verb   `json:"verb"`
	From    string        `json:"from,omitempty"` // the caller, where the log knows one
	Reason  string        `json:"reason,omitempty"`
	Outcome string        `json:"outcome"` // in a word or a sentence; "none yet"
}

// Flight is what the flight recorder held when a session or an attempt ended.
type Flight struct {
	EndedAt time.Time      `json:"ended_at"`
	Offset  events.Millis  `json:"offset_ms"`
	What    string         `json:"what"` // the sentence of the end
	Traffic events.Traffic `json:"traffic,omitzero"`
	Frames  []Frame        `json:"frames"`
}

// Frame is one message on its way, by its distance to the end.
type Frame struct {
	Offset events.Millis `json:"offset_ms"` // from the end, so mostly below 0
	Dir    string        `json:"dir"`       // "in" from the gateway, "out" to it
	ID     int           `json:"id"`
	Name   string        `json:"name"` // IB's name of the message, or "message 49"
	Size   int           `json:"size"`
	Head   string        `json:"head,omitempty"`
}
