package replay

import (
	"context"
	"iter"
	"runtime"
	"sync"

	"ibconn/bus"
)

const (
	// batchMessages and batchBytes bound what is decoded at once, and batchesAhead how
	// many of those there are before who folds them: a few MiB, whatever is read.
	batchMessages = 128
	batchBytes    = 256 << 10
	batchesAhead  = 8
	// decoders is how many decode at most: reading is one goroutine, and folding.
	decoders = 4
)

// message is a message that was looked at.
type message struct {
	bus.Stored
	entry bus.Entry
	err   error // that it is no event
}

// batch is what is decoded at once.
type batch struct {
	messages []message
	bytes    int
	err      error         // what ended the reading, behind the messages
	decoded  chan struct{} // is closed
}

func newBatch() *batch {
	return &batch{messages: make([]message, 0, batchMessages), decoded: make(chan struct{})}
}

func (b *batch) decode() {
	for i := range b.messages {
		m := &b.messages[i]
		m.entry, m.err = m.Entry()
	}
	close(b.decoded)
}

// decoded yields what q selects of a source, decoded: a few batches ahead, on as many
// processors as there are, since decoding takes longer than all else. What is followed
// is decoded as it comes.
func decoded(ctx context.Context, source Source, q bus.Query) iter.Seq2[message, error] {
	workers := min(runtime.GOMAXPROCS(0), decoders)
	return func(yield func(message, error) bool) {
		if q.Follow || workers == 1 {
			for s, err := range source.Stored(ctx, q) {
				m := message{Stored: s}
				if err == nil {
					m.entry, m.err = s.Entry()
				}
				if !yield(m, err) {
					return
				}
			}
			return
		}
		ctx, stop := context.WithCancel(ctx)
		var running sync.WaitGroup
		defer running.Wait()
		defer stop()
		inOrder, work := make(chan *batch, batchesAhead), make(chan *batch, batchesAhead)
		running.Go(func() {
			defer close(inOrder)
			defer close(work)
			readBatches(ctx, source, q, func(b *batch) bool {
				for _, to := range []chan *batch{inOrder, work} {
					select {
					case to <- b:
					case <-ctx.Done():
						return false
					}
				}
				return true
			})
		})
		for range workers {
			running.Go(func() {
				for b := range work {
					b.decode()
				}
			})
		}
		for b := range inOrder {
			select {
			case <-b.decoded:
			case <-ctx.Done():
				return
			}
			for _, m := range b.messages {
				if !yield(m, nil) {
					return
				}
			}
			if b.err != nil {
				yield(message{}, b.err)
				return
			}
		}
	}
}

// readBatches hands what q selects to send, until that says false.
func readBatches(ctx context.Context, source Source, q bus.Query, send func(*batch) bool) {
	b := newBatch()
	for s, err := range source.Stored(ctx, q) {
		if err != nil {
			b.err = err
			break
		}
		b.messages = append(b.messages, message{Stored: s})
		if b.bytes += len(s.Payload); len(b.messages) == batchMessages || b.bytes >= batchBytes {
			if !send(b) {
				return
			}
			b = newBatch()
		}
	}
	send(b)
}
