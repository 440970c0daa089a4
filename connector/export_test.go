package connector

import (
	"context"
	"time"

	"ibconn/events"
)

// Repeats are the counts of what is said again and again, which stand in front
// of Decide, for a world that has no runner.
type Repeats struct{ repeats }

func NewRepeats(every time.Duration) *Repeats { return &Repeats{repeats{every: every}} }

func (r *Repeats) Absorb(e *events.GatewayReported, now time.Time) bool { return r.absorb(e, now) }

func (r *Repeats) Due(now time.Time, all bool) []*events.GatewayRepeated { return r.due(now, all) }

func (r *Repeats) WakeAt() time.Time { return r.wakeAt() }

// Asking is one query as a [Ledger] sees it.
type Asking struct {
	l *Ledger
	s *slot
}

func (l *Ledger) Asking(c events.Contract, q events.BarQuery) Asking {
	return Asking{l, (&query{contract: c, bars: q.WithDefaults()}).place()}
}

func (a Asking) Take(now time.Duration) (time.Duration, bool) { return a.l.take(a.s, now) }

func (a Asking) Sent(now time.Duration) { a.l.sent(a.s, now) }

func (a Asking) Answered(now time.Duration) { a.l.answered(a.s, now) }

func (r *Runner) Recall(ctx context.Context, c events.Contract, q events.BarQuery, p Priority, wait time.Duration, part func([]events.Bar) error) events.Answer {
	return r.recall(ctx, c, q, p, wait, part)
}
