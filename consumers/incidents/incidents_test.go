package incidents

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ibconn/events"
)

// midnight is when every story begins.
var midnight = time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)

// story is what happened, one event a second.
type story []events.Event

func (s story) recorded() []events.Recorded {
	all := make([]events.Recorded, 0, len(s))
	for i, e := range s {
		all = append(all, events.Recorded{
			ID: fmt.Sprint(i), Connection: "main", Time: midnight.Add(time.Duration(i) * time.Second), Event: e,
		})
	}
	return all
}

var (
	healthy  = events.Standing{Phase: events.PhaseReady, Condition: events.ConditionHealthy}
	degraded = events.Standing{Phase: events.PhaseReady, Condition: events.ConditionDegraded}
	down     = events.Standing{Phase: events.PhaseWaiting, Condition: events.ConditionDown}
	stopped  = events.Standing{Phase: events.PhaseStopped, Condition: events.ConditionStopped}
)

var usfarm = events.Farm{Kind: events.FarmMarketData, Name: "usfarm"}

func opened() events.Event { return &events.SessionOpened{Attempt: 1, Standing: healthy} }

func dialled() events.Event {
	return &events.DialStarted{Attempt: 1, Endpoint: "h:1", Standing: down}
}

func failed(c events.Cause) events.Event {
	return &events.DialFailed{Attempt: 1, Cause: c, Standing: down}
}

func lost(c events.Cause) events.Event {
	return &events.SessionLost{Attempt: 1, Cause: c, Standing: down}
}

func linkDown() events.Event {
	return &events.LinkWentDown{Attempt: 1, Code: 1100, Standing: degraded}
}

func linkUp(s events.Standing) events.Event {
	return &events.LinkCameBack{Attempt: 1, Code: 1102, Standing: s}
}

func stale() events.Event {
	return &events.SessionStale{Attempt: 1, Misses: 1, Silent: 2000, Standing: degraded}
}

func heartbeat() events.Event { return &events.HeartbeatAnswered{Attempt: 1, Number: 1} }

func farm(to events.FarmStatus, s events.Standing) events.Event {
	return &events.FarmChanged{Attempt: 1, Farm: usfarm, To: to, Code: 2103, Standing: s}
}

func TestTheFoldFindsTheStretchesThatWereNotHealthy(t *testing.T) {
	for _, test := range []struct {
		name  string
		story story
		want  []string // from, duration, worst, attempts, cause; causes
	}{
		{
			name:  "a healthy day has none",
			story: story{dialled(), opened(), heartbeat(), farm(events.FarmUp, healthy), linkUp(healthy), heartbeat()},
		},
		{
			name:  "a link that goes and comes back is one",
			story: story{opened(), linkDown(), heartbeat(), linkUp(healthy), heartbeat()},
			want:  []string{"1s 2s degraded 0 link to IB down (1100);"},
		},
		{
			name:  "a farm that goes during it belongs to it",
			story: story{opened(), linkDown(), farm(events.FarmDown, degraded), linkUp(degraded), farm(events.FarmUp, healthy)},
			want:  []string{"1s 3s degraded 0 link to IB down (1100);"},
		},
		{
			name:  "a lost session lasts until the next, with each obstacle once",
			story: story{opened(), lost(events.CauseReset), dialled(), failed(events.CauseRefused), dialled(), failed(events.CauseRefused), dialled(), opened()},
			want:  []string{"1s 6s down 3 the gateway reset the connection; reset refused"},
		},
		{
			name:  "silence takes its cause from what it turns out to be",
			story: story{opened(), stale(), lost(events.CauseHeartbeatLost), dialled(), opened()},
			want:  []string{"1s 3s down 1 the gateway stopped answering heartbeats; heartbeat_lost"},
		},
		{
			name:  "silence that passes is its own cause",
			story: story{opened(), stale(), &events.SessionFresh{Attempt: 1, Standing: healthy}},
			want:  []string{"1s 1s degraded 0 session stale: 1 heartbeat missed, nothing heard for 2 s;"},
		},
		{
			name: "silence that passed into another trouble is not what a later loss turns out to be",
			story: story{
				opened(), stale(), linkDown(), &events.SessionFresh{Attempt: 1, Standing: degraded},
				lost(events.CauseReset), dialled(), opened(),
			},
			want: []string{"1s 5s down 1 session stale: 1 heartbeat missed, nothing heard for 2 s; reset"},
		},
		{
			name:  "a session lost during another trouble is its consequence",
			story: story{opened(), linkDown(), lost(events.CauseReset), dialled(), opened()},
			want:  []string{"1s 3s down 1 link to IB down (1100); reset"},
		},
		{
			name:  "a stop that was asked for is none",
			story: story{opened(), &events.Stopped{Cause: events.CauseAskedFor, Standing: stopped}, &events.ConnectRequested{Standing: down}, dialled(), opened()},
		},
		{
			name:  "a stop ends one",
			story: story{opened(), lost(events.CauseReset), &events.Stopped{Cause: events.CauseShutdown, Standing: stopped}, dialled(), opened()},
			want:  []string{"1s 1s down 0 the gateway reset the connection; reset"},
		},
		{
			name:  "one that goes on is open and has lasted until now",
			story: story{opened(), lost(events.CauseClosedByGateway), dialled(), failed(events.CauseRefused)},
			want:  []string{"1s 2s down 1 the gateway closed the connection; closed_by_gateway refused open"},
		},
		{
			name:  "a connection that was never healthy has none",
			story: story{dialled(), failed(events.CauseRefused), dialled(), failed(events.CauseRefused)},
		},
		{
			name:  "two are two",
			story: story{opened(), linkDown(), linkUp(healthy), lost(events.CauseReset), dialled(), opened()},
			want:  []string{"1s 1s degraded 0 link to IB down (1100);", "3s 2s down 1 the gateway reset the connection; reset"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			fold := Fold{Settle: -1}
			for _, r := range test.story.recorded() {
				fold.Add(r)
			}
			var got []string
			for i, in := range fold.Incidents() {
				if in.Number != i+1 || in.Connection != "main" {
					t.Errorf("incident %d is number %d of %q", i+1, in.Number, in.Connection)
				}
				got = append(got, tell(in))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("Incidents() = %q, want %q", got, test.want)
			}
		})
	}
}

func tell(i Incident) string {
	words := []string{fmt.Sprintf("%v %v %s %d %s;", i.OpenedAt.Sub(midnight), i.Duration(), i.Worst, i.Attempts, i.Root.Words)}
	for _, s := range append([]Step{i.Root}, i.Chain...) {
		if s.Cause != "" {
			words = append(words, string(s.Cause))
		}
	}
	if i.Open() {
		words = append(words, "open")
	}
	return strings.Join(words, " ")
}

func TestIncidentsAreACopy(t *testing.T) {
	var fold Fold
	all := story{opened(), lost(events.CauseReset), dialled(), opened()}.recorded()
	for _, r := range all[:2] {
		fold.Add(r)
	}
	before := fold.Incidents()
	for _, r := range all[2:] {
		fold.Add(r)
	}
	if !before[0].Open() || fold.Incidents()[0].Open() {
		t.Errorf("the incident was %+v and is %+v, want it open before and closed now", before[0], fold.Incidents()[0])
	}
	if as := fold.Incidents()[0].AsOf; !as.Equal(all[3].Time) {
		t.Errorf("the incident is as of %v, want %v, when it closed", as, all[3].Time)
	}
}
