// Package loglines turns events into log lines: one each, so that the log and
// the events can never disagree.
//
// The message is the event's sentence; the fields are what a machine searches
// for: connection, type, sequence, the condition after a state event, and what
// the event belongs to, under the names that the event itself uses.
// Answered heartbeats are of level debug.
package loglines

import (
	"github.com/rs/zerolog"

	"ibconn/events"
)

// Write writes the log line of r.
func Write(log zerolog.Logger, r events.Recorded) {
	line := log.WithLevel(level(r)).
		Str("connection", string(r.Connection)).
		Str("event", string(r.Event.Type().Kind())+"."+r.Event.Type().What()).
		Uint64("sequence", r.Sequence).
		Time("at", r.Time)
	if e, ok := r.Event.(events.StateEvent); ok {
		line = line.Str("phase", string(e.After().Phase)).Str("condition", string(e.After().Condition))
	}
	if r.Correlation != "" {
		line = line.Str("correlationid", r.Correlation)
	}
	if r.Causation != "" {
		line = line.Str("causationid", r.Causation)
	}
	line.Msg(events.Sentence(r))
}

func level(r events.Recorded) zerolog.Level {
	if events.Routine(r) {
		return zerolog.DebugLevel
	}
	switch events.SeverityOf(r) {
	case events.SeverityError:
		return zerolog.ErrorLevel
	case events.SeverityWarning:
		return zerolog.WarnLevel
	case events.SeverityInfo:
	}
	return zerolog.InfoLevel
}
