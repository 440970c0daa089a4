package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/replay/export"
)

// exportCommand writes the events of a log into a file.
type exportCommand struct {
	sourceFlags
	Out    string `help:"The file, which is compressed when its name ends in .zst; - is standard output." required:"" placeholder:"FILE"`
	Force  bool   `help:"Replace the file, should it be there."`
	Redact bool   `help:"Hide hosts, what was written by people, what is traded, and whatever is not known to be harmless."`
}

// exporting is where an export is written to.
type exporting interface {
	Write(s bus.Stored) error
	commit() (export.Trailer, error)
	Close() error
}

// Run exports, and says what on the standard error.
func (x *exportCommand) Run(ctx context.Context, c console) error {
	s, err := x.span(time.Now())
	if err != nil {
		return err
	}
	source, err := x.open(ctx, c)
	if err != nil {
		return err
	}
	trailer, err := x.export(ctx, c, source, s)
	if err = errors.Join(err, source.close()); err != nil {
		return undone(ctx, err, "nothing was written")
	}
	fmt.Fprintf(c.Err, "%s: %s\n", x.Out, plural(trailer.Count, "messages"))
	if !s.from.IsZero() || source.header != nil && source.header.Partial() {
		fmt.Fprintln(c.Err, "What was before is not in it, so how things stood at its beginning is not known to who reads it.")
	}
	return nil
}

// undone words the end of something that leaves nothing behind when it is interrupted.
func undone(ctx context.Context, err error, what string) error {
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return fmt.Errorf("interrupted: %s", what)
	}
	return err
}

func (x *exportCommand) export(ctx context.Context, c console, source opened, s span) (export.Trailer, error) {
	names, err := x.connections(ctx, source)
	if err != nil {
		return export.Trailer{}, err
	}
	h := export.Header{Version: version, Source: source.what + ", " + source.where, Connections: names, From: s.from.UTC(), To: s.to.UTC()}
	change := func(s bus.Stored) (bus.Stored, error) { return s, nil }
	if was := source.header; was != nil {
		h.Redacted = was.Redacted
		h.From = latest(h.From, was.From)
		if h.To.IsZero() || !was.To.IsZero() && was.To.Before(h.To) {
			h.To = was.To
		}
	}
	if x.Redact {
		h.Redacted, h.Source = true, source.what
		var key [32]byte
		if _, err := io.ReadFull(rand.Reader, key[:]); err != nil {
			return export.Trailer{}, err
		}
		change = export.NewRedactor(key).Redact
	}
	out, err := x.create(c, h)
	if err != nil {
		return export.Trailer{}, err
	}
	b := newBar(c, "exporting")
	defer b.end()
	if err = x.copy(ctx, source, s, b, func(s bus.Stored) error {
		if s, err = change(s); err != nil {
			return err
		}
		return out.Write(s)
	}); err != nil {
		return export.Trailer{}, errors.Join(err, out.Close())
	}
	trailer, err := out.commit()
	return trailer, errors.Join(err, out.Close())
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// copy hands what is to be exported to write.
func (x *exportCommand) copy(ctx context.Context, source opened, s span, b *bar, write func(bus.Stored) error) error {
	var read uint64
	for m, err := range source.Stored(ctx, bus.Query{Connection: events.ConnectionID(x.Connection)}) {
		if err != nil {
			return err
		}
		if read++; source.last > 0 {
			b.events(m.StreamSeq, source.last)
		} else {
			b.events(read, 0)
		}
		if !s.has(m) {
			continue
		}
		if err := write(m); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// has says whether something happened within a span; of what is no event it is when it
// was stored.
func (s span) has(m bus.Stored) bool {
	if s.from.IsZero() && s.to.IsZero() {
		return true
	}
	at := m.StoredAt
	if e, err := m.Entry(); err == nil {
		at = e.Time
	}
	return !at.Before(s.from) && (s.to.IsZero() || !at.After(s.to))
}

func (x *exportCommand) create(c console, h export.Header) (exporting, error) {
	if x.Out != "-" {
		o, err := export.Create(x.Out, h, x.Force)
		if errors.Is(err, os.ErrExist) {
			err = usageError{err}
		}
		return outFile{o}, err
	}
	w, err := export.NewWriter(c.Out, h, false)
	return outStream{w}, err
}

// outFile and outStream are the two ways to write one.
type (
	outFile   struct{ *export.Output }
	outStream struct{ *export.Writer }
)

func (o outFile) commit() (export.Trailer, error)   { return o.Commit() }
func (o outStream) commit() (export.Trailer, error) { return o.End() }

// Close does nothing: half an export on the standard output is found by who reads it.
func (o outStream) Close() error { return nil }
