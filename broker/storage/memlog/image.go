package memlog

import (
	"bytes"
	"slices"
	"sync"

	"github.com/robustmq/rmq/broker/storage"
)

// Image is what an engine held at one moment. It does not change, and shares what it can with the
// engine that it is of and with those that are opened of it: bytes of records are copied for none
// of them. Safe for concurrent use.
type Image struct {
	log      map[storage.ShardID]shard
	segments map[storage.LogID]*segment

	mu          sync.Mutex // a map that is copied takes note of it
	checkpoints map[storage.ShardID]checkpoint
}

// Image returns what the engine holds now. It is what a process that ended now would leave, if
// this were a disk. It costs as much as there are logs, and entries that no checkpoint has.
func (e *Engine) Image() *Image {
	e.checkpoints.saving.Lock()
	defer e.checkpoints.saving.Unlock()
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	e.checkpoints.mu.Lock()
	defer e.checkpoints.mu.Unlock()
	e.segments.mu.Lock()
	defer e.segments.mu.Unlock()
	for _, s := range e.segments.open {
		s.mu.Lock()
		defer s.mu.Unlock()
	}
	i := &Image{
		log: make(map[storage.ShardID]shard, len(e.log.shards)), segments: make(map[storage.LogID]*segment, len(e.segments.open)),
		checkpoints: copied(e.checkpoints.shards),
	}
	for id, s := range e.log.shards {
		i.log[id] = s.since(i.checkpoints[id].meta.Index)
	}
	for id, s := range e.segments.open {
		i.segments[id] = s.sharedLocked()
	}
	return i
}

// since is what a shard has after an entry. Who is given entries writes to their data, so they are copied.
func (s *shard) since(index uint64) shard {
	made := shard{hard: s.hard, released: max(s.released, index)}
	for _, e := range s.entries {
		if e.Index > index {
			e.Data = bytes.Clone(e.Data)
			made.entries = append(made.entries, e)
		}
	}
	return made
}

// sharedLocked returns a segment of the same batches. From then on neither changes them where they
// lie. Caller holds mu, or owns s.
func (s *segment) sharedLocked() *segment {
	if !s.shared {
		s.shared = true
	}
	return &segment{batches: slices.Clip(s.batches), slab: s.slab, end: s.end, size: s.size, rest: s.rest, shared: true}
}

// Open returns an engine that begins with what the image holds.
func (i *Image) Open() *Engine {
	e := New()
	for id, s := range i.log {
		made := s.since(0)
		e.log.shards[id] = &made
	}
	for id, s := range i.segments {
		made := s.sharedLocked()
		made.closed = e.segments.closed
		e.segments.open[id] = made
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	e.checkpoints.shards = copied(i.checkpoints)
	return e
}

// copied copies what each shard's last checkpoint is, in constant time for each.
func copied(shards map[storage.ShardID]checkpoint) map[storage.ShardID]checkpoint {
	out := make(map[storage.ShardID]checkpoint, len(shards))
	for id, c := range shards {
		if c.kv != nil {
			c.kv = c.kv.Copy()
		}
		c.meta.Members = c.meta.Members.Clone()
		out[id] = c
	}
	return out
}
