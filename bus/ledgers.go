package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// LedgerBucket is the KV bucket in which the ledgers of what left for gateways
// are kept, under a key for each gateway.
const LedgerBucket = "ib_ledger"

// maxLedger is how many bytes a ledger may have: a few dozen requests.
const maxLedger = 256 << 10

// Ledgers keeps what left for gateways in a KV bucket. It may be used by many
// goroutines.
type Ledgers struct{ kv jetstream.KeyValue }

// OpenLedgers opens the bucket that nc leads to, and creates it when there is
// none.
func OpenLedgers(ctx context.Context, nc *nats.Conn) (*Ledgers, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("bus: open ledgers: %w", err)
	}
	kv, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket:       LedgerBucket,
		Description:  "what ibconn asked gateways for in the last minutes, for IB's rules on pacing",
		MaxValueSize: maxLedger,
		History:      1,
		Storage:      jetstream.FileStorage,
	})
	if err != nil {
		return nil, fmt.Errorf("bus: open ledgers: %w", err)
	}
	return &Ledgers{kv}, nil
}

// LoadLedger returns what was saved last for the gateway at an address; nil when
// nothing was.
func (l *Ledgers) LoadLedger(ctx context.Context, gateway string) ([]byte, error) {
	e, err := l.kv.Get(ctx, ledgerKey(gateway))
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("bus: ledger of %s: %w", gateway, err)
	}
	return e.Value(), nil
}

// SaveLedger stores kept in place of that. When it returns, it is on the disk.
func (l *Ledgers) SaveLedger(ctx context.Context, gateway string, kept []byte) error {
	if _, err := l.kv.Put(ctx, ledgerKey(gateway), kept); err != nil {
		return fmt.Errorf("bus: ledger of %s: %w", gateway, err)
	}
	return nil
}

// ledgerKey words an address with what a key may have, each in its own way: what
// is no digit and no letter of ASCII, as = and two hexadecimal digits for each
// byte, but for the dots between digits.
func ledgerKey(gateway string) string {
	var key strings.Builder
	for i := range len(gateway) {
		c := gateway[i]
		between := i > 0 && i < len(gateway)-1 && digit(gateway[i-1]) && digit(gateway[i+1])
		if digit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '.' && between {
			key.WriteByte(c)
			continue
		}
		fmt.Fprintf(&key, "=%02x", c)
	}
	if key.Len() == 0 {
		return "="
	}
	return key.String()
}

func digit(c byte) bool { return c >= '0' && c <= '9' }
