package tws

import (
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"ibconn/connector"
	"ibconn/events"

	"github.com/scmhub/ibapi"
)

const (
	// formatSeconds asks for the times of bars as seconds of the Unix epoch;
	// bars of a day and more have their date all the same.
	formatSeconds = 2
	// maxCollected bounds the queries whose bars are collected at once. The
	// oldest gives way: it is one whose end never came.
	maxCollected = 64
)

// bars collects the bars that a gateway sends one by one, until it says that
// all came. It keeps the first ones of each query and counts the rest. Errors
// may come from any goroutine, so it has a lock.
type bars struct {
	mu  sync.Mutex
	all []collected // the oldest first
}

type collected struct {
	id    int64
	bars  []events.Bar
	total int
}

func (b *bars) add(id int64, bar *ibapi.Bar) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.all, func(c collected) bool { return c.id == id })
	if i < 0 {
		if len(b.all) >= maxCollected {
			b.all = slices.Delete(b.all, 0, 1)
		}
		i = len(b.all)
		b.all = append(b.all, collected{id: id})
	}
	c := &b.all[i]
	c.total++
	if len(c.bars) < connector.MaxBrought {
		c.bars = append(c.bars, barOf(bar))
	}
}

// take returns what came for a query, and forgets it.
func (b *bars) take(id int64) (found []events.Bar, total int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.all, func(c collected) bool { return c.id == id })
	if i < 0 {
		return nil, 0
	}
	c := b.all[i]
	b.all = slices.Delete(b.all, i, i+1)
	return c.bars, c.total
}

// drop forgets what came for a query, as an error or a cancel ended it.
func (b *bars) drop(id int64) {
	if id != ibapi.NO_VALID_ID {
		b.take(id)
	}
}

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
