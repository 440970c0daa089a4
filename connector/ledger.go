package connector

import (
	"slices"
	"sync"
	"time"
)

// IB's rules on history, as
// https://interactivebrokers.github.io/tws-api/historical_limitations.html has
// them, and what is kept to: what leaves evenly may arrive closer together, and
// others may ask the same gateway.
const (
	identicalWithin = 16 * time.Second        // no identical request within 15 s
	burstWithin     = 2500 * time.Millisecond // fewer than six for one series within 2 s
	burstMost       = 5
	quotaWithin     = 601 * time.Second // at most 60 within 10 minutes, of which BID_ASK counts two
	quotaMost       = 58
	openMost        = 20 // at most 50 are open

	// smallBar is how long a bar may be for those rules to count it, but for
	// the last one, which counts all.
	smallBar = 30 * time.Second
	// quotaBegun is what a process that starts takes for used up: it does not
	// know what the one before it asked for.
	quotaBegun = quotaMost / 2
)

// Ledger keeps the requests for history of all connections to one gateway
// within IB's rules. Its times are what has passed on the [Clock], which does
// not jump. Its methods may be called from any goroutine, and none blocks.
type Ledger struct {
	mu    sync.Mutex
	begun bool
	open  int
	slots []*slot // of small bars, the oldest first
}

// slot is a request that a [Ledger] let go.
type slot struct {
	same   string // all that makes two requests identical
	series string // contract, exchange and kind of data
	weight int
	left   bool          // it left for the gateway,
	at     time.Duration // then; until it did it may leave at any moment
	small  bool
	closed bool // it is open at the gateway no more
}

// take lets a request go at the moment that is now, or says how long it has to
// wait, as far as can be known, for requests that were let go already.
func (l *Ledger) take(s *slot, now time.Duration) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begin(now)
	if l.open >= openMost {
		wait = askAgain // until one of them is answered
	}
	if s.small {
		wait = max(wait, l.due(s, now)-now)
	}
	if wait > 0 {
		return wait, false
	}
	l.open++
	if s.small {
		l.slots = append(l.slots, s)
	}
	return 0, true
}

func (l *Ledger) begin(now time.Duration) {
	if !l.begun {
		l.begun = true
		l.slots = []*slot{{weight: quotaBegun, left: true, at: now, small: true, closed: true}}
	}
	l.slots = slices.DeleteFunc(l.slots, func(s *slot) bool { return s.left && now-s.at >= quotaWithin })
}

// due returns when s may go by the rules on small bars. What was let go and did
// not leave yet counts as if it left now.
func (l *Ledger) due(s *slot, now time.Duration) time.Duration {
	due := now
	var series, all []*slot // what counts, the latest first
	for _, old := range slices.Backward(l.slots) {
		all = append(all, old)
		if old.series == s.series {
			series = append(series, old)
		}
		if old.same == s.same {
			due = max(due, old.leaves(now)+identicalWithin)
		}
	}
	due = max(due, room(series, now, burstWithin, burstMost-1, func(*slot) int { return 1 }))
	return max(due, room(all, now, quotaWithin, quotaMost-s.weight, func(s *slot) int { return s.weight }))
}

func (s *slot) leaves(now time.Duration) time.Duration {
	if s.left {
		return s.at
	}
	return now
}

// room returns when what left within a time weighs no more than most.
func room(slots []*slot, now, within time.Duration, most int, weight func(*slot) int) time.Duration {
	slots = slices.Clone(slots)
	slices.SortStableFunc(slots, func(a, b *slot) int { return int(b.leaves(now) - a.leaves(now)) })
	sum := 0
	for _, s := range slots {
		if sum += weight(s); sum > most {
			return s.leaves(now) + within
		}
	}
	return now
}

// sent says that a request left for the gateway.
func (l *Ledger) sent(s *slot, now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.left, s.at = true, now
}

// unsent gives back what never left.
func (l *Ledger) unsent(s *slot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.close(s)
	l.slots = slices.DeleteFunc(l.slots, func(o *slot) bool { return o == s })
}

// answered says that the gateway has done with a request, or its session ended.
// One that is not known to have left is taken to have left now.
func (l *Ledger) answered(s *slot, now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.close(s)
	if !s.left {
		s.left, s.at = true, now
	}
}

func (l *Ledger) close(s *slot) {
	if !s.closed {
		s.closed = true
		l.open--
	}
}

// Ledgers has the [Ledger] of each gateway. Its zero value is ready to use, from
// any goroutine.
type Ledgers struct{ ledgers perGateway[Ledger] }

// For returns the ledger of the gateway at an address. Connections that reach
// one gateway under two addresses have two.
func (l *Ledgers) For(gateway string) *Ledger { return l.ledgers.at(gateway) }
