package tws

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"ibconn/events"
)

// tapped returns a peer and a tap that is connected to it.
func tapped(t *testing.T) (*peer, *tap) {
	t.Helper()
	p := newPeer(t)
	conn, err := net.Dial("tcp", p.addr())
	if err != nil {
		t.Fatal(err)
	}
	p.accept()
	tap := newTap(conn.(*net.TCPConn), newRecorder(8), new(probes), func(int, int) {})
	t.Cleanup(tap.hangUp)
	return p, tap
}

var versionReply = text(176, "20240105 10:00:00 EST")

// greeted returns a tap whose peer answered the hello.
func greeted(t *testing.T) (*peer, *tap) {
	t.Helper()
	p, tap := tapped(t)
	p.write(versionReply)
	if _, err := tap.greet(""); err != nil {
		t.Fatal(err)
	}
	io.ReadFull(p.conn, make([]byte, len(hello(""))))
	return p, tap
}

// relayed runs tap.inbound and returns what the library would have got, and
// the ending.
func relayed(t *testing.T, tap *tap) (string, ending) {
	t.Helper()
	ours, theirs := net.Pipe()
	var got bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(&got, theirs)
	}()
	err := tap.inbound(ours)
	ours.Close()
	<-done
	return got.String(), endingOf(err)
}

func TestTheEndOfTheGatewaysSocketIsClassified(t *testing.T) {
	message := text(9, 1, 1)
	for name, c := range map[string]struct {
		end    func(p *peer)
		got    []byte
		cause  events.Cause
		detail string
	}{
		"FIN":           {func(p *peer) { p.write(message); p.conn.Close() }, message, events.CauseClosedByGateway, "end of stream"},
		"half-close":    {func(p *peer) { p.write(message); p.conn.CloseWrite() }, message, events.CauseClosedByGateway, "end of stream"},
		"RST":           {func(p *peer) { reset(p.conn) }, nil, events.CauseReset, "reset"},
		"cut":           {func(p *peer) { p.write(append(message, 0, 0, 0, 9, 'x')); p.conn.Close() }, message, events.CauseClosedByGateway, "in the middle of a frame, 1 of 9 bytes"},
		"cut in length": {func(p *peer) { p.write(append(message, 0, 0)); p.conn.Close() }, message, events.CauseClosedByGateway, "in the middle of a frame's length, 2 of 4 bytes"},
		"overlong":      {func(p *peer) { p.write(append(message, 0xff, 0xff, 0xff, 0xff)) }, message, events.CauseGarbled, "a frame of 4294967295 bytes"},
		"empty":         {func(p *peer) { p.write(append(message, 0, 0, 0, 0)) }, message, events.CauseGarbled, "a frame of 0 bytes"},
		"garbage":       {func(p *peer) { p.write([]byte("HTTP/1.1 400 Bad Request")) }, nil, events.CauseGarbled, `it begins "HTTP"`},
	} {
		t.Run(name, func(t *testing.T) {
			leakFree(t)
			p, tap := greeted(t)
			c.end(p)
			got, e := relayed(t, tap)
			if got != string(c.got) {
				t.Errorf("the library got %q, want %q", got, c.got)
			}
			if e.cause != c.cause || !strings.Contains(e.detail, c.detail) {
				t.Errorf("the ending is %q, want %s: ... %s ...", e, c.cause, c.detail)
			}
		})
	}
}

func TestAResetThatTheWriterFindsIsAReset(t *testing.T) {
	leakFree(t)
	p, tap := greeted(t)
	reset(p.conn)
	// Nobody reads yet, so the writer is told, and the reader only of an end.
	eventually(t, "a write fails", func() bool {
		tap.write(text(49, 1), 0)
		return tap.writeErr != nil
	})
	if _, e := relayed(t, tap); e.cause != events.CauseReset {
		t.Errorf("the ending is %q, want %s", e, events.CauseReset)
	}
}

func TestSocketErrorsAreClassified(t *testing.T) {
	wrap := func(e syscall.Errno) error { return &net.OpError{Op: "read", Net: "tcp", Err: e} }
	for _, c := range []struct {
		read, write error
		want        events.Cause
	}{
		{io.EOF, nil, events.CauseClosedByGateway},
		{io.EOF, wrap(syscall.EPIPE), events.CauseClosedByGateway},
		{io.EOF, wrap(syscall.ECONNRESET), events.CauseReset},
		{wrap(syscall.ECONNRESET), wrap(syscall.EPIPE), events.CauseReset},
		{wrap(syscall.ETIMEDOUT), nil, events.CauseNetworkTimeout},
		{io.EOF, wrap(syscall.ETIMEDOUT), events.CauseNetworkTimeout},
		{wrap(syscall.EHOSTUNREACH), nil, events.CauseNetworkTimeout},
		{wrap(syscall.EIO), nil, events.CauseOther},
	} {
		if got := socketEnding(c.read, c.write).cause; got != c.want {
			t.Errorf("socketEnding(%v, %v) = %s, want %s", c.read, c.write, got, c.want)
		}
	}
}

func TestDialErrorsAreClassified(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for _, c := range []struct {
		err  error
		want events.Cause
	}{
		{dial(syscall.ECONNREFUSED), events.CauseRefused},
		{dial(syscall.EHOSTUNREACH), events.CauseUnreachable},
		{dial(syscall.ENETUNREACH), events.CauseUnreachable},
		{dial(syscall.ETIMEDOUT), events.CauseDialTimeout},
		{dial(&net.DNSError{Err: "no such host", Name: "gw", IsNotFound: true}), events.CauseNameNotFound},
		{dial(&net.DNSError{Err: "timeout", Name: "gw", IsTimeout: true}), events.CauseOther},
		{dial(syscall.EMFILE), events.CauseOther},
	} {
		if got := dialEnding(c.err).cause; got != c.want {
			t.Errorf("dialEnding(%v) = %s, want %s", c.err, got, c.want)
		}
	}
}

func TestADripShowsAsSignsOfLife(t *testing.T) {
	leakFree(t)
	p, tap := greeted(t)
	ours, theirs := net.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- tap.inbound(ours) }()
	before := tap.record.counts()
	for i, b := range text(9, 1, 1)[:5] { // never a whole frame
		p.write([]byte{b})
		eventually(t, "a byte is heard", func() bool { return tap.record.counts().BytesIn == before.BytesIn+uint64(i)+1 })
		now := tap.record.counts()
		if !now.HeardAt.After(before.HeardAt) || now.FramesIn != before.FramesIn {
			t.Errorf("after byte %d heard at %v with %d frames, want after %v with %d", i, now.HeardAt, now.FramesIn, before.HeardAt, before.FramesIn)
		}
	}
	tap.hangUp()
	<-ended
	ours.Close()
	theirs.Close()
}

func TestOnlyTheLibraryIsAdmitted(t *testing.T) {
	leakFree(t)
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	knock := func(said string) net.Conn {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, said)
		return conn
	}
	want := hello("password")
	strangers := []net.Conn{knock(string(hello("passwort"))), knock("API\x00 and more than enough other bytes")}
	library := knock(string(want))
	got, err := admit(l, want, time.Now().Add(patience))
	if err != nil {
		t.Fatal(err)
	}
	if got.RemoteAddr().String() != library.LocalAddr().String() {
		t.Errorf("admitted %v, want %v", got.RemoteAddr(), library.LocalAddr())
	}
	for _, s := range strangers {
		s.SetReadDeadline(time.Now().Add(patience))
		if n, err := s.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("a stranger read %d bytes and %v, want to be closed", n, err)
		}
		s.Close()
	}
	library.Close()
	got.Close()
}

func TestTheLibraryConnectsOnce(t *testing.T) {
	leakFree(t)
	_, tap := greeted(t)
	s := newSession(new(Dialer), order("", 1))
	turn := s.join("gateway")
	defer turn.Leave()
	l := newLibrary(newCallbacks(1, s.news, s.probes), false, patience)
	if err := l.raise(tap, reply{version: 176, frame: versionReply}, 1, func() { s.send(l, turn) }); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.Dial("tcp", l.conn.LocalAddr().String()); err == nil {
		conn.Close()
		t.Errorf("a second connection was accepted, want it refused")
	}
	tap.hangUp()
	if err := l.drain(); err != nil {
		t.Errorf("drain() = %v, want nil", err)
	}
	if !l.release() {
		t.Errorf("release() = false, want the library to let go")
	}
}

func TestALibraryThatCannotConnectIsNotWaitedFor(t *testing.T) {
	leakFree(t)
	l := newLibrary(newCallbacks(1, newQueue(1), new(probes)), false, patience)
	// A control character in its options is what Connect refuses at once.
	l.client.SetConnectionOptions("\x01")
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	l.connected = make(chan struct{})
	go l.connect(listener, 1)
	_, err = admit(listener, hello(""), time.Now().Add(patience))
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("admit() = %v, want %v", err, net.ErrClosed)
	}
	if err := l.absence(err); l.refusal == nil || !errors.Is(err, l.refusal) {
		t.Errorf("absence() = %v, want the library's own words %v", err, l.refusal)
	}
}

func TestAFrameThatIsNeverCompleteIsGarbledHoweverManyBytesCome(t *testing.T) {
	leakFree(t)
	p, tap := greeted(t)
	tap.patience = 50 * time.Millisecond
	message := text(9, 1, 1)
	p.write(append(message, 0x00, 0x2e, 0xe2, 0x18)) // what follows would have to be three million bytes
	dripping := make(chan struct{})
	go func() {
		defer close(dripping)
		for {
			if _, err := p.conn.Write(message); err != nil {
				return // the session was ended
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	got, e := relayed(t, tap)
	tap.hangUp()
	<-dripping
	if got != string(message) {
		t.Errorf("the library got %q, want the whole message %q", got, message)
	}
	if e.cause != events.CauseGarbled || !strings.Contains(e.detail, "no whole message within 50ms, in the middle of a frame") {
		t.Errorf("the ending is %q, want garbled", e)
	}
}

func TestAFrameThatComesSlowlyIsPassedOn(t *testing.T) {
	leakFree(t)
	p, tap := greeted(t)
	tap.patience = time.Minute
	message := text(9, 1, 1)
	go func() {
		for _, b := range message {
			p.conn.Write([]byte{b})
		}
		p.conn.Close()
	}()
	if got, e := relayed(t, tap); got != string(message) || e.cause != events.CauseClosedByGateway {
		t.Errorf("the library got %q and then %q, want the message and its end", got, e)
	}
}
