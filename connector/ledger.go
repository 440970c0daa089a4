package connector

import (
	"fmt"
	"maps"
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
	openMost        = 20 // at most 50 are open,
	keptMost        = 28 // and those that are kept up to date stay so

	// smallBar is how long a bar may be for those rules to count it, but for
	// the last one, which counts all.
	smallBar = 30 * time.Second
	// quotaBegun is what a process that starts takes for used up where it does
	// not know what the one before it asked for.
	quotaBegun = quotaMost / 2
	maxWeight  = 2 // of a request

	// At most 60 new requests for real-time bars within 10 minutes
	// (https://interactivebrokers.github.io/tws-api/realtime_bars.html). They are
	// counted when they are put in a queue, where one may wait for half a minute.
	barsWithin = 10*time.Minute + 30*time.Second
	barsMost   = 58
	barsBegun  = barsMost / 2

	// At most one request for tick-by-tick data of one instrument within 15 seconds
	// (https://interactivebrokers.github.io/tws-api/tick_data.html).
	ticksWithin = 16 * time.Second

	// How long all is held when the gateway says that a rule is broken: another
	// program asks it too. Each time again it is twice as long.
	holdFirst = time.Minute
	holdMost  = quotaWithin
)

// Ledger keeps the requests for history, and for real-time bars, of all
// connections to one gateway within IB's rules. Its times are what has passed on
// the [Clock], which does not jump. Its methods may be called from any goroutine,
// and wait for nothing but the store that keeps it, if there is one: for that a
// second at most, and not at all for ten seconds after it failed.
type Ledger struct {
	mu        sync.Mutex
	begun     bool
	open      int
	kept      int                      // those that are kept up to date
	slots     []*slot                  // of small bars, the oldest first
	bars      []time.Duration          // when real-time bars were asked for, the oldest first
	ticks     map[string]time.Duration // when tick-by-tick data of an instrument was asked for last, in this process
	hold      time.Duration            // how long all was held last, since the gateway said that a rule is broken; 0 when it never did
	heldUntil time.Duration            // and until when
	keeper    keeper
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
	kept   bool // it is one that is kept up to date
}

// take lets a request go at the moment that is now, or says how long it has to
// wait, as far as can be known, for requests that were let go already.
func (l *Ledger) take(s *slot, now time.Duration) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known := l.begin(now); s.small && !known {
		return askAgain, false
	}
	if l.open >= openMost {
		wait = askAgain // until one of them is answered
	}
	if s.small {
		wait = max(wait, l.due(s, now)-now)
	}
	if wait > 0 {
		return wait, false
	}
	if s.small {
		l.slots = append(l.slots, s)
		if !l.save() { // the next process would not know of it
			l.drop(s)
			return askAgain, false
		}
	}
	l.open++
	return 0, true
}

func (l *Ledger) drop(s *slot) {
	l.slots = slices.DeleteFunc(l.slots, func(o *slot) bool { return o == s })
}

// begin says whether it is known what was asked for before, and forgets what
// counts no more.
func (l *Ledger) begin(now time.Duration) bool {
	if !l.readable(now) {
		return false
	}
	if !l.begun {
		l.begun = true
		l.slots = nil
		for range quotaBegun {
			l.slots = append(l.slots, &slot{weight: 1, left: true, at: now, small: true, closed: true})
		}
		l.bars = slices.Repeat([]time.Duration{now}, barsBegun)
	}
	l.slots = slices.DeleteFunc(l.slots, func(s *slot) bool { return s.left && now-s.at >= quotaWithin })
	l.bars = slices.DeleteFunc(l.bars, func(at time.Duration) bool { return now-at >= barsWithin })
	return true
}

// barsAt returns when one more request for real-time bars may go; now, where it
// may at once.
func (l *Ledger) barsAt(now time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.begin(now) {
		return now + askAgain
	}
	at := l.held(now)
	if len(l.bars) >= barsMost {
		at = max(at, l.bars[len(l.bars)-barsMost]+barsWithin)
	}
	return at
}

// tookBars counts a request for real-time bars that is about to go. It is to be
// called before the request is put in its queue.
func (l *Ledger) tookBars(now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begin(now)
	l.bars = append(l.bars, now)
	slices.Sort(l.bars)
	l.save()
}

// full says whether as many queries are kept up to date as may be.
func (l *Ledger) full() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kept >= keptMost
}

// ticksAt returns when tick-by-tick data of an instrument may be asked for; now,
// where it may at once.
func (l *Ledger) ticksAt(instrument string, now time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at, asked := l.ticks[instrument]; asked {
		return max(now, at+ticksWithin)
	}
	return now
}

// tookTicks counts a request for tick-by-tick data that is about to go.
func (l *Ledger) tookTicks(instrument string, now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ticks == nil {
		l.ticks = make(map[string]time.Duration)
	}
	maps.DeleteFunc(l.ticks, func(_ string, at time.Duration) bool { return now-at >= ticksWithin })
	l.ticks[instrument] = now
}

// keptAt returns when one more query that is kept up to date may go, if there is
// room for it; now, where it may at once.
func (l *Ledger) keptAt(s *slot, now time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.begin(now) {
		return now + askAgain
	}
	if !s.small {
		return l.held(now)
	}
	return l.due(s, now)
}

// tookKept counts a query that is kept up to date and is about to go. It is to be
// called before it is put in its queue, and is open until it is answered.
func (l *Ledger) tookKept(s *slot, now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begin(now)
	if s.small {
		l.slots = append(l.slots, s)
		l.save()
	}
	s.kept = true
	l.kept++
}

// held returns when something may go, as far as the gateway's complaints go.
func (l *Ledger) held(now time.Duration) time.Duration {
	if l.hold == 0 {
		return now
	}
	return max(now, l.heldUntil)
}

// violated says that the gateway reported a broken rule at now, and returns until
// when nothing of the kind goes.
func (l *Ledger) violated(now time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.hold == 0 || now >= l.heldUntil+holdMost: // long after the last one
		l.hold = holdFirst
	case now >= l.heldUntil:
		l.hold = min(2*l.hold, holdMost)
	default: // of what had left when it was held
		return l.heldUntil
	}
	l.heldUntil = now + l.hold
	l.save()
	return l.heldUntil
}

// due returns when s may go by the rules on small bars. What was let go and did
// not leave yet counts as if it left now.
func (l *Ledger) due(s *slot, now time.Duration) time.Duration {
	due := l.held(now)
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

// forecast returns when the last of so many requests like s may go that follow it,
// as far as can be known, if nobody asks for anything else.
func (l *Ledger) forecast(s *slot, ahead int, now time.Duration) time.Duration {
	if !s.small {
		return now
	}
	l.mu.Lock()
	l.begin(now)
	known := Ledger{begun: true, hold: l.hold, heldUntil: l.heldUntil}
	for _, old := range l.slots {
		known.slots = append(known.slots, &slot{same: old.same, series: old.series, weight: old.weight, left: true, at: old.leaves(now)})
	}
	l.mu.Unlock()
	// After two quotas' worth the times repeat.
	played := min(ahead, 2*quotaMost)
	same := s.same
	for i := range played + 1 {
		next := &slot{same: same, series: s.series, weight: s.weight, left: true}
		next.at = known.due(next, now)
		now, same = next.at, fmt.Sprint(i)
		known.begin(now)
		known.slots = append(known.slots, next)
	}
	return now + time.Duration((ahead-played)*s.weight/quotaMost)*quotaWithin
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
	l.changed(s)
}

// unsent gives back what never left.
func (l *Ledger) unsent(s *slot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.close(s)
	l.drop(s)
	l.changed(s)
}

// changed stores what is known of s now. If that fails, the next process takes s
// to have left later than it did.
func (l *Ledger) changed(s *slot) {
	if s.small {
		l.save()
	}
}

// answered says that the gateway has done with a request, or its session ended.
// One that is not known to have left is taken to have left now.
func (l *Ledger) answered(s *slot, now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.close(s)
	if !s.left {
		s.left, s.at = true, now
		l.changed(s)
	}
}

func (l *Ledger) close(s *slot) {
	switch {
	case s.closed:
	case s.kept:
		s.closed = true
		l.kept--
	default:
		s.closed = true
		l.open--
	}
}

// Ledgers has the [Ledger] of each gateway. Its zero value is ready to use, from
// any goroutine. It must not be changed once it is used.
type Ledgers struct {
	// Store keeps the ledgers over restarts. Without it, and where it has nothing
	// of a gateway, half of what IB allows is taken for used up at the start.
	Store LedgerStore

	ledgers perGateway[Ledger]
}

// For returns the ledger of the gateway at an address. Connections that reach
// one gateway under two addresses have two.
func (l *Ledgers) For(gateway string) *Ledger {
	of := l.ledgers.at(gateway)
	of.mu.Lock()
	defer of.mu.Unlock()
	if of.keeper.store == nil {
		of.keeper = keeper{store: l.Store, gateway: gateway}
	}
	return of
}
