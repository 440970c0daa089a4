package timeline

import "ibconn/events"

// Colour is a colour of a terminal's, as ANSI's select-graphic-rendition parameter; the
// empty one changes nothing.
type Colour string

// The colours.
const (
	Bold   Colour = "1"
	Dim    Colour = "2"
	Red    Colour = "31"
	Green  Colour = "32"
	Yellow Colour = "33"
)

// Paint writes text in a colour.
func (c Colour) Paint(text string) string {
	if c == "" || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// ColourOf is the colour of an event's words.
func ColourOf(s events.Severity) Colour {
	switch s {
	case events.SeverityError:
		return Red
	case events.SeverityWarning:
		return Yellow
	case events.SeverityInfo:
	}
	return ""
}

// Mark is the sign of a condition, and its colour.
func Mark(c events.Condition) (string, Colour) {
	switch c {
	case events.ConditionHealthy:
		return "●", Green
	case events.ConditionDegraded:
		return "◐", Yellow
	case events.ConditionDown:
		return "○", Red
	case events.ConditionStopped:
		return "·", Dim
	}
	return " ", ""
}
