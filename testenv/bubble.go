// Package testenv is the world, simulated: what tests need to run the real
// parts of ibconn against a gateway, a log and a clock of their own. The parts
// stand in packages below this one; here is the clock.
//
// A test inside a [Bubble] has a clock that jumps as soon as everything waits,
// so that a day of reconnecting takes a second, and fails when a goroutine
// outlives it. An embedded NATS server with JetStream can run inside one, as
// long as it does not listen.
//
// # Non-obvious
//
//   - nats-server keeps time of access by one goroutine for the whole process.
//     Started inside a bubble it would keep the bubble's clock from ever moving.
//   - nats.go keeps used timers in a pool for the whole process. A timer of one
//     bubble that is used in another ends the program.
//   - That clock of access times is also the one by which a JetStream stream on
//     files drops what is too old: expiry cannot be tested in a bubble.
//   - Tests that use bubbles must not run in parallel: they share the pool.
package testenv

import (
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats-server/v2/server/ats"
)

// Bubble runs f as synctest.Test does, in a bubble that NATS clients and
// embedded servers can be used in.
func Bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	ats.Register()
	defer ats.Unregister()
	emptyPools()
	defer emptyPools()
	synctest.Test(t, f)
}

// emptyPools makes every sync.Pool drop what it holds, which takes two
// collections.
func emptyPools() {
	runtime.GC()
	runtime.GC()
}
