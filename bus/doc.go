// Package bus is where events lie and how they travel: an embedded NATS
// server, the log of events in a JetStream stream, one fenced writer per
// connection, the live feed, and the commands.
//
// The one idea: an event is on the disk before anybody hears of it. Events are
// stored under ib.log.<connection>.<kind>; the stream itself repeats what it
// has stored on ib.conn.<kind>. So the feed shows exactly what was stored,
// once, and never an event that was refused.
//
//	server, err := bus.Open(bus.ServerOptions{StoreDir: dir, Listen: "127.0.0.1:4222"})
//	nc, err := server.Connect("connector")
//	log, err := bus.OpenLog(ctx, nc, bus.LogOptions{MaxBytes: server.MaxStore()})
//	w, err := log.Writer("main", dir)
//	for r, err := range w.Load(ctx) { ... }    // what happened so far
//	err = w.Claim(ctx, claim)                  // from now on nobody else writes
//	err = w.Append(ctx, r)                     // on the disk when it returns nil
//
//	for e, err := range log.Read(ctx, bus.Query{Connection: "main", Follow: true}) { ... }
//
// Data is beside the log: [Data] publishes what subscriptions bring on ib.data, and
// keeps their bars in the stream IB_DATA.
//
//	data, err := bus.OpenData(ctx, nc, bus.DataOptions{})
//	go data.Run(ctx)
//	data.Publish("main", "aapl", tick)                         // now or never
//	data.Keep("main", "aapl-bars", series, bar)                // until it is stored
//	n, err := data.Store(ctx, "main", "aapl-bars", series, missed) // and waits for it
//
// What happens to incidents is in the stream IB_INCIDENT, by [Incidents]. What was
// imported from other logs is in the stream IB_IMPORT, by [Imports], and never on the
// feed. [OpenCopy] reads what a stopped run left, and changes nothing of it.
//
// An external server or cluster, the hub, gets the log from a [Relay]:
//
//	hub, err := bus.DialHub(bus.HubOptions{URL: url, Login: options})
//	relay := &bus.Relay{Local: log, Hub: hub, Connections: names}
//	n, err := relay.Fetch(ctx, "main")     // before the writer begins: what only the hub has
//	go relay.Run(ctx)
//	s, err := relay.Status(ctx, "main")    // how far it is
//
// Guarantees:
//   - An event whose Append returned nil is in the log, once, and survives the
//     death of the process and of the machine: the server syncs every message.
//   - Of several writers only the one that claimed last can append. The others
//     get [events.ErrSuperseded], and nothing of theirs is stored or shown.
//   - Two processes never share a store directory ([InUseError]).
//   - The log never drops an event to make room ([ErrFull]); only heartbeats
//     expire.
//   - A command may have several replies; who handles it learns when nobody
//     listens to them any more. [AskAll] takes them.
//   - A change of an incident is stored once, and none before one that is stored,
//     however many publish them.
//   - What [Ledgers] saved for a gateway is on the disk, and nobody outside of
//     this process can change it.
//   - A document in [Statuses] is never replaced by one of an earlier position of the
//     log, however many write it.
//   - What a hub has of a connection is the beginning of the log here, byte for byte,
//     in order and each event once, whatever was killed or cut off, and for however
//     long; but for heartbeats, which expire on the way. A relay never slows a writer.
//   - An event that does not follow what the hub has is not brought there: one written
//     under a claim that the hub knows to be superseded, or of another history. It is
//     kept here, and [Relay.Status] says so.
//   - What JetStream may lose without a word (a truncated block file, a copied
//     directory) shows as a difference between [Writer.Mark] and the log's head;
//     what it knows it lost is in [Log.Damage].
//   - Who publishes or keeps data never waits, however slow server and subscribers
//     are; what is dropped for that is counted, and no bar is before there are
//     65536. Messages keep their order, bars theirs.
//   - A bar is in the stream once, by its time within its series, through restarts,
//     kills, and a backfill that was cut off and is done again.
//
// # Non-obvious
//
//   - A writer is fenced by the position of its claim, not by the position of
//     its last event: heartbeats expire, and then JetStream's "last sequence"
//     of a subject moves backwards although nobody wrote.
//   - JetStream reports a lost race as error 10071 or as 10164. The second means
//     that another write was under way and may have failed; only a claim that
//     is really another one supersedes a writer.
//   - JetStream's deduplication remembers two minutes. A writer that does not
//     know whether its event was stored looks for it in the log before it tries
//     again.
//   - nats-server reports a failed start to its log only; the log adapter keeps
//     the first such report, and Open returns it.
//   - nats-server does not lock its directory. Two servers on one directory
//     acknowledge events and lose them.
//   - How far a hub is, the hub alone says, by its newest event of a connection. The
//     bucket ib_relay only tells one that has lost something from one that never had it.
//     Where that event stood here is in its header Ib-Local-Sequence, and a hint: it
//     counts if the same event stands there.
//   - The hub is asked through the leader of its stream, since replicas lag; and a word
//     that it has less than before is believed once it took something on that.
//   - JetStream deduplicates bars by id for ten minutes. What is older is told by
//     the bars themselves: a live bar is stored only if it is newer than all of its
//     series, which the last message says in a header (Ib-Newest), and a backfill first
//     reads which bars are stored. So the newest of a series needs one look.
//   - The stream of bars drops the oldest to make room, and always has a limit:
//     without one it could take the room that the log needs.
package bus
