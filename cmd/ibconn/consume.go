package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"ibconn/bus"
	"ibconn/consumers/alerts"
	"ibconn/consumers/dashboard"
	"ibconn/consumers/follow"
	"ibconn/consumers/incidents"
	"ibconn/consumers/metrics"
	"ibconn/consumers/status"
	"ibconn/consumers/web"
	"ibconn/events"
)

// noHTTP is an address that stands for none.
const noHTTP = "off"

// consumeCommand runs consumers apart from whoever keeps the connections.
type consumeCommand struct {
	natsFlags
	HTTP string `name:"http" help:"Loopback address for the dashboard, /metrics, /status, /readyz and /healthz; port 0 takes a free one." default:"127.0.0.1:8481" env:"IBCONN_HTTP"`

	HTTPCommands bool `name:"http-commands" help:"Take commands from the dashboard." env:"IBCONN_HTTP_COMMANDS"`

	What []string `arg:"" optional:"" enum:"dashboard,metrics,status,incidents,alerts" help:"dashboard or metrics, without it: serve HTTP, both. status: keep the documents of the bucket ib_status; incidents: publish them; both a run does on its own bus. alerts: tell people, as --alerts says."`

	alertFlags
	Test bool `help:"With alerts: send one message to each receiver, and say what it answered."`
}

// Run consumes until a signal comes, or something cannot go on.
func (c *consumeCommand) Run(ctx context.Context, out console) error {
	all := consumers{Status: slices.Contains(c.What, "status"), Incidents: slices.Contains(c.What, "incidents"), Log: zerolog.New(out.Err).With().Timestamp().Logger()}
	if len(c.What) == 0 || slices.Contains(c.What, "metrics") || slices.Contains(c.What, "dashboard") {
		if err := web.CheckListen(c.HTTP); err != nil {
			return usageError{err}
		}
		all.HTTP, all.HTTPCommands = c.HTTP, c.HTTPCommands
	}
	var options []nats.Option
	if slices.Contains(c.What, "alerts") {
		var err error
		if all.Alerts, err = c.required(); err != nil {
			return usageError{err}
		}
		// That the bus is away may be what has to be told.
		options = append(options, nats.RetryOnFailedConnect(len(c.What) == 1))
	}
	if c.Test {
		return testAlerts(ctx, out, all.Alerts)
	}
	nc, err := c.dial("ibconn consume", options...)
	if err != nil {
		return err
	}
	defer nc.Close()
	all.Serving = func(url string) { fmt.Fprintf(out.Out, "serving %s/metrics, and the dashboard at %s/\n", url, url) }
	if all.Status {
		fmt.Fprintf(out.Out, "keeping %s; try: nats kv get %s main --raw\n", bus.StatusBucket, bus.StatusBucket)
	}
	if all.Incidents {
		fmt.Fprintln(out.Out, "publishing incidents; try: nats sub 'ib.incident.>'")
	}
	if all.Alerts != nil {
		fmt.Fprintf(out.Out, "alerts go to %s\n", receivers(all.Alerts))
	}
	err = all.run(ctx, nc)
	if ctx.Err() != nil {
		return nil // it was told to
	}
	return err
}

// consumers make something of a log for others. They know what the log says, and
// no more, so that they may run anywhere, in as many copies as are wanted.
type consumers struct {
	Status    bool           // keep the documents of where each connection stands
	Incidents bool           // publish incidents
	Settle    time.Duration  // of these; see [incidents.Fold]
	Alerts    *alerts.Config // whom to tell of what; nil for nobody
	HTTP      string         // the address to serve; empty for none
	// HTTPCommands has the dashboard take commands.
	HTTPCommands bool
	Metrics      []prometheus.Collector // further ones to show there
	Log          zerolog.Logger
	Serving      func(url string)
}

// consumer is one of them: until ctx ends, or it cannot go on.
type consumer struct {
	name string
	run  func(ctx context.Context, nc *nats.Conn) error
}

func (c consumers) all() []consumer {
	var all []consumer
	if c.Status {
		all = append(all, consumer{"status", c.keepStatus})
	}
	if c.Incidents {
		all = append(all, consumer{"incidents", c.tellIncidents})
	}
	if c.Alerts != nil {
		all = append(all, consumer{"alerts", c.tellAlerts})
	}
	if c.HTTP != "" {
		all = append(all, consumer{"http", c.serve})
	}
	return all
}

// run runs all until ctx ends, or the first that cannot go on.
func (c consumers) run(ctx context.Context, nc *nats.Conn) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var running sync.WaitGroup
	for _, one := range c.all() {
		running.Go(func() {
			if err := one.run(ctx, nc); err != nil {
				fail(fmt.Errorf("consume %s: %w", one.name, err))
			}
		})
	}
	running.Wait()
	return context.Cause(ctx)
}

// prepareWithin is how long the bus may take to create what consumers keep.
const prepareWithin = 5 * time.Second

// prepare creates what consumers keep, if it is not there: to the end, also when ctx
// ends meanwhile, since a server that is closed while it creates a stream leaves
// some of it running.
func (c consumers) prepare(ctx context.Context, nc *nats.Conn) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), prepareWithin)
	defer cancel()
	var err error
	if c.Status {
		_, err = bus.OpenStatuses(ctx, nc)
	}
	if c.Incidents && err == nil {
		_, err = bus.OpenIncidents(ctx, nc, bus.IncidentOptions{})
	}
	// Alerts may run elsewhere, and imports come from elsewhere, where what they keep
	// cannot be created.
	if c.Incidents && err == nil {
		err = openAlerts(ctx, nc)
	}
	if c.Incidents && err == nil {
		_, err = bus.OpenImports(ctx, nc, bus.ImportOptions{})
	}
	return err
}

const (
	beginAgain     = time.Second
	beginAgainMost = time.Minute
)

// keep runs all until ctx ends, and each again after a while if it cannot go on:
// what they do is not worth a connection.
func (c consumers) keep(ctx context.Context, nc *nats.Conn) {
	var running sync.WaitGroup
	for _, one := range c.all() {
		running.Go(func() {
			told := ""
			for wait := beginAgain; ; wait = min(2*wait, beginAgainMost) {
				began := time.Now()
				err := one.run(ctx, nc)
				if ctx.Err() != nil {
					return
				}
				if time.Since(began) > beginAgainMost {
					wait, told = beginAgain, ""
				}
				if err.Error() != told {
					c.Log.Warn().Err(err).Str("consumer", one.name).Msg("a consumer could not go on, and is begun again; the connections are kept")
					told = err.Error()
				}
				select {
				case <-time.After(wait):
				case <-ctx.Done():
					return
				}
			}
		})
	}
	running.Wait()
}

func (c consumers) keepStatus(ctx context.Context, nc *nats.Conn) error {
	log, err := bus.FindLog(ctx, nc)
	if err != nil {
		return err
	}
	store, err := bus.OpenStatuses(ctx, nc)
	if err != nil {
		return ownBus(err)
	}
	k := &status.Keeper{Log: log, Store: store, Failed: func(connection events.ConnectionID, err error) {
		c.Log.Warn().Err(err).Str("connection", string(connection)).Msg("its status could not be written, and is tried again")
	}}
	return k.Run(ctx)
}

func (c consumers) tellIncidents(ctx context.Context, nc *nats.Conn) error {
	log, err := bus.FindLog(ctx, nc)
	if err != nil {
		return err
	}
	told, err := bus.OpenIncidents(ctx, nc, bus.IncidentOptions{})
	if err != nil {
		return ownBus(err)
	}
	return (&incidents.Keeper{Log: log, Store: told, Settle: c.Settle}).Run(ctx)
}

// ownBus explains why nobody answers who asks to write: a bus that does not let one
// does not say so.
func ownBus(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: the bus of a run lets only the run itself keep this, and it does", err)
	}
	return err
}

// serve reads the log and answers over HTTP.
func (c consumers) serve(ctx context.Context, nc *nats.Conn) error {
	log, err := bus.FindLog(ctx, nc)
	if err != nil {
		return err
	}
	m := metrics.New(time.Now)
	registry := prometheus.NewRegistry()
	for _, collector := range append([]prometheus.Collector{m}, c.Metrics...) {
		if err := registry.Register(collector); err != nil {
			return err
		}
	}
	reader := &follow.Reader{Log: log, Ends: m.Ends}
	page := &dashboard.Page{Model: &dashboard.Model{Settle: c.Settle}, Log: log, Caught: reader.Caught()}
	if c.HTTPCommands {
		page.Command = func(ctx context.Context, name events.ConnectionID, v events.Verb, r events.Request) (events.Answer, error) {
			return bus.Ask(ctx, nc, name, v, r)
		}
	}
	site := &web.Site{Log: log, Metrics: registry, Caught: reader.Caught(), More: page.Handler()}
	reader.Folds = []follow.Fold{m, site, page.Model}
	server := &web.Server{Listen: c.HTTP, Handler: site.Handler(), Listening: c.Serving}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{reader.Run, server.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				fail(err)
			}
		})
	}
	running.Wait()
	return context.Cause(ctx)
}

// httpAddress reads the flag of an address: "off" is none.
func httpAddress(flag string) (string, error) {
	if flag == noHTTP || flag == "" {
		return "", nil
	}
	if err := web.CheckListen(flag); err != nil {
		return "", errors.Join(err, errors.New(`or say "off" to serve nothing`))
	}
	return flag, nil
}
