package events

import (
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the zones' real rules, on any machine
)

func parseHours(t testing.TB, text, zone string) Hours {
	t.Helper()
	h, err := ParseHours(text, zone)
	if err != nil {
		t.Fatalf("ParseHours(%q, %q): %v", text, zone, err)
	}
	return h
}

func utc(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// What IB lists of a week with a holiday, of a stock, a future of the CME and a
// currency pair.
const (
	stockWeek  = "20261125:0930-20261125:1600;20261126:CLOSED;20261127:0930-20261127:1300;20261128:CLOSED;20261129:CLOSED;20261130:0930-20261130:1600"
	futureWeek = "20261124:1700-20261125:1600;20261125:1700-20261126:1200;20261126:1700-20261127:1215;20261128:CLOSED;20261129:CLOSED;20261129:1700-20261130:1600"
	pairWeek   = "20261124:1715-20261125:1700;20261125:1715-20261126:1700;20261126:1715-20261127:1700;20261128:CLOSED;20261129:1715-20261130:1700"
)

func TestHoursAreReadInAllFormsOfIBs(t *testing.T) {
	for _, tt := range []struct {
		text, zone string
		want       string // sessions: day from-to, in UTC
	}{
		{"20261127:0930-20261127:1300", "US/Eastern", "2026-11-27 27T14:30-27T18:00"},
		{"20261124:1700-20261125:1600", "US/Central", "2026-11-25 24T23:00-25T22:00"},
		{"20261127:0930-20261127:1200,20261127:1300-20261127:1600", "Hongkong", "2026-11-27 27T01:30-27T04:00 2026-11-27 27T05:00-27T08:00"},
		{"20090507:0700-1830,1830-2330;20090508:CLOSED", "EST (Eastern Standard Time)", "2009-05-07 07T11:00-07T22:30 2009-05-07 07T22:30-08T03:30"},
		{"20130114:1700-1515,1530-1615;20130115:1700-1515,1530-1615", "CST (Central Standard Time)", "2013-01-14 13T23:00-14T21:15 2013-01-14 14T21:30-14T22:15 2013-01-15 14T23:00-15T21:15 2013-01-15 15T21:30-15T22:15"},
		{"20261125:0000-20261126:0000;20261126:0000-2400", "UTC", "2026-11-25 25T00:00-26T00:00 2026-11-26 26T00:00-27T00:00"},
		{" 20261128:CLOSED ; 20261127:0900-20261127:1730; 20261127:0900-20261127:1730;", "MET (Middle Europe Time)", "2026-11-27 27T08:00-27T16:30"},
		{"20261127:0900-20261127:1500", "JST", "2026-11-27 27T00:00-27T06:00"},
		{"20260701:0800-20260701:1630", "GB-Eire", "2026-07-01 01T07:00-01T15:30"},
		{"20261127:0915-20261127:1530", "Asia/Calcutta", "2026-11-27 27T03:45-27T10:00"},
		{"20261127:0930-20261127:1600", "America/New_York", "2026-11-27 27T14:30-27T21:00"},
		{"", "US/Eastern", ""},
		{"", "", ""},
		{"20261126:CLOSED", "EST5EDT", ""},
	} {
		h := parseHours(t, tt.text, tt.zone)
		var got []string
		for _, s := range h.Sessions() {
			got = append(got, s.Day+s.From.Format(" 02T15:04-")+s.To.Format("02T15:04"))
		}
		if got := strings.Join(got, " "); got != tt.want {
			t.Errorf("ParseHours(%q, %q) = %s, want %s", tt.text, tt.zone, got, tt.want)
		}
		if (h.Zone() == nil) != (tt.zone == "") {
			t.Errorf("the zone of hours in %q is %v", tt.zone, h.Zone())
		}
	}
}

func TestHoursThatAreWrongSayWhatIsWanted(t *testing.T) {
	for _, tt := range []struct{ text, zone, want string }{
		{"20261127:0930-20261127:1300", "", `time zone "" of the hours: want one such as US/Eastern`},
		{"20261127:0930-20261127:1300", "Mars/Olympus", `time zone "Mars/Olympus"`},
		{"20261127:0930-20261127:1300", "Local", `time zone "Local"`},
		{"20261127:0930-20261127:1300", "../../etc/passwd", `time zone "../../etc/passwd"`},
		{"20261127", "UTC", `hours "20261127": ` + hoursWords},
		{"20261127:closed", "UTC", hoursWords},
		{"20261131:CLOSED", "UTC", hoursWords},
		{"18991231:CLOSED", "UTC", hoursWords},
		{"20261127:0930-20261127:2401", "UTC", hoursWords},
		{"20261127:0960-20261127:1200", "UTC", hoursWords},
		{"20261127:930-20261127:1200", "UTC", hoursWords},
		{"20261127:0930-20261127:1200,", "UTC", hoursWords},
		{"20261127:0930-20261127:1200-1300", "UTC", hoursWords},
		{"20261127:0930-20261127:0930", "UTC", "must end after it begins"},
		{"20261127:0930-20261126:1600", "UTC", "must end after it begins"},
		{"20261127:0000-0000", "UTC", "must end after it begins"},
		{"20261127:0930-20261227:1600", "UTC", "within a week"},
		{strings.Repeat("20261127:CLOSED;", 513), "UTC", "more than 512 sessions and closed days"},
		{strings.Repeat(";", maxHoursText+1), "UTC", "hours of 16385 bytes: want at most 16384"},
	} {
		h, err := ParseHours(tt.text, tt.zone)
		if err == nil || !strings.Contains(err.Error(), tt.want) || h.Sessions() != nil || h.Zone() != nil {
			t.Errorf("ParseHours(%.60q, %q) = %v, %v, want %s", tt.text, tt.zone, h, err, tt.want)
		}
	}
}

func TestMarketsAreOpenAsFarAsIsKnown(t *testing.T) {
	week := map[string]Hours{
		"stock": parseHours(t, stockWeek, "US/Eastern"), "future": parseHours(t, futureWeek, "US/Central"), "pair": parseHours(t, pairWeek, "US/Eastern"),
		"weekend":  parseHours(t, "20261124:1700-20261125:1600;20261128:CLOSED;20261129:CLOSED", "US/Central"),
		"saturday": parseHours(t, "20261128:CLOSED;20261129:1700-20261130:1600", "US/Central"),
		"night":    parseHours(t, "20261125:0915-20261125:1200,20261125:1300-20261125:1630,20261125:1715-20261126:0300;20261126:0915-20261126:1630", "Hongkong"),
		"twice":    parseHours(t, "20261125:0930-20261125:1600;20261125:0930-20261125:1600", "US/Eastern"),
		"sunday":   parseHours(t, "20261129:CLOSED;20261130:1715-20261201:0300", "Hongkong"),
		"nothing":  {},
	}
	for _, tt := range []struct {
		of, at      string
		open, known bool
	}{
		{"stock", "2026-11-24T20:00:00Z", false, false}, // the day before is not listed
		{"stock", "2026-11-25T05:00:00Z", false, true},  // midnight in New York
		{"stock", "2026-11-25T14:29:59Z", false, true},
		{"stock", "2026-11-25T14:30:00Z", true, true},
		{"stock", "2026-11-25T20:59:59Z", true, true},
		{"stock", "2026-11-25T21:00:00Z", false, true},
		{"stock", "2026-11-26T16:00:00Z", false, true}, // Thanksgiving
		{"stock", "2026-11-27T17:59:59Z", true, true},  // half a day
		{"stock", "2026-11-27T18:00:00Z", false, true},
		{"stock", "2026-12-01T04:59:59Z", false, true},
		{"stock", "2026-12-01T05:00:00Z", false, false},
		{"future", "2026-11-24T22:59:59Z", false, false}, // the session of the 24th is not listed
		{"future", "2026-11-24T23:00:00Z", true, true},
		{"future", "2026-11-25T06:00:00Z", true, true}, // midnight in Chicago
		{"future", "2026-11-25T22:00:00Z", false, true},
		{"future", "2026-11-25T23:00:00Z", true, true},
		{"future", "2026-11-28T12:00:00Z", false, true},
		{"future", "2026-11-29T22:59:59Z", false, true},
		{"future", "2026-11-29T23:00:00Z", true, true}, // Sunday evening, though the day is said to be closed
		{"future", "2026-11-30T21:59:59Z", true, true},
		{"future", "2026-11-30T22:00:00Z", false, false}, // Tuesday's session may begin any time
		{"pair", "2026-11-25T22:14:59Z", false, true},
		{"pair", "2026-11-25T22:15:00Z", true, true},
		{"pair", "2026-11-28T12:00:00Z", false, true},
		{"pair", "2026-11-29T12:00:00Z", false, true}, // Sunday is not listed, and nothing is left out
		{"pair", "2026-11-29T22:15:00Z", true, true},
		{"weekend", "2026-11-26T18:00:00Z", false, false}, // two days are left out
		{"weekend", "2026-11-28T18:00:00Z", false, true},
		{"weekend", "2026-11-29T22:59:59Z", false, true},
		{"weekend", "2026-11-29T23:30:00Z", false, false}, // Monday is not listed, and may begin on Sunday
		{"saturday", "2026-11-28T05:59:59Z", false, false},
		{"saturday", "2026-11-28T06:00:00Z", false, true}, // midnight in Chicago
		{"night", "2026-11-24T18:00:00Z", false, false},   // the night before may not be over
		{"night", "2026-11-25T01:15:00Z", true, true},
		{"night", "2026-11-25T09:00:00Z", false, true},
		{"night", "2026-11-25T18:59:59Z", true, true},
		{"night", "2026-11-25T19:00:00Z", false, true},
		{"night", "2026-11-26T08:30:00Z", false, false}, // the next night is not listed
		{"sunday", "2026-11-28T18:59:59Z", false, false},
		{"sunday", "2026-11-28T19:00:00Z", false, true},
		{"twice", "2026-11-26T04:59:59Z", false, true},
		{"nothing", "2026-11-25T15:00:00Z", false, false},
	} {
		if open, known := week[tt.of].Open(utc(t, tt.at)); open != tt.open || known != tt.known {
			t.Errorf("%s at %s: open %t, known %t, want %t, %t", tt.of, tt.at, open, known, tt.open, tt.known)
		}
	}
}

func TestStretchesOfTimeAreOpenIfAnyMomentIs(t *testing.T) {
	h := parseHours(t, stockWeek, "US/Eastern")
	for _, tt := range []struct {
		from, to    string
		open, known bool
	}{
		{"2026-11-25T21:00:00Z", "2026-11-27T14:30:00Z", false, true},
		{"2026-11-25T21:00:00Z", "2026-11-27T14:30:01Z", true, true},
		{"2026-11-25T20:59:59Z", "2026-11-27T14:30:00Z", true, true},
		{"2026-11-24T12:00:00Z", "2026-11-25T14:30:00Z", false, false},
		{"2026-11-24T12:00:00Z", "2026-11-25T15:00:00Z", true, false},
		{"2026-11-30T20:00:00Z", "2026-12-02T00:00:00Z", true, false},
		{"2026-12-30T20:00:00Z", "2026-12-31T00:00:00Z", false, false},
		{"2026-11-25T15:00:00Z", "2026-11-25T15:00:00Z", false, false},
		{"2026-11-25T16:00:00Z", "2026-11-25T15:00:00Z", false, false},
	} {
		if open, known := h.OpenWithin(utc(t, tt.from), utc(t, tt.to)); open != tt.open || known != tt.known {
			t.Errorf("from %s to %s: open %t, known %t, want %t, %t", tt.from, tt.to, open, known, tt.open, tt.known)
		}
	}
}

func TestHoursKeepToTheMarketsClockWhenItChanges(t *testing.T) {
	stock := parseHours(t, "20261030:0930-20261030:1600;20261031:CLOSED;20261101:CLOSED;20261102:0930-20261102:1600", "US/Eastern")
	future := parseHours(t, "20260306:CLOSED;20260307:CLOSED;20260308:1700-20260309:1600", "US/Central")
	night := parseHours(t, "20261101:0030-20261101:0400", "US/Eastern") // an hour longer than its clock says
	for _, tt := range []struct {
		of       Hours
		at       string
		from, to string
	}{
		{stock, "the last day of summer time", "2026-10-30T13:30:00Z", "2026-10-30T20:00:00Z"},
		{stock, "the first day of winter time", "2026-11-02T14:30:00Z", "2026-11-02T21:00:00Z"},
		{future, "the evening after summer time began", "2026-03-08T22:00:00Z", "2026-03-09T21:00:00Z"},
		{night, "the night of the change", "2026-11-01T04:30:00Z", "2026-11-01T09:00:00Z"},
	} {
		found := slices.ContainsFunc(tt.of.Sessions(), func(s TradingSession) bool { return s.From.Equal(utc(t, tt.from)) && s.To.Equal(utc(t, tt.to)) })
		if !found {
			t.Errorf("%s: sessions are %v, want one from %s to %s", tt.at, tt.of.Sessions(), tt.from, tt.to)
		}
	}
	if open, known := stock.OpenWithin(utc(t, "2026-10-30T20:00:00Z"), utc(t, "2026-11-02T14:30:00Z")); open || !known {
		t.Errorf("the weekend of the change: open %t, known %t, want closed", open, known)
	}
}

func TestHoursThatFollowOthersKeepTheirPast(t *testing.T) {
	const older, newer = "20261120:0930-20261120:1600;20261121:CLOSED;20261123:0930-20261123:1300", "20261123:0930-20261123:1600;20261124:0930-20261124:1600"
	times := func(text, zone string) TradingTimes { return TradingTimes{Trading: text, Liquid: text, Zone: zone} }
	for _, tt := range []struct{ name, older, newer, zone, want string }{
		{"days before", older, newer, "US/Eastern", "20261120:0930-20261120:1600;20261121:CLOSED;" + newer},
		{"nothing before", "", newer, "US/Eastern", newer},
		{"nothing new", older, "", "US/Eastern", ""},
		{"the same", newer, newer, "US/Eastern", newer},
		{"another zone", older, newer, "US/Central", newer},
		{"what cannot be read", "20261120:0930-soon", newer, "US/Eastern", newer},
		{"long ago", "20261101:CLOSED;20261112:CLOSED;20261113:CLOSED;" + older, newer, "US/Eastern", "20261113:CLOSED;20261120:0930-20261120:1600;20261121:CLOSED;" + newer},
	} {
		got := times(tt.newer, "US/Eastern").Following(times(tt.older, tt.zone))
		if got.Trading != tt.want || got.Liquid != tt.want || got.Zone != "US/Eastern" {
			t.Errorf("%s: %+v, want %q", tt.name, got, tt.want)
		}
	}
}

func FuzzParseHours(f *testing.F) {
	for _, zone := range []string{"US/Eastern", "US/Central", "EST (Eastern Standard Time)", "America/Sao_Paulo", "Asia/Beirut", ""} {
		for _, text := range []string{
			stockWeek, futureWeek, pairWeek, "20130114:1700-1515,1530-1615;20130115:CLOSED", "20090507:0700-1830,1830-2330",
			"20181104:0000-20181104:2400;20181103:2330-20181104:0030", "20260329:0130-20260329:0230;20260329:0230-20260329:0245", ";;", "",
		} {
			f.Add(text, zone)
		}
	}
	f.Fuzz(func(t *testing.T, text, zone string) {
		h, err := ParseHours(text, zone)
		sessions := h.Sessions()
		after := TradingTimes{Zone: zone, Trading: "20991130:0930-20991130:1600"}
		after = after.Following(TradingTimes{Zone: zone, Trading: text})
		if _, zoneErr := loadZone(zone); zoneErr == nil {
			if both, err := ParseHours(after.Trading, zone); err != nil || len(both.Sessions()) == 0 || len(after.Trading) > maxHoursText {
				t.Errorf("behind %q in %q come %q: %v", text, zone, after.Trading, err)
			}
		}
		if err != nil {
			if err.Error() == "" || len(sessions) > 0 || len(err.Error()) > 600 {
				t.Errorf("ParseHours(%q, %q) = %v and the error %q", text, zone, sessions, err)
			}
			return
		}
		if len(sessions) > maxListed || len(h.open) > maxListed || len(h.known) > maxListed {
			t.Errorf("%d sessions, %d and %d stretches", len(sessions), len(h.open), len(h.known))
		}
		for i, s := range sessions {
			if !s.From.Before(s.To) || i > 0 && s.From.Before(sessions[i-1].From) {
				t.Errorf("session %d of %q is %v", i, text, s)
			}
			for _, at := range []time.Time{s.From, s.To.Add(-1)} {
				if open, known := h.Open(at); !open || !known {
					t.Errorf("%q in %q at %s: open %t, known %t within a session", text, zone, at, open, known)
				}
			}
			if open, known := h.OpenWithin(s.From, s.To); !open || !known {
				t.Errorf("%q in %q: open %t, known %t in all of a session", text, zone, open, known)
			}
			if end := h.dayEnds(s.From.Truncate(tradingDay)); end.IsZero() {
				t.Errorf("the day of %s never ends", s.From)
			}
		}
		if open, known := h.Open(time.Date(1890, 1, 1, 0, 0, 0, 0, time.UTC)); open || known {
			t.Error("something is known of 1890")
		}
	})
}
