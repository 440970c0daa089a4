package gateway

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	magic      = "API\x00"
	maxHello   = 64 << 10
	maxRequest = 1 << 20 // far above any request; IB's own limit of 16 MiB would let a peer hold that much per connection
	headerSize = 4
)

var (
	errForeign = errors.New("first bytes are not API")
	errFrame   = errors.New("malformed frame")
)

// readFrame reads one length-prefixed payload of at most limit bytes. A length beyond it is errFrame.
// Memory grows with what arrives, not with what the header claims.
func readFrame(r io.Reader, limit int) ([]byte, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(header[:])
	if uint64(size) > uint64(limit) {
		return nil, fmt.Errorf("%w: length %d, at most %d allowed", errFrame, size, limit)
	}
	payload, err := io.ReadAll(io.LimitReader(r, int64(size)))
	if err == nil && len(payload) < int(size) {
		err = io.ErrUnexpectedEOF
	}
	return payload, err
}

// appendFrame adds one frame whose payload is what fill appends.
func appendFrame(dst []byte, fill func([]byte) []byte) []byte {
	at := len(dst)
	dst = fill(append(dst, 0, 0, 0, 0))
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-headerSize))
	return dst
}

// hello is what a client says first: the server versions it can speak.
type hello struct {
	min, max int
	options  string // such as +PACEAPI
}

// readHello reads the unframed magic and the version frame. Anything else than the magic is errForeign, left unread in r.
func readHello(r *bufio.Reader) (hello, error) {
	first, err := r.Peek(len(magic))
	if !bytes.HasPrefix([]byte(magic), first) {
		return hello{}, errForeign
	}
	if err != nil {
		return hello{}, err
	}
	if _, err := r.Discard(len(magic)); err != nil {
		return hello{}, err
	}
	payload, err := readFrame(r, maxHello)
	if err != nil {
		return hello{}, err
	}
	return parseHello(string(payload))
}

// parseHello reads "v<min>..<max>[ options]", or "v<version>" of a client that speaks only one.
func parseHello(s string) (hello, error) {
	versions, options, _ := strings.Cut(s, " ")
	number, ok := strings.CutPrefix(versions, "v")
	if !ok {
		return hello{}, fmt.Errorf("%w: hello %.40q", errFrame, s)
	}
	low, high, ranged := strings.Cut(number, "..")
	if !ranged {
		high = low
	}
	lo, err1 := strconv.ParseUint(low, 10, 31)
	hi, err2 := strconv.ParseUint(high, 10, 31)
	if err1 != nil || err2 != nil {
		return hello{}, fmt.Errorf("%w: hello %.40q", errFrame, s)
	}
	return hello{min: int(lo), max: int(hi), options: options}, nil
}

// The server versions the gateway speaks. Between the two ranges messages change their encoding one by one.
const (
	textVersion = 176
	minProtobuf = 213
	maxProtobuf = 225
)

// negotiate returns the version to speak: the highest known one that neither side's maximum excludes.
// Real gateways answer min(own, client's maximum); one in 177..212 becomes 176, which clients of those versions speak too.
func negotiate(own int, h hello) (version int, ok bool) {
	v := min(own, h.max)
	if v > textVersion && v < minProtobuf {
		v = textVersion
	}
	return v, v >= textVersion && v >= h.min
}
