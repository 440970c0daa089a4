// Package verify says whether a log is what its writers wrote: all of it, in its order,
// unchanged, and nothing else.
//
//	v := verify.New(verify.Options{})
//	for s, err := range source.Stored(ctx, bus.Query{}) {
//		if err != nil { return err }
//		for _, f := range v.Add(s) { fmt.Println(f.Words) }
//	}
//	for _, f := range v.End() { fmt.Println(f.Words) }
//
// # What is found
//
// Of each connection the sequence must be gapless, each event must carry the hash of the
// one before, claims must grow by one, and every event must be under the last claim
// ([events.Head.Follows]). Each event must be one that a writer would write where it
// stands ([events.Legal]). Commands must have an outcome. The end of the log must not lie
// before its high-water mark, where that is known.
//
// # Guarantees
//
//   - One wrong event is one finding, or a few: what comes after it is judged on its own.
//   - What is sound has no finding but notes, also where heartbeats have expired.
//   - Memory grows with the number of connections, not with the log: of each the state, the
//     hashes of the last 256 events, and while something is wrong 8 events that come
//     after it, which tell what it is.
//   - Any bytes may come.
//
// # Non-obvious
//
//   - A heartbeat is outside the chain: that one is missing cannot be seen, and what was
//     changed in it only where it touches its place. The content of the last event of
//     a connection is held by nothing but the high-water mark.
//   - A clever forger who rewrites all events after the one that was changed, and the
//     high-water mark, leaves a log that is sound.
package verify

import (
	"slices"
	"time"

	"ibconn/bus"
	"ibconn/events"
)

// Kind names what is wrong.
type Kind string

// The kinds of findings.
const (
	Missing      Kind = "missing"       // events are gone
	Changed      Kind = "changed"       // an event is not the one that was written
	Swapped      Kind = "swapped"       // an event stands before or behind its place
	Duplicated   Kind = "duplicated"    // an event stands twice
	SecondWriter Kind = "second_writer" // an event was written by somebody who did not hold the connection
	WrongEpoch   Kind = "wrong_epoch"   // an event is under a claim that is not the last
	WrongClaim   Kind = "wrong_claim"   // a claim does not begin the next epoch
	Undecodable  Kind = "undecodable"   // a message is no event
	WrongSubject Kind = "wrong_subject" // an event lies under another subject than its own
	EndsEarly    Kind = "ends_early"    // the log ends before its high-water mark
	StoreDamaged Kind = "store_damaged" // what keeps the log says that it has lost something of it
	NotReadable  Kind = "not_readable"  // the source ends before its end, or is not what was written

	Illegal     Kind = "illegal"      // no writer would write that event there
	Attempt     Kind = "attempt"      // the number of an attempt is not the next one, or not the present one
	NoOutcome   Kind = "no_outcome"   // a command should have an outcome by now
	OnRecord    Kind = "on_record"    // a writer found damage, and said so in the log
	Pending     Kind = "pending"      // a command has no outcome yet
	NeverLive   Kind = "never_live"   // a subscription was wanted, and never had data
	UnknownType Kind = "unknown_type" // an event of a type that this program does not know
	ClockBack   Kind = "clock_back"   // times go back, and no clock_jumped says so
	Middle      Kind = "middle"       // the first events that are there are not the first of their connection
)

// Severity says what a finding amounts to.
type Severity string

// The severities.
const (
	Damage     Severity = "damage"     // the log is not what was written
	Suspicious Severity = "suspicious" // it may be, but no writer should write that
	Note       Severity = "note"       // worth knowing, and nothing wrong
)

// Severity returns what a finding of that kind amounts to.
func (k Kind) Severity() Severity {
	switch k {
	case Missing, Changed, Swapped, Duplicated, SecondWriter, WrongEpoch, WrongClaim, Undecodable, WrongSubject, EndsEarly, StoreDamaged, NotReadable:
		return Damage
	case Illegal, Attempt, NoOutcome, OnRecord:
		return Suspicious
	case Pending, NeverLive, UnknownType, ClockBack, Middle:
	}
	return Note
}

// Finding is one thing that is wrong, or worth knowing.
type Finding struct {
	Kind       Kind                `json:"kind"`
	Severity   Severity            `json:"severity"`
	Connection events.ConnectionID `json:"connection,omitempty"`
	StreamSeq  uint64              `json:"stream_seq,omitempty"`  // of the message that it is about; 0 where that is not there
	Sequence   uint64              `json:"sequence,omitempty"`    // of the event, or of the first of several
	ToSequence uint64              `json:"to_sequence,omitempty"` // of the last of several
	EventID    string              `json:"event_id,omitempty"`
	At         time.Time           `json:"at,omitzero"` // the event's own time
	Words      string              `json:"words"`       // what exactly is missing, was changed, or is as it should not be
	Advice     string              `json:"advice,omitempty"`
}

// Options say what else is known of a log.
type Options struct {
	// Partial says that the log was not read from its beginning: then the first event
	// of each connection is taken as it is.
	Partial bool
	// Marks are the high-water marks, where they are known: heads that were stored.
	Marks map[events.ConnectionID]events.Head
}

// Verifier checks a log. It is for one goroutine.
type Verifier struct {
	options     Options
	connections map[events.ConnectionID]*connection
	found       []Finding
	strangers   int
	unknown     []events.Type
	summary     Summary
}

// Summary counts what was looked at.
type Summary struct {
	Messages    uint64    `json:"messages"`
	Heartbeats  uint64    `json:"heartbeats"` // of these messages
	Connections int       `json:"connections"`
	Epochs      uint64    `json:"epochs"`
	First       time.Time `json:"first,omitzero"` // the time of the first event
	Last        time.Time `json:"last,omitzero"`
}

// New returns a verifier.
func New(o Options) *Verifier {
	return &Verifier{options: o, connections: make(map[events.ConnectionID]*connection)}
}

// Summary returns what was looked at so far.
func (v *Verifier) Summary() Summary {
	s := v.summary
	s.Connections = len(v.connections)
	return s
}

// Add looks at the next message of the log, and returns what is found by now. What it
// returns is good until the next call.
func (v *Verifier) Add(s bus.Stored) []Finding {
	v.found = v.found[:0]
	v.summary.Messages++
	name, kind, err := events.ParseLogSubject(s.Subject)
	if err != nil {
		if v.strangers++; v.strangers <= maxStrangers {
			v.find(Finding{
				Kind: WrongSubject, StreamSeq: s.StreamSeq, Words: "message " + number(s.StreamSeq) + " is in the log, and " + err.Error(),
				Advice: "find out what writes to the stream",
			})
		}
		return v.found
	}
	c := v.of(name)
	c.take(itemOf(s, name, kind))
	return v.found
}

// End returns what is found once there is no more.
func (v *Verifier) End() []Finding {
	v.found = v.found[:0]
	for name := range v.options.Marks {
		v.of(name) // also those of which nothing is left
	}
	var names []events.ConnectionID
	for name := range v.connections {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		v.connections[name].end(v.options.Marks[name], v.summary.Last)
	}
	return v.found
}

// maxStrangers is how many messages under subjects that are none of the log's are told.
const maxStrangers = 20

func (v *Verifier) of(name events.ConnectionID) *connection {
	c := v.connections[name]
	if c == nil {
		c = newConnection(v, name)
		v.connections[name] = c
	}
	return c
}

func (v *Verifier) find(f Finding) {
	f.Severity = f.Kind.Severity()
	v.found = append(v.found, f)
}

// Found makes a finding of what was found beside the events, such as by their source.
func Found(k Kind, words, advice string) Finding {
	return Finding{Kind: k, Severity: k.Severity(), Words: words, Advice: advice}
}

// maxUnknown bounds how many unknown types are told.
const maxUnknown = 64

// news says whether a type was not met before.
func (v *Verifier) news(t events.Type) bool {
	if slices.Contains(v.unknown, t) || len(v.unknown) >= maxUnknown {
		return false
	}
	v.unknown = append(v.unknown, t)
	return true
}
