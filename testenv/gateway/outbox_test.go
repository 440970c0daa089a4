package gateway

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestOutboxGivesEachAdditionWhenItsLagIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox()
		want := func(lag time.Duration, text string, due time.Duration) {
			t.Helper()
			if got, left := o.take(lag); string(got) != text || left != due {
				t.Errorf("after lag %v: %q and the next in %v, want %q and %v", lag, got, left, text, due)
			}
		}
		const lag = 300 * time.Millisecond
		o.force([]byte("one"))
		time.Sleep(100 * time.Millisecond)
		o.force([]byte("two"))
		o.force([]byte("three"))
		want(lag, "", 200*time.Millisecond)
		time.Sleep(200 * time.Millisecond)
		want(lag, "one", 100*time.Millisecond)
		want(lag/2, "twothree", 0) // a lag that gets shorter lets go
		o.force([]byte("four"))
		time.Sleep(100 * time.Millisecond)
		o.seal()
		if o.force([]byte("five")) {
			t.Error("an addition was taken behind the end")
		}
		want(lag, "", 200*time.Millisecond)
		time.Sleep(200 * time.Millisecond)
		want(lag, "four", 100*time.Millisecond) // the end is still to come
		time.Sleep(100 * time.Millisecond)
		want(lag, "", 0)
	})
}

func TestOutboxIsFullWhateverTheLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		const size = 1000
		put := 0
		go func() {
			for ctx.Err() == nil {
				o.put(ctx, bytes.Repeat([]byte("x"), size))
				put++
			}
		}()
		synctest.Wait()
		if buf, _ := o.take(time.Hour); len(buf) != 0 || put*size > outboxFull+size {
			t.Errorf("%d bytes were put and %d are due, want at most %d and none", put*size, len(buf), outboxFull+size)
		}
		time.Sleep(time.Hour)
		before := put
		if buf, _ := o.take(time.Hour); len(buf) != before*size {
			t.Errorf("%d bytes are due an hour later, want all %d", len(buf), before*size)
		}
		synctest.Wait()
		if put <= before {
			t.Error("nothing was put when there was room again")
		}
		cancel()
		synctest.Wait()
	})
}
