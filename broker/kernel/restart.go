package kernel

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/storage"
)

// This file is what durability less than sync costs: how far an asynchronous shard may be
// behind the device, and what is told after an end that was not orderly.

// AsyncBehind is how long, at most, what an asynchronous shard has acknowledged waits until
// the device is asked to keep it. The device's own time for that comes on top.
const AsyncBehind = time.Second

// syncing syncs the log a while after an asynchronous shard was written.
//
// Ownership: mu guards timer and closed.
type syncing struct {
	due atomic.Bool // the timer is set: the one look that an entry costs

	mu     sync.Mutex
	timer  clock.Timer
	closed bool
}

// syncSoon sees to it that what s has applied is on the device before long. What other shards
// have written meanwhile is synced with it, and costs nothing where they have done so.
func (k *Kernel) syncSoon(s *shardRun) {
	y := &k.syncing
	if y.due.Load() || y.due.Swap(true) {
		return
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.closed {
		return
	}
	y.timer = k.cfg.Link.AfterFunc(AsyncBehind, func() {
		y.due.Store(false)
		// An error stops the log, and is told by everybody who writes.
		_ = k.engine.Log().Append(storage.Write{Shard: s.id, Sync: true})
	})
}

func (y *syncing) close() {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.closed = true
	if y.timer != nil {
		y.timer.Stop()
	}
}

// Restart says what became, at the last start, of what was not synced. There is none of an
// asynchronous shard after an orderly end.
type Restart struct {
	Durability Durability
	Shard      uint32 // 0: of all shards in memory
	// Held tells, for Async, that what was acknowledged is there: only the process ended.
	Held bool
	// Until is when, by broker time, the shard had last acknowledged what is there for sure.
	// What it acknowledged after that may be missing: at most that of the last AsyncBehind
	// before the end, and always the newest: what is there has no holes. 1970: nothing is left
	// that has a time.
	Until time.Time
	// Streams and Queues, for Memory, are those that are empty now.
	Streams, Queues int
}

// String is one sentence for an operator.
func (r *Restart) String() string {
	switch {
	case r.Durability == Memory:
		return fmt.Sprintf("what was in memory went with the process before this one: streams and queues that are empty now: %d", r.Streams+r.Queues)
	case r.Held:
		return fmt.Sprintf("shard %d (async) was not closed in order, on a machine that ran on: all that it acknowledged is here", r.Shard)
	case r.Until.UnixMilli() == 0:
		return fmt.Sprintf("shard %d (async) restarted from what the disk held, which is nothing: of the last %v before the end some may be missing", r.Shard, AsyncBehind)
	}
	return fmt.Sprintf("shard %d (async) restarted from what the disk held: all that it acknowledged until %s is here, and of the last %v before the end some may be missing",
		r.Shard, r.Until.UTC().Format("2006-01-02T15:04:05.000Z"), AsyncBehind)
}

// Restarts tells what became of what was not synced, at the last start.
func (k *Kernel) Restarts() []Restart { return k.restarts }

// lookBack finds out what the end of the last process may have cost, after replay and before
// anything new is written, and says so.
func (k *Kernel) lookBack() {
	if r := (Restart{Durability: Memory}); k.engine.Durable() {
		view := k.meta.view.Load()
		for st := range view.AllStreams() {
			if st.Durability == Memory {
				r.Streams++
			}
		}
		for q := range view.AllQueues() {
			if q.Durability == Memory {
				r.Queues++
			}
		}
		if r.Streams+r.Queues > 0 {
			k.restarts = append(k.restarts, r)
		}
	}
	if end := k.engine.LastEnd(); end != storage.Orderly {
		// All shards write to one log. So what was in it before an entry that is synced is
		// there, whatever it was promised, and so is what was acknowledged before the time of
		// that entry.
		synced := int64(0)
		for _, s := range k.data {
			synced = max(synced, s.now())
		}
		for _, s := range k.async {
			if at := s.now(); at != 0 || k.named(s) { // else it never had anything
				k.restarts = append(k.restarts, Restart{
					Durability: Async, Shard: uint32(s.id), Held: end == storage.Killed, Until: time.UnixMilli(max(at, synced)),
				})
			}
		}
	}
	for i := range k.restarts {
		k.log.Warn(k.restarts[i].String())
	}
}

// named tells whether log 0 has a stream or a queue that lives in s.
func (k *Kernel) named(s *shardRun) bool {
	view := k.meta.view.Load()
	for st := range view.AllStreams() {
		for _, l := range st.Logs {
			if l.Shard == uint32(s.id) {
				return true
			}
		}
	}
	for q := range view.AllQueues() {
		if q.Durability == s.class.durability() && slotOf(k.of(q.Durability), q.Namespace, q.Name) == s {
			return true
		}
	}
	return false
}

// now is the time of the newest entry that the shard has applied, in ms; 0: there is none.
func (s *shardRun) now() int64 {
	s.readMu.RLock()
	defer s.readMu.RUnlock()
	return s.m.Now()
}
