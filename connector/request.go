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
	// maxUnderWay is how many requests may wait for their answer at once.
	maxUnderWay = 128
	// proofSpacing is the least time between two searches that prove the link:
	// IB takes them less often than other requests.
	proofSpacing = time.Second
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

	id      int64  // of the request; 0 until it is under way
	left    bool   // the request has left for the gateway
	refusal string // the gateway's words that there is no such contract, until they are proven; else empty
}

// requests are the callers' requests of one connection. What is under way
// belongs to the session that runs; what is remembered and the ids do not. It
// is owned by the loop, and has no clock.
type requests struct {
	connection events.ConnectionID
	last       int64 // the newest id; 0 when there was none
	open       []*inquiry
	proof      proof
	known      contracts
}

// proof is a search for symbols, whose answer shows that IB's servers were
// there to know of a contract, had there been one.
type proof struct {
	id    int64     // of the one under way; 0 when none is
	until time.Time // when that is given up
	next  time.Time // when there may be another
}

func (r *requests) nextID() int64 {
	r.last = max(r.last+1, requestIDs)
	return r.last
}

func (r *requests) refuse(q *inquiry, code events.ErrorCode, format string, args ...any) {
	r.settle(q, events.Refuse(r.connection, code, fmt.Sprintf(format, args...)))
}

// settle gives q its answer and forgets it.
func (r *requests) settle(q *inquiry, a events.Answer) {
	r.open = slices.DeleteFunc(r.open, func(o *inquiry) bool { return o == q })
	q.answer <- a
}

// ask takes q, and returns the message that asks for it; false when q has its
// answer already.
func (r *requests) ask(s events.State, q *inquiry, now time.Time) (Message, bool) {
	if known, at, ok := r.known.find(q.contract, now); ok {
		a := r.qualified(known, at)
		a.Cached = true
		r.settle(q, a)
		return Message{}, false
	}
	switch {
	case s.Phase != events.PhaseReady:
		r.refuse(q, events.ErrorNotReady, "there is no session with the gateway, the connection is %s: ask again once it is ready", s.Phase)
	case !now.Before(q.until):
		r.refuse(q, events.ErrorTimeout, "its time was over before it could be asked for")
	case len(r.open) >= maxUnderWay:
		r.refuse(q, events.ErrorBusy, "%d requests are waiting for their answer: try again later", maxUnderWay)
	case r.last >= lastRequestID:
		r.refuse(q, events.ErrorInternal, "this process has used its request ids up: restart it")
	default:
		q.id = r.nextID()
		r.open = append(r.open, q)
		return Message{ID: q.id, Priority: PriorityRequest, Expires: q.until, Request: ContractDetails{Contract: q.contract}}, true
	}
	return Message{}, false
}

func (r *requests) find(id int64) *inquiry {
	i := slices.IndexFunc(r.open, func(q *inquiry) bool { return q.id == id })
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
		return r.passed(in)
	case Described:
		if q := r.find(in.ID); q != nil {
			r.described(s, q, in, now)
		}
		return true
	case Found:
		if in.ID != r.proof.id || in.ID == 0 {
			return false
		}
		r.proven(in.Count > 0, "a search found nothing")
		return true
	case Noticed:
		return r.noticed(s, in)
	default:
		return false
	}
}

func (r *requests) passed(in Passed) bool {
	if in.ID == r.proof.id && in.ID != 0 {
		if in.Outcome != OutcomeSent {
			r.proof.id = 0 // another one follows
		}
		return true
	}
	q := r.find(in.ID)
	if q == nil {
		return false
	}
	switch in.Outcome {
	case OutcomeSent:
		q.left = true
	case OutcomeExpired:
		r.expired(q)
	case OutcomeFull:
		r.refuse(q, events.ErrorQueueFull, "too many messages to the gateway wait for their turn: try again later")
	case OutcomeLost:
		r.lost(q)
	}
	return true
}

func (r *requests) expired(q *inquiry) {
	r.refuse(q, events.ErrorExpired, "its turn in the gateway's message budget did not come in time: nothing was asked")
}

func (r *requests) lost(q *inquiry) {
	r.refuse(q, events.ErrorSessionLost, "the session with the gateway ended before the answer came: ask again once the connection is ready")
}

// described answers with what fits the description. What differs in anything
// but the conId is the same contract on several exchanges.
func (r *requests) described(s events.State, q *inquiry, in Described, now time.Time) {
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
func (r *requests) noticed(s events.State, in Noticed) bool {
	reading := events.ReadNotice(in.Code, in.Message)
	switch {
	case in.RequestID < requestIDs || in.RequestID >= linkProbeIDs, reading.Link != "", len(reading.Farms) > 0:
		return false
	case reading.Class == events.ClassInfo || reading.Class == events.ClassAdvisory || reading.Class == events.ClassBenign:
		return false // it goes on
	case in.RequestID == r.proof.id:
		r.proven(false, "a search was refused: "+said(in))
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
func (r *requests) unknown(s events.State, q *inquiry, words string) {
	if why := doubt(s); why != "" {
		r.unavailable(q, words, why)
		return
	}
	q.refusal = words
}

func (r *requests) unavailable(q *inquiry, words, why string) {
	r.refuse(q, events.ErrorUnavailable,
		"the gateway says that there is no such contract: %s; that is not to be trusted now, since a gateway says the same when it cannot ask IB (ib_insync #330): %s", words, why)
}

// proven answers those who wait for IB's servers to be seen.
func (r *requests) proven(there bool, why string) {
	r.proof.id = 0
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
func doubt(s events.State) string {
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
		if f.Kind == events.FarmSecDef && (f.Status == events.FarmDown || f.Status == events.FarmConnecting) {
			return fmt.Sprintf("the farm %s is %s", f.Farm, f.Status)
		}
	}
	return ""
}

// due answers those whose time is over at now, and returns the search that is
// to prove the link for those who wait for it, if one is due.
func (r *requests) due(s events.State, now time.Time) (Message, bool) {
	if r.proof.id != 0 && !now.Before(r.proof.until) {
		r.proof.id = 0
	}
	wanted := false
	why := doubt(s)
	for _, q := range slices.Clone(r.open) {
		over := !now.Before(q.until)
		switch {
		case q.refusal != "" && why != "":
			r.unavailable(q, q.refusal, why)
		case q.refusal != "" && over:
			r.unavailable(q, q.refusal, "IB's servers did not answer a search in time")
		case q.refusal != "":
			wanted = true
		case over && q.left:
			r.refuse(q, events.ErrorTimeout, "the gateway did not answer in time%s", behind(": ", why))
		case over:
			r.expired(q)
		}
	}
	if !wanted || r.proof.id != 0 || now.Before(r.proof.next) {
		return Message{}, false
	}
	r.proof = proof{id: r.nextID(), until: now.Add(proofWithin), next: now.Add(proofSpacing)}
	return Message{ID: r.proof.id, Priority: PriorityRequest, Expires: r.proof.until, Request: SearchSymbols{Pattern: probePattern}}, true
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
		at = earliest(at, q.until)
		switch {
		case q.refusal == "":
		case r.proof.id != 0:
			at = earliest(at, r.proof.until)
		default:
			at = earliest(at, r.proof.next)
		}
	}
	return at
}

// end answers all that is under way as its session ends.
func (r *requests) end(shutdown bool) {
	for _, q := range slices.Clone(r.open) {
		if shutdown {
			r.refuse(q, events.ErrorShutdown, "the connector is ending")
		} else {
			r.lost(q)
		}
	}
	r.proof.id = 0
}

// shift moves the times of what is under way as the clock jumped.
func (r *requests) shift(by time.Duration) {
	for _, q := range r.open {
		q.until = q.until.Add(by)
	}
	r.proof.until, r.proof.next = r.proof.until.Add(by), r.proof.next.Add(by)
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
