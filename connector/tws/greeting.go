package tws

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"ibconn/events"

	"github.com/scmhub/ibapi"
)

const magic = "API\x00"

// rawIDs is the server version from which a message's id is four raw bytes
// instead of a text field.
const rawIDs = ibapi.MIN_SERVER_VER_PROTOBUF

// hello returns the first bytes of a client of ibapi's version range, which
// are also those that ibapi itself sends.
func hello(options string) []byte {
	versions := fmt.Sprintf("v%d..%d", ibapi.MIN_CLIENT_VER, ibapi.MAX_CLIENT_VER)
	if options != "" {
		versions += " " + options
	}
	return append([]byte(magic), frame([]byte(versions))...)
}

// reply is the gateway's answer to a hello.
type reply struct {
	version int
	time    string
	frame   []byte // as it came
}

// parseReply reads the version reply's payload: two text fields, the first a
// number. Anything else would make ibapi panic or leave its socket open, so it
// must not get to see it.
func parseReply(payload []byte) (reply, error) {
	fields := bytes.Split(payload, []byte{0})
	if len(fields) != 3 || len(fields[2]) != 0 {
		return reply{}, ending{events.CauseGarbled, fmt.Sprintf("the answer to the hello is not two fields: %.120q", events.MaskAccounts(string(payload)))}
	}
	version, err := strconv.Atoi(string(fields[0]))
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return reply{}, ending{events.CauseGarbled, fmt.Sprintf("the gateway's version is not a number: %.120q", events.MaskAccounts(string(payload)))}
	}
	if version < ibapi.MIN_CLIENT_VER || version > ibapi.MAX_CLIENT_VER {
		return reply{}, ending{events.CauseUnsupportedVersion, fmt.Sprintf("the gateway answered version %.20s, and %d to %d are spoken here",
			fields[0], ibapi.MIN_CLIENT_VER, ibapi.MAX_CLIENT_VER)}
	}
	// A gateway words its time zone in its own language and encoding.
	return reply{version: version, time: strings.ToValidUTF8(string(fields[1]), "?"), frame: frame(payload)}, nil
}
