package gateway

import (
	"encoding/binary"
	"fmt"

	"github.com/scmhub/ibapi/protobuf"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// protobufOffset is added to a message id when its body is protobuf.
const protobufOffset = 200

// protoCodec is the encoding of server versions 213 and later: a 32 bit message id, then a protobuf body.
type protoCodec struct{}

func (protoCodec) decode(payload []byte) (request, error) {
	if len(payload) < headerSize {
		return request{reqID: -1}, fmt.Errorf("%w: %d bytes, a message id has %d", errFrame, len(payload), headerSize)
	}
	wire, body := binary.BigEndian.Uint32(payload), payload[headerSize:]
	if wire <= protobufOffset || wire > protobufOffset+1000 {
		return request{id: Request(wire), reqID: -1}, nil
	}
	req := request{id: Request(wire - protobufOffset), reqID: -1}
	if layouts[req.id].id > 0 {
		req.reqID = firstField(body)
	}
	if make := protoRequests[req.id]; make != nil {
		req.body = make()
		if err := proto.Unmarshal(body, req.body); err != nil {
			return req, fmt.Errorf("body of %s: %w", req.id, err)
		}
	}
	return req, nil
}

// firstField returns field 1 of a body, which holds the request id in every request that has one; -1 if it is absent.
func firstField(body []byte) int32 {
	for len(body) > 0 {
		number, kind, n := protowire.ConsumeTag(body)
		if n < 0 {
			return -1
		}
		body = body[n:]
		if number == 1 && kind == protowire.VarintType {
			if v, n := protowire.ConsumeVarint(body); n > 0 {
				return int32(v)
			}
			return -1
		}
		if n = protowire.ConsumeFieldValue(number, kind, body); n < 0 {
			return -1
		}
		body = body[n:]
	}
	return -1
}

var protoRequests = map[Request]func() proto.Message{
	StartAPI:                  func() proto.Message { return &protobuf.StartApiRequest{} },
	ReqMktData:                func() proto.Message { return &protobuf.MarketDataRequest{} },
	CancelMktData:             func() proto.Message { return &protobuf.CancelMarketData{} },
	ReqMarketDataType:         func() proto.Message { return &protobuf.MarketDataTypeRequest{} },
	ReqTickByTickData:         func() proto.Message { return &protobuf.TickByTickRequest{} },
	CancelTickByTickData:      func() proto.Message { return &protobuf.CancelTickByTick{} },
	ReqRealTimeBars:           func() proto.Message { return &protobuf.RealTimeBarsRequest{} },
	CancelRealTimeBars:        func() proto.Message { return &protobuf.CancelRealTimeBars{} },
	ReqHistoricalData:         func() proto.Message { return &protobuf.HistoricalDataRequest{} },
	CancelHistoricalData:      func() proto.Message { return &protobuf.CancelHistoricalData{} },
	ReqHeadTimestamp:          func() proto.Message { return &protobuf.HeadTimestampRequest{} },
	CancelHeadTimestamp:       func() proto.Message { return &protobuf.CancelHeadTimestamp{} },
	ReqContractDetails:        func() proto.Message { return &protobuf.ContractDataRequest{} },
	CancelContractDetails:     func() proto.Message { return &protobuf.CancelContractData{} },
	ReqMatchingSymbols:        func() proto.Message { return &protobuf.MatchingSymbolsRequest{} },
	ReqAccountUpdates:         func() proto.Message { return &protobuf.AccountDataRequest{} },
	ReqExecutions:             func() proto.Message { return &protobuf.ExecutionRequest{} },
	ReqAccountUpdatesMulti:    func() proto.Message { return &protobuf.AccountUpdatesMultiRequest{} },
	CancelAccountUpdatesMulti: func() proto.Message { return &protobuf.CancelAccountUpdatesMulti{} },
	ReqCurrentTime:            func() proto.Message { return &protobuf.CurrentTimeRequest{} },
	ReqCurrentTimeInMillis:    func() proto.Message { return &protobuf.CurrentTimeInMillisRequest{} },
	ReqIds:                    func() proto.Message { return &protobuf.IdsRequest{} },
	ReqManagedAccts:           func() proto.Message { return &protobuf.ManagedAccountsRequest{} },
	SetServerLogLevel:         func() proto.Message { return &protobuf.SetServerLogLevelRequest{} },
	ReqOpenOrders:             func() proto.Message { return &protobuf.OpenOrdersRequest{} },
	ReqAllOpenOrders:          func() proto.Message { return &protobuf.AllOpenOrdersRequest{} },
	ReqAutoOpenOrders:         func() proto.Message { return &protobuf.AutoOpenOrdersRequest{} },
	ReqCompletedOrders:        func() proto.Message { return &protobuf.CompletedOrdersRequest{} },
	ReqPositions:              func() proto.Message { return &protobuf.PositionsRequest{} },
	CancelPositions:           func() proto.Message { return &protobuf.CancelPositions{} },
}

func (p protoCodec) append(dst []byte, m proto.Message) []byte {
	if h, ok := m.(*history); ok {
		return p.append(p.append(dst, h.HistoricalData), h.end)
	}
	return appendFrame(dst, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint32(b, replyID(m)+protobufOffset)
		b, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(b, m)
		if err != nil {
			panic(fmt.Sprintf("invariant: a reply does not encode: %v", err))
		}
		return b
	})
}

// replyID returns IB's id of a message that the gateway sends.
func replyID(m proto.Message) uint32 {
	switch m.(type) {
	case *protobuf.TickPrice:
		return 1
	case *protobuf.TickSize:
		return 2
	case *protobuf.ErrorMessage:
		return 4
	case *protobuf.NextValidId:
		return 9
	case *protobuf.ContractData:
		return 10
	case *protobuf.ManagedAccounts:
		return 15
	case *protobuf.HistoricalData:
		return 17
	case *protobuf.TickGeneric:
		return 45
	case *protobuf.TickString:
		return 46
	case *protobuf.CurrentTime:
		return 49
	case *protobuf.RealTimeBarTick:
		return 50
	case *protobuf.ContractDataEnd:
		return 52
	case *protobuf.OpenOrdersEnd:
		return 53
	case *protobuf.AccountDataEnd:
		return 54
	case *protobuf.ExecutionDetailsEnd:
		return 55
	case *protobuf.TickSnapshotEnd:
		return 57
	case *protobuf.MarketDataType:
		return 58
	case *protobuf.PositionEnd:
		return 62
	case *protobuf.AccountUpdateMultiEnd:
		return 74
	case *protobuf.SymbolSamples:
		return 79
	case *protobuf.TickReqParams:
		return 81
	case *protobuf.HeadTimestamp:
		return 88
	case *protobuf.HistoricalDataUpdate:
		return 90
	case *protobuf.TickByTickData:
		return 99
	case *protobuf.CompletedOrdersEnd:
		return 102
	case *protobuf.HistoricalDataEnd:
		return 108
	case *protobuf.CurrentTimeInMillis:
		return 109
	}
	panic(fmt.Sprintf("invariant: the simulation sent a %T, which has no id", m))
}
