package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/testenv/gateway"
)

// listen collects what comes on a subject of p's bus.
func (p *program) listen(subject string) chan *nats.Msg {
	p.t.Helper()
	came := make(chan *nats.Msg, 1<<12)
	if _, err := p.nc.ChanSubscribe(subject, came); err != nil {
		p.t.Fatal(err)
	}
	if err := p.nc.Flush(); err != nil {
		p.t.Fatal(err)
	}
	return came
}

// liveBar waits for a bar that is no backfill, and returns it.
func liveBar(t *testing.T, came chan *nats.Msg) events.BarData {
	t.Helper()
	late := time.After(liveness)
	for {
		select {
		case m := <-came:
			validate(t, "ib.data.bar", m.Data)
			var b events.BarData
			if err := json.Unmarshal(m.Data, &b); err != nil {
				t.Fatal(err)
			}
			if !b.Backfill {
				return b
			}
		case <-late:
			t.Fatalf("no bar within %v", liveness)
		}
	}
}

// After a kill -9, a restart of the gateway, a link that lost the data and a farm
// that took the subscription along, the bars go on with no new request, and the
// bus has each of them, once. Real-time bars come every five seconds of real
// time, so this takes a minute.
func TestBarsGoOnWhateverHappens(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("it takes a minute")
	}
	t.Parallel()
	gw := gateway.Start(t, simulated)
	dir := t.TempDir()
	args := runArgs(dir, gw.Addr(), "--restored-after", "1s")
	p := startProcess(t, args)
	p.ready()
	a := p.asks(events.VerbSubscribe, `{"contract":"AAPL","kind":"bars","caller":"book"}`)
	if !a.OK || len(a.Subjects) != 1 || a.Subjects[0] != "ib.data.main.bar.aapl-bars" {
		t.Fatalf("subscribe is answered %+v, %+v", a, a.Error)
	}
	came := p.listen("ib.data.main.bar.*")
	first := liveBar(t, came)

	p.kill()
	p = startProcess(t, args)
	came = p.listen("ib.data.main.bar.*")
	liveBar(t, came)

	at := p.position()
	if err := gw.Restart(t.Context(), 6*time.Second); err != nil {
		t.Fatal(err)
	}
	wait(p, at, func(e *events.SubscriptionDelivered) bool { return true })
	liveBar(t, came)

	at = p.position()
	gw.LoseLink(true)
	wait(p, at, func(e *events.LinkWentDown) bool { return true })
	gw.RestoreLink(true, true)
	wait(p, at, func(e *events.SubscriptionPlacement) bool { return e.Because == events.BecauseDataLost })
	wait(p, at, func(e *events.SubscriptionDelivered) bool { return true })
	liveBar(t, came)

	at = p.position()
	gw.Error(-1, 2103, "Market data farm connection is broken:usfarm")
	gw.Forget()
	gw.Error(-1, 2104, "Market data farm connection is OK:usfarm")
	wait(p, at, func(e *events.SubscriptionPlacement) bool { return e.Because == events.BecauseFarm })
	wait(p, at, func(e *events.SubscriptionDelivered) bool { return true })
	last := liveBar(t, came)

	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the program said %s", p.out.String())
		}
	})
	within(t, "every gap filled", func() bool {
		subs := p.asks(events.VerbSubscriptions, "").Subscriptions
		return len(subs) == 1 && subs[0].Status == events.SubscriptionLive && len(subs[0].Gaps) == 0
	})
	wholeBars(t, p, "aapl-bars", first, last)
	p.stop()
}

// wholeBars holds that the bus has each bar from one to another, once, as the
// gateway has it in its history.
func wholeBars(t *testing.T, p *program, subscription string, first, last events.BarData) {
	t.Helper()
	data, err := bus.FindData(t.Context(), p.nc)
	if err != nil {
		t.Fatal(err)
	}
	from, _ := first.Begins()
	to, _ := last.Begins()
	var all []events.BarData
	backfilled := 0
	for b, err := range data.Bars(t.Context(), bus.BarRange{Connection: "main", Subscription: subscription, From: from, To: to.Add(events.RealTimeBar)}) {
		if err != nil {
			t.Fatal(err)
		}
		if b.Backfill {
			backfilled++
		}
		all = append(all, b.BarData)
	}
	slices.SortFunc(all, func(a, b events.BarData) int { return strings.Compare(a.Time, b.Time) })
	for i, b := range all {
		if want := from.Add(time.Duration(i) * events.RealTimeBar).Format(time.RFC3339); b.Time != want {
			t.Fatalf("bar %d of %d is that of %s, want %s: each once, and none missing", i, len(all), b.Time, want)
		}
	}
	if want := int(to.Sub(from)/events.RealTimeBar) + 1; len(all) != want || backfilled == 0 {
		t.Errorf("there are %d bars, %d of them backfilled, want %d and some", len(all), backfilled, want)
	}
	a := p.asks(events.VerbHistory, fmt.Sprintf(`{"contract":"AAPL","bar_size":"5 secs","duration":"%d S","end":%q,"wait":"30s"}`,
		int(to.Sub(from)/time.Second), to.Format(time.RFC3339)))
	if !a.OK || len(a.Bars) < len(all)-1 {
		t.Fatalf("the gateway's history of it is answered %d bars, %+v", len(a.Bars), a.Error)
	}
	kept := make(map[string]events.Bar)
	for _, b := range all {
		kept[b.Time] = b.Bar
	}
	for _, b := range a.Bars {
		if k, ok := kept[b.Time]; ok && (k.Open != b.Open || k.High != b.High || k.Low != b.Low || k.Close != b.Close || k.Volume != b.Volume || k.WAP != b.WAP || k.Count != b.Count) {
			t.Errorf("the bar of %s is %+v on the bus, and %+v in the gateway's history", b.Time, k, b)
		}
	}
}

func TestDataIsAsItsSchemasSayInEachEncoding(t *testing.T) {
	for _, version := range []int{176, 225} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			gw := gateway.Start(t, gateway.Config{ServerVersion: version, TicksPerSecond: 50, BarEvery: 100 * time.Millisecond})
			p := startRun(t, runArgs(t.TempDir(), gw.Addr()))
			p.ready()
			came := p.listen("ib.data.main.>")
			want := make(map[string]bool)
			for payload, subjects := range map[string][]string{
				`{"contract":"AAPL","kind":"quotes","wait":"5s"}`:                                       {"ib.data.main.tick.aapl-quotes"},
				`{"contract":"AAPL","kind":"trades","wait":"5s"}`:                                       {"ib.data.main.trade.aapl-trades"},
				`{"contract":"EUR.USD","kind":"trades","what":"BidAsk","name":"fx","wait":"5s"}`:        {"ib.data.main.bidask.fx"},
				`{"contract":"MSFT","kind":"trades","what":"MidPoint","wait":"5s"}`:                     {"ib.data.main.midpoint.msft-trades-midpoint"},
				`{"contract":"AAPL","kind":"bars","what":"MIDPOINT","wait":"5s"}`:                       {"ib.data.main.bar.aapl-bars-midpoint"},
				`{"contract":"MSFT","kind":"history-bars","duration":"60 S","name":"kept","wait":"5s"}`: {"ib.data.main.bar.kept", "ib.data.main.partial.kept"},
			} {
				a := p.asks(events.VerbSubscribe, payload)
				if !a.OK || a.Subscription.Status != events.SubscriptionLive || !slices.Equal(a.Subjects, subjects) {
					t.Fatalf("%s is answered %+v, %+v", payload, a, a.Error)
				}
				for _, s := range subjects {
					want[s] = true
				}
			}
			late := time.After(liveness)
			for len(want) > 0 {
				select {
				case m := <-came:
					kind := strings.Split(m.Subject, ".")[3]
					if kind == "partial" {
						kind = "bar"
					}
					validate(t, "ib.data."+kind, m.Data)
					delete(want, m.Subject)
				case <-late:
					t.Fatalf("nothing came on %v", want)
				}
			}
			subs := cliOK(t, "subscriptions", "--nats", p.url)
			if strings.Count(subs, " live ") != 6 {
				t.Errorf("subscriptions prints\n%s\nwant six that are live", subs)
			}
			cliOK(t, "cancel", "kept", "--nats", p.url)
			if left := p.asks(events.VerbSubscriptions, "").Subscriptions; len(left) != 5 {
				t.Errorf("after one was cancelled there are %d, want 5", len(left))
			}
			p.stop()
		})
	}
}

// hundred subscribes to that many different feeds, and waits until all are live.
func hundred(t testing.TB, p *program) {
	t.Helper()
	for i := range 100 {
		a, err := bus.Ask(t.Context(), p.nc, "main", events.VerbSubscribe, events.Request{
			Contract: events.Contract{ConID: 265598, Exchange: "SMART"}, Kind: events.SubscribeQuotes, GenericTicks: fmt.Sprint(100 + i), Name: fmt.Sprintf("q%d", i),
		})
		if err != nil || !a.OK {
			t.Fatalf("subscribe is answered %+v, %v", a.Error, err)
		}
	}
	within(t, "all live", func() bool { return live(t, p) == 100 })
}

// live is how many subscriptions are.
func live(t testing.TB, p *program) (n int) {
	t.Helper()
	a, err := bus.Ask(t.Context(), p.nc, "main", events.VerbSubscriptions, events.Request{})
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range a.Subscriptions {
		if sub.Status == events.SubscriptionLive {
			n++
		}
	}
	return n
}

// restored waits for a session after a position and for a hundred subscriptions
// in it, and returns how long after it the last one was live.
func restored(t testing.TB, p *program, after uint64) time.Duration {
	t.Helper()
	opened, at := wait(p, after, func(*events.SessionOpened) bool { return true })
	seen, placed := make(map[string]bool), make(map[string]int)
	for e, err := range p.log.Read(t.Context(), bus.Query{After: at.StreamSeq, Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		switch e := e.Event.(type) {
		case *events.SubscriptionPlacement:
			if placed[e.Subscription]++; placed[e.Subscription] > 1 || e.Attempt != opened.Attempt {
				t.Fatalf("%s was placed %d times in the session of attempt %d", e.Subscription, placed[e.Subscription], opened.Attempt)
			}
		case *events.SubscriptionDelivered:
			seen[e.Subscription] = true
		case *events.SessionLost:
			t.Fatalf("the session was lost: %s", e.Cause)
		}
		if len(seen) == 100 {
			return e.Time.Sub(at.Time)
		}
	}
	t.Fatal("the log ended")
	return 0
}

// BenchmarkRestore restores a hundred subscriptions after a restart of the
// gateway. The least that it can take is what the message budget of 40 a second
// makes of a hundred messages; x/least is how much longer it took.
func BenchmarkRestore(b *testing.B) {
	gw := gateway.Start(b, simulated)
	p := startRun(b, runArgs(b.TempDir(), gw.Addr()))
	p.ready()
	hundred(b, p)
	const least = 99 * time.Second / 40
	var took time.Duration
	n := 0
	for b.Loop() {
		at := p.position()
		if err := gw.Restart(b.Context(), 100*time.Millisecond); err != nil {
			b.Fatal(err)
		}
		took += restored(b, p, at)
		n++
	}
	mean := took / time.Duration(n)
	b.ReportMetric(mean.Seconds()*1000, "ms")
	b.ReportMetric(float64(mean)/float64(least), "x/least")
}

func TestAHundredSubscriptionsComeBackWithEachSession(t *testing.T) {
	restarts := 20
	if testing.Short() || raceEnabled {
		restarts = 3
	}
	t.Parallel()
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr(), "--message-rate", "1000", "--stable-after", "0s"))
	p.ready()
	hundred(t, p)
	for range restarts {
		at := p.position()
		gw.Reset()
		restored(t, p, at)
	}
	// The program itself learns of its last event a moment after everyone else.
	within(t, "all live", func() bool { return live(t, p) == 100 })
	p.stop()
}
