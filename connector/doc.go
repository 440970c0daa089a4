// Package connector decides what to do about a connection, and does it: it
// opens a session with a gateway, keeps it, and opens the next one when it is
// lost, for ever, and records each step before it is taken.
//
// The one idea is a loop over pure functions:
//
//	input -> Decide(state, input, now) -> event -> append to the log -> Apply(state, event) -> PlanFor(state) -> carry out
//
// [Policy.Decide] makes every choice, dice included, and writes it into the
// event. [events.State.Apply] only copies. [PlanFor] says what should be going
// on in a state, and the [Runner] makes reality match it. Since what to do
// follows from the state and not from the way there, a restart and a
// transition take the same road, and a log can be replayed without policy,
// clock or gateway.
//
// # How to use it
//
//	runner := &connector.Runner{
//		Connection: "main",
//		Policy:     connector.DefaultPolicy("127.0.0.1:4002", 1),
//		Log:        log,    // such as package bus has
//		Dialer:     dialer, // such as package connector/tws has
//		Instance:   "host-1",
//		Version:    version,
//		PID:        os.Getpid(),
//		NewID:      nuid.Next,
//	}
//	err := runner.Run(ctx) // blocks until ctx ends or another writer takes over
//
// While Run runs, [Runner.Handle] takes commands and [Runner.State] shows the
// state, from any goroutine.
//
// # What it guarantees
//
//   - An event is stored before what it says is done, and one input leads to at
//     most one event; what follows from that is decided anew. A process may
//     therefore end at any instant: the next one finds in the log what was
//     going on, records that it is over, and goes on from there.
//   - A command that was accepted has an outcome on record once the connection
//     is ready and its link proven or found silent, stopped by command, or tripped, over restarts too. The same id
//     has no second effect.
//   - A request for a contract has one answer: what IB said, or at the moment it
//     is known why there is none. Nothing of it is recorded. That there is no
//     such contract is said only when IB's servers were seen to be there.
//   - The same holds of a query for history, and that there is no data. It leaves
//     only when IB's rules allow it, by the [Ledger] of its gateway, which goes
//     over restarts where there is a [LedgerStore]; what was not answered in
//     time, or that nobody waits for any more, is cancelled. A long one is asked
//     for in chunks, and has each bar once, in order and whole.
//   - A subscription is wanted from the event that adds it to the one that
//     cancels it. Each session is given the difference between what is wanted and
//     what it has, by the message budget and IB's rules; what it had before is
//     cancelled first; no request id is used twice in the life of a log. It is
//     live only when data came. Bars that an outage cost are fetched, and each is
//     handed on once.
//   - A control command, which IBC carries out, is recorded as begun before IBC
//     is asked, and never asked for twice. Its outcome is what IBC said; after a
//     crash in between, that it is not known. One is under way at a time, in
//     whatever phase the connection is.
//   - An attempt's number is used once, and news of any attempt but the present
//     one changes nothing.
//   - Only the writer with the last claim acts. One that was superseded closes
//     its session and returns [events.ErrSuperseded].
//   - All connections to one gateway together send no more in any second than
//     its [Pace] allows; what keeps a session goes first, and each [Message] has
//     one [Outcome].
//   - At most one probe is sent at a time and two are at least [ProbeSpacing]
//     apart. A silent gateway is found out within an interval and
//     HeartbeatMisses timeouts.
//   - Damage to the log is recorded once and the sequence goes on behind it.
//   - When Run returns, no goroutine, socket or timer of it is left, except
//     what a session reported as abandoned.
//
// # Non-obvious
//
//   - Run keeps writing for [Runner.Grace] after its context ended, to record
//     that it stopped. An append that was cut off might be stored or not, and
//     the next event would take its sequence a second time.
//   - The failures in a row are not forgotten when a session opens but when it
//     has been ready for Policy.StableAfter: a gateway that accepts and hangs
//     up in a loop is backed off from like one that refuses. For the same
//     reason a breaker that a probe closed opens again at once if that
//     session does not last.
//   - A heartbeat that is not answered is missed only when the probe was out
//     for the whole timeout. A probe that goes out late, because the log or the
//     host was held up, is not held against the gateway.
//     Neither is one that waits for its turn among other messages.
//   - A heartbeat proves the session and nothing behind it. So the link is probed
//     too: IB's servers are asked something that the gateway cannot answer by
//     itself. Until that was answered a new session is degraded. A gateway that
//     goes on saying that its link is down is believed against an answer, one
//     that has fallen silent about it is not.
//   - The message budget is spread evenly rather than counted per second, so
//     that a new process needs to know nothing of what the old one sent; only a
//     budget that the gateway's complaints have halved is part of the state.
//   - Any byte heard after a probe keeps the session, answered or not: a
//     gateway that is busy sending data may be slow to answer.
//   - A reconnect command that comes during an attempt waits for that attempt
//     rather than beginning another: the attempt has a deadline of its own.
//   - A loss that a command asked for, or that is only our own process's end,
//     does not count as a failure of the gateway.
//   - Data does not go through the loop, but for bars: gaps are found in them. What
//     is said of subscriptions is decided by when data last came, which a session
//     is asked ([Session.HeardOf]) when it would be too long ago.
//   - A market of which no hours are known counts as open: a false alarm is better
//     than none.
//   - Times are wall-clock times, since they must mean something to the next
//     process. A clock that moves otherwise than time passes is found by
//     comparing the two, at least every ten seconds, and what is waited for
//     gets new times: the host slept, or its clock was set, and neither is the
//     gateway's fault.
//   - What the gateway repeats is counted in front of Decide and recorded now
//     and then. Those counts are the only thing that a crash loses.
package connector
