package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/scmhub/ibapi/protobuf"
)

// Config says what a gateway is like. The zero value is a gateway on a free loopback port with one account, speaking protobuf.
type Config struct {
	Addr           string           // TCP address to listen on; default 127.0.0.1:0
	ServerVersion  int              // highest version spoken, 176 to 225; default 225. See the package comment for 177 to 212
	Accounts       []string         // default DU1234567
	FirstOrderID   int              // what nextValidId says; default 1
	Seed           uint64           // of the prices: another seed, another market
	Now            func() time.Time // the gateway's clock, for what it says, not for how long it waits; default time.Now
	Location       *time.Location   // the gateway's time zone; default UTC
	IDLinger       time.Duration    // how long a client id stays in use after its session ended other than by the client's FIN; default 0
	MaxClients     int              // default 32, as IB's
	MaxRate        int              // messages within any one second, from all clients together, before error 100; default 0 for no limit. IB's is 50
	HistoryPacing  bool             // enforce IB's rules on history, see the package comment; default false
	Lines          int              // market data lines of all clients together; default 0 for no limit. IB's least is 100
	Hours          bool             // markets close, each by its contract's trading hours; default false: they never do
	TimeSpacing    time.Duration    // a time asked for again within it gets no answer; default 1 s as IB's, negative for none
	TicksPerSecond float64          // ticks of each market data or tick-by-tick subscription; default 4, up to 1e6
	BarEvery       time.Duration    // time between real-time bars; default 5 s. Each stands for 5 s however fast they come
	NoFarms        bool             // say nothing of farms after startApi, as a gateway does that has not reached any yet
	Log            zerolog.Logger   // the zero value is silent

	writeTimeout time.Duration // a client that takes nothing for this long is cut off; default 10 s, which a test cannot wait for
}

const (
	maxOpen           = 1024 // connections, whatever they say
	maxTicksPerSecond = 1e6
)

func (c Config) withDefaults() (Config, error) {
	setDefault(&c.Addr, "127.0.0.1:0")
	setDefault(&c.ServerVersion, maxProtobuf)
	setDefault(&c.FirstOrderID, 1)
	setDefault(&c.Location, time.UTC)
	setDefault(&c.MaxClients, 32)
	setDefault(&c.TimeSpacing, time.Second)
	setDefault(&c.TicksPerSecond, 4)
	setDefault(&c.writeTimeout, 10*time.Second)
	setDefault(&c.BarEvery, barSeconds*time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	if len(c.Accounts) == 0 {
		c.Accounts = []string{"DU1234567"}
	}
	switch {
	case c.ServerVersion < textVersion || c.ServerVersion > maxProtobuf:
		return c, fmt.Errorf("gateway: server version is %d, must be %d to %d", c.ServerVersion, textVersion, maxProtobuf)
	case c.FirstOrderID < 1 || c.FirstOrderID > math.MaxInt32-1:
		return c, fmt.Errorf("gateway: first order id is %d, must be 1 to %d", c.FirstOrderID, math.MaxInt32-1)
	case c.MaxClients < 1 || c.IDLinger < 0 || c.BarEvery < time.Millisecond:
		return c, errors.New("gateway: at least one client must be allowed, the id linger be 0 or more, and bars be 1 ms or more apart")
	case c.MaxRate < 0:
		return c, fmt.Errorf("gateway: the most messages per second are %d, must be 0 for no limit, or more", c.MaxRate)
	case c.Lines < 0:
		return c, fmt.Errorf("gateway: market data lines are %d, must be 0 for no limit, or more", c.Lines)
	case !(c.TicksPerSecond >= 0.001 && c.TicksPerSecond <= maxTicksPerSecond):
		return c, fmt.Errorf("gateway: %v ticks per second, must be 0.001 to %v", c.TicksPerSecond, maxTicksPerSecond)
	}
	for _, account := range c.Accounts {
		if account == "" || strings.ContainsFunc(account, func(r rune) bool { return r <= ' ' || r > '~' || r == ',' }) {
			return c, fmt.Errorf("gateway: account %q must be printable ASCII without blanks and commas", account)
		}
	}
	return c, nil
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// Gateway is a simulated TWS / IB Gateway. All its methods may be called from any goroutine.
type Gateway struct {
	cfg     Config
	market  market
	symbols catalogue

	mu        sync.Mutex
	addr      string        // set by Listen
	running   bool          // Run was called
	closed    bool          // and has ended
	listener  net.Listener  // nil while refusing
	listening chan struct{} // closed and replaced when listener changes
	held      io.Closer     // keeps the port ours while refusing
	mode      AcceptMode
	flow      flow // of new sessions
	rules     []*rule
	sessions  map[*session]struct{}
	ids       map[int32]hold
	stats     Stats
	recent    recent
	ledger    ledger
}

// hold says who has a client id: a session, or until some time one that has ended.
type hold struct {
	owner *session
	until time.Time
}

// New returns a gateway that does nothing yet. The error says which field of the configuration is out of range.
func New(cfg Config) (*Gateway, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Gateway{
		cfg:       cfg,
		market:    market{seed: cfg.Seed},
		symbols:   newCatalogue(cfg.Now()),
		listening: make(chan struct{}),
		sessions:  make(map[*session]struct{}),
		ids:       make(map[int32]hold),
		stats:     Stats{Requests: make(map[Request]int), ByClient: make(map[int]int), Ended: make(map[Cause]int), Pacing: make(map[PacingRule]int)},
	}, nil
}

// Listen opens the port and returns its address. From then on connections are queued by the system; Run serves them.
// Calling it again returns the same address.
func (g *Gateway) Listen() (addr string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.addr != "" {
		return g.addr, nil
	}
	l, err := net.Listen("tcp", g.cfg.Addr)
	if err != nil {
		return "", fmt.Errorf("gateway: %w", err)
	}
	g.addr = l.Addr().String()
	g.setListenerLocked(l)
	return g.addr, nil
}

// Addr returns the address the gateway listens on, empty before Listen. It stays the same through refusals and restarts.
func (g *Gateway) Addr() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.addr
}

func (g *Gateway) setListenerLocked(l net.Listener) {
	g.listener = l
	close(g.listening)
	g.listening = make(chan struct{})
}

// Run listens, if Listen was not called, and serves until ctx ends; then it closes every connection, waits for
// everything it started, and returns context.Cause(ctx). Any other error is that of listening. It can run only once.
func (g *Gateway) Run(ctx context.Context) error {
	if _, err := g.Listen(); err != nil {
		return err
	}
	g.mu.Lock()
	again := g.running
	g.running = true
	g.mu.Unlock()
	if again {
		return errors.New("gateway: Run was called twice")
	}
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() {
		<-ctx.Done()
		g.close()
	})
	for ctx.Err() == nil {
		g.mu.Lock()
		l, changed := g.listener, g.listening
		g.mu.Unlock()
		if l == nil {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		conn, err := l.Accept()
		switch {
		case err == nil:
			work.Go(func() { g.serve(ctx, conn.(*net.TCPConn)) })
		case !errors.Is(err, net.ErrClosed):
			g.cfg.Log.Warn().Err(err).Msg("accept") // such as no free file descriptor; it may pass
			wait(ctx, 10*time.Millisecond, changed)
		}
	}
	return context.Cause(ctx)
}

// close gives up the port for good.
func (g *Gateway) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	if g.listener != nil {
		_ = g.listener.Close()
	}
	if g.held != nil {
		_ = g.held.Close()
	}
}

func (g *Gateway) now() time.Time { return g.cfg.Now().In(g.cfg.Location) }

func (g *Gateway) accounts() *protobuf.ManagedAccounts {
	return &protobuf.ManagedAccounts{AccountsList: new(strings.Join(g.cfg.Accounts, ","))}
}

func (g *Gateway) nextID() *protobuf.NextValidId {
	return &protobuf.NextValidId{OrderId: new(int32(g.cfg.FirstOrderID))}
}

// problem is an error message. Text is made fit for both encodings: no NUL, valid UTF-8.
func (g *Gateway) problem(id, code int32, text string) *protobuf.ErrorMessage {
	text = strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", ""), "?")
	return &protobuf.ErrorMessage{Id: &id, ErrorTime: new(g.now().UnixMilli()), ErrorCode: &code, ErrorMsg: &text}
}

// admit counts a new connection and tells what to do with it.
func (g *Gateway) admit(s *session) AcceptMode {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stats.Accepted++
	s.flow = g.flow
	s.flow.forgoing = make(chan struct{})
	s.forgets, s.contests = s.flow.forgets, s.flow.contests
	g.sessions[s] = struct{}{}
	if len(g.sessions) > maxOpen {
		return CloseAtOnce
	}
	return g.mode
}

// dismiss forgets a connection that has ended. Its client id is free at once only if the client closed in good order.
func (g *Gateway) dismiss(s *session, cause Cause) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.sessions, s)
	g.stats.Ended[cause]++
	if !s.started {
		return
	}
	if cause == ClientClosed || g.cfg.IDLinger == 0 {
		delete(g.ids, s.client)
		return
	}
	g.ids[s.client] = hold{until: time.Now().Add(g.cfg.IDLinger)}
}

type claimed int

const (
	granted claimed = iota
	idInUse
	noRoom
)

// claim gives a client id to a session, if it is free and there is room for another client.
func (g *Gateway) claim(s *session, client int32) claimed {
	g.mu.Lock()
	defer g.mu.Unlock()
	if h, taken := g.ids[client]; taken && (h.owner != nil || time.Now().Before(h.until)) {
		return idInUse
	}
	clients := 0
	for id, h := range g.ids {
		if h.owner != nil {
			clients++
		} else if !time.Now().Before(h.until) {
			delete(g.ids, id)
		}
	}
	if clients >= g.cfg.MaxClients {
		return noRoom
	}
	g.ids[client] = hold{owner: s}
	g.stats.Started++
	g.countClientLocked(client, s.received)
	s.mu.Lock()
	s.client, s.started = client, true
	s.mu.Unlock()
	return granted
}

// TB is the part of testing.TB that Start needs; named here so that programs do not link the testing package.
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

const stopTimeout = 20 * time.Second // liveness only: sessions end in at most a few seconds

// Start runs a gateway for a test and stops it when the test ends. The test fails if the gateway does not
// start, or if anything it started does not end.
func Start(tb TB, cfg Config) *Gateway {
	tb.Helper()
	g, err := New(cfg)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	if _, err := g.Listen(); err != nil {
		tb.Fatalf("%v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				tb.Errorf("gateway: Run returned %v, want it to end with its context", err)
			}
		case <-time.After(stopTimeout):
			tb.Errorf("gateway: still running %v after its context ended: %+v", stopTimeout, g.Stats())
		}
	})
	return g
}
