package alerts

import (
	"path"
	"slices"
	"time"

	"ibconn/consumers/incidents"
	"ibconn/events"
)

// Severity says how much somebody is to be disturbed.
type Severity string

// The severities. None disturbs nobody.
const (
	None Severity = "none"
	Info Severity = "info"
	Warn Severity = "warn"
	Page Severity = "page"
)

func (s Severity) rank() int { return slices.Index([]Severity{None, Info, Warn, Page}, s) }

// On is what a rule is about.
type On string

// What there are rules about.
const (
	OnIncident  On = "incident"
	OnCondition On = "condition" // what a connection's status says
	OnSilent    On = "silent"    // the status is out of date: the connector died without a word
	OnBus       On = "bus"       // the bus cannot be reached
)

// Format is how a receiver wants to be told.
type Format string

// The formats.
const (
	FormatJSON  Format = "json"  // [Alert]
	FormatSlack Format = "slack" // as incoming webhooks of Slack and Mattermost take it
)

// Receiver is somebody to tell, at a webhook.
type Receiver struct {
	Name    string
	URL     Secret
	Format  Format
	Timeout time.Duration // of one request
}

// Grade is how much is made of a thing, and when.
type Grade struct {
	Severity Severity
	After    time.Duration // how long it must have lasted before anybody is told
}

// Rule says what is to be told to whom. Of what it is about the empty lists
// select everything.
type Rule struct {
	Name        string
	On          On
	To          []string // names of receivers
	Connections []string // names, as path.Match takes them
	Grade
	// InWindow is the grade of an incident whose root cause fell into a
	// maintenance window.
	InWindow Grade
	Repeat   time.Duration // how often to remind while it goes on; 0 for never
	Updates  bool          // tell of each change
	Resolved bool          // tell when it is over

	What        []incidents.What     // of incidents: the root cause
	Attribution []events.Attribution // of incidents
	Worst       []events.Condition   // of incidents
	Condition   []events.Condition   // of conditions
}

// Config is what is to be told to whom.
type Config struct {
	Receivers []Receiver
	Rules     []Rule // of those that fit a receiver and a thing the first holds
}

func (r *Rule) concerns(on On, receiver string, c events.ConnectionID) bool {
	return r.On == on && slices.Contains(r.To, receiver) && (on == OnBus || r.covers(c))
}

func (r *Rule) covers(c events.ConnectionID) bool {
	return len(r.Connections) == 0 || slices.ContainsFunc(r.Connections, func(pattern string) bool {
		ok, _ := path.Match(pattern, string(c))
		return ok
	})
}

func (r *Rule) fits(i incidents.Incident) bool {
	return (len(r.What) == 0 || slices.Contains(r.What, i.Root.What)) &&
		(len(r.Attribution) == 0 || slices.Contains(r.Attribution, i.Attribution)) &&
		(len(r.Worst) == 0 || slices.Contains(r.Worst, i.Worst))
}

func (r *Rule) grade(i incidents.Incident) Grade {
	if i.Window != "" {
		return r.InWindow
	}
	return r.Grade
}

// defaults are the rules of a file that has none.
func defaults(receivers []Receiver) []Rule {
	var to []string
	for _, r := range receivers {
		to = append(to, r.Name)
	}
	const repeat = 4 * time.Hour
	login, outage, degraded := Grade{Severity: Page}, Grade{Page, 2 * time.Minute}, Grade{Warn, 10 * time.Minute}
	dead := Grade{Page, time.Minute}
	return []Rule{
		{
			Name: "login", On: OnIncident, To: to, Attribution: []events.Attribution{events.AttributionLogin},
			Grade: login, InWindow: login, Repeat: repeat, Resolved: true,
		},
		{
			Name: "outage", On: OnIncident, To: to, Worst: []events.Condition{events.ConditionDown},
			Grade: outage, InWindow: Grade{Page, 15 * time.Minute}, Repeat: repeat, Resolved: true,
		},
		{
			Name: "degraded", On: OnIncident, To: to,
			Grade: degraded, InWindow: Grade{Warn, time.Hour}, Resolved: true,
		},
		{Name: "silent", On: OnSilent, To: to, Grade: dead, InWindow: dead, Repeat: repeat, Resolved: true},
		{Name: "bus", On: OnBus, To: to, Grade: dead, InWindow: dead, Repeat: repeat, Resolved: true},
	}
}

// Hosted returns c without the rules on the bus, of which the process that has
// the bus can tell nothing.
func (c *Config) Hosted() *Config {
	hosted := &Config{Receivers: c.Receivers}
	for _, r := range c.Rules {
		if r.On != OnBus {
			hosted.Rules = append(hosted.Rules, r)
		}
	}
	return hosted
}
