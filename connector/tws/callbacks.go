package tws

import (
	"slices"
	"sync"
	"time"

	"ibconn/connector"
	"ibconn/events"

	"github.com/scmhub/ibapi"
)

// maxMessage bounds the bytes of an error's text that are reported. IB's are
// a few hundred; the limit keeps a frame of 16 MiB from becoming an event.
const maxMessage = 4096

// callbacks is what the library calls. It copies, enqueues, and never blocks:
// the library decodes on the goroutine that calls. Error alone may come from
// any goroutine; the introduction belongs to the decoding one.
type callbacks struct {
	ibapi.Wrapper // for all that ibconn does not ask for
	attempt       uint64
	news          *queue
	probes        *probes
	now           func() time.Time // the clock

	searches searches
	details  collector[events.ContractDetails]
	bars     collector[events.Bar]
	streams  streams
	deliver  func(subscription string, d events.Datum)
	price    priced // waits for its size; of the decoding goroutine
	garbled  bool   // the library garbles names: see ungarble

	mark   int64
	marks  chan struct{} // gets a token for each mark decoded
	closed chan struct{} // closed when the library let go
	close  sync.Once

	introduced  chan struct{} // closed when both of these came
	accounts    []string
	nextValidID int64
	hasAccounts bool
	hasNextID   bool
}

func newCallbacks(attempt uint64, news *queue, probes *probes) *callbacks {
	return &callbacks{
		attempt: attempt, news: news, probes: probes, now: time.Now,
		mark: newMark(), marks: make(chan struct{}, 2), closed: make(chan struct{}),
		introduced: make(chan struct{}),
		details:    collector[events.ContractDetails]{requests: maxDescriptions, each: connector.MaxDescribed},
		bars:       collector[events.Bar]{requests: maxQueries, each: connector.MaxBrought},
		deliver:    func(string, events.Datum) {},
	}
}

// ConnectAck only silences the default.
func (c *callbacks) ConnectAck() {}

// ConnectionClosed is the library's last word. What keeps it to one is a check
// that two goroutines may pass.
func (c *callbacks) ConnectionClosed() { c.close.Do(func() { close(c.closed) }) }

// ManagedAccounts is half of the introduction.
func (c *callbacks) ManagedAccounts(accounts []string) {
	if c.hasAccounts {
		return
	}
	// A list that ends in a comma gives an empty element.
	c.accounts = slices.DeleteFunc(slices.Clone(accounts), func(a string) bool { return a == "" })
	c.hasAccounts = true
	c.introduce()
}

// NextValidID is the other half.
func (c *callbacks) NextValidID(id int64) {
	if c.hasNextID {
		return
	}
	c.nextValidID, c.hasNextID = id, true
	c.introduce()
}

func (c *callbacks) introduce() {
	if c.hasAccounts && c.hasNextID {
		close(c.introduced)
	}
}

// CurrentTime answers a probe.
func (c *callbacks) CurrentTime(seconds int64) {
	number, answer, ok := c.probes.answer(time.Unix(seconds, 0).UTC(), c.now())
	switch {
	case !ok:
		// Nobody waits for it: a sign of life, which the tap has counted.
	case number == opening:
		c.news.put(connector.Opened{Attempt: c.attempt, Accounts: c.accounts, NextValidID: c.nextValidID, Answer: answer})
	default:
		c.news.put(connector.Answered{Attempt: c.attempt, Number: number, Answer: answer})
	}
}

// SymbolSamples answers a search.
func (c *callbacks) SymbolSamples(id int64, found []ibapi.ContractDescription) {
	c.news.put(connector.Found{Attempt: c.attempt, ID: id, SentAt: c.searches.sentAt(id, c.now()), At: c.now(), Count: len(found)})
}

// ContractDetails brings one of the contracts that fit a description. The
// library brings nil for one that it could not make sense of.
func (c *callbacks) ContractDetails(id int64, d *ibapi.ContractDetails) {
	if d != nil {
		c.details.add(id, func() events.ContractDetails { return detailsOf(d, c.garbled) })
	}
}

// BondContractDetails brings one of the bonds that do.
func (c *callbacks) BondContractDetails(id int64, d *ibapi.ContractDetails) {
	c.ContractDetails(id, d)
}

// ContractDetailsEnd says that all of them came.
func (c *callbacks) ContractDetailsEnd(id int64) {
	found, total := c.details.take(id)
	c.news.put(connector.Described{Attempt: c.attempt, ID: id, Contracts: found, Total: total})
}

// Error brings the gateway's errors and notices, and the library's own.
func (c *callbacks) Error(id, at, code int64, message, _ string) {
	if code == ibapi.UNKNOWN_ID.Code || code == ibapi.BAD_MESSAGE.Code {
		id = ibapi.NO_VALID_ID // the library puts the message's id in place of a request's
	}
	if len(message) > maxMessage {
		// Masked before it is cut: half an account id is not recognised.
		message = cut(events.MaskAccounts(message), maxMessage)
	}
	if id != ibapi.NO_VALID_ID && !events.ReadNotice(int(code), message).GoesOn() {
		c.details.take(id)
		c.bars.take(id)
		c.streams.failed(id)
	}
	noticed := connector.Noticed{Attempt: c.attempt, RequestID: id, Code: int(code), Message: message}
	if at > 0 {
		noticed.ReportedAt = time.UnixMilli(at).UTC()
	}
	c.news.put(noticed)
}

// TickSnapshotEnd brings the session's marks back.
func (c *callbacks) TickSnapshotEnd(id int64) {
	if id == c.mark {
		token(c.marks)
	}
}

// The defaults of the rest spend time to word a log line that nobody reads;
// ScannerParameters' panics on a short text.

// TickReqParams comes before a quote's ticks. What is in it, contract details
// have too.
func (c *callbacks) TickReqParams(int64, float64, string, int64) {}

// ScannerParameters is never asked for.
func (c *callbacks) ScannerParameters(string) {}
