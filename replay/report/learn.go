package report

import (
	"fmt"
	"math"
	"slices"
	"time"

	"ibconn/connector"
	"ibconn/consumers/incidents"
	"ibconn/events"
)

// Outage is when something began to be wrong.
type Outage struct {
	At     time.Time
	Level  events.Level
	Window string // the configured window that it fell into, if any
}

// Cluster is a time of the day, or of the week, at which outages come again and again.
type Cluster struct {
	Weekly  bool         `json:"weekly"`
	Weekday time.Weekday `json:"weekday"`  // of a weekly one; 0 is Sunday
	From    string       `json:"from"`     // "23:50", the earliest of them
	To      string       `json:"to"`       // "23:58", the latest
	Zone    string       `json:"zone"`     // whose clock that is
	Outages int          `json:"outages"`  // in it
	Days    int          `json:"days"`     // or weeks: on how many of them there was one
	Of      int          `json:"of"`       // days or weeks that were watched
	Level   events.Level `json:"level"`    // that most of them hit
	Window  string       `json:"window"`   // the configured window that covers it; empty when none does
	Covered int          `json:"covered"`  // so many of the outages fell into a window
	Suggest string       `json:"suggest"`  // a window that would cover it, as --windows takes it; empty when one does
	Words   string       `json:"sentence"` // all of this for a person
}

const (
	dayLength  = 24 * time.Hour
	weekLength = 7 * dayLength
	// dailyWidth and weeklyWidth are how far apart the outages of a cluster may be.
	dailyWidth  = 20 * time.Minute
	weeklyWidth = time.Hour
	// leastDays is on how many days or weeks there must be one.
	leastDays = 3
	// leastChance is how probable it may be that chance made a cluster, of as many as
	// were looked for.
	leastChance = 0.01
	maxClusters = 10
)

// serverZones are where IB's clocks hang, by which its resets go.
var serverZones = []string{"America/New_York", "Europe/Zurich", "Asia/Hong_Kong"}

// Learn finds the times at which outages cluster in a span that was watched.
//
// A daily cluster is outages within 20 minutes of each other by the clock, a weekly one
// within an hour of each other by clock and weekday. It takes at least three days (or
// weeks) with one, which must be at least half of those that were watched. And if as many
// outages had fallen anywhere, the odds that any 20 minutes (or hour) had so many days
// with one must be below 1 in 100. Times are by the
// clock of the zone by which most fall into clusters: the first of the given ones, or
// one of those that IB's servers go by. What belongs to a daily cluster is in no
// weekly one.
func Learn(outages []Outage, from, to time.Time, zones ...*time.Location) []Cluster {
	for _, name := range serverZones {
		if zone, err := time.LoadLocation(name); err == nil {
			zones = append(zones, zone)
		}
	}
	var best []Cluster
	most, narrowest := 0, time.Duration(math.MaxInt64)
	for _, zone := range zones {
		found, width := clusters(outages, from, to, zone)
		sum := 0
		for _, c := range found {
			sum += c.Outages
		}
		if sum > most || sum == most && width < narrowest {
			best, most, narrowest = found, sum, width
		}
	}
	return best
}

func clusters(outages []Outage, from, to time.Time, zone *time.Location) ([]Cluster, time.Duration) {
	left := slices.Clone(outages)
	var found []Cluster
	var wide time.Duration
	for _, weekly := range []bool{false, true} {
		for len(found) < maxClusters {
			c, members, width := cluster(left, from, to, zone, weekly)
			if c.Outages == 0 {
				break
			}
			found, wide = append(found, c), wide+width
			for _, n := range slices.Backward(members) {
				left = slices.Delete(left, n, n+1)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b Cluster) int { return b.Outages - a.Outages })
	return found, wide
}

// reading is what a clock shows: how far into its day or week, and which of them.
type reading struct {
	into time.Duration
	n    int // which outage
	day  int64
}

func read(at time.Time, zone *time.Location, weekly bool) (into time.Duration, day int64) {
	at = at.In(zone)
	year, month, d := at.Date()
	day = time.Date(year, month, d, 0, 0, 0, 0, time.UTC).Unix() / int64(dayLength/time.Second)
	into = time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute + time.Duration(at.Second())*time.Second
	if weekly {
		weekday := (day + 4) % 7 // day 0 was a Thursday
		into += time.Duration(weekday) * dayLength
		day = (day - weekday) / 7
	}
	return into, day
}

// cluster finds the best cluster there is, and which outages belong to it.
func cluster(outages []Outage, from, to time.Time, zone *time.Location, weekly bool) (c Cluster, members []int, width time.Duration) {
	period, reach := dayLength, dailyWidth
	if weekly {
		period, reach = weekLength, weeklyWidth
	}
	all := make([]reading, 0, len(outages))
	for n, o := range outages {
		into, day := read(o.At, zone, weekly)
		all = append(all, reading{into, n, day})
	}
	slices.SortFunc(all, func(a, b reading) int { return int(a.into - b.into) })
	watched := to.Sub(from)
	chance := 1 - math.Exp(-float64(len(all))*float64(reach)/math.Max(float64(watched), float64(period)))
	var best []reading
	most := 0
	for first := range all {
		var in []reading
		days := make(map[int64]bool)
		for k := range all {
			r := all[(first+k)%len(all)]
			if (r.into-all[first].into+period)%period > reach {
				break
			}
			if r.into < all[first].into { // the day after
				r.into, r.day = r.into+period, r.day-1
			}
			in = append(in, r)
			days[r.day] = true
		}
		if len(days) > most {
			best, most = in, len(days)
		}
	}
	if most < leastDays {
		return Cluster{}, nil, 0
	}
	begin, end := best[0].into, best[len(best)-1].into
	of := times(from, to, zone, weekly, begin, end)
	if of = max(of, most); 2*most < of || float64(len(all))*atLeast(most, of, chance) > leastChance {
		return Cluster{}, nil, 0
	}
	c = Cluster{Weekly: weekly, Zone: zone.String(), Outages: len(best), Days: most, Of: of, From: clockText(begin), To: clockText(end)}
	if weekly {
		c.Weekday = time.Weekday(begin / dayLength)
	}
	hit, windows := make(map[events.Level]int), make(map[string]int)
	for _, r := range best {
		o := outages[r.n]
		members = append(members, r.n)
		hit[o.Level]++
		if o.Window != "" {
			windows[o.Window]++
			c.Covered++
		}
	}
	slices.Sort(members)
	c.Level = foremost(hit)
	if 10*c.Covered >= 9*c.Outages {
		c.Window = foremost(windows)
	} else {
		c.Suggest = suggest(c, begin, end)
	}
	c.Words = c.sentence()
	return c, members, end - begin
}

// atLeast is the probability that of n days at least k have an outage, where each has
// one with probability p.
func atLeast(k, n int, p float64) float64 {
	sum := 0.0
	for ; k <= n; k++ {
		a, _ := math.Lgamma(float64(n + 1))
		b, _ := math.Lgamma(float64(k + 1))
		c, _ := math.Lgamma(float64(n - k + 1))
		sum += math.Exp(a - b - c + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
	}
	return sum
}

// foremost returns what was counted most.
func foremost[K ~string](counts map[K]int) K {
	var best K
	for k, n := range counts {
		if n > counts[best] || n == counts[best] && k < best {
			best = k
		}
	}
	return best
}

// times returns how often the clock showed a time in a span.
func times(from, to time.Time, zone *time.Location, weekly bool, begin, end time.Duration) int {
	_, first := read(from, zone, weekly)
	_, last := read(to, zone, weekly)
	n := int(last - first + 1)
	if into, _ := read(from, zone, weekly); into > end {
		n--
	}
	if into, _ := read(to, zone, weekly); into < begin {
		n--
	}
	return n
}

func clockText(d time.Duration) string { return time.Time{}.Add(d).Format("15:04") }

// suggest words a window around a cluster, of whole five minutes, and with time to
// come back.
func suggest(c Cluster, begin, end time.Duration) string {
	const step = 5 * time.Minute
	kind := connector.WindowReset
	if c.Level == events.LevelSession {
		kind = connector.WindowRestart
	}
	begin = (begin - time.Minute + weekLength).Truncate(step) % weekLength
	end = (end + 2*step + weekLength).Truncate(step) % weekLength
	days := "daily"
	if c.Weekly {
		days = time.Weekday(begin / dayLength).String()[:3]
	}
	text := fmt.Sprintf("%s %s %s-%s %s", kind, days, clockText(begin), clockText(end), c.Zone)
	if _, err := connector.ParseWindow(text); err != nil {
		return ""
	}
	return text
}

func (c Cluster) sentence() string {
	when, unit := "", "nights"
	if c.Weekly {
		when, unit = c.Weekday.String()+"s ", "weeks"
	} else if c.From >= "06:00" && c.From < "18:00" {
		unit = "days"
	}
	at := c.From + "-" + c.To
	if c.From == c.To {
		at = c.From
	}
	s := fmt.Sprintf("outages cluster at %s%s %s on %d of %d %s", when, at, c.Zone, c.Days, c.Of, unit)
	switch {
	case c.Window != "":
		return s + "; the window '" + c.Window + "' covers it"
	case c.Covered > 0:
		s += fmt.Sprintf("; only %d of %d fell into a configured window", c.Covered, c.Outages)
	default:
		s += "; no configured window covers it"
	}
	if c.Suggest != "" {
		s += fmt.Sprintf("; --windows '%s' would", c.Suggest)
	}
	return s
}

// outagesOf returns when incidents began that a maintenance of IB's or of the gateway's
// may be behind.
func outagesOf(all []incidents.Incident) []Outage {
	var outages []Outage
	for _, i := range all {
		switch i.Root.Level {
		case events.LevelSession, events.LevelLink, events.LevelFarm:
		case events.LevelSubscription:
			continue
		}
		if i.Attribution == events.AttributionOurs {
			continue
		}
		outages = append(outages, Outage{At: i.OpenedAt.Add(-i.DetectedAfter.Duration()), Level: i.Root.Level, Window: i.Window})
	}
	return outages
}
