package kernel

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/kernel/shard"
)

// retention trims streams by time and by size, as their configuration says. What is over
// is decided here, by the leader, and becomes true as an entry.
//
// Ownership: mu guards timer and closed; a sweep runs on the timer's goroutine alone.
type retention struct {
	mu     sync.Mutex
	timer  clock.Timer
	closed bool
}

// retentionPeriod is how often, in broker time, streams are looked at.
const retentionPeriod = time.Second

func (k *Kernel) startRetention() {
	r := &k.retention
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.timer = k.time.AfterFunc(retentionPeriod, k.sweepStreams)
	}
}

func (k *Kernel) stopRetention() {
	r := &k.retention
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.timer != nil {
		r.timer.Stop()
	}
}

// sweepStreams is one sweep over all streams, and sets the timer for the next.
func (k *Kernel) sweepStreams() {
	for st := range k.meta.view.Load().AllStreams() {
		for _, place := range st.Logs {
			s := k.shards[place.Shard]
			t := s.tail(place.Log)
			if t == nil {
				continue
			}
			start, _ := t.bounds()
			if to := k.over(st, t); to > start {
				_, _ = s.call(k.ctx, func(b *shard.Builder) int { return b.Trim(place.Log, to) })
			}
		}
		if k.closing.Load() {
			return
		}
	}
	k.startRetention()
}

// Kafka's defaults: retention.ms is 7 days, retention.bytes is none.
const defaultRetentionMs = 7 * 24 * 60 * 60 * 1000

// over is the first offset of a partition that is to be kept.
func (k *Kernel) over(st *meta.Stream, t *tail) int64 {
	start, next := t.bounds()
	if start == next {
		return start
	}
	if p, set := st.Config["cleanup.policy"]; set && !strings.Contains(p, "delete") {
		return start // compacted only: nothing is dropped for age or size
	}
	to := start
	if ms := number(st.Config, "retention.ms", defaultRetentionMs); ms >= 0 {
		cutoff := k.nowMs() - ms
		if at, known := t.oldest(); known && at < cutoff {
			switch offset, _, err := t.offsetForTime(cutoff); {
			case err != nil:
			case offset < 0:
				to = next // all of it is too old
			default:
				to = max(to, offset)
			}
		}
	}
	if limit := number(st.Config, "retention.bytes", -1); limit >= 0 {
		if size := t.size(); size > limit {
			// Whole batches of about equal size: the share of bytes that is over is the share of
			// offsets to let go, at most up to the last record.
			drop := int64(float64(next-start) * (float64(size-limit) / float64(size)))
			to = max(to, min(start+drop, next-1))
		}
	}
	return to
}

// number reads a configuration value; what is not a number counts as not given.
func number(config map[string]string, name string, def int64) int64 {
	n, err := strconv.ParseInt(config[name], 10, 64)
	if err != nil {
		return def
	}
	return n
}
