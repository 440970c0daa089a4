package bus

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ibconn/events"
)

func openTestIncidents(t testing.TB, nc *nats.Conn, o IncidentOptions) *Incidents {
	t.Helper()
	s, err := OpenIncidents(t.Context(), nc, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func change(c events.ConnectionID, kind string, sequence uint64, part int) IncidentChange {
	return IncidentChange{Connection: c, Incident: string(c) + "-1", Kind: kind, Sequence: sequence, Part: part, Payload: []byte("{}")}
}

func TestAChangeIsStoredOnceWhoeverStoresIt(t *testing.T) {
	noLeaks(t)
	dir := t.TempDir()
	for start := range 2 {
		s, err := Open(ServerOptions{StoreDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		nc, err := s.Connect(t.Name())
		if err != nil {
			t.Fatal(err)
		}
		one, two := openTestIncidents(t, nc, IncidentOptions{}), openTestIncidents(t, nc, IncidentOptions{})
		first := start == 0
		for n, step := range []struct {
			by     *Incidents
			change IncidentChange
			stored bool
		}{
			{one, change("main", "opened", 5, 1), first},
			{two, change("main", "opened", 5, 1), false},
			{two, change("main", "updated", 7, 1), first},
			{one, change("main", "updated", 7, 1), false},
			{one, change("main", "closed", 7, 2), first},
			{one, change("main", "updated", 7, 1), false},
			{two, change("main", "opened", 6, 9), false},
			{two, change("other", "opened", 1, 1), first},
			{one, change("main", "opened", uint64(10+start), 1), true},
		} {
			stored, err := step.by.Publish(t.Context(), step.change)
			if err != nil || stored != step.stored {
				t.Errorf("start %d: Publish %d = %v, %v, want %v", start, n, stored, err, step.stored)
			}
		}
		info, err := one.stream.Info(t.Context())
		if err != nil || info.State.Msgs != uint64(5+start) {
			t.Errorf("start %d: the stream has %+v, %v, want %d messages", start, info, err, 5+start)
		}
		nc.Close()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatWasWrittenByHandKeepsNoChangeFromBeingStored(t *testing.T) {
	nc := connect(t, openServer(t, ServerOptions{StoreDir: t.TempDir()}))
	s := openTestIncidents(t, nc, IncidentOptions{})
	if _, err := s.js.Publish(t.Context(), events.IncidentSubject("main", "opened"), []byte("by hand")); err != nil {
		t.Fatal(err)
	}
	if stored, err := s.Publish(t.Context(), change("main", "opened", 1, 1)); err != nil || !stored {
		t.Errorf("Publish = %v, %v, want it stored", stored, err)
	}
}

func TestAChangeThatCannotBeStoredIsAnError(t *testing.T) {
	s := openServer(t, ServerOptions{StoreDir: t.TempDir()})
	nc := connect(t, s)
	incidents := openTestIncidents(t, nc, IncidentOptions{})
	large := change("main", "opened", 1, 1)
	large.Payload = make([]byte, maxIncident+1)
	if _, err := incidents.Publish(t.Context(), large); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Publish of %d bytes = %v, want that it is too large", len(large.Payload), err)
	}
	if err := incidents.js.DeleteStream(t.Context(), events.IncidentStream); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := incidents.Publish(ctx, change("main", "opened", 1, 1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Publish without a stream = %v, want that it went on until the end of its context", err)
	}
	nc.Close()
	if _, err := incidents.Publish(t.Context(), change("main", "opened", 1, 1)); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("Publish without a connection = %v, want that it is closed", err)
	}
}

func TestTheStreamOfIncidentsIsAdoptedOnlyAsItMustBe(t *testing.T) {
	nc := connect(t, openServer(t, ServerOptions{StoreDir: t.TempDir()}))
	s := openTestIncidents(t, nc, IncidentOptions{MaxBytes: 1 << 20})
	for _, limit := range []struct{ ask, want int64 }{{0, 1 << 20}, {2 << 20, 2 << 20}, {1 << 20, 2 << 20}} {
		s = openTestIncidents(t, nc, IncidentOptions{MaxBytes: limit.ask})
		if got := s.stream.CachedInfo().Config.MaxBytes; got != limit.want {
			t.Errorf("asked for %d bytes the stream may have %d, want %d", limit.ask, got, limit.want)
		}
	}
	config := s.stream.CachedInfo().Config
	config.Discard = jetstream.DiscardNew
	if _, err := s.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenIncidents(t.Context(), nc, IncidentOptions{}); err == nil || !strings.Contains(err.Error(), "discard is DiscardNew, want DiscardOld") {
		t.Errorf("OpenIncidents = %v, want what is wrong with the stream", err)
	}
}
