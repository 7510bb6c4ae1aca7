package testkit_test

import (
	"flag"
	"runtime"
	"sync"
	"testing"

	"github.com/robustmq/rmq/testkit"
)

var many = flag.Int("brokers", 50, "brokers at once in TestMany")

// Brokers of one process have nothing to do with each other: each keeps what was published to it, and when they close
// nothing is left of any (which Run sees to).
func TestMany(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	goroutines := runtime.NumGoroutine()
	all := make([]*testkit.Broker, *many)
	for i := range all {
		all[i] = testkit.Run(t)
	}
	var clients sync.WaitGroup
	for i, b := range all {
		clients.Go(func() {
			c := connect(t, b, nil)
			for range 1 + i%3 {
				done(t, c.Publish("a/b", 1, false, "x"))
			}
			c.Disconnect(0)
		})
	}
	clients.Wait()
	runtime.GC()
	runtime.ReadMemStats(&after)
	n := uint64(len(all))
	t.Logf("%d brokers: %d KiB of heap and %d goroutines each", n, (after.HeapAlloc-before.HeapAlloc)/n>>10, (runtime.NumGoroutine()-goroutines)/int(n))
	for i, b := range all {
		b.Want(t).Topic("a").Count(1 + i%3)
	}
}
