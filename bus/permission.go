package bus

import (
	"crypto/rand"

	"github.com/nats-io/nats-server/v2/server"

	"ibconn/events"
)

// The server knows two users: the process it runs in, and everybody else. It
// listens on loopback only, so everybody else is who can log on to this
// machine; they may read, command, and even claim a connection, but they can
// neither take the log away nor make up what the feed shows.
const (
	insider  = "ibconn"
	outsider = "local"
)

// secret returns a password that lasts as long as the process: it never leaves
// it.
func secret() string { return rand.Text() }

func (s *Server) users() []*server.User {
	return []*server.User{
		{Username: insider, Password: s.password},
		{Username: outsider, Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: outsiderDenied()}}},
	}
}

// outsiderDenied lists what outsiders may not publish. DenyDelete and DenyPurge
// on the stream would not do: the stream itself can still be deleted.
func outsiderDenied() []string {
	denied := []string{events.FeedSubjects, "$JS.API.STREAM.MSG.DELETE." + events.Stream}
	for _, verb := range []string{"CREATE", "UPDATE", "DELETE", "PURGE", "RESTORE"} {
		denied = append(denied, "$JS.API.STREAM."+verb+"."+events.Stream)
	}
	return denied
}
