package tws

import (
	"io"
	"net"
	"testing"
	"time"

	"ibconn/connector"

	"github.com/scmhub/ibapi"
)

// direct is a client of the library without a session.
type direct struct {
	*callbacks
	last chan struct{} // gets a token for each error message
}

func (d *direct) Error(int64, int64, int64, string, string) { d.last <- struct{}{} }

// BenchmarkTicks compares the library behind the tap with the library by
// itself, in ticks per second.
func BenchmarkTicks(b *testing.B) {
	const burst = 200_000
	var ticks []byte
	for range burst {
		ticks = append(ticks, text(1, 6, 1, 1, 100.25, 300, 0)...)
	}
	ticks = append(ticks, text(4, 2, -1, 2100, "the last", "")...)
	greeting := append(append([]byte{}, versionReply...), append(text(15, 1, "DU1234567"), text(9, 1, 1)...)...)

	// serve greets one client, sends it the burst for each token, and closes.
	serve := func(p *peer, again <-chan struct{}) {
		conn, err := p.listener.AcceptTCP()
		if err != nil {
			return
		}
		defer conn.Close()
		go io.Copy(io.Discard, conn)
		conn.Write(greeting)
		for range again {
			conn.Write(ticks)
		}
	}

	alone := func() time.Duration {
		p, again := newPeer(b), make(chan struct{})
		d := &direct{callbacks: newCallbacks(1, newQueue(10), new(probes)), last: make(chan struct{})}
		go serve(p, again)
		client := ibapi.NewEClient(d)
		addr := p.listener.Addr().(*net.TCPAddr)
		if err := client.Connect("127.0.0.1", addr.Port, 1); err != nil {
			b.Fatal(err)
		}
		<-d.introduced
		began := time.Now()
		again <- struct{}{}
		<-d.last
		took := time.Since(began)
		close(again)
		<-d.closed
		return took
	}
	behind := func() time.Duration {
		p, again := newPeer(b), make(chan struct{})
		go serve(p, again)
		a := begin(b, new(Dialer), p.addr(), 1)
		await(a, anyOf[connector.Greeted])
		began := time.Now()
		again <- struct{}{}
		await(a, anyOf[connector.Noticed])
		took := time.Since(began)
		close(again)
		a.wait()
		return took
	}

	var direct, tapped time.Duration
	for b.Loop() {
		direct += alone()
		tapped += behind()
	}
	total := float64(b.N) * burst
	b.ReportMetric(total/direct.Seconds(), "direct-ticks/s")
	b.ReportMetric(total/tapped.Seconds(), "tapped-ticks/s")
	b.ReportMetric(direct.Seconds()/tapped.Seconds(), "tapped/direct")
}
