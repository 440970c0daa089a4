package incidents

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ibconn/bus"
	"ibconn/events"
)

func dice(seed int) func(int) int {
	return rand.New(rand.NewPCG(uint64(seed), 1)).IntN
}

// onBus is an embedded bus with a log.
type onBus struct {
	testing.TB
	dir string
	nc  *nats.Conn
	log *bus.Log
}

func newOnBus(tb testing.TB) *onBus {
	b := &onBus{TB: tb, dir: tb.TempDir()}
	server, err := bus.Open(bus.ServerOptions{StoreDir: b.dir})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := server.Close(); err != nil {
			tb.Error(err)
		}
	})
	if b.nc, err = server.Connect(tb.Name()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(b.nc.Close)
	if b.log, err = bus.OpenLog(tb.Context(), b.nc, bus.LogOptions{}); err != nil {
		tb.Fatal(err)
	}
	return b
}

func (b *onBus) store() *bus.Incidents {
	b.Helper()
	s, err := bus.OpenIncidents(b.Context(), b.nc, bus.IncidentOptions{})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// append stores a log.
func (b *onBus) append(c events.ConnectionID, all []events.Recorded) {
	w, err := b.log.Writer(c, b.dir)
	if err != nil {
		b.Error(err)
		return
	}
	for n, r := range all {
		store := w.Append
		if n == 0 {
			store = w.Claim
		}
		if err := store(b.Context(), r); err != nil {
			b.Error(err)
			return
		}
	}
}

// stored returns what is in the stream of incidents.
func (b *onBus) stored() []string {
	b.Helper()
	js, err := jetstream.New(b.nc)
	if err != nil {
		b.Fatal(err)
	}
	stream, err := js.Stream(b.Context(), events.IncidentStream)
	if err != nil {
		b.Fatal(err)
	}
	var all []string
	for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
		m, err := stream.GetMsg(b.Context(), seq)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, m.Subject+" "+string(m.Data))
	}
	return all
}

func expected(t testing.TB, all []events.Recorded) []string {
	var fold Fold
	var want []string
	for _, r := range all {
		for _, c := range fold.Add(r) {
			payload, err := json.Marshal(c.Incident)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, events.IncidentSubject(r.Connection, string(c.Kind))+" "+string(payload))
		}
	}
	return want
}

var errKilled = errors.New("killed")

// mortal is a store whose process dies at its n-th change: before it is stored,
// while it is, or after.
type mortal struct {
	Store
	n     int
	how   int
	kill  context.CancelCauseFunc
	moved chan<- struct{} // gets a token after each change
}

func (m *mortal) Publish(ctx context.Context, c bus.IncidentChange) (bool, error) {
	defer func() {
		select {
		case m.moved <- struct{}{}:
		default:
		}
	}()
	if m.n--; m.n > 0 {
		return m.Store.Publish(ctx, c)
	}
	defer m.kill(errKilled)
	switch m.how {
	case 0:
		return false, errKilled
	case 1:
		dying, die := context.WithCancelCause(ctx)
		go die(errKilled)
		return m.Store.Publish(dying, c)
	}
	return m.Store.Publish(ctx, c)
}

// TestTwoCopiesThatAreKilledPublishEachChangeOnce runs two copies against each
// other, each of which dies again and again, while the log still grows.
func TestTwoCopiesThatAreKilledPublishEachChangeOnce(t *testing.T) {
	b := newOnBus(t)
	one, two := newWritten(t, "one"), newWritten(t, "two")
	nightOf(one, dice(1), 150)
	nightOf(two, dice(2), 150)
	want := map[events.ConnectionID][]string{"one": expected(t, one.all), "two": expected(t, two.all)}
	total := len(want["one"]) + len(want["two"])
	if total < 40 {
		t.Fatalf("%d changes are too few to show anything", total)
	}

	ctx, end := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("not everything was published in a minute"))
	defer end()
	b.store() // so that it is there
	moved := make(chan struct{}, 1)
	var copies sync.WaitGroup
	var deaths [2]int
	for n := range deaths {
		roll := dice(100 + n)
		copies.Go(func() {
			for ctx.Err() == nil {
				store, err := bus.OpenIncidents(ctx, b.nc, bus.IncidentOptions{})
				if err != nil {
					if ctx.Err() == nil {
						t.Error(err)
					}
					return
				}
				living, kill := context.WithCancelCause(ctx)
				k := &Keeper{Log: b.log, Store: &mortal{Store: store, n: 1 + roll(total), how: roll(3), kill: kill, moved: moved}}
				stop := context.AfterFunc(ctx, func() { kill(context.Cause(ctx)) })
				err = k.Run(living)
				stop()
				if kill(nil); errors.Is(err, errKilled) {
					deaths[n]++
				}
			}
		})
	}
	copies.Go(func() {
		b.append("one", one.all)
		b.append("two", two.all)
	})
	for len(b.stored()) < total && ctx.Err() == nil {
		select {
		case <-moved:
		case <-ctx.Done():
		}
	}
	overdue := ctx.Err() != nil
	end()
	copies.Wait()
	if overdue {
		t.Fatalf("%d of %d changes were published in a minute", len(b.stored()), total)
	}

	// Another copy finds nothing to add.
	after := &Keeper{Log: ended{b.log}, Store: b.store()}
	if err := after.Run(t.Context()); err == nil {
		t.Error("a log that ended is no error")
	}
	got := make(map[events.ConnectionID][]string)
	for _, message := range b.stored() {
		c := events.ConnectionID(message[len("ib.incident.") : len("ib.incident.")+3])
		got[c] = append(got[c], message)
	}
	for c := range want {
		if !slices.Equal(got[c], want[c]) {
			t.Errorf("of %s %d changes are stored, want these %d and in order", c, len(got[c]), len(want[c]))
		}
	}
	if deaths[0]+deaths[1] < 3 {
		t.Errorf("the copies died %v times, which shows nothing", deaths)
	}
	t.Logf("%d changes, the copies died %v times", total, deaths)
}

// ended is a log that does not go on.
type ended struct{ *bus.Log }

func (l ended) Read(ctx context.Context, q bus.Query) iter.Seq2[bus.Entry, error] {
	q.Follow = false
	return l.Log.Read(ctx, q)
}

func TestAKeeperTellsOfWhatItCannotDo(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errKilled)
	if err := (&Keeper{Log: silent{}}).Run(ctx); !errors.Is(err, errKilled) {
		t.Errorf("Run = %v after the end of its context, want its cause", err)
	}
	if err := (&Keeper{Log: silent{errors.New("no disk")}}).Run(t.Context()); fmt.Sprint(err) != "incidents: no disk" {
		t.Errorf("Run = %v, want that the log cannot be read", err)
	}
}

// silent is a log that says nothing but its error.
type silent struct{ err error }

func (s silent) Last(context.Context) (uint64, error) { return 0, nil }

func (s silent) Read(context.Context, bus.Query) iter.Seq2[bus.Entry, error] {
	return func(yield func(bus.Entry, error) bool) {
		if s.err != nil {
			yield(bus.Entry{}, s.err)
		}
	}
}
