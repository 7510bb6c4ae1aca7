package kernel

import (
	"bytes"
	"context"

	"github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/record"
)

// DeclareHalf does the first half of DeclareQueue: log 0 names the queue, its shard does
// not have it yet.
func (k *Kernel) DeclareHalf(ctx context.Context, spec QueueSpec) error {
	s := k.slot(spec.Namespace, spec.Name)
	_, err := k.meta.do(ctx, &meta.Command{Op: meta.CreateQueue, Queue: &spec, Shards: []uint32{uint32(s.id)}})
	return err
}

// CreateHalf is the same of CreateStream.
func (k *Kernel) CreateHalf(ctx context.Context, spec StreamSpec) error {
	_, err := k.meta.do(ctx, &meta.Command{Op: meta.CreateStream, Namespace: spec.Namespace, Stream: &spec, Shards: k.placement(&spec)})
	return err
}

// BodyBytes is what the segments of all shards' own logs have on the device.
func (k *Kernel) BodyBytes() int64 {
	var n int64
	for _, s := range k.shards {
		if t := s.tail(shard.Bodies); t != nil && t.opened() != nil {
			n += t.opened().Size()
		}
	}
	return n
}

// FlushWait is how long a checkpoint waits for one segment.
const FlushWait = flushWait

// SetCarryMax changes how much a log may hold back while its segment is not written.
func (k *Kernel) SetCarryMax(n int64) { k.carryMax = n }

// LogFiles is how many files the node's log has.
func (k *Kernel) LogFiles() int { return k.engine.Log().Stats().Files }

// AwaitsRetained tells whether a subscription waits for retained messages on their way.
func (k *Kernel) AwaitsRetained() bool {
	for _, s := range k.retainers() {
		s.retaining.mu.Lock()
		waits := s.retaining.moved != nil
		s.retaining.mu.Unlock()
		if waits {
			return true
		}
	}
	return false
}

// RetainWait is how long it does.
const RetainWait = retainWait

// RerouteAll makes routes of all shards what their machines say, as after a state was fetched.
func (k *Kernel) RerouteAll() {
	for _, s := range k.everyShard() {
		k.reroute(s)
	}
}

// FetchInVain does what a node does that is behind and is then told by the log: of a stream's logs it finds
// out what it has, appends more, and takes that back.
func (k *Kernel) FetchInVain(st *StreamInfo, more []byte) error {
	for _, place := range st.Logs {
		s := k.shards[place.Shard]
		m := missing{log: place.Log}
		if err := s.lack(&m); err != nil {
			return err
		}
		b := record.Batch(bytes.Clone(more))
		b.SetBaseOffset(m.seg.End())
		if err := m.seg.Append(b); err != nil {
			return err
		}
		s.undo(place.Log)
	}
	return nil
}
