package sim

import (
	"sync"
	"testing"
)

// TestLinear checks what clients saw of one broker whose power goes.
func TestLinear(t *testing.T) {
	var mu sync.Mutex
	var sum LinearReport
	seeds := eachSeed(t, func(seed uint64, say func(string, ...any)) error {
		r, err := Linear(seed, false, say)
		mu.Lock()
		defer mu.Unlock()
		for i, n := range r.Ended {
			sum.Ended[i] += n
		}
		sum.Calls += r.Calls
		sum.Answers += r.Answers
		sum.Histories += r.Histories
		sum.Undecided += r.Undecided
		sum.Operations += r.Operations
		sum.LongestOf = max(sum.LongestOf, r.LongestOf)
		return err
	})
	t.Logf("%+v", sum)
	if t.Failed() || seeds < 20 {
		return
	}
	if sum.Answers < 80*seeds || sum.Calls-sum.Answers < seeds/2 || sum.Histories < 4*seeds || sum.Undecided > sum.Histories/100 {
		t.Errorf("the seeds leave little to check: %+v", sum)
	}
}

// TestLinearStale: clients that read what was there before are found out.
func TestLinearStale(t *testing.T) {
	for seed := range uint64(20) {
		if _, err := Linear(seed, true, func(string, ...any) {}); err != nil {
			t.Logf("after %d seeds: %v", seed+1, err)
			return
		}
	}
	t.Error("20 seeds of stale reads were explained")
}
