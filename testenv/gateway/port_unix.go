//go:build unix

package gateway

import (
	"io"
	"net"
	"os"
	"syscall"
)

// holdPort binds the port without listening on it: clients are refused, and no other process is given the port.
// It returns nil if that cannot be done; refusing works without.
func holdPort(addr string) io.Closer {
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil
	}
	family, at := syscall.AF_INET6, syscall.Sockaddr(&syscall.SockaddrInet6{Port: tcp.Port, Addr: [16]byte(tcp.IP.To16())})
	if ip4 := tcp.IP.To4(); ip4 != nil {
		family, at = syscall.AF_INET, &syscall.SockaddrInet4{Port: tcp.Port, Addr: [4]byte(ip4)}
	}
	syscall.ForkLock.RLock() // so that no child process inherits the socket
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil
	}
	socket := os.NewFile(uintptr(fd), "held port")
	// SO_REUSEADDR lets the port be bound again, by us, while this socket and those of open sessions exist.
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil || syscall.Bind(fd, at) != nil {
		_ = socket.Close()
		return nil
	}
	return socket
}
