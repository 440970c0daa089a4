package dashboard_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ibconn/consumers/dashboard"
	"ibconn/events"
)

// pipes is a listener whose connections are pipes, so that its time can be a bubble's.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// open serves a page, with the deadlines of package web, until the context ends or the
// returned function is called, and returns what connects to it.
func open(ctx context.Context, page *dashboard.Page) (dial func() net.Conn, closed func()) {
	l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{
		Handler: page.Handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 90 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	over := make(chan error)
	go func() { over <- server.Serve(l) }()
	return func() net.Conn {
			client, other := net.Pipe()
			l.conns <- other
			return client
		}, func() {
			_ = server.Close()
			<-over
		}
}

// follower is a page that follows.
type follower struct {
	net.Conn
	r *bufio.Reader
}

// follow asks for a stream and reads the head of its answer.
func follow(t *testing.T, conn net.Conn, header string) (*follower, string) {
	t.Helper()
	if _, err := fmt.Fprintf(conn, "GET /api/stream?after=%s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n", "1", header); err != nil {
		t.Fatal(err)
	}
	f := &follower{conn, bufio.NewReader(conn)}
	status, err := f.r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	for {
		line, err := f.r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "\r\n" {
			return f, status
		}
	}
}

// told is news as a page gets it.
type told struct {
	id          uint64
	Position    uint64
	Now         int64
	Reset       bool
	More        int
	Lines       []line
	Connections []struct{ Connection string }
	Incidents   []string
}

// next reads the next news.
func (f *follower) next() (told, error) {
	var n told
	for {
		line, err := f.r.ReadString('\n')
		if err != nil {
			return n, err
		}
		if text, ok := strings.CutPrefix(line, "id: "); ok {
			_, _ = fmt.Sscan(text, &n.id)
		}
		if text, ok := strings.CutPrefix(line, "data: "); ok {
			return n, json.Unmarshal([]byte(text), &n)
		}
	}
}

// until reads news until there are so many lines.
func (f *follower) until(t *testing.T, lines int) (all []line, last told) {
	t.Helper()
	for len(all) < lines {
		n, err := f.next()
		if err != nil {
			t.Fatalf("after %d lines: %v", len(all), err)
		}
		if n.id != n.Position {
			t.Errorf("news of position %d have the id %d", n.Position, n.id)
		}
		all, last = append(all, n.Lines...), n
	}
	return all, last
}

func TestAStreamGoesOnFromWhereItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTale(true)
		l := w.life("main", 1)
		l.begin(time.Now())
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		dial, closed := open(ctx, &dashboard.Page{Model: w.model, Log: w})
		defer closed()

		conn := dial()
		f, status := follow(t, conn, "Last-Event-ID: 2\r\n")
		if !strings.Contains(status, "200") {
			t.Fatalf("it is answered %s", status)
		}
		go func() {
			time.Sleep(time.Second)
			l.open(time.Now(), "usfarm")
		}()
		lines, last := f.until(t, 5)
		if lines[0].What != "dial_started" || lines[4].What != "farm_changed" || !slices.ContainsFunc(last.Connections, func(c struct{ Connection string }) bool { return c.Connection == "main" }) {
			t.Errorf("it is told %+v", lines)
		}
		began := time.Now()
		for range 3 { // nothing happens, and it is told that
			if n, err := f.next(); err != nil || len(n.Lines) > 0 || n.Position != last.Position {
				t.Errorf("it is told %+v, %v, want nothing new", n, err)
			}
		}
		if d := time.Since(began); d > 13*time.Second {
			t.Errorf("it is told three times that nothing happened in %v, want that every 4 s", d)
		}
		conn.Close()
		synctest.Wait()

		l.lose(time.Now(), events.CauseReset, 1)
		f, _ = follow(t, dial(), fmt.Sprintf("Last-Event-ID: %d\r\n", last.Position))
		lines, last = f.until(t, 3)
		if len(lines) != 3 || lines[0].What != "session_lost" || len(last.Incidents) != 1 {
			t.Errorf("when it comes back it is told %+v", lines)
		}
		f.Close()

		// What is not kept any more cannot be told: the page begins anew.
		for n := range 10_000 {
			l.tell("main", time.Now(), &events.GatewayReported{Attempt: 1, RequestID: -1, Code: 2000 + n, Message: "again"})
		}
		f, _ = follow(t, dial(), "Last-Event-ID: 3\r\n")
		if n, err := f.next(); err != nil || !n.Reset || n.Position != w.last || len(n.Lines) > 0 {
			t.Errorf("of a position long ago it is told %+v, %v, want that it must begin anew", n, err)
		}
		f.Close()
		f, _ = follow(t, dial(), fmt.Sprintf("Last-Event-ID: %d\r\n", w.last-500))
		if n, err := f.next(); err != nil || n.Reset || len(n.Lines) != 100 || n.More != 400 {
			t.Errorf("of a position a while ago it is told %d lines and %d more, %v, want 100 and 400", len(n.Lines), n.More, err)
		}
		f.Close()
		f, _ = follow(t, dial(), fmt.Sprintf("Last-Event-ID: %d\r\n", w.last+500))
		if n, err := f.next(); err != nil || !n.Reset {
			t.Errorf("of a position that there is not it is told %+v, %v", n, err)
		}
		f.Close()
	})
}

func TestWhoReadsSlowlyHoldsNobodyUpAndIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTale(false)
		l := w.life("main", 1)
		l.begin(time.Now())
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		dial, closed := open(ctx, &dashboard.Page{Model: w.model, Log: w})
		defer closed()
		slow, _ := follow(t, dial(), "")
		quick, _ := follow(t, dial(), "")
		go func() {
			for n := range 20 {
				l.tell("main", time.Now(), &events.GatewayReported{Attempt: 1, RequestID: -1, Code: 2000 + n, Message: "again"})
				time.Sleep(time.Second)
			}
		}()
		began := time.Now()
		if lines, _ := quick.until(t, 20); len(lines) != 20 {
			t.Errorf("beside one that does not read it is told %d lines", len(lines))
		}
		if d := time.Since(began); d > 21*time.Second {
			t.Errorf("beside one that does not read it took %v, want the 20 s that it lasted", d)
		}
		time.Sleep(time.Minute)
		if _, err := io.Copy(io.Discard, slow.r); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("one that does not read ends with %v", err)
		}
		slow.Close()
		quick.Close()
	})
}

func TestOnlySoManyPagesFollowAndAllEndWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTale(false)
		w.life("main", 1).begin(time.Now())
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		dial, closed := open(ctx, &dashboard.Page{Model: w.model, Log: w})
		defer closed()
		var all []*follower
		for range 32 {
			f, status := follow(t, dial(), "")
			if !strings.Contains(status, "200") {
				t.Fatalf("one of 32 is answered %s", status)
			}
			go func() { _, _ = io.Copy(io.Discard, f.r) }()
			all = append(all, f)
		}
		more := dial()
		f, status := follow(t, more, "")
		if !strings.Contains(status, "503") {
			t.Errorf("one more is answered %s", status)
		}
		f.Close()
		all[0].Close()
		time.Sleep(10 * time.Second)
		f, status = follow(t, dial(), "")
		if !strings.Contains(status, "200") {
			t.Errorf("when one has gone, another is answered %s", status)
		}
		cancel()
		if _, err := io.Copy(io.Discard, f.r); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("as the server ends the stream ends with %v", err)
		}
		for _, one := range append(all, f) {
			one.Close()
		}
	})
}
