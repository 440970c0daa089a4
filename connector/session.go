package connector

import (
	"context"
	"iter"
	"time"

	"ibconn/events"
)

// Order says what attempt to make.
type Order struct {
	Attempt  uint64
	Endpoint string // the gateway's host:port
	ClientID int64
	// Pace is the message budget of the gateway, and QueueLimit how many messages
	// may wait for their turn. A zero Pace is the default one.
	Pace       Pace
	QueueLimit int
	// Deliver takes what subscriptions bring, but for bars, under the
	// subscription's name. It is called from the goroutine that decodes, in the
	// order of what came, and must not block; nil delivers nothing.
	Deliver func(subscription string, d events.Datum)
}

// Dialer makes the attempts that the connector decides on. Package
// connector/tws has the one that speaks to a gateway.
type Dialer interface {
	// Attempt returns the attempt o, not yet begun.
	Attempt(o Order) Session
}

// Session is one attempt and, if it succeeds, the session it opens.
type Session interface {
	// Run dials, greets, and keeps the session until it ends by itself or ctx
	// does. On the way it reports Reached, Greeted, Opened, Probed, Answered,
	// Passed, Found,
	// Described, Brought, Arrived, BarsCame, Noticed and Refused; when it ends by itself, Ended, once; and Abandoned when
	// something of it had to be left behind. It returns when nothing of it is
	// left in the process, or what is left was given up. The gateway's socket
	// is closed as soon as ctx ends. Deadlines of the greeting are the
	// connector's: it ends ctx.
	Run(ctx context.Context, report func(Input))
	// Probe sends the heartbeat probe of that number (reqCurrentTime). It
	// returns at once, and does nothing once the session is over.
	Probe(number uint64)
	// Send puts m in the queue of messages and returns at once. What becomes of
	// m is reported as Passed, and what the gateway answers as an input of its
	// own. A message for a session that is over comes to nothing.
	Send(m Message)
	// HeardOf returns when data last came for the subscription that was placed
	// under an id; zero when none did. It is cheap.
	HeardOf(id int64) time.Time
	// Slow holds all messages to the gateway to so many a second, whoever's they
	// are, for a while, since it complained to this client; 0 ends it.
	Slow(perSecond int, during time.Duration)
	// Record returns what the tap has seen so far.
	Record() FlightRecord
	// Traffic returns the counts alone, which is cheaper.
	Traffic() events.Traffic
	// Load returns how much was asked of the gateway so far. It is cheap, and
	// what it returns is the caller's.
	Load() events.Load
}

// Data takes what subscriptions bring, for whoever listens. Package bus has the
// one on NATS. Its methods may be called from any goroutine.
type Data interface {
	// Publish sends d to whoever listens now, and forgets it. It never blocks;
	// what there is no room for is counted and dropped.
	Publish(c events.ConnectionID, subscription string, d events.Datum)
	// Keep sends a bar and stores it behind those before it, under a series, which
	// tells subscriptions apart that have the same name one after the other. A bar
	// that is stored already, by its time, is not stored again. It never blocks:
	// what there is no room for is dropped.
	Keep(c events.ConnectionID, subscription, series string, b *events.BarData)
	// LostBars returns which of a connection's bars were dropped since it was last
	// called. It is cheap.
	LostBars(c events.ConnectionID) []events.LostBars
	// Store does the same for bars that were missed, and returns once they are
	// stored, with how many of them had not been, or when ctx ends.
	Store(ctx context.Context, c events.ConnectionID, subscription, series string, bars []*events.BarData) (int, error)
	// Newest returns the time of the newest bar that is stored of a series; zero
	// when there is none.
	Newest(ctx context.Context, c events.ConnectionID, subscription, series string) (time.Time, error)
}

// Log is where one connection's events lie. Package bus has the one on
// JetStream.
type Log interface {
	// Load yields every event of the connection that is not a heartbeat,
	// oldest first. What is stored but cannot be decoded is yielded as an error
	// that is events.ErrMalformed, and loading goes on; any other error ends it.
	Load(ctx context.Context) iter.Seq2[events.Recorded, error]
	// LastAt returns when the connection's newest event, heartbeats included,
	// was written; zero for an empty log.
	LastAt(ctx context.Context) (time.Time, error)
	// Mark returns the high-water mark: the head that this machine knows to
	// have been stored. Zero when there is none.
	Mark() (events.Head, error)
	// Claim stores the claim, an EpochBegan, on condition that no other claim
	// came since Load; otherwise it returns events.ErrSuperseded.
	Claim(ctx context.Context, claim events.Recorded) error
	// Append stores r on condition that the claim still stands; otherwise it
	// returns events.ErrSuperseded. It tries until r is stored, and returns
	// another error only when that is impossible or ctx ended.
	Append(ctx context.Context, r events.Recorded) error
}
