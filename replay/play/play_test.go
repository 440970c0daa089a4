package play_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/replay/play"
)

var began = time.Date(2026, 11, 23, 9, 15, 0, 0, time.UTC)

// spoken is an event of a connection at a number of seconds.
type spoken struct {
	name events.ConnectionID
	at   float64
}

// told makes stored events of words.
func told(t *testing.T, all ...spoken) iter.Seq2[bus.Stored, error] {
	t.Helper()
	heads := make(map[events.ConnectionID]events.Head)
	var stored []bus.Stored
	for i, s := range all {
		author := events.Author{Connection: s.name, Source: "/ibconn/test", NewID: func() string { return fmt.Sprint("e", i) }}
		at := began.Add(time.Duration(s.at * float64(time.Second)))
		r, err := heads[s.name].Next(author, events.Draft{Event: &events.EpochBegan{Instance: "test"}}, at)
		if err != nil {
			t.Fatal(err)
		}
		heads[s.name] = heads[s.name].Then(r)
		stored = append(stored, bus.Stored{Subject: events.LogSubject(s.name, events.KindClaimed), StreamSeq: uint64(i + 1), StoredAt: at, Payload: r.Wire})
	}
	return sequence(stored...)
}

func sequence(all ...bus.Stored) iter.Seq2[bus.Stored, error] {
	return func(yield func(bus.Stored, error) bool) {
		for _, s := range all {
			if !yield(s, nil) {
				return
			}
		}
	}
}

// played returns when each message came, in seconds.
func played(t *testing.T, p play.Player, stored iter.Seq2[bus.Stored, error]) []float64 {
	t.Helper()
	var came []float64
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var last uint64
		p.Publish = func(_ context.Context, m play.Message) error {
			if m.Stored.StreamSeq <= last {
				t.Errorf("message %d came after %d", m.Stored.StreamSeq, last)
			}
			last = m.Stored.StreamSeq
			came = append(came, time.Since(start).Seconds())
			return nil
		}
		if err := p.Play(t.Context(), stored); err != nil {
			t.Error(err)
		}
	})
	return came
}

func TestEventsComeAtTheirDistances(t *testing.T) {
	for _, tt := range []struct {
		name   string
		player play.Player
		events []spoken
		want   []float64
	}{
		{"as they came", play.Player{Speed: 1}, []spoken{{"main", 0}, {"main", 1}, {"main", 61}}, []float64{0, 1, 61}},
		{"a minute in a second", play.Player{Speed: 60}, []spoken{{"main", 0}, {"main", 60}, {"main", 90}}, []float64{0, 1, 1.5}},
		{"half as fast", play.Player{Speed: 0.5}, []spoken{{"main", 0}, {"main", 1}}, []float64{0, 2}},
		{"without waiting", play.Player{}, []spoken{{"main", 0}, {"main", 3600}}, []float64{0, 0}},
		{"a long silence is cut", play.Player{Speed: 60, SkipIdle: 10 * time.Second}, []spoken{{"main", 0}, {"main", 36000}, {"main", 36060}}, []float64{0, 10, 11}},
		{"a clock set back is no time", play.Player{Speed: 1}, []spoken{{"main", 100}, {"main", 110}, {"main", 0}, {"main", 5}}, []float64{0, 10, 10, 15}},
		{"clocks that differ add nothing", play.Player{Speed: 1}, []spoken{{"main", 0}, {"other", 5}, {"main", 10}, {"other", 15}, {"main", 20}, {"other", 25}}, []float64{0, 5, 10, 15, 20, 25}},
		{"even if the other one is behind", play.Player{Speed: 1}, []spoken{{"main", 100}, {"other", 0}, {"main", 110}, {"other", 10}, {"main", 120}}, []float64{0, 0, 10, 10, 20}},
		{"a silence is one of all", play.Player{Speed: 1, SkipIdle: time.Second}, []spoken{{"main", 0}, {"other", 0}, {"main", 100}, {"other", 101}, {"main", 102}}, []float64{0, 0, 1, 2, 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := played(t, tt.player, told(t, tt.events...)); !slices.Equal(got, tt.want) {
				t.Errorf("came at %v, want %v", got, tt.want)
			}
		})
	}
}

func TestWhatIsNoEventComesToo(t *testing.T) {
	stored := sequence(
		bus.Stored{Subject: "ib.log.main.state", StreamSeq: 1, StoredAt: began, Payload: []byte("nothing")},
		bus.Stored{Subject: "ib.log", StreamSeq: 2, StoredAt: began, Payload: []byte("never on the feed")},
		bus.Stored{Subject: "ib.log.main.error", StreamSeq: 3, StoredAt: began.Add(time.Second), Payload: []byte("nothing")},
	)
	if got := played(t, play.Player{Speed: 1}, stored); !slices.Equal(got, []float64{0, 1}) {
		t.Errorf("came at %v, want 0 and 1", got)
	}
}

func TestPlayingEndsWhenItIsToldTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		enough := errors.New("enough")
		time.AfterFunc(time.Minute, func() { cancel(enough) })
		count := 0
		p := play.Player{Speed: 1, Publish: func(context.Context, play.Message) error { count++; return nil }}
		start := time.Now()
		err := p.Play(ctx, told(t, spoken{"main", 0}, spoken{"main", 30}, spoken{"main", 3600}))
		if !errors.Is(err, enough) || count != 2 || time.Since(start) != time.Minute {
			t.Errorf("ended with %v after %d messages and %v, want the cause after 2 and a minute", err, count, time.Since(start))
		}
		lost := errors.New("no bus")
		p.Publish = func(context.Context, play.Message) error { return lost }
		if err := p.Play(t.Context(), told(t, spoken{"main", 0})); !errors.Is(err, lost) {
			t.Errorf("ended with %v, want the error of publishing", err)
		}
	})
}

func TestASpeedIsRead(t *testing.T) {
	for text, want := range map[string]float64{"1x": 1, "60x": 60, "0.5x": 0.5, "2": 2, "max": 0} {
		if got, err := play.ParseSpeed(text); got != want || err != nil {
			t.Errorf("ParseSpeed(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", "0", "0x", "-1x", "fast", "NaN", "Inf", "1e9x", "60xx"} {
		if got, err := play.ParseSpeed(text); err == nil {
			t.Errorf("ParseSpeed(%q) = %v, want an error", text, got)
		}
	}
}

var refused = []string{
	"", "ib", "IB", "ib.conn", "ib.conn.state", "ib.log", "ib.log.main", "ib.cmd.main", "ib.data", "ib.incident.main", "ib.pool", "ib.import",
	"Ib.Conn", "ib.alert", "ib.replayed", "ib.connection", "ib.*", "ib.>", "*", ">", "*.conn", "$JS.API", "$SYS", "$KV.ib_status", "_INBOX", "_INBOX.x", "_R_", ".ib", "ib.", "a..b", "a b", "a\x00b", "ä",
	"ib.conn\u200b", strings.Repeat("a", 201),
}

func TestNothingIsPlayedWhereItCouldBeMistaken(t *testing.T) {
	for _, text := range []string{"ib.replay", "ib.replay.night-1", "test", "ibconn", "a_b.C", "my.ib.conn"} {
		if got, err := play.ParsePrefix(text); got != text || err != nil {
			t.Errorf("ParsePrefix(%q) = %q, %v, want it", text, got, err)
		}
	}
	for _, text := range refused {
		if _, err := play.ParsePrefix(text); err == nil {
			t.Errorf("ParsePrefix(%q) took it", text)
		}
	}
}

func FuzzParsePrefix(f *testing.F) {
	for _, text := range append(refused, "ib.replay", "ib.connection") {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		prefix, err := play.ParsePrefix(text)
		if err != nil {
			return
		}
		for _, kind := range append(slices.Clone(events.Kinds), "conn", "log", "x") {
			subject := prefix + "." + string(kind)
			for _, own := range []string{"ib.conn.", "ib.log.", "ib.cmd.", "ib.data.", "ib.incident.", "ib.pool.", "ib.import.", "$", "_"} {
				if strings.HasPrefix(subject, own) {
					t.Errorf("%q leads to %s", text, subject)
				}
			}
			if strings.ContainsAny(subject, "*> \t\r\n\x00") || strings.Contains(subject, "..") {
				t.Errorf("%q leads to %q", text, subject)
			}
		}
	})
}
