package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"ibconn/bus"
	"ibconn/connector"
	"ibconn/connector/tws"
	"ibconn/events"
	"ibconn/testenv/gateway"
)

// quick is what a file for tests begins with: everything as fast as it can be.
const quick = "heartbeat: 1s\nheartbeat-timeout: 1s\nbackoff-base: 50ms\nbackoff-cap: 200ms\nbreaker-probe: 200ms\n"

// fileArgs are the arguments of an "ibconn run" with a configuration file.
func fileArgs(t testing.TB, dir, text string, more ...string) []string {
	return append([]string{
		"run", "--listen", "127.0.0.1:0", "--http", "off", "--log-format", "json", "--data", dir, "--config", configured(t, quick+text),
	}, more...)
}

// statusOf asks what is true of a connection or a pool now; ok says whether
// anybody answered.
func (p *program) statusOf(name events.ConnectionID) (a events.Answer, ok bool) {
	p.t.Helper()
	a, err := bus.Ask(p.t.Context(), p.nc, name, events.VerbStatus, events.Request{})
	if _, nobody := errors.AsType[*bus.NobodyError](err); nobody {
		return a, false
	}
	if err != nil || !a.OK {
		p.t.Fatalf("status of %s = %+v, %v, want an answer", name, a, err)
	}
	return a, true
}

// becomes waits until a connection or a pool is in a condition, and returns the
// answer that said so.
func (p *program) becomes(name events.ConnectionID, want events.Condition) (last events.Answer) {
	p.t.Helper()
	within(p.t, fmt.Sprintf("%s %s", name, want), func() bool {
		a, ok := p.statusOf(name)
		last = a
		return ok && (a.State != nil && a.State.Condition == want || a.Pool != nil && a.Pool.Condition == want)
	})
	return last
}

// pools follows what is published of a pool.
func (p *program) pools(name events.ConnectionID) *nats.Subscription {
	p.t.Helper()
	sub, err := p.nc.SubscribeSync(events.PoolSubject(name))
	if err == nil {
		err = p.nc.Flush()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return sub
}

// published waits until a pool in the wanted condition is published.
func published(t testing.TB, sub *nats.Subscription, want events.Condition) events.Pool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), liveness)
	defer cancel()
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			t.Fatalf("%s was not published on %s: %v", want, sub.Subject, err)
		}
		var pool events.Pool
		if err := json.Unmarshal(m.Data, &pool); err != nil {
			t.Fatalf("%s has %s: %v", sub.Subject, m.Data, err)
		}
		if pool.Condition == want {
			return pool
		}
	}
}

// attempts returns how many attempts each of the connections has made.
func (p *program) attempts(names ...events.ConnectionID) string {
	p.t.Helper()
	var b strings.Builder
	for _, c := range names {
		a, ok := p.statusOf(c)
		if !ok {
			p.t.Fatalf("nobody answers for %s", c)
		}
		fmt.Fprintf(&b, "%s %d ", c, a.State.Counts.Attempts)
	}
	return b.String()
}

// foldOf is fold for one connection of several.
func foldOf(t testing.TB, all []bus.Entry, c events.ConnectionID) events.State {
	t.Helper()
	state, head := events.NewState(c), events.Head{}
	for _, e := range all {
		if e.Connection != c {
			continue
		}
		if err := head.Follows(e.Recorded); err != nil {
			t.Fatalf("message %d of %s: %v", e.StreamSeq, c, err)
		}
		if damage, ok := e.Event.(*events.LogDamaged); ok {
			t.Errorf("message %d: the log of %s was found damaged: %s", e.StreamSeq, c, damage.Detail)
		}
		state, head = state.Apply(e.Recorded), head.Then(e.Recorded)
	}
	return state
}

func TestAPoolAndAConnectionLiveAndFailApart(t *testing.T) {
	noLeaks(t)
	one, other := gateway.Start(t, simulated), gateway.Start(t, simulated)
	dir := t.TempDir()
	p := startRun(t, fileArgs(t, dir, fmt.Sprintf("connections:\n  lone: {gateway: \"%s\", client-id: 5}\npool: {gateway: \"%s\", client_ids: 20-22}\n", other.Addr(), one.Addr())))
	if line := p.out.find(t, `(\{[^\n]*bus is up[^\n]*)`); !containsAll(line, `"connections":"lone, main-20, main-21, main-22"`, `"pool":"main"`, one.Addr(), other.Addr()) {
		t.Errorf("run begins with %s, want every connection, the pool and both gateways", line)
	}
	p.becomes("main", events.ConditionHealthy)
	p.becomes("lone", events.ConditionHealthy)
	sub := p.pools("main")

	t.Run("status", func(t *testing.T) {
		out := cliOK(t, "status", "--nats", p.url, "--connection", "main", "--check")
		if want := "main: healthy (pool: 3 of 3 healthy, 3 ready)\n  member     main-20: healthy (ready)\n  member     main-21: healthy (ready)\n  member     main-22: healthy (ready)\n"; out != want {
			t.Errorf("status of the pool is\n%s\nwant\n%s", out, want)
		}
		out = cliOK(t, "status", "--nats", p.url, "--check")
		if !containsAll(out, "lone: healthy (ready for", "main: healthy (pool: ", "main-20: healthy (ready for", "main-22: healthy (ready for") {
			t.Errorf("status of everything is\n%s\nwant the pool and each connection", out)
		}
		out = cliOK(t, "status", "--nats", p.url, "--connection", "main", "--json")
		validate(t, events.SchemaAnswer, []byte(out))
		var all []json.RawMessage
		if err := json.Unmarshal([]byte(cliOK(t, "status", "--nats", p.url, "--json")), &all); err != nil || len(all) != 5 {
			t.Errorf("status --json of everything has %d answers, %v, want 5", len(all), err)
		}
		for _, a := range all {
			validate(t, events.SchemaAnswer, a)
		}
	})

	t.Run("a command to one", func(t *testing.T) {
		before := p.attempts("main-21", "main-22", "lone")
		out := cliOK(t, "reconnect", "--nats", p.url, "--connection", "main-20", "--wait", "20s")
		if !containsAll(out, "reconnect main-20: completed") {
			t.Errorf("reconnect says %q, want it completed", out)
		}
		cliOK(t, "disconnect", "--nats", p.url, "--connection", "main-20", "--wait", "20s")
		if after := p.attempts("main-21", "main-22", "lone"); after != before {
			t.Errorf("after reconnect and disconnect of main-20 the attempts of the others are %s, want %s as before", after, before)
		}
		within(t, "a pool of two", func() bool {
			a, _ := p.statusOf("main")
			return a.Pool.Condition == events.ConditionHealthy && a.Pool.Wanted == 2
		})
		out = cliOK(t, "status", "--nats", p.url, "--connection", "main", "--check")
		if !containsAll(out, "main: healthy (pool: 2 of 3 healthy, 2 ready, 1 disconnected by command)", "main-20: stopped (stopped)") {
			t.Errorf("status of the pool is\n%s\nwant it healthy without main-20", out)
		}
		exit, _, text := cli(t, "reconnect", "--nats", p.url, "--connection", "main")
		if exit != exitFailed || !containsAll(text, `"main" is a pool and takes no command "reconnect"`, "its connections are main-20, main-21, main-22") {
			t.Errorf("reconnect of the pool = exit code %d, %q, want 1 and its connections", exit, text)
		}
		cliOK(t, "connect", "--nats", p.url, "--connection", "main-20", "--wait", "20s")
		within(t, "a pool of three", func() bool {
			a, _ := p.statusOf("main")
			return a.Pool.Healthy == 3
		})
	})

	t.Run("watch", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var out, errs output
		ended := make(chan int, 1)
		go func() {
			ended <- execute(ctx, []string{"watch", "--nats", p.url, "--connection", "main", "--since", "1h"}, console{Out: &out, Err: &errs})
		}()
		for _, c := range []string{"main-20", "main-21", "main-22"} {
			out.find(t, "("+c+" +session open after )")
		}
		cancel()
		if exit := <-ended; exit != exitDone || strings.Contains(out.String(), "lone") {
			t.Errorf("watch of the pool = exit code %d, %q,\n%s\nwant its members alone", exit, errs.String(), out.String())
		}
	})

	t.Run("a notice to one", func(t *testing.T) {
		one.Error(-1, 1100, "Connectivity between IBKR and Trader Workstation has been lost.", 21)
		pool := published(t, sub, events.ConditionDegraded)
		for len(pool.Reasons) == 0 || pool.Reasons[0].What != string(events.LinkDown) {
			pool = published(t, sub, events.ConditionDegraded) // those of the commands before
		}
		if len(pool.Reasons) != 1 || pool.Reasons[0].Connection != "main-21" || pool.Ready != 3 || pool.Healthy != 2 {
			t.Errorf("published is %+v, want it degraded because of main-21's link", pool)
		}
		if exit, out, _ := cli(t, "status", "--nats", p.url, "--connection", "main", "--check"); exit != exitUnhealthy || !containsAll(out, "because    main-21: link down for ") {
			t.Errorf("status --check of the pool = exit code %d,\n%s\nwant 4 and the reason", exit, out)
		}
		one.Error(-1, 1102, "Connectivity between IBKR and Trader Workstation has been restored - data maintained.", 21)
		published(t, sub, events.ConditionHealthy)
	})

	t.Run("one gateway dies", func(t *testing.T) {
		before := p.attempts("lone")
		if err := one.Refuse(true); err != nil {
			t.Fatal(err)
		}
		one.Reset()
		pool := published(t, sub, events.ConditionDown)
		if pool.Ready != 0 || pool.Wanted != 3 || len(pool.Reasons) != 3 {
			t.Errorf("published is %+v, want none of three ready, and why", pool)
		}
		p.becomes("main", events.ConditionDown)
		if a := p.becomes("lone", events.ConditionHealthy); a.State.Counts.Losses != 0 || p.attempts("lone") != before {
			t.Errorf("lone lost %d sessions, want the other gateway untouched", a.State.Counts.Losses)
		}
		if exit, _, _ := cli(t, "status", "--nats", p.url, "--check"); exit != exitUnhealthy {
			t.Errorf("status --check of everything = exit code %d, want 4", exit)
		}
		if err := one.Refuse(false); err != nil {
			t.Fatal(err)
		}
		published(t, sub, events.ConditionHealthy)
	})

	p.stop()
	all := stored(t, dir)
	for _, c := range []events.ConnectionID{"lone", "main-20", "main-21", "main-22"} {
		if s := foldOf(t, all, c); s.Phase != events.PhaseStopped || !s.Wanted {
			t.Errorf("%s is %s in the log, want it stopped and wanted at the next start", c, s.Phase)
		}
	}
	inOrder(t, p.out.String(), all)
}

// inOrder holds what a run has printed against what it has stored: each event
// that is not debugging once, in the order of the log.
func inOrder(t *testing.T, printed string, all []bus.Entry) {
	t.Helper()
	var got, want []string
	for line := range strings.Lines(printed) {
		var l struct {
			Connection, Event string
			Sequence          uint64
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("run prints %q: %v", line, err)
		}
		if l.Event != "" {
			got = append(got, fmt.Sprint(l.Connection, " ", l.Sequence, " ", l.Event))
		}
	}
	for _, e := range all {
		if typ := e.Event.Type(); !events.Routine(e.Recorded) {
			want = append(want, fmt.Sprintf("%s %d %s.%s", e.Connection, e.Sequence, typ.Kind(), typ.What()))
		}
	}
	if len(got) != len(want) {
		t.Fatalf("run prints %d events, want the %d stored", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("run prints %s as event %d, want %s", got[i], i+1, want[i])
		}
	}
}

// overtake runs a connection as another process would, over the bus, until it is
// told to end.
func (p *program) overtake(c events.ConnectionID, policy connector.Policy) (end func()) {
	p.t.Helper()
	writer, err := p.log.Writer(c, p.t.TempDir())
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(p.t.Context())
	ended := make(chan error, 1)
	go func() {
		for {
			r := &connector.Runner{
				Connection: c, Policy: policy, Log: writer, Dialer: &tws.Dialer{}, Instance: "other", Version: version, PID: os.Getpid(), NewID: nuid.Next,
			}
			err := r.Run(ctx)
			// Who writes between our reading and our claim wins that race.
			if errors.Is(err, events.ErrSuperseded) && r.State().Instance != r.Instance {
				continue
			}
			ended <- err
			return
		}
	}()
	wait(p, 0, func(e *events.EpochBegan) bool { return e.Instance == "other" })
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			p.t.Errorf("the other writer of %s ended with %v, want its end", c, err)
		}
	})
}

func TestOneThatIsOvertakenEndsAlone(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	dir := t.TempDir()
	p := startRun(t, fileArgs(t, dir, fmt.Sprintf("gateway: \"%s\"\npool: {client_ids: 20-22}\n", gw.Addr())))
	p.becomes("main", events.ConditionHealthy)
	before := p.attempts("main-20", "main-22")

	policy := quickPolicy(gw.Addr())
	policy.ClientID, policy.ClientIDWait = 21, 100*time.Millisecond
	end := p.overtake("main-21", policy)
	t.Cleanup(end)
	within(t, "the end of main-21's commands", func() bool { _, ok := p.statusOf("main-21"); return !ok })
	if line := p.out.find(t, `(\{[^\n]*the others go on[^\n]*)`); !containsAll(line, `"level":"warn"`, `"connection":"main-21"`, "another writer took the connection") {
		t.Errorf("run says %s, want that another writer took main-21", line)
	}
	if after := p.attempts("main-20", "main-22"); after != before {
		t.Errorf("the attempts of the others are %s, want %s as before", after, before)
	}
	// The pool follows the log, whoever writes it.
	wait(p, 0, func(e *events.SessionOpened) bool { return e.ClientID == 21 && e.Attempt > 1 })
	p.becomes("main", events.ConditionHealthy)
	end()
	within(t, "a pool that misses main-21", func() bool {
		a, _ := p.statusOf("main")
		return a.Pool.Condition == events.ConditionDegraded && len(a.Pool.Reasons) == 1 && a.Pool.Reasons[0].Connection == "main-21" && a.Pool.Wanted == 3
	})
	p.stop()
	all := stored(t, dir)
	for c, instance := range map[events.ConnectionID]bool{"main-20": false, "main-21": true, "main-22": false} {
		if s := foldOf(t, all, c); (s.Instance == "other") != instance || s.Phase != events.PhaseStopped {
			t.Errorf("the log of %s ends %s, with %s", c, s.Phase, s.Instance)
		}
	}
}

func TestARunWhoseConnectionsAreAllOvertakenEndsAsSuperseded(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	p := startRun(t, fileArgs(t, t.TempDir(), fmt.Sprintf("gateway: \"%s\"\nconnections:\n  a: {client-id: 1}\n  b: {client-id: 2}\n", gw.Addr())))
	p.becomes("a", events.ConditionHealthy)
	p.becomes("b", events.ConditionHealthy)
	for i, c := range []events.ConnectionID{"a", "b"} {
		at := p.position()
		writer, err := p.log.Writer(c, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		takeFrom(t, writer, c)
		if i == 0 {
			wait(p, at, func(e *events.EpochBegan) bool { return e.Instance == "other" })
			within(t, "the end of a", func() bool { _, ok := p.statusOf("a"); return !ok })
			p.becomes("b", events.ConditionHealthy)
		}
	}
	if exit := p.exit(); exit != exitSuperseded || !containsAll(p.err.String(), "connector b: ", "another writer took the connection") {
		t.Errorf("run with both overtaken = exit code %d, %q, want 3 and why", exit, p.err.String())
	}
	left(t, gw)
}

// takeFrom claims a connection, and does nothing with it.
func takeFrom(t testing.TB, writer *bus.Writer, c events.ConnectionID) {
	t.Helper()
	author := events.Author{Connection: c, Source: "/ibconn/other", NewID: nuid.Next}
	within(t, "claim of "+string(c), func() bool {
		var head events.Head
		for r, err := range writer.Load(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			head = head.Then(r)
		}
		r, err := head.Next(author, events.Draft{Event: &events.EpochBegan{Instance: "other", PID: os.Getpid(), PreviousEpoch: head.Epoch}}, time.Now())
		if err == nil {
			err = writer.Claim(t.Context(), r)
		}
		if err != nil && !errors.Is(err, events.ErrSuperseded) {
			t.Fatal(err)
		}
		return err == nil
	})
}

func TestThirtyTwoConnectionsOfOneGatewayComeUpSurviveAResetAndEndInTime(t *testing.T) {
	noLeaks(t)
	config := simulated
	config.MaxRate = 50 // IB's, for an account with 100 lines
	gw := gateway.Start(t, config)
	dir := t.TempDir()
	p := startProcess(t, fileArgs(t, dir, fmt.Sprintf("gateway: \"%s\"\npool: {client_ids: 1-32}\n", gw.Addr())))
	if a := p.becomes("main", events.ConditionHealthy); a.Pool.Healthy != maxClients {
		t.Fatalf("the pool is healthy with %d connections, want %d", a.Pool.Healthy, maxClients)
	}
	if n := gw.Reset(); n != maxClients {
		t.Errorf("%d sessions were reset, want %d", n, maxClients)
	}
	within(t, "32 sessions each lost and opened again", func() bool {
		a, _ := p.statusOf("main")
		return a.Pool.Healthy == maxClients && gw.Stats().Started >= 2*maxClients
	})
	// After endWithin it would be exitFailed.
	p.stop()
	left(t, gw)
	if s := gw.Stats(); s.Breaches != 0 {
		t.Errorf("%d messages were too many for the gateway, %d in one second, want none", s.Breaches, s.BusiestSecond)
	} else {
		t.Logf("the busiest second saw %d messages of 50", s.BusiestSecond)
	}
	all := stored(t, dir)
	for id := 1; id <= maxClients; id++ {
		s := foldOf(t, all, memberName("main", int64(id)))
		if s.Phase != events.PhaseStopped || !s.Wanted || s.Counts.Sessions != 2 || s.Counts.Losses != 1 {
			t.Errorf("%s ends %s after %d sessions and %d losses, want it stopped after 2 and 1", s.Connection, s.Phase, s.Counts.Sessions, s.Counts.Losses)
		}
	}
}

func TestOnATerminalEachOfSeveralConnectionsIsNamed(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	for text, named := range map[string]bool{"connections: {alpha: {client-id: 1}, beta: {client-id: 2}}\n": true, "connections: {alpha: {client-id: 1}}\n": false} {
		var out, errs output
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan int, 1)
		args := fileArgs(t, t.TempDir(), text, "--gateway", gw.Addr(), "--log-format", "auto")
		go func() { ended <- execute(ctx, args, console{Out: &out, Err: &errs, Terminal: true}) }()
		if line := out.find(t, "([^\n]*session open after [^\n]*)\n"); strings.Contains(line, "a ") != named {
			t.Errorf("with %q run prints %q, want the connection named: %t", text, line, named)
		}
		cancel()
		if exit := <-ended; exit != exitDone {
			t.Errorf("exit code of run = %d, %q, want 0", exit, errs.String())
		}
	}
}

func TestStatusOfWhatThereIsAndOfNothing(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr(), "--connection", "solo"))
	p.becomes("solo", events.ConditionHealthy)
	if out := cliOK(t, "status", "--nats", p.url, "--check"); !strings.HasPrefix(out, "solo: healthy ") {
		t.Errorf("status of the one connection says %q", out)
	}
	exit, _, text := cli(t, "status", "--nats", p.url, "--connection", "main")
	if exit != exitFailed || !containsAll(text, `no connection "main" here; there are: solo (`) {
		t.Errorf("status of another connection = exit code %d, %q, want 1 and what there is", exit, text)
	}
	p.stop()

	server, err := bus.Open(bus.ServerOptions{StoreDir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	exit, _, text = cli(t, "status", "--nats", server.URL())
	if exit != exitFailed || !containsAll(text, "nobody takes commands here: is `ibconn run` up") {
		t.Errorf("status where nobody is = exit code %d, %q, want 1 and what to do", exit, text)
	}
}

func TestStatusCheckGoesByPoolsAndByConnectionsInNone(t *testing.T) {
	connection := func(name events.ConnectionID, c events.Condition) events.Answer {
		return events.Answer{Connection: name, State: &events.State{Connection: name, Standing: events.Standing{Condition: c}}}
	}
	pool := func(c events.Condition, members ...events.ConnectionID) events.Answer {
		a := events.Answer{Connection: "p", Pool: &events.Pool{Name: "p", Condition: c}}
		for _, m := range members {
			a.Pool.Members = append(a.Pool.Members, events.PoolMember{Connection: m})
		}
		return a
	}
	const ok, bad, gone = events.ConditionHealthy, events.ConditionDegraded, events.ConditionStopped
	for _, test := range []struct {
		answers []events.Answer
		want    bool
	}{
		{[]events.Answer{connection("a", ok)}, true},
		{[]events.Answer{connection("a", ok), connection("b", gone)}, false},
		{[]events.Answer{pool(ok, "a", "b"), connection("a", ok), connection("b", gone)}, true},
		{[]events.Answer{connection("a", gone), pool(ok, "a", "b"), connection("b", ok)}, true},
		{[]events.Answer{pool(bad, "a", "b"), connection("a", ok), connection("b", bad)}, false},
		{[]events.Answer{pool(ok, "a"), connection("a", ok), connection("c", bad)}, false},
		{[]events.Answer{pool(gone)}, false},
	} {
		if got := healthy(test.answers); got != test.want {
			t.Errorf("healthy(%+v) = %t, want %t", test.answers, got, test.want)
		}
	}
}

func TestDoctorLooksAtEachGatewayOnce(t *testing.T) {
	noLeaks(t)
	one, other := gateway.Start(t, simulated), gateway.Start(t, simulated)
	_, port, _ := strings.Cut(one.Addr(), ":")
	text := fmt.Sprintf("connections:\n  lone: {gateway: \"%s\", client-id: 5}\n  third: {gateway: \"localhost:%s\", client-id: 6}\npool: {gateway: \"%s\", client_ids: 20-22}\n", other.Addr(), port, one.Addr())
	file := configured(t, text)
	args := []string{"doctor", "--config", file, "--data", filepath.Join(t.TempDir(), "data"), "--listen", "127.0.0.1:0", "--nats", nobodysBus, "--timeout", liveness.String(), "--settle", "0s"}
	out := cliOK(t, args...)
	if !containsAll(out, "gateway "+other.Addr()+", as client 5, for lone:\n", "gateway localhost:"+port+", as client 6, for third, main-20, main-21, main-22:\n", "this machine:\n") {
		t.Errorf("doctor prints\n%s\nwant each gateway named once", out)
	}
	if a, b := one.Stats().Started, other.Stats().Started; a != 1 || b != 1 {
		t.Errorf("the gateways saw %d and %d sessions, want one each", a, b)
	}
	if err := other.Refuse(true); err != nil {
		t.Fatal(err)
	}
	left(t, one)
	exit, out, _ := cli(t, append(args, "--json")...)
	var checks []check
	if err := json.Unmarshal([]byte(out), &checks); err != nil {
		t.Fatal(err)
	}
	found := ""
	for _, c := range checks {
		if c.Status == failed {
			found += c.Gateway + " " + c.Name
		}
	}
	if exit != exitFailed || found != other.Addr()+" gateway port" {
		t.Errorf("doctor with one gateway away = exit code %d, failed is %q, want 1 and its port", exit, found)
	}

	// And with the run there, which has the ids.
	if err := other.Refuse(false); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := startRun(t, fileArgs(t, dir, text))
	p.becomes("main", events.ConditionHealthy)
	p.becomes("lone", events.ConditionHealthy)
	p.becomes("third", events.ConditionHealthy)
	out = cliOK(t, "doctor", "--config", file, "--data", dir, "--nats", p.url, "--settle", "0s")
	if !containsAll(out, "5 is held by ibconn run (connection lone, ", "6 is held by ibconn run (connection third, ", "lone (healthy, version "+version+"), main (pool, healthy), main-20 (healthy,") {
		t.Errorf("doctor beside a run prints\n%s\nwant who holds the client ids, and the pool", out)
	}
	p.stop()
	left(t, one)
	left(t, other)
	out = cliOK(t, "doctor", "--config", file, "--data", dir, "--listen", "127.0.0.1:0", "--nats", nobodysBus, "--settle", "0s")
	if !containsAll(out, "none of 5 connections ends before its high-water mark") {
		t.Errorf("doctor after a run prints\n%s\nwant the logs compared with their marks", out)
	}
}
