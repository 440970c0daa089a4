package status_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ibconn/consumers/status"
	"ibconn/events"
)

var update = flag.Bool("update", false, "rewrite golden files")

const golden = "testdata/document.json"

// told is a connection of which there is something to say in every part.
func told(t testing.TB) *history {
	t.Helper()
	h := newHistory(t)
	h.ready("main", 1)
	h.beat("main", 1)
	h.add("main", &events.SessionLost{Attempt: 1, Cause: events.CauseReset, Detail: "read: connection reset by peer", Uptime: 1000, Failures: 1, RetryAt: h.clock, RetryIn: 800})
	h.ready("main", 2)
	usfarm := events.Farm{Kind: events.FarmMarketData, Name: "usfarm"}
	h.add("main", &events.FarmChanged{Attempt: 2, Farm: usfarm, From: events.FarmUnknown, To: events.FarmDown, Code: 2103, Message: "Market data farm connection is broken:usfarm"})
	h.add("main", &events.CompetingBegan{Attempt: 2, RequestID: -1, Code: 10197, Message: "No market data during competing live session", Action: "end the other session"})
	h.add("main", &events.PacingReduced{Attempt: 2, PerSecond: 20, Before: 40, Until: h.clock.Add(time.Minute), Code: 100, Message: "Max rate of messages per second has been exceeded"})
	h.add("main", &events.GatewayReported{Attempt: 2, RequestID: 3, Code: 321, Class: events.ClassRequestInvalid, Message: "Error validating request"})
	for i, name := range []string{"aapl-bars", "ibm-bars", "msft-bars"} {
		h.subscribe("main", name)
		if i < 2 {
			h.add("main", &events.SubscriptionPlacement{Subscription: name, Attempt: 2, RequestID: 134217729 + int64(i), Because: events.BecauseNew, Try: 1})
		}
	}
	h.add("main", &events.SubscriptionDelivered{Subscription: "aapl-bars", Attempt: 2, RequestID: 134217729, Took: 2000})
	h.add("main", &events.GapDetected{Subscription: "aapl-bars", From: began, To: began.Add(time.Minute), Bars: 12})
	h.add("main", &events.CommandAccepted{CommandID: "restart-7", Verb: events.VerbReconnect, Reason: "weekly restart"})
	h.beat("main", 1)
	return h
}

func documentOf(t testing.TB, h *history, c events.ConnectionID) status.Document {
	t.Helper()
	var f status.Fold
	for _, e := range h.all {
		if e.Event != nil {
			f.Add(e)
		}
	}
	d, known := f.Document(c)
	if !known {
		t.Fatalf("nothing is known of %s", c)
	}
	return d
}

func marshal(t testing.TB, d status.Document) []byte {
	t.Helper()
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTheDocumentIsAsItWas(t *testing.T) {
	var got bytes.Buffer
	if err := json.Indent(&got, marshal(t, documentOf(t, told(t), "main")), "", "  "); err != nil {
		t.Fatal(err)
	}
	got.WriteByte('\n')
	if *update {
		if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("the document is\n%s\nwant %s\n(if that is right: go test ./consumers/status -update; a field is never renamed)", got.Bytes(), golden)
	}
}

func TestADocumentCanBeReadAgain(t *testing.T) {
	for name, h := range map[string]*history{"told": told(t), "random": random(t, 1, 500)} {
		d := documentOf(t, h, "main")
		b := marshal(t, d)
		again, err := status.Decode(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if b2 := marshal(t, again); !bytes.Equal(b, b2) {
			t.Errorf("%s: read again the document is\n%s\nwant\n%s", name, b2, b)
		}
	}
}

func TestAccountIDsStayMasked(t *testing.T) {
	b := marshal(t, documentOf(t, told(t), "main"))
	if masked := events.MaskAccounts(string(b)); masked != string(b) || !strings.Contains(masked, `"DU***67"`) {
		t.Errorf("the document is %s, want its account masked", b)
	}
}

func TestWhatIsNoDocumentIsRefused(t *testing.T) {
	whole := `{"connection":"main","stream_seq":7,"as_of":"2026-01-02T03:04:05Z","phase":"ready","condition":"healthy"}`
	if _, err := status.Decode([]byte(whole)); err != nil {
		t.Errorf("Decode(%s) = %v", whole, err)
	}
	for _, tt := range []struct{ old, new, want string }{
		{whole, "", "unexpected end"},
		{whole, "null", "connection name"},
		{`"main"`, `"Main"`, "connection name"},
		{`7`, `0`, "stream_seq is missing"},
		{`7`, `"7"`, "stream_seq"},
		{`as_of`, `at`, "as_of is missing"},
		{`03:04:05Z`, `noon`, "parsing time"},
		{`"ready"`, `""`, "phase or condition is missing"},
		{`"healthy"`, `null`, "phase or condition is missing"},
	} {
		payload := strings.Replace(whole, tt.old, tt.new, 1)
		if d, err := status.Decode([]byte(payload)); err == nil || !strings.Contains(err.Error(), "status: decode: ") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Decode(%s) = %+v, %v, want an error with %q", payload, d, err, tt.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	// Short seeds: the fuzzer takes a minute to shorten each long one.
	h := newHistory(f)
	h.ready("main", 1)
	f.Add(marshal(f, documentOf(f, h, "main")))
	for _, seed := range []string{``, `null`, `[]`, `{"stream_seq":1}`, `{"connection":"main","stream_seq":18446744073709551615,"as_of":"9999-12-31T23:59:59-23:59","phase":"x","condition":"y","state":{"farms":null,"failures":-1},"subscriptions":{"by_status":{"":1},"list":null}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		d, err := status.Decode(payload)
		if err != nil {
			return
		}
		if d.Connection == "" || d.StreamSeq == 0 || d.AsOf.IsZero() {
			t.Fatalf("Decode(%q) = %+v, want an error", payload, d)
		}
		if stale := d.Stale(d.StaleAfter.Add(time.Second)); stale == d.StaleAfter.IsZero() {
			t.Errorf("a second after stale_after %v Stale() = %v", d.StaleAfter, stale)
		}
		b, err := json.Marshal(d)
		if err != nil {
			t.Fatalf("what was read of %q cannot be written: %v", payload, err)
		}
		again, err := status.Decode(b)
		if err != nil {
			t.Fatalf("what was written, %s, cannot be read: %v", b, err)
		}
		if b2 := marshal(t, again); !bytes.Equal(b, b2) {
			t.Errorf("%s becomes %s", b, b2)
		}
	})
}

// TestADocumentIsStaleOnceTheConnectorShouldHaveSpoken also holds that it never is
// while nothing is due.
func TestADocumentIsStaleOnceTheConnectorShouldHaveSpoken(t *testing.T) {
	h := newHistory(t)
	at := func(d time.Duration) time.Time { return h.clock.Add(d) }
	for _, step := range []struct {
		event events.Event
		due   time.Time // zero for never
	}{
		{&events.EpochBegan{Instance: "test"}, time.Time{}},
		{&events.ConnectRequested{By: events.AskerStart, RetryAt: at(3 * time.Second)}, at(3 * time.Second)},
		{&events.DialStarted{Attempt: 1, Endpoint: "h:1", DeadlineAt: at(7 * time.Second)}, at(7 * time.Second)},
		{&events.GatewayReached{Attempt: 1, DeadlineAt: at(11 * time.Second)}, at(11 * time.Second)},
		{&events.GatewayGreeted{Attempt: 1, DeadlineAt: at(15 * time.Second)}, at(15 * time.Second)},
		{&events.SessionOpened{Attempt: 1, NextProbeAt: at(20 * time.Second), AnswerBy: at(25 * time.Second)}, at(30 * time.Second)},
		{&events.HeartbeatMissed{Attempt: 1, Number: 1, Misses: 1, NextProbeAt: at(25 * time.Second), AnswerBy: at(30 * time.Second)}, at(35 * time.Second)},
		{&events.SessionStale{Attempt: 1, Misses: 1}, at(35 * time.Second)},
		{&events.HeartbeatAnswered{Attempt: 1, Number: 2, NextProbeAt: at(45 * time.Second), AnswerBy: at(50 * time.Second)}, at(55 * time.Second)},
		{&events.ClockJumped{By: 3_600_000, NextProbeAt: at(time.Hour), AnswerBy: at(61 * time.Minute)}, at(62 * time.Minute)},
		{&events.HeartbeatAnswered{Attempt: 1, Number: 3, NextProbeAt: at(time.Second), AnswerBy: at(2 * time.Second)}, at(11 * time.Second)}, // its own time
		{&events.EpochBegan{Instance: "test"}, at(12 * time.Second)},
		{&events.SessionLost{Attempt: 1, Cause: events.CauseReset, Failures: 8, RetryAt: at(2 * time.Hour)}, at(2 * time.Hour)},
		{&events.BreakerOpened{Failures: 8, ProbeAt: at(3 * time.Hour)}, at(3 * time.Hour)},
		{&events.DialStarted{Attempt: 2, Endpoint: "h:1", Probe: true, DeadlineAt: at(4 * time.Hour)}, at(4 * time.Hour)},
		{&events.DialFailed{Attempt: 2, Stage: events.PhaseDialing, Cause: events.CauseRefused, Failures: 9, RetryAt: at(5 * time.Hour)}, at(5 * time.Hour)},
		{&events.Stopped{Cause: events.CauseAskedFor}, time.Time{}},
		{&events.EpochBegan{Instance: "test"}, time.Time{}},
	} {
		h.add("main", step.event)
		d := documentOf(t, h, "main")
		if step.due.IsZero() {
			if !d.StaleAfter.IsZero() || d.Stale(at(1e6*time.Hour)) {
				t.Errorf("after %s in phase %s the document is stale after %v, want never", step.event.Type(), d.Phase, d.StaleAfter)
			}
			continue
		}
		if want := step.due.Add(10 * time.Second); !d.StaleAfter.Equal(want) || d.Stale(want) || !d.Stale(want.Add(1)) {
			t.Errorf("after %s in phase %s the document is stale after %v, want %v", step.event.Type(), d.Phase, d.StaleAfter, want)
		}
	}
}

func TestOfManySubscriptionsThoseInTroubleAreListed(t *testing.T) {
	h := newHistory(t)
	h.ready("main", 1)
	refused := func(name string) {
		h.add("main", &events.SubscriptionRefused{Subscription: name, Attempt: 1, RequestID: 1, Code: 354, Message: "no permission", Tries: 1})
	}
	for n := range events.MaxSubscriptions {
		name := fmt.Sprintf("s%04d", n)
		h.subscribe("main", name)
		if n != 998 {
			h.add("main", &events.SubscriptionPlacement{Subscription: name, Attempt: 1, RequestID: int64(n + 1), Because: events.BecauseNew, Try: 1})
			h.add("main", &events.SubscriptionDelivered{Subscription: name, Attempt: 1, RequestID: int64(n + 1)})
		}
	}
	refused("s0999")
	h.add("main", &events.GapDetected{Subscription: "s0002", From: began, To: began.Add(time.Minute), Bars: 12})
	d := documentOf(t, h, "main")
	got := d.Subscriptions
	if got.Total != 1000 || len(got.List) != status.MaxListed || got.More != 800 || got.Gaps != 1 {
		t.Fatalf("the document has %d of %d subscriptions, and %d more, with %d gaps", len(got.List), got.Total, got.More, got.Gaps)
	}
	if want := "map[dark:0 failed:1 live:998 placed:0 wanted:1]"; fmt.Sprint(got.ByStatus) != want {
		t.Errorf("by status they are %v, want %s", got.ByStatus, want)
	}
	if !slices.IsSortedFunc(got.List, func(a, b status.Subscription) int { return strings.Compare(a.Name, b.Name) }) {
		t.Errorf("the list is %v, want it in the order of the names", got.List)
	}
	if got.List[0].Name != "s0000" || got.List[2].Gaps != 1 || got.List[197].Name != "s0197" || got.List[198].Name != "s0998" || got.List[199].Name != "s0999" || got.List[199].Status != events.SubscriptionFailed {
		t.Errorf("the list is %v, want the first live ones and the two that are not", got.List)
	}
	if n := len(marshal(t, d)); n > 50<<10 {
		t.Errorf("the document has %d bytes, want it far below the store's limit", n)
	}
}

func TestAConnectionWithoutSubscriptionsHasAllCountsAtZero(t *testing.T) {
	h := newHistory(t)
	h.ready("main", 1)
	b := marshal(t, documentOf(t, h, "main"))
	if want := `"subscriptions":{"total":0,"by_status":{"dark":0,"failed":0,"live":0,"placed":0,"wanted":0},"gaps":0,"list":[]}`; !bytes.Contains(b, []byte(want)) {
		t.Errorf("the document is %s, want %s in it", b, want)
	}
}
