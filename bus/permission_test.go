package bus

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ibconn/events"
)

func TestAnOutsiderCanNeitherTakeTheLogAwayNorMakeUpTheFeed(t *testing.T) {
	s := openServer(t, ServerOptions{StoreDir: t.TempDir(), Listen: "127.0.0.1:0"})
	inside := connect(t, s)
	openTestLog(t, inside, LogOptions{})
	outside, err := nats.Connect(s.URL(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(outside.Close)

	feed, err := inside.SubscribeSync(events.FeedSubjects)
	if err != nil {
		t.Fatal(err)
	}
	pools, err := inside.SubscribeSync("ib.pool.>")
	if err != nil {
		t.Fatal(err)
	}
	made, err := inside.SubscribeSync(events.IncidentSubjects)
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{
		events.FeedSubject(events.KindState), events.PoolSubject("main"), "ib.pool.main.sub", events.IncidentSubject("main", "opened"),
	} {
		if err := outside.Publish(subject, []byte("made up")); err != nil {
			t.Fatal(err)
		}
	}
	js, err := jetstream.New(outside)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		try  func(context.Context) error
	}{
		{"delete the stream", func(ctx context.Context) error { return js.DeleteStream(ctx, events.Stream) }},
		{"change the stream", func(ctx context.Context) error {
			_, err := js.UpdateStream(ctx, jetstream.StreamConfig{Name: events.Stream, Subjects: []string{"nothing"}})
			return err
		}},
		{"create a stream that says on the feed what is stored in it", func(ctx context.Context) error {
			_, err := js.CreateStream(ctx, jetstream.StreamConfig{
				Name: "MINE", Subjects: []string{"mine.*"}, RePublish: &jetstream.RePublish{Source: "mine.*", Destination: "ib.conn.{{wildcard(1)}}"},
			})
			return err
		}},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if err := tt.try(ctx); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("%s from outside = %v, want no permission", tt.name, err)
		}
		cancel()
	}

	// What is allowed comes after all that was not, so that it proves it lost.
	log, err := FindLog(t.Context(), outside)
	if err != nil {
		t.Fatalf("an outsider cannot read the log: %v", err)
	}
	if last, err := log.Last(t.Context()); err != nil || last != 0 {
		t.Errorf("the log ends at %d, %v, want it empty and there", last, err)
	}
	if err := outside.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := inside.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []*nats.Subscription{feed, pools, made} {
		if n, _, err := sub.Pending(); n != 0 || err != nil {
			t.Errorf("%d messages on %s, %v, want none that was made up", n, sub.Subject, err)
		}
	}
}
