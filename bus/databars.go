package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"ibconn/events"
)

const (
	// scanMargin is how much earlier than a bar begins it may have been stored,
	// by clocks that differ.
	scanMargin = 24 * time.Hour
	// scanEvery is after how long Store looks again which bars are stored: what
	// comes sooner JetStream's own deduplication finds.
	scanEvery = dataDedup / 2
	// maxSeries is of how many series the newest bar is remembered.
	maxSeries = 4096
)

// barSeries is whose bars are held against each other.
type barSeries struct {
	connection           events.ConnectionID
	subscription, series string
}

func (s barSeries) subject() string {
	return events.DataSubject(s.connection, events.DataBar, s.subscription)
}

// id is the message id of the bar that begins at t.
func (s barSeries) id(t time.Time) string {
	return s.prefix() + t.Format(time.RFC3339)
}

func (s barSeries) prefix() string {
	return string(s.connection) + "." + s.subscription + "." + s.series + "."
}

// storable is a bar on its way to the stream.
type storable struct {
	of      barSeries
	time    time.Time
	payload []byte
}

func newStorable(of barSeries, b *events.BarData) (storable, error) {
	t, err := barTime(b.Time)
	if err != nil {
		return storable{}, err
	}
	payload, err := json.Marshal(b)
	if err == nil && len(payload) > maxDatum {
		err = fmt.Errorf("the bar of %s has %d bytes", b.Time, len(payload))
	}
	return storable{of, t, payload}, err
}

// barTime reads when a bar begins; one of a day or more has a date.
func barTime(s string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t.UTC(), nil
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("bar time %.40q: want a time as RFC 3339 has it, or a date", s)
	}
	return t, nil
}

// Keep sends a bar and stores it behind those before it. One that is not newer
// than all that are stored of its series is not stored again; one that is not
// finished is only published. It never blocks: what there is no room for takes
// the place of the oldest that waits, which is counted and dropped.
func (d *Data) Keep(c events.ConnectionID, subscription, series string, b *events.BarData) {
	if b.Provisional {
		d.Publish(c, subscription, b)
		return
	}
	d.kept.put(keptBar{barSeries{c, subscription, series}, b})
}

// DroppedBars returns how many bars were to be kept and were dropped.
func (d *Data) DroppedBars() uint64 {
	d.kept.mu.Lock()
	defer d.kept.mu.Unlock()
	return d.kept.dropped
}

// LostBars returns which bars of a connection were dropped since it was last
// called: one stretch of time for each series.
func (d *Data) LostBars(c events.ConnectionID) []events.LostBars {
	d.kept.mu.Lock()
	defer d.kept.mu.Unlock()
	var all []events.LostBars
	for of, span := range d.kept.lost {
		if of.connection == c {
			all = append(all, span)
			delete(d.kept.lost, of)
		}
	}
	return all
}

// keepAll stores what waits, one after the other.
func (d *Data) keepAll(ctx context.Context) {
	var told uint64
	tell := func(err error) {
		if n := d.DroppedBars(); n != told {
			d.log.Warn().Err(err).Uint64("bars", n-told).Uint64("total", n).Msg("bars could not be stored and were dropped")
			told = n
		}
	}
	for {
		b, ok := d.kept.take()
		if !ok {
			select {
			case <-d.kept.wake:
				continue
			case <-ctx.Done():
			}
			if b, ok = d.kept.take(); !ok {
				return
			}
		}
		err := d.keep(ctx, b, tell)
		if err != nil {
			d.kept.drop(b)
		}
		if err != nil && ctx.Err() != nil {
			d.kept.dropAll()
		}
		tell(err)
	}
}

// keep stores a bar. It tries until that is done or impossible, and once when
// ctx is over.
func (d *Data) keep(ctx context.Context, b keptBar, tell func(error)) error {
	s, err := newStorable(b.of, b.bar)
	if err != nil {
		return err
	}
	for wait := minRetryWait; ; wait = min(2*wait, maxRetryWait) {
		if _, err = d.try(context.WithoutCancel(ctx), s, true, false); err == nil || !passing(err) {
			return err
		}
		tell(err)
		if sleep(ctx, wait) != nil {
			return err
		}
	}
}

// try stores a bar, unless it is a live one and not newer than those that are
// stored, and says whether it was not stored before. After a try that failed it
// may have been; again says that there was one.
func (d *Data) try(ctx context.Context, b storable, live, again bool) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	select {
	case <-d.storing:
		defer func() { d.storing <- struct{}{} }()
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	newest, known := d.newest[b.of]
	if !known {
		var err error
		if newest, err = d.readNewest(ctx, b.of); err != nil {
			return false, err
		}
	}
	if live && !b.time.After(newest) {
		return false, nil
	}
	if b.time.After(newest) {
		newest = b.time
	}
	m := nats.NewMsg(b.of.subject())
	m.Data = b.payload
	m.Header.Set(events.HeaderMsgID, b.of.id(b.time))
	m.Header.Set(events.HeaderSeries, b.of.series)
	m.Header.Set(events.HeaderNewest, newest.Format(time.RFC3339))
	ack, err := d.js.PublishMsg(ctx, m)
	if err != nil {
		delete(d.newest, b.of) // nobody knows whether it was stored
		return false, err
	}
	if len(d.newest) >= maxSeries {
		clear(d.newest)
	}
	d.newest[b.of] = newest
	if d.also != nil && !ack.Duplicate {
		_ = d.also.PublishMsg(m) // for whoever listens; it is stored already
	}
	return again || !ack.Duplicate, nil
}

// Store sends and stores bars that were missed, marked as that, and returns once
// they are stored, with how many of them had not been; or when ctx ends, or it is
// impossible, with an error. Those that are stored by then are not stored again
// by the same Store after it. It is safe while bars of the series are kept, and
// beside another Store of them; then, after a try of unknown outcome, a bar that the
// other stored may count as new.
func (d *Data) Store(ctx context.Context, c events.ConnectionID, subscription, series string, bars []*events.BarData) (int, error) {
	of := barSeries{c, subscription, series}
	n, err := d.store(ctx, of, bars)
	if err != nil {
		return n, fmt.Errorf("bus: store bars of %s: %w", subscription, err)
	}
	return n, nil
}

func (d *Data) store(ctx context.Context, of barSeries, bars []*events.BarData) (stored int, err error) {
	missed := make([]storable, 0, len(bars))
	for _, b := range bars {
		marked := *b
		marked.Backfill, marked.Provisional = true, false
		s, err := newStorable(of, &marked)
		if err != nil {
			return 0, err
		}
		missed = append(missed, s)
	}
	var seen scan
	wait, again := minRetryWait, false
	for len(missed) > 0 {
		isNew, err := d.storeFirst(ctx, missed, &seen, again)
		if err == nil {
			if isNew {
				stored++
			}
			missed, wait, again = missed[1:], minRetryWait, false
			continue
		}
		if !d.passing(err) {
			return stored, err
		}
		again = again || seen.have != nil
		if end := sleep(ctx, wait); end != nil {
			return stored, fmt.Errorf("%w (last try: %w)", end, err)
		}
		wait = min(2*wait, maxRetryWait)
	}
	return stored, nil
}

// scan is what a look at the stream found.
type scan struct {
	have map[string]bool // the ids of the bars that are stored; nil before
	at   time.Time
}

// storeFirst stores the first of missed unless it is, and says whether it was
// not.
func (d *Data) storeFirst(ctx context.Context, missed []storable, seen *scan, again bool) (bool, error) {
	b := missed[0]
	if seen.have == nil || time.Since(seen.at) > scanEvery {
		at := time.Now()
		have, err := d.stored(ctx, b.of, missed)
		*seen = scan{have, at}
		if err != nil {
			return false, err
		}
	}
	if seen.have[b.of.id(b.time)] {
		return again, nil // by the try that seemed to fail
	}
	return d.try(ctx, b, false, again)
}

// passing says whether a try that failed with err may be repeated.
func (d *Data) passing(err error) bool { return !d.nc.IsClosed() && passing(err) }

// stored returns the ids of those of bars that are stored.
func (d *Data) stored(ctx context.Context, of barSeries, bars []storable) (map[string]bool, error) {
	first := time.Now()
	wanted := make(map[string]bool, len(bars))
	for _, b := range bars {
		wanted[of.id(b.time)] = true
		if b.time.Before(first) {
			first = b.time
		}
	}
	have := make(map[string]bool)
	for m, err := range d.messages(ctx, Query{Since: first.Add(-scanMargin), headersOnly: true}, []string{of.subject()}) {
		if err != nil {
			return nil, err
		}
		if id := m.Headers().Get(events.HeaderMsgID); wanted[id] {
			have[id] = true
		}
	}
	return have, nil
}

// Newest returns the time of the newest bar that is stored of a series; zero
// when there is none.
func (d *Data) Newest(ctx context.Context, c events.ConnectionID, subscription, series string) (time.Time, error) {
	t, err := d.readNewest(ctx, barSeries{c, subscription, series})
	if err != nil {
		return time.Time{}, fmt.Errorf("bus: newest bar of %s: %w", subscription, err)
	}
	return t, nil
}

// readNewest looks at the last message of the subject, and only if that is of
// another series at those of the last day.
func (d *Data) readNewest(ctx context.Context, of barSeries) (time.Time, error) {
	last, err := d.source.newest(ctx, of.subject())
	switch {
	case err != nil:
		return time.Time{}, err
	case last == nil:
		return time.Time{}, nil
	case last.Header.Get(events.HeaderSeries) == of.series:
		return newestIn(last.Header), nil
	}
	var newest time.Time
	for m, err := range d.messages(ctx, Query{Since: time.Now().Add(-scanMargin), headersOnly: true}, []string{of.subject()}) {
		if err != nil {
			return time.Time{}, err
		}
		if m.Headers().Get(events.HeaderSeries) == of.series {
			newest = newestIn(m.Headers())
		}
	}
	return newest, nil
}

// newestIn reads a header; one that is not ours says that there is none.
func newestIn(h nats.Header) time.Time {
	t, err := time.Parse(time.RFC3339, h.Get(events.HeaderNewest))
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// BarRange selects bars of the stream. The zero BarRange selects all there are.
type BarRange struct {
	Connection   events.ConnectionID // "" selects every connection
	Subscription string              // "" selects every subscription
	Series       string              // "" selects every series
	From, To     time.Time           // when a bar begins: at From or later, and before To; zero for no bound
}

// StoredBar is a bar of the stream, and where it stands.
type StoredBar struct {
	events.BarData
	Connection   events.ConnectionID
	Subscription string
	Series       string
	StreamSeq    uint64
}

// Bars yields the bars that r selects, in the order in which they were stored:
// those that were missed stand behind later ones. An error ends it.
func (d *Data) Bars(ctx context.Context, r BarRange) iter.Seq2[StoredBar, error] {
	return func(yield func(StoredBar, error) bool) {
		subject := barSeries{orAny(r.Connection), orAny(r.Subscription), ""}.subject()
		q := Query{}
		if !r.From.IsZero() {
			q.Since = r.From.Add(-scanMargin)
			if now := time.Now(); now.Before(r.From) {
				q.Since = now.Add(-scanMargin)
			}
		}
		for m, err := range d.messages(ctx, q, []string{subject}) {
			var b StoredBar
			var at time.Time
			if err == nil {
				b, at, err = readBar(m)
			}
			if err != nil {
				yield(StoredBar{}, fmt.Errorf("bus: read bars: %w", err))
				return
			}
			if r.takes(b, at) && !yield(b, nil) {
				return
			}
		}
	}
}

func orAny[S ~string](s S) S {
	if s == "" {
		return "*"
	}
	return s
}

func (r BarRange) takes(b StoredBar, at time.Time) bool {
	return (r.Series == "" || r.Series == b.Series) && !at.Before(r.From) && (r.To.IsZero() || at.Before(r.To))
}

func readBar(m message) (StoredBar, time.Time, error) {
	b := StoredBar{Series: m.Headers().Get(events.HeaderSeries), StreamSeq: m.seq}
	err := json.Unmarshal(m.Data(), &b.BarData)
	tokens := strings.Split(m.subject, ".")
	if err == nil && len(tokens) == 5 {
		b.Connection, b.Subscription = events.ConnectionID(tokens[2]), tokens[4]
	}
	var at time.Time
	if err == nil {
		at, err = barTime(b.Time)
	}
	if err != nil {
		return StoredBar{}, at, fmt.Errorf("message %d (%s): %w", m.seq, m.subject, err)
	}
	return b, at, nil
}

// keptBar is a bar that waits to be stored.
type keptBar struct {
	of  barSeries
	bar *events.BarData
}

// barQueue takes bars without ever blocking. When it is full the oldest give way.
type barQueue struct {
	limit int
	wake  chan struct{}

	mu      sync.Mutex
	waiting []keptBar
	dropped uint64
	lost    map[barSeries]events.LostBars // that nobody was told of
}

func (q *barQueue) put(b keptBar) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) >= q.limit {
		q.lose(q.waiting[0])
		q.waiting[0] = keptBar{}
		q.waiting = q.waiting[1:]
	}
	q.waiting = append(q.waiting, b)
	wake(q.wake)
}

func (q *barQueue) take() (b keptBar, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return b, false
	}
	b, q.waiting[0] = q.waiting[0], keptBar{}
	q.waiting = q.waiting[1:]
	return b, true
}

func (q *barQueue) drop(b keptBar) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lose(b)
}

func (q *barQueue) dropAll() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, b := range q.waiting {
		q.lose(b)
	}
	q.waiting = nil
}

// lose notes that b is dropped. Of the time of one that has none nobody can be
// told, and of series beyond [maxSeries] nobody is.
func (q *barQueue) lose(b keptBar) {
	q.dropped++
	at, err := barTime(b.bar.Time)
	lost, known := q.lost[b.of]
	if err != nil || !known && len(q.lost) >= maxSeries {
		return
	}
	if !known {
		lost = events.LostBars{Subscription: b.of.subscription, Series: b.of.series, From: at, To: at}
	}
	if at.Before(lost.From) {
		lost.From = at
	}
	if at.After(lost.To) {
		lost.To = at
	}
	if q.lost == nil {
		q.lost = make(map[barSeries]events.LostBars)
	}
	q.lost[b.of] = lost
}
