package export_test

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/replay"
	"ibconn/replay/export"
)

var (
	manyEvents  = flag.Int("export.events", 300_000, "how many events are folded in constant memory")
	benchEvents = flag.Int("export.bench", 200_000, "how many events the export of the benchmark has")
)

// long writes a log of n events of a connection, nearly all of them heartbeats, with a
// session lost now and then.
func long(w *export.Writer, n int) error {
	at := began
	var head events.Head
	for i := range n {
		at = at.Add(15 * time.Second)
		author := events.Author{Connection: "main", Source: "/ibconn/desk-4711", NewID: func() string { return fmt.Sprintf("6QyTkS2KZp1mWv0s%06d", i) }}
		r, err := head.Next(author, events.Draft{Event: moment(i, at), Correlation: "attempt-12"}, at)
		if err != nil {
			return err
		}
		head = head.Then(r)
		if err := w.Write(bus.Stored{Subject: events.LogSubject("main", r.Event.Type().Kind()), StreamSeq: uint64(i + 1), StoredAt: at, Payload: r.Wire}); err != nil {
			return err
		}
	}
	return nil
}

func moment(i int, at time.Time) events.Event {
	attempt, next, by := uint64(1+i/500), at.Add(15*time.Second), at.Add(20*time.Second)
	switch i % 500 {
	case 0:
		return &events.EpochBegan{Instance: "desk-4711", PID: 1}
	case 1:
		return &events.DialStarted{Attempt: attempt, Endpoint: "127.0.0.1:4002", DeadlineAt: by}
	case 2:
		return &events.SessionOpened{Attempt: attempt, Took: 100, NextProbeAt: next, AnswerBy: by}
	case 499:
		return &events.SessionLost{Attempt: attempt, Cause: events.CauseReset, Uptime: 60_000, Failures: 1, RetryAt: next}
	}
	return &events.HeartbeatAnswered{Attempt: attempt, Number: uint64(i % 500), SentAt: at, RTT: 1.5, NextProbeAt: next, AnswerBy: by}
}

// An export is folded while it is written, so that neither the file nor anything of it
// need be kept: with -export.events=10000000, ten million events.
func TestALongExportIsFoldedInConstantMemory(t *testing.T) {
	const most = 48 << 20
	n := *manyEvents
	// What other tests left is not this one's, nor is what nobody refers to any more.
	inUse := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := inUse()
	in, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		w, err := export.NewWriter(out, header, true)
		if err == nil {
			if err = long(w, n); err == nil {
				_, err = w.End()
			}
		}
		out.CloseWithError(err)
		done <- err
	}()
	x, err := export.NewFile(in, "long")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	var peak uint64
	for step, err := range replay.Steps(t.Context(), x, bus.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if step.Err != nil {
			t.Fatal(step.Err)
		}
		if count++; count%(n/30) == 0 {
			peak = max(peak, inUse())
		}
	}
	in.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if count != n {
		t.Errorf("%d steps, want %d", count, n)
	}
	peak -= min(peak, before)
	t.Logf("%d events, %.1f MiB of heap at most, writer and reader together", count, float64(peak)/(1<<20))
	if peak > most {
		t.Errorf("%d MiB of heap in use, want %d at most", peak>>20, most>>20)
	}
}

// BenchmarkStepsOfAnExport shows how quickly an export is folded, beside reading the
// same file line by line and looking whether each is JSON: "x-scan" is how many times
// longer that takes.
func BenchmarkStepsOfAnExport(b *testing.B) {
	for _, name := range []string{"night.jsonl", "night.jsonl.zst"} {
		path := filepath.Join(b.TempDir(), name)
		out, err := export.Create(path, header, false)
		if err != nil {
			b.Fatal(err)
		}
		if err := long(out.Writer, *benchEvents); err != nil {
			b.Fatal(err)
		}
		if _, err := out.Commit(); err != nil {
			b.Fatal(err)
		}
		var scan time.Duration
		took := func(kind string, read func(b *testing.B) int) {
			b.Run(name+"/"+kind, func(b *testing.B) {
				began := time.Now()
				for b.Loop() {
					if n := read(b); n != *benchEvents {
						b.Fatalf("%d events, want %d", n, *benchEvents)
					}
				}
				each := time.Since(began) / time.Duration(b.N)
				if kind == "scan" {
					scan = each
				}
				b.ReportMetric(float64(*benchEvents)/each.Seconds(), "events/s")
				b.ReportMetric(each.Seconds()/scan.Seconds(), "x-scan")
			})
		}
		took("scan", func(b *testing.B) int { return scanned(b, path) })
		opened := func(read func(*testing.B, *export.File) int) func(*testing.B) int {
			return func(b *testing.B) int {
				x, err := export.Open(path)
				if err != nil {
					b.Fatal(err)
				}
				defer x.Close()
				return read(b, x)
			}
		}
		took("stored", opened(stored))
		took("steps", opened(stepped))
	}
}

func scanned(b *testing.B, path string) (n int) {
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	var in io.Reader = f
	if export.Compressed(path) {
		z, err := zstd.NewReader(f)
		if err != nil {
			b.Fatal(err)
		}
		defer z.Close()
		in = z
	}
	s := bufio.NewScanner(in)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if !json.Valid(s.Bytes()) {
			b.Fatal("no JSON")
		}
		n++
	}
	if s.Err() != nil {
		b.Fatal(s.Err())
	}
	return n - 2 // header and trailer
}

func stored(b *testing.B, x *export.File) (n int) {
	for _, err := range x.Stored(b.Context(), bus.Query{}) {
		if err != nil {
			b.Fatal(err)
		}
		n++
	}
	return n
}

func stepped(b *testing.B, x *export.File) (n int) {
	for _, err := range replay.Steps(b.Context(), x, bus.Query{}) {
		if err != nil {
			b.Fatal(err)
		}
		n++
	}
	return n
}
