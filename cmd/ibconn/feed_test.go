package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ibconn/events"
	"ibconn/testenv/gateway"
)

// schema returns a schema to validate with.
func schema(t testing.TB, name string) *jsonschema.Resolved {
	t.Helper()
	text, err := events.Schema(name)
	if err != nil {
		t.Fatal(err)
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	resolved, err := s.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	return resolved
}

func validate(t testing.TB, name string, document []byte) {
	t.Helper()
	var v any
	if err := json.Unmarshal(document, &v); err != nil {
		t.Fatalf("%s: %v", document, err)
	}
	if err := schema(t, name).Validate(v); err != nil {
		t.Errorf("%s is not as the schema %s says: %v", document, name, err)
	}
}

func TestTheFeedShowsEachStoredEventOnceAsAValidCloudEvent(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	dir := t.TempDir()
	feed := make(chan *nats.Msg, 1000)
	p := startApp(t, &app{Connections: []connection{{Name: "main", Policy: quickPolicy(gw.Addr())}}, Dir: dir}, func(url string) {
		nc := dial(t, url)
		if _, err := nc.ChanSubscribe(events.FeedSubjects, feed); err != nil {
			t.Error(err)
		}
		if err := nc.Flush(); err != nil {
			t.Error(err)
		}
	})

	at := p.ready()
	gw.Error(-1, 1100, "Connectivity between IBKR and Trader Workstation has been lost.")
	gw.Error(-1, 1102, "Connectivity between IBKR and Trader Workstation has been restored - data maintained.")
	gw.Error(-1, 2103, "Market data farm connection is broken:usfarm")
	gw.Error(7, 354, "Requested market data is not subscribed.")
	wait(p, at, func(*events.GatewayReported) bool { return true })
	wait(p, at, func(*events.HeartbeatAnswered) bool { return true })
	gw.Reset()
	_, opened := wait(p, at, func(*events.SessionOpened) bool { return true })
	cliOK(t, "reconnect", "--nats", p.url, "--id", "x1", "--wait", "20s")
	cliOK(t, "disconnect", "--nats", p.url, "--wait", "20s")
	if exit, _, _ := cli(t, "reconnect", "--nats", p.url); exit != exitFailed {
		t.Errorf("exit code of reconnect while stopped = %d, want 1", exit)
	}
	cliOK(t, "connect", "--nats", p.url, "--wait", "20s")
	wait(p, opened.StreamSeq, func(e *events.CommandCompleted) bool { return e.Verb == events.VerbConnect })
	p.stop()

	all := stored(t, dir)
	fold(t, all)
	if last := all[len(all)-1].Event.Type(); last != "ib.conn.state.stopped" {
		t.Errorf("the last event is %s, want stopped", last)
	}
	kinds := make(map[events.Kind]bool)
	for _, want := range all {
		if len(feed) == 0 {
			t.Fatalf("the feed ends before message %d, %s", want.StreamSeq, want.Event.Type())
		}
		m := <-feed
		if seq := m.Header.Get(jetstream.SequenceHeader); seq != strconv.FormatUint(want.StreamSeq, 10) || string(m.Data) != string(want.Wire) {
			t.Fatalf("the feed shows message %s %s, want message %d %s", seq, m.Data, want.StreamSeq, want.Wire)
		}
		kind := want.Event.Type().Kind()
		kinds[kind] = true
		if got := m.Header.Get(jetstream.StreamHeader); got != events.Stream {
			t.Errorf("message %d comes from stream %q, want %q", want.StreamSeq, got, events.Stream)
		}
		if got := m.Header.Get(events.HeaderMsgID); got != want.ID {
			t.Errorf("message %d has id %q in its header, want %q", want.StreamSeq, got, want.ID)
		}
		if got := m.Header.Get(events.HeaderContentType); got != events.ContentType {
			t.Errorf("message %d has content type %q, want %q", want.StreamSeq, got, events.ContentType)
		}
		if m.Subject != events.FeedSubject(kind) {
			t.Errorf("message %d came on %s, want %s", want.StreamSeq, m.Subject, events.FeedSubject(kind))
		}
		validate(t, string(want.Event.Type()), m.Data)
	}
	if len(feed) != 0 {
		t.Errorf("the feed shows %d messages that are not stored", len(feed))
	}
	for _, k := range []events.Kind{events.KindClaimed, events.KindState, events.KindHeartbeat, events.KindError, events.KindCommand} {
		if !kinds[k] {
			t.Errorf("no event of kind %s was there to be seen", k)
		}
	}
}

func TestStatusAnswersInTheDocumentedForm(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr()))
	p.ready()
	m := raw(t, p.nc, "ib.cmd.main.status", "")
	validate(t, events.SchemaAnswer, m.Data)
	var a events.Answer
	if err := json.Unmarshal(m.Data, &a); err != nil {
		t.Fatal(err)
	}
	if !a.OK || a.Connection != "main" || a.Version != version || a.AsOf.IsZero() || a.Uptime <= 0 {
		t.Errorf("status answers %s, want ok, connection, version, as_of and uptime_ms", m.Data)
	}
	if a.State == nil || a.State.Condition != events.ConditionHealthy || a.State.Session.Accounts[0] != "DU***67" {
		t.Errorf("status answers the state %+v, want a healthy one with a masked account", a.State)
	}
	if a.Traffic == nil || a.Traffic.FramesIn == 0 || a.Traffic.FramesOut == 0 {
		t.Errorf("status answers the traffic %+v, want some each way", a.Traffic)
	}
	if h := m.Header.Get("Nats-Service-Error"); h != "" {
		t.Errorf("status answers the service error %q, want none", h)
	}
}

func TestTheSameReconnectTwiceReconnectsOnce(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr()))
	at := p.ready()
	const subject, payload = "ib.cmd.main.reconnect", `{"id":"x1","reason":"test"}`
	first := raw(t, p.nc, subject, payload)
	validate(t, events.SchemaAnswer, first.Data)
	_, done := wait(p, at, func(e *events.CommandCompleted) bool { return e.CommandID == "x1" })
	again := raw(t, p.nc, subject, payload)
	if string(first.Data) != string(again.Data) {
		t.Errorf("the second answer is %s, want the first, %s", again.Data, first.Data)
	}
	header := nats.NewMsg(subject)
	header.Header.Set(events.HeaderMsgID, "x1")
	byHeader, err := p.nc.RequestMsg(header, liveness)
	if err != nil || string(byHeader.Data) != string(first.Data) {
		t.Errorf("the answer to the id in the header is %s, %v, want %s", byHeader.Data, err, first.Data)
	}
	var a events.Answer
	if err := json.Unmarshal(first.Data, &a); err != nil {
		t.Fatal(err)
	}
	if !a.OK || a.Status != events.StatusAccepted || a.CommandID != "x1" || a.AfterSeq == 0 || a.AfterSeq >= done.Sequence {
		t.Errorf("reconnect answers %s, want accepted with an after_seq below its outcome's sequence %d", first.Data, done.Sequence)
	}
	if done.Causation != "x1" {
		t.Errorf("the outcome's causation is %q, want x1", done.Causation)
	}
	s := p.status().State
	if s.Counts.Sessions != 2 || s.Counts.Losses != 1 || gw.Stats().Started != 2 {
		t.Errorf("%d sessions were opened and %d lost, and the gateway saw %d, want 2, 1 and 2", s.Counts.Sessions, s.Counts.Losses, gw.Stats().Started)
	}
}

func TestAMalformedCommandIsAnsweredClearlyAndChangesNothing(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	// No heartbeat may move the log meanwhile.
	p := startRun(t, runArgs(t.TempDir(), gw.Addr(), "--heartbeat", "1h"))
	p.ready()
	before := p.position()
	for _, test := range []struct{ payload, want string }{
		{`{"id":`, "payload is not a request: unexpected end of JSON input"},
		{`nonsense`, "payload is not a request: invalid character 'o' in literal null (expecting 'u')"},
		{`["x1"]`, "payload is not a request: want a JSON object"},
		{`{"id":7}`, "payload is not a request: id: want a JSON string"},
		{`{"ID":"x1"}`, `payload is not a request: unknown field "ID": want id, reason or wait`},
		{`{"force":true}`, `payload is not a request: unknown field "force": want id, reason or wait`},
		{`{"wait":"2h"}`, `payload is not a request: wait "2h": want 0s to 1m0s`},
	} {
		m := raw(t, p.nc, "ib.cmd.main.reconnect", test.payload)
		validate(t, events.SchemaAnswer, m.Data)
		var a events.Answer
		if err := json.Unmarshal(m.Data, &a); err != nil {
			t.Fatal(err)
		}
		if a.OK || a.Error == nil || a.Error.Code != events.ErrorBadRequest || a.Error.Message != test.want {
			t.Errorf("reconnect %s answers %s, want bad_request: %s", test.payload, m.Data, test.want)
			continue
		}
		if code, text := m.Header.Get("Nats-Service-Error-Code"), m.Header.Get("Nats-Service-Error"); code != "bad_request" || text != test.want {
			t.Errorf("reconnect %s answers %s: %s in its headers, want bad_request: %s", test.payload, code, text, test.want)
		}
	}
	if after := p.position(); after != before {
		t.Errorf("the log is at %d after the malformed commands, want %d as before", after, before)
	}
	if s := p.status().State; s.Condition != events.ConditionHealthy || s.Attempt.Number != 1 {
		t.Errorf("the connection is %s in attempt %d, want healthy in attempt 1", s.Condition, s.Attempt.Number)
	}
}

func TestAnUnknownCommandMeetsNobodyAndTheProgramSaysWhatThereIs(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr()))
	for _, subject := range []string{"ib.cmd.main.explode", "ib.cmd.other.status"} {
		if m, err := p.nc.Request(subject, nil, liveness); !errors.Is(err, nats.ErrNoResponders) {
			t.Errorf("request %s = %v, %v, want %v", subject, m, err, nats.ErrNoResponders)
		}
	}
	exit, _, text := cli(t, "status", "--nats", p.url, "--connection", "other")
	const want = `no connection "other" here; there are: main (cancel, connect, contract, disconnect, history, reconnect, status, subscribe, subscriptions)`
	if exit != exitFailed || !containsAll(text, want) {
		t.Errorf("status of an unknown connection = exit code %d, %q, want 1 and %q", exit, text, want)
	}
}

func TestTheServiceIsFoundAsNATSToolsLookForIt(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr()))
	var ping struct{ Name, Version string }
	if err := json.Unmarshal(raw(t, p.nc, "$SRV.PING.ibconn", "").Data, &ping); err != nil {
		t.Fatal(err)
	}
	if ping.Name != "ibconn" || ping.Version != version {
		t.Errorf("the ping is answered by %+v, want ibconn %s", ping, version)
	}
	var info struct {
		Endpoints []struct {
			Subject  string
			Metadata map[string]string
		}
	}
	if err := json.Unmarshal(raw(t, p.nc, "$SRV.INFO.ibconn", "").Data, &info); err != nil {
		t.Fatal(err)
	}
	var subjects []string
	for _, e := range info.Endpoints {
		subjects = append(subjects, e.Subject)
		for _, key := range []string{"schema_request", "schema_response"} {
			var s jsonschema.Schema
			if err := json.Unmarshal([]byte(e.Metadata[key]), &s); err != nil {
				t.Errorf("%s of %s is no JSON Schema: %v", key, e.Subject, err)
			}
		}
	}
	var want []string
	for _, v := range events.Verbs {
		if !v.Control() { // those are for where there is IBC
			want = append(want, fmt.Sprintf("ib.cmd.main.%s", v))
		}
	}
	if !slices.Equal(subjects, want) {
		t.Errorf("the service offers %q, want %q", subjects, want)
	}
}
