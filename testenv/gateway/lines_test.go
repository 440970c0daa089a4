package gateway_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ibconn/testenv/gateway"
)

func (p *peer) marketData(id int, snapshot bool) {
	p.t.Helper()
	bit := strconv.Itoa(map[bool]int{true: 1}[snapshot])
	p.say("1", "11", strconv.Itoa(id), "265598", "", "", "", "0", "", "", "", "", "", "", "", "0", "", bit, "0", "")
}

func (p *peer) realTimeBars(id int, rth bool) {
	p.t.Helper()
	bit := strconv.Itoa(map[bool]int{true: 1}[rth])
	p.say("50", "3", strconv.Itoa(id), "265598", "", "", "", "", "", "", "", "", "", "", "", "5", "TRADES", bit, "")
}

func (p *peer) tickByTick(id int, conID string) {
	p.t.Helper()
	p.say("97", strconv.Itoa(id), conID, "", "", "", "", "", "", "", "", "", "", "", "MidPoint", "0", "0")
}

func TestLinesAreThoseOfAllClientsAndFreeWhenCancelled(t *testing.T) {
	const tooMany = "101 Max number of tickers has been reached"
	g := gateway.Start(t, gateway.Config{Lines: 4, TicksPerSecond: 0.001, BarEvery: time.Hour})
	one, two := started(t, g, 1), started(t, g, 2)
	one.marketData(1, false)
	one.realTimeBars(2, false)
	one.alive()
	two.marketData(1, false)
	two.marketData(2, true)
	two.expect("57", "1", "2") // a snapshot that is over holds no line
	two.marketData(3, false)
	two.alive()
	one.marketData(4, false)
	wantAnswer(t, "a fifth", one.answer(4), tooMany)
	two.realTimeBars(5, false)
	wantAnswer(t, "a fifth, for bars", two.answer(5), tooMany)
	two.marketData(6, true)
	wantAnswer(t, "a snapshot without a line", two.answer(6), tooMany)
	if n := g.Stats().Lines; n != 4 {
		t.Errorf("Lines = %d, want 4", n)
	}
	wantAnswer(t, "history, which needs no line", one.asks(7, historyQuery{follow: true}), "bars")

	one.say("51", "1", "2")
	one.alive()
	two.realTimeBars(5, false)
	two.alive()
	if n := g.Stats().Lines; n != 4 {
		t.Errorf("Lines = %d, want 4", n)
	}
	_ = one.conn.Close()
	eventually(t, g, "the line of the client that left", func(s gateway.Stats) bool { return s.Lines == 3 })
	g.Forget()
	two.alive()
	eventually(t, g, "no line after all are forgotten", func(s gateway.Stats) bool { return s.Lines == 0 })
}

func TestASessionThatHasEndedHoldsNothingWhileItIsDrained(t *testing.T) {
	g := gateway.Start(t, gateway.Config{Lines: 1, TicksPerSecond: 0.001})
	p := started(t, g, 1)
	p.marketData(1, false)
	p.alive()
	g.FIN(1)
	eventually(t, g, "its line", func(s gateway.Stats) bool { return s.Lines == 0 && s.Open == 1 })
}

func TestTickByTickHasALimitOfItsOwn(t *testing.T) {
	const tooMany = "10190 Max number of tick-by-tick requests has been reached."
	c := aMonday()
	g := gateway.Start(t, gateway.Config{Lines: 100, Now: c.now, TicksPerSecond: 0.001})
	p := started(t, g, 1)
	for id, conID := range []string{"265598", "272093", "756733"} {
		p.tickByTick(id, conID)
	}
	p.tickByTick(3, euro)
	wantAnswer(t, "the fourth", p.answer(3), tooMany)
	if s := g.Stats(); s.TickByTick != 3 || s.Lines != 0 || len(s.Pacing) != 0 {
		t.Errorf("TickByTick = %d, Lines = %d, Pacing = %v, want 3, 0, none", s.TickByTick, s.Lines, s.Pacing)
	}
	p.say("98", "0")
	c.move(14 * time.Second)
	p.tickByTick(4, "265598")
	wantAnswer(t, "one of an instrument 14 s after the last", p.answer(4), tooMany)
	p.tickByTick(5, euro) // what was refused for want of room does not count
	p.alive()
	p.say("98", "5")
	c.move(15 * time.Second)
	p.tickByTick(6, "265598")
	p.alive()
	if n := g.Stats().TickByTick; n != 3 {
		t.Errorf("TickByTick = %d, want 3", n)
	}
	wantBroken(t, g, map[gateway.PacingRule]int{gateway.TickByTickWithin15s: 1})
}

// errorsWith collects the ids of the errors of a code until an answer to reqIds comes, which is asked for first.
func (p *peer) errorsWith(code string) []string {
	p.t.Helper()
	p.say("8", "1", "1")
	var ids []string
	for {
		switch got := p.expect(); {
		case got[0] == "9":
			return ids
		case got[0] == "4" && got[3] == code:
			ids = append(ids, got[2])
		}
	}
}

func TestACompetingSessionTakesTheDataAndGivesItBackWithoutAWord(t *testing.T) {
	g := gateway.Start(t, gateway.Config{TicksPerSecond: 1000, BarEvery: 5 * time.Millisecond})
	p, other := started(t, g, 1), started(t, g, 2)
	p.marketData(1, false)
	p.realTimeBars(2, false)
	p.tickByTick(3, "756733")
	wantAnswer(t, "history", p.asks(4, historyQuery{follow: true}), "bars")
	p.expect("50", "3", "2")
	other.alive()

	g.Compete(true)
	for _, id := range []string{"1", "2", "3"} {
		p.expect("4", "2", id, "10197", "No market data during competing live session")
	}
	g.Compete(true) // already
	p.marketData(5, false)
	p.realTimeBars(6, false)
	p.tickByTick(7, "265598")
	p.marketData(8, true)
	if got := p.errorsWith("10197"); !slices.Equal(got, []string{"5", "6", "7", "8"}) {
		t.Errorf("10197 for %v, want 5, 6, 7, 8", got)
	}
	p.say("8", "1", "1")
	for range 20 { // history goes on
		if got := p.expect(); got[0] != "90" && got[0] != "9" {
			t.Fatalf("received %q during a competing session, want updates of history alone", got)
		}
	}
	if got := other.errorsWith("10197"); len(got) != 0 {
		t.Errorf("10197 for %v of a client without data, want none", got)
	}

	g.Compete(false)
	waiting := map[string]bool{"1 6 1": true, "50 3 2": true, "99 3": true, "1 6 5": true, "50 3 6": true, "99 7": true}
	for len(waiting) > 0 {
		got := p.expect()
		if got[0] == "4" {
			t.Fatalf("received %q when the session ended, want nothing said", got)
		}
		delete(waiting, strings.Join(got[:min(3, len(got))], " "))
		delete(waiting, strings.Join(got[:2], " "))
	}
}

func TestEveryBeginningOfACompetingSessionIsToldOnce(t *testing.T) {
	g := gateway.Start(t, gateway.Config{TicksPerSecond: 0.001})
	p := started(t, g, 1)
	p.marketData(1, false)
	p.alive()
	g.Compete(true)
	p.expect("4", "2", "1", "10197") // without its having asked for anything
	g.Compete(false)
	for range 50 {
		g.Compete(true)
		g.Compete(false)
		if got := p.errorsWith("10197"); !slices.Equal(got, []string{"1"}) {
			t.Fatalf("10197 for %v, want for 1, once", got)
		}
	}
	g.Compete(true)
	late := started(t, g, 2)
	late.marketData(1, false)
	if got := late.errorsWith("10197"); !slices.Equal(got, []string{"1"}) {
		t.Errorf("10197 for %v of a client that came later, want 1", got)
	}
	if got := p.errorsWith("10197"); !slices.Equal(got, []string{"1"}) {
		t.Errorf("10197 for %v of the first client, want for 1, once", got)
	}
}

func TestACompetingSessionOfAScenario(t *testing.T) {
	g := gateway.Start(t, gateway.Config{TicksPerSecond: 1000})
	p := started(t, g, 1)
	p.marketData(1, false)
	p.expect("1", "6", "1")
	sc, err := gateway.ParseScenario(strings.NewReader("at 0s competing-session 20ms"))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Play(t.Context(), sc); err != nil {
		t.Fatal(err)
	}
	p.expect("4", "2", "1", "10197")
	p.expect("1", "6", "1")
	if _, err := gateway.ParseScenario(strings.NewReader("at 0s competing-session")); err == nil || !strings.Contains(err.Error(), "the form is: at TIME competing-session TIME") {
		t.Errorf("a competing session without a time is %v, want the form", err)
	}
}

func TestClosedMarketsHaveNoTicksAndNoBars(t *testing.T) {
	c := aMonday()
	c.move(8*time.Hour + time.Minute) // 20:01 in New York
	g := gateway.Start(t, gateway.Config{Hours: true, Now: c.now, TicksPerSecond: 1000, BarEvery: 10 * time.Millisecond})
	p := started(t, g, 1)
	p.marketData(1, false)
	p.tickByTick(2, "265598")
	p.marketData(3, true)
	for _, want := range []string{"81 1", "58 1", "81 3", "58 1", "57 1"} { // parameters and data types, and the snapshot's end
		if got := strings.Join(p.expect()[:2], " "); got != want {
			t.Errorf("received %s, want %s", got, want)
		}
	}
	p.silent()
	p.tickByTick(4, euro) // which is traded
	p.expect("99", "4")
	p.say("98", "4")
	p.alive()
	p.realTimeBars(5, false)
	p.silent() // although their clock goes fast, it has not come to the morning yet
	c.move(8 * time.Hour)
	p.expect("1", "6", "1")
	p.expect("99", "2")
}

func TestRealTimeBarsEndWithTheHoursTheyAreOf(t *testing.T) {
	for _, of := range []struct {
		rth   bool
		after time.Duration // noon, a minute before the close
	}{{true, 4*time.Hour - time.Minute}, {false, 8*time.Hour - time.Minute}} {
		t.Run(fmt.Sprint(of.rth), func(t *testing.T) {
			c := aMonday()
			c.move(of.after)
			g := gateway.Start(t, gateway.Config{Hours: true, Now: c.now, BarEvery: time.Millisecond})
			p := started(t, g, 1)
			p.realTimeBars(1, of.rth)
			bars := make(map[string]string)
			for i := range 12 {
				got := p.expect("50", "3", "1")
				if at, _ := strconv.ParseInt(got[3], 10, 64); at != c.now().Unix()+int64(5*i) {
					t.Fatalf("bar %d is of %s, want no hole", i, got[3])
				}
				bars[got[3]] = strings.Join(got[4:], " ")
			}
			p.silent()
			p.say("51", "1", "1")
			c.move(time.Hour)
			p.say(historyQuery{duration: "3660 S", rth: of.rth}.fields(2)...) // two minutes of it before the close
			got := p.expect("17", "2")
			if n := len(got[5:]) / 8; n != 24 {
				t.Fatalf("%d bars of history, want 24", n)
			}
			for i := 5 + 12*8; i < len(got); i += 8 {
				bar := got[i : i+8] // IB's order is the same but for the time
				if bars[bar[0]] != strings.Join(bar[1:], " ") {
					t.Fatalf("bar %s of history = %q, the real-time one = %q", bar[0], bar[1:], bars[bar[0]])
				}
			}
		})
	}
}

func TestHistoryKeptUpToDateRestsWhileTheMarketIsClosed(t *testing.T) {
	c := aMonday()
	c.move(4*time.Hour - time.Minute) // a minute before the close
	g := gateway.Start(t, gateway.Config{Hours: true, Now: c.now, BarEvery: time.Millisecond})
	p := started(t, g, 1)
	wantAnswer(t, "history kept up to date", p.asks(1, historyQuery{follow: true, rth: true}), "bars")
	for i := range 12 {
		if got := p.expect("90", "1"); got[3] != strconv.FormatInt(c.now().Unix()+int64(5*i), 10) {
			t.Errorf("update %d is of %s, want %d s after the first", i, got[3], 5*i)
		}
	}
	p.silent()
	p.say("25", "1", "1")
	wantAnswer(t, "its cancel", p.answer(1), "162 Historical Market Data Service error message:API historical data query cancelled: 1")
	c.move(time.Hour)
	wantAnswer(t, "the same when there is nothing to begin with", p.asks(2, historyQuery{follow: true, rth: true}), "162 Historical Market Data Service error message:HMDS query returned no data: AAPL@SMART Trades")
	p.say("25", "1", "2")
	wantAnswer(t, "a cancel of what was never kept", p.answer(2), "366 No historical data query found for ticker id:2")
}
