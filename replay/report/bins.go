package report

import "time"

// maxBins is how many bins there are at most; half as many, when they grow wider.
const maxBins = 600

// firstWidth is how wide bins are at first.
const firstWidth = 250 * time.Millisecond

// bins are values of stretches of equal width, which grow wider as time goes on.
type bins[T any] struct {
	from  time.Time
	width time.Duration
	all   []T
	join  func(a, b T) T
}

func newBins[T any](from time.Time, join func(a, b T) T) *bins[T] {
	return &bins[T]{from: from, width: firstWidth, join: join}
}

// put joins a value into the bin of a time. What is before the first bin is left out.
func (b *bins[T]) put(at time.Time, v T) { b.fill(at, at, v) }

// fill joins a value into every bin from a time to another.
func (b *bins[T]) fill(from, to time.Time, v T) {
	if to.Before(b.from) {
		return
	}
	if from.Before(b.from) {
		from = b.from
	}
	for int64(to.Sub(b.from)/b.width) >= maxBins {
		b.widen()
	}
	last := int(to.Sub(b.from) / b.width)
	for len(b.all) <= last {
		var none T
		b.all = append(b.all, none)
	}
	for n := int(from.Sub(b.from) / b.width); n <= last; n++ {
		b.all[n] = b.join(b.all[n], v)
	}
}

func (b *bins[T]) widen() {
	half := b.all[:0]
	for n := 0; n < len(b.all); n += 2 {
		v := b.all[n]
		if n+1 < len(b.all) {
			v = b.join(v, b.all[n+1])
		}
		half = append(half, v)
	}
	b.all, b.width = half, 2*b.width
}
