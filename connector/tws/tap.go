package tws

import (
	"fmt"
	"math"
	"net"
	"sync"
	"time"

	"ibconn/events"

	"github.com/scmhub/ibapi"
)

// tap owns the gateway's socket, and stands between it and the library.
type tap struct {
	gateway  *net.TCPConn
	frames   *framer // from the gateway
	record   *recorder
	probes   *probes
	refuse   func(id, size int) // told of each frame that the safety catch holds back
	now      func() time.Time   // the clock
	patience time.Duration      // for a frame of the gateway to be complete; 0 for ever
	raw      bool               // message ids are raw; settled by the greeting

	writing  sync.Mutex // held while the gateway is written to
	writeErr error      // of the first write that failed; none follows it
}

func newTap(gateway *net.TCPConn, record *recorder, probes *probes, refuse func(id, size int)) *tap {
	return &tap{
		gateway: gateway, record: record, probes: probes, refuse: refuse, now: time.Now,
		frames: newFramer(gateway, inbound, minText, maxReply),
	}
}

// hangUp ends the gateway's socket. The FIN comes before the close, because a
// close alone sends a reset instead while bytes of the gateway lie unread.
func (t *tap) hangUp() {
	t.gateway.CloseWrite()
	t.gateway.Close()
}

// greet says hello to the gateway and reads its answer.
func (t *tap) greet(options string) (reply, error) {
	t.write(hello(options), len(magic))
	for {
		n, readErr := t.frames.read()
		answer, bad := t.frames.take(1)
		t.record.received(n, answer, t.now())
		switch {
		case len(answer) > 0:
			return t.greeted(answer[headerSize:])
		case bad != nil:
			return reply{}, bad
		case readErr != nil:
			return reply{}, t.ending(readErr)
		}
	}
}

func (t *tap) greeted(answer []byte) (reply, error) {
	r, err := parseReply(answer)
	if err != nil {
		return reply{}, err
	}
	t.raw = r.version >= rawIDs
	t.frames.max = maxPayload
	if t.raw {
		t.frames.min = minRaw
	}
	t.record.greet(t.raw)
	return r, nil
}

// inbound passes whole frames from the gateway to the library until the
// gateway's socket or its sense ends, and returns the ending. While the library
// does not read, neither does inbound, so that TCP slows the gateway down.
func (t *tap) inbound(library net.Conn) error {
	// The greeting may have read on into the first messages.
	n, readErr, now := 0, error(nil), t.now()
	var begun time.Time // when the frame at hand began; zero between two
	for {
		frames, bad := t.frames.take(math.MaxInt)
		switch {
		case !t.frames.inFrame():
			begun = time.Time{}
		case len(frames) > 0 || begun.IsZero():
			begun = now
		case t.patience > 0 && now.Sub(begun) > t.patience:
			bad = ending{events.CauseGarbled, fmt.Sprintf("no whole message within %v, %s", t.patience, t.frames.unfinished())}
		}
		t.record.received(n, frames, now)
		if len(frames) > 0 {
			if _, err := library.Write(frames); err != nil {
				return ending{events.CauseOther, "the API library closed its side"}
			}
		}
		switch {
		case bad != nil:
			return bad
		case readErr != nil:
			return t.ending(readErr)
		}
		n, readErr = t.frames.read()
		now = t.now()
	}
}

// ending classifies the end of the gateway's socket. A writer that is still
// blocked is freed first, so that it can say what it saw.
func (t *tap) ending(readErr error) ending {
	t.gateway.SetWriteDeadline(time.Now())
	t.writing.Lock()
	defer t.writing.Unlock()
	e := socketEnding(readErr, t.writeErr)
	if where := t.frames.unfinished(); where != "" {
		e.detail += ", " + where
	}
	return e
}

// outbound passes what the library sends to the gateway, until the library
// closes. Once the gateway is gone it goes on reading, since a request that
// the library cannot write off would block its caller for ever. The request
// that serves as the outward mark stays here, and gives a token to marks.
func (t *tap) outbound(library net.Conn, marks chan<- struct{}) {
	from := newFramer(library, outbound, 1, maxPayload)
	for {
		_, readErr := from.read()
		frames, bad := from.take(math.MaxInt)
		for frame := range split(frames) {
			if id, _, _ := messageID(frame[headerSize:], t.raw); id == outwardMark {
				token(marks)
				continue
			}
			t.forward(frame)
		}
		if readErr != nil || bad != nil {
			return
		}
	}
}

// forward sends one frame to the gateway, if the safety catch lets it.
func (t *tap) forward(frame []byte) {
	id, _, _ := messageID(frame[headerSize:], t.raw)
	if !allowed[id] {
		t.refuse(id, len(frame)-headerSize)
		return
	}
	if id == int(ibapi.REQ_CURRENT_TIME) {
		t.probes.left(t.now())
	}
	t.write(frame, 0)
}

// write sends data, which is a frame behind a prefix. That it fails is for the
// reader to find: only that one learns in which way the gateway went. The
// frame is recorded first, so that no answer to it is recorded before it.
func (t *tap) write(data []byte, prefix int) {
	t.writing.Lock()
	defer t.writing.Unlock()
	if t.writeErr != nil {
		return
	}
	t.record.sent(len(data), data[prefix:], t.now())
	_, t.writeErr = t.gateway.Write(data)
}
