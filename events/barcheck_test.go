package events

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// bar makes a bar of trades from its time and "open high low close volume count".
func bar(at, numbers string) Bar {
	n := append(strings.Fields(numbers), make([]string, 6)...)
	b := Bar{Time: at, Open: n[0], High: n[1], Low: n[2], Close: n[3], Volume: n[4]}
	if n[5] != "" {
		b.Count = 1
	}
	return b
}

// marks words what a check said of a bar.
func marks(b Bar) string {
	words := []string{string(b.Severity)}
	for _, i := range b.Issues {
		words = append(words, string(i))
	}
	if b.Provisional {
		words = append(words, "provisional")
	}
	return strings.TrimSpace(strings.Join(words, " "))
}

const (
	at12  = "2026-11-25T12:00:00Z"
	fine  = "10 12 9 11 100 1"
	still = "10 10 10 10 0"
	quote = "10 12 9 11"
)

func TestBarsThatAreWrongByThemselves(t *testing.T) {
	long := strings.Repeat("9", 65)
	for _, tt := range []struct{ what, at, numbers, want string }{
		{"TRADES", at12, fine, ""},
		{"", at12, fine, ""},
		{"TRADES", at12, "-37.63 -10 -40.32 -37.63 100 1", ""}, // oil in April 2020
		{"TRADES", at12, "10.50 10.5 1.05e1 10.500 100 1", ""},
		{"TRADES", at12, "0.1 0.10000000000000001 0.1 0.1 100 1", ""},
		{"TRADES", at12, "0.10000000000000001 0.1 0.1 0.1 100 1", "error ohlc_order"}, // the same float64
		{"TRADES", at12, "10 9.99 9 9.5 100 1", "error ohlc_order"},
		{"TRADES", at12, "10 12 9 12.01 100 1", "error ohlc_order"},
		{"TRADES", at12, "10 12 10.5 11 100 1", "error ohlc_order"},
		{"TRADES", at12, "10 8 9 8.5 100 1", "error ohlc_order"},
		{"BID_ASK", at12, "10 12 10.01 11", "error ohlc_order"},
		{"YIELD_BID_ASK", at12, "5 4.9 4.8 4.85", ""}, // the ask's yields, and the bid's higher average
		{"TRADES", at12, "NaN 12 9 11 100 1", "error not_a_number"},
		{"TRADES", at12, "10 Inf 9 11 100 1", "error not_a_number"},
		{"TRADES", at12, "10 12 9 1e400 100 1", "error not_a_number"},
		{"TRADES", at12, "10 12 0x9 11 100 1", "error not_a_number"},
		{"TRADES", at12, "10 12 9 11 1/2 1", "error not_a_number"},
		{"TRADES", at12, "10 12 9 11 1_000 1", "error not_a_number"},
		{"TRADES", at12, "10 12 9 +11 100 1", "error not_a_number"},
		{"TRADES", at12, "10 " + long + " 9 11 100 1", "error not_a_number"},
		{"TRADES", at12, "10 1e300 1e-300 11 100 1", ""},
		{"TRADES", at12, "10 12 9", "error missing volume_not_positive"},
		{"MIDPOINT", at12, "10 12 9", "error missing"},
		{"TRADES", at12, "", "error missing"},
		{"TRADES", at12, "10 12 9 11 -1 1", "error negative"},
		{"BID", at12, "10 12 9 11 -1", "error negative"},
		{"HISTORICAL_VOLATILITY", at12, "0.1 0.2 -0.1 0.1", "error negative"},
		{"OPTION_IMPLIED_VOLATILITY", at12, "0.1 0.2 0.1 0.1", ""},
		{"YIELD_BID", at12, "-0.5 -0.4 -0.6 -0.5", ""},
		{"TRADES", at12, still, ""}, // nobody traded
		{"TRADES", at12, "10 10 10 10", ""},
		{"TRADES", at12, still + " 1", "warning volume_not_positive"},
		{"TRADES", at12, "10 12 9 11 0", "warning volume_not_positive"},
		{"ADJUSTED_LAST", at12, "10 12 9 11 0.0", "warning volume_not_positive"},
		{"AGGTRADES", at12, quote, "warning volume_not_positive"},
		{"TRADES", at12, "10 8 9 8 0", "error ohlc_order volume_not_positive"},
		{"MIDPOINT", at12, quote, ""},
		{"BID_ASK", at12, quote, ""},
		{"FEE_RATE", at12, quote, ""},
		{"TRADES", "noon", fine, "error not_a_time"},
		{"TRADES", "", fine, "error not_a_time"},
		{"TRADES", "2026-11-25", fine, "error not_a_time"},
		{"TRADES", at12 + long, fine, "error not_a_time"},
		{"TRADES", "2026-11-25T12:02:30Z", fine, "warning misaligned"},
		{"TRADES", "2026-11-25T13:00:00+01:00", fine, ""},
	} {
		b := bar(tt.at, tt.numbers)
		b.Issues, b.Severity, b.Provisional = []BarIssue{"old"}, SeverityInfo, true // of an earlier check
		got := NewBarCheck(5*time.Minute, tt.what, Hours{}).Check(b, utc(t, "2026-11-26T00:00:00Z"))
		if marks(got) != tt.want {
			t.Errorf("%s at %s of %.80s: %q, want %q", tt.what, tt.at, tt.numbers, marks(got), tt.want)
		}
		got.Issues, got.Severity, got.Provisional = b.Issues, b.Severity, b.Provisional
		if !equalBars(got, b) {
			t.Errorf("the bar %+v became %+v", b, got)
		}
	}
	c := NewBarCheck(5*time.Minute, "TRADES", Hours{})
	c.NoVolume = true
	if got := marks(c.Check(bar(at12, "10 12 9 11 0 1"), time.Time{})); got != "" {
		t.Errorf("a bar of an index: %q, want nothing", got)
	}
}

func equalBars(a, b Bar) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return string(x) == string(y)
}

func TestEveryIssueHasASeverity(t *testing.T) {
	warnings := []BarIssue{IssueVolumeNotPositive, IssueMisaligned, IssueDuplicate, IssueHole, IssueFuture}
	for _, v := range readSource(t).values["BarIssue"] {
		i := BarIssue(v.(string))
		want := SeverityError
		if slices.Contains(warnings, i) {
			want = SeverityWarning
		}
		if i.Severity() != want || !slices.Contains(issueOrder, i) {
			t.Errorf("%s is %q, want %q and its place in the order", i, i.Severity(), want)
		}
	}
	for _, tt := range []struct {
		issues []BarIssue
		want   Severity
	}{
		{nil, ""},
		{[]BarIssue{IssueHole, IssueDuplicate}, SeverityWarning},
		{[]BarIssue{IssueNegative, IssueHole}, SeverityError},
		{[]BarIssue{IssueHole, IssueNotAfter}, SeverityError},
	} {
		if got := WorstOf(tt.issues); got != tt.want {
			t.Errorf("WorstOf(%v) = %q, want %q", tt.issues, got, tt.want)
		}
	}
}

// step is a bar of a sequence, when it was read, and what is to be said of it.
type step struct{ at, numbers, read, want string }

func play(t *testing.T, name string, c *BarCheck, steps []step) {
	t.Helper()
	for i, s := range steps {
		var read time.Time
		if s.read != "" {
			read = utc(t, s.read)
		}
		if got := marks(c.Check(bar(s.at, s.numbers), read)); got != s.want {
			t.Errorf("%s: bar %d at %s: %q, want %q", name, i+1, s.at, got, s.want)
		}
	}
}

func TestBarsFollowEachOther(t *testing.T) {
	const later = "2026-12-20T00:00:00Z"
	stock, future := parseHours(t, stockWeek, "US/Eastern"), parseHours(t, futureWeek, "US/Central")
	for _, tt := range []struct {
		name  string
		span  time.Duration
		hours Hours
		steps []step
	}{
		{"in order, with hours unknown", time.Minute, Hours{}, []step{
			{at12, fine, later, ""},
			{"2026-11-25T12:01:00Z", fine, later, ""},
			{"2026-11-25T15:00:00Z", fine, later, ""},
		}},
		{"again", time.Minute, Hours{}, []step{
			{at12, fine, later, ""},
			{at12, "10.0 12 9.00 1.1e1 100 1", later, "warning duplicate"},
			{at12, "10 12 9 11 101 1", later, "error conflicting"},
			{at12, "10 12 9 11 101 1", later, "warning duplicate"},
			{at12, "10 12 9 11 101", later, "error conflicting"},
			{at12, "10 12 9 11 NaN", later, "error not_a_number conflicting"},
		}},
		{"backwards", time.Minute, Hours{}, []step{
			{at12, fine, later, ""},
			{"2026-11-25T12:02:00Z", fine, later, ""},
			{"2026-11-25T12:01:00Z", fine, later, "error not_after"},
			{"2026-11-25T12:02:30Z", fine, later, "warning misaligned"},
			{"2026-11-25T12:03:00Z", fine, later, ""},
		}},
		{"a time that cannot be is not remembered", time.Minute, Hours{}, []step{
			{at12, fine, "2026-11-25T12:30:00Z", ""},
			{"2026-11-25T12:31:00Z", fine, "2026-11-25T12:30:00Z", "provisional"}, // clocks differ
			{"9999-12-31T23:59:00Z", fine, "2026-11-25T12:31:00Z", "warning future provisional"},
			{"2026-11-25T12:32:00Z", fine, "2026-11-25T13:00:00Z", ""},
			{"x", fine, later, "error not_a_time"},
			{"2026-11-25T12:33:00Z", fine, "2026-11-25T13:00:00Z", ""},
		}},
		{"kept up to date", time.Minute, Hours{}, []step{
			{at12, fine, "2026-11-25T12:00:05Z", "provisional"},
			{at12, fine, "2026-11-25T12:00:10Z", "provisional"},
			{at12, "10 13 9 13 200 1", "2026-11-25T12:00:59Z", "provisional"},
			{at12, "10 13 9 12 220 1", "2026-11-25T12:01:00Z", ""},
			{at12, "10 13 9 12 220 1", "2026-11-25T12:01:01Z", "warning duplicate"},
			{"2026-11-25T12:01:00Z", fine, "2026-11-25T12:01:05Z", "provisional"},
		}},
		{"a hole in the session, and none in the night, on the holiday and at the weekend", 30 * time.Minute, stock, []step{
			{"2026-11-25T20:00:00Z", fine, later, ""},
			{"2026-11-25T20:30:00Z", fine, later, ""},
			{"2026-11-27T14:30:00Z", fine, later, ""},
			{"2026-11-27T15:30:00Z", fine, later, "warning hole"},
			{"2026-11-27T16:00:00Z", fine, later, ""},
			{"2026-11-30T14:30:00Z", fine, later, "warning hole"}, // the last three half hours of Friday
			{"2026-12-05T14:30:00Z", fine, later, "warning hole"},
			{"2026-12-07T14:30:00Z", fine, later, ""}, // of December nothing is known
		}},
		{"the hour of the opening is half an hour", time.Hour, stock, []step{
			{"2026-11-24T14:30:00Z", fine, later, ""}, // not listed: there may be an opening
			{"2026-11-24T14:33:00Z", fine, later, "warning misaligned"},
			{"2026-11-25T14:30:00Z", fine, "2026-11-25T14:59:59Z", "provisional"},
			{"2026-11-25T15:00:00Z", fine, "2026-11-25T15:59:59Z", "provisional"},
			{"2026-11-25T16:30:00Z", fine, later, "warning misaligned hole"},
			{"2026-11-25T17:00:00Z", fine, later, ""},
		}},
		{"the night of a future", 4 * time.Hour, future, []step{
			{"2026-11-24T23:00:00Z", fine, later, ""},
			{"2026-11-25T02:00:00Z", fine, later, ""}, // counted from a midnight elsewhere
			{"2026-11-25T06:00:00Z", fine, later, ""},
			{"2026-11-25T14:00:00Z", fine, later, "warning hole"},
			{"2026-11-25T14:30:00Z", fine, later, "warning misaligned"},
		}},
		{"the market's clock is half an hour off", time.Hour, parseHours(t, "20261125:0915-20261125:1530", "Asia/Calcutta"), []step{
			{"2026-11-25T03:45:00Z", fine, "2026-11-25T04:29:59Z", "provisional"},
			{"2026-11-25T04:30:00Z", fine, "2026-11-25T05:30:00Z", ""},
			{"2026-11-25T05:45:00Z", fine, later, "warning misaligned hole"},
		}},
		{"days", tradingDay, stock, []step{
			{"2026-11-24", fine, later, ""},
			{"2026-11-27", fine, later, "warning hole"}, // Wednesday, not Thursday
			{"2026-11-30", fine, later, ""},
			{"2026-11-30", fine, later, "warning duplicate"},
			{"2026-11-27", fine, later, "error not_after"},
			{"2026-12-11", fine, later, ""},
			{"2026-12-12T00:00:00Z", fine, later, "error not_a_time"},
			{"2027-12-12", fine, later, "warning future provisional"},
			{"2026-12-14", fine, later, ""},
		}},
		{"days end with their sessions", tradingDay, future, []step{
			{"2026-11-25", fine, "2026-11-25T21:59:59Z", "provisional"},
			{"2026-11-25", fine, "2026-11-25T22:00:00Z", ""},
			{"2026-11-26", fine, "2026-11-25T23:00:05Z", "provisional"}, // Thursday's bar begins on Wednesday
			{"2026-12-01", fine, "2026-12-02T05:59:59Z", "warning hole provisional"},
			{"2026-12-01", fine, "2026-12-02T06:00:00Z", ""},
		}},
		{"days without hours end when they have ended everywhere", tradingDay, Hours{}, []step{
			{"2026-11-25", fine, "2026-11-26T11:59:59Z", "provisional"},
			{"2026-11-26", fine, "2026-11-27T12:00:00Z", ""},
			{"2026-11-30", fine, later, ""},
		}},
		{"weeks", 7 * tradingDay, stock, []step{
			{"2026-11-20", fine, later, ""},
			{"2026-11-27", fine, "2026-11-28T00:00:00Z", "provisional"}, // dated by its last day
			{"2026-11-27", fine, "2026-11-30T05:00:00Z", ""},
			{"2026-11-30", fine, "2026-12-07T04:59:59Z", "provisional"}, // or its first
		}},
		{"a week that is missing", 7 * tradingDay, stock, []step{
			{"2026-11-16", fine, later, ""},
			{"2026-11-30", fine, later, "warning hole"},
		}},
		{"months", 28 * tradingDay, stock, []step{
			{"2026-10-30", fine, later, ""},
			{"2026-11-02", fine, "2026-12-01T04:59:59Z", "provisional"},
			{"2026-11-30", fine, "2026-12-01T05:00:00Z", ""},
		}},
		{"a month that is missing", 28 * tradingDay, stock, []step{
			{"2026-10-01", fine, later, ""},
			{"2026-12-01", fine, "2027-01-10T00:00:00Z", "warning hole"},
		}},
		{"a size that is not known", 0, stock, []step{
			{"2026-11-25T15:00:07Z", fine, "2026-11-25T15:00:07Z", ""},
			{"2026-11-25T19:00:00Z", fine, later, ""},
			{"2026-11-25T18:00:00Z", fine, later, "error not_after"},
			{"2026-11-26", fine, later, ""},
		}},
		{"when they were read is not known", time.Minute, Hours{}, []step{
			{"2999-01-01T00:00:00Z", fine, "", ""},
			{"2999-01-01T00:01:00Z", fine, "", ""},
		}},
	} {
		play(t, tt.name, NewBarCheck(tt.span, "TRADES", tt.hours), tt.steps)
	}
}

// TestAGoodDayHasNoMarks has every bar of a future's day, from Sunday evening on.
func TestAGoodDayHasNoMarks(t *testing.T) {
	h := parseHours(t, "20260308:CLOSED;20260308:1700-20260309:1600;20260309:1700-20260310:1600", "US/Central")
	for _, span := range []time.Duration{5 * time.Second, time.Minute, 5 * time.Minute, 20 * time.Minute, time.Hour, 8 * time.Hour} {
		c, bars := NewBarCheck(span, "TRADES", h), 0
		for at := utc(t, "2026-03-08T16:00:00Z"); at.Before(utc(t, "2026-03-10T21:00:00Z")); at = at.Add(span) {
			if open, _ := h.OpenWithin(at, at.Add(span)); !open {
				continue
			}
			numbers := fine
			if bars%7 == 3 {
				numbers = still
			}
			bars++
			if got := marks(c.Check(bar(at.Format(time.RFC3339), numbers), at.Add(span))); got != "" {
				t.Fatalf("%v at %s: %q, want nothing", span, at, got)
			}
		}
		if bars < 6 {
			t.Errorf("%d bars of %v", bars, span)
		}
	}
}

// TestAnAnswerOfMarkedBarsFitsAMessage has three issues of every bar.
func TestAnAnswerOfMarkedBarsFitsAMessage(t *testing.T) {
	long := strings.Repeat("1", 24)
	b := Bar{Time: at12, Open: long, High: long, Low: "2" + long[1:], Close: long, Volume: long, WAP: long, Count: 1<<31 - 1}
	b.Issues = []BarIssue{IssueOHLCOrder, IssueMisaligned, IssueHole}
	b.Severity = WorstOf(b.Issues)
	a := Answer{OK: true, Bars: slices.Repeat([]Bar{b}, MaxBars+100)}
	if text, err := json.Marshal(a); err != nil || len(text) > 1<<20-4096 {
		t.Errorf("the answer has %d bytes, %v, want fewer than a message may have, 1 MiB", len(text), err)
	}
}

func FuzzBarCheck(f *testing.F) {
	stock, future := parseHours(f, stockWeek, "US/Eastern"), parseHours(f, futureWeek, "US/Central")
	spans := []time.Duration{0, time.Second, 5 * time.Second, time.Minute, 20 * time.Minute, time.Hour, 4 * time.Hour, tradingDay, 7 * tradingDay, 28 * tradingDay}
	f.Add(uint8(3), uint8(0), at12+"\n2026-11-25T15:00:00Z\n"+at12, "10", "12", "9", "11", "100", int64(3), int64(1764072000))
	f.Add(uint8(7), uint8(4), "2026-11-25\n2026-11-27\n9999-12-31", "1e300", "NaN", "-0", "1e-300", "1e400", int64(-3), int64(1795996800))
	f.Add(uint8(5), uint8(1), "0001-01-01T00:00:00Z\n9999-12-31T23:59:59Z", "", "", "", "", "", int64(0), int64(-62135596800))
	f.Fuzz(func(t *testing.T, span, what uint8, times, open, high, low, close, volume string, count, read int64) {
		now := time.Unix(read, 0)
		for _, h := range []Hours{{}, stock, future} {
			c := NewBarCheck(spans[int(span)%len(spans)], BarKinds[int(what)%len(BarKinds)], h)
			for at := range strings.SplitSeq(times, "\n") {
				b := Bar{Time: at, Open: open, High: high, Low: low, Close: close, Volume: volume, WAP: low, Count: count}
				got := c.Check(b, now)
				if got.Severity != WorstOf(got.Issues) || (got.Severity == "") != (len(got.Issues) == 0) || len(got.Issues) > len(issueOrder) {
					t.Errorf("%+v: severity %q of %v", b, got.Severity, got.Issues)
				}
				if got.Severity == "" && (number(open) == nil || number(high) == nil || number(low) == nil || number(close) == nil) {
					t.Errorf("%+v has nothing against it", b)
				}
				if slices.Contains(got.Issues, IssueNotATime) && got.Provisional {
					t.Errorf("%+v is provisional without a time", b)
				}
				for _, n := range append(c.last.figures.prices(), c.last.figures.volume, c.last.figures.wap) {
					if n != nil && n.Num().BitLen()+n.Denom().BitLen() > 8192 {
						t.Errorf("%+v is remembered in %d and %d bits", b, n.Num().BitLen(), n.Denom().BitLen())
					}
				}
				got.Issues, got.Severity, got.Provisional = nil, "", false
				if !equalBars(got, b) {
					t.Errorf("the bar %+v became %+v", b, got)
				}
			}
		}
	})
}
