package tws

import "testing"

func TestACollectorKeepsWithinItsBounds(t *testing.T) {
	c := collector[int]{requests: 3, each: 5}
	made := 0
	one := func() int { made++; return made }
	for range 5 + 7 {
		c.add(1, one)
	}
	if made != 5 {
		t.Errorf("%d were made of 5 that are kept", made)
	}
	c.add(2, one)
	c.take(2)
	if found, total := c.take(2); found != nil || total != 0 {
		t.Errorf("of a request that was taken %v of %d are kept, want none", found, total)
	}
	if found, total := c.take(1); len(found) != 5 || found[0] != 1 || found[4] != 5 || total != 12 {
		t.Errorf("%v of %d are kept, want the first 5 of 12", found, total)
	}
	for id := range int64(3 + 2) {
		c.add(id, one)
	}
	if _, total := c.take(1); len(c.all) != 3 || total != 0 {
		t.Errorf("%d requests are collected for, the oldest but for one with %d, want 3, and it to give way", len(c.all), total)
	}
	if _, total := c.take(4); total != 1 {
		t.Error("the newest request is not collected for")
	}
}
