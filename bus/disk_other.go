//go:build !linux && !darwin && !freebsd

package bus

// freeBytes says that the free disk space is not known: the standard library
// has no call for it here.
func freeBytes(string) (free int64, known bool, err error) { return 0, false, nil }
