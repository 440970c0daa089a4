package tws

import (
	"net"

	"golang.org/x/sys/unix"
)

// unacked returns how many segments the peer has not acknowledged though they
// were sent again; 0 where that cannot be learned. What was sent a moment ago is
// unacknowledged too, and says nothing.
func unacked(conn *net.TCPConn) int {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	var n int
	if err := raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil && info.Retransmits > 0 {
			n = int(info.Unacked)
		}
	}); err != nil { // it is closed
		return 0
	}
	return n
}
