package kernel

import (
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/kernel/shard"
)

// A stream whose cleanup.policy has delete is trimmed by time, by size and by number, as
// its configuration says. What is over is decided here, by the leader, and becomes true as
// an entry.

// chore is something that is done in broker time, never twice at once: a period after
// something was changed that it looks at, and when it said itself that something will be
// due. An idle broker does nothing, and a leap of a virtual clock meets what is due on the
// way, each at its time; advancing the clock returns when the chore has been done.
//
// Ownership: mu guards timer, again, running and closed. The work runs on the timer's
// goroutine, and Close waits for it as for all that runs in the background.
type chore struct {
	period time.Duration
	work   func() (next int64) // when something will be due, ms; 0: nothing

	quiet atomic.Bool // wake has something to do: the timer is not set to the next period

	mu      sync.Mutex
	timer   clock.Timer
	running bool
	again   bool // wake was called while it ran
	closed  bool
}

// start sets the timer for the first time.
func (c *chore) start(k *Kernel, period time.Duration, work func() (next int64)) {
	c.period, c.work = period, work
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set(k, period)
}

// set sets the timer. Caller holds mu.
func (c *chore) set(k *Kernel, wait time.Duration) {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	if c.closed {
		return
	}
	c.quiet.Store(wait > c.period)
	c.timer = k.time.AfterFunc(wait, func() {
		done := make(chan struct{})
		if k.spawn(func() { defer close(done); c.run(k) }) {
			<-done
		}
	})
}

func (c *chore) run(k *Kernel) {
	c.mu.Lock()
	if c.running || c.closed {
		c.mu.Unlock()
		return
	}
	c.running, c.again, c.timer = true, false, nil
	c.mu.Unlock()
	c.quiet.Store(true)
	next := c.work()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = false
	switch {
	case c.again:
		c.set(k, c.period)
	case next != 0:
		c.set(k, max(c.period, time.UnixMilli(next).Sub(k.time.Now())))
	}
}

// wake says that something was changed. It costs nothing while the chore is about to be
// done anyway.
func (c *chore) wake(k *Kernel) {
	if !c.quiet.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.quiet.Load():
	case c.running:
		c.again = true
	default:
		c.set(k, c.period)
	}
}

func (c *chore) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
}

// earlier lowers a time at which something is due; 0 is never.
func earlier(next *int64, at int64) {
	if at != 0 && (*next == 0 || at < *next) {
		*next = max(at, 1)
	}
}

// retentionPeriod is how long after a change, in broker time, streams are looked at.
const retentionPeriod = time.Second

// sweepStreams is one sweep over all streams.
func (k *Kernel) sweepStreams() (next int64) {
	for st := range k.meta.view.Load().AllStreams() {
		for _, place := range st.Logs {
			if k.closing.Load() {
				return 0
			}
			s := k.shards[place.Shard]
			t := s.tail(place.Log)
			if t == nil || !s.leads() {
				continue
			}
			start, _ := t.bounds()
			to, due, err := k.over(st, t)
			if err != nil && !t.ended() && !k.closing.Load() {
				k.log.Warn("stream not trimmed", "address", st.Address, "err", err)
			}
			if to > start {
				if _, err := s.call(k.ctx, func(b *shard.Builder) int { return b.Trim(place.Log, to) }); err != nil {
					due = 1 // again
				}
			}
			earlier(&next, due)
		}
	}
	return next
}

// Kafka's defaults: retention.ms is 7 days, retention.bytes is none.
const defaultRetentionMs = 7 * 24 * 60 * 60 * 1000

// over is the first offset of a partition that is to be kept now, and when, in ms, there
// may be another one if nothing is appended; 0: never. What can be told is told beside an
// error.
func (k *Kernel) over(st *meta.Stream, t *tail) (to, due int64, err error) {
	start, next := t.bounds()
	to = start
	if start == next || !policyHas(st, "delete") {
		return to, 0, nil
	}
	if n := number(st.Config, "retention.records", -1); n >= 0 {
		to = max(to, next-n)
	}
	if limit := number(st.Config, "retention.bytes", -1); limit >= 0 && t.size() > limit {
		offset, err := t.lastBytes(limit)
		if err != nil {
			return to, 1, err
		}
		to = max(to, offset)
	}
	if ms := number(st.Config, "retention.ms", defaultRetentionMs); ms >= 0 {
		offset, latest, err := t.youngerThan(k.nowMs()-ms, to)
		if err != nil {
			return to, 1, err
		}
		if to = max(to, offset); to < next && latest < math.MaxInt64-ms {
			due = latest + ms + 1
		}
	}
	return to, due, nil
}

// number reads a configuration value; what is not a number counts as not given.
func number(config map[string]string, name string, def int64) int64 {
	n, err := strconv.ParseInt(config[name], 10, 64)
	if err != nil {
		return def
	}
	return n
}
