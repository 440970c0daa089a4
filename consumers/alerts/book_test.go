package alerts

import (
	"slices"
	"strings"
	"testing"
	"time"

	"ibconn/consumers/incidents"
	"ibconn/events"
)

const (
	s = time.Second
	m = time.Minute
	h = time.Hour
)

func inWindow(i *incidents.Incident) { i.Window = "restart" }

func onlyDegraded(i *incidents.Incident) { i.Worst = events.ConditionDegraded }

func waitsForLogin(i *incidents.Incident) { i.Attribution = events.AttributionLogin }

func closedAt(after time.Duration) func(*incidents.Incident) {
	return func(i *incidents.Incident) { i.ClosedAt = midnight.Add(after) }
}

func TestWhatIsTold(t *testing.T) {
	const outageRule = ops + `rules: [{name: outage, on: incident, severity: page, after: 2m`
	for _, test := range []struct {
		name  string
		rules string
		all   []happened
		away  func(string, time.Time) bool
		want  []string
	}{
		{
			name: "a blip tells nobody", rules: outageRule + `}]`,
			all: []happened{at(1*h, incidents.Opened, outage(1*h, nil)), at(1*h+119*s, incidents.Closed, outage(1*h, nil))},
		},
		{
			name: "nor one of which it is told after it would have been told that it is over", rules: outageRule + `}]`,
			all: []happened{
				at(1*h, incidents.Opened, outage(1*h, nil)), stands(1*h+s, events.ConditionDown, 1*h, 3*h),
				stands(1*h+110*s, events.ConditionHealthy, 1*h+110*s, 3*h),
				at(1*h+140*s, incidents.Closed, outage(1*h, closedAt(1*h+110*s))),
			},
		},
		{
			name: "trouble that comes back before it counts as over is told at once", rules: outageRule + `}]`,
			all: []happened{
				at(1*h, incidents.Opened, outage(1*h, nil)), stands(1*h+s, events.ConditionDown, 1*h, 3*h),
				stands(1*h+110*s, events.ConditionHealthy, 1*h+110*s, 3*h),
				stands(1*h+130*s, events.ConditionDown, 1*h+130*s, 3*h),
				at(1*h+300*s, incidents.Closed, outage(1*h, closedAt(1*h+270*s))),
			},
			want: []string{"1h2m10s page opened main-3600", "1h5m0s page resolved main-3600"},
		},
		{
			name: "a status that is out of date hides nothing", rules: outageRule + `}]`,
			all: []happened{
				at(1*h, incidents.Opened, outage(1*h, nil)), stands(1*h+110*s, events.ConditionHealthy, 1*h+110*s, 1*h+130*s),
			},
			want: []string{"1h2m10s page opened main-3600"},
		},
		{
			name: "once it lasted, and once it is over", rules: outageRule + `}]`,
			all: []happened{
				at(1*h, incidents.Opened, outage(1*h, nil)), at(1*h+m, incidents.Updated, outage(1*h, nil)),
				at(1*h+9*m, incidents.Updated, outage(1*h, nil)), at(1*h+10*m, incidents.Closed, outage(1*h, nil)),
				at(1*h+30*m, incidents.Updated, outage(1*h, closedAt(1*h+10*m))),
			},
			want: []string{"1h2m0s page opened main-3600", "1h10m0s page resolved main-3600"},
		},
		{
			name: "updates where they are wanted, the newest", rules: outageRule + `, updates: true}]`,
			all: []happened{
				at(1*h, incidents.Opened, outage(1*h, nil)), at(1*h+m, incidents.Updated, outage(1*h, nil)),
				at(1*h+9*m, incidents.Updated, outage(1*h, nil)), at(1*h+10*m, incidents.Closed, outage(1*h, nil)),
			},
			want: []string{"1h2m0s page opened main-3600", "1h9m0s page updated main-3600", "1h10m0s page resolved main-3600"},
		},
		{
			name: "reminders", rules: outageRule + `, repeat: 1h, resolved: false}]`,
			all:  []happened{at(1*h, incidents.Opened, outage(1*h, nil)), at(3*h+30*m, incidents.Closed, outage(1*h, nil))},
			want: []string{"1h2m0s page opened main-3600", "2h2m0s page reminder main-3600 1", "3h2m0s page reminder main-3600 2"},
		},
		{
			name: "another severity and another wait in a window", rules: outageRule + `, in_window: {severity: warn, after: 15m}}]`,
			all: []happened{
				at(1*h, incidents.Opened, outage(1*h, inWindow)), at(1*h+14*m, incidents.Closed, outage(1*h, inWindow)),
				at(2*h, incidents.Opened, outage(2*h, inWindow)), at(2*h+16*m, incidents.Closed, outage(2*h, inWindow)),
			},
			want: []string{"2h15m0s warn opened main-7200", "2h16m0s warn resolved main-7200"},
		},
		{
			name: "nothing in a window, and no later rule either", rules: outageRule + `, in_window: none}, {name: all, on: incident, severity: info}]`,
			all: []happened{at(1*h, incidents.Opened, outage(1*h, inWindow)), at(2*h, incidents.Closed, outage(1*h, inWindow))},
		},
		{
			name: "what is told is told over, even if it turns out to be of a window", rules: outageRule + `, in_window: none}]`,
			all: []happened{
				at(1*h, incidents.Opened, outage(1*h, nil)), at(1*h+5*m, incidents.Updated, outage(1*h, inWindow)), at(2*h, incidents.Closed, outage(1*h, inWindow)),
			},
			want: []string{"1h2m0s page opened main-3600", "2h0m0s page resolved main-3600"},
		},
		{
			name:  "the first rule that fits, and what becomes worse",
			rules: ops + `rules: [{name: outage, on: incident, worst: down, severity: page, after: 2m}, {name: rest, on: incident, severity: warn, after: 10m}]`,
			all: []happened{
				at(1*h, incidents.Opened, outage(1*h, onlyDegraded)), at(2*h, incidents.Updated, outage(1*h, nil)), at(3*h, incidents.Closed, outage(1*h, nil)),
			},
			want: []string{"1h10m0s warn opened main-3600", "2h2m0s page updated main-3600", "3h0m0s page resolved main-3600"},
		},
		{
			name: "a login is told at once by the rules that there are without any", rules: ops,
			all: []happened{
				at(1*h, incidents.Opened, outage(1*h, inWindow)), at(1*h+3*m, incidents.Updated, outage(1*h, func(i *incidents.Incident) { inWindow(i); waitsForLogin(i) })),
				at(2*h, incidents.Closed, outage(1*h, waitsForLogin)),
			},
			want: []string{"1h3m0s page opened main-3600", "2h0m0s page resolved main-3600"},
		},
		{
			name: "other connections and other faults are none of it", rules: outageRule + `, connections: [paper*], what: link_down}]`,
			all: []happened{at(1*h, incidents.Opened, outage(1*h, nil)), at(3*h, incidents.Closed, outage(1*h, nil))},
		},
		{
			name: "who was away is told both at once", rules: outageRule + `}]`,
			all:  []happened{at(1*h, incidents.Opened, outage(1*h, nil)), at(1*h+20*m, incidents.Closed, outage(1*h, nil))},
			away: func(_ string, now time.Time) bool { return now.Before(midnight.Add(1*h + 30*m)) },
			want: []string{"1h30m* page resolved main-3600 first"},
		},
		{
			name: "who was away is told how it stands", rules: outageRule + `, updates: true}]`,
			all:  []happened{at(1*h, incidents.Opened, outage(1*h, nil)), at(1*h+10*m, incidents.Updated, outage(1*h, nil)), at(1*h+20*m, incidents.Updated, outage(1*h, nil))},
			away: func(_ string, now time.Time) bool { return now.Before(midnight.Add(1*h + 30*m)) },
			want: []string{"1h30m* page opened main-3600"},
		},
		{
			name: "who was away for a day is told of nothing that was over before", rules: outageRule + `}]`,
			all:  []happened{at(1*h, incidents.Opened, outage(1*h, nil)), at(2*h, incidents.Closed, outage(1*h, nil))},
			away: func(_ string, now time.Time) bool { return now.Before(midnight.Add(27 * h)) },
		},
		{
			name: "one receiver that is away holds up no other", away: func(r string, _ time.Time) bool { return r == "ops" },
			rules: "receivers: [{name: ops, url: 'http://127.0.0.1/x'}, {name: second, url: 'http://127.0.0.1/y'}]\nrules: [{name: outage, on: incident, severity: page}]",
			all:   []happened{at(1*h, incidents.Opened, outage(1*h, nil)), at(2*h, incidents.Closed, outage(1*h, nil))},
			want:  []string{"1h0m0s page opened main-3600", "2h0m0s page resolved main-3600"},
		},
		{
			name: "a connector that died, and came back, twice", rules: ops + `rules: [{name: dead, on: silent, severity: page, after: 1m, repeat: 1h}]`,
			all: []happened{
				stands(1*h, events.ConditionHealthy, 1*h, 1*h+25*s), stands(1*h+m, events.ConditionHealthy, 1*h, 1*h+90*s),
				stands(3*h, events.ConditionDown, 3*h, 3*h+25*s), stands(4*h, events.ConditionStopped, 4*h, 0),
			},
			want: []string{
				"1h2m30s page opened main.silent.1767315690000", "2h2m30s page reminder main.silent.1767315690000 1", "3h0m0s page resolved main.silent.1767315690000",
				"3h1m25s page opened main.silent.1767322825000", "4h0m0s page resolved main.silent.1767322825000",
			},
		},
		{
			name:  "a condition, however often it changes",
			rules: ops + `rules: [{name: down, on: condition, condition: [down, stopped], severity: page, after: 10m}, {name: degraded, on: condition, condition: degraded, severity: warn, after: 1h}]`,
			all: []happened{
				stands(1*h, events.ConditionDown, 1*h, 0), stands(1*h+9*m, events.ConditionDegraded, 1*h+9*m, 0), stands(1*h+20*m, events.ConditionHealthy, 1*h+20*m, 0),
				stands(2*h, events.ConditionDown, 2*h, 0), stands(2*h+5*m, events.ConditionStopped, 2*h+5*m, 0), stands(3*h, events.ConditionHealthy, 3*h, 0),
			},
			want: []string{"2h10m0s page opened main.condition.1767319200000", "3h0m0s page resolved main.condition.1767319200000"},
		},
		{
			name: "what began before the start is told after the grace, and what was over is not", rules: outageRule + `}]`,
			all: []happened{
				at(-9*h, incidents.Opened, outage(-9*h, nil)), at(-8*h, incidents.Closed, outage(-9*h, nil)), at(-5*h, incidents.Opened, outage(-5*h, nil)),
			},
			want: []string{"5s page opened main--18000"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			for copies := 1; copies <= 3; copies++ {
				n := newSim(t, config(t, test.rules), copies, slices.Clone(test.all))
				for n.known < len(n.all) && n.all[n.known].at.Before(midnight) {
					n.known++
				}
				n.away = test.away
				n.run(midnight.Add(29 * h))
				got := n.told()
				if len(got) != len(test.want) {
					t.Fatalf("%d copies told %q, want %q", copies, got, test.want)
				}
				for i := range got {
					if !alike(got[i], test.want[i]) {
						t.Errorf("%d copies told %q, want %q", copies, got, test.want)
					}
				}
			}
		})
	}
}

// alike compares with a wanted text in which a time may end in *: the dice of the
// waits decide the rest.
func alike(got, want string) bool {
	gotTime, got, _ := strings.Cut(got, " ")
	wantTime, want, _ := strings.Cut(want, " ")
	minute, anyTime := strings.CutSuffix(wantTime, "*")
	if !anyTime {
		return got == want && gotTime == wantTime
	}
	from, err := time.ParseDuration(minute)
	if err != nil {
		panic(err)
	}
	at, err := time.ParseDuration(gotTime)
	return err == nil && got == want && at >= from && at <= from+mostWait
}

// TestACopyThatIsKilledAnywhereIsGoneOnFrom kills the only copy at each point of
// each delivery, and begins it again.
func TestACopyThatIsKilledAnywhereIsGoneOnFrom(t *testing.T) {
	all := []happened{
		at(1*h, incidents.Opened, outage(1*h, nil)), at(1*h+10*m, incidents.Updated, outage(1*h, nil)), at(2*h+30*m, incidents.Closed, outage(1*h, nil)),
	}
	c := config(t, ops+`rules: [{name: outage, on: incident, severity: page, after: 2m, updates: true, repeat: 1h}]`)
	want := newSim(t, c, 1, slices.Clone(all)).run(midnight.Add(9 * h)).posts
	if len(want) != 4 {
		t.Fatalf("without deaths there are %d alerts, want 4", len(want))
	}
	for _, how := range []death{beforeClaim, beforePost, beforeMark, afterMark} {
		for victim := range len(want) {
			n := newSim(t, c, 1, slices.Clone(all))
			count := 0
			n.dies = func() death {
				if count++; count-1 == victim {
					return how
				}
				return lives
			}
			n.run(midnight.Add(9 * h))
			var ids []string
			for _, a := range n.posts {
				ids = append(ids, a.ID)
			}
			once := slices.Compact(slices.Clone(ids))
			again := len(ids) - len(once)
			wantAgain := 0
			if how == beforeMark { // between the two nobody knows
				wantAgain = 1
			}
			if again != wantAgain {
				t.Errorf("killed at %d of %d: %q, want %d of them twice", how, victim, ids, wantAgain)
			}
			for i, a := range want {
				if i >= len(once) || once[i] != a.ID {
					t.Errorf("killed at %d of %d: %q, want %s in its place", how, victim, ids, a.ID)
				}
			}
		}
	}
}

func TestThatTheBusIsAwayIsToldByWhatIsRemembered(t *testing.T) {
	c := config(t, ops+`rules: [{name: bus, on: bus, severity: page, after: 1m, repeat: 1h}]`)
	n := newSim(t, c, 1, nil)
	n.run(midnight.Add(1 * h))
	for range 2 {
		n.copies[0].Lose(n.now)
		n.look(0)
		n.run(n.now.Add(90 * m))
		n.copies[0].Begin(n.now)
		n.look(0)
		n.run(n.now.Add(m))
		n.copies[0].Lose(n.now) // a blip
		n.look(0)
		n.run(n.now.Add(50 * s))
		n.copies[0].Begin(n.now)
		n.look(0)
		n.run(n.now.Add(m))
	}
	want := []string{
		"1h1m0s page opened bus.0.1", "2h1m0s page reminder bus.0.1 1", "2h30m0s page resolved bus.0.1",
		"2h33m50s page opened bus.0.3", "3h33m50s page reminder bus.0.3 1", "4h2m50s page resolved bus.0.3",
	}
	if got := n.told(); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	if len(n.bus) != 0 {
		t.Errorf("%d records were written, want none", len(n.bus))
	}
	if rules := c.Hosted().Rules; len(rules) != 0 {
		t.Errorf("a run tells by %d of these rules, want none", len(rules))
	}
}

// TestARecordThatCannotBeReadIsReplaced has records that make no sense.
func TestARecordThatCannotBeReadIsReplaced(t *testing.T) {
	all := []happened{at(1*h, incidents.Opened, outage(1*h, nil)), at(2*h, incidents.Closed, outage(1*h, nil))}
	for _, payload := range []string{"", "{}", "nonsense", "null", `{"about":"main-3600","hold_ms":1e18}`, `{"about":"main-3600","hold_ms":-1}`, `{"about":"main-3600","tries":-4}`} {
		n := newSim(t, config(t, ops+`rules: [{name: outage, on: incident, severity: page}]`), 2, slices.Clone(all))
		n.stored = 7
		n.bus["ops.incident.main-3600"] = cell{7, []byte(payload)}
		if got := n.run(midnight.Add(9 * h)).told(); len(got) != 2 {
			t.Errorf("with %q as a record: %q, want it opened and resolved", payload, got)
		}
	}
}

func TestABookForgetsWhatIsOver(t *testing.T) {
	c := config(t, ops+`rules: [{name: outage, on: incident, severity: page}]`)
	var all []happened
	for i := range 500 {
		from := time.Duration(i) * 2 * m
		all = append(all, at(from, incidents.Opened, outage(from, nil)), at(from+m, incidents.Closed, outage(from, nil)))
	}
	n := newSim(t, c, 1, all).run(midnight.Add(20 * h))
	if b := n.copies[0]; len(n.posts) < 900 || len(b.incidents) != 0 || len(b.records) != 0 || len(b.busy) != 0 {
		t.Errorf("after %d alerts of what is over the book has %d incidents, %d records and %d under way", len(n.posts), len(b.incidents), len(b.records), len(b.busy))
	}
}

func TestWaitsGrowAndDiffer(t *testing.T) {
	last := time.Duration(0)
	for tries := 1; tries < 40; tries++ {
		wait := backoff("a", tries)
		if wait < firstWait*3/4 || wait > mostWait || tries < 8 && wait < last {
			t.Errorf("after %d tries it waits %v", tries, wait)
		}
		last = wait
	}
	if backoff("a", 9) == backoff("b", 9) {
		t.Error("two alerts wait alike")
	}
	d := Delivery{Alert: &Alert{ID: "a"}}
	if got := d.Failed(10 * m).Hold.Duration(); got != 10*m {
		t.Errorf("a receiver that asks for ten minutes gets %v", got)
	}
	if got := d.Failed(10 * h).Hold.Duration(); got != maxHold {
		t.Errorf("a receiver that asks for ten hours gets %v", got)
	}
}

func TestAtMostSoMuchIsUnderWayAtOnce(t *testing.T) {
	c := config(t, ops+`rules: [{name: outage, on: incident, severity: page}]`)
	b := NewBook(c, "me")
	for n := range 10 {
		b.AddIncident(outage(time.Duration(n)*m, nil), 1, 1)
	}
	b.Begin(midnight)
	now := midnight.Add(h)
	do, _ := b.Next(now)
	if more, _ := b.Next(now); len(do) != atOnce || len(more) != 0 || do[0].Alert.About != "main-0" {
		t.Fatalf("%d are told, and then %d, want %d, the oldest first, and no more", len(do), len(more), atOnce)
	}
	b.Done(do[1], do[1].Marked(false, now), 1, now)
	if more, _ := b.Next(now); len(more) != 1 || more[0].Alert.About != "main-240" {
		t.Errorf("after one is done these are told: %+v, want the next", more)
	}

	// Who does not know what became of its own claim does not try at every moment.
	if _, err := decodeRecord([]byte(`{"about":"main-0"}`)); err != nil {
		t.Fatal(err)
	}
	b.AddRecord(do[0].Key, 2, []byte(`{"about":"main-0","claimed":"x","by":"me","hold_ms":20000}`), now)
	b.Done(do[0], Record{}, 0, now)
	if more, wake := b.Next(now); len(more) != 1 || more[0].Key == do[0].Key || !wake.Equal(now.Add(afterNoMark)) {
		t.Errorf("a claim that is not known to stand is followed by %+v and looked at again at %v", more, wake)
	}
	b.Done(do[2], do[2].Marked(false, now), 3, now)
	if more, _ := b.Next(now.Add(afterNoMark)); len(more) != 1 || more[0].Key != do[0].Key {
		t.Errorf("a moment later these are told: %+v, want the one that was claimed", more)
	}
}

// TestWhatWasClaimedByOneWhoDiedIsToldOver has nobody know whether it was told.
func TestWhatWasClaimedByOneWhoDiedIsToldOver(t *testing.T) {
	n := newSim(t, config(t, ops+`rules: [{name: outage, on: incident, severity: page, after: 2m}]`), 1, []happened{
		at(1*h, incidents.Opened, outage(1*h, nil)), at(1*h+122*s, incidents.Closed, outage(1*h, nil)),
	})
	dead := false
	n.dies = func() death {
		if dead {
			return lives
		}
		dead = true
		return beforePost
	}
	n.run(midnight.Add(2 * h))
	if got := n.told(); len(got) != 1 || !strings.HasSuffix(got[0], "page resolved main-3600 first") {
		t.Errorf("told %q, want both at once", got)
	}
}

// TestAStartIsNoAlarm begins a copy, as a run does, long after the last word of a
// connector that is about to begin too.
func TestAStartIsNoAlarm(t *testing.T) {
	n := newSim(t, config(t, ops+`rules: [{name: dead, on: silent, severity: page, after: 1m}]`), 1, []happened{
		stands(-5*h, events.ConditionHealthy, -5*h, -5*h+30*s), stands(50*s, events.ConditionDown, 50*s, 80*s), stands(90*s, events.ConditionHealthy, 90*s, 0),
	})
	n.known = 1
	if got := n.run(midnight.Add(2 * h)).told(); len(got) != 0 {
		t.Errorf("told %q, want nothing", got)
	}
	n = newSim(t, n.config, 1, n.all[:1])
	n.known = 1
	if got := n.run(midnight.Add(2 * h)).told(); len(got) != 1 || !strings.HasPrefix(got[0], "1m0s page opened main.silent.") {
		t.Errorf("told %q, want that it stays silent, after a minute", got)
	}
}
