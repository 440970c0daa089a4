package connector

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// LedgerStore keeps what left for gateways beyond the life of a process. Package
// bus has the one on JetStream. Its methods may be called from any goroutine.
type LedgerStore interface {
	// LoadLedger returns what was saved last of the gateway at an address; nil
	// when nothing was.
	LoadLedger(ctx context.Context, gateway string) ([]byte, error)
	// SaveLedger stores kept in place of that. When it returns, it is stored.
	SaveLedger(ctx context.Context, gateway string, kept []byte) error
}

const (
	// storeWithin is how long the store may take.
	storeWithin = 2 * time.Second
	// readAgain is how soon a store that could not be read is tried again.
	readAgain = 5 * time.Second
	// maxKept is how many requests of each kind are taken from a store.
	maxKept = 500
)

// kept is a [Ledger] as it is stored. Its times are those of the wall clock, as
// it was set when it was stored.
type kept struct {
	Requests  []keptRequest `json:"requests,omitempty"`
	Bars      []time.Time   `json:"bars,omitempty"`
	HeldUntil time.Time     `json:"held_until,omitzero"`
}

// keptRequest is a request for small bars.
type keptRequest struct {
	Same   string    `json:"same"`
	Series string    `json:"series"`
	Weight int       `json:"weight"`
	At     time.Time `json:"at"`
	Left   bool      `json:"left,omitempty"` // at that time; else it may have left until the process ended
}

// keeper stores a ledger. Its zero value stores nothing.
type keeper struct {
	store   LedgerStore // nil when there is none
	gateway string
	clock   Clock         // nil until a connection reached the gateway
	read    bool          // what was stored is in the ledger
	failed  bool          // it could not be read
	tryAt   time.Duration // when it is tried again then
}

// reached says that a connection reached the gateway, and reads what earlier
// processes sent there.
func (l *Ledger) reached(clock Clock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.keeper.clock == nil {
		l.keeper.clock = clock
	}
	_, now := clock.Now()
	l.begin(now)
}

// readable says whether the ledger knows what it has to know. It reads what is
// stored if it did not yet.
func (l *Ledger) readable(now time.Duration) bool {
	k := &l.keeper
	if k.store == nil || k.read {
		return true
	}
	if k.clock == nil || k.failed && now < k.tryAt {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeWithin)
	defer cancel()
	stored, err := k.store.LoadLedger(ctx, k.gateway)
	if err != nil {
		k.failed, k.tryAt = true, now+readAgain
		return false
	}
	k.read = true
	if wall, passed := k.clock.Now(); l.restore(stored, wall, passed) == nil {
		l.begun = true
	}
	return true
}

// restore takes what was stored, at the moment that is wall and passed. What is
// of a time to come is of now: the clock was set back since.
func (l *Ledger) restore(stored []byte, wall time.Time, passed time.Duration) error {
	var all kept
	if err := json.Unmarshal(stored, &all); err != nil {
		return err
	}
	since := func(at time.Time) time.Duration { return passed - max(wall.Sub(at), 0) }
	if len(all.Requests) > maxKept || len(all.Bars) > maxKept {
		return fmt.Errorf("%d and %d requests, want at most %d", len(all.Requests), len(all.Bars), maxKept)
	}
	l.slots, l.bars = nil, nil
	for _, r := range all.Requests {
		s := &slot{same: r.Same, series: r.Series, weight: min(max(r.Weight, 1), maxWeight), small: true, left: true, closed: true, at: passed}
		if r.Left {
			s.at = since(r.At)
		}
		l.slots = append(l.slots, s)
	}
	for _, at := range all.Bars {
		l.bars = append(l.bars, since(at))
	}
	slices.Sort(l.bars)
	if hold := min(all.HeldUntil.Sub(wall), holdMost); hold > 0 {
		l.hold, l.heldUntil = holdFirst, passed+hold
	}
	return nil
}

// save stores the ledger, and says whether it is stored. It is called before a
// request leaves, and when more is known of one.
func (l *Ledger) save() bool {
	k := &l.keeper
	if k.store == nil || !k.read { // what is stored must not be lost before it was read
		return k.store == nil
	}
	wall, passed := k.clock.Now()
	wall = wall.UTC().Round(0)
	at := func(d time.Duration) time.Time { return wall.Add(d - passed) }
	var all kept
	for _, s := range l.slots {
		all.Requests = append(all.Requests, keptRequest{Same: s.same, Series: s.series, Weight: s.weight, At: at(s.leaves(passed)), Left: s.left})
	}
	for _, d := range l.bars {
		all.Bars = append(all.Bars, at(d))
	}
	if l.held(passed) > passed {
		all.HeldUntil = at(l.heldUntil)
	}
	b, err := json.Marshal(all)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeWithin)
	defer cancel()
	return k.store.SaveLedger(ctx, k.gateway, b) == nil
}
