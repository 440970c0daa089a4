package connector

import (
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
