package main

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"ibconn/events"
	"ibconn/testenv/gateway"
)

func TestNothingShowsAnAccount(t *testing.T) {
	for name, version := range map[string]int{"text": 176, "protobuf": 225} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			gw := gateway.Start(t, gateway.Config{Accounts: []string{account, "U7654321"}, ServerVersion: version})
			dir := t.TempDir()
			p := startProcess(t, runArgs(dir, gw.Addr(), "--debug"))
			feed := make(chan *nats.Msg, 1000)
			if _, err := p.nc.ChanSubscribe(events.FeedSubjects, feed); err != nil {
				t.Fatal(err)
			}
			at := p.ready()
			gw.Error(-1, 321, "Error validating request: account "+account+" is not U7654321.")
			gw.Error(-1, 1100, "Connectivity of "+account+" has been lost.")
			wait(p, at, func(*events.LinkWentDown) bool { return true })
			var shown strings.Builder
			show := func(args ...string) {
				_, out, text := cli(t, append(args, "--nats", p.url)...)
				shown.WriteString(out + text)
			}
			show("status")
			show("status", "--json")
			show("reconnect", "--reason", "somebody moved "+account, "--wait", "20s")
			at = p.position()
			gw.Error(-1, 321, account+" again, into the flight recorder")
			wait(p, at, func(*events.GatewayReported) bool { return true })
			gw.Reset()
			lost, _ := wait(p, at, func(*events.SessionLost) bool { return true })
			if len(lost.Flight) == 0 {
				t.Error("the session was lost without a flight record")
			}
			wait(p, at, func(*events.SessionOpened) bool { return true })
			show("status", "--json")
			shown.Write(raw(t, p.nc, "ib.cmd.main.reconnect", `{"reason":"`+account+`","id":7}`).Data)
			p.stop()
			shown.WriteString(p.out.String() + p.err.String())
			for len(feed) > 0 {
				shown.Write((<-feed).Data)
			}
			for _, e := range stored(t, dir) {
				shown.Write(e.Wire)
			}

			for _, id := range []string{account, "U7654321", hex.EncodeToString([]byte(account)), hex.EncodeToString([]byte("U7654321"))} {
				if i := strings.Index(shown.String(), id); i >= 0 {
					t.Errorf("%s is shown: ...%s...", id, shown.String()[max(0, i-200):min(shown.Len(), i+100)])
				}
			}
			if !containsAll(shown.String(), "DU***67", "U***21") {
				t.Error("the accounts are not even shown masked")
			}
		})
	}
}
