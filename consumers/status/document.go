// Package status makes a document of where each connection stands, and keeps it
// where anybody can read it: in the KV bucket ib_status, under the connection's
// name.
//
// The one idea: the document is a fold. It says which position of the log it
// stands for (stream_seq), and is the same whoever made it from the log up to
// there; so any number of copies may keep it, of which the one that has read
// furthest wins, and it can be made for any time in the past ([At]).
//
//	k := &status.Keeper{Log: log, Store: statuses} // a *bus.Log, a *bus.Statuses
//	err := k.Run(ctx)                              // until ctx ends
//
//	d, err := status.Decode(payload)
//	if d.Stale(time.Now()) { ... }                 // nobody keeps the connection, or nobody the document
//
// Guarantees:
//   - [Fold] and [Document] are pure: no clock, no dice, no error.
//   - What is kept never goes back to an earlier position, however many keepers
//     there are, and no document is of a history that was not read to its end.
//   - The log is read as fast as it grows, however slow the store is. A document
//     that was overtaken before it was written is left out.
//   - Account ids are masked, as they are in the events.
//
// # Non-obvious
//
//   - A document does not age by itself. What says that the connector died is
//     stale_after: until then it would have had to say something.
//   - stream_seq is that of the connection's own newest event, so it stands still
//     while other connections write.
//   - Heartbeats expire from the log after a week. A document that is made of a
//     log without them has the heartbeat, as_of and stale_after of the newest
//     event that is left, and an earlier stream_seq; the keeper leaves the older
//     document, of the later position, where it is.
//   - An event that cannot be decoded is left out and counted; the connector puts
//     it on record.
package status

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ibconn/events"
)

// Document is where a connection stood after an event of the log. Its JSON form
// is the document that is kept; fields may be added to it, and none is ever
// renamed or given another meaning.
type Document struct {
	Connection events.ConnectionID `json:"connection"`
	StreamSeq  uint64              `json:"stream_seq"` // the position of that event in the stream IB_LOG
	Sequence   uint64              `json:"sequence"`   // of the newest event that is no heartbeat
	Epoch      uint64              `json:"epoch"`      // whose claim it was written under
	AsOf       time.Time           `json:"as_of"`      // when that event happened, which may be a heartbeat
	// StaleAfter is until when the connector would have said something more:
	// answered or missed a heartbeat, ended an attempt, begun the next. It is
	// [events.Slack] later than what is due, or than AsOf where that was due before;
	// absent while nothing is due, which is when the connection is stopped or idle.
	StaleAfter time.Time `json:"stale_after,omitzero"`
	events.Standing
	Since time.Time `json:"since,omitzero"` // of the condition; the phase's is in the state
	// State is all that the log says but for the subscriptions: attempt, session,
	// retry_at, breaker, link, farms, competing, heartbeat, counts, last_ending,
	// last_error and the rest.
	State         events.State  `json:"state"`
	Subscriptions Subscriptions `json:"subscriptions"`
}

// Subscriptions are what a connection subscribes to, in short. The command
// subscriptions tells all of it.
type Subscriptions struct {
	Total int `json:"total"`
	// ByStatus counts them; every status there is stands in it.
	ByStatus map[events.SubscriptionStatus]int `json:"by_status"`
	Gaps     int                               `json:"gaps"` // stretches without bars that are to be filled, of all
	// List has [MaxListed] of them at most, in the order of their names. Where
	// there are more, those are left out first that are live, then placed, wanted,
	// dark.
	List []Subscription `json:"list"`
	More int            `json:"more,omitempty"` // how many are not in List
}

// MaxListed is how many subscriptions a document lists.
const MaxListed = 200

// Subscription is how one subscription stands.
type Subscription struct {
	Name   string                    `json:"name"`
	Status events.SubscriptionStatus `json:"status"`
	Since  time.Time                 `json:"since,omitzero"` // of the status
	Gaps   int                       `json:"gaps,omitempty"` // stretches without bars that are to be filled
}

// Stale says whether at a time the document must be taken for out of date: the
// connector should have said something since, so it, the bus, or who keeps the
// document is gone; or the host slept.
func (d Document) Stale(now time.Time) bool {
	return !d.StaleAfter.IsZero() && now.After(d.StaleAfter)
}

// Decode reads a document as it is kept. Unknown fields are tolerated. An error
// says what is wrong with it; it never panics.
func Decode(payload []byte) (Document, error) {
	var d Document
	if err := json.Unmarshal(payload, &d); err != nil {
		return Document{}, fmt.Errorf("status: decode: %w", err)
	}
	_, err := events.ParseConnectionID(string(d.Connection))
	switch {
	case err != nil:
	case d.StreamSeq == 0:
		err = errors.New("stream_seq is missing")
	case d.AsOf.IsZero():
		err = errors.New("as_of is missing")
	case d.Phase == "" || d.Condition == "":
		err = errors.New("phase or condition is missing")
	}
	if err != nil {
		return Document{}, fmt.Errorf("status: decode: %w", err)
	}
	return d, nil
}

// inShort sums subscriptions up, which are in the order of their names.
func inShort(all []*events.Subscription) Subscriptions {
	short := Subscriptions{Total: len(all), ByStatus: make(map[events.SubscriptionStatus]int), List: []Subscription{}}
	for _, status := range events.SubscriptionStatuses {
		short.ByStatus[status] = 0
	}
	for _, sub := range all {
		short.ByStatus[sub.Status]++
		short.Gaps += len(sub.Gaps)
		short.List = append(short.List, Subscription{Name: sub.Name, Status: sub.Status, Since: sub.Since, Gaps: len(sub.Gaps)})
	}
	if len(all) <= MaxListed {
		return short
	}
	slices.SortStableFunc(short.List, func(a, b Subscription) int { return urgency(b.Status) - urgency(a.Status) })
	short.List, short.More = short.List[:MaxListed:MaxListed], len(all)-MaxListed
	slices.SortFunc(short.List, func(a, b Subscription) int { return strings.Compare(a.Name, b.Name) })
	return short
}

// urgency is higher for a status that a reader rather wants to see.
func urgency(s events.SubscriptionStatus) int {
	switch s {
	case events.SubscriptionLive:
		return 0
	case events.SubscriptionPlaced:
		return 1
	case events.SubscriptionWanted:
		return 2
	case events.SubscriptionDark:
		return 3
	case events.SubscriptionFailed:
	}
	return 4
}
