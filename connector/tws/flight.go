package tws

import (
	"cmp"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"ibconn/connector"
	"ibconn/events"
)

const (
	keptBytes = 160 // of each payload
	headChars = 120 // of what is shown of it
)

// recorder counts what goes over the gateway's socket and keeps the beginnings
// of the last frames each way. Keeping costs a copy; they are decoded only
// when someone asks.
type recorder struct {
	mu      sync.Mutex
	traffic events.Traffic
	greeted bool // frames from here on are messages
	raw     bool // and their ids raw
	turn    uint64
	in, out ring
}

// ring holds the last len(slots) frames of one direction.
type ring struct {
	slots []slot
	next  int
}

type slot struct {
	at        time.Time
	turn      uint64 // orders the frames of both directions; 0 while the slot is unused
	size      int
	handshake bool
	kept      int
	payload   [keptBytes]byte
}

func newRecorder(frames int) *recorder {
	return &recorder{in: ring{slots: make([]slot, frames)}, out: ring{slots: make([]slot, frames)}}
}

// greet notes that the gateway answered the hello, and how ids stand from here
// on.
func (r *recorder) greet(raw bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.greeted, r.raw = true, raw
}

// received notes n bytes from the gateway, and the frames they completed.
func (r *recorder) received(n int, frames []byte, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n > 0 {
		r.traffic.BytesIn += uint64(n)
		r.traffic.HeardAt = now.UTC()
	}
	r.traffic.FramesIn += r.keep(&r.in, frames, now)
}

// sent notes n bytes to the gateway, and the frames they are.
func (r *recorder) sent(n int, frames []byte, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.traffic.BytesOut += uint64(n)
	r.traffic.FramesOut += r.keep(&r.out, frames, now)
}

func (r *recorder) keep(to *ring, frames []byte, now time.Time) (count uint64) {
	for frame := range split(frames) {
		payload := frame[headerSize:]
		r.turn++
		s := &to.slots[to.next]
		s.at, s.turn, s.size, s.handshake = now, r.turn, len(payload), !r.greeted
		s.kept = copy(s.payload[:], payload)
		to.next = (to.next + 1) % len(to.slots)
		count++
	}
	return count
}

func (r *recorder) counts() events.Traffic {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.traffic
}

// record returns the counts and the frames of both directions, oldest first.
func (r *recorder) record() connector.FlightRecord {
	r.mu.Lock()
	in, out := slices.Clone(r.in.slots), slices.Clone(r.out.slots)
	traffic, raw := r.traffic, r.raw
	r.mu.Unlock()

	type turned struct {
		turn  uint64
		frame events.FlightFrame
	}
	var seen []turned
	for i := range in {
		seen = append(seen, turned{in[i].turn, in[i].frame("in", newsNames, raw)})
	}
	for i := range out {
		seen = append(seen, turned{out[i].turn, out[i].frame("out", requestNames, raw)})
	}
	seen = slices.DeleteFunc(seen, func(t turned) bool { return t.turn == 0 })
	slices.SortFunc(seen, func(a, b turned) int { return cmp.Compare(a.turn, b.turn) })

	flight := connector.FlightRecord{Traffic: traffic, Frames: make([]events.FlightFrame, len(seen))}
	for i, t := range seen {
		flight.Frames[i] = t.frame
	}
	return flight
}

// frame decodes what the slot keeps.
func (s *slot) frame(dir string, names map[int]string, raw bool) events.FlightFrame {
	f := events.FlightFrame{At: s.at.UTC(), Dir: dir, Size: s.size}
	payload := s.payload[:s.kept]
	if s.size > s.kept {
		payload = trimWord(payload)
	}
	if s.handshake {
		f.Name, f.Head = map[string]string{"in": "serverVersion", "out": "hello"}[dir], textHead(payload)
		return f
	}
	id, body, protobuf := messageID(payload, raw)
	f.ID, f.Name = id, names[id]
	switch {
	case protobuf:
		f.Head = protobufHead(body)
	case raw:
		f.Head = textHead(body)
	default:
		f.Head = textHead(payload)
	}
	return f
}

// trimWord cuts the letters and digits off the end of what was cut there
// already: an account id that lost its last digits would not be masked.
func trimWord(payload []byte) []byte {
	end := len(payload)
	for end > 0 && (payload[end-1] >= '0' && payload[end-1] <= '9' || payload[end-1] >= 'A' && payload[end-1] <= 'Z') {
		end--
	}
	return payload[:end]
}

// textHead shows text fields, parted by |.
func textHead(body []byte) string {
	masked := strings.TrimSuffix(events.MaskAccounts(string(body)), "\x00")
	return cut(strings.Map(func(r rune) rune {
		switch {
		case r == 0:
			return '|'
		case r == utf8.RuneError, unicode.IsControl(r):
			return '?'
		}
		return r
	}, masked), headChars)
}

// rawAccount finds account ids in protobuf, where the byte before or after an
// id may look like a letter or a digit, so that [events.MaskAccounts] would
// not take it for a word.
var rawAccount = regexp.MustCompile(`[A-Z]{1,3}[0-9]{5,}`)

// protobufHead shows bytes in hexadecimal.
func protobufHead(body []byte) string {
	masked := rawAccount.ReplaceAllFunc(body, func(id []byte) []byte {
		letters := slices.IndexFunc(id, func(c byte) bool { return c <= '9' })
		return slices.Concat(id[:letters], []byte("***"), id[len(id)-2:])
	})
	return hex.EncodeToString(masked[:min(len(masked), headChars/2)])
}

// cut shortens s to at most most bytes, at the beginning of a rune.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}
