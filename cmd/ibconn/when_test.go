package main

import (
	"strings"
	"testing"
	"time"
)

func TestATimeIsReadAsAPersonWritesIt(t *testing.T) {
	zurich, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 22, 9, 0, 0, 0, zurich)
	for _, tt := range []struct{ text, want string }{
		{"03:12", "2026-11-22T03:12:00+01:00"},
		{"03:12:30", "2026-11-22T03:12:30+01:00"},
		{"23:50", "2026-11-21T23:50:00+01:00"},
		{"yesterday 03:12", "2026-11-21T03:12:00+01:00"},
		{"yesterday 23:50", "2026-11-21T23:50:00+01:00"},
		{"2026-11-01 03:12", "2026-11-01T03:12:00+01:00"},
		{"2026-10-01T03:12:05", "2026-10-01T03:12:05+02:00"},
		{"2026-11-22T03:12Z", "2026-11-22T04:12:00+01:00"},
		{"2026-11-22T02:12:01.5-05:00", "2026-11-22T08:12:01+01:00"},
		{"-2h", "2026-11-22T07:00:00+01:00"},
		{"2h ago", "2026-11-22T07:00:00+01:00"},
		{" -90s ", "2026-11-22T08:58:30+01:00"},
		{"2026-10-25T02:30+02:00", "2026-10-25T02:30:00+02:00"},
	} {
		got, err := parsePast(tt.text, now, zurich)
		if err != nil || got.In(zurich).Format(time.RFC3339) != tt.want {
			t.Errorf("parsePast(%q) = %v, %v, want %s", tt.text, got.In(zurich), err, tt.want)
		}
	}
	for _, tt := range []struct{ text, want string }{
		{"", "want one such as"},
		{"soon", "want one such as"},
		{"25:00", "want one such as"},
		{"--2h", "want one such as"},
		{"-x", "want one such as"},
		{"2026-11-23 00:00", "in the future"},
		{"2026-11-22T03:12:01.5-05:00", "in the future"},
		{"2999-01-01T00:00Z", "in the future"},
		{"2026-10-25 02:30", "showed that twice"},
		{"2026-03-29 02:30", "never showed that"},
		{strings.Repeat("9", 1000), "want one such as"},
	} {
		if got, err := parsePast(tt.text, now, zurich); err == nil || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 300 {
			t.Errorf("parsePast(%.30q) = %v, %v, want %q", tt.text, got, err, tt.want)
		}
	}
	for name, ok := range map[string]bool{"": true, "local": true, "UTC": true, "utc": true, "America/New_York": true, "Mars": false} {
		if _, err := parseZone(name); (err == nil) != ok {
			t.Errorf("parseZone(%q) = %v", name, err)
		}
	}
}

func FuzzParsePast(f *testing.F) {
	for _, text := range []string{"03:12", "yesterday 03:12", "-2h", "2h ago", "2026-11-22T03:12Z", "2026-10-25 02:30"} {
		f.Add(text)
	}
	zone, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		f.Fatal(err)
	}
	now := time.Date(2026, 11, 22, 9, 0, 0, 0, zone)
	f.Fuzz(func(t *testing.T, text string) {
		if at, err := parsePast(text, now, zone); err == nil && at.After(now) {
			t.Errorf("parsePast(%q) = %v, which is to come", text, at)
		}
	})
}
