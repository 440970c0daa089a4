package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
			if len(flag.Envs) != 1 || flag.Envs[0] != want {
				t.Errorf("--%s is in the environment as %q, want %s", flag.Name, flag.Envs, want)
			}
		}
		return
	}
	t.Error("there is no run")
}

func TestWhatIsWrongInTheConfigurationIsSaidWithItsPlace(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"unknown key", "client-id: 3\nhartbeat: 5s\n", `line 2: there is no key "hartbeat"; the keys are accounts, backoff-base, `},
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

func FuzzReadConfig(f *testing.F) {
	for _, text := range []string{
		"", "client-id: 3\n", "a: 1\na: 2\n", "a: [1]\n", "a: {b: c}\n", "- a\n", "a: |\n  b\n", "a: &x b\nc: *x\n", "a: \"b", "? a\n: b\n",
		"---\na: 1\n---\nb: 2\n", "a: !!str b\n", "<<: {a: b}\n", "a: b: c\n", "%YAML 1.2\n---\na: 1\n", "\x00", "a:\n- b\nc: .inf\n", "# only\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		resolver, err := readConfig(bytes.NewReader(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "configuration") {
				t.Errorf("readConfig(%q) = %q, want the file's name first", text, err)
			}
			return
		}
		seen := make(map[string]bool)
		for _, s := range resolver.(*config).settings {
			if s.line < 1 || s.line > bytes.Count(text, []byte("\n"))+bytes.Count(text, []byte("\r"))+1 {
				t.Errorf("readConfig(%q) has %q in line %d", text, s.key, s.line)
			}
			if seen[s.key] {
				t.Errorf("readConfig(%q) has %q twice", text, s.key)
			}
			seen[s.key] = true
		}
	})
}
