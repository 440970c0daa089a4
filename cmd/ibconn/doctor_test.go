package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/testenv/gateway"
)

// nobodysBus is where no bus is.
const nobodysBus = "nats://127.0.0.1:1"

// examination is what one run of doctor printed.
type examination struct {
	t      testing.TB
	exit   int
	checks []check
}

// examine runs doctor. What follows wins.
func examine(t testing.TB, gatewayAddr string, more ...string) examination {
	t.Helper()
	args := append([]string{
		"doctor", "--json", "--gateway", gatewayAddr, "--data", filepath.Join(t.TempDir(), "data"),
		"--listen", "127.0.0.1:0", "--nats", nobodysBus, "--timeout", liveness.String(), "--settle", "0s",
	}, more...)
	exit, out, text := cli(t, args...)
	e := examination{t: t, exit: exit}
	if err := json.Unmarshal([]byte(out), &e.checks); err != nil {
		t.Fatalf("ibconn %q prints %q and %q: %v", args, out, text, err)
	}
	if strings.Contains(out+text, account) {
		t.Errorf("ibconn %q shows an account: %s", args, out)
	}
	for _, c := range e.checks {
		if c.Found == "" || (c.Status == failed || c.Status == warned) != (c.Advice != "") {
			t.Errorf("%s is %+v, want what was found, and advice when that is not well", c.Name, c)
		}
	}
	return e
}

// is fails the test unless the check came out as wanted and has the words.
func (e examination) is(name string, want verdict, words ...string) {
	e.t.Helper()
	for _, c := range e.checks {
		if c.Name == name {
			if c.Status != want || !containsAll(c.Found+": "+c.Advice, words...) {
				e.t.Errorf("%s is %+v, want %s and %q", name, c, want, words)
			}
			return
		}
	}
	e.t.Errorf("nothing was checked under the name %q: %+v", name, e.checks)
}

// ends fails the test unless the exit code and the names of the failed checks
// are as wanted.
func (e examination) ends(want int, failures ...string) {
	e.t.Helper()
	var found []string
	for _, c := range e.checks {
		if c.Status == failed {
			found = append(found, c.Name)
		}
	}
	if e.exit != want || strings.Join(found, ",") != strings.Join(failures, ",") {
		e.t.Errorf("doctor = exit code %d, failed are %q, want %d and %q", e.exit, found, want, failures)
	}
}

func TestDoctorFindsNothingWrongWhereNothingIs(t *testing.T) {
	noLeaks(t)
	for name, version := range map[string]int{"text": 176, "protobuf": 225} {
		t.Run(name, func(t *testing.T) {
			gw := gateway.Start(t, gateway.Config{ServerVersion: version, Accounts: []string{account, "U7654321", "oddly-named"}})
			data := filepath.Join(t.TempDir(), "data")
			e := examine(t, gw.Addr(), "--data", data)
			e.ends(exitDone)
			e.is("gateway name", passed, "127.0.0.1")
			e.is("gateway port", passed, gw.Addr()+" accepted after ")
			e.is("greeting", passed, fmt.Sprintf("server version %d ", version))
			e.is("client id", passed, "17 was accepted")
			e.is("accounts", passed, "3 accounts: DU***67 U***21 o***ed")
			e.is("clock", passed, "reqCurrentTime answered in ")
			e.is("session", passed)
			e.is("link", passed)
			e.is("farms", passed)
			e.is("notices", passed)
			e.is("bus", passed, "nothing answers at "+nobodysBus, "127.0.0.1:0 is free for a run")
			e.is("data directory", passed, data+" is not there yet", "synced write took ")
			e.is("lock", passed, "there is no log yet")
			if _, err := os.Stat(data); !os.IsNotExist(err) {
				t.Errorf("doctor left %s behind: %v", data, err)
			}
			left(t, gw)
		})
	}
}

func TestDoctorPrintsALineForEachCheck(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	dir := t.TempDir()
	exit, out, text := cli(t, "doctor", "--gateway", gw.Addr(), "--data", dir, "--listen", "0.0.0.0:0", "--nats", nobodysBus, "--settle", "0s")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 15 || !containsAll(lines[0], "records nothing and changes nothing") {
		t.Errorf("doctor prints %d lines:\n%s\nwant what it is and 14 checks", len(lines), out)
	}
	if !containsAll(out, "\nok       accounts        1 account: DU***67\n", `"0.0.0.0:0" is not a loopback address`, "use another --listen") {
		t.Errorf("doctor prints\n%s\nwant the account, masked, and what is wrong with --listen", out)
	}
	if exit != exitFailed || text != "ibconn: 1 check failed\n" {
		t.Errorf("doctor = exit code %d, %q, want 1 and the failed check counted", exit, text)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("doctor left %v in the data directory, %v", left, err)
	}
}

func TestDoctorSaysHowFarAGatewayLetsItCome(t *testing.T) {
	noLeaks(t)
	accepting := func(mode gateway.AcceptMode) func(*gateway.Gateway) {
		return func(gw *gateway.Gateway) { gw.OnAccept(mode) }
	}
	for _, test := range []struct {
		name    string
		prepare func(*gateway.Gateway)
		more    []string
		failed  string
		words   []string
		next    string // the check that is skipped then
	}{
		{
			"refused", func(gw *gateway.Gateway) { _ = gw.Refuse(true) }, nil,
			"gateway port",
			[]string{"nothing listens at 127.0.0.1:", "start IB Gateway", "'ActiveX and Socket Clients'", "--gateway"},
			"greeting",
		},
		{
			"no such name", accepting(gateway.Normal),
			[]string{"--gateway", "no..such.host:4002"},
			"gateway name",
			[]string{"no..such.host", "no such host", "correct the host in --gateway"},
			"gateway port",
		},
		{
			"mute", accepting(gateway.StayMute),
			[]string{"--timeout", "500ms"},
			"greeting",
			[]string{"accepted and then said nothing", "within 500ms", "the gateway's window"},
			"client id",
		},
		{
			"closes at once", accepting(gateway.CloseAtOnce), nil,
			"greeting",
			[]string{"'Trusted IPs'"},
			"client id",
		},
		{
			"mute after its greeting", accepting(gateway.MuteAfterGreeting),
			[]string{"--timeout", "500ms"},
			"client id",
			[]string{"17 got no session", "no nextValidId", "the gateway's window"},
			"accounts",
		},
		{
			"closes after startApi", accepting(gateway.CloseAfterStartAPI), nil,
			"client id",
			[]string{"17 got no session", "closed before the session was ready", "another --client-id"},
			"accounts",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			gw := gateway.Start(t, simulated)
			test.prepare(gw)
			e := examine(t, gw.Addr(), test.more...)
			e.ends(exitFailed, test.failed)
			e.is(test.failed, failed, test.words...)
			e.is(test.next, skipped, test.failed)
			e.is("notices", skipped, test.failed)
			e.is("lock", passed)
		})
	}
}

func TestDoctorSaysWhoHoldsTheClientID(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	dir := t.TempDir()
	p := startRun(t, runArgs(dir, gw.Addr()))
	p.ready()

	e := examine(t, gw.Addr(), "--data", dir)
	e.ends(exitFailed, "client id")
	e.is("client id", failed, "17 got no session", "already in use", "find the program that holds it", "another --client-id")
	e.is("lock", warned, "process "+strconv.Itoa(os.Getpid()), "stop that process", "--nats")

	e = examine(t, gw.Addr(), "--data", dir, "--nats", p.url)
	e.ends(exitDone)
	e.is("client id", passed, "1017 was accepted", "17 is held by ibconn run (connection main, ")
	e.is("bus", passed, "ibconn run is up at "+p.url+" with main (healthy, version "+version+")", "its last event is ")
	e.is("lock", passed, "process "+strconv.Itoa(os.Getpid()))
	e.is("log", skipped)
	if s := p.status().State; s.Condition != events.ConditionHealthy || s.Counts.Attempts != 1 {
		t.Errorf("after doctor the run is %s in attempt %d, want it untouched: healthy in its first", s.Condition, s.Counts.Attempts)
	}
}

func TestDoctorReadsTheGatewaysNotices(t *testing.T) {
	noLeaks(t)
	for _, test := range []struct {
		code  int
		text  string
		check string
		want  verdict
		words []string
	}{
		{2110, "Connectivity between Trader Workstation and server is broken. It will be restored automatically.", "link", failed, []string{"down (2110)", "not logged in or not connected to IB: look at its window"}},
		{1100, "Connectivity between IBKR and Trader Workstation has been lost.", "link", failed, []string{"down (1100)", "look at its window"}},
		{2103, "Market data farm connection is broken:usfarm", "farms", warned, []string{"down: market_data/usfarm"}},
		{321, "Error validating request: account " + account + "\x1b[2J is not there.", "notices", warned, []string{"321 ", "account DU***67 [2J is not there"}},
	} {
		t.Run(strconv.Itoa(test.code), func(t *testing.T) {
			gw := gateway.Start(t, simulated)
			told := make(chan bool, 1)
			go func() {
				deadline := time.Now().Add(liveness)
				for gw.Error(-1, test.code, test.text) == 0 && time.Now().Before(deadline) {
					time.Sleep(time.Millisecond) // until the trial has started the API
				}
				told <- time.Now().Before(deadline)
			}()
			e := examine(t, gw.Addr(), "--settle", "2s")
			if !<-told {
				t.Fatal("there was no trial session to tell")
			}
			e.is(test.check, test.want, test.words...)
			if test.want == failed {
				e.ends(exitFailed, test.check)
				e.is("farms", skipped, test.check)
				return
			}
			e.ends(exitDone)
		})
	}
}

func TestDoctorComparesTheClocks(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, gateway.Config{Accounts: []string{account}, Now: func() time.Time { return time.Now().Add(time.Hour) }})
	e := examine(t, gw.Addr())
	e.ends(exitDone)
	e.is("clock", warned, "gateway's clock +3", "s from ours", "NTP")
}

func TestDoctorSaysWhatElseIsAtTheBusAddress(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	e := examine(t, gw.Addr(), "--listen", other.Addr().String())
	e.ends(exitFailed, "bus")
	e.is("bus", failed, other.Addr().String(), "address already in use", "stop the program", "127.0.0.1:0 for any free port")

	server, err := bus.Open(bus.ServerOptions{StoreDir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	left(t, gw)
	e = examine(t, gw.Addr(), "--nats", server.URL())
	e.ends(exitDone)
	e.is("bus", passed, server.URL()+" is a NATS server, but not ibconn's", "free for a run")
	left(t, gw)
	e = examine(t, gw.Addr(), "--nats", server.URL(), "--listen", strings.TrimPrefix(server.URL(), "nats://"))
	e.ends(exitFailed, "bus")
	e.is("bus", failed, "not ibconn's", "a run cannot listen")
}

// left waits until no client is at the gateway: it releases a client id only
// when it has read that the socket closed.
func left(t *testing.T, gw *gateway.Gateway) {
	t.Helper()
	within(t, "the sessions' ends at the gateway", func() bool { return gw.Stats().Open == 0 })
}

func TestDoctorSaysThatTheDataDirectoryCannotBeWritten(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	file := filepath.Join(t.TempDir(), "a-file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		left(t, gw)
		e := examine(t, gw.Addr(), "--data", dir)
		e.ends(exitFailed, "data directory")
		e.is("data directory", failed, dir, "not a directory", "use another --data")
		e.is("disk", skipped, "data directory")
		e.is("lock", skipped, "data directory")
	}
}

func TestDoctorJudgesTheDiskByWhatARunNeeds(t *testing.T) {
	for _, test := range []struct {
		free int64
		want verdict
	}{
		{0, failed}, {64<<20 - 1, failed}, {64 << 20, warned}, {2<<30 - 1, warned}, {2 << 30, passed}, {1 << 62, passed},
	} {
		if got := judgeDisk(test.free); got.Status != test.want || (got.Advice == "") != (test.want == passed) {
			t.Errorf("judgeDisk(%d) = %+v, want %s", test.free, got, test.want)
		}
	}
}

func TestDoctorFindsALogThatLostItsEnd(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	dir, older := t.TempDir(), t.TempDir()
	p := startRun(t, runArgs(dir, gw.Addr()))
	p.ready()
	p.stop()
	examine(t, gw.Addr(), "--data", dir).is("log", passed, "not before its high-water mark")

	if err := os.CopyFS(older, os.DirFS(filepath.Join(dir, "jetstream"))); err != nil {
		t.Fatal(err)
	}
	p = startRun(t, runArgs(dir, gw.Addr()))
	_, claim := wait(p, 0, func(e *events.EpochBegan) bool { return e.PreviousEpoch == 1 })
	// A run that is told to end while it claims may not get to know that the claim
	// is stored: then nothing is known to be.
	p.healthy(claim.StreamSeq)
	p.stop()
	if err := os.RemoveAll(filepath.Join(dir, "jetstream")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(older, filepath.Join(dir, "jetstream")); err != nil {
		t.Fatal(err)
	}
	e := examine(t, gw.Addr(), "--data", dir)
	e.ends(exitFailed, "log")
	e.is("log", failed, "it ends at sequence ", "known to be stored", "copy it again while no run has it", "a run records the damage")

	// And doctor has not hidden it from the run that follows.
	p = startRun(t, runArgs(dir, gw.Addr()))
	damage, _ := wait(p, 0, func(*events.LogDamaged) bool { return true })
	if damage.Finding != events.FindingMissing {
		t.Errorf("the next run found %+v, want that events are missing", damage)
	}
	p.stop()
}

func TestWhatDoctorShowsIsOneLineWithoutAccountsAndControls(t *testing.T) {
	if got, want := fit(" a\n\tb\x1b[2J "+account+"\u202e.\x00"), "a b [2J DU***67 ."; got != want {
		t.Errorf("fit = %q, want %q", got, want)
	}
}

func TestDoctorRefusesWhatARunWouldRefuse(t *testing.T) {
	for _, test := range []struct {
		arg, want string
	}{
		{"--gateway=nowhere", `gateway "nowhere": want HOST:PORT`},
		{"--client-id=-1", "client id -1: want 0 to "},
		{"--windows=atlantis", "atlantis"},
		{"--connection=A", `connection name "A"`},
		{"--timeout=0s", "want a timeout above 0"},
		{"--settle=-1s", "no settling below"},
	} {
		exit, out, text := cli(t, "doctor", test.arg)
		if exit != exitUsage || out != "" || !strings.Contains(text, test.want) {
			t.Errorf("doctor %s = exit code %d, %q, %q, want 2 and %q", test.arg, exit, out, text, test.want)
		}
	}
}

func TestDoctorLooksWhetherIBCCanBeAsked(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := examine(t, gw.Addr(), "--data", t.TempDir(), "--ibc", l.Addr().String())
	e.ends(exitDone)
	e.is("IBC", passed, l.Addr().String()+" accepts", "nothing was asked of it")
	l.Close()
	left(t, gw)
	e = examine(t, gw.Addr(), "--data", t.TempDir(), "--ibc", l.Addr().String())
	e.ends(exitFailed, "IBC")
	e.is("IBC", failed, "CommandServerPort")
}

func TestDoctorNamesNoCodeWhereTheGatewayGaveNone(t *testing.T) {
	for _, test := range []struct {
		link   events.LinkStatus
		code   int
		misses int
		want   string
	}{
		{events.LinkDown, 1100, 0, "down (1100)"},
		{events.LinkDown, 0, 1, "down, though the gateway says nothing of it"},
		{events.LinkUp, 504, 1, "the gateway answered a search for symbols with 504 words"},
		{events.LinkUp, 0, 1, "IB's servers did not answer a search for symbols: words"},
	} {
		var tr trial
		tr.state.Link.Status, tr.state.Link.Code = test.link, test.code
		tr.state.Heartbeat.Link.Misses, tr.state.Heartbeat.Link.Code, tr.state.Heartbeat.Link.Message = test.misses, test.code, "words"
		if got := tr.link(); got.Found != test.want || got.Advice == "" {
			t.Errorf("link() = %+v, want %q and what to do", got, test.want)
		}
	}
}

func TestDoctorSaysThatALinkIsDeadOfWhichNothingIsSaid(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	gw.LoseLink(false)
	e := examine(t, gw.Addr(), "--data", t.TempDir(), "--timeout", "1s")
	e.is("link", warned, "did not answer a search for symbols", "look at its window")
	e.is("session", passed)
}
