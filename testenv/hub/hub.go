// Package hub is an external NATS server, or a cluster of three, for tests: servers
// with JetStream in this process, each with a directory and an address that it keeps
// over restarts, and a network between them and us that can be slowed, cut and mended.
package hub

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Server is a NATS server that can be stopped and started again. Fill in the
// fields; the methods are for one goroutine. Encoded as JSON it can be given to
// another process, to run there and be killed.
type Server struct {
	Name string // empty for hub; it must not change
	Dir  string // its store
	Port int    // 0 takes a free one at the first start, and keeps it
	// Host is the address to listen on; empty for loopback.
	Host string
	// Config is more of a server's configuration file.
	Config string

	running *server.Server
}

const readyWithin = 20 * time.Second

// ErrNotReady says that a server did not start.
var ErrNotReady = errors.New("hub: the server did not start")

// Start starts the server, or starts it again.
func (s *Server) Start() error {
	if s.Name == "" {
		s.Name = "hub"
	}
	port := s.Port
	if port == 0 {
		port = server.RANDOM_PORT
	}
	config := fmt.Sprintf("server_name: %s\njetstream: {store_dir: %q, max_mem: 64M, max_file: 4G}\n%s\n", s.Name, s.Dir, s.Config)
	o := &server.Options{}
	if err := o.ProcessConfigString(config); err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	o.Host, o.Port, o.NoLog, o.NoSigs = cmp.Or(s.Host, "127.0.0.1"), port, true, true
	running, err := server.NewServer(o)
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	running.Start()
	if !running.ReadyForConnections(readyWithin) {
		running.Shutdown()
		running.WaitForShutdown()
		return ErrNotReady
	}
	if a, ok := running.Addr().(*net.TCPAddr); ok {
		s.Port = a.Port
	}
	s.running = running
	return nil
}

// Stop stops the server, if it runs.
func (s *Server) Stop() {
	if s.running == nil {
		return
	}
	s.running.Shutdown()
	s.running.WaitForShutdown()
	s.running = nil
}

// Address is where it listens, as HOST:PORT.
func (s *Server) Address() string {
	return net.JoinHostPort(cmp.Or(s.Host, "127.0.0.1"), fmt.Sprint(s.Port))
}

// URL is where it listens.
func (s *Server) URL() string { return "nats://" + s.Address() }

// Cluster returns three servers that are one cluster, none of them started. Each
// keeps its store in a directory of its own below dir.
func Cluster(dir string) ([]*Server, error) {
	const nodes = 3
	var servers []*Server
	var routes []string
	var ports []int
	for i := range nodes {
		route, err := freePort()
		if err != nil {
			return nil, err
		}
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("hub-%d", i+1)
		servers, ports = append(servers, &Server{Name: name, Dir: dir + "/" + name, Port: port}), append(ports, route)
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", route))
	}
	for i, s := range servers {
		s.Config = fmt.Sprintf("cluster: {name: hub, listen: \"127.0.0.1:%d\", routes: [%s]}", ports[i], strings.Join(routes, ", "))
	}
	return servers, nil
}

// URLs are those of servers, parted by commas.
func URLs(servers []*Server) string {
	var all []string
	for _, s := range servers {
		all = append(all, s.URL())
	}
	return strings.Join(all, ",")
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("hub: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
