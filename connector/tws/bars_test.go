package tws

import (
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"

	"ibconn/connector"
	"ibconn/events"
	"ibconn/testenv/gateway"

	"github.com/scmhub/ibapi"
)

// TestBarsComeAlikeInBothEncodings holds what a gateway sends of the past
// against what is made of it, whatever it speaks.
func TestBarsComeAlikeInBothEncodings(t *testing.T) {
	now := time.Date(2026, 11, 25, 18, 0, 0, 0, time.UTC)
	queries := []events.BarQuery{
		{Duration: "600 S", BarSize: "1 min", What: "TRADES", End: now.Add(-time.Hour)},
		{Duration: "1 D", BarSize: "5 mins", What: "MIDPOINT", RTH: true},
		{Duration: "1 W", BarSize: "1 day", What: "TRADES"},
		{Duration: "60 S", BarSize: "5 secs", What: "BID_ASK"},
	}
	answers := make(map[int][]connector.Brought)
	for _, version := range []int{176, 213, 225} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			leakFree(t)
			gw := gateway.Start(t, gateway.Config{ServerVersion: version, Now: func() time.Time { return now }})
			a := begin(t, new(Dialer), gw.Addr(), 1)
			a.opened()
			for i, q := range queries {
				id := firstID + int64(i)
				a.session.Send(connector.Message{ID: id, Priority: connector.PriorityRequest, Request: connector.HistoricalBars{
					Contract: events.Contract{ConID: 265598, Symbol: "AAPL", SecType: "STK", Exchange: "SMART", Currency: "USD"}, Query: q,
				}})
				b := await(a, func(in connector.Brought) bool { return in.ID == id })
				if b.Attempt != 1 || b.Total != len(b.Bars) {
					t.Errorf("%+v: brought in attempt %d, %d of %d, want attempt 1 and all", q, b.Attempt, len(b.Bars), b.Total)
				}
				answers[version] = append(answers[version], b)
			}
			id := int64(firstID + 9)
			a.session.Send(connector.Message{ID: id, Priority: connector.PriorityRequest, Request: connector.HistoricalBars{
				Contract: events.Contract{ConID: 265598, Exchange: "SMART"}, Query: events.BarQuery{Duration: "60 S", BarSize: "1 min", What: "TRADES", End: time.Date(1950, 1, 2, 0, 0, 0, 0, time.UTC)},
			}})
			if got := await(a, func(in connector.Noticed) bool { return in.RequestID == id }); events.ReadNotice(got.Code, got.Message).Class != events.ClassNoData {
				t.Errorf("a span without data is answered %d %s, want that there is none", got.Code, got.Message)
			}
		})
	}
	if t.Failed() {
		return
	}
	got := answers[176]
	for i, want := range []struct {
		n           int
		first, last string
	}{
		{10, "2026-11-25T16:50:00Z", "2026-11-25T16:59:00Z"},
		{len(got[1].Bars), got[1].Bars[0].Time, "2026-11-25T17:55:00Z"},
		{len(got[2].Bars), got[2].Bars[0].Time, "2026-11-25"},
		{12, "2026-11-25T17:59:00Z", "2026-11-25T17:59:55Z"},
	} {
		bars := got[i].Bars
		if len(bars) != want.n || bars[0].Time != want.first || bars[len(bars)-1].Time != want.last {
			t.Errorf("query %d brought %d bars from %s to %s, want %+v", i, len(bars), bars[0].Time, bars[len(bars)-1].Time, want)
		}
		for _, b := range bars {
			if b.Open == "" || b.High == "" || b.Low == "" || b.Close == "" {
				t.Errorf("query %d brought %+v, want four prices", i, b)
			}
		}
	}
	if b := got[0].Bars[0]; b.Volume == "" || b.WAP == "" || b.Count == 0 {
		t.Errorf("a bar of trades is %+v, want volume, average and count", b)
	}
	for _, version := range []int{213, 225} {
		if !reflect.DeepEqual(answers[version], got) {
			t.Errorf("version %d brings\n%+v, and 176\n%+v", version, answers[version], got)
		}
	}
}

// TestACancelledQueryIsOpenNoMore has IB's 51st query answered because the
// others were cancelled.
func TestACancelledQueryIsOpenNoMore(t *testing.T) {
	leakFree(t)
	gw := gateway.Start(t, gateway.Config{HistoryPacing: true})
	a := begin(t, new(Dialer), gw.Addr(), 1)
	a.opened()
	query := events.BarQuery{End: time.Date(2026, 3, 4, 16, 0, 0, 0, time.UTC), Duration: "600 S", BarSize: "1 min", What: "TRADES"}
	ask := func(id int64) {
		a.session.Send(connector.Message{ID: id, Priority: connector.PriorityRequest, Request: connector.HistoricalBars{
			Contract: events.Contract{ConID: 265598, Exchange: "SMART"}, Query: query,
		}})
	}
	gw.On(gateway.ReqHistoricalData, 50, gateway.Hold())
	for id := range int64(50) {
		ask(firstID + id)
		if got := a.outcome(firstID + id); got != connector.OutcomeSent {
			t.Fatalf("query %d was %s, want sent", id, got)
		}
	}
	for id := range int64(50) {
		a.session.Send(connector.Message{ID: firstID + 100 + id, Priority: connector.PriorityCancel, Request: connector.CancelBars{Of: firstID + id}})
	}
	ask(firstID + 200)
	if b := await(a, func(in connector.Brought) bool { return in.ID == firstID+200 }); b.Total != 10 {
		t.Errorf("the query behind 50 cancelled ones brought %d bars, want 10", b.Total)
	}
	if n := gw.Stats().Pacing[gateway.FiftyOpen]; n != 0 {
		t.Errorf("%d queries were more than IB has open, want none", n)
	}
}

func TestBarsAreWordedAsTheyCame(t *testing.T) {
	for in, want := range map[string]string{"20261125": "2026-11-25", "1795629600": "2026-11-25T18:00:00Z", "": "", "20261125 12:00:00 UTC": "20261125 12:00:00 UTC", "99999999999999999999": "99999999999999999999"} {
		if got := barTime(in); got != want {
			t.Errorf("barTime(%q) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[float64]string{0: "0", -0.05: "-0.05", 1.08435: "1.08435", 4503.25: "4503.25", ibapi.UNSET_FLOAT: "", math.Inf(1): "", 1e300: "1e+300"} {
		if got := price(in); got != want {
			t.Errorf("price(%v) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{"-1": "", "": "", "0": "0", "1234.5": "1234.5", "0.0000001": "0.0000001"} {
		if got := amount(ibapi.StringToDecimal(in)); got != want {
			t.Errorf("amount(%q) = %q, want %q", in, got, want)
		}
	}
}
