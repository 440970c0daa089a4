// Package whatif plays what happened to a connection again under another policy, and
// tells what would have come of it.
//
// The one idea: the log says what the world did, and Decide is pure. [Learn] reads
// from the events how the gateway met attempts, when it fell silent, what it said and
// when it hung up; [World.Play] lets a [connector.Policy] live through that, with the
// connector's own Decide, Apply and Plan and a clock that is a number.
//
//	world, err := whatif.Learn(past, time.Time{}, time.Time{})
//	was := world.Recorded()
//	late, err := world.Play(policy, whatif.Late, nil)
//	early, err := world.Play(policy, whatif.Early, nil)
//
// What is exact and what is estimated:
//
//   - Exact is what came at its own time whatever we did: what the gateway said in a
//     session, the end of a session that the gateway or the network ended, a silence and
//     its end where the session outlived it, commands, our process's ends and
//     starts, moves of the clock.
//
//   - How an attempt is met is known at the times of the attempts that were made.
//     Between two that were met differently the truth lies between [Late], where
//     what was before holds until the next attempt, and [Early], where what came
//     after holds from the end of the one before. The same goes for a silent
//     session that was given up: Late it never answers again, Early it does once
//     the next session opened.
//
//   - How long an answer takes that takes less than a second is not kept: no policy
//     calls it missed. It counts as 20 ms.
//
//   - When a link is found to be lost by its probes depends on when it went; that is
//     taken to be one probe's timeout before the first that was missed.
//
//   - Subscriptions are not played, so neither is their darkness; nor are repeats of a
//     notice, which are one.
//
//   - Heartbeats expire. Of what is older than they are, a silence is known where it
//     made a session stale, and a slow answer is not.
//
//   - Whether a client id that was refused as in use is free again is only known by who
//     asks for it: until then Late refuses it, and Early does not.
//
//   - A log that begins in the middle of a session is taken to have had it from its
//     beginning.
//
// Guarantees: nothing is written, the same log and policy give the same outcome, and
// memory grows with the events that are not heartbeats, and with answers that took a
// second or more.
package whatif

import (
	"fmt"
	"time"

	"ibconn/connector"
	"ibconn/events"
)

// Bound says what is taken for true where the log leaves it open.
type Bound int

// The bounds. See the package's comment.
const (
	Late  Bound = iota // what was seen before still holds: the gateway comes back as late as can be
	Early              // what was seen after held already: as early as can be
)

// Recorded is what became of the connection, as the log has it.
func (w *World) Recorded() Outcome { return w.recorded }

// Span is the time that outcomes are of, by the connection's clock.
func (w *World) Span() (from, to time.Time) {
	from = w.began
	if w.from.After(from) {
		from = w.from
	}
	return from, w.until
}

// Play is what would have become of it under a policy, of which only how it decides
// counts: the gateways that it names are those of the log. Each, where it is set, is
// given each event on the way; they have no stored form. An error says that the
// policy is none, or that it never comes to rest.
func (w *World) Play(p connector.Policy, b Bound, each func(events.Recorded)) (Outcome, error) {
	if err := p.Validate(); err != nil {
		return Outcome{}, fmt.Errorf("what if: %w", err)
	}
	player := &player{world: w, policy: p, bound: b, each: each, tally: tally{from: w.from}}
	if err := player.play(); err != nil {
		return Outcome{}, err
	}
	player.tally.to(player.state, player.wall())
	return player.tally.outcome(), nil
}
