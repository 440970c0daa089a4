package events

import (
	"fmt"
	"strings"
)

// ConnectionID is a connection's name: a token of lower-case letters, digits
// and hyphens that begins with a letter or a digit, 1 to 32 characters.
type ConnectionID string

// ParseConnectionID returns s as a ConnectionID, or an error that says what is
// allowed.
func ParseConnectionID(s string) (ConnectionID, error) {
	ok := len(s) >= 1 && len(s) <= 32 && s[0] != '-'
	for _, r := range s {
		ok = ok && (r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-')
	}
	if !ok {
		return "", fmt.Errorf("connection name %q: want 1 to 32 of a-z, 0-9 and '-', not beginning with '-'", s)
	}
	return ConnectionID(s), nil
}

// The names that everyone on the bus relies on.
const (
	// Stream is the JetStream stream that holds the log.
	Stream = "IB_LOG"
	// LogSubjects is what [Stream] listens on.
	LogSubjects = "ib.log.*.*"
	// FeedSubjects is the live feed: each stored event, once, after it was
	// stored, with the stream's headers.
	FeedSubjects = "ib.conn.*"
	// PoolSubjects is where what pools amount to is published.
	PoolSubjects = "ib.pool.>"
	// IncidentStream is the JetStream stream that holds what happened to
	// incidents.
	IncidentStream = "IB_INCIDENT"
	// IncidentSubjects is what [IncidentStream] listens on.
	IncidentSubjects = "ib.incident.>"
	// ImportStream is the JetStream stream that holds what was imported from other
	// logs. It is no log: nothing repeats it, and nothing decides by it.
	ImportStream = "IB_IMPORT"
	// ServiceName is the name under which the commands are found by
	// "nats micro ls".
	ServiceName = "ibconn"

	// HeaderMsgID is JetStream's deduplication header; it holds the event's id.
	HeaderMsgID = "Nats-Msg-Id"
	// HeaderContentType holds [ContentType].
	HeaderContentType = "content-type"
	// ContentType is CloudEvents' structured JSON mode.
	ContentType = "application/cloudevents+json"
)

// LogSubject is the subject an event of kind k about connection c is stored
// under. Both may be "*".
func LogSubject(c ConnectionID, k Kind) string { return "ib.log." + string(c) + "." + string(k) }

// FeedSubject is the subject on which stored events of kind k appear live.
func FeedSubject(k Kind) string { return "ib.conn." + string(k) }

// CommandSubject is the subject that takes the command verb for c.
func CommandSubject(c ConnectionID, v Verb) string { return "ib.cmd." + string(c) + "." + string(v) }

// PoolSubject is the subject on which each change of a pool appears live.
func PoolSubject(name ConnectionID) string { return "ib.pool." + string(name) }

// IncidentSubject is the subject on which it appears that an incident of c was
// opened, updated or closed. Both may be "*".
func IncidentSubject(c ConnectionID, kind string) string {
	return "ib.incident." + string(c) + "." + kind
}

// ImportSubject is the subject that an event of kind k is stored under that was imported
// as c. Both may be "*".
func ImportSubject(c ConnectionID, k Kind) string { return ImportedSubject(c) + "." + string(k) }

// ImportedSubject is the subject of the word that the import c is complete. It may be
// "*".
func ImportedSubject(c ConnectionID) string { return "ib.import." + string(c) }

// ParseLogSubject takes a log subject apart, or says that it is not one.
func ParseLogSubject(subject string) (ConnectionID, Kind, error) {
	rest, ok := strings.CutPrefix(subject, "ib.log.")
	name, kind, found := strings.Cut(rest, ".")
	c, err := ParseConnectionID(name)
	if !ok || !found || err != nil || !isKind(kind) {
		return "", "", fmt.Errorf("subject %q is not of the form ib.log.<connection>.<kind>", subject)
	}
	return c, Kind(kind), nil
}
