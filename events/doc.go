// Package events says what can be true of a connection to TWS or IB Gateway:
// every event that can happen to it, the form in which events are stored and
// published, IB's code table, and the state that a log of events amounts to.
//
// The one idea: the log is the truth. A connection's [State] is the fold of its
// events and nothing else, so whoever reads the same log knows the same thing:
// the connector after a restart, a dashboard, or a replay a year later.
//
//	s := events.NewState("main")
//	for payload := range messages { // of the stream IB_LOG, or of ib.conn.*
//		r, err := events.Decode(payload)
//		if err != nil { ... }
//		s = s.Apply(r)
//		fmt.Println(r.Time, events.Sentence(r), s.Condition)
//	}
//
// The one writer of a connection makes each event on the head of its log:
//
//	r, err := head.Next(author, events.Draft{Event: &events.SessionStale{...}}, now)
//	if err != nil { ... }
//	// store r.Wire under events.LogSubject, then:
//	s, head = s.Apply(r), head.Then(r)
//
// # The events
//
// A type is "ib.conn.<kind>.<what>". [Schema] returns the JSON Schema of each.
//
//	ib.conn.claimed.epoch_began          a writer took the connection
//	ib.conn.state.connect_requested      the connection is wanted, or wanted at once
//	ib.conn.state.dial_started           an attempt began
//	ib.conn.state.gateway_reached        the gateway's TCP port accepted
//	ib.conn.state.gateway_greeted        the gateway answered its version
//	ib.conn.state.dial_failed            the attempt ended before its session was ready
//	ib.conn.state.session_opened         the session is ready
//	ib.conn.state.session_stale          a heartbeat answer is overdue
//	ib.conn.state.session_fresh          a stale session answered again
//	ib.conn.state.session_lost           a session that was ready ended
//	ib.conn.state.breaker_opened         too many failures in a row: only slow probes go on
//	ib.conn.state.breaker_closed         a probe led to a session
//	ib.conn.state.stopped                ended in order, by command or with the process
//	ib.conn.state.clock_jumped           the host slept, or its clock was set
//	ib.conn.state.login_needed           a person has to look at the gateway
//	ib.conn.state.port_changed           the gateway announced another API port
//	ib.conn.state.link_down              the gateway lost IB's servers
//	ib.conn.state.link_up                the gateway reaches IB's servers again
//	ib.conn.state.link_proven            IB's servers answered through the gateway
//	ib.conn.state.link_silent            they did not, several times in a row
//	ib.conn.state.farm_changed           one of IB's data services changed
//	ib.conn.state.competing_began        another session of the user takes the market data
//	ib.conn.state.competing_ended        nothing has been heard of it for a while
//	ib.conn.state.pacing_reduced         the gateway complained, so messages go slower for a while
//	ib.conn.state.pacing_restored        they go as configured again
//	ib.conn.heartbeat.answered           a probe was answered
//	ib.conn.heartbeat.missed             a probe was not answered in time
//	ib.conn.heartbeat.link_answered      a probe of the link was answered
//	ib.conn.heartbeat.link_missed        a probe of the link was not answered in time
//	ib.conn.error.gateway_reported       an error or notice that changed no level
//	ib.conn.error.gateway_repeated       the same again, counted
//	ib.conn.error.frame_refused          the safety catch kept a message from the gateway
//	ib.conn.error.session_abandoned      the API library did not let go of a session
//	ib.conn.error.log_damaged            the log does not hold what it must hold
//	ib.conn.command.accepted             a command was taken
//	ib.conn.command.rejected             a command cannot be done as things stand
//	ib.conn.command.begun                IBC is about to be asked for a control command
//	ib.conn.command.completed            a command reached what it was for
//	ib.conn.command.failed               a command will not reach what it was for
//	ib.conn.subscription.added           something is wanted from now on
//	ib.conn.subscription.joined          another caller wants it too
//	ib.conn.subscription.left            a caller wants it no longer, and others do
//	ib.conn.subscription.cancelled       nobody wants it any longer
//	ib.conn.subscription.placed          it is about to be asked for, under a new request id
//	ib.conn.subscription.live            its data comes: at first, or again
//	ib.conn.subscription.dark            its data stays away though its market is open
//	ib.conn.subscription.failed          the gateway refused it, or ended it
//	ib.conn.subscription.hours           IB says other trading hours of its contract
//	ib.conn.subscription.gap_detected    bars are missing
//	ib.conn.subscription.gap_filled      those that IB has of them were fetched and published
//	ib.conn.subscription.gap_unfillable  they will not be fetched
//
// # Guarantees
//
//   - Old events are read for ever. The files in testdata/wire hold the stored
//     form of every type and never change; a changed meaning is a new type.
//   - [Decode] never panics, whatever the bytes, and what it cannot take is an
//     error that names the attribute at fault. Unknown fields, values and types
//     are tolerated, and stored bytes are never re-encoded.
//   - [Head.Next] never makes an event that [Decode] would refuse.
//   - [State.Apply] is pure and total: no clock, no dice, no error; it only copies
//     what the event says, and the state before it stays as it was.
//   - [Head.Follows] finds an event that is missing, changed, out of order, there
//     twice, or written under a claim that was not the last.
//   - Account ids are masked by [MaskAccounts] before they enter an event.
//
// # Non-obvious
//
//   - Heartbeats stand outside the sequence and the hash chain, because they
//     expire from the log. So they move nothing of the State but its Heartbeat,
//     not even its time. Their [Load] is in no State: it is there for consumers.
//   - A command's causation is how Apply knows that the command has been acted
//     on; there is no event for that alone, but for control commands, whose
//     effect is not one of ours.
//   - Recent commands are in the State but not in its JSON: they are there to
//     answer a repeated command, and would make every status answer large.
//   - A [Contract]'s short form is what [Contract.String] writes, where it has
//     one; numbers in it are text, as they were given.
//   - A [BarQuery] that is answered with one reply is at most for [MaxBars]
//     bars, estimated around the clock; the prices and sizes of a [Bar] are text.
//     A [BarCheck] marks what is wrong with one, and compares them exactly.
//   - [Hours] know the days that IB listed, mostly today and the next five, and
//     say of all others that they do not know.
//   - A [Pool] is no event: it follows from the states of its members.
//   - Subscriptions are in the State but not in its JSON: there may be a thousand
//     of them, and the command subscriptions lists them. Of a subscription's life
//     the first half is what is wanted, which outlives every session, and the
//     second what is placed, which a session's end makes [SubscriptionWanted].
//   - Two subscriptions of the same [Feed] are one: its callers are counted by
//     name, and it ends with the last of them.
//   - A [Datum] is no event: it is published on ib.data as it comes, and of it
//     only bars are kept, in the stream IB_DATA.
//   - A claim is recognized by its kind, not its type, so that an older program
//     can follow the epochs of a log that a newer one writes.
//   - [ParseRequest] is stricter than [Decode]: a person's misspelt field must
//     not be ignored, and an event's added one must be.
package events
