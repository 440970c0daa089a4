package bus

import (
	"os"
	"syscall"
)

// datasync puts a file's content on the disk. Its size never changes, so the
// file's metadata, which fsync would journal as well, does not matter.
func datasync(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return err
		}
	}
}
