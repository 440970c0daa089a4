package gateway

import (
	"strconv"

	"google.golang.org/protobuf/proto"
)

// Request is the id of a message a client sends. It is the same number in both encodings; on the wire protobuf adds 200 to it.
type Request int

// The requests the gateway answers, by IB's ids.
const (
	ReqMktData                Request = 1
	CancelMktData             Request = 2
	ReqOpenOrders             Request = 5
	ReqAccountUpdates         Request = 6
	ReqExecutions             Request = 7
	ReqIds                    Request = 8
	ReqContractDetails        Request = 9
	SetServerLogLevel         Request = 14
	ReqAutoOpenOrders         Request = 15
	ReqAllOpenOrders          Request = 16
	ReqManagedAccts           Request = 17
	ReqHistoricalData         Request = 20
	CancelHistoricalData      Request = 25
	ReqCurrentTime            Request = 49
	ReqRealTimeBars           Request = 50
	CancelRealTimeBars        Request = 51
	ReqMarketDataType         Request = 59
	ReqPositions              Request = 61
	CancelPositions           Request = 64
	StartAPI                  Request = 71
	ReqAccountUpdatesMulti    Request = 76
	CancelAccountUpdatesMulti Request = 77
	ReqMatchingSymbols        Request = 81
	ReqTickByTickData         Request = 97
	CancelTickByTickData      Request = 98
	ReqCompletedOrders        Request = 99
	ReqCurrentTimeInMillis    Request = 105
	CancelContractDetails     Request = 106
	ReqHeadTimestamp          Request = 87
	CancelHeadTimestamp       Request = 90
)

// The requests that would act on an order: counted, always refused.
const (
	PlaceOrder      Request = 3
	CancelOrder     Request = 4
	ExerciseOptions Request = 21
	GlobalCancel    Request = 58
)

// String returns IB's name of the request, or its number if IB has none.
func (r Request) String() string {
	if l, ok := layouts[r]; ok {
		return l.name
	}
	return "unknown(" + strconv.Itoa(int(r)) + ")"
}

// layout is what must be known of a request even if nothing answers it: an error has to carry its id.
type layout struct {
	name string
	id   int // position of the request id among the text fields, 0 if the request has none
}

var layouts = map[Request]layout{
	ReqMktData:                {"reqMktData", 2},
	CancelMktData:             {"cancelMktData", 2},
	PlaceOrder:                {"placeOrder", 1},
	CancelOrder:               {"cancelOrder", 2},
	ReqOpenOrders:             {"reqOpenOrders", 0},
	ReqAccountUpdates:         {"reqAccountUpdates", 0},
	ReqExecutions:             {"reqExecutions", 2},
	ReqIds:                    {"reqIds", 0},
	ReqContractDetails:        {"reqContractDetails", 2},
	10:                        {"reqMktDepth", 2},
	11:                        {"cancelMktDepth", 2},
	12:                        {"reqNewsBulletins", 0},
	13:                        {"cancelNewsBulletins", 0},
	SetServerLogLevel:         {"setServerLogLevel", 0},
	ReqAutoOpenOrders:         {"reqAutoOpenOrders", 0},
	ReqAllOpenOrders:          {"reqAllOpenOrders", 0},
	ReqManagedAccts:           {"reqManagedAccts", 0},
	18:                        {"requestFA", 0},
	19:                        {"replaceFA", 0},
	ReqHistoricalData:         {"reqHistoricalData", 1},
	ExerciseOptions:           {"exerciseOptions", 2},
	22:                        {"reqScannerSubscription", 1},
	23:                        {"cancelScannerSubscription", 2},
	24:                        {"reqScannerParameters", 0},
	CancelHistoricalData:      {"cancelHistoricalData", 2},
	ReqCurrentTime:            {"reqCurrentTime", 0},
	ReqRealTimeBars:           {"reqRealTimeBars", 2},
	CancelRealTimeBars:        {"cancelRealTimeBars", 2},
	52:                        {"reqFundamentalData", 2},
	53:                        {"cancelFundamentalData", 2},
	54:                        {"calculateImpliedVolatility", 2},
	55:                        {"calculateOptionPrice", 2},
	56:                        {"cancelCalculateImpliedVolatility", 2},
	57:                        {"cancelCalculateOptionPrice", 2},
	GlobalCancel:              {"reqGlobalCancel", 0},
	ReqMarketDataType:         {"reqMarketDataType", 0},
	ReqPositions:              {"reqPositions", 0},
	62:                        {"reqAccountSummary", 2},
	63:                        {"cancelAccountSummary", 2},
	CancelPositions:           {"cancelPositions", 0},
	65:                        {"verifyRequest", 0},
	66:                        {"verifyMessage", 0},
	67:                        {"queryDisplayGroups", 2},
	68:                        {"subscribeToGroupEvents", 2},
	69:                        {"updateDisplayGroup", 2},
	70:                        {"unsubscribeFromGroupEvents", 2},
	StartAPI:                  {"startApi", 0},
	72:                        {"verifyAndAuthRequest", 0},
	73:                        {"verifyAndAuthMessage", 0},
	74:                        {"reqPositionsMulti", 2},
	75:                        {"cancelPositionsMulti", 2},
	ReqAccountUpdatesMulti:    {"reqAccountUpdatesMulti", 2},
	CancelAccountUpdatesMulti: {"cancelAccountUpdatesMulti", 2},
	78:                        {"reqSecDefOptParams", 1},
	79:                        {"reqSoftDollarTiers", 1},
	80:                        {"reqFamilyCodes", 0},
	ReqMatchingSymbols:        {"reqMatchingSymbols", 1},
	82:                        {"reqMktDepthExchanges", 0},
	83:                        {"reqSmartComponents", 1},
	84:                        {"reqNewsArticle", 1},
	85:                        {"reqNewsProviders", 0},
	86:                        {"reqHistoricalNews", 1},
	ReqHeadTimestamp:          {"reqHeadTimestamp", 1},
	88:                        {"reqHistogramData", 1},
	89:                        {"cancelHistogramData", 1},
	CancelHeadTimestamp:       {"cancelHeadTimestamp", 1},
	91:                        {"reqMarketRule", 0},
	92:                        {"reqPnL", 1},
	93:                        {"cancelPnL", 1},
	94:                        {"reqPnLSingle", 1},
	95:                        {"cancelPnLSingle", 1},
	96:                        {"reqHistoricalTicks", 1},
	ReqTickByTickData:         {"reqTickByTickData", 1},
	CancelTickByTickData:      {"cancelTickByTickData", 1},
	ReqCompletedOrders:        {"reqCompletedOrders", 0},
	100:                       {"reqWshMetaData", 1},
	101:                       {"cancelWshMetaData", 1},
	102:                       {"reqWshEventData", 1},
	103:                       {"cancelWshEventData", 1},
	104:                       {"reqUserInfo", 1},
	ReqCurrentTimeInMillis:    {"reqCurrentTimeInMillis", 0},
	CancelContractDetails:     {"cancelContractData", 1},
	107:                       {"cancelHistoricalTicks", 1},
	108:                       {"reqConfig", 1},
	109:                       {"updateConfig", 1},
}

// request is one decoded message of a client.
type request struct {
	id    Request
	reqID int32         // -1 if the request carries none
	body  proto.Message // nil if nothing answers this request
	query *query        // of a historical request that has been understood, and holds an openQuery
}

// actsOnOrders tells whether the request would place, change, cancel or exercise something.
func (r request) actsOnOrders() bool {
	switch r.id {
	case PlaceOrder, CancelOrder, ExerciseOptions, GlobalCancel:
		return true
	}
	return false
}

// codec translates between IB's protobuf messages, in which the simulation thinks, and one encoding of the wire.
// It holds no state: faults encode from other goroutines.
type codec interface {
	// decode reads the payload of one frame. With an error, what could be read of the request is returned with it.
	decode(payload []byte) (request, error)
	// append adds m as one or more whole frames.
	append(dst []byte, m proto.Message) []byte
}

func codecFor(version int) codec {
	if version >= minProtobuf {
		return protoCodec{}
	}
	return textCodec{}
}
