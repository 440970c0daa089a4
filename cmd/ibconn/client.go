package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/alecthomas/kong"

	"ibconn/bus"
	"ibconn/connector"
	"ibconn/events"
)

// clientFlags are the flags of the verbs that ask a bus.
type clientFlags struct {
	natsFlags
	Connection string `help:"The connection's name." default:"main" env:"IBCONN_CONNECTION"`
}

// askWithin is how long an answer may take that does not wait for an outcome.
const askWithin = 5 * time.Second

// ask sends one command and returns its answer; an answer that is not ok comes
// as its error too.
func (f clientFlags) ask(ctx context.Context, verb events.Verb, req events.Request) (events.Answer, error) {
	connection, err := events.ParseConnectionID(f.Connection)
	if err != nil {
		return events.Answer{}, usageError{err}
	}
	nc, err := f.dial("ibconn " + string(verb))
	if err != nil {
		return events.Answer{}, err
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(ctx, askWithin+time.Duration(req.Wait))
	defer cancel()
	answer, err := bus.Ask(ctx, nc, connection, verb, req)
	if err != nil {
		return answer, err
	}
	if !answer.OK && answer.Error != nil {
		return answer, fmt.Errorf("%s %s: %w", verb, connection, answer.Error)
	}
	return answer, nil
}

// verbCommand is a command that changes something: its name is the verb.
type verbCommand struct {
	clientFlags
	ID     string        `help:"Makes the command idempotent: the same id again has no second effect."`
	Reason string        `help:"Kept with the command's events."`
	Wait   time.Duration `help:"How long to wait for the outcome; 0 returns once the command is recorded." default:"0s"`
	JSON   bool          `name:"json" help:"Print the answer as JSON."`
}

// Run sends the command and prints its answer.
func (v *verbCommand) Run(ctx context.Context, c console, k *kong.Context) error {
	if v.Wait < 0 || v.Wait > time.Duration(events.MaxWait) {
		return usageError{fmt.Errorf("--wait %v: want 0 to %v", v.Wait, time.Duration(events.MaxWait))}
	}
	verb := events.Verb(k.Selected().Name)
	answer, err := v.ask(ctx, verb, events.Request{ID: v.ID, Reason: v.Reason, Wait: events.Wait(v.Wait)})
	if v.JSON && (err == nil || answer.Error != nil) {
		return firstError(printJSON(c.Out, answer), err)
	}
	if err != nil {
		return err
	}
	next := ""
	if answer.Status == events.StatusAccepted {
		next = "; follow it with: ibconn watch"
	}
	said := ""
	if answer.Said != "" {
		said = "; IBC says: " + answer.Said
	}
	_, err = fmt.Fprintf(c.Out, "%s %s: %s (command %s%s)%s\n", verb, answer.Connection, answer.Status, answer.CommandID, next, said)
	return err
}

// controlVerbs are the commands that IBC carries out.
type controlVerbs struct {
	ReconnectData    verbCommand `cmd:"" help:"Have IBC reconnect the gateway to the data farms; takes run --ibc."`
	ReconnectAccount verbCommand `cmd:"" help:"Have IBC reconnect the gateway to its account; takes run --ibc."`
	RestartGateway   verbCommand `cmd:"" help:"Have IBC restart the gateway; mostly by its stored auto-restart time, which stays there; takes run --ibc."`
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// verbsOf are the commands that a connection takes: those that take IBC only
// where there is one.
func verbsOf(r *connector.Runner) []events.Verb {
	return slices.DeleteFunc(slices.Clone(events.Verbs), func(v events.Verb) bool { return v.Control() && r.Control == nil })
}

// commandSpecs describes commands for "nats micro info".
func commandSpecs(verbs ...events.Verb) []bus.VerbSpec {
	specs := make([]bus.VerbSpec, 0, len(verbs))
	for _, v := range verbs {
		specs = append(specs, bus.VerbSpec{
			Verb:           v,
			Description:    v.Purpose(),
			RequestSchema:  requestSchema(),
			ResponseSchema: answerSchema(),
		})
	}
	return specs
}

// requestSchema and answerSchema are one text each, however many connections
// and commands there are.
var (
	requestSchema = sync.OnceValue(func() string { return schemaText(events.SchemaRequest) })
	answerSchema  = sync.OnceValue(func() string { return schemaText(events.SchemaAnswer) })
)

func schemaText(name string) string {
	b, err := events.Schema(name)
	if err != nil {
		panic(err) // it is embedded
	}
	return string(b)
}

func plural(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %s", n, strings.TrimSuffix(noun, "s")+"s")
}
