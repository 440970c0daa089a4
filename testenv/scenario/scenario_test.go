package scenario_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"ibconn/events"
	"ibconn/testenv/scenario"
)

// still is a world in which nothing happens.
type still struct {
	scenario.World
	now time.Time
}

func (w *still) PassTo(at time.Time) { w.now = at }
func (w *still) Now() time.Time      { return w.now }
func (w *still) Wires() [][]byte     { return nil }
func (w *still) State() events.State { return events.NewState("main") }
func (w *still) End()                {}

// jury is a test that notes how it failed.
type jury struct {
	testing.TB
	failed []string
}

func (j *jury) Helper() {}

func (j *jury) Errorf(format string, args ...any) {
	j.failed = append(j.failed, fmt.Sprintf(format, args...))
}

func (j *jury) Fatalf(format string, args ...any) {
	j.Errorf(format, args...)
	runtime.Goexit()
}

func playText(t *testing.T, update bool, text string) (failed, after string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file.txt")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	stage := scenario.Stage{Update: update, Open: func(_ testing.TB, s scenario.Setup) scenario.World { return &still{now: s.Began} }}
	j, done := &jury{TB: t}, make(chan struct{})
	go func() {
		defer close(done)
		stage.Play(j, file)
	}()
	<-done
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(strings.Join(j.failed, "\n"), file, "file"), string(b)
}

const stillText = `# Nothing happens.
policy spare client 8
at 0s
> = idle, stopped because session idle
expect phase idle
at 1m
> = idle, stopped because session idle
expect nothing
`

func TestAFileThatSaysWhatHappensPasses(t *testing.T) {
	if failed, _ := playText(t, false, stillText); failed != "" {
		t.Errorf("it failed: %s", failed)
	}
}

func TestAFileThatSaysOtherwiseFailsAtItsLine(t *testing.T) {
	for _, c := range []struct{ was, is, want string }{
		{"> = idle", "> = ready", "file:4: it should go on\n> = idle"},
		{"> = idle, stopped because session idle\nexpect nothing", "expect nothing", "file:7: it should go on\n> = idle"},
		{"at 1m\n", "> 1s  a line\nat 1m\n", "file:6: it should go on\nat 1m"},
		{"expect phase idle", "expect phase ready", `file:5: phase is "idle", want "ready"`},
		{"expect nothing", "expect 1 session_lost", `file:8: the number of session_lost is "0", want "1"`},
		{"expect nothing", "expect 1 session_found", `file:8: "session_found" is no event`},
		{"expect nothing", "expect said a word", `file:8: said is "", want "a word"`},
		{"at 1m", "at 1m gateway smiles", `file:6: "gateway smiles" is not among the phrases`},
		{"at 1m", "after 1m", `file:6: "after": want begins, policy, at or expect`},
		{"at 1m", "at 1 minute", `file:6: time: missing unit in duration "1"`},
		{"at 0s", "at 2m", `file:6: it is 2m already`},
		{"at 1m", "policy spare client 9", `file:6: "policy spare client 9" comes too late`},
		{stillText, "# Nothing.\n", "nothing happens"},
	} {
		text := strings.Replace(stillText, c.was, c.is, 1)
		if failed, _ := playText(t, false, text); !strings.Contains(failed, c.want) {
			t.Errorf("with %q for %q it failed with %q, want %q", c.is, c.was, failed, c.want)
		}
	}
}

func TestAnUpdateWritesTheLinesAndNoExpectation(t *testing.T) {
	wrong := strings.Replace(strings.ReplaceAll(stillText, "> = idle", "> = ready"), "phase idle", "phase ready", 1)
	failed, after := playText(t, true, wrong)
	if want := `file:5: phase is "idle", want "ready"`; failed != want {
		t.Errorf("it failed with %q, want %q", failed, want)
	}
	if want := strings.Replace(stillText, "phase idle", "phase ready", 1); after != want {
		t.Errorf("it wrote\n%s\nwant\n%s", after, want)
	}
}
