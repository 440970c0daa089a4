package export

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"ibconn/bus"
	"ibconn/events"
)

// Format is the number of the format that is written, and the newest that is read.
const Format = 1

// maxLine is how long a line may be: the largest message in base64, and its place.
const maxLine = events.MaxSize/3*4 + 8<<10

// Header is the first line of an export.
type Header struct {
	Format     int       `json:"ibconn_export"`
	ExportedAt time.Time `json:"exported_at"`
	Version    string    `json:"version,omitempty"` // of the program that wrote it
	Source     string    `json:"source,omitempty"`  // where the events come from, in words
	// Connections are those that the source has events of.
	Connections []events.ConnectionID `json:"connections"`
	// From and To bound the times of the events, where not all were exported.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// Redacted says that a [Redactor] rewrote the events: their hash chain is the
	// export's own, and not that of the log they were in.
	Redacted bool `json:"redacted,omitempty"`
}

// Partial says that only a span was exported, so that states folded from it may lack
// what was before.
func (h Header) Partial() bool { return !h.From.IsZero() }

// Trailer is the last line of an export.
type Trailer struct {
	End   bool   `json:"end"`   // true
	Count uint64 `json:"count"` // of the lines between header and trailer
	// First and Last are the stream sequences of the first and the last of them; 0
	// where there is none.
	First  uint64 `json:"first"`
	Last   uint64 `json:"last"`
	SHA256 string `json:"sha256"` // of all bytes before this line, in hexadecimal
}

const (
	headerStart  = `{"ibconn_export":`
	trailerStart = `{"end":true,`

	subjectKey  = `,"logsubject":"`
	sequenceKey = `,"logsequence":"`
	timeKey     = `,"logtime":"`

	rawStart = `{"specversion":"1.0","type":"ib.export.raw","source":"/ibconn/export","id":"`
	rawData  = `","data_base64":"`
)

// appendLine appends the line of a stored message.
func appendLine(line []byte, s bus.Stored) ([]byte, error) {
	if plain(s.Payload) {
		line = append(line, s.Payload[:len(s.Payload)-1]...)
	} else {
		line = append(line, rawStart...)
		line = strconv.AppendUint(line, s.StreamSeq, 10)
		line = append(line, rawData...)
		line = base64.StdEncoding.AppendEncode(line, s.Payload)
		line = append(line, '"')
	}
	at := s.StoredAt.UTC()
	if at.Year() < 0 || at.Year() > 9999 {
		return nil, fmt.Errorf("message %d was stored in the year %d: want one of four digits", s.StreamSeq, at.Year())
	}
	line = append(line, subjectKey...)
	line = append(line, escapeSubject(s.Subject)...)
	line = append(line, '"')
	line = append(line, sequenceKey...)
	line = strconv.AppendUint(line, s.StreamSeq, 10)
	line = append(line, '"')
	line = append(line, timeKey...)
	line = at.AppendFormat(line, time.RFC3339Nano)
	line = append(line, "\"}\n"...)
	if len(line) > maxLine {
		return nil, fmt.Errorf("message %d has %d bytes: an export takes messages of %d at most", s.StreamSeq, len(s.Payload), events.MaxSize)
	}
	return line, nil
}

// plain says whether a message can be a line as it is: an event, on one line.
func plain(payload []byte) bool {
	if bytes.ContainsAny(payload, "\r\n") || len(payload) == 0 || payload[len(payload)-1] != '}' {
		return false
	}
	_, err := events.Decode(payload)
	return err == nil
}

// parseLine takes a message's line apart, without its line feed. The payload of the
// result is for s alone if keep says that it is wanted, and nil if not.
func parseLine(line []byte, keep func(bus.Stored) bool) (s bus.Stored, kept bool, err error) {
	body, err := cutPlace(line, &s)
	if err != nil {
		return bus.Stored{}, false, err
	}
	if !keep(s) {
		return s, false, nil
	}
	raw, isRaw := bytes.CutPrefix(body, []byte(rawStart))
	if !isRaw {
		s.Payload = make([]byte, len(body)+1)
		s.Payload[copy(s.Payload, body)] = '}'
		return s, true, nil
	}
	id, encoded, found := bytes.Cut(raw, []byte(rawData))
	encoded, closed := bytes.CutSuffix(encoded, []byte{'"'})
	if !found || !closed || string(id) != strconv.FormatUint(s.StreamSeq, 10) {
		return bus.Stored{}, false, errors.New("what is no event is not as it must be: want its sequence as its id, and data_base64")
	}
	s.Payload, err = base64.StdEncoding.Strict().AppendDecode(make([]byte, 0, base64.StdEncoding.DecodedLen(len(encoded))), encoded)
	if err != nil {
		return bus.Stored{}, false, fmt.Errorf("data_base64: %w", err)
	}
	return s, true, nil
}

var errNoPlace = errors.New(`it does not end in ,"logsubject":"...","logsequence":"...","logtime":"..."}: it is no line of an export, or was changed`)

// cutPlace reads where a message lay, and returns what stands before that.
func cutPlace(line []byte, s *bus.Stored) ([]byte, error) {
	i := bytes.LastIndex(line, []byte(subjectKey))
	if i < 1 || line[0] != '{' {
		return nil, errNoPlace
	}
	rest := line[i:]
	subject, ok1 := cutValue(&rest, subjectKey)
	sequence, ok2 := cutValue(&rest, sequenceKey)
	at, ok3 := cutValue(&rest, timeKey)
	if !ok1 || !ok2 || !ok3 || string(rest) != "}" {
		return nil, errNoPlace
	}
	var err error
	if s.Subject, err = unescapeSubject(subject); err != nil {
		return nil, err
	}
	if s.StreamSeq, err = strconv.ParseUint(string(sequence), 10, 64); err != nil || s.StreamSeq == 0 || sequence[0] == '0' || sequence[0] == '+' {
		return nil, fmt.Errorf("logsequence %.40q: want a number above 0", sequence)
	}
	if s.StoredAt, err = time.Parse(time.RFC3339Nano, string(at)); err != nil {
		return nil, fmt.Errorf("logtime %.40q: want an instant such as \"2026-01-02T15:04:05.678Z\"", at)
	}
	s.StoredAt = s.StoredAt.UTC()
	return line[:i], nil
}

func cutValue(rest *[]byte, key string) ([]byte, bool) {
	after, ok := bytes.CutPrefix(*rest, []byte(key))
	value, after, closed := bytes.Cut(after, []byte{'"'})
	*rest = after
	return value, ok && closed
}

const subjectCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_*"

func escapeSubject(subject string) string {
	if strings.Trim(subject, subjectCharacters) == "" {
		return subject
	}
	var b strings.Builder
	for _, c := range []byte(subject) {
		if strings.IndexByte(subjectCharacters, c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func unescapeSubject(escaped []byte) (string, error) {
	if len(escaped) == 0 {
		return "", errors.New("logsubject is empty")
	}
	if bytes.IndexByte(escaped, '%') < 0 {
		return string(escaped), nil
	}
	subject, err := url.PathUnescape(string(escaped))
	if err != nil {
		return "", fmt.Errorf("logsubject %.80q: want it percent-encoded", escaped)
	}
	return subject, nil
}
