package tws

import (
	"cmp"
	"context"
	"net"
	"sync/atomic"
	"time"

	"ibconn/connector"
)

// Dialer makes sessions with a TWS or IB Gateway. Its zero value is ready to
// use. It must not be changed or copied once it made an attempt.
type Dialer struct {
	// KeepAlive says how the kernel probes an idle connection. The zero value
	// means after 15 s, every 5 s, 3 times.
	KeepAlive net.KeepAliveConfig
	// UserTimeout is how long sent data may stay unacknowledged, on systems
	// that can be told (TCP_USER_TIMEOUT). 0 means 30 s; negative leaves it to
	// the system.
	UserTimeout time.Duration
	// TeardownTimeout bounds how long the API library may take to come up, to
	// decode what it was sent, and to let go: each by itself. 0 means 3 s.
	TeardownTimeout time.Duration
	// FrameTimeout is how long a frame from the gateway may take from its first
	// byte to its last. Bytes that are no frame can look like the beginning of
	// a long one, which would swallow everything behind it. 0 means 30 s.
	FrameTimeout time.Duration
	// Frames is how many frames each way the flight recorder keeps. 0 means
	// 32.
	Frames int
	// ConnectOptions is passed to the gateway in the hello, such as
	// "+PACEAPI"; printable ASCII.
	ConnectOptions string
	// Clock dates what comes and goes, and keeps FrameTimeout and the time
	// between two reqCurrentTime; nil is the system's, which also keeps all
	// other timeouts.
	Clock connector.Clock

	// Pacing has the message budgets of the gateways. Dialers whose connections
	// reach the same gateway share it; nil is one of the Dialer's own.
	Pacing *connector.Pacing

	own       connector.Pacing
	abandoned atomic.Uint64
}

const (
	defaultUserTimeout     = 30 * time.Second
	defaultTeardownTimeout = 3 * time.Second
	defaultFrameTimeout    = 30 * time.Second
	defaultFrames          = 32
)

var defaultKeepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

var _ connector.Dialer = (*Dialer)(nil)

// Attempt returns the attempt o, not yet begun.
func (d *Dialer) Attempt(o connector.Order) connector.Session { return newSession(d, o) }

// dial opens the gateway's socket.
func (d *Dialer) dial(ctx context.Context, endpoint string) (*net.TCPConn, error) {
	dialer := net.Dialer{KeepAliveConfig: cmp.Or(d.KeepAlive, defaultKeepAlive)}
	conn, err := dialer.DialContext(ctx, "tcp", endpoint)
	if err != nil {
		return nil, dialEnding(err)
	}
	gateway := conn.(*net.TCPConn)
	if patience := cmp.Or(d.UserTimeout, defaultUserTimeout); patience > 0 {
		if err := setUserTimeout(gateway, patience); err != nil {
			gateway.Close()
			return nil, err
		}
	}
	return gateway, nil
}

// teardown returns the bound of each step with the library.
func (d *Dialer) teardown() time.Duration { return cmp.Or(d.TeardownTimeout, defaultTeardownTimeout) }

func (d *Dialer) pacers() *connector.Pacing {
	if d.Pacing != nil {
		return d.Pacing
	}
	return &d.own
}

func (d *Dialer) clock() connector.Clock {
	if d.Clock == nil {
		return connector.SystemClock{}
	}
	return d.Clock
}

// now returns the time that what happens now is dated by.
func (d *Dialer) now() time.Time {
	now, _ := d.clock().Now()
	return now
}
