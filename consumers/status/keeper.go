package status

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ibconn/bus"
	"ibconn/consumers/follow"
	"ibconn/events"
)

// Store is where documents are kept; *[bus.Statuses] is one.
type Store interface {
	// Put keeps a document that stands for a position of the log, unless one of a
	// later position is there. It returns when ctx ends, at the latest.
	Put(ctx context.Context, c events.ConnectionID, position uint64, document []byte) error
}

const (
	// pace is how long after a document of a connection was written the next one
	// is, at the earliest.
	pace = 100 * time.Millisecond
	// retry is the same after one that could not be written.
	retry = time.Second
	// putWithin is how long the store may take for one.
	putWithin = 5 * time.Second
	// lastWithin is how long all that is left may take at the end.
	lastWithin = time.Second
)

// Keeper keeps the document of every connection of the log in a store. Fill in the
// fields and call Run once. Several keepers may share a store.
type Keeper struct {
	Log   follow.Log
	Store Store
	// Failed is told, where it is set, when a document could not be written. It is
	// tried again, or the one that overtook it, and nothing is said of it again
	// until one was written. It is called by one goroutine at a time, and what it
	// does holds up the writing and not the reading.
	Failed func(events.ConnectionID, error)

	skipped atomic.Uint64
}

// Skipped returns how many messages of the log were left out because they are no
// events. It may be called from any goroutine.
func (k *Keeper) Skipped() uint64 { return k.skipped.Load() }

// Run reads the log from its beginning, writes the document of each connection
// once it has come to where the log ended when Run began, and then each document
// that changes, the newest only and at most ten a second of one connection. It
// goes on until ctx ends, whose cause it returns, or until the log cannot be
// read, which is an error. What was read by then is still written, where the
// store takes it within a second.
func (k *Keeper) Run(ctx context.Context) error {
	var f Fold
	w := &writing{
		store: k.Store, failed: k.Failed, news: make(chan struct{}, 1),
		newest: make(map[events.ConnectionID]standing), pens: make(map[events.ConnectionID]pen),
	}
	writing, end := context.WithCancel(ctx)
	var ended sync.WaitGroup
	defer ended.Wait()
	defer end()
	caught := false
	err := follow.Run(ctx, follow.Reading{
		Log: k.Log,
		Add: func(e bus.Entry) error {
			f.Add(e)
			if caught {
				w.give(f.all[e.Connection])
			}
			return nil
		},
		Skip: func(uint64) { k.skipped.Add(1) },
		Caught: func() error {
			caught = true
			for _, s := range f.all {
				w.give(s)
			}
			ended.Go(func() { w.run(writing) })
			return nil
		},
	})
	if ctx.Err() == nil {
		err = fmt.Errorf("status: %w", err)
	}
	return err
}

// writing is what the goroutine that reads and the one that writes share, and
// what only the latter has.
type writing struct {
	store  Store
	failed func(events.ConnectionID, error)
	news   chan struct{} // has one when newest may have grown

	mu     sync.Mutex
	newest map[events.ConnectionID]standing // what is to be written

	pens map[events.ConnectionID]pen // the writer's own
}

// pen is what the writer knows of one connection.
type pen struct {
	notBefore time.Time // when it may be written again
	failing   bool      // the last time it could not be
}

// give has s written, in place of what was to be written of its connection. It
// waits for nobody.
func (w *writing) give(s standing) {
	w.mu.Lock()
	w.newest[s.state.Connection] = s
	w.mu.Unlock()
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// run writes until ctx ends, and then what is left.
func (w *writing) run(ctx context.Context) {
	for ctx.Err() == nil {
		s, due, wait := w.take(time.Now())
		switch {
		case due:
			w.write(ctx, s)
		case wait > 0:
			w.sleep(ctx, time.After(wait))
		default:
			w.sleep(ctx, nil)
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWithin)
	defer cancel()
	w.mu.Lock()
	left := slices.Collect(maps.Values(w.newest))
	w.mu.Unlock()
	for _, s := range left {
		if last.Err() == nil {
			w.write(last, s)
		}
	}
}

func (w *writing) sleep(ctx context.Context, until <-chan time.Time) {
	select {
	case <-ctx.Done():
	case <-w.news:
	case <-until:
	}
}

// take takes what is to be written now, that first which could be for longest; or
// it returns how long there is nothing, 0 until there is more.
func (w *writing) take(now time.Time) (s standing, due bool, wait time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var at time.Time
	for c, candidate := range w.newest {
		if p := w.pens[c]; s.position == 0 || p.notBefore.Before(at) {
			s, at = candidate, p.notBefore
		}
	}
	switch {
	case s.position == 0:
		return standing{}, false, 0
	case at.After(now):
		return standing{}, false, at.Sub(now)
	}
	delete(w.newest, s.state.Connection)
	return s, true, 0
}

// write writes s, or puts it back unless it was overtaken meanwhile.
func (w *writing) write(ctx context.Context, s standing) {
	c := s.state.Connection
	err := w.put(ctx, s)
	if err == nil {
		w.pens[c] = pen{notBefore: time.Now().Add(pace)}
		return
	}
	w.mu.Lock()
	if _, overtaken := w.newest[c]; !overtaken {
		w.newest[c] = s
	}
	w.mu.Unlock()
	if ctx.Err() != nil {
		return // that it was broken off says nothing of the store
	}
	if !w.pens[c].failing && w.failed != nil {
		w.failed(c, err)
	}
	w.pens[c] = pen{notBefore: time.Now().Add(retry), failing: true}
}

func (w *writing) put(ctx context.Context, s standing) error {
	b, err := json.Marshal(s.document())
	if err != nil {
		return fmt.Errorf("status of %s: %w", s.state.Connection, err)
	}
	ctx, cancel := context.WithTimeout(ctx, putWithin)
	defer cancel()
	return w.store.Put(ctx, s.state.Connection, s.position, b)
}
