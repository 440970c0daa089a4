package connector_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"ibconn/events"
)

// failing lets attempts fail for a cause until n more have begun, and returns
// them.
func failing(s *story, cause events.Cause, n int) []*events.DialStarted {
	s.Helper()
	var began []*events.DialStarted
	for len(began) < n {
		recorded := s.give(s.ended(cause))
		if s.state.Phase != events.PhaseDialing {
			recorded = append(recorded, s.passTo(s.state.RetryAt)...)
		}
		began = append(began, find[*events.DialStarted](s, recorded))
	}
	return began
}

// refused lets the gateway refuse the client id until n more attempts have begun.
func refused(s *story, n int) []*events.DialStarted {
	s.Helper()
	var began []*events.DialStarted
	for len(began) < n {
		s.give(s.reached())
		recorded := s.give(s.noticed(326, "in use"))
		if s.state.Phase != events.PhaseDialing {
			recorded = append(recorded, s.passTo(s.state.RetryAt)...)
		}
		began = append(began, find[*events.DialStarted](s, recorded))
	}
	return began
}

func TestAGatewayThatFailsForLongGivesWayToTheNextOne(t *testing.T) {
	s := newStory(t)
	s.policy.Fallbacks = []string{"second.example:4002", "third.example:4001"}
	s.policy.BreakerProbe = 50 * time.Second
	s.dial()
	began := s.now
	var went []string
	for len(went) < 3 {
		e := failing(s, events.CauseRefused, 1)[0]
		if e.Because == "" {
			continue
		}
		if !strings.Contains(e.Because, " has failed for 2 min") || s.now.Sub(began) < s.policy.FallbackAfter {
			t.Errorf("after %v attempt %d goes to %s because %q", s.now.Sub(began), e.Attempt, e.Endpoint, e.Because)
		}
		began = s.now
		went = append(went, e.Endpoint[:strings.Index(e.Endpoint, ".")])
	}
	if got := strings.Join(went, " "); got != "second third gateway" {
		t.Errorf("attempts go on to %s, want each gateway in turn", got)
	}
}

func TestADailyRestartDoesNotMoveTheConnection(t *testing.T) {
	s := newStory(t)
	s.policy.Fallbacks = []string{"second.example:4002"}
	s.dial()
	for until := s.now.Add(100 * time.Second); s.now.Before(until); {
		if e := failing(s, events.CauseRefused, 1)[0]; e.Endpoint != s.policy.Endpoint {
			t.Fatalf("after less than two minutes attempt %d goes to %s because %q", e.Attempt, e.Endpoint, e.Because)
		}
	}
}

func TestAGatewayThatWorksIsKeptAndOneThatRefusesAnIDIsUp(t *testing.T) {
	s := newStory(t)
	s.policy.Fallbacks = []string{"second.example:4002"}
	s.dial()
	for s.state.Attempt.Endpoint == s.policy.Endpoint {
		failing(s, events.CauseDialTimeout, 1)
	}
	s.reopen()
	s.pass(0)
	lost := s.give(s.ended(events.CauseReset))
	if e := find[*events.DialStarted](t, append(lost, s.passTo(later(s.now, s.state.RetryAt))...)); e.Endpoint != "second.example:4002" || e.Because != "" {
		t.Errorf("after a lost session: %s because %q, want the gateway that worked", e.Endpoint, e.Because)
	}
	for _, e := range refused(s, 12) {
		if e.Endpoint != "second.example:4002" {
			t.Errorf("a gateway that refuses a client id is up, and the next attempt goes to %s", e.Endpoint)
		}
	}
}

func TestARefusedClientIDIsLeftAloneForLongerEachTime(t *testing.T) {
	s := newStory(t).dial()
	for _, least := range []time.Duration{2, 4, 8, 16, 32, 60, 60} {
		s.give(s.reached())
		e := find[*events.DialFailed](t, s.give(s.noticed(326, "in use")))
		if got := e.RetryIn.Duration(); got < least*time.Second {
			t.Errorf("after failure %d the retry is in %v, want %d s at least", e.Failures, got, least)
		}
		s.passTo(s.state.RetryAt)
	}
}

func TestAClientIDInUseIsRetriedAndThenTheNextOfTheBandIsTaken(t *testing.T) {
	s := newStory(t)
	s.policy.SpareIDs = []int64{8, 9}
	s.policy.ClientIDTries = 3
	s.dial()
	var ids []int64
	for _, e := range refused(s, 9) {
		ids = append(ids, e.ClientID)
		if moved := len(ids)%3 == 0; moved != strings.Contains(e.Because, "was refused 3 times in a row") {
			t.Errorf("attempt %d asks for %d because %q", e.Attempt, e.ClientID, e.Because)
		}
	}
	if want := []int64{7, 7, 8, 8, 8, 9, 9, 9, 7}; !slices.Equal(ids, want) {
		t.Errorf("client ids %v, want %v", ids, want)
	}
	failing(s, events.CauseRefused, 2)
	if got := refused(s, 1)[0].ClientID; got != 7 {
		t.Errorf("after other failures client id %d, want the same one", got)
	}
}

func TestWithoutABandTheClientIDStays(t *testing.T) {
	s := newStory(t).dial()
	for _, e := range refused(s, 12) {
		if e.ClientID != 7 || e.Because != "" {
			t.Fatalf("attempt %d asks for %d because %q, want 7 for ever", e.Attempt, e.ClientID, e.Because)
		}
	}
}

func TestAGatewayMayMoveOnlyToAConfiguredPort(t *testing.T) {
	for _, c := range []struct {
		message, endpoint string
		allowed           bool
	}{
		{"Socket port has been reset and this connection is being dropped. Please reconnect on the new port - 4003", "gateway.example:4003", true},
		{"Please reconnect on the new port -4003.", "gateway.example:4003", true},
		{"Please reconnect on the new port - 4009", "gateway.example:4009", false},
	} {
		s := newStory(t)
		s.policy.Fallbacks = []string{"elsewhere.example:4009", "gateway.example:4003"}
		s.open()
		recorded := s.give(s.noticed(1300, c.message))
		if e := find[*events.PortChanged](t, recorded); e.Endpoint != c.endpoint || e.Allowed != c.allowed {
			t.Errorf("%q: %+v, want %s, allowed %t", c.message, e, c.endpoint, c.allowed)
		}
		recorded = s.give(s.ended(events.CauseClosedByGateway))
		e := find[*events.DialStarted](t, append(recorded, s.passTo(later(s.now, s.state.RetryAt))...))
		want := "gateway.example:4002"
		if c.allowed {
			want = c.endpoint
		}
		if e.Endpoint != want || c.allowed != (e.Because != "") {
			t.Errorf("%q: the next attempt goes to %s because %q, want %s", c.message, e.Endpoint, e.Because, want)
		}
	}
}

func TestAPortChangeWithoutAPortIsOnlyReported(t *testing.T) {
	s := newStory(t).open()
	wantEvents(t, "1300", s.give(s.noticed(1300, "the port changed")), "gateway_reported")
}
