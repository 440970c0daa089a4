package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"ibconn/bus"
	"ibconn/events"
)

// item is a message of one connection.
type item struct {
	rec       events.Recorded // without its wire form
	err       error           // why it is no event; then rec is zero
	hash      string          // of its bytes
	size      int
	streamSeq uint64
	kind      events.Kind // of the event; by its subject where it is none
	subject   events.Kind // the kind of that subject, where it is not the event's
	early     bool        // it stands before its place, which is said
}

func itemOf(s bus.Stored, name events.ConnectionID, kind events.Kind) item {
	it := item{streamSeq: s.StreamSeq, kind: kind, size: len(s.Payload)}
	it.rec, it.err = events.Decode(s.Payload)
	switch {
	case it.err != nil:
	case it.rec.Connection != name:
		it.err = fmt.Errorf("%w of %s: it says that it is one of %s", errElsewhere, name, it.rec.Connection)
	case it.rec.Event.Type().Kind() != kind:
		it.kind, it.subject = it.rec.Event.Type().Kind(), kind
	}
	if it.err != nil {
		it.rec = events.Recorded{}
	}
	if it.linked() || it.err != nil {
		it.hash = hashOf(s.Payload)
	}
	it.rec.Wire = nil
	return it
}

var errElsewhere = errors.New("not an event")

func hashOf(payload []byte) string {
	sum := sha256.Sum256(payload)
	return hex.EncodeToString(sum[:])
}

// linked says whether it is an event in the chain.
func (i item) linked() bool { return i.err == nil && i.kind != events.KindHeartbeat }

// seen is what is remembered of an event.
type seen struct {
	sequence, epoch uint64
	hash            string
	streamSeq       uint64
	id, source      string
	at              time.Time
}

func (i item) seen() seen {
	return seen{i.rec.Sequence, i.rec.Epoch, i.hash, i.streamSeq, i.rec.ID, i.rec.Source, i.rec.Time}
}

// String names the event.
func (s seen) String() string {
	if s.id == "" {
		return fmt.Sprintf("event %d", s.sequence)
	}
	return fmt.Sprintf("event %d (%s, of %s)", s.sequence, s.id, stamp(s.at))
}

// gap is events that are missing.
type gap struct{ from, to uint64 }

const (
	remembered = 256     // events of which the hash is known
	pulses     = 32      // heartbeats of which the id is known
	ahead      = 8       // events in the chain that are looked at to tell what is wrong with one
	maxAhead   = 256     // messages of all kinds
	maxBytes   = 4 << 20 // and their size
	maxGaps    = 64
	maxStrays  = 64
	maxGap     = 1 << 32 // events that a heartbeat may say are missing
)

// connection is what is known of one connection's part of a log.
type connection struct {
	v    *Verifier
	name events.ConnectionID

	begun  bool
	head   events.Head // Hash is empty where it is not known
	last   seen        // the event at head
	ring   [remembered]seen
	pulses [pulses]string // ids of the last heartbeats
	beat   int
	moved  uint64 // the event whose heartbeats are out of their place: that is said once
	queue  []item // what follows on something wrong, until that is told
	links  int    // of these, those in the chain
	bytes  int
	gaps   []gap
	strays []seen // taken out, because they stood far before their place

	judge
}

func newConnection(v *Verifier, name events.ConnectionID) *connection {
	return &connection{v: v, name: name, judge: newJudge(name, !v.options.Partial)}
}

// take looks at the next message.
func (c *connection) take(it item) {
	if it.kind == events.KindHeartbeat {
		c.v.summary.Heartbeats++
	}
	if len(c.queue) == 0 && c.next(it) {
		return
	}
	c.queue = append(c.queue, it)
	c.bytes += it.size
	if it.linked() {
		c.links++
	}
	c.drain(false)
}

// drain takes from the queue what can be told: all of it, at the end.
func (c *connection) drain(all bool) {
	for len(c.queue) > 0 {
		if c.queue[0].early && c.follows(c.queue[0]) {
			// Heartbeats of the event before it stand behind it.
			i := c.follower(0)
			if i < 0 && !all && len(c.queue) < maxAhead && c.bytes < maxBytes {
				return
			}
			if i < 0 {
				i = len(c.queue)
			}
			c.beats(i)
		}
		if c.next(c.queue[0]) {
			c.drop(0)
			continue
		}
		if !all && c.links < ahead && len(c.queue) < maxAhead && c.bytes < maxBytes {
			return
		}
		c.tell()
	}
	c.queue = nil
}

// drop takes an item out of the queue.
func (c *connection) drop(i int) item {
	it := c.queue[i]
	c.bytes -= it.size
	if it.linked() {
		c.links--
	}
	c.queue = slices.Delete(c.queue, i, i+1)
	return it
}

// next accepts an item if it follows.
func (c *connection) next(it item) bool {
	if !c.follows(it) {
		return false
	}
	c.accept(it, it.hash)
	return true
}

// follows says whether an item follows on the head.
func (c *connection) follows(it item) bool {
	if it.err != nil {
		return false
	}
	if !c.begun {
		if c.v.options.Partial {
			c.begin(it)
		}
		c.begun = true
	}
	head := c.head
	if head.Hash == "" {
		head.Hash = it.rec.PrevHash // not known
	}
	if c.head.Sequence == 0 && it.rec.PrevHash != "" || head.Follows(it.rec) != nil {
		return false
	}
	return it.kind != events.KindHeartbeat || !slices.Contains(c.pulses[:], it.rec.ID)
}

// begin takes the first event that there is as it is.
func (c *connection) begin(it item) {
	c.head = events.Head{Epoch: it.rec.Epoch, Sequence: it.rec.Sequence, Hash: it.rec.PrevHash}
	if it.kind != events.KindHeartbeat {
		c.head.Sequence--
	}
	if it.rec.Claim() {
		c.head.Epoch--
	}
	if it.rec.Sequence == 1 {
		c.judge = newJudge(c.name, true)
		return
	}
	c.find(it.seen(), Middle, "", "%s begins in the middle, at sequence %d: that event is taken as it is, and commands and subscriptions of before are not known", c.name, it.rec.Sequence)
}

// accept makes it the head, or if it is a heartbeat notes it. hash is that of the event
// that was written, as far as it is known.
func (c *connection) accept(it item, hash string) {
	if it.subject != "" {
		c.find(it.seen(), WrongSubject, "find out what writes to the stream: a reader that asks for events of a kind does not get this one",
			"event %d (%s) lies under a subject of kind %s", it.rec.Sequence, it.rec.Event.Type(), it.subject)
	}
	if it.kind == events.KindHeartbeat {
		c.pulses[c.beat%pulses] = it.rec.ID
		c.beat++
	} else {
		if it.rec.Claim() {
			c.v.summary.Epochs++
		}
		c.head = events.Head{Epoch: it.rec.Epoch, Sequence: it.rec.Sequence, Hash: hash}
		c.last = it.seen()
		c.last.hash = hash
		c.ring[it.rec.Sequence%remembered] = c.last
	}
	if c.v.summary.First.IsZero() {
		c.v.summary.First = it.rec.Time
	}
	c.v.summary.Last = it.rec.Time
	c.look(c, it)
}

// known returns what is remembered of the event with a sequence.
func (c *connection) known(sequence uint64) (seen, bool) {
	s := c.ring[sequence%remembered]
	return s, sequence != 0 && s.sequence == sequence
}

// follower returns the index of the next item in the chain after i, or -1.
func (c *connection) follower(i int) int {
	for j := i + 1; j < len(c.queue); j++ {
		if c.queue[j].linked() {
			return j
		}
	}
	return -1
}

// search returns the index of the first item in the chain from i on that is as wanted, or -1.
func (c *connection) search(i int, wanted func(item) bool) int {
	for j := i; j < len(c.queue); j++ {
		if c.queue[j].linked() && wanted(c.queue[j]) {
			return j
		}
	}
	return -1
}

// broken notes that from here on less is known.
func (c *connection) broken() { c.doubt() }

func (c *connection) find(about seen, k Kind, advice, format string, args ...any) {
	f := Finding{
		Kind: k, Connection: c.name, StreamSeq: about.streamSeq, Sequence: about.sequence, EventID: about.id,
		At: about.at, Words: fmt.Sprintf(format, args...), Advice: advice,
	}
	c.remember(f)
	c.v.find(f)
}

// tell says what is wrong with the first item of the queue, and takes it, or what is
// missing before it, out.
func (c *connection) tell() {
	switch f := c.queue[0]; {
	case f.err != nil:
		c.tellUndecodable(f)
	case f.kind == events.KindHeartbeat:
		c.tellPulse(f)
	default:
		c.tellEvent(f)
	}
}

const (
	adviceForeign = "find out what writes to ib.log beside ibconn; a log that was put together by hand cannot be trusted"
	adviceBytes   = "compare with another copy of the log; if nobody changed it, check the disk"
	adviceMissing = "look for another copy of the log; if nobody deleted them, check the disk"
	adviceOrder   = "compare with another copy of the log: no writer stores events in that order"
)

// tellUndecodable is for what is no event. Where one is missing, it was that.
func (c *connection) tellUndecodable(f item) {
	c.drop(0)
	about := seen{streamSeq: f.streamSeq}
	kind, what := Undecodable, fmt.Sprintf("message %d (under kind %s) is no event: %v", f.streamSeq, f.kind, f.err)
	if errors.Is(f.err, errElsewhere) {
		kind, what = WrongSubject, fmt.Sprintf("message %d is %v", f.streamSeq, f.err)
	}
	want := c.head.Sequence + 1
	i := c.follower(-1)
	switch {
	case f.kind == events.KindHeartbeat, !c.begun && c.v.options.Partial:
		c.find(about, kind, adviceBytes, "%s", what)
	case i < 0:
		c.find(about, kind, adviceBytes, "%s; it may have been event %d", what, want)
	case c.queue[i].rec.Sequence <= want:
		c.find(about, kind, adviceForeign, "%s; no event is missing there, so that it is not of a writer of %s", what, c.name)
	default:
		about.sequence = want
		n := c.queue[i].rec
		c.head.Sequence, c.head.Hash, c.begun = want, "", true
		how := ""
		if n.Sequence == want+1 {
			c.head.Hash = n.PrevHash
			c.head.Epoch = epochBefore(n)
			how = ", and was changed after it was written"
			if f.hash == n.PrevHash {
				how = ", and is as it was written"
			}
		}
		c.find(about, kind, adviceBytes, "%s; it was event %d%s", what, want, how)
		c.last = seen{sequence: want, hash: c.head.Hash, streamSeq: f.streamSeq, epoch: c.head.Epoch}
		c.ring[want%remembered] = c.last
		c.broken()
	}
}

// epochBefore is the epoch in which the event before r was written.
func epochBefore(r events.Recorded) uint64 {
	if r.Claim() {
		return r.Epoch - 1
	}
	return r.Epoch
}

// tellPulse is for a heartbeat that does not follow.
func (c *connection) tellPulse(f item) {
	r := f.rec
	before, known := c.known(r.Sequence)
	after := c.search(1, func(x item) bool { return x.rec.Sequence == r.Sequence && x.hash == r.PrevHash })
	i := c.follower(0)
	switch {
	case r.Sequence <= c.head.Sequence && !known && c.wasMissing(r.Sequence):
		// its event is missing, which is said
	case slices.Contains(c.pulses[:], r.ID):
		c.find(f.seen(), Duplicated, adviceForeign, "the heartbeat %s, behind event %d, stands twice", r.ID, r.Sequence)
	case c.moved == r.Sequence && (after >= 0 || r.Sequence < c.head.Sequence):
		// another one of that place was out of it too, which is enough
	case after >= 0:
		c.moved = r.Sequence
		c.find(f.seen(), Swapped, adviceOrder, "the heartbeat %s stands before event %d, which it was written behind", r.ID, r.Sequence)
	case r.Epoch < c.head.Epoch:
		c.moved = r.Sequence
		c.find(f.seen(), SecondWriter, adviceForeign, "the heartbeat %s is of %s under epoch %d, which had ended: the last claim is %d", r.ID, r.Source, r.Epoch, c.head.Epoch)
	case known && before.hash == r.PrevHash && r.Sequence < c.head.Sequence:
		c.moved = r.Sequence
		c.find(f.seen(), Swapped, adviceOrder, "the heartbeat %s, which belongs behind event %d, stands behind event %d", r.ID, r.Sequence, c.head.Sequence)
	case r.Sequence == c.head.Sequence && r.PrevHash != c.head.Hash && c.agree(r.PrevHash):
		c.tellLast()
		c.head.Hash = r.PrevHash
		return // it follows now
	case r.Sequence > c.head.Sequence && (i < 0 || c.queue[i].rec.Sequence > r.Sequence) && r.Sequence-c.head.Sequence < maxGap:
		c.tellMissingAt(i)
		return
	case r.Sequence == c.head.Sequence && r.PrevHash == c.head.Hash:
		c.find(f.seen(), WrongEpoch, adviceForeign, "the heartbeat %s, behind event %d, is under epoch %d: the last claim is %d", r.ID, r.Sequence, r.Epoch, c.head.Epoch)
	default:
		c.find(f.seen(), Changed, adviceBytes, "the heartbeat %s says that it was written behind event %d, and it is not so: it was changed, or is not of this log", r.ID, r.Sequence)
	}
	c.drop(0)
}

// tellMissingAt says that the events are missing behind which the next heartbeats were
// written: up to the item at i, or if there is none up to the last of these.
func (c *connection) tellMissingAt(i int) {
	last := c.queue[0].rec
	if i >= 0 {
		next := c.queue[i].rec
		c.tellMissing(next.Sequence-1, last)
		c.head = events.Head{Epoch: epochBefore(next), Sequence: next.Sequence - 1, Hash: next.PrevHash}
		return
	}
	for _, it := range c.queue {
		if it.err == nil && it.rec.Sequence >= last.Sequence && it.rec.Sequence-c.head.Sequence < maxGap {
			last = it.rec
		}
	}
	c.tellMissing(last.Sequence, c.queue[0].rec)
	c.head = events.Head{Epoch: last.Epoch, Sequence: last.Sequence, Hash: last.PrevHash}
}

// wasMissing says whether an event was said to be missing.
func (c *connection) wasMissing(sequence uint64) bool {
	return slices.ContainsFunc(c.gaps, func(g gap) bool { return g.from <= sequence && sequence <= g.to })
}

// agree says whether what comes says that the head has another hash.
func (c *connection) agree(hash string) bool {
	n := 0
	for _, it := range c.queue {
		if it.err != nil {
			continue
		}
		if it.linked() {
			return it.rec.Sequence == c.head.Sequence+1 && it.rec.PrevHash == hash
		}
		if it.rec.Sequence == c.head.Sequence && it.rec.PrevHash == hash {
			n++
		}
	}
	return n > 1 || c.v.options.Marks[c.name].Hash == hash
}

// tellLast says that the event at the head was changed.
func (c *connection) tellLast() {
	c.find(c.last, Changed, adviceBytes, "%v is not the one that was there when the next was written: it was changed after that", c.last)
	c.broken()
}

// tellMissing says that the events up to one are missing.
func (c *connection) tellMissing(to uint64, by events.Recorded) {
	from := c.head.Sequence + 1
	f := Finding{Kind: Missing, Connection: c.name, Sequence: from, ToSequence: to, Advice: adviceMissing}
	if c.last.sequence != 0 {
		f.Words = fmt.Sprintf("%s missing, between %v and what was written at %s", missing(from, to), c.last, stamp(by.Time))
	} else {
		f.Words = fmt.Sprintf("%s missing: the log of %s begins behind them, at %s", missing(from, to), c.name, stamp(by.Time))
	}
	c.remember(f)
	c.v.find(f)
	c.gaps = append(c.gaps, gap{from, to})
	c.gaps = c.gaps[max(0, len(c.gaps)-maxGaps):]
	c.broken()
}

func missing(from, to uint64) string {
	if from == to {
		return fmt.Sprintf("event %d is", from)
	}
	return fmt.Sprintf("%d events, %d to %d, are", to-from+1, from, to)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func number(n uint64) string { return strconv.FormatUint(n, 10) }

// tellEvent is for an event of the chain that does not follow on the head.
func (c *connection) tellEvent(f item) {
	r, want := f.rec, c.head.Sequence+1
	if s, ok := c.known(r.Sequence); ok && s.hash == f.hash && r.Sequence < want {
		c.find(f.seen(), Duplicated, adviceForeign, "event %d (%s) stands twice: as message %d, and again as message %d", r.Sequence, r.ID, s.streamSeq, f.streamSeq)
		c.drop(0)
		return
	}
	onHead := r.PrevHash == c.head.Hash && (c.head.Sequence > 0 || r.PrevHash == "")
	switch x := c.search(1, func(x item) bool {
		return x.rec.Sequence == want && x.rec.PrevHash == c.head.Hash && epochBefore(x.rec) == c.head.Epoch
	}); {
	case x > 0:
		c.tellOutOfTurn(f, x)
	case onHead && r.Sequence == want:
		c.tellEpoch(f)
	case onHead:
		about := f.seen()
		about.sequence = want
		c.find(about, Changed, adviceBytes, "event %d (%s) says that its sequence is %d: it was changed after it was written", want, r.ID, r.Sequence)
		c.adopt(f, want)
	case r.Sequence == want:
		c.tellHash(f)
	case r.Sequence > want:
		c.tellAhead(f)
	default:
		c.tellBehind(f)
	}
}

// adopt accepts the first item as the event with a sequence, with the hash that
// what follows says it had.
func (c *connection) adopt(f item, sequence uint64) {
	c.drop(0)
	hash := f.hash
	f.rec.Sequence = sequence
	c.broken()
	if i := c.follower(-1); i >= 0 && c.queue[i].rec.Sequence == sequence+1 {
		n := c.queue[i].rec
		hash = n.PrevHash
		f.rec.Epoch = epochBefore(n)
	}
	c.accept(f, hash)
}

// intact says whether what follows on the first item says that it is as it was written,
// and whether anything follows that can tell.
func (c *connection) intact(f item) (intact, told bool) {
	for _, it := range c.queue[1:] {
		switch {
		case it.err != nil:
		case it.linked():
			return it.rec.PrevHash == f.hash, it.rec.Sequence == f.rec.Sequence+1 || it.rec.PrevHash == f.hash
		case it.rec.Sequence == f.rec.Sequence && it.rec.PrevHash == f.hash:
			return true, true
		}
	}
	if m := c.v.options.Marks[c.name]; m.Sequence == f.rec.Sequence {
		return m.Hash == f.hash, true
	}
	return false, false
}

// tellOutOfTurn is for an event before the one whose turn it is, which stands at x.
func (c *connection) tellOutOfTurn(f item, x int) {
	r, turn := f.rec, c.queue[x]
	switch {
	case r.Sequence > turn.rec.Sequence && (f.early || c.joins(f)):
		if !f.early {
			c.tellEarly(f, turn)
		}
		x -= c.beats(x) // of the event before
		c.drop(x)
		c.accept(turn, turn.hash)
		c.beats(x)
	case r.Sequence > turn.rec.Sequence:
		c.tellStray(f)
	default:
		c.tellForeign(f)
	}
}

// beats accepts the heartbeats before x that follow on the head, and returns how many.
func (c *connection) beats(x int) int {
	n := 0
	for i := 0; i < x-n; {
		if it := c.queue[i]; it.kind != events.KindHeartbeat || !c.next(it) {
			i++
			continue
		}
		c.drop(i)
		n++
	}
	return n
}

// tellStray is for an event that stands far before its place.
func (c *connection) tellStray(f item) {
	r := f.rec
	c.find(f.seen(), Swapped, adviceOrder, "event %d (%s) stands where event %d should: its sequence was changed, or it was moved", r.Sequence, r.ID, c.head.Sequence+1)
	c.strays = append(c.strays, f.seen())
	c.strays = c.strays[max(0, len(c.strays)-maxStrays):]
	c.drop(0)
	c.broken()
}

// tellForeign is for an event with a sequence that the chain has passed, or goes on
// with another one.
func (c *connection) tellForeign(f item) {
	r := f.rec
	other, known := c.known(r.Sequence)
	switch {
	case c.wasMissing(r.Sequence) && r.Sequence <= c.head.Sequence:
		c.find(f.seen(), Swapped, adviceOrder, "event %d (%s), which is missing in its place, stands behind event %d", r.Sequence, r.ID, c.head.Sequence)
	case r.Epoch < c.head.Epoch && (known || r.Sequence > c.head.Sequence):
		c.find(f.seen(), SecondWriter, adviceForeign, "event %d (%s) is of %s under epoch %d, which had ended: the last claim is %d", r.Sequence, r.ID, r.Source, r.Epoch, c.head.Epoch)
	case known:
		c.find(f.seen(), SecondWriter, adviceForeign, "message %d (%s, of %s) says that it is event %d, which is %s, of %s: somebody wrote who did not hold the connection", f.streamSeq, r.ID, r.Source, r.Sequence, other.id, other.source)
	case r.Sequence > c.head.Sequence:
		c.find(f.seen(), SecondWriter, adviceForeign, "message %d (%s, of %s) says that it is event %d, and the log goes on with another one: somebody wrote who did not hold the connection", f.streamSeq, r.ID, r.Source, r.Sequence)
	default:
		c.find(f.seen(), Duplicated, adviceForeign, "message %d (%s) says that it is event %d, which stands long before it: it was copied, or its sequence was changed", f.streamSeq, r.ID, r.Sequence)
	}
	c.drop(0)
}

// tellEpoch is for an event that follows but for its epoch.
func (c *connection) tellEpoch(f item) {
	r := f.rec
	intact, told := c.intact(f)
	switch {
	case told && !intact:
		c.find(f.seen(), Changed, adviceBytes, "event %d (%s) says epoch %d, and the last claim is %d: it was changed after it was written", r.Sequence, r.ID, r.Epoch, c.head.Epoch)
	case r.Claim():
		c.find(f.seen(), WrongClaim, adviceForeign, "the claim at event %d (%s, of %s) begins epoch %d: want %d", r.Sequence, r.ID, r.Source, r.Epoch, c.head.Epoch+1)
	case r.Epoch < c.head.Epoch:
		c.moved = r.Sequence
		c.find(f.seen(), SecondWriter, adviceForeign, "event %d (%s) is of %s under epoch %d, which had ended: the last claim is %d", r.Sequence, r.ID, r.Source, r.Epoch, c.head.Epoch)
	default:
		c.find(f.seen(), WrongEpoch, adviceForeign, "event %d (%s) is of %s under epoch %d, and the last claim is %d", r.Sequence, r.ID, r.Source, r.Epoch, c.head.Epoch)
	}
	if i := c.follower(0); i < 0 && !r.Claim() {
		f.rec.Epoch = c.head.Epoch
	}
	c.adopt(f, r.Sequence)
}

// tellHash is for an event with the right sequence that names another event before it.
func (c *connection) tellHash(f item) {
	intact, told := c.intact(f)
	switch {
	case intact:
		c.tellLast()
	case told:
		c.find(f.seen(), Changed, adviceBytes, "event %d (%s) does not name the event before it, and the next does not name it: it was changed after it was written", f.rec.Sequence, f.rec.ID)
	default:
		c.find(c.last, Changed, adviceBytes, "%v is not the one that event %d (%s) names: one of the two was changed", c.last, f.rec.Sequence, f.rec.ID)
	}
	c.adopt(f, f.rec.Sequence)
}

// tellAhead is for an event with a sequence above the next.
func (c *connection) tellAhead(f item) {
	r, want := f.rec, c.head.Sequence+1
	if i := slices.IndexFunc(c.strays, func(s seen) bool { return s.sequence == want && s.hash == r.PrevHash }); i >= 0 && r.Sequence == want+1 {
		c.head.Sequence, c.head.Hash, c.head.Epoch = want, r.PrevHash, epochBefore(r)
		c.last = c.strays[i]
		c.ring[want%remembered] = c.last
		return // it stood far before its place, which was said
	}
	lowest := -1
	for i, y := range c.queue {
		if y.linked() && want <= y.rec.Sequence && y.rec.Sequence < r.Sequence && (lowest < 0 || y.rec.Sequence < c.queue[lowest].rec.Sequence) {
			lowest = i
		}
	}
	switch {
	case lowest < 0:
		c.tellMissing(r.Sequence-1, r)
		if r.Epoch < c.head.Epoch {
			c.find(f.seen(), WrongEpoch, adviceForeign, "event %d (%s) is of %s under epoch %d, and the last claim was %d", r.Sequence, r.ID, r.Source, r.Epoch, c.head.Epoch)
		}
		c.drop(0)
		c.accept(f, f.hash)
	case f.early || c.joins(f):
		if !f.early {
			c.tellEarly(f, c.queue[lowest])
		}
		y := c.drop(lowest)
		c.links, c.bytes = c.links+1, c.bytes+y.size
		c.queue = slices.Insert(c.queue, 0, y)
	default:
		c.tellStray(f)
	}
}

// joins says whether something in the queue is next to f in the chain.
func (c *connection) joins(f item) bool {
	return c.search(1, func(y item) bool {
		return y.rec.Sequence == f.rec.Sequence-1 && y.hash == f.rec.PrevHash || y.rec.Sequence == f.rec.Sequence+1 && y.rec.PrevHash == f.hash
	}) > 0
}

// tellEarly says that the first item stands before its place.
func (c *connection) tellEarly(f, turn item) {
	c.find(f.seen(), Swapped, adviceOrder, "event %d (%s) stands before event %d (%s): as message %d, and %d",
		f.rec.Sequence, f.rec.ID, turn.rec.Sequence, turn.rec.ID, f.streamSeq, turn.streamSeq)
	c.queue[0].early = true
	c.broken()
}

// tellBehind is for an event with a sequence that was passed, while nothing goes on from
// the head.
func (c *connection) tellBehind(f item) {
	r := f.rec
	intact, _ := c.intact(f)
	before, known := c.known(r.Sequence - 1)
	branch := known && before.hash == r.PrevHash || r.Sequence == 1 && r.PrevHash == ""
	if !intact {
		c.tellForeign(f)
		return
	}
	other, _ := c.known(r.Sequence)
	switch {
	case branch && r.Sequence == c.head.Sequence:
		c.find(c.last, SecondWriter, adviceForeign, "message %d (%s, of %s) says that it is event %d, and the log goes on with %s, of %s: somebody wrote who did not hold the connection", c.last.streamSeq, c.last.id, c.last.source, r.Sequence, r.ID, r.Source)
	case branch:
		c.find(other, SecondWriter, adviceForeign, "events %d to %d, from message %d (%s, of %s) on, are not those that the log goes on with: that is message %d (%s, of %s)",
			r.Sequence, c.head.Sequence, other.streamSeq, other.id, other.source, f.streamSeq, r.ID, r.Source)
	default:
		c.find(f.seen(), SecondWriter, adviceForeign, "the log of %s goes back from event %d to event %d (%s, of %s), and on from there", c.name, c.head.Sequence, r.Sequence, r.ID, r.Source)
	}
	c.adopt(f, r.Sequence)
}
