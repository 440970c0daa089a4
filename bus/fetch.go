package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ibconn/events"
)

// ErrKept says that another process keeps a connection.
var ErrKept = errors.New("another process keeps it, and answers on the hub")

// Fetch brings the log here up to where the hub's is, when that goes on where this one
// ends: this one is new, or was put back from a backup. It returns how many events that
// were, heartbeats left out. It must be called before the connection's writer begins,
// and waits for the hub for as long as ctx lasts.
//
// The error is [ErrKept] when somebody takes commands for the connection on the hub, so
// that its log goes on there, and a *[ForkError] when the two logs have gone on
// differently. What was fetched before an error is a part of the log like any other.
func (r *Relay) Fetch(ctx context.Context, c events.ConnectionID) (int, error) {
	r.init()
	n, err := r.fetch(ctx, c)
	if err != nil {
		return n, fmt.Errorf("bus: fetch %s: %w", c, err)
	}
	return n, nil
}

func (r *Relay) fetch(ctx context.Context, c events.ConnectionID) (int, error) {
	present, err := r.Hub.await(ctx)
	if err != nil {
		return 0, err
	}
	hub, err := r.openHub(ctx, present.generation)
	if err != nil {
		return 0, err
	}
	end, err := hub.end(ctx, c)
	if err != nil {
		return 0, err
	}
	here, err := r.Local.head(ctx, c)
	if err != nil || end.head.Sequence <= here.Sequence {
		return 0, err
	}
	if _, err := Ask(ctx, r.Hub.nc, c, events.VerbStatus, events.Request{}); err == nil {
		return 0, ErrKept
	}
	carrier := newCarrier(r, c)
	common, _, ours, err := carrier.part(ctx, hub)
	if err != nil {
		return 0, err
	}
	if ours != nil || common != here.Sequence {
		return 0, carrier.fork(ctx, hub, end)
	}
	return r.copyAfter(ctx, hub, c, common)
}

// copyAfter stores here what the hub has of c behind a sequence.
func (r *Relay) copyAfter(ctx context.Context, hub *hubLog, c events.ConnectionID, sequence uint64) (int, error) {
	s, err := findSource(ctx, hub.nc, events.Stream, "log")
	if err != nil {
		return 0, err
	}
	n := 0
	for e, err := range s.sequence(ctx, c) {
		if err != nil {
			return n, err
		}
		if e.Sequence <= sequence {
			continue
		}
		m := nats.NewMsg(events.LogSubject(c, e.Event.Type().Kind()))
		m.Data = e.Wire
		m.Header.Set(events.HeaderMsgID, e.ID)
		m.Header.Set(events.HeaderContentType, events.ContentType)
		if e.Traceparent != "" {
			m.Header.Set("traceparent", e.Traceparent)
		}
		if _, err := r.Local.js.PublishMsg(ctx, m, jetstream.WithExpectStream(events.Stream)); err != nil {
			return n, refusal(err)
		}
		n++
	}
	return n, nil
}

// head returns where the log of c ends.
func (l *Log) head(ctx context.Context, c events.ConnectionID) (events.Head, error) {
	m, err := l.newest(ctx, events.LogSubject(c, "*"))
	if err != nil || m == nil {
		return events.Head{}, err
	}
	r, err := events.Decode(m.Data)
	if err == nil {
		return headAfter(r), nil
	}
	// The newest message is no event; the newest event is before it.
	var head events.Head
	for e, err := range l.sequence(ctx, c) {
		if err != nil {
			return events.Head{}, err
		}
		head = head.Then(e)
	}
	return head, nil
}
