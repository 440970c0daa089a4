// Package pool works out what several connections amount to together: whether
// whoever spreads its work over them has all of them, some, or none.
//
// The one idea: a pool is derived. [Stand] is a pure function of the members'
// states, which are folds of their logs, so nothing of a pool is recorded, and
// whoever reads the same log finds the same.
//
//	p := &pool.Watcher{
//		Name: "main", Members: []events.ConnectionID{"main-20", "main-21"},
//		Log: log, Publish: nc.Publish, Version: version,
//	}
//	go p.Run(ctx)                                        // publishes on ib.pool.main
//	bus.ServeCommands(ctx, nc, bus.CommandService{       // answers ib.cmd.main.status
//		Connection: "main", Pool: p.Members, Verbs: status, Handle: p.Handle, Version: version,
//	})
//
// Guarantees:
//   - What is published or answered is the standing after some event of the log,
//     never one made of states that were not true together.
//   - What happened before Run is folded first and not published piece by piece.
//
// # Non-obvious
//
//   - A member that a disconnect command stopped is not wanted, and keeps the
//     pool from nothing; one whose process ended is wanted still.
//   - The bus may be away when a change is to be published. The next event brings
//     it up to date, and there is none before the bus is back.
package pool

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"sync"
	"time"

	"ibconn/bus"
	"ibconn/consumers/follow"
	"ibconn/events"
)

// Stand returns what the members of a pool, given by their states, amount to.
func Stand(name events.ConnectionID, members []events.State) events.Pool {
	p := events.Pool{Name: name, Of: len(members), Reasons: []events.PoolReason{}, Members: []events.PoolMember{}}
	stopped := 0
	for _, s := range members {
		if s.AsOf.After(p.AsOf) {
			p.AsOf = s.AsOf
		}
		p.Members = append(p.Members, events.PoolMember{Connection: s.Connection, Wanted: s.Wanted, Phase: s.Phase, Condition: s.Condition})
		p.Wanted += count(s.Wanted)
		p.Ready += count(s.Phase == events.PhaseReady)
		p.Healthy += count(s.Condition == events.ConditionHealthy)
		stopped += count(s.Condition == events.ConditionStopped)
	}
	switch {
	case stopped == len(members):
		p.Condition = events.ConditionStopped
	case p.Ready == 0:
		p.Condition = events.ConditionDown
	case p.Healthy == p.Wanted: // who is healthy is wanted
		p.Condition = events.ConditionHealthy
	default:
		p.Condition = events.ConditionDegraded
	}
	for _, s := range members {
		if !s.Wanted && p.Condition != events.ConditionStopped {
			continue
		}
		for _, r := range s.Reasons {
			p.Reasons = append(p.Reasons, events.PoolReason{Connection: s.Connection, Reason: r})
		}
	}
	return p
}

func count(is bool) int {
	if is {
		return 1
	}
	return 0
}

// Watcher follows the members of one pool. Fill in the fields and call Run
// once.
type Watcher struct {
	Name    events.ConnectionID
	Members []events.ConnectionID // in the order in which they are shown
	Log     follow.Log
	// Publish publishes on the bus without waiting for anybody.
	Publish func(subject string, data []byte) error
	Version string // the program's, for the answers

	once   sync.Once
	folded chan struct{} // closed once what happened before Run is folded
	ended  chan struct{} // closed when Run has ended

	mu       sync.Mutex
	standing events.Pool // as of the last event; zero before folded
}

func (w *Watcher) init() {
	w.once.Do(func() { w.folded, w.ended = make(chan struct{}), make(chan struct{}) })
}

// kinds are the events that a standing depends on: all but these either expire
// or move no level.
var kinds = []events.Kind{events.KindClaimed, events.KindState}

// Run folds the members' history, publishes where the pool stands, and then
// each change of it, until ctx ends, whose cause it returns; or an error when
// the log cannot be read.
func (w *Watcher) Run(ctx context.Context) error {
	w.init()
	defer close(w.ended)
	f := &following{Watcher: w, states: make(map[events.ConnectionID]events.State)}
	for _, c := range w.Members {
		f.states[c] = events.NewState(c)
	}
	err := follow.Run(ctx, follow.Reading{Log: w.Log, Past: kinds, Kinds: kinds, Add: f.add, Caught: f.caught})
	if ctx.Err() == nil {
		err = fmt.Errorf("pool %s: %w", w.Name, err)
	}
	return err
}

// Handle answers a status command with where the pool stands; there are no
// other commands for a pool. It may be called from any goroutine while Run runs,
// and waits until what happened before is folded.
func (w *Watcher) Handle(ctx context.Context, verb events.Verb, _ events.Request, _ func(events.Answer)) events.Answer {
	w.init()
	if verb != events.VerbStatus {
		return events.Refuse(w.Name, events.ErrorBadRequest, fmt.Sprintf("%s is a pool and takes no command %q: give it to its connections", w.Name, verb))
	}
	select {
	case <-w.folded:
	case <-w.ended:
	case <-ctx.Done():
	}
	w.mu.Lock()
	standing := w.standing
	w.mu.Unlock()
	if standing.Name == "" {
		return events.Refuse(w.Name, events.ErrorShutdown, "the process is ending")
	}
	return events.Answer{OK: true, Connection: w.Name, AsOf: time.Now().UTC().Round(0), Version: w.Version, Pool: &standing}
}

// following is one Run: the goroutine that owns the states.
type following struct {
	*Watcher
	states    map[events.ConnectionID]events.State
	current   bool         // the past is folded
	published *events.Pool // nil when the last one could not be published
}

func (f *following) caught() error {
	f.stand()
	close(f.folded)
	f.publish()
	f.current = true
	return nil
}

// add takes an event, and publishes what it changed once the past is folded.
func (f *following) add(e bus.Entry) error {
	s, member := f.states[e.Connection]
	if !member {
		return nil
	}
	f.states[e.Connection] = s.Apply(e.Recorded)
	if f.current {
		f.stand()
		f.publish()
	}
	return nil
}

func (f *following) stand() {
	states := make([]events.State, 0, len(f.Members))
	for _, c := range f.Members {
		states = append(states, f.states[c])
	}
	p := Stand(f.Name, states)
	f.mu.Lock()
	f.standing = p
	f.mu.Unlock()
}

// publish publishes the standing if it differs, by more than its time, from the
// one that was published last.
func (f *following) publish() {
	p := f.standing
	if f.published != nil {
		was := *f.published
		was.AsOf = p.AsOf
		if reflect.DeepEqual(was, p) {
			return
		}
	}
	f.published = nil
	b, err := json.Marshal(p)
	if err != nil {
		return // it is strings, numbers and times
	}
	if f.Publish(events.PoolSubject(f.Name), b) == nil {
		f.published = &p
	}
}
