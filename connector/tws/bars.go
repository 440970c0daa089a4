package tws

import (
	"math"
	"strconv"
	"time"

	"ibconn/events"

	"github.com/scmhub/ibapi"
)

const (
	// formatSeconds asks for the times of bars as seconds of the Unix epoch;
	// bars of a day and more have their date all the same.
	formatSeconds = 2
	// maxQueries is how many queries' bars are collected at once.
	maxQueries = 64
)

// endOf words when a query is to end, in UTC, which IB marks by the dash.
func endOf(q events.BarQuery) string {
	if q.End.IsZero() {
		return ""
	}
	return q.End.UTC().Format("20060102-15:04:05")
}

// barOf words a bar as an answer has it. What is not traded has -1 for volume,
// average and count.
func barOf(b *ibapi.Bar) events.Bar {
	return events.Bar{
		Time: barTime(b.Date),
		Open: price(b.Open), High: price(b.High), Low: price(b.Low), Close: price(b.Close),
		Volume: amount(b.Volume), WAP: amount(b.Wap), Count: max(b.BarCount, 0),
	}
}

// barTime words seconds of the epoch, or a date. What is neither stays as it
// came.
func barTime(s string) string {
	if day, err := time.Parse("20060102", s); err == nil {
		return day.Format(time.DateOnly)
	}
	if seconds, err := strconv.ParseInt(s, 10, 64); err == nil && seconds >= 0 && seconds < 1<<37 {
		return time.Unix(seconds, 0).UTC().Format(time.RFC3339)
	}
	return cut(s, maxTime)
}

// maxTime is how many bytes the time of a bar may have that is none.
const maxTime = 32

// price words a price with the digits that it takes to tell it from any other:
// those that the gateway sent. It may be zero or less, as a spread's is.
func price(v float64) string {
	if v == ibapi.UNSET_FLOAT || math.IsNaN(v) || math.IsInf(v, 0) {
		return ""
	}
	if magnitude := math.Abs(v); magnitude != 0 && (magnitude < 1e-12 || magnitude >= 1e15) {
		return strconv.FormatFloat(v, 'g', -1, 64) // hundreds of zeros otherwise
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

func amount(v ibapi.Decimal) string {
	if v == ibapi.UNSET_DECIMAL || v == notTraded {
		return ""
	}
	return v.String()
}

var notTraded = ibapi.StringToDecimal("-1")
