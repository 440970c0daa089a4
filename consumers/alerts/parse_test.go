package alerts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"ibconn/consumers/incidents"
	"ibconn/events"
)

const secret = "https://hooks.example.com/services/T0SECRET/B1SECRET?token=T2SECRET"

var around = Surroundings{
	Env: func(name string) (string, bool) { return secret, name == "HOOK" },
	File: func(name string) (string, error) {
		if name == "hook" {
			return secret + "\n", nil
		}
		return "", errors.New("open " + name + ": no such file")
	},
}

func TestAFileIsRead(t *testing.T) {
	c, err := Parse("f.yml", []byte(`
receivers:
  - name: ops
    url_env: HOOK
    format: slack
    timeout: 3s
  - {name: log, url_file: hook}
rules:
  - name: outage
    on: incident
    connections: [main, "paper*"]
    what: session_lost
    attribution: [gateway, network]
    worst: down
    after: 2m
    severity: page
    in_window: {severity: warn, after: 15m}
    repeat: 4h
    updates: true
    resolved: false
    to: ops
  - {name: dead, on: silent, severity: warn, after: 0s}
  - {name: down, on: condition, condition: stopped, severity: info}
`), around)
	if err != nil {
		t.Fatal(err)
	}
	if r := c.Receivers; len(r) != 2 || r[0].Format != FormatSlack || r[0].Timeout != 3*s || r[1].Format != FormatJSON || r[1].Timeout != defaultTimeout ||
		r[0].URL.url.String() != secret || r[1].URL.url.String() != secret {
		t.Errorf("the receivers are %+v", r)
	}
	want := []Rule{
		{
			Name: "outage", On: OnIncident, To: []string{"ops"}, Connections: []string{"main", "paper*"}, Grade: Grade{Page, 2 * m}, InWindow: Grade{Warn, 15 * m},
			Repeat: 4 * h, Updates: true, What: []incidents.What{incidents.SessionLost},
			Attribution: []events.Attribution{events.AttributionGateway, events.AttributionNetwork}, Worst: []events.Condition{events.ConditionDown},
		},
		{Name: "dead", On: OnSilent, To: []string{"ops", "log"}, Grade: Grade{Severity: Warn}, InWindow: Grade{Severity: Warn}, Resolved: true},
		{Name: "down", On: OnCondition, To: []string{"ops", "log"}, Grade: Grade{Severity: Info}, InWindow: Grade{Severity: Info}, Resolved: true, Condition: []events.Condition{events.ConditionStopped}},
	}
	if !reflect.DeepEqual(c.Rules, want) {
		t.Errorf("the rules are\n%+v\nwant\n%+v", c.Rules, want)
	}
	if shown := fmt.Sprintf("%v %+v %#v", c.Receivers, c, c.Receivers[0].URL); strings.Contains(shown, "SECRET") || !strings.Contains(shown, "hooks.example.com") {
		t.Errorf("a receiver is shown as %s, want its host alone", shown)
	}
	c, err = Parse("f.yml", []byte(ops), around)
	if err != nil || len(c.Rules) != 5 || c.Rules[0].Name != "login" {
		t.Errorf("without rules there are %+v, %v", c, err)
	}
}

func TestWhatIsWrongWithAFileIsSaidWithItsPlace(t *testing.T) {
	const rule = ops + "rules:\n  - {name: a, on: incident, severity: page"
	for text, want := range map[string]string{
		"":                              "want lines of the form",
		"- a":                           "want lines of the form",
		"receivers: []":                 "f.yml:1: receivers: want a list",
		"receivers: {a: b}":             "f.yml:1: receivers: want a list",
		"rules: []":                     "there is nobody to tell",
		"a: 1\n":                        `f.yml:1: there is no key "a"; the keys are receivers, rules`,
		"receivers: [a]":                "f.yml:1: a receiver: want lines of the form",
		"receivers:\n  - url_env: HOOK": "f.yml:2: a receiver has no name",
		"receivers:\n  - name: Ops!\n    url_env: HOOK":                    `f.yml:2: name "Ops!": want`,
		"receivers:\n  - name: ops":                                        "f.yml:2: receiver ops: want exactly one of url, url_file and url_env",
		"receivers:\n  - name: ops\n    url_env: HOOK\n    url_file: hook": "receiver ops: want exactly one of",
		"receivers:\n  - name: ops\n    url_env: NONE":                     "f.yml:3: url_env: the environment has no NONE",
		"receivers:\n  - name: ops\n    url_file: none":                    "f.yml:3: url_file: open none",
		"receivers:\n  - name: ops\n    url_file: " + secret:               "f.yml:3: url_file: want the name of a file",
		"receivers:\n  - name: ops\n    url: ftp://T0SECRET/x":             "f.yml:3: url: want a URL such as",
		"receivers:\n  - name: ops\n    url: 'https://a b/T0SECRET'":       "f.yml:3: url: want a URL such as",
		"receivers:\n  - name: ops\n    url: ''":                           "f.yml:3: url: want one plain value",
		"receivers:\n  - name: ops\n    url: [a]":                          "f.yml:3: url: want one plain value",
		"receivers:\n  - name: ops\n    " + secret + ": x":                 `there is no key "(a URL)"`,
		"receivers:\n  - name: ops\n    name: b\n    url_env: HOOK":        "f.yml:3: name stands there twice; first in line 2",
		"receivers:\n  - name: ops\n    url_env: HOOK\n    format: xml":    `f.yml:4: format: "xml" is not one of json, slack`,
		"receivers:\n  - name: ops\n    url_env: HOOK\n    timeout: 1h":    `f.yml:4: timeout: "1h": want a time such as`,
		"receivers:\n  - name: ops\n    url_env: HOOK\n    timeout: 0":     `timeout: want at least`,
		"receivers: [{name: a, url_env: HOOK}, {name: a, url_env: HOOK}]":  "receiver a stands there twice",
		"receivers: [{name: a, url: *x}]":                                  "f.yml",
		"receivers: \"a":                                                   "f.yml",
		"receivers: [{name: a, url_env: HOOK}]\n---\na: b":                 "want one document",
		ops + "rules: []": "f.yml:2: rules: want a list",
		ops + "rules:\n  - {on: silent, severity: page}":                       "f.yml:3: a rule has no name",
		ops + "rules:\n  - {name: a, severity: page}":                          "f.yml:3: rule a: want on: incident, condition, silent or bus",
		ops + "rules:\n  - {name: a, on: silent}":                              "f.yml:3: rule a: want severity",
		ops + "rules:\n  - {name: a, on: moon, severity: page}":                `on: "moon" is not one of incident, condition, silent, bus`,
		rule + "}\n  - {name: a, on: silent, severity: page}":                  "f.yml:4: rule a stands there twice",
		rule + ", to: nobody}":                                                 `f.yml:3: rule a: there is no receiver "nobody"`,
		rule + ", to: []}":                                                     "to: want 1 to 64 of them",
		rule + ", to: [ops, ops]}":                                             `to: "ops" stands there twice`,
		rule + ", after: 5}":                                                   `after: "5": want a time such as 90s, 5m or 4h`,
		rule + ", after: -5m}":                                                 `after: "-5m": want a time`,
		rule + ", repeat: 1s}":                                                 `repeat: "1s": want a time`,
		rule + ", repeat: 9999h}":                                              `repeat: "9999h": want a time`,
		rule + ", updates: maybe}":                                             `updates: "maybe": want true or false`,
		rule + ", what: rain}":                                                 `what: "rain" is not one of session_stale`,
		rule + ", worst: healthy}":                                             `worst: "healthy" is not one of down, degraded`,
		rule + ", connections: '[a'}":                                          `connections: "[a": want names`,
		rule + ", condition: down}":                                            "rule a: condition is for rules on condition",
		rule + ", in_window: loud}":                                            `in_window: "loud" is not one of`,
		rule + ", in_window: {repeat: 5m}}":                                    `there is no key "repeat"; the keys are severity, after`,
		rule + ", colour: red}":                                                `there is no key "colour"`,
		ops + "rules: [{name: a, on: condition, severity: page}]":              "rule a: want condition: down, degraded or stopped",
		ops + "rules: [{name: a, on: silent, severity: page, worst: down}]":    "rule a: worst is for rules on incident",
		ops + "rules: [{name: a, on: bus, severity: page, connections: x}]":    "rule a: the bus is that of all connections",
		"receivers: [" + strings.Repeat("{name: a, url_env: HOOK},", 33) + "]": "33 of them: want at most 32",
		strings.Repeat("#", maxFile+1):                                         "more than 262144 bytes",
	} {
		c, err := Parse("f.yml", []byte(text), around)
		if err == nil {
			t.Errorf("%.80q is read as %+v, want %q", text, c, want)
		} else if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "SECRET") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.80q is refused with %q, want %q", text, err, want)
		}
	}
}

func TestAFileIsLoadedWithWhatItNames(t *testing.T) {
	dir := t.TempDir()
	hook, file := filepath.Join(dir, "hook"), filepath.Join(dir, "alerts.yml")
	for name, text := range map[string]string{hook: " " + secret + "\n\n", file: "receivers: [{name: ops, url_file: " + hook + "}]\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(file)
	if err != nil || c.Receivers[0].URL.url.String() != secret {
		t.Errorf("Load = %+v, %v, want the URL of the other file", c, err)
	}
	if _, err := Load(filepath.Join(dir, "none.yml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Load of what is not there = %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"", ops, ops + "rules: [{name: a, on: silent, severity: page, after: 1m, connections: ['*']}]",
		"receivers:\n  - name: ops\n    url_env: HOOK\n    format: slack\nrules:\n  - name: a\n    on: incident\n    severity: page\n    in_window: {severity: none, after: 1h}\n",
		"receivers: &a [*a]", "receivers: [{name: a, url: " + secret + "}]\nrules: [{name: b, on: condition, condition: [down], severity: warn, repeat: 1h}]",
		"receivers: [{? a : b}]", "<<: {receivers: []}", "receivers: !!seq []", "receivers: [null]", "receivers: [{name: |\n  a\n}]",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("f.yml", text, around)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f.yml") || len(err.Error()) > 1000 {
				t.Errorf("Parse(%q) = %q, want the file's name first, and few words", text, err)
			}
			return
		}
		if len(c.Receivers) == 0 || len(c.Receivers) > maxReceivers || len(c.Rules) == 0 || len(c.Rules) > maxRules {
			t.Errorf("Parse(%q) has %d receivers and %d rules", text, len(c.Receivers), len(c.Rules))
		}
		for _, r := range c.Rules {
			if len(r.To) == 0 || r.Severity.rank() < 0 || r.InWindow.Severity.rank() < 0 || r.After < 0 || r.Repeat != 0 && r.Repeat < leastRepeat {
				t.Errorf("Parse(%q) has the rule %+v", text, r)
			}
			r.covers("main")
		}
		b := NewBook(c, "fuzz")
		b.AddIncident(outage(time.Hour, nil), 1, 1)
		b.Begin(midnight)
		b.Next(midnight.Add(40 * 24 * time.Hour))
	})
}

// TestTheExamplesOfTheDocsAreRead reads each file in them.
func TestTheExamplesOfTheDocsAreRead(t *testing.T) {
	around := Surroundings{File: func(string) (string, error) { return secret, nil }}
	for _, name := range []string{"../../docs/alerts.md", "../../README.md"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for block := range strings.SplitSeq(string(text), "```yaml\n") {
			example, _, _ := strings.Cut(block, "```")
			if strings.HasPrefix(example, "rules:") {
				example = ops + example
			}
			if strings.HasPrefix(example, "receivers:") {
				n++
				if _, err := Parse(name, []byte(example), around); err != nil {
					t.Error(err)
				}
			}
		}
		if n == 0 {
			t.Errorf("%s has no example", name)
		}
	}
}
