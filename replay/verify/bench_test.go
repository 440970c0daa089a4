package verify_test

import (
	"testing"
	"time"

	"ibconn/bus"
	"ibconn/replay"
	"ibconn/replay/verify"
)

// BenchmarkVerify verifies a night over and over, and says how much longer that takes
// than its steps.
func BenchmarkVerify(b *testing.B) {
	p := night(b, 2)
	var steps, verifying time.Duration
	n := 0
	for b.Loop() {
		began := time.Now()
		for step, err := range replay.Steps(b.Context(), p, bus.Query{}) {
			if err != nil || step.Err != nil {
				b.Fatal(err, step.Err)
			}
			n++
		}
		steps += time.Since(began)
		began = time.Now()
		v := verify.New(verify.Options{})
		for s, err := range p.Stored(b.Context(), bus.Query{}) {
			if err != nil || len(v.Add(s)) > 0 {
				b.Fatal(err, "something is found")
			}
		}
		v.End()
		verifying += time.Since(began)
	}
	b.ReportMetric(float64(verifying)/float64(steps), "of-steps")
	b.ReportMetric(float64(n)/verifying.Seconds(), "events/s")
}
