package events

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

var zeroTime time.Time

// Apply returns the state after r. It is total over every log ever written: it
// never fails, never looks at a clock, and only copies what the event says. An
// event it does not know moves the sequence and nothing else.
func (s State) Apply(r Recorded) State {
	if !r.Heartbeat() {
		s.Sequence, s.AsOf = r.Sequence, r.Time
	}
	s.Epoch = r.Epoch
	phase := s.Phase

	switch e := r.Event.(type) {
	case *EpochBegan:
		s.Instance = e.Instance
		s.Counts.Epochs++

	case *ConnectRequested:
		phase = PhaseWaiting
		s.Wanted = true
		s.RetryAt = e.RetryAt
		s.Pending = acted(s.Pending, r.Causation, 0)

	case *DialStarted:
		phase = PhaseDialing
		s.Gateway = s.Gateway.dialed(s.Attempt, e)
		if s.Attempt.Endpoint != e.Endpoint {
			s.Pacing = Pacing{} // it was another gateway that complained
		}
		s.Attempt = Attempt{
			Number: e.Attempt, Endpoint: e.Endpoint, ClientID: e.ClientID, Probe: e.Probe,
			StartedAt: r.Time, DeadlineAt: e.DeadlineAt,
		}
		s.RetryAt = zeroTime
		s = s.forgetLevels()
		s.Counts.Attempts++

	case *GatewayReached:
		phase = PhaseGreeting
		s.Attempt.ReachedAt = r.Time
		s.Attempt.DeadlineAt = e.DeadlineAt

	case *GatewayGreeted:
		s.Attempt.GreetedAt = r.Time
		s.Attempt.ServerVersion = e.ServerVersion
		s.Attempt.DeadlineAt = e.DeadlineAt

	case *DialFailed:
		phase = PhaseWaiting
		s = s.ended(e.Failures)
		s.RetryAt = e.RetryAt
		s.Breaker = s.Breaker.probeAgain(e)
		if s.Breaker.Open {
			phase = PhaseTripped
		}
		s.Counts.Failures++
		s.Gateway = s.Gateway.failed(e, r.Time)
		s.LastEnding = Ending{At: r.Time, Cause: e.Cause, Code: e.Code, Detail: e.Detail}

	case *SessionOpened:
		phase = PhaseReady
		s.Attempt.DeadlineAt = zeroTime
		s.OutageSince = zeroTime
		s.Session = Session{OpenedAt: r.Time, ServerVersion: e.ServerVersion, Accounts: e.Accounts, NextValidID: e.NextValidID}
		s.Heartbeat = Heartbeat{
			AnsweredAt: r.Time, RTT: e.RTT, Skew: e.Skew, NextProbeAt: e.NextProbeAt, AnswerBy: e.AnswerBy,
			Link: LinkPulse{NextProbeAt: e.ProbeLinkAt},
		}
		s.Link = s.Link.unproven(r.Time, e.ProbeLinkAt)
		s.Counts.Sessions++
		s.Gateway = Gateway{}

	case *SessionStale:
		s.Session.StaleSince = r.Time

	case *SessionFresh:
		s.Session.StaleSince = zeroTime

	case *SessionLost:
		phase = PhaseWaiting
		s = s.ended(e.Failures)
		s.RetryAt = e.RetryAt
		s.Counts.Losses++
		s.OutageSince = r.Time.Add(-e.Away.Duration())
		s.LastEnding = Ending{At: r.Time, Cause: e.Cause, Code: e.Code, Detail: e.Detail}
		s.Pending = acted(s.Pending, r.Causation, 0)

	case *BreakerOpened:
		phase = PhaseTripped
		s.Breaker = Breaker{Open: true, Since: r.Time, ProbeAt: e.ProbeAt}
		s.RetryAt = e.ProbeAt

	case *BreakerClosed:
		s.Breaker = Breaker{}

	case *Stopped:
		phase = PhaseStopped
		s = s.ended(0)
		s.Wanted = e.Cause != CauseAskedFor
		s.Breaker = Breaker{}
		s.Gateway = Gateway{}
		s.OutageSince = zeroTime
		s.Pending = acted(s.Pending, r.Causation, 0)

	case *LinkWentDown:
		s.Link = Link{Status: LinkDown, Since: r.Time, Code: e.Code, LostAt: r.Time}
		s.Heartbeat.Link.NextProbeAt = cmp.Or(e.ProbeLinkAt, s.Heartbeat.Link.NextProbeAt)
		s.Farms = withNews(s.Farms, e.Farms, r.Time, e.Code)

	case *ClockJumped:
		s.RetryAt = cmp.Or(e.RetryAt, s.RetryAt)
		if s.Breaker.Open {
			s.Breaker.ProbeAt = s.RetryAt
		}
		s.Attempt.DeadlineAt = cmp.Or(e.DeadlineAt, s.Attempt.DeadlineAt)
		s.Heartbeat.NextProbeAt = cmp.Or(e.NextProbeAt, s.Heartbeat.NextProbeAt)
		s.Heartbeat.AnswerBy = cmp.Or(e.AnswerBy, s.Heartbeat.AnswerBy)
		s.Heartbeat.Link.NextProbeAt = cmp.Or(e.ProbeLinkAt, s.Heartbeat.Link.NextProbeAt)
		s = s.setBack(min(e.By, 0).Duration())

	case *LoginNeeded:
		s.Gateway.Login = Login{Level: e.Level, Since: e.Since}

	case *PortChanged:
		s.Gateway.MovedTo = ""
		if e.Allowed {
			s.Gateway.MovedTo = e.Endpoint
		}

	case *LinkCameBack:
		s.Gateway.Login = Login{}
		s.Link = Link{Status: LinkUp, Since: r.Time, Code: e.Code, DataLost: e.DataLost}.unproven(r.Time, e.ProbeLinkAt)
		if !e.ProbeLinkAt.IsZero() {
			// A probe that is under way went out before the link came back, and may
			// never be answered: the next one does not wait for that.
			s.Heartbeat.Link = LinkPulse{Number: s.Heartbeat.Link.Number + 1, NextProbeAt: e.ProbeLinkAt}
		}
		s.Farms = withNews(s.Farms, e.Farms, r.Time, e.Code)

	case *LinkProven:
		if s.Gateway.Login.Level == LevelLink {
			s.Gateway.Login = Login{}
		}
		if e.From != LinkUp {
			s.Link = Link{Status: LinkUp, Since: r.Time, DataLost: e.DataLost}
		}
		s.Link.Unproven = false

	case *LinkFellSilent:
		s.Link = Link{Status: LinkDown, Since: r.Time, Code: e.Code}

	case *CompetingBegan:
		s.Competing = Competing{Since: r.Time, LastAt: r.Time, Code: e.Code}

	case *CompetingEnded:
		s.Competing = Competing{}

	case *PacingReduced:
		since := cmp.Or(s.Pacing.Since, r.Time)
		s.Pacing = Pacing{PerSecond: e.PerSecond, Since: since, CutAt: r.Time, Until: e.Until}

	case *PacingRestored:
		s.Pacing = Pacing{}

	case *FarmChanged:
		s.Farms = withFarm(s.Farms, FarmState{Farm: e.Farm, Status: e.To, Since: r.Time, Code: e.Code})

	case *HeartbeatAnswered:
		s.Heartbeat = Heartbeat{
			Number: e.Number, AnsweredAt: r.Time, RTT: e.RTT, Skew: e.Skew,
			NextProbeAt: e.NextProbeAt, AnswerBy: e.AnswerBy,
			Link: s.Heartbeat.Link,
		}

	case *HeartbeatMissed:
		s.Heartbeat.Number = e.Number
		s.Heartbeat.Misses = e.Misses
		s.Heartbeat.NextProbeAt, s.Heartbeat.AnswerBy = e.NextProbeAt, e.AnswerBy

	case *LinkAnswered:
		s.Heartbeat.Link = LinkPulse{Number: e.Number, SentAt: e.SentAt, AnsweredAt: r.Time, RTT: e.RTT, NextProbeAt: e.NextProbeAt}

	case *LinkMissed:
		s.Heartbeat.Link.Number, s.Heartbeat.Link.Misses = e.Number, e.Misses
		s.Heartbeat.Link.Code, s.Heartbeat.Link.Message = e.Code, e.Message
		s.Heartbeat.Link.NextProbeAt = e.NextProbeAt

	case *GatewayReported:
		s = s.heardAgain(e.Class, r.Time)
		if e.Class.Fault() {
			s.Counts.Errors++
			s.LastError = Reported{At: r.Time, Code: e.Code, Message: e.Message}
		}

	case *GatewayRepeated:
		s = s.heardAgain(e.Class, e.LastAt)
		if e.Class.Fault() {
			s.Counts.Errors += uint64(e.Count)
			s.LastError = Reported{At: e.LastAt, Code: e.Code, Message: e.Message}
		}

	case *FrameRefused:
		s.Counts.Errors++

	case *SessionAbandoned:
		s.Counts.Errors++

	case *LogDamaged:
		s.Counts.Errors++
		s.LastError = Reported{At: r.Time, Message: e.Detail}

	case *CommandAccepted:
		s.Pending = append(slices.Clip(s.Pending), PendingCommand{CommandID: e.CommandID, Verb: e.Verb, Reason: e.Reason, AcceptedAt: r.Time, Acted: e.UnderWay})
		s.Recent = remember(s.Recent, RecentCommand{CommandID: e.CommandID, Verb: e.Verb, Sequence: r.Sequence, Status: StatusAccepted})

	case *CommandRejected:
		s.Recent = remember(s.Recent, RecentCommand{
			CommandID: e.CommandID, Verb: e.Verb, Sequence: r.Sequence, Status: StatusFailed, Rejected: true,
			Error: &AnswerError{Code: e.Code, Message: e.Message},
		})

	case *CommandBegun:
		s.Pending = acted(s.Pending, e.CommandID, r.Epoch)

	case *CommandCompleted:
		s = s.concluded(RecentCommand{CommandID: e.CommandID, Status: StatusCompleted, Said: e.Said})

	case *CommandFailed:
		s = s.concluded(RecentCommand{CommandID: e.CommandID, Status: StatusFailed, Error: &AnswerError{Code: e.Code, Message: e.Message}})

	case *SubscriptionAdded, *SubscriptionJoined, *SubscriptionLeft, *SubscriptionCancelled,
		*SubscriptionPlacement, *SubscriptionDelivered, *SubscriptionFellSilent, *SubscriptionRefused, *SubscriptionHours,
		*GapDetected, *GapFilled, *GapUnfillable:
		s = s.subscribed(r)

	case *Unknown:
	}

	if phase != s.Phase {
		s.PhaseSince = r.Time
	}
	s.Standing = s.stand(phase)
	return s
}

// forgetLevels is for when no session is there to speak of them.
func (s State) forgetLevels() State {
	s.Link = Link{Status: LinkUnknown}
	s.Farms = nil
	s.Competing = Competing{}
	s.Subscriptions = unplaced(s.Subscriptions, s.AsOf)
	return s
}

func (s State) ended(failures int) State {
	if s.Gateway.Login.Level == LevelLink {
		s.Gateway.Login = Login{} // without a session nothing is known of the link
	}
	s.Attempt.DeadlineAt = zeroTime
	s.Session = Session{}
	s.RetryAt = zeroTime
	s.Failures = failures
	s.Heartbeat.Misses = 0
	s.Heartbeat.NextProbeAt, s.Heartbeat.AnswerBy = zeroTime, zeroTime
	s.Heartbeat.Link = LinkPulse{}
	return s.forgetLevels()
}

// setBack restates by a clock that was set back what is compared with it. What
// lies ahead of it would otherwise lie there for as long as it went back.
func (s State) setBack(by time.Duration) State {
	if by == 0 {
		return s
	}
	times := []*time.Time{&s.Link.Since, &s.Link.LostAt, &s.Competing.LastAt, &s.Pacing.CutAt, &s.Pacing.Until}
	s.Subscriptions = slices.Clone(s.Subscriptions)
	for i := range s.Subscriptions {
		sub := *s.Subscriptions[i]
		s.Subscriptions[i] = &sub
		times = append(times, &sub.PlacedAt, &sub.RetryAt, &sub.Hours.AsOf)
		sub.Gaps = slices.Clone(sub.Gaps)
		for i := range sub.Gaps {
			times = append(times, &sub.Gaps[i].At)
		}
	}
	for _, t := range times {
		if !t.IsZero() {
			*t = t.Add(by)
		}
	}
	return s
}

// heardAgain notes a repeated word of what the state knows already.
func (s State) heardAgain(c Class, at time.Time) State {
	switch {
	case c == ClassLinkLost && s.Link.Status == LinkDown:
		s.Link.LostAt = at
	case c == ClassCompeting && !s.Competing.Since.IsZero():
		s.Competing.LastAt = at
	}
	return s
}

// unproven marks l as waiting for the probe that is due at a time, if one is.
func (l Link) unproven(now, probeAt time.Time) Link {
	if !probeAt.IsZero() {
		l.Unproven = true
		l.Since = cmp.Or(l.Since, now)
	}
	return l
}

func (s State) concluded(c RecentCommand) State {
	s.Pending = slices.DeleteFunc(slices.Clone(s.Pending), func(p PendingCommand) bool { return p.CommandID == c.CommandID })
	if len(s.Pending) == 0 {
		s.Pending = nil // so that a fold and a decoded snapshot compare equal
	}
	s.Recent = slices.Clone(s.Recent)
	for i := range s.Recent {
		if r := &s.Recent[i]; r.CommandID == c.CommandID {
			r.Status, r.Error, r.Said = c.Status, c.Error, c.Said
		}
	}
	return s
}

// dialed forgets what an attempt at another place, or under another id, makes
// irrelevant.
func (g Gateway) dialed(before Attempt, e *DialStarted) Gateway {
	g.MovedTo = ""
	if before.Endpoint != e.Endpoint {
		g.FailingSince = zeroTime
	}
	if before.ClientID != e.ClientID {
		g.IDRefusals = 0
	}
	return g
}

// failed counts what an attempt has shown. A gateway that refuses a client id
// is up; one that accepts and gives no session may sit in its login dialog.
func (g Gateway) failed(e *DialFailed, at time.Time) Gateway {
	switch {
	case e.Cause == CauseProcessRestarted:
		return g
	case e.Cause == CauseClientIDInUse:
		g.IDRefusals++
	case g.FailingSince.IsZero():
		g.FailingSince = at
	}
	switch {
	case e.Stage != PhaseGreeting || e.Cause != CauseMuteInGreeting && e.Cause != CauseClosedInGreeting:
		g.MuteSince, g.Login = zeroTime, Login{}
	case g.MuteSince.IsZero():
		g.MuteSince = at
	}
	return g
}

func (b Breaker) probeAgain(e *DialFailed) Breaker {
	if b.Open {
		b.ProbeAt = e.RetryAt
	}
	return b
}

// acted marks a command as being carried out; epoch is 0 where it does not
// matter by whom.
func acted(pending []PendingCommand, commandID string, epoch uint64) []PendingCommand {
	i := slices.IndexFunc(pending, func(p PendingCommand) bool { return p.CommandID == commandID })
	if i < 0 {
		return pending
	}
	pending = slices.Clone(pending)
	pending[i].Acted, pending[i].BegunEpoch = true, epoch
	return pending
}

func remember(recent []RecentCommand, c RecentCommand) []RecentCommand {
	if len(recent) >= RecentCommands {
		recent = recent[len(recent)-RecentCommands+1:]
	}
	return append(slices.Clone(recent), c)
}

func withFarm(farms []FarmState, f FarmState) []FarmState {
	i, found := slices.BinarySearchFunc(farms, f.Farm, compareFarm)
	farms = slices.Clone(farms)
	if found {
		farms[i] = f
		return farms
	}
	return slices.Insert(farms, i, f)
}

func withNews(farms []FarmState, news []FarmNews, at time.Time, code int) []FarmState {
	for _, n := range news {
		farms = withFarm(farms, FarmState{Farm: n.Farm, Status: n.Status, Since: at, Code: code})
	}
	return farms
}

func compareFarm(s FarmState, f Farm) int {
	return cmp.Or(strings.Compare(string(s.Kind), string(f.Kind)), strings.Compare(s.Name, f.Name))
}
