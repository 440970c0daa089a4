package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ibconn/events"
)

// IncidentOptions says how incidents are kept.
type IncidentOptions struct {
	// MaxBytes is how large the stream of incidents may become; then the oldest
	// go. 0 means 64 MiB for a new stream, or less when the server has less to set
	// aside, and leaves the limit of an existing one as it is. A limit can be
	// raised, never lowered.
	MaxBytes int64
}

const (
	defaultIncidentBytes = 64 << 20
	// maxIncident is how many bytes a change may have: it names 50 subscriptions
	// at most, and tells of 64 troubles.
	maxIncident = 128 << 10
)

// The headers by which it is known how far the changes of a connection are
// published.
const (
	headerLogSequence = "Ib-Log-Sequence"
	headerLogPart     = "Ib-Log-Part"
)

// Incidents is where changes of incidents go: the stream IB_INCIDENT. It is for
// one goroutine.
type Incidents struct {
	source
	marks map[events.ConnectionID]incidentMark
}

// incidentMark is the newest change of a connection that is stored.
type incidentMark struct {
	sequence uint64 // of the log
	part     int
	place    uint64 // in the stream; 0 when there is none
}

// IncidentChange is something that happened to an incident. Sequence and Part
// grow from change to change of a connection.
type IncidentChange struct {
	Connection events.ConnectionID
	Incident   string // its id
	Kind       string // opened, updated or closed: the last token of the subject
	Sequence   uint64 // of the event in the connection's log that led to it
	Part       int    // tells changes of one sequence apart
	Payload    []byte
}

// OpenIncidents opens the stream of incidents that nc leads to, and creates it
// when there is none. One that exists with other settings than it must have is
// refused with an error that names them.
func OpenIncidents(ctx context.Context, nc *nats.Conn, o IncidentOptions) (*Incidents, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("bus: open incidents: %w", err)
	}
	s := &Incidents{source{nc: nc, js: js}, make(map[events.ConnectionID]incidentMark)}
	s.stream, err = js.Stream(ctx, events.IncidentStream)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		err = s.createWithin(ctx, incidentConfig(o.MaxBytes), defaultIncidentBytes)
	case err == nil:
		err = s.adopt(ctx, o.MaxBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("bus: open incidents: %w", err)
	}
	return s, nil
}

// incidentConfig returns the settings of a new stream of incidents. What is full
// drops the oldest: they can be worked out again from the log.
func incidentConfig(maxBytes int64) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        events.IncidentStream,
		Description: "the incidents of ibconn's connections",
		Subjects:    []string{events.IncidentSubjects},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardOld,
		Storage:     jetstream.FileStorage,
		Replicas:    1,
		MaxBytes:    maxBytes,
		MaxMsgSize:  maxIncident,
		Duplicates:  dedupWindow,
		AllowDirect: true,
		Metadata:    map[string]string{schemaKey: schema},
	}
}

func (s *Incidents) adopt(ctx context.Context, maxBytes int64) error {
	have := s.stream.CachedInfo().Config
	want := incidentConfig(have.MaxBytes)
	want.MaxAge = max(have.MaxAge, 0) // the operator's business
	if diff := differences(have, want); len(diff) > 0 {
		return fmt.Errorf("stream %s exists with other settings: %s; give ibconn one of its own, or correct the stream", events.IncidentStream, strings.Join(diff, ", "))
	}
	return s.raise(ctx, maxBytes)
}

// createWithin creates a stream. When config has no limit it gets one, usual or
// as much less as the server can set aside: without a limit of its own it would
// take what the log needs.
func (s *source) createWithin(ctx context.Context, config jetstream.StreamConfig, usual int64) (err error) {
	given := config.MaxBytes != 0
	if !given {
		config.MaxBytes = usual
	}
	for {
		s.stream, err = s.js.CreateStream(ctx, config)
		api, ok := errors.AsType[*jetstream.APIError](err)
		if !ok || api.ErrorCode != codeStorageExceeded || given || config.MaxBytes/2 < leastDataBytes {
			return err
		}
		config.MaxBytes /= 2
	}
}

// Publish stores c on ib.incident.<connection>.<kind>, unless it or a later
// change of its connection is stored already, whoever did that. It says whether
// it was this call that stored it for certain.
//
// It tries again after whatever may pass, for as long as it takes; when ctx ends
// first, c may have been stored or not, and publishing it again is safe.
func (s *Incidents) Publish(ctx context.Context, c IncidentChange) (bool, error) {
	stored, err := s.publish(ctx, c)
	if err != nil {
		return false, fmt.Errorf("bus: publish incident %s: %w", c.Incident, err)
	}
	return stored, nil
}

func (s *Incidents) publish(ctx context.Context, c IncidentChange) (bool, error) {
	mark, known := s.marks[c.Connection]
	for wait := minRetryWait; ; wait = min(2*wait, maxRetryWait) {
		var err error
		if !known {
			mark, err = s.newestMark(ctx, c.Connection)
		}
		if err == nil {
			s.marks[c.Connection] = mark
			if !mark.before(c) {
				return false, nil
			}
			var place uint64
			place, err = s.store(ctx, c, mark.place)
			if err == nil {
				s.marks[c.Connection] = incidentMark{c.Sequence, c.Part, place}
				return true, nil
			}
		}
		known = false // somebody else stored something, or this may have been stored
		if errors.Is(err, ErrTooLarge) || s.nc.IsClosed() || !passing(err) {
			return false, err
		}
		if end := sleep(ctx, wait); end != nil {
			return false, fmt.Errorf("%w (last try: %w)", end, err)
		}
	}
}

func (m incidentMark) before(c IncidentChange) bool {
	return m.place == 0 || m.sequence < c.Sequence || m.sequence == c.Sequence && m.part < c.Part
}

// store stores c on condition that the newest change of its connection is the
// one at place.
func (s *Incidents) store(ctx context.Context, c IncidentChange, place uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	m := nats.NewMsg(events.IncidentSubject(c.Connection, c.Kind))
	m.Data = c.Payload
	m.Header.Set(events.HeaderMsgID, fmt.Sprintf("%s.%s.%d", c.Incident, c.Kind, c.Sequence))
	m.Header.Set(headerLogSequence, strconv.FormatUint(c.Sequence, 10))
	m.Header.Set(headerLogPart, strconv.Itoa(c.Part))
	ack, err := s.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequenceForSubject(place, events.IncidentSubject(c.Connection, "*")))
	switch {
	case err != nil:
		return 0, refusal(err)
	case ack.Duplicate:
		return 0, errContested
	}
	return ack.Sequence, nil
}

// newestMark reads how far the changes of c are published.
func (s *Incidents) newestMark(ctx context.Context, c events.ConnectionID) (incidentMark, error) {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	m, err := s.newest(ctx, events.IncidentSubject(c, "*"))
	if err != nil || m == nil {
		return incidentMark{}, err
	}
	mark := incidentMark{place: m.Sequence}
	// What is without them was written by hand, and keeps nothing from being
	// published.
	mark.sequence, _ = strconv.ParseUint(m.Header.Get(headerLogSequence), 10, 64)
	mark.part, _ = strconv.Atoi(m.Header.Get(headerLogPart))
	return mark, nil
}
