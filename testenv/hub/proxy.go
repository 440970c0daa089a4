package hub

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// Proxy is a network between a client and a server, by TCP, that can be slowed, cut
// and mended. [NewProxy] makes one.
type Proxy struct {
	target   string
	address  string
	work     sync.WaitGroup
	mu       sync.Mutex
	mended   *sync.Cond // when anything of what follows changes
	listener net.Listener
	open     map[net.Conn]bool
	closed   bool
	stalled  bool          // nothing passes, and nobody is told
	delay    time.Duration // of each piece
}

// NewProxy listens on a free port of loopback and passes on what comes to target.
func NewProxy(target string) (*Proxy, error) {
	p := &Proxy{target: target, address: "127.0.0.1:0", open: make(map[net.Conn]bool)}
	p.mended = sync.NewCond(&p.mu)
	if err := p.listen(); err != nil {
		return nil, err
	}
	p.address = p.listener.Addr().String()
	return p, nil
}

// URL is where clients find it.
func (p *Proxy) URL() string { return "nats://" + p.address }

func (p *Proxy) listen() error {
	l, err := net.Listen("tcp", p.address)
	if err != nil {
		return fmt.Errorf("hub: proxy: %w", err)
	}
	p.listener = l
	p.work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.work.Go(func() { p.carry(c) })
		}
	})
	return nil
}

func (p *Proxy) carry(near net.Conn) {
	far, err := net.Dial("tcp", p.target)
	if err != nil {
		near.Close()
		return
	}
	if !p.keep(near, far) {
		near.Close()
		far.Close()
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.pass(near, far) })
	both.Go(func() { p.pass(far, near) })
	both.Wait()
	p.mu.Lock()
	delete(p.open, near)
	delete(p.open, far)
	p.mu.Unlock()
}

func (p *Proxy) keep(all ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.listener == nil {
		return false
	}
	for _, c := range all {
		p.open[c] = true
	}
	return true
}

// pass passes on what comes, until either end closes.
func (p *Proxy) pass(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil || !p.wait(from) {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// wait holds a piece back for as long as the network is slow or stalled, and says
// whether its connection is there still.
func (p *Proxy) wait(c net.Conn) bool {
	p.mu.Lock()
	delay := p.delay
	p.mu.Unlock()
	if delay > 0 {
		time.Sleep(delay)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.stalled && !p.closed && p.open[c] {
		p.mended.Wait()
	}
	return !p.closed && p.open[c]
}

// Stall has nothing pass, without telling anybody; not any more, it has everything
// pass that was held back.
func (p *Proxy) Stall(stalled bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = stalled
	p.mended.Broadcast()
}

// Slow holds each piece back for a while.
func (p *Proxy) Slow(delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = delay
}

// Drop ends every connection.
func (p *Proxy) Drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop()
}

func (p *Proxy) drop() {
	for c := range p.open {
		c.Close()
		delete(p.open, c)
	}
	p.mended.Broadcast()
}

// Cut ends every connection and refuses new ones.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	p.drop()
}

// Mend undoes whatever was done.
func (p *Proxy) Mend() error {
	p.Slow(0)
	p.Stall(false)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil || p.closed {
		return nil
	}
	return p.listen()
}

// Close ends everything and waits for it.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	p.drop()
	p.mu.Unlock()
	p.work.Wait()
}
