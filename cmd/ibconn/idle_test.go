package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"ibconn/testenv/gateway"
)

// resources is what a process has taken of the machine.
type resources struct {
	resident float64 // bytes
	busy     float64 // seconds of CPU time
}

// ticksPerSecond is the unit of /proc/<pid>/stat: USER_HZ, which Linux shows
// every program as 100.
const ticksPerSecond = 100

func resourcesOf(pid int) (resources, error) {
	var r resources
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return r, err
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kilobytes, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	if err != nil {
		return r, err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return r, err
	}
	// The name in parentheses may hold blanks; utime and stime are the 12th
	// and 13th fields after it.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	for _, ticks := range fields[11:13] {
		n, err := strconv.ParseFloat(ticks, 64)
		if err != nil {
			return r, err
		}
		r.busy += n / ticksPerSecond
	}
	r.resident = kilobytes * 1024
	return r, nil
}

// BenchmarkIdle shows what "ibconn run" takes with one healthy connection, and
// what of it is the embedded NATS server alone, in a process of the same
// program. Each round takes 10 seconds.
func BenchmarkIdle(b *testing.B) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		b.Skip("needs /proc")
	}
	gw := gateway.Start(b, simulated)
	whole := startProcess(b, []string{"run", "--listen", "127.0.0.1:0", "--http", "off", "--log-format", "json", "--data", b.TempDir(), "--gateway", gw.Addr()})
	whole.ready()
	bare := &program{t: b, cmd: asProgram("bus", b.TempDir())}
	bare.cmd.Stdout, bare.cmd.Stderr = &bare.out, &bare.err
	bare.start()
	bare.out.find(b, "(nats://.*)\n")

	measure := func(p *program) resources {
		r, err := resourcesOf(p.cmd.Process.Pid)
		if err != nil {
			b.Fatal(err)
		}
		return r
	}
	const window = 10 * time.Second
	var wholeBusy, bareBusy, seconds float64
	for b.Loop() {
		wholeBefore, bareBefore := measure(whole), measure(bare)
		time.Sleep(window)
		wholeBusy += measure(whole).busy - wholeBefore.busy
		bareBusy += measure(bare).busy - bareBefore.busy
		seconds += window.Seconds()
	}
	wholeResident, bareResident := measure(whole).resident, measure(bare).resident
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(wholeResident/1e6, "MB")
	b.ReportMetric(bareResident/1e6, "MB-bus-alone")
	b.ReportMetric(wholeResident/bareResident, "memory-ratio")
	b.ReportMetric(100*wholeBusy/seconds, "%CPU")
	b.ReportMetric(100*bareBusy/seconds, "%CPU-bus-alone")
}
