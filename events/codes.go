package events

import (
	"cmp"
	"iter"
	"slices"
	"strings"
)

// Class says what kind of news a code of IB's is.
type Class string

// The classes.
const (
	ClassLinkLost         Class = "link_lost"          // the gateway lost IB's servers
	ClassLinkRestoredLost Class = "link_restored_lost" // it has them back, market data must be asked for again
	ClassLinkRestoredKept Class = "link_restored_kept" // it has them back, market data goes on
	ClassSocketDown       Class = "socket_down"        // the socket to the gateway is gone or never was
	ClassRejectedRetry    Class = "rejected_retry"     // the session is refused for now
	ClassFatalConfig      Class = "fatal_config"       // the session is refused until somebody changes a setting
	ClassFatalProtocol    Class = "fatal_protocol"     // one side does not understand the other
	ClassFarmDown         Class = "farm_down"
	ClassFarmUp           Class = "farm_up"
	ClassFarmIdle         Class = "farm_idle"
	ClassFarmConnecting   Class = "farm_connecting"
	ClassPacing           Class = "pacing"          // too much was asked too fast
	ClassCapacity         Class = "capacity"        // too much is asked for at once
	ClassSubDeadRetry     Class = "sub_dead_retry"  // the subscription is dead and may be placed again
	ClassSubDeadPerm      Class = "sub_dead_perm"   // the subscription is dead for good
	ClassEntitlement      Class = "entitlement"     // the account may not have it
	ClassCompeting        Class = "competing"       // another session of the same user has it
	ClassRequestInvalid   Class = "request_invalid" // the request is wrong
	ClassNoData           Class = "no_data"         // the answer is empty
	ClassAdvisory         Class = "advisory"        // it goes on, with less than was asked for
	ClassInfo             Class = "info"
	ClassBenign           Class = "benign"  // the echo of what we did ourselves
	ClassUnknown          Class = "unknown" // not in the table
)

// Reading is what one error or notice of the gateway means.
type Reading struct {
	Code    int
	Class   Class
	Meaning string // what IB means by the code, in our words; empty for an unknown code
	Advice  string // what to do about it
	// Link is the state the link is in after this news; "" when it says nothing
	// of the link. DataLost is set when subscriptions did not survive.
	Link     LinkStatus
	DataLost bool
	// Farms are the farms the text speaks of, in its order, with their states.
	// There are at most 64.
	Farms []FarmNews
	// UnmatchedText is set when the code's class goes by its text and this text
	// matched none of the rules: perhaps a translated one.
	UnmatchedText bool
}

// Code is one row of the table of IB's codes. What a code does to the link and
// the farms follows from its class; [ReadNotice] works it out.
type Code struct {
	Number  int    `json:"code"`
	Class   Class  `json:"class"` // where the class goes by the text: the class of a text that matches no rule
	Meaning string `json:"meaning"`
	Advice  string `json:"advice"`
}

// TextRule says what a code means when its text contains certain words.
type TextRule struct {
	Contains string `json:"contains"` // in lower case; the text's case does not matter
	Class    Class  `json:"class"`
	Meaning  string `json:"meaning"`
	Advice   string `json:"advice"`
}

// Codes lists the table of IB's codes, ordered by number.
func Codes() iter.Seq[Code] { return slices.Values(codes) }

// Rules returns the rules by which c's class goes, the first that matches
// deciding, or nil when the number alone decides.
func (c Code) Rules() []TextRule { return slices.Clone(textRules[c.Number]) }

// Advice that several rows share.
const (
	adviceNothing    = "nothing to do"
	adviceBackOff    = "wait for the next attempt; check that the gateway runs, that its API is on, and its port"
	advicePermission = "subscribe to the data or sign its agreement in IB's Client Portal; asking again does not help"
	adviceCompeting  = "end the user's other session; ask again about once a minute, as no notice says when it is over"
	adviceNewID      = "place it again under a new request id"
	adviceFixRequest = "correct the request; the same one fails again"
	adviceFarmDown   = "keep the session; what needs this farm is dark until IB says the farm is back"
	adviceFarmUp     = "nothing to do; subscriptions that stay silent must be placed again"
	adviceOurs       = "report it as a fault of ibconn; a new session is opened"
	advicePacing     = "wait, then ask less often: at most 60 requests in 10 minutes, none repeated within 15 s"
	adviceFreeOne    = "cancel something before asking for more"
	adviceLinkWait   = "keep the session and ask for nothing new; IB says when the link is back"
	adviceSocket     = "wait for the next attempt; shortly after a 100 it is the gateway punishing the rate of messages"
	adviceGone       = "nothing after a cancel; otherwise place the subscription again"
	adviceDelayed    = "take the data as delayed, or subscribe to live data"
	adviceOrders     = "nothing to do; ibconn handles no orders"
)

// The table. Its source is IBKR's published list of message codes; the classes
// are ours, from what a connection manager can do about each.
//
// Where the class goes by the text, the row holds the class that does the least
// harm when the text cannot be read: waiting rather than giving up, and asking
// slowly rather than at once.
var codes = []Code{
	{100, ClassPacing, "messages were sent faster than the gateway allows", "send less; three breaches end the session if the gateway is set to reject"},
	{101, ClassCapacity, "no market data line is free", adviceFreeOne},
	{102, ClassSubDeadRetry, "the request id is in use by another subscription", adviceNewID},
	{103, ClassSubDeadRetry, "the order id was used before", adviceNewID},
	// By text: everything the historical service can refuse has this one number.
	{162, ClassPacing, "the historical data service refused the query", "read the gateway's words; wait before asking again"},
	{165, ClassInfo, "a remark of the historical data service", adviceNothing},
	// Also sent, wrongly, while the link or the farm is down.
	{200, ClassRequestInvalid, "no contract, or more than one, fits the description", "correct the contract; if the link or a farm was down, ask again once it is up"},
	{202, ClassInfo, "an order was cancelled", adviceOrders},
	{203, ClassEntitlement, "the account may not trade this contract", "ask IB for the permission; asking again does not help"},
	// Benign because it mostly echoes a cancel of what was gone already.
	{300, ClassBenign, "no market data subscription has this id", adviceGone},
	{309, ClassCapacity, "no further market depth subscription is free", adviceFreeOne},
	{310, ClassBenign, "no market depth subscription has this id", adviceGone},
	{316, ClassSubDeadRetry, "market depth was halted", "place the subscription again"},
	// The subscription lives on, so only its book is dead.
	{317, ClassInfo, "market depth was reset", "clear the book; it is sent anew"},
	// By text: the validator's and the processor's one number for any complaint.
	{321, ClassRequestInvalid, "the gateway found the request invalid", adviceFixRequest},
	{322, ClassRequestInvalid, "the gateway could not process the request", adviceFixRequest},
	// Retried, because an old session of ours may still hold the id while it dies.
	{326, ClassRejectedRetry, "another API client holds this client id", "wait for the old session to die; if it lasts, configure another client id"},
	{327, ClassFatalConfig, "only client id 0 may take over orders placed by hand", "configure client id 0 or leave this request out"},
	{354, ClassEntitlement, "the market data is not subscribed to", advicePermission},
	{365, ClassBenign, "no scanner subscription has this id", adviceGone},
	// Unlike 300, 310 and 365 this is often the only sign of a dead keepUpToDate.
	{366, ClassSubDeadRetry, "no historical query has this id", "place the query again; it may have died unnoticed"},
	{385, ClassSubDeadRetry, "the request id is in use by another scanner subscription", adviceNewID},
	{386, ClassSubDeadRetry, "the request id is in use by another historical query", adviceNewID},
	{399, ClassInfo, "a remark about an order", adviceOrders},
	// By text: too fast and plainly wrong share this number.
	{420, ClassPacing, "the real-time bars were refused", "read the gateway's words; wait before asking again"},
	{430, ClassEntitlement, "there is no fundamental data for this contract, or not for this account", advicePermission},
	{492, ClassInfo, "a remark about a scanner subscription", adviceNothing},
	{501, ClassFatalProtocol, "a session was opened twice over one socket", adviceOurs},
	{502, ClassSocketDown, "the gateway could not be connected to", adviceBackOff + "; it takes 32 clients"},
	{503, ClassFatalConfig, "the gateway is too old", "upgrade TWS or IB Gateway"},
	{504, ClassSocketDown, "there is no connection to the gateway", adviceBackOff},
	{505, ClassFatalProtocol, "a message had an id the other side does not know", adviceOurs},
	// Seen for a moment after a gateway's restart, so a few retries are fair.
	{506, ClassFatalProtocol, "the gateway's API version is not supported", "if it lasts beyond a gateway restart, upgrade TWS, IB Gateway or ibconn"},
	// The library's name for an end of stream. Before nextValidId it can also
	// stand for a client id in use; which it was, the session's stage tells.
	{507, ClassSocketDown, "the stream ended inside a message", "wait for the next attempt; if it never gets ready, another client may hold the client id"},
	{508, ClassFatalProtocol, "a message could not be understood", adviceOurs},
	{509, ClassSocketDown, "reading from the socket failed", adviceSocket},
	{520, ClassSocketDown, "no socket could be made", adviceBackOff},
	{1100, ClassLinkLost, "the gateway lost IB's servers", adviceLinkWait},
	{1101, ClassLinkRestoredLost, "the link to IB is back, market data is lost", "place every subscription again under a new request id, and fetch what was missed"},
	{1102, ClassLinkRestoredKept, "the link to IB is back, market data goes on", "check that each subscription delivers, and place silent ones again"},
	{1300, ClassFatalConfig, "the gateway's API port was changed and the session dropped", "configure the new port, which stands in the gateway's words"},
	{2100, ClassInfo, "another client's account subscription replaced this one", adviceNothing},
	{2101, ClassInfo, "account data could not be subscribed to", adviceNothing},
	{2103, ClassFarmDown, "a market data farm is down", adviceFarmDown},
	{2104, ClassFarmUp, "a market data farm is up", adviceFarmUp},
	{2105, ClassFarmDown, "a historical data farm is down", adviceFarmDown},
	{2106, ClassFarmUp, "a historical data farm is up", adviceFarmUp},
	{2107, ClassFarmIdle, "a historical data farm sleeps until it is needed", adviceNothing},
	{2108, ClassFarmIdle, "a market data farm sleeps until it is needed", adviceNothing},
	{2109, ClassInfo, "an order's flag for trading outside regular hours was ignored", adviceOrders},
	// Also what a gateway says that is not logged on.
	{2110, ClassLinkLost, "the gateway is cut off from IB's servers and restores that itself", adviceLinkWait + "; if it lasts, look whether the gateway is logged in"},
	{2119, ClassFarmConnecting, "a market data farm is being connected", adviceNothing},
	{2137, ClassInfo, "an order would turn a long position short, or a short one long", adviceOrders},
	{2150, ClassInfo, "a position's trade-derived value is not valid", adviceNothing},
	{2152, ClassInfo, "the exchanges that market depth covers, and those it lacks a permission for", adviceNothing},
	{2157, ClassFarmDown, "a security definition farm is down", adviceFarmDown},
	{2158, ClassFarmUp, "a security definition farm is up", adviceFarmUp},
	{2168, ClassInfo, "an order asked for eTradeOnly, which is gone", adviceOrders},
	{2169, ClassInfo, "an order asked for firmQuoteOnly, which is gone", adviceOrders},
	// Windows' own numbers, for what 509 says elsewhere.
	{10038, ClassSocketDown, "the socket was used after it was closed", adviceBackOff},
	{10053, ClassSocketDown, "the gateway's host gave the socket up", adviceSocket},
	{10054, ClassSocketDown, "the gateway's host reset the socket", adviceSocket},
	{10089, ClassAdvisory, "live data is not subscribed to, delayed data comes instead", adviceDelayed},
	{10090, ClassAdvisory, "a part of the data is not subscribed to", "the rest comes; subscribe to the missing part if it is needed"},
	{10091, ClassEntitlement, "the data needs a subscription that covers the API", advicePermission},
	{10167, ClassAdvisory, "live data is not subscribed to, delayed data comes instead", adviceDelayed},
	{10168, ClassEntitlement, "the market data is not subscribed to, and delayed data is not enabled", advicePermission},
	{10182, ClassSubDeadRetry, "live updates failed for want of a connection", "place the subscription again once the link and the farm are up"},
	{10186, ClassEntitlement, "the data is not subscribed to and delayed data is off", advicePermission},
	{10187, ClassEntitlement, "the account has no permission for these historical ticks", advicePermission},
	// By text: another session passes, a missing permission stays.
	{10189, ClassCompeting, "tick-by-tick data was refused", "read the gateway's words; ask again about once a minute"},
	{10190, ClassCapacity, "no further tick-by-tick subscription is free", adviceFreeOne},
	{10197, ClassCompeting, "another live session of this user takes the market data", adviceCompeting},
	{10225, ClassSubDeadRetry, "a bust event ended the subscription", "place the subscription again at once"},
	{10276, ClassEntitlement, "the news feed is not available to the account", advicePermission},
	{10299, ClassRequestInvalid, "this kind of data goes by another whatToShow", "use the whatToShow in the gateway's words"},
	{10314, ClassRequestInvalid, "the end date is malformed", adviceFixRequest},
	{10339, ClassRequestInvalid, "a continuous future takes no end date", "leave the end date empty"},
}

// What the rules of several codes share: the words IB uses for it everywhere.
var (
	pacingRule      = TextRule{"pacing violation", ClassPacing, "data was asked for too fast", advicePacing}
	permissionRule  = TextRule{"no market data permissions", ClassEntitlement, "the account has no permission for this data", advicePermission}
	otherIPRule     = TextRule{"different ip address", ClassCompeting, "a session of this user at another address takes the data", adviceCompeting}
	duplicateIDRule = TextRule{"duplicate ticker id", ClassSubDeadRetry, "the request id is in use by another subscription", adviceNewID}
	// The number of requests is left out: IB says 50 today.
	openQueriesRule = TextRule{"simultaneous api historical data requests", ClassCapacity, "too many historical queries are open", adviceFreeOne}
	readOnlyRule    = TextRule{"read-only", ClassRequestInvalid, "the gateway's API is read-only and the request was not", "leave the gateway read-only; nothing ibconn does needs more"}
)

// The codes whose class goes by their text. The words are English: a gateway
// set to another language matches none of them, and the setting that shows API
// messages in English cures it. So 321, 322 and 420 end with the words their
// English text begins with: that text was read, and held nothing special.
var textRules = map[int][]TextRule{
	162: {
		pacingRule,
		{"returned no data", ClassNoData, "there is no historical data for the query", adviceNothing},
		// Also the fate of a new query while the old keepUpToDate is registered.
		{"query cancel", ClassBenign, "the historical query was cancelled", "nothing after a cancel; otherwise cancel the old query before asking again"},
		permissionRule,
		otherIPRule,
		// Of kinds of data that a contract does not have: trades of a currency pair.
		{"no historical market data for", ClassRequestInvalid, "there is no such historical data of this contract", "ask for another kind of data (what), such as MIDPOINT of a currency pair"},
		{"invalid step", ClassRequestInvalid, "this bar size and duration do not go together", adviceFixRequest},
	},
	321: {
		duplicateIDRule,
		openQueriesRule,
		readOnlyRule,
		{"error validating request", ClassRequestInvalid, "the gateway found the request invalid", adviceFixRequest},
	},
	322: {
		duplicateIDRule,
		openQueriesRule,
		readOnlyRule,
		{"error processing request", ClassRequestInvalid, "the gateway could not process the request", adviceFixRequest},
	},
	420: {
		pacingRule,
		permissionRule,
		otherIPRule,
		{"invalid real-time query", ClassRequestInvalid, "the request for real-time bars is wrong", adviceFixRequest},
	},
	10189: {
		otherIPRule,
		permissionRule,
		{"not supported", ClassRequestInvalid, "this contract has no such tick-by-tick data", adviceFixRequest},
	},
}

// farmNotices says of which kind of farm a notice speaks, and what stands in
// its text before the farm's name.
var farmNotices = map[int]struct {
	kind  FarmKind
	named func(text string) string
}{
	2103: {FarmMarketData, afterLastColon},
	2104: {FarmMarketData, afterLastColon},
	2105: {FarmHistorical, afterLastColon},
	2106: {FarmHistorical, afterLastColon},
	2107: {FarmHistorical, afterFirstDot},
	2108: {FarmMarketData, afterFirstDot},
	2119: {FarmMarketData, afterLastColon},
	2157: {FarmSecDef, afterLastColon},
	2158: {FarmSecDef, afterLastColon},
}

// ReadNotice says what an error or notice of the gateway means, by its code
// first and by its text where the code alone does not tell. The text may be
// anything. An unknown code has [ClassUnknown] and no meaning.
func ReadNotice(code int, text string) Reading {
	i, known := slices.BinarySearchFunc(codes, code, func(c Code, n int) int { return cmp.Compare(c.Number, n) })
	if !known {
		return Reading{Code: code, Class: ClassUnknown, Advice: "look the code up in IBKR's list of message codes"}
	}
	c := codes[i]
	r := Reading{
		Code: code, Class: c.Class, Meaning: c.Meaning, Advice: c.Advice,
		Link:     c.Class.link(),
		DataLost: c.Class == ClassLinkRestoredLost,
		Farms:    farmsIn(c, text),
	}
	if rules := textRules[code]; rules != nil {
		r.goBy(rules, text)
	}
	return r
}

// GoesOn reports whether the request that the notice came for goes on: it tells
// or warns, and is no answer. Of codes that are not in the table those are
// warnings that lie in IB's range of them, 2100 to 2199 (IB's page of message
// codes).
func (r Reading) GoesOn() bool {
	told := (r.Class == ClassInfo || r.Class == ClassAdvisory) && !r.UnmatchedText
	warned := r.Class == ClassUnknown && r.Code >= 2100 && r.Code < 2200
	return told || warned || r.Link != "" || len(r.Farms) > 0
}

func (r *Reading) goBy(rules []TextRule, text string) {
	text = strings.ToLower(text)
	i := slices.IndexFunc(rules, func(rule TextRule) bool { return strings.Contains(text, rule.Contains) })
	if i < 0 {
		r.UnmatchedText = true
		return
	}
	r.Class, r.Meaning, r.Advice = rules[i].Class, rules[i].Meaning, rules[i].Advice
}

func (c Class) link() LinkStatus {
	switch c {
	case ClassLinkLost:
		return LinkDown
	case ClassLinkRestoredLost, ClassLinkRestoredKept:
		return LinkUp
	default:
		return ""
	}
}

func (c Class) farm() FarmStatus {
	switch c {
	case ClassFarmDown:
		return FarmDown
	case ClassFarmUp:
		return FarmUp
	case ClassFarmIdle:
		return FarmIdle
	case ClassFarmConnecting:
		return FarmConnecting
	default:
		return ""
	}
}

func farmsIn(c Code, text string) []FarmNews {
	if notice, ok := farmNotices[c.Number]; ok {
		return []FarmNews{{Farm{notice.kind, farmName(notice.named(text))}, c.Class.farm()}}
	}
	if c.Class.link() != "" {
		return listedFarms(text)
	}
	return nil
}

// The text comes from the gateway; what is read out of it is bounded.
const (
	maxFarms    = 64
	maxFarmName = 32
)

// listedFarms reads the lists that a link notice may end with, such as "... The
// following farms are connected: usfarm; ushmds. The following farms are not
// connected: usfuture." in a 1102.
func listedFarms(text string) []FarmNews {
	var farms []FarmNews
	// Names may hold dots, so only a dot with a space after it ends a list; the
	// gateway sometimes breaks the line there instead.
	text = strings.Join(strings.Fields(text), " ")
	for {
		before, after, found := strings.Cut(text, "connected:")
		if !found {
			return farms
		}
		status := FarmUp
		if strings.HasSuffix(before, "not ") || strings.HasSuffix(before, "dis") {
			status = FarmDown
		}
		var list string
		list, text, _ = strings.Cut(after, ". ")
		for item := range strings.SplitSeq(list, ";") {
			name := farmName(item)
			if name == "" {
				continue
			}
			if len(farms) == maxFarms {
				return farms
			}
			farms = append(farms, FarmNews{Farm{farmKindOf(name), name}, status})
		}
	}
}

// farmKindOf infers a farm's kind from its name, as a list does not tell it.
// All names seen so far follow this: ushmds, euhmds, cashhmds; secdefil,
// secdefhk; usfarm, usfarm.nj, usfuture, cashfarm.
func farmKindOf(name string) FarmKind {
	name = strings.ToLower(name)
	switch {
	case strings.Contains(name, "hmds"):
		return FarmHistorical
	case strings.Contains(name, "secdef"):
		return FarmSecDef
	default:
		return FarmMarketData
	}
}

func afterLastColon(text string) string {
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return ""
	}
	return text[i+1:]
}

// The first dot, because a name such as usfarm.nj holds one itself.
func afterFirstDot(text string) string {
	_, name, _ := strings.Cut(text, ".")
	return name
}

// farmName returns the farm's name in s, or "" when s is not shaped like one:
// the notice named none, or words of another language stand there.
func farmName(s string) string {
	s = strings.TrimRight(strings.TrimSpace(s), ".")
	if len(s) > maxFarmName || strings.ContainsFunc(s, notInFarmName) {
		return ""
	}
	return s
}

func notInFarmName(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_')
}
