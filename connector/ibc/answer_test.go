package ibc

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf8"

	"ibconn/events"
)

// FuzzReadAnswer reads anything. What must hold: it ends, reads no more than it
// may, and what it returns is one short line of text without account ids, from
// a line that came whole.
func FuzzReadAnswer(f *testing.F) {
	for _, seed := range []string{
		"", "OK \n", "OK RESTART at 03:14 AM\r\n", "ERROR Command invalid\n", "INFO IBC Command Server\nIBC> OK \nIBC> ",
		"INFO a\nINFO b\nERROR OK DU1234567\n", "OK\nERROR\n", "OKOK OK\n", "ERRORERROR ERROR \n", "OK", "\r\n\r\n\x00\xff",
		strings.Repeat("OK", 40_000), "OK " + strings.Repeat("DU1234567 ", 200) + "\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, came []byte) {
		from := bytes.NewReader(came)
		a, err := readAnswer(from)
		if read := len(came) - from.Len(); read > maxRead {
			t.Errorf("%d bytes were read, want at most %d", read, maxRead)
		}
		bit, errBit := readAnswer(iotest.OneByteReader(bytes.NewReader(came)))
		if a != bit || (err == nil) != (errBit == nil) {
			t.Errorf("all at once it is %+v, %v; byte by byte %+v, %v", a, err, bit, errBit)
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, errTooMuch) || a != (answer{}) {
				t.Errorf("readAnswer() = %+v, %v", a, err)
			}
			return
		}
		if len(a.words) > maxWords || !utf8.ValidString(a.words) || strings.ContainsFunc(a.words, unicode.IsControl) {
			t.Errorf("the words are %q, want a short line of text", a.words)
		}
		if events.MaskAccounts(a.words) != a.words {
			t.Errorf("the words are %q, with an account id in them", a.words)
		}
		whole := came[:bytes.LastIndexByte(came, '\n')+1]
		if !bytes.Contains(whole, []byte("OK")) && !a.refused || !bytes.Contains(whole, []byte("ERROR")) && a.refused {
			t.Errorf("readAnswer(%q) = %+v, of which nothing stands there", came, a)
		}
	})
}
