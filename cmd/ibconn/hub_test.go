package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/testenv/gateway"
	"ibconn/testenv/hub"
)

func startHub(t testing.TB, h *hub.Server) *hub.Server {
	t.Helper()
	if h.Dir == "" {
		h.Dir = t.TempDir()
	}
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Stop)
	return h
}

// atHub is the program as it is seen from the hub.
func (p *program) atHub(url string, options ...nats.Option) *program {
	p.t.Helper()
	nc, err := bus.Dial(url, options...)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(nc.Close)
	there := &program{t: p.t, url: url, nc: nc}
	within(p.t, "the log on the hub", func() bool {
		there.log, err = bus.FindLog(p.t.Context(), nc)
		return err == nil
	})
	return there
}

// sameAt waits until the hub has what a log has, and fails unless it is the same.
func (p *program) sameAt(there *program) {
	p.t.Helper()
	read := func(l *bus.Log) (all [][]byte) {
		for e, err := range l.Read(p.t.Context(), bus.Query{Connection: "main"}) {
			if err != nil {
				p.t.Fatal(err)
			}
			all = append(all, e.Wire)
		}
		return all
	}
	within(p.t, "the hub having what the log has", func() bool {
		here := read(p.log)
		got := read(there.log)
		for i := range min(len(here), len(got)) {
			if !bytes.Equal(here[i], got[i]) {
				p.t.Fatalf("event %d on the hub is %s, want %s", i, got[i], here[i])
			}
		}
		return len(got) >= len(here)
	})
}

func TestARunWithAHub(t *testing.T) {
	noLeaks(t)
	h := startHub(t, &hub.Server{})
	dir := t.TempDir()
	p := startRun(t, runArgs(dir, gateway.Start(t, simulated).Addr(), "--nats", h.URL()))
	p.ready()
	there := p.atHub(h.URL())
	p.sameAt(there)

	// Commands and their outcome, from there.
	at := there.position()
	out := cliOK(t, "reconnect", "--nats", h.URL(), "--wait", "20s")
	if !strings.HasPrefix(out, "reconnect main: completed") {
		t.Errorf("reconnect over the hub printed %q, want it completed", out)
	}
	there.healthy(at)
	within(t, "the relay being current", func() bool { return there.status().Relay.Status == events.RelayCurrent })
	if out = cliOK(t, "status", "--nats", h.URL()); !containsAll(out, "main: healthy", "hub        "+h.URL()+", current for") {
		t.Errorf("status over the hub printed %q, want the hub in it", out)
	}
	if relay := there.status().Relay; relay == nil || relay.Hub != h.URL() || relay.Sequence == 0 || relay.Relayed == 0 {
		t.Errorf("the answer to status has the relay %+v, want how far it is", relay)
	}
	if out = cliOK(t, "status", "--nats", h.URL(), "--json"); !strings.Contains(out, `"lag_events": 0`) {
		t.Errorf("status --json over the hub printed %q, want the lag in it", out)
	}
	metrics := get(t, p.out.find(t, `"metrics":"([^"]+)"`))
	for _, want := range []string{
		"ibconn_relay_connected 1", `ibconn_relay_lag_events{connection="main"} 0`, `ibconn_relay_refused_total{connection="main"} 0`,
		`ibconn_relay_status{connection="main",status="current"} 1`,
	} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("the metrics have no line %q", want)
		}
	}

	// What consumers make of the hub's log.
	consuming := &program{t: t}
	consuming.goRun(func(ctx context.Context) int {
		return execute(ctx, []string{"consume", "status", "incidents", "--nats", h.URL()}, console{Out: &consuming.out, Err: &consuming.err})
	})
	within(t, "the status on the hub", func() bool {
		store, err := bus.FindStatuses(t.Context(), there.nc)
		if err != nil {
			return false
		}
		document, err := store.Get(t.Context(), "main")
		return err == nil && strings.Contains(string(document), `"condition":"healthy"`)
	})
	consuming.stop()

	// The hub goes and comes.
	h.Stop()
	within(t, "the loss being shown", func() bool { return p.status().Relay.Status == events.RelayAway })
	at = p.position()
	cliOK(t, "reconnect", "--nats", p.url) // its own bus was asked to listen, so it can be commanded
	p.healthy(at)
	if s := p.status().Relay; s.Lag == 0 || s.Problem == "" {
		t.Errorf("without the hub the relay is %+v, want a lag and why", s)
	}
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	p.sameAt(p.atHub(h.URL()))
	within(t, "commands on the hub", func() bool {
		exit, _, _ := cli(t, "status", "--nats", h.URL())
		return exit == exitDone
	})
	p.stop()
	if out := p.out.String(); strings.Count(out, "the hub is not there") != 1 || strings.Count(out, "the hub is back") != 1 {
		t.Errorf("run said of its hub %q, want once that it is lost and once that it is back", out)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("GET %s = %s, %v", url, response.Status, err)
	}
	return string(b)
}

// hubArgs are the arguments of a run that has no bus of its own to reach.
func hubArgs(dir, gatewayAddr string, more ...string) []string {
	return append([]string{
		"run", "--http", "off", "--log-format", "json", "--data", dir, "--gateway", gatewayAddr, "--heartbeat", "1s", "--heartbeat-timeout", "1s",
	}, more...)
}

// startHubRun runs "ibconn run" with a hub in this process, and looks at it from there.
func startHubRun(t testing.TB, args []string) *program {
	t.Helper()
	p := &program{t: t}
	p.cmd = asProgram("ibconn", args...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	p.start()
	return p
}

func TestARunThatIsKilledLosesNothingOnItsHub(t *testing.T) {
	noLeaks(t)
	h := startHub(t, &hub.Server{})
	dir, gw := t.TempDir(), gateway.Start(t, simulated).Addr()
	var there *program
	for i := range 5 {
		p := startHubRun(t, hubArgs(dir, gw, "--nats", h.URL()))
		p.out.find(t, `("event":"state.session_opened")`)
		if strings.Contains(p.out.String(), `"nats":`) {
			t.Errorf("a run with a hub listens: %s", p.out.String())
		}
		if there == nil {
			there = p.atHub(h.URL())
		}
		if i < 4 {
			p.kill()
			continue
		}
		within(t, "the relay being current", func() bool {
			exit, _, _ := cli(t, "status", "--nats", h.URL(), "--check")
			return exit == exitDone
		})
		p.stop()
	}
	here := stored(t, dir)
	var got []bus.Entry
	for e, err := range there.log.Read(t.Context(), bus.Query{Connection: "main"}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	fold(t, got)
	if len(got) != len(here) {
		t.Errorf("the hub has %d events, want the %d of the log", len(got), len(here))
	}
	for i := range min(len(got), len(here)) {
		if !bytes.Equal(got[i].Wire, here[i].Wire) {
			t.Fatalf("event %d on the hub is %s, want %s", i, got[i].Wire, here[i].Wire)
		}
	}
}

func TestARunWhoseDataAreLostGoesOnWithWhatTheHubHas(t *testing.T) {
	noLeaks(t)
	h := startHub(t, &hub.Server{})
	gw := gateway.Start(t, simulated).Addr()
	p := startRun(t, runArgs(t.TempDir(), gw, "--nats", h.URL()))
	p.ready()
	there := p.atHub(h.URL())
	p.stop()
	p = startRun(t, runArgs(t.TempDir(), gw, "--nats", h.URL()))
	p.out.find(t, `(this data directory lacked events of a connection, which were taken from the hub)`)
	p.healthy(there.position())
	all := readFrom(t, there.log)
	if state := fold(t, all); state.Epoch != 2 {
		t.Errorf("the hub's log leads to epoch %d, want 2", state.Epoch)
	}
	p.stop()
}

func readFrom(t *testing.T, log *bus.Log) (all []bus.Entry) {
	t.Helper()
	for e, err := range log.Read(t.Context(), bus.Query{Connection: "main"}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func TestARunBeginsWithoutItsHub(t *testing.T) {
	noLeaks(t)
	h := startHub(t, &hub.Server{})
	h.Stop()
	p := startRun(t, runArgs(t.TempDir(), gateway.Start(t, simulated).Addr(), "--nats", h.URL()))
	p.ready()
	if s := p.status().Relay; s == nil || s.Status != events.RelayAway || s.Lag == 0 {
		t.Errorf("without its hub the relay of a run is %+v, want it away with a lag", s)
	}
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	there := p.atHub(h.URL())
	p.sameAt(there)
	within(t, "commands on the hub", func() bool {
		exit, _, _ := cli(t, "status", "--nats", h.URL())
		return exit == exitDone
	})
	p.stop()
}

// certificates makes a certificate of 127.0.0.1 that is its own authority.
func certificates(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hub"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "EC PRIVATE KEY", secret)
}

// TestAHubBehindTLSAndAnNKey takes everything from a context of the nats tools, and
// then by the flags.
func TestAHubBehindTLSAndAnNKey(t *testing.T) {
	noLeaks(t)
	cert, key := certificates(t)
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	config := t.TempDir()
	nkey := filepath.Join(config, "user.nk")
	h := startHub(t, &hub.Server{Config: fmt.Sprintf(`
		tls: {cert_file: %q, key_file: %q, ca_file: %q, verify: true}
		authorization: {users: [{nkey: %s}]}`, cert, key, cert, public)})
	contexts := filepath.Join(config, "nats", "context")
	text := fmt.Sprintf(`{"description":"a hub","url":%q,"nkey":%q,"ca":%q,"cert":%q,"key":%q,"color_scheme":""}`, h.URL(), nkey, cert, cert, key)
	for path, content := range map[string]string{filepath.Join(contexts, "hub.json"): text, nkey: string(seed)} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("XDG_CONFIG_HOME", config)
	p := startRun(t, runArgs(t.TempDir(), gateway.Start(t, simulated).Addr(), "--nats-context", "hub"))
	p.ready()
	p.sameAt(p.atHub(h.URL(), nats.RootCAs(cert), nats.ClientCert(cert, key), nats.Nkey(public, pair.Sign)))
	for _, args := range [][]string{
		{"--nats-context", "hub"},
		{"--nats", h.URL(), "--nats-nkey", nkey, "--nats-ca", cert, "--nats-cert", cert, "--nats-key", key},
	} {
		if out := cliOK(t, append([]string{"status"}, args...)...); !strings.Contains(out, "main: healthy") {
			t.Errorf("status %q printed %q, want it healthy", args, out)
		}
	}
	p.stop()
	if strings.Contains(p.out.String(), string(seed)) {
		t.Error("the seed is in the log")
	}
}

func TestWhoWeAreAtAHub(t *testing.T) {
	config := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", config)
	dir := filepath.Join(config, "nats", "context")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"good": `{"url":"nats://a:1","user":"u","password":"secret-word","creds":""}`, "broken": `{"url":"secret-word`,
		"domain": `{"url":"nats://a:1","jetstream_domain":"leaf"}`, "reference": `{"creds":"op://vault/secret-word"}`,
		"missing": `{"creds":"/no/such/file"}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(config, "file")
	if err := os.WriteFile(file, []byte("secret-word"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		flags natsFlags
		want  string
	}{
		{natsFlags{NATSContext: "none"}, `there is no NATS context "none"`},
		{natsFlags{NATSContext: "../good"}, "want the name of one"},
		{natsFlags{NATSContext: "broken"}, "is no JSON object of texts"},
		{natsFlags{NATSContext: "domain"}, "has jetstream_domain, which ibconn does not know"},
		{natsFlags{NATSContext: "reference"}, "has a creds that is no file"},
		{natsFlags{NATSContext: "missing"}, "/no/such/file"},
		{natsFlags{NATSCreds: "/no/such/creds"}, "/no/such/creds"},
		{natsFlags{NATSNKey: file}, "nkey file " + file},
		{natsFlags{NATSCreds: file, NATSNKey: file}, "want one of --nats-creds and --nats-nkey"},
		{natsFlags{NATSCert: file}, "want both --nats-cert and --nats-key"},
	} {
		_, _, err := test.flags.target()
		if exitCode(err) != exitUsage || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret-word") {
			t.Errorf("%+v = %v, want a usage error with %q and no secret", test.flags, err, test.want)
		}
	}

	l, err := natsFlags{NATSContext: "good"}.login()
	if err != nil || l.URL != "nats://a:1" || l.User != "u" || l.Password != "secret-word" {
		t.Errorf("the context is %+v, %v", l, err)
	}
	t.Setenv("NATS_USER", "v")
	t.Setenv("NATS_PASSWORD", "w")
	l, err = natsFlags{NATSContext: "good", NATS: "nats://b:2", NATSCA: file}.login()
	if err != nil || l.URL != "nats://b:2" || l.User != "v" || l.Password != "w" || l.CA != file {
		t.Errorf("with flags and environment the context is %+v, %v, want these to win", l, err)
	}
	if url, _, err := (natsFlags{}).target(); url != nats.DefaultURL || err != nil {
		t.Errorf("without anything the bus is %s, %v, want the one here", url, err)
	}
}

func FuzzAContextOfTheNATSTools(f *testing.F) {
	for _, text := range []string{`{"url":"nats://a:1","creds":"~/x.creds"}`, `{"nsc":"nsc://a/b/c"}`, `{"url":1}`, `[]`, `null`, ``, `{"key":"env://KEY"}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := parseContext("fuzz", b)
		if err != nil && l != (login{}) {
			t.Errorf("parseContext(%q) = %+v and %v, want one of them", b, l, err)
		}
		for _, path := range []string{l.Creds, l.NKey, l.CA, l.Cert, l.Key} {
			if strings.HasPrefix(path, "~/") || strings.Contains(path, "://") {
				t.Errorf("parseContext(%q) has the file %q", b, path)
			}
		}
	})
}
