package kernel

import (
	"context"
	"encoding/binary"

	"github.com/robustmq/rmq/broker/fault"
)

// Who leads what, for protocols whose clients are told.
//
// A shard is led by one node at a time, with everything that is in it: partitions, groups.
// Its term, in which it does, is the leader epoch of all of them.

// leaderOf is a Group that knows who leads, and in which term. Both are of one moment.
type leaderOf interface{ Leader() (node, term uint64) }

// handsOver is a Group that can have another node lead. It only asks for that.
type handsOver interface{ Transfer(to uint64) error }

// Leadership is the node that leads a shard, or log 0, and its leader epoch, as far as is
// known here; node 0: none is known.
func (k *Kernel) Leadership(shard uint32) (node uint64, epoch int32) {
	s := k.shards[shard]
	switch {
	case !k.Clustered() && s != nil:
		return k.cfg.Self, s.epoch.Load()
	case !k.Clustered():
		return k.cfg.Self, 0
	}
	g := k.meta.group
	if s != nil {
		g = s.group
	}
	if g, ok := g.(leaderOf); ok {
		node, term := g.Leader()
		return node, int32(term)
	}
	return 0, -1
}

// LeadsVersion is a number that changes when this node begins or ceases to lead a shard; a wake of Changes
// follows. What is read after it is at least as new.
func (k *Kernel) LeadsVersion() uint64 { return k.leads.Load() }

// GroupShard is the shard that a consumer group lives in: who leads it coordinates the group.
func (k *Kernel) GroupShard(ns, id string) uint32 { return uint32(k.groupShard(ns, id).id) }

// Shard is where the partition lives.
func (p *Partition) Shard() uint32 { return uint32(p.s.id) }

// Epoch is the partition's leader epoch.
func (p *Partition) Epoch() int32 { return p.s.epoch.Load() }

// Leads tells whether this node leads the partition. Who watches the partition is woken when that ends.
func (p *Partition) Leads() bool { return p.s.holds() }

// CatchUp is Kernel.CatchUp for the shard of the partition.
func (p *Partition) CatchUp(ctx context.Context) error { return p.s.catchUp(ctx) }

// CatchUp returns once this node has applied what it knew to be committed in a shard: a majority may have
// it, and have answered for it, before this node's own disk does. It waits seldom. Whoever then leads the
// shard (Leads) has all that was answered for before the call. The error is a fault.Timeout, when ctx ends, or
// fault.Unavailable.
func (k *Kernel) CatchUp(ctx context.Context, shard uint32) error {
	if s := k.shards[shard]; s != nil {
		return s.catchUp(ctx)
	}
	return nil
}

func (s *shardRun) catchUp(ctx context.Context) error {
	if g, ok := s.group.(interface{ CatchUp(context.Context) error }); ok {
		return g.CatchUp(ctx)
	}
	return nil
}

// HandOver has another node lead a shard, and returns when it does, as far as is known here. What asks for
// that may lapse, with a frame that is lost or a node that is slow to take over: it is asked again until
// ctx ends, which is a fault.Timeout.
func (k *Kernel) HandOver(ctx context.Context, shard uint32, to uint64) error {
	s := k.shards[shard]
	if s == nil {
		return fault.Of(fault.NotFound, "hand over", "shard")
	}
	changed, stop := k.Changes()
	defer stop()
	var asked uint64
	for {
		leader, _ := k.Leadership(shard)
		switch {
		case leader == to:
			return nil
		case leader == asked: // or nobody leads
		case leader == k.cfg.Self:
			if err := s.handOver(to); err != nil && !fault.Is(err, fault.Unavailable) { // unavailable: it is on its way
				return err
			}
			asked = leader
		default:
			k.cfg.Peers.Send(leader, handOver(shard, to))
			asked = leader
		}
		again := k.alarm(againAfter)
		select {
		case <-changed:
		case <-again.rings:
			asked = 0
		case <-ctx.Done():
			again.stop()
			return fault.New(fault.Timeout, "hand over", s.name(), "node %d does not lead it: %w", to, ctx.Err())
		}
		again.stop()
	}
}

func (s *shardRun) handOver(to uint64) error {
	if g, ok := s.group.(handsOver); ok {
		return g.Transfer(to)
	}
	return fault.Of(fault.Unsupported, "hand over", s.name())
}

// A request to the leader of a shard, that another node lead it: kind (6), shard u32, node u64, both
// little-endian. It is lost like any frame, and is for nothing where the receiver does not lead any more.
const handOverLen = 1 + 4 + 8

func handOver(shard uint32, to uint64) []byte {
	f := binary.LittleEndian.AppendUint32([]byte{handOverFrame}, shard)
	return binary.LittleEndian.AppendUint64(f, to)
}

func (k *Kernel) receiveHandOver(from uint64, frame []byte) error {
	if len(frame) != handOverLen {
		return fault.New(fault.Invalid, "receive", "frame", "a malformed request from node %d", from)
	}
	s := k.shards[binary.LittleEndian.Uint32(frame[1:])]
	if s == nil || !s.leads() {
		return nil
	}
	return s.handOver(binary.LittleEndian.Uint64(frame[5:]))
}

// wakeReaders wakes everybody who watches a partition of the shard.
func (s *shardRun) wakeReaders() {
	s.tailsMu.RLock()
	defer s.tailsMu.RUnlock()
	for _, t := range s.tails {
		t.wakeAll()
	}
}

// wakeAll wakes everybody who watches, whatever for.
func (t *tail) wakeAll() {
	t.mu.Lock()
	woken := t.waiters
	t.waiters = nil
	t.mu.Unlock()
	for _, w := range woken {
		w.w.wake()
	}
}
