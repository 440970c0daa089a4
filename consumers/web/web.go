// Package web shows over HTTP what the log says: metrics, where each connection
// stands now and stood at any time, and whether this process can do its job.
//
// The one idea: a [Site] reads the log as any other consumer does, and holds
// nothing that is not in it. So it may run in the process that keeps the
// connections, or in any other, in as many copies as are wanted.
//
//	site := &web.Site{Log: log, Metrics: registry, Caught: reader.Caught()}
//	reader.Folds = append(reader.Folds, site) // a *follow.Reader
//	go reader.Run(ctx)
//	server := &web.Server{Listen: "127.0.0.1:8481", Handler: site.Handler()}
//	err := server.Run(ctx)
//
//	GET /metrics                             for Prometheus
//	GET /healthz                             the process answers
//	GET /readyz                              it can do its job
//	GET /status                              the documents of package status, now
//	GET /status?connection=main&at=TIME      and as of a time
//
// Guarantees:
//   - Nothing is changed by any request that is answered here; [Site.More] answers for
//     itself.
//   - It answers this machine only: it listens on loopback, and a page of another
//     site cannot read it, neither through CORS, of which there is none, nor
//     through a name that it has pointed here.
//   - A client that is slow, or asks for much, holds nobody else up: requests have
//     deadlines, and only few look into the past at once.
//
// # Non-obvious
//
//   - /readyz is about this process and the log, not about connections: that IB is
//     down is no reason to restart it. With connection=NAME it is about that too,
//     for who wants to know whether to send work.
//   - Looking into the past reads the whole log, since a clock may have been set
//     back.
package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"ibconn/bus"
	"ibconn/consumers/follow"
	"ibconn/consumers/status"
	"ibconn/events"
)

// Site answers requests from what it was given of a log: it is a [follow.Fold]. Fill
// in the fields; requests may come before the log was read, and are told so.
type Site struct {
	Log     follow.Log          // for the past
	Metrics prometheus.Gatherer // what /metrics shows
	Caught  <-chan struct{}     // closed once all was given that there was at the start
	// More, where it is set, answers whatever else is asked for, behind the same guard.
	More http.Handler

	once sync.Once
	past chan struct{} // holds a token for each look into the past that may be under way

	mu       sync.Mutex
	fold     status.Fold
	position uint64
}

const (
	// pastMost is how many requests may look into the past at once.
	pastMost = 2
	// pastWithin is how long one may take, its wait for a turn included.
	pastWithin = time.Minute
	// logWithin is how long the log may take to say where it ends.
	logWithin = 2 * time.Second
)

func (s *Site) init() {
	s.once.Do(func() {
		s.past = make(chan struct{}, pastMost)
		for range pastMost {
			s.past <- struct{}{}
		}
	})
}

// Add takes the next event.
func (s *Site) Add(e bus.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fold.Add(e)
	s.position = e.StreamSeq
}

// Skip takes a position of the log at which there is no event.
func (s *Site) Skip(position uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.position = position
}

// Handler answers requests.
func (s *Site) Handler() http.Handler {
	s.init()
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.Metrics, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 20 * time.Second}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, map[string]bool{"ok": true}) })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.HandleFunc("GET /status", s.status)
	if s.More != nil {
		mux.Handle("/", s.More)
	}
	return guard(mux)
}

// Check is one thing that must be so for a process to be ready.
type Check struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Found string `json:"found"` // in words
}

// Readiness is the answer of /readyz: ready where each check is ok.
type Readiness struct {
	Ready  bool    `json:"ready"`
	Checks []Check `json:"checks"`
}

func (s *Site) ready(w http.ResponseWriter, r *http.Request) {
	var checks []Check
	ctx, cancel := context.WithTimeout(r.Context(), logWithin)
	defer cancel()
	end, err := s.Log.Last(ctx)
	found := fmt.Sprintf("it ends at %d", end)
	if err != nil {
		found = "it cannot be read: " + err.Error()
	}
	checks = append(checks, Check{Name: "log", OK: err == nil, Found: found})
	checks = append(checks, s.caughtUp())
	if name := r.URL.Query().Get("connection"); name != "" {
		d, known := s.document(events.ConnectionID(name))
		c := Check{Name: "connection " + name, OK: known && d.Phase == events.PhaseReady && !d.Stale(time.Now())}
		switch {
		case !known:
			c.Found = "nothing is known of it"
		case d.Stale(time.Now()):
			c.Found = fmt.Sprintf("%s and %s, and not heard of since %s", d.Phase, d.Condition, d.AsOf.Format(time.RFC3339))
		default:
			c.Found = fmt.Sprintf("%s and %s", d.Phase, d.Condition)
		}
		checks = append(checks, c)
	}
	a := Readiness{Ready: !slices.ContainsFunc(checks, func(c Check) bool { return !c.OK }), Checks: checks}
	code := http.StatusOK
	if !a.Ready {
		code = http.StatusServiceUnavailable
	}
	answer(w, code, a)
}

func (s *Site) caughtUp() Check {
	c := Check{Name: "consumers", Found: "what there was at the start is read"}
	select {
	case <-s.Caught:
		c.OK = true
	default:
		c.Found = "what there was at the start is still being read"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.position > 0 {
		c.Found += fmt.Sprintf("; it is at %d", s.position)
	}
	return c
}

func (s *Site) document(c events.ConnectionID) (status.Document, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fold.Document(c)
}

// Statuses is the answer of /status.
type Statuses struct {
	At          time.Time         `json:"at"` // as of when: now, or the time that was asked for
	Connections []status.Document `json:"connections"`
	// Stale names the connections that were not heard of as they should have been.
	Stale []events.ConnectionID `json:"stale"`
}

func (s *Site) status(w http.ResponseWriter, r *http.Request) {
	now := time.Now().UTC()
	at, err := parseTime(r.URL.Query().Get("at"), now)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	all, code, err := s.documents(r.Context(), at)
	if err != nil {
		refuse(w, code, err)
		return
	}
	name := events.ConnectionID(r.URL.Query().Get("connection"))
	a := Statuses{At: at, Connections: []status.Document{}, Stale: []events.ConnectionID{}}
	if at.IsZero() {
		a.At = now
	}
	for _, c := range slices.Sorted(maps.Keys(all)) {
		if name != "" && c != name {
			continue
		}
		a.Connections = append(a.Connections, all[c])
		if all[c].Stale(a.At) {
			a.Stale = append(a.Stale, c)
		}
	}
	if name != "" && len(a.Connections) == 0 {
		refuse(w, http.StatusNotFound, fmt.Errorf("the log has no connection %.60q by then", string(name)))
		return
	}
	answer(w, http.StatusOK, a)
}

// documents returns where each connection stood at a time, or stands where that is
// zero; or the status of HTTP that says why not.
func (s *Site) documents(ctx context.Context, at time.Time) (map[events.ConnectionID]status.Document, int, error) {
	if at.IsZero() {
		select {
		case <-s.Caught:
		default:
			return nil, http.StatusServiceUnavailable, errors.New("the log is still being read: ask again in a moment")
		}
		all := make(map[events.ConnectionID]status.Document)
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, c := range s.fold.Connections() {
			all[c], _ = s.fold.Document(c)
		}
		return all, 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, pastWithin)
	defer cancel()
	select {
	case <-s.past:
		defer func() { s.past <- struct{}{} }()
	case <-ctx.Done():
		return nil, http.StatusServiceUnavailable, fmt.Errorf("%d others look into the past already: ask again in a moment", pastMost)
	}
	all, err := status.At(ctx, s.Log, at)
	if err != nil {
		return nil, http.StatusServiceUnavailable, fmt.Errorf("the log could not be read: %w", err)
	}
	return all, 0, nil
}

// times are how a time may be given.
var times = []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00"}

// parseTime reads a time in the past; none is zero.
func parseTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	// A + that nobody encoded has become a space.
	text = strings.ReplaceAll(text, " ", "+")
	for _, layout := range times {
		at, err := time.Parse(layout, text)
		switch {
		case err != nil:
		case at.After(now):
			return at, fmt.Errorf("at=%.40q lies in the future: it is %s", text, now.Format(time.RFC3339))
		default:
			return at.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("at=%.40q is no time: want one such as 2026-11-22T03:12Z or 2026-11-22T03:12:30.5+01:00", text)
}

// answer writes v as JSON.
func answer(w http.ResponseWriter, code int, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		code, b = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be written"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(b, '\n')) // whoever hung up does not want it
}

func refuse(w http.ResponseWriter, code int, err error) {
	answer(w, code, map[string]string{"error": err.Error()})
}
