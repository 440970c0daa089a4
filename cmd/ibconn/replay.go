package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/replay"
)

// replayCommand tells what was true then, and why.
type replayCommand struct {
	WhatIf whatIfCommand `cmd:"" help:"What happened, under another policy."`
}

// sourceFlags say where the past is read from, and which part of it.
type sourceFlags struct {
	natsFlags
	Data       string `help:"Read the log in the data directory of a stopped run, which is not changed, and not a bus." type:"existingdir" placeholder:"DIR" xor:"source"`
	Connection string `help:"The connection's name; without it, the only one that there is." env:"IBCONN_CONNECTION"`

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
}

// open opens the source. How far a long copy is goes to a terminal.
func (f sourceFlags) open(ctx context.Context, c console) (opened, error) {
	if f.Data != "" {
		bar := newBar(c, "copying")
		log, err := bus.OpenCopy(ctx, f.Data, bus.CopyOptions{Log: zerolog.Nop(), Copied: bar.bytes})
		bar.end()
		if err != nil {
			return opened{}, err
		}
		return opened{log, log.Close}, nil
	}
	nc, err := f.dial("ibconn replay")
	if err != nil {
		return opened{}, err
	}
	log, err := bus.FindLog(ctx, nc)
	if err != nil {
		nc.Close()
		return opened{}, err
	}
	return opened{log, func() error { nc.Close(); return nil }}, nil
}

// connection is the one that was asked for, or the only one that the source has.
func (f sourceFlags) connection(ctx context.Context, source replay.Source) (events.ConnectionID, error) {
	if f.Connection != "" {
		c, err := events.ParseConnectionID(f.Connection)
		if err != nil {
			return "", usageError{err}
		}
		return c, nil
	}
	names, err := replay.Connections(ctx, source)
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
