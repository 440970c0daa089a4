package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"ibconn/bus"
	"ibconn/connector"
	"ibconn/consumers/incidents"
	"ibconn/consumers/status"
	"ibconn/events"
	"ibconn/replay"
	"ibconn/replay/story"
)

// incidentsCommand lists what went wrong.
type incidentsCommand struct {
	sourceFlags
	JSON bool `name:"json" help:"Print the incidents as JSON."`
}

// incidentsSince is how long ago the span begins that is looked at by default.
const incidentsSince = 24 * time.Hour

// Run prints the incidents of a span.
func (i *incidentsCommand) Run(ctx context.Context, c console) error {
	p, err := i.past(ctx, c, time.Now(), incidentsSince)
	if err != nil {
		return err
	}
	defer p.close()
	name := events.ConnectionID("")
	if i.Connection != "" {
		if name, err = i.connection(ctx, p.source); err != nil {
			return err
		}
	}
	var teller story.Teller
	if err := p.each(ctx, name, teller.Add); err != nil {
		return err
	}
	found := []incidents.Incident{}
	for _, n := range teller.Incidents() {
		if story.Within(n, p.from, p.to) {
			found = append(found, n)
		}
	}
	if i.JSON {
		return printJSON(c.Out, found)
	}
	if len(found) == 0 {
		_, err := fmt.Fprintf(c.Out, "No incident %s; the last event of the log is of %s.\n", p.words(), p.word(p.last))
		return err
	}
	fmt.Fprintf(c.Out, "%s %s, times in %s\n\n", plural(uint64(len(found)), "incident"), p.words(), story.ZoneName(p.zone, p.last))
	if err := p.printer(c).Incidents(found); err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.Out, "\nThe whole story of one: ibconn replay incident", found[len(found)-1].ID)
	return err
}

// past is a source, and which part of it is asked for.
type past struct {
	span
	source opened
	c      console
	last   time.Time // when the last event that was read happened
}

// past opens the source of flags that may name a span; otherwise it begins so long ago,
// and 0 is with the log.
func (f sourceFlags) past(ctx context.Context, c console, now time.Time, since time.Duration) (*past, error) {
	s, err := f.span(now)
	if err != nil {
		return nil, err
	}
	if s.from.IsZero() && since > 0 {
		s.from = now.Add(-since)
		if !s.to.IsZero() {
			s.from = s.to.Add(-since)
		}
	}
	source, err := f.open(ctx, c)
	if err != nil {
		return nil, err
	}
	return &past{span: s, source: source, c: c}, nil
}

func (p *past) close() {
	if err := p.source.close(); err != nil {
		fmt.Fprintln(p.c.Err, "ibconn:", err)
	}
}

// each gives every event of a connection, or of all, to add. What is before the span is
// needed to know how things stood at its beginning, and what is after it to know how
// what was open ended.
func (p *past) each(ctx context.Context, name events.ConnectionID, add func(events.Recorded)) error {
	b := newBar(p.c, "reading")
	defer b.end()
	var read, unreadable uint64
	for step, err := range replay.Steps(ctx, p.source, bus.Query{Connection: name}) {
		if err != nil {
			return err
		}
		read++
		b.events(read, 0)
		if step.Err != nil {
			unreadable++
			continue
		}
		p.last = step.Recorded.Time
		add(step.Recorded)
	}
	if unreadable > 0 {
		fmt.Fprintf(p.c.Err, "ibconn: %s of the log cannot be read and left out\n", plural(unreadable, "message"))
	}
	if p.last.IsZero() {
		return fmt.Errorf("the log has no events%s", only(name != "", " of "+string(name)))
	}
	return nil
}

func only(when bool, s string) string {
	if when {
		return s
	}
	return ""
}

func (p *past) word(t time.Time) string { return t.In(p.zone).Format("2006-01-02 15:04:05 -07:00") }

// words says the span.
func (p *past) words() string {
	switch {
	case !p.from.IsZero() && !p.to.IsZero():
		return "from " + p.word(p.from) + " to " + p.word(p.to)
	case !p.from.IsZero():
		return "since " + p.word(p.from)
	case !p.to.IsZero():
		return "until " + p.word(p.to)
	}
	return "in the whole log"
}

func (p *past) printer(c console) story.Printer {
	return story.Printer{Out: c.Out, Zone: p.zone, Width: c.Columns, Colour: c.Colour}
}

// which is the incident that somebody means.
type which struct {
	connection events.ConnectionID // "" where it was not said
	number     int                 // of the connection's incidents, from 1
	id         string
	last       bool
}

// parseWhich reads how an incident is called: its number, its id, or "last".
func parseWhich(text string) (which, error) {
	if text == "last" {
		return which{last: true}, nil
	}
	wrong := fmt.Errorf(`incident %.60q: want a number such as 3, an id such as main-41, or last`, text)
	if !strings.Contains(text, "-") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return which{}, wrong
		}
		return which{number: n}, nil
	}
	cut := strings.LastIndexByte(text, '-')
	name, errName := events.ParseConnectionID(text[:cut])
	sequence, err := strconv.ParseUint(text[cut+1:], 10, 64)
	if err != nil || errName != nil || sequence == 0 || strconv.FormatUint(sequence, 10) != text[cut+1:] {
		return which{}, wrong
	}
	return which{connection: name, id: text}, nil
}

func (w which) is(i incidents.Incident) bool {
	return w.last || w.id == i.ID && w.id != "" || w.number > 0 && w.number == i.Number
}

// find says which incident is meant, and of which connection.
func (p *past) find(ctx context.Context, f sourceFlags, text string, teller *story.Teller) (events.ConnectionID, error) {
	w, err := parseWhich(text)
	if err != nil {
		return "", usageError{err}
	}
	name := w.connection
	if name == "" {
		if name, err = f.connection(ctx, p.source); err != nil {
			return "", err
		}
	}
	teller.Zone, teller.Most, teller.Want = p.zone, 1, w.is
	if err := p.each(ctx, name, teller.Add); err != nil {
		return "", err
	}
	if len(teller.Stories()) == 0 {
		all := teller.Incidents()
		if len(all) == 0 {
			return "", fmt.Errorf("there is no incident %s: the log of %s has none", text, name)
		}
		first, last := all[0], all[len(all)-1]
		return "", fmt.Errorf("there is no incident %s: %s has %d, from %d (%s) to %d (%s); `ibconn replay --from TIME` lists them",
			text, name, len(all), first.Number, first.ID, last.Number, last.ID)
	}
	return name, nil
}

// policyFlag is a policy that a connection is taken to have gone by.
type policyFlag struct {
	Policy string `help:"The configuration file that the connection ran with, as run takes it: then the limits of waits are its own, and not the defaults." placeholder:"FILE"`
}

func (f policyFlag) policy(ctx context.Context, name events.ConnectionID) (*connector.Policy, error) {
	if f.Policy == "" {
		return nil, nil
	}
	p, err := policyFrom(ctx, f.Policy, name)
	if err != nil {
		return nil, usageError{err}
	}
	return &p, nil
}

// incidentCommand tells one incident.
type incidentCommand struct {
	Which string `arg:"" help:"Its number, its id, or last." placeholder:"N|ID"`
	momentFlags
	policyFlag
	JSON bool `name:"json" help:"Print it as JSON."`
}

// Run prints all there is to tell of an incident.
func (i *incidentCommand) Run(ctx context.Context, c console) error {
	p, err := i.flags().past(ctx, c, time.Now(), 0)
	if err != nil {
		return err
	}
	defer p.close()
	var teller story.Teller
	if teller.Policy, err = i.policy(ctx, events.ConnectionID(i.Connection)); err != nil {
		return err
	}
	if _, err := p.find(ctx, i.flags(), i.Which, &teller); err != nil {
		return err
	}
	told := teller.Stories()[0]
	if i.JSON {
		return printJSON(c.Out, told)
	}
	return p.printer(c).Story(told)
}

// atCommand tells where connections stood.
type atCommand struct {
	Time string `arg:"" help:"When: 03:12, \"yesterday 03:12\", \"2026-11-22 03:12\", 2026-11-22T03:12Z, or \"2h ago\"." placeholder:"TIME"`
	momentFlags
	JSON bool `name:"json" help:"Print the documents, as /status?at has them, as JSON; of several a list."`
}

// momentFlags say where the past is read from.
type momentFlags struct {
	placeFlags
	Zone string `help:"The time zone that times are read and shown in: local, UTC, or a name such as Europe/Zurich." default:"local"`
}

func (f momentFlags) flags() sourceFlags { return sourceFlags{placeFlags: f.placeFlags, Zone: f.Zone} }

// log is a source as the fold of the status reads it.
type log struct {
	replay.Source
	bar  *bar
	name events.ConnectionID
}

// Last implements follow.Log.
func (log) Last(context.Context) (uint64, error) { return 0, nil }

// Read implements follow.Log.
func (l log) Read(ctx context.Context, q bus.Query) iter.Seq2[bus.Entry, error] {
	q.Connection = l.name
	return func(yield func(bus.Entry, error) bool) {
		var read uint64
		for s, err := range l.Stored(ctx, q) {
			if err != nil {
				yield(bus.Entry{}, err)
				return
			}
			read++
			l.bar.events(read, 0)
			if !yield(s.Entry()) {
				return
			}
		}
	}
}

// states returns where connections stood at each of some times, in words.
func (f momentFlags) states(ctx context.Context, c console, texts ...string) (*past, []time.Time, []map[events.ConnectionID]status.Document, error) {
	p, err := f.flags().past(ctx, c, time.Now(), 0)
	if err != nil {
		return nil, nil, nil, err
	}
	defer p.close()
	times := make([]time.Time, len(texts))
	for n, text := range texts {
		if times[n], err = parsePast(text, time.Now(), p.zone); err != nil {
			return nil, nil, nil, usageError{err}
		}
	}
	name := events.ConnectionID("")
	if f.Connection != "" {
		if name, err = events.ParseConnectionID(f.Connection); err != nil {
			return nil, nil, nil, usageError{err}
		}
	}
	b := newBar(c, "reading")
	all, err := status.AtEach(ctx, log{p.source, b, name}, times...)
	b.end()
	if err != nil {
		return nil, nil, nil, err
	}
	return p, times, all, nil
}

// Run prints where connections stood.
func (a *atCommand) Run(ctx context.Context, c console) error {
	p, times, all, err := a.states(ctx, c, a.Time)
	if err != nil {
		return err
	}
	at, documents := times[0], all[0]
	names := slices.Sorted(maps.Keys(documents))
	if len(names) == 0 {
		return fmt.Errorf("the log has no event%s until %s", only(a.Connection != "", " of "+a.Connection), p.word(at))
	}
	if a.JSON {
		list := make([]status.Document, 0, len(names))
		for _, name := range names {
			list = append(list, documents[name])
		}
		if len(list) == 1 {
			return printJSON(c.Out, list[0])
		}
		return printJSON(c.Out, list)
	}
	for n, name := range names {
		d := documents[name]
		if n > 0 {
			fmt.Fprintln(c.Out)
		}
		fmt.Fprintf(c.Out, "%s was %s at %s; its last event before that is of %s\n", name, d.Condition, p.word(at), p.word(d.AsOf))
		for _, r := range d.Reasons {
			fmt.Fprintf(c.Out, "  because %s\n", wordReason(r, at))
		}
		if d.Stale(at) {
			fmt.Fprintf(c.Out, "  it should have been heard of by %s: its process, or the bus, was gone\n", p.word(d.StaleAfter))
		}
		if err := p.printer(c).Facts(story.Facts(d.State, p.zone), at); err != nil {
			return err
		}
	}
	return nil
}

// diffCommand tells what changed between two times.
type diffCommand struct {
	From string `arg:"" help:"The earlier time." placeholder:"TIME"`
	To   string `arg:"" help:"The later time." placeholder:"TIME"`
	momentFlags
	JSON bool `name:"json" help:"Print both documents and the differences as JSON, a list by connection."`
}

// stateDiff is how a connection was at two times.
type stateDiff struct {
	Connection events.ConnectionID `json:"connection"`
	At         [2]time.Time        `json:"at"`
	Before     *status.Document    `json:"before"` // null where it had no event by then
	After      *status.Document    `json:"after"`
	Changed    []story.Difference  `json:"changed"`
}

// Run prints what changed.
func (d *diffCommand) Run(ctx context.Context, c console) error {
	p, times, all, err := d.states(ctx, c, d.From, d.To)
	if err != nil {
		return err
	}
	if times[1].Before(times[0]) {
		return usageError{errors.New("want the earlier time first")}
	}
	diffs := []stateDiff{}
	for _, name := range slices.Sorted(maps.Keys(all[1])) {
		now, had := all[1][name], false
		diff := stateDiff{Connection: name, At: [2]time.Time(times), After: &now}
		var before status.Document
		if before, had = all[0][name]; had {
			diff.Before = &before
		} else {
			before.State = events.NewState(name)
		}
		diff.Changed = story.Diff(story.Facts(before.State, p.zone), story.Facts(now.State, p.zone))
		diffs = append(diffs, diff)
	}
	if d.JSON {
		return printJSON(c.Out, diffs)
	}
	if len(diffs) == 0 {
		return fmt.Errorf("the log has no event%s until %s", only(d.Connection != "", " of "+d.Connection), p.word(times[1]))
	}
	for n, diff := range diffs {
		if n > 0 {
			fmt.Fprintln(c.Out)
		}
		fmt.Fprintf(c.Out, "%s from %s to %s (%v)\n", diff.Connection, p.word(times[0]), p.word(times[1]), events.Between(times[0], times[1]))
		if err := p.printer(c).Differences(diff.Changed); err != nil {
			return err
		}
	}
	return nil
}
