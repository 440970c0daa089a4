// Package endtoend is the world in which scenarios are played end to end: the
// program's own runner and dialer, a simulated gateway for each endpoint, and
// TCP between them.
//
//	endtoend.Stage(225, endtoend.InMemory()).Play(t, file)
//
// The one idea: time stands still until nothing is under way, and then moves to
// the next deadline. What a phrase leads to is done when it has been said, and
// an hour takes milliseconds.
//
// # Non-obvious
//
//   - That nothing is under way is known by counting, and never by waiting. The
//     runner's loop sets one timer before each wait and takes one thing after
//     it. The gateway counts the requests that it got. What it has sent has come
//     when a notice that it sent behind that has: a fence, which the runner
//     never hears. And an attempt has come as far as the gateway's manner lets
//     it, or its session has been torn down.
//   - A kind of request that is new must be counted where it is made, as Probe
//     does in session.asked, or nothing comes to rest and the test says which
//     requests the gateway has too many of. One that the gateway answers by
//     itself is counted in session.coming too, until note sees its answer.
//   - All phrases are real faults but one: late news of an attempt is put in
//     behind the dialer, since no socket can be made to bring them. And an
//     attempt at an endpoint of which nothing is said yet is held back before
//     the dialer, as if the network had lost what it sent.
package endtoend

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ibconn/connector"
	"ibconn/connector/tws"
	"ibconn/events"
	"ibconn/testenv/gateway"
	"ibconn/testenv/scenario"
)

// patience bounds every wait for something that must come. It says nothing
// about speed.
const patience = 30 * time.Second

// world is a runner and a dialer with simulated gateways. Time passes in it
// only when everything waits for it: a phrase is done, or time has moved, when
// nothing is under way any more, which settle finds out.
type world struct {
	testing.TB
	setup       scenario.Setup
	version     int
	log         Log
	clock       *clock
	dialerClock *clock // the same time; apart, to tell whose alarms are set
	dialer      *tws.Dialer
	ids         atomic.Uint64
	gateways    map[string]*gateway.Gateway // by the endpoint that they stand for
	fenced      int
	stirred     chan struct{} // holds a token after something guarded by mu changed

	mu       sync.Mutex
	process  *process // the one that runs, or ran last
	sessions []*session
	manners  scenario.Manners
	changed  chan struct{} // closed and replaced when manners change
	holders  map[*gateway.Gateway]holder
	dialled  map[*gateway.Gateway]int // connections that a gateway must have accepted
	delay    time.Duration            // from a probe to its answer; negative for never
	streams  bool
	linked   bool // the gateway reaches IB
	owed     []owed
}

// owed is an answer that the gateway holds back.
type owed struct {
	session *session
	at      time.Duration // by the time that passed
}

// Stage returns where scenarios are played against a gateway of that server
// version, with a log that is empty. It is good for one of them.
func Stage(version int, log Log) scenario.Stage {
	return scenario.Stage{Same: sameVersion, Open: func(tb testing.TB, s scenario.Setup) scenario.World {
		return newWorld(tb, s, version, log)
	}}
}

var serverVersion = regexp.MustCompile(`server version \d+`)

// sameVersion makes lines alike that differ in the server's version, which the
// pure world makes up. Nothing else differs: all times are the clock's, and an
// endpoint has the scenario's name.
func sameVersion(line string) string {
	return serverVersion.ReplaceAllString(line, "server version N")
}

func newWorld(tb testing.TB, s scenario.Setup, version int, log Log) *world {
	w := &world{
		TB: tb, setup: s, version: version, log: log,
		clock: &clock{wall: s.Began}, dialerClock: &clock{wall: s.Began},
		gateways: make(map[string]*gateway.Gateway), changed: make(chan struct{}),
		holders: make(map[*gateway.Gateway]holder), dialled: make(map[*gateway.Gateway]int),
		delay: 20 * time.Millisecond, linked: true, stirred: make(chan struct{}, 1),
	}
	w.dialer = &tws.Dialer{Clock: w.dialerClock, TeardownTimeout: patience}
	for _, endpoint := range append([]string{s.Policy.Endpoint}, s.Policy.Fallbacks...) {
		w.addGateway(endpoint)
	}
	tb.Cleanup(w.close)
	return w
}

func (w *world) addGateway(endpoint string) {
	w.gateways[endpoint] = gateway.Start(w, gateway.Config{
		ServerVersion: w.version, NoFarms: true, TimeSpacing: -1,
		Now: func() time.Time { now, _ := w.clock.Now(); return now },
	})
}

// do does something with w.mu held.
func (w *world) do(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	select {
	case w.stirred <- struct{}{}:
	default:
	}
}

// Start begins a process on the log.
func (w *world) Start() {
	w.Helper()
	p := w.newProcess()
	w.do(func() { w.process = p })
	p.run()
	w.settle()
}

// Kill ends the process. Its log takes nothing any more before its sockets
// are closed, which is what the system does for a process that it killed.
func (w *world) Kill() {
	w.Helper()
	w.mustRun()
	w.process.killed.Store(true)
	if err := w.process.end(errKilled); !errors.Is(err, errKilled) {
		w.Fatalf("the runner ended with %v, want it killed", err)
	}
	w.do(func() { w.owed = nil })
	w.settle()
}

func (w *world) running() bool { return w.process != nil && !w.process.ended() }

func (w *world) mustRun() {
	w.Helper()
	if !w.running() {
		w.Fatalf("no process runs")
	}
}

// Command asks the process for something.
func (w *world) Command(id string, verb events.Verb, reason string) {
	w.Helper()
	w.mustRun()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w.process.give(func() bool {
		answer := w.process.runner.Handle(ctx, verb, events.Request{ID: id, Reason: reason}, nil)
		if answer.Error != nil && answer.Error.Code == events.ErrorShutdown {
			w.Fatalf("%s was answered %+v", verb, answer.Error)
		}
		return true
	})
	w.settle()
}

// Jump moves the wall clock. Timers ring when a host wakes.
func (w *world) Jump(by time.Duration) {
	w.Helper()
	w.clock.jump(by)
	w.dialerClock.jump(by)
	if w.running() {
		w.process.ring()
	}
	w.settle()
}

// PassTo moves time from one deadline to the next.
func (w *world) PassTo(at time.Time) {
	w.Helper()
	for range 100_000 {
		now, passed := w.clock.Now()
		if !now.Before(at) {
			return
		}
		next := passed + at.Sub(now)
		for _, c := range []*clock{w.clock, w.dialerClock} {
			if a := c.next(); a != nil {
				next = min(next, a.at)
			}
		}
		if len(w.owed) > 0 {
			next = min(next, w.owed[0].at)
		}
		w.pass(max(next-passed, 0), at)
	}
	w.Fatalf("there is always something due")
}

// pass moves time, and lets happen what is then due. At the time of a line of
// the file the runner is woken in any case, as in the pure world.
func (w *world) pass(d time.Duration, until time.Time) {
	w.Helper()
	w.clock.pass(d)
	w.dialerClock.pass(d)
	if s := w.current(); w.streams && s != nil && s.come == scenario.Opened {
		w.fence(s)
	}
	now, passed := w.clock.Now()
	for a := w.dialerClock.next(); a != nil && a.at <= passed; a = w.dialerClock.next() {
		w.dialerClock.ring(a)
	}
	if w.running() && (w.process.due(passed) || !now.Before(until)) {
		w.process.ring()
	}
	w.settle()
	for len(w.owed) > 0 && w.owed[0].at <= passed {
		var o owed
		w.do(func() { o, w.owed = w.owed[0], w.owed[1:] })
		w.answer(o.session)
	}
}

// answer lets the gateway answer the oldest probe that it holds.
func (w *world) answer(s *session) {
	w.Helper()
	if s != w.current() {
		return // the gateway forgot it with the session
	}
	before := s.Traffic().FramesIn
	s.gateway.Release(gateway.ReqCurrentTime, int(s.order.ClientID))
	w.until("the answer to a probe", func() bool { return s.Traffic().FramesIn > before })
	w.fence(s)
}

// fence waits until all that the gateway has sent is reported, and what comes
// of it is done.
func (w *world) fence(s *session) {
	w.Helper()
	w.fenced++
	w.do(func() { s.coming++ })
	if n := s.gateway.Error(-1, fenceCode, fmt.Sprint(fence, " ", w.fenced), int(s.order.ClientID)); n != 1 {
		w.Fatalf("attempt %d has %d sessions at its gateway, want 1", s.order.Attempt, n)
	}
	w.settle()
}

// Meet changes how the gateways meet attempts.
func (w *world) Meet(m scenario.Manners) {
	w.Helper()
	for endpoint := range m {
		if endpoint != "" && w.gateways[endpoint] == nil {
			w.addGateway(endpoint)
		}
	}
	w.do(func() { w.manners = m })
	for endpoint, g := range w.gateways {
		w.apply(g, m.At(endpoint))
	}
	w.do(func() {
		close(w.changed)
		w.changed = make(chan struct{})
	})
	w.settle()
}

// apply makes a gateway meet the attempt that is at it, and later ones, in a
// manner. A session that is open is not touched.
func (w *world) apply(g *gateway.Gateway, m scenario.Manner) {
	w.Helper()
	present := w.current()
	if present != nil && (present.gateway != g || present.come == scenario.Lost || present.come == scenario.Opened) {
		present = nil
	}
	w.letGo(g)
	g.OnAccept(gateway.Normal)
	g.Off(gateway.StartAPI)
	if err := g.Refuse(m.Reach == scenario.Refused); err != nil {
		w.Fatalf("%v", err)
	}
	switch m.Reach {
	case scenario.HungUp:
		g.OnAccept(gateway.CloseAtOnce)
	case scenario.Accepted:
		// A gateway that accepts and is frozen thaws, as the scenarios want it;
		// one that meets an attempt with StayMute never answers that one.
		started := g.Stats().Clients
		g.Stall(true)
		if len(started) > 0 {
			g.Stall(false, started...)
		}
		return
	case scenario.Greeted:
		// For the same reason, this is not MuteAfterGreeting.
		g.On(gateway.StartAPI, 0, gateway.Hold())
	case scenario.Denied:
		if present != nil {
			w.overtake(g, present, int(m.Taken))
		}
	case scenario.Lost, scenario.Refused, scenario.Opened:
	}
	g.Stall(false)
	switch {
	case present == nil:
	case m.Reach == scenario.Refused || m.Reach == scenario.HungUp:
		g.FIN()
	case m.Reach != scenario.Greeted:
		g.Release(gateway.StartAPI)
	}
}

// overtake makes another client take an id at a gateway before an attempt that
// is there asks for it.
func (w *world) overtake(g *gateway.Gateway, s *session, id int) {
	w.Helper()
	g.On(gateway.StartAPI, 0, gateway.Hold())
	g.Stall(false)
	w.until("startApi", func() bool { return g.Stats().Requests[gateway.StartAPI] > s.starts })
	g.Off(gateway.StartAPI)
	if err := w.hold(w.Context(), g, id); err != nil {
		w.Fatalf("take client id %d at the gateway: %v", id, err)
	}
}

// Link takes the link of every gateway away, or gives it back.
func (w *world) Link(up bool) {
	w.do(func() { w.linked = up })
	for _, g := range w.gateways {
		w.link(g)
	}
}

func (w *world) link(g *gateway.Gateway) {
	if w.linked {
		g.RestoreLink(false, false)
	} else {
		g.LoseLink(false)
	}
}

// Answer is how the gateway answers probes from now on.
func (w *world) Answer(after time.Duration, streams bool) {
	w.do(func() { w.delay, w.streams = after, streams })
	for _, g := range w.gateways {
		g.Off(gateway.ReqMatchingSymbols)
		if after < 0 {
			g.On(gateway.ReqMatchingSymbols, 0, gateway.Drop())
		}
	}
	if s := w.current(); s != nil && s.come == scenario.Opened {
		s.gateway.Off(gateway.ReqCurrentTime)
		s.gateway.On(gateway.ReqCurrentTime, 0, w.probesMeet())
	}
}

func (w *world) probesMeet() gateway.Action {
	if w.delay < 0 {
		return gateway.Drop()
	}
	return gateway.Hold()
}

// Say makes the gateway say something in the present session.
func (w *world) Say(code int, text string) {
	w.Helper()
	s := w.current()
	if s == nil || s.come != scenario.Opened {
		return
	}
	want := w.read(&s.noticed) + s.gateway.Error(-1, code, text, int(s.order.ClientID))
	w.until("a notice", func() bool { return w.read(&s.noticed) == want })
	w.settle()
}

// Close and Reset end the present session or attempt.
func (w *world) Close() { w.Helper(); w.cut((*gateway.Gateway).FIN) }
func (w *world) Reset() { w.Helper(); w.cut((*gateway.Gateway).Reset) }

func (w *world) cut(how func(g *gateway.Gateway, clients ...int) int) {
	w.Helper()
	s := w.current()
	if s == nil || s.come == scenario.Lost {
		return
	}
	w.do(func() { s.ending = true })
	if s.come == scenario.Opened {
		how(s.gateway, int(s.order.ClientID))
	} else {
		how(s.gateway)
	}
	w.settle()
}

// CloseAgain says in the name of an attempt that is over that it is. No socket
// can be made to say that, so this one phrase begins behind the dialer.
func (w *world) CloseAgain(attempt uint64) {
	w.Helper()
	i := slices.IndexFunc(w.sessions, func(s *session) bool { return s.order.Attempt == attempt })
	if i < 0 || !w.sessions[i].over {
		w.Fatalf("attempt %d is not over", attempt)
	}
	w.sessions[i].tell(connector.Ended{Attempt: attempt, Cause: events.CauseClosedByGateway})
	w.settle()
}

// Now returns the time of the wall clock.
func (w *world) Now() time.Time { now, _ := w.clock.Now(); return now }

// Wires returns what is in the log.
func (w *world) Wires() [][]byte { return w.log.Wires() }

// State returns the state of the process that runs, or ran last.
func (w *world) State() events.State {
	if w.process == nil {
		return events.NewState("main")
	}
	return w.process.runner.State()
}

// End ends the process in order, and checks what is left.
func (w *world) End() {
	w.Helper()
	if w.running() {
		if err := w.process.end(errTerminated); !errors.Is(err, errTerminated) {
			w.Fatalf("the runner ended with %v, want what it was ended with", err)
		}
	}
	w.settle()
	var head events.Head
	fold := events.NewState("main")
	for _, rec := range w.recorded() {
		if err := head.Follows(rec); err != nil {
			w.Fatalf("%s does not follow: %v", rec.Event.Type(), err)
		}
		if e, ok := rec.Event.(*events.SessionAbandoned); ok {
			w.Errorf("attempt %d left something of it behind", e.Attempt)
		}
		head, fold = head.Then(rec), fold.Apply(rec)
	}
	live := w.State()
	if live.Epoch > 1 {
		// A process does not read the heartbeats of those before it.
		fold.Heartbeat, live.Heartbeat = events.Heartbeat{}, events.Heartbeat{}
	}
	if !reflect.DeepEqual(fold, live) {
		w.Fatalf("the log folds to\n%+v\nwant the live state\n%+v", fold, live)
	}
	for endpoint, g := range w.gateways {
		w.letGo(g)
		g.Stall(false) // so that it sees who is gone
		w.until("the end of every session at "+endpoint, func() bool { return g.Stats().Open == 0 })
		if s := g.Stats(); s.Foreign != 0 || s.Orders != 0 {
			w.Errorf("%s saw %d connections that were no API client and %d orders", endpoint, s.Foreign, s.Orders)
		}
	}
}

// close ends what runs when the test has failed.
func (w *world) close() {
	for _, h := range w.holders {
		h.conn.Close()
	}
	if w.running() {
		w.process.killed.Store(true)
		w.process.cancel(errKilled)
		<-w.process.over
	}
}

// current returns the attempt that goes on, or nil.
func (w *world) current() *session {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.sessions) == 0 || w.sessions[len(w.sessions)-1].over {
		return nil
	}
	return w.sessions[len(w.sessions)-1]
}

func (w *world) mannerOf(endpoint string) scenario.Manner {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.manners.At(endpoint)
}

func (w *world) read(n *int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return *n
}

// settle waits until nothing is under way any more: the runner waits, its
// attempt has come as far as the gateway lets it, and none before it is left.
func (w *world) settle() {
	w.Helper()
	w.await(w.busy)
	if s := w.current(); s != nil && s.come == scenario.Opened {
		w.hear(s)
	}
}

// hear notes when the probes that the gateway received since are to be
// answered.
func (w *world) hear(s *session) {
	_, passed := w.clock.Now()
	for received := s.gateway.Stats().Requests[gateway.ReqCurrentTime]; s.probes < received; s.probes++ {
		if w.delay >= 0 {
			w.owed = append(w.owed, owed{s, passed + w.delay})
		}
	}
}

// busy says what is under way, or nothing.
func (w *world) busy() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.process == nil {
		return ""
	}
	if p := w.process; !p.ended() {
		if busy := p.busy(); busy != "" {
			return busy
		}
	} else if !errors.Is(p.err, errKilled) && !errors.Is(p.err, errTerminated) {
		w.Fatalf("the runner ended: %v", p.err)
	}
	for _, s := range w.sessions {
		if busy := s.busy(); busy != "" {
			return busy
		}
	}
	return ""
}

func (w *world) recorded() []events.Recorded {
	w.Helper()
	var all []events.Recorded
	for _, wire := range w.Wires() {
		rec, err := events.Decode(wire)
		if err != nil {
			w.Fatalf("%v", err)
		}
		all = append(all, rec)
	}
	return all
}

// last words what was recorded last.
func (w *world) last(n int) string {
	var said []string
	recorded := w.recorded()
	for _, rec := range recorded[max(0, len(recorded)-n):] {
		said = append(said, events.Sentence(rec))
	}
	return strings.Join(said, "\n")
}

// pollEvery is how often what must come is looked for where nobody tells that
// it came.
const pollEvery = 50 * time.Microsecond

// await waits until nothing is missing any more.
func (w *world) await(missing func() string) {
	w.Helper()
	for deadline := time.Now().Add(patience); ; {
		still := missing()
		if still == "" {
			return
		}
		select {
		case <-w.stirred:
		case <-time.After(pollEvery):
		}
		if time.Now().After(deadline) {
			w.Fatalf("after %v still: %s\nrecorded last:\n%s", patience, still, w.last(5))
		}
	}
}

// until waits until ok holds.
func (w *world) until(what string, ok func() bool) {
	w.Helper()
	w.await(func() string {
		if ok() {
			return ""
		}
		return "waiting for " + what
	})
}

// pause lets a moment pass, and says whether ctx is still on.
func pause(ctx context.Context) bool {
	time.Sleep(pollEvery)
	return ctx.Err() == nil
}
