package kernel

import (
	"iter"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/telemetry"
)

// saveMeter counts the checkpoints of one shard.
type saveMeter struct {
	took  telemetry.Histogram
	bytes atomic.Uint64
	at    atomic.Int64 // ns of link time since 1970, when the last one was done; 0: none since the start
	last  atomic.Int64 // ns that it took
}

// counted passes on what a checkpoint writes, and counts its bytes.
func (m *saveMeter) counted(pairs iter.Seq2[[]byte, []byte]) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		n := 0
		defer func() { m.bytes.Add(uint64(n)) }()
		for k, v := range pairs {
			n += len(k) + len(v)
			if !yield(k, v) {
				return
			}
		}
	}
}

// done notes one checkpoint.
func (m *saveMeter) done(from, to time.Time) {
	m.took.Observe(to.Sub(from))
	m.last.Store(int64(to.Sub(from)))
	m.at.Store(to.UnixNano())
}

// ShardStats is how far the machine of one shard is behind what was given to it, and how it
// stands with its checkpoints.
type ShardStats struct {
	Shard   uint32
	Entries int           // given to its log, or waiting for that, and not applied
	Bytes   int           // of them
	Age     time.Duration // of the oldest
	Queued  int           // bytes of publishes among them
	Control int           // bytes of control commands that wait to be given to its log
	Crowded bool          // no publishes are let in until those that wait are written
	Gated   bool          // publishes wait until the device gives the log space

	Checkpoints     telemetry.Snapshot // seconds of each since the start
	CheckpointBytes uint64
	CheckpointTook  time.Duration // the last one
	CheckpointAge   time.Duration // since it was done; -1: none since the start
}

// ShardStats tells how the shards stand, in the order of their ids. Those that have no log
// have nothing to wait for and are left out, and so is log 0.
func (k *Kernel) ShardStats() []ShardStats {
	now := k.cfg.Link.Now()
	var out []ShardStats
	for _, s := range k.everyShard() {
		if !s.class.logged() {
			continue
		}
		x := ShardStats{Shard: uint32(s.id), CheckpointAge: -1}
		s.mu.Lock()
		x.Entries, x.Queued = len(s.inflight)+len(s.queue)+len(s.controls), s.queued
		x.Crowded, x.Gated = s.crowded.Load(), s.gated.Load()
		for _, p := range s.controls {
			x.Control += p.b.Len()
		}
		if !s.control.b.Empty() {
			x.Control += s.control.b.Len()
		}
		x.Bytes = x.Queued + x.Control
		var oldest *pending
		switch {
		case len(s.inflight) > 0:
			oldest = s.inflight[0]
		case len(s.queue) > 0:
			oldest = s.queue[0]
		}
		if oldest != nil {
			x.Age = max(0, now.Sub(oldest.since))
		}
		s.mu.Unlock()
		m := &s.saved
		x.Checkpoints, x.CheckpointBytes, x.CheckpointTook = m.took.Snapshot(), m.bytes.Load(), time.Duration(m.last.Load())
		if at := m.at.Load(); at != 0 {
			x.CheckpointAge = max(0, now.Sub(time.Unix(0, at)))
		}
		out = append(out, x)
	}
	return out
}
