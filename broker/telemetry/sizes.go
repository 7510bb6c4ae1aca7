package telemetry

import (
	"math/bits"
	"sync/atomic"
)

// Sizes counts numbers (bytes, entries) in buckets, each twice as wide as the one before:
// from 1 to 2^30, and one for what is larger. Observing costs two atomic additions and
// never waits. The zero value is ready.
type Sizes struct {
	buckets [sizeBuckets]atomic.Uint64
	sum     atomic.Uint64
}

// sizeBuckets: bucket i holds what was at most 2^i; the last one what was more.
const sizeBuckets = 32

// Observe counts one number. 0 counts as 1 in the buckets, and as itself in the sum.
func (s *Sizes) Observe(n uint64) {
	i := 0
	if n > 1 {
		i = bits.Len64(n - 1)
	}
	s.buckets[min(i, sizeBuckets-1)].Add(1)
	s.sum.Add(n)
}

// Snapshot is a histogram as of one moment, in the unit of its observations; a Histogram's
// in seconds.
type Snapshot struct {
	Bounds []float64 // upper ends of the buckets, but for the last, which has none
	Counts []uint64  // of each bucket: one more than Bounds
	Sum    float64
}

// Snapshot returns what was counted so far.
func (s *Sizes) Snapshot() Snapshot {
	x := Snapshot{Sum: float64(s.sum.Load())}
	for i := range s.buckets {
		x.Counts = append(x.Counts, s.buckets[i].Load())
		if i < sizeBuckets-1 {
			x.Bounds = append(x.Bounds, float64(uint64(1)<<i))
		}
	}
	return x
}

// Snapshot returns what was counted so far, in seconds.
func (h *Histogram) Snapshot() Snapshot {
	x := Snapshot{Sum: float64(h.sum.Load()) / 1e9}
	for i := range h.buckets {
		x.Counts = append(x.Counts, h.buckets[i].Load())
		if i < bucketCount-1 {
			x.Bounds = append(x.Bounds, bound(i).Seconds())
		}
	}
	return x
}

// Count is the number of observations.
func (x Snapshot) Count() (n uint64) {
	for _, c := range x.Counts {
		n += c
	}
	return n
}

// Mean is the average; 0 of none.
func (x Snapshot) Mean() float64 {
	if n := x.Count(); n > 0 {
		return x.Sum / float64(n)
	}
	return 0
}

// Quantile returns a number that a share q of the observed ones do not exceed, as far as
// the buckets tell: at most twice the true one. 0 when there are none.
func (x Snapshot) Quantile(q float64) float64 {
	total := x.Count()
	if total == 0 || len(x.Bounds) == 0 {
		return 0
	}
	rank, seen := max(uint64(q*float64(total)), 1), uint64(0)
	for i, n := range x.Counts {
		if seen += n; seen >= rank && i < len(x.Bounds) {
			return x.Bounds[i]
		}
	}
	return x.Bounds[len(x.Bounds)-1]
}
