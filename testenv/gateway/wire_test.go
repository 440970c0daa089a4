package gateway

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/scmhub/ibapi/protobuf"
	"google.golang.org/protobuf/proto"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The bytes were captured from sessions with the real library.
const (
	helloLibrary = "41504900 00000009 763130302e2e323235"
	helloPaced   = "41504900 00000012 763130302e2e323235202b50414345415049"
	startText    = "00000008 3731003200370000"
	startProto   = "00000006 0000010f 0807"
)

func TestGreetingIsByteForByteWhatClientsAreKnownToAccept(t *testing.T) {
	notice := "4d61726b6574206461746120666172" + "6d20636f6e6e656374696f6e206973204f4b3a75736661726d" // Market data farm connection is OK:usfarm
	cases := []struct {
		name         string
		version      int
		hello, start string
		reply        string
		first        []string // the frames after startApi that are compared, in order
		last         string
	}{
		{
			"text 176", 176, helloPaced, startText,
			"0000001a 31373600 32303234303130352031303a30303a30302045535400",
			[]string{"0000000f 31350031004455313233343536370 0", "00000036 34003200 2d3100 3231303400" + notice + "0000"},
			"00000006 390031003100",
		},
		{
			"protobuf 225", 225, helloLibrary, startProto,
			"0000001a 32323500 32303234303130352031303a30303a30302045535400",
			// errorTime, field 2, is 1704466800000.
			[]string{"0000000f 000000d7 0a09445531323334353637", "00000043 000000cc 08ffffffffffffffffff01 1080bb8dd1cd31 18b810 2228" + notice},
			"00000006 000000d1 0801",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			at := time.Date(2024, 1, 5, 15, 0, 0, 0, time.UTC)
			g := Start(t, Config{
				ServerVersion: c.version, Location: time.FixedZone("EST", -5*3600), Now: func() time.Time { return at },
			})
			conn, err := net.Dial("tcp", g.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(stopTimeout))
			write := func(s string) {
				t.Helper()
				if _, err := conn.Write(unhex(t, s)); err != nil {
					t.Fatal(err)
				}
			}
			want := func(s string) {
				t.Helper()
				wanted := unhex(t, s)
				got := make([]byte, len(wanted))
				if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, wanted) {
					t.Fatalf("read %x, %v,\nwant %x", got, err, wanted)
				}
			}
			write(c.hello)
			want(c.reply)
			write(c.start)
			for _, frame := range c.first {
				want(frame)
			}
			for range 2 { // the other farms
				if _, err := readFrame(conn, maxRequest); err != nil {
					t.Fatal(err)
				}
			}
			want(c.last)
		})
	}
}

func TestRequestsAreDecodedFromCapturedBytes(t *testing.T) {
	aapl := &protobuf.Contract{
		ConId: new(int32(0)), Symbol: new("AAPL"), SecType: new("STK"), Strike: new(0.0),
		Exchange: new("SMART"), PrimaryExch: new("NASDAQ"), Currency: new("USD"),
	}
	text := func(fields string) []byte { return []byte(strings.ReplaceAll(fields, "|", "\x00")) }
	cases := []struct {
		name    string
		codec   codec
		payload []byte
		id      Request
		reqID   int32
		body    proto.Message // nil: not compared
	}{
		{"startApi text", textCodec{}, unhex(t, startText)[4:], StartAPI, -1, nil},
		{"reqMktData text", textCodec{}, text("1|11|1|0|AAPL|STK||0|||SMART|NASDAQ|USD|||0|233|0|0||"), ReqMktData, 1, nil},
		{"reqMktData of a combination", textCodec{}, text("1|11|4||X|BAG||||||||||2|11|1|BUY|SMART|12|1|SELL|SMART|0|233|1|0||"), ReqMktData, 4, nil},
		{"reqRealTimeBars text", textCodec{}, text("50|3|3|0|AAPL|STK||0.0|||SMART|NASDAQ|USD|||5|TRADES|1||"), ReqRealTimeBars, 3, nil},
		{
			"reqMktData protobuf",
			protoCodec{},
			unhex(t, "000000c9 0801 122a08001204"+"4141504c 1a0353544b 290000000000000000 4205534d415254 4a064e4153444151 5203555344 1a03323333"),
			ReqMktData, 1, &protobuf.MarketDataRequest{ReqId: new(int32(1)), Contract: aapl, GenericTickList: new("233")},
		},
		{"cancelMktData protobuf", protoCodec{}, unhex(t, "000000ca 0801"), CancelMktData, 1, &protobuf.CancelMarketData{ReqId: new(int32(1))}},
		{"reqCurrentTime protobuf", protoCodec{}, unhex(t, "000000f9"), ReqCurrentTime, -1, &protobuf.CurrentTimeRequest{}},
		{"reqCurrentTimeInMillis protobuf", protoCodec{}, unhex(t, "00000131"), ReqCurrentTimeInMillis, -1, &protobuf.CurrentTimeInMillisRequest{}},
		{"reqMarketDataType protobuf", protoCodec{}, unhex(t, "00000103 0803"), ReqMarketDataType, -1, &protobuf.MarketDataTypeRequest{MarketDataType: new(int32(3))}},
		{
			"reqHeadTimestamp text",
			textCodec{},
			text("87|4|0|AAPL|STK||0.0|||SMART|NASDAQ|USD|||0|1|TRADES|2|"),
			ReqHeadTimestamp, 4, nil,
		},
		{"cancelHeadTimestamp text", textCodec{}, text("90|4|"), CancelHeadTimestamp, 4, &protobuf.CancelHeadTimestamp{ReqId: new(int32(4))}},
		{"reqPnL protobuf, not answered", protoCodec{}, unhex(t, "00000124 0809"), 92, 9, nil},
		{"placeOrder text, not answered", textCodec{}, text("3|17|0|AAPL|"), PlaceOrder, 17, nil},
	}
	for _, c := range cases {
		req, err := c.codec.decode(c.payload)
		if err != nil || req.id != c.id || req.reqID != c.reqID {
			t.Errorf("%s: decode = %v id %d, %v, want %v id %d", c.name, req.id, req.reqID, err, c.id, c.reqID)
		}
		if c.body != nil && !proto.Equal(req.body, c.body) {
			t.Errorf("%s: body = %v, want %v", c.name, req.body, c.body)
		}
	}
	req, _ := textCodec{}.decode(cases[1].payload)
	if m := req.body.(*protobuf.MarketDataRequest); m.GetContract().GetPrimaryExch() != "NASDAQ" || m.GetGenericTickList() != "233" || m.GetSnapshot() {
		t.Errorf("reqMktData text = %v", m)
	}
	req, _ = textCodec{}.decode(cases[2].payload)
	if m := req.body.(*protobuf.MarketDataRequest); m.GetGenericTickList() != "233" || !m.GetSnapshot() {
		t.Errorf("reqMktData of a combination = %v, want generic ticks 233 and a snapshot", m)
	}
	req, _ = textCodec{}.decode(cases[3].payload)
	if m := req.body.(*protobuf.RealTimeBarsRequest); m.GetBarSize() != 5 || m.GetWhatToShow() != "TRADES" || !m.GetUseRTH() {
		t.Errorf("reqRealTimeBars text = %v", m)
	}
}

func TestHeadTimestampsAreReadAndWritten(t *testing.T) {
	text := []byte(strings.ReplaceAll("87|4|0|AAPL|STK||0.0|||SMART|NASDAQ|USD|||0|1|TRADES|2|", "|", "\x00"))
	req, err := textCodec{}.decode(text)
	m, ok := req.body.(*protobuf.HeadTimestampRequest)
	if err != nil || !ok || m.GetContract().GetSymbol() != "AAPL" || !m.GetUseRTH() || m.GetWhatToShow() != "TRADES" || m.GetFormatDate() != 2 {
		t.Errorf("reqHeadTimestamp text = %v, %v", req.body, err)
	}
	reply := &protobuf.HeadTimestamp{ReqId: new(int32(4)), HeadTimestamp: new("345479400")}
	if got := string(textCodec{}.append(nil, reply)[4:]); got != "88\x004\x00345479400\x00" {
		t.Errorf("headTimestamp text = %q", got)
	}
	if got := (protoCodec{}).append(nil, reply)[4:8]; string(got) != "\x00\x00\x01\x20" {
		t.Errorf("headTimestamp protobuf begins with %x, want 288", got)
	}
}

func TestVersionIsNegotiatedAsRealGatewaysDo(t *testing.T) {
	cases := []struct {
		own   int
		hello string
		want  int // 0: close
	}{
		{225, "v100..225", 225},
		{225, "v100..225 +PACEAPI", 225},
		{225, "v213..225", 225},
		{225, "v100..999", 225},
		{225, "v100..220", 220},
		{215, "v100..225", 215},
		{225, "v100..193", 176},
		{225, "v157..178", 176},
		{200, "v100..225", 176},
		{176, "v100..225", 176},
		{176, "v176", 176},
		{225, "v225", 225},
		{176, "v213..225", 0},
		{225, "v180..193", 0},
		{225, "v100..175", 0},
		{225, "v226..230", 0},
	}
	for _, c := range cases {
		h, err := parseHello(c.hello)
		if err != nil {
			t.Errorf("parseHello(%q) = %v", c.hello, err)
			continue
		}
		version, ok := negotiate(c.own, h)
		if !ok {
			version = 0
		}
		if version != c.want {
			t.Errorf("negotiate(%d, %q) = %d, want %d", c.own, c.hello, version, c.want)
		}
	}
}

func TestClientThatTakesNothingIsCutOff(t *testing.T) {
	g := Start(t, Config{TicksPerSecond: maxTicksPerSecond, writeTimeout: 50 * time.Millisecond})
	conn, err := net.Dial("tcp", g.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, s := range []string{helloLibrary, startProto, "0000000c 000000c9 0801 1204 08fe9a10"} { // the last is reqMktData of AAPL
		if _, err := conn.Write(unhex(t, s)); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(stopTimeout); g.Stats().Ended[NotReading] == 0; {
		if time.Now().After(deadline) {
			t.Fatalf("a client that reads nothing is still served: %+v", g.Stats())
		}
		<-time.After(time.Millisecond)
	}
}

func FuzzHelloIsReadOrRefused(f *testing.F) {
	for _, s := range []string{helloLibrary, helloPaced, "41504900 00000000", "41504900 ffffffff", "00000005 3439003100", "4150"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHello(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return
		}
		if !bytes.HasPrefix(b, []byte(magic)) {
			t.Errorf("readHello(%x) accepted foreign bytes", b)
		}
		if v, ok := negotiate(maxProtobuf, h); ok && (v > h.max || v < h.min || v > textVersion && v < minProtobuf) {
			t.Errorf("negotiate(%+v) = %d, outside of what either side speaks", h, v)
		}
	})
}

func FuzzFramesAreBoundedAndRequestsNeverPanic(f *testing.F) {
	f.Add(unhex(f, startText), false)
	f.Add(unhex(f, startProto), true)
	f.Add(unhex(f, "ffffffff 00"), true)
	f.Add(unhex(f, "00000000"), false)
	f.Add(appendFrame(nil, func(b []byte) []byte {
		return append(b, "1\x0011\x004\x00\x00X\x00BAG\x00\x00\x00\x00\x00\x00\x00\x00\x00\x002147483647\x00"...)
	}), false)
	f.Fuzz(func(t *testing.T, b []byte, binary bool) {
		c := codec(textCodec{})
		if binary {
			c = protoCodec{}
		}
		for r := bytes.NewReader(b); ; {
			payload, err := readFrame(r, 1<<10)
			if err != nil {
				return
			}
			if len(payload) > 1<<10 {
				t.Fatalf("readFrame returned %d bytes, its limit is %d", len(payload), 1<<10)
			}
			if req, err := c.decode(payload); err == nil && req.body != nil && layouts[req.id].name == "" {
				t.Errorf("request %d has a body but no name", req.id)
			}
		}
	})
}

func TestEveryRequestThatHasABodyHasItInBothEncodings(t *testing.T) {
	for id := range protoRequests {
		// IB has these two only where messages are protobuf.
		if textRequests[id] == nil && id != ReqCurrentTimeInMillis && id != CancelContractDetails {
			t.Errorf("%v has no text form", id)
		}
	}
	for id := range textRequests {
		if protoRequests[id] == nil {
			t.Errorf("%v has no protobuf form", id)
		}
	}
}
