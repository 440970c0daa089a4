package connector_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"ibconn/connector"
	"ibconn/events"
)

func TestValidateNamesEveryValueOutOfRange(t *testing.T) {
	for _, c := range []struct {
		what   string
		change func(*connector.Policy)
		want   []string // parts of the error; none means valid
	}{
		{"the default", func(*connector.Policy) {}, nil},
		{"an IPv6 endpoint", func(p *connector.Policy) { p.Endpoint = "[::1]:4002" }, nil},
		{"the largest client id", func(p *connector.Policy) { p.ClientID = 1<<31 - 2 }, nil},
		{"the shortest heartbeat", func(p *connector.Policy) { p.HeartbeatEvery, p.HeartbeatTimeout = time.Second, time.Second }, nil},
		{"no stability asked for", func(p *connector.Policy) { p.StableAfter = 0 }, nil},
		{"one failure trips", func(p *connector.Policy) { p.BreakerAfter = 1 }, nil},

		{"no endpoint", func(p *connector.Policy) { p.Endpoint = "" }, []string{"gateway"}},
		{"no port", func(p *connector.Policy) { p.Endpoint = "localhost" }, []string{`gateway "localhost"`, "HOST:PORT"}},
		{"an empty port", func(p *connector.Policy) { p.Endpoint = "localhost:" }, []string{`gateway "localhost:"`}},
		{"an empty host", func(p *connector.Policy) { p.Endpoint = ":4002" }, []string{`gateway ":4002"`}},
		{"a negative client id", func(p *connector.Policy) { p.ClientID = -1 }, []string{"client id -1", "2147483646"}},
		{"the library's unset", func(p *connector.Policy) { p.ClientID = 1<<31 - 1 }, []string{"client id 2147483647"}},
		{"no dial timeout", func(p *connector.Policy) { p.DialTimeout = 0 }, []string{"dial timeout 0s"}},
		{"no greeting timeout", func(p *connector.Policy) { p.GreetingTimeout = 0 }, []string{"greeting timeout 0s"}},
		{"ready before greeted", func(p *connector.Policy) { p.ReadyTimeout = p.GreetingTimeout - 1 }, []string{"ready timeout", "at least 10s"}},
		{"probes too close", func(p *connector.Policy) { p.HeartbeatEvery = time.Second - 1 }, []string{"heartbeat 999.999999ms", "at least 1s"}},
		{"answers too fast", func(p *connector.Policy) { p.HeartbeatTimeout = time.Second - 1 }, []string{"heartbeat timeout"}},
		{"no miss allowed", func(p *connector.Policy) { p.HeartbeatMisses = 0 }, []string{"heartbeat misses 0"}},
		{"no backoff", func(p *connector.Policy) { p.BackoffBase = 0 }, []string{"backoff base 0s"}},
		{"a cap below the base", func(p *connector.Policy) { p.BackoffCap = p.BackoffBase - 1 }, []string{"backoff cap", "at least 1s"}},
		{"a negative stability", func(p *connector.Policy) { p.StableAfter = -1 }, []string{"stable after -1ns"}},
		{"no failure trips", func(p *connector.Policy) { p.BreakerAfter = 0 }, []string{"breaker after 0"}},
		{"a probe all the time", func(p *connector.Policy) { p.BreakerProbe = 0 }, []string{"breaker probe 0s"}},
		{"a preset", func(p *connector.Policy) { p.Windows = presets(t, "europe") }, nil},
		{"a window that never opens", func(p *connector.Policy) {
			p.Windows = connector.Windows{{Kind: connector.WindowReset, Length: time.Hour, Zone: time.UTC}}
		}, []string{"window 1: it never opens: want a day at least"}},
		{"a window without a zone", func(p *connector.Policy) {
			p.Windows = connector.Windows{{Kind: connector.WindowReset, Days: 1, Length: time.Hour}}
		}, []string{"window 1: want a zone with a name"}},
		{"a window that never closes", func(p *connector.Policy) {
			p.Windows = connector.Windows{{Kind: connector.WindowReset, Days: 3, Length: 24 * time.Hour, Zone: time.UTC}}
		}, []string{"window 1: length 24h0m0s: it never closes"}},
		{"a window of no length", func(p *connector.Policy) {
			p.Windows = connector.Windows{{Kind: connector.WindowReset, Days: 3, Zone: time.UTC}}
		}, []string{"window 1: length 0s: it never opens"}},
		{"the same window twice", func(p *connector.Policy) {
			p.Windows = append(presets(t, "europe"), presets(t, "asia")...)
		}, []string{`window "weekend Fri 23:00 - Sat 03:00 America/New_York": stands there twice`}},
		{"two at once", func(p *connector.Policy) { p.ClientID, p.DialTimeout = -1, 0 }, []string{"client id -1", "dial timeout 0s"}},
	} {
		p := testPolicy()
		c.change(&p)
		err := p.Validate()
		if (err == nil) != (c.want == nil) {
			t.Errorf("%s: Validate() = %v, want an error: %t", c.what, err, c.want != nil)
			continue
		}
		for _, part := range c.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: Validate() = %q, want %q in it", c.what, err, part)
			}
		}
	}
}

func TestAWindowIsNamedAndHasAPaceOfItsOwn(t *testing.T) {
	for _, c := range []struct {
		window string
		cap    time.Duration // what the longest retry is below
		probe  time.Duration // once the breaker is open
	}{
		{"", time.Minute, time.Minute},
		{"reset daily 06:00-09:00 UTC", 15 * time.Second, 15 * time.Second},
		{"restart daily 06:00-09:00 UTC", 15 * time.Second, 15 * time.Second},
		{"weekend Mon 06:00 - Tue 09:00 UTC", time.Minute, 5 * time.Minute},
		{"reset daily 20:00-21:00 UTC", time.Minute, time.Minute}, // another hour
	} {
		s := newStory(t)
		name := ""
		if c.window != "" {
			w, err := connector.ParseWindow(c.window)
			if err != nil {
				t.Fatal(err)
			}
			s.policy.Windows = connector.Windows{w}
			if w.Contains(s.now) {
				name = w.String()
			}
		}
		s.dial()
		for failures := 1; failures < s.policy.BreakerAfter; failures++ {
			e := find[*events.DialFailed](t, s.give(s.ended(events.CauseRefused)))
			if e.Window != name || e.RetryIn.Duration() > c.cap {
				t.Errorf("%q: failure %d is %+v, want window %q and a retry within %v", c.window, failures, e, name, c.cap)
			}
			if s.state.Phase == events.PhaseWaiting {
				s.passTo(s.state.RetryAt)
			}
		}
		e := find[*events.DialFailed](t, s.give(s.ended(events.CauseRefused)))
		if e.RetryIn.Duration() != c.probe {
			t.Errorf("%q: with the breaker open the retry is in %v, want %v", c.window, e.RetryIn, c.probe)
		}

		s.passTo(s.state.RetryAt)
		s.reopen()
		if down := find[*events.LinkWentDown](t, s.give(s.noticed(1100, "lost"))); down.Window != name {
			t.Errorf("%q: the link goes down in window %q, want %q", c.window, down.Window, name)
		}
		if lost := find[*events.SessionLost](t, s.give(s.ended(events.CauseClosedByGateway))); lost.Window != name {
			t.Errorf("%q: the session is lost in window %q, want %q", c.window, lost.Window, name)
		}
	}
}

func presets(t *testing.T, region string) connector.Windows {
	t.Helper()
	ws, err := connector.Presets(region)
	if err != nil {
		t.Fatal(err)
	}
	return ws
}

func TestWhatValidateFindsNamesItsSetting(t *testing.T) {
	p := testPolicy()
	p.Endpoint, p.Fallbacks, p.ClientID, p.SpareIDs = "nowhere", []string{"h:1", "h:1"}, -1, []int64{-1}
	p.HeartbeatTimeout, p.BackoffCap, p.BreakerAfter = 0, p.BackoffBase-1, 0
	p.Windows = connector.Windows{{}}
	joined, ok := p.Validate().(interface{ Unwrap() []error })
	if !ok {
		t.Fatal("Validate() joins no errors")
	}
	var got []string
	for _, err := range joined.Unwrap() {
		e, ok := errors.AsType[*connector.SettingError](err)
		if !ok {
			t.Fatalf("Validate() has the error %v, want a SettingError", err)
		}
		got = append(got, strings.TrimSuffix(e.Setting+"/"+e.Limit, "/"))
	}
	want := "gateway, fallbacks/gateway, client id, spare client ids, spare client ids/client id, heartbeat timeout, backoff cap/backoff base, breaker after, windows"
	if strings.Join(got, ", ") != want {
		t.Errorf("Validate() finds fault with %s, want %s", strings.Join(got, ", "), want)
	}
}
