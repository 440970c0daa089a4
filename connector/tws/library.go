package tws

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"ibconn/events"

	"github.com/rs/zerolog"
	"github.com/scmhub/ibapi"
)

// ibapi writes a line to stderr for much of what it does, and takes another
// logger only before its first client exists.
func init() { ibapi.SetLogger(zerolog.Nop()) }

// strangerPatience is how long a connection to the library's port may take to
// say what the library says at once.
const strangerPatience = time.Second

var errUndecodable = ending{events.CauseGarbled, "the API library could not decode a message"}

// library is the API library's part of one session: an EClient, and our end of
// the loopback connection that it takes for the gateway's.
type library struct {
	client    *ibapi.EClient
	callbacks *callbacks
	patience  time.Duration
	done      <-chan struct{} // closed when the client stopped reading
	mark      []byte          // a frame that comes back through callbacks.marks

	connected chan struct{} // closed when Connect returned; nil before it was called
	refusal   error         // what Connect returned
	conn      *net.TCPConn  // nil until the client was let in
	wrote     chan struct{} // gets a token for each outward mark that left the client
	stop      chan struct{} // closed to end the sender
	stopped   chan struct{} // closed when the sender ended; nil before it began
	inbound   sync.WaitGroup
	outbound  sync.WaitGroup
}

func newLibrary(c *callbacks, raw bool, patience time.Duration) *library {
	l := &library{
		client: ibapi.NewEClient(c), callbacks: c, patience: patience,
		wrote: make(chan struct{}, 2), stop: make(chan struct{}),
	}
	l.done = l.client.Ctx().Done()
	l.mark = markFrame(raw, c.mark)
	return l
}

// raise brings the client up on the far side of t, and returns when it is known
// to run: Connect returned, its reader delivered a mark, and its writer the one
// that send began with. Until then no message of the gateway's reaches it and
// its stream does not end. A client whose session ends while its goroutines are
// still starting resets a WaitGroup under them, which can crash the process.
func (l *library) raise(t *tap, r reply, clientID int64, send func()) error {
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return fmt.Errorf("listen for the API library: %w", err)
	}
	// One connection only: ibapi re-dials on a failed write, and would go on
	// there without a greeting.
	defer listener.Close()

	// The client's hello ends here, so its options are free to tell the client
	// from any other program on this machine.
	password := rand.Text()
	l.client.SetConnectionOptions(password)
	l.connected = make(chan struct{})
	go l.connect(listener, clientID)

	late := time.After(l.patience)
	if l.conn, err = admit(listener, hello(password), time.Now().Add(l.patience)); err != nil {
		return l.absence(err)
	}
	l.outbound.Go(func() { t.outbound(l.conn, l.wrote) })
	if _, err := l.conn.Write(append(r.frame, l.mark...)); err != nil {
		return fmt.Errorf("greet the API library: %w", err)
	}
	select {
	case <-l.connected:
	case <-late:
		return errors.New("the API library did not connect in time")
	}
	if l.refusal != nil {
		return fmt.Errorf("greet the API library: %w", l.refusal)
	}
	l.stopped = make(chan struct{})
	go func() {
		defer close(l.stopped)
		send()
	}()
	for _, sign := range []<-chan struct{}{l.callbacks.marks, l.wrote} {
		select {
		case <-sign:
		case <-late:
			return errors.New("the API library did not come up in time")
		}
	}
	return nil
}

// connect runs in a goroutine of its own, since nothing but the far end can
// make Connect return. If it fails nobody need wait at the listener.
func (l *library) connect(listener *net.TCPListener, clientID int64) {
	defer func() {
		if r := recover(); r != nil {
			l.refusal = fmt.Errorf("it panicked: %v", r)
		}
		close(l.connected)
		if l.refusal != nil {
			listener.Close()
		}
	}()
	port := listener.Addr().(*net.TCPAddr).Port
	if err := l.client.Connect("127.0.0.1", port, clientID); err != nil {
		l.refusal = fmt.Errorf("it did not connect: %w", err)
	} else if !l.client.IsConnected() {
		// It returns nil for an end of stream in its greeting.
		l.refusal = errors.New("it did not connect")
	}
}

// absence returns why the client did not come, when the listener says err.
func (l *library) absence(err error) error {
	select {
	case <-l.connected:
		err = l.refusal
	default:
	}
	return fmt.Errorf("wait for the API library: %w", err)
}

// admit returns the first connection that begins with want. Others are closed.
func admit(listener *net.TCPListener, want []byte, deadline time.Time) (*net.TCPConn, error) {
	listener.SetDeadline(deadline)
	for {
		conn, err := listener.AcceptTCP()
		if err != nil {
			return nil, err
		}
		got := make([]byte, len(want))
		conn.SetReadDeadline(time.Now().Add(strangerPatience))
		if _, err := io.ReadFull(conn, got); err == nil && string(got) == string(want) {
			conn.SetReadDeadline(time.Time{})
			return conn, nil
		}
		conn.Close()
	}
}

// feed passes the gateway's messages on until their end, which it returns in
// ended.
func (l *library) feed(t *tap) (ended <-chan error) {
	end := make(chan error, 1)
	l.inbound.Go(func() { end <- t.inbound(l.conn) })
	return end
}

// drain waits until the client decoded everything that was passed to it. It
// returns an error if the client gave up before that.
func (l *library) drain() error {
	if l.conn == nil {
		return nil
	}
	l.conn.SetWriteDeadline(time.Now().Add(l.patience))
	l.inbound.Wait()
	_, _ = l.conn.Write(l.mark) // fails only with a client that is done
	select {
	case <-l.callbacks.marks:
		return nil
	case <-l.done:
		return errUndecodable
	case <-time.After(l.patience):
		return nil
	}
}

// release ends the client's stream, once it is idle, and waits until nothing of
// the client is left. It reports whether that came to pass.
func (l *library) release() bool {
	late := time.After(l.patience)
	idle := l.idle(late)
	if l.conn != nil {
		// What the sender did came before what the client does now. Nothing
		// in ibapi says so, but a write on the way between them does.
		_, _ = l.conn.Write(l.mark)
		l.conn.CloseWrite()
	}
	gone := idle && l.gone(late)
	if l.conn != nil {
		l.conn.Close()
	}
	l.outbound.Wait()
	return gone
}

// idle ends the sender, and waits until the client wrote all that it was asked
// to. A request that is still on its way while the client lets go blocks for
// ever, or is written to a closed socket, on which the client spends 1.5 s
// re-dialling.
func (l *library) idle(late <-chan time.Time) bool {
	close(l.stop)
	if l.stopped == nil {
		return true
	}
	for _, sign := range []<-chan struct{}{l.stopped, l.wrote} {
		select {
		case <-sign:
		case <-l.done:
			return true
		case <-late:
			return false
		}
	}
	return true
}

// gone waits for the goroutines of the client, and says whether they and its
// socket are gone.
func (l *library) gone(late <-chan time.Time) bool {
	if l.connected == nil {
		return true
	}
	signs := []<-chan struct{}{l.connected}
	if l.stopped != nil {
		signs = append(signs, l.stopped, l.callbacks.closed)
	}
	for _, sign := range signs {
		select {
		case <-sign:
		case <-late:
			return false
		}
	}
	// A client that fails in its greeting keeps its socket, until it is garbage.
	return l.refusal == nil || errors.Is(l.refusal, ibapi.CONNECT_FAIL)
}
