package whatif_test

import (
	"testing"
	"time"

	"ibconn/connector"
	"ibconn/events"
	"ibconn/replay/whatif"
)

// BenchmarkAYear plays a year in which twenty sessions a day are lost, half of them
// after a silence, to the default policy: "days/s" is how many of its days a second.
func BenchmarkAYear(b *testing.B) {
	const days, losses = 365, 20
	var p past
	at := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	add := func(after time.Duration, e events.Event) {
		at = at.Add(after)
		p.all = append(p.all, events.Recorded{Connection: "main", Epoch: 1, Sequence: uint64(len(p.all) + 1), Time: at, Event: e})
	}
	add(0, &events.EpochBegan{Instance: "host-1", PID: 1})
	for n := uint64(1); n <= days*losses; n++ {
		add(time.Second, &events.DialStarted{Attempt: n, Endpoint: "127.0.0.1:4002", ClientID: 17, DeadlineAt: at})
		add(time.Millisecond, &events.GatewayReached{Attempt: n, DeadlineAt: at})
		add(time.Millisecond, &events.GatewayGreeted{Attempt: n, ServerVersion: 203, DeadlineAt: at})
		add(time.Millisecond, &events.SessionOpened{Attempt: n, NextProbeAt: at, AnswerBy: at})
		lost := &events.SessionLost{Attempt: n, Cause: events.CauseReset, RetryAt: at}
		if n%2 == 0 {
			lost.Cause, lost.Detail, lost.Silent = events.CauseHeartbeatLost, "2 answers missed in a row", 25_000
		}
		add(24*time.Hour/losses-time.Second, lost)
	}
	policy := connector.DefaultPolicy("127.0.0.1:4002", 17)
	for b.Loop() {
		w, err := whatif.Learn(p.events(), time.Time{}, time.Time{})
		if err != nil {
			b.Fatal(err)
		}
		o, err := w.Play(policy, whatif.Late, nil)
		if err != nil {
			b.Fatal(err)
		}
		if o.Sessions < days*losses/2 {
			b.Fatalf("%d sessions were opened: %+v", o.Sessions, o)
		}
	}
	b.ReportMetric(days*float64(b.N)/b.Elapsed().Seconds(), "days/s")
}
