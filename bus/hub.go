package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

// HubOptions says where the hub is, and who asks.
type HubOptions struct {
	// URL is where it is: one address, or those of a cluster, parted by commas.
	URL string
	// Login are the options that say who we are: credentials, keys, TLS.
	Login []nats.Option
	// Name shows in the hub's monitoring.
	Name string
	// Log takes a line when the hub is lost and when it is back. Its zero value is
	// silent.
	Log zerolog.Logger
}

// Hub is the connection to an external NATS server or cluster, which may be away
// for days.
type Hub struct {
	nc  *nats.Conn
	url string
	log zerolog.Logger

	mu         sync.Mutex
	connected  bool
	since      time.Time
	problem    string // why it is not, in words
	told       string // of problem, in the log
	complaints int    // of the hub, since it was reached
	generation uint64 // how often it was reached
	present    reach
	leave      context.CancelFunc // ends present
	changed    chan struct{}      // closed when it is reached
}

// reach is a stretch in which the hub is connected.
type reach struct {
	generation uint64          // which one it is, from 1
	ctx        context.Context // ends with it
}

const (
	hubDialTimeout = 5 * time.Second // a handshake of TLS included
	hubPing        = 5 * time.Second
	hubPings       = 2               // unanswered ones that a connection is given up after
	hubWrite       = 5 * time.Second // for a piece of what is sent to leave
	hubRetry       = 250 * time.Millisecond
	hubRetryMost   = 5 * time.Second
	hubJitter      = 250 * time.Millisecond
	maxComplaints  = 5 // that are told while the hub is connected
)

// DialHub begins to connect to the hub, and goes on until it is closed: a hub that
// cannot be reached, or that does not let us in, is no error, since it may do so
// later. What is: options that cannot be used, such as a file that is not there.
func DialHub(o HubOptions) (*Hub, error) {
	h := &Hub{url: Redacted(o.URL), log: o.Log, since: time.Now(), problem: "it was not reached yet", leave: func() {}, changed: make(chan struct{})}
	nc, err := nats.Connect(o.URL, append([]nats.Option{
		nats.Name(o.Name),
		nats.Timeout(hubDialTimeout),
		nats.PingInterval(hubPing),
		nats.MaxPingsOutstanding(hubPings),
		nats.FlusherTimeout(hubWrite),
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(true),
		nats.IgnoreAuthErrorAbort(),
		nats.CustomReconnectDelay(hubDelay),
		// A publish of unknown outcome would be worse than one that fails.
		nats.ReconnectBufSize(-1),
		nats.ConnectHandler(func(*nats.Conn) { h.found() }),
		nats.ReconnectHandler(func(*nats.Conn) { h.found() }),
		nats.DisconnectErrHandler(h.lost),
		nats.ReconnectErrHandler(h.lost),
		nats.ErrorHandler(h.complaint),
	}, o.Login...)...)
	if err != nil {
		return nil, fmt.Errorf("bus: hub %s: %w", h.url, err)
	}
	h.nc = nc
	return h, nil
}

// hubDelay is how long to wait after every server of the hub was tried n times.
func hubDelay(n int) time.Duration {
	wait := hubRetryMost
	if n < 5 {
		wait = hubRetry << max(n-1, 0)
	}
	return wait + rand.N(hubJitter)
}

// Conn is the connection itself. While the hub is away, a publish on it fails at
// once; subscriptions are placed when it is back.
func (h *Hub) Conn() *nats.Conn { return h.nc }

// URL is where the hub is, without a password.
func (h *Hub) URL() string { return h.url }

// Close ends the connection for good.
func (h *Hub) Close() {
	h.nc.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leave()
}

// Await returns once the hub is connected, or the cause of ctx's end.
func (h *Hub) Await(ctx context.Context) error {
	_, err := h.await(ctx)
	return err
}

// await returns the present connection to the hub, once there is one.
func (h *Hub) await(ctx context.Context) (reach, error) {
	for {
		h.mu.Lock()
		connected, present, changed := h.connected, h.present, h.changed
		h.mu.Unlock()
		if connected {
			return present, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return reach{}, context.Cause(ctx)
		}
	}
}

// HubStatus says whether the hub is there.
type HubStatus struct {
	Connected  bool
	Since      time.Time // when it is so
	Problem    string    // why it is not connected, in words
	Reconnects uint64    // how often it was reached again
}

// Status returns whether the hub is there.
func (h *Hub) Status() HubStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := HubStatus{Connected: h.connected, Since: h.since, Problem: h.problem}
	if h.generation > 1 {
		s.Reconnects = h.generation - 1
	}
	return s
}

func (h *Hub) found() {
	h.mu.Lock()
	defer h.mu.Unlock()
	away := time.Since(h.since)
	first := h.generation == 0
	h.connected, h.since, h.problem, h.told, h.complaints = true, time.Now(), "", "", 0
	h.generation++
	h.leave()
	h.present.generation = h.generation
	h.present.ctx, h.leave = context.WithCancel(context.Background())
	close(h.changed)
	h.changed = make(chan struct{})
	line := h.log.Info().Str("hub", h.url)
	if first {
		line.Msg("the hub is connected")
		return
	}
	line.Dur("away", away).Msg("the hub is back")
}

func (h *Hub) lost(nc *nats.Conn, err error) {
	if nc.IsClosed() {
		return // by us
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.connected {
		h.connected, h.since = false, time.Now()
		h.leave()
	}
	h.problem = wordHubError(err)
	// Each cause is told once, since an outage may last for days.
	if h.problem == h.told {
		return
	}
	if h.told == "" {
		h.log.Warn().Str("hub", h.url).Str("why", h.problem).Msg("the hub is not there; the connections are kept, their events are stored here and brought there once it is")
	} else {
		h.log.Warn().Str("hub", h.url).Str("why", h.problem).Msg("the hub is still not there")
	}
	h.told = h.problem
}

// complaint is what the hub says by the way, such as that something is not
// permitted, which it says in no other place. It may say so again and again.
func (h *Hub) complaint(_ *nats.Conn, _ *nats.Subscription, err error) {
	h.mu.Lock()
	h.complaints++
	many := h.complaints > maxComplaints
	h.mu.Unlock()
	if many {
		return
	}
	h.log.Warn().Str("hub", h.url).Err(err).Msg("the hub complains")
}

func wordHubError(err error) string {
	switch {
	case err == nil:
		return "the connection was closed"
	case errors.Is(err, nats.ErrAuthorization), strings.Contains(strings.ToLower(err.Error()), "authorization violation"):
		return "it does not accept who we are: check --nats-creds, --nats-nkey, the context, or the user in the URL (" + err.Error() + ")"
	case errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
		return "our credentials are not valid any more: have new ones made (" + err.Error() + ")"
	case errors.Is(err, nats.ErrNoServers):
		return "nothing answers at its address"
	case errors.Is(err, nats.ErrStaleConnection):
		return "it fell silent"
	default:
		return err.Error()
	}
}
