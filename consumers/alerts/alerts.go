// Package alerts tells people what has gone wrong with connections, and that it
// is over: at webhooks, by rules over incidents and over the status of
// connections.
//
// The one idea: what was told is on the bus, and what to tell follows from that.
// A [Book] holds the incidents, the statuses and the records of what was told as
// others know them too, and says what is to be told now and when to look again. A
// record is claimed before anything is posted, and marked after, each on
// condition that it is still what it was; so copies need not know of each other,
// and one that was killed is gone on from where it stood.
//
//	config, err := alerts.Load("alerts.yml")
//	t := &alerts.Teller{Config: config, Bus: opened, Instance: "host-1"} // a *bus.Alerts
//	err = t.Run(ctx)                                                      // until ctx ends
//
// Guarantees:
//   - A [Book] is pure: no clock, no dice, no error.
//   - What did not last as long as its rule asks for is told to nobody.
//   - Of each thing each receiver is told once that it began, once of each change
//     that it wants, once for each reminder, and once that it is over, over
//     restarts, and however many copies there are. It is told again, with the same
//     id, when whoever told it died or lost the bus, or the answer, before it
//     could be marked: between the two nobody knows.
//   - That something is over is told to those only who were told, or should have
//     been and could not be reached: they get one message for both.
//   - What was overtaken is not told late: who could not be reached is told how
//     it stands then.
//   - A receiver that is slow or away holds up no other.
//   - Of the URL of a receiver nothing but its host is ever shown.
//
// # Non-obvious
//
//   - What began and was over before any copy could tell of it is not told. So a
//     first start is silent of the past, and tells of what goes on.
//   - For [Grace] after a start, or after the bus came back, nothing new is told:
//     the connector and the other consumers may just have begun, too, and
//     statuses are out of date until they have.
//   - An incident is closed half a minute after its end, when it is known not to
//     come back. It counts as lasting until its end; where the status says that the
//     connection is well, the alert waits for what comes of it.
//   - How long a claim or a wait lasts is in the record, and counts from when a
//     copy first saw it: clocks of two hosts need not agree.
//   - That the bus is away cannot be put on record there. Each copy tells of it
//     once, by what it remembers.
package alerts

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"ibconn/consumers/incidents"
	"ibconn/events"
)

// State says what a receiver is told of a thing.
type State string

// The states.
const (
	Opened   State = "opened"
	Updated  State = "updated"
	Reminder State = "reminder"
	Resolved State = "resolved"
	Test     State = "test" // it is told of nothing
)

// Alert is what a receiver is told. Its JSON form is what is posted; fields may
// be added to it, and none is ever renamed or given another meaning.
type Alert struct {
	ID         string              `json:"id"`    // of this message: the same again is the same
	About      string              `json:"about"` // of what it is about: the same in all messages of it
	Receiver   string              `json:"receiver"`
	State      State               `json:"state"`
	Severity   Severity            `json:"severity"`
	Rule       string              `json:"rule"`
	On         On                  `json:"on"`
	Connection events.ConnectionID `json:"connection,omitempty"`
	Title      string              `json:"title"` // one line, for a person
	Text       string              `json:"text"`  // a few more
	BeganAt    time.Time           `json:"began_at,omitzero"`
	EndedAt    time.Time           `json:"ended_at,omitzero"`          // absent while it goes on
	Duration   events.Millis       `json:"duration_ms,omitempty"`      // from its beginning to its end
	First      bool                `json:"first,omitempty"`            // it is over, and its beginning could not be told
	Reminder   int                 `json:"reminder,omitempty"`         // from 1
	Incident   *incidents.Incident `json:"incident,omitempty"`         // as it is on the bus
	Condition  events.Condition    `json:"condition,omitempty"`        // of the connection, by its status
	LastHeard  time.Time           `json:"last_heard_at,omitzero"`     // of the connection, by its status
	Expected   time.Time           `json:"expected_until_at,omitzero"` // when it should have been heard again
}

// Record is what is kept of one thing and one receiver in the bucket ib_alerts.
type Record struct {
	About     string    `json:"about"`
	BeganAt   time.Time `json:"began_at"`
	Told      State     `json:"told,omitempty"`    // last; empty for nothing yet
	ToldAt    time.Time `json:"told_at,omitzero"`  // when
	Refused   bool      `json:"refused,omitempty"` // the receiver would not have it
	Rule      string    `json:"rule,omitempty"`
	Severity  Severity  `json:"severity,omitempty"`
	Sequence  uint64    `json:"sequence,omitempty"` // of the change that was told last
	Part      int       `json:"part,omitempty"`
	Reminders int       `json:"reminders,omitempty"`
	// Claimed is the id of what is being told, and By whose process does; empty
	// when nobody does.
	Claimed string `json:"claimed,omitempty"`
	By      string `json:"by,omitempty"`
	Tries   int    `json:"tries,omitempty"` // that failed, since something was told last
	// Hold is for how long from now on, which is when the record is first seen,
	// nobody else is to do anything.
	Hold events.Millis `json:"hold_ms,omitempty"`
}

// maxHold bounds how long a record may have others wait.
const maxHold = time.Hour

func decodeRecord(payload []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(payload, &r); err != nil {
		return Record{}, fmt.Errorf("alerts: decode record: %w", err)
	}
	if r.About == "" || r.Tries < 0 || r.Reminders < 0 || !(r.Hold >= 0 && r.Hold <= events.MillisOf(maxHold)) {
		return Record{}, errors.New("alerts: decode record: its fields make no sense")
	}
	return r, nil
}
