package export

import (
	"encoding/json"
	"strings"

	"ibconn/bus"
	"ibconn/events"
)

// chain gives events that are written anew a hash chain of their own. Where the chain
// was broken it stays broken: what is wrong with a log must not look right in a copy.
type chain map[events.ConnectionID]link

// link is the hash of the last event that was no heartbeat, as it was and as it is.
type link struct{ was, is string }

// encode encodes a changed event that was made of another. broken returns what an event
// refers to instead of one that is not there.
func (c chain) encode(was, is events.Recorded, broken func(hash string) string) (events.Recorded, error) {
	last := c[was.Connection]
	switch was.PrevHash {
	case "": // the first, or one that should have it
	case last.was:
		is.PrevHash = last.is
	default:
		is.PrevHash = broken(was.PrevHash)
	}
	is.Wire = nil
	b, err := events.Encode(is)
	if err != nil {
		return events.Recorded{}, err
	}
	is.Wire = b
	if !was.Heartbeat() {
		c[was.Connection] = link{was: was.Hash(), is: is.Hash()}
	}
	return is, nil
}

// ImportSource is what the source of an imported event begins with.
const ImportSource = "/ibconn/import/"

// Renamer makes events those of an import: under another name, with a source that says
// so, in a hash chain of their own. See [NewRenamer].
type Renamer struct {
	name  events.ConnectionID
	chain chain
}

// NewRenamer returns a renamer for the events of one connection, which is called name
// from then on.
func NewRenamer(name events.ConnectionID) *Renamer {
	return &Renamer{name: name, chain: make(chain)}
}

// Rename returns s as it is imported. Of an event everything but connection, source and
// hash stays as it was; its source is [ImportSource], the name and who wrote it. What is
// no event stays as it is, under the name. What is stored under no subject of a log is an
// error.
func (r *Renamer) Rename(s bus.Stored) (bus.Stored, error) {
	_, kind, err := events.ParseLogSubject(s.Subject)
	if err != nil {
		return bus.Stored{}, err
	}
	e, err := s.Entry()
	s.Subject = events.LogSubject(r.name, kind)
	if err != nil {
		return s, nil
	}
	var parts struct{ Data json.RawMessage }
	if err := json.Unmarshal(e.Wire, &parts); err != nil {
		return bus.Stored{}, err
	}
	is := e.Recorded
	is.Connection = r.name
	is.Source = ImportSource + string(r.name) + "/" + strings.TrimPrefix(e.Source, "/ibconn/")
	// Fields of the data that this program does not know are kept.
	is.Event = &events.Unknown{Name: e.Event.Type(), Data: parts.Data}
	if is, err = r.chain.encode(e.Recorded, is, func(hash string) string { return hash }); err != nil {
		return bus.Stored{}, err
	}
	s.Payload = is.Wire
	return s, nil
}
