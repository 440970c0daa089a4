package dashboard

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"ibconn/bus"
	"ibconn/consumers/incidents"
	"ibconn/events"
	"ibconn/testenv/scenario"
	"ibconn/testenv/scenario/endtoend"
)

// night is a scenario's world whose events are looked at as it ends.
type night struct {
	scenario.World
	look func(now time.Time, wires [][]byte)
}

func (n night) End() {
	n.look(n.Now(), n.Wires())
	n.World.End()
}

// eachNight plays all scenarios, and as many nights by dice.
func eachNight(t *testing.T, look func(t *testing.T, now time.Time, all []bus.Entry)) {
	stage := func(t *testing.T) scenario.Stage {
		s := endtoend.Stage(176, endtoend.InMemory())
		open := s.Open
		s.Open = func(tb testing.TB, setup scenario.Setup) scenario.World {
			return night{open(tb, setup), func(now time.Time, wires [][]byte) {
				var all []bus.Entry
				for n, wire := range wires {
					r, err := events.Decode(wire)
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, bus.Entry{Recorded: r, StreamSeq: uint64(n + 1)})
				}
				look(t, now, all)
			}}
		}
		return s
	}
	scenario.Each(t, "../../connector/testdata/scenarios/*.txt", func(t *testing.T, file string) { stage(t).Play(t, file) })
	for seed := uint64(1); seed <= 20; seed++ {
		t.Run(fmt.Sprint("Seed", seed), func(t *testing.T) { stage(t).Tell(t, fmt.Sprint("seed ", seed), scenario.Night(seed)) })
	}
}

func TestWhatIsShownIsTheStateAtEachStep(t *testing.T) {
	eachNight(t, func(t *testing.T, now time.Time, all []bus.Entry) {
		restarts(t, now, all)
		var m Model
		state := events.NewState("main")
		var fold incidents.Fold
		for _, e := range all {
			m.Add(e)
			state = state.Apply(e.Recorded)
			fold.Add(e.Recorded)
			c := m.connections["main"]
			if !reflect.DeepEqual(c.state, state) || c.position != e.StreamSeq || !c.lastAt.Equal(e.Time) {
				t.Fatalf("after event %d it is at %d, in %s, want the fold", e.StreamSeq, c.position, c.state.Phase)
			}
			_, began := e.Event.(*events.EpochBegan)
			marks := [...]mark{c.condition.now(), c.session.now(), c.link.now(), c.farms.now(), c.data.now()}
			worst, _ := farmsOf(state)
			data, _ := subscriptionsOf(state)
			want := [...]mark{conditionOf(state), sessionOf(state), linkOf(state), worst, data}
			if began && c.unheard {
				want = [...]mark{conditionUnheard, sessionUnheard, 0, 0, 0}
			}
			if began && !c.unheard {
				continue // it is to say how it is
			}
			if marks != want {
				t.Fatalf("after event %d, %s, the lanes end with %v, want %v", e.StreamSeq, e.Event.Type(), marks, want)
			}
			for f, l := range c.farm {
				if l.now() != farmOf(state.Farm(f)) && !c.unheard {
					t.Fatalf("after event %d the lane of %v ends with %d", e.StreamSeq, f, l.now())
				}
			}
		}
		c := m.connections["main"]
		if got, want := c.incidents(), fold.Incidents(); len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("the incidents are %+v, want %+v", got, want)
		}
		for _, l := range []*lane{&c.condition, &c.session, &c.link, &c.farms, &c.data} {
			for n := 1; n < len(l.all); n++ {
				if l.all[n].at < l.all[n-1].at || l.all[n].mark == l.all[n-1].mark {
					t.Errorf("a lane goes from %+v to %+v", l.all[n-1], l.all[n])
				}
			}
		}
		shown := m.overview(now).Connections[0]
		if shown.Sequence != state.Sequence || shown.Condition != conditionWords[conditionOf(state)] || shown.Session.word != sessionWords[sessionOf(state)] || len(shown.Reasons) != len(state.Reasons) {
			t.Errorf("it is shown as %+v, in state %+v", shown, state.Standing)
		}
	})
}

// restarts checks that a reader that begins anew has the same to show as one that was
// asked on the way.
func restarts(t *testing.T, now time.Time, all []bus.Entry) {
	t.Helper()
	var one, other Model
	for n, e := range all {
		one.Add(e)
		if n%7 == 0 { // what is asked for changes nothing
			shown(t, &one, now)
		}
	}
	for _, e := range all {
		other.Add(e)
	}
	if a, b := shown(t, &one, now), shown(t, &other, now); a != b {
		t.Errorf("one shows\n%s\nand the other\n%s", a, b)
	}
}

// shown is all that a model shows.
func shown(t *testing.T, m *Model, now time.Time) string {
	t.Helper()
	q := query{connection: "main", from: now.Add(-24 * time.Hour).UnixMilli(), to: now.UnixMilli(), pieces: 300, limit: 500}
	b, err := json.Marshal([]any{m.overview(now), m.timeline(q, q.to), m.pulse(q), m.incidents(q), m.tail(q), m.news(0)})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAFlappingFarmTakesNoMoreThanItMay(t *testing.T) {
	var m Model
	state := events.NewState("main")
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	position := uint64(0)
	tell := func(at time.Time, e events.Event) {
		position++
		r := events.Recorded{Connection: "main", Time: at, Sequence: position, Epoch: 1, Event: e}
		state = state.Apply(r)
		if s, ok := e.(events.StateEvent); ok {
			*s.After() = state.Standing
		}
		m.Add(bus.Entry{Recorded: r, StreamSeq: position})
	}
	farm := func(name string) events.Farm { return events.Farm{Kind: events.FarmMarketData, Name: name} }
	tell(start, &events.SessionOpened{Attempt: 1, NextProbeAt: start.Add(time.Hour), AnswerBy: start.Add(30 * 24 * time.Hour)})
	at := start
	const flaps = 150_000 // eight days
	for n := range flaps {
		at = at.Add(4600 * time.Millisecond)
		to := events.FarmDown
		if n%2 == 1 {
			to = events.FarmUp
		}
		tell(at, &events.FarmChanged{Attempt: 1, Farm: farm("usfarm"), From: events.FarmUnknown, To: to, Code: 2103})
		tell(at, &events.HeartbeatAnswered{Attempt: 1, Number: uint64(n + 1), RTT: 12, NextProbeAt: at.Add(time.Hour), AnswerBy: at.Add(2 * time.Hour)})
	}
	for n := range 300 { // and a gateway that makes names up
		tell(at, &events.FarmChanged{Attempt: 1, Farm: farm(fmt.Sprint("farm", n)), From: events.FarmUnknown, To: events.FarmUp, Code: 2104})
	}
	c := m.connections["main"]
	for name, l := range map[string]*lane{"condition": &c.condition, "farms": &c.farms, "usfarm": c.farm[farm("usfarm")]} {
		if n := len(l.all); n > maxSegments || cap(l.all) > 4*maxSegments {
			t.Errorf("the lane %s has %d segments, room for %d, want %d at most", name, n, cap(l.all), maxSegments)
		}
		// Of each stretch the worst is left, so that the flapping farm was down all week.
		q := l.between(at.Add(-week).UnixMilli(), at.Add(-time.Hour).UnixMilli(), 200)
		if len(q) > 2*200+2 || len(q) == 0 {
			t.Errorf("the lane %s is drawn with %d segments, want 402 at most", name, len(q))
		}
		for _, s := range q {
			if (name == "usfarm" || name == "farms") && s.mark != farmDown && s.times > 1 {
				t.Errorf("the lane %s says %+v of a stretch with changes", name, s)
			}
		}
	}
	if len(c.farm) > maxFarms || len(c.lines.all) > 2*maxLines || len(m.recent.all) > 2*maxRecent || len(c.beats.fresh) > 2*maxBeats || len(c.beats.minutes) > 2*maxMinutes || len(c.spans) > 2*maxIncidents {
		t.Errorf("it keeps %d farms, %d and %d lines, %d beats, %d minutes, %d spans", len(c.farm), len(c.lines.all), len(m.recent.all), len(c.beats.fresh), len(c.beats.minutes), len(c.spans))
	}
	b := shown(t, &m, at)
	t.Logf("%d events, shown in %d bytes", position, len(b))
	if len(b) > 3<<20 {
		t.Errorf("it is shown in %d bytes", len(b))
	}
	for n := range 2 * maxConnections {
		m.Add(bus.Entry{Recorded: events.Recorded{Connection: events.ConnectionID(fmt.Sprint("made-up-", n)), Time: at, Sequence: 1, Epoch: 1, Event: &events.EpochBegan{Instance: "x", PID: 1}}, StreamSeq: position + uint64(n) + 1})
	}
	if o := m.overview(at); len(o.Connections) != maxConnections || o.More == 0 {
		t.Errorf("%d connections are shown and %d more counted, want %d at most", len(o.Connections), o.More, maxConnections)
	}
}

// at is the mark of some segments at a time.
func at(all []segment, when int64) mark {
	m := mark(0)
	for _, s := range all {
		if s.at <= when {
			m = s.mark
		}
	}
	return m
}

func TestPuttingSegmentsTogetherLosesNothingBad(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var all []segment
		end := int64(0)
		for n := 1 + dice.IntN(60); n > 0; n-- {
			m := mark(dice.IntN(5))
			if len(all) > 0 && all[len(all)-1].mark == m {
				continue
			}
			all = append(all, segment{at: end, mark: m, times: 1})
			end += 1 + dice.Int64N([]int64{3, 50, 1000}[dice.IntN(3)])
		}
		grain := 1 + dice.Int64N(200)
		thinned := thin(append([]segment(nil), all...), end, grain)
		if most := int(2*end/grain) + 2; len(thinned) > most {
			t.Fatalf("%d segments are left of %v by grains of %d, want %d at most", len(thinned), all, grain, most)
		}
		if thinned[0].at != all[0].at {
			t.Fatalf("%v begins later than %v", thinned, all)
		}
		var times int
		for n, s := range thinned {
			times += int(s.times)
			if n > 0 && (s.at <= thinned[n-1].at || s.mark == thinned[n-1].mark) {
				t.Fatalf("%v is not in order", thinned)
			}
		}
		if times != len(all) {
			t.Fatalf("%v stand for %d of %d", thinned, times, len(all))
		}
		for n, s := range all {
			until := end
			if n+1 < len(all) {
				until = all[n+1].at
			}
			for _, when := range []int64{s.at, until - 1} {
				if at(thinned, when) < s.mark {
					t.Fatalf("at %d it was %d, and is shown as %d: %v of %v", when, s.mark, at(thinned, when), thinned, all)
				}
			}
			if until-s.at > grain && at(thinned, (s.at+until)/2) != s.mark {
				t.Fatalf("a long stretch of %d is shown as %d", s.mark, at(thinned, (s.at+until)/2))
			}
		}
	}
}

func TestHeartbeatsAddUp(t *testing.T) {
	dice := rand.New(rand.NewPCG(3, 4))
	var b beats
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	from := at
	answered, missed := 0, 0
	for range 60_000 {
		at = at.Add(10 * time.Second)
		if dice.IntN(10) == 0 {
			b.add(at, 0, true)
			missed++
			continue
		}
		b.add(at, 1+dice.Float32()*20, false)
		answered++
	}
	for _, pieces := range []int{10, 333, 1200} {
		gotAnswered, gotMissed := 0, 0
		all := b.between(from.UnixMilli(), at.Add(time.Minute).UnixMilli(), pieces)
		for n, m := range all {
			gotAnswered, gotMissed = gotAnswered+int(m.answered), gotMissed+int(m.missed)
			if m.answered > 0 && (m.least > m.most || m.sum < m.least*float32(m.answered)*.99 || m.sum > m.most*float32(m.answered)*1.01) || n > 0 && m.at <= all[n-1].at {
				t.Fatalf("a stretch is %+v", m)
			}
		}
		if len(all) > pieces+1 || gotAnswered != answered || gotMissed != missed {
			t.Errorf("%d pieces of %d have %d answered and %d missed, want %d and %d", len(all), pieces, gotAnswered, gotMissed, answered, missed)
		}
	}
	if fine := b.between(at.Add(-time.Hour).UnixMilli(), at.UnixMilli(), 1200); len(fine) != 360 {
		t.Errorf("the last hour has %d heartbeats of their own, want 360", len(fine))
	}
	if old := b.between(at.Add(-50*time.Hour).UnixMilli(), at.Add(-49*time.Hour).UnixMilli(), 1200); len(old) != 60 {
		t.Errorf("an hour of before has %d stretches, want one for each of 60 minutes", len(old))
	}
}

func TestAProcessThatDiedIsNotShownAsWell(t *testing.T) {
	var m Model
	t0 := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	position := uint64(0)
	tell := func(at time.Time, e events.Event) {
		position++
		if s, ok := e.(events.StateEvent); ok {
			*s.After() = events.Standing{Phase: events.PhaseReady, Condition: events.ConditionHealthy}
		}
		m.Add(bus.Entry{Recorded: events.Recorded{Connection: "main", Time: at, Sequence: position, Epoch: 1, Event: e}, StreamSeq: position})
	}
	opened := &events.SessionOpened{Attempt: 1, NextProbeAt: t0.Add(15 * time.Second), AnswerBy: t0.Add(20 * time.Second)}
	tell(t0, opened)
	words := func(now time.Time) []string {
		var all []string
		tl := m.timeline(query{connection: "main", from: t0.UnixMilli(), to: now.UnixMilli(), pieces: 100}, now.UnixMilli())
		for _, s := range tl.Lanes[0].Segments {
			all = append(all, fmt.Sprintf("%d %s", s[0], tl.Lanes[0].Words[s[1]].Word))
		}
		return all
	}
	if got := words(t0.Add(30 * time.Second)); !reflect.DeepEqual(got, []string{"0 healthy"}) {
		t.Errorf("soon after it is %q", got)
	}
	if got := words(t0.Add(time.Hour)); !reflect.DeepEqual(got, []string{"0 not heard of"}) {
		t.Errorf("an hour after its last word it is %q", got)
	}
	back := t0.Add(2 * time.Hour)
	tell(back, &events.EpochBegan{Instance: "x", PID: 2, PreviousEpoch: 1, LastEventAt: t0.Add(9 * time.Second)})
	tell(back, &events.SessionLost{Attempt: 1, Cause: events.CauseProcessRestarted, RetryAt: back.Add(time.Second)})
	if got := words(back.Add(time.Second)); !reflect.DeepEqual(got, []string{"0 healthy", "9000 not heard of", "7200000 down"}) {
		t.Errorf("once it is back it was %q", got)
	}
}

func TestWhatIsNoEventMovesThePositionAlone(t *testing.T) {
	var m Model
	m.Add(bus.Entry{Recorded: events.Recorded{Connection: "main", Time: time.Unix(1, 0), Sequence: 1, Epoch: 1, Event: &events.EpochBegan{Instance: "x", PID: 1}}, StreamSeq: 1})
	before := m.news(0)
	moved := m.wait(1)
	m.Skip(2)
	select {
	case <-moved:
	default:
		t.Error("who waits is not told")
	}
	if n := m.news(1); n.Position != 2 || len(n.Lines) > 0 || len(n.Connections) > 0 || n.Reset {
		t.Errorf("it is told as %+v", n)
	}
	if n := m.news(0); len(n.Lines) != len(before.Lines) || n.Position != 2 {
		t.Errorf("with it the news are %+v, want %+v", n, before)
	}
}
