package gateway

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"
)

const (
	flushTimeout = time.Second // what is left to say before a FIN has this long
	drainTimeout = time.Second // and the client then has this long to close its side
	maxChunk     = 64 << 10    // the most that one write hands to the system, so that faults take hold soon
)

// ending is why and how a session ends. The first one counts.
type ending struct {
	cause Cause
	how   manner
}

type manner int

const (
	dropped manner = iota // close at once: the other side is gone, or the gateway stops
	flushed               // write what is queued, then FIN, and let the client close
	aborted               // RST
)

func (e *ending) Error() string { return string(e.cause) }

// flow is what a fault does to the traffic of a session.
type flow struct {
	stalled  bool          // neither read nor write
	silent   bool          // subscriptions deliver nothing
	lost     bool          // there is no link to IB's servers
	noticed  bool          // and clients are told
	misleads bool          // what needs the link is answered all the same
	lag      time.Duration // between what is said and its being written
	drip     int           // bytes to write at a time, 0 for no limit
	every    time.Duration // and how often
	forgets  int           // how often subscriptions were to be forgotten
	competes bool          // another session of the user has the market data
	contests int           // how often that began
	forgoing chan struct{} // closed when this flow no longer holds
}

// session is one accepted connection. One goroutine reads, one writes, one owns the simulation and answers, and one
// waits for the end to unblock the others. Faults come from any goroutine, through flow, out and end.
type session struct {
	g      *Gateway
	conn   *net.TCPConn
	log    zerolog.Logger
	frames chan []byte
	out    *outbox
	end    context.CancelCauseFunc

	mu      sync.Mutex
	flow    flow
	codec   codec // nil until the greeting
	client  int32 // meaningful once started
	started bool
	// The kinds of requests to answer of those that are held.
	released []Request

	release chan struct{} // holds a token after released grew

	ticker atomic.Int32 // the id a burst is sent to

	holds [capacities]int // guarded by the gateway's mutex

	simulation
}

// serve runs one connection to its end. The gateway itself stops when stop ends.
func (g *Gateway) serve(stop context.Context, conn *net.TCPConn) {
	ctx, end := context.WithCancelCause(stop)
	s := &session{
		g: g, conn: conn, out: newOutbox(), frames: make(chan []byte), release: make(chan struct{}, 1), end: end,
		log: g.cfg.Log.With().Str("client", conn.RemoteAddr().String()).Logger(),
	}
	mode := g.admit(s)
	s.log.Info().Msg("accepted")
	read := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		<-ctx.Done()
		s.interrupt(s.ended(ctx))
		select {
		case <-stop.Done():
			_ = conn.SetDeadline(time.Now()) // no time left to drain
		case <-read:
		}
	})
	work.Go(func() { s.write(ctx, stop) })
	work.Go(func() { s.simulate(ctx) })
	s.read(ctx, mode)
	close(read)
	work.Wait()
	_ = conn.Close() // an aborted one is closed already
	e := s.ended(ctx)
	g.dismiss(s, e.cause)
	s.log.Info().Str("cause", string(e.cause)).Msg("ended")
}

// ended returns how the session ended; only meaningful once ctx is done.
func (s *session) ended(ctx context.Context) *ending {
	if e, ok := errors.AsType[*ending](context.Cause(ctx)); ok {
		return e
	}
	return &ending{cause: Stopped}
}

// interrupt unblocks reads and writes so that the session ends within a bounded time.
func (s *session) interrupt(e *ending) {
	now := time.Now()
	switch e.how {
	case aborted:
		_ = s.conn.SetLinger(0) // close then sends RST
		_ = s.conn.Close()
	case flushed:
		flushed := now.Add(s.current().lag + flushTimeout)
		_ = s.conn.SetWriteDeadline(flushed)
		_ = s.conn.SetReadDeadline(flushed.Add(drainTimeout))
	default:
		_ = s.conn.SetDeadline(now)
	}
}

// read greets the client and hands its frames over, until there are no more.
func (s *session) read(ctx context.Context, mode AcceptMode) {
	s.end(s.converse(ctx, mode))
	// A socket closed with unread bytes answers RST instead of FIN, so what still comes is read, until interrupt's deadline.
	_, _ = io.Copy(io.Discard, s.conn)
}

func (s *session) converse(ctx context.Context, mode AcceptMode) error {
	if mode == CloseAtOnce {
		return &ending{AcceptedAndClosed, flushed}
	}
	r := bufio.NewReader(s.conn)
	if err := s.greet(ctx, r, mode); err != nil {
		return err
	}
	for {
		frame, err := readFrame(r, maxRequest)
		if err != nil {
			return readEnding(err)
		}
		if !s.flowing(ctx) {
			return ctx.Err()
		}
		select {
		case s.frames <- frame:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// greet reads the hello and answers it. In the mute modes it returns only when the session has ended.
func (s *session) greet(ctx context.Context, r *bufio.Reader, mode AcceptMode) error {
	h, err := readHello(r)
	switch {
	case errors.Is(err, errForeign):
		first, _ := r.Peek(min(r.Buffered(), foreignBytes))
		s.g.countForeign(first)
		s.log.Warn().Hex("first_bytes", first).Msg("not an API client")
		return &ending{ForeignBytes, flushed}
	case err != nil:
		return readEnding(err)
	}
	if mode == StayMute {
		return mute(r)
	}
	version, ok := negotiate(s.g.cfg.ServerVersion, h)
	if !ok {
		s.log.Warn().Int("min", h.min).Int("max", h.max).Msg("no common version")
		return &ending{NoCommonVersion, flushed}
	}
	if !s.flowing(ctx) {
		return ctx.Err()
	}
	// The reply is text in every version.
	reply := line(nil)
	reply.ints(int32(version)).add(s.g.now().Format("20060102 15:04:05 ") + s.g.now().Location().String())
	s.open(codecFor(version), mode)
	s.out.put(ctx, appendFrame(nil, func(b []byte) []byte { return append(b, reply...) }))
	s.log.Info().Int("version", version).Str("options", h.options).Msg("greeted")
	if mode == MuteAfterGreeting {
		return mute(r)
	}
	return nil
}

// mute reads and ignores all a client says.
func mute(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	if err == nil {
		err = io.EOF
	}
	return readEnding(err)
}

func readEnding(err error) *ending {
	switch {
	case errors.Is(err, errFrame):
		return &ending{BadFrame, flushed}
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return &ending{ClientReset, dropped}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &ending{ClientClosed, dropped}
	}
	return &ending{ClientLost, dropped}
}

// open notes the encoding that was agreed on, from which on faults can speak to the client.
func (s *session) open(c codec, mode AcceptMode) {
	s.mu.Lock()
	s.codec = c
	s.mu.Unlock()
	s.closeAfterStart = mode == CloseAfterStartAPI
	s.g.countGreeting()
}

// current returns the flow that holds now.
func (s *session) current() flow {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flow
}

// divert changes the flow and wakes whoever waits under the old one.
func (s *session) divert(change func(*flow)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.flow)
	close(s.flow.forgoing)
	s.flow.forgoing = make(chan struct{})
}

// flowing waits while the session is stalled; false if it ended.
func (s *session) flowing(ctx context.Context) bool {
	for {
		f := s.current()
		if !f.stalled {
			return ctx.Err() == nil
		}
		select {
		case <-f.forgoing:
		case <-ctx.Done():
			return false
		}
	}
}

// write sends what is queued, when it is due, until the session ends; then it ends the connection as the ending asks.
func (s *session) write(ctx, stop context.Context) {
	var rest []byte
	for ctx.Err() == nil {
		f := s.current()
		ready, due := s.out.take(f.lag)
		switch {
		case len(ready) > 0:
			rest = s.writeAll(ctx, ready)
		case due > 0:
			wait(ctx, due, f.forgoing)
		default:
			select {
			case <-s.out.more:
			case <-ctx.Done():
			}
		}
	}
	if s.ended(ctx).how != flushed {
		return
	}
	if !s.current().stalled {
		s.writeLast(stop, rest)
	}
	_ = s.conn.CloseWrite()
	_ = s.conn.SetReadDeadline(time.Now().Add(drainTimeout))
}

// writeLast sends what is left when the session has ended, and returns when the end of the stream is due too, or stop
// ends. An error is not looked at: why the session has ended is known.
func (s *session) writeLast(stop context.Context, rest []byte) {
	s.out.seal()
	_, err := s.conn.Write(rest)
	for err == nil {
		f := s.current()
		ready, due := s.out.take(f.lag)
		if _, err = s.conn.Write(ready); due <= 0 || stop.Err() != nil {
			return
		}
		wait(stop, due, f.forgoing)
	}
}

// writeAll writes buf at the pace of the flow and returns what is left of it when the session has ended.
func (s *session) writeAll(ctx context.Context, buf []byte) []byte {
	for len(buf) > 0 && s.flowing(ctx) {
		n := min(len(buf), maxChunk)
		if f := s.current(); f.drip > 0 {
			n = min(n, f.drip)
			if !wait(ctx, f.every, f.forgoing) {
				continue // the flow changed, or the session ended
			}
		}
		_ = s.conn.SetWriteDeadline(time.Now().Add(s.g.cfg.writeTimeout))
		if ctx.Err() != nil { // interrupt may have set its shorter deadline just before
			break
		}
		written, err := s.conn.Write(buf[:n])
		buf = buf[written:]
		if err != nil {
			s.end(writeEnding(err))
			return buf
		}
	}
	return buf
}

func writeEnding(err error) *ending {
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return &ending{ClientReset, dropped}
	}
	return &ending{NotReading, aborted}
}

// wait lets d pass; false if ctx ended or woken was closed before.
func wait(ctx context.Context, d time.Duration, woken <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-woken:
	case <-ctx.Done():
	}
	return false
}
