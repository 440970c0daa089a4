package bus

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"ibconn/events"
)

// damaged writes a log, lets damage change its block file while the server is
// down, and opens it again.
func damaged(t *testing.T, damage func(t *testing.T, block string)) (world, *author) {
	t.Helper()
	dir := t.TempDir()
	s := openServer(t, ServerOptions{StoreDir: dir})
	nc := connect(t, s)
	a := newAuthor(t, openTestLog(t, nc, LogOptions{}), dir, "a")
	a.claim()
	for n := range 99 {
		a.append(reported(n))
	}
	nc.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	blocks, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", events.Stream, "msgs", "*.blk"))
	if err != nil || len(blocks) != 1 {
		t.Fatalf("block files = %q, %v, want one", blocks, err)
	}
	damage(t, blocks[0])
	w := newWorld(t, ServerOptions{StoreDir: dir})
	return w, newAuthor(t, w.log, dir, "b")
}

// found reads a log the way the connector does and says whether it shows
// damage: an event that does not follow, or an end before the mark.
func found(t *testing.T, a *author) (broken bool, missing uint64) {
	t.Helper()
	mark, err := a.w.Mark()
	if err != nil {
		t.Fatal(err)
	}
	var head events.Head
	for r, err := range a.w.Load(t.Context()) {
		if err != nil || head.Follows(r) != nil {
			broken = true
		}
		if err == nil {
			head = head.Then(r)
		}
	}
	if mark.Sequence != 100 {
		t.Errorf("the mark is at %d, want 100", mark.Sequence)
	}
	return broken, mark.Sequence - head.Sequence
}

func TestAnUndamagedLogShowsNothing(t *testing.T) {
	w, a := damaged(t, func(*testing.T, string) {})
	if broken, missing := found(t, a); broken || missing != 0 {
		t.Errorf("broken = %v, missing = %d, want neither", broken, missing)
	}
	if lost, err := w.log.Damage(t.Context()); len(lost) != 0 || err != nil {
		t.Errorf("Damage() = %q, %v, want nothing", lost, err)
	}
}

func TestALogThatLostItsEndIsFoundOut(t *testing.T) {
	_, a := damaged(t, func(t *testing.T, block string) {
		info, err := os.Stat(block)
		if err == nil {
			err = os.Truncate(block, info.Size()-100)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if _, missing := found(t, a); missing == 0 {
		t.Error("the log ends where the mark is, want events missing")
	}
}

func TestAFlippedBitIsFoundOut(t *testing.T) {
	w, a := damaged(t, func(t *testing.T, block string) {
		b, err := os.ReadFile(block)
		if err == nil {
			b[len(b)/2] ^= 0x10
			err = os.WriteFile(block, b, 0o600)
		}
		// Without its index the server reads the block itself, as it does after
		// a crash.
		index := filepath.Join(filepath.Dir(block), "index.db")
		if err := errors.Join(err, os.Remove(index)); err != nil {
			t.Fatal(err)
		}
	})
	if broken, missing := found(t, a); !broken && missing == 0 {
		t.Error("the log is one chain up to the mark, want damage")
	}
	lost, err := w.log.Damage(t.Context())
	if err != nil || len(lost) == 0 {
		t.Errorf("Damage() = %q, %v, want JetStream's word of lost messages", lost, err)
	}
	t.Log(lost)
}

func TestADirectoryThatWasPutBackIsFoundOut(t *testing.T) {
	dir := t.TempDir()
	s := openServer(t, ServerOptions{StoreDir: dir})
	nc := connect(t, s)
	a := newAuthor(t, openTestLog(t, nc, LogOptions{}), dir, "a")
	a.claim()
	nc.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(filepath.Join(dir, "jetstream"))); err != nil {
		t.Fatal(err)
	}
	first := newWorld(t, ServerOptions{StoreDir: dir})
	a = newAuthor(t, first.log, dir, "a")
	a.claim()
	first.nc.Close()
	if err := first.server.Close(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.RemoveAll(filepath.Join(dir, "jetstream")), os.CopyFS(filepath.Join(dir, "jetstream"), os.DirFS(backup))); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, ServerOptions{StoreDir: dir})
	a = newAuthor(t, w.log, dir, "a")
	a.load()
	if mark, err := a.w.Mark(); err != nil || mark.Sequence != 2 || a.head.Sequence != 1 {
		t.Errorf("the mark is at %d, %v, the log's head at %d, want 2 and 1", mark.Sequence, err, a.head.Sequence)
	}
}
