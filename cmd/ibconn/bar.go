package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// bar shows on a terminal how far something long is. Elsewhere it is silent.
type bar struct {
	out  io.Writer // nil shows nothing
	what string

	mu    sync.Mutex
	began time.Time
	shown time.Time
}

const (
	// barAfter is how long something takes before it is worth a bar.
	barAfter = 500 * time.Millisecond
	barEvery = 100 * time.Millisecond
)

func newBar(c console, what string) *bar {
	b := &bar{what: what, began: time.Now()}
	if c.ErrTerminal {
		b.out = c.Err
	}
	return b
}

// bytes says how many bytes of how many are done.
func (b *bar) bytes(done, total int64) {
	b.show(func() string { return fmt.Sprintf("%d of %d MiB, %d %%", done>>20, total>>20, 100*done/max(total, 1)) })
}

// events says how many events are done, of how many, where that is known.
func (b *bar) events(done, total uint64) {
	b.show(func() string {
		speed := float64(done) / time.Since(b.began).Seconds()
		if total == 0 {
			return fmt.Sprintf("%d events, %.0f a second", done, speed)
		}
		return fmt.Sprintf("%d of %d events, %d %%, %.0f a second", done, total, 100*done/total, speed)
	})
}

func (b *bar) show(how func() string) {
	if b.out == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if now.Sub(b.began) < barAfter || now.Sub(b.shown) < barEvery {
		return
	}
	b.shown = now
	fmt.Fprintf(b.out, "\r\x1b[K%s: %s", b.what, how())
}

// end clears the line.
func (b *bar) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.out != nil && !b.shown.IsZero() {
		fmt.Fprint(b.out, "\r\x1b[K")
	}
}
