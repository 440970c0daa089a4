package connector

import (
	"context"
	"slices"
	"time"

	"ibconn/events"
)

// ContractStore keeps what descriptions of contracts meant. Package bus has one.
// Its methods may be called from any goroutine.
type ContractStore interface {
	// LoadContracts returns all that is kept.
	LoadContracts(ctx context.Context) ([]events.KnownContract, error)
	// SaveContract keeps k in place of what its description meant before.
	SaveContract(ctx context.Context, k events.KnownContract) error
}

const (
	// contractsWithin is how long the store may take for what it keeps; without it
	// IB is asked.
	contractsWithin = 2 * time.Second
	// unsaved is how many contracts may wait to be kept; what there is no room for
	// is asked for again by the next process.
	unsaved = 256
)

// remember takes what the store keeps, and has it keep what comes to be known. It
// returns what ends that. What the store cannot do costs a request to IB.
func (l *loop) remember() (end func()) {
	if l.Contracts == nil {
		return func() {}
	}
	ctx, cancel := context.WithTimeout(l.appending, contractsWithin)
	defer cancel()
	known, err := l.Contracts.LoadContracts(ctx)
	if err == nil {
		slices.SortStableFunc(known, func(a, b events.KnownContract) int { return a.At.Compare(b.At) })
		for _, k := range known {
			l.requests.known.add(k.Description, k.Details, k.At)
		}
	}
	save := make(chan events.KnownContract, unsaved)
	saved := make(chan struct{})
	saving, giveUp := context.WithCancel(l.appending)
	go func() {
		defer close(saved)
		for k := range save {
			ctx, cancel := context.WithTimeout(saving, contractsWithin)
			_ = l.Contracts.SaveContract(ctx, k)
			cancel()
		}
	}()
	l.requests.save = save
	return func() {
		l.requests.save = nil
		close(save)
		late := time.AfterFunc(contractsWithin, giveUp)
		<-saved
		late.Stop()
		giveUp()
	}
}
