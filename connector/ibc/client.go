package ibc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"ibconn/events"
)

// Command is a line that IBC's command server takes.
type Command string

// The commands that are ever sent.
const (
	ReconnectData    Command = "RECONNECTDATA"    // press Ctrl-Alt-F: connect to the data farms anew
	ReconnectAccount Command = "RECONNECTACCOUNT" // press Ctrl-Alt-R: connect to the account's server anew
	Restart          Command = "RESTART"          // restart the gateway, mostly by its stored auto-restart time
)

// commands says how the control commands are said to IBC.
var commands = map[events.Verb]Command{
	events.VerbReconnectData:    ReconnectData,
	events.VerbReconnectAccount: ReconnectAccount,
	events.VerbRestartGateway:   Restart,
}

// DefaultTimeout is for a Client that names none. IBC answers at once but for
// RESTART, which may wait for two seconds first.
const DefaultTimeout = 15 * time.Second

// Client asks one IBC. It holds no connection, and may be used from any
// goroutine.
type Client struct {
	Address string        // of IBC's command server, HOST:PORT
	Timeout time.Duration // for all of one call; zero or below is DefaultTimeout
}

// Validate returns an error that says what is wrong with c, or nil.
func (c *Client) Validate() error {
	host, port, err := net.SplitHostPort(c.Address)
	n, notNumber := strconv.ParseUint(port, 10, 16)
	if err != nil || host == "" || notNumber != nil || n == 0 {
		return fmt.Errorf("IBC's command server %q: want HOST:PORT, such as 127.0.0.1:7462", c.Address)
	}
	return nil
}

// Control sends the command that v stands for and returns what IBC said to it.
// Every error is an *[events.AnswerError].
func (c *Client) Control(ctx context.Context, v events.Verb) (said string, err error) {
	command, ok := commands[v]
	if !ok {
		return "", &events.AnswerError{Code: events.ErrorInternal, Message: fmt.Sprintf("IBC has no command for %q", v)}
	}
	said, err = c.Send(ctx, command)
	if err == nil {
		return said, nil
	}
	code := events.ErrorOutcomeUnknown
	if failed, ok := errors.AsType[*Error](err); ok {
		code = failed.Problem.code()
	}
	return "", &events.AnswerError{Code: code, Message: err.Error()}
}

// Send sends command over a connection of its own and returns the words behind
// IBC's OK, which may be none. Every error is an *[Error].
func (c *Client) Send(ctx context.Context, command Command) (said string, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	a, problem, err := c.send(ctx, command)
	if problem == "" {
		return a.words, nil
	}
	if ctx.Err() != nil && problem == Closed {
		// The deadline, and whoever ended ctx, show as errors of the socket.
		problem, err = NoAnswer, context.Cause(ctx)
	}
	return "", &Error{Address: c.Address, Command: command, Problem: problem, Said: a.words, Timeout: c.timeout(), Err: err}
}

// Look connects, says nothing, and listens for a moment: IBC hangs up at once
// on a host that it takes no commands from. The error is an *[Error] whose
// Problem is Unreachable, Closed or Garbled.
func (c *Client) Look(ctx context.Context, moment time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.Address)
	if err != nil {
		return &Error{Address: c.Address, Problem: Unreachable, Err: err}
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(moment)); err != nil {
		return &Error{Address: c.Address, Problem: Closed, Err: err}
	}
	// It may greet, with an INFO line or a prompt.
	n, err := io.Copy(io.Discard, io.LimitReader(conn, maxRead))
	switch {
	case n == maxRead:
		return &Error{Address: c.Address, Problem: Garbled, Err: errTooMuch}
	case err == nil:
		return &Error{Address: c.Address, Problem: Closed, Err: io.EOF}
	}
	if network, ok := errors.AsType[net.Error](err); !ok || !network.Timeout() {
		return &Error{Address: c.Address, Problem: Closed, Err: err}
	}
	return nil
}

func (c *Client) timeout() time.Duration {
	if c.Timeout > 0 {
		return c.Timeout
	}
	return DefaultTimeout
}

func (c *Client) send(ctx context.Context, command Command) (answer, Problem, error) {
	switch command {
	case ReconnectData, ReconnectAccount, Restart:
	default:
		return answer{}, Unreachable, fmt.Errorf("%.40q is not among the commands that are ever sent", command)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.Address)
	if err != nil {
		return answer{}, Unreachable, err
	}
	defer conn.Close()
	// A deadline in the past ends reads and writes that are under way.
	over := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = conn.SetDeadline(time.Unix(1, 0)) // it fails only on a closed one, which is as good
		close(over)
	})
	defer func() {
		if !stop() {
			<-over
		}
	}()
	if _, err := io.WriteString(conn, string(command)+"\n"); err != nil {
		return answer{}, Closed, err
	}
	a, err := readAnswer(conn)
	switch {
	case errors.Is(err, errTooMuch):
		return answer{}, Garbled, err
	case err != nil:
		return answer{}, Closed, err
	case a.refused:
		return a, Refused, nil
	}
	return a, "", nil
}

// Problem says how a command came to nothing, and so whether it may have been
// carried out.
type Problem string

// The problems.
const (
	Unreachable Problem = "unreachable" // nobody could be asked: it was not carried out
	Refused     Problem = "refused"     // IBC said ERROR
	NoAnswer    Problem = "no answer"   // it was sent, and nothing came in time
	Closed      Problem = "closed"      // it was sent, and the connection ended instead
	Garbled     Problem = "garbled"     // it was sent, and what came is not IBC's
)

// code returns the problem as an answer on the bus has it.
func (p Problem) code() events.ErrorCode {
	switch p {
	case Unreachable:
		return events.ErrorIBCUnreachable
	case Refused:
		return events.ErrorGatewayRefused
	case NoAnswer, Closed, Garbled:
	}
	return events.ErrorOutcomeUnknown
}

// Error is what Send fails with.
type Error struct {
	Address string
	Command Command
	Problem Problem
	Said    string        // IBC's words behind its ERROR, when it refused
	Timeout time.Duration // that the call had
	Err     error         // the system's, or the context's; nil when IBC refused
}

// Error says what happened and what to look at.
func (e *Error) Error() string {
	switch e.Problem {
	case Refused:
		return fmt.Sprintf("IBC at %s refused %s: %s", e.Address, e.Command, cmp.Or(e.Said, "it gave no reason"))
	case Unreachable:
		return fmt.Sprintf("IBC cannot be asked: %v: is IBC running, with CommandServerPort set to the port in %s?", e.Err, e.Address)
	case NoAnswer:
		return fmt.Sprintf("IBC at %s took %s and did not answer within %v (%v): it answers only once the gateway is logged in and its main window is there; look at the gateway and at IBC's log",
			e.Address, e.Command, e.Timeout, e.Err)
	case Closed:
		return fmt.Sprintf("%s closed the connection without an answer%s (%v): is it IBC's CommandServerPort, and this host in IBC's ControlFrom? without that IBC takes 127.0.0.1 alone",
			e.Address, e.toCommand(), e.Err)
	case Garbled:
		return fmt.Sprintf("what answers at %s is not IBC (%v): is the port its CommandServerPort?", e.Address, e.Err)
	}
	return fmt.Sprintf("IBC at %s, %s: %v", e.Address, e.Command, e.Err)
}

// toCommand names the command, where there was one.
func (e *Error) toCommand() string {
	if e.Command == "" {
		return ""
	}
	return " to " + string(e.Command)
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }
