package connector

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"ibconn/events"
)

const (
	// requestIDs is where the ids of callers' requests begin; they end where
	// those of probes of the link begin. An id is used once in the life of a
	// process, so that no late answer is taken for another request's.
	requestIDs = 1 << 28
	// lastRequestID is the last id that a caller's request may follow. Behind it
	// there is room for the searches of those that are under way.
	lastRequestID = linkProbeIDs - 1<<16
	// maxUnderWay is how many callers may wait for their answer at once.
	maxUnderWay = 128
	// sharedFor is how long a request that left takes further callers.
	sharedFor = time.Second
	// proofWithin is how long such a search may take.
	proofWithin = 5 * time.Second
)

// noContract is the code by which IB says that no contract fits a description,
// and by which a gateway that is cut off says that it does not know
// (ib_insync #330).
const noContract = 200

// inquiry is one caller's question for a contract. It gets one answer.
type inquiry struct {
	contract events.Contract
	until    time.Time            // when the caller goes away
	answer   chan<- events.Answer // has room for the answer
}

// request is what the gateway is asked for all that want to know of the same
// contract.
type request struct {
	contract events.Contract
	callers  []*inquiry
	id       int64     // 0 until it is given to the session
	expires  time.Time // when it is not to be sent any more
	leftAt   time.Time // when it left for the gateway; zero until then
	refusal  string    // the gateway's words that there is no such contract, until they are proven; else empty
}

// takes says whether somebody who asks at now can wait for q too. One that left
// a while ago may never be answered, and must not go on with ever new callers.
func (q *request) takes(c events.Contract, now time.Time) bool {
	return q.contract == c && (q.leftAt.IsZero() || now.Sub(q.leftAt) < sharedFor)
}

// until is when the last of the callers goes away.
func (q *request) until() time.Time {
	var last time.Time
	for _, c := range q.callers {
		if c.until.After(last) {
			last = c.until
		}
	}
	return last
}

// requests are the callers' requests of one connection. What is under way
// belongs to the session that runs; what is remembered and the ids do not. It
// is owned by the loop, and has no clock.
type requests struct {
	connection events.ConnectionID
	last       int64 // the newest id; 0 when there was none
	open       []*request
	proof      proof
	known      contracts
	save       chan<- events.KnownContract // what is to be kept for the next process; nil where nothing is

	queries    queries
	late       []Message     // cancels that came to be while news was taken
	passedTime time.Duration // how much time had passed on the clock when news was last looked at
}

// keep has k kept, if there is room for it.
func (r *requests) keep(k events.KnownContract) {
	select {
	case r.save <- k:
	default:
	}
}

// proof is a search for symbols, whose answer shows that IB's servers were
// there to know of a contract, had there been one.
type proof struct {
	id    int64     // of the one under way; 0 when none is
	until time.Time // when that is given up
	next  time.Time // when there may be another search, for this or as a probe of the link,
	// and when there may be one for this after a probe; those keep their distance
	// from each other by themselves
	probed time.Time
}

// may is when there may be another search for a proof.
func (p proof) may() time.Time { return latest(p.next, p.probed) }

func (r *requests) nextID() int64 {
	r.last = max(r.last+1, requestIDs)
	return r.last
}

func (r *requests) refusing(code events.ErrorCode, format string, args ...any) events.Answer {
	return events.Refuse(r.connection, code, fmt.Sprintf(format, args...))
}

func (r *requests) refuse(q *request, code events.ErrorCode, format string, args ...any) {
	r.settle(q, r.refusing(code, format, args...))
}

// settle gives all who wait for q their answer and forgets it.
func (r *requests) settle(q *request, a events.Answer) {
	r.open = slices.DeleteFunc(r.open, func(o *request) bool { return o == q })
	for _, c := range q.callers {
		c.answer <- a
	}
}

func (r *requests) notReady(s events.State) events.Answer {
	return r.refusing(events.ErrorNotReady, "there is no session with the gateway, the connection is %s: ask again once it is ready", s.Phase)
}

func (r *requests) usedUp() events.Answer {
	return r.refusing(events.ErrorInternal, "this process has used its request ids up: restart it")
}

func (r *requests) sessionLost() events.Answer {
	return r.refusing(events.ErrorSessionLost, "the session with the gateway ended before the answer came: ask again once the connection is ready")
}

func (r *requests) queueFull() events.Answer {
	return r.refusing(events.ErrorQueueFull, "too many messages to the gateway wait for their turn: try again later")
}

// put implements asked.
func (c *inquiry) put(r *requests, s events.State, now time.Time) { r.ask(s, c, now) }

// ask takes c, which gets its answer at once or waits for that of a request
// that due will give out.
func (r *requests) ask(s events.State, c *inquiry, now time.Time) {
	if known, at, ok := r.known.find(c.contract, now); ok {
		a := r.qualified(known, at)
		a.Cached = true
		c.answer <- a
		return
	}
	waiting := 0
	for _, q := range r.open {
		waiting += len(q.callers)
	}
	if a, no := r.turnedAway(s, c.until, now, waiting); no {
		c.answer <- a
		return
	}
	i := slices.IndexFunc(r.open, func(q *request) bool { return q.takes(c.contract, now) })
	if i < 0 {
		i = len(r.open)
		r.open = append(r.open, &request{contract: c.contract})
	}
	r.open[i].callers = append(r.open[i].callers, c)
}

// turnedAway is the answer to a caller whom no request can serve, who waits
// until then and behind so many.
func (r *requests) turnedAway(s events.State, until, now time.Time, waiting int) (events.Answer, bool) {
	switch {
	case s.Phase != events.PhaseReady:
		return r.notReady(s), true
	case !now.Before(until):
		return r.refusing(events.ErrorTimeout, "its time was over before it could be asked for"), true
	case waiting >= maxUnderWay:
		return r.refusing(events.ErrorBusy, "%d requests are waiting for their answer: try again later", maxUnderWay), true
	case r.last >= lastRequestID:
		return r.usedUp(), true
	}
	return events.Answer{}, false
}

func (r *requests) find(id int64) *request {
	i := slices.IndexFunc(r.open, func(q *request) bool { return q.id == id && id != 0 })
	if i < 0 {
		return nil
	}
	return r.open[i]
}

// hear takes news of what is under way in the session that runs, and says
// whether that is all that there is to it.
func (r *requests) hear(s events.State, in Input, now time.Time) bool {
	switch in := in.(type) {
	case Passed:
		return r.passed(in, now)
	case Described:
		if q := r.find(in.ID); q != nil {
			r.described(s, q, in, now)
		}
		return true
	case Found:
		if in.ID != r.proof.id || in.ID == 0 {
			return false
		}
		r.proven(in.Count > 0, "a search found nothing", now)
		return true
	case Brought:
		r.brought(s, in, now)
		return true
	case Noticed:
		return r.noticed(s, in, now)
	default:
		return false
	}
}

func (r *requests) passed(in Passed, now time.Time) bool {
	if in.ID == r.proof.id && in.ID != 0 {
		if in.Outcome != OutcomeSent {
			r.proof.id = 0 // another one follows
		}
		return true
	}
	if q := r.query(in.ID); q != nil {
		r.passedQuery(q, in, now)
		return true
	}
	q := r.find(in.ID)
	if q == nil {
		return false
	}
	switch in.Outcome {
	case OutcomeSent:
		q.leftAt = now
	case OutcomeExpired:
		// Who joined it since and has more time waits for it to be given out again.
		q.id = 0
		r.leave(q, r.expired(), q.expires)
	case OutcomeFull, OutcomeNoRoom:
		r.settle(q, r.queueFull())
	case OutcomeLost:
		r.settle(q, r.sessionLost())
	}
	return true
}

// described answers with what fits the description. What differs in anything
// but the conId is the same contract on several exchanges.
func (r *requests) described(s events.State, q *request, in Described, now time.Time) {
	one := len(in.Contracts) > 0 && in.Total == len(in.Contracts)
	for _, c := range in.Contracts {
		one = one && c.ConID == in.Contracts[0].ConID
	}
	switch {
	case len(in.Contracts) == 0:
		r.unknown(s, q, "the answer was empty")
	case one:
		found := in.Contracts[0]
		r.known.add(q.contract, found, now)
		r.keep(events.KnownContract{Description: q.contract, Details: found, At: now})
		r.settle(q, r.qualified(found, now))
	default:
		a := events.Refuse(r.connection, events.ErrorAmbiguous, fmt.Sprintf("%d contracts fit %s: name the one by its con_id, or say more of it", in.Total, q.contract))
		for _, c := range in.Contracts[:min(len(in.Contracts), events.MaxCandidates)] {
			a.Candidates = append(a.Candidates, c.Contract)
		}
		a.More = in.Total - len(a.Candidates)
		a.AsOf = now
		r.settle(q, a)
	}
}

func (r *requests) qualified(c events.ContractDetails, at time.Time) events.Answer {
	return events.Answer{OK: true, Connection: r.connection, Contracts: []events.ContractDetails{c}, AsOf: at}
}

// noticed answers with an error of the gateway that answers a request. What
// says something of the session too is not all that there is to it.
func (r *requests) noticed(s events.State, in Noticed, now time.Time) bool {
	if in.RequestID < requestIDs || in.RequestID >= linkProbeIDs {
		return false
	}
	reading := events.ReadNotice(in.Code, in.Message)
	switch {
	case reading.GoesOn():
		return false
	case r.echo(in):
		return true
	case r.query(in.RequestID) != nil:
		r.noticedQuery(s, r.query(in.RequestID), in, now)
		return in.Code != 100
	case in.RequestID == r.proof.id:
		r.proven(false, "a search was refused: "+said(in), now)
		return in.Code != 100
	}
	q := r.find(in.RequestID)
	switch {
	case q == nil:
		return false // nobody waits for it: on record it is seen
	case in.Code == noContract && strings.Contains(strings.ToLower(in.Message), "ambiguous"):
		r.refuse(q, events.ErrorAmbiguous, "several contracts fit %s, and the gateway does not say which: %s", q.contract, said(in))
	case in.Code == noContract:
		r.unknown(s, q, said(in))
	default:
		r.refuse(q, events.ErrorGatewayError, "the gateway answered %s", said(in))
	}
	return in.Code != 100 // which is about how fast all of us ask
}

func said(in Noticed) string { return fmt.Sprintf("%s (%d)", quote(in.Message), in.Code) }

// unknown takes the gateway's word that there is no such contract. It says the
// same when it cannot know, so IB's servers must be seen to be there.
func (r *requests) unknown(s events.State, q *request, words string) {
	if why := doubt(s); why != "" {
		r.unavailable(q, words, why)
		return
	}
	q.refusal = words
}

func (r *requests) unavailable(q *request, words, why string) { r.settle(q, r.untrusted(words, why)) }

func (r *requests) untrusted(words, why string) events.Answer {
	return r.refusing(events.ErrorUnavailable,
		"the gateway says that there is no such contract: %s; that is not to be trusted now, since a gateway says the same when it cannot ask IB (ib_insync #330): %s", words, why)
}

// proven answers those who wait for IB's servers to be seen.
func (r *requests) proven(there bool, why string, now time.Time) {
	r.proof.id = 0
	r.provenQueries(there, why, now)
	for _, q := range slices.Clone(r.open) {
		switch {
		case q.refusal == "":
		case there:
			r.refuse(q, events.ErrorNotFound, "IB knows no contract that fits %s: %s", q.contract, q.refusal)
		default:
			r.unavailable(q, q.refusal, why)
		}
	}
}

// doubt says why it is not to be trusted when the gateway knows nothing of a
// contract; empty when nothing speaks against it.
func doubt(s events.State) string { return doubtOf(s, events.FarmSecDef) }

// doubtOf is doubt for what comes from another kind of farm.
func doubtOf(s events.State, kind events.FarmKind) string {
	switch {
	case s.Phase != events.PhaseReady:
		return "there is no session"
	case s.Link.Status == events.LinkDown:
		return "the link to IB is down"
	case s.Link.Unproven:
		return "the link to IB is not proven yet"
	case s.Heartbeat.Link.Misses > 0:
		return "the last probe of the link to IB was not answered"
	case !s.Session.StaleSince.IsZero():
		return "the session is stale"
	}
	for _, f := range s.Farms {
		if f.Kind == kind && (f.Status == events.FarmDown || f.Status == events.FarmConnecting) {
			return fmt.Sprintf("the farm %s is %s", f.Farm, f.Status)
		}
	}
	return ""
}

// due answers those whose time is over at now, and returns the messages to
// send: requests that have not been given out, and the search that is to prove
// the link for those that wait for it.
func (r *requests) due(s events.State, now time.Time) []Message {
	messages := r.late
	r.late = nil
	if len(r.open) == 0 && len(r.queries.all) == 0 {
		return messages
	}
	if r.proof.id != 0 && !now.Before(r.proof.until) {
		r.proof.id = 0
	}
	more, wanted := r.dueQueries(s, now)
	messages = append(messages, more...)
	why := doubt(s)
	for _, q := range slices.Clone(r.open) {
		if q.refusal != "" && why != "" {
			r.unavailable(q, q.refusal, why)
			continue
		}
		r.leave(q, r.overdue(q, why), now)
		switch {
		case len(q.callers) == 0:
		case q.refusal != "":
			wanted = true
		case q.id == 0:
			q.id, q.expires = r.nextID(), q.until()
			messages = append(messages, Message{ID: q.id, Priority: PriorityRequest, Expires: q.expires, Request: ContractDetails{Contract: q.contract}})
		}
	}
	if wanted && r.proof.id == 0 && !now.Before(r.proof.may()) {
		r.proof = proof{id: r.nextID(), until: now.Add(proofWithin), next: now.Add(searchSpacing)}
		messages = append(messages, Message{ID: r.proof.id, Priority: PriorityRequest, Expires: r.proof.until, Request: SearchSymbols{Pattern: probePattern}})
	}
	return messages
}

// overdue is the answer to those who wait for q no longer.
func (r *requests) overdue(q *request, why string) events.Answer {
	switch {
	case q.refusal != "":
		return r.untrusted(q.refusal, "IB's servers did not answer a search in time")
	case !q.leftAt.IsZero():
		return r.refusing(events.ErrorTimeout, "the gateway did not answer in time%s", behind(": ", why))
	}
	return r.expired()
}

func (r *requests) expired() events.Answer {
	return r.refusing(events.ErrorExpired, "its turn in the gateway's message budget did not come in time: nothing was asked")
}

// leave answers those whose time is over at now, and forgets q when nobody waits
// for it any more.
func (r *requests) leave(q *request, a events.Answer, now time.Time) {
	q.callers = slices.DeleteFunc(q.callers, func(c *inquiry) bool {
		over := !now.Before(c.until)
		if over {
			c.answer <- a
		}
		return over
	})
	if len(q.callers) == 0 {
		r.settle(q, a)
	}
}

// behind puts lead before text where there is any.
func behind(lead, text string) string {
	if text == "" {
		return ""
	}
	return lead + text
}

// wakeAt returns when due has something next; zero when nothing is under way.
func (r *requests) wakeAt() time.Time {
	var at time.Time
	for _, q := range r.open {
		for _, c := range q.callers {
			at = earliest(at, c.until)
		}
		switch {
		case q.refusal == "":
		case r.proof.id != 0:
			at = earliest(at, r.proof.until)
		default:
			at = earliest(at, r.proof.may())
		}
	}
	return earliest(at, r.wakeQueries())
}

// end answers all that is under way with a, as its session ends.
func (r *requests) end(a events.Answer) {
	for _, q := range slices.Clone(r.open) {
		r.settle(q, a)
	}
	r.endQueries(a)
	r.late = nil
	r.proof.id = 0
}

func moved(t time.Time, by time.Duration) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(by)
}

// shift moves the times of what is under way as the clock jumped.
func (r *requests) shift(by time.Duration) {
	for _, q := range r.open {
		q.expires, q.leftAt = q.expires.Add(by), moved(q.leftAt, by)
		for _, c := range q.callers {
			c.until = c.until.Add(by)
		}
	}
	for _, q := range r.queries.all {
		q.next, q.may, q.expires, q.leftAt = moved(q.next, by), moved(q.may, by), moved(q.expires, by), moved(q.leftAt, by)
		for _, c := range q.callers {
			c.until = c.until.Add(by)
		}
	}
	r.proof.until, r.proof.next, r.proof.probed = r.proof.until.Add(by), r.proof.next.Add(by), r.proof.probed.Add(by)
}

const (
	// maxKnown is how many descriptions of contracts are remembered.
	maxKnown = 1000
	// knownFor is how long: IB's trading hours are those of the next days.
	knownFor = 24 * time.Hour
)

// contracts remembers which contract a description meant.
type contracts struct {
	all   map[events.Contract]knownContract
	order []events.Contract // the oldest first
}

type knownContract struct {
	details events.ContractDetails
	at      time.Time
}

// add remembers c under its description and under its conId.
func (k *contracts) add(description events.Contract, c events.ContractDetails, now time.Time) {
	if k.all == nil {
		k.all = make(map[events.Contract]knownContract)
	}
	keys := []events.Contract{description}
	if byID := (events.Contract{ConID: c.ConID}); byID != description {
		keys = append(keys, byID)
	}
	for _, key := range keys {
		k.drop(key)
		if len(k.order) >= maxKnown {
			k.drop(k.order[0])
		}
		k.all[key] = knownContract{c, now}
		k.order = append(k.order, key)
	}
}

func (k *contracts) drop(key events.Contract) {
	if _, ok := k.all[key]; ok {
		delete(k.all, key)
		k.order = slices.DeleteFunc(k.order, func(o events.Contract) bool { return o == key })
	}
}

// find returns what a description meant, and when IB said so. What is too old,
// or has expired since, is not known: its description may mean another one.
func (k *contracts) find(description events.Contract, now time.Time) (events.ContractDetails, time.Time, bool) {
	c, ok := k.all[description]
	if !ok {
		return c.details, c.at, false
	}
	age := now.Sub(c.at)
	if age < 0 || age >= knownFor || expiredSince(c, now) {
		k.drop(description)
		return events.ContractDetails{}, time.Time{}, false
	}
	return c.details, c.at, true
}

// expiredSince says whether the contract's last day began after IB told of it
// or lies before now: from then on it is a matter of hours and time zones
// whether it still trades.
func expiredSince(c knownContract, now time.Time) bool {
	day, err := time.Parse("20060102", c.details.LastTradeDateOrContractMonth)
	return err == nil && c.at.Before(day) && !now.Before(day)
}
