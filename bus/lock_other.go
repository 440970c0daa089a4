//go:build !linux && !darwin && !freebsd

package bus

import (
	"errors"
	"io/fs"
	"os"
)

const lockAdvice = "; if that process is gone, remove the file \"lock\" in there"

// lockFile creates the file or fails: without flock the file's existence is
// the lock, and a process that was killed leaves it behind.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, errLocked
	}
	return f, err
}

// lockToRead says whether somebody has the lock: the file is there. Nothing keeps others
// from taking it.
func lockToRead(path string) (*os.File, error) {
	_, err := os.Stat(path)
	if err == nil {
		return nil, errLocked
	}
	return nil, nil
}

func unlockFile(f *os.File) error {
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
