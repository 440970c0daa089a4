package connector_test

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ibconn/connector"
	"ibconn/events"
)

var update = flag.Bool("update", false, "rewrite golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is out of date: run go test ./connector -run %s -update and review the difference; it should be\n%s", path, t.Name(), got)
	}
}

// scene is a place in a connection's life, as far as it makes a difference to
// what an input means.
type scene struct {
	name  string
	enter func(*story)
}

// accept puts a command on record without following up: what the log holds
// when the process ends right there.
func accept(s *story, verb events.Verb) {
	s.Helper()
	draft, ok := s.decide(connector.Commanded{ID: "pending", Verb: verb})
	if !ok {
		s.Fatalf("%s is not taken", verb)
	}
	s.record(draft)
}

// miss lets probes go unanswered, until n answers in a row are missed, and
// stops before what follows from that.
func miss(s *story, n int) {
	s.Helper()
	for i := range n {
		s.passTo(connector.PlanFor(s.state).ProbeAt)
		s.now = s.now.Add(s.policy.HeartbeatTimeout)
		if draft, ok := s.decide(s.woke()); ok {
			s.record(draft)
		}
		if i < n-1 {
			s.give(s.woke()) // stale
		}
	}
}

var scenes = []scene{
	{"idle", func(*story) {}},
	{"dialing", dialing},
	{"dialing, breaker open", func(s *story) { s.trip().passTo(s.state.RetryAt) }},
	{"greeting", greeting},
	{"greeting, version known", func(s *story) { s.greet().give(s.greeted()) }},
	{"greeting, breaker open", func(s *story) { s.trip().passTo(s.state.RetryAt); s.give(s.reached()) }},
	{"ready", ready},
	{"ready, link down", func(s *story) { s.open().give(s.noticed(1100, "lost")) }},
	{"ready, answer missed", func(s *story) { s.open(); miss(s, 1) }},
	{"ready, stale", func(s *story) { s.open(); miss(s, 1); s.give(s.woke()); s.pass(0) }},
	{"ready, stale and answered", func(s *story) {
		s.open()
		miss(s, 1)
		s.give(s.woke())
		s.pass(0)
		draft, _ := s.decide(s.answered(2))
		s.record(draft)
	}},
	{"ready, last answer allowed missed", func(s *story) { s.open(); miss(s, s.policy.HeartbeatMisses) }},
	{"ready, breaker open", func(s *story) {
		s.trip().passTo(s.state.RetryAt)
		s.give(s.reached())
		s.give(s.greeted())
		draft, _ := s.decide(s.opened())
		s.record(draft)
	}},
	{"ready, link unproven", func(s *story) { probed(s) }},
	{"ready, link probe answered", func(s *story) {
		probed(s).pass(0)
		draft, _ := s.decide(s.found(1))
		s.record(draft)
	}},
	{"ready, last link probe allowed missed", func(s *story) {
		probed(s)
		for n := range uint64(s.policy.LinkProbeMisses) {
			s.passTo(connector.PlanFor(s.state).LinkProbeAt)
			in := s.noticed(322, "no").(connector.Noticed)
			in.RequestID = linkProbeID(n + 1)
			draft, _ := s.decide(in)
			s.record(draft)
		}
	}},
	{"ready, competing session", func(s *story) { s.open().give(s.noticed(10197, "competing")) }},
	{"ready, competing session of long ago", func(s *story) {
		s.open().give(s.noticed(10197, "competing"))
		s.state.Competing.LastAt = s.now.Add(-s.policy.CompetingFor)
	}},
	{"ready, budget cut", func(s *story) { s.open().give(s.noticed(100, "too fast")) }},
	{"ready, reconnect accepted", func(s *story) { s.open(); accept(s, events.VerbReconnect) }},
	{"ready, disconnect accepted", func(s *story) { s.open(); accept(s, events.VerbDisconnect) }},
	{"ready, reconnect begun", func(s *story) {
		s.open().command("pending", events.VerbReconnect)
		s.give(s.reached())
		s.give(s.greeted())
		draft, _ := s.decide(s.opened())
		s.record(draft)
	}},
	{"ready, connect accepted", func(s *story) { s.open(); accept(s, events.VerbConnect) }},
	{"ready, control command accepted", func(s *story) { s.open(); accept(s, events.VerbReconnectData) }},
	{"ready, control command begun", func(s *story) { s.open().command("pending", events.VerbReconnectData) }},
	{"ready, control command begun, another accepted", func(s *story) {
		s.open().command("begun", events.VerbReconnectData)
		accept(s, events.VerbRestartGateway)
	}},
	{"ready, control command begun by a process that is gone", func(s *story) {
		s.open().command("pending", events.VerbReconnectData)
		s.controlling = ""
		s.claim()
	}},
	{"waiting", waiting},
	{"waiting, failures at the limit", func(s *story) {
		waiting(s)
		s.state.Failures = s.policy.BreakerAfter
	}},
	{"waiting, breaker open", func(s *story) {
		s.trip()
		draft, _ := s.decide(connector.Started{})
		s.record(draft)
	}},
	{"waiting, gateway mute for long", func(s *story) { waiting(s); muteLong(s) }},
	{"waiting, connect accepted", func(s *story) { waiting(s); accept(s, events.VerbConnect) }},
	{"tripped", tripped},
	{"tripped, gateway mute for long", func(s *story) { tripped(s); muteLong(s) }},
	{"tripped, control command accepted", func(s *story) { s.trip(); accept(s, events.VerbRestartGateway) }},
	{"tripped, control command begun", func(s *story) { s.trip().command("pending", events.VerbRestartGateway) }},
	{"tripped, connect accepted", func(s *story) { s.trip(); accept(s, events.VerbConnect) }},
	{"tripped, connect begun", func(s *story) {
		s.trip().command("pending", events.VerbConnect)
		draft, _ := s.decide(s.ended(events.CauseRefused))
		s.record(draft)
	}},
	{"stopped by command", stopped},
	{"stopped by command, connect accepted", func(s *story) { stopped(s); accept(s, events.VerbConnect) }},
	{"stopped by command, disconnect accepted", func(s *story) { stopped(s); accept(s, events.VerbDisconnect) }},
	{"stopped by command, connect begun", func(s *story) {
		s.dial().command("begun", events.VerbConnect)
		accept(s, events.VerbDisconnect)
		draft, _ := s.decide(s.woke())
		s.record(draft)
	}},
	{"idle, budget cut", func(s *story) { cut100(s) }},
	{"dialing, budget cut", func(s *story) { dialing(s); cut100(s) }},
	{"greeting, budget cut", func(s *story) { greeting(s); cut100(s) }},
	{"waiting, budget cut", func(s *story) { waiting(s); cut100(s) }},
	{"tripped, budget cut", func(s *story) { tripped(s); cut100(s) }},
	{"stopped, budget cut", func(s *story) { stopped(s); cut100(s) }},
	{"stopped by command, control command accepted", func(s *story) { stopped(s); accept(s, events.VerbRestartGateway) }},
	{"stopped by command, control command begun", func(s *story) { stopped(s); s.command("pending", events.VerbRestartGateway) }},
	{"stopped by shutdown", func(s *story) { s.open().give(connector.ShutDown{Reason: "terminated"}) }},
}

// muteLong lets the gateway have been mute for as long as a person is called after.
func muteLong(s *story) { s.state.Gateway.MuteSince = s.now.Add(-s.policy.LoginAfter) }

// cut100 cuts the message budget until now.
func cut100(s *story) {
	s.state.Pacing = events.Pacing{PerSecond: 20, Since: s.now.Add(-time.Minute), CutAt: s.now.Add(-time.Minute), Until: s.now}
}

// probed brings the story to a session whose link is probed.
func probed(s *story) *story {
	s.Helper()
	s.policy.LinkProbeEvery = 5 * time.Minute
	return s.open()
}

// cue is an input as it comes in a scene.
type cue struct {
	name string
	in   func(*story) connector.Input
}

// stale makes a cue about the attempt before.
func stale(name string, in func(*story) connector.Input) cue {
	return cue{name + ", of an attempt given up", func(s *story) connector.Input {
		now := s.state
		defer func() { s.state = now }()
		s.state.Attempt.Number += 1000
		return in(s)
	}}
}

func notice(code int, text string) func(*story) connector.Input {
	return func(s *story) connector.Input { return s.noticed(code, text) }
}

func ended(cause events.Cause) func(*story) connector.Input {
	return func(s *story) connector.Input { return s.ended(cause) }
}

func answered(behind uint64) func(*story) connector.Input {
	return func(s *story) connector.Input { return s.answered(s.state.Heartbeat.Number + 1 - behind) }
}

func commanded(verb events.Verb) func(*story) connector.Input {
	return func(*story) connector.Input { return connector.Commanded{ID: "c1", Verb: verb} }
}

// wokeAt wakes the connection that long after its next deadline, or now when
// it has none.
func wokeAt(d time.Duration, heard bool) func(*story) connector.Input {
	return func(s *story) connector.Input {
		plan := connector.PlanFor(s.state)
		switch {
		case plan.Probe != 0:
			s.probed = plan.Probe
			s.probedAt = plan.ProbeAt
			s.now = plan.ProbeAt.Add(s.policy.HeartbeatTimeout + d)
			s.asked, s.askedAt = plan.LinkProbe, plan.LinkProbeAt
		case !plan.WakeAt.IsZero():
			s.now = plan.WakeAt.Add(d)
		}
		if heard {
			s.heard = s.now
		}
		return s.woke()
	}
}

var cues = []cue{
	{"woke before the deadline", wokeAt(-1, false)},
	{"woke at the deadline", wokeAt(0, false)},
	{"woke after the deadline", wokeAt(time.Hour, false)},
	{"woke after the deadline, other bytes heard", wokeAt(time.Hour, true)},
	{"started", func(s *story) connector.Input { return connector.Started{LastEventAt: s.now} }},
	{"shut down", func(*story) connector.Input { return connector.ShutDown{Reason: "terminated"} }},
	{"reached", (*story).reached},
	stale("reached", (*story).reached),
	{"greeted", (*story).greeted},
	stale("greeted", (*story).greeted),
	{"opened", (*story).opened},
	stale("opened", (*story).opened),
	{"ended, refused", ended(events.CauseRefused)},
	{"ended, closed by gateway", ended(events.CauseClosedByGateway)},
	stale("ended", ended(events.CauseReset)),
	{"answered, the probe that is owed", answered(0)},
	{"answered, the probe before it", answered(1)},
	{"answered, an older probe", answered(2)},
	stale("answered", answered(0)),
	{"link probe answered", func(s *story) connector.Input { return s.found(s.state.Heartbeat.Link.Number + 1) }},
	{"link probe answered late", func(s *story) connector.Input { return s.found(s.state.Heartbeat.Link.Number) }},
	stale("link probe answered", func(s *story) connector.Input { return s.found(1) }),
	{"link probe answered with an error", func(s *story) connector.Input {
		in := s.noticed(322, "no").(connector.Noticed)
		in.RequestID = linkProbeID(s.state.Heartbeat.Link.Number + 1)
		return in
	}},
	{"link probe not sent", func(s *story) connector.Input {
		return connector.Passed{Attempt: s.state.Attempt.Number, ID: linkProbeID(s.state.Heartbeat.Link.Number + 1), Outcome: connector.OutcomeFull}
	}},
	{"noticed 10197, competing session", notice(10197, "competing")},
	{"noticed 100, too fast", notice(100, "too fast")},
	{"noticed 326, client id in use", notice(326, "in use")},
	{"noticed 503, gateway too old", notice(503, "too old")},
	{"noticed 504, the library's word", notice(504, "not connected")},
	{"noticed 1100, link lost", notice(1100, "lost")},
	{"noticed 1101, link back, data lost", notice(1101, "back")},
	{"noticed 1102, link back, data kept", notice(1102, "back")},
	{"noticed 1300, port changed", notice(1300, "Please reconnect on the new port - 4003")},
	{"noticed 2103, farm down", notice(2103, "Market data farm connection is broken:usfarm")},
	{"noticed 162, pacing", notice(162, "pacing violation")},
	{"noticed 77777, not in the table", notice(77777, "new")},
	stale("noticed 1100", notice(1100, "lost")),
	stale("noticed 326", notice(326, "in use")),
	{"refused by the safety catch", func(*story) connector.Input { return connector.Refused{Attempt: 1, MessageID: 3} }},
	{"abandoned", func(*story) connector.Input { return connector.Abandoned{Attempt: 1} }},
	{"clock jumped ahead", func(*story) connector.Input { return connector.Jumped{By: time.Hour} }},
	{"clock went back", func(*story) connector.Input { return connector.Jumped{By: -time.Hour} }},
	{"damaged", func(*story) connector.Input {
		return connector.Damaged{Damage: events.LogDamaged{Finding: events.FindingGap}}
	}},
	{"commanded to connect", commanded(events.VerbConnect)},
	{"commanded to reconnect", commanded(events.VerbReconnect)},
	{"commanded to disconnect", commanded(events.VerbDisconnect)},
	{"commanded to restart the gateway", commanded(events.VerbRestartGateway)},
	{"IBC said yes", func(s *story) connector.Input { return s.controlled("RESTART in progress") }},
	{"IBC said no", func(s *story) connector.Input {
		return s.refused(events.ErrorGatewayRefused, "RESTART already in progress")
	}},
	{"IBC said yes to another command", func(*story) connector.Input {
		return connector.Controlled{CommandID: "another", Said: "RESTART in progress"}
	}},
	{"commanded the same again", func(*story) connector.Input {
		return connector.Commanded{ID: "pending", Verb: events.VerbConnect}
	}},
}

// row says what one input means in one scene.
type row struct {
	scene, cue string
	from, to   events.Phase
	event      string // "" for none
}

func tabulate(t testing.TB) []row {
	var rows []row
	for _, sc := range scenes {
		entered := newStory(t)
		sc.enter(entered)
		for _, c := range cues {
			s := entered.fork()
			r := row{scene: sc.name, cue: c.name, from: s.state.Phase}
			if draft, ok := s.decide(c.in(s)); ok {
				r.event = s.record(draft).Event.Type().What()
			}
			r.to = s.state.Phase
			rows = append(rows, r)
		}
	}
	return rows
}

func TestTransitions(t *testing.T) {
	rows := tabulate(t)
	golden(t, "transitions.txt", transitionsText(rows))
	table := transitionsMarkdown(rows)
	golden(t, "transitions.md", table)
	checkReadme(t, table)
}

func TestEveryPhaseAndEveryStateEventOfASessionIsInTheTable(t *testing.T) {
	phases, seen := map[events.Phase]bool{}, map[string]bool{}
	for _, r := range tabulate(t) {
		phases[r.from] = true
		seen[r.event] = true
	}
	for _, p := range events.Phases {
		if !phases[p] {
			t.Errorf("no scene plays in %s", p)
		}
	}
	for _, typ := range events.Types() {
		claim := typ.Kind() == events.KindClaimed
		outcome := typ.What() == "rejected" || typ.What() == "gateway_repeated" || typ.Kind() == events.KindSubscription
		if !seen[typ.What()] && !claim && !outcome {
			t.Errorf("no row leads to %s", typ)
		}
	}
}

// TestTheTableIsWhatIsLegal holds events.Legal, which says of any log whether it can be,
// against what the policy decides. That each row is legal the story says.
func TestTheTableIsWhatIsLegal(t *testing.T) {
	type move struct {
		from  events.Phase
		event events.Type
		to    events.Phase
	}
	seen := map[move]bool{}
	for _, r := range tabulate(t) {
		seen[move{r.from, events.Type("ib.conn." + string(events.KindState) + "." + r.event), r.to}] = true
	}
	for _, typ := range events.Types() {
		if typ.Kind() != events.KindState {
			continue
		}
		for _, from := range events.Phases {
			for _, to := range events.Moves(from, typ) {
				if m := (move{from, typ, to}); !seen[m] {
					t.Errorf("it is legal that %s leads from %s to %s, and no row of the table does", typ, from, to)
				}
			}
		}
	}
}

// transitionsText prints the rows of the first scene in each phase, and of the
// others in that phase those that differ from it.
func transitionsText(rows []row) []byte {
	var b bytes.Buffer
	b.WriteString("# What each input means in each phase: phase | input | event | next phase.\n" +
		"# One input leads to at most one event; what follows from that is a row of its own.\n" +
		"# Of \"ready, stale\" and the like there are the rows that differ from \"ready\".\n" +
		"# Written by go test ./connector -run TestTransitions -update.\n")
	type key struct {
		from events.Phase
		cue  string
	}
	plain := map[key]row{}
	scene := ""
	for _, r := range rows {
		k := key{r.from, r.cue}
		first, known := plain[k]
		if !known {
			plain[k] = r
		}
		if known && first.event == r.event && first.to == r.to {
			continue
		}
		if scene != r.scene {
			b.WriteByte('\n')
			scene = r.scene
		}
		fmt.Fprintf(&b, "%s | %s | %s | %s\n", r.scene, r.cue, cmp.Or(r.event, "-"), r.to)
	}
	return b.Bytes()
}

// transitionsMarkdown prints which events lead from phase to phase.
func transitionsMarkdown(rows []row) []byte {
	causes := map[[2]events.Phase][]string{}
	for _, r := range rows {
		way := [2]events.Phase{r.from, r.to}
		if event := "`" + r.event + "`"; r.from != r.to && !slices.Contains(causes[way], event) {
			causes[way] = append(causes[way], event)
		}
	}
	var b bytes.Buffer
	b.WriteString("| from | to | by |\n|---|---|---|\n")
	for _, from := range events.Phases {
		for _, to := range events.Phases {
			if by := causes[[2]events.Phase{from, to}]; by != nil {
				slices.Sort(by)
				fmt.Fprintf(&b, "| %s | %s | %s |\n", from, to, strings.Join(by, ", "))
			}
		}
	}
	return b.Bytes()
}

// The table stands in the README between these.
const (
	tableBegins = "<!-- transitions -->\n"
	tableEnds   = "<!-- /transitions -->"
)

func checkReadme(t *testing.T, table []byte) {
	t.Helper()
	const path = "../README.md"
	readme, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	before, rest, opened := bytes.Cut(readme, []byte(tableBegins))
	_, after, closed := bytes.Cut(rest, []byte(tableEnds))
	if !opened || !closed {
		t.Errorf("%s has no section between %q and %q", path, tableBegins, tableEnds)
		return
	}
	want := slices.Concat(before, []byte(tableBegins), table, []byte(tableEnds), after)
	if bytes.Equal(readme, want) {
		return
	}
	if !*update {
		t.Errorf("the transition table in %s is out of date: run go test ./connector -run %s -update", path, t.Name())
		return
	}
	if err := os.WriteFile(path, want, 0o644); err != nil {
		t.Fatal(err)
	}
}
