package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ibconn/bus"
	"ibconn/consumers/follow"
	"ibconn/consumers/web"
	"ibconn/events"
)

// story is a log with what a test put there, and no more.
type story struct {
	tb   testing.TB
	mu   sync.Mutex
	all  []bus.Entry
	head map[events.ConnectionID]events.Head
	fail error         // of Last
	hold chan struct{} // reading waits for it, where it is set
}

func newStory(tb testing.TB) *story {
	return &story{tb: tb, head: make(map[events.ConnectionID]events.Head)}
}

func (s *story) add(c events.ConnectionID, at time.Time, e events.Event) {
	s.tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.all) + 1
	author := events.Author{Connection: c, Source: "/ibconn/test", NewID: func() string { return fmt.Sprint("e", n) }}
	r, err := s.head[c].Next(author, events.Draft{Event: e}, at)
	if err != nil {
		s.tb.Fatal(err)
	}
	s.head[c] = s.head[c].Then(r)
	s.all = append(s.all, bus.Entry{Recorded: r, StreamSeq: uint64(n)})
}

func (s *story) Last(context.Context) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uint64(len(s.all)), s.fail
}

func (s *story) Read(ctx context.Context, q bus.Query) iter.Seq2[bus.Entry, error] {
	return func(yield func(bus.Entry, error) bool) {
		if s.hold != nil {
			select {
			case <-s.hold:
			case <-ctx.Done():
				return
			}
		}
		s.mu.Lock()
		all := s.all
		s.mu.Unlock()
		for i, e := range all {
			var err error
			if i == 1 { // something that is no event
				e, err = bus.Entry{}, &bus.UndecodableError{StreamSeq: e.StreamSeq, Err: events.ErrMalformed}
			}
			if !yield(e, err) {
				return
			}
		}
		if q.Follow {
			<-ctx.Done()
		}
	}
}

// opened puts a session in the log that began at a time.
func (s *story) opened(c events.ConnectionID, at time.Time) {
	s.add(c, at, &events.EpochBegan{Instance: "host-1", PID: 1})
	s.add(c, at, &events.ClockJumped{By: 3000}) // the one that is not read
	s.add(c, at.Add(time.Second), &events.SessionOpened{Attempt: 1, NextProbeAt: at.Add(15 * time.Second), AnswerBy: at.Add(20 * time.Second), Accounts: []string{"DU***67"}})
}

// serve runs a site of a log and returns it, with what stops it.
func serve(t *testing.T, log follow.Log) (*httptest.Server, *web.Site) {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "ibconn_test_total", Help: "A test's."}, func() float64 { return 7 }))
	reader := &follow.Reader{Log: log}
	site := &web.Site{Log: log, Metrics: registry, Caught: reader.Caught()}
	reader.Folds = append(reader.Folds, site)
	server := httptest.NewServer(site.Handler())
	t.Cleanup(server.Close)
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- reader.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-over; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v", err)
		}
	})
	return server, site
}

// get asks a server, and reads the answer into one of JSON where that is not nil.
func get(t *testing.T, url string, answer any) (code int, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if answer != nil {
		if err := json.Unmarshal(b, answer); err != nil {
			t.Fatalf("%s answers %s: %v", url, b, err)
		}
	}
	return resp.StatusCode, string(b)
}

// until asks again until the answer has a status.
func until(t *testing.T, url string, code int) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; {
		got, body := get(t, url, nil)
		if got == code {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s answers %d, %s, want %d", url, got, body, code)
		}
	}
}

func TestItTellsWhatTheLogSays(t *testing.T) {
	s, now := newStory(t), time.Now().UTC()
	s.opened("main", now.Add(-time.Hour))
	s.add("main", now.Add(-30*time.Minute), &events.SessionLost{Attempt: 1, Cause: events.CauseReset, Failures: 1, RetryAt: now.Add(time.Hour)})
	s.add("other", now.Add(-time.Minute), &events.EpochBegan{Instance: "host-2", PID: 2})
	server, _ := serve(t, s)
	until(t, server.URL+"/readyz", http.StatusOK)

	if code, body := get(t, server.URL+"/metrics", nil); code != http.StatusOK || !strings.Contains(body, "ibconn_test_total 7") {
		t.Errorf("/metrics answers %d, %s", code, body)
	}
	if code, body := get(t, server.URL+"/healthz", nil); code != http.StatusOK || !strings.Contains(body, "true") {
		t.Errorf("/healthz answers %d, %s", code, body)
	}
	var a web.Statuses
	if code, body := get(t, server.URL+"/status", &a); code != http.StatusOK || len(a.Connections) != 2 || a.Connections[0].Phase != events.PhaseWaiting || len(a.Stale) != 0 {
		t.Errorf("/status answers %d, %s", code, body)
	}
	if code, body := get(t, server.URL+"/status?connection=other", &a); code != http.StatusOK || len(a.Connections) != 1 || a.Connections[0].Connection != "other" {
		t.Errorf("/status of one answers %d, %s", code, body)
	}
	for _, tt := range []struct {
		at    time.Time
		phase events.Phase
		stale bool
	}{
		{now.Add(-59 * time.Minute), events.PhaseReady, true}, // nothing was heard of it since
		{now.Add(-time.Hour + 5*time.Second), events.PhaseReady, false},
		{now.Add(-29 * time.Minute), events.PhaseWaiting, false},
	} {
		url := server.URL + "/status?connection=main&at=" + tt.at.Format(time.RFC3339Nano)
		if code, body := get(t, url, &a); code != http.StatusOK || a.Connections[0].Phase != tt.phase || (len(a.Stale) == 1) != tt.stale || !a.At.Equal(tt.at) {
			t.Errorf("%s answers %d, %s, want %s, stale %v", url, code, body, tt.phase, tt.stale)
		}
	}
}

func TestWhatCannotBeAnsweredSaysWhy(t *testing.T) {
	s, now := newStory(t), time.Now().UTC()
	s.opened("main", now.Add(-time.Hour))
	server, _ := serve(t, s)
	until(t, server.URL+"/readyz", http.StatusOK)
	for _, tt := range []struct {
		path, want string
		code       int
	}{
		{"/status?at=yesterday", "want one such as 2026-11-22T03:12Z", http.StatusBadRequest},
		{"/status?at=" + strings.Repeat("9", 4000), "is no time", http.StatusBadRequest},
		{"/status?at=2999-01-01T00:00Z", "lies in the future", http.StatusBadRequest},
		{"/status?connection=none", "no connection", http.StatusNotFound},
		{"/status?connection=main&at=2001-01-01T00:00Z", "by then", http.StatusNotFound},
		{"/readyz?connection=none", "nothing is known of it", http.StatusServiceUnavailable},
		{"/readyz?connection=main", "not heard of since", http.StatusServiceUnavailable},
		{"/nowhere", "", http.StatusNotFound},
	} {
		if code, body := get(t, server.URL+tt.path, nil); code != tt.code || !strings.Contains(body, tt.want) || len(body) > 4000 {
			t.Errorf("%.60s answers %d, %s, want %d with %q", tt.path, code, body, tt.code, tt.want)
		}
	}
	for _, zone := range []string{"2001-01-01T00:00+01:00", "2001-01-01T00:00:01.5+01:00"} {
		if code, body := get(t, server.URL+"/status?at="+zone, nil); code != http.StatusOK {
			t.Errorf("at=%s answers %d, %s", zone, code, body)
		}
	}
	resp, err := http.Post(server.URL+"/status", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a POST is answered %d", resp.StatusCode)
	}
}

func TestItIsNotReadyBeforeItHasReadTheLog(t *testing.T) {
	s := newStory(t)
	s.opened("main", time.Now())
	s.hold = make(chan struct{})
	server, _ := serve(t, s)
	var a web.Readiness
	if code, body := get(t, server.URL+"/readyz", &a); code != http.StatusServiceUnavailable || a.Ready {
		t.Errorf("/readyz answers %d, %s before the log is read", code, body)
	}
	if code, _ := get(t, server.URL+"/status", nil); code != http.StatusServiceUnavailable {
		t.Errorf("/status answers %d before the log is read", code)
	}
	if code, _ := get(t, server.URL+"/healthz", nil); code != http.StatusOK {
		t.Errorf("/healthz answers %d before the log is read", code)
	}
	close(s.hold)
	until(t, server.URL+"/readyz?connection=main", http.StatusOK)
	s.mu.Lock()
	s.fail = errors.New("the bus is gone")
	s.mu.Unlock()
	if code, body := get(t, server.URL+"/readyz", &a); code != http.StatusServiceUnavailable || !strings.Contains(body, "the bus is gone") {
		t.Errorf("/readyz answers %d, %s without a log", code, body)
	}
}

// A page of another site can have a name of its own point to this machine.
func TestItIsAskedByAddressOnly(t *testing.T) {
	server, _ := serve(t, newStory(t))
	for host, code := range map[string]int{
		"": http.StatusOK, "localhost:1": http.StatusOK, "LOCALHOST": http.StatusOK, "127.0.0.1": http.StatusOK, "[::1]:80": http.StatusOK, "192.0.2.1:8481": http.StatusOK,
		"evil.example": http.StatusMisdirectedRequest, "localhost.evil.example:80": http.StatusMisdirectedRequest, "127.0.0.1.evil.example": http.StatusMisdirectedRequest,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host, req.Header = host, http.Header{"Origin": {"http://evil.example"}}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != code || resp.Header.Get("Access-Control-Allow-Origin") != "" || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("host %q is answered %d with %v, want %d and no CORS", host, resp.StatusCode, resp.Header, code)
		}
	}
}

func TestWhatElseIsServedStandsBehindTheSameGuard(t *testing.T) {
	asked := 0
	site := &web.Site{Log: newStory(t), Metrics: prometheus.NewRegistry(), More: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		_, _ = io.WriteString(w, "more of "+r.URL.Path)
	})}
	for _, tt := range []struct{ host, path, want string }{
		{"127.0.0.1:8481", "/", "more of /"},
		{"localhost", "/incident/main-4", "more of /incident/main-4"},
		{"127.0.0.1:8481", "/healthz", "true"},
		{"evil.example", "/", "ask by address"},
	} {
		r := httptest.NewRequest(http.MethodGet, tt.path, nil)
		r.Host = tt.host
		w := httptest.NewRecorder()
		site.Handler().ServeHTTP(w, r)
		if !strings.Contains(w.Body.String(), tt.want) || !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'self'") {
			t.Errorf("%s%s answers %d, %s with %v", tt.host, tt.path, w.Code, w.Body, w.Header())
		}
	}
	if asked != 2 {
		t.Errorf("it was asked %d times, want twice", asked)
	}
}

func TestTheServerListensOnLoopbackAndEnds(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", "192.0.2.1:80", "example.com:80", ":80", "8481", ""} {
		err := (&web.Server{Listen: address, Handler: http.NotFoundHandler()}).Run(t.Context())
		if err == nil || address != "8481" && address != "" && !errors.Is(err, web.ErrNotLoopback) {
			t.Errorf("listening on %q = %v, want it refused", address, err)
		}
	}
	urls := make(chan string, 1)
	held := make(chan struct{})
	ctx, stop := context.WithCancelCause(t.Context())
	server := &web.Server{Listen: "127.0.0.1:0", Listening: func(url string) { urls <- url }, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(held)
		<-r.Context().Done() // one that follows something
	})}
	over := make(chan error)
	go func() { over <- server.Run(ctx) }()
	url := <-urls
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		if resp, err := http.Get(url); err == nil {
			resp.Body.Close()
		}
	}()
	<-held
	cause := errors.New("told to")
	stop(cause)
	if err := <-over; !errors.Is(err, cause) {
		t.Errorf("Run = %v, want %v", err, cause)
	}
	<-asked
	if conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://")); err == nil {
		conn.Close()
		t.Error("it still listens")
	}
}

func FuzzStatusAt(f *testing.F) {
	for _, at := range []string{"", "2026-11-22T03:12Z", "2026-11-22T03:12:30.5+01:00", "2026-11-22 03:12", "\x00", "now"} {
		f.Add(at)
	}
	f.Fuzz(func(t *testing.T, at string) {
		site := &web.Site{Log: newStory(t), Metrics: prometheus.NewRegistry()}
		req := httptest.NewRequest(http.MethodGet, "http://127.0.0.1/status", nil)
		q := req.URL.Query()
		q.Set("at", at)
		req.URL.RawQuery = q.Encode()
		w := httptest.NewRecorder()
		site.Handler().ServeHTTP(w, req)
		if w.Code != http.StatusOK && w.Code != http.StatusBadRequest && (w.Code != http.StatusServiceUnavailable || at != "") || !json.Valid(w.Body.Bytes()) {
			t.Errorf("at=%q is answered %d, %s", at, w.Code, w.Body)
		}
	})
}
