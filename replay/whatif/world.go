package whatif

import (
	"cmp"
	"slices"
	"sort"
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
	until      time.Time // what it said then
	from       time.Time // what happened before does not count

	happenings []happening // in their order
	doors      []door      // in their order
	// The same, looked up: to each endpoint, with the times of which nothing is known,
	// to any, and those that opened a session.
	ways          map[string][]*door
	every, opened []*door
	ids           map[client][]*door // and those of one client id
	stalls        []stall            // in their order
	links         []linked           // in their order
	linkTook      moment             // how long IB's servers take to answer
	recorded      Outcome            // what came of it under the policy that was
}

// client is a client id at an endpoint.
type client struct {
	endpoint string
	id       int64
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
	endpoint    string // "" for any
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

// order makes what was learned ready to be looked up: each of it by when it began.
func (w *World) order() {
	slices.SortStableFunc(w.doors, func(a, b door) int { return cmp.Compare(a.from, b.from) })
	slices.SortStableFunc(w.stalls, func(a, b stall) int { return cmp.Compare(a.from, b.from) })
	w.ways, w.ids = make(map[string][]*door), make(map[client][]*door)
	for i := range w.doors {
		d := &w.doors[i]
		if d.endpoint != "" {
			w.ways[d.endpoint] = nil
			w.ids[client{d.endpoint, d.clientID}] = append(w.ids[client{d.endpoint, d.clientID}], d)
		}
		if d.reach == opened {
			w.opened = append(w.opened, d)
		}
		w.every = append(w.every, d)
	}
	for endpoint := range w.ways {
		for _, d := range w.every {
			if d.endpoint == "" || d.endpoint == endpoint {
				w.ways[endpoint] = append(w.ways[endpoint], d)
			}
		}
	}
}

// since returns the first of some that began after a moment.
func since[T any](all []T, began func(T) moment, at moment) int {
	return sort.Search(len(all), func(i int) bool { return began(all[i]) > at })
}

func whenMet(d *door) moment { return d.from }

// doorFor returns how an attempt is met that begins at a moment. Between what is
// known before and after, early takes what comes after, and otherwise what was
// before still holds. A gateway that nobody tried meets it as the others did.
func (w *World) doorFor(at moment, endpoint string, early bool) door {
	way, tried := w.ways[endpoint]
	if !tried {
		way = w.every
	}
	next := since(way, whenMet, at)
	known := func(d *door) bool { return d.reach != unknown }
	after := slices.IndexFunc(way[next:], known)
	switch {
	case next == 0 && after < 0:
		return door{reach: lost}
	case next == 0:
		return *way[after]
	}
	before := way[next-1]
	switch {
	case before.reach == opened, after < 0 && known(before), at <= before.until && known(before):
		return *before
	case after >= 0 && (early || !known(before)):
		return *way[next+after]
	case known(before):
		return *before
	}
	for _, d := range slices.Backward(way[:next]) {
		if known(d) {
			return *d
		}
	}
	return door{reach: lost}
}

// stallAt returns the stall that a session which was opened at a moment is in at
// another.
func (w *World) stallAt(at, opened moment, early bool) (stall, bool) {
	began := func(s stall) moment { return s.from }
	for _, s := range w.stalls[since(w.stalls, began, opened-1):] {
		if s.from > at {
			break
		}
		if !early && s.asked > at {
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
// to have answered again: the next session that opened. Whether the old session
// would have gone on nobody knows: early takes it that it would.
func (w *World) aliveAgain(lost moment, early bool) moment {
	if i := since(w.opened, whenMet, lost-1); early && i < len(w.opened) {
		return w.opened[i].from
	}
	return never
}

// taken returns how a client id was refused as in use when it was last asked for before
// a moment; nil where it was not.
func (w *World) taken(at moment, endpoint string, id int64) *door {
	all := w.ids[client{endpoint, id}]
	i := since(all, whenMet, at)
	if i == 0 || all[i-1].reach != refused || all[i-1].cause != events.CauseClientIDInUse {
		return nil
	}
	return all[i-1]
}

func (w *World) linkUp(at moment) bool {
	i := since(w.links, func(l linked) moment { return l.from }, at)
	return i == 0 || w.links[i-1].up
}

// opening is how an attempt went that opened a session.
func (w *World) opening() door {
	if len(w.opened) == 0 {
		return door{reach: lost}
	}
	return *w.opened[0]
}
