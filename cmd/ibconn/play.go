package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/replay/play"
)

// playCommand publishes the past again.
type playCommand struct {
	placeFlags
	Since    time.Duration `help:"From so long ago on, such as 24h." xor:"from"`
	From     string        `help:"From then on, as the other commands take it." placeholder:"TIME" xor:"from"`
	Until    string        `help:"Until then." placeholder:"TIME"`
	Zone     string        `help:"The time zone that times are read in." default:"local"`
	Speed    string        `help:"How many times faster than it was: 60x, 1x, or max for without waiting." default:"1x"`
	To       string        `help:"The subject below which they are published: ib.replay.<kind>." default:"ib.replay" placeholder:"SUBJECT"`
	SkipIdle time.Duration `help:"No silence lasts longer than that while it is played; 0 leaves them as they were." default:"0s"`
	On       string        `help:"URL of the bus that they are published on; that of --nats without it." placeholder:"URL"`
	JSON     bool          `name:"json" help:"Print what was played as JSON."`
}

// The headers of a message that is played.
const (
	headerReplay         = "Ib-Replay"          // the speed
	headerReplaySubject  = "Ib-Replay-Subject"  // the subject that it was stored under
	headerReplaySequence = "Ib-Replay-Sequence" // and its stream sequence
	headerReplayTime     = "Ib-Replay-Time"     // when it happened
)

// Run plays until the end, or until a signal comes.
func (p *playCommand) Run(ctx context.Context, c console) error {
	speed, err := play.ParseSpeed(p.Speed)
	if err != nil {
		return usageError{fmt.Errorf("--speed: %w", err)}
	}
	prefix, err := play.ParsePrefix(p.To)
	if err != nil {
		return usageError{fmt.Errorf("--to: %w", err)}
	}
	if p.SkipIdle < 0 {
		return usageError{fmt.Errorf("--skip-idle %v: want how long a silence may last, such as 10s", p.SkipIdle)}
	}
	s, err := sourceFlags{placeFlags: p.placeFlags, Since: p.Since, From: p.From, To: p.Until, Zone: p.Zone}.span(time.Now())
	if err != nil {
		return err
	}
	if p.Connection != "" {
		if _, err := events.ParseConnectionID(p.Connection); err != nil {
			return usageError{err}
		}
	}
	source, err := p.open(ctx, c)
	if err != nil {
		return err
	}
	played, err := p.play(ctx, c, source, s, prefix, play.Player{Speed: speed, SkipIdle: p.SkipIdle})
	if err = errors.Join(err, source.close()); err != nil {
		return err
	}
	if p.JSON {
		return printJSON(c.Out, map[string]uint64{"messages": played})
	}
	_, err = fmt.Fprintf(c.Out, "%s were played on %s.*\n", plural(played, "messages"), prefix)
	return err
}

func (p *playCommand) play(ctx context.Context, c console, source opened, s span, prefix string, player play.Player) (played uint64, err error) {
	on := p.natsFlags
	if p.On != "" { // who we are elsewhere is nothing to it
		on = natsFlags{NATS: p.On}
	}
	nc, err := on.dial("ibconn replay play")
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	b := newBar(c, "playing")
	defer b.end()
	player.Publish = func(_ context.Context, m play.Message) error {
		msg := nats.NewMsg(prefix + "." + string(m.Kind))
		msg.Data = m.Stored.Payload
		msg.Header.Set(events.HeaderContentType, events.ContentType)
		msg.Header.Set(headerReplay, p.Speed)
		msg.Header.Set(headerReplaySubject, m.Stored.Subject)
		msg.Header.Set(headerReplaySequence, strconv.FormatUint(m.Stored.StreamSeq, 10))
		msg.Header.Set(headerReplayTime, m.Time.UTC().Format(time.RFC3339Nano))
		played++
		b.events(played, 0)
		return errors.Join(nc.PublishMsg(msg), nc.LastError())
	}
	err = player.Play(ctx, func(yield func(bus.Stored, error) bool) {
		for m, err := range source.Stored(ctx, bus.Query{Connection: events.ConnectionID(p.Connection)}) {
			if (err != nil || s.has(m)) && !yield(m, err) {
				return
			}
		}
	})
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, askWithin)
		defer cancel()
		err = errors.Join(nc.FlushWithContext(ctx), nc.LastError())
	}
	return played, err
}
