package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
	"github.com/rs/zerolog"

	"ibconn/bus"
	"ibconn/consumers/alerts"
)

// alertFlags say whom to tell of what.
type alertFlags struct {
	Alerts string `help:"YAML file that says whom to tell, at webhooks, and of what; without rules, of what most want to know." placeholder:"FILE" env:"IBCONN_ALERTS" type:"path"`
}

// hosted returns what a run tells itself: not that its own bus is away. nil is
// nothing.
func (f alertFlags) hosted() (*alerts.Config, error) {
	if f.Alerts == "" {
		return nil, nil
	}
	c, err := alerts.Load(f.Alerts)
	if err != nil {
		return nil, err
	}
	return c.Hosted(), nil
}

func (f alertFlags) required() (*alerts.Config, error) {
	if f.Alerts == "" {
		return nil, errors.New("alerts: say with --alerts which file says whom to tell")
	}
	return alerts.Load(f.Alerts)
}

func receivers(c *alerts.Config) string {
	var all []string
	for _, r := range c.Receivers {
		all = append(all, fmt.Sprintf("%s at %s", r.Name, r.URL))
	}
	return strings.Join(all, ", ")
}

// openAlerts creates what alerts keep, if it is not there.
func openAlerts(ctx context.Context, nc *nats.Conn) error {
	a, err := bus.NewAlerts(nc, bus.AlertOptions{})
	if err != nil {
		return err
	}
	return a.Open(ctx)
}

// tellAlerts tells people until ctx ends.
func (c consumers) tellAlerts(ctx context.Context, nc *nats.Conn) error {
	a, err := bus.NewAlerts(nc, bus.AlertOptions{})
	if err != nil {
		return err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	t := &alerts.Teller{
		Config: c.Alerts, Bus: a, Instance: nuid.Next(), Client: alerts.NewClient(transport),
		Noted: c.noteAlert,
		Waiting: func(err error) {
			c.Log.Warn().Err(err).Str("bucket", bus.AlertBucket).Msg("what alerts need of the bus cannot be had, and is tried again every second; is `ibconn run` up?")
		},
	}
	return t.Run(ctx)
}

func (c consumers) noteAlert(n alerts.Note) {
	level, words := zerolog.InfoLevel, "an alert was told"
	switch {
	case n.Again:
		level, words = zerolog.WarnLevel, "an alert could not be told, and is tried again; nothing more is said of this receiver until it takes one"
	case n.Err != nil:
		level, words = zerolog.ErrorLevel, "an alert was refused, and is not tried again; correct the receiver, and try it with --test"
	}
	c.Log.WithLevel(level).Err(n.Err).Str("receiver", n.Receiver).Str("host", n.Host).Str("alert", n.ID).Msg(words)
}

// testAlerts sends one message to each receiver.
func testAlerts(ctx context.Context, out console, c *alerts.Config) error {
	if c == nil {
		return usageError{errors.New("--test is for alerts: ibconn consume alerts --alerts FILE --test")}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	client := alerts.NewClient(transport)
	var failed []string
	for _, r := range c.Receivers {
		answer, err := alerts.Send(ctx, client, r, alerts.TestAlert(r.Name, nuid.Next()), time.Now)
		if err != nil {
			failed = append(failed, r.Name)
			answer = "FAILED: " + err.Error()
		}
		fmt.Fprintf(out.Out, "%s at %s: %s\n", r.Name, r.URL, answer)
	}
	if len(failed) > 0 {
		return fmt.Errorf("not told: %s", strings.Join(failed, ", "))
	}
	return nil
}
