package connector_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ibconn/connector"
	"ibconn/connector/tws"
	"ibconn/events"
	simulated "ibconn/testenv/gateway"
)

// TestTheSimulatedGatewayNeverSeesARuleBroken asks a gateway that enforces IB's
// rules on history for a random load in fake time, as fast as the ledger lets
// it.
func TestTheSimulatedGatewayNeverSeesARuleBroken(t *testing.T) {
	var passed atomic.Int64
	dawn := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	g := simulated.Start(t, simulated.Config{HistoryPacing: true, Now: func() time.Time { return dawn.Add(time.Duration(passed.Load())) }})

	news := make(chan connector.Input, 64)
	ctx, cancel := context.WithCancel(t.Context())
	session := new(tws.Dialer).Attempt(connector.Order{Attempt: 1, Endpoint: g.Addr(), ClientID: 1, Pace: connector.Pace{PerSecond: 1000}})
	var running sync.WaitGroup
	running.Go(func() {
		session.Run(ctx, func(in connector.Input) {
			select {
			case news <- in:
			case <-ctx.Done():
			}
		})
	})
	defer running.Wait()
	defer cancel()
	await := func(what string, is func(connector.Input) bool) {
		t.Helper()
		late := time.After(30 * time.Second)
		for {
			select {
			case in := <-news:
				n, ok := in.(connector.Noticed)
				if ok && n.RequestID > 0 && events.ReadNotice(n.Code, n.Message).Class != events.ClassNoData {
					t.Fatalf("%s: the gateway says %d %s", what, n.Code, n.Message)
				}
				if is(in) {
					return
				}
			case <-late:
				t.Fatalf("%s did not come", what)
			}
		}
	}
	await("the session", func(in connector.Input) bool { _, ok := in.(connector.Opened); return ok })

	const load = 2000
	rnd := rand.New(rand.NewPCG(1, 2))
	contracts := []events.Contract{{ConID: 265598, Exchange: "SMART"}, {ConID: 272093, Exchange: "SMART"}, {ConID: 756733, Exchange: "SMART"}}
	var ledger connector.Ledger
	waits, what := 0, ""
	c := contracts[0]
	for id := int64(1); id <= load; id++ {
		q := events.BarQuery{
			Duration: []string{"60 S", "120 S"}[rnd.IntN(2)], BarSize: []string{"5 secs", "30 secs", "1 min"}[rnd.IntN(3)],
			RTH: rnd.IntN(2) == 0,
		}
		if id%10 == 1 { // in bursts, and for one series mostly
			passed.Add(rnd.Int64N(int64(time.Minute)))
			c, what = contracts[rnd.IntN(len(contracts))], []string{"TRADES", "MIDPOINT", "BID_ASK"}[rnd.IntN(3)]
		}
		q.What = what
		a := ledger.Asking(c, q)
		for {
			wait, ok := a.Take(time.Duration(passed.Load()))
			if ok {
				break
			}
			waits++
			passed.Add(int64(wait))
		}
		session.Send(connector.Message{ID: id, Priority: connector.PriorityRequest, Request: connector.HistoricalBars{Contract: c, Query: q}})
		await("the answer", func(in connector.Input) bool {
			switch in := in.(type) {
			case connector.Brought:
				return in.ID == id
			case connector.Noticed: // there is no data for a minute that has just begun
				return in.RequestID == id
			}
			return false
		})
		a.Sent(time.Duration(passed.Load()))
		a.Answered(time.Duration(passed.Load()))
		passed.Add(rnd.Int64N(int64(100 * time.Millisecond)))
	}
	t.Logf("%d queries in %v, of which the ledger had %d waits", load, time.Duration(passed.Load()), waits)
	if waits < load/100 {
		t.Errorf("the ledger had %d waits, want a load that needs it", waits)
	}
	if broken := g.Stats().Pacing; len(broken) != 0 {
		t.Errorf("IB's rules were broken: %v", broken)
	}
}
