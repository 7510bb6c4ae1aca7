package sim

import (
	"flag"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// seesMistake wants a mistake that is made on purpose to be seen within some seeds: more of them by far than
// it takes, for what a seed of whole nodes does is up to the scheduler too. A read that is stale shows in one
// of 50.
func seesMistake(t *testing.T, what string, outcomes bool, run func(seed uint64) error) {
	t.Helper()
	const seeds = 1000
	var err error
	seed := uint64(0)
	for ; seed < seeds && err == nil; seed++ {
		err = run(seed)
	}
	if err == nil {
		t.Errorf("%s: not seen in %d seeds (by outcomes alone: %v)", what, seeds, outcomes)
		return
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	t.Logf("%s: after %d seeds (by outcomes alone: %v): %s", what, seed, outcomes, line)
}

// How many seeds, and from which one: go test -v ./testkit/sim -seeds 5000 -from 100. With
// -v it tells what was exercised, and how long it took. One seed alone tells all that happened
// in it.
var (
	seedsFlag = flag.Int("seeds", 60, "how many seeds to run")
	fromFlag  = flag.Int("from", 0, "the first seed")
	filesFlag = flag.String("files", "", "tell operations on files with this in their path")
)

// failuresMax is how many seeds may fail before the rest is left alone.
const failuresMax = 5

// eachSeed runs f for all seeds, as many at once as there are processors, and returns how many
// there were. What f says of a seed is shown if that fails, with the command that repeats it,
// or if it is the only one.
func eachSeed(t *testing.T, f func(seed uint64, say func(format string, args ...any)) error) int {
	seeds := *seedsFlag
	if testing.Short() {
		seeds = min(seeds, 20)
	}
	began := time.Now()
	var next, failed atomic.Int64
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(seeds) && failed.Load() < failuresMax; i = next.Add(1) - 1 {
				seed := uint64(*fromFlag) + uint64(i)
				var said []byte
				err := f(seed, func(format string, args ...any) {
					said = append(fmt.Appendf(said, format, args...), '\n')
				})
				if err != nil {
					failed.Add(1)
					t.Errorf("%s%v\nonce more: go test ./testkit/sim -count 1 -v -run '^%s$' -seeds 1 -from %d", said, err, t.Name(), seed)
				} else if seeds == 1 {
					t.Logf("%s", said)
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d seeds from %d, %d failed, in %v", seeds, *fromFlag, failed.Load(), time.Since(began).Round(time.Millisecond))
	return seeds
}

// TestSeeds runs one broker whose power goes. A seed is repeated as far as goroutines allow.
func TestSeeds(t *testing.T) {
	var mu sync.Mutex
	var sum Report
	seeds := eachSeed(t, func(seed uint64, say func(string, ...any)) error {
		r, err := Run(seed, Options{Log: say, Trace: *filesFlag, Patience: time.Minute})
		mu.Lock()
		defer mu.Unlock()
		sum.add(r)
		return err
	})
	t.Logf("%d power losses (%d while opening), %d kills, %d closes; %d published, %d acknowledged, %d lost",
		sum.PowerLosses, sum.FailedOpens, sum.Kills, sum.Closes, sum.Published, sum.Acknowledged, sum.Lost)
	t.Logf("%+v", sum)
	if t.Failed() || seeds < 20 {
		return
	}
	for what, n := range map[string]int{
		"power losses": sum.PowerLosses / seeds, "kills": sum.Kills, "ends in peace": sum.Closes, "failed openings": sum.FailedOpens,
		"acknowledged": sum.Acknowledged / (50 * seeds), "settled": sum.Settled / (5 * seeds), "sent again": sum.Resent,
		"exactly once": sum.ExactlyOnce / (5 * seeds), "offsets": sum.Offsets / (5 * seeds), "taken from async": sum.Taken, "checkpoints": sum.Checkpoints / seeds,
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
	r.Taken += x.Taken
	r.Checkpoints += x.Checkpoints
	r.Operations += x.Operations
}
