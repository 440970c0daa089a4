package connector

import (
	"context"
	"errors"
	"fmt"

	"ibconn/events"
)

// fold is what a log says.
type fold struct {
	state  events.State
	head   events.Head
	idle   *events.EpochBegan  // the claim that ends the log; nil when something follows it
	damage []events.LogDamaged // found now and not on record yet
}

// maxDamage bounds how many findings one start puts on record; the first ones
// tell the story.
const maxDamage = 20

// load folds a connection's log and checks it: each event must follow the one
// before it, and the last must not lie before the high-water mark. Damage is
// reported and never papered over: the state is folded from what is there, and
// the sequence goes on behind the mark, so that no number is used twice.
func load(ctx context.Context, c events.ConnectionID, log Log) (fold, error) {
	f := fold{state: events.NewState(c)}
	mark, err := log.Mark()
	if err != nil {
		f.found(events.LogDamaged{Finding: events.FindingStore, Detail: err.Error()})
	}
	var onRecord []events.LogDamaged
	for rec, err := range log.Load(ctx) {
		if ctx.Err() != nil {
			return f, ctx.Err()
		}
		if errors.Is(err, events.ErrMalformed) {
			f.found(events.LogDamaged{Finding: events.FindingStore, Detail: err.Error()})
			continue
		}
		if err != nil {
			return f, fmt.Errorf("load: %w", err)
		}
		f.check(rec, mark)
		if d, ok := rec.Event.(*events.LogDamaged); ok {
			onRecord = append(onRecord, *d)
		}
		f.idle, _ = rec.Event.(*events.EpochBegan)
		f.state = f.state.Apply(rec)
		f.head = f.head.Then(rec)
	}
	if ctx.Err() != nil {
		return f, ctx.Err()
	}
	if f.head.Sequence < mark.Sequence {
		f.found(events.LogDamaged{
			Finding:  events.FindingMissing,
			Detail:   fmt.Sprintf("the log ends at sequence %d, but %d had been stored: %d events are gone", f.head.Sequence, mark.Sequence, mark.Sequence-f.head.Sequence),
			Expected: mark.Sequence,
			Found:    f.head.Sequence,
		})
		f.head = mark
	}
	// The known ones go first: they must not crowd out a new one.
	f.damage = news(f.damage, onRecord)
	f.damage = f.damage[:min(len(f.damage), maxDamage)]
	return f, nil
}

func (f *fold) found(d events.LogDamaged) { f.damage = append(f.damage, d) }

func (f *fold) check(rec events.Recorded, mark events.Head) {
	if err := f.head.Follows(rec); err != nil {
		d := events.LogDamaged{Finding: events.FindingHash, Detail: err.Error()}
		if broken, ok := errors.AsType[*events.ChainError](err); ok {
			d.Finding, d.Expected, d.Found = broken.Finding, broken.Expected, broken.Found
		}
		f.found(d)
	}
	if rec.Sequence == mark.Sequence && rec.Hash() != mark.Hash {
		f.found(events.LogDamaged{
			Finding:  events.FindingChanged,
			Detail:   fmt.Sprintf("the event with sequence %d is not the one that was stored", rec.Sequence),
			Expected: mark.Sequence,
			Found:    rec.Sequence,
		})
	}
}

// news leaves out the findings that an earlier start has put on record, so that
// one damage is one event.
func news(findings, onRecord []events.LogDamaged) []events.LogDamaged {
	known := func(f events.LogDamaged) bool {
		for _, d := range onRecord {
			if d == f {
				return true
			}
			// The gap that the missing events left when the sequence went on.
			if d.Finding == events.FindingMissing && f.Finding == events.FindingGap &&
				f.Expected == d.Found+1 && f.Found == d.Expected+1 {
				return true
			}
		}
		return false
	}
	fresh := findings[:0]
	for _, f := range findings {
		if !known(f) {
			fresh = append(fresh, f)
		}
	}
	return fresh
}
