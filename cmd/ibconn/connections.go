package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"ibconn/connector"
	"ibconn/connector/ibc"
	"ibconn/events"
)

// groupConnection is the group of the flags that a section may have too.
const groupConnection = "connection"

// connectionFlags are the settings of one connection: what may stand in a
// section of the configuration file. On the command line, in the environment and
// at the file's top level they hold for every connection.
type connectionFlags struct {
	Gateway  string `help:"The gateway's HOST:PORT. IB Gateway listens on 4001 (live) or 4002 (paper), TWS on 7496 or 7497." default:"127.0.0.1:4002" env:"IBCONN_GATEWAY"`
	ClientID int64  `help:"The API client id." default:"17" env:"IBCONN_CLIENT_ID"`

	Heartbeat        time.Duration `help:"Between heartbeat probes; at least 1s." default:"15s" env:"IBCONN_HEARTBEAT"`
	HeartbeatTimeout time.Duration `help:"For the answer to a probe; at least 1s." default:"5s" env:"IBCONN_HEARTBEAT_TIMEOUT"`
	HeartbeatMisses  int           `help:"Answers missed in a row that lose the session." default:"2" env:"IBCONN_HEARTBEAT_MISSES"`
	DialTimeout      time.Duration `help:"For TCP to open." default:"5s" env:"IBCONN_DIAL_TIMEOUT"`
	GreetingTimeout  time.Duration `help:"From then, for the gateway to answer its version." default:"10s" env:"IBCONN_GREETING_TIMEOUT"`
	ReadyTimeout     time.Duration `help:"From TCP open, for the session to be ready." default:"15s" env:"IBCONN_READY_TIMEOUT"`
	BackoffBase      time.Duration `help:"The most that the second retry in a row waits; doubles from there." default:"1s" env:"IBCONN_BACKOFF_BASE"`
	BackoffCap       time.Duration `help:"The most that any retry waits." default:"1m" env:"IBCONN_BACKOFF_CAP"`
	StableAfter      time.Duration `help:"How long a session must be ready for the failures in a row to start anew." default:"1m" env:"IBCONN_STABLE_AFTER"`
	BreakerAfter     int           `help:"Failures in a row that open the circuit breaker." default:"8" env:"IBCONN_BREAKER_AFTER"`
	BreakerProbe     time.Duration `help:"Between attempts while it is open." default:"1m" env:"IBCONN_BREAKER_PROBE"`

	LinkProbeEvery   time.Duration `help:"How often IB's servers are asked something through the gateway, to prove the link; 0s never does. A new session and a link said to be back are probed at once." default:"5m" env:"IBCONN_LINK_PROBE_EVERY"`
	LinkProbeTimeout time.Duration `help:"For the answer to that." default:"10s" env:"IBCONN_LINK_PROBE_TIMEOUT"`
	LinkProbeMisses  int           `help:"Answers missed in a row that say that the link is down." default:"3" env:"IBCONN_LINK_PROBE_MISSES"`
	Lines            int           `help:"Market data lines of the account. The gateway takes half as many messages a second, of which four fifths are used." default:"100" env:"IBCONN_LINES"`
	MessageRate      int           `help:"Messages to a gateway in any second, at most, all connections to it together; 0 goes by the lines." default:"0" env:"IBCONN_MESSAGE_RATE"`
	MessageGap       time.Duration `help:"Between any two messages, at least." default:"0s" env:"IBCONN_MESSAGE_GAP"`
	QueueLimit       int           `help:"Messages that may wait for their turn." default:"1000" env:"IBCONN_QUEUE_LIMIT"`
	PaceRecovery     time.Duration `help:"How long an error 100 halves the message rate." default:"1m" env:"IBCONN_PACE_RECOVERY"`
	CompetingFor     time.Duration `help:"How long nothing must be heard of a competing session for it to be taken to have ended." default:"5m" env:"IBCONN_COMPETING_FOR"`

	QuotesDarkAfter      time.Duration `help:"How long the data of a subscription to quotes may stay away while its market is open, before that is told and it is placed again." default:"2m" env:"IBCONN_QUOTES_DARK_AFTER"`
	TradesDarkAfter      time.Duration `help:"The same of trades." default:"10m" env:"IBCONN_TRADES_DARK_AFTER"`
	BarsDarkAfter        time.Duration `help:"The same of bars." default:"20s" env:"IBCONN_BARS_DARK_AFTER"`
	HistoryBarsDarkAfter time.Duration `help:"The same of history-bars." default:"2m" env:"IBCONN_HISTORY_BARS_DARK_AFTER"`
	RestoredAfter        time.Duration `help:"How long data may take to come again after its farm or the link is back, before it is placed again." default:"10s" env:"IBCONN_RESTORED_AFTER"`
	BackfillMost         time.Duration `help:"How far back the bars of a gap are fetched." default:"24h" env:"IBCONN_BACKFILL_MOST"`

	Fallbacks      []string      `help:"Further gateways, HOST:PORT,..., to go on to in turn; also the only ports a gateway may move to." env:"IBCONN_FALLBACKS"`
	FallbackAfter  time.Duration `help:"How long a gateway must have failed for the next one to be tried." default:"2m" env:"IBCONN_FALLBACK_AFTER"`
	SpareClientIDs []int64       `name:"spare-client-ids" help:"Further client ids, ID,..., to go on to in turn." env:"IBCONN_SPARE_CLIENT_IDS"`
	ClientIDTries  int           `help:"Refusals in a row after which the next client id is tried." default:"5" env:"IBCONN_CLIENT_ID_TRIES"`
	ClientIDWait   time.Duration `help:"How long a client id that was refused is left alone at least; doubles with each refusal." default:"2s" env:"IBCONN_CLIENT_ID_WAIT"`
	Windows        windowList    `help:"When interruptions are expected, parted by semicolons: north-america, europe, asia, or windows such as \"restart daily 23:45-23:50 Europe/Zurich\"." env:"IBCONN_WINDOWS"`
	WindowCap      time.Duration `help:"The most that a retry waits inside a reset or restart window." default:"15s" env:"IBCONN_WINDOW_CAP"`
	WeekendProbe   time.Duration `help:"Between attempts inside a weekend window, once the breaker is open." default:"5m" env:"IBCONN_WEEKEND_PROBE"`
	LoginAfter     time.Duration `help:"How long a gateway may give no session, or no link to IB, before a person is told to look at it." default:"3m" env:"IBCONN_LOGIN_AFTER"`
	RepeatEvery    time.Duration `help:"How often a notice that goes on repeating is recorded, with its count." default:"1m" env:"IBCONN_REPEAT_EVERY"`

	IBC string `name:"ibc" help:"HOST:PORT of the command server of the IBC that runs the gateway (its CommandServerPort, mostly 7462); adds reconnect-data, reconnect-account and restart-gateway. IBC must be on this machine (127.0.0.1), or list it in ControlFrom. Mind that restart-gateway mostly moves the gateway's stored auto-restart time, for every day to come. Off when empty." env:"IBCONN_IBC"`
}

// connection returns the connection of that name that the flags ask for.
func (f *connectionFlags) connection(name string) connection {
	c := connection{Name: events.ConnectionID(name), Policy: f.policy()}
	if f.IBC != "" {
		c.Control = &ibc.Client{Address: f.IBC}
	}
	return c
}

// perSecond is the message budget. IB's limit is half the account's lines; the
// fifth less is a margin, as gateways were seen to hang at the limit.
func (f *connectionFlags) perSecond() int {
	if f.MessageRate != 0 {
		return f.MessageRate
	}
	return f.Lines * 2 / 5
}

func (f *connectionFlags) policy() connector.Policy {
	return connector.Policy{
		Endpoint: f.Gateway, ClientID: f.ClientID,
		DialTimeout: f.DialTimeout, GreetingTimeout: f.GreetingTimeout, ReadyTimeout: f.ReadyTimeout,
		HeartbeatEvery: f.Heartbeat, HeartbeatTimeout: f.HeartbeatTimeout, HeartbeatMisses: f.HeartbeatMisses,
		BackoffBase: f.BackoffBase, BackoffCap: f.BackoffCap, StableAfter: f.StableAfter,
		BreakerAfter: f.BreakerAfter, BreakerProbe: f.BreakerProbe,
		Fallbacks: f.Fallbacks, FallbackAfter: f.FallbackAfter,
		SpareIDs: f.SpareClientIDs, ClientIDTries: f.ClientIDTries, ClientIDWait: f.ClientIDWait,
		Windows: f.Windows.windows, WindowCap: f.WindowCap, WeekendProbe: f.WeekendProbe,
		LoginAfter: f.LoginAfter, RepeatEvery: f.RepeatEvery,
		LinkProbeEvery: f.LinkProbeEvery, LinkProbeTimeout: f.LinkProbeTimeout, LinkProbeMisses: f.LinkProbeMisses,
		Pace: connector.Pace{PerSecond: f.perSecond(), MinGap: f.MessageGap}, QueueLimit: f.QueueLimit, PaceRecovery: f.PaceRecovery,
		CompetingFor:    f.CompetingFor,
		QuotesDarkAfter: f.QuotesDarkAfter, TradesDarkAfter: f.TradesDarkAfter, BarsDarkAfter: f.BarsDarkAfter, HistoryBarsDarkAfter: f.HistoryBarsDarkAfter,
		RestoredAfter: f.RestoredAfter, BackfillMost: f.BackfillMost,
	}
}

// windowList is maintenance windows as one setting. It is read where flags are,
// so that what is wrong with it is said with its place.
type windowList struct{ windows connector.Windows }

// UnmarshalText reads windows and names of presets, parted by semicolons.
// Presets may share a window, which then counts once; what is written must not
// say again what stands there already.
func (l *windowList) UnmarshalText(text []byte) error {
	var all connector.Windows
	var names []string
	for part := range strings.SplitSeq(string(text), ";") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		// A preset's name is one word, and a window is several.
		if strings.Contains(part, " ") {
			w, err := connector.ParseWindow(part)
			if err != nil {
				return err
			}
			if slices.ContainsFunc(all, w.Same) {
				return fmt.Errorf("window %q stands there twice, or is one of a preset's: want each once", part)
			}
			all = append(all, w)
			continue
		}
		preset, err := connector.Presets(part)
		if err != nil {
			return err
		}
		if slices.Contains(names, part) {
			return fmt.Errorf("preset %s stands there twice: want each once", part)
		}
		names = append(names, part)
		for _, w := range preset {
			if !slices.ContainsFunc(all, w.Same) {
				all = append(all, w)
			}
		}
	}
	l.windows = all
	return nil
}

// connection is one connection that a run keeps.
type connection struct {
	Name    events.ConnectionID
	Policy  connector.Policy
	Control connector.Controller // carries out the control commands; nil when there are none
}

// pool is several of them that are looked at together too.
type pool struct {
	Name    events.ConnectionID
	Members []events.ConnectionID
}

// wiring is what the command line, the environment and the file make of a run.
type wiring struct {
	connections []connection // at least one, in the order of the file
	pools       []pool
}

// wire returns the connections of a run, or everything that is wrong with them.
// Each has its settings from the same command line, parsed once more with its
// own section of the file in front of the file's top level.
func (r *runCommand) wire(k *kong.Context, file *config) (wiring, error) {
	var w wiring
	all, err := r.candidates(k, file)
	if err != nil {
		return w, err
	}
	var found findings
	for _, c := range all {
		found.add(c.validate()...)
	}
	if len(all) > 1 && len(found) == 0 {
		found.add(overlaps(all)...)
		found.add(crowds(all)...)
	}
	if err := found.join(); err != nil {
		return w, err
	}
	for _, c := range all {
		w.connections = append(w.connections, c.connection)
	}
	if file.pool != nil {
		p := pool{Name: r.poolName(file)}
		for _, id := range file.pool.ids {
			p.Members = append(p.Members, memberName(p.Name, id.id))
		}
		w.pools = append(w.pools, p)
	}
	return w, nil
}

func (r *runCommand) poolName(file *config) events.ConnectionID {
	if file.pool.name != "" {
		return events.ConnectionID(file.pool.name)
	}
	return events.ConnectionID(r.Connection)
}

func memberName(pool events.ConnectionID, id int64) events.ConnectionID {
	return events.ConnectionID(fmt.Sprintf("%s-%d", pool, id))
}

// candidate is a connection with where its settings come from.
type candidate struct {
	connection
	file *config
	line int // of its section, or of its client id in a pool; 0 without one
	view view
	k    *kong.Context // of the parse that gave it its settings
}

// candidates returns every connection there is to be, and refuses names that
// cannot be.
func (r *runCommand) candidates(k *kong.Context, file *config) ([]candidate, error) {
	if _, err := events.ParseConnectionID(r.Connection); err != nil {
		o := origin{k, view{config: file}}
		return nil, o.wrong(err, "connection")
	}
	if file.connections == nil && file.pool == nil {
		c := r.connection(r.Connection)
		return []candidate{{c, file, 0, view{config: file}, k}}, nil
	}
	sections, lines := slices.Clone(file.connections), make(map[string]int)
	for _, s := range sections {
		lines[s.name] = s.line
	}
	if p := file.pool; p != nil {
		members, err := r.members(file, lines)
		if err != nil {
			return nil, err
		}
		sections = append(sections, members...)
	}
	if (origin{k: k}).onCommandLine("connection") && (file.pool == nil || file.pool.name != "") {
		return nil, fmt.Errorf("--connection %s: the connections have their names from %s: leave it out", r.Connection, file.file)
	}
	all := make([]candidate, 0, len(sections))
	for _, s := range sections {
		c, err := settle(k, file, s)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// members returns the sections that a pool stands for.
func (r *runCommand) members(file *config, taken map[string]int) ([]section, error) {
	p, name := file.pool, r.poolName(file)
	if line := taken[string(name)]; line != 0 {
		return nil, file.wrong(p.line, "pool %s: there is a connection of that name in line %d: give the pool another with \"name\"", name, line)
	}
	var all []section
	for _, id := range p.ids {
		member := memberName(name, id.id)
		if _, err := events.ParseConnectionID(string(member)); err != nil {
			return nil, file.wrong(p.line, "pool %s: %v", name, err)
		}
		if line := taken[string(member)]; line != 0 {
			return nil, file.wrong(id.line, "pool %s: there is a connection %s in line %d: give one of them another name", name, member, line)
		}
		own := setting{"client-id", strconv.FormatInt(id.id, 10), id.line}
		all = append(all, section{string(member), id.line, append(slices.Clone(p.settings), own), true})
	}
	return all, nil
}

// settle parses the command line once more, for the connection of one section.
func settle(k *kong.Context, file *config, s section) (candidate, error) {
	c := candidate{file: file, line: s.line, view: view{file, s}}
	var line commandLine
	// The file was read already. This time it is one of kong's own resolvers.
	parser := newParserOf(&line,
		kong.Configuration(func(io.Reader) (kong.Resolver, error) { return kong.ResolverFunc(nothing), nil }),
		kong.Resolvers(c.view),
		kong.BindTo(context.Background(), (*context.Context)(nil)),
		kong.Writers(io.Discard, io.Discard),
	)
	var err error
	if c.k, err = parser.Parse(k.Args); err != nil {
		return c, err
	}
	flags := &line.Run.connectionFlags
	if c.k.Selected().Name == "doctor" {
		flags = &line.Doctor.connectionFlags
	}
	c.connection = flags.connection(s.name)
	return c, nil
}

func nothing(*kong.Context, *kong.Path, *kong.Flag) (any, error) { return nil, nil }

// validate returns what is out of range, each with its place.
func (c candidate) validate() []error {
	o := origin{c.k, c.view}
	var errs []error
	if s := c.view.own.find("client-id"); s != nil && s.value != strconv.FormatInt(c.Policy.ClientID, 10) && c.view.own.pooled {
		return []error{c.file.wrong(s.line, "%s has the client id %d from %s, which holds for every connection: leave that out", c.Name, c.Policy.ClientID, o.say("client-id"))}
	}
	for _, err := range unjoined(c.Policy.Validate()) {
		e, ok := errors.AsType[*connector.SettingError](err)
		if !ok {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, o.wrong(err, keyFor(e.Setting), keyFor(e.Limit)))
	}
	if client, ok := c.Control.(*ibc.Client); ok {
		if err := client.Validate(); err != nil {
			errs = append(errs, o.wrong(err, "ibc"))
		}
	}
	return errs
}

// keyFor returns the key of a setting that the connector names in words.
func keyFor(words string) string { return strings.ReplaceAll(words, " ", "-") }

func unjoined(err error) []error {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		return all.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// origin tells where the settings of one parse come from.
type origin struct {
	k *kong.Context
	view
}

func (o origin) onCommandLine(key string) bool {
	return slices.ContainsFunc(o.k.Path, func(p *kong.Path) bool {
		return p.Flag != nil && p.Flag.Name == key && !p.Resolved
	})
}

func (o origin) variable(key string) string {
	for _, flag := range o.k.Flags() {
		if flag.Name == key {
			return inEnvironment(flag)
		}
	}
	return ""
}

// line returns the line of the file that a setting comes from, or 0 when it
// comes from elsewhere.
func (o origin) line(key string) int {
	s := o.find(key)
	if s == nil || o.onCommandLine(key) || o.variable(key) != "" {
		return 0
	}
	return s.line
}

// say tells in words where a setting comes from.
func (o origin) say(key string) string {
	if line := o.line(key); line != 0 {
		return fmt.Sprintf("line %d", line)
	}
	if o.onCommandLine(key) {
		return "--" + key
	}
	if name := o.variable(key); name != "" {
		return "$" + name
	}
	return "the default"
}

// wrong puts the place of the first of keys that comes from the file in front
// of err.
func (o origin) wrong(err error, keys ...string) error {
	for _, key := range keys {
		if line := o.line(key); line != 0 {
			return o.config.wrong(line, "%v", err)
		}
	}
	return err
}

// findings are what is wrong, each said once: the same line may hold for several
// connections.
type findings []error

func (f *findings) add(errs ...error) {
	for _, err := range errs {
		if !slices.ContainsFunc(*f, func(e error) bool { return e.Error() == err.Error() }) {
			*f = append(*f, err)
		}
	}
}

// maxFindings is how many are said at once; the rest mostly is more of the same.
const maxFindings = 10

func (f findings) join() error {
	if more := len(f) - maxFindings; more > 0 {
		return errors.Join(append(slices.Clone(f[:maxFindings]), fmt.Errorf("and %d more", more))...)
	}
	return errors.Join(f...)
}

// gatewayOf returns an endpoint in the form that is the same for the same
// gateway, however it is written, for the checks of connections against each
// other. What they share when they run is found by the address that accepted.
func gatewayOf(endpoint string) string {
	host, port, err := net.SplitHostPort(endpoint)
	if err != nil {
		return endpoint
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if ip := net.ParseIP(host); ip != nil {
		host = ip.String()
	}
	if host == "localhost" || host == "::1" {
		host = "127.0.0.1"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err == nil {
		port = strconv.FormatUint(n, 10)
	}
	return net.JoinHostPort(host, port)
}

// reach returns the gateways that a connection may come to.
func (c connection) reach() []string {
	all := []string{gatewayOf(c.Policy.Endpoint)}
	for _, endpoint := range c.Policy.Fallbacks {
		all = append(all, gatewayOf(endpoint))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (c connection) clientIDs() []int64 {
	return append([]int64{c.Policy.ClientID}, c.Policy.SpareIDs...)
}

// place returns the line to look at for one of c's client ids, and in words
// where the id comes from.
func (c candidate) place(id int64) (line int, words string) {
	key := "client-id"
	if id != c.Policy.ClientID {
		key = "spare-client-ids"
	}
	o := origin{c.k, c.view}
	if line := o.line(key); line != 0 {
		return line, o.say(key)
	}
	return c.line, o.say(key)
}

// overlaps finds connections that would take each other's client id at a
// gateway. Of each connection only the first such is told.
func overlaps(all []candidate) []error {
	var errs []error
	for i, c := range all {
		for _, other := range all[:i] {
			gateway, id, meet := meeting(c.connection, other.connection)
			if !meet {
				continue
			}
			line, from := c.place(id)
			_, otherFrom := other.place(id)
			errs = append(errs, c.file.wrong(line, "client id %d of %s (%s) is one of %s's too (%s), and both may come to %s: give each client ids of its own",
				id, c.Name, from, other.Name, otherFrom, gateway))
			break
		}
	}
	return errs
}

func meeting(a, b connection) (gateway string, id int64, meet bool) {
	theirs := b.reach()
	g := slices.IndexFunc(a.reach(), func(gateway string) bool { return slices.Contains(theirs, gateway) })
	i := slices.IndexFunc(a.clientIDs(), func(id int64) bool { return slices.Contains(b.clientIDs(), id) })
	if g < 0 || i < 0 {
		return "", 0, false
	}
	return a.reach()[g], a.clientIDs()[i], true
}

// crowds finds gateways that more connections may come to than they take.
func crowds(all []candidate) []error {
	var errs []error
	count := make(map[string]int)
	for _, c := range all {
		for _, gateway := range c.reach() {
			if count[gateway]++; count[gateway] == maxClients+1 {
				errs = append(errs, c.file.wrong(c.line, "%s is connection %d that may come to %s: a gateway takes at most %d API clients", c.Name, maxClients+1, gateway, maxClients))
			}
		}
	}
	return errs
}
