package endtoend

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"ibconn/connector"
)

// process is one run of a runner. It is also the clock that the runner goes
// by, and so knows each time that the runner has done all that it was given
// and waits: its loop sets a timer before it waits, and takes one thing each
// time that it has waited.
type process struct {
	*world
	runner *connector.Runner
	cancel context.CancelCauseFunc
	killed atomic.Bool   // its log takes nothing any more
	over   chan struct{} // closed when it has ended
	err    error         // of its end

	// With world.mu held:
	turns  int    // how often the loop began to wait
	taken  int    // how often it was given something: news, a command, the ring of its timer
	giving int    // what is being given to it
	alarm  *alarm // its timer
}

var (
	errKilled     = errors.New("killed")
	errTerminated = errors.New("signal: terminated")
)

func (w *world) newProcess() *process {
	p := &process{world: w, over: make(chan struct{})}
	p.runner = &connector.Runner{
		Connection: "main", Policy: w.setup.Policy, Log: mortal{w.log.Writer(), &p.killed}, Dialer: p, Clock: p,
		Instance: "host-1", Version: "test", PID: 1,
		NewID: func() string { return fmt.Sprintf("event-%d", w.ids.Add(1)) },
		Grace: patience,
	}
	return p
}

func (p *process) run() {
	ctx, cancel := context.WithCancelCause(context.Background())
	p.cancel = cancel
	go func() {
		defer close(p.over)
		p.err = p.runner.Run(ctx)
	}()
}

// end ends the process, and returns what its Run did.
func (p *process) end(cause error) error {
	p.Helper()
	p.cancel(cause)
	select {
	case <-p.over:
		return p.err
	case <-time.After(patience):
		p.Fatalf("the runner did not end within %v", patience)
		return nil
	}
}

func (p *process) ended() bool {
	select {
	case <-p.over:
		return true
	default:
		return false
	}
}

// Now implements [connector.Clock].
func (p *process) Now() (wall time.Time, passed time.Duration) { return p.clock.Now() }

// Timer implements [connector.Clock].
func (p *process) Timer(d time.Duration) (rang <-chan time.Time, stop func()) {
	a, rings := p.clock.set(d)
	p.do(func() {
		p.turns++
		if rings {
			p.taken++
		}
		p.alarm = a
	})
	return a.rang, func() {
		p.do(func() {
			p.clock.unset(a)
			select {
			case <-a.rang: // and was not taken
				p.taken--
			default:
			}
		})
	}
}

// ring ends the wait of the loop, due or not: it is to be indifferent to being
// woken too soon.
func (p *process) ring() {
	p.do(func() {
		p.taken++
		p.clock.ring(p.alarm)
	})
}

// due says whether the loop's timer is to have rung after so long. The loop may be
// setting it anew meanwhile, woken by its dialer.
func (p *process) due(passed time.Duration) (is bool) {
	p.do(func() { is = p.alarm.at <= passed })
	return is
}

// give counts what give gives to the loop, if it says that it did.
func (p *process) give(give func() bool) {
	p.do(func() { p.giving++ })
	given := give()
	p.do(func() {
		p.giving--
		if given {
			p.taken++
		}
	})
}

// busy says what the process is doing, or nothing when it waits.
func (p *process) busy() string {
	switch {
	case p.giving > 0:
		return "something is being given to the runner"
	case p.turns != p.taken+1:
		return fmt.Sprintf("the runner was given %d things and has waited %d times", p.taken, p.turns)
	}
	return ""
}

// Attempt implements [connector.Dialer].
func (p *process) Attempt(o connector.Order) connector.Session {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.gateways[o.Endpoint]
	there := o
	there.Endpoint = g.Addr()
	there.Pace = connector.Pace{PerSecond: 1000} // the pace goes by the system's clock, which must not be waited for
	s := &session{process: p, order: o, gateway: g, Session: p.dialer.Attempt(there)}
	p.sessions = append(p.sessions, s)
	return s
}
