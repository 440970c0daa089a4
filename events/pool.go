package events

import "time"

// Pool is what several connections amount to together, worked out from their
// states. It is published on [PoolSubject] whenever it changes, and is no
// event: whoever folds the members' logs finds the same.
type Pool struct {
	Name      ConnectionID `json:"name"`
	AsOf      time.Time    `json:"as_of,omitzero"` // when the newest event of a member happened
	Condition Condition    `json:"condition"`      // healthy: every wanted member is; degraded: one is ready at least; down: none is, and one is wanted; stopped: all are
	Of        int          `json:"of"`             // how many members there are
	Wanted    int          `json:"wanted"`         // of these, how many no disconnect command stopped
	Ready     int          `json:"ready"`          // how many have a session
	Healthy   int          `json:"healthy"`        // how many are healthy
	Reasons   []PoolReason `json:"reasons"`        // why the pool is not healthy
	Members   []PoolMember `json:"members"`        // in the order of their configuration
}

// PoolReason is one fact that keeps a pool from being healthy, and whose it is.
type PoolReason struct {
	Connection ConnectionID `json:"connection"`
	Reason
}

// PoolMember is where one connection of a pool stands.
type PoolMember struct {
	Connection ConnectionID `json:"connection"`
	Wanted     bool         `json:"wanted"`
	Phase      Phase        `json:"phase"`
	Condition  Condition    `json:"condition"`
}
