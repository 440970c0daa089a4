package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/replay/export"
	"ibconn/replay/verify"
)

// verifyCommand says whether a log is what was written.
type verifyCommand struct {
	sourceFlags
	JSON  bool `name:"json" help:"Print what was found as JSON."`
	Quiet bool `help:"Print nothing: the exit code says it."`
}

// verified is what was found of a log.
type verified struct {
	verify.Summary
	Sound    bool             `json:"sound"` // nothing but notes was found
	Findings []verify.Finding `json:"findings"`
	// Counts of all findings, also where Findings does not list them all.
	Wrong uint64 `json:"wrong"`
	Notes uint64 `json:"notes"`
}

// maxListed is how many findings are listed.
const maxListed = 10_000

func (v *verified) add(findings ...verify.Finding) {
	for _, f := range findings {
		if f.Severity == verify.Note {
			v.Notes++
		} else {
			v.Wrong++
		}
		if len(v.Findings) < maxListed {
			v.Findings = append(v.Findings, f)
		}
	}
}

// Run verifies, prints what it found, and fails with errFindings where anything is
// wrong.
func (x *verifyCommand) Run(ctx context.Context, c console) error {
	s, err := x.span(time.Now())
	if err != nil {
		return err
	}
	if x.Connection != "" {
		if _, err := events.ParseConnectionID(x.Connection); err != nil {
			return usageError{err}
		}
	}
	result := verified{Findings: []verify.Finding{}}
	if err := x.verify(ctx, c, s, &result); err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted: not all was looked at")
		}
		return err
	}
	result.Sound = result.Wrong == 0
	switch {
	case x.Quiet:
	case x.JSON:
		err = printJSON(c.Out, result)
	default:
		err = result.print(c.Out)
	}
	if err == nil && !result.Sound {
		err = errFindings
	}
	return err
}

// verify looks at all of the source.
func (x *verifyCommand) verify(ctx context.Context, c console, s span, result *verified) error {
	options := verify.Options{Partial: !s.from.IsZero()}
	if x.Data != "" && s.to.IsZero() {
		// Before the log, which may only grow.
		var err error
		if options.Marks, err = x.marks(); err != nil {
			result.add(verify.Found(verify.NotReadable, err.Error(), "check the disk: without it, nothing tells whether the log lost its end"))
		}
	}
	source, err := x.open(ctx, c)
	if err != nil {
		return err
	}
	err = x.read(ctx, c, source, s, options, result)
	if copied, is := source.Source.(*bus.Copy); is && err == nil {
		var lost []string
		lost, err = copied.Damage(ctx)
		for _, words := range lost {
			result.add(verify.Found(verify.StoreDamaged, words, "check the disk, and look for another copy of the log"))
		}
	}
	return errors.Join(err, source.close())
}

// marks are the high-water marks beside the log, of what is asked for.
func (x *verifyCommand) marks() (map[events.ConnectionID]events.Head, error) {
	marks, err := bus.Marks(x.Data)
	for name := range marks {
		if x.Connection != "" && string(name) != x.Connection {
			delete(marks, name)
		}
	}
	return marks, err
}

func (x *verifyCommand) read(ctx context.Context, c console, source opened, s span, options verify.Options, result *verified) error {
	if file, is := source.Source.(*export.File); is {
		options.Partial = options.Partial || file.Header().Partial()
	}
	b := newBar(c, "verifying")
	defer b.end()
	v := verify.New(options)
	for m, err := range source.Stored(ctx, bus.Query{Connection: events.ConnectionID(x.Connection), Since: s.from}) {
		if _, cut := errors.AsType[*export.Error](err); cut {
			result.add(verify.Found(verify.NotReadable, err.Error(), "take another copy of the export, or export again"))
			break
		}
		if err != nil {
			return err
		}
		if !s.to.IsZero() && m.StoredAt.After(s.to) {
			break
		}
		result.add(v.Add(m)...)
		if source.last > 0 {
			b.events(m.StreamSeq, source.last)
		} else {
			b.events(v.Summary().Messages, 0)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	result.add(v.End()...)
	result.Summary = v.Summary()
	if result.Messages == 0 && len(result.Findings) == 0 {
		return errors.New("there is no event to look at")
	}
	return nil
}

// print prints what was found as a table, and what it amounts to.
func (v verified) print(out io.Writer) error {
	for _, f := range v.Findings {
		fmt.Fprintf(out, "%-10s  %-8s  %s\n", f.Severity, f.Connection, fit(f.Words))
		if f.Advice != "" {
			fmt.Fprintf(out, "%-10s  %-8s  -> %s\n", "", "", fit(f.Advice))
		}
	}
	if n := v.Wrong + v.Notes - uint64(len(v.Findings)); n > 0 {
		fmt.Fprintf(out, "and %s more\n", plural(n, "finding"))
	}
	_, err := fmt.Fprintln(out, v.words())
	return err
}

// words say what it amounts to.
func (v verified) words() string {
	came := "sound"
	if v.Wrong > 0 {
		came = plural(v.Wrong, "finding")
	}
	if v.Notes > 0 {
		came += ", " + plural(v.Notes, "note")
	}
	return fmt.Sprintf("%s events of %s, %s: %s", grouped(v.Messages), plural(uint64(v.Connections), "connection"), plural(v.Epochs, "epoch"), came)
}

// grouped writes a number with a comma between each three digits.
func grouped(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}
