// Package tws opens sessions with a TWS or IB Gateway. It is the only package
// that knows github.com/scmhub/ibapi.
//
// The one idea: that library encodes and decodes well and must not own a
// socket. So each session has a client of the library of its own, behind a tap:
//
//	gateway <--TCP--> tap <--loopback--> ibapi.EClient --callbacks--> queue --> report
//
// The tap dials the gateway and greets it; only then is the library brought up,
// on a connection within this process that it takes for the gateway's. Whole
// frames are passed on, both ways, and everything else follows from that: the
// tap knows when the last byte came and why the socket ended, keeps the last
// frames for the record, and holds back what ibconn must not send.
//
//	d := &tws.Dialer{ConnectOptions: "+PACEAPI"}
//	s := d.Attempt(connector.Order{Attempt: 1, Endpoint: "localhost:4002", ClientID: 7})
//	s.Run(ctx, report) // until the session or ctx ends
//
// # What it guarantees
//
//   - Reports come in order, from one goroutine, and never make the library
//     wait. When they cannot be taken as fast as they come, the session ends
//     with CauseOverrun; none is dropped in silence.
//   - Every message that arrived whole before the socket ended is reported
//     before Ended, and Ended at once after the last of them.
//   - When Run returns nothing of the session is left: no goroutine, no socket.
//     Where the library does not let go in time that is reported as Abandoned,
//     and counted.
//   - Bytes count as life of the session only while they make messages: a frame
//     that is not complete within FrameTimeout ends it as garbled.
//   - No message leaves but those on the list in catch.go.
//   - What a subscription brings is delivered in the order in which it came, numbered
//     without a gap, from the goroutine that decodes, which waits for nobody.
//     Nothing of it is delivered once its cancel left.
//   - The same data in text and in protobuf is delivered the same, to the byte.
//   - What a gateway sends can end a session, and not the process. Two things
//     are beyond the tap, as it decodes nothing: ibapi prints a malformed number
//     to the standard output, and allocates as many elements as a message says
//     that it has.
//
// # Non-obvious
//
// Marks. The library tells nobody when it has decoded what it read or written
// what it was asked to. A mark does: a message of the session's own that comes
// out at the other end behind everything before it. With one inward and one
// outward the library is known to run before the gateway's first byte reaches
// it, and to be idle when its stream ends. Of what goes wrong with it otherwise,
// nearly all needs it to be neither: it loses up to 300 messages when a stream
// ends behind them, resets a WaitGroup under goroutines that are still starting
// or still at work, blocks callers for ever, and re-dials after a failed write
// to send requests on a connection that was never greeted.
//
// Contracts. What fits a description comes one by one and is reported as one
// piece of news, since it may be a chain of ten thousand options, of which the
// first are kept and the rest counted. Sizes come through the library's decimal,
// which has seven places: a smaller step is left out.
//
// History. Bars come one by one and are reported as one piece of news, bounded
// as contracts are. Prices come as 64-bit floats in both encodings, and are
// worded by the shortest text that is the same float. Volumes and averages come
// through the library's decimal: seven places, 11 digits before the point, and
// a larger one is taken for unset. The -1 of what is not traded is left out.
//
// Subscriptions. The price and the size of a bid, ask or last are one message of
// the gateway's and are delivered as one tick, though the library parts them. A
// price of -1 with no size is IB's word for a quote that is not there: it is left
// out. Any other -1 is a price. What the library takes for 0 in protobuf and for
// none in text, a size that is not there, is none in both. The type of market
// data is told as a tick of its own (market_data_type); the parameters that come
// before a quote's ticks are not: contract details have them. Neither counts as
// data. IB's type of market data holds for all later requests of a session, so a
// subscription that wants another one is preceded by reqMarketDataType, in a turn of
// its own. A cancel of what still waits for its turn is reported as expired, and
// so is what it cancels: neither leaves. A subscription that the gateway refused is
// kept until it is cancelled, since some errors pass.
//
// The library's client is never asked to Disconnect, which hangs or crashes in
// several ways. Its stream ends, and it lets go by itself.
//
// The library's port is open to every program on the machine for a moment. The
// library is told by a password in the options of its hello, which ends at the
// tap, and the port is closed as soon as it was let in.
//
// Importing ibapi sets the global level of zerolog to Info for the whole
// process. A program that wants another has to set it itself. The library's own
// logger is silenced here.
package tws
