package connector

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"ibconn/events"
)

// query is a question for bars of the past, of all callers that ask it at once,
// and the gateway's request for it. It is kept until nothing of it is open at
// the gateway.
type query struct {
	contract events.Contract // qualified
	bars     events.BarQuery
	callers  []*caller // who waits for the answer

	ledger  *Ledger   // that let it go
	slot    *slot     // its place there; nil until it was let go
	next    time.Time // when to ask the ledger again
	may     time.Time // when it may go, as the ledger said last
	id      int64     // 0 until it is given to the session
	expires time.Time // when it is not to be sent any more
	leftAt  time.Time // when it left for the gateway; zero until then
	empty   string    // the gateway's words that there is no data, until they are proven; else empty
	cancel  int64     // the id of its cancel; 0 when there is none
}

// caller waits for the answer to a query. It gets one.
type caller struct {
	until    time.Time     // when it goes away
	patience time.Duration // how long the gateway may take once it was asked; 0 for as long as until
	priority Priority
	ahead    int                // how many requests of the kind follow this one
	whole    bool               // it is turned away at once when there is no time for all of them
	answer   chan events.Answer // has room for the answer

	expects atomic.Pointer[expectation] // nil until something is known
}

// expectation is what can be known of when a caller gets its answer.
type expectation struct {
	next time.Time // when IB's rules let the request go; zero once they did
	last time.Time // when they let the last of those ahead go, as far as can be known
}

// waitsUntil is when c goes away, whose request left then, or not yet.
func (c *caller) waitsUntil(leftAt time.Time) time.Time {
	if leftAt.IsZero() || c.patience == 0 {
		return c.until
	}
	return earliest(c.until, leftAt.Add(c.patience))
}

// until is when the last of the callers goes away.
func (q *query) until() time.Time {
	var last time.Time
	for _, c := range q.callers {
		last = latest(last, c.until)
	}
	return last
}

// priority is that of the most urgent caller.
func (q *query) priority() Priority {
	most := PriorityBackfill
	for _, c := range q.callers {
		most = min(most, c.priority)
	}
	return most
}

// takes says whether who asks c for bars at now gets the answer to q too. One
// that left a while ago may never be answered, and by then another may go.
func (q *query) takes(o *query, now time.Time) bool {
	return q.contract == o.contract && q.place().same == o.place().same &&
		q.cancel == 0 && (q.leftAt.IsZero() || now.Sub(q.leftAt) < identicalWithin)
}

// askAgain is how soon the ledger is asked again at most, for a place that came
// free meanwhile.
const askAgain = time.Second

// maxCancelled is how many cancelled queries are remembered, for the gateway's
// word that they are cancelled.
const maxCancelled = 64

// queries are the callers' queries of one connection.
type queries struct {
	ledger    *Ledger // of the gateway that the session is with; nil until it was reached
	all       []*query
	cancelled []int64
}

// put implements asked: q has one caller, who shares a query that is the same.
func (q *query) put(r *requests, s events.State, now time.Time) {
	waiting := 0
	for _, o := range r.queries.all {
		waiting += len(o.callers)
	}
	a, no := r.turnedAway(s, q.until(), now, waiting)
	if r.queries.ledger == nil {
		a, no = r.notReady(s), true
	}
	if c := q.callers[0]; !no && c.whole {
		a, no = r.noTimeFor(q, c, now)
	}
	if no {
		q.reply(a)
		return
	}
	i := slices.IndexFunc(r.queries.all, func(o *query) bool { return o.takes(q, now) })
	if i < 0 {
		r.queries.all = append(r.queries.all, q)
		return
	}
	r.queries.all[i].callers = append(r.queries.all[i].callers, q.callers...)
}

// noTimeFor turns c away where IB's rules leave no time for all that it wants.
func (r *requests) noTimeFor(q *query, c *caller, now time.Time) (events.Answer, bool) {
	last := now.Add(r.queries.ledger.forecast(q.place(), c.ahead, r.passedTime) - r.passedTime)
	c.expects.Store(&expectation{last: last})
	if last.Before(c.until) {
		return events.Answer{}, false
	}
	a := r.refusing(events.ErrorPacing, "it takes %d requests, of which IB's rules on history let the last one go at %s at the earliest, and it waits until %s: ask with a longer wait, or for less",
		c.ahead+1, clock(last), clock(c.until))
	a.ExpectedAt = last
	return a, true
}

// leaving takes a caller away that waits no longer.
type leaving struct{ caller *caller }

// put implements asked.
func (l leaving) put(r *requests, _ events.State, _ time.Time) {
	for _, q := range slices.Clone(r.queries.all) {
		if n := len(q.callers); n > 0 {
			q.callers = slices.DeleteFunc(q.callers, func(c *caller) bool { return c == l.caller })
			if len(q.callers) < n {
				r.abandon(q)
			}
		}
	}
}

func (r *requests) query(id int64) *query {
	i := slices.IndexFunc(r.queries.all, func(q *query) bool { return id != 0 && (q.id == id || q.cancel == id) })
	if i < 0 {
		return nil
	}
	return r.queries.all[i]
}

// place is where a query counts in the ledger.
func (q *query) place() *slot {
	series := fmt.Sprintf("%d %s %s", q.contract.ConID, q.contract.Exchange, q.bars.What)
	weight := 1
	if q.bars.What == "BID_ASK" {
		weight = 2
	}
	return &slot{
		same:   fmt.Sprintf("%s %d %s %s %t", series, q.bars.End.Unix(), q.bars.Duration, q.bars.BarSize, q.bars.RTH),
		series: series, weight: weight, small: q.bars.BarSpan() <= smallBar,
	}
}

// reply gives all that wait for q their answer.
func (q *query) reply(a events.Answer) {
	for _, c := range q.callers {
		c.answer <- a
	}
	q.callers = nil
}

// replyTo gives those callers of q their answer whom goes picks.
func (q *query) replyTo(goes func(*caller) bool, a events.Answer) {
	q.callers = slices.DeleteFunc(q.callers, func(c *caller) bool {
		over := goes(c)
		if over {
			c.answer <- a
		}
		return over
	})
}

// done answers q, of which nothing is open at the gateway any more.
func (r *requests) done(q *query, a events.Answer) {
	q.reply(a)
	if q.slot != nil {
		q.ledger.answered(q.slot, r.passedTime)
	}
	r.forget(q)
}

func (r *requests) forget(q *query) {
	r.queries.all = slices.DeleteFunc(r.queries.all, func(o *query) bool { return o == q })
}

// dueQueries answers whose time is over at now, and returns the messages to
// send: queries that IB's rules let go, and cancels of those that nobody waits
// for; wanted says that one waits for IB's servers to be seen.
func (r *requests) dueQueries(s events.State, now time.Time) (messages []Message, wanted bool) {
	why := doubtOf(s, events.FarmHistorical)
	for _, q := range slices.Clone(r.queries.all) {
		if q.empty != "" && why != "" {
			r.done(q, r.emptyUntrusted(q.empty, why))
			continue
		}
		if waiting := len(q.callers); waiting > 0 {
			q.replyTo(func(c *caller) bool { return !now.Before(c.waitsUntil(q.leftAt)) }, r.queryOverdue(q, why))
			if len(q.callers) < waiting {
				r.abandon(q)
			}
		}
		switch {
		case len(q.callers) == 0:
		case q.empty != "":
			wanted = true
		case q.slot == nil && !now.Before(q.next):
			if m, ok := r.letGo(q, now); ok {
				messages = append(messages, m)
			}
		}
	}
	messages = append(messages, r.late...)
	r.late = nil
	return messages, wanted
}

// letGo asks the ledger whether q may go.
func (r *requests) letGo(q *query, now time.Time) (Message, bool) {
	place := q.place()
	q.ledger = r.queries.ledger
	wait, ok := q.ledger.take(place, r.passedTime)
	switch {
	case ok:
		q.slot, q.id, q.expires = place, r.nextID(), q.until()
		q.expect(expectation{})
		return Message{ID: q.id, Priority: q.priority(), Expires: q.expires, Request: HistoricalBars{Contract: q.contract, Query: q.bars}}, true
	case wait > askAgain:
		may := now.Add(wait)
		a := r.refusing(events.ErrorPacing,
			"IB's rules on history do not let it go before %s, and it waits until %s: ask again then, or with a longer wait", clock(may), clock(q.until()))
		a.RetryAt = may
		q.replyTo(func(c *caller) bool { return !may.Before(c.until) }, a)
		if len(q.callers) == 0 {
			r.forget(q)
			return Message{}, false
		}
	}
	// A place may come free before that, or another take it.
	if may := now.Add(wait); !may.Equal(q.may) {
		q.may = may
		ahead := 0
		for _, c := range q.callers {
			ahead = max(ahead, c.ahead)
		}
		q.expect(expectation{next: may, last: now.Add(q.ledger.forecast(place, ahead, r.passedTime) - r.passedTime)})
	}
	q.next = now.Add(min(wait, askAgain))
	return Message{}, false
}

// expect tells the callers of q when they may expect what. What was known of the
// end stays so where nothing new is.
func (q *query) expect(e expectation) {
	for _, c := range q.callers {
		told := e
		if old := c.expects.Load(); told.last.IsZero() && old != nil {
			told.last = old.last
		}
		c.expects.Store(&told)
	}
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05Z") }

// queryOverdue is the answer to those who wait for q no longer.
func (r *requests) queryOverdue(q *query, why string) events.Answer {
	switch {
	case q.empty != "":
		return r.emptyUntrusted(q.empty, "IB's servers did not answer a search in time")
	case !q.leftAt.IsZero():
		return r.refusing(events.ErrorTimeout, "the gateway did not answer in time%s: the query is cancelled", behind(": ", why))
	case q.slot == nil:
		a := r.refusing(events.ErrorPacing, "IB's rules on history did not let it go in time: nothing was asked")
		a.RetryAt = q.may
		return a
	default:
		return r.expired()
	}
}

// abandon sees to what is open of q at the gateway, when nobody waits for it any
// more. Where its message is yet to leave, what becomes of that is yet to be told.
func (r *requests) abandon(q *query) {
	switch {
	case len(q.callers) > 0, q.cancel != 0:
	case q.empty != "", q.slot == nil:
		r.done(q, events.Answer{})
	case !q.leftAt.IsZero():
		r.late = append(r.late, r.cancel(q))
	}
}

func (r *requests) cancel(q *query) Message {
	q.cancel = r.nextID()
	r.queries.cancelled = append(r.queries.cancelled, q.id)
	if over := len(r.queries.cancelled) - maxCancelled; over > 0 {
		r.queries.cancelled = slices.Delete(r.queries.cancelled, 0, over)
	}
	return Message{ID: q.cancel, Priority: PriorityCancel, Request: CancelBars{Of: q.id}}
}

// passedQuery takes what became of a query's message, or of its cancel. One
// that left when nobody waited for it any more is to be cancelled.
func (r *requests) passedQuery(q *query, in Passed, now time.Time) {
	switch {
	case in.ID == q.cancel:
		r.done(q, events.Answer{})
	case in.Outcome == OutcomeSent:
		q.leftAt = now
		q.ledger.sent(q.slot, r.passedTime)
		r.abandon(q)
	case in.Outcome == OutcomeLost:
		q.reply(r.sessionLost())
		q.ledger.unsent(q.slot)
		r.forget(q)
	case in.Outcome == OutcomeFull:
		q.reply(r.queueFull())
		q.ledger.unsent(q.slot)
		r.forget(q)
	case in.Outcome == OutcomeExpired:
		q.ledger.unsent(q.slot)
		q.slot, q.id, q.next, q.may = nil, 0, now, time.Time{}
		// Who joined it since and has more time waits for it to go again.
		q.replyTo(func(c *caller) bool { return !q.expires.Before(c.until) }, r.expired())
		if len(q.callers) == 0 {
			r.forget(q)
		}
	}
}

// brought answers with the bars that came.
func (r *requests) brought(s events.State, in Brought, now time.Time) {
	q := r.query(in.ID)
	switch {
	case q == nil:
	case in.Total == 0:
		r.nothing(s, q, "the answer was empty")
	case in.Total > len(in.Bars):
		r.done(q, r.refusing(events.ErrorTooLarge, "%d bars came, and an answer takes %d: ask for shorter spans", in.Total, len(in.Bars)))
	default:
		a := r.barsAnswer(q, now)
		a.Bars = in.Bars
		r.done(q, a)
	}
}

func (r *requests) barsAnswer(q *query, now time.Time) events.Answer {
	return events.Answer{OK: true, Connection: r.connection, What: q.bars.What, BarSize: q.bars.BarSize, AsOf: now}
}

// nothing takes the gateway's word that there is no data. It says the same when
// it cannot know, so IB's servers must be seen to be there.
func (r *requests) nothing(s events.State, q *query, words string) {
	if why := doubtOf(s, events.FarmHistorical); why != "" {
		r.done(q, r.emptyUntrusted(words, why))
		return
	}
	q.empty = words
	q.ledger.answered(q.slot, r.passedTime) // the gateway has done with it
	if len(q.callers) == 0 {
		r.done(q, events.Answer{})
	}
}

func (r *requests) emptyUntrusted(words, why string) events.Answer {
	return r.refusing(events.ErrorUnavailable,
		"the gateway says that there is no data: %s; that is not to be trusted now, since a gateway may say the same when it cannot ask IB: %s", words, why)
}

// provenQueries answers those who wait for IB's servers to be seen.
func (r *requests) provenQueries(there bool, why string, now time.Time) {
	for _, q := range slices.Clone(r.queries.all) {
		switch {
		case q.empty == "":
		case there:
			a := r.barsAnswer(q, now)
			a.NoData = true
			r.done(q, a)
		default:
			r.done(q, r.emptyUntrusted(q.empty, why))
		}
	}
}

// noticedQuery answers q with an error of the gateway.
func (r *requests) noticedQuery(s events.State, q *query, in Noticed, now time.Time) {
	why := doubtOf(s, events.FarmHistorical)
	reading := events.ReadNotice(in.Code, in.Message)
	switch class := reading.Class; {
	case reading.UnmatchedText: // its class is that of the worst that it could be
		r.done(q, r.refusing(events.ErrorGatewayError, "the gateway answered %s", said(in)))
	case class == events.ClassNoData:
		r.nothing(s, q, said(in))
	case class == events.ClassPacing, class == events.ClassCapacity:
		a := r.refusing(events.ErrorPacing, "the gateway says that history was asked for too fast: %s", said(in))
		if class == events.ClassPacing && q.slot.small {
			a.RetryAt = now.Add(q.ledger.violated(r.passedTime) - r.passedTime)
		}
		r.done(q, a)
	case class == events.ClassEntitlement:
		r.done(q, r.refusing(events.ErrorNotPermitted, "the account has no permission for this data: %s", said(in)))
	case in.Code == noContract && why != "":
		r.done(q, r.untrusted(said(in), why))
	default:
		r.done(q, r.refusing(events.ErrorGatewayError, "the gateway answered %s", said(in)))
	}
}

// echo says whether in is the gateway's word that a query was cancelled.
func (r *requests) echo(in Noticed) bool {
	return (in.Code == 162 || in.Code == 366) && slices.Contains(r.queries.cancelled, in.RequestID)
}

// endQueries answers all that is under way as the session ends.
func (r *requests) endQueries(a events.Answer) {
	for _, q := range slices.Clone(r.queries.all) {
		r.done(q, a)
	}
	r.queries.ledger = nil
}

// wakeQueries returns when dueQueries has something next.
func (r *requests) wakeQueries() time.Time {
	var at time.Time
	for _, q := range r.queries.all {
		if len(q.callers) == 0 {
			continue
		}
		for _, c := range q.callers {
			at = earliest(at, c.waitsUntil(q.leftAt))
		}
		switch {
		case q.slot == nil:
			at = earliest(at, q.next)
		case q.empty == "":
		case r.proof.id != 0:
			at = earliest(at, r.proof.until)
		default:
			at = earliest(at, r.proof.may())
		}
	}
	return at
}
