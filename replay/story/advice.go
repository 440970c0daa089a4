package story

import (
	"ibconn/consumers/incidents"
	"ibconn/events"
)

// advice says what to do about an incident, in a sentence; nothing where IB's codes, or
// what happened by itself, say enough.
func advice(i incidents.Incident) string {
	if i.Window != "" && !i.Open() {
		return "What to do: nothing, unless it took longer than it should."
	}
	words := adviceOn(i.Root)
	for _, s := range i.Chain {
		switch {
		case s.What == incidents.LoginNeeded:
			words = "log in at the gateway's window, which waited for a person"
		case words == "" && s.What == incidents.AttemptFailed && s.Cause == events.CauseClientIDInUse:
			words = causeAdvice[s.Cause]
		}
	}
	if words == "" {
		return ""
	}
	return "What to do: " + words + "."
}

func adviceOn(s incidents.Step) string {
	switch s.What {
	case incidents.LinkSilent:
		return "look at the gateway's window for its connection to IB, and at the network between it and IB"
	case incidents.SubscriptionDark:
		return "look whether the market was open and traded, and whether others of the same farm went on"
	case incidents.LoginNeeded:
		return "log in at the gateway's window"
	case incidents.PortMoved:
		return "give the new port as one of --fallbacks, or set the old one in the gateway's API settings"
	case incidents.AttemptFailed, incidents.BreakerOpen, incidents.SessionLost, incidents.SessionStale, incidents.LinkDown,
		incidents.DataLost, incidents.FarmDown, incidents.CompetingSession, incidents.SubscriptionFailed:
	}
	return causeAdvice[s.Cause]
}

// causeAdvice says what to do about a session that was lost, or an attempt that failed.
var causeAdvice = map[events.Cause]string{
	events.CauseReset:              "look into the gateway's own log for that minute: it ended, crashed or was restarted",
	events.CauseClosedByGateway:    "look into the gateway's own log for that minute: it was closed, or restarted itself",
	events.CauseRefused:            "start the gateway, and check that its API is on and listens on the configured port",
	events.CauseHeartbeatLost:      "look at the gateway's host for that minute: a process that hangs, swaps or is out of memory falls silent like this",
	events.CauseNetworkTimeout:     "look at the network between this host and the gateway's: nothing was acknowledged",
	events.CauseDialTimeout:        "look at the network to the gateway's host, and at its firewall",
	events.CauseUnreachable:        "look at the network to the gateway's host: there was no route",
	events.CauseNameNotFound:       "check the gateway's host name, and the name servers of this host",
	events.CauseClosedInGreeting:   "check the gateway's trusted addresses, and that it is logged in",
	events.CauseMuteInGreeting:     "look at the gateway's window: it may wait for a login, or hang",
	events.CauseClientIDInUse:      "find who else uses the client id, or configure --spare-client-ids",
	events.CauseUnsupportedVersion: "update the gateway, or ibconn: they have no version of the API in common",
	events.CauseProcessRestarted:   "look why our own process ended: its log and the system's journal, for a kill or a lack of memory",
	events.CauseGarbled:            "look what listens on the gateway's port: these bytes were not the API's",
	events.CausePacing:             "lower --lines, or ask for less at once: the gateway ends sessions that are too fast",
	events.CauseOverrun:            "look at this host's disk and processor: what came could not be recorded in time",
}
