package bus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ibconn/events"
)

// ContractBucket is the KV bucket in which it is kept which contracts
// descriptions meant, under a key for each description.
const ContractBucket = "ib_contracts"

const (
	// contractsFor is how long it is kept.
	contractsFor = 24 * time.Hour
	// maxContract is how many bytes one may have: IB's hours are a few hundred.
	maxContract = 64 << 10
)

// Contracts keeps which contracts descriptions meant in a KV bucket. It may be
// used by many goroutines.
type Contracts struct{ kv jetstream.KeyValue }

// OpenContracts opens the bucket that nc leads to, and creates it when there is
// none.
func OpenContracts(ctx context.Context, nc *nats.Conn) (*Contracts, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("bus: open contracts: %w", err)
	}
	kv, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket:       ContractBucket,
		Description:  "which contracts descriptions meant, as IB said within a day",
		MaxValueSize: maxContract,
		History:      1,
		TTL:          contractsFor,
		Storage:      jetstream.FileStorage,
	})
	if err != nil {
		return nil, fmt.Errorf("bus: open contracts: %w", err)
	}
	return &Contracts{kv}, nil
}

// LoadContracts returns all that is kept, the oldest first. What cannot be read is
// left out.
func (c *Contracts) LoadContracts(ctx context.Context) ([]events.KnownContract, error) {
	w, err := c.kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, fmt.Errorf("bus: load contracts: %w", err)
	}
	defer func() { _ = w.Stop() }()
	var all []events.KnownContract
	for {
		select {
		case e, open := <-w.Updates():
			if !open {
				return nil, errors.New("bus: load contracts: the connection was closed")
			}
			if e == nil { // these were all
				return all, nil
			}
			if k, err := events.DecodeKnownContract(e.Value()); err == nil {
				all = append(all, k)
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("bus: load contracts: %w", context.Cause(ctx))
		}
	}
}

// SaveContract keeps k in place of what its description meant before.
func (c *Contracts) SaveContract(ctx context.Context, k events.KnownContract) error {
	b, err := json.Marshal(k)
	if err == nil {
		_, err = c.kv.Put(ctx, contractKey(k.Description), b)
	}
	if err != nil {
		return fmt.Errorf("bus: save contract %s: %w", k.Description, err)
	}
	return nil
}

// contractKey makes a key of a description, which may have any text in it.
func contractKey(description events.Contract) string {
	b, err := json.Marshal(description)
	if err != nil {
		return "none" // of strings and numbers alone there is none that fails
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
