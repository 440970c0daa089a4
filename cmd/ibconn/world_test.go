package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"ibconn/bus"
	"ibconn/connector"
	"ibconn/events"
	"ibconn/testenv/gateway"
)

// runAs makes the test binary another program, when a test runs it again.
const runAs = "IBCONN_TEST_RUN_AS"

func TestMain(m *testing.M) {
	switch os.Getenv(runAs) {
	case "ibconn":
		main()
	case "hub":
		os.Exit(bareHub(os.Args[1], os.Args[2]))
	case "flow":
		os.Exit(flow(os.Args[1], os.Args[2]))
	case "bus":
		os.Exit(bareBus(os.Args[1]))
	case "clients":
		n, _ := strconv.Atoi(os.Args[2])
		os.Exit(clientsOfTheLibrary(os.Args[1], n))
	}
	zerolog.SetGlobalLevel(zerolog.TraceLevel) // as main does
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "IBCONN_") || strings.HasPrefix(name, "NATS_") {
			os.Unsetenv(name)
		}
	}
	os.Exit(m.Run())
}

// bareBus is an embedded server and nothing else, for comparison.
func bareBus(dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	server, err := bus.Open(bus.ServerOptions{StoreDir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitFailed
	}
	fmt.Println(server.URL())
	<-ctx.Done()
	if err := server.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitFailed
	}
	return exitDone
}

// liveness is how long anything may take before a test gives up on it.
const liveness = 30 * time.Second

// within polls until ok says true.
func within(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(liveness)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, liveness)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// noLeaks fails the test when it leaves goroutines behind. It must be called
// first, so that it is checked after every other clean-up.
func noLeaks(t testing.TB) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		deadline := time.Now().Add(liveness)
		for runtime.NumGoroutine() > before {
			if time.Now().After(deadline) {
				buf := make([]byte, 1<<20)
				t.Errorf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
}

// output is what a program has printed so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// find waits until pattern is printed, and returns its first group.
func (o *output) find(t testing.TB, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var found []string
	within(t, "output of "+pattern, func() bool {
		found = re.FindStringSubmatch(o.String())
		return found != nil
	})
	return found[1]
}

// cli runs one command line in this process and returns its exit code and what
// it printed.
func cli(t testing.TB, args ...string) (exit int, stdout, stderr string) {
	t.Helper()
	var out, err output
	exit = execute(t.Context(), args, console{Out: &out, Err: &err})
	return exit, out.String(), err.String()
}

// cliOK is cli for what must succeed; it returns what was printed.
func cliOK(t testing.TB, args ...string) string {
	t.Helper()
	exit, out, errors := cli(t, args...)
	if exit != exitDone || errors != "" {
		t.Fatalf("ibconn %q = exit code %d, %q, want 0 and no error", args, exit, errors)
	}
	return out
}

// program is an "ibconn run", in this process or in one of its own.
type program struct {
	t        testing.TB
	out, err output
	url      string     // of its bus
	cmd      *exec.Cmd  // nil in this process
	end      func()     // tells it to end
	exit     func() int // waits for its end
	nc       *nats.Conn // to its bus
	log      *bus.Log   // through that
}

// urlLine is where "ibconn run" says where its bus is.
const urlLine = `"nats":"(nats://[^"]+)"`

// runArgs are the arguments of an "ibconn run" for a test. What follows wins.
func runArgs(dir, gatewayAddr string, more ...string) []string {
	return append([]string{
		"run", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--log-format", "json", "--data", dir, "--gateway", gatewayAddr,
		"--heartbeat", "1s", "--heartbeat-timeout", "1s",
	}, more...)
}

// startRun runs "ibconn run" in this process.
func startRun(t testing.TB, args []string) *program {
	t.Helper()
	p := &program{t: t}
	p.goRun(func(ctx context.Context) int { return execute(ctx, args, console{Out: &p.out, Err: &p.err}) })
	p.connect(p.out.find(t, urlLine))
	return p
}

// goRun runs the program's run in this process.
func (p *program) goRun(run func(context.Context) int) {
	ctx, cancel := context.WithCancel(p.t.Context())
	ended := make(chan int, 1)
	go func() { ended <- run(ctx) }()
	p.end = cancel
	p.exit = sync.OnceValue(func() int { return <-ended })
	p.t.Cleanup(func() {
		cancel()
		p.exit()
	})
}

// startProcess runs "ibconn run" in a process of its own.
func startProcess(t testing.TB, args []string) *program {
	t.Helper()
	p := &program{t: t}
	p.cmd = asProgram("ibconn", args...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	p.start()
	p.connect(p.out.find(t, urlLine))
	return p
}

// asProgram prepares the test binary to run as one of TestMain's programs.
func asProgram(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), runAs+"="+name)
	return cmd
}

func (p *program) start() {
	p.t.Helper()
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.end = func() { _ = p.cmd.Process.Signal(syscall.SIGTERM) }
	p.exit = sync.OnceValue(func() int {
		_ = p.cmd.Wait() // what it says is in ProcessState
		return p.cmd.ProcessState.ExitCode()
	})
	p.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		p.exit()
	})
}

// kill ends the process without a warning.
func (p *program) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	p.exit()
}

// connect connects to the bus.
func (p *program) connect(url string) {
	p.t.Helper()
	p.url, p.nc = url, dial(p.t, url)
	log, err := bus.FindLog(p.t.Context(), p.nc)
	if err != nil {
		p.t.Fatal(err)
	}
	p.log = log
}

func dial(t testing.TB, url string) *nats.Conn {
	t.Helper()
	nc, err := bus.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// stop ends the program in order.
func (p *program) stop() {
	p.t.Helper()
	p.end()
	if exit := p.exit(); exit != exitDone {
		p.t.Errorf("exit code of run = %d, want 0; it said %q", exit, p.err.String())
	}
}

// position is the stream sequence of the newest event.
func (p *program) position() uint64 {
	p.t.Helper()
	last, err := p.log.Last(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	return last
}

// ready waits until the first session is ready and its link proven, and returns
// where that stands in the log.
func (p *program) ready() uint64 {
	p.t.Helper()
	_, at := p.healthy(0)
	return at.StreamSeq
}

// healthy waits for a session after a position, and until its link is proven,
// and returns the session. The program itself learns of an event a moment after
// everyone else: when it is told that the event was stored.
func (p *program) healthy(after uint64) (*events.SessionOpened, bus.Entry) {
	p.t.Helper()
	opened, at := wait(p, after, func(*events.SessionOpened) bool { return true })
	proven, at := wait(p, at.StreamSeq, func(*events.LinkProven) bool { return true })
	if proven.Condition != events.ConditionHealthy {
		p.t.Errorf("with a session and its link proven the connection is %s, %+v, want healthy", proven.Condition, proven.Reasons)
	}
	within(p.t, "status of it", func() bool { return p.status().State.Sequence >= at.Sequence })
	return opened, at
}

// wait waits for the first event of type E after a position that is as wanted.
func wait[E events.Event](p *program, after uint64, wanted func(E) bool) (E, bus.Entry) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), liveness)
	defer cancel()
	var none E
	for r, err := range p.log.Read(ctx, bus.Query{After: after, Follow: true}) {
		if err != nil {
			p.t.Fatal(err)
		}
		if e, ok := r.Event.(E); ok && wanted(e) {
			return e, r
		}
	}
	p.t.Fatalf("there was no %s as wanted within %v", none.Type(), liveness)
	return none, bus.Entry{}
}

// status asks what is true now.
func (p *program) status() events.Answer {
	p.t.Helper()
	answer, err := bus.Ask(p.t.Context(), p.nc, "main", events.VerbStatus, events.Request{})
	if err != nil || !answer.OK {
		p.t.Fatalf("status = %+v, %v, want an answer", answer, err)
	}
	return answer
}

// stored reads every event of a directory that no program has.
func stored(t testing.TB, dir string) []bus.Entry {
	t.Helper()
	server, err := bus.Open(bus.ServerOptions{StoreDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	nc, err := server.Connect(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	log, err := bus.FindLog(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	var all []bus.Entry
	for e, err := range log.Read(t.Context(), bus.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// fold checks that each event follows the one before it and that nothing was
// found damaged, and returns the state they lead to.
func fold(t testing.TB, all []bus.Entry) events.State {
	t.Helper()
	state, head := events.NewState("main"), events.Head{}
	for _, e := range all {
		if err := head.Follows(e.Recorded); err != nil {
			t.Fatalf("message %d: %v", e.StreamSeq, err)
		}
		if damage, ok := e.Event.(*events.LogDamaged); ok {
			t.Errorf("message %d: the log was found damaged: %s", e.StreamSeq, damage.Detail)
		}
		state, head = state.Apply(e.Recorded), head.Then(e.Recorded)
	}
	return state
}

// quickPolicy is a policy with the shortest heartbeats there can be.
func quickPolicy(endpoint string) connector.Policy {
	p := connector.DefaultPolicy(endpoint, 17)
	p.HeartbeatEvery, p.HeartbeatTimeout = time.Second, time.Second
	return p
}

// startApp runs an app in this process. ready is called before its first event.
func startApp(t testing.TB, a *app, ready func(url string)) *program {
	t.Helper()
	p := &program{t: t}
	up := make(chan string, 1)
	a.Listen = "127.0.0.1:0"
	a.OnEvent = func(events.Recorded) {}
	a.Ready = func(url string) {
		ready(url)
		up <- url
	}
	p.goRun(func(ctx context.Context) int { return exitCode(a.Run(ctx)) })
	select {
	case url := <-up:
		p.connect(url)
	case <-time.After(liveness):
		t.Fatalf("the app did not come up within %v", liveness)
	}
	return p
}

// raw sends a payload as nats req does and returns the answer's bytes.
func raw(t testing.TB, nc *nats.Conn, subject, payload string) *nats.Msg {
	t.Helper()
	m, err := nc.Request(subject, []byte(payload), liveness)
	if err != nil {
		t.Fatalf("request %s %s: %v", subject, payload, err)
	}
	return m
}

var simulated = gateway.Config{Accounts: []string{account}}

// account is the one of the simulated gateway; nothing may show it unmasked.
const account = "DU1234567"

func containsAll(text string, parts ...string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}
