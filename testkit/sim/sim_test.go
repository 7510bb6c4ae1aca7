package sim

import (
	"flag"
	"fmt"
	"testing"
	"time"
)

// How many seeds, and from which one: go test -v ./testkit/sim -seeds 5000 -from 100. With
// -v it tells how often the power went, what was acknowledged, and how much of it was lost.
var (
	seedsFlag = flag.Int("seeds", 60, "how many seeds to run")
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
			sum.add(r)
			if err != nil {
				failed++
				t.Fatal(err)
			}
		})
		if failed == 5 {
			t.Fatal("enough")
		}
	}
	t.Logf("%d seeds, %d failed: %d power losses (%d while opening), %d kills, %d closes; %d published, %d acknowledged, %d lost",
		seeds, failed, sum.PowerLosses, sum.FailedOpens, sum.Kills, sum.Closes, sum.Published, sum.Acknowledged, sum.Lost)
	t.Logf("%+v", sum)
	if t.Failed() || seeds < 20 {
		return
	}
	for what, n := range map[string]int{
		"power losses": sum.PowerLosses / seeds, "kills": sum.Kills, "ends in peace": sum.Closes, "failed openings": sum.FailedOpens,
		"acknowledged": sum.Acknowledged / (50 * seeds), "settled": sum.Settled / (5 * seeds), "sent again": sum.Resent,
		"exactly once": sum.ExactlyOnce / (5 * seeds), "offsets": sum.Offsets / (5 * seeds), "checkpoints": sum.Checkpoints / seeds,
	} {
		if n == 0 {
			t.Errorf("the seeds leave little to check: %s: %+v", what, sum)
		}
	}
}

// Two runs of one seed have the same answers, and leave the same.
func TestSerial(t *testing.T) {
	for seed := range uint64(10) {
		first, err := Serial(seed, t.Logf)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Serial(seed, t.Logf)
		if err != nil {
			t.Fatal(err)
		}
		for i := range min(len(first), len(again)) {
			if first[i] != again[i] {
				t.Fatalf("seed %d, line %d of %d and %d:\n first %s\n again %s", seed, i, len(first), len(again), first[i], again[i])
			}
		}
		if len(first) != len(again) || len(first) < 100 {
			t.Fatalf("seed %d has a history of %d lines, and one of %d", seed, len(first), len(again))
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
	r.ExactlyOnce += x.ExactlyOnce
	r.Offsets += x.Offsets
	r.Lost += x.Lost
	r.Checkpoints += x.Checkpoints
	r.Operations += x.Operations
}
