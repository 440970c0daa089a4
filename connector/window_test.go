package connector_test

import (
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the zones' real rules, on any machine

	"ibconn/connector"
)

func window(t testing.TB, text string) connector.Window {
	t.Helper()
	w, err := connector.ParseWindow(text)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// clock reads "2026-07-05 00:15" by the clock of a zone.
func clock(t testing.TB, text string, zone *time.Location) time.Time {
	t.Helper()
	at, err := time.ParseInLocation("2006-01-02 15:04", text, zone)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// checkOpen holds w to being open from one moment until just before another,
// and to be shut just before and after.
func checkOpen(t *testing.T, w connector.Window, opens, closes time.Time) {
	t.Helper()
	for _, c := range []struct {
		at   time.Time
		open bool
		next time.Time
	}{
		{opens.Add(-1), false, opens},
		{opens, true, closes},
		{opens.Add(closes.Sub(opens) / 2), true, closes},
		{closes.Add(-1), true, closes},
	} {
		if got := w.Contains(c.at); got != c.open {
			t.Errorf("%s: Contains(%v) = %v, want %v", w, c.at, got, c.open)
		}
		if got := w.Next(c.at); !got.Equal(c.next) {
			t.Errorf("%s: Next(%v) = %v, want %v", w, c.at, got, c.next)
		}
	}
	if w.Contains(closes) {
		t.Errorf("%s: Contains(%v) = true, want false", w, closes)
	}
}

func TestEveryPublishedWindowIsOpenBetweenItsEdges(t *testing.T) {
	const weekend = "weekend Fri 23:00 - Sat 03:00 America/New_York"
	type opening struct{ from, to, fromUTC, toUTC string }
	rows := []struct {
		window   string
		regions  []string
		openings []opening // in summer and in winter, on its first and its last day
		shut     string    // its hour on a day that is not its own
	}{
		{
			weekend,
			[]string{"north-america", "europe", "asia", "north-america-2024", "europe-2024", "asia-2024"},
			[]opening{
				{"2026-07-10 23:00", "2026-07-11 03:00", "2026-07-11 03:00", "2026-07-11 07:00"},
				{"2026-01-16 23:00", "2026-01-17 03:00", "2026-01-17 04:00", "2026-01-17 08:00"},
			},
			"2026-07-09 23:00",
		},
		{
			"reset Sun-Fri 00:15-01:45 America/New_York",
			[]string{"north-america"},
			[]opening{
				{"2026-07-05 00:15", "2026-07-05 01:45", "2026-07-05 04:15", "2026-07-05 05:45"},
				{"2026-01-16 00:15", "2026-01-16 01:45", "2026-01-16 05:15", "2026-01-16 06:45"},
			},
			"2026-07-11 00:15",
		},
		{
			"reset Sun-Fri 06:25-07:45 Europe/Zurich",
			[]string{"europe"},
			[]opening{
				{"2026-07-05 06:25", "2026-07-05 07:45", "2026-07-05 04:25", "2026-07-05 05:45"},
				{"2026-01-16 06:25", "2026-01-16 07:45", "2026-01-16 05:25", "2026-01-16 06:45"},
			},
			"2026-07-11 06:25",
		},
		{
			"reset Sun-Fri 04:45-06:05 Asia/Hong_Kong",
			[]string{"asia"},
			[]opening{
				{"2026-07-05 04:45", "2026-07-05 06:05", "2026-07-04 20:45", "2026-07-04 22:05"},
				{"2026-01-16 04:45", "2026-01-16 06:05", "2026-01-15 20:45", "2026-01-15 22:05"},
			},
			"2026-07-11 04:45",
		},
		{
			"reset Sun-Fri 20:15-21:15 Asia/Hong_Kong",
			[]string{"asia"},
			[]opening{
				{"2026-07-05 20:15", "2026-07-05 21:15", "2026-07-05 12:15", "2026-07-05 13:15"},
				{"2026-01-16 20:15", "2026-01-16 21:15", "2026-01-16 12:15", "2026-01-16 13:15"},
			},
			"2026-07-11 20:15",
		},
		{
			"reset Sat-Thu 23:45-00:45 America/New_York",
			[]string{"north-america-2024"},
			[]opening{
				{"2026-07-04 23:45", "2026-07-05 00:45", "2026-07-05 03:45", "2026-07-05 04:45"},
				{"2026-01-15 23:45", "2026-01-16 00:45", "2026-01-16 04:45", "2026-01-16 05:45"},
			},
			"2026-07-10 23:45",
		},
		{
			"reset Sat-Thu 05:45-06:45 Europe/Zurich",
			[]string{"europe-2024"},
			[]opening{
				{"2026-07-04 05:45", "2026-07-04 06:45", "2026-07-04 03:45", "2026-07-04 04:45"},
				{"2026-01-15 05:45", "2026-01-15 06:45", "2026-01-15 04:45", "2026-01-15 05:45"},
			},
			"2026-07-10 05:45",
		},
		{
			"reset Sat-Thu 16:45-17:45 America/New_York",
			[]string{"asia-2024"},
			[]opening{
				{"2026-07-04 16:45", "2026-07-04 17:45", "2026-07-04 20:45", "2026-07-04 21:45"},
				{"2026-01-15 16:45", "2026-01-15 17:45", "2026-01-15 21:45", "2026-01-15 22:45"},
			},
			"2026-07-10 16:45",
		},
		{
			"reset Sat-Thu 20:15-21:00 Asia/Hong_Kong",
			[]string{"asia-2024"},
			[]opening{
				{"2026-07-04 20:15", "2026-07-04 21:00", "2026-07-04 12:15", "2026-07-04 13:00"},
				{"2026-01-15 20:15", "2026-01-15 21:00", "2026-01-15 12:15", "2026-01-15 13:00"},
			},
			"2026-07-10 20:15",
		},
	}

	count := map[string]int{}
	for _, row := range rows {
		for _, region := range row.regions {
			count[region]++
			preset, err := connector.Presets(region)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(preset, func(w connector.Window) bool { return w.String() == row.window })
			if i < 0 {
				t.Errorf("Presets(%s) = %v, want %q among them", region, preset, row.window)
				continue
			}
			w := preset[i]
			if shut := clock(t, row.shut, w.Zone); w.Contains(shut) {
				t.Errorf("%s: Contains(%v) = true, want false", w, shut)
			}
			for _, o := range row.openings {
				checkOpen(t, w, clock(t, o.from, w.Zone), clock(t, o.to, w.Zone))
				checkOpen(t, w, clock(t, o.fromUTC, time.UTC), clock(t, o.toUTC, time.UTC))
			}
		}
	}
	for region, n := range count {
		if preset, _ := connector.Presets(region); len(preset) != n {
			t.Errorf("Presets(%s) = %v, want the %d windows of this test", region, preset, n)
		}
	}
}

func TestTheObservedDropLiesInTheNewerNorthAmericanReset(t *testing.T) {
	drop := time.Date(2026, 4, 23, 4, 15, 3, 0, time.UTC) // LEAN #227
	newer, _ := connector.Presets("north-america")
	w, ok := newer.At(drop)
	if !ok || w.Kind != connector.WindowReset {
		t.Errorf("At(%v) = %q, %v, want the reset", drop, w, ok)
	}
	if got, want := w.Next(drop), time.Date(2026, 4, 23, 5, 45, 0, 0, time.UTC); got != want {
		t.Errorf("Next(%v) = %v, want %v", drop, got, want)
	}
}

func TestPresetsNamesTheRegionsThereAre(t *testing.T) {
	const want = `region "emea": want one of asia, asia-2024, europe, europe-2024, north-america, north-america-2024`
	if ws, err := connector.Presets("emea"); ws != nil || err == nil || err.Error() != want {
		t.Errorf("Presets(emea) = %v, %v, want %s", ws, err, want)
	}
}

func TestTheFirstOpenWindowTakesPrecedence(t *testing.T) {
	short, long := window(t, "reset daily 10:00-11:00 UTC"), window(t, "weekend Sun 09:00-12:00 UTC")
	for _, c := range []struct {
		windows connector.Windows
		at      string
		want    string // none if empty
	}{
		{connector.Windows{short, long}, "2026-07-05 10:30", short.String()},
		{connector.Windows{long, short}, "2026-07-05 10:30", long.String()},
		{connector.Windows{short, long}, "2026-07-05 09:30", long.String()},
		{connector.Windows{short, long}, "2026-07-06 09:30", ""},
		{nil, "2026-07-05 10:30", ""},
	} {
		got, ok := c.windows.At(clock(t, c.at, time.UTC))
		if ok != (c.want != "") || ok && got.String() != c.want {
			t.Errorf("%v.At(%s) = %q, %v, want %q", c.windows, c.at, got, ok, c.want)
		}
	}
}

func TestAWindowFollowsItsClockOverAChange(t *testing.T) {
	for _, c := range []struct{ window, opens, closes string }{ // in UTC
		// New York, 2026-03-08: 02:00 becomes 03:00 at 07:00 UTC.
		{"reset daily 01:30-02:00 America/New_York", "2026-03-08 06:30", "2026-03-08 07:00"},
		{"reset daily 01:30-02:30 America/New_York", "2026-03-08 06:30", "2026-03-08 07:00"},
		{"reset daily 02:30-03:30 America/New_York", "2026-03-08 07:00", "2026-03-08 07:30"},
		{"reset daily 03:00-03:30 America/New_York", "2026-03-08 07:00", "2026-03-08 07:30"},
		{"reset daily 01:00-04:00 America/New_York", "2026-03-08 06:00", "2026-03-08 08:00"},
		{"reset Sat 23:45-03:15 America/New_York", "2026-03-08 04:45", "2026-03-08 07:15"},
		{"reset Sun-Fri 00:15-01:45 America/New_York", "2026-03-08 05:15", "2026-03-08 06:45"},
		{"weekend Fri 22:45 - Sun 02:00 America/New_York", "2026-03-07 03:45", "2026-03-08 07:00"},
		{"weekend Fri 22:45 - Sun 03:00 America/New_York", "2026-03-07 03:45", "2026-03-08 07:00"},
		{"weekend Fri 22:45 - Mon 02:00 America/New_York", "2026-03-07 03:45", "2026-03-09 06:00"},

		// New York, 2026-11-01: 02:00 becomes 01:00 at 06:00 UTC.
		{"reset daily 00:30-01:00 America/New_York", "2026-11-01 04:30", "2026-11-01 05:00"},
		{"reset Sun-Fri 00:15-01:45 America/New_York", "2026-11-01 04:15", "2026-11-01 06:45"},
		{"reset daily 01:00-02:00 America/New_York", "2026-11-01 05:00", "2026-11-01 07:00"},
		{"reset daily 01:15-01:45 America/New_York", "2026-11-01 05:15", "2026-11-01 06:45"},
		{"reset daily 01:30-02:30 America/New_York", "2026-11-01 05:30", "2026-11-01 07:30"},
		{"reset daily 02:00-03:00 America/New_York", "2026-11-01 07:00", "2026-11-01 08:00"},
		{"weekend Fri 22:45 - Sun 02:00 America/New_York", "2026-10-31 02:45", "2026-11-01 07:00"},
		{"weekend Sun 01:30 - Tue 02:00 America/New_York", "2026-11-01 05:30", "2026-11-03 07:00"},

		// Zurich, 2026-03-29 and 2026-10-25: 02:00 becomes 03:00, and 03:00
		// becomes 02:00, at 01:00 UTC.
		{"restart daily 01:45-02:15 Europe/Zurich", "2026-03-29 00:45", "2026-03-29 01:00"},
		{"restart daily 02:45-03:15 Europe/Zurich", "2026-03-29 01:00", "2026-03-29 01:15"},
		{"reset Sun-Fri 06:25-07:45 Europe/Zurich", "2026-03-29 04:25", "2026-03-29 05:45"},
		{"restart daily 01:45-02:15 Europe/Zurich", "2026-10-24 23:45", "2026-10-25 01:15"},
		{"restart daily 02:45-03:15 Europe/Zurich", "2026-10-25 00:45", "2026-10-25 02:15"},
		{"reset Sun-Fri 06:25-07:45 Europe/Zurich", "2026-10-25 05:25", "2026-10-25 06:45"},

		// Hong Kong's clocks do not change, whatever others do.
		{"reset Sun-Fri 20:15-21:15 Asia/Hong_Kong", "2026-03-08 12:15", "2026-03-08 13:15"},
		{"reset Sun-Fri 04:45-06:05 Asia/Hong_Kong", "2026-10-31 20:45", "2026-10-31 22:05"},

		// Havana, 2026-11-01: 01:00 becomes 00:00 at 05:00 UTC, so midnight comes twice.
		{"restart daily 23:45-00:15 America/Havana", "2026-11-01 03:45", "2026-11-01 05:15"},

		// The gap between two days' windows lies in the skipped hour, or shrinks
		// to nothing in the repeated one.
		{"reset daily 03:00-02:00 America/New_York", "2026-03-07 08:00", "2026-03-09 06:00"},
		{"reset daily 01:45-01:15 America/New_York", "2026-10-31 05:45", "2026-11-02 06:15"},
	} {
		checkOpen(t, window(t, c.window), clock(t, c.opens, time.UTC), clock(t, c.closes, time.UTC))
	}
}

func TestAWindowInsideASkippedHourDoesNotOpen(t *testing.T) {
	weekly, lastWeek := window(t, "reset Sun 02:15-02:45 America/New_York"), clock(t, "2026-03-01 07:45", time.UTC)
	if got, want := weekly.Next(lastWeek), clock(t, "2026-03-15 06:15", time.UTC); got != want {
		t.Errorf("%s: Next(%v) = %v, want %v", weekly, lastWeek, got, want)
	}

	midnight := time.Date(2026, 3, 8, 5, 0, 0, 0, time.UTC) // in New York
	for _, c := range []struct{ window, next string }{
		{"reset daily 02:15-02:45 America/New_York", "2026-03-09 06:15"},
		{"reset Sun 02:15-02:45 America/New_York", "2026-03-15 06:15"},
		{"reset Sun 02:00-03:00 America/New_York", "2026-03-15 06:00"},
	} {
		w := window(t, c.window)
		if got, want := w.Next(midnight), clock(t, c.next, time.UTC); got != want {
			t.Errorf("%s: Next(%v) = %v, want %v", w, midnight, got, want)
		}
		for at := midnight; at.Before(midnight.Add(23 * time.Hour)); at = at.Add(15 * time.Minute) {
			if w.Contains(at) {
				t.Errorf("%s: Contains(%v) = true, want false", w, at)
			}
		}
	}
}

// On days without a change a window is open exactly while its clock reads
// between its edges, which is simple to say another way; and on all days Next
// is when Contains changes.
func TestAWindowIsOpenWhileItsClockReadsBetweenItsEdges(t *testing.T) {
	for _, text := range []string{
		"reset Sun-Fri 00:15-01:45 America/New_York",
		"reset Sat-Thu 23:45-00:45 America/New_York",
		"weekend Fri 22:45 - Sun 02:00 America/New_York",
		"weekend Mon 00:00 - Sun 23:59 America/New_York",
		"reset Mon,Wed-Thu,Sat 01:30-02:30 Europe/Zurich",
		"restart daily 02:15-02:45 Europe/Zurich",
		"restart daily 12:00-11:00 Europe/Zurich",
		"restart daily 02:45-02:30 Europe/Zurich",
		"reset Sun-Fri 04:45-06:05 Asia/Hong_Kong",
	} {
		w := window(t, text)
		next := time.Time{}
		for at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC); at.Year() == 2026; at = at.Add(37 * time.Minute) {
			open := w.Contains(at)
			if _, change := at.AddDate(0, 0, -8).In(w.Zone).ZoneBounds(); change.IsZero() || change.After(at.AddDate(0, 0, 8)) {
				if want := reads(w, at); open != want {
					t.Fatalf("%s: Contains(%v) = %v, want %v", w, at.In(w.Zone), open, want)
				}
			}
			if !at.Before(next) {
				next = w.Next(at)
			}
			if got := w.Next(at); got != next || !got.After(at) || w.Contains(got.Add(-1)) != open || w.Contains(got) == open {
				t.Fatalf("%s: Next(%v) = %v, want the first change after it", w, at.In(w.Zone), got)
			}
		}
	}
}

// reads says whether the clock of w's zone reads between w's edges, in minutes
// of the week.
func reads(w connector.Window, at time.Time) bool {
	const day, week = 24 * 60, 7 * 24 * 60
	wall := at.In(w.Zone)
	now := int(wall.Weekday())*day + wall.Hour()*60 + wall.Minute()
	for d := time.Sunday; d <= time.Saturday; d++ {
		since := (now - int(d)*day - int(w.From.Minutes()) + 2*week) % week
		if w.Days.Has(d) && since < int(w.Length.Minutes()) {
			return true
		}
	}
	return false
}

func TestAWindowWithoutDaysNeverOpens(t *testing.T) {
	w := connector.Window{Kind: connector.WindowReset, Length: time.Hour, Zone: time.UTC}
	at := time.Date(2026, 7, 5, 0, 30, 0, 0, time.UTC)
	if w.Contains(at) || !w.Next(at).IsZero() {
		t.Errorf("Contains, Next(%v) = %v, %v, want false and no time", at, w.Contains(at), w.Next(at))
	}
}

func TestAutoRestartIsOpenEveryDayForFiveMinutes(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		t.Fatal(err)
	}
	w := connector.AutoRestart(connector.AutoRestartAt, zone)
	if got, want := w.String(), "restart daily 23:45-23:50 Europe/Zurich"; got != want {
		t.Errorf("AutoRestart() = %q, want %q", got, want)
	}
	for day := 5; day < 12; day++ {
		opens := time.Date(2026, 7, day, 21, 45, 0, 0, time.UTC)
		checkOpen(t, w, opens, opens.Add(5*time.Minute))
	}
	w.Length = 20 * time.Minute
	if got, want := w.String(), "restart daily 23:45-00:05 Europe/Zurich"; got != want {
		t.Errorf("AutoRestart() for 20 minutes = %q, want %q", got, want)
	}
}

func TestAWindowIsWrittenInOneWay(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"reset Sun-Fri 00:15-01:45 America/New_York", "reset Sun-Fri 00:15-01:45 America/New_York"},
		{"weekend Fri 23:00 - Sat 03:00 America/New_York", "weekend Fri 23:00 - Sat 03:00 America/New_York"},
		{"weekend Fri 22:45 - Sun 02:00 America/New_York", "weekend Fri 22:45 - Sun 02:00 America/New_York"},
		{"restart daily 23:45-23:50 Europe/Zurich", "restart daily 23:45-23:50 Europe/Zurich"},
		{"  reset\tSUN,mon  0:15-01:45   UTC ", "reset Sun-Mon 00:15-01:45 UTC"},
		{"reset Sat-Thu 23:45-00:45 UTC", "reset Sat-Thu 23:45-00:45 UTC"},
		{"reset Sat,Mon-Wed,Sun 01:00-02:00 UTC", "reset Sat-Wed 01:00-02:00 UTC"},
		{"reset Mon,Wed,Fri 01:00-02:00 UTC", "reset Mon,Wed,Fri 01:00-02:00 UTC"},
		{"reset Wed-Tue 01:00-02:00 UTC", "reset daily 01:00-02:00 UTC"},
		{"reset Wed-Wed 01:00-02:00 UTC", "reset Wed 01:00-02:00 UTC"},
		{"reset Sat 22:00-00:00 UTC", "reset Sat 22:00 - Sun 00:00 UTC"},
		{"reset Sat 22:00 - Sat 23:59 UTC", "reset Sat 22:00-23:59 UTC"},
		{"weekend Fri 00:00 - Sat 00:00 UTC", "weekend Fri 00:00 - Sat 00:00 UTC"},
		{"weekend Mon 00:00 - Sun 23:59 UTC", "weekend Mon 00:00 - Sun 23:59 UTC"},
	} {
		if got := window(t, c.in).String(); got != c.want {
			t.Errorf("ParseWindow(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestParseWindowNamesTheWordAtFault(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "want KIND DAYS HH:MM-HH:MM ZONE or"},
		{"reset daily 00:15-01:45", "want KIND DAYS"},
		{"reset daily 00:15 - 01:45 UTC", "want KIND DAYS"},
		{"weekend Fri 23:00 to Sat 03:00 UTC", "want KIND DAYS"},
		{"weekend Fri 23:00 - Sat 03:00 UTC now", "want KIND DAYS"},
		{"maintenance daily 00:15-01:45 UTC", `kind "maintenance": want reset, weekend or restart`},
		{"reset Caturday 00:15-01:45 UTC", `day "Caturday": want Sun, Mon, Tue, Wed, Thu, Fri or Sat, or daily`},
		{"reset Sun- 00:15-01:45 UTC", `day ""`},
		{"reset Sun,,Mon 00:15-01:45 UTC", `day ""`},
		{"reset Sunday 00:15-01:45 UTC", `day "Sunday"`},
		{"weekend Fri-Sat 23:00 - Sun 03:00 UTC", `day "Fri-Sat": want Sun`},
		{"weekend Fri 23:00 - daily 03:00 UTC", `day "daily": want Sun`},
		{"reset daily 00:15 UTC", `hours "00:15": want HH:MM-HH:MM`},
		{"reset daily 24:00-01:45 UTC", `time "24:00": want 00:00 to 23:59`},
		{"reset daily 00:15-01:60 UTC", `time "01:60"`},
		{"reset daily 00:15-01:45-02:00 UTC", `time "01:45-02:00"`},
		{"reset daily 00:15- UTC", `time ""`},
		{"weekend Fri 23 - Sat 03:00 UTC", `time "23"`},
		{"reset daily 00:15-00:15 UTC", `hours "00:15-00:15": want an end other than the beginning`},
		{"weekend Fri 23:00 - Fri 23:00 UTC", `end "Fri 23:00": want a time after the beginning, "Fri 23:00"`},
		{"weekend Fri 23:00 - Fri 22:00 UTC", `end "Fri 22:00": want a time after the beginning, "Fri 23:00"`},
		{"reset daily 00:15-01:45 Europe/Zurch", `zone "Europe/Zurch": want a name from the time zone database, such as Europe/Zurich, or UTC`},
		{"reset daily 00:15-01:45 Local", `zone "Local"`},
		{"reset daily 00:15-01:45 ../UTC", `zone "../UTC"`},
	} {
		w, err := connector.ParseWindow(c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) || w != (connector.Window{}) {
			t.Errorf("ParseWindow(%q) = %q, %v, want an error with %s", c.text, w, err, c.want)
		}
	}
}

// FuzzParseWindow holds every window that is read to being within its ranges,
// to reading the same again as it is written, and to opening and closing.
func FuzzParseWindow(f *testing.F) {
	f.Add("reset Sun-Fri 00:15-01:45 America/New_York")
	f.Add("reset Sat,Mon-Wed 23:45-00:45 Asia/Hong_Kong")
	f.Add("weekend Fri 23:00 - Sat 03:00 America/New_York")
	f.Add("weekend Fri 22:45 - Sun 02:00 UTC")
	f.Add("restart daily 02:15-02:45 Europe/Zurich")
	f.Add("restart daily 23:45-23:50 Local")
	f.Add("reset daily 00:15-00:15 UTC")
	f.Fuzz(func(t *testing.T, text string) {
		w, err := connector.ParseWindow(text)
		if err != nil {
			return
		}
		if w.Days == 0 || w.Days >= 1<<7 || w.From < 0 || w.From >= 24*time.Hour || w.Length <= 0 || w.Length >= 7*24*time.Hour {
			t.Fatalf("ParseWindow(%q) = %+v, out of range", text, w)
		}
		again, err := connector.ParseWindow(w.String())
		if err != nil {
			t.Fatal(err)
		}
		if again.String() != w.String() {
			t.Errorf("ParseWindow(%q) = %q, want the same", w, again)
		}
		again.Zone = w.Zone // another pointer to the same zone
		if again != w {
			t.Errorf("ParseWindow(%q) = %+v, want %+v", w, again, w)
		}
		at := time.Date(2026, 3, 8, 6, 0, 0, 0, time.UTC)
		if next := w.Next(at); !next.After(at) || w.Contains(at) == w.Contains(next) {
			t.Errorf("%s: Next(%v) = %v, want when it opens or closes", w, at, next)
		}
	})
}
