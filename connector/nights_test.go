package connector_test

import (
	"flag"
	"fmt"
	"testing"

	"ibconn/testenv/scenario"
	"ibconn/testenv/scenario/endtoend"
)

var (
	nights    = flag.Int("nights", 20, "random nights to play")
	firstSeed = flag.Uint64("nights.seed", 1, "seed of the first")
)

// TestTheWorldsAgreeOnRandomNights plays scenarios that nobody wrote down in
// both worlds: what the pure core makes of a night is what runner, dialer and
// a gateway make of it. A seed that fails can be played alone:
//
//	go test ./connector -run RandomNights -nights.seed 17 -nights 1
func TestTheWorldsAgreeOnRandomNights(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+uint64(*nights); seed++ {
		t.Run(fmt.Sprint("Seed", seed), func(t *testing.T) {
			t.Parallel()
			file := fmt.Sprint("seed ", seed)
			want := pureStage().Tell(t, file, scenario.Night(seed))
			defer func() {
				if t.Failed() {
					t.Logf("the night, as the pure core has it:\n%s", want)
				}
			}()
			version := []int{176, 225}[seed%2]
			stage := endtoend.Stage(version, endtoend.InMemory())
			stage.Compare(t, file, want, stage.Tell(t, file, want))
		})
	}
}
