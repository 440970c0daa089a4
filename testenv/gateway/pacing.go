package gateway

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/scmhub/ibapi/protobuf"
)

// PacingRule is one of IB's rules on how often history may be asked for.
type PacingRule string

// The rules, as https://interactivebrokers.github.io/tws-api/historical_limitations.html has them. The first three are for
// bars of 30 s or less and for all head timestamps.
const (
	IdenticalWithin15s  PacingRule = "identical request within 15 s"
	SixWithin2s         PacingRule = "six requests for one contract, exchange and kind of data within 2 s"
	SixtyWithin10min    PacingRule = "more than 60 requests within 10 minutes"
	FiftyOpen           PacingRule = "more than 50 open requests"
	SixMonthsOld        PacingRule = "bars of 30 s or less older than six months"
	SixtyRealTimeBars   PacingRule = "more than 60 real-time bar requests within 10 minutes"
	TickByTickWithin15s PacingRule = "tick-by-tick of one instrument within 15 s" // with Config.Lines
)

const (
	identicalSpacing = 15 * time.Second
	burstSpan        = 2 * time.Second
	burstLimit       = 6 // so many break the rule
	quotaSpan        = 10 * time.Minute
	quota            = 60 // so many do not
	smallBar         = 30 * time.Second
	maxOpenQueries   = 50
	smallBarMonths   = 6
)

// Far more than any rule has to look back on at IB's rate of messages, so that a flood takes no memory.
const pacedKept = 1 << 15

// IB's texts on broken rules.
const (
	pacingViolation = "Historical Market Data Service error message:Historical data request pacing violation"
	fiftyAllowed    = "Error processing request.-'bI' : cause - Only 50 simultaneous API historical data requests allowed."
)

// paced is one request that rules on small bars count.
type paced struct {
	at       time.Time
	same     string // all that makes two requests identical
	series   string // contract, exchange and kind of data
	requests int    // it counts for
}

// ledger is what the rules have to remember, of all clients together. What breaks a rule counts like any other request.
type ledger struct {
	small       []paced
	barRequests []time.Time         // for real-time bars
	ticks       map[int32]time.Time // the last tick-by-tick request of an instrument
}

// noteSmall counts a request and returns the rules it breaks.
func (l *ledger) noteSmall(p paced) []PacingRule {
	l.small = slices.DeleteFunc(l.small, func(old paced) bool { return p.at.Sub(old.at) >= quotaSpan })
	if len(l.small) >= pacedKept {
		l.small = slices.Delete(l.small, 0, pacedKept/2)
	}
	identical, burst, requests := false, 1, p.requests
	for _, old := range l.small {
		since := p.at.Sub(old.at)
		identical = identical || since < identicalSpacing && old.same == p.same
		if since < burstSpan && old.series == p.series {
			burst++
		}
		requests += old.requests
	}
	l.small = append(l.small, p)
	var broken []PacingRule
	if identical {
		broken = append(broken, IdenticalWithin15s)
	}
	if burst >= burstLimit {
		broken = append(broken, SixWithin2s)
	}
	if requests > quota {
		broken = append(broken, SixtyWithin10min)
	}
	return broken
}

// noteBars counts a request for real-time bars and tells whether it is one too many.
func (l *ledger) noteBars(now time.Time) (tooMany bool) {
	l.barRequests = slices.DeleteFunc(l.barRequests, func(at time.Time) bool { return now.Sub(at) >= quotaSpan })
	if len(l.barRequests) >= pacedKept {
		l.barRequests = slices.Delete(l.barRequests, 0, pacedKept/2)
	}
	l.barRequests = append(l.barRequests, now)
	return len(l.barRequests) > quota
}

// noteTicks notes a tick-by-tick request and tells whether it comes too soon after the last one of the instrument.
func (l *ledger) noteTicks(in *instrument, now time.Time) (tooSoon bool) {
	last, known := l.ticks[in.conID]
	if l.ticks == nil {
		l.ticks = make(map[int32]time.Time)
	}
	l.ticks[in.conID] = now
	return known && now.Sub(last) < identicalSpacing
}

// small tells whether the rules on small bars count a query.
func (q query) small() bool { return q.head || q.size.span > 0 && q.size.span <= smallBar }

// judge counts a query that has reached the historical service, and tells whether it breaks a rule. Written is all of it
// but the contract.
func (g *Gateway) judge(q query, c *protobuf.Contract, written string) (violation bool) {
	if !g.cfg.HistoryPacing || !q.small() {
		return false
	}
	exchange := strings.ToUpper(c.GetExchange())
	if exchange == "" {
		exchange = q.in.contract.GetExchange()
	}
	p := paced{at: g.now(), series: fmt.Sprintf("%d %s %s", q.in.conID, exchange, q.what), requests: 1}
	p.same = p.series + " " + written
	if q.what == "BID_ASK" {
		p.requests = 2
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	broken := g.ledger.noteSmall(p)
	g.countBrokenLocked(broken...)
	return len(broken) > 0
}

// judgeBars does the same with a request for real-time bars.
func (g *Gateway) judgeBars() (violation bool) {
	if !g.cfg.HistoryPacing {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.ledger.noteBars(g.now()) {
		return false
	}
	g.countBrokenLocked(SixtyRealTimeBars)
	return true
}

// judgeTicks does the same with a request for tick-by-tick data.
func (g *Gateway) judgeTicks(in *instrument) (violation bool) {
	if g.cfg.Lines == 0 {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.ledger.noteTicks(in, g.now()) {
		return false
	}
	g.countBrokenLocked(TickByTickWithin15s)
	return true
}

// tooOld tells whether IB has no bars any more as small and as old as the query asks for.
func (g *Gateway) tooOld(q query) bool {
	if !g.cfg.HistoryPacing || q.head || !q.small() || !q.start.Before(g.now().AddDate(0, -smallBarMonths, 0)) {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.countBrokenLocked(SixMonthsOld)
	return true
}

func (g *Gateway) countBrokenLocked(broken ...PacingRule) {
	for _, rule := range broken {
		g.stats.Pacing[rule]++
	}
}
