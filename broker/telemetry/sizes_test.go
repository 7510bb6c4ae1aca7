package telemetry

import (
	"testing"
	"time"
)

func TestSizes(t *testing.T) {
	var s Sizes
	if x := s.Snapshot(); x.Quantile(0.5) != 0 || x.Mean() != 0 {
		t.Error("numbers of nothing")
	}
	for i := range uint64(101) {
		s.Observe(i)
	}
	s.Observe(1 << 40)
	x := s.Snapshot()
	if x.Count() != 102 || x.Sum != 5050+(1<<40) || len(x.Counts) != len(x.Bounds)+1 || x.Counts[31] != 1 {
		t.Errorf("%+v", x)
	}
	if q := x.Quantile(0.5); q < 50 || q > 100 {
		t.Errorf("median %v", q)
	}
	var h Histogram
	h.Observe(3 * time.Millisecond)
	if x := h.Snapshot(); x.Count() != 1 || x.Mean() != 0.003 || x.Quantile(0.99) != h.Quantile(0.99).Seconds() {
		t.Errorf("%+v", x)
	}
	if n := testing.AllocsPerRun(10, func() { s.Observe(5) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
