package testkit

import (
	"fmt"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"time"
)

// brokers counts those of this process: each has a label of its own.
var brokers atomic.Uint64

// labelKey is the profiler label that a broker's goroutines carry, so that they can be told
// from those of the test, of its clients and of other brokers.
const labelKey = "rmq-testkit"

// leakWait bounds how long goroutines that were told to end may take to be gone.
const leakWait = 30 * time.Second

// leaked returns the stacks of goroutines with a label, "" when there are none. A
// goroutine that is past its last statement is still listed for an instant, and nobody
// is told when it goes: so this looks again until leakWait has passed.
func leaked(label string) string {
	left := labelledStacks(label)
	for start, pause := time.Now(), time.Duration(0); left != "" && time.Since(start) < leakWait; left = labelledStacks(label) {
		runtime.Gosched()
		time.Sleep(pause) //nolint:forbidigo // a goroutine that ends tells nobody
		pause = min(2*pause+10*time.Microsecond, 20*time.Millisecond)
	}
	return left
}

// labelledStacks lists the stacks of goroutines with a label.
func labelledStacks(label string) string {
	var all, out strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil {
		return err.Error()
	}
	want := fmt.Sprintf("%q:%q", labelKey, label)
	for stack := range strings.SplitSeq(all.String(), "\n\n") {
		if strings.Contains(stack, want) {
			out.WriteString(stack)
			out.WriteString("\n\n")
		}
	}
	return out.String()
}
