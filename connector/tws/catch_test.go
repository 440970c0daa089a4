package tws

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
)

// TestWhatMayBeSentIsThisList repeats the list on purpose: whoever adds to the
// one has to come here and add to the other.
func TestWhatMayBeSentIsThisList(t *testing.T) {
	want := []string{
		"cancelHeadTimestamp", "cancelHistoricalData", "cancelMktData", "cancelRealTimeBars", "cancelTickByTickData",
		"reqContractDetails", "reqCurrentTime", "reqCurrentTimeInMillis", "reqHeadTimestamp", "reqHistoricalData", "reqIds",
		"reqManagedAccts", "reqMarketDataType", "reqMatchingSymbols", "reqMktData", "reqRealTimeBars", "reqTickByTickData",
		"setServerLogLevel", "startApi",
	}
	var got []string
	for id := range allowed {
		got = append(got, requestNames[id])
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("allowed are\n%q\nwant\n%q", got, want)
	}
}

func TestAnIDIsReadAsAGatewayReadsIt(t *testing.T) {
	for _, c := range []struct {
		payload  string
		raw      bool
		id       int
		protobuf bool
	}{
		{"3\x00rest", false, 3, false},
		{"003\x00rest", false, 3, false},
		{"203\x00rest", false, 203, false},
		{"3", false, -1, false},
		{"\x00", false, -1, false},
		{"", false, -1, false},
		{"+3\x00", false, -1, false},
		{" 49\x00", false, -1, false},
		{"0000000049\x00", false, -1, false},
		{"\x00\x00\x00\x03", true, 3, false},
		{"\x00\x00\x00\xc8", true, 200, false},
		{"\x00\x00\x00\xcb", true, 3, true},
		{"\x00\x00\x01", true, -1, false},
		{"\xff\xff\xff\xff", true, 0xffffffff - 200, true},
	} {
		if id, _, protobuf := messageID([]byte(c.payload), c.raw); id != c.id || protobuf != c.protobuf {
			t.Errorf("messageID(%q, %v) = %d, %v, want %d, %v", c.payload, c.raw, id, protobuf, c.id, c.protobuf)
		}
	}
}

// TestNothingElsePassesTheSafetyCatch sends one frame of every message that
// IB's API has through a tap, in each of the three encodings of an id.
func TestNothingElsePassesTheSafetyCatch(t *testing.T) {
	encodings := map[string]func(id int) []byte{
		"text":     func(id int) []byte { return text(id, 1) },
		"raw":      func(id int) []byte { return frame(binary.BigEndian.AppendUint32(nil, uint32(id))) },
		"protobuf": func(id int) []byte { return frame(binary.BigEndian.AppendUint32(nil, uint32(id+200))) },
	}
	for name, encode := range encodings {
		t.Run(name, func(t *testing.T) {
			leakFree(t)
			p, tap := tapped(t)
			tap.raw = name != "text"
			var refused, want, passed []int
			tap.refuse = func(id, size int) { refused = append(refused, id) }
			for id := 1; id < 200; id++ {
				tap.forward(encode(id))
				if allowed[id] {
					passed = append(passed, id)
				} else {
					want = append(want, id)
				}
			}
			tap.hangUp()
			frames, _ := cutUp(newFramer(p.conn, inbound, minText, maxPayload))
			var got []int
			for _, f := range frames {
				id, _, _ := messageID(f[headerSize:], tap.raw)
				got = append(got, id)
			}
			if !slices.Equal(got, passed) {
				t.Errorf("passed are %v, want %v", got, passed)
			}
			if !slices.Equal(refused, want) {
				t.Errorf("refused are %v, want %v", refused, want)
			}
		})
	}
}

func TestAFrameWithoutAReadableIDIsRefused(t *testing.T) {
	leakFree(t)
	p, tap := tapped(t)
	var refused []string
	tap.refuse = func(id, size int) { refused = append(refused, fmt.Sprint(id, " ", size)) }
	tap.forward(frame([]byte("x\x00")))
	tap.forward(frame([]byte("49")))
	tap.hangUp()
	if frames, _ := cutUp(newFramer(p.conn, inbound, minText, maxPayload)); len(frames) != 0 {
		t.Errorf("passed is %q, want nothing", frames)
	}
	if want := []string{"-1 2", "-1 2"}; !slices.Equal(refused, want) {
		t.Errorf("refused are %q, want %q", refused, want)
	}
}
