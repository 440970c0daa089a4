package events

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestCancelTakesAQuery(t *testing.T) {
	const lead = "payload is not a request: "
	if r, err := VerbCancel.ParseRequest([]byte(`{"query":"year-1","id":"x","wait":"1m"}`)); err != nil || r != (Request{ID: "x", Wait: MaxWait, Query: "year-1"}) {
		t.Errorf("ParseRequest = %+v, %v", r, err)
	}
	for payload, want := range map[string]string{
		``:                                 lead + "want one of subscription, the name of one that the command subscriptions lists, and query, the id of a history that is under way",
		`{"query":""}`:                     lead + "want one of subscription, the name of one that the command subscriptions lists, and query, the id of a history that is under way",
		`{"query":"a","subscription":"b"}`: lead + "want one of subscription, the name of one that the command subscriptions lists, and query, the id of a history that is under way",
		`{"query":"a","all":true}`:         lead + "caller and all are for a subscription, not for a query",
		`{"query":7}`:                      lead + "query: want a JSON string",
		`{"wait":"2m"}`:                    lead + `wait "2m": want 0s to 1m0s`,
		`{"query":"` + strings.Repeat("é", MaxIDLength+1) + `"}`: lead + "query of 65 characters: want at most 64",
	} {
		if r, err := VerbCancel.ParseRequest([]byte(payload)); err == nil || err.Error() != want || r != (Request{}) {
			t.Errorf("ParseRequest(%.60s) = %+v, %v, want %s", payload, r, err, want)
		}
	}
	if _, err := VerbHistory.ParseRequest([]byte(`{"query":"x"}`)); err == nil {
		t.Error("history takes a query, want only cancel to")
	}
}

func TestHistoryMayWaitForHoursAndStream(t *testing.T) {
	r, err := VerbHistory.ParseRequest([]byte(`{"contract":"AAPL","duration":"1 Y","bar_size":"1 min","stream":true,"wait":"6h"}`))
	if err != nil || !r.Stream || r.Wait != MaxHistoryWait {
		t.Errorf("ParseRequest = %+v, %v", r, err)
	}
	for _, payload := range []string{
		`{"contract":"AAPL","duration":"1 Y","bar_size":"1 min","wait":"6h1s"}`,
		`{"contract":"AAPL","duration":"1 Y","bar_size":"1 min","stream":"yes"}`,
	} {
		if _, err := VerbHistory.ParseRequest([]byte(payload)); err == nil {
			t.Errorf("ParseRequest(%s) succeeds, want an error", payload)
		}
	}
	var w Wait
	if err := json.Unmarshal([]byte(`"7h"`), &w); err == nil || !strings.Contains(err.Error(), "want 0s to 6h0m0s") {
		t.Errorf("a wait of 7h: %v", err)
	}
}

func TestOnlyWhatIsUnderWayIsInterim(t *testing.T) {
	for status, want := range map[AnswerStatus]bool{
		StatusPartial: true, StatusWaiting: true, StatusWorking: true, StatusCompleted: false, StatusAccepted: false, StatusFailed: false, "": false,
	} {
		if got := (Answer{OK: true, Status: status}).Interim(); got != want {
			t.Errorf("an answer %q is interim: %t, want %t", status, got, want)
		}
		if (Answer{Status: status, Error: &AnswerError{}}).Interim() {
			t.Errorf("an error %q is interim", status)
		}
	}
}

func TestWhenAQueryStarts(t *testing.T) {
	end := time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)
	for duration, want := range map[string]string{
		"90 S": "2026-03-31T11:58:30Z", "2 D": "2026-03-29T12:00:00Z", "2 W": "2026-03-17T12:00:00Z", "3 M": "2025-12-31T12:00:00Z",
		"1 Y": "2025-03-31T12:00:00Z", "1 X": "2026-03-31T12:00:00Z", "": "2026-03-31T12:00:00Z", "99999 S": "2026-03-31T12:00:00Z",
	} {
		if got := (BarQuery{Duration: duration}).Start(end).Format(time.RFC3339); got != want {
			t.Errorf("%q before %v begins at %s, want %s", duration, end, got, want)
		}
	}
}

func FuzzParseCancel(f *testing.F) {
	for _, seed := range []string{`{"query":"x"}`, `{"query":"\ud800"}`, `{"id":"a","query":"b","reason":"DU1234567"}`, `{"query":null}`, `{"subscription":"a-bars","all":true}`, ``} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := VerbCancel.ParseRequest([]byte(text))
		if err != nil {
			if r != (Request{}) {
				t.Errorf("ParseRequest(%q) = %+v and an error, want one of them", text, r)
			}
			return
		}
		if (r.Query == "") == (r.Subscription == "") || r.Wait > MaxWait || r.Contract != (Contract{}) || r.BarQuery != (BarQuery{}) {
			t.Errorf("ParseRequest(%q) = %+v, which is not in order", text, r)
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := VerbCancel.ParseRequest(b); err != nil || again != r {
			t.Errorf("ParseRequest(%s) = %+v, %v, want %+v", b, again, err, r)
		}
	})
}
