package tws

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ibconn/bus"
	"ibconn/connector"
	"ibconn/events"
	"ibconn/testenv/gateway"

	"github.com/nats-io/nats.go"
	"github.com/scmhub/ibapi"
)

// feedBus is an embedded server with data that runs, for the way from a gateway
// to a subscriber.
type feedBus struct {
	server *bus.Server
	data   *bus.Data
}

func newFeedBus(tb testing.TB, o bus.DataOptions, run bool) feedBus {
	tb.Helper()
	s, err := bus.Open(bus.ServerOptions{StoreDir: tb.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	nc, err := s.Connect("connector")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	d, err := bus.OpenData(context.Background(), nc, o)
	if err != nil {
		tb.Fatal(err)
	}
	if run {
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { _ = d.Run(ctx) })
		tb.Cleanup(func() { cancel(); running.Wait() })
	}
	return feedBus{s, d}
}

// publish is what an order delivers to.
func (b feedBus) publish(subscription string, d events.Datum) {
	b.data.Publish("main", subscription, d)
}

// listen calls heard with every message of data, in order.
func (b feedBus) listen(tb testing.TB, heard func(*nats.Msg)) {
	tb.Helper()
	nc, err := bus.Dial(b.server.URL())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	sub, err := nc.Subscribe(events.DataSubjects, heard)
	if err == nil {
		err = sub.SetPendingLimits(-1, -1)
	}
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// mute subscribes to all data and never reads.
func (b feedBus) mute(tb testing.TB) {
	tb.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.server.URL(), "nats://"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, "CONNECT {\"verbose\":false}\r\nSUB "+events.DataSubjects+" 1\r\nPING\r\n"); err != nil {
		tb.Fatal(err)
	}
	// Up to the answer to PING, so that the server knows the subscription.
	conn.SetReadDeadline(time.Now().Add(patience))
	var greeting []byte
	for one := make([]byte, 1); !bytes.HasSuffix(greeting, []byte("PONG\r\n")); greeting = append(greeting, one...) {
		if _, err := conn.Read(one); err != nil {
			tb.Fatalf("the server said %q: %v", greeting, err)
		}
	}
}

// field returns a field of a message's JSON.
func field(data []byte, name string) string {
	_, rest, _ := bytes.Cut(data, []byte(`"`+name+`":`))
	end := bytes.IndexAny(rest, ",}")
	return strings.Trim(string(rest[:max(end, 0)]), `"`)
}

// counts holds the numbers of each subscription's messages against 1, 2, 3 ...
type counts struct {
	mu    sync.Mutex
	last  map[string]uint64
	holes int
}

func (c *counts) heard(m *nats.Msg) {
	n, _ := strconv.ParseUint(field(m.Data, "n"), 10, 64)
	c.note(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], n)
}

func (c *counts) note(subscription string, n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil {
		c.last = make(map[string]uint64)
	}
	if n != c.last[subscription]+1 {
		c.holes++
	}
	c.last[subscription] = n
}

func (c *counts) total() (n, holes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, last := range c.last {
		n += int(last)
	}
	return n, c.holes
}

// TestNoTickIsLostOnItsWayToASubscriber has ten subscriptions of eleven hundred
// ticks a second each, and a burst at the end whose every tick tells its number.
func TestNoTickIsLostOnItsWayToASubscriber(t *testing.T) {
	const subscriptions, during, burst = 10, 3 * time.Second, 20_000
	eachVersion(t, gateway.Config{TicksPerSecond: 1100}, func(t *testing.T, gw *gateway.Gateway) {
		b := newFeedBus(t, bus.DataOptions{}, true)
		var delivered, heard counts
		var sizes []string
		b.listen(t, func(m *nats.Msg) {
			heard.heard(m)
			if strings.HasSuffix(m.Subject, ".last") && field(m.Data, "price") == "100" && field(m.Data, "field") == "bid" {
				sizes = append(sizes, field(m.Data, "size"))
			}
		})
		a := beginTaking(t, gw.Addr(), func(subscription string, d events.Datum) {
			b.publish(subscription, d)
			if tick, ok := d.(*events.Tick); ok {
				delivered.note(subscription, tick.N)
			}
		})
		a.opened()
		began := time.Now()
		for i := range int64(subscriptions) {
			name := fmt.Sprint(i)
			if i == subscriptions-1 {
				name = "last"
			}
			a.session.Send(subscription(firstID+i, name, events.Feed{Kind: events.SubscribeQuotes, Contract: apple}))
			a.outcome(firstID + i)
		}
		await(a, func(in connector.Arrived) bool { return in.ID == firstID+subscriptions-1 })
		eventually(t, "ticks came for a while", func() bool { return time.Since(began) > during })
		sustained, _ := delivered.total()
		took := time.Since(began)
		gw.BurstThenFIN(burst)
		a.ended()
		a.end()
		all, holes := delivered.total()
		if holes != 0 {
			t.Errorf("%d holes in what was delivered, want none", holes)
		}
		eventually(t, "all was heard", func() bool { n, _ := heard.total(); return n >= all })
		if n, holes := heard.total(); n != all || holes != 0 || b.data.Dropped() != 0 {
			t.Errorf("%d of %d ticks were heard, with %d holes, and %d were dropped; want all, in order", n, all, holes, b.data.Dropped())
		}
		if len(sizes) < burst {
			t.Fatalf("%d ticks of the burst were heard, want %d", len(sizes), burst)
		}
		for i, size := range sizes[len(sizes)-burst:] {
			if size != strconv.Itoa(i+1) {
				t.Fatalf("tick %d of the burst is of size %s, want every one in order", i+1, size)
			}
		}
		t.Logf("%d ticks in %v: %.0f a second, and %d at once", sustained, took.Round(time.Millisecond), float64(sustained)/took.Seconds(), burst)
	})
}

// TestASubscriberThatNeverReadsHoldsNobodyUp sends more than its buffers hold.
func TestASubscriberThatNeverReadsHoldsNobodyUp(t *testing.T) {
	const burst = 300_000
	gw := gateway.Start(t, gateway.Config{})
	b := newFeedBus(t, bus.DataOptions{}, true)
	b.mute(t)
	var heard atomic.Int64
	b.listen(t, func(*nats.Msg) { heard.Add(1) })
	var delivered atomic.Int64
	a := beginTaking(t, gw.Addr(), func(subscription string, d events.Datum) {
		b.publish(subscription, d)
		delivered.Add(1)
	})
	a.opened()
	a.session.Send(subscription(firstID, "x", events.Feed{Kind: events.SubscribeQuotes, Contract: apple}))
	await(a, anyOf[connector.Arrived])
	gw.BurstThenFIN(burst)
	if e := a.ended(); e.Cause != events.CauseClosedByGateway {
		t.Errorf("the session ended with %s, want the gateway's end", e.Cause)
	}
	a.end()
	if n := delivered.Load(); n < burst {
		t.Errorf("%d ticks were delivered, want all %d and more", n, burst)
	}
	eventually(t, "every tick was heard or is counted", func() bool {
		return heard.Load()+int64(b.data.Dropped()) == delivered.Load()
	})
	t.Logf("%d ticks were delivered, %d heard, %d dropped", delivered.Load(), heard.Load(), b.data.Dropped())
}

// TestABusThatStandsStillHoldsNobodyUp has everything decoded though nothing
// leaves.
func TestABusThatStandsStillHoldsNobodyUp(t *testing.T) {
	const burst, room = 50_000, 1000
	gw := gateway.Start(t, gateway.Config{})
	b := newFeedBus(t, bus.DataOptions{Messages: room}, false)
	var delivered atomic.Int64
	a := beginTaking(t, gw.Addr(), func(subscription string, d events.Datum) {
		b.publish(subscription, d)
		delivered.Add(1)
	})
	a.opened()
	a.session.Send(subscription(firstID, "x", events.Feed{Kind: events.SubscribeQuotes, Contract: apple}))
	await(a, anyOf[connector.Arrived])
	gw.BurstThenFIN(burst)
	a.ended()
	a.end()
	if n := delivered.Load(); n < burst || b.data.Dropped() != uint64(n-room) {
		t.Errorf("%d ticks were delivered and %d dropped, want all %d and more, and all but %d", n, b.data.Dropped(), burst, room)
	}
}

// BenchmarkTicksToTheBus holds the way from a gateway through a session and the
// bus to a subscriber against the bare library without either, in the same run: how
// many ticks a second pass, and how long one is on its way, alone and among ten
// thousand a second.
func BenchmarkTicksToTheBus(b *testing.B) {
	const burst, alone, paced, rounds = 100_000, 500, 2500, 4
	bare, whole := newBarePath(b), newBusPath(b)
	var direct, through way
	for b.Loop() {
		for path, w := range map[*tickPath]*way{bare: &direct, whole: &through} {
			w.burst += path.burst(burst)
		}
		runtime.GC() // what the bursts left is nobody's delay
		for range rounds {
			for path, w := range map[*tickPath]*way{bare: &direct, whole: &through} {
				w.alone = append(w.alone, path.alone(alone)...)
				w.paced = append(w.paced, path.paced(paced)...)
			}
		}
	}
	ticks := float64(b.N) * burst
	b.ReportMetric(ticks/direct.burst.Seconds(), "bare-ticks/s")
	b.ReportMetric(ticks/through.burst.Seconds(), "bus-ticks/s")
	b.ReportMetric(direct.burst.Seconds()/through.burst.Seconds(), "bus/bare")
	for name, both := range map[string][2][]time.Duration{"alone": {direct.alone, through.alone}, "10k": {direct.paced, through.paced}} {
		for _, p := range []int{50, 99} {
			without, with := percentile(both[0], p), percentile(both[1], p)
			b.ReportMetric(float64(without.Microseconds()), fmt.Sprintf("bare-%s-p%d-us", name, p))
			b.ReportMetric(float64((with - without).Microseconds()), fmt.Sprintf("added-%s-p%d-us", name, p))
		}
	}
}

// way is what was measured of one.
type way struct {
	burst        time.Duration
	alone, paced []time.Duration
}

func percentile(all []time.Duration, p int) time.Duration {
	slices.Sort(all)
	return all[(len(all)-1)*p/100]
}

// tickPath is a way from a gateway's socket to whoever wants its ticks. A tick's
// size is its number.
type tickPath struct {
	write func([]byte)
	came  chan int
}

func numbered(i int) []byte { return text(1, 6, 1, 1, 100.25, i, 0) }

// burst sends n ticks at once, and returns how long they take.
func (p *tickPath) burst(n int) time.Duration {
	var frames []byte
	for i := range n {
		frames = append(frames, numbered(i)...)
	}
	began := time.Now()
	go p.write(frames)
	for range n {
		<-p.came
	}
	return time.Since(began)
}

// alone sends n ticks, each when the one before came.
func (p *tickPath) alone(n int) (took []time.Duration) {
	for i := range n {
		began := time.Now()
		p.write(numbered(i))
		<-p.came
		took = append(took, time.Since(began))
	}
	return took
}

// paced sends n ticks, ten thousand a second.
func (p *tickPath) paced(n int) []time.Duration {
	const at, each = 5, time.Millisecond / 2
	sent := make([]time.Time, n)
	took := make([]time.Duration, n)
	var sending sync.WaitGroup
	began := time.Now()
	var mu sync.Mutex
	sending.Go(func() {
		for i := 0; i < n; i += at {
			time.Sleep(time.Until(began.Add(time.Duration(i/at) * each)))
			var frames []byte
			mu.Lock()
			for k := i; k < min(i+at, n); k++ {
				sent[k] = time.Now()
				frames = append(frames, numbered(k)...)
			}
			mu.Unlock()
			p.write(frames)
		}
	})
	for range n {
		i := <-p.came
		now := time.Now()
		mu.Lock()
		took[i] = now.Sub(sent[i])
		mu.Unlock()
	}
	sending.Wait()
	return took
}

// bareTicks is a client of the library that only looks at the size.
type bareTicks struct {
	*callbacks
	came chan int
}

func (c *bareTicks) TickPrice(int64, ibapi.TickType, float64, ibapi.TickAttrib) {}
func (c *bareTicks) TickSize(_ int64, _ ibapi.TickType, v ibapi.Decimal)        { c.came <- int(v.Int()) }

// newBarePath is the library by itself.
func newBarePath(b *testing.B) *tickPath {
	p, path := newPeer(b), &tickPath{came: make(chan int, 1<<20)}
	c := &bareTicks{newCallbacks(1, newQueue(10), new(probes)), path.came}
	client := ibapi.NewEClient(c)
	connected := make(chan error, 1)
	go func() {
		connected <- client.Connect("127.0.0.1", p.listener.Addr().(*net.TCPAddr).Port, 1)
	}()
	p.accept()
	go io.Copy(io.Discard, p.conn)
	p.write(slices.Concat(versionReply, text(15, 1, "DU1234567"), text(9, 1, 1)))
	if err := <-connected; err != nil {
		b.Fatal(err)
	}
	<-c.introduced
	b.Cleanup(func() { p.conn.Close(); <-c.closed })
	path.write = p.write
	p.conn.SetDeadline(time.Time{})
	return path
}

// newBusPath is a session, the bus and a subscriber.
func newBusPath(b *testing.B) *tickPath {
	// Room for a burst that comes faster than any gateway sends.
	bus := newFeedBus(b, bus.DataOptions{Messages: 1 << 20, Bytes: 1 << 30}, true)
	p, path := newPeer(b), &tickPath{came: make(chan int, 1<<20)}
	bus.listen(b, func(m *nats.Msg) {
		i, _ := strconv.Atoi(field(m.Data, "size"))
		path.came <- i
	})
	a := beginTaking(b, p.addr(), bus.publish)
	p.accept()
	p.write(slices.Concat(versionReply, text(15, 1, "DU1234567"), text(9, 1, 1)))
	await(a, anyOf[connector.Greeted])
	eventually(b, "the session has streams", func() bool { return a.session.streams.Load() != nil })
	a.session.streams.Load().add(1, connector.Subscribe{Name: "x"})
	path.write = p.write
	p.conn.SetDeadline(time.Time{})
	go io.Copy(io.Discard, p.conn)
	return path
}
