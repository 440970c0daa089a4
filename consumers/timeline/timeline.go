// Package timeline shows events to people: one line each, with the time, a
// mark in the colour of the condition, and a sentence.
//
//	p := timeline.Printer{Out: os.Stdout, Colour: true}
//	p.Print(r)
//
// Non-obvious: the mark shows where the connection stands after the event, and
// is blank until an event has said so; the sentence's colour how grave the
// event itself is; heartbeats are left out
// unless asked for, since they would drown everything else.
package timeline

import (
	"fmt"
	"io"
	"time"

	"ibconn/events"
)

// Printer prints events to Out. It is not safe for concurrent use.
type Printer struct {
	Out        io.Writer
	Colour     bool           // use ANSI colours
	Heartbeats bool           // print answered heartbeats too; missed ones always are
	Names      bool           // print the connection's name, for a feed of several
	Zone       *time.Location // of the times; nil for the local one

	conditions map[events.ConnectionID]events.Condition
}

// The colours, as ANSI's select-graphic-rendition parameters.
const (
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

// Print prints r, and returns what Out's Write returns.
func (p *Printer) Print(r events.Recorded) error {
	if p.conditions == nil {
		p.conditions = make(map[events.ConnectionID]events.Condition)
	}
	if e, ok := r.Event.(events.StateEvent); ok {
		p.conditions[r.Connection] = e.After().Condition
	}
	if events.Routine(r) && !p.Heartbeats {
		return nil
	}
	zone := p.Zone
	if zone == nil {
		zone = time.Local
	}
	name := ""
	if p.Names {
		name = fmt.Sprintf("%-12s ", r.Connection)
	}
	_, err := fmt.Fprintf(p.Out, "%s %s %s%s\n",
		p.paint(dim, r.Time.In(zone).Format("15:04:05.000")),
		p.mark(p.conditions[r.Connection]),
		name,
		p.paint(severityColour(events.SeverityOf(r)), events.Sentence(r)))
	return err
}

func (p *Printer) mark(c events.Condition) string {
	switch c {
	case events.ConditionHealthy:
		return p.paint(green, "●")
	case events.ConditionDegraded:
		return p.paint(yellow, "◐")
	case events.ConditionDown:
		return p.paint(red, "○")
	case events.ConditionStopped:
		return p.paint(dim, "·")
	}
	return " "
}

func severityColour(s events.Severity) string {
	switch s {
	case events.SeverityError:
		return red
	case events.SeverityWarning:
		return yellow
	case events.SeverityInfo:
	}
	return ""
}

func (p *Printer) paint(colour, text string) string {
	if !p.Colour || colour == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}
