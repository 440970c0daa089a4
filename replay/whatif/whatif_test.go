package whatif_test

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"ibconn/connector"
	"ibconn/events"
	"ibconn/replay/whatif"
	"ibconn/testenv/scenario"
	"ibconn/testenv/scenario/endtoend"
)

// past is what a night left in the log, and the policy that it was lived through by.
type past struct {
	policy connector.Policy
	all    []events.Recorded
}

func (p past) events() iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		for _, r := range p.all {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// noting is a world that keeps what was recorded.
type noting struct {
	scenario.World
	tb   testing.TB
	past *past
}

func (n noting) End() {
	for _, wire := range n.Wires() {
		r, err := events.Decode(wire)
		if err != nil {
			n.tb.Fatal(err)
		}
		n.past.all = append(n.past.all, r)
	}
	n.World.End()
}

func stage(p *past) scenario.Stage {
	stage := endtoend.Stage(225, endtoend.InMemory())
	open := stage.Open
	stage.Open = func(tb testing.TB, s scenario.Setup) scenario.World {
		p.policy = s.Policy
		return noting{open(tb, s), tb, p}
	}
	return stage
}

func lines(all []events.Recorded) []string {
	var list []string
	for _, r := range all {
		if r.Heartbeat() || r.Event.Type().Kind() == events.KindError || r.Event.Type().Kind() == events.KindCommand {
			continue
		}
		list = append(list, fmt.Sprint(r.Time.Round(100*time.Millisecond).Format("15:04:05.0"), " ", r.Event.Type().What()))
	}
	return list
}

func replayed(t *testing.T, p past) []events.Recorded {
	t.Helper()
	w, err := whatif.Learn(p.events(), time.Time{}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	var got []events.Recorded
	if _, err := w.Play(p.policy, whatif.Late, func(r events.Recorded) { got = append(got, r) }); err != nil {
		t.Fatal(err)
	}
	return got
}

// The nights that other people had come out to the tenth of a second as they were
// recorded, under the policy that they were lived through by: what is learned of the
// world is enough.
func TestTheSamePolicyMakesTheSameNight(t *testing.T) {
	scenario.Each(t, "../../connector/testdata/scenarios/*.txt", func(t *testing.T, file string) {
		var p past
		stage(&p).Play(t, file)
		if want, got := strings.Join(lines(p.all), "\n"), strings.Join(lines(replayed(t, p)), "\n"); want != got {
			t.Errorf("recorded:\n%s\nplayed:\n%s", want, got)
		}
	})
}

// In nights made by dice, in which everything happens within minutes and much at the
// same instant, the order of an instant is not always known. What came of them
// mostly is: the test holds how often.
func TestRandomNightsComeOutAsTheyWere(t *testing.T) {
	const nights = 60
	same, alike := 0, 0
	for seed := uint64(1); seed <= nights; seed++ {
		var p past
		stage(&p).Tell(t, fmt.Sprint("seed ", seed), scenario.Night(seed))
		if slices.Equal(lines(p.all), lines(replayed(t, p))) {
			same++
		}
		w := learn(t, p, time.Time{})
		was, is := w.Recorded(), play(t, w, p.policy, whatif.Late)
		off := (was.Down - is.Down).Duration().Abs()
		if maps.Equal(was.Lost, is.Lost) && off <= 10*time.Second+was.Down.Duration()/50 {
			alike++
		} else {
			t.Logf("seed %d: down %v and lost %v, played %v and %v", seed, was.Down, was.Lost, is.Down, is.Lost)
		}
	}
	t.Logf("of %d nights %d came out the same to the event, and %d with the same losses by cause and the same time down, to 10 s and 2%%", nights, same, alike)
	if same < nights/2 || alike < nights*9/10 {
		t.Errorf("want half of them the same, and nine of ten alike")
	}
}

func learn(t *testing.T, p past, from time.Time) *whatif.World {
	t.Helper()
	w, err := whatif.Learn(p.events(), from, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func play(t *testing.T, w *whatif.World, p connector.Policy, b whatif.Bound) whatif.Outcome {
	t.Helper()
	o, err := w.Play(p, b, nil)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// of is what a scenario left.
func of(t *testing.T, text string) past {
	t.Helper()
	var p past
	stage(&p).Tell(t, "a night", text)
	return p
}

func TestAnotherPolicyMakesAnotherNight(t *testing.T) {
	const freezes = "at 0s process starts\nat 0s gateway opens\nat 10m gateway answers nothing\nat 12m gateway answers after 20ms\nat 20m"
	for _, tt := range []struct {
		name, night string
		change      func(p *connector.Policy)
		check       func(was, is whatif.Outcome) bool
	}{
		{
			"a gateway that freezes is given up sooner by who asks more often", freezes,
			func(p *connector.Policy) { p.HeartbeatEvery, p.HeartbeatTimeout = 2*time.Second, 2*time.Second },
			func(was, is whatif.Outcome) bool {
				return was.LostAfter.Count > 0 && is.LostAfter.Max < was.LostAfter.Max/2 && is.Probes > 5*was.Probes
			},
		},
		{
			"answers that take 4.5 s are false alarms to who waits 2 s for one", "at 0s process starts\nat 0s gateway opens\nat 1m gateway answers after 4500ms\nat 10m",
			func(p *connector.Policy) { p.HeartbeatTimeout, p.HeartbeatMisses = 2*time.Second, 1 },
			func(was, is whatif.Outcome) bool {
				return len(was.Lost) == 0 && was.Stale == 0 && is.FalseAlarms > 0 && is.FalseAlarms == is.Lost[events.CauseHeartbeatLost] && is.Down > was.Down
			},
		},
		{
			"answers that take 7 s are in time to who waits 10 s", "at 0s process starts\nat 0s gateway opens\nat 1m gateway answers after 7s\nat 10m gateway answers after 20ms\nat 12m",
			func(p *connector.Policy) { p.HeartbeatTimeout = 10 * time.Second },
			func(was, is whatif.Outcome) bool {
				return was.Stale > 10 && was.Recovered == was.Stale && is.Stale == 0 && is.Down == 0 && is.Incidents == 0 && was.Incidents > 0
			},
		},
		{
			"who tries every five minutes makes fewer attempts and is longer away", "at 0s process starts\nat 0s gateway opens\nat 10m gateway refuses\nat 10m gateway resets\nat 41m gateway opens\nat 1h10m",
			func(p *connector.Policy) { p.BreakerAfter, p.BreakerProbe = 2, 10*time.Minute },
			func(was, is whatif.Outcome) bool {
				return is.Attempts < was.Attempts/3 && is.Down > was.Down && is.Breaker == 1 && is.Lost[events.CauseReset] == 1
			},
		},
		{
			"a reset comes to everybody", "at 0s process starts\nat 0s gateway opens\nat 10m gateway resets\nat 10m30s gateway opens\nat 20m",
			func(p *connector.Policy) { p.HeartbeatMisses = 10 },
			func(was, is whatif.Outcome) bool {
				return is.Lost[events.CauseReset] == 1 && was.Lost[events.CauseReset] == 1
			},
		},
		{
			"so does a command, and what the gateway says", "at 0s process starts\nat 0s gateway opens\nat 10m operator reconnect because\nat 12m gateway says 1100 \"lost\"\nat 13m gateway says 1102 \"back\"\nat 20m",
			func(p *connector.Policy) { p.HeartbeatEvery = 7 * time.Second },
			func(was, is whatif.Outcome) bool {
				return is.Sessions == 2 && len(is.Lost) == 0 && is.Degraded > 50_000 && is.Incidents == was.Incidents
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := of(t, tt.night)
			w := learn(t, p, time.Time{})
			policy := p.policy
			tt.change(&policy)
			was, is := w.Recorded(), play(t, w, policy, whatif.Late)
			if !tt.check(was, is) {
				t.Errorf("recorded %+v\nplayed %+v", was, is)
			}
		})
	}
}

// Between an attempt that failed and one that did not the truth is not known. The
// bounds hold it.
func TestTheBoundsHoldWhatIsNotKnown(t *testing.T) {
	p := of(t, "at 0s process starts\nat 0s gateway opens\nat 10m gateway refuses\nat 10m gateway resets\nat 22m10s gateway opens\nat 40m")
	w := learn(t, p, time.Time{})
	policy := p.policy
	policy.BreakerProbe, policy.BackoffCap = 5*time.Second, 5*time.Second
	was, late, early := w.Recorded(), play(t, w, policy, whatif.Late), play(t, w, policy, whatif.Early)
	if truth := events.Millis(12*60*1000 + 10_000); !(early.Down < truth && truth <= late.Down+5000) || late.Down > was.Down+5000 {
		t.Errorf("down %v to %v, recorded %v, want the true %v between", early.Down, late.Down, was.Down, truth)
	}
}

// Of a log whose heartbeats expired the silence is known all the same that ended a
// session.
func TestALogWithoutHeartbeatsIsEnough(t *testing.T) {
	p := of(t, "at 0s process starts\nat 0s gateway opens\nat 10m gateway answers nothing\nat 12m gateway answers after 20ms\nat 20m")
	whole := learn(t, p, time.Time{})
	p.all = slices.DeleteFunc(p.all, events.Recorded.Heartbeat)
	w := learn(t, p, time.Time{})
	a, b := play(t, whole, p.policy, whatif.Early), play(t, w, p.policy, whatif.Early)
	if !maps.Equal(a.Lost, b.Lost) || a.Down != b.Down || a.Attempts != b.Attempts || b.Lost[events.CauseHeartbeatLost] == 0 {
		t.Errorf("with heartbeats %+v, without %+v", a, b)
	}
}

func TestOnlyTheSpanCounts(t *testing.T) {
	p := of(t, "at 0s process starts\nat 0s gateway opens\nat 10m gateway resets\nat 20m gateway resets\nat 30m")
	from := scenario.Dawn.Add(15 * time.Minute)
	w := learn(t, p, from)
	for name, o := range map[string]whatif.Outcome{"recorded": w.Recorded(), "played": play(t, w, p.policy, whatif.Late)} {
		if o.Lost[events.CauseReset] != 1 || o.Sessions != 1 || o.Wanted.Duration() > 15*time.Minute || o.Wanted.Duration() < 14*time.Minute {
			t.Errorf("%s %+v, want what came after %v", name, o, from)
		}
	}
}

// A log that begins in the middle of a session had it from its beginning: what a gateway
// did to later attempts says nothing of that time.
func TestALogThatBeginsInASessionHadItAllAlong(t *testing.T) {
	p := of(t, "at 0s process starts\nat 0s gateway opens\nat 1h gateway refuses\nat 1h gateway resets\nat 1h5m gateway opens\nat 2h")
	i := slices.IndexFunc(p.all, func(r events.Recorded) bool { return r.Time.Sub(scenario.Dawn) > 10*time.Minute })
	p.all = p.all[i:]
	w := learn(t, p, time.Time{})
	was := w.Recorded()
	for _, b := range []whatif.Bound{whatif.Late, whatif.Early} {
		is := play(t, w, p.policy, b)
		if is.Lost[events.CauseReset] != 1 || is.Down.Duration() > 7*time.Minute || (is.Wanted-was.Wanted).Duration().Abs() > time.Second || is.Healthy.Duration() < 90*time.Minute {
			t.Errorf("of a log that was cut, bound %d: recorded %+v\nplayed %+v", b, was, is)
		}
	}
}

// A client id that was refused is not known to be free because another one was taken.
func TestAnIDThatWasRefusedIsNotFreeForAskingForAnother(t *testing.T) {
	p := of(t, "policy spare client 8\nat 0s process starts\nat 0s gateway holds client 7\nat 20m gateway opens\nat 30m")
	w := learn(t, p, time.Time{})
	was := w.Recorded()
	policy := p.policy
	policy.SpareIDs = nil
	late, early := play(t, w, policy, whatif.Late), play(t, w, policy, whatif.Early)
	if was.Sessions != 1 || late.Sessions != 0 || early.Sessions != 1 || late.Down.Duration() < 25*time.Minute {
		t.Errorf("recorded %+v\nwithout the spare id late %+v\nearly %+v", was, late, early)
	}
}

// The span ends when it says, whatever the log has then, and a time that the clock
// showed twice is the later one.
func TestTheSpanEndsWhenItSays(t *testing.T) {
	p := of(t, "at 0s process starts\nat 0s gateway opens\nat 10m gateway resets\nat 50m gateway resets\nat 1h")
	p.all = slices.DeleteFunc(p.all, events.Recorded.Heartbeat)
	to := scenario.Dawn.Add(40 * time.Minute)
	w, err := whatif.Learn(p.events(), time.Time{}, to)
	if err != nil {
		t.Fatal(err)
	}
	if _, until := w.Span(); !until.Equal(to) {
		t.Errorf("the span ends at %v, want %v", until, to)
	}
	for name, o := range map[string]whatif.Outcome{"recorded": w.Recorded(), "played": play(t, w, p.policy, whatif.Late)} {
		if o.Lost[events.CauseReset] != 1 || (o.Wanted.Duration()-40*time.Minute).Abs() > time.Second {
			t.Errorf("%s %+v, want the first 40 minutes", name, o)
		}
	}
	p = of(t, "at 0s process starts\nat 0s gateway opens\nat 10m clock jumps 1h\nat 1h20m gateway resets\nat 1h30m clock jumps -1h\nat 40m gateway resets\nat 50m")
	if w, err = whatif.Learn(p.events(), time.Time{}, scenario.Dawn.Add(45*time.Minute)); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]whatif.Outcome{"recorded": w.Recorded(), "played": play(t, w, p.policy, whatif.Late)} {
		if o.Lost[events.CauseReset] != 2 {
			t.Errorf("%s %+v, want both resets: the clock showed the end again", name, o)
		}
	}
	// What was counted goes on to be when the clock is set back below the beginning.
	from := scenario.Dawn.Add(75 * time.Minute)
	if w, err = whatif.Learn(p.events(), from, time.Time{}); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]whatif.Outcome{"recorded": w.Recorded(), "played": play(t, w, p.policy, whatif.Late)} {
		if o.Lost[events.CauseReset] != 2 || o.Wanted.Duration() < 30*time.Minute {
			t.Errorf("%s from %v %+v, want both resets, and the time after both", name, from, o)
		}
	}
}

func TestWhatCannotBePlayedSaysWhy(t *testing.T) {
	broken := errors.New("broken")
	p := of(t, "at 0s process starts\nat 0s gateway opens\nat 1m")
	other := p.all[3]
	other.Connection = "other"
	for _, tt := range []struct {
		events iter.Seq2[events.Recorded, error]
		want   string
	}{
		{past{}.events(), "no events"},
		{func(yield func(events.Recorded, error) bool) { yield(events.Recorded{}, broken) }, "broken"},
		{past{all: append(slices.Clip(p.all[:3]), other)}.events(), "of connection other, and those before of main"},
	} {
		if _, err := whatif.Learn(tt.events, time.Time{}, time.Time{}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Learn = %v, want %q", err, tt.want)
		}
	}
	if _, err := whatif.Learn(p.events(), time.Time{}, scenario.Dawn.Add(-time.Hour)); err == nil || !strings.Contains(err.Error(), "no events") {
		t.Errorf("Learn of what was before the log = %v", err)
	}
	policy := p.policy
	policy.HeartbeatEvery = 0
	if _, err := learn(t, p, time.Time{}).Play(policy, whatif.Late, nil); err == nil || !strings.Contains(err.Error(), "heartbeat") {
		t.Errorf("Play with no policy = %v", err)
	}
}
