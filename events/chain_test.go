package events

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"
)

// writer makes the events of a log, each on the head of the one before, as the
// one writer of a connection does.
type writer struct {
	t      testing.TB
	author Author
	head   Head
	now    time.Time
}

func newWriter(t testing.TB) *writer {
	w := &writer{t: t, now: wireTime}
	n := 0
	w.author = Author{Connection: "main", Source: "/ibconn/desk-4711", NewID: func() string { n++; return strconv.Itoa(n) }}
	return w
}

// write makes the next event, a second after the one before.
func (w *writer) write(d Draft) Recorded {
	w.t.Helper()
	w.now = w.now.Add(time.Second)
	r, err := w.head.Next(w.author, d, w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	w.head = w.head.Then(r)
	return r
}

func (w *writer) log(all ...Event) []Recorded {
	w.t.Helper()
	var log []Recorded
	for _, e := range all {
		log = append(log, w.write(Draft{Event: e}))
	}
	return log
}

func claimEvent() Event { return &EpochBegan{Instance: "desk-4711", PID: 4711, Version: "1.2.3"} }

func heartbeat(number uint64) Event {
	return &HeartbeatAnswered{Attempt: 12, Number: number, NextProbeAt: wireTime, AnswerBy: wireTime}
}

// shortLog is a log with two epochs and heartbeats between other events.
func shortLog(t testing.TB) []Recorded {
	return newWriter(t).log(
		claimEvent(), // 1
		&ConnectRequested{By: AskerStart, RetryAt: wireTime}, // 2
		heartbeat(1), heartbeat(2),
		&FrameRefused{Attempt: 12, MessageID: 3}, // 3
		heartbeat(3),
		claimEvent(), // 4
		&ConnectRequested{By: AskerStart, RetryAt: wireTime}, // 5
		&Unknown{Name: "ib.conn.order.filled"},               // 6
	)
}

// verify returns what is wrong with a log, by position.
func verify(log []Recorded) string {
	var head Head
	var found []string
	for i, r := range log {
		if err := head.Follows(r); err != nil {
			broken, ok := errors.AsType[*ChainError](err)
			if !ok {
				return fmt.Sprintf("%T is no *ChainError", err)
			}
			found = append(found, fmt.Sprintf("%d %s %d %d", i, broken.Finding, broken.Expected, broken.Found))
		}
		head = head.Then(r)
	}
	return strings.Join(found, "; ")
}

func TestNextCountsSequenceEpochAndHash(t *testing.T) {
	log := shortLog(t)
	want := []struct{ sequence, epoch uint64 }{{1, 1}, {2, 1}, {2, 1}, {2, 1}, {3, 1}, {3, 1}, {4, 2}, {5, 2}, {6, 2}}
	hash := ""
	for i, r := range log {
		if r.Sequence != want[i].sequence || r.Epoch != want[i].epoch || r.PrevHash != hash {
			t.Errorf("event %d has sequence %d, epoch %d, prevhash %.8s, want %d, %d, %.8s",
				i, r.Sequence, r.Epoch, r.PrevHash, want[i].sequence, want[i].epoch, hash)
		}
		if !r.Heartbeat() {
			hash = r.Hash()
		}
	}
	if got := verify(log); got != "" {
		t.Errorf("verify = %s, want nothing", got)
	}
}

func TestHeartbeatsMayExpireFromTheChain(t *testing.T) {
	var log []Recorded
	for _, r := range shortLog(t) {
		if !r.Heartbeat() {
			log = append(log, r)
		}
	}
	if got := verify(log); got != "" || len(log) != 6 {
		t.Errorf("verify without heartbeats = %s over %d events, want nothing over 6", got, len(log))
	}
}

func TestFollowsFindsWhatWasDoneToALog(t *testing.T) {
	tests := []struct {
		name string
		do   func(log []Recorded) []Recorded
		want string
	}{
		{
			"an event is gone", func(l []Recorded) []Recorded { return append(l[:4:4], l[5:]...) },
			"4 sequence_gap 2 3; 5 sequence_gap 3 4",
		},
		{
			"the first event is gone", func(l []Recorded) []Recorded { return l[1:] },
			"0 sequence_gap 1 2",
		},
		{
			"an event stands twice", func(l []Recorded) []Recorded { return append(l[:8:8], l[7:]...) },
			"8 sequence_gap 6 5",
		},
		{
			"two events are swapped", func(l []Recorded) []Recorded { l[7], l[8] = l[8], l[7]; return l },
			"7 sequence_gap 5 6; 8 sequence_gap 7 5",
		},
		{"a byte was changed", func(l []Recorded) []Recorded {
			l[7].Wire = []byte(change(t, string(l[7].Wire), `"by":"start"`, `"by":"sTart"`))
			return l
		}, "8 hash_mismatch 6 6"},
		{
			"a heartbeat was written on another event", func(l []Recorded) []Recorded { l[2].PrevHash = l[1].PrevHash; return l },
			"2 hash_mismatch 2 2",
		},
		{
			"a claim was left out", func(l []Recorded) []Recorded { return append(l[:6:6], l[7:]...) },
			"6 sequence_gap 4 5",
		},
		{"a superseded writer wrote", func(l []Recorded) []Recorded {
			late := newWriter(t)
			late.head = Head{Epoch: 1, Sequence: 5, Hash: l[7].Hash()}
			return append(l[:8:8], late.log(&FrameRefused{Attempt: 12})...)
		}, "8 wrong_epoch 2 1"},
		{"a writer did not claim", func(l []Recorded) []Recorded {
			late := newWriter(t)
			late.head = Head{Epoch: 3, Sequence: 6, Hash: l[8].Hash()}
			return append(l, late.log(heartbeat(1))...)
		}, "9 wrong_epoch 2 3"},
	}
	for _, tt := range tests {
		if got := verify(tt.do(shortLog(t))); got != tt.want {
			t.Errorf("%s: verify = %q, want %q", tt.name, got, tt.want)
		}
	}
}

// A claim of a type that only a newer version knows still begins an epoch.
func TestAnUnknownClaimBeginsAnEpoch(t *testing.T) {
	log := newWriter(t).log(claimEvent(), &Unknown{Name: "ib.conn.claimed.lease_taken"}, &FrameRefused{Attempt: 1})
	if got := verify(log); got != "" {
		t.Errorf("verify = %s, want nothing", got)
	}
	if got := log[2].Epoch; got != 2 {
		t.Errorf("epoch after two claims = %d, want 2", got)
	}
}

func TestChainErrorsSayWhatWasExpectedAndFound(t *testing.T) {
	for _, tt := range []struct {
		err  ChainError
		want string
	}{
		{ChainError{FindingGap, 4, 7}, "sequence 7 follows where 4 should"},
		{ChainError{FindingEpoch, 2, 1}, "epoch 1 follows where 2 should"},
		{ChainError{FindingHash, 4, 4}, "the event before sequence 4 is not the one that was there when it was written"},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("%+v.Error() = %q, want %q", tt.err, got, tt.want)
		}
	}
}

func TestNextRefusesWhatNoReaderCouldDecode(t *testing.T) {
	good := Author{Connection: "main", Source: "/ibconn/desk-4711", NewID: func() string { return "1" }}
	event := &FrameRefused{Attempt: 12}
	head := Head{Epoch: 7, Sequence: 41}
	tests := []struct {
		name  string
		head  Head
		who   func(*Author)
		event Event
		at    time.Time
		want  string
	}{
		{"no attempt", head, func(*Author) {}, &FrameRefused{}, wireTime, "attempt is missing"},
		{"no number", head, func(*Author) {}, &SessionFresh{Attempt: 12, Stale: Millis(math.Inf(1))}, wireTime, "unsupported value"},
		{"no time", head, func(*Author) {}, event, time.Time{}, "time"},
		{"no id", head, func(a *Author) { a.NewID = func() string { return "" } }, event, wireTime, "id is missing"},
		{"no source", head, func(a *Author) { a.Source = "" }, event, wireTime, "source is missing"},
		{"a bad name", head, func(a *Author) { a.Connection = "Main" }, event, wireTime, "subject"},
		{"no claim", Head{}, func(*Author) {}, event, wireTime, "epoch is missing"},
		{"a heartbeat first", Head{Epoch: 1}, func(*Author) {}, heartbeat(1), wireTime, "sequence"},
		{"too much text", head, func(*Author) {}, &LogDamaged{Finding: FindingStore, Detail: strings.Repeat("x", MaxSize)}, wireTime, "want at most 262144"},
	}
	for _, tt := range tests {
		author := good
		tt.who(&author)
		r, err := tt.head.Next(author, Draft{Event: tt.event}, tt.at)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), string(tt.event.Type())) {
			t.Errorf("%s: Next = %+v, %v, want an error about %s of %s", tt.name, r, err, tt.want, tt.event.Type())
		}
	}
}

func TestNextReturnsWhatAReaderWillDecode(t *testing.T) {
	local := wireTime.In(time.FixedZone("somewhere", 3600)).Add(time.Nanosecond)
	w := newWriter(t)
	w.head = Head{Epoch: 1, Sequence: 1}
	w.now = local
	draft := &SessionOpened{Attempt: 12, Accounts: []string{}, NextProbeAt: local, AnswerBy: local}
	r := w.write(Draft{Event: draft})
	got := r.Event.(*SessionOpened)
	if r.Time.Location() != time.UTC || got.Accounts != nil || got == draft {
		t.Errorf("Next = time in %v, accounts %#v, same event %v, want the decoded form", r.Time.Location(), got.Accounts, got == draft)
	}
}

func TestAHeadReachesWhatWasStored(t *testing.T) {
	mark := Head{Epoch: 1, Sequence: 7, Hash: "a"}
	for _, c := range []struct {
		head Head
		want bool
	}{
		{mark, true},
		{Head{Epoch: 2, Sequence: 8, Hash: "b"}, true},
		{Head{Epoch: 1, Sequence: 7, Hash: "b"}, false},
		{Head{Epoch: 1, Sequence: 6, Hash: "a"}, false},
	} {
		if got := c.head.Reaches(mark); got != c.want {
			t.Errorf("%+v reaches %+v: %t, want %t", c.head, mark, got, c.want)
		}
	}
	if !(Head{}).Reaches(Head{}) {
		t.Error("an empty log does not reach no mark")
	}
}
