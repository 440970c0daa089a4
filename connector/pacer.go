package connector

import (
	"sync"
	"time"
)

// Pacer gives the connections to one gateway their turns to send, so that all
// of them together keep within one budget: the strictest pace that any of them
// asks for. The most urgent goes first, and among equals who has waited
// longest. Its methods may be called from any goroutine; none blocks.
type Pacer struct {
	mu       sync.Mutex
	turns    []*Turn
	schedule schedule
	begun    bool
	slow     map[int64]slowness // by client id
	timer    *time.Timer
}

// slowness is what one client asked everyone to keep to.
type slowness struct {
	perSecond int
	until     time.Time
}

// Turn is one connection's place at a [Pacer].
type Turn struct {
	pacer *Pacer
	pace  Pace
	ready chan struct{} // holds a token while the turn was given and not taken
	wants Priority      // zero: nothing
	since time.Time     // since when
}

// Join adds a connection that wants no faster than pace. It must Leave.
func (p *Pacer) Join(pace Pace) *Turn {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := &Turn{pacer: p, pace: pace, ready: make(chan struct{}, 1)}
	p.turns = append(p.turns, t)
	if !p.begun {
		p.begun = true
		p.schedule = p.pace(time.Now()).begin(time.Now())
	}
	return t
}

// Leave gives the place up, and a turn that was given and not taken.
func (t *Turn) Leave() {
	p := t.pacer
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.turns {
		if p.turns[i] == t {
			p.turns = append(p.turns[:i], p.turns[i+1:]...)
			break
		}
	}
	p.give()
}

// Want asks for a turn for a message of priority pr, in place of what was asked
// for before; zero asks for none. The turn comes on Ready.
func (t *Turn) Want(pr Priority) {
	p := t.pacer
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(t.ready) > 0 || t.wants == pr {
		return // it has its turn, or its place
	}
	if t.wants == 0 {
		t.since = time.Now()
	}
	t.wants = pr
	p.give()
}

// Ready gets a token when one message may go.
func (t *Turn) Ready() <-chan struct{} { return t.ready }

// Slow holds everyone to so many messages a second for a while, because the
// gateway complained to a client. A later call for the same client stands in
// place of an earlier one; 0 ends it.
func (p *Pacer) Slow(client int64, perSecond int, during time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.slow == nil {
		p.slow = make(map[int64]slowness)
	}
	p.slow[client] = slowness{perSecond, time.Now().Add(during)}
	if perSecond <= 0 {
		delete(p.slow, client)
	}
	p.give()
}

// pace returns what holds now.
func (p *Pacer) pace(now time.Time) Pace {
	var all Pace
	for _, t := range p.turns {
		all = all.strictest(t.pace)
	}
	for client, s := range p.slow {
		if !now.Before(s.until) {
			delete(p.slow, client)
			continue
		}
		all.PerSecond = min(all.PerSecond, s.perSecond)
	}
	all.PerSecond = max(all.PerSecond, 1)
	return all
}

// give gives every turn that is due, and arms the timer for the next.
func (p *Pacer) give() {
	for {
		now := time.Now()
		pace := p.pace(now)
		next := p.first()
		if next == nil {
			if p.timer != nil {
				p.timer.Stop()
			}
			return
		}
		due := p.schedule.due(pace, next.wants)
		if wait := due.Sub(now); wait > 0 {
			p.arm(wait)
			return
		}
		p.schedule = p.schedule.sent(pace, now)
		next.wants = 0
		next.ready <- struct{}{} // it has room: who has a turn wants no other
	}
}

// first returns who goes next; nil when nobody wants to.
func (p *Pacer) first() *Turn {
	var first *Turn
	for _, t := range p.turns {
		switch {
		case t.wants == 0:
		case first == nil, t.wants < first.wants, t.wants == first.wants && t.since.Before(first.since):
			first = t
		}
	}
	return first
}

func (p *Pacer) arm(wait time.Duration) {
	if p.timer == nil {
		p.timer = time.AfterFunc(wait, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.give()
		})
		return
	}
	p.timer.Reset(wait)
}

// Pacing has a [Pacer] for each gateway. Its zero value is ready to use, from
// any goroutine.
type Pacing struct{ pacers perGateway[Pacer] }

// For returns the pacer of the gateway at an address. Connections that reach
// one gateway under two addresses have two budgets.
func (p *Pacing) For(gateway string) *Pacer { return p.pacers.at(gateway) }

// perGateway has a T for each address of a gateway, for any goroutine.
type perGateway[T any] struct {
	mu  sync.Mutex
	all map[string]*T
}

func (p *perGateway[T]) at(gateway string) *T {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all = make(map[string]*T)
	}
	if p.all[gateway] == nil {
		p.all[gateway] = new(T)
	}
	return p.all[gateway]
}
