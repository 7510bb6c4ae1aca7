package telemetry

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Histogram counts durations in buckets, each twice as wide as the one before: from 1 µs
// to 64 s, and one for what is longer. Observing costs two atomic additions and never
// waits. The zero value is ready.
type Histogram struct {
	buckets [bucketCount]atomic.Uint64
	sum     atomic.Int64 // ns
}

// bucketCount: bucket i holds what took at most 2^i µs; the last one what took longer.
const bucketCount = 28

// Observe counts one duration. A negative one counts as none.
func (h *Histogram) Observe(d time.Duration) {
	d = max(d, 0)
	us := uint64(d+time.Microsecond-1) / uint64(time.Microsecond)
	i := 0
	if us > 1 {
		i = bits.Len64(us - 1)
	}
	h.buckets[min(i, bucketCount-1)].Add(1)
	h.sum.Add(int64(d))
}

// bound is the longest duration of a bucket but the last.
func bound(i int) time.Duration { return time.Microsecond << i }

// Count is the number of durations observed.
func (h *Histogram) Count() uint64 {
	var n uint64
	for i := range h.buckets {
		n += h.buckets[i].Load()
	}
	return n
}

// Quantile returns a duration that a share q of the observed ones do not exceed, as far
// as the buckets tell: at most twice the true one. 0 when there are none.
func (h *Histogram) Quantile(q float64) time.Duration {
	var counts [bucketCount]uint64
	var total uint64
	for i := range h.buckets {
		counts[i] = h.buckets[i].Load()
		total += counts[i]
	}
	if total == 0 {
		return 0
	}
	rank := uint64(q * float64(total))
	var seen uint64
	for i, n := range counts {
		if seen += n; seen >= max(rank, 1) {
			return bound(i)
		}
	}
	return bound(bucketCount - 1)
}

// append appends the histogram in Prometheus' text format.
func (h *Histogram) append(b []byte, name string) []byte {
	var seen uint64
	for i := range bucketCount - 1 {
		seen += h.buckets[i].Load()
		b = appendNumber(b, name+"_bucket", float64(seen), "le", formatNumber(bound(i).Seconds()))
	}
	seen += h.buckets[bucketCount-1].Load()
	b = appendNumber(b, name+"_bucket", float64(seen), "le", "+Inf")
	b = appendNumber(b, name+"_sum", time.Duration(h.sum.Load()).Seconds())
	return appendNumber(b, name+"_count", float64(seen))
}
