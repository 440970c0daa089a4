package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"ibconn/connector"
	"ibconn/consumers/incidents"
	"ibconn/consumers/timeline"
	"ibconn/events"
	"ibconn/testenv/gateway"
)

type demoCommand struct {
	Seconds int    `help:"How long the bad night lasts." default:"30" env:"IBCONN_DEMO_SECONDS"`
	Keep    bool   `help:"Stay up afterwards, with a healthy gateway, until a signal comes."`
	Listen  string `help:"Loopback address of the embedded NATS server; taken: a free one." default:"127.0.0.1:4222" env:"IBCONN_LISTEN"`
}

// nightSeconds is how long the night takes that badNight describes.
const nightSeconds = 30

// badNight is what happens to the gateway, with times for 30 seconds. Its
// client ids stay taken for a while after a cut, as IB's do.
const badNight = `
at 2s    error -1 2103 "Market data farm connection is broken:usfarm"
at 4s    error -1 2104 "Market data farm connection is OK:usfarm"
at 6s    error -1 1100 "Connectivity between IBKR and Trader Workstation has been lost."
at 8.5s  error -1 1102 "Connectivity between IBKR and Trader Workstation has been restored - data maintained."
at 10.5s reset
at 16s   restart 2s
at 22.5s stall 4.5s
`

// idLinger is how long the gateway takes a client id for used after a cut.
const idLinger = 2800 * time.Millisecond

// nightSettle is for how long the connection must be healthy for an incident to be
// over, in a night in which seconds stand for minutes.
const nightSettle = time.Second

// minStall is how long the gateway must be silent for the heartbeats to find it
// out, and a little more: their times cannot be compressed any further.
const minStall = 4 * time.Second

// healthyWithin is how long the connection may take to be healthy again after a
// short night, which ends before its stall does.
const healthyWithin = 5 * time.Second

// errMorning ends the demo.
var errMorning = errors.New("the night is over")

// Run plays the night.
func (d *demoCommand) Run(ctx context.Context, c console) error {
	if d.Seconds < 10 || d.Seconds > 3600 {
		return usageError{fmt.Errorf("--seconds %d: want 10 to 3600", d.Seconds)}
	}
	scenario, err := gateway.ParseScenario(strings.NewReader(badNight))
	if err != nil {
		return err
	}
	scaled := func(t time.Duration) time.Duration { return t * time.Duration(d.Seconds) / nightSeconds }
	for i := range scenario.Steps {
		scenario.Steps[i].At = scaled(scenario.Steps[i].At)
	}
	// The last steps are the stall and its end.
	if stall := scenario.Steps[len(scenario.Steps)-2:]; stall[1].At < stall[0].At+minStall {
		stall[1].At = stall[0].At + minStall
	}

	dir, err := os.MkdirTemp("", "ibconn-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	gw, err := gateway.New(gateway.Config{Accounts: []string{"DU1234567"}, IDLinger: scaled(idLinger)})
	if err != nil {
		return err
	}
	address, err := gw.Listen()
	if err != nil {
		return err
	}

	night := &night{
		console:  c,
		printer:  timeline.Printer{Out: c.Out, Colour: c.Colour},
		gateway:  gw,
		scenario: scenario,
		length:   time.Duration(d.Seconds) * time.Second,
		keep:     d.Keep,
		fold:     incidents.Fold{Settle: scaled(nightSettle)},
		moved:    make(chan struct{}, 1),
		page:     make(chan string, 1),
	}
	return night.run(ctx, app{
		Connections: []connection{{Name: "main", Policy: demoPolicy(address, scaled)}},
		Dir:         dir,
		Listen:      d.Listen,
		Log:         zerolog.Nop(), // what ends the bus comes as an error too
		Consumers: consumers{
			Incidents: true, Settle: scaled(nightSettle), Log: zerolog.Nop(), HTTP: "127.0.0.1:0",
			Serving: func(url string) {
				select {
				case night.page <- url:
				default: // it was begun again
				}
			},
		},
	})
}

// demoPolicy is the default policy with its times compressed as the night is;
// heartbeats and what they find out cannot be shorter than a second.
func demoPolicy(endpoint string, scaled func(time.Duration) time.Duration) connector.Policy {
	p := connector.DefaultPolicy(endpoint, 17)
	p.HeartbeatEvery, p.HeartbeatTimeout = time.Second, time.Second
	p.GreetingTimeout, p.ReadyTimeout = time.Second, 1500*time.Millisecond
	p.BackoffBase, p.BackoffCap = scaled(400*time.Millisecond), scaled(2*time.Second)
	p.StableAfter, p.BreakerProbe = scaled(2*time.Second), scaled(2*time.Second)
	p.ClientIDWait = scaled(200 * time.Millisecond)
	return p
}

// night is one showing of the demo.
type night struct {
	console
	printer  timeline.Printer
	gateway  *gateway.Gateway
	scenario gateway.Scenario
	length   time.Duration
	keep     bool
	page     chan string // takes the URL of the dashboard

	mu      sync.Mutex
	fold    incidents.Fold
	events  int
	healthy bool          // as of the last state event
	moved   chan struct{} // filled when healthy may have changed
}

func (n *night) run(ctx context.Context, a app) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	a.Ready = n.introduce
	a.OnEvent = n.show

	var others sync.WaitGroup
	// The gateway goes last, so that the night's end is not one more outage.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	others.Go(func() { _ = n.gateway.Run(serving) })
	others.Go(func() { n.play(ctx, end) })

	err := a.Run(ctx)
	if errors.Is(err, syscall.EADDRINUSE) {
		fmt.Fprintf(n.Out, "%s is taken, so the demo's bus takes a free port.\n", a.Listen)
		a.Listen = "127.0.0.1:0"
		err = a.Run(ctx)
	}
	end(nil)
	stop()
	others.Wait()
	if err != nil && !errors.Is(err, errMorning) && !errors.Is(err, context.Canceled) {
		return err
	}
	return n.summarize()
}

// play waits until the connection is up, plays the night, and ends the demo
// once it is over and the connection is healthy again.
func (n *night) play(ctx context.Context, end context.CancelCauseFunc) {
	n.awaitHealthy(ctx)
	morning := time.Now().Add(n.length)
	if err := n.gateway.Play(ctx, n.scenario); err != nil {
		return // the demo was ended
	}
	dark, cancel := context.WithDeadline(ctx, morning)
	defer cancel()
	<-dark.Done()
	recovering, cancel := context.WithTimeout(ctx, healthyWithin)
	defer cancel()
	n.awaitHealthy(recovering)
	if ctx.Err() != nil {
		return
	}
	if !n.keep {
		end(errMorning)
		return
	}
	_ = n.summarize()
	fmt.Fprintln(n.Out, "\nStaying up. Press Ctrl-C to end.")
}

// awaitHealthy returns when the connection is healthy, or ctx ends.
func (n *night) awaitHealthy(ctx context.Context) {
	for ctx.Err() == nil {
		n.mu.Lock()
		healthy := n.healthy
		n.mu.Unlock()
		if healthy {
			return
		}
		select {
		case <-n.moved:
		case <-ctx.Done():
		}
	}
}

// pageWithin is how long the dashboard may take to be there.
const pageWithin = 2 * time.Second

func (n *night) introduce(url string) {
	page := "not there"
	select {
	case at := <-n.page:
		page = "at " + at + "/?span=minutes"
	case <-time.After(pageWithin):
	}
	fmt.Fprintf(n.Out, `ibconn demo: a simulated IB Gateway at %s has a bad night of %v.
The dashboard is %s
The bus is at %s. Meanwhile, in another terminal:

    nats sub 'ib.conn.*' --server %[4]s
    nats sub 'ib.incident.>' --server %[4]s
    nats req ib.cmd.main.status '' --server %[4]s
    nats req ib.cmd.main.reconnect '{"id":"x1","reason":"test"}' --server %[4]s
    ibconn status --nats %[4]s            ibconn watch --nats %[4]s

● healthy   ◐ degraded   ○ down   · stopped

`, n.gateway.Addr(), n.length, page, url)
}

// show prints an event and keeps it for the summary.
func (n *night) show(r events.Recorded) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fold.Add(r)
	n.events++
	_ = n.printer.Print(r)
	if e, ok := r.Event.(events.StateEvent); ok {
		n.healthy = e.After().Condition == events.ConditionHealthy
		select {
		case n.moved <- struct{}{}:
		default:
		}
	}
}

func (n *night) summarize() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return summarize(n.Out, n.fold.Incidents(), n.events)
}

// summarize prints a table of incidents.
func summarize(w io.Writer, all []incidents.Incident, seen int) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s in %s\n\n", plural(uint64(len(all)), "incident"), plural(uint64(seen), "event"))
	for _, i := range all {
		lasted := events.MillisOf(i.Duration()).String()
		if i.Open() {
			lasted += ", still open"
		}
		fmt.Fprintf(&b, "  %d  %s  %-8s  %-10s  %s\n", i.Number, i.OpenedAt.Local().Format("15:04:05"), i.Worst, lasted, i.Root.Words)
		if i.Attempts > 1 {
			fmt.Fprintf(&b, "%40s it took %d attempts%s\n", "", i.Attempts, wordObstacles(i))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// wordObstacles says why attempts failed during i, besides what began it.
func wordObstacles(i incidents.Incident) string {
	var words []string
	for _, s := range i.Chain {
		if w := s.Cause.Sentence(); s.Cause != "" && w != i.Root.Words && !slices.Contains(words, w) {
			words = append(words, w)
		}
	}
	if len(words) == 0 {
		return ""
	}
	return ": " + strings.Join(words, "; ")
}
