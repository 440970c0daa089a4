package status

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ibconn/bus"
	"ibconn/consumers/follow"
	"ibconn/events"
)

// At returns where each connection stood at a time in the past, or now: after the
// last event in the order of the log whose time is not after t, of each connection
// by itself. A connection that had no event by then is not in it. A document says
// in Stale(t) whether its connector was heard of as it should have been, then.
//
// Where a clock was set back, it showed some times twice. Of such a time the
// later one is meant: everything that the log has before that event happened
// before it, also what bears a later time.
//
// The whole log is read, since a clock may have been set back after t. Events
// that cannot be decoded are left out. Of what is more than a week ago the
// heartbeats have expired, and with them what they alone say: as_of and
// stale_after are then those of the events that last. In one respect it tells more
// than the connector knew: a process that starts does not read the heartbeats of
// those before it.
func At(ctx context.Context, log follow.Log, t time.Time) (map[events.ConnectionID]Document, error) {
	var now Fold
	then := make(map[events.ConnectionID]standing)
	for e, err := range log.Read(ctx, bus.Query{}) {
		switch {
		case errors.Is(err, events.ErrMalformed):
			continue
		case err != nil:
			return nil, fmt.Errorf("status at %s: %w", t.UTC().Format(time.RFC3339Nano), err)
		}
		now.Add(e)
		if !e.Time.After(t) {
			then[e.Connection] = now.all[e.Connection]
		}
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("status at %s: %w", t.UTC().Format(time.RFC3339Nano), context.Cause(ctx))
	}
	documents := make(map[events.ConnectionID]Document, len(then))
	for c, s := range then {
		documents[c] = s.document()
	}
	return documents, nil
}
