package bus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

// ServerOptions says where the embedded server keeps its data and whom it
// serves.
type ServerOptions struct {
	// StoreDir is the directory for the log, the lock and the high-water
	// marks. It is required, and created when it is missing.
	StoreDir string
	// Listen is the loopback address clients of other processes find the
	// server at, such as "127.0.0.1:4222". Port 0 takes a free port. Empty: the
	// server does not listen, and only [Server.Connect] reaches it.
	Listen string
	// Instance is who this process is; another one that wants the same
	// directory is told.
	Instance string
	// MaxStore is how many bytes JetStream may keep on the disk. 0 means four
	// fifths of what the disk can give, at most 8 GiB.
	MaxStore int64
	// HealthInterval is how often [Server.Watch] looks at the server's health;
	// 0 means 5 seconds.
	HealthInterval time.Duration
	// HealthGrace is how long the server may be unhealthy before Watch
	// restarts it; 0 means 15 seconds.
	HealthGrace time.Duration
	// OnRestart, when set, is called by Watch after each restart in place: why
	// it was done, and the error when it failed.
	OnRestart func(cause, err error)
	// Log takes the server's own log. Its zero value is silent.
	Log zerolog.Logger
}

const (
	defaultHealthInterval = 5 * time.Second
	defaultHealthGrace    = 15 * time.Second
	readyTimeout          = 30 * time.Second // recovering a large log takes seconds
	maxPayload            = 1 << 20
	maxMemory             = 64 << 20 // ordered consumers keep their state in memory
)

var errServerClosed = errors.New("the server is closed")

// Server is an embedded NATS server with JetStream that syncs every message to
// the disk before it acknowledges it.
type Server struct {
	options ServerOptions
	host    string
	port    int // as asked for; the one taken, once listening
	lock    *os.File
	insider insider
	health  func(*server.Server) error

	mu      sync.Mutex // held while the server is replaced or closed
	closed  bool
	current atomic.Pointer[server.Server]
}

// Open locks the store directory and starts the server; it returns once
// JetStream is ready. The error is an *[InUseError] when another process holds
// the directory, a *[ListenError] when Listen is not what it may be, and wraps
// syscall.EADDRINUSE when the address is taken.
func Open(o ServerOptions) (*Server, error) {
	s, err := open(o)
	if err != nil {
		return nil, fmt.Errorf("bus: open %s: %w", o.StoreDir, err)
	}
	return s, nil
}

func open(o ServerOptions) (*Server, error) {
	if o.StoreDir == "" {
		return nil, errors.New("a store directory is required")
	}
	if o.HealthInterval == 0 {
		o.HealthInterval = defaultHealthInterval
	}
	if o.HealthGrace == 0 {
		o.HealthGrace = defaultHealthGrace
	}
	s := &Server{options: o, health: healthOf}
	var err error
	if s.insider, err = newInsider(); err != nil {
		return nil, err
	}
	if o.Listen != "" {
		if s.host, s.port, err = parseListen(o.Listen); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(o.StoreDir, 0o700); err != nil {
		return nil, err
	}
	lock, err := acquire(o.StoreDir, o.Instance)
	if err != nil {
		return nil, err
	}
	s.lock = lock
	if o.MaxStore == 0 {
		s.options.MaxStore, err = storeLimit(o.StoreDir)
	}
	if err == nil {
		err = s.start()
	}
	if err != nil {
		return nil, errors.Join(err, unlockFile(lock))
	}
	return s, nil
}

// ListenError says that an address to listen on is not of the form it must
// have, or not one that only this machine reaches.
type ListenError struct {
	Address string
	Reason  string // what is wrong with it, and what is allowed
}

// Error names the address and says what is wrong with it.
func (e *ListenError) Error() string {
	return fmt.Sprintf("listen address %q: %s", e.Address, e.Reason)
}

// parseListen takes a listen address apart and refuses what is reachable from
// elsewhere.
func parseListen(address string) (host string, port int, err error) {
	host, digits, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, &ListenError{address, "want host:port, such as 127.0.0.1:4222"}
	}
	p, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return "", 0, &ListenError{address, "want a port from 0 to 65535"}
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return "", 0, &ListenError{address, "it is not a loopback address, and the bus knows no credentials yet, so whoever reaches it could command the connections; use 127.0.0.1:" + digits}
	}
	return host, int(p), nil
}

// start starts a server on the store directory and makes it the current one.
func (s *Server) start() error {
	ns, err := server.NewServer(s.serverOptions())
	if err != nil {
		return err
	}
	log := &serverLog{log: s.options.Log}
	trace := s.options.Log.GetLevel() <= zerolog.TraceLevel
	ns.SetLoggerV2(log, trace, false, false)
	ns.Start()
	err = log.fatal()
	if err == nil && !ns.ReadyForConnections(readyTimeout) {
		err = fmt.Errorf("the embedded NATS server was not ready within %v", readyTimeout)
	}
	if err == nil && !ns.JetStreamEnabled() {
		err = errors.New("JetStream did not start")
	}
	if err != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
		if errors.Is(err, syscall.EADDRINUSE) {
			return s.addressTaken()
		}
		return err
	}
	if a, ok := ns.Addr().(*net.TCPAddr); ok {
		s.port = a.Port
	}
	s.current.Store(ns)
	return nil
}

func (s *Server) serverOptions() *server.Options {
	port := s.port
	if port == 0 {
		port = server.RANDOM_PORT
	}
	options := &server.Options{
		// The name is part of JetStream's identity, so it never changes.
		ServerName:             "ibconn",
		DontListen:             s.host == "",
		Host:                   s.host,
		Port:                   port,
		NoSigs:                 true,
		JetStream:              true,
		StoreDir:               s.options.StoreDir,
		SyncAlways:             true,
		JetStreamMaxMemory:     maxMemory,
		JetStreamMaxStore:      s.options.MaxStore,
		DisableJetStreamBanner: true,
		MaxPayload:             maxPayload,
	}
	s.insider.allow(options)
	return options
}

func (s *Server) addressTaken() error {
	address := net.JoinHostPort(s.host, strconv.Itoa(s.port))
	return fmt.Errorf("listen on %s: %w: is another ibconn or nats-server running? Stop it, or use another address with --listen, or any free port with --listen %s",
		address, syscall.EADDRINUSE, net.JoinHostPort(s.host, "0"))
}

// URL returns where clients of other processes find the server, or "" when it
// does not listen.
func (s *Server) URL() string {
	if s.host == "" {
		return ""
	}
	return s.current.Load().ClientURL()
}

// MaxStore returns how many bytes JetStream may keep on the disk.
func (s *Server) MaxStore() int64 { return s.options.MaxStore }

// inProcess leads clients to whichever server is current, so that they find
// the new one after a restart in place.
type inProcess struct{ s *Server }

func (p inProcess) InProcessConn() (net.Conn, error) { return p.s.current.Load().InProcessConn() }

// Connect connects a client inside this process; name shows in the server's
// monitoring. The connection outlives restarts in place and must be closed by
// the caller, before the server. While the server is away a publish fails at
// once instead of being buffered: a publish of unknown outcome would be worse.
func (s *Server) Connect(name string, options ...nats.Option) (*nats.Conn, error) {
	nc, err := nats.Connect("", append([]nats.Option{
		nats.InProcessServer(inProcess{s}),
		nats.Name(name),
		s.insider.login(),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(20 * time.Millisecond),
		nats.ReconnectJitter(5*time.Millisecond, 5*time.Millisecond),
		nats.ReconnectBufSize(-1),
	}, options...)...)
	if err != nil {
		return nil, fmt.Errorf("bus: connect %s: %w", name, err)
	}
	return nc, nil
}

// Restart stops the server and starts it again in place: same directory, same
// address, same clients. After a write error it is the only way to make
// JetStream write again.
func (s *Server) Restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("bus: restart: %w", errServerClosed)
	}
	s.stop()
	if err := s.start(); err != nil {
		return fmt.Errorf("bus: restart: %w", err)
	}
	return nil
}

func (s *Server) stop() {
	ns := s.current.Load()
	ns.Shutdown()
	ns.WaitForShutdown()
}

// Watch looks at the server's health until ctx ends, and restarts it in place
// when it has been unhealthy for longer than the grace: after a full disk, for
// example, JetStream stays silent even when there is room again. It returns
// the cause of ctx's end.
func (s *Server) Watch(ctx context.Context) error {
	ticker := time.NewTicker(s.options.HealthInterval)
	defer ticker.Stop()
	var since time.Time
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
		cause := s.health(s.current.Load())
		switch {
		case cause == nil:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
			s.options.Log.Warn().Err(cause).Msg("the embedded NATS server is unhealthy")
		case time.Since(since) >= s.options.HealthGrace:
			since = time.Time{}
			s.heal(cause)
		}
	}
}

func (s *Server) heal(cause error) {
	err := s.Restart()
	if err != nil {
		s.options.Log.Error().Err(err).AnErr("cause", cause).Msg("the embedded NATS server could not be restarted")
	} else {
		s.options.Log.Warn().AnErr("cause", cause).Msg("the embedded NATS server was restarted")
	}
	if s.options.OnRestart != nil {
		s.options.OnRestart(cause, err)
	}
}

func healthOf(ns *server.Server) error {
	h := ns.Healthz(&server.HealthzOptions{})
	if h.Status == "ok" {
		return nil
	}
	return fmt.Errorf("%s: %s", h.Status, h.Error)
}

// Close stops the server, waits until everything is written, and lets go of
// the directory. Closing again does nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.stop()
	return unlockFile(s.lock)
}
