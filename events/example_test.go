package events_test

import (
	"fmt"
	"time"

	"ibconn/events"
)

// A log is written event by event on its head, and read by folding it.
func Example() {
	author := events.Author{Connection: "main", Source: "/ibconn/desk", NewID: func() string { return "1" }}
	now := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

	var head events.Head
	var log [][]byte
	for _, e := range []events.Event{
		&events.EpochBegan{Instance: "desk", PID: 41, Version: "1.0.0"},
		&events.ConnectRequested{By: events.AskerStart, RetryAt: now},
		&events.DialStarted{Attempt: 1, Endpoint: "127.0.0.1:4002", ClientID: 17, DeadlineAt: now.Add(5 * time.Second)},
	} {
		r, err := head.Next(author, events.Draft{Event: e}, now)
		if err != nil {
			fmt.Println(err)
			return
		}
		log, head = append(log, r.Wire), head.Then(r)
	}

	state := events.NewState("main")
	for _, payload := range log {
		r, err := events.Decode(payload)
		if err != nil {
			fmt.Println(err)
			return
		}
		state = state.Apply(r)
		fmt.Printf("%d %s: %s\n", r.Sequence, state.Phase, events.Sentence(r))
	}
	// Output:
	// 1 idle: epoch 1 began: desk (version 1.0.0, pid 41) holds the connection, as its first writer
	// 2 waiting: connection wanted as the program started
	// 3 dialing: dialing 127.0.0.1:4002 as client 17 (attempt 1)
}

// Half an hour of a stock's bars: one is missing in the middle, and the last one
// is not finished yet.
func ExampleBarCheck() {
	hours, err := events.ParseHours("20261125:0930-20261125:1600;20261126:CLOSED", "US/Eastern")
	if err != nil {
		fmt.Println(err)
		return
	}
	check := events.NewBarCheck(10*time.Minute, "TRADES", hours)
	read := time.Date(2026, 11, 25, 15, 5, 0, 0, time.UTC)
	for _, b := range []events.Bar{
		{Time: "2026-11-25T14:30:00Z", Open: "270.1", High: "271", Low: "270", Close: "270.95", Volume: "182300", Count: 904},
		{Time: "2026-11-25T14:50:00Z", Open: "270.9", High: "270.8", Low: "270.5", Close: "270.5", Volume: "90100", Count: 411},
		{Time: "2026-11-25T15:00:00Z", Open: "270.5", High: "270.5", Low: "270.5", Close: "270.5", Volume: "0"},
	} {
		b = check.Check(b, read)
		fmt.Println(b.Time, b.Severity, b.Issues, b.Provisional)
	}
	// Output:
	// 2026-11-25T14:30:00Z  [] false
	// 2026-11-25T14:50:00Z error [ohlc_order hole] false
	// 2026-11-25T15:00:00Z  [] true
}
