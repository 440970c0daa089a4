package connector

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"ibconn/events"
)

// Policy is every number the connector decides by. Begin with
// [DefaultPolicy]; Validate says what is allowed.
type Policy struct {
	Endpoint string // the gateway's host:port
	ClientID int64  // the API client id, 0 to 2147483646

	// Fallbacks are further gateways, to go on to in turn when one has failed
	// for FallbackAfter: longer than a restart takes. Their ports are also the
	// only ones that a gateway may move to (1300).
	Fallbacks     []string
	FallbackAfter time.Duration
	// SpareIDs are further client ids, to go on to in turn when one was refused
	// as in use ClientIDTries times in a row: mostly it is our own last session
	// that still dies.
	SpareIDs      []int64
	ClientIDTries int           // at least 1
	ClientIDWait  time.Duration // after the first refusal, at least; doubles with each further one, up to BackoffCap

	DialTimeout     time.Duration // for TCP to open
	GreetingTimeout time.Duration // from then, for the gateway to answer its version
	ReadyTimeout    time.Duration // from TCP open, for the session to be ready; not below GreetingTimeout

	HeartbeatEvery   time.Duration // between probes; at least 1 s
	HeartbeatTimeout time.Duration // for the answer to one; at least 1 s
	HeartbeatMisses  int           // answers missed in a row that lose the session; at least 1

	BackoffBase  time.Duration // the most the second retry in a row waits; doubles with each further one
	BackoffCap   time.Duration // the most any retry waits
	StableAfter  time.Duration // how long a session must be ready for the failures in a row to start anew
	BreakerAfter int           // failures in a row that open the breaker
	BreakerProbe time.Duration // between attempts while it is open

	// Windows are when interruptions are expected. What falls into one says so.
	// Around a reset or a restart the gateway is back within minutes, so no
	// retry waits longer than WindowCap and the breaker's probes come as often;
	// at a weekend they come every WeekendProbe.
	Windows      Windows
	WindowCap    time.Duration
	WeekendProbe time.Duration

	// LinkProbeEvery is how often IB's servers are asked something through the
	// gateway, which proves the link as a heartbeat proves the session; at least
	// 1 s, and 0 for never. A new session and a link that is said to be back are
	// probed at once. LinkProbeMisses answers missed in a row, each after
	// LinkProbeTimeout, say that the link is down, whatever the gateway says.
	LinkProbeEvery   time.Duration
	LinkProbeTimeout time.Duration // at least 1 s
	LinkProbeMisses  int           // at least 1

	// Pace is the message budget of the gateway. After an error 100 it is cut by
	// half for PaceRecovery. QueueLimit is how many messages may wait for their
	// turn.
	Pace         Pace
	PaceRecovery time.Duration
	QueueLimit   int // at least 1

	// CompetingFor is how long nothing must be heard of another session of the
	// same user for it to be taken to have ended; IB does not say.
	CompetingFor time.Duration

	// How long the data of a subscription may stay away while its market is open,
	// where it does not say itself; each at least 5 s. RestoredAfter is how long
	// after a farm or the link came back its data may take to come again before it
	// is placed again; a farm that flaps starts it anew.
	QuotesDarkAfter      time.Duration
	TradesDarkAfter      time.Duration
	BarsDarkAfter        time.Duration
	HistoryBarsDarkAfter time.Duration
	RestoredAfter        time.Duration // at least 1 s
	// BackfillMost is how far back the bars of a gap are fetched; what lies
	// further back stays missing. At least a minute.
	BackfillMost time.Duration

	// LoginAfter is how long a gateway may accept connections and give no
	// session, or give a session without a link to IB, before a person is told
	// to look at it.
	LoginAfter time.Duration
	// RepeatEvery is how often a notice that the gateway goes on repeating is
	// recorded, with the number of times.
	RepeatEvery time.Duration
}

// ProbeSpacing is the least time between two reqCurrentTime: the gateway does
// not answer a second one within the same second (ib_insync #604).
const ProbeSpacing = time.Second

// maxPerSecond is more than any account's lines allow.
const maxPerSecond = 1000

// maxClientID is the largest client id: in protobuf sessions ids are int32, and
// the library takes 2147483647 for "unset".
const maxClientID = 1<<31 - 2

// DefaultPerSecond is the message budget for an account with IB's default of 100
// market data lines: half of that is IB's limit, less a margin, because 50 was
// too fast in practice (LEAN.IB #50).
const DefaultPerSecond = 40

// DefaultPolicy returns the policy for a gateway with everything else at its
// default.
func DefaultPolicy(endpoint string, clientID int64) Policy {
	return Policy{
		Endpoint: endpoint,
		ClientID: clientID,

		FallbackAfter: 2 * time.Minute,
		ClientIDTries: 5,
		ClientIDWait:  2 * time.Second,

		DialTimeout:     5 * time.Second,
		GreetingTimeout: 10 * time.Second,
		ReadyTimeout:    15 * time.Second,

		HeartbeatEvery:   15 * time.Second,
		HeartbeatTimeout: 5 * time.Second,
		HeartbeatMisses:  2,

		BackoffBase:  time.Second,
		BackoffCap:   time.Minute,
		StableAfter:  time.Minute,
		BreakerAfter: 8,
		BreakerProbe: time.Minute,

		WindowCap:    15 * time.Second,
		WeekendProbe: 5 * time.Minute,

		LinkProbeEvery:   5 * time.Minute,
		LinkProbeTimeout: 10 * time.Second,
		LinkProbeMisses:  3,

		Pace:         Pace{PerSecond: DefaultPerSecond},
		PaceRecovery: time.Minute,
		QueueLimit:   1000,

		CompetingFor: 5 * time.Minute,

		QuotesDarkAfter:      2 * time.Minute,
		TradesDarkAfter:      10 * time.Minute,
		BarsDarkAfter:        20 * time.Second,
		HistoryBarsDarkAfter: 2 * time.Minute,
		RestoredAfter:        10 * time.Second,
		BackfillMost:         24 * time.Hour,

		LoginAfter:  3 * time.Minute,
		RepeatEvery: time.Minute,
	}
}

// SettingError says that one value of a [Policy] is out of range.
type SettingError struct {
	// Setting is the setting's name in lower-case words, such as "heartbeat
	// timeout".
	Setting string
	// Limit names the setting that the value was held against, such as "backoff
	// base" for a "backoff cap" below it; empty when the limit is a fixed one.
	Limit   string
	Message string // which value, and what is allowed
}

// Error returns the message.
func (e *SettingError) Error() string { return e.Message }

// Validate returns nil, or an error that joins a *[SettingError] for every
// value that is out of range.
func (p Policy) Validate() error {
	var errs []error
	against := func(limit string, ok bool, setting, format string, args ...any) {
		if !ok {
			errs = append(errs, &SettingError{Setting: setting, Limit: limit, Message: fmt.Sprintf(format, args...)})
		}
	}
	refuse := func(ok bool, setting, format string, args ...any) { against("", ok, setting, format, args...) }
	for i, endpoint := range p.endpoints() {
		setting := "gateway"
		if i > 0 {
			setting = "fallbacks"
		}
		host, port, err := net.SplitHostPort(endpoint)
		refuse(err == nil && host != "" && port != "", setting, "gateway %q: want HOST:PORT, such as 127.0.0.1:4002", endpoint)
		against("gateway", !slices.Contains(p.endpoints()[:i], endpoint), setting, "gateway %s: stands there twice", endpoint)
	}
	for i, id := range p.clientIDs() {
		setting := "client id"
		if i > 0 {
			setting = "spare client ids"
		}
		refuse(id >= 0 && id <= maxClientID, setting, "client id %d: want 0 to %d", id, maxClientID)
		against("client id", !slices.Contains(p.clientIDs()[:i], id), setting, "client id %d: stands there twice", id)
	}
	for _, d := range []struct {
		name        string
		value, from time.Duration
		limit       string // the setting that from is
	}{
		{"dial timeout", p.DialTimeout, time.Millisecond, ""},
		{"greeting timeout", p.GreetingTimeout, time.Millisecond, ""},
		{"ready timeout", p.ReadyTimeout, p.GreetingTimeout, "greeting timeout"},
		{"heartbeat", p.HeartbeatEvery, ProbeSpacing, ""},
		{"heartbeat timeout", p.HeartbeatTimeout, ProbeSpacing, ""},
		{"backoff base", p.BackoffBase, time.Millisecond, ""},
		{"backoff cap", p.BackoffCap, p.BackoffBase, "backoff base"},
		{"stable after", p.StableAfter, 0, ""},
		{"breaker probe", p.BreakerProbe, time.Millisecond, ""},
		{"window cap", p.WindowCap, time.Millisecond, ""},
		{"weekend probe", p.WeekendProbe, time.Millisecond, ""},
		{"fallback after", p.FallbackAfter, time.Millisecond, ""},
		{"client id wait", p.ClientIDWait, 0, ""},
		{"login after", p.LoginAfter, time.Millisecond, ""},
		{"repeat every", p.RepeatEvery, time.Millisecond, ""},
		{"link probe timeout", p.LinkProbeTimeout, time.Second, ""},
		{"message gap", p.Pace.MinGap, 0, ""},
		{"pace recovery", p.PaceRecovery, time.Second, ""},
		{"competing for", p.CompetingFor, time.Second, ""},
		{"quotes dark after", p.QuotesDarkAfter, time.Duration(events.MinDarkAfter), ""},
		{"trades dark after", p.TradesDarkAfter, time.Duration(events.MinDarkAfter), ""},
		{"bars dark after", p.BarsDarkAfter, time.Duration(events.MinDarkAfter), ""},
		{"history bars dark after", p.HistoryBarsDarkAfter, time.Duration(events.MinDarkAfter), ""},
		{"restored after", p.RestoredAfter, time.Second, ""},
		{"backfill most", p.BackfillMost, time.Minute, ""},
	} {
		against(d.limit, d.value >= d.from, d.name, "%s %v: want at least %v", d.name, d.value, d.from)
	}
	refuse(p.HeartbeatMisses >= 1, "heartbeat misses", "heartbeat misses %d: want at least 1", p.HeartbeatMisses)
	refuse(p.BreakerAfter >= 1, "breaker after", "breaker after %d failures: want at least 1", p.BreakerAfter)
	refuse(p.ClientIDTries >= 1, "client id tries", "client id tries %d: want at least 1", p.ClientIDTries)
	for i, w := range p.Windows {
		err := w.check()
		refuse(err == nil, "windows", "window %d: %v", i+1, err)
		refuse(err != nil || !slices.ContainsFunc(p.Windows[:i], w.Same), "windows", "window %q: stands there twice", w)
	}
	refuse(p.LinkProbeEvery == 0 || p.LinkProbeEvery >= time.Second, "link probe every", "link probe every %v: want 0s for never, or at least 1s", p.LinkProbeEvery)
	refuse(p.LinkProbeMisses >= 1, "link probe misses", "link probe misses %d: want at least 1", p.LinkProbeMisses)
	against("lines", p.Pace.PerSecond >= 1 && p.Pace.PerSecond <= maxPerSecond, "message rate", "message rate %d a second: want 1 to %d", p.Pace.PerSecond, maxPerSecond)
	refuse(p.Pace.MinGap <= time.Minute, "message gap", "message gap %v: want at most %v", p.Pace.MinGap, time.Minute)
	refuse(p.QueueLimit >= 1, "queue limit", "queue limit %d: want at least 1", p.QueueLimit)
	return errors.Join(errs...)
}

func (p Policy) endpoints() []string { return append([]string{p.Endpoint}, p.Fallbacks...) }

func (p Policy) clientIDs() []int64 { return append([]int64{p.ClientID}, p.SpareIDs...) }

// retryDelay returns how long to wait at now after so many failures in a row:
// not at all after the first; then a random part of a span that doubles up to
// the cap ("full jitter"); and the probe's interval once the breaker is due to
// open. A maintenance window has a pace of its own.
func (p Policy) retryDelay(failures int, dice float64, now time.Time) time.Duration {
	span, jitter := p.RetrySpan(failures, now)
	if !jitter {
		return span
	}
	return time.Duration(dice * float64(span))
}

// RetrySpan returns how long the wait at now after so many failures in a row is;
// with jitter it is a random part of that. A client id that was refused may be left
// alone for longer.
func (p Policy) RetrySpan(failures int, now time.Time) (span time.Duration, jitter bool) {
	ceiling, probe := p.BackoffCap, p.BreakerProbe
	if w, ok := p.Windows.At(now); ok {
		ceiling, probe = min(ceiling, p.WindowCap), p.WindowCap
		if w.Kind == WindowWeekend {
			ceiling, probe = p.BackoffCap, p.WeekendProbe
		}
	}
	switch {
	case failures >= p.BreakerAfter:
		return probe, false
	case failures <= 1:
		return 0, false
	}
	// Halving the cap, rather than doubling the base, cannot overflow.
	if doublings := failures - 2; p.BackoffBase <= ceiling>>doublings {
		return p.BackoffBase << doublings, true
	}
	return ceiling, true
}

// idDelay returns how long a client id is left alone at least, once it was
// refused: the session that has it mostly is our own, and needs time to die.
func (p Policy) idDelay(refusals int) time.Duration {
	if p.ClientIDWait > p.BackoffCap>>refusals {
		return p.BackoffCap
	}
	return p.ClientIDWait << refusals
}

// roll is the dice of one attempt, in [0, 1): the same for the same attempt of
// the same holder, so that Decide stays a pure function, and different between
// connections and processes, so that they do not return in step.
func roll(s events.State) float64 {
	h := fnv.New64a()
	fmt.Fprint(h, s.Connection, "\x00", s.Instance, "\x00", s.Epoch)
	return rand.New(rand.NewPCG(h.Sum64(), s.Attempt.Number)).Float64()
}
