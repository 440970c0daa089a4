package bus

import (
	"context"
	"errors"
	"iter"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"ibconn/events"
)

// history is a log with events of several kinds and connections.
func history(t *testing.T) (w world, main *author, all []string) {
	t.Helper()
	w = newWorld(t, ServerOptions{})
	main = newAuthor(t, w.log, w.dir, "main")
	main.claim()
	paper := newAuthor(t, w.log, w.dir, "paper")
	writer, err := w.log.Writer("paper", w.dir)
	if err != nil {
		t.Fatal(err)
	}
	paper.w, paper.Connection = writer, "paper"
	paper.claim()
	main.append(reported(1))
	main.append(heartbeat(1))
	paper.append(reported(2))
	main.append(&events.LinkWentDown{Attempt: 1})
	main.append(heartbeat(2))
	return w, main, entryIDs(readAll(t, w.log, Query{}))
}

func pick(all []string, at ...int) []string {
	var picked []string
	for _, i := range at {
		picked = append(picked, all[i])
	}
	return picked
}

func TestAQuerySelects(t *testing.T) {
	w, _, all := history(t)
	if len(all) != 7 {
		t.Fatalf("the log has %d events, want 7", len(all))
	}
	third, err := w.log.stream.GetMsg(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		query Query
		want  []string
	}{
		"everything":           {Query{}, all},
		"one connection":       {Query{Connection: "main"}, pick(all, 0, 2, 3, 5, 6)},
		"one kind":             {Query{Kinds: []events.Kind{events.KindError}}, pick(all, 2, 4)},
		"two kinds of one":     {Query{Connection: "main", Kinds: []events.Kind{events.KindClaimed, events.KindError}}, pick(all, 0, 2)},
		"no kind":              {Query{Kinds: []events.Kind{}}, nil},
		"a kind that has none": {Query{Kinds: []events.Kind{events.KindCommand}}, nil},
		"nobody":               {Query{Connection: "nobody"}, nil},
		"the later ones":       {Query{After: 5}, pick(all, 5, 6)},
		"later than all":       {Query{After: 7}, nil},
		"since a time":         {Query{Since: third.Time}, pick(all, 2, 3, 4, 5, 6)},
		"since and after":      {Query{Since: third.Time, After: 1, Connection: "main"}, pick(all, 2, 3, 5, 6)},
		"after and since":      {Query{Since: third.Time, After: 5}, pick(all, 5, 6)},
		"since tomorrow":       {Query{Since: time.Now().Add(24 * time.Hour)}, nil},
		"after, but tomorrow":  {Query{Since: time.Now().Add(24 * time.Hour), After: 1}, nil},
	} {
		wantIDs(t, name, entryIDs(readAll(t, w.log, c.query)), c.want)
	}
}

func TestEntriesSayWhereTheyStand(t *testing.T) {
	w, _, all := history(t)
	for i, e := range readAll(t, w.log, Query{}) {
		if e.StreamSeq != uint64(i+1) {
			t.Errorf("entry %d stands at %d, want %d", i, e.StreamSeq, i+1)
		}
		rest := readAll(t, w.log, Query{After: e.StreamSeq})
		wantIDs(t, "what follows "+e.ID, entryIDs(rest), all[i+1:])
	}
}

func TestAReadMayBeLeftAndRepeated(t *testing.T) {
	w, _, all := history(t)
	read := w.log.Read(t.Context(), Query{})
	for range 2 {
		for e, err := range read {
			if err != nil || e.ID != all[0] {
				t.Errorf("first entry = %q, %v, want %q", e.ID, err, all[0])
			}
			break
		}
	}
	wantIDs(t, "the third time", entryIDs(readAll(t, w.log, Query{})), all)
}

func TestAMessageThatIsNoEventIsNamedAndReadOver(t *testing.T) {
	w, main, all := history(t)
	foreign, err := w.log.newest(t.Context(), "ib.log.paper.error")
	if err != nil {
		t.Fatal(err)
	}
	for _, payload := range [][]byte{[]byte("junk"), foreign.Data} {
		if _, err := w.log.js.Publish(t.Context(), "ib.log.main.state", payload); err != nil {
			t.Fatal(err)
		}
	}
	all = append(all, main.append(reported(3)).ID)
	var got []string
	var bad []uint64
	for e, err := range w.log.Read(t.Context(), Query{}) {
		if err == nil {
			got = append(got, e.ID)
			continue
		}
		u, ok := errors.AsType[*UndecodableError](err)
		if !ok || u.Subject != "ib.log.main.state" || u.StreamSeq != e.StreamSeq || !errors.Is(err, events.ErrMalformed) {
			t.Errorf("error = %v at %d, want an UndecodableError with its place", err, e.StreamSeq)
		}
		bad = append(bad, e.StreamSeq)
	}
	wantIDs(t, "the events", got, all)
	if len(bad) != 2 || bad[0] != 8 || bad[1] != 9 {
		t.Errorf("unreadable at %v, want [8 9]", bad)
	}
}

func TestAReadThatIsCutOffSaysSo(t *testing.T) {
	w, _, _ := history(t)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var last error
	for _, err := range w.log.Read(ctx, Query{}) {
		cancel(cause)
		last = err
	}
	if !errors.Is(last, cause) {
		t.Errorf("the last error = %v, want %v", last, cause)
	}
}

// follow pulls entries from a read that follows.
func follow(t *testing.T, ctx context.Context, l *Log, q Query) func() Entry {
	t.Helper()
	q.Follow = true
	next, stop := iter.Pull2(l.Read(ctx, q))
	t.Cleanup(stop)
	return func() Entry {
		t.Helper()
		e, err, ok := next()
		if err != nil || !ok {
			t.Fatalf("next = %v, %v, want an entry", err, ok)
		}
		return e
	}
}

func TestAFollowingReaderSeesOldAndNewOverARestart(t *testing.T) {
	w, main, all := history(t)
	next := follow(t, t.Context(), w.log, Query{})
	var got []string
	for range all {
		got = append(got, next().ID)
	}
	for n := range 30 {
		if n%10 == 5 {
			if err := w.server.Restart(); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, main.append(reported(n)).ID)
		got = append(got, next().ID)
	}
	wantIDs(t, "what was followed", got, all)
}

func TestAFollowingReaderEndsWithItsContext(t *testing.T) {
	w, _, all := history(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	for e, err := range w.log.Read(ctx, Query{Follow: true}) {
		if err != nil {
			t.Errorf("an error at the end of the context: %v", err)
		}
		got = append(got, e.ID)
		if len(got) == len(all) {
			cancel()
		}
	}
	wantIDs(t, "what was followed", got, all)
}

func TestAFollowingReaderEndsWhenTheConnectionIsClosed(t *testing.T) {
	w, _, all := history(t)
	var last error
	var n int
	for _, err := range w.log.Read(t.Context(), Query{Follow: true}) {
		if n++; n == len(all) {
			w.nc.Close()
		}
		last = err
	}
	if !errors.Is(last, nats.ErrConnectionClosed) {
		t.Errorf("the last error = %v, want %v", last, nats.ErrConnectionClosed)
	}
}

// A server keeps so many consumers and no more: who reads again and again leaves
// none behind.
func TestReadingLeavesNoConsumerBehind(t *testing.T) {
	s := openServer(t, ServerOptions{StoreDir: t.TempDir()})
	nc := connect(t, s)
	log := openTestLog(t, nc, LogOptions{})
	for range 50 {
		for _, err := range log.Read(t.Context(), Query{}) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	info, err := log.stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := info.State.Consumers; n != 0 {
		t.Errorf("%d consumers are left, want none", n)
	}
}
