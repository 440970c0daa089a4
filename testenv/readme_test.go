package testenv_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

func TestEveryGuaranteeInTheReadmeHasItsTest(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	claims := regexp.MustCompile("(?m)^\\|.*\\| `([a-z/]+)` (Test\\w+) \\|$").FindAllSubmatch(readme, -1)
	if len(claims) < 6 {
		t.Fatalf("README names %d tests for its guarantees, want at least 6", len(claims))
	}
	for _, claim := range claims {
		directory, name := string(claim[1]), string(claim[2])
		if !declares(t, directory, name) {
			t.Errorf("README: %s has no test %s", directory, name)
		}
	}
}

func declares(t *testing.T, directory, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", directory, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	declaration := regexp.MustCompile(`(?m)^func ` + name + `\(`)
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if declaration.Match(source) {
			return true
		}
	}
	return false
}
