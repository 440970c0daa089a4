package tws

import (
	"bytes"
	"strings"
	"testing"

	"ibconn/events"
)

func TestHelloIsTheOneOfIBsClients(t *testing.T) {
	for options, want := range map[string]string{
		"":         "API\x00\x00\x00\x00\x09v100..225",
		"+PACEAPI": "API\x00\x00\x00\x00\x12v100..225 +PACEAPI",
	} {
		if got := string(hello(options)); got != want {
			t.Errorf("hello(%q) = %q, want %q", options, got, want)
		}
	}
}

func TestOnlyAVersionReplyIsTakenForOne(t *testing.T) {
	for payload, want := range map[string]events.Cause{
		"176\x0020240105 10:00:00 EST\x00":          "",
		"225\x0020240105 10:00:00 \xd6\xd0\xb9\x00": "",
		"100\x00\x00":                      "",
		"225\x00time\x00more\x00":          events.CauseGarbled,
		"225\x00time":                      events.CauseGarbled,
		"225\x00":                          events.CauseGarbled,
		"225":                              events.CauseGarbled,
		"":                                 events.CauseGarbled,
		"\x00\x00":                         events.CauseGarbled,
		"abc\x00time\x00":                  events.CauseGarbled,
		"1.5\x00time\x00":                  events.CauseGarbled,
		"99\x00time\x00":                   events.CauseUnsupportedVersion,
		"226\x00time\x00":                  events.CauseUnsupportedVersion,
		"-1\x00time\x00":                   events.CauseUnsupportedVersion,
		"99999999999999999999\x00time\x00": events.CauseUnsupportedVersion,
	} {
		r, err := parseReply([]byte(payload))
		switch {
		case want == "" && (err != nil || !bytes.Equal(r.frame, frame([]byte(payload)))):
			t.Errorf("parseReply(%q) = %+v, %v, want it accepted", payload, r, err)
		case want != "" && (err == nil || endingOf(err).cause != want):
			t.Errorf("parseReply(%q) = %+v, %v, want %s", payload, r, err, want)
		}
	}
}

func FuzzParseReply(f *testing.F) {
	f.Add([]byte("176\x0020240105 10:00:00 EST\x00"))
	f.Add([]byte("+200\x00\xff\x00"))
	f.Add([]byte("99999999999999999999\x00\x00"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		r, err := parseReply(payload)
		if err != nil {
			if d := endingOf(err).detail; len(d) > 1000 {
				t.Errorf("the error is %d bytes long, want it short", len(d))
			}
			return
		}
		// What ibapi would index without looking.
		if bytes.Count(payload, []byte{0}) != 2 || r.version < 100 || r.version > 225 {
			t.Errorf("parseReply(%q) = %+v, want it refused", payload, r)
		}
		if !strings.HasPrefix(strings.ToValidUTF8(r.time, ""), r.time) {
			t.Errorf("parseReply(%q).time = %q, want valid UTF-8", payload, r.time)
		}
	})
}
