package tws

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/scmhub/ibapi"
)

// A mark is a message that shows, by coming out at the library's other end,
// that all before it did. Neither kind ever leaves the process, nor can the
// gateway make one.

// outwardMark is the id of the request that serves as mark: one that the safety
// catch would hold back anyway.
const outwardMark = int(ibapi.CANCEL_NEWS_BULLETINS)

// markOutward sends a mark from the library to the tap.
func markOutward(client *ibapi.EClient) { client.CancelNewsBulletins() }

// newMark returns the request id of a session's inward marks, which are
// tickSnapshotEnds: a number that nobody else knows.
func newMark() int64 { return -1 - rand.Int64() }

// markFrame returns the inward mark as the tap sends it to the library. It
// stands as text in every session: the library tells text from protobuf by the
// message's id alone.
func markFrame(raw bool, mark int64) []byte {
	id := fmt.Appendf(nil, "%d\x00", ibapi.TICK_SNAPSHOT_END)
	if raw {
		id = binary.BigEndian.AppendUint32(nil, uint32(ibapi.TICK_SNAPSHOT_END))
	}
	return frame(fmt.Appendf(id, "1\x00%d\x00", mark))
}
