package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nuid"

	"ibconn/bus"
	"ibconn/events"
)

// historyVerb asks for bars of the past.
type historyVerb struct {
	clientFlags
	Contract []string      `arg:"" help:"As contract takes it: AAPL, EUR.USD, ES@CME 202612, ..."`
	Duration string        `help:"How far back: a number and S, D, W, M or Y." default:"1 D"`
	BarSize  string        `help:"IB's bar size, 1 secs to 1 month." default:"5 mins"`
	What     string        `help:"TRADES, MIDPOINT, BID, ASK, BID_ASK, ADJUSTED_LAST, ..." default:"TRADES"`
	RTH      bool          `name:"rth" help:"Regular trading hours only."`
	End      string        `help:"When the bars end, such as 2026-12-18T16:00:00Z; now without it."`
	Stream   bool          `help:"Print the bars in parts, as they come; more than 3000 are printed like that in any case."`
	Wait     time.Duration `help:"How long to wait for IB's answers, and for their turns by IB's rules; 30s without it, and 6h for parts."`
	JSON     bool          `name:"json" help:"Print the answer as JSON; for parts, each reply as a line of it."`
}

const (
	// silentFor is how long nothing may come of a history that is streamed: word
	// of how far it is comes every ten seconds.
	silentFor = 30 * time.Second
	// cancelWithin is how long its end may take when the verb is interrupted.
	cancelWithin = time.Second
)

// errInterrupted is how it ends when what was printed is not all.
var errInterrupted = errors.New("interrupted: the query is cancelled")

// Run prints the bars. When it is interrupted, it leaves nothing behind that
// counts by IB's rules.
func (v *historyVerb) Run(ctx context.Context, c console) error {
	req, err := v.request()
	if err != nil {
		return err
	}
	err = v.print(ctx, c, req)
	if err != nil && ctx.Err() != nil {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelWithin)
		defer cancel()
		_, _ = v.ask(ending, events.VerbCancel, events.Request{Query: req.ID}) // it may have ended by itself
		return errInterrupted
	}
	return err
}

func (v *historyVerb) print(ctx context.Context, c console, req events.Request) error {
	if req.Stream {
		return v.stream(ctx, c, req)
	}
	answer, err := v.ask(ctx, events.VerbHistory, req)
	if told, err := toldAbout(c.Out, answer, v.JSON, err); told || err != nil {
		return err
	}
	if answer.NoData {
		return sayNoData(c.Out)
	}
	return printBars(c.Out, answer.Bars, true)
}

// request is what v asks for.
func (v *historyVerb) request() (events.Request, error) {
	bars := events.BarQuery{Duration: v.Duration, BarSize: v.BarSize, What: v.What, RTH: v.RTH}
	if v.End != "" {
		end, err := time.Parse(time.RFC3339, v.End)
		if err != nil {
			return events.Request{}, usageError{fmt.Errorf("--end %q: want a time such as 2026-12-18T16:00:00Z", v.End)}
		}
		bars.End = end.UTC()
	}
	if err := bars.CheckBars(); err != nil {
		return events.Request{}, usageError{err}
	}
	stream := v.Stream || bars.EstimateBars() > events.MaxBars
	wait := time.Duration(events.HistoryWait)
	if stream {
		wait = time.Duration(events.MaxHistoryWait)
	}
	req, err := aboutContract(events.VerbHistory, v.Contract, cmp.Or(v.Wait, wait))
	req.ID, req.Stream, req.BarQuery = nuid.Next(), stream, bars
	return req, err
}

func sayNoData(w io.Writer) error {
	_, err := fmt.Fprintln(w, "no data")
	return err
}

// stream prints the bars as they come.
func (v *historyVerb) stream(ctx context.Context, c console, req events.Request) error {
	connection, err := events.ParseConnectionID(v.Connection)
	if err != nil {
		return usageError{err}
	}
	nc, err := v.dial("ibconn history")
	if err != nil {
		return err
	}
	defer nc.Close()
	line := progressLine{c}
	defer line.clear()
	for a, err := range bus.AskAll(ctx, nc, connection, events.VerbHistory, req, silentFor) {
		line.clear()
		switch {
		case err != nil:
			return err
		case v.JSON:
			err = json.NewEncoder(c.Out).Encode(a)
		case a.Status == events.StatusPartial:
			err = printBars(c.Out, a.Bars, a.Part == 1)
		case a.Interim():
			line.show(a)
		case a.NoData:
			err = sayNoData(c.Out)
		case len(a.Candidates) > 0:
			err = printCandidates(c.Out, a)
		}
		if err == nil && !a.OK {
			err = fmt.Errorf("%s %s: %w", events.VerbHistory, connection, a.Error)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// progressLine tells a person how far it is, below what is printed. Elsewhere
// than on a terminal it tells nothing.
type progressLine struct{ console }

func (p progressLine) show(a events.Answer) {
	if !p.ErrTerminal {
		return
	}
	text := fmt.Sprintf("%d of %d requests answered, %d bars", a.Done, a.Chunks, a.BarCount)
	if !a.NextAt.IsZero() {
		text += ", IB's rules let the next go at " + a.NextAt.Local().Format(time.TimeOnly)
	}
	if !a.ExpectedAt.IsZero() {
		text += ", the last at " + a.ExpectedAt.Local().Format(time.TimeOnly)
	}
	fmt.Fprint(p.Err, text)
}

func (p progressLine) clear() {
	if p.ErrTerminal {
		fmt.Fprint(p.Err, "\r\x1b[K")
	}
}

// columnWidth is what columns have at least, so that those of parts that are
// printed one after the other mostly fit.
const columnWidth = 10

// marks are what is to be minded about a bar, behind its columns.
func marks(b events.Bar) string {
	var all []string
	if b.Provisional {
		all = append(all, "provisional")
	}
	for _, i := range b.Issues {
		all = append(all, string(i))
	}
	return led("  ", strings.Join(all, ", "))
}

func printBars(w io.Writer, bars []events.Bar, headed bool) error {
	t := tabwriter.NewWriter(w, columnWidth, 0, 2, ' ', tabwriter.AlignRight)
	if headed {
		fmt.Fprintln(t, "time\topen\thigh\tlow\tclose\tvolume\twap\tcount\t")
	}
	for _, b := range bars {
		count := ""
		if b.Count > 0 {
			count = strconv.FormatInt(b.Count, 10)
		}
		for _, cell := range []string{b.Time, b.Open, b.High, b.Low, b.Close, b.Volume, b.WAP, count} {
			fmt.Fprint(t, cmp.Or(cell, "-"), "\t")
		}
		fmt.Fprintln(t, marks(b))
	}
	return t.Flush()
}
