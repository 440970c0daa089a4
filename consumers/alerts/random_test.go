package alerts

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"ibconn/consumers/incidents"
	"ibconn/events"
)

const randomRules = `receivers: [{name: ops, url: 'http://127.0.0.1/x'}, {name: second, url: 'http://127.0.0.1/y'}]
rules:
  - {name: login, on: incident, attribution: login, severity: page, to: ops}
  - {name: outage, on: incident, worst: down, severity: page, after: 2m, repeat: 30m, in_window: {severity: warn, after: 15m}, updates: true}
  - {name: rest, on: incident, severity: warn, after: 10m, in_window: none, to: ops}
  - {name: dead, on: silent, severity: page, after: 1m}
  - {name: down, on: condition, condition: [down, degraded], severity: info, after: 5m, to: second}
`

// randomNight is what dice make of six hours of three connections.
func randomNight(roll func(int) int) []happened {
	var all []happened
	for _, c := range []events.ConnectionID{"one", "two", "three"} {
		when := time.Duration(roll(600)) * s
		for when < 6*h {
			i := outage(when, nil)
			i.ID, i.Connection = fmt.Sprintf("%s-%d", c, when/s), c
			if roll(2) == 0 {
				i.Worst = events.ConditionDegraded
			}
			if roll(4) == 0 {
				i.Window = "restart"
			}
			add := func(kind incidents.Kind) {
				x := at(when, kind, i)
				all = append(all, x)
				condition := i.Worst
				if kind == incidents.Closed {
					condition = events.ConditionHealthy
				}
				st := stands(when, condition, when, when+time.Duration(20+roll(600))*s)
				st.status.Connection = c
				all = append(all, st)
			}
			add(incidents.Opened)
			for range roll(4) {
				when += time.Duration(1+roll(900)) * s
				switch roll(4) {
				case 0:
					i.Worst = events.ConditionDown
				case 1:
					i.Attribution = events.AttributionLogin
				case 2:
					i.Window = "restart"
				}
				add(incidents.Updated)
			}
			when += time.Duration(1+roll(1200)) * s
			add(incidents.Closed)
			when += time.Duration(1+roll(3000)) * s
		}
	}
	return all
}

// TestWhatHoldsOfEveryNight plays nights that dice make up to copies that die, and
// to receivers that are away.
func TestWhatHoldsOfEveryNight(t *testing.T) {
	c := config(t, randomRules)
	nights, posts, firsts, twice := 80, 0, 0, 0
	if testing.Short() {
		nights = 20
	}
	for seed := range nights {
		rolls := rand.New(rand.NewPCG(uint64(seed), 9))
		roll := rolls.IntN
		all := randomNight(roll)
		n := newSim(t, c, 1+roll(3), all)
		awayFrom, awayFor := time.Duration(roll(360))*m, time.Duration(roll(90))*m
		n.away = func(r string, now time.Time) bool {
			since := now.Sub(midnight.Add(awayFrom))
			return r == "ops" && since >= 0 && since < awayFor
		}
		unmarked := 0
		n.dies = func() death {
			if n.now.After(midnight.Add(7*h)) || roll(20) > 0 {
				return lives
			}
			how := death(1 + roll(4))
			if how == beforeMark {
				unmarked++
			}
			return how
		}
		n.run(midnight.Add(12 * h))
		again, first := checkNight(t, seed, n)
		if again > unmarked {
			t.Errorf("night %d: %d alerts came again, and %d died before they could mark one", seed, again, unmarked)
		}
		checkComplete(t, seed, n)
		posts, firsts, twice = posts+len(n.posts), firsts+first, twice+again
		if t.Failed() {
			for i, text := range n.told() {
				t.Log(n.posts[i].Receiver, text)
			}
			return
		}
	}
	if firsts == 0 || twice == 0 {
		t.Errorf("of %d alerts %d told both at once and %d came again, which shows nothing", posts, firsts, twice)
	}
	t.Logf("%d alerts, %d of them told both at once, %d came again", posts, firsts, twice)
}

// checkNight checks what was posted, and returns how much of that was again, and
// how much both at once.
func checkNight(t *testing.T, seed int, n *sim) (again, firsts int) {
	type thing struct {
		last     Alert
		ids      map[string]bool
		reminder int
	}
	things := make(map[string]*thing)
	for i, a := range n.posts {
		key := a.Receiver + " " + a.About
		k := things[key]
		if k == nil {
			k = &thing{ids: make(map[string]bool)}
			things[key] = k
			if a.State != Opened && !a.First {
				t.Errorf("night %d: the first of %s is %s", seed, key, a.State)
			}
		}
		if a.First {
			firsts++
		}
		if k.ids[a.ID] {
			again++
			continue
		}
		switch {
		case k.last.State == Resolved:
			t.Errorf("night %d: %s of %s after it was told to be over", seed, a.State, key)
		case a.State == Opened && k.last.ID != "":
			t.Errorf("night %d: %s opened after %s", seed, key, k.last.State)
		case a.State == Reminder && a.Reminder != k.reminder+1:
			t.Errorf("night %d: reminder %d of %s after %d", seed, a.Reminder, key, k.reminder)
		case a.Severity == None || a.Rule == "" || a.Title == "" || a.BeganAt.IsZero() || (a.State == Resolved) != !a.EndedAt.IsZero():
			t.Errorf("night %d: %+v", seed, a)
		}
		after := map[string]time.Duration{"outage": 2 * m, "rest": 10 * m, "dead": m, "down": 5 * m}[a.Rule]
		if a.State == Opened && n.when[i].Sub(a.BeganAt) < after {
			t.Errorf("night %d: %s was told %v after it began", seed, key, n.when[i].Sub(a.BeganAt))
		}
		k.reminder = max(k.reminder, a.Reminder)
		k.last, k.ids[a.ID] = a, true
	}
	for key, k := range things {
		if k.last.State != Resolved && k.last.On == OnIncident {
			t.Errorf("night %d: the last of %s is %s, and it is over", seed, key, k.last.State)
		}
	}
	return again, firsts
}

// checkComplete checks that what went on for long after it was due was told.
func checkComplete(t *testing.T, seed int, n *sim) {
	told := make(map[string]bool)
	for _, a := range n.posts {
		told[a.Receiver+" "+a.About] = true
	}
	for _, x := range n.all {
		if x.change == nil || x.change.Kind != incidents.Closed {
			continue
		}
		i := x.change.Incident
		// From the last change on at the latest the outage was due, and a claim of
		// one who died lasts less than a minute.
		last := i.OpenedAt
		for _, y := range n.all {
			if y.change != nil && y.change.Incident.ID == i.ID && y.change.Kind != incidents.Closed && y.at.After(last) {
				last = y.at
			}
		}
		wait := 3 * m
		if i.Window != "" {
			wait = 16 * m
		}
		if i.Worst == events.ConditionDown && i.ClosedAt.Sub(last) > wait {
			for _, r := range []string{"ops", "second"} {
				if !told[r+" "+i.ID] {
					t.Errorf("night %d: %s was never told of %s, which lasted for %v", seed, r, i.ID, i.Duration())
				}
			}
		}
	}
}
