package tws

import (
	"fmt"
	"testing"
	"time"

	"ibconn/connector"
	"ibconn/events"
	"ibconn/testenv/gateway"

	"github.com/scmhub/ibapi"
)

// firstID is where the ids of these tests' requests begin.
const firstID = 1 << 28

func described(t testing.TB, a *attempt, id int64, contract string) connector.Described {
	t.Helper()
	c, err := events.ParseContract(contract)
	if err != nil {
		t.Fatal(err)
	}
	a.session.Send(connector.Message{ID: id, Priority: connector.PriorityRequest, Request: connector.ContractDetails{Contract: c}})
	if got := a.outcome(id); got != connector.OutcomeSent {
		t.Errorf("the request for %s was %s, want sent", contract, got)
	}
	return await(a, func(in connector.Described) bool { return in.ID == id })
}

// TestContractsAreDescribedAlikeInBothEncodings holds what a gateway says of
// contracts against what is made of it, whatever it speaks.
func TestContractsAreDescribedAlikeInBothEncodings(t *testing.T) {
	noon := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	answers := make(map[int][]connector.Described)
	for _, version := range []int{176, 213, 225} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			leakFree(t)
			gw := gateway.Start(t, gateway.Config{ServerVersion: version, Now: func() time.Time { return noon }})
			a := begin(t, new(Dialer), gw.Addr(), 1)
			a.opened()
			for i, contract := range []string{"AAPL", "EUR.USD", "ES@CME 202612", `{"symbol":"ES","sec_type":"FUT","exchange":"CME"}`, "756733"} {
				d := described(t, a, firstID+int64(i), contract)
				if d.Attempt != 1 {
					t.Errorf("%s: described in attempt %d, want attempt 1", contract, d.Attempt)
				}
				answers[version] = append(answers[version], d)
			}
			a.session.Send(connector.Message{ID: firstID + 9, Priority: connector.PriorityRequest, Request: connector.ContractDetails{Contract: events.Contract{Symbol: "NOPE"}}})
			if got := await(a, func(in connector.Noticed) bool { return in.RequestID == firstID+9 }); got.Code != 200 {
				t.Errorf("a contract that there is not is answered by %d, want 200", got.Code)
			}
		})
	}
	if t.Failed() {
		return
	}
	got := answers[176]
	apple := events.ContractDetails{
		Contract: events.Contract{
			ConID: 265598, Symbol: "AAPL", SecType: "STK", Exchange: "SMART", PrimaryExch: "NASDAQ", Currency: "USD", LocalSymbol: "AAPL", TradingClass: "NMS",
		},
		LongName: "APPLE INC", MarketName: "NMS", MinTick: "0.01", PriceMagnifier: 1, MinSize: "0.0001", SizeIncrement: "0.0001", SuggestedSizeIncrement: "100",
		StockType: "COMMON", ValidExchanges: "SMART,AMEX,NYSE,ARCA,BATS,NASDAQ,ISLAND,IEX", MarketRuleIDs: "26,26,26,26,26,26,26,26",
		TimeZoneID: "US/Eastern", TradingHours: "20261125:0000-20261126:0000;20261126:0000-20261127:0000",
		LiquidHours: "20261125:0000-20261126:0000;20261126:0000-20261127:0000",
	}
	if got[0].Total != 1 || len(got[0].Contracts) != 1 || got[0].Contracts[0] != apple {
		t.Errorf("AAPL is described as\n%+v, want\n%+v", got[0], apple)
	}
	if euro := got[1].Contracts[0]; euro.MinTick != "0.00005" || euro.SecType != "CASH" || euro.LongName != "European Monetary Union Euro" {
		t.Errorf("EUR.USD is described as %+v", euro)
	}
	future := got[2].Contracts[0]
	if got[2].Total != 1 || future.LastTradeDateOrContractMonth != "20261218" || future.Multiplier != "50" || future.Strike != "" || future.ContractMonth != "202612" || future.UnderSymbol != "ES" {
		t.Errorf("ES of December is described as %+v", got[2])
	}
	if got[3].Total != 2 || len(got[3].Contracts) != 2 {
		t.Errorf("ES without a month is described as %d contracts, want 2", got[3].Total)
	}
	if got[4].Contracts[0].Symbol != "SPY" {
		t.Errorf("756733 is described as %+v, want SPY", got[4])
	}
	for _, version := range []int{213, 225} {
		if a, b := fmt.Sprintf("%+v", answers[version]), fmt.Sprintf("%+v", got); a != b {
			t.Errorf("version %d describes\n%s, and 176\n%s", version, a, b)
		}
	}
}

func TestAContractThatTheLibraryCannotReadIsLeftOut(t *testing.T) {
	c := newCallbacks(1, newQueue(10), new(probes))
	c.ContractDetails(1, nil)
	c.BondContractDetails(1, nil)
	if found, total := c.details.take(1); found != nil || total != 0 {
		t.Errorf("what the library cannot read is %v, %d, want nothing", found, total)
	}
}

func TestAWarningLeavesWhatWasCollected(t *testing.T) {
	c := newCallbacks(1, newQueue(10), new(probes))
	for _, test := range []struct {
		code int64
		want int
	}{{2176, 1}, {2108, 1}, {2199, 1}, {162, 0}, {2200, 0}, {200, 0}} {
		c.HistoricalData(7, new(ibapi.NewBar()))
		c.ContractDetails(8, ibapi.NewContractDetails())
		for _, id := range []int64{7, 8} {
			c.Error(id, 0, test.code, "said", "")
		}
		_, bars := c.bars.take(7)
		_, contracts := c.details.take(8)
		if bars != test.want || contracts != test.want {
			t.Errorf("behind a %d there are %d bars and %d contracts, want %d of each", test.code, bars, contracts, test.want)
		}
	}
}

func TestNamesAreUngarbled(t *testing.T) {
	for _, test := range []struct{ garbled, want string }{
		{"[65 80 80 76 69 32 73 78 67]", "APPLE INC"},
		{"[]", ""},
		{"[76 39 79 82 92 117 48 48 67 57 65 76]", "L'OR\u00c9AL"},
		{"[82 34 83]", `R"S`},
		{"[256]", "[256]"},
		{"APPLE INC", "APPLE INC"},
		{"[A]", "[A]"},
	} {
		if got := ungarble(test.garbled); got != test.want {
			t.Errorf("ungarble(%q) = %q, want %q", test.garbled, got, test.want)
		}
	}
}

func TestNumbersAreWordedAsTheyCame(t *testing.T) {
	for v, want := range map[float64]string{0: "", ibapi.UNSET_FLOAT: "", 0.00005: "0.00005", 1e-8: "0.00000001", 150.5: "150.5", 1234567.25: "1234567.25", -3: "-3"} {
		if got := decimal(v); got != want {
			t.Errorf("decimal(%v) = %q, want %q", v, got, want)
		}
	}
	for in, want := range map[string]string{"C": "C", "CALL": "C", "PUT": "P", "P": "P", "0": "", "?": "", "": ""} {
		if got := right(in); got != want {
			t.Errorf("right(%q) = %q, want %q", in, got, want)
		}
	}
}
