package tws

import (
	"errors"
	"io"
	"net"
	"syscall"

	"ibconn/events"
)

// ending says why an attempt or a session ended.
type ending struct {
	cause  events.Cause
	detail string
}

func (e ending) Error() string { return string(e.cause) + ": " + e.detail }

// endingOf returns the ending that err is or amounts to.
func endingOf(err error) ending {
	if e, ok := errors.AsType[ending](err); ok {
		return e
	}
	return ending{events.CauseOther, err.Error()}
}

// dialEnding classifies what net.Dialer returns.
func dialEnding(err error) ending {
	e := ending{events.CauseOther, err.Error()}
	name, isName := errors.AsType[*net.DNSError](err)
	network, isNetwork := errors.AsType[net.Error](err)
	switch {
	case isName && name.IsNotFound:
		e.cause = events.CauseNameNotFound
	case isName:
		// The name service failed, which says nothing of the gateway.
	case errors.Is(err, syscall.ECONNREFUSED):
		e.cause = events.CauseRefused
	case unreachable(err):
		e.cause = events.CauseUnreachable
	case isNetwork && network.Timeout():
		e.cause = events.CauseDialTimeout
	}
	return e
}

// socketEnding classifies why the gateway's socket ended, from what reading
// and writing it returned. After a reset whoever comes first, reader or
// writer, is told, and the other gets a plain end of stream or EPIPE. So a
// writer's ECONNRESET outweighs a reader's EOF.
func socketEnding(read, write error) ending {
	switch {
	case errors.Is(read, syscall.ECONNRESET), errors.Is(write, syscall.ECONNRESET):
		return ending{events.CauseReset, "connection reset by peer"}
	case timedOut(read):
		return ending{events.CauseNetworkTimeout, read.Error()}
	case timedOut(write):
		return ending{events.CauseNetworkTimeout, write.Error()}
	case errors.Is(read, io.EOF):
		return ending{events.CauseClosedByGateway, "end of stream"}
	}
	return ending{events.CauseOther, read.Error()}
}

// timedOut says whether the kernel gave up on the peer. With an ICMP error at
// hand Linux reports that instead of ETIMEDOUT when it does.
func timedOut(err error) bool { return errors.Is(err, syscall.ETIMEDOUT) || unreachable(err) }

func unreachable(err error) bool {
	return errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH)
}
