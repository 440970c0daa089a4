package connector

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"ibconn/events"
)

// target says where the next attempt goes, which client id it asks for, and
// why that is not what the one before did. It stays with what it has until
// that has failed for long enough, and never goes where nobody configured it to.
func (p Policy) target(s events.State, now time.Time) (endpoint string, clientID int64, because string) {
	var reasons []string
	since := s.Gateway.FailingSince
	endpoint, changed := next(p.endpoints(), s.Attempt.Endpoint, !since.IsZero() && now.Sub(since) >= p.FallbackAfter)
	if changed {
		reasons = append(reasons, fmt.Sprintf("%s has failed for %v", s.Attempt.Endpoint, events.Between(since, now)))
	}
	if moved := s.Gateway.MovedTo; moved != "" && slices.Contains(p.endpoints(), moved) {
		endpoint, reasons = moved, []string{"the gateway said that it listens there from now on"}
	}
	clientID, changed = next(p.clientIDs(), s.Attempt.ClientID, s.Gateway.IDRefusals >= p.ClientIDTries)
	if changed {
		reasons = append(reasons, fmt.Sprintf("client id %d was refused %d times in a row", s.Attempt.ClientID, s.Gateway.IDRefusals))
	}
	return endpoint, clientID, strings.Join(reasons, ", and ")
}

// next returns the present one of all, or the one after it when it is to
// change; and the first when the present one is no longer among them.
func next[T comparable](all []T, present T, change bool) (chosen T, changed bool) {
	i := slices.Index(all, present)
	switch {
	case i < 0:
		return all[0], false
	case !change || len(all) == 1:
		return present, false
	}
	return all[(i+1)%len(all)], true
}

// newPort is what a 1300 ends with: "... Please reconnect on the new port - 4003".
var newPort = regexp.MustCompile(`\b([1-9][0-9]{0,4})\W*$`)

// portChanged reads a 1300. The gateway may move only to an endpoint that is
// configured: whoever can make it say so must not send us anywhere else.
func (p Policy) portChanged(s events.State, attempt uint64, message string) (events.Draft, bool) {
	port := newPort.FindStringSubmatch(message)
	host, _, err := net.SplitHostPort(s.Attempt.Endpoint)
	if port == nil || err != nil {
		return events.Draft{}, false
	}
	endpoint := net.JoinHostPort(host, port[1])
	return about(attempt, &events.PortChanged{
		Attempt: attempt, Endpoint: endpoint, Allowed: slices.Contains(p.endpoints(), endpoint), Message: message,
	}), true
}
