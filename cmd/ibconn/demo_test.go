package main

import (
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestTheDemoShowsANightAndItsIncidents(t *testing.T) {
	noLeaks(t)
	// Somebody else has the port: the demo goes on without it.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	out := cliOK(t, "demo", "--seconds", "10", "--listen", taken.Addr().String())
	if !containsAll(out, taken.Addr().String()+" is taken", "nats sub 'ib.conn.*' --server nats://127.0.0.1:", "The dashboard is at http://127.0.0.1:", "● link to IB proven up by an answer after ") {
		t.Errorf("the demo does not say how to look at it:\n%s", out)
	}
	_, table, _ := strings.Cut(out, "\n5 incidents in ")
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^  (\d)  \S+  (degraded|down) +\S+ \S+ +(.*)$`).FindAllStringSubmatch(table, -1) {
		got = append(got, strings.Join(m[1:], " "))
	}
	want := []string{
		"1 degraded farm market_data/usfarm down (2103)",
		"2 degraded link to IB down (1100)",
		"3 down the gateway reset the connection",
		"4 down the gateway closed the connection",
		"5 down the gateway stopped answering heartbeats",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the demo's incidents are %q, want %q; it showed\n%s", got, want, out)
	}
	if !strings.Contains(table, "attempts: the client id is already in use") {
		t.Errorf("the demo does not say why the reset took so long:\n%s", table)
	}
	if strings.Contains(table, "still open") || !strings.Contains(out, "stopped: our process was told to end") {
		t.Errorf("the demo ends before the night does:\n%s", out)
	}
}
