package events

import (
	"encoding/json"
	"fmt"
	"time"
)

// KnownContract is what a description of a contract meant, as IB said.
type KnownContract struct {
	Description Contract        `json:"description"`
	Details     ContractDetails `json:"details"`
	At          time.Time       `json:"at"` // when IB said so
}

// DecodeKnownContract reads what was stored of a contract, or says what is wrong
// with it. Fields that it does not know are left out.
func DecodeKnownContract(stored []byte) (KnownContract, error) {
	var k KnownContract
	if err := json.Unmarshal(stored, &k); err != nil {
		return KnownContract{}, fmt.Errorf("not a known contract: %w", err)
	}
	if err := k.Description.Check(); err != nil {
		return KnownContract{}, fmt.Errorf("not a known contract: description: %w", err)
	}
	if k.Details.ConID <= 0 || k.At.IsZero() {
		return KnownContract{}, fmt.Errorf("not a known contract: con_id %d at %v: want both", k.Details.ConID, k.At)
	}
	k.At = k.At.UTC()
	return k, nil
}
