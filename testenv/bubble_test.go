package testenv

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// More than one bubble in a test binary is what pooled timers would break.
func TestAServerLivesThroughADayInSeveralBubbles(t *testing.T) {
	for range 2 {
		Bubble(t, liveThroughADay)
	}
}

func liveThroughADay(t *testing.T) {
	s, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "HOURS", Subjects: []string{"hours"}, Storage: jetstream.MemoryStorage, MaxAge: 24 * time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for range 36 {
		if _, err := js.Publish(t.Context(), "hours", nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
	}
	if got := time.Since(start); got < 36*time.Hour || got > 37*time.Hour {
		t.Errorf("%v went by, want 36 hours", got)
	}
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := info.State.Msgs; n < 23 || n > 24 {
		t.Errorf("%d messages are younger than a day, want 23 or 24", n)
	}
}
