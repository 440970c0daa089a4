package gateway

import (
	"context"
	"fmt"
	"strings"

	"github.com/scmhub/ibapi/protobuf"
	"google.golang.org/protobuf/proto"
)

// IB's texts on its link.
const (
	linkLost     = "Connectivity between IBKR and Trader Workstation has been lost."
	linkBroken   = "Connectivity between Trader Workstation and server is broken. It will be restored automatically."
	linkRestored = "Connectivity between IBKR and Trader Workstation has been restored - data "
)

// LoseLink takes the gateway's link to IB's servers away, until RestoreLink. Subscriptions deliver nothing, and requests
// that only the servers could answer (market data, bars, history, contracts and symbols) get no answer and have no effect;
// Mislead makes that worse. All else goes on, the time and so every heartbeat included. With notice, clients are told by
// 1100, at each call as IB repeats it, and those that start the API meanwhile by 2110 in place of the farm notices. Without,
// they are told nothing, and the farm notices are left out all the same. Sessions and the port are not touched.
func (g *Gateway) LoseLink(notice bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.divertLocked(func(f *flow) { f.lost, f.noticed = true, notice }, nil)
	if notice {
		g.announceLocked(1100, linkLost)
	}
}

// RestoreLink gives a lost link back, and does nothing if it is not lost. With dataLost the subscriptions are gone, as
// with Forget, else they deliver again. With notice, clients are told so with 1101 or 1102.
func (g *Gateway) RestoreLink(dataLost, notice bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.flow.lost {
		return
	}
	g.divertLocked(func(f *flow) {
		f.lost = false
		if dataLost {
			f.forgets++
		}
	}, nil)
	switch {
	case !notice:
	case dataLost:
		g.announceLocked(1101, linkRestored+"lost.")
	default:
		var names []string
		for _, farm := range farms {
			_, name, _ := strings.Cut(farm.text, ":")
			names = append(names, name)
		}
		g.announceLocked(1102, linkRestored+"maintained. All data farms are connected: "+strings.Join(names, "; ")+".")
	}
}

// Mislead makes a gateway that has lost its link answer what it cannot know, or leave it without an answer again:
// reqContractDetails gets the 200 of a contract that does not exist, as real gateways have been seen to answer
// (ib_insync #330), and reqHistoricalData the 162 of one without data.
func (g *Gateway) Mislead(on bool) {
	g.divert(func(f *flow) { f.misleads = on }, nil)
}

// announceLocked tells every client that has started the API.
func (g *Gateway) announceLocked(code int32, text string) {
	for s := range g.sessions {
		if s.hasStarted() {
			s.say(s.speaks().append(nil, g.problem(-1, code, text)))
		}
	}
}

// greet says what a gateway says first. It waits for nothing, so that the link cannot change between what is said of it
// here and what LoseLink and RestoreLink say.
func (g *Gateway) greet(s *session) {
	g.mu.Lock()
	defer g.mu.Unlock()
	messages := []proto.Message{g.accounts()}
	switch f := s.current(); {
	case !f.lost:
		for _, farm := range g.cfg.introduces() {
			messages = append(messages, g.problem(-1, farm.code, farm.text))
		}
	case f.noticed:
		messages = append(messages, g.problem(-1, 2110, linkBroken))
	}
	var frames []byte
	for _, m := range append(messages, g.nextID()) {
		frames = s.codec.append(frames, m)
	}
	s.say(frames)
}

// unanswerable tells whether a request needs the link, and the link is lost. It gives the wrong answers too.
func (s *session) unanswerable(ctx context.Context, req request) bool {
	f := s.current()
	if !f.lost {
		return false
	}
	switch m := req.body.(type) {
	case *protobuf.ContractDataRequest:
		if f.misleads {
			s.fail(ctx, req.reqID, 200, noDefinition)
		}
	case *protobuf.HistoricalDataRequest:
		if f.misleads {
			s.fail(ctx, req.reqID, 162, fmt.Sprintf("Historical Market Data Service error message:HMDS query returned no data: %s@%s %s",
				m.GetContract().GetSymbol(), m.GetContract().GetExchange(), m.GetWhatToShow()))
		}
	case *protobuf.MarketDataRequest, *protobuf.TickByTickRequest, *protobuf.RealTimeBarsRequest, *protobuf.HeadTimestampRequest,
		*protobuf.MatchingSymbolsRequest:
	default:
		return false
	}
	s.log.Info().Stringer("request", req.id).Bool("misleading_answer", f.misleads).Msg("request without a link")
	return true
}
