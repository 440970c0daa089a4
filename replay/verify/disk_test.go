package verify_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/replay/verify"
)

// onBus opens a log in dir, for as long as use takes.
func onBus(t testing.TB, dir string, use func(nc *nats.Conn, log *bus.Log)) {
	t.Helper()
	server, err := bus.Open(bus.ServerOptions{StoreDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := server.Connect(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	log, err := bus.OpenLog(t.Context(), nc, bus.LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	use(nc, log)
	nc.Close()
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
}

// put stores a log as its writers would have.
func put(t testing.TB, log *bus.Log, dir string, p past) {
	t.Helper()
	var w *bus.Writer
	for _, s := range p {
		r, err := events.Decode(s.Payload)
		if err != nil {
			t.Fatal(err)
		}
		if r.Claim() {
			if w, err = log.Writer("main", dir); err != nil {
				t.Fatal(err)
			}
			for _, err := range w.Load(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
			}
			err = w.Claim(t.Context(), r)
		} else {
			err = w.Append(t.Context(), r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// read returns what lies in a directory, its marks, and what JetStream says of it.
func read(t testing.TB, dir string) (past, verify.Options, []string) {
	t.Helper()
	marks, err := bus.Marks(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := bus.OpenCopy(ctx, dir, bus.CopyOptions{Temp: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	var p past
	for s, err := range c.Stored(ctx, bus.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		s.Payload = slices.Clone(s.Payload)
		p = append(p, s)
	}
	lost, err := c.Damage(ctx)
	if err = errors.Join(err, c.Close()); err != nil {
		t.Fatal(err)
	}
	return p, verify.Options{Marks: marks}, lost
}

// TestAFlippedBitInADirectoryIsFound flips bits at each part of a stored message: the
// first, one in the middle, the last.
func TestAFlippedBitInADirectoryIsFound(t *testing.T) {
	dir := t.TempDir()
	p, _ := life(t)
	onBus(t, dir, func(_ *nats.Conn, log *bus.Log) { put(t, log, dir, p) })
	if p, o, lost := read(t, dir); len(lost) > 0 || len(verified(t, p, o)) > 0 {
		t.Fatalf("nothing was changed, and JetStream says %q, and found is%s", lost, words(verified(t, p, o)))
	}
	blocks, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", events.Stream, "msgs", "*.blk"))
	if err != nil || len(blocks) != 1 {
		t.Fatalf("block files = %q, %v, want one", blocks, err)
	}
	block, err := os.ReadFile(blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	// A record is its length, sequence, time and subject, headers, the payload, and a
	// checksum.
	for _, seq := range []uint64{1, 9, 17, 26} {
		payload := p[p.at(t, seq)].Payload
		at := bytes.Index(block, payload)
		subject := bytes.LastIndex(block[:at], []byte("ib.log.main."))
		for what, place := range map[string]int{
			"length": subject - 22, "sequence": subject - 14, "time": subject - 5, "subject": subject + 9, "headers": at - 30,
			"payload": at + 40, "end of the payload": at + len(payload) - 2, "checksum": at + len(payload) + 3,
		} {
			for _, indexed := range []bool{true, false} {
				bent := t.TempDir()
				if err := os.CopyFS(bent, os.DirFS(dir)); err != nil {
					t.Fatal(err)
				}
				file := filepath.Join(bent, blocks[0][len(dir):])
				flipped := slices.Clone(block)
				flipped[place] ^= 0x10
				err := os.WriteFile(file, flipped, 0o600)
				if !indexed { // as after a crash: the server reads the block itself
					err = errors.Join(err, os.Remove(filepath.Join(filepath.Dir(file), "index.db")))
				}
				if err != nil {
					t.Fatal(err)
				}
				p, o, lost := read(t, bent)
				all := wrong(verified(t, p, o))
				how := fmt.Sprintf("event %d, %s, indexed %t", seq, what, indexed)
				if len(all) == 0 && len(lost) == 0 {
					t.Errorf("%s: nothing is found", how)
				}
				t.Logf("%s: JetStream says %q; found%s", how, lost, words(all))
			}
		}
	}
}

// TestASecondWritersEventOnTheBusIsFound lets somebody who does not hold the connection
// write to the log, past ibconn's own writer.
func TestASecondWritersEventOnTheBusIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		on   uint64 // the event that it is written on
		kind verify.Kind
		stay bool // nothing is written after it
	}{
		"long ago":             {9, verify.SecondWriter, false},
		"the last but one":     {25, verify.SecondWriter, false},
		"as the next":          {26, verify.SecondWriter, false},
		"on an ended epoch":    {16, verify.SecondWriter, false},
		"at the very end":      {24, verify.SecondWriter, true},
		"on the beginning":     {1, verify.SecondWriter, false},
		"before the new claim": {15, verify.SecondWriter, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			p, w := life(t)
			onBus(t, dir, func(nc *nats.Conn, log *bus.Log) {
				put(t, log, dir, p)
				on, err := events.Decode(p[p.at(t, c.on)].Payload)
				if err != nil {
					t.Fatal(err)
				}
				foreign, err := events.Head{}.Then(on).Next(events.Author{Connection: "main", Source: "/ibconn/another", NewID: func() string { return "foreign" }},
					events.Draft{Event: w.notice()}, w.now)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := nc.Request("ib.log.main.error", foreign.Wire, 5*time.Second); err != nil {
					t.Fatal(err)
				}
				if !c.stay { // the writer does not know, and goes on
					for range 3 {
						r := w.next(w.notice())
						w.head = w.head.Then(r)
						if _, err := nc.Request("ib.log.main.error", r.Wire, 5*time.Second); err != nil {
							t.Fatal(err)
						}
					}
				}
			})
			p, o, lost := read(t, dir)
			all := wrong(verified(t, p, o))
			if len(lost) != 0 || len(all) != 1 || all[0].Kind != c.kind || all[0].EventID != "foreign" {
				t.Errorf("JetStream says %q, found%s\nwant one finding, the event foreign", lost, words(all))
			}
		})
	}
}
