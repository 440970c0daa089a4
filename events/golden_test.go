package events

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite golden files")

// golden compares got with testdata/name, or writes it there with -update.
func golden(t testing.TB, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; write it with: go test ./events -run '^%s$' -update", err, t.Name())
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (- as it was, + as it is):\n%sif that is right: go test ./events -run '^%s$' -update",
			path, diff(string(want), string(got)), t.Name())
	}
}

// diff shows the lines in which two texts differ, leaving out the beginning
// and the end they share.
func diff(want, got string) string {
	w, g := strings.SplitAfter(want, "\n"), strings.SplitAfter(got, "\n")
	line := 1
	for len(w) > 0 && len(g) > 0 && w[0] == g[0] {
		w, g = w[1:], g[1:]
		line++
	}
	for len(w) > 0 && len(g) > 0 && w[len(w)-1] == g[len(g)-1] {
		w, g = w[:len(w)-1], g[:len(g)-1]
	}
	var b strings.Builder
	fmt.Fprintf(&b, "from line %d:\n", line)
	for _, l := range w {
		fmt.Fprintf(&b, "- %s\n", strings.TrimSuffix(l, "\n"))
	}
	for _, l := range g {
		fmt.Fprintf(&b, "+ %s\n", strings.TrimSuffix(l, "\n"))
	}
	return b.String()
}

func TestDiffShowsOnlyTheLinesThatDiffer(t *testing.T) {
	tests := []struct{ want, got, diff string }{
		{"a\nb\nc\n", "a\nB\nc\n", "from line 2:\n- b\n+ B\n"},
		{"a\nc\n", "a\nb\nc\n", "from line 2:\n+ b\n"},
		{"a\nb\n", "a\n", "from line 2:\n- b\n"},
		{"a\n", "a", "from line 1:\n- a\n- \n+ a\n"},
	}
	for _, tt := range tests {
		if got := diff(tt.want, tt.got); got != tt.diff {
			t.Errorf("diff(%q, %q) = %q, want %q", tt.want, tt.got, got, tt.diff)
		}
	}
}
