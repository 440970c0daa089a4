package endtoend

import (
	"context"
	"sync/atomic"
	"testing"

	"ibconn/bus"
	"ibconn/connector"
	"ibconn/events"
	"ibconn/testenv/memlog"
)

// Log is a log that outlives the processes which write to it.
type Log interface {
	// Writer returns what the next process writes to.
	Writer() connector.Log
	// Wires returns what is stored, oldest first.
	Wires() [][]byte
}

// InMemory returns an empty log in memory.
func InMemory() Log { return memory{memlog.New()} }

type memory struct{ *memlog.Store }

func (m memory) Writer() connector.Log { return m.Store.Writer() }

type disk struct {
	testing.TB
	dir string
	log *bus.Log
}

// OnTheBus returns an empty log on an embedded bus, which ends with the test.
func OnTheBus(tb testing.TB) Log {
	d := &disk{TB: tb, dir: tb.TempDir()}
	server, err := bus.Open(bus.ServerOptions{StoreDir: d.dir})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := server.Close(); err != nil {
			tb.Error(err)
		}
	})
	nc, err := server.Connect(tb.Name())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	if d.log, err = bus.OpenLog(tb.Context(), nc, bus.LogOptions{}); err != nil {
		tb.Fatal(err)
	}
	return d
}

// Writer implements [Log].
func (d *disk) Writer() connector.Log {
	w, err := d.log.Writer("main", d.dir)
	if err != nil {
		d.Fatal(err)
	}
	return w
}

// Wires implements [Log].
func (d *disk) Wires() [][]byte {
	var wires [][]byte
	for e, err := range d.log.Read(d.Context(), bus.Query{Connection: "main"}) {
		if err != nil {
			d.Fatal(err)
		}
		wires = append(wires, e.Wire)
	}
	return wires
}

// mortal is the log as a process has it: it takes nothing of one that was
// killed.
type mortal struct {
	connector.Log
	killed *atomic.Bool
}

func (m mortal) Claim(ctx context.Context, claim events.Recorded) error {
	if m.killed.Load() {
		return errKilled
	}
	return m.Log.Claim(ctx, claim)
}

func (m mortal) Append(ctx context.Context, r events.Recorded) error {
	if m.killed.Load() {
		return errKilled
	}
	return m.Log.Append(ctx, r)
}
