package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"ibconn/events"
)

// contractVerb asks which contract is meant.
type contractVerb struct {
	clientFlags
	Contract []string      `arg:"" help:"A conId, AAPL, AAPL@NASDAQ, SAP/EUR, EUR.USD, ES@CME 202612, AAPL 20261218 C 150, or a JSON object with IB's fields."`
	Wait     time.Duration `help:"How long to wait for IB's answer." default:"10s"`
	JSON     bool          `name:"json" help:"Print the answer as JSON."`
}

// Run prints the contract, or those that it could be.
func (v *contractVerb) Run(ctx context.Context, c console) error {
	req, err := aboutContract(events.VerbContract, v.Contract, v.Wait)
	if err != nil {
		return err
	}
	answer, err := v.ask(ctx, events.VerbContract, req)
	if told, err := toldAbout(c.Out, answer, v.JSON, err); told || err != nil {
		return err
	}
	for _, found := range answer.Contracts {
		if err := printContract(c.Out, found, answer); err != nil {
			return err
		}
	}
	return nil
}

// aboutContract is the request of a verb that names a contract, in words.
func aboutContract(verb events.Verb, words []string, wait time.Duration) (events.Request, error) {
	if most := time.Duration(verb.MaxWait()); wait <= 0 || wait > most {
		return events.Request{}, usageError{fmt.Errorf("--wait %v: want more than 0 and at most %v", wait, most)}
	}
	contract, err := events.ParseContract(strings.Join(words, " "))
	if err != nil {
		return events.Request{}, usageError{err}
	}
	return events.Request{Contract: contract, Wait: events.Wait(wait)}, nil
}

// toldAbout prints an answer about a contract where it is all to be printed, as
// JSON, or has candidates in place of what was asked, and says whether it did.
// It returns err, which came with the answer.
func toldAbout(w io.Writer, a events.Answer, asJSON bool, err error) (bool, error) {
	switch {
	case asJSON && (err == nil || a.Error != nil):
		return true, firstError(printJSON(w, a), err)
	case len(a.Candidates) > 0:
		return true, errors.Join(printCandidates(w, a), err)
	}
	return false, err
}

func printContract(w io.Writer, d events.ContractDetails, a events.Answer) error {
	c := d.Contract
	name := c.LocalSymbol
	if name == "" {
		name = c.Symbol
	}
	_, err := fmt.Fprintf(w, "%s%s\n", name, led("  ", d.LongName))
	for _, line := range []struct{ label, text string }{
		{"con id", fmt.Sprint(d.ConID)},
		{"contract", joined(" ", c.Symbol, c.SecType, c.LastTradeDateOrContractMonth, c.Strike, c.Right, led("multiplier ", c.Multiplier))},
		{"exchange", joined(", ", c.Exchange, led("primary ", c.PrimaryExch), c.Currency)},
		{"class", joined(", ", c.TradingClass, led("market ", d.MarketName))},
		{"underlying", joined(" ", d.UnderSymbol, d.UnderSecType)},
		{"month", joined(", ", d.ContractMonth, led("expires ", d.RealExpirationDate), led("last trade at ", d.LastTradeTime))},
		{"tick", joined(", ", d.MinTick, led("size step ", d.SizeIncrement))},
		{"valid on", strings.ReplaceAll(d.ValidExchanges, ",", " ")},
		{"hours", joined(" ", d.TradingHours, led("in ", d.TimeZoneID))},
		{"liquid", d.LiquidHours},
		{"bond", joined(", ", d.Cusip, led("matures ", d.Maturity), led("coupon ", d.Coupon))},
	} {
		if err == nil && line.text != "" {
			_, err = fmt.Fprintf(w, "  %-10s %s\n", line.label, line.text)
		}
	}
	if err == nil && a.Cached {
		_, err = fmt.Fprintf(w, "  %-10s as IB said at %s\n", "remembered", a.AsOf.Local().Format(time.DateTime))
	}
	return err
}

// printCandidates prints a line for each, which begins with what to ask for to
// mean that one.
func printCandidates(w io.Writer, a events.Answer) (err error) {
	for _, c := range a.Candidates {
		if err == nil {
			_, err = fmt.Fprintf(w, "%-12d%s\n", c.ConID, joined(" ", c.LocalSymbol, c.SecType, c.LastTradeDateOrContractMonth, c.Strike, c.Right,
				led("x", c.Multiplier), led("on ", c.Exchange), led("of ", c.PrimaryExch), led("in ", c.Currency)))
		}
	}
	if err == nil && a.More > 0 {
		_, err = fmt.Fprintf(w, "... and %d more\n", a.More)
	}
	return err
}

// led puts lead before text where there is any.
func led(lead, text string) string {
	if text == "" {
		return ""
	}
	return lead + text
}

// joined joins what is not empty.
func joined(by string, parts ...string) string {
	all := make([]string, 0, len(parts))
	for _, p := range parts {
		if p != "" {
			all = append(all, p)
		}
	}
	return strings.Join(all, by)
}
