// Package metrics derives Prometheus metrics from the events, and from nothing
// else: whoever reads the same log has the same numbers, and a restart loses
// none.
//
// The one idea: [Metrics] is a fold. [Metrics.Add] counts an event and applies it
// to the connection's state; a scrape reads the counts and the states. Package
// follow feeds it a log, from its beginning on.
//
//	m := metrics.New(time.Now)
//	reader := &follow.Reader{Log: log, Folds: []follow.Fold{m}, Ends: m.Ends}
//	go reader.Run(ctx)
//	registry := prometheus.NewRegistry()
//	registry.MustRegister(m)
//
// Guarantees:
//   - Each event counts once, whatever was restarted: what a process counted is
//     not kept anywhere, and counted anew from the log by the next one.
//   - The number of series is bounded: by the connections, the names in package
//     events, and [MaxCodes] of the gateway's error codes for each connection.
//
// # Non-obvious
//
//   - Heartbeats expire from the log, so that what is counted of them goes back as far
//     as they do; to Prometheus that is the reset of a counter.
//   - A process that died says nothing. Its connection counts as available until it
//     is overdue ([events.State.StaleAfter]), and what the next process says of the
//     time between is counted when it says so.
//   - Heartbeats carry totals of their session, of which what is new is counted. What
//     a session sends after its last heartbeat is in none.
//   - Durations are taken from the events, and not from when they were read.
package metrics

import (
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ibconn/bus"
	"ibconn/events"
)

// MaxCodes is for how many of the gateway's error codes a connection has a series
// each. The rest share the code "other": the gateway is not trusted with the
// number of series.
const MaxCodes = 100

// Metrics are the metrics of all connections. [New] makes one. Its methods may be
// called from any goroutine.
type Metrics struct {
	now func() time.Time

	mu          sync.Mutex
	connections map[events.ConnectionID]*connection
	position    uint64 // of the newest event, in the log
	end         uint64 // where the log ended when that was last looked at
	undecodable uint64

	events       *prometheus.CounterVec
	losses       *prometheus.CounterVec
	failures     *prometheus.CounterVec
	errors       *prometheus.CounterVec
	commands     *prometheus.CounterVec
	heartbeats   *prometheus.CounterVec
	gaps         *prometheus.CounterVec
	placements   *prometheus.CounterVec
	refusals     *prometheus.CounterVec
	clockJumps   *prometheus.CounterVec
	frames       *prometheus.CounterVec
	bytes        *prometheus.CounterVec
	gapBars      *prometheus.CounterVec
	requests     *prometheus.CounterVec
	waits        *prometheus.CounterVec
	waited       *prometheus.CounterVec
	reconnect    *prometheus.HistogramVec
	outage       *prometheus.HistogramVec
	uptime       *prometheus.HistogramVec
	roundTrip    *prometheus.HistogramVec
	linkTrip     *prometheus.HistogramVec
	delivery     *prometheus.HistogramVec
	commandTook  *prometheus.HistogramVec
	gapTook      *prometheus.HistogramVec
	restoredTook *prometheus.HistogramVec
}

// connection is what is kept of one connection beside the counts.
type connection struct {
	state  events.State
	lastAt time.Time // when its newest event happened, heartbeats included
	codes  map[int]bool
	spans  availability
	opened time.Time // when its session was opened whose subscriptions are awaited
	load   load
}

// Seconds of the classic buckets; the native ones need none.
var (
	tripBuckets   = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	waitBuckets   = []float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}
	outageBuckets = []float64{1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 4 * 3600, 24 * 3600, 72 * 3600}
)

// New returns metrics of nothing yet. Now is the clock that ages and
// availability are worked out by at a scrape.
func New(now func() time.Time) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ibconn_" + name, Help: help}, append([]string{"connection"}, labels...))
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "ibconn_" + name, Help: help, Buckets: buckets, NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160,
		}, append([]string{"connection"}, labels...))
	}
	return &Metrics{
		now:         now,
		connections: make(map[events.ConnectionID]*connection),

		events:     counter("events_total", "Events in the log, by kind and type.", "kind", "type"),
		losses:     counter("session_losses_total", "Sessions lost, by cause and whose fault it is.", "cause", "attribution"),
		failures:   counter("attempt_failures_total", "Attempts that opened no session, by cause and how far they came.", "cause", "stage"),
		errors:     counter("gateway_reports_total", "Errors and notices of the gateway that changed no level, by class and code, repeated ones included.", "class", "code"),
		commands:   counter("commands_total", "Commands, by verb and outcome: accepted, rejected, completed, failed.", "verb", "outcome"),
		heartbeats: counter("heartbeats_total", "Heartbeat probes in the log, by what they probe (session, link) and outcome (answered, missed).", "probe", "outcome"),
		gaps:       counter("gaps_total", "Stretches of missing bars, by outcome: detected, filled, unfillable.", "outcome"),
		placements: counter("subscription_placements_total", "Subscriptions placed with the gateway, by why.", "because"),
		refusals:   counter("subscription_refusals_total", "Subscriptions that the gateway refused or ended, by class of its words.", "class"),
		clockJumps: counter("clock_jumps_total", "Moves of the wall clock other than the passing of time."),
		frames:     counter("gateway_messages_total", "Messages over the sockets of sessions and attempts that have ended, by direction: in, out.", "direction"),
		bytes:      counter("gateway_bytes_total", "Bytes over the sockets of sessions and attempts that have ended, by direction: in, out.", "direction"),
		gapBars:    counter("gap_bars_total", "Bars of gaps, by outcome: detected (at most), filled, missing (that IB does not have).", "outcome"),

		requests: counter("requests_total", "Messages sent to the gateway, by what they ask, up to each session's last heartbeat.", "kind"),
		waits:    counter("pacing_waits_total", "Messages of requests_total that the message budget made wait for their turn."),
		waited:   counter("pacing_wait_seconds_total", "How long the messages of pacing_waits_total waited, all together."),

		reconnect:    histogram("attempt_duration_seconds", "How long an attempt took that opened a session.", waitBuckets),
		outage:       histogram("outage_duration_seconds", "From the loss of a session to the next one.", outageBuckets),
		uptime:       histogram("session_duration_seconds", "How long sessions were ready that were lost.", outageBuckets),
		roundTrip:    histogram("heartbeat_round_trip_seconds", "Round trip of reqCurrentTime.", tripBuckets),
		linkTrip:     histogram("link_round_trip_seconds", "Round trip of a probe of IB's servers through the gateway.", tripBuckets),
		delivery:     histogram("subscription_delivery_seconds", "From the placing of a subscription to its first data.", waitBuckets),
		commandTook:  histogram("command_duration_seconds", "From the acceptance of a command to its completion.", waitBuckets, "verb"),
		gapTook:      histogram("gap_fill_duration_seconds", "From the finding of missing bars to their being filled in.", outageBuckets),
		restoredTook: histogram("restored_duration_seconds", "From the opening of a session until each subscription that is wanted delivers.", waitBuckets),
	}
}

func (m *Metrics) vectors() []prometheus.Collector {
	return []prometheus.Collector{
		m.events, m.losses, m.failures, m.errors, m.commands, m.heartbeats, m.gaps, m.placements, m.refusals, m.clockJumps, m.frames, m.bytes, m.gapBars,
		m.requests, m.waits, m.waited,
		m.reconnect, m.outage, m.uptime, m.roundTrip, m.linkTrip, m.delivery, m.commandTook, m.gapTook, m.restoredTook,
	}
}

// Add counts an event, which must come in the order of the log.
func (m *Metrics) Add(e bus.Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.connections[e.Connection]
	if c == nil {
		c = &connection{state: events.NewState(e.Connection), codes: make(map[int]bool)}
		m.connections[e.Connection] = c
	}
	m.position = max(m.position, e.StreamSeq)
	before := c.state
	c.spans.before(e.Recorded, before, c.lastAt)
	c.state = c.state.Apply(e.Recorded)
	c.spans.note(e.Recorded, c.state)
	c.lastAt = e.Time
	m.count(c, before, e.Recorded)
}

// Skip notes a stored message that is no event.
func (m *Metrics) Skip(position uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.position = max(m.position, position)
	m.undecodable++
}

func (m *Metrics) count(c *connection, before events.State, r events.Recorded) {
	name := string(r.Connection)
	t := r.Event.Type()
	m.events.WithLabelValues(name, string(t.Kind()), t.What()).Inc()
	switch e := r.Event.(type) {
	case *events.DialFailed:
		m.failures.WithLabelValues(name, string(e.Cause), string(e.Stage)).Inc()
		m.traffic(name, e.Traffic)
	case *events.SessionOpened:
		m.reconnect.WithLabelValues(name).Observe(seconds(e.Took))
		if e.Outage > 0 {
			m.outage.WithLabelValues(name).Observe(seconds(e.Outage))
		}
		c.opened, c.load = r.Time, load{}
		m.restored(c, r)
	case *events.SessionLost:
		m.losses.WithLabelValues(name, string(e.Cause), string(e.Cause.Attribution())).Inc()
		m.uptime.WithLabelValues(name).Observe(seconds(e.Uptime))
		m.traffic(name, e.Traffic)
		c.opened, c.load = time.Time{}, load{}
	case *events.Stopped:
		c.opened, c.load = time.Time{}, load{}
	case *events.ClockJumped:
		m.clockJumps.WithLabelValues(name).Inc()
	case *events.GatewayReported:
		m.errors.WithLabelValues(name, string(e.Class), c.code(e.Code)).Inc()
	case *events.GatewayRepeated:
		m.errors.WithLabelValues(name, string(e.Class), c.code(e.Code)).Add(float64(max(e.Count, 0)))
	case *events.HeartbeatAnswered:
		m.heartbeats.WithLabelValues(name, "session", "answered").Inc()
		m.roundTrip.WithLabelValues(name).Observe(seconds(e.RTT))
		m.asked(c, name, e.Attempt, e.Load)
	case *events.HeartbeatMissed:
		m.heartbeats.WithLabelValues(name, "session", "missed").Inc()
		m.asked(c, name, e.Attempt, e.Load)
	case *events.LinkAnswered:
		m.heartbeats.WithLabelValues(name, "link", "answered").Inc()
		m.linkTrip.WithLabelValues(name).Observe(seconds(e.RTT))
	case *events.LinkMissed:
		m.heartbeats.WithLabelValues(name, "link", "missed").Inc()
	default:
		m.countAsked(c, before, r)
	}
}

// countAsked counts what somebody asked for: commands and subscriptions.
func (m *Metrics) countAsked(c *connection, before events.State, r events.Recorded) {
	name := string(r.Connection)
	command := func(v events.Verb, outcome string) { m.commands.WithLabelValues(name, string(v), outcome).Inc() }
	switch e := r.Event.(type) {
	case *events.CommandAccepted:
		command(e.Verb, "accepted")
	case *events.CommandRejected:
		command(e.Verb, "rejected")
	case *events.CommandCompleted:
		command(e.Verb, "completed")
		m.commandTook.WithLabelValues(name, string(e.Verb)).Observe(seconds(e.Took))
	case *events.CommandFailed:
		command(e.Verb, "failed")
	case *events.SubscriptionAdded, *events.SubscriptionJoined:
		command(events.VerbSubscribe, "completed")
	case *events.SubscriptionLeft:
		command(events.VerbCancel, "completed")
	case *events.SubscriptionCancelled:
		command(events.VerbCancel, "completed")
		m.restored(c, r)
	case *events.SubscriptionPlacement:
		m.placements.WithLabelValues(name, string(e.Because)).Inc()
	case *events.SubscriptionDelivered:
		if sub, ok := before.Subscribed(e.Subscription); ok && sub.LiveAt.IsZero() {
			m.delivery.WithLabelValues(name).Observe(seconds(e.Took))
		}
		m.restored(c, r)
	case *events.SubscriptionRefused:
		m.refusals.WithLabelValues(name, string(e.Class)).Inc()
	case *events.GapDetected:
		m.gaps.WithLabelValues(name, "detected").Inc()
		m.gapBars.WithLabelValues(name, "detected").Add(float64(max(e.Bars, 0)))
	case *events.GapFilled:
		m.gaps.WithLabelValues(name, "filled").Inc()
		m.gapBars.WithLabelValues(name, "filled").Add(float64(max(e.Bars, 0)))
		m.gapBars.WithLabelValues(name, "missing").Add(float64(max(e.Missing, 0)))
		m.gapTook.WithLabelValues(name).Observe(seconds(e.Took))
	case *events.GapUnfillable:
		m.gaps.WithLabelValues(name, "unfillable").Inc()
	default:
	}
}

// restored takes the time from the opening of a session to the moment when each
// subscription delivers.
func (m *Metrics) restored(c *connection, r events.Recorded) {
	if c.opened.IsZero() || len(c.state.Subscriptions) == 0 {
		return
	}
	live := func(s *events.Subscription) bool { return s.Status == events.SubscriptionLive }
	if slices.ContainsFunc(c.state.Subscriptions, func(s *events.Subscription) bool { return !live(s) }) {
		return
	}
	m.restoredTook.WithLabelValues(string(r.Connection)).Observe(max(r.Time.Sub(c.opened), 0).Seconds())
	c.opened = time.Time{}
}

func (m *Metrics) traffic(name string, t events.Traffic) {
	m.frames.WithLabelValues(name, "in").Add(float64(t.FramesIn))
	m.frames.WithLabelValues(name, "out").Add(float64(t.FramesOut))
	m.bytes.WithLabelValues(name, "in").Add(float64(t.BytesIn))
	m.bytes.WithLabelValues(name, "out").Add(float64(t.BytesOut))
}

func (c *connection) code(code int) string {
	if !c.codes[code] && len(c.codes) >= MaxCodes {
		return "other"
	}
	c.codes[code] = true
	return strconv.Itoa(code)
}

func seconds(d events.Millis) float64 { return max(d.Duration(), 0).Seconds() }

// Ends takes where the log ends, for the lag of whoever reads it.
func (m *Metrics) Ends(position uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end = position
}

// sorted returns the connections by name. The lock must be held.
func (m *Metrics) sorted() []events.ConnectionID { return slices.Sorted(maps.Keys(m.connections)) }
