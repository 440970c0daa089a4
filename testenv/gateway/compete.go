package gateway

import (
	"context"
	"maps"
	"slices"
)

const competing = "No market data during competing live session"

// Compete begins or ends a session of the same user elsewhere that takes the market data away. While it lasts, market data,
// tick-by-tick data and real-time bars deliver nothing, and each is told by 10197: those that are subscribed when it begins,
// those that are asked for meanwhile at once. Nothing is said when it ends: the data comes again. History is not touched, nor
// what is kept up to date.
func (g *Gateway) Compete(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.flow.competes == on {
		return
	}
	g.divertLocked(func(f *flow) {
		if f.competes = on; on {
			f.contests++
		}
	}, nil)
	for s := range g.sessions {
		signal(s.release) // to look at it now
	}
}

// contested tells whether a competing session takes the data of a subscription away.
func (st *stream) contested() bool {
	return st.opened == ReqMktData || st.opened == ReqTickByTickData || st.opened == ReqRealTimeBars
}

// contend tells the subscriptions of a competing session if one has begun since that was last looked at.
func (s *session) contend(ctx context.Context, f flow) {
	if f.contests == s.contests {
		return
	}
	s.contests = f.contests
	for _, id := range slices.Sorted(maps.Keys(s.streams)) {
		if s.streams[id].contested() {
			s.fail(ctx, id, 10197, competing)
		}
	}
}

// tellContested tells a new subscription of the competing session, if there is one.
func (s *session) tellContested(ctx context.Context, reqID int32) (contested bool) {
	f := s.heed()
	s.contend(ctx, f) // first, or else one that begins just now would be told twice
	if !f.competes {
		return false
	}
	s.fail(ctx, reqID, 10197, competing)
	return true
}
