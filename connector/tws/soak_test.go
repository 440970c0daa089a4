package tws

import (
	"strings"
	"sync"
	"testing"

	"ibconn/connector"
	"ibconn/events"
	"ibconn/testenv/gateway"

	"github.com/scmhub/ibapi"
)

// rounds is how often the tests of this file repeat themselves.
func rounds() int {
	if raceEnabled || testing.Short() {
		return 100
	}
	return 1000
}

// TestResetsUnderLoadLeaveNothingBehind resets sessions while requests are on
// their way, which is when ibapi by itself re-dials, blocks and leaks.
func TestResetsUnderLoadLeaveNothingBehind(t *testing.T) {
	eachVersion(t, gateway.Config{}, func(t *testing.T, gw *gateway.Gateway) {
		for range rounds() / 2 {
			a := begin(t, new(Dialer), gw.Addr(), 7)
			a.opened()
			var load sync.WaitGroup
			for range 3 {
				load.Go(func() {
					for {
						select {
						case a.session.calls <- func(c *ibapi.EClient) { c.ReqIDs(1) }:
						case <-a.done:
							return
						}
					}
				})
			}
			gw.Error(-1, 1300, "last words")
			await(a, func(n connector.Noticed) bool { return n.Code == 1300 })
			gw.Reset()
			if got := a.ended().Cause; got != events.CauseReset {
				t.Fatalf("ended with %s, want %s", got, events.CauseReset)
			}
			a.wait()
			load.Wait()
			idIsFree(t, gw)
			if story := a.story(); !strings.HasSuffix(story, "Ended(reset)") {
				t.Fatalf("reported was\n%s\nwant nothing after the end", story)
			}
		}
		if got := gw.Stats(); got.Foreign != 0 || got.Accepted != rounds()/2 {
			t.Errorf("the gateway accepted %d connections, %d of them foreign %q, want %d and none", got.Accepted, got.Foreign, got.ForeignBytes, rounds()/2)
		}
	})
}

// TestClosesRightAfterTheGreetingLeaveNothingBehind has a gateway close behind
// its version reply in the same breath, on which ibapi by itself crashes the
// process, with a message in between that ibapi cannot decode every third time.
func TestClosesRightAfterTheGreetingLeaveNothingBehind(t *testing.T) {
	leakFree(t)
	p := newPeer(t)
	for i := range rounds() {
		a := begin(t, new(Dialer), p.addr(), 7)
		p.accept()
		want := events.CauseClosedByGateway
		switch i % 3 {
		case 0:
			p.write(versionReply)
			p.conn.Close()
			// What arrives of the hello after the close is answered by a reset.
			want = ""
		case 1:
			p.write(versionReply)
			p.conn.CloseWrite()
		case 2:
			p.write(append(versionReply, text(9)...))
			p.conn.CloseWrite()
			want = events.CauseGarbled
		}
		ended := a.ended()
		a.wait()
		p.conn.Close()
		if want != "" && ended.Cause != want {
			t.Fatalf("round %d ended with %s: %s, want %s", i, ended.Cause, ended.Detail, want)
		}
		if story := a.story(); strings.Contains(story, "Abandoned") {
			t.Fatalf("reported was\n%s\nwant nothing abandoned", story)
		}
	}
}

// TestTheReasonComesBeforeTheEnd has a gateway say that the client id is in
// use and close in the same breath, which ibapi by itself misses now and then.
func TestTheReasonComesBeforeTheEnd(t *testing.T) {
	eachVersion(t, gateway.Config{}, func(t *testing.T, gw *gateway.Gateway) {
		holder := begin(t, new(Dialer), gw.Addr(), 7)
		holder.opened()
		for i := range rounds() / 2 {
			a := begin(t, new(Dialer), gw.Addr(), 7)
			a.ended()
			a.wait()
			if want := "Reached Greeted Noticed(326) Ended(closed_by_gateway)"; a.story() != want {
				t.Fatalf("round %d reported\n%s\nwant\n%s", i, a.story(), want)
			}
		}
	})
}
