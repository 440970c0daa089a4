package bus

import (
	"fmt"
	"io/fs"
	"path/filepath"
)

const (
	// minFree is the least free disk space a store is opened on. Below it
	// JetStream would soon meet a full disk, which it answers with silence.
	minFree = 64 << 20
	// maxStore is the most a store takes unless it is told otherwise.
	maxStore = 8 << 30
)

// storeLimit returns how many bytes JetStream may keep in dir.
func storeLimit(dir string) (int64, error) {
	free, known, err := FreeBytes(dir)
	if err != nil {
		return 0, fmt.Errorf("free disk space: %w", err)
	}
	if !known {
		return maxStore, nil
	}
	used, err := sizeOf(dir)
	if err != nil {
		return 0, fmt.Errorf("used disk space: %w", err)
	}
	return share(free, used)
}

// share returns four fifths of what the disk can give, and at most maxStore.
// What the store holds already counts as available: the limit must not shrink
// as the log grows.
func share(free, used int64) (int64, error) {
	if free < minFree {
		return 0, fmt.Errorf("only %d MiB of disk space are free: want at least %d MiB; make room, or use another --data", free>>20, minFree>>20)
	}
	return min(maxStore, (free+used)/5*4), nil
}

func sizeOf(dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		total += info.Size()
		return nil
	})
	return total, err
}
