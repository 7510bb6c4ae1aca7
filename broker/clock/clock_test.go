package clock

import (
	"testing"
	"time"
)

// A clock never goes back, whoever else advances it meanwhile.
func TestVirtualNeverGoesBack(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	v := NewVirtual(start)
	v.AfterFunc(time.Second, func() { v.Advance(time.Hour) })
	v.Advance(2 * time.Second)
	if got, want := v.Now().Sub(start), time.Second+time.Hour; got != want {
		t.Errorf("the clock stands at %v, want %v", got, want)
	}
}
