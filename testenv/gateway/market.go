package gateway

import (
	"math"
	"time"
)

// market makes prices. Each is a function of the seed, the instrument and the time alone, so that every client sees the
// same market, a bar is the same whenever it is asked for, and longer bars add up from shorter ones. It never closes: hours only hide it.
type market struct{ seed uint64 }

const barSeconds = 5 // the shortest bar made from knots; shorter ones divide it

// waves are the periods over which the price wanders, in seconds, and how far: about 25 % a year for amplitude 1.
var waves = []struct {
	period    int64
	amplitude float64
}{{30 * 86400, 0.07}, {86400, 0.013}, {7200, 0.0038}, {900, 0.0013}, {120, 0.0005}, {20, 0.0002}, {5, 0.0001}}

// bar is one bar of trades. Volume counts shares or contracts, count the trades.
type bar struct {
	start                       time.Time
	open, high, low, close, wap float64
	volume, count               int64
}

// hash mixes the seed, an instrument and two numbers (splitmix64's finisher).
func (m market) hash(in *instrument, a, b int64) uint64 {
	x := m.seed ^ uint64(in.conID)*0x9e3779b97f4a7c15 ^ uint64(a)*0xbf58476d1ce4e5b9 ^ uint64(b)*0x94d049bb133111eb
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// level is the price at a second that is a multiple of barSeconds: a sum of smoothed noise of several periods.
func (m market) level(in *instrument, second int64) float64 {
	sum := 0.0
	for i, w := range waves {
		k := floorDiv(second, w.period)
		at := float64(second-k*w.period) / float64(w.period)
		at = at * at * (3 - 2*at)
		a, b := m.noise(in, int64(i), k), m.noise(in, int64(i), k+1)
		sum += w.amplitude * in.unrest * (a + (b-a)*at)
	}
	return in.round(in.base * math.Exp(sum))
}

// noise is uniform in [-1, 1).
func (m market) noise(in *instrument, wave, k int64) float64 {
	return float64(m.hash(in, wave, k)>>11)/(1<<52) - 1
}

// knot is the bar of trades of the barSeconds that begin at second, which is a multiple of barSeconds.
func (m market) knot(in *instrument, second int64, open, close float64) bar {
	h := m.hash(in, -1, second)
	b := bar{
		start: time.Unix(second, 0), open: open, close: close,
		high:   in.round(max(open, close) + float64(h%3)/in.perUnit),
		low:    in.round(min(open, close) - float64(h>>8%3)/in.perUnit),
		volume: in.lot * int64(20+h>>16%80),
		count:  int64(5 + h>>32%15),
	}
	b.wap = (b.open + b.high + b.low + b.close) / 4
	return b
}

// trades adds up the bars of trades in [from, to); both are cut down to whole barSeconds. The bar is empty
// (count 0) if nothing lies between them.
func (m market) trades(in *instrument, from, to time.Time) bar {
	start, end := floorTo(from.Unix(), barSeconds), floorTo(to.Unix(), barSeconds)
	sum := bar{start: from}
	if start >= end {
		return sum
	}
	value := 0.0
	open := m.level(in, start)
	for at := start; at < end; at += barSeconds {
		close := m.level(in, at+barSeconds)
		b := m.knot(in, at, open, close)
		if at == start {
			sum.open, sum.high, sum.low = b.open, b.high, b.low
		}
		sum.high, sum.low, sum.close = max(sum.high, b.high), min(sum.low, b.low), b.close
		sum.volume += b.volume
		sum.count += b.count
		value += b.wap * float64(b.volume)
		open = close
	}
	sum.wap = in.roundFine(value / float64(sum.volume))
	return sum
}

// over adds up the bars of trades in some spans of time, of which there is at least one.
func (m market) over(in *instrument, spans []span) bar {
	sum := m.trades(in, spans[0].from, spans[0].to)
	if len(spans) == 1 {
		return sum
	}
	value := sum.wap * float64(sum.volume)
	for _, s := range spans[1:] {
		b := m.trades(in, s.from, s.to)
		switch {
		case b.count == 0:
			continue
		case sum.count == 0:
			sum = b
		default:
			sum.high, sum.low, sum.close = max(sum.high, b.high), min(sum.low, b.low), b.close
			sum.volume, sum.count = sum.volume+b.volume, sum.count+b.count
		}
		value += b.wap * float64(b.volume)
	}
	if sum.count > 0 {
		sum.wap = in.roundFine(value / float64(sum.volume))
	}
	return sum
}

// second is the one-second bar that begins at from. Five of them make up the knot they divide.
func (m market) second(in *instrument, from time.Time) bar {
	start := floorTo(from.Unix(), barSeconds)
	k := m.knot(in, start, m.level(in, start), m.level(in, start+barSeconds))
	i := from.Unix() - start
	price := func(i int64) float64 { return in.round(k.open + (k.close-k.open)*float64(i)/barSeconds) }
	b := bar{start: from, open: price(i), close: price(i + 1), volume: k.volume / barSeconds, count: k.count / barSeconds}
	b.high, b.low = max(b.open, b.close), min(b.open, b.close)
	switch i {
	case 0:
		b.high, b.volume, b.count = k.high, b.volume+k.volume%barSeconds, b.count+k.count%barSeconds
	case 2:
		b.low = k.low
	}
	b.wap = in.roundFine((b.open + b.high + b.low + b.close) / 4)
	return b
}

// shown turns a bar of trades into what whatToShow asks for. Quotes have no volume, which IB writes as -1.
func (b bar) shown(in *instrument, what string) bar {
	shift := 0.0
	switch what {
	case "TRADES", "ADJUSTED_LAST":
		return b
	case "BID":
		shift = -in.halfSpread
	case "ASK":
		shift = in.halfSpread
	case "BID_ASK": // open and close are average bid and ask, low and high the extremes of each
		b.open, b.close = in.round(b.wap-in.halfSpread), in.round(b.wap+in.halfSpread)
		b.high, b.low = in.round(b.high+in.halfSpread), in.round(b.low-in.halfSpread)
	}
	if what != "BID_ASK" {
		b.open, b.high, b.low, b.close = in.round(b.open+shift), in.round(b.high+shift), in.round(b.low+shift), in.round(b.close+shift)
	}
	b.volume, b.wap, b.count = -1, -1, -1
	return b
}

// last is the price at t, within the low and high of the bar around it.
func (m market) last(in *instrument, t time.Time) float64 {
	start := floorTo(t.Unix(), barSeconds)
	open, close := m.level(in, start), m.level(in, start+barSeconds)
	done := t.Sub(time.Unix(start, 0)).Seconds() / barSeconds
	return in.round(open + (close-open)*done)
}

// size is the size of the n-th quote or trade of an instrument.
func (m market) size(in *instrument, n int64) int64 {
	return in.lot * int64(1+m.hash(in, -2, n)%20)
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func floorTo(a, b int64) int64 { return floorDiv(a, b) * b }
