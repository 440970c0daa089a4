package main

import (
	"errors"
	"os"
	"strconv"
	"testing"
	"time"

	"ibconn/events"
	"ibconn/testenv/gateway"
)

func TestASecondRunOnTheSameDirectoryIsRefused(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	dir := t.TempDir()
	p := startProcess(t, runArgs(dir, gw.Addr()))
	p.ready()
	exit, _, text := cli(t, runArgs(dir, gw.Addr())...)
	if exit != exitFailed || !containsAll(text, dir, "in use by process "+strconv.Itoa(p.cmd.Process.Pid), "--data") {
		t.Errorf("a second run = exit code %d, %q, want 1, the directory, who has it, and the way out", exit, text)
	}
	if s := p.status().State; s.Condition != events.ConditionHealthy || s.Epoch != 1 {
		t.Errorf("the first is %s in epoch %d after that, want healthy in epoch 1", s.Condition, s.Epoch)
	}
	p.stop()
}

func TestASecondRunOnTheSameAddressIsRefused(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr()))
	address := p.nc.ConnectedAddr()
	exit, _, text := cli(t, runArgs(t.TempDir(), gw.Addr(), "--listen", address)...)
	if exit != exitFailed || !containsAll(text, address, "address already in use", "--listen 127.0.0.1:0") {
		t.Errorf("a run on a taken address = exit code %d, %q, want 1, the address, and the way out", exit, text)
	}
}

func TestARunThatIsOvertakenStopsAndSaysSo(t *testing.T) {
	noLeaks(t)
	gw := gateway.Start(t, simulated)
	dir := t.TempDir()
	p := startRun(t, runArgs(dir, gw.Addr()))
	p.ready()

	other, err := p.log.Writer("main", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	author := events.Author{Connection: "main", Source: "/ibconn/other", NewID: func() string { return "taken" }}
	claim := func() error {
		var head events.Head
		for r, err := range other.Load(t.Context()) {
			if err != nil {
				return err
			}
			head = head.Then(r)
		}
		r, err := head.Next(author, events.Draft{Event: &events.EpochBegan{Instance: "other", PID: os.Getpid(), PreviousEpoch: head.Epoch}}, time.Now())
		if err != nil {
			return err
		}
		return other.Claim(t.Context(), r)
	}
	within(t, "claim", func() bool {
		err := claim()
		if err != nil && !errors.Is(err, events.ErrSuperseded) {
			t.Fatal(err)
		}
		return err == nil
	})

	if exit := p.exit(); exit != exitSuperseded {
		t.Errorf("exit code of the one that was overtaken = %d, want 3", exit)
	}
	if text := p.err.String(); !containsAll(text, "another writer took the connection") {
		t.Errorf("the one that was overtaken says %q, want that another writer took the connection", text)
	}
	left(t, gw)
	all := stored(t, dir)
	if state := fold(t, all); state.Epoch != 2 || all[len(all)-1].ID != "taken" {
		t.Errorf("the log ends in epoch %d with %s, want the other's claim of epoch 2", state.Epoch, all[len(all)-1].Wire)
	}
}
