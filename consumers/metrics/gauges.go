package metrics

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ibconn/events"
)

// maxFarms is of how many farms a connection has series: IB has some dozens.
const maxFarms = 100

func description(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("ibconn_"+name, help, labels, nil)
}

// What is worked out at a scrape, from the states.
var (
	phaseDesc       = description("connection_phase", "Where the connection stands: 1 for the phase that it is in.", "connection", "phase")
	conditionDesc   = description("connection_condition", "How the connection is: 1 for the condition that it is in.", "connection", "condition")
	overdueDesc     = description("connection_overdue", "1 when the connection's process should have said something by now and did not.", "connection")
	lastEventDesc   = description("last_event_timestamp_seconds", "When the connection's newest event happened.", "connection")
	sequenceDesc    = description("log_sequence", "Sequence of the connection's newest event that is not a heartbeat.", "connection")
	epochDesc       = description("epochs_total", "Claims on the connection: starts of a process.", "connection")
	attemptsDesc    = description("attempts_total", "Attempts to open a session.", "connection")
	sessionsDesc    = description("sessions_total", "Sessions opened.", "connection")
	openedDesc      = description("session_opened_timestamp_seconds", "When the session was opened that is ready; absent while none is.", "connection")
	breakerDesc     = description("breaker_open", "1 while the circuit breaker is open.", "connection")
	linkDesc        = description("link_status", "The gateway's link to IB: 1 for the status that it has.", "connection", "status")
	unprovenDesc    = description("link_unproven", "1 while nothing has shown yet that IB's servers are reached.", "connection")
	farmDesc        = description("farm_status", "IB's data services: 1 for the status that each has.", "connection", "kind", "farm", "status")
	competingDesc   = description("competing_session", "1 while another session of the user takes the market data.", "connection")
	loginDesc       = description("login_needed", "1 while a person has to look at the gateway.", "connection")
	paceDesc        = description("pacing_reduced_messages_per_second", "What the message budget is reduced to after complaints of the gateway; 0 while it is not.", "connection")
	queueDesc       = description("queue_depth", "Messages that waited for their turn to be sent when the newest heartbeat was recorded; absent without a session.", "connection")
	answeredDesc    = description("heartbeat_answered_timestamp_seconds", "When a heartbeat was last answered.", "connection")
	ageDesc         = description("heartbeat_age_seconds", "How long ago a heartbeat was last answered; absent without a session.", "connection")
	skewDesc        = description("clock_skew_seconds", "The gateway's clock less ours, within half a second.", "connection")
	subscribedDesc  = description("subscriptions", "What is wanted from the gateway, by how it stands.", "connection", "status")
	openGapsDesc    = description("gaps_open", "Stretches of missing bars that are to be filled.", "connection")
	pendingDesc     = description("commands_pending", "Commands without an outcome.", "connection")
	availableDesc   = description("availability_ratio", "Share of a window of time in which the connection was ready, or healthy; time when it was not wanted does not count.", "connection", "window", "of")
	positionDesc    = description("consumer_position", "Stream sequence of the newest event that is counted here.")
	lagDesc         = description("consumer_lag_messages", "Stored messages that are not counted here yet.")
	undecodableDesc = description("consumer_undecodable_messages_total", "Stored messages that are no events, and are not counted.")
)

var gauges = []*prometheus.Desc{
	phaseDesc, conditionDesc, overdueDesc, lastEventDesc, sequenceDesc, epochDesc, attemptsDesc, sessionsDesc, openedDesc, breakerDesc, linkDesc, unprovenDesc,
	farmDesc, competingDesc, loginDesc, paceDesc, queueDesc, answeredDesc, ageDesc, skewDesc, subscribedDesc, openGapsDesc, pendingDesc, availableDesc,
	positionDesc, lagDesc, undecodableDesc,
}

// windows are what availability is told of.
var windows = []struct {
	name string
	span time.Duration
}{{"1h", time.Hour}, {"1d", 24 * time.Hour}, {"30d", 30 * 24 * time.Hour}}

// Describe implements [prometheus.Collector].
func (m *Metrics) Describe(to chan<- *prometheus.Desc) {
	for _, v := range m.vectors() {
		v.Describe(to)
	}
	for _, d := range gauges {
		to <- d
	}
}

// Collect implements [prometheus.Collector]. All of it is as of one event.
func (m *Metrics) Collect(to chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range m.vectors() {
		v.Collect(to)
	}
	now := m.now()
	for _, name := range m.sorted() {
		scrape{to, string(name)}.connection(m.connections[name], now)
	}
	lag := uint64(0)
	if m.end > m.position {
		lag = m.end - m.position
	}
	whole := scrape{to: to}
	whole.gauge(positionDesc, float64(m.position))
	whole.gauge(lagDesc, float64(lag))
	whole.counter(undecodableDesc, m.undecodable)
}

// scrape is what a scrape asks of one connection, or with no name of all.
type scrape struct {
	to   chan<- prometheus.Metric
	name string
}

func (s scrape) labels(more []string) []string {
	if s.name == "" {
		return more
	}
	return append([]string{s.name}, more...)
}

func (s scrape) gauge(d *prometheus.Desc, value float64, labels ...string) {
	s.to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, s.labels(labels)...)
}

func (s scrape) counter(d *prometheus.Desc, value uint64) {
	s.to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), s.labels(nil)...)
}

func (s scrape) is(d *prometheus.Desc, is bool, labels ...string) {
	value := 0.0
	if is {
		value = 1
	}
	s.gauge(d, value, labels...)
}

func (s scrape) when(d *prometheus.Desc, at time.Time) {
	if !at.IsZero() {
		s.gauge(d, float64(at.UnixMilli())/1000)
	}
}

// oneOf shows which of some names is the case.
func oneOf[T ~string](s scrape, d *prometheus.Desc, is T, all []T, labels ...string) {
	for _, name := range all {
		s.is(d, name == is, append(slices.Clip(labels), string(name))...)
	}
}

var (
	phases     = []events.Phase{events.PhaseIdle, events.PhaseDialing, events.PhaseGreeting, events.PhaseReady, events.PhaseWaiting, events.PhaseTripped, events.PhaseStopped}
	conditions = []events.Condition{events.ConditionHealthy, events.ConditionDegraded, events.ConditionDown, events.ConditionStopped}
	links      = []events.LinkStatus{events.LinkUnknown, events.LinkUp, events.LinkDown}
	farms      = []events.FarmStatus{events.FarmUnknown, events.FarmUp, events.FarmIdle, events.FarmConnecting, events.FarmDown}
	standings  = []events.SubscriptionStatus{
		events.SubscriptionWanted, events.SubscriptionPlaced, events.SubscriptionLive, events.SubscriptionDark, events.SubscriptionFailed,
	}
)

func (s scrape) connection(c *connection, now time.Time) {
	state := c.state
	overdue := c.state.StaleAfter(c.lastAt)
	oneOf(s, phaseDesc, state.Phase, phases)
	oneOf(s, conditionDesc, state.Condition, conditions)
	s.is(overdueDesc, !overdue.IsZero() && now.After(overdue))
	s.when(lastEventDesc, c.lastAt)
	s.gauge(sequenceDesc, float64(state.Sequence))
	s.counter(epochDesc, state.Counts.Epochs)
	s.counter(attemptsDesc, state.Counts.Attempts)
	s.counter(sessionsDesc, state.Counts.Sessions)
	s.when(openedDesc, state.Session.OpenedAt)
	s.is(breakerDesc, state.Breaker.Open)
	s.levels(state)
	s.gauge(paceDesc, float64(state.Pacing.PerSecond))
	if c.load.attempt != 0 {
		s.gauge(queueDesc, float64(c.load.queued))
	}
	s.when(answeredDesc, state.Heartbeat.AnsweredAt)
	if at := state.Heartbeat.AnsweredAt; !at.IsZero() && state.Phase == events.PhaseReady {
		s.gauge(ageDesc, max(now.Sub(at), 0).Seconds())
		s.gauge(skewDesc, state.Heartbeat.Skew.Duration().Seconds())
	}
	s.gauge(pendingDesc, float64(len(state.Pending)))
	for _, w := range windows {
		for _, of := range []events.Availability{events.Present, events.Unimpaired} {
			if share, known := c.spans.share(of, now.Add(-w.span), now, overdue); known {
				s.gauge(availableDesc, share, w.name, shareOf(of))
			}
		}
	}
}

// levels shows the link, the farms and the subscriptions.
func (s scrape) levels(state events.State) {
	oneOf(s, linkDesc, state.Link.Status, links)
	s.is(unprovenDesc, state.Link.Unproven)
	for _, f := range state.Farms[:min(len(state.Farms), maxFarms)] {
		oneOf(s, farmDesc, f.Status, farms, string(f.Kind), f.Name)
	}
	s.is(competingDesc, !state.Competing.Since.IsZero())
	s.is(loginDesc, state.Gateway.Login.Level != "")
	stand, open := make(map[events.SubscriptionStatus]int), 0
	for _, sub := range state.Subscriptions {
		stand[sub.Status]++
		open += len(sub.Gaps)
	}
	for _, status := range standings {
		s.gauge(subscribedDesc, float64(stand[status]), string(status))
	}
	s.gauge(openGapsDesc, float64(open))
}
