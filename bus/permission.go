package bus

import (
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"ibconn/events"
)

// outsider is who connects without a name. The server knows two users: the
// process it runs in, and everybody else. It listens on loopback only, so
// everybody else is who can log on to this machine; they may read, command, and
// even claim a connection, but they can neither take the log, the bars, the
// incidents, the ledgers and the statuses away nor make up what these, the feed
// and the pools show.
//
// What people were told of they may write, and not take away: alerts are wanted
// most in a process that outlives this one. At worst somebody is told twice, or
// not at all, by one who may as well stop the connection. What is told is from
// the incidents and the statuses, which are not theirs to write.
//
// Imports are theirs as a whole: who imports is another process, and nothing that
// happens now is told by what was imported.
const outsider = "local"

// insider is the key of the clients inside this process, which never leaves it.
type insider struct {
	key    nkeys.KeyPair
	public string
}

func newInsider() (insider, error) {
	key, err := nkeys.CreateUser()
	if err != nil {
		return insider{}, err
	}
	public, err := key.PublicKey()
	return insider{key, public}, err
}

// login is the option with which a client of this process connects.
func (i insider) login() nats.Option { return nats.Nkey(i.public, i.key.Sign) }

func (i insider) allow(o *server.Options) {
	o.Nkeys = []*server.NkeyUser{{Nkey: i.public}}
	o.Users = []*server.User{{
		Username:    outsider,
		Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: outsiderDenied()}},
	}}
	o.NoAuthUser = outsider
}

// outsiderDenied lists what outsiders may not publish. DenyDelete and DenyPurge
// on the stream would not do: the stream itself can still be deleted. Nor may they
// create a stream, whatever its name, or change one: it could republish on the feed
// what they store in it.
func outsiderDenied() []string {
	denied := []string{events.FeedSubjects, events.PoolSubjects, events.DataSubjects, events.IncidentSubjects}
	for _, verb := range []string{"CREATE", "UPDATE", "RESTORE"} {
		denied = append(denied, "$JS.API.STREAM."+verb+".*")
	}
	streams := []string{events.Stream, events.DataStream, events.IncidentStream}
	for _, bucket := range []string{LedgerBucket, ContractBucket, StatusBucket, RelayBucket} {
		denied = append(denied, "$KV."+bucket+".>")
		streams = append(streams, "KV_"+bucket)
	}
	for _, stream := range append(streams, "KV_"+AlertBucket) {
		for _, verb := range []string{"DELETE", "PURGE", "MSG.DELETE"} {
			denied = append(denied, "$JS.API.STREAM."+verb+"."+stream)
		}
	}
	return denied
}
