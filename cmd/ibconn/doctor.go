package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/alecthomas/kong"
	"github.com/nats-io/nats.go"

	"ibconn/bus"
	"ibconn/connector"
	"ibconn/connector/ibc"
	"ibconn/events"
)

// doctorCommand takes run's flags, so that what it checks is what a run with
// the same words would meet. Of a connection's gateways it looks at the first,
// and at one that several connections share once.
type doctorCommand struct {
	runCommand
	Timeout time.Duration `help:"For the name to resolve, for the trial session to be ready, and for the log to be read." default:"10s"`
	Settle  time.Duration `help:"How long to listen to the gateway's notices once the trial session is ready." default:"2s"`
	JSON    bool          `name:"json" help:"Print the checks as JSON."`
}

// verdict says how a check came out.
type verdict string

const (
	passed  verdict = "ok"
	warned  verdict = "warning"
	failed  verdict = "failed"
	skipped verdict = "skipped"
)

// check is one thing that was looked at.
type check struct {
	Gateway string  `json:"gateway,omitempty"` // which one, where there are several
	Name    string  `json:"name"`
	Status  verdict `json:"status"`
	Found   string  `json:"found"`
	Advice  string  `json:"advice,omitempty"` // what to do next; empty when all is well
}

func well(format string, args ...any) check {
	return check{Status: passed, Found: fmt.Sprintf(format, args...)}
}

func warn(found, advice string) check { return check{Status: warned, Found: found, Advice: advice} }
func fail(found, advice string) check { return check{Status: failed, Found: found, Advice: advice} }

// step is a check that is still to be made.
type step struct {
	name string
	look func() check
}

// inTurn makes checks that build on one another: those after a failed one are
// skipped.
func inTurn(steps ...step) []check {
	checks := make([]check, 0, len(steps))
	stopper := ""
	for _, s := range steps {
		c := check{Status: skipped, Found: "not looked at, because of: " + stopper}
		if stopper == "" {
			c = s.look()
		}
		if c.Status == failed {
			stopper = s.name
		}
		c.Name, c.Found, c.Advice = s.name, fit(c.Found), fit(c.Advice)
		checks = append(checks, c)
	}
	return checks
}

// fit makes words that may come from outside fit to be shown: one line, nothing
// a terminal would obey, no account id.
func fit(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
	return events.MaskAccounts(strings.Join(strings.Fields(text), " "))
}

// Run checks everything, prints what it found, and fails when a check did.
func (d *doctorCommand) Run(ctx context.Context, c console, k *kong.Context, file *config) error {
	if d.Timeout <= 0 || d.Settle < 0 {
		return usageError{fmt.Errorf("--timeout %v, --settle %v: want a timeout above 0 and no settling below", d.Timeout, d.Settle)}
	}
	w, err := d.wire(k, file)
	if err != nil {
		return usageError{err}
	}
	if !d.JSON {
		fmt.Fprintln(c.Out, "checking as a run would; the trial session records nothing and changes nothing")
	}
	checks := []check{}
	show := func(group []check) {
		checks = append(checks, group...)
		if !d.JSON {
			printChecks(c, group)
		}
	}
	there, onBus := d.checkBus(ctx)
	gateways := w.gateways()
	for _, g := range gateways {
		group := d.checkGateway(ctx, g.first().Policy, there)
		if len(gateways) > 1 {
			for i := range group {
				group[i].Gateway = g.first().Policy.Endpoint
			}
			if !d.JSON {
				fmt.Fprintf(c.Out, "gateway %s, as client %d, for %s:\n", g.first().Policy.Endpoint, g.first().Policy.ClientID, g.names())
			}
		}
		show(group)
	}
	if len(gateways) > 1 && !d.JSON {
		fmt.Fprintln(c.Out, "this machine:")
	}
	show(d.checkIBC(ctx, w.connections))
	show(onBus)
	show(d.checkData(ctx, w.connections, there))
	if d.JSON {
		if err := printJSON(c.Out, checks); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return errors.New("interrupted before everything was checked")
	}
	if n := countOf(checks, failed); n > 0 {
		return fmt.Errorf("%s failed", plural(n, "check"))
	}
	return nil
}

// shared is the connections that begin at one gateway; there is one at least.
type shared []connection

func (s shared) first() connection { return s[0] }

func (s shared) names() string {
	var names []string
	for _, c := range s {
		names = append(names, string(c.Name))
	}
	return strings.Join(names, ", ")
}

// gateways returns the connections by the gateway they begin at, in the order of
// the file.
func (w wiring) gateways() []shared {
	var all []shared
	for _, c := range w.connections {
		i := slices.IndexFunc(all, func(s shared) bool { return gatewayOf(s.first().Policy.Endpoint) == gatewayOf(c.Policy.Endpoint) })
		if i < 0 {
			all = append(all, shared{c})
			continue
		}
		all[i] = append(all[i], c)
	}
	return all
}

func printChecks(c console, checks []check) {
	for _, k := range checks {
		line := k.Found
		if k.Advice != "" {
			line += ": " + k.Advice
		}
		fmt.Fprintf(c.Out, "%-8s %-15s %s\n", k.Status, k.Name, line)
	}
}

func countOf(checks []check, v verdict) (n uint64) {
	for _, c := range checks {
		if c.Status == v {
			n++
		}
	}
	return n
}

// The gateway.

// otherClients is how far the trial's client id is from one that a run holds.
const otherClients = 1000

// checkGateway opens a trial session and tells how far it came. Where a run
// that is there holds the client id, the trial takes another one, rather than
// to fight with it.
func (d *doctorCommand) checkGateway(ctx context.Context, policy connector.Policy, there []events.Answer) []check {
	policy.DialTimeout, policy.GreetingTimeout, policy.ReadyTimeout = d.Timeout, d.Timeout, d.Timeout
	wanted := policy.ClientID
	holder := slices.IndexFunc(there, func(a events.Answer) bool {
		at := a.State.Attempt
		return a.State.Phase != events.PhaseStopped && gatewayOf(at.Endpoint) == gatewayOf(policy.Endpoint) && at.ClientID == wanted
	})
	instead := ""
	if holder >= 0 {
		policy.ClientID = (wanted + otherClients) % math.MaxInt32
		instead = fmt.Sprintf("; %d is held by ibconn run (connection %s, %s), so the trial took another",
			wanted, there[holder].Connection, there[holder].State.Instance)
	}
	t := newTrial(policy)
	return inTurn(
		step{"gateway name", func() check { return d.checkName(ctx, policy.Endpoint) }},
		step{"gateway port", func() check {
			t.run(ctx, d.Timeout, d.Settle)
			return t.port()
		}},
		step{"greeting", t.greeting},
		step{"client id", func() check { return t.clientID(instead) }},
		step{"accounts", t.accounts},
		step{"clock", t.clock},
		step{"session", func() check { return t.session(d.Settle) }},
		step{"link", t.link},
		step{"farms", t.farms},
		step{"notices", t.notices},
	)
}

// ibcMoment is how long IBC may take to hang up on a host it does not take
// commands from.
const ibcMoment = 300 * time.Millisecond

// checkIBC looks whether each IBC that is configured can be asked. Nothing is
// asked of it.
func (d *doctorCommand) checkIBC(ctx context.Context, connections []connection) []check {
	var checks []check
	var seen []string
	for _, c := range connections {
		client, ok := c.Control.(*ibc.Client)
		if !ok || slices.Contains(seen, client.Address) {
			continue
		}
		seen = append(seen, client.Address)
		checks = append(checks, inTurn(step{"IBC", func() check {
			looking, cancel := context.WithTimeout(ctx, d.Timeout)
			defer cancel()
			if err := client.Look(looking, ibcMoment); err != nil {
				return fail(err.Error(), "until then reconnect-data, reconnect-account and restart-gateway come to nothing")
			}
			return well("%s accepts, and does not hang up; nothing was asked of it", client.Address)
		}})...)
	}
	return checks
}

func (d *doctorCommand) checkName(ctx context.Context, endpoint string) check {
	host, _, _ := net.SplitHostPort(endpoint) // validated above
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return fail(err.Error(), "correct the host in --gateway, or this machine's name service")
	}
	return well("%s is at %s", host, strings.Join(addresses, " "))
}

// checkBus looks for a bus and says what it is, and whether a run could have
// the address if there is none. It returns the status of every connection.
func (d *doctorCommand) checkBus(ctx context.Context) (there []events.Answer, checks []check) {
	checks = inTurn(step{"bus", func() check {
		nc, err := d.dial("ibconn doctor")
		if errors.Is(err, nats.ErrNoServers) {
			return d.checkListen("nothing answers at " + bus.Redacted(cmp.Or(d.NATS, nats.DefaultURL)))
		}
		if err != nil {
			return d.checkListen(err.Error())
		}
		defer nc.Close()
		var c check
		there, c = d.checkRun(ctx, nc)
		return c
	}})
	return there, checks
}

func (d *doctorCommand) checkRun(ctx context.Context, nc *nats.Conn) ([]events.Answer, check) {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	url := nc.ConnectedUrlRedacted()
	log, err := bus.FindLog(ctx, nc)
	if err != nil {
		return nil, d.checkListen(fmt.Sprintf("%s is a NATS server, but not ibconn's", url))
	}
	age := "its log is empty"
	if newest, err := log.Last(ctx); err == nil && newest > 0 {
		for e, err := range log.Read(ctx, bus.Query{After: newest - 1}) {
			if err == nil {
				age = fmt.Sprintf("its last event is %v old", events.Between(e.Time, time.Now()))
			}
			break
		}
	}
	offers, err := bus.Discover(ctx, nc)
	if err != nil {
		return nil, fail(err.Error(), "see whether "+url+" is overloaded")
	}
	var there []events.Answer
	var words []string
	for _, o := range offers {
		a, err := bus.Ask(ctx, nc, o.Connection, events.VerbStatus, events.Request{})
		if err == nil && a.Pool != nil {
			words = append(words, fmt.Sprintf("%s (pool, %s)", o.Connection, a.Pool.Condition))
			continue
		}
		if err != nil || a.State == nil {
			words = append(words, fmt.Sprintf("%s (no status)", o.Connection))
			continue
		}
		there = append(there, a)
		words = append(words, fmt.Sprintf("%s (%s, version %s)", o.Connection, a.State.Condition, o.Version))
	}
	if len(there) == 0 {
		return nil, warn(fmt.Sprintf("ibconn's log is at %s, and %s, but no connection tells its status", url, age), "see whether `ibconn run` is ending or hangs")
	}
	return there, well("ibconn run is up at %s with %s; %s", url, strings.Join(words, ", "), age)
}

// checkListen is for when no run is there: could one listen?
func (d *doctorCommand) checkListen(found string) check {
	address := cmp.Or(d.Listen, defaultListen)
	const another = "use another --listen, such as 127.0.0.1:0 for any free port"
	if a, err := net.ResolveTCPAddr("tcp", address); err != nil || !a.IP.IsLoopback() {
		return fail(fmt.Sprintf("%s, and %q is not a loopback address for a run to listen on", found, address), another)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fail(fmt.Sprintf("%s, and a run cannot listen: %v", found, err), "stop the program that has the address, or "+another)
	}
	_ = l.Close() // nobody can have connected that would care
	return well("%s; %s is free for a run", found, address)
}

// The data directory.

const (
	slowSync = 50 * time.Millisecond
	lowDisk  = 2 << 30
	fullDisk = 64 << 20 // below it a run does not start
)

func (d *doctorCommand) checkData(ctx context.Context, all []connection, there []events.Answer) []check {
	var at string // the directory, or the one it would be made in
	var server *bus.Server
	steps := []step{
		{"data directory", func() (c check) {
			at, c = checkWritable(d.Data)
			return c
		}},
		{"disk", func() check { return checkDisk(at) }},
		{"lock", func() (c check) {
			server, c = checkLock(d.Data, there)
			return c
		}},
	}
	if keptBefore(d.Data) {
		steps = append(steps, step{"log", func() check { return d.checkLog(ctx, all, server) }})
	}
	checks := inTurn(steps...)
	if server != nil {
		_ = server.Close() // nothing was written
	}
	return checks
}

// keptBefore says whether a run ever kept a log in dir. Where none did, opening
// it would make one.
func keptBefore(dir string) bool {
	for _, name := range []string{"lock", "jetstream"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

// checkWritable writes, syncs and removes a file.
func checkWritable(dir string) (at string, c check) {
	at = dir
	_, err := os.Stat(at)
	for errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at) {
		at = filepath.Dir(at)
		_, err = os.Stat(at)
	}
	var took time.Duration
	if err == nil {
		took, err = timeSync(at)
	}
	if err != nil {
		return at, fail(fmt.Sprintf("%s: %v", dir, err), "make it writable for this user, or use another --data")
	}
	c = well("%s is writable; a synced write took %v", dir, events.MillisOf(took))
	if at != dir {
		c = well("%s is not there yet; a run will make it in %s, where a synced write took %v", dir, at, events.MillisOf(took))
	}
	if took > slowSync {
		c.Status, c.Advice = warned, "every event waits for that: use a --data on a faster or less busy disk, and no network disk"
	}
	return at, c
}

func timeSync(dir string) (time.Duration, error) {
	f, err := os.CreateTemp(dir, "doctor-*")
	if err != nil {
		return 0, err
	}
	began := time.Now()
	_, err = f.Write(make([]byte, 4096))
	if err == nil {
		err = f.Sync()
	}
	took := time.Since(began)
	return took, errors.Join(err, f.Close(), os.Remove(f.Name()))
}

func checkDisk(dir string) check {
	free, known, err := bus.FreeBytes(dir)
	switch {
	case err != nil:
		return warn(err.Error(), "see how much of the disk is free")
	case !known:
		return well("how much is free is not known on this system")
	}
	return judgeDisk(free)
}

func judgeDisk(free int64) check {
	c := well("%d MiB are free", free>>20)
	switch {
	case free < fullDisk:
		c.Status, c.Advice = failed, fmt.Sprintf("make room: a run needs %d MiB to start", int64(fullDisk)>>20)
	case free < lowDisk:
		c.Status, c.Advice = warned, "make room, or use a --data on another disk: a full log refuses events"
	}
	return c
}

// checkLock opens the log without listening, where there is one and nobody has
// it. The caller closes it.
func checkLock(dir string, there []events.Answer) (*bus.Server, check) {
	if !keptBefore(dir) {
		return nil, well("nobody has the directory; there is no log yet")
	}
	server, err := bus.Open(bus.ServerOptions{StoreDir: dir, Instance: "doctor"})
	if err == nil {
		return server, well("nobody has the directory")
	}
	holder, held := errors.AsType[*bus.InUseError](err)
	if !held {
		return nil, fail(err.Error(), "mend what it names, or use another --data")
	}
	c := well("process %d (%s) has the directory", holder.PID, holder.Instance)
	if !slices.ContainsFunc(there, func(a events.Answer) bool { return a.State.Instance == holder.Instance }) {
		c.Status, c.Advice = warned, "a second run on it would be refused: stop that process, or use another --data; to ask it, give its --nats"
	}
	return nil, c
}

// checkLog compares where each connection's log ends with its high-water mark.
// The rest of the chain is for a run to check, which knows what damage is on
// record already, and for "replay verify".
func (d *doctorCommand) checkLog(ctx context.Context, all []connection, server *bus.Server) check {
	if server == nil {
		return check{Status: skipped, Found: "it can be compared with its high-water mark only while nobody writes it"}
	}
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	nc, err := server.Connect("doctor")
	if err != nil {
		return unreadable(err)
	}
	defer nc.Close()
	log, err := bus.FindLog(ctx, nc)
	if err != nil {
		return unreadable(err)
	}
	var head, mark events.Head
	for _, c := range all {
		whose := "it"
		if len(all) > 1 {
			whose = string(c.Name)
		}
		head, mark, err = ends(ctx, log, c.Name, d.Data)
		switch {
		case err != nil:
			return unreadable(err)
		case !head.Reaches(mark):
			return fail(fmt.Sprintf("%s ends at sequence %d and not with the last event known to be stored, %d", whose, head.Sequence, mark.Sequence),
				"if the directory was copied or restored, copy it again while no run has it; else check the disk; a run records the damage and goes on; `ibconn replay verify --data "+d.Data+"` says what is missing")
		}
	}
	if len(all) > 1 {
		return well("none of %d connections ends before its high-water mark", len(all))
	}
	return well("it ends at sequence %d, not before its high-water mark, %d", head.Sequence, mark.Sequence)
}

func unreadable(err error) check {
	return fail(err.Error(), "check the disk; for a large log give a longer --timeout")
}

// ends returns where a connection's log ends, and where it must not end before.
func ends(ctx context.Context, log *bus.Log, c events.ConnectionID, dir string) (head, mark events.Head, err error) {
	w, err := log.Writer(c, dir)
	if err != nil {
		return head, mark, err
	}
	if mark, err = w.Mark(); err != nil {
		return head, mark, err
	}
	for r, err := range w.Load(ctx) {
		if err != nil && !errors.Is(err, events.ErrMalformed) {
			return head, mark, err
		}
		if err == nil {
			head = head.Then(r)
		}
	}
	return head, mark, ctx.Err()
}
