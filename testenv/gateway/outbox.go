package gateway

import (
	"context"
	"sync"
)

const (
	outboxFull = 1 << 20  // the simulation waits while this much is unwritten
	outboxMax  = 64 << 20 // faults may add up to this much
)

// outbox holds what is to be written to one client. Frames gather in one buffer, so that a flood costs few system calls.
type outbox struct {
	mu   sync.Mutex
	buf  []byte
	more chan struct{} // holds a token while there is something to take
	room chan struct{} // holds a token after something was taken
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
	fits := len(o.buf) <= limit
	if fits {
		o.buf = append(o.buf, frames...)
	}
	o.mu.Unlock()
	if fits {
		signal(o.more)
	}
	return fits
}

// take returns everything that is to be written.
func (o *outbox) take() []byte {
	o.mu.Lock()
	buf := o.buf
	o.buf = nil
	o.mu.Unlock()
	signal(o.room)
	return buf
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
