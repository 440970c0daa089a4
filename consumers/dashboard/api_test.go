package dashboard_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"ibconn/bus"
	"ibconn/consumers/dashboard"
	"ibconn/events"
)

// line is an event as the page gets it.
type line struct {
	Position   uint64
	Connection string
	Kind, What string
	Severity   string
	Text       string
}

// fetch asks a page, and reads the answer into one of JSON where that is not nil.
func fetch(t testing.TB, h http.Handler, path string, into any) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://127.0.0.1"+path, nil))
	if into != nil {
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			t.Fatalf("%s answers %s: %v", path, w.Body, err)
		}
	}
	return w.Code, w.Body.String()
}

// aNight is a tale with an incident in the middle of it.
func aNight(now time.Time) *tale {
	w := newTale(true)
	l := w.life("main", 5)
	start := now.Add(-40 * time.Minute)
	l.begin(start)
	at := l.open(start, "usfarm")
	l.subscribe(at, "aapl-bars")
	l.beats(at, at.Add(10*time.Minute), 15*time.Second)
	at = l.lose(at.Add(10*time.Minute), events.CauseReset, 6)
	at = l.open(at, "usfarm")
	l.place(at, "aapl-bars")
	l.beats(at, now, 15*time.Second)
	o := w.life("other", 6)
	o.begin(now.Add(-time.Minute))
	o.open(now.Add(-time.Minute))
	return w
}

func TestThePageAnswersWhatItIsAsked(t *testing.T) {
	now := time.Now().UTC()
	w := aNight(now)
	h := (&dashboard.Page{Model: w.model, Log: w, Now: func() time.Time { return now }}).Handler()

	var overview struct {
		Reading     bool
		Position    uint64
		Commands    []string
		Connections []struct {
			Connection string
			Condition  struct{ Word, Tone string }
			Session    struct{ Word string }
			Data       struct{ Word string }
		}
	}
	if code, body := fetch(t, h, "/api/overview", &overview); code != http.StatusOK || len(overview.Connections) != 2 || overview.Connections[0].Session.Word != "ready" ||
		overview.Connections[0].Data.Word != "1 live" || overview.Position != w.last || overview.Reading || len(overview.Commands) != 0 {
		t.Errorf("the overview is %d, %s", code, body)
	}

	var timeline struct {
		From, To int64
		Lanes    []struct {
			Lane, Name string
			Words      []struct{ Word string }
			Segments   [][4]int64
		}
		Incidents []struct{ ID string }
	}
	if code, body := fetch(t, h, "/api/timeline?connection=main&span=hour&pieces=500", &timeline); code != http.StatusOK || timeline.To-timeline.From != 3600_000 || len(timeline.Incidents) != 1 {
		t.Errorf("the timeline is %d, %s", code, body)
	}
	var lanes []string
	said := make(map[string][]string)
	for _, l := range timeline.Lanes {
		lanes = append(lanes, l.Lane)
		for _, s := range l.Segments {
			said[l.Lane] = append(said[l.Lane], l.Words[s[1]].Word)
		}
	}
	if got := strings.Join(lanes, " "); got != "condition session link farms data farm" {
		t.Errorf("the lanes are %s", got)
	}
	if got := strings.Join(said["condition"], ", "); !strings.HasPrefix(got, "down, ") || !strings.HasSuffix(got, ", healthy") || strings.Count(got, "healthy") < 2 {
		t.Errorf("the condition was %s", got)
	}
	if fetch(t, h, "/api/timeline?span=week", &timeline); len(timeline.Lanes) != 2 || timeline.Lanes[1].Name != "other" {
		t.Errorf("the timeline of all has the lanes %+v", timeline.Lanes)
	}

	var beats struct {
		At     []float64
		Mean   []*float64
		Missed []int
	}
	if code, body := fetch(t, h, "/api/heartbeats?connection=main", &beats); code != http.StatusOK || len(beats.At) < 80 || len(beats.At) != len(beats.Mean) || !slices.ContainsFunc(beats.Mean, func(v *float64) bool { return v == nil }) {
		t.Errorf("the heartbeats are %d, %s: want some, and a gap for the outage", code, body)
	}

	var listing struct {
		Incidents []struct {
			ID, Words, Fault string
			Open             bool
		}
	}
	if code, body := fetch(t, h, "/api/incidents", &listing); code != http.StatusOK || len(listing.Incidents) != 1 || listing.Incidents[0].Words != "the gateway reset the connection" {
		t.Fatalf("the incidents are %d, %s", code, body)
	}
	var story struct {
		Summary []string
		Steps   []struct {
			Kind   string
			Offset int64 `json:"offset_ms"`
			Words  string
			Count  int
		}
		Lines []line
	}
	code, body := fetch(t, h, "/api/incidents/"+listing.Incidents[0].ID, &story)
	if code != http.StatusOK || len(story.Steps) < 4 || story.Steps[0].Kind != "root" || story.Steps[1].Count != 6 || story.Steps[len(story.Steps)-1].Kind != "end" {
		t.Errorf("the story is %d, %s", code, body)
	}
	text := strings.Join(story.Summary, " ")
	for _, want := range []string{"main was down", "the gateway reset the connection", "Fault: the gateway's", "Attempts to open a session: 7", "delivered again"} {
		if !strings.Contains(text, want) {
			t.Errorf("the story is summed up as %q, want %q in it", text, want)
		}
	}
	var told []string
	for _, l := range story.Lines {
		told = append(told, l.What)
		if l.Connection != "main" {
			t.Errorf("an event of %s is in the story", l.Connection)
		}
	}
	if !slices.Contains(told, "session_lost") || !slices.Contains(told, "session_opened") || slices.Contains(told, "answered") {
		t.Errorf("the story's events are %v", told)
	}
}

func TestTheTailOfEventsCanBeFilteredAndPaged(t *testing.T) {
	now := time.Now().UTC()
	w := aNight(now)
	h := (&dashboard.Page{Model: w.model, Log: w}).Handler()
	var all []line
	for before, pages := uint64(0), 0; ; pages++ {
		var tail struct {
			Lines []line
			More  bool
		}
		path := "/api/events?limit=7"
		if before > 0 {
			path += fmt.Sprint("&before=", before)
		}
		fetch(t, h, path, &tail)
		all = append(all, tail.Lines...)
		if !tail.More {
			break
		}
		if before = tail.Lines[len(tail.Lines)-1].Position; pages > 100 {
			t.Fatal("it has no end")
		}
	}
	want := 0
	for _, e := range w.all {
		if !events.Routine(e.Recorded) {
			want++
		}
	}
	for n := 1; n < len(all); n++ {
		if all[n].Position >= all[n-1].Position {
			t.Fatalf("event %d comes behind event %d", all[n].Position, all[n-1].Position)
		}
	}
	if len(all) != want {
		t.Errorf("%d events came, want %d", len(all), want)
	}
	for path, ok := range map[string]func(line) bool{
		"connection=other":                    func(l line) bool { return l.Connection == "other" },
		"kind=subscription":                   func(l line) bool { return l.Kind == "subscription" },
		"severity=warning&connection=main":    func(l line) bool { return l.Severity != "info" },
		"severity=error":                      func(l line) bool { return l.Severity == "error" },
		"q=ATTEMPT":                           func(l line) bool { return strings.Contains(l.Text, "attempt") },
		"q=session_lost":                      func(l line) bool { return l.What == "session_lost" },
		fmt.Sprint("after=", all[3].Position): func(l line) bool { return l.Position > all[3].Position },
	} {
		var tail struct{ Lines []line }
		fetch(t, h, "/api/events?limit=500&"+path, &tail)
		fits := 0
		for _, l := range all {
			if ok(l) {
				fits++
			}
		}
		if len(tail.Lines) != fits || fits == 0 || slices.ContainsFunc(tail.Lines, func(l line) bool { return !ok(l) }) {
			t.Errorf("%s: %d events, want the %d that fit", path, len(tail.Lines), fits)
		}
	}
}

// broken is a log that cannot be read.
type broken struct{ *tale }

func (broken) Read(context.Context, bus.Query) iter.Seq2[bus.Entry, error] {
	return func(yield func(bus.Entry, error) bool) { yield(bus.Entry{}, errors.New("the disk is gone")) }
}

func TestWhatCannotBeAnsweredSaysWhy(t *testing.T) {
	now := time.Now().UTC()
	w := aNight(now)
	caught := make(chan struct{})
	reading := (&dashboard.Page{Model: w.model, Log: w, Caught: caught}).Handler()
	h := (&dashboard.Page{Model: w.model, Log: broken{w}}).Handler()
	var listing struct{ Incidents []struct{ ID string } }
	fetch(t, h, "/api/incidents", &listing)
	for _, tt := range []struct {
		h          http.Handler
		path, want string
		code       int
	}{
		{h, "/api/timeline?span=year", "want minutes, hour, day or week", http.StatusBadRequest},
		{h, "/api/timeline?pieces=100000", "want a number from 10 to 1200", http.StatusBadRequest},
		{h, "/api/timeline?end=yesterday", "end=", http.StatusBadRequest},
		{h, "/api/timeline?connection=" + strings.Repeat("x", 5000), "want 1 to 32", http.StatusBadRequest},
		{h, "/api/heartbeats", "connection is missing", http.StatusBadRequest},
		{h, "/api/events?kind=rumour", "want one of claimed, state", http.StatusBadRequest},
		{h, "/api/events?severity=fatal", "want info, warning or error", http.StatusBadRequest},
		{h, "/api/events?q=" + strings.Repeat("x", 5000), "want at most 100", http.StatusBadRequest},
		{h, "/api/events?limit=0", "want a number from 1", http.StatusBadRequest},
		{h, "/api/incidents/main-99999", "there is no incident", http.StatusNotFound},
		{h, "/api/incidents/nonsense", "there is no incident", http.StatusNotFound},
		{h, "/api/incidents/" + listing.Incidents[0].ID, "the disk is gone", http.StatusServiceUnavailable},
		{reading, "/api/incidents/main-99999", "still being read", http.StatusServiceUnavailable},
		{h, "/api/stream", "after is missing", http.StatusBadRequest},
		{h, "/api/stream?after=x", "want a position", http.StatusBadRequest},
		{h, "/nowhere", "", http.StatusNotFound},
		{h, "/assets/../page.go", "", http.StatusTemporaryRedirect},
		{h, "/assets/", "", http.StatusNotFound},
	} {
		if code, body := fetch(t, tt.h, tt.path, nil); code != tt.code && (tt.code != http.StatusTemporaryRedirect || code/100 != 3) || !strings.Contains(body, tt.want) || len(body) > 1000 {
			t.Errorf("%.60s answers %d, %.300s, want %d with %q", tt.path, code, body, tt.code, tt.want)
		}
	}
	var o struct{ Reading bool }
	if fetch(t, reading, "/api/overview", &o); !o.Reading {
		t.Error("the overview does not say that the log is still being read")
	}
	close(caught)
	if fetch(t, reading, "/api/overview", &o); o.Reading {
		t.Error("the overview says that the log is still being read")
	}
	empty := (&dashboard.Page{Model: new(dashboard.Model), Log: newTale(true)}).Handler()
	for _, path := range []string{"/api/overview", "/api/timeline", "/api/timeline?connection=main", "/api/heartbeats?connection=main", "/api/incidents", "/api/events"} {
		if code, body := fetch(t, empty, path, nil); code != http.StatusOK || strings.Contains(body, "null") {
			t.Errorf("%s answers %d, %s of nothing yet", path, code, body)
		}
	}
}

// TestThePageNeedsNothingFromElsewhere looks at what is served, as it is served.
func TestThePageNeedsNothingFromElsewhere(t *testing.T) {
	h := (&dashboard.Page{Model: new(dashboard.Model), Log: newTale(false)}).Handler()
	for _, path := range []string{"/", "/incident/main-4", "/assets/app.js", "/assets/style.css", "/assets/icon.svg", "/assets/uplot/uPlot.iife.min.js", "/assets/uplot/LICENSE"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		body := w.Body.String()
		if w.Code != http.StatusOK || w.Header().Get("ETag") == "" || w.Header().Get("Content-Type") == "" {
			t.Errorf("%s answers %d with %v", path, w.Code, w.Header())
		}
		for _, bad := range []string{`src="http`, `href="http`, "//cdn", "url(http", "@import", "innerHTML =", "insertAdjacentHTML", "document.write", "eval("} {
			if strings.Contains(body, bad) && !strings.Contains(path, "uplot") {
				t.Errorf("%s has %q", path, bad)
			}
		}
		if strings.HasPrefix(body, "<!doctype") && (strings.Contains(body, "<style") || strings.Contains(body, " style=") || strings.Contains(body, "<script>") || strings.Contains(body, " onclick=")) {
			t.Errorf("%s has scripts or styles in it, which the policy forbids", path)
		}
		again := httptest.NewRequest(http.MethodGet, path, nil)
		again.Header.Set("If-None-Match", w.Header().Get("ETag"))
		w = httptest.NewRecorder()
		if h.ServeHTTP(w, again); w.Code != http.StatusNotModified {
			t.Errorf("%s, asked for again, answers %d", path, w.Code)
		}
	}
}

func TestACommandIsTakenFromThePageAlone(t *testing.T) {
	w := aNight(time.Now().UTC())
	var given []string
	page := &dashboard.Page{Model: w.model, Log: w, Command: func(_ context.Context, c events.ConnectionID, v events.Verb, r events.Request) (events.Answer, error) {
		given = append(given, fmt.Sprintf("%s %s %s %q", v, c, r.ID, r.Reason))
		switch c {
		case "busy":
			return events.Answer{CommandID: r.ID, Error: &events.AnswerError{Code: events.ErrorBusy, Message: "too many commands are waiting"}}, nil
		case "gone":
			return events.Answer{}, errors.New("nobody takes commands here")
		}
		return events.Answer{OK: true, CommandID: r.ID, Status: events.StatusCompleted}, nil
	}}
	good := map[string]string{"Origin": "http://127.0.0.1:8481", "Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}
	ask := func(h http.Handler, verb, body string, change map[string]string) (int, string) {
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:8481/api/commands/"+verb, strings.NewReader(body))
		for name, value := range good {
			r.Header.Set(name, value)
		}
		for name, value := range change {
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	main := `{"connection":"main","id":"x1","reason":"a test"}`
	for _, tt := range []struct {
		name, verb, body string
		change           map[string]string
		code             int
		want             string
	}{
		{"a good one", "reconnect", main, nil, http.StatusOK, "reconnect is completed"},
		{"a refused one", "connect", `{"connection":"busy","id":"x2"}`, nil, http.StatusConflict, "too many commands"},
		{"one that nobody took", "disconnect", `{"connection":"gone","id":"x3"}`, nil, http.StatusBadGateway, "nobody takes commands"},
		{"another verb", "restart-gateway", main, nil, http.StatusNotFound, "want one of"},
		{"another site", "reconnect", main, map[string]string{"Origin": "http://evil.example"}, http.StatusForbidden, "this page alone"},
		{"another port", "reconnect", main, map[string]string{"Origin": "http://127.0.0.1:80"}, http.StatusForbidden, "this page alone"},
		{"no origin", "reconnect", main, map[string]string{"Origin": ""}, http.StatusForbidden, "this page alone"},
		{"a null origin", "reconnect", main, map[string]string{"Origin": "null"}, http.StatusForbidden, "this page alone"},
		{"a link of another site", "reconnect", main, map[string]string{"Sec-Fetch-Site": "cross-site"}, http.StatusForbidden, "this page alone"},
		{"a form", "reconnect", main, map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, http.StatusUnsupportedMediaType, "application/json"},
		{"no JSON", "reconnect", "reconnect!", nil, http.StatusBadRequest, "not readable"},
		{"too much", "reconnect", `{"reason":"` + strings.Repeat("x", 10_000) + `"}`, nil, http.StatusBadRequest, "not readable"},
		{"a field that there is not", "reconnect", `{"whom":"main","id":"x"}`, nil, http.StatusBadRequest, "whom"},
		{"no connection", "reconnect", `{"id":"x"}`, nil, http.StatusBadRequest, "want the name"},
		{"a subject", "reconnect", `{"connection":"a.b","id":"x"}`, nil, http.StatusBadRequest, "want the name"},
		{"no id", "reconnect", `{"connection":"main"}`, nil, http.StatusBadRequest, "not done twice"},
	} {
		before := len(given)
		code, body := ask(page.Handler(), tt.verb, tt.body, tt.change)
		if code != tt.code || !strings.Contains(body, tt.want) {
			t.Errorf("%s is answered %d, %s, want %d with %q", tt.name, code, body, tt.code, tt.want)
		}
		if taken := code == http.StatusOK || code == http.StatusConflict || code == http.StatusBadGateway; taken != (len(given) > before) {
			t.Errorf("%s was given: %v", tt.name, given[before:])
		}
	}
	if given[0] != `reconnect main x1 "by the dashboard, over HTTP: a test"` || given[1] != `connect busy x2 "by the dashboard, over HTTP"` {
		t.Errorf("given were %q", given)
	}
	off := (&dashboard.Page{Model: w.model, Log: w}).Handler()
	if code, body := ask(off, "reconnect", main, nil); code != http.StatusForbidden || !strings.Contains(body, "--http-commands") {
		t.Errorf("without commands one is answered %d, %s", code, body)
	}
}

func FuzzQueries(f *testing.F) {
	now := time.Now().UTC()
	w := aNight(now)
	h := (&dashboard.Page{Model: w.model, Log: w, Now: func() time.Time { return now }}).Handler()
	for _, seed := range []string{"", "connection=main&span=week", "end=-1", "pieces=1e9&limit=-3", "q=%00&kind=state", "before=18446744073709551615", "span=&connection=../x", "end=9223372036854775807"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		for _, path := range []string{"timeline", "heartbeats", "incidents", "events"} {
			r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1/api/"+path, nil)
			r.URL = &url.URL{Path: "/api/" + path, RawQuery: raw}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != http.StatusOK && w.Code != http.StatusBadRequest || !json.Valid(w.Body.Bytes()) || w.Body.Len() > 1<<20 {
				t.Errorf("%s?%q is answered %d with %d bytes", path, raw, w.Code, w.Body.Len())
			}
		}
	})
}

func FuzzCommands(f *testing.F) {
	w := newTale(false)
	for _, seed := range []string{`{"connection":"main","id":"x1"}`, `{}`, `[`, `{"connection":"a b","id":"x"}`, "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		page := &dashboard.Page{Model: w.model, Log: w, Command: func(_ context.Context, c events.ConnectionID, _ events.Verb, r events.Request) (events.Answer, error) {
			if _, err := events.ParseConnectionID(string(c)); err != nil || r.ID == "" || len(r.ID) > events.MaxIDLength {
				t.Errorf("%q becomes a command for %q with the id %q", body, c, r.ID)
			}
			return events.Answer{OK: true}, nil
		}}
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/api/commands/reconnect", strings.NewReader(body))
		r.Header.Set("Origin", "http://127.0.0.1")
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		page.Handler().ServeHTTP(w, r)
		if b, err := io.ReadAll(w.Body); err != nil || !json.Valid(b) {
			t.Errorf("%q is answered %s, %v", body, b, err)
		}
	})
}
