package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// Server listens for HTTP on loopback. Fill in the fields and call Run once.
type Server struct {
	Listen  string // a loopback address and port; port 0 takes a free one
	Handler http.Handler
	// Listening, where it is set, is told the URL once requests are taken.
	Listening func(url string)
}

// ErrNotLoopback is why an address is refused that others could reach: nothing here
// asks who they are.
var ErrNotLoopback = errors.New("it is not on loopback, and whoever reaches it is not asked who they are: listen on 127.0.0.1, or put a proxy in front that asks")

const (
	headerWithin = 5 * time.Second
	readWithin   = 10 * time.Second
	writeWithin  = 90 * time.Second // beyond a look into the past
	idleFor      = 2 * time.Minute
	closeWithin  = 2 * time.Second
	maxHeader    = 16 << 10
)

// CheckListen says why Run would refuse an address; nil where it would not, as far
// as can be known without listening.
func CheckListen(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("http address %.60q: want HOST:PORT", address)
	}
	ip, err := netip.ParseAddr(host)
	if host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return fmt.Errorf("http address %.60q: %w", address, ErrNotLoopback)
	}
	return nil
}

// Run answers requests until ctx ends, whose cause it returns; what is under way
// then has two seconds. It returns an error that says so when it may not or cannot
// listen ([ErrNotLoopback], or what the system says).
func (s *Server) Run(ctx context.Context) error {
	if err := CheckListen(s.Listen); err != nil {
		return fmt.Errorf("web: %w", err)
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", s.Listen)
	if err != nil {
		return fmt.Errorf("web: %w", err)
	}
	// Requests end with ctx: those that follow events would go on for ever.
	server := &http.Server{
		Handler: s.Handler, ReadHeaderTimeout: headerWithin, ReadTimeout: readWithin, WriteTimeout: writeWithin, IdleTimeout: idleFor,
		MaxHeaderBytes: maxHeader, BaseContext: func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	if s.Listening != nil {
		s.Listening("http://" + listener.Addr().String())
	}
	select {
	case err := <-served:
		return fmt.Errorf("web: %w", err)
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	defer cancel()
	if err := server.Shutdown(closing); err != nil {
		_ = server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("web: %w", err)
	}
	return context.Cause(ctx)
}

// guard keeps pages of other sites out, and tells browsers to make nothing else of
// an answer than it is.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'")
		if !namesThisHost(r.Host) {
			refuse(w, http.StatusMisdirectedRequest, fmt.Errorf("host %.60q: ask by address, or as localhost", r.Host))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// namesThisHost says whether a host is an address or localhost. A page of another
// site reaches loopback by a name of its own that it points here; by an address it
// would be another origin.
func namesThisHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	_, err := netip.ParseAddr(host)
	return err == nil
}
