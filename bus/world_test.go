package bus

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"ibconn/events"
)

// within polls until ok says true.
func within(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 30 seconds", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// noLeaks fails the test when it leaves goroutines behind. It must be called
// first, so that it is checked after every other clean-up.
func noLeaks(t testing.TB) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		deadline := time.Now().Add(20 * time.Second)
		for runtime.NumGoroutine() > before {
			if time.Now().After(deadline) {
				buf := make([]byte, 1<<20)
				t.Errorf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
}

func openServer(t testing.TB, o ServerOptions) *Server {
	t.Helper()
	noLeaks(t)
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func connect(t testing.TB, s *Server) *nats.Conn {
	t.Helper()
	nc, err := s.Connect(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func openTestLog(t testing.TB, nc *nats.Conn, o LogOptions) *Log {
	t.Helper()
	l, err := OpenLog(t.Context(), nc, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// world is a server with a log, and its directory.
type world struct {
	dir    string
	server *Server
	nc     *nats.Conn
	log    *Log
}

func newWorld(t testing.TB, o ServerOptions) world {
	t.Helper()
	if o.StoreDir == "" {
		o.StoreDir = t.TempDir()
	}
	s := openServer(t, o)
	nc := connect(t, s)
	return world{o.StoreDir, s, nc, openTestLog(t, nc, LogOptions{})}
}

// author writes events the way the connector does: one after the other, each
// on the head of the one before.
type author struct {
	t testing.TB
	w *Writer
	events.Author
	head   events.Head
	number int
}

func newAuthor(t testing.TB, l *Log, dir, instance string) *author {
	t.Helper()
	w, err := l.Writer("main", dir)
	if err != nil {
		t.Fatal(err)
	}
	a := &author{t: t, w: w}
	a.Author = events.Author{Connection: "main", Source: "/ibconn/" + instance, NewID: func() string {
		a.number++
		return fmt.Sprintf("%s-%d-%d", instance, a.head.Epoch, a.number)
	}}
	return a
}

func (a *author) next(e events.Event) events.Recorded {
	a.t.Helper()
	r, err := a.head.Next(a.Author, events.Draft{Event: e}, time.Now())
	if err != nil {
		a.t.Fatal(err)
	}
	return r
}

// claim loads the log, checking its chain, and claims the connection.
func (a *author) claim() {
	a.t.Helper()
	a.load()
	r := a.next(&events.EpochBegan{Instance: a.Source, PID: os.Getpid(), Version: "1.0.0", PreviousEpoch: a.head.Epoch})
	if err := a.w.Claim(a.t.Context(), r); err != nil {
		a.t.Fatal(err)
	}
	a.head = a.head.Then(r)
}

func (a *author) load() (all []events.Recorded) {
	a.t.Helper()
	a.head = events.Head{}
	for r, err := range a.w.Load(a.t.Context()) {
		if err != nil {
			a.t.Fatal(err)
		}
		if err := a.head.Follows(r); err != nil {
			a.t.Fatal(err)
		}
		a.head = a.head.Then(r)
		all = append(all, r)
	}
	return all
}

func (a *author) append(e events.Event) events.Recorded {
	a.t.Helper()
	r := a.next(e)
	if err := a.w.Append(a.t.Context(), r); err != nil {
		a.t.Fatal(err)
	}
	a.head = a.head.Then(r)
	return r
}

func reported(n int) events.Event {
	return &events.GatewayReported{Attempt: 1, RequestID: -1, Code: n, Class: events.ClassInfo, Message: "a notice of the gateway"}
}

// page is an event of about size bytes.
func page(size int) events.Event {
	return &events.GatewayReported{Attempt: 1, RequestID: -1, Class: events.ClassInfo, Message: strings.Repeat("x", size)}
}

func heartbeat(n uint64) events.Event {
	now := time.Now()
	return &events.HeartbeatAnswered{Attempt: 1, Number: n, SentAt: now, NextProbeAt: now, AnswerBy: now}
}

func ids(all []events.Recorded) []string {
	var ids []string
	for _, r := range all {
		ids = append(ids, r.ID)
	}
	return ids
}

func readAll(t testing.TB, l *Log, q Query) []Entry {
	t.Helper()
	var all []Entry
	for e, err := range l.Read(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func entryIDs(all []Entry) []string {
	var ids []string
	for _, e := range all {
		ids = append(ids, e.ID)
	}
	return ids
}

func wantIDs(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s = %q, want %q", what, got, want)
	}
}
