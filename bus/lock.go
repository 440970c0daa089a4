package bus

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// InUseError says that another server holds the store directory.
type InUseError struct {
	Dir      string
	PID      int    // the holder's process id; 0 when the lock file does not tell
	Instance string // who the holder says it is; may be empty
}

// Error names the holder and the ways out.
func (e *InUseError) Error() string {
	holder := "another process"
	if e.PID != 0 {
		holder = fmt.Sprintf("process %d", e.PID)
	}
	if e.Instance != "" {
		holder += " (" + e.Instance + ")"
	}
	return fmt.Sprintf("store directory %s is in use by %s; stop it, or give this one another --data%s", e.Dir, holder, lockAdvice)
}

// errLocked is what lockFile returns when somebody else has the lock.
var errLocked = errors.New("locked")

// acquire takes the lock of a store directory without waiting. The lock file
// says who holds it.
func acquire(dir, instance string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := lockFile(path)
	if errors.Is(err, errLocked) {
		return nil, holder(dir, path)
	}
	if err != nil {
		return nil, err
	}
	if err := writeHolder(f, instance); err != nil {
		return nil, errors.Join(err, unlockFile(f))
	}
	return f, nil
}

func writeHolder(f *os.File, instance string) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt(fmt.Appendf(nil, "%d %s\n", os.Getpid(), instance), 0)
	return err
}

// holder reads who holds the lock. It is for the message only: what cannot be
// read is left out.
func holder(dir, path string) *InUseError {
	e := &InUseError{Dir: dir}
	f, err := os.Open(path)
	if err != nil {
		return e
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil {
		return e
	}
	pid, instance, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	e.PID, err = strconv.Atoi(pid)
	if err == nil && e.PID > 0 {
		e.Instance = instance
	}
	return e
}
