package dashboard

import (
	"fmt"
	"strings"
	"time"

	"ibconn/consumers/incidents"
	"ibconn/events"
)

// overview is how all connections are.
type overview struct {
	Now         millis    `json:"now"`
	Reading     bool      `json:"reading"` // what there was at the start is still being read
	Position    uint64    `json:"position"`
	Commands    []string  `json:"commands"` // that are taken here
	Connections []summary `json:"connections"`
	More        int       `json:"more"` // connections that are not shown, as far as they are counted
}

// summary is how a connection is.
type summary struct {
	Connection events.ConnectionID `json:"connection"`
	Position   uint64              `json:"position"`
	Sequence   uint64              `json:"sequence"`
	AsOf       millis              `json:"as_of"`       // its last word
	StaleAfter millis              `json:"stale_after"` // from when on without another it is not to be believed; 0 for never
	Condition  word                `json:"condition"`
	Since      millis              `json:"since"` // of the condition
	Reasons    []reason            `json:"reasons"`
	Gateway    string              `json:"gateway"` // where, and as whom
	RetryAt    millis              `json:"retry_at"`

	Session   level     `json:"session"`
	Link      level     `json:"link"`
	Farms     level     `json:"farms"`
	FarmList  []level   `json:"farm_list"`
	FarmsMore int       `json:"farms_more"`
	Data      level     `json:"data"`
	DataList  []level   `json:"data_list"` // those that are not live
	DataMore  int       `json:"data_more"`
	Gaps      int       `json:"gaps"`
	Heartbeat heartbeat `json:"heartbeat"`
	Counts    counts    `json:"counts"`
	Ending    ending    `json:"ending"`
	Incidents []brief   `json:"incidents"` // that go on
	Pending   []string  `json:"pending"`   // commands without an outcome
}

// level is how one of the four levels is, or something of it.
type level struct {
	Name string `json:"name,omitempty"`
	word
	Since millis `json:"since"`
	Note  string `json:"note,omitempty"`
}

type reason struct {
	Level events.Level `json:"level"`
	Words string       `json:"words"`
	Since millis       `json:"since"`
	Fault string       `json:"fault"` // whose, in words
}

type heartbeat struct {
	At     millis  `json:"at"`
	Trip   float64 `json:"trip_ms"`
	Misses int     `json:"misses"`
	Skew   float64 `json:"skew_ms"`
}

type counts struct {
	Sessions uint64 `json:"sessions"`
	Losses   uint64 `json:"losses"`
	Attempts uint64 `json:"attempts"`
	Failures uint64 `json:"failures"`
	Errors   uint64 `json:"errors"`
}

type ending struct {
	At    millis `json:"at"`
	Words string `json:"words"`
}

const (
	// maxListed is how many farms, and how many subscriptions, a summary lists.
	maxListed = 50
	// maxShown is how many reasons, incidents and commands it has.
	maxShown = 20
	// maxWords is how many characters somebody else's words may have.
	maxWords = 200
)

func (c *connection) summary() summary {
	s := c.state
	sum := summary{
		Connection: c.name, Position: c.position, Sequence: s.Sequence, AsOf: millisOf(c.lastAt), StaleAfter: millisOf(s.StaleAfter(c.lastAt)),
		Condition: conditionWords[conditionOf(s)], Since: millisOf(c.since), Reasons: []reason{}, RetryAt: millisOf(s.RetryAt),
		Session: level{word: sessionWords[sessionOf(s)], Since: millisOf(s.PhaseSince), Note: sessionNote(s)},
		Link:    level{word: linkWords[linkOf(s)], Since: millisOf(s.Link.Since)},
		Heartbeat: heartbeat{
			At: millisOf(s.Heartbeat.AnsweredAt), Trip: float64(s.Heartbeat.RTT), Misses: s.Heartbeat.Misses, Skew: float64(s.Heartbeat.Skew),
		},
		Counts:    counts{s.Counts.Sessions, s.Counts.Losses, s.Counts.Attempts, s.Counts.Failures, s.Counts.Errors},
		Incidents: []brief{}, Pending: []string{},
	}
	if s.Attempt.Number > 0 {
		sum.Gateway = fmt.Sprintf("%s as client %d", short(s.Attempt.Endpoint), s.Attempt.ClientID)
	}
	if s.Link.DataLost && s.Link.Status == events.LinkUp {
		sum.Link.Note = "came back without the subscriptions"
	}
	for _, r := range s.Reasons[:min(len(s.Reasons), maxShown)] {
		sum.Reasons = append(sum.Reasons, reason{r.Level, reasonWords(r), millisOf(r.Since), faultOf(r.Attribution)})
	}
	sum.addFarms(s)
	sum.addData(s)
	if at := s.LastEnding.At; !at.IsZero() {
		sum.Ending = ending{millisOf(at), s.LastEnding.Cause.Sentence()}
	}
	open := c.open()
	for _, i := range open[:min(len(open), maxShown)] {
		sum.Incidents = append(sum.Incidents, briefOf(i))
	}
	for _, p := range s.Pending[:min(len(s.Pending), maxShown)] {
		sum.Pending = append(sum.Pending, string(p.Verb))
	}
	return sum
}

func sessionNote(s events.State) string {
	switch {
	case s.Gateway.Login.Level != "":
		return "somebody must look at the gateway"
	case s.Phase == events.PhaseReady:
	case s.Breaker.Open:
		return fmt.Sprintf("after %d failures in a row", s.Failures)
	case s.Failures > 1:
		return fmt.Sprintf("%d failures in a row", s.Failures)
	}
	return ""
}

func (sum *summary) addFarms(s events.State) {
	sum.FarmList = []level{}
	worst, count := farmsOf(s)
	sum.Farms = level{word: farmWords[worst]}
	if worst != 0 {
		sum.Farms.Word = fmt.Sprintf("%d of %d %s", count, len(s.Farms), farmWords[worst].Word)
		if up := worst <= farmIdle; up {
			sum.Farms.Word = fmt.Sprintf("%d up", len(s.Farms))
		}
	}
	for n, f := range s.Farms {
		if n == maxListed {
			sum.FarmsMore = len(s.Farms) - n
			break
		}
		sum.FarmList = append(sum.FarmList, level{Name: farmName(f.Farm), word: farmWords[farmOf(f.Status)], Since: millisOf(f.Since)})
	}
}

func farmName(f events.Farm) string {
	kind := strings.ReplaceAll(string(f.Kind), "_", " ")
	switch f.Kind {
	case events.FarmMarketData:
		kind = "market"
	case events.FarmHistorical:
		kind = "history"
	case events.FarmSecDef:
		kind = "sec def"
	}
	if f.Name == "" {
		return short(kind)
	}
	return short(f.Name + " (" + kind + ")")
}

func (sum *summary) addData(s events.State) {
	sum.DataList = []level{}
	worst, count := subscriptionsOf(s)
	sum.Data = level{word: dataWords[worst]}
	total := len(s.Subscriptions)
	switch worst {
	case 0:
	case dataLive:
		sum.Data.Word = fmt.Sprintf("%d live", total)
	default:
		if count == total {
			sum.Data.Word = fmt.Sprintf("%d %s", total, dataWords[worst].Word)
			break
		}
		sum.Data.Word = fmt.Sprintf("%d of %d %s", count, total, dataWords[worst].Word)
	}
	for _, sub := range s.Subscriptions {
		sum.Gaps += len(sub.Gaps)
		m := dataOf(sub.Status)
		if m == dataLive {
			continue
		}
		if len(sum.DataList) == maxListed {
			sum.DataMore++
			continue
		}
		sum.DataList = append(sum.DataList, level{Name: sub.Name, word: word{string(sub.Status), dataWords[m].Tone}, Since: millisOf(sub.Since), Note: short(sub.Message)})
	}
	if !s.Competing.Since.IsZero() {
		sum.Data.Tone, sum.Data.Note = toneWarn, "another session of this user takes the market data"
	}
}

// reasonWords says what keeps a connection from being healthy; since when is not in
// it.
func reasonWords(r events.Reason) string {
	if r.What == events.ReasonLoginNeeded {
		return fmt.Sprintf("the gateway gives no %s: log in at its window, or restart it", r.Level)
	}
	words := string(r.Level)
	if r.Name != "" {
		words += " " + r.Name
	}
	words += " " + strings.ReplaceAll(r.What, "_", " ")
	if r.Cause != "" {
		words += ": " + r.Cause.Sentence()
	}
	return short(words)
}

// faultOf says whose fault something is.
func faultOf(a events.Attribution) string {
	switch a {
	case events.AttributionOurs:
		return "ours"
	case events.AttributionNetwork:
		return "the network's"
	case events.AttributionGateway:
		return "the gateway's"
	case events.AttributionLogin:
		return "a login is missing"
	case events.AttributionLink:
		return "IB's, or the way there"
	case events.AttributionFarm:
		return "an IB data farm's"
	case events.AttributionCompeting:
		return "another session of this user"
	}
	return "not known"
}

// short bounds somebody else's words.
func short(s string) string {
	if runes := []rune(s); len(runes) > maxWords {
		return string(runes[:maxWords-1]) + "…"
	}
	return s
}

// brief is an incident in a line.
type brief struct {
	ID         string              `json:"id"`
	Number     int                 `json:"number"`
	Connection events.ConnectionID `json:"connection"`
	Open       bool                `json:"open"`
	Stopped    bool                `json:"stopped"`
	OpenedAt   millis              `json:"opened_at"`
	ClosedAt   millis              `json:"closed_at"`
	Worst      word                `json:"worst"`
	Level      events.Level        `json:"level"`
	Words      string              `json:"words"`
	Code       int                 `json:"code"`
	Fault      string              `json:"fault"`
	Window     string              `json:"window"`
	Attempts   int                 `json:"attempts"`
	Steps      int                 `json:"steps"`
}

func briefOf(i incidents.Incident) brief {
	worst := conditionWords[conditionDegraded]
	if i.Worst == events.ConditionDown {
		worst = conditionWords[conditionDown]
	}
	return brief{
		ID: i.ID, Number: i.Number, Connection: i.Connection, Open: i.Open(), Stopped: i.Stopped, OpenedAt: millisOf(i.OpenedAt), ClosedAt: millisOf(i.ClosedAt),
		Worst: worst, Level: i.Root.Level, Words: i.Root.Words, Code: i.Root.Code, Fault: faultOf(i.Attribution), Window: i.Window,
		Attempts: i.Attempts, Steps: 1 + len(i.Chain),
	}
}

// overview is how all connections are at a time.
func (m *Model) overview(now time.Time) overview {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := overview{Now: millisOf(now), Position: m.position, Commands: []string{}, Connections: []summary{}, More: len(m.more)}
	for _, c := range m.sorted("") {
		o.Connections = append(o.Connections, c.summary())
	}
	return o
}
