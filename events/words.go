package events

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// maxSentence is how many characters a sentence may have, and maxQuote how
// many of them may be somebody else's words, so that ours always fit.
const (
	maxSentence = 200
	maxQuote    = 120
)

// Sentence says r in one plain English sentence: one line without a period at
// its end, at most 200 characters, account ids masked. An event of a type this
// program does not know is said by its type's name.
func Sentence(r Recorded) string {
	return clip(oneLine(say(r)), maxSentence)
}

func say(r Recorded) string {
	switch e := r.Event.(type) {
	case *EpochBegan:
		return sayEpoch(r.Epoch, e)
	case *ConnectRequested:
		return "connection wanted " + sayAsker(e.By) + with(": ", e.Reason)
	case *DialStarted:
		s := fmt.Sprintf("dialing %s as client %d (attempt %d)", e.Endpoint, e.ClientID, e.Attempt) + with(", since ", e.Because)
		return s + only(e.Probe, "; it probes, as the breaker is open")
	case *GatewayReached:
		return fmt.Sprintf("gateway's port %s accepted attempt %d after %v", e.Remote, e.Attempt, e.Took)
	case *GatewayGreeted:
		return fmt.Sprintf("gateway greeted attempt %d after %v (server version %d)", e.Attempt, e.Took, e.ServerVersion)
	case *DialFailed:
		return fmt.Sprintf("attempt %d failed: %s; %s", e.Attempt, sayCause(e.Cause, e.Code, e.Detail), sayNext("try", e.RetryIn)) + sayWindow(e.Window)
	case *SessionOpened:
		s := fmt.Sprintf("session open after %v (server version %d, %s)", e.Took, e.ServerVersion, count(len(e.Accounts), "account"))
		return s + only(e.Outage > 0, ", outage lasted "+e.Outage.String())
	case *SessionStale:
		return fmt.Sprintf("session stale: %s missed, nothing heard for %v", count(e.Misses, "heartbeat"), e.Silent)
	case *SessionFresh:
		return fmt.Sprintf("session answers again, was stale for %v", e.Stale)
	case *SessionLost:
		return sayLost(e) + "; " + sayNext("try", e.RetryIn) + sayWindow(e.Window)
	case *BreakerOpened:
		return fmt.Sprintf("breaker open after %s in a row; %s", count(e.Failures, "failure"), sayNext("probe", Between(r.Time, e.ProbeAt))) + sayWindow(e.Window)
	case *BreakerClosed:
		return fmt.Sprintf("breaker closed by attempt %d after %v", e.Attempt, e.Open)
	case *Stopped:
		s := "stopped: " + sayCause(e.Cause, 0, "")
		return s + only(e.Uptime > 0, "; the session lasted "+e.Uptime.String()) + with("; reason: ", e.Reason)
	case *ClockJumped:
		return sayJump(e)
	case *LoginNeeded:
		return fmt.Sprintf("somebody must look at the gateway: no %s for %v; %s", e.Level, Between(e.Since, r.Time), e.Action)
	case *PortChanged:
		s := "gateway's port changes to " + e.Endpoint
		return s + only(!e.Allowed, ", which is not among the configured gateways: add it, or change it back")
	case *LinkWentDown:
		return fmt.Sprintf("link to IB down (%d)", e.Code) + sayWindow(e.Window)
	case *LinkCameBack:
		return sayLinkUp(e)
	case *LinkProven:
		return sayProven(e)
	case *LinkFellSilent:
		return fmt.Sprintf("link to IB down: %s in a row without an answer from IB's servers", count(e.Misses, "probe")) +
			only(e.Code != 0, fmt.Sprintf(" (%d)", e.Code)) + sayWindow(e.Window)
	case *CompetingBegan:
		return fmt.Sprintf("another session of this user takes the market data (%d); %s", e.Code, e.Action)
	case *CompetingEnded:
		return "nothing more is heard of the other session that took the market data; it lasted " + e.Lasted.String()
	case *PacingReduced:
		return fmt.Sprintf("message rate cut from %d to %d a second for %v, as the gateway asked for less (%d)", e.Before, e.PerSecond, Between(r.Time, e.Until), e.Code)
	case *PacingRestored:
		return "message rate as configured again, after " + e.Reduced.String()
	case *FarmChanged:
		// A notice that named no farm leaves only the kind to say.
		return fmt.Sprintf("farm %s %s (%d)", strings.TrimSuffix(e.Farm.String(), "/"), e.To, e.Code)
	case *HeartbeatAnswered:
		return fmt.Sprintf("heartbeat %d answered in %v", e.Number, e.RTT) + only(e.Late, ", late")
	case *HeartbeatMissed:
		return sayMissed(e)
	case *LinkAnswered:
		return fmt.Sprintf("IB's servers answered probe %d in %v", e.Number, e.RTT)
	case *LinkMissed:
		return fmt.Sprintf("IB's servers did not answer probe %d", e.Number) + only(e.Misses > 0, fmt.Sprintf(", %d in a row", e.Misses)) + only(e.Code != 0, fmt.Sprintf(" (%d)", e.Code)) + with(": ", e.Message)
	case *GatewayReported:
		return sayReport(e)
	case *GatewayRepeated:
		return fmt.Sprintf("%s more of %d (%s) in %v", count(e.Count, "report"), e.Code, oneWord(e.Class), Between(e.FirstAt, e.LastAt)) + with(": ", e.Message)
	case *FrameRefused:
		name := with("", e.Name)
		if name == "" {
			name = "a message"
		}
		return fmt.Sprintf("safety catch kept %s (id %d, %s) from the gateway", name, e.MessageID, count(e.Size, "byte"))
	case *SessionAbandoned:
		return fmt.Sprintf("session of attempt %d abandoned: the API library did not let go within %v (%d so far)", e.Attempt, e.Waited, e.Total)
	case *LogDamaged:
		return "log damaged, " + strings.ReplaceAll(string(e.Finding), "_", " ") + with(": ", e.Detail)
	case *CommandAccepted:
		return sayCommand(e.Verb, e.CommandID, "accepted") + only(e.UnderWay, ", already under way") + with(": ", e.Reason)
	case *CommandRejected:
		return sayCommand(e.Verb, e.CommandID, "rejected") + with(": ", e.Message)
	case *CommandBegun:
		return sayCommand(e.Verb, e.CommandID, "begun: IBC is asked")
	case *CommandCompleted:
		return sayCommand(e.Verb, e.CommandID, "completed in "+e.Took.String()) + with("; IBC says: ", e.Said)
	case *CommandFailed:
		return sayCommand(e.Verb, e.CommandID, "failed after "+e.Took.String()) + with(": ", e.Message)
	case *Unknown:
		return string(e.Name)
	default:
		return saySubscription(r)
	}
}

func saySubscription(r Recorded) string {
	switch e := r.Event.(type) {
	case *SubscriptionAdded:
		return fmt.Sprintf("subscription %s added: %s of %s for %s", e.Subscription, e.Feed.Kind, e.Asked, e.Caller) + with(": ", e.Reason)
	case *SubscriptionJoined:
		return fmt.Sprintf("subscription %s: %s wants it too", e.Subscription, e.Caller) + with(": ", e.Reason)
	case *SubscriptionLeft:
		return fmt.Sprintf("subscription %s: %s wants it no longer", e.Subscription, e.Caller) + with(": ", e.Reason)
	case *SubscriptionCancelled:
		return fmt.Sprintf("subscription %s cancelled", e.Subscription) + with(" by ", e.Caller) + with(": ", e.Reason)
	case *SubscriptionPlacement:
		return fmt.Sprintf("subscription %s placed as request %d: %s", e.Subscription, e.RequestID, strings.ReplaceAll(string(e.Because), "_", " ")) +
			only(e.Try > 1, fmt.Sprintf(", try %d", e.Try))
	case *SubscriptionDelivered:
		s := fmt.Sprintf("subscription %s delivers", e.Subscription)
		return s + only(e.Dark > 0, fmt.Sprintf(" again, was dark for %v", e.Dark)) + only(e.Dark == 0, fmt.Sprintf(" after %v", e.Took))
	case *SubscriptionFellSilent:
		return fmt.Sprintf("subscription %s dark: nothing came for %v", e.Subscription, e.Silent) + with(", while ", e.Because)
	case *SubscriptionRefused:
		return fmt.Sprintf("subscription %s failed", e.Subscription) + only(e.Code != 0, fmt.Sprintf(" (%d)", e.Code)) + with(": ", e.Message) +
			only(!e.RetryAt.IsZero(), "; "+sayNext("try", Between(r.Time, e.RetryAt)))
	case *SubscriptionHours:
		return fmt.Sprintf("subscription %s: IB's trading hours of %s", e.Subscription, e.Hours.AsOf.UTC().Format("2 January"))
	case *GapDetected:
		return fmt.Sprintf("subscription %s lacks %s from %s to %s", e.Subscription, count(e.Bars, "bar"), clock(e.From), clock(e.To))
	case *GapFilled:
		return fmt.Sprintf("subscription %s: %s from %s to %s filled in", e.Subscription, count(e.Bars, "bar"), clock(e.From), clock(e.To)) +
			only(e.Missing > 0, fmt.Sprintf(", IB does not have %d", e.Missing))
	case *GapUnfillable:
		return fmt.Sprintf("subscription %s: the gap from %s to %s stays", e.Subscription, clock(e.From), clock(e.To)) + with(": ", e.Message)
	default:
		return "no event"
	}
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

func sayEpoch(epoch uint64, e *EpochBegan) string {
	s := fmt.Sprintf("epoch %d began: %s (version %s, pid %d) holds the connection", epoch, e.Instance, e.Version, e.PID)
	if e.PreviousEpoch == 0 {
		return s + ", as its first writer"
	}
	return fmt.Sprintf("%s, %v after epoch %d fell silent", s, e.Away, e.PreviousEpoch)
}

func sayAsker(a Asker) string {
	switch a {
	case AskerStart:
		return "as the program started"
	case AskerCommand:
		return "by command"
	default:
		return "by " + string(a)
	}
}

func sayLost(e *SessionLost) string {
	switch e.Cause {
	case CauseProcessRestarted:
		return fmt.Sprintf("process restarted: no process held the connection for %v", e.Away)
	case CauseAskedFor, CauseShutdown:
		return fmt.Sprintf("session ended after %v: %s", e.Uptime, e.Cause.Sentence())
	}
	return fmt.Sprintf("session lost after %v: %s", e.Uptime, sayCause(e.Cause, e.Code, e.Detail))
}

// sayCause prefers the detail only where the cause itself says nothing.
func sayCause(c Cause, code int, detail string) string {
	s := c.Sentence()
	if c == CauseOther && detail != "" {
		s = with("", detail)
	}
	return s + only(code != 0, fmt.Sprintf(" (%d)", code))
}

func sayNext(what string, in Millis) string {
	if in <= 0 {
		return "next " + what + " at once"
	}
	return "next " + what + " in " + in.String()
}

func sayLinkUp(e *LinkCameBack) string {
	s := fmt.Sprintf("link to IB up (%d), ", e.Code)
	if e.DataLost {
		s += "market data lost"
	} else {
		s += "market data kept"
	}
	return s + only(e.Down > 0, ", was down for "+e.Down.String())
}

func sayProven(e *LinkProven) string {
	s := fmt.Sprintf("link to IB proven up by an answer after %v", e.RTT)
	switch {
	case e.From == LinkDown && e.DataLost:
		s += ", market data to be taken for lost"
	case e.From == LinkUnknown:
		return s
	}
	return s + only(e.Down > 0, ", was down for "+e.Down.String())
}

func sayMissed(e *HeartbeatMissed) string {
	if e.Misses == 0 {
		return fmt.Sprintf("heartbeat %d missed, but other messages came", e.Number)
	}
	return fmt.Sprintf("heartbeat %d missed, %d in a row, nothing heard for %v", e.Number, e.Misses, e.Silent)
}

// sayWindow says that something was to be expected.
func sayWindow(window string) string { return with(", inside the window ", window) }

func sayJump(e *ClockJumped) string {
	if e.By < 0 {
		return fmt.Sprintf("clock went back by %v: it was set", -e.By)
	}
	return fmt.Sprintf("clock jumped ahead by %v: the host slept, or it was set", e.By)
}

func oneWord(c Class) string { return strings.ReplaceAll(string(c), "_", " ") }

// sayReport gives the gateway's own words where the table's are no better than
// a guess.
func sayReport(e *GatewayReported) string {
	s := fmt.Sprintf("gateway reported %d", e.Code)
	if e.RequestID >= 0 {
		s += fmt.Sprintf(" for request %d", e.RequestID)
	}
	if e.Meaning == "" || e.UnmatchedText {
		return s + with(": ", e.Message)
	}
	return s + ": " + e.Meaning
}

func sayCommand(v Verb, id, what string) string {
	return fmt.Sprintf("command %s %s %s", v, id, what)
}

// with returns somebody else's words behind before, or "" when there are none.
func with(before, words string) string {
	words = clip(oneLine(words), maxQuote)
	if words == "" {
		return ""
	}
	return before + words
}

func only(when bool, s string) string {
	if when {
		return s
	}
	return ""
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// oneLine turns every run of spaces and of what does not print, such as a
// terminal's escapes, into one space, masks account ids, and drops periods from
// the end. It comes before clip, which could cut an id beyond recognition.
func oneLine(s string) string {
	words := strings.FieldsFunc(strings.ToValidUTF8(s, " "), func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) })
	return MaskAccounts(strings.TrimRight(strings.Join(words, " "), ". "))
}

// clip cuts s to n characters.
func clip(s string, n int) string {
	if runes := []rune(s); len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return s
}

// String words m for a person, in at most two units: "0.4 ms", "350 ms",
// "4.1 s", "12 s", "3 min 20 s", "2 h 3 min", "3 d 4 h".
func (m Millis) String() string {
	ms := float64(m)
	// The limits lie where rounding would reach the next form.
	switch s := ms / 1000; {
	case ms < 0:
		return "-" + (-m).String()
	case ms < 9.95:
		return decimal(ms) + " ms"
	case ms < 999.5:
		return whole(ms) + " ms"
	case s < 9.95:
		return decimal(s) + " s"
	case s < 59.5:
		return whole(s) + " s"
	case s < 3599.5:
		return pair(s, 60, "min", "s")
	case s/60 < 24*60-0.5:
		return pair(s/60, 60, "h", "min")
	default:
		return pair(s/3600, 24, "d", "h")
	}
}

func whole(f float64) string { return strconv.FormatFloat(math.Round(f), 'f', 0, 64) }

func decimal(f float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0")
}

// pair words f of the small unit as large ones and the rest.
func pair(f, per float64, large, small string) string {
	f = math.Round(f)
	rest := math.Mod(f, per)
	s := whole((f-rest)/per) + " " + large
	if rest == 0 {
		return s
	}
	return s + " " + whole(rest) + " " + small
}

// Routine says whether r tells only that all is as it was: a probe was
// answered, or one of a link that is known to be down was not. Such events are
// the most by far, and mostly left out of what people read.
func Routine(r Recorded) bool {
	switch e := r.Event.(type) {
	case *HeartbeatAnswered, *LinkAnswered:
		return true
	case *LinkMissed:
		return e.Expected
	default:
		return false
	}
}

// Severity says how much an event matters to the person on watch.
type Severity string

// The severities.
const (
	SeverityInfo    Severity = "info"    // as it should be, or on the way there
	SeverityWarning Severity = "warning" // something is not well, and ibconn is on it
	SeverityError   Severity = "error"   // something was lost, or needs a person
)

// SeverityOf returns how much r matters. What was asked for is never worse than
// info.
func SeverityOf(r Recorded) Severity {
	switch e := r.Event.(type) {
	case *SessionLost:
		return expected(e.Window, unlessAsked(e.Cause, SeverityError))
	case *DialFailed:
		return unlessAsked(e.Cause, SeverityWarning)
	case *LinkWentDown:
		return expected(e.Window, SeverityError)
	case *LinkFellSilent:
		return expected(e.Window, SeverityError)
	case *CompetingBegan:
		return SeverityError
	case *PacingReduced:
		return SeverityWarning
	case *LinkMissed:
		if e.Misses > 0 && !e.Expected {
			return SeverityWarning
		}
	case *BreakerOpened:
		return expected(e.Window, SeverityError)
	case *LoginNeeded, *FrameRefused, *SessionAbandoned, *LogDamaged:
		return SeverityError
	case *HeartbeatMissed:
		if e.Misses > 0 { // otherwise other messages came, which is life enough
			return SeverityWarning
		}
	case *SubscriptionFellSilent, *GapDetected:
		return SeverityWarning
	case *SubscriptionRefused:
		if e.RetryAt.IsZero() {
			return SeverityError
		}
		return SeverityWarning
	case *GapUnfillable:
		if e.Code == ErrorNoData { // IB has nothing that could be lost
			return SeverityWarning
		}
		return SeverityError
	case *SessionStale, *ClockJumped, *PortChanged, *CommandRejected, *CommandFailed:
		return SeverityWarning
	case *LinkCameBack:
		if e.DataLost {
			return SeverityWarning
		}
	case *FarmChanged:
		if e.To == FarmDown {
			return SeverityWarning
		}
	case *GatewayReported:
		return e.Class.severity()
	case *GatewayRepeated:
		return e.Class.severity()
	default:
	}
	return SeverityInfo
}

// expected lowers what a maintenance window announced.
func expected(window string, s Severity) Severity {
	if window != "" && s == SeverityError {
		return SeverityWarning
	}
	return s
}

func unlessAsked(c Cause, s Severity) Severity {
	if c == CauseAskedFor || c == CauseShutdown {
		return SeverityInfo
	}
	return s
}

func (c Class) severity() Severity {
	switch c {
	case ClassSocketDown, ClassFatalConfig, ClassFatalProtocol:
		return SeverityError
	case ClassLinkRestoredKept, ClassFarmUp, ClassFarmIdle, ClassFarmConnecting, ClassNoData, ClassInfo, ClassBenign:
		return SeverityInfo
	default:
		return SeverityWarning
	}
}
