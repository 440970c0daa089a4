package bus

import (
	"regexp"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func openTestLedgers(t *testing.T, nc *nats.Conn) *Ledgers {
	t.Helper()
	l, err := OpenLedgers(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLedgersAreKeptOverRestarts(t *testing.T) {
	noLeaks(t)
	dir := t.TempDir()
	for i, want := range []string{"", "2", "3"} {
		s, err := Open(ServerOptions{StoreDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		nc, err := s.Connect(t.Name())
		if err != nil {
			t.Fatal(err)
		}
		l := openTestLedgers(t, nc)
		got, err := l.LoadLedger(t.Context(), "[::1%eth0]:4002")
		if err != nil || string(got) != want || (got == nil) != (want == "") {
			t.Errorf("before start %d the ledger holds %q, %v, want %q", i, got, err, want)
		}
		for _, kept := range []string{"x", string(rune('2' + i))} {
			if err := l.SaveLedger(t.Context(), "[::1%eth0]:4002", []byte(kept)); err != nil {
				t.Fatal(err)
			}
		}
		if other, err := l.LoadLedger(t.Context(), "127.0.0.1:4002"); other != nil || err != nil {
			t.Errorf("another gateway's ledger holds %q, %v, want nothing", other, err)
		}
		nc.Close()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOutsidersCannotTouchLedgers(t *testing.T) {
	s := openServer(t, ServerOptions{StoreDir: t.TempDir(), Listen: "127.0.0.1:0"})
	l := openTestLedgers(t, connect(t, s))
	if err := l.SaveLedger(t.Context(), "127.0.0.1:4002", []byte("ours")); err != nil {
		t.Fatal(err)
	}
	outside, err := Dial(s.URL(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	js, err := jetstream.New(outside, jetstream.WithDefaultTimeout(200*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), LedgerBucket)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := kv.Get(t.Context(), "127.0.0.1=3a4002"); err != nil || string(e.Value()) != "ours" {
		t.Errorf("an outsider reads %+v, %v, want it to be let", e, err)
	}
	if _, err := kv.Put(t.Context(), "127.0.0.1=3a4002", []byte("theirs")); err == nil {
		t.Error("an outsider writes a ledger")
	}
	if err := js.DeleteKeyValue(t.Context(), LedgerBucket); err == nil {
		t.Error("an outsider deletes the ledgers")
	}
	if got, err := l.LoadLedger(t.Context(), "127.0.0.1:4002"); string(got) != "ours" || err != nil {
		t.Errorf("after that the ledger holds %q, %v", got, err)
	}
}

// keyForm is what a key may be, as nats.go has it.
var keyForm = regexp.MustCompile(`^[-/_=\.a-zA-Z0-9]+$`)

func FuzzLedgerKey(f *testing.F) {
	for _, seed := range []string{"127.0.0.1:4002", "[::1]:4002", "[fe80::1%eth0]:4002", "gateway.example:7497", "", ".", "..", "=", "=3a", "1..1", "\x00"} {
		f.Add(seed, seed+"0")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		key := ledgerKey(a)
		if !keyForm.MatchString(key) || key[0] == '.' || key[len(key)-1] == '.' || regexp.MustCompile(`\.\.`).MatchString(key) {
			t.Errorf("the key of %q is %q, which is none", a, key)
		}
		if a != b && key == ledgerKey(b) {
			t.Errorf("%q and %q have the same key %q", a, b, key)
		}
	})
}
