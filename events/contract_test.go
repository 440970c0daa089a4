package events

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestContractsAreRead(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Contract
	}{
		{"265598", Contract{ConID: 265598}},
		{" 2147483647 ", Contract{ConID: 2147483647}},
		{"AAPL", Contract{Symbol: "AAPL", SecType: "STK", Exchange: "SMART", Currency: "USD"}},
		{"BRK B", Contract{Symbol: "BRK B", SecType: "STK", Exchange: "SMART", Currency: "USD"}},
		{"AAPL@NASDAQ", Contract{Symbol: "AAPL", SecType: "STK", Exchange: "SMART", PrimaryExch: "NASDAQ", Currency: "USD"}},
		{"SAP/EUR", Contract{Symbol: "SAP", SecType: "STK", Exchange: "SMART", Currency: "EUR"}},
		{"BT.A@LSE/GBP", Contract{Symbol: "BT.A", SecType: "STK", Exchange: "SMART", PrimaryExch: "LSE", Currency: "GBP"}},
		{"EUR.USD", Contract{Symbol: "EUR", SecType: "CASH", Exchange: "IDEALPRO", Currency: "USD"}},
		{"ES@CME 202612", Contract{Symbol: "ES", SecType: "FUT", Exchange: "CME", LastTradeDateOrContractMonth: "202612"}},
		{"ES@CME 20261218", Contract{Symbol: "ES", SecType: "FUT", Exchange: "CME", LastTradeDateOrContractMonth: "20261218"}},
		{"BRK B 20261218 P 150.5", Contract{
			Symbol: "BRK B", SecType: "OPT", Exchange: "SMART", Currency: "USD", LastTradeDateOrContractMonth: "20261218", Right: "P", Strike: "150.5",
		}},
		{`{"symbol":"ES","sec_type":"FUT","exchange":"CME","include_expired":true}`, Contract{Symbol: "ES", SecType: "FUT", Exchange: "CME", IncludeExpired: true}},
		{` { "con_id" : 7 , "exchange":"SMART"} `, Contract{ConID: 7, Exchange: "SMART"}},
		{`{"sec_id_type":"ISIN","sec_id":"US0378331005"}`, Contract{SecIDType: "ISIN", SecID: "US0378331005"}},
		{`{"local_symbol":"ESZ6","strike":"-1.25","right":"C","multiplier":"50","primary_exch":"CME","trading_class":"ES","last_trade_date_or_contract_month":"202612","currency":"USD"}`, Contract{
			LocalSymbol: "ESZ6", Strike: "-1.25", Right: "C", Multiplier: "50", PrimaryExch: "CME", TradingClass: "ES", LastTradeDateOrContractMonth: "202612", Currency: "USD",
		}},
	} {
		got, err := ParseContract(tt.text)
		if err != nil || got != tt.want {
			t.Errorf("ParseContract(%q) = %+v, %v, want %+v", tt.text, got, err, tt.want)
		}
		if again, err := ParseContract(got.String()); err != nil || again != got {
			t.Errorf("ParseContract(%q) = %+v, %v, want what it was written from, %+v", got.String(), again, err, got)
		}
	}
}

func TestContractsAreWrittenInTheirShortForm(t *testing.T) {
	for _, text := range []string{
		"265598", "AAPL", "BRK B", "AAPL@NASDAQ", "SAP/EUR", "BT.A@LSE/GBP", "EUR.USD", "ES@CME 202612", "AAPL 20261218 C 150",
		`{"con_id":7,"exchange":"SMART"}`,
		`{"symbol":"ES","sec_type":"FUT","exchange":"CME"}`,
		`{"symbol":"ES","sec_type":"FUT","last_trade_date_or_contract_month":"202612","exchange":"CME","currency":"USD"}`,
		`{"symbol":"EUR","sec_type":"CASH","exchange":"IDEALPRO"}`,
		// Written short these would be read as something else.
		`{"symbol":"265598","sec_type":"STK","exchange":"SMART","currency":"USD"}`,
		`{"symbol":"EUR.USD","sec_type":"STK","exchange":"SMART","currency":"USD"}`,
	} {
		c, err := ParseContract(text)
		if err != nil {
			t.Errorf("ParseContract(%s) = %v", text, err)
			continue
		}
		if got := c.String(); got != text {
			t.Errorf("%+v is written %s, want %s", c, got, text)
		}
	}
}

func TestContractsThatAreWrongSayWhatIsAllowed(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", `contract "": want a conId (265598), AAPL, AAPL@NASDAQ`},
		{"0", `contract "0": want a conId`},
		{"2147483648", `con_id 2147483648: want 1 to 2147483647`},
		{"99999999999999999999", `want a conId`},
		{"AAPL@", `contract "AAPL@": want a conId`},
		{"@NASDAQ", `contract "@NASDAQ"`},
		{"ES@CME 2026", `contract "ES@CME 2026": want a conId`},
		{"AAPL 20261218 C 1.2.3", `strike "1.2.3": want a decimal number`},
		{"AAPL 20261218 X 150", `contract "AAPL 20261218 X 150": want a conId`},
		{"ES 202612", `contract "ES 202612": want a conId`},
		{"A\x00B", `contract "A\x00B": want`},
		{"[1]", `contract "[1]": want`},
		{`{`, `unexpected end of JSON input`},
		{`{}`, "contract: want con_id, symbol, local_symbol or sec_id"},
		{`{"strike":"150"}`, "contract: want con_id, symbol, local_symbol or sec_id"},
		{`{"symbol":"ES","expiry":"202612"}`, `contract: unknown field "expiry": want con_id, symbol, sec_type, last_trade_date_or_contract_month, strike,`},
		{`{"symbol":"ES","symbol":"NQ"}`, "contract: symbol stands twice"},
		{`{"Symbol":"ES"}`, `contract: unknown field "Symbol"`},
		{`{"symbol":7}`, "contract: symbol: want a JSON string"},
		{`{"con_id":"265598"}`, `contract: con_id "265598": want a whole number`},
		{`{"con_id":1.5}`, "contract: con_id 1.5: want a whole number"},
		{`{"con_id":null}`, "contract: con_id null: want a whole number"},
		{`{"con_id":-1}`, "contract: con_id -1: want 1 to 2147483647"},
		{`{"symbol":"ES","include_expired":"yes"}`, "contract: include_expired: want true or false"},
		{`{"symbol":"ES","strike":150}`, "contract: strike: want a JSON string"},
		{`{"symbol":"ES","strike":"1e3"}`, `contract: strike "1e3": want a decimal number of at most 15 characters`},
		{`{"symbol":"ES","strike":"1234567890.123456"}`, `contract: strike "1234567890.123456": want a decimal`},
		{`{"symbol":"ES","multiplier":"NaN"}`, `contract: multiplier "NaN": want a decimal`},
		{`{"symbol":"ES","sec_type":"BAG"}`, `contract: sec_type "BAG": want one of STK, OPT, FUT`},
		{`{"symbol":"ES","right":"CALL"}`, `contract: right "CALL": want C or P`},
		{`{"symbol":"ES","last_trade_date_or_contract_month":"Dec"}`, `last_trade_date_or_contract_month "Dec": want a month (202612)`},
		{`{"symbol":"ES","sec_id":"US0378331005"}`, "contract: sec_id and sec_id_type: want both or neither"},
		{`{"sec_id":"1","sec_id_type":"PASSPORT"}`, `contract: sec_id_type "PASSPORT": want one of ISIN`},
		{`{"symbol":"A\u0000B"}`, `contract: symbol "A\x00B": want printable ASCII`},
		{`{"symbol":"é"}`, "want printable ASCII"},
		{`{"symbol":"` + strings.Repeat("A", 65) + `"}`, "contract: symbol of 65 characters: want at most 64"},
	} {
		got, err := ParseContract(tt.text)
		if err == nil || !strings.Contains(err.Error(), tt.want) || got != (Contract{}) {
			t.Errorf("ParseContract(%q) = %+v, %v, want %s", tt.text, got, err, tt.want)
		}
		if err != nil && len(err.Error()) > 500 {
			t.Errorf("ParseContract(%.60q) has an error of %d characters", tt.text, len(err.Error()))
		}
	}
}

func TestAContractBelongsToItsCommandAlone(t *testing.T) {
	const lead = "payload is not a request: "
	for _, tt := range []struct {
		verb          Verb
		payload, want string // the error, or the contract
	}{
		{VerbContract, `{"contract":"AAPL"}`, "AAPL"},
		{VerbContract, `{"contract":{"con_id":265598},"wait":"2s","id":"x","reason":"y"}`, "265598"},
		{VerbContract, ``, lead + "contract is missing: want a conId"},
		{VerbContract, `{"wait":"2s"}`, lead + "contract is missing: want a conId"},
		{VerbContract, `{"contract":""}`, lead + `contract "": want a conId`},
		{VerbContract, `{"contract":265598}`, lead + "contract: want a JSON string or object"},
		{VerbContract, `{"contract":null}`, lead + "contract: want a JSON string or object"},
		{VerbContract, `{"contract":["AAPL"]}`, lead + "contract: want a JSON string or object"},
		{VerbContract, `{"contract":"AAPL","contract":"MSFT"}`, lead + "contract stands twice"},
		{VerbContract, `{"contract":{"symbol":"ES","secType":"FUT"}}`, lead + `contract: unknown field "secType": want con_id`},
		{VerbContract, `{"symbol":"AAPL"}`, lead + `unknown field "symbol": want id, reason, wait or contract`},
		{VerbReconnect, `{"contract":"AAPL"}`, lead + `unknown field "contract": want id, reason or wait`},
		{VerbStatus, `{"contract":"AAPL"}`, lead + `unknown field "contract": want id, reason or wait`},
	} {
		r, err := tt.verb.ParseRequest([]byte(tt.payload))
		got := r.Contract.String()
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, tt.want) || (err != nil && r != (Request{})) {
			t.Errorf("%s.ParseRequest(%s) = %+v, %v, want %s", tt.verb, tt.payload, r, err, tt.want)
		}
	}
}

func TestContractSchemasAgreeWithTheTypes(t *testing.T) {
	request := resolve(t, SchemaRequest)
	for _, tt := range []struct {
		payload string
		fits    bool
	}{
		{`{"contract":"AAPL"}`, true},
		{`{"contract":{"con_id":265598}}`, true},
		{`{"contract":{"symbol":"ES","sec_type":"FUT","strike":"1.5","include_expired":true}}`, true},
		{`{"contract":""}`, false},
		{`{"contract":265598}`, false},
		{`{"contract":null}`, false},
		{`{"contract":{"symbol":7}}`, false},
		{`{"contract":{"secType":"FUT"}}`, false},
	} {
		if err := request.Validate(object(t, []byte(tt.payload))); (err == nil) != tt.fits {
			t.Errorf("schema of the request says of %s: %v, want fit %v", tt.payload, err, tt.fits)
		}
		if _, err := VerbContract.ParseRequest([]byte(tt.payload)); (err == nil) != tt.fits {
			t.Errorf("ParseRequest(%s) = %v, want fit %v, as its schema says", tt.payload, err, tt.fits)
		}
	}
	answer := resolve(t, SchemaAnswer)
	c := Contract{ConID: 7, Symbol: "ES", Strike: "1.5", IncludeExpired: true}
	for _, a := range []Answer{
		{OK: true, Connection: "main", Contracts: []ContractDetails{{Contract: c, MinTick: "0.25", UnderConID: 8}}, Cached: true, AsOf: wireTime},
		{Error: &AnswerError{Code: ErrorAmbiguous, Message: "2 fit"}, Candidates: []Contract{c, c}, More: 3},
	} {
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if err := answer.Validate(object(t, b)); err != nil {
			t.Errorf("the answer %s does not fit its schema: %v", b, err)
		}
	}
}

// TestACandidateIsARequest holds that what an answer lists can be asked for.
func TestACandidateIsARequest(t *testing.T) {
	b, err := json.Marshal(Contract{ConID: 7, Symbol: "ES", SecType: "FUT", LastTradeDateOrContractMonth: "20261218", Multiplier: "50", Exchange: "CME", Currency: "USD", LocalSymbol: "ESZ6", TradingClass: "ES"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := VerbContract.ParseRequest(slices.Concat([]byte(`{"contract":`), b, []byte(`}`))); err != nil {
		t.Errorf("the candidate %s cannot be asked for: %v", b, err)
	}
}

func FuzzParseContract(f *testing.F) {
	for _, seed := range []string{
		"265598", "AAPL", "AAPL@NASDAQ", "SAP/EUR", "EUR.USD", "ES@CME 202612", "AAPL 20261218 C 150", "BRK B", "",
		`{"con_id":7}`, `{"symbol":"ES","sec_type":"FUT","strike":"-0.50","include_expired":true}`, `{"symbol":"a","symbol":"b"}`, "{\"symbol\":\"\xff\"}", `{"symbol":"<&>"}`,
	} {
		f.Add(seed)
	}
	f.Add(`{"contract":{"symbol":"ES","sec_type":"FUT"},"wait":"5s"}`)
	f.Fuzz(func(t *testing.T, text string) {
		if r, err := VerbContract.ParseRequest([]byte(text)); err == nil && r.Contract.Check() != nil || err != nil && r != (Request{}) {
			t.Errorf("ParseRequest(%q) = %+v, %v, want a contract in order or an error alone", text, r, err)
		}
		c, err := ParseContract(text)
		if err != nil {
			if c != (Contract{}) || err.Error() == "" {
				t.Errorf("ParseContract(%q) = %+v and the error %q, want one of them", text, c, err)
			}
			return
		}
		if err := c.Check(); err != nil {
			t.Errorf("ParseContract(%q) = %+v, which is not in order: %v", text, c, err)
		}
		if again, err := ParseContract(c.String()); err != nil || again != c {
			t.Errorf("ParseContract(%q) = %+v, %v, want %+v", c.String(), again, err, c)
		}
		b, err := json.Marshal(Request{Contract: c})
		if err != nil {
			t.Fatal(err)
		}
		if r, err := VerbContract.ParseRequest(b); err != nil || r.Contract != c {
			t.Errorf("ParseRequest(%s) = %+v, %v, want %+v", b, r, err, c)
		}
	})
}
