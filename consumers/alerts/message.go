package alerts

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"ibconn/events"
)

const (
	maxTitle = 200
	maxText  = 2000
)

// alert words what a delivery tells of m.
func (m matter) alert(d *Delivery, s State) *Alert {
	after := d.after
	a := &Alert{
		About: m.about, Receiver: d.Receiver.Name, State: s, Severity: after.Severity, Rule: after.Rule, On: m.on, Connection: m.connection,
		BeganAt: m.began.UTC(), EndedAt: m.ended.UTC(), First: s == Resolved && d.before.Told == "", Incident: m.incident,
	}
	a.ID = strings.Join([]string{a.Receiver, a.About, string(s)}, ".")
	switch s {
	case Updated:
		a.ID += fmt.Sprintf(".%d.%d.%s", after.Sequence, after.Part, after.Severity)
	case Reminder:
		a.Reminder = after.Reminders
		a.ID += fmt.Sprintf(".%d", a.Reminder)
	case Opened, Resolved, Test:
	}
	if m.ended.IsZero() {
		a.EndedAt = time.Time{}
	} else {
		a.Duration = events.Between(m.began, m.ended)
	}
	if m.document != nil {
		a.Condition, a.LastHeard, a.Expected = m.document.Condition, m.document.AsOf, m.document.StaleAfter
	}
	a.Title, a.Text = clip(a.title(m), maxTitle), clip(m.text(a), maxText)
	return a
}

func (a *Alert) title(m matter) string {
	name, what := string(a.Connection), string(a.Condition)
	switch a.On {
	case OnIncident:
		what = fmt.Sprintf("%s: %s", m.incident.Worst, m.incident.Root.Words)
	case OnCondition:
		if a.State == Resolved { // by now the status says another
			what = fmt.Sprintf("as rule %s says", a.Rule)
		}
	case OnSilent:
		what = "silent: its process should have said something"
	case OnBus:
		name, what = "the bus of ibconn", "out of reach"
	}
	switch {
	case a.First:
		return fmt.Sprintf("over after %v, and could not be told before: %s was %s", a.Duration, name, what)
	case a.State == Resolved:
		return fmt.Sprintf("over after %v: %s was %s", a.Duration, name, what)
	case a.State == Reminder:
		return fmt.Sprintf("%s still is %s", name, what)
	}
	return fmt.Sprintf("%s is %s", name, what)
}

func (m matter) text(a *Alert) string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	add("since %s", stamp(a.BeganAt))
	if !a.EndedAt.IsZero() {
		add("until %s", stamp(a.EndedAt))
	}
	if i := m.incident; i != nil {
		if i.Stopped {
			add("it ended because the connection was stopped")
		}
		if i.Attribution != "" {
			add("fault: %s", i.Attribution)
		}
		if i.Window != "" {
			add("in the window %s", i.Window)
		}
		for _, s := range i.Chain[:min(len(i.Chain), 8)] {
			add("then: %s", s.Words)
		}
		if i.Attempts > 0 {
			add("attempts: %d", i.Attempts)
		}
		if i.Subscriptions.Count > 0 {
			add("subscriptions: %d (%s)", i.Subscriptions.Count, strings.Join(i.Subscriptions.Names[:min(len(i.Subscriptions.Names), 10)], ", "))
		}
	}
	if m.document != nil && a.On == OnSilent {
		add("last heard of %s, %s then", stamp(a.LastHeard), a.Condition)
		if a.EndedAt.IsZero() {
			add("look whether ibconn runs on its host")
		}
	}
	if a.On == OnBus && a.EndedAt.IsZero() {
		add("look whether ibconn runs on its host")
	}
	return strings.Join(lines, "\n")
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// clip makes text of what others said: without control characters but line
// ends, and with so many characters at most.
func clip(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' || r == utf8.RuneError || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, s)
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most-3]) + "..."
	}
	return s
}

// TestAlert is what a receiver is told to see whether it can be: each id once.
func TestAlert(receiver, id string) *Alert {
	return &Alert{
		ID: receiver + ".test." + id, About: "test." + id, Receiver: receiver, State: Test, Severity: Info,
		Title: "ibconn: this is a test", Text: "nothing has happened; alerts would come here",
	}
}

// body returns what is posted.
func (a *Alert) body(f Format) ([]byte, error) {
	if f == FormatSlack {
		return json.Marshal(a.slack())
	}
	return json.Marshal(a)
}

// slackMessage is as incoming webhooks of Slack and Mattermost take it.
type slackMessage struct {
	Text        string            `json:"text"`
	Attachments []slackAttachment `json:"attachments"`
}

type slackAttachment struct {
	Fallback string       `json:"fallback"`
	Color    string       `json:"color"`
	Text     string       `json:"text"`
	Fields   []slackField `json:"fields"`
	Footer   string       `json:"footer"`
}

type slackField struct {
	Title string `json:"title"`
	Value string `json:"value"`
	Short bool   `json:"short"`
}

func (a *Alert) slack() slackMessage {
	mark := map[Severity]string{Page: ":rotating_light:", Warn: ":warning:", Info: ":information_source:"}[a.Severity]
	color := map[Severity]string{Page: "#d00000", Warn: "#e6a000", Info: "#3070c0"}[a.Severity]
	if a.State == Resolved {
		mark, color = ":white_check_mark:", "#2a8a3a"
	}
	title := slackText(a.Title)
	out := slackMessage{
		Text: mark + " " + title,
		Attachments: []slackAttachment{{
			Fallback: title, Color: color, Text: slackText(a.Text), Footer: slackText(a.ID),
			Fields: []slackField{{"severity", string(a.Severity), true}, {"state", string(a.State), true}},
		}},
	}
	if a.Rule != "" {
		out.Attachments[0].Fields = append(out.Attachments[0].Fields, slackField{"rule", a.Rule, true})
	}
	return out
}

// slackText escapes text: a gateway's words call nobody and link nowhere. Slack
// asks for &, < and >; Mattermost takes @all and [](...) as they stand.
var slackEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "@", "@\u200b", "](", "]\u200b(", "`", "'", "*", "\u2217", "~", "\u223c")

func slackText(s string) string { return slackEscapes.Replace(s) }
