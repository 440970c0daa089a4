package bus

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ibconn/events"
	"ibconn/testenv/hub"
)

// another opens a further server here, on a directory or on a new one.
func another(t testing.TB, dir string) world {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
	}
	s, err := Open(ServerOptions{StoreDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	nc := connect(t, s)
	return world{dir, s, nc, openTestLog(t, nc, LogOptions{})}
}

func (w world) close(t testing.TB) {
	t.Helper()
	w.nc.Close()
	if err := w.server.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAnotherHistoryIsNotMixedUpWithOurs(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	h := startHub(t)
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	a.append(reported(1))
	first := startRelay(t, w.log, h.URL())
	first.is(events.RelayCurrent)

	other := another(t, "")
	b := newAuthor(t, other.log, other.dir, "b")
	b.claim()
	b.append(reported(2))
	b.append(reported(3))
	second := startRelay(t, other.log, h.URL())
	s := second.is(events.RelayDiffers)
	if s.Refused != 3 || s.Refusals == 0 || !containsAll(s.Problem, "another history of a connection main", "/ibconn/a", "--connection") {
		t.Errorf("the relay of another history is %+v, want its events refused, whose the hub's is, and what to do", s)
	}
	a.append(reported(4))
	within(t, "the hub getting more", func() bool { return first.status().Sequence == 3 })
	if s := second.is(events.RelayDiffers); s.Status != events.RelayDiffers {
		t.Errorf("the relay of another history is %+v once more came, want the same", s)
	}
	_, log := outside(t, h.URL())
	wantSame(t, w.log, log, "main")
	if got := second.said.count("events of a connection are not relayed"); got != 1 {
		t.Errorf("it said so %d times, want once: %s", got, second.said)
	}
}

func containsAll(text string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return false
		}
	}
	return true
}

func TestWhatIsWrittenUnderASupersededClaimIsRefused(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	h := startHub(t)
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	a.append(reported(1))
	a.append(heartbeat(1))
	old := startRelay(t, w.log, h.URL())
	old.is(events.RelayCurrent)
	nc, log := outside(t, h.URL())
	feed := feedOf(t, nc)

	// Another process goes on with what the hub has, and claims the connection.
	other := another(t, "")
	late := startRelay(t, other.log, h.URL())
	if n, err := late.Fetch(t.Context(), "main"); err != nil || n != 2 {
		t.Fatalf("Fetch = %d, %v, want 2 events", n, err)
	}
	b := newAuthor(t, other.log, other.dir, "b")
	b.claim()
	b.append(reported(2))
	within(t, "the claim at the hub", func() bool { return late.status().Sequence == 4 })
	refused := a.append(reported(3))
	s := old.is(events.RelaySuperseded)
	if s.Sequence != 2 || s.Refused != 1 || !containsAll(s.Problem, "/ibconn/b took main", "behind sequence 2") || s.Refusals == 0 {
		t.Errorf("the superseded relay is %+v, want whose claim there is, and behind what", s)
	}
	// It is kept.
	if all := readAll(t, w.log, Query{}); all[len(all)-1].ID != refused.ID {
		t.Errorf("the log here ends with %s, want the refused %s", all[len(all)-1].ID, refused.ID)
	}
	b.append(reported(4))
	within(t, "the next event at the hub", func() bool { return late.status().Sequence == 5 })
	all := entryIDs(readAll(t, log, Query{}))
	wantIDs(t, "the feed", feed.wait(3), all[3:])
	for _, id := range all {
		if id == refused.ID {
			t.Errorf("the hub has the refused %s", id)
		}
	}
}

func TestADataDirectoryThatWasLostIsFetchedFromTheHub(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	h := startHub(t)
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	for n := range 5 {
		a.append(reported(n))
		a.append(heartbeat(uint64(n)))
	}
	r := startRelay(t, w.log, h.URL())
	r.is(events.RelayCurrent)
	backup := filepath.Join(t.TempDir(), "backup")
	r.end()
	w.close(t)
	restore(t, w.dir, backup)
	w = another(t, w.dir)
	a = newAuthor(t, w.log, w.dir, "b")
	a.claim()
	for n := range 5 {
		a.append(reported(10 + n))
	}
	r = startRelay(t, w.log, h.URL())
	r.is(events.RelayCurrent)
	r.end()
	_, there := outside(t, h.URL())

	for name, dir := range map[string]string{"lost": "", "put back": backup} {
		t.Run(name, func(t *testing.T) {
			w := another(t, dir)
			r := startRelay(t, w.log, h.URL())
			if _, err := r.Fetch(t.Context(), "main"); err != nil {
				t.Fatal(err)
			}
			if n, err := r.Fetch(t.Context(), "main"); n != 0 || err != nil {
				t.Errorf("Fetch again = %d, %v, want nothing to fetch", n, err)
			}
			a := newAuthor(t, w.log, w.dir, name)
			a.claim() // which checks the chain
			end := a.head.Sequence
			within(t, "the claim at the hub", func() bool { return r.status().Sequence == end })
			var head events.Head
			for _, e := range readAll(t, there, Query{Connection: "main"}) {
				if err := head.Follows(e.Recorded); err != nil {
					t.Fatalf("message %d of the hub: %v", e.StreamSeq, err)
				}
				head = head.Then(e.Recorded)
			}
			if head != a.head {
				t.Errorf("the hub ends at %+v, want %+v", head, a.head)
			}
			r.end()
			w.close(t)
		})
	}
}

func TestALogThatLacksWhatTheHubHasIsNotRelayed(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	h := startHub(t)
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	a.append(reported(1))
	w.close(t)
	backup := filepath.Join(t.TempDir(), "backup")
	restore(t, w.dir, backup)
	w = another(t, w.dir)
	a = newAuthor(t, w.log, w.dir, "a2")
	a.claim()
	r := startRelay(t, w.log, h.URL())
	r.is(events.RelayCurrent)
	r.end()
	w.close(t)

	w = another(t, backup)
	r = startRelay(t, w.log, h.URL())
	if s := r.is(events.RelayDiffers); !containsAll(s.Problem, "up to sequence 3", "here ends at 2", "start it again") {
		t.Errorf("the relay of a log that was put back is %+v, want what is missing and what to do", s)
	}
	// Written on, it has another event of the same sequence, and nobody mixes them up.
	a = newAuthor(t, w.log, w.dir, "c")
	a.claim()
	if s := r.is(events.RelaySuperseded); s.Sequence != 2 || !strings.Contains(s.Problem, "/ibconn/a2 took main") {
		t.Errorf("the relay of a log that was put back and written on is %+v, want whose claim the hub has", s)
	}
	if _, err := r.Fetch(t.Context(), "main"); err != nil {
		t.Errorf("Fetch = %v, want nothing done: this log is as long as the hub's", err)
	}
	a.append(reported(1))
	_, there := outside(t, h.URL())
	if all := readAll(t, there, Query{}); len(all) != 3 {
		t.Errorf("the hub has %d events, want 3", len(all))
	}
}

func TestAConnectionThatSomebodyKeepsIsNotFetched(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	h := startHub(t)
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	r := startRelay(t, w.log, h.URL())
	r.is(events.RelayCurrent)
	serving, stop := context.WithCancel(t.Context())
	served, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- ServeCommands(serving, r.Hub.Conn(), CommandService{
			Connection: "main", Version: "1.0.0", Verbs: []VerbSpec{{Verb: events.VerbStatus}}, Started: func() { close(served) },
			Handle: func(context.Context, events.Verb, events.Request, func(events.Answer)) events.Answer {
				return events.Answer{OK: true}
			},
		})
	}()
	<-served
	other := another(t, "")
	late := startRelay(t, other.log, h.URL())
	if n, err := late.Fetch(t.Context(), "main"); n != 0 || !errors.Is(err, ErrKept) {
		t.Errorf("Fetch of a connection that somebody keeps = %d, %v, want ErrKept", n, err)
	}
	stop()
	<-ended
	if n, err := late.Fetch(t.Context(), "main"); n != 1 || err != nil {
		t.Errorf("Fetch of one that nobody keeps = %d, %v, want an event", n, err)
	}
}

func TestAHubLogWithOtherSettingsIsNamedAndNotUsed(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	h := startHub(t)
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	nc, err := Dial(h.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	config := hubConfig(1)
	config.MaxMsgs, config.MaxAge, config.RePublish = 10, time.Hour, nil
	if _, err := js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	r := startRelay(t, w.log, h.URL(), func(r *Relay, _ *HubOptions) { r.Replicas = 3 })
	s := r.is(events.RelayRefused)
	if !containsAll(s.Problem, "max_age is 1h0m0s, want 0s", "max_msgs is 10, want 0", "republish is nothing, want ib.log.*.* to ib.conn.{{wildcard(2)}}", "replicas is 1, want 3 (--nats-replicas)", "nats stream edit") {
		t.Errorf("the relay is %+v, want each difference named", s)
	}
	r.end()
	// What may differ is let be: how long duplicates are known, and what is larger.
	if err := js.DeleteStream(t.Context(), events.Stream); err != nil {
		t.Fatal(err)
	}
	config = hubConfig(1)
	config.Duplicates, config.MaxMsgSize, config.MaxBytes, config.AllowAtomicPublish = time.Second, 1<<20, 1<<30, false
	if _, err := js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	for n := range 3 * batchLeast {
		a.append(reported(n))
	}
	r = startRelay(t, w.log, h.URL())
	r.is(events.RelayCurrent)
	_, there := outside(t, h.URL())
	wantSame(t, w.log, there, "main")
	// The log of a hub without settings of its own is ours, and can be corrected by hand.
	config.AllowAtomicPublish, config.MaxMsgs = true, 1000
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	r.end()
	r = startRelay(t, w.log, h.URL())
	r.is(events.RelayRefused)
	config.MaxMsgs = -1
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if s := r.is(events.RelayCurrent); s.Problem != "" || s.Refused != 0 || s.Refusals == 0 {
		t.Errorf("once it was corrected the relay is %+v, want it current", s)
	}
}

func TestAHubThatIsFullIsWaitedFor(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	h := startHub(t)
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	r := startRelay(t, w.log, h.URL())
	r.is(events.RelayCurrent)
	nc, there := outside(t, h.URL())
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	config := there.stream.CachedInfo().Config
	config.MaxBytes = 20 << 10
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		a.append(page(4 << 10))
	}
	if s := r.is(events.RelayRefused); !strings.Contains(s.Problem, "the log is full") || s.Lag == 0 || s.Refused != s.Lag {
		t.Errorf("the relay to a hub that is full is %+v, want it refused and why", s)
	}
	if got := r.said.count("events of a connection are not relayed"); got != 1 {
		t.Errorf("it said so %d times, want once: %s", got, r.said)
	}
	config.MaxBytes = -1
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	r.is(events.RelayCurrent)
	wantSame(t, w.log, there, "main")
}

func TestWrongCredentialsAreSaidAndTriedAgain(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	h := &hub.Server{Dir: t.TempDir(), Config: `authorization: {user: ib, password: right}`}
	start(t, h)
	t.Cleanup(h.Stop)
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	r := startRelay(t, w.log, h.URL(), func(_ *Relay, o *HubOptions) { o.Login = []nats.Option{nats.UserInfo("ib", "wrong")} })
	within(t, "the refusal", func() bool { return strings.Contains(r.status().Problem, "does not accept who we are") })
	if s := r.is(events.RelayAway); s.Lag != 1 {
		t.Errorf("the relay is %+v, want a lag of 1", s)
	}
	h.Stop()
	h.Config = `authorization: {user: ib, password: wrong}`
	start(t, h)
	r.is(events.RelayCurrent)
	if text := r.said.String(); strings.Contains(text, `"wrong"`) {
		t.Errorf("it said the password: %s", text)
	}
}

func TestAHubThatCannotStoreIsSaid(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	h := startHub(t)
	h.Stop()
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	h.Config = `max_payload: 4096`
	start(t, h)
	r := startRelay(t, w.log, h.URL())
	if s := r.is(events.RelayRefused); !strings.Contains(s.Problem, "max_payload of the server is 4096, want at least") {
		t.Errorf("the relay to a hub of small messages is %+v, want that said", s)
	}
	h.Stop()
	h.Config = `authorization: {users: [{user: ib, password: "", permissions: {publish: {deny: "ib.log.>"}}}]}, no_auth_user: ib`
	start(t, h)
	within(t, "the word on what is not permitted", func() bool {
		return strings.Contains(r.status().Problem, "does not answer as it should") && r.said.count("Permissions Violation") > 0
	})
	h.Stop()
	h.Config = ""
	start(t, h)
	if s := r.is(events.RelayCurrent); s.Problem != "" {
		t.Errorf("the relay to a hub that is well is %+v, want no problem", s)
	}
}

func TestEventsOfAnySizeGoToTheHub(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	h := startHub(t)
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	// The largest that the log here takes.
	small := a.next(page(1))
	rest := len(small.Wire) + 400 // and headers
	a.append(page(events.MaxSize - rest))
	for range 20 {
		a.append(page(200 << 10))
	}
	r := startRelay(t, w.log, h.URL())
	r.is(events.RelayCurrent)
	_, there := outside(t, h.URL())
	wantSame(t, w.log, there, "main")
}

// TestAPlaceInAnotherLogIsNoneInThisOne has the hub's newest be a heartbeat, whose
// place is that of another event here.
func TestAPlaceInAnotherLogIsNoneInThisOne(t *testing.T) {
	for _, written := range []int{0, 1, 3} {
		w := newWorld(t, ServerOptions{})
		h := startHub(t)
		a := newAuthor(t, w.log, w.dir, "a")
		a.claim()
		a.append(reported(1))
		for n := range 3 {
			a.append(heartbeat(uint64(n)))
		}
		r := startRelay(t, w.log, h.URL())
		r.is(events.RelayCurrent)
		r.end()

		other := another(t, "")
		away, err := DialHub(HubOptions{URL: h.URL()})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := (&Relay{Local: other.log, Hub: away}).Fetch(t.Context(), "main"); n != 2 || err != nil {
			t.Fatalf("Fetch = %d, %v, want 2 events", n, err)
		}
		away.Close()
		b := newAuthor(t, other.log, other.dir, "b")
		b.claim()
		for n := range written {
			b.append(reported(n))
		}
		next := startRelay(t, other.log, h.URL())
		next.is(events.RelayCurrent)
		_, there := outside(t, h.URL())
		var head events.Head
		for _, e := range readAll(t, there, Query{}) {
			if err := head.Follows(e.Recorded); err != nil {
				t.Fatalf("with %d events written, message %d of the hub: %v", written, e.StreamSeq, err)
			}
			head = head.Then(e.Recorded)
		}
		if head != b.head {
			t.Errorf("with %d events written the hub ends at %+v, want %+v", written, head, b.head)
		}
	}
}

func TestWhatDoesNotFollowIsNotBrought(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	a.append(reported(1))
	a.append(reported(2))
	var parcels []parcel
	for m, err := range w.log.messages(t.Context(), Query{}, []string{events.LogSubjects}) {
		if err != nil {
			t.Fatal(err)
		}
		p, err := wrap(m, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		parcels = append(parcels, p)
	}
	c := newCarrier(&Relay{Local: w.log}, "main")
	if still, err := c.joins(t.Context(), parcels[0].head, parcels[1:]); still || err != nil {
		t.Errorf("the second after the first = %v, %v, want it joined", still, err)
	}
	if _, err := c.joins(t.Context(), parcels[0].head, parcels[2:]); err == nil || !strings.Contains(err.Error(), "sequence 3 of the log here does not follow 1 of the hub") {
		t.Errorf("the third after the first = %v, want an error that says so", err)
	}
}

func FuzzWhatAHubAnswers(f *testing.F) {
	for _, text := range []string{
		`{"type":"io.nats.jetstream.api.v1.stream_msg_get_response","message":{"subject":"ib.log.main.state","seq":3,"hdrs":"TkFUUy8xLjANCkliLUxvY2FsLVNlcXVlbmNlOiAzDQoNCg==","data":"e30=","time":"2026-11-25T06:00:00Z"}}`,
		`{"error":{"code":404,"err_code":10037,"description":"no message found"}}`, `{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 3"}}`,
		`{"stream":"IB_LOG","seq":4}`, `{"stream":"IB_LOG","seq":4,"duplicate":true}`, `{"stream":"X","seq":9}`, `{"message":{"seq":1,"hdrs":"AA=="}}`, `null`, `[]`, ``,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMessage(b)
		if err != nil && m != nil || m != nil && m.Sequence == 0 {
			t.Errorf("parseMessage(%q) = %+v, %v, want one of them, and a place", b, m, err)
		}
		if place, err := parseStored(b, 3); err == nil && place <= 3 {
			t.Errorf("parseStored(%q) = %d, want more than 3 or an error", b, place)
		}
	})
}
