package events

// Attribution says whose fault it is that a connection is not healthy, so that
// the person on watch knows whom to call.
type Attribution string

// The attributions.
const (
	AttributionOurs      Attribution = "ours"              // this program, its host, its configuration, the account's permissions, or a command
	AttributionNetwork   Attribution = "network"           // between this host and the gateway's
	AttributionGateway   Attribution = "gateway"           // the TWS or IB Gateway process
	AttributionLogin     Attribution = "login"             // the gateway waits for a person
	AttributionLink      Attribution = "link"              // between the gateway and IB's servers, or those
	AttributionFarm      Attribution = "farm"              // one of IB's data services
	AttributionCompeting Attribution = "competing_session" // another session of the same user
)

// Attribution says whose fault an attempt's failure or a session's end is.
func (c Cause) Attribution() Attribution {
	switch c {
	case CauseDialTimeout, CauseUnreachable, CauseNetworkTimeout:
		return AttributionNetwork
	case CauseRefused, CauseClosedInGreeting, CauseMuteInGreeting, CauseUnsupportedVersion, CauseRejected,
		CauseReset, CauseClosedByGateway, CauseGarbled, CauseHeartbeatLost:
		return AttributionGateway
	// A client id that is in use is mostly that of our own last session, and a
	// name that nobody knows stands in our configuration.
	case CauseClientIDInUse, CauseNameNotFound, CauseOverrun, CausePacing, CauseProcessRestarted, CauseAskedFor, CauseShutdown:
		return AttributionOurs
	}
	return ""
}
