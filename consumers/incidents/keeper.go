package incidents

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"ibconn/bus"
	"ibconn/events"
)

// Log is what a Keeper needs of the log; *[bus.Log] is one.
type Log interface {
	Read(ctx context.Context, q bus.Query) iter.Seq2[bus.Entry, error]
}

// Store is where changes go; *[bus.Incidents] is one. A change is stored once,
// and none before one that is stored.
type Store interface {
	Publish(ctx context.Context, c bus.IncidentChange) (bool, error)
}

// Keeper publishes what happens to the incidents of all connections of a log.
// Several may do so at once, with a Store each. Fill in the fields and call Run
// once.
type Keeper struct {
	Log    Log
	Store  Store
	Settle time.Duration // as in [Fold]; the same in all that publish to the same place
}

// lasting are the kinds of events that incidents follow from.
var lasting = []events.Kind{events.KindClaimed, events.KindState, events.KindSubscription}

// Run folds the log from its beginning and publishes each change that is not
// published yet, and then those that come, until ctx ends, whose cause it
// returns; or an error when the log cannot be read or a change not be stored.
func (k *Keeper) Run(ctx context.Context) error {
	err := k.run(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err == nil {
		err = errors.New("the log ended")
	}
	return fmt.Errorf("incidents: %w", err)
}

func (k *Keeper) run(ctx context.Context) error {
	folds := make(map[events.ConnectionID]*Fold)
	// Heartbeats, which are the most by far, only tell sooner that time passed. Of
	// the past nobody needs to be told soon.
	position, err := k.read(ctx, bus.Query{Kinds: lasting}, folds)
	if err != nil || ctx.Err() != nil {
		return err
	}
	kinds := append([]events.Kind{events.KindHeartbeat}, lasting...)
	_, err = k.read(ctx, bus.Query{Kinds: kinds, After: position, Follow: true}, folds)
	return err
}

// read takes what q selects, and returns how far it came.
func (k *Keeper) read(ctx context.Context, q bus.Query, folds map[events.ConnectionID]*Fold) (uint64, error) {
	position := q.After
	for e, err := range k.Log.Read(ctx, q) {
		if errors.Is(err, events.ErrMalformed) {
			continue // the connector puts it on record
		}
		if err != nil {
			return position, err
		}
		position = e.StreamSeq
		fold := folds[e.Connection]
		if fold == nil {
			fold = &Fold{Settle: k.Settle}
			folds[e.Connection] = fold
		}
		for _, c := range fold.Add(e.Recorded) {
			if err := k.publish(ctx, c); err != nil {
				return position, err
			}
		}
	}
	return position, nil
}

func (k *Keeper) publish(ctx context.Context, c Change) error {
	payload, err := json.Marshal(c.Incident)
	if err != nil {
		return err
	}
	_, err = k.Store.Publish(ctx, bus.IncidentChange{
		Connection: c.Incident.Connection, Incident: c.Incident.ID, Kind: string(c.Kind),
		Sequence: c.Sequence, Part: c.Part, Payload: payload,
	})
	return err
}
