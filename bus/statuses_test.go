package bus

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ibconn/events"
)

func openTestStatuses(t *testing.T, nc *nats.Conn) *Statuses {
	t.Helper()
	s, err := OpenStatuses(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// standsFor is a document of a position.
func standsFor(position uint64, words string) []byte {
	return fmt.Appendf(nil, `{"connection":"main","stream_seq":%d,"words":%q}`, position, words)
}

func (s *Statuses) holds(t *testing.T, want string) {
	t.Helper()
	if got, err := s.Get(t.Context(), "main"); string(got) != want || (got == nil) != (want == "") || err != nil {
		t.Errorf("Get() = %q, %v, want %q", got, err, want)
	}
}

func TestAStatusOfALaterPositionIsNotReplacedOverRestartsToo(t *testing.T) {
	noLeaks(t)
	dir := t.TempDir()
	for start := range 3 {
		server, err := Open(ServerOptions{StoreDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		nc, err := server.Connect(t.Name())
		if err != nil {
			t.Fatal(err)
		}
		s := openTestStatuses(t, nc)
		at := uint64(100 * start)
		if start == 0 {
			s.holds(t, "")
		} else {
			s.holds(t, string(standsFor(at-95, "same position")))
		}
		for _, put := range []struct {
			position    uint64
			words, want string
			wantPut     uint64
		}{
			{at + 3, "new", "new", at + 3},
			{at + 2, "older", "new", at + 3},
			{at + 5, "newer", "newer", at + 5},
			{at + 5, "newer", "newer", at + 5},
			{at + 5, "same position", "same position", at + 5},
			{1, "oldest", "same position", at + 5},
		} {
			if err := s.Put(t.Context(), "main", put.position, standsFor(put.position, put.words)); err != nil {
				t.Fatal(err)
			}
			s.holds(t, string(standsFor(put.wantPut, put.want)))
		}
		if other, err := s.Get(t.Context(), "other"); other != nil || err != nil {
			t.Errorf("another connection has %q, %v, want nothing", other, err)
		}
		nc.Close()
		if err := server.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheSameStatusAgainIsNotWritten(t *testing.T) {
	s := openTestStatuses(t, connect(t, openServer(t, ServerOptions{StoreDir: t.TempDir()})))
	var revisions []uint64
	for range 3 {
		if err := s.Put(t.Context(), "main", 7, standsFor(7, "x")); err != nil {
			t.Fatal(err)
		}
		e, err := s.kv.Get(t.Context(), "main")
		if err != nil {
			t.Fatal(err)
		}
		revisions = append(revisions, e.Revision())
	}
	if revisions[2] != revisions[0] {
		t.Errorf("the revisions are %d, want one", revisions)
	}
}

func TestAStatusThatCannotBeReadIsReplaced(t *testing.T) {
	s := openTestStatuses(t, connect(t, openServer(t, ServerOptions{StoreDir: t.TempDir()})))
	for _, spoilt := range []string{"", "nonsense", "{", "null", "[]", `{"connection":"main"}`, `{"stream_seq":-1}`, `{"stream_seq":"7"}`, `{"stream_seq":1e99}`, `{"stream_seq":99}x`} {
		if _, err := s.kv.Put(t.Context(), "main", []byte(spoilt)); err != nil {
			t.Fatal(err)
		}
		if err := s.Put(t.Context(), "main", 2, standsFor(2, "x")); err != nil {
			t.Fatal(err)
		}
		s.holds(t, string(standsFor(2, "x")))
	}
	if err := s.kv.Delete(t.Context(), "main"); err != nil {
		t.Fatal(err)
	}
	s.holds(t, "")
	if err := s.Put(t.Context(), "main", 1, standsFor(1, "again")); err != nil {
		t.Fatal(err)
	}
	s.holds(t, string(standsFor(1, "again")))
}

// A log whose end was lost gives its positions away once more.
func TestAStatusOfALogThatWasLostIsReplaced(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	s := openTestStatuses(t, w.nc)
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	a.append(reported(1))
	a.append(reported(2)) // the log ends at 3
	for _, put := range []struct{ position, want uint64 }{{4, 4}, {2, 2}, {3, 3}, {1, 3}, {99, 99}, {1, 1}} {
		if err := s.Put(t.Context(), "main", put.position, standsFor(put.position, "x")); err != nil {
			t.Fatal(err)
		}
		s.holds(t, string(standsFor(put.want, "x")))
	}
}

func TestAStatusThatIsNotFitIsRefused(t *testing.T) {
	s := openTestStatuses(t, connect(t, openServer(t, ServerOptions{StoreDir: t.TempDir()})))
	least := len(standsFor(7, ""))
	for _, tt := range []struct {
		connection events.ConnectionID
		position   uint64
		document   []byte
		want       string // in the error; "" for none
		is         error
	}{
		{"main", 7, standsFor(7, strings.Repeat("x", MaxStatus-least)), "", nil},
		{"main", 8, standsFor(8, strings.Repeat("x", MaxStatus-least+1)), "bus: status of main: the document is too large: 524289 bytes, want at most 524288", ErrStatusTooLarge},
		{"main", 8, standsFor(9, ""), "stream_seq of the document is 9: want its position in the log, 8", nil},
		{"main", 0, standsFor(0, ""), "above 0", nil},
		{"main", 8, []byte("nonsense"), "stream_seq of the document is 0", nil},
		{"Main.>", 8, standsFor(8, ""), "connection name", nil},
	} {
		err := s.Put(t.Context(), tt.connection, tt.position, tt.document)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) || tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("Put(%s, %d, %.60s) = %v, want %q", tt.connection, tt.position, tt.document, err, tt.want)
		}
	}
	if got, err := s.Get(t.Context(), "main"); len(got) != MaxStatus || err != nil {
		t.Errorf("after that the document has %d bytes, %v, want the first with %d", len(got), err, MaxStatus)
	}
}

// TestManyWhoPutOneStatusNeverTakeItBack also holds that the last one stays.
func TestManyWhoPutOneStatusNeverTakeItBack(t *testing.T) {
	server := openServer(t, ServerOptions{StoreDir: t.TempDir()})
	const writers, last = 4, 60
	nc := connect(t, server)
	kv := openTestStatuses(t, nc).kv
	seen, err := kv.Watch(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = seen.Stop() }()
	var all sync.WaitGroup
	for n := range writers {
		s := openTestStatuses(t, connect(t, server))
		all.Go(func() {
			for p := uint64(n%2 + 1); p <= last; p += uint64(n + 1) {
				if err := s.Put(t.Context(), "main", p, standsFor(p, "x")); err != nil {
					t.Error(err)
				}
			}
			if err := s.Put(t.Context(), "main", last, standsFor(last, "x")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	var newest, updates uint64
	for newest < last {
		select {
		case e := <-seen.Updates():
			if e == nil {
				continue // what there was before
			}
			p := positionOf(e.Value())
			if p < newest {
				t.Fatalf("a document of position %d follows one of %d", p, newest)
			}
			newest, updates = p, updates+1
		case <-time.After(30 * time.Second):
			t.Fatalf("the newest document is of %d, want %d", newest, last)
		}
	}
	if updates < 2 {
		t.Errorf("%d documents were seen, want them to follow one another", updates)
	}
}

func TestOutsidersCanReadStatusesAndNotMakeThemUp(t *testing.T) {
	server := openServer(t, ServerOptions{StoreDir: t.TempDir(), Listen: "127.0.0.1:0"})
	s := openTestStatuses(t, connect(t, server))
	ours := standsFor(7, "ours")
	if err := s.Put(t.Context(), "main", 7, ours); err != nil {
		t.Fatal(err)
	}
	outside, err := Dial(server.URL(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	js, err := jetstream.New(outside, jetstream.WithDefaultTimeout(200*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), StatusBucket)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := kv.Get(t.Context(), "main"); err != nil || string(e.Value()) != string(ours) {
		t.Errorf("an outsider reads %+v, %v, want it to be let", e, err)
	}
	if _, err := kv.Put(t.Context(), "main", standsFor(8, "theirs")); err == nil {
		t.Error("an outsider writes a status")
	}
	if err := js.DeleteKeyValue(t.Context(), StatusBucket); err == nil {
		t.Error("an outsider deletes the statuses")
	}
	s.holds(t, string(ours))
}
