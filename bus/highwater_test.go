package bus

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ibconn/events"
)

func head(n uint64) events.Head {
	return events.Head{Epoch: n / 10, Sequence: n, Hash: strings.Repeat("0123456789abcdef", 4)}
}

func newHighWater(t *testing.T, marks ...uint64) highWater {
	t.Helper()
	h := highWaterOf("main", t.TempDir())
	for _, n := range marks {
		if err := h.write(head(n)); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func TestTheNewestMarkIsRead(t *testing.T) {
	h := newHighWater(t)
	if s, err := h.read(); s != (slot{}) || err != nil {
		t.Errorf("read without a file = %v, %v, want none", s, err)
	}
	for n := uint64(1); n < 9; n++ {
		if err := h.write(head(n)); err != nil {
			t.Fatal(err)
		}
		if s, err := h.read(); s.head != head(n) || err != nil {
			t.Errorf("read = %v, %v, want %v", s.head, err, head(n))
		}
	}
	// A log that was cut on purpose goes on lower: the mark is not the highest
	// that ever was, but the newest.
	if err := h.write(head(3)); err != nil {
		t.Fatal(err)
	}
	if s, err := h.read(); s.head != head(3) || err != nil {
		t.Errorf("read = %v, %v, want %v", s.head, err, head(3))
	}
}

// A write that is torn at any byte leaves either the mark before it or its own.
func TestATornWriteLeavesTheMarkBeforeIt(t *testing.T) {
	for _, marks := range [][]uint64{{1, 2, 3}, {1, 2, 3, 4}} {
		h := newHighWater(t, marks[:len(marks)-1]...)
		before, err := os.ReadFile(h.path)
		if err != nil {
			t.Fatal(err)
		}
		last := marks[len(marks)-1]
		if err := h.write(head(last)); err != nil {
			t.Fatal(err)
		}
		after, err := os.ReadFile(h.path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range after {
			if before[i] == after[i] {
				continue
			}
			torn := append(bytes.Clone(after[:i]), before[i:]...)
			s, err := newest(torn)
			if err != nil || s.head != head(last-1) {
				t.Errorf("torn at byte %d: newest = %v, %v, want %v", i, s.head, err, head(last-1))
			}
		}
		if s, err := newest(after); err != nil || s.head != head(last) {
			t.Errorf("newest = %v, %v, want %v", s.head, err, head(last))
		}
	}
}

func TestAMarkFileThatCannotBeReadIsAnError(t *testing.T) {
	h := newHighWater(t, 1, 2)
	for _, content := range [][]byte{nil, []byte("short"), make([]byte, markFileSize)} {
		if err := os.WriteFile(h.path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := h.read()
		if err == nil || !strings.Contains(err.Error(), h.path) {
			t.Errorf("read of %d bytes = %v, want an error that names the file", len(content), err)
		}
		if err := h.write(head(3)); err == nil {
			t.Error("write over a damaged file succeeds: the damage would never be told")
		}
	}
}

func TestAMarkWithoutAHashIsRefused(t *testing.T) {
	h := newHighWater(t)
	if err := h.write(events.Head{Sequence: 1, Hash: "beef"}); err == nil {
		t.Error("write of a head with half a hash succeeds")
	}
}

func FuzzNewest(f *testing.F) {
	b, err := slot{7, head(70)}.encode()
	if err != nil {
		f.Fatal(err)
	}
	whole := append(b, make([]byte, slotDistance-len(b))...)
	f.Add(append(whole, b...))
	f.Add(b)
	f.Add(b[:slotSize-1])
	f.Add([]byte(slotMagic))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, file []byte) {
		s, err := newest(file)
		if err != nil {
			if s != (slot{}) {
				t.Errorf("newest returns %v with an error", s)
			}
			return
		}
		// What was read can be written, and is then the same bytes.
		again, err := s.encode()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(file, again) {
			t.Errorf("newest = %v, which is not in the file", s)
		}
	})
}

func TestTheMarksOfADirectoryAreReadAsAWhole(t *testing.T) {
	dir := t.TempDir()
	want := map[events.ConnectionID]events.Head{
		"main":  {Epoch: 1, Sequence: 7, Hash: strings.Repeat("ab", 32)},
		"paper": {Epoch: 3, Sequence: 9, Hash: strings.Repeat("cd", 32)},
	}
	for c, h := range want {
		if err := highWaterOf(c, dir).write(h); err != nil {
			t.Fatal(err)
		}
	}
	for _, other := range []string{"lock", "highwater-", "highwater-main.new"} {
		if err := os.WriteFile(filepath.Join(dir, other), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if marks, err := Marks(dir); err != nil || !maps.Equal(marks, want) {
		t.Errorf("Marks() = %v, %v, want %v", marks, err, want)
	}
	if err := os.WriteFile(filepath.Join(dir, "highwater-main"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	delete(want, "main")
	if marks, err := Marks(dir); err == nil || !strings.Contains(err.Error(), "main") || !maps.Equal(marks, want) {
		t.Errorf("with a torn mark Marks() = %v, %v, want %v and an error that names main", marks, err, want)
	}
	if _, err := Marks(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("Marks() of no directory is no error")
	}
}
