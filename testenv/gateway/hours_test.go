package gateway

import (
	"slices"
	"testing"
	"time"

	"github.com/scmhub/ibapi/protobuf"
)

func inZone(t *testing.T, zone, at string) time.Time {
	t.Helper()
	when, err := time.ParseInLocation("20060102 15:04:05", at, mustLoad(t, zone))
	if err != nil {
		t.Fatal(err)
	}
	return when
}

func mustLoad(t *testing.T, zone string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestMarketsAreOpenWhenTheirsAre(t *testing.T) {
	for _, c := range []struct {
		local, zone, at string
		trading, liquid bool
	}{
		{"AAPL", "US/Eastern", "20260304 03:59:59", false, false},
		{"AAPL", "US/Eastern", "20260304 04:00:00", true, false},
		{"AAPL", "US/Eastern", "20260304 09:29:59", true, false},
		{"AAPL", "US/Eastern", "20260304 09:30:00", true, true},
		{"AAPL", "US/Eastern", "20260304 15:59:59", true, true},
		{"AAPL", "US/Eastern", "20260304 16:00:00", true, false},
		{"AAPL", "US/Eastern", "20260304 20:00:00", false, false},
		{"AAPL", "US/Eastern", "20260307 12:00:00", false, false}, // Saturday
		{"AAPL", "UTC", "20260306 14:30:00", true, true},          // Friday before summer time begins
		{"AAPL", "UTC", "20260309 13:30:00", true, true},          // Monday after
		{"AAPL", "UTC", "20260306 13:30:00", true, false},
		{"ESH6", "US/Central", "20260304 15:59:59", true, false},
		{"ESH6", "US/Central", "20260304 16:00:00", false, false}, // the daily break
		{"ESH6", "US/Central", "20260304 17:00:00", true, false},
		{"ESH6", "US/Central", "20260304 08:30:00", true, true},
		{"ESH6", "US/Central", "20260304 15:00:00", true, false},
		{"ESH6", "US/Central", "20260306 17:00:00", false, false}, // Friday evening
		{"ESH6", "US/Central", "20260308 16:59:59", false, false}, // Sunday
		{"ESH6", "US/Central", "20260308 17:00:00", true, false},
		{"EUR.USD", "US/Eastern", "20260304 17:14:59", false, false},
		{"EUR.USD", "US/Eastern", "20260304 17:15:00", true, true},
		{"EUR.USD", "US/Eastern", "20260306 17:00:00", false, false},
		{"EUR.USD", "US/Eastern", "20260308 17:15:00", true, true},
	} {
		in, at := instrumentNamed(t, c.local), inZone(t, c.zone, c.at)
		trading, liquid := schedule{in.calendar, in.calendar.trading}, schedule{in.calendar, in.calendar.liquid}
		if trading.open(at) != c.trading || liquid.open(at) != c.liquid {
			t.Errorf("%s at %s %s is open %t, liquid %t, want %t, %t", c.local, c.at, c.zone, trading.open(at), liquid.open(at), c.trading, c.liquid)
		}
	}
	if never := (*schedule)(nil); !never.open(noon) {
		t.Error("without hours a market is closed")
	}
}

func TestHoursAreWrittenInIBsForm(t *testing.T) {
	friday := inZone(t, "UTC", "20260307 02:00:00") // which is Friday still in both zones
	for _, c := range []struct{ local, trading, liquid string }{
		{"AAPL", "20260306:0400-20260306:2000;20260307:CLOSED;20260308:CLOSED;20260309:0400-20260309:2000", "20260306:0930-20260306:1600;20260307:CLOSED;20260308:CLOSED;20260309:0930-20260309:1600"},
		{"ESH6", "20260305:1700-20260306:1600;20260307:CLOSED;20260308:CLOSED;20260308:1700-20260309:1600", "20260306:0830-20260306:1500;20260307:CLOSED;20260308:CLOSED;20260309:0830-20260309:1500"},
		{"EUR.USD", "20260305:1715-20260306:1700;20260307:CLOSED;20260308:CLOSED;20260308:1715-20260309:1700", "20260305:1715-20260306:1700;20260307:CLOSED;20260308:CLOSED;20260308:1715-20260309:1700"},
	} {
		in := instrumentNamed(t, c.local)
		if got := in.calendar.written(in.calendar.trading, friday, 4); got != c.trading {
			t.Errorf("%s is traded %s, want %s", c.local, got, c.trading)
		}
		if got := in.calendar.written(in.calendar.liquid, friday, 4); got != c.liquid {
			t.Errorf("%s is liquid %s, want %s", c.local, got, c.liquid)
		}
	}
}

// historyIn is like historyOf, with an end, and if closes with the hours of the market.
func historyIn(t *testing.T, in *instrument, end time.Time, duration, size string, closes, useRTH bool) []bar {
	t.Helper()
	at := end.UTC().Format("20060102-15:04:05")
	q, refused := readQuery(&protobuf.HistoricalDataRequest{
		EndDateTime: &at, Duration: &duration, BarSizeSetting: &size, WhatToShow: new("BID"),
	}, in, noon)
	if refused != nil {
		t.Fatalf("readQuery(%s of %s) = %s", duration, size, refused.text)
	}
	q.what = "TRADES" // of currencies too, to see their volume
	q.open = (&Gateway{cfg: Config{Hours: closes}}).schedule(in, useRTH)
	var bars []bar
	market{}.bars(q, func(b bar) bool {
		bars = append(bars, b)
		return true
	})
	return bars
}

func TestHoursHideBarsAndChangeNone(t *testing.T) {
	for _, local := range []string{"AAPL", "ESH6", "EUR.USD"} {
		in := instrumentNamed(t, local)
		for _, size := range []string{"5 secs", "1 min"} {
			all := historyIn(t, in, noon, "1 D", size, false, false)
			for _, useRTH := range []bool{false, true} {
				open := (&Gateway{cfg: Config{Hours: true}}).schedule(in, useRTH)
				want := slices.DeleteFunc(slices.Clone(all), func(b bar) bool { return !open.open(b.start) })
				got := historyIn(t, in, noon, "1 D", size, true, useRTH)
				if len(want) == 0 || len(want) == len(all) || !slices.Equal(got, want) {
					t.Errorf("%s of %s, useRTH %t: %d bars, want %d of %d, the same ones", size, local, useRTH, len(got), len(want), len(all))
				}
			}
		}
	}
}

func TestSecondsAreHiddenOutsideOfHours(t *testing.T) {
	in := instrumentNamed(t, "AAPL")
	end := inZone(t, "US/Eastern", "20260304 09:31:00")
	if got := historyIn(t, in, end, "120 S", "1 secs", true, true); len(got) != 60 || !got[0].start.Equal(end.Add(-time.Minute)) {
		t.Errorf("%d seconds of the first minute, want 60", len(got))
	}
}

func TestBarsOfTheOpeningBeginWithIt(t *testing.T) {
	in := instrumentNamed(t, "AAPL")
	var got []string
	for _, b := range historyIn(t, in, noon, "1 D", "1 hour", true, true) {
		got = append(got, b.start.Format("1504"))
	}
	if want := []string{"1430", "1500", "1600", "1700", "1800", "1900", "2000"}; !slices.Equal(got, want) {
		t.Errorf("hours of a day = %v UTC, want %v", got, want)
	}
}

func TestDaysAreSessions(t *testing.T) {
	es := instrumentNamed(t, "ESH6")
	sunday := inZone(t, "US/Central", "20260308 18:00:00") // the session of Monday has begun an hour ago
	days := historyIn(t, es, sunday, "5 D", "1 day", true, false)
	var got []string
	for _, b := range days {
		got = append(got, b.start.Format("20060102"))
	}
	if want := []string{"20260304", "20260305", "20260306", "20260309"}; !slices.Equal(got, want) {
		t.Fatalf("days = %v, want %v", got, want)
	}
	monday := historyIn(t, es, sunday, "3600 S", "1 hour", true, false)
	if last := days[len(days)-1]; len(monday) != 1 || last.open != monday[0].open || last.volume != monday[0].volume {
		t.Errorf("the day so far = %+v, its only hour = %+v", last, monday)
	}
	q := query{in: es, size: barSize{days: 1}, open: &schedule{es.calendar, es.calendar.trading}}
	if at := q.beginning(sunday).Format("20060102"); at != "20260309" {
		t.Errorf("the bar that is being made is of %s, want Monday", at)
	}

	// A week's volume is that of its days, and a day's that of its hours, with or without regular hours alone.
	friday := inZone(t, "US/Central", "20260306 17:00:00")
	for _, useRTH := range []bool{false, true} {
		volume := func(duration, size string) (sum int64) {
			for _, b := range historyIn(t, es, friday, duration, size, true, useRTH) {
				sum += b.volume
			}
			return sum
		}
		if week, days := volume("1 D", "1 week"), volume("5 D", "1 day"); week == 0 || week != days {
			t.Errorf("useRTH %t: volume of a week = %d, of its days %d", useRTH, week, days)
		}
		if days, hours := volume("1 D", "1 day"), volume("1 D", "1 hour"); days == 0 || days != hours {
			t.Errorf("useRTH %t: volume of a day = %d, of its hours %d", useRTH, days, hours)
		}
	}
}

func TestNoDataIsOlderThanTheHead(t *testing.T) {
	for _, local := range []string{"AAPL", "EUR.USD", "ESH6"} {
		in := instrumentNamed(t, local)
		for _, closes := range []bool{false, true} {
			for _, size := range []string{"5 secs", "1 min", "1 hour"} {
				bars := historyIn(t, in, in.head.Add(time.Hour), "7200 S", size, closes, false)
				if len(bars) == 0 || bars[0].start.Before(in.head.Add(-time.Hour+1)) || size != "1 hour" && !bars[0].start.Equal(in.head) {
					t.Errorf("%s of %s, closing %t: %d bars, want the first at the head %v", size, local, closes, len(bars), in.head)
				}
			}
			if got := historyIn(t, in, in.head, "1 Y", "1 month", closes, false); len(got) != 0 {
				t.Errorf("%s has %d bars before its head", local, len(got))
			}
		}
	}
}

func TestBarsOfAllSizesAreInOrderWithHours(t *testing.T) {
	for _, local := range []string{"AAPL", "EUR.USD", "ESH6"} {
		in := instrumentNamed(t, local)
		for _, size := range barSizes {
			if bars := historyIn(t, in, time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC), "3600 S", size.name, true, true); len(bars) != 0 {
				t.Errorf("%s of %s: %d bars of the year 1, want none", size.name, local, len(bars))
			}
			last := time.Time{}
			for _, b := range historyIn(t, in, noon, "7000 S", size.name, true, false) {
				if !b.start.After(last) || b.volume <= 0 || b.low > b.high {
					t.Errorf("%s of %s: bar %+v after %v", size.name, local, b, last)
				}
				last = b.start
			}
		}
	}
}
