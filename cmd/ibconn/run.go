package main

import (
	"context"
	"strings"
	"time"
	_ "time/tzdata" // windows name zones, and not every machine has them

	"github.com/rs/zerolog"

	"ibconn/connector"
	"ibconn/connector/ibc"
	"ibconn/consumers/loglines"
	"ibconn/consumers/timeline"
	"ibconn/events"
)

type runCommand struct {
	Gateway    string `help:"The gateway's HOST:PORT. IB Gateway listens on 4001 (live) or 4002 (paper), TWS on 7496 or 7497." default:"127.0.0.1:4002" env:"IBCONN_GATEWAY"`
	ClientID   int64  `help:"The API client id." default:"17" env:"IBCONN_CLIENT_ID"`
	Connection string `help:"The connection's name." default:"main" env:"IBCONN_CONNECTION"`
	Data       string `help:"Directory for the log." default:"${data}" env:"IBCONN_DATA" type:"path"`
	Listen     string `help:"Loopback address of the embedded NATS server; port 0 takes a free one." default:"127.0.0.1:4222" env:"IBCONN_LISTEN"`
	LogFormat  string `help:"console, for people, or json; by default console on a terminal." enum:"auto,console,json" default:"auto" env:"IBCONN_LOG_FORMAT"`
	Debug      bool   `help:"Log answered heartbeats and the bus' own words too." env:"IBCONN_DEBUG"`

	Heartbeat        time.Duration `help:"Between heartbeat probes; at least 1s." default:"15s" env:"IBCONN_HEARTBEAT"`
	HeartbeatTimeout time.Duration `help:"For the answer to a probe; at least 1s." default:"5s" env:"IBCONN_HEARTBEAT_TIMEOUT"`
	HeartbeatMisses  int           `help:"Answers missed in a row that lose the session." default:"2" env:"IBCONN_HEARTBEAT_MISSES"`
	DialTimeout      time.Duration `help:"For TCP to open." default:"5s" env:"IBCONN_DIAL_TIMEOUT"`
	GreetingTimeout  time.Duration `help:"From then, for the gateway to answer its version." default:"10s" env:"IBCONN_GREETING_TIMEOUT"`
	ReadyTimeout     time.Duration `help:"From TCP open, for the session to be ready." default:"15s" env:"IBCONN_READY_TIMEOUT"`
	BackoffBase      time.Duration `help:"The most that the second retry in a row waits; doubles from there." default:"1s" env:"IBCONN_BACKOFF_BASE"`
	BackoffCap       time.Duration `help:"The most that any retry waits." default:"1m" env:"IBCONN_BACKOFF_CAP"`
	StableAfter      time.Duration `help:"How long a session must be ready for the failures in a row to start anew." default:"1m" env:"IBCONN_STABLE_AFTER"`
	BreakerAfter     int           `help:"Failures in a row that open the circuit breaker." default:"8" env:"IBCONN_BREAKER_AFTER"`
	BreakerProbe     time.Duration `help:"Between attempts while it is open." default:"1m" env:"IBCONN_BREAKER_PROBE"`

	LinkProbeEvery   time.Duration `help:"How often IB's servers are asked something through the gateway, to prove the link; 0s never does. A new session and a link said to be back are probed at once." default:"5m" env:"IBCONN_LINK_PROBE_EVERY"`
	LinkProbeTimeout time.Duration `help:"For the answer to that." default:"10s" env:"IBCONN_LINK_PROBE_TIMEOUT"`
	LinkProbeMisses  int           `help:"Answers missed in a row that say that the link is down." default:"3" env:"IBCONN_LINK_PROBE_MISSES"`
	Lines            int           `help:"Market data lines of the account. The gateway takes half as many messages a second, of which four fifths are used." default:"100" env:"IBCONN_LINES"`
	MessageRate      int           `help:"Messages to a gateway in any second, at most, all connections to it together; 0 goes by the lines." default:"0" env:"IBCONN_MESSAGE_RATE"`
	MessageGap       time.Duration `help:"Between any two messages, at least." default:"0s" env:"IBCONN_MESSAGE_GAP"`
	QueueLimit       int           `help:"Messages that may wait for their turn." default:"1000" env:"IBCONN_QUEUE_LIMIT"`
	PaceRecovery     time.Duration `help:"How long an error 100 halves the message rate." default:"1m" env:"IBCONN_PACE_RECOVERY"`
	CompetingFor     time.Duration `help:"How long nothing must be heard of a competing session for it to be taken to have ended." default:"5m" env:"IBCONN_COMPETING_FOR"`

	Fallbacks      []string      `help:"Further gateways, HOST:PORT,..., to go on to in turn; also the only ports a gateway may move to." env:"IBCONN_FALLBACKS"`
	FallbackAfter  time.Duration `help:"How long a gateway must have failed for the next one to be tried." default:"2m" env:"IBCONN_FALLBACK_AFTER"`
	SpareClientIDs []int64       `name:"spare-client-ids" help:"Further client ids, ID,..., to go on to in turn." env:"IBCONN_SPARE_CLIENT_IDS"`
	ClientIDTries  int           `help:"Refusals in a row after which the next client id is tried." default:"5" env:"IBCONN_CLIENT_ID_TRIES"`
	ClientIDWait   time.Duration `help:"How long a client id that was refused is left alone at least; doubles with each refusal." default:"2s" env:"IBCONN_CLIENT_ID_WAIT"`
	Windows        string        `help:"When interruptions are expected, parted by semicolons: north-america, europe, asia, or windows such as \"restart daily 23:45-23:50 Europe/Zurich\"." env:"IBCONN_WINDOWS"`
	WindowCap      time.Duration `help:"The most that a retry waits inside a reset or restart window." default:"15s" env:"IBCONN_WINDOW_CAP"`
	WeekendProbe   time.Duration `help:"Between attempts inside a weekend window, once the breaker is open." default:"5m" env:"IBCONN_WEEKEND_PROBE"`
	LoginAfter     time.Duration `help:"How long a gateway may give no session, or no link to IB, before a person is told to look at it." default:"3m" env:"IBCONN_LOGIN_AFTER"`
	RepeatEvery    time.Duration `help:"How often a notice that goes on repeating is recorded, with its count." default:"1m" env:"IBCONN_REPEAT_EVERY"`

	IBC string `name:"ibc" help:"HOST:PORT of the command server of the IBC that runs the gateway (its CommandServerPort, mostly 7462); adds reconnect-data, reconnect-account and restart-gateway. IBC must be on this machine (127.0.0.1), or list it in ControlFrom. Mind that restart-gateway mostly moves the gateway's stored auto-restart time, for every day to come. Off when empty." env:"IBCONN_IBC"`
}

// controller returns who carries out the control commands; nil when nobody does.
func (r *runCommand) controller() (connector.Controller, error) {
	if r.IBC == "" {
		return nil, nil
	}
	client := &ibc.Client{Address: r.IBC}
	return client, client.Validate()
}

func (r *runCommand) policy() (connector.Policy, error) {
	windows, err := parseWindows(r.Windows)
	if err != nil {
		return connector.Policy{}, err
	}
	return connector.Policy{
		Endpoint: r.Gateway, ClientID: r.ClientID,
		DialTimeout: r.DialTimeout, GreetingTimeout: r.GreetingTimeout, ReadyTimeout: r.ReadyTimeout,
		HeartbeatEvery: r.Heartbeat, HeartbeatTimeout: r.HeartbeatTimeout, HeartbeatMisses: r.HeartbeatMisses,
		BackoffBase: r.BackoffBase, BackoffCap: r.BackoffCap, StableAfter: r.StableAfter,
		BreakerAfter: r.BreakerAfter, BreakerProbe: r.BreakerProbe,
		Fallbacks: r.Fallbacks, FallbackAfter: r.FallbackAfter,
		SpareIDs: r.SpareClientIDs, ClientIDTries: r.ClientIDTries, ClientIDWait: r.ClientIDWait,
		Windows: windows, WindowCap: r.WindowCap, WeekendProbe: r.WeekendProbe,
		LoginAfter: r.LoginAfter, RepeatEvery: r.RepeatEvery,
		LinkProbeEvery: r.LinkProbeEvery, LinkProbeTimeout: r.LinkProbeTimeout, LinkProbeMisses: r.LinkProbeMisses,
		Pace: connector.Pace{PerSecond: r.perSecond(), MinGap: r.MessageGap}, QueueLimit: r.QueueLimit, PaceRecovery: r.PaceRecovery,
		CompetingFor: r.CompetingFor,
	}, nil
}

// perSecond is the message budget. IB's limit is half the account's lines; the
// fifth less is a margin, as gateways were seen to hang at the limit.
func (r *runCommand) perSecond() int {
	if r.MessageRate != 0 {
		return r.MessageRate
	}
	return r.Lines * 2 / 5
}

// parseWindows reads windows and names of presets, parted by semicolons.
func parseWindows(text string) (connector.Windows, error) {
	var all connector.Windows
	for part := range strings.SplitSeq(text, ";") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		// A preset's name is one word, and a window is several.
		if !strings.Contains(part, " ") {
			preset, err := connector.Presets(part)
			if err != nil {
				return nil, err
			}
			all = append(all, preset...)
			continue
		}
		w, err := connector.ParseWindow(part)
		if err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	return all, nil
}

// Run keeps the connection until a signal comes, with a line for each event:
// of a log for machines, of a timeline for people.
func (r *runCommand) Run(ctx context.Context, c console) error {
	connection, err := events.ParseConnectionID(r.Connection)
	if err != nil {
		return usageError{err}
	}
	policy, err := r.policy()
	if err != nil {
		return usageError{err}
	}
	control, err := r.controller()
	if err != nil {
		return usageError{err}
	}
	log := r.logger(c)
	show := func(e events.Recorded) { loglines.Write(log, e) }
	if r.forPeople(c) {
		printer := timeline.Printer{Out: c.Out, Colour: c.Colour, Heartbeats: r.Debug}
		show = func(e events.Recorded) { _ = printer.Print(e) }
	}
	a := &app{
		Connection: connection,
		Policy:     policy,
		Control:    control,
		Dir:        r.Data,
		Listen:     r.Listen,
		Log:        log,
		Ready: func(url string) {
			log.Info().Str("nats", url).Str("data", r.Data).Str("gateway", r.Gateway).Msg("bus is up; try: nats sub 'ib.conn.*'")
		},
		OnEvent: show,
	}
	return a.Run(ctx)
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
