package events

// Cause says why an attempt failed or a session ended. The set is closed for
// writers; readers keep a value they do not know.
type Cause string

// The causes.
const (
	CauseRefused            Cause = "refused"                // nobody listens on the gateway's port (ECONNREFUSED)
	CauseDialTimeout        Cause = "dial_timeout"           // no answer to TCP's SYN within the dial timeout
	CauseUnreachable        Cause = "unreachable"            // no route to the host or its network
	CauseNameNotFound       Cause = "name_not_found"         // the gateway's host name does not resolve
	CauseClosedInGreeting   Cause = "closed_during_greeting" // accepted, then closed before the session was ready
	CauseMuteInGreeting     Cause = "mute_during_greeting"   // accepted, then silent beyond a greeting deadline
	CauseClientIDInUse      Cause = "client_id_in_use"       // IB's error 326
	CauseUnsupportedVersion Cause = "unsupported_version"    // IB's errors 503 and 506, or a version we cannot speak
	CauseRejected           Cause = "rejected"               // the gateway refused the session with another code that a retry does not mend
	CauseReset              Cause = "reset"                  // TCP reset
	CauseClosedByGateway    Cause = "closed_by_gateway"      // orderly end of stream from the gateway
	CauseNetworkTimeout     Cause = "network_timeout"        // the kernel gave up on unacknowledged data or keepalives
	CauseGarbled            Cause = "garbled"                // bytes that cannot be the API's: a length out of range, an undecodable message
	CauseHeartbeatLost      Cause = "heartbeat_lost"         // no sign of life through the allowed number of missed answers
	CausePacing             Cause = "pacing"                 // the gateway ended the session because messages came too fast (error 100)
	CauseOverrun            Cause = "overrun"                // the gateway sent news faster than it could be recorded
	CauseProcessRestarted   Cause = "process_restarted"      // our process ended without closing the session, and a new one began
	CauseAskedFor           Cause = "asked_for"              // a command
	CauseShutdown           Cause = "shutdown"               // our process was told to end
	CauseOther              Cause = "other"                  // anything else; the detail says what
)

// Causes lists every cause this version can write.
var Causes = []Cause{
	CauseRefused, CauseDialTimeout, CauseUnreachable, CauseNameNotFound, CauseClosedInGreeting, CauseMuteInGreeting,
	CauseClientIDInUse, CauseUnsupportedVersion, CauseRejected, CauseReset, CauseClosedByGateway, CauseNetworkTimeout,
	CauseGarbled, CauseHeartbeatLost, CausePacing, CauseOverrun, CauseProcessRestarted, CauseAskedFor, CauseShutdown, CauseOther,
}

// Sentence says the cause in words a person can act on.
func (c Cause) Sentence() string {
	if s := causeSentences[c]; s != "" {
		return s
	}
	return string(c)
}

var causeSentences = map[Cause]string{
	CauseRefused:            "nothing listens on the gateway's port",
	CauseDialTimeout:        "the gateway's host did not answer in time",
	CauseUnreachable:        "the gateway's host cannot be reached",
	CauseNameNotFound:       "the gateway's host name is not known",
	CauseClosedInGreeting:   "the gateway accepted and closed before the session was ready",
	CauseMuteInGreeting:     "the gateway accepted and then said nothing",
	CauseClientIDInUse:      "the client id is already in use",
	CauseUnsupportedVersion: "the gateway speaks a version we cannot",
	CauseRejected:           "the gateway rejected the session",
	CauseReset:              "the gateway reset the connection",
	CauseClosedByGateway:    "the gateway closed the connection",
	CauseNetworkTimeout:     "the network stopped acknowledging",
	CauseGarbled:            "the gateway sent bytes that are not the API's",
	CauseHeartbeatLost:      "the gateway stopped answering heartbeats",
	CausePacing:             "the gateway ended the session because messages came too fast",
	CauseOverrun:            "the gateway sent news faster than it could be recorded",
	CauseProcessRestarted:   "our process ended without closing the session",
	CauseAskedFor:           "it was asked for",
	CauseShutdown:           "our process was told to end",
	CauseOther:              "for another reason",
}
