package tws

import (
	"encoding/binary"
	"fmt"
	"io"
	"iter"

	"ibconn/events"
)

const (
	headerSize = 4                     // a frame is a big-endian uint32, the payload's length, and the payload
	maxPayload = 0xFFFFFF - headerSize // what ibapi's scanner can take; it waits in silence for a longer one
	maxReply   = 1024                  // the version reply is a number and a time
	minText    = 2                     // a digit of the message id and its NUL
	minRaw     = 4                     // the message id, from server version 201 on
	inbound    = 64 << 10              // what is read at once of a gateway's data
	outbound   = 4 << 10               // and of the library's requests, which are few
)

// framer cuts a stream into frames. It never holds more than one frame and one
// read, and takes memory for a long frame only as its bytes arrive.
type framer struct {
	source   io.Reader
	size     int // what is read at once
	min, max int // what a payload's length may be
	buffer   []byte
	from, to int // the bytes of buffer not yet taken
}

func newFramer(source io.Reader, size, min, max int) *framer {
	return &framer{source: source, size: size, min: min, max: max, buffer: make([]byte, size)}
}

// read reads once and returns how many bytes came.
func (f *framer) read() (int, error) {
	f.makeRoom()
	n, err := f.source.Read(f.buffer[f.to:])
	f.to += n
	return n, err
}

func (f *framer) makeRoom() {
	held := f.buffer[f.from:f.to]
	switch {
	case len(held) == 0 && len(f.buffer) > f.size:
		f.buffer = make([]byte, f.size)
	case len(held) == len(f.buffer):
		f.buffer = make([]byte, min(2*len(f.buffer), headerSize+f.max))
		copy(f.buffer, held)
	default:
		copy(f.buffer, held)
	}
	f.from, f.to = 0, len(held)
}

// take returns the whole frames at hand, headers included, at most that many.
// They are valid until the next read. The error says that what follows them
// cannot be a frame.
func (f *framer) take(most int) ([]byte, error) {
	start, err := f.from, error(nil)
	for ; most > 0 && f.to-f.from >= headerSize; most-- {
		size := uint64(binary.BigEndian.Uint32(f.buffer[f.from:]))
		if size < uint64(f.min) || size > uint64(f.max) {
			err = ending{events.CauseGarbled, fmt.Sprintf("a frame of %d bytes, where %d to %d are possible; it begins %q",
				size, f.min, f.max, f.buffer[f.from:min(f.to, f.from+headerSize)])}
			break
		}
		if uint64(f.to-f.from) < headerSize+size {
			break
		}
		f.from += headerSize + int(size)
	}
	return f.buffer[start:f.from], err
}

// inFrame says whether the stream stands inside a frame.
func (f *framer) inFrame() bool { return f.to > f.from }

// unfinished says where in a frame the stream stands, or nothing when it
// stands between two.
func (f *framer) unfinished() string {
	switch held := f.to - f.from; {
	case held == 0:
		return ""
	case held < headerSize:
		return fmt.Sprintf("in the middle of a frame's length, %d of %d bytes", held, headerSize)
	default:
		return fmt.Sprintf("in the middle of a frame, %d of %d bytes", held-headerSize, binary.BigEndian.Uint32(f.buffer[f.from:]))
	}
}

// split yields each of the whole frames, header included.
func split(frames []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(frames) > 0 {
			end := headerSize + int(binary.BigEndian.Uint32(frames))
			if !yield(frames[:end]) {
				return
			}
			frames = frames[end:]
		}
	}
}

// frame returns payload with its length in front.
func frame(payload []byte) []byte {
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, headerSize+len(payload)), uint32(len(payload))), payload...)
}
