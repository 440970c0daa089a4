package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ibconn/events"
)

const (
	// batchMost is how many events go to the hub as one, of the thousand that it takes,
	// and batchBytes how many bytes they may have. On a slow network these are less:
	// batchFew at least.
	batchMost  = 512
	batchBytes = 2 << 20
	batchFew   = 16 << 10
	// A batch that takes longer than batchLong was too large; one that took less than
	// batchShort may be larger.
	batchLong  = time.Second
	batchShort = 250 * time.Millisecond
	// batchLeast is from how many waiting events on they go as one: fewer are stored
	// one by one in less time.
	batchLeast = 8
	// heartbeatMargin is how much longer a heartbeat is kept by the hub than here, so
	// that none is gone there that is still here, and would be brought there again.
	heartbeatMargin = time.Minute
	// heldAfter is for how long nothing may come to a hub that is connected until that is
	// told: a cluster that elects takes less.
	heldAfter = 3 * time.Second
	// rememberWithin is how long the mark of a connection may take to be kept.
	rememberWithin = time.Second
)

// carrier brings the events of one connection to the hub. Its run owns what is not
// guarded.
type carrier struct {
	relay      *Relay
	connection events.ConnectionID
	suspect    uint64     // the sequence that the hub had, when it seems to have lost some; 0 otherwise
	verdict    *ForkError // the newest one, which holds as long as the hub's log ends where it did
	bytes      int        // how many a batch may have at present
	failing    time.Time  // since when nothing came to the hub that should have; zero when something did

	mu       sync.Mutex // guards what follows
	at       position
	kept     relayMark // the mark that was kept last
	current  bool      // nothing waits
	since    time.Time // when current last changed
	problem  error     // what the hub has against what is next; nil when nothing
	trouble  error     // why nothing was relayed several times in a row
	stuck    time.Time // since when there is one
	relayed  uint64
	refusals uint64
	reverted uint64
}

// position is how far a connection has come to the hub.
type position struct {
	head  events.Head // of what the hub has
	local uint64      // where the newest of that stands in the log here
	place uint64      // and in the hub's; 0 for none
	// known says that the hub itself said so to this process.
	known bool
	until time.Time // when the newest message there expires; zero when it does not
}

// ForkError says that the hub's log of a connection does not go on with the log
// here. Nothing more of the connection is relayed until that changes; its events
// are kept here. It is here that events written under a superseded claim are found.
type ForkError struct {
	Connection events.ConnectionID
	Status     events.RelayStatus // superseded, or differs
	Common     uint64             // the sequence up to which both have the same
	Words      string
	place      uint64 // where the hub's log of it ended
	lacking    bool   // the log here has nothing that the hub does not have
}

// Error says what the hub has, and what to do about it.
func (e *ForkError) Error() string { return e.Words }

func newCarrier(r *Relay, c events.ConnectionID) *carrier {
	return &carrier{relay: r, connection: c, bytes: batchBytes, since: time.Now()}
}

// begin takes the mark of an earlier process.
func (c *carrier) begin(m relayMark) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept = m
	c.at = position{head: m.Head, local: m.Local, place: m.Hub}
}

// run relays until ctx ends, or the log here cannot be read, which is an error.
func (c *carrier) run(ctx context.Context) error {
	for wait := minRetryWait; ; {
		hub, err := c.relay.Hub.await(ctx)
		if err != nil {
			return nil
		}
		before, began := c.count(), time.Now()
		err = c.carry(ctx, hub)
		if ctx.Err() != nil {
			return nil
		}
		if hub.ctx.Err() != nil {
			err = errHubLost // whatever that looked like
		}
		if here, broken := errors.AsType[*localError](err); broken {
			if c.relay.Local.nc.IsClosed() || !passing(here.error) {
				return here
			}
		}
		if c.count() > before {
			wait, began = minRetryWait, time.Now()
			c.failing = time.Time{}
		}
		if c.failing.IsZero() {
			c.failing = began
		}
		pause := wait
		if c.note(err) {
			pause = c.relay.patience
		}
		if sleep(ctx, pause) != nil {
			return nil
		}
		wait = min(2*wait, maxRetryWait)
	}
}

// errHubLost is why relaying ends when the connection to the hub does.
var errHubLost = errors.New("the connection to the hub was lost")

// localError is an error of the log here, and not of the hub.
type localError struct{ error }

func (e *localError) Unwrap() error { return e.error }

func (c *carrier) count() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.relayed
}

// note keeps why relaying ended, and says whether it is to last.
func (c *carrier) note(err error) (lasting bool) {
	fork, forked := errors.AsType[*ForkError](err)
	wrong, settings := errors.AsType[*StreamError](err)
	contested := errors.Is(err, errContested)
	var problem error
	switch {
	case forked:
		problem = fork
	case settings:
		problem = wrong
	case contested:
	case refusedForGood(err):
		problem = fmt.Errorf("the hub does not take the event after sequence %d: %w", c.position().head.Sequence, err)
	}
	c.mu.Lock()
	was := c.problem
	if !contested && c.current {
		c.current, c.since = false, time.Now()
	}
	c.trouble = nil
	switch {
	case errors.Is(err, errHubLost):
		c.failing = time.Time{}
	case !contested && time.Since(c.failing) >= heldAfter:
		c.trouble = err
	}
	if problem != nil {
		c.refusals++
		if was == nil {
			c.stuck = time.Now()
		}
		c.problem = problem
	}
	c.mu.Unlock()
	switch {
	case problem != nil && (was == nil || was.Error() != problem.Error()):
		c.relay.behind()
		c.relay.Log.Error().Str("hub", c.relay.Hub.url).Str("connection", string(c.connection)).Err(problem).
			Msg("events of a connection are not relayed; it is kept, and its events are stored here")
	case errors.Is(err, errHubLost):
		c.relay.behind()
	case problem == nil && c.troubled():
		c.relay.held(err)
	}
	return problem != nil
}

func (c *carrier) troubled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trouble != nil
}

// refusedForGood says whether the hub will say the same for a while.
func refusedForGood(err error) bool {
	if errors.Is(err, ErrFull) || errors.Is(err, ErrTooLarge) || errors.Is(err, nats.ErrMaxPayload) {
		return true
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.Code >= 400 && api.Code < 500 && api.Code != 404 && api.Code != 408 && api.Code != 429
}

func (c *carrier) position() position {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *carrier) isCurrent() (bool, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current, c.relayed
}

// carry relays until something is wrong, which it returns.
func (c *carrier) carry(ctx context.Context, present reach) error {
	hub, err := c.relay.openHub(ctx, present.generation)
	if err != nil {
		return err
	}
	if err := c.resume(ctx, hub); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	// A hub that comes back may be another one, so that it is asked again what it has.
	defer context.AfterFunc(present.ctx, stop)()
	waiting := make(chan parcel, batchMost)
	var ended error // of the reader; to be read once waiting is closed
	var reader sync.WaitGroup
	defer reader.Wait()
	defer stop()
	at := c.position()
	after := at.local
	reader.Go(func() {
		ended = c.read(ctx, after, waiting)
		close(waiting)
	})
	for first := true; ; {
		batch := take(waiting, c.bytes)
		if batch == nil {
			return cmp.Or(ended, errHubLost)
		}
		if first {
			if first, err = c.joins(ctx, at.head, batch); err != nil {
				return err
			}
		}
		began := time.Now()
		err := c.send(ctx, hub, batch, len(waiting) == 0)
		c.bytes = fit(c.bytes, time.Since(began))
		if err != nil {
			return err
		}
	}
}

// joins checks that the first event to come follows what the hub has, and says
// whether it is still to come. A log that is broken at that very place is let be, since
// it was found out here.
func (c *carrier) joins(ctx context.Context, head events.Head, batch []parcel) (still bool, err error) {
	for _, p := range batch {
		if p.message == nil || !p.lasting {
			continue
		}
		if p.damage || p.before == (events.Head{Sequence: head.Sequence, Hash: head.Hash}) {
			return false, nil
		}
		var before events.Head
		for e, err := range c.relay.Local.sequence(ctx, c.connection) {
			if err != nil {
				return true, &localError{err}
			}
			if e.Sequence >= p.head.Sequence {
				break
			}
			before = before.Then(e)
		}
		if before != head {
			return true, fmt.Errorf("sequence %d of the log here does not follow %d of the hub", p.head.Sequence, head.Sequence)
		}
		return false, nil
	}
	return true, nil
}

// parcel is an event on its way to the hub.
type parcel struct {
	message *nats.Msg // nil when there is nothing to bring: it is no event, or expired
	local   uint64    // where it stands here
	head    events.Head
	lasting bool        // it is an event that is no heartbeat
	before  events.Head // what it follows then, the epoch left out
	damage  bool        // it says that something before it was lost
	until   time.Time   // when the hub drops it; zero for never
	left    uint64      // how many more there were when it was read
}

// read hands what comes after a position to waiting.
func (c *carrier) read(ctx context.Context, after uint64, waiting chan<- parcel) error {
	q := Query{Connection: c.connection, After: after, Follow: true}
	for m, err := range c.relay.Local.messages(ctx, q, q.subjects()) {
		if err != nil {
			return &localError{err}
		}
		p, err := wrap(m, time.Now())
		if err != nil {
			return &localError{err}
		}
		select {
		case waiting <- p:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// wrap makes the message that brings an event to the hub: its bytes as they are, and
// where it stands here. A heartbeat gets the time that it has left.
func wrap(m message, now time.Time) (parcel, error) {
	meta, err := m.Metadata()
	if err != nil {
		return parcel{}, err
	}
	p := parcel{local: m.seq, left: meta.NumPending}
	e, err := decode(m.subject, m.seq, m.Data())
	if err != nil {
		return p, nil // what is no event stays here, where it is on record
	}
	p.head = headAfter(e.Recorded)
	if p.lasting = !e.Heartbeat(); p.lasting {
		p.before, p.damage = events.Head{Sequence: e.Sequence - 1, Hash: e.PrevHash}, damage(e.Recorded)
	}
	out := nats.NewMsg(m.subject)
	out.Data = m.Data()
	if ttl, err := time.ParseDuration(m.Headers().Get(jetstream.MsgTTLHeader)); err == nil {
		left := ttl - now.Sub(meta.Timestamp)
		if left < time.Second {
			return p, nil
		}
		left = (left + heartbeatMargin).Truncate(time.Second)
		out.Header.Set(jetstream.MsgTTLHeader, left.String())
		p.until = now.Add(left)
	}
	out.Header.Set(events.HeaderMsgID, e.ID)
	out.Header.Set(events.HeaderContentType, events.ContentType)
	out.Header.Set(HeaderLocalSequence, strconv.FormatUint(m.seq, 10))
	if e.Traceparent != "" {
		out.Header.Set("traceparent", e.Traceparent)
	}
	p.message = out
	return p, nil
}

// fit returns how many bytes the next batch may have after one took so long.
func fit(bytes int, took time.Duration) int {
	switch {
	case took > batchLong:
		return max(bytes/2, batchFew)
	case took < batchShort:
		return min(2*bytes, batchBytes)
	}
	return bytes
}

// take waits for a parcel and returns it and what else is there, up to so many bytes;
// nil once waiting is closed.
func take(waiting <-chan parcel, most int) []parcel {
	first, ok := <-waiting
	if !ok {
		return nil
	}
	batch, size := []parcel{first}, first.size()
	for len(batch) < batchMost && size < most {
		select {
		case p, ok := <-waiting:
			if !ok {
				return batch
			}
			batch, size = append(batch, p), size+p.size()
		default:
			return batch
		}
	}
	return batch
}

func (p parcel) size() int {
	if p.message == nil {
		return 0
	}
	return len(p.message.Data)
}

// send brings parcels to the hub, in order.
func (c *carrier) send(ctx context.Context, hub *hubLog, batch []parcel, all bool) error {
	parcels := batch[:0:0]
	for _, p := range batch {
		if p.message != nil {
			parcels = append(parcels, p)
		}
	}
	step := 1
	if hub.batches && len(parcels) >= batchLeast {
		step = len(parcels)
	}
	for len(parcels) > 0 {
		messages := make([]*nats.Msg, 0, step)
		for _, p := range parcels[:step] {
			messages = append(messages, p.message)
		}
		place, err := hub.store(ctx, c.connection, c.position().place, messages)
		if err != nil {
			return err
		}
		c.stored(parcels[step-1], place, step)
		parcels = parcels[step:]
	}
	newest := batch[len(batch)-1]
	c.reached(newest.local, all && newest.left == 0)
	return nil
}

// stored notes that the hub has n more events, the newest of them p.
func (c *carrier) stored(p parcel, place uint64, n int) {
	c.mu.Lock()
	from := c.at.head.Sequence
	c.at = position{head: p.head, local: p.local, place: place, known: true, until: p.until}
	c.relayed += uint64(n)
	c.problem, c.trouble = nil, nil
	suspect := c.suspect
	c.suspect = 0
	if suspect != 0 {
		c.reverted++
	}
	c.mu.Unlock()
	if suspect != 0 {
		// It took what follows on its older end, so that is where it ends.
		c.relay.Log.Warn().Str("hub", c.relay.Hub.url).Str("connection", string(c.connection)).Uint64("had", suspect).Uint64("has", from).
			Msg("the hub lost events that it had, as one does that is put back from a backup; they are brought there again")
	}
}

// reached notes that everything up to a position here needs nothing more, and
// whether that is all there is.
func (c *carrier) reached(local uint64, all bool) {
	c.mu.Lock()
	c.at.local = max(c.at.local, local)
	changed := c.current != all
	if changed {
		c.current, c.since = all, time.Now()
	}
	if all {
		c.trouble = nil
	}
	c.mu.Unlock()
	if changed && all {
		c.relay.current()
	}
}

// resume finds out what the hub has of the connection, and where the log here goes
// on from that.
func (c *carrier) resume(ctx context.Context, hub *hubLog) error {
	end, err := hub.end(ctx, c.connection)
	if err != nil {
		return err
	}
	if c.verdict != nil && c.verdict.place == end.place {
		return c.verdict
	}
	c.verdict = nil
	local, err := c.locate(ctx, hub, end)
	if fork, ok := errors.AsType[*ForkError](err); ok {
		fork.place = end.place
		if !fork.lacking { // which a Fetch changes
			c.verdict = fork
		}
	}
	if err != nil {
		return err
	}
	newest, err := c.relay.Local.newest(ctx, events.LogSubject(c.connection, "*"))
	if err != nil {
		return &localError{err}
	}
	c.mu.Lock()
	was := c.at
	gone := was.known && end.place < was.place && (was.until.IsZero() || time.Now().Before(was.until))
	if was.head.Sequence > end.head.Sequence || gone {
		// Until it has taken something there, this may be an old word of a server that
		// does not know yet that it is not the leader any more.
		c.suspect = was.head.Sequence
	} else if was.known && was.head == end.head {
		local = max(local, was.local) // heartbeats that have expired there
	}
	c.at = position{head: end.head, local: local, place: end.place, known: true, until: was.until}
	if statusOf(c.problem) != events.RelayRefused || isStreamError(c.problem) {
		c.problem = nil // it is not so any more
	}
	c.mu.Unlock()
	c.reached(local, newest == nil || newest.Sequence <= local)
	return nil
}

// locate returns where in the log here what the hub has ends. The error is a
// *[ForkError] when that is not of this log.
func (c *carrier) locate(ctx context.Context, hub *hubLog, end hubEnd) (uint64, error) {
	if end.head == (events.Head{}) {
		return 0, nil
	}
	// A place that this log has not come to is one of another log, and will be that of
	// an event to come.
	last, err := c.relay.Local.Last(ctx)
	if err != nil {
		return 0, &localError{err}
	}
	if end.local == 0 || end.local > last {
		return c.search(ctx, hub, end, 0)
	}
	m, err := c.relay.Local.stream.GetMsg(ctx, end.local)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound): // a heartbeat that is gone here, it may be
		return c.search(ctx, hub, end, end.local)
	case err != nil:
		return 0, &localError{err}
	case m.Header.Get(events.HeaderMsgID) == end.id:
		r, err := events.Decode(m.Data)
		if err == nil && r.Connection == c.connection && headAfter(r) == end.head {
			return end.local, nil
		}
	}
	return c.search(ctx, hub, end, 0)
}

// headAfter returns the head after r, which says itself what is before it.
func headAfter(r events.Recorded) events.Head {
	return events.Head{Epoch: r.Epoch, Sequence: r.Sequence, Hash: r.PrevHash}.Then(r)
}

// search reads the log here for where the hub's end is in it. gone is where something
// stood here that is gone, which may have been the hub's newest; 0 for nothing.
func (c *carrier) search(ctx context.Context, hub *hubLog, end hubEnd, gone uint64) (uint64, error) {
	subjects, err := c.relay.Local.lasting(ctx, c.connection)
	if err != nil {
		return 0, &localError{err}
	}
	var found uint64 // where the event is that the hub's newest lasting one is
	for m, err := range c.relay.Local.messages(ctx, Query{}, subjects) {
		if err != nil {
			return 0, &localError{err}
		}
		e, err := decode(m.subject, m.seq, m.Data())
		switch {
		case err != nil || e.Sequence < end.head.Sequence:
		case e.Sequence == end.head.Sequence:
			if e.Hash() != end.head.Hash {
				return 0, c.fork(ctx, hub, end)
			}
			found = m.seq
		case found != 0:
			return between(found, gone, m.seq), nil
		case e.Sequence == end.head.Sequence+1 && e.PrevHash == end.head.Hash, damage(e.Recorded):
			// The log here has lost its end, which the hub has, and goes on behind it.
			return m.seq - 1, nil
		default:
			return 0, c.fork(ctx, hub, end)
		}
	}
	if found == 0 {
		return 0, c.fork(ctx, hub, end)
	}
	return max(found, gone), nil
}

// between returns place, if it lies between two others, or else the lower of these.
func between(low, place, high uint64) uint64 {
	if place > low && place < high {
		return place
	}
	return low
}

func damage(r events.Recorded) bool {
	_, ok := r.Event.(*events.LogDamaged)
	return ok
}

// remember keeps the mark, if it is another one. That it cannot be kept costs
// nothing but a word on a hub that lost something.
func (c *carrier) remember(ctx context.Context) {
	at := c.position()
	mark := relayMark{at.head, at.local, at.place}
	if !at.known || mark == c.kept {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rememberWithin)
	defer cancel()
	if err := c.relay.marks.save(ctx, c.connection, mark); err == nil {
		c.kept = mark
	}
}

// status says where the connection stands.
func (c *carrier) status(ctx context.Context) (events.Relay, error) {
	hub := c.relay.Hub.Status()
	head, err := c.relay.Local.head(ctx, c.connection)
	if err != nil {
		return events.Relay{}, err
	}
	c.mu.Lock()
	at, problem := c.at, c.problem
	s := events.Relay{
		Hub: c.relay.Hub.url, Status: events.RelayCurrent, Since: c.since.UTC(), Sequence: at.head.Sequence,
		Relayed: c.relayed, Refusals: c.refusals, Reverted: c.reverted, Reconnects: hub.Reconnects,
	}
	if !c.current {
		s.Status = events.RelayBehind
	}
	if c.trouble != nil {
		s.Problem = "the hub does not answer as it should: " + c.trouble.Error()
	}
	stuck := c.stuck
	c.mu.Unlock()
	if fork, ok := errors.AsType[*ForkError](problem); ok {
		s.Sequence = fork.Common
	}
	if head.Sequence > s.Sequence {
		s.Lag = head.Sequence - s.Sequence
		s.LagFor, err = c.waiting(ctx, at.local)
		if err != nil {
			return events.Relay{}, err
		}
		if s.Status == events.RelayCurrent {
			s.Status = events.RelayBehind
		}
	}
	switch {
	case problem != nil:
		s.Status, s.Since, s.Problem, s.Refused = statusOf(problem), stuck.UTC(), problem.Error(), s.Lag
	case !hub.Connected:
		s.Status, s.Since, s.Problem = events.RelayAway, hub.Since.UTC(), hub.Problem
	}
	return s, nil
}

func isStreamError(err error) bool {
	_, ok := errors.AsType[*StreamError](err)
	return ok
}

func statusOf(problem error) events.RelayStatus {
	if fork, ok := errors.AsType[*ForkError](problem); ok {
		return fork.Status
	}
	return events.RelayRefused
}

// waiting returns how long the first event behind a position has been there.
func (c *carrier) waiting(ctx context.Context, local uint64) (events.Millis, error) {
	m, err := c.relay.Local.stream.GetMsg(ctx, local+1, jetstream.WithGetMsgSubject(events.LogSubject(c.connection, "*")))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil // it has just gone
	}
	if err != nil {
		return 0, err
	}
	return events.Between(m.Time, time.Now()), nil
}
