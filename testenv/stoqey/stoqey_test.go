// Package stoqey checks the simulated gateway with the TypeScript client @stoqey/ib.
package stoqey

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"ibconn/testenv/gateway"
)

// limit bounds the installation and each check; the check has a shorter deadline of its own.
const limit = 2 * time.Minute

func TestStoqeyClientWorksWithTheGateway(t *testing.T) {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%s is missing: CI must run this check", program)
			}
			t.Skipf("%s is missing on this machine: install it to check the gateway with @stoqey/ib", program)
		}
	}
	dir := install(t)
	for _, version := range []int{225, 176} { // the client speaks at most 193, so 225 has to come down to 176
		t.Run(fmt.Sprintf("gateway of version %d", version), func(t *testing.T) {
			g := gateway.Start(t, gateway.Config{ServerVersion: version, TicksPerSecond: 100, BarEvery: 50 * time.Millisecond, MaxRate: 50})
			host, port, err := net.SplitHostPort(g.Addr())
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s", run(t, dir, "node", "check.mjs", host, port))
			if s := g.Stats(); s.Started != 1 || s.Foreign != 0 || s.Orders != 0 || s.Breaches != 1 {
				t.Errorf("Stats() = %+v, want one session, nothing foreign, no orders, one breach of the rate", s)
			}
		})
	}
}

// install returns a directory with the check and its packages: this one if they are here already, or else a copy.
func install(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat("node_modules/@stoqey/ib"); err == nil {
		return "."
	}
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "check.mjs"} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, dir, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	return dir
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}
