package connector

import (
	"fmt"
	"slices"
	"time"

	"ibconn/events"
)

// query is one caller's question for bars of the past, and the gateway's
// request for it. It is kept until nothing of it is open at the gateway.
type query struct {
	contract events.Contract // qualified
	bars     events.BarQuery
	until    time.Time            // when the caller goes away
	answer   chan<- events.Answer // has room for the answer; nil once it was given

	ledger *Ledger   // that let it go
	slot   *slot     // its place there; nil until it was let go
	next   time.Time // when to ask the ledger again
	may    time.Time // when it may go, as the ledger said last
	id     int64     // 0 until it is given to the session
	leftAt time.Time // when it left for the gateway; zero until then
	empty  string    // the gateway's words that there is no data, until they are proven; else empty
	cancel int64     // the id of its cancel; 0 when there is none
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

// put implements asked.
func (q *query) put(r *requests, s events.State, now time.Time) {
	waiting := 0
	for _, o := range r.queries.all {
		if o.answer != nil {
			waiting++
		}
	}
	a, no := r.turnedAway(s, q.until, now, waiting)
	if r.queries.ledger == nil {
		a, no = r.notReady(s), true
	}
	if no {
		q.answer <- a
		return
	}
	r.queries.all = append(r.queries.all, q)
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

// reply gives the caller of q its answer, if it has none.
func (q *query) reply(a events.Answer) {
	if q.answer != nil {
		q.answer <- a
		q.answer = nil
	}
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
		switch {
		case q.empty != "" && why != "":
			r.done(q, r.emptyUntrusted(q.empty, why))
		case q.answer != nil && !now.Before(q.until):
			if m, ok := r.giveUp(q, why); ok {
				messages = append(messages, m)
			}
		case q.answer == nil:
		case q.empty != "":
			wanted = true
		case q.slot == nil && !now.Before(q.next):
			if m, ok := r.letGo(q, now); ok {
				messages = append(messages, m)
			}
		}
	}
	return messages, wanted
}

// letGo asks the ledger whether q may go.
func (r *requests) letGo(q *query, now time.Time) (Message, bool) {
	place := q.place()
	q.ledger = r.queries.ledger
	wait, ok := q.ledger.take(place, r.passedTime)
	switch {
	case ok:
		q.slot, q.id = place, r.nextID()
		return Message{ID: q.id, Priority: PriorityRequest, Expires: q.until, Request: HistoricalBars{Contract: q.contract, Query: q.bars}}, true
	case wait > askAgain && !now.Add(wait).Before(q.until):
		a := r.refusing(events.ErrorPacing,
			"IB's rules on history do not let it go before %s, and it waits until %s: ask again then, or with a longer wait", clock(now.Add(wait)), clock(q.until))
		a.RetryAt = now.Add(wait)
		r.done(q, a)
	default: // a place may come free before that, or another take it
		q.next, q.may = now.Add(min(wait, askAgain)), now.Add(wait)
	}
	return Message{}, false
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05Z") }

// giveUp answers a caller whose time is over, and returns the cancel of what is
// open at the gateway.
func (r *requests) giveUp(q *query, why string) (Message, bool) {
	switch {
	case q.empty != "":
		r.done(q, r.emptyUntrusted(q.empty, "IB's servers did not answer a search in time"))
	case !q.leftAt.IsZero():
		q.reply(r.refusing(events.ErrorTimeout, "the gateway did not answer in time%s: the query is cancelled", behind(": ", why)))
		return r.cancel(q), true
	case q.slot == nil:
		a := r.refusing(events.ErrorPacing, "IB's rules on history did not let it go in time: nothing was asked")
		a.RetryAt = q.may
		r.done(q, a)
	default: // what became of its message is yet to be told
		q.reply(r.expired())
	}
	return Message{}, false
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
		if q.answer == nil {
			r.late = append(r.late, r.cancel(q))
		}
	case in.Outcome == OutcomeLost:
		q.reply(r.sessionLost())
		q.ledger.unsent(q.slot)
		r.forget(q)
	case in.Outcome == OutcomeFull:
		q.reply(r.queueFull())
		q.ledger.unsent(q.slot)
		r.forget(q)
	case in.Outcome == OutcomeExpired:
		q.reply(r.expired())
		q.ledger.unsent(q.slot)
		r.forget(q)
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
	if q.answer == nil {
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
func (r *requests) noticedQuery(s events.State, q *query, in Noticed) {
	why := doubtOf(s, events.FarmHistorical)
	reading := events.ReadNotice(in.Code, in.Message)
	switch class := reading.Class; {
	case reading.UnmatchedText: // its class is that of the worst that it could be
		r.done(q, r.refusing(events.ErrorGatewayError, "the gateway answered %s", said(in)))
	case class == events.ClassNoData:
		r.nothing(s, q, said(in))
	case class == events.ClassPacing, class == events.ClassCapacity:
		r.done(q, r.refusing(events.ErrorPacing, "the gateway says that history was asked for too fast: %s", said(in)))
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
		if q.answer == nil {
			continue
		}
		at = earliest(at, q.until)
		switch {
		case q.slot == nil:
			at = earliest(at, q.next)
		case q.empty == "":
		case r.proof.id != 0:
			at = earliest(at, r.proof.until)
		default:
			at = earliest(at, r.proof.next)
		}
	}
	return at
}
