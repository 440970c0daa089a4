package ibc

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"unicode"

	"ibconn/events"
)

const (
	// maxRead is how many bytes are read in search of an answer. IBC's own are a
	// line or two.
	maxRead = 64 << 10
	// maxWords is how many bytes of IBC's words are kept.
	maxWords = 500
)

// errTooMuch says that no answer was found in what came.
var errTooMuch = errors.New("no answer in the first 64 KiB")

// answer is what IBC answered a command.
type answer struct {
	refused bool
	words   string // behind OK or ERROR
}

// readAnswer reads lines until one of them is an answer.
func readAnswer(r io.Reader) (answer, error) {
	limited := &io.LimitedReader{R: r, N: maxRead}
	lines := bufio.NewReader(limited)
	for {
		line, err := lines.ReadString('\n')
		switch {
		case err == nil:
		case errors.Is(err, io.EOF) && limited.N <= 0:
			return answer{}, errTooMuch
		default:
			return answer{}, err
		}
		if a, ok := parseAnswer(line); ok {
			return a, nil
		}
	}
}

// parseAnswer finds an answer in a line, behind whatever prompt.
func parseAnswer(line string) (answer, bool) {
	word, rest := keyword(line, "OK", "ERROR", "INFO")
	switch word {
	case "OK":
		if refused, why := keyword(rest, "ERROR"); refused != "" {
			return answer{refused: true, words: fit(why)}, true
		}
		return answer{words: fit(rest)}, true
	case "ERROR":
		return answer{refused: true, words: fit(rest)}, true
	}
	return answer{}, false
}

// keyword finds the first of words in line that has a space or nothing behind
// it, and returns it and what follows. Anything may stand in front, as the
// prompt may end in a letter.
func keyword(line string, words ...string) (found, rest string) {
	line = strings.TrimRight(line, "\r\n") + " "
	first := len(line)
	for _, w := range words {
		if i := strings.Index(line, w+" "); i >= 0 && i < first {
			found, rest, first = w, line[i+len(w):], i
		}
	}
	return found, rest
}

// fit makes IBC's words fit to be kept: one line of what prints, without account
// ids, and not too long. It cuts last, so that no half of an account id stays.
func fit(words string) string {
	words = strings.ToValidUTF8(words, "")
	words = strings.Join(strings.FieldsFunc(words, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	words = events.MaskAccounts(words)
	return strings.ToValidUTF8(words[:min(len(words), maxWords)], "")
}
