package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/scmhub/ibapi"

	"ibconn/events"
	"ibconn/testenv/gateway"
)

// clientsOfTheLibrary is a program that holds so many sessions of the bare API
// library with a gateway, for comparison.
func clientsOfTheLibrary(address string, n int) int {
	ibapi.SetLogger(zerolog.Nop())
	host, port := address[:len("127.0.0.1")], address[len("127.0.0.1:"):]
	number, err := strconv.Atoi(port)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitFailed
	}
	var clients []*ibapi.EClient
	for id := range int64(n) {
		client := ibapi.NewEClient(nil)
		if err := client.Connect(host, number, id+1); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return exitFailed
		}
		clients = append(clients, client)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fmt.Println("connected", len(clients))
	<-ctx.Done()
	return exitDone
}

// BenchmarkConnectionMemory shows what each further connection of a run takes,
// beside each further EClient of the bare library in a program that does
// nothing with it: a connection is also a state, a writer of the log, a service
// for its commands, a tap with its flight recorder.
func BenchmarkConnectionMemory(b *testing.B) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		b.Skip("needs /proc")
	}
	const many = 32
	gw := gateway.Start(b, simulated)
	settled := func(p *program) float64 {
		time.Sleep(5 * time.Second) // let garbage be collected, and buffers settle
		r, err := resourcesOf(p.cmd.Process.Pid)
		if err != nil {
			b.Fatal(err)
		}
		return r.resident
	}
	run := func(n int) float64 {
		p := startProcess(b, fileArgs(b, b.TempDir(), fmt.Sprintf("gateway: \"%s\"\npool: {client_ids: 101-%d}\n", gw.Addr(), 100+n)))
		p.becomes("main", events.ConditionHealthy)
		defer p.stop()
		return settled(p)
	}
	clients := func(n int) float64 {
		p := &program{t: b, cmd: asProgram("clients", gw.Addr(), strconv.Itoa(n))}
		p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
		p.start()
		p.out.find(b, `(connected \d+)`)
		defer p.kill()
		return settled(p)
	}
	var ours, theirs float64
	for b.Loop() {
		ours = (run(many) - run(1)) / (many - 1)
		theirs = (clients(many) - clients(1)) / (many - 1)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ours/1e3, "kB/connection")
	b.ReportMetric(theirs/1e3, "kB/EClient")
	b.ReportMetric(ours/theirs, "memory-ratio")
}
