package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ibconn/connector"
	"ibconn/events"
)

// wired returns what a run with a file, and with more arguments, keeps.
func wired(t testing.TB, text string, args ...string) (wiring, error) {
	t.Helper()
	var line commandLine
	var out output
	file := new(config)
	k, err := newParserReading(t.Context(), &line, console{Out: &out, Err: &out}, file).Parse(append([]string{"run", "--config", configured(t, text)}, args...))
	if err != nil {
		return wiring{}, err
	}
	return line.Run.wire(k, file)
}

// mustWire is wired for what must be right; it returns the connections by name.
func mustWire(t testing.TB, text string, args ...string) (wiring, map[events.ConnectionID]connector.Policy) {
	t.Helper()
	w, err := wired(t, text, args...)
	if err != nil {
		t.Fatalf("a run with %q: %v", text, err)
	}
	policies := make(map[events.ConnectionID]connector.Policy)
	for _, c := range w.connections {
		policies[c.Name] = c.Policy
	}
	return w, policies
}

func TestSectionsAndAPoolMakeConnections(t *testing.T) {
	w, of := mustWire(t, `
gateway: 127.0.0.1:4002
heartbeat: 7s
connections:
  main:  {client-id: 17}
  paper: {gateway: 127.0.0.1:7497, client_id: 18, windows: europe, heartbeat: 9s}
pool:
  name: many
  gateway: 127.0.0.1:4012
  client_ids: 20,22, 30-31
  heartbeat_timeout: 3s
`)
	var names []string
	for _, c := range w.connections {
		names = append(names, string(c.Name))
	}
	if got, want := strings.Join(names, " "), "main paper many-20 many-22 many-30 many-31"; got != want {
		t.Errorf("the connections are %s, want %s", got, want)
	}
	if len(w.pools) != 1 || w.pools[0].Name != "many" || fmt.Sprint(w.pools[0].Members) != "[many-20 many-22 many-30 many-31]" {
		t.Errorf("the pools are %v, want many with its four", w.pools)
	}
	for _, test := range []struct {
		name      events.ConnectionID
		gateway   string
		id        int64
		heartbeat time.Duration
		timeout   time.Duration
		windows   int
	}{
		{"main", "127.0.0.1:4002", 17, 7 * time.Second, 5 * time.Second, 0},
		{"paper", "127.0.0.1:7497", 18, 9 * time.Second, 5 * time.Second, 2},
		{"many-20", "127.0.0.1:4012", 20, 7 * time.Second, 3 * time.Second, 0},
		{"many-31", "127.0.0.1:4012", 31, 7 * time.Second, 3 * time.Second, 0},
	} {
		p := of[test.name]
		if p.Endpoint != test.gateway || p.ClientID != test.id || p.HeartbeatEvery != test.heartbeat || p.HeartbeatTimeout != test.timeout || len(p.Windows) != test.windows {
			t.Errorf("%s has %s as %d, heartbeats every %v for %v, %d windows, want %+v", test.name, p.Endpoint, p.ClientID, p.HeartbeatEvery, p.HeartbeatTimeout, len(p.Windows), test)
		}
	}
}

func TestWithoutSectionsThereIsOneConnection(t *testing.T) {
	w, of := mustWire(t, "connection: alone\nclient_id: 3\n")
	if len(w.connections) != 1 || len(w.pools) != 0 || of["alone"].ClientID != 3 {
		t.Errorf("the connections are %+v, pools %v, want alone with client id 3", w.connections, w.pools)
	}
}

func TestClientIDsAreWrittenInSeveralWays(t *testing.T) {
	for _, test := range []struct{ ids, want string }{
		{"20", "20"},
		{"20-22", "20 21 22"},
		{`"20, 22 ,30 - 31"`, "20 22 30 31"},
		{"[20, 22, 30-31]", "20 22 30 31"},
		{"\n  - 20\n  - 30-31", "20 30 31"},
		{"0-31", "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31"},
		{"7-7", "7"},
	} {
		w, _ := mustWire(t, "pool:\n  client_ids: "+test.ids+"\n")
		var got []string
		for _, c := range w.connections {
			got = append(got, fmt.Sprint(c.Policy.ClientID))
			if want := fmt.Sprintf("main-%d", c.Policy.ClientID); string(c.Name) != want {
				t.Errorf("the connection with client id %d is %s, want %s", c.Policy.ClientID, c.Name, want)
			}
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("client_ids: %s are %q, want %s", test.ids, got, test.want)
		}
	}
}

func TestASectionWinsOverTheTopLevelAndTheRestOverBoth(t *testing.T) {
	const text = "heartbeat: 7s\nconnections:\n  a: {client-id: 1, heartbeat: 8s}\n  b: {client-id: 2}\n"
	heartbeats := func(args ...string) string {
		_, of := mustWire(t, text, args...)
		return fmt.Sprint(of["a"].HeartbeatEvery, " ", of["b"].HeartbeatEvery)
	}
	if got := heartbeats(); got != "8s 7s" {
		t.Errorf("heartbeats from the file are %s, want 8s 7s", got)
	}
	t.Setenv("IBCONN_HEARTBEAT", "9s")
	if got := heartbeats(); got != "9s 9s" {
		t.Errorf("heartbeats from the environment are %s, want 9s 9s", got)
	}
	if got := heartbeats("--heartbeat", "10s"); got != "10s 10s" {
		t.Errorf("heartbeats from the command line are %s, want 10s 10s", got)
	}
}

func TestAPoolWithoutANameHasTheConnections(t *testing.T) {
	for _, test := range []struct {
		text string
		args []string
		want events.ConnectionID
	}{
		{"pool: {client_ids: 1}\n", nil, "main"},
		{"connection: x\npool: {client_ids: 1}\n", nil, "x"},
		{"connection: x\npool: {client_ids: 1}\n", []string{"--connection", "y"}, "y"},
		{"connection: x\npool: {client_ids: 1, name: z}\n", nil, "z"},
	} {
		if w, _ := mustWire(t, test.text, test.args...); w.pools[0].Name != test.want || w.connections[0].Name != test.want+"-1" {
			t.Errorf("a run with %q %q has the pool %s of %s, want %s", test.text, test.args, w.pools[0].Name, w.connections[0].Name, test.want)
		}
	}
}

// sectionKeys is what a section may have.
const sectionKeys = "backfill-most, backoff-base, backoff-cap, bars-dark-after, breaker-after, breaker-probe, client-id, client-id-tries, client-id-wait, competing-for, dial-timeout, " +
	"fallback-after, fallbacks, gateway, greeting-timeout, heartbeat, heartbeat-misses, heartbeat-timeout, history-bars-dark-after, ibc, lines, link-probe-every, " +
	"link-probe-misses, link-probe-timeout, login-after, message-gap, message-rate, pace-recovery, queue-limit, quotes-dark-after, ready-timeout, repeat-every, restored-after, " +
	"spare-client-ids, stable-after, trades-dark-after, weekend-probe, window-cap, windows"

func TestWhatIsWrongWithConnectionsIsSaidExactly(t *testing.T) {
	const ids = "want ids and ranges of them, such as 20-27 or [20, 22, 30-33]"
	const apart = "and both may come to 127.0.0.1:4002: give each client ids of its own"
	many := func(from, to int, more string) string {
		var b strings.Builder
		for i := from; i <= to; i++ {
			fmt.Fprintf(&b, "  c%d: {client-id: %d%s}\n", i, i, more)
		}
		return b.String()
	}
	for _, test := range []struct {
		name, text string
		want       string // FILE is the file's name; lines of the form "line N: ..." have it in front
	}{
		{"unknown in a section", "connections:\n  a:\n    client-id: 1\n    hartbeat: 1s\n", `line 4: there is no key "hartbeat" in a connection; its keys are ` + sectionKeys},
		{"unknown in a pool", "pool:\n  client_ids: 1\n  hart_beat: 1s\n", `line 3: there is no key "hart-beat" in a connection; its keys are ` + sectionKeys},
		{"data of a connection", "connections:\n  a: {data: /d}\n", "line 2: data is not a connection's own: it goes to the top level; the keys of a connection are " + sectionKeys},
		{"listen of a pool", "pool:\n  client_ids: 1\n  listen: h:1\n", "line 3: listen is not a connection's own: it goes to the top level; the keys of a connection are " + sectionKeys},
		{"log-format", "connections:\n  a: {log_format: json}\n", "line 2: log-format is not a connection's own: it goes to the top level; the keys of a connection are " + sectionKeys},
		{"debug", "connections:\n  a: {debug: true}\n", "line 2: debug is not a connection's own: it goes to the top level; the keys of a connection are " + sectionKeys},
		{"connection", "connections:\n  a: {connection: b}\n", "line 2: connection is not a connection's own: it goes to the top level; the keys of a connection are " + sectionKeys},
		{"config", "connections:\n  a: {config: b}\n", `line 2: there is no key "config" in a connection; its keys are ` + sectionKeys},
		{"a section in a section", "connections:\n  a:\n    heartbeat: {every: 1s}\n", "line 3: heartbeat: want one plain value"},
		{"connections in a section", "connections:\n  a:\n    connections: {b: {}}\n", "line 3: connections: want one plain value"},
		{"a plain section", "connections:\n  a: 17\n", "line 2: a: want the connection's settings, such as {client-id: 17}"},
		{"plain connections", "connections: main\n", `line 1: connections: want a name and settings for each, such as "main: {client-id: 17}"`},
		{"a list of connections", "connections: [main]\n", `line 1: connections: want a name and settings for each, such as "main: {client-id: 17}"`},
		{"no connections", "heartbeat: 1s\nconnections: {}\n", `line 2: connections: want a name and settings for each, such as "main: {client-id: 17}"`},
		{"a wrong name", "connections:\n  a: {}\n  A_b: {}\n", `line 3: connection name "A_b": want 1 to 32 of a-z, 0-9 and '-', not beginning with '-'`},
		{"a name twice", "connections:\n  a: {}\n  b: {}\n  a: {}\n", "line 4: a stands there twice; first in line 2"},
		{"a key twice, by another spelling", "connections:\n  a:\n    client-id: 1\n    client_id: 2\n", "line 4: client_id stands there twice; first in line 3"},
		{"connections twice", "connections: {a: {}}\nconnections: {b: {}}\n", "line 2: connections stands there twice; first in line 1"},
		{"a reference", "connections:\n  a: &a {client-id: 1}\n  b: *a\n", "line 2: a: want the connection's settings, such as {client-id: 17}"},
		{"a merge", "connections:\n  a: {client-id: 1}\n  b: {<<: {client-id: 2}}\n", "line 3: <<: want one plain value"},

		{"bad duration", "connections:\n  a: {client-id: 1}\n  b:\n    heartbeat: 5 parsecs\n", `--heartbeat: FILE, line 4: expected duration but got "5 parsecs": time: unknown unit " parsecs" in duration "5 parsecs"`},
		{"bad number", "connections:\n  a: {client-id: many}\n", `--client-id: FILE, line 2: expected a valid 64 bit int but got "many"`},
		{"bad number in a pool", "pool: {client-ids: 1, breaker_after: many}\n", `--breaker-after: FILE, line 1: expected a valid 64 bit int but got "many"`},
		{"out of range", "connections:\n  a:\n    heartbeat: 100ms\n", "line 3: heartbeat 100ms: want at least 1s"},
		{"a rate out of range", "connections:\n  a:\n    client-id: 1\n    message-rate: 5000\n", "line 4: message rate 5000 a second: want 1 to 1000"},
		{"lines that allow no message", "lines: 1\nconnections:\n  a: {client-id: 1}\n", "line 1: message rate 0 a second: want 1 to 1000"},
		{"a link probed too often", "link_probe_every: 10ms\nconnections:\n  a: {client-id: 1}\n", "line 1: link probe every 10ms: want 0s for never, or at least 1s"},
		{"no place for IBC", "connections:\n  a:\n    ibc: localhost\n", `line 3: IBC's command server "localhost": want HOST:PORT, such as 127.0.0.1:7462`},
		{"out of range at the top", "heartbeat_timeout: 1ms\npool: {client_ids: 1-3}\n", "line 1: heartbeat timeout 1ms: want at least 1s"},
		{"out of range without sections", "client-id: 1\nheartbeat_timeout: 1ms\n", "line 2: heartbeat timeout 1ms: want at least 1s"},
		{
			"several out of range", "connections:\n  a:\n    client_id: -1\n    breaker_after: 0\n  b:\n    fallbacks: g:1,nowhere\n    spare-client-ids: 1,1\n",
			"line 3: client id -1: want 0 to 2147483646\nline 4: breaker after 0 failures: want at least 1\n" +
				"line 6: gateway \"nowhere\": want HOST:PORT, such as 127.0.0.1:4002\nline 7: client id 1: stands there twice",
		},
		{"below another setting", "connections:\n  a:\n    backoff_base: 2s\n    backoff-cap: 1s\n", "line 4: backoff cap 1s: want at least 2s"},
		{"below another setting, which alone is there", "connections:\n  a:\n    backoff_base: 2m\n", "line 3: backoff cap 1m0s: want at least 2m0s"},
		{"gateway", "gateway: nowhere\nconnections: {a: {}}\n", `line 1: gateway "nowhere": want HOST:PORT, such as 127.0.0.1:4002`},

		{"impossible window", "connections:\n  a:\n    windows: europe; reset daily 25:00-26:00 UTC\n", `--windows: FILE, line 3: window "reset daily 25:00-26:00 UTC": time "25:00": want 00:00 to 23:59`},
		{"window of no length", "windows: reset daily 01:00-01:00 UTC\n", `--windows: FILE, line 1: window "reset daily 01:00-01:00 UTC": hours "01:00-01:00": want an end other than the beginning`},
		{"window twice", "connections:\n  a:\n    windows: reset Mon 01:00-02:00 UTC; reset mon 01:00-02:00 UTC\n", `--windows: FILE, line 3: window "reset mon 01:00-02:00 UTC" stands there twice, or is one of a preset's: want each once`},
		{"window of a preset", "windows: europe; reset Sun-Fri 06:25-07:45 Europe/Zurich\n", `--windows: FILE, line 1: window "reset Sun-Fri 06:25-07:45 Europe/Zurich" stands there twice, or is one of a preset's: want each once`},
		{"preset twice", "windows: europe; asia; europe\n", "--windows: FILE, line 1: preset europe stands there twice: want each once"},
		{"no such preset", "windows: atlantis\n", `--windows: FILE, line 1: region "atlantis": want one of asia, asia-2024, europe, europe-2024, north-america, north-america-2024`},

		{"plain pool", "pool: 20-27\n", "line 1: pool: want its settings, such as {client-ids: 20-27}"},
		{"empty pool", "pool:\n", "line 1: pool: client-ids is missing: " + ids},
		{"pool without ids", "pool:\n  gateway: h:1\n", "line 1: pool: client-ids is missing: " + ids},
		{"pool with one id", "pool:\n  client_id: 3\n", "line 2: client_id: a pool has client-ids: " + ids},
		{"no ids", "pool:\n  client_ids: []\n", "line 2: client_ids: none is in it: " + ids},
		{"null ids", "pool:\n  client_ids:\n", "line 2: client_ids: " + ids},
		{"mapped ids", "pool:\n  client_ids: {a: 1}\n", "line 2: client_ids: " + ids},
		{"listed lists", "pool:\n  client_ids: [[1]]\n", "line 2: client_ids: " + ids},
		{"half a range", "pool:\n  client_ids: 20-\n", `line 2: client_ids: "20-": ` + ids},
		{"a word", "pool:\n  client_ids:\n  - 20\n  - all\n", `line 4: client_ids: "all": ` + ids},
		{"a negative id", "pool:\n  client_ids: [-3]\n", `line 2: client_ids: "-3": ` + ids},
		{"an empty part", "pool:\n  client_ids: 20,,21\n", `line 2: client_ids: "": ` + ids},
		{"too large", "pool:\n  client_ids: 2147483648\n", `line 2: client_ids: "2147483648": ` + ids},
		{"IB's unset", "pool:\n  client_ids: 2147483647\n", "line 2: client id 2147483647: want 0 to 2147483646"},
		{"backwards", "pool:\n  client_ids: 1,27-20\n", `line 2: client_ids: range "27-20" is empty: want the lower id first`},
		{"an id twice", "pool:\n  client_ids: [20, 19-21]\n", "line 2: client_ids: client id 20 stands there twice"},
		{"33 ids", "pool:\n  client_ids: 1-33\n", "line 2: client_ids: 33 ids: a gateway takes at most 32 API clients"},
		{"2 thousand million ids", "pool:\n  client_ids: 0-2147483646\n", "line 2: client_ids: 2147483647 ids: a gateway takes at most 32 API clients"},
		{"list in braces", "pool: {client_ids: 20,22,30-33}\n", "line 1: 22: in braces a list needs brackets, such as [20, 22, 30-33]"},
		{"wrong pool name", "pool: {client_ids: 1, name: P}\n", `line 1: name: connection name "P": want 1 to 32 of a-z, 0-9 and '-', not beginning with '-'`},
		{"listed pool name", "pool: {client_ids: 1, name: [p]}\n", "line 1: name: want one plain value"},
		{
			"too long a pool name", "pool:\n  client_ids: 10\n  name: " + strings.Repeat("x", 30) + "\n",
			"line 1: pool " + strings.Repeat("x", 30) + `: connection name "` + strings.Repeat("x", 30) + `-10": want 1 to 32 of a-z, 0-9 and '-', not beginning with '-'`,
		},
		{"pool named as a connection", "connections:\n  main: {client-id: 1}\npool: {client_ids: 20}\n", `line 3: pool main: there is a connection of that name in line 2: give the pool another with "name"`},
		{"member named as a connection", "pool:\n  client_ids:\n  - 20\n  - 21\nconnections:\n  main-21: {client-id: 1}\n", "line 4: pool main: there is a connection main-21 in line 6: give one of them another name"},
		{"wrong connection", "connection: A\npool: {client_ids: 20}\n", `line 1: connection name "A": want 1 to 32 of a-z, 0-9 and '-', not beginning with '-'`},

		{"the same client id", "connections:\n  a: {client-id: 3}\n  b:\n    client-id: 3\n", "line 4: client id 3 of b (line 4) is one of a's too (line 2), " + apart},
		{"the default client id", "connections:\n  a: {}\n  b: {}\n", "line 3: client id 17 of b (the default) is one of a's too (the default), " + apart},
		{"a spare id", "connections:\n  a: {client-id: 3}\n  b:\n    client-id: 4\n    spare-client-ids: 5,3\n", "line 5: client id 3 of b (line 5) is one of a's too (line 2), " + apart},
		{
			"spare ids of a pool", "pool:\n  client_ids: 1-3\n  spare_client_ids: 9\n",
			"line 3: client id 9 of main-2 (line 3) is one of main-1's too (line 3), " + apart + "\nline 3: client id 9 of main-3 (line 3) is one of main-1's too (line 3), " + apart,
		},
		{"a fallback, by another spelling", "connections:\n  a: {client-id: 3}\n  b: {client-id: 3, gateway: h:1, fallbacks: \"g:1,LOCALHOST:04002\"}\n", "line 3: client id 3 of b (line 3) is one of a's too (line 2), " + apart},
		{"pool and connection", "connections:\n  a: {client-id: 21}\npool:\n  client_ids: 20-22\n", "line 4: client id 21 of main-21 (line 4) is one of a's too (line 2), " + apart},
		{"257 connections", "connections:\n" + many(1, 257, ""), "line 258: connections: 257 of them: want at most 256 in one process"},
		{"33 connections", "connections:\n" + many(1, 33, ""), "line 34: c33 is connection 33 that may come to 127.0.0.1:4002: a gateway takes at most 32 API clients"},
		{"32 and a fallback", "connections:\n" + many(1, 32, "") + "  f: {client-id: 99, gateway: h:1, fallbacks: 127.0.0.1:4002}\n", "line 34: f is connection 33 that may come to 127.0.0.1:4002: a gateway takes at most 32 API clients"},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := configured(t, test.text)
			dir := filepath.Join(t.TempDir(), "data")
			exit, out, text := cli(t, "run", "--config", file, "--data", dir)
			text, _, _ = strings.Cut(text, "\nRun \"ibconn --help\"")
			want := strings.ReplaceAll("\n"+test.want, "\nline ", "\n"+file+", line ")
			want = "ibconn: " + strings.ReplaceAll(want[1:], "FILE", file)
			if exit != exitUsage || strings.TrimSuffix(text, "\n") != want {
				t.Errorf("run with %q = exit code %d,\n%s\nwant 2 and\n%s", test.text, exit, text, want)
			}
			if _, err := os.Stat(dir); out != "" || !os.IsNotExist(err) {
				t.Errorf("run with %q began: it said %q, and its data: %v", test.text, out, err)
			}
		})
	}
}

func TestWhatAFlagDoesToEveryConnectionIsRefusedWhereItCannotBe(t *testing.T) {
	const pool = "pool:\n  client_ids: 1-2\n  name: p\n"
	for _, test := range []struct {
		text string
		args []string
		env  string
		want string
	}{
		{pool, []string{"--client-id", "5"}, "", "line 2: p-1 has the client id 5 from --client-id, which holds for every connection: leave that out"},
		{pool, nil, "6", "line 2: p-2 has the client id 6 from $IBCONN_CLIENT_ID, which holds for every connection: leave that out"},
		{"connections:\n  a: {client-id: 1}\n  b: {client-id: 2}\n", []string{"--client-id", "5"}, "", "line 3: client id 5 of b (--client-id) is one of a's too (--client-id)"},
		{pool, []string{"--connection", "x"}, "", "--connection x: the connections have their names from FILE: leave it out"},
		{pool, []string{"--heartbeat", "1ms"}, "", "heartbeat 1ms: want at least 1s"},
	} {
		if test.env != "" {
			t.Setenv("IBCONN_CLIENT_ID", test.env)
		}
		file := configured(t, test.text)
		exit, _, text := cli(t, append([]string{"run", "--config", file, "--data", t.TempDir()}, test.args...)...)
		if want := strings.ReplaceAll(test.want, "FILE", file); exit != exitUsage || !strings.Contains(text, want) {
			t.Errorf("run with %q %q = exit code %d, %q, want 2 and %q", test.text, test.args, exit, text, want)
		}
		os.Unsetenv("IBCONN_CLIENT_ID") // t.Setenv puts back what was before
	}
}

func TestManyFindingsAreNotAllSaid(t *testing.T) {
	_, err := wired(t, "pool: {client_ids: 1-20, spare_client_ids: 99}\n")
	if err == nil {
		t.Fatal("a pool whose connections share a spare client id is taken")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != maxFindings+1 || lines[maxFindings] != "and 9 more" {
		t.Errorf("a run says %d lines, the last %q, want %d, the last \"and 9 more\"", len(lines), lines[len(lines)-1], maxFindings+1)
	}
}

func TestThe32ndConnectionOfAGatewayIsTaken(t *testing.T) {
	w, _ := mustWire(t, "pool: {client_ids: 1-32}\nconnections: {other: {gateway: \"h:1\"}}\n")
	if len(w.connections) != 33 {
		t.Errorf("there are %d connections, want 33", len(w.connections))
	}
}

func TestPresetsThatShareAWindowAreTaken(t *testing.T) {
	_, of := mustWire(t, "windows: europe; asia\n")
	if n := len(of["main"].Windows); n != 4 {
		t.Errorf("europe and asia are %d windows, want 4: they share the weekend", n)
	}
}

func TestTheSameGatewayIsFoundHoweverItIsWritten(t *testing.T) {
	for _, same := range [][]string{
		{"127.0.0.1:4002", "localhost:4002", "LocalHost.:4002", "[::1]:4002", "127.0.0.1:04002"},
		{"gw.example:1", "GW.example:1", "gw.example.:1"},
		{"[fe80::1]:1", "[FE80:0::1]:1"},
	} {
		for _, endpoint := range same {
			if got := gatewayOf(endpoint); got != gatewayOf(same[0]) {
				t.Errorf("gatewayOf(%s) = %s, want %s", endpoint, got, gatewayOf(same[0]))
			}
		}
	}
	different := []string{"127.0.0.1:4002", "127.0.0.2:4002", "127.0.0.1:4001", "host:4002"}
	for i, endpoint := range different {
		if slices.ContainsFunc(different[:i], func(d string) bool { return gatewayOf(d) == gatewayOf(endpoint) }) {
			t.Errorf("gatewayOf(%s) = %s, which is another gateway", endpoint, gatewayOf(endpoint))
		}
	}
}

func TestTheReadmesExampleIsTaken(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(readme), "The file says which:\n\n")
	example, _, ends := strings.Cut(rest, "\n\n")
	if !found || !ends {
		t.Fatal("README has no example of a file with several connections")
	}
	w, of := mustWire(t, strings.ReplaceAll("\n"+example, "\n    ", "\n"))
	if len(w.connections) != 10 || of["paper"].Endpoint != "127.0.0.1:7497" || of["feed-27"].ClientID != 27 || w.pools[0].Name != "feed" {
		t.Errorf("README's example makes %+v and the pools %v, want what README says of it", w.connections, w.pools)
	}
}
