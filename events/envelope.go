package events

import "bytes"

// envelope reads the wire form as [Encode] writes it: the attributes in its order,
// without white space, and no string with an escape in it. It returns false for
// anything else, which may still be an event, in another form of JSON. What it
// returns is what encoding/json reads from the same bytes, several times as quickly:
// nearly all that is ever decoded was encoded by us.
func envelope(payload []byte) (wire, bool) {
	s := attributes{rest: payload}
	var w wire
	w.SpecVersion = s.text(`{"specversion":"`)
	w.ID = s.text(`,"id":"`)
	w.Source = s.text(`,"source":"`)
	w.Type = Type(s.text(`,"type":"`))
	w.Subject = ConnectionID(s.text(`,"subject":"`))
	w.Time = s.text(`,"time":"`)
	w.DataContentType = s.text(`,"datacontenttype":"`)
	w.DataSchema = s.text(`,"dataschema":"`)
	w.Sequence = s.text(`,"sequence":"`)
	w.Epoch = s.number(`,"epoch":`)
	w.PrevHash = s.optional(`,"prevhash":"`)
	w.CorrelationID = s.optional(`,"correlationid":"`)
	w.CausationID = s.optional(`,"causationid":"`)
	w.Traceparent = s.optional(`,"traceparent":"`)
	s.skip(`,"data":`)
	// Whoever decodes the data finds out whether it is one JSON value, and so whether
	// something else follows it.
	if s.bad || len(s.rest) < 3 || s.rest[0] != '{' || s.rest[len(s.rest)-1] != '}' {
		return wire{}, false
	}
	w.Data = s.rest[:len(s.rest)-1]
	return w, true
}

// attributes reads one attribute after the other; bad once one was not as expected.
type attributes struct {
	rest []byte
	bad  bool
}

func (s *attributes) skip(prefix string) {
	rest, ok := bytes.CutPrefix(s.rest, []byte(prefix))
	s.rest, s.bad = rest, s.bad || !ok
}

// text reads what follows a prefix up to the next quotation mark.
func (s *attributes) text(prefix string) string {
	s.skip(prefix)
	if s.bad {
		return ""
	}
	for i, c := range s.rest {
		switch {
		case c == '"':
			value := string(s.rest[:i])
			s.rest = s.rest[i+1:]
			return value
		case c == '\\' || c < ' ':
			s.bad = true
			return ""
		}
	}
	s.bad = true
	return ""
}

func (s *attributes) optional(prefix string) string {
	if s.bad || !bytes.HasPrefix(s.rest, []byte(prefix)) {
		return ""
	}
	return s.text(prefix)
}

// number reads a whole number of at most 18 digits.
func (s *attributes) number(prefix string) uint64 {
	s.skip(prefix)
	var n uint64
	i := 0
	for ; !s.bad && i < len(s.rest) && '0' <= s.rest[i] && s.rest[i] <= '9'; i++ {
		n = 10*n + uint64(s.rest[i]-'0')
		s.bad = i == 18
	}
	if s.bad || i == 0 || s.rest[0] == '0' && i > 1 {
		s.bad = true
		return 0
	}
	s.rest = s.rest[i:]
	return n
}
