package events

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Recorded is an event as the log holds it: the event and its CloudEvents
// attributes.
type Recorded struct {
	ID         string       // unique; also the Nats-Msg-Id
	Source     string       // "/ibconn/<instance>": who wrote it
	Connection ConnectionID // what it is about: CloudEvents' subject
	Time       time.Time    // when it happened, UTC
	// Sequence counts the connection's events that are not heartbeats,
	// gapless from 1. A heartbeat repeats the sequence of the event before it.
	Sequence uint64
	Epoch    uint64 // the claim it was written under
	// PrevHash is the SHA-256, in hexadecimal, of the stored bytes of the event
	// that has the sequence before this one (for a heartbeat: of the event
	// whose sequence it repeats). Empty for the first event.
	PrevHash    string
	Correlation string // what it belongs to: an attempt or a command
	Causation   string // what led to it: a command's id or an event's
	Traceparent string // W3C trace context, where there is one
	Event       Event

	// Wire is the event's stored form, byte for byte. Decode sets it, and
	// Encode returns it when it is set: a stored event is never re-encoded.
	Wire []byte
}

// Hash returns the hash that the next event carries as its PrevHash.
func (r Recorded) Hash() string {
	sum := sha256.Sum256(r.Wire)
	return hex.EncodeToString(sum[:])
}

// Heartbeat says whether r is of [KindHeartbeat]: outside the sequence and the
// hash chain, and the only kind that expires.
func (r Recorded) Heartbeat() bool { return r.Event.Type().Kind() == KindHeartbeat }

// Claim says whether r is of [KindClaimed] and so begins an epoch, even when it
// is of a type that this program does not know.
func (r Recorded) Claim() bool { return r.Event.Type().Kind() == KindClaimed }

// wire is the CloudEvents 1.0 structured JSON form. The field order is the
// order on the wire.
type wire struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            Type            `json:"type"`
	Subject         ConnectionID    `json:"subject"`
	Time            string          `json:"time"`
	DataContentType string          `json:"datacontenttype"`
	DataSchema      string          `json:"dataschema"`
	Sequence        string          `json:"sequence"`
	Epoch           uint64          `json:"epoch"`
	PrevHash        string          `json:"prevhash,omitempty"`
	CorrelationID   string          `json:"correlationid,omitempty"`
	CausationID     string          `json:"causationid,omitempty"`
	Traceparent     string          `json:"traceparent,omitempty"`
	Data            json.RawMessage `json:"data"`
}

// SchemaURI is the dataschema of events of type t. "ibconn schema show" prints
// what it stands for.
func SchemaURI(t Type) string { return "urn:ibconn:schema:" + string(t) }

// sequenceDigits makes the sequence order as text the way it orders as a
// number, which CloudEvents' sequence extension asks for.
const sequenceDigits = 12

// Encode returns the wire form of r.
func Encode(r Recorded) ([]byte, error) {
	if r.Wire != nil {
		return r.Wire, nil
	}
	data, err := json.Marshal(r.Event)
	if err != nil {
		return nil, fmt.Errorf("events: encode %s: %w", r.Event.Type(), err)
	}
	at, err := r.Time.UTC().MarshalText()
	if err != nil {
		return nil, fmt.Errorf("events: encode %s: %w", r.Event.Type(), err)
	}
	b, err := json.Marshal(wire{
		SpecVersion:     "1.0",
		ID:              r.ID,
		Source:          r.Source,
		Type:            r.Event.Type(),
		Subject:         r.Connection,
		Time:            string(at),
		DataContentType: "application/json",
		DataSchema:      SchemaURI(r.Event.Type()),
		Sequence:        fmt.Sprintf("%0*d", sequenceDigits, r.Sequence),
		Epoch:           r.Epoch,
		PrevHash:        r.PrevHash,
		CorrelationID:   r.Correlation,
		CausationID:     r.Causation,
		Traceparent:     r.Traceparent,
		Data:            data,
	})
	if err != nil {
		return nil, fmt.Errorf("events: encode %s: %w", r.Event.Type(), err)
	}
	return b, nil
}

// MaxSize is how many bytes an event's wire form may have; the stream refuses
// more.
const MaxSize = 256 << 10

// ErrMalformed says that bytes are not an event's wire form.
var ErrMalformed = errors.New("not an event")

// Decode reads an event's wire form. Unknown fields are tolerated, of a field
// that stands twice the last counts, and an unknown type comes back as
// [Unknown]; anything malformed is an error that is [ErrMalformed] and names
// the attribute at fault. The result keeps payload as its Wire and must be the only one to use it.
func Decode(payload []byte) (Recorded, error) {
	r, err := decode(payload)
	if err != nil {
		return Recorded{}, fmt.Errorf("events: decode: %w: %w", ErrMalformed, err)
	}
	return r, nil
}

func decode(payload []byte) (Recorded, error) {
	switch {
	case len(payload) > MaxSize:
		return Recorded{}, fmt.Errorf("%d bytes: want at most %d", len(payload), MaxSize)
	case !utf8.Valid(payload):
		return Recorded{}, errors.New("not UTF-8")
	}
	if w, usual := envelope(payload); usual {
		if r, err := w.decode(payload); err == nil {
			return r, nil
		}
		// It may be an event all the same: what was taken for the data may be more. If
		// not, the words are of all of it.
	}
	var w wire
	if err := json.Unmarshal(payload, &w); err != nil {
		return Recorded{}, wordJSONError(err)
	}
	return w.decode(payload)
}

// decode returns the event with its attributes.
func (w *wire) decode(payload []byte) (Recorded, error) {
	r, err := w.recorded()
	if err != nil {
		return Recorded{}, err
	}
	r.Wire = payload
	r.Event = New(w.Type)
	if r.Event == nil {
		if !json.Valid(w.Data) {
			return Recorded{}, errors.New("data is not a JSON object")
		}
		r.Event = &Unknown{Name: w.Type, Data: w.Data}
		return r, nil
	}
	if err := json.Unmarshal(w.Data, r.Event); err != nil {
		return Recorded{}, fmt.Errorf("data of %s: %w", w.Type, wordJSONError(err))
	}
	if err := r.Event.check(); err != nil {
		return Recorded{}, fmt.Errorf("data of %s: %w", w.Type, err)
	}
	return r, nil
}

// recorded returns everything but the event itself.
func (w *wire) recorded() (Recorded, error) {
	switch {
	case w.SpecVersion != "1.0":
		return Recorded{}, fmt.Errorf("specversion %q: want \"1.0\"", w.SpecVersion)
	case w.ID == "":
		return Recorded{}, errors.New("id is missing")
	case w.Source == "":
		return Recorded{}, errors.New("source is missing")
	case w.Type.Kind() == "":
		return Recorded{}, fmt.Errorf("type %q: want ib.conn.<kind>.<what>", w.Type)
	case w.Epoch == 0:
		return Recorded{}, errors.New("epoch is missing")
	case len(w.Data) == 0 || w.Data[0] != '{':
		return Recorded{}, errors.New("data is not a JSON object")
	case w.PrevHash != "" && (len(w.PrevHash) != 2*sha256.Size || strings.Trim(w.PrevHash, "0123456789abcdef") != ""):
		return Recorded{}, fmt.Errorf("prevhash %q: want 64 hexadecimal digits", w.PrevHash)
	}
	connection, err := ParseConnectionID(string(w.Subject))
	if err != nil {
		return Recorded{}, fmt.Errorf("subject: %w", err)
	}
	var at time.Time
	// Unlike time.Parse this takes nothing but RFC 3339. An offset can move the
	// year to one that RFC 3339 cannot write in UTC.
	err = at.UnmarshalText([]byte(w.Time))
	at = at.UTC()
	if err != nil || at.IsZero() || at.Year() < 1 || at.Year() > 9999 {
		return Recorded{}, fmt.Errorf("time %q: want an instant such as \"2026-01-02T15:04:05.678Z\"", w.Time)
	}
	sequence, err := strconv.ParseUint(w.Sequence, 10, 64)
	if err != nil || sequence == 0 {
		return Recorded{}, fmt.Errorf("sequence %q: want a number above 0", w.Sequence)
	}
	return Recorded{
		ID:          w.ID,
		Source:      w.Source,
		Connection:  connection,
		Time:        at,
		Sequence:    sequence,
		Epoch:       w.Epoch,
		PrevHash:    w.PrevHash,
		Correlation: w.CorrelationID,
		Causation:   w.CausationID,
		Traceparent: w.Traceparent,
	}, nil
}

// wordJSONError says a mismatch of types in JSON's words rather than Go's.
func wordJSONError(err error) error {
	wrong, ok := errors.AsType[*json.UnmarshalTypeError](err)
	if !ok {
		return err
	}
	var want string
	switch wrong.Type.Kind() {
	case reflect.String:
		want = "string"
	case reflect.Bool:
		want = "bool"
	case reflect.Struct:
		want = "object"
	case reflect.Slice:
		want = "array"
	case reflect.Uint64:
		want = "whole number from 0"
	case reflect.Int, reflect.Int64:
		want = "whole number"
	default:
		want = "number"
	}
	return fmt.Errorf("%s is a JSON %s: want a JSON %s", cmp.Or(wrong.Field, "it"), wrong.Value, want)
}
