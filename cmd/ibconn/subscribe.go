package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"

	"ibconn/events"
)

// subscribeVerb has data delivered from now on.
type subscribeVerb struct {
	clientFlags
	Contract       []string      `arg:"" help:"As contract takes it: AAPL, EUR.USD, ES@CME 202612, ..."`
	Kind           string        `required:"" enum:"quotes,trades,bars,history-bars" placeholder:"KIND" help:"quotes: as they change; trades: every one, or every quote; bars: one in 5 seconds; history-bars: of any size, from the past on."`
	Name           string        `help:"What the subscription is to be called; made from the contract without it."`
	Caller         string        `help:"Who wants it; each counts once, and it ends with the last." default:"default" env:"IBCONN_CALLER"`
	What           string        `help:"Of bars: TRADES, MIDPOINT, BID or ASK; of trades: Last, AllLast, BidAsk or MidPoint."`
	RTH            bool          `name:"rth" help:"Bars of regular trading hours only."`
	BarSize        string        `help:"Of history-bars: IB's bar size, 5 secs (which it is without it) to 1 month."`
	Duration       string        `help:"Of history-bars: how far back they begin, a number and S, D, W, M or Y; 3600 S without it."`
	GenericTicks   string        `help:"Of quotes: IB's numbers of further ticks, such as 233,236."`
	MarketDataType string        `help:"Of quotes: live (which it is without it), frozen, delayed or delayed_frozen."`
	Priority       string        `enum:"high,normal,low" default:"normal" help:"What is placed first in a new session: high, normal or low."`
	DarkAfter      time.Duration `help:"How long its data may stay away while its market is open, 5s to 24h; what run has for its kind without it." placeholder:"30s"`
	ID             string        `help:"Makes the command idempotent: the same id again has no second effect."`
	Reason         string        `help:"Kept with the command's events."`
	Wait           time.Duration `help:"How long to wait for the first data; 0 returns once it is recorded." default:"10s"`
	JSON           bool          `name:"json" help:"Print the answer as JSON."`
}

// Run subscribes and prints where the data comes.
func (v *subscribeVerb) Run(ctx context.Context, c console) error {
	req, err := v.request()
	if err != nil {
		return usageError{err}
	}
	answer, err := v.ask(ctx, events.VerbSubscribe, req)
	if told, err := toldAbout(c.Out, answer, v.JSON, err); told || err != nil {
		return err
	}
	return printSubscribed(c.Out, answer, v.clientFlags)
}

func (v *subscribeVerb) request() (events.Request, error) {
	if v.Wait < 0 || v.Wait > time.Duration(events.MaxWait) {
		return events.Request{}, fmt.Errorf("--wait %v: want 0 to %v", v.Wait, time.Duration(events.MaxWait))
	}
	contract, err := events.ParseContract(strings.Join(v.Contract, " "))
	if err != nil {
		return events.Request{}, err
	}
	req := events.Request{
		ID: v.ID, Reason: v.Reason, Wait: events.Wait(v.Wait), Contract: contract, Kind: events.SubscriptionKind(v.Kind),
		BarQuery:     events.BarQuery{What: v.What, RTH: v.RTH, BarSize: v.BarSize, Duration: v.Duration},
		GenericTicks: v.GenericTicks, MarketDataType: v.MarketDataType,
		Name: v.Name, Caller: v.Caller, Priority: events.SubscriptionPriority(v.Priority),
	}
	if v.DarkAfter != 0 {
		err = req.DarkAfter.UnmarshalText([]byte(v.DarkAfter.String()))
	}
	return req, cmp.Or(err, req.Feed().Check(), named("--name", v.Name), named("--caller", v.Caller))
}

// named says what is wrong with a name that is given.
func named(what, name string) error {
	if name == "" {
		return nil
	}
	if err := events.CheckSubscriptionName(name); err != nil {
		return fmt.Errorf("%s %w", what, err)
	}
	return nil
}

// printSubscribed says how a subscription stands, and how to listen to it.
func printSubscribed(w io.Writer, a events.Answer, f clientFlags) error {
	if a.Subscription == nil {
		return fmt.Errorf("%s answers without a subscription", f.Connection)
	}
	sub := *a.Subscription
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s%s\n", sub.Name, sub.Status, led(", ", wordUnplaced(sub.Status)))
	line := func(label, text string) {
		if text != "" {
			fmt.Fprintf(&b, "  %-10s %s\n", label, text)
		}
	}
	line("because", wordWrong(sub, cmp.Or(a.AsOf, sub.Since)))
	line("contract", joined(", ", wordContract(sub.Feed.Contract), led("on ", sub.Feed.Contract.Exchange), led("in ", sub.Feed.Contract.Currency)))
	line("kind", wordFeed(sub.Feed))
	line("callers", wordCallers(sub.Callers))
	for _, subject := range a.Subjects {
		line("listen", fmt.Sprintf("nats%s sub '%s'", led(" --server ", otherServer(f.NATS)), subject))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// otherServer is the bus' URL where nats does not look by itself. One with a
// password is not shown.
func otherServer(url string) string {
	if url == "" || url == nats.DefaultURL || strings.Contains(url, "@") {
		return ""
	}
	return url
}

func wordUnplaced(s events.SubscriptionStatus) string {
	switch s {
	case events.SubscriptionWanted:
		return "to be placed as soon as there is a session"
	case events.SubscriptionPlaced:
		return "no data yet"
	case events.SubscriptionLive, events.SubscriptionDark, events.SubscriptionFailed:
	}
	return ""
}

// wordWrong says what is wrong with a subscription, and what is done about it.
func wordWrong(sub events.Subscription, now time.Time) string {
	next := ""
	if !sub.RetryAt.IsZero() {
		next = "placed again " + wordDue(sub.RetryAt, now)
	}
	switch sub.Status {
	case events.SubscriptionFailed:
		code := ""
		if sub.Code != 0 {
			code = fmt.Sprintf("(%d)", sub.Code)
		}
		return joined("; ", joined(" ", code, cmp.Or(sub.Message, "refused")), cmp.Or(next, "not placed again in this session"))
	case events.SubscriptionDark:
		return joined("; ", "its data stays away", next)
	case events.SubscriptionWanted, events.SubscriptionPlaced, events.SubscriptionLive:
	}
	return ""
}

func wordContract(c events.Contract) string {
	return joined(" ", cmp.Or(c.LocalSymbol, c.Symbol, fmt.Sprint(c.ConID)), c.SecType)
}

// wordFeed says what a subscription is of, but for its contract.
func wordFeed(f events.Feed) string {
	size := f.BarSize
	if f.Kind == events.SubscribeBars {
		size = "5 secs"
	}
	rth, from := "", ""
	if f.RTH {
		rth = "regular trading hours"
	}
	if f.Duration != "" {
		from = "from " + f.Duration + " ago on"
	}
	return joined(", ", joined(" of ", string(f.Kind), size), f.What, rth, from, f.MarketDataType, led("ticks ", f.GenericTicks))
}

// wordCallers names the first few.
func wordCallers(all []string) string {
	const most = 4
	if len(all) <= most {
		return strings.Join(all, " ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:most], " "), len(all)-most)
}

// cancelVerb has data delivered no longer, or ends a history.
type cancelVerb struct {
	clientFlags
	Subscription string `arg:"" optional:"" help:"Its name, as subscriptions lists it."`
	Caller       string `help:"Who wants it no longer." default:"default" env:"IBCONN_CALLER"`
	All          bool   `help:"For whoever wants it."`
	Query        string `help:"Instead of a subscription: the id of a history that is under way."`
	ID           string `help:"Makes the command idempotent: the same id again has no second effect."`
	Reason       string `help:"Kept with the command's events."`
	JSON         bool   `name:"json" help:"Print the answer as JSON."`
}

// Run cancels and prints what is left.
func (v *cancelVerb) Run(ctx context.Context, c console) error {
	req, err := v.request()
	if err != nil {
		return usageError{err}
	}
	answer, err := v.ask(ctx, events.VerbCancel, req)
	if v.JSON && (err == nil || answer.Error != nil) {
		return firstError(printJSON(c.Out, answer), err)
	}
	if err != nil {
		return err
	}
	left := "cancelled"
	if answer.Subscription != nil {
		left = "goes on for " + wordCallers(answer.Subscription.Callers)
	}
	_, err = fmt.Fprintf(c.Out, "%s: %s\n", cmp.Or(v.Subscription, v.Query), left)
	return err
}

func (v *cancelVerb) request() (events.Request, error) {
	req := events.Request{ID: v.ID, Reason: v.Reason, Subscription: v.Subscription, Query: v.Query, All: v.All}
	switch {
	case (v.Subscription == "") == (v.Query == ""):
		return req, errors.New("want one of the name of a subscription, which ibconn subscriptions lists, and --query ID")
	case v.Query != "" && v.All:
		return req, errors.New("--all is for a subscription, not for a query")
	case v.Query == "" && !v.All:
		req.Caller = v.Caller
	}
	return req, cmp.Or(named("subscription", v.Subscription), named("--caller", v.Caller))
}

// subscriptionsVerb lists what is subscribed to.
type subscriptionsVerb struct {
	clientFlags
	JSON bool `name:"json" help:"Print the answer as JSON."`
}

// Run prints a line for each.
func (v *subscriptionsVerb) Run(ctx context.Context, c console) error {
	answer, err := v.ask(ctx, events.VerbSubscriptions, events.Request{})
	switch {
	case v.JSON && (err == nil || answer.Error != nil):
		return firstError(printJSON(c.Out, answer), err)
	case err != nil:
		return err
	case len(answer.Subscriptions) == 0:
		_, err := fmt.Fprintln(c.Out, "nothing is subscribed to; begin with: ibconn subscribe AAPL --kind bars")
		return err
	}
	return printSubscriptions(c.Out, answer)
}

func printSubscriptions(w io.Writer, a events.Answer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "name\tkind\tcontract\tstatus\tfor\tcallers\tgaps\twhat is wrong")
	for _, sub := range a.Subscriptions {
		gaps := ""
		if n := len(sub.Gaps); n > 0 {
			gaps = fmt.Sprint(n)
		}
		cells := []string{
			sub.Name, string(sub.Feed.Kind), wordContract(sub.Feed.Contract), string(sub.Status), events.Between(sub.Since, a.AsOf).String(),
			wordCallers(sub.Callers), gaps, wordWrong(sub, a.AsOf),
		}
		for i, cell := range cells {
			cells[i] = cmp.Or(cell, "-")
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	return t.Flush()
}
