package events

import (
	"cmp"
	"time"
)

// CompetingBegan says that another session of the same user takes the market
// data (10197 and its like). The session stays; data does not come.
type CompetingBegan struct {
	Attempt   uint64 `json:"attempt"`
	RequestID int64  `json:"request_id"` // the request that was told so; -1 when none was
	Code      int    `json:"code"`
	Message   string `json:"message"` // the gateway's words, account ids masked
	Action    string `json:"action"`  // what to do
	Standing
}

// CompetingEnded says that nothing has been heard of the other session for so
// long that it is taken to have ended. IB does not say when it does.
type CompetingEnded struct {
	Since  time.Time `json:"since"`     // when it was first heard of
	Lasted Millis    `json:"lasted_ms"` // from then to the last word of it
	Standing
}

// Type returns the event's type.
func (*CompetingBegan) Type() Type { return "ib.conn.state.competing_began" }
func (*CompetingEnded) Type() Type { return "ib.conn.state.competing_ended" }

func (e *CompetingBegan) check() error {
	return cmp.Or(given(e.Attempt > 0, "attempt"), given(e.Code != 0, "code"))
}

func (e *CompetingEnded) check() error { return given(!e.Since.IsZero(), "since") }
