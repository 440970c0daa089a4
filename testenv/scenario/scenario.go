// Package scenario reads the scenarios in connector/testdata/scenarios, plays
// them against a [World], and compares what was recorded with what they say.
//
// Such a file says in a paragraph what happened to whom, and then, line by line,
//
//	begins 2026-03-07T03:59:00Z          when its clock is at 0s; otherwise at Dawn
//	policy fallback HOST:PORT            what is not as by default: see policies
//	at 90s gateway says 1100 "lost"      what happens then, if anything: see happenings
//	> 1m30s  error: link to IB down      what was recorded since the line before it
//	> = ready, degraded because ...      where the connection stands
//	expect condition degraded because link down
//
// There are two worlds. The pure one, in the tests of package connector, is
// Decide and Apply with a clock and a gateway that are a few lines of code; it
// writes the lines that begin with ">". The real one, package endtoend, is the
// program's own runner and dialer and a simulated gateway, over TCP, with a
// clock that stands still but when all of them wait. It must come to the same
// lines, also of nights that nobody had: what differs is wrong in one world or
// the other.
//
// # Non-obvious
//
//   - The lines that begin with ">" leave out heartbeats answered in time, count
//     what comes many times in a row, and skip the middle of a long list.
//   - Nobody writes the expectations but people: an update of the other lines
//     leaves them alone.
package scenario

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ibconn/connector"
	"ibconn/events"
)

// Dawn is when every scenario begins that does not say when.
var Dawn = time.Date(2026, 3, 2, 7, 0, 0, 0, time.UTC)

// Endpoint and ClientID are the gateway and the client id that a scenario's
// policy begins with.
const (
	Endpoint       = "gateway.example:4002"
	ClientID int64 = 7
)

// Setup is what a world is made for. Connection, instance and process id are
// the same in all of them, and so are the dice: main, host-1, 1.
type Setup struct {
	Began  time.Time
	Policy connector.Policy
}

// Stage is where files are played.
type Stage struct {
	// Open makes the world of one file. Its Fatalf says the line.
	Open func(tb testing.TB, s Setup) World
	// Update writes the lines that begin with ">" anew.
	Update bool
	// Same makes two lines alike that may differ; nil lets none differ.
	Same func(line string) string
}

// Each calls play with each of the files that pattern fits, in a test of its
// own.
func Each(t *testing.T, pattern string, play func(t *testing.T, file string)) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("found the files %q, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { play(t, file) })
	}
}

// Play plays one file.
func (s Stage) Play(tb testing.TB, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	if told := s.Tell(tb, file, string(text)); !s.Update {
		s.Compare(tb, file, string(text), told)
	} else if err := os.WriteFile(file, []byte(told), 0o644); err != nil {
		tb.Fatal(err)
	}
}

// Tell plays the text of a file of that name, and returns it with the lines
// that begin with ">" as they come.
func (s Stage) Tell(tb testing.TB, file, text string) string {
	p := &play{
		TB: tb, file: file, open: s.Open, counts: make(map[events.Type]int), manners: make(Manners),
		setup: Setup{Began: Dawn, Policy: connector.DefaultPolicy(Endpoint, ClientID)},
	}
	var told []string
	for i, line := range strings.Split(text, "\n") {
		if p.line = i + 1; strings.HasPrefix(line, ">") {
			continue
		}
		told = append(told, line)
		if line != "" && !strings.HasPrefix(line, "#") {
			told = append(told, p.read(line)...)
		}
	}
	if p.world == nil {
		p.Fatalf("nothing happens")
	}
	p.world.End()
	return strings.Join(told, "\n")
}

// Compare fails the test where a file's text is not as it was told.
func (s Stage) Compare(tb testing.TB, file, text, told string) {
	same := s.Same
	if same == nil {
		same = func(line string) string { return line }
	}
	p := &play{TB: tb, file: file}
	was, is := strings.Split(text, "\n"), strings.Split(told, "\n")
	for i, line := range is {
		if p.line = i + 1; i >= len(was) || same(line) != same(was[i]) {
			p.Fatalf("it should go on\n%s\n(run go test ./connector with -update and review the difference)", strings.Join(is[i:min(i+5, len(is))], "\n"))
		}
	}
	if p.line = len(is) + 1; len(was) > len(is) {
		p.Fatalf("%q is too much", was[len(is)])
	}
}

// play is one file being played. As a testing.TB it says where in it.
type play struct {
	testing.TB
	file string
	line int

	open     func(testing.TB, Setup) World
	setup    Setup
	world    World // nil until something happens
	manners  Manners
	commands int
	shown    int                 // the events shown so far,
	counts   map[events.Type]int // and how many of them are of a type
	said     []string            // since the last happening
}

// Fatalf fails the test at the line that is played.
func (p *play) Fatalf(format string, args ...any) {
	p.Helper()
	p.TB.Fatalf("%s:%d: %s", p.file, p.line, fmt.Sprintf(format, args...))
}

// Errorf is like Fatalf, and goes on.
func (p *play) Errorf(format string, args ...any) {
	p.Helper()
	p.TB.Errorf("%s:%d: %s", p.file, p.line, fmt.Sprintf(format, args...))
}

var words = regexp.MustCompile(`"[^"]*"|\S+`)

// read does what a line says, and returns what there is to show of it.
func (p *play) read(line string) []string {
	p.Helper()
	w := words.FindAllString(line, -1)
	for i := range w {
		w[i] = strings.Trim(w[i], `"`)
	}
	if len(w) < 2 {
		p.Fatalf("%q says too little", line)
	}
	switch early := w[0] == "begins" || w[0] == "policy"; {
	case early && p.world != nil:
		p.Fatalf("%q comes too late: something happened already", line)
	case !early && p.world == nil:
		p.world = p.open(p, p.setup)
	}
	switch w[0] {
	case "begins":
		at, err := time.Parse(time.RFC3339, w[1])
		p.must(err)
		p.setup.Began = at
	case "policy":
		p.act(policies, w[1:])
	case "at":
		p.passTo(p.setup.Began.Add(p.duration(w[1])))
		if len(w) > 2 {
			p.act(happenings, w[2:])
		}
		return p.show()
	case "expect":
		p.expect(w[1], strings.Join(w[2:], " "))
	default:
		p.Fatalf("%q: want begins, policy, at or expect", w[0])
	}
	return nil
}

func (p *play) passTo(at time.Time) {
	p.Helper()
	if now := p.world.Now(); at.Before(now) {
		p.Fatalf("it is %s already", short(now.Sub(p.setup.Began)))
	}
	p.world.PassTo(at)
}

// phrase is what a line may say: capitals stand for what is given to do.
type phrase struct {
	words string
	do    func(p *play, given []string)
}

var policies = []phrase{
	{"window KIND DAYS HOURS ZONE", (*play).addWindow},
	{"window KIND DAY HOUR - DAY HOUR ZONE", (*play).addWindow},
	{"fallback ENDPOINT", func(p *play, given []string) {
		p.setup.Policy.Fallbacks = append(p.setup.Policy.Fallbacks, given[0])
	}},
	{"spare client ID", func(p *play, given []string) {
		p.setup.Policy.SpareIDs = append(p.setup.Policy.SpareIDs, int64(p.number(given[0])))
	}},
}

var happenings = []phrase{
	{"process starts", func(p *play, _ []string) { p.world.Start() }},
	{"process is killed", func(p *play, _ []string) { p.world.Kill() }},
	{"clock jumps TIME", func(p *play, given []string) { p.world.Jump(p.duration(given[0])) }},
	{"operator VERB WHY", func(p *play, given []string) {
		p.commands++
		p.world.Command("c"+strconv.Itoa(p.commands), events.Verb(given[0]), given[1])
	}},

	// How far the gateway lets attempts come from now on, and the present one.
	{"network loses everything", meets(Lost)}, // of new attempts
	{"gateway refuses", meets(Refused)},
	{"gateway accepts", meets(Accepted)}, // and says nothing
	{"gateway hangs up", meets(HungUp)},
	{"gateway greets", meets(Greeted)}, // with its version, and nothing more
	{"gateway holds client ID", meets(Denied)},
	{"gateway opens", meets(Opened)},
	{"gateway on ENDPOINT opens", func(p *play, given []string) { p.meet(given[0], Manner{Reach: Opened}) }},

	// What it does in the present session.
	{"gateway says CODE TEXT", (*play).say},
	{"gateway says CODE TEXT every TIME for TIME", (*play).say},
	{"gateway loses IB without a word", func(p *play, _ []string) { p.world.Link(false) }},
	{"gateway reaches IB without a word", func(p *play, _ []string) { p.world.Link(true) }},
	{"gateway claims CODE TEXT", func(p *play, given []string) { p.world.Say(p.number(given[0]), given[1]) }}, // and it is not so
	{"gateway closes", func(p *play, _ []string) { p.world.Close() }},
	{"gateway resets", func(p *play, _ []string) { p.world.Reset() }},
	{"gateway closes attempt NUMBER", func(p *play, given []string) { p.world.CloseAgain(uint64(p.number(given[0]))) }},
	{"gateway answers after TIME", func(p *play, given []string) { p.world.Answer(p.duration(given[0]), false) }},
	{"gateway answers nothing", func(p *play, _ []string) { p.world.Answer(-1, false) }},
	{"gateway streams data and answers nothing", func(p *play, _ []string) { p.world.Answer(-1, true) }},
}

// meets is how the gateway meets attempts, at whatever endpoint.
func meets(reach Reach) func(*play, []string) {
	return func(p *play, given []string) {
		manner := Manner{Reach: reach}
		if len(given) > 0 {
			manner.Taken = int64(p.number(given[0]))
		}
		clear(p.manners)
		p.meet("", manner)
	}
}

func (p *play) meet(endpoint string, m Manner) {
	p.manners[endpoint] = m
	p.world.Meet(maps.Clone(p.manners))
}

// act does what the one phrase that fits w says.
func (p *play) act(phrases []phrase, w []string) {
	p.Helper()
	for _, ph := range phrases {
		pattern := strings.Fields(ph.words)
		var given []string
		fits := len(pattern) == len(w)
		for i := 0; fits && i < len(w); i++ {
			if pattern[i] == strings.ToLower(pattern[i]) {
				fits = pattern[i] == w[i]
			} else {
				given = append(given, w[i])
			}
		}
		if fits {
			ph.do(p, given)
			return
		}
	}
	p.Fatalf("%q is not among the phrases", strings.Join(w, " "))
}

func (p *play) addWindow(given []string) {
	p.Helper()
	if len(given) == 6 { // KIND DAY HOUR - DAY HOUR ZONE
		given = slices.Insert(given, 3, "-")
	}
	w, err := connector.ParseWindow(strings.Join(given, " "))
	p.must(err)
	p.setup.Policy.Windows = append(p.setup.Policy.Windows, w)
}

func (p *play) say(given []string) {
	p.Helper()
	every, until := time.Hour, p.world.Now()
	if len(given) == 4 {
		every, until = p.duration(given[2]), until.Add(p.duration(given[3]))
	}
	code := p.number(given[0])
	for at := p.world.Now(); !at.After(until); at = at.Add(every) {
		p.world.PassTo(at)
		// What the gateway says of its link is so.
		switch link := events.ReadNotice(code, given[1]).Link; link {
		case events.LinkDown, events.LinkUp:
			p.world.Link(link == events.LinkUp)
		case events.LinkUnknown:
		}
		p.world.Say(code, given[1])
	}
}

// mostShown is how many lines of what was recorded are shown at a time.
const mostShown = 16

// show words what was recorded since it was last asked, and where that leaves
// the connection.
func (p *play) show() []string {
	p.Helper()
	type said struct {
		text        string
		first, last time.Time
		times       int
	}
	var all []said
	wires := p.world.Wires()
	for _, w := range wires[p.shown:] {
		rec, err := events.Decode(w)
		p.must(err)
		p.counts[rec.Event.Type()]++
		if e, ok := rec.Event.(*events.HeartbeatAnswered); events.Routine(rec) && (!ok || !e.Late) {
			continue
		}
		text := events.Sentence(rec)
		if severity := events.SeverityOf(rec); severity != events.SeverityInfo {
			text = string(severity) + ": " + text
		}
		if n := len(all); n > 0 && all[n-1].text == text {
			all[n-1].last = rec.Time
			all[n-1].times++
			continue
		}
		all = append(all, said{text, rec.Time, rec.Time, 1})
	}
	p.shown, p.said = len(wires), nil
	var lines []string
	for _, s := range all {
		line := "> " + short(s.first.Sub(p.setup.Began)) + "  " + s.text
		if s.times > 1 {
			line += fmt.Sprintf(" (%d times until %s)", s.times, short(s.last.Sub(p.setup.Began)))
		}
		lines, p.said = append(lines, line), append(p.said, s.text)
	}
	if more := len(lines) - mostShown; more > 0 {
		lines = slices.Replace(lines, mostShown/2, mostShown/2+more, fmt.Sprintf("> ... and %d more ...", more))
	}
	return append(lines, "> = "+string(p.world.State().Phase)+", "+p.condition())
}

func (p *play) condition() string {
	s := p.world.State()
	var reasons []string
	for _, r := range s.Reasons {
		reasons = append(reasons, strings.Join(strings.Fields(fmt.Sprint(r.Level, " ", r.Name, " ", r.What)), " "))
	}
	if len(reasons) == 0 {
		return string(s.Condition)
	}
	return string(s.Condition) + " because " + strings.Join(reasons, " and ")
}

// attributed lists whose fault reasons are, each once.
func attributed(reasons []events.Reason) string {
	var all []string
	for _, r := range reasons {
		if a := string(r.Attribution); a != "" && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return strings.Join(all, " and ")
}

// expect holds the claim that a file makes of its story.
func (p *play) expect(what, want string) {
	p.Helper()
	var got string
	switch s := p.world.State(); what {
	case "condition":
		got = p.condition()
	case "phase":
		got = string(s.Phase)
	case "cause":
		got = string(s.LastEnding.Cause)
	case "fault": // of the last ending
		got = string(s.LastEnding.Cause.Attribution())
	case "attribution": // of the condition
		got = attributed(s.Reasons)
	case "endpoint":
		got = s.Attempt.Endpoint
	case "client":
		got = strconv.FormatInt(s.Attempt.ClientID, 10)
	case "link":
		got = string(s.Link.Status)
	case "nothing": // was recorded since the last happening
		got = strings.Join(p.said, "\n")
	case "said": // since the last happening
		got = strings.Join(p.said, "\n")
		if strings.Contains(got, want) {
			return
		}
	default: // how many events of a kind there are since the story began
		p.number(what)
		got, want, what = strconv.Itoa(p.count(want)), what, "the number of "+want
	}
	if got != want {
		p.Errorf("%s is %q, want %q", what, got, want)
	}
}

// count returns how many events there are of a type, given by its end.
func (p *play) count(end string) int {
	p.Helper()
	for _, t := range events.Types() {
		if strings.HasSuffix(string(t), "."+end) {
			return p.counts[t]
		}
	}
	p.Fatalf("%q is no event", end)
	return 0
}

func (p *play) duration(text string) time.Duration {
	p.Helper()
	d, err := time.ParseDuration(text)
	p.must(err)
	return d
}

func (p *play) number(text string) int {
	p.Helper()
	n, err := strconv.Atoi(text)
	p.must(err)
	return n
}

func (p *play) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatalf("%v", err)
	}
}

// short writes d as time.Duration does, to the millisecond and without the
// zeros at its end.
func short(d time.Duration) string {
	s := d.Round(time.Millisecond).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
