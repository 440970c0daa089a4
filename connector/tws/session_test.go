package tws

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ibconn/connector"
	"ibconn/events"
	"ibconn/testenv/gateway"

	"github.com/scmhub/ibapi"
)

// eachVersion runs a test against a gateway that speaks text and one that
// speaks protobuf.
func eachVersion(t *testing.T, cfg gateway.Config, test func(t *testing.T, gw *gateway.Gateway)) {
	for name, version := range map[string]int{"text": 176, "protobuf": 225} {
		t.Run(name, func(t *testing.T) {
			leakFree(t)
			cfg.ServerVersion = version
			test(t, gateway.Start(t, cfg))
		})
	}
}

// idIsFree waits until the gateway has noticed that its last client left. One
// that comes earlier gets error 326.
func idIsFree(t *testing.T, gw *gateway.Gateway) {
	t.Helper()
	eventually(t, "the client id is free", func() bool { return gw.Stats().Open == 0 })
}

func TestASessionOpensInOrder(t *testing.T) {
	eachVersion(t, gateway.Config{Accounts: []string{"DU1234567", "DU7654321"}, FirstOrderID: 42}, func(t *testing.T, gw *gateway.Gateway) {
		a := begin(t, new(Dialer), gw.Addr(), 7)
		opened := a.opened()
		if want := "Reached Greeted Noticed(2104) Noticed(2106) Noticed(2158) Opened"; a.story() != want {
			t.Errorf("reported was\n%s\nwant\n%s", a.story(), want)
		}
		if !slices.Equal(opened.Accounts, []string{"DU1234567", "DU7654321"}) || opened.NextValidID != 42 {
			t.Errorf("opened with %v and %d, want both accounts and 42", opened.Accounts, opened.NextValidID)
		}
		if a := opened.Answer; a.SentAt.After(a.ReceivedAt) || a.Gateway.After(a.ReceivedAt) || time.Since(a.Gateway) > time.Minute {
			t.Errorf("opened with the answer %+v, want it sent before received and about now", a)
		}
		noticed := await(a, anyOf[connector.Noticed])
		if noticed.RequestID != -1 || !strings.Contains(noticed.Message, "usfarm") {
			t.Errorf("noticed %+v, want the farm notice", noticed)
		}

		a.end()
		if got := gw.Stats(); got.Foreign != 0 || got.Accepted != 1 || got.Requests[gateway.ReqCurrentTime] != 1 {
			t.Errorf("the gateway saw %+v, want one connection with one reqCurrentTime", got)
		}
		if strings.Contains(a.story(), "Ended") {
			t.Errorf("reported was\n%s\nwant no Ended after the connector's own end", a.story())
		}
	})
}

func TestAProbeIsAnswered(t *testing.T) {
	eachVersion(t, gateway.Config{}, func(t *testing.T, gw *gateway.Gateway) {
		a := begin(t, new(Dialer), gw.Addr(), 7)
		opened := a.opened()
		a.session.Probe(5)
		got := await(a, anyOf[connector.Answered])
		if got.Number != 5 || got.Answer.SentAt.After(got.Answer.ReceivedAt) {
			t.Errorf("answered %+v, want probe 5 sent before received", got)
		}
		if apart := got.Answer.SentAt.Sub(opened.Answer.SentAt); apart < probeSpacing {
			t.Errorf("the probe left %v after the last reqCurrentTime, want %v or more", apart, probeSpacing)
		}
	})
}

func TestAnAnswerIsCreditedToTheNewestProbe(t *testing.T) {
	p, at := new(probes), time.Unix(1000, 0)
	credited := func() string {
		number, answer, ok := p.answer(at, at.Add(time.Hour))
		if !ok {
			return "life"
		}
		return fmt.Sprint(number, " after ", answer.ReceivedAt.Sub(answer.SentAt))
	}
	var got []string
	got = append(got, credited())
	p.call(1)
	got = append(got, credited()) // it has not left
	p.left(at)
	p.call(2)
	got = append(got, credited(), credited())
	p.left(at.Add(time.Minute))
	p.call(3)
	p.left(at.Add(2 * time.Minute))
	got = append(got, credited(), credited())
	p.left(at) // a reqCurrentTime that nobody announced
	got = append(got, credited())
	want := []string{"life", "life", "1 after 1h0m0s", "life", "3 after 58m0s", "life", "life"}
	if !slices.Equal(got, want) {
		t.Errorf("credited were %q, want %q", got, want)
	}
	p.answer(at, at.Add(time.Hour))
	if got, want := p.due(), at.Add(time.Hour+time.Second); got != want {
		t.Errorf("after an answer at %v the next probe is due at %v, want %v", at.Add(time.Hour), got, want)
	}
}

func TestTheEndIsReportedWithItsCause(t *testing.T) {
	eachVersion(t, gateway.Config{}, func(t *testing.T, gw *gateway.Gateway) {
		for _, c := range []struct {
			fault  func()
			cause  events.Cause
			detail string
		}{
			{func() { gw.FIN() }, events.CauseClosedByGateway, "end of stream"},
			{func() { gw.Reset() }, events.CauseReset, "reset"},
			{func() { gw.CutMidFrame() }, events.CauseClosedByGateway, "in the middle of a frame"},
			{func() { gw.OverlongFrame() }, events.CauseGarbled, "a frame of"},
			{func() { gw.BurstThenFIN(10_000) }, events.CauseClosedByGateway, "end of stream"},
		} {
			a := begin(t, new(Dialer), gw.Addr(), 7)
			a.opened()
			c.fault()
			ended := a.ended()
			a.wait()
			idIsFree(t, gw)
			if ended.Cause != c.cause || !strings.Contains(ended.Detail, c.detail) {
				t.Errorf("ended with %s: %s, want %s: ... %s ...", ended.Cause, ended.Detail, c.cause, c.detail)
			}
			if n := len(ended.Record.Frames); n == 0 || ended.Record.Frames[0].Name != "hello" && n < defaultFrames {
				t.Errorf("ended with the frames %+v, want all from the hello on, or the last %d", ended.Record.Frames, defaultFrames)
			}
			if want := "Reached Greeted Noticed(2104) Noticed(2106) Noticed(2158) Opened Ended(" + string(c.cause) + ")"; a.story() != want {
				t.Errorf("reported was\n%s\nwant\n%s", a.story(), want)
			}
		}
	})
}

func TestAGatewayThatDoesNotGreetIsReported(t *testing.T) {
	eachVersion(t, gateway.Config{}, func(t *testing.T, gw *gateway.Gateway) {
		for mode, want := range map[gateway.AcceptMode]string{
			gateway.CloseAtOnce:        "Reached Ended(closed_by_gateway)",
			gateway.CloseAfterStartAPI: "Reached Greeted Ended(closed_by_gateway)",
		} {
			gw.OnAccept(mode)
			a := begin(t, new(Dialer), gw.Addr(), 7)
			a.ended()
			a.wait()
			if a.story() != want {
				t.Errorf("mode %d: reported was\n%s\nwant\n%s", mode, a.story(), want)
			}
		}
	})
}

func TestAMuteGatewayIsLeftWhenTheContextEnds(t *testing.T) {
	eachVersion(t, gateway.Config{}, func(t *testing.T, gw *gateway.Gateway) {
		for _, c := range []struct {
			mode gateway.AcceptMode
			till func(a *attempt)
			want string
		}{
			{gateway.StayMute, func(a *attempt) { await(a, anyOf[connector.Reached]) }, "Reached"},
			{gateway.MuteAfterGreeting, func(a *attempt) { await(a, anyOf[connector.Greeted]) }, "Reached Greeted"},
			{gateway.Normal, func(a *attempt) {
				a.opened()
				gw.Stall(true)
				a.session.Probe(1)
			}, "Reached Greeted Noticed(2104) Noticed(2106) Noticed(2158) Opened"},
		} {
			gw.OnAccept(c.mode)
			a := begin(t, new(Dialer), gw.Addr(), 7)
			c.till(a)
			a.end()
			if a.story() != c.want {
				t.Errorf("mode %d: reported was\n%s\nwant\n%s", c.mode, a.story(), c.want)
			}
		}
		gw.Stall(false)
		idIsFree(t, gw)
	})
}

func TestARefusedDialIsReported(t *testing.T) {
	leakFree(t)
	p := newPeer(t)
	p.listener.Close()
	a := begin(t, new(Dialer), p.addr(), 7)
	if got := a.ended().Cause; got != events.CauseRefused {
		t.Errorf("ended with %s, want %s", got, events.CauseRefused)
	}
	a.wait()
	if want := "Ended(refused)"; a.story() != want {
		t.Errorf("reported was\n%s\nwant\n%s", a.story(), want)
	}
}

func TestAnIPv6GatewayIsReached(t *testing.T) {
	leakFree(t)
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6 loopback: %v", err)
	}
	defer l.Close()
	a := begin(t, new(Dialer), l.Addr().String(), 7)
	if got := await(a, anyOf[connector.Reached]).Remote; got != l.Addr().String() {
		t.Errorf("reached %s, want %s", got, l.Addr())
	}
	a.end()
}

// TestABadAnswerToTheHelloNeverReachesTheLibrary has the answers that ibapi
// panics on, or keeps its socket open after.
func TestABadAnswerToTheHelloNeverReachesTheLibrary(t *testing.T) {
	for name, c := range map[string]struct {
		answer []byte
		want   events.Cause
	}{
		"empty":        {frame(nil), events.CauseGarbled},
		"one field":    {text(176), events.CauseGarbled},
		"no NUL":       {frame([]byte("176")), events.CauseGarbled},
		"not a number": {text("abc", "time"), events.CauseGarbled},
		"too old":      {text(38, "time"), events.CauseUnsupportedVersion},
		"too new":      {text(999, "time"), events.CauseUnsupportedVersion},
		"HTTP":         {[]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), events.CauseGarbled},
	} {
		t.Run(name, func(t *testing.T) {
			leakFree(t)
			p := newPeer(t)
			a := begin(t, new(Dialer), p.addr(), 7)
			p.accept()
			p.write(c.answer)
			a.ended()
			a.wait()
			if want := "Reached Ended(" + string(c.want) + ")"; a.story() != want {
				t.Errorf("reported was\n%s\nwant\n%s", a.story(), want)
			}
		})
	}
}

func TestAMessageThatCannotBeDecodedEndsTheSession(t *testing.T) {
	leakFree(t)
	p := newPeer(t)
	a := begin(t, new(Dialer), p.addr(), 7)
	p.accept()
	// All in one write, and so ahead of startApi: the library must be up
	// before it gets to see the last one, or it crashes the process.
	p.write(slices.Concat(versionReply, text(15, 1, "U1234567"), text(4, 2, -1, 2104, "fine", ""), text(9)))
	ended := a.ended()
	a.wait()
	if ended.Cause != events.CauseGarbled || !strings.Contains(ended.Detail, "decode") {
		t.Errorf("ended with %s: %s, want %s as it could not be decoded", ended.Cause, ended.Detail, events.CauseGarbled)
	}
	if want := "Reached Greeted Noticed(2104) Ended(garbled)"; a.story() != want {
		t.Errorf("reported was\n%s\nwant\n%s", a.story(), want)
	}
}

// TestNonsenseInAFloodEndsTheSession is the one case in which the library may
// not let go: its scanner waits for the decoder that is gone.
func TestNonsenseInAFloodEndsTheSession(t *testing.T) {
	d := &Dialer{TeardownTimeout: 500 * time.Millisecond}
	flood := bytes.Repeat(text(1, 6, 1, 1, 100.25, 300, 0), 5000)
	stream := slices.Concat(versionReply, flood, text(9), flood)
	for range 5 {
		p := newPeer(t)
		a := begin(t, d, p.addr(), 7)
		p.accept()
		p.conn.Write(stream) // the session may be over before all is written
		ended := a.ended()
		a.wait()
		if ended.Cause != events.CauseGarbled {
			t.Errorf("ended with %s: %s, want %s", ended.Cause, ended.Detail, events.CauseGarbled)
		}
		if story := a.story(); story != "Reached Greeted Ended(garbled)" && story != "Reached Greeted Ended(garbled) Abandoned" {
			t.Errorf("reported was\n%s\nwant the end, and perhaps that something was abandoned", story)
		}
	}
}

func TestAMessageOfUnknownKindIsNoticedWithoutARequest(t *testing.T) {
	for name, c := range map[string]struct {
		version int
		frame   []byte
		code    int64
	}{
		"text":     {176, text(199, 1), ibapi.BAD_MESSAGE.Code},
		"protobuf": {225, raw(235, ""), ibapi.UNKNOWN_ID.Code},
	} {
		t.Run(name, func(t *testing.T) {
			leakFree(t)
			p := newPeer(t)
			a := begin(t, new(Dialer), p.addr(), 7)
			p.accept()
			p.write(append(text(c.version, "time"), c.frame...))
			got := await(a, anyOf[connector.Noticed])
			if got.RequestID != -1 || got.Code != int(c.code) {
				t.Errorf("noticed %+v, want code %d for no request", got, c.code)
			}
		})
	}
}

func TestNoMessageBeforeACloseIsLost(t *testing.T) {
	const burst = 2000
	eachVersion(t, gateway.Config{}, func(t *testing.T, gw *gateway.Gateway) {
		a := begin(t, new(Dialer), gw.Addr(), 7)
		a.opened()
		for i := range burst {
			gw.Error(-1, 1000+i, "one of many")
		}
		gw.FIN()
		a.ended()
		news := a.all()
		if len(news) < burst+1 {
			t.Fatalf("%d reports, want more than %d", len(news), burst)
		}
		for i, in := range news[len(news)-burst-1 : len(news)-1] {
			if n, ok := in.(connector.Noticed); !ok || n.Code != 1000+i {
				t.Fatalf("report %d of the burst is %+v, want code %d", i, in, 1000+i)
			}
		}
		if _, ok := news[len(news)-1].(connector.Ended); !ok {
			t.Errorf("the last report is %+v, want Ended", news[len(news)-1])
		}
	})
}

func TestAnOrderNeverLeaves(t *testing.T) {
	eachVersion(t, gateway.Config{}, func(t *testing.T, gw *gateway.Gateway) {
		a := begin(t, new(Dialer), gw.Addr(), 7)
		a.opened()
		contract, order := ibapi.NewContract(), ibapi.NewOrder()
		contract.Symbol, contract.SecType, contract.Exchange, contract.Currency = "AAPL", "STK", "SMART", "USD"
		order.Action, order.OrderType, order.TotalQuantity = "BUY", "MKT", ibapi.StringToDecimal("1")
		for name, call := range map[string]func(*ibapi.EClient){
			"placeOrder":      func(c *ibapi.EClient) { c.PlaceOrder(1, contract, order) },
			"cancelOrder":     func(c *ibapi.EClient) { c.CancelOrder(1, ibapi.NewOrderCancel()) },
			"reqGlobalCancel": func(c *ibapi.EClient) { c.ReqGlobalCancel(ibapi.NewOrderCancel()) },
			"reqPositions":    func(c *ibapi.EClient) { c.ReqPositions() },
		} {
			a.session.calls <- call
			got := await(a, func(r connector.Refused) bool { return r.Name == name })
			if got.Attempt != 1 || got.Size == 0 || requestNames[got.MessageID] != name {
				t.Errorf("refused %+v, want %s", got, name)
			}
		}
		a.session.Probe(1)
		await(a, anyOf[connector.Answered])
		if gw.Orders() != 0 {
			t.Errorf("the gateway got %d orders, want none", gw.Orders())
		}
	})
}

func TestAnOverrunEndsTheSession(t *testing.T) {
	leakFree(t)
	gw := gateway.Start(t, gateway.Config{})
	s := newSession(new(Dialer), order(gw.Addr(), 7))
	s.news = newQueue(100)
	var reports []connector.Input
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(t.Context(), func(in connector.Input) {
			reports = append(reports, in)
			if _, ok := in.(connector.Opened); ok {
				for gw.Stats().Open > 0 { // the recorder is slow
					gw.Error(-1, 2104, "again")
				}
			}
		})
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("Run did not return")
	}
	last, ok := reports[len(reports)-1].(connector.Ended)
	if !ok || last.Cause != events.CauseOverrun {
		t.Errorf("the last of %d reports is %+v, want the end by %s", len(reports), reports[len(reports)-1], events.CauseOverrun)
	}
	if len(reports) > 200+10 {
		t.Errorf("%d were reported, want no more than two queues full", len(reports))
	}
}

// TestALibraryThatDoesNotLetGoIsAbandoned has a callback that does not return.
func TestALibraryThatDoesNotLetGoIsAbandoned(t *testing.T) {
	leakFree(t)
	gw := gateway.Start(t, gateway.Config{})
	d := &Dialer{TeardownTimeout: 500 * time.Millisecond}
	for total := range uint64(2) {
		a := begin(t, d, gw.Addr(), 7)
		a.opened()
		free := make(chan struct{})
		a.session.calls <- func(*ibapi.EClient) { <-free }
		gw.FIN()
		got := await(a, anyOf[connector.Abandoned])
		a.wait()
		if got.Total != total+1 || got.Waited < d.TeardownTimeout {
			t.Errorf("abandoned %+v, want number %d after %v or more", got, total+1, d.TeardownTimeout)
		}
		if !strings.HasSuffix(a.story(), "Ended(closed_by_gateway) Abandoned") {
			t.Errorf("reported was\n%s\nwant the end, and that something was abandoned", a.story())
		}
		close(free)
	}
}

func TestALongMessageIsMaskedBeforeItIsCut(t *testing.T) {
	q := newQueue(10)
	c := newCallbacks(1, q, new(probes))
	c.Error(1, 1700000000123, 321, strings.Repeat("DU1234567,", maxMessage), "")
	q.close()
	var got connector.Noticed
	q.deliver(func(in connector.Input) { got = in.(connector.Noticed) })
	if len(got.Message) > maxMessage || strings.Contains(got.Message, "12") {
		t.Errorf("the message is %d bytes, %.40q...%q, want at most %d without account ids", len(got.Message), got.Message, got.Message[len(got.Message)-20:], maxMessage)
	}
	if want := time.UnixMilli(1700000000123).UTC(); got.ReportedAt != want {
		t.Errorf("reported at %v, want %v", got.ReportedAt, want)
	}
}

func TestAProbeToASessionThatIsOverDoesNothing(t *testing.T) {
	leakFree(t)
	gw := gateway.Start(t, gateway.Config{})
	a := begin(t, new(Dialer), gw.Addr(), 7)
	a.opened()
	a.end()
	var returned atomic.Int64
	for i := range uint64(10 * waitingProbes) {
		a.session.Probe(i)
		returned.Add(1)
	}
	if got := gw.Stats().Requests[gateway.ReqCurrentTime]; got != 1 || returned.Load() != 10*waitingProbes {
		t.Errorf("the gateway got %d reqCurrentTime, want only the one that opened the session", got)
	}
}

// TestAnAttemptCanBeGivenUpAtAnyStage ends attempts while they report the
// first, second ... thing that they have to report.
func TestAnAttemptCanBeGivenUpAtAnyStage(t *testing.T) {
	eachVersion(t, gateway.Config{}, func(t *testing.T, gw *gateway.Gateway) {
		stages := strings.Fields("Reached Greeted Noticed(2104) Noticed(2106) Noticed(2158) Opened")
		for i := range 20 * (len(stages) + 1) {
			stage := i % (len(stages) + 1)
			ctx, cancel := context.WithCancel(t.Context())
			if stage == 0 {
				cancel()
			}
			var news []connector.Input
			new(Dialer).Attempt(order(gw.Addr(), int64(i))).Run(ctx, func(in connector.Input) {
				if news = append(news, in); len(news) == stage {
					cancel()
				}
			})
			// What was on its way may still be reported.
			story := tell(news)
			if !strings.HasPrefix(story, strings.Join(stages[:stage], " ")) || !strings.HasPrefix(strings.Join(stages, " "), story) {
				t.Fatalf("given up at stage %d, an attempt reported\n%s\nwant the beginning of %s", stage, story, stages)
			}
		}
		if got := gw.Stats().Foreign; got > 0 {
			t.Errorf("%d connections began with other bytes than a hello", got)
		}
	})
}
