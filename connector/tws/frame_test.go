package tws

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"
	"testing"
	"testing/iotest"

	"ibconn/events"
)

// cutUp reads all of source through a framer and returns the whole frames, and
// the error that stopped it.
func cutUp(f *framer) (whole [][]byte, err error) {
	for {
		_, readErr := f.read()
		frames, bad := f.take(math.MaxInt)
		for frame := range split(frames) {
			whole = append(whole, slices.Clone(frame))
		}
		if bad != nil {
			return whole, bad
		}
		if readErr != nil {
			return whole, readErr
		}
	}
}

func TestFramesComeWholeHoweverTheStreamIsCut(t *testing.T) {
	frames := [][]byte{text(9, 1, 1), text(15, 1, "DU1234567"), frame(bytes.Repeat([]byte("x"), 3*inbound)), text(49, 1, 1700000000)}
	stream := slices.Concat(frames...)
	for name, source := range map[string]io.Reader{
		"together":         bytes.NewReader(stream),
		"byte by byte":     iotest.OneByteReader(bytes.NewReader(stream)),
		"by halves":        iotest.HalfReader(bytes.NewReader(stream)),
		"with its end":     iotest.DataErrReader(bytes.NewReader(stream)),
		"one after a time": io.MultiReader(bytes.NewReader(frames[0]), bytes.NewReader(frames[1]), bytes.NewReader(frames[2]), bytes.NewReader(frames[3])),
	} {
		f := newFramer(source, inbound, minText, maxPayload)
		got, err := cutUp(f)
		if !errors.Is(err, io.EOF) || !slices.EqualFunc(got, frames, bytes.Equal) {
			t.Errorf("%s: %d frames and %v, want %d and %v", name, len(got), err, len(frames), io.EOF)
		}
		if where := f.unfinished(); where != "" {
			t.Errorf("%s: ended %s, want between two frames", name, where)
		}
	}
}

func TestAFramesLengthIsCheckedBeforeItsBytesCome(t *testing.T) {
	for _, c := range []struct {
		size uint32
		min  int
		ok   bool
	}{
		{0, minText, false},
		{1, minText, false},
		{minText, minText, true},
		{3, minRaw, false},
		{minRaw, minRaw, true},
		{maxPayload, minText, true},
		{maxPayload + 1, minText, false},
		{math.MaxUint32, minText, false},
	} {
		good := text(49, 1, 1)
		stream := binary.BigEndian.AppendUint32(slices.Clone(good), c.size)
		got, err := cutUp(newFramer(bytes.NewReader(stream), inbound, c.min, maxPayload))
		if len(got) != 1 || !bytes.Equal(got[0], good) {
			t.Errorf("size %d: the frame before it gave %q, want %q", c.size, got, good)
		}
		if c.ok && !errors.Is(err, io.EOF) || !c.ok && endingOf(err).cause != events.CauseGarbled {
			t.Errorf("size %d, at least %d: %v, want it allowed: %v", c.size, c.min, err, c.ok)
		}
	}
}

func TestALongFrameTakesMemoryOnlyAsItComes(t *testing.T) {
	header := binary.BigEndian.AppendUint32(nil, maxPayload)
	f := newFramer(bytes.NewReader(append(header, make([]byte, 1000)...)), inbound, minText, maxPayload)
	if _, err := cutUp(f); !errors.Is(err, io.EOF) {
		t.Fatalf("reading gave %v, want %v", err, io.EOF)
	}
	if len(f.buffer) != inbound {
		t.Errorf("1000 bytes of a 16 MiB frame took %d bytes, want %d", len(f.buffer), inbound)
	}
	if got, want := f.unfinished(), "in the middle of a frame, 1000 of 16777211 bytes"; got != want {
		t.Errorf("unfinished() = %q, want %q", got, want)
	}

	long := frame(make([]byte, maxPayload))
	f = newFramer(bytes.NewReader(append(long, text(49, 1, 1)...)), inbound, minText, maxPayload)
	got, err := cutUp(f)
	if !errors.Is(err, io.EOF) || len(got) != 2 || len(got[0]) != len(long) {
		t.Fatalf("the longest frame and a short one gave %d frames and %v, want 2 and %v", len(got), err, io.EOF)
	}
	f.read()
	if len(f.buffer) != inbound {
		t.Errorf("after the long frame %d bytes are held, want %d", len(f.buffer), inbound)
	}
}

// FuzzFramer holds a framer against the definition of a frame.
func FuzzFramer(f *testing.F) {
	f.Add(text(9, 1, 1), uint8(1), true)
	f.Add(append(text(49, 1, 1), 0xff, 0xff, 0xff, 0xff), uint8(3), false)
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), uint8(7), true)
	f.Add([]byte{0, 0, 0, 4, 0, 0, 0, 249, 0, 0}, uint8(0), true)
	f.Fuzz(func(t *testing.T, stream []byte, chunk uint8, raw bool) {
		least := minText
		if raw {
			least = minRaw
		}
		var source io.Reader = bytes.NewReader(stream)
		if chunk > 0 {
			source = &chunked{source, int(chunk)}
		}
		got, err := cutUp(newFramer(source, inbound, least, maxPayload))

		rest := stream
		for len(rest) >= headerSize {
			size := uint64(binary.BigEndian.Uint32(rest))
			if size < uint64(least) || size > maxPayload || uint64(len(rest)) < headerSize+size {
				break
			}
			rest = rest[headerSize+size:]
		}
		if whole := stream[:len(stream)-len(rest)]; !bytes.Equal(slices.Concat(got...), whole) {
			t.Errorf("frames are %q, want %q", slices.Concat(got...), whole)
		}
		if !errors.Is(err, io.EOF) && endingOf(err).cause != events.CauseGarbled {
			t.Errorf("error is %v, want %v or garbled", err, io.EOF)
		}
	})
}

// chunked reads at most size bytes at once.
type chunked struct {
	io.Reader
	size int
}

func (c *chunked) Read(p []byte) (int, error) { return c.Reader.Read(p[:min(len(p), c.size)]) }
