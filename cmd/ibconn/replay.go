package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/replay"
	"ibconn/replay/export"
)

// replayCommand tells what was true then, and why.
type replayCommand struct {
	Incidents incidentsCommand `cmd:"" default:"withargs" help:"The incidents of a span as a table, the newest last; what replay alone does."`
	Incident  incidentCommand  `cmd:"" help:"The whole story of one incident."`
	At        atCommand        `cmd:"" help:"Where connections stood at a time."`
	Diff      diffCommand      `cmd:"" help:"What changed between two times."`
	Report    reportCommand    `cmd:"" help:"One file to attach to a ticket: summary, plots, stories, statistics, events."`
	Stats     statsCommand     `cmd:"" help:"How available a connection was, what its incidents came from, and when they come."`
	WhatIf    whatIfCommand    `cmd:"" help:"What happened, under another policy."`
	Verify    verifyCommand    `cmd:"" help:"Whether the log is what was written: says what is missing, was changed, or should not be there."`
	Export    exportCommand    `cmd:"" help:"Write the events into a file."`
	Import    importCommand    `cmd:"" help:"Take an exported file into a bus, under another name."`
	Play      playCommand      `cmd:"" help:"Publish the events again, at their distances or faster, on other subjects."`
}

// placeFlags say where the past is read from.
type placeFlags struct {
	natsFlags
	Data       string `help:"Read the log in the data directory of a stopped run, which is not changed, and not a bus." type:"existingdir" placeholder:"DIR" xor:"source"`
	File       string `help:"Read an export, and not a bus; - is standard input." placeholder:"FILE" xor:"source"`
	Imported   string `help:"Read what was imported into the bus under a name, and not its log." placeholder:"NAME" xor:"source"`
	Connection string `help:"The connection's name; without it, the only one that there is." env:"IBCONN_CONNECTION"`
}

// sourceFlags say where the past is read from, and which part of it.
type sourceFlags struct {
	placeFlags

	Since time.Duration `help:"From so long ago on, such as 24h." xor:"from"`
	From  string        `help:"From then on: 03:12, \"yesterday 03:12\", \"2026-11-22 03:12\", 2026-11-22T03:12Z, or -2h." placeholder:"TIME" xor:"from"`
	To    string        `help:"Until then." placeholder:"TIME"`
	Zone  string        `help:"The time zone that times are read and shown in: local, UTC, or a name such as Europe/Zurich." default:"local"`
}

// span is what of the past is asked for. A zero time is no bound.
type span struct {
	from, to time.Time
	zone     *time.Location
}

func (f sourceFlags) span(now time.Time) (span, error) {
	zone, err := parseZone(f.Zone)
	if err != nil {
		return span{}, usageError{err}
	}
	s := span{zone: zone}
	if f.Since < 0 {
		return span{}, usageError{fmt.Errorf("--since %v: want how long ago, such as 24h", f.Since)}
	}
	if f.Since > 0 {
		s.from = now.Add(-f.Since)
	}
	for _, bound := range []struct {
		flag, text string
		at         *time.Time
	}{{"--from", f.From, &s.from}, {"--to", f.To, &s.to}} {
		if bound.text == "" {
			continue
		}
		if *bound.at, err = parsePast(bound.text, now, zone); err != nil {
			return span{}, usageError{fmt.Errorf("%s: %w", bound.flag, err)}
		}
	}
	if !s.to.IsZero() && !s.from.Before(s.to) {
		return span{}, usageError{errors.New("--to: want a time after the beginning of the span")}
	}
	return s, nil
}

// opened is a source that is open. Its owner closes it.
type opened struct {
	replay.Source
	close func() error
	// what it is, in words; where says which one.
	what, where string
	last        uint64 // the last position in it; 0 where that is not known
	// header is that of the export that it is, or was imported from; nil otherwise.
	header *export.Header
}

// open opens the source. How far a long copy is goes to a terminal.
func (f placeFlags) open(ctx context.Context, c console) (opened, error) {
	switch {
	case f.Data != "":
		return f.openData(ctx, c)
	case f.File != "":
		file, err := export.Open(f.File)
		if err != nil {
			return opened{}, err
		}
		h := file.Header()
		return opened{Source: file, close: file.Close, what: "an export", where: f.File, header: &h}, nil
	}
	nc, err := f.dial("ibconn replay")
	if err != nil {
		return opened{}, err
	}
	o, err := f.openBus(ctx, nc)
	if err != nil {
		nc.Close()
		return opened{}, err
	}
	o.where, o.close = nc.ConnectedUrlRedacted(), func() error { nc.Close(); return nil }
	return o, nil
}

func (f placeFlags) openBus(ctx context.Context, nc *nats.Conn) (opened, error) {
	if f.Imported != "" {
		name, err := events.ParseConnectionID(f.Imported)
		if err != nil {
			return opened{}, usageError{err}
		}
		return openImport(ctx, nc, name)
	}
	log, err := bus.FindLog(ctx, nc)
	if err != nil {
		return opened{}, err
	}
	last, err := log.Last(ctx)
	return opened{Source: log, what: "a bus", last: last}, err
}

func openImport(ctx context.Context, nc *nats.Conn, name events.ConnectionID) (opened, error) {
	imports, err := bus.FindImports(ctx, nc)
	if err != nil {
		return opened{}, err
	}
	about, err := imports.About(ctx, name)
	if err != nil {
		return opened{}, err
	}
	var from importedFrom
	if err := json.Unmarshal(about, &from); err != nil {
		return opened{}, fmt.Errorf("import %s: what it says of itself is not as it must be: %w", name, err)
	}
	return opened{Source: imported{imports, name}, what: "an import", header: &from.Export}, nil
}

func (f placeFlags) openData(ctx context.Context, c console) (opened, error) {
	bar := newBar(c, "copying")
	log, err := bus.OpenCopy(ctx, f.Data, bus.CopyOptions{Log: zerolog.Nop(), Copied: bar.bytes})
	bar.end()
	if err != nil {
		return opened{}, err
	}
	o := opened{Source: log, close: log.Close, what: "a data directory", where: f.Data}
	if o.last, err = log.Last(ctx); err != nil {
		return opened{}, errors.Join(err, log.Close())
	}
	return o, nil
}

// imported is one import.
type imported struct {
	*bus.Imports
	name events.ConnectionID
}

func (i imported) Stored(ctx context.Context, q bus.Query) iter.Seq2[bus.Stored, error] {
	if q.Connection == "" {
		q.Connection = i.name
	}
	return i.Imports.Stored(ctx, q)
}

// Connections returns the one that it is.
func (i imported) Connections() []events.ConnectionID { return []events.ConnectionID{i.name} }

// connections are those that were asked for: the one, or all that the source has.
func (f placeFlags) connections(ctx context.Context, source opened) ([]events.ConnectionID, error) {
	if f.Connection == "" {
		return replay.Connections(ctx, source.Source)
	}
	c, err := events.ParseConnectionID(f.Connection)
	if err != nil {
		return nil, usageError{err}
	}
	return []events.ConnectionID{c}, nil
}

// connection is the one that was asked for, or the only one that the source has.
func (f placeFlags) connection(ctx context.Context, source opened) (events.ConnectionID, error) {
	names, err := f.connections(ctx, source)
	switch {
	case err != nil:
		return "", err
	case len(names) == 0:
		return "", errors.New("the log has no events")
	case len(names) > 1:
		return "", usageError{fmt.Errorf("the log has the connections %s: say which with --connection", listed(names))}
	}
	return names[0], nil
}
