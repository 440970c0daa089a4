package export

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"math"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"

	"ibconn/bus"
	"ibconn/events"
)

// Error says what is wrong with an export, and where.
type Error struct {
	Name string // of the file
	Line int    // from 1
	Err  error
}

// Error names the file and the line.
func (e *Error) Error() string { return fmt.Sprintf("%s, line %d: %v", e.Name, e.Line, e.Err) }

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

var (
	// ErrCut says that an export ends before its last line.
	ErrCut = errors.New("the export ends here, without its last line: it was cut off")
	// ErrChanged says that an export is not what was written.
	ErrChanged = errors.New("the export was changed after it was written: its SHA-256 is not the one in its last line")
	// ErrOnce says that what can be read only once was to be read again.
	ErrOnce = errors.New("it can be read only once, and this needs to read it again: save it as a file")

	errFollow = errors.New("an export does not grow: it cannot be followed")
)

// maxWindow is how far back the compression of a file may look: what every zstd
// decoder must be able to do.
const maxWindow = 8 << 20

// File is an export to read from; it is a replay.Source. It may be used by many
// goroutines.
type File struct {
	name   string
	header Header
	file   *os.File
	once   *lines      // what comes after the header, of what can be read only once
	read   atomic.Bool // and it was
}

// Open opens the export at path, and reads its header. "-" is standard input. The error
// is an *[Error] where the file is not an export.
func Open(path string) (*File, error) {
	if path == "-" {
		return NewFile(os.Stdin, "standard input")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	x, err := open(f, path)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	x.file = f
	return x, nil
}

func open(f *os.File, path string) (*File, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("%s is a directory: want an export, as \"ibconn replay export\" writes it", path)
	case !info.Mode().IsRegular():
		return NewFile(f, path)
	}
	l, h, err := begin(whole(f), path)
	if err != nil {
		return nil, err
	}
	l.close()
	return &File{name: path, header: h}, nil
}

func whole(f *os.File) io.Reader { return io.NewSectionReader(f, 0, math.MaxInt64) }

// NewFile reads the header of an export that comes from r, which can be read once; name
// is how errors call it.
func NewFile(r io.Reader, name string) (*File, error) {
	l, h, err := begin(r, name)
	if err != nil {
		return nil, err
	}
	return &File{name: name, header: h, once: l}, nil
}

// begin reads the header.
func begin(r io.Reader, name string) (*lines, Header, error) {
	l, err := newLines(r, name)
	if err != nil {
		return nil, Header{}, err
	}
	h, err := l.header()
	if err != nil {
		l.close()
		return nil, Header{}, err
	}
	return l, h, nil
}

// again returns what comes after the header.
func (x *File) again() (*lines, error) {
	if x.once == nil {
		l, _, err := begin(whole(x.file), x.name)
		return l, err
	}
	if x.read.Swap(true) {
		return nil, fmt.Errorf("%s: %w", x.name, ErrOnce)
	}
	return x.once, nil
}

// Header returns the first line.
func (x *File) Header() Header { return x.header }

// Connections returns the connections that the header names, in the order of their
// names.
func (x *File) Connections() []events.ConnectionID {
	return slices.Sorted(slices.Values(x.header.Connections))
}

// Close closes the file.
func (x *File) Close() error {
	if x.once != nil && !x.read.Swap(true) {
		x.once.close()
	}
	if x.file == nil {
		return nil
	}
	return x.file.Close()
}

// Stored yields what q selects, in its order. An error ends it, and is an *[Error] where
// the export is at fault. That it was cut off or changed is found at its end, if not
// before. To follow is refused.
func (x *File) Stored(ctx context.Context, q bus.Query) iter.Seq2[bus.Stored, error] {
	return func(yield func(bus.Stored, error) bool) {
		if q.Follow {
			yield(bus.Stored{}, fmt.Errorf("%s: %w", x.name, errFollow))
			return
		}
		l, err := x.again()
		if err != nil {
			yield(bus.Stored{}, err)
			return
		}
		defer l.close()
		keep := selecting(q)
		var last uint64
		for {
			s, kept, err := l.message(last, keep)
			switch {
			case errors.Is(err, io.EOF):
				return
			case err == nil && ctx.Err() != nil:
				err = context.Cause(ctx)
			}
			if err != nil {
				yield(bus.Stored{}, err)
				return
			}
			last = s.StreamSeq
			if kept && !yield(s, nil) {
				return
			}
		}
	}
}

// selecting says whether q selects a message, of which the place is known.
func selecting(q bus.Query) func(bus.Stored) bool {
	var prefix string
	if q.Connection != "" {
		prefix = events.LogSubject(q.Connection, "")
	}
	var kinds []string
	for _, k := range q.Kinds {
		kinds = append(kinds, "."+string(k))
	}
	return func(s bus.Stored) bool {
		return s.StreamSeq > q.After && !s.StoredAt.Before(q.Since) && strings.HasPrefix(s.Subject, prefix) &&
			(q.Kinds == nil || slices.ContainsFunc(kinds, func(k string) bool { return strings.HasSuffix(s.Subject, k) }))
	}
}

// lines reads an export line by line.
type lines struct {
	name    string
	in      *bufio.Reader
	zstd    *zstd.Decoder // nil where it is not compressed
	sum     hash.Hash
	number  int // of the line that was read last
	trailer Trailer
}

var zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}

func newLines(r io.Reader, name string) (*lines, error) {
	l := &lines{name: name, in: bufio.NewReaderSize(r, maxLine), sum: sha256.New()}
	magic, err := l.in.Peek(len(zstdMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if bytes.Equal(magic, zstdMagic) {
		l.zstd, err = zstd.NewReader(l.in, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxWindow), zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(2))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		l.in = bufio.NewReaderSize(l.zstd, maxLine)
	}
	return l, nil
}

func (l *lines) close() {
	if l.zstd != nil {
		l.zstd.Close()
	}
}

func (l *lines) wrong(err error) error { return &Error{Name: l.name, Line: l.number, Err: err} }

// next returns the next line with its line feed, which is good until the next call.
func (l *lines) next() ([]byte, error) {
	line, err := l.in.ReadSlice('\n')
	l.number++
	switch {
	case err == nil:
		return line, nil
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, l.wrong(fmt.Errorf("it has more than %d bytes: no line of an export is as long", maxLine))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, l.wrong(ErrCut)
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return nil, l.wrong(fmt.Errorf("it was compressed with a window above %d MiB: compress it again without --long and --ultra", maxWindow>>20))
	case l.zstd != nil:
		return nil, l.wrong(fmt.Errorf("from here on it cannot be uncompressed: %w", err))
	}
	return nil, l.wrong(err)
}

func (l *lines) header() (Header, error) {
	// What begins otherwise may have no lines at all.
	start, _ := l.in.Peek(len(headerStart))
	if len(start) > 0 && !strings.HasPrefix(headerStart, string(start)) {
		l.number++
		return Header{}, l.wrong(fmt.Errorf("it is no export: want a file that begins with %s, or one of those that was compressed with zstd", headerStart))
	}
	line, err := l.next()
	if err != nil {
		return Header{}, err
	}
	var h Header
	if err := json.Unmarshal(line, &h); err != nil {
		return Header{}, l.wrong(fmt.Errorf("the header is not as it must be: %w", err))
	}
	if h.Format != Format {
		return Header{}, l.wrong(fmt.Errorf("it is an export of format %d, and this program reads format %d: take a newer ibconn", h.Format, Format))
	}
	for _, c := range h.Connections {
		if _, err := events.ParseConnectionID(string(c)); err != nil {
			return Header{}, l.wrong(fmt.Errorf("the header is not as it must be: %w", err))
		}
	}
	l.sum.Write(line)
	return h, nil
}

// message returns the next message, whose sequence must be above last, and whether it is
// kept. After the last it is io.EOF, once the trailer was held against what was read.
func (l *lines) message(last uint64, keep func(bus.Stored) bool) (bus.Stored, bool, error) {
	line, err := l.next()
	if err != nil {
		return bus.Stored{}, false, err
	}
	s, kept, err := parseLine(line[:len(line)-1], keep)
	switch {
	case err == nil && s.StreamSeq <= last:
		err = fmt.Errorf("message %d comes after %d: the lines are not in their order", s.StreamSeq, last)
	case errors.Is(err, errNoPlace) && bytes.HasPrefix(line, []byte(trailerStart)):
		if err = l.end(line, last); err == nil {
			return bus.Stored{}, false, io.EOF
		}
	}
	if err != nil {
		return bus.Stored{}, false, l.wrong(err)
	}
	l.sum.Write(line)
	if l.trailer.Count == 0 {
		l.trailer.First = s.StreamSeq
	}
	l.trailer.Count++
	return s, kept, nil
}

// end holds the trailer against what was read.
func (l *lines) end(line []byte, last uint64) error {
	var t Trailer
	if err := json.Unmarshal(line, &t); err != nil {
		return fmt.Errorf("the last line is not as it must be: %w", err)
	}
	switch {
	case t.Count != l.trailer.Count:
		return fmt.Errorf("%w; it says %d messages, and %d are there", ErrChanged, t.Count, l.trailer.Count)
	case t.SHA256 != hex.EncodeToString(l.sum.Sum(nil)):
		return ErrChanged
	case t.First != l.trailer.First || t.Last != last:
		return fmt.Errorf("%w; it says messages %d to %d, and %d to %d are there", ErrChanged, t.First, t.Last, l.trailer.First, last)
	}
	if _, err := l.in.ReadByte(); err == nil {
		l.number++
		return errors.New("something follows the last line of the export")
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
