package incidents

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"ibconn/bus"
	"ibconn/consumers/follow"
	"ibconn/events"
)

// Store is where changes go; *[bus.Incidents] is one. A change is stored once,
// and none before one that is stored.
type Store interface {
	Publish(ctx context.Context, c bus.IncidentChange) (bool, error)
}

// Keeper publishes what happens to the incidents of all connections of a log.
// Several may do so at once, with a Store each. Fill in the fields and call Run
// once.
type Keeper struct {
	Log    follow.Log
	Store  Store
	Settle time.Duration // as in [Fold]; the same in all that publish to the same place
}

// lasting are the kinds of events that incidents follow from.
var lasting = []events.Kind{events.KindClaimed, events.KindState, events.KindSubscription}

// Run folds the log from its beginning and publishes each change that is not
// published yet, and then those that come, until ctx ends, whose cause it
// returns; or an error when the log cannot be read or a change not be stored.
func (k *Keeper) Run(ctx context.Context) error {
	folds := make(map[events.ConnectionID]*Fold)
	err := follow.Run(ctx, follow.Reading{
		Log: k.Log,
		// Heartbeats, which are the most by far, only tell sooner that time passed. Of
		// the past nobody needs to be told soon.
		Past: lasting, Kinds: append([]events.Kind{events.KindHeartbeat}, lasting...),
		Add: func(e bus.Entry) error {
			fold := folds[e.Connection]
			if fold == nil {
				fold = &Fold{Settle: k.Settle}
				folds[e.Connection] = fold
			}
			for _, c := range fold.Add(e.Recorded) {
				if err := k.publish(ctx, c); err != nil {
					return err
				}
			}
			return nil
		},
	})
	if ctx.Err() == nil {
		err = fmt.Errorf("incidents: %w", err)
	}
	return err
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
