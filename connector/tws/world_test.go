package tws

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"ibconn/connector"
)

// patience bounds every wait for something that must come. It says nothing
// about speed.
const patience = 20 * time.Second

// attempt is one session under test, with all that it reported.
type attempt struct {
	tb      testing.TB
	session *session
	cancel  context.CancelFunc
	done    chan struct{}

	mu   sync.Mutex
	news []connector.Input
	more chan struct{} // closed and replaced when news come
}

// begin runs an attempt at the gateway at addr, at a pace that no test waits
// for.
func begin(tb testing.TB, d *Dialer, addr string, clientID int64) *attempt {
	tb.Helper()
	return beginAt(tb, d, addr, clientID, connector.Pace{PerSecond: 1000})
}

// beginAt is begin at a pace, with messages in the queue.
func beginAt(tb testing.TB, d *Dialer, addr string, clientID int64, pace connector.Pace, queued ...connector.Message) *attempt {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	a := &attempt{tb: tb, cancel: cancel, done: make(chan struct{}), more: make(chan struct{})}
	o := order(addr, clientID)
	o.Pace = pace
	a.session = d.Attempt(o).(*session)
	for _, m := range queued {
		a.session.Send(m)
	}
	go func() {
		defer close(a.done)
		a.session.Run(ctx, a.report)
	}()
	tb.Cleanup(a.end)
	return a
}

func (a *attempt) report(in connector.Input) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.news = append(a.news, in)
	close(a.more)
	a.more = make(chan struct{})
}

// end cancels the attempt and waits for Run.
func (a *attempt) end() {
	a.tb.Helper()
	a.cancel()
	a.wait()
}

// wait waits until Run returned.
func (a *attempt) wait() {
	a.tb.Helper()
	select {
	case <-a.done:
	case <-time.After(patience):
		a.tb.Fatalf("Run did not return; it reported\n%s", a.story())
	}
}

func (a *attempt) all() []connector.Input {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]connector.Input(nil), a.news...)
}

// story is what was reported, a word each.
func (a *attempt) story() string { return tell(a.all()) }

func tell(news []connector.Input) string {
	var words []string
	for _, in := range news {
		switch in := in.(type) {
		case connector.Ended:
			words = append(words, fmt.Sprintf("Ended(%s)", in.Cause))
		case connector.Noticed:
			words = append(words, fmt.Sprintf("Noticed(%d)", in.Code))
		case connector.Answered:
			words = append(words, fmt.Sprintf("Answered(%d)", in.Number))
		case connector.Passed:
			words = append(words, fmt.Sprintf("Passed(%d %s)", in.ID, in.Outcome))
		case connector.Described:
			words = append(words, fmt.Sprintf("Described(%d)", in.ID))
		case connector.Brought:
			words = append(words, fmt.Sprintf("Brought(%d %d)", in.ID, in.Total))
		case connector.Found:
			words = append(words, fmt.Sprintf("Found(%d)", in.ID))
		case connector.Probed: // of every heartbeat
		case connector.Refused:
			words = append(words, fmt.Sprintf("Refused(%s)", in.Name))
		default:
			words = append(words, strings.TrimPrefix(fmt.Sprintf("%T", in), "connector."))
		}
	}
	return strings.Join(words, " ")
}

// await waits for the first news of type T that ok likes.
func await[T connector.Input](a *attempt, ok func(T) bool) T {
	a.tb.Helper()
	timeout := time.After(patience)
	for seen := 0; ; {
		a.mu.Lock()
		news, more := a.news[seen:], a.more
		a.mu.Unlock()
		for _, in := range news {
			if t, is := in.(T); is && ok(t) {
				return t
			}
		}
		seen += len(news)
		select {
		case <-more:
		case <-timeout:
			var want T
			a.tb.Fatalf("no %T came; reported was\n%s", want, a.story())
		}
	}
}

func anyOf[T connector.Input](T) bool { return true }

// opened waits until the session is ready.
func (a *attempt) opened() connector.Opened {
	a.tb.Helper()
	return await(a, anyOf[connector.Opened])
}

// ended waits for the report of the session's end.
func (a *attempt) ended() connector.Ended {
	a.tb.Helper()
	return await(a, anyOf[connector.Ended])
}

// eventually waits until ok holds.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			tb.Fatalf("it did not come to pass that %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// leakFree fails the test if at its end more goroutines or descriptors are
// left than there were at its beginning. Call it before anything that cleans
// up after itself.
func leakFree(tb testing.TB) {
	tb.Helper()
	goroutines, files := runtime.NumGoroutine(), openFiles()
	tb.Cleanup(func() {
		var now, open int
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if now, open = runtime.NumGoroutine(), openFiles(); now <= goroutines && open <= files {
				return
			}
		}
		stacks := make([]byte, 1<<16)
		tb.Errorf("%d goroutines and %d descriptors are left, want %d and %d\n%s",
			now, open, goroutines, files, stacks[:runtime.Stack(stacks, true)])
	})
}

// openFiles counts this process's descriptors, where the system lists them.
func openFiles() int {
	list, _ := os.ReadDir("/proc/self/fd")
	return len(list)
}

// peer is a gateway whose every byte the test writes.
type peer struct {
	tb       testing.TB
	listener *net.TCPListener
	conn     *net.TCPConn
}

func newPeer(tb testing.TB) *peer {
	tb.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		tb.Fatal(err)
	}
	p := &peer{tb: tb, listener: l}
	tb.Cleanup(func() {
		l.Close()
		if p.conn != nil {
			p.conn.Close()
		}
	})
	return p
}

func (p *peer) addr() string { return p.listener.Addr().String() }

func (p *peer) accept() {
	p.tb.Helper()
	p.listener.SetDeadline(time.Now().Add(patience))
	conn, err := p.listener.AcceptTCP()
	if err != nil {
		p.tb.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(patience))
	p.conn = conn
}

func (p *peer) write(data []byte) {
	p.tb.Helper()
	if _, err := p.conn.Write(data); err != nil {
		p.tb.Fatal(err)
	}
}

// text returns a frame of text fields.
func text(fields ...any) []byte {
	var payload []byte
	for _, f := range fields {
		payload = fmt.Appendf(payload, "%v\x00", f)
	}
	return frame(payload)
}

func reset(conn *net.TCPConn) {
	conn.SetLinger(0)
	conn.Close()
}

func order(addr string, clientID int64) connector.Order {
	return connector.Order{Attempt: 1, Endpoint: addr, ClientID: clientID}
}
