package events

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFeedsAreCheckedByTheirKind(t *testing.T) {
	for _, tt := range []struct {
		feed Feed
		want string // the beginning of the error; empty for none
	}{
		{Feed{}, "kind is missing: want one of quotes, trades, bars, history-bars"},
		{Feed{Kind: "candles"}, `kind "candles": want one of quotes, trades, bars, history-bars`},

		{Feed{Kind: SubscribeQuotes}, ""},
		{Feed{Kind: SubscribeQuotes, GenericTicks: "233", MarketDataType: "delayed_frozen"}, ""},
		{Feed{Kind: SubscribeQuotes, GenericTicks: "233,236,9999"}, ""},
		{Feed{Kind: SubscribeQuotes, MarketDataType: "Live"}, `market_data_type "Live": want one of live, frozen, delayed, delayed_frozen`},
		{Feed{Kind: SubscribeQuotes, GenericTicks: "233,"}, `generic_ticks "233,": want IB's numbers parted by commas`},
		{Feed{Kind: SubscribeQuotes, GenericTicks: "233, 236"}, `generic_ticks "233, 236": want IB's numbers`},
		{Feed{Kind: SubscribeQuotes, GenericTicks: "0233"}, `generic_ticks "0233": want IB's numbers`},
		{Feed{Kind: SubscribeQuotes, GenericTicks: "12345"}, `generic_ticks "12345": want IB's numbers`},
		{Feed{Kind: SubscribeQuotes, GenericTicks: "mdoff"}, `generic_ticks "mdoff": want IB's numbers`},
		{Feed{Kind: SubscribeQuotes, GenericTicks: numbers(100, maxGenericTicks)}, ""},
		{Feed{Kind: SubscribeQuotes, GenericTicks: numbers(100, maxGenericTicks+1)}, "generic_ticks: 41 of them, want at most 40"},
		{Feed{Kind: SubscribeQuotes, What: "TRADES"}, "what is for trades and bars, not for quotes"},
		{Feed{Kind: SubscribeQuotes, RTH: true}, "rth is for bars, not for quotes"},
		{Feed{Kind: SubscribeQuotes, BarSize: "1 min"}, "bar_size and duration are for history-bars, not for quotes"},

		{Feed{Kind: SubscribeTrades}, ""},
		{Feed{Kind: SubscribeTrades, What: "AllLast"}, ""},
		{Feed{Kind: SubscribeTrades, What: "BidAsk"}, ""},
		{Feed{Kind: SubscribeTrades, What: "MidPoint"}, ""},
		{Feed{Kind: SubscribeTrades, What: "TRADES"}, `what "TRADES": want one of Last, AllLast, BidAsk, MidPoint`},
		{Feed{Kind: SubscribeTrades, RTH: true}, "rth is for bars, not for trades"},
		{Feed{Kind: SubscribeTrades, GenericTicks: "233"}, "generic_ticks and market_data_type are for quotes, not for trades"},
		{Feed{Kind: SubscribeTrades, MarketDataType: "live"}, "generic_ticks and market_data_type are for quotes, not for trades"},

		{Feed{Kind: SubscribeBars}, ""},
		{Feed{Kind: SubscribeBars, What: "MIDPOINT", RTH: true}, ""},
		{Feed{Kind: SubscribeBars, What: "BID_ASK"}, `what "BID_ASK": want one of TRADES, MIDPOINT, BID, ASK`},
		{Feed{Kind: SubscribeBars, BarSize: "5 secs"}, "bar_size and duration are for history-bars, not for bars"},
		{Feed{Kind: SubscribeBars, Duration: "1 D"}, "bar_size and duration are for history-bars, not for bars"},
		{Feed{Kind: SubscribeBars, MarketDataType: "live"}, "generic_ticks and market_data_type are for quotes, not for bars"},

		{Feed{Kind: SubscribeHistoryBars}, ""},
		{Feed{Kind: SubscribeHistoryBars, What: "BID", RTH: true, BarSize: "1 hour", Duration: "2 W"}, ""},
		{Feed{Kind: SubscribeHistoryBars, What: "ADJUSTED_LAST"}, `what "ADJUSTED_LAST": want one of TRADES, MIDPOINT, BID, ASK`},
		{Feed{Kind: SubscribeHistoryBars, BarSize: "1 secs"}, `bar_size "1 secs": history-bars are of 5 secs or more`},
		{Feed{Kind: SubscribeHistoryBars, BarSize: "7 mins"}, `bar_size "7 mins": want one of 1 secs, 5 secs`},
		{Feed{Kind: SubscribeHistoryBars, Duration: "a while"}, `duration "a while": want a number and a unit`},
		{Feed{Kind: SubscribeHistoryBars, Duration: "15000 S"}, ""},
		{Feed{Kind: SubscribeHistoryBars, Duration: "15001 S"}, `duration "15001 S": 3001 bars of 5 secs to begin with, counted around the clock: want at most 3000`},
	} {
		err := tt.feed.Check()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
			t.Errorf("Check(%+v) = %v, want %q", tt.feed, err, tt.want)
		}
	}
}

// numbers lists n numbers from a first one up.
func numbers(first, n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprint(first+i))
	}
	return strings.Join(all, ",")
}

func TestFeedsThatMeanTheSameAreOne(t *testing.T) {
	for _, tt := range []struct{ said, meant Feed }{
		{Feed{Kind: SubscribeQuotes}, Feed{Kind: SubscribeQuotes, MarketDataType: "live"}},
		{Feed{Kind: SubscribeQuotes, GenericTicks: "1100,236,233,236"}, Feed{Kind: SubscribeQuotes, MarketDataType: "live", GenericTicks: "233,236,1100"}},
		{Feed{Kind: SubscribeQuotes, GenericTicks: "nine,8"}, Feed{Kind: SubscribeQuotes, MarketDataType: "live", GenericTicks: "nine,8"}},
		{Feed{Kind: SubscribeTrades}, Feed{Kind: SubscribeTrades, What: "Last"}},
		{Feed{Kind: SubscribeBars}, Feed{Kind: SubscribeBars, What: "TRADES"}},
		{Feed{Kind: SubscribeHistoryBars}, Feed{Kind: SubscribeHistoryBars, What: "TRADES", BarSize: "5 secs", Duration: "3600 S"}},
		{Feed{Kind: SubscribeHistoryBars, BarSize: "1 day", RTH: true}, Feed{Kind: SubscribeHistoryBars, What: "TRADES", BarSize: "1 day", Duration: "3600 S", RTH: true}},
		{Feed{Kind: "candles"}, Feed{Kind: "candles"}},
	} {
		got := tt.said.WithDefaults()
		if got != tt.meant || got.WithDefaults() != got {
			t.Errorf("%+v means %+v, want %+v", tt.said, got, tt.meant)
		}
	}
}

func TestHowLongABarOfAFeedIs(t *testing.T) {
	for _, tt := range []struct {
		feed Feed
		want time.Duration
	}{
		{Feed{Kind: SubscribeBars}, 5 * time.Second},
		{Feed{Kind: SubscribeHistoryBars, BarSize: "30 mins"}, 30 * time.Minute},
		{Feed{Kind: SubscribeHistoryBars, BarSize: "7 mins"}, 0},
		{Feed{Kind: SubscribeQuotes}, 0},
		{Feed{Kind: SubscribeTrades}, 0},
	} {
		if got := tt.feed.BarSpan(); got != tt.want {
			t.Errorf("a bar of %+v is %v long, want %v", tt.feed, got, tt.want)
		}
	}
}

// TestTheMostSubscriptionsFitAnAnswer has those that are usual, with a few
// callers each.
func TestTheMostSubscriptionsFitAnAnswer(t *testing.T) {
	sub := one(t, gapped...)
	sub.Feed.Contract = Contract{ConID: 265598, Symbol: "AAPL", SecType: "STK", Exchange: "SMART", PrimaryExch: "NASDAQ", Currency: "USD", LocalSymbol: "AAPL", TradingClass: "NMS"}
	sub.Asked = Contract{Symbol: "AAPL", SecType: "STK", Exchange: "SMART", Currency: "USD"}
	sub.Callers, sub.Gaps = []string{"default", "book"}, nil
	a := Answer{OK: true}
	for range MaxSubscriptions {
		a.Subscriptions = append(a.Subscriptions, sub)
	}
	b, err := json.Marshal(a)
	if err != nil || len(b) > 1<<20-4096 {
		t.Errorf("the answer has %d bytes, %v, want fewer than a message may have, 1 MiB", len(b), err)
	}
}

func TestPrioritiesAreInOrder(t *testing.T) {
	for p, want := range map[SubscriptionPriority]int{PriorityHigh: 0, PriorityNormal: 1, "": 1, "a newer one": 1, PriorityLow: 2} {
		if got := p.Rank(); got != want {
			t.Errorf("priority %q has rank %d, want %d", p, got, want)
		}
	}
}

func TestNamesOfSubscriptionsAreTokens(t *testing.T) {
	for _, s := range []string{"a", "7", "aapl-bars", "a-", strings.Repeat("x", MaxIDLength)} {
		if err := CheckSubscriptionName(s); err != nil {
			t.Errorf("CheckSubscriptionName(%q) = %v, want it taken", s, err)
		}
	}
	for _, s := range []string{"", "-a", "A", "a b", "a.b", "a_b", "*", ">", "a\n", "ı", "\xff", strings.Repeat("x", MaxIDLength+1)} {
		if err := CheckSubscriptionName(s); err == nil || !strings.HasSuffix(err.Error(), "want 1 to 64 of a-z, 0-9 and '-', not beginning with '-'") {
			t.Errorf("CheckSubscriptionName(%q) = %v, want an error that says what is allowed", s, err)
		}
	}
}

func TestEachKindOfDataHasItsSubject(t *testing.T) {
	for _, tt := range []struct {
		feed Feed
		want []string
	}{
		{Feed{Kind: SubscribeQuotes}, []string{"ib.data.main.tick.x"}},
		{Feed{Kind: SubscribeTrades, What: "Last"}, []string{"ib.data.main.trade.x"}},
		{Feed{Kind: SubscribeTrades, What: "AllLast"}, []string{"ib.data.main.trade.x"}},
		{Feed{Kind: SubscribeTrades, What: "BidAsk"}, []string{"ib.data.main.bidask.x"}},
		{Feed{Kind: SubscribeTrades, What: "MidPoint"}, []string{"ib.data.main.midpoint.x"}},
		{Feed{Kind: SubscribeBars}, []string{"ib.data.main.bar.x"}},
		{Feed{Kind: SubscribeHistoryBars}, []string{"ib.data.main.bar.x", "ib.data.main.partial.x"}},
	} {
		if got := (Subscription{Name: "x", Feed: tt.feed}).Subjects("main"); !slices.Equal(got, tt.want) {
			t.Errorf("%+v is delivered on %v, want %v", tt.feed, got, tt.want)
		}
	}
}

func TestRequestsToSubscribeAreRead(t *testing.T) {
	apple := Contract{Symbol: "AAPL", SecType: "STK", Exchange: "SMART", Currency: "USD"}
	for _, tt := range []struct {
		payload string
		want    Request
		feed    Feed
	}{
		{`"kind":"bars"`, Request{Kind: SubscribeBars}, Feed{Kind: SubscribeBars, What: "TRADES"}},
		{
			`"kind":"bars","what":"BID","rth":true,"name":"a-bars","caller":"book","priority":"high","dark_after":"5s","wait":"10s","id":"s1","reason":"for DU1234567"`,
			Request{
				ID: "s1", Reason: "for DU***67", Wait: Wait(10 * time.Second), Kind: SubscribeBars, BarQuery: BarQuery{What: "BID", RTH: true},
				Name: "a-bars", Caller: "book", Priority: PriorityHigh, DarkAfter: MinDarkAfter,
			},
			Feed{Kind: SubscribeBars, What: "BID", RTH: true},
		},
		{
			`"kind":"history-bars","bar_size":"1 min","duration":"1 D","dark_after":"24h"`,
			Request{Kind: SubscribeHistoryBars, BarQuery: BarQuery{BarSize: "1 min", Duration: "1 D"}, DarkAfter: MaxDarkAfter},
			Feed{Kind: SubscribeHistoryBars, What: "TRADES", BarSize: "1 min", Duration: "1 D"},
		},
		{
			`"kind":"quotes","generic_ticks":"236,233","market_data_type":"delayed","priority":"low"`,
			Request{Kind: SubscribeQuotes, GenericTicks: "236,233", MarketDataType: "delayed", Priority: PriorityLow},
			Feed{Kind: SubscribeQuotes, GenericTicks: "233,236", MarketDataType: "delayed"},
		},
		{`"kind":"trades","what":"BidAsk","name":"","caller":""`, Request{Kind: SubscribeTrades, BarQuery: BarQuery{What: "BidAsk"}}, Feed{Kind: SubscribeTrades, What: "BidAsk"}},
	} {
		payload := `{"contract":"AAPL",` + tt.payload + `}`
		tt.want.Contract, tt.feed.Contract = apple, apple
		got, err := VerbSubscribe.ParseRequest([]byte(payload))
		if err != nil || got != tt.want || got.Feed() != tt.feed {
			t.Errorf("ParseRequest(%s) = %+v, %v, for %+v, want %+v for %+v", payload, got, err, got.Feed(), tt.want, tt.feed)
		}
	}
}

func TestRequestsToSubscribeThatAreWrongSayWhatIsAllowed(t *testing.T) {
	for payload, want := range map[string]string{
		``:                                     "contract is missing: want a conId",
		`{"kind":"bars"}`:                      "contract is missing: want a conId",
		`{"contract":"AAPL"}`:                  "kind is missing: want one of quotes, trades, bars, history-bars",
		`{"contract":"AAPL","kind":"candles"}`: `kind "candles": want one of`,
		`{"contract":"AAPL","kind":7}`:         "kind: want a JSON string",
		`{"contract":"AAPL","kind":"bars","what":"LAST"}`:              `what "LAST": want one of TRADES, MIDPOINT, BID, ASK`,
		`{"contract":"AAPL","kind":"bars","rth":"yes"}`:                "rth: want true or false",
		`{"contract":"AAPL","kind":"bars","bar_size":"1 min"}`:         "bar_size and duration are for history-bars, not for bars",
		`{"contract":"AAPL","kind":"bars","name":"AAPL"}`:              `name "AAPL": want 1 to 64 of a-z, 0-9 and '-', not beginning with '-'`,
		`{"contract":"AAPL","kind":"bars","caller":"the.book"}`:        `caller "the.book": want 1 to 64 of`,
		`{"contract":"AAPL","kind":"bars","priority":"urgent"}`:        `priority "urgent": want one of high, normal, low`,
		`{"contract":"AAPL","kind":"bars","dark_after":"4s"}`:          `dark_after "4s": want a duration such as "30s", 5s to 24h`,
		`{"contract":"AAPL","kind":"bars","dark_after":"24h1s"}`:       `dark_after "24h1s": want a duration`,
		`{"contract":"AAPL","kind":"bars","dark_after":""}`:            `dark_after "": want a duration`,
		`{"contract":"AAPL","kind":"bars","dark_after":30}`:            "dark_after: want a JSON string",
		`{"contract":"AAPL","kind":"bars","end":""}`:                   `unknown field "end": want id, reason, wait, contract, duration, bar_size, what, rth, kind, generic_ticks, market_data_type, name, priority, dark_after or caller`,
		`{"contract":"AAPL","kind":"bars","subscription":"x"}`:         `unknown field "subscription"`,
		`{"contract":"AAPL","kind":"bars","all":true}`:                 `unknown field "all"`,
		`{"contract":"AAPL","kind":"bars","kind":"bars"}`:              "kind stands twice",
		`{"contract":"AAPL","kind":"quotes","market_data_type":"new"}`: `market_data_type "new": want one of live, frozen`,
		`{"contract":"AAPL","kind":"quotes","generic_ticks":["233"]}`:  "generic_ticks: want a JSON string",
	} {
		wantRefused(t, VerbSubscribe, payload, want)
	}
}

func wantRefused(t *testing.T, v Verb, payload, want string) {
	t.Helper()
	got, err := v.ParseRequest([]byte(payload))
	if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "payload is not a request: ") || got != (Request{}) {
		t.Errorf("%s.ParseRequest(%s) = %+v, %v, want %s", v, payload, got, err, want)
	}
}

func TestRequestsToCancelAreRead(t *testing.T) {
	for payload, want := range map[string]Request{
		`{"subscription":"aapl-bars"}`:                                         {Subscription: "aapl-bars"},
		`{"subscription":"aapl-bars","caller":"book","id":"c1","reason":"no"}`: {Subscription: "aapl-bars", Caller: "book", ID: "c1", Reason: "no"},
		`{"subscription":"aapl-bars","all":true}`:                              {Subscription: "aapl-bars", All: true},
	} {
		if got, err := VerbCancel.ParseRequest([]byte(payload)); err != nil || got != want {
			t.Errorf("ParseRequest(%s) = %+v, %v, want %+v", payload, got, err, want)
		}
	}
	for payload, want := range map[string]string{
		`{"subscription":"AAPL"}`:                            `subscription "AAPL": want 1 to 64 of`,
		`{"subscription":7}`:                                 "subscription: want a JSON string",
		`{"subscription":"a","caller":"*"}`:                  `caller "*": want 1 to 64 of`,
		`{"subscription":"a","all":1}`:                       "all: want true or false",
		`{"subscription":"a","name":"a"}`:                    `unknown field "name"`,
		`{"subscription":"a","contract":"AAPL"}`:             `unknown field "contract"`,
		`{"subscription":"a","subscription":"a"}`:            "subscription stands twice",
		`{"subscription":"` + strings.Repeat("a", 65) + `"}`: "want 1 to 64 of",
	} {
		wantRefused(t, VerbCancel, payload, want)
	}
	if got, err := VerbSubscriptions.ParseRequest([]byte(`{"id":"x"}`)); err != nil || got != (Request{ID: "x"}) {
		t.Errorf("subscriptions reads %+v, %v", got, err)
	}
	wantRefused(t, VerbSubscriptions, `{"subscription":"a"}`, `unknown field "subscription": want id, reason or wait`)
	wantRefused(t, VerbStatus, `{"kind":"bars"}`, `unknown field "kind": want id, reason or wait`)
}

func TestSubscriptionSchemasAgreeWithTheTypes(t *testing.T) {
	request := resolve(t, SchemaRequest)
	for _, tt := range []struct {
		verb    Verb
		payload string
		fits    bool
	}{
		{VerbSubscribe, `{"contract":"AAPL","kind":"bars","what":"BID","rth":true,"name":"a-bars","caller":"book","priority":"high","dark_after":"30s"}`, true},
		{VerbSubscribe, `{"contract":"AAPL","kind":"history-bars","bar_size":"1 min","duration":"1 D","name":"","caller":""}`, true},
		{VerbSubscribe, `{"contract":"AAPL","kind":"quotes","generic_ticks":"233","market_data_type":"delayed"}`, true},
		{VerbSubscribe, `{"contract":"AAPL","kind":"candles"}`, false},
		{VerbSubscribe, `{"contract":"AAPL","kind":"bars","priority":"urgent"}`, false},
		{VerbSubscribe, `{"contract":"AAPL","kind":"bars","dark_after":30}`, false},
		{VerbSubscribe, `{"contract":"AAPL","kind":"bars","name":"AAPL"}`, false},
		{VerbSubscribe, `{"contract":"AAPL","kind":"bars","caller":"-"}`, false},
		{VerbSubscribe, `{"contract":"AAPL","kind":"bars","name":"` + strings.Repeat("a", MaxIDLength+1) + `"}`, false},
		{VerbSubscribe, `{"contract":"AAPL","kind":"bars","name":null}`, false},
		{VerbCancel, `{"subscription":"aapl-bars","caller":"book"}`, true},
		{VerbCancel, `{"subscription":"aapl-bars","all":true}`, true},
		{VerbCancel, `{"subscription":"aapl.bars"}`, false},
		{VerbCancel, `{"subscription":"aapl-bars","all":"yes"}`, false},
	} {
		if err := request.Validate(object(t, []byte(tt.payload))); (err == nil) != tt.fits {
			t.Errorf("schema of the request says of %s: %v, want fit %v", tt.payload, err, tt.fits)
		}
		if _, err := tt.verb.ParseRequest([]byte(tt.payload)); (err == nil) != tt.fits {
			t.Errorf("ParseRequest(%s) = %v, want fit %v, as its schema says", tt.payload, err, tt.fits)
		}
	}
}

func TestRequestsToSubscribeAreWrittenAsTheyAreRead(t *testing.T) {
	for _, payload := range subscribeSeeds {
		for _, v := range []Verb{VerbSubscribe, VerbCancel, VerbSubscriptions} {
			checkSubscribing(t, v, []byte(payload))
		}
	}
}

var subscribeSeeds = []string{
	`{"contract":"AAPL","kind":"bars","what":"BID","rth":true,"name":"a-bars","caller":"book","priority":"high","dark_after":"30s","wait":"10s"}`,
	`{"contract":{"con_id":7},"kind":"quotes","generic_ticks":"236,233","market_data_type":"frozen"}`,
	`{"contract":"EUR.USD","kind":"history-bars","bar_size":"1 min","duration":"1 D","what":"MIDPOINT"}`,
	`{"contract":"AAPL","kind":"trades","what":"AllLast","dark_after":"1e9h"}`,
	`{"subscription":"a-bars","caller":"book","all":true,"reason":"DU1234567"}`,
	`{"subscription":"A"}`,
	`{"query":"year-1"}`,
}

// checkSubscribing reads a payload as a command about subscriptions, which must
// be an error, or in order and the same when it is written again.
func checkSubscribing(t *testing.T, v Verb, payload []byte) {
	t.Helper()
	r, err := v.ParseRequest(payload)
	if err != nil {
		if r != (Request{}) || err.Error() == "" {
			t.Errorf("%s.ParseRequest(%q) = %+v and the error %q, want one of them", v, payload, r, err)
		}
		return
	}
	switch v {
	case VerbSubscribe:
		if r.Feed().Check() != nil || r.Contract.Check() != nil || r.DarkAfter != 0 && (r.DarkAfter < MinDarkAfter || r.DarkAfter > MaxDarkAfter) {
			t.Errorf("%s.ParseRequest(%q) = %+v, which is not in order", v, payload, r)
		}
	case VerbCancel:
		if r.Query == "" && CheckSubscriptionName(r.Subscription) != nil {
			t.Errorf("%s.ParseRequest(%q) = %+v, which names nothing", v, payload, r)
		}
	default:
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := v.ParseRequest(b); err != nil || again != r {
		t.Errorf("%s.ParseRequest(%s) = %+v, %v, want %+v", v, b, again, err, r)
	}
}
