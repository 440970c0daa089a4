package connector_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ibconn/connector"
	"ibconn/events"
	"ibconn/testenv/memlog"
)

// aliveOn runs a connection on log for a minute.
func aliveOn(t *testing.T, log connector.Log) events.State {
	t.Helper()
	g := &gateway{scripts: [][]step{well}}
	l := run(t, newRunner(log, g))
	l.untilPhase(events.PhaseReady)
	pass(time.Minute)
	l.stop()
	checkClosed(t, g)
	return l.State()
}

func TestARestartFoldsTheSameState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memlog.New()
		for range 3 {
			aliveOn(t, store.Writer())
		}
		checkLog(t, store, aliveOn(t, store.Writer()))
		if epochs := all[*events.EpochBegan](store); len(epochs) != 4 || epochs[3].PreviousEpoch != 3 || epochs[3].PreviousPhase != events.PhaseStopped {
			t.Errorf("epochs %+v, want four, each after the other", epochs)
		}
	})
}

func TestMissingEventsAreRecordedOnceAndNoSequenceIsUsedTwice(t *testing.T) {
	for _, kept := range []int{0, 1, 5, 8} {
		synctest.Test(t, func(t *testing.T) {
			store := memlog.New()
			was := aliveOn(t, store.Writer())
			store.Truncate(kept)
			var found uint64
			if kept > 0 {
				found = store.Events()[kept-1].Sequence
			}

			aliveOn(t, store.Writer())
			damage := all[*events.LogDamaged](store)
			if len(damage) != 1 || damage[0].Finding != events.FindingMissing || damage[0].Expected != was.Sequence || damage[0].Found != found {
				t.Fatalf("%d events kept: damage %+v, want %d to %d missing", kept, damage, found+1, was.Sequence)
			}
			claim := store.Events()[kept]
			if claim.Sequence != was.Sequence+1 || claim.Epoch != was.Epoch+1 {
				t.Errorf("the claim after the damage is %d in epoch %d, want %d in %d", claim.Sequence, claim.Epoch, was.Sequence+1, was.Epoch+1)
			}

			for range 2 {
				aliveOn(t, store.Writer())
			}
			if again := all[*events.LogDamaged](store); len(again) != 1 {
				t.Errorf("%d events kept: after two more restarts the damage is recorded %d times: %+v", kept, len(again), again)
			}
		})
	}
}

func TestAWriterThatDiesBeforeItRecordedTheDamageLeavesItToTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memlog.New()
		aliveOn(t, store.Writer())
		store.Truncate(4)
		l := run(t, newRunner(&cut{Writer: store.Writer(), n: 1, stored: true}, &gateway{}))
		<-l.over // it claimed, and is gone
		for range 2 {
			aliveOn(t, store.Writer())
		}
		if damage := all[*events.LogDamaged](store); len(damage) != 1 || damage[0].Finding != events.FindingGap {
			t.Errorf("damage %+v, want one gap", damage)
		}
	})
}

// bent is a log as damage left it: what Load yields is bent on the way.
type bent struct {
	*memlog.Writer
	bend func(i int, wire []byte) ([]byte, bool) // the i-th event that is not a heartbeat; false when it is gone
	mark func(events.Head) (events.Head, error)
}

func (b bent) Load(ctx context.Context) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		i := 0
		for rec, err := range b.Writer.Load(ctx) {
			if err == nil && b.bend != nil {
				wire, there := b.bend(i, slices.Clone(rec.Wire))
				i++
				if !there {
					continue
				}
				if rec, err = events.Decode(wire); err != nil {
					err = fmt.Errorf("%w: %w", events.ErrMalformed, err)
				}
			}
			if !yield(rec, err) {
				return
			}
		}
	}
}

func (b bent) Mark() (events.Head, error) {
	head, err := b.Writer.Mark()
	if b.mark != nil {
		return b.mark(head)
	}
	return head, err
}

func TestEachDamageIsRecordedOnceUnderItsName(t *testing.T) {
	change := func(at int, from, to string) func(int, []byte) ([]byte, bool) {
		return func(i int, wire []byte) ([]byte, bool) {
			if i == at {
				wire = bytes.Replace(wire, []byte(from), []byte(to), 1)
			}
			return wire, true
		}
	}
	for what, c := range map[string]struct {
		bent bent
		want []events.Finding
	}{
		"nothing":            {bent{}, nil},
		"an event is gone":   {bent{bend: func(i int, w []byte) ([]byte, bool) { return w, i != 3 }}, []events.Finding{events.FindingGap}},
		"an event is bent":   {bent{bend: change(2, "gateway.example", "gateway.sample")}, []events.Finding{events.FindingHash}},
		"an event is broken": {bent{bend: change(2, "{", "[")}, []events.Finding{events.FindingStore, events.FindingGap}},
		"an event is foreign": {
			bent{bend: change(2, `"epoch":1`, `"epoch":7`)},
			[]events.Finding{events.FindingEpoch, events.FindingHash},
		},
		"the mark is unreadable": {
			bent{mark: func(events.Head) (events.Head, error) { return events.Head{}, errors.New("checksum differs") }},
			[]events.Finding{events.FindingStore},
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			store := memlog.New()
			aliveOn(t, store.Writer())
			for range 3 {
				log := c.bent
				log.Writer = store.Writer()
				aliveOn(t, log)
			}
			var got []events.Finding
			for _, d := range all[*events.LogDamaged](store) {
				got = append(got, d.Finding)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s: findings %q, want %q", what, got, c.want)
			}
		})
	}
}

func TestTheLastEventIsHeldAgainstTheMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memlog.New()
		was := aliveOn(t, store.Writer())
		log := bent{Writer: store.Writer(), mark: func(h events.Head) (events.Head, error) {
			h.Hash = strings.Repeat("0", 64) // the last event was another one
			return h, nil
		}}
		aliveOn(t, log)
		damage := all[*events.LogDamaged](store)
		if len(damage) != 1 || damage[0].Finding != events.FindingChanged || damage[0].Expected != was.Sequence {
			t.Errorf("damage %+v, want event %d changed", damage, was.Sequence)
		}
	})
}

func TestOldDamageDoesNotHideNewDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memlog.New()
		for range 8 {
			aliveOn(t, store.Writer())
		}
		// More findings than one start records, and the same ones each time.
		gaps := func(i int, w []byte) ([]byte, bool) { return w, i > 60 || i%2 == 1 }
		for range 4 {
			aliveOn(t, bent{Writer: store.Writer(), bend: gaps})
		}
		before := len(all[*events.LogDamaged](store))
		store.Truncate(len(store.Wires()) - 3)
		aliveOn(t, bent{Writer: store.Writer(), bend: gaps})
		damage := all[*events.LogDamaged](store)
		if before < 25 || len(damage) != before+1 || damage[before].Finding != events.FindingMissing {
			t.Errorf("after %d old findings there are %d, the last %+v, want one more: events missing", before, len(damage), damage[len(damage)-1])
		}
	})
}

func TestALogThatCannotBeReadIsNotTakenForAnEmptyOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memlog.New()
		aliveOn(t, store.Writer())
		n := len(store.Wires())
		l := run(t, newRunner(unreadable{store.Writer()}, &gateway{}))
		<-l.over
		if !errors.Is(l.err, errUnreadable) || len(store.Wires()) != n {
			t.Errorf("Run() = %v after %d events, want %v and none", l.err, len(store.Wires())-n, errUnreadable)
		}
	})
}

var errUnreadable = errors.New("the stream is not there")

type unreadable struct{ *memlog.Writer }

func (u unreadable) Load(context.Context) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) { yield(events.Recorded{}, errUnreadable) }
}

func TestRunReturnsWhenTheContextEndsBeforeTheLogIsRead(t *testing.T) {
	store := memlog.New()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errTerminated)
	if err := newRunner(store.Writer(), &gateway{}).Run(ctx); !errors.Is(err, errTerminated) {
		t.Errorf("Run() = %v, want %v", err, errTerminated)
	}
}

func TestAProcessThatOnlyClaimedDoesNotCountAsHoldingTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memlog.New()
		const readyAfter, claimOnly = 6, 1 // appends: claim, request, three steps of the attempt, session
		held := runCut(t, &cut{Writer: store.Writer(), n: readyAfter, stored: true}, &gateway{scripts: [][]step{well}})
		<-held.over
		fellSilent := store.Events()[readyAfter-1]
		if _, ok := fellSilent.Event.(*events.SessionOpened); !ok {
			t.Fatalf("the log ends with %s, want an open session", fellSilent.Event.Type())
		}
		pass(time.Minute)
		<-runCut(t, &cut{Writer: store.Writer(), n: claimOnly, stored: true}, &gateway{}).over
		pass(time.Minute)
		aliveOn(t, store.Writer())
		lost := all[*events.SessionLost](store)
		if len(lost) == 0 || lost[0].Away != events.MillisOf(2*time.Minute) {
			t.Errorf("sessions lost %+v, want the first with nobody there for two minutes", lost)
		}
	})
}
