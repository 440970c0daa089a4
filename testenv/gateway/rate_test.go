package gateway_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"ibconn/testenv/gateway"
)

// ids is n times reqIds, as one write.
func ids(n int) []byte { return []byte(strings.Repeat(string(framed("8\x001\x001\x00")), n)) }

// aSecondLater returns when nothing counts any more of what was answered before.
func aSecondLater() { <-time.After(time.Second) }

func TestMessageOverTheRateIsAnsweredWith100AndHasNoOtherEffect(t *testing.T) {
	g := gateway.Start(t, gateway.Config{MaxRate: 10})
	p := started(t, g, 7)
	g.On(gateway.PlaceOrder, 1, gateway.ReplyError(201, "the rule"))
	aSecondLater()
	p.write(append(ids(10), framed("3\x0017\x00265598\x00")...)) // an order, as the eleventh message
	for i := range 10 {
		if got := p.expect(); got[0] != "9" {
			t.Fatalf("answer %d = %q, want the next id", i, got)
		}
	}
	if got := strings.Join(p.expect(), " "); got != "4 2 -1 100 Max rate of messages per second has been exceeded:max=10 rec=11 (1) " {
		t.Errorf("the eleventh message is answered with %q, want error 100", got)
	}
	aSecondLater()
	p.say("3", "17", "265598")
	p.expect("4", "2", "17", "201", "the rule") // which the message that was too many has not used up
	p.alive()
	s := g.Stats()
	if s.Breaches != 1 || s.BusiestSecond != 11 || s.Requests[gateway.PlaceOrder] != 2 || s.Orders != 2 || s.ByClient[7] != 14 {
		t.Errorf("Stats() = %+v, want 1 breach, 11 in the busiest second, 2 orders, 14 messages of client 7", s)
	}
}

func TestThirdBreachEndsTheSession(t *testing.T) {
	g := gateway.Start(t, gateway.Config{MaxRate: 10, IDLinger: time.Hour})
	p, other := started(t, g, 7), started(t, g, 8)
	p.write(ids(60))
	var breaches []string
	for {
		payload, err := p.next()
		if err != nil {
			break
		}
		if got := strings.Split(payload, "\x00"); got[0] == "4" {
			breaches = append(breaches, got[4])
		}
	}
	p.wantEOF()
	want := []string{"rec=11 (1)", "rec=12 (2)", "rec=13 (3)"}
	for i := range want {
		want[i] = "Max rate of messages per second has been exceeded:max=10 " + want[i]
	}
	if !slices.Equal(breaches, want) {
		t.Errorf("errors before the end: %q, want %q", breaches, want)
	}
	eventually(t, g, "end of the session", func(s gateway.Stats) bool { return s.Ended[gateway.MaxRateBreached] == 1 })
	if s := g.Stats(); s.Breaches != 3 || s.BusiestSecond != 13 {
		t.Errorf("Breaches = %d, BusiestSecond = %d, want 3, 13", s.Breaches, s.BusiestSecond)
	}
	aSecondLater()
	other.alive()
}

func TestRateIsThatOfAllClientsTogether(t *testing.T) {
	g := gateway.Start(t, gateway.Config{MaxRate: 20})
	one, two := started(t, g, 1), started(t, g, 2)
	for deadline := time.Now().Add(patience); ; {
		aSecondLater()
		one.write(ids(20))
		for range 20 {
			one.expect("9")
		}
		two.say("8", "1", "1")
		if got := two.expect(); got[0] == "4" && got[3] == "100" {
			break // and not if this took a second, so that the other's messages no longer counted
		}
		if time.Now().After(deadline) {
			t.Fatal("client 2 may send although client 1 has used up the rate")
		}
	}
	one.silent()
}

func TestEveryMessageAfterTheHelloCountsStartAPIIncluded(t *testing.T) {
	g := gateway.Start(t, gateway.Config{MaxRate: 2})
	p := greeted(t, g, "v100..176")
	p.write(slices.Concat(ids(2), framed("71\x002\x007\x00\x00"))) // what comes before the start is ignored, but counted
	p.expect("4", "2", "-1", "100", "Max rate of messages per second has been exceeded:max=2 rec=3 (1)")
	if s := g.Stats(); s.Started != 0 || len(s.Clients) != 0 {
		t.Errorf("started %d, clients %v, want none: its startApi was one message too many", s.Started, s.Clients)
	}
	aSecondLater()
	p.write(slices.Concat(framed("71\x002\x007\x00\x00"), framed("nonsense\x00"), ids(1)))
	p.expect("9")
	p.expect("4", "2", "-1", "320")
	p.expect("4", "2", "-1", "100", "Max rate of messages per second has been exceeded:max=2 rec=3 (2)")
	if s := g.Stats(); s.ByClient[7] != 6 {
		t.Errorf("ByClient = %v, want 6 of client 7, those before its start included", s.ByClient)
	}
}

func TestNoRateIsEnforcedUnlessConfigured(t *testing.T) {
	g := gateway.Start(t, gateway.Config{})
	p := started(t, g, 1)
	p.write(ids(1000))
	for range 1000 {
		if got := p.expect(); got[0] != "9" {
			t.Fatalf("answer = %q, want the next id", got)
		}
	}
	if s := g.Stats(); s.Breaches != 0 {
		t.Errorf("Breaches = %d, want 0", s.Breaches)
	}
}

func TestTheGoLibrarySeesItsBreachesInBothEncodings(t *testing.T) {
	for _, version := range []int{176, 225} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			g := gateway.Start(t, gateway.Config{ServerVersion: version, MaxRate: 50})
			c, l := connect(t, g, 7)
			answered := func() int { return l.count("next id") + l.count("error -1 100 ") }
			for deadline := time.Now().Add(patience); l.count("error -1 100 ") < 3; {
				before := answered()
				c.ReqIDs(1)
				for answered() == before {
					if time.Now().After(deadline) {
						t.Fatalf("no three breaches, %d answers", before)
					}
					<-time.After(10 * time.Microsecond)
				}
			}
			for i, at := 1, 0; i <= 3; i++ {
				var line string
				line, at = l.wait(t, at, "error -1 100 ")
				if want := fmt.Sprintf(`exceeded:max=50 rec=5\d \(%d\)$`, i); !regexp.MustCompile(want).MatchString(line) {
					t.Errorf("breach %d is told as %q, want %s", i, line, want)
				}
			}
			l.wait(t, 0, "closed")
		})
	}
}
