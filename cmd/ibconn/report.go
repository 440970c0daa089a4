package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"ibconn/events"
	"ibconn/replay/report"
	"ibconn/replay/story"
)

// collected reads what flags ask for into a report.
func (p *past) collected(ctx context.Context, name events.ConnectionID, collector report.Collector) (report.Report, error) {
	if collector.Policy != nil {
		for _, w := range collector.Policy.Windows {
			collector.Windows = append(collector.Windows, w.String())
		}
	}
	collector.From, collector.To, collector.Zone = p.from, p.to, p.zone
	if err := p.each(ctx, name, collector.Add); err != nil {
		return report.Report{}, err
	}
	r, ok := collector.Report()
	if !ok || !p.to.IsZero() && p.to.Before(r.From) || p.from.After(p.last) {
		return report.Report{}, fmt.Errorf("%s has no event %s; the last of its log is of %s", name, p.words(), p.word(p.last))
	}
	return r, nil
}

// statsCommand tells how available a connection was.
type statsCommand struct {
	sourceFlags
	policyFlag
	JSON bool `name:"json" help:"Print them as JSON."`
}

// Run prints statistics of a span, or of the whole log.
func (s *statsCommand) Run(ctx context.Context, c console) error {
	p, err := s.past(ctx, c, time.Now(), 0)
	if err != nil {
		return err
	}
	defer p.close()
	name, err := s.connection(ctx, p.source)
	if err != nil {
		return err
	}
	policy, err := s.policy(ctx, name)
	if err != nil {
		return err
	}
	r, err := p.collected(ctx, name, report.Collector{Policy: policy})
	if err != nil {
		return err
	}
	if s.JSON {
		r.Events, r.Omitted = []story.Line{}, 0
		return r.JSON(c.Out)
	}
	width := c.Columns
	if width == 0 {
		width = 100
	}
	return r.Text(c.Out, width)
}

// reportCommand makes one file of a span or of an incident.
type reportCommand struct {
	Which string `arg:"" optional:"" help:"An incident: its number, its id, or last. Without it the span is told." placeholder:"N|ID"`
	sourceFlags
	policyFlag
	Out      string `help:"The file that is written; a file of that name is replaced. Without it, it is printed." placeholder:"FILE"`
	Markdown bool   `name:"md" help:"Markdown, for a ticket." xor:"form"`
	JSON     bool   `name:"json" help:"JSON." xor:"form"`
	Stories  int    `help:"How many of the newest incidents are told in full." default:"10"`
}

// around is how much of what was before and after an incident its report shows.
const around = 10 * time.Minute

// Run writes a report.
func (r *reportCommand) Run(ctx context.Context, c console) error {
	if r.Stories < 0 || r.Stories > 100 {
		return usageError{fmt.Errorf("--stories %d: want 0 to 100", r.Stories)}
	}
	if r.Out == "" && c.Terminal && !r.Markdown && !r.JSON {
		return usageError{errors.New("--out: want the file to write the page to, such as incident.html")}
	}
	p, err := r.past(ctx, c, time.Now(), incidentsSince)
	if err != nil {
		return err
	}
	defer p.close()
	collector := report.Collector{Stories: r.Stories}
	var name events.ConnectionID
	if r.Which != "" {
		var teller story.Teller
		if name, err = p.find(ctx, r.sourceFlags, r.Which, &teller); err != nil {
			return err
		}
		i := teller.Stories()[0].Incident
		collector.Only, collector.Stories = i.ID, 1
		p.from, p.to = i.OpenedAt.Add(-around), i.OpenedAt.Add(i.Duration()+around)
		if i.DataAt.After(p.to) {
			p.to = i.DataAt.Add(time.Minute)
		}
	} else if name, err = r.connection(ctx, p.source); err != nil {
		return err
	}
	if collector.Policy, err = r.policy(ctx, name); err != nil {
		return err
	}
	result, err := p.collected(ctx, name, collector)
	if err != nil {
		return err
	}
	return r.write(c, result)
}

// write writes the report in its form; a file is whole or not there.
func (r *reportCommand) write(c console, result report.Report) error {
	form := result.HTML
	switch {
	case r.Markdown:
		form = result.Markdown
	case r.JSON:
		form = result.JSON
	}
	if r.Out == "" {
		return form(c.Out)
	}
	f, err := os.CreateTemp(filepath.Dir(r.Out), ".ibconn-report-*")
	if err != nil {
		return err
	}
	err = firstError(form(f), f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), r.Out)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the other error says what went wrong
		return err
	}
	_, err = fmt.Fprintf(c.Err, "ibconn: wrote %s: %s from %s to %s\n", r.Out, plural(uint64(len(result.Incidents)), "incident"), result.From.Format(time.RFC3339), result.To.Format(time.RFC3339))
	return err
}
