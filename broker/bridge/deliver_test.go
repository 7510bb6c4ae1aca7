package bridge

import (
	"testing"
	"time"
)

// A remote broker that goes on refusing, and does not say why, is in the end taken at its word, until it has
// taken everything for a while.
func TestUnclearRefusals(t *testing.T) {
	now := time.Now()
	var u unclear
	for i := range 3 {
		for n := range unclearMax {
			if !u.again(now) {
				t.Fatalf("round %d: what is refused the %dth time is dropped", i, n+1)
			}
			now = now.Add(pauseMax)
		}
		for range 3 {
			if u.again(now) {
				t.Fatalf("round %d: what is refused after %d times is tried again", i, unclearMax)
			}
			now = now.Add(unclearLapse - 1)
		}
		now = now.Add(1)
	}
}
