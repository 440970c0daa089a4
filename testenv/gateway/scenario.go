package gateway

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Scenario is a list of faults and when they happen. The package comment has the form of the file it is read from.
type Scenario struct {
	Steps []Step        // in the order in which they happen
	Every time.Duration // after which it starts again, 0 to play it once
}

// Step is one thing that happens. A fault that lasts is two steps, its beginning and its end.
type Step struct {
	At   time.Duration // since the start of the scenario
	Line int           // where the file says so, from 1
	Text string        // what the file says

	act func(*Gateway) error
}

const maxScenarioTime = 7 * 24 * time.Hour

// ParseScenario reads a scenario. An error names the line, the word that is wrong, and what is allowed there.
func ParseScenario(r io.Reader) (Scenario, error) {
	var sc Scenario
	repeated := 0
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		words, err := splitWords(lines.Text())
		if err == nil && len(words) > 0 {
			a := &arguments{words: words[1:], after: words[0]}
			switch words[0].text {
			case "at":
				err = sc.parseAt(a, n)
			case "repeat":
				if err = sc.parseRepeat(a); repeated > 0 && err == nil {
					err = fmt.Errorf("repeat stands already in line %d, it is allowed once", repeated)
				}
				repeated = n
			default:
				err = fmt.Errorf("%s is not known; a line begins with at or repeat", words[0])
			}
		}
		if err != nil {
			return Scenario{}, fmt.Errorf("scenario: line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return Scenario{}, fmt.Errorf("scenario: %w", err)
	}
	slices.SortStableFunc(sc.Steps, func(a, b Step) int { return cmp.Compare(a.At, b.At) })
	if n := len(sc.Steps); n > 0 && repeated > 0 && sc.Steps[n-1].At > sc.Every {
		last := sc.Steps[n-1]
		return Scenario{}, fmt.Errorf("scenario: line %d: repeat every %v is too soon, line %d lasts until %v", repeated, sc.Every, last.Line, last.At)
	}
	return sc, nil
}

func (sc *Scenario) parseRepeat(a *arguments) error {
	a.keyword("every")
	sc.Every = a.duration(time.Millisecond)
	return a.end()
}

func (sc *Scenario) parseAt(a *arguments, line int) error {
	at := a.duration(0)
	text := a.rest()
	name := a.word("a fault: " + faultNames())
	if a.err != nil {
		return a.err
	}
	i := slices.IndexFunc(verbs, func(v verb) bool { return v.name == name })
	if i < 0 {
		return fmt.Errorf("%q is not a fault; allowed are %s", name, faultNames())
	}
	f := verbs[i].parse(a)
	if verbs[i].ofSessions {
		a.readClients(&f.clients)
	}
	if err := a.end(); err != nil {
		return fmt.Errorf("%w (the form is: at TIME %s)", err, verbs[i].form())
	}
	sc.Steps = append(sc.Steps, Step{at, line, text, func(g *Gateway) error { return f.begin(g, f.clients) }})
	if f.finish != nil {
		sc.Steps = append(sc.Steps, Step{at + f.lasts, line, "end of " + text, func(g *Gateway) error { return f.finish(g, f.clients) }})
	}
	return nil
}

// fault is a parsed fault: what to do, and if it lasts, what undoes it and after how long.
type fault struct {
	begin, finish func(*Gateway, []int) error
	lasts         time.Duration
	clients       []int
}

// verb is one fault a scenario can name.
type verb struct {
	name, arguments string
	ofSessions      bool
	parse           func(*arguments) fault
}

func (v verb) form() string {
	form := strings.TrimSpace(v.name + " " + v.arguments)
	if v.ofSessions {
		form += " [client ID...]"
	}
	return form
}

var acceptModes = []struct {
	name string
	mode AcceptMode
}{
	{"close", CloseAtOnce}, {"mute", StayMute}, {"mute-after-greeting", MuteAfterGreeting}, {"close-after-startapi", CloseAfterStartAPI},
}

var linkModes = []struct {
	name             string
	dataLost, notice bool
}{
	{"lost", false, true}, {"data-lost", true, true}, {"silently-lost", false, false}, {"silently-data-lost", true, false},
}

// verbs are all faults, as the package comment lists them.
var verbs = []verb{
	{"error", `ID CODE "TEXT"`, true, func(a *arguments) fault {
		id, code, text := a.number(-1, math.MaxInt32), a.number(0, math.MaxInt32), a.quoted()
		return once(func(g *Gateway, clients []int) { g.Error(id, code, text, clients...) })
	}},
	{"fin", "", true, func(*arguments) fault { return once(func(g *Gateway, c []int) { g.FIN(c...) }) }},
	{"reset", "", true, func(*arguments) fault { return once(func(g *Gateway, c []int) { g.Reset(c...) }) }},
	{"cut", "", true, func(*arguments) fault { return once(func(g *Gateway, c []int) { g.CutMidFrame(c...) }) }},
	{"overlong", "", true, func(*arguments) fault { return once(func(g *Gateway, c []int) { g.OverlongFrame(c...) }) }},
	{"forget", "", true, func(*arguments) fault { return once(func(g *Gateway, c []int) { g.Forget(c...) }) }},
	{"burst", "TICKS", true, func(a *arguments) fault {
		n := a.number(1, MaxBurst)
		return once(func(g *Gateway, c []int) { g.BurstThenFIN(n, c...) })
	}},
	{"garbage", "BYTES", true, func(a *arguments) fault {
		n := a.number(1, maxRequest)
		return once(func(g *Gateway, c []int) { g.Garbage(n, c...) })
	}},
	{"stall", "TIME", true, func(a *arguments) fault { return lasting(a.duration(time.Millisecond), (*Gateway).Stall) }},
	{"silence", "TIME", true, func(a *arguments) fault { return lasting(a.duration(time.Millisecond), (*Gateway).Silence) }},
	{"drip", "BYTES TIME for TIME", true, func(a *arguments) fault {
		n, every := a.number(1, maxRequest), a.duration(time.Millisecond)
		return lasting(a.forTime(), func(g *Gateway, on bool, clients ...int) int {
			if !on {
				return g.Drip(0, 0, clients...)
			}
			return g.Drip(n, every, clients...)
		})
	}},
	{"lag", "DELAY for TIME", true, func(a *arguments) fault {
		delay := a.duration(time.Millisecond)
		return lasting(a.forTime(), func(g *Gateway, on bool, clients ...int) int {
			if !on {
				return g.Lag(0, clients...)
			}
			return g.Lag(delay, clients...)
		})
	}},
	{"link", "MODE for TIME", false, func(a *arguments) fault {
		var names []string
		for _, m := range linkModes {
			names = append(names, m.name)
		}
		i, ok := a.oneOf(names, "a mode", "a way to lose the link")
		if !ok {
			return fault{}
		}
		m := linkModes[i]
		return lasting(a.forTime(), func(g *Gateway, on bool, _ ...int) int {
			if on {
				g.LoseLink(m.notice)
			} else {
				g.RestoreLink(m.dataLost, m.notice)
			}
			return 0
		})
	}},
	{"mislead", "TIME", false, func(a *arguments) fault {
		return lasting(a.duration(time.Millisecond), func(g *Gateway, on bool, _ ...int) int {
			g.Mislead(on)
			return 0
		})
	}},
	{"competing-session", "TIME", false, func(a *arguments) fault {
		return lasting(a.duration(time.Millisecond), func(g *Gateway, on bool, _ ...int) int {
			g.Compete(on)
			return 0
		})
	}},
	{"refuse", "TIME", false, func(a *arguments) fault {
		return fault{begin: refusing(true), finish: refusing(false), lasts: a.duration(time.Millisecond)}
	}},
	{"restart", "TIME", false, func(a *arguments) fault {
		down := func(g *Gateway, _ []int) error { return g.goDown() }
		return fault{begin: down, finish: refusing(false), lasts: a.duration(time.Millisecond)}
	}},
	{"accept", "MODE for TIME", false, func(a *arguments) fault {
		var names []string
		for _, m := range acceptModes {
			names = append(names, m.name)
		}
		i, ok := a.oneOf(names, "a mode", "a mode of accepting")
		if !ok {
			return fault{}
		}
		return fault{begin: accepting(acceptModes[i].mode), finish: accepting(Normal), lasts: a.forTime()}
	}},
}

func faultNames() string {
	var names []string
	for _, v := range verbs {
		names = append(names, v.name)
	}
	return strings.Join(names, ", ")
}

func once(do func(*Gateway, []int)) fault {
	return fault{begin: func(g *Gateway, clients []int) error {
		do(g, clients)
		return nil
	}}
}

func lasting(d time.Duration, set func(g *Gateway, on bool, clients ...int) int) fault {
	turn := func(on bool) func(*Gateway, []int) error {
		return func(g *Gateway, clients []int) error {
			set(g, on, clients...)
			return nil
		}
	}
	return fault{begin: turn(true), finish: turn(false), lasts: d}
}

func refusing(on bool) func(*Gateway, []int) error {
	return func(g *Gateway, _ []int) error { return g.Refuse(on) }
}

func accepting(mode AcceptMode) func(*Gateway, []int) error {
	return func(g *Gateway, _ []int) error {
		g.OnAccept(mode)
		return nil
	}
}

// Play lets a scenario happen and returns when its last step is done, or ctx ends, with its cause. Faults that last and
// overlap end with the first of their ends. A fault that cannot be carried out ends the play with its error.
func (g *Gateway) Play(ctx context.Context, sc Scenario) error {
	for start := time.Now(); ; start = start.Add(sc.Every) {
		for _, step := range sc.Steps {
			if !wait(ctx, time.Until(start.Add(step.At)), nil) {
				return context.Cause(ctx)
			}
			g.cfg.Log.Info().Int("line", step.Line).Str("fault", step.Text).Msg("scenario")
			if err := step.act(g); err != nil {
				return fmt.Errorf("scenario: line %d: %w", step.Line, err)
			}
		}
		if sc.Every == 0 {
			return nil
		}
		if !wait(ctx, time.Until(start.Add(sc.Every)), nil) {
			return context.Cause(ctx)
		}
	}
}

// word is a word of a line: bare, or quoted and then without its quotes.
type word struct {
	text   string
	quoted bool
}

func (w word) String() string { return strconv.Quote(w.text) }

// splitWords splits a line into words and leaves out the comment.
func splitWords(line string) ([]word, error) {
	var words []word
	for {
		line = strings.TrimLeft(line, " \t\r")
		switch {
		case line == "" || line[0] == '#':
			return words, nil
		case line[0] == '"':
			literal, err := strconv.QuotedPrefix(line)
			if err != nil {
				return nil, fmt.Errorf("the text %.40s has no closing quote, or a \\ that means nothing", line)
			}
			text, _ := strconv.Unquote(literal) // QuotedPrefix returns only what Unquote takes
			words = append(words, word{text, true})
			line = line[len(literal):]
		default:
			end := strings.IndexAny(line, " \t\r#\"")
			if end < 0 {
				end = len(line)
			}
			words = append(words, word{text: line[:end]})
			line = line[end:]
		}
	}
}

// arguments reads the words of a line in order and keeps the first thing that is wrong with them.
type arguments struct {
	words []word
	after word // the last word read, to say where something is missing
	err   error
}

func (a *arguments) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

func (a *arguments) take(wanted string) (word, bool) {
	if a.err != nil {
		return word{}, false
	}
	if len(a.words) == 0 {
		a.fail(fmt.Errorf("after %s there must be %s", a.after, wanted))
		return word{}, false
	}
	a.after, a.words = a.words[0], a.words[1:]
	return a.after, true
}

func (a *arguments) word(wanted string) string {
	w, _ := a.take(wanted)
	return w.text
}

// oneOf reads one of some names and returns which.
func (a *arguments) oneOf(names []string, wanted, what string) (int, bool) {
	allowed := strings.Join(names, ", ")
	w, ok := a.take(wanted + ": " + allowed)
	i := slices.Index(names, w.text)
	if ok && i < 0 {
		a.fail(fmt.Errorf("%s is not %s; allowed are %s", w, what, allowed))
	}
	return i, a.err == nil
}

func (a *arguments) keyword(k string) {
	if w, ok := a.take(k); ok && w.text != k {
		a.fail(fmt.Errorf("%s stands where only %s is allowed", w, k))
	}
}

func (a *arguments) number(low, high int) int {
	wanted := fmt.Sprintf("a number from %d to %d", low, high)
	w, ok := a.take(wanted)
	if !ok {
		return 0
	}
	n, err := strconv.Atoi(w.text)
	if err != nil || n < low || n > high {
		a.fail(fmt.Errorf("%s is not %s", w, wanted))
	}
	return n
}

func (a *arguments) duration(low time.Duration) time.Duration {
	wanted := fmt.Sprintf("a time from %v to %v, such as 500ms, 2s or 1m30s", low, maxScenarioTime)
	w, ok := a.take(wanted)
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(w.text)
	if err != nil || d < low || d > maxScenarioTime {
		a.fail(fmt.Errorf("%s is not %s", w, wanted))
	}
	return d
}

func (a *arguments) forTime() time.Duration {
	a.keyword("for")
	return a.duration(time.Millisecond)
}

func (a *arguments) quoted() string {
	w, ok := a.take(`a text in "quotes"`)
	if ok && !w.quoted {
		a.fail(fmt.Errorf(`%s is not a text in "quotes"`, w))
	}
	return w.text
}

// readClients reads "client ID...", if it is there.
func (a *arguments) readClients(clients *[]int) {
	if a.err != nil || len(a.words) == 0 {
		return
	}
	a.keyword("client")
	for first := true; a.err == nil && (first || len(a.words) > 0); first = false {
		*clients = append(*clients, a.number(0, math.MaxInt32))
	}
}

// rest returns the words not yet read, as they might have been written.
func (a *arguments) rest() string {
	var b strings.Builder
	for i, w := range a.words {
		if i > 0 {
			b.WriteByte(' ')
		}
		if w.quoted {
			b.WriteString(w.String())
		} else {
			b.WriteString(w.text)
		}
	}
	return b.String()
}

// end returns what is wrong with the line, words left over included.
func (a *arguments) end() error {
	if a.err == nil && len(a.words) > 0 {
		a.fail(errors.New(a.words[0].String() + " is one word too many"))
	}
	return a.err
}
