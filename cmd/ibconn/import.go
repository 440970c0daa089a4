package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/replay/export"
)

// importCommand takes an export into a bus, beside its log.
type importCommand struct {
	natsFlags
	File       string `help:"The export; - is standard input." required:"" placeholder:"FILE"`
	As         string `help:"The name that the connection has from then on, which nothing has events under." required:"" placeholder:"NAME"`
	Connection string `help:"Which of its connections; without it, the only one that it has."`
}

// importedFrom is what an import says of where it is from.
type importedFrom struct {
	Connection events.ConnectionID `json:"connection"` // as it was called
	Messages   uint64              `json:"messages"`
	Export     export.Header       `json:"export"`
}

// Run imports, and says how to read it.
func (i *importCommand) Run(ctx context.Context, c console) error {
	name, err := events.ParseConnectionID(i.As)
	if err != nil {
		return usageError{fmt.Errorf("--as: %w", err)}
	}
	file, err := export.Open(i.File)
	if err != nil {
		return err
	}
	from, imported, out, err := i.run(ctx, c, file, name)
	if errors.Is(err, bus.ErrFull) {
		err = fmt.Errorf("there is not enough room for it in %s: read the file itself, with --file, or make the stream larger (%w)", events.ImportStream, err)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return undone(ctx, err, "nothing of it is left on the bus")
	}
	fmt.Fprintf(c.Out, "%s of %s are imported as %s; read them with: ibconn replay COMMAND --imported %s\n", plural(imported, "messages"), from, name, name)
	if out > 0 {
		fmt.Fprintf(c.Err, "%s are under no subject of a log, and were left out\n", plural(out, "messages"))
	}
	return nil
}

func (i *importCommand) run(ctx context.Context, c console, file *export.File, name events.ConnectionID) (from events.ConnectionID, imported, out uint64, err error) {
	from, err = placeFlags{Connection: i.Connection}.connection(ctx, opened{Source: file})
	if err != nil {
		return from, 0, 0, err
	}
	nc, err := i.dial("ibconn replay import")
	if err != nil {
		return from, 0, 0, err
	}
	defer nc.Close()
	imports, err := bus.OpenImports(ctx, nc, bus.ImportOptions{})
	if err != nil {
		return from, 0, 0, err
	}
	to, err := imports.Begin(ctx, name)
	if err != nil {
		return from, 0, 0, err
	}
	b := newBar(c, "importing")
	defer b.end()
	renamer := export.NewRenamer(name)
	for s, err := range file.Stored(ctx, bus.Query{Connection: from}) {
		if _, _, wrong := events.ParseLogSubject(s.Subject); err == nil && wrong != nil {
			out++
			continue
		}
		if err == nil {
			if s, err = renamer.Rename(s); err == nil {
				err = to.Add(ctx, s)
			}
		}
		if err != nil {
			return from, 0, 0, errors.Join(err, to.Discard(ctx))
		}
		imported++
		b.events(imported, 0)
	}
	if imported == 0 {
		return from, 0, 0, fmt.Errorf("%s has no events of %s", i.File, from)
	}
	about, err := json.Marshal(importedFrom{Connection: from, Messages: imported, Export: file.Header()})
	if err == nil {
		err = to.Finish(ctx, about)
	}
	if err != nil {
		return from, 0, 0, errors.Join(err, to.Discard(ctx))
	}
	return from, imported, out, nil
}
