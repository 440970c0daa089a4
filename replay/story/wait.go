package story

import (
	"fmt"
	"time"

	"ibconn/connector"
	"ibconn/events"
)

// waits says what the connection waits for after r, and why, or that it does not wait.
func (t *Teller) waits(r events.Recorded) string {
	switch e := r.Event.(type) {
	case *events.DialFailed:
		return t.retry(r, e.Cause, e.Failures, e.RetryAt, e.RetryIn, e.Window)
	case *events.SessionLost:
		if e.Cause == events.CauseShutdown {
			return ""
		}
		return t.retry(r, e.Cause, e.Failures, e.RetryAt, e.RetryIn, e.Window)
	case *events.BreakerOpened:
		return fmt.Sprintf("waits for one probe at %s, and slow ones after it; a connect command forces one at once", t.clock(e.ProbeAt))
	case *events.HeartbeatMissed:
		return fmt.Sprintf("waits for the next heartbeat at %s, and its answer until %s", t.clock(e.NextProbeAt), t.clock(e.AnswerBy))
	case *events.LinkWentDown:
		return "waits for IB's word that the link is back" + t.linkProbe(", or the answer to the probe at ", e.ProbeLinkAt)
	case *events.LinkCameBack:
		return t.linkProbe("waits for an answer of IB's servers, which are probed at ", e.ProbeLinkAt)
	case *events.LinkMissed:
		return t.linkProbe("waits for the next probe of the link at ", e.NextProbeAt)
	case *events.LinkFellSilent:
		return "waits for IB's word that the link is back, or the answer to a probe"
	case *events.CompetingBegan:
		return fmt.Sprintf("waits for %v without a word of the other session", events.MillisOf(t.policy().CompetingFor))
	case *events.PacingReduced:
		return fmt.Sprintf("waits for %s, when the message rate is as configured again", t.clock(e.Until))
	case *events.LoginNeeded:
		return "waits for a person; attempts go on meanwhile"
	case *events.SubscriptionRefused:
		if e.RetryAt.IsZero() {
			return "does not wait: it is not placed again in this session"
		}
		return fmt.Sprintf("waits for %s, when it is placed again", t.clock(e.RetryAt))
	default:
		return ""
	}
}

func (t *Teller) linkProbe(before string, at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return before + t.clock(at)
}

// retry words the wait before an attempt.
func (t *Teller) retry(r events.Recorded, c events.Cause, failures int, at time.Time, in events.Millis, window string) string {
	p := t.policy()
	if w, err := connector.ParseWindow(window); err == nil {
		p.Windows = connector.Windows{w}
	}
	most, jitter := p.RetrySpan(failures, r.Time)
	within := window
	if within != "" {
		within = " inside the window '" + Plain(window) + "'"
	}
	const slack = time.Millisecond // of rounding
	switch possible := in.Duration() <= most+slack; {
	case in <= 0 && failures <= 1:
		return "does not wait: after the first failure it tries at once"
	case in <= 0:
		return "does not wait"
	case c == events.CauseClientIDInUse:
		return fmt.Sprintf("waits for the next try at %s: the session that has the client id may need time to die", t.clock(at))
	case possible && jitter:
		return fmt.Sprintf("waits for the next try at %s, after %s in a row: a random part of %v at most%s",
			t.clock(at), count(failures, "failure"), events.MillisOf(most), within)
	case possible:
		return fmt.Sprintf("waits for the next try at %s, after %s in a row: so many open the breaker, which lets a probe through every %v%s",
			t.clock(at), count(failures, "failure"), events.MillisOf(most), within)
	default:
		return fmt.Sprintf("waits for the next try at %s, after %s in a row%s", t.clock(at), count(failures, "failure"), within)
	}
}

func (t *Teller) policy() connector.Policy {
	if t.Policy != nil {
		return *t.Policy
	}
	return connector.DefaultPolicy("", 0)
}

func (t *Teller) clock(at time.Time) string { return clock(at, t.Zone) }

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
