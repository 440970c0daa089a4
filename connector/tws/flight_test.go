package tws

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"ibconn/events"
)

// raw returns a frame of the kind that servers from version 201 on send.
func raw(id byte, body string) []byte { return frame(append([]byte{0, 0, 0, id}, body...)) }

func TestTheFlightRecorderKeepsTheLastFramesEachWayInOrder(t *testing.T) {
	r := newRecorder(3)
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	r.sent(13, frame([]byte("v100..225")), now)
	r.received(30, frame([]byte("176\x00now\x00")), now)
	r.greet(false)
	for i := range 5 {
		r.received(10, slices.Concat(text(9, 1, i), text(1, i)), now.Add(time.Duration(i)))
	}
	r.sent(9, text(49, 1), now)

	got := r.record()
	want := events.Traffic{BytesIn: 80, BytesOut: 22, FramesIn: 11, FramesOut: 2, HeardAt: now.Add(4)}
	if got.Traffic != want || r.counts() != want {
		t.Errorf("traffic is %+v and %+v, want %+v", got.Traffic, r.counts(), want)
	}
	var lines []string
	for _, f := range got.Frames {
		lines = append(lines, fmt.Sprintf("%s %d %s %d %s", f.Dir, f.ID, f.Name, f.Size, f.Head))
	}
	wantLines := []string{
		"out 0 hello 9 v100..225", // the way out had fewer than three
		"in 1 tickPrice 4 1|3",
		"in 9 nextValidId 6 9|1|4",
		"in 1 tickPrice 4 1|4",
		"out 49 reqCurrentTime 5 49|1",
	}
	if !slices.Equal(lines, wantLines) {
		t.Errorf("frames are\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(wantLines, "\n"))
	}
}

func TestHeadsAreReadableAndMasked(t *testing.T) {
	account := "\x0a\x09DU1234567"
	for _, c := range []struct {
		frame  []byte
		raw    bool
		id     int
		name   string
		decode func(string) string
		head   string
	}{
		{text(15, 1, "DU1234567,U7654321"), false, 15, "managedAccounts", nil, "15|1|DU***67,U***21"},
		{text(4, 2, -1, 2104, "a\tb\xffc", ""), false, 4, "error", nil, "4|2|-1|2104|a?b?c|"},
		{text("abc", 1), false, -1, "", nil, "abc|1"},
		{raw(58, "1\x003\x00"), true, 58, "marketDataType", nil, "1|3"},
		{raw(215, account), true, 15, "managedAccounts", unhex, "\x0a\x09DU***67"},
		{raw(215, "\x0a1DU1234567,DU7654321"), true, 15, "managedAccounts", unhex, "\x0a1DU***67,DU***21"}, // a length that looks like a digit
		{raw(215, account+"0\x01"), true, 15, "managedAccounts", unhex, "\x0a\x09DU***70\x01"},             // a tag that looks like one
		{raw(215, account+"AB"), true, 15, "managedAccounts", unhex, "\x0a\x09DU***67AB"},
		{raw(249, ""), true, 49, "currentTime", nil, ""},
	} {
		r := newRecorder(1)
		r.greet(c.raw)
		r.received(1, c.frame, time.Time{})
		f := r.record().Frames[0]
		head := f.Head
		if c.decode != nil {
			head = c.decode(head)
		}
		if f.ID != c.id || f.Name != c.name || head != c.head || f.Size != len(c.frame)-headerSize {
			t.Errorf("%q is recorded as %d %q %d %q, want %d %q %q", c.frame, f.ID, f.Name, f.Size, head, c.id, c.name, c.head)
		}
	}
}

func unhex(s string) string {
	b, err := hex.DecodeString(s)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

var anyAccount = regexp.MustCompile(`[A-Z]{1,3}[0-9]{5,}`)

func TestAnAccountIDThatIsCutOffIsNotShown(t *testing.T) {
	for pad := range keptBytes {
		body := strings.Repeat("x", pad) + strings.Repeat(",DUA123456789", 20)
		for _, isRaw := range []bool{false, true} {
			f := text(15, 1, body)
			if isRaw {
				f = raw(215, body)
			}
			r := newRecorder(1)
			r.greet(isRaw)
			r.received(1, f, time.Time{})
			head := r.record().Frames[0].Head
			if isRaw {
				head = unhex(head)
			}
			if strings.Contains(head, "12") || len(head) > headChars {
				t.Fatalf("after %d bytes the head shows %q, want only the last two digits of each id", pad, head)
			}
		}
	}
}

// FuzzHead gives the recorder arbitrary frames.
func FuzzHead(f *testing.F) {
	f.Add([]byte("15\x001\x00DU1234567\x00"), false, false)
	f.Add([]byte("\x00\x00\x00\xd7\x0a\x09DU1234567"), true, true)
	f.Add([]byte("\x00\x00\x00\x0a\xffU12345\x00"), true, false)
	f.Add([]byte(strings.Repeat("DU1234567,", 40)), false, true)
	f.Fuzz(func(t *testing.T, payload []byte, isRaw, out bool) {
		r := newRecorder(2)
		r.greet(isRaw)
		if out {
			r.sent(len(payload), frame(payload), time.Time{})
		} else {
			r.received(len(payload), frame(payload), time.Time{})
		}
		got := r.record().Frames
		if len(got) != 1 || got[0].Size != len(payload) {
			t.Fatalf("recorded %+v, want one frame of %d bytes", got, len(payload))
		}
		head := got[0].Head
		if !utf8.ValidString(head) || strings.ContainsFunc(head, unicode.IsControl) || len(head) > headChars {
			t.Errorf("head %q is not printable or longer than %d", head, headChars)
		}
		if _, body, protobuf := messageID(payload, isRaw); protobuf && len(body) <= keptBytes-minRaw {
			head = unhex(head)
			if id := anyAccount.FindString(head); id != "" {
				t.Errorf("head %q shows %s", head, id)
			}
		} else if masked := events.MaskAccounts(head); masked != head && !protobuf && len(head) < headChars {
			t.Errorf("head %q shows an account id", head)
		}
	})
}
