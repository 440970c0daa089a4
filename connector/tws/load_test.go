package tws

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"ibconn/connector"
	"ibconn/events"
	"ibconn/testenv/gateway"
)

// received is what a gateway received, as a load says it.
func received(gw *gateway.Gateway) map[events.MessageKind]uint64 {
	all := make(map[events.MessageKind]uint64)
	for r, n := range gw.Stats().Requests {
		all[map[gateway.Request]events.MessageKind{
			gateway.StartAPI:             events.MessageStart,
			gateway.ReqCurrentTime:       events.MessageHeartbeat,
			gateway.ReqMatchingSymbols:   events.MessageLinkProbe,
			gateway.ReqContractDetails:   events.MessageContract,
			gateway.ReqHistoricalData:    events.MessageHistory,
			gateway.ReqMarketDataType:    events.MessageDataType,
			gateway.ReqMktData:           events.MessageSubscribe,
			gateway.ReqRealTimeBars:      events.MessageSubscribe,
			gateway.CancelMktData:        events.MessageCancel,
			gateway.CancelRealTimeBars:   events.MessageCancel,
			gateway.CancelHistoricalData: events.MessageCancel,
		}[r]] += uint64(n)
	}
	return all
}

func TestTheLoadIsWhatTheGatewayReceived(t *testing.T) {
	eachVersion(t, gateway.Config{}, func(t *testing.T, gw *gateway.Gateway) {
		a := begin(t, new(Dialer), gw.Addr(), 1)
		a.opened()
		id := int64(firstID)
		send := func(pr connector.Priority, r connector.Request) int64 {
			id++
			a.session.Send(connector.Message{ID: id, Priority: pr, Request: r})
			return id
		}
		bars := connector.HistoricalBars{Contract: apple, Query: events.BarQuery{Duration: "600 S", BarSize: "1 min", What: "TRADES"}}
		send(connector.PrioritySession, connector.SearchSymbols{Pattern: "AAPL"})
		send(connector.PriorityRequest, connector.ContractDetails{Contract: apple})
		send(connector.PriorityRequest, connector.ContractDetails{Contract: dollars})
		asked := send(connector.PriorityRequest, bars)
		last := asked
		for _, name := range []string{"quotes", "fx", "bars"} {
			last = send(connector.PriorityRestore, connector.Subscribe{Name: name, Feed: feeds[name]})
		}
		a.outcome(last)
		a.outcome(asked)
		send(connector.PriorityCancel, connector.CancelBars{Of: asked})
		a.outcome(send(connector.PriorityCancel, connector.Unsubscribe{Of: last, Feed: feeds["bars"]}))
		a.session.Probe(1)
		await(a, anyOf[connector.Answered])

		want := map[events.MessageKind]uint64{
			events.MessageStart: 1, events.MessageHeartbeat: 2, events.MessageLinkProbe: 1, events.MessageContract: 2, events.MessageHistory: 1,
			events.MessageDataType: 1, events.MessageSubscribe: 3, events.MessageCancel: 2,
		}
		load := a.session.Load()
		if !maps.Equal(load.Sent, want) || load.Queued != 0 {
			t.Errorf("the load is %+v, want sent %v and nothing in the queue", load, want)
		}
		if got := received(gw); !maps.Equal(got, want) {
			t.Errorf("the gateway received %v, want %v", got, want)
		}
		load.Sent[events.MessageStart]++
		if got := a.session.Load(); got.Sent[events.MessageStart] != 1 {
			t.Error("what Load returned was not the caller's")
		}
	})
}

func TestTheLoadTellsWhatTheBudgetMadeWait(t *testing.T) {
	leakFree(t)
	gw := gateway.Start(t, gateway.Config{})
	const gap, burst = 300 * time.Millisecond, 3
	var queued []connector.Message
	for id := range int64(burst) {
		queued = append(queued, lookup(firstID+id, connector.PriorityBackfill))
	}
	a := beginAt(t, new(Dialer), gw.Addr(), 1, connector.Pace{PerSecond: 1000, MinGap: gap}, queued...)
	if load := a.session.Load(); load.Queued != burst {
		t.Errorf("%d messages wait before the session began, want %d", load.Queued, burst)
	}
	a.outcome(firstID + burst - 1)
	load := a.session.Load()
	// All three wait behind the opening heartbeat, which itself may wait behind
	// startApi: for one, two and three gaps at least.
	if least := events.MillisOf(gap * (1 + 2 + 3)); load.Waits < burst || load.Waits > burst+1 || load.Waited < least || load.Queued != 0 {
		t.Errorf("the load is %+v, want that %d waited or one more, %v or longer, and none does now", load, burst, least)
	}
}

func TestAMessageThatGoesAtOnceDidNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const gap = 100 * time.Millisecond
		s := newSession(new(Dialer), order("", 1))
		turn := new(connector.Pacer).Join(connector.Pace{PerSecond: 1000, MinGap: gap})
		defer turn.Leave()
		id := int64(firstID)
		send := func(n int) {
			for range n {
				id++
				s.Send(lookup(id, connector.PriorityRequest))
			}
			for range n {
				best, _ := s.next(false)
				s.want(turn, best, time.Now())
				<-turn.Ready()
				m, _, _ := s.take()
				s.count(kindOf(m.Request), m.Since)
			}
		}
		for _, tt := range []struct {
			idle   time.Duration
			n      int
			waits  uint64
			waited time.Duration // so far
		}{
			{0, 1, 0, 0},
			{gap, 1, 0, 0},
			{gap - time.Millisecond, 1, 1, time.Millisecond},
			{time.Hour, 3, 3, 3*gap + time.Millisecond},
			{time.Hour, 1, 3, 3*gap + time.Millisecond},
		} {
			time.Sleep(tt.idle)
			send(tt.n)
			if got := s.Load(); got.Waits != tt.waits || got.Waited != events.MillisOf(tt.waited) {
				t.Errorf("after %v idle and %d messages %d waited for %v, want %d for %v", tt.idle, tt.n, got.Waits, got.Waited, tt.waits, events.MillisOf(tt.waited))
			}
		}
	})
}
