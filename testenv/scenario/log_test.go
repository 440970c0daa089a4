package scenario_test

import (
	"context"
	"sync/atomic"
	"testing"

	"ibconn/bus"
	"ibconn/connector"
	"ibconn/events"
	"ibconn/testenv/memlog"
)

// store is a log that outlives the processes which write to it.
type store interface {
	writer() connector.Log
	wires() [][]byte
}

// memory is a log in memory.
type memory struct{ *memlog.Store }

func (m memory) writer() connector.Log { return m.Writer() }
func (m memory) wires() [][]byte       { return m.Wires() }

// disk is a log on an embedded bus.
type disk struct {
	testing.TB
	dir string
	log *bus.Log
}

func newDisk(tb testing.TB) *disk {
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

func (d *disk) writer() connector.Log {
	w, err := d.log.Writer("main", d.dir)
	if err != nil {
		d.Fatal(err)
	}
	return w
}

func (d *disk) wires() [][]byte {
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
