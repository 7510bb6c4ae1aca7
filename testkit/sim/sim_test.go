package sim

import (
	"flag"
	"fmt"
	"testing"
	"time"
)

// How many seeds, and from which one: go test ./testkit/sim -seeds 5000 -from 100
var (
	seedsFlag = flag.Int("seeds", 100, "how many seeds to run")
	fromFlag  = flag.Int("from", 0, "the first seed")
	traceFlag = flag.String("trace", "", "log operations on files with this in their path")
)

// TestSeeds runs the simulation for many seeds. go test ./testkit/sim -run TestSeeds/17
// repeats one, as far as goroutines allow.
func TestSeeds(t *testing.T) {
	seeds := *seedsFlag
	if testing.Short() {
		seeds = min(seeds, 20)
	}
	var sum Report
	failed := 0
	for seed := *fromFlag; seed < *fromFlag+seeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r, err := Run(uint64(seed), Options{Log: t.Logf, Trace: *traceFlag, Patience: 20 * time.Second})
			if err != nil {
				failed++
				t.Fatal(err)
			}
			sum.add(r)
		})
		if failed == 5 {
			t.Fatal("enough")
		}
	}
	t.Logf("%+v", sum)
	if t.Failed() || seeds < 20 {
		return
	}
	for what, n := range map[string]int{
		"power losses": sum.PowerLosses / seeds, "kills": sum.Kills, "ends in peace": sum.Closes, "failed openings": sum.FailedOpens,
		"acknowledged": sum.Acknowledged / (50 * seeds), "settled": sum.Settled / (5 * seeds), "sent again": sum.Resent, "checkpoints": sum.Checkpoints / seeds,
	} {
		if n == 0 {
			t.Errorf("the seeds leave little to check: %s: %+v", what, sum)
		}
	}
}

func (r *Report) add(x Report) {
	r.PowerLosses += x.PowerLosses
	r.Kills += x.Kills
	r.Closes += x.Closes
	r.FailedOpens += x.FailedOpens
	r.Published += x.Published
	r.Acknowledged += x.Acknowledged
	r.Delivered += x.Delivered
	r.Settled += x.Settled
	r.Resent += x.Resent
	r.Checkpoints += x.Checkpoints
	r.Operations += x.Operations
}
