package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
	"github.com/rs/zerolog"

	"ibconn/bus"
	"ibconn/connector"
	"ibconn/connector/tws"
	poolwatch "ibconn/consumers/pool"
	"ibconn/events"
)

// app keeps connections on an embedded bus: everything that "ibconn run" is,
// without its flags, so that the demo and the tests run the same thing.
type app struct {
	Connections []connection // at least one
	Pools       []pool
	Dir         string         // where the log lies
	Listen      string         // the embedded server's address; empty: none
	Hub         *external      // where the log is relayed to, and commands are taken; nil: nowhere
	Log         zerolog.Logger // for what is not an event: the bus' own words
	// Consumers are hosted beside the connections. One that cannot go on is begun
	// again, and does not end a connection.
	Consumers consumers

	// Ready, when set, is called once the bus can be reached, with its URL.
	Ready func(url string)
	// OnEvent is called for each event of the connections from then on, in order,
	// on one goroutine.
	OnEvent func(events.Recorded)
}

// drainWithin is how long the last events may take to OnEvent.
const drainWithin = 300 * time.Millisecond

// Run keeps the connections until ctx ends. It ends things in the reverse order
// of their beginning: the connections first, so that their last events are
// recorded, then whoever reads the events, then the bus.
//
// A connection that another writer took ends alone; the error wraps
// [events.ErrSuperseded] when all of them did. Whatever else ends a connection
// ends all.
func (a *app) Run(ctx context.Context) error {
	for _, c := range a.Connections {
		if err := c.Policy.Validate(); err != nil {
			return usageError{err}
		}
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	instance := fmt.Sprintf("%s-%d", host, os.Getpid())

	server, err := bus.Open(bus.ServerOptions{StoreDir: a.Dir, Listen: a.Listen, Instance: instance, Log: a.Log})
	if _, wrong := errors.AsType[*bus.ListenError](err); wrong {
		return usageError{err}
	}
	if err != nil {
		return err
	}
	return errors.Join(a.connect(ctx, server, instance), server.Close())
}

// place is where an app's log is, and what leads there.
type place struct {
	server   *bus.Server
	nc       *nats.Conn // to it
	apart    *nats.Conn // to it, for consumers: one that stalls stalls nobody else
	hub      *uplink    // nil: there is none
	instance string
}

// connect connects to the bus, and to the hub if there is one, and serves.
func (a *app) connect(ctx context.Context, server *bus.Server, instance string) error {
	nc, err := server.Connect("ibconn run")
	if err != nil {
		return err
	}
	defer nc.Close()
	apart, err := server.Connect("ibconn consumers")
	if err != nil {
		return err
	}
	defer apart.Close()
	hub, err := a.Hub.dial(instance, a.Log)
	if err != nil {
		return err
	}
	defer hub.Close()
	return a.serve(ctx, place{server, nc, apart, hub, instance})
}

// kept is one connection while it is kept.
type kept struct {
	*connector.Runner
	unserve context.CancelFunc // ends its commands
}

func (a *app) runners(log *bus.Log, data connector.Data, ledgers connector.LedgerStore, contracts connector.ContractStore, instance string) ([]*kept, error) {
	// Shared by all: the dialer, with the gateways' message budgets, and their
	// ledgers of history; each is found by the address that accepted.
	dialer := &tws.Dialer{}
	history := &connector.Ledgers{Store: ledgers}
	var all []*kept
	for _, c := range a.Connections {
		writer, err := log.Writer(c.Name, a.Dir)
		if err != nil {
			return nil, err
		}
		all = append(all, &kept{Runner: &connector.Runner{
			Connection: c.Name,
			Policy:     c.Policy,
			Log:        writer,
			Dialer:     dialer,
			History:    history,
			Data:       data,
			Contracts:  contracts,
			Control:    c.Control,
			Instance:   instance,
			Version:    version,
			PID:        os.Getpid(),
			NewID:      nuid.Next,
		}})
	}
	return all, nil
}

func (a *app) serve(ctx context.Context, at place) error {
	server, nc, apart := at.server, at.nc, at.apart
	log, err := bus.OpenLog(ctx, nc, bus.LogOptions{})
	if err != nil {
		return err
	}
	ledgers, err := bus.OpenLedgers(ctx, nc)
	if err != nil {
		return err
	}
	contracts, err := bus.OpenContracts(ctx, nc)
	if err != nil {
		return err
	}
	data, err := bus.OpenData(ctx, nc, bus.DataOptions{Log: a.Log, Also: at.hub.data()})
	if err != nil {
		return err
	}
	if err := a.Consumers.prepare(ctx, apart); err != nil {
		a.Log.Warn().Err(err).Msg("what consumers keep cannot be opened yet, and is tried again")
	}
	relay := at.hub.relay(log, a)
	if err := at.hub.fetch(ctx, relay, a.Log); err != nil {
		return err
	}
	runners, err := a.runners(log, data, ledgers, contracts, at.instance)
	if err != nil {
		return err
	}
	position, err := log.Last(ctx)
	if err != nil {
		return err
	}

	// What serves the connections outlives them by a moment, and ends them when
	// it cannot serve them any more.
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var services sync.WaitGroup
	start := func(name string, run func(context.Context) error) context.CancelFunc {
		ctx, cancel := context.WithCancel(serving)
		services.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				fail(fmt.Errorf("%s: %w", name, err))
			}
		})
		return cancel
	}
	shown := newProgress()
	start("events", func(ctx context.Context) error { return a.follow(ctx, log, position, shown) })
	start("bus", server.Watch)
	start("data", data.Run)
	consumers := a.Consumers
	if relay != nil {
		start("relay", relay.Run)
		consumers.Metrics = append(consumers.Metrics, relayMetrics{relay})
	}
	start("consumers", func(ctx context.Context) error { consumers.keep(ctx, apart); return nil })
	// Who is told that the bus is up may send a command at once.
	var taken sync.WaitGroup
	take := func(s bus.CommandService) context.CancelFunc {
		s.Version = version
		taken.Add(1)
		return start("commands", func(ctx context.Context) error {
			answerable := sync.OnceFunc(taken.Done)
			defer answerable()
			s.Started = answerable
			return at.hub.serve(ctx, nc, s)
		})
	}
	for _, p := range a.Pools {
		watcher := &poolwatch.Watcher{Name: p.Name, Members: p.Members, Log: log, Publish: at.hub.publish(nc), Version: version}
		start("pool", watcher.Run)
		take(bus.CommandService{Connection: p.Name, Pool: p.Members, Verbs: commandSpecs(events.VerbStatus), Handle: watcher.Handle})
	}
	for _, r := range runners {
		r.unserve = take(bus.CommandService{Connection: r.Connection, Verbs: commandSpecs(verbsOf(r.Runner)...), Handle: withRelay(relay, r.Handle)})
	}

	taken.Wait()
	if a.Ready != nil && ctx.Err() == nil {
		a.Ready(server.URL())
	}
	err = a.keep(ctx, fail, runners)
	shown.await(serving, log, drainWithin)
	drain(serving, relay)
	stop()
	services.Wait()
	return err
}

// keep runs the connections until all have ended.
func (a *app) keep(ctx context.Context, fail context.CancelCauseFunc, runners []*kept) error {
	type ending struct {
		*kept
		err error
	}
	endings := make(chan ending)
	for _, r := range runners {
		go func() { endings <- ending{r, r.Run(ctx)} }()
	}
	var first, superseded error
	for i := range runners {
		end := <-endings
		switch {
		case errors.Is(end.err, events.ErrSuperseded):
			superseded = end.err
			end.unserve() // whoever took it answers for it
			if i < len(runners)-1 {
				a.Log.Warn().Str("connection", string(end.Connection)).Err(end.err).Msg("the connection ends here; the others go on")
			}
		case first == nil:
			first = end.err
			fail(end.err)
		}
	}
	return cmp.Or(first, superseded)
}

// follow hands each new event to OnEvent.
func (a *app) follow(ctx context.Context, log *bus.Log, after uint64, shown *progress) error {
	ours := make(map[events.ConnectionID]bool)
	for _, c := range a.Connections {
		ours[c.Name] = true
	}
	for e, err := range log.Read(ctx, bus.Query{After: after, Follow: true}) {
		_, undecodable := errors.AsType[*bus.UndecodableError](err)
		switch {
		case undecodable:
			a.Log.Error().Err(err).Msg("an event cannot be shown")
		case err != nil:
			return err
		case ours[e.Connection]:
			a.OnEvent(e.Recorded)
		}
		shown.reach(e.StreamSeq)
	}
	return nil
}

// progress tells how far a reader of the log has come.
type progress struct {
	position atomic.Uint64
	moved    chan struct{}
}

func newProgress() *progress { return &progress{moved: make(chan struct{}, 1)} }

func (p *progress) reach(position uint64) {
	p.position.Store(position)
	select {
	case p.moved <- struct{}{}:
	default:
	}
}

// await returns once the reader has reached what is the log's end now, or after
// within.
func (p *progress) await(ctx context.Context, log *bus.Log, within time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	end, err := log.Last(ctx)
	for err == nil && p.position.Load() < end {
		select {
		case <-p.moved:
		case <-ctx.Done():
			return
		}
	}
}
