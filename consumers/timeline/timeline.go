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
	mark, colour := Mark(p.conditions[r.Connection])
	_, err := fmt.Fprintf(p.Out, "%s %s %s%s\n",
		p.paint(Dim, r.Time.In(zone).Format("15:04:05.000")),
		p.paint(colour, mark),
		name,
		p.paint(ColourOf(events.SeverityOf(r)), events.Sentence(r)))
	return err
}

func (p *Printer) paint(c Colour, text string) string {
	if !p.Colour {
		return text
	}
	return c.Paint(text)
}
