package story

import (
	"fmt"
	"slices"
	"time"

	"ibconn/events"
)

const (
	// near is how many lines back one may be that says the same.
	near = 8
	// apart is how long after a line one may come that is counted to it.
	apart = 15 * time.Minute
	// longStory is from how many lines on also what moved a level is folded.
	longStory = 60
	// maxHead and maxTail are how many lines are kept of the beginning and of the end.
	maxHead = 120
	maxTail = 80
	// maxBefore is how many lines are kept for a story that may begin.
	maxBefore = 40
)

// spread is of round trips.
type spread struct {
	count       int
	least, most events.Millis
}

func (s *spread) add(o spread) {
	if o.count == 0 {
		return
	}
	if s.count == 0 {
		*s = o
		return
	}
	s.count += o.count
	s.least, s.most = min(s.least, o.least), max(s.most, o.most)
}

// line makes a line of an event.
func (t *Teller) line(r events.Recorded, after events.Condition) Line {
	l := Line{
		At: r.Time, Until: r.Time, Count: 1, Severity: events.SeverityOf(r), After: after,
		Type: r.Event.Type(), Sequence: r.Sequence, Words: events.Sentence(r), Waits: t.waits(r), routine: events.Routine(r),
	}
	l.alike, l.major = alike(r)
	switch e := r.Event.(type) {
	case *events.HeartbeatAnswered:
		l.rtt = spread{1, e.RTT, e.RTT}
	case *events.LinkAnswered:
		l.rtt = spread{1, e.RTT, e.RTT}
	case *events.GatewayRepeated:
		l.Count = e.Count
	default:
	}
	return l
}

// alike says which events a line of r may stand for too, "" for none, and whether r
// moved a level, so that it is only folded in a long story.
func alike(r events.Recorded) (key string, major bool) {
	name := string(r.Event.Type())
	switch e := r.Event.(type) {
	case *events.CommandAccepted, *events.CommandRejected, *events.CommandBegun, *events.CommandCompleted, *events.CommandFailed,
		*events.EpochBegan, *events.ClockJumped, *events.LogDamaged:
		return "", true
	case *events.DialStarted:
		return fmt.Sprint(name, e.Endpoint, e.ClientID), false
	case *events.DialFailed:
		return fmt.Sprint(name, e.Stage, e.Cause, e.Code), false
	case *events.GatewayReported:
		return fmt.Sprint("reported", e.Code, e.Message), false
	case *events.GatewayRepeated:
		return fmt.Sprint("reported", e.Code, e.Message), false
	case *events.LinkMissed:
		return fmt.Sprint(name, e.Code), false
	case *events.FarmChanged:
		return fmt.Sprint(name, e.Farm, e.To), false
	case *events.SubscriptionPlacement:
		return fmt.Sprint(name, e.Because), false
	case *events.SubscriptionRefused:
		return fmt.Sprint(name, e.Code), false
	case *events.SessionLost:
		return fmt.Sprint(name, e.Cause, e.Code), true
	case *events.LinkWentDown:
		return fmt.Sprint(name, e.Code), true
	case *events.LinkCameBack:
		return fmt.Sprint(name, e.Code), true
	case *events.SessionOpened, *events.LinkProven, *events.LinkFellSilent, *events.BreakerOpened, *events.BreakerClosed, *events.Stopped,
		*events.LoginNeeded, *events.PortChanged, *events.CompetingBegan, *events.CompetingEnded, *events.ConnectRequested, *events.SessionStale,
		*events.SessionFresh:
		return name, true
	default:
		return name, false
	}
}

// Listing lists events in the order of their beginning, those that say the same on one
// line; routine ones are left out. It keeps the newest. Make one with [NewListing].
type Listing struct {
	page   page
	teller Teller
}

// NewListing returns an empty listing of so many lines at most.
func NewListing(most int, zone *time.Location) *Listing {
	return &Listing{page: newPage(0, most), teller: Teller{Zone: zone}}
}

// Add takes the next event, and the condition after it.
func (l *Listing) Add(r events.Recorded, after events.Condition) {
	if !events.Routine(r) {
		l.page.add(l.teller.line(r, after))
	}
}

// Lines returns the lines, with offsets from a time, and how many events before them
// were left out.
func (l *Listing) Lines(from time.Time) (lines []Line, omitted int) {
	lines = l.page.lines(from)
	if l.page.omitted.Omitted > 0 {
		lines = lines[1:]
	}
	return lines, l.page.omitted.Omitted
}

// page is lines in the order of their beginning, the middle left out where there are
// too many.
type page struct {
	head, tail       []Line
	maxHead, maxTail int
	cut              int // lines of tail, or else of head, before this take no more events
	omitted          Line
}

func newPage(head, tail int) page { return page{maxHead: head, maxTail: tail} }

func (p *page) current() *[]Line {
	if len(p.head) < p.maxHead || len(p.tail) == 0 && p.maxTail == 0 {
		return &p.head
	}
	return &p.tail
}

// seal has what was said so far take no more events: something ended, and what comes
// is told apart. In a long story nothing is.
func (p *page) seal() {
	if len(p.head)+len(p.tail) <= longStory {
		p.cut = len(*p.current())
	}
}

func (p *page) add(l Line) {
	for _, lines := range []*[]Line{&p.tail, &p.head} {
		if p.fold(*lines, l) {
			return
		}
		if len(*lines) > 0 {
			break
		}
	}
	if len(p.head) < p.maxHead {
		p.head = append(p.head, l)
		return
	}
	if len(p.tail) == 0 {
		p.cut = 0
	}
	if p.tail = append(p.tail, l); len(p.tail) > p.maxTail {
		p.omit(p.tail[0])
		p.tail = slices.Delete(p.tail, 0, 1)
		p.cut = max(p.cut-1, 0)
	}
}

func (p *page) omit(l Line) {
	if p.omitted.Omitted == 0 {
		p.omitted = Line{At: l.At, Severity: events.SeverityInfo}
	}
	p.omitted.Omitted += l.Count
	p.omitted.Until = l.Until
}

// fold counts l to a line that is not far back and says the same.
func (p *page) fold(lines []Line, l Line) bool {
	if l.alike == "" || l.major && len(p.head)+len(p.tail) <= longStory {
		return false
	}
	for n := len(lines) - 1; n >= max(0, p.cut, len(lines)-near); n-- {
		if lines[n].alike != l.alike || l.At.Sub(lines[n].Until) > apart {
			continue
		}
		to := &lines[n]
		to.Count += l.Count
		to.Until, to.After, to.Waits = l.Until, l.After, l.Waits
		to.rtt.add(l.rtt)
		if rank(l.Severity) > rank(to.Severity) {
			to.Severity = l.Severity
		}
		return true
	}
	return false
}

func rank(s events.Severity) int {
	switch s {
	case events.SeverityError:
		return 2
	case events.SeverityWarning:
		return 1
	case events.SeverityInfo:
	}
	return 0
}

// lines returns all of the page, with offsets from a time.
func (p *page) lines(from time.Time) []Line {
	all := slices.Clone(p.head)
	if p.omitted.Omitted > 0 {
		o := p.omitted
		o.Count = o.Omitted
		o.Words = fmt.Sprintf("%d more events, which are not told here", o.Omitted)
		all = append(all, o)
	}
	all = append(all, p.tail...)
	for i := range all {
		all[i].finish(from)
	}
	return all
}

// finish words a line that takes no more events.
func (l *Line) finish(from time.Time) {
	l.Offset = events.MillisOf(l.At.Sub(from))
	l.Last = events.MillisOf(l.Until.Sub(from))
	switch {
	case l.Omitted > 0:
	case l.Count == 1:
		l.Until, l.Last = time.Time{}, 0
	case l.rtt.count > 0:
		what := "heartbeats"
		if l.Type == new(events.LinkAnswered).Type() {
			what = "probes of the link"
		}
		l.Words = fmt.Sprintf("%d %s answered, in %v to %v", l.Count, what, l.rtt.least, l.rtt.most)
	}
}
