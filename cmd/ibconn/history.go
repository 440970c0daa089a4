package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

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
	Wait     time.Duration `help:"How long to wait for IB's answer, and for its turn by IB's rules." default:"30s"`
	JSON     bool          `name:"json" help:"Print the answer as JSON."`
}

// Run prints the bars.
func (v *historyVerb) Run(ctx context.Context, c console) error {
	req, err := aboutContract(v.Contract, v.Wait)
	if err != nil {
		return err
	}
	req.Duration, req.BarSize, req.What, req.RTH = v.Duration, v.BarSize, v.What, v.RTH
	if v.End != "" {
		if req.End, err = time.Parse(time.RFC3339, v.End); err != nil {
			return usageError{fmt.Errorf("--end %q: want a time such as 2026-12-18T16:00:00Z", v.End)}
		}
		req.End = req.End.UTC()
	}
	if err := req.CheckBars(); err != nil {
		return usageError{err}
	}
	answer, err := v.ask(ctx, events.VerbHistory, req)
	if told, err := toldAbout(c.Out, answer, v.JSON, err); told || err != nil {
		return err
	}
	if answer.NoData {
		_, err := fmt.Fprintln(c.Out, "no data")
		return err
	}
	return printBars(c.Out, answer.Bars)
}

func printBars(w io.Writer, bars []events.Bar) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "time\topen\thigh\tlow\tclose\tvolume\twap\tcount\t")
	for _, b := range bars {
		count := ""
		if b.Count > 0 {
			count = strconv.FormatInt(b.Count, 10)
		}
		for _, cell := range []string{b.Time, b.Open, b.High, b.Low, b.Close, b.Volume, b.WAP, count} {
			fmt.Fprint(t, cmp.Or(cell, "-"), "\t")
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}
