package main

import (
	"os"
	"testing"
	"time"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/testenv/gateway"
)

// BenchmarkLinkFlood shows what 10,000 repeated 1100s cost a process of its own:
// CPU time, and how much the log grows. It prints how many were counted, which
// must be all.
func BenchmarkLinkFlood(b *testing.B) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		b.Skip("needs /proc")
	}
	const n = 10_000
	gw := gateway.Start(b, simulated)
	p := startProcess(b, runArgs(b.TempDir(), gw.Addr(), "--repeat-every", "1s"))
	p.ready()
	const lost = "Connectivity between IBKR and Trader Workstation has been lost."
	var busy, counted, stored, bytes float64
	for b.Loop() {
		before, err := resourcesOf(p.cmd.Process.Pid)
		if err != nil {
			b.Fatal(err)
		}
		at := p.position()
		for sent := range n {
			gw.Error(-1, 1100, lost)
			if sent%500 == 499 {
				time.Sleep(time.Millisecond) // the gateway's outbox is bounded
			}
		}
		gw.Error(-1, 1102, "Connectivity between IBKR and Trader Workstation has been restored - data maintained.")
		wait(p, at, func(*events.LinkCameBack) bool { return true })
		seen := 0
		within(b, "count of every notice", func() bool {
			seen, stored, bytes = 0, 0, 0
			for e, err := range p.log.Read(b.Context(), bus.Query{After: at}) {
				if err != nil {
					b.Fatal(err)
				}
				stored++
				bytes += float64(len(e.Wire))
				seen += said(e.Event, 1100)
			}
			return seen >= n
		})
		after, err := resourcesOf(p.cmd.Process.Pid)
		if err != nil {
			b.Fatal(err)
		}
		busy, counted = after.busy-before.busy, float64(seen)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(counted, "counted")
	b.ReportMetric(stored, "events-stored")
	b.ReportMetric(bytes, "log-bytes")
	b.ReportMetric(1e6*busy/n, "CPU-us/notice")
}

// said returns how many notices with a code e stands for.
func said(e events.Event, code int) int {
	switch e := e.(type) {
	case *events.LinkWentDown:
		if e.Code == code {
			return 1
		}
	case *events.GatewayReported:
		if e.Code == code {
			return 1
		}
	case *events.GatewayRepeated:
		if e.Code == code {
			return e.Count
		}
	}
	return 0
}
