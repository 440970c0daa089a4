package main

import (
	"encoding/json"
	"testing"
	"time"

	"ibconn/consumers/incidents"
	"ibconn/events"
	"ibconn/testenv/gateway"
)

func TestAnIncidentIsToldOnTheBus(t *testing.T) {
	gw := gateway.Start(t, simulated)
	p := startRun(t, runArgs(t.TempDir(), gw.Addr()))
	p.ready()
	sub, err := p.nc.SubscribeSync(events.IncidentSubjects)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	gw.Reset()
	m, err := sub.NextMsg(30 * time.Second)
	if err != nil {
		t.Fatalf("nothing is told of a session that was reset: %v", err)
	}
	var i incidents.Incident
	if err := json.Unmarshal(m.Data, &i); err != nil {
		t.Fatal(err)
	}
	if m.Subject != "ib.incident.main.opened" || !i.Open() || i.Root.Cause != events.CauseReset || i.Attribution != events.AttributionGateway {
		t.Errorf("%s says %s, want that the gateway reset the connection", m.Subject, m.Data)
	}
}
