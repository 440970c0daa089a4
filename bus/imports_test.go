package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"ibconn/events"
)

var storedLongAgo = time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)

// past are n messages of another log, the last one no event.
func past(t *testing.T, name events.ConnectionID, n int) []Stored {
	t.Helper()
	var all []Stored
	var head events.Head
	for i := range n - 1 {
		author := events.Author{Connection: name, Source: "/ibconn/import/x", NewID: func() string { return fmt.Sprint("e", i) }}
		e := reported(i)
		if i == 0 {
			e = &events.EpochBegan{Instance: "x"}
		}
		r, err := head.Next(author, events.Draft{Event: e}, storedLongAgo)
		if err != nil {
			t.Fatal(err)
		}
		head = head.Then(r)
		all = append(all, Stored{Subject: events.LogSubject(name, e.Type().Kind()), StreamSeq: uint64(2*i + 7), StoredAt: storedLongAgo.Add(time.Duration(i) * time.Second), Payload: r.Wire})
	}
	return append(all, Stored{Subject: events.LogSubject(name, events.KindState), StreamSeq: 1 << 40, StoredAt: storedLongAgo.Add(time.Hour), Payload: []byte("no event")})
}

func openImports(t *testing.T, nc *nats.Conn) *Imports {
	t.Helper()
	i, err := OpenImports(t.Context(), nc, ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func importAll(t *testing.T, i *Imports, name events.ConnectionID, all []Stored) *Import {
	t.Helper()
	m, err := i.Begin(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if err := m.Add(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func readImports(t *testing.T, i *Imports, q Query) (all []Stored) {
	t.Helper()
	for s, err := range i.Stored(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

func TestAnImportIsReadAsItsLogWas(t *testing.T) {
	w := newWorld(t, ServerOptions{Listen: "127.0.0.1:0"})
	// Who imports is another process: it has no more rights than everybody, which is
	// why the run creates the stream.
	openImports(t, w.nc)
	outside, err := Dial(w.server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	feed, err := w.nc.SubscribeSync("ib.conn.>")
	if err != nil {
		t.Fatal(err)
	}
	const n = 2000 // more than may be under way at once
	all := past(t, "night", n)
	imports := openImports(t, outside)
	m := importAll(t, imports, "night", all)
	if _, err := FindImports(t.Context(), outside); err != nil {
		t.Fatal(err)
	}
	if got := readImports(t, imports, Query{}); len(got) != 0 {
		t.Errorf("%d messages are read of an import that is not complete", len(got))
	}
	if err := m.Finish(t.Context(), []byte("from there")); err != nil {
		t.Fatal(err)
	}
	if about, err := imports.About(t.Context(), "night"); err != nil || string(about) != "from there" {
		t.Errorf("About() = %q, %v", about, err)
	}
	if _, err := imports.About(t.Context(), "other"); !errors.Is(err, ErrNoImport) {
		t.Errorf("About() of another = %v, want that there is none", err)
	}
	if names, err := imports.Connections(t.Context()); err != nil || fmt.Sprint(names) != "[night]" {
		t.Errorf("Connections() = %v, %v, want night", names, err)
	}
	got := readImports(t, imports, Query{Connection: "night"})
	if len(got) != n {
		t.Fatalf("%d messages, want %d", len(got), n)
	}
	var head events.Head
	for i, s := range got {
		if s.Subject != all[i].Subject || !s.StoredAt.Equal(all[i].StoredAt) || string(s.Payload) != string(all[i].Payload) {
			t.Errorf("message %d is %s %v %.80q, want %s %v", i, s.Subject, s.StoredAt, s.Payload, all[i].Subject, all[i].StoredAt)
		}
		e, err := s.Entry()
		if i == n-1 {
			if _, is := errors.AsType[*UndecodableError](err); !is {
				t.Errorf("the last = %v, want that it is no event", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := head.Follows(e.Recorded); err != nil {
			t.Error(err)
		}
		head = head.Then(e.Recorded)
	}
	after := readImports(t, imports, Query{Kinds: []events.Kind{events.KindState, events.KindClaimed}, After: got[0].StreamSeq})
	if len(after) != 1 || string(after[0].Payload) != "no event" {
		t.Errorf("%d messages after the first, want the last one of the kind", len(after))
	}
	if since := readImports(t, imports, Query{Since: storedLongAgo.Add((n - 3) * time.Second)}); len(since) < 2 || len(since) > n {
		t.Errorf("%d messages since then", len(since))
	}
	// Nothing of it was taken for something that happens.
	if end, err := w.log.Last(t.Context()); end != 0 || err != nil {
		t.Errorf("the log ends at %d, %v, want it empty", end, err)
	}
	if err := w.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, err := feed.Pending(); n != 0 || err != nil {
		t.Errorf("%d messages on the feed, %v, want none", n, err)
	}
}

func TestANameThatIsTakenIsNotImportedUnder(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim() // of main
	imports := openImports(t, w.nc)
	if _, err := imports.Begin(t.Context(), "main"); !errors.Is(err, ErrNameTaken) {
		t.Errorf("a connection's name = %v, want that it is taken", err)
	}
	if _, err := imports.Begin(t.Context(), "no.name"); err == nil {
		t.Error("a name that is none was taken")
	}
	half := importAll(t, imports, "half", past(t, "half", 3))
	if _, err := imports.Begin(t.Context(), "half"); !errors.Is(err, ErrNameTaken) {
		t.Errorf("that of one under way = %v, want that it is taken", err)
	}
	if err := half.Finish(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := imports.Begin(t.Context(), "half"); !errors.Is(err, ErrNameTaken) {
		t.Errorf("that of one that is complete = %v, want that it is taken", err)
	}
	// Of two that begin at once one has it.
	first, err := imports.Begin(t.Context(), "both")
	if err != nil {
		t.Fatal(err)
	}
	second, err := imports.Begin(t.Context(), "both")
	if err != nil {
		t.Fatal(err)
	}
	s := past(t, "both", 2)[0]
	if err := first.Add(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := second.Add(t.Context(), s); !errors.Is(err, ErrNameTaken) {
		t.Errorf("the second = %v, want that it is taken", err)
	}
	if err := second.Discard(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := first.Finish(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := readImports(t, imports, Query{Connection: "both"}); len(got) != 1 {
		t.Errorf("%d messages, want that of the first", len(got))
	}
	for name, wrong := range map[string]Stored{"another name": past(t, "other", 2)[0], "no subject": {Subject: "x", StreamSeq: 1}} {
		if err := first.Add(t.Context(), wrong); err == nil {
			t.Errorf("%s was imported", name)
		}
	}
}

func TestAnImportThatIsDiscardedLeavesNothing(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	imports := openImports(t, w.nc)
	m := importAll(t, imports, "night", past(t, "night", 1000))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Finish(ctx, nil); err == nil {
		t.Error("it was finished though it was interrupted")
	}
	if err := m.Discard(ctx); err != nil {
		t.Fatal(err)
	}
	info, err := imports.stream.Info(t.Context())
	if err != nil || info.State.Msgs != 0 {
		t.Errorf("%d messages are left, %v", info.State.Msgs, err)
	}
	for _, err := range imports.Stored(t.Context(), Query{Connection: "night"}) {
		if !errors.Is(err, ErrNoImport) {
			t.Errorf("reading it = %v, want that there is none", err)
		}
	}
	// The name is free again.
	if err := importAll(t, imports, "night", past(t, "night", 3)).Finish(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

func TestAnImportThatDoesNotFitIsNone(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	imports, err := OpenImports(t.Context(), w.nc, ImportOptions{MaxBytes: 100 << 10})
	if err != nil {
		t.Fatal(err)
	}
	m, err := imports.Begin(t.Context(), "night")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range past(t, "night", 2000) {
		if err = m.Add(t.Context(), s); err != nil {
			break
		}
	}
	if err == nil {
		err = m.Finish(t.Context(), nil)
	}
	if !errors.Is(err, ErrFull) {
		t.Errorf("= %v, want that it is full", err)
	}
	if err := m.Discard(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAStreamOfAnotherKindIsNoImports(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	if _, err := FindImports(t.Context(), w.nc); err == nil || !strings.Contains(err.Error(), "there is no import") {
		t.Errorf("= %v, want that there is none", err)
	}
	config := importConfig(1 << 20)
	config.Subjects = append(config.Subjects, "mine")
	if _, err := w.log.js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenImports(t.Context(), w.nc, ImportOptions{}); err == nil || !strings.Contains(err.Error(), "other settings") {
		t.Errorf("= %v, want that its settings are named", err)
	}
}
