package bus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"ibconn/events"
)

// HeaderLocalSequence is where an event stood in the log it was relayed from: the
// header of an event in the hub's log.
const HeaderLocalSequence = "Ib-Local-Sequence"

const (
	// hubHeaders is how much longer than here the headers of a message may be in the
	// hub's log.
	hubHeaders = 1 << 10
	// hubAckWithin is how long the hub may take to store something, once it has it;
	// hubSlowest is how many bytes a second it gets at least.
	hubAckWithin = 5 * time.Second
	hubSlowest   = 32 << 10
	// hubAskWithin is how long it may take to answer a question.
	hubAskWithin = 3 * time.Second
)

// The headers of a batch that is stored whole or not at all; see ADR-50 of NATS.
const (
	headerBatch         = "Nats-Batch-Id"
	headerBatchSequence = "Nats-Batch-Sequence"
	headerBatchCommit   = "Nats-Batch-Commit"
)

// Codes of the hub that the client library has no name for.
const (
	codeNoMessage      jetstream.ErrorCode = 10037
	codeDuplicateIn    jetstream.ErrorCode = 10201
	codeDuplicateUnder jetstream.ErrorCode = 10158
)

// hubLog is the log of the hub. What it reads, the leader of the stream answers:
// replicas may lag.
type hubLog struct {
	nc      *nats.Conn
	batches bool // it takes several events as one
}

// StreamError says that the log of the hub has other settings than it must have.
type StreamError struct {
	Differences []string // each: what a setting is, and should be
}

// Error names each setting, what it is and what it should be.
func (e *StreamError) Error() string {
	return fmt.Sprintf("stream %s of the hub has other settings than it must have: %s; correct it there (nats stream edit %s), or give ibconn a hub account of its own",
		events.Stream, strings.Join(e.Differences, ", "), events.Stream)
}

// hubConfig returns the settings of a hub's log: those of the log here, but for
// the batches that the relay writes, and the headers that it adds. How large it may
// become is the operator's business.
func hubConfig(replicas int) jetstream.StreamConfig {
	c := streamConfig(-1)
	c.Description = "the logs of ibconn's connections, as relayed from where they run"
	c.Replicas = cmp.Or(replicas, 1)
	c.MaxMsgSize = events.MaxSize + hubHeaders
	c.AllowAtomicPublish = true
	return c
}

// openHubLog opens the log that the hub has, or creates it. replicas is how many
// copies a new one has, and one that exists must have; 0 stands for one of a new,
// and for any of one that exists.
func openHubLog(ctx context.Context, nc *nats.Conn, replicas int) (*hubLog, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, hubAckWithin)
	defer cancel()
	stream, err := js.Stream(ctx, events.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = js.CreateStream(ctx, hubConfig(replicas))
	}
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another process was quicker
		stream, err = js.Stream(ctx, events.Stream)
	}
	if err != nil {
		return nil, err
	}
	have := stream.CachedInfo().Config
	diff := hubDifferences(have, replicas)
	if most, want := nc.MaxPayload(), int64(hubConfig(0).MaxMsgSize); most < want {
		diff = append(diff, fmt.Sprintf("max_payload of the server is %d, want at least %d", most, want))
	}
	if len(diff) > 0 {
		return nil, &StreamError{diff}
	}
	return &hubLog{nc, have.AllowAtomicPublish}, nil
}

// hubDifferences names the settings of a hub's log that the relay cannot live with.
// How long the hub knows duplicates is not among them: the relay does not rely on it.
func hubDifferences(have jetstream.StreamConfig, replicas int) []string {
	want := hubConfig(cmp.Or(replicas, have.Replicas))
	want.Duplicates = have.Duplicates
	if have.MaxMsgSize < 0 || have.MaxMsgSize > want.MaxMsgSize {
		want.MaxMsgSize = have.MaxMsgSize
	}
	diff := differences(have, want)
	if have.Replicas != want.Replicas {
		diff = append(diff, fmt.Sprintf("replicas is %d, want %d (--nats-replicas)", have.Replicas, want.Replicas))
	}
	return diff
}

// hubEnd is where the log of a connection ends on the hub.
type hubEnd struct {
	place   uint64      // of its newest message in the stream; 0 when there is none
	head    events.Head // after it
	id      string      // of the newest event
	local   uint64      // where that stood in the log that it came from; 0 when it does not say
	byClaim string      // the source of the newest event
}

// end asks where the log of c ends on the hub.
func (h *hubLog) end(ctx context.Context, c events.ConnectionID) (hubEnd, error) {
	m, err := h.last(ctx, events.LogSubject(c, "*"))
	if err != nil || m == nil {
		return hubEnd{}, err
	}
	e := hubEnd{place: m.Sequence}
	r, err := events.Decode(m.Data)
	if err != nil {
		// Somebody else wrote there what is no event. What was before it counts.
		return h.endByReading(ctx, c, e.place)
	}
	return e.after(r, m.Header), nil
}

func (e hubEnd) after(r events.Recorded, h nats.Header) hubEnd {
	// A heartbeat says itself what it follows.
	e.head = events.Head{Epoch: r.Epoch, Sequence: r.Sequence, Hash: r.PrevHash}.Then(r)
	e.id, e.byClaim = r.ID, r.Source
	e.local, _ = strconv.ParseUint(h.Get(HeaderLocalSequence), 10, 64)
	return e
}

// endByReading finds the newest message that is an event.
func (h *hubLog) endByReading(ctx context.Context, c events.ConnectionID, place uint64) (hubEnd, error) {
	s, err := findSource(ctx, h.nc, events.Stream, "log")
	if err != nil {
		return hubEnd{}, err
	}
	e := hubEnd{place: place}
	for m, err := range s.messages(ctx, Query{}, []string{events.LogSubject(c, "*")}) {
		if err != nil {
			return hubEnd{}, err
		}
		e.place = max(e.place, m.seq)
		if r, err := events.Decode(m.Data()); err == nil {
			e = e.after(r, m.Headers())
		}
	}
	return e, nil
}

// last returns the newest message on subject, as the stream's leader knows it, or
// nil when there is none.
func (h *hubLog) last(ctx context.Context, subject string) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, hubAskWithin)
	defer cancel()
	request, err := json.Marshal(map[string]string{"last_by_subj": subject})
	if err != nil {
		return nil, err
	}
	reply, err := h.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+events.Stream, request)
	if err != nil {
		return nil, err
	}
	return parseMessage(reply.Data)
}

// parseMessage reads the answer to a question for a message; nil when there is none.
func parseMessage(text []byte) (*jetstream.RawStreamMsg, error) {
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Sequence uint64 `json:"seq"`
			Header   []byte `json:"hdrs"`
			Data     []byte `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, fmt.Errorf("the hub's answer cannot be read: %w", err)
	}
	switch {
	case answer.Error != nil && answer.Error.ErrorCode == codeNoMessage:
		return nil, nil
	case answer.Error != nil:
		return nil, answer.Error
	case answer.Message.Sequence == 0:
		return nil, errors.New("the hub's answer has no message")
	}
	m := &jetstream.RawStreamMsg{Sequence: answer.Message.Sequence, Data: answer.Message.Data}
	if len(answer.Message.Header) > 0 {
		var err error
		if m.Header, err = nats.DecodeHeadersMsg(answer.Message.Header); err != nil {
			return nil, fmt.Errorf("the hub's answer cannot be read: %w", err)
		}
	}
	return m, nil
}

// store stores messages of c in order, all or none, on condition that the newest of
// c there is the one at place, and returns where the last of them stands.
// errContested says that the condition does not hold, or that one of them is there
// already. After any other error they may have been stored or not.
func (h *hubLog) store(ctx context.Context, c events.ConnectionID, place uint64, messages []*nats.Msg) (uint64, error) {
	first := messages[0]
	first.Header.Set(jetstream.ExpectedStreamHeader, events.Stream)
	first.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(place, 10))
	first.Header.Set(jetstream.ExpectedLastSubjSeqSubjHeader, events.LogSubject(c, "*"))
	if len(messages) > 1 {
		batch := nuid.Next()
		for i, m := range messages {
			m.Header.Set(headerBatch, batch)
			m.Header.Set(headerBatchSequence, strconv.Itoa(i+1))
			if i < len(messages)-1 {
				// Without a reply subject the hub answers the last one alone.
				if err := h.nc.PublishMsg(m); err != nil {
					return 0, err
				}
			}
		}
	}
	last := messages[len(messages)-1]
	if len(messages) > 1 {
		last.Header.Set(headerBatchCommit, "1")
	}
	size := 0
	for _, m := range messages {
		size += m.Size()
	}
	ctx, cancel := context.WithTimeout(ctx, hubAckWithin+time.Duration(size)*time.Second/hubSlowest)
	defer cancel()
	reply, err := h.nc.RequestMsgWithContext(ctx, last)
	if err != nil {
		return 0, err
	}
	return parseStored(reply.Data, place)
}

// parseStored reads the answer to a store on condition that place was the newest, and
// returns where the newest is now.
func parseStored(text []byte, place uint64) (uint64, error) {
	var ack struct {
		jetstream.PubAck
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(text, &ack); err != nil {
		return 0, fmt.Errorf("the hub's answer cannot be read: %w", err)
	}
	switch {
	case ack.Error != nil && (ack.Error.ErrorCode == codeDuplicateIn || ack.Error.ErrorCode == codeDuplicateUnder):
		return 0, errContested
	case ack.Error != nil:
		return 0, refusal(ack.Error)
	case ack.Duplicate, ack.Sequence <= place:
		return 0, errContested
	case ack.Stream != events.Stream:
		return 0, fmt.Errorf("the hub's stream %q took what is for %s", ack.Stream, events.Stream)
	}
	return ack.Sequence, nil
}
