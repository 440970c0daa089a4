package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ibconn/events"
)

// RelayBucket is the KV bucket in which it is kept how far each connection had come
// to the hub. Nothing is relayed by it: the hub itself says how far it is. It tells a
// hub that lost what it had.
const RelayBucket = "ib_relay"

// relayMark is how far a connection had come.
type relayMark struct {
	Head  events.Head `json:"head"`  // of what the hub had
	Local uint64      `json:"local"` // where that stands here
	Hub   uint64      `json:"hub"`   // and there
}

type relayMarks struct{ kv jetstream.KeyValue }

func openRelayMarks(ctx context.Context, nc *nats.Conn) (*relayMarks, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	kv, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket:      RelayBucket,
		Description: "how far each connection's log had come to the hub",
		History:     1,
		Storage:     jetstream.FileStorage,
	})
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", RelayBucket, err)
	}
	return &relayMarks{kv}, nil
}

// load returns the mark of c; a zero one when there is none that can be read.
func (m *relayMarks) load(ctx context.Context, c events.ConnectionID) (relayMark, error) {
	e, err := m.kv.Get(ctx, string(c))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return relayMark{}, nil
	}
	if err != nil {
		return relayMark{}, fmt.Errorf("mark of %s: %w", c, err)
	}
	var mark relayMark
	if json.Unmarshal(e.Value(), &mark) != nil {
		return relayMark{}, nil
	}
	return mark, nil
}

func (m *relayMarks) save(ctx context.Context, c events.ConnectionID, mark relayMark) error {
	b, err := json.Marshal(mark)
	if err == nil {
		_, err = m.kv.Put(ctx, string(c), b)
	}
	return err
}
