package gateway

import (
	"context"
	"sync"
	"time"
)

const (
	outboxFull = 1 << 20  // the simulation waits while this much is unwritten
	outboxMax  = 64 << 20 // faults may add up to this much
)

// outbox holds what is to be written to one client. Frames gather in one buffer, so that a flood costs few system calls.
type outbox struct {
	mu     sync.Mutex
	buf    []byte
	said   []said // the parts of buf, in order
	sealed bool
	more   chan struct{} // holds a token while there is something to take
	room   chan struct{} // holds a token after something was taken
}

// said is when some bytes were added.
type said struct {
	at    time.Time
	bytes int
}

func newOutbox() *outbox {
	return &outbox{more: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// put adds frames, waiting for room first. Only the goroutine that owns the session calls it.
func (o *outbox) put(ctx context.Context, frames []byte) {
	for !o.add(frames, outboxFull) {
		select {
		case <-o.room:
		case <-ctx.Done():
			return
		}
	}
}

// force adds frames at once, from any goroutine, and tells whether they fitted.
func (o *outbox) force(frames []byte) bool { return o.add(frames, outboxMax-len(frames)) }

func (o *outbox) add(frames []byte, limit int) bool {
	o.mu.Lock()
	fits := len(o.buf) <= limit && !o.sealed
	if fits {
		o.buf = append(o.buf, frames...)
		o.said = append(o.said, said{time.Now(), len(frames)})
	}
	o.mu.Unlock()
	if fits {
		signal(o.more)
	}
	return fits
}

// take returns what was added lag ago or earlier, and how long until the next addition is due, 0 if there is none.
func (o *outbox) take(lag time.Duration) (buf []byte, due time.Duration) {
	o.mu.Lock()
	now, ready, size := time.Now(), 0, 0
	for _, s := range o.said {
		if due = s.at.Add(lag).Sub(now); due > 0 {
			break
		}
		ready, size = ready+1, size+s.bytes
	}
	buf, o.buf, o.said = o.buf[:size:size], o.buf[size:], o.said[ready:]
	if len(o.said) == 0 {
		o.buf, o.said, due = nil, nil, 0
	}
	o.mu.Unlock()
	signal(o.room)
	return buf, due
}

// seal adds the end of the stream, which is due like any addition, and after which there is none.
func (o *outbox) seal() {
	o.mu.Lock()
	o.said, o.sealed = append(o.said, said{at: time.Now()}), true
	o.mu.Unlock()
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
