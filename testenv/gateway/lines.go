package gateway

import "context"

// capacity is something of which a gateway has only so much, for all clients together. Each is held until it is given back.
type capacity int

const (
	noCapacity capacity = iota
	marketLine          // a market data line: market data or real-time bars
	tickLine            // a tick-by-tick subscription
	openQuery           // a historical request that is not answered yet, or goes on
	capacities
)

const (
	minTickLines  = 3
	maxTickLines  = 60
	linesPerTicks = 100 // market data lines that give one tick-by-tick subscription
)

// limit is how much there is of a capacity, 0 for no limit.
func (c Config) limit(of capacity) int {
	switch {
	case of == marketLine:
		return c.Lines
	case of == tickLine && c.Lines > 0: // IB's table for market depth, which holds for tick-by-tick too
		return min(max(c.Lines/linesPerTicks, minTickLines), maxTickLines)
	case of == openQuery && c.HistoryPacing:
		return maxOpenQueries
	}
	return 0
}

// take gives a session one unit of a capacity, if there is one left.
func (g *Gateway) take(s *session, c capacity) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if limit := g.cfg.limit(c); limit > 0 && g.takenLocked(c) >= limit {
		if c == openQuery {
			g.countBrokenLocked(FiftyOpen)
		}
		return false
	}
	s.holds[c]++
	return true
}

func (g *Gateway) giveBack(s *session, c capacity) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s.holds[c]--
}

// giveBackAll is for a session that has ended.
func (g *Gateway) giveBackAll(s *session) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s.holds = [capacities]int{}
}

func (g *Gateway) takenLocked(c capacity) int {
	taken := 0
	for s := range g.sessions {
		taken += s.holds[c]
	}
	return taken
}

const maxTickByTick = "Max number of tick-by-tick requests has been reached."

// line takes a market data line for a request; if there is none left it answers with the error.
func (s *session) line(ctx context.Context, reqID int32) bool {
	if s.g.take(s, marketLine) {
		return true
	}
	s.fail(ctx, reqID, 101, "Max number of tickers has been reached")
	return false
}
