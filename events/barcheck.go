package events

import (
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// BarIssue is something that is wrong with a bar, by itself or after the bars
// before it.
type BarIssue string

// What can be wrong with a bar.
const (
	IssueNotATime          BarIssue = "not_a_time"          // its time cannot be read, or is not of the form that bars of its size have
	IssueMissing           BarIssue = "missing"             // a price is not there
	IssueNotANumber        BarIssue = "not_a_number"        // a price or size is no finite decimal number
	IssueOHLCOrder         BarIssue = "ohlc_order"          // the high is not the highest of its prices, or the low not the lowest
	IssueNegative          BarIssue = "negative"            // below zero is what cannot be: a volume, a count, a volatility
	IssueVolumeNotPositive BarIssue = "volume_not_positive" // without a volume, but with trades or a price that moved
	IssueMisaligned        BarIssue = "misaligned"          // it begins where no bar of its size does
	IssueNotAfter          BarIssue = "not_after"           // it begins before one that came before it
	IssueDuplicate         BarIssue = "duplicate"           // it was there before, the same in all
	IssueConflicting       BarIssue = "conflicting"         // a bar of this time was there before, finished, and was another
	IssueHole              BarIssue = "hole"                // between the one before and this one the market was open, and there is no bar
	IssueFuture            BarIssue = "future"              // it begins after it was read
)

// Severity says how much an issue matters. A bar with an error is wrong, or out
// of order: it is not to be used as it is. A warning may have an explanation:
// nobody traded, the hours that IB listed were not kept, a clock is wrong.
func (i BarIssue) Severity() Severity {
	switch i {
	case IssueVolumeNotPositive, IssueMisaligned, IssueDuplicate, IssueHole, IssueFuture:
		return SeverityWarning
	case IssueNotATime, IssueMissing, IssueNotANumber, IssueOHLCOrder, IssueNegative, IssueNotAfter, IssueConflicting:
		return SeverityError
	}
	return SeverityError
}

// WorstOf returns the severity of the worst of some issues, empty where there is
// none.
func WorstOf(issues []BarIssue) Severity {
	worst := Severity("")
	for _, i := range issues {
		if worst = i.Severity(); worst == SeverityError {
			break
		}
	}
	return worst
}

// BarCheck looks at one sequence of bars, of one contract, size and kind, and
// says of each what is wrong with it. It changes nothing else of a bar, and
// remembers one. [NewBarCheck] makes one.
type BarCheck struct {
	// NoVolume says that the bars have none, though bars of their kind do: those
	// of an index (IND).
	NoVolume bool

	span  time.Duration
	what  string
	hours Hours
	last  lastBar
}

// lastBar is what is remembered of the bar with the latest time.
type lastBar struct {
	seen        bool
	at          time.Time
	provisional bool
	figures     figures
}

// NewBarCheck begins a sequence of bars: how long one spans
// ([BarQuery.BarSpan]), what they are of (one of [BarKinds]; empty for TRADES),
// and when the contract is traded: the liquid hours for bars of regular trading
// hours (RTH) alone, else the trading hours. Nothing is said against a bar for
// what is not known: with hours of the zero value there are no holes, and with
// a span of 0 neither holes nor what depends on when a bar ends.
func NewBarCheck(span time.Duration, what string, hours Hours) *BarCheck {
	return &BarCheck{span: max(span, 0), what: what, hours: hours}
}

// Check returns the next bar, which was read at some moment, with its issues in
// the order in which they are listed above, their severity, and whether it is
// provisional: its end lies after that moment. What bars with IB's "keep up to
// date" do is in order: the same bar again and again as long as the one before
// it was provisional. A moment of the zero value is not known, and no bar is
// provisional.
func (c *BarCheck) Check(b Bar, read time.Time) Bar {
	f, found := c.figures(b)
	at, ok := c.begins(b.Time)
	b.Provisional = false
	if ok {
		b.Provisional = !read.IsZero() && c.ends(at).After(read)
		found = append(found, c.place(at, f, read)...)
		// A time of the future must not make all that follows look late.
		if !c.future(at, read) && (!c.last.seen || !at.Before(c.last.at)) {
			c.last = lastBar{true, at, b.Provisional, f}
		}
	} else {
		found = append(found, IssueNotATime)
	}
	b.Issues = nil
	for _, i := range issueOrder {
		if slices.Contains(found, i) {
			b.Issues = append(b.Issues, i)
		}
	}
	b.Severity = WorstOf(b.Issues)
	return b
}

var issueOrder = []BarIssue{
	IssueNotATime, IssueMissing, IssueNotANumber, IssueOHLCOrder, IssueNegative, IssueVolumeNotPositive,
	IssueMisaligned, IssueNotAfter, IssueDuplicate, IssueConflicting, IssueHole, IssueFuture,
}

// figures are the numbers of a bar, nil where there is none.
type figures struct {
	open, high, low, close, volume, wap *big.Rat
	count                               int64
}

// figures reads the numbers of b, and says what is wrong with them.
func (c *BarCheck) figures(b Bar) (figures, []BarIssue) {
	var found []BarIssue
	read := func(text string, missing ...BarIssue) *big.Rat {
		if text == "" {
			found = append(found, missing...)
			return nil
		}
		n := number(text)
		if n == nil {
			found = append(found, IssueNotANumber)
		}
		return n
	}
	f := figures{
		open: read(b.Open, IssueMissing), high: read(b.High, IssueMissing), low: read(b.Low, IssueMissing), close: read(b.Close, IssueMissing),
		volume: read(b.Volume), wap: read(b.WAP), count: b.Count,
	}
	// A yield is low where a price is high, so the ask's highest may lie below
	// the bid's average, which is the open of YIELD_BID_ASK.
	if c.what != "YIELD_BID_ASK" && !f.ordered() {
		found = append(found, IssueOHLCOrder)
	}
	volatility := strings.HasSuffix(c.what, "_VOLATILITY")
	if below(f.volume) || f.count < 0 || volatility && slices.ContainsFunc(f.prices(), below) {
		found = append(found, IssueNegative)
	}
	empty := b.Volume == "" || f.volume != nil && f.volume.Sign() == 0
	if c.hasVolume() && empty && (f.count > 0 || f.moved()) {
		found = append(found, IssueVolumeNotPositive)
	}
	return f, found
}

// hasVolume tells whether bars have a volume. IB gives none for quotes and what
// is computed.
func (c *BarCheck) hasVolume() bool {
	switch c.what {
	case "", "TRADES", "ADJUSTED_LAST", "AGGTRADES":
		return !c.NoVolume
	}
	return false
}

func below(n *big.Rat) bool { return n != nil && n.Sign() < 0 }

func (f figures) prices() []*big.Rat { return []*big.Rat{f.open, f.high, f.low, f.close} }

// ordered tells whether no price lies above the high or below the low.
func (f figures) ordered() bool {
	for _, p := range f.prices() {
		if p != nil && (f.high != nil && p.Cmp(f.high) > 0 || f.low != nil && p.Cmp(f.low) < 0) {
			return false
		}
	}
	return true
}

// moved tells whether the prices are not all the same.
func (f figures) moved() bool {
	var first *big.Rat
	for _, p := range f.prices() {
		switch {
		case p == nil:
		case first == nil:
			first = p
		case p.Cmp(first) != 0:
			return true
		}
	}
	return false
}

// same compares values, not how they are written. What is no number is like
// what is missing: both are found before.
func (f figures) same(g figures) bool {
	equal := func(a, b *big.Rat) bool { return a == b || a != nil && b != nil && a.Cmp(b) == 0 }
	return slices.EqualFunc(append(f.prices(), f.volume, f.wap), append(g.prices(), g.volume, g.wap), equal) && f.count == g.count
}

var numberForm = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?$`)

// maxNumber is how many characters a number may have. A shortest float64 has 24
// at most.
const maxNumber = 64

// number reads a finite number exactly, and is nil for anything else. What is
// beyond a float64 is taken for infinite, as whoever reads it next may do.
func number(text string) *big.Rat {
	if len(text) > maxNumber || !numberForm.MatchString(text) {
		return nil
	}
	if _, err := strconv.ParseFloat(text, 64); err != nil {
		return nil
	}
	n, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil
	}
	return n
}

// place says what is wrong with when a bar begins.
func (c *BarCheck) place(at time.Time, f figures, read time.Time) []BarIssue {
	var found []BarIssue
	if c.misaligned(at) {
		found = append(found, IssueMisaligned)
	}
	if c.future(at, read) {
		found = append(found, IssueFuture)
	}
	switch l := c.last; {
	case !l.seen:
	case at.Before(l.at):
		found = append(found, IssueNotAfter)
	case at.After(l.at):
		if c.hole(at) {
			found = append(found, IssueHole)
		}
	case l.provisional:
	case l.figures.same(f):
		found = append(found, IssueDuplicate)
	default:
		found = append(found, IssueConflicting)
	}
	return found
}

// dated tells whether bars have dates instead of times. Their dates are kept as
// midnights of UTC.
func (c *BarCheck) dated() bool { return c.span >= tradingDay }

// begins reads the time of a bar.
func (c *BarCheck) begins(text string) (time.Time, bool) {
	if len(text) > len(time.RFC3339Nano) {
		return time.Time{}, false
	}
	layout := time.RFC3339
	if c.dated() || c.span == 0 && len(text) == len(time.DateOnly) {
		layout = time.DateOnly
	}
	at, err := time.Parse(layout, text)
	return at.UTC(), err == nil
}

// grid is what bars begin at multiples of. Longer ones begin at hours that are
// counted from the midnight of the gateway's zone, which is not known.
func (c *BarCheck) grid() time.Duration { return min(c.span, time.Hour) }

// floor is the last multiple of the grid, by the market's clock.
func (c *BarCheck) floor(at time.Time) time.Time {
	offset := time.Duration(0)
	if c.hours.zone != nil {
		_, seconds := at.In(c.hours.zone).Zone()
		offset = time.Duration(seconds) * time.Second
	}
	return at.Add(offset).Truncate(c.grid()).Add(-offset)
}

// onGrid tells whether a moment is a multiple of the grid, by the clock of UTC
// or of the market: some zones are half an hour off.
func (c *BarCheck) onGrid(at time.Time) bool {
	return at.Equal(at.Truncate(c.grid())) || at.Equal(c.floor(at))
}

// openingStep is what the openings of markets are multiples of.
const openingStep = 5 * time.Minute

// misaligned tells whether no bar begins at a moment. The first of a session
// may be shorter and begin with it: with regular hours the hour of 09:00 begins
// at 09:30. Where the hours are not known there may be an opening.
func (c *BarCheck) misaligned(at time.Time) bool {
	if c.span == 0 || c.dated() || c.onGrid(at) || c.hours.opens(at) {
		return false
	}
	_, known := c.hours.Open(at)
	return known || !at.Equal(at.Truncate(openingStep))
}

// ends is when a bar that begins at a moment is finished, or a time after that
// where it is not known exactly.
func (c *BarCheck) ends(at time.Time) time.Time {
	switch {
	case c.span == 0:
		return at
	case c.span == tradingDay:
		return c.hours.dayEnds(at)
	case c.dated():
		_, last := c.period(at)
		return c.hours.midnightAfter(last)
	case c.span <= time.Hour && c.hours.zone != nil && !c.onGrid(at):
		return c.floor(at).Add(c.span) // that of an opening
	}
	return at.Add(c.span)
}

// period returns the first and the last day of the week or month that a day is
// in; bars of them are dated by one of its days.
func (c *BarCheck) period(day time.Time) (first, last time.Time) {
	switch {
	case c.span >= 28*tradingDay:
		first = day.AddDate(0, 0, 1-day.Day())
		return first, first.AddDate(0, 1, -1)
	case c.span >= 7*tradingDay:
		first = day.AddDate(0, 0, -(int(day.Weekday())+6)%7)
		return first, first.AddDate(0, 0, 6)
	}
	return day, day
}

// hole tells whether the market was open between the end of the last bar and a
// moment after its beginning.
func (c *BarCheck) hole(at time.Time) bool {
	if c.span == 0 {
		return false
	}
	if c.dated() {
		_, after := c.period(c.last.at)
		before, _ := c.period(at)
		return c.hours.traded(after.Format(time.DateOnly), before.Format(time.DateOnly))
	}
	open, _ := c.hours.OpenWithin(c.ends(c.last.at), at)
	return open
}

// future tells whether a bar begins after it was read, by more than clocks may
// differ, or for dates, than the day of a session can lie ahead of it.
func (c *BarCheck) future(at, read time.Time) bool {
	slack := time.Minute
	if c.dated() {
		slack = 31 * tradingDay
	}
	return !read.IsZero() && at.After(read.Add(slack))
}
