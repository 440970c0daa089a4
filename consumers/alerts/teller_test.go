package alerts_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"ibconn/bus"
	"ibconn/consumers/alerts"
	"ibconn/consumers/incidents"
	"ibconn/consumers/status"
	"ibconn/events"
	"ibconn/testenv"
)

var _ alerts.Bus = (*bus.Alerts)(nil)

// hooks are the receivers: a network of their own.
type hooks struct {
	mu    sync.Mutex
	got   []string // "host state about"
	keys  []string
	reply func(host string, n int) (code int, retryAfter string) // nil takes everything
	seen  int
	hang  map[string]bool // hosts that never answer
}

func (h *hooks) RoundTrip(q *http.Request) (*http.Response, error) {
	var a alerts.Alert
	body, err := io.ReadAll(q.Body)
	if err == nil {
		err = json.Unmarshal(body, &a)
	}
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	hang := h.hang[q.URL.Host]
	h.mu.Unlock()
	if hang {
		<-q.Context().Done()
		return nil, q.Context().Err()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen++
	code, after := http.StatusOK, ""
	if h.reply != nil {
		code, after = h.reply(q.URL.Host, h.seen)
	}
	if code == http.StatusOK {
		h.got = append(h.got, fmt.Sprintf("%s %s %s", q.URL.Host, a.State, a.About))
		h.keys = append(h.keys, q.Header.Get(alerts.HeaderIdempotencyKey))
	}
	return &http.Response{
		StatusCode: code, Status: http.StatusText(code), Header: http.Header{"Retry-After": {after}}, Body: io.NopCloser(strings.NewReader("ok")), Request: q,
	}, nil
}

func (h *hooks) told() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.got)
}

// world is a bus with what alerts follow from.
type world struct {
	*testing.T
	dir       string
	server    *bus.Server
	nc        *nats.Conn
	incidents *bus.Incidents
	statuses  *bus.Statuses
	hooks     *hooks
	position  uint64
}

func open(t *testing.T) *world {
	w := &world{T: t, dir: t.TempDir(), hooks: &hooks{hang: make(map[string]bool)}}
	w.up()
	return w
}

func (w *world) up() {
	w.Helper()
	var err error
	if w.server, err = bus.Open(bus.ServerOptions{StoreDir: w.dir}); err != nil {
		w.Fatal(err)
	}
	if w.nc, err = w.server.Connect(w.Name()); err != nil {
		w.Fatal(err)
	}
	if _, err = bus.OpenLog(w.Context(), w.nc, bus.LogOptions{}); err != nil {
		w.Fatal(err)
	}
	if w.incidents, err = bus.OpenIncidents(w.Context(), w.nc, bus.IncidentOptions{}); err != nil {
		w.Fatal(err)
	}
	if w.statuses, err = bus.OpenStatuses(w.Context(), w.nc); err != nil {
		w.Fatal(err)
	}
}

func (w *world) close() {
	w.Helper()
	w.nc.Close()
	if err := w.server.Close(); err != nil {
		w.Error(err)
	}
}

const rules = `receivers: [{name: ops, url: 'http://ops.test/x'}, {name: second, url: 'http://second.test/y'}]
rules:
  - {name: outage, on: incident, severity: page, after: 2m, repeat: 1h}
  - {name: dead, on: silent, severity: page, after: 1m}
`

func (w *world) config(text string) *alerts.Config {
	w.Helper()
	c, err := alerts.Parse("alerts.yml", []byte(text), alerts.Surroundings{})
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// tell runs a copy, whose bus may be another than the real one.
func (w *world) tell(name, text string, through func(alerts.Bus) alerts.Bus) (end func()) {
	w.Helper()
	nc, err := w.server.Connect(name)
	if err != nil {
		w.Fatal(err)
	}
	// Expiry cannot be tested in a bubble, see testenv.
	real, err := bus.NewAlerts(nc, bus.AlertOptions{Keep: -1})
	if err != nil {
		w.Fatal(err)
	}
	var b alerts.Bus = real
	if through != nil {
		b = through(real)
	}
	t := &alerts.Teller{Config: w.config(text), Bus: b, Instance: name, Client: alerts.NewClient(w.hooks)}
	ctx, cancel := context.WithCancel(w.Context())
	ended := make(chan error, 1)
	go func() { ended <- t.Run(ctx) }()
	return func() {
		w.Helper()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			w.Errorf("Run = %v, want that its context ended", err)
		}
		nc.Close()
	}
}

func (w *world) change(kind incidents.Kind, i incidents.Incident) {
	w.Helper()
	i.AsOf = time.Now()
	if kind == incidents.Closed {
		i.State, i.ClosedAt = incidents.StateClosed, time.Now()
	}
	payload, err := json.Marshal(i)
	if err != nil {
		w.Fatal(err)
	}
	w.position++
	_, err = w.incidents.Publish(w.Context(), bus.IncidentChange{Connection: "main", Incident: i.ID, Kind: string(kind), Sequence: w.position, Part: 1, Payload: payload})
	if err != nil {
		w.Fatal(err)
	}
}

func outage(id string) incidents.Incident {
	return incidents.Incident{
		ID: id, Connection: "main", State: incidents.StateOpen, OpenedAt: time.Now(), Worst: events.ConditionDown,
		Root: incidents.Step{What: incidents.SessionLost, Words: "the gateway reset the connection"},
	}
}

// says keeps a status that is stale after a while.
func (w *world) says(c events.Condition, after time.Duration) {
	w.Helper()
	w.position++
	d := status.Document{Connection: "main", StreamSeq: w.position, AsOf: time.Now(), Since: time.Now(), StaleAfter: time.Now().Add(after)}
	d.Phase, d.Condition = events.PhaseReady, c
	payload, err := json.Marshal(d)
	if err != nil {
		w.Fatal(err)
	}
	if err := w.statuses.Put(w.Context(), "main", w.position, payload); err != nil {
		w.Fatal(err)
	}
}

func (w *world) wants(want ...string) {
	w.Helper()
	synctest.Wait()
	got := w.hooks.told()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.Errorf("told %q, want %q", got, want)
	}
	w.hooks.mu.Lock()
	w.hooks.got = nil
	w.hooks.mu.Unlock()
}

func TestTwoCopiesTellOnceOverRestarts(t *testing.T) {
	testenv.Bubble(t, func(t *testing.T) {
		w := open(t)
		defer w.close()
		past := outage("main-1")
		w.change(incidents.Opened, past)
		time.Sleep(time.Hour)
		w.change(incidents.Closed, past)

		endOne, endTwo := w.tell("one", rules, nil), w.tell("two", rules, nil)
		time.Sleep(time.Minute)
		blip := outage("main-2")
		w.change(incidents.Opened, blip)
		time.Sleep(time.Minute)
		w.change(incidents.Closed, blip)
		time.Sleep(time.Hour)
		w.wants()

		real := outage("main-3")
		w.change(incidents.Opened, real)
		time.Sleep(119 * time.Second)
		w.wants()
		time.Sleep(2 * time.Second)
		w.wants("ops.test opened main-3", "second.test opened main-3")
		endOne()
		endOne = w.tell("three", rules, nil)
		time.Sleep(30 * time.Minute)
		w.wants()
		endOne()
		endTwo()
		time.Sleep(10 * time.Minute)
		w.change(incidents.Updated, real)
		endOne, endTwo = w.tell("four", rules, nil), w.tell("five", rules, nil)
		time.Sleep(10 * time.Minute)
		w.wants()
		time.Sleep(11 * time.Minute)
		w.wants("ops.test reminder main-3", "second.test reminder main-3")
		w.change(incidents.Closed, real)
		time.Sleep(time.Minute)
		w.wants("ops.test resolved main-3", "second.test resolved main-3")
		endOne()
		endTwo()
		endOne = w.tell("six", rules, nil)
		time.Sleep(2 * time.Hour)
		w.wants()
		endOne()
		if keys := w.hooks.keys; len(keys) != len(slices.Compact(slices.Sorted(slices.Values(keys)))) {
			t.Errorf("the keys are %q, want each once", keys)
		}
	})
}

func TestAConnectorThatDiesIsTold(t *testing.T) {
	testenv.Bubble(t, func(t *testing.T) {
		w := open(t)
		defer w.close()
		end := w.tell("one", rules, nil)
		for range 20 {
			w.says(events.ConditionHealthy, 30*time.Second)
			time.Sleep(15 * time.Second)
		}
		w.wants()
		time.Sleep(74 * time.Second)
		w.wants()
		time.Sleep(2 * time.Second)
		about := fmt.Sprint("main.silent.", time.Date(2000, 1, 1, 0, 5, 15, 0, time.UTC).UnixMilli())
		w.wants("ops.test opened "+about, "second.test opened "+about)
		w.says(events.ConditionHealthy, 0)
		time.Sleep(time.Second)
		w.wants("ops.test resolved "+about, "second.test resolved "+about)
		end()
	})
}

// dying is a bus whose process is killed around one of its writes.
type dying struct {
	alerts.Bus
	mu   sync.Mutex
	n    int // writes until then
	late bool
	dead bool
}

var errDead = errors.New("dead")

func (d *dying) Put(ctx context.Context, key string, revision uint64, record []byte) (uint64, error) {
	d.mu.Lock()
	d.n--
	dies := d.n == 0
	if dies && !d.late {
		d.dead = true
	}
	dead := d.dead
	d.mu.Unlock()
	if dead {
		<-ctx.Done()
		return 0, errDead
	}
	revision, err := d.Bus.Put(ctx, key, revision, record)
	if dies {
		d.mu.Lock()
		d.dead = true
		d.mu.Unlock()
		<-ctx.Done()
		return 0, errDead
	}
	return revision, err
}

// TestAProcessThatIsKilledAroundAnyWriteIsGoneOnFrom kills it before and after the
// claim and before and after the mark of each of two alerts.
func TestAProcessThatIsKilledAroundAnyWriteIsGoneOnFrom(t *testing.T) {
	const one = "receivers: [{name: ops, url: 'http://ops.test/x'}]\nrules: [{name: outage, on: incident, severity: page, after: 2m}]"
	for write := 1; write <= 4; write++ {
		for _, late := range []bool{false, true} {
			testenv.Bubble(t, func(t *testing.T) {
				w := open(t)
				defer w.close()
				end := w.tell("victim", one, func(b alerts.Bus) alerts.Bus { return &dying{Bus: b, n: write, late: late} })
				time.Sleep(10 * time.Second)
				i := outage("main-3")
				w.change(incidents.Opened, i)
				time.Sleep(10 * time.Minute)
				if write > 2 {
					w.change(incidents.Closed, i)
					time.Sleep(10 * time.Second)
				}
				end()
				end = w.tell("heir", one, nil)
				time.Sleep(5 * time.Minute)
				if write <= 2 {
					w.change(incidents.Closed, i)
				}
				time.Sleep(5 * time.Minute)
				want := []string{"ops.test opened main-3", "ops.test resolved main-3"}
				if write%2 == 0 && !late { // it was taken, and that is not on record
					want = append(want, want[write/2-1])
				}
				w.wants(want...)
				if keys := slices.Compact(slices.Clone(w.hooks.keys)); !slices.Equal(keys, []string{"ops.main-3.opened", "ops.main-3.resolved"}) {
					t.Errorf("killed around write %d, late %v: the keys are %q", write, late, w.hooks.keys)
				}
				end()
			})
		}
	}
}

func TestAReceiverThatIsAwayHoldsUpNoOther(t *testing.T) {
	testenv.Bubble(t, func(t *testing.T) {
		w := open(t)
		defer w.close()
		w.hooks.hang["ops.test"] = true
		end := w.tell("one", rules, nil)
		time.Sleep(10 * time.Second)
		var all []incidents.Incident
		for n := range 10 {
			all = append(all, outage(fmt.Sprint("main-", n)))
			w.change(incidents.Opened, all[n])
		}
		time.Sleep(2*time.Minute + time.Second)
		var second []string
		for n := range 10 {
			second = append(second, fmt.Sprint("second.test opened main-", n))
		}
		w.wants(second...)
		time.Sleep(10 * time.Minute)
		for n := range 9 {
			w.change(incidents.Closed, all[n])
		}
		time.Sleep(time.Minute)
		w.hooks.mu.Lock()
		w.hooks.hang["ops.test"], w.hooks.got = false, nil
		w.hooks.mu.Unlock()
		time.Sleep(10 * time.Minute)
		want := []string{"ops.test opened main-9"}
		for n := range 9 {
			want = append(want, fmt.Sprint("ops.test resolved main-", n))
		}
		w.wants(want...)
		end()
	})
}

func TestAReceiverIsAskedAgainWhenItSays(t *testing.T) {
	testenv.Bubble(t, func(t *testing.T) {
		w := open(t)
		defer w.close()
		var asked []time.Time
		w.hooks.reply = func(_ string, n int) (int, string) {
			asked = append(asked, time.Now())
			if n < 4 {
				return http.StatusTooManyRequests, "600"
			}
			return http.StatusOK, ""
		}
		const one = "receivers: [{name: ops, url: 'http://ops.test/x'}]\nrules: [{name: outage, on: incident, severity: page}]"
		endOne, endTwo := w.tell("one", one, nil), w.tell("two", one, nil)
		time.Sleep(10 * time.Second)
		w.change(incidents.Opened, outage("main-3"))
		time.Sleep(time.Hour)
		w.wants("ops.test opened main-3")
		if len(asked) != 4 || asked[1].Sub(asked[0]) < 10*time.Minute || asked[3].Sub(asked[2]) > 11*time.Minute {
			t.Errorf("it was asked at %v, want every ten minutes", asked)
		}
		endOne()
		endTwo()
	})
}

func TestWhatIsRefusedIsNotTriedAgain(t *testing.T) {
	testenv.Bubble(t, func(t *testing.T) {
		w := open(t)
		defer w.close()
		w.hooks.reply = func(host string, _ int) (int, string) {
			if host == "ops.test" {
				return http.StatusNotFound, ""
			}
			return http.StatusOK, ""
		}
		end := w.tell("one", rules, nil)
		time.Sleep(10 * time.Second)
		i := outage("main-3")
		w.change(incidents.Opened, i)
		time.Sleep(30 * time.Minute)
		w.change(incidents.Closed, i)
		time.Sleep(30 * time.Minute)
		w.wants("second.test opened main-3", "second.test resolved main-3")
		if w.hooks.seen != 4 {
			t.Errorf("there were %d requests, want 4", w.hooks.seen)
		}
		end()
	})
}

// fickle is a bus that is away when it is told so.
type fickle struct {
	alerts.Bus
	mu   sync.Mutex
	away bool
}

func (f *fickle) set(away bool) { f.mu.Lock(); defer f.mu.Unlock(); f.away = away }

func (f *fickle) Connected() bool { f.mu.Lock(); defer f.mu.Unlock(); return !f.away }

func TestABusThatIsAwayIsTold(t *testing.T) {
	testenv.Bubble(t, func(t *testing.T) {
		w := open(t)
		defer w.close()
		f := &fickle{away: true}
		end := w.tell("one", "receivers: [{name: ops, url: 'http://ops.test/x'}]\nrules: [{name: bus, on: bus, severity: page, after: 1m}]", func(b alerts.Bus) alerts.Bus {
			f.Bus = b
			return f
		})
		time.Sleep(59 * time.Second)
		w.wants()
		time.Sleep(2 * time.Second)
		w.wants("ops.test opened bus.0.1")
		f.set(false)
		time.Sleep(3 * time.Second)
		w.wants("ops.test resolved bus.0.1")
		f.set(true)
		time.Sleep(50 * time.Second)
		f.set(false)
		time.Sleep(time.Minute)
		w.wants()
		end()
	})
}
