package bus

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"ibconn/events"
)

// fork finds where two logs of the connection part, and returns a *[ForkError] that
// says so; or another error, when one of them cannot be read.
func (c *carrier) fork(ctx context.Context, hub *hubLog, end hubEnd) error {
	common, there, here, err := c.part(ctx, hub)
	if err != nil {
		return err
	}
	if there == nil { // one of them has grown meanwhile
		return errContested
	}
	e := &ForkError{Connection: c.connection, Status: events.RelayDiffers, Common: common}
	switch {
	case here == nil && !c.position().known:
		e.lacking = true
		e.Words = fmt.Sprintf("the hub has %s up to sequence %d, and the log here ends at %d: this data directory is new, or was put back from a backup. "+
			"Stop ibconn, and start it again while the hub can be reached: it then takes over what the hub has before it begins", c.connection, end.head.Sequence, common)
	case common > 0 && there.Claim():
		e.Status = events.RelaySuperseded
		e.Words = fmt.Sprintf("%s took %s: the hub has its claim behind sequence %d, so what was written here after that is not relayed. "+
			"Stop one of the two, or give it a connection name of its own", there.Source, c.connection, common)
	case common > 0:
		e.Words = fmt.Sprintf("the hub and the log here have %s in common up to sequence %d, and go on differently: one of them was put back from a backup, and both were written since. "+
			"Give the connection another name (--connection), or move --data away and start again to go on with what the hub has", c.connection, common)
	default:
		e.Words = fmt.Sprintf("the hub has another history of a connection %s, last written by %s. "+
			"Give this one another name (--connection), or move --data away and start again to go on with what the hub has", c.connection, end.byClaim)
	}
	return e
}

// part reads both logs side by side, and returns the sequence of the last event that
// they have in common, and the first that each has after it, nil where it has none.
// A sequence that one of them is missing in between is no difference.
func (c *carrier) part(ctx context.Context, hub *hubLog) (common uint64, there, here *events.Recorded, err error) {
	s, err := findSource(ctx, hub.nc, events.Stream, "log")
	if err != nil {
		return 0, nil, nil, err
	}
	nextThere, stopThere := iter.Pull2(s.sequence(ctx, c.connection))
	defer stopThere()
	nextHere, stopHere := iter.Pull2(c.relay.Local.sequence(ctx, c.connection))
	defer stopHere()
	pull := func(next func() (events.Recorded, error, bool)) (*events.Recorded, error) {
		r, err, ok := next()
		if err != nil || !ok {
			return nil, err
		}
		return &r, nil
	}
	there, err = pull(nextThere)
	if err != nil {
		return 0, nil, nil, err
	}
	if here, err = pull(nextHere); err != nil {
		return 0, nil, nil, &localError{err}
	}
	for there != nil && here != nil {
		switch {
		case there.Sequence < here.Sequence:
			there, err = pull(nextThere)
		case there.Sequence > here.Sequence:
			if here, err = pull(nextHere); err != nil {
				err = &localError{err}
			}
		case there.Hash() != here.Hash():
			return common, there, here, nil
		default:
			common = there.Sequence
			there, err = pull(nextThere)
			if err == nil {
				if here, err = pull(nextHere); err != nil {
					err = &localError{err}
				}
			}
		}
		if err != nil {
			return 0, nil, nil, err
		}
	}
	return common, there, here, nil
}

// sequence yields the events of c other than heartbeats, and leaves out what is none.
func (s *source) sequence(ctx context.Context, c events.ConnectionID) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		for m, err := range s.messages(ctx, Query{}, []string{events.LogSubject(c, "*")}) {
			if err != nil {
				yield(events.Recorded{}, err)
				return
			}
			e, err := decode(m.subject, m.seq, m.Data())
			if errors.Is(err, events.ErrMalformed) || err == nil && e.Heartbeat() {
				continue
			}
			if !yield(e.Recorded, err) {
				return
			}
		}
	}
}
