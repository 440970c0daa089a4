package bus

import (
	"context"
	"errors"
	"iter"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"ibconn/events"
)

func TestDialSaysWhatToDoWhenNothingAnswers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "nats://" + l.Addr().String()
	l.Close()
	_, err = Dial(url)
	if err == nil || !strings.Contains(err.Error(), "nothing answers at "+url+": is `ibconn run` up?") {
		t.Errorf("Dial = %v, want an error that names the address and what to do", err)
	}
	if _, err := Dial("nats://[broken"); err == nil || strings.Contains(err.Error(), "nothing answers") {
		t.Errorf("Dial of a broken URL = %v, want an error about the URL", err)
	}
}

func TestAskFromAnotherProcess(t *testing.T) {
	s := openServer(t, ServerOptions{StoreDir: t.TempDir(), Listen: "127.0.0.1:0"})
	serving(t, connect(t, s), CommandService{Verbs: verbs, Handle: accept})
	nc, err := Dial(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	a, err := Ask(t.Context(), nc, "main", events.VerbReconnect, events.Request{ID: "7", Reason: "tired", Wait: events.Wait(time.Second)})
	if err != nil || !a.OK || a.CommandID != "reconnect/7/tired" {
		t.Errorf("Ask = %+v, %v, want the handler's answer", a, err)
	}
}

func TestARefusalIsAnAnswer(t *testing.T) {
	nc := connect(t, openServer(t, ServerOptions{StoreDir: t.TempDir()}))
	serving(t, nc, CommandService{Verbs: verbs, Handle: func(context.Context, events.Verb, events.Request, func(events.Answer)) events.Answer {
		return events.Refuse("main", events.ErrorStopped, "connect it first")
	}})
	a, err := Ask(t.Context(), nc, "main", events.VerbReconnect, events.Request{})
	if err != nil || a.OK || a.Error == nil || *a.Error != (events.AnswerError{Code: events.ErrorStopped, Message: "connect it first"}) {
		t.Errorf("Ask = %+v, %v, want the refusal", a, err)
	}
}

func TestAskSaysWhatThereIsInstead(t *testing.T) {
	s := openServer(t, ServerOptions{StoreDir: t.TempDir()})
	nc := connect(t, s)
	ask := func(c events.ConnectionID, v events.Verb) string {
		t.Helper()
		_, err := Ask(t.Context(), nc, c, v, events.Request{})
		if _, ok := errors.AsType[*NobodyError](err); !ok {
			t.Errorf("Ask %s %s = %v, want a NobodyError", v, c, err)
			return ""
		}
		return err.Error()
	}
	if got, want := ask("foo", "status"), "bus: status foo: nobody takes commands here: is `ibconn run` up, and on this bus?"; got != want {
		t.Errorf("on an empty bus: %q, want %q", got, want)
	}
	serving(t, nc, CommandService{Verbs: verbs, Handle: accept})
	serving(t, connect(t, s), CommandService{Connection: "paper", Verbs: verbs[:1], Handle: accept})
	if got, want := ask("foo", "status"), `bus: status foo: no connection "foo" here; there are: main (reconnect, status), paper (status)`; got != want {
		t.Errorf("for another connection: %q, want %q", got, want)
	}
	if got, want := ask("main", "history"), `bus: history main: connection "main" takes no command "history"; it takes: reconnect, status`; got != want {
		t.Errorf("for another command: %q, want %q", got, want)
	}
	serving(t, connect(t, s), CommandService{Connection: "many", Pool: []events.ConnectionID{"many-1", "many-2"}, Verbs: verbs[:1], Handle: accept})
	if got, want := ask("many", "history"), `bus: history many: "many" is a pool and takes no command "history"; it takes: status; its connections are many-1, many-2`; got != want {
		t.Errorf("for a pool: %q, want %q", got, want)
	}
	offers, err := Discover(t.Context(), nc)
	if err != nil || len(offers) != 3 || len(offers[0].Pool) != 0 || !slices.Equal(offers[1].Pool, []events.ConnectionID{"many-1", "many-2"}) {
		t.Errorf("Discover = %+v, %v, want main, many with its members, and paper", offers, err)
	}
	for _, c := range []events.ConnectionID{"", "*", "a.b", "main "} {
		if _, err := Ask(t.Context(), nc, c, "status", events.Request{}); err == nil {
			t.Errorf("Ask of connection %q succeeds, want an error", c)
		}
	}
	if _, err := Ask(t.Context(), nc, "main", ">", events.Request{}); err == nil {
		t.Error("Ask with a wildcard for a command succeeds, want an error")
	}
}

func TestAnAnswerOfSomebodyElseIsAnError(t *testing.T) {
	nc := connect(t, openServer(t, ServerOptions{StoreDir: t.TempDir()}))
	for _, answer := range []string{"", "yes", "{}", `{"ok":"yes"}`, "null"} {
		sub, err := nc.Subscribe("ib.cmd.main.status", func(m *nats.Msg) { _ = m.Respond([]byte(answer)) })
		if err != nil {
			t.Fatal(err)
		}
		if a, err := Ask(t.Context(), nc, "main", events.VerbStatus, events.Request{}); err == nil {
			t.Errorf("Ask answered with %q = %+v, want an error", answer, a)
		}
		if err := sub.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAskEndsWithItsContext(t *testing.T) {
	nc := connect(t, openServer(t, ServerOptions{StoreDir: t.TempDir()}))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	serving(t, nc, CommandService{Verbs: verbs, Handle: func(serving context.Context, _ events.Verb, _ events.Request, _ func(events.Answer)) events.Answer {
		<-serving.Done()
		return events.Refuse("main", events.ErrorShutdown, "over")
	}})
	if _, err := Ask(ctx, nc, "main", events.VerbStatus, events.Request{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Ask = %v, want %v", err, context.DeadlineExceeded)
	}
}

// The feed shows what was stored, once, and nothing of a writer that was
// superseded.
func TestTheFeedShowsWhatIsStoredAndNothingElse(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	feed, err := w.nc.SubscribeSync(events.FeedSubjects)
	if err != nil {
		t.Fatal(err)
	}
	a, b := newAuthor(t, w.log, w.dir, "a"), newAuthor(t, w.log, w.dir, "b")
	a.claim()
	a.append(reported(1))
	a.append(heartbeat(1))
	b.claim()
	for n := range 5 {
		if err := a.w.Append(t.Context(), a.next(reported(n))); !errors.Is(err, events.ErrSuperseded) {
			t.Errorf("Append of the older writer = %v, want %v", err, events.ErrSuperseded)
		}
		b.append(reported(n))
	}
	// A repetition is not shown again either.
	again := b.append(reported(9))
	if err := b.w.Append(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	for _, want := range readAll(t, w.log, Query{}) {
		m, err := feed.NextMsg(20 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		kind := want.Event.Type().Kind()
		if m.Subject != events.FeedSubject(kind) || string(m.Data) != string(want.Wire) {
			t.Errorf("the feed shows %s on %s, want %s", m.Data, m.Subject, want.Wire)
		}
		for header, value := range map[string]string{
			"Nats-Stream":   "IB_LOG",
			"Nats-Sequence": strconv.FormatUint(want.StreamSeq, 10),
			"Nats-Subject":  events.LogSubject("main", kind),
			"Nats-Msg-Id":   want.ID,
		} {
			if got := m.Header.Get(header); got != value {
				t.Errorf("%s: header %s = %q, want %q", want.ID, header, got, value)
			}
		}
	}
	if err := w.nc.FlushTimeout(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	if n, _, err := feed.Pending(); n != 0 || err != nil {
		t.Errorf("%d more messages on the feed, %v, want none", n, err)
	}
}

func TestFeedYieldsEntriesUntilItsContextEnds(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	next, stop := iter.Pull2(Feed(ctx, w.nc))
	defer stop()

	// The feed begins once it is iterated over, so something must be written
	// from then on.
	writing, enough := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	writer.Go(func() {
		for n := 0; writing.Err() == nil; n++ {
			a.append(reported(n))
		}
	})
	defer writer.Wait()
	defer enough()
	var got []Entry
	for range 20 {
		e, err, ok := next()
		if err != nil || !ok {
			t.Fatalf("next = %v, %v, want an entry", err, ok)
		}
		got = append(got, e)
	}
	enough()
	writer.Wait()
	stored := readAll(t, w.log, Query{After: got[0].StreamSeq - 1})
	if !slices.Equal(entryIDs(got), entryIDs(stored)[:len(got)]) {
		t.Errorf("the feed yields %q, want %q", entryIDs(got), entryIDs(stored)[:len(got)])
	}

	// What somebody else publishes there is no event.
	if err := w.nc.Publish("ib.conn.state", got[0].Wire); err != nil {
		t.Fatal(err)
	}
	for {
		_, err, ok := next()
		if !ok {
			t.Fatal("the feed ends, want it to go on")
		}
		if err != nil {
			if !errors.Is(err, events.ErrMalformed) {
				t.Errorf("error = %v, want %v", err, events.ErrMalformed)
			}
			break
		}
	}
	cancel()
	for {
		_, err, ok := next()
		if err != nil {
			t.Errorf("an error at the end of the context: %v", err)
		}
		if !ok {
			break
		}
	}
}

func TestFeedOnAClosedConnectionIsAnError(t *testing.T) {
	nc := connect(t, openServer(t, ServerOptions{StoreDir: t.TempDir()}))
	nc.Close()
	var last error
	for _, err := range Feed(t.Context(), nc) {
		last = err
	}
	if !errors.Is(last, nats.ErrConnectionClosed) {
		t.Errorf("the last error = %v, want %v", last, nats.ErrConnectionClosed)
	}
}

func TestRedactedHidesPasswords(t *testing.T) {
	for _, tt := range []struct{ urls, want string }{
		{"nats://127.0.0.1:4222", "nats://127.0.0.1:4222"},
		{"127.0.0.1:4222", "nats://127.0.0.1:4222"},
		{"tls://ann:secret@hub.example:4222, nats://bob:pass@127.0.0.1", "tls://ann:xxxxx@hub.example:4222,nats://bob:xxxxx@127.0.0.1"},
		{"nats://ann:sec\x7fret@hub", "(a URL that cannot be read)"},
	} {
		if got := Redacted(tt.urls); got != tt.want {
			t.Errorf("Redacted(%q) = %q, want %q", tt.urls, got, tt.want)
		}
	}
}
