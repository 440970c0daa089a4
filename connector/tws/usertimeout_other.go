//go:build !linux

package tws

import (
	"net"
	"time"
)

// setUserTimeout does nothing: only Linux has TCP_USER_TIMEOUT. The
// connector's heartbeat finds a dead network in its place.
func setUserTimeout(*net.TCPConn, time.Duration) error { return nil }
