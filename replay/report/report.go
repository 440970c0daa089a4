// Package report sums up a span of a connection's past: how available it was, what its
// incidents came from, at which hours, and whether they cluster; and makes one file of
// it to attach to a ticket.
//
// The one idea: a [Collector] takes the events of one connection in one pass. Whatever
// it keeps for a plot has a fixed number of bins, which grow wider as the span does; so
// the report of a year is as large as that of a night.
//
//	collector := report.Collector{Zone: zone, Stories: 5}
//	for r, err := range past {
//		if err != nil { return err }
//		collector.Add(r)
//	}
//	err := collector.Report().HTML(out)
//
// Guarantees:
//   - The incidents are those of package incidents.
//   - The HTML is one file without scripts and without anything from elsewhere, and
//     everything that a gateway or a caller said is escaped in it. Account ids are
//     masked.
//   - [Learn] and what a [Report] says follow from the events alone.
//
// # Non-obvious
//
//   - Time in which the connection was stopped is not counted, nor the first five
//     minutes of a start. A stale session counts as down.
//   - While there is no session nothing is known of what is behind it: link, farms and
//     subscriptions are counted only while there is one.
//   - A bin of a lane shows the worst that was in it.
package report

import (
	"encoding/json"
	"io"
	"time"

	"ibconn/consumers/incidents"
	"ibconn/events"
	"ibconn/replay/story"
)

// Report is what a span of a connection's past comes to. Its JSON form is documented in
// docs/replay.md; durations in it are in milliseconds.
type Report struct {
	Connection events.ConnectionID `json:"connection"`
	From       time.Time           `json:"from"`               // of what is counted: the first event, or what was asked for
	To         time.Time           `json:"to"`                 // the last event, or what was asked for
	Zone       string              `json:"zone"`               // of days, hours and words
	Only       string              `json:"incident,omitempty"` // the id of the incident that it is about; absent where it is about the span

	Incidents []incidents.Incident `json:"incidents"` // that lie in the span at least in part, oldest first; the last 1000
	Levels    []Level              `json:"levels"`    // session, link, farm, subscription

	Causes       []Count   `json:"causes"`       // of incidents, the most first
	Attributions []Count   `json:"attributions"` // whose fault they were, the most first
	Detection    []Count   `json:"detection"`    // how long the trouble had been there when it was noticed
	Heat         Heat      `json:"heat"`         // incidents by weekday and hour
	Windows      Windows   `json:"windows"`      // the hours at which incidents cluster, against what is configured
	Lanes        Lanes     `json:"lanes"`        // how each level was over the span
	Heartbeats   Heartbeat `json:"heartbeats"`

	Stories []story.Story `json:"stories"`
	Events  []story.Line  `json:"events"`                   // the newest that are not routine, those alike as one line
	Omitted int           `json:"events_omitted,omitempty"` // so many older ones are not in Events

	zone *time.Location
}

// Level is how available one level was.
type Level struct {
	Level    events.Level  `json:"level"`
	Known    events.Millis `json:"known_ms"` // the time that counts
	Down     events.Millis `json:"down_ms"`  // of it, with something wrong
	Failures int           `json:"failures"`
	Longest  events.Millis `json:"longest_ms"`
	// Availability is the share of Known without Down, 0 to 1; 1 where nothing is known.
	Availability float64 `json:"availability"`
	// Between is the mean time without trouble between failures, Repair the mean
	// length of one; 0 where there was none.
	Between events.Millis `json:"mtbf_ms"`
	Repair  events.Millis `json:"mttr_ms"`
}

// Count is how often something came, and how long that lasted.
type Count struct {
	Name   string        `json:"name"`
	Count  int           `json:"count"`
	Lasted events.Millis `json:"lasted_ms"`
}

// Heat counts incidents by when they were noticed.
type Heat struct {
	// Counts are by weekday, 0 for Sunday, and hour.
	Counts [7][24]int `json:"counts"`
}

// Most returns the highest count.
func (h Heat) Most() int {
	most := 0
	for _, day := range h.Counts {
		for _, n := range day {
			most = max(most, n)
		}
	}
	return most
}

// Windows are the hours at which incidents cluster, and those in which they are expected.
type Windows struct {
	Learned    []Cluster `json:"learned"`
	Configured []Window  `json:"configured"`
}

// Window is a maintenance window that an event of the log named.
type Window struct {
	Window    string `json:"window"` // as it is configured
	Incidents int    `json:"incidents"`
}

// Lanes are bins of equal width.
type Lanes struct {
	From  time.Time     `json:"from"`
	Width events.Millis `json:"width_ms"`
	// Session, Link, Farm and Subscription have a digit for each bin: 0 not known or
	// not wanted, 1 well, 2 impaired, 3 down; the worst in the bin.
	Session      string `json:"session"`
	Link         string `json:"link"`
	Farm         string `json:"farm"`
	Subscription string `json:"subscription"`
}

// Heartbeat is the pulse over the span. Heartbeats expire from a log after a week.
type Heartbeat struct {
	Answered int           `json:"answered"`
	Missed   int           `json:"missed"`
	Mean     events.Millis `json:"mean_ms"`
	Max      events.Millis `json:"max_ms"`
	From     time.Time     `json:"from"`
	Width    events.Millis `json:"width_ms"`
	Bins     []Pulse       `json:"bins"`
}

// Pulse is the heartbeats of one bin.
type Pulse struct {
	Answered int           `json:"answered"`
	Missed   int           `json:"missed"`
	Min      events.Millis `json:"min_ms"`
	Mean     events.Millis `json:"mean_ms"`
	Max      events.Millis `json:"max_ms"`

	sum events.Millis
}

// JSON writes the report as JSON.
func (r Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
