package bus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ibconn/events"
	"ibconn/testenv/logtest"
)

func TestTheLogKeepsTheContract(t *testing.T) {
	logtest.Run(t, func(t *testing.T) logtest.Store {
		w := newWorld(t, ServerOptions{})
		return func() logtest.Writer {
			writer, err := w.log.Writer(logtest.Connection, w.dir)
			if err != nil {
				t.Fatal(err)
			}
			return writer
		}
	})
}

func TestNothingIsAppendedWithoutAClaim(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	a := newAuthor(t, w.log, w.dir, "a")
	claim := a.next(&events.EpochBegan{Instance: "a"})
	a.head = a.head.Then(claim)
	notice := a.next(reported(1))
	if err := a.w.Append(t.Context(), notice); !errors.Is(err, ErrUnclaimed) {
		t.Errorf("Append before Claim = %v, want %v", err, ErrUnclaimed)
	}
	if err := a.w.Claim(t.Context(), notice); err == nil {
		t.Error("Claim takes an event that is not a claim")
	}
	if err := a.w.Claim(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	if err := a.w.Append(t.Context(), claim); err == nil {
		t.Error("Append takes a claim, which would supersede its own writer")
	}
	foreign := notice
	foreign.Connection = "paper"
	if err := a.w.Append(t.Context(), foreign); err == nil {
		t.Error("Append takes an event of another connection")
	}
	wantIDs(t, "the log", entryIDs(readAll(t, w.log, Query{})), []string{claim.ID})
}

func TestAWriterNeedsAConnectionsName(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	for _, c := range []events.ConnectionID{"", "*", "../x", "a.b"} {
		if _, err := w.log.Writer(c, w.dir); err == nil {
			t.Errorf("Writer(%q) succeeds, want an error", c)
		}
	}
}

func TestEventsOfOtherConnectionsDoNotDisturb(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	a, b := newAuthor(t, w.log, w.dir, "a"), newAuthor(t, w.log, w.dir, "b")
	paper, err := w.log.Writer("paper", w.dir)
	if err != nil {
		t.Fatal(err)
	}
	b.w, b.Connection = paper, "paper"
	a.claim()
	b.claim()
	a.append(reported(1))
	b.append(reported(2))
	a.append(reported(3))
	if got := len(a.load()); got != 3 {
		t.Errorf("main has %d events, want 3", got)
	}
	if got := len(b.load()); got != 2 {
		t.Errorf("paper has %d events, want 2", got)
	}
}

func TestAMessageOnTheWireIsAnEventToAnyone(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	beat := a.append(heartbeat(1))
	r := a.next(reported(1))
	r.Traceparent, r.Wire = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", nil
	if err := a.w.Append(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		subject string
		want    map[string]string
	}{
		{"ib.log.main.heartbeat", map[string]string{"Nats-Msg-Id": beat.ID, "Nats-TTL": "168h0m0s"}},
		{"ib.log.main.error", map[string]string{
			"Nats-Msg-Id": r.ID, "Nats-TTL": "", "traceparent": r.Traceparent, "content-type": "application/cloudevents+json",
		}},
	} {
		m, err := w.log.newest(t.Context(), c.subject)
		if err != nil || m == nil {
			t.Fatalf("newest of %s = %v, %v", c.subject, m, err)
		}
		for header, want := range c.want {
			if got := m.Header.Get(header); got != want {
				t.Errorf("%s: header %s = %q, want %q", c.subject, header, got, want)
			}
		}
	}
}

// fault is a JetStream whose publishes go wrong: before is asked first, and
// after when the message was stored; an error of either is what the writer gets.
type fault struct {
	jetstream.JetStream
	before, after func(n int, m *nats.Msg) error
	publishes     int
}

func (f *fault) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	f.publishes++
	if f.before != nil {
		if err := f.before(f.publishes, m); err != nil {
			return nil, err
		}
	}
	ack, err := f.JetStream.PublishMsg(ctx, m, opts...)
	if err == nil && f.after != nil {
		err = f.after(f.publishes, m)
	}
	return ack, err
}

// breakWith puts a fault between a writer and JetStream.
func (a *author) breakWith(f *fault) *fault {
	broken := *a.w.log
	f.JetStream = broken.js
	broken.js = f
	a.w.log = &broken
	return f
}

func onFirst(err error) func(int, *nats.Msg) error {
	return func(n int, _ *nats.Msg) error {
		if n == 1 {
			return err
		}
		return nil
	}
}

// However long ago the first try was: the event is looked for in the log, not
// left to a deduplication window.
func TestALostAcknowledgementDoesNotStoreTwice(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	a := newAuthor(t, w.log, w.dir, "a")
	f := a.breakWith(&fault{after: onFirst(context.DeadlineExceeded)})
	a.claim()
	if f.publishes != 1 {
		t.Errorf("the claim was published %d times, want once", f.publishes)
	}
	want := []string{a.load()[0].ID}
	for _, e := range []events.Event{reported(1), heartbeat(1)} {
		f.publishes = 0
		want = append(want, a.append(e).ID)
		if f.publishes != 1 {
			t.Errorf("%s was published %d times, want once", e.Type(), f.publishes)
		}
	}
	want = append(want, a.append(reported(2)).ID)
	wantIDs(t, "the log", entryIDs(readAll(t, w.log, Query{})), want)
	if mark, err := a.w.Mark(); mark != a.head || err != nil {
		t.Errorf("Mark() = %v, %v, want %v", mark, err, a.head)
	}
}

func TestAnEventStoredBeforeTheOtherClaimIsStored(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	a, b := newAuthor(t, w.log, w.dir, "a"), newAuthor(t, w.log, w.dir, "b")
	a.claim()
	a.breakWith(&fault{after: func(n int, _ *nats.Msg) error {
		b.claim()
		return nats.ErrTimeout
	}})
	r := a.append(reported(1))
	if err := a.w.Append(t.Context(), a.next(reported(2))); !errors.Is(err, events.ErrSuperseded) {
		t.Errorf("the next Append = %v, want %v", err, events.ErrSuperseded)
	}
	all := ids(b.load())
	if len(all) != 3 || all[1] != r.ID {
		t.Errorf("the log = %q, want the event of the first writer between the claims", all)
	}
}

func TestAContestedWriteIsRepeatedWhileTheClaimStands(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	for _, code := range []jetstream.ErrorCode{jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant} {
		f := a.breakWith(&fault{before: onFirst(&jetstream.APIError{Code: 400, ErrorCode: code})})
		a.append(reported(1))
		if f.publishes != 2 {
			t.Errorf("after error %d: %d publishes, want 2", code, f.publishes)
		}
	}
}

func TestAWriterWhoseClaimIsGoneSaysThatTheLogWasRolledBack(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	a.append(reported(1))
	a.w.claim += 10
	if err := a.w.Append(t.Context(), a.next(reported(2))); !errors.Is(err, ErrRolledBack) {
		t.Errorf("Append = %v, want %v", err, ErrRolledBack)
	}
	a.w.claim -= 10
	a.w.last += 10
	if err := a.w.Append(t.Context(), a.next(reported(2))); !errors.Is(err, ErrRolledBack) {
		t.Errorf("Append = %v, want %v", err, ErrRolledBack)
	}
}

func TestAppendEndsWithItsContext(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	a.breakWith(&fault{before: func(n int, _ *nats.Msg) error {
		if n == 3 {
			cancel(cause)
		}
		return nats.ErrTimeout
	}})
	err := a.w.Append(ctx, a.next(reported(1)))
	if !errors.Is(err, cause) || !errors.Is(err, nats.ErrTimeout) {
		t.Errorf("Append = %v, want both %v and what went wrong", err, cause)
	}
}

func TestAnEventThatMayHaveBeenStoredIsLookedForFirst(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f := a.breakWith(&fault{after: func(n int, _ *nats.Msg) error {
		if n > 1 {
			return nil
		}
		cancel()
		return nats.ErrTimeout
	}})
	r := a.next(reported(1))
	if err := a.w.Append(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("Append = %v, want %v", err, context.Canceled)
	}
	if err := a.w.Append(t.Context(), r); err != nil || f.publishes != 1 {
		t.Errorf("Append of the same again = %v after %d publishes, want success after the one before", err, f.publishes)
	}
	a.head = a.head.Then(r)
	a.append(reported(2))
	if got := len(a.load()); got != 3 {
		t.Errorf("the log has %d events, want 3", got)
	}
}

func TestAppendEndsWhenTheConnectionIsClosed(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	w.nc.Close()
	if err := a.w.Append(t.Context(), a.next(reported(1))); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("Append = %v, want %v", err, nats.ErrConnectionClosed)
	}
}

func TestAnEventThatIsTooLargeIsRefusedAtOnce(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	// It is an event, but leaves no room for a header.
	r := a.next(page(events.MaxSize - 600))
	r.ID += strings.Repeat("x", 2000)
	if err := a.w.Append(t.Context(), r); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Append = %v, want %v", err, ErrTooLarge)
	}
	for _, err := range []error{
		&jetstream.APIError{Code: 400, ErrorCode: codeHeaderTooLarge},
		fmt.Errorf("nats: %w", nats.ErrMaxPayload),
	} {
		a.breakWith(&fault{before: onFirst(err)})
		if err := a.w.Append(t.Context(), r); !errors.Is(err, ErrTooLarge) {
			t.Errorf("Append = %v, want %v", err, ErrTooLarge)
		}
	}
	a.append(reported(1))
}

func TestAFullLogRefusesEventsAndKeepsTheOldOnes(t *testing.T) {
	dir := t.TempDir()
	s := openServer(t, ServerOptions{StoreDir: dir})
	nc := connect(t, s)
	l := openTestLog(t, nc, LogOptions{MaxBytes: 100_000})
	a := newAuthor(t, l, dir, "a")
	a.claim()
	first := a.load()[0].ID
	var err error
	for range 20 {
		r := a.next(page(10_000))
		if err = a.w.Append(t.Context(), r); err != nil {
			break
		}
		a.head = a.head.Then(r)
	}
	if !errors.Is(err, ErrFull) {
		t.Fatalf("Append to a full log = %v, want %v", err, ErrFull)
	}
	if got := a.load()[0].ID; got != first {
		t.Errorf("the log begins with %s, want %s", got, first)
	}
	openTestLog(t, nc, LogOptions{MaxBytes: 200_000})
	a.append(page(10_000))
}

func TestAFullDiskShareIsAFullLog(t *testing.T) {
	dir := t.TempDir()
	s := openServer(t, ServerOptions{StoreDir: dir, MaxStore: 100_000})
	l := openTestLog(t, connect(t, s), LogOptions{})
	a := newAuthor(t, l, dir, "a")
	a.claim()
	var err error
	for n := 0; n < 50 && err == nil; n++ {
		r := a.next(page(10_000))
		if err = a.w.Append(t.Context(), r); err == nil {
			a.head = a.head.Then(r)
		}
	}
	if !errors.Is(err, ErrFull) {
		t.Errorf("Append beyond the server's share = %v, want %v", err, ErrFull)
	}
}

func TestAMarkThatCannotBeWrittenIsAnError(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	if err := os.WriteFile(a.w.mark.path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := a.next(reported(1))
	if err := a.w.Append(t.Context(), r); err == nil || !strings.Contains(err.Error(), "is stored, but") {
		t.Errorf("Append = %v, want an error that says the event is stored", err)
	}
	if err := os.Remove(a.w.mark.path); err != nil {
		t.Fatal(err)
	}
	// Once the file is out of the way, the same event again sets the mark.
	if err := a.w.Append(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	a.head = a.head.Then(r)
	if mark, err := a.w.Mark(); mark != a.head || err != nil {
		t.Errorf("Mark() = %v, %v, want %v", mark, err, a.head)
	}
	if got := a.load(); len(got) != 2 {
		t.Errorf("the log has %d events, want 2", len(got))
	}
}

// JetStream's last sequence of a subject falls back when a heartbeat expires;
// neither the writer nor its successor may take that for another writer.
func TestExpiredHeartbeatsSupersedeNobody(t *testing.T) {
	dir := t.TempDir()
	s := openServer(t, ServerOptions{StoreDir: dir})
	l := openTestLog(t, connect(t, s), LogOptions{HeartbeatTTL: time.Second})
	a, b := newAuthor(t, l, dir, "a"), newAuthor(t, l, dir, "b")
	a.claim()
	kept := ids(a.load())
	kept = append(kept, a.append(reported(1)).ID)
	for n := range uint64(3) {
		a.append(heartbeat(n))
	}
	b.load()
	within(t, "the heartbeats expire", func() bool {
		return slices.Equal(entryIDs(readAll(t, l, Query{})), kept)
	})
	kept = append(kept, a.append(reported(2)).ID)
	b.claim()
	wantIDs(t, "the log", ids(b.load())[:3], kept)
}

func TestLastAtOfAMessageThatIsNoEventIsWhenItWasStored(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	a := newAuthor(t, w.log, w.dir, "a")
	ack, err := w.log.js.Publish(t.Context(), "ib.log.main.state", []byte("junk"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := w.log.stream.GetMsg(t.Context(), ack.Sequence)
	if err != nil {
		t.Fatal(err)
	}
	if at, err := a.w.LastAt(t.Context()); !at.Equal(m.Time) || err != nil {
		t.Errorf("LastAt() = %v, %v, want %v", at, err, m.Time)
	}
	// Such a message is told, and does not keep the connection from being
	// claimed.
	var told int
	for _, err := range a.w.Load(t.Context()) {
		if !errors.Is(err, events.ErrMalformed) {
			t.Errorf("Load yields %v, want %v", err, events.ErrMalformed)
		}
		told++
	}
	if told != 1 {
		t.Errorf("Load yields %d errors, want 1", told)
	}
	if err := a.w.Claim(t.Context(), a.next(&events.EpochBegan{Instance: "a"})); err != nil {
		t.Errorf("Claim = %v", err)
	}
}
