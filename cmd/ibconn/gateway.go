package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"ibconn/testenv/gateway"
)

type gatewayCommand struct {
	Listen        string        `help:"Where to listen; port 0 takes a free one." default:"127.0.0.1:4002" env:"IBCONN_GATEWAY_LISTEN"`
	ServerVersion int           `help:"The highest version to speak: 176 for text, 213 to 225 for protobuf." default:"225" env:"IBCONN_SERVER_VERSION"`
	IDLinger      time.Duration `name:"id-linger" help:"How long a client id stays in use after a cut." default:"2s" env:"IBCONN_ID_LINGER"`
	MaxRate       int           `help:"Messages per second, of all clients together, before error 100; the third breach ends a session; 0 for no limit." default:"50" env:"IBCONN_MAX_RATE"`
	HistoryPacing bool          `help:"Enforce IB's rules on how often history and real-time bars may be asked for, with errors 162, 322 and 420." default:"true" negatable:"" env:"IBCONN_HISTORY_PACING"`
	Lines         int           `help:"Market data lines, of all clients together, before error 101; 0 for no limit." default:"100" env:"IBCONN_LINES"`
	Hours         bool          `help:"Close the markets outside of their trading hours; without it they never close." env:"IBCONN_HOURS"`
	Scenario      string        `help:"File of faults to play, from the start on." placeholder:"FILE" env:"IBCONN_SCENARIO" type:"path"`
	Accounts      string        `help:"Account ids, parted by commas." default:"DU1234567" env:"IBCONN_ACCOUNTS"`
	Debug         bool          `help:"Log each request too."`
}

// Run serves until a signal comes.
func (g *gatewayCommand) Run(ctx context.Context, c console) error {
	level := zerolog.InfoLevel
	if g.Debug {
		level = zerolog.DebugLevel
	}
	log := zerolog.New(zerolog.ConsoleWriter{Out: c.Out, TimeFormat: "15:04:05.000", NoColor: !c.Colour}).Level(level).With().Timestamp().Logger()
	scenario, err := g.scenario()
	if err != nil {
		return usageError{err}
	}
	gw, err := gateway.New(gateway.Config{
		Addr: g.Listen, ServerVersion: g.ServerVersion, Accounts: strings.Split(g.Accounts, ","), IDLinger: g.IDLinger, MaxRate: g.MaxRate,
		HistoryPacing: g.HistoryPacing, Lines: g.Lines, Hours: g.Hours, Log: log,
	})
	if err != nil {
		return usageError{err}
	}
	address, err := gw.Listen()
	if err != nil {
		return err
	}
	log.Info().Str("address", address).Int("server_version", g.ServerVersion).Msg("simulated gateway is up; it knows no orders")

	ctx, end := context.WithCancelCause(ctx)
	played := make(chan struct{})
	go func() {
		defer close(played)
		if err := gw.Play(ctx, scenario); err != nil && ctx.Err() == nil {
			end(err)
		}
	}()
	err = gw.Run(ctx) // the cause of ctx's end, so what Play ended it with
	end(nil)
	<-played
	return err
}

func (g *gatewayCommand) scenario() (gateway.Scenario, error) {
	if g.Scenario == "" {
		return gateway.Scenario{}, nil
	}
	f, err := os.Open(g.Scenario)
	if err != nil {
		return gateway.Scenario{}, err
	}
	defer f.Close()
	s, err := gateway.ParseScenario(f)
	if err != nil {
		return s, fmt.Errorf("%s: %w", g.Scenario, err)
	}
	return s, nil
}
