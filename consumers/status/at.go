package status

import (
	"context"
	"errors"
	"fmt"
	"strings"
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
	all, err := AtEach(ctx, log, t)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// AtEach returns the same for several times, in their order, of one reading of the log.
func AtEach(ctx context.Context, log follow.Log, times ...time.Time) ([]map[events.ConnectionID]Document, error) {
	var now Fold
	then := make([]map[events.ConnectionID]standing, len(times))
	for i := range then {
		then[i] = make(map[events.ConnectionID]standing)
	}
	for e, err := range log.Read(ctx, bus.Query{}) {
		switch {
		case errors.Is(err, events.ErrMalformed):
			continue
		case err != nil:
			return nil, fmt.Errorf("status at %s: %w", worded(times), err)
		}
		now.Add(e)
		for i, t := range times {
			if !e.Time.After(t) {
				then[i][e.Connection] = now.all[e.Connection]
			}
		}
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("status at %s: %w", worded(times), context.Cause(ctx))
	}
	all := make([]map[events.ConnectionID]Document, len(times))
	for i := range then {
		all[i] = make(map[events.ConnectionID]Document, len(then[i]))
		for c, s := range then[i] {
			all[i][c] = s.document()
		}
	}
	return all, nil
}

func worded(times []time.Time) string {
	words := make([]string, len(times))
	for i, t := range times {
		words[i] = t.UTC().Format(time.RFC3339Nano)
	}
	return strings.Join(words, " and ")
}
