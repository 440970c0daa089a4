package report

import (
	_ "embed" // for the template
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"ibconn/consumers/incidents"
	"ibconn/events"
	"ibconn/replay/story"
)

//go:embed report.html
var page string

var pages = template.Must(template.New("report").Funcs(template.FuncMap{
	"offset":   story.Offset,
	"short":    story.Short,
	"repeated": story.Repeated,
	"sentence": sentence,
	"severity": func(s events.Severity) string {
		switch s {
		case events.SeverityError:
			return "error"
		case events.SeverityWarning:
			return "warning"
		case events.SeverityInfo:
		}
		return "info"
	},
}).Parse(page))

// view is what the template is given.
type view struct {
	Report
	Single bool // it tells one incident
}

// HTML writes the report as one file.
func (r Report) HTML(w io.Writer) error {
	if err := pages.Execute(w, view{r, r.single()}); err != nil {
		return fmt.Errorf("report: write HTML: %w", err)
	}
	return nil
}

// Heading is the summary that comes first.
func (v view) Heading() []string {
	sentences := v.Summary()
	if v.Single {
		sentences = v.Stories[0].Summary
	}
	for n, s := range sentences {
		sentences[n] = strings.ReplaceAll(s, " %", "\u00a0%")
	}
	return sentences
}

// Day words a time with its date.
func (v view) Day(at time.Time) string { return v.day(at) }

// Clock words a time of a day, to the tenth of a second.
func (v view) Clock(at time.Time) string { return at.In(v.location()).Format("15:04:05.0") }

// Moment words a time as a machine reads it.
func (v view) Moment(at time.Time) string { return at.In(v.location()).Format(time.RFC3339Nano) }

// Changed words a difference.
func (v view) Changed(d story.Difference) string { return d.Words(v.location()) }

// card is a figure that stands out.
type card struct{ Name, Value, Note string }

// Cards are the figures at the top.
func (v view) Cards() []card {
	session := v.Levels[0]
	cards := []card{
		{"Session available", Percent(session), "of " + mean(session.Known)},
		{"Incidents", fmt.Sprint(len(v.Incidents)), plural(session.Failures, "outage") + " of the session"},
		{"Without a session", mean(session.Down), "longest " + mean(session.Longest)},
		{"Heartbeats", fmt.Sprint(v.Heartbeats.Answered), fmt.Sprintf("answered; %d missed", v.Heartbeats.Missed)},
	}
	if v.Single {
		i := v.Stories[0].Incident
		cards = []card{
			{"Lasted", story.Lasted(i), v.Day(i.OpenedAt)},
			{"Found by", story.Found(i), foundNote(i.DetectedAfter)},
			{"Ready after", since(!i.ReadyAt.IsZero(), i.ReadyAfter), plural(i.Attempts, "attempt")},
			{"Data after", since(!i.DataAt.IsZero(), i.DataAfter), stoppedNote(i)},
		}
	}
	return cards
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func stoppedNote(i incidents.Incident) string {
	s := "no subscription stopped"
	if n := i.Subscriptions.Count; n > 0 {
		s = fmt.Sprintf("%d stopped", n)
	}
	if i.Gaps.Detected > 0 {
		s += "; gaps filled: " + story.GapsFilled(i)
	}
	return s
}

func foundNote(m events.Millis) string {
	if m == 0 {
		return "at once"
	}
	return "after " + m.String()
}

func since(known bool, m events.Millis) string {
	if !known {
		return "–"
	}
	return story.Short(m)
}

// run is a stretch of a lane that is drawn as one.
type run struct {
	X, Width string // in bins
	Class    string
}

// lane is a level over the span.
type lane struct {
	Name, Description string
	Bins              int
	Runs              []run
}

// laneClasses are the classes of the digits of [Lanes].
var laneClasses = [...]string{"unknown", "fine", "impaired", "gone"}

// LaneRows are the levels over the span.
func (v view) LaneRows() []lane {
	var lanes []lane
	for n, text := range []string{v.Lanes.Session, v.Lanes.Link, v.Lanes.Farm, v.Lanes.Subscription} {
		l := lane{Name: []string{"Session", "Link to IB", "Farms", "Subscriptions"}[n], Bins: max(len(text), 1)}
		for begin := 0; begin < len(text); {
			end := begin
			for end < len(text) && text[end] == text[begin] {
				end++
			}
			if text[begin] != '0' {
				l.Runs = append(l.Runs, run{fmt.Sprint(begin), fmt.Sprint(end - begin), laneClasses[min(int(text[begin]-'0'), len(laneClasses)-1)]})
			}
			begin = end
		}
		level := v.Levels[n]
		l.Description = fmt.Sprintf("%s: available %s, %d failures, longest %s", levelName(level.Level), Percent(level), level.Failures, mean(level.Longest))
		lanes = append(lanes, l)
	}
	return lanes
}

// tick is a time on an axis.
type tick struct {
	Left  string // per cent
	Label string
	Minor bool // left out where there is little room
}

// Ticks are round times of the plots.
func (v view) Ticks() []tick {
	begin, length := v.Lanes.From, time.Duration(len(v.Lanes.Session))*v.Lanes.Width.Duration()
	if length <= 0 {
		return nil
	}
	step := 7 * dayLength
	for _, s := range []time.Duration{
		time.Second, 5 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 4 * time.Hour, 6 * time.Hour, 12 * time.Hour, dayLength,
	} {
		if length/s <= 8 {
			step = s
			break
		}
	}
	for length/step > 10 {
		step *= 2
	}
	layout := "15:04"
	switch {
	case step >= dayLength:
		layout = "Jan 2"
	case step < time.Minute:
		layout = "15:04:05"
	case length > dayLength:
		layout = "Jan 2 15:04"
	}
	var ticks []tick
	// The clock's own round times, whatever its offset.
	_, seconds := begin.In(v.location()).Zone()
	wall := begin.Add(time.Duration(seconds) * time.Second)
	at := begin.Add(wall.Truncate(step).Add(step).Sub(wall))
	if step >= dayLength {
		at = midnight(begin.In(v.location()).Add(dayLength))
	}
	for n := 0; at.Sub(begin) < length; n++ {
		left := 100 * float64(at.Sub(begin)) / float64(length)
		if left < 94 {
			ticks = append(ticks, tick{fmt.Sprintf("%.2f", left), at.In(v.location()).Format(layout), n%3 != 0})
		}
		at = at.Add(step)
		if step >= dayLength { // days are not all as long
			at = midnight(at.In(v.location()).Add(dayLength / 2))
		}
	}
	return ticks
}

// midnight is when a day began.
func midnight(at time.Time) time.Time {
	year, month, day := at.Date()
	return time.Date(year, month, day, 0, 0, 0, 0, at.Location())
}

// plot is the heartbeats as paths in a box of Bins by 100.
type plot struct {
	Bins        int
	Band, Mean  string
	Missed      []string // where bins with missed ones are
	Top, Middle string   // of the axis
	Description string
}

// Pulse is the plot of the heartbeats.
func (v view) Pulse() plot {
	h := v.Heartbeats
	// The lanes say how long the span is; the heartbeats' bins may be of another width.
	length := float64(len(v.Lanes.Session)) * float64(v.Lanes.Width)
	p := plot{Bins: 1000, Description: fmt.Sprintf("%d heartbeats were answered, in %v on average and %v at most; %d missed", h.Answered, h.Mean, h.Max, h.Missed)}
	if h.Answered == 0 {
		p.Description = "No heartbeat that was answered is in the log of this span; they expire from it after a week"
	}
	most := 0.0
	for _, b := range h.Bins {
		most = math.Max(most, float64(b.Max))
	}
	top := nice(1.1 * most)
	p.Top, p.Middle = events.Millis(top).String(), events.Millis(top/2).String()
	y := func(m events.Millis) float64 { return 98 - 94*float64(m)/top }
	var band, back, line strings.Builder
	var floor []string
	pen := "M"
	for n, b := range h.Bins {
		x := 1000 * (float64(n) + 0.5) * float64(h.Width) / math.Max(length, 1)
		if b.Missed > 0 {
			p.Missed = append(p.Missed, fmt.Sprintf("%.1f", x))
		}
		if b.Answered == 0 {
			continue
		}
		fmt.Fprintf(&band, "%s%.1f %.1f", pen, x, y(b.Max))
		fmt.Fprintf(&line, "%s%.1f %.1f", pen, x, y(b.Mean))
		floor = append(floor, fmt.Sprintf("L%.1f %.1f", x, y(b.Min)))
		pen = "L"
	}
	for _, point := range slices.Backward(floor) {
		back.WriteString(point)
	}
	if band.Len() > 0 {
		p.Band, p.Mean = band.String()+back.String()+"Z", line.String()
	}
	return p
}

// nice rounds up to 1, 2 or 5 times a power of ten.
func nice(f float64) float64 {
	if f <= 1 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(f)))
	for _, m := range []float64{1, 2, 5} {
		if f <= m*power {
			return m * power
		}
	}
	return 10 * power
}

// mark is where an incident lies on the axis.
type mark struct {
	Left, Width string // per cent
	Label       string
	Title       string
}

// Marks are where the incidents lie on the axis.
func (v view) Marks() []mark {
	begin, length := v.Lanes.From, time.Duration(len(v.Lanes.Session))*v.Lanes.Width.Duration()
	if length <= 0 {
		return nil
	}
	percent := func(at time.Time) float64 {
		return math.Min(100, math.Max(0, 100*float64(at.Sub(begin))/float64(length)))
	}
	var marks []mark
	last := -3.0
	for _, i := range v.Incidents {
		from, to := percent(i.OpenedAt), percent(i.OpenedAt.Add(i.Duration()))
		m := mark{fmt.Sprintf("%.2f", from), fmt.Sprintf("%.2f", math.Max(to-from, 0.3)), "", fmt.Sprintf("%d: %s, %s", i.Number, v.Day(i.OpenedAt), story.Root(i))}
		if from-last >= 2.5 && from < 97 {
			m.Label, last = fmt.Sprint(i.Number), from
		}
		marks = append(marks, m)
	}
	return marks
}

// heatRow is a weekday.
type heatRow struct {
	Day   string
	Cells []heatCell
}

type heatCell struct {
	Count int
	Class string // h0 to h4
	Title string
}

// HeatRows are the weekdays.
func (v view) HeatRows() []heatRow {
	most := max(v.Heat.Most(), 1)
	var rows []heatRow
	for _, day := range weekdays {
		row := heatRow{Day: day.String()[:3]}
		for hour, n := range v.Heat.Counts[day] {
			row.Cells = append(row.Cells, heatCell{n, fmt.Sprint("h", (4*n+most-1)/most), fmt.Sprintf("%s %02d:00: %d", day, hour, n)})
		}
		rows = append(rows, row)
	}
	return rows
}

// Hours are the hours of a day.
func (view) Hours() []string {
	hours := make([]string, 24)
	for h := range hours {
		hours[h] = fmt.Sprintf("%02d", h)
	}
	return hours
}

// grid is a table: its head and its rows.
type grid struct {
	Caption string
	Head    []string
	Rows    [][]string
}

func gridOf(caption string, rows [][]string) grid { return grid{caption, rows[0], rows[1:]} }

// Grids are the tables of the statistics.
func (v view) Grids() []grid {
	grids := []grid{gridOf("Availability by level", v.levelRows())}
	if len(v.Incidents) > 0 {
		grids = append(grids, gridOf("Causes", countRows("cause", v.Causes)), gridOf("Whose fault it was", countRows("fault", v.Attributions)),
			gridOf("How long the trouble had been there when it was noticed", v.detectionRows()))
	}
	if len(v.Windows.Configured) > 0 {
		grids = append(grids, gridOf("Configured windows", v.windowRows()))
	}
	return grids
}

// Table is the table of incidents.
func (v view) Table() grid { return gridOf("Incidents, oldest first", v.incidentRows()) }

// part is a part of a story.
type part struct {
	Name  string
	Lines []story.Line
}

// Parts are the parts of a story.
func (view) Parts(s story.Story) []part {
	var parts []part
	for _, p := range []part{{"Before", s.Before}, {"During", s.During}, {"After", s.After}} {
		if len(p.Lines) > 0 {
			parts = append(parts, p)
		}
	}
	return parts
}
