package gateway

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/scmhub/ibapi/protobuf"
	"google.golang.org/protobuf/proto"
)

// instrument is one contract the gateway knows, and what the market needs to make its prices.
type instrument struct {
	conID      int32
	contract   *protobuf.Contract
	details    *protobuf.ContractDetails
	base       float64 // the price around which it wanders
	perUnit    float64 // smallest price steps per unit: 100 for a minTick of 0.01
	halfSpread float64
	unrest     float64 // how far it wanders, 1 for a stock
	lot        int64
	traded     bool // false for what is only quoted, such as currencies
	calendar   *calendar
	head       time.Time // when its data begins
}

func (in *instrument) round(price float64) float64 { return math.Round(price*in.perUnit) / in.perUnit }

func (in *instrument) roundFine(price float64) float64 {
	return math.Round(price*in.perUnit*10) / (in.perUnit * 10)
}

// String names the contract as IB's errors do, such as EUR/CASH@IDEALPRO.
func (in *instrument) String() string {
	return in.contract.GetSymbol() + "/" + in.contract.GetSecType() + "@" + in.contract.GetExchange()
}

type catalogue []*instrument

// newCatalogue lists the built-in contracts. The ES futures are the two quarterly ones that expire next after now.
func newCatalogue(now time.Time) catalogue {
	c := catalogue{
		stock(265598, "AAPL", "APPLE INC", "NASDAQ", "NMS", "COMMON", 190, time.Date(1980, 12, 12, 0, 0, 0, 0, time.UTC)),
		stock(272093, "MSFT", "MICROSOFT CORP", "NASDAQ", "NMS", "COMMON", 410, time.Date(1986, 3, 13, 0, 0, 0, 0, time.UTC)),
		stock(756733, "SPY", "SS SPDR S&P 500 ETF TRUST-US", "ARCA", "SPY", "ETF", 520, time.Date(1993, 1, 29, 0, 0, 0, 0, time.UTC)),
		euro(),
	}
	expiry := now
	for range 2 {
		expiry = nextQuarterly(expiry)
		c = append(c, future(expiry))
	}
	return c
}

// head returns when the first liquid hours from a day on begin, which is when the data of an instrument listed then begins.
func (c *calendar) head(listed time.Time) time.Time {
	for day := time.Date(listed.Year(), listed.Month(), listed.Day(), 0, 0, 0, 0, c.zone); ; day = day.AddDate(0, 0, 1) {
		if first, open := c.liquid.on(day); open {
			return first.from
		}
	}
}

func stock(conID int32, symbol, name, primary, class, kind string, base float64, listed time.Time) *instrument {
	hours := stockHours()
	return &instrument{
		calendar: hours, head: hours.head(listed),
		conID: conID, base: base, perUnit: 100, halfSpread: 0.01, unrest: 1, lot: 100, traded: true,
		contract: &protobuf.Contract{
			ConId: &conID, Symbol: &symbol, SecType: new("STK"), Strike: new(0.0), Exchange: new("SMART"),
			PrimaryExch: &primary, Currency: new("USD"), LocalSymbol: &symbol, TradingClass: &class, Description: &name,
		},
		details: &protobuf.ContractDetails{
			MarketName: &class, LongName: &name, MinTick: new("0.01"), StockType: &kind,
			OrderTypes: new("LMT,MKT,STP"), ValidExchanges: new("SMART,AMEX,NYSE,ARCA,BATS,NASDAQ,ISLAND,IEX"),
			PriceMagnifier: new(int32(1)), TimeZoneId: new("US/Eastern"), AggGroup: new(int32(1)), MarketRuleIds: new("26,26,26,26,26,26,26,26"),
			MinSize: new("0.0001"), SizeIncrement: new("0.0001"), SuggestedSizeIncrement: new("100"),
		},
	}
}

func euro() *instrument {
	hours := currencyHours()
	return &instrument{
		calendar: hours, head: hours.head(time.Date(2005, 3, 9, 0, 0, 0, 0, time.UTC)),
		conID: 12087792, base: 1.1, perUnit: 20000, halfSpread: 0.00005, unrest: 0.3, lot: 100000,
		contract: &protobuf.Contract{
			ConId: new(int32(12087792)), Symbol: new("EUR"), SecType: new("CASH"), Strike: new(0.0), Exchange: new("IDEALPRO"),
			Currency: new("USD"), LocalSymbol: new("EUR.USD"), TradingClass: new("EUR.USD"), Description: new("European Monetary Union Euro"),
		},
		details: &protobuf.ContractDetails{
			MarketName: new("EUR.USD"), LongName: new("European Monetary Union Euro"), MinTick: new("0.00005"),
			OrderTypes: new("LMT,MKT,STP"), ValidExchanges: new("IDEALPRO"), PriceMagnifier: new(int32(1)),
			TimeZoneId: new("US/Eastern"), AggGroup: new(int32(4)), MarketRuleIds: new("239"),
			MinSize: new("0.01"), SizeIncrement: new("0.01"), SuggestedSizeIncrement: new("0.01"),
		},
	}
}

const yearsListed = 5 // a future has data for, before it expires

func future(expiry time.Time) *instrument {
	const months = "FGHJKMNQUVXZ" // the exchanges' letters for January to December
	day, month := expiry.Format("20060102"), expiry.Format("200601")
	local := fmt.Sprintf("ES%c%d", months[expiry.Month()-1], expiry.Year()%10)
	// Invented, but unique and the same in every run; the other ids are IB's.
	conID := int32(900000000 + expiry.Year()*100 + int(expiry.Month()))
	hours := futureHours()
	return &instrument{
		calendar: hours, head: hours.head(expiry.AddDate(-yearsListed, 0, 0)),
		conID: conID, base: 5200, perUnit: 4, halfSpread: 0.25, unrest: 0.8, lot: 1, traded: true,
		contract: &protobuf.Contract{
			ConId: &conID, Symbol: new("ES"), SecType: new("FUT"), LastTradeDateOrContractMonth: &day, LastTradeDate: &day,
			Strike: new(0.0), Multiplier: new(50.0), Exchange: new("CME"), Currency: new("USD"), LocalSymbol: &local,
			TradingClass: new("ES"), Description: new("E-mini S&P 500"),
		},
		details: &protobuf.ContractDetails{
			MarketName: new("ES"), LongName: new("E-mini S&P 500"), MinTick: new("0.25"), ContractMonth: &month,
			OrderTypes: new("LMT,MKT,STP"), ValidExchanges: new("CME,QBALGO"), PriceMagnifier: new(int32(1)),
			UnderConId: new(int32(11004968)), UnderSymbol: new("ES"), UnderSecType: new("IND"), RealExpirationDate: &day,
			TimeZoneId: new("US/Central"), AggGroup: new(int32(2147483647)), MarketRuleIds: new("67,67"),
			MinSize: new("1"), SizeIncrement: new("1"), SuggestedSizeIncrement: new("1"),
		},
	}
}

// nextQuarterly returns the first third Friday of March, June, September or December after t.
func nextQuarterly(t time.Time) time.Time {
	for month := t.Month(); ; month++ {
		first := time.Date(t.Year(), month, 1, 0, 0, 0, 0, time.UTC)
		third := first.AddDate(0, 0, (int(time.Friday-first.Weekday())+7)%7+14)
		if first.Month()%3 == 0 && third.After(t) {
			return third
		}
	}
}

// find returns every instrument the contract describes. A contract that names neither a conId nor a symbol describes none.
func (c catalogue) find(want *protobuf.Contract) []*instrument {
	var found []*instrument
	for _, in := range c {
		if in.matches(want) {
			found = append(found, in)
		}
	}
	return found
}

func (in *instrument) matches(want *protobuf.Contract) bool {
	have := in.contract
	if id := want.GetConId(); id != 0 {
		return id == in.conID
	}
	if want.GetSymbol() == "" && want.GetLocalSymbol() == "" {
		return false
	}
	same := func(want, have string) bool { return want == "" || strings.EqualFold(want, have) }
	onExchange := want.GetExchange() == "" || same(want.GetExchange(), have.GetExchange()) ||
		strings.Contains(","+in.details.GetValidExchanges()+",", ","+strings.ToUpper(want.GetExchange())+",")
	return onExchange &&
		same(want.GetSymbol(), have.GetSymbol()) && same(want.GetLocalSymbol(), have.GetLocalSymbol()) &&
		same(want.GetSecType(), have.GetSecType()) && same(want.GetCurrency(), have.GetCurrency()) &&
		same(want.GetTradingClass(), have.GetTradingClass()) && same(want.GetPrimaryExch(), have.GetPrimaryExch()) &&
		strings.HasPrefix(have.GetLastTradeDateOrContractMonth(), want.GetLastTradeDateOrContractMonth()) &&
		(want.GetMultiplier() == 0 || want.GetMultiplier() == have.GetMultiplier())
}

// search returns what reqMatchingSymbols shows for a pattern: symbols that begin with it and names that contain it.
func (c catalogue) search(pattern string) []*protobuf.ContractDescription {
	pattern = strings.ToUpper(strings.TrimSpace(pattern))
	if pattern == "" {
		return nil
	}
	var found []*protobuf.ContractDescription
	for _, in := range c {
		name := strings.ToUpper(in.details.GetLongName())
		if !strings.HasPrefix(in.contract.GetSymbol(), pattern) && !strings.Contains(name, pattern) {
			continue
		}
		description := &protobuf.ContractDescription{Contract: in.contract}
		if in.contract.GetSecType() == "STK" {
			description.DerivativeSecTypes = []string{"CFD", "OPT", "WAR"}
		}
		found = append(found, description)
	}
	return found
}

const hoursDays = 6 // days of hours in a contract's details, today included

// data is the answer to reqContractDetails. If markets never close, the hours are those of such a market.
func (in *instrument) data(reqID int32, now time.Time, closes bool) *protobuf.ContractData {
	details := proto.CloneOf(in.details)
	if closes {
		details.TradingHours = new(in.calendar.written(in.calendar.trading, now, hoursDays))
		details.LiquidHours = new(in.calendar.written(in.calendar.liquid, now, hoursDays))
	} else {
		today := now.In(in.calendar.zone)
		day := func(n int) string { return today.AddDate(0, 0, n).Format("20060102") }
		hours := day(0) + ":0000-" + day(1) + ":0000;" + day(1) + ":0000-" + day(2) + ":0000"
		details.TradingHours, details.LiquidHours = &hours, &hours
	}
	return &protobuf.ContractData{ReqId: &reqID, Contract: in.contract, ContractDetails: details}
}

// decimal writes a size, count or volume as IB does.
func decimal(v int64) *string { return new(strconv.FormatInt(v, 10)) }

// money writes a price that IB sends as text.
func money(v float64) *string { return new(strconv.FormatFloat(v, 'f', -1, 64)) }
