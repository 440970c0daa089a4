package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Contract describes an instrument by the fields that IB knows, under IB's
// names. What is empty is not said; a description that several contracts fit
// is ambiguous. [ParseContract] reads one, and says what a field may hold.
type Contract struct {
	ConID   int64  `json:"con_id,omitempty"`   // IB's own number of it, which says everything
	Symbol  string `json:"symbol,omitempty"`   // of the underlying, for a derivative; for a currency pair the first currency
	SecType string `json:"sec_type,omitempty"` // one of [SecTypes]
	// LastTradeDateOrContractMonth is a day (20261218) or a month (202612).
	LastTradeDateOrContractMonth string `json:"last_trade_date_or_contract_month,omitempty"`
	Strike                       string `json:"strike,omitempty"`     // a decimal number
	Right                        string `json:"right,omitempty"`      // C or P
	Multiplier                   string `json:"multiplier,omitempty"` // a decimal number
	Exchange                     string `json:"exchange,omitempty"`   // where it is to be traded, or SMART
	PrimaryExch                  string `json:"primary_exch,omitempty"`
	Currency                     string `json:"currency,omitempty"`
	LocalSymbol                  string `json:"local_symbol,omitempty"`
	TradingClass                 string `json:"trading_class,omitempty"`
	SecIDType                    string `json:"sec_id_type,omitempty"` // what SecID is: ISIN, CUSIP, SEDOL, RIC or FIGI
	SecID                        string `json:"sec_id,omitempty"`
	IncludeExpired               bool   `json:"include_expired,omitempty"` // find futures that have expired, too
}

// ContractDetails is a contract as IB knows it, with what it says of trading
// it. Prices and sizes are decimal numbers as text.
type ContractDetails struct {
	Contract
	LongName               string `json:"long_name,omitempty"`
	MarketName             string `json:"market_name,omitempty"`
	MinTick                string `json:"min_tick,omitempty"`                 // the smallest step of its price; other steps may hold at other prices
	PriceMagnifier         int64  `json:"price_magnifier,omitempty"`          // what its price is to be divided by for the currency's unit
	MinSize                string `json:"min_size,omitempty"`                 // the smallest size of an order
	SizeIncrement          string `json:"size_increment,omitempty"`           // the steps of sizes
	SuggestedSizeIncrement string `json:"suggested_size_increment,omitempty"` // the usual steps
	ContractMonth          string `json:"contract_month,omitempty"`
	RealExpirationDate     string `json:"real_expiration_date,omitempty"`
	LastTradeTime          string `json:"last_trade_time,omitempty"`
	UnderConID             int64  `json:"under_con_id,omitempty"` // the con_id of what it is derived from
	UnderSymbol            string `json:"under_symbol,omitempty"`
	UnderSecType           string `json:"under_sec_type,omitempty"`
	StockType              string `json:"stock_type,omitempty"`
	Industry               string `json:"industry,omitempty"`
	Category               string `json:"category,omitempty"`
	Subcategory            string `json:"subcategory,omitempty"`
	ValidExchanges         string `json:"valid_exchanges,omitempty"` // parted by commas
	MarketRuleIDs          string `json:"market_rule_ids,omitempty"` // of its price steps, one for each of those, parted by commas
	TimeZoneID             string `json:"time_zone_id,omitempty"`    // of the hours below, as IB names it
	TradingHours           string `json:"trading_hours,omitempty"`   // the next days', in IB's form: 20261218:0930-20261218:1600;20261219:CLOSED
	LiquidHours            string `json:"liquid_hours,omitempty"`    // of these, those of the main session
	Cusip                  string `json:"cusip,omitempty"`           // a bond's
	Maturity               string `json:"maturity,omitempty"`        // a bond's
	Coupon                 string `json:"coupon,omitempty"`          // a bond's
}

// SecTypes lists the kinds of contract that can be asked for. IB's BAG, a
// combination of others, is not among them.
var SecTypes = []string{
	"STK", "OPT", "FUT", "FOP", "CASH", "IND", "CFD", "CMDTY", "CRYPTO", "BOND", "FUND", "WAR", "CONTFUT", "FUT+CONTFUT", "IOPT",
}

var secIDTypes = []string{"ISIN", "CUSIP", "SEDOL", "RIC", "FIGI"}

const (
	// maxConID is the largest conId: it is 32 bits wide on the wire.
	maxConID = 1<<31 - 1
	// maxField is how many characters a field of a contract may have.
	maxField = 64
	// maxDigits is how many digits a decimal of a contract may have: what the
	// wire's 64-bit floating point keeps.
	maxDigits = 15
)

// shortForms is what an error says of how a contract can be written.
const shortForms = `want a conId (265598), AAPL, AAPL@NASDAQ, SAP/EUR, EUR.USD, "ES@CME 202612", "AAPL 20261218 C 150", or a JSON object with IB's fields`

// The short forms. A symbol may have dots in it, and letters behind a space
// ("BT.A", "BRK B", "BAC PRL").
var (
	pairForm   = regexp.MustCompile(`^([A-Z]{3})\.([A-Z]{3})$`)
	futureForm = regexp.MustCompile(`^(` + symbolForm + `)@([A-Z0-9.]+) ([0-9]{6}|[0-9]{8})$`)
	optionForm = regexp.MustCompile(`^(` + symbolForm + `) ([0-9]{6}|[0-9]{8}) ([CP]) ([0-9.]+)$`)
	stockForm  = regexp.MustCompile(`^(` + symbolForm + `)(?:@([A-Z0-9.]+))?(?:/([A-Z]{3}))?$`)
	conIDForm  = regexp.MustCompile(`^[0-9]+$`)

	decimalForm = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)
	expiryForm  = regexp.MustCompile(`^([0-9]{6}|[0-9]{8})$`)
)

const symbolForm = `[A-Za-z0-9][A-Za-z0-9.&'-]*(?: [A-Z]{1,4})?`

// ParseContract reads a contract as people write it:
//
//	265598               by its conId
//	AAPL                 a stock: SMART, in USD
//	AAPL@NASDAQ          the same, with its primary exchange
//	SAP/EUR, SAP@IBIS/EUR  in another currency
//	EUR.USD              a currency pair (CASH, IDEALPRO)
//	ES@CME 202612        a future, by its month or last day
//	AAPL 20261218 C 150  an option: SMART, in USD
//	{"symbol":"ES", ...} by IB's fields
//
// An error says what was found and what is allowed.
func ParseContract(text string) (Contract, error) {
	c, err := parseContract(strings.TrimSpace(text))
	if err != nil {
		return Contract{}, err
	}
	return c, nil
}

func parseContract(text string) (Contract, error) {
	if strings.HasPrefix(text, "{") {
		return parseContractObject([]byte(text))
	}
	c, ok := expand(text)
	if !ok {
		return c, fmt.Errorf("contract %.80q: %s", text, shortForms)
	}
	if err := c.Check(); err != nil {
		return c, fmt.Errorf("contract %.80q: %w", text, err)
	}
	return c, nil
}

// expand reads a short form.
func expand(text string) (Contract, bool) {
	if conIDForm.MatchString(text) {
		id, err := strconv.ParseInt(text, 10, 64)
		return Contract{ConID: id}, err == nil && id > 0
	}
	if m := pairForm.FindStringSubmatch(text); m != nil {
		return Contract{Symbol: m[1], SecType: "CASH", Exchange: "IDEALPRO", Currency: m[2]}, true
	}
	if m := futureForm.FindStringSubmatch(text); m != nil {
		return Contract{Symbol: m[1], SecType: "FUT", Exchange: m[2], LastTradeDateOrContractMonth: m[3]}, true
	}
	if m := optionForm.FindStringSubmatch(text); m != nil {
		return Contract{
			Symbol: m[1], SecType: "OPT", Exchange: "SMART", Currency: "USD",
			LastTradeDateOrContractMonth: m[2], Right: m[3], Strike: m[4],
		}, true
	}
	if m := stockForm.FindStringSubmatch(text); m != nil {
		c := Contract{Symbol: m[1], SecType: "STK", Exchange: "SMART", PrimaryExch: m[2], Currency: m[3]}
		if c.Currency == "" {
			c.Currency = "USD"
		}
		return c, true
	}
	return Contract{}, false
}

// parseContractObject reads a contract's fields as strictly as a request's.
func parseContractObject(object []byte) (c Contract, err error) {
	err = parseObject(object, []field{
		{"con_id", &c.ConID},
		{"symbol", &c.Symbol},
		{"sec_type", &c.SecType},
		{"last_trade_date_or_contract_month", &c.LastTradeDateOrContractMonth},
		{"strike", &c.Strike},
		{"right", &c.Right},
		{"multiplier", &c.Multiplier},
		{"exchange", &c.Exchange},
		{"primary_exch", &c.PrimaryExch},
		{"currency", &c.Currency},
		{"local_symbol", &c.LocalSymbol},
		{"trading_class", &c.TradingClass},
		{"sec_id_type", &c.SecIDType},
		{"sec_id", &c.SecID},
		{"include_expired", &c.IncludeExpired},
	})
	if err == nil {
		err = c.Check()
	}
	if err != nil {
		return Contract{}, fmt.Errorf("contract: %w", err)
	}
	return c, nil
}

// Check says which field of c holds what cannot be asked for, and what can. A
// contract that came from [ParseContract] is in order.
func (c Contract) Check() error {
	if c.ConID < 0 || c.ConID > maxConID {
		return fmt.Errorf("con_id %d: want 1 to %d", c.ConID, maxConID)
	}
	if c.ConID == 0 && c.Symbol == "" && c.LocalSymbol == "" && c.SecID == "" {
		return errors.New("want con_id, symbol, local_symbol or sec_id, or it could be anything")
	}
	for _, f := range []struct{ name, text string }{
		{"symbol", c.Symbol},
		{"sec_type", c.SecType},
		{"exchange", c.Exchange},
		{"primary_exch", c.PrimaryExch},
		{"currency", c.Currency},
		{"local_symbol", c.LocalSymbol},
		{"trading_class", c.TradingClass},
		{"sec_id", c.SecID},
	} {
		if len(f.text) > maxField {
			return fmt.Errorf("%s of %d characters: want at most %d", f.name, len(f.text), maxField)
		}
		// What is not printable could end a field in the text of the wire.
		if strings.ContainsFunc(f.text, func(r rune) bool { return r < ' ' || r > '~' }) {
			return fmt.Errorf("%s %.40q: want printable ASCII", f.name, f.text)
		}
	}
	switch {
	case c.SecType != "" && !slices.Contains(SecTypes, c.SecType):
		return fmt.Errorf("sec_type %.40q: want one of %s", c.SecType, strings.Join(SecTypes, ", "))
	case c.Right != "" && c.Right != "C" && c.Right != "P":
		return fmt.Errorf("right %.40q: want C or P", c.Right)
	case c.LastTradeDateOrContractMonth != "" && !expiryForm.MatchString(c.LastTradeDateOrContractMonth):
		return fmt.Errorf("last_trade_date_or_contract_month %.40q: want a month (202612) or a day (20261218)", c.LastTradeDateOrContractMonth)
	case (c.SecIDType == "") != (c.SecID == ""):
		return errors.New("sec_id and sec_id_type: want both or neither")
	case c.SecIDType != "" && !slices.Contains(secIDTypes, c.SecIDType):
		return fmt.Errorf("sec_id_type %.40q: want one of %s", c.SecIDType, strings.Join(secIDTypes, ", "))
	}
	for _, f := range []struct{ name, text string }{{"strike", c.Strike}, {"multiplier", c.Multiplier}} {
		if f.text != "" && (!decimalForm.MatchString(f.text) || len(f.text) > maxDigits) {
			return fmt.Errorf("%s %.40q: want a decimal number of at most %d characters, such as 150.5", f.name, f.text, maxDigits)
		}
	}
	return nil
}

// String writes c as [ParseContract] reads it: in its short form where it has
// one, else as a JSON object.
func (c Contract) String() string {
	if short := c.short(); short != "" {
		if again, err := ParseContract(short); err == nil && again == c {
			return short
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(c) // strings, a number and a bool: it cannot fail
	return strings.TrimSuffix(b.String(), "\n")
}

// short is the short form that c would have if nothing else stood in it.
func (c Contract) short() string {
	switch {
	case c.ConID != 0:
		return strconv.FormatInt(c.ConID, 10)
	case c.SecType == "CASH":
		return c.Symbol + "." + c.Currency
	case c.SecType == "FUT":
		return c.Symbol + "@" + c.Exchange + " " + c.LastTradeDateOrContractMonth
	case c.SecType == "OPT":
		return strings.Join([]string{c.Symbol, c.LastTradeDateOrContractMonth, c.Right, c.Strike}, " ")
	case c.SecType == "STK":
		short := c.Symbol
		if c.PrimaryExch != "" {
			short += "@" + c.PrimaryExch
		}
		if c.Currency != "USD" {
			short += "/" + c.Currency
		}
		return short
	}
	return ""
}
