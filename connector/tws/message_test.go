package tws

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"ibconn/connector"
	"ibconn/events"
	"ibconn/testenv/gateway"
)

func lookup(id int64, pr connector.Priority) connector.Message {
	return connector.Message{ID: id, Priority: pr, Request: connector.SearchSymbols{Pattern: "AAPL"}}
}

// outcome waits until it is known what became of a message.
func (a *attempt) outcome(id int64) connector.Outcome {
	a.tb.Helper()
	return await(a, func(p connector.Passed) bool { return p.ID == id }).Outcome
}

func TestASearchIsAnswered(t *testing.T) {
	for _, version := range []int{176, 225} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			leakFree(t)
			gw := gateway.Start(t, gateway.Config{ServerVersion: version})
			a := begin(t, new(Dialer), gw.Addr(), 1)
			a.opened()
			a.session.Send(lookup(1<<30+1, connector.PrioritySession))
			if got := a.outcome(1<<30 + 1); got != connector.OutcomeSent {
				t.Errorf("the search was %s, want sent", got)
			}
			found := await(a, anyOf[connector.Found])
			if found.ID != 1<<30+1 || found.Count == 0 || found.At.Before(found.SentAt) {
				t.Errorf("found %+v, want contracts, after it was sent", found)
			}
		})
	}
}

func TestEveryMessageHasOneOutcome(t *testing.T) {
	leakFree(t)
	gw := gateway.Start(t, gateway.Config{})
	d := new(Dialer)
	a := begin(t, d, gw.Addr(), 1)
	a.opened()

	// Nothing but one message a minute, so that the rest waits.
	d.pacers().For(gw.Addr()).Slow(9, 1, time.Hour)
	first := lookup(1, connector.PriorityCancel)
	a.session.Send(first)
	brief := lookup(2, connector.PriorityRequest)
	brief.Expires = time.Now().Add(20 * time.Millisecond)
	a.session.Send(brief)
	if got := a.outcome(2); got != connector.OutcomeExpired {
		t.Errorf("a message whose time was over was %s, want expired", got)
	}
	for id := range int64(defaultQueueLimit + 5) {
		a.session.Send(lookup(100+id, connector.PriorityBackfill))
	}
	if got := a.outcome(100 + defaultQueueLimit + 4); got != connector.OutcomeFull {
		t.Errorf("a message too many was %s, want full", got)
	}
	gw.Reset()
	a.wait()

	outcomes := map[int64][]connector.Outcome{}
	news := a.all()
	for _, in := range news {
		if p, ok := in.(connector.Passed); ok {
			outcomes[p.ID] = append(outcomes[p.ID], p.Outcome)
		}
	}
	if _, last := news[len(news)-1].(connector.Ended); !last {
		t.Errorf("the last news is %T, want the end behind every outcome", news[len(news)-1])
	}
	counts := map[connector.Outcome]int{}
	for id, all := range outcomes {
		if len(all) != 1 {
			t.Errorf("message %d was %v, want one outcome", id, all)
		}
		counts[all[0]]++
	}
	if n := len(outcomes); n != defaultQueueLimit+7 {
		t.Errorf("%d messages have an outcome, want all %d", n, defaultQueueLimit+7)
	}
	if counts[connector.OutcomeLost] < defaultQueueLimit-10 || counts[connector.OutcomeFull] != 5 {
		t.Errorf("outcomes are %v, want nearly all lost with their session, and 5 refused as full", counts)
	}
	a.session.Send(lookup(9999, connector.PriorityRequest)) // comes to nothing, and harms nobody
}

// TestManySessionsKeepToOneBudget is the worst a process can want of a gateway:
// as many clients as it takes, all with more to say than they may.
func TestManySessionsKeepToOneBudget(t *testing.T) {
	leakFree(t)
	const sessions, during = 32, 6 * time.Second
	gw := gateway.Start(t, gateway.Config{MaxRate: ibLimit})
	pacing := new(connector.Pacing)
	var all []*attempt
	for id := range int64(sessions) {
		all = append(all, beginAt(t, &Dialer{Pacing: pacing}, gw.Addr(), id+1, connector.Pace{PerSecond: connector.DefaultPerSecond}))
	}
	for _, a := range all {
		a.opened()
	}
	var slowest time.Duration
	var mu sync.Mutex
	var work sync.WaitGroup
	begun := time.Now()
	for _, a := range all {
		work.Go(func() {
			for id := range int64(defaultQueueLimit) {
				a.session.Send(lookup(id+1, connector.PriorityBackfill))
			}
			for number := uint64(1); time.Since(begun) < during; number++ {
				asked := time.Now()
				a.session.Probe(number)
				answer := await(a, func(in connector.Answered) bool { return in.Number == number })
				mu.Lock()
				slowest = max(slowest, answer.Answer.ReceivedAt.Sub(asked))
				mu.Unlock()
				time.Sleep(time.Second - time.Since(asked)%time.Second)
			}
		})
	}
	work.Wait()
	seen := gw.Stats()
	// 32 heartbeats a second are most of what 40 messages a second allow.
	t.Logf("busiest second: %d messages as the gateway counts; slowest heartbeat: %v; %d heartbeats, %d searches",
		seen.BusiestSecond, slowest, seen.Requests[gateway.ReqCurrentTime], seen.Requests[gateway.ReqMatchingSymbols])
	if seen.BusiestSecond > ibLimit || seen.Breaches != 0 {
		t.Errorf("one second saw %d messages, and %d were too many, want at most %d and none", seen.BusiestSecond, seen.Breaches, ibLimit)
	}
	if limit := connector.DefaultPolicy("", 0).HeartbeatTimeout; slowest > limit {
		t.Errorf("a heartbeat took %v, want less than the %v after which it is missed", slowest, limit)
	}
	if seen.Requests[gateway.ReqMatchingSymbols] == 0 {
		t.Error("nothing but heartbeats was sent")
	}
}

// ibLimit is how many messages a second a gateway takes from an account with 100
// market data lines. The budget is 40; the rest is for what the network and the
// machine bunch together on the way.
const ibLimit = 50

func TestUnacknowledgedSegmentsAreCounted(t *testing.T) {
	leakFree(t)
	gw := gateway.Start(t, gateway.Config{})
	a := begin(t, new(Dialer), gw.Addr(), 1)
	a.opened()
	// On loopback what is sent is acknowledged at once; that a network does not
	// is shown by the tests with one (cmd/ibconn).
	eventually(t, "all is acknowledged", func() bool { return a.session.Record().Unacked == 0 })
	a.end()
	if got := a.session.Record(); got.Unacked != 0 || got.Traffic == (events.Traffic{}) {
		t.Errorf("a session that is over says %+v, want its counts", got)
	}
}
