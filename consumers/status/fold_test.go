package status_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ibconn/consumers/status"
	"ibconn/events"
)

func TestEachConnectionOfTheFoldIsWhatItsOwnEventsAmountTo(t *testing.T) {
	h := random(t, 2, 2000)
	var f status.Fold
	if _, known := f.Document("main"); known || len(f.Connections()) != 0 {
		t.Errorf("an empty fold knows %v", f.Connections())
	}
	for _, e := range h.all {
		if e.Event != nil {
			f.Add(e)
			f.Add(e) // what comes twice counts once
		}
	}
	if got := f.Connections(); !slices.Equal(got, names(h)) || len(got) != 3 {
		t.Errorf("Connections() = %v, want %v", got, names(h))
	}
	for _, c := range f.Connections() {
		d, _ := f.Document(c)
		s, last := fold(h.all, c)
		if !reflect.DeepEqual(d.State, s) {
			t.Errorf("the state of %s is %+v, want %+v", c, d.State, s)
		}
		if d.Connection != c || d.StreamSeq != last.StreamSeq || !d.AsOf.Equal(last.Time) || d.Sequence != s.Sequence || d.Epoch != s.Epoch || !reflect.DeepEqual(d.Standing, s.Standing) {
			t.Errorf("the document of %s is %+v, want it after %+v", c, d, last)
		}
	}
}

func TestSinceIsOfTheCondition(t *testing.T) {
	h := newHistory(t)
	h.add("main", &events.EpochBegan{Instance: "test"})
	if d := documentOf(t, h, "main"); d.Condition != events.ConditionStopped || !d.Since.Equal(h.clock) {
		t.Errorf("it is %s since %v, want stopped since its first event at %v", d.Condition, d.Since, h.clock)
	}
	h.ready("main", 1)
	healthy := h.clock
	h.beat("main", 1)
	h.add("main", &events.GatewayReported{Attempt: 1, RequestID: -1, Code: 2104, Class: events.ClassInfo})
	if d := documentOf(t, h, "main"); d.Condition != events.ConditionHealthy || !d.Since.Equal(healthy) || !d.AsOf.Equal(h.clock) {
		t.Errorf("it is %s since %v as of %v, want healthy since %v as of %v", d.Condition, d.Since, d.AsOf, healthy, h.clock)
	}
	h.add("main", &events.SessionLost{Attempt: 1, Cause: events.CauseReset, Failures: 1, RetryAt: h.clock})
	lost := h.clock
	h.add("main", &events.DialStarted{Attempt: 2, Endpoint: "h:1", DeadlineAt: h.clock})
	if d := documentOf(t, h, "main"); d.Condition != events.ConditionDown || !d.Since.Equal(lost) || !d.State.PhaseSince.Equal(h.clock) {
		t.Errorf("it is %s since %v, in its phase since %v, want down since %v", d.Condition, d.Since, d.State.PhaseSince, lost)
	}
}

// TestAnyTimeOfThePastIsTheFoldUpToIt compares with a fold by hand.
func TestAnyTimeOfThePastIsTheFoldUpToIt(t *testing.T) {
	dice := rand.New(rand.NewPCG(3, 7))
	some := 0
	for seed := range uint64(20) {
		h := random(t, seed, 120)
		first, last := h.all[0].Time, h.all[0].Time
		for _, e := range h.all {
			if e.Event != nil && e.Time.Before(first) {
				first = e.Time
			}
			if e.Time.After(last) {
				last = e.Time
			}
		}
		for range 50 {
			span := int64(last.Sub(first)/time.Second) + 60
			at := first.Add(time.Duration(dice.Int64N(span)-30) * time.Second)
			got, err := status.At(t.Context(), h, at)
			if err != nil {
				t.Fatal(err)
			}
			want := 0
			for _, c := range names(h) {
				end := -1
				for i, e := range h.all {
					if e.Event != nil && e.Connection == c && !e.Time.After(at) {
						end = i
					}
				}
				d, known := got[c]
				if known != (end >= 0) {
					t.Fatalf("seed %d at %v: %s is known: %v", seed, at, c, known)
				}
				if !known {
					continue
				}
				want++
				s, e := fold(h.all[:end+1], c)
				if !reflect.DeepEqual(d.State, s) || d.StreamSeq != e.StreamSeq || !d.AsOf.Equal(e.Time) || d.AsOf.After(at) {
					t.Fatalf("seed %d at %v: %s is %+v, want it after %+v", seed, at, c, d, e)
				}
				some++
			}
			if len(got) != want {
				t.Fatalf("seed %d at %v: there are %d connections, want %d", seed, at, len(got), want)
			}
		}
	}
	if some < 1000 {
		t.Errorf("%d documents were compared, want a thousand at least", some)
	}
}

func TestOfATimeThatCameTwiceTheLaterOneIsMeant(t *testing.T) {
	h := newHistory(t)
	h.ready("main", 1)
	h.clock = began.Add(time.Hour)
	h.beat("main", 1) // at 1:00:01
	h.clock = began.Add(30 * time.Minute)
	h.add("main", &events.ClockJumped{By: -1_800_000, AnswerBy: began.Add(31 * time.Minute)}) // at 0:30:01
	h.clock = began.Add(50 * time.Minute)
	h.add("main", &events.SessionLost{Attempt: 1, Cause: events.CauseReset, Failures: 1, RetryAt: h.clock}) // at 0:50:01
	for _, tt := range []struct {
		at    time.Duration
		phase events.Phase
		asOf  time.Duration
	}{
		{2 * time.Hour, events.PhaseWaiting, 50*time.Minute + time.Second},
		{55 * time.Minute, events.PhaseWaiting, 50*time.Minute + time.Second},
		{50*time.Minute + time.Second, events.PhaseWaiting, 50*time.Minute + time.Second},
		{50 * time.Minute, events.PhaseReady, 30*time.Minute + time.Second}, // and the heartbeat of 1:00:01 was before that
		{30 * time.Minute, events.PhaseReady, 7 * time.Second},
		{time.Second, events.PhaseIdle, time.Second},
	} {
		all, err := status.At(t.Context(), h, began.Add(tt.at))
		d := all["main"]
		if err != nil || d.Phase != tt.phase || !d.AsOf.Equal(began.Add(tt.asOf)) {
			t.Errorf("at %v it is %s as of %v, %v, want %s as of %v", tt.at, d.Phase, d.AsOf.Sub(began), err, tt.phase, tt.asOf)
		}
		if tt.at == 50*time.Minute && d.State.Heartbeat.Number != 1 {
			t.Errorf("at %v the heartbeat is %d, want 1", tt.at, d.State.Heartbeat.Number)
		}
	}
	if all, err := status.At(t.Context(), h, began); len(all) != 0 || err != nil {
		t.Errorf("before the first event there are %v, %v, want none", all, err)
	}
}

func TestAPastDocumentSaysWhetherItsConnectorWasSilentThen(t *testing.T) {
	h := newHistory(t)
	h.ready("main", 1) // the last beat is to be answered by 0:00:26
	for at, stale := range map[time.Duration]bool{10 * time.Second: false, 30 * time.Second: false, time.Minute: true} {
		all, err := status.At(t.Context(), h, began.Add(at))
		if d := all["main"]; err != nil || d.Stale(began.Add(at)) != stale {
			t.Errorf("at %v it is stale after %v, %v, want stale %v", at, d.StaleAfter.Sub(began), err, stale)
		}
	}
}

func TestAPastThatCannotBeReadIsAnError(t *testing.T) {
	h := newHistory(t)
	h.ready("main", 1)
	broken := errors.New("broken")
	h.breakOff(broken)
	if all, err := status.At(t.Context(), h, h.clock); all != nil || !errors.Is(err, broken) || !strings.Contains(err.Error(), "status at 2026-01-02T03:04:12Z") {
		t.Errorf("At() of a broken log = %v, %v, want what is broken, and of when it was asked", all, err)
	}
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	h = newHistory(t)
	h.ready("main", 1)
	if all, err := status.At(ctx, h, h.clock); all != nil || !errors.Is(err, gone) {
		t.Errorf("At() for somebody who is gone = %v, %v, want the cause", all, err)
	}
}
