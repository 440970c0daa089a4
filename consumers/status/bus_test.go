package status_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ibconn/bus"
	"ibconn/consumers/status"
	"ibconn/events"
	"ibconn/testenv"
)

var _ status.Store = (*bus.Statuses)(nil)

// world is a bus with a log.
type world struct {
	dir    string
	server *bus.Server
	nc     *nats.Conn
	log    *bus.Log
}

func open(t *testing.T) world {
	t.Helper()
	w := world{dir: t.TempDir()}
	var err error
	if w.server, err = bus.Open(bus.ServerOptions{StoreDir: w.dir}); err != nil {
		t.Fatal(err)
	}
	w.nc = w.connect(t)
	if w.log, err = bus.OpenLog(t.Context(), w.nc, bus.LogOptions{}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w world) connect(t *testing.T) *nats.Conn {
	t.Helper()
	nc, err := w.server.Connect(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	return nc
}

func (w world) close(t *testing.T) {
	t.Helper()
	w.nc.Close()
	if err := w.server.Close(); err != nil {
		t.Error(err)
	}
}

func (w world) statuses(t *testing.T) *bus.Statuses {
	t.Helper()
	s, err := bus.OpenStatuses(t.Context(), w.nc)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// writer stores events of one connection in the log.
type writer struct {
	*bus.Writer
	events.Author
	head events.Head
	n    int
}

func (w world) writer(t *testing.T, c events.ConnectionID) *writer {
	t.Helper()
	bw, err := w.log.Writer(c, w.dir)
	if err != nil {
		t.Fatal(err)
	}
	a := &writer{Writer: bw}
	a.Author = events.Author{Connection: c, Source: "/ibconn/test", NewID: func() string {
		a.n++
		return fmt.Sprintf("%s-%d", c, a.n)
	}}
	for _, err := range bw.Load(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
	}
	a.put(t, &events.EpochBegan{Instance: "test", PID: os.Getpid(), Version: "1.0.0"}, bw.Claim)
	return a
}

func (a *writer) add(t *testing.T, e events.Event) { t.Helper(); a.put(t, e, a.Append) }

func (a *writer) put(t *testing.T, e events.Event, store func(context.Context, events.Recorded) error) {
	t.Helper()
	r, err := a.head.Next(a.Author, events.Draft{Event: e}, time.Now())
	if err == nil {
		err = store(t.Context(), r)
	}
	if err != nil {
		t.Fatal(err)
	}
	a.head = a.head.Then(r)
}

func beat(n int) events.Event {
	now := time.Now()
	return &events.HeartbeatAnswered{Attempt: 1, Number: uint64(n), SentAt: now, NextProbeAt: now.Add(15 * time.Second), AnswerBy: now.Add(20 * time.Second)}
}

func (w world) run(t *testing.T, k *status.Keeper) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run() = %v, want that its context ended", err)
		}
	}
}

// holds checks that the bucket has the document that the log amounts to.
func (w world) holds(t *testing.T, s *bus.Statuses, c events.ConnectionID) status.Document {
	t.Helper()
	b, err := s.Get(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	all, err := status.At(t.Context(), w.log, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if want := marshal(t, all[c]); !bytes.Equal(b, want) {
		t.Errorf("the bucket has of %s\n%s\nwant\n%s", c, b, want)
	}
	return all[c]
}

func TestTwoKeepersOfOneBucketNeverTakeADocumentBack(t *testing.T) {
	testenv.Bubble(t, func(t *testing.T) {
		w := open(t)
		defer w.close(t)
		s := w.statuses(t)
		js, err := jetstream.New(w.nc)
		if err != nil {
			t.Fatal(err)
		}
		kv, err := js.KeyValue(t.Context(), bus.StatusBucket)
		if err != nil {
			t.Fatal(err)
		}
		seen, err := kv.WatchAll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		watched := make(chan map[string]uint64)
		go func() {
			newest := make(map[string]uint64)
			for e := range seen.Updates() {
				if e == nil {
					continue
				}
				d, err := status.Decode(e.Value())
				if err != nil {
					t.Error(err)
				}
				if d.StreamSeq < newest[e.Key()] {
					t.Errorf("of %s a document of position %d follows one of %d", e.Key(), d.StreamSeq, newest[e.Key()])
				}
				newest[e.Key()] = d.StreamSeq
			}
			watched <- newest
		}()

		failed := func(c events.ConnectionID, err error) { t.Errorf("status of %s: %v", c, err) }
		main, paper := w.writer(t, "main"), w.writer(t, "paper")
		endFirst := w.run(t, &status.Keeper{Log: w.log, Store: s, Failed: failed})
		endSecond := w.run(t, &status.Keeper{Log: w.log, Store: s, Failed: failed})
		for n := range 100 {
			main.add(t, beat(n+1))
			if n%10 == 0 {
				paper.add(t, beat(n+1))
			}
			if n == 50 { // one that comes later begins with what is old
				endFirst()
				endFirst = w.run(t, &status.Keeper{Log: w.log, Store: s, Failed: failed})
			}
			time.Sleep(37 * time.Millisecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		newest := map[string]uint64{"main": w.holds(t, s, "main").StreamSeq, "paper": w.holds(t, s, "paper").StreamSeq}
		endFirst()
		endSecond()
		if err := seen.Stop(); err != nil {
			t.Error(err)
		}
		if got := <-watched; fmt.Sprint(got) != fmt.Sprint(newest) {
			t.Errorf("the newest documents that were seen are of %v, want %v", got, newest)
		}
	})
}

// TestTheBucketIsRightAfterAKeeperWasAway also has a message that is no event in
// the log, and a document that is none in the bucket.
func TestTheBucketIsRightAfterAKeeperWasAway(t *testing.T) {
	testenv.Bubble(t, func(t *testing.T) {
		w := open(t)
		defer w.close(t)
		s := w.statuses(t)
		main := w.writer(t, "main")
		main.add(t, &events.ConnectRequested{By: events.AskerStart, RetryAt: time.Now()})
		end := w.run(t, &status.Keeper{Log: w.log, Store: s})
		time.Sleep(time.Second)
		w.holds(t, s, "main")
		end()

		js, err := jetstream.New(w.nc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(t.Context(), "ib.log.main.state", []byte("nonsense")); err != nil {
			t.Fatal(err)
		}
		kv, err := js.KeyValue(t.Context(), bus.StatusBucket)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kv.Put(t.Context(), "main", []byte("nonsense")); err != nil {
			t.Fatal(err)
		}
		main.add(t, &events.Stopped{Cause: events.CauseShutdown})
		k := &status.Keeper{Log: w.log, Store: s}
		end = w.run(t, k)
		time.Sleep(time.Second)
		synctest.Wait()
		if d := w.holds(t, s, "main"); d.Phase != events.PhaseStopped || k.Skipped() != 1 {
			t.Errorf("it is %s, with %d messages left out, want it stopped, and one", d.Phase, k.Skipped())
		}
		end()
	})
}
