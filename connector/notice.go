package connector

import (
	"strings"
	"time"

	"ibconn/events"
)

// noticed reads an error or notice of the gateway by IB's code table: it ends
// the attempt, moves the link or a farm, or is put on record as it is.
func (p Policy) noticed(s events.State, in Noticed, now time.Time) (events.Draft, bool) {
	message := quote(in.Message)
	reading := events.ReadNotice(in.Code, in.Message)
	if in.Code == 1300 {
		if d, ok := p.portChanged(s, in.Attempt, message); ok {
			return d, true
		}
	}
	if s.Phase == events.PhaseGreeting {
		if cause, ends := refusal(in.Code, reading.Class); ends {
			return p.failed(s, cause, message, in.Code, FlightRecord{}, now), true
		}
	}
	if d, ok := p.refusedProbe(s, in, message, now); ok {
		return d, true
	}
	if in.Code == 100 {
		if d, ok := p.breached(s, in, message, now); ok {
			return d, true
		}
	}
	if d, recorded, done := p.subscriptionNotice(s, in, reading, now); done {
		return d, recorded
	}
	switch {
	case reading.Class == events.ClassCompeting && !reading.UnmatchedText && s.Phase == events.PhaseReady && s.Competing.Since.IsZero():
		return about(in.Attempt, &events.CompetingBegan{
			Attempt: in.Attempt, RequestID: in.RequestID, Code: in.Code, Message: message, Action: reading.Advice,
		}), true
	case reading.Link == events.LinkDown && s.Link.Status != events.LinkDown:
		return about(in.Attempt, &events.LinkWentDown{Attempt: in.Attempt, Code: in.Code, Message: message, Window: p.window(now), ProbeLinkAt: p.reprobeLinkAt(now), Farms: reading.Farms}), true
	case reading.Link == events.LinkUp && (s.Link.Status != events.LinkUp || reading.DataLost || now.Sub(s.Link.Since) >= restoredAgain):
		e := &events.LinkCameBack{Attempt: in.Attempt, Code: in.Code, Message: message, DataLost: reading.DataLost, ProbeLinkAt: p.probeLinkAt(s, now), Farms: reading.Farms}
		if s.Link.Status == events.LinkDown {
			e.Down = events.Between(s.Link.Since, now)
		}
		return about(in.Attempt, e), true
	case reading.Link == "" && len(reading.Farms) == 1 && s.Farm(reading.Farms[0].Farm) != reading.Farms[0].Status:
		f := reading.Farms[0]
		return about(in.Attempt, &events.FarmChanged{
			Attempt: in.Attempt, Farm: f.Farm, From: s.Farm(f.Farm), To: f.Status, Code: in.Code, Message: message,
		}), true
	}
	return about(in.Attempt, &events.GatewayReported{
		Attempt:       in.Attempt,
		RequestID:     in.RequestID,
		Code:          in.Code,
		Class:         reading.Class,
		Message:       message,
		Meaning:       reading.Meaning,
		UnmatchedText: reading.UnmatchedText,
		ReportedAt:    in.ReportedAt,
	}), true
}

// restoredAgain is how long after a link came back the same word again means
// that it was gone meanwhile, and has to be proven anew.
const restoredAgain = 30 * time.Second

// refusal says whether a code that comes during the greeting means that this
// attempt cannot succeed. The library makes the socket's codes (502, 504 ...)
// up itself and says them late or not at all, so the socket's end is the tap's
// to tell, not theirs.
func refusal(code int, class events.Class) (events.Cause, bool) {
	switch {
	case class == events.ClassRejectedRetry && code == 326:
		return events.CauseClientIDInUse, true
	case code == 503 || code == 506:
		return events.CauseUnsupportedVersion, true
	case class == events.ClassFatalConfig:
		return events.CauseRejected, true
	}
	return "", false
}

// What an event takes at most of what comes from outside. The gateway's notices
// are a line or two; a frame may be megabytes, and an event may not.
const (
	maxQuote    = 2000 // bytes of text
	maxAccounts = 1000
)

// quote makes somebody else's text fit for an event: account ids masked, and
// cut to size.
func quote(text string) string {
	// What is cut off first leaves more than is kept, however much masking
	// shortens it, so that no half of an account id stays.
	text = events.MaskAccounts(text[:min(len(text), 2*maxQuote)])
	if len(text) > maxQuote {
		text = strings.ToValidUTF8(text[:maxQuote], "")
	}
	return text
}

// maskAccount masks one account id whatever its form: the gateway said that it
// is one.
func maskAccount(id string) string {
	if masked := events.MaskAccounts(id); masked != id || len(id) < 4 {
		return masked
	}
	return id[:1] + "***" + id[len(id)-2:]
}
