package incidents

import (
	"maps"
	"slices"
	"time"

	"ibconn/events"
)

// Fold finds the incidents of one connection. The zero Fold is ready to use.
type Fold struct {
	// Settle is for how long a connection must be healthy for an incident to be
	// over; trouble that comes sooner belongs to it. 0 is [DefaultSettle], below 0
	// is no time at all.
	Settle time.Duration

	watching bool        // it was healthy, and was not stopped since
	number   int         // of the last incident
	active   []*incident // not over for long enough, the widest last
	past     []*incident // all that are remembered, oldest first

	announced trouble // the last trouble that was announced
	starting  trouble // why a start comes to nothing, while it does

	live     map[string]struct{}  // subscriptions that deliver
	awaiting map[string]*incident // those that did, and in which incident they stopped
	stopped  map[string]*incident // in which one each stopped last
	gaps     map[string][]piece   // by subscription: what is missing

	sequence uint64
	part     int
	touched  []*incident // by the present event
}

// incident is an Incident with what is needed to go on with it.
type incident struct {
	Incident
	breadth  breadth
	silent   bool // it began with silence that is not explained yet
	lost     bool // a session was lost in it
	nextTold int  // so many attempts are worth telling
	affected map[string]struct{}
	awaited  int // subscriptions that have not come back
	missing  int // gaps that are neither filled nor given up

	lastBack time.Time // when the last of those that did came back

	touched, opened, worth bool // by the present event
	final                  bool // the connection was stopped, so that nothing comes back to it
	over                   bool // it is over, and that was told
}

// Incidents returns the last 1000 incidents so far, oldest first. One that ended
// a moment ago may still go on.
func (f *Fold) Incidents() []Incident {
	all := make([]Incident, 0, len(f.past))
	for _, i := range f.past {
		all = append(all, i.snapshot())
	}
	return all
}

// Add takes the next event and returns what changed, which is mostly nothing.
//
// Told are: that an incident opened; that it became worse, that its root cause,
// attribution or window is now known to be another, that something new went
// wrong in it, and the 5th, 10th, 20th, 40th ... attempt; that it is closed; and
// after that, that all data is back, and that no gap is open any more.
func (f *Fold) Add(r events.Recorded) []Change {
	changes := f.settled(r.Time)
	if kind := r.Event.Type().Kind(); kind != events.KindState && kind != events.KindSubscription {
		return changes
	}
	if r.Sequence != f.sequence {
		f.sequence, f.part = r.Sequence, 0
	}
	if e, ok := r.Event.(events.StateEvent); ok {
		f.stand(r, e.After())
	}
	f.deliver(r)
	f.miss(r)
	for _, i := range f.touched {
		i.touched = false
		changes = f.told(changes, i)
	}
	f.touched = f.touched[:0]
	return changes
}

func (f *Fold) settle() time.Duration {
	switch {
	case f.Settle == 0:
		return DefaultSettle
	case f.Settle < 0:
		return 0
	}
	return f.Settle
}

// settled closes what has been over for long enough at a time.
func (f *Fold) settled(now time.Time) []Change {
	var changes []Change
	for n := 0; n < len(f.active); {
		if i := f.active[n]; i.Open() || now.Sub(i.ClosedAt) < f.settle() {
			n++
			continue
		}
		changes = append(changes, f.close(n))
	}
	return changes
}

func (f *Fold) close(n int) Change {
	i := f.active[n]
	f.active = slices.Delete(f.active, n, n+1)
	i.over, i.worth = true, false
	i.Subscriptions = i.affectedNow()
	i.affected = nil
	return f.change(Closed, i)
}

func (f *Fold) change(k Kind, i *incident) Change {
	f.part++
	return Change{Kind: k, Incident: i.snapshot(), Sequence: f.sequence, Part: f.part}
}

// told returns what is to be told of an incident that an event touched.
func (f *Fold) told(changes []Change, i *incident) []Change {
	opened, worth := i.opened, i.worth
	i.opened, i.worth = false, false
	switch {
	case opened:
		return append(changes, f.change(Opened, i))
	case !i.over && i.final:
		return append(changes, f.close(slices.Index(f.active, i)))
	case worth && (i.over || i.Open()):
		return append(changes, f.change(Updated, i))
	}
	return changes
}

func (f *Fold) touch(i *incident) {
	if !i.touched {
		i.touched = true
		f.touched = append(f.touched, i)
	}
}

// stand takes where the connection stands after r.
func (f *Fold) stand(r events.Recorded, s *events.Standing) {
	healthy, stopped := s.Condition == events.ConditionHealthy, s.Condition == events.ConditionStopped
	for _, t := range troubles(r) {
		if t.announces {
			f.announced = t
			continue
		}
		if t.What == AttemptFailed && !f.watching {
			f.starting = f.starting.then(t)
		}
		if i := f.home(r, t, healthy || stopped); i != nil {
			i.suffer(t)
		}
	}
	if top := f.top(); top != nil {
		f.touch(top)
		top.follow(r, s.Condition)
	}
	f.end(r.Time, s)
	if healthy || stopped {
		f.watching, f.starting = healthy, trouble{}
	}
}

// top returns the widest incident that is open, or nil.
func (f *Fold) top() *incident {
	for _, i := range slices.Backward(f.active) {
		if i.Open() {
			return i
		}
	}
	return nil
}

// home returns the incident that t belongs to, which may be a new one, or nil
// when it belongs to none.
func (f *Fold) home(r events.Recorded, t trouble, well bool) *incident {
	top := f.top()
	if top != nil && t.breadth() <= top.reach() {
		return top
	}
	if t.asked || well {
		return nil
	}
	if !f.watching {
		return f.openStart(r, t)
	}
	for _, i := range f.active {
		if !i.Open() && t.breadth() <= i.reach() && i.mayComeBackAs(t) {
			i.reopen()
			return i
		}
	}
	wider := f.from(t.breadth())
	if wider > 0 && f.active[wider-1].mayComeFrom(t, f.settle()) {
		i := f.active[wider-1]
		i.reopen()
		i.turnsOut(t)
		return i
	}
	i := f.open(r, t)
	f.active = slices.Insert(f.active, f.from(i.breadth+1), i)
	return i
}

// from returns where in active those begin that are as wide as b.
func (f *Fold) from(b breadth) int {
	n := slices.IndexFunc(f.active, func(i *incident) bool { return i.breadth >= b })
	if n < 0 {
		return len(f.active)
	}
	return n
}

// reach is how wide a trouble may be to count as a consequence. What begins with
// the link may end the session too.
func (i *incident) reach() breadth {
	if i.breadth >= ofLink {
		return ofSession
	}
	return i.breadth
}

func (f *Fold) open(r events.Recorded, t trouble) *incident {
	f.number++
	i := &incident{
		Incident: Incident{
			ID: idOf(r), Number: f.number, Connection: r.Connection,
			State: StateOpen, OpenedAt: r.Time, AsOf: r.Time, Worst: events.ConditionDegraded,
			Attribution: t.attribution, Window: t.window, DetectedAfter: t.detected,
		},
		nextTold: firstAttempts, opened: true, affected: make(map[string]struct{}),
	}
	i.root(t)
	if a := f.announced; a.announces && t.What == SessionLost && t.FirstAt.Sub(a.FirstAt) <= f.settle() {
		i.root(a)
		i.Root.Count = 1
		i.Attribution = a.attribution
	}
	f.announced = trouble{}
	f.past = append(f.past, i)
	if len(f.past) > maxPast {
		f.past = slices.Delete(f.past, 0, len(f.past)-maxPast)
	}
	return i
}

// startTakes is how long attempts may fail before a start has come to nothing.
const startTakes = 5 * time.Minute

// openStart returns the incident of a start that came to nothing: its attempts fail
// for too long, the breaker opened, or a person has to look. Nil before that.
func (f *Fold) openStart(r events.Recorded, t trouble) *incident {
	failed := f.starting
	tooLong := t.What == AttemptFailed && r.Time.Sub(failed.FirstAt) >= startTakes
	if t.What != BreakerOpen && t.What != LoginNeeded && !tooLong {
		return nil
	}
	i := f.open(r, t)
	if failed.What != "" {
		i.root(failed)
		i.Root.Count = failed.Count
		if tooLong {
			i.Root.Count-- // t is counted as any other
		}
		i.Attribution, i.lost = failed.attribution, true
		i.DetectedAfter = events.Between(failed.FirstAt, r.Time)
	}
	f.active = slices.Insert(f.active, f.from(i.breadth+1), i)
	return i
}

// then is next behind t, one of its kind if there is one, whose beginning it has.
func (t trouble) then(next trouble) trouble {
	if t.What != "" {
		next.Count += t.Count
		next.FirstAt = t.FirstAt
	}
	return next
}

// root makes t what i comes from; its count is left to suffer.
func (i *incident) root(t trouble) {
	i.Root, i.breadth = t.Step, t.breadth()
	i.Root.Count = 0
	i.Root.Names = slices.Clone(t.Names)
	i.silent = t.What == SessionStale
}

// turnsOut says that what was taken for the root cause came from t.
func (i *incident) turnsOut(t trouble) {
	i.Chain = slices.Insert(i.Chain, 0, i.Root)
	i.Chain = i.Chain[:min(len(i.Chain), maxSteps)]
	i.Attribution, i.Window = t.attribution, t.window
	i.root(t)
	i.worth = true
}

// mayComeBackAs says whether t may be what i was, though that seemed over. What
// was our own doing is: a process that was killed and replaced does not make the
// gateway close the next session.
func (i *incident) mayComeBackAs(t trouble) bool {
	return i.Attribution != events.AttributionOurs || t.attribution == events.AttributionOurs || t.attribution == ""
}

// mayComeFrom says whether what was taken for i's root cause may come from t,
// which is wider: it came not long before, and is not known to be our own doing.
func (i *incident) mayComeFrom(t trouble, settle time.Duration) bool {
	switch i.Root.What {
	case FarmDown, SubscriptionDark, SubscriptionFailed:
	default:
		return false
	}
	if t.silent() {
		settle = max(settle, silenceHides)
	}
	return i.Attribution != events.AttributionOurs && t.FirstAt.Sub(i.Root.LastAt) <= settle
}

func (i *incident) reopen() {
	if !i.Open() {
		i.ClosedAt, i.State = time.Time{}, StateOpen
		i.Returns++
	}
}

// suffer takes what went wrong in i.
func (i *incident) suffer(t trouble) {
	if i.silent && t.What == SessionLost {
		i.turnsOut(t)
	}
	i.lost = i.lost || t.What == SessionLost
	if t.What == SessionLost {
		i.ReadyAt, i.ReadyAfter = time.Time{}, 0
	}
	if t.What == LoginNeeded || i.Attribution == "" {
		i.worth = i.worth || i.Attribution != t.attribution
		i.Attribution = t.attribution
	}
	if t.Level == events.LevelSubscription {
		for _, name := range t.Names {
			i.affected[name] = struct{}{}
		}
	}
	if i.Root.same(t.Step) {
		i.silent = t.What == SessionStale
		i.Root.again(t.Step)
		return
	}
	if n := slices.IndexFunc(i.Chain, t.same); n >= 0 {
		i.Chain[n].again(t.Step)
		return
	}
	if len(i.Chain) < maxSteps {
		i.Chain = append(i.Chain, t.Step)
		i.worth = true
	}
}

// follow takes what else there is to an event in i.
func (i *incident) follow(r events.Recorded, condition events.Condition) {
	i.AsOf = r.Time
	if i.reach() < ofSession {
		return // what happens to the session was asked for
	}
	if condition == events.ConditionDown && i.Worst != condition {
		i.Worst, i.worth = condition, true
	}
	switch r.Event.(type) {
	case *events.DialStarted:
		i.Attempts++
		if i.Attempts == i.nextTold {
			i.nextTold, i.worth = 2*i.nextTold, true
		}
	case *events.SessionOpened:
		if i.lost {
			i.ReadyAt, i.ReadyAfter = r.Time, events.Between(i.OpenedAt, r.Time)
		}
	case *events.SessionFresh:
		i.silent = false
	default:
	}
}

// end ends what the standing says is over: everything when all is well, and a
// wider incident once nothing as wide is wrong any more.
func (f *Fold) end(at time.Time, s *events.Standing) {
	stopped := s.Condition == events.ConditionStopped
	well := stopped || s.Condition == events.ConditionHealthy
	var below *incident // the next narrower one that goes on
	for _, i := range f.active {
		if i.Open() && (well || below != nil && widest(s) <= below.breadth) {
			i.ClosedAt, i.State, i.AsOf, i.Stopped = at, StateClosed, at, stopped
		}
		if i.Open() {
			below = i
		}
		if i.final = stopped; stopped {
			f.touch(i)
		}
	}
}

// snapshot returns i as it is, sharing nothing that changes.
func (i *incident) snapshot() Incident {
	s := i.Incident
	s.Root.Names = slices.Clone(s.Root.Names)
	s.Chain = make([]Step, 0, len(i.Chain))
	for _, step := range i.Chain {
		step.Names = slices.Clone(step.Names)
		s.Chain = append(s.Chain, step)
	}
	s.Subscriptions = i.affectedNow()
	return s
}

func (i *incident) affectedNow() Affected {
	if i.affected == nil {
		return i.Subscriptions
	}
	if len(i.affected) == 0 {
		return Affected{}
	}
	names := slices.Sorted(maps.Keys(i.affected))
	return Affected{Count: len(names), Names: slices.Clone(names[:min(len(names), maxNames)])}
}
