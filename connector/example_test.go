package connector_test

import (
	"fmt"
	"time"

	"ibconn/connector"
	"ibconn/events"
)

func ExamplePolicy_Decide() {
	policy := connector.DefaultPolicy("127.0.0.1:4002", 1)
	state := events.NewState("main")
	now := time.Date(2026, 3, 2, 7, 0, 0, 0, time.UTC)

	// What follows from an input is found by waking until nothing does.
	var in connector.Input = connector.Started{}
	for sequence := uint64(1); ; sequence++ {
		draft, ok := policy.Decide(state, in, now)
		if !ok {
			break
		}
		state = state.Apply(events.Recorded{Sequence: sequence, Epoch: 1, Time: now, Event: draft.Event})
		fmt.Println(draft.Event.Type().What(), "->", state.Phase)
		in = connector.Woke{}
	}
	plan := connector.PlanFor(state)
	fmt.Println("run attempt", plan.Attempt.Attempt, "until", plan.WakeAt.Sub(now))
	// Output:
	// connect_requested -> waiting
	// dial_started -> dialing
	// run attempt 1 until 5s
}
