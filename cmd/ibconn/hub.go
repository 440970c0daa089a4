package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"ibconn/bus"
	"ibconn/events"
)

// external says where a hub is, and who we are there. A nil one is that of a run
// without.
type external struct {
	URL      string
	Login    []nats.Option
	Replicas int // see [bus.Relay]
}

// uplink is what a run has of its hub. A nil one does nothing, so that a run is wired
// the same with a hub and without.
type uplink struct {
	*bus.Hub
	replicas int
	// live is a connection of its own for data, so that the log does not wait behind
	// ticks.
	live *bus.Hub
}

const (
	// fetchWithin is for how long a start waits for the hub, to see whether it has
	// more of a log than there is here.
	fetchWithin = 2 * time.Second
	// serveAgain is when commands are offered on the hub again after that failed.
	serveAgain = time.Second
)

func (e *external) dial(instance string, log zerolog.Logger) (*uplink, error) {
	if e == nil {
		return nil, nil
	}
	hub, err := bus.DialHub(bus.HubOptions{URL: e.URL, Login: e.Login, Name: "ibconn run " + instance, Log: log})
	if err != nil {
		return nil, usageError{err}
	}
	live, err := bus.DialHub(bus.HubOptions{URL: e.URL, Login: e.Login, Name: "ibconn data " + instance})
	if err != nil {
		hub.Close()
		return nil, usageError{err}
	}
	return &uplink{Hub: hub, replicas: e.Replicas, live: live}, nil
}

// Close ends the connections to the hub.
func (l *uplink) Close() {
	if l != nil {
		l.Hub.Close()
		l.live.Close()
	}
}

// show adds to a log line where the bus is found.
func (e *external) show(line *zerolog.Event, url string) *zerolog.Event {
	if e != nil {
		line = line.Str("hub", bus.Redacted(e.URL))
	}
	if url != "" {
		line = line.Str("nats", url)
	}
	return line
}

func (l *uplink) data() *nats.Conn {
	if l == nil {
		return nil
	}
	return l.live.Conn()
}

// publish returns what publishes a message on the bus, and on the hub where there is
// one.
func (l *uplink) publish(nc *nats.Conn) func(subject string, payload []byte) error {
	if l == nil {
		return nc.Publish
	}
	return func(subject string, payload []byte) error {
		_ = l.Conn().Publish(subject, payload) // live; who missed it asks
		return nc.Publish(subject, payload)
	}
}

func (l *uplink) relay(log *bus.Log, a *app) *bus.Relay {
	if l == nil {
		return nil
	}
	r := &bus.Relay{Local: log, Hub: l.Hub, Replicas: l.replicas, Log: a.Log}
	for _, c := range a.Connections {
		r.Connections = append(r.Connections, c.Name)
	}
	return r
}

// fetch brings the log here up to the hub's, if that has more of it. A hub that is
// away has its say later: the connections do not wait for it.
func (l *uplink) fetch(ctx context.Context, relay *bus.Relay, log zerolog.Logger) error {
	if l == nil {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, fetchWithin)
	defer cancel()
	if l.Await(waiting) != nil {
		return nil
	}
	for _, c := range relay.Connections {
		n, err := relay.Fetch(ctx, c)
		line := log.With().Str("connection", string(c)).Str("hub", l.URL()).Logger()
		fork, forked := errors.AsType[*bus.ForkError](err)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, bus.ErrKept):
			line.Error().Err(err).Msg("the hub has more of a connection's log than there is here: stop the other process, or use another name")
		case forked:
			line.Error().Err(fork).Msg("the hub has another log of a connection")
		case err != nil && n > 0:
			return err // half of it would be another history
		case err != nil:
			line.Warn().Err(err).Msg("whether the hub has more of a connection's log than there is here could not be seen")
		case n > 0:
			line.Warn().Int("events", n).Msg("this data directory lacked events of a connection, which were taken from the hub")
		}
	}
	return nil
}

// serve takes commands on the bus, and on the hub where there is one: there for as
// long as ctx lasts, whatever happens to it.
func (l *uplink) serve(ctx context.Context, nc *nats.Conn, s bus.CommandService) error {
	if l == nil {
		return bus.ServeCommands(ctx, nc, s)
	}
	ctx, cancel := context.WithCancel(ctx)
	there := make(chan struct{})
	defer func() {
		cancel()
		<-there
	}()
	first := make(chan struct{})
	if !l.Status().Connected {
		close(first) // nobody who is told that we are up can ask there
	}
	go func() {
		defer close(there)
		l.serveThere(ctx, s, first)
	}()
	here := s
	here.Started = func() {
		select {
		case <-first:
		case <-time.After(fetchWithin):
		case <-ctx.Done():
		}
		s.Started()
	}
	return bus.ServeCommands(ctx, nc, here)
}

func (l *uplink) serveThere(ctx context.Context, s bus.CommandService, first chan struct{}) {
	s.Started = func() {
		select {
		case <-first:
		default:
			close(first)
		}
	}
	for l.Await(ctx) == nil {
		_ = bus.ServeCommands(ctx, l.Conn(), s) // the hub says itself why it is away
		select {
		case <-time.After(serveAgain):
		case <-ctx.Done():
			return
		}
	}
}

// handler carries out commands.
type handler = func(ctx context.Context, v events.Verb, r events.Request, more func(events.Answer)) events.Answer

// withRelay adds to the answers to status how far the log has come to the hub.
func withRelay(relay *bus.Relay, handle handler) handler {
	if relay == nil {
		return handle
	}
	return func(ctx context.Context, v events.Verb, r events.Request, more func(events.Answer)) events.Answer {
		a := handle(ctx, v, r, more)
		if v == events.VerbStatus && a.OK {
			if s, err := relay.Status(ctx, a.Connection); err == nil {
				a.Relay = &s
			}
		}
		return a
	}
}

// drain gives the last events a moment to come to the hub; else the next process
// brings them there.
func drain(ctx context.Context, relay *bus.Relay) {
	if relay == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, drainWithin)
	defer cancel()
	relay.Drain(ctx)
}

func wordRelay(r events.Relay, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s", r.Hub, r.Status)
	if !r.Since.IsZero() {
		fmt.Fprintf(&b, " for %v", events.Between(r.Since, now))
	}
	fmt.Fprintf(&b, ", it has sequence %d", r.Sequence)
	if r.Lag > 0 {
		fmt.Fprintf(&b, "; %s not there, the oldest for %v", plural(r.Lag, "event"), r.LagFor)
	}
	if r.Reverted > 0 {
		fmt.Fprintf(&b, "; it lost events %s, and has them again", plural(r.Reverted, "time"))
	}
	if r.Problem != "" {
		fmt.Fprintf(&b, "; %s", r.Problem)
	}
	return b.String()
}

// relayMetrics shows how far each connection's log has come to the hub.
type relayMetrics struct{ relay *bus.Relay }

var (
	relayLag        = relayDesc("lag_events", "Events, heartbeats aside, that the hub is not known to have.")
	relayLagSeconds = relayDesc("lag_seconds", "Age of the oldest event that the hub is not known to have.")
	relaySequence   = relayDesc("sequence", "Sequence of the newest event that the hub is known to have.")
	relayEvents     = relayDesc("events_total", "Events that this process brought to the hub, heartbeats included.")
	relayRefused    = relayDesc("refused_events", "Events that the hub does not take.")
	relayRefusals   = relayDesc("refused_total", "How often the hub did not take what was next.")
	relayReverted   = relayDesc("reverted_total", "How often the hub had lost events that it had.")
	relayStatus     = relayDesc("status", "1 for how the relay stands, 0 for how it does not.", "status")
	relayConnected  = prometheus.NewDesc("ibconn_relay_connected", "1 while the hub is connected.", nil, nil)
	relayReconnects = prometheus.NewDesc("ibconn_relay_reconnects_total", "How often the hub was reached again.", nil, nil)
)

func relayDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("ibconn_relay_"+name, help, append([]string{"connection"}, labels...), nil)
}

// Describe tells what there is.
func (m relayMetrics) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		relayLag, relayLagSeconds, relaySequence, relayEvents, relayRefused, relayRefusals, relayReverted, relayStatus, relayConnected, relayReconnects,
	} {
		c <- d
	}
}

// Collect asks the relay. A connection that cannot be asked is left out.
func (m relayMetrics) Collect(c chan<- prometheus.Metric) {
	hub := m.relay.Hub.Status()
	c <- prometheus.MustNewConstMetric(relayConnected, prometheus.GaugeValue, truth(hub.Connected))
	c <- prometheus.MustNewConstMetric(relayReconnects, prometheus.CounterValue, float64(hub.Reconnects))
	for _, name := range m.relay.Names() {
		s, err := m.relay.Status(context.Background(), name)
		if err != nil {
			continue
		}
		for _, one := range []struct {
			desc  *prometheus.Desc
			kind  prometheus.ValueType
			value float64
		}{
			{relayLag, prometheus.GaugeValue, float64(s.Lag)},
			{relayLagSeconds, prometheus.GaugeValue, float64(s.LagFor) / 1000},
			{relaySequence, prometheus.GaugeValue, float64(s.Sequence)},
			{relayEvents, prometheus.CounterValue, float64(s.Relayed)},
			{relayRefused, prometheus.GaugeValue, float64(s.Refused)},
			{relayRefusals, prometheus.CounterValue, float64(s.Refusals)},
			{relayReverted, prometheus.CounterValue, float64(s.Reverted)},
		} {
			c <- prometheus.MustNewConstMetric(one.desc, one.kind, one.value, string(name))
		}
		for _, status := range events.RelayStatuses {
			c <- prometheus.MustNewConstMetric(relayStatus, prometheus.GaugeValue, truth(s.Status == status), string(name), string(status))
		}
	}
}

func truth(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
