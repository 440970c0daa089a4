package whatif

import (
	"slices"
	"time"

	"ibconn/events"
)

// moment is how much time had passed since the log began, by a clock that nobody
// sets.
type moment = time.Duration

// never is later than any log.
const never moment = 1<<63 - 1

// World is what a log tells of the world around a connection: how the gateway met
// attempts, when it fell silent, what it said and when it hung up, and what people
// and the system did to the process.
type World struct {
	connection events.ConnectionID
	began      time.Time // what the clock said
	end        moment

	happenings []happening // in their order
	doors      []door      // in their order
	stalls     []stall     // in their order
	links      []linked    // in their order
	linkTook   moment      // how long IB's servers take to answer
	recorded   tally       // what came of it under the policy that was
}

// happening is something that comes to the process at a moment, whatever it does.
// One field is set.
type happening struct {
	at      moment
	start   *start
	kill    bool
	shut    *events.Stopped
	command *events.CommandAccepted
	notice  *notice
	cut     *cut
	jump    time.Duration
}

type start struct {
	epoch    uint64
	offset   time.Duration // what the clock was set by, in all
	instance string
	lastAt   moment
	away     bool // there was a process before
}

type notice struct {
	after     moment // since the session was opened, for what greets it
	requestID int64
	code      int
	message   string
}

// cut is the end of a session that was not our decision.
type cut struct {
	cause  events.Cause
	detail string
	// silentFrom is since when the session was silent before; then a session that was
	// opened later is another one, and is not cut. never where it was not.
	silentFrom moment
}

// reach is how far a gateway lets an attempt come.
type reach int

const (
	unknown  reach = iota // nothing is known until the next attempt
	lost                  // nothing answers
	hungUp                // it is ended, with a cause
	accepted              // it is accepted, and nothing is said
	greeted               // the version is answered, and nothing more
	refused               // it is refused with a code
	opened                // a session opens
)

// door is how a gateway meets attempts from a moment on.
type door struct {
	from, until moment // until is when that was last seen to be so
	endpoint    string
	clientID    int64
	reach       reach
	dialed      bool // TCP was open
	reachIn     moment
	greetIn     moment
	endIn       moment // when the session is open, or the attempt ended
	cause       events.Cause
	code        int
	words       string
	opened      events.SessionOpened
	version     int
	news        []notice // what greets a session
}

// stall is a stretch in which the gateway answers nothing.
type stall struct {
	// Answers stopped after from, when the last byte came, and before asked, when
	// something was asked that was not answered.
	from, asked moment
	to          moment
	answered    bool // at its end it answered; otherwise the session was given up or cut
	bytes       bool // other bytes came meanwhile
	unacked     bool // and the gateway's host acknowledged nothing
}

// linked says from when on IB's servers could be reached through the gateway.
type linked struct {
	from moment
	up   bool
}

const (
	// greetingNews is for how long after a session was opened what the gateway says
	// belongs to its opening: the states of the link and the farms.
	greetingNews = 5 * time.Second
	// slow is how long an answer takes that could be called missed under some policy:
	// no timeout may be shorter.
	slow = time.Second
	// linkTimeout is what a probe of the link is given by default; the log does not
	// say when one was sent that was missed.
	linkTimeout = 10 * time.Second
)

// wall is what a clock says at a moment that was set by an offset.
func (w *World) wall(at moment, offset time.Duration) time.Time { return w.began.Add(at + offset) }

// doorFor returns how an attempt is met that begins at a moment. Between what is
// known before and after, early takes what comes after, and otherwise what was
// before still holds.
func (w *World) doorFor(at moment, endpoint string, early bool) door {
	of := func(d door) bool { return d.reach == unknown || d.endpoint == endpoint }
	if !slices.ContainsFunc(w.doors, func(d door) bool { return d.reach != unknown && d.endpoint == endpoint }) {
		of = func(door) bool { return true } // nobody tried it
	}
	var before, after *door
	for i := range w.doors {
		d := &w.doors[i]
		if !of(*d) {
			continue
		}
		if d.from <= at {
			before = d
		} else if d.reach != unknown {
			after = d
			break
		}
	}
	switch {
	case before == nil && after == nil:
		return door{reach: lost}
	case before == nil:
		return *after
	case before.reach == opened, after == nil && before.reach != unknown, at <= before.until && before.reach != unknown:
		return *before
	case after == nil:
		return w.lastKnown(of)
	case before.reach == unknown, early:
		return *after
	}
	return *before
}

func (w *World) lastKnown(of func(door) bool) door {
	for _, d := range slices.Backward(w.doors) {
		if d.reach != unknown && of(d) {
			return d
		}
	}
	return door{reach: lost}
}

// stallAt returns the stall that a session which was opened at a moment is in at
// another.
func (w *World) stallAt(at, opened moment, early bool) (stall, bool) {
	for _, s := range w.stalls {
		if s.from > at {
			break
		}
		if s.from < opened || !early && s.asked > at {
			continue
		}
		if !s.answered {
			s.to = w.aliveAgain(s.to, early)
		}
		if at < s.to {
			return s, true
		}
	}
	return stall{}, false
}

// aliveAgain is when a gateway that fell silent and was given up at a moment is known
// to have answered again: the next session that opened there. Whether the old session
// would have gone on nobody knows: early takes it that it would.
func (w *World) aliveAgain(lost moment, early bool) moment {
	if early {
		for _, d := range w.doors {
			if d.from >= lost && d.reach == opened {
				return d.from
			}
		}
	}
	return never
}

func (w *World) linkUp(at moment) bool {
	up := true
	for _, l := range w.links {
		if l.from > at {
			break
		}
		up = l.up
	}
	return up
}

// opening is how an attempt went that opened a session.
func (w *World) opening() door {
	for _, d := range w.doors {
		if d.reach == opened {
			return d
		}
	}
	return door{reach: lost}
}
