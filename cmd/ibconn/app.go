package main

import (
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
	"ibconn/events"
)

// app keeps one connection on an embedded bus: everything that "ibconn run"
// is, without its flags, so that the demo and the tests run the same thing.
type app struct {
	Connection events.ConnectionID
	Policy     connector.Policy
	Dir        string         // where the log lies
	Listen     string         // the embedded server's address; empty: none
	Log        zerolog.Logger // for what is not an event: the bus' own words

	// Control carries out the control commands; nil when there are none.
	Control connector.Controller

	// Ready, when set, is called once the bus can be reached, with its URL.
	Ready func(url string)
	// OnEvent is called for each event from then on, in order, on one goroutine.
	OnEvent func(events.Recorded)
}

// drainWithin is how long the last events may take to OnEvent.
const drainWithin = 300 * time.Millisecond

// Run keeps the connection until ctx ends. It ends things in the reverse order
// of their beginning: the connection first, so that its last event is recorded,
// then whoever reads the events, then the bus.
func (a *app) Run(ctx context.Context) error {
	if err := a.Policy.Validate(); err != nil {
		return usageError{err}
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
	nc, err := server.Connect("ibconn " + string(a.Connection))
	if err != nil {
		return errors.Join(err, server.Close())
	}
	err = a.serve(ctx, server, nc, instance)
	nc.Close()
	return errors.Join(err, server.Close())
}

func (a *app) serve(ctx context.Context, server *bus.Server, nc *nats.Conn, instance string) error {
	log, err := bus.OpenLog(ctx, nc, bus.LogOptions{})
	if err != nil {
		return err
	}
	writer, err := log.Writer(a.Connection, a.Dir)
	if err != nil {
		return err
	}
	runner := &connector.Runner{
		Connection: a.Connection,
		Policy:     a.Policy,
		Log:        writer,
		Dialer:     &tws.Dialer{},
		Control:    a.Control,
		Instance:   instance,
		Version:    version,
		PID:        os.Getpid(),
		NewID:      nuid.Next,
	}

	// What serves the connection outlives it by a moment, and ends it when it
	// cannot serve it any more.
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var services sync.WaitGroup
	start := func(name string, run func(context.Context) error) {
		services.Go(func() {
			if err := run(serving); err != nil && serving.Err() == nil {
				fail(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	shown := newProgress()
	position, err := log.Last(ctx)
	if err != nil {
		return err
	}
	start("events", func(ctx context.Context) error { return a.follow(ctx, log, position, shown) })
	start("bus", server.Watch)
	// Who is told that the bus is up may send a command at once.
	taken := make(chan struct{})
	start("commands", func(ctx context.Context) error {
		return bus.ServeCommands(ctx, nc, bus.CommandService{
			Connection: a.Connection, Version: version, Verbs: commandSpecs(a.Control != nil), Handle: runner.Handle,
			Started: func() { close(taken) },
		})
	})

	select {
	case <-taken:
		if a.Ready != nil {
			a.Ready(server.URL())
		}
	case <-ctx.Done():
	}
	err = runner.Run(ctx)
	shown.await(runner.State().Sequence, drainWithin)
	stop()
	services.Wait()
	return err
}

// follow hands each new event to OnEvent.
func (a *app) follow(ctx context.Context, log *bus.Log, after uint64, shown *progress) error {
	for e, err := range log.Read(ctx, bus.Query{Connection: a.Connection, After: after, Follow: true}) {
		if _, undecodable := errors.AsType[*bus.UndecodableError](err); undecodable {
			a.Log.Error().Err(err).Msg("an event cannot be shown")
			continue
		}
		if err != nil {
			return err
		}
		a.OnEvent(e.Recorded)
		shown.reach(e.Sequence)
	}
	return nil
}

// progress tells how far a reader has come.
type progress struct {
	sequence atomic.Uint64
	moved    chan struct{}
}

func newProgress() *progress { return &progress{moved: make(chan struct{}, 1)} }

func (p *progress) reach(sequence uint64) {
	p.sequence.Store(sequence)
	select {
	case p.moved <- struct{}{}:
	default:
	}
}

// await returns once the reader has reached sequence, or after within.
func (p *progress) await(sequence uint64, within time.Duration) {
	timer := time.NewTimer(within)
	defer timer.Stop()
	for p.sequence.Load() < sequence {
		select {
		case <-p.moved:
		case <-timer.C:
			return
		}
	}
}
