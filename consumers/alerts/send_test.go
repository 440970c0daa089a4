package alerts

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"ibconn/consumers/incidents"
)

func receiver(t testing.TB, url string, f Format) Receiver {
	t.Helper()
	u, ok := NewSecret(url)
	if !ok {
		t.Fatalf("%s is no URL", url)
	}
	return Receiver{Name: "ops", URL: u, Format: f, Timeout: 5 * s}
}

// example is an alert whose words are not all harmless.
func example() *Alert {
	c := &Config{Rules: []Rule{{Name: "outage", On: OnIncident, To: []string{"ops"}, Grade: Grade{Page, 2 * m}, Resolved: true}}}
	c.Rules[0].InWindow = c.Rules[0].Grade
	b := NewBook(c, "me")
	c.Receivers = []Receiver{{Name: "ops"}}
	i := outage(1*h, func(i *incidents.Incident) {
		i.Root.Words = "the gateway said <!channel> @all & [here](http://x) *now*\x00\u202e"
		i.Chain = []incidents.Step{{What: incidents.AttemptFailed, Words: "nothing listens on the gateway's port"}}
		i.Attempts = 3
	})
	b.AddIncident(i, 41, 1)
	b.Begin(midnight)
	do, _ := b.Next(midnight.Add(2 * h))
	return do[0].Alert
}

// TestThePayloadsAreAsDocumented holds the bodies against files, whose fields others
// rely on.
func TestThePayloadsAreAsDocumented(t *testing.T) {
	for file, f := range map[string]Format{"alert.json": FormatJSON, "slack.json": FormatSlack} {
		body, err := example().body(f)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(body, &v); err != nil {
			t.Fatal(err)
		}
		got, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		name := "testdata/" + file
		if *update {
			if err := os.WriteFile(name, append(got, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if string(got)+"\n" != string(want) {
			t.Errorf("%s is now\n%s\nwant\n%s", file, got, want)
		}
	}
	slack, _ := example().body(FormatSlack)
	for _, live := range []string{"<!channel>", "@all", "](", "*now*", "\\u0000", "\u202e"} {
		if strings.Contains(string(slack), live) {
			t.Errorf("%q stands in %s", live, slack)
		}
	}
}

func TestWhatAReceiverAnswers(t *testing.T) {
	now := midnight
	for _, test := range []struct {
		code   int
		header string // Retry-After
		want   string // told, refused, or how long to wait at least
	}{
		{code: 200, want: "told"},
		{code: 204, want: "told"},
		{code: 301, want: "refused"},
		{code: 307, want: "refused"},
		{code: 400, want: "refused"},
		{code: 404, want: "refused"},
		{code: 410, want: "refused"},
		{code: 408, want: "0s"},
		{code: 429, want: "0s"},
		{code: 429, header: "7", want: "7s"},
		{code: 429, header: "-7", want: "0s"},
		{code: 429, header: "soon", want: "0s"},
		{code: 429, header: "99999999", want: "1h0m0s"},
		{code: 503, header: now.Add(90 * s).Format(http.TimeFormat), want: "1m30s"},
		{code: 503, header: now.Add(-90 * s).Format(http.TimeFormat), want: "0s"},
		{code: 500, want: "0s"},
	} {
		hits := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			hits++
			body, _ := io.ReadAll(q.Body)
			var a Alert
			if err := json.Unmarshal(body, &a); err != nil || q.Header.Get(HeaderIdempotencyKey) != a.ID || a.ID == "" || q.Method != http.MethodPost || q.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s %v %s, %v", q.Method, q.Header, body, err)
			}
			if test.header != "" {
				w.Header().Set("Retry-After", test.header)
			}
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(test.code)
			if test.code >= 200 && test.code != 204 {
				io.WriteString(w, "no T0SECRET for you, T2SECRET\n"+strings.Repeat("x", 1<<20))
			}
		}))
		transport := &http.Transport{}
		answer, err := Send(t.Context(), NewClient(transport), receiver(t, server.URL+"/services/T0SECRET?token=T2SECRET", FormatJSON), example(), func() time.Time { return now })
		got := "told"
		if err != nil {
			answer = err.Error()
			var refused *RefusedError
			var later *retryError
			switch {
			case errors.As(err, &refused):
				got = "refused"
			case errors.As(err, &later):
				got = later.after.String()
			default:
				got = err.Error()
			}
		}
		if got != test.want || hits != 1 {
			t.Errorf("%d with Retry-After %q: %s after %d requests, want %s", test.code, test.header, got, hits, test.want)
		}
		if strings.Contains(answer, "SECRET") || len(answer) > 300 {
			t.Errorf("%d: it is shown %q", test.code, answer)
		}
		transport.CloseIdleConnections()
		server.Close()
	}
}

func TestWhatCannotBeReachedIsTriedAgainAndShowsNoSecret(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	_, err := Send(t.Context(), NewClient(transport), receiver(t, strings.Replace(server.URL, "http://", "http://user:T9SECRET@", 1)+"/services/T0SECRET?token=T2SECRET", FormatJSON), example(), time.Now)
	var later *retryError
	if !errors.As(err, &later) || strings.Contains(err.Error(), "SECRET") || !strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("Send = %v, want that it is to be tried again, with the host alone", err)
	}

	block := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-block }))
	defer slow.Close()
	defer close(block)
	to := receiver(t, slow.URL+"/T0SECRET", FormatJSON)
	to.Timeout = leastTimeout
	if _, err := Send(t.Context(), NewClient(transport), to, example(), time.Now); !errors.As(err, &later) || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("Send to one that does not answer = %v, want that it is to be tried again", err)
	}
}
