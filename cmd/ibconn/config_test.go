package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"ibconn/events"
)

// configured writes a configuration file.
func configured(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ibconn.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func parseRun(t testing.TB, args ...string) runCommand {
	t.Helper()
	var line commandLine
	c := console{Out: io.Discard, Err: io.Discard}
	if _, err := newParser(t.Context(), &line, c).Parse(append([]string{"run"}, args...)); err != nil {
		t.Fatal(err)
	}
	return line.Run
}

func TestAFlagWinsOverTheEnvironmentAndThatOverTheFile(t *testing.T) {
	file := configured(t, "# a comment\nclient-id: 3\nheartbeat: \"7s\"\ndebug: true\n")
	if got := parseRun(t).ClientID; got != 17 {
		t.Errorf("client id by default = %d, want 17", got)
	}
	got := parseRun(t, "--config", file)
	if got.ClientID != 3 || got.Heartbeat != 7*time.Second || !got.Debug {
		t.Errorf("from the file = client id %d, heartbeat %v, debug %t, want 3, 7s, true", got.ClientID, got.Heartbeat, got.Debug)
	}
	t.Setenv("IBCONN_CLIENT_ID", "4")
	if got := parseRun(t, "--config", file).ClientID; got != 4 {
		t.Errorf("client id in the environment and the file = %d, want 4", got)
	}
	if got := parseRun(t, "--config", file, "--client-id", "5").ClientID; got != 5 {
		t.Errorf("client id as flag, in the environment and the file = %d, want 5", got)
	}
	t.Setenv("IBCONN_CONFIG", file)
	if got := parseRun(t).Heartbeat; got != 7*time.Second {
		t.Errorf("heartbeat from the file that the environment names = %v, want 7s", got)
	}
}

func TestEverySettingOfRunCanStandInTheEnvironment(t *testing.T) {
	parser := newParser(t.Context(), new(commandLine), console{Out: io.Discard, Err: io.Discard})
	for _, node := range parser.Model.Children {
		if node.Name != "run" {
			continue
		}
		for _, flag := range node.Flags {
			want := "IBCONN_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
			all := []string{want}
			if name, ofNATS := strings.CutPrefix(want, "IBCONN_NATS"); ofNATS { // what the nats tools use counts too
				all = append(all, "NATS"+cmp.Or(name, "_URL"))
			}
			// How many replicas a stream has is of no account to those tools.
			if own := flag.Name == "nats-replicas"; !slices.Equal(flag.Envs, all) && !(own && slices.Equal(flag.Envs, all[:1])) {
				t.Errorf("--%s is in the environment as %q, want %q", flag.Name, flag.Envs, all)
			}
		}
		return
	}
	t.Error("there is no run")
}

func TestWhatIsWrongInTheConfigurationIsSaidWithItsPlace(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"unknown key", "client-id: 3\nhartbeat: 5s\n", `line 2: there is no key "hartbeat"; the keys are accounts, alerts, backfill-most, backoff-base, `},
		{"a flag that is no setting", "id: x1\n", `line 1: there is no key "id"`},
		{"list", "client-id: [1, 2]\n", "line 1: client-id: want one plain value"},
		{"nested", "heartbeat:\n  every: 5s\n", "line 1: heartbeat: want one plain value"},
		{"empty", "\nheartbeat:\n", "line 2: heartbeat: want one plain value"},
		{"reference", "gateway: &g h:1\nlisten: *g\n", "line 1: gateway: want one plain value"},
		{"twice", "client-id: 1\nclient-id: 2\n", "line 2: client-id stands there twice; first in line 1"},
		{"bad duration", "client-id: 1\nheartbeat: 5 parsecs\n", `--heartbeat: FILE, line 2: expected duration but got "5 parsecs"`},
		{"bad number", "client-id: many\n", `--client-id: FILE, line 1: expected a valid 64 bit int but got "many"`},
		{"bad bool", "debug: perhaps\n", "--debug: FILE, line 1: bool value must be"},
		{"bad choice", "log-format: xml\n", `--log-format: FILE, line 1: "xml" is not one of auto, console, json`},
		{"no mapping", "- client-id\n", `line 1: want lines of the form "key: value"`},
		{"no YAML", "gateway: \"h:1\n", "line 1: could not find end character of double-quoted text"},
		{"no text", "\x00\xff\xfe", "line 1: "},
		{"too much", strings.Repeat("#\n", maxConfig/2) + "#", "more than 1048576 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := configured(t, test.text)
			want := strings.ReplaceAll(test.want, "FILE", file)
			exit, _, text := cli(t, "run", "--config", file)
			if exit != exitUsage || !containsAll(text, file, want) {
				t.Errorf("run with %.40q = exit code %d, %q, want 2, %s and %q", test.text, exit, text, file, want)
			}
		})
	}
}

func FuzzConfig(f *testing.F) {
	for _, text := range []string{
		"", "client-id: 3\n", "a: 1\na: 2\n", "a: [1]\n", "a: {b: c}\n", "- a\n", "a: |\n  b\n", "a: &x b\nc: *x\n", "a: \"b", "? a\n: b\n",
		"---\na: 1\n---\nb: 2\n", "a: !!str b\n", "<<: {a: b}\n", "a: b: c\n", "%YAML 1.2\n---\na: 1\n", "\x00", "a:\n- b\nc: .inf\n", "# only\n",
		"connections:\n  main: {client-id: 17}\n  paper: {gateway: h:7497, client_id: 18, windows: europe}\n", "connections: {a: }\n", "connections: {a: {b: {}}}\n",
		"pool: {client_ids: 20-27}\n", "pool: {client-ids: [20, 22, 30-33], name: p, heartbeat: 1s}\nconnections: {p: {}}\n", "pool:\n  client_ids: 20,22,30-33\n",
		"pool: {client_ids: 0-2147483647}\n", "pool: {client_ids: 7-3}\n", "pool: {client_ids: []}\n", "connections: {a: {fallbacks: \"h:1,h:2\"}, b: {gateway: h:2}}\n",
		"gateway: localhost:1\nspare-client-ids: 1,2\nconnections: {a: {client-id: 1}, b: {gateway: 127.0.0.1:1, client-id: 2}}\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c := new(config)
		err := c.read(bytes.NewReader(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "configuration") {
				t.Errorf("read(%q) = %q, want the file's name first", text, err)
			}
			return
		}
		lines := bytes.Count(text, []byte("\n")) + bytes.Count(text, []byte("\r")) + 1
		sections := append([]section{c.section}, c.connections...)
		if c.pool != nil {
			sections = append(sections, c.pool.section)
		}
		for _, section := range sections {
			seen := make(map[string]bool)
			for _, s := range section.settings {
				if s.line < 1 || s.line > lines {
					t.Errorf("read(%q) has %q in line %d", text, s.key, s.line)
				}
				if seen[s.key] || strings.Contains(s.key, "_") {
					t.Errorf("read(%q) has %q twice, or with an underscore", text, s.key)
				}
				seen[s.key] = true
			}
		}
		w, err := wiringOf(t, c)
		if err != nil {
			if !strings.Contains(err.Error(), "configuration, line ") && !strings.Contains(err.Error(), "--") {
				t.Errorf("a run with %q = %q, want the file and the line", text, err)
			}
			return
		}
		soundWiring(t, text, w)
	})
}

// wiringOf parses "run" with a file that was read already.
func wiringOf(t testing.TB, c *config) (wiring, error) {
	t.Helper()
	var line commandLine
	k, err := newParserOf(&line, kong.Resolvers(view{config: c}), kong.BindTo(t.Context(), (*context.Context)(nil))).Parse([]string{"run"})
	if err != nil {
		return wiring{}, err
	}
	return line.Run.wire(k, c)
}

// soundWiring holds what a run would keep against the rules, in another way than
// the program does.
func soundWiring(t *testing.T, text []byte, w wiring) {
	t.Helper()
	names, clients, members := map[events.ConnectionID]int{}, map[string]int{}, map[string]map[events.ConnectionID]bool{}
	for _, c := range w.connections {
		names[c.Name]++
		if err := c.Policy.Validate(); err != nil {
			t.Errorf("a run with %q keeps %s with %v", text, c.Name, err)
		}
		for _, endpoint := range append([]string{c.Policy.Endpoint}, c.Policy.Fallbacks...) {
			gateway := gatewayOf(endpoint)
			if members[gateway] == nil {
				members[gateway] = map[events.ConnectionID]bool{}
			}
			if !members[gateway][c.Name] {
				for _, id := range append([]int64{c.Policy.ClientID}, c.Policy.SpareIDs...) {
					clients[fmt.Sprint(gateway, "/", id)]++
				}
			}
			members[gateway][c.Name] = true
		}
	}
	for _, p := range w.pools {
		names[p.Name]++
		for _, m := range p.Members {
			if names[m] == 0 {
				t.Errorf("a run with %q has a pool of %s, which it does not keep", text, m)
			}
		}
	}
	for name, n := range names {
		if _, err := events.ParseConnectionID(string(name)); err != nil || n > 1 {
			t.Errorf("a run with %q has %q %d times, %v", text, name, n, err)
		}
	}
	for client, n := range clients {
		if n > 1 {
			t.Errorf("a run with %q has %d connections for %s", text, n, client)
		}
	}
	for gateway, all := range members {
		if len(all) > maxClients {
			t.Errorf("a run with %q has %d connections for %s", text, len(all), gateway)
		}
	}
}
