package bus

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"ibconn/events"
)

func TestALogCannotBeEmptied(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	if err := w.log.stream.Purge(t.Context()); err == nil {
		t.Error("Purge succeeds, want a refusal")
	}
	if err := w.log.stream.DeleteMsg(t.Context(), 1); err == nil {
		t.Error("DeleteMsg succeeds, want a refusal")
	}
	if got := len(a.load()); got != 1 {
		t.Errorf("the log has %d events, want 1", got)
	}
}

func TestOpenLogNamesTheSettingsThatDiffer(t *testing.T) {
	s := openServer(t, ServerOptions{StoreDir: t.TempDir()})
	nc := connect(t, s)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: events.Stream, Subjects: []string{events.LogSubjects}, MaxAge: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = OpenLog(t.Context(), nc, LogOptions{})
	if err == nil {
		t.Fatal("OpenLog takes a stream with other settings")
	}
	for _, want := range []string{
		"discard is DiscardOld, want DiscardNew",
		"max_age is 1h0m0s, want 0s",
		"deny_purge is false, want true",
		"allow_msg_ttl is false, want true",
		"republish is nothing, want ib.log.*.* to ib.conn.{{wildcard(2)}}",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error %q does not say %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "subjects is") {
		t.Errorf("the error %q names a setting that does not differ", err)
	}
}

func TestTheLimitOfALogIsRaisedAndNeverLowered(t *testing.T) {
	s := openServer(t, ServerOptions{StoreDir: t.TempDir()})
	nc := connect(t, s)
	for _, c := range []struct{ ask, want int64 }{{1 << 20, 1 << 20}, {0, 1 << 20}, {2 << 20, 2 << 20}, {1 << 20, 2 << 20}} {
		l := openTestLog(t, nc, LogOptions{MaxBytes: c.ask})
		if got := l.stream.CachedInfo().Config.MaxBytes; got != c.want {
			t.Errorf("limit after asking for %d = %d, want %d", c.ask, got, c.want)
		}
	}
}

func TestOpenLogRefusesHalfSeconds(t *testing.T) {
	s := openServer(t, ServerOptions{StoreDir: t.TempDir()})
	nc := connect(t, s)
	for _, ttl := range []time.Duration{-time.Second, time.Millisecond, 1500 * time.Millisecond} {
		if _, err := OpenLog(t.Context(), nc, LogOptions{HeartbeatTTL: ttl}); err == nil {
			t.Errorf("OpenLog with a heartbeat TTL of %v succeeds", ttl)
		}
	}
}

func TestFindLogDoesNotCreateOne(t *testing.T) {
	s := openServer(t, ServerOptions{StoreDir: t.TempDir()})
	nc := connect(t, s)
	if _, err := FindLog(t.Context(), nc); err == nil || !strings.Contains(err.Error(), "there is no log") {
		t.Errorf("FindLog = %v, want an error that says there is none", err)
	}
	openTestLog(t, nc, LogOptions{})
	l, err := FindLog(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	if last, err := l.Last(t.Context()); last != 0 || err != nil {
		t.Errorf("Last() = %d, %v, want 0", last, err)
	}
}
