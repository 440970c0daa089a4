package export_test

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"ibconn/bus"
	"ibconn/replay/export"
)

// FuzzRead reads whatever bytes: it ends, with messages that can be written and read
// again, or with an error that says where.
func FuzzRead(f *testing.F) {
	whole := written(f, header, false, night(f)...)
	small := written(f, header, false, night(f)[:2]...)
	f.Add(whole)
	f.Add(small)
	f.Add(small[:len(small)/2])
	f.Add(written(f, header, true, night(f)[:2]...))
	f.Add(bytes.Replace(small, []byte("logtime"), []byte("logsubject"), 1))
	f.Add([]byte(`{"ibconn_export":1,"connections":["main"]}` + "\n" + `{"end":true,"count":0}` + "\n"))
	f.Add([]byte("{\n"))
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0x58, 1, 0, 0})
	// Without the check of the checksum hardly anything that is changed gets far.
	f.Add([]byte(strings.Replace(string(small), "41", "42", 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := read(t, b, bus.Query{})
		if err != nil {
			if !isAt(err) || len(err.Error()) > 1000 {
				t.Fatalf("an error without its line: %v", err)
			}
			return
		}
		again, err := read(t, written(t, header, false, got...), bus.Query{})
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, again, got)
	})
}

// FuzzLines reads whatever lines, compressed as a whole: so that the fuzzer need not
// find out how zstd works.
func FuzzLines(f *testing.F) {
	for _, line := range lines(written(f, header, false, night(f)...)) {
		f.Add([]byte(line), []byte(line))
	}
	first := lines(written(f, header, false))[0]
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { encoder.Close() })
	f.Fuzz(func(t *testing.T, a, b []byte) {
		plain := append(append([]byte(first), a...), b...)
		got, err := read(t, plain, bus.Query{})
		packed, err2 := read(t, encoder.EncodeAll(plain, nil), bus.Query{})
		if (err == nil) != (err2 == nil) || err != nil && err.Error() != err2.Error() {
			t.Fatalf("plain = %v, compressed = %v", err, err2)
		}
		wantSame(t, packed, got)
	})
}

// FuzzRoundTrip writes whatever can be stored, and reads it again.
func FuzzRoundTrip(f *testing.F) {
	for _, s := range night(f) {
		f.Add(s.Subject, s.Payload)
	}
	f.Fuzz(func(t *testing.T, subject string, payload []byte) {
		s := bus.Stored{Subject: subject, StreamSeq: 7, StoredAt: began, Payload: payload}
		if subject == "" || len(payload) > 200<<10 || len(subject) > 1000 {
			return
		}
		got, err := read(t, written(t, header, false, s), bus.Query{})
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, got, []bus.Stored{s})
		hidden := redacted(t, s)[0]
		if got, err = read(t, written(t, header, false, hidden), bus.Query{}); err != nil {
			t.Fatal(err)
		}
		wantSame(t, got, []bus.Stored{hidden})
		if _, err := s.Entry(); err == nil {
			if _, err := hidden.Entry(); err != nil {
				t.Fatalf("an event is none any more once it is redacted: %v", err)
			}
			if r, err := export.NewRenamer("night").Rename(s); err != nil {
				t.Fatal(err)
			} else if _, err := r.Entry(); err != nil {
				t.Fatalf("an event is none any more once it is renamed: %v", err)
			}
		}
	})
}

// A small file that becomes very large when it is uncompressed takes no more memory.
func TestAHostileFileTakesNoMemory(t *testing.T) {
	var bomb bytes.Buffer
	w, err := zstd.NewWriter(&bomb, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 1<<20)
	for range 256 {
		if _, err := w.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	first := lines(written(t, header, false))[0]
	packed, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	for name, b := range map[string][]byte{
		"zeros":           bomb.Bytes(),
		"behind a header": append(packed.EncodeAll([]byte(first), nil), bomb.Bytes()...),
		// A frame that says it has 2^62 bytes.
		"a large promise": {0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0},
		"a large window":  {0x28, 0xb5, 0x2f, 0xfd, 0, 0xf8, 1, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := read(t, b, bus.Query{})
			runtime.ReadMemStats(&after)
			if !isAt(err) {
				t.Errorf("= %v, want an error with its line", err)
			}
			if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 64 {
				t.Errorf("it took %d MiB", took)
			}
		})
	}
}
