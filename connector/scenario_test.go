package connector_test

import (
	"fmt"
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

// TestScenarios plays the files in testdata/scenarios against the pure core.
// Such a file says in a paragraph what happened to whom, and then, line by line,
//
//	begins 2026-03-07T03:59:00Z          when its clock is at 0s; otherwise at dawn
//	policy fallback HOST:PORT            what is not as by default: see policies
//	at 90s gateway says 1100 "lost"      what happens then, if anything: see happenings
//	> 1m30s  error: link to IB down      what was recorded since the line before it
//	> = ready, degraded because ...      where the connection stands
//	expect condition degraded because link down
//
// With -update the lines that begin with ">" are written anew, and no
// expectation is. They leave out heartbeats answered in time, count what comes
// many times in a row, and skip the middle of a long list.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("found the files %q, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { playFile(t, file) })
	}
}

func playFile(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := &play{
		TB: t, file: file, began: dawn, manners: map[string]string{}, delay: 20 * time.Millisecond, counts: map[events.Type]int{},
		story: &story{policy: testPolicy(), now: dawn, state: events.NewState("main")},
	}
	p.story.TB = p
	old := strings.Split(string(text), "\n")
	var played []string
	for i, line := range old {
		if p.line = i + 1; strings.HasPrefix(line, ">") {
			continue
		}
		played = append(played, line)
		if line != "" && !strings.HasPrefix(line, "#") {
			played = append(played, p.read(line)...)
		}
	}
	p.check()
	if *update {
		if err := os.WriteFile(file, []byte(strings.Join(played, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for i, line := range played {
		if p.line = i + 1; i >= len(old) || line != old[i] {
			p.Fatalf("it should go on\n%s\n(run with -update and review the difference)", strings.Join(played[i:min(i+5, len(played))], "\n"))
		}
	}
	if p.line = len(played) + 1; len(old) > len(played) {
		p.Fatalf("%q is too much", old[len(played)])
	}
}

// play is a story read from a file. As a testing.TB it says where in it.
type play struct {
	testing.TB
	*story
	file string
	line int

	began    time.Time
	manners  map[string]string    // how far the gateway at an endpoint, or at "" any other, lets attempts come
	delay    time.Duration        // from a probe to its answer; negative for never
	streams  bool                 // other bytes come all the time
	owed     []connector.Answered // the answers under way, each until it is received
	gone     bool                 // no process runs
	commands int
	shown    int                 // the events shown so far,
	counts   map[events.Type]int // how many of them are of a type,
	last     time.Time           // and when the last one came
	said     []string            // since the last happening
}

func (p *play) Fatalf(format string, args ...any) {
	p.Helper()
	p.TB.Fatalf("%s:%d: %s", p.file, p.line, fmt.Sprintf(format, args...))
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
	switch w[0] {
	case "begins":
		at, err := time.Parse(time.RFC3339, w[1])
		p.must(err)
		p.began, p.now = at, at
	case "policy":
		p.act(policies, w[1:])
	case "at":
		p.passTo(p.began.Add(p.duration(w[1])))
		if len(w) > 2 {
			p.act(happenings, w[2:])
			p.meet()
		}
		return p.show()
	case "expect":
		p.expect(w[1], strings.Join(w[2:], " "))
	default:
		p.Fatalf("%q: want begins, policy, at or expect", w[0])
	}
	return nil
}

// phrase is what a line may say: capitals stand for what is given to do.
type phrase struct {
	words string
	do    func(p *play, given []string)
}

var policies = []phrase{
	{"window KIND DAYS HOURS ZONE", (*play).addWindow},
	{"window KIND DAY HOUR - DAY HOUR ZONE", (*play).addWindow},
	{"fallback ENDPOINT", func(p *play, given []string) { p.policy.Fallbacks = append(p.policy.Fallbacks, given[0]) }},
	{"spare client ID", func(p *play, given []string) {
		p.policy.SpareIDs = append(p.policy.SpareIDs, int64(p.number(given[0])))
	}},
}

var happenings = []phrase{
	{"process starts", (*play).start},
	{"process is killed", func(p *play, _ []string) { p.gone, p.owed = true, nil }},
	{"clock jumps TIME", (*play).jump},
	{"operator VERB WHY", func(p *play, given []string) {
		p.commands++
		p.give(connector.Commanded{ID: "c" + strconv.Itoa(p.commands), Verb: events.Verb(given[0]), Reason: given[1]})
	}},

	// How far the gateway lets attempts come from now on, and the present one.
	{"gateway refuses", meets("refuses")},
	{"gateway accepts", meets("accepts")}, // and says nothing
	{"gateway hangs up", meets("hangs up")},
	{"gateway greets", meets("greets")}, // with its version, and nothing more
	{"gateway holds client ID", meets("holds client ")},
	{"gateway opens", meets("opens")},
	{"gateway on ENDPOINT opens", func(p *play, given []string) { p.manners[given[0]] = "opens" }},

	// What it does in the present session.
	{"gateway says CODE TEXT", (*play).say},
	{"gateway says CODE TEXT every TIME for TIME", (*play).say},
	{"gateway closes", func(p *play, _ []string) { p.give(p.ended(events.CauseClosedByGateway)) }},
	{"gateway resets", func(p *play, _ []string) { p.give(p.ended(events.CauseReset)) }},
	{"gateway closes attempt NUMBER", func(p *play, given []string) {
		p.give(connector.Ended{Attempt: uint64(p.number(given[0])), Cause: events.CauseClosedByGateway})
	}},
	{"gateway answers after TIME", func(p *play, given []string) { p.delay, p.streams = p.duration(given[0]), false }},
	{"gateway answers nothing", func(p *play, _ []string) { p.delay, p.streams = -1, false }},
	{"gateway streams data and answers nothing", func(p *play, _ []string) { p.delay, p.streams = -1, true }},
}

// meets is how the gateway meets attempts, at whatever endpoint.
func meets(manner string) func(*play, []string) {
	return func(p *play, given []string) {
		clear(p.manners)
		p.manners[""] = manner + strings.Join(given, "")
	}
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
	p.policy.Windows = append(p.policy.Windows, w)
}

// start begins a process on the log, be it the first or one after a crash.
func (p *play) start([]string) {
	p.Helper()
	p.gone, p.heard, p.probed, p.probedAt = false, time.Time{}, 0, time.Time{}
	p.record(events.Draft{Event: &events.EpochBegan{
		Instance: "host-1", PID: 1, Version: "test", PreviousEpoch: p.head.Epoch, Away: events.Between(p.last, p.now),
	}})
	p.give(connector.Started{LastEventAt: p.last})
}

func (p *play) jump(given []string) {
	p.Helper()
	by := p.duration(given[0])
	p.now, p.probedAt = p.now.Add(by), p.probedAt.Add(by)
	p.give(connector.Jumped{By: by})
}

func (p *play) say(given []string) {
	p.Helper()
	every, until := time.Hour, p.now
	if len(given) == 4 {
		every, until = p.duration(given[2]), p.now.Add(p.duration(given[3]))
	}
	for at := p.now; !at.After(until); at = at.Add(every) {
		p.passTo(at)
		p.heard = p.now
		p.give(p.noticed(p.number(given[0]), given[1]))
	}
}

// passTo lets the time pass until at, and takes what is due on the way.
func (p *play) passTo(at time.Time) {
	p.Helper()
	if at.Before(p.now) {
		p.Fatalf("it is %s already", short(p.now.Sub(p.began)))
	}
	for range 100_000 {
		if p.gone || p.now.Equal(at) {
			p.now = at
			return
		}
		p.wake(later(earliest(at, p.due()), p.now))
	}
	p.Fatalf("at %s there is always something due", short(p.now.Sub(p.began)))
}

// look is how often the runner looks whether something is due, whatever is planned.
const look = 10 * time.Second

func (p *play) due() time.Time {
	plan, due := connector.PlanFor(p.state), p.now.Add(look)
	switch {
	case plan.Probe > p.probed:
		due = earliest(due, plan.ProbeAt)
	case plan.Probe != 0:
		due = earliest(due, p.probedAt.Add(p.policy.HeartbeatTimeout))
	case !plan.WakeAt.IsZero():
		due = earliest(due, plan.WakeAt)
	}
	if len(p.owed) > 0 {
		due = earliest(due, p.owed[0].Answer.ReceivedAt)
	}
	return due
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (p *play) wake(at time.Time) {
	p.Helper()
	if p.streams {
		p.heard = at
	}
	attempt, probed := p.state.Attempt.Number, p.probed
	p.story.passTo(at)
	if p.probed > probed && p.delay >= 0 {
		p.owed = append(p.owed, connector.Answered{Attempt: attempt, Number: p.probed, Answer: p.answer(p.now, p.delay)})
	}
	for len(p.owed) > 0 && !p.owed[0].Answer.ReceivedAt.After(p.now) {
		p.heard = p.now
		p.give(p.owed[0])
		p.owed = p.owed[1:]
	}
	p.meet()
}

// meet takes the present attempt as far as the gateway lets it come, and the
// next one if that comes at once.
func (p *play) meet() {
	p.Helper()
	for range 100 {
		manner, ok := p.manners[p.state.Attempt.Endpoint]
		if !ok {
			manner = p.manners[""]
		}
		dialing, greeting := p.state.Phase == events.PhaseDialing, p.state.Phase == events.PhaseGreeting
		switch {
		case p.gone || manner == "" || !dialing && !greeting:
			return
		case dialing && manner == "refuses":
			p.give(p.ended(events.CauseRefused))
		case dialing:
			p.give(connector.Reached{Attempt: p.state.Attempt.Number, Remote: p.state.Attempt.Endpoint})
		case manner == "accepts":
			return
		case manner == "refuses" || manner == "hangs up":
			p.give(p.ended(events.CauseClosedByGateway))
		case p.state.Attempt.GreetedAt.IsZero():
			p.give(p.greeted())
		case manner == "greets":
			return
		case manner == fmt.Sprint("holds client ", p.state.Attempt.ClientID):
			p.give(p.noticed(326, "Unable to connect as the client id is already in use."))
		default:
			p.give(p.opened())
		}
	}
	p.Fatalf("attempts follow each other without an end")
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
	for _, w := range p.wires[p.shown:] {
		rec, err := events.Decode(w)
		p.must(err)
		p.counts[rec.Event.Type()]++
		p.last = rec.Time
		if e, ok := rec.Event.(*events.HeartbeatAnswered); ok && !e.Late {
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
	p.shown, p.said = len(p.wires), nil
	var lines []string
	for _, s := range all {
		line := "> " + short(s.first.Sub(p.began)) + "  " + s.text
		if s.times > 1 {
			line += fmt.Sprintf(" (%d times until %s)", s.times, short(s.last.Sub(p.began)))
		}
		lines, p.said = append(lines, line), append(p.said, s.text)
	}
	if more := len(lines) - mostShown; more > 0 {
		lines = slices.Replace(lines, mostShown/2, mostShown/2+more, fmt.Sprintf("> ... and %d more ...", more))
	}
	return append(lines, "> = "+string(p.state.Phase)+", "+p.condition())
}

func (p *play) condition() string {
	var reasons []string
	for _, r := range p.state.Reasons {
		reasons = append(reasons, strings.Join(strings.Fields(fmt.Sprint(r.Level, " ", r.Name, " ", r.What)), " "))
	}
	if len(reasons) == 0 {
		return string(p.state.Condition)
	}
	return string(p.state.Condition) + " because " + strings.Join(reasons, " and ")
}

// expect holds the claim that a file makes of its story.
func (p *play) expect(what, want string) {
	p.Helper()
	var got string
	switch what {
	case "condition":
		got = p.condition()
	case "phase":
		got = string(p.state.Phase)
	case "cause":
		got = string(p.state.LastEnding.Cause)
	case "endpoint":
		got = p.state.Attempt.Endpoint
	case "client":
		got = strconv.FormatInt(p.state.Attempt.ClientID, 10)
	case "link":
		got = string(p.state.Link.Status)
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
		p.TB.Errorf("%s:%d: %s is %q, want %q", p.file, p.line, what, got, want)
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
