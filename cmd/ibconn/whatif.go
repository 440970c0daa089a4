package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"ibconn/bus"
	"ibconn/connector"
	"ibconn/events"
	"ibconn/replay"
	"ibconn/replay/whatif"
)

// policyFrom returns the policy of a connection in a configuration file, as a run with
// that file would have it; of the file's only connection, whatever its name.
func policyFrom(ctx context.Context, path string, name events.ConnectionID) (connector.Policy, error) {
	if _, err := os.Stat(path); err != nil { // kong takes a file that is not there for an empty one
		return connector.Policy{}, err
	}
	var line commandLine
	file := new(config)
	k, err := newParserReading(ctx, &line, console{Out: io.Discard, Err: io.Discard}, file).Parse([]string{"run", "--config=" + path})
	if err != nil {
		return connector.Policy{}, err
	}
	w, err := line.Run.wire(k, file)
	if err != nil {
		return connector.Policy{}, err
	}
	i := slices.IndexFunc(w.connections, func(c connection) bool { return c.Name == name })
	switch {
	case i >= 0:
	case len(w.connections) == 1:
		i = 0
	default:
		return connector.Policy{}, fmt.Errorf("%s: it has %d connections, and none of them is %s", path, len(w.connections), name)
	}
	return w.connections[i].Policy, nil
}

// alternative is a policy, and what would have come of it.
type alternative struct {
	Name  string         `json:"name"`
	Late  whatif.Outcome `json:"late"`  // as late as the gateway can have come back
	Early whatif.Outcome `json:"early"` // as early
}

// comparison is what a span was like, and would have been.
type comparison struct {
	Connection events.ConnectionID `json:"connection"`
	From       time.Time           `json:"from"`
	To         time.Time           `json:"to"`
	Recorded   whatif.Outcome      `json:"recorded"`
	Policies   []alternative       `json:"policies"`
}

var errNoPolicy = errors.New("--policy: want at least one file, as `ibconn run --config` takes it")

// compare plays what happened again under each policy.
func compare(ctx context.Context, name events.ConnectionID, past iter.Seq2[events.Recorded, error], s span, paths []string) (comparison, error) {
	if len(paths) == 0 {
		return comparison{}, usageError{errNoPolicy}
	}
	policies := make([]connector.Policy, len(paths))
	for i, path := range paths {
		var err error
		if policies[i], err = policyFrom(ctx, path, name); err != nil {
			return comparison{}, usageError{err}
		}
	}
	world, err := whatif.Learn(past, s.from, s.to)
	if err != nil {
		return comparison{}, err
	}
	c := comparison{Connection: name, Recorded: world.Recorded()}
	c.From, c.To = world.Span()
	for i, path := range paths {
		a := alternative{Name: path}
		for bound, outcome := range map[whatif.Bound]*whatif.Outcome{whatif.Late: &a.Late, whatif.Early: &a.Early} {
			if *outcome, err = world.Play(policies[i], bound, nil); err != nil {
				return comparison{}, fmt.Errorf("%s: %w", path, err)
			}
			if ctx.Err() != nil {
				return comparison{}, context.Cause(ctx)
			}
		}
		c.Policies = append(c.Policies, a)
	}
	return c, nil
}

// print prints a comparison as a table.
func (c comparison) print(out io.Writer, zone *time.Location) error {
	when := func(t time.Time) string { return t.In(zone).Format("2006-01-02 15:04:05 MST") }
	fmt.Fprintf(out, "%s from %s to %s\n\n", c.Connection, when(c.From), when(c.To))
	t := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	heads := []string{"", "recorded"}
	for _, p := range c.Policies {
		heads = append(heads, p.Name)
	}
	fmt.Fprintln(t, strings.Join(heads, "\t"))
	for _, row := range whatIfRows {
		cells := []string{row.name, row.cell(c.Recorded)}
		if row.played {
			cells[1] = "not known"
		}
		for _, p := range c.Policies {
			cell, early := row.cell(p.Late), row.cell(p.Early)
			if early != cell {
				cell = early + " to " + cell
			}
			cells = append(cells, cell)
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprint(out, "\nTwo figures are bounds: what the gateway did between two attempts is not in the log. Subscriptions are not played.\n")
	return err
}

// whatIfRows are what a comparison shows.
var whatIfRows = []struct {
	name   string
	played bool // the log cannot tell
	cell   func(o whatif.Outcome) string
}{
	{"healthy", false, func(o whatif.Outcome) string { return share(o.Healthy, o.Wanted) }},
	{"degraded", false, func(o whatif.Outcome) string { return share(o.Degraded, o.Wanted) }},
	{"down", false, func(o whatif.Outcome) string { return o.Down.String() }},
	{"outages", false, func(o whatif.Outcome) string { return fmt.Sprint(o.Outages) }},
	{"longest", false, func(o whatif.Outcome) string { return o.LongestDown.String() }},
	{"incidents", false, func(o whatif.Outcome) string { return fmt.Sprint(o.Incidents) }},
	{"sessions lost", false, lostSessions},
	{"false alarms", true, func(o whatif.Outcome) string { return fmt.Sprint(o.FalseAlarms) }},
	{"attempts", false, func(o whatif.Outcome) string { return fmt.Sprintf("%d, %d failed", o.Attempts, o.Failures) }},
	{"breaker opened", false, func(o whatif.Outcome) string { return fmt.Sprint(o.Breaker) }},
	{"silence said after", false, func(o whatif.Outcome) string { return spread(o.SaidAfter) }},
	{"given up after", false, func(o whatif.Outcome) string { return spread(o.LostAfter) }},
	{"heartbeat probes", false, func(o whatif.Outcome) string { return fmt.Sprint(o.Probes) }},
}

func share(d, of events.Millis) string {
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3f %%", 100*float64(d)/float64(of))
}

func spread(s whatif.Spread) string {
	if s.Count == 0 {
		return "-"
	}
	return fmt.Sprintf("%v, %v at most", s.Mean, s.Max)
}

func lostSessions(o whatif.Outcome) string {
	sum := 0
	var causes []string
	for _, cause := range slices.Sorted(maps.Keys(o.Lost)) {
		sum += o.Lost[cause]
		causes = append(causes, fmt.Sprintf("%s %d", cause, o.Lost[cause]))
	}
	if sum == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%s)", sum, strings.Join(causes, ", "))
}

// whatIfCommand plays what happened again under other policies.
type whatIfCommand struct {
	sourceFlags
	Policy []string `help:"A configuration file as run takes it; may stand several times." placeholder:"FILE"`
	JSON   bool     `name:"json" help:"Print it as JSON; durations are in milliseconds."`
}

// Run plays the past of a connection and prints what would have come of it.
func (w *whatIfCommand) Run(ctx context.Context, c console) error {
	s, err := w.span(time.Now())
	if err != nil {
		return err
	}
	source, err := w.open(ctx, c)
	if err != nil {
		return err
	}
	result, err := w.compare(ctx, c, source, s)
	if err = errors.Join(err, source.close()); err != nil {
		return err
	}
	if w.JSON {
		return printJSON(c.Out, result)
	}
	return result.print(c.Out, s.zone)
}

func (w *whatIfCommand) compare(ctx context.Context, c console, source opened, s span) (comparison, error) {
	name, err := w.connection(ctx, source)
	if err != nil {
		return comparison{}, err
	}
	b := newBar(c, "reading")
	defer b.end()
	var read uint64
	past := func(yield func(events.Recorded, error) bool) {
		for r, err := range replay.Events(ctx, source, bus.Query{Connection: name}) {
			read++
			b.events(read, 0)
			if !yield(r, err) {
				return
			}
		}
	}
	return compare(ctx, name, past, s, w.Policy)
}

func listed(names []events.ConnectionID) string {
	var all []string
	for _, n := range names {
		all = append(all, string(n))
	}
	return strings.Join(all, ", ")
}
