package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nuid"

	"ibconn/connector"
	"ibconn/connector/tws"
	"ibconn/events"
)

// trial is one session, opened to look at the gateway. It reads what happens
// as the connector does, by its Decide, so that the two never differ; but its
// events are stored nowhere.
type trial struct {
	policy connector.Policy
	state  events.State
	head   events.Head
	past   []events.Event
	broken error // why an event could not be made; nil as long as all could
}

func newTrial(p connector.Policy) *trial { return &trial{policy: p, state: events.NewState("doctor")} }

// take decides on one input.
func (t *trial) take(in connector.Input, now time.Time) {
	if draft, ok := t.policy.Decide(t.state, in, now); ok {
		t.follow(draft, now)
	}
}

// follow makes the next event of the draft.
func (t *trial) follow(draft events.Draft, now time.Time) {
	r, err := t.head.Next(events.Author{Connection: t.state.Connection, Source: "/ibconn/doctor", NewID: nuid.Next}, draft, now)
	if err != nil {
		t.broken = err
		return
	}
	t.state, t.head, t.past = t.state.Apply(r), t.head.Then(r), append(t.past, r.Event)
}

// run makes the attempt and, if it becomes a session, listens for as long as
// settle says.
func (t *trial) run(parent context.Context, timeout, settle time.Duration) {
	now := time.Now()
	t.follow(events.Draft{Event: &events.EpochBegan{Instance: "doctor", PID: os.Getpid(), Version: version}}, now)
	t.take(connector.Started{}, now)
	t.take(connector.Woke{}, now)
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	limit := time.AfterFunc(timeout, cancel)
	defer limit.Stop()
	session := new(tws.Dialer).Attempt(connector.PlanFor(t.state).Attempt)
	var settled time.Time
	session.Run(ctx, func(in connector.Input) {
		t.take(in, time.Now())
		if _, ok := in.(connector.Opened); ok {
			settled = time.Now().Add(settle)
			plan := connector.PlanFor(t.state)
			if plan.LinkProbe == 0 {
				limit.Reset(settle)
			} else {
				limit.Reset(settle + timeout)
				session.Send(t.policy.LinkProbe(plan.LinkProbe, time.Now()))
			}
		}
		if _, ok := in.(connector.Found); ok {
			limit.Reset(time.Until(settled))
			t.take(connector.Woke{}, time.Now())
		}
		if t.state.Phase == events.PhaseWaiting { // it failed, such as by a 326
			cancel()
		}
	})
	// Of an attempt that ran out of time nobody says how far it had come.
	if late := t.state.Phase == events.PhaseDialing || t.state.Phase == events.PhaseGreeting; late && parent.Err() == nil {
		t.take(connector.Woke{Record: session.Record()}, t.state.Attempt.DeadlineAt)
	}
}

// last returns the newest event of type E.
func last[E events.Event](t *trial) (e E, ok bool) {
	for _, past := range slices.Backward(t.past) {
		if e, ok = past.(E); ok {
			return e, true
		}
	}
	return e, false
}

func (t *trial) port() check {
	if e, ok := last[*events.GatewayReached](t); ok {
		return well("%s accepted after %v", e.Remote, e.Took)
	}
	return t.failure()
}

func (t *trial) greeting() check {
	if e, ok := last[*events.GatewayGreeted](t); ok {
		return well("server version %d after %v", e.ServerVersion, e.Took)
	}
	return t.failure()
}

func (t *trial) clientID(instead string) check {
	if e, ok := last[*events.SessionOpened](t); ok {
		return well("%d was accepted, and the session ready after %v%s", e.ClientID, e.Took, instead)
	}
	c := t.failure()
	c.Found = fmt.Sprintf("%d got no session: %s%s", t.state.Attempt.ClientID, c.Found, instead)
	return c
}

// failure tells how the attempt failed, and what to do about it.
func (t *trial) failure() check {
	e, ok := last[*events.DialFailed](t)
	switch {
	case t.broken != nil:
		return fail(t.broken.Error(), "this is a bug of ibconn: report it")
	case !ok:
		return fail("the trial was called off", "run doctor again")
	}
	found := e.Cause.Sentence()
	if e.Cause == events.CauseRefused {
		found = "nothing listens at " + t.policy.Endpoint
	} else if e.Detail != "" {
		found += " (" + e.Detail + ")"
	}
	return fail(found, adviceOn(e))
}

func adviceOn(e *events.DialFailed) string {
	switch e.Cause {
	case events.CauseRefused:
		return "start IB Gateway, or enable 'ActiveX and Socket Clients' in its API settings, and compare its socket port with --gateway"
	case events.CauseDialTimeout, events.CauseUnreachable, events.CauseNetworkTimeout:
		return "see whether the host is on, and whether a firewall lets this machine through to that port"
	case events.CauseMuteInGreeting:
		return "look at the gateway's window for a login or a dialog; if a port forwarder stands between, see whether the gateway behind it is up"
	case events.CauseClosedInGreeting, events.CauseClosedByGateway, events.CauseReset:
		return "add this machine to 'Trusted IPs' in the gateway's API settings, and look at its window for a dialog; if it let in other client ids, try another --client-id"
	case events.CauseClientIDInUse:
		return "find the program that holds it (another ibconn, a notebook, a script), or wait a minute if one was just killed, or give another --client-id"
	case events.CauseUnsupportedVersion:
		return "update TWS or IB Gateway"
	case events.CauseGarbled:
		return "see what listens there: it does not speak the API; compare the gateway's socket port with --gateway"
	}
	return cmp.Or(events.ReadNotice(e.Code, e.Detail).Advice, "restart the gateway if it lasts")
}

func (t *trial) accounts() check {
	e, _ := last[*events.SessionOpened](t)
	if len(e.Accounts) == 0 {
		return warn("the gateway names none", "see which user is logged in to it")
	}
	return well("%s: %s", plural(uint64(len(e.Accounts)), "account"), strings.Join(e.Accounts, " "))
}

// maxSkew is how far the clocks may be apart; the gateway tells whole seconds.
const maxSkew = 2 * time.Second

func (t *trial) clock() check {
	e, _ := last[*events.SessionOpened](t)
	c := well("reqCurrentTime answered in %v, gateway's clock %+.1f s from ours", e.RTT, float64(e.Skew)/1000)
	if e.Skew.Duration().Abs() > maxSkew {
		c.Status, c.Advice = warned, "let NTP set the clocks of both machines"
	}
	return c
}

func (t *trial) session(settle time.Duration) check {
	if e, ok := last[*events.SessionLost](t); ok {
		return fail(fmt.Sprintf("lost after %v: %s", e.Uptime, e.Cause.Sentence()), "look at the gateway's window and its log")
	}
	return well("stayed for %v", settle)
}

func (t *trial) link() check {
	const look = "the gateway is not logged in or not connected to IB: look at its window"
	h := t.state.Heartbeat.Link
	switch {
	case t.state.Link.Status == events.LinkDown:
		if t.state.Link.Code == 0 {
			return fail("down, though the gateway says nothing of it", look)
		}
		return fail(fmt.Sprintf("down (%d)", t.state.Link.Code), look)
	case !h.AnsweredAt.IsZero():
		return well("IB's servers answered a search for symbols in %v", h.RTT)
	case h.Misses > 0 && h.Code == 0:
		return warn("IB's servers did not answer a search for symbols: "+h.Message, look)
	case h.Misses > 0:
		return warn(fmt.Sprintf("the gateway answered a search for symbols with %d %s", h.Code, h.Message), look)
	case t.policy.LinkProbeEvery == 0:
		return well("the gateway says nothing of a lost link to IB; it was not probed, as --link-probe-every is 0s")
	}
	return warn("the gateway says nothing of a lost link, and IB's servers did not answer a search for symbols in time", look+"; or give them longer with --timeout")
}

func (t *trial) farms() check {
	var down, words []string
	advice := ""
	for _, f := range t.state.Farms {
		words = append(words, fmt.Sprintf("%s %s", f.Farm, f.Status))
		if f.Status == events.FarmDown {
			down = append(down, f.Farm.String())
			advice = events.ReadNotice(f.Code, "").Advice
		}
	}
	if len(down) > 0 {
		return warn("down: "+strings.Join(down, ", "), advice)
	}
	return well("%s", cmp.Or(strings.Join(words, ", "), "the gateway named none"))
}

func (t *trial) notices() check {
	for _, past := range slices.Backward(t.past) {
		if e, ok := past.(*events.GatewayReported); ok && e.Class.Fault() {
			return warn(fmt.Sprintf("%d %s", e.Code, e.Message), events.ReadNotice(e.Code, e.Message).Advice)
		}
	}
	return well("no error among them")
}

// The bus.
