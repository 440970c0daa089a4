package bus

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ibconn/events"
)

func TestContractsAreKeptOverRestarts(t *testing.T) {
	noLeaks(t)
	dir := t.TempDir()
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	meant := func(text string, id int64, at time.Time) events.KnownContract {
		description, err := events.ParseContract(text)
		if err != nil {
			t.Fatal(err)
		}
		return events.KnownContract{Description: description, Details: events.ContractDetails{Contract: events.Contract{ConID: id}}, At: at}
	}
	for start := range 2 {
		s, err := Open(ServerOptions{StoreDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		nc, err := s.Connect(t.Name())
		if err != nil {
			t.Fatal(err)
		}
		c, err := OpenContracts(t.Context(), nc)
		if err != nil {
			t.Fatal(err)
		}
		all, err := c.LoadContracts(t.Context())
		if err != nil || len(all) != 2*start {
			t.Fatalf("at start %d there are %+v, %v, want %d", start, all, err, 2*start)
		}
		if start == 1 && (all[0].Details.ConID != 7 || all[1].Details.ConID != 9 || !all[1].At.Equal(at.Add(time.Hour))) {
			t.Errorf("there are %+v, want MSFT as it was, and AAPL as it was told last", all)
		}
		for _, k := range []events.KnownContract{meant("AAPL", 8, at), meant("MSFT", 7, at), meant("AAPL", 9, at.Add(time.Hour))} {
			if err := c.SaveContract(t.Context(), k); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.kv.Put(t.Context(), "foreign", []byte("{")); err != nil {
			t.Fatal(err)
		}
		nc.Close()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOutsidersCannotTouchContracts(t *testing.T) {
	s := openServer(t, ServerOptions{StoreDir: t.TempDir(), Listen: "127.0.0.1:0"})
	if _, err := OpenContracts(t.Context(), connect(t, s)); err != nil {
		t.Fatal(err)
	}
	outside, err := Dial(s.URL(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(outside.Close)
	js, err := jetstream.New(outside, jetstream.WithDefaultTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), ContractBucket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), "a", []byte("made up")); err == nil {
		t.Error("an outsider could say which contract is meant")
	}
	if err := js.DeleteKeyValue(t.Context(), ContractBucket); err == nil {
		t.Error("an outsider could delete the bucket")
	}
}
