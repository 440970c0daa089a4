package tws

import (
	"context"
	"encoding/binary"
	"net"
	"testing"

	"ibconn/connector"
	"ibconn/events"
	"ibconn/testenv/gateway"
)

// named makes every name resolve to addresses while the test lasts, as a name
// server with several A records does.
func named(t *testing.T, addresses ...net.IP) {
	t.Helper()
	system := net.DefaultResolver
	t.Cleanup(func() { net.DefaultResolver = system })
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go nameServer(theirs, addresses)
		return ours, nil
	}}
}

// nameServer answers questions as they come over TCP, each behind its length.
func nameServer(conn net.Conn, addresses []net.IP) {
	defer conn.Close()
	for {
		var size [2]byte
		if _, err := conn.Read(size[:]); err != nil {
			return
		}
		question := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := conn.Read(question); err != nil {
			return
		}
		if _, err := conn.Write(nameAnswer(question, addresses)); err != nil {
			return
		}
	}
}

// nameAnswer answers one question: with the addresses if it asks for those of
// IPv4, and with none otherwise.
func nameAnswer(question []byte, addresses []net.IP) []byte {
	const header, typeA = 12, 1
	end := header
	for question[end] != 0 { // the labels of the name
		end += 1 + int(question[end])
	}
	end += 5 // the root, the type, the class
	if binary.BigEndian.Uint16(question[end-4:]) != typeA {
		addresses = nil
	}
	answer := append([]byte(nil), question[:2]...)
	answer = append(answer, 0x81, 0x80, 0, 1, 0, byte(len(addresses)), 0, 0, 0, 0)
	answer = append(answer, question[header:end]...)
	for _, a := range addresses {
		answer = append(answer, 0xc0, header, 0, typeA, 0, 1, 0, 0, 0, 60, 0, 4) // of the name above, for a minute
		answer = append(answer, a.To4()...)
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)
}

func TestAGatewayWithSeveralAddressesIsFoundAtTheOneThatAnswers(t *testing.T) {
	leakFree(t)
	gw := gateway.Start(t, gateway.Config{})
	_, port, err := net.SplitHostPort(gw.Addr())
	if err != nil {
		t.Fatal(err)
	}
	named(t, net.IPv4(127, 0, 0, 2), net.IPv4(127, 0, 0, 3), net.IPv4(127, 0, 0, 1))
	a := begin(t, new(Dialer), net.JoinHostPort("gateway.example", port), 7)
	a.opened()
	if got := await(a, anyOf[connector.Reached]).Remote; got != gw.Addr() {
		t.Errorf("reached %s, want %s, the only one where something listens", got, gw.Addr())
	}
	a.end()
}

func TestAGatewayWhoseAddressesAllRefuseIsRefused(t *testing.T) {
	leakFree(t)
	p := newPeer(t)
	_, port, err := net.SplitHostPort(p.addr())
	if err != nil {
		t.Fatal(err)
	}
	p.listener.Close()
	named(t, net.IPv4(127, 0, 0, 2), net.IPv4(127, 0, 0, 1))
	a := begin(t, new(Dialer), net.JoinHostPort("gateway.example", port), 7)
	if got := a.ended().Cause; got != events.CauseRefused {
		t.Errorf("ended with %s, want %s", got, events.CauseRefused)
	}
	a.wait()
}
