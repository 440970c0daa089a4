package scenario

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Night returns a scenario by dice, without the lines of what was recorded: the same
// for the same seed.
func Night(seed uint64) string {
	dice := rand.New(rand.NewPCG(seed, 0))
	var lines []string
	for _, policy := range []string{"spare client 8", "fallback spare.example:4002", "window restart daily 07:05-07:20 UTC"} {
		if dice.IntN(2) == 0 {
			lines = append(lines, "policy "+policy)
		}
	}
	var clock time.Duration
	running := false
	happens := func(what string) { lines = append(lines, strings.TrimSpace(fmt.Sprint("at ", clock, " ", what))) }
	one := func(of []string) string { return of[dice.IntN(len(of))] }
	pauses := []time.Duration{0, 0, 0, 300, 1000, 3700, 15_000, 20_000, 47_000, 90_000, 200_000, 600_000}
	for range 8 + dice.IntN(20) {
		kind := dice.IntN(20)
		switch {
		case !running && (clock == 0 || kind < 8):
			happens("process starts")
			running = true
		case kind < 8:
			happens("gateway " + one(meetings))
		case kind < 11:
			happens("gateway says " + one(sayings))
		case kind < 12:
			happens("gateway says " + one(sayings) + " every 7s for 3m")
			clock += 3 * time.Minute
		case kind < 14:
			happens("gateway " + one([]string{"closes", "resets"}))
		case kind < 17:
			happens("gateway " + one(answers))
		case kind < 18 && running:
			happens("operator " + one([]string{"reconnect", "reconnect", "connect", "disconnect"}) + " because")
		case kind < 19:
			by := []time.Duration{time.Hour, 30 * time.Second, 5 * time.Second, -30 * time.Minute}[dice.IntN(4)]
			happens(fmt.Sprint("clock jumps ", by))
			clock += by
		case running:
			happens("process is killed")
			running = false
		}
		clock += pauses[dice.IntN(len(pauses))] * time.Millisecond
	}
	clock += 5 * time.Minute
	happens("")
	return strings.Join(lines, "\n")
}

// What may happen in a Night.
var (
	meetings = []string{
		"refuses", "accepts", "hangs up", "greets", "holds client 7", "opens", "opens", "opens", "opens", "on spare.example:4002 opens",
	}
	sayings = []string{
		`1100 "lost"`, `1102 "restored - data maintained"`, `1101 "data lost"`, `354 "not subscribed"`,
		`100 "Max rate of messages per second has been exceeded"`, `10197 "No market data during competing live session"`,
		`2103 "Market data farm connection is broken:usfarm"`, `2104 "Market data farm connection is OK:usfarm"`,
		`2110 "Connectivity between Trader Workstation and server is broken. It will be restored automatically."`,
		`1300 "TWS socket port has been reset and this connection is being dropped. Please reconnect on the new port - 4003"`,
	}
	answers = []string{
		"answers after 20ms", "answers after 300ms", "answers after 4500ms", "answers after 7s", "answers after 12s",
		"answers nothing", "streams data and answers nothing",
		"loses IB without a word", "reaches IB without a word",
	}
)
