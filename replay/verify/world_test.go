package verify_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/replay/verify"
	"ibconn/testenv/scenario"
	"ibconn/testenv/scenario/endtoend"
)

// past is a log as it lies there.
type past []bus.Stored

// Stored implements replay.Source.
func (p past) Stored(_ context.Context, q bus.Query) iter.Seq2[bus.Stored, error] {
	return func(yield func(bus.Stored, error) bool) {
		for _, s := range p {
			if s.StreamSeq > q.After && !yield(s, nil) {
				return
			}
		}
	}
}

// mark is where the log of main was known to end.
func (p past) mark() map[events.ConnectionID]events.Head {
	var head events.Head
	for _, s := range p {
		if r, err := events.Decode(s.Payload); err == nil {
			head = head.Then(r)
		}
	}
	return map[events.ConnectionID]events.Head{"main": head}
}

// renumbered gives messages that were moved their places in the stream.
func (p past) renumbered() past {
	for i := range p {
		p[i].StreamSeq = uint64(i + 1)
	}
	return p
}

// noting is a world that keeps what was recorded.
type noting struct {
	scenario.World
	tb   testing.TB
	past *past
}

func (n noting) End() {
	for i, wire := range n.Wires() {
		r, err := events.Decode(wire)
		if err != nil {
			n.tb.Fatal(err)
		}
		*n.past = append(*n.past, bus.Stored{
			Subject: events.LogSubject(r.Connection, r.Event.Type().Kind()), StreamSeq: uint64(i + 1), StoredAt: r.Time, Payload: wire,
		})
	}
	n.World.End()
}

func stage(p *past) scenario.Stage {
	stage := endtoend.Stage(225, endtoend.InMemory())
	open := stage.Open
	stage.Open = func(tb testing.TB, s scenario.Setup) scenario.World { return noting{open(tb, s), tb, p} }
	return stage
}

var nights sync.Map

// night is the log of a night by dice, which is not to be changed.
func night(t testing.TB, seed uint64) past {
	t.Helper()
	if p, told := nights.Load(seed); told {
		return p.(past)
	}
	var p past
	stage(&p).Tell(t, fmt.Sprint("seed ", seed), scenario.Night(seed))
	nights.Store(seed, p)
	return p
}

// verified returns all findings of a log, and checks what is true of each.
func verified(t testing.TB, p past, o verify.Options) []verify.Finding {
	t.Helper()
	v := verify.New(o)
	var all []verify.Finding
	for _, s := range p {
		all = append(all, v.Add(s)...)
	}
	all = append(all, v.End()...)
	for _, f := range all {
		if f.Words == "" || f.Severity != f.Kind.Severity() || strings.Contains(f.Words, "%!") {
			t.Errorf("finding %+v is not as it must be", f)
		}
	}
	return all
}

// wrong leaves out notes.
func wrong(all []verify.Finding) []verify.Finding {
	return slices.DeleteFunc(all, func(f verify.Finding) bool { return f.Severity == verify.Note })
}

func words(all []verify.Finding) string {
	var b strings.Builder
	for _, f := range all {
		fmt.Fprintf(&b, "\n\t%s %s %d-%d (message %d): %s", f.Severity, f.Kind, f.Sequence, f.ToSequence, f.StreamSeq, f.Words)
	}
	return b.String()
}

// writer writes a log as ibconn does, for what no scenario has.
type writer struct {
	t     testing.TB
	name  events.ConnectionID
	host  string
	head  events.Head
	state events.State
	now   time.Time
	ids   int
	past  *past
}

var dawn = time.Date(2026, 3, 2, 7, 0, 0, 0, time.UTC)

func newWriter(t testing.TB, p *past) *writer {
	return &writer{t: t, name: "main", host: "a", state: events.NewState("main"), now: dawn, past: p}
}

// next makes the event that follows.
func (w *writer) next(e events.Event) events.Recorded {
	w.t.Helper()
	w.now = w.now.Add(time.Second)
	author := events.Author{Connection: w.name, Source: "/ibconn/" + w.host, NewID: func() string { w.ids++; return fmt.Sprint(w.host, "-", w.ids) }}
	if said, ok := e.(events.StateEvent); ok {
		*said.After() = w.state.Apply(events.Recorded{Sequence: w.head.Sequence + 1, Epoch: w.head.Epoch, Time: w.now, Event: e}).Standing
	}
	r, err := w.head.Next(author, events.Draft{Event: e}, w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *writer) write(all ...events.Event) {
	w.t.Helper()
	for _, e := range all {
		w.put(w.next(e))
	}
}

func (w *writer) put(r events.Recorded) {
	w.state, w.head = w.state.Apply(r), w.head.Then(r)
	*w.past = append(*w.past, stored(r, uint64(len(*w.past)+1)))
}

func stored(r events.Recorded, seq uint64) bus.Stored {
	return bus.Stored{Subject: events.LogSubject(r.Connection, r.Event.Type().Kind()), StreamSeq: seq, StoredAt: r.Time, Payload: r.Wire}
}

// Events of a life, in short.

func (w *writer) claim() events.Event {
	return &events.EpochBegan{Instance: w.host, PreviousEpoch: w.head.Epoch}
}

func (w *writer) notice() events.Event {
	return &events.GatewayReported{Attempt: max(1, w.state.Attempt.Number), RequestID: -1, Code: 2100, Class: events.ClassInfo, Message: "a notice of the gateway"}
}

func (w *writer) beat() events.Event {
	return &events.HeartbeatAnswered{
		Attempt: w.state.Attempt.Number, Number: w.state.Heartbeat.Number + 1, SentAt: w.now,
		NextProbeAt: w.now.Add(15 * time.Second), AnswerBy: w.now.Add(20 * time.Second),
	}
}

// open brings the connection to a session.
func (w *writer) open() {
	w.t.Helper()
	n := w.state.Attempt.Number + 1
	at := w.now.Add(10 * time.Second)
	w.write(
		&events.ConnectRequested{By: events.AskerStart, RetryAt: w.now},
		&events.DialStarted{Attempt: n, Endpoint: "gateway.example:4002", ClientID: 7, DeadlineAt: at},
		&events.GatewayReached{Attempt: n, Remote: "192.0.2.7:4002", DeadlineAt: at},
		&events.GatewayGreeted{Attempt: n, ServerVersion: 203, DeadlineAt: at},
		&events.SessionOpened{Attempt: n, ServerVersion: 203, ClientID: 7, Endpoint: "gateway.example:4002", NextProbeAt: at, AnswerBy: at},
	)
}

// life is a log of two processes and some heartbeats: 1 claim, 2 to 6 a session, 7 to 16
// notices with heartbeats among them, 17 claim, 18 to 26 notices.
func life(t testing.TB) (past, *writer) {
	t.Helper()
	var p past
	w := newWriter(t, &p)
	w.write(w.claim())
	w.open()
	for range 10 {
		w.write(w.notice(), w.beat())
	}
	w.host = "b"
	w.write(w.claim())
	for range 9 {
		w.write(w.notice())
	}
	return p, w
}

// at returns the index of the event with a sequence.
func (p past) at(t testing.TB, sequence uint64) int {
	t.Helper()
	for i, s := range p {
		if r, err := events.Decode(s.Payload); err == nil && r.Sequence == sequence && !r.Heartbeat() {
			return i
		}
	}
	t.Fatalf("there is no event %d", sequence)
	return 0
}
