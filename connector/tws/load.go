package tws

import (
	"maps"
	"time"

	"ibconn/connector"
	"ibconn/events"
)

// load is what a session sent so far.
type load struct {
	sent   map[events.MessageKind]uint64
	waits  uint64
	waited time.Duration
}

// total returns it as an event says it, with how many messages wait.
func (l *load) total(queued int) events.Load {
	return events.Load{Sent: maps.Clone(l.sent), Waits: l.waits, Waited: events.MillisOf(l.waited), Queued: uint64(queued)}
}

// want asks for a turn for the most urgent of what there was to be sent at a
// time.
func (s *session) want(turn *connector.Turn, best connector.Priority, at time.Time) {
	turn.Want(best)
	if best != 0 && len(turn.Ready()) == 0 {
		s.blocked = at
	}
}

// count counts a message whose turn it is, and that was to be sent since a time;
// zero for one that waits as part of another. It waited for the budget if it
// was there when a turn did not come at once, and not for the time that it
// takes to be told of a turn.
func (s *session) count(kind events.MessageKind, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.load.sent == nil {
		s.load.sent = make(map[events.MessageKind]uint64)
	}
	s.load.sent[kind]++
	if since.IsZero() || since.After(s.blocked) {
		return
	}
	s.load.waits++
	s.load.waited += time.Since(since)
}

// kindOf returns what a request asks.
func kindOf(r connector.Request) events.MessageKind {
	switch r.(type) {
	case connector.SearchSymbols:
		return events.MessageLinkProbe
	case connector.ContractDetails:
		return events.MessageContract
	case connector.HistoricalBars:
		return events.MessageHistory
	case connector.Subscribe:
		return events.MessageSubscribe
	case connector.CancelBars, connector.Unsubscribe:
		return events.MessageCancel
	}
	return ""
}
