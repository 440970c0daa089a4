//go:build !linux

package tws

import "net"

// unacked is not known here.
func unacked(*net.TCPConn) int { return 0 }
