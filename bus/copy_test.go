package bus

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ibconn/events"
)

// stopped returns the directory of a run that has ended, with n events in it.
func stopped(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	s := openServer(t, ServerOptions{StoreDir: dir})
	nc := connect(t, s)
	a := newAuthor(t, openTestLog(t, nc, LogOptions{}), dir, "a")
	a.claim()
	for i := range n - 1 {
		a.append(reported(i))
	}
	nc.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// tree is everything about a directory that may not change: names, modes, sizes, times
// and contents.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %v %v", path, info.Mode(), info.ModTime().UnixNano())
		if d.Type().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(content)
			fmt.Fprintf(&b, " %d %s", len(content), hex.EncodeToString(sum[:]))
		}
		b.WriteString("\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// copied opens a copy and returns what is in it, and leaves nothing.
func copied(t *testing.T, dir string) ([]Entry, error) {
	t.Helper()
	temp := t.TempDir()
	c, err := OpenCopy(t.Context(), dir, CopyOptions{Temp: temp})
	if err != nil {
		wantEmpty(t, temp)
		return nil, err
	}
	all := readAll(t, c.Log, Query{})
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	wantEmpty(t, temp)
	return all, nil
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); len(left) != 0 || err != nil {
		t.Errorf("%v is left where copies are made, %v", left, err)
	}
}

func TestACopyLeavesTheDirectoryAsItWas(t *testing.T) {
	noLeaks(t)
	dir := stopped(t, 100)
	before := tree(t, dir)
	for range 2 {
		if all, err := copied(t, dir); err != nil || len(all) != 100 {
			t.Errorf("read %d events, %v, want 100", len(all), err)
		}
	}
	if after := tree(t, dir); after != before {
		t.Errorf("the directory was\n%s and is\n%s", before, after)
	}
	// It is still one that a run can go on with.
	w := newWorld(t, ServerOptions{StoreDir: dir})
	if all := readAll(t, w.log, Query{}); len(all) != 100 {
		t.Errorf("%d events are in it, want 100", len(all))
	}
}

func TestADirectoryInUseIsNotCopied(t *testing.T) {
	w := newWorld(t, ServerOptions{StoreDir: t.TempDir(), Instance: "desk"})
	_, err := copied(t, w.dir)
	in, is := errors.AsType[*InUseError](err)
	if !is || in.PID != os.Getpid() || in.Instance != "desk" {
		t.Errorf("= %v, want that it is in use by this process", err)
	}
}

func TestWhileItIsCopiedNobodyElseHasTheDirectory(t *testing.T) {
	dir := stopped(t, 3)
	tried := false
	c, err := OpenCopy(t.Context(), dir, CopyOptions{Temp: t.TempDir(), Copied: func(done, total int64) {
		if tried {
			return
		}
		tried = true
		s, err := Open(ServerOptions{StoreDir: dir})
		if _, is := errors.AsType[*InUseError](err); !is {
			t.Errorf("opened while it was copied = %v, want that it is in use", err)
			s.Close()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil || !tried {
		t.Errorf("Close() = %v, tried = %v", err, tried)
	}
}

func TestADirectoryWithoutALogIsNotCopied(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if _, err := copied(t, dir); !errors.Is(err, ErrNoLog) {
			t.Errorf("%s = %v, want that there is no log", dir, err)
		}
	}
}

// What is damaged is read as far as the server reads it, and stays as it is.
func TestADamagedDirectoryIsReadAsFarAsItGoes(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, block string) error{
		"cut off": func(t *testing.T, block string) error {
			info, err := os.Stat(block)
			if err != nil {
				return err
			}
			return os.Truncate(block, info.Size()/2)
		},
		"a flipped bit": func(t *testing.T, block string) error {
			b, err := os.ReadFile(block)
			if err != nil {
				return err
			}
			b[len(b)/2] ^= 0x10
			return os.WriteFile(block, b, 0o600)
		},
		"zeros at its end": func(t *testing.T, block string) error {
			b, err := os.ReadFile(block)
			if err != nil {
				return err
			}
			copy(b[len(b)*2/3:], bytes.Repeat([]byte{0}, len(b)))
			return os.WriteFile(block, b, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := stopped(t, 100)
			blocks, err := filepath.Glob(filepath.Join(dir, streamDir, "msgs", "*.blk"))
			if err != nil || len(blocks) != 1 {
				t.Fatalf("block files = %q, %v, want one", blocks, err)
			}
			if err := damage(t, blocks[0]); err != nil {
				t.Fatal(err)
			}
			// Without its index the server reads the block itself, as it does after a
			// crash.
			if err := os.Remove(filepath.Join(filepath.Dir(blocks[0]), "index.db")); err != nil {
				t.Fatal(err)
			}
			before := tree(t, dir)
			read, err := copied(t, dir)
			if err != nil {
				t.Fatal(err)
			}
			if after := tree(t, dir); after != before {
				t.Error("the directory was changed")
			}
			w := newWorld(t, ServerOptions{StoreDir: dir})
			whole := readAll(t, w.log, Query{})
			wantIDs(t, "what is read of the copy", entryIDs(read), entryIDs(whole))
			if len(read) == 0 || len(read) >= 100 {
				t.Errorf("%d events are read, want those before the damage", len(read))
			}
		})
	}
}

func TestACopyThatIsInterruptedLeavesNothing(t *testing.T) {
	noLeaks(t)
	dir, temp := stopped(t, 20), t.TempDir()
	enough := errors.New("enough")
	for name, at := range map[string]int64{"in the middle": 0, "at its end": 1 << 62} {
		ctx, cancel := context.WithCancelCause(t.Context())
		_, err := OpenCopy(ctx, dir, CopyOptions{Temp: temp, Copied: func(done, total int64) {
			if done > min(at, total-1) {
				cancel(enough)
			}
		}})
		cancel(nil)
		if err == nil {
			t.Errorf("interrupted %s: no error", name)
		}
		wantEmpty(t, temp)
	}
	// The lock went with it.
	s, err := Open(ServerOptions{StoreDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestACopyIsReadLikeTheLog(t *testing.T) {
	dir := stopped(t, 10)
	c, err := OpenCopy(t.Context(), dir, CopyOptions{Temp: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var seqs []uint64
	for s, err := range c.Stored(t.Context(), Query{Kinds: []events.Kind{events.KindError}, After: 3}) {
		if err != nil {
			t.Fatal(err)
		}
		if s.StoredAt.After(time.Now()) || s.StoredAt.Before(time.Now().Add(-time.Hour)) {
			t.Errorf("message %d was stored at %v", s.StreamSeq, s.StoredAt)
		}
		seqs = append(seqs, s.StreamSeq)
	}
	if fmt.Sprint(seqs) != "[4 5 6 7 8 9 10]" {
		t.Errorf("messages %v, want those above 3", seqs)
	}
}
