package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"ibconn/bus"
	"ibconn/events"
	"ibconn/testenv/hub"
)

// bareHub is an external server and nothing else.
func bareHub(dir, address string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	host, port, err := net.SplitHostPort(address)
	s := &hub.Server{Dir: dir, Host: host}
	if err == nil {
		s.Port, err = strconv.Atoi(port)
	}
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitFailed
	}
	fmt.Println("hub", s.URL())
	<-ctx.Done()
	s.Stop()
	return exitDone
}

// flowPerSecond is how many events flow while a hub is broken.
const flowPerSecond = 500

// flow writes events as fast as that and relays them to a hub, until it is told to
// end; then it waits until the hub has all of them.
func flow(dir, url string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := flowUntil(ctx, dir, url); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitFailed
	}
	return exitDone
}

func flowUntil(ctx context.Context, dir, url string) error {
	server, err := bus.Open(bus.ServerOptions{StoreDir: dir})
	if err != nil {
		return err
	}
	defer server.Close()
	nc, err := server.Connect("flow")
	if err != nil {
		return err
	}
	defer nc.Close()
	log, err := bus.OpenLog(ctx, nc, bus.LogOptions{})
	if err != nil {
		return err
	}
	writer, err := log.Writer("main", dir)
	if err != nil {
		return err
	}
	there, err := bus.DialHub(bus.HubOptions{URL: url, Name: "flow"})
	if err != nil {
		return err
	}
	defer there.Close()
	relay := &bus.Relay{Local: log, Hub: there, Connections: []events.ConnectionID{"main"}}
	relaying, end := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- relay.Run(relaying) }()
	err = writeUntil(ctx, writer)
	for settled := time.Now().Add(liveness); err == nil; {
		s, asked := relay.Status(relaying, "main")
		switch {
		case asked != nil:
			err = asked
		case s.Status == events.RelayCurrent:
			fmt.Printf("current %+v\n", s)
			end()
			<-ended
			return nil
		case time.Now().After(settled):
			err = fmt.Errorf("the relay is %+v", s)
		}
		time.Sleep(20 * time.Millisecond)
	}
	end()
	return errors.Join(err, <-ended)
}

func writeUntil(ctx context.Context, w *bus.Writer) error {
	n := 0
	author := events.Author{Connection: "main", Source: "/ibconn/flow", NewID: func() string { n++; return "flow-" + strconv.Itoa(n) }}
	var head events.Head
	write := func(e events.Event, store func(context.Context, events.Recorded) error) error {
		r, err := head.Next(author, events.Draft{Event: e}, time.Now())
		if err == nil {
			err = store(context.WithoutCancel(ctx), r)
		}
		head = head.Then(r)
		return err
	}
	if err := write(&events.EpochBegan{Instance: "flow", PID: os.Getpid(), Version: version}, w.Claim); err != nil {
		return err
	}
	fmt.Println("flowing")
	tick := time.NewTicker(time.Second / flowPerSecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := write(&events.GatewayReported{Attempt: 1, RequestID: -1, Class: events.ClassInfo, Message: "a notice"}, w.Append); err != nil {
			return err
		}
	}
}
