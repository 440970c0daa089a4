package bus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/rs/zerolog"

	"ibconn/events"
)

// serving serves commands until the test ends, and returns what ends it
// earlier and waits for it.
func serving(t *testing.T, nc *nats.Conn, s CommandService) (stop func() error) {
	t.Helper()
	if s.Connection == "" {
		s.Connection = "main"
	}
	if s.Version == "" {
		s.Version = "1.2.3"
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	var running sync.WaitGroup
	running.Go(func() { done <- ServeCommands(ctx, nc, s) })
	stop = sync.OnceValue(func() error {
		cancel(errStopped)
		running.Wait()
		return <-done
	})
	t.Cleanup(func() { _ = stop() })
	within(t, "the service is there", func() bool {
		offers, err := Discover(t.Context(), nc)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range offers {
			if o.Connection == s.Connection && len(o.Verbs) == len(s.Verbs) {
				return true
			}
		}
		return false
	})
	return stop
}

var errStopped = errors.New("stopped by the test")

var verbs = []VerbSpec{
	{Verb: events.VerbStatus, Description: "what is true now", RequestSchema: `{"type":"object"}`, ResponseSchema: `{"type":"object","required":["ok"]}`},
	{Verb: events.VerbReconnect, Description: "connect anew"},
}

// accept is a handler that says what it was asked.
func accept(_ context.Context, v events.Verb, r events.Request, _ func(events.Answer)) events.Answer {
	return events.Answer{OK: true, Status: events.StatusAccepted, Connection: "main", CommandID: string(v) + "/" + r.ID + "/" + r.Reason}
}

// request sends a payload as it stands.
func request(t *testing.T, nc *nats.Conn, payload, id string) (events.Answer, nats.Header) {
	t.Helper()
	m := nats.NewMsg("ib.cmd.main.reconnect")
	m.Data = []byte(payload)
	if id != "" {
		m.Header.Set(events.HeaderMsgID, id)
	}
	reply, err := nc.RequestMsg(m, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var a events.Answer
	if err := json.Unmarshal(reply.Data, &a); err != nil {
		t.Fatalf("answer %q: %v", reply.Data, err)
	}
	return a, reply.Header
}

func TestACommandIsHandledAndAnswered(t *testing.T) {
	nc := connect(t, openServer(t, ServerOptions{StoreDir: t.TempDir()}))
	serving(t, nc, CommandService{Verbs: verbs, Handle: accept})
	for _, c := range []struct{ payload, id, want string }{
		{"", "", "reconnect//"},
		{"{}", "", "reconnect//"},
		{`{"id":"7","reason":"tired"}`, "", "reconnect/7/tired"},
		{`{"reason":"tired"}`, "8", "reconnect/8/tired"},
		{`{"id":"9"}`, "9", "reconnect/9/"},
	} {
		a, header := request(t, nc, c.payload, c.id)
		if !a.OK || a.CommandID != c.want || a.Error != nil {
			t.Errorf("answer to %s with id %q = %+v, want ok and %q", c.payload, c.id, a, c.want)
		}
		if len(header) != 0 {
			t.Errorf("answer to %s has the headers %v, want none", c.payload, header)
		}
	}
}

func TestAnAnswerThatIsTooLargeIsAnError(t *testing.T) {
	nc := connect(t, openServer(t, ServerOptions{StoreDir: t.TempDir()}))
	serving(t, nc, CommandService{Verbs: verbs, Handle: func(context.Context, events.Verb, events.Request, func(events.Answer)) events.Answer {
		return events.Answer{OK: true, Said: strings.Repeat("x", maxPayload)}
	}})
	if a, _ := request(t, nc, "", ""); a.OK || a.Error == nil || a.Error.Code != events.ErrorTooLarge {
		t.Errorf("the answer is %+v, want it told to be too large", a.Error)
	}
}

func TestAWrongCommandIsRefusedInBodyAndHeaders(t *testing.T) {
	nc := connect(t, openServer(t, ServerOptions{StoreDir: t.TempDir()}))
	serving(t, nc, CommandService{Verbs: verbs, Handle: accept})
	for name, c := range map[string]struct{ payload, id, want string }{
		"bad JSON":        {"{", "", "not a request"},
		"no object":       {"[]", "", "not a request"},
		"unknown field":   {`{"now":true}`, "", "now"},
		"wrong type":      {`{"reason":5}`, "", "reason"},
		"wait too long":   {`{"wait":"2m"}`, "", "wait"},
		"two ids":         {`{"id":"1"}`, "2", `id "1" in the payload and "2" in the header`},
		"a long id":       {"", strings.Repeat("i", 65), "want at most 64"},
		"too much of it":  {`{"reason":"` + strings.Repeat("x", events.MaxRequestSize) + `"}`, "", "want at most"},
		"a line break\n!": {"{\n\"a\nb\":1}", "", "not a request"},
	} {
		a, header := request(t, nc, c.payload, c.id)
		if a.OK || a.Error == nil || a.Error.Code != events.ErrorBadRequest || !strings.Contains(a.Error.Message, c.want) || a.Connection != "main" {
			t.Errorf("%s: answer = %+v (%+v), want bad_request about %q", name, a, a.Error, c.want)
			continue
		}
		if got := header.Get(micro.ErrorCodeHeader); got != "bad_request" {
			t.Errorf("%s: header %s = %q, want bad_request", name, micro.ErrorCodeHeader, got)
		}
		if got := header.Get(micro.ErrorHeader); !strings.Contains(got, strings.Fields(c.want)[0]) {
			t.Errorf("%s: header %s = %q, want the message", name, micro.ErrorHeader, got)
		}
	}
}

func TestAHandlersFailureIsAnsweredAsOurs(t *testing.T) {
	nc := connect(t, openServer(t, ServerOptions{StoreDir: t.TempDir()}))
	var log bytes.Buffer
	var answer events.Answer
	stop := serving(t, nc, CommandService{
		Verbs: verbs,
		Handle: func(_ context.Context, _ events.Verb, r events.Request, _ func(events.Answer)) events.Answer {
			if r.Reason == "panic" {
				panic("a nil map")
			}
			return answer
		},
		Log: zerolog.New(&log),
	})
	a, header := request(t, nc, `{"reason":"panic"}`, "")
	if a.Error == nil || a.Error.Code != events.ErrorInternal || !strings.Contains(a.Error.Message, "a nil map") {
		t.Errorf("answer after a panic = %+v, want internal with its value", a.Error)
	}
	if got := header.Get(micro.ErrorCodeHeader); got != "internal" {
		t.Errorf("header %s = %q, want internal", micro.ErrorCodeHeader, got)
	}
	a, _ = request(t, nc, "", "")
	if a.Error == nil || a.Error.Code != events.ErrorInternal {
		t.Errorf("answer to a refusal without a reason = %+v, want internal", a.Error)
	}
	if err := stop(); !errors.Is(err, errStopped) {
		t.Errorf("ServeCommands = %v, want %v", err, errStopped)
	}
	if !strings.Contains(log.String(), "commands_test.go") {
		t.Errorf("the log %q does not say where the panic was", log.String())
	}
}

// One slow command must not hold up another, and there is an end to how many
// may be under way.
func TestCommandsAreHandledSideBySideUpToALimit(t *testing.T) {
	nc := connect(t, openServer(t, ServerOptions{StoreDir: t.TempDir()}))
	release := make(chan struct{})
	var inside atomic.Int32
	stop := serving(t, nc, CommandService{Verbs: verbs, Handle: func(ctx context.Context, v events.Verb, r events.Request, _ func(events.Answer)) events.Answer {
		inside.Add(1)
		defer inside.Add(-1)
		select {
		case <-release:
			return accept(ctx, v, r, nil)
		case <-ctx.Done():
			return events.Refuse("main", events.ErrorShutdown, "over")
		}
	}})
	replies, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	ask := func() {
		t.Helper()
		if err := nc.PublishRequest("ib.cmd.main.reconnect", replies.Subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	codes := func(n int) map[string]int {
		t.Helper()
		got := make(map[string]int)
		for range n {
			m, err := replies.NextMsg(20 * time.Second)
			if err != nil {
				t.Fatal(err)
			}
			got[m.Header.Get(micro.ErrorCodeHeader)]++
		}
		return got
	}
	for range maxHandlers {
		ask()
	}
	within(t, "every handler is busy", func() bool { return inside.Load() == maxHandlers })
	ask()
	if got := codes(1); got["busy"] != 1 {
		t.Errorf("answers beyond the limit = %v, want busy", got)
	}
	close(release)
	if got := codes(maxHandlers); got[""] != maxHandlers {
		t.Errorf("answers = %v, want %d without an error", got, maxHandlers)
	}

	// At the end the ones under way are answered before ServeCommands returns.
	release = make(chan struct{})
	ask()
	within(t, "a handler is busy", func() bool { return inside.Load() == 1 })
	if err := stop(); !errors.Is(err, errStopped) {
		t.Errorf("ServeCommands = %v, want %v", err, errStopped)
	}
	if inside.Load() != 0 {
		t.Error("a handler outlives ServeCommands")
	}
	if got := codes(1); got["shutdown"] != 1 {
		t.Errorf("answer at the end = %v, want shutdown", got)
	}
}

func TestServeCommandsEndsWhenTheConnectionIsClosed(t *testing.T) {
	nc := connect(t, openServer(t, ServerOptions{StoreDir: t.TempDir()}))
	busy := make(chan struct{})
	running := make(chan error, 1)
	var service sync.WaitGroup
	service.Go(func() {
		running <- ServeCommands(t.Context(), nc, CommandService{
			Connection: "main", Version: "1.0.0", Verbs: verbs,
			Handle: func(ctx context.Context, _ events.Verb, _ events.Request, _ func(events.Answer)) events.Answer {
				close(busy)
				<-ctx.Done()
				return events.Answer{}
			},
		})
	})
	within(t, "the command is taken", func() bool {
		_, err := nc.Request("ib.cmd.main.status", nil, 10*time.Millisecond)
		return errors.Is(err, nats.ErrTimeout)
	})
	<-busy
	nc.Close()
	service.Wait()
	if err := <-running; !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("ServeCommands = %v, want %v", err, nats.ErrConnectionClosed)
	}
}

// TestCommandsAreTakenOnceItIsSaid asks over another connection, so that nothing
// orders its request behind the service's subscriptions but Started.
func TestCommandsAreTakenOnceItIsSaid(t *testing.T) {
	server := openServer(t, ServerOptions{StoreDir: t.TempDir()})
	nc, other := connect(t, server), connect(t, server)
	for i := range 300 {
		name := events.ConnectionID(fmt.Sprint("main-", i))
		ctx, stop := context.WithCancel(t.Context())
		started, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			if err := ServeCommands(ctx, nc, CommandService{
				Connection: name, Version: "1.0.0", Verbs: verbs, Handle: accept, Started: func() { close(started) },
			}); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}()
		<-started
		if _, err := Ask(t.Context(), other, name, events.VerbStatus, events.Request{}); err != nil {
			t.Errorf("a command for %s as soon as they are taken: %v", name, err)
		}
		stop()
		<-ended
	}
}

func TestServeCommandsSaysWhatItCannotOffer(t *testing.T) {
	nc := connect(t, openServer(t, ServerOptions{StoreDir: t.TempDir()}))
	for name, s := range map[string]CommandService{
		"a version that is none": {Connection: "main", Version: "devel", Verbs: verbs, Handle: accept},
		"a verb with a dot":      {Connection: "main", Version: "1.0.0", Verbs: []VerbSpec{{Verb: "a.b"}}, Handle: accept},
	} {
		if err := ServeCommands(t.Context(), nc, s); err == nil || !strings.Contains(err.Error(), "bus: commands for main") {
			t.Errorf("%s: ServeCommands = %v, want an error", name, err)
		}
	}
}

func TestCommandsAreServedAgainAfterARestartInPlace(t *testing.T) {
	s := openServer(t, ServerOptions{StoreDir: t.TempDir()})
	nc := connect(t, s)
	serving(t, nc, CommandService{Verbs: verbs, Handle: accept})
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	within(t, "a command is answered", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		a, err := Ask(ctx, nc, "main", events.VerbStatus, events.Request{})
		return err == nil && a.OK
	})
}

func TestTheServiceDescribesItself(t *testing.T) {
	nc := connect(t, openServer(t, ServerOptions{StoreDir: t.TempDir()}))
	serving(t, nc, CommandService{Verbs: verbs, Handle: accept})
	m, err := nc.Request("$SRV.INFO.ibconn", nil, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var info micro.Info
	if err := json.Unmarshal(m.Data, &info); err != nil {
		t.Fatal(err)
	}
	if info.Name != "ibconn" || info.Version != "1.2.3" || info.Metadata["connection"] != "main" || len(info.Endpoints) != 2 {
		t.Fatalf("info = %+v, want the service of main with 2 endpoints", info)
	}
	e := info.Endpoints[0]
	if e.Name != "main-status" || e.Subject != "ib.cmd.main.status" {
		t.Errorf("endpoint = %s on %s, want main-status on ib.cmd.main.status", e.Name, e.Subject)
	}
	for key, want := range map[string]string{
		"description":     verbs[0].Description,
		"format":          "application/json",
		"schema_request":  verbs[0].RequestSchema,
		"schema_response": verbs[0].ResponseSchema,
	} {
		if got := e.Metadata[key]; got != want {
			t.Errorf("metadata %s = %q, want %q", key, got, want)
		}
	}
}
