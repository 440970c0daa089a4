//go:build linux || darwin || freebsd

package bus

import (
	"math"
	"syscall"
)

// freeBytes returns how many bytes an unprivileged process may still write on
// the disk that dir is on. The conversions are for systems where the fields
// have other types.
func freeBytes(dir string) (free int64, known bool, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, false, err
	}
	return int64(min(st.Bavail*uint64(st.Bsize), math.MaxInt64/8)), true, nil
}
