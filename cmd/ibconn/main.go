// Command ibconn keeps connections to Interactive Brokers' TWS / IB Gateway
// alive and puts everything that happens to them on a NATS bus.
//
// Each verb is a struct with its flags and a Run method, in the file of its
// name; what several verbs share is in app.go (connections kept), client.go
// (a bus asked), config.go (where values come from) and connections.go (which
// connections they make).
//
// Exit codes: 0 done; 1 it did not work, and the message says what to do; 2 the
// words on the command line or in the configuration are wrong; 3 other writers
// took every connection; 4 "status --check" and the connection is not healthy;
// 5 "replay verify" and the log is not as it must be.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/rs/zerolog"

	"ibconn/events"
)

// The exit codes.
const (
	exitDone = iota
	exitFailed
	exitUsage
	exitSuperseded
	exitUnhealthy
	exitFindings
)

// errUnhealthy ends "status --check" when the connection is not healthy.
var errUnhealthy = errors.New("not healthy")

// errFindings ends "replay verify" when the log is not as it must be.
var errFindings = errors.New("the log is not as it must be")

// usageError is an error in what the user wrote.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

type commandLine struct {
	Config kong.ConfigFlag `help:"YAML file with any of the flags as keys, and sections for several connections; flags and environment win over it." placeholder:"FILE" env:"IBCONN_CONFIG"`

	Demo       demoCommand    `cmd:"" help:"Everything on one screen: a bus, a simulated gateway, and its bad night."`
	Run        runCommand     `cmd:"" help:"Connect to a gateway and stay connected."`
	Watch      watchCommand   `cmd:"" help:"Follow the events."`
	Status     statusCommand  `cmd:"" help:"What is true now."`
	Replay     replayCommand  `cmd:"" help:"What was true then, and why."`
	Consume    consumeCommand `cmd:"" help:"Run consumers of the events apart from the connector."`
	Reconnect  verbCommand    `cmd:"" help:"End the session, if any, and open a new one at once."`
	Connect    verbCommand    `cmd:"" help:"Be connected: undo disconnect, or force a probe of an open breaker."`
	Disconnect verbCommand    `cmd:"" help:"End the session and stay away until connect."`
	Contract   contractVerb   `cmd:"" help:"Which contract a description means, and what IB knows of it."`
	History    historyVerb    `cmd:"" help:"Bars of the past."`

	Subscribe     subscribeVerb     `cmd:"" help:"Have data of a contract delivered, over restarts and sessions, until it is cancelled."`
	Cancel        cancelVerb        `cmd:"" help:"Want a subscription no longer, which ends with its last caller; or end a history."`
	Subscriptions subscriptionsVerb `cmd:"" help:"What is subscribed to, and how that stands."`

	Control controlVerbs   `embed:""`
	Doctor  doctorCommand  `cmd:"" help:"Check gateway, bus, data directory and clock, and say what to fix."`
	Gateway gatewayCommand `cmd:"" help:"The simulated IB Gateway, for anyone's tests."`
	Schema  schemaCommand  `cmd:"" help:"The JSON Schemas of events and commands."`
	Version versionCommand `cmd:"" help:"The program's version."`
}

// console is where a verb writes, and what it knows of its surroundings.
type console struct {
	Out, Err io.Writer
	Terminal bool // Out is a terminal
	Colour   bool // and wants colours
	Columns  int  // how wide the terminal is; 0 where that is not known

	ErrTerminal bool // Err is a terminal
}

func main() {
	// ibapi sets zerolog's global level to info when it is imported.
	zerolog.SetGlobalLevel(zerolog.TraceLevel)
	zerolog.TimeFieldFormat = time.RFC3339Nano

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() {
		stop() // so that a second signal ends the process at once
		time.AfterFunc(endWithin, func() {
			fmt.Fprintf(os.Stderr, "ibconn: did not end within %v; ending anyway\n", endWithin)
			os.Exit(exitFailed)
		})
	})
	terminal := isTerminal(os.Stdout)
	columns := 0
	if terminal {
		columns = columnsOf(os.Stdout)
	}
	os.Exit(execute(ctx, os.Args[1:], console{
		Columns: columns,
		Out:     os.Stdout, Err: os.Stderr, Terminal: terminal, Colour: terminal && os.Getenv("NO_COLOR") == "",
		ErrTerminal: isTerminal(os.Stderr),
	}))
}

// endWithin is how long the process may take to end after the first signal.
const endWithin = 2 * time.Second

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, c console) (exit int) {
	defer func() {
		// --help ends the program in the middle of kong's parsing.
		if r := recover(); r != nil {
			code, ok := r.(endEarly)
			if !ok {
				panic(r)
			}
			exit = int(code)
		}
	}()
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := newParser(ctx, new(commandLine), c).Parse(args)
	if err != nil {
		err = fmt.Errorf("%w\nRun \"ibconn --help\", or \"ibconn COMMAND --help\", to see what is allowed", err)
		err = usageError{err}
	} else {
		err = parsed.Run()
	}
	exit = exitCode(err)
	if exit != exitDone && exit != exitUnhealthy && exit != exitFindings {
		fmt.Fprintln(c.Err, "ibconn: "+err.Error())
	}
	return exit
}

// newParser returns a parser that fills in line, and runs the verb in it with
// ctx, c, and the configuration file as it was read.
func newParser(ctx context.Context, line *commandLine, c console) *kong.Kong {
	return newParserReading(ctx, line, c, new(config))
}

// newParserReading returns such a parser, which reads the file into file.
func newParserReading(ctx context.Context, line *commandLine, c console, file *config) *kong.Kong {
	return newParserOf(line,
		kong.Configuration(func(r io.Reader) (kong.Resolver, error) {
			if err := file.read(r); err != nil {
				return nil, err
			}
			return view{config: file}, nil
		}),
		kong.Writers(c.Out, c.Err),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(c, file),
	)
}

// newParserOf returns a parser that fills in line.
func newParserOf(line *commandLine, options ...kong.Option) *kong.Kong {
	parser, err := kong.New(line, append([]kong.Option{
		kong.Name("ibconn"),
		kong.Description("Keeps connections to Interactive Brokers' gateways alive, and everything that happens to them on NATS."),
		kong.Vars{"data": defaultData()},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Groups{groupConnection: "Flags of a connection, which a section of the file may have too:"},
		kong.Exit(func(code int) { panic(endEarly(code)) }),
	}, options...)...)
	if err != nil {
		panic(err) // the structs above are wrong
	}
	return parser
}

// endEarly is the exit code with which kong wants to end the program.
type endEarly int

func exitCode(err error) int {
	_, usage := errors.AsType[usageError](err)
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return exitDone
	case usage:
		return exitUsage
	case errors.Is(err, events.ErrSuperseded):
		return exitSuperseded
	case errors.Is(err, errUnhealthy):
		return exitUnhealthy
	case errors.Is(err, errFindings):
		return exitFindings
	default:
		return exitFailed
	}
}

type versionCommand struct{}

// version is the program's version; micro wants a semantic one.
var version = "0.1.0"

func (versionCommand) Run(c console) error {
	_, err := fmt.Fprintln(c.Out, "ibconn "+version)
	return err
}
