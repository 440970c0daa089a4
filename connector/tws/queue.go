package tws

import (
	"sync"

	"ibconn/connector"
)

// queueLimit bounds the news that wait to be reported. A session that makes
// more is ended with CauseOverrun: nothing is dropped in silence.
const queueLimit = 1 << 16

// queue takes news from any goroutine without ever blocking it, and reports
// them in order from one.
type queue struct {
	limit   int
	overrun chan struct{} // closed when news came that had no room
	wake    chan struct{} // holds one token while something is new

	mu     sync.Mutex
	news   []connector.Input
	full   bool
	sealed bool
	closed bool
}

func newQueue(limit int) *queue {
	return &queue{limit: limit, overrun: make(chan struct{}), wake: make(chan struct{}, 1)}
}

// put takes one piece of news. A sealed queue takes none.
func (q *queue) put(in connector.Input) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.sealed || q.full:
		return
	case len(q.news) >= q.limit:
		q.full = true
		close(q.overrun)
		return
	}
	q.news = append(q.news, in)
	token(q.wake)
}

// seal takes the last news, for which there is always room, and lets nothing
// follow them but the last news of another seal.
func (q *queue) seal(last ...connector.Input) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sealed = true
	q.news = append(q.news, last...)
	token(q.wake)
}

// close lets deliver return once everything is delivered.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sealed, q.closed = true, true
	token(q.wake)
}

// deliver reports all news until the queue is closed and empty.
func (q *queue) deliver(report func(connector.Input)) {
	var batch []connector.Input
	for {
		q.mu.Lock()
		clear(batch)
		batch, q.news = q.news, batch[:0]
		done := q.closed && len(batch) == 0
		q.mu.Unlock()
		if done {
			return
		}
		for _, in := range batch {
			report(in)
		}
		if len(batch) == 0 {
			<-q.wake
		}
	}
}

// token puts a token into c, if there is room.
func token(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
