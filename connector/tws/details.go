package tws

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"ibconn/events"

	"github.com/scmhub/ibapi"
)

const (
	// maxDescriptions is how many requests' contracts are collected at once.
	maxDescriptions = 256
	// What a contract's texts may have in bytes. IB's names are a few dozen, its
	// trading hours a few hundred; a frame may be megabytes.
	maxName  = 256
	maxHours = 16 << 10
)

// contractOf words a description for the library. One that was checked loses
// nothing: its numbers have no more digits than a float64 keeps.
func contractOf(c events.Contract) *ibapi.Contract {
	out := ibapi.NewContract()
	out.ConID, out.Symbol, out.SecType = c.ConID, c.Symbol, c.SecType
	out.LastTradeDateOrContractMonth, out.Right, out.Multiplier = c.LastTradeDateOrContractMonth, c.Right, c.Multiplier
	out.Exchange, out.PrimaryExchange, out.Currency = c.Exchange, c.PrimaryExch, c.Currency
	out.LocalSymbol, out.TradingClass = c.LocalSymbol, c.TradingClass
	out.SecIDType, out.SecID, out.IncludeExpired = c.SecIDType, c.SecID, c.IncludeExpired
	if strike, err := strconv.ParseFloat(c.Strike, 64); err == nil {
		out.Strike = strike
	}
	return out
}

// detailsOf words what the library brought as an answer has it.
func detailsOf(d *ibapi.ContractDetails, garbled bool) events.ContractDetails {
	c := d.Contract
	long := d.LongName
	if garbled {
		long = ungarble(long)
	}
	return events.ContractDetails{
		Contract: events.Contract{
			ConID: c.ConID, Symbol: name(c.Symbol), SecType: name(c.SecType),
			LastTradeDateOrContractMonth: name(c.LastTradeDateOrContractMonth),
			Strike:                       decimal(c.Strike), Right: right(c.Right), Multiplier: multiplier(c.Multiplier),
			Exchange: name(c.Exchange), PrimaryExch: name(c.PrimaryExchange), Currency: name(c.Currency),
			LocalSymbol: name(c.LocalSymbol), TradingClass: name(c.TradingClass),
			SecIDType: name(c.SecIDType), SecID: name(c.SecID),
		},
		LongName: name(long), MarketName: name(d.MarketName),
		MinTick: decimal(d.MinTick), PriceMagnifier: d.PriceMagnifier,
		MinSize: size(d.MinSize), SizeIncrement: size(d.SizeIncrement), SuggestedSizeIncrement: size(d.SuggestedSizeIncrement),
		ContractMonth: name(d.ContractMonth), RealExpirationDate: name(d.RealExpirationDate), LastTradeTime: name(d.LastTradeTime),
		UnderConID: d.UnderConID, UnderSymbol: name(d.UnderSymbol), UnderSecType: name(d.UnderSecType),
		StockType: name(d.StockType), Industry: name(d.Industry), Category: name(d.Category), Subcategory: name(d.Subcategory),
		ValidExchanges: cut(d.ValidExchanges, maxHours), MarketRuleIDs: cut(d.MarketRuleIDs, maxHours),
		TimeZoneID: name(d.TimeZoneID), TradingHours: cut(d.TradingHours, maxHours), LiquidHours: cut(d.LiquidHours, maxHours),
		Cusip: name(d.Cusip), Maturity: name(d.Maturity), Coupon: decimal(d.Coupon),
	}
}

func name(s string) string { return cut(s, maxName) }

// decimal words a number with the digits that it takes to tell it from any
// other: those that the gateway sent. IB's zero means that there is none.
func decimal(v float64) string {
	if v == 0 || v == ibapi.UNSET_FLOAT || math.IsNaN(v) || math.IsInf(v, 0) {
		return ""
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

func size(v ibapi.Decimal) string {
	if v == ibapi.UNSET_DECIMAL || v == ibapi.ZERO {
		return ""
	}
	return v.String()
}

func multiplier(s string) string {
	if s == "0" {
		return ""
	}
	return name(s)
}

// right words put and call as they are asked for. IB has 0 and ? for neither.
func right(s string) string {
	switch s {
	case "C", "CALL":
		return "C"
	case "P", "PUT":
		return "P"
	}
	return ""
}

var numbersForm = regexp.MustCompile(`^\[[0-9 ]*\]$`)

// ungarble undoes what the library does to a name in a text session: it prints
// the bytes of it as numbers, "[65 80 80 76 69]". In those bytes what is not
// ASCII is escaped as in a Go string.
func ungarble(s string) string {
	if !numbersForm.MatchString(s) {
		return s
	}
	var b []byte
	for number := range strings.FieldsSeq(s[1 : len(s)-1]) {
		n, err := strconv.ParseUint(number, 10, 8)
		if err != nil {
			return s
		}
		b = append(b, byte(n))
	}
	if plain, err := strconv.Unquote(`"` + string(b) + `"`); err == nil && utf8.ValidString(plain) {
		return plain
	}
	return strings.ToValidUTF8(string(b), "")
}
