// Package play says events again as they once came: in their order, at their distances
// or faster, and on other subjects than those of the live feed.
//
// The one idea: what tests a dashboard or a service is a real night, so the messages are
// those of the feed, byte for byte, and only subject and headers say that it is not
// happening now.
//
//	p := play.Player{Speed: 60, SkipIdle: 10 * time.Second, Publish: publish}
//	err := p.Play(ctx, source.Stored(ctx, bus.Query{}))
//
// Guarantees:
//   - Messages are published in the order in which they were stored.
//   - Two events of a connection are as far apart as their times, divided by the speed;
//     a clock that was set back counts as no time.
//   - [ParsePrefix] takes no subject on which anything of ibconn's or of NATS' own is.
//
// # Non-obvious
//
//   - Each connection is spaced by its own times. Clocks of two hosts that differ by
//     seconds would otherwise add these at every event of the one after the other.
package play

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"ibconn/bus"
	"ibconn/events"
)

// Message is one message to be published.
type Message struct {
	Kind   events.Kind // the last token of its subject
	Stored bus.Stored  // what it is
	Time   time.Time   // when it happened; when it was stored, of what is no event
}

// Player says events again. It is for one goroutine.
type Player struct {
	// Speed is how many times faster than it was, above 0. 0 is without any waiting.
	Speed float64
	// SkipIdle is how long a silence may last while it is played; longer ones are cut
	// to it. 0 leaves them as they were.
	SkipIdle time.Duration
	// Publish takes each message when it is its time. An error ends it.
	Publish func(context.Context, Message) error
}

// Play plays what stored yields, and waits in between. It ends with it, or with the
// first error, or with ctx.
func (p *Player) Play(ctx context.Context, stored iter.Seq2[bus.Stored, error]) error {
	began := time.Now()
	at := schedule{speed: p.Speed, idle: p.SkipIdle, connections: make(map[events.ConnectionID]moment)}
	for s, err := range stored {
		if err != nil {
			return err
		}
		m := Message{Stored: s, Time: s.StoredAt}
		name, kind, err := events.ParseLogSubject(s.Subject)
		if err != nil {
			continue // it was never on the feed either
		}
		m.Kind = kind
		if e, err := s.Entry(); err == nil {
			m.Time = e.Time
		}
		if due := at.next(name, m.Time); p.Speed > 0 {
			if err := wait(ctx, time.Until(began.Add(due))); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := p.Publish(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// schedule says when what happened at a time is due, as time since the beginning.
type schedule struct {
	speed       float64
	idle        time.Duration
	begun       bool
	newest      moment // of all
	connections map[events.ConnectionID]moment
}

// moment is when something happened, and when it is due.
type moment struct {
	at  time.Time
	due time.Duration
}

func (s *schedule) next(name events.ConnectionID, at time.Time) time.Duration {
	before, known := s.connections[name]
	if !known {
		// Its first event has only those of others to be measured by.
		before = s.newest
	}
	due := s.newest.due
	if s.begun && s.speed > 0 {
		gap := max(at.Sub(before.at), 0)
		due = max(due, before.due+time.Duration(float64(gap)/s.speed))
	}
	if late := due - s.newest.due - s.idle; s.idle > 0 && late > 0 {
		due -= late
		for n, m := range s.connections { // who comes later comes as much earlier
			s.connections[n] = moment{m.at, m.due - late}
		}
	}
	s.begun, s.newest = true, moment{at, due}
	s.connections[name] = s.newest
	return due
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// maxSpeed is the fastest that makes sense: a year in half a minute.
const maxSpeed = 1e6

// ParseSpeed reads a speed: "60x", "0.5x", "1", or "max", which is 0, without waiting.
func ParseSpeed(text string) (float64, error) {
	if text == "max" {
		return 0, nil
	}
	speed, err := strconv.ParseFloat(strings.TrimSuffix(text, "x"), 64)
	if err != nil || !(speed > 0 && speed <= maxSpeed) {
		return 0, fmt.Errorf("speed %.40q: want one such as 1x, 60x or 0.5x, at most %.0fx, or max", text, maxSpeed)
	}
	return speed, nil
}

var errPrefix = errors.New("want tokens of letters, digits, '-' and '_', parted by '.', such as ib.replay")

// ParsePrefix reads the subject below which events are played. All that begins with ib is
// ibconn's own, now or later, but ib.replay; what NATS uses itself and wildcards are
// refused too.
func ParsePrefix(text string) (string, error) {
	if len(text) > 200 {
		return "", fmt.Errorf("subject %.40q...: want 200 characters at most", text)
	}
	for token := range strings.SplitSeq(text, ".") {
		if token == "" || strings.Trim(token, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			return "", fmt.Errorf("subject %.80q: %w", text, errPrefix)
		}
	}
	if strings.HasPrefix(text, "_") {
		return "", fmt.Errorf("subject %.80q: it is NATS' own: %w", text, errPrefix)
	}
	// What differs in case only would be mistaken by people.
	if first, second, _ := strings.Cut(strings.ToLower(text)+".", "."); first == "ib" && !strings.HasPrefix(second, "replay.") {
		return "", fmt.Errorf("subject %.80q: what is played must not be taken for what happens, and below ib all but ib.replay is ibconn's own: want one such as ib.replay, or night", text)
	}
	return text, nil
}
