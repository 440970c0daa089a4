package export

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"ibconn/bus"
	"ibconn/events"
)

// window is how far back the compression looks: who reads the file keeps as much.
const window = 1 << 20

// Writer writes an export. It is for one goroutine.
type Writer struct {
	out     *bufio.Writer
	zstd    *zstd.Encoder // nil where the export is not compressed
	sum     hash.Hash
	line    []byte
	trailer Trailer
}

// NewWriter begins an export: it writes the header. Its Format is set, and its
// ExportedAt where it is zero.
func NewWriter(w io.Writer, h Header, compressed bool) (*Writer, error) {
	out := &Writer{sum: sha256.New()}
	if compressed {
		var err error
		// One goroutine: what ends in the middle leaves none behind.
		if out.zstd, err = zstd.NewWriter(w, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1)); err != nil {
			return nil, err
		}
		w = out.zstd
	}
	out.out = bufio.NewWriterSize(w, 64<<10)
	h.Format = Format
	if h.ExportedAt.IsZero() {
		h.ExportedAt = time.Now()
	}
	h.ExportedAt = h.ExportedAt.UTC()
	if h.Connections == nil {
		h.Connections = []events.ConnectionID{}
	}
	line, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	return out, out.put(append(line, '\n'))
}

func (w *Writer) put(line []byte) error {
	w.sum.Write(line)
	_, err := w.out.Write(line)
	return err
}

// Write adds a message, whose stream sequence must be above that of the one before.
func (w *Writer) Write(s bus.Stored) error {
	if s.StreamSeq <= w.trailer.Last {
		return fmt.Errorf("message %d came after %d: want them in their order", s.StreamSeq, w.trailer.Last)
	}
	line, err := appendLine(w.line[:0], s)
	if err != nil {
		return err
	}
	w.line = line
	if w.trailer.Count == 0 {
		w.trailer.First = s.StreamSeq
	}
	w.trailer.Count++
	w.trailer.Last = s.StreamSeq
	return w.put(line)
}

// End writes the last line and all that is left; nothing can be added then. It does not
// close what is written to.
func (w *Writer) End() (Trailer, error) {
	w.trailer.End, w.trailer.SHA256 = true, hex.EncodeToString(w.sum.Sum(nil))
	line, err := json.Marshal(w.trailer)
	if err != nil {
		return Trailer{}, err
	}
	if err := w.put(append(line, '\n')); err != nil {
		return Trailer{}, err
	}
	if err := w.out.Flush(); err != nil {
		return Trailer{}, err
	}
	if w.zstd != nil {
		if err := w.zstd.Close(); err != nil {
			return Trailer{}, err
		}
	}
	return w.trailer, nil
}

// Output is an export that becomes a file. It must be closed.
type Output struct {
	*Writer
	path  string
	force bool
	temp  *os.File // nil once it was committed or closed
}

// Create begins an export at path, which is compressed when the name ends in .zst.
// Until [Output.Commit] it has another name, in the same directory. A file that is there
// already is an error that is [fs.ErrExist], unless force is set.
func Create(path string, h Header, force bool) (*Output, error) {
	o := &Output{path: path, force: force}
	if err := o.free(); err != nil {
		return nil, err
	}
	var err error
	if o.temp, err = os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*"); err != nil {
		return nil, err
	}
	if o.Writer, err = NewWriter(o.temp, h, Compressed(path)); err != nil {
		return nil, errors.Join(err, o.Close())
	}
	return o, nil
}

// Compressed says whether an export of that name is written compressed.
func Compressed(path string) bool { return strings.HasSuffix(path, ".zst") }

// free checks that nothing would be overwritten.
func (o *Output) free() error {
	info, err := os.Lstat(o.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s is a directory: want the name of a file", o.path)
	case !o.force:
		return fmt.Errorf("%s: %w: give it another name, or --force to replace it", o.path, fs.ErrExist)
	}
	return nil
}

// Commit ends the export, brings it to the disk and gives it its name.
func (o *Output) Commit() (Trailer, error) {
	trailer, err := o.End()
	if err == nil {
		err = o.temp.Sync()
	}
	if err == nil {
		err = o.free() // it may have come meanwhile
	}
	if err != nil {
		return Trailer{}, err
	}
	if err := o.temp.Close(); err != nil {
		return Trailer{}, err
	}
	if err := os.Rename(o.temp.Name(), o.path); err != nil {
		return Trailer{}, err
	}
	o.temp = nil
	return trailer, syncDir(filepath.Dir(o.path))
}

// syncDir brings a name to the disk, where the system can do that.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// Close removes what was not committed.
func (o *Output) Close() error {
	if o.temp == nil {
		return nil
	}
	name := o.temp.Name()
	o.temp.Close()
	o.temp = nil
	return os.Remove(name)
}
