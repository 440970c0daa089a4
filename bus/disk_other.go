//go:build !linux && !darwin && !freebsd

package bus

// FreeBytes says that the free disk space is not known: the standard library
// has no call for it here.
func FreeBytes(string) (free int64, known bool, err error) { return 0, false, nil }
