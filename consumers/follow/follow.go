// Package follow reads a log from its beginning and goes on with what comes: the
// loop that all consumers have in common.
//
// The one idea: what a consumer knows is a fold of the log, so it must know when it
// has come to where the log ended when it began, and may say nothing before. [Run]
// does that for one consumer. A [Reader] does it for several that live in one
// process, and reads the log once for all of them.
//
//	reader := &follow.Reader{Log: log, Folds: []follow.Fold{metrics, site}}
//	go reader.Run(ctx)
//	<-reader.Caught()
//
// Guarantees:
//   - Each event comes once and in the order of the log, also those that are
//     stored while the past is read.
//   - Everything is called by the goroutine that called Run, one after the other.
//   - What is no event is left out and reported; the connector puts it on record.
package follow

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"ibconn/bus"
	"ibconn/events"
)

// Log is what is needed of the log; *[bus.Log] is one.
type Log interface {
	Read(ctx context.Context, q bus.Query) iter.Seq2[bus.Entry, error]
	Last(ctx context.Context) (uint64, error)
}

// errEnded is why a reading ends that nobody ended.
var errEnded = errors.New("the log ended")

// Reading says what is read, and who takes it. Whatever of it returns an error ends
// the reading.
type Reading struct {
	Log Log
	// Past are the kinds of events that are read of what there was at the start, and
	// Kinds those that are read after that; nil is all of them.
	Past, Kinds []events.Kind

	Add    func(bus.Entry) error
	Skip   func(position uint64) // instead of Add, for what is no event; may be nil
	Caught func() error          // once, when what there was at the start is read; may be nil
}

// Run reads until ctx ends, whose cause it returns, or until the log cannot be read
// or an event not be taken, which is an error that says so.
func Run(ctx context.Context, r Reading) error {
	err := r.run(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (r Reading) run(ctx context.Context) error {
	// Whatever comes after this position comes with Follow, if not before.
	position, err := r.Log.Last(ctx)
	if err != nil {
		return err
	}
	read, err := r.read(ctx, bus.Query{Kinds: r.Past})
	if err != nil || ctx.Err() != nil {
		return err
	}
	if r.Caught != nil {
		if err := r.Caught(); err != nil {
			return err
		}
	}
	if _, err := r.read(ctx, bus.Query{Kinds: r.Kinds, After: max(position, read), Follow: true}); err != nil {
		return err
	}
	return errEnded
}

// read takes what q selects, and returns how far it came.
func (r Reading) read(ctx context.Context, q bus.Query) (position uint64, err error) {
	for e, err := range r.Log.Read(ctx, q) {
		bad, undecodable := errors.AsType[*bus.UndecodableError](err)
		switch {
		case undecodable:
			position = bad.StreamSeq
			if r.Skip != nil {
				r.Skip(position)
			}
			continue
		case err != nil:
			return position, err
		}
		position = e.StreamSeq
		if err := r.Add(e); err != nil {
			return position, err
		}
	}
	return position, nil
}

// Fold is what makes something of events. Its methods are called one after the
// other, but beside whatever else it has.
type Fold interface {
	Add(e bus.Entry)
	Skip(position uint64) // instead of Add, for what is no event
}

// Reader feeds a log to several folds. Fill in the fields and call Run once.
type Reader struct {
	Log   Log
	Folds []Fold
	// Ends, where it is set, is told where the log ends: at the start, and every
	// five seconds for as long as that can be found out. It may be called beside the
	// folds' methods.
	Ends func(position uint64)

	once   sync.Once
	caught chan struct{}
}

// lookEvery is how often the end of the log is looked at.
const lookEvery = 5 * time.Second

func (r *Reader) init() { r.once.Do(func() { r.caught = make(chan struct{}) }) }

// Caught is closed once the folds have what there was when Run began.
func (r *Reader) Caught() <-chan struct{} {
	r.init()
	return r.caught
}

// Run feeds until ctx ends, whose cause it returns, or until the log cannot be read,
// which is an error.
func (r *Reader) Run(ctx context.Context) error {
	r.init()
	looking, stop := context.WithCancel(ctx)
	var looked sync.WaitGroup
	defer looked.Wait()
	defer stop()
	if r.Ends != nil {
		looked.Go(func() { r.look(looking) })
	}
	err := Run(ctx, Reading{
		Log: r.Log,
		Add: func(e bus.Entry) error {
			for _, f := range r.Folds {
				f.Add(e)
			}
			return nil
		},
		Skip: func(position uint64) {
			for _, f := range r.Folds {
				f.Skip(position)
			}
		},
		Caught: func() error {
			close(r.caught)
			return nil
		},
	})
	if ctx.Err() == nil {
		err = fmt.Errorf("follow: %w", err)
	}
	return err
}

// look keeps the end of the log known. While it cannot be read, the last one stands.
func (r *Reader) look(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if end, err := r.Log.Last(ctx); err == nil {
			r.Ends(end)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
