package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"ibconn/bus"
	"ibconn/events"
)

type statusCommand struct {
	natsFlags
	Connection string `help:"The name of a connection or a pool; all there are by default." env:"IBCONN_CONNECTION"`
	JSON       bool   `name:"json" help:"Print the answer as JSON; of several a list."`
	Check      bool   `help:"Exit with 4 unless it is healthy; of several, every pool and every connection that is in none."`
}

// Run prints what is true now.
func (s *statusCommand) Run(ctx context.Context, c console) error {
	answers, err := s.answers(ctx)
	if err != nil {
		return err
	}
	switch {
	case !s.JSON:
		for i, a := range answers {
			if i > 0 {
				fmt.Fprintln(c.Out)
			}
			if err = printAnswer(c.Out, a); err != nil {
				break
			}
		}
	case len(answers) == 1:
		err = printJSON(c.Out, answers[0])
	default:
		err = printJSON(c.Out, answers)
	}
	if err != nil {
		return err
	}
	if s.Check && !healthy(answers) {
		return errUnhealthy
	}
	return nil
}

// answers asks the connection or the pool that was named, or else all there are.
func (s *statusCommand) answers(ctx context.Context) ([]events.Answer, error) {
	if s.Connection != "" {
		a, err := clientFlags{s.natsFlags, s.Connection}.ask(ctx, events.VerbStatus, events.Request{})
		if err == nil && a.State == nil && a.Pool == nil {
			err = fmt.Errorf("%s answers without a status", s.Connection)
		}
		return []events.Answer{a}, err
	}
	nc, err := s.dial("ibconn status")
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	offers, err := bus.Discover(ctx, nc)
	if err != nil {
		return nil, err
	}
	var answers []events.Answer
	for _, o := range offers {
		asking, cancel := context.WithTimeout(ctx, askWithin)
		a, err := bus.Ask(asking, nc, o.Connection, events.VerbStatus, events.Request{})
		cancel()
		switch {
		case err != nil:
			return nil, err
		case a.Error != nil:
			return nil, fmt.Errorf("status %s: %w", o.Connection, a.Error)
		case a.State == nil && a.Pool == nil:
			return nil, fmt.Errorf("%s answers without a status", o.Connection)
		}
		answers = append(answers, a)
	}
	if len(answers) == 0 {
		return nil, &bus.NobodyError{Verb: events.VerbStatus}
	}
	return answers, nil
}

// healthy says whether every pool is, and every connection that is in none of
// them.
func healthy(answers []events.Answer) bool {
	pooled := make(map[events.ConnectionID]bool)
	for _, a := range answers {
		if a.Pool == nil {
			continue
		}
		if a.Pool.Condition != events.ConditionHealthy {
			return false
		}
		for _, m := range a.Pool.Members {
			pooled[m.Connection] = true
		}
	}
	return !slices.ContainsFunc(answers, func(a events.Answer) bool {
		return a.State != nil && !pooled[a.Connection] && a.State.Condition != events.ConditionHealthy
	})
}

func printAnswer(w io.Writer, a events.Answer) error {
	if a.Pool != nil {
		return printPool(w, *a.Pool, a.AsOf)
	}
	return printStatus(w, a)
}

// printPool prints where a pool stands: a headline, why, and a line for each
// member.
func printPool(w io.Writer, p events.Pool, now time.Time) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s (pool: %d of %d healthy, %d ready", p.Name, p.Condition, p.Healthy, p.Of, p.Ready)
	if unwanted := p.Of - p.Wanted; unwanted > 0 {
		fmt.Fprintf(&b, ", %d disconnected by command", unwanted)
	}
	b.WriteString(")\n")
	for _, r := range p.Reasons {
		fmt.Fprintf(&b, "  %-10s %s: %s\n", "because", r.Connection, wordReason(r.Reason, now))
	}
	for _, m := range p.Members {
		fmt.Fprintf(&b, "  %-10s %s: %s (%s)\n", "member", m.Connection, m.Condition, m.Phase)
	}
	_, err := io.WriteString(w, b.String())
	return err
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
	line("link", "%s", wordLink(s, a.AsOf))
	for _, f := range s.Farms {
		line("farm", "%s %s for %v", f.Farm, f.Status, events.Between(f.Since, a.AsOf))
	}
	if p := s.Pacing; p.PerSecond > 0 {
		line("pace", "cut to %s a second, as the gateway complained; as configured again %s", plural(uint64(p.PerSecond), "message"), wordDue(p.Until, a.AsOf))
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
	if r := a.Relay; r != nil {
		line("hub", "%s", wordRelay(*r, a.AsOf))
	}
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

// wordLink says what is known of the link, and from whom.
func wordLink(s *events.State, now time.Time) string {
	words := string(s.Link.Status)
	if !s.Link.Since.IsZero() {
		words += fmt.Sprintf(" for %v", events.Between(s.Link.Since, now))
	}
	switch h := s.Heartbeat.Link; {
	case s.Link.Unproven:
		words += ", to be proven by an answer of IB's servers"
	case s.Link.Status == events.LinkUp && !h.AnsweredAt.IsZero():
		words += fmt.Sprintf("; IB's servers answered %v ago in %v", events.Between(h.AnsweredAt, now), h.RTT)
	}
	return words
}
