package loglines

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"ibconn/events"
)

func TestEachEventIsOneLineWithItsFields(t *testing.T) {
	standing := events.Standing{Phase: events.PhaseReady, Condition: events.ConditionDegraded}
	for _, test := range []struct {
		event events.Event
		want  map[string]any // besides those of every line
	}{
		{
			&events.LinkWentDown{Attempt: 1, Code: 1100, Standing: standing},
			map[string]any{"level": "error", "event": "state.link_down", "phase": "ready", "condition": "degraded", "message": "link to IB down (1100)"},
		},
		{
			&events.SessionStale{Attempt: 1, Misses: 1, Silent: 2000, Standing: standing},
			map[string]any{"level": "warn", "event": "state.session_stale", "phase": "ready", "condition": "degraded", "message": "session stale: 1 heartbeat missed, nothing heard for 2 s"},
		},
		{
			&events.CommandAccepted{CommandID: "x1", Verb: events.VerbReconnect, Reason: "of DU1234567"},
			map[string]any{"level": "info", "event": "command.accepted", "message": "command reconnect x1 accepted: of DU***67"},
		},
		{
			&events.HeartbeatAnswered{Attempt: 1, Number: 3, RTT: 0.4},
			map[string]any{"level": "debug", "event": "heartbeat.answered", "message": "heartbeat 3 answered in 0.4 ms"},
		},
		{
			&events.HeartbeatMissed{Attempt: 1, Number: 3, Misses: 1, Silent: 2000},
			map[string]any{"level": "warn", "event": "heartbeat.missed", "message": "heartbeat 3 missed, 1 in a row, nothing heard for 2 s"},
		},
		{
			&events.Unknown{Name: "ib.conn.state.invented_later"},
			map[string]any{"level": "info", "event": "state.invented_later", "message": "ib.conn.state.invented_later"},
		},
	} {
		var out bytes.Buffer
		r := events.Recorded{
			Connection: "main", Sequence: 7, Time: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC),
			Correlation: "attempt-1", Causation: "c9", Event: test.event,
		}
		Write(zerolog.New(&out), r)
		var got map[string]any
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatalf("Write(%s) wrote %q: %v", test.event.Type(), out.Bytes(), err)
		}
		test.want["connection"], test.want["sequence"], test.want["at"] = "main", 7.0, "2026-01-02T03:04:05Z"
		test.want["correlationid"], test.want["causationid"] = "attempt-1", "c9"
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("Write(%s) wrote %v, want %v", test.event.Type(), got, test.want)
		}
	}
}

func TestFieldsThatAreNotThereAreLeftOut(t *testing.T) {
	var out bytes.Buffer
	Write(zerolog.New(&out), events.Recorded{Connection: "main", Sequence: 1, Event: &events.EpochBegan{Instance: "host-1"}})
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"phase", "condition", "correlationid", "causationid"} {
		if v, there := got[field]; there {
			t.Errorf("the line of a first claim has %s %v, want none", field, v)
		}
	}
}

func TestALineBelowTheLevelIsNotWritten(t *testing.T) {
	var out bytes.Buffer
	Write(zerolog.New(&out).Level(zerolog.InfoLevel), events.Recorded{Connection: "main", Event: &events.HeartbeatAnswered{Number: 1}})
	if out.Len() != 0 {
		t.Errorf("at level info a heartbeat's answer is written: %s", out.Bytes())
	}
}
