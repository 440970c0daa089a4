package bus

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"ibconn/events"
	"ibconn/testenv/hub"
)

var (
	relaySoak     = flag.Duration("relaysoak", 6*time.Second, "how long the hub is broken in each of the relay's soak tests")
	relaySoakSeed = flag.Uint64("relaysoakseed", 0, "the seed of what is broken when; 0 draws one")
)

// hubServer is an external server for a child process, in its environment.
const hubServer = "IBCONN_TEST_HUB"

// hubUntilKilled is an external server that is there to be killed. It ends when
// whoever started it does.
func hubUntilKilled(text string) error {
	s := new(hub.Server)
	if err := json.Unmarshal([]byte(text), s); err != nil {
		return err
	}
	if err := s.Start(); err != nil {
		return err
	}
	fmt.Println(s.Port)
	_, err := io.Copy(io.Discard, os.Stdin)
	s.Stop()
	return err
}

// hubProcess is an external server in a process of its own.
type hubProcess struct {
	*hub.Server
	cmd   *exec.Cmd
	stdin io.WriteCloser
}

func startHubProcess(t *testing.T, s *hub.Server) *hubProcess {
	t.Helper()
	p := &hubProcess{Server: s}
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

func (p *hubProcess) start() error {
	text, err := json.Marshal(p.Server)
	if err != nil {
		return err
	}
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), hubServer+"="+string(text))
	p.cmd.Stderr = os.Stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("the hub did not start: %w", err)
	}
	_, err = fmt.Sscan(line, &p.Port)
	return err
}

func (p *hubProcess) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	p.stdin.Close()
}

// breaking breaks a hub at random until ctx ends.
type breaking struct {
	dice   *rand.Rand
	faults []func(ctx context.Context) error
	struck int
}

// pass waits for up to d.
func (b *breaking) pass(ctx context.Context, d time.Duration) {
	_ = sleep(ctx, time.Duration(b.dice.Int64N(int64(d))))
}

func (b *breaking) run(ctx context.Context) error {
	var left []int
	for ; ctx.Err() == nil; left = left[1:] {
		if len(left) == 0 {
			left = b.dice.Perm(len(b.faults)) // each once before any comes again
		}
		if err := b.faults[left[0]](ctx); err != nil {
			return err
		}
		b.struck++
		b.pass(ctx, 500*time.Millisecond)
	}
	return nil
}

func newBreaking(t *testing.T) *breaking {
	t.Helper()
	seed := *relaySoakSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("run it again: go test ./bus -run '^%s$' -relaysoak %v -relaysoakseed %d", t.Name(), *relaySoak, seed)
	return &breaking{dice: rand.New(rand.NewPCG(seed, 0))}
}

// perSecond is how many events flow in the soak tests.
const perSecond = 500

// write writes events for as long as the hub is being broken, and returns how many a
// second that were.
func (b *breaking) write(t *testing.T, a *author) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), *relaySoak)
	defer cancel()
	var work sync.WaitGroup
	defer work.Wait()
	failed := make(chan error, 1)
	work.Go(func() { failed <- b.run(ctx) })
	began, n := time.Now(), 0
	for ; ctx.Err() == nil; n++ {
		if n%10 == 9 {
			a.append(heartbeat(uint64(n)))
		} else {
			a.append(reported(n))
		}
		_ = sleep(ctx, time.Until(began.Add(time.Duration(n)*time.Second/perSecond)))
	}
	rate := float64(n) / time.Since(began).Seconds()
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	t.Logf("%d events, %.0f a second, while the hub was broken %d times", n, rate, b.struck)
}

// TestAHubThatIsKilledCutOffAndSlowedHasEveryEventOnce kills the process of a hub,
// and its network, at random while events flow.
func TestAHubThatIsKilledCutOffAndSlowedHasEveryEventOnce(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	h := startHubProcess(t, &hub.Server{Dir: t.TempDir()})
	url := h.URL()
	net, err := hub.NewProxy(h.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(net.Close)
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	// A short memory of duplicates, which an outage outlasts.
	shortMemory(t, url)
	r := startRelay(t, w.log, net.URL())
	r.is(events.RelayCurrent)
	nc, there := outside(t, url)
	feed := feedOf(t, nc)

	b := newBreaking(t)
	b.faults = []func(context.Context) error{
		func(ctx context.Context) error {
			h.kill()
			b.pass(ctx, time.Second)
			return h.start()
		},
		func(ctx context.Context) error {
			h.kill()
			return h.start()
		},
		func(ctx context.Context) error {
			net.Cut()
			b.pass(ctx, time.Second)
			return net.Mend()
		},
		func(ctx context.Context) error {
			net.Stall(true)
			b.pass(ctx, 2*time.Second)
			return net.Mend()
		},
		func(ctx context.Context) error {
			net.Stall(true)
			b.pass(ctx, 200*time.Millisecond)
			net.Drop() // with what was on its way
			return net.Mend()
		},
		func(ctx context.Context) error {
			net.Slow(time.Duration(1+b.dice.IntN(50)) * time.Millisecond)
			b.pass(ctx, time.Second)
			return net.Mend()
		},
		func(context.Context) error { net.Drop(); return nil },
	}
	b.write(t, a)
	if err := net.Mend(); err != nil {
		t.Fatal(err)
	}
	s := r.is(events.RelayCurrent)
	all := wantSame(t, w.log, there, "main")
	feed.wantPartOf(all, false)
	if s.Reverted != 0 || s.Refused != 0 {
		t.Errorf("the relay is %+v, want nothing reverted and nothing refused", s)
	}
	t.Logf("%+v", s)
}

// shortMemory creates the hub's log with the shortest time that it knows duplicates
// for.
func shortMemory(t *testing.T, url string) {
	t.Helper()
	nc, err := Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	config := hubConfig(1)
	config.Duplicates = 100 * time.Millisecond
	if _, err := js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}

// TestTwoRelaysOfOneLogBringEachEventOnce has two relays of the same log, as two
// processes would have that were started by mistake.
func TestTwoRelaysOfOneLogBringEachEventOnce(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	h := startHub(t)
	shortMemory(t, h.URL())
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	var relays []*relaying
	for range 2 {
		relays = append(relays, startRelay(t, w.log, h.URL()))
	}
	nc, there := outside(t, h.URL())
	feed := feedOf(t, nc)
	for n := range 300 {
		a.append(reported(n))
	}
	var relayed uint64
	for _, r := range relays {
		relayed += r.is(events.RelayCurrent).Relayed
	}
	all := entryIDs(wantSame(t, w.log, there, "main"))
	if got := feed.wait(300); !slices.Equal(got[len(got)-300:], all[1:]) {
		t.Errorf("the feed had %d events, want each of 300 once", len(got))
	}
	// One that lost its answer cannot know that it was its own.
	if relayed > 301 {
		t.Errorf("the two relayed %d events, of 301", relayed)
	}
}

// TestTwoLogsShareAHub has two processes with a connection each.
func TestTwoLogsShareAHub(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	h := startHub(t)
	other := another(t, "")
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	b := &author{t: t}
	b.Author = events.Author{Connection: "paper", Source: "/ibconn/b", NewID: func() string { b.number++; return fmt.Sprintf("b-%d", b.number) }}
	var err error
	if b.w, err = other.log.Writer("paper", other.dir); err != nil {
		t.Fatal(err)
	}
	b.claim()
	first := startRelay(t, w.log, h.URL())
	second := startRelay(t, other.log, h.URL(), func(r *Relay, _ *HubOptions) { r.Connections = []events.ConnectionID{"paper"} })
	for n := range 100 {
		a.append(reported(n))
		b.append(reported(n))
	}
	first.is(events.RelayCurrent)
	within(t, "the other relay", func() bool {
		s, err := second.Status(t.Context(), "paper")
		return err == nil && s.Sequence == 101
	})
	_, there := outside(t, h.URL())
	wantSame(t, w.log, there, "main")
	wantSame(t, other.log, there, "paper")
	if _, err := second.Status(t.Context(), "main"); err == nil {
		t.Error("the relay of paper has a status of main, want an error")
	}
	if names := first.Names(); !slices.Equal(names, []events.ConnectionID{"main"}) {
		t.Errorf("the first relays %q, want main", names)
	}
}

// TestAClusterWhoseNodesAreKilledHasEveryEventOnce kills the processes of a cluster of
// three, one at a time and at random, while events flow.
func TestAClusterWhoseNodesAreKilledHasEveryEventOnce(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	nodes, err := hub.Cluster(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var running []*hubProcess
	for _, n := range nodes {
		running = append(running, startHubProcess(t, n))
	}
	a := newAuthor(t, w.log, w.dir, "a")
	a.claim()
	r := startRelay(t, w.log, hub.URLs(nodes), func(r *Relay, _ *HubOptions) { r.Replicas = 3 })
	r.is(events.RelayCurrent)
	nc, there := outside(t, hub.URLs(nodes))
	feed := feedOf(t, nc)
	if got := there.stream.CachedInfo().Config.Replicas; got != 3 {
		t.Errorf("the hub's log has %d replicas, want 3", got)
	}

	b := newBreaking(t)
	b.faults = []func(context.Context) error{func(ctx context.Context) error {
		n := running[b.dice.IntN(len(running))]
		n.kill()
		b.pass(ctx, time.Second)
		if err := n.start(); err != nil {
			return err
		}
		// Only one at a time is down, so it must have what it missed before the next is.
		return untilInSync(ctx, r.Hub, len(nodes))
	}}
	b.write(t, a)
	s := r.is(events.RelayCurrent)
	within(t, "all nodes having it", func() bool { return untilInSync(t.Context(), r.Hub, len(nodes)) == nil })
	all := wantSame(t, w.log, there, "main")
	feed.wantPartOf(all, true)
	if s.Reverted != 0 || s.Refused != 0 {
		t.Errorf("the relay is %+v, want nothing reverted and nothing refused", s)
	}
	t.Logf("%+v", s)
}

// untilInSync waits until every node has the whole stream.
func untilInSync(ctx context.Context, h *Hub, nodes int) error {
	js, err := jetstream.New(h.Conn())
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		asking, cancel := context.WithTimeout(ctx, time.Second)
		stream, err := js.Stream(asking, events.Stream)
		cancel()
		if err == nil {
			c := stream.CachedInfo().Cluster
			current := 1
			for _, r := range c.Replicas {
				if r.Current && !r.Offline {
					current++
				}
			}
			if c.Leader != "" && current == nodes {
				return nil
			}
		}
		_ = sleep(ctx, 50*time.Millisecond)
	}
	return nil
}

// TestABacklogIsBroughtThroughKills has a hub that was away for long, and is killed
// again and again while it catches up.
func TestABacklogIsBroughtThroughKills(t *testing.T) {
	w := newWorld(t, ServerOptions{})
	fill(t, w.log, 5000)
	h := startHubProcess(t, &hub.Server{Dir: t.TempDir()})
	shortMemory(t, h.URL())
	r := startRelay(t, w.log, h.URL())
	for range 4 {
		before := r.status().Sequence
		within(t, "a part of it", func() bool { return r.status().Sequence > min(before+600, 4000) })
		h.kill()
		if err := h.start(); err != nil {
			t.Fatal(err)
		}
	}
	if s := r.is(events.RelayCurrent); s.Sequence != 5000 || s.Reverted != 0 {
		t.Errorf("the relay is %+v, want it at 5000 with nothing reverted", s)
	}
	_, there := outside(t, h.URL())
	wantSame(t, w.log, there, "main")
}
