package events

import (
	"slices"
	"time"
)

// State is what the log says about one connection: the fold of its events by
// [State.Apply]. It is a value: Apply returns a new one and leaves the old one
// and everything it points to alone.
type State struct {
	Connection ConnectionID `json:"connection"`
	Instance   string       `json:"instance"` // who holds the connection
	Epoch      uint64       `json:"epoch"`
	Sequence   uint64       `json:"sequence"`       // of the last event applied that is not a heartbeat
	AsOf       time.Time    `json:"as_of,omitzero"` // when that event happened
	Standing
	PhaseSince time.Time `json:"phase_since,omitzero"`
	Wanted     bool      `json:"wanted"` // false from a disconnect command until the next connect

	Attempt  Attempt   `json:"attempt,omitzero"`  // the latest attempt
	Session  Session   `json:"session,omitzero"`  // the session that is ready; zero in any other phase
	Failures int       `json:"failures"`          // failures in a row
	RetryAt  time.Time `json:"retry_at,omitzero"` // when the next attempt is due, in waiting and tripped
	Breaker  Breaker   `json:"breaker"`
	Gateway  Gateway   `json:"gateway,omitzero"` // what the next attempt must know of earlier ones

	Link      Link        `json:"link"`
	Farms     []FarmState `json:"farms,omitempty"`    // in the order of their names
	Competing Competing   `json:"competing,omitzero"` // another session that takes the market data
	Pacing    Pacing      `json:"pacing,omitzero"`    // a message budget that is reduced

	// Subscriptions are what is wanted from the gateway, in the order of their
	// names, [MaxSubscriptions] at most; each is replaced as a whole, and never
	// changed. They are not in the JSON, since they would
	// make every status answer large: the command subscriptions lists them.
	Subscriptions []*Subscription `json:"-"`
	// LastRequestID is the last request id that a subscription was placed under.
	LastRequestID int64 `json:"last_request_id,omitempty"`

	Heartbeat Heartbeat `json:"heartbeat,omitzero"`
	Counts    Counts    `json:"counts"`

	// OutageSince is when the session was lost (one that a dead process held:
	// when that process last wrote) that the present attempts are
	// to replace; zero while one is ready, and before the first.
	OutageSince time.Time `json:"outage_since,omitzero"`
	LastEnding  Ending    `json:"last_ending,omitzero"` // of an attempt or a session
	LastError   Reported  `json:"last_error,omitzero"`

	Pending []PendingCommand `json:"pending,omitempty"` // commands without an outcome, oldest first
	// Recent remembers the last commands, so that the same id gets the same
	// answer. It is bounded by [RecentCommands].
	Recent []RecentCommand `json:"-"`
}

// RecentCommands is how many commands a State remembers by their id.
const RecentCommands = 1000

// Attempt is one try to open a session, and how far it came.
type Attempt struct {
	Number        uint64    `json:"number"`
	Endpoint      string    `json:"endpoint"`
	ClientID      int64     `json:"client_id"`
	Probe         bool      `json:"probe,omitempty"`
	StartedAt     time.Time `json:"started_at"`
	ReachedAt     time.Time `json:"reached_at,omitzero"`
	GreetedAt     time.Time `json:"greeted_at,omitzero"`
	ServerVersion int       `json:"server_version,omitempty"`
	DeadlineAt    time.Time `json:"deadline_at,omitzero"` // for the step it is at; zero once ready or over
}

// Session is one API session that is ready.
type Session struct {
	OpenedAt      time.Time `json:"opened_at"`
	ServerVersion int       `json:"server_version"`
	Accounts      []string  `json:"accounts,omitempty"` // masked
	NextValidID   int64     `json:"next_valid_id"`
	StaleSince    time.Time `json:"stale_since,omitzero"` // when it fell silent; zero while it answers
}

// Gateway is what attempts have shown of the gateway, for the choice of where
// the next one goes, and for whether a person has to look at it.
type Gateway struct {
	FailingSince time.Time `json:"failing_since,omitzero"` // since when attempts at the present endpoint fail, refused client ids not counted
	IDRefusals   int       `json:"id_refusals,omitempty"`  // refusals in a row of the present client id (326)
	MovedTo      string    `json:"moved_to,omitempty"`     // where it said that it listens from now on
	MuteSince    time.Time `json:"mute_since,omitzero"`    // since when it accepts and gives no session
	Login        Login     `json:"login,omitzero"`
}

// Login says that a person has to look at the gateway; zero when none has to.
type Login struct {
	Level Level     `json:"level"` // session or link: what it has not given
	Since time.Time `json:"since"` // since when
}

// Breaker is the circuit breaker.
type Breaker struct {
	Open    bool      `json:"open"`
	Since   time.Time `json:"since,omitzero"`
	ProbeAt time.Time `json:"probe_at,omitzero"` // the next probe, as last published
}

// Link is the gateway's connection to IB's servers.
type Link struct {
	Status   LinkStatus `json:"status"`
	Since    time.Time  `json:"since,omitzero"`
	Code     int        `json:"code,omitempty"`      // the notice that said so; 0 when a probe did
	DataLost bool       `json:"data_lost,omitempty"` // the last restore lost the subscriptions
	// Unproven is set while what is known of the link waits for a probe to be
	// answered: in a new session, and after the gateway said that it is back.
	Unproven bool      `json:"unproven,omitempty"`
	LostAt   time.Time `json:"lost_at,omitzero"` // when the gateway last said that the link is down
}

// Competing is another session of the same user; zero while nothing is heard of
// one.
type Competing struct {
	Since  time.Time `json:"since"`
	LastAt time.Time `json:"last_at"` // when it was last heard of
	Code   int       `json:"code"`
}

// Pacing is a message budget that the gateway's complaints reduced; zero while
// the configured one holds.
type Pacing struct {
	PerSecond int       `json:"per_second"`
	Since     time.Time `json:"since"`  // when it was first reduced
	CutAt     time.Time `json:"cut_at"` // and last
	Until     time.Time `json:"until"`
}

// FarmState is one of IB's data services.
type FarmState struct {
	Farm
	Status FarmStatus `json:"status"`
	Since  time.Time  `json:"since"`
	Code   int        `json:"code"` // the notice that said so
}

// Heartbeat is the pulse of the session. Heartbeat events expire from the log,
// so after a rebuild from an old log this part may be younger or older than it
// was live; nothing outside it depends on it.
type Heartbeat struct {
	Number      uint64    `json:"number"` // of the session's last probe that was answered or missed
	AnsweredAt  time.Time `json:"answered_at,omitzero"`
	RTT         Millis    `json:"rtt_ms,omitempty"`
	Skew        Millis    `json:"skew_ms,omitempty"`
	Misses      int       `json:"misses,omitempty"` // in a row
	NextProbeAt time.Time `json:"next_probe_at,omitzero"`
	AnswerBy    time.Time `json:"answer_by,omitzero"`

	Link LinkPulse `json:"link,omitzero"`
}

// LinkPulse is what the probes of the link have shown in this session.
type LinkPulse struct {
	Number      uint64    `json:"number"`           // of the last probe that was answered or missed
	SentAt      time.Time `json:"sent_at,omitzero"` // of the last one that was answered
	AnsweredAt  time.Time `json:"answered_at,omitzero"`
	RTT         Millis    `json:"rtt_ms,omitempty"`
	Misses      int       `json:"misses,omitempty"` // in a row
	Code        int       `json:"code,omitempty"`   // the error that answered the last one missed
	Message     string    `json:"message,omitempty"`
	NextProbeAt time.Time `json:"next_probe_at,omitzero"` // zero while the link is not probed
}

// Counts are totals over the connection's whole log.
type Counts struct {
	Epochs   uint64 `json:"epochs"`
	Attempts uint64 `json:"attempts"`
	Sessions uint64 `json:"sessions"` // opened; the reconnects are these less one
	Losses   uint64 `json:"losses"`   // sessions lost, those asked for included
	Failures uint64 `json:"failures"` // attempts failed
	Errors   uint64 `json:"errors"`   // errors that changed no level; notices do not count
}

// Ending is how the last attempt failed or the last session was lost.
type Ending struct {
	At     time.Time `json:"at"`
	Cause  Cause     `json:"cause"`
	Code   int       `json:"code,omitempty"`
	Detail string    `json:"detail,omitempty"`
}

// Reported is the last error that changed no level and is worth a look: one
// whose class is a fault ([Class.Fault]), or damage to the log.
type Reported struct {
	At      time.Time `json:"at"`
	Code    int       `json:"code,omitempty"`
	Message string    `json:"message"`
}

// PendingCommand is a command that has no outcome yet.
type PendingCommand struct {
	CommandID  string    `json:"command_id"`
	Verb       Verb      `json:"verb"`
	Reason     string    `json:"reason,omitempty"`
	AcceptedAt time.Time `json:"accepted_at"`
	// Acted is set once the event that begins to carry it out is in the log.
	Acted bool `json:"acted"`
	// BegunEpoch is the claim under which a control command was begun. Once
	// another one stands, whoever asked IBC is gone, and what became of it is
	// not known.
	BegunEpoch uint64 `json:"begun_epoch,omitempty"`
}

// RecentCommand is what a command was answered, and what became of it.
type RecentCommand struct {
	CommandID string
	Verb      Verb
	Sequence  uint64 // of the event that accepted or rejected it
	Status    AnswerStatus
	Error     *AnswerError // of a rejection or a failure
	Rejected  bool
	Said      string // IBC's words to a control command that was completed
	// Subscription is the name of the one that a command was about.
	Subscription string
}

// NewState returns the state of a connection nothing has happened to yet.
func NewState(c ConnectionID) State {
	s := State{Connection: c, Wanted: true, Link: Link{Status: LinkUnknown}}
	s.Standing = s.stand(PhaseIdle)
	return s
}

// Recall returns what is remembered of a command.
func (s State) Recall(id string) (RecentCommand, bool) {
	// The newest first: a repeated id is most likely a recent one.
	for _, r := range slices.Backward(s.Recent) {
		if r.CommandID == id {
			return r, true
		}
	}
	return RecentCommand{}, false
}

// DueBy is when the connection's process will have said something more at the
// latest, as far as the state tells: an answer, or that there was none, a new
// attempt or the end of one. Zero where nothing is due: it is stopped, or nothing
// has begun.
func (s State) DueBy() time.Time {
	switch s.Phase {
	case PhaseReady: // the probe may wait for its turn as long as the answer may take
		return s.Heartbeat.AnswerBy.Add(s.Heartbeat.AnswerBy.Sub(s.Heartbeat.NextProbeAt))
	case PhaseDialing, PhaseGreeting:
		return s.Attempt.DeadlineAt
	case PhaseWaiting, PhaseTripped:
		return s.RetryAt
	case PhaseIdle, PhaseStopped:
	}
	return time.Time{}
}

// Slack is how much later than it should a connection's process may say something,
// for its clock, its turn in the message budget, and the way through the bus.
const Slack = 10 * time.Second

// StaleAfter is until when the connection's process would have said something more,
// given when it last did: [Slack] after what is due, or after that word where it
// came later than was due. Zero where nothing is due. From then on it must be taken
// for dead.
func (s State) StaleAfter(lastWord time.Time) time.Time {
	due := s.DueBy()
	switch {
	case due.IsZero():
		return due
	case due.Before(lastWord):
		due = lastWord // whoever just spoke has not seen yet to what is overdue
	}
	return due.Add(Slack)
}

// Farm returns the status of f, or FarmUnknown.
func (s State) Farm(f Farm) FarmStatus {
	i, found := slices.BinarySearchFunc(s.Farms, f, compareFarm)
	if !found {
		return FarmUnknown
	}
	return s.Farms[i].Status
}

// stand works the standing in phase p out from the four levels.
func (s State) stand(p Phase) Standing {
	st := Standing{Phase: p, Condition: ConditionHealthy, Reasons: []Reason{}}
	switch p {
	case PhaseIdle, PhaseStopped:
		st.Condition = ConditionStopped
		st.Reasons = append(st.Reasons, Reason{Level: LevelSession, What: string(p), Since: s.PhaseSince, Attribution: AttributionOurs})
		return st
	case PhaseDialing, PhaseGreeting, PhaseWaiting, PhaseTripped:
		st.Condition = ConditionDown
		st.Reasons = append(st.Reasons, Reason{Level: LevelSession, What: string(p), Since: s.PhaseSince, Cause: s.LastEnding.Cause, Attribution: s.LastEnding.Cause.Attribution()})
		st.Reasons = append(st.Reasons, s.Gateway.Login.reason()...)
		return st
	case PhaseReady:
	}
	if !s.Session.StaleSince.IsZero() {
		st.Reasons = append(st.Reasons, Reason{Level: LevelSession, What: "stale", Since: s.Session.StaleSince, Attribution: AttributionGateway})
	}
	switch {
	case s.Link.Status == LinkDown:
		st.Reasons = append(st.Reasons, Reason{Level: LevelLink, What: string(LinkDown), Since: s.Link.Since, Attribution: AttributionLink})
	case s.Link.Unproven:
		st.Reasons = append(st.Reasons, Reason{Level: LevelLink, What: ReasonUnproven, Since: s.Link.Since, Attribution: AttributionLink})
	}
	st.Reasons = append(st.Reasons, s.Gateway.Login.reason()...)
	for _, f := range s.Farms {
		if f.Status == FarmDown {
			st.Reasons = append(st.Reasons, Reason{Level: LevelFarm, What: string(FarmDown), Name: f.Farm.String(), Since: f.Since, Attribution: AttributionFarm})
		}
	}
	if !s.Competing.Since.IsZero() {
		st.Reasons = append(st.Reasons, Reason{Level: LevelSubscription, What: ReasonCompeting, Since: s.Competing.Since, Attribution: AttributionCompeting})
	}
	st.Reasons = append(st.Reasons, s.subscriptionReasons()...)
	if len(st.Reasons) > 0 {
		st.Condition = ConditionDegraded
	}
	return st
}

// What a [Reason] says, where it is not the state of its level.
const (
	ReasonLoginNeeded = "login_needed"      // a person has to look at the gateway
	ReasonUnproven    = "unproven"          // nothing has shown yet that IB's servers are reached
	ReasonCompeting   = "competing_session" // another session of the user takes the market data
)

func (l Login) reason() []Reason {
	if l.Level == "" {
		return nil
	}
	return []Reason{{Level: l.Level, What: ReasonLoginNeeded, Since: l.Since, Attribution: AttributionLogin}}
}
