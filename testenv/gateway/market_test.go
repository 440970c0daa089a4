package gateway

import (
	"strings"
	"testing"
	"time"

	"github.com/scmhub/ibapi/protobuf"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC) // a Wednesday

func instrumentNamed(t testing.TB, local string) *instrument {
	t.Helper()
	found := newCatalogue(noon).find(&protobuf.Contract{LocalSymbol: &local})
	if len(found) != 1 {
		t.Fatalf("find(%s) = %d instruments, want 1", local, len(found))
	}
	return found[0]
}

func historyOf(t *testing.T, in *instrument, duration, size, what string) []bar {
	t.Helper()
	q, refused := readQuery(&protobuf.HistoricalDataRequest{Duration: &duration, BarSizeSetting: &size, WhatToShow: &what}, in, noon)
	if refused != nil {
		t.Fatalf("readQuery(%s of %s) = %s", duration, size, refused.text)
	}
	var bars []bar
	market{}.bars(q, func(b bar) bool {
		bars = append(bars, b)
		return true
	})
	return bars
}

func TestBarsAreWhatBarsMustBe(t *testing.T) {
	for _, local := range []string{"AAPL", "EUR.USD", "ESH6"} {
		in := instrumentNamed(t, local)
		for _, what := range []string{"TRADES", "MIDPOINT", "BID", "ASK", "BID_ASK"} {
			if what == "TRADES" && !in.traded {
				continue
			}
			for _, size := range []string{"1 secs", "5 secs", "1 min", "1 hour"} {
				for i, b := range historyOf(t, in, "7200 S", size, what) {
					if b.low <= 0 || b.low > min(b.open, b.close) || b.high < max(b.open, b.close) {
						t.Fatalf("%s %s %s: bar %d = %+v, want low <= open, close <= high", local, size, what, i, b)
					}
					if traded := what == "TRADES"; traded && (b.volume <= 0 || b.wap < b.low || b.wap > b.high) || !traded && b.volume != -1 {
						t.Fatalf("%s %s %s: bar %d = %+v has wrong volume or wap", local, size, what, i, b)
					}
				}
			}
		}
	}
}

func TestLongerBarsAddUpFromShorterOnes(t *testing.T) {
	in := instrumentNamed(t, "AAPL")
	pairs := []struct {
		short, long string
		each        int
	}{{"1 secs", "5 secs", 5}, {"5 secs", "1 min", 12}, {"1 min", "1 hour", 60}}
	for _, p := range pairs {
		short, long := historyOf(t, in, "7200 S", p.short, "TRADES"), historyOf(t, in, "7200 S", p.long, "TRADES")
		if len(short) != p.each*len(long) {
			t.Fatalf("%d bars of %s, %d of %s, want %d times as many", len(short), p.short, len(long), p.long, p.each)
		}
		for i, l := range long {
			part := short[i*p.each : (i+1)*p.each]
			sum := bar{start: part[0].start, open: part[0].open, high: part[0].high, low: part[0].low, close: part[p.each-1].close, wap: l.wap}
			for _, b := range part {
				sum.high, sum.low = max(sum.high, b.high), min(sum.low, b.low)
				sum.volume, sum.count = sum.volume+b.volume, sum.count+b.count
			}
			if !sum.start.Equal(l.start) || sum.open != l.open || sum.high != l.high || sum.low != l.low ||
				sum.close != l.close || sum.volume != l.volume || sum.count != l.count {
				t.Fatalf("bar %d of %s = %+v, its parts make %+v", i, p.long, l, sum)
			}
		}
	}
}

func TestAnotherSeedIsAnotherMarket(t *testing.T) {
	in := instrumentNamed(t, "AAPL")
	one, same, other := market{1}.trades(in, noon, noon.Add(time.Hour)), market{1}.trades(in, noon, noon.Add(time.Hour)), market{2}.trades(in, noon, noon.Add(time.Hour))
	if one != same {
		t.Errorf("the same bar differs: %+v, %+v", one, same)
	}
	if one == other {
		t.Errorf("seeds 1 and 2 make the same bar %+v", one)
	}
}

func TestLastPriceLiesWithinItsBar(t *testing.T) {
	in := instrumentNamed(t, "SPY")
	for i := range 100 {
		at := noon.Add(time.Duration(i) * 137 * time.Millisecond)
		b := market{}.trades(in, at.Truncate(5*time.Second), at.Truncate(5*time.Second).Add(5*time.Second))
		if last := (market{}).last(in, at); last < b.low || last > b.high {
			t.Errorf("last at %v = %v, outside of its bar %+v", at, last, b)
		}
	}
}

func TestHistoryCoversWhatWasAskedFor(t *testing.T) {
	in := instrumentNamed(t, "AAPL")
	cases := []struct {
		duration, size string
		bars           int
		first, last    string
	}{
		{"60 S", "5 secs", 12, "20260304 11:59:00 UTC", "20260304 11:59:55 UTC"},
		{"60", "1 secs", 60, "20260304 11:59:00 UTC", "20260304 11:59:59 UTC"},
		{"1 D", "1 hour", 24, "20260303 12:00:00 UTC", "20260304 11:00:00 UTC"},
		{"1 D", "8 hours", 3, "20260303 16:00:00 UTC", "20260304 08:00:00 UTC"},
		{"1 D", "1 day", 1, "20260304", "20260304"},
		{"5 D", "1 day", 5, "20260228", "20260304"},
		{"1 W", "1 week", 1, "20260302", "20260302"},
		{"1 D", "1W", 1, "20260302", "20260302"},
		{"2 M", "1 month", 2, "20260201", "20260301"},
		{"4 M", "1M", 4, "20251201", "20260301"},
	}
	for _, c := range cases {
		bars := historyOf(t, in, c.duration, c.size, "TRADES")
		size, err := parseBarSize(c.size)
		if err != nil || len(bars) != c.bars {
			t.Errorf("%s of %s: %d bars, %v, want %d", c.duration, c.size, len(bars), err, c.bars)
			continue
		}
		if first, last := size.date(bars[0].start, 1), size.date(bars[len(bars)-1].start, 1); first != c.first || last != c.last {
			t.Errorf("%s of %s: %s to %s, want %s to %s", c.duration, c.size, first, last, c.first, c.last)
		}
	}
}

func TestHistoryThatCannotBeHadIsRefusedInIBsWords(t *testing.T) {
	aapl, eur := instrumentNamed(t, "AAPL"), instrumentNamed(t, "EUR.USD")
	cases := []struct {
		in                        *instrument
		end, duration, size, what string
		follow                    bool
		code                      int32
		text                      string
	}{
		{aapl, "", "1 D", "7 mins", "TRADES", false, 321, "Historical data bar size setting is invalid. Legal ones are: 1 secs, 5 secs,"},
		{aapl, "", "1 X", "1 min", "TRADES", false, 321, `duration "1 X" is invalid`},
		{aapl, "", "-1 D", "1 min", "TRADES", false, 321, `duration "-1 D" is invalid`},
		{aapl, "", "366 D", "1 day", "TRADES", false, 321, "longer than 365 days must be made in years"},
		{aapl, "yesterday", "1 D", "1 min", "TRADES", false, 10314, "End Date/Time: The date, time, or time-zone entered is invalid."},
		{aapl, "20260304 12:00:00 Nowhere/None", "1 D", "1 min", "TRADES", false, 10314, "End Date/Time"},
		{aapl, "", "1 D", "1 min", "GUESSES", false, 321, "What to show"},
		{aapl, "20260304-12:00:00", "1 D", "1 min", "TRADES", true, 321, "keepUpToDate"},
		{aapl, "", "1 D", "1 min", "BID_ASK", true, 321, "What to show"},
		{aapl, "", "1 W", "1 secs", "TRADES", false, 162, "Time length exceed max."},
		{aapl, "", "11 Y", "1 day", "TRADES", false, 162, "Time length exceed max."},
		{eur, "", "1 D", "1 min", "TRADES", false, 162, "No historical market data for EUR/CASH@IDEALPRO Last 1 min"},
	}
	for _, c := range cases {
		_, got := readQuery(&protobuf.HistoricalDataRequest{
			EndDateTime: &c.end, Duration: &c.duration, BarSizeSetting: &c.size, WhatToShow: &c.what, KeepUpToDate: &c.follow,
		}, c.in, noon)
		if got == nil || got.code != c.code || !strings.Contains(got.text, c.text) {
			t.Errorf("readQuery(%q %s of %s %s) = %+v, want %d ...%s...", c.end, c.duration, c.size, c.what, got, c.code, c.text)
		}
	}
}

func TestEndTimesOfAllFormsAreUnderstood(t *testing.T) {
	for _, s := range []string{"", "20260304-12:00:00", "20260304 12:00:00", "20260304 12:00:00 UTC"} {
		if got, err := parseEnd(s, noon); err != nil || !got.Equal(noon) {
			t.Errorf("parseEnd(%q) = %v, %v, want %v", s, got, err, noon)
		}
	}
}

func TestContractsAreFoundByWhatClientsSayOfThem(t *testing.T) {
	c := newCatalogue(noon)
	cases := []struct {
		want  *protobuf.Contract
		found string
	}{
		{&protobuf.Contract{ConId: new(int32(265598))}, "AAPL"},
		{&protobuf.Contract{Symbol: new("AAPL"), SecType: new("STK"), Exchange: new("NASDAQ"), Currency: new("USD")}, "AAPL"},
		{&protobuf.Contract{Symbol: new("aapl")}, "AAPL"},
		{&protobuf.Contract{Symbol: new("EUR"), SecType: new("CASH"), Exchange: new("IDEALPRO")}, "EUR.USD"},
		{&protobuf.Contract{Symbol: new("ES"), LastTradeDateOrContractMonth: new("202603")}, "ESH6"},
		{&protobuf.Contract{Symbol: new("ES"), LastTradeDateOrContractMonth: new("20260618")}, ""},
		{&protobuf.Contract{Symbol: new("ES"), SecType: new("FUT")}, "ESH6 ESM6"},
		{&protobuf.Contract{Symbol: new("AAPL"), Currency: new("EUR")}, ""},
		{&protobuf.Contract{Symbol: new("AAPL"), Exchange: new("NYS")}, ""},
		{&protobuf.Contract{SecType: new("STK")}, ""},
		{&protobuf.Contract{}, ""},
	}
	for _, tc := range cases {
		var names []string
		for _, in := range c.find(tc.want) {
			names = append(names, in.contract.GetLocalSymbol())
		}
		if got := strings.Join(names, " "); got != tc.found {
			t.Errorf("find(%v) = %q, want %q", tc.want, got, tc.found)
		}
	}
	if got, want := nextQuarterly(noon), time.Date(2026, 3, 20, 0, 0, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("nextQuarterly(%v) = %v, want %v", noon, got, want)
	}
	if got, want := nextQuarterly(time.Date(2026, 12, 20, 0, 0, 0, 0, time.UTC)), time.Date(2027, 3, 19, 0, 0, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("nextQuarterly(20 December 2026) = %v, want %v", got, want)
	}
}

// TestTheLastMinuteHasABarAtAnyMoment asks when a minute has only just begun, too: its bar has no trades in its first five seconds.
func TestTheLastMinuteHasABarAtAnyMoment(t *testing.T) {
	end, duration, size, what := "", "60 S", "1 min", "TRADES"
	for _, after := range []time.Duration{0, 1, time.Millisecond, 999 * time.Millisecond, time.Second, 1500 * time.Millisecond, 59 * time.Second} {
		now := noon.Add(after)
		q, refused := readQuery(&protobuf.HistoricalDataRequest{EndDateTime: &end, Duration: &duration, BarSizeSetting: &size, WhatToShow: &what}, newCatalogue(now)[0], now)
		if refused != nil {
			t.Fatal(refused.text)
		}
		n := 0
		market{}.bars(q, func(bar) bool { n++; return true })
		if n != 1 {
			t.Errorf("%v after the minute began the last 60 s have %d bars, want 1", after, n)
		}
	}
}

func FuzzHistoryRequestsAreAnsweredOrRefused(f *testing.F) {
	f.Add("", "1 D", "1 min", "TRADES", false)
	f.Add("20260304 12:00:00", "2147483647 W", "1 secs", "BID", true)
	f.Add("00010101-00:00:00", "10 Y", "1M", "ASK", false)
	f.Fuzz(func(t *testing.T, end, duration, size, what string, follow bool) {
		q, refused := readQuery(&protobuf.HistoricalDataRequest{
			EndDateTime: &end, Duration: &duration, BarSizeSetting: &size, WhatToShow: &what, KeepUpToDate: &follow,
		}, newCatalogue(noon)[0], noon)
		if refused != nil {
			return
		}
		if !q.start.Before(q.end) {
			t.Fatalf("query from %v to %v", q.start, q.end)
		}
		n := 0
		if q.size.span > 0 {
			market{}.bars(q, func(bar) bool { n++; return n < 100 })
		}
	})
}
