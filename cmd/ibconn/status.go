package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"ibconn/events"
)

type statusCommand struct {
	clientFlags
	JSON  bool `name:"json" help:"Print the answer as JSON."`
	Check bool `help:"Exit with 4 unless the connection is healthy."`
}

// Run prints what is true now.
func (s *statusCommand) Run(ctx context.Context, c console) error {
	answer, err := s.ask(ctx, events.VerbStatus, events.Request{})
	if err != nil {
		return err
	}
	if s.JSON {
		err = printJSON(c.Out, answer)
	} else {
		err = printStatus(c.Out, answer)
	}
	if err != nil {
		return err
	}
	if s.Check && answer.State.Condition != events.ConditionHealthy {
		return errUnhealthy
	}
	return nil
}

// printStatus prints a status answer for people: a headline, then a line for
// each thing there is something to say of.
func printStatus(w io.Writer, a events.Answer) error {
	s := a.State
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "%s: %s (%s for %v)\n", a.Connection, s.Condition, s.Phase, events.Between(s.PhaseSince, a.AsOf))
	for _, r := range s.Reasons {
		line("because", "%s", wordReason(r, a.AsOf))
	}
	if s.Attempt.Number > 0 {
		line("gateway", "%s as client %d, attempt %d", s.Attempt.Endpoint, s.Attempt.ClientID, s.Attempt.Number)
	}
	if !s.Session.OpenedAt.IsZero() {
		line("session", "ready for %v, server version %d, accounts %s", a.Uptime, s.Session.ServerVersion, strings.Join(s.Session.Accounts, " "))
	}
	if !s.RetryAt.IsZero() {
		line("next try", "%s", wordDue(s.RetryAt, a.AsOf))
	}
	if s.Breaker.Open {
		line("breaker", "open for %v after %s in a row", events.Between(s.Breaker.Since, a.AsOf), plural(uint64(s.Failures), "failure"))
	}
	line("link", "%s", s.Link.Status)
	for _, f := range s.Farms {
		line("farm", "%s %s for %v", f.Farm, f.Status, events.Between(f.Since, a.AsOf))
	}
	if h := s.Heartbeat; !h.AnsweredAt.IsZero() {
		line("heartbeat", "answered %v ago in %v, gateway's clock %+.1f s from ours", events.Between(h.AnsweredAt, a.AsOf), h.RTT, float64(h.Skew)/1000)
	}
	if t := a.Traffic; t != nil {
		line("traffic", "%s in, %s out", plural(t.FramesIn, "message"), plural(t.FramesOut, "message"))
	}
	if !s.LastEnding.At.IsZero() {
		line("last end", "%v ago: %s", events.Between(s.LastEnding.At, a.AsOf), s.LastEnding.Cause.Sentence())
	}
	if !s.LastError.At.IsZero() {
		line("last error", "%v ago: %d %s", events.Between(s.LastError.At, a.AsOf), s.LastError.Code, s.LastError.Message)
	}
	for _, p := range s.Pending {
		line("command", "%s %s has no outcome yet", p.Verb, p.CommandID)
	}
	line("totals", "%s, %s opened, %d lost, %s failed, %s", plural(s.Counts.Attempts, "attempt"), plural(s.Counts.Sessions, "session"),
		s.Counts.Losses, plural(s.Counts.Failures, "attempt"), plural(s.Counts.Errors, "error"))
	line("log", "epoch %d of %s, sequence %d", s.Epoch, s.Instance, s.Sequence)
	_, err := io.WriteString(w, b.String())
	return err
}

func wordReason(r events.Reason, now time.Time) string {
	if r.What == events.ReasonLoginNeeded {
		return fmt.Sprintf("the gateway has given no %s for %v: log in at its window, or restart it", r.Level, events.Between(r.Since, now))
	}
	words := string(r.Level)
	if r.Name != "" {
		words += " " + r.Name
	}
	words += " " + r.What
	if !r.Since.IsZero() {
		words += fmt.Sprintf(" for %v", events.Between(r.Since, now))
	}
	if r.Cause != "" {
		words += ": " + r.Cause.Sentence()
	}
	return words
}

func wordDue(at, now time.Time) string {
	if !at.After(now) {
		return "now"
	}
	return "in " + events.Between(now, at).String()
}
