package bus

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func openTestAlerts(t *testing.T, nc *nats.Conn) *Alerts {
	t.Helper()
	a, err := NewAlerts(nc, AlertOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	return a
}

// all reads what there is of a source.
func (a *Alerts) all(t *testing.T, from AlertSource, after uint64) []AlertInput {
	t.Helper()
	var all []AlertInput
	for in, err := range a.Read(t.Context(), from, after, false) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, in)
	}
	return all
}

func TestARecordIsWrittenByOneOfThoseWhoSawTheSame(t *testing.T) {
	noLeaks(t)
	nc := connect(t, openServer(t, ServerOptions{StoreDir: t.TempDir()}))
	one, two := openTestAlerts(t, nc), openTestAlerts(t, nc)
	first, err := one.Put(t.Context(), "ops.incident.main-1", 0, []byte("a"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := two.Put(t.Context(), "ops.incident.main-1", 0, []byte("b")); !errors.Is(err, ErrAlertTaken) {
		t.Errorf("Put of a second first one = %v, want %v", err, ErrAlertTaken)
	}
	second, err := two.Put(t.Context(), "ops.incident.main-1", first, []byte("c"))
	if err != nil || second <= first {
		t.Errorf("Put = revision %d after %d, %v", second, first, err)
	}
	if _, err := one.Put(t.Context(), "ops.incident.main-1", first, []byte("d")); !errors.Is(err, ErrAlertTaken) {
		t.Errorf("Put over another's = %v, want %v", err, ErrAlertTaken)
	}
	if _, err := one.Put(t.Context(), "ops.big", 0, make([]byte, 2*MaxAlertRecord)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Put of what is too large = %v, want %v", err, ErrTooLarge)
	}
	got := one.all(t, AlertRecords, 0)
	if len(got) != 1 || got[0].Key != "ops.incident.main-1" || got[0].Place != second || string(got[0].Payload) != "c" {
		t.Errorf("the records are %+v, want the second", got)
	}
	kv, err := one.js.KeyValue(t.Context(), AlertBucket)
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Delete(t.Context(), "ops.incident.main-1"); err != nil {
		t.Fatal(err)
	}
	if got := one.all(t, AlertRecords, second); len(got) != 1 || got[0].Payload != nil {
		t.Errorf("after it was deleted there is %+v, want nothing under its key", got)
	}
	if status, err := kv.Status(t.Context()); err != nil || status.TTL() != defaultAlertsKept {
		t.Errorf("records are kept for %v, %v, want %v", status.TTL(), err, defaultAlertsKept)
	}
}

func TestWhatAlertsFollowFromIsRead(t *testing.T) {
	noLeaks(t)
	nc := connect(t, openServer(t, ServerOptions{StoreDir: t.TempDir()}))
	incidents, statuses, a := openTestIncidents(t, nc, IncidentOptions{}), openTestStatuses(t, nc), openTestAlerts(t, nc)
	if !a.Connected() {
		t.Error("it is not connected")
	}
	if _, err := incidents.Publish(t.Context(), change("main", "opened", 7, 2)); err != nil {
		t.Fatal(err)
	}
	if err := statuses.Put(t.Context(), "main", 3, standsFor(3, "x")); err != nil {
		t.Fatal(err)
	}
	if got := a.all(t, AlertIncidents, 0); len(got) != 1 || got[0].Key != "opened" || got[0].Sequence != 7 || got[0].Part != 2 || string(got[0].Payload) != "{}" {
		t.Errorf("the incidents are %+v", got)
	}
	if got := a.all(t, AlertStatuses, 0); len(got) != 1 || got[0].Key != "main" || string(got[0].Payload) != string(standsFor(3, "x")) {
		t.Errorf("the statuses are %+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for in, err := range a.Read(ctx, AlertStatuses, 0, true) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 2 {
			if string(in.Payload) != string(standsFor(4, "y")) {
				t.Errorf("what came is %s", in.Payload)
			}
			break
		}
		if err := statuses.Put(t.Context(), "main", 4, standsFor(4, "y")); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAlertsMayBeKeptFromOutside is what "ibconn consume alerts" beside a run
// needs, and what it may not.
func TestAlertsMayBeKeptFromOutside(t *testing.T) {
	s := openServer(t, ServerOptions{StoreDir: t.TempDir(), Listen: "127.0.0.1:0"})
	inside := connect(t, s)
	openTestIncidents(t, inside, IncidentOptions{})
	openTestStatuses(t, inside)
	openTestAlerts(t, inside)
	nc, err := nats.Connect(s.URL(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	outside := openTestAlerts(t, nc)
	if _, err := outside.Put(t.Context(), "ops.silent.main", 0, []byte("told")); err != nil {
		t.Errorf("an outsider cannot keep what it told: %v", err)
	}
	for _, from := range []AlertSource{AlertIncidents, AlertStatuses, AlertRecords} {
		outside.all(t, from, 0)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for name, try := range map[string]func(context.Context) error{
		"delete": func(ctx context.Context) error { return js.DeleteStream(ctx, "KV_"+AlertBucket) },
		"change": func(ctx context.Context) error {
			_, err := js.UpdateStream(ctx, jetstream.StreamConfig{Name: "KV_" + AlertBucket, Subjects: []string{"nothing"}})
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if err := try(ctx); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("%s the bucket from outside = %v, want no permission", name, err)
		}
		cancel()
	}
	if got := openTestAlerts(t, inside).all(t, AlertRecords, 0); len(got) != 1 {
		t.Errorf("the records are %+v, want the one from outside", got)
	}
}
