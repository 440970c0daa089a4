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
