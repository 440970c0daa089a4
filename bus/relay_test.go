package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"ibconn/events"
	"ibconn/testenv/hub"
)

// startHub starts an external server with a store of its own. What it leaves behind
// is found by whoever opened the server here before.
func startHub(t testing.TB) *hub.Server {
	t.Helper()
	h := &hub.Server{Dir: t.TempDir()}
	start(t, h)
	t.Cleanup(h.Stop)
	return h
}

func start(t testing.TB, h *hub.Server) {
	t.Helper()
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
}

// lines is a log that a test can look at.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// relaying is a relay that runs.
type relaying struct {
	*Relay
	t    testing.TB
	said *lines
	end  func() // ends it, and its connection to the hub
}

func startRelay(t testing.TB, log *Log, url string, options ...func(*Relay, *HubOptions)) *relaying {
	t.Helper()
	said := &lines{}
	out := zerolog.New(said).With().Timestamp().Logger()
	o := HubOptions{URL: url, Name: t.Name(), Log: out}
	r := &Relay{Local: log, Connections: []events.ConnectionID{"main"}, Log: out, patience: 20 * time.Millisecond}
	for _, option := range options {
		option(r, &o)
	}
	h, err := DialHub(o)
	if err != nil {
		t.Fatal(err)
	}
	r.Hub = h
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	run := &relaying{Relay: r, t: t, said: said, end: sync.OnceFunc(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v, want the cause of its context's end", err)
		}
		h.Close()
	})}
	t.Cleanup(run.end)
	return run
}

func (r *relaying) status() events.Relay {
	r.t.Helper()
	s, err := r.Status(r.t.Context(), "main")
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// is waits until the relay of main stands as it should.
func (r *relaying) is(want events.RelayStatus) events.Relay {
	r.t.Helper()
	var s events.Relay
	deadline := time.Now().Add(30 * time.Second)
	for s = r.status(); s.Status != want; s = r.status() {
		if time.Now().After(deadline) {
			r.t.Fatalf("the relay is %+v after 30 seconds, want %s; it said:\n%s", s, want, r.said)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return s
}

// outside connects to the hub as anybody does, and finds the log there.
func outside(t testing.TB, url string) (*nats.Conn, *Log) {
	t.Helper()
	nc, err := Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	log, err := FindLog(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, log
}

// wantSame fails unless the log of a connection at the hub is byte for byte the one
// here.
func wantSame(t testing.TB, here, there *Log, c events.ConnectionID) []Entry {
	t.Helper()
	want := readAll(t, here, Query{Connection: c})
	var got []Entry
	within(t, "the hub's log being read", func() bool { // a cluster may be electing
		got = nil
		for e, err := range there.Read(t.Context(), Query{Connection: c}) {
			if err != nil {
				t.Log(err)
				return false
			}
			got = append(got, e)
		}
		return true
	})
	for i := range min(len(want), len(got)) {
		if !bytes.Equal(want[i].Wire, got[i].Wire) {
			t.Fatalf("event %d of %s is %s at the hub, want %s", i, c, got[i].Wire, want[i].Wire)
		}
	}
	if len(want) != len(got) {
		t.Fatalf("the hub has %d events of %s, want the %d of the log here", len(got), c, len(want))
	}
	return got
}

func TestTheHubGetsWhatTheLogHas(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	h := startHub(t)
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	for n := range 40 {
		a.append(reported(n))
		a.append(heartbeat(uint64(n)))
	}
	r := startRelay(t, w.log, h.URL())
	s := r.is(events.RelayCurrent)
	if s.Sequence != 41 || s.Relayed != 81 || s.Lag != 0 || s.LagFor != 0 || s.Refusals != 0 {
		t.Errorf("the relay is %+v, want it at sequence 41 with 81 events relayed and no lag", s)
	}
	nc, log := outside(t, h.URL())
	feed := feedOf(t, nc)
	wantSame(t, w.log, log, "main")
	for n := range 20 {
		a.append(reported(100 + n))
	}
	within(t, "events on their way", func() bool { return r.status().Sequence == 61 })
	all := wantSame(t, w.log, log, "main")
	wantIDs(t, "the feed", feed.wait(20), entryIDs(all[81:]))

	// The next process finds where the one before was.
	r.end()
	a.append(reported(200))
	r = startRelay(t, w.log, h.URL())
	if s := r.is(events.RelayCurrent); s.Relayed != 1 || s.Sequence != 62 {
		t.Errorf("the next relay is %+v, want one event relayed", s)
	}
	wantSame(t, w.log, log, "main")
	if r.said.count(`the hub has every event`) != 1 {
		t.Errorf("it said %s, want once that the hub has every event", r.said)
	}
}

func TestAHeartbeatIsKeptThereForAsLongAsItIsHere(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	h := startHub(t)
	log := openTestLog(t, w.nc, LogOptions{HeartbeatTTL: 2 * time.Hour})
	a := newAuthor(t, log, w.dir, "a")
	a.claim()
	a.append(heartbeat(1))
	r := startRelay(t, log, h.URL())
	r.is(events.RelayCurrent)
	_, there := outside(t, h.URL())
	m, err := there.newest(t.Context(), events.LogSubject("main", events.KindHeartbeat))
	if err != nil || m == nil {
		t.Fatalf("the heartbeat at the hub = %v, %v", m, err)
	}
	ttl, err := time.ParseDuration(m.Header.Get(jetstream.MsgTTLHeader))
	if err != nil || ttl < 2*time.Hour || ttl > 2*time.Hour+heartbeatMargin {
		t.Errorf("it is kept there for %v, %v, want 2h and up to a minute", ttl, err)
	}
	if got := m.Header.Get(HeaderLocalSequence); got != "2" {
		t.Errorf("it says that it stood at %q here, want 2", got)
	}
}

func TestWrapLeavesOutWhatIsExpiredOrNoEvent(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	log := openTestLog(t, w.nc, LogOptions{HeartbeatTTL: time.Hour})
	a := newAuthor(t, log, w.dir, "a")
	a.claim()
	a.append(heartbeat(1))
	if _, err := log.js.Publish(t.Context(), events.LogSubject("main", events.KindError), []byte("no event")); err != nil {
		t.Fatal(err)
	}
	var got []bool
	for m, err := range log.messages(t.Context(), Query{}, []string{events.LogSubjects}) {
		if err != nil {
			t.Fatal(err)
		}
		p, err := wrap(m, time.Now().Add(time.Hour))
		if err != nil || p.local != m.seq {
			t.Errorf("wrap(message %d) = %+v, %v", m.seq, p, err)
		}
		got = append(got, p.message != nil)
	}
	if want := []bool{true, false, false}; !slices.Equal(got, want) {
		t.Errorf("an hour later the claim, the heartbeat and what is no event are brought = %v, want %v", got, want)
	}
}

// fedEvent is an event of the feed, and the place in the stream that it says.
type fedEvent struct{ id, place string }

// feeding collects what comes on the feed.
type feeding struct {
	t   testing.TB
	mu  sync.Mutex
	got []fedEvent
}

func feedOf(t testing.TB, nc *nats.Conn) *feeding {
	t.Helper()
	f := &feeding{t: t}
	sub, err := nc.Subscribe(events.FeedSubjects, func(m *nats.Msg) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.got = append(f.got, fedEvent{m.Header.Get(events.HeaderMsgID), m.Header.Get(jetstream.SequenceHeader)})
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sub.Unsubscribe() })
	return f
}

func (f *feeding) all() []fedEvent {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.got)
}

// wait waits for n events, and returns the ids of what there is.
func (f *feeding) wait(n int) (ids []string) {
	f.t.Helper()
	within(f.t, fmt.Sprintf("%d events on the feed", n), func() bool { return len(f.all()) >= n })
	for _, e := range f.all() {
		ids = append(ids, e.id)
	}
	return ids
}

// wantPartOf fails unless each event that was seen is in the log, at the place that
// it said, and each once and in the log's order; or, of a cluster, perhaps again: a
// node that becomes the leader may repeat what the one before had published.
func (f *feeding) wantPartOf(log []Entry, again bool) {
	f.t.Helper()
	order, place := make(map[string]int), make(map[string]string)
	for i, e := range log {
		order[e.ID], place[e.ID] = i, fmt.Sprint(e.StreamSeq)
	}
	last, repeated := -1, 0
	for _, e := range f.all() {
		i, ok := order[e.id]
		switch {
		case !ok:
			f.t.Fatalf("the feed had %s, which is not in the log", e.id)
		case place[e.id] != e.place:
			f.t.Fatalf("the feed had %s as message %s, and the log has it as %s", e.id, e.place, place[e.id])
		case i > last:
			last = i
		case again:
			repeated++
		default:
			f.t.Fatalf("the feed had %s, event %d, after event %d", e.id, i, last)
		}
	}
	f.t.Logf("%d of %d events were on the feed, %d of them again", len(f.all())-repeated, len(log), repeated)
}

func TestAHubThatIsAwayIsCaughtUpWith(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	h := startHub(t)
	h.Stop() // the run begins without it
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	a.append(reported(1))
	r := startRelay(t, w.log, h.URL())
	if s := r.is(events.RelayAway); s.Lag != 2 || s.LagFor < 0 || s.Problem == "" || s.Sequence != 0 {
		t.Errorf("the relay is %+v, want a lag of 2 and why", s)
	}
	start(t, h)
	r.is(events.RelayCurrent)
	for range 3 {
		h.Stop()
		for n := range 30 {
			a.append(reported(n))
		}
		if s := r.is(events.RelayAway); s.Lag != 30 {
			t.Errorf("the relay is %+v, want a lag of 30", s)
		}
		start(t, h)
		r.is(events.RelayCurrent)
	}
	_, log := outside(t, h.URL())
	wantSame(t, w.log, log, "main")
	if s := r.status(); s.Reconnects != 3 || s.Reverted != 0 || s.Relayed != 92 {
		t.Errorf("the relay is %+v, want 3 reconnects, 92 events relayed and nothing reverted", s)
	}
	if got := r.said.count("the hub is not there"); got != 4 {
		t.Errorf("it said %d times that the hub is not there, want 4: %s", got, r.said)
	}
}

// restore puts a directory in place of another.
func restore(t testing.TB, backup, dir string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(backup))); err != nil {
		t.Fatal(err)
	}
}

func TestAHubThatWasPutBackIsNoticedAndBroughtUpToDate(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	h := startHub(t)
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	for n := range 20 {
		a.append(reported(n))
	}
	r := startRelay(t, w.log, h.URL())
	r.is(events.RelayCurrent)
	h.Stop()
	backup := filepath.Join(t.TempDir(), "backup")
	restore(t, h.Dir, backup)
	start(t, h)
	for n := range 20 {
		a.append(reported(100 + n))
	}
	r.is(events.RelayCurrent)

	// While a process relays.
	h.Stop()
	restore(t, backup, h.Dir)
	start(t, h)
	within(t, "the relay noticing", func() bool { return r.status().Reverted == 1 })
	if s := r.is(events.RelayCurrent); s.Sequence != 41 {
		t.Errorf("the relay is %+v, want it at sequence 41", s)
	}
	_, log := outside(t, h.URL())
	wantSame(t, w.log, log, "main")
	if r.said.count(`"had":41,"has":21`) != 1 {
		t.Errorf("it said %s, want once that the hub had 41 and has 21", r.said)
	}

	// While none does.
	r.end()
	h.Stop()
	restore(t, backup, h.Dir)
	start(t, h)
	r = startRelay(t, w.log, h.URL())
	if s := r.is(events.RelayCurrent); s.Reverted != 1 || s.Relayed != 20 {
		t.Errorf("the relay is %+v, want it to have noticed, and 20 events relayed", s)
	}
	wantSame(t, w.log, log, "main")

	// And one that has lost everything.
	h.Stop()
	if err := os.RemoveAll(h.Dir); err != nil {
		t.Fatal(err)
	}
	start(t, h)
	within(t, "the relay noticing", func() bool { return r.status().Reverted == 2 })
	r.is(events.RelayCurrent)
	wantSame(t, w.log, log, "main")
}

func TestBatchesFitTheNetwork(t *testing.T) {
	bytes := batchBytes
	for range 20 {
		bytes = fit(bytes, 2*batchLong)
	}
	if bytes != batchFew {
		t.Errorf("after many batches that took too long one has %d bytes, want %d", bytes, batchFew)
	}
	if got := fit(bytes, batchShort); got != bytes {
		t.Errorf("after one that took as long as it may, the next has %d bytes, want %d", got, bytes)
	}
	for range 20 {
		bytes = fit(bytes, batchShort/2)
	}
	if bytes != batchBytes {
		t.Errorf("after many that took little one has %d bytes, want %d", bytes, batchBytes)
	}
	waiting := make(chan parcel, 10)
	for range 10 {
		waiting <- parcel{message: &nats.Msg{Data: make([]byte, 4<<10)}}
	}
	if got := len(take(waiting, batchFew)); got != 4 {
		t.Errorf("a batch of %d bytes has %d events of 4 KiB, want 4", batchFew, got)
	}
	close(waiting)
	if got := len(take(waiting, batchBytes)); got != 6 {
		t.Errorf("the last batch has %d events, want 6", got)
	}
	if got := take(waiting, batchBytes); got != nil {
		t.Errorf("after the end comes %v, want nothing", got)
	}
}

// TestManyConnectionsAreRelayedSideBySide has fifty connections in one log.
func TestManyConnectionsAreRelayedSideBySide(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	h := startHub(t)
	const many = 50
	var names []events.ConnectionID
	for i := range many {
		name := events.ConnectionID(fmt.Sprintf("feed-%d", i))
		names = append(names, name)
		head := events.Head{Epoch: 1}
		n := 0
		author := events.Author{Connection: name, Source: "/ibconn/a", NewID: func() string { n++; return fmt.Sprintf("%s-%d", name, n) }}
		for n := range 10 {
			r, err := head.Next(author, events.Draft{Event: reported(n)}, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.log.js.PublishAsync(events.LogSubject(name, events.KindError), r.Wire); err != nil {
				t.Fatal(err)
			}
			head = head.Then(r)
		}
	}
	<-w.log.js.PublishAsyncComplete()
	r := startRelay(t, w.log, h.URL(), func(r *Relay, _ *HubOptions) { r.Connections = nil }) // it finds them
	within(t, "all being relayed", func() bool { return r.said.count("the hub has every event") == 1 })
	if got := r.Names(); len(got) != many {
		t.Errorf("the relay has %d connections, want %d", len(got), many)
	}
	_, there := outside(t, h.URL())
	for _, name := range names {
		if got := wantSame(t, w.log, there, name); len(got) != 10 {
			t.Errorf("the hub has %d events of %s, want 10", len(got), name)
		}
	}
	h.Stop()
	within(t, "the loss", func() bool { return r.said.count("the hub is not there") == 1 })
	start(t, h)
	within(t, "all being current again", func() bool { return r.said.count("the hub has every event") == 2 })
}
