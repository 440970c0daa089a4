package connector_test

import (
	"testing"
	"time"

	"ibconn/connector"
	"ibconn/events"
)

func TestCodesThatRefuseTheSessionEndTheGreeting(t *testing.T) {
	for _, c := range []struct {
		code  int
		cause events.Cause
	}{
		{326, events.CauseClientIDInUse},
		{503, events.CauseUnsupportedVersion},
		{506, events.CauseUnsupportedVersion},
		{327, events.CauseRejected},
		{1300, events.CauseRejected}, // without a port in its text
	} {
		s := newStory(t).greet()
		recorded := s.give(s.noticed(c.code, "no for DU1234567Z"))
		want := "dial_failed dial_started"
		if c.code == 326 {
			want = "dial_failed" // an id in use is left alone for a while
		}
		wantEvents(t, "the refusal", recorded, want)
		e := find[*events.DialFailed](t, recorded)
		if e.Cause != c.cause || e.Code != c.code || e.Failures != 1 || e.Detail != "no for DU***67Z" || e.Stage != events.PhaseGreeting {
			t.Errorf("%d: dial_failed is %+v, want %s", c.code, e, c.cause)
		}
		wantEvents(t, "the socket's end that follows", s.give(connector.Ended{Attempt: 1, Cause: events.CauseClosedByGateway}), "")

		s = newStory(t).open()
		wantEvents(t, "the same in a ready session", s.give(s.noticed(c.code, "no")), "gateway_reported")
		s.in(events.PhaseReady)
	}
}

func TestOtherCodesDoNotEndTheGreeting(t *testing.T) {
	for _, code := range []int{502, 504, 507, 509, 2104, 2106, 2158, 1102, 162, 99999} {
		s := newStory(t).greet()
		s.give(s.noticed(code, "HMDS data farm connection is OK:ushmds"))
		if s.state.Phase != events.PhaseGreeting {
			t.Errorf("%d ends the greeting: %s", code, s.state.Phase)
		}
		s.give(s.greeted())
		s.give(s.opened())
		s.in(events.PhaseReady)
	}
}

func TestTheLinkFollowsItsNoticesAndTheSessionStays(t *testing.T) {
	s := newStory(t).open()
	step := func(code int, want string, link events.LinkStatus, dataLost bool) []events.Event {
		t.Helper()
		s.now = s.now.Add(10 * time.Second)
		recorded := s.give(s.noticed(code, "words"))
		wantEvents(t, "a link notice", recorded, want)
		if s.in(events.PhaseReady); s.state.Link.Status != link || s.state.Link.DataLost != dataLost {
			t.Errorf("after %d the link is %+v, want %s, data lost %t", code, s.state.Link, link, dataLost)
		}
		return recorded
	}
	if s.state.Link.Status != events.LinkUnknown {
		t.Errorf("before any word of it the link is %s", s.state.Link.Status)
	}
	step(1102, "link_up", events.LinkUp, false)
	step(1102, "gateway_reported", events.LinkUp, false) // nothing new
	step(1100, "link_down", events.LinkDown, false)
	if s.state.Condition != events.ConditionDegraded {
		t.Errorf("with the link down the connection is %s, want degraded", s.state.Condition)
	}
	step(2110, "gateway_reported", events.LinkDown, false) // down already
	up := find[*events.LinkCameBack](t, step(1101, "link_up", events.LinkUp, true))
	if up.Down != 20_000 || !up.DataLost || up.Code != 1101 {
		t.Errorf("link_up is %+v, want down for 20 s with data lost", up)
	}
	step(1101, "link_up", events.LinkUp, true) // the data is lost once more
	step(2110, "link_down", events.LinkDown, false)
	s.check()

	s.give(s.ended(events.CauseReset))
	if s.state.Link.Status != events.LinkUnknown {
		t.Errorf("without a session the link is %s, want unknown", s.state.Link.Status)
	}
}

func TestFarmsFollowTheirNotices(t *testing.T) {
	s := newStory(t).greet() // farm notices come before the session is ready
	farm := events.Farm{Kind: events.FarmMarketData, Name: "usfarm"}
	step := func(code int, message, want string, status events.FarmStatus) []events.Event {
		t.Helper()
		recorded := s.give(s.noticed(code, message))
		wantEvents(t, message, recorded, want)
		if got := s.state.Farm(farm); got != status {
			t.Errorf("after %d the farm is %s, want %s", code, got, status)
		}
		return recorded
	}
	step(2104, "Market data farm connection is OK:usfarm", "farm_changed", events.FarmUp)
	s.give(s.greeted())
	s.give(s.opened())
	if got := s.state.Farm(farm); got != events.FarmUp {
		t.Errorf("once ready the farm is %s, want what the greeting said", got)
	}
	step(2104, "Market data farm connection is OK:usfarm", "gateway_reported", events.FarmUp)
	changed := find[*events.FarmChanged](t, step(2103, "Market data farm connection is broken:usfarm", "farm_changed", events.FarmDown))
	if changed.From != events.FarmUp || changed.To != events.FarmDown || changed.Farm != farm {
		t.Errorf("farm_changed is %+v", changed)
	}
	if s.state.Condition != events.ConditionDegraded {
		t.Errorf("with a farm down the connection is %s, want degraded", s.state.Condition)
	}
	step(2119, "Market data farm is connecting:usfarm", "farm_changed", events.FarmConnecting)
	step(2108, "Market data farm connection is inactive but should be available upon demand.usfarm", "farm_changed", events.FarmIdle)
	if s.state.Condition != events.ConditionHealthy {
		t.Errorf("with a farm idle the connection is %s, want healthy", s.state.Condition)
	}
	step(2105, "HMDS data farm connection is broken:ushmds", "farm_changed", events.FarmIdle) // another farm
	s.check()
}

func TestALinkNoticeThatListsFarmsMovesThem(t *testing.T) {
	s := newStory(t).open()
	s.give(s.noticed(1102, "Connectivity between IBKR and Trader Workstation has been restored - data maintained. "+
		"All data farms are connected: usfarm; ushmds. The following farms are not connected: usfuture."))
	if got := s.state.Farm(events.Farm{Kind: events.FarmMarketData, Name: "usfuture"}); got != events.FarmDown {
		t.Errorf("the farm called not connected is %s, want down", got)
	}
}

func TestOtherNoticesAreReportedWithTheirMeaning(t *testing.T) {
	s := newStory(t).open()
	recorded := s.give(connector.Noticed{
		Attempt: 1, RequestID: 9, Code: 354, Message: "Requested market data is not subscribed for DU1234567.", ReportedAt: dawn,
	})
	wantEvents(t, "an error", recorded, "gateway_reported")
	e := find[*events.GatewayReported](t, recorded)
	if e.Class != events.ClassEntitlement || e.RequestID != 9 || e.Meaning == "" || !e.ReportedAt.Equal(dawn) ||
		e.Message != "Requested market data is not subscribed for DU***67." {
		t.Errorf("gateway_reported is %+v", e)
	}
	if s.state.Counts.Errors != 1 || s.state.LastError.Code != 354 {
		t.Errorf("errors %d, the last %+v, want this one", s.state.Counts.Errors, s.state.LastError)
	}
	s.give(s.noticed(2100, "account data unsubscribed"))
	if s.state.Counts.Errors != 1 {
		t.Errorf("a notice counts as an error")
	}
}
