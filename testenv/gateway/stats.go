package gateway

import (
	"maps"
	"slices"
	"time"
)

// Cause is why a connection ended.
type Cause string

// Causes on the client's side.
const (
	ClientClosed Cause = "client closed" // FIN: the client closed in good order, and its id is free at once
	ClientReset  Cause = "client reset"  // RST
	ClientLost   Cause = "client lost"   // any other error of the socket
	NotReading   Cause = "client not reading"
	ForeignBytes Cause = "foreign bytes" // the first bytes were not "API\0"
	BadFrame     Cause = "bad frame"
)

// Causes on the gateway's side, as a real one has them.
const (
	NoCommonVersion Cause = "no common version"
	ClientIDInUse   Cause = "client id in use"
	TooManyClients  Cause = "too many clients"
	MaxRateBreached Cause = "max rate breached" // for the third time
	Stopped         Cause = "gateway stopped"   // the context of Run ended
)

// Causes that are faults.
const (
	AcceptedAndClosed Cause = "closed at once"
	ClosedAfterStart  Cause = "closed after startApi"
	FaultFIN          Cause = "fin"
	FaultReset        Cause = "reset"
	FaultBurst        Cause = "burst"
	FaultCut          Cause = "cut in mid-frame"
	FaultRestart      Cause = "restart"
)

const (
	foreignBytes = 16 // kept of each connection that did not begin with the magic
	foreignKept  = 64 // such connections kept
	clientsKept  = 1024
)

// Stats says what the gateway has seen since New.
type Stats struct {
	Accepted      int             // connections accepted
	Foreign       int             // of these, how many did not begin with "API\0"
	ForeignBytes  [][]byte        // their first bytes, at most 16 of each, of the first 64
	Greetings     int             // handshakes answered
	Started       int             // sessions whose startApi was accepted
	Open          int             // connections open now
	Clients       []int           // ids of the clients connected now, in order
	Requests      map[Request]int // requests received
	ByClient      map[int]int     // of these, how many by client id, over all its sessions; of the first 1024 ids
	Orders        int             // of these, how many would have acted on an order
	Breaches      int             // of these, how many were more than Config.MaxRate allows
	BusiestSecond int             // most requests received within any one second, from all clients together, breaches included
	Ended         map[Cause]int   // connections that ended, by cause

	Pacing      map[PacingRule]int // rules broken; a request may break several at once
	OpenHistory int                // historical requests open now: running, held, kept up to date, and head timestamps not cancelled
	Lines       int                // market data lines in use now, by market data and real-time bars
	TickByTick  int                // tick-by-tick subscriptions now
}

// Stats returns a copy of what was counted so far.
func (g *Gateway) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.stats
	s.Open = len(g.sessions)
	s.ForeignBytes = slices.Clone(s.ForeignBytes)
	s.Requests, s.ByClient, s.Ended = maps.Clone(s.Requests), maps.Clone(s.ByClient), maps.Clone(s.Ended)
	s.Pacing = maps.Clone(s.Pacing)
	s.OpenHistory, s.Lines, s.TickByTick = g.takenLocked(openQuery), g.takenLocked(marketLine), g.takenLocked(tickLine)
	for id, h := range g.ids {
		if h.owner != nil {
			s.Clients = append(s.Clients, int(id))
		}
	}
	slices.Sort(s.Clients)
	return s
}

// Orders returns how many requests arrived that would have acted on an order. All of them were refused.
func (g *Gateway) Orders() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stats.Orders
}

func (g *Gateway) countForeign(first []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stats.Foreign++
	if len(g.stats.ForeignBytes) < foreignKept {
		g.stats.ForeignBytes = append(g.stats.ForeignBytes, slices.Clone(first))
	}
}

func (g *Gateway) countGreeting() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stats.Greetings++
}

// countClientLocked counts requests of a client, as long as there are not too many ids.
func (g *Gateway) countClientLocked(client int32, requests int) {
	if _, known := g.stats.ByClient[int(client)]; known || len(g.stats.ByClient) < clientsKept {
		g.stats.ByClient[int(client)] += requests
	}
}

// note counts a request of s. It returns how many came within this second if they are too many, or else 0 and the action
// of the rule that the request meets, if any.
func (g *Gateway) note(s *session, req request) (tooMany int, a Action, ruled bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stats.Requests[req.id]++
	if s.started {
		g.countClientLocked(s.client, 1)
	} else {
		s.received++
	}
	if req.actsOnOrders() {
		g.stats.Orders++
	}
	rate := g.recent.add(time.Now())
	g.stats.BusiestSecond = max(g.stats.BusiestSecond, rate)
	if g.cfg.MaxRate > 0 && rate > g.cfg.MaxRate {
		g.stats.Breaches++
		return rate, Action{}, false
	}
	a, ruled = g.matchLocked(req.id)
	return 0, a, ruled
}

// recent holds when the requests of the last second came.
type recent struct {
	times []time.Time
	from  int // the first that still counts
}

// add counts one and returns how many came in the second that ends now.
func (r *recent) add(now time.Time) int {
	r.times = append(r.times, now)
	for now.Sub(r.times[r.from]) >= time.Second {
		r.from++
	}
	if r.from > len(r.times)/2 {
		r.times = append(r.times[:0], r.times[r.from:]...)
		r.from = 0
	}
	return len(r.times) - r.from
}
