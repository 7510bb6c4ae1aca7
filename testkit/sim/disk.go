package sim

import (
	"bytes"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/vfs"
)

// disk outlives the kernels that work on it.
//
// Checkpoints stand apart from the file system, as their store is not ours: a Save
// that has returned is durable, and one that the power loss comes before has not
// happened.
type disk struct {
	mem    *vfs.Mem
	faulty *vfs.Faulty
	off    atomic.Bool   // no power: every operation fails
	dark   chan struct{} // closed when the power goes

	mu    sync.Mutex
	kept  map[storage.ShardID]*kept // checkpoints
	saves int

	trace string // file operations on paths with this in them are logged; empty: none
	log   func(format string, args ...any)
}

// kept is one shard's checkpoint.
type kept struct {
	meta storage.CheckpointMeta
	kv   map[string][]byte
}

func newDisk() *disk { return &disk{mem: vfs.NewMem(), kept: make(map[storage.ShardID]*kept)} }

// start gives power until an operation, counted from 1, of which, if it is a write,
// a part is done; 0: for good.
func (d *disk) start(until int, part float64) {
	d.off.Store(false)
	d.dark = make(chan struct{})
	d.faulty = vfs.NewFaulty(d.mem, func(op vfs.Op) error {
		if d.off.Load() {
			return vfs.ErrStopped
		}
		if d.trace != "" && op.Kind.Changes() && strings.Contains(op.Path, d.trace) {
			d.log("%v", op)
		}
		if until == 0 || op.N < until || !op.Kind.Changes() {
			return nil
		}
		d.cut()
		if op.Kind == vfs.OpWrite {
			return &vfs.Short{Bytes: int64(part * float64(op.Size)), Err: vfs.ErrStopped}
		}
		return vfs.ErrStopped
	})
}

// cut turns the power off now.
func (d *disk) cut() {
	if !d.off.Swap(true) {
		close(d.dark)
	}
}

func (d *disk) stopped() bool { return d.off.Load() }

// end turns the power off, and leaves what that leaves. It returns how many
// operations there were.
func (d *disk) end(how end, seed uint64) int {
	d.off.Store(true)
	if how == powerLoss {
		d.mem = d.mem.CrashClone(seed)
	}
	return d.faulty.Ops()
}

// Load implements storage.Checkpoints.
func (d *disk) Load(shard storage.ShardID) (storage.CheckpointMeta, iter.Seq2[[]byte, []byte], error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.kept[shard]
	if k == nil {
		return storage.CheckpointMeta{}, func(func(k, v []byte) bool) {}, nil
	}
	meta, kv := k.meta, maps.Clone(k.kv)
	return meta, func(yield func(k, v []byte) bool) {
		for _, key := range slices.Sorted(maps.Keys(kv)) {
			if !yield([]byte(key), bytes.Clone(kv[key])) {
				return
			}
		}
	}, nil
}

// Save implements storage.Checkpoints.
func (d *disk) Save(shard storage.ShardID, meta storage.CheckpointMeta, full bool, changes iter.Seq2[[]byte, []byte]) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := &kept{meta: meta, kv: make(map[string][]byte)}
	if k := d.kept[shard]; k != nil && !full {
		next.kv = maps.Clone(k.kv)
	}
	for k, v := range changes {
		if v == nil {
			delete(next.kv, string(k))
		} else {
			next.kv[string(k)] = append([]byte{}, v...)
		}
	}
	if d.off.Load() {
		return vfs.ErrStopped
	}
	d.kept[shard] = next
	d.saves++
	return nil
}

// Close implements filelog.CheckpointStore.
func (d *disk) Close() error { return nil }
