package bus

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"ibconn/events"
)

// crashDir names the directory in the environment of a child process.
const crashDir = "IBCONN_TEST_CRASH_DIR"

// TestMain makes the test binary a writer that is there to be killed, when a
// test runs it again as that.
func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(dir))
		os.Exit(1)
	}
	if dir := os.Getenv(backfillDir); dir != "" {
		fmt.Fprintln(os.Stderr, backfillUntilKilled(dir))
		os.Exit(1)
	}
	if server := os.Getenv(hubServer); server != "" {
		if err := hubUntilKilled(server); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// writeUntilKilled claims the connection and appends events, every third one a
// heartbeat. It prints the id of each once it was acknowledged. Should nobody
// kill it, it ends by itself.
func writeUntilKilled(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := Open(ServerOptions{StoreDir: dir, Instance: "child"})
	if err != nil {
		return err
	}
	nc, err := s.Connect("child")
	if err != nil {
		return err
	}
	log, err := OpenLog(ctx, nc, LogOptions{})
	if err != nil {
		return err
	}
	w, err := log.Writer("main", dir)
	if err != nil {
		return err
	}
	var head events.Head
	for r, err := range w.Load(ctx) {
		if err != nil {
			return err
		}
		head = head.Then(r)
	}
	n := 0
	author := events.Author{Connection: "main", Source: "/ibconn/child", NewID: func() string {
		n++
		return fmt.Sprintf("%d-%d", os.Getpid(), n)
	}}
	record := func(store func(context.Context, events.Recorded) error, e events.Event) error {
		r, err := head.Next(author, events.Draft{Event: e}, time.Now())
		if err != nil {
			return err
		}
		if err := store(ctx, r); err != nil {
			return err
		}
		head = head.Then(r)
		_, err = fmt.Println(r.ID)
		return err
	}
	err = record(w.Claim, &events.EpochBegan{Instance: "child"})
	for err == nil {
		if n%3 == 0 {
			err = record(w.Append, heartbeat(uint64(n)))
		} else {
			err = record(w.Append, reported(n))
		}
	}
	return err
}

// killedWriter runs a child until it has appended at least n events, kills it,
// and returns the ids of the events that were acknowledged to it.
func killedWriter(t *testing.T, dir string, n int, meanwhile func(pid int)) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, os.Args[0])
	c.Env = append(os.Environ(), crashDir+"="+dir)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var acknowledged []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		acknowledged = append(acknowledged, lines.Text())
		if len(acknowledged) == n {
			meanwhile(c.Process.Pid)
			if err := c.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	// The last line may have been cut off.
	if err := c.Wait(); err == nil || len(acknowledged) < n {
		t.Fatalf("the child ended by itself after %d events: %v", len(acknowledged), err)
	}
	return acknowledged[:len(acknowledged)-1]
}

func TestAnAcknowledgedEventSurvivesAKill(t *testing.T) {
	dir := t.TempDir()
	var acknowledged []string
	for _, n := range []int{20, 150, 300} {
		acknowledged = append(acknowledged, killedWriter(t, dir, n, func(pid int) {
			_, err := Open(ServerOptions{StoreDir: dir})
			if inUse, ok := errors.AsType[*InUseError](err); !ok || inUse.PID != pid {
				t.Errorf("Open while process %d has the directory = %v, want an InUseError that names it", pid, err)
			}
		})...)
	}

	w := newWorld(t, ServerOptions{StoreDir: dir})
	a := newAuthor(t, w.log, dir, "a")
	a.load() // checks that the chain is whole
	stored := make(map[string]int)
	for _, e := range readAll(t, w.log, Query{}) {
		stored[e.ID]++
	}
	for _, id := range acknowledged {
		if stored[id] != 1 {
			t.Errorf("acknowledged event %s is stored %d times, want once", id, stored[id])
		}
	}
	if a.head.Epoch != 3 {
		t.Errorf("the log is in epoch %d, want 3", a.head.Epoch)
	}
	// The mark is written after the event and before its acknowledgement.
	mark, err := a.w.Mark()
	if err != nil || mark.Sequence > a.head.Sequence || mark.Sequence+1 < a.head.Sequence {
		t.Errorf("Mark() = %v, %v, want the log's head %v or the one before", mark, err, a.head)
	}
}
