package report

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"ibconn/events"
	"ibconn/replay/story"
)

// Text prints the statistics for a terminal of so many columns.
func (r Report) Text(w io.Writer, columns int) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s to %s, times in %s\n\n", r.Connection, r.day(r.From), r.day(r.To), r.Zone)
	for _, sentence := range r.Summary() {
		paragraph(&b, sentence, columns)
	}
	table(&b, "By level", r.levelRows(), columns)
	if len(r.Incidents) > 0 {
		table(&b, "By cause", countRows("cause", r.Causes), columns)
		table(&b, "By fault", countRows("fault", r.Attributions), columns)
		table(&b, "By detection", r.detectionRows(), columns)
		r.heat(&b)
	}
	if len(r.Windows.Configured) > 0 {
		table(&b, "Windows", r.windowRows(), columns)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func paragraph(b *strings.Builder, text string, columns int) {
	length := 0
	for word := range strings.FieldsSeq(text) {
		n := utf8.RuneCountInString(word)
		if length > 0 && length+1+n > columns {
			b.WriteString("\n")
			length = 0
		}
		if length > 0 {
			b.WriteString(" ")
			length++
		}
		b.WriteString(word)
		length += n
	}
	b.WriteString("\n")
}

// table prints rows below a heading; the last columns go where there is no room.
func table(b *strings.Builder, heading string, rows [][]string, columns int) {
	b.WriteString("\n" + heading + "\n")
	room := columns
	for n := range rows[0] {
		width := 0
		for _, row := range rows {
			width = max(width, utf8.RuneCountInString(row[n]))
		}
		if room -= width + 2; room < 0 && n > 1 {
			for k := range rows {
				rows[k] = rows[k][:n]
			}
			break
		}
		for _, row := range rows {
			row[n] += strings.Repeat(" ", width-utf8.RuneCountInString(row[n]))
		}
	}
	for _, row := range rows {
		b.WriteString(strings.TrimRight("  "+strings.Join(row, "  "), " ") + "\n")
	}
}

// heat prints incidents by weekday and hour.
func (r Report) heat(b *strings.Builder) {
	b.WriteString("\nBy weekday and hour\n       ")
	for hour := 0; hour < 24; hour += 3 {
		fmt.Fprintf(b, "%-9s", fmt.Sprintf("%02d", hour))
	}
	b.WriteString("\n")
	for _, day := range weekdays {
		var line strings.Builder
		line.WriteString("  " + day.String()[:3] + "  ")
		for _, n := range r.Heat.Counts[day] {
			cell := "·"
			if n > 0 {
				cell = fmt.Sprint(n)
			}
			fmt.Fprintf(&line, "%-3s", cell)
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// Markdown writes the report in the form that tickets take.
func (r Report) Markdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s to %s, times in %s\n\n", escape(r.Title()), r.day(r.From), r.day(r.To), escape(r.Zone))
	summary := r.Summary()
	if r.single() {
		summary = r.Stories[0].Summary
	}
	for _, s := range summary {
		b.WriteString(escape(s) + "\n\n")
	}
	if len(r.Incidents) > 0 {
		b.WriteString("## Incidents\n\n")
		markdownTable(&b, r.incidentRows())
	}
	for _, s := range r.Stories {
		r.markdownStory(&b, s)
	}
	b.WriteString("## Statistics\n\n")
	markdownTable(&b, r.levelRows())
	if len(r.Incidents) > 0 {
		markdownTable(&b, countRows("cause", r.Causes))
		markdownTable(&b, countRows("fault", r.Attributions))
		markdownTable(&b, r.detectionRows())
	}
	if len(r.Windows.Configured) > 0 {
		markdownTable(&b, r.windowRows())
	}
	for _, c := range r.Windows.Learned {
		b.WriteString("- " + escape(c.Words) + "\n")
	}
	_, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}

// single says whether r is about one incident.
func (r Report) single() bool { return r.Only != "" && len(r.Stories) == 1 }

// Title names the report.
func (r Report) Title() string {
	if r.single() {
		return "Incident " + r.Only
	}
	return fmt.Sprintf("What happened to %s", r.Connection)
}

func (r Report) markdownStory(b *strings.Builder, s story.Story) {
	i := s.Incident
	fmt.Fprintf(b, "## Incident %d (%s)\n\n", i.Number, escape(i.ID))
	if !r.single() {
		for _, sentence := range s.Summary {
			b.WriteString(escape(sentence) + "\n\n")
		}
	}
	rows := [][]string{{"time", "offset", "what"}}
	for _, part := range []struct {
		name  string
		lines []story.Line
	}{{"before", s.Before}, {"during", s.During}, {"after", s.After}} {
		for n, l := range part.lines {
			words := l.Words + story.Repeated(l)
			if n == 0 && part.name != "during" {
				words = "(" + part.name + ") " + words
			}
			if l.Waits != "" {
				words += "; " + l.Waits
			}
			rows = append(rows, []string{l.At.In(r.location()).Format("15:04:05.0"), story.Offset(l.Offset), words})
		}
	}
	markdownTable(b, rows)
	for _, c := range s.Codes {
		fmt.Fprintf(b, "- IB's code %d: %s. To do: %s.\n", c.Code, escape(c.Meaning), escape(c.Advice))
	}
	for _, c := range s.Commands {
		fmt.Fprintf(b, "- Command %s %s (id %s): %s; %s\n", story.Offset(c.Offset), c.Verb, escape(c.ID), escape(strings.TrimSpace(c.From+" "+c.Reason)), escape(c.Outcome))
	}
	if len(s.Codes)+len(s.Commands) > 0 {
		b.WriteString("\n")
	}
}

func markdownTable(b *strings.Builder, rows [][]string) {
	for n, row := range rows {
		cells := make([]string, len(row))
		for k, cell := range row {
			cells[k] = escape(cell)
		}
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
		if n == 0 {
			b.WriteString("|" + strings.Repeat(" --- |", len(row)) + "\n")
		}
	}
	b.WriteString("\n")
}

// markdown has a backslash before what means something in Markdown.
var markdown = strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", "&lt;", ">", "&gt;", "|", `\|`, "\n", " ", "\r", " ", "&", "&amp;", "#", `\#`, "@", "@\u200b")

func escape(s string) string {
	return markdown.Replace(events.MaskAccounts(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)))
}
