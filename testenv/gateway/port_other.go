//go:build !unix

package gateway

import "io"

// holdPort cannot reserve a port on this system.
func holdPort(string) io.Closer { return nil }
