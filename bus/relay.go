package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"ibconn/events"
)

// Relay brings the log here to the hub: each connection's events in their order
// and once, whatever happens to the hub, the network and this process. Fill in the
// fields and call Run once.
//
// Several relays may bring different connections to one hub, and several of the
// same log do no harm.
type Relay struct {
	Local *Log // of this process
	Hub   *Hub
	// Connections are those whose events will come. What the log has of others is
	// relayed too.
	Connections []events.ConnectionID
	// Replicas is how many copies the hub's log has: of a new one, and of one that
	// exists too, which is refused otherwise. 0 stands for one, and for any.
	Replicas int
	// Log takes a line when something begins or ends, never for an event. Its zero
	// value is silent.
	Log zerolog.Logger

	// patience is how long to wait before what the hub refused is tried again; 0
	// means 15 seconds.
	patience time.Duration

	once     sync.Once
	marks    *relayMarks
	opening  sync.Mutex // held while the hub's log is opened
	mu       sync.Mutex
	carriers map[events.ConnectionID]*carrier
	hub      *hubLog
	verified uint64 // the generation of the hub's connection that hub is of
	heldUp   bool   // it was told that the hub does not keep up with us
	complete bool   // it was told that the hub has every event
}

const (
	refusedWait  = 15 * time.Second
	rememberTick = 5 * time.Second
	statusWithin = 2 * time.Second
	openWithin   = 5 * time.Second
	drainTick    = 10 * time.Millisecond
)

// errNotRelayed is why there is no status of a connection.
var errNotRelayed = errors.New("bus: nothing of it is relayed")

func (r *Relay) init() {
	r.once.Do(func() {
		r.carriers = make(map[events.ConnectionID]*carrier)
		for _, c := range r.Connections {
			r.carriers[c] = newCarrier(r, c)
		}
		if r.patience == 0 {
			r.patience = refusedWait
		}
	})
}

// Run relays until ctx ends, and returns the cause of that, or why the log here
// cannot be read, which is an error. A hub that is away, that refuses or that has
// something else is none: that is waited for, and shown by Status.
func (r *Relay) Run(ctx context.Context) error {
	r.init()
	if err := r.prepare(ctx); err != nil {
		return fmt.Errorf("bus: relay: %w", err)
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var running sync.WaitGroup
	for _, c := range r.all() {
		running.Go(func() {
			if err := c.run(ctx); err != nil {
				fail(fmt.Errorf("bus: relay %s: %w", c.connection, err))
			}
		})
	}
	running.Go(func() { r.remember(ctx) })
	running.Wait()
	return context.Cause(ctx)
}

// prepare finds which connections there are, and how far each had come.
func (r *Relay) prepare(ctx context.Context) error {
	// To the end, also when ctx ends meanwhile: a server that is closed while it
	// creates a stream leaves some of it running.
	opening, cancel := context.WithTimeout(context.WithoutCancel(ctx), openWithin)
	defer cancel()
	var err error
	if r.marks, err = openRelayMarks(opening, r.Local.nc); err != nil {
		return err
	}
	info, err := r.Local.stream.Info(ctx, jetstream.WithSubjectFilter(events.LogSubjects))
	if err != nil {
		return err
	}
	r.mu.Lock()
	for subject := range info.State.Subjects {
		if c, _, err := events.ParseLogSubject(subject); err == nil && r.carriers[c] == nil {
			r.carriers[c] = newCarrier(r, c)
		}
	}
	r.mu.Unlock()
	for _, c := range r.all() {
		mark, err := r.marks.load(ctx, c.connection)
		if err != nil {
			return err
		}
		c.begin(mark)
	}
	return nil
}

func (r *Relay) all() []*carrier {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*carrier, 0, len(r.carriers))
	for _, name := range slices.Sorted(maps.Keys(r.carriers)) {
		all = append(all, r.carriers[name])
	}
	return all
}

// Names returns the connections that are relayed, by name.
func (r *Relay) Names() []events.ConnectionID {
	r.init()
	all := r.all()
	names := make([]events.ConnectionID, 0, len(all))
	for _, c := range all {
		names = append(names, c.connection)
	}
	return names
}

// remember keeps how far each connection has come, where the next process finds it.
func (r *Relay) remember(ctx context.Context) {
	tick := time.NewTicker(rememberTick)
	defer tick.Stop()
	for over := false; !over; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			over = true
		}
		for _, c := range r.all() {
			c.remember(ctx)
		}
	}
}

// openHub returns the hub's log, opened and verified on the present connection to
// it. Whoever comes while another opens it, waits and gets the same.
func (r *Relay) openHub(ctx context.Context, generation uint64) (*hubLog, error) {
	r.opening.Lock()
	defer r.opening.Unlock()
	if r.hub != nil && r.verified == generation {
		return r.hub, nil
	}
	hub, err := openHubLog(ctx, r.Hub.nc, r.Replicas)
	if err != nil {
		return nil, err
	}
	r.hub, r.verified = hub, generation
	return hub, nil
}

// held says that the hub is connected and does not store what it gets.
func (r *Relay) held(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.heldUp || !r.Hub.Status().Connected {
		return
	}
	r.heldUp = true
	r.Log.Warn().Str("hub", r.Hub.url).Err(err).Msg("the hub does not answer as it should; events are stored here and brought there once it does")
}

// behind says that the hub does not have every event any more.
func (r *Relay) behind() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.complete = false
}

// current says that a connection's events are all on the hub. Once that is so of
// all of them, it is told.
func (r *Relay) current() {
	all := r.all()
	var relayed uint64
	for _, c := range all {
		current, n := c.isCurrent()
		if !current {
			return
		}
		relayed += n
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.complete {
		return
	}
	r.complete, r.heldUp = true, false
	r.Log.Info().Str("hub", r.Hub.url).Int("connections", len(all)).Uint64("relayed", relayed).Msg("the hub has every event")
}

// Status returns how far a connection's log has come to the hub. The error says
// that nothing of it is relayed, or that the log here cannot be read.
func (r *Relay) Status(ctx context.Context, c events.ConnectionID) (events.Relay, error) {
	r.init()
	r.mu.Lock()
	carrier := r.carriers[c]
	r.mu.Unlock()
	if carrier == nil {
		return events.Relay{}, errNotRelayed
	}
	ctx, cancel := context.WithTimeout(ctx, statusWithin)
	defer cancel()
	s, err := carrier.status(ctx)
	if err != nil {
		return events.Relay{}, fmt.Errorf("bus: relay status of %s: %w", c, err)
	}
	return s, nil
}

// Drain returns once the hub has every event, or nothing more can come to it for now,
// or ctx ends.
func (r *Relay) Drain(ctx context.Context) {
	r.init()
	for _, c := range r.all() {
		for {
			s, err := c.status(ctx)
			if err != nil || s.Status != events.RelayBehind || sleep(ctx, drainTick) != nil {
				break
			}
		}
	}
}
