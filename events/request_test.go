package events

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestRequestsAreRead(t *testing.T) {
	tests := []struct {
		payload string
		want    Request
	}{
		{"", Request{}},
		{" \r\n\t", Request{}},
		{"{}", Request{}},
		{` {"id":"restart-7","reason":"weekly restart","wait":"5s"} `, Request{ID: "restart-7", Reason: "weekly restart", Wait: Wait(5 * time.Second)}},
		{`{"wait":"0s"}`, Request{}},
		{`{"wait":"1m"}`, Request{Wait: MaxWait}},
		{`{"wait":"1.5s"}`, Request{Wait: Wait(1500 * time.Millisecond)}},
		{`{"reason":"move DU1234567 away"}`, Request{Reason: "move DU***67 away"}},
		{`{"id":"` + strings.Repeat("é", MaxIDLength) + `"}`, Request{ID: strings.Repeat("é", MaxIDLength)}},
		{`{"reason":"` + strings.Repeat("\u4e2d", MaxReasonLength) + `"}`, Request{Reason: strings.Repeat("\u4e2d", MaxReasonLength)}},
		{`{"id":"\u0041\ud83d\ude00"}`, Request{ID: "A\U0001F600"}},
	}
	for _, tt := range tests {
		if got, err := ParseRequest([]byte(tt.payload)); err != nil || got != tt.want {
			t.Errorf("ParseRequest(%.60q) = %+v, %v, want %+v", tt.payload, got, err, tt.want)
		}
	}
}

func TestRequestsThatAreWrongSayWhatToDo(t *testing.T) {
	const lead = "payload is not a request: "
	tests := []struct{ payload, want string }{
		{`null`, lead + "want a JSON object"},
		{`[]`, lead + "want a JSON object"},
		{`"5s"`, lead + "want a JSON object"},
		{`5`, lead + "want a JSON object"},
		{`true`, lead + "want a JSON object"},
		{`{`, lead + "unexpected end of JSON input"},
		{`{"id"`, lead + "unexpected end of JSON input"},
		{`{id:"x"}`, lead + "invalid character 'i' looking for beginning of object key string"},
		{`{"id":"x",}`, lead + "invalid character '}' looking for beginning of object key string"},
		{`reconnect`, lead + "invalid character 'r' looking for beginning of value"},
		{`{} {}`, lead + "invalid character '{' after top-level value"},
		{`{"id":"x"}x`, lead + "invalid character 'x' after top-level value"},
		{"{\"id\":\"\xff\"}", lead + "not UTF-8"},
		{`{"verb":"reconnect"}`, lead + `unknown field "verb": want id, reason or wait`},
		{`{"ID":"x"}`, lead + `unknown field "ID": want id, reason or wait`},
		{`{"":1}`, lead + `unknown field "": want id, reason or wait`},
		{`{"id":"a","id":"a"}`, lead + "id stands twice"},
		{`{"id":"a","\u0069d":"b"}`, lead + "id stands twice"},
		{`{"id":7}`, lead + "id: want a JSON string"},
		{`{"id":null}`, lead + "id: want a JSON string"},
		{`{"reason":["a"]}`, lead + "reason: want a JSON string"},
		{`{"wait":5}`, lead + "wait: want a JSON string"},
		{`{"wait":"5"}`, lead + `wait "5": want a duration such as "5s"`},
		{`{"wait":""}`, lead + `wait "": want a duration such as "5s"`},
		{`{"wait":"soon"}`, lead + `wait "soon": want a duration such as "5s"`},
		{`{"wait":"-1s"}`, lead + `wait "-1s": want 0s to 1m0s`},
		{`{"wait":"61s"}`, lead + `wait "61s": want 0s to 1m0s`},
		{`{"wait":"1000000h"}`, lead + `wait "1000000h": want 0s to 1m0s`},
		{`{"id":"` + strings.Repeat("é", MaxIDLength+1) + `"}`, lead + "id of 65 characters: want at most 64"},
		{`{"reason":"` + strings.Repeat("x", MaxReasonLength+1) + `"}`, lead + "reason of 501 characters: want at most 500"},
		{`{"reason":"` + strings.Repeat("x", MaxRequestSize) + `"}`, "payload of 65549 bytes: want at most 65536"},
	}
	for _, tt := range tests {
		got, err := ParseRequest([]byte(tt.payload))
		if err == nil || err.Error() != tt.want || got != (Request{}) {
			t.Errorf("ParseRequest(%.60q) = %+v, %v, want %s", tt.payload, got, err, tt.want)
		}
	}
}

func TestErrorsQuoteOnlyTheBeginningOfALongValue(t *testing.T) {
	long := strings.Repeat("x", 10_000)
	for _, payload := range []string{`{"` + long + `":1}`, `{"wait":"` + long + `"}`} {
		if _, err := ParseRequest([]byte(payload)); err == nil || len(err.Error()) > 200 {
			t.Errorf("ParseRequest(a long value) = %v, want a short error", err)
		}
	}
}

func TestRequestsAreWrittenAsTheyAreRead(t *testing.T) {
	for _, want := range []Request{{}, {ID: "restart-7", Reason: "<weekly>", Wait: Wait(1500 * time.Millisecond)}} {
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseRequest(b); err != nil || got != want {
			t.Errorf("ParseRequest(%s) = %+v, %v, want %+v", b, got, err, want)
		}
	}
}

func TestRefusalsAreNotOKAndSayWhy(t *testing.T) {
	a := Refuse("main", ErrorTripped, "the breaker is open")
	if a.OK || a.Connection != "main" || a.Error.Code != ErrorTripped || a.Error.Error() != "the breaker is open" {
		t.Errorf("Refuse = %+v, %+v", a, a.Error)
	}
	b, err := json.Marshal(a)
	if want := `{"ok":false,"connection":"main","error":{"code":"tripped","message":"the breaker is open"}}`; err != nil || string(b) != want {
		t.Errorf("a refusal as JSON = %s, %v, want %s", b, err, want)
	}
}

func FuzzParseRequest(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "null", `{"id":"restart-7","reason":"move DU1234567 away","wait":"5s"}`, `{"id":"a","id":"b"}`, `{"wait":"-9223372036854775808ns"}`, `{"ID":null}`, "{\"id\":\"\\ud800\"}",
	} {
		f.Add([]byte(seed))
	}
	for _, seed := range subscribeSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		for _, v := range []Verb{VerbSubscribe, VerbCancel, VerbSubscriptions} {
			checkSubscribing(t, v, payload)
		}
		r, err := ParseRequest(payload)
		if err != nil {
			if r != (Request{}) {
				t.Errorf("ParseRequest(%q) = %+v and an error, want one of them", payload, r)
			}
			return
		}
		if n := utf8.RuneCountInString(r.ID); n > MaxIDLength || r.Wait < 0 || r.Wait > MaxWait || MaskAccounts(r.Reason) != r.Reason {
			t.Errorf("ParseRequest(%q) = %+v, out of range", payload, r)
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseRequest(b); err != nil || again != r {
			t.Errorf("ParseRequest(%s) = %+v, %v, want %+v", b, again, err, r)
		}
	})
}
