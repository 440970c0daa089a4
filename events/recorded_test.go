package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// lostWire is a kept event as text, for tests that change a part of it.
func lostWire(t testing.TB) string {
	t.Helper()
	return string(record(t, &CommandCompleted{CommandID: "restart-7", Verb: VerbReconnect, Took: 250.75}).Wire)
}

// change replaces one part of text, which must be there.
func change(t testing.TB, text, old, new string) string {
	t.Helper()
	if strings.Count(text, old) != 1 {
		t.Fatalf("%q stands %d times in %s, want once", old, strings.Count(text, old), text)
	}
	return strings.Replace(text, old, new, 1)
}

func TestDecodeNamesWhatIsMalformed(t *testing.T) {
	tests := []struct{ old, new, want string }{
		{`"specversion":"1.0",`, ``, `specversion ""`},
		{`"specversion":"1.0"`, `"specversion":"0.3"`, `specversion "0.3"`},
		{`"specversion":"1.0"`, `"specversion":1.0`, "specversion is a JSON number: want a JSON string"},
		{`"id":"6QyTkS2KZp1mWv0sYcX9aB",`, ``, "id is missing"},
		{`"id":"6QyTkS2KZp1mWv0sYcX9aB"`, `"id":""`, "id is missing"},
		{`"id":"6QyTkS2KZp1mWv0sYcX9aB"`, `"id":7`, "id is a JSON number: want a JSON string"},
		{`"source":"/ibconn/desk-4711",`, ``, "source is missing"},
		{`"source":"/ibconn/desk-4711"`, `"source":null`, "source is missing"},
		{`"type":"ib.conn.command.completed",`, ``, `type ""`},
		{`"type":"ib.conn.command.completed"`, `"type":"com.example.completed"`, `type "com.example.completed": want ib.conn.<kind>.<what>`},
		{`"type":"ib.conn.command.completed"`, `"type":"ib.conn.command"`, `type "ib.conn.command"`},
		{`"type":"ib.conn.command.completed"`, `"type":"ib.conn..completed"`, `type "ib.conn..completed"`},
		{`"type":"ib.conn.command.completed"`, `"type":"ib.conn.command."`, `type "ib.conn.command."`},
		{`"type":"ib.conn.command.completed"`, `"type":"ib.conn.>.completed"`, `type "ib.conn.>.completed"`},
		{`"subject":"main",`, ``, `subject: connection name ""`},
		{`"subject":"main"`, `"subject":"main.two"`, `subject: connection name "main.two"`},
		{`"subject":"main"`, `"subject":["main"]`, "subject is a JSON array: want a JSON string"},
		{`"time":"2026-11-23T09:15:00.123456789Z",`, ``, `time ""`},
		{`"time":"2026-11-23T09:15:00.123456789Z"`, `"time":"0001-01-01T00:00:00Z"`, `time "0001-01-01T00:00:00Z"`},
		{`"time":"2026-11-23T09:15:00.123456789Z"`, `"time":"9999-12-31T23:59:59-12:00"`, `time "9999-12-31T23:59:59-12:00"`},
		{`"time":"2026-11-23T09:15:00.123456789Z"`, `"time":"2026-11-23 09:15:00"`, `time "2026-11-23 09:15:00": want an instant`},
		{`"time":"2026-11-23T09:15:00.123456789Z"`, `"time":1795425300`, "time is a JSON number: want a JSON string"},
		{`"sequence":"000000000042",`, ``, `sequence ""`},
		{`"sequence":"000000000042"`, `"sequence":"0"`, `sequence "0": want a number above 0`},
		{`"sequence":"000000000042"`, `"sequence":"-1"`, `sequence "-1"`},
		{`"sequence":"000000000042"`, `"sequence":"+42"`, `sequence "+42"`},
		{`"sequence":"000000000042"`, `"sequence":"4_2"`, `sequence "4_2"`},
		{`"sequence":"000000000042"`, `"sequence":"many"`, `sequence "many"`},
		{`"sequence":"000000000042"`, `"sequence":"18446744073709551616"`, `sequence "18446744073709551616"`},
		{`"sequence":"000000000042"`, `"sequence":42`, "sequence is a JSON number: want a JSON string"},
		{`"epoch":7,`, ``, "epoch is missing"},
		{`"epoch":7`, `"epoch":0`, "epoch is missing"},
		{`"epoch":7`, `"epoch":-1`, "epoch is a JSON number -1: want a JSON whole number from 0"},
		{`"epoch":7`, `"epoch":7.5`, "epoch is a JSON number 7.5"},
		{`"epoch":7`, `"epoch":"7"`, "epoch is a JSON string"},
		{`"prevhash":"01`, `"prevhash":"0`, "prevhash \"0234"},
		{`"prevhash":"01`, `"prevhash":"0G`, "prevhash \"0G23"},
		{`"prevhash":"01`, `"prevhash":"AB`, "want 64 hexadecimal digits"},
		{`"data":{"command_id":"restart-7","verb":"reconnect","took_ms":250.75}`, `"data":null`, "data is not a JSON object"},
		{`"data":{"command_id":"restart-7","verb":"reconnect","took_ms":250.75}`, `"data":[1]`, "data is not a JSON object"},
		{`,"data":{"command_id":"restart-7","verb":"reconnect","took_ms":250.75}`, ``, "data is not a JSON object"},
		{`"command_id":"restart-7",`, ``, "data of ib.conn.command.completed: command_id is missing"},
		{`"command_id":"restart-7"`, `"command_id":{}`, "data of ib.conn.command.completed: command_id is a JSON object: want a JSON string"},
		{`"took_ms":250.75`, `"took_ms":"250.75"`, "data of ib.conn.command.completed: took_ms is a JSON string: want a JSON number"},
		{`"took_ms":250.75}}`, `"took_ms":250.75}}{}`, "after top-level value"},
		{`"took_ms":250.75}}`, `"took_ms":250.75}`, "unexpected end"},
		{`"restart-7","verb"`, "\"restart-\xff\",\"verb\"", "not UTF-8"},
		{`"took_ms":250.75`, `"took_ms":250.75,"pad":"` + strings.Repeat("x", 300_000) + `"`, "want at most 262144"},
	}
	for _, tt := range tests {
		payload := change(t, lostWire(t), tt.old, tt.new)
		if _, err := Decode([]byte(payload)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Decode with %.80s for %.80s = %v, want an error with %q", tt.new, tt.old, err, tt.want)
		}
	}
	for _, payload := range []string{"", "null", "[]", "7", `"event"`, "{}", "\x00", "{"} {
		if _, err := Decode([]byte(payload)); err == nil || !errors.Is(err, ErrMalformed) {
			t.Errorf("Decode(%q) = %v, want an error", payload, err)
		}
	}
}

func TestDecodeTakesWhatALaterVersionMayAdd(t *testing.T) {
	want := &CommandCompleted{CommandID: "restart-7", Verb: VerbReconnect, Took: 250.75}
	tests := []struct{ name, old, new string }{
		{"an unknown attribute", `"epoch":7`, `"epoch":7,"partitionkey":{"a":[1]}`},
		{"an unknown field in the data", `"took_ms":250.75`, `"took_ms":250.75,"retries":[1,2]`},
		{"another order and white space", `{"specversion":"1.0",`, "\n{ \"specversion\" : \"1.0\",\t"},
		{"the last of two fields", `"took_ms":250.75`, `"took_ms":1,"took_ms":250.75`},
		{"a time with an offset", `"2026-11-23T09:15:00.123456789Z"`, `"2026-11-23T04:15:00.123456789-05:00"`},
		{"a short sequence", `"000000000042"`, `"42"`},
	}
	for _, tt := range tests {
		payload := change(t, lostWire(t), tt.old, tt.new)
		r, err := Decode([]byte(payload))
		if err != nil {
			t.Errorf("Decode with %s: %v", tt.name, err)
			continue
		}
		if !reflect.DeepEqual(r.Event, want) || r.Sequence != 42 || !r.Time.Equal(wireTime) || r.Time.Location() != time.UTC {
			t.Errorf("Decode with %s = %+v, %+v, want the same event", tt.name, r, r.Event)
		}
		if again, err := Encode(r); err != nil || string(again) != payload {
			t.Errorf("Encode(Decode(x)) with %s = %s, %v, want the bytes that were stored", tt.name, again, err)
		}
	}
}

func TestDecodeKeepsValuesItDoesNotKnow(t *testing.T) {
	wire := record(t, &SessionLost{Attempt: 12, Cause: "solar_flare", RetryAt: wireTime}).Wire
	r, err := Decode(wire)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Event.(*SessionLost).Cause; got != "solar_flare" {
		t.Errorf("cause = %q, want it kept", got)
	}
}

func TestAnUnknownTypeIsKeptRaw(t *testing.T) {
	const data = `{ "text": "<b>", "n":1e2 }`
	payload := change(t, lostWire(t), `"type":"ib.conn.command.completed"`, `"type":"ib.conn.order.filled"`)
	payload = change(t, payload, `{"command_id":"restart-7","verb":"reconnect","took_ms":250.75}`, data)
	r, err := Decode([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	want := &Unknown{Name: "ib.conn.order.filled", Data: json.RawMessage(data)}
	if !reflect.DeepEqual(r.Event, want) {
		t.Errorf("Decode = %+v, want %+v", r.Event, want)
	}
	if again, err := Encode(r); err != nil || string(again) != payload {
		t.Errorf("Encode = %s, %v, want %s", again, err, payload)
	}
	r.Wire = nil
	again, err := Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(object(t, again)["data"], object(t, []byte(data))) {
		t.Errorf("Encode without the stored bytes = %s, want the same data", again)
	}
}

// broken holds, for each type, what must not be in its data and what the error
// says.
var broken = map[Type]map[string]string{
	"ib.conn.claimed.epoch_began":     {"instance": "instance is missing"},
	"ib.conn.state.connect_requested": {"retry_at": "retry_at is missing"},
	"ib.conn.state.dial_started":      {"attempt": "attempt is missing", "endpoint": "endpoint is missing", "deadline_at": "deadline_at is missing"},
	"ib.conn.state.gateway_reached":   {"attempt": "attempt is missing", "deadline_at": "deadline_at is missing"},
	"ib.conn.state.gateway_greeted":   {"attempt": "attempt is missing", "deadline_at": "deadline_at is missing"},
	"ib.conn.state.dial_failed":       {"attempt": "attempt is missing", "cause": "cause is missing", "retry_at": "retry_at is missing", "failures": "failures -1: want 0 or more"},
	"ib.conn.state.session_opened":    {"attempt": "attempt is missing", "next_probe_at": "next_probe_at is missing", "answer_by": "answer_by is missing"},
	"ib.conn.state.session_stale":     {"attempt": "attempt is missing"},
	"ib.conn.state.session_fresh":     {"attempt": "attempt is missing"},
	"ib.conn.state.session_lost":      {"attempt": "attempt is missing", "cause": "cause is missing", "retry_at": "retry_at is missing", "failures": "failures -1: want 0 or more"},
	"ib.conn.state.breaker_opened":    {"probe_at": "probe_at is missing", "failures": "failures -1: want 0 or more"},
	"ib.conn.state.breaker_closed":    {"attempt": "attempt is missing"},
	"ib.conn.state.stopped":           {"cause": "cause is missing"},
	"ib.conn.state.clock_jumped":      {"by_ms": "by_ms is missing"},
	"ib.conn.state.login_needed":      {"level": "level is missing"},
	"ib.conn.state.port_changed":      {"attempt": "attempt is missing", "endpoint": "endpoint is missing"},
	"ib.conn.state.link_down":         {"attempt": "attempt is missing"},
	"ib.conn.state.link_up":           {"attempt": "attempt is missing"},
	"ib.conn.state.link_proven":       {"attempt": "attempt is missing", "from": "from is missing"},
	"ib.conn.state.link_silent":       {"attempt": "attempt is missing", "from": "from is missing", "misses": "misses -1: want 0 or more"},
	"ib.conn.state.competing_began":   {"attempt": "attempt is missing", "code": "code is missing"},
	"ib.conn.state.competing_ended":   {"since": "since is missing"},
	"ib.conn.state.pacing_reduced":    {"attempt": "attempt is missing", "per_second": "per_second is missing", "until": "until is missing"},
	"ib.conn.state.pacing_restored":   {"since": "since is missing"},
	"ib.conn.heartbeat.link_answered": {"attempt": "attempt is missing", "sent_at": "sent_at is missing", "next_probe_at": "next_probe_at is missing"},
	"ib.conn.heartbeat.link_missed":   {"attempt": "attempt is missing", "misses": "misses -1: want 0 or more", "next_probe_at": "next_probe_at is missing"},
	"ib.conn.state.farm_changed":      {"attempt": "attempt is missing", "farm": "farm.kind is missing", "to": "to is missing"},
	"ib.conn.heartbeat.answered":      {"attempt": "attempt is missing", "next_probe_at": "next_probe_at is missing", "answer_by": "answer_by is missing"},
	"ib.conn.heartbeat.missed":        {"attempt": "attempt is missing", "misses": "misses -1: want 0 or more", "next_probe_at": "next_probe_at is missing", "answer_by": "answer_by is missing"},
	"ib.conn.error.gateway_reported":  {"attempt": "attempt is missing", "class": "class is missing"},
	"ib.conn.error.gateway_repeated":  {"attempt": "attempt is missing", "count": "count is missing"},
	"ib.conn.error.frame_refused":     {"attempt": "attempt is missing"},
	"ib.conn.error.session_abandoned": {"attempt": "attempt is missing"},
	"ib.conn.error.log_damaged":       {"finding": "finding is missing"},
	"ib.conn.command.accepted":        {"command_id": "command_id is missing", "verb": "verb is missing"},
	"ib.conn.command.rejected":        {"command_id": "command_id is missing", "verb": "verb is missing", "code": "code is missing"},
	"ib.conn.command.begun":           {"command_id": "command_id is missing", "verb": "verb is missing"},
	"ib.conn.command.completed":       {"command_id": "command_id is missing"},
	"ib.conn.command.failed":          {"command_id": "command_id is missing", "code": "code is missing"},

	"ib.conn.subscription.added":          {"subscription": "subscription is missing", "command_id": "command_id is missing", "caller": "caller is missing", "feed": "feed.kind is missing"},
	"ib.conn.subscription.joined":         {"subscription": "subscription is missing", "command_id": "command_id is missing", "caller": "caller is missing"},
	"ib.conn.subscription.left":           {"subscription": "subscription is missing", "command_id": "command_id is missing", "caller": "caller is missing"},
	"ib.conn.subscription.cancelled":      {"subscription": "subscription is missing", "command_id": "command_id is missing"},
	"ib.conn.subscription.placed":         {"subscription": "subscription is missing", "attempt": "attempt is missing", "request_id": "request_id is missing"},
	"ib.conn.subscription.live":           {"subscription": "subscription is missing", "attempt": "attempt is missing"},
	"ib.conn.subscription.dark":           {"subscription": "subscription is missing", "attempt": "attempt is missing", "tries": "tries -1: want 0 or more"},
	"ib.conn.subscription.failed":         {"subscription": "subscription is missing", "attempt": "attempt is missing", "tries": "tries -1: want 0 or more"},
	"ib.conn.subscription.hours":          {"subscription": "subscription is missing"},
	"ib.conn.subscription.gap_detected":   {"subscription": "subscription is missing", "from": "from is missing", "to": "to is missing"},
	"ib.conn.subscription.gap_filled":     {"subscription": "subscription is missing", "from": "from is missing", "to": "to is missing"},
	"ib.conn.subscription.gap_unfillable": {"subscription": "subscription is missing", "from": "from is missing", "to": "to is missing", "code": "code is missing"},
}

func TestDecodeRefusesDataThatWouldSpoilTheState(t *testing.T) {
	for _, e := range samples() {
		fields := broken[e.Type()]
		if len(fields) == 0 {
			t.Errorf("no field of %s is looked at", e.Type())
		}
		for field, want := range fields {
			o := object(t, record(t, e).Wire)
			data := o["data"].(map[string]any)
			if strings.Contains(want, "-1") {
				data[field] = -1
			} else {
				delete(data, field)
			}
			b, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Decode(b); err == nil || !strings.HasSuffix(err.Error(), fmt.Sprintf("data of %s: %s", e.Type(), want)) {
				t.Errorf("Decode(%s with a bad %s) = %v, want %s", e.Type(), field, err, want)
			}
		}
	}
}

func TestDecodeSaysAMismatchInJSONsWords(t *testing.T) {
	tests := []struct {
		event     Event
		old, new  string
		mustMatch string
	}{
		{samples()[0], `"pid":4711`, `"pid":"x"`, "pid is a JSON string: want a JSON whole number"},
		{samples()[2], `"probe":true`, `"probe":1`, "probe is a JSON number: want a JSON bool"},
		{samples()[6], `["DU***67","DU***68"]`, `"DU***67"`, "accounts is a JSON string: want a JSON array"},
		{samples()[20], `{"kind":"market_data","name":"usfarm"}`, `"usfarm"`, "farm is a JSON string: want a JSON object"},
	}
	for _, tt := range tests {
		payload := change(t, string(record(t, tt.event).Wire), tt.old, tt.new)
		if _, err := Decode([]byte(payload)); err == nil || !strings.Contains(err.Error(), tt.mustMatch) {
			t.Errorf("Decode with %s = %v, want an error with %q", tt.new, err, tt.mustMatch)
		}
	}
	if _, err := Decode([]byte("[]")); err == nil || err.Error() != "events: decode: not an event: it is a JSON array: want a JSON object" {
		t.Errorf("Decode([]) = %v, want an error in JSON's words", err)
	}
}

func TestEncodeRefusesWhatJSONCannotHold(t *testing.T) {
	r := record(t, &SessionFresh{Attempt: 12})
	r.Wire = nil
	r.Event = &SessionFresh{Attempt: 12, Stale: Millis(math.NaN())}
	if _, err := Encode(r); err == nil || !strings.HasPrefix(err.Error(), "events: encode ib.conn.state.session_fresh: ") {
		t.Errorf("Encode(not a number) = %v, want an error that names the event", err)
	}
	r.Event = &SessionFresh{Attempt: 12}
	r.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, err := Encode(r); err == nil || !strings.HasPrefix(err.Error(), "events: encode ib.conn.state.session_fresh: ") {
		t.Errorf("Encode(year 10000) = %v, want an error that names the event", err)
	}
}

func TestThePackageCommentListsEveryType(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range Types() {
		if n := strings.Count(string(doc), "//\t"+string(typ)+" "); n != 1 {
			t.Errorf("doc.go lists %s %d times, want once", typ, n)
		}
	}
}

// moving are the events of subscriptions that may move the condition.
var moving = []Type{
	"ib.conn.subscription.added", "ib.conn.subscription.joined", "ib.conn.subscription.left", "ib.conn.subscription.cancelled",
	"ib.conn.subscription.placed", "ib.conn.subscription.live", "ib.conn.subscription.dark", "ib.conn.subscription.failed",
}

func TestTypesNameTheirKindAndWhatHappened(t *testing.T) {
	for _, typ := range Types() {
		if e := New(typ); e == nil || e.Type() != typ || !reflect.ValueOf(e).Elem().IsZero() {
			t.Errorf("New(%s) = %+v, want an empty event of that type", typ, e)
		}
		if !slices.Contains(Kinds, typ.Kind()) {
			t.Errorf("%s.Kind() = %q, want one of Kinds", typ, typ.Kind())
		}
		if got := typePrefix + string(typ.Kind()) + "." + typ.What(); got != string(typ) {
			t.Errorf("kind and what of %s make %s", typ, got)
		}
		e, stands := New(typ).(StateEvent)
		if want := typ.Kind() == KindState || slices.Contains(moving, typ); stands != want {
			t.Errorf("%s carries a standing: %v, want %v", typ, stands, want)
		}
		if !stands {
			continue
		}
		*e.After() = ready
		if b, err := json.Marshal(e); err != nil || !strings.Contains(string(b), `"phase":"ready","condition":"healthy","reasons":[]`) {
			t.Errorf("%s with a standing = %s, %v, want the standing in its data", typ, b, err)
		}
	}
	if e := New("ib.conn.order.filled"); e != nil {
		t.Errorf("New(unknown) = %v, want nil", e)
	}
}

// again encodes r anew and decodes that.
func again(t *testing.T, r Recorded) Recorded {
	t.Helper()
	r.Wire = nil
	b, err := Encode(r)
	if err != nil {
		t.Fatalf("Encode(%+v): %v", r, err)
	}
	if len(b) > MaxSize {
		t.Skip("escapes made it too large")
	}
	r, err = Decode(b)
	if err != nil {
		t.Fatalf("Decode(%s): %v", b, err)
	}
	return r
}

// What Encode writes is read in the quick way, unless a string in the attributes has
// an escape in it.
func TestOurOwnFormIsReadTheQuickWay(t *testing.T) {
	for _, e := range samples() {
		r := record(t, e)
		w, usual := envelope(r.Wire)
		if !usual {
			t.Errorf("%s is read the long way", r.Wire)
		}
		var want wire
		if err := json.Unmarshal(r.Wire, &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(w, want) {
			t.Errorf("%s is\n%+v\nwant\n%+v", r.Wire, w, want)
		}
	}
	r := record(t, samples()[0])
	r.Wire, r.Correlation = nil, `a "quoted" word`
	b, err := Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, usual := envelope(b); usual {
		t.Errorf("%s is read the quick way", b)
	}
	if got, err := Decode(b); err != nil || got.Correlation != r.Correlation {
		t.Errorf("Decode(%s) has correlation %q, %v", b, got.Correlation, err)
	}
}

func BenchmarkDecode(b *testing.B) {
	wires := [][]byte{}
	for _, e := range samples() {
		wires = append(wires, record(b, e).Wire)
	}
	for i := 0; b.Loop(); i++ {
		if _, err := Decode(wires[i%len(wires)]); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, e := range samples() {
		f.Add(record(f, e).Wire)
	}
	f.Add([]byte(`{"specversion":"1.0","id":"a","source":"b","type":"ib.conn.order.filled","subject":"main","time":"0001-01-01T00:00:00+00:01","sequence":"1","epoch":1,"data":{"x":"<\u2028"}}`))
	usual := string(record(f, samples()[0]).Wire)
	f.Add([]byte(usual[:len(usual)-1] + `,"epoch":7,"data":{}}`)) // the last one counts
	f.Add([]byte(strings.Replace(usual, `"id":"`, `"id":"\u0041`, 1)))
	f.Add([]byte(strings.Replace(usual, `"epoch":`, `"epoch":0`, 1)))
	f.Add([]byte(usual + "}"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		r, err := Decode(bytes.Clone(payload))
		if err != nil {
			if _, err := Decode(append([]byte{' '}, payload...)); err == nil {
				t.Errorf("%s is an event only with a space before it", payload)
			}
			return
		}
		if b, err := Encode(r); err != nil || !bytes.Equal(b, payload) {
			t.Fatalf("Encode = %s, %v, want the bytes that were decoded: %s", b, err, payload)
		}
		// In another form of JSON, which takes the long way, it is the same event.
		if other, err := Decode(append([]byte{' '}, payload...)); len(payload) < MaxSize {
			other.Wire = payload
			if err != nil || !reflect.DeepEqual(other, r) {
				t.Errorf("%s is\n%+v\nand with a space before it\n%+v, %v", payload, r, other, err)
			}
		}
		// What was decoded may have been written in another way than ours; from
		// the second time on it is ours, and nothing changes any more.
		once := again(t, r)
		if twice := again(t, once); !reflect.DeepEqual(once, twice) {
			t.Errorf("%s decoded once is\n%+v, twice\n%+v", payload, once, twice)
		}
		if s := NewState(r.Connection).Apply(r); s.Phase == "" || s.Epoch != r.Epoch {
			t.Errorf("%s leads to phase %q in epoch %d", payload, s.Phase, s.Epoch)
		}
	})
}
