// Package replay reads what happened again: from a bus, from the data directory that a
// stopped run left, or from an export file.
//
// The one idea: a state is a fold of events, so whoever reads the log has the state at
// every step of it, without a gateway, a policy or a clock.
//
//	for step, err := range replay.Steps(ctx, source, bus.Query{}) {
//		if err != nil { return err }
//		fmt.Println(step.Recorded.Time, step.State.Phase)
//	}
//
// A [Source] is a *[bus.Log], a *[bus.Copy] of a data directory, or a file of package
// export.
//
// Guarantees:
//   - The state at each step is the one that the connection had live, but for the
//     heartbeats of earlier processes, which a process that starts does not read.
//   - Memory does not grow with the log, only with the number of connections.
//   - Nothing that is read is changed.
//   - What cannot be decoded, or is of a type that this program does not know, is a step
//     like any other, with its bytes.
//
// # Non-obvious
//
//   - A source is read and decoded a few batches ahead, on goroutines that end before the
//     iteration does. Who breaks off waits for a source that cannot be interrupted, such
//     as a pipe that nothing comes from. With Follow nothing is read ahead.
package replay

import (
	"context"
	"iter"
	"maps"
	"slices"

	"ibconn/bus"
	"ibconn/events"
)

// Source is where the events of a log are read from, in the order in which they were
// stored.
type Source interface {
	// Stored yields what q selects. An error ends it.
	Stored(ctx context.Context, q bus.Query) iter.Seq2[bus.Stored, error]
}

// Step is one message of the log, and the state after it.
type Step struct {
	bus.Stored
	Recorded events.Recorded // the event; zero where Err is set
	Err      error           // an *[bus.UndecodableError] where it is no event
	// State is the connection's after it, and Before the one before. Both are good
	// until the next step; zero values where Err is set.
	State, Before *events.State
}

// Steps yields the steps that q selects of a source. The state of a connection is
// folded from the first event that is read of it, so a q that leaves out earlier ones
// or kinds has states of what it selects only. An error ends it; that of an event that
// cannot be decoded is in the step.
func Steps(ctx context.Context, source Source, q bus.Query) iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) {
		states := make(map[events.ConnectionID]*events.State)
		var before, none events.State
		for m, err := range decoded(ctx, source, q) {
			if err != nil {
				yield(Step{}, err)
				return
			}
			e := m.entry
			step := Step{Stored: m.Stored, Recorded: e.Recorded, Err: m.err, State: &none, Before: &none}
			if m.err == nil {
				state := states[e.Connection]
				if state == nil {
					state = new(events.NewState(e.Connection))
					states[e.Connection] = state
				}
				before, step.Before, step.State = *state, &before, state
				*state = state.Apply(e.Recorded)
			}
			if !yield(step, nil) {
				return
			}
		}
		if ctx.Err() != nil {
			yield(Step{}, context.Cause(ctx))
		}
	}
}

// Events yields the events of steps, and leaves out what is none.
func Events(ctx context.Context, source Source, q bus.Query) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		for m, err := range decoded(ctx, source, q) {
			if err != nil {
				yield(events.Recorded{}, err)
				return
			}
			if m.err == nil && !yield(m.entry.Recorded, nil) {
				return
			}
		}
		if ctx.Err() != nil {
			yield(events.Recorded{}, context.Cause(ctx))
		}
	}
}

// Connections returns the connections that a source has events of, in the order of
// their names. It asks the source, where that knows them, as an export does; otherwise it
// reads their claims: every connection begins with one.
func Connections(ctx context.Context, source Source) ([]events.ConnectionID, error) {
	if s, knows := source.(interface{ Connections() []events.ConnectionID }); knows {
		return s.Connections(), nil
	}
	found := make(map[events.ConnectionID]struct{})
	for s, err := range source.Stored(ctx, bus.Query{Kinds: []events.Kind{events.KindClaimed}}) {
		if err != nil {
			return nil, err
		}
		if e, err := s.Entry(); err == nil {
			found[e.Connection] = struct{}{}
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return slices.Sorted(maps.Keys(found)), nil
}
