package connector

import (
	"context"
	"errors"

	"ibconn/events"
)

// Controller carries out control commands: it has IBC work the gateway's
// windows. Package connector/ibc has the one that asks IBC's command server.
type Controller interface {
	// Control asks once for v, a verb that is [events.Verb.Control], and returns
	// what was said to it. It returns within a time of its own, and at once when
	// ctx ends, and it never asks again. An error that is an
	// *[events.AnswerError] says what became of v by its code; after any other it
	// is not known.
	Control(ctx context.Context, v events.Verb) (said string, err error)
}

// control asks for the command that is to be under way, on a goroutine of its
// own. The command was recorded as begun, so whatever happens from here on, it
// is not asked for again.
func (l *loop) control(c events.PendingCommand) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(l.appending))
	l.controlling, l.endControl = c.CommandID, cancel
	l.sessions.Go(func() {
		defer cancel()
		said, err := l.ask(ctx, c.Verb)
		select {
		case l.inputs <- Controlled{CommandID: c.CommandID, Said: said, Failure: failureOf(err)}:
		case <-l.quit:
		}
	})
}

func (l *loop) ask(ctx context.Context, v events.Verb) (said string, err error) {
	if l.Control == nil { // another process took the command, which had one
		return "", notConfigured(v)
	}
	return l.Control.Control(ctx, v)
}

func notConfigured(v events.Verb) *events.AnswerError {
	return &events.AnswerError{
		Code:    events.ErrorNotConfigured,
		Message: string(v) + " takes IBC, and no address of IBC's command server is configured for this connection",
	}
}

func failureOf(err error) *events.AnswerError {
	if err == nil {
		return nil
	}
	if failure, ok := errors.AsType[*events.AnswerError](err); ok {
		return failure
	}
	return &events.AnswerError{Code: events.ErrorOutcomeUnknown, Message: err.Error()}
}
