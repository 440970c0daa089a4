package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/rs/zerolog"

	"ibconn/events"
)

// VerbSpec describes one command, for people ("nats micro info ibconn") and
// for programs.
type VerbSpec struct {
	Verb           events.Verb
	Description    string
	RequestSchema  string // JSON Schema
	ResponseSchema string // JSON Schema
}

// CommandService takes the commands for one connection, or for a pool of them.
type CommandService struct {
	Connection events.ConnectionID   // the connection's name, or the pool's
	Pool       []events.ConnectionID // the members, of a pool; nil otherwise
	Version    string                // the program's, as a semantic version
	Verbs      []VerbSpec
	// Handle carries out a well-formed command and returns its answer, which is
	// the last reply. Replies before that go to more, until Handle returns. It is
	// called from many goroutines, at most 256 at once, and must return when its
	// context ends, which is also when nobody takes the replies of more any
	// longer. A panic is answered with [events.ErrorInternal].
	Handle func(ctx context.Context, v events.Verb, r events.Request, more func(events.Answer)) events.Answer
	// Started, when set, is called once commands are taken.
	Started func()
	// Log takes panics and answers that could not be sent. Its zero value is
	// silent.
	Log zerolog.Logger
}

const (
	maxHandlers  = 256
	maxIDLength  = 64
	flushTimeout = 2 * time.Second
	statusHeader = "Status" // of a message that the server itself sends
	noResponders = "503"    // in it: nobody has subscribed to where the message went
	poolKey      = "pool"   // under which a service's metadata name a pool's members
)

// ServeCommands takes the commands for a connection under
// ib.cmd.<connection>.<verb> until ctx ends; then it stops taking more, waits
// until the last one is answered, and returns the cause of ctx's end. It
// returns earlier, with an error, when the service cannot be offered or nc is
// closed.
//
// Every request is answered with an [events.Answer]. A refusal is also told in
// the headers Nats-Service-Error and Nats-Service-Error-Code.
func ServeCommands(ctx context.Context, nc *nats.Conn, s CommandService) error {
	c := &commands{CommandService: s, nc: nc, slots: make(chan struct{}, maxHandlers)}
	if err := c.serve(ctx); err != nil {
		return fmt.Errorf("bus: commands for %s: %w", s.Connection, err)
	}
	return context.Cause(ctx)
}

// commands is a CommandService being served.
type commands struct {
	CommandService
	nc    *nats.Conn
	slots chan struct{} // one is held by each running handler
}

func (c *commands) serve(ctx context.Context) error {
	stopped := make(chan struct{})
	description, metadata := "commands for the connection ", map[string]string{"connection": string(c.Connection)}
	if c.Pool != nil {
		description, metadata[poolKey] = "commands for the pool ", joined(c.Pool)
	}
	service, err := micro.AddService(c.nc, micro.Config{
		Name:        events.ServiceName,
		Version:     c.Version,
		Description: description + string(c.Connection),
		Metadata:    metadata,
		DoneHandler: func(micro.Service) { close(stopped) },
	})
	if err != nil {
		return err
	}
	handling, cancel := context.WithCancel(ctx)
	defer cancel()
	err = c.addVerbs(handling, service)
	if err == nil { // the server has the subscriptions only when it has answered what comes behind them
		err = c.nc.FlushTimeout(flushTimeout)
	}
	if err == nil {
		if c.Started != nil {
			c.Started()
		}
		select {
		case <-ctx.Done():
		case <-stopped:
			err = nats.ErrConnectionClosed
		}
	}
	err = errors.Join(err, service.Stop())
	cancel()
	// With every slot taken no handler runs, and none can begin.
	for range maxHandlers {
		c.slots <- struct{}{}
	}
	if err == nil {
		err = c.nc.FlushTimeout(flushTimeout)
	}
	return err
}

func (c *commands) addVerbs(ctx context.Context, service micro.Service) error {
	group := service.AddGroup("ib.cmd." + string(c.Connection))
	for _, v := range c.Verbs {
		take := micro.HandlerFunc(func(r micro.Request) { c.take(ctx, v.Verb, r) })
		err := group.AddEndpoint(string(c.Connection)+"-"+string(v.Verb), take,
			micro.WithEndpointSubject(string(v.Verb)),
			micro.WithEndpointMetadata(map[string]string{
				"description":     v.Description,
				"format":          "application/json",
				"schema_request":  v.RequestSchema,
				"schema_response": v.ResponseSchema,
			}))
		if err != nil {
			return fmt.Errorf("command %s: %w", v.Verb, err)
		}
	}
	return nil
}

// take runs on the subscription's goroutine, so that it must not wait.
func (c *commands) take(ctx context.Context, v events.Verb, r micro.Request) {
	select {
	case c.slots <- struct{}{}:
	default:
		c.answer(r, c.overload(ctx), "")
		return
	}
	go func() {
		defer func() { <-c.slots }()
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		l := &listener{commands: c, request: r, gone: cancel}
		defer l.close()
		c.answer(r, c.handle(ctx, v, r, l.more), "")
	}()
}

func (c *commands) overload(ctx context.Context) events.Answer {
	if ctx.Err() != nil {
		return events.Refuse(c.Connection, events.ErrorShutdown, "the process is ending")
	}
	return events.Refuse(c.Connection, events.ErrorBusy, fmt.Sprintf("%d commands are being answered already; try again", maxHandlers))
}

// listener is who asked, as long as the answer to come takes several replies.
type listener struct {
	*commands
	request micro.Request
	gone    context.CancelCauseFunc

	bounces *nats.Subscription // on the inbox where the server says that nobody listens; nil before the first reply
	inbox   string
}

// errNobodyListens is why a command ends whose replies nobody takes any more.
var errNobodyListens = errors.New("nobody listens to the replies any more")

// more sends a reply that is not the last one.
func (l *listener) more(a events.Answer) {
	if l.inbox == "" {
		l.inbox = l.nc.NewInbox()
		sub, err := l.nc.Subscribe(l.inbox, func(m *nats.Msg) {
			if m.Header.Get(statusHeader) == noResponders {
				l.gone(errNobodyListens)
			}
		})
		if err != nil {
			l.Log.Warn().Err(err).Msg("whether somebody listens to replies will not be seen")
		}
		l.bounces = sub
	}
	l.answer(l.request, a, l.inbox)
}

func (l *listener) close() {
	if l.bounces != nil {
		_ = l.bounces.Unsubscribe() // it fails where the connection is closed, and then there is none
	}
}

func (c *commands) handle(ctx context.Context, v events.Verb, r micro.Request, more func(events.Answer)) (answer events.Answer) {
	req, err := parseRequest(v, r)
	if err != nil {
		return events.Refuse(c.Connection, events.ErrorBadRequest, err.Error())
	}
	defer func() {
		if p := recover(); p != nil {
			c.Log.Error().Str("verb", string(v)).Any("panic", p).Bytes("stack", debug.Stack()).Msg("a command's handler panicked")
			answer = events.Refuse(c.Connection, events.ErrorInternal, fmt.Sprintf("the handler of %s panicked: %v", v, p))
		}
	}()
	return c.Handle(ctx, v, req, more)
}

// parseRequest reads a command's payload, and its id from wherever it stands.
func parseRequest(v events.Verb, r micro.Request) (events.Request, error) {
	req, err := v.ParseRequest(r.Data())
	if err != nil {
		return req, err
	}
	id := r.Headers().Get(events.HeaderMsgID)
	switch {
	case id == "":
	case len(id) > maxIDLength:
		return req, fmt.Errorf("header %s of %d characters: want at most %d", events.HeaderMsgID, len(id), maxIDLength)
	case req.ID == "":
		req.ID = id
	case req.ID != id:
		return req, fmt.Errorf("id %q in the payload and %q in the header %s: want one of them, or the same", req.ID, id, events.HeaderMsgID)
	}
	return req, nil
}

// answer sends a to whoever asked; when nobody listens, the server says so to
// bounce, if that is given. It does not use the request's own Respond
// and Error: micro reads what they leave behind as soon as take returns, and
// would race with an answer that comes later.
func (c *commands) answer(r micro.Request, a events.Answer, bounce string) {
	if r.Reply() == "" {
		return
	}
	if !a.OK && a.Error == nil {
		a.Error = &events.AnswerError{Code: events.ErrorInternal, Message: "the command was refused without a reason"}
	}
	b, err := json.Marshal(a)
	if err != nil {
		a = events.Refuse(c.Connection, events.ErrorInternal, "the answer cannot be encoded: "+err.Error())
		b, _ = json.Marshal(a) // strings only: it cannot fail
	}
	m := nats.NewMsg(r.Reply())
	m.Reply = bounce
	m.Data = b
	if a.Error != nil {
		m.Header.Set(micro.ErrorHeader, a.Error.Message)
		m.Header.Set(micro.ErrorCodeHeader, string(a.Error.Code))
	}
	err = c.nc.PublishMsg(m)
	if errors.Is(err, nats.ErrMaxPayload) && (a.Error == nil || a.Error.Code != events.ErrorTooLarge) {
		c.answer(r, events.Refuse(c.Connection, events.ErrorTooLarge,
			fmt.Sprintf("the answer has %d bytes, and a message on this bus at most %d: ask for less at once", len(m.Data), c.nc.MaxPayload())), bounce)
		return
	}
	if err != nil {
		c.Log.Warn().Err(err).Msg("an answer could not be sent")
	}
}
