package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/scmhub/ibapi/protobuf"
)

// history is a whole answer to reqHistoricalData: text has one message for what protobuf sends as two.
type history struct {
	*protobuf.HistoricalData
	end *protobuf.HistoricalDataEnd
}

// barSize is one of IB's legal bar sizes. Either span or one of days and months is set.
type barSize struct {
	name         string
	span         time.Duration
	days, months int
}

// The spellings are IB's own, exceptions included.
var barSizes = []barSize{
	{name: "1 secs", span: time.Second},
	{name: "5 secs", span: 5 * time.Second},
	{name: "10 secs", span: 10 * time.Second},
	{name: "15 secs", span: 15 * time.Second},
	{name: "30 secs", span: 30 * time.Second},
	{name: "1 min", span: time.Minute},
	{name: "2 mins", span: 2 * time.Minute},
	{name: "3 mins", span: 3 * time.Minute},
	{name: "5 mins", span: 5 * time.Minute},
	{name: "10 mins", span: 10 * time.Minute},
	{name: "15 mins", span: 15 * time.Minute},
	{name: "20 mins", span: 20 * time.Minute},
	{name: "30 mins", span: 30 * time.Minute},
	{name: "1 hour", span: time.Hour},
	{name: "2 hours", span: 2 * time.Hour},
	{name: "3 hours", span: 3 * time.Hour},
	{name: "4 hours", span: 4 * time.Hour},
	{name: "8 hours", span: 8 * time.Hour},
	{name: "1 day", days: 1},
	{name: "1 week", days: 7},
	{name: "1W", days: 7},
	{name: "1 month", months: 1},
	{name: "1M", months: 1},
}

func parseBarSize(s string) (barSize, error) {
	var legal []string
	for _, b := range barSizes {
		if strings.EqualFold(b.name, strings.TrimSpace(s)) {
			return b, nil
		}
		legal = append(legal, b.name)
	}
	return barSize{}, errors.New("Historical data bar size setting is invalid. Legal ones are: " + strings.Join(legal, ", "))
}

// first returns the start of the bar that holds t. Intraday bars are counted from midnight.
func (b barSize) first(t time.Time) time.Time {
	midnight := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, t.Location())
	switch {
	case b.months > 0:
		return midnight.AddDate(0, 0, 1-t.Day())
	case b.days == 7:
		return midnight.AddDate(0, 0, -(int(t.Weekday())+6)%7)
	case b.days > 0:
		return midnight
	}
	return midnight.Add(t.Sub(midnight).Truncate(b.span))
}

func (b barSize) next(start time.Time) time.Time {
	if b.span > 0 {
		return start.Add(b.span)
	}
	return start.AddDate(0, b.months, b.days)
}

// date writes the start of a bar. Bars of a day and more have a date whatever the format asked for.
func (b barSize) date(t time.Time, format int32) string {
	switch {
	case b.span == 0:
		return t.Format("20060102")
	case format == 2:
		return strconv.FormatInt(t.Unix(), 10)
	}
	return stamp(t)
}

// stamp writes a time with the name of its zone, as IB does where no format can be asked for.
func stamp(t time.Time) string { return t.Format("20060102 15:04:05 ") + t.Location().String() }

// parseDuration reads a number and one of S, D, W, M, Y, and returns where a query of that duration begins.
func parseDuration(s string, end time.Time) (time.Time, error) {
	count, unit, _ := strings.Cut(strings.TrimSpace(s), " ")
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || n > 1e8 {
		return end, fmt.Errorf("Historical data query duration %.40q is invalid", s)
	}
	switch strings.ToUpper(unit) {
	case "S", "": // IB takes a number alone as seconds
		return end.Add(-time.Duration(n) * time.Second), nil
	case "D":
		if n > 365 {
			return end, errors.New("Historical data requests for durations longer than 365 days must be made in years")
		}
		return end.AddDate(0, 0, -n), nil
	case "W":
		return end.AddDate(0, 0, -7*min(n, 1e5)), nil
	case "M":
		return end.AddDate(0, -min(n, 1e5), 0), nil
	case "Y":
		return end.AddDate(-min(n, 1e4), 0, 0), nil
	}
	return end, fmt.Errorf("Historical data query duration %.40q is invalid", s)
}

// parseEnd reads an end time: empty for now, "yyyymmdd-hh:mm:ss" in UTC, or "yyyymmdd hh:mm:ss[ zone]", local without a zone.
func parseEnd(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return now, nil
	}
	if t, err := time.Parse("20060102-15:04:05", s); err == nil {
		return t.In(now.Location()), nil
	}
	words := strings.Fields(s)
	zone := now.Location()
	if len(words) == 3 {
		var err error
		if zone, err = time.LoadLocation(words[2]); err != nil {
			return now, errEnd
		}
		words = words[:2]
	}
	t, err := time.ParseInLocation("20060102 15:04:05", strings.Join(words, " "), zone)
	if err != nil {
		return now, errEnd
	}
	return t.In(now.Location()), nil
}

var errEnd = errors.New("End Date/Time: The date, time, or time-zone entered is invalid. The correct format is yyyymmdd hh:mm:ss xx/xxxx where yyyymmdd and xx/xxxx are optional.")

const (
	maxBars  = 30000
	maxYears = 10
)

// query is a reqHistoricalData whose every field has been understood.
type query struct {
	in         *instrument
	size       barSize
	what       string
	format     int32
	start, end time.Time
	follow     bool      // keepUpToDate
	head       bool      // only the time of the first data is asked for
	open       *schedule // when there is data
}

// beginning returns the start of the bar that holds t. Bars of a day and more hold the sessions of days, if there are any.
func (q query) beginning(t time.Time) time.Time {
	if q.size.span == 0 && q.open != nil {
		t = q.open.day(t)
	}
	return q.size.first(t)
}

// spans are the times at which there is data for the bar that begins at start, from the first data on and up to end.
func (q query) spans(start, end time.Time) []span {
	next := q.size.next(start)
	if q.size.span == 0 && q.open != nil {
		var open []span
		for _, s := range q.open.ofDays(start, next) {
			if s = s.within(q.in.head, end); s.from.Before(s.to) {
				open = append(open, s)
			}
		}
		return open
	}
	if s := (span{start, next}).within(q.in.head, end); s.from.Before(s.to) {
		return q.open.between(s.from, s.to)
	}
	return nil
}

// String names what a query is for as IB's errors do, such as AAPL@SMART Trades.
func (q query) String() string {
	what := map[string]string{
		"TRADES": "Trades", "MIDPOINT": "Midpoint", "BID": "Bid", "ASK": "Ask", "BID_ASK": "Bid_Ask", "ADJUSTED_LAST": "Adjusted_Last",
	}
	return q.in.contract.GetLocalSymbol() + "@" + q.in.contract.GetExchange() + " " + what[q.what]
}

// refusal is an error the gateway answers to one request.
type refusal struct {
	code int32
	text string
}

func invalid(cause error) *refusal {
	return &refusal{321, "Error validating request.-'bR' : cause - " + cause.Error()}
}

// readQuery understands a request; now is in the gateway's zone. An error is a *refusal.
func readQuery(m *protobuf.HistoricalDataRequest, in *instrument, now time.Time) (query, *refusal) {
	q := query{in: in, what: strings.ToUpper(m.GetWhatToShow()), format: m.GetFormatDate(), follow: m.GetKeepUpToDate()}
	var err error
	if q.size, err = parseBarSize(m.GetBarSizeSetting()); err != nil {
		return q, invalid(err)
	}
	if q.end, err = parseEnd(m.GetEndDateTime(), now); err != nil {
		return q, &refusal{10314, err.Error()}
	}
	if q.start, err = parseDuration(m.GetDuration(), q.end); err != nil {
		return q, invalid(err)
	}
	if err := checkShow(q.what, q.follow); err != nil {
		return q, invalid(err)
	}
	switch {
	case q.follow && m.GetEndDateTime() != "":
		return q, invalid(errors.New("End Date/Time must be empty when keepUpToDate is set"))
	case !in.traded && q.what == "TRADES":
		return q, noTrades(in, q.size.name)
	case q.start.Before(q.end.AddDate(-maxYears, 0, 0)), q.size.span > 0 && q.end.Sub(q.start)/q.size.span > maxBars:
		return q, &refusal{162, "Historical Market Data Service error message:Time length exceed max."}
	}
	return q, nil
}

func noTrades(in *instrument, size string) *refusal {
	return &refusal{162, fmt.Sprintf("Historical Market Data Service error message:No historical market data for %s Last %s", in, size)}
}

// readHead understands a reqHeadTimestamp.
func readHead(m *protobuf.HeadTimestampRequest, in *instrument) (query, *refusal) {
	q := query{in: in, what: strings.ToUpper(m.GetWhatToShow()), format: m.GetFormatDate(), head: true}
	if err := checkShow(q.what, false); err != nil {
		return q, invalid(err)
	}
	if !in.traded && q.what == "TRADES" {
		return q, noTrades(in, "1 day")
	}
	return q, nil
}

func checkShow(what string, follow bool) error {
	switch what {
	case "TRADES", "MIDPOINT", "BID", "ASK":
		return nil
	case "BID_ASK", "ADJUSTED_LAST":
		if !follow {
			return nil
		}
	}
	return fmt.Errorf("What to show field is missing or incorrect: %.40q", what)
}

// bars calls add with every bar of the query, oldest first, until add returns false. The last one is as far as it has come.
func (m market) bars(q query, add func(bar) bool) {
	from := q.start
	if from.Before(q.in.head) {
		from = q.in.head.In(from.Location())
	}
	// A market trades in whole barSeconds: a bar that has only just begun is empty, and the one before it is the last then.
	traded := q.end.Truncate(min(cmp.Or(q.size.span, barSeconds*time.Second), barSeconds*time.Second))
	last := q.beginning(traded.Add(-1))
	for start := q.beginning(from); !start.After(last); start = q.size.next(start) {
		if start.Before(q.start) && q.size.next(start).Before(traded) {
			continue
		}
		if b := m.barAt(q, start, q.end); b.count > 0 && !add(b.shown(q.in, q.what)) {
			return
		}
	}
}

// barAt is the bar of trades that begins at start, as far as it had come at now. It is empty (count 0) if there is no data.
func (m market) barAt(q query, start, now time.Time) bar {
	open := q.spans(start, now)
	switch {
	case len(open) == 0:
		return bar{}
	case q.size.span == time.Second:
		if start.Add(time.Second).After(now) {
			return bar{}
		}
		return m.second(q.in, start)
	case q.size.span > 0 && q.open != nil: // IB's hour of the opening is the half hour from 09:30
		start = open[0].from.In(start.Location())
	}
	b := m.over(q.in, open)
	b.start = start
	return b
}

// encode writes a bar as an answer to the query holds it.
func (q query) encode(b bar) *protobuf.HistoricalDataBar {
	return &protobuf.HistoricalDataBar{
		Date: new(q.size.date(b.start, q.format)),
		Open: &b.open, High: &b.high, Low: &b.low, Close: &b.close,
		Volume: decimal(b.volume), WAP: money(b.wap), BarCount: new(int32(b.count)),
	}
}
