package dashboard

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"ibconn/events"
)

// query is what a request asks for.
type query struct {
	connection events.ConnectionID // "" for all
	from, to   int64               // in milliseconds of Unix
	pieces     int                 // of how many pieces what is drawn may consist
	kind       events.Kind         // "" for all
	severity   events.Severity     // and what is worse; "" for all
	text       string              // in lower case
	before     uint64              // only what is at an earlier position; 0 for all
	after      uint64              // only what is at a later one
	limit      int
}

const (
	maxPieces     = 1200
	defaultPieces = 600
	maxLimit      = 500
	defaultLimit  = 100
	maxText       = 100
	// maxDrawn is of how many pieces all that is drawn may consist together.
	maxDrawn = 60_000
)

// spans are what a page shows.
var spans = map[string]time.Duration{"minutes": 10 * time.Minute, "hour": time.Hour, "day": 24 * time.Hour, "week": week}

// parse reads what a request asks for. An error says what is wrong with it.
func parse(v url.Values, now time.Time) (query, error) {
	q := query{connection: events.ConnectionID(v.Get("connection"))}
	if q.connection != "" {
		if _, err := events.ParseConnectionID(string(q.connection)); err != nil {
			return q, fmt.Errorf("connection=%.40q: want 1 to 32 of a-z, 0-9 and '-'", string(q.connection))
		}
	}
	name := v.Get("span")
	if name == "" {
		name = "hour"
	}
	span, ok := spans[name]
	if !ok {
		return q, fmt.Errorf("span=%.40q: want minutes, hour, day or week", name)
	}
	var errs []error
	end := number(v, "end", now.UnixMilli(), 0, now.UnixMilli()+int64(week/time.Millisecond), &errs)
	q.from, q.to = end-span.Milliseconds(), end
	q.pieces = int(number(v, "pieces", defaultPieces, 10, maxPieces, &errs))
	q.limit = int(number(v, "limit", defaultLimit, 1, maxLimit, &errs))
	q.before = uint64(number(v, "before", 0, 0, 1<<53, &errs))
	q.after = uint64(number(v, "after", 0, 0, 1<<53, &errs))
	if q.kind = events.Kind(v.Get("kind")); q.kind != "" && !slices.Contains(events.Kinds, q.kind) {
		errs = append(errs, fmt.Errorf("kind=%.40q: want one of %s", string(q.kind), kinds()))
	}
	switch q.severity = events.Severity(v.Get("severity")); q.severity {
	case "", events.SeverityInfo, events.SeverityWarning, events.SeverityError:
	default:
		errs = append(errs, fmt.Errorf("severity=%.40q: want info, warning or error", string(q.severity)))
	}
	if q.text = strings.ToLower(strings.TrimSpace(v.Get("q"))); len(q.text) > maxText {
		errs = append(errs, fmt.Errorf("q: %d bytes: want at most %d", len(q.text), maxText))
	}
	return q, errors.Join(errs...)
}

func number(v url.Values, name string, usual, least, most int64, errs *[]error) int64 {
	text := v.Get(name)
	if text == "" {
		return usual
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most {
		*errs = append(*errs, fmt.Errorf("%s=%.40q: want a number from %d to %d", name, text, least, most))
		return usual
	}
	return n
}

func kinds() string {
	words := make([]string, 0, len(events.Kinds))
	for _, k := range events.Kinds {
		words = append(words, string(k))
	}
	return strings.Join(words, ", ")
}

// selects says whether a line is asked for.
func (q query) selects(l *line) bool {
	return (q.kind == "" || l.Kind == q.kind) && grave(l.Severity) >= grave(q.severity) &&
		(q.before == 0 || l.Position < q.before) && l.Position > q.after &&
		(q.text == "" || strings.Contains(strings.ToLower(l.Text), q.text) || strings.Contains(l.What, q.text))
}

func grave(s events.Severity) int {
	switch s {
	case events.SeverityError:
		return 2
	case events.SeverityWarning:
		return 1
	case events.SeverityInfo:
	}
	return 0
}
