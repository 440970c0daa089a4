package gateway

import (
	"fmt"
	"testing"
	"time"
)

func TestTheBusiestSecondIsAnySecond(t *testing.T) {
	start := time.Now()
	for _, c := range []struct {
		at   []time.Duration
		want []int
	}{
		{[]time.Duration{0, 400, 800, 999}, []int{1, 2, 3, 4}},
		{[]time.Duration{0, 400, 800, 1000, 1399, 1400}, []int{1, 2, 3, 3, 4, 4}},
		{[]time.Duration{0, 0, 0, 5000}, []int{1, 2, 3, 1}},
	} {
		var r recent
		var got []int
		for _, at := range c.at {
			got = append(got, r.add(start.Add(at*time.Millisecond)))
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("messages at %v are counted %v, want %v", c.at, got, c.want)
		}
	}
}

func TestWhatIsCountedForTheSecondDoesNotGrow(t *testing.T) {
	var r recent
	now := time.Now()
	for range 100_000 {
		now = now.Add(10 * time.Millisecond)
		if n := r.add(now); n > 100 {
			t.Fatalf("%d messages within a second, want at most 100", n)
		}
	}
	if cap(r.times) > 1000 {
		t.Errorf("room for %d times is held, want a few hundred", cap(r.times))
	}
}

func TestIdsCountedAreBounded(t *testing.T) {
	g, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	for id := range int32(5000) {
		g.countClientLocked(id, 1)
	}
	g.countClientLocked(3, 1)
	if n := len(g.stats.ByClient); n != clientsKept || g.stats.ByClient[3] != 2 {
		t.Errorf("%d ids, %d of id 3, want %d, 2", n, g.stats.ByClient[3], clientsKept)
	}
}
