package gateway

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/scmhub/ibapi/protobuf"
)

// AcceptMode is what becomes of connections that are accepted from now on.
type AcceptMode int

// The accept modes.
const (
	Normal             AcceptMode = iota
	CloseAtOnce                   // accept and close, as a gateway does with an address it does not trust
	StayMute                      // accept and say nothing, as behind a port forwarder or with a login dialog open
	MuteAfterGreeting             // answer the handshake, then nothing
	CloseAfterStartAPI            // answer the handshake, and close when startApi has come
)

// OnAccept sets what becomes of connections accepted from now on. Sessions that are open are not touched.
func (g *Gateway) OnAccept(mode AcceptMode) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mode = mode
}

// Refuse closes the listening port, so that clients are refused, or opens the same port again. Open sessions are not
// touched. The port stays reserved meanwhile where the system allows it. An error says that it could not be opened again.
func (g *Gateway) Refuse(on bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	refusing := g.listener == nil
	if g.closed || g.addr == "" || refusing == on {
		return nil
	}
	if on {
		_ = g.listener.Close()
		g.setListenerLocked(nil)
		g.held = holdPort(g.addr)
		return nil
	}
	l, err := net.Listen("tcp", g.addr)
	if err != nil {
		return fmt.Errorf("gateway: open the port again: %w", err)
	}
	if g.held != nil {
		_ = g.held.Close()
		g.held = nil
	}
	g.setListenerLocked(l)
	return nil
}

// Restart does what the daily restart of a gateway does: every session ends with a FIN, the port is closed, and opened
// again after downFor. It returns then, or when ctx ends, with the port open in both cases unless the error says otherwise.
func (g *Gateway) Restart(ctx context.Context, downFor time.Duration) error {
	if err := g.goDown(); err != nil {
		return err
	}
	wait(ctx, downFor, nil)
	return g.Refuse(false)
}

func (g *Gateway) goDown() error {
	err := g.Refuse(true)
	g.finish(&ending{FaultRestart, flushed}, nil)
	return err
}

// FIN ends sessions in good order: what is queued is written, then the stream ends. Like every fault of sessions it acts
// on the given clients, on every connection if none is given, and returns how many those were.
func (g *Gateway) FIN(clients ...int) int { return g.finish(&ending{FaultFIN, flushed}, clients) }

// Reset ends sessions with RST; what was queued is lost.
func (g *Gateway) Reset(clients ...int) int { return g.finish(&ending{FaultReset, aborted}, clients) }

func (g *Gateway) finish(e *ending, clients []int) int {
	return g.each(clients, func(s *session) bool {
		s.end(e)
		return true
	})
}

// each calls do with the sessions of the given clients, or all, and returns how many it acted on.
func (g *Gateway) each(clients []int, do func(*session) bool) int {
	g.mu.Lock()
	chosen := g.chosenLocked(clients)
	g.mu.Unlock()
	n := 0
	for _, s := range chosen {
		if do(s) {
			n++
		}
	}
	return n
}

func (g *Gateway) chosenLocked(clients []int) []*session {
	var chosen []*session
	for s := range g.sessions {
		if s.isOneOf(clients) {
			chosen = append(chosen, s)
		}
	}
	return chosen
}

func (s *session) isOneOf(clients []int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(clients) == 0 || s.started && slices.Contains(clients, int(s.client))
}

// MaxBurst is the most ticks BurstThenFIN sends.
const MaxBurst = 1_000_000

// BurstThenFIN sends n ticks at once and ends the session with a FIN right behind them. The ticks are bids for the
// market data subscription opened last, or for id 1; their sizes are 1 to n, so that a receiver can tell which are missing.
func (g *Gateway) BurstThenFIN(n int, clients ...int) int {
	n = min(n, MaxBurst)
	return g.each(clients, func(s *session) bool {
		c := s.speaks()
		if c == nil {
			return false
		}
		id := max(s.ticker.Load(), 1)
		var frames []byte
		for i := range n {
			frames = c.append(frames, &protobuf.TickPrice{
				ReqId: &id, TickType: new(int32(tickBid)), Price: new(100.0), Size: decimal(int64(i + 1)), AttrMask: new(int32(0)),
			})
		}
		return s.sayLast(frames, &ending{FaultBurst, flushed})
	})
}

// CutMidFrame sends the first half of a message and ends the session with a FIN.
func (g *Gateway) CutMidFrame(clients ...int) int {
	return g.each(clients, func(s *session) bool {
		c := s.speaks()
		if c == nil {
			return false
		}
		whole := c.append(nil, g.problem(-1, farms[0].code, farms[0].text))
		return s.sayLast(whole[:len(whole)/2], &ending{FaultCut, flushed})
	})
}

// speaks returns the encoding agreed on in the greeting, nil before it.
func (s *session) speaks() codec {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.codec
}

// say queues bytes behind what is queued already. A session that has no room left for them is cut off.
func (s *session) say(frames []byte) bool {
	if s.speaks() == nil {
		return false
	}
	if !s.out.force(frames) {
		s.end(&ending{NotReading, aborted})
		return false
	}
	return true
}

func (s *session) sayLast(frames []byte, e *ending) bool {
	if !s.say(frames) {
		return false
	}
	s.end(e)
	return true
}

// Error sends an error or notice to clients that have started the API; id is a request's, or -1 for none. It has no other
// effect: what a code implies, such as lost subscriptions with 1101, has to be asked for with Silence and Forget.
func (g *Gateway) Error(id, code int, text string, clients ...int) int {
	return g.each(clients, func(s *session) bool {
		return s.hasStarted() && s.say(s.speaks().append(nil, g.problem(int32(id), int32(code), text)))
	})
}

func (s *session) hasStarted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.started
}

// OverlongFrame sends the header of a frame of 2 GiB. All that follows is then taken for its content.
func (g *Gateway) OverlongFrame(clients ...int) int {
	header := binary.BigEndian.AppendUint32(nil, 1<<31-1)
	return g.each(clients, func(s *session) bool { return s.say(header) })
}

// Garbage sends n random bytes, at most 1 MiB, the same ones for the same seed.
func (g *Gateway) Garbage(n int, clients ...int) int {
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], g.cfg.Seed)
	noise := make([]byte, min(max(n, 0), maxRequest))
	_, _ = rand.NewChaCha8(seed).Read(noise)
	return g.each(clients, func(s *session) bool { return s.say(noise) })
}

// Stall stops reading and writing, as a frozen gateway does, or lets both go on. Without clients it holds for new
// connections too: the system accepts them, and nothing answers.
func (g *Gateway) Stall(on bool, clients ...int) int {
	return g.divert(func(f *flow) { f.stalled = on }, clients)
}

// Drip writes n bytes at a time, with every between, however frames lie in them; n < 1 ends it. Without clients it holds
// for new connections too.
func (g *Gateway) Drip(n int, every time.Duration, clients ...int) int {
	return g.divert(func(f *flow) { f.drip, f.every = max(n, 0), every }, clients)
}

// Lag makes everything that is said from then on, or is not written yet, arrive d later than it was said, in order: answers,
// data, the handshake, and a FIN behind them, but no RST. What clients send is read at once. It is latency and not a slow
// line: up to 1 MiB can be under way, beyond which the simulation waits. 0 or less ends it, and what is under way arrives at
// once. Without clients it holds for new connections too.
func (g *Gateway) Lag(d time.Duration, clients ...int) int {
	return g.divert(func(f *flow) { f.lag = max(d, 0) }, clients)
}

// Silence makes subscriptions deliver nothing, or deliver again; requests are answered all the while. This is what a lost
// farm or link looks like, and also a subscription that has died without a word.
func (g *Gateway) Silence(on bool, clients ...int) int {
	return g.divert(func(f *flow) { f.silent = on }, clients)
}

// Forget drops every subscription without a word, as a gateway does that lost its data (1101).
func (g *Gateway) Forget(clients ...int) int {
	return g.divert(func(f *flow) { f.forgets++ }, clients)
}

// divert changes the flow of sessions, and with no clients given that of new ones, under one lock so that none is missed.
func (g *Gateway) divert(change func(*flow), clients []int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.divertLocked(change, clients)
}

func (g *Gateway) divertLocked(change func(*flow), clients []int) int {
	if len(clients) == 0 {
		change(&g.flow)
	}
	chosen := g.chosenLocked(clients)
	for _, s := range chosen {
		s.divert(change)
	}
	return len(chosen)
}
