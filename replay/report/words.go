package report

import (
	"fmt"
	"strings"
	"time"

	"ibconn/consumers/incidents"
	"ibconn/events"
	"ibconn/replay/story"
)

// Summary says in a few sentences what the report comes to. Of a report that tells one
// incident only it is that one's.
func (r Report) Summary() []string {
	session := r.Levels[0]
	sentences := []string{fmt.Sprintf("From %s to %s, %s had a session that answered for %s of the time in which it was wanted.",
		r.day(r.From), r.day(r.To), r.Connection, Percent(session))}
	if session.Known == 0 {
		sentences[0] = fmt.Sprintf("From %s to %s, %s was not wanted, or had only begun.", r.day(r.From), r.day(r.To), r.Connection)
	}
	switch n := len(r.Incidents); n {
	case 0:
		return append(sentences, "There was no incident.")
	case 1:
		sentences = append(sentences, "There was one incident.")
	default:
		longest := r.Incidents[0]
		down := 0
		for _, i := range r.Incidents {
			if i.Duration() > longest.Duration() {
				longest = i
			}
			if i.Worst == events.ConditionDown {
				down++
			}
		}
		sentences = append(sentences, fmt.Sprintf("There were %d incidents, %d of which left it without a session. The longest, of %s, lasted %v: %s.",
			n, down, r.day(longest.OpenedAt), events.MillisOf(longest.Duration()), story.Root(longest)))
		if c := r.Causes[0]; c.Count > 1 {
			sentences = append(sentences, fmt.Sprintf("The most frequent cause was %s (%d times).", c.Name, c.Count))
		}
	}
	for _, c := range r.Windows.Learned {
		sentences = append(sentences, sentence(c.Words))
	}
	return sentences
}

func (r Report) day(at time.Time) string { return at.In(r.location()).Format("2006-01-02 15:04:05") }

func (r Report) location() *time.Location {
	if r.zone == nil {
		return time.UTC
	}
	return r.zone
}

// Percent words an availability: "99.953 %".
func Percent(l Level) string {
	if l.Known == 0 {
		return "not known"
	}
	if l.Down == 0 {
		return "100 %"
	}
	return fmt.Sprintf("%.3f %%", 100*l.Availability)
}

// levelNames name levels in tables.
func levelName(l events.Level) string {
	switch l {
	case events.LevelSession:
		return "Session with the gateway"
	case events.LevelLink:
		return "Gateway's link to IB"
	case events.LevelFarm:
		return "IB's data farms"
	case events.LevelSubscription:
		return "Subscriptions"
	}
	return string(l)
}

func mean(m events.Millis) string {
	if m == 0 {
		return "-"
	}
	return m.String()
}

// rows are the cells of the tables that each form of a report has.
func (r Report) levelRows() [][]string {
	rows := [][]string{{"level", "available", "known for", "down", "failures", "between (MTBF)", "repair (MTTR)", "longest"}}
	for _, l := range r.Levels {
		rows = append(rows, []string{levelName(l.Level), Percent(l), mean(l.Known), mean(l.Down), fmt.Sprint(l.Failures), mean(l.Between), mean(l.Repair), mean(l.Longest)})
	}
	return rows
}

func countRows(head string, counts []Count) [][]string {
	rows := [][]string{{head, "incidents", "lasted together"}}
	for _, c := range counts {
		rows = append(rows, []string{c.Name, fmt.Sprint(c.Count), mean(c.Lasted)})
	}
	return rows
}

func (r Report) detectionRows() [][]string {
	rows := [][]string{{"noticed", "incidents"}}
	for _, c := range r.Detection {
		rows = append(rows, []string{c.Name, fmt.Sprint(c.Count)})
	}
	return rows
}

func (r Report) windowRows() [][]string {
	rows := [][]string{{"configured window", "incidents in it"}}
	for _, w := range r.Windows.Configured {
		rows = append(rows, []string{w.Window, fmt.Sprint(w.Incidents)})
	}
	return rows
}

func (r Report) incidentRows() [][]string {
	rows := [][]string{{"#", "when", "lasted", "hit", "root cause", "fault", "found by", "ready", "data", "gaps filled"}}
	for _, i := range r.Incidents {
		rows = append(rows, r.incidentRow(i))
	}
	return rows
}

func (r Report) incidentRow(i incidents.Incident) []string {
	root := story.Root(i)
	if i.Window != "" {
		root += ", inside the window '" + story.Plain(i.Window) + "'"
	}
	since := func(known bool, m events.Millis) string {
		if !known {
			return "-"
		}
		return story.Short(m)
	}
	return []string{
		fmt.Sprint(i.Number), r.day(i.OpenedAt), story.Lasted(i), story.Hit(i), root, story.FaultName(i), story.FoundAfter(i),
		since(!i.ReadyAt.IsZero(), i.ReadyAfter), since(!i.DataAt.IsZero(), i.DataAfter), story.GapsFilled(i),
	}
}

// weekdays are the rows of a heat map, in the order of a week at work.
var weekdays = []time.Weekday{time.Monday, time.Tuesday, time.Wednesday, time.Thursday, time.Friday, time.Saturday, time.Sunday}

func sentence(words string) string { return strings.ToUpper(words[:1]) + words[1:] + "." }
