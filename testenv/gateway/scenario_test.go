package gateway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestScenarioIsReadInTheOrderInWhichItHappens(t *testing.T) {
	sc, err := ParseScenario(strings.NewReader(`
		# comment
		at 8s restart 3s
		at 2s error -1 1100 "lost # not a comment"   # comment
		at 9s stall 4s client 7 8
		at 5s	reset
		repeat every 1m
	`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range sc.Steps {
		got = append(got, fmt.Sprintf("%v %d %s", s.At, s.Line, s.Text))
	}
	want := []string{
		`2s 4 error -1 1100 "lost # not a comment"`,
		`5s 6 reset`,
		`8s 3 restart 3s`,
		`9s 5 stall 4s client 7 8`,
		`11s 3 end of restart 3s`,
		`13s 5 end of stall 4s client 7 8`,
	}
	if !slices.Equal(got, want) || sc.Every != time.Minute {
		t.Errorf("steps, every %v:\n%s\nwant\n%s", sc.Every, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestEveryFaultOfAScenarioIsRead(t *testing.T) {
	for _, line := range []string{
		`error -1 1100 "text"`, `error 5 354 "" client 3`, "fin", "fin client 1", "reset", "cut", "overlong", "forget", "burst 200",
		"garbage 64", "lag 300ms for 3s", "lag 1s for 3s client 9", "link lost for 3s", "link data-lost for 3s",
		"link silently-lost for 3s", "link silently-data-lost for 3s", "mislead 3s", "competing-session 1m", "stall 4s", "silence 4s", "drip 1 50ms for 3s", "drip 1 50ms for 3s client 9", "refuse 2s", "restart 1m30s",
		"accept close for 3s", "accept mute for 3s", "accept mute-after-greeting for 3s", "accept close-after-startapi for 3s",
	} {
		if _, err := ParseScenario(strings.NewReader("at 1s " + line)); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		if name, _, _ := strings.Cut(line, " "); !strings.Contains(faultNames(), name) {
			t.Errorf("%q is missing in %s", name, faultNames())
		}
	}
}

func TestMistakesInAScenarioAreNamedWithLineWordAndWhatIsAllowed(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"\nafter 2s reset", `line 2: "after" is not known; a line begins with at or repeat`},
		{"at soon reset", `line 1: "soon" is not a time from 0s to 168h0m0s, such as 500ms, 2s or 1m30s`},
		{"at 2s", `line 1: after "2s" there must be a fault: error, fin, reset,`},
		{"at 2s rset", `line 1: "rset" is not a fault; allowed are error, fin, reset,`},
		{"at 2s stall", `line 1: after "stall" there must be a time from 1ms to 168h0m0s, such as 500ms, 2s or 1m30s (the form is: at TIME stall TIME [client ID...])`},
		{"at 2s stall four", `line 1: "four" is not a time`},
		{"at 2s stall -4s", `line 1: "-4s" is not a time`},
		{"at 2s error 1100 \"lost\"", `line 1: "lost" is not a number from 0 to 2147483647`},
		{"at 2s error -1 1100 lost", `line 1: "lost" is not a text in "quotes"`},
		{"at 2s error -1 1100 \"lost", `line 1: the text "lost has no closing quote`},
		{"at 2s fin now", `line 1: "now" stands where only client is allowed`},
		{"at 2s fin client", `line 1: after "client" there must be a number from 0 to 2147483647`},
		{"at 2s restart 3s client 7", `line 1: "client" is one word too many (the form is: at TIME restart TIME)`},
		{"at 2s burst 0", `line 1: "0" is not a number from 1 to 1000000`},
		{"at 2s accept nobody for 3s", `line 1: "nobody" is not a mode of accepting; allowed are close, mute, mute-after-greeting, close-after-startapi`},
		{"at 2s accept", `line 1: after "accept" there must be a mode: close, mute, mute-after-greeting, close-after-startapi (the form is`},
		{"at 2s link down for 3s", `line 1: "down" is not a way to lose the link; allowed are lost, data-lost, silently-lost, silently-data-lost`},
		{"at 2s link", `line 1: after "link" there must be a mode: lost, data-lost, silently-lost, silently-data-lost (the form is: at TIME link MODE for TIME)`},
		{"at 2s link lost 3s", `line 1: "3s" stands where only for is allowed`},
		{"at 2s link lost for 3s client 7", `line 1: "client" is one word too many (the form is: at TIME link MODE for TIME)`},
		{"at 2s lag for 3s", `line 1: "for" is not a time from 1ms`},
		{"at 2s lag 300ms", `line 1: after "300ms" there must be for (the form is: at TIME lag DELAY for TIME [client ID...])`},
		{"at 2s mislead for 3s", `line 1: "for" is not a time from 1ms`},
		{"at 2s accept close 3s", `line 1: "3s" stands where only for is allowed`},
		{"repeat 30s", `line 1: "30s" stands where only every is allowed`},
		{"repeat every 30s\nrepeat every 30s", `line 2: repeat stands already in line 1`},
		{"at 8s stall 4s\nrepeat every 10s", `line 2: repeat every 10s is too soon, line 1 lasts until 12s`},
	} {
		_, err := ParseScenario(strings.NewReader(c.text))
		if err == nil || !strings.HasPrefix(err.Error(), "scenario: "+c.want) {
			t.Errorf("ParseScenario(%q) = %v, want scenario: %s", c.text, err, c.want)
		}
	}
}

func TestScenarioPlaysByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, err := New(Config{}) // not listening: only its switches are looked at
		if err != nil {
			t.Fatal(err)
		}
		sc, err := ParseScenario(strings.NewReader("at 2s stall 3s\nat 4s accept mute for 2s\nat 4s drip 7 20ms for 1s\nrepeat every 10s"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		var played error
		done := make(chan struct{})
		go func() { played = g.Play(ctx, sc); close(done) }()
		time.Sleep(500 * time.Millisecond)
		var got []string
		for range 15 { // at 0.5 s, 1.5 s ...
			synctest.Wait()
			g.mu.Lock()
			got = append(got, fmt.Sprint(g.flow.stalled, g.mode == StayMute, g.flow.drip))
			g.mu.Unlock()
			time.Sleep(time.Second)
		}
		<-done
		normal, stalled, all, mute := "false false 0", "true false 0", "true true 7", "false true 0"
		want := []string{
			normal, normal, stalled, stalled, all, mute, normal, normal, normal, normal,
			normal, normal, stalled, stalled, all,
		}
		if !slices.Equal(got, want) {
			t.Errorf("stalled, mute, drip by the second:\n%q, want\n%q", got, want)
		}
		if !errors.Is(played, context.DeadlineExceeded) {
			t.Errorf("Play() = %v, want the cause of the context", played)
		}
	})
}

func TestScenarioLosesTheLinkAndLags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, err := New(Config{}) // not listening: only its switches are looked at
		if err != nil {
			t.Fatal(err)
		}
		sc, err := ParseScenario(strings.NewReader(`
			at 1s link lost for 1s
			at 3s link data-lost for 1s
			at 5s link silently-lost for 1s
			at 5s mislead 1s
			at 7s link silently-data-lost for 1s
			at 7s lag 300ms for 1s
		`))
		if err != nil {
			t.Fatal(err)
		}
		var played error
		done := make(chan struct{})
		go func() { played = g.Play(t.Context(), sc); close(done) }()
		time.Sleep(500 * time.Millisecond)
		var got []string
		for range 9 { // at 0.5 s, 1.5 s ...
			synctest.Wait()
			g.mu.Lock()
			f := g.flow
			got = append(got, fmt.Sprint(f.lost, f.lost && f.noticed, f.misleads, f.forgets, f.lag))
			g.mu.Unlock()
			time.Sleep(time.Second)
		}
		<-done
		want := []string{
			"false false false 0 0s",
			"true true false 0 0s", "false false false 0 0s",
			"true true false 0 0s", "false false false 1 0s",
			"true false true 1 0s", "false false false 1 0s",
			"true false false 1 300ms", "false false false 2 0s",
		}
		if !slices.Equal(got, want) || played != nil {
			t.Errorf("lost, with notice, misleading, forgotten, lag by the second:\n%q, %v, want\n%q", got, played, want)
		}
	})
}

func TestScenarioReachesTheSessions(t *testing.T) {
	g := Start(t, Config{})
	sc, err := ParseScenario(strings.NewReader("at 0s refuse 1ms\nat 2ms restart 1ms"))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Play(t.Context(), sc); err != nil {
		t.Fatal(err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener == nil {
		t.Error("the gateway still refuses after its scenario")
	}
}

func TestExampleScenarioIsTheDocumentedOne(t *testing.T) {
	file, err := os.ReadFile("testdata/bad-night.scenario")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseScenario(strings.NewReader(string(file))); err != nil {
		t.Error(err)
	}
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	indented := "//\t" + strings.ReplaceAll(strings.TrimSpace(string(file)), "\n", "\n//\t") + "\n"
	if !strings.Contains(string(doc), indented) {
		t.Errorf("doc.go does not show testdata/bad-night.scenario as it is:\n%s", indented)
	}
}

func FuzzScenarioIsReadOrRefused(f *testing.F) {
	file, err := os.ReadFile("testdata/bad-night.scenario")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(file))
	f.Add("at 1s error -1 1 \"\\xff\"#")
	f.Add("at 9223372036s stall 9223372036s")
	f.Add("repeat every 1ms")
	f.Add("at 1s link data-lost for 1s\nat 1s lag 1ms for 1s client 1\nat 2s mislead 1ms")
	f.Fuzz(func(t *testing.T, s string) {
		sc, err := ParseScenario(strings.NewReader(s))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "scenario: ") {
				t.Errorf("error %q does not say where it comes from", err)
			}
			return
		}
		for i, step := range sc.Steps {
			if step.act == nil || step.At < 0 || i > 0 && step.At < sc.Steps[i-1].At {
				t.Errorf("step %d of %q = %+v", i, s, step)
			}
		}
	})
}
