package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"ibconn/testenv"

	"github.com/rs/zerolog"
)

func TestOpenRefusesAddressesThatOthersCanReach(t *testing.T) {
	for _, address := range []string{"0.0.0.0:4222", ":4222", "[::]:0", "192.0.2.1:4222", "example.org:4222"} {
		_, err := Open(ServerOptions{StoreDir: t.TempDir(), Listen: address})
		if err == nil || !strings.Contains(err.Error(), "not a loopback address") {
			t.Errorf("Open on %q = %v, want a refusal that says why", address, err)
		}
	}
	for _, address := range []string{"4222", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1"} {
		if _, err := Open(ServerOptions{StoreDir: t.TempDir(), Listen: address}); err == nil {
			t.Errorf("Open on %q succeeds, want an error", address)
		}
	}
	if _, err := Open(ServerOptions{}); err == nil {
		t.Error("Open without a store directory succeeds, want an error")
	}
}

func TestOpenTakesAFreePortAndKeepsItOverRestarts(t *testing.T) {
	s := openServer(t, ServerOptions{StoreDir: t.TempDir(), Listen: "localhost:0"})
	url := s.URL()
	for range 2 {
		nc, err := Dial(s.URL())
		if err != nil {
			t.Fatal(err)
		}
		nc.Close()
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
		if got := s.URL(); got != url {
			t.Errorf("URL() after a restart = %q, want %q", got, url)
		}
	}
}

func TestOpenWithoutAnAddressDoesNotListen(t *testing.T) {
	s := openServer(t, ServerOptions{StoreDir: t.TempDir()})
	if got := s.URL(); got != "" {
		t.Errorf("URL() = %q, want none", got)
	}
	if err := connect(t, s).FlushTimeout(10 * time.Second); err != nil {
		t.Errorf("a client inside the process: %v", err)
	}
}

func TestOpenSaysThatThePortIsTaken(t *testing.T) {
	noLeaks(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	_, err = Open(ServerOptions{StoreDir: dir, Listen: l.Addr().String()})
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("Open on a port that is taken = %v, want %v", err, syscall.EADDRINUSE)
	}
	if !strings.Contains(err.Error(), "--listen 127.0.0.1:0") {
		t.Errorf("the error %q does not name a way out", err)
	}
	// Nothing is left behind: the directory can be used at once.
	openServer(t, ServerOptions{StoreDir: dir})
}

func TestOpenSaysThatTheDirectoryCannotBeWritten(t *testing.T) {
	noLeaks(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(ServerOptions{StoreDir: filepath.Join(file, "store")}); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("Open below a file = %v, want %v", err, syscall.ENOTDIR)
	}

	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// nats-server says this to its log only.
	_, err := Open(ServerOptions{StoreDir: dir})
	if err == nil || !strings.Contains(err.Error(), "JetStream") {
		t.Errorf("Open where JetStream cannot make its directory = %v, want JetStream's own error", err)
	}
}

func TestOpenRefusesADirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	s := openServer(t, ServerOptions{StoreDir: dir, Instance: "host-1/paper"})
	_, err := Open(ServerOptions{StoreDir: dir})
	inUse, ok := errors.AsType[*InUseError](err)
	if !ok {
		t.Fatalf("Open of a directory in use = %v, want an InUseError", err)
	}
	if want := (InUseError{Dir: dir, PID: os.Getpid(), Instance: "host-1/paper"}); *inUse != want {
		t.Errorf("the error holds %+v, want %+v", *inUse, want)
	}
	want := fmt.Sprintf("in use by process %d (host-1/paper); stop it, or give this one another --data", os.Getpid())
	if !strings.Contains(err.Error(), want) {
		t.Errorf("the error is %q, want it to say %q", err, want)
	}

	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	openServer(t, ServerOptions{StoreDir: dir})
}

func TestTheHolderOfADirectoryIsNamedAsFarAsItIsKnown(t *testing.T) {
	for content, want := range map[string]InUseError{
		"":                               {},
		"garbage\x00":                    {},
		"-5 x":                           {PID: -5},
		"17":                             {PID: 17},
		"17 host-1":                      {PID: 17, Instance: "host-1"},
		"17 " + strings.Repeat("x", 999): {PID: 17, Instance: strings.Repeat("x", 253)},
	} {
		path := filepath.Join(t.TempDir(), "lock")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := holder("", path); *got != want {
			t.Errorf("holder of %q = %+v, want %+v", content, *got, want)
		}
	}
}

func TestCloseMayBeRepeated(t *testing.T) {
	s := openServer(t, ServerOptions{StoreDir: t.TempDir()})
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	}
	if err := s.Restart(); !errors.Is(err, errServerClosed) {
		t.Errorf("Restart() after Close = %v, want %v", err, errServerClosed)
	}
}

func TestTheStoreLimitDoesNotShrinkAsTheLogGrows(t *testing.T) {
	for _, c := range []struct{ free, used, want int64 }{
		{1000 << 20, 0, 800 << 20},
		{900 << 20, 100 << 20, 800 << 20},
		{100 << 20, 900 << 20, 800 << 20},
		{1 << 40, 0, maxStore},
	} {
		if got, err := share(c.free, c.used); got != c.want || err != nil {
			t.Errorf("share(%d, %d) = %d, %v, want %d", c.free, c.used, got, err, c.want)
		}
	}
	if _, err := share(minFree-1, 1<<30); err == nil || !strings.Contains(err.Error(), "only 63 MiB") {
		t.Errorf("share of a full disk = %v, want an error that says how much is free", err)
	}
}

func TestTheStoreLimitIsMeasured(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "block"), make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if used, err := sizeOf(dir); used != 3<<20 || err != nil {
		t.Errorf("sizeOf = %d, %v, want %d", used, err, 3<<20)
	}
	if free, known, err := FreeBytes(dir); known && free <= 0 || err != nil {
		t.Errorf("FreeBytes = %d, %v, want more than none", free, err)
	}
	if _, err := storeLimit(filepath.Join(dir, "absent")); err == nil {
		t.Error("storeLimit of a directory that is not there succeeds")
	}
}

func TestClientsSurviveARestartInPlace(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()

	want := []string{a.load()[0].ID}
	var restarts sync.WaitGroup
	restarted := make(chan error, 3)
	restarts.Go(func() {
		for range cap(restarted) {
			restarted <- w.server.Restart()
		}
	})
	for n := 0; len(restarted) < cap(restarted) || n < 100; n++ {
		want = append(want, a.append(reported(n)).ID)
	}
	restarts.Wait()
	for range cap(restarted) {
		if err := <-restarted; err != nil {
			t.Error(err)
		}
	}
	wantIDs(t, "the log", ids(a.load()), want)
}

// A server that says it is unhealthy is restarted once the grace is over, and
// not before.
func TestWatchRestartsAnUnhealthyServerAfterTheGrace(t *testing.T) {
	testenv.Bubble(t, func(t *testing.T) {
		sick := errors.New("write error: no space left on device")
		var restarts []time.Duration
		start := time.Now()
		s, err := Open(ServerOptions{
			StoreDir:       t.TempDir(),
			HealthInterval: time.Second,
			HealthGrace:    10 * time.Second,
			OnRestart: func(cause, err error) {
				if !errors.Is(cause, sick) || err != nil {
					t.Errorf("OnRestart(%v, %v), want %v and no error", cause, err, sick)
				}
				restarts = append(restarts, time.Since(start))
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		first := s.current.Load()
		s.health = func(ns *server.Server) error {
			at := time.Since(start)
			brief := at > 20*time.Second && at < 25*time.Second
			if brief || at > 60*time.Second && ns == first {
				return sick
			}
			return nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Second)
		defer cancel()
		if err := s.Watch(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Watch() = %v, want %v", err, context.DeadlineExceeded)
		}
		synctest.Wait()
		if len(restarts) != 1 || restarts[0] < 70*time.Second || restarts[0] > 73*time.Second {
			t.Errorf("restarts at %v, want one, 70 s to 73 s after the start", restarts)
		}
		if err := healthOf(s.current.Load()); err != nil {
			t.Errorf("after the restart: %v", err)
		}
	})
}

func TestAServerThatIsShutDownIsUnhealthy(t *testing.T) {
	s := openServer(t, ServerOptions{StoreDir: t.TempDir()})
	if err := healthOf(s.current.Load()); err != nil {
		t.Errorf("health of a running server = %v, want none", err)
	}
	s.stop()
	if err := healthOf(s.current.Load()); err == nil {
		t.Error("a server that is shut down calls itself healthy")
	}
	if err := s.Restart(); err != nil {
		t.Errorf("Restart() = %v", err)
	}
}

func TestPublishesFailAtOnceWhileTheServerIsAway(t *testing.T) {
	s := openServer(t, ServerOptions{StoreDir: t.TempDir()})
	nc := connect(t, s)
	s.stop()
	within(t, "the client notices", func() bool { return !nc.IsConnected() })
	if err := nc.Publish("x", nil); !errors.Is(err, nats.ErrReconnectBufExceeded) {
		t.Errorf("Publish while the server is away = %v, want %v", err, nats.ErrReconnectBufExceeded)
	}
}

func TestAStartWarnsOfNothing(t *testing.T) {
	var log bytes.Buffer
	server, err := Open(ServerOptions{StoreDir: t.TempDir(), Listen: "127.0.0.1:0", Log: zerolog.New(&log).Level(zerolog.WarnLevel)})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if log.Len() > 0 {
		t.Errorf("a first start says %s, want nothing", log.String())
	}
}
