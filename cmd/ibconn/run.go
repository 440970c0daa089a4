package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	_ "time/tzdata" // windows name zones, and not every machine has them

	"github.com/alecthomas/kong"
	"github.com/rs/zerolog"

	"ibconn/consumers/loglines"
	"ibconn/consumers/timeline"
	"ibconn/events"
)

// runCommand is what a whole process is told; its connections are in
// connections.go.
type runCommand struct {
	connectionFlags `group:"connection"`
	natsFlags

	Replicas int `name:"nats-replicas" help:"How many copies the log on the hub has: of a new one 1 without it; one that exists with another number is refused." default:"0" env:"IBCONN_NATS_REPLICAS"`

	Connection string `help:"The connection's name; the pool's, where the file has one without a name." default:"main" env:"IBCONN_CONNECTION"`
	Data       string `help:"Directory for the log." default:"${data}" env:"IBCONN_DATA" type:"path"`
	Listen     string `help:"Loopback address of the embedded NATS server; port 0 takes a free one. With a hub it listens only if this is given." placeholder:"127.0.0.1:4222" env:"IBCONN_LISTEN"`
	HTTP       string `name:"http" help:"Loopback address for the dashboard, /metrics, /status, /readyz and /healthz; port 0 takes a free one; off serves nothing." default:"127.0.0.1:8481" env:"IBCONN_HTTP"`

	HTTPCommands bool `name:"http-commands" help:"Take commands from the dashboard." env:"IBCONN_HTTP_COMMANDS"`
	alertFlags
	LogFormat string `help:"console, for people, or json; by default console on a terminal." enum:"auto,console,json" default:"auto" env:"IBCONN_LOG_FORMAT"`
	Debug     bool   `help:"Log answered heartbeats and the bus' own words too." env:"IBCONN_DEBUG"`
}

// Run keeps the connections until a signal comes, with a line for each event:
// of a log for machines, of a timeline for people.
func (r *runCommand) Run(ctx context.Context, c console, k *kong.Context, file *config) error {
	w, err := r.wire(k, file)
	if err != nil {
		return usageError{err}
	}
	address, err := httpAddress(r.HTTP)
	if err != nil {
		return usageError{err}
	}
	external, err := r.hub()
	if err != nil {
		return err
	}
	told, err := r.hosted()
	if err != nil {
		return usageError{err}
	}
	log := r.logger(c)
	show := func(e events.Recorded) { loglines.Write(log, e) }
	if r.forPeople(c) {
		printer := timeline.Printer{Out: c.Out, Colour: c.Colour, Heartbeats: r.Debug, Names: len(w.connections) > 1}
		show = func(e events.Recorded) { _ = printer.Print(e) }
	}
	a := &app{
		Connections: w.connections,
		Pools:       w.pools,
		Dir:         r.Data,
		Listen:      r.listen(),
		Hub:         external,
		Log:         log,
		Consumers: consumers{Status: true, Incidents: true, Alerts: told, HTTP: address, HTTPCommands: r.HTTPCommands, Log: log, Serving: func(url string) {
			log.Info().Str("dashboard", url+"/").Str("metrics", url+"/metrics").Str("status", url+"/status").Msg("http is up")
		}},
		Ready:   func(url string) { w.introduce(log.Info().Str("data", r.Data), external, url) },
		OnEvent: show,
	}
	return a.Run(ctx)
}

// defaultListen is where the embedded server listens that has no hub.
const defaultListen = "127.0.0.1:4222"

// listen returns where the embedded server listens; empty for nowhere.
func (r *runCommand) listen() string {
	if r.Listen == "" && !r.given() {
		return defaultListen
	}
	return r.Listen
}

// hub returns the hub that the flags name, or nil.
func (r *runCommand) hub() (*external, error) {
	if !r.given() {
		return nil, nil
	}
	if r.Replicas < 0 || r.Replicas > 5 {
		return nil, usageError{fmt.Errorf("--nats-replicas %d: want 1 to 5, or 0 for whatever there is", r.Replicas)}
	}
	url, login, err := r.target()
	if err != nil {
		return nil, err
	}
	return &external{URL: url, Login: login, Replicas: r.Replicas}, nil
}

// introduce writes the line that says what is up.
func (w wiring) introduce(line *zerolog.Event, hub *external, url string) {
	var names, gateways []string
	for _, c := range w.connections {
		names = append(names, string(c.Name))
		if !slices.Contains(gateways, c.Policy.Endpoint) {
			gateways = append(gateways, c.Policy.Endpoint)
		}
	}
	line = hub.show(line, url).Str("gateway", strings.Join(gateways, ", ")).Str("connections", strings.Join(names, ", "))
	for _, p := range w.pools {
		line = line.Str("pool", string(p.Name))
	}
	line.Msg("bus is up; try: nats sub 'ib.conn.*'")
}

func (r *runCommand) forPeople(c console) bool {
	return r.LogFormat == "console" || r.LogFormat == "auto" && c.Terminal
}

func (r *runCommand) logger(c console) zerolog.Logger {
	level := zerolog.InfoLevel
	if r.Debug {
		level = zerolog.DebugLevel
	}
	out := c.Out
	if r.forPeople(c) {
		out = zerolog.ConsoleWriter{Out: c.Out, TimeFormat: "15:04:05.000", NoColor: !c.Colour}
	}
	return zerolog.New(out).Level(level).With().Timestamp().Logger()
}
