package events

import (
	"cmp"
	"time"
)

// PacingReduced says that the gateway complained of too many messages (error
// 100), and that fewer go to it for a while.
type PacingReduced struct {
	Attempt   uint64    `json:"attempt"`
	PerSecond int       `json:"per_second"` // messages a second, at most, from now on
	Before    int       `json:"before"`     // and until now
	Until     time.Time `json:"until"`      // when the configured budget holds again
	Code      int       `json:"code"`       // the error that said so
	Message   string    `json:"message"`    // the gateway's words
	Standing
}

// PacingRestored says that the configured message budget holds again.
type PacingRestored struct {
	Since   time.Time `json:"since"`      // since when it did not
	Reduced Millis    `json:"reduced_ms"` // and for how long
	Standing
}

// Type returns the event's type.
func (*PacingReduced) Type() Type  { return "ib.conn.state.pacing_reduced" }
func (*PacingRestored) Type() Type { return "ib.conn.state.pacing_restored" }

func (e *PacingReduced) check() error {
	return cmp.Or(given(e.Attempt > 0, "attempt"), given(e.PerSecond > 0, "per_second"), given(!e.Until.IsZero(), "until"))
}

func (e *PacingRestored) check() error { return given(!e.Since.IsZero(), "since") }
