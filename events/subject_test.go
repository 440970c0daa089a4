package events

import (
	"strings"
	"testing"
)

func TestConnectionNamesAreTokens(t *testing.T) {
	for _, s := range []string{"main", "a", "0", "paper-2", "a-", "7-up", strings.Repeat("x", 32)} {
		if got, err := ParseConnectionID(s); err != nil || string(got) != s {
			t.Errorf("ParseConnectionID(%q) = %q, %v, want it taken", s, got, err)
		}
	}
	for _, s := range []string{"", "-main", "Main", "main.two", "main two", "*", ">", "ma\u0131n", "main\n", "a_b", strings.Repeat("x", 33), "\xff"} {
		got, err := ParseConnectionID(s)
		if err == nil || got != "" || !strings.Contains(err.Error(), "want 1 to 32 of a-z, 0-9 and '-'") {
			t.Errorf("ParseConnectionID(%q) = %q, %v, want an error that says what is allowed", s, got, err)
		}
	}
}

func TestLogSubjectsAreTakenApart(t *testing.T) {
	for _, k := range Kinds {
		c, kind, err := ParseLogSubject(LogSubject("paper-2", k))
		if err != nil || c != "paper-2" || kind != k {
			t.Errorf("ParseLogSubject(LogSubject(paper-2, %s)) = %s, %s, %v", k, c, kind, err)
		}
	}
	for _, s := range []string{
		"", "ib.log", "ib.log.main", "ib.log.main.", "ib.log..state", "ib.log.main.state.x", "ib.conn.state", "xib.log.main.state",
		"ib.late.main.state", "ib.log.Main.state", "ib.log.*.*", "ib.log.main.>", LogSubjects,
	} {
		if c, k, err := ParseLogSubject(s); err == nil || c != "" || k != "" || !strings.Contains(err.Error(), "ib.log.<connection>.<kind>") {
			t.Errorf("ParseLogSubject(%q) = %q, %q, %v, want an error that says the form", s, c, k, err)
		}
	}
}

func TestSubjectsAreThoseOfTheDesign(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{LogSubject("main", KindState), "ib.log.main.state"},
		{LogSubject("*", "*"), LogSubjects},
		{FeedSubject(KindHeartbeat), "ib.conn.heartbeat"},
		{FeedSubject("*"), FeedSubjects},
		{CommandSubject("main", VerbReconnect), "ib.cmd.main.reconnect"},
		{PoolSubject("main"), "ib.pool.main"},
		{SchemaURI("ib.conn.state.stopped"), "urn:ibconn:schema:ib.conn.state.stopped"},
	} {
		if tt.got != tt.want {
			t.Errorf("subject = %s, want %s", tt.got, tt.want)
		}
	}
}
