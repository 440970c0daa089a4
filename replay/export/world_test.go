package export_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/replay"
	"ibconn/replay/export"
)

var update = flag.Bool("update", false, "write golden files; exports that are there never change")

// golden compares got with testdata/name. With -update it writes a file that is missing;
// one that is there only if it may change.
func golden(t *testing.T, name string, got []byte, mayChange bool) {
	t.Helper()
	path := filepath.Join("testdata", name)
	want, err := os.ReadFile(path)
	if *update && (mayChange || errors.Is(err, os.ErrNotExist)) {
		err = os.WriteFile(path, got, 0o644)
		want = got
	}
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is another one now; may it be? As it is:\n%s", path, got)
	}
}

var began = time.Date(2026, 11, 23, 9, 15, 0, 123456789, time.UTC)

// night is a log of two connections with an event of every type, and of what may lie in
// a log beside.
func night(t testing.TB) []bus.Stored {
	t.Helper()
	var all []bus.Stored
	seq := uint64(40)
	store := func(subject string, payload []byte) {
		seq += 1 + seq%2 // some are gone
		all = append(all, bus.Stored{Subject: subject, StreamSeq: seq, StoredAt: began.Add(time.Duration(seq) * 1001 * time.Millisecond), Payload: payload})
	}
	heads := make(map[events.ConnectionID]events.Head)
	number := 0
	add := func(name events.ConnectionID, e events.Event, d events.Draft) {
		number++
		author := events.Author{Connection: name, Source: "/ibconn/desk-4711", NewID: func() string { return fmt.Sprintf("6QyTkS2KZp1mWv0s%06d", number) }}
		d.Event = e
		r, err := heads[name].Next(author, d, began.Add(time.Duration(seq)*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		heads[name] = heads[name].Then(r)
		store(events.LogSubject(name, e.Type().Kind()), r.Wire)
	}
	add("main", wired(t, "ib.conn.claimed.epoch_began"), events.Draft{})
	add("other", wired(t, "ib.conn.claimed.epoch_began"), events.Draft{})
	for i, typ := range events.Types() {
		add([]events.ConnectionID{"main", "main", "other"}[i%3], wired(t, typ), events.Draft{Correlation: "attempt-12", Causation: "restart-7", Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"})
	}
	add("main", &events.Unknown{Name: "ib.conn.weather.rained", Data: []byte(`{"mm":4,"text":"<a> & \"b\", \u00e4"}`)}, events.Draft{})
	last := all[len(all)-1].Payload
	store("ib.log.main.state", last)                                                                        // under a subject that is not its own
	store("ib.log.main.state", bytes.Replace(last, []byte(","), []byte(",\n"), 1))                          // on two lines
	store("ib.log.main.state", append(bytes.Clone(last[:len(last)-1]), `,"logsubject":"x"}`...))            // with an attribute of ours
	store("ib.log.main.state", []byte(`{"end":true,"count":1}`))                                            // like our last line
	store("ib.log.main.state", []byte(`{"specversion":"1.0","type":"ib.export.raw","data_base64":"AA=="}`)) // like a line of what is none
	store("ib.log.main.state", []byte{0xff, 0, '\n'})
	store("ib.log.main.state", []byte{})
	store(`ib.log.main.%"\ä`, []byte("nothing"))
	store("ib.log.other.state", bytes.Repeat([]byte("x"), 1000))
	return all
}

// wired returns the event of a type as package events has it in its golden files.
func wired(t testing.TB, typ events.Type) events.Event {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "events", "testdata", "wire", string(typ)+".json"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := events.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	return r.Event
}

var header = export.Header{ExportedAt: began.Add(time.Hour), Version: "0.1.0", Source: "a test", Connections: []events.ConnectionID{"main", "other"}}

// written returns the export of messages.
func written(t testing.TB, h export.Header, compressed bool, all ...bus.Stored) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := export.NewWriter(&b, h, compressed)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if err := w.Write(s); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.End(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read reads an export to its end, or to an error.
func read(t testing.TB, b []byte, q bus.Query) ([]bus.Stored, error) {
	t.Helper()
	x, err := export.NewFile(bytes.NewReader(b), "night.jsonl")
	if err != nil {
		return nil, err
	}
	defer x.Close()
	return collect(t, x, q)
}

func collect(t testing.TB, x *export.File, q bus.Query) (all []bus.Stored, err error) {
	t.Helper()
	for s, err := range x.Stored(t.Context(), q) {
		if err != nil {
			return all, err
		}
		all = append(all, s)
	}
	return all, nil
}

func wantSame(t *testing.T, got, want []bus.Stored) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d messages, want %d", len(got), len(want))
		return
	}
	for i, g := range got {
		w := want[i]
		if g.Subject != w.Subject || g.StreamSeq != w.StreamSeq || !g.StoredAt.Equal(w.StoredAt) || !bytes.Equal(g.Payload, w.Payload) {
			t.Errorf("message %d is %q %d %v %.200q, want %q %d %v %.200q", i, g.Subject, g.StreamSeq, g.StoredAt, g.Payload, w.Subject, w.StreamSeq, w.StoredAt, w.Payload)
		}
	}
}

// folded is what an export amounts to: the last state of each connection, and how many
// steps were none.
func folded(t testing.TB, source replay.Source) []byte {
	t.Helper()
	states := make(map[events.ConnectionID]events.State)
	none := 0
	for step, err := range replay.Steps(t.Context(), source, bus.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if step.Err != nil {
			none++
			continue
		}
		states[step.Recorded.Connection] = *step.State
	}
	b, err := json.MarshalIndent(map[string]any{"states": states, "undecodable": none}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

func lines(b []byte) []string { return strings.SplitAfter(strings.TrimSuffix(string(b), "\n"), "\n") }
