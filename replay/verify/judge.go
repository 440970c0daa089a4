package verify

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"ibconn/events"
)

// judge looks at what the events of a connection say, as far as the chain lets it.
type judge struct {
	state events.State
	// sure is whether the phase and the attempt are known: not after something was
	// missing or changed, until the next attempt.
	sure bool
	// whole is whether all is there from the beginning on, so that commands and
	// subscriptions are known.
	whole bool

	pulse, linkPulse pulse // the last heartbeats of each kind

	settledAt time.Time // since when nothing keeps the commands that wait from their outcome
	overdue   []string  // the commands of which that is told
	wanted    map[string]subscription
	back      Finding // times that went back, until it is clear that no clock_jumped comes
	backFor   int     // how many events more it may come
	recent    []Finding
}

// pulse is which probe of which attempt a heartbeat was about.
type pulse struct{ attempt, number uint64 }

// subscription is what became of one.
type subscription struct {
	since    time.Time
	sequence uint64
	placed   int
	live     bool
}

const (
	// outcomeWithin is how long after nothing keeps it from that a command may
	// have no outcome: it follows at once.
	outcomeWithin = time.Minute
	// controlWithin is the same for a command that IBC carries out.
	controlWithin = time.Hour
	// clockWithin is how many events may come before the clock_jumped that says
	// why times went back.
	clockWithin = 4
	maxRecent   = 64
)

func newJudge(c events.ConnectionID, whole bool) judge {
	return judge{state: events.NewState(c), sure: whole, whole: whole, wanted: make(map[string]subscription)}
}

// doubt is for when something is missing or was changed.
func (j *judge) doubt() { j.sure, j.whole = false, false }

func (j *judge) remember(f Finding) {
	if f.Kind.Severity() == Damage {
		j.recent = append(j.recent, f)
		j.recent = j.recent[max(0, len(j.recent)-maxRecent):]
	}
}

// look judges an event that was accepted.
func (j *judge) look(c *connection, it item) {
	r, before := it.rec, j.state
	j.clock(c, it, before)
	j.beats(c, it)
	j.state = before.Apply(r)
	j.legal(c, it, before)
	j.outcomes(c, it, before)
	switch e := r.Event.(type) {
	case *events.DialStarted:
		if !j.sure {
			j.sure, j.state.Breaker.Open = true, e.Probe
		}
	case *events.LogDamaged:
		j.recorded(c, it, e)
	case *events.Unknown:
		if c.v.news(e.Type()) {
			c.find(it.seen(), UnknownType, "read it with the version of ibconn that wrote it", "events of type %s are not known to this program: they count in the chain, and change no state", e.Type())
		}
	case *events.SubscriptionAdded:
		if _, there := j.wanted[e.Subscription]; !there && len(j.wanted) < events.MaxSubscriptions {
			j.wanted[e.Subscription] = subscription{since: r.Time, sequence: r.Sequence}
		}
	case *events.SubscriptionPlacement:
		if s, there := j.wanted[e.Subscription]; there {
			s.placed++
			j.wanted[e.Subscription] = s
		}
	case *events.SubscriptionDelivered:
		if s, there := j.wanted[e.Subscription]; there {
			s.live = true
			j.wanted[e.Subscription] = s
		}
	case *events.SubscriptionCancelled:
		if s, there := j.wanted[e.Subscription]; there && !s.live {
			c.find(it.seen(), NeverLive, "", "subscription %s was wanted from %s to %s, %s, and never had data", e.Subscription, stamp(s.since), stamp(r.Time), placed(s.placed))
		}
		delete(j.wanted, e.Subscription)
	default:
	}
}

func placed(n int) string {
	switch n {
	case 0:
		return "was never placed"
	case 1:
		return "was placed once"
	}
	return fmt.Sprintf("was placed %d times", n)
}

// legal holds an event against what a writer would write there.
func (j *judge) legal(c *connection, it item, before events.State) {
	err := events.Legal(before, j.state, it.rec)
	wrong, ok := errors.AsType[*events.IllegalError](err)
	if !ok {
		return
	}
	kind := Illegal
	switch wrong.Rule {
	case events.RuleCommand, events.RuleSubscription:
		if !j.whole {
			return
		}
	case events.RuleAttempt:
		kind = Attempt
		fallthrough
	case events.RulePhase, events.RuleStanding, events.RuleClaim:
		if !j.sure {
			return
		}
	}
	where := fmt.Sprintf("event %d (%s)", it.rec.Sequence, it.rec.ID)
	if it.kind == events.KindHeartbeat {
		where = fmt.Sprintf("the heartbeat %s behind event %d", it.rec.ID, it.rec.Sequence)
	}
	c.find(it.seen(), kind, "no writer of ibconn does that: keep the log, and report it", "%s should not stand there: %v", where, wrong)
	if kind == Illegal {
		j.sure = false // one finding is enough, until the next attempt
	}
}

// beats looks for heartbeats that come after later ones. The chain does not hold their
// order.
func (j *judge) beats(c *connection, it item) {
	last := &j.pulse
	var is pulse
	switch e := it.rec.Event.(type) {
	case *events.HeartbeatAnswered:
		is = pulse{e.Attempt, e.Number}
	case *events.HeartbeatMissed:
		is = pulse{e.Attempt, e.Number}
	case *events.LinkAnswered:
		last, is = &j.linkPulse, pulse{e.Attempt, e.Number}
	case *events.LinkMissed:
		last, is = &j.linkPulse, pulse{e.Attempt, e.Number}
	default:
		return
	}
	if is.attempt == last.attempt && is.number < last.number {
		c.find(it.seen(), Swapped, adviceOrder, "the heartbeat %s behind event %d is about probe %d, and stands behind one about probe %d: it was moved, or stands twice", it.rec.ID, it.rec.Sequence, is.number, last.number)
	}
	*last = is
}

// clock looks for times that go back.
func (j *judge) clock(c *connection, it item, before events.State) {
	r := it.rec
	if e, ok := r.Event.(*events.ClockJumped); r.Claim() || ok && e.By < 0 {
		j.backFor = 0
		return
	}
	if j.backFor > 0 {
		if j.backFor--; j.backFor == 0 {
			c.v.find(j.back)
		}
		return
	}
	if it.kind != events.KindHeartbeat && r.Time.Before(before.AsOf) {
		j.back = Finding{
			Kind: ClockBack, Connection: c.name, StreamSeq: it.streamSeq, Sequence: r.Sequence, EventID: r.ID, At: r.Time,
			Words: fmt.Sprintf("event %d (%s) is of %s, and the one before it of %s: the clock went back, and no clock_jumped says so", r.Sequence, r.ID, stamp(r.Time), stamp(before.AsOf)),
		}
		j.backFor = clockWithin
	}
}

// outcomes looks for commands that should have an outcome by now.
func (j *judge) outcomes(c *connection, it item, before events.State) {
	if it.kind == events.KindHeartbeat && len(j.state.Pending) == 0 {
		return
	}
	_, jumped := it.rec.Event.(*events.ClockJumped)
	switch {
	case len(j.state.Pending) == 0 || !settled(j.state):
		j.settledAt = time.Time{}
	case j.settledAt.IsZero() || !settled(before) || jumped || it.rec.Claim():
		j.settledAt = it.rec.Time
	}
	j.overdue = slices.DeleteFunc(j.overdue, func(id string) bool {
		return !slices.ContainsFunc(j.state.Pending, func(p events.PendingCommand) bool { return p.CommandID == id })
	})
	if j.settledAt.IsZero() || !j.sure {
		return
	}
	for _, p := range j.state.Pending {
		since, within := p.AcceptedAt, outcomeWithin
		if p.Verb.Control() {
			within = controlWithin
		}
		if since.Before(j.settledAt) {
			since = j.settledAt
		}
		if waited := it.rec.Time.Sub(since); waited > within && !slices.Contains(j.overdue, p.CommandID) {
			j.overdue = append(j.overdue, p.CommandID)
			c.find(it.seen(), NoOutcome, "no writer of ibconn leaves a command without an outcome: keep the log, and report it",
				"command %s (%s, accepted at %s, %s) has no outcome by event %d, %v after the connection was %s",
				p.CommandID, p.Verb, stamp(p.AcceptedAt), begun(p), it.rec.Sequence, waited.Round(time.Second), before.Phase)
		}
	}
}

func begun(p events.PendingCommand) string {
	if p.Acted {
		return "begun"
	}
	return "not begun"
}

// settled says whether a command that still waits will come to nothing by itself.
func settled(s events.State) bool {
	return s.Phase == events.PhaseReady && !s.Link.Unproven || s.Phase == events.PhaseTripped || s.Phase == events.PhaseStopped && !s.Wanted
}

// recorded tells of damage that a writer found.
func (j *judge) recorded(c *connection, it item, e *events.LogDamaged) {
	which := "nothing of that kind is found here"
	for _, f := range slices.Backward(j.recent) {
		last := cmp.Or(f.ToSequence, f.Sequence)
		touches := e.Finding == events.FindingStore && f.StreamSeq != 0 && f.Kind == Undecodable ||
			f.Sequence <= max(e.Found, e.Expected) && min(e.Found, e.Expected) <= last+1
		if touches {
			which = "it is found here too: " + f.Words
			break
		}
	}
	c.find(it.seen(), OnRecord, "", "event %d puts damage on record that its writer found (%s): %s; %s", it.rec.Sequence, e.Finding, e.Detail, which)
}

// end tells what is left open.
func (c *connection) end(mark events.Head, now time.Time) {
	c.drain(true)
	c.endsEarly(mark)
	if c.backFor > 0 {
		c.v.find(c.back)
	}
	doubt := ""
	if !c.whole {
		doubt = "; its outcome may be among what is missing"
	}
	for _, p := range c.state.Pending {
		if !slices.Contains(c.overdue, p.CommandID) {
			c.find(seen{}, Pending, "", "command %s (%s, %s) has had no outcome yet, %v after it was accepted%s", p.CommandID, p.Verb, begun(p), now.Sub(p.AcceptedAt).Round(time.Second), doubt)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.wanted)) {
		s := c.wanted[name]
		if s.live {
			continue
		}
		why := ""
		if sub, there := c.state.Subscribed(name); there && sub.Message != "" {
			why = fmt.Sprintf("; the gateway said %d: %s", sub.Code, sub.Message)
		}
		c.find(seen{sequence: s.sequence}, NeverLive, "", "subscription %s is wanted since %s, %s, and never had data%s", name, stamp(s.since), placed(s.placed), why)
	}
}

// endsEarly holds the end of the log against the high-water mark.
func (c *connection) endsEarly(mark events.Head) {
	at, known := c.known(mark.Sequence)
	switch {
	case mark.Sequence > c.head.Sequence:
		f := Finding{
			Kind: EndsEarly, Connection: c.name, Sequence: c.head.Sequence + 1, ToSequence: mark.Sequence, Advice: adviceMissing,
			Words: fmt.Sprintf("%s missing at the end: the log of %s ends at sequence %d, and event %d was stored", missing(c.head.Sequence+1, mark.Sequence), c.name, c.head.Sequence, mark.Sequence),
		}
		c.v.find(f)
	case known && at.hash != "" && at.hash != mark.Hash:
		c.find(at, Changed, adviceBytes, "%v is not the one that was stored, by the high-water mark: it was changed after that", at)
	}
}
