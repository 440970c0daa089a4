package events

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// SubscriptionKind says what a subscription delivers, and by which of IB's
// requests.
type SubscriptionKind string

// The kinds of subscriptions.
const (
	SubscribeQuotes      SubscriptionKind = "quotes"       // reqMktData: bid, ask, last and the like, as they change
	SubscribeTrades      SubscriptionKind = "trades"       // reqTickByTickData: every trade, or every quote
	SubscribeBars        SubscriptionKind = "bars"         // reqRealTimeBars: one bar every five seconds
	SubscribeHistoryBars SubscriptionKind = "history-bars" // reqHistoricalData with keepUpToDate: bars of any size
)

// SubscriptionKinds lists every kind.
var SubscriptionKinds = []SubscriptionKind{SubscribeQuotes, SubscribeTrades, SubscribeBars, SubscribeHistoryBars}

// RealTimeBar is how long a bar of [SubscribeBars] is; IB has no other.
const RealTimeBar = 5 * time.Second

// TickKinds are what [SubscribeTrades] can be of, as IB names them.
var TickKinds = []string{"Last", "AllLast", "BidAsk", "MidPoint"}

// MarketDataTypes are what [SubscribeQuotes] can be of where the account has no
// live data, or the market is closed (reqMarketDataType), in IB's order, which
// begins with 1.
var MarketDataTypes = []string{"live", "frozen", "delayed", "delayed_frozen"}

// liveBarKinds are what bars that go on can be of
// (https://interactivebrokers.github.io/tws-api/realtime_bars.html).
var liveBarKinds = []string{"TRADES", "MIDPOINT", "BID", "ASK"}

// Feed says what a subscription is of. Two that are wanted with the same Feed
// are one.
type Feed struct {
	Kind     SubscriptionKind `json:"kind"`
	Contract Contract         `json:"contract"` // qualified
	// What is, for trades, one of [TickKinds], and for bars TRADES, MIDPOINT, BID
	// or ASK; empty for quotes.
	What string `json:"what,omitempty"`
	RTH  bool   `json:"rth,omitempty"` // bars of regular trading hours only
	// BarSize, one of [BarSizes] from 5 secs up, and Duration, how far back they
	// go at first, are for history-bars.
	BarSize  string `json:"bar_size,omitempty"`
	Duration string `json:"duration,omitempty"`
	// GenericTicks is IB's list of further ticks for quotes: numbers parted by
	// commas, in order, each once.
	GenericTicks string `json:"generic_ticks,omitempty"`
	// MarketDataType is one of [MarketDataTypes], for quotes.
	MarketDataType string `json:"market_data_type,omitempty"`
}

// BarSpan returns how long a bar of f is at least; zero where it has none.
func (f Feed) BarSpan() time.Duration {
	if f.Kind == SubscribeBars {
		return RealTimeBar
	}
	return BarQuery{BarSize: f.BarSize}.BarSpan()
}

// WithDefaults returns f with what is not said in it, so that two that mean the
// same are equal.
func (f Feed) WithDefaults() Feed {
	switch f.Kind {
	case SubscribeQuotes:
		f.MarketDataType = cmp.Or(f.MarketDataType, MarketDataTypes[0])
		f.GenericTicks = inOrder(f.GenericTicks)
	case SubscribeTrades:
		f.What = cmp.Or(f.What, TickKinds[0])
	case SubscribeHistoryBars:
		f.BarSize, f.Duration = cmp.Or(f.BarSize, "5 secs"), cmp.Or(f.Duration, "3600 S")
		f.What = cmp.Or(f.What, liveBarKinds[0])
	case SubscribeBars:
		f.What = cmp.Or(f.What, liveBarKinds[0])
	}
	return f
}

// Check says which part of f, but for its contract, is not as IB has it, and
// what is.
func (f Feed) Check() error {
	f = f.WithDefaults()
	bars := f.Kind == SubscribeBars || f.Kind == SubscribeHistoryBars
	switch {
	case f.Kind == "":
		return errors.New("kind is missing: want one of " + wordsOf(SubscriptionKinds))
	case !slices.Contains(SubscriptionKinds, f.Kind):
		return fmt.Errorf("kind %.40q: want one of %s", f.Kind, wordsOf(SubscriptionKinds))
	case f.RTH && !bars:
		return fmt.Errorf("rth is for bars, not for %s", f.Kind)
	case (f.BarSize != "" || f.Duration != "") && f.Kind != SubscribeHistoryBars:
		return fmt.Errorf("bar_size and duration are for history-bars, not for %s", f.Kind)
	case (f.GenericTicks != "" || f.MarketDataType != "") && f.Kind != SubscribeQuotes:
		return fmt.Errorf("generic_ticks and market_data_type are for quotes, not for %s", f.Kind)
	}
	switch f.Kind {
	case SubscribeQuotes:
		if f.What != "" {
			return errors.New("what is for trades and bars, not for quotes")
		}
		return cmp.Or(oneOf("market_data_type", f.MarketDataType, MarketDataTypes), checkGenericTicks(f.GenericTicks))
	case SubscribeTrades:
		return oneOf("what", f.What, TickKinds)
	case SubscribeBars:
		return oneOf("what", f.What, liveBarKinds)
	case SubscribeHistoryBars:
		return cmp.Or(oneOf("what", f.What, liveBarKinds), f.checkHistory())
	}
	return nil
}

// checkHistory says what IB cannot keep up to date
// (https://interactivebrokers.github.io/tws-api/historical_bars.html), or what
// is too much to begin with.
func (f Feed) checkHistory() error {
	q := BarQuery{BarSize: f.BarSize, Duration: f.Duration}
	if err := q.CheckBars(); err != nil {
		return err
	}
	if q.BarSpan() < RealTimeBar {
		return fmt.Errorf("bar_size %q: history-bars are of 5 secs or more", f.BarSize)
	}
	if n := q.EstimateBars(); n > MaxBars {
		return fmt.Errorf("duration %q: %d bars of %s to begin with, counted around the clock: want at most %d", f.Duration, n, f.BarSize, MaxBars)
	}
	return nil
}

func oneOf(field, value string, of []string) error {
	if slices.Contains(of, value) {
		return nil
	}
	return fmt.Errorf("%s %.40q: want one of %s", field, value, strings.Join(of, ", "))
}

func wordsOf[T ~string](all []T) string {
	words := make([]string, len(all))
	for i, w := range all {
		words[i] = string(w)
	}
	return strings.Join(words, ", ")
}

// maxGenericTicks is how many further ticks may be asked for; IB has some thirty.
const maxGenericTicks = 40

func checkGenericTicks(list string) error {
	if list == "" {
		return nil
	}
	parts := strings.Split(list, ",")
	for _, p := range parts {
		if p == "" || p[0] == '0' || len(p) > 4 || strings.Trim(p, "0123456789") != "" {
			return fmt.Errorf("generic_ticks %.80q: want IB's numbers parted by commas, such as 233,236", list)
		}
	}
	if len(parts) > maxGenericTicks {
		return fmt.Errorf("generic_ticks: %d of them, want at most %d", len(parts), maxGenericTicks)
	}
	return nil
}

// inOrder puts IB's numbers of ticks in order, each once.
func inOrder(list string) string {
	if checkGenericTicks(list) != nil {
		return list
	}
	parts := strings.Split(list, ",")
	slices.SortFunc(parts, func(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) })
	return strings.Join(slices.Compact(parts), ",")
}

// SubscriptionPriority says what is placed first once there is a session.
type SubscriptionPriority string

// The priorities; the empty one is normal.
const (
	PriorityHigh   SubscriptionPriority = "high"
	PriorityNormal SubscriptionPriority = "normal"
	PriorityLow    SubscriptionPriority = "low"
)

// SubscriptionPriorities lists every priority, the first first.
var SubscriptionPriorities = []SubscriptionPriority{PriorityHigh, PriorityNormal, PriorityLow}

// Rank is 0 for what goes first. What is none of [SubscriptionPriorities] goes
// with the normal ones.
func (p SubscriptionPriority) Rank() int {
	if i := slices.Index(SubscriptionPriorities, p); i >= 0 {
		return i
	}
	return slices.Index(SubscriptionPriorities, PriorityNormal)
}

// SubscriptionStatus says where a subscription stands.
type SubscriptionStatus string

// The statuses.
const (
	SubscriptionWanted SubscriptionStatus = "wanted" // to be placed, as soon as that can be
	SubscriptionPlaced SubscriptionStatus = "placed" // asked for; nothing has come yet
	SubscriptionLive   SubscriptionStatus = "live"   // data comes
	SubscriptionDark   SubscriptionStatus = "dark"   // data stays away longer than it should
	SubscriptionFailed SubscriptionStatus = "failed" // the gateway refused it
)

// SubscriptionStatuses lists every status.
var SubscriptionStatuses = []SubscriptionStatus{SubscriptionWanted, SubscriptionPlaced, SubscriptionLive, SubscriptionDark, SubscriptionFailed}

// MaxSubscriptions is how many subscriptions one connection keeps.
const MaxSubscriptions = 1000

// MaxCallers is how many callers of one subscription are counted by name.
const MaxCallers = 100

// Subscription is something wanted from the gateway, and how that stands.
type Subscription struct {
	Name  string   `json:"name"`
	Feed  Feed     `json:"feed"`
	Asked Contract `json:"asked"` // the description by which its contract was first asked for
	// Callers are who wants it, by the names they gave, in order, 100 at most.
	Callers  []string             `json:"callers"`
	Priority SubscriptionPriority `json:"priority,omitempty"`
	// DarkAfter is how long its data may stay away while its market is open; 0 is
	// what its kind has.
	DarkAfter Millis    `json:"dark_after_ms,omitempty"`
	WantedAt  time.Time `json:"wanted_at"`
	AddedSeq  uint64    `json:"added_seq"` // the sequence of the event that added it

	Status    SubscriptionStatus `json:"status"`
	Since     time.Time          `json:"since"`                // of the status
	RequestID int64              `json:"request_id,omitempty"` // it was last placed under; 0 before
	Attempt   uint64             `json:"attempt,omitempty"`    // whose session has it; 0 while none has
	PlacedAt  time.Time          `json:"placed_at,omitzero"`   // in that session
	LiveAt    time.Time          `json:"live_at,omitzero"`     // when data first came in that session
	Code      int                `json:"code,omitempty"`       // of the gateway's words when it failed
	Class     Class              `json:"class,omitempty"`      // what they mean
	Message   string             `json:"message,omitempty"`    // these
	Tries     int                `json:"tries,omitempty"`      // in a row that came to nothing
	RetryAt   time.Time          `json:"retry_at,omitzero"`    // when it may be placed again; zero for not in this session

	Hours TradingTimes `json:"hours,omitzero"`
	Gaps  []Gap        `json:"gaps,omitempty"` // stretches without bars that are to be filled, the oldest first
}

// TradingTimes are a contract's hours, as IB gives them for the next days.
type TradingTimes struct {
	Zone    string    `json:"zone,omitempty"`    // as IB names it
	Trading string    `json:"trading,omitempty"` // as [ContractDetails.TradingHours]
	Liquid  string    `json:"liquid,omitempty"`  // as [ContractDetails.LiquidHours]
	AsOf    time.Time `json:"as_of,omitzero"`    // when IB said so
}

// Gap is a stretch of time for which a subscription has no bars.
type Gap struct {
	From time.Time `json:"from"` // when the first missing bar begins
	To   time.Time `json:"to"`   // when the first bar after it begins
	At   time.Time `json:"at"`   // when it was found; of one that grew, when it last did
}

// SubscriptionAdded says that something is wanted from now on, over restarts and
// sessions, until it is cancelled. It is stored before the command is
// acknowledged.
type SubscriptionAdded struct {
	CommandID    string               `json:"command_id"`
	Reason       string               `json:"reason,omitempty"` // the sender's own words
	Subscription string               `json:"subscription"`     // its name
	Caller       string               `json:"caller"`
	Feed         Feed                 `json:"feed"`
	Asked        Contract             `json:"asked"`
	Priority     SubscriptionPriority `json:"priority,omitempty"`
	DarkAfter    Millis               `json:"dark_after_ms,omitempty"`
	Hours        TradingTimes         `json:"hours,omitzero"`
	Standing
}

// SubscriptionJoined says that another caller wants the same.
type SubscriptionJoined struct {
	CommandID    string `json:"command_id"`
	Reason       string `json:"reason,omitempty"`
	Subscription string `json:"subscription"`
	Caller       string `json:"caller"`
	Standing
}

// SubscriptionLeft says that a caller wants it no longer, and others do.
type SubscriptionLeft struct {
	CommandID    string `json:"command_id"`
	Reason       string `json:"reason,omitempty"`
	Subscription string `json:"subscription"`
	Caller       string `json:"caller"`
	Standing
}

// SubscriptionCancelled says that nobody wants it any longer.
type SubscriptionCancelled struct {
	CommandID    string `json:"command_id"`
	Reason       string `json:"reason,omitempty"`
	Subscription string `json:"subscription"`
	Caller       string `json:"caller,omitempty"` // the last one; empty when it was cancelled for all
	Standing
}

// PlacedBecause says why a subscription is placed.
type PlacedBecause string

// The reasons.
const (
	BecauseNew      PlacedBecause = "new"           // for the first time
	BecauseSession  PlacedBecause = "new_session"   // there is a new session
	BecauseDataLost PlacedBecause = "data_lost"     // the link came back without it (1101)
	BecauseLink     PlacedBecause = "link_restored" // the link came back, and no data
	BecauseFarm     PlacedBecause = "farm_restored" // its farm came back, and no data
	BecauseDark     PlacedBecause = "dark"          // data stayed away
	BecauseRetry    PlacedBecause = "retry"         // it was refused before
)

// SubscriptionPlacement says that it is about to be asked for under a new
// request id. It is stored before the request leaves. One that was placed before
// in the session is cancelled first.
type SubscriptionPlacement struct {
	Subscription string        `json:"subscription"`
	Attempt      uint64        `json:"attempt"`
	RequestID    int64         `json:"request_id"`
	Because      PlacedBecause `json:"because"`
	Try          int           `json:"try"` // the first is 1
	Standing
}

// SubscriptionDelivered says that data comes: for the first time since it was
// placed, or again.
type SubscriptionDelivered struct {
	Subscription string `json:"subscription"`
	Attempt      uint64 `json:"attempt"`
	RequestID    int64  `json:"request_id"`
	Took         Millis `json:"took_ms"`           // since it was placed
	Dark         Millis `json:"dark_ms,omitempty"` // how long it was dark, if it was
	Standing
}

// SubscriptionFellSilent says that its data stays away though its market is open,
// as far as its hours are known.
type SubscriptionFellSilent struct {
	Subscription string    `json:"subscription"`
	Attempt      uint64    `json:"attempt"`
	RequestID    int64     `json:"request_id"`
	LastAt       time.Time `json:"last_at,omitzero"`  // when data last came; zero when none did since it was placed
	Silent       Millis    `json:"silent_ms"`         // since then, or since it was placed
	Because      string    `json:"because,omitempty"` // what else is known to be wrong: a link, a farm, a competing session
	RetryAt      time.Time `json:"retry_at,omitzero"` // when it is placed again if nothing comes
	Tries        int       `json:"tries"`
	Standing
}

// SubscriptionRefused says that the gateway refused it or ended it, or that it
// could not be sent.
type SubscriptionRefused struct {
	Subscription string    `json:"subscription"`
	Attempt      uint64    `json:"attempt"`
	RequestID    int64     `json:"request_id"`
	Code         int       `json:"code,omitempty"` // 0 when it could not be sent
	Class        Class     `json:"class,omitempty"`
	Message      string    `json:"message"`           // the gateway's words, account ids masked
	Action       string    `json:"action,omitempty"`  // what to do
	RetryAt      time.Time `json:"retry_at,omitzero"` // when it is tried again; zero for not before the next session
	Tries        int       `json:"tries"`
	Standing
}

// SubscriptionHours says what IB says of the contract's trading hours now.
type SubscriptionHours struct {
	Subscription string       `json:"subscription"`
	Hours        TradingTimes `json:"hours"`
}

// GapDetected says that bars are missing: those that begin from From on and
// before To.
type GapDetected struct {
	Subscription string    `json:"subscription"`
	From         time.Time `json:"from"`
	To           time.Time `json:"to"`
	Bars         int       `json:"bars"` // how many at most
}

// GapFilled says that what IB has of them was fetched and published.
type GapFilled struct {
	Subscription string    `json:"subscription"`
	From         time.Time `json:"from"`
	To           time.Time `json:"to"`
	Bars         int       `json:"bars"`              // published for it, earlier tries included
	Missing      int       `json:"missing,omitempty"` // that IB does not have, as far as hours are known
	Took         Millis    `json:"took_ms"`           // since it was found
}

// GapUnfillable says that they will not be fetched, and why.
type GapUnfillable struct {
	Subscription string    `json:"subscription"`
	From         time.Time `json:"from"`
	To           time.Time `json:"to"`
	Code         ErrorCode `json:"code"`
	Message      string    `json:"message"`
}

// Type returns the event's type.
func (*SubscriptionAdded) Type() Type      { return "ib.conn.subscription.added" }
func (*SubscriptionJoined) Type() Type     { return "ib.conn.subscription.joined" }
func (*SubscriptionLeft) Type() Type       { return "ib.conn.subscription.left" }
func (*SubscriptionCancelled) Type() Type  { return "ib.conn.subscription.cancelled" }
func (*SubscriptionPlacement) Type() Type  { return "ib.conn.subscription.placed" }
func (*SubscriptionDelivered) Type() Type  { return "ib.conn.subscription.live" }
func (*SubscriptionFellSilent) Type() Type { return "ib.conn.subscription.dark" }
func (*SubscriptionRefused) Type() Type    { return "ib.conn.subscription.failed" }
func (*SubscriptionHours) Type() Type      { return "ib.conn.subscription.hours" }
func (*GapDetected) Type() Type            { return "ib.conn.subscription.gap_detected" }
func (*GapFilled) Type() Type              { return "ib.conn.subscription.gap_filled" }
func (*GapUnfillable) Type() Type          { return "ib.conn.subscription.gap_unfillable" }

func (e *SubscriptionAdded) check() error {
	return cmp.Or(named(e.Subscription), given(e.CommandID != "", "command_id"), given(e.Caller != "", "caller"), given(e.Feed.Kind != "", "feed.kind"))
}

func (e *SubscriptionJoined) check() error {
	return cmp.Or(named(e.Subscription), given(e.CommandID != "", "command_id"), given(e.Caller != "", "caller"))
}

func (e *SubscriptionLeft) check() error {
	return cmp.Or(named(e.Subscription), given(e.CommandID != "", "command_id"), given(e.Caller != "", "caller"))
}

func (e *SubscriptionCancelled) check() error {
	return cmp.Or(named(e.Subscription), given(e.CommandID != "", "command_id"))
}

func (e *SubscriptionPlacement) check() error {
	return cmp.Or(named(e.Subscription), given(e.Attempt > 0, "attempt"), given(e.RequestID > 0, "request_id"))
}

func (e *SubscriptionDelivered) check() error {
	return cmp.Or(named(e.Subscription), given(e.Attempt > 0, "attempt"))
}

func (e *SubscriptionFellSilent) check() error {
	return cmp.Or(named(e.Subscription), given(e.Attempt > 0, "attempt"), counted(e.Tries, "tries"))
}

func (e *SubscriptionRefused) check() error {
	return cmp.Or(named(e.Subscription), given(e.Attempt > 0, "attempt"), counted(e.Tries, "tries"))
}

func (e *SubscriptionHours) check() error { return named(e.Subscription) }
func (e *GapDetected) check() error       { return bounded(e.Subscription, e.From, e.To) }
func (e *GapFilled) check() error         { return bounded(e.Subscription, e.From, e.To) }

func (e *GapUnfillable) check() error {
	return cmp.Or(bounded(e.Subscription, e.From, e.To), given(e.Code != "", "code"))
}

func named(subscription string) error { return given(subscription != "", "subscription") }

func bounded(subscription string, from, to time.Time) error {
	return cmp.Or(named(subscription), given(!from.IsZero(), "from"), given(to.After(from), "to"))
}

// CheckSubscriptionName says what a subscription's name, or a caller's, may be:
// it becomes a token of a subject.
func CheckSubscriptionName(s string) error {
	ok := len(s) >= 1 && len(s) <= MaxIDLength && s[0] != '-'
	for _, r := range s {
		ok = ok && (r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-')
	}
	if !ok {
		return fmt.Errorf("%.80q: want 1 to %d of a-z, 0-9 and '-', not beginning with '-'", s, MaxIDLength)
	}
	return nil
}
