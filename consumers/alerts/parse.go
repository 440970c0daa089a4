package alerts

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"ibconn/consumers/incidents"
	"ibconn/events"
)

const (
	maxFile   = 256 << 10
	maxSecret = 8 << 10
	// maxReceivers, maxRules and maxPatterns bound the work that an incident is.
	maxReceivers = 32
	maxRules     = 256
	maxPatterns  = 64

	defaultTimeout = 10 * time.Second
	leastTimeout   = 100 * time.Millisecond
	mostTimeout    = 30 * time.Second
	leastRepeat    = time.Minute
	mostSpan       = 30 * 24 * time.Hour
)

// Surroundings is where the URLs are that do not stand in the file itself.
type Surroundings struct {
	Env  func(name string) (string, bool)
	File func(name string) (string, error)
}

// Load reads a file of receivers and rules, and what it names of the environment
// and of other files. An error says where in the file what is wrong.
func Load(file string) (*Config, error) {
	text, err := readFile(file, maxFile)
	if err != nil {
		return nil, err
	}
	return Parse(file, []byte(text), Surroundings{
		Env:  os.LookupEnv,
		File: func(name string) (string, error) { return readFile(name, maxSecret) },
	})
}

// readFile reads a file of at most so many bytes.
func readFile(name string, most int64) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s: more than %d bytes", name, most)
	}
	return string(b), err
}

// file is what is being read.
type file struct {
	name string
	from Surroundings
}

func (f *file) wrong(line int, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", f.name, line, fmt.Sprintf(format, args...))
}

// entry is one "key: value" of a mapping.
type entry struct {
	key   string
	line  int
	value ast.Node
}

// Parse reads the text of such a file. No error has a URL in it.
func Parse(name string, text []byte, from Surroundings) (*Config, error) {
	f := &file{name, from}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s: more than %d bytes", name, maxFile)
	}
	parsed, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if wrong, ok := errors.AsType[*yaml.SyntaxError](err); ok && wrong.Token != nil && !strings.Contains(wrong.Message, "/") {
		return nil, f.wrong(wrong.Token.Position.Line, "%s", wrong.Message)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: this is no YAML", name) // its words may quote a URL
	}
	if len(parsed.Docs) != 1 {
		return nil, fmt.Errorf("%s: want one document, with receivers and, if you like, rules", name)
	}
	all, err := f.entries(parsed.Docs[0].Body, "the file", 1)
	if err != nil {
		return nil, err
	}
	c := &Config{}
	for _, e := range all {
		switch e.key {
		case "receivers":
			err = f.each(e, maxReceivers, func(n ast.Node, line int) error { return f.addReceiver(c, n, line) })
		case "rules": // once all receivers are known
		default:
			err = f.noKey(e, "receivers, rules")
		}
		if err != nil {
			return nil, err
		}
	}
	if len(c.Receivers) == 0 {
		return nil, fmt.Errorf("%s: there is nobody to tell: want at least one under \"receivers\"", name)
	}
	i := slices.IndexFunc(all, func(e entry) bool { return e.key == "rules" })
	if i < 0 {
		c.Rules = defaults(c.Receivers)
		return c, nil
	}
	err = f.each(all[i], maxRules, func(n ast.Node, line int) error { return f.addRule(c, n, line) })
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (f *file) noKey(e entry, keys string) error {
	return f.wrong(e.line, "there is no key %q; the keys are %s", shown(e.key), keys)
}

// shown cuts what may be anything.
func shown(s string) string {
	if strings.Contains(s, "://") {
		return "(a URL)"
	}
	return clip(s, 60)
}

// entries takes a mapping apart, in which each key stands once.
func (f *file) entries(n ast.Node, what string, line int) ([]entry, error) {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		return nil, f.wrong(line, "%s: want lines of the form \"key: value\"", what)
	}
	var all []entry
	for _, v := range values {
		key := v.Key.GetToken()
		e := entry{key.Value, key.Position.Line, v.Value}
		if i := slices.IndexFunc(all, func(o entry) bool { return o.key == e.key }); i >= 0 {
			return nil, f.wrong(e.line, "%s stands there twice; first in line %d", shown(e.key), all[i].line)
		}
		all = append(all, e)
	}
	return all, nil
}

// each calls do for each of a list that is not empty.
func (f *file) each(e entry, most int, do func(ast.Node, int) error) error {
	list, ok := e.value.(*ast.SequenceNode)
	if !ok || len(list.Values) == 0 {
		return f.wrong(e.line, "%s: want a list, each of it beginning with \"- name:\"", e.key)
	}
	if len(list.Values) > most {
		return f.wrong(e.line, "%s: %d of them: want at most %d", e.key, len(list.Values), most)
	}
	for _, n := range list.Values {
		line := e.line
		if t := n.GetToken(); t != nil {
			line = t.Position.Line
		}
		if err := do(n, line); err != nil {
			return err
		}
	}
	return nil
}

// text returns the plain text of a value, neither empty nor one of YAML's
// references.
func (f *file) text(e entry) (string, error) {
	switch n := e.value.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		if v := n.GetToken().Value; v != "" {
			return v, nil
		}
	case *ast.LiteralNode:
		if v := strings.TrimSpace(n.Value.Value); v != "" {
			return v, nil
		}
	}
	return "", f.wrong(e.line, "%s: want one plain value", e.key)
}

// texts returns one plain value, or a list of them.
func (f *file) texts(e entry) ([]string, error) {
	parts := []ast.Node{e.value}
	if list, ok := e.value.(*ast.SequenceNode); ok {
		parts = list.Values
	}
	if len(parts) == 0 || len(parts) > maxPatterns {
		return nil, f.wrong(e.line, "%s: want 1 to %d of them", e.key, maxPatterns)
	}
	var all []string
	for _, n := range parts {
		s, err := f.text(entry{e.key, e.line, n})
		if err != nil {
			return nil, err
		}
		if slices.Contains(all, s) {
			return nil, f.wrong(e.line, "%s: %q stands there twice", e.key, shown(s))
		}
		all = append(all, s)
	}
	return all, nil
}

// nameOf reads a name: it becomes part of a key of the bus.
func (f *file) nameOf(e entry) (string, error) {
	s, err := f.text(e)
	if err != nil {
		return "", err
	}
	if _, wrong := events.ParseConnectionID(s); wrong != nil {
		return "", f.wrong(e.line, "name %q: want 1 to 32 of a-z, 0-9 and '-', not beginning with '-'", shown(s))
	}
	return s, nil
}

func (f *file) duration(e entry, least, most time.Duration) (time.Duration, error) {
	s, err := f.text(e)
	if err != nil {
		return 0, err
	}
	d, wrong := time.ParseDuration(s)
	if wrong != nil || d != 0 && d < least || d > most || d < 0 {
		return 0, f.wrong(e.line, "%s: %q: want a time such as 90s, 5m or 4h, from %v to %v", e.key, shown(s), least, most)
	}
	return d, nil
}

func (f *file) yes(e entry) (bool, error) {
	s, err := f.text(e)
	if err == nil && s != "true" && s != "false" {
		err = f.wrong(e.line, "%s: %q: want true or false", e.key, shown(s))
	}
	return s == "true", err
}

// oneOf reads a value that is one of some.
func oneOf[T ~string](f *file, e entry, allowed ...T) (T, error) {
	s, err := f.text(e)
	if err == nil && !slices.Contains(allowed, T(s)) {
		err = f.wrong(e.line, "%s: %q is not one of %s", e.key, shown(s), words(allowed))
	}
	return T(s), err
}

// someOf reads values that are some of what is allowed.
func someOf[T ~string](f *file, e entry, allowed ...T) ([]T, error) {
	all, err := f.texts(e)
	if err != nil {
		return nil, err
	}
	var some []T
	for _, s := range all {
		if !slices.Contains(allowed, T(s)) {
			return nil, f.wrong(e.line, "%s: %q is not one of %s", e.key, shown(s), words(allowed))
		}
		some = append(some, T(s))
	}
	return some, nil
}

func words[T ~string](all []T) string {
	var b strings.Builder
	for i, s := range all {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(s))
	}
	return b.String()
}

func (f *file) addReceiver(c *Config, n ast.Node, line int) error {
	all, err := f.entries(n, "a receiver", line)
	if err != nil {
		return err
	}
	r := Receiver{Format: FormatJSON, Timeout: defaultTimeout}
	urls := 0
	for _, e := range all {
		switch e.key {
		case "name":
			r.Name, err = f.nameOf(e)
		case "url", "url_file", "url_env":
			urls++
			r.URL, err = f.secret(e)
		case "format":
			r.Format, err = oneOf(f, e, FormatJSON, FormatSlack)
		case "timeout":
			if r.Timeout, err = f.duration(e, leastTimeout, mostTimeout); err == nil && r.Timeout == 0 {
				err = f.wrong(e.line, "timeout: want at least %v", leastTimeout)
			}
		default:
			err = f.noKey(e, "name, url, url_file, url_env, format, timeout")
		}
		if err != nil {
			return err
		}
	}
	switch {
	case r.Name == "":
		return f.wrong(line, "a receiver has no name")
	case urls != 1:
		return f.wrong(line, "receiver %s: want exactly one of url, url_file and url_env", r.Name)
	case c.receiver(r.Name):
		return f.wrong(line, "receiver %s stands there twice", r.Name)
	}
	c.Receivers = append(c.Receivers, r)
	return nil
}

func (c *Config) receiver(name string) bool {
	return slices.ContainsFunc(c.Receivers, func(r Receiver) bool { return r.Name == name })
}

func (f *file) secret(e entry) (Secret, error) {
	s, err := f.text(e)
	if err != nil {
		return Secret{}, err
	}
	switch e.key {
	case "url_env":
		v, ok := f.from.Env(s)
		if !ok || strings.TrimSpace(v) == "" {
			return Secret{}, f.wrong(e.line, "url_env: the environment has no %s", shown(s))
		}
		s = v
	case "url_file":
		if strings.Contains(s, "://") {
			return Secret{}, f.wrong(e.line, "url_file: want the name of a file, and not a URL")
		}
		if s, err = f.from.File(s); err != nil {
			return Secret{}, f.wrong(e.line, "url_file: %v", err)
		}
	}
	secret, ok := NewSecret(strings.TrimSpace(s))
	if !ok {
		return Secret{}, f.wrong(e.line, "%s: want a URL such as https://host/path, and what is there is none", e.key)
	}
	return secret, nil
}

const (
	ruleKeys     = "name, on, to, connections, severity, after, repeat, resolved"
	incidentKeys = ruleKeys + ", updates, in_window, what, attribution, worst"
)

func (f *file) addRule(c *Config, n ast.Node, line int) error {
	all, err := f.entries(n, "a rule", line)
	if err != nil {
		return err
	}
	r := Rule{Resolved: true}
	var window *entry
	for _, e := range all {
		if e.key == "in_window" {
			window = &e
		} else if err := f.ruleKey(&r, e); err != nil {
			return err
		}
	}
	has := func(key string) int {
		if i := slices.IndexFunc(all, func(e entry) bool { return e.key == key }); i >= 0 {
			return all[i].line
		}
		return 0
	}
	if r.InWindow = r.Grade; window != nil {
		if r.InWindow, err = f.window(*window, r.Grade); err != nil {
			return err
		}
	}
	if r.To == nil {
		for _, to := range c.Receivers {
			r.To = append(r.To, to.Name)
		}
	}
	switch {
	case r.Name == "":
		return f.wrong(line, "a rule has no name")
	case r.On == "":
		return f.wrong(line, "rule %s: want on: incident, condition, silent or bus", r.Name)
	case r.Severity == "":
		return f.wrong(line, "rule %s: want severity: page, warn, info or none", r.Name)
	case slices.ContainsFunc(c.Rules, func(o Rule) bool { return o.Name == r.Name }):
		return f.wrong(line, "rule %s stands there twice", r.Name)
	case r.On == OnCondition && r.Condition == nil:
		return f.wrong(line, "rule %s: want condition: down, degraded or stopped", r.Name)
	}
	for _, to := range r.To {
		if !c.receiver(to) {
			return f.wrong(has("to"), "rule %s: there is no receiver %q", r.Name, shown(to))
		}
	}
	for _, e := range all {
		if only := onlyOf(e.key); only != "" && only != r.On {
			return f.wrong(e.line, "rule %s: %s is for rules on %s", r.Name, e.key, only)
		}
	}
	if l := has("connections"); l > 0 && r.On == OnBus {
		return f.wrong(l, "rule %s: the bus is that of all connections", r.Name)
	}
	c.Rules = append(c.Rules, r)
	return nil
}

// onlyOf says which rules may have a key; empty for all.
func onlyOf(key string) On {
	switch key {
	case "what", "attribution", "worst", "in_window", "updates":
		return OnIncident
	case "condition":
		return OnCondition
	}
	return ""
}

func (f *file) ruleKey(r *Rule, e entry) (err error) {
	switch e.key {
	case "name":
		r.Name, err = f.nameOf(e)
	case "on":
		r.On, err = oneOf(f, e, OnIncident, OnCondition, OnSilent, OnBus)
	case "to":
		r.To, err = f.texts(e)
	case "connections":
		r.Connections, err = f.patterns(e)
	case "severity":
		r.Severity, err = oneOf(f, e, Page, Warn, Info, None)
	case "after":
		r.After, err = f.duration(e, 0, mostSpan)
	case "repeat":
		r.Repeat, err = f.duration(e, leastRepeat, mostSpan)
	case "updates":
		r.Updates, err = f.yes(e)
	case "resolved":
		r.Resolved, err = f.yes(e)
	case "what":
		r.What, err = someOf(f, e, roots...)
	case "attribution":
		r.Attribution, err = someOf(f, e, attributions...)
	case "worst":
		r.Worst, err = someOf(f, e, events.ConditionDown, events.ConditionDegraded)
	case "condition":
		r.Condition, err = someOf(f, e, events.ConditionDown, events.ConditionDegraded, events.ConditionStopped)
	default:
		err = f.noKey(e, incidentKeys+", condition")
	}
	return err
}

// roots are the root causes that an incident may have.
var roots = []incidents.What{
	incidents.SessionStale, incidents.SessionLost, incidents.AttemptFailed, incidents.PortMoved, incidents.LinkDown, incidents.LinkSilent,
	incidents.DataLost, incidents.FarmDown, incidents.CompetingSession, incidents.SubscriptionDark, incidents.SubscriptionFailed,
}

var attributions = []events.Attribution{
	events.AttributionOurs, events.AttributionNetwork, events.AttributionGateway, events.AttributionLogin, events.AttributionLink,
	events.AttributionFarm, events.AttributionCompeting,
}

func (f *file) patterns(e entry) ([]string, error) {
	all, err := f.texts(e)
	for _, p := range all {
		if _, wrong := path.Match(p, "main"); wrong != nil {
			return nil, f.wrong(e.line, "connections: %q: want names, in which * and ? stand for anything", shown(p))
		}
	}
	return all, err
}

// window reads a severity, or a grade: what it does not say is as outside of a
// window.
func (f *file) window(e entry, outside Grade) (Grade, error) {
	g := outside
	var err error
	switch e.value.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
	default:
		g.Severity, err = oneOf(f, e, Page, Warn, Info, None)
		return g, err
	}
	all, err := f.entries(e.value, e.key, e.line)
	if err != nil {
		return g, err
	}
	for _, e := range all {
		switch e.key {
		case "severity":
			g.Severity, err = oneOf(f, e, Page, Warn, Info, None)
		case "after":
			g.After, err = f.duration(e, 0, mostSpan)
		default:
			err = f.noKey(e, "severity, after")
		}
		if err != nil {
			return g, err
		}
	}
	return g, nil
}
