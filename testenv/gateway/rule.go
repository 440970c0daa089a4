package gateway

import (
	"fmt"
	"slices"
	"time"
)

// Action is what a rule set with On does instead of answering a request.
type Action struct {
	kind  actionKind
	after time.Duration
	code  int
	text  string
}

type actionKind int

const (
	drop actionKind = iota
	delay
	replyError
	hang
	keep
)

// Drop leaves the request without an answer and without an effect.
func Drop() Action { return Action{kind: drop} }

// Delay answers the request d later; other requests are answered meanwhile.
func Delay(d time.Duration) Action { return Action{kind: delay, after: d} }

// ReplyError answers the request with an error under its own id, or -1 if it has none.
func ReplyError(code int, text string) Action {
	return Action{kind: replyError, code: code, text: text}
}

// Hold keeps the request until Release answers it; other requests are answered meanwhile.
func Hold() Action { return Action{kind: keep} }

// Hang stalls the session for good, as if the gateway froze on the request. Stall(false) ends it.
func Hang() Action { return Action{kind: hang} }

// String returns the action as a line of a log shows it.
func (a Action) String() string {
	switch a.kind {
	case delay:
		return "delay " + a.after.String()
	case replyError:
		return fmt.Sprintf("reply error %d %q", a.code, a.text)
	case hang:
		return "hang"
	case keep:
		return "hold"
	}
	return "drop"
}

type rule struct {
	req    Request
	left   int // negative: for ever
	action Action
}

// On makes the next n requests of one kind, from any client, meet with an action; n < 1 stands for all that follow.
// Rules for the same request take their turns in the order in which they were set.
func (g *Gateway) On(req Request, n int, a Action) {
	if n < 1 {
		n = -1
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rules = append(g.rules, &rule{req, n, a})
}

// Off ends all rules for a request.
func (g *Gateway) Off(req Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rules = slices.DeleteFunc(g.rules, func(r *rule) bool { return r.req == req })
}

// Release answers, in each session of the given clients, or of all connections if none is given, the request of that kind that
// was held the longest. It does nothing in a session that holds none, and returns how many sessions it told.
func (g *Gateway) Release(req Request, clients ...int) int {
	return g.each(clients, func(s *session) bool {
		s.mu.Lock()
		s.released = append(s.released, req)
		s.mu.Unlock()
		signal(s.release)
		return true
	})
}

// matchLocked uses up one turn of the first rule for a request.
func (g *Gateway) matchLocked(req Request) (Action, bool) {
	for i, r := range g.rules {
		if r.req != req {
			continue
		}
		if r.left > 0 {
			if r.left--; r.left == 0 {
				g.rules = append(g.rules[:i:i], g.rules[i+1:]...)
			}
		}
		return r.action, true
	}
	return Action{}, false
}
