package connector

import (
	"slices"
	"time"

	"ibconn/events"
)

// Message is one request on its way to a gateway. What becomes of it is
// reported as [Passed], once, at the moment it is known.
type Message struct {
	ID       int64     // the request id that the gateway answers under: 1 to 2147483646, not used twice in a session
	Priority Priority  // its place in the queue
	Expires  time.Time // when it is no longer worth sending; zero for never
	Request  Request

	Since time.Time // when it was put in the queue, which the session notes
}

// Request is what a message asks for.
//
//sumtype:decl
type Request interface{ isRequest() }

// SearchSymbols asks IB's servers which contracts match a pattern
// (reqMatchingSymbols). The gateway cannot answer it by itself.
type SearchSymbols struct{ Pattern string }

// ContractDetails asks which contracts fit a description, and all of them
// (reqContractDetails). A gateway that is cut off from IB may answer for itself,
// and then says that there is none.
type ContractDetails struct{ Contract events.Contract }

// HistoricalBars asks for bars of the past (reqHistoricalData), once.
type HistoricalBars struct {
	Contract events.Contract
	Query    events.BarQuery // with nothing left to its defaults
}

// CancelBars ends a query for bars that was not answered (cancelHistoricalData).
type CancelBars struct{ Of int64 } // the id of the message that asked

// Subscribe asks for a subscription's data, which goes on until it is cancelled
// (reqMktData, reqTickByTickData, reqRealTimeBars, or reqHistoricalData with
// keepUpToDate). What comes of it is delivered through [Order.Deliver], and bars
// are reported as [BarsCame]. [Arrived] is reported when data comes for the first
// time, and when it comes after nothing did for Quiet.
type Subscribe struct {
	Name  string // the subscription's
	Feed  events.Feed
	Quiet time.Duration
}

// Unsubscribe ends what a Subscribe asked for: nothing of it is delivered once
// the message left.
type Unsubscribe struct {
	Of   int64 // the id of the message that asked
	Feed events.Feed
}

func (Subscribe) isRequest()       {}
func (Unsubscribe) isRequest()     {}
func (HistoricalBars) isRequest()  {}
func (CancelBars) isRequest()      {}
func (SearchSymbols) isRequest()   {}
func (ContractDetails) isRequest() {}

// Outcome is what became of a message.
type Outcome string

// The outcomes.
const (
	OutcomeSent    Outcome = "sent"    // it left for the gateway
	OutcomeExpired Outcome = "expired" // its time was over before its turn came
	OutcomeLost    Outcome = "lost"    // its session ended before its turn came
	OutcomeFull    Outcome = "full"    // too many were waiting already
	OutcomeNoRoom  Outcome = "no_room" // the gateway has as many of the kind as it may have: it was not even put in the queue
)

// Queue holds the messages of one session that wait for their turn: the most
// urgent first, and among equals the oldest. It is bounded; what keeps the
// session finds room beyond that bound, as much again, and what gives something
// back always: there is no more of it than there is to give back. It is not safe
// for use by several goroutines.
type Queue struct {
	limit int
	parts [PriorityBackfill + 1][]Message
}

// NewQueue returns a queue for so many messages.
func NewQueue(limit int) *Queue { return &Queue{limit: limit} }

// Put adds m, or says that there is no room for it.
func (q *Queue) Put(m Message) bool {
	m.Priority = min(max(m.Priority, PrioritySession), PriorityBackfill)
	waiting := 0
	for pr, part := range q.parts {
		if Priority(pr).urgent() == m.Priority.urgent() {
			waiting += len(part)
		}
	}
	if waiting >= q.limit && m.Priority != PriorityCancel {
		return false
	}
	q.parts[m.Priority] = append(q.parts[m.Priority], m)
	return true
}

// Len returns how many messages wait.
func (q *Queue) Len() int {
	n := 0
	for _, part := range q.parts {
		n += len(part)
	}
	return n
}

// Best returns the priority of the message that goes next; zero when none waits.
func (q *Queue) Best() Priority {
	for pr, part := range q.parts {
		if len(part) > 0 {
			return Priority(pr)
		}
	}
	return 0
}

// Take removes and returns the message that goes next.
func (q *Queue) Take() (Message, bool) {
	best := q.Best()
	if best == 0 {
		return Message{}, false
	}
	m := q.parts[best][0]
	q.parts[best] = slices.Delete(q.parts[best], 0, 1)
	return m, true
}

// Expire removes and returns the messages whose time is over at now.
func (q *Queue) Expire(now time.Time) []Message {
	var over []Message
	for pr := range q.parts {
		q.parts[pr] = slices.DeleteFunc(q.parts[pr], func(m Message) bool {
			late := !m.Expires.IsZero() && !now.Before(m.Expires)
			if late {
				over = append(over, m)
			}
			return late
		})
	}
	return over
}

// NextExpiry returns when the first message expires; zero when none does.
func (q *Queue) NextExpiry() time.Time {
	var first time.Time
	for _, part := range q.parts {
		for _, m := range part {
			first = earliest(first, m.Expires)
		}
	}
	return first
}

// Drain removes and returns every message, the most urgent first.
func (q *Queue) Drain() []Message {
	all := slices.Concat(q.parts[:]...)
	clear(q.parts[:])
	return all
}
