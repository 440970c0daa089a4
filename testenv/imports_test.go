package testenv_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// imports is who may know whom: for each package, which of ours and which
// libraries its code (tests aside) may import. A package below one of these
// names is held to the longest name that fits. The standard library is always
// allowed. "*" allows everything.
var imports = map[string][]string{
	"ibconn/events":            {},
	"ibconn/connector":         {"ibconn/events"},
	"ibconn/connector/tws":     {"ibconn/events", "ibconn/connector", "github.com/scmhub/ibapi", "github.com/rs/zerolog", "google.golang.org/protobuf", "golang.org/x/sys"},
	"ibconn/connector/ibc":     {"ibconn/events", "ibconn/connector"},
	"ibconn/bus":               {"ibconn/events", "github.com/nats-io", "github.com/rs/zerolog", "golang.org/x/sys"},
	"ibconn/consumers":         {"ibconn/events", "ibconn/bus", "ibconn/consumers/follow", "github.com/rs/zerolog"},
	"ibconn/consumers/follow":  {"ibconn/events", "ibconn/bus"},
	"ibconn/consumers/alerts":  {"ibconn/events", "ibconn/bus", "ibconn/consumers/incidents", "ibconn/consumers/status", "github.com/goccy/go-yaml"},
	"ibconn/consumers/metrics": {"ibconn/events", "ibconn/bus", "github.com/prometheus/client_golang"},
	"ibconn/consumers/web":     {"ibconn/events", "ibconn/bus", "ibconn/consumers/follow", "ibconn/consumers/status", "github.com/prometheus/client_golang"},
	"ibconn/replay":            {"ibconn/events", "ibconn/bus"},
	"ibconn/replay/export":     {"ibconn/events", "ibconn/bus", "github.com/klauspost/compress"},
	"ibconn/replay/play":       {"ibconn/events", "ibconn/bus"},
	"ibconn/replay/report":     {"ibconn/events", "ibconn/connector", "ibconn/consumers/incidents", "ibconn/replay/story"},
	"ibconn/replay/story":      {"ibconn/events", "ibconn/connector", "ibconn/consumers/incidents", "ibconn/consumers/timeline"},
	"ibconn/replay/verify":     {"ibconn/events", "ibconn/bus"},
	"ibconn/replay/whatif":     {"ibconn/events", "ibconn/connector", "ibconn/consumers/incidents"},
	"ibconn/testenv":           {"*"},
	"ibconn/cmd":               {"*"},
	"ibconn/testenv/memlog":    {"ibconn/events"},
	// The page tells incidents as they are told elsewhere.
	"ibconn/consumers/dashboard": {"ibconn/events", "ibconn/bus", "ibconn/consumers/follow", "ibconn/consumers/incidents"},
	// The simulated gateway is for anyone's tests, so it knows nothing of ours.
	"ibconn/testenv/gateway": {"github.com/scmhub/ibapi/protobuf", "github.com/rs/zerolog", "google.golang.org/protobuf", "golang.org/x/sys"},
}

func TestPackagesImportOnlyWhatTheTableAllows(t *testing.T) {
	for _, p := range packages(t) {
		allowed, ok := allowedFor(p.ImportPath)
		if !ok {
			t.Errorf("%s is in no row of the table of imports: add one, with its reason in ARCHITECTURE.md", p.ImportPath)
			continue
		}
		for _, path := range p.Imports {
			if !standard(path) && !slices.ContainsFunc(allowed, func(a string) bool { return a == "*" || within(path, a) && !ours(path) || path == a }) {
				t.Errorf("%s imports %s, which the table does not allow", p.ImportPath, path)
			}
			if within(path, "ibconn/testenv") && !within(p.ImportPath, "ibconn/testenv") && !within(p.ImportPath, "ibconn/cmd") {
				t.Errorf("%s imports %s, which is for tests and cmd", p.ImportPath, path)
			}
		}
	}
}

func TestEveryPackageHasOneComment(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

func TestTopLevelIsTheDesigns(t *testing.T) {
	allowed := []string{
		"go.mod", "go.sum", "cmd", "bus", "connector", "events", "consumers", "replay", "testenv", "Makefile", "README.md",
		"ARCHITECTURE.md", "LICENSE", "SECURITY.md", "deploy", "docs",
	}
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		// bin is what "make build" leaves, and ignored by git.
		if name := e.Name(); !strings.HasPrefix(name, ".") && name != "bin" && !slices.Contains(allowed, name) {
			t.Errorf("%s is at the top level, which is fixed: %s", name, strings.Join(allowed, " "))
		}
	}
}

type goPackage struct {
	ImportPath string
	Doc        string
	GoFiles    []string
	Imports    []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Doc,GoFiles,Imports", "ibconn/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func allowedFor(path string) ([]string, bool) {
	best := ""
	for name := range imports {
		if within(path, name) && len(name) > len(best) {
			best = name
		}
	}
	return imports[best], best != ""
}

func within(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

func ours(path string) bool { return within(path, "ibconn") }

func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".") && first != "ibconn"
}
