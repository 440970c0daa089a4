package connector

import (
	"sync"
	"time"

	"ibconn/events"
)

// Pace is how fast messages may go to one gateway, all connections to it
// together. IB allows half as many messages a second as the account has market
// data lines, 50 by default, and does not say what a burst may be; gateways
// were seen to hang on bursts below that (stoqey #68, LEAN.IB #50). So the
// messages are spread evenly over the second.
type Pace struct {
	PerSecond int           // messages in any second, at most; 1 to 1000
	MinGap    time.Duration // between any two messages, at least; 0 for no more than PerSecond asks for
}

// reserve is how many of a second's messages are kept for what must not wait:
// heartbeats and cancels may run that far ahead of the even spread.
func (p Pace) reserve() int {
	if p.MinGap > 0 || p.PerSecond < 2 {
		return 0
	}
	return max(1, p.PerSecond/10)
}

// gap is the time between two messages that can wait.
func (p Pace) gap() time.Duration {
	spread := time.Duration(p.PerSecond - p.reserve())
	return max(p.MinGap, (time.Second+spread-1)/spread) // up: a nanosecond short is one message more
}

// strictest returns the pace that keeps within both.
func (p Pace) strictest(q Pace) Pace {
	if p.PerSecond == 0 {
		return q
	}
	return Pace{PerSecond: min(p.PerSecond, q.PerSecond), MinGap: max(p.MinGap, q.MinGap)}
}

// Priority says which message goes first.
type Priority int

// The priorities, the first first. Zero is none of them.
const (
	PrioritySession  Priority = iota + 1 // what opens and keeps a session: startApi, heartbeats, probes of the link
	PriorityCancel                       // what gives something back
	PriorityRestore                      // what a lost session had, placed again
	PriorityRequest                      // what somebody waits for
	PriorityBackfill                     // what nobody waits for
)

// urgent says whether p may use the reserve.
func (p Priority) urgent() bool { return p == PrioritySession || p == PriorityCancel }

// schedule is when the next message may go: the arithmetic of a [Pacer], pure.
// Its one number is the time at which the messages so far would have ended had
// they been spread evenly. At no pace does any second see more than PerSecond.
type schedule struct{ even time.Time }

// begin returns the schedule of a process that starts now. It does not know
// what the one before it sent last, and so takes the reserve for used up: that
// is how the budget survives a restart.
func (p Pace) begin(now time.Time) schedule {
	return schedule{now.Add(time.Duration(p.reserve()) * p.gap())}
}

// due returns when a message of priority pr may go.
func (s schedule) due(p Pace, pr Priority) time.Time {
	if pr.urgent() {
		return s.even.Add(-time.Duration(p.reserve()) * p.gap())
	}
	return s.even
}

// sent returns the schedule after a message that went now.
func (s schedule) sent(p Pace, now time.Time) schedule {
	return schedule{latest(s.even, now).Add(p.gap())}
}

// Pacer gives the connections to one gateway their turns to send, so that all
// of them together keep within one budget: the strictest pace that any of them
// asks for. The most urgent goes first, and among equals who has waited
// longest. Its methods may be called from any goroutine; none blocks.
type Pacer struct {
	mu       sync.Mutex
	turns    []*Turn
	schedule schedule
	begun    bool
	slowTo   int       // messages a second while slowed; 0 when it is not
	slowTill time.Time // when that ends
	timer    *time.Timer
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

// Slow holds everyone to so many messages a second for a while: the gateway
// complained. A later call stands in place of an earlier one; 0 ends it.
func (p *Pacer) Slow(perSecond int, during time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slowTo, p.slowTill = perSecond, time.Now().Add(during)
	p.give()
}

// pace returns what holds now.
func (p *Pacer) pace(now time.Time) Pace {
	var all Pace
	for _, t := range p.turns {
		all = all.strictest(t.pace)
	}
	if p.slowTo > 0 && now.Before(p.slowTill) {
		all.PerSecond = min(all.PerSecond, p.slowTo)
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
type Pacing struct {
	mu     sync.Mutex
	pacers map[string]*Pacer
}

// For returns the pacer of the gateway at an address. Connections that reach
// one gateway under two addresses have two budgets.
func (p *Pacing) For(gateway string) *Pacer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pacers == nil {
		p.pacers = make(map[string]*Pacer)
	}
	if p.pacers[gateway] == nil {
		p.pacers[gateway] = new(Pacer)
	}
	return p.pacers[gateway]
}

// repeatedBreach is how soon after a budget was cut another error 100 speaks
// of what was sent before the cut.
const repeatedBreach = 5 * time.Second

// breached cuts the message budget by half when the gateway says that messages
// came too fast (error 100), and by half again when it goes on saying so.
func (p Policy) breached(s events.State, in Noticed, message string, now time.Time) (events.Draft, bool) {
	if !s.Pacing.CutAt.IsZero() && now.Sub(s.Pacing.CutAt) < repeatedBreach {
		return events.Draft{}, false
	}
	before := p.Pace.PerSecond
	if s.Pacing.PerSecond > 0 {
		before = s.Pacing.PerSecond
	}
	return about(in.Attempt, &events.PacingReduced{
		Attempt: in.Attempt, PerSecond: max(1, before/2), Before: before, Until: now.Add(p.PaceRecovery),
		Code: in.Code, Message: message,
	}), true
}
