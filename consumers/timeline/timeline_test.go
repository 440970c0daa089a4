package timeline

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ibconn/events"
)

var update = flag.Bool("update", false, "rewrite golden files")

// night is a short story with every mark and every severity.
func night() []events.Recorded {
	stand := func(p events.Phase, c events.Condition) events.Standing {
		return events.Standing{Phase: p, Condition: c}
	}
	ready := stand(events.PhaseReady, events.ConditionHealthy)
	begun := time.Date(2026, 1, 2, 3, 12, 0, 4e6, time.UTC)
	var all []events.Recorded
	for i, e := range []events.Event{
		&events.EpochBegan{Instance: "host-1", PID: 1, Version: "1.0.0"},
		&events.ConnectRequested{By: events.AskerStart, Standing: stand(events.PhaseWaiting, events.ConditionDown)},
		&events.DialStarted{Attempt: 1, Endpoint: "127.0.0.1:4002", ClientID: 17, Standing: stand(events.PhaseDialing, events.ConditionDown)},
		&events.DialFailed{Attempt: 1, Cause: events.CauseRefused, Standing: stand(events.PhaseWaiting, events.ConditionDown)},
		&events.SessionOpened{Attempt: 2, ServerVersion: 225, Took: 7, Standing: ready},
		&events.HeartbeatAnswered{Attempt: 2, Number: 1, RTT: 0.4},
		&events.HeartbeatMissed{Attempt: 2, Number: 2, Misses: 1, Silent: 2000},
		&events.SessionStale{Attempt: 2, Misses: 1, Silent: 2000, Standing: stand(events.PhaseReady, events.ConditionDegraded)},
		&events.SessionLost{Attempt: 2, Cause: events.CauseHeartbeatLost, Uptime: 61000, Standing: stand(events.PhaseWaiting, events.ConditionDown)},
		&events.GatewayReported{Attempt: 2, RequestID: -1, Code: 399, Class: events.ClassAdvisory, Message: "account DU1234567\nis late\x1b[31m"},
		&events.Stopped{Cause: events.CauseShutdown, Standing: stand(events.PhaseStopped, events.ConditionStopped)},
		&events.Unknown{Name: "ib.conn.state.invented_later"},
	} {
		all = append(all, events.Recorded{Connection: "main", Epoch: 1, Time: begun.Add(time.Duration(i) * 1100 * time.Millisecond), Event: e})
	}
	return all
}

func TestEventsArePrintedForPeople(t *testing.T) {
	for _, test := range []struct {
		golden  string
		printer Printer
	}{
		{"plain.txt", Printer{Zone: time.UTC}},
		{"colour.txt", Printer{Zone: time.UTC, Colour: true}},
		{"names-and-heartbeats.txt", Printer{Zone: time.FixedZone("", 3600), Names: true, Heartbeats: true}},
	} {
		t.Run(test.golden, func(t *testing.T) {
			var out bytes.Buffer
			test.printer.Out = &out
			for _, r := range night() {
				if err := test.printer.Print(r); err != nil {
					t.Fatal(err)
				}
			}
			path := filepath.Join("testdata", test.golden)
			if *update {
				if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(out.Bytes(), want) {
				t.Errorf("Print printed\n%swant, as in %s,\n%sif that is right: go test ./consumers/timeline -update", out.Bytes(), path, want)
			}
		})
	}
}

func TestTheMarkIsThatOfTheEventsOwnConnection(t *testing.T) {
	var out bytes.Buffer
	p := Printer{Out: &out, Zone: time.UTC, Names: true}
	report := &events.GatewayReported{Attempt: 1, Code: 399, RequestID: -1, Message: "late"}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, r := range []events.Recorded{
		{Connection: "a", Time: at, Event: &events.SessionOpened{Standing: events.Standing{Condition: events.ConditionHealthy}}},
		{Connection: "b", Time: at, Event: &events.SessionLost{Standing: events.Standing{Condition: events.ConditionDown}}},
		{Connection: "a", Time: at, Event: report},
	} {
		out.Reset()
		if err := p.Print(r); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := out.String(), "03:04:05.000 ● a            gateway reported 399: late\n"; got != want {
		t.Errorf("Print printed %q, want %q", got, want)
	}
}

type broken struct{}

var errBroken = errors.New("broken")

func (broken) Write([]byte) (int, error) { return 0, errBroken }

func TestAWriteErrorIsReturned(t *testing.T) {
	p := Printer{Out: broken{}}
	if err := p.Print(night()[0]); !errors.Is(err, errBroken) {
		t.Errorf("Print to a broken writer = %v, want %v", err, errBroken)
	}
}
