package events

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// BarQuery says which bars of the past are wanted, in IB's words
// (https://interactivebrokers.github.io/tws-api/historical_bars.html).
type BarQuery struct {
	// End is when the bars end, in whole seconds; without it they end now.
	End time.Time `json:"end,omitzero"`
	// Duration is how far back they go: a whole number and S, D, W, M or Y for
	// seconds, trading days, weeks, months and years, such as "2 D".
	Duration string `json:"duration,omitempty"`
	// BarSize is one of [BarSizes].
	BarSize string `json:"bar_size,omitempty"`
	// What is what the bars are of, one of [BarKinds]; without it TRADES.
	What string `json:"what,omitempty"`
	// RTH leaves out what lies outside of regular trading hours.
	RTH bool `json:"rth,omitempty"`
}

// Bar is one bar of the past as IB gives it. Prices and sizes are decimal
// numbers as text, and absent where IB gives none.
type Bar struct {
	// Time is when it begins, in UTC as RFC 3339 has it; of a bar of a day or
	// more, its date.
	Time   string `json:"time"`
	Open   string `json:"open,omitempty"`
	High   string `json:"high,omitempty"`
	Low    string `json:"low,omitempty"`
	Close  string `json:"close,omitempty"`
	Volume string `json:"volume,omitempty"`
	WAP    string `json:"wap,omitempty"` // the average price, weighted by volume
	Count  int64  `json:"count,omitempty"`

	Issues      []BarIssue `json:"issues,omitempty"`      // what is wrong with it; a [BarCheck] finds it
	Severity    Severity   `json:"severity,omitempty"`    // of the worst of them, warning or error
	Provisional bool       `json:"provisional,omitempty"` // it was not finished yet when it was read
}

// MaxBars is how many bars a query may be for that is answered with one reply:
// so many are an answer of less than 1 MiB, which is what a message may have on
// the bus.
const MaxBars = 3000

// HistoryWait is how long the command history waits for its answer, its turn
// by IB's rules included, where its request does not say.
const HistoryWait = Wait(30 * time.Second)

// barSize is one of IB's bar sizes, and the least time that a bar of it spans.
type barSize struct {
	name string
	span time.Duration
}

const tradingDay = 24 * time.Hour

// barSizes are those that the page above lists as valid.
var barSizes = []barSize{
	{"1 secs", time.Second},
	{"5 secs", 5 * time.Second},
	{"10 secs", 10 * time.Second},
	{"15 secs", 15 * time.Second},
	{"30 secs", 30 * time.Second},
	{"1 min", time.Minute},
	{"2 mins", 2 * time.Minute},
	{"3 mins", 3 * time.Minute},
	{"5 mins", 5 * time.Minute},
	{"10 mins", 10 * time.Minute},
	{"15 mins", 15 * time.Minute},
	{"20 mins", 20 * time.Minute},
	{"30 mins", 30 * time.Minute},
	{"1 hour", time.Hour},
	{"2 hours", 2 * time.Hour},
	{"3 hours", 3 * time.Hour},
	{"4 hours", 4 * time.Hour},
	{"8 hours", 8 * time.Hour},
	{"1 day", tradingDay},
	{"1 week", 7 * tradingDay},
	{"1 month", 28 * tradingDay},
}

// BarSizes returns IB's bar sizes, the smallest first.
func BarSizes() []string {
	var names []string
	for _, b := range barSizes {
		names = append(names, b.name)
	}
	return names
}

// BarKinds lists what bars can be of, as the same page does. IB's SCHEDULE is
// not among them: it is answered with no bars.
var BarKinds = []string{
	"TRADES", "MIDPOINT", "BID", "ASK", "BID_ASK", "ADJUSTED_LAST", "HISTORICAL_VOLATILITY", "OPTION_IMPLIED_VOLATILITY",
	"FEE_RATE", "YIELD_BID", "YIELD_ASK", "YIELD_BID_ASK", "YIELD_LAST", "AGGTRADES",
}

// durations are IB's units: the most time that one spans, and how many there
// may be. IB wants more than 86400 S in days, and more than 365 days in years.
var durations = map[string]struct {
	span time.Duration
	most int
}{
	"S": {time.Second, 86400},
	"D": {tradingDay, 365},
	"W": {7 * tradingDay, 52},
	"M": {31 * tradingDay, 12},
	"Y": {366 * tradingDay, 100},
}

const durationWords = `want a number and a unit: 1 to 86400 S, 365 D, 52 W, 12 M or 100 Y, such as "2 D"`

var durationForm = regexp.MustCompile(`^([1-9][0-9]{0,4}) ([SDWMY])$`)

// span is how long q.Duration is at most.
func (q BarQuery) span() (time.Duration, error) {
	m := durationForm.FindStringSubmatch(q.Duration)
	if m == nil {
		return 0, fmt.Errorf("duration %.40q: %s", q.Duration, durationWords)
	}
	n, err := strconv.Atoi(m[1])
	unit := durations[m[2]]
	if err != nil || n > unit.most {
		return 0, fmt.Errorf("duration %.40q: %s", q.Duration, durationWords)
	}
	return time.Duration(n) * unit.span, nil
}

// BarSpan returns how long a bar of q spans at least; zero where its size is
// none of IB's.
func (q BarQuery) BarSpan() time.Duration {
	for _, b := range barSizes {
		if b.name == q.BarSize {
			return b.span
		}
	}
	return 0
}

// WithDefaults returns q with what is not said in it.
func (q BarQuery) WithDefaults() BarQuery {
	if q.What == "" {
		q.What = BarKinds[0]
	}
	return q
}

// CheckBars says which part of q is not as IB has it, and what is.
func (q BarQuery) CheckBars() error {
	switch {
	case q.Duration == "":
		return errors.New("duration is missing: " + durationWords)
	case q.BarSize == "":
		return errors.New("bar_size is missing: want one of " + strings.Join(BarSizes(), ", "))
	case q.BarSpan() == 0:
		return fmt.Errorf("bar_size %.40q: want one of %s", q.BarSize, strings.Join(BarSizes(), ", "))
	case q.What != "" && !slices.Contains(BarKinds, q.What):
		return fmt.Errorf("what %.40q: want one of %s", q.What, strings.Join(BarKinds, ", "))
	case q.End.Nanosecond() != 0:
		return fmt.Errorf("end %s: want whole seconds", q.End.Format(time.RFC3339Nano))
	case !q.End.IsZero() && (q.End.Year() < 1900 || q.End.Year() > 9999):
		return fmt.Errorf("end in the year %d: want 1900 to 9999", q.End.Year())
	}
	_, err := q.span()
	return err
}

// Start returns when q begins, by the calendar, where it ends at a time. A
// query that is not in order begins there. IB counts seconds and days as those in
// which there is trading, and may begin earlier.
func (q BarQuery) Start(end time.Time) time.Time {
	n, unit, _ := strings.Cut(q.Duration, " ")
	count, err := strconv.Atoi(n)
	if _, outOfRange := q.span(); err != nil || outOfRange != nil {
		return end
	}
	switch unit {
	case "D":
		return end.AddDate(0, 0, -count)
	case "W":
		return end.AddDate(0, 0, -7*count)
	case "M":
		return end.AddDate(0, -count, 0)
	case "Y":
		return end.AddDate(-count, 0, 0)
	}
	return end.Add(-time.Duration(count) * time.Second)
}

// EstimateBars returns how many bars q is for at most, had there been trades all
// around the clock. A query that is not in order has none.
func (q BarQuery) EstimateBars() int {
	span, err := q.span()
	if err != nil || q.BarSpan() == 0 {
		return 0
	}
	return int((span + q.BarSpan() - 1) / q.BarSpan())
}

// parseEnd reads when bars are to end.
func parseEnd(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("end %.40q: want a time such as 2026-12-18T16:00:00Z, or nothing for now", text)
	}
	return t.UTC(), nil
}
