package events

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Every code that the table must have, so that no row is lost unnoticed.
var requiredCodes = []int{
	100, 101, 102, 103, 162, 165, 200, 202, 203, 300, 309, 310, 316, 317, 321, 322, 326, 327, 354, 365, 366, 385, 386, 399,
	420, 430, 492, 501, 502, 503, 504, 505, 506, 507, 508, 509, 520,
	1100, 1101, 1102, 1300,
	2100, 2101, 2103, 2104, 2105, 2106, 2107, 2108, 2109, 2110, 2119, 2137, 2150, 2152, 2157, 2158, 2168, 2169,
	10038, 10053, 10054, 10089, 10090, 10091, 10167, 10168, 10182, 10186, 10187, 10189, 10190, 10197, 10225, 10276, 10299, 10314, 10339,
}

func TestTheTableHasEveryCodeOnceInOrder(t *testing.T) {
	var numbers []int
	for c := range Codes() {
		numbers = append(numbers, c.Number)
	}
	if !slices.Equal(numbers, requiredCodes) {
		t.Errorf("Codes() = %v,\nwant %v", numbers, requiredCodes)
	}
	if sorted := slices.Compact(slices.Sorted(slices.Values(numbers))); !slices.Equal(numbers, sorted) {
		t.Errorf("Codes() = %v, want them ordered and without duplicates", numbers)
	}
}

func TestEveryRowHasAClassAMeaningAndAdvice(t *testing.T) {
	check := func(what string, class Class, meaning, advice string) {
		if class == "" || class == ClassUnknown {
			t.Errorf("%s has class %q", what, class)
		}
		for _, words := range []string{meaning, advice} {
			if words == "" || words != strings.TrimSpace(words) || strings.HasSuffix(words, ".") {
				t.Errorf("%s has the words %q, want some without a period at the end", what, words)
			}
		}
	}
	for c := range Codes() {
		check(fmt.Sprint("code ", c.Number), c.Class, c.Meaning, c.Advice)
		for _, rule := range c.Rules() {
			check(fmt.Sprintf("rule %q of code %d", rule.Contains, c.Number), rule.Class, rule.Meaning, rule.Advice)
			if rule.Contains == "" || rule.Contains != strings.ToLower(rule.Contains) {
				t.Errorf("rule %q of code %d, want words in lower case", rule.Contains, c.Number)
			}
		}
	}
}

func TestRulesAndFarmNoticesBelongToRowsOfTheTable(t *testing.T) {
	for code := range textRules {
		if !slices.Contains(requiredCodes, code) {
			t.Errorf("code %d has rules and no row", code)
		}
	}
	for c := range Codes() {
		if _, isNotice := farmNotices[c.Number]; isNotice != (c.Class.farm() != "") {
			t.Errorf("code %d has class %s; is a farm notice: %v", c.Number, c.Class, isNotice)
		}
	}
}

func TestRulesAreTheCallersToChange(t *testing.T) {
	c := Code{Number: 162}
	c.Rules()[0].Class = ClassInfo
	if got := c.Rules()[0].Class; got != ClassPacing {
		t.Errorf("a changed copy changed the table: class %s, want %s", got, ClassPacing)
	}
	if got := (Code{Number: 1100}).Rules(); got != nil {
		t.Errorf("Rules of 1100 = %v, want none", got)
	}
}

func TestTheNumberAloneDecidesMostClasses(t *testing.T) {
	tests := []struct {
		code int
		text string
		want Class
	}{
		{100, "Max rate of messages per second has been exceeded:max=50 rec=123 (1)", ClassPacing},
		{101, "Max number of tickers has been reached", ClassCapacity},
		{102, "Duplicate ticker ID", ClassSubDeadRetry},
		{103, "Duplicate order id", ClassSubDeadRetry},
		{165, "Historical Market Data Service query message:HMDS server connection was successful.", ClassInfo},
		{200, "No security definition has been found for the request", ClassRequestInvalid},
		{202, "Order Canceled - reason:", ClassInfo},
		{203, "The security XYZ is not available or allowed for this account", ClassEntitlement},
		{300, "Can't find EId with tickerId:7", ClassBenign},
		{309, "Max number (3) of market depth requests has been reached", ClassCapacity},
		{310, "Can't find the subscribed market depth with tickerId:7", ClassBenign},
		{316, "Market depth data has been HALTED. Please re-subscribe.", ClassSubDeadRetry},
		{317, "Market depth data has been RESET. Please empty deep book contents before applying any new entries.", ClassInfo},
		{326, "Unable to connect as the client id is already in use. Retry with a unique client id.", ClassRejectedRetry},
		{327, "Only API connections with clientId set to 0 can set the auto bind TWS orders property.", ClassFatalConfig},
		{354, "Requested market data is not subscribed.", ClassEntitlement},
		{365, "No scanner subscription found for ticker id:7", ClassBenign},
		{366, "No historical data query found for ticker id:32", ClassSubDeadRetry},
		{385, "Duplicate ticker ID for API scanner subscription.", ClassSubDeadRetry},
		{386, "Duplicate ticker ID for API historical data query.", ClassSubDeadRetry},
		{399, "Order Message:\nBUY 1 AAPL NASDAQ.NMS\nWarning: your order will not be placed until 2026-11-23 09:30:00 US/Eastern", ClassInfo},
		{430, "We are sorry, but fundamentals data for the security specified is not available.", ClassEntitlement},
		{492, "Scanner data is delayed", ClassInfo},
		{501, "Already connected.", ClassFatalProtocol},
		{502, "Couldn't connect to TWS.", ClassSocketDown},
		{503, "The TWS is out of date and must be upgraded.", ClassFatalConfig},
		{504, "Not connected", ClassSocketDown},
		{505, "Fatal Error: Unknown message id.", ClassFatalProtocol},
		{506, "Unsupported version", ClassFatalProtocol},
		{507, "Bad message length", ClassSocketDown},
		{508, "Bad message", ClassFatalProtocol},
		{509, "Exception caught while reading socket - Connection reset", ClassSocketDown},
		{520, "Failed to create socket", ClassSocketDown},
		{1300, "TWS socket port has been reset and this connection is being dropped. Please reconnect on the new port - 4003", ClassFatalConfig},
		{2100, "API client has been unsubscribed from account data.", ClassInfo},
		{2101, "Unable to subscribe to account as the following clients are subscribed to a different account.", ClassInfo},
		{2109, "Order Event Warning: Attribute 'Outside Regular Trading Hours' is ignored", ClassInfo},
		{2137, "Cross Side Warning", ClassInfo},
		{2150, "Invalid position trade derived value", ClassInfo},
		{2152, "Exchanges - Depth: IEX; Top: BYX; AMEX; Need additional market data permissions - Depth: BATS; ", ClassInfo},
		{2168, "Etrade Only Not Supported Warning", ClassInfo},
		{2169, "Firm Quote Only Not Supported Warning", ClassInfo},
		{10038, "An operation was attempted on something that is not a socket", ClassSocketDown},
		{10053, "An established connection was aborted by the software in your host machine", ClassSocketDown},
		{10054, "An existing connection was forcibly closed by the remote host", ClassSocketDown},
		{10089, "Requested market data requires additional subscription for API. Delayed market data is available.", ClassAdvisory},
		{10090, "Part of requested market data is not subscribed. Subscription-independent ticks are still active.", ClassAdvisory},
		{10091, "Part of requested market data requires additional subscription for API.", ClassEntitlement},
		{10167, "Requested market data is not subscribed. Displaying delayed market data.", ClassAdvisory},
		{10168, "Requested market data is not subscribed. Delayed market data is not enabled.", ClassEntitlement},
		{10182, "Failed to request live updates (disconnected).", ClassSubDeadRetry},
		{10186, "Requested market data is not subscribed. Delayed market data is not enabled", ClassEntitlement},
		{10187, "Failed to request historical ticks:No market data permissions for ISLAND STK", ClassEntitlement},
		{10190, "Max number of tick-by-tick requests has been reached.", ClassCapacity},
		{10197, "No market data during competing live session", ClassCompeting},
		{10225, "Bust event occurred, current subscription is deactivated. Please resubscribe real-time bars immediately.", ClassSubDeadRetry},
		{10276, "News feed is not allowed", ClassEntitlement},
		{10299, "Expected what to show is AGGTRADES, please use that instead of TRADES.", ClassRequestInvalid},
		{10314, "End Date/Time: The date, time, or time-zone entered is invalid.", ClassRequestInvalid},
		{10339, "Setting end date/time for continuous future security type is not allowed", ClassRequestInvalid},
	}
	for _, tt := range tests {
		// The same in a language no rule can read: the text must not matter.
		for _, text := range []string{tt.text, "\u8fde\u63a5\u5df2\u65ad\u5f00", ""} {
			got := ReadNotice(tt.code, text)
			if got.Code != tt.code || got.Class != tt.want || got.UnmatchedText {
				t.Errorf("ReadNotice(%d, %q) = code %d, class %s, unmatched %v, want class %s, matched",
					tt.code, text, got.Code, got.Class, got.UnmatchedText, tt.want)
			}
			if got.Link != "" || got.DataLost || got.Farms != nil {
				t.Errorf("ReadNotice(%d, %q) = link %q, data lost %v, farms %v, want nothing of the levels",
					tt.code, text, got.Link, got.DataLost, got.Farms)
			}
		}
	}
}

func TestTheTextDecidesWhereACodeStandsForManyThings(t *testing.T) {
	const service = "Historical Market Data Service error message:"
	tests := []struct {
		code int
		text string
		want Class
	}{
		{162, service + "Historical data request pacing violation", ClassPacing},
		{162, service + "HMDS query returned no data: AAPL@SMART Trades", ClassNoData},
		{162, service + "API historical data query cancelled: 2523", ClassBenign},
		{162, service + "No market data permissions for NYSE STK", ClassEntitlement},
		{162, service + "Trading TWS session is connected from a different IP address", ClassCompeting},
		{162, service + "invalid step: 1 secs", ClassRequestInvalid},
		{162, service + "No historical market data for EUR/CASH@IDEALPRO Last 60", ClassRequestInvalid},
		{162, strings.ToUpper(service + "historical data request pacing violation"), ClassPacing},
		{321, "Error validating request.-'bK' : cause - The API interface is currently in Read-Only mode.", ClassRequestInvalid},
		{321, "Error validating request:-'ie' : cause - You must specify an account.", ClassRequestInvalid},
		{321, "Error validating request.-'bQ' : cause - Duplicate ticker id", ClassSubDeadRetry},
		{322, "Error processing request.-'jd' : cause - Duplicate ticker id", ClassSubDeadRetry},
		{322, "Error processing request.-'bO' : cause - Only 50 simultaneous API historical data requests allowed.", ClassCapacity},
		{322, "Error processing request.-'bS' : cause - Invalid cusip entered", ClassRequestInvalid},
		{420, "Invalid Real-time Query:Historical data request pacing violation", ClassPacing},
		{420, "Invalid Real-time Query:No market data permissions for NYSE STK. Requested market data requires additional subscription for API.", ClassEntitlement},
		{420, "Invalid Real-time Query:Trading TWS session is connected from a different IP address", ClassCompeting},
		{420, "Invalid Real-time Query:No historical market data for XYZ/STK", ClassRequestInvalid},
		{10189, "Failed to request tick-by-tick data.Trading TWS session is connected from a different IP address", ClassCompeting},
		{10189, "Failed to request tick-by-tick data.No market data permissions for ISLAND STK", ClassEntitlement},
		{10189, "Failed to request tick-by-tick data:BidAsk tick-by-tick requests are not supported for XAUUSD", ClassRequestInvalid},
	}
	for _, tt := range tests {
		got := ReadNotice(tt.code, tt.text)
		if got.Class != tt.want || got.UnmatchedText {
			t.Errorf("ReadNotice(%d, %q) = class %s, unmatched %v, want class %s, matched", tt.code, tt.text, got.Class, got.UnmatchedText, tt.want)
		}
	}
}

func TestARuleBringsItsOwnMeaningAndAdvice(t *testing.T) {
	got := ReadNotice(162, "HMDS query returned no data")
	want := Reading{Code: 162, Class: ClassNoData, Meaning: "there is no historical data for the query", Advice: "nothing to do"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("ReadNotice(162, no data) = %+v, want %+v", got, want)
	}
}

func TestTranslatedTextFallsBackToTheCodesClassAndSaysSo(t *testing.T) {
	tests := []struct {
		code int
		text string
		want Class
	}{
		{162, "Mensaje de error del servicio de datos hist\u00f3ricos: violaci\u00f3n del ritmo de solicitudes", ClassPacing},
		{162, "\u5386\u53f2\u5e02\u573a\u6570\u636e\u670d\u52a1\u9519\u8bef\u4fe1\u606f\uff1a\u65e0\u6570\u636e", ClassPacing},
		{162, "", ClassPacing},
		{321, "Error al validar la solicitud", ClassRequestInvalid},
		{322, "Error al procesar la solicitud", ClassRequestInvalid},
		{420, "Consulta en tiempo real no v\u00e1lida", ClassPacing},
		{10189, "Fehler bei der Anforderung von Tick-by-Tick-Daten", ClassCompeting},
	}
	for _, tt := range tests {
		got := ReadNotice(tt.code, tt.text)
		if got.Class != tt.want || !got.UnmatchedText {
			t.Errorf("ReadNotice(%d, %q) = class %s, unmatched %v, want class %s, unmatched", tt.code, tt.text, got.Class, got.UnmatchedText, tt.want)
		}
		if got.Meaning == "" || got.Advice == "" {
			t.Errorf("ReadNotice(%d, %q) says %q and %q, want the code's own words", tt.code, tt.text, got.Meaning, got.Advice)
		}
	}
}

func TestAnUnknownCodeIsUnknown(t *testing.T) {
	for _, code := range []int{0, -1, 1, 99, 2111, 99999} {
		got := ReadNotice(code, "Market data farm connection is broken:usfarm")
		if got.Code != code || got.Class != ClassUnknown || got.Meaning != "" || got.Advice == "" || got.Farms != nil || got.Link != "" || got.UnmatchedText {
			t.Errorf("ReadNotice(%d) = %+v, want only the code, the class unknown and advice", code, got)
		}
	}
}

func TestLinkCodesMoveTheLink(t *testing.T) {
	tests := []struct {
		code     int
		text     string
		class    Class
		link     LinkStatus
		dataLost bool
	}{
		{1100, "Connectivity between IBKR and Trader Workstation has been lost.", ClassLinkLost, LinkDown, false},
		{1101, "Connectivity between IBKR and Trader Workstation has been restored - data lost.", ClassLinkRestoredLost, LinkUp, true},
		{1102, "Connectivity between IBKR and Trader Workstation has been restored - data maintained.", ClassLinkRestoredKept, LinkUp, false},
		{2110, "Connectivity between Trader Workstation and server is broken. It will be restored automatically.", ClassLinkLost, LinkDown, false},
	}
	for _, tt := range tests {
		got := ReadNotice(tt.code, tt.text)
		if got.Class != tt.class || got.Link != tt.link || got.DataLost != tt.dataLost || got.Farms != nil {
			t.Errorf("ReadNotice(%d) = class %s, link %s, data lost %v, farms %v, want %s, %s, %v, none",
				tt.code, got.Class, got.Link, got.DataLost, got.Farms, tt.class, tt.link, tt.dataLost)
		}
	}
}

func TestFarmNoticesNameTheFarmItsKindAndItsState(t *testing.T) {
	tests := []struct {
		code int
		text string
		want string // kind/name status
	}{
		{2103, "Market data farm connection is broken:usfarm", "market_data/usfarm down"},
		{2104, "Market data farm connection is OK:usfarm.nj", "market_data/usfarm.nj up"},
		{2105, "HMDS data farm connection is broken:ushmds", "historical/ushmds down"},
		{2106, "HMDS data farm connection is OK:euhmds", "historical/euhmds up"},
		{2107, "HMDS data farm connection is inactive but should be available upon demand.ushmds", "historical/ushmds idle"},
		{2108, "Market data farm connection is inactive but should be available upon demand.usfuture", "market_data/usfuture idle"},
		{2108, "Market data farm connection is inactive but should be available upon demand.usfarm.nj", "market_data/usfarm.nj idle"},
		{2119, "Market data farm is connecting:usfarm", "market_data/usfarm connecting"},
		{2157, "Sec-def data farm connection is broken:secdefil", "sec_def/secdefil down"},
		{2158, "Sec-def data farm connection is OK:secdefhk", "sec_def/secdefhk up"},

		{2104, "Market data farm connection is OK: usfarm \r\n", "market_data/usfarm up"},
		{2104, "12:30:05 Market data farm connection is OK:usfarm", "market_data/usfarm up"},
		{2104, "\u5e02\u573a\u6570\u636e\u519c\u573a\u8fde\u63a5\u6b63\u5e38:usfarm", "market_data/usfarm up"},

		{2103, "Market data farm connection is broken", "market_data/ down"},
		{2103, "Market data farm connection is broken:", "market_data/ down"},
		{2103, "broken", "market_data/ down"},
		{2107, "HMDS data farm connection is inactive but should be available upon demand.", "historical/ idle"},
		{2108, "idle", "market_data/ idle"},
		{2106, "", "historical/ up"},
		{2103, "is broken:the whole farm", "market_data/ down"},
		{2103, "is broken:us\x00farm", "market_data/ down"},
		{2103, "is broken:\xff\xfe", "market_data/ down"},
		{2103, "is broken:" + strings.Repeat("f", 33), "market_data/ down"},
	}
	for _, tt := range tests {
		got := ReadNotice(tt.code, tt.text)
		if words := wordFarms(got.Farms); words != tt.want {
			t.Errorf("ReadNotice(%d, %q) tells of %q, want %q", tt.code, tt.text, words, tt.want)
		}
		if got.Link != "" || got.DataLost || got.UnmatchedText {
			t.Errorf("ReadNotice(%d, %q) = link %q, data lost %v, unmatched %v, want none", tt.code, tt.text, got.Link, got.DataLost, got.UnmatchedText)
		}
	}
}

func TestLinkNoticesListFarms(t *testing.T) {
	const restored = "Connectivity between IBKR and Trader Workstation has been restored - data maintained. "
	tests := []struct {
		code int
		text string
		want string
	}{
		{
			1102, restored + "All data farms are connected: usfarm; usfarm.nj; ushmds; secdefil.",
			"market_data/usfarm up, market_data/usfarm.nj up, historical/ushmds up, sec_def/secdefil up",
		},
		{
			1102, restored + "The following farms are connected: usfarm; secdefnj. The following farms are not connected: ushmds.",
			"market_data/usfarm up, sec_def/secdefnj up, historical/ushmds down",
		},
		{
			1102, restored + "\n  The following farms are connected: usfarm.nj; cashhmds; fundfarm.\n  The following farms are not connected: usfuture.\n",
			"market_data/usfarm.nj up, historical/cashhmds up, market_data/fundfarm up, market_data/usfuture down",
		},
		{1101, "... restored - data lost. The following farms are not connected: usfarm; euhmds.", "market_data/usfarm down, historical/euhmds down"},
		{2110, "... is broken. The following farms are disconnected: usopt", "market_data/usopt down"},
		{1102, restored + "All data farms are connected: .", ""},
		{1102, restored + "All data farms are connected: none of them; usfarm", "market_data/usfarm up"},
		{1102, restored + "usfarm; ushmds", ""},
	}
	for _, tt := range tests {
		got := ReadNotice(tt.code, tt.text)
		if words := wordFarms(got.Farms); words != tt.want {
			t.Errorf("ReadNotice(%d, %q) lists %q, want %q", tt.code, tt.text, words, tt.want)
		}
	}
}

func TestAListOfFarmsIsBounded(t *testing.T) {
	text := "All data farms are connected: " + strings.Repeat("usfarm; ", 1000)
	if got := len(ReadNotice(1102, text+text).Farms); got != maxFarms {
		t.Errorf("ReadNotice read %d farms, want %d", got, maxFarms)
	}
}

func wordFarms(farms []FarmNews) string {
	var words []string
	for _, f := range farms {
		words = append(words, f.Farm.String()+" "+string(f.Status))
	}
	return strings.Join(words, ", ")
}

func FuzzReadNotice(f *testing.F) {
	f.Add(1102, "restored. The following farms are connected: usfarm; secdefnj. The following farms are not connected: ushmds.")
	f.Add(1101, "connected:connected:not connected:;;;. . .")
	f.Add(2104, "Market data farm connection is OK:usfarm")
	f.Add(2104, "OK:us\x1b[31mfarm")
	f.Add(2108, "available upon demand.usfuture")
	f.Add(162, "Historical Market Data Service error message:HMDS query returned no data")
	f.Add(10189, "\xff\u0130")
	f.Add(-1, "")
	f.Fuzz(func(t *testing.T, code int, text string) {
		r := ReadNotice(code, text)
		if r.Code != code || r.Class == "" || r.Advice == "" {
			t.Errorf("ReadNotice(%d, %q) = %+v, want its code, a class and advice", code, text, r)
		}
		_, known := slices.BinarySearchFunc(codes, code, func(c Code, n int) int { return cmp.Compare(c.Number, n) })
		if known != (r.Class != ClassUnknown) || known != (r.Meaning != "") {
			t.Errorf("ReadNotice(%d, %q) = class %s, meaning %q; in the table: %v", code, text, r.Class, r.Meaning, known)
		}
		if r.UnmatchedText && (Code{Number: code}).Rules() == nil {
			t.Errorf("ReadNotice(%d, %q) found the text unmatched, and no text rules the code", code, text)
		}
		if len(r.Farms) > 64 {
			t.Errorf("ReadNotice(%d, %q) read %d farms, want at most 64", code, text, len(r.Farms))
		}
		for _, farm := range r.Farms {
			if farm.Kind == "" || farm.Status == "" || len(farm.Name) > 32 || strings.ContainsFunc(farm.Name, func(r rune) bool { return r <= ' ' || r > '~' }) {
				t.Errorf("ReadNotice(%d, %q) read the farm %+v", code, text, farm)
			}
		}
	})
}

func TestWarningsAreNoAnswers(t *testing.T) {
	for _, test := range []struct {
		code int
		text string
		want bool
	}{
		{2176, "fractional share size rounded down", true},
		{2199, "whatever comes next", true},
		{2200, "", false},
		{2099, "", false},
		{1100, "Connectivity between IBKR and Trader Workstation has been lost.", true},
		{2106, "HMDS data farm connection is OK:ushmds", true},
		{100, "Max rate of messages per second has been exceeded", false},
		{162, "Historical Market Data Service error message:HMDS query returned no data: AAPL@SMART Trades", false},
		{162, "\u5386\u53f2", false},
		{200, "No security definition has been found for the request", false},
		{366, "No historical data query found for ticker id:7", false},
	} {
		if got := ReadNotice(test.code, test.text).GoesOn(); got != test.want {
			t.Errorf("after %d %q the request goes on: %t, want %t", test.code, test.text, got, test.want)
		}
	}
}
