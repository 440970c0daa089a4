package bus

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"ibconn/events"
)

// counting answers with so many parts, and an end.
func counting(parts int) func(context.Context, events.Verb, events.Request, func(events.Answer)) events.Answer {
	return func(_ context.Context, _ events.Verb, _ events.Request, more func(events.Answer)) events.Answer {
		for i := range parts {
			more(events.Answer{OK: true, Connection: "main", Status: events.StatusPartial, Part: i + 1})
		}
		return events.Answer{OK: true, Connection: "main", Status: events.StatusCompleted, Parts: parts}
	}
}

func TestSeveralRepliesComeInOrder(t *testing.T) {
	nc := connect(t, openServer(t, ServerOptions{StoreDir: t.TempDir()}))
	serving(t, nc, CommandService{Verbs: verbs, Handle: counting(100)})
	var parts []int
	var last events.Answer
	for a, err := range AskAll(t.Context(), nc, "main", events.VerbStatus, events.Request{}, 20*time.Second) {
		if err != nil {
			t.Fatal(err)
		}
		if last = a; a.Interim() {
			parts = append(parts, a.Part)
		}
	}
	if len(parts) != 100 || !slices.IsSorted(parts) || parts[0] != 1 || last.Parts != 100 || last.Status != events.StatusCompleted {
		t.Errorf("parts %v and then %+v, want 1 to 100 and the end", parts, last)
	}
	// Who reads one reply gets the first.
	m, err := nc.Request("ib.cmd.main.status", nil, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var a events.Answer
	if err := json.Unmarshal(m.Data, &a); err != nil || a.Part != 1 {
		t.Errorf("the first reply is %s, %v, want part 1", m.Data, err)
	}
}

func TestAskAllEndsWithARefusalAndWithoutAnybody(t *testing.T) {
	nc := connect(t, openServer(t, ServerOptions{StoreDir: t.TempDir()}))
	ask := func(c events.ConnectionID, v events.Verb, idle time.Duration) (replies []events.Answer, err error) {
		for a, e := range AskAll(t.Context(), nc, c, v, events.Request{}, idle) {
			if err = e; e == nil {
				replies = append(replies, a)
			}
		}
		return replies, err
	}
	_, err := ask("main", "status", 20*time.Second)
	if _, nobody := errors.AsType[*NobodyError](err); !nobody {
		t.Errorf("of nobody: %v, want a NobodyError", err)
	}
	if _, err := ask("*", "status", time.Second); err == nil {
		t.Error("a wildcard for a connection is taken, want an error")
	}
	release := make(chan struct{})
	serving(t, nc, CommandService{Verbs: verbs, Handle: func(_ context.Context, v events.Verb, _ events.Request, more func(events.Answer)) events.Answer {
		more(events.Answer{OK: true, Status: events.StatusWorking})
		if v == events.VerbReconnect {
			<-release
		}
		return events.Refuse("main", events.ErrorStopped, "connect it first")
	}})
	replies, err := ask("main", events.VerbStatus, 20*time.Second)
	if err != nil || len(replies) != 2 || replies[1].Error == nil || replies[1].Error.Code != events.ErrorStopped {
		t.Errorf("replies %+v, %v, want one, and the refusal", replies, err)
	}
	replies, err = ask("main", events.VerbReconnect, 50*time.Millisecond)
	if !errors.Is(err, context.DeadlineExceeded) || len(replies) != 1 {
		t.Errorf("of one that falls silent: %+v, %v, want one reply and %v", replies, err, context.DeadlineExceeded)
	}
	close(release)
}

// TestACommandEndsWhoseRepliesNobodyTakes has a caller go away between replies.
func TestACommandEndsWhoseRepliesNobodyTakes(t *testing.T) {
	s := openServer(t, ServerOptions{StoreDir: t.TempDir()})
	nc, caller := connect(t, s), connect(t, s)
	next, why := make(chan struct{}), make(chan error, 1)
	serving(t, nc, CommandService{Verbs: verbs, Handle: func(ctx context.Context, _ events.Verb, _ events.Request, more func(events.Answer)) events.Answer {
		for {
			select {
			case <-next:
				more(events.Answer{OK: true, Status: events.StatusWorking})
			case <-ctx.Done():
				why <- context.Cause(ctx)
				return events.Refuse("main", events.ErrorShutdown, "over")
			}
		}
	}})
	inbox, err := caller.SubscribeSync(nats.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	if err := caller.PublishRequest("ib.cmd.main.status", inbox.Subject, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 { // while somebody listens it goes on
		next <- struct{}{}
		if _, err := inbox.NextMsg(20 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(inbox.Unsubscribe(), caller.FlushTimeout(20*time.Second)); err != nil {
		t.Fatal(err)
	}
	next <- struct{}{}
	select {
	case err := <-why:
		if !errors.Is(err, errNobodyListens) {
			t.Errorf("it ended since %v, want %v", err, errNobodyListens)
		}
	case <-time.After(20 * time.Second):
		t.Error("it goes on though nobody listens")
	}
}
