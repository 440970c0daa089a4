package endtoend_test

import (
	"testing"

	"ibconn/testenv/scenario"
	"ibconn/testenv/scenario/endtoend"
)

// TestScenarios plays the scenarios in the protocol's text form with a log in
// memory, and in its protobuf form with one on the bus. They must come to the
// lines that the pure core came to.
func TestScenarios(t *testing.T) {
	for _, kind := range []struct {
		name    string
		version int
		log     func(testing.TB) endtoend.Log
	}{
		{"Text", 176, func(testing.TB) endtoend.Log { return endtoend.InMemory() }},
		{"ProtobufOnTheBus", 225, endtoend.OnTheBus},
	} {
		t.Run(kind.name, func(t *testing.T) {
			scenario.Each(t, "../../../connector/testdata/scenarios/*.txt", func(t *testing.T, file string) {
				t.Parallel()
				endtoend.Stage(kind.version, kind.log(t)).Play(t, file)
			})
		})
	}
}
