package scenario_test

import (
	"regexp"
	"testing"

	"ibconn/testenv/memlog"
	"ibconn/testenv/scenario"
)

// TestScenarios plays the scenarios against the runner, the dialer and the
// simulated gateway, over TCP: in the protocol's text form with a log in memory,
// and in its protobuf form with one on the bus. They must come to the lines that
// the pure core came to.
func TestScenarios(t *testing.T) {
	for _, kind := range []struct {
		name    string
		version int
		log     func(testing.TB) store
	}{
		{"Text", 176, func(testing.TB) store { return memory{memlog.New()} }},
		{"ProtobufOnTheBus", 225, func(tb testing.TB) store { return newDisk(tb) }},
	} {
		t.Run(kind.name, func(t *testing.T) {
			scenario.Each(t, "../../connector/testdata/scenarios/*.txt", func(t *testing.T, file string) {
				t.Parallel()
				log := kind.log(t)
				stage := scenario.Stage{Same: sameVersion, Open: func(tb testing.TB, s scenario.Setup) scenario.World {
					return newWorld(tb, s, kind.version, log)
				}}
				stage.Play(t, file)
			})
		})
	}
}

var serverVersion = regexp.MustCompile(`server version \d+`)

// sameVersion makes lines alike that differ in the server's version, which the
// pure world makes up. Nothing else differs: all times are the clock's, and an
// endpoint has the scenario's name.
func sameVersion(line string) string {
	return serverVersion.ReplaceAllString(line, "server version N")
}
