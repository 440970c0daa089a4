package bus

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"ibconn/events"
)

// The high-water file holds the head of a connection's log as this machine
// last knew it stored, apart from JetStream: when the log ends before it, the
// log has lost its end.
//
// It has two slots, written in turn, each on a disk block of its own. A write
// that is torn by a power failure spoils one slot and leaves the mark before
// it readable. A slot, in big-endian order:
//
//	offset  size
//	     0     8  "ibconnhw"
//	     8     8  generation: the newer of two slots has the higher one
//	    16     8  epoch
//	    24     8  sequence
//	    32    32  hash of the event with that sequence
//	    64     4  CRC-32C of the 64 bytes before
const (
	slotMagic    = "ibconnhw"
	slotSize     = 68
	slotDistance = 4096
	markFileSize = 2 * slotDistance
)

var (
	errSlot    = errors.New("not a valid slot")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// slot is a high-water mark with its generation; generation 0 is none.
type slot struct {
	generation uint64
	head       events.Head
}

func (s slot) encode() ([]byte, error) {
	hash, err := hex.DecodeString(s.head.Hash)
	if err != nil || len(hash) != 32 {
		return nil, fmt.Errorf("hash %q: want 64 hexadecimal digits", s.head.Hash)
	}
	b := make([]byte, 0, slotSize)
	b = append(b, slotMagic...)
	b = binary.BigEndian.AppendUint64(b, s.generation)
	b = binary.BigEndian.AppendUint64(b, s.head.Epoch)
	b = binary.BigEndian.AppendUint64(b, s.head.Sequence)
	b = append(b, hash...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

func decodeSlot(b []byte) (slot, error) {
	if len(b) < slotSize || !bytes.HasPrefix(b, []byte(slotMagic)) {
		return slot{}, errSlot
	}
	if crc32.Checksum(b[:64], castagnoli) != binary.BigEndian.Uint32(b[64:]) {
		return slot{}, errSlot
	}
	s := slot{
		generation: binary.BigEndian.Uint64(b[8:]),
		head: events.Head{
			Epoch:    binary.BigEndian.Uint64(b[16:]),
			Sequence: binary.BigEndian.Uint64(b[24:]),
			Hash:     hex.EncodeToString(b[32:64]),
		},
	}
	if s.generation == 0 {
		return slot{}, errSlot
	}
	return s, nil
}

// newest returns the newer of the valid slots in a high-water file.
func newest(file []byte) (slot, error) {
	a, errA := decodeSlot(file)
	b, errB := decodeSlot(file[min(slotDistance, len(file)):])
	switch {
	case errA != nil && errB != nil:
		return slot{}, errSlot
	case errB != nil || errA == nil && a.generation > b.generation:
		return a, nil
	default:
		return b, nil
	}
}

// highWater is the high-water file of one connection. Nothing of it is kept
// open or in memory: writers that follow one another share it.
type highWater struct{ path string }

const markPrefix = "highwater-"

func highWaterOf(c events.ConnectionID, dir string) highWater {
	return highWater{filepath.Join(dir, markPrefix+string(c))}
}

// Marks returns the high-water marks in a store directory: for each connection the head
// that is known to have been stored. Where some cannot be read, the others are returned
// with an error that names them.
func Marks(dir string) (map[events.ConnectionID]events.Head, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("bus: high-water marks: %w", err)
	}
	marks := make(map[events.ConnectionID]events.Head)
	var wrong []error
	for _, e := range entries {
		name, is := strings.CutPrefix(e.Name(), markPrefix)
		c, err := events.ParseConnectionID(name)
		if !is || err != nil || !e.Type().IsRegular() {
			continue
		}
		s, err := highWaterOf(c, dir).read()
		if err != nil {
			wrong = append(wrong, fmt.Errorf("bus: high-water mark of %s: %w", c, err))
			continue
		}
		marks[c] = s.head
	}
	return marks, errors.Join(wrong...)
}

// read returns the newest mark, or generation 0 when there is no file.
func (h highWater) read() (slot, error) {
	f, err := os.Open(h.path)
	if errors.Is(err, fs.ErrNotExist) {
		return slot{}, nil
	}
	if err != nil {
		return slot{}, err
	}
	defer f.Close()
	return h.readFrom(f)
}

func (h highWater) readFrom(f *os.File) (slot, error) {
	b, err := io.ReadAll(io.LimitReader(f, markFileSize))
	if err != nil {
		return slot{}, err
	}
	s, err := newest(b)
	if err != nil {
		return slot{}, fmt.Errorf("high-water file %s is damaged: neither of its marks is readable; check the disk, then remove the file to go on without", h.path)
	}
	return s, nil
}

// write puts head on the disk, into the slot that does not hold the newest
// mark.
func (h highWater) write(head events.Head) error {
	f, err := os.OpenFile(h.path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return h.create(head)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	s, err := h.readFrom(f)
	if err != nil {
		return err
	}
	s = slot{s.generation + 1, head}
	b, err := s.encode()
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(b, int64(s.generation%2)*slotDistance); err != nil {
		return err
	}
	return datasync(f)
}

// create makes the file in its full size under another name first, so that it
// never exists without a valid mark.
func (h highWater) create(head events.Head) error {
	const generation = 2 // even: the first slot
	b, err := slot{generation, head}.encode()
	if err != nil {
		return err
	}
	draft := h.path + ".new"
	if err := writeSynced(draft, append(b, make([]byte, markFileSize-len(b))...)); err != nil {
		return err
	}
	if err := os.Rename(draft, h.path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(h.path))
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDir makes a rename in dir last. Systems that cannot sync a directory
// refuse it, and order renames by themselves.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, fs.ErrInvalid) {
		return err
	}
	return nil
}
