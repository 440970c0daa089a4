package gateway_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ibconn/testenv/gateway"
)

// patience bounds every wait of these tests. It is a liveness bound: nothing depends on how much of it is used.
const patience = 20 * time.Second

// peer is a client that sees bytes and frames.
type peer struct {
	t    *testing.T
	conn *net.TCPConn
	r    *bufio.Reader
}

func dial(t *testing.T, g *gateway.Gateway) *peer {
	t.Helper()
	conn, err := net.DialTimeout("tcp", g.Addr(), patience)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &peer{t: t, conn: conn.(*net.TCPConn), r: bufio.NewReader(conn)}
}

// greeted is a peer that has had its hello answered.
func greeted(t *testing.T, g *gateway.Gateway, hello string) *peer {
	t.Helper()
	p := dial(t, g)
	p.write(append([]byte("API\x00"), framed(hello)...))
	p.frame()
	return p
}

// started is a text peer that has received its nextValidId.
func started(t *testing.T, g *gateway.Gateway, client int) *peer {
	t.Helper()
	p := greeted(t, g, "v100..176")
	p.say("71", "2", fmt.Sprint(client), "")
	p.expect("9")
	return p
}

func framed(payload string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(payload))), payload...)
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

func (p *peer) say(fields ...string) {
	p.t.Helper()
	p.write(framed(strings.Join(fields, "\x00") + "\x00"))
}

// next reads one payload.
func (p *peer) next() (string, error) {
	var header [4]byte
	if _, err := io.ReadFull(p.r, header[:]); err != nil {
		return "", err
	}
	payload := make([]byte, min(binary.BigEndian.Uint32(header[:]), 1<<24))
	_, err := io.ReadFull(p.r, payload)
	return string(payload), err
}

func (p *peer) frame() string {
	p.t.Helper()
	payload, err := p.next()
	if err != nil {
		p.t.Fatalf("read: %v", err)
	}
	return payload
}

// expect skips to the next text message that begins with the given fields and returns all its fields.
func (p *peer) expect(fields ...string) []string {
	p.t.Helper()
	for {
		got := strings.Split(strings.TrimSuffix(p.frame(), "\x00"), "\x00")
		if len(got) >= len(fields) && slices.Equal(got[:len(fields)], fields) {
			return got
		}
	}
}

// alive asserts that the gateway answers. It asks for ids, which may be asked for at any rate.
func (p *peer) alive() {
	p.t.Helper()
	p.say("8", "1", "1")
	p.expect("9")
}

// silent asserts that nothing at all is sent for a moment.
func (p *peer) silent() {
	p.t.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	b, err := p.r.Peek(1)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Errorf("read %x, %v, want silence", b, err)
	}
	_ = p.conn.SetDeadline(time.Now().Add(patience))
}

// wantEOF asserts that the gateway ends the stream in good order, whatever comes before.
func (p *peer) wantEOF() {
	p.t.Helper()
	if _, err := io.Copy(io.Discard, p.r); err != nil {
		p.t.Errorf("stream ended with %v, want a clean end", err)
	}
}

func (p *peer) wantReset() {
	p.t.Helper()
	if _, err := io.Copy(io.Discard, p.r); !errors.Is(err, syscall.ECONNRESET) {
		p.t.Errorf("stream ended with %v, want a reset", err)
	}
}

// eventually polls until the gateway's statistics satisfy ok.
func eventually(t *testing.T, g *gateway.Gateway, what string, ok func(gateway.Stats) bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		s := g.Stats()
		if ok(s) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen; statistics: %+v", what, s)
		}
		<-time.After(time.Millisecond)
	}
}
