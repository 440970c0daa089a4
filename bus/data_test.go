package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ibconn/events"
)

var dawn = time.Date(2026, 11, 25, 6, 0, 0, 0, time.UTC)

// bar is the i-th bar since dawn.
func bar(i int) *events.BarData {
	return &events.BarData{At: dawn, BarSize: "5 secs", What: "TRADES", Bar: events.Bar{Time: dawn.Add(time.Duration(5*i) * time.Second).Format(time.RFC3339), Open: "1.5"}}
}

func bars(from, to int) (all []*events.BarData) {
	for i := from; i < to; i++ {
		all = append(all, bar(i))
	}
	return all
}

func openTestData(t testing.TB, nc *nats.Conn, o DataOptions) *Data {
	t.Helper()
	d, err := OpenData(t.Context(), nc, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// dataWorld is a server with data that is run.
func dataWorld(t testing.TB, o DataOptions) (*Server, *Data) {
	t.Helper()
	s := openServer(t, ServerOptions{StoreDir: t.TempDir(), Listen: "127.0.0.1:0"})
	d := openTestData(t, connect(t, s), o)
	runData(t, d)
	return s, d
}

// runData runs d until the test ends, or what it returns is called.
func runData(t testing.TB, d *Data) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v, want the cause of its end", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// storedTimes returns when the bars of a subscription begin, as stored, b marking
// those that were missed.
func storedTimes(t testing.TB, d *Data, r BarRange) (times []string) {
	t.Helper()
	for b, err := range d.Bars(t.Context(), r) {
		if err != nil {
			t.Fatal(err)
		}
		mark := ""
		if b.Backfill {
			mark = "b"
		}
		times = append(times, mark+b.Time[11:19])
	}
	return times
}

// holds waits until a subscription has n bars.
func holds(t testing.TB, d *Data, subscription string, n int) {
	t.Helper()
	within(t, fmt.Sprintf("%d bars of %s are stored", n, subscription), func() bool {
		info, err := d.stream.Info(t.Context(), jetstream.WithSubjectFilter(events.DataSubject("main", events.DataBar, subscription)))
		return err == nil && info.State.Subjects[events.DataSubject("main", events.DataBar, subscription)] >= uint64(n)
	})
}

func TestDataReachesWhoeverListensInOrder(t *testing.T) {
	s, d := dataWorld(t, DataOptions{})
	outside, err := Dial(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(outside.Close)
	sub, err := outside.SubscribeSync(events.DataSubjects)
	if err != nil {
		t.Fatal(err)
	}
	if err := outside.Flush(); err != nil {
		t.Fatal(err)
	}
	const n = 5000
	for i := range uint64(n) {
		d.Publish("main", "aapl", &events.Tick{Arrival: events.Arrival{At: dawn, N: i + 1}, Field: "bid", Type: 1, Price: "0.1", Value: "<&>"})
	}
	partial := bar(1)
	partial.Provisional = true
	d.Keep("main", "es", "7", partial)
	d.Publish("other", "es", &events.Trade{Price: "1"})
	for i := range n {
		m, err := sub.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf(`{"at":"2026-11-25T06:00:00Z","n":%d,"field":"bid","type":1,"price":"0.1","value":"<&>"}`, i+1)
		if m.Subject != "ib.data.main.tick.aapl" || string(m.Data) != want {
			t.Fatalf("message %d is %s %s, want %s", i, m.Subject, m.Data, want)
		}
	}
	for _, want := range []string{"ib.data.main.partial.es", "ib.data.other.trade.es"} {
		if m, err := sub.NextMsg(10 * time.Second); err != nil || m.Subject != want {
			t.Errorf("next is %v, %v, want one on %s", m, err, want)
		}
	}
	if n := d.Dropped(); n != 0 {
		t.Errorf("%d were dropped, want none", n)
	}
}

// TestWhatThereIsNoRoomForIsCounted publishes while nothing runs.
func TestWhatThereIsNoRoomForIsCounted(t *testing.T) {
	s := openServer(t, ServerOptions{StoreDir: t.TempDir()})
	nc := connect(t, s)
	d := openTestData(t, nc, DataOptions{Messages: 10, Bars: 10})
	sub, err := nc.SubscribeSync(events.DataSubjects)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(25) {
		d.Publish("main", "x", &events.Midpoint{Arrival: events.Arrival{N: i}})
	}
	for _, b := range bars(0, 25) {
		d.Keep("main", "x", "1", b)
	}
	if got := d.Dropped(); got != 15 {
		t.Errorf("%d messages were dropped, want 15", got)
	}
	if got := d.DroppedBars(); got != 15 {
		t.Errorf("%d bars were dropped, want 15", got)
	}
	lost := d.LostBars("main")
	if len(lost) != 1 || lost[0].Subscription != "x" || lost[0].Series != "1" || lost[0].From.Format(time.TimeOnly) != "06:00:00" || lost[0].To.Format(time.TimeOnly) != "06:01:10" {
		t.Errorf("lost are %+v, want the oldest 15", lost)
	}
	if again, other := d.LostBars("main"), d.LostBars("other"); len(again) != 0 || len(other) != 0 {
		t.Errorf("lost are %+v and of another connection %+v, want nothing more", again, other)
	}
	stop := runData(t, d)
	holds(t, d, "x", 10)
	if got := storedTimes(t, d, BarRange{}); got[0] != "06:01:15" || got[9] != "06:02:00" {
		t.Errorf("stored are %v, want the newest ten", got)
	}
	for i := range uint64(10) {
		m, err := sub.NextMsg(10 * time.Second)
		if err != nil || m.Subject != "ib.data.main.midpoint.x" && m.Subject != "ib.data.main.bar.x" {
			t.Errorf("message %d is %v, %v, want one of the first ten", i, m, err)
		}
	}
	stop()
	// One message of 20 KiB is no message of data, and with little room none waits.
	d.Publish("main", "x", &events.Tick{Value: strings.Repeat("x", 20<<10)})
	runData(t, d)
	within(t, "a message that is too large is dropped", func() bool { return d.Dropped() == 16 })
	small := openTestData(t, nc, DataOptions{Bytes: 1000})
	for range 5 {
		small.Publish("main", "x", &events.Tick{})
	}
	if got := small.Dropped(); got != 2 {
		t.Errorf("%d messages beyond 1000 bytes were dropped, want 2", got)
	}
	d.Keep("main", "x", "1", &events.BarData{Bar: events.Bar{Time: "yesterday"}})
	within(t, "a bar without a time is dropped", func() bool { return d.DroppedBars() == 16 })
	if _, err := d.Store(t.Context(), "main", "x", "1", []*events.BarData{{}}); err == nil {
		t.Error("a bar without a time is stored")
	}
}

func TestBarsAreStoredOnceByTheirTime(t *testing.T) {
	_, d := dataWorld(t, DataOptions{})
	for _, i := range []int{0, 1, 1, 0, 2, 6, 5, 7} {
		d.Keep("main", "x", "3", bar(i))
	}
	holds(t, d, "x", 5)
	newest, err := d.Newest(t.Context(), "main", "x", "3")
	if err != nil || newest.Format(time.TimeOnly) != "06:00:35" {
		t.Errorf("the newest is %v, %v, want 06:00:35", newest, err)
	}
	n, err := d.Store(t.Context(), "main", "x", "3", bars(0, 8))
	if n != 3 || err != nil {
		t.Errorf("Store = %d, %v, want the 3 that were missed", n, err)
	}
	want := []string{"06:00:00", "06:00:05", "06:00:10", "06:00:30", "06:00:35", "b06:00:15", "b06:00:20", "b06:00:25"}
	if got := storedTimes(t, d, BarRange{Connection: "main", Subscription: "x"}); !slices.Equal(got, want) {
		t.Errorf("stored are %v, want %v", got, want)
	}
	if again, err := d.Newest(t.Context(), "main", "x", "3"); err != nil || !again.Equal(newest) {
		t.Errorf("the newest behind a backfill is %v, %v, want still %v", again, err, newest)
	}
	// JetStream forgets ids; time alone must do. Another of the same name is another.
	fresh := openTestData(t, d.nc, DataOptions{})
	if n, err := fresh.Store(t.Context(), "main", "x", "3", bars(0, 9)); n != 1 || err != nil {
		t.Errorf("Store of the same and one more = %d, %v, want 1", n, err)
	}
	if n, err := fresh.Store(t.Context(), "main", "x", "4", bars(0, 2)); n != 2 || err != nil {
		t.Errorf("Store under another series = %d, %v, want 2", n, err)
	}
	if newest, err := d.Newest(t.Context(), "main", "x", "3"); err != nil || newest.Format(time.TimeOnly) != "06:00:40" {
		t.Errorf("the newest of a series that is not the last is %v, %v, want 06:00:40", newest, err)
	}
	if newest, err := d.Newest(t.Context(), "main", "y", "3"); err != nil || !newest.IsZero() {
		t.Errorf("the newest of nothing is %v, %v, want none", newest, err)
	}
	got := storedTimes(t, d, BarRange{Subscription: "x", Series: "3", From: dawn.Add(10 * time.Second), To: dawn.Add(20 * time.Second)})
	if want := []string{"06:00:10", "b06:00:15"}; !slices.Equal(got, want) {
		t.Errorf("the bars of a range are %v, want %v", got, want)
	}
}

func TestBarsOfADayAreStoredByTheirDate(t *testing.T) {
	_, d := dataWorld(t, DataOptions{})
	day := func(s string) *events.BarData { return &events.BarData{Bar: events.Bar{Time: s}} }
	if n, err := d.Store(t.Context(), "main", "x", "1", []*events.BarData{day("2026-11-23"), day("2026-11-24")}); n != 2 || err != nil {
		t.Fatalf("Store = %d, %v, want 2", n, err)
	}
	d.Keep("main", "x", "1", day("2026-11-24"))
	d.Keep("main", "x", "1", day("2026-11-25"))
	holds(t, d, "x", 3)
	if newest, err := d.Newest(t.Context(), "main", "x", "1"); err != nil || !newest.Equal(time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("the newest is %v, %v, want the 25th", newest, err)
	}
}

// TestBackfillAndLiveBarsDoNotMeet stores and keeps one series at once, twice
// over, while the server is restarted.
func TestBackfillAndLiveBarsDoNotMeet(t *testing.T) {
	s, d := dataWorld(t, DataOptions{})
	const n = 120
	var work sync.WaitGroup
	for range 2 {
		work.Go(func() {
			if _, err := d.Store(t.Context(), "main", "x", "1", bars(0, n)); err != nil {
				t.Errorf("Store: %v", err)
			}
		})
	}
	work.Go(func() {
		for _, b := range bars(n/2, n+n/2) {
			d.Keep("main", "x", "1", b)
		}
	})
	work.Go(func() {
		for range 2 {
			within(t, "some bars are stored", func() bool {
				info, err := d.stream.Info(t.Context())
				return err == nil && info.State.Msgs > 10
			})
			if err := s.Restart(); err != nil {
				t.Error(err)
			}
		}
	})
	work.Wait()
	d.Keep("main", "x", "1", bar(2*n))
	within(t, "the last bar is stored", func() bool {
		newest, err := d.Newest(t.Context(), "main", "x", "1")
		return err == nil && newest.Equal(dawn.Add(2*n*5*time.Second))
	})
	times := make(map[string]int)
	for _, at := range storedTimes(t, d, BarRange{}) {
		times[strings.TrimPrefix(at, "b")]++
	}
	if len(times) != n+n/2+1 {
		t.Errorf("%d bars are stored, want %d", len(times), n+n/2+1)
	}
	for at, stored := range times {
		if stored != 1 {
			t.Errorf("the bar of %s is stored %d times, want once", at, stored)
		}
	}
}

// TestABackfillThatWasKilledIsDoneAgain kills the process in the middle of a
// backfill, and does it again.
func TestABackfillThatWasKilledIsDoneAgain(t *testing.T) {
	dir := t.TempDir()
	const n = 400
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
		c := exec.CommandContext(ctx, os.Args[0])
		c.Env = append(os.Environ(), backfillDir+"="+dir)
		c.Stderr = os.Stderr
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Fatalf("the child did not begin: %v", err)
		}
		time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond) // anywhere in it
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = c.Wait()
		cancel()
	}
	s := openServer(t, ServerOptions{StoreDir: dir})
	d := openTestData(t, connect(t, s), DataOptions{})
	before := len(storedTimes(t, d, BarRange{}))
	stored, err := d.Store(t.Context(), "main", "x", "1", bars(0, n))
	if err != nil || before+stored != n {
		t.Errorf("Store = %d, %v, want the %d of %d that are missing", stored, err, n-before, n)
	}
	got := storedTimes(t, d, BarRange{})
	if len(got) != n || len(slices.Compact(slices.Sorted(slices.Values(got)))) != n {
		t.Errorf("%d bars are stored, want each of %d once", len(got), n)
	}
}

// backfillDir names the directory in the environment of a child process.
const backfillDir = "IBCONN_TEST_BACKFILL_DIR"

// backfillUntilKilled stores bars, and says when it begins.
func backfillUntilKilled(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := Open(ServerOptions{StoreDir: dir, Instance: "child"})
	if err != nil {
		return err
	}
	nc, err := s.Connect("child")
	if err != nil {
		return err
	}
	d, err := OpenData(ctx, nc, DataOptions{})
	if err != nil {
		return err
	}
	fmt.Print("x")
	if _, err = d.Store(ctx, "main", "x", "1", bars(0, 400)); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func TestABarWaitsForAServerThatIsAway(t *testing.T) {
	s := openServer(t, ServerOptions{StoreDir: t.TempDir()})
	nc := connect(t, s)
	d := openTestData(t, nc, DataOptions{})
	stop := runData(t, d)
	d.Keep("main", "x", "1", bar(0))
	holds(t, d, "x", 1)
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	for _, b := range bars(1, 5) {
		d.Keep("main", "x", "1", b)
	}
	if n, err := d.Store(t.Context(), "main", "y", "1", bars(0, 3)); n != 3 || err != nil {
		t.Errorf("Store behind a restart = %d, %v, want 3", n, err)
	}
	holds(t, d, "x", 5)
	stop()
	if got := d.DroppedBars(); got != 0 {
		t.Errorf("%d bars were dropped, want none", got)
	}
	// Without a server for good, what waits is tried once and counted.
	for _, b := range bars(5, 9) {
		d.Keep("main", "x", "1", b)
	}
	nc.Close()
	runData(t, d)()
	if got := d.DroppedBars(); got != 4 {
		t.Errorf("%d bars were dropped, want all 4", got)
	}
	if _, err := d.Store(t.Context(), "main", "x", "1", bars(0, 1)); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("Store without a server = %v, want %v", err, nats.ErrConnectionClosed)
	}
}

func TestStoreEndsWithItsContext(t *testing.T) {
	s := openServer(t, ServerOptions{StoreDir: t.TempDir()})
	d := openTestData(t, connect(t, s), DataOptions{})
	if err := d.js.DeleteStream(t.Context(), events.DataStream); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if n, err := d.Store(ctx, "main", "x", "1", bars(0, 2)); n != 0 || err == nil {
		t.Errorf("Store without a stream = %d, %v, want an error", n, err)
	}
}

func TestTheStreamOfBarsTakesWhatRoomThereIs(t *testing.T) {
	s := openServer(t, ServerOptions{StoreDir: t.TempDir(), MaxStore: 100 << 20})
	nc := connect(t, s)
	d := openTestData(t, nc, DataOptions{})
	if got := d.stream.CachedInfo().Config; got.MaxBytes != 64<<20 || got.MaxAge != defaultDataAge {
		t.Errorf("the stream may have %d bytes for %v, want 64 MiB, the half of a half of what is usual, for 30 days", got.MaxBytes, got.MaxAge)
	}
	d = openTestData(t, nc, DataOptions{MaxBytes: 80 << 20, MaxAge: time.Hour})
	if got := d.stream.CachedInfo().Config; got.MaxBytes != 80<<20 || got.MaxAge != defaultDataAge {
		t.Errorf("the stream may have %d bytes for %v, want it raised to 80 MiB, and its age left", got.MaxBytes, got.MaxAge)
	}
	if _, err := OpenData(t.Context(), nc, DataOptions{MaxBytes: 200 << 20}); err == nil {
		t.Error("more than the server has is taken")
	}
}

func TestOpenDataNamesTheSettingsThatDiffer(t *testing.T) {
	s := openServer(t, ServerOptions{StoreDir: t.TempDir()})
	nc := connect(t, s)
	if _, err := FindData(t.Context(), nc); err == nil || !strings.Contains(err.Error(), "there is no stream of bars") {
		t.Errorf("FindData = %v, want an error that says there is none", err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: events.DataStream, Subjects: []string{events.DataSubjects}, MaxAge: time.Hour}); err != nil {
		t.Fatal(err)
	}
	_, err = OpenData(t.Context(), nc, DataOptions{})
	for _, want := range []string{"subjects is ib.data.>, want ib.data.*.bar.*", "duplicate_window is 2m0s, want 10m0s"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error %v does not say %q", err, want)
		}
	}
	if err != nil && strings.Contains(err.Error(), "max_age") {
		t.Errorf("the error %q names a setting that is the operator's", err)
	}
}

func TestAnOutsiderReadsDataAndCannotMakeItUp(t *testing.T) {
	s, d := dataWorld(t, DataOptions{})
	outside, err := nats.Connect(s.URL(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(outside.Close)
	d.Keep("main", "x", "1", bar(0))
	holds(t, d, "x", 1)
	heard, err := d.nc.SubscribeSync(events.DataSubjects)
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(outside)
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"ib.data.main.bar.x", "ib.data.main.tick.x"} {
		if err := outside.Publish(subject, []byte("made up")); err != nil {
			t.Fatal(err)
		}
	}
	for what, try := range map[string]func(context.Context) error{
		"delete": func(ctx context.Context) error { return js.DeleteStream(ctx, events.DataStream) },
		"change": func(ctx context.Context) error {
			_, err := js.UpdateStream(ctx, jetstream.StreamConfig{Name: events.DataStream, Subjects: []string{"nothing"}})
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if err := try(ctx); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("%s the stream from outside = %v, want no permission", what, err)
		}
		cancel()
	}
	found, err := FindData(t.Context(), outside)
	if err != nil {
		t.Fatalf("an outsider cannot find the bars: %v", err)
	}
	if got := storedTimes(t, found, BarRange{}); !slices.Equal(got, []string{"06:00:00"}) {
		t.Errorf("an outsider reads %v, want the one bar", got)
	}
	if err := d.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, err := heard.Pending(); n != 0 || err != nil {
		t.Errorf("%d messages that were made up are heard, %v, want none", n, err)
	}
}

// TestAStoredBarIsTheBar holds what is read against what was stored.
func TestAStoredBarIsTheBar(t *testing.T) {
	_, d := dataWorld(t, DataOptions{})
	want := &events.BarData{At: dawn, BarSize: "1 min", What: "TRADES", Bar: events.Bar{
		Time: "2026-11-25T06:00:00Z", Open: "1.5", High: "2", Low: "-0.25", Close: "1.75", Volume: "100.0000001", WAP: "1.6", Count: 7,
	}}
	d.Keep("main", "x", "9", want)
	holds(t, d, "x", 1)
	for got, err := range d.Bars(t.Context(), BarRange{From: dawn.Add(-time.Hour)}) {
		if err != nil {
			t.Fatal(err)
		}
		a, _ := json.Marshal(got.BarData)
		b, _ := json.Marshal(want)
		if string(a) != string(b) || got.Connection != "main" || got.Subscription != "x" || got.Series != "9" || got.StreamSeq != 1 {
			t.Errorf("read is %+v, want %s", got, b)
		}
	}
}

func TestDataIsOnTheHubTooForWhoeverListensThere(t *testing.T) {
	s := openServer(t, ServerOptions{StoreDir: t.TempDir()})
	h := startHub(t)
	there, err := Dial(h.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(there.Close)
	sub, err := there.SubscribeSync(events.DataSubjects)
	if err == nil {
		err = there.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	hub, err := DialHub(HubOptions{URL: h.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hub.Close)
	if err := hub.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := openTestData(t, connect(t, s), DataOptions{Also: hub.Conn()})
	runData(t, d)
	d.Publish("main", "aapl", &events.Tick{Value: "1.5"})
	d.Keep("main", "aapl-bars", "1", bar(0))
	got := make(map[string]bool)
	for range 2 {
		m, err := sub.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		got[m.Subject] = true
	}
	if !got[events.DataSubject("main", events.DataTick, "aapl")] || !got[events.DataSubject("main", events.DataBar, "aapl-bars")] {
		t.Errorf("on the hub came %v, want the tick and the bar", got)
	}
	h.Stop()
	within(t, "the hub being lost", func() bool { return !hub.Status().Connected })
	d.Publish("main", "aapl", &events.Tick{Value: "1.6"})
	within(t, "the tick being counted as dropped", func() bool { return d.Dropped() == 1 })
	if n, err := d.Store(t.Context(), "main", "aapl-bars", "1", bars(1, 3)); n != 2 || err != nil {
		t.Errorf("Store without a hub = %d, %v, want both bars stored", n, err)
	}
}
