package tws

import (
	"encoding/binary"

	"github.com/scmhub/ibapi"
)

// allowed is the whole of what may be sent to a gateway: to open a session,
// to keep it, and to ask for data. What is not here, and so everything about
// orders, positions and accounts' money, stays in this process.
var allowed = map[int]bool{
	int(ibapi.START_API):                  true,
	int(ibapi.REQ_CURRENT_TIME):           true,
	int(ibapi.REQ_CURRENT_TIME_IN_MILLIS): true,
	int(ibapi.REQ_IDS):                    true,
	int(ibapi.REQ_MANAGED_ACCTS):          true,
	int(ibapi.SET_SERVER_LOGLEVEL):        true,
	int(ibapi.REQ_MARKET_DATA_TYPE):       true,
	int(ibapi.REQ_MKT_DATA):               true,
	int(ibapi.CANCEL_MKT_DATA):            true,
	int(ibapi.REQ_TICK_BY_TICK_DATA):      true,
	int(ibapi.CANCEL_TICK_BY_TICK_DATA):   true,
	int(ibapi.REQ_REAL_TIME_BARS):         true,
	int(ibapi.CANCEL_REAL_TIME_BARS):      true,
	int(ibapi.REQ_HISTORICAL_DATA):        true,
	int(ibapi.CANCEL_HISTORICAL_DATA):     true,
	int(ibapi.REQ_HEAD_TIMESTAMP):         true,
	int(ibapi.CANCEL_HEAD_TIMESTAMP):      true,
	int(ibapi.REQ_CONTRACT_DATA):          true,
	int(ibapi.REQ_MATCHING_SYMBOLS):       true,
}

// messageID reads the id a payload begins with, and returns where the body
// begins. raw is how ids stand from server version 201 on, where an id over
// 200 says that the body is protobuf. An id that cannot be read is -1.
func messageID(payload []byte, raw bool) (id int, body []byte, protobuf bool) {
	if raw {
		return rawMessageID(payload)
	}
	for i, c := range payload {
		switch {
		case c == 0 && i > 0:
			return id, payload[i+1:], false
		case c < '0' || c > '9' || i >= 9:
			return -1, payload, false
		}
		id = 10*id + int(c-'0')
	}
	return -1, payload, false
}

func rawMessageID(payload []byte) (id int, body []byte, protobuf bool) {
	if len(payload) < minRaw {
		return -1, payload, false
	}
	id, body = int(binary.BigEndian.Uint32(payload)), payload[minRaw:]
	if id > int(ibapi.PROTOBUF_MSG_ID) {
		return id - int(ibapi.PROTOBUF_MSG_ID), body, true
	}
	return id, body, false
}
