package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ibconn/bus"
	"ibconn/consumers/timeline"
	"ibconn/events"
	"ibconn/testenv/gateway"
)

// How long TestSoak goes on, and the seed it draws everything from. They are
// read here because TestMain clears the environment.
var soakLength, soakSeed = os.Getenv("IBCONN_SOAK"), os.Getenv("IBCONN_SOAK_SEED")

// TestSoak breaks a gateway in every way there is, in an order drawn by a seed,
// and holds the connections to it to their promises. The same seed draws the same
// faults; how they meet what is going on is up to the scheduler.
func TestSoak(t *testing.T) {
	length, seed := 25*time.Second, rand.Uint64()
	if testing.Short() {
		length = 5 * time.Second
	}
	var err error
	if soakLength != "" {
		if length, err = time.ParseDuration(soakLength); err != nil {
			t.Fatalf("IBCONN_SOAK: %v; want such as 10m", err)
		}
	}
	if soakSeed != "" {
		if seed, err = strconv.ParseUint(soakSeed, 10, 64); err != nil {
			t.Fatalf("IBCONN_SOAK_SEED: %v; want a number", err)
		}
	}
	t.Logf("run it again: IBCONN_SOAK=%v IBCONN_SOAK_SEED=%d go test ./cmd/ibconn -run '^TestSoak$' -count=1 -timeout=0", length, seed)
	noLeaks(t)
	noOpenFiles(t)
	s := newSoak(t, seed)
	defer s.explain()

	for end, left := time.Now().Add(length), []int(nil); time.Now().Before(end); left = left[1:] {
		if len(left) == 0 {
			left = s.dice.Perm(len(faults)) // each once before any comes again
		}
		f, d := faults[left[0]], s.upTo(1500*time.Millisecond)
		t.Logf("%s %s, %v", time.Now().Format("15:04:05.000"), f.name, d)
		f.strike(s, s.current(), d)
		s.mends(f.name)
	}
	s.delivers()
	s.agrees()
	s.stop()
	s.stopped = true
	s.holds()
}

// faults are what can go wrong. Each strikes, lasts for about d if it is one
// that lasts, and is over when strike returns.
var faults = []struct {
	name   string
	strike func(s *soak, gw *gateway.Gateway, d time.Duration)
}{
	{"nothing", func(s *soak, _ *gateway.Gateway, d time.Duration) { s.pass(d) }},
	{"fin", func(_ *soak, gw *gateway.Gateway, _ time.Duration) { gw.FIN() }},
	{"reset", func(_ *soak, gw *gateway.Gateway, _ time.Duration) { gw.Reset() }},
	{"cut in mid-frame", func(_ *soak, gw *gateway.Gateway, _ time.Duration) { gw.CutMidFrame() }},
	{"overlong frame", func(_ *soak, gw *gateway.Gateway, _ time.Duration) { gw.OverlongFrame() }},
	{"garbage", func(s *soak, gw *gateway.Gateway, _ time.Duration) { gw.Garbage(1 + s.dice.IntN(1<<16)) }},
	{"burst and fin", func(s *soak, gw *gateway.Gateway, _ time.Duration) { gw.BurstThenFIN(1 + s.dice.IntN(20_000)) }},
	{"restart", func(s *soak, gw *gateway.Gateway, d time.Duration) {
		s.must(gw.Restart(s.t.Context(), d))
	}},
	{"refused", func(s *soak, gw *gateway.Gateway, d time.Duration) {
		s.must(gw.Refuse(true))
		gw.Reset()
		s.pass(d)
		s.must(gw.Refuse(false))
	}},
	{"stall", func(s *soak, gw *gateway.Gateway, d time.Duration) {
		gw.Stall(true)
		s.pass(2 * d) // so that some outlast the heartbeats
		gw.Stall(false)
	}},
	{"drip", func(s *soak, gw *gateway.Gateway, d time.Duration) {
		gw.Drip(1+s.dice.IntN(9), 5*time.Millisecond)
		gw.FIN()
		s.pass(d)
		gw.Drip(0, 0)
	}},
	{"closed at once", accept(gateway.CloseAtOnce)},
	{"mute", accept(gateway.StayMute)},
	{"mute after the greeting", accept(gateway.MuteAfterGreeting)},
	{"closed after startApi", accept(gateway.CloseAfterStartAPI)},
	{"heartbeats dropped", probes(3, gateway.Drop())},
	{"heartbeat late", probes(1, gateway.Delay(1300*time.Millisecond))},
	{"heartbeat refused", probes(2, gateway.ReplyError(100, "Max rate of messages per second has been exceeded"))},
	{"frozen on a heartbeat", func(s *soak, gw *gateway.Gateway, d time.Duration) {
		losses := s.losses()
		probes(1, gateway.Hang())(s, gw, d)
		within(s.t, "loss of a session that froze", func() bool { return s.losses() > losses })
		gw.Stall(false) // until then it holds the client id
	}},
	{"lag", func(s *soak, gw *gateway.Gateway, d time.Duration) {
		gw.Lag(s.upTo(400 * time.Millisecond))
		s.pass(d)
		gw.Lag(0)
	}},
	{"link really lost", func(s *soak, gw *gateway.Gateway, d time.Duration) {
		gw.LoseLink(true)
		s.pass(2 * d)
		gw.RestoreLink(s.dice.IntN(2) == 0, true)
	}},
	{"link lost without a word", func(s *soak, gw *gateway.Gateway, d time.Duration) {
		gw.LoseLink(false)
		s.pass(3 * d) // some are noticed
		gw.RestoreLink(true, false)
	}},
	{"link down, data kept", link(1102, "Connectivity between IBKR and Trader Workstation has been restored - data maintained.")},
	{"link down, data lost", link(1101, "Connectivity between IBKR and Trader Workstation has been restored - data lost.")},
	{"farm down", func(s *soak, gw *gateway.Gateway, d time.Duration) {
		gw.Error(-1, 2103, "Market data farm connection is broken:usfarm")
		s.pass(d)
		gw.Error(-1, 2104, "Market data farm connection is OK:usfarm")
	}},
	{"errors", func(s *soak, gw *gateway.Gateway, _ time.Duration) {
		const text = "something is wrong, or is not"
		for range 1 + s.dice.IntN(200) {
			id, code := s.dice.IntN(100)-1, s.dice.IntN(11_000)
			if len(events.ReadNotice(code, text).Farms) == 0 { // nobody would say that it is up again
				gw.Error(id, code, text)
			}
			gw.Error(-1, notices[s.dice.IntN(len(notices))], "something is wrong with the whole")
		}
		gw.Error(-1, 1102, "Connectivity between IBKR and Trader Workstation has been restored - data maintained.")
	}},
	{"reconnect", func(s *soak, _ *gateway.Gateway, _ time.Duration) { s.command(events.VerbReconnect) }},
	{"disconnect", func(s *soak, _ *gateway.Gateway, d time.Duration) {
		s.command(events.VerbDisconnect)
		time.Sleep(d / 2)
		s.command(events.VerbConnect)
	}},
}

// notices are codes that would mean something at another time, or do.
var notices = []int{100, 162, 326, 501, 502, 504, 507, 1100, 1101, 1102, 1300, 2110, 10197}

// accept has new sessions begin badly.
func accept(mode gateway.AcceptMode) func(*soak, *gateway.Gateway, time.Duration) {
	return func(s *soak, gw *gateway.Gateway, d time.Duration) {
		gw.OnAccept(mode)
		gw.FIN()
		s.pass(d)
		gw.OnAccept(gateway.Normal)
	}
}

// probes has the next n heartbeats meet with an action.
func probes(n int, a gateway.Action) func(*soak, *gateway.Gateway, time.Duration) {
	return func(s *soak, gw *gateway.Gateway, _ time.Duration) {
		asked := gw.Stats().Requests[gateway.ReqCurrentTime]
		gw.On(gateway.ReqCurrentTime, n, a)
		within(s.t, "heartbeats", func() bool { return gw.Stats().Requests[gateway.ReqCurrentTime] >= asked+n })
	}
}

// link takes the link to IB down, until a code says that it is back.
func link(code int, text string) func(*soak, *gateway.Gateway, time.Duration) {
	return func(s *soak, gw *gateway.Gateway, d time.Duration) {
		gw.Error(-1, 1100, "Connectivity between IBKR and Trader Workstation has been lost.")
		s.pass(d)
		gw.Error(-1, code, text)
	}
}

// soak is one run of TestSoak.
type soak struct {
	*program
	dir      string
	gateways []*gateway.Gateway // the second, if any, to fall back to
	names    []events.ConnectionID
	bound    time.Duration // within which the connection is healthy after a fault
	dice     *rand.Rand
	stopped  bool
}

// newSoak starts one gateway or two, and what is to keep a connection to them.
func newSoak(t *testing.T, seed uint64) *soak {
	s := &soak{dice: rand.New(rand.NewPCG(seed, 0)), dir: t.TempDir()}
	config := simulated
	config.IDLinger = s.upTo(500 * time.Millisecond)
	var endpoints []string
	for range 1 + s.dice.IntN(2) {
		gw := gateway.Start(t, config)
		s.gateways, endpoints = append(s.gateways, gw), append(endpoints, gw.Addr())
	}
	p := quickPolicy(endpoints[0])
	p.Fallbacks, p.FallbackAfter, p.ClientIDWait = endpoints[1:], 300*time.Millisecond, 100*time.Millisecond
	p.DialTimeout, p.GreetingTimeout, p.ReadyTimeout = time.Second, time.Second, 2*time.Second
	p.BackoffBase, p.BackoffCap, p.StableAfter = 50*time.Millisecond, 500*time.Millisecond, time.Second
	p.BreakerAfter, p.BreakerProbe = 5, 700*time.Millisecond
	p.LoginAfter, p.RepeatEvery = time.Second, 200*time.Millisecond
	p.QuotesDarkAfter, p.TradesDarkAfter, p.BarsDarkAfter, p.HistoryBarsDarkAfter = 5*time.Second, 5*time.Second, 12*time.Second, 12*time.Second
	p.RestoredAfter = time.Second
	p.LinkProbeEvery, p.LinkProbeTimeout, p.CompetingFor, p.PaceRecovery = 2*time.Second, time.Second, time.Second, time.Second
	// At worst the loss is yet to be found, an attempt that was doomed by the
	// fault has just begun, and the one after it waits for the breaker; and the
	// machine has other things to do.
	attempt := p.DialTimeout + p.ReadyTimeout
	found := p.HeartbeatEvery + time.Duration(p.HeartbeatMisses)*p.HeartbeatTimeout
	s.bound = 3 * (found + attempt + max(p.BackoffCap, p.BreakerProbe) + config.IDLinger + attempt)
	var all []connection
	for i := range 1 + s.dice.IntN(4) {
		c := connection{Name: events.ConnectionID(fmt.Sprint("main-", i)), Policy: p}
		c.Policy.ClientID += int64(i)
		all, s.names = append(all, c), append(s.names, c.Name)
	}
	s.program = startApp(t, &app{Connections: all, Dir: s.dir}, func(string) {})
	t.Logf("%d connections, %d gateways, ids linger for %v, healthy within %v", len(all), len(s.gateways), config.IDLinger, s.bound)
	s.mends("the start")
	for _, name := range s.names {
		for _, payload := range wantedInSoak {
			var a events.Answer
			s.must(json.Unmarshal(raw(t, s.nc, events.CommandSubject(name, events.VerbSubscribe), payload).Data, &a))
			if !a.OK {
				t.Fatalf("subscribe %s is answered %+v", payload, a.Error)
			}
		}
	}
	return s
}

// wantedInSoak is what each connection subscribes to at its start, once.
var wantedInSoak = []string{
	`{"contract":"AAPL","kind":"quotes"}`,
	`{"contract":"EUR.USD","kind":"quotes","priority":"high"}`,
	`{"contract":"AAPL","kind":"trades"}`,
	`{"contract":"SPY","kind":"history-bars","bar_size":"1 min","duration":"1 D"}`,
}

// delivers waits until all that is wanted is live. Bars so small that IB has rules on
// them are not among it: so many sessions would have them wait for ten minutes.
func (s *soak) delivers() {
	s.t.Helper()
	for _, name := range s.names {
		deadline := time.Now().Add(s.bound)
		for {
			var a events.Answer
			s.must(json.Unmarshal(raw(s.t, s.nc, events.CommandSubject(name, events.VerbSubscriptions), "").Data, &a))
			n := len(a.Subscriptions)
			bad := slices.DeleteFunc(a.Subscriptions, func(sub events.Subscription) bool { return sub.Status == events.SubscriptionLive })
			if n == len(wantedInSoak) && len(bad) == 0 {
				break
			}
			if time.Now().After(deadline) {
				s.t.Fatalf("of what %s wants %+v is not live", name, bad)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// state is what is true of one of the connections now.
func (s *soak) state(name events.ConnectionID) *events.State {
	s.t.Helper()
	a, ok := s.statusOf(name)
	if !ok {
		s.t.Fatalf("nobody answers for %s", name)
	}
	return a.State
}

// any is one of the connections.
func (s *soak) any() events.ConnectionID { return s.names[s.dice.IntN(len(s.names))] }

// losses is how many sessions were lost.
func (s *soak) losses() (n uint64) {
	for _, name := range s.names {
		n += s.state(name).Counts.Losses
	}
	return n
}

// upTo draws a duration in whole milliseconds.
func (s *soak) upTo(d time.Duration) time.Duration {
	return time.Duration(s.dice.Int64N(d.Milliseconds())) * time.Millisecond
}

func (s *soak) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// current is the gateway that one of the connections is with.
func (s *soak) current() *gateway.Gateway {
	name := s.any()
	endpoint := s.state(name).Attempt.Endpoint
	for _, gw := range s.gateways {
		if gw.Addr() == endpoint {
			return gw
		}
	}
	s.t.Fatalf("%s is with %s, which is none of its gateways", name, endpoint)
	return nil
}

// pass lets a fault last, and now and then gives a command in the middle of it.
func (s *soak) pass(d time.Duration) {
	commanded := s.dice.IntN(3) == 0
	time.Sleep(d / 2)
	if commanded {
		s.command(events.VerbReconnect)
	}
	time.Sleep(d / 2)
}

func (s *soak) command(v events.Verb) {
	s.t.Helper()
	for _, name := range s.names {
		answer, err := bus.Ask(s.t.Context(), s.nc, name, v, events.Request{})
		if err != nil || !answer.OK {
			s.t.Fatalf("%s of %s = %+v, %v, want it accepted", v, name, answer, err)
		}
	}
}

// mends waits until every connection is healthy, with a heartbeat to prove it.
func (s *soak) mends(from string) {
	s.t.Helper()
	over := time.Now()
	for _, name := range s.names {
		s.mend(from, name, over)
	}
}

func (s *soak) mend(from string, name events.ConnectionID, over time.Time) {
	s.t.Helper()
	for {
		now := s.state(name)
		if now.Condition == events.ConditionHealthy && now.Heartbeat.AnsweredAt.After(over) && len(now.Pending) == 0 {
			return
		}
		if time.Since(over) > s.bound {
			s.t.Fatalf("%v after %s %s is %s, %+v, its last heartbeat at %v, %d commands without outcome, want healthy within %v",
				time.Since(over), from, name, now.Condition, now.Reasons, now.Heartbeat.AnsweredAt, len(now.Pending), s.bound)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// agrees checks that each status is what the log leads to. The two are asked one
// after the other, and a heartbeat may come between.
func (s *soak) agrees() {
	s.t.Helper()
	for _, name := range s.names {
		within(s.t, "a status that is the fold of the log", func() bool {
			told, err := json.Marshal(s.state(name))
			s.must(err)
			worked, err := json.Marshal(foldOf(s.t, s.entries(), name))
			s.must(err)
			return string(told) == string(worked)
		})
	}
}

// entries is the whole log.
func (s *soak) entries() []bus.Entry {
	s.t.Helper()
	if s.stopped {
		return stored(s.t, s.dir)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), liveness)
	defer cancel()
	var all []bus.Entry
	for e, err := range s.log.Read(ctx, bus.Query{}) {
		s.must(err)
		all = append(all, e)
	}
	return all
}

// holds checks what must be true of a log and of gateways whatever went wrong.
func (s *soak) holds() {
	all := s.entries()
	var losses, failures uint64
	for _, name := range s.names {
		state := foldOf(s.t, all, name)
		if state.Phase != events.PhaseStopped || len(state.Pending) != 0 {
			s.t.Errorf("the log of %s leads to %s with %d commands without outcome, want stopped with none", name, state.Phase, len(state.Pending))
		}
		losses, failures = losses+state.Counts.Losses, failures+state.Counts.Failures
	}
	outcomes := make(map[string]int)
	placed := make(map[string]bool)
	for _, e := range all {
		if p, ok := e.Event.(*events.SubscriptionPlacement); ok {
			if id := fmt.Sprint(e.Connection, " ", p.RequestID); placed[id] {
				s.t.Errorf("request id %s was used twice", id)
			} else {
				placed[id] = true
			}
		}
		switch e := e.Event.(type) {
		case *events.CommandAccepted:
			outcomes[e.CommandID] += 0
		case *events.CommandCompleted:
			outcomes[e.CommandID]++
		case *events.CommandFailed:
			outcomes[e.CommandID]++
		case *events.SessionAbandoned, *events.FrameRefused:
			s.t.Errorf("there is a %s: %+v", e.Type(), e)
		}
	}
	for id, n := range outcomes {
		if n != 1 {
			s.t.Errorf("command %s has %d outcomes, want one", id, n)
		}
	}
	for _, gw := range s.gateways {
		within(s.t, "end of all sessions", func() bool { return gw.Stats().Open == 0 })
		if seen := gw.Stats(); seen.Foreign != 0 || seen.Orders != 0 {
			s.t.Errorf("%s saw %d connections without a handshake, %q, and %d orders, want none", gw.Addr(), seen.Foreign, seen.ForeignBytes, seen.Orders)
		}
	}
	s.t.Logf("%d events, %d sessions lost, %d attempts failed, %d commands, %d placements", len(all), losses, failures, len(outcomes), len(placed))
}

// explain shows the last events of a run that failed.
func (s *soak) explain() {
	if !s.t.Failed() {
		return
	}
	var text strings.Builder
	lines := timeline.Printer{Out: &text, Names: true}
	for _, e := range s.entries() {
		_ = lines.Print(e.Recorded) // a Builder takes everything
	}
	const shown = 60
	last := strings.Split(text.String(), "\n")
	s.t.Logf("the last events:\n%s", strings.Join(last[max(0, len(last)-shown):], "\n"))
}

// noOpenFiles fails the test when it leaves files or sockets open. It must be
// called before what opens them, like noLeaks.
func noOpenFiles(t *testing.T) {
	t.Helper()
	before := openFiles()
	t.Cleanup(func() {
		deadline := time.Now().Add(liveness)
		for {
			left := slices.DeleteFunc(openFiles(), func(to string) bool { return slices.Contains(before, to) })
			if len(left) == 0 {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("still open: %q", left)
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
}

// openFiles says what this process has open, where the system lists it, without
// what the runtime itself waits for sockets with.
func openFiles() (all []string) {
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && !strings.HasPrefix(to, "anon_inode:") {
			all = append(all, to)
		}
	}
	return all
}
