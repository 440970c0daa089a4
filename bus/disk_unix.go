//go:build linux || darwin || freebsd

package bus

import (
	"math"
	"syscall"
)

// FreeBytes returns how many bytes an unprivileged process may still write on
// the disk that dir is on. known is false on systems that do not say.
func FreeBytes(dir string) (free int64, known bool, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, false, err
	}
	//nolint:unconvert // Bavail is signed on FreeBSD
	return int64(min(uint64(st.Bavail)*uint64(st.Bsize), math.MaxInt64/8)), true, nil
}
