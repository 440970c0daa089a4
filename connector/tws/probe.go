package tws

import (
	"sync"
	"time"

	"ibconn/connector"
)

// opening is the number of the session's own first probe, whose answer makes
// it ready. The connector's are counted from 1.
const opening = 0

// probeSpacing is the least time between two reqCurrentTime of a session. A
// gateway leaves a second one within the second unanswered (ib_insync #604).
const probeSpacing = time.Second

// probes matches answers to reqCurrentTime with the calls. IB's answer names
// no request, so it is credited to the newest probe that left and was not
// answered; those before it are given up.
type probes struct {
	mu     sync.Mutex
	called []uint64 // handed to the library, not yet seen leaving
	newest uint64
	sentAt time.Time // of the newest; zero once it is answered
	last   time.Time // when the last one left or was answered
}

// due returns when the next probe may leave. The gateway counts from when a
// request came in, for which its answer stands, being later by a little.
func (p *probes) due() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last.Add(probeSpacing)
}

// call notes that the library was asked to send probe number.
func (p *probes) call(number uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.called = append(p.called, number)
}

// left notes that a reqCurrentTime is on its way to the gateway.
func (p *probes) left(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = now
	if len(p.called) > 0 {
		p.newest, p.sentAt, p.called = p.called[0], now, p.called[1:]
	}
}

// answer credits an answer, and says to which probe.
func (p *probes) answer(gateway, now time.Time) (number uint64, a connector.Answer, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = now
	if p.sentAt.IsZero() {
		return 0, connector.Answer{}, false
	}
	a = connector.Answer{SentAt: p.sentAt, ReceivedAt: now, Gateway: gateway}
	p.sentAt = time.Time{}
	return p.newest, a, true
}
