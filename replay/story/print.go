package story

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"ibconn/consumers/incidents"
	"ibconn/consumers/timeline"
	"ibconn/events"
)

// Printer prints for people.
type Printer struct {
	Out    io.Writer
	Zone   *time.Location // of the times; nil is this machine's
	Width  int            // columns that there are; 0 is 100, and less than 40 is 40
	Colour bool           // use ANSI's colours
}

func (p Printer) width() int {
	if p.Width == 0 {
		return 100
	}
	return max(p.Width, 40)
}

func (p Printer) paint(c timeline.Colour, text string) string {
	if !p.Colour {
		return text
	}
	return c.Paint(text)
}

// column is one of the table of incidents.
type column struct {
	head string
	// spare says how soon the column goes where there is no room: the highest first; 0
	// never.
	spare int
	cell  func(i incidents.Incident) string
}

func (p Printer) columns(several bool) []column {
	all := []column{
		{"#", 0, func(i incidents.Incident) string { return fmt.Sprint(i.Number) }},
		{"when", 0, func(i incidents.Incident) string { return i.OpenedAt.In(zoneOr(p.Zone)).Format("Jan 02 15:04:05") }},
		{"lasted", 0, Lasted},
		{"hit", 1, Hit},
		{"fault", 2, FaultName},
		{"found by", 4, FoundAfter},
		{"ready", 3, func(i incidents.Incident) string { return after(!i.ReadyAt.IsZero(), i.ReadyAfter) }},
		{"data", 5, func(i incidents.Incident) string { return after(!i.DataAt.IsZero(), i.DataAfter) }},
		{"gaps", 6, GapsFilled},
	}
	if several {
		all = append(all[:1], append([]column{{"connection", 0, func(i incidents.Incident) string { return string(i.Connection) }}}, all[1:]...)...)
	}
	return all
}

// Lasted words how long an incident lasted: "41s", or with a "+" while it goes on.
func Lasted(i incidents.Incident) string {
	if i.Open() {
		return Short(millis(i)) + "+"
	}
	return Short(millis(i))
}

// FaultName words an attribution in one word.
func FaultName(i incidents.Incident) string {
	switch i.Attribution {
	case "":
		return "?"
	case events.AttributionCompeting:
		return "competing"
	default:
		return string(i.Attribution)
	}
}

// FoundAfter words by what an incident was found, and how long after it began.
func FoundAfter(i incidents.Incident) string {
	if i.DetectedAfter > 0 {
		return Found(i) + " " + Offset(i.DetectedAfter)
	}
	return Found(i)
}

// GapsFilled words how many gaps were filled: "1 of 2".
func GapsFilled(i incidents.Incident) string {
	if i.Gaps.Detected == 0 {
		return "-"
	}
	return fmt.Sprintf("%d of %d", i.Gaps.Filled, i.Gaps.Detected)
}

func after(known bool, m events.Millis) string {
	if !known {
		return "-"
	}
	return Short(m)
}

// Incidents prints a table of incidents, of which each has a second line with its root
// cause. What finds no room in the width is left out.
func (p Printer) Incidents(all []incidents.Incident) error {
	several := false
	for _, i := range all {
		several = several || i.Connection != all[0].Connection
	}
	columns := p.columns(several)
	cells := make([][]string, len(all)+1)
	for {
		for n := range cells {
			cells[n] = cells[n][:0]
			for _, c := range columns {
				if n == 0 {
					cells[n] = append(cells[n], c.head)
				} else {
					cells[n] = append(cells[n], c.cell(all[n-1]))
				}
			}
		}
		if tableWidth(cells) <= p.width() {
			break
		}
		worst := 0
		for n, c := range columns {
			if c.spare > columns[worst].spare {
				worst = n
			}
		}
		if columns[worst].spare == 0 {
			break
		}
		columns = append(columns[:worst:worst], columns[worst+1:]...)
	}
	widths := columnWidths(cells)
	var b strings.Builder
	for n, row := range cells {
		line := strings.TrimRight(join(row, widths), " ")
		if n == 0 {
			b.WriteString(p.paint(timeline.Dim, line) + "\n")
			continue
		}
		i := all[n-1]
		b.WriteString(p.paint(incidentColour(i), line) + "\n")
		words := Root(i)
		if i.Window != "" {
			words += ", inside the window '" + Plain(i.Window) + "'"
		}
		if i.Open() {
			words += "; it goes on"
		}
		p.wrapped(&b, strings.Repeat(" ", widths[0]+2), words, "")
	}
	_, err := io.WriteString(p.Out, b.String())
	return err
}

func incidentColour(i incidents.Incident) timeline.Colour {
	switch {
	case i.Window != "" && !i.Open():
		return ""
	case i.Worst == events.ConditionDown:
		return timeline.Red
	default:
		return timeline.Yellow
	}
}

func columnWidths(cells [][]string) []int {
	widths := make([]int, len(cells[0]))
	for _, row := range cells {
		for n, cell := range row {
			widths[n] = max(widths[n], utf8.RuneCountInString(cell))
		}
	}
	return widths
}

func tableWidth(cells [][]string) int {
	sum := -2
	for _, w := range columnWidths(cells) {
		sum += w + 2
	}
	return sum
}

// join sets a row of cells, the first to the right.
func join(row []string, widths []int) string {
	var b strings.Builder
	for n, cell := range row {
		pad := strings.Repeat(" ", max(0, widths[n]-utf8.RuneCountInString(cell)))
		switch {
		case n == 0:
			b.WriteString(pad + cell)
		default:
			b.WriteString("  " + cell + pad)
		}
	}
	return b.String()
}

// wrapped writes words behind an indent, on as many lines as they take.
func (p Printer) wrapped(b *strings.Builder, indent, words string, colour timeline.Colour) {
	room := max(p.width()-utf8.RuneCountInString(indent), 20)
	for _, line := range wrap(words, room) {
		b.WriteString(indent + p.paint(colour, line) + "\n")
	}
}

func wrap(words string, room int) []string {
	var lines []string
	line, length := "", 0
	for word := range strings.FieldsSeq(words) {
		n := utf8.RuneCountInString(word)
		if length > 0 && length+1+n > room {
			lines = append(lines, line)
			line, length = "", 0
		}
		if length > 0 {
			line, length = line+" ", length+1
		}
		line, length = line+word, length+n
	}
	return append(lines, line)
}

// Story prints all there is to tell of an incident.
func (p Printer) Story(s Story) error {
	var b strings.Builder
	i := s.Incident
	fmt.Fprintf(&b, "%s  %s\n", p.paint(timeline.Bold, fmt.Sprintf("Incident %d of %s", i.Number, i.Connection)), p.paint(timeline.Dim, i.ID+", times in "+ZoneName(p.Zone, i.OpenedAt)))
	b.WriteString("\n")
	for _, sentence := range s.Summary {
		p.wrapped(&b, "", sentence, "")
	}
	p.timeline(&b, s)
	p.codes(&b, s.Codes)
	p.commands(&b, s.Commands)
	for _, f := range s.Flights {
		p.flight(&b, f)
	}
	if len(s.Changed) > 0 {
		p.heading(&b, "State after, against the state before")
		p.differences(&b, s.Changed)
	}
	_, err := io.WriteString(p.Out, b.String())
	return err
}

func (p Printer) heading(b *strings.Builder, text string) {
	b.WriteString("\n" + p.paint(timeline.Bold, text) + "\n")
}

func (p Printer) timeline(b *strings.Builder, s Story) {
	for _, part := range []struct {
		name  string
		lines []Line
	}{{"Before", s.Before}, {"During", s.During}, {"After", s.After}} {
		if len(part.lines) == 0 {
			continue
		}
		p.heading(b, part.name)
		for _, l := range part.lines {
			p.line(b, l)
		}
	}
}

// line prints a line of the timeline: time, offset, mark, words.
func (p Printer) line(b *strings.Builder, l Line) {
	when := fmt.Sprintf("  %s %9s ", l.At.In(zoneOr(p.Zone)).Format("15:04:05.0"), Offset(l.Offset))
	words := l.Words + Repeated(l)
	indent := strings.Repeat(" ", len(when)+2)
	mark, colour := timeline.Mark(l.After)
	for n, text := range wrap(words, max(p.width()-len(indent), 20)) {
		if n == 0 {
			b.WriteString(p.paint(timeline.Dim, when) + p.paint(colour, mark) + " " + p.paint(timeline.ColourOf(l.Severity), text) + "\n")
			continue
		}
		b.WriteString(indent + p.paint(timeline.ColourOf(l.Severity), text) + "\n")
	}
	if l.Waits != "" {
		p.wrapped(b, indent, l.Waits, timeline.Dim)
	}
}

// Repeated words how often a line's event came, and until when: " — 8 times, until +40s".
func Repeated(l Line) string {
	switch {
	case l.Omitted > 0:
		return ", until " + Offset(l.Last)
	case l.Count > 1 && l.rtt.count > 0:
		return ", until " + Offset(l.Last)
	case l.Count > 1:
		return fmt.Sprintf(" — %d times, until %s", l.Count, Offset(l.Last))
	}
	return ""
}

func (p Printer) codes(b *strings.Builder, codes []Code) {
	if len(codes) == 0 {
		return
	}
	p.heading(b, "IB's codes")
	for _, c := range codes {
		words := c.Meaning
		if words == "" {
			words = "it is not in the table; the gateway said: " + c.Said
		}
		p.behind(b, fmt.Sprintf("  %5d  ", c.Code), first(words)+". To do: "+c.Advice+".")
	}
}

func first(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	return strings.ToUpper(string(r)) + s[size:]
}

func (p Printer) commands(b *strings.Builder, commands []Command) {
	if len(commands) == 0 {
		return
	}
	p.heading(b, "Commands")
	for _, c := range commands {
		words := fmt.Sprintf("%s (id %s", c.Verb, c.ID)
		if c.From != "" {
			words += ", by " + c.From
		}
		words += ")"
		if c.Reason != "" {
			words += ": " + c.Reason
		}
		p.behind(b, fmt.Sprintf("  %9s  ", Offset(c.Offset)), words+"; "+c.Outcome)
	}
}

// shownFrames is how many frames of a flight are printed.
const shownFrames = 24

func (p Printer) flight(b *strings.Builder, f Flight) {
	b.WriteString("\n")
	p.wrapped(b, "", fmt.Sprintf("The last frames before %s: %s", clock(f.EndedAt, p.Zone), f.What), timeline.Bold)
	frames := f.Frames[max(0, len(f.Frames)-shownFrames):]
	fmt.Fprintf(b, "  the last %d of %d in and %d out\n", len(frames), f.Traffic.FramesIn, f.Traffic.FramesOut)
	for _, frame := range frames {
		line := fmt.Sprintf("  %9s  %-3s  %-24s %6d B  %s", Offset(frame.Offset), frame.Dir, frame.Name, frame.Size, frame.Head)
		b.WriteString(strings.TrimRight(cut(line, p.width()), " ") + "\n")
	}
}

func cut(s string, width int) string {
	if runes := []rune(s); len(runes) > width {
		return string(runes[:width-1]) + "…"
	}
	return s
}

// Facts prints what was so at a time, by level.
func (p Printer) Facts(all []Fact, at time.Time) error {
	var b strings.Builder
	group := ""
	for _, f := range all {
		if f.Group != group {
			group = f.Group
			p.heading(&b, first(group))
		}
		words := f.Value
		if !f.Since.IsZero() {
			words += fmt.Sprintf(", since %s (%v)", p.moment(f.Since, at), events.Between(f.Since, at))
		}
		p.behind(&b, fmt.Sprintf("  %-20s ", f.Name), words)
	}
	_, err := io.WriteString(p.Out, b.String())
	return err
}

// moment words a time, without its date where that is the same as that of another.
func (p Printer) moment(t, at time.Time) string {
	zone := zoneOr(p.Zone)
	if t.In(zone).Format(time.DateOnly) == at.In(zone).Format(time.DateOnly) {
		return clock(t, p.Zone)
	}
	return day(t, p.Zone)
}

// behind writes words behind a head, and further lines below the first.
func (p Printer) behind(b *strings.Builder, head, words string) {
	indent := strings.Repeat(" ", utf8.RuneCountInString(head))
	for n, line := range wrap(words, max(p.width()-len(indent), 20)) {
		if n > 0 {
			head = indent
		}
		b.WriteString(strings.TrimRight(head+line, " ") + "\n")
	}
}

// Differences prints what changed.
func (p Printer) Differences(all []Difference) error {
	var b strings.Builder
	if len(all) == 0 {
		b.WriteString("Nothing changed.\n")
	}
	p.differences(&b, all)
	_, err := io.WriteString(p.Out, b.String())
	return err
}

func (p Printer) differences(b *strings.Builder, all []Difference) {
	for _, d := range all {
		p.behind(b, fmt.Sprintf("  %-12s %-20s ", d.Group, d.Name), d.Words(p.Zone))
	}
}

// Words says a difference: "down → up, since 03:14:12, after 4 min".
func (d Difference) Words(zone *time.Location) string {
	words := d.To
	switch {
	case d.By != 0 && d.From != "":
		return fmt.Sprintf("%s → %s (%+d)", d.From, d.To, d.By)
	case d.To == "":
		words = d.From + " → no more"
	case d.From == "":
		words = "new: " + d.To
	case d.From != d.To:
		words = d.From + " → " + d.To
	default:
		words += " again"
	}
	if !d.Since.IsZero() {
		words += ", since " + day(d.Since, zone)
	}
	if d.Lasted > 0 {
		words += fmt.Sprintf(", after %v", d.Lasted)
	}
	return words
}
