package tws

import (
	"syscall"
	"testing"
	"time"
)

func TestTheGatewaysSocketIsWatchedByTheKernel(t *testing.T) {
	leakFree(t)
	p := newPeer(t)
	d := &Dialer{UserTimeout: 7 * time.Second}
	conn, err := d.dial(t.Context(), p.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name          string
		level, option int
		want          int
	}{
		{"SO_KEEPALIVE", syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
		{"TCP_KEEPIDLE", syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 15},
		{"TCP_KEEPINTVL", syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, 5},
		{"TCP_KEEPCNT", syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, 3},
		{"TCP_USER_TIMEOUT", syscall.IPPROTO_TCP, tcpUserTimeout, 7000},
	} {
		var got int
		raw.Control(func(fd uintptr) { got, err = syscall.GetsockoptInt(int(fd), c.level, c.option) })
		if err != nil || got != c.want {
			t.Errorf("%s = %d, %v, want %d", c.name, got, err, c.want)
		}
	}
}
