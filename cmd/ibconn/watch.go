package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"ibconn/bus"
	"ibconn/consumers/timeline"
	"ibconn/events"
)

type watchCommand struct {
	natsFlags
	Connection string        `help:"Only this connection, or those of this pool; all of them by default." env:"IBCONN_CONNECTION"`
	Since      time.Duration `help:"Begin this long ago; by default with what happens from now on."`
	Heartbeats bool          `help:"Show answered heartbeats too."`
	UTC        bool          `name:"utc" help:"Show times in UTC."`
	JSON       bool          `name:"json" help:"Print each event as it is stored, one a line."`
}

// Run follows the log until a signal comes. It reads the stream, not the feed,
// so that it misses nothing when the bus is away for a while.
func (w *watchCommand) Run(ctx context.Context, c console) error {
	connection, err := w.connection()
	if err != nil {
		return usageError{err}
	}
	if w.Since < 0 {
		return usageError{fmt.Errorf("--since %v: want how long ago, such as 1h", w.Since)}
	}
	nc, err := w.dial("ibconn watch")
	if err != nil {
		return err
	}
	defer nc.Close()
	log, err := bus.FindLog(ctx, nc)
	if err != nil {
		return err
	}
	query := bus.Query{Connection: connection, Follow: true}
	if w.Since > 0 {
		query.Since = time.Now().Add(-w.Since)
	} else if query.After, err = log.Last(ctx); err != nil {
		return err
	}
	members, err := w.members(ctx, nc, connection)
	if err != nil {
		return err
	}
	if members != nil {
		query.Connection = ""
	}
	printer := timeline.Printer{Out: c.Out, Colour: c.Colour, Heartbeats: w.Heartbeats, Names: query.Connection == ""}
	if w.UTC {
		printer.Zone = time.UTC
	}
	for e, err := range log.Read(ctx, query) {
		if _, undecodable := errors.AsType[*bus.UndecodableError](err); undecodable {
			fmt.Fprintln(c.Err, err)
			continue
		}
		if err != nil {
			return err
		}
		if members != nil && !slices.Contains(members, e.Connection) {
			continue
		}
		if err := w.print(c, &printer, e.Recorded); err != nil {
			return err
		}
	}
	return nil
}

// members returns the connections of the pool that a name is of, or nil when it
// is none's.
func (w *watchCommand) members(ctx context.Context, nc *nats.Conn, name events.ConnectionID) ([]events.ConnectionID, error) {
	if name == "" {
		return nil, nil
	}
	offers, err := bus.Discover(ctx, nc)
	if err != nil {
		return nil, err
	}
	for _, o := range offers {
		if o.Connection == name {
			return o.Pool, nil
		}
	}
	return nil, nil
}

func (w *watchCommand) connection() (events.ConnectionID, error) {
	if w.Connection == "" {
		return "", nil
	}
	return events.ParseConnectionID(w.Connection)
}

func (w *watchCommand) print(c console, p *timeline.Printer, r events.Recorded) error {
	if !w.JSON {
		return p.Print(r)
	}
	_, err := fmt.Fprintf(c.Out, "%s\n", r.Wire)
	return err
}
