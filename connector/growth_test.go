package connector_test

import (
	"context"
	"iter"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ibconn/connector"
	"ibconn/events"
)

// forgetful is a log that keeps nothing but a count, for what a runner itself
// keeps.
type forgetful struct{ events, bytes atomic.Int64 }

func (*forgetful) Load(context.Context) iter.Seq2[events.Recorded, error] {
	return func(func(events.Recorded, error) bool) {}
}
func (*forgetful) LastAt(context.Context) (time.Time, error)          { return time.Time{}, nil }
func (*forgetful) Mark() (events.Head, error)                         { return events.Head{}, nil }
func (f *forgetful) Claim(_ context.Context, r events.Recorded) error { return f.add(r) }

func (f *forgetful) Append(_ context.Context, r events.Recorded) error { return f.add(r) }

func (f *forgetful) add(r events.Recorded) error {
	f.events.Add(1)
	f.bytes.Add(int64(len(r.Wire)))
	return nil
}

// refuser is a gateway's host where nothing listens; it keeps nothing.
type refuser struct{ attempt uint64 }

func (refuser) Attempt(o connector.Order) connector.Session { return refuser{o.Attempt} }

func (r refuser) Run(_ context.Context, report func(connector.Input)) {
	report(connector.Ended{Attempt: r.attempt, Cause: events.CauseRefused})
}
func (refuser) Probe(uint64)                   {}
func (refuser) Send(connector.Message)         {}
func (refuser) Slow(int, time.Duration)        {}
func (refuser) Record() connector.FlightRecord { return connector.FlightRecord{} }
func (refuser) HeardOf(int64) time.Time        { return time.Time{} }
func (refuser) Traffic() events.Traffic        { return events.Traffic{} }
func (refuser) Load() events.Load              { return events.Load{} }

// heap is what is in use once garbage is gone.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestADayOfRefusalsTakesNoMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(forgetful)
		r := newRunner(log, nil)
		r.Dialer = refuser{}
		l := run(t, r)
		pass(time.Hour)
		early, first := heap(), log.events.Load()
		pass(23 * time.Hour)
		late := heap()
		t.Logf("%d events (%d bytes) in a day; the heap is %d bytes after an hour and %d after a day", log.events.Load(), log.bytes.Load(), early, late)
		if log.events.Load() < 20*first {
			t.Errorf("%d events in the first hour and %d in all, want it to go on", first, log.events.Load())
		}
		// A leak of a hundred bytes an attempt would be three times as much.
		if late > early+48<<10 {
			t.Errorf("the heap grew from %d to %d bytes", early, late)
		}
		l.stop()
	})
}
