package events

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestQueriesForHistoryAreRead(t *testing.T) {
	noon := time.Date(2026, 12, 18, 12, 0, 0, 0, time.UTC)
	apple := Contract{Symbol: "AAPL", SecType: "STK", Exchange: "SMART", Currency: "USD"}
	for _, tt := range []struct {
		payload string
		want    BarQuery
	}{
		{`"duration":"1 D","bar_size":"5 mins"`, BarQuery{Duration: "1 D", BarSize: "5 mins"}},
		{`"duration":"86400 S","bar_size":"1 month","end":""`, BarQuery{Duration: "86400 S", BarSize: "1 month"}},
		{`"duration":"52 W","bar_size":"1 week","end":"2026-12-18T13:00:00+01:00","what":"BID_ASK","rth":true`, BarQuery{Duration: "52 W", BarSize: "1 week", End: noon, What: "BID_ASK", RTH: true}},
	} {
		payload := `{"contract":"AAPL",` + tt.payload + `}`
		if got, err := VerbHistory.ParseRequest([]byte(payload)); err != nil || got != (Request{Contract: apple, BarQuery: tt.want}) {
			t.Errorf("ParseRequest(%s) = %+v, %v, want %+v", payload, got, err, tt.want)
		}
		if _, err := VerbContract.ParseRequest([]byte(payload)); err == nil || !strings.Contains(err.Error(), `unknown field "duration": want id, reason, wait or contract`) {
			t.Errorf("the command contract takes %s: %v", payload, err)
		}
	}
}

func TestQueriesForHistoryThatAreWrongSayWhatIsAllowed(t *testing.T) {
	const lead = "payload is not a request: "
	for fields, want := range map[string]string{
		``:                                                                    `duration is missing: want a number and a unit: 1 to 86400 S, 365 D, 52 W, 12 M or 100 Y, such as "2 D"`,
		`,"duration":"1 D"`:                                                   "bar_size is missing: want one of 1 secs, 5 secs, ",
		`,"duration":"1 D","bar_size":"5 min"`:                                `bar_size "5 min": want one of 1 secs, 5 secs, 10 secs, 15 secs, 30 secs, 1 min, 2 mins, `,
		`,"duration":"1D","bar_size":"1 day"`:                                 `duration "1D": want a number and a unit`,
		`,"duration":"0 D","bar_size":"1 day"`:                                `duration "0 D": want`,
		`,"duration":"01 D","bar_size":"1 day"`:                               `duration "01 D": want`,
		`,"duration":"-1 D","bar_size":"1 day"`:                               `duration "-1 D": want`,
		`,"duration":"86401 S","bar_size":"1 day"`:                            `duration "86401 S": want`,
		`,"duration":"366 D","bar_size":"1 day"`:                              `duration "366 D": want`,
		`,"duration":"53 W","bar_size":"1 day"`:                               `duration "53 W": want`,
		`,"duration":"13 M","bar_size":"1 day"`:                               `duration "13 M": want`,
		`,"duration":"101 Y","bar_size":"1 day"`:                              `duration "101 Y": want`,
		`,"duration":"1 d","bar_size":"1 day"`:                                `duration "1 d": want`,
		`,"duration":"1 D","bar_size":"1 day","what":"trades"`:                `what "trades": want one of TRADES, MIDPOINT, BID, ASK, BID_ASK, `,
		`,"duration":"1 D","bar_size":"1 day","rth":1`:                        `rth: want true or false`,
		`,"duration":"1 D","bar_size":"1 day","rth":null`:                     `rth: want true or false`,
		`,"duration":"1 D","bar_size":"1 day","end":7`:                        `end: want a JSON string`,
		`,"duration":"1 D","bar_size":"1 day","end":"20261218"`:               `end "20261218": want a time such as 2026-12-18T16:00:00Z`,
		`,"duration":"1 D","bar_size":"1 day","end":"2026-12-18T16:00:00.5Z"`: `want whole seconds`,
		`,"duration":"1 D","bar_size":"1 day","end":"1026-12-18T16:00:00Z"`:   `end in the year 1026: want 1900 to 9999`,
		`,"duration":"1 D","bar_size":"1 day","symbol":"X"`:                   `unknown field "symbol": want id, reason, wait, contract, duration, bar_size, what, rth, end or stream`,
	} {
		payload := `{"contract":"AAPL"` + fields + `}`
		got, err := VerbHistory.ParseRequest([]byte(payload))
		if err == nil || !strings.HasPrefix(err.Error(), lead) || !strings.Contains(err.Error(), want) || got != (Request{}) {
			t.Errorf("ParseRequest(%s) = %+v, %v, want %s", payload, got, err, want)
		}
	}
	if _, err := VerbHistory.ParseRequest(nil); err == nil || !strings.Contains(err.Error(), "contract is missing") {
		t.Errorf("without a payload: %v, want what is missing", err)
	}
}

func TestHowManyBarsAQueryIsFor(t *testing.T) {
	for _, tt := range []struct {
		duration, size string
		want           int
	}{
		{"3600 S", "5 mins", 12},
		{"61 S", "1 min", 2},
		{"1 D", "30 secs", 2880},
		{"1 W", "5 mins", 2016},
		{"1 M", "15 mins", 2976},
		{"1 Y", "1 day", 366},
		{"100 Y", "1 month", 1308},
		{"60 S", "1 month", 1},
		{"1 Y", "1 secs", 366 * 86400},
		{"1 D", "7 mins", 0},
		{"1 X", "1 min", 0},
	} {
		if got := (BarQuery{Duration: tt.duration, BarSize: tt.size}).EstimateBars(); got != tt.want {
			t.Errorf("%s of %s are %d bars, want %d", tt.duration, tt.size, got, tt.want)
		}
	}
}

// TestAnAnswerOfTheMostBarsFitsAMessage has the longest texts that a bar may
// have.
func TestAnAnswerOfTheMostBarsFitsAMessage(t *testing.T) {
	long := strings.Repeat("1", 24)
	a := Answer{OK: true}
	for range MaxBars + 100 {
		a.Bars = append(a.Bars, Bar{Time: "2026-12-18T12:00:00Z", Open: long, High: long, Low: long, Close: long, Volume: long, WAP: long, Count: 1<<31 - 1})
	}
	b, err := json.Marshal(a)
	if err != nil || len(b) > 1<<20-4096 {
		t.Errorf("the answer has %d bytes, %v, want fewer than a message may have, 1 MiB", len(b), err)
	}
}

func FuzzParseHistory(f *testing.F) {
	for _, seed := range []string{
		`{"contract":"AAPL","duration":"1 D","bar_size":"5 mins"}`,
		`{"contract":{"con_id":7},"duration":"52 W","bar_size":"1 week","end":"2026-12-18T13:00:00+01:00","what":"BID_ASK","rth":true,"wait":"5s"}`,
		`{"contract":"AAPL","duration":"1 D","bar_size":"5 mins","end":"2026-12-18T13:00:00.5Z"}`, `{"rth":null}`, ``,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := VerbHistory.ParseRequest([]byte(text))
		if err != nil {
			if r != (Request{}) || err.Error() == "" {
				t.Errorf("ParseRequest(%q) = %+v and the error %q, want one of them", text, r, err)
			}
			return
		}
		if r.Contract.Check() != nil || r.CheckBars() != nil || r.EstimateBars() < 1 || r.BarSpan() <= 0 {
			t.Errorf("ParseRequest(%q) = %+v, which is not in order", text, r)
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := VerbHistory.ParseRequest(b); err != nil || again != r {
			t.Errorf("ParseRequest(%s) = %+v, %v, want %+v", b, again, err, r)
		}
	})
}
